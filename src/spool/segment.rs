//! One segment: which of its records are done with, which wait to be read, and what is written down
//! of that.

use super::command::Wanted;
use super::disk::Disk;
use super::format::{BLOCK_BYTES, Bits, FIRST_BLOCK, LogId, Settled};
use super::scan::{Found, Look};
use crate::config::DestinationId;
use crate::planted::{Bug, is_planted};
use std::io;

/// A segment of a log.
#[derive(Debug)]
pub struct Segment<F> {
    /// Its number in the log.
    pub number: u64,
    /// `folder/file`.
    pub path: String,
    pub(super) file: F,
    /// Length of the file.
    pub(super) file_bytes: u64,
    /// Behind the last record, in bytes.
    pub(super) end: usize,
    /// Rows of the log up to there.
    pub(super) rows_end: u64,
    /// As safe as was asked for up to here.
    pub(super) durable_end: usize,
    /// Rows of the log up to there.
    rows_durable: u64,
    /// What the settled block on disk says of that.
    noted_end: usize,
    /// In the order of their blocks. Kept in memory, so that the rows of a record that cannot be
    /// read any more are counted all the same.
    records: Vec<Record>,
    settled: Bits,
    rows_settled: u64,
    parked: Bits,
    parked_count: usize,
    /// The same by destination; those of which none waits may be in it.
    parked_of: Vec<(DestinationId, usize)>,
    /// Records that are not settled.
    open: usize,
    edition: u64,
    /// Something was settled since the bits were last written...
    has_news: bool,
    /// ...or since they were last on stable storage.
    is_loose: bool,
    /// Something in it is safe. Before that nothing is noted in it: if its first commit fails, its
    /// file may yet be what an earlier use has made of it.
    is_begun: bool,
    /// Whether a sync comes before anything counts as safe.
    pub(super) is_power: bool,
    /// An earlier run has written this, and nobody knows whether it has synced all of it.
    pub(super) is_unsure: bool,
    /// A write or a sync has failed: no record is written here any more, and the file is not used
    /// again.
    pub(super) is_failed: bool,
    /// That copies stand in it is known from the heads of later segments only.
    pub(super) is_unnoted: bool,
    /// Its disk could not be read a moment ago.
    pub(super) is_aside: bool,
    /// A part of it could not be read, again and again: it is left for the next run to look at.
    pub(super) is_illegible: bool,
    /// What a commit that failed may have left behind the end.
    leftover: Vec<usize>,
}

/// A record of a segment.
#[derive(Debug, Clone, Copy)]
struct Record {
    block: u32,
    rows_count: u32,
    destination: DestinationId,
}

/// The rows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// Where they go.
    pub destination: DestinationId,
}

impl<F> Segment<F> {
    /// A segment without records.
    pub(super) fn new(
        number: u64,
        path: String,
        (file, file_bytes): (F, u64),
        rows_before: u64,
    ) -> Self {
        Segment {
            number,
            path,
            file,
            file_bytes,
            end: FIRST_BLOCK * BLOCK_BYTES,
            rows_end: rows_before,
            durable_end: 0,
            rows_durable: rows_before,
            noted_end: 0,
            records: Vec::new(),
            settled: Bits::default(),
            rows_settled: 0,
            parked: Bits::default(),
            parked_count: 0,
            parked_of: Vec::new(),
            open: 0,
            edition: 0,
            has_news: false,
            is_loose: false,
            is_begun: false,
            is_power: true,
            is_unsure: false,
            is_failed: false,
            is_unnoted: false,
            is_aside: false,
            is_illegible: false,
            leftover: Vec::new(),
        }
    }

