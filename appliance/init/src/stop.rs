//! Who may ask the machine to stop, and how it ends.
//!
//! | who | how it arrives |
//! |---|---|
//! | the power button, also a hypervisor's | a key of an input device called "Power Button" |
//! | ctrl-alt-del on a keyboard | SIGINT from the kernel: restart |
//! | the host of a Hyper-V or Azure machine | the kernel calls its `poweroff_cmd`, which is us again: `/init stop` sends SIGTERM |

use crate::{console, sysctl};
use rustix::event::{PollFd, PollFlags};
use rustix::mount::{MountFlags, mount_remount};
use rustix::process::{Pid, Signal, kill_process};
use rustix::system::{RebootCommand, reboot};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The power goes off.
    PowerOff,
    /// It starts anew.
    Restart,
}

/// Where wishes arrive.
#[derive(Debug)]
pub struct Wishes {
    signals: File,
    buttons: Vec<File>,
}

/// Bytes of a `struct signalfd_siginfo`; the first four are the signal's number.
const SIGNAL_BYTES: usize = 128;
/// Bytes of a `struct input_event`: a time, then kind, code and value.
const EVENT_BYTES: usize = 24;
const KIND_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

impl Wishes {
    /// Takes signals as bytes of a descriptor. To be called before any thread is started: each
    /// inherits that they are held back.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        Ok(Wishes {
            signals: File::from(signals()?),
            buttons: Vec::new(),
        })
    }

    /// Listens to what modules have brought: buttons, and the host's wish.
    pub fn listen(&mut self) {
        // without it the keys would restart the machine at once
        if let Err(error) = reboot(RebootCommand::CadOff) {
            console::complain(format_args!(
                "ctrl-alt-del restarts without a stop: {error}"
            ));
        }
        if let Err(difference) = sysctl::apply_one("kernel.poweroff_cmd", "/init stop") {
            console::complain(format_args!("a host cannot ask us to stop: {difference}"));
        }
        self.buttons = power_buttons();
    }

    /// To be waited for.
    pub fn poll_descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        let all = std::iter::once(&self.signals).chain(&self.buttons);
        all.map(|file| PollFd::new(file, PollFlags::IN))
    }

    /// What has arrived.
    pub fn heard(&mut self) -> Option<Ending> {
        let mut signal = [0; SIGNAL_BYTES];
        if self.signals.read_exact(&mut signal).is_ok() {
            let [a, b, c, d, ..] = signal;
            let is_keys = i32::from_ne_bytes([a, b, c, d]) == libc::SIGINT;
            return Some(if is_keys {
                Ending::Restart
            } else {
                Ending::PowerOff
            });
        }
        let mut event = [0; EVENT_BYTES];
        self.buttons.retain_mut(|button| {
            // one that is gone would wake us for ever
            let is_there = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
            event_is_press(&mut event, button).map_or_else(is_there, |_| true)
        });
        is_press(&event).then_some(Ending::PowerOff)
    }
}

/// Reads events until there is none, or one that counts.
fn event_is_press(event: &mut [u8; EVENT_BYTES], button: &mut File) -> io::Result<bool> {
    while !is_press(event) {
        button.read_exact(event)?;
    }
    Ok(true)
}

fn is_press(event: &[u8; EVENT_BYTES]) -> bool {
    let two = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    let is_down = event[20..] != [0; 4];
    (two(16), two(18)) == (KIND_KEY, KEY_POWER) && is_down
}

fn power_buttons() -> Vec<File> {
    let entries = fs::read_dir("/sys/class/input")
        .into_iter()
        .flatten()
        .flatten();
    let named = entries.filter(|entry| {
        let name = fs::read_to_string(entry.path().join("device/name")).unwrap_or_default();
        name.trim() == "Power Button" && entry.file_name().as_encoded_bytes().starts_with(b"event")
    });
    let open = |entry: fs::DirEntry| {
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(libc::O_NONBLOCK);
        options
            .open(Path::new("/dev/input").join(entry.file_name()))
            .ok()
    };
    named.filter_map(open).collect()
}

#[expect(
    unsafe_code,
    reason = "neither the standard library nor rustix has signals as descriptors"
)]
fn signals() -> io::Result<OwnedFd> {
    let set = hold_back(&[libc::SIGINT, libc::SIGTERM])?;
    // SAFETY: the call keeps no pointer to the set; the descriptor is new, so nobody else owns it.
    unsafe {
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let descriptor = libc::signalfd(-1, &raw const set, flags);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Lets a program hear all signals. We hear of them by a descriptor and hold them back, and what a
/// program holds back, its children do too unless they are told otherwise: without this they would
/// never hear that they are to stop.
#[expect(
    unsafe_code,
    reason = "there is no other way to act between fork and exec"
)]
pub(crate) fn let_hear(command: &mut Command) {
    // SAFETY: the child is a copy of a process with several threads, so nothing but system calls
    // may be made there: `hold_back` allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| hold_back(&[]).map(drop));
    }
}

