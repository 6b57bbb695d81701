//! The disk: where the data is kept, and which of the two systems runs.
//!
//! ```text
//! system disk   ESP "CEFLINE-ESP"      slots A and B             slots, uki, esp
//!               "cefline-data"         ext4, /var/lib/cefline    partition, gpt, seed, ext4
//! ```
//!
//! The data partition is made at the first boot, and grows with the disk at any later one. It may also
//! be on another disk whose partition table names it so; a disk without that is never touched. That is
//! the only place for it when the system was started from a CD.
//!
//! A file system that is there is checked before it is mounted. If the check cannot put it right, or
//! the partition holds something else, nothing is mounted, and cefline is not to be started: rows that
//! it took would be lost at the next boot, and the senders would not know. The console says what helps.

mod esp;
mod ext4;
mod gpt;
pub mod seed;
pub mod slots;
mod uki;

mod device;
mod partition;

pub use slots::Slots;

use crate::DATA;
use crate::mounts::{self, CEFLINE};
use crate::stop;
use device::Disk;
use gpt::{Guid, Partition, Table};
use partition::Content;
use rustix::fs::{Gid, Uid};
use rustix::mount::MountFlags;
use rustix::process::{Pid, Signal};
use rustix::rand::GetRandomFlags;
use seed::Seed;
use std::ffi::CStr;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::Duration;

/// Name of the partition.
const NAME: &str = "cefline-data";
/// What a new data partition begins with.
const SEED: &str = "/etc/appliance/data.seed";
const E2FSCK: &str = "/usr/sbin/e2fsck";
const EFIVARS: &str = "/sys/firmware/efi/efivars";

/// A data partition is at most 16 TiB: more is not needed, and growing was not tried beyond.
const DATA_BYTES_MAX: u64 = 16 << 40;
/// Disks appear some time after their drivers: 10 s.
const DISK_POLLS: u32 = 100;
const DISK_POLL_TIME: Duration = Duration::from_millis(100);
/// Before a partition is made or given up, another disk that has it gets so long to appear.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// A partition whose end could move by less than this stays as it is.
const GROWTH_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// So long the boot waits for the file system to grow, that cefline sees its true size: 5 s. Huge ones
/// go on growing behind it.
const GROWTH_POLLS: u32 = 100;
const GROWTH_POLL_TIME: Duration = Duration::from_millis(50);
/// A check that takes longer than 2 hours is ended: it tells each half minute that it is at work.
const CHECK_POLLS: u32 = 72_000;
const CHECK_POLL_TIME: Duration = Duration::from_millis(100);
const CHECK_TOLD_POLLS: u32 = 300;
/// After being told to end, it gets 10 s.
const CHECK_END_POLLS: u32 = 100;
/// What the check may say on the console.
const CHECK_BYTES_MAX: u64 = 8192;

