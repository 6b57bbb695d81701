//! The two runtimes that a shard can live on, and all that it asks of them.
//!
//! | | io_uring | epoll |
//! |---|---|---|
//! | executor, timers | glommio | tokio, one thread, tasks that stay on it |
//! | quiet connections sleep on | a poll on glommio's ring | an epoll of our own that tokio watches ([`super::epoll`]) |
//! | busy connections are read by | `recv`, in rounds | `recv`, in rounds |
//!
//! Everything else, the rounds above all, is the same code on both.
//!
//! A ring of our own with multishot receives into provided buffers (SINGLE_ISSUER, DEFER_TASKRUN, with
//! and without bundles) was measured against the rounds' plain `recv`, and left out: it costs more in
//! each case, and the buffers of thousands of connections besides. In nanoseconds of processor time of the
//! receiver for a message of 670 bytes, framing included, on Linux 6.18:
//!
//! | load | `recv` in rounds | multishot | bundles |
//! |---|---|---|---|
//! | 2,000 connections of 20 messages a second, looked at every 64 ms | 2,070 | 2,580 | 2,480 |
//! | the same, every 256 ms | 960 | 1,250 | 1,240 |
//! | the same, at each completion | | 3,860 to 4,930 | |
//! | 16 connections, 290,000 messages a second, every ms | 340 | 530 | 520 |
//!
//! The rounds read into one buffer that stays in the cache, and arm nothing for a busy connection: the
//! sender's side of loopback was 5 % to 30 % dearer as well where a receive was armed.

use super::epoll::Epoll;
use super::socket::Socket;
use super::uring::{self, UringError};
use crate::config::Io;
use crate::pin;
use glommio::{LocalExecutorBuilder, Placement};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;

/// What shards run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

/// Where the sockets of a shard sleep.
pub(super) enum Poller {
    /// On the ring of this thread's executor.
    Uring,
    /// On this.
    Epoll(Rc<Epoll>),
}

impl Backend {
    /// The backend that the configuration asks for, as far as this machine has it for so many shards.
    /// If it may be any and is not the first choice, the error says why.
    ///
    /// # Errors
    /// It must be io_uring, and there is none.
    pub fn choose(
        io: Io,
        shards_count: usize,
    ) -> Result<(Backend, Option<UringError>), UringError> {
        match io {
            Io::Epoll => Ok((Backend::Epoll, None)),
            Io::Uring => uring::probe(shards_count).map(|()| (Backend::Uring, None)),
            Io::Auto => Ok(match uring::probe(shards_count) {
                Ok(()) => (Backend::Uring, None),
                Err(error) => (Backend::Epoll, Some(error)),
            }),
        }
    }

    /// As the configuration, the log and the metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Backend::Uring => "uring",
            Backend::Epoll => "epoll",
        }
    }

    /// Runs what `main` gives to its end on this thread, which is bound to `core` if there is one.
    /// With it end all tasks that it has spawned.
    ///
    /// # Errors
    /// Why there is no runtime; `main` was not called.
    pub(super) fn run<F: Future<Output = ()>>(
        self,
        core: Option<usize>,
        main: impl FnOnce(Poller) -> F,
    ) -> Result<(), String> {
        match self {
            Backend::Uring => {
                let make = |ring_entries| {
                    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
                    LocalExecutorBuilder::new(placement)
                        .name("ingest")
                        .io_memory(uring::REGISTERED_BYTES)
                        .ring_depth(ring_entries)
                        .make()
                };
                let made = if uring::counts_rings() {
                    make(uring::RING_ENTRIES_LEAST)
                } else {
                    make(uring::RING_ENTRIES).or_else(|error| {
                        tracing::info!(%error, "no large rings of io_uring can be had: small ones");
                        make(uring::RING_ENTRIES_LEAST)
                    })
                };
                let executor = made.map_err(|error| explain(&error.to_string()))?;
                executor.run(main(Poller::Uring));
            }
            Backend::Epoll => {
                if let Some(core) = core {
                    pin::to_core(core, "an ingest core");
                }
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .enable_time()
                    .build()
                    .map_err(|error| error.to_string())?;
                let epoll = {
                    let _inside = runtime.enter();
                    Rc::new(Epoll::new().map_err(|error| error.to_string())?)
                };
                let tasks = LocalSet::new();
                tasks.spawn_local(epoll.clone().wake_all());
                tasks.block_on(&runtime, main(Poller::Epoll(epoll)));
            }
        }
        Ok(())
    }

    /// A task of this thread that goes on by itself.
    pub(super) fn spawn(self, task: impl Future<Output = ()> + 'static) {
        match self {
            Backend::Uring => drop(glommio::spawn_local(task).detach()),
            Backend::Epoll => drop(tokio::task::spawn_local(task)),
        }
    }

    pub(super) async fn sleep(self, time: Duration) {
        match self {
            Backend::Uring => glommio::timer::sleep(time).await,
            Backend::Epoll => tokio::time::sleep(time).await,
        }
    }

    /// Lets all other tasks have a turn, and looks at sockets.
    pub(super) async fn yield_now(self) {
        match self {
            Backend::Uring => glommio::executor().yield_now().await,
            Backend::Epoll => tokio::task::yield_now().await,
        }
    }

    /// The same, if the task has run for long enough.
    pub(super) async fn yield_if_needed(self) {
        match self {
            Backend::Uring => glommio::yield_if_needed().await,
            Backend::Epoll => tokio::task::yield_now().await,
        }
    }
}

impl Poller {
    /// Takes a socket in, which must be non-blocking.
    pub(super) fn socket(&self, stream: TcpStream) -> Socket {
        match self {
            Poller::Uring => Socket::on_ring(stream),
            Poller::Epoll(epoll) => Socket::on_epoll(stream, epoll.clone()),
        }
    }
}

/// glommio's errors name the errno; the one that people meet deserves a hint.
fn explain(error: &str) -> String {
    if error.contains("os error 12") || error.contains("MemLockLimit") {
        format!(
            "{error}: too little memory may be locked (LimitMEMLOCK=64M in the unit, or ulimit -l); \
             listen.io = \"epoll\" needs none"
        )
    } else {
        error.to_owned()
    }
}