    /// A segment of an earlier run. Its records that are not settled wait; rows that are gone are
    /// counted in what is given back, and written down as done with, so that the next run does not
    /// count them again.
    pub(super) fn of(path: String, look: Look<F>) -> (Self, Found) {
        let mut found = look.found();
        let mut segment = Segment::new(
            look.number,
            path,
            (look.file, look.file_bytes),
            look.rows_end,
        );
        segment.end = look.end;
        segment.durable_end = look.durable_end;
        segment.noted_end = look.durable_end;
        segment.rows_durable = look.rows_durable;
        if let Some(settled) = look.settled {
            segment.edition = settled.edition;
            segment.settled = settled.bits;
            segment.rows_settled = settled.rows_settled;
        }
        segment.is_unsure = true;
        segment.is_begun = true;
        segment.is_illegible = look.has_failed;
        for seen in look.records.iter().filter(|seen| !seen.is_settled) {
            segment.records.push(Record {
                block: seen.block,
                rows_count: seen.head.rows_count,
                destination: seen.head.destination,
            });
            segment.open += 1;
            segment.park(seen.block as usize);
        }
        // the next segment may be gone before this one
        segment.leftover = look.leftover;
        segment.is_unnoted = segment.give_up_leftover();
        // a sector that could not be read may be legible next time
        if found.rows_damaged + found.rows_torn > 0 && !look.has_failed {
            segment.rows_settled += found.rows_damaged;
            for gap in look.gaps.iter().filter(|gap| !gap.is_safe) {
                segment.settled.set(gap.at / BLOCK_BYTES, true);
            }
            segment.has_news = true;
        }
        found.has_news = segment.has_news;
        (segment, found)
    }

    /// True if all of its records are settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// Records that are not settled.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// A record was written at this block.
    pub(super) fn note(&mut self, block: usize, end: usize, rows: Rows) {
        debug_assert!(block * BLOCK_BYTES == self.end && self.end < end);
        self.records.push(Record {
            block: u32::try_from(block).unwrap_or(u32::MAX),
            rows_count: u32::try_from(rows.count).unwrap_or(u32::MAX),
            destination: rows.destination,
        });
        self.open += 1;
        self.end = end;
        self.rows_end += rows.count;
    }

    /// Rows of the record at this block; nothing if none that is known begins there.
    pub(super) fn rows_at(&self, block: usize) -> Option<Rows> {
        let block = u32::try_from(block).ok()?;
        let at = self
            .records
            .binary_search_by_key(&block, |record| record.block)
            .ok()?;
        self.records.get(at).map(|record| Rows {
            count: u64::from(record.rows_count),
            destination: record.destination,
        })
    }

    /// Where the record at this block ends at the latest.
    pub(super) fn end_of(&self, block: usize) -> usize {
        let after = self
            .records
            .partition_point(|record| record.block as usize <= block);
        let next = self.records.get(after);
        next.map_or(self.end / BLOCK_BYTES, |record| record.block as usize)
    }

    /// The record at this block is done with. False if it was before, or there is none.
    pub(super) fn settle(&mut self, block: usize) -> bool {
        let Some(rows) = self.rows_at(block) else {
            return false;
        };
        self.unpark_at(block);
        let is_new = self.settled.set(block, true);
        if is_new {
            self.open -= 1;
            if block * BLOCK_BYTES < self.durable_end {
                self.rows_settled += rows.count;
            }
            self.has_news = true;
        }
        is_new
    }

    /// The record at this block is nowhere else, and waits to be read.
    pub(super) fn park(&mut self, block: usize) {
        let Some(rows) = self.rows_at(block).filter(|_| !self.settled.has(block)) else {
            return;
        };
        if self.parked.set(block, true) {
            self.parked_count += 1;
            let mut counts = self.parked_of.iter_mut();
            match counts.find(|(of, _)| *of == rows.destination) {
                Some((_, count)) => *count += 1,
                None => self.parked_of.push((rows.destination, 1)),
            }
        }
    }

    fn unpark_at(&mut self, block: usize) {
        if self.parked.set(block, false) {
            self.parked_count -= 1;
            let of = self.rows_at(block).map(|rows| rows.destination);
            for (_, count) in self.parked_of.iter_mut().filter(|(it, _)| Some(*it) == of) {
                *count -= 1;
            }
        }
    }

    /// Takes the first record that waits to be read and is wanted.
    pub(super) fn unpark(&mut self, wanted: &Wanted) -> Option<usize> {
        let block = self.parked_blocks().find(|block| {
            let rows = self.rows_at(*block);
            rows.is_some_and(|rows| wanted.has(rows.destination))
        })?;
        self.unpark_at(block);
        if is_planted(Bug::SettledBeforeDelivery) {
            self.settle(block);
        }
        Some(block)
    }

    fn parked_blocks(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(self.parked.next(0), |block| self.parked.next(block + 1))
    }

