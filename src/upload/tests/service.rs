//! A small service on loopback that plays scripted answers, token endpoint included.

use crate::compress::gunzip;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// A request to the ingestion endpoint, as the script sees it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Last figure of the rule's id.
    pub(super) rule: u32,
    /// The stream in it.
    pub(super) stream: String,
    /// The rows' numbers.
    pub(super) rows: Vec<u64>,
    pub(super) token: String,
    pub(super) id: String,
    /// How many requests came before.
    pub(super) index: usize,
    pub(super) wire_bytes: usize,
}

/// What the service does.
pub(super) enum Say {
    /// Stores the rows and answers 204.
    Store,
    /// Answers without storing.
    Answer(u16, &'static [(&'static str, &'static str)], &'static str),
    /// Stores the rows and resets the connection.
    StoreAndReset,
    /// Stores the rows and never answers.
    StoreAndHang,
}

type Script = Box<dyn FnMut(&Seen) -> Say + Send>;

/// The service, and what it has seen.
pub(super) struct Service {
    pub(super) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    script: Script,
    seen: Vec<Seen>,
    stored: Vec<u64>,
    tokens: u32,
    /// Answers of the token endpoint before it works.
    login: Vec<(u16, &'static str)>,
    /// Bodies of this length are cut off before they are read.
    cut_from_bytes: usize,
}

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset by the script")
    }
}

impl std::error::Error for Broken {}

impl Service {
    /// Listens on loopback, with TLS if there is a configuration for it.
    pub(super) async fn start(
        tls: Option<tokio_rustls::rustls::ServerConfig>,
        script: impl FnMut(&Seen) -> Say + Send + 'static,
    ) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner {
            script: Box::new(script),
            seen: Vec::new(),
            stored: Vec::new(),
            tokens: 0,
            login: Vec::new(),
            cut_from_bytes: usize::MAX,
        }));
        let shared = Arc::clone(&inner);
        let tls = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // closing sends a reset
                socket2::SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, shared).await;
                            }
                        }
                    }
                });
            }
        });
        Service { address, inner }
    }

    pub(super) fn login_answers(&self, answers: &[(u16, &'static str)]) {
        self.inner.lock().unwrap().login = answers.iter().rev().copied().collect();
    }

    pub(super) fn cut_from(&self, bytes: usize) {
        self.inner.lock().unwrap().cut_from_bytes = bytes;
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.inner.lock().unwrap().seen.clone()
    }

    /// The stored rows, sorted.
    pub(super) fn stored(&self) -> Vec<u64> {
        let mut stored = self.inner.lock().unwrap().stored.clone();
        stored.sort_unstable();
        stored
    }

    pub(super) fn tokens(&self) -> u32 {
        self.inner.lock().unwrap().tokens
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    inner: Arc<Mutex<Inner>>,
) {
    let service = service_fn(move |request| answer(request, Arc::clone(&inner)));
    // an error is what the script asked for
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    inner: Arc<Mutex<Inner>>,
) -> Result<Response<Full<Bytes>>, Broken> {
    let path = request.uri().to_string();
    if path.contains("/oauth2/v2.0/token") {
        let form = request
            .into_body()
            .collect()
            .await
            .map_err(|_| Broken)?
            .to_bytes();
        return Ok(token(&mut inner.lock().unwrap(), &form));
    }
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("content-encoding"), "gzip");
    assert!(header("user-agent").starts_with("cefline/"));
    let (token, id) = (header("authorization"), header("x-ms-client-request-id"));
    let wire_bytes: usize = header("content-length").parse().unwrap();
    let rule = path
        .strip_prefix("/dataCollectionRules/dcr-0000000000000000000000000000000")
        .unwrap();
    let (rule, rest) = rule.split_once('/').unwrap();
    let stream = rest
        .strip_prefix("streams/")
        .and_then(|rest| rest.strip_suffix("?api-version=2023-01-01"))
        .unwrap()
        .to_owned();
    if wire_bytes >= inner.lock().unwrap().cut_from_bytes {
        return Err(Broken);
    }
    let rule = rule.parse().unwrap();
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(|_| Broken)?
        .to_bytes();
    assert_eq!(body.len(), wire_bytes);
    let raw = gunzip(&body, 10_000_000).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&raw).unwrap();
    let rows: Vec<u64> = rows.iter().map(|row| row["n"].as_u64().unwrap()).collect();
    let say = {
        let mut inner = inner.lock().unwrap();
        let seen = Seen {
            rule,
            stream,
            rows: rows.clone(),
            token,
            id,
            index: inner.seen.len(),
            wire_bytes,
        };
        inner.seen.push(seen.clone());
        let say = (inner.script)(&seen);
        if !matches!(say, Say::Answer(..)) {
            inner.stored.extend(rows);
        }
        say
    };
    match say {
        Say::Store => Ok(response(204, &[], "")),
        Say::Answer(status, headers, body) => Ok(response(status, headers, body)),
        Say::StoreAndReset => Err(Broken),
        Say::StoreAndHang => std::future::pending().await,
    }
}

fn token(inner: &mut Inner, form: &[u8]) -> Response<Full<Bytes>> {
    let form = std::str::from_utf8(form).unwrap();
    assert!(
        form.contains("client_secret=s3cret%7E") || form.contains("client_secret=s3cret~"),
        "{form}"
    );
    if let Some((status, body)) = inner.login.pop() {
        return response(status, &[], body);
    }
    inner.tokens += 1;
    let body = format!(
        r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"t{}"}}"#,
        inner.tokens
    );
    Response::new(Full::from(body))
}

fn response(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body)).unwrap()
}
