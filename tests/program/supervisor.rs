//! A supervisor as systemd is one: it hears notices, keeps listening sockets, and gives them to
//! whomever it starts.

use crate::process::{PROGRAM, Process, SOON, until};
use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

/// The time of its watchdog.
pub(crate) const WATCHDOG_TIME: Duration = Duration::from_secs(1);
/// How soon it sees that it is not needed any more.
const LOOK: Duration = Duration::from_millis(20);
/// The first descriptor that is given, by sd_listen_fds(3).
const FIRST_DESCRIPTOR: i32 = 3;

/// What it has heard and keeps.
#[derive(Default)]
struct Memory {
    /// Notices, in order; each of some lines.
    notices: Vec<String>,
    /// Sockets by their names.
    kept: Vec<(String, OwnedFd)>,
}

/// A supervisor.
pub(crate) struct Supervisor {
    folder: TempDir,
    memory: Arc<Mutex<Memory>>,
    is_over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Supervisor {
    pub(crate) fn start() -> Supervisor {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        mailbox.set_read_timeout(Some(LOOK)).unwrap();
        let memory = Arc::<Mutex<Memory>>::default();
        let is_over = Arc::<AtomicBool>::default();
        let (remembered, over) = (memory.clone(), is_over.clone());
        let listener = thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                if let Some((notice, descriptors)) = receive(&mailbox) {
                    let mut memory = remembered.lock().unwrap_or_else(PoisonError::into_inner);
                    memory.take(notice, descriptors);
                }
            }
        });
        Supervisor {
            folder,
            memory,
            is_over,
            listener: Some(listener),
        }
    }

    /// Starts `cefline` with everything that is kept, as itself: the shell between us only writes the
    /// process's number where it belongs.
    pub(crate) fn spawn(&self, arguments: &[&str], folder: &Path) -> Process {
        let memory = self.memory();
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "LISTEN_PID=$$ WATCHDOG_PID=$$ exec \"$0\" \"$@\"",
                PROGRAM,
            ])
            .args(arguments)
            .current_dir(folder)
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", WATCHDOG_TIME.as_micros().to_string());
        if !memory.kept.is_empty() {
            let names: Vec<&str> = memory.kept.iter().map(|(name, _)| name.as_str()).collect();
            let mappings = memory.kept.iter().zip(FIRST_DESCRIPTOR..);
            let mappings = mappings.map(|((_, socket), child_fd)| FdMapping {
                parent_fd: socket.try_clone().unwrap(),
                child_fd,
            });
            command
                .env("LISTEN_FDS", names.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"))
                .fd_mappings(mappings.collect())
                .unwrap();
        }
        Process::of(command, Vec::new(), Stdio::piped())
    }

    /// Keeps a socket of the test's.
    pub(crate) fn keep(&self, name: &str, socket: OwnedFd) {
        self.memory().kept.push((name.to_owned(), socket));
    }

    /// Keeps nothing any more.
    pub(crate) fn drop_all(&self) {
        self.memory().kept.clear();
    }

    /// The names of the sockets that it keeps.
    pub(crate) fn kept(&self) -> Vec<String> {
        let memory = self.memory();
        memory.kept.iter().map(|(name, _)| name.clone()).collect()
    }

    /// All notices so far.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.memory().notices.clone()
    }

    /// How many notices had this line.
    pub(crate) fn count(&self, line: &str) -> usize {
        let has = |notice: &&String| notice.lines().any(|one| one == line);
        self.memory().notices.iter().filter(has).count()
    }

    /// Waits until so many notices had this line.
    pub(crate) fn until_count(&self, line: &str, count: usize) {
        until(&format!("{count} times {line}"), SOON, || {
            (self.count(line) >= count).then_some(())
        });
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Memory {
    fn take(&mut self, notice: String, descriptors: Vec<OwnedFd>) {
        let value = |key: &str| {
            let mut lines = notice.lines().filter_map(|line| line.strip_prefix(key));
            lines.next().map(str::to_owned)
        };
        if let Some(name) = value("FDNAME=") {
            if value("FDSTORE=").is_some() {
                let named = descriptors.into_iter().map(|socket| (name.clone(), socket));
                self.kept.extend(named);
            } else if value("FDSTOREREMOVE=").is_some() {
                self.kept.retain(|(kept, _)| *kept != name);
            }
        }
        self.notices.push(notice);
    }
}

fn receive(mailbox: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(mailbox, parts, &mut rights, RecvFlags::CMSG_CLOEXEC).ok()?;
    let mut descriptors = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            descriptors.extend(sockets);
        }
    }
    let text = String::from_utf8(bytes[..received.bytes].to_vec()).unwrap();
    Some((text, descriptors))
}
