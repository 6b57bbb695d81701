//! Sockets: accepts, speaks TLS and HTTP, and plays the outages.
//!
//! One task for each connection, all on one thread. Whatever ends a connection against its will (a
//! fault's reset, an outage) drops its task's work with the socket set to linger for no time, which
//! sends the peer a reset and not an orderly end.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{DATE, HeaderName};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::faults::Outage;
use super::faults::http_date;
use super::reply::Reply;
use super::service::{Outcome, Port, Shared, answer};
use super::tls::H2;
use crate::limits::{EMULATOR_CONNECTIONS_MAX, EMULATOR_HANDSHAKE_TIME, EMULATOR_PORT_PAUSE, MIB};

/// Everything that the emulator's thread needs.
pub(super) struct Server {
    pub(super) shared: Arc<Shared>,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) service: Open,
    pub(super) control: Open,
    pub(super) stopped: watch::Receiver<bool>,
}

/// A port that is listened on.
pub(super) struct Open {
    listener: std::net::TcpListener,
    pub(super) address: SocketAddr,
    /// Bound to the port and never listening: whoever connects is refused while there is no listener, and
    /// the kernel gives the port to nobody who asks for any.
    holder: Socket,
}

impl Open {
    /// Listens on this address; port 0 is any that is free.
    pub(super) fn on(address: SocketAddr) -> io::Result<Open> {
        let holder = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // without it there could be no listener besides
        holder.set_reuse_address(true)?;
        holder.bind(&address.into())?;
        let address = holder.local_addr()?.as_socket().unwrap_or(address);
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Open {
            listener,
            address,
            holder,
        })
    }
}

impl Server {
    /// Serves until it is told to stop.
    pub(super) async fn run(mut self) {
        let outage = watch::Sender::new(Outage::None);
        let service = Listener {
            shared: Arc::clone(&self.shared),
            port: Port::Service,
            tls: self.tls.map(TlsAcceptor::from),
            address: self.service.address,
            outage: outage.subscribe(),
        };
        let control = Listener {
            shared: Arc::clone(&self.shared),
            port: Port::Control,
            tls: None,
            address: self.control.address,
            // nobody ever sends on this one: outages do not reach the control port
            outage: watch::Sender::new(Outage::None).subscribe(),
        };
        tokio::select! {
            () = play_outages(&self.shared, &outage) => {}
            () = service.listen(self.service) => {}
            () = control.listen(self.control) => {}
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

/// Follows the orders and ends each outage when its time is up.
async fn play_outages(shared: &Shared, outage: &watch::Sender<Outage>) {
    let mut orders = shared.orders();
    loop {
        let order = *orders.borrow_and_update();
        outage.send_replace(order.outage);
        let ends = async {
            match order.time {
                Some(time) if order.outage != Outage::None => tokio::time::sleep(time).await,
                _ => pending().await,
            }
        };
        tokio::select! {
            () = ends => {
                outage.send_replace(Outage::None);
                shared.outage_ended();
                if orders.changed().await.is_err() {
                    return pending().await;
                }
            }
            changed = orders.changed() => {
                if changed.is_err() {
                    return pending().await;
                }
            }
        }
    }
}

/// Waits for an outage.
async fn begins(outage: &mut watch::Receiver<Outage>) -> Outage {
    let found = outage
        .wait_for(|outage| *outage != Outage::None)
        .await
        .map(|found| *found);
    match found {
        Ok(found) => found,
        Err(_) => pending().await,
    }
}

struct Listener {
    shared: Arc<Shared>,
    port: Port,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
    outage: watch::Receiver<Outage>,
}

impl Listener {
    async fn listen(mut self, port: Open) {
        let Open {
            listener,
            holder: _holder,
            ..
        } = port;
        let connections = Arc::new(Semaphore::new(EMULATOR_CONNECTIONS_MAX));
        let mut open = TcpListener::from_std(listener).ok();
        loop {
            let outage = *self.outage.borrow_and_update();
            match (outage, &open) {
                (Outage::Refuse, _) => {
                    open = None;
                    self.outage_change().await;
                }
                (Outage::Blackhole, _) => self.outage_change().await,
                (Outage::None | Outage::Reset, None) => open = self.reopen().await,
                (Outage::None | Outage::Reset, Some(listener)) => tokio::select! {
                    () = Self::change(&mut self.outage) => {}
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => self.take(stream, outage, &connections),
                        Err(error) => {
                            tracing::warn!(%error, "the emulator cannot accept a connection");
                            tokio::time::sleep(EMULATOR_PORT_PAUSE).await;
                        }
                    },
                },
            }
        }
    }

    async fn change(outage: &mut watch::Receiver<Outage>) {
        if outage.changed().await.is_err() {
            pending::<()>().await;
        }
    }

    async fn outage_change(&mut self) {
        Self::change(&mut self.outage).await;
    }

    /// Opens the port again. Another program may listen on it, if it asked for just this one: then it is
    /// tried again.
    async fn reopen(&self) -> Option<TcpListener> {
        match TcpListener::bind(self.address).await {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(%error, address = %self.address, "the emulator's port is taken; trying again");
                tokio::time::sleep(EMULATOR_PORT_PAUSE).await;
                None
            }
        }
    }

    fn take(&self, stream: TcpStream, outage: Outage, connections: &Arc<Semaphore>) {
        let cut = Arc::new(Cut::default());
        let wire = Wire {
            stream,
            cut: Arc::clone(&cut),
        };
        let permit = Arc::clone(connections).try_acquire_owned();
        let (Ok(permit), Outage::None) = (permit, outage) else {
            cut.set();
            return;
        };
        // small answers must not wait for the peer's acknowledgement
        let _ = wire.stream.set_nodelay(true);
        if self.port == Port::Service {
            self.shared.connection_accepted();
        }
        let connection = Connection {
            shared: Arc::clone(&self.shared),
            port: self.port,
            tls: self.tls.clone(),
            cut,
            outage: self.outage.clone(),
        };
        tokio::spawn(async move {
            connection.serve(wire).await;
            drop(permit);
        });
    }
}

/// Says that a connection is to be reset.
#[derive(Debug, Default)]
struct Cut {
    is_set: AtomicBool,
    changed: Notify,
}

impl Cut {
    fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

struct Connection {
    shared: Arc<Shared>,
    port: Port,
    tls: Option<TlsAcceptor>,
    cut: Arc<Cut>,
    outage: watch::Receiver<Outage>,
}

impl Connection {
    async fn serve(self, wire: Wire) {
        let mut outage = self.outage.clone();
        let cut = Arc::clone(&self.cut);
        let mut work = Box::pin(self.work(wire));
        let ended = async {
            tokio::select! {
                () = cut.changed.notified() => Outage::None,
                found = begins(&mut outage) => found,
            }
        };
        let found = tokio::select! {
            () = &mut work => return,
            found = ended => found,
        };
        cut.set();
        if found == Outage::Blackhole {
            // the work is kept and not polled: frozen until the outage is over
            let _ = outage.wait_for(|outage| *outage != Outage::Blackhole).await;
        }
        drop(work);
    }

