//! A file whose every request we answer ourselves: the few words of the FUSE protocol that one file
//! at the root of its file system needs.
//!
//! Ours and not a library's: the subset is small, and a library for all of the protocol would bring
//! a dozen crates, among them a third version of `nix` and a second of `syn`. It also lets a request
//! be answered while one lock is held, so that a cut falls between two requests and never into one.

use crate::platter::{Failed, Platter};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::close;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// One request carries at most so much, and the kernel splits what is more.
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// What stands in front of a request's data, with room to spare.
const HEAD_BYTES_MAX: usize = 4096;
/// The kernel need not ask again for so long what the file is like.
const VALID_SECONDS: u64 = 3600;
const BLOCK_BYTES: u32 = 4096;
/// An ordinary file of root's alone.
const MODE: u32 = 0o100_600;
/// The version whose forms we use: Linux 5.4.
const VERSION: [u32; 2] = [7, 31];

/// Requests by their numbers.
mod code {
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const DESTROY: u32 = 38;
    pub(super) const BATCH_FORGET: u32 = 42;
}

/// Several reads and writes may be under way; large writes; direct ones beside each other; and more
/// than 32 pages in one.
const INIT_FLAGS: u32 = 1 | 1 << 5 | 1 << 15 | 1 << 22;
/// No cache of the kernel's between the file and us.
const OPEN_DIRECT: u32 = 1;

/// The platter, between whoever cuts and whoever answers.
#[derive(Debug)]
pub(crate) struct Shared {
    platter: Mutex<Platter>,
    /// The power has gone.
    gone: Condvar,
}

impl Shared {
    pub(crate) fn new(platter: Platter) -> Arc<Shared> {
        Arc::new(Shared {
            platter: Mutex::new(platter),
            gone: Condvar::new(),
        })
    }

    pub(crate) fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the power has gone; whether it has.
    pub(crate) fn wait_cut(&self, time: Duration) -> bool {
        let wait = self
            .gone
            .wait_timeout_while(self.platter(), time, |platter| platter.is_on());
        let (platter, _) = wait.unwrap_or_else(PoisonError::into_inner);
        !platter.is_on()
    }

    /// The answer's body, or why there is none. For some requests there is no answer.
    fn answer(&self, request: &Request<'_>) -> Option<Result<Vec<u8>, Errno>> {
        let mut platter = self.platter();
        let answer = match request.code {
            code::FORGET | code::BATCH_FORGET | code::INTERRUPT => return None,
            code::INIT => Ok(init()),
            code::GETATTR | code::SETATTR => Ok(attributes(platter.len() as u64)),
            code::OPEN => Ok([&[0; 8], &OPEN_DIRECT.to_ne_bytes()[..], &[0; 4]].concat()),
            code::READ => platter
                .read(request.u64(8) as usize, request.u32(16) as usize)
                .map(<[u8]>::to_vec)
                .map_err(errno),
            code::WRITE => {
                let length = request.u32(16);
                let data = &request.body[40..][..length as usize];
                let written = platter.write(request.u64(8) as usize, data);
                written
                    .map(|()| [length, 0].map(u32::to_ne_bytes).concat())
                    .map_err(errno)
            }
            code::FSYNC => platter.flush().map(|()| Vec::new()).map_err(errno),
            // of the closing of a file, which says nothing of the disk
            code::FLUSH | code::RELEASE | code::DESTROY => Ok(Vec::new()),
            _ => Err(Errno::ENOSYS),
        };
        if !platter.is_on() {
            self.gone.notify_all();
        }
        Some(answer)
    }
}

fn errno(Failed: Failed) -> Errno {
    Errno::EIO
}

/// What the kernel asks for.
struct Request<'a> {
    code: u32,
    id: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The head: length, code, id, file, user, group, process, length of extensions.
    fn of(bytes: &'a [u8]) -> Request<'a> {
        let (head, body) = bytes.split_at(40);
        let head = Request {
            code: 0,
            id: 0,
            body: head,
        };
        assert_eq!(head.u32(0) as usize, bytes.len());
        Request {
            code: head.u32(4),
            id: head.u64(8),
            body,
        }
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.body[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.body[at..at + 8].try_into().unwrap())
    }
}