/// Why there is no data partition, or no slots. The text says what helps.
#[derive(Debug)]
pub enum Error {
    /// No disk has our ESP; what the disks there say.
    NoSystemDisk(Vec<String>),
    /// No partition has the name, and there is no system disk to make one on.
    NoData,
    /// No partition has the name, and the system disk has no room for one.
    NoRoom {
        /// The system disk.
        disk: String,
        /// What is needed.
        bytes: u64,
    },
    /// Several other disks have a partition of the name.
    Several(Vec<String>),
    /// The partition holds something that is not ours.
    Foreign(PathBuf),
    /// The partition is smaller than an empty file system.
    Small {
        /// The partition.
        partition: PathBuf,
        /// What is needed.
        bytes: u64,
    },
    /// The image is broken: its seed is wrong.
    Seed(seed::Error),
    /// The file system is damaged, and the check leaves it so.
    Check {
        /// The partition.
        partition: PathBuf,
        /// How the check ended.
        ended: String,
    },
    /// A call failed: what was being done, to what, and why it failed.
    Io(String, io::Error),
    /// A slot cannot be told, blessed or written: why.
    Slot(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSystemDisk(disks) if disks.is_empty() => f.write_str("no disk appeared: is one attached, and is its kind one that this image has a driver for?"),
            Error::NoSystemDisk(disks) => write!(f, "no disk has a partition labelled CEFLINE-ESP ({})", disks.join("; ")),
            Error::NoData => write!(f, "no disk has a GPT partition named {NAME}, and the system was not started from a disk on which to make it: attach one, and start again"),
            Error::NoRoom { disk, bytes } => write!(
                f,
                "the system disk {disk} has no {} MiB of free space for the data: make it larger, or attach a disk with a GPT partition named {NAME}, and start again",
                bytes >> 20
            ),
            Error::Several(disks) => write!(f, "more than one disk has a partition named {NAME} ({}): detach all but one", disks.join(", ")),
            Error::Foreign(partition) => write!(
                f,
                "{} is named {NAME} but holds something that is neither ours nor ext4; nothing was changed: rename the partition, or fill its first and last MiB with zeros if what it holds may go",
                partition.display()
            ),
            Error::Small { partition, bytes } => write!(f, "{} is too small for the data: {} MiB is the least", partition.display(), bytes >> 20),
            Error::Seed(error) => write!(f, "{SEED}: {error}: the image is broken"),
            Error::Check { partition, ended } => write!(
                f,
                "the file system of {} is damaged ({ended}) and stays as it is: attach the disk to another machine and run `e2fsck -f` on it, or delete the partition there to begin with an empty one",
                partition.display()
            ),
            Error::Io(what, error) => write!(f, "{what}: {error}"),
            Error::Slot(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

fn io_error(doing: &str, what: &Path, error: impl Into<io::Error>) -> Error {
    Error::Io(format!("{doing} {}", what.display()), error.into())
}

/// The data, mounted at [`DATA`].
#[derive(Debug)]
pub struct Data {
    /// Its partition's node.
    pub partition: PathBuf,
    /// Size of the partition.
    pub bytes: u64,
    /// It was made at this boot.
    pub is_new: bool,
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = if self.is_new { ", made now" } else { "" };
        write!(
            f,
            "{} with {} MiB at {DATA}{made}",
            self.partition.display(),
            self.bytes >> 20
        )
    }
}

impl Data {
    /// Finds the data partition or makes it, lets it grow with its disk, checks it, mounts it. Without a
    /// system disk, as when the system was started from a CD, none is made.
    ///
    /// It waits for a child of its own, so nobody else may reap children meanwhile.
    pub fn prepare(has_system_disk: bool) -> Result<Data, Error> {
        let (disk, mut table, partition) = find_or_make(has_system_disk)?;
        let file = disk.for_writing()?;
        let node = disk.announce(&file, &table, &partition)?;
        let (_, bytes) = table.bytes_of(&partition.sectors);
        let device = File::options()
            .read(true)
            .write(true)
            .open(&node)
            .map_err(|error| io_error("opening", &node, error))?;
        let content = partition::content(&device, bytes, partition.id)
            .map_err(|error| io_error("reading", &node, error))?;
        if content == Content::Foreign {
            return Err(Error::Foreign(node));
        }
        let bytes = grow_partition(&disk, &file, &mut table, partition.number)?.unwrap_or(bytes);
        match content {
            Content::Ext4 => check(&node)?,
            Content::Blank | Content::Unfinished | Content::Foreign => {
                sow(&device, &node, bytes, content, partition.id)?
            }
        }
        drop(device);
        mount(&node)?;
        grow_filesystem(bytes);
        Ok(Data {
            partition: node,
            bytes,
            is_new: content != Content::Ext4,
        })
    }
}

/// The disk that we were started from.
struct System {
    disk: Disk,
    table: Table,
    esp: Partition,
}

/// Finds the system disk, which may take some time to appear. If the boot loader says which ESP it came
/// from, that one is preferred.
fn system() -> Result<System, Error> {
    let wanted = loader_variable(Path::new(EFIVARS), "LoaderDevicePartUUID")
        .and_then(|text| Guid::from_text(&text));
    let mut seen = Vec::new();
    let mut second_best = None;
    for _ in 0..DISK_POLLS {
        seen.clear();
        for disk in Disk::all() {
            let table = match disk.table() {
                Ok(table) => table,
                Err(error) => {
                    seen.push(format!("{}: {error}", disk.name));
                    continue;
                }
            };
            seen.push(format!("{}: none", disk.name));
            let Some(esp) = table
                .partitions()
                .find(|partition| partition.kind == Guid::ESP && is_ours(&disk, &table, partition))
            else {
                continue;
            };
            let is_wanted = wanted.is_none_or(|wanted| wanted == esp.id);
            let system = System { disk, table, esp };
            if is_wanted {
                return Ok(system);
            }
            second_best.get_or_insert(system);
        }
        sleep(DISK_POLL_TIME);
    }
    second_best.ok_or(Error::NoSystemDisk(seen))
}

fn is_ours(disk: &Disk, table: &Table, partition: &Partition) -> bool {
    let mut sector = [0; 512];
    let read = File::open(disk.path())
        .and_then(|file| file.read_exact_at(&mut sector, table.bytes_of(&partition.sectors).0));
    read.is_ok() && esp::label(&sector) == Some(esp::LABEL)
}

fn loader_variable(efivars: &Path, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(efivars.join(format!("{name}-{}", esp::LOADER))).ok()?;
    file.take(esp::VARIABLE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    esp::variable_text(&bytes)
}

/// The data partition: on the system disk, or on another one, or made on the system disk.
fn find_or_make(has_system_disk: bool) -> Result<(Disk, Table, Partition), Error> {
    let named = |table: &Table| table.partitions().find(|partition| partition.name == NAME);
    let system = if has_system_disk {
        let system = system()?;
        if let Some(partition) = named(&system.table) {
            return Ok((system.disk, system.table, partition));
        }
        Some(system)
    } else {
        None
    };
    sleep(SETTLE_TIME);
    let name = system.as_ref().map(|system| system.disk.name.as_str());
    let others = Disk::all()
        .into_iter()
        .filter(|disk| Some(disk.name.as_str()) != name);
    let mut others: Vec<(Disk, Table, Partition)> = others
        .filter_map(|disk| {
            let table = disk.table().ok()?;
            let partition = named(&table)?;
            Some((disk, table, partition))
        })
        .collect();
    if others.len() > 1 {
        return Err(Error::Several(
            others.into_iter().map(|(disk, ..)| disk.name).collect(),
        ));
    }
    match (others.pop(), system) {
        (Some(other), _) => Ok(other),
        (None, Some(system)) => make(system),
        (None, None) => Err(Error::NoData),
    }
}

/// Steps 1 and 2 of making it (see [`partition`]).
fn make(system: System) -> Result<(Disk, Table, Partition), Error> {
    let System {
        disk, mut table, ..
    } = system;
    let needed = with_seed(|seed| Ok(seed.image_bytes))?;
    let no_room = || Error::NoRoom {
        disk: disk.name.clone(),
        bytes: needed,
    };
    let sectors = table.largest_free(DATA_BYTES_MAX).ok_or_else(no_room)?;
    let (offset, bytes) = table.bytes_of(&sectors);
    if bytes < needed {
        return Err(no_room());
    }
    let id = Guid::random(random()?);
    let number = table
        .add(Guid::LINUX, id, NAME, sectors)
        .ok_or_else(no_room)?;
    let partition = table
        .partitions()
        .find(|partition| partition.number == number)
        .ok_or_else(no_room)?;
    say(&format!(
        "disk: making the data partition of {} MiB on {}",
        bytes >> 20,
        disk.name
    ));
    let file = disk.for_writing()?;
    let failed = |error| io_error("making a partition on", &disk.path(), error);
    partition::write_mark(&file, offset, id).map_err(failed)?;
    partition::write_table(&file, &table).map_err(failed)?;
    Ok((disk, table, partition))
}

/// Lets the partition have the free space behind it, and gives its new size if it has one.
fn grow_partition(
    disk: &Disk,
    file: &File,
    table: &mut Table,
    number: u32,
) -> Result<Option<u64>, Error> {
    let of = |table: &Table| {
        table
            .partitions()
            .find(|partition| partition.number == number)
    };
    let (Some(last), Some(before)) = (table.room_to_grow(number, DATA_BYTES_MAX), of(table)) else {
        return Ok(None);
    };
    let mut grown = table.clone();
    if !grown.set_end(number, last) {
        return Ok(None);
    }
    let Some(after) = of(&grown) else {
        return Ok(None);
    };
    let (old, new) = (
        table.bytes_of(&before.sectors).1,
        grown.bytes_of(&after.sectors).1,
    );
    if new < old + GROWTH_BYTES_MIN {
        return Ok(None);
    }
    say(&format!(
        "disk: the data partition grows from {} to {} MiB",
        old >> 20,
        new >> 20
    ));
    partition::write_table(file, &grown)
        .map_err(|error| io_error("writing the partition table of", &disk.path(), error))?;
    disk.announce(file, &grown, &after)?;
    *table = grown;
    Ok(Some(new))
}

/// Steps 3 to 5 of making it.
fn sow(device: &File, node: &Path, bytes: u64, content: Content, id: Guid) -> Result<(), Error> {
    with_seed(|seed| {
        if bytes < seed.image_bytes {
            return Err(Error::Small {
                partition: node.to_path_buf(),
                bytes: seed.image_bytes,
            });
        }
        say(&format!(
            "disk: making the file system of {}",
            node.display()
        ));
        let failed = |error| io_error("making the file system of", node, error);
        if content == Content::Blank {
            partition::write_mark(device, 0, id).map_err(failed)?;
        }
        // a UUID has the same form in a GPT, but for the order in its first groups, which chance does not see
        let Guid(uuid) = Guid::random(random()?);
        partition::sow(device, seed, uuid, random()?).map_err(failed)
    })
}

fn with_seed<T>(work: impl FnOnce(&Seed<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let mut bytes = Vec::new();
    let read = File::open(SEED)
        .and_then(|file| file.take(seed::SEED_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| io_error("reading", Path::new(SEED), error))?;
    work(&Seed::parse(&bytes).map_err(Error::Seed)?)
}

fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    // so few bytes are given whole
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| Error::Io("getting random numbers".to_owned(), error.into()))?;
    Ok(bytes)
}

/// Checks the file system, and lets what is sure to be right be put right.
fn check(node: &Path) -> Result<(), Error> {
    let failed = |error| io_error("running", Path::new(E2FSCK), error);
    let mut command = Command::new(E2FSCK);
    stop::let_hear(&mut command);
    let mut child = command
        .arg("-p")
        .arg(node)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let told = child
        .stdout
        .take()
        .map(|out| thread::spawn(move || pass_on(out)));
    let ended = wait(&mut child).map_err(failed)?;
    if let Some(told) = told {
        // it ends with the child, and has nothing to give
        let _ = told.join();
    }
    match ended {
        // bits: 1 is "errors corrected", 2 "start again", which only matters for what is mounted already
        Some(code) if code & !3 == 0 => Ok(()),
        Some(code) => Err(Error::Check {
            partition: node.to_path_buf(),
            ended: format!("e2fsck -p ended with {code}"),
        }),
        None => Err(Error::Check {
            partition: node.to_path_buf(),
            ended: "e2fsck -p was ended before it was done".to_owned(),
        }),
    }
}

/// The exit code of the check; nothing if a signal ended it, which may be ours.
fn wait(child: &mut Child) -> io::Result<Option<i32>> {
    for poll in 1..=CHECK_POLLS {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if poll % CHECK_TOLD_POLLS == 0 {
            say(&format!(
                "disk: still checking the data after {} s",
                poll / 10
            ));
        }
        sleep(CHECK_POLL_TIME);
    }
    say("disk: the check of the data takes too long, and is ended");
    // asked first: it then leaves the file system as it should
    rustix::process::kill_process(Pid::from_child(child), Signal::TERM)?;
    for _ in 0..CHECK_END_POLLS {
        if child.try_wait()?.is_some() {
            return Ok(None);
        }
        sleep(CHECK_POLL_TIME);
    }
    child.kill()?;
    child.wait().map(|_| None)
}

fn pass_on(out: impl Read) {
    let mut out = BufReader::new(out);
    for line in out
        .by_ref()
        .take(CHECK_BYTES_MAX)
        .lines()
        .map_while(Result::ok)
    {
        say(&format!("disk: e2fsck: {line}"));
    }
    // the rest is read as well, or the check would wait for us
    let _ = io::copy(&mut out, &mut io::sink());
}

fn mount(node: &Path) -> Result<(), Error> {
    let flags = mounts::DATA | MountFlags::NOSYMFOLLOW | MountFlags::NOATIME;
    let options: &CStr = c"data=ordered,barrier=1,errors=remount-ro";
    rustix::mount::mount(node, DATA, "ext4", flags, options)
        .map_err(|error| io_error("mounting", node, error))?;
    let data = Path::new(DATA);
    rustix::fs::chown(
        data,
        Some(Uid::from_raw(CEFLINE)),
        Some(Gid::from_raw(CEFLINE)),
    )
    .map_err(|error| io_error("giving cefline", data, error))?;
    fs::set_permissions(data, Permissions::from_mode(0o700))
        .map_err(|error| io_error("closing to others", data, error))
}

/// Lets the mounted file system fill its partition. If it does not, it works on as it is.
fn grow_filesystem(bytes: u64) {
    let growing = thread::Builder::new().name("grow".to_owned()).spawn(move || {
        let size = || rustix::fs::statvfs(DATA).map_or(0, |about| about.f_blocks.saturating_mul(about.f_frsize));
        let before = size();
        let grown = File::open(DATA).and_then(|mounted| device::resize(&mounted, bytes / ext4::BLOCK_BYTES as u64));
        match grown {
            Err(error) => say(&format!("disk: the file system of the data could not grow, and is used as it is: {error}")),
            Ok(()) if size() != before => say(&format!("disk: the file system of the data has grown from {} to {} MiB", before >> 20, size() >> 20)),
            Ok(()) => {}
        }
    });
    let Ok(growing) = growing else {
        return say("disk: the file system of the data could not grow: no thread for it");
    };
    for _ in 0..GROWTH_POLLS {
        if growing.is_finished() {
            return;
        }
        sleep(GROWTH_POLL_TIME);
    }
    say("disk: the file system of the data goes on growing behind the start");
}

fn say(text: &str) {
    crate::console::say(text);
}
