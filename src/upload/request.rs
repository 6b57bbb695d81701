//! One request: a payload to a rule, and what came back.

use super::destinations::DestinationIndex;
use super::rules::RuleIndex;
use crate::auth::Permit;
use crate::client::{Answer, cause_of};
use crate::compress::PayloadId;
use crate::config::{Config, Rule};
use crate::limits::BODY_PIECE_BYTES;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use reqwest::StatusCode;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// The only stable version of the API.
const API_VERSION: &str = "2023-01-01";
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// One request, ready to go.
#[derive(Debug, Clone)]
pub struct Request {
    /// To which destination...
    pub destination: DestinationIndex,
    /// ...and to which of its rules.
    pub rule: RuleIndex,
    /// Its name, the same at each try.
    pub id: PayloadId,
    /// The gzipped array.
    pub body: Bytes,
    /// Leave to send it.
    pub permit: Permit,
}

/// How one request ended.
#[derive(Debug)]
pub enum Reply {
    /// With an answer.
    Answer(Answer),
    /// Without one.
    Silence(Silence),
}

impl Reply {
    /// The token was not accepted.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Reply::Answer(answer) if answer.status == StatusCode::UNAUTHORIZED)
    }

    /// An answer that accepts.
    #[must_use]
    pub fn success() -> Self {
        Reply::Answer(Answer {
            status: StatusCode::NO_CONTENT,
            headers: HeaderMap::new(),
            body: Vec::new(),
        })
    }
}

/// A request that ended without an answer.
#[derive(Debug, Clone)]
pub struct Silence {
    /// At which point.
    pub reason: SilenceReason,
    /// The whole body went to the connection: only then may the service hold the rows.
    pub is_sent_whole: bool,
    /// In the words of the parts below.
    pub cause: String,
}

/// At which point a request ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceReason {
    /// Before anything was sent: no address, no connection, no TLS.
    Connect,
    /// The connection ended.
    Reset,
    /// The time was up.
    Timeout,
}

/// Sends payloads to the rules of all destinations.
#[derive(Debug)]
pub struct Requester {
    client: reqwest::Client,
    /// One for each rule, by destination, in the order of the configuration.
    urls: Vec<Vec<String>>,
    time_max: Duration,
}

impl Requester {
    /// For the rules in `config`, by a client of the calling thread's.
    #[must_use]
    pub fn new(client: reqwest::Client, config: &Config) -> Self {
        let urls = config.targets().map(|target| {
            let url = |rule: &Rule| {
                let endpoint = target.endpoint_of(rule).as_str();
                let (rule, stream) = (rule.id.as_str(), target.stream.as_str());
                format!(
                    "{endpoint}/dataCollectionRules/{rule}/streams/{stream}?api-version={API_VERSION}"
                )
            };
            target.rules.iter().map(url).collect()
        });
        Requester {
            client,
            urls: urls.collect(),
            time_max: config.sentinel.request_time_max,
        }
    }

    fn url(&self, request: &Request) -> &str {
        let of_rules = self.urls.get(request.destination.index());
        let url = of_rules.and_then(|urls| urls.get(request.rule.index()));
        url.map_or("", String::as_str)
    }

    /// One try. Cancelling it (dropping the future) closes the connection.
    pub async fn send(&self, request: &Request) -> Reply {
        let is_sent_whole = Arc::new(AtomicBool::new(false));
        let silence = |reason, cause| {
            Reply::Silence(Silence {
                reason,
                is_sent_whole: is_sent_whole.load(Ordering::Relaxed),
                cause,
            })
        };
        let try_once = self
            .client
            .post(self.url(request))
            .header(AUTHORIZATION, request.permit.header.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(CONTENT_ENCODING, HeaderValue::from_static("gzip"))
            .header(CLIENT_REQUEST_ID, request.id.to_string())
            .body(reqwest::Body::wrap(Pieces {
                rest: request.body.clone(),
                is_sent_whole: Arc::clone(&is_sent_whole),
            }));
        match tokio::time::timeout(self.time_max, try_once.send()).await {
            // from here on the status decides, whatever becomes of the answer's body
            Ok(Ok(response)) => Reply::Answer(Answer::read(response).await),
            Ok(Err(error)) if error.is_connect() => {
                silence(SilenceReason::Connect, cause_of(&error))
            }
            Ok(Err(error)) => silence(SilenceReason::Reset, cause_of(&error)),
            Err(_) => {
                let cause = format!("no answer within {} s", self.time_max.as_secs_f32());
                silence(SilenceReason::Timeout, cause)
            }
        }
    }
}

/// A body that notes when its last piece was taken.
struct Pieces {
    rest: Bytes,
    is_sent_whole: Arc<AtomicBool>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece_bytes = self.rest.len().min(BODY_PIECE_BYTES);
        if piece_bytes == 0 {
            return Poll::Ready(None);
        }
        let piece = self.rest.split_to(piece_bytes);
        if self.rest.is_empty() {
            self.is_sent_whole.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
