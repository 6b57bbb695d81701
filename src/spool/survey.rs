//! The files of a log's folder: which are its segments, by their heads, and what the others are.

use super::blocks::Blocks;
use super::disk::Disk;
use super::format::{BLOCK_BYTES, FIRST_BLOCK, LogId, RecordHead, SegmentHead, Unlike};
use crate::planted::{Bug, is_planted};
use std::io;

/// Blocks that are read at once where no record was found yet.
pub(super) const LOOK_BLOCKS: usize = 64;
/// How the names of segments begin.
pub(super) const NAME_START: &str = "segment-";
const NAME_DIGITS_LEAST: usize = 8;
pub(super) const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Why a file is not taken for a segment of the log; it is left alone.
#[derive(Debug)]
pub enum NoSegment {
    /// Nothing in it is a record of the log.
    Strange,
    /// Nothing was ever written to it: the machine stopped before.
    Empty,
    /// Of another log.
    Foreign,
    /// Not named as a segment.
    Misnamed,
    /// A segment that is there already, under another name.
    Twice,
    /// Written by a newer program.
    Newer(u32),
    /// It cannot be read.
    Unreadable(io::Error),
}

impl std::fmt::Display for NoSegment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoSegment::Strange => f.write_str("holds no record of this log"),
            NoSegment::Empty => f.write_str("is empty"),
            NoSegment::Foreign => f.write_str("belongs to another log"),
            NoSegment::Misnamed => f.write_str("is not named as a segment"),
            NoSegment::Twice => f.write_str("is a segment that another file here holds already"),
            NoSegment::Newer(version) => {
                write!(f, "has format {version}: a newer cefline wrote it")
            }
            NoSegment::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// A file that is a segment of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// Its number in the log.
    pub number: u64,
    /// `folder/file`.
    pub path: String,
    /// Length of the file.
    pub bytes: u64,
    /// Rows of the log before it...
    pub rows_before: u64,
    /// ...or more: its head is gone, and so are its first records.
    pub is_exact: bool,
    /// What lies behind this byte, a commit that failed has left, if it is known.
    pub ends_at: Option<u64>,
    /// Looks at it that have failed for something that could not be read.
    pub failed_looks: u32,
}

/// The files of a log's folder: its segments, oldest first, and what is none of them.
#[derive(Debug, Default)]
pub struct Survey {
    /// Segments.
    pub known: Vec<Known>,
    /// Others.
    pub strange: Vec<(String, NoSegment)>,
}

/// Goes through the folder of a log, by the heads of its segments.
///
/// # Errors
/// The folder cannot be listed.
pub fn survey<D: Disk>(disk: &mut D, id: LogId, folder: &str) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let mut ended = Vec::new();
    for (name, bytes) in disk.files(folder)? {
        let path = format!("{folder}/{name}");
        let digits = name.strip_prefix(NAME_START).unwrap_or_default();
        let is_named =
            digits.len() >= NAME_DIGITS_LEAST && digits.bytes().all(|byte| byte.is_ascii_digit());
        let head = match is_named {
            true => disk
                .open(&path)
                .map_err(NoSegment::Unreadable)
                .and_then(|mut file| identify(disk, &mut file, id)),
            false => Err(NoSegment::Misnamed),
        };
        let is_there = |number| survey.known.iter().any(|known| known.number == number);
        match head {
            // somebody has copied it
            Ok((head, _)) if is_there(head.number) => survey.strange.push((path, NoSegment::Twice)),
            Ok((head, is_exact)) => {
                ended.extend(head.ended);
                survey.known.push(Known {
                    number: head.number,
                    path,
                    bytes,
                    rows_before: head.rows_before,
                    is_exact,
                    ends_at: None,
                    failed_looks: 0,
                })
            }
            Err(why) => survey.strange.push((path, why)),
        }
    }
    survey.known.sort_unstable();
    for known in &mut survey.known {
        let mut ends = ended.iter().filter(|(number, _)| *number == known.number);
        known.ends_at = ends.next().map(|(_, end)| *end);
    }
    Ok(survey)
}

/// Reads what a file says of itself: its log and number, and rows before it; and whether there are
/// not fewer rows before it than that.
pub(super) fn identify<D: Disk>(
    disk: &mut D,
    file: &mut D::File,
    log: LogId,
) -> Result<(SegmentHead, bool), NoSegment> {
    let mut blocks = Blocks::of(disk, file, 1)?;
    if blocks.count > 0 {
        match SegmentHead::decode(blocks.get(disk, file, 0)) {
            Ok(head) if head.log == log => return Ok((head, true)),
            Ok(_) => return Err(NoSegment::Foreign),
            Err(Unlike::Newer(version)) => return Err(NoSegment::Newer(version)),
            Err(_) => {}
        }
    }
    if is_planted(Bug::HeadDamageStops) {
        return Err(NoSegment::Strange);
    }
    // the head is damaged: the first record of its youngest use tells
    blocks.ahead = LOOK_BLOCKS;
    let mut is_empty = true;
    let mut best: Option<(usize, RecordHead)> = None;
    for block in 0..blocks.count {
        let bytes = blocks.get(disk, file, block);
        is_empty &= bytes == ZEROS;
        let tail = RecordHead::decode_any_tail(bytes);
        let tail = tail.map(|tail| {
            let blocks_count = tail.record_bytes() / BLOCK_BYTES;
            ((block + 1).saturating_sub(blocks_count), tail)
        });
        let head = RecordHead::decode_any(bytes).map(|head| (block, head));
        for (start, head) in [head, tail].into_iter().flatten() {
            let is_better = best.is_none_or(|(_, best)| {
                head.segment > best.segment
                    || head.segment == best.segment && head.sequence < best.sequence
            });
            if head.log == log && is_better && start >= FIRST_BLOCK {
                best = Some((start, head));
            }
        }
    }
    if let Some((start, head)) = best {
        let said = SegmentHead {
            log,
            number: head.segment,
            rows_before: match head.segment {
                1 => 0,
                _ => head.rows_before,
            },
            ended: Vec::new(),
        };
        return Ok((said, head.segment == 1 || start == FIRST_BLOCK));
    }
    Err(match blocks.failed {
        Some(error) => NoSegment::Unreadable(error),
        None if is_empty => NoSegment::Empty,
        None => NoSegment::Strange,
    })
}
