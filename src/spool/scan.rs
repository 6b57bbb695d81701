//! A look at a segment: its records, and how many rows are missing.
//!
//! Only heads and tails of records are read. Lengths and places come from the disk and are believed
//! no further than the file reaches.

use super::blocks::Blocks;
use super::disk::Disk;
use super::format::{BLOCK_BYTES, FIRST_BLOCK, LogId, RecordHead, Settled};
use super::survey::{Known, LOOK_BLOCKS, NoSegment, ZEROS, identify};
use crate::planted::{Bug, is_planted};

/// What a look at a segment found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Records that are not settled...
    pub bodies: u64,
    /// ...and their rows.
    pub rows: u64,
    /// Rows that were safe and are damaged beyond reading.
    pub rows_damaged: u64,
    /// Rows that were being written when the machine stopped, and were never safe.
    pub rows_torn: u64,
    /// There is something to be written down.
    pub has_news: bool,
    /// Bytes that were given back to the file system.
    pub given_back: u64,
}

/// A record that was seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The block that it begins in.
    pub block: u32,
    /// Its head, or its tail.
    pub head: RecordHead,
    /// It is done with.
    pub is_settled: bool,
}

/// Rows that are missing between two records, or behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The byte that the first of their records began at.
    pub at: usize,
    /// Rows of the log before them.
    pub rows_before: u64,
    /// How many.
    pub rows_count: u64,
    /// They were safe once.
    pub is_safe: bool,
}

/// What there is in a segment.
#[derive(Debug)]
pub struct Look<F> {
    pub(super) file: F,
    pub(super) file_bytes: u64,
    /// Its number in the log.
    pub number: u64,
    /// Its records whose head or tail is whole, in order.
    pub records: Vec<Seen>,
    /// Where copies of records stand that the next segment has.
    pub(super) leftover: Vec<usize>,
    /// Rows that are missing. Those that were done with are among them.
    pub gaps: Vec<Gap>,
    pub(super) settled: Option<Settled>,
    /// Behind the last record.
    pub(super) end: usize,
    /// Behind the last block that is not zero, as far as the look went.
    pub(super) used_end: usize,
    /// Rows of the log up to the end.
    pub(super) rows_end: u64,
    /// Up to here it was safe.
    pub durable_end: usize,
    pub(super) rows_durable: u64,
    /// A block of it could not be read.
    pub has_failed: bool,
}

impl<F> Look<F> {
    /// The sums.
    #[must_use]
    pub fn found(&self) -> Found {
        let mut found = Found::default();
        let mut rows_settled = 0;
        for seen in &self.records {
            let rows = u64::from(seen.head.rows_count);
            if !seen.is_settled {
                found.bodies += 1;
                found.rows += rows;
            } else if (seen.block as usize) * BLOCK_BYTES < self.durable_end {
                rows_settled += rows;
            }
        }
        let settled = self.settled.as_ref();
        // done with, and gone since: nothing is lost with them
        let gone = settled.map_or(0, |settled| {
            settled.rows_settled.saturating_sub(rows_settled)
        });
        for gap in &self.gaps {
            let is_counted = settled.is_some_and(|settled| settled.bits.has(gap.at / BLOCK_BYTES));
            match gap.is_safe {
                true => found.rows_damaged += gap.rows_count,
                false if is_counted => {}
                false => found.rows_torn += gap.rows_count,
            }
        }
        found.rows_damaged = found.rows_damaged.saturating_sub(gone);
        if is_planted(Bug::GapsNotCounted) {
            (found.rows_damaged, found.rows_torn) = (0, 0);
        }
        found
    }

    /// Rows of the log up to its end.
    #[must_use]
    pub fn rows_end(&self) -> u64 {
        self.rows_end
    }

    /// The settled block that counts, if one of them is whole.
    #[must_use]
    pub fn young_settled_block(&self) -> Option<usize> {
        let settled = self.settled.as_ref()?;
        Some(Settled::block_of(settled.edition))
    }

    /// What lies behind this byte is of no use to anybody.
    pub(super) fn needed_end(&self) -> usize {
        match self.gaps.is_empty() {
            true => self.end,
            false => self.end.max(self.used_end),
        }
    }
}

/// The segments before and after one, of those that are there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Between<'a> {
    /// The number of the one before, and the rows of the log up to its end.
    pub before: Option<(u64, u64)>,
    /// The one after.
    pub next: Option<&'a Known>,
}

