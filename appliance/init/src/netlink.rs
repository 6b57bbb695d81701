//! Netlink: the messages by which the kernel is told of links, addresses, routes and rules.
//!
//! ```text
//! message  = length u32 | kind u16 | flags u16 | sequence u32 | port u32 | header of the kind | attributes
//! attribute = length u16 | kind u16 | value, filled up to 4 bytes; the value may be attributes again
//! ```
//!
//! Numbers of the frame are in the order of this machine; those inside of values are what the kind
//! wants. The two crates for this bring an asynchronous runtime and some twenty others with them;
//! what is needed of it here is this file. [`crate::network`] and [`crate::firewall`] build on it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::set_socket_send_buffer_size_force;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto,
    socket_with,
};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Links, addresses, routes: the protocol whose number is 0.
pub(crate) const ROUTE: Option<Protocol> = None;
/// Rules for packets.
pub(crate) const NETFILTER: Option<Protocol> = Some(rustix::net::netlink::NETFILTER);

/// The message asks for something.
pub(crate) const REQUEST: u16 = 0x1;
/// An answer is wanted, even if all is well.
pub(crate) const ACKNOWLEDGE: u16 = 0x4;
/// Of what is there already: it gives way.
pub(crate) const REPLACE: u16 = 0x100;
/// All of its kind.
pub(crate) const DUMP: u16 = 0x300;
/// What is not there is made.
pub(crate) const CREATE: u16 = 0x400;
/// At the end of a list.
pub(crate) const APPEND: u16 = 0x800;

const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
const HEADER_BYTES: usize = 16;
const NESTED: u16 = 0x8000;

/// The kernel writes at most 32 KiB of an answer at once; twice that never cuts one.
const RECEIVE_BYTES: usize = 64 * 1024;
/// The kernel answers at once; whoever waits for so long waits for nothing.
const ANSWER_SECONDS: i64 = 5;
/// Pieces of one answer: at 32 KiB a piece far more than an appliance's links and routes fill.
const PIECES_MOST: usize = 256;

/// The kernel would not.
#[derive(Debug)]
pub(crate) struct Error {
    /// Which of the messages of a batch it refused, by its place.
    pub(crate) index: usize,
    pub(crate) cause: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        Error { index: 0, cause }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(cause: rustix::io::Errno) -> Self {
        io::Error::from(cause).into()
    }
}

/// A message that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// One of a kind, with the fixed header that belongs to it.
    pub(crate) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        let mut message = Message { bytes };
        message.fill_up();
        message
    }

    /// One attribute more.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.begin_and_end(kind, |message| message.bytes.extend(value))
    }

    /// One attribute more, whose value is text as C has it.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.begin_and_end(kind, |message| {
            message.bytes.extend(value.as_bytes());
            message.bytes.push(0);
        })
    }

    /// One attribute more, made of attributes.
    pub(crate) fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Message)) -> &mut Self {
        self.begin_and_end(kind | NESTED, inside)
    }

    fn begin_and_end(&mut self, kind: u16, inside: impl FnOnce(&mut Message)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        inside(self);
        // nothing that is written here comes near to 64 KiB; the kernel refuses what does
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.fill_up();
        self
    }

    fn ask_for_answer(&mut self) {
        let flags = u16_at(&self.bytes, 6).unwrap_or_default() | ACKNOWLEDGE;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    }

    fn fill_up(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The bytes to send, as number so and so.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: Vec<u8>,
}

