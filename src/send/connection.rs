//! One connection: what waits to be written, what was written in full, and how it ended.
//!
//! ```text
//! buffer  |..frames written..|..frame begun..|..frames waiting..|
//!                                  ^ written  ^ ends[frames_whole]
//! ```
//!
//! A message counts as sent once the kernel has taken the last byte of its frame. Writes may be
//! short: the sockets block, but not for longer than a turn, since a thread has several of them.

use super::pace::Pacer;
use super::source::Messages;
use crate::clock::Wall;
use fastrand::Rng;
use nix::sys::socket::{MsgFlags, recv};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How much one write call may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writes {
    /// As much as waits: the fewest calls.
    #[default]
    Large,
    /// One message, as devices send them.
    OneMessage,
    /// One byte: the worst that a sender can do to a receiver.
    OneByte,
    /// Random lengths, mostly short, without regard to frames: for tests of receivers.
    RandomCuts,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// After the last byte we closed our side, and the receiver read to the end and closed its own.
    ReadToEnd,
    /// After the last byte we closed our side; the receiver had not closed its own when we stopped
    /// waiting. The bytes lie in its kernel or ours.
    NotClosed,
    /// The receiver closed its side before we were done. What it had read by then is not known.
    ClosedEarly,
    /// The connection broke. Bytes that the kernel had taken but not delivered are lost.
    Broken(io::ErrorKind),
    /// We had to stop in the middle of a message, since the receiver read nothing.
    Stalled,
}

impl Ending {
    /// Whether everything that was written has been, or can still be, read.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        matches!(self, Ending::ReadToEnd | Ending::NotClosed)
    }

    /// One word for machines.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Ending::ReadToEnd => "read_to_end",
            Ending::NotClosed => "not_closed",
            Ending::ClosedEarly => "closed_early",
            Ending::Broken(_) => "broken",
            Ending::Stalled => "stalled",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::ReadToEnd => f.write_str("the receiver read to the end"),
            Ending::NotClosed => f.write_str(
                "the receiver has not closed its side yet; whether it has read the last of them is not known",
            ),
            Ending::ClosedEarly => f.write_str(
                "the receiver closed the connection before the end; whether it has read the last of them is not known",
            ),
            Ending::Broken(kind) => write!(
                f,
                "the connection broke ({kind}); what lay in socket buffers, up to some megabytes of the last of them, may be lost"
            ),
            Ending::Stalled => f.write_str("stopped in the middle of a message, since the receiver did not read"),
        }
    }
}

/// What one connection has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sent {
    /// Messages whose frame the kernel has taken to its last byte.
    pub(super) messages: u64,
    /// Bytes of those frames.
    pub(super) bytes: u64,
}

/// A connection and what waits on it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    messages: Messages,
    pub(super) pacer: Pacer,
    writes: Writes,
    /// For [`Writes::RandomCuts`].
    rng: Rng,
    buffer: Vec<u8>,
    /// Where each frame in the buffer ends; growing.
    ends: Vec<usize>,
    /// Bytes of the buffer that are written; at most its length.
    written: usize,
    /// Frames of the buffer that are written in full.
    frames_whole: usize,
    /// Messages taken from the source so far.
    taken: u64,
    /// Messages to take in all.
    wanted: u64,
    pub(super) sent: Sent,
    /// Set once nothing more will be written.
    broken: Option<Ending>,
}

impl Connection {
    /// A connection that will send `wanted` messages.
    pub(super) fn new(
        stream: TcpStream,
        messages: Messages,
        pacer: Pacer,
        writes: Writes,
        wanted: u64,
        seed: u64,
    ) -> Self {
        Connection {
            stream,
            messages,
            pacer,
            writes,
            rng: Rng::with_seed(seed),
            buffer: Vec::new(),
            ends: Vec::new(),
            written: 0,
            frames_whole: 0,
            taken: 0,
            wanted,
            sent: Sent::default(),
            broken: None,
        }
    }

    /// Whether bytes wait to be written.
    pub(super) fn has_waiting(&self) -> bool {
        self.broken.is_none() && self.written < self.buffer.len()
    }

    /// Whether there is nothing more to do but to close.
    pub(super) fn is_done(&self) -> bool {
        self.broken.is_some() || (self.taken >= self.wanted && !self.has_waiting())
    }

    /// When the next message comes due, after the start.
    pub(super) fn next_due(&self) -> Duration {
        self.pacer.due_at(self.taken)
    }

