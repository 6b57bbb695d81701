//! What the program and its supervisor, systemd or another one of its kind, say to each other.
//!
//! ```text
//! environment --> sockets given, watchdog time          (LISTEN_FDS, WATCHDOG_USEC)
//! notices     --> ready, alive, reloading, stopping     (NOTIFY_SOCKET; sd_notify(3))
//! sockets     --> kept by the supervisor, and given to our successor        (FDSTORE=1)
//! ```
//!
//! Without a supervisor every function does nothing. A notice never holds us up for longer than
//! [`SUPERVISOR_SEND_TIME`], and one that is lost is repeated or does without.

use crate::limits::{SOCKETS_GIVEN_MOST, SUPERVISOR_SEND_TIME};
use listenfd::ListenFd;
use nix::sys::socket::{ControlMessage, MsgFlags, Shutdown, UnixAddr, sendmsg, shutdown};
use nix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// A listening socket that was given to us.
#[derive(Debug)]
pub struct Given {
    /// What the supervisor calls it.
    pub name: String,
    /// The socket.
    pub listener: TcpListener,
}

/// Whoever started us and looks after us.
#[derive(Debug)]
pub struct Supervisor {
    /// Where notices go; nothing if nobody listens.
    mailbox: Option<Mailbox>,
    /// Without a sign of life for so long it takes us for dead.
    watchdog_time: Option<Duration>,
    given: Vec<Given>,
    strangers_count: usize,
}

#[derive(Debug)]
struct Mailbox {
    socket: UnixDatagram,
    address: UnixAddr,
}

impl Supervisor {
    /// Nobody.
    #[must_use]
    pub fn none() -> Self {
        Supervisor {
            mailbox: None,
            watchdog_time: None,
            given: Vec::new(),
            strangers_count: 0,
        }
    }

    /// The one that the environment tells of, with the sockets that it gives. To be called once,
    /// before any thread is started and any descriptor opened: it takes descriptors by their number,
    /// and their variables out of the environment.
    ///
    /// # Errors
    /// The supervisor wants to hear of us, and cannot be spoken to.
    pub fn from_environment() -> io::Result<Self> {
        let mut supervisor = Supervisor::none();
        supervisor.take_sockets();
        supervisor.watchdog_time = watchdog_time(
            env::var("WATCHDOG_USEC").ok().as_deref(),
            env::var("WATCHDOG_PID").ok().as_deref(),
            std::process::id(),
        );
        if let Some(path) = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) {
            supervisor.mailbox = Some(Mailbox::new(&path)?);
        }
        Ok(supervisor)
    }

    fn take_sockets(&mut self) {
        let count = env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok());
        let is_for_us = env::var("LISTEN_PID").is_ok_and(|id| id == std::process::id().to_string());
        if !is_for_us || !count.is_some_and(|count| (1..=SOCKETS_GIVEN_MOST).contains(&count)) {
            return;
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        for index in 0..descriptors.len() {
            let name = names.next().unwrap_or_default().to_owned();
            match descriptors.take_tcp_listener(index) {
                Ok(Some(listener)) => self.given.push(Given { name, listener }),
                _ => {
                    self.strangers_count += 1;
                    if let Ok(Some(descriptor)) = descriptors.take_raw_fd(index) {
                        // one that is not open is as good as closed
                        let _ = nix::unistd::close(descriptor);
                    }
                }
            }
        }
    }

    /// True if somebody hears our notices.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.mailbox.is_some()
    }

    /// Without a sign of life for so long it takes us for dead.
    #[must_use]
    pub fn watchdog_time(&self) -> Option<Duration> {
        self.watchdog_time
    }

    /// The listening sockets that were given to us, once.
    pub fn take_given(&mut self) -> Vec<Given> {
        if self.strangers_count > 0 {
            let count = std::mem::take(&mut self.strangers_count);
            tracing::warn!(
                count,
                "sockets were given that are not TCP: they are closed"
            );
        }
        std::mem::take(&mut self.given)
    }

    /// Gives a listening socket into keeping: after our end, however it comes, our successor has it,
    /// and whoever wants to connect in between waits.
    pub fn keep(&self, listener: &TcpListener, address: SocketAddr) {
        let name = name_of(address);
        self.send(&Notice::Keep { name: &name }, &[listener.as_raw_fd()]);
    }

    /// Gives up a socket that was given to us and that nobody will accept on. One that the supervisor
    /// keeps because we once asked it to is closed there as well: else senders could connect to it,
    /// and wait for ever.
    pub fn let_go(&self, given: Given) {
        let Ok(address) = given.listener.local_addr() else {
            return;
        };
        tracing::warn!(%address, name = given.name,
            "a listening socket was given that listen.tcp does not ask for: it is closed");
        if given.name == name_of(address) {
            // its port is free at once, even if the supervisor takes its time
            let _ = shutdown(given.listener.as_raw_fd(), Shutdown::Both);
            self.tell(&Notice::Forget { name: &given.name });
        }
    }

    /// Says something.
    pub fn tell(&self, notice: &Notice<'_>) {
        self.send(notice, &[]);
    }

    /// Says that the configuration is being read again; [`Notice::Ready`] must follow.
    pub fn tell_reloading(&self) {
        if let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) {
            let at = Duration::from(now);
            self.tell(&Notice::Reloading { at });
        }
    }

    fn send(&self, notice: &Notice<'_>, descriptors: &[RawFd]) {
        let Some(mailbox) = &self.mailbox else { return };
        if let Err(error) = mailbox.send(&notice.to_string(), descriptors) {
            tracing::warn!(%error, ?notice, "the supervisor could not be told");
        }
    }
}

