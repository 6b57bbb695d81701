//! What cefline says to its supervisor: the notices of sd_notify(3).
//!
//! A notice is a datagram with one `NAME=value` a line. Whoever may write to the socket is
//! believed: that is cefline's user and nobody else. Sockets that come along (`FDSTORE=1`) are not
//! kept, and the kernel closes them.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// Longer notices are not read: those of cefline have some 100 bytes.
const NOTICE_BYTES_MOST: usize = 4096;
/// Characters of a status that are kept: a line of the screen.
const STATUS_CHARACTERS_MOST: usize = 200;
/// More time than this to start or stop is not granted: cefline's stop_time_max is an hour at most.
pub const EXTENSION_MOST: Duration = Duration::from_secs(70 * 60);

/// One thing that cefline says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It takes messages.
    Ready,
    /// It is alive.
    Alive,
    /// It is stopping.
    Stopping,
    /// It needs so much more time to start or stop.
    Extend(Duration),
    /// One line for people.
    Status(String),
}

/// All that a datagram says and that is understood.
#[must_use]
pub fn notices(datagram: &[u8]) -> Vec<Notice> {
    let Ok(text) = std::str::from_utf8(datagram) else {
        return Vec::new();
    };
    text.lines().filter_map(notice).collect()
}

fn notice(line: &str) -> Option<Notice> {
    match line.split_once('=')? {
        ("READY", "1") => Some(Notice::Ready),
        ("WATCHDOG", "1") => Some(Notice::Alive),
        ("STOPPING", "1") => Some(Notice::Stopping),
        ("EXTEND_TIMEOUT_USEC", time) => {
            let time = Duration::from_micros(time.parse().ok()?);
            Some(Notice::Extend(time.min(EXTENSION_MOST)))
        }
        ("STATUS", text) => {
            let printable = text.chars().filter(|c| !c.is_control());
            Some(Notice::Status(
                printable.take(STATUS_CHARACTERS_MOST).collect(),
            ))
        }
        _ => None,
    }
}

/// Where notices arrive.
#[derive(Debug)]
pub struct Mailbox {
    /// To be waited for.
    pub socket: UnixDatagram,
}

impl Mailbox {
    /// Opens it for one user to write to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(path: &Path, user: u32) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        chown(path, Some(user), Some(user))?;
        Ok(Mailbox { socket })
    }

    /// What one datagram says; nothing if none waits.
    #[must_use]
    pub fn hear(&self) -> Option<Vec<Notice>> {
        let mut datagram = [0; NOTICE_BYTES_MOST + 1];
        match self.socket.recv(&mut datagram) {
            Ok(length) if length <= NOTICE_BYTES_MOST => Some(notices(&datagram[..length])),
            Ok(_) => Some(Vec::new()),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_notice_of_cefline_is_understood() {
        for (datagram, notices_in_it) in [
            ("READY=1\n", vec![Notice::Ready]),
            ("WATCHDOG=1\n", vec![Notice::Alive]),
            (
                "STATUS=3 connections\n",
                vec![Notice::Status("3 connections".into())],
            ),
            (
                "STOPPING=1\nEXTEND_TIMEOUT_USEC=45000000\n",
                vec![Notice::Stopping, Notice::Extend(Duration::from_secs(45))],
            ),
            ("RELOADING=1\nMONOTONIC_USEC=1234567\n", vec![]),
            ("FDSTORE=1\nFDNAME=tcp-0.0.0.0_514\n", vec![]),
        ] {
            assert_eq!(notices(datagram.as_bytes()), notices_in_it);
        }
    }

    #[test]
    fn what_is_not_understood_changes_nothing() {
        for datagram in [
            "",
            "READY",
            "READY=0",
            "WATCHDOG=trigger",
            "EXTEND_TIMEOUT_USEC=-1",
            "\n\n=",
        ] {
            assert_eq!(notices(datagram.as_bytes()), vec![], "{datagram}");
        }
        assert_eq!(notices(b"READY=1\n\xff"), vec![]);
    }

    #[test]
    fn no_more_time_is_granted_than_cefline_can_need() {
        let forever = format!("EXTEND_TIMEOUT_USEC={}", u64::MAX);
        assert_eq!(
            notices(forever.as_bytes()),
            vec![Notice::Extend(EXTENSION_MOST)]
        );
    }

    #[test]
    fn a_mailbox_has_what_was_sent_to_it_but_nothing_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let owner = rustix::process::getuid().as_raw();
        std::fs::write(&path, "left by another").unwrap();
        let mailbox = Mailbox::open(&path, owner).unwrap();
        let cefline = UnixDatagram::unbound().unwrap();
        assert_eq!(mailbox.hear(), None);
        cefline.send_to(b"READY=1", &path).unwrap();
        assert_eq!(mailbox.hear(), Some(vec![Notice::Ready]));
        for (length, heard) in [(NOTICE_BYTES_MOST, 1), (NOTICE_BYTES_MOST + 1, 0)] {
            let long = format!("{:length$}", "WATCHDOG=1\n");
            cefline.send_to(long.as_bytes(), &path).unwrap();
            assert_eq!(mailbox.hear().unwrap().len(), heard, "{length}");
        }
    }

    proptest! {
        #[test]
        fn a_status_is_one_printable_line(text in "\\PC*", junk in any::<Vec<u8>>()) {
            let _ = notices(&junk);
            for notice in notices(format!("STATUS={text}\u{7}\u{1b}[2J").as_bytes()) {
                let Notice::Status(status) = notice else { panic!("{notice:?}") };
                prop_assert!(!status.contains(char::is_control));
                prop_assert!(status.chars().count() <= STATUS_CHARACTERS_MOST);
            }
        }
    }
}
