//! Sockets that sleep without io_uring.
//!
//! Each socket is armed for one event when its connection falls asleep (EPOLLONESHOT) and disarmed by
//! that event, so that a busy connection, which is read in rounds, wakes nobody. tokio's own way of
//! watching a socket would: it stays armed, and each segment that arrives ends the sleep of the whole
//! thread. So tokio watches only the epoll that all of them are in.

use nix::errno::Errno;
use nix::sys::epoll::{EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Poll, Waker};
use tokio::io::unix::AsyncFd;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// The epoll of one shard.
#[derive(Debug)]
pub(super) struct Epoll {
    inner: AsyncFd<Inner>,
    /// Who is armed, by descriptor. One that is not in here was woken.
    armed: RefCell<HashMap<RawFd, Waker>>,
}

#[derive(Debug)]
struct Inner(nix::sys::epoll::Epoll);

impl AsRawFd for Inner {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

/// A socket that can sleep there.
#[derive(Debug)]
pub(super) struct Sleeper {
    pub(super) stream: TcpStream,
    epoll: Rc<Epoll>,
    /// The kernel has been told of it.
    is_known: Cell<bool>,
}

impl Epoll {
    /// To be called inside of tokio.
    #[expect(
        deprecated,
        reason = "what replaces it is for types that may change their descriptor; ours never does"
    )]
    pub(super) fn new() -> io::Result<Epoll> {
        let epoll = nix::sys::epoll::Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Epoll {
            inner: AsyncFd::new(Inner(epoll))?,
            armed: RefCell::default(),
        })
    }

    /// Wakes sockets whenever there is something to read, for ever.
    pub(super) async fn wake_all(self: Rc<Self>) {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let mut ready = match self.inner.readable().await {
                Ok(ready) => ready,
                // the runtime is going
                Err(_) => return,
            };
            let epoll = &ready.get_inner().0;
            match epoll.wait(&mut events, EpollTimeout::ZERO) {
                Ok(count) => {
                    self.wake(&events[..count]);
                    if count < EVENTS {
                        ready.clear_ready();
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    // no argument of ours can be wrong; whoever sleeps is woken by a later event
                    tracing::error!(%error, "epoll has failed");
                    ready.clear_ready();
                }
            }
        }
    }

    fn wake(&self, events: &[EpollEvent]) {
        let mut armed = self.armed.borrow_mut();
        for event in events {
            let number = RawFd::try_from(event.data());
            if let Some(waker) = number.ok().and_then(|number| armed.remove(&number)) {
                waker.wake();
            }
        }
    }
}

impl Sleeper {
    pub(super) fn new(stream: TcpStream, epoll: Rc<Epoll>) -> Self {
        Sleeper {
            stream,
            epoll,
            is_known: Cell::new(false),
        }
    }

