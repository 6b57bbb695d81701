//! The configuration: text in, checked values out.
//!
//! A [`Config`] that exists is legal: every number is in its range, every name well formed, every
//! combination sensible. What a person writes wrong is named with file, line, key, value and what
//! is allowed, before any port is opened; all mistakes of a file are told at once.
//!
//! ```text
//! text -> document   TOML with the place of every key; remembers which keys were asked for
//!      -> sections   one function for each section: key, default, check
//!      -> relations  what must hold between keys, and what is legal but deserves a warning
//!      -> files      the secret and the certificates that the keys name (the only disk access)
//! ```
//!
//! When it is read again while the program runs, `change` says what needs a restart.
//!
//! [`parse`] is pure and ends before `files`; [`Config::read`] and [`Loaded::read`] do all of it.
//! The set of known keys is what `sections` asks for: there is no second list. `reference.toml` beside
//! this file explains every key, and a test holds it against the defaults.
//!
//! A message never repeats the value of an unknown key, nor source lines of broken TOML: people
//! do write secrets there.

mod azure;
mod change;
mod destination;
mod document;
mod files;
pub mod filter;
mod finding;
mod gzip;
mod identity;
mod identity_keys;
mod io;
mod machine;
mod nearest;
mod relations;
mod sandbox;
mod sections;
mod signing;
mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::limits::{
    BODIES_READ_AHEAD_MAX, BODIES_WAITING_BYTES_MAX, BODY_RAW_BYTES_MOST, CONNECTION_IDLE_BYTES,
    ENCODER_BYTES, FILTER_TABLE_BYTES_MAX, SPOOL_COMMIT_BYTES_MAX,
};

pub use azure::{EndpointUrl, RuleId, StreamName};
pub use destination::{Destination, DestinationId, SENTINEL_NAME, Target};
pub use files::{certificates_in, read_secret, read_signing_key};
pub use filter::Filter;
pub use finding::{ConfigError, Finding};
pub use gzip::GzipLevel;
pub use identity::{
    AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE, AZURE_TENANT_ID, Application, Assigned, Auto,
    AzureArc, ClientCertificate, ClientSecret, Identity, Login, ManagedIdentity, SecretFrom,
    Workload,
};
pub use io::Io;
pub use machine::Machine;
pub use sandbox::{Sandbox, SandboxMode};
pub use signing::SigningKey;
pub use value::{bytes_text, time_text};

/// Every key with effect, default, unit and edge values, as a configuration that can be read.
pub const REFERENCE: &str = include_str!("config/reference.toml");

/// A configuration with what was noticed while it was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What was read.
    pub config: Config,
    /// Legal, but perhaps not meant; in the order of the file.
    pub warnings: Vec<Finding>,
}

impl Loaded {
    /// Reads the file at `path`, and checks it and the files that it names.
    ///
    /// # Errors
    /// Every mistake of the file, or why it cannot be read. The person who wrote it is at fault;
    /// trying again without a change does not help.
    pub fn read(path: &Path, machine: &Machine) -> Result<Loaded, ConfigError> {
        let in_file = |findings| ConfigError::of(Some(path), findings);
        let text = files::config_text(path).map_err(|finding| in_file(vec![*finding]))?;
        let mut reading = sections::read(&text, machine);
        for named in &reading.files {
            named.check(&mut reading.findings, &mut reading.warnings);
        }
        reading.into_loaded().map_err(in_file)
    }

    /// The warnings as lines `FILE:LINE: KEY = VALUE: what; advice`.
    pub fn warnings_in(&self, file: &Path) -> impl Iterator<Item = String> {
        self.warnings
            .iter()
            .map(move |warning| finding::in_file(file, warning))
    }
}

/// Reads a configuration from `text` for `machine`. Opens no file: that the secret is there is
/// checked by [`Config::read`] only.
///
/// # Errors
/// Every mistake in the text.
pub fn parse(text: &str, machine: &Machine) -> Result<Config, ConfigError> {
    sections::read(text, machine)
        .into_loaded()
        .map(|loaded| loaded.config)
        .map_err(|findings| ConfigError::of(None, findings))
}

/// Reads the rules of `[[filter]]` in the file at `path`, and nothing else of it.
///
/// # Errors
/// Every mistake in them, or why the file cannot be read.
pub fn read_filters(path: &Path) -> Result<Vec<Filter>, ConfigError> {
    let in_file = |findings| ConfigError::of(Some(path), findings);
    let text = files::config_text(path).map_err(|finding| in_file(vec![*finding]))?;
    let root = document::toml_of(&text).map_err(|finding| in_file(vec![*finding]))?;
    let mut reader = document::Reader::of(&text);
    let filters = filter::filters(&mut reader, root.get_ref().get("filter"), None);
    match reader.findings.is_empty() {
        true => Ok(filters),
        false => Err(in_file(reader.findings)),
    }
}

