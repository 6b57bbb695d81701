//! A certificate and its private key, as far as they are needed to sign who we are: out of PEM, or
//! of PKCS#12.

mod der;
mod pkcs12;

use std::fmt;

use pkcs12::Unreadable;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair, RSA_PSS_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A private key and the certificate that it belongs to. `Debug` does not show the key.
pub struct SigningKey {
    key: RsaKeyPair,
    /// SHA-256 of the certificate's DER.
    thumbprint: Vec<u8>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

impl SigningKey {
    /// What these files hold: PEM, whose key may be in a file of its own, or PKCS#12.
    ///
    /// # Errors
    /// What is wrong with them, without any part of the key.
    pub(super) fn of(
        certificate: &[u8],
        key_pem: Option<&[u8]>,
        password: &str,
    ) -> Result<Self, String> {
        match is_pem(certificate) || certificate.trim_ascii().is_empty() {
            true => SigningKey::of_pem(certificate, key_pem.unwrap_or(certificate)),
            false => SigningKey::of_pkcs12(certificate, password),
        }
    }

    fn of_pem(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, String> {
        if memchr::memmem::find(certificate_pem, b"-----BEGIN CERTIFICATE").is_none() {
            return Err("no certificate in it".into());
        }
        // the key first: a broken one would seem to break the certificates beside it
        SigningKey::matched(key_in(key_pem)?, &certificates_in(certificate_pem)?)
    }

    fn of_pkcs12(file: &[u8], password: &str) -> Result<Self, String> {
        let contents = pkcs12::read(file, password).map_err(|why| match why {
            Unreadable::Broken => "neither PEM nor PKCS#12, or broken".to_owned(),
            Unreadable::Indefinite => {
                "PKCS#12 in BER form: write it anew with `openssl pkcs12`".to_owned()
            }
            Unreadable::Password if password.is_empty() => {
                "PKCS#12 that needs a password, in password_file".to_owned()
            }
            Unreadable::Password => "the password in password_file does not open it".to_owned(),
            Unreadable::Scheme(what) => format!("PKCS#12 of a kind that is not known: {what}"),
        })?;
        let key = contents.keys.first().ok_or("no private key in it")?;
        let key = RsaKeyPair::from_pkcs8(key).map_err(unusable)?;
        SigningKey::matched(key, &contents.certificates)
    }

    /// The certificate of this key; others are those of authorities.
    fn matched(key: RsaKeyPair, certificates: &[impl AsRef<[u8]>]) -> Result<Self, String> {
        // DER has one form only: a certificate of this key holds exactly these bytes
        let public = key.public_key().as_ref();
        let is_of_key = |one: &&[u8]| memchr::memmem::find(one, public).is_some();
        let certificate = certificates.iter().map(AsRef::as_ref).find(is_of_key);
        let Some(certificate) = certificate else {
            return Err(match certificates.is_empty() {
                true => "no certificate in it".into(),
                false => "the certificate is not of this private key".into(),
            });
        };
        let thumbprint = digest(&SHA256, certificate).as_ref().to_vec();
        Ok(SigningKey { key, thumbprint })
    }

    /// SHA-256 of the certificate's DER, by which Entra finds it.
    #[must_use]
    pub fn thumbprint(&self) -> &[u8] {
        &self.thumbprint
    }

    /// Signs by PS256 (RFC 7518 section 3.5): RSA PSS, SHA-256, a salt of 32 bytes. Nothing if the
    /// system gives no random bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        let signed = self.key.sign(
            &RSA_PSS_SHA256,
            &SystemRandom::new(),
            message,
            &mut signature,
        );
        signed.ok().map(|()| signature)
    }
}

/// PEM may have text in front of it.
fn is_pem(file: &[u8]) -> bool {
    memchr::memmem::find(file, b"-----BEGIN ").is_some()
}

fn unusable(why: ring::error::KeyRejected) -> String {
    format!("the private key in it is not an RSA key of 2048 bits or more ({why})")
}

/// The certificates of a PEM text; at least one.
pub(super) fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("the certificate in it is broken ({error})")),
    }
}

/// The first private key of a PEM text.
pub(super) fn key_in(pem: &[u8]) -> Result<RsaKeyPair, String> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(PrivateKeyDer::Pkcs8(der)) => {
            RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(unusable)
        }
        Ok(PrivateKeyDer::Pkcs1(der)) => {
            RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(unusable)
        }
        Ok(_) => Err("the private key in it is not an RSA key".into()),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            let is_encrypted = memchr::memmem::find(pem, b"BEGIN ENCRYPTED PRIVATE KEY").is_some();
            Err(match is_encrypted {
                true => "the private key in it is encrypted".into(),
                false => "no private key in it".into(),
            })
        }
        // its text could hold a part of the key
        Err(_) => Err("the private key in it is broken".into()),
    }
}

#[cfg(test)]
mod tests;
