//! A local stand-in for Microsoft Sentinel: what a forwarder can be rehearsed and tested against.
//!
//! ```text
//!                         https://127.0.0.1:PORT (HTTP/1.1 and HTTP/2)
//! POST /{tenant}/oauth2/v2.0/token ............ token        gives out tokens
//! POST /dataCollectionRules/{id}/streams/{name} ingest, rows  checks, types and keeps rows
//! POST /v1/workspaces/{id}/query .............. kql          answers queries; wants a token
//!                         http://127.0.0.1:CONTROL (loopback only, no token)
//! GET PUT PATCH /emulator/faults .............. faults       what goes wrong, while it runs
//! GET /emulator/stats                                        what it has seen
//! POST /v1/workspaces/{id}/query                             the same queries
//! GET /metadata/identity/oauth2/token ......... metadata     tokens for a machine's identity
//! ```
//!
//! It is as strict as the real service is known to be, and stricter where that is not known: each
//! refusal, its status, code and text follow Microsoft's documentation and public reports. What the
//! real service does in silence after a 204 (keys that the stream does not declare, values of
//! another type) is counted in [`Stats`].
//!
//! The checks are pure (`ingest`, `rows`, `token`, `window`, `faults`, `kql`): bytes, time and
//! settings come in as arguments. `service` holds the state and routes requests; `server` is the
//! shell of sockets. The control port is apart from the service's so that it still answers when an
//! outage is rehearsed. All of it runs on one thread of its own; queries run on others.

mod ask;
pub mod assertion;
mod control;
pub mod faults;
pub mod ingest;
pub mod jwt;
pub mod kql;
mod login;
mod machine;
pub mod metadata;
pub mod reply;
pub mod rows;
mod server;
mod service;
pub mod show;
pub mod stamp;
pub mod table;
mod tls;
pub mod token;
pub mod values;
pub mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

pub use faults::Faults;
pub use ingest::SizeReading;
pub use kql::{Answer, QueryError};
pub use window::MinuteLimits;

use crate::clock::Clock;
use crate::limits::EMULATOR_ROWS_DEFAULT;
use rows::Notes;

/// How the emulator is set up.
#[derive(Clone)]
pub struct Options {
    /// Where the service listens; port 0 for any.
    pub listen: SocketAddr,
    /// Where the control port listens: a loopback address, since it asks for no token.
    pub control: SocketAddr,
    /// How connections to the service are protected.
    pub tls: Tls,
    /// The directory that the token endpoint knows.
    pub tenant_id: String,
    /// The application that it knows.
    pub client_id: String,
    /// That application's secret; made up for each run by default.
    pub client_secret: String,
    /// PEM of the certificates that are registered for it; nothing for none.
    pub certificates_pem: Option<String>,
    /// The identity that the metadata service knows besides the machine's own.
    pub user_assigned: metadata::UserAssigned,
    /// Where the Azure Arc agent leaves its challenges; nothing for no agent.
    pub arc_tokens_directory: Option<PathBuf>,
    /// Immutable ids of the data collection rules that are there; at least one.
    pub rules: Vec<String>,
    /// The stream that they declare.
    pub stream: String,
    /// The audience that a token for ingestion must have, by cloud.
    pub audience: String,
    /// Which bytes the limits count.
    pub size_reading: SizeReading,
    /// True to look at a body's size before its token.
    pub size_first: bool,
    /// What a rule may take in a minute.
    pub minute: MinuteLimits,
    /// How long a token is good.
    pub token_life: Duration,
    /// Rows that are kept; older ones go.
    pub rows_count_max: usize,
    /// What goes wrong from the start.
    pub faults: Faults,
}

/// How connections to the service are protected.
#[derive(Debug, Clone)]
pub enum Tls {
    /// TLS 1.2 and 1.3 with a certificate made for the run, for these names and addresses.
    Generated {
        /// DNS names and IP addresses.
        names: Vec<String>,
    },
    /// Plain HTTP/1.1, for a loopback address.
    Plain,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Options {
            listen: loopback,
            control: loopback,
            tls: Tls::Generated {
                names: ["127.0.0.1", "::1", "localhost"]
                    .map(str::to_owned)
                    .to_vec(),
            },
            tenant_id: "11111111-1111-1111-1111-111111111111".to_owned(),
            client_id: "22222222-2222-2222-2222-222222222222".to_owned(),
            client_secret: made_up_secret(),
            certificates_pem: None,
            user_assigned: metadata::UserAssigned::default(),
            arc_tokens_directory: None,
            rules: vec!["dcr-00000000000000000000000000000000".to_owned()],
            stream: "Custom-CommonSecurityLog".to_owned(),
            audience: "https://monitor.azure.com".to_owned(),
            size_reading: SizeReading::Raw,
            size_first: true,
            minute: MinuteLimits::default(),
            token_life: Duration::from_secs(3600),
            rows_count_max: EMULATOR_ROWS_DEFAULT,
            faults: Faults::default(),
        }
    }
}

