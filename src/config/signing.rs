//! A certificate and its private key, as far as they are needed to sign who we are.

use std::fmt;

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
    /// The first certificate and the first private key of these PEM texts.
    ///
    /// # Errors
    /// What is wrong with them, without any part of the key.
    pub(super) fn of(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, String> {
        let certificate = certificate_in(certificate_pem)?;
        let key = key_in(key_pem)?;
        // DER has one form only: a certificate of this key holds exactly these bytes
        let public = key.public_key().as_ref();
        if memchr::memmem::find(&certificate, public).is_none() {
            return Err("the certificate is not of this private key".into());
        }
        Ok(SigningKey {
            key,
            thumbprint: digest(&SHA256, &certificate).as_ref().to_vec(),
        })
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

/// The first certificate of a PEM text.
pub(super) fn certificate_in(pem: &[u8]) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => "no certificate in it".to_owned(),
        error => format!("the certificate in it is broken ({error})"),
    })
}

/// The first private key of a PEM text.
pub(super) fn key_in(pem: &[u8]) -> Result<RsaKeyPair, String> {
    let broken = |why: ring::error::KeyRejected| {
        format!("the private key in it is not an RSA key of 2048 bits or more ({why})")
    };
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(PrivateKeyDer::Pkcs8(der)) => {
            RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(broken)
        }
        Ok(PrivateKeyDer::Pkcs1(der)) => {
            RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(broken)
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
