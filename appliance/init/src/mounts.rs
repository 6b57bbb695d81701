//! The file systems that every Linux program expects, each with the least that it needs.

use rustix::mount::{MountFlags, mount, mount_remount};
use std::ffi::CString;
use std::fmt;
use std::io;
use std::path::Path;

/// User and group of cefline.
pub const CEFLINE: u32 = 514;

/// One to be mounted.
struct Mount {
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    options: &'static str,
    /// The machine cannot go on without it.
    is_needed: bool,
}

/// Of what holds data: nothing in it is a program or a device.
pub const DATA: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

#[rustfmt::skip]
const MOUNTS: &[Mount] = &[
    // a process of cefline's user sees those of its own alone
    Mount { kind: "proc", target: "/proc", flags: DATA, options: "hidepid=invisible", is_needed: true },
    Mount { kind: "sysfs", target: "/sys", flags: DATA, options: "", is_needed: true },
    Mount { kind: "devtmpfs", target: "/dev", flags: MountFlags::NOSUID.union(MountFlags::NOEXEC), options: "mode=0755", is_needed: true },
    // sizes are bounds, not reservations
    Mount { kind: "tmpfs", target: "/run", flags: DATA, options: "mode=0755,size=16m", is_needed: true },
    Mount { kind: "tmpfs", target: "/tmp", flags: DATA, options: "mode=1777,size=64m", is_needed: true },
    // 64 files of 1 MiB, and their names
    Mount { kind: "tmpfs", target: "/etc/cefline", flags: DATA, options: "mode=0700,uid=514,gid=514,size=72m", is_needed: true },
    // tells the lockdown level
    Mount { kind: "securityfs", target: "/sys/kernel/security", flags: DATA, options: "", is_needed: false },
];

/// A file system that cannot be mounted.
#[derive(Debug)]
pub struct Error {
    target: &'static str,
    error: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be mounted: {}", self.target, self.error)
    }
}

impl std::error::Error for Error {}

/// Mounts them all. Gives those that are missing and can be done without.
///
/// # Errors
/// The first without which there is no machine.
pub fn mount_all() -> Result<Vec<Error>, Error> {
    let mut missing = Vec::new();
    for one in MOUNTS {
        match mount_one(one) {
            Err(error) if one.is_needed => return Err(error),
            Err(error) => missing.push(error),
            Ok(()) => {}
        }
    }
    Ok(missing)
}

/// Mounts the variables of the firmware, which tell the slot, if there are any; their module must be
/// loaded.
///
/// # Errors
/// They are there and cannot be mounted: slots are not known then.
pub fn mount_firmware() -> Result<(), Error> {
    let target = "/sys/firmware/efi/efivars";
    if !Path::new(target).exists() {
        return Ok(());
    }
    mount_one(&Mount {
        kind: "efivarfs",
        target,
        flags: DATA,
        options: "",
        is_needed: false,
    })
}

/// A folder for data in memory, in place of the data partition.
///
/// # Errors
/// What the kernel says.
pub fn mount_data_in_memory(target: &'static str) -> Result<(), Error> {
    mount_one(&Mount {
        kind: "tmpfs",
        target,
        flags: DATA,
        options: "mode=0700,uid=514,gid=514,size=50%",
        is_needed: false,
    })
}

/// Lets nobody write any more to the root, which came with the signed image, nor to cefline's
/// configuration, which it is to find again as it was.
///
/// # Errors
/// What the kernel says.
pub fn close() -> Result<(), Error> {
    let root = MountFlags::NOSUID | MountFlags::NODEV;
    for (target, flags) in [("/etc/cefline", DATA), ("/", root)] {
        mount_remount(target, flags | MountFlags::RDONLY, "").map_err(|error| Error {
            target,
            error: error.into(),
        })?;
    }
    Ok(())
}

fn mount_one(one: &Mount) -> Result<(), Error> {
    let wrap = |error: io::Error| Error {
        target: one.target,
        error,
    };
    let options = CString::new(one.options).map_err(|error| wrap(error.into()))?;
    mount(one.kind, one.target, one.kind, one.flags, &*options).map_err(|error| wrap(error.into()))
}