/// Of the form of a real one, with the characters that a careless client forgets to encode.
#[must_use]
pub fn made_up_secret() -> String {
    let random: String = (0..34).map(|_| fastrand::alphanumeric()).collect();
    format!("{random}~+/=")
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("control", &self.control)
            .field("rules", &self.rules)
            .field("stream", &self.stream)
            .field("size_reading", &self.size_reading)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// Why the emulator did not start.
#[derive(Debug)]
pub enum EmulatorError {
    /// An option that cannot be.
    Option(String),
    /// A port that cannot be opened.
    Listen(SocketAddr, std::io::Error),
    /// No certificate could be made.
    Certificate(String),
    /// No thread, or no runtime on it.
    Thread(std::io::Error),
}

impl fmt::Display for EmulatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmulatorError::Option(problem) => f.write_str(problem),
            EmulatorError::Listen(address, error) => {
                write!(f, "cannot listen on {address}: {error}")
            }
            EmulatorError::Certificate(problem) => {
                write!(f, "cannot make a certificate: {problem}")
            }
            EmulatorError::Thread(error) => {
                write!(f, "cannot start the emulator's thread: {error}")
            }
        }
    }
}

impl std::error::Error for EmulatorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EmulatorError::Listen(_, error) | EmulatorError::Thread(error) => Some(error),
            EmulatorError::Option(_) | EmulatorError::Certificate(_) => None,
        }
    }
}

/// What the emulator has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Rows that were kept, in all; with those that have gone since.
    pub rows_stored: u64,
    /// Rows that have gone since to make room.
    pub rows_expired: u64,
    /// Rows that can be asked for now.
    pub rows_in_table: u64,
    /// Rows answered 204 and not kept, by a fault.
    pub rows_lost: u64,
    /// Bodies answered 204 and lost as a whole, by the fault `lenient_parse`.
    pub bodies_lost: u64,
    /// What was done to rows without their sender being told.
    pub notes: Notes,
    /// Calls of the ingestion endpoint by the status of their answer.
    pub calls: BTreeMap<u16, u64>,
    /// Calls that were reset and whose rows were not kept.
    pub calls_reset: u64,
    /// Calls whose rows were kept and whose answer was lost.
    pub answers_lost: u64,
    /// JSON of the bodies that were kept.
    pub raw_bytes: u64,
    /// The same bodies on the wire.
    pub wire_bytes: u64,
    /// Bytes that the table takes in memory, without the open block.
    pub packed_bytes: u64,
    /// Tokens that were given out.
    pub tokens_issued: u64,
    /// Requests for a token that were refused.
    pub tokens_refused: u64,
    /// Queries that were answered, well or badly.
    pub queries: u64,
    /// Connections that were accepted on the service's port.
    pub connections: u64,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notes = &self.notes;
        writeln!(f, "rows stored        {}", self.rows_stored)?;
        if self.rows_expired > 0 {
            writeln!(f, "  gone since       {} (to make room)", self.rows_expired)?;
        }
        writeln!(f, "raw bytes          {}", self.raw_bytes)?;
        writeln!(f, "wire bytes         {}", self.wire_bytes)?;
        let calls: Vec<String> = self
            .calls
            .iter()
            .map(|(status, count)| format!("{status}: {count}"))
            .collect();
        writeln!(f, "calls              {}", calls.join(", "))?;
        writeln!(
            f,
            "tokens             {} given out, {} refused",
            self.tokens_issued, self.tokens_refused
        )?;
        writeln!(f, "queries            {}", self.queries)?;
        writeln!(f, "connections        {}", self.connections)?;
        let seldom = [
            ("calls reset", self.calls_reset),
            ("answers lost", self.answers_lost),
            ("rows lost", self.rows_lost),
            ("bodies lost", self.bodies_lost),
            ("keys dropped", notes.keys_dropped),
            ("keys repeated", notes.keys_repeated),
            ("values mismatched", notes.values_mismatched),
            ("values null", notes.values_null),
            ("values cut", notes.values_cut),
            ("times missing", notes.times_missing),
            ("times replaced", notes.times_replaced),
        ];
        for (name, count) in seldom.into_iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "{name:<18} {count}")?;
        }
        Ok(())
    }
}