    /// Sleeps until there is something to read, or the end. Where the kernel watches no more sockets
    /// it does not sleep: the connection is then read in rounds.
    pub(super) async fn readable(&self) {
        let number = self.stream.as_raw_fd();
        let mut is_armed = false;
        poll_fn(|context| {
            let mut armed = self.epoll.armed.borrow_mut();
            if !is_armed {
                if self.arm().is_err() {
                    return Poll::Ready(());
                }
                is_armed = true;
                armed.insert(number, context.waker().clone());
                return Poll::Pending;
            }
            match armed.get_mut(&number) {
                Some(waker) => {
                    waker.clone_from(context.waker());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        })
        .await;
    }

    /// What has already arrived counts as an event.
    fn arm(&self) -> nix::Result<()> {
        let epoll = &self.epoll.inner.get_ref().0;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLONESHOT;
        let number = u64::try_from(self.stream.as_raw_fd()).unwrap_or_default();
        let mut event = EpollEvent::new(flags, number);
        if self.is_known.get() {
            return epoll.modify(self.stream.as_fd(), &mut event);
        }
        epoll.add(self.stream.as_fd(), event)?;
        self.is_known.set(true);
        Ok(())
    }
}

impl Drop for Sleeper {
    /// A second handle may keep the socket open on another shard: closing ours would not be enough.
    fn drop(&mut self) {
        if self.is_known.get() {
            let _ = self.epoll.inner.get_ref().0.delete(self.stream.as_fd());
        }
        self.epoll
            .armed
            .borrow_mut()
            .remove(&self.stream.as_raw_fd());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener};
    use tokio::task::LocalSet;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        far.set_nonblocking(true).unwrap();
        (near, far)
    }

    fn with_epoll<F: Future<Output = ()>>(test: impl FnOnce(Rc<Epoll>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let inside = runtime.enter();
        let epoll = Rc::new(Epoll::new().unwrap());
        let tasks = LocalSet::new();
        tasks.spawn_local(epoll.clone().wake_all());
        drop(inside);
        tasks.block_on(&runtime, test(epoll));
    }

    /// Whether the socket is still asleep after everybody has had many turns.
    async fn sleeps_on(sleeper: &Sleeper) -> bool {
        let turns = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            true
        };
        let woken = async {
            sleeper.readable().await;
            false
        };
        futures_lite::future::or(woken, turns).await
    }

    #[test]
    fn a_socket_sleeps_until_bytes_come_and_again_once_they_are_read() {
        with_epoll(async |epoll| {
            let (mut near, far) = pair();
            let sleeper = Sleeper::new(far, epoll);
            for _ in 0..3 {
                assert!(sleeps_on(&sleeper).await);
                near.write_all(b"abc").unwrap();
                sleeper.readable().await;
                // as long as they are not read it does not sleep
                sleeper.readable().await;
                assert_eq!((&sleeper.stream).read(&mut [0; 8]).unwrap(), 3);
            }
            near.shutdown(Shutdown::Write).unwrap();
            sleeper.readable().await;
        });
    }

    #[test]
    fn a_socket_that_is_awake_wakes_nobody() {
        with_epoll(async |epoll| {
            let (mut near, far) = pair();
            let sleeper = Sleeper::new(far, epoll.clone());
            near.write_all(b"abc").unwrap();
            sleeper.readable().await;
            assert_eq!((&sleeper.stream).read(&mut [0; 8]).unwrap(), 3);
            near.write_all(b"more").unwrap();
            let mut events = [EpollEvent::empty(); 4];
            let inner = &epoll.inner.get_ref().0;
            assert_eq!(inner.wait(&mut events, EpollTimeout::ZERO), Ok(0));
        });
    }

    #[test]
    fn more_sockets_than_one_look_gives_are_all_woken() {
        with_epoll(async |epoll| {
            let mut pairs = Vec::new();
            for _ in 0..EVENTS + 40 {
                let (near, far) = pair();
                pairs.push((near, Rc::new(Sleeper::new(far, epoll.clone()))));
            }
            let tasks: Vec<_> = pairs
                .iter()
                .map(|(_, sleeper)| {
                    let sleeper = sleeper.clone();
                    tokio::task::spawn_local(async move { sleeper.readable().await })
                })
                .collect();
            tokio::task::yield_now().await;
            for (near, _) in &mut pairs {
                near.write_all(b"x").unwrap();
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert!(epoll.armed.borrow().is_empty());
        });
    }

    #[test]
    fn a_socket_that_leaves_is_forgotten_although_a_second_handle_keeps_it_open() {
        with_epoll(async |epoll| {
            let (mut near, far) = pair();
            let other = far.try_clone().unwrap();
            let sleeper = Sleeper::new(far, epoll.clone());
            assert!(sleeps_on(&sleeper).await);
            drop(sleeper);
            assert!(epoll.armed.borrow().is_empty());
            near.write_all(b"abc").unwrap();
            let mut events = [EpollEvent::empty(); 4];
            let inner = &epoll.inner.get_ref().0;
            assert_eq!(inner.wait(&mut events, EpollTimeout::ZERO), Ok(0));
            drop(other);
        });
    }
}
