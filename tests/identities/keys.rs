//! Certificates with RSA keys, made for the test.

use rcgen::{CertificateParams, KeyPair};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::rand_core::OsRng;

/// A certificate and its key.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) pkcs8: String,
    pub(crate) pkcs1: String,
}

/// One that nobody else has.
pub(crate) fn made() -> Made {
    let key = rsa::RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
    let pkcs8 = key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    let pkcs1 = key.to_pkcs1_pem(LineEnding::LF).unwrap().to_string();
    let pair = KeyPair::from_pkcs8_pem_and_sign_algo(&pkcs8, &rcgen::PKCS_RSA_SHA256).unwrap();
    let params = CertificateParams::new(vec!["cefline".to_owned()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap().pem();
    Made {
        certificate,
        pkcs8,
        pkcs1,
    }
}