/// An emulator that is running. It stops when this is dropped.
pub struct Emulator {
    shared: Arc<service::Shared>,
    listen: SocketAddr,
    control: SocketAddr,
    ca_pem: String,
    stop: tokio::sync::watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator")
            .field("listen", &self.listen)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

/// Starts an emulator on a thread of its own. Its ports are open when this returns.
///
/// # Errors
/// [`EmulatorError`].
pub fn start(options: Options, clock: Clock) -> Result<Emulator, EmulatorError> {
    check(&options)?;
    let identity = match &options.tls {
        Tls::Generated { names } => Some(tls::generate(names).map_err(EmulatorError::Certificate)?),
        Tls::Plain => None,
    };
    let ca_pem = identity
        .as_ref()
        .map_or_else(String::new, |identity| identity.ca_pem.clone());
    let open =
        |address| server::Open::on(address).map_err(|error| EmulatorError::Listen(address, error));
    let (service, control_port) = (open(options.listen)?, open(options.control)?);
    let (listen, control) = (service.address, control_port.address);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EmulatorError::Thread)?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let registered = assertion::Registered::new(options.certificates_pem.as_deref())
        .map_err(|problem| EmulatorError::Option(format!("the certificates: {problem}")))?;
    let shared = service::Shared::new(options, registered, clock, ca_pem.clone());
    let shared = Arc::new(shared);
    let server = server::Server {
        shared: Arc::clone(&shared),
        tls: identity.map(|identity| identity.server),
        service,
        control: control_port,
        stopped,
    };
    let thread = std::thread::Builder::new()
        .name("emulator".to_owned())
        .spawn(move || {
            runtime.block_on(server.run());
            runtime.shutdown_timeout(crate::limits::EMULATOR_STOP_TIME);
        })
        .map_err(EmulatorError::Thread)?;
    Ok(Emulator {
        shared,
        listen,
        control,
        ca_pem,
        stop,
        thread: Some(thread),
    })
}

fn check(options: &Options) -> Result<(), EmulatorError> {
    let refuse = |problem: String| Err(EmulatorError::Option(problem));
    if options.rules.is_empty() {
        return refuse("no rule: at least one is needed".to_owned());
    }
    if !options.control.ip().is_loopback() {
        let address = options.control;
        return refuse(format!(
            "{address} is not a loopback address: the control port asks for no token"
        ));
    }
    if matches!(options.tls, Tls::Plain) && !options.listen.ip().is_loopback() {
        let address = options.listen;
        return refuse(format!(
            "{address} is not a loopback address: TLS is needed there"
        ));
    }
    if options.client_secret.is_empty() {
        return refuse("the client secret is empty".to_owned());
    }
    options.faults.check().map_err(EmulatorError::Option)
}

impl Emulator {
    /// Base URL of the token, ingestion and query endpoints, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.ca_pem.is_empty() {
            "http"
        } else {
            "https"
        };
        format!("{scheme}://{}", reachable(self.listen))
    }

    /// Base URL of the control port.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// PEM of the authority that signed the certificate of [`Emulator::url`]; empty without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// How it was set up.
    #[must_use]
    pub fn options(&self) -> &Options {
        self.shared.options()
    }

    /// The secret that the token endpoint wants.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.shared.options().client_secret
    }

    /// A token of the outside issuer that the application trusts.
    #[must_use]
    pub fn federated_token(&self, life: Duration) -> String {
        self.shared.federated_token(life)
    }

    /// What it has seen up to now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Answers a query on the caller's thread.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn query(&self, kql: &str) -> Result<Answer, QueryError> {
        self.shared.query(kql, None)
    }

    /// Makes other things go wrong, from the next call on. An outage begins shortly after.
    ///
    /// # Errors
    /// A value that is out of its range.
    pub fn set_faults(&self, faults: Faults) -> Result<(), String> {
        self.shared.set_faults(faults)
    }

    /// What goes wrong now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.faults().as_ref().clone()
    }

    /// Ends it: open connections are closed, the table is forgotten.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // an error means that it has ended already
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the emulator's thread has panicked");
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.end();
    }
}

/// An address that a client can use: not the one that stands for all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(_) => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port()),
    }
}