/// Holds back these signals from this thread and those that it will start, and no others.
#[expect(unsafe_code, reason = "as in `signals`")]
fn hold_back(signals: &[libc::c_int]) -> io::Result<libc::sigset_t> {
    // SAFETY: the set is a plain value that `sigemptyset` makes whole; the calls keep no pointer to
    // it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        let error = libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        if error == 0 {
            Ok(set)
        } else {
            Err(io::Error::from_raw_os_error(error))
        }
    }
}

/// `/init stop`: asks the first process to stop the machine.
///
/// # Errors
/// What the kernel says.
pub fn ask() -> io::Result<()> {
    Ok(kill_process(Pid::INIT, Signal::TERM)?)
}

/// Does something if what is to be done is not done in time: it is done when what this gives is dropped.
#[must_use]
pub fn deadline(time: Duration, late: impl FnOnce() + Send + 'static) -> Option<SyncSender<()>> {
    let (not_yet, is_done) = sync_channel(0);
    let wait = move || {
        if is_done.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
            late();
        }
    };
    // without a thread for it there is no deadline
    let thread = thread::Builder::new().name("deadline".into()).spawn(wait);
    thread.is_ok().then_some(not_yet)
}

/// Ends the machine. All programs must have ended.
pub fn end(ending: Ending) -> ! {
    let (command, text) = match ending {
        Ending::PowerOff => (RebootCommand::PowerOff, "the power goes off"),
        Ending::Restart => (RebootCommand::Restart, "restarting"),
    };
    // a disk that is gone would hold us for ever
    let _deadline = deadline(SYNC_TIME, move || leave(command));
    rustix::fs::sync();
    // its journal is whole then; if it is not mounted there is nothing to do
    let _ = mount_remount(crate::DATA, MountFlags::RDONLY, "");
    console::say(text);
    console::flush();
    leave(command)
}

fn leave(command: RebootCommand) -> ! {
    loop {
        if let Err(error) = reboot(command) {
            console::say(format_args!("the machine cannot end: {error}"));
        }
        thread::sleep(Duration::from_secs(10));
    }
}

/// Ends a boot that cannot go on, after a time in which the reason can be read. A slot that was not
/// yet good has one try less then.
pub fn give_up(reason: &str) -> ! {
    console::complain(format_args!(
        "{reason}; restarting in {} s",
        GIVE_UP_TIME.as_secs()
    ));
    console::flush();
    thread::sleep(GIVE_UP_TIME);
    end(Ending::Restart)
}

/// Before the watchdog of [`crate::supervise`] bites, which restarts also what is to go off.
const SYNC_TIME: Duration = Duration::from_secs(50);
const GIVE_UP_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> [u8; EVENT_BYTES] {
        let mut event = [0; EVENT_BYTES];
        event[16..18].copy_from_slice(&kind.to_ne_bytes());
        event[18..20].copy_from_slice(&code.to_ne_bytes());
        event[20..].copy_from_slice(&value.to_ne_bytes());
        event
    }

    #[test]
    fn what_is_late_is_ended_and_what_is_done_is_not() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static LATE: AtomicU32 = AtomicU32::new(0);
        let time = Duration::from_millis(50);
        let late = || {
            LATE.fetch_add(1, Ordering::SeqCst);
        };
        drop(deadline(time, late));
        thread::sleep(time * 3);
        assert_eq!(LATE.load(Ordering::SeqCst), 0);
        let hanging = deadline(time, late);
        thread::sleep(time * 3);
        assert_eq!(LATE.load(Ordering::SeqCst), 1);
        drop(hanging);
    }

    #[test]
    fn a_program_that_is_started_hears_signals_that_we_hold_back() {
        let held_back = |is_let: bool| {
            let mut command = Command::new("grep");
            command.args(["SigBlk", "/proc/self/status"]);
            if is_let {
                let_hear(&mut command);
            }
            let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
            u64::from_str_radix(text.trim_start_matches("SigBlk:").trim(), 16).unwrap()
        };
        hold_back(&[libc::SIGINT, libc::SIGTERM]).unwrap();
        assert_eq!(
            held_back(false),
            1 << (libc::SIGINT - 1) | 1 << (libc::SIGTERM - 1)
        );
        assert_eq!(held_back(true), 0);
        hold_back(&[]).unwrap();
    }

    #[test]
    fn only_the_power_key_going_down_is_a_wish() {
        assert!(is_press(&event(KIND_KEY, KEY_POWER, 1)));
        assert!(!is_press(&event(KIND_KEY, KEY_POWER, 0)));
        assert!(!is_press(&event(KIND_KEY, 30, 1)));
        assert!(!is_press(&event(0, 0, 0)));
    }
}