    /// True if a record waits to be read.
    #[must_use]
    pub fn has_parked(&self) -> bool {
        self.parked_count > 0
    }

    /// True if a record waits to be read that is wanted.
    #[must_use]
    pub fn has_wanted(&self, wanted: &Wanted) -> bool {
        let mut counts = self.parked_of.iter();
        counts.any(|(of, count)| *count > 0 && wanted.has(*of))
    }

    /// What waits to be read, by destination: how many records, and their rows.
    pub(super) fn waiting(&self) -> Vec<(usize, Rows)> {
        let mut waiting: Vec<(usize, Rows)> = Vec::new();
        for rows in self.parked_blocks().filter_map(|block| self.rows_at(block)) {
            let mut known = waiting.iter_mut();
            match known.find(|(_, of)| of.destination == rows.destination) {
                Some((records, sum)) => {
                    *records += 1;
                    sum.count += rows.count;
                }
                None => waiting.push((1, rows)),
            }
        }
        waiting
    }

    /// True if all records that are not settled wait to be read, and there are some.
    pub(super) fn is_waiting(&self) -> bool {
        self.has_parked() && self.parked_count == self.open
    }

    /// Writes down what is settled, if there is news.
    pub(super) fn write_settled<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        log: LogId,
    ) -> io::Result<()> {
        let has_news = self.has_news || self.durable_end != self.noted_end;
        if !has_news || !self.is_begun {
            return Ok(());
        }
        if self.is_unsure {
            disk.sync(&mut self.file)?;
            self.is_unsure = false;
        }
        // the block that the last sync has made sure of is kept until the next one; without syncs,
        // the one that was written last
        let edition = match self.is_loose && self.is_power {
            true => self.edition + 2,
            false => self.edition + 1,
        };
        let block = Settled {
            log,
            number: self.number,
            edition,
            durable_end: self.durable_end as u64,
            rows_end: self.rows_durable,
            rows_settled: self.rows_settled,
            bits: self.settled.clone(),
        };
        let slot = match is_planted(Bug::SettledInOneSlot) {
            true => 1,
            false => Settled::block_of(edition),
        };
        disk.write(&mut self.file, (slot * BLOCK_BYTES) as u64, &block.encode())?;
        self.edition = edition;
        self.has_news = false;
        self.noted_end = self.durable_end;
        self.is_loose = true;
        Ok(())
    }

    /// Writes down what is settled and makes sure of it. If that fails, no record is written here
    /// any more: Linux tells a failed sync once, and the next one proves nothing.
    pub(super) fn sync_settled<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        log: LogId,
    ) -> io::Result<()> {
        let done = self
            .write_settled(disk, log)
            .and_then(|()| match self.is_loose {
                true => disk.sync(&mut self.file),
                false => Ok(()),
            });
        match done {
            Ok(()) => (self.is_loose, self.is_unnoted) = (false, false),
            // what was written may be gone, whatever the next sync says
            Err(_) => (self.is_failed, self.has_news) = (true, true),
        }
        done
    }

    /// Everything written so far is as safe as was asked for: on stable storage if `is_synced`.
    pub(super) fn committed(&mut self, is_synced: bool) {
        self.is_loose &= !is_synced;
        self.is_begun = true;
        self.durable_end = self.end;
        self.rows_durable = self.rows_end;
    }

    /// A commit has failed that would have put records at these blocks.
    pub(super) fn fail(&mut self, blocks: impl Iterator<Item = usize>) {
        self.is_failed = true;
        self.leftover.extend(blocks);
    }

    /// The bodies of that commit are safe elsewhere: what it may have left here is done with.
    /// True if there was any.
    pub(super) fn give_up_leftover(&mut self) -> bool {
        let has_any = !self.leftover.is_empty();
        for block in self.leftover.drain(..) {
            self.settled.set(block, true);
        }
        self.has_news |= has_any;
        has_any
    }

    /// Gives the unused end of the file back to the file system. Gives how many bytes.
    pub(super) fn shorten<D: Disk<File = F>>(&mut self, disk: &mut D, end: usize) -> u64 {
        let (before, end) = (self.file_bytes, end as u64);
        if end >= before || disk.shorten(&mut self.file, end).is_err() {
            return 0;
        }
        self.file_bytes = end;
        before - end
    }
}
