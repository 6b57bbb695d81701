//! Who has a port, and whether we could.

use crate::check::ports::{Bound, Owner, listeners};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

/// Binds an address as `run` would, and lets it go. It does not listen, so nobody can connect in
/// between, and whoever starts to listen in that instant can do so.
#[must_use]
pub fn try_bind(address: SocketAddr) -> Bound {
    match bound(address) {
        Ok(()) => Bound::Free,
        Err(Errno::EADDRINUSE) => Bound::Taken(owners(address).unwrap_or_default()),
        Err(Errno::EACCES | Errno::EPERM) => Bound::NoRight,
        Err(Errno::EADDRNOTAVAIL) => Bound::NotHere,
        Err(error) => Bound::Other(error.desc().to_lowercase()),
    }
}

fn bound(address: SocketAddr) -> nix::Result<()> {
    let family = match address.is_ipv6() {
        true => AddressFamily::Inet6,
        false => AddressFamily::Inet,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    let address = match address {
        SocketAddr::V4(address) => SockaddrStorage::from(address),
        SocketAddr::V6(address) => SockaddrStorage::from(address),
    };
    bind(socket.as_raw_fd(), &address)
}

/// Processes that listen on an address or on one that covers it, as far as this user may see them;
/// nothing if nobody listens there.
#[must_use]
pub fn owners(address: SocketAddr) -> Option<Vec<Owner>> {
    let file = match address.is_ipv6() {
        true => "/proc/net/tcp6",
        false => "/proc/net/tcp",
    };
    let inodes = listeners(&fs::read_to_string(file).unwrap_or_default(), address);
    if inodes.is_empty() {
        return None;
    }
    let links: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let owners = processes.filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let has_it = fs::read_dir(entry.path().join("fd"))
            .ok()?
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| links.iter().any(|link| target.as_os_str() == link.as_str()));
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let name = crate::log::safe_text(name.trim_end());
        has_it.then_some(Owner { id, name })
    });
    Some(owners.collect())
}