impl Mailbox {
    fn new(path: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SUPERVISOR_SEND_TIME))?;
        let address = match path.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
            _ => UnixAddr::new(path)?,
        };
        Ok(Mailbox { socket, address })
    }

    /// By address each time: a supervisor that was started anew is found again.
    fn send(&self, text: &str, descriptors: &[RawFd]) -> nix::Result<()> {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let rights = if descriptors.is_empty() {
            &rights[..0]
        } else {
            &rights[..]
        };
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(text.as_bytes())],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            Some(&self.address),
        )
        .map(drop)
    }
}

/// Something to say to the supervisor. As text the assignments of sd_notify(3), one a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'t> {
    /// Frames are taken; or, after a reload, that is over.
    Ready,
    /// All loops go round.
    Alive,
    /// One line for people. Whatever is no printable text in it becomes a blank.
    Status(&'t str),
    /// The configuration is being read again.
    Reloading {
        /// Now, on the kernel's monotonic clock.
        at: Duration,
    },
    /// The program is stopping.
    Stopping {
        /// And needs no longer than this.
        time: Duration,
    },
    /// A listening socket goes with this notice, to be kept under a name.
    Keep {
        /// As [`name_of`] makes it.
        name: &'t str,
    },
    /// Whatever is kept under this name is not needed any more.
    Forget {
        /// As [`name_of`] makes it.
        name: &'t str,
    },
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Ready => f.write_str("READY=1\n"),
            Notice::Alive => f.write_str("WATCHDOG=1\n"),
            Notice::Status(text) => {
                let line = text.replace(char::is_control, " ");
                writeln!(f, "STATUS={line}")
            }
            Notice::Reloading { at } => {
                write!(f, "RELOADING=1\nMONOTONIC_USEC={}\n", at.as_micros())
            }
            Notice::Stopping { time } => {
                write!(f, "STOPPING=1\nEXTEND_TIMEOUT_USEC={}\n", time.as_micros())
            }
            Notice::Keep { name } => write!(f, "FDSTORE=1\nFDNAME={name}\n"),
            Notice::Forget { name } => write!(f, "FDSTOREREMOVE=1\nFDNAME={name}\n"),
        }
    }
}

/// The name under which the supervisor keeps the socket of an address: it may hold no colon.
#[must_use]
pub fn name_of(address: SocketAddr) -> String {
    format!("tcp-{address}").replace(':', "_")
}

/// How long we may be silent, if the supervisor minds at all.
fn watchdog_time(time: Option<&str>, for_whom: Option<&str>, own_id: u32) -> Option<Duration> {
    let is_for_us = for_whom.is_none_or(|id| id == own_id.to_string());
    let microseconds: u64 = time.filter(|_| is_for_us)?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_lines_and_no_text_can_add_another() {
        for (notice, text) in [
            (Notice::Ready, "READY=1\n"),
            (Notice::Alive, "WATCHDOG=1\n"),
            (
                Notice::Status("a\nMAINPID=1\u{0}b"),
                "STATUS=a MAINPID=1 b\n",
            ),
            (
                Notice::Reloading {
                    at: Duration::from_nanos(1_234_567_890),
                },
                "RELOADING=1\nMONOTONIC_USEC=1234567\n",
            ),
            (
                Notice::Stopping {
                    time: Duration::from_secs(45),
                },
                "STOPPING=1\nEXTEND_TIMEOUT_USEC=45000000\n",
            ),
            (Notice::Keep { name: "n" }, "FDSTORE=1\nFDNAME=n\n"),
            (Notice::Forget { name: "n" }, "FDSTOREREMOVE=1\nFDNAME=n\n"),
        ] {
            assert_eq!(notice.to_string(), text);
        }
    }

    #[test]
    fn each_address_has_a_name_that_a_list_by_colons_can_hold() {
        for (address, name) in [
            ("0.0.0.0:514", "tcp-0.0.0.0_514"),
            ("[::]:514", "tcp-[__]_514"),
            ("[fe80::1%2]:1", "tcp-[fe80__1%2]_1"),
        ] {
            assert_eq!(name_of(address.parse().unwrap()), name);
        }
    }

    #[test]
    fn only_a_watchdog_that_waits_for_us_is_fed() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog_time(Some("1000000"), None, 7), second);
        assert_eq!(watchdog_time(Some("1000000"), Some("7"), 7), second);
        assert_eq!(watchdog_time(Some("1000000"), Some("8"), 7), None);
        for bad in [None, Some(""), Some("0"), Some("-1"), Some("x")] {
            assert_eq!(watchdog_time(bad, None, 7), None);
        }
    }
}
