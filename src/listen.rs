//! Receives: sockets in, pages of rows out.
//!
//! ```text
//!  accept (a plain thread for each address)
//!    |  placement: the shard with the least to do
//!    v
//!  shard (one pinned executor for each ingest core: glommio, or tokio where there is no io_uring)
//!    socket -> connection -> frame -> parse -> map -> page ==ring==>
//!    '-- read in rounds --'
//! ```
//!
//! Connections are shared out when they are accepted and once more when shards turn out unequal
//! ([`placement`]). Busy connections are read in rounds, quiet ones sleep on the ring or on epoll
//! ([`rounds`], `runtime.rs`). Of one that brings more than its core can map, others that have nothing to
//! do map pieces ([`piece`]).
//! Memory is bounded: nothing for an idle connection but its state, a budget for unfinished frames,
//! one read buffer, a few pages and a few pieces for a shard.

mod accept;
pub mod connection;
mod epoll;
mod exchange;
pub mod piece;
pub mod placement;
mod ports;
pub mod rounds;
mod runtime;
mod shard;
mod socket;
pub mod uring;

use crate::clock::{Clock, Mono};
use crate::config::Config;
use crate::heart::Heart;
use crate::limits::LOG_PAUSE;
use crate::log::Limited;
use crate::metrics::{Counters, FilterBook};
use crate::ring::Ring;
use crate::sandbox::{self, Kind};
use crate::supervisor::Given;
use accept::{Acceptor, Bell};
use connection::Connection;
use exchange::Exchange;
use placement::Load;
pub use ports::Port;
pub use runtime::Backend;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Notify, watch};
use uring::UringError;

/// Connections on their way to one shard.
const VISITORS_MAX: usize = 1024;

