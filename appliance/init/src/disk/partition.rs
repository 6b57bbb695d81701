//! The data partition from nothing to an empty file system, in steps of which each may be the last one
//! before a power cut.
//!
//! ```text
//! 1  mark where the partition will begin: "being made", with the partition's id
//! 2  table: the partition is there                          (see gpt)
//! 3  zeros, then the seed, but for its first block
//! 4  first block: superblock, and still the mark
//! 5  the mark goes
//! ```
//!
//! The next boot finds one of these:
//! * no partition (cut before 2 was whole): it begins anew; free space is nobody's;
//! * the mark with the partition's id (cut in 2 to 5): it begins at 3 again;
//! * no mark: the file system is whole.
//!
//! So nothing is ever overwritten but free space, what carries our mark, and what is blank. Whatever
//! else a partition of our name holds is somebody's, and is refused.

use super::device;
use super::ext4::{self, BLOCK_BYTES, SUPERBLOCK_OFFSET, Superblock};
use super::gpt::{Guid, Table, Write};
use super::seed::Seed;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What stands at the beginning of a partition that is being made, before its id.
const MARK: &[u8; 32] = b"cefline-data is being made here\n";
/// A partition is blank if it begins and ends with so many zeros: every file system and volume manager
/// has something there.
const BLANK_BYTES: u64 = 1024 * 1024;

/// What a partition named as ours holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing.
    Blank,
    /// What we had begun to make.
    Unfinished,
    /// An ext file system, right or damaged: the check will say.
    Ext4,
    /// Something else: not ours.
    Foreign,
}

/// Looks at a partition of so many bytes.
pub(super) fn content(partition: &File, bytes: u64, id: Guid) -> io::Result<Content> {
    let mut head = vec![0; usize::try_from(bytes.min(BLANK_BYTES)).map_err(io::Error::other)?];
    partition.read_exact_at(&mut head, 0)?;
    if head.starts_with(&mark(id)) {
        return Ok(Content::Unfinished);
    }
    if ext4::is_there(&head) {
        return Ok(Content::Ext4);
    }
    let mut tail = vec![0; head.len()];
    partition.read_exact_at(&mut tail, bytes - head.len() as u64)?;
    let blank = head.iter().chain(&tail).all(|byte| *byte == 0);
    Ok(if blank {
        Content::Blank
    } else {
        Content::Foreign
    })
}

/// Step 1: the mark, at the offset where the partition begins.
pub(super) fn write_mark(file: &File, offset: u64, id: Guid) -> io::Result<()> {
    file.write_all_at(&mark(id), offset)?;
    file.sync_data()
}

/// Step 2, and whenever a table changes: each write is on the disk before the next.
pub(super) fn write_table(disk: &File, table: &Table) -> io::Result<()> {
    for Write { offset, bytes } in table.writes() {
        disk.write_all_at(&bytes, offset)?;
        disk.sync_data()?;
    }
    Ok(())
}

/// Steps 3 to 5, on a partition that has the mark, with a UUID and a secret of this machine.
pub(super) fn sow(
    partition: &File,
    seed: &Seed<'_>,
    uuid: [u8; 16],
    hash_seed: [u8; 16],
) -> io::Result<()> {
    let block = BLOCK_BYTES as u64;
    device::zero(partition, block, seed.image_bytes)?;
    for (at, run) in &seed.runs {
        let skip = usize::try_from(block.saturating_sub(*at)).unwrap_or(usize::MAX);
        if let Some(run) = run.get(skip..) {
            partition.write_all_at(run, at + skip as u64)?;
        }
    }
    let mut first = seed.image(0, BLOCK_BYTES);
    let no_seed = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the seed is no file system that may be renamed",
        )
    };
    let places = Superblock::parse(&first)
        .and_then(|superblock| superblock.places(seed.image_bytes))
        .ok_or_else(no_seed)?;
    for place in places {
        let mut copy = seed.image(place, 1024);
        if !ext4::rename(&mut copy, uuid, hash_seed) {
            continue;
        }
        if place == SUPERBLOCK_OFFSET as u64 {
            first[SUPERBLOCK_OFFSET..SUPERBLOCK_OFFSET + 1024].copy_from_slice(&copy);
        } else {
            partition.write_all_at(&copy, place)?;
        }
    }
    partition.sync_data()?;
    // the mark is in the first 1 KiB, which ext4 does not use
    partition.write_all_at(&first[SUPERBLOCK_OFFSET..], SUPERBLOCK_OFFSET as u64)?;
    partition.sync_data()?;
    partition.write_all_at(&first[..SUPERBLOCK_OFFSET], 0)?;
    partition.sync_data()
}

fn mark(id: Guid) -> Vec<u8> {
    [MARK.as_slice(), &id.0].concat()
}

#[cfg(test)]
mod tests;
