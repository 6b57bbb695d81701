//! What we know of ext4: its superblock, enough to tell whose a partition is, and to give a new file
//! system names of its own. No IO.
//!
//! (Layout: the kernel's `Documentation/filesystems/ext4/super.rst`.)

/// Where the superblock begins in the partition, and how large it is.
pub(crate) const SUPERBLOCK_OFFSET: usize = 1024;
const SUPERBLOCK_BYTES: usize = 1024;
/// The block size of our file systems: the only one that our seed has.
pub(crate) const BLOCK_BYTES: usize = 4096;

const BLOCKS_LOW: usize = 0x04;
const BLOCK_SIZE_LOG: usize = 0x18;
const BLOCKS_PER_GROUP: usize = 0x20;
const MAGIC: usize = 0x38;
const INCOMPATIBLE: usize = 0x60;
const READ_ONLY_COMPATIBLE: usize = 0x64;
const UUID: usize = 0x68;
const HASH_SEED: usize = 0xec;
const BLOCKS_HIGH: usize = 0x150;
const CHECKSUM: usize = 0x3fc;

const INCOMPATIBLE_64BIT: u32 = 0x80;
const INCOMPATIBLE_CHECKSUM_SEED: u32 = 0x2000;
const READ_ONLY_COMPATIBLE_CHECKSUMS: u32 = 0x400;

/// Whether the magic number of ext2, 3 and 4 is there; `head` is the partition's beginning.
#[must_use]
pub(crate) fn is_there(head: &[u8]) -> bool {
    superblock(head).is_some_and(|block| block[MAGIC..MAGIC + 2] == [0x53, 0xef])
}

/// What a superblock says of its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Size of the file system.
    pub(crate) bytes: u64,
    /// Its name for programs.
    pub(crate) uuid: [u8; 16],
    /// Blocks of a group, of which some begin with a copy of the superblock.
    blocks_per_group: u32,
    /// The checksums do not hang on the UUID.
    may_be_renamed: bool,
}

impl Superblock {
    /// Reads the superblock out of the first 2 KiB of a partition; nothing if it is not one, or its
    /// checksum is wrong, or its numbers are.
    #[must_use]
    pub(crate) fn parse(head: &[u8]) -> Option<Superblock> {
        let block = superblock(head).filter(|_| is_there(head))?;
        let checksums = u32_at(block, READ_ONLY_COMPATIBLE) & READ_ONLY_COMPATIBLE_CHECKSUMS != 0;
        if checksums && u32_at(block, CHECKSUM) != checksum(block) {
            return None;
        }
        let block_bytes = 1024u64
            .checked_shl(u32_at(block, BLOCK_SIZE_LOG))
            .filter(|size| (1024..=65536).contains(size))?;
        let incompatible = u32_at(block, INCOMPATIBLE);
        let high = if incompatible & INCOMPATIBLE_64BIT != 0 {
            u32_at(block, BLOCKS_HIGH)
        } else {
            0
        };
        let blocks = u64::from(high) << 32 | u64::from(u32_at(block, BLOCKS_LOW));
        Some(Superblock {
            bytes: blocks.checked_mul(block_bytes)?,
            uuid: block[UUID..UUID + 16].try_into().ok()?,
            blocks_per_group: u32_at(block, BLOCKS_PER_GROUP),
            may_be_renamed: checksums
                && incompatible & INCOMPATIBLE_CHECKSUM_SEED != 0
                && block_bytes == BLOCK_BYTES as u64,
        })
    }

    /// Where in a new file system of so many bytes superblocks may be: the first, and the beginnings of
    /// the groups. Nothing if it may not be given another UUID.
    #[must_use]
    pub(crate) fn places(&self, image_bytes: u64) -> Option<Vec<u64>> {
        let group_bytes = u64::from(self.blocks_per_group)
            .checked_mul(BLOCK_BYTES as u64)
            .filter(|size| *size >= 1024 * 1024)?;
        let copies = (1..image_bytes.div_ceil(group_bytes)).map(|group| group * group_bytes);
        self.may_be_renamed.then(|| {
            [SUPERBLOCK_OFFSET as u64]
                .into_iter()
                .chain(copies)
                .collect()
        })
    }
}

/// Gives a superblock or a copy of it (1 KiB) this UUID, and this secret for the hashes of its
/// directories; `false` if it is none, which is so at the beginning of most groups.
pub(crate) fn rename(block: &mut [u8], uuid: [u8; 16], hash_seed: [u8; 16]) -> bool {
    let right = block.len() == SUPERBLOCK_BYTES
        && block[MAGIC..MAGIC + 2] == [0x53, 0xef]
        && u32_at(block, CHECKSUM) == checksum(block);
    if right {
        block[UUID..UUID + 16].copy_from_slice(&uuid);
        block[HASH_SEED..HASH_SEED + 16].copy_from_slice(&hash_seed);
        let sum = checksum(block);
        block[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    }
    right
}

/// The kernel's CRC-32C: as everybody's, but not inverted at the end.
fn checksum(superblock: &[u8]) -> u32 {
    !crc32c::crc32c(&superblock[..CHECKSUM])
}

fn superblock(head: &[u8]) -> Option<&[u8]> {
    head.get(SUPERBLOCK_OFFSET..SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES)
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    block
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}
