//! Looking at a spool without touching it: for those who want to know what is in one that is
//! stopped, or in a copy.

use super::blocks::read_record_in;
use super::disk::Disk;
use super::format::{BLOCK_BYTES, LogId};
use super::log::Log;
use super::quarantine::{FOLDER, SEGMENT_ENDING};
use super::record::Body;
use super::scan::{Between, Look, look};
use super::survey::{Known, NoSegment, Survey, survey};
use crate::clock::Mono;
use std::io;
use std::ops::RangeInclusive;

/// A log, and its files.
#[derive(Debug)]
pub struct LogFiles {
    /// Its folder.
    pub folder: String,
    /// Its id.
    pub id: LogId,
    /// Its files.
    pub files: Survey,
}

/// The logs in a spool, oldest first. A folder that cannot be listed is told to `unreadable`.
///
/// # Errors
/// The spool's folder cannot be listed.
pub fn logs<D: Disk>(
    disk: &mut D,
    mut unreadable: impl FnMut(&str, io::Error),
) -> io::Result<Vec<LogFiles>> {
    let mut logs = Vec::new();
    for folder in disk.folders()? {
        let Some(id) = Log::<D::File>::id_of(&folder) else {
            continue;
        };
        match survey(disk, id, &folder) {
            Ok(files) => logs.push(LogFiles { folder, id, files }),
            Err(error) => unreadable(&folder, error),
        }
    }
    Ok(logs)
}

impl LogFiles {
    /// Looks at each segment in turn, oldest first.
    ///
    /// # Errors
    /// What `visit` says.
    pub fn each<D: Disk, E>(
        &self,
        disk: &mut D,
        mut visit: impl FnMut(&mut D, &Known, Result<Look<D::File>, NoSegment>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut before = None;
        for (index, known) in self.files.known.iter().enumerate() {
            let between = Between {
                before,
                next: self.files.known.get(index + 1),
            };
            let looked = look(disk, known, self.id, between);
            before = looked
                .as_ref()
                .ok()
                .map(|look| (look.number, look.rows_end()));
            visit(disk, known, looked)?;
        }
        Ok(())
    }

    /// Numbers of segments that are not there: used up, or lost.
    #[must_use]
    pub fn missing(&self) -> Vec<RangeInclusive<u64>> {
        let known = &self.files.known;
        let pairs = known.iter().zip(known.iter().skip(1));
        pairs
            .filter(|(one, next)| next.number > one.number + 1)
            .map(|(one, next)| one.number + 1..=next.number - 1)
            .collect()
    }
}

/// A file in quarantine.
#[derive(Debug)]
pub struct Kept<F> {
    /// `folder/file`.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Why it is there.
    pub reason: String,
    /// The log that it is a segment of, and what is in it; nothing for what is left of a damaged
    /// body, which only people can make something of.
    pub segment: Option<(LogId, Result<Look<F>, NoSegment>)>,
}

/// What is in quarantine, oldest first.
///
/// # Errors
/// It cannot be listed.
pub fn kept<D: Disk>(disk: &mut D) -> io::Result<Vec<Kept<D::File>>> {
    if !disk.folders()?.iter().any(|folder| folder == FOLDER) {
        return Ok(Vec::new());
    }
    let mut kept = Vec::new();
    for (name, bytes) in disk.files(FOLDER)? {
        let path = format!("{FOLDER}/{name}");
        let (stem, is_segment) = match name.strip_suffix(SEGMENT_ENDING) {
            Some(stem) => (stem, true),
            None => (name.split('.').next().unwrap_or_default(), false),
        };
        let mut parts = stem.splitn(3, '-');
        let (_, id, reason) = (parts.next(), parts.next(), parts.next());
        let id = id.and_then(|id| u128::from_str_radix(id, 16).ok());
        let segment = id.filter(|_| is_segment).map(|id| {
            let known = Known {
                number: 1,
                path: path.clone(),
                bytes,
                rows_before: 0,
                is_exact: true,
                ends_at: None,
                failed_looks: 0,
            };
            let id = LogId(id);
            (id, look(disk, &known, id, Between::default()))
        });
        kept.push(Kept {
            path,
            bytes,
            reason: reason.unwrap_or("unknown").to_owned(),
            segment,
        });
    }
    Ok(kept)
}

/// Why a body cannot be had.
#[derive(Debug)]
pub enum Fault {
    /// It was safe, and is damaged.
    Damaged,
    /// It was being written when the machine stopped, and never was safe.
    Torn,
    /// The disk does not give it.
    Unreadable(io::Error),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Damaged => f.write_str("is damaged"),
            Fault::Torn => f.write_str("was being written when the machine stopped"),
            Fault::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// Reads the body of one of the records that were seen, and its rows as a JSON array; checks all
/// that can be checked.
///
/// # Errors
/// Why it cannot be had.
pub fn read<D: Disk>(
    disk: &mut D,
    look: &mut Look<D::File>,
    id: LogId,
    index: usize,
) -> Result<(Body, Vec<u8>), Fault> {
    let seen = look.records.get(index).ok_or(Fault::Damaged)?;
    let block = seen.block as usize;
    let end = block + seen.head.record_bytes() / BLOCK_BYTES;
    let fault = match block * BLOCK_BYTES < look.durable_end {
        true => Fault::Damaged,
        false => Fault::Torn,
    };
    let of = (id, look.number);
    let record = read_record_in(disk, &mut look.file, of, (block, end));
    let Some((head, content)) = record.map_err(Fault::Unreadable)? else {
        return Err(fault);
    };
    let Some(body) = Body::read(&head, &content, Mono(0)) else {
        return Err(fault);
    };
    match body.payload.raw().filter(|raw| is_cut_at_rows(&body, raw)) {
        Some(raw) => Ok((body, raw)),
        None => Err(fault),
    }
}

/// True if each row ends where the body says, at a comma or at the end of the array.
fn is_cut_at_rows(body: &Body, raw: &[u8]) -> bool {
    let Some((last, others)) = body.payload.ends.split_last() else {
        return false;
    };
    let is = |at: u32, byte: u8| raw.get(at as usize) == Some(&byte);
    is(0, b'[') && is(*last, b']') && others.iter().all(|end| is(*end, b','))
}

/// The rows of a body, each as JSON, from what [`read()`] gives.
pub fn rows<'a>(body: &'a Body, raw: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut start = 1;
    body.payload.ends.iter().map(move |end| {
        let row = raw.get(start..*end as usize).unwrap_or_default();
        start = *end as usize + 1;
        row
    })
}
