//! A writer that notes what it was promised, and what is left of it after a power cut.
//!
//! Two kinds of files: logs, whose records wait in the kernel's cache until they are synced, and
//! blocks, which go past that cache to the disk, so that without a sync it is the disk that loses
//! them.

use crate::platter::SECTOR;
use fastrand::Rng;
use nix::fcntl::OFlag;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a log's record.
const RECORD: usize = 100;
/// Direct writes are of whole blocks at addresses of whole blocks.
const BLOCK: usize = 4096;
/// Blocks of one file.
const BLOCKS: u64 = 256;
/// A disk that is not cut after so many steps never is.
const STEPS_MAX: u64 = 100_000;

/// A file that grows.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    number: u64,
    written: u64,
    /// Records that a sync of the file has covered; none before its folder was synced as well.
    synced: u64,
}

/// A file that has its length from the start and is written block by block.
#[derive(Debug)]
struct Blocks {
    path: PathBuf,
    number: u64,
    written: u64,
    synced: u64,
}

/// What must be there, and what may.
#[derive(Debug)]
pub(crate) struct Promises {
    folder: PathBuf,
    logs: Vec<Log>,
    blocks: Blocks,
}

/// What is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Promises that were not kept.
    pub(crate) broken: Vec<String>,
    /// Records and blocks that were promised and are there.
    pub(crate) synced: u64,
    /// Records that were not promised and are gone.
    pub(crate) records_lost: u64,
    /// Blocks that were not promised and are gone, wholly there, or partly.
    pub(crate) blocks_lost: u64,
    pub(crate) blocks_kept: u64,
    pub(crate) blocks_torn: u64,
}

impl Found {
    pub(crate) fn add(&mut self, other: Found) {
        self.broken.extend(other.broken);
        self.synced += other.synced;
        self.records_lost += other.records_lost;
        self.blocks_lost += other.blocks_lost;
        self.blocks_kept += other.blocks_kept;
        self.blocks_torn += other.blocks_torn;
    }
}

impl Promises {
    /// A folder of its own below `root`, named by a number, with the blocks' file.
    pub(crate) fn begin(root: &Path, number: u64) -> io::Result<Promises> {
        let name = format!("round-{number}");
        let folder = root.join(&name);
        fs::create_dir(&folder)?;
        let path = folder.join("blocks");
        let file = File::create(&path)?;
        file.write_all_at(&vec![0; BLOCK * BLOCKS as usize], 0)?;
        file.sync_all()?;
        sync_folder(&folder)?;
        sync_folder(root)?;
        Ok(Promises {
            folder: PathBuf::from(name),
            logs: Vec::new(),
            blocks: Blocks {
                path: PathBuf::from("blocks"),
                number,
                written: 0,
                synced: 0,
            },
        })
    }

    /// Writes until the disk fails.
    pub(crate) fn write_on(&mut self, root: &Path, chance: &mut Rng) -> io::Error {
        for _ in 0..STEPS_MAX {
            if let Err(error) = self.step(root, chance) {
                return error;
            }
        }
        panic!("the disk has not failed in {STEPS_MAX} steps");
    }

    /// Does one thing of those that programs do.
    fn step(&mut self, root: &Path, chance: &mut Rng) -> io::Result<()> {
        match chance.u32(0..100) {
            0..55 => self.append(root, chance.u64(1..40)),
            55..65 => self.sync_log(root),
            65..70 => self.new_log(root),
            70..95 => self.write_block(root),
            _ => self.sync_blocks(root),
        }
    }

    pub(crate) fn new_log(&mut self, root: &Path) -> io::Result<()> {
        let number = self.logs.len() as u64;
        let path = PathBuf::from(format!("log-{number}"));
        File::create(root.join(&self.folder).join(&path))?;
        self.logs.push(Log {
            path,
            number,
            written: 0,
            synced: 0,
        });
        Ok(())
    }

    pub(crate) fn append(&mut self, root: &Path, count: u64) -> io::Result<()> {
        let Some(log) = self.logs.last_mut() else {
            return self.new_log(root);
        };
        let path = root.join(&self.folder).join(&log.path);
        let mut file = OpenOptions::new().append(true).open(path)?;
        let records: Vec<u8> = (log.written..log.written + count)
            .flat_map(|record| record_bytes(log.number, record))
            .collect();
        file.write_all(&records)?;
        log.written += count;
        Ok(())
    }

