//! The spool of a running program: its folder, its lock, and a keeper for each uploader.

use crate::clock::Clock;
use crate::config::{Config, Durability, WhenFull};
use crate::failure::Failure;
use crate::limits::SPOOL_SEGMENT_BYTES;
use crate::sandbox::{self, Kind};
use crate::spool::disk::Disk;
use crate::spool::files::Folder;
use crate::spool::thread::{Folders, Link, Standing, Start};
use crate::spool::{self, Health, Lock, Settings, Space};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The keepers of a program, and what they hold together.
pub(super) struct Keepers {
    threads: Vec<JoinHandle<()>>,
    /// Nothing without a spool.
    _claim: Option<Arc<Mutex<Claim>>>,
    view: Option<SpoolView>,
}

/// What can be seen of a spool from any thread.
#[derive(Clone)]
pub(super) struct SpoolView {
    pub(super) space: Arc<Space>,
    pub(super) standing: Arc<Standing>,
}

/// The spool, taken by this program if there is to be one.
pub(super) struct Claimed(Option<(Settings, Claim)>);

impl Claimed {
    /// Takes the spool.
    ///
    /// # Errors
    /// The folder cannot be ours: no rights, no folder, another process has it. That its disk is full
    /// or fails is no error: bodies stay in memory, and it is tried again.
    pub(super) fn new(config: &Config) -> Result<Claimed, Failure> {
        let Some(settings) = settings(config) else {
            return Ok(Claimed(None));
        };
        let root = &config.spool.directory;
        let mut claim = Claim {
            root: root.clone(),
            taken: None,
        };
        if let Err(error) = claim.take() {
            if !is_of_disk(&error) {
                return Err(Failure::usage(complaint(root, &error)));
            }
            tracing::error!(%error, "the spool cannot be used; going on in memory, and trying again");
        }
        Ok(Claimed(Some((settings, claim))))
    }
}

impl Keepers {
    /// Starts the keepers of a spool, with a link for each uploader; links of nothing if there is to
    /// be no spool.
    ///
    /// # Errors
    /// There is no thread for a keeper.
    pub(super) fn start(
        config: &Config,
        claimed: Claimed,
        clock: Clock,
    ) -> Result<(Keepers, Vec<Option<Link>>), Failure> {
        let count = config.runtime.upload_cores;
        let root = &config.spool.directory;
        let Claimed(Some((settings, claim))) = claimed else {
            let none = Keepers {
                threads: Vec::new(),
                _claim: None,
                view: None,
            };
            return Ok((none, (0..count).map(|_| None).collect()));
        };
        let claim = Arc::new(Mutex::new(claim));
        let view = SpoolView {
            space: Arc::new(Space::new(
                config.spool.bytes_max as u64,
                config.spool.free_bytes_min.map(|bytes| bytes as u64),
            )),
            standing: Arc::new(Standing::new(count)),
        };
        let (mut threads, mut links) = (Vec::new(), Vec::new());
        for index in 0..count {
            let start = Start {
                index,
                disk: Folder::new(root),
                settings,
                space: view.space.clone(),
                folders: part_of(Arc::clone(&claim), index, count),
                clock,
                standing: view.standing.clone(),
                begin: || sandbox::narrow(Kind::Spool),
            };
            let (link, thread) = spool::thread::start(start).map_err(|error| {
                Failure::running(format!("a keeper of the spool cannot start: {error}"))
            })?;
            links.push(Some(link));
            threads.push(thread);
        }
        let keepers = Keepers {
            threads,
            _claim: Some(claim),
            view: Some(view),
        };
        Ok((keepers, links))
    }

    pub(super) fn view(&self) -> Option<SpoolView> {
        self.view.clone()
    }

    /// True if a keeper has ended. None does before its uploader.
    pub(super) fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits for the keepers, whose uploaders have ended. False if one of them panicked.
    pub(super) fn join(self) -> bool {
        let ends: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        ends.iter().all(Result::is_ok)
    }
}

/// What keepers go by; nothing if there is to be no spool.
fn settings(config: &Config) -> Option<Settings> {
    let spool = &config.spool;
    let is_power = match spool.durability {
        Durability::Memory => return None,
        Durability::Process => false,
        Durability::Power => true,
    };
    Some(Settings {
        is_power,
        segment_bytes: SPOOL_SEGMENT_BYTES,
        // each keeps its own part
        quarantine_bytes_max: (spool.quarantine_bytes_max / config.runtime.upload_cores) as u64,
        when_full: match spool.when_full {
            WhenFull::Backpressure => spool::WhenFull::Backpressure,
            WhenFull::DropOldest => spool::WhenFull::DropOldest,
        },
    })
}

/// The spool's lock, and the logs of earlier runs that were there when it was taken, oldest first.
struct Claim {
    root: PathBuf,
    taken: Option<(Lock, Vec<String>)>,
}

impl Claim {
    /// Takes the spool, unless that was done.
    fn take(&mut self) -> io::Result<&[String]> {
        let taken = match self.taken.take() {
            Some(taken) => taken,
            None => {
                let mut folder = Folder::create(&self.root)?;
                (Lock::take(&self.root)?, folder.folders()?)
            }
        };
        let (_, folders) = self.taken.insert(taken);
        Ok(folders)
    }
}

/// The logs that one of so many keepers is to empty, once the spool can be taken.
fn part_of(claim: Arc<Mutex<Claim>>, index: usize, count: usize) -> Folders {
    Box::new(move || {
        let mut claim = claim.lock().unwrap_or_else(PoisonError::into_inner);
        let root = claim.root.clone();
        match claim.take() {
            Ok(folders) => Ok(folders.iter().skip(index).step_by(count).cloned().collect()),
            Err(error) => Err(match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    Health::Full(error.to_string())
                }
                _ if is_of_disk(&error) => Health::Failing(error.to_string()),
                _ => Health::Failing(complaint(&root, &error)),
            }),
        }
    })
}

/// False if the folder cannot be ours, whatever becomes of its disk: no rights, no folder, another
/// process has it. True if there is no space, it is read-only, input or output fails.
fn is_of_disk(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::PermissionDenied
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::NotFound
            | ErrorKind::InvalidInput
    )
}

fn complaint(root: &Path, error: &io::Error) -> String {
    let root = root.display();
    match error.kind() {
        ErrorKind::WouldBlock => format!(
            "spool.directory = \"{root}\": another cefline uses it; each needs a folder of its own"
        ),
        _ => format!(
            "spool.directory = \"{root}\": cannot be used: {error}; make it for our user, choose \
             another, or do without (spool.durability = \"memory\")"
        ),
    }
}