    /// Takes messages that are due from the source, up to `bytes_most` bytes of them, if nothing
    /// waits any more.
    pub(super) fn fill(&mut self, elapsed: Duration, now: Wall, bytes_most: usize) {
        if self.broken.is_some() || self.has_waiting() {
            return;
        }
        self.forget_written();
        let until = self.pacer.due_count(elapsed).min(self.wanted);
        while self.taken < until && self.buffer.len() < bytes_most {
            self.messages.append(now, &mut self.buffer);
            self.ends.push(self.buffer.len());
            self.taken += 1;
        }
        if self.has_waiting() {
            self.broken = self.receiver_has_closed();
        }
    }

    fn forget_written(&mut self) {
        self.buffer.clear();
        self.ends.clear();
        self.written = 0;
        self.frames_whole = 0;
    }

    /// Writes what waits until the kernel takes no more for now. Returns what was sent by that.
    pub(super) fn push(&mut self) -> Sent {
        let before = self.sent;
        while self.has_waiting() {
            let end = self.write_end();
            match write_some(&mut self.stream, &self.buffer[self.written..end]) {
                Ok(0) => break,
                Ok(count) => self.count_written(count),
                Err(error) => self.broken = Some(Ending::Broken(error.kind())),
            }
        }
        Sent {
            messages: self.sent.messages - before.messages,
            bytes: self.sent.bytes - before.bytes,
        }
    }

    /// Where the next write call ends.
    fn write_end(&mut self) -> usize {
        let all = self.buffer.len();
        match self.writes {
            Writes::Large => all,
            Writes::OneMessage => self.ends.get(self.frames_whole).copied().unwrap_or(all),
            Writes::OneByte => all.min(self.written + 1),
            Writes::RandomCuts => {
                let most = if self.rng.u8(..4) == 0 { 4096 } else { 64 };
                all.min(self.written + self.rng.usize(1..=most))
            }
        }
    }

    fn count_written(&mut self, count: usize) {
        self.written += count;
        while let Some(end) = self
            .ends
            .get(self.frames_whole)
            .filter(|end| **end <= self.written)
        {
            let start = self.frame_start();
            self.sent.messages += 1;
            self.sent.bytes += (end - start) as u64;
            self.frames_whole += 1;
        }
    }

    /// Where the frame begins that is not written in full yet.
    fn frame_start(&self) -> usize {
        self.frames_whole
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0)
    }

    /// Sends nothing more but the rest of a frame that is begun.
    pub(super) fn cut_off(&mut self) {
        let end = match self.unfinished_bytes() {
            0 => self.written,
            _ => self
                .ends
                .get(self.frames_whole)
                .copied()
                .unwrap_or(self.written),
        };
        self.buffer.truncate(end);
        self.wanted = self.taken;
    }

    /// Gives up on the rest of a frame that is begun.
    pub(super) fn abandon(&mut self) {
        if self.has_waiting() {
            self.broken = Some(Ending::Stalled);
        }
    }

    /// Bytes of a frame that is begun and not written in full.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.written - self.frame_start()
    }

    /// A peek that does not wait. At the end of the stream nobody is expected to read any more:
    /// the kernel would take some bytes still, only to be told that they were for nothing.
    fn receiver_has_closed(&self) -> Option<Ending> {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(self.stream.as_raw_fd(), &mut [0u8], flags) {
            Ok(0) => Some(Ending::ClosedEarly),
            Ok(_) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => None,
            Err(error) => Some(Ending::Broken(io::Error::from(error).kind())),
        }
    }

    /// Closes our side.
    pub(super) fn close(&mut self) {
        if self.broken.is_none()
            && let Err(error) = self.stream.shutdown(Shutdown::Write)
        {
            self.broken = Some(Ending::Broken(error.kind()));
        }
    }

    /// Reads, for as long as one turn, what a receiver should not send; its end is what we wait
    /// for. None if it has not come yet.
    pub(super) fn ending(&mut self) -> Option<Ending> {
        if self.broken.is_some() {
            return self.broken.clone();
        }
        match self.stream.read(&mut [0u8; 4096]) {
            // A reset may arrive behind the end of the stream, when the receiver closed first.
            Ok(0) => Some(match self.stream.take_error() {
                Ok(Some(error)) | Err(error) => Ending::Broken(error.kind()),
                Ok(None) => Ending::ReadToEnd,
            }),
            Ok(_) => None,
            Err(error) if is_for_later(&error) => None,
            Err(error) => Some(Ending::Broken(error.kind())),
        }
    }
}

/// What the kernel takes of `bytes` within a turn; 0 if nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "a short write is what we count; the caller goes on"
)]
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if is_for_later(&error) => Ok(0),
        result => result,
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