impl Config {
    /// Reads the file at `path` for the machine that we run on, and checks the files that it names.
    ///
    /// # Errors
    /// Every mistake of the file, or why it cannot be read.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        Loaded::read(path, &Machine::read()).map(|loaded| loaded.config)
    }

    /// Whether a program that runs by `old` can go on by this configuration, which was read from
    /// `file`.
    ///
    /// # Errors
    /// The keys that differ and need a restart, each with both values.
    pub fn follows(&self, old: &Config, file: Option<&Path>) -> Result<(), ConfigError> {
        match change::restart_needed(old, self) {
            findings if findings.is_empty() => Ok(()),
            findings => Err(ConfigError::of(file, findings)),
        }
    }

    /// What the program may hold in memory besides its own code, by part, in bytes: upper bounds
    /// that the parts keep by design.
    #[must_use]
    pub fn memory_bytes_max(&self) -> [(&'static str, usize); 5] {
        let batch = &self.batch;
        let destinations_count = self.targets().count();
        let bodies_count = match self.spool.durability {
            Durability::Memory => self.sentinel.requests_in_flight,
            // one more is being sealed
            _ => self.sentinel.requests_in_flight + BODIES_READ_AHEAD_MAX + 1,
        };
        let spool_bytes = match self.spool.durability {
            Durability::Memory => 0,
            _ => BODIES_WAITING_BYTES_MAX + SPOOL_COMMIT_BYTES_MAX,
        };
        let keyed = |filter: &&Filter| filter.action.has_table();
        let keyed_count = self.filters.iter().filter(keyed).count();
        let body_bytes = bodies_count
            .saturating_mul(batch.wire_bytes_max)
            .saturating_add(batch.raw_bytes_most())
            .saturating_add(ENCODER_BYTES)
            .saturating_mul(destinations_count)
            .saturating_add(spool_bytes);
        [
            ("pages", self.runtime.pages_bytes_max),
            ("unfinished frames", self.listen.partial_bytes_max),
            (
                "connections",
                self.listen
                    .connections_max
                    .saturating_mul(CONNECTION_IDLE_BYTES)
                    .saturating_add(relations::ingest_bytes(self.runtime.ingest_cores)),
            ),
            (
                "bodies",
                self.runtime.upload_cores.saturating_mul(body_bytes),
            ),
            (
                "rules that tell rows apart",
                self.runtime
                    .ingest_cores
                    .saturating_mul(keyed_count)
                    .saturating_mul(FILTER_TABLE_BYTES_MAX),
            ),
        ]
    }
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[listen]`
    pub listen: Listen,
    /// `[map]`
    pub map: Map,
    /// `[[filter]]`, in the order of the file.
    pub filters: Vec<Filter>,
    /// `[batch]`
    pub batch: Batch,
    /// `[sentinel]`
    pub sentinel: Sentinel,
    /// `[destination.NAME]`: where rows go besides
    pub destinations: Vec<Destination>,
    /// `[spool]`
    pub spool: Spool,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
    /// `[sandbox]`
    pub sandbox: Sandbox,
}

/// Where and how frames are received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// TCP addresses.
    pub tcp: Vec<SocketAddr>,
    /// How frames are told apart.
    pub framing: FramingChoice,
    /// Longest frame kept whole, in bytes.
    pub frame_bytes_max: usize,
    /// Open connections over all listeners.
    pub connections_max: usize,
    /// Bytes of unfinished frames over all connections.
    pub partial_bytes_max: usize,
    /// A frame that has begun has so long to end.
    pub partial_age_max: Duration,
    /// How connections are waited for.
    pub io: Io,
}

/// How frames are told apart on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingChoice {
    /// By the first bytes of each connection.
    Auto,
    /// RFC 6587 section 3.4.1.
    OctetCounting,
    /// RFC 6587 section 3.4.2: LF, CR LF or NUL.
    Delimited,
}

/// How records become rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// What fills `TimeGenerated`.
    pub time_generated: TimeGenerated,
    /// `CollectorHostName`; the machine's name unless set.
    pub collector_host_name: String,
    /// Zone of times that name none.
    pub time_zone: jiff::tz::TimeZone,
    /// What becomes of frames that are not CEF.
    pub unparsed: Unparsed,
    /// What a `;` inside a value becomes in `AdditionalExtensions`.
    pub semicolon: Semicolon,
}

impl Map {
    /// The defaults, on this machine.
    #[must_use]
    pub fn of(machine: &Machine) -> Map {
        Map {
            time_generated: TimeGenerated::Received,
            collector_host_name: machine.host_name.clone(),
            time_zone: jiff::tz::TimeZone::UTC,
            unparsed: Unparsed::Forward,
            semicolon: Semicolon::Blank,
        }
    }
}

/// What fills `TimeGenerated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeGenerated {
    /// When the frame was received, as Microsoft's agent does.
    Received,
    /// The time in the syslog header.
    Header,
    /// The `rt` key.
    DeviceReceipt,
}

/// What becomes of frames that are not CEF, or too broken, and no lines of Cisco firewalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unparsed {
    /// A row with `DeviceVendor == "cefline"`, `DeviceProduct == "unparsed"` and the text.
    Forward,
    /// Dropped and counted.
    Drop,
}