/// Why receiving could not begin. A retry does not help until the cause is gone.
#[derive(Debug)]
pub enum ListenError {
    /// No io_uring, and nothing else will do.
    Uring(UringError),
    /// An address could not be bound.
    Bind(SocketAddr, io::Error),
    /// There was no descriptor left to wait with.
    Bell(io::Error),
    /// A shard's executor could not be made.
    Shard(String),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Uring(error) => {
                write!(
                    f,
                    "listen.io = \"uring\": {error}; \"auto\" goes on with epoll then"
                )
            }
            ListenError::Bind(address, error) => {
                write!(
                    f,
                    "listen.tcp = \"{address}\": cannot listen there: {error}"
                )?;
                match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        f.write_str("; another program, or another cefline, has this port")
                    }
                    io::ErrorKind::PermissionDenied => f.write_str(
                        "; ports below 1024 need the capability CAP_NET_BIND_SERVICE (or root)",
                    ),
                    _ => Ok(()),
                }
            }
            ListenError::Bell(error) => write!(f, "cannot wait for connections: {error}"),
            ListenError::Shard(error) => write!(f, "an ingest core could not start: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// A connection on its way to a shard, with what it has sent so far if it comes from another.
pub(crate) struct Visitor {
    stream: TcpStream,
    peer: IpAddr,
    connection: Connection,
}

/// Lines that strangers could otherwise make us write as often as they like.
struct Notices {
    accept_failed: Limited,
    refused: Limited,
    framing_broken: Limited,
    unfinished: Limited,
}

impl Notices {
    fn new() -> Self {
        let notice = || Limited::new(LOG_PAUSE);
        Notices {
            accept_failed: notice(),
            refused: notice(),
            framing_broken: notice(),
            unfinished: notice(),
        }
    }
}

/// What acceptors and shards have in common.
pub(crate) struct Shared {
    clock: Clock,
    /// What shards run on.
    io: Backend,
    /// The configuration in force; each reads it anew where it begins something.
    settings: watch::Receiver<Arc<Config>>,
    notices: Notices,
    /// Counts of the rules of `[[filter]]`, for shards to find theirs by name.
    filters: Arc<FilterBook>,
    loads: Vec<Load>,
    /// Pieces of busy connections, from shard to shard.
    exchange: Exchange,
    /// The way in to each shard.
    doors: Vec<Sender<Visitor>>,
    /// Wakes each shard's main task.
    wakes: Vec<Notify>,
    /// One for each shard.
    hearts: Vec<Arc<Heart>>,
    /// Wakes the acceptors.
    bell: Bell,
    /// Acceptors and shards that may still send a connection to a shard.
    senders_count: AtomicUsize,
    is_stopping: AtomicBool,
    /// Nanosecond at which nothing is waited for any more.
    stop_at: AtomicU64,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Called once by each acceptor and each shard: it sends no connections any more.
    fn leave(&self) {
        self.senders_count.fetch_sub(1, Ordering::Release);
    }

    fn all_have_left(&self) -> bool {
        self.senders_count.load(Ordering::Acquire) == 0
    }

    /// True if no connection is on its way to the shard.
    fn is_anteroom_empty(&self, shard: usize) -> bool {
        let door = &self.doors[shard];
        door.capacity() == door.max_capacity()
    }

    fn is_out_of_time(&self) -> bool {
        self.clock.mono() >= Mono(self.stop_at.load(Ordering::Acquire))
    }
}

/// The receiving half of a running program.
pub struct Listening {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
}

/// What a shard is started with.
struct Start {
    parts: shard::Parts,
    /// To be bound to, if to any.
    core: Option<usize>,
    ready: mpsc::SyncSender<Result<(), String>>,
}

/// Counters for each receiving thread: one for each shard, then one for each address.
#[must_use]
pub fn counters_count(config: &Config) -> usize {
    config.runtime.ingest_cores + config.listen.tcp.len()
}

/// What shards will run on, by the configuration and by what this machine has. To be asked before any
/// port is opened: who connects should find somebody who reads.
///
/// # Errors
/// There is no io_uring, and it must be that.
pub fn backend(config: &Config) -> Result<Backend, ListenError> {
    let (backend, why) = Backend::choose(config.listen.io, config.runtime.ingest_cores)
        .map_err(ListenError::Uring)?;
    if let Some(why) = why {
        tracing::info!(%why, "receiving by epoll");
    }
    Ok(backend)
}

/// Opens a port for each address, by a socket that was given for it or by a new one. Those that no
/// address asks for come first, to whoever wants to close them: they may be in the way of new ones.
///
/// # Errors
/// An address cannot be bound.
pub fn open(
    config: &Config,
    given: Vec<Given>,
    let_go: impl FnMut(Given),
) -> Result<Vec<Port>, ListenError> {
    let addresses = &config.listen.tcp;
    let (taken, unasked) = ports::sort(addresses, given);
    unasked.into_iter().for_each(let_go);
    let each = addresses.iter().zip(taken);
    each.map(|(address, given)| Port::open(*address, given))
        .collect()
}

/// Starts all shards, and accepts on `ports` once every one of them is ready. `cores` are those to
/// pin the shards to; `counters` as many as [`counters_count`] says. What may change of `settings` is
/// followed, from one read to the next.
///
/// # Errors
/// Why receiving could not begin; whatever was opened is closed again.
#[expect(
    clippy::too_many_arguments,
    reason = "it is called once, by who knows all stages"
)]
pub fn start(
    settings: &watch::Receiver<Arc<Config>>,
    io: Backend,
    ports: Vec<Port>,
    cores: &[usize],
    clock: Clock,
    ring: &Arc<Ring>,
    counters: &[Arc<Counters>],
    filters: &Arc<FilterBook>,
) -> Result<Listening, ListenError> {
    let config = settings.borrow().clone();
    let shards_count = config.runtime.ingest_cores;
    let (doors, visitors): (Vec<_>, Vec<_>) =
        (0..shards_count).map(|_| channel(VISITORS_MAX)).unzip();
    let shared = Arc::new(Shared {
        clock,
        io,
        settings: settings.clone(),
        notices: Notices::new(),
        filters: filters.clone(),
        loads: (0..shards_count).map(|_| Load::default()).collect(),
        exchange: Exchange::new(shards_count),
        doors,
        wakes: (0..shards_count).map(|_| Notify::new()).collect(),
        hearts: (0..shards_count)
            .map(|index| Heart::new(thread_name(index)))
            .collect(),
        bell: Bell::new().map_err(ListenError::Bell)?,
        senders_count: AtomicUsize::new(shards_count + ports.len()),
        is_stopping: AtomicBool::new(false),
        stop_at: AtomicU64::new(u64::MAX),
    });
    let mut listening = Listening {
        shared,
        threads: Vec::new(),
        addresses: ports.iter().map(Port::address).collect(),
    };
    let started = listening.start_shards(&config, cores, ring, counters, visitors);
    if let Err(error) = started {
        listening.stop(Duration::ZERO);
        return Err(ListenError::Shard(error));
    }
    listening.start_acceptors(ports, counters);
    Ok(listening)
}

