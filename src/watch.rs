//! The small server behind `/metrics`, `/healthz` and `/readyz`: GET only, no body is read, heads
//! are bounded, connections few and short-lived. Anyone who reaches it is a stranger.

use crate::limits::{
    METRICS_CONNECTION_TIME, METRICS_CONNECTIONS_MAX, METRICS_HEAD_TIME, METRICS_REQUEST_BYTES_MAX,
};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

/// What the server shows.
pub trait Watched: Send + Sync + 'static {
    /// The page of metrics.
    fn metrics(&self) -> String;
    /// Whether the program runs; if not, why.
    fn health(&self) -> Result<String, String>;
    /// Whether it does its work; if not, why.
    fn readiness(&self) -> Result<String, String>;
}

/// Serves until the future is dropped.
///
/// # Errors
/// The listener cannot be used by the runtime of this thread.
pub async fn serve(listener: TcpListener, watched: Arc<impl Watched>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(METRICS_CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let watched = watched.clone();
                tokio::spawn(async move {
                    let _ =
                        tokio::time::timeout(METRICS_CONNECTION_TIME, talk(stream, watched)).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn talk(stream: TcpStream, watched: Arc<impl Watched>) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &*watched);
        async move { Ok::<_, Infallible>(answer) }
    });
    // an error here is the peer's: it went away, or sent no HTTP
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(METRICS_HEAD_TIME)
        .max_buf_size(METRICS_REQUEST_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(request: &Request<Incoming>, watched: &impl Watched) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into());
        refusal
            .headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let state = |state: Result<String, String>| match state {
        Ok(well) => text(StatusCode::OK, well + "\n"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
    };
    match request.uri().path() {
        "/metrics" => text(StatusCode::OK, watched.metrics()),
        "/healthz" => state(watched.health()),
        "/readyz" => state(watched.readiness()),
        _ => text(
            StatusCode::NOT_FOUND,
            "/metrics, /healthz or /readyz\n".into(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}
