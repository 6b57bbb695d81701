//! Servers that are no good, each in its own way.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Takes connections for as long as the test runs, and does this with each.
fn serve(each: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(each));
    address
}

/// Reads something, answers these bytes, and closes.
pub(crate) fn answering(bytes: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| {
        let mut hello = [0; 4096];
        // whatever comes, and whether anybody still reads
        let _ = stream.read(&mut hello);
        let _ = stream.write_all(bytes);
    })
}

/// A certificate for these years and names, by an authority of its own: PEM of that, and the server.
pub(crate) fn with_certificate(years: (i32, i32), name: &str) -> (String, SocketAddr) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name
        .push(DnType::CommonName, "Corporate Inspection CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, name);
    leaf.not_before = date_time_ymd(years.0, 1, 1);
    leaf.not_after = date_time_ymd(years.1, 1, 1);
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let config = Arc::new(config);
    let address = serve(move |mut stream| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        // the peer ends the handshake when it does not like what it sees
        let _ = session.complete_io(&mut stream);
    });
    (ca_pem, address)
}

/// A port whose queue is full, so that the kernel throws further packets away; for as long as the
/// second part lives.
pub(crate) fn black_hole() -> (SocketAddr, (Socket, Vec<Socket>)) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let callers = (0..4)
        .map(|_| {
            let caller = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            caller.set_nonblocking(true).unwrap();
            // under way for ever, but the first
            let _ = caller.connect(&address.into());
            caller
        })
        .collect();
    (address, (socket, callers))
}

/// A proxy that knows CONNECT. `refuse` sees the head of each request and may answer in the proxy's
/// place; else the tunnel is opened.
pub(crate) fn proxy(
    refuse: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
) -> SocketAddr {
    let refuse = Arc::new(refuse);
    serve(move |mut client| {
        let refuse = Arc::clone(&refuse);
        thread::spawn(move || -> std::io::Result<()> {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            if let Some(answer) = refuse(&head) {
                return client.write_all(answer.as_bytes());
            }
            let target = head.split(' ').nth(1).unwrap_or_default();
            let mut server = TcpStream::connect(target)?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
            thread::spawn(move || {
                // either side may end it
                let _ = std::io::copy(&mut from, &mut to);
                to.shutdown(std::net::Shutdown::Write)
            });
            std::io::copy(&mut server, &mut client)?;
            client.shutdown(std::net::Shutdown::Write)
        });
    })
}
