//! The spool: sealed bodies on disk, so that nothing that was accepted is lost with the process, or
//! with the power.
//!
//! ```text
//! uploader --Write--> keeper (own thread) --commit--> segment on disk
//!    |  ^                 |                                |
//!    |  '-----Written-----'      body dropped from memory, read back when its turn comes
//!    '--> the service takes it --Settle--> bit in the segment --all settled--> used again
//! ```
//!
//! A body is *safe* once [`keeper::Event::Written`] says so: if the configuration asks for it
//! (`durability = "power"`) it is on stable storage then. Writing and uploading overlap; a body that
//! the service takes before it is written is not written at all.
//!
//! - [`mod@format`] is what the bytes mean; [`survey`] and [`scan`] look for
//!   them; [`segment`] and [`log`] are what is known of them.
//! - [`keeper`] decides what to write, read, free and give up; it is pure, and so tests can lose
//!   power between any two operations of its [`disk::Disk`].
//! - Nothing that lies in a spool keeps the program from starting: damage is passed over, counted to
//!   the row, and what is left of it kept in [`quarantine`].
//! - One process uses a spool at a time ([`Lock`]); each run writes into new logs and empties those
//!   it finds. Anybody may look ([`inspect`]).

pub mod append;
pub mod blocks;
pub mod command;
pub mod commit;
pub mod disk;
pub mod fetch;
pub mod files;
pub mod format;
pub mod inspect;
pub mod keeper;
pub mod lengths;
pub mod log;
pub mod quarantine;
pub mod ram;
pub mod record;
pub mod scan;
pub mod segment;
pub mod survey;
pub mod thread;

pub use keeper::{Command, Event, Health, Keeper, Wanted};
pub use log::Place;
pub use record::Body;
pub use segment::Rows;

use quarantine::FOLDER as QUARANTINE;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a keeper goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether bodies are synced before they count as safe.
    pub is_power: bool,
    /// Length of a segment, in bytes: whole blocks.
    pub segment_bytes: usize,
    /// Bound of the quarantine, in bytes.
    pub quarantine_bytes_max: u64,
    /// What to do when the spool is full.
    pub when_full: WhenFull,
}

/// What to do when the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Keep what there is: no further body is taken, and senders wait.
    Backpressure,
    /// Give up the oldest bodies, counted.
    DropOldest,
}

/// How much of the file system all keepers of a program may use.
#[derive(Debug)]
pub struct Space {
    bytes_max: u64,
    /// So much stays free; nothing for a tenth of the file system, and at most 2 GiB.
    free_bytes_min: Option<u64>,
    used: AtomicU64,
    /// Bytes in quarantine; nothing before the first look.
    quarantined: Mutex<Option<u64>>,
}

/// What stays free of a file system unless the configuration says otherwise, at most.
const FREE_BYTES_MOST: u64 = 2 << 30;

/// What stays free of a file system of `all` bytes, if so much is configured or nothing.
#[must_use]
pub fn floor(free_bytes_min: Option<u64>, all: u64) -> u64 {
    free_bytes_min.unwrap_or_else(|| (all / 10).min(FREE_BYTES_MOST))
}

impl Space {
    /// Segments take no more than `bytes_max`, and leave `free_bytes_min` free.
    #[must_use]
    pub fn new(bytes_max: u64, free_bytes_min: Option<u64>) -> Self {
        Space {
            bytes_max,
            free_bytes_min,
            used: AtomicU64::new(0),
            quarantined: Mutex::new(None),
        }
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The bound.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Bytes in quarantine, for as long as one keeper puts something there.
    fn quarantined(&self) -> MutexGuard<'_, Option<u64>> {
        let held = self.quarantined.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes that are there already.
    fn take(&self, bytes: u64) {
        self.change(|used| used.saturating_add(bytes));
    }

    /// Takes `bytes`, if the bounds allow it; `free` and `all` bytes are the file system's. Else
    /// says which of them does not.
    fn reserve(&self, bytes: u64, (free, all): (u64, u64)) -> Result<(), String> {
        let floor = floor(self.free_bytes_min, all);
        if free < floor.saturating_add(bytes) {
            return Err(format!(
                "{free} bytes are free in its file system, and {floor} stay free \
                 (spool.free_bytes_min)"
            ));
        }
        let more = |used: u64| {
            let sum = used.saturating_add(bytes);
            (sum <= self.bytes_max).then_some(sum)
        };
        match self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("spool.bytes_max = {} is reached", self.bytes_max)),
        }
    }

    fn give_back(&self, bytes: u64) {
        self.change(|used| used.saturating_sub(bytes));
    }

    fn change(&self, next: impl Fn(u64) -> u64) {
        // never fails: there is always a next value
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                Some(next(used))
            });
    }
}

/// Name of the file that is locked.
pub const LOCK: &str = "lock";

/// The spool is ours until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Whether another process has the spool in `root` just now.
    #[must_use]
    pub fn is_taken(root: &Path) -> bool {
        let lock = File::open(root.join(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Takes the spool in `root`, which exists.
    ///
    /// # Errors
    /// Another process has it ([`io::ErrorKind::WouldBlock`]), or the system's.
    pub fn take(root: &Path) -> io::Result<Lock> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// True if a folder looks like a spool: it has a log, a quarantine, or a lock.
#[must_use]
pub fn is_spool(root: &Path) -> bool {
    let Ok(entries) = root.read_dir() else {
        return false;
    };
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.any(|name| name == LOCK || name == QUARANTINE || log::Log::<File>::id_of(&name).is_some())
}

#[cfg(test)]
mod tests;
