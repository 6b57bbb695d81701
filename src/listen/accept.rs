//! Accepts connections, one plain thread for each address, and gives each to a shard.
//!
//! Accepting is the control plane: some thousand times a second at worst. A loop of its own does it
//! without standing in the way of any shard.
//!
//! A stop only closes the listening socket and never shuts it down: another process may hold it, with
//! the connections that wait in its queue, to go on where we end.

use super::connection::Connection;
use super::placement::{self, Load};
use super::{Notices, Shared, Visitor};
use crate::log::Limited;
use crate::metrics::{Counter, Counters};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Pause after a failed accept; it fails at once again while descriptors are short.
const PAUSE: Duration = Duration::from_millis(100);
/// Dead peers are found after this long...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// ...and so many probes...
const KEEPALIVE_PROBES: u32 = 6;
/// ...at this interval.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Wakes all threads that wait for connections. Once rung it goes on ringing.
#[derive(Debug)]
pub(super) struct Bell(EventFd);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Bell(EventFd::from_flags(flags)?))
    }

    pub(super) fn ring(&self) {
        // it fails only after as many rings as 64 bits can count, and rings then anyway
        let _ = self.0.write(1);
    }

    /// Waits until somebody wants to connect, or the bell rings.
    fn or_connection(&self, listener: &TcpListener) -> io::Result<()> {
        let watched = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut watched = [watched(listener.as_fd()), watched(self.0.as_fd())];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// One accepting thread's part.
pub(super) struct Acceptor {
    /// Non-blocking.
    pub(super) listener: TcpListener,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
}

impl Acceptor {
    /// Until the program stops.
    pub(super) fn run(self) {
        self.accept_all();
        self.shared.leave();
    }

    fn accept_all(&self) {
        while !self.shared.is_stopping() {
            let accepted = match self.listener.accept() {
                Ok((stream, peer)) => {
                    self.admit(stream, peer);
                    Ok(())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.shared.bell.or_connection(&self.listener)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = accepted {
                if let Some(withheld) = self.allowed(|notices| &notices.accept_failed) {
                    tracing::warn!(%error, withheld, "cannot accept a connection; trying on");
                }
                thread::sleep(PAUSE);
            }
        }
    }

    fn allowed(&self, notice: impl Fn(&Notices) -> &Limited) -> Option<u64> {
        notice(&self.shared.notices).allow(self.shared.clock.mono())
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let config = self.shared.settings.borrow().clone();
        let open: usize = self.shared.loads.iter().map(Load::connections).sum();
        if open >= config.listen.connections_max {
            self.counters.add(Counter::ConnectionsRefused, 1);
            if let Some(withheld) = self.allowed(|notices| &notices.refused) {
                tracing::warn!(peer = %peer.ip(), open, withheld, "refusing a connection: listen.connections_max are open");
            }
            return;
        }
        if let Err(error) = prepare(&stream) {
            // the peer has gone already
            tracing::debug!(%error, %peer, "connection lost while accepting");
            self.counters.add(Counter::ConnectionsRefused, 1);
            return;
        }
        let listen = &config.listen;
        let visitor = Visitor {
            stream,
            // a socket that was given may take both families
            peer: peer.ip().to_canonical(),
            connection: Connection::new(listen.framing, listen.frame_bytes_max),
        };
        let shard = placement::place(&self.shared.loads);
        self.shared.loads[shard].connect();
        self.counters.add(Counter::ConnectionsAccepted, 1);
        if self.shared.doors[shard].blocking_send(visitor).is_err() {
            // the shard has stopped before us: so does the program
            self.shared.loads[shard].disconnect();
            self.counters.add(Counter::ConnectionsClosedByStop, 1);
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
