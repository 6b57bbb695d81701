//! A log: the segments that one uploader of one run writes, one after the other, in a folder of
//! their own.
//!
//! A run never writes into a log of an earlier one: it begins new logs and empties the old ones.
//! So nothing has to be read before the first body can be made safe, and it makes no difference
//! how many uploaders there were before.
//!
//! ```text
//! folder   log-<time>-<id>/segment-00000001 ...
//!
//! free --advance--> current --full--> old --all settled, and that is on stable storage--> free
//! ```

use super::Settings;
use super::disk::Disk;
use super::format::{BLOCK_BYTES, BLOCKS_MAX, FIRST_BLOCK, LogId};
use super::scan::{Between, Found, look};
use super::segment::Segment;
use super::survey::{Known, NAME_START, NoSegment, survey};
use crate::clock::Wall;
use crate::limits::{SPOOL_LOOKS_MAX, SPOOL_SEGMENT_BYTES};
use crate::planted::{Bug, is_planted};
use std::collections::VecDeque;
use std::io;

/// Free segments that a log keeps for the next ones; further ones are given back to the file system.
const FREE_KEPT: usize = 2;

/// The first byte that a record may begin at.
pub const RECORDS_AT: usize = FIRST_BLOCK * BLOCK_BYTES;

// a segment has a bit for each of its blocks
const _: () = assert!(SPOOL_SEGMENT_BYTES == BLOCKS_MAX * BLOCK_BYTES);

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Its log.
    pub log: LogId,
    /// The segment's number.
    pub segment: u64,
    /// The block that it begins in.
    pub block: u32,
}

/// The segments of one log.
#[derive(Debug)]
pub struct Log<F> {
    pub(super) id: LogId,
    folder: String,
    pub(super) segments: VecDeque<Segment<F>>,
    /// Files of an earlier run that were not looked at yet, oldest first.
    unscanned: VecDeque<Known>,
    /// Files whose records are all settled.
    free: Vec<(String, F)>,
    /// Files that were made and whose names may not last.
    unnamed: Vec<String>,
    segment_bytes: usize,
    pub(super) is_power: bool,
    /// The last segment takes records.
    pub(super) has_current: bool,
    /// The head of the last segment is written.
    pub(super) has_head: bool,
    pub(super) sequence: u64,
    pub(super) rows_count: u64,
    numbers_used: u64,
    files_made: u64,
    pub(super) buffer: Vec<u8>,
}

impl<F> Log<F> {
    /// A new log in a folder of its own, which is made.
    ///
    /// # Errors
    /// The system's.
    pub fn create<D: Disk<File = F>>(
        disk: &mut D,
        id: LogId,
        now: Wall,
        settings: &Settings,
    ) -> io::Result<Self> {
        let folder = Self::folder_of(id, now);
        disk.create_folder(&folder)?;
        Ok(Log::of(id, folder, settings))
    }

    fn of(id: LogId, folder: String, settings: &Settings) -> Self {
        Log {
            id,
            folder,
            segments: VecDeque::new(),
            unscanned: VecDeque::new(),
            free: Vec::new(),
            unnamed: Vec::new(),
            segment_bytes: settings.segment_bytes,
            is_power: settings.is_power,
            has_current: false,
            has_head: false,
            sequence: 0,
            rows_count: 0,
            numbers_used: 0,
            files_made: 0,
            buffer: Vec::new(),
        }
    }

    /// Name of the folder of a log that is begun now.
    #[must_use]
    pub fn folder_of(id: LogId, now: Wall) -> String {
        format!("log-{:016x}-{:032x}", now.0.max(0), id.0)
    }

    /// The log in a folder, if its name is one of ours.
    #[must_use]
    pub fn id_of(folder: &str) -> Option<LogId> {
        let (time, id) = folder.strip_prefix("log-")?.split_once('-')?;
        let is_hex = |text: &str, length: usize| {
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            text.len() == length && text.bytes().all(is_digit)
        };
        let is_ours = is_hex(time, 16) && is_hex(id, 32);
        let id = u128::from_str_radix(id, 16).ok().filter(|_| is_ours)?;
        Some(LogId(id))
    }