/// What a `;` inside a value becomes in `AdditionalExtensions`, whose pairs are joined by `;`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Semicolon {
    /// A blank, as Sentinel's own parsers ask for.
    Blank,
    /// Kept.
    Keep,
}

/// When a body is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Bytes of JSON.
    pub raw_bytes_max: usize,
    /// Bytes after gzip.
    pub wire_bytes_max: usize,
    /// Age of the oldest row.
    pub linger: Duration,
    /// How hard bodies are compressed.
    pub gzip_level: GzipLevel,
    /// Which bytes of a body the service's limit counts.
    pub body_limit: BodyReading,
}

impl Batch {
    /// JSON in one body at the very most.
    fn raw_bytes_most(&self) -> usize {
        match self.body_limit {
            BodyReading::Strict => self.raw_bytes_max,
            BodyReading::Wire | BodyReading::Auto => BODY_RAW_BYTES_MOST,
        }
    }
}

/// Which bytes of a body the service's limit of 1 MB counts: its documents leave that open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyReading {
    /// Those of the JSON, and those on the wire.
    Strict,
    /// Those on the wire.
    Wire,
    /// Whichever the answers show.
    Auto,
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinel {
    /// Base URL of the data collection endpoint or rule, without a trailing slash; the first rule's,
    /// where each has its own.
    pub endpoint: EndpointUrl,
    /// The data collection rules.
    pub rules: Vec<Rule>,
    /// What one rule takes in a minute, as far as is known at the start: bytes...
    pub rule_bytes_a_minute: usize,
    /// ...and requests.
    pub rule_requests_a_minute: usize,
    /// Name of the stream in the rules.
    pub stream: StreamName,
    /// Who we are.
    pub identity: Identity,
    /// PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// By whom requests go out.
    pub proxy: Option<Proxy>,
    /// Requests that one uploader keeps in flight to each destination.
    pub requests_in_flight: usize,
    /// One request, from connect to the last byte of the answer.
    pub request_time_max: Duration,
    /// A row about the forwarder itself so often; nothing for never.
    pub heartbeat: Option<Duration>,
}

impl Sentinel {
    /// Where a rule takes rows.
    #[must_use]
    pub fn endpoint_of<'c>(&'c self, rule: &'c Rule) -> &'c EndpointUrl {
        rule.endpoint.as_ref().unwrap_or(&self.endpoint)
    }
}

/// A proxy for requests to https (`CONNECT`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Base URL, `http`.
    pub url: EndpointUrl,
    /// Name and password, if it asks for them.
    pub user: Option<(String, SecretFrom)>,
}

/// A data collection rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its immutable id.
    pub id: RuleId,
    /// Where it takes rows, if not at `sentinel.endpoint`.
    pub endpoint: Option<EndpointUrl>,
}

impl From<RuleId> for Rule {
    fn from(id: RuleId) -> Self {
        Rule { id, endpoint: None }
    }
}

impl Sentinel {
    /// The audience that a token for the endpoint must have, by the endpoint's cloud; that of the
    /// public cloud where the host does not tell.
    #[must_use]
    pub fn audience(&self) -> &'static str {
        let known = azure::Cloud::of_endpoint(self.endpoint.host());
        let scope = known.map_or(azure::CLOUDS[0].scope, |cloud| cloud.scope);
        scope.trim_end_matches("/.default")
    }
}

/// What survives what, and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// Folder of the spool; without meaning for [`Durability::Memory`].
    pub directory: PathBuf,
    /// What sealed bodies survive.
    pub durability: Durability,
    /// All segments together, in bytes.
    pub bytes_max: usize,
    /// What stays free of the file system, in bytes; a tenth of it and at most 2 GiB unless set.
    pub free_bytes_min: Option<usize>,
    /// What becomes of new rows when it is full.
    pub when_full: WhenFull,
    /// Part of the bytes sent that goes to the backlog while new rows wait, in percent.
    pub drain_share: u32,
    /// Rows in quarantine, in bytes of files.
    pub quarantine_bytes_max: usize,
}

/// What sealed bodies survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A clean stop of the service, as far as they can be uploaded in time.
    Memory,
    /// The end of the process, in whatever way.
    Process,
    /// The end of the power too.
    Power,
}

/// What becomes of new rows when the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Reading stops, and senders wait.
    Backpressure,
    /// They take the place of the oldest.
    DropOldest,
}

/// Cores and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Cores that receive and parse.
    pub ingest_cores: usize,
    /// Cores that compress and upload.
    pub upload_cores: usize,
    /// Whether threads are bound to their cores.
    pub pin: bool,
    /// Memory for pages, in bytes.
    pub pages_bytes_max: usize,
    /// How long a stopping program goes on uploading.
    pub stop_time_max: Duration,
}

/// Where metrics are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Address of `/metrics`, `/healthz` and `/readyz`; nothing for none.
    pub listen: Option<SocketAddr>,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least level.
    pub level: tracing::Level,
    /// Form of a line.
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}
