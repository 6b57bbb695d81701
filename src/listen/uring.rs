//! Whether this machine lets us have io_uring, asked before the first executor is made: glommio
//! itself answers with a panic about an old kernel.

use io_uring::{IoUring, Probe, opcode};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fmt;
use std::fs;
use std::io;

/// Entries of each of an executor's three rings. The kernel keeps the polls of sleeping connections in a
/// table whose size follows from this, and walks one row of it each time that glommio takes back its timer,
/// which is each time that it looks at its rings. With 128 entries there are 8 rows, and with 8,000
/// connections asleep the walk was 40 % of the work of waking one; with these there are 256, the most.
pub(super) const RING_ENTRIES: usize = 4096;
/// Entries where the kernel counts rings as locked memory, or has no place for such large ones: as many as
/// glommio has by itself.
pub(super) const RING_ENTRIES_LEAST: usize = 128;
/// Memory that glommio registers with each ring: the least it takes, since nothing of ours goes through it.
pub(super) const REGISTERED_BYTES: usize = 64 * 1024;
/// Locked memory that one executor needs: three rings of the fewest entries (16 KiB each), where they
/// count, and what is registered with each.
const EXECUTOR_LOCKED_BYTES: u64 = 256 * 1024;
/// glommio refuses to start below this.
const LOCKED_BYTES_LEAST: u64 = 512 * 1024;
/// Of the operations that glommio wants and exits without, those that came last, with 5.6 and 5.8.
const OPERATIONS: [u8; 4] = [
    opcode::Recv::CODE,
    opcode::Read::CODE,
    opcode::Statx::CODE,
    opcode::Fallocate::CODE,
];

/// Why there is no io_uring, and what to do about it.
#[derive(Debug)]
pub enum UringError {
    /// The kernel does not know the call, or something hides it.
    Absent,
    /// `kernel.io_uring_disabled` is 2.
    DisabledForAll,
    /// `kernel.io_uring_disabled` is 1 and we are not in `kernel.io_uring_group`.
    DisabledForOthers,
    /// The call is refused although the kernel allows it: a seccomp profile.
    Blocked,
    /// Not enough memory may be locked.
    LockedMemory {
        /// What may be locked, in bytes.
        allowed: u64,
        /// What is needed, in bytes.
        needed: u64,
    },
    /// Anything else.
    Other(io::Error),
}

impl fmt::Display for UringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UringError::Absent => f.write_str(
                "io_uring is not available: the kernel is older than 5.8 or a seccomp profile hides \
                 it; use a newer kernel, or a container profile that allows io_uring_setup, \
                 io_uring_enter and io_uring_register",
            ),
            UringError::DisabledForAll => f.write_str(
                "io_uring is switched off: kernel.io_uring_disabled is 2; set it to 0, or to 1 with \
                 this user's group in kernel.io_uring_group",
            ),
            UringError::DisabledForOthers => f.write_str(
                "io_uring is reserved: kernel.io_uring_disabled is 1; put this user into the group \
                 that kernel.io_uring_group names, or set kernel.io_uring_disabled to 0",
            ),
            UringError::Blocked => f.write_str(
                "io_uring is blocked by a seccomp profile although the kernel allows it; give the \
                 container a profile that allows io_uring_setup, io_uring_enter and \
                 io_uring_register",
            ),
            UringError::LockedMemory { allowed, needed } => write!(
                f,
                "too little memory may be locked: the limit is {allowed} bytes, needed are {needed}; \
                 raise it (LimitMEMLOCK=64M in the unit, or ulimit -l 65536) or set \
                 runtime.ingest_cores lower"
            ),
            UringError::Other(error) => write!(f, "io_uring could not be set up: {error}"),
        }
    }
}

impl std::error::Error for UringError {}

/// Locked memory that so many executors need, in bytes, for a process that may lock any amount
/// (CAP_IPC_LOCK) or may not.
#[must_use]
pub fn locked_bytes_needed(executors_count: usize, may_lock_any: bool) -> u64 {
    match may_lock_any {
        true => LOCKED_BYTES_LEAST,
        false => LOCKED_BYTES_LEAST.max(EXECUTOR_LOCKED_BYTES * executors_count as u64),
    }
}

/// Whether this kernel counts rings as locked memory, as those before 5.12 do. It is known by another thing
/// that came with that version.
pub(super) fn counts_rings() -> bool {
    IoUring::new(8).is_ok_and(|ring| !ring.params().is_feature_native_workers())
}

/// Makes a small ring and lets it go.
///
/// # Errors
/// Why none can be had, with what to do; a retry does not help.
pub fn ring() -> Result<(), UringError> {
    try_ring().map_err(|error| explain(error, 0, LOCKED_BYTES_LEAST))
}

/// Raises the soft limit on locked memory to the hard one and makes a small ring.
///
/// # Errors
/// Why no ring can be had, with what to do; a retry does not help.
pub fn probe(executors_count: usize) -> Result<(), UringError> {
    let allowed = raise_locked_memory();
    let needed = locked_bytes_needed(executors_count, false);
    if allowed < LOCKED_BYTES_LEAST || (allowed < needed && !may_lock_any()) {
        return Err(UringError::LockedMemory { allowed, needed });
    }
    try_ring().map_err(|error| explain(error, allowed, needed))
}

/// A small ring that knows all operations.
fn try_ring() -> io::Result<()> {
    let ring = IoUring::new(8)?;
    let mut probe = Probe::new();
    // older than 5.6 it cannot be asked
    let asked = ring.submitter().register_probe(&mut probe).is_ok();
    match asked && OPERATIONS.iter().all(|code| probe.is_supported(*code)) {
        true => Ok(()),
        false => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn explain(error: io::Error, allowed: u64, needed: u64) -> UringError {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (error.kind(), error.raw_os_error(), disabled.trim()) {
        (io::ErrorKind::Unsupported, ..) => UringError::Absent,
        (io::ErrorKind::PermissionDenied, _, "2") => UringError::DisabledForAll,
        (io::ErrorKind::PermissionDenied, _, "1") => UringError::DisabledForOthers,
        (io::ErrorKind::PermissionDenied, ..) => UringError::Blocked,
        (io::ErrorKind::OutOfMemory, ..) => UringError::LockedMemory { allowed, needed },
        _ => UringError::Other(error),
    }
}

fn raise_locked_memory() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) else {
        return u64::MAX;
    };
    match setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// Whether this process has CAP_IPC_LOCK. With it only glommio's own least limit counts.
#[must_use]
pub fn may_lock_any() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << CAP_IPC_LOCK) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_executor_adds_to_what_may_be_locked_and_none_needs_less_than_the_least() {
        let kib = |count, may_lock_any| locked_bytes_needed(count, may_lock_any) / 1024;
        assert_eq!(kib(1, false), 512);
        assert_eq!(kib(3, false), 768);
        // a limit of 8 MiB, which is usual
        assert_eq!(kib(32, false), 8_192);
        assert_eq!(kib(64, true), 512);
    }

    #[test]
    fn each_errno_is_explained_by_what_to_do() {
        let absent = explain(io::Error::from_raw_os_error(38), 1, 2);
        assert!(absent.to_string().contains("seccomp"), "{absent}");
        let memory = explain(io::Error::from_raw_os_error(12), 65_536, 524_288);
        let text = memory.to_string();
        assert!(text.contains("65536") && text.contains("524288"), "{text}");
        let blocked = explain(io::Error::from_raw_os_error(1), 1, 2);
        assert!(blocked.to_string().contains("io_uring"), "{blocked}");
    }
}
