//! The way to a host, step by step, each for a bounded time.

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

/// The handshake as uploads and logins do it, and the names in the certificate that was shown.
pub async fn shake(
    host: &Host,
    address: SocketAddr,
    config: &ClientConfig,
    time: Duration,
) -> (Shaken, Option<Names>) {
    let (shaken, names) = handshake(host, address, config.clone(), time).await;
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
    let _ = handshake(host, address, looking, time).await;
    let seen = witness.seen.lock().unwrap_or_else(PoisonError::into_inner);
    (shaken, seen.clone())
}

async fn handshake(
    host: &Host,
    address: SocketAddr,
    config: ClientConfig,
    time: Duration,
) -> (Shaken, Option<Names>) {
    let Ok(name) = ServerName::try_from(host.name().to_owned()) else {
        return (Shaken::Other("not a name for TLS".into()), None);
    };
    let connector = TlsConnector::from(Arc::new(config));
    let shake = async {
        let stream = TcpStream::connect(address).await?;
        connector.connect(name, stream).await
    };
    match timeout(time, shake).await {
        Err(_) => (Shaken::Silence, None),
        Ok(Err(error)) => (why(&error), None),
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            let version = match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "TLS",
            };
            let names = session.peer_certificates().and_then(names_in);
            (Shaken::Yes(version.into()), names)
        }
    }
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
