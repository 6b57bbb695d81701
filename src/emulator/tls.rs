//! Certificates that are good for one run: an authority of its own and one leaf signed by it. The
//! authority's key is forgotten at once, so nobody can sign a second leaf.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// HTTP/2, as ALPN names it.
pub(super) const H2: &[u8] = b"h2";

/// A server's side of TLS, and the authority that a client needs to know.
pub(super) struct Identity {
    /// For the acceptor.
    pub(super) server: Arc<ServerConfig>,
    /// PEM of the authority.
    pub(super) ca_pem: String,
}

/// Makes both, for these names and addresses.
///
/// # Errors
/// A name that cannot be in a certificate.
pub(super) fn generate(names: &[String]) -> Result<Identity, String> {
    let (leaf, leaf_key, ca_pem) = certificates(names).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .and_then(|builder| {
            let key = PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into());
            builder
                .with_no_client_auth()
                .with_single_cert(vec![leaf.der().clone()], key)
        })
        .map_err(|error| error.to_string())?;
    server.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(Identity {
        server: Arc::new(server),
        ca_pem,
    })
}

fn certificates(names: &[String]) -> Result<(rcgen::Certificate, KeyPair, String), rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name
        .push(DnType::CommonName, "cefline emulator, for rehearsals only");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();

    let leaf_key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name
        .push(DnType::CommonName, "cefline emulator");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?;
    Ok((certificate, leaf_key, ca_pem))
}