    /// A log of an earlier run. Nothing is read but the heads of its segments. Files that are none
    /// of them are told to `strange` and left alone, save those that nothing was ever written to:
    /// they would fill the disk when the machine keeps on stopping.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn open<D: Disk<File = F>>(
        disk: &mut D,
        id: LogId,
        folder: &str,
        settings: &Settings,
        mut strange: impl FnMut(&str, NoSegment),
    ) -> io::Result<Self> {
        let mut log = Log::of(id, folder.to_owned(), settings);
        let survey = survey(disk, id, folder)?;
        for (path, why) in survey.strange {
            if matches!(why, NoSegment::Empty) && disk.remove(&path).is_ok() {
                continue;
            }
            strange(&path, why);
        }
        log.unscanned = survey.known.into();
        Ok(log)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Its segments, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = &Segment<F>> {
        self.segments.iter()
    }

    /// True if none of its files is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
            && self.free.is_empty()
            && self.unscanned.is_empty()
            && self.unnamed.is_empty()
    }

    /// Bytes of its files that were not looked at yet.
    #[must_use]
    pub fn unscanned_bytes(&self) -> u64 {
        self.unscanned.iter().map(counted_bytes).sum()
    }

    /// True if a file was not looked at yet.
    #[must_use]
    pub fn is_unscanned(&self) -> bool {
        !self.unscanned.is_empty()
    }

    /// Looks at the next file of an earlier run. Nothing if there is none; if it is no segment after
    /// all, why, and how long it was.
    pub fn scan_next<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
    ) -> Option<Result<Found, (Known, NoSegment)>> {
        let known = self.unscanned.pop_front()?;
        let between = Between {
            before: self
                .segments
                .back()
                .map(|segment| (segment.number, segment.rows_end)),
            next: self.unscanned.front(),
        };
        let looked = match look(disk, &known, self.id, between) {
            // what cannot be read now is not gone: a segment must not seem empty for it
            Ok(looked) if looked.has_failed && known.failed_looks < SPOOL_LOOKS_MAX => {
                let why = io::Error::other("a part of it cannot be read");
                return Some(Err((known, NoSegment::Unreadable(why))));
            }
            Ok(looked) => looked,
            Err(why) => return Some(Err((known, why))),
        };
        let needed_end = (!looked.has_failed).then(|| looked.needed_end());
        let (mut segment, mut found) = Segment::of(known.path.clone(), looked);
        let counted = counted_bytes(&known);
        // what was set aside for records that never came, else they would fill the disk when the
        // machine keeps on stopping
        if let Some(end) = needed_end.filter(|_| !segment.is_settled()) {
            segment.shorten(disk, end);
        }
        segment.is_power = self.is_power;
        segment.file_bytes = segment.file_bytes.min(counted);
        // a process that was killed may have written what it had no time to sync
        if self.is_power && segment.is_unsure && disk.sync(&mut segment.file).is_ok() {
            segment.is_unsure = false;
        }
        found.given_back = counted - segment.file_bytes;
        self.segments.push_back(segment);
        Some(Ok(found))
    }

    /// Puts back a file that could not be read, to be looked at again.
    pub(super) fn look_again(&mut self, mut known: Known) {
        known.failed_looks += 1;
        self.unscanned.push_front(known);
    }

    /// True if so many bytes fit into the current segment.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.has_current
            && self.segments.back().is_some_and(|segment| {
                !segment.is_failed && segment.end + bytes <= self.segment_bytes
            })
    }

    /// Takes no more records.
    pub(super) fn abandon(&mut self) {
        self.has_current = false;
    }

    /// True if the current segment could take any record that a segment can.
    #[must_use]
    pub fn is_current_empty(&self) -> bool {
        let last = self.segments.back().filter(|_| self.has_current);
        last.is_some_and(|segment| !segment.is_failed && segment.end == RECORDS_AT)
    }

    /// True if a segment is free to be the next one.
    #[must_use]
    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Makes the next segment current: a free one, or a new file.
    ///
    /// # Errors
    /// The system's: no space, for one. Nothing has changed then.
    pub fn advance<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        let (path, file) = match self.free.pop() {
            Some(free) => free,
            None => self.make_file(disk)?,
        };
        self.numbers_used += 1;
        let file = (file, self.segment_bytes as u64);
        let mut segment = Segment::new(self.numbers_used, path, file, self.rows_count);
        segment.is_power = self.is_power;
        self.segments.push_back(segment);
        (self.has_current, self.has_head) = (true, false);
        Ok(())
    }

    fn make_file<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<(String, F)> {
        self.remove_unnamed(disk)?;
        self.files_made += 1;
        let path = format!("{}/{NAME_START}{:08}", self.folder, self.files_made);
        let file = disk.create(&path, self.segment_bytes as u64)?;
        if !is_planted(Bug::NoFolderSync)
            && let Err(error) = disk.sync_folder(&self.folder)
        {
            // asking again would prove nothing; and no more than one such file is ever there
            self.unnamed.push(path);
            let _ = self.remove_unnamed(disk);
            return Err(error);
        }
        Ok((path, file))
    }

    fn remove_unnamed<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        while let Some(path) = self.unnamed.last() {
            disk.remove(path)?;
            self.unnamed.pop();
        }
        Ok(())
    }

    /// What commits that failed may have left behind is done with, now that one has gone well.
    /// True if there was any.
    pub fn give_up_leftovers(&mut self) -> bool {
        let failed = self.segments.iter_mut().filter(|segment| segment.is_failed);
        let mut has_any = false;
        for segment in failed {
            has_any |= segment.give_up_leftover();
        }
        has_any
    }

    /// The record is done with. False if it was before, or is not here.
    pub fn settle(&mut self, place: Place) -> bool {
        self.segment(place)
            .is_some_and(|segment| segment.settle(place.block as usize))
    }

    /// The record is nowhere else, and waits to be read.
    pub fn park(&mut self, place: Place) {
        if let Some(segment) = self.segment(place) {
            segment.park(place.block as usize);
        }
    }

    pub(super) fn segment(&mut self, place: Place) -> Option<&mut Segment<F>> {
        if place.log != self.id {
            return None;
        }
        let at = self
            .segments
            .binary_search_by_key(&place.segment, |segment| segment.number)
            .ok()?;
        self.segments.get_mut(at)
    }

    /// True if a record waits to be read.
    #[must_use]
    pub fn has_parked(&self) -> bool {
        self.segments.iter().any(Segment::has_parked)
    }

    /// Records that are not settled.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.segments.iter().map(Segment::open).sum()
    }

    /// Writes down what is settled, without making sure of it: survives the process.
    ///
    /// # Errors
    /// The system's; costs duplicates only. The other segments are written all the same.
    pub fn write_settled<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        let id = self.id;
        let segments = self.segments.iter_mut();
        all(segments.map(|segment| segment.write_settled(disk, id)))
    }

    /// Makes sure of what is settled.
    ///
    /// # Errors
    /// The system's; costs duplicates only. The other segments are written all the same.
    pub fn sync_settled<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        let id = self.id;
        let segments = self.segments.iter_mut();
        all(segments.map(|segment| segment.sync_settled(disk, id)))
    }

    /// Frees the segments whose records are all settled, save the current one. Adds the bytes that
    /// were given back to the file system to `given_back`.
    ///
    /// # Errors
    /// The system's; the segment stays, to be freed another time.
    pub fn recycle<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        given_back: &mut u64,
    ) -> io::Result<()> {
        let id = self.id;
        let mut at = 0;
        while at < self.segments.len() {
            let is_current = self.has_current && at + 1 == self.segments.len();
            let is_free = self.segments.get(at).is_some_and(|segment| {
                let is_done = match is_planted(Bug::RecycledWhileOpen) {
                    true => !segment.has_parked(),
                    false => segment.is_settled(),
                };
                is_done && !segment.is_illegible && (!is_current || segment.is_failed)
            });
            if !is_free {
                at += 1;
                continue;
            }
            for unnoted in self.segments.iter_mut().filter(|other| other.is_unnoted) {
                let _ = unnoted.sync_settled(disk, id);
            }
            let Some(segment) = self.segments.get_mut(at) else {
                break;
            };
            // what its records are, must be known before it is written again
            if !segment.is_failed && !is_planted(Bug::RecycleBeforeSettledSync) {
                segment.sync_settled(disk, id)?;
            }
            let is_kept = self.has_current
                && !is_current
                && !segment.is_failed
                && self.free.len() < FREE_KEPT
                && segment.file_bytes == self.segment_bytes as u64;
            if !is_kept {
                disk.remove(&segment.path)?;
                *given_back += segment.file_bytes;
                // no sync has made sure of what is settled in it, so let it stay away
                if segment.is_failed && segment.is_power {
                    let _ = disk.sync_folder(&self.folder);
                }
            }
            let segment = self.segments.remove(at);
            if let Some(segment) = segment.filter(|_| is_kept) {
                self.free.push((segment.path, segment.file));
            }
            self.has_current &= !is_current;
        }
        Ok(())
    }

    /// True if no record is left that is not settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.is_unscanned() && self.segments.iter().all(Segment::is_settled)
    }

    /// Removes all segments, whose records are all settled.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_all<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        self.has_current = false;
        while let Some(segment) = self.segments.front() {
            disk.remove(&segment.path)?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Gives the free files back to the file system.
    ///
    /// # Errors
    /// The system's.
    pub fn release_free<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        self.remove_unnamed(disk)?;
        while let Some((path, _)) = self.free.last() {
            disk.remove(path)?;
            self.free.pop();
        }
        Ok(())
    }

    /// Takes no more records into the current segment, if all of its records are settled: it can be
    /// freed then. True if that was so.
    pub fn retire(&mut self) -> bool {
        let current = self.segments.back().filter(|_| self.has_current);
        let is_done =
            current.is_some_and(|segment| segment.is_settled() && segment.end > RECORDS_AT);
        self.has_current &= !is_done;
        is_done
    }
}

/// What a file is counted for: no segment is longer, whatever its length is said to be.
fn counted_bytes(known: &Known) -> u64 {
    known.bytes.min(SPOOL_SEGMENT_BYTES as u64)
}

/// Does all of them, whatever one comes to; the last failure.
fn all(done: impl Iterator<Item = io::Result<()>>) -> io::Result<()> {
    let mut failure = Ok(());
    for this in done {
        if this.is_err() {
            failure = this;
        }
    }
    failure
}
