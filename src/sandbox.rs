//! What the program gives up of its rights once it has what it needs: should a stranger ever run code
//! in it, there is little that he could do with it.
//!
//! ```text
//! one thread:   configuration read --> Entrance::new   capabilities but that for low ports,
//!                                                       rights by a setuid program
//!               ports open, spool taken --> enter       the last capability, Landlock, the system
//!                                                       calls that any thread needs
//! each thread:  started --> narrow                      the system calls that this kind of thread needs
//! ```
//!
//! A thread has the rights of the one that starts it, and none can be had back. So all is given up
//! before there is a second thread (that of the log comes after it as well), and each thread gives up
//! more by itself.
//!
//! | layer | what it takes |
//! |---|---|
//! | [`Layer::Capabilities`] | all, also those that a program could gain (`capabilities.rs`) |
//! | [`Layer::NoNewPrivs`] | the effect of setuid bits and file capabilities |
//! | [`Layer::Files`] | files but those in the plan (`plan.rs`), by Landlock (`ground.rs`) |
//! | [`Layer::Network`] | TCP ports: opens none, connects to those in the plan |
//! | [`Layer::Scope`] | signals to other processes, abstract sockets |
//! | [`Layer::Calls`] | system calls that are not in the lists of `calls.rs`, by seccomp |
//!
//! A call that is refused fails as one of a user without rights does (EPERM, EACCES): nobody is
//! killed for a mistake in a list, since rows would be with him.
//!
//! **What it does not do.** Names are looked up and certificates read after the start, so their files
//! stay readable, with their folders, since they are replaced: root can read what it owns in `/etc`.
//! An ingest thread on io_uring can submit to its ring what its own list refuses, within what Landlock
//! allows: seccomp sees no submissions (`listen.io = "epoll"` has no ring). UDP and path sockets are
//! not restricted by address.

#[cfg(feature = "self-attack")]
pub mod attack;
#[cfg(feature = "self-attack")]
mod attack_list;
mod calls;
mod capabilities;
mod ground;
mod plan;
mod way;

pub use calls::Kind;

use crate::config::{Config, SandboxMode};
use plan::Plan;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

/// A right, or some that are given up together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Capabilities.
    Capabilities,
    /// Rights by starting another program.
    NoNewPrivs,
    /// Files.
    Files,
    /// TCP ports.
    Network,
    /// Other processes.
    Scope,
    /// System calls.
    Calls,
}

impl Layer {
    /// All, in the order in which they are given up.
    pub const ALL: [Layer; 6] = [
        Layer::Capabilities,
        Layer::NoNewPrivs,
        Layer::Files,
        Layer::Network,
        Layer::Scope,
        Layer::Calls,
    ];

    /// As the log, the metrics and the configuration call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Layer::Capabilities => "capabilities",
            Layer::NoNewPrivs => "no_new_privs",
            Layer::Files => "landlock_files",
            Layer::Network => "landlock_network",
            Layer::Scope => "landlock_scope",
            Layer::Calls => "seccomp",
        }
    }

    /// Whether `sandbox.mode = "require"` means it. The others are not on all kernels that are in use.
    #[must_use]
    pub fn is_essential(self) -> bool {
        !matches!(self, Layer::Network | Layer::Scope)
    }
}

/// What is known of a layer: that it is on, or why it is not.
pub type Standing = Result<(), String>;

/// What has been given up.
#[derive(Debug, Clone)]
pub struct Sandbox {
    layers: Vec<(Layer, Standing)>,
    /// TCP ports that may be connected to; nothing for any.
    ports: Option<Vec<u16>>,
    /// Folders and files that may be read; nothing for all.
    readable: Option<Vec<PathBuf>>,
    /// Folders of which root may read all files, although they hold much else.
    wide: Vec<PathBuf>,
}

/// For threads that are started later: whether they are to give up calls.
static NARROWS: OnceLock<bool> = OnceLock::new();

impl Sandbox {
    /// Nothing given up.
    #[must_use]
    pub fn none() -> Sandbox {
        Sandbox {
            layers: Vec::new(),
            ports: None,
            readable: None,
            wide: Vec::new(),
        }
    }

    /// Each layer, and whether it is on.
    pub fn layers(&self) -> impl Iterator<Item = (Layer, bool)> {
        let is_on = |layer| {
            self.layers
                .iter()
                .any(|(other, standing)| *other == layer && standing.is_ok())
        };
        Layer::ALL
            .into_iter()
            .map(move |layer| (layer, is_on(layer)))
    }

    /// Whether a layer is on.
    #[must_use]
    pub fn has(&self, layer: Layer) -> bool {
        self.layers().any(|(other, is_on)| other == layer && is_on)
    }