/// Looks through a segment.
///
/// # Errors
/// It is none, or cannot be read at all.
pub fn look<D: Disk>(
    disk: &mut D,
    known: &Known,
    log: LogId,
    between: Between<'_>,
) -> Result<Look<D::File>, NoSegment> {
    let mut file = disk.open(&known.path).map_err(NoSegment::Unreadable)?;
    let (head, is_exact) = identify(disk, &mut file, log)?;
    let before = between
        .before
        .filter(|(number, _)| !is_exact && number + 1 == head.number);
    let rows_before = before.map_or(head.rows_before, |(_, rows)| rows.min(head.rows_before));
    let file_bytes = disk.length(&mut file).map_err(NoSegment::Unreadable)?;
    let of = (log, head.number);
    let mut blocks = Blocks::of(disk, &mut file, 1)?;
    let settled = settled_of(disk, &mut file, &mut blocks, of);
    let mut look = Look {
        file,
        file_bytes,
        number: head.number,
        records: Vec::new(),
        leftover: Vec::new(),
        gaps: Vec::new(),
        settled,
        end: FIRST_BLOCK * BLOCK_BYTES,
        used_end: 0,
        rows_end: rows_before,
        durable_end: 0,
        rows_durable: rows_before,
        has_failed: false,
    };
    // The next segment was begun when all rows before it were safe. What stands here from there on
    // is of a commit that failed: its bodies were written again, there.
    let next = between.next.filter(|next| next.is_exact);
    let rows_most = next.map_or(u64::MAX, |next| next.rows_before);
    let ends_at = known.ends_at.and_then(|end| usize::try_from(end).ok());
    let ends_before = ends_at.map_or(usize::MAX, |end| end / BLOCK_BYTES);
    let mut safe_end = 0;
    let mut block = FIRST_BLOCK;
    while block < blocks.count {
        let bytes = blocks.get(disk, &mut look.file, block);
        let Some((start, head)) = record_in(bytes, of, block, look.end / BLOCK_BYTES) else {
            if bytes != ZEROS {
                look.used_end = (block + 1) * BLOCK_BYTES;
                if is_planted(Bug::NoResync) {
                    break;
                }
            }
            blocks.ahead = LOOK_BLOCKS;
            block += 1;
            continue;
        };
        blocks.ahead = 1;
        // what a failed commit has left says how many rows there were before it; what is behind its
        // first record may have been written again, and settled, elsewhere
        if start <= ends_before {
            look.gap(head.rows_before.min(rows_most));
        }
        let durable_before = usize::try_from(head.durable_before).unwrap_or(usize::MAX);
        look.durable_end = look.durable_end.max(durable_before);
        let rows_end = head.rows_before + u64::from(head.rows_count);
        block = start + head.record_bytes() / BLOCK_BYTES;
        if block > blocks.count {
            // the file was cut off within it
            if start < ends_before {
                look.gap(rows_end.min(rows_most));
            }
            look.end = blocks.count * BLOCK_BYTES;
            break;
        }
        look.end = block * BLOCK_BYTES;
        if head.rows_before >= rows_most || start >= ends_before {
            look.leftover.push(start);
            continue;
        }
        look.rows_end = look.rows_end.max(rows_end);
        safe_end = look.end;
        let bits = look.settled.as_ref().map(|settled| &settled.bits);
        look.records.push(Seen {
            block: u32::try_from(start).unwrap_or(u32::MAX),
            head,
            is_settled: bits.is_some_and(|bits| bits.has(start)),
        });
    }
    if next.is_some() || ends_at.is_some() {
        look.durable_end = look.durable_end.max(safe_end);
    }
    look.close(next);
    look.has_failed = blocks.failed.is_some();
    Ok(look)
}

impl<F> Look<F> {
    /// All rows up to here were written; those that were not seen are missing.
    fn gap(&mut self, rows_end: u64) {
        if let Some(rows_count) = rows_end.checked_sub(self.rows_end).filter(|rows| *rows > 0) {
            self.gaps.push(Gap {
                at: self.end,
                rows_before: self.rows_end,
                rows_count,
                is_safe: false,
            });
            self.rows_end = rows_end;
        }
    }

    /// What stands behind the last record, and what of all was safe.
    fn close(&mut self, next: Option<&Known>) {
        let noted = self.settled.as_ref();
        let noted_end = noted.map_or(0, |settled| {
            usize::try_from(settled.durable_end).unwrap_or(usize::MAX)
        });
        let noted_rows = noted.map_or(0, |settled| settled.rows_end);
        self.durable_end = self.durable_end.max(noted_end);
        let follower = next.filter(|next| next.number == self.number + 1);
        let rows_after = follower.map_or(0, |next| next.rows_before);
        self.gap(noted_rows.max(rows_after));
        let durable_end = self.durable_end;
        let is_safe = |block: u32| (block as usize) * BLOCK_BYTES < durable_end;
        let rows = self.records.iter().filter(|seen| is_safe(seen.block));
        let rows = rows.map(|seen| seen.head.rows_before + u64::from(seen.head.rows_count));
        let seen_rows = rows.max().unwrap_or(0);
        self.rows_durable = self
            .rows_durable
            .max(noted_rows)
            .max(rows_after)
            .max(seen_rows);
        let promised = noted_rows.max(rows_after);
        for gap in &mut self.gaps {
            gap.is_safe =
                is_planted(Bug::TornBelieved) || gap.at < durable_end || gap.rows_before < promised;
        }
    }
}

/// The record whose head or tail this block holds, and the block that it begins in. `free` is the
/// first block that it may begin in.
fn record_in(
    bytes: &[u8],
    of: (LogId, u64),
    block: usize,
    free: usize,
) -> Option<(usize, RecordHead)> {
    if let Ok(head) = RecordHead::decode(bytes, of) {
        return Some((block, head));
    }
    // no head here: perhaps the tail of a record whose head is damaged
    let head = RecordHead::decode_tail(bytes, of).ok()?;
    let start = (block + 1).checked_sub(head.record_bytes() / BLOCK_BYTES)?;
    (start >= free).then_some((start, head))
}

/// The settled block that counts.
fn settled_of<D: Disk>(
    disk: &mut D,
    file: &mut D::File,
    blocks: &mut Blocks,
    of: (LogId, u64),
) -> Option<Settled> {
    let mut best: Option<Settled> = None;
    for block in 1..FIRST_BLOCK.min(blocks.count) {
        if let Ok(settled) = Settled::decode(blocks.get(disk, file, block), of)
            && best
                .as_ref()
                .is_none_or(|best| settled.edition > best.edition)
        {
            best = Some(settled);
        }
    }
    best
}
