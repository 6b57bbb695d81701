//! The spool, looked at from outside.

use crate::check::storage::{At, Facts, NoWrite};
use crate::clock::Clock;
use crate::config::Spool;
use crate::spool::LOCK;
use crate::spool::disk::Disk;
use crate::spool::files::Folder;
use crate::spool::quarantine::FOLDER as QUARANTINE;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{User, geteuid};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is written to see whether writing works.
const PROBE: [u8; 4096] = [0; 4096];

/// Looks at the place of the spool.
#[must_use]
pub fn facts(config: &Spool, clock: Clock) -> Facts {
    let (at, folder) = place(&config.directory);
    let mut disk = Folder::read_only(&folder);
    let is_there = at == At::Folder;
    let (used, quarantine) = match is_there {
        true => contents(&mut disk),
        false => (0, Some((0, 0))),
    };
    let user = geteuid();
    let name = User::from_uid(user).ok().flatten().map(|user| user.name);
    Facts {
        probe: match at {
            At::Folder | At::Below(_) => write(&folder, clock),
            At::NoFolder(_) | At::Hidden => Err(NoWrite::Denied),
        },
        at,
        user: name.unwrap_or_else(|| user.to_string()),
        space: disk.space().ok(),
        is_in_memory: statfs(&folder).is_ok_and(|about| about.filesystem_type() == TMPFS_MAGIC),
        used,
        locked_by: locked_by(&folder.join(LOCK)),
        quarantine,
    }
}

/// What is at a path, and the folder that tells of its file system.
fn place(directory: &Path) -> (At, PathBuf) {
    for folder in directory.ancestors() {
        let is_it = folder == directory;
        match fs::metadata(folder) {
            Ok(about) if !about.is_dir() => {
                return (At::NoFolder(folder.to_owned()), folder.to_owned());
            }
            Ok(_) if is_it && fs::read_dir(folder).is_err_and(|error| is_denied(&error)) => {
                return (At::Hidden, folder.to_owned());
            }
            Ok(_) if is_it => return (At::Folder, folder.to_owned()),
            Ok(_) => return (At::Below(folder.to_owned()), folder.to_owned()),
            Err(error) if is_denied(&error) => return (At::Hidden, folder.to_owned()),
            // something above it is missing, or is no folder
            Err(_) => {}
        }
    }
    (At::Hidden, directory.to_owned())
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

/// Writes a little into a file without a name, which is gone when it is closed.
fn write(folder: &Path, clock: Clock) -> Result<u64, NoWrite> {
    let begun = clock.mono();
    let written = tempfile::tempfile_in(folder).and_then(|mut file| {
        file.write_all(&PROBE)?;
        file.sync_all()
    });
    match written {
        Ok(()) => Ok(u64::try_from(clock.mono().since(begun).as_millis()).unwrap_or(u64::MAX)),
        Err(error) => Err(match error.kind() {
            ErrorKind::PermissionDenied => NoWrite::Denied,
            ErrorKind::ReadOnlyFilesystem => NoWrite::ReadOnly,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => NoWrite::Full,
            _ => NoWrite::Other(error.to_string()),
        }),
    }
}

/// Bytes of segments; files and bytes in quarantine, if they can be listed.
fn contents(disk: &mut Folder) -> (u64, Option<(u64, u64)>) {
    let mut used = 0_u64;
    let mut quarantine = Some((0, 0));
    for folder in disk.folders().unwrap_or_default() {
        let files = disk.files(&folder);
        let bytes = |files: &[(String, u64)]| files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        if folder == QUARANTINE {
            quarantine = files.ok().map(|files| (files.len() as u64, bytes(&files)));
        } else {
            used = used.saturating_add(bytes(&files.unwrap_or_default()));
        }
    }
    (used, quarantine)
}

/// Who has a lock on a file, by the kernel's list: to try the lock would be to hold it for an instant.
fn locked_by(lock: &Path) -> Option<u32> {
    let inode = fs::metadata(lock).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    holder(&locks, inode)
}

/// The process with a lock by flock on an inode, from `/proc/locks`.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, id, place, ..] = words.as_slice() else {
            return None;
        };
        let of = place.rsplit(':').next()?.parse::<u64>().ok()?;
        if of == inode { id.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_read_off_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 100 00:1b:77 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 99 00:1b:78 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 101 00:1b:77 0 EOF\n";
        assert_eq!(holder(locks, 77), Some(101));
        assert_eq!(holder(locks, 78), None);
        assert_eq!(holder("", 1), None);
    }

    #[test]
    fn places_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(place(root), (At::Folder, root.to_owned()));
        let below = place(&root.join("a/b"));
        assert_eq!(below, (At::Below(root.to_owned()), root.to_owned()));
        let file = root.join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(place(&file.join("x")).0, At::NoFolder(file));
    }

    #[test]
    fn a_lock_that_is_held_is_seen_and_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let _lock = crate::spool::Lock::take(folder.path()).unwrap();
        let id = locked_by(&folder.path().join(LOCK));
        assert_eq!(id, Some(std::process::id()));
    }
}