/// What we agree to.
fn init() -> Vec<u8> {
    let [major, minor] = VERSION;
    // how many requests may wait in the background, and from how many on it is crowded
    let waiting = 64_u32 | 48 << 16;
    let pages_max = WRITE_BYTES_MAX / 4096;
    let read_ahead = WRITE_BYTES_MAX;
    let nanoseconds = 1;
    let words = [
        major,
        minor,
        read_ahead,
        INIT_FLAGS,
        waiting,
        WRITE_BYTES_MAX,
        nanoseconds,
        pages_max,
    ];
    let mut body = words.map(u32::to_ne_bytes).concat();
    body.resize(64, 0);
    body
}

/// What the file is like.
fn attributes(length: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(104);
    // valid for, file, length, sectors, three times of last use
    for number in [VALID_SECONDS, 0, 1, length, length.div_ceil(512), 0, 0, 0] {
        body.extend(number.to_ne_bytes());
    }
    // their nanoseconds, mode, links, owner, group, device, block, flags
    for number in [0, 0, 0, MODE, 1, 0, 0, 0, BLOCK_BYTES, 0_u32] {
        body.extend(number.to_ne_bytes());
    }
    body
}

/// Puts the platter in place of the file `point`. The thread ends when nothing is mounted there any
/// more; if it ends before, every request fails.
pub(crate) fn serve(point: &Path, shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let (tell, told) = sync_channel(1);
    let shared = Arc::clone(shared);
    let point = point.to_owned();
    let server = thread::Builder::new()
        .name("platter".to_owned())
        .spawn(move || {
            let device = own_device().and_then(|device| {
                mount_at(&point, &device)?;
                leave_mounts(&point)?;
                Ok(device)
            });
            match device {
                Ok(device) => {
                    let _ = tell.send(Ok(()));
                    answer_all(device, &shared);
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        })?;
    told.recv().map_err(io::Error::other)??;
    Ok(server)
}

/// Opens the device in a table of open files that is this thread's alone. When the process is
/// killed, the device is closed with this thread and all requests fail. In a table that others share
/// it would stay open until the last thread has ended, and one that waits for the disk never would.
fn own_device() -> io::Result<File> {
    unshare(CloneFlags::CLONE_FILES)?;
    // copies of what others have open, which would keep their files and pipes open
    let copies: Vec<RawFd> = fs::read_dir("/proc/thread-self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for copy in copies.into_iter().filter(|copy| *copy > 2) {
        // one of them was that folder's, and is closed
        let _ = close(copy);
    }
    OpenOptions::new().read(true).write(true).open("/dev/fuse")
}

/// Goes where the platter is not mounted, nor anything that will be mounted upon it. A thread that
/// has the last hold of mounts takes them down before it closes its files, and would wait for
/// itself.
fn leave_mounts(point: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    umount2(point, MntFlags::MNT_DETACH)?;
    Ok(())
}

fn mount_at(point: &Path, device: &File) -> io::Result<()> {
    let options = format!(
        "fd={},rootmode={MODE:o},user_id=0,group_id=0",
        device.as_raw_fd()
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = Some(options.as_str());
    mount(Some("platter"), point, Some("fuse"), flags, options)?;
    Ok(())
}

fn answer_all(mut device: File, shared: &Shared) {
    let mut bytes = vec![0; WRITE_BYTES_MAX as usize + HEAD_BYTES_MAX];
    loop {
        let length = match device.read(&mut bytes) {
            Ok(length) => length,
            Err(error) => match errno_of(&error) {
                // not mounted any more
                Errno::ENODEV => return,
                // a request was taken back
                Errno::ENOENT | Errno::EINTR | Errno::EAGAIN => continue,
                _ => panic!("the kernel asks no more: {error}"),
            },
        };
        let request = Request::of(&bytes[..length]);
        let Some(answer) = shared.answer(&request) else {
            continue;
        };
        let (errno, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-(errno as i32), Vec::new()),
        };
        let mut reply = Vec::with_capacity(16 + body.len());
        reply.extend((16 + body.len() as u32).to_ne_bytes());
        reply.extend(errno.to_ne_bytes());
        reply.extend(request.id.to_ne_bytes());
        reply.extend(body);
        match device.write_all(&reply) {
            Ok(()) => {}
            Err(error) => match errno_of(&error) {
                Errno::ENODEV => return,
                // nobody waits for it any more
                Errno::ENOENT => {}
                _ => panic!("the kernel takes no answer to {}: {error}", request.code),
            },
        }
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
