//! Reading a segment's file: blocks in a row, and one record.

use super::disk::Disk;
use super::format::{BLOCK_BYTES, BLOCKS_MAX, HEAD_BYTES, LogId, RecordHead};
use super::segment::Segment;
use super::survey::NoSegment;
use std::io;

/// Blocks of a file, read one or many at a time.
pub(super) struct Blocks {
    pub(super) count: usize,
    /// How many are read at once.
    pub(super) ahead: usize,
    first: usize,
    bytes: Vec<u8>,
    /// Why one could not be read.
    pub(super) failed: Option<io::Error>,
}

impl Blocks {
    pub(super) fn of<D: Disk>(
        disk: &mut D,
        file: &mut D::File,
        ahead: usize,
    ) -> Result<Self, NoSegment> {
        let length = disk.length(file).map_err(NoSegment::Unreadable)?;
        let count = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .div_ceil(BLOCK_BYTES);
        Ok(Blocks {
            count: count.min(BLOCKS_MAX),
            ahead,
            first: 0,
            bytes: Vec::new(),
            failed: None,
        })
    }

    /// One block of those that there are; zeros where it cannot be read, or the file has ended.
    pub(super) fn get<D: Disk>(&mut self, disk: &mut D, file: &mut D::File, block: usize) -> &[u8] {
        let is_here =
            block >= self.first && (block - self.first + 1) * BLOCK_BYTES <= self.bytes.len();
        if !is_here {
            let ahead = self.ahead.min(self.count.saturating_sub(block)).max(1);
            self.first = block;
            self.bytes.clear();
            self.bytes.resize(ahead * BLOCK_BYTES, 0);
            let at = (block * BLOCK_BYTES) as u64;
            // a bad sector costs what lies in it, not the segment
            if disk.read(file, at, &mut self.bytes).is_err() {
                self.bytes.truncate(BLOCK_BYTES);
                if let Err(error) = disk.read(file, at, &mut self.bytes) {
                    self.bytes.fill(0);
                    self.failed = Some(error);
                }
            }
        }
        let start = (block - self.first) * BLOCK_BYTES;
        self.bytes
            .get(start..start + BLOCK_BYTES)
            .unwrap_or_default()
    }
}

/// Reads the record that begins at a block: its head and what stands behind it. Nothing if neither
/// head nor tail can be made out.
pub(super) fn read_record<D: Disk>(
    disk: &mut D,
    segment: &mut Segment<D::File>,
    log: LogId,
    block: usize,
) -> io::Result<Option<(RecordHead, Vec<u8>)>> {
    let of = (log, segment.number);
    let end = segment.end_of(block);
    read_record_in(disk, &mut segment.file, of, (block, end))
}

/// The same for one that ends before another block.
pub fn read_record_in<D: Disk>(
    disk: &mut D,
    file: &mut D::File,
    of: (LogId, u64),
    (block, end): (usize, usize),
) -> io::Result<Option<(RecordHead, Vec<u8>)>> {
    let at = (block * BLOCK_BYTES) as u64;
    let mut start = vec![0; BLOCK_BYTES];
    disk.read(file, at, &mut start)?;
    let head = match RecordHead::decode(&start, of) {
        Ok(head) => head,
        Err(_) => match tail_in(disk, file, of, (block, end))? {
            Some(head) => head,
            None => return Ok(None),
        },
    };
    let mut content = vec![0; head.content_bytes()];
    let has = disk.read(file, at + HEAD_BYTES as u64, &mut content)?;
    Ok((has == content.len()).then_some((head, content)))
}

/// The tail of the record that begins at a block whose head is damaged.
fn tail_in<D: Disk>(
    disk: &mut D,
    file: &mut D::File,
    of: (LogId, u64),
    (start, end): (usize, usize),
) -> io::Result<Option<RecordHead>> {
    let mut block = vec![0; BLOCK_BYTES];
    for index in start..end {
        disk.read(file, (index * BLOCK_BYTES) as u64, &mut block)?;
        if let Ok(head) = RecordHead::decode_tail(&block, of) {
            let begins_at = (index + 1).checked_sub(head.record_bytes() / BLOCK_BYTES);
            return Ok((begins_at == Some(start)).then_some(head));
        }
    }
    Ok(None)
}
