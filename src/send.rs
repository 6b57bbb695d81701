//! The sender: messages of a file or generated ones over TCP connections, at a rate or flat out,
//! with an exact account of what was sent.
//!
//! ```text
//! source --> frames --> buffer of a connection --> write --> kernel
//!   connection 0: messages 0, C, 2C, ...
//!   connection 1: messages 1, C+1, ...
//! ```
//!
//! All messages are numbered, and connection `k` of `C` sends every `C`th from `k` on. So what each
//! connection sends follows from the options alone, a rate is kept by looking at a number, and the
//! ids that were sent follow from how many messages each connection sent.
//!
//! Plain threads, at most one a core, drive the connections with blocking sockets in turns: fill
//! the buffer with what is due, write it, go on to the next. A write that is not taken within a turn
//! is gone on with at the next, so a receiver that does not read slows its own connection most.
//!
//! Syslog over TCP has no acknowledgement. What is exact is how much the kernel took: a message
//! counts once the last byte of its frame was taken. Whether the receiver read it is certain when
//! it closes its side after ours ([`Ending::ReadToEnd`]); the report says so for each connection.

mod connection;
mod pace;
mod source;

pub use connection::{Ending, Writes};
pub use pace::{BadRate, Rate};
pub use source::{Framing, Lines, Source, UnknownFraming};

use crate::clock::{Clock, Mono};
use crate::limits::{
    CONNECT_TIME, SEND_BUFFERS_BYTES, SEND_CLOSE_TIME_DEFAULT, SEND_STOP_TIME, SEND_TURN_TIME,
    SEND_WAKE_PAUSE, SEND_WRITE_BYTES, SEND_WRITE_BYTES_LEAST,
};
use connection::{Connection, Sent};
use pace::Pacer;
use source::Messages;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What to send, where to and how.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// The receiver.
    pub to: SocketAddr,
    /// What is sent.
    pub source: Source,
    /// How messages are told apart.
    pub framing: Framing,
    /// Connections, all open from the start to the end.
    pub connections: NonZeroUsize,
    /// Messages to send over all connections; without it, until the time is up or the stop.
    pub count: Option<u64>,
    /// For how long to send, from the moment at which all connections are open.
    pub time: Option<Duration>,
    /// Messages a second over all connections; without it, flat out.
    pub rate: Option<Rate>,
    /// How much one write call may carry.
    pub writes: Writes,
    /// What generated messages, their ids and random cuts follow from.
    pub seed: u64,
    /// Threads at most; without it, as many as there are cores.
    pub threads: Option<NonZeroUsize>,
    /// How long to wait at the end for the receiver to read everything and close its side.
    pub close_time: Duration,
}

impl SendOptions {
    /// Generated messages of all vendors to `to`, flat out over one connection until the stop,
    /// LF framing, seed 0.
    #[must_use]
    pub fn new(to: SocketAddr) -> Self {
        SendOptions {
            to,
            source: Source::Generated(Vec::new()),
            framing: Framing::Lf,
            connections: NonZeroUsize::MIN,
            count: None,
            time: None,
            rate: None,
            writes: Writes::Large,
            seed: 0,
            threads: None,
            close_time: SEND_CLOSE_TIME_DEFAULT,
        }
    }
}

/// How a running sender is watched and stopped from another thread.
#[derive(Debug, Default)]
pub struct SendControl {
    /// Messages sent so far, over all connections.
    pub messages: AtomicU64,
    /// Bytes of their frames.
    pub bytes: AtomicU64,
    /// Once set, every connection finishes the message it has begun, and ends.
    pub stop: AtomicBool,
}

/// What was sent.
#[derive(Debug, Clone)]
pub struct SendReport {
    /// By connection.
    pub connections: Vec<ConnectionReport>,
    /// From all connections being open to the last write.
    pub elapsed: Duration,
}

/// What was sent over one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionReport {
    /// Messages whose frame the kernel took to its last byte: the first so many of this
    /// connection's.
    pub messages: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Bytes that the kernel took of one message more, which was not sent in full.
    pub unfinished_bytes: u64,
    /// How it ended.
    pub ending: Ending,
}