    async fn work(self, wire: Wire) {
        let Some(acceptor) = self.tls.clone() else {
            return self.http1(TokioIo::new(wire)).await;
        };
        let handshake = tokio::time::timeout(EMULATOR_HANDSHAKE_TIME, acceptor.accept(wire));
        let stream = match handshake.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake with the emulator failed");
                return;
            }
            Err(_) => return,
        };
        if stream.get_ref().1.alpn_protocol() == Some(H2) {
            self.http2(TokioIo::new(stream)).await;
        } else {
            self.http1(TokioIo::new(stream)).await;
        }
    }

    async fn http1<S: AsyncRead + AsyncWrite + Unpin>(&self, io: TokioIo<S>) {
        let service = service_fn(|request| {
            respond(
                Arc::clone(&self.shared),
                self.port,
                Arc::clone(&self.cut),
                request,
            )
        });
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection to the emulator broke");
        }
    }

    async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, io: TokioIo<S>) {
        let service = service_fn(|request| {
            respond(
                Arc::clone(&self.shared),
                self.port,
                Arc::clone(&self.cut),
                request,
            )
        });
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            // a body of full size in one go, and several of them at once
            .initial_stream_window_size(MIB as u32)
            .initial_connection_window_size(8 * MIB as u32)
            .serve_connection(io, service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection to the emulator broke");
        }
    }
}

async fn respond(
    shared: Arc<Shared>,
    port: Port,
    cut: Arc<Cut>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    match answer(Arc::clone(&shared), port, request).await {
        Outcome::Reply(reply) => Ok(response(reply, &shared)),
        Outcome::Reset => {
            cut.set();
            // the connection's task drops this and everything else of it
            pending().await
        }
    }
}

/// An answer as HTTP, with a `Date` that is so many seconds off.
fn response(reply: Reply, shared: &Shared) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = reply
        .content_type
        .map(|text| ("content-type", text.to_owned()));
    for (name, value) in content_type.into_iter().chain(reply.headers) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    let faults = shared.faults();
    if faults.clock_skew_seconds != 0.0 {
        let date = http_date(faults.wall(shared.now().wall).0);
        if let Ok(date) = date.parse() {
            response.headers_mut().insert(DATE, date);
        }
    }
    response
}

/// A socket that is closed by a reset if it has been cut.
struct Wire {
    stream: TcpStream,
    cut: Arc<Cut>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.cut.is_set.load(Ordering::Relaxed) {
            let _ =
                socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