    /// Whether a program in this sandbox can go on by another configuration, which was read from `file`.
    ///
    /// # Errors
    /// A port that it must not connect to, or a file that it must not read.
    pub fn allows(&self, config: &Config, file: &Path) -> Result<(), String> {
        if let Some(allowed) = &self.ports {
            let ports = config.ports_out();
            let stranger = ports.iter().find(|(port, _)| !allowed.contains(port));
            if let Some((port, key)) = stranger {
                return Err(format!(
                    "{key}: the sandbox of the running program lets it connect to the TCP ports of the \
                     configuration that it was started with, and {port} is not one of them; needs a \
                     restart"
                ));
            }
        }
        let readable = self.readable.as_deref();
        match readable.and_then(|readable| plan::beyond(config, file, readable)) {
            None => Ok(()),
            Some(file) => Err(format!(
                "{}: the sandbox of the running program lets it read the folders of the files that it \
                 was started with, and this is in none of them; needs a restart",
                file.display()
            )),
        }
    }

    /// Says in the log what is on, and what is not and why.
    pub fn log(&self) {
        let on: Vec<&str> = self
            .layers()
            .filter_map(|(layer, is_on)| is_on.then_some(layer.name()))
            .collect();
        if !self.layers.is_empty() {
            tracing::info!(layers = on.join(" "), "in the sandbox");
        }
        for folder in &self.wide {
            tracing::info!(
                folder = %folder.display(),
                "as root the program may read all files of a folder, since one that it needs is replaced \
                 there; a user of its own may not"
            );
        }
        for (layer, standing) in &self.layers {
            if let Err(why) = standing {
                tracing::warn!(layer = layer.name(), %why, "a layer of the sandbox is missing; going on");
            }
        }
    }
}

/// The way into the sandbox, half of which is gone.
#[derive(Debug)]
pub struct Entrance {
    mode: SandboxMode,
    plan: Plan,
}

impl Entrance {
    /// Gives up what is not needed to open ports. To be called once the configuration is read from
    /// `file`, before there is a second thread: others keep their rights.
    #[must_use]
    pub fn new(config: &Config, file: &Path) -> Entrance {
        let plan = Plan::new(config, file);
        if config.sandbox.mode != SandboxMode::Off {
            // what fails here is told when the rest is given up
            let _ = capabilities::reduce(&plan);
        }
        Entrance {
            mode: config.sandbox.mode,
            plan,
        }
    }

    /// Gives up the rest, with this thread's right to it. Ports must be open, and the spool's folder be
    /// there; a second thread must not.
    ///
    /// # Errors
    /// The sandbox is required, and an essential layer cannot be had.
    pub fn enter(self) -> Result<Sandbox, String> {
        if self.mode == SandboxMode::Off {
            return Ok(Sandbox::none());
        }
        load_name_services();
        let mut layers = vec![
            (Layer::Capabilities, capabilities::drop_all(&self.plan)),
            (Layer::NoNewPrivs, capabilities::forgo_new()),
        ];
        layers.extend(ground::stay_on(&self.plan));
        // last: the others need calls that it refuses
        layers.push((Layer::Calls, calls::keep_to(Kind::Any)));
        for (layer, standing) in &layers {
            if let (Err(why), true) = (standing, layer.is_essential())
                && self.mode == SandboxMode::Require
            {
                return Err(format!(
                    "sandbox.mode = \"require\": {}: {why}; \"auto\" goes on without it",
                    layer.name()
                ));
            }
        }
        let is_on = |layer| layers.contains(&(layer, Ok(())));
        let sandbox = Sandbox {
            ports: self.plan.ports_in(&layers),
            readable: is_on(Layer::Files).then(|| self.plan.readable()),
            wide: match is_on(Layer::Files) {
                true => self.plan.wide_for_root().to_vec(),
                false => Vec::new(),
            },
            layers,
        };
        let _ = NARROWS.set(sandbox.has(Layer::Calls));
        Ok(sandbox)
    }
}

/// Gives up what a thread of this kind does not need. To be called by it, once it has what it needs to
/// begin; does nothing outside of a sandbox.
pub fn narrow(kind: Kind) {
    let is_inside = NARROWS.get() == Some(&true);
    if is_inside && let Err(why) = calls::keep_to(kind) {
        tracing::error!(?kind, %why, "a thread keeps the system calls of all");
    }
    #[cfg(feature = "self-attack")]
    attack::from_inside(kind);
}

/// What this machine offers to a program of our user, each layer by itself. Nothing of it stays.
#[must_use]
pub fn offered() -> Vec<(Layer, Standing)> {
    // rights are those of a thread, and end with it
    let tried = thread::spawn(|| {
        let mut layers = vec![
            (Layer::Capabilities, capabilities::forgo_all()),
            (Layer::NoNewPrivs, capabilities::forgo_new()),
        ];
        layers.extend(ground::offered());
        layers.push((Layer::Calls, calls::keep_to(Kind::Any)));
        layers
    });
    tried.join().unwrap_or_default()
}

/// Has the C library load its modules for looking up names: later no memory can be made executable.
/// No module asks the network for this name, whose first part is longer than any may be.
fn load_name_services() {
    let name = format!("{}.invalid", "x".repeat(64));
    drop((name, 0).to_socket_addrs());
}