impl SendReport {
    /// Messages over all connections.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.connections
            .iter()
            .map(|connection| connection.messages)
            .sum()
    }

    /// Bytes of their frames.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.connections
            .iter()
            .map(|connection| connection.bytes)
            .sum()
    }

    /// Messages a second over the whole run.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.messages() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Whether no connection was lost.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.connections
            .iter()
            .all(|connection| connection.ending.is_clean())
    }

    /// The numbers of all messages that were sent, by connection; for generated ones they are the
    /// numbers in the ids ([`crate::generate::append_id`]).
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        let step = self.connections.len() as u64;
        self.connections
            .iter()
            .zip(0u64..)
            .flat_map(move |(connection, first)| {
                (0..connection.messages).map(move |n| first + n * step)
            })
    }
}

/// Why sending could not begin. Once it has, whatever happens is in the report.
#[derive(Debug)]
pub enum SendError {
    /// A connection could not be opened; trying again helps if the receiver comes up.
    Connect {
        /// The receiver.
        to: SocketAddr,
        /// How many were open already.
        opened: usize,
        /// What the kernel said.
        error: io::Error,
    },
    /// A connection could not be set up, or a thread not be started.
    System(io::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Connect { to, opened, error } => write!(
                f,
                "cannot connect to {to} (connection {}; nothing was sent): {error}",
                opened + 1
            ),
            SendError::System(error) => {
                write!(f, "cannot start to send: {error}")
            }
        }
    }
}

impl std::error::Error for SendError {}

/// Opens all connections, sends, and waits for the receiver to read to the end.
///
/// # Errors
/// If a connection cannot be opened. Nothing is sent then.
pub fn send(
    options: &SendOptions,
    clock: Clock,
    control: &SendControl,
) -> Result<SendReport, SendError> {
    let connections = open_all(options)?;
    let threads_count = threads_count(options);
    let mut shares: Vec<Vec<(usize, Connection)>> =
        (0..threads_count).map(|_| Vec::new()).collect();
    for (index, connection) in connections.into_iter().enumerate() {
        shares[index % threads_count].push((index, connection));
    }
    let run = Run {
        options,
        clock,
        control,
        start: clock.mono(),
        finished: AtomicU64::new(0),
    };
    let mut reports = thread::scope(|scope| {
        let started: io::Result<Vec<_>> = shares
            .into_iter()
            .map(|share| {
                thread::Builder::new()
                    .name("send".to_owned())
                    .spawn_scoped(scope, || run.drive(share))
            })
            .collect();
        let started = started.inspect_err(|_| control.stop.store(true, Ordering::Relaxed))?;
        let joined = started.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        Ok(joined.flatten().collect::<Vec<_>>())
    })
    .map_err(SendError::System)?;
    reports.sort_by_key(|(index, _)| *index);
    Ok(SendReport {
        connections: reports.into_iter().map(|(_, report)| report).collect(),
        elapsed: Mono(run.finished.into_inner()).since(run.start),
    })
}

fn threads_count(options: &SendOptions) -> usize {
    let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    options
        .threads
        .unwrap_or_else(cores)
        .min(options.connections)
        .get()
}

/// Opens all connections, or none.
fn open_all(options: &SendOptions) -> Result<Vec<Connection>, SendError> {
    let connections_count = options.connections.get() as u64;
    let mut connections = Vec::with_capacity(options.connections.get());
    for index in 0..connections_count {
        let stream = TcpStream::connect_timeout(&options.to, CONNECT_TIME).map_err(|error| {
            SendError::Connect {
                to: options.to,
                opened: connections.len(),
                error,
            }
        })?;
        set_up(&stream).map_err(SendError::System)?;
        let messages = Messages::new(
            &options.source,
            options.seed,
            index,
            connections_count,
            options.framing,
        );
        let pacer = Pacer::new(options.rate, index, connections_count);
        let wanted = options
            .count
            .map_or(u64::MAX, |count| share(count, index, connections_count));
        let cuts_seed = options.seed ^ (index << 32) ^ 0xc075;
        connections.push(Connection::new(
            stream,
            messages,
            pacer,
            options.writes,
            wanted,
            cuts_seed,
        ));
    }
    Ok(connections)
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    // Small writes are meant to arrive as small segments; large ones gain nothing from waiting.
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(SEND_TURN_TIME))?;
    stream.set_read_timeout(Some(SEND_TURN_TIME))
}

/// How many of messages 0 to `count` fall to connection `index` when they are dealt out in turn.
fn share(count: u64, index: u64, connections_count: u64) -> u64 {
    count / connections_count + u64::from(index < count % connections_count)
}

/// What the threads share.
struct Run<'a> {
    options: &'a SendOptions,
    clock: Clock,
    control: &'a SendControl,
    start: Mono,
    /// When the last thread finished writing, as a [`Mono`].
    finished: AtomicU64,
}

