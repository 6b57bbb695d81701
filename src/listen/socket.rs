//! The socket of one connection. The only file that knows how bytes are read: everything that the
//! backends need for it is here.

use super::epoll::{Epoll, Sleeper};
use futures_lite::AsyncRead;
use socket2::SockRef;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    /// So many bytes, not zero.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The peer has closed its side.
    End,
    /// The peer has reset the connection, or it failed in another way.
    Reset,
}

/// A connected socket that belongs to this shard.
#[derive(Debug)]
pub(super) enum Socket {
    /// Bound to the executor of this thread. Taken mutably only inside [`Socket::first_bytes`], never
    /// across an await.
    Ring(RefCell<glommio::net::TcpStream>),
    /// Bound to the epoll of this thread.
    Epoll(Sleeper),
}

impl Socket {
    /// Binds the socket to the executor of this thread. It must be non-blocking.
    pub(super) fn on_ring(stream: TcpStream) -> Self {
        Socket::Ring(RefCell::new(socket2::Socket::from(stream).into()))
    }

    /// Binds the socket to this epoll. It must be non-blocking.
    pub(super) fn on_epoll(stream: TcpStream, epoll: Rc<Epoll>) -> Self {
        Socket::Epoll(Sleeper::new(stream, epoll))
    }

    /// Sleeps until the socket is readable and reads into `buffer`, which is borrowed only once
    /// there is something to read: glommio's read is a `recv` first and a poll on the ring second,
    /// and keeps no pointer in between; with epoll it is a `recv` after the event. The caller uses the
    /// bytes before its next await. While it may not read, it answers at once with nothing.
    pub(super) async fn first_bytes(
        &self,
        buffer: &RefCell<Vec<u8>>,
        may_read: impl Fn() -> bool,
    ) -> Got {
        let stream = match self {
            Socket::Ring(stream) => stream,
            Socket::Epoll(sleeper) => {
                sleeper.readable().await;
                return match may_read() {
                    true => self.read_now(&mut buffer.borrow_mut()),
                    false => Got::Nothing,
                };
            }
        };
        poll_fn(|context| {
            if !may_read() {
                return Poll::Ready(Got::Nothing);
            }
            let mut stream = stream.borrow_mut();
            let mut buffer = buffer.borrow_mut();
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(read) => Poll::Ready(got(read)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Reads what is there.
    pub(super) fn read_now(&self, buffer: &mut [u8]) -> Got {
        // the socket is non-blocking, and a short read is what we want
        got(self.with(|socket| (&*socket).read(buffer)))
    }

    /// What the kernel may hold of the connection that was not read yet, at the most.
    pub(super) fn arrived_bytes_max(&self) -> usize {
        // without an answer it is read once
        self.with(|socket| socket.recv_buffer_size().unwrap_or(1))
    }

    /// Ends the connection in both directions; whoever sleeps on it wakes up.
    pub(super) fn shut(&self) {
        // it may have been reset already, which is as good
        let _ = self.with(|socket| socket.shutdown(Shutdown::Both));
    }

    /// A second handle to the same socket that belongs to no shard.
    pub(super) fn detach(&self) -> io::Result<TcpStream> {
        Ok(self.with(|socket| socket.try_clone())?.into())
    }

    fn with<T>(&self, act: impl FnOnce(SockRef<'_>) -> T) -> T {
        match self {
            Socket::Ring(stream) => act(SockRef::from(&*stream.borrow())),
            Socket::Epoll(sleeper) => act(SockRef::from(&sleeper.stream)),
        }
    }
}

fn got(read: io::Result<usize>) -> Got {
    match read {
        Ok(0) => Got::End,
        Ok(bytes) => Got::Bytes(bytes),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Got::Nothing,
            _ => Got::Reset,
        },
    }
}
