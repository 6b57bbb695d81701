//! Where all programs send to: an HTTPS endpoint that keeps every body with the moments at which its
//! bytes came, answers after a delay, and looks at nothing while it is measured. What came is held
//! against what was sent afterwards, in `check`.

use crate::Result;
use cefline::clock::{Clock, Mono};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A body of one request. Where it came in chunks, rows count from the chunk that completes them.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// How many of its bytes were there at which moment; ascending.
    pub(crate) marks: Vec<(usize, Mono)>,
}

#[derive(Default)]
struct Shared {
    bodies: Mutex<Vec<Body>>,
    answer_ms: AtomicU64,
    /// When the last bytes came, as a [`Mono`].
    last: AtomicU64,
    connections: AtomicUsize,
}

/// The endpoint; it runs to the end of the process.
pub(crate) struct Sink {
    pub(crate) port: u16,
    /// The authority of its certificate.
    pub(crate) ca: PathBuf,
    shared: Arc<Shared>,
}

impl Sink {
    pub(crate) fn start(folder: &Path, clock: Clock) -> Result<Sink> {
        let (server, ca_pem) = identity()?;
        let ca = folder.join("ca.pem");
        fs::write(&ca, ca_pem)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let taker = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, server) = (Arc::clone(&taker), Arc::clone(&server));
                thread::spawn(move || {
                    shared.connections.fetch_add(1, Ordering::AcqRel);
                    // that a program ends its connection is no fault
                    let _ = serve(stream, server, &shared, clock);
                    shared.connections.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Ok(Sink { port, ca, shared })
    }

    /// What it takes for an answer from now on.
    pub(crate) fn answer_after(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.answer_ms.store(delay, Ordering::Release);
    }

    /// When the last bytes came.
    pub(crate) fn last(&self) -> Mono {
        Mono(self.shared.last.load(Ordering::Acquire))
    }

    /// All that came since the last call. The program must have ended.
    pub(crate) fn take(&self) -> Vec<Body> {
        for _ in 0..500 {
            if self.shared.connections.load(Ordering::Acquire) == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        std::mem::take(&mut self.shared.bodies.lock().unwrap())
    }
}

fn identity() -> Result<(Arc<ServerConfig>, String)> {
    let ca_key = rcgen::KeyPair::generate()?;
    let mut ca = rcgen::CertificateParams::new(Vec::new())?;
    let name = rcgen::DnType::CommonName;
    ca.distinguished_name
        .push(name.clone(), "authority of a sink");
    ca.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let key = rcgen::KeyPair::generate()?;
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut leaf = rcgen::CertificateParams::new(names)?;
    leaf.distinguished_name.push(name, "sink");
    let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(ca, ca_key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )?;
    Ok((Arc::new(server), ca_pem))
}

type Connection = BufReader<StreamOwned<ServerConnection, TcpStream>>;

/// The head of a request, as far as it matters.
#[derive(Default)]
struct Head {
    path: String,
    length: usize,
    is_chunked: bool,
    is_awaited: bool,
}

fn serve(
    stream: TcpStream,
    server: Arc<ServerConfig>,
    shared: &Shared,
    clock: Clock,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let tls = StreamOwned::new(ServerConnection::new(server)?, stream);
    let mut connection = BufReader::with_capacity(256 * 1024, tls);
    while let Some(head) = head(&mut connection)? {
        if head.is_awaited {
            connection
                .get_mut()
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = Body {
            bytes: Vec::with_capacity(head.length),
            marks: Vec::new(),
        };
        let read = read_body(&head, &mut connection, &mut body, |bytes| {
            let now = clock.mono();
            shared.last.fetch_max(now.0, Ordering::AcqRel);
            (bytes, now)
        });
        let is_login = head.path.contains("/oauth2/");
        if !is_login && !body.bytes.is_empty() {
            shared.bodies.lock().unwrap().push(body);
        }
        read?;
        let (status, text) = if is_login {
            let token = "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"access_token\":\"t\"}";
            ("200 OK", token)
        } else if head.path.starts_with("/dataCollectionRules/") {
            ("204 No Content", "")
        } else {
            ("200 OK", "{\"took\":1,\"errors\":false,\"items\":[]}")
        };
        let delay = shared.answer_ms.load(Ordering::Acquire);
        if delay > 0 && !is_login {
            thread::sleep(Duration::from_millis(delay));
        }
        let length = match text {
            "" => String::new(),
            text => format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                text.len()
            ),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{length}\r\n{text}");
        connection.get_mut().write_all(answer.as_bytes())?;
        connection.get_mut().flush()?;
    }
    Ok(())
}

/// The next request's head; nothing at the end of the connection.
fn head(connection: &mut Connection) -> Result<Option<Head>> {
    let mut head = Head::default();
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    head.path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        if connection.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some(head));
        }
        let lower = line.to_ascii_lowercase();
        match lower
            .split_once(':')
            .map(|(name, value)| (name, value.trim()))
        {
            Some(("content-length", value)) => head.length = value.parse()?,
            Some(("transfer-encoding", "chunked")) => head.is_chunked = true,
            Some(("expect", "100-continue")) => head.is_awaited = true,
            _ => {}
        }
    }
}

fn read_body(
    head: &Head,
    connection: &mut Connection,
    body: &mut Body,
    mut mark: impl FnMut(usize) -> (usize, Mono),
) -> Result<()> {
    if !head.is_chunked {
        body.bytes.resize(head.length, 0);
        connection.read_exact(&mut body.bytes)?;
        body.marks.push(mark(head.length));
        return Ok(());
    }
    let mut line = String::new();
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16)?;
        let start = body.bytes.len();
        body.bytes.resize(start + size, 0);
        connection.read_exact(&mut body.bytes[start..])?;
        let mut end = [0; 2];
        connection.read_exact(&mut end)?;
        if size == 0 {
            return Ok(());
        }
        body.marks.push(mark(body.bytes.len()));
    }
}
