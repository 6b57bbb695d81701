//! The configuration: text in, checked values out.
//!
//! A [`Config`] that exists is legal: every number is in its range, every name well formed, every
//! combination sensible. What a person writes wrong is named with file, key, value and what is
//! allowed, before any port is opened.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[listen]`
    pub listen: Listen,
    /// `[map]`
    pub map: Map,
    /// `[batch]`
    pub batch: Batch,
    /// `[sentinel]`
    pub sentinel: Sentinel,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
}

/// Where and how frames are received.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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

/// What becomes of frames that are not CEF, or too broken.
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
#[derive(Debug, Clone)]
pub struct Batch {
    /// Bytes of JSON.
    pub raw_bytes_max: usize,
    /// Bytes after gzip.
    pub wire_bytes_max: usize,
    /// Age of the oldest row.
    pub linger: Duration,
    /// 1 to 9.
    pub gzip_level: u32,
}

/// Where rows go.
#[derive(Debug, Clone)]
pub struct Sentinel {
    /// Base URL of the data collection endpoint or rule, without a trailing slash.
    pub endpoint: EndpointUrl,
    /// Immutable ids of the data collection rules.
    pub rules: Vec<RuleId>,
    /// Name of the stream in the rules.
    pub stream: StreamName,
    /// Who we are.
    pub identity: Identity,
    /// PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Requests that one uploader keeps in flight.
    pub requests_in_flight: usize,
    /// One request, from connect to the last byte of the answer.
    pub request_time_max: Duration,
}

/// An `https` URL without query and without trailing slash (`http` for loopback addresses).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl(pub(crate) String);

/// `dcr-` and 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleId(pub(crate) String);

/// `Custom-` and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName(pub(crate) String);

impl EndpointUrl {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RuleId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl StreamName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who we are for Microsoft Entra. One variant for each kind; more will come.
#[derive(Debug, Clone)]
pub enum Identity {
    /// An application with a client secret.
    ClientSecret(ClientSecret),
}

/// An application with a client secret.
#[derive(Debug, Clone)]
pub struct ClientSecret {
    /// Tenant, a GUID.
    pub tenant_id: String,
    /// Application (client) id, a GUID.
    pub client_id: String,
    /// File that holds the secret's value, read anew for each token.
    pub secret_file: PathBuf,
    /// Base URL of the login host.
    pub authority: EndpointUrl,
    /// Scope to ask for.
    pub scope: String,
}

/// Cores and memory.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Address of `/metrics`, `/healthz` and `/readyz`; nothing for none.
    pub listen: Option<SocketAddr>,
}

/// What is logged.
#[derive(Debug, Clone)]
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