impl Run<'_> {
    /// Sends over some of the connections, from the first message to the close.
    fn drive(&self, mut share: Vec<(usize, Connection)>) -> Vec<(usize, ConnectionReport)> {
        self.write_all(&mut share);
        self.finished
            .fetch_max(self.clock.mono().0, Ordering::Relaxed);
        self.close_all(share)
    }

    fn write_all(&self, share: &mut [(usize, Connection)]) {
        let connections_count = self.options.connections.get();
        let buffer_bytes = (SEND_BUFFERS_BYTES / connections_count)
            .clamp(SEND_WRITE_BYTES_LEAST, SEND_WRITE_BYTES);
        let mut stopping_until = None;
        while share.iter().any(|(_, connection)| !connection.is_done()) {
            let now = self.clock.now();
            let elapsed = now.mono.since(self.start);
            match stopping_until {
                None if self.is_over(elapsed) => {
                    stopping_until = Some(now.mono.plus(SEND_STOP_TIME));
                    share
                        .iter_mut()
                        .for_each(|(_, connection)| connection.cut_off());
                }
                Some(until) if now.mono >= until => {
                    share
                        .iter_mut()
                        .for_each(|(_, connection)| connection.abandon());
                }
                _ => {}
            }
            for (_, connection) in share.iter_mut() {
                connection.fill(elapsed, now.wall, buffer_bytes);
                self.count(connection.push());
            }
            if !share.iter().any(|(_, connection)| connection.has_waiting()) {
                self.pause(share);
            }
        }
    }

    fn is_over(&self, elapsed: Duration) -> bool {
        self.control.stop.load(Ordering::Relaxed)
            || self.options.time.is_some_and(|time| elapsed >= time)
    }

    fn count(&self, sent: Sent) {
        if sent.messages > 0 {
            self.control
                .messages
                .fetch_add(sent.messages, Ordering::Relaxed);
            self.control.bytes.fetch_add(sent.bytes, Ordering::Relaxed);
        }
    }

    /// Sleeps until a message comes due, or for a turn: a stop is seen by then.
    fn pause(&self, share: &[(usize, Connection)]) {
        let open = share.iter().filter(|(_, connection)| !connection.is_done());
        let Some(next) = open.map(|(_, connection)| connection.next_due()).min() else {
            return;
        };
        let elapsed = self.clock.mono().since(self.start);
        let end = self.options.time.map_or(next, |time| next.min(time));
        if let Some(wait) = end.checked_sub(elapsed).filter(|wait| !wait.is_zero()) {
            thread::sleep(wait.clamp(SEND_WAKE_PAUSE, SEND_TURN_TIME));
        }
    }

    fn close_all(&self, mut share: Vec<(usize, Connection)>) -> Vec<(usize, ConnectionReport)> {
        share
            .iter_mut()
            .for_each(|(_, connection)| connection.close());
        let begun = self.clock.mono();
        share
            .into_iter()
            .map(|(index, mut connection)| {
                let ending = loop {
                    if let Some(ending) = connection.ending() {
                        break ending;
                    }
                    let stopping = self.control.stop.load(Ordering::Relaxed);
                    let most = self.options.close_time.min(if stopping {
                        SEND_STOP_TIME
                    } else {
                        Duration::MAX
                    });
                    if self.clock.mono().since(begun) >= most {
                        break Ending::NotClosed;
                    }
                };
                let report = ConnectionReport {
                    messages: connection.sent.messages,
                    bytes: connection.sent.bytes,
                    unfinished_bytes: connection.unfinished_bytes() as u64,
                    ending,
                };
                (index, report)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_dealt_out_without_one_left_over() {
        for count in 0..50 {
            for connections in 1..12 {
                let shares: Vec<_> = (0..connections)
                    .map(|index| share(count, index, connections))
                    .collect();
                assert_eq!(shares.iter().sum::<u64>(), count);
                assert!(
                    shares.is_sorted_by(|a, b| a >= b) && shares[0] - shares[shares.len() - 1] <= 1
                );
            }
        }
    }

    #[test]
    fn ids_follow_from_how_many_each_connection_sent() {
        let connection = |messages| ConnectionReport {
            messages,
            bytes: 0,
            unfinished_bytes: 0,
            ending: Ending::ReadToEnd,
        };
        let report = SendReport {
            connections: vec![connection(3), connection(0), connection(2)],
            elapsed: Duration::ZERO,
        };
        assert_eq!(report.ids().collect::<Vec<_>>(), [0, 3, 6, 2, 5]);
    }
}
