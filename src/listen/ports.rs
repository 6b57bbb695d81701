//! The listening sockets: those that a supervisor gave us, and for the other addresses our own.

use super::ListenError;
use crate::supervisor::Given;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that the kernel completes ahead of us, and while nobody is there between two of us.
const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub struct Port {
    /// Non-blocking.
    pub(super) listener: TcpListener,
    address: SocketAddr,
    is_given: bool,
}

impl Port {
    /// Opens the port of an address: the socket that was given for it, or a new one.
    pub(super) fn open(
        address: SocketAddr,
        given: Option<TcpListener>,
    ) -> Result<Port, ListenError> {
        let is_given = given.is_some();
        let open = || {
            let listener = match given {
                Some(listener) => listener,
                None => bind(address)?,
            };
            listener.set_nonblocking(true)?;
            // on one that listens already it sets the backlog
            SockRef::from(&listener).listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok(Port {
                listener,
                address,
                is_given,
            })
        };
        open().map_err(|error| ListenError::Bind(address, error))
    }

    /// The socket, to be given into keeping.
    #[must_use]
    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Its address, with a real port in place of 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// True if it was given to us: somebody else holds it as well.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.is_given
    }
}

/// Binds an address. Not with SO_REUSEPORT: a second instance on the same port must be an error,
/// not a silent halving of the traffic.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // "[::]:514" and "0.0.0.0:514" may stand side by side
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Sorts out the sockets that were given: for each address the one that is bound to it, if there is
/// one, and then those that no address asks for. Of several at one address the first is taken: the
/// others are further handles to the same socket, as no two can be bound so.
pub(super) fn sort(
    addresses: &[SocketAddr],
    given: Vec<Given>,
) -> (Vec<Option<TcpListener>>, Vec<Given>) {
    let mut taken: Vec<Option<TcpListener>> = addresses.iter().map(|_| None).collect();
    let mut unasked = Vec::new();
    for given in given {
        let own = given.listener.local_addr().ok();
        match addresses.iter().position(|address| Some(*address) == own) {
            Some(index) if taken[index].is_none() => taken[index] = Some(given.listener),
            Some(_) => {}
            None => unasked.push(given),
        }
    }
    (taken, unasked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn given(listener: &TcpListener, name: &str) -> Given {
        Given {
            name: name.to_owned(),
            listener: listener.try_clone().unwrap(),
        }
    }

    #[test]
    fn a_given_socket_serves_the_address_that_it_is_bound_to() {
        let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [first, second, third] = sockets.each_ref().map(|s| s.local_addr().unwrap());
        let free = "127.0.0.1:1".parse().unwrap();
        let all = vec![
            given(&sockets[2], "third"),
            given(&sockets[1], "second"),
            given(&sockets[1], "second again"),
            given(&sockets[0], "first"),
        ];
        let (taken, unasked) = sort(&[first, free, second], all);
        let address = |taken: &Option<TcpListener>| {
            taken
                .as_ref()
                .map(|listener| listener.local_addr().unwrap())
        };
        let taken: Vec<_> = taken.iter().map(address).collect();
        assert_eq!(taken, [Some(first), None, Some(second)]);
        assert_eq!(unasked.len(), 1);
        assert_eq!(unasked[0].name, "third");
        assert_eq!(unasked[0].listener.local_addr().unwrap(), third);
    }

    #[test]
    fn what_waits_in_the_queue_of_a_given_socket_is_accepted() {
        let old = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = old.local_addr().unwrap();
        let _waits = TcpStream::connect(address).unwrap();
        let port = Port::open(address, Some(old)).unwrap();
        assert!(port.is_given());
        assert!(port.listener.accept().is_ok());
        let none = port.listener.accept().unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
}
