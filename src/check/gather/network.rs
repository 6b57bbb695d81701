//! The way to a host, step by step, each for a bounded time.

use super::proxy;
use crate::check::certificate::{self, Names};
use crate::check::network::{Connected, Host, LookedUp, Shaken};
use crate::limits::CHECK_ADDRESSES_MAX;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Looks a host's name up.
pub async fn look_up(host: &Host, time: Duration) -> LookedUp {
    if let Ok(ip) = host.name().parse() {
        return Some(Ok(vec![ip]));
    }
    let found = timeout(time, tokio::net::lookup_host((host.name(), host.port()))).await;
    let found = found.ok()?;
    Some(match found {
        Ok(addresses) => {
            let mut ips: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            ips.dedup();
            Ok(ips)
        }
        Err(error) => Err(error.to_string()),
    })
}

/// Connects to one address after the other until one takes it.
pub async fn connect(
    ips: &[IpAddr],
    port: u16,
    time: Duration,
) -> (Vec<(IpAddr, Connected)>, Option<SocketAddr>) {
    let mut tried = Vec::new();
    for ip in ips.iter().take(CHECK_ADDRESSES_MAX) {
        let address = SocketAddr::new(*ip, port);
        let how = match timeout(time, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Connected::Yes,
            Err(_) => Connected::Silence,
            Ok(Err(error)) => match error.kind() {
                ErrorKind::ConnectionRefused => Connected::Refused,
                ErrorKind::TimedOut => Connected::Silence,
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                    Connected::Unreachable
                }
                _ => Connected::Other(error.to_string()),
            },
        };
        let is_open = how == Connected::Yes;
        tried.push((*ip, how));
        if is_open {
            return (tried, Some(address));
        }
    }
    (tried, None)
}

/// How a host is come to.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// By a connection to this address of its.
    Straight(SocketAddr),
    /// Through the proxy at this address, which may want to know who we are.
    Through(SocketAddr, Option<&'a proxy::Authorization>),
}

/// The handshake as uploads and logins do it, and the names in the certificate that was shown.
pub async fn shake(
    host: &Host,
    way: Way<'_>,
    config: &ClientConfig,
    time: Duration,
) -> (Shaken, Option<Names>) {
    let (shaken, names) = handshake(host, way, config.clone(), time).await;
    let is_certificate = |error: &TlsError| matches!(error, TlsError::InvalidCertificate(_));
    match &shaken {
        Shaken::Tls(error) if is_certificate(error) => {}
        _ => return (shaken, names),
    }
    // once more, to look at what was not trusted; nothing is said over that connection
    let witness = Arc::new(Witness {
        schemes: config
            .crypto_provider()
            .signature_verification_algorithms
            .supported_schemes(),
        seen: Mutex::default(),
    });
    let mut looking = config.clone();
    looking
        .dangerous()
        .set_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>);
    // it always ends in an error: the witness accepts nobody
    let _ = handshake(host, way, looking, time).await;
    let seen = witness.seen.lock().unwrap_or_else(PoisonError::into_inner);
    (shaken, seen.clone())
}

async fn handshake(
    host: &Host,
    way: Way<'_>,
    config: ClientConfig,
    time: Duration,
) -> (Shaken, Option<Names>) {
    let shake = async {
        match way {
            Way::Straight(address) => {
                let stream = TcpStream::connect(address).await;
                shake_over(stream.map_err(|error| why(&error))?, host, config).await
            }
            Way::Through(address, authorization) => {
                let stream = proxy::tunnel(host, address, authorization, time).await;
                // it was open a moment ago
                let stream = stream.map_err(|_| Shaken::Closed)?;
                shake_over(stream, host, config).await
            }
        }
    };
    match timeout(time, shake).await {
        Err(_) => (Shaken::Silence, None),
        Ok(Err(shaken)) => (shaken, None),
        Ok(Ok((version, names))) => (Shaken::Yes(version.into()), names),
    }
}

async fn shake_over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &Host,
    config: ClientConfig,
) -> Result<(&'static str, Option<Names>), Shaken> {
    let name = ServerName::try_from(host.name().to_owned())
        .map_err(|_| Shaken::Other("not a name for TLS".into()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| why(&error))?;
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    Ok((version, session.peer_certificates().and_then(names_in)))
}

fn why(error: &io::Error) -> Shaken {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsError>());
    match (inner, error.kind()) {
        (Some(error), _) => Shaken::Tls(Box::new(error.clone())),
        (None, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            Shaken::Closed
        }
        (None, _) => Shaken::Other(error.to_string()),
    }
}

/// For whom the first certificate is, and who stands above the last: whom one would have to trust.
fn names_in(chain: &[CertificateDer<'_>]) -> Option<Names> {
    let leaf = certificate::names(chain.first()?)?;
    let top = certificate::names(chain.last()?)?;
    Some(Names {
        subject: leaf.subject,
        issuer: top.issuer,
    })
}

/// Looks at the certificates and accepts none.
#[derive(Debug)]
struct Witness {
    schemes: Vec<SignatureScheme>,
    seen: Mutex<Option<Names>>,
}

/// Nothing is trusted here: the chain was seen, which is all.
fn refused() -> TlsError {
    CertificateError::ApplicationVerificationFailure.into()
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(others).cloned().collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = names_in(&chain);
        Err(refused())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(refused())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(refused())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