/// All whole messages in what came at once.
pub(crate) fn messages(bytes: &[u8]) -> Vec<Incoming> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let (Some(length), Some(kind), Some(sequence)) =
        (u32_at(rest, 0), u16_at(rest, 4), u32_at(rest, 8))
    {
        let length = length as usize;
        if length < HEADER_BYTES || length > rest.len() {
            break;
        }
        let payload = rest[HEADER_BYTES..length].to_vec();
        found.push(Incoming {
            kind,
            sequence,
            payload,
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// All whole attributes, with their kinds.
pub(crate) fn attributes(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        if length < 4 || length > rest.len() {
            break;
        }
        found.push((kind & !NESTED, &rest[4..length]));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Two bytes as a number in the order of this machine.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Four bytes as a number in the order of this machine.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A line to the kernel.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// To the part of the kernel that `protocol` names; hears what the groups (a bit each) are told.
    pub(crate) fn open(protocol: Option<Protocol>, groups: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        Ok(Socket { fd, sequence: 0 })
    }

    /// One thing is to be done.
    pub(crate) fn request(&mut self, message: Message) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.send(&message.finish(sequence))?;
        self.answers(|answer| answer.sequence == sequence && answer.kind == KIND_ERROR)
            .and_then(|answers| match answers.last().and_then(refusal) {
                Some(cause) => Err(cause.into()),
                None => Ok(()),
            })
    }

    /// Everything of a kind, as payloads of messages.
    pub(crate) fn dump(&mut self, message: Message) -> Result<Vec<Incoming>, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.send(&message.finish(sequence))?;
        let mut answers = self.answers(|answer| {
            answer.sequence == sequence && matches!(answer.kind, KIND_DONE | KIND_ERROR)
        })?;
        if let Some(cause) = answers.last().and_then(refusal) {
            return Err(cause.into());
        }
        answers.retain(|answer| {
            answer.sequence == sequence && answer.kind != KIND_DONE && answer.kind != KIND_ERROR
        });
        Ok(answers)
    }

    /// Several things are to be done, all or none. The first and the last message are the frame of
    /// the batch. A refusal comes unasked, so of the others only the last one is to be answered: with
    /// thousands of answers the kernel would give up before we read the first.
    pub(crate) fn batch(&mut self, mut messages: Vec<Message>) -> Result<(), Error> {
        if let Some(last) = messages.iter_mut().rev().nth(1) {
            last.ask_for_answer();
        }
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(message.finish(self.sequence));
        }
        let last = self.sequence.wrapping_sub(1);
        // it must go as one; if the room is not given, the kernel says that it is too long
        let _ = set_socket_send_buffer_size_force(&self.fd, bytes.len());
        self.send(&bytes)?;
        // the kernel takes all of it before it answers, and answers in order; a refused batch ends
        // with the refusals
        let answers = self.answers(|answer| {
            answer.kind == KIND_ERROR && (answer.sequence == last || refusal(answer).is_some())
        })?;
        match answers.iter().find_map(|a| Some((a, refusal(a)?))) {
            None => Ok(()),
            Some((answer, cause)) => Err(Error {
                index: answer.sequence.wrapping_sub(first) as usize,
                cause,
            }),
        }
    }

    /// What came without being asked for, if something did.
    pub(crate) fn heard(&mut self) -> io::Result<Vec<Incoming>> {
        let mut heard = Vec::new();
        for _ in 0..PIECES_MOST {
            match self.receive() {
                Ok(mut incoming) => heard.append(&mut incoming),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // more was told than was read: what is there now is asked for anyway
                Err(error) if error.raw_os_error() == Some(105) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(heard)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // a netlink socket takes a message whole or not at all
        sendto(
            &self.fd,
            bytes,
            SendFlags::empty(),
            &SocketAddrNetlink::new(0, 0),
        )?;
        Ok(())
    }

    fn answers(&mut self, is_last: impl Fn(&Incoming) -> bool) -> Result<Vec<Incoming>, Error> {
        let mut answers = Vec::new();
        for _ in 0..PIECES_MOST {
            let patience = Timespec {
                tv_sec: ANSWER_SECONDS,
                tv_nsec: 0,
            };
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, Some(&patience)) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            match self.receive() {
                Ok(incoming) => {
                    for message in incoming {
                        let ends = is_last(&message);
                        answers.push(message);
                        if ends {
                            return Ok(answers);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("the kernel's answer has no end").into())
    }

    /// What came at once, if it came from the kernel: others may write to us as well.
    fn receive(&self) -> io::Result<Vec<Incoming>> {
        let mut buffer = vec![0; RECEIVE_BYTES];
        let (_, length, from) = recvfrom(&self.fd, &mut buffer[..], RecvFlags::empty())?;
        let is_kernel = from
            .and_then(|from| SocketAddrNetlink::try_from(from).ok())
            .is_some_and(|from| from.pid() == 0);
        if !is_kernel {
            return Ok(Vec::new());
        }
        Ok(messages(buffer.get(..length).unwrap_or_default()))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What an answer refuses with; nothing if it says that all is well.
fn refusal(answer: &Incoming) -> Option<io::Error> {
    if answer.kind != KIND_ERROR {
        return None;
    }
    let number = i32::from_ne_bytes(*answer.payload.first_chunk()?);
    (number != 0).then(|| io::Error::from_raw_os_error(number.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut message = Message::new(16, REQUEST, &[1, 2, 3]);
        message.attribute(3, b"abcde").nested(7, |inside| {
            inside.text(1, "x");
        });
        let bytes = message.finish(9);
        let read = messages(&bytes);
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].kind, read[0].sequence), (16, 9));
        let outer = attributes(&read[0].payload[4..]);
        assert_eq!(outer[0], (3, &b"abcde"[..]));
        assert_eq!(outer[1].0, 7);
        assert_eq!(attributes(outer[1].1), [(1, &b"x\0"[..])]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_bad_to_be_read(bytes: Vec<u8>) {
            for message in messages(&bytes) {
                prop_assert!(message.payload.len() <= bytes.len());
            }
            prop_assert!(attributes(&bytes).len() * 4 <= bytes.len());
        }

        #[test]
        fn a_cut_message_is_not_read(cut in 0..20_usize) {
            let bytes = Message::new(1, 0, &[7; 4]).finish(1);
            prop_assert_eq!(messages(&bytes[..cut.min(bytes.len() - 1)]), vec![]);
        }
    }
}
