//! Disks as the kernel shows them: which there are, and the few calls that only block devices have.

use super::gpt::{self, Partition, Shape, Table};
use super::{Error, io_error};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Where the kernel lists block devices.
const BLOCK: &str = "/sys/class/block";
/// More disks than this are not looked at: a machine for this has one or two.
const DISKS_COUNT_MAX: usize = 64;
/// Names of devices that are no disks of a machine.
const NOT_DISKS: [&str; 8] = ["loop", "ram", "zram", "dm-", "sr", "fd", "md", "nbd"];
/// A whole disk is zeroed in steps of so many bytes, so that no single call takes long.
const ZERO_STEP_BYTES: u64 = 16 * 1024 * 1024;
/// The node of a new partition appears at once; this long it is waited for.
const NODE_POLLS: u32 = 20;
const NODE_POLL_TIME: Duration = Duration::from_millis(50);

/// One disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    /// As the kernel calls it: `vda`.
    pub(super) name: String,
    shape: Shape,
}

impl Disk {
    /// All disks that could have a partition table, by name.
    pub(super) fn all() -> Vec<Disk> {
        let listed = fs::read_dir(BLOCK).into_iter().flatten().flatten();
        let mut names: Vec<String> = listed
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.retain(|name| {
            !NOT_DISKS.iter().any(|other| name.starts_with(other))
                && !Path::new(BLOCK).join(name).join("partition").exists()
        });
        names.sort();
        names
            .into_iter()
            .take(DISKS_COUNT_MAX)
            .filter_map(Disk::open)
            .collect()
    }

    fn open(name: String) -> Option<Disk> {
        let about = Path::new(BLOCK).join(&name);
        let number = |file: &str| {
            fs::read_to_string(about.join(file))
                .ok()?
                .trim()
                .parse::<u64>()
                .ok()
        };
        // the kernel counts here in 512 bytes, whatever the disk's sectors are
        let shape = Shape::new(
            number("queue/logical_block_size")?,
            number("size")?.checked_mul(512)?,
        )?;
        Some(Disk { name, shape })
    }

    /// Its node in `/dev`.
    pub(super) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Reads its partition table.
    pub(super) fn table(&self) -> Result<Table, gpt::Error> {
        let file = File::open(self.path()).map_err(gpt::Error::Read)?;
        Table::read(self.shape, |offset, bytes| {
            file.read_exact_at(bytes, offset)
        })
    }

    /// Opens it for writing.
    pub(super) fn for_writing(&self) -> Result<File, Error> {
        let path = self.path();
        File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| io_error("opening", &path, error))
    }

    /// Lets the kernel know a partition as it is in the table, and gives its node.
    pub(super) fn announce(
        &self,
        file: &File,
        table: &Table,
        partition: &Partition,
    ) -> Result<PathBuf, Error> {
        let (start, length) = table.bytes_of(&partition.sectors);
        let failed = |error| io_error("telling the kernel of a partition of", &self.path(), error);
        match self.known(partition.number) {
            None => blkpg(file, BLKPG_ADD, partition.number, start, length).map_err(failed)?,
            Some((_, known_start, _)) if known_start != start => {
                return Err(failed(io::Error::other(
                    "it knows it elsewhere: start again",
                )));
            }
            Some((_, _, known_length)) if known_length != length => {
                blkpg(file, BLKPG_RESIZE, partition.number, start, length).map_err(failed)?
            }
            Some(_) => {}
        }
        for _ in 0..NODE_POLLS {
            if let Some((name, ..)) = self.known(partition.number)
                && let node = Path::new("/dev").join(name)
                && node.exists()
            {
                return Ok(node);
            }
            sleep(NODE_POLL_TIME);
        }
        Err(failed(io::Error::other("its node does not appear in /dev")))
    }

    /// The kernel's name of a partition, where it begins and how long it is.
    fn known(&self, number: u32) -> Option<(String, u64, u64)> {
        let about = Path::new(BLOCK).join(&self.name);
        fs::read_dir(about).ok()?.flatten().find_map(|entry| {
            let read = |file: &str| {
                fs::read_to_string(entry.path().join(file))
                    .ok()?
                    .trim()
                    .parse::<u64>()
                    .ok()
            };
            let found = read("partition")? == u64::from(number);
            let name = entry.file_name().into_string().ok()?;
            found.then_some((
                name,
                read("start")?.checked_mul(512)?,
                read("size")?.checked_mul(512)?,
            ))
        })
    }
}

/// Writes 0 from one offset to another, by the disk itself if it can.
pub(super) fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    let is_device = file.metadata()?.file_type().is_block_device();
    let mut at = from;
    while at < to {
        let size = (to - at).min(ZERO_STEP_BYTES);
        if is_device {
            blkzeroout(file, at, size)?;
        } else {
            // a file in a test
            file.write_all_at(
                &vec![0; usize::try_from(size).map_err(io::Error::other)?],
                at,
            )?;
        }
        at += size;
    }
    Ok(())
}

// ---- calls

use rustix::ioctl::{self, Opcode, Setter, opcode};

/// `BLKPG` of `linux/blkpg.h`, and what it does.
const BLKPG: Opcode = opcode::none(0x12, 105);
const BLKPG_ADD: i32 = 1;
const BLKPG_RESIZE: i32 = 3;
/// `BLKZEROOUT` of `linux/fs.h`.
const BLKZEROOUT: Opcode = opcode::none(0x12, 127);
/// `EXT4_IOC_RESIZE_FS` of the kernel's `fs/ext4/ext4.h`.
const RESIZE: Opcode = opcode::write::<u64>(b'f', 16);

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgArgument {
    what: i32,
    flags: i32,
    size: i32,
    partition: *mut BlkpgPartition,
}

/// `struct blkpg_partition`.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

fn blkpg(disk: &File, what: i32, number: u32, start: u64, length: u64) -> io::Result<()> {
    let mut partition = BlkpgPartition {
        start: i64::try_from(start).map_err(io::Error::other)?,
        length: i64::try_from(length).map_err(io::Error::other)?,
        number: i32::try_from(number).map_err(io::Error::other)?,
        names: [0; 128],
    };
    let argument = BlkpgArgument {
        what,
        flags: 0,
        size: size_of::<BlkpgPartition>() as i32,
        partition: &raw mut partition,
    };
    #[expect(unsafe_code, reason = "no library has this call of the kernel")]
    // SAFETY: the argument has the layout of the kernel's header, and what it points to lives until the
    // call has returned; the kernel only reads both.
    unsafe {
        ioctl::ioctl(disk.as_fd(), Setter::<BLKPG, BlkpgArgument>::new(argument))?;
    }
    Ok(())
}

fn blkzeroout(device: &File, from: u64, size: u64) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no library has this call of the kernel")]
    // SAFETY: the kernel reads two numbers of 64 bits, which is what is given.
    unsafe {
        ioctl::ioctl(
            device.as_fd(),
            Setter::<BLKZEROOUT, [u64; 2]>::new([from, size]),
        )?;
    }
    Ok(())
}

/// Lets the mounted ext4 that this file or directory is on have so many blocks: returns when it has.
pub(super) fn resize(mounted: &File, blocks: u64) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no library has this call of the kernel")]
    // SAFETY: the kernel reads one number of 64 bits, which is what is given.
    unsafe {
        ioctl::ioctl(mounted.as_fd(), Setter::<RESIZE, u64>::new(blocks))?;
    }
    Ok(())
}
