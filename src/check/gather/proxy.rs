//! Tunnels through the proxy, as uploads and logins open them.

use crate::check::network::Host;
use crate::check::proxy::Tunnel;
use crate::config::{self, Proxy};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// A header that says who we are, for a proxy that wants to know.
pub type Authorization = HeaderValue;

/// A connection to a host through the proxy.
pub type Through = TokioIo<Upgraded>;

/// What the proxy may want to know of us.
///
/// # Errors
/// Why the password's file cannot be read.
pub fn authorization(proxy: &Proxy) -> Result<Option<Authorization>, String> {
    let Some((user, password)) = &proxy.user else {
        return Ok(None);
    };
    let password = config::read_secret(password)?;
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.len()));
    pair.extend_from_slice(user.as_bytes());
    pair.push(b':');
    pair.extend_from_slice(&password);
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
    let mut header = HeaderValue::from_str(&text).map_err(|error| error.to_string())?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// Asks the proxy for a tunnel to a host.
///
/// # Errors
/// How it was refused.
pub async fn tunnel(
    host: &Host,
    proxy: SocketAddr,
    authorization: Option<&Authorization>,
    time: Duration,
) -> Result<Through, Tunnel> {
    let asked = timeout(time, ask(host, proxy, authorization)).await;
    asked.unwrap_or(Err(Tunnel::Silence))
}

async fn ask(
    host: &Host,
    proxy: SocketAddr,
    authorization: Option<&Authorization>,
) -> Result<Through, Tunnel> {
    let broken = |error: &dyn std::fmt::Display| Tunnel::Broken(error.to_string());
    let stream = TcpStream::connect(proxy)
        .await
        .map_err(|error| broken(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // ends with the tunnel, or with the runtime
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::connect(host.authority())
        .header(HOST, host.authority())
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    if let Some(authorization) = authorization {
        request
            .headers_mut()
            .insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    let status = response.status();
    if !status.is_success() {
        return Err(Tunnel::Status(status.as_u16()));
    }
    let upgraded = hyper::upgrade::on(response).await;
    upgraded.map(TokioIo::new).map_err(|error| broken(&error))
}
