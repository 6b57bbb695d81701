//! What the program takes while it is one thread and has all of its rights: the spool, its ports, and
//! whatever may be wrong with them.

use super::Forwarder;
use super::keep::Claimed;
use crate::clock::Clock;
use crate::config::{Config, Machine};
use crate::failure::Failure;
use crate::listen::{self, Backend, Port};
use crate::sandbox::Sandbox;
use crate::supervisor::Supervisor;
use crate::upload::Upstream;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Descriptors that the program needs besides those of its connections.
pub const DESCRIPTORS_OWN: u64 = 256;

/// A forwarder that has all that it needs from outside. No thread was started.
pub struct Opened {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) spool: Claimed,
    pub(super) watcher: Option<TcpListener>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) io: Backend,
    pub(super) ports: Vec<Port>,
}

impl Opened {
    /// Takes the spool and opens all ports, by the listening sockets that `supervisor` gives, and with
    /// all others in its keeping.
    ///
    /// # Errors
    /// Why it cannot begin: with exit code 2 if the configuration and the machine do not go
    /// together (a port in use, no io_uring), else 1.
    pub fn new(
        supervisor: &mut Supervisor,
        mut config: Config,
        clock: Clock,
    ) -> Result<Opened, Failure> {
        config.listen.connections_max = connections_allowed(config.listen.connections_max);
        let spool = Claimed::new(&config)?;
        let watcher = config.metrics.listen.map(bind_metrics).transpose()?;
        let config = Arc::new(config);
        let upstream = Arc::new(Upstream::new(config.clone(), clock)?);
        let io = listen::backend(&config).map_err(Failure::usage)?;
        let ports = open_ports(&config, supervisor)?;
        Ok(Opened {
            config,
            clock,
            spool,
            watcher,
            upstream,
            io,
            ports,
        })
    }

    /// Starts all threads, and returns once frames are taken. They have the rights that this thread
    /// has, which `sandbox` tells of.
    ///
    /// # Errors
    /// A thread cannot be started, or what it needs not be had.
    pub fn start(self, machine: &Machine, sandbox: Sandbox) -> Result<Forwarder, Failure> {
        Forwarder::begin(self, machine, sandbox)
    }
}

fn open_ports(config: &Config, supervisor: &mut Supervisor) -> Result<Vec<Port>, Failure> {
    let given = supervisor.take_given();
    let ports =
        listen::open(config, given, |given| supervisor.let_go(given)).map_err(Failure::usage)?;
    for port in ports.iter().filter(|port| !port.is_given()) {
        supervisor.keep(port.listener(), port.address());
    }
    Ok(ports)
}

/// As many descriptors as the hard limit allows. Gives how many of them connections may use: without
/// a reserve neither a token could be fetched nor a body sent once senders have taken them all.
pub(super) fn connections_allowed(connections_max: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return connections_max;
    };
    let allowed = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let reserve = DESCRIPTORS_OWN.min(allowed / 2);
    let for_connections = usize::try_from(allowed - reserve).unwrap_or(usize::MAX);
    if for_connections < connections_max {
        tracing::warn!(
            allowed,
            connections_max,
            "too few descriptors for listen.connections_max: no more than {for_connections} \
             connections are taken; raise LimitNOFILE"
        );
    }
    connections_max.min(for_connections)
}

fn bind_metrics(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        Failure::usage(format!(
            "metrics.listen = \"{address}\": cannot listen there: {error}; choose another port or \
             \"off\""
        ))
    })
}
