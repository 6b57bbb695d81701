//! A cefline that runs here: its page of metrics, and its process.

use super::ports::owners;
use crate::check::traffic::{self, Look};
use crate::limits::{CHECK_PAGE_BYTES_MAX, CHECK_PAGE_TIME};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One look at `/metrics`; nothing if no cefline answers.
pub async fn look(address: SocketAddr) -> Option<Look> {
    let page = tokio::time::timeout(CHECK_PAGE_TIME, page(reachable(address)))
        .await
        .ok()?
        .ok()?;
    traffic::read(std::str::from_utf8(&page).ok()?)
}

async fn page(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    stream
        .take(CHECK_PAGE_BYTES_MAX as u64)
        .read_to_end(&mut page)
        .await?;
    Ok(page)
}

/// The process of a cefline that listens on one of these, as far as this user may see it.
#[must_use]
pub fn process(addresses: &[SocketAddr]) -> Option<u32> {
    addresses
        .iter()
        .filter_map(|address| owners(*address))
        .flatten()
        .find(|owner| owner.name == "cefline")
        .map(|owner| owner.id)
}

/// An address that can be connected to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}