impl Listening {
    /// The addresses bound, in the order of the configuration, with real ports in place of 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What shards run on.
    #[must_use]
    pub fn io(&self) -> Backend {
        self.shared.io
    }

    /// The hearts of all shards.
    #[must_use]
    pub fn hearts(&self) -> &[Arc<Heart>] {
        &self.shared.hearts
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.loads.iter().map(Load::connections).sum()
    }

    /// True if a thread has ended although nobody stopped it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !self.shared.is_stopping() && self.threads.iter().any(JoinHandle::is_finished)
    }

    /// A handle that stops it from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            shared: self.shared.clone(),
        }
    }

    /// Stops accepting at once; shards read what has arrived, and wait for free pages no longer
    /// than `time`. Returns without waiting.
    pub fn stop(&self, time: Duration) {
        self.stopper().stop(time);
    }

    /// Waits for all threads. False if one of them panicked.
    pub fn join(self) -> bool {
        let ends: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        ends.iter().all(Result::is_ok)
    }

    fn start_shards(
        &mut self,
        config: &Config,
        cores: &[usize],
        ring: &Arc<Ring>,
        counters: &[Arc<Counters>],
        visitors: Vec<Receiver<Visitor>>,
    ) -> Result<(), String> {
        let shards_count = visitors.len();
        let (ready, readies) = mpsc::sync_channel(shards_count);
        for (index, visitors) in visitors.into_iter().enumerate() {
            let start = Start {
                parts: shard::Parts {
                    index,
                    shared: self.shared.clone(),
                    ring: ring.clone(),
                    counters: counters[index].clone(),
                    settings: self.shared.settings.clone(),
                    visitors,
                },
                core: cores.get(index).filter(|_| config.runtime.pin).copied(),
                ready: ready.clone(),
            };
            let thread = thread::Builder::new()
                .name(thread_name(index))
                .spawn(move || run_shard(start))
                .map_err(|error| error.to_string())?;
            self.threads.push(thread);
        }
        drop(ready);
        for _ in 0..shards_count {
            readies
                .recv()
                .map_err(|_| "its thread ended at once".to_owned())??;
        }
        Ok(())
    }

    fn start_acceptors(&mut self, ports: Vec<Port>, counters: &[Arc<Counters>]) {
        let own = &counters[self.shared.loads.len()..];
        for (port, counters) in ports.into_iter().zip(own) {
            let acceptor = Acceptor {
                listener: port.listener,
                shared: self.shared.clone(),
                counters: counters.clone(),
            };
            let name = "accept".to_owned();
            match thread::Builder::new().name(name).spawn(move || {
                sandbox::narrow(Kind::Accept);
                acceptor.run();
            }) {
                Ok(thread) => self.threads.push(thread),
                Err(error) => {
                    tracing::error!(%error, "cannot start a thread that accepts");
                    self.shared.leave();
                }
            }
        }
    }
}

/// Stops receiving from another thread.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl Stopper {
    /// As [`Listening::stop`].
    pub fn stop(&self, time: Duration) {
        let stop_at = self.shared.clock.mono().plus(time);
        self.shared.stop_at.store(stop_at.0, Ordering::Release);
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.bell.ring();
        for wake in &self.shared.wakes {
            wake.notify_one();
        }
    }
}

fn thread_name(shard: usize) -> String {
    format!("ingest-{shard}")
}

fn run_shard(start: Start) {
    let Start { parts, core, ready } = start;
    let ring = parts.ring.clone();
    let io = parts.shared.io;
    // what it starts has these rights as well
    sandbox::narrow(Kind::IngestStart);
    let ran = io.run(core, |poller| {
        sandbox::narrow(Kind::Ingest);
        // nobody waits any more if another shard has failed
        let _ = ready.send(Ok(()));
        shard::run(parts, poller)
    });
    if let Err(error) = ran {
        ring.close_shard();
        let _ = ready.send(Err(error));
    }
}
