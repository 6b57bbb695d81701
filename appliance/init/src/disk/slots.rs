//! The two systems on the ESP, A and B: which of them runs, that it is good, and how the other one is
//! written.
//!
//! A slot is a file in `EFI/Linux`, which systemd-boot finds by itself:
//!
//! ```text
//! cefline-a.efi        blessed: it once came up
//! cefline-b+3.efi      new: three tries left
//! cefline-b+2-1.efi    as systemd-boot renames it before it tries it for the first time
//! cefline-b+0-3.efi    bad: systemd-boot takes the other one from now on
//! ```
//!
//! systemd-boot takes the highest version that is not bad. So an update to a higher version is tried
//! three times by itself. One to a lower version ("go back") is named to systemd-boot for one start
//! (`LoaderEntryOneShot`), and, once it is blessed, for all (`LoaderEntryDefault`), until an update to
//! a higher version takes that away again. A bad one is never named for all.
//!
//! FAT has no journal, and a rename in it is two writes, in any order: after a power cut between them a
//! file has no name, or two, and who deletes one of these frees the other's blocks. So files are not
//! renamed here. A file is written under its last name, and its first sector, without which it is no
//! program and no boot entry, at the very last: it is there with one write of one sector. At each
//! moment one blessed system is whole: an update is refused while the running one is not yet blessed.

use super::uki::{self, Uki};
use super::{EFIVARS, Error, esp, io_error, loader_variable, say};
use crate::mounts;
use rustix::fs::IFlags;
use rustix::mount::MountFlags;
use std::cmp::Ordering;
use std::ffi::CStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where the ESP is mounted.
pub const ESP: &str = "/boot";
/// Where systemd-boot looks for systems.
const SYSTEMS: &str = "EFI/Linux";
/// A system has about 20 MB; an ESP has room for three or four.
const SYSTEM_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Left free on the ESP: its directories, and what the firmware keeps there.
const SPARE_BYTES: u64 = 256 * 1024;
/// Entries of the directory that are looked at: four files, and what an operator put there.
const FILES_COUNT_MAX: usize = 256;
/// A sector of any disk is a whole number of these, and this much is never half written.
const SECTOR_BYTES: usize = 512;
/// Tries of a new system.
const TRIES: u32 = 3;
/// The boot loader's variables that may name the running system, the surest first.
const NAMING: [&str; 4] = [
    "StubImageIdentifier",
    "LoaderEntrySelected",
    "LoaderBootCountPath",
    "LoaderImageIdentifier",
];

/// One of the two places for a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The first: what the image comes with.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    fn letter(self) -> char {
        match self {
            Slot::A => 'a',
            Slot::B => 'b',
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter().to_ascii_uppercase())
    }
}

/// The name of a slot's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Whose it is.
    pub slot: Slot,
    /// Tries left and tries done; nothing if it is blessed.
    pub tries: Option<(u32, u32)>,
}

impl Name {
    /// Reads a file's name, with or without the path to it, in any case; nothing if it is none of ours.
    #[must_use]
    pub fn parse(path: &str) -> Option<Name> {
        let name = path.rsplit(['/', '\\']).next()?.to_ascii_lowercase();
        let (slot, rest) = match name.strip_prefix("cefline-")? {
            rest if rest.starts_with('a') => (Slot::A, rest),
            rest if rest.starts_with('b') => (Slot::B, rest),
            _ => return None,
        };
        let rest = &rest[1..];
        let rest = rest.strip_suffix(".efi").unwrap_or(rest);
        let Some(tries) = rest.strip_prefix('+') else {
            return rest.is_empty().then_some(Name { slot, tries: None });
        };
        let (left, done) = tries.split_once('-').unwrap_or((tries, "0"));
        let number = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
        };
        Some(Name {
            slot,
            tries: Some((number(left)?, number(done)?)),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cefline-{}", self.slot.letter())?;
        match self.tries {
            None => {}
            Some((left, 0)) => write!(f, "+{left}")?,
            Some((left, done)) => write!(f, "+{left}-{done}")?,
        }
        f.write_str(".efi")
    }
}

/// A file of a slot.
#[derive(Debug)]
struct Installed {
    name: Name,
    path: PathBuf,
    bytes: u64,
    /// Nothing if it is not whole: what a power cut left, or no system of ours.
    version: Option<String>,
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// A slot has this version already, good or bad: nothing was done.
    Known(String),
    /// It was written; the next boot takes it.
    Written {
        /// Where it is.
        slot: Slot,
        /// Which it is.
        version: String,
        /// It is lower than the running one: it gets one try, not three.
        goes_back: bool,
    },
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Update::Known(version) => write!(f, "version {version} is there already"),
            Update::Written {
                slot,
                version,
                goes_back,
            } => {
                let tries = if *goes_back {
                    "once, for it is lower"
                } else {
                    "three times"
                };
                write!(
                    f,
                    "version {version} is written into slot {slot}, and will be tried {tries}"
                )
            }
        }
    }
}

