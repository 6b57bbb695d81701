//! The HTTPS client: how this program talks to the ingestion and the login endpoint.
//!
//! HTTP/1.1 over TLS 1.2 or 1.3 by rustls, trusting the machine's authorities and those of
//! `sentinel.ca_file`. No redirect is followed (a bearer token must not travel where a stranger
//! points), a proxy is used if `sentinel.proxy` says so and never one of the environment (an
//! appliance's environment is nobody's configuration), no answer is unpacked (a small
//! answer must not become a large one), and no answer is read past its limit.

use crate::config::{self, Sentinel};
use crate::failure::Failure;
use crate::limits::{ANSWER_BODY_TIME, ANSWER_BYTES_MAX, CONNECT_TIME, CONNECTION_IDLE_TIME};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// Whom clients trust. Made once, as reading the machine's authorities takes some milliseconds;
/// a copy shares the store and the TLS sessions.
#[derive(Debug, Clone)]
pub struct Trust {
    tls: ClientConfig,
    /// By whom requests to https go out, if that is set.
    proxy: Option<reqwest::Proxy>,
}

impl Trust {
    /// The machine's authorities, and those in `sentinel.ca_file`.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate; or there is no authority at all although
    /// the configuration needs one.
    pub fn new(config: &Sentinel) -> Result<Self, Failure> {
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "an authority of this machine could not be read");
        }
        let mut roots = RootCertStore::empty();
        let (_, unusable) = roots.add_parsable_certificates(native.certs);
        if unusable > 0 {
            tracing::debug!(unusable, "authorities of this machine that TLS cannot use");
        }
        if let Some(file) = &config.ca_file {
            add_file(&mut roots, file)?;
        }
        if roots.is_empty() && needs_tls(config) {
            return Err(Failure::usage(
                "no certificate authority is known: install the ca-certificates package, or set \
                 sentinel.ca_file",
            ));
        }
        let mut trust = Trust::with_roots(roots)?;
        trust.proxy = config.proxy.as_ref().map(proxy).transpose()?;
        Ok(trust)
    }

    /// How connections are protected, for whoever looks at them from outside.
    #[must_use]
    pub fn tls(&self) -> &ClientConfig {
        &self.tls
    }

    /// These and no others.
    pub(crate) fn with_roots(roots: RootCertStore) -> Result<Self, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::running(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Trust {
            tls: config,
            proxy: None,
        })
    }
}

/// The proxy as it is set.
fn proxy(config: &config::Proxy) -> Result<reqwest::Proxy, Failure> {
    let proxy = reqwest::Proxy::https(config.url.as_str())
        .map_err(|error| Failure::usage(format!("sentinel.proxy: {}", cause_of(&error))))?;
    let Some((user, password)) = &config.user else {
        return Ok(proxy);
    };
    let password = config::read_secret(password)
        .map_err(|what| Failure::usage(format!("the proxy's password, {what}")))?;
    let password = std::str::from_utf8(&password).unwrap_or_default();
    Ok(proxy.basic_auth(user, password))
}

/// False only for a rehearsal on loopback without TLS.
fn needs_tls(config: &Sentinel) -> bool {
    let rules = config
        .rules
        .iter()
        .filter_map(|rule| rule.endpoint.as_ref());
    [Some(&config.endpoint), config.identity.authority()]
        .into_iter()
        .flatten()
        .chain(rules)
        .any(|url| !url.as_str().starts_with("http://"))
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), Failure> {
    let wrong = |what: &dyn std::fmt::Display| {
        Failure::usage(format!("sentinel.ca_file {}: {what}", file.display()))
    };
    let certificates: Vec<CertificateDer> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&error))?;
    if certificates.is_empty() {
        return Err(wrong(&"holds no PEM certificate"));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    Ok(())
}

/// A client that keeps up to `connections_idle` connections open for the next request. They live
/// on the runtime that made them, so a client that several runtimes share must keep none.
///
/// # Errors
/// TLS cannot be set up; not the world's fault.
pub fn client(trust: &Trust, connections_idle: usize) -> Result<reqwest::Client, Failure> {
    build(trust, trust.proxy.as_ref(), connections_idle)
}

/// The clients by which tokens are asked for. They keep no connections: several runtimes use them.
#[derive(Debug, Clone)]
pub struct Clients {
    /// For the login host.
    pub(crate) login: reqwest::Client,
    /// For what is on this machine or beside it: never by a proxy.
    pub(crate) direct: reqwest::Client,
}

impl Clients {
    /// Both.
    ///
    /// # Errors
    /// As [`client`].
    pub fn new(trust: &Trust) -> Result<Self, Failure> {
        Ok(Clients {
            login: client(trust, 0)?,
            direct: build(trust, None, 0)?,
        })
    }

    /// The one for the login host.
    #[must_use]
    pub fn login(&self) -> &reqwest::Client {
        &self.login
    }
}

fn build(
    trust: &Trust,
    proxy: Option<&reqwest::Proxy>,
    connections_idle: usize,
) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(trust.tls.clone())
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy();
    if let Some(proxy) = proxy {
        builder = builder.proxy(proxy.clone());
    }
    builder
        .referer(false)
        .connect_timeout(CONNECT_TIME)
        .pool_idle_timeout(CONNECTION_IDLE_TIME)
        .pool_max_idle_per_host(connections_idle)
        .user_agent(concat!("cefline/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Failure::running(format!("no HTTP client: {}", cause_of(&error))))
}

/// An answer, as much of it as is read.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// At most [`ANSWER_BYTES_MAX`] of the body; less if it was cut off or did not come in time,
    /// since the status alone says what to do.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads the answer's body, up to its limits of length and time.
    pub async fn read(mut response: reqwest::Response) -> Self {
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        // what came until then is enough
        let _ = tokio::time::timeout(ANSWER_BODY_TIME, read_body(&mut response, &mut body)).await;
        Answer {
            status,
            headers,
            body,
        }
    }
}

async fn read_body(response: &mut reqwest::Response, body: &mut Vec<u8>) {
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() == ANSWER_BYTES_MAX {
            return;
        }
    }
}

/// What lies behind an error, innermost last, without the URL.
#[must_use]
pub fn cause_of(error: &reqwest::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        // wrappers repeat what they wrap
        if causes.last().is_none_or(|last| !last.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    if causes.is_empty() {
        return "no cause given".to_owned();
    }
    causes.join(": ")
}