    pub(crate) fn sync_log(&mut self, root: &Path) -> io::Result<()> {
        let Some(log) = self.logs.last_mut() else {
            return Ok(());
        };
        let folder = root.join(&self.folder);
        File::open(folder.join(&log.path))?.sync_data()?;
        if log.synced == 0 {
            sync_folder(&folder)?;
        }
        log.synced = log.written;
        Ok(())
    }

    pub(crate) fn write_block(&mut self, root: &Path) -> io::Result<()> {
        let blocks = &mut self.blocks;
        if blocks.written == BLOCKS {
            return Ok(());
        }
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(OFlag::O_DIRECT.bits())
            .open(root.join(&self.folder).join(&blocks.path))?;
        // room to find an address of whole blocks in
        let mut room = vec![0; 2 * BLOCK];
        let start = room.as_ptr().align_offset(BLOCK);
        let block = &mut room[start..start + BLOCK];
        block.copy_from_slice(&block_bytes(blocks.number, blocks.written));
        // the attempt counts: a write that has failed may have been done
        let at = blocks.written * BLOCK as u64;
        blocks.written += 1;
        file.write_all_at(block, at)
    }

    pub(crate) fn sync_blocks(&mut self, root: &Path) -> io::Result<()> {
        File::open(root.join(&self.folder).join(&self.blocks.path))?.sync_data()?;
        self.blocks.synced = self.blocks.written;
        Ok(())
    }

    /// Looks at what is there after a cut.
    pub(crate) fn look(&self, root: &Path) -> Found {
        let mut found = Found::default();
        let folder = root.join(&self.folder);
        for log in &self.logs {
            log.look(&folder, &mut found);
        }
        self.blocks.look(&folder, &mut found);
        found
    }
}

impl Log {
    fn look(&self, folder: &Path, found: &mut Found) {
        let path = folder.join(&self.path);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound && self.synced == 0 => Vec::new(),
            Err(error) => {
                found.broken.push(format!("{}: {error}", path.display()));
                return;
            }
        };
        let records = bytes.chunks(RECORD).zip(0..);
        let right = records
            .take_while(|(bytes, record)| *bytes == record_bytes(self.number, *record))
            .count() as u64;
        found.synced += self.synced.min(right);
        found.records_lost += self.written.saturating_sub(right.max(self.synced));
        if right < self.synced {
            found.broken.push(format!(
                "{}: {right} records of {} synced and {} written",
                path.display(),
                self.synced,
                self.written
            ));
        }
    }
}

impl Blocks {
    fn look(&self, folder: &Path, found: &mut Found) {
        let path = folder.join(&self.path);
        let bytes = match fs::read(&path) {
            Ok(bytes) if bytes.len() == BLOCK * BLOCKS as usize => bytes,
            other => {
                let what = other.map(|bytes| bytes.len());
                found.broken.push(format!("{}: {what:?}", path.display()));
                return;
            }
        };
        for (bytes, number) in bytes.chunks(BLOCK).zip(0..) {
            let expected = block_bytes(self.number, number);
            let sectors = bytes.chunks(SECTOR).zip(expected.chunks(SECTOR));
            let is_strange = |(is, expected): &(&[u8], &[u8])| {
                is != expected && is.iter().any(|byte| *byte != 0)
            };
            let strange = sectors.clone().filter(is_strange).count();
            let right = sectors.filter(|(is, expected)| is == expected).count();
            let is_promised = number < self.synced;
            if strange > 0 || (is_promised && right < BLOCK / SECTOR) {
                found.broken.push(format!(
                    "{}: block {number}, {} synced, has {right} sectors and {strange} strange ones",
                    path.display(),
                    self.synced
                ));
            } else if is_promised {
                found.synced += 1;
            } else if number < self.written {
                match right {
                    0 => found.blocks_lost += 1,
                    all if all == BLOCK / SECTOR => found.blocks_kept += 1,
                    _ => found.blocks_torn += 1,
                }
            }
        }
    }
}

/// A record that is no other's.
fn record_bytes(log: u64, record: u64) -> Vec<u8> {
    let mut text = format!("log {log} record {record} ");
    text.extend(std::iter::repeat_n('.', RECORD - 1 - text.len()));
    text.push('\n');
    text.into_bytes()
}

/// A block of sectors that are no others'.
fn block_bytes(file: u64, block: u64) -> Vec<u8> {
    let mut text = String::with_capacity(BLOCK);
    for sector in 0..BLOCK / SECTOR {
        let _ = write!(text, "file {file} block {block} sector {sector} ");
        text.extend(std::iter::repeat_n('.', (sector + 1) * SECTOR - text.len()));
    }
    text.into_bytes()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