/// The two slots, and which of them runs.
#[derive(Debug)]
pub struct Slots {
    /// The ESP's directory, and whether it is a mount of ours, which is closed to writing.
    esp: PathBuf,
    mounted: bool,
    efivars: PathBuf,
    this: Option<Slot>,
}

impl Slots {
    /// Finds the ESP, mounts it closed to writing, and learns from the boot loader which slot runs.
    pub fn find() -> Result<Slots, Error> {
        let super::System { disk, table, esp } = super::system()?;
        let file = disk.for_writing()?;
        let node = disk.announce(&file, &table, &esp)?;
        let options: &CStr = c"umask=0077,codepage=437,iocharset=ascii,errors=continue";
        rustix::mount::mount(&node, ESP, "vfat", flags() | MountFlags::RDONLY, options)
            .map_err(|error| io_error("mounting", &node, error))?;
        Ok(Slots {
            mounted: true,
            ..Slots::at(Path::new(ESP), Path::new(EFIVARS))
        })
    }

    /// The slots under this directory, by the variables in that one.
    #[must_use]
    pub fn at(esp: &Path, efivars: &Path) -> Slots {
        let this = NAMING
            .iter()
            .find_map(|name| Name::parse(&loader_variable(efivars, name)?));
        Slots {
            esp: esp.to_path_buf(),
            mounted: false,
            efivars: efivars.to_path_buf(),
            this: this.map(|name| name.slot),
        }
    }

    /// Which slot runs; nothing if the boot loader does not say, as when there is none.
    #[must_use]
    pub fn this(&self) -> Option<Slot> {
        self.this
    }

    /// Whether the running system is not yet known to be good, and there is another to go back to.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        let installed = self.installed().unwrap_or_default();
        let mut own = installed
            .iter()
            .filter(|file| Some(file.name.slot) == self.this);
        let mut others = installed
            .iter()
            .filter(|file| Some(file.name.slot) != self.this);
        self.this.is_some()
            && own.all(|file| file.name.tries.is_some())
            && others.any(|file| file.version.is_some())
    }

    /// The running system is good: it keeps its place. Gives whether it was new until now.
    pub fn bless(&self) -> Result<bool, Error> {
        let this = self.this.ok_or_else(unknown)?;
        let installed = self.installed()?;
        let own = |file: &&Installed| file.name.slot == this;
        let counted: Vec<&Installed> = installed
            .iter()
            .filter(own)
            .filter(|file| file.name.tries.is_some())
            .collect();
        let Some(source) = counted.iter().find(|file| file.version.is_some()) else {
            return Ok(false);
        };
        let other = installed
            .iter()
            .filter(|file| file.name.slot != this)
            .filter_map(|file| file.version.as_deref());
        let is_lower = other
            .max_by(|left, right| uki::compare(left, right))
            .is_some_and(|other| {
                source
                    .version
                    .as_deref()
                    .is_some_and(|own| uki::compare(own, other).is_lt())
            });
        self.writing(|| {
            let blessed = self.systems().join(
                Name {
                    slot: this,
                    tries: None,
                }
                .to_string(),
            );
            if !same(&source.path, &blessed) {
                let mut from = File::open(&source.path)?;
                let written = put(&mut from, source.bytes, &blessed);
                if written
                    .as_ref()
                    .is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
                {
                    // no room for two: a power cut right now may cost this slot, and never the other one
                    fs::remove_file(&blessed)?;
                    fs::rename(&source.path, &blessed)?;
                } else {
                    written?;
                }
            }
            for file in &counted {
                remove(&file.path)?;
            }
            if is_lower {
                self.set_variable("LoaderEntryDefault", &format!("cefline-{}*", this.letter()))
            } else {
                Ok(())
            }
        })
        .map_err(|error| io_error("blessing the running slot on", &self.esp, error))?;
        Ok(true)
    }

    /// Writes this UKI into the slot that does not run, unless one of the two has its version.
    pub fn update(&self, from: &Path) -> Result<Update, Error> {
        let this = self.this.ok_or_else(unknown)?;
        let failed = |error| io_error("reading", from, error);
        let (mut source, bytes, version) = open_update(from)?;
        let installed = self.installed()?;
        if installed
            .iter()
            .any(|file| file.version.as_ref() == Some(&version))
        {
            return Ok(Update::Known(version));
        }
        let running = installed
            .iter()
            .find(|file| {
                file.name
                    == Name {
                        slot: this,
                        tries: None,
                    }
            })
            .and_then(|file| file.version.as_deref());
        let running = running.ok_or_else(|| {
            Error::Slot(format!(
                "the running slot {this} is not yet known to be good: {} waits until it is",
                from.display()
            ))
        })?;
        let goes_back = uki::compare(&version, running) == Ordering::Less;
        let slot = this.other();
        let others: Vec<&Installed> = installed
            .iter()
            .filter(|file| file.name.slot == slot)
            .collect();
        self.check_room(bytes, others.iter().map(|file| file.bytes).sum())?;
        // a medium that cannot be read must not cost the slot that is there
        let all = io::copy(&mut (&source).take(bytes), &mut io::sink()).map_err(failed)?;
        if all != bytes {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        self.writing(|| {
            for file in others {
                remove(&file.path)?;
            }
            source.seek(SeekFrom::Start(0))?;
            put(
                &mut source,
                bytes,
                &self.systems().join(
                    Name {
                        slot,
                        tries: Some((TRIES, 0)),
                    }
                    .to_string(),
                ),
            )?;
            if goes_back {
                self.set_variable("LoaderEntryOneShot", &format!("cefline-{}*", slot.letter()))
            } else {
                self.remove_variable("LoaderEntryDefault")
            }
        })
        .map_err(|error| io_error("writing the update to", &self.esp, error))?;
        Ok(Update::Written {
            slot,
            version,
            goes_back,
        })
    }

    fn systems(&self) -> PathBuf {
        self.esp.join(SYSTEMS)
    }

    fn installed(&self) -> Result<Vec<Installed>, Error> {
        let failed = |error| io_error("reading", &self.systems(), error);
        let mut installed = Vec::new();
        for entry in fs::read_dir(self.systems())
            .map_err(failed)?
            .take(FILES_COUNT_MAX)
        {
            let path = entry.map_err(failed)?.path();
            let Some(name) = path
                .file_name()
                .and_then(|name| name.to_str())
                .filter(|name| name.to_ascii_lowercase().ends_with(".efi"))
                .and_then(Name::parse)
            else {
                continue;
            };
            let file = File::open(&path).map_err(failed)?;
            let bytes = file.metadata().map_err(failed)?.len();
            // one that cannot be read is not whole
            let version = version_of(&file, bytes).unwrap_or(None);
            installed.push(Installed {
                name,
                path,
                bytes,
                version,
            });
        }
        Ok(installed)
    }

    fn check_room(&self, needed: u64, freed: u64) -> Result<(), Error> {
        let about = rustix::fs::statvfs(&self.esp)
            .map_err(|error| io_error("reading", &self.esp, error))?;
        let free = about
            .f_bavail
            .saturating_mul(about.f_frsize)
            .saturating_add(freed);
        if needed.saturating_add(SPARE_BYTES) > free {
            return Err(Error::Slot(format!(
                "an update of {} KiB does not fit on the ESP, which has room for {} KiB",
                needed >> 10,
                free.saturating_sub(SPARE_BYTES) >> 10
            )));
        }
        Ok(())
    }

    /// Does work for which the ESP has to be open to writing. All of it is on the disk afterwards.
    fn writing(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.mounted {
            rustix::mount::mount_remount(&self.esp, flags(), c"")?;
        }
        let done = work();
        let synced = File::open(&self.esp).and_then(|esp| Ok(rustix::fs::syncfs(esp)?));
        if self.mounted
            && let Err(error) =
                rustix::mount::mount_remount(&self.esp, flags() | MountFlags::RDONLY, c"")
        {
            say(&format!("update: the ESP stays open to writing: {error}"));
        }
        done.and(synced)
    }

    fn variable(&self, name: &str) -> PathBuf {
        self.efivars.join(format!("{name}-{}", esp::LOADER))
    }

    fn set_variable(&self, name: &str, text: &str) -> io::Result<()> {
        self.open_up(name)?;
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.variable(name))?;
        // the kernel takes a variable as one write
        file.write_all(&esp::variable_bytes(text))
    }

    fn remove_variable(&self, name: &str) -> io::Result<()> {
        self.open_up(name)?;
        remove(&self.variable(name))
    }

    /// The kernel marks variables that it does not know as immutable, against accidents.
    fn open_up(&self, name: &str) -> io::Result<()> {
        let file = match File::open(self.variable(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        match rustix::fs::ioctl_getflags(&file) {
            Ok(flags) if flags.contains(IFlags::IMMUTABLE) => Ok(rustix::fs::ioctl_setflags(
                &file,
                flags - IFlags::IMMUTABLE,
            )?),
            // no such flags: then nothing is in the way
            _ => Ok(()),
        }
    }
}

fn flags() -> MountFlags {
    mounts::DATA | MountFlags::NOATIME
}

fn unknown() -> Error {
    Error::Slot("the boot loader does not say which slot runs: slots are left alone".to_owned())
}

/// An update, with its size and version.
fn open_update(from: &Path) -> Result<(File, u64, String), Error> {
    let failed = |error| io_error("reading", from, error);
    let source = File::open(from).map_err(failed)?;
    let bytes = source.metadata().map_err(failed)?.len();
    let version = version_of(&source, bytes).map_err(failed)?;
    let none = || {
        let what = "is no system of this appliance, or is cut: it was left alone";
        Error::Slot(format!("{} {what}", from.display()))
    };
    Ok((source, bytes, version.ok_or_else(none)?))
}

/// The version of a UKI; nothing if it is not whole, or not ours.
fn version_of(file: &File, bytes: u64) -> io::Result<Option<String>> {
    if !(SECTOR_BYTES as u64..=SYSTEM_BYTES_MAX).contains(&bytes) {
        return Ok(None);
    }
    let mut head =
        vec![0; usize::try_from(bytes).map_or(uki::HEAD_BYTES, |bytes| bytes.min(uki::HEAD_BYTES))];
    file.read_exact_at(&mut head, 0)?;
    let Some(Uki { release }) = Uki::parse(&head, bytes) else {
        return Ok(None);
    };
    let mut text = vec![0; usize::try_from(release.end - release.start).map_err(io::Error::other)?];
    file.read_exact_at(&mut text, release.start)?;
    Ok(uki::version(&text))
}

/// Writes a file so that it is there with its last write, which is of one sector.
fn put(from: &mut File, bytes: u64, to: &Path) -> io::Result<()> {
    let mut first = [0; SECTOR_BYTES];
    from.read_exact(&mut first)?;
    let mut file = File::create(to)?;
    file.write_all(&[0; SECTOR_BYTES])?;
    // the directory knows where it begins before it has grown: what it takes when the power fails is
    // then freed by the next update, and not lost on the ESP for ever
    file.sync_all()?;
    sync_directory(to)?;
    let copied = io::copy(&mut from.take(bytes - SECTOR_BYTES as u64), &mut file)?;
    if copied + SECTOR_BYTES as u64 != bytes {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the source has become shorter",
        ));
    }
    file.sync_all()?;
    sync_directory(to)?;
    file.write_all_at(&first, 0)?;
    file.sync_all()
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        done => done?,
    }
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        // efivarfs has nothing to wait for, and says so
        Some(parent) => File::open(parent)?.sync_all().or_else(|error| {
            if error.kind() == io::ErrorKind::InvalidInput {
                Ok(())
            } else {
                Err(error)
            }
        }),
        None => Ok(()),
    }
}

/// Whether two files hold the same; one that is not there holds nothing.
fn same(left: &Path, right: &Path) -> bool {
    matches!((fs::read(left), fs::read(right)), (Ok(left), Ok(right)) if left == right)
}

#[cfg(test)]
mod tests;
