//! Files as OpenSSL and Java write them, and broken ones.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const PASSWORD: &str = "pass wörd";
/// By `openssl x509 -outform der | openssl dgst -sha256 -binary | basenc --base64url`.
const THUMBPRINT: &str = "uFj4HWMGrio-UjFts8L-1o8-8cahsN9521m9vz5gA1I";

fn file(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

fn thumbprint(key: &SigningKey) -> String {
    URL_SAFE_NO_PAD.encode(key.thumbprint())
}

#[test]
fn every_form_of_the_same_key_signs_for_its_certificate() {
    // that of an authority may stand in front
    let mut joined = file("other_certificate.pem");
    joined.extend(file("certificate.pem"));
    joined.extend(file("key.pem"));
    for (name, bytes, key, password) in [
        ("PKCS#8", file("certificate.pem"), Some("key.pem"), ""),
        ("PKCS#1", file("certificate.pem"), Some("key_pkcs1.pem"), ""),
        ("all in one file", joined, None, ""),
        ("OpenSSL 3", file("modern.p12"), None, PASSWORD),
        ("OpenSSL 1", file("legacy.p12"), None, PASSWORD),
        ("empty password", file("no_password.p12"), None, ""),
        ("no mac", file("plain_nomac.p12"), None, ""),
        ("AES-128", file("aes128_sha512.p12"), None, PASSWORD),
        ("triple DES", file("triple_des.p12"), None, PASSWORD),
        (
            "triple DES in PBES2",
            file("des3_pbes2.p12"),
            None,
            PASSWORD,
        ),
        ("Java", file("java.p12"), None, PASSWORD),
    ] {
        let key = key.map(file);
        let key = SigningKey::of(&bytes, key.as_deref(), password)
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(thumbprint(&key), THUMBPRINT, "{name}");
        let signature = key.sign(b"message").unwrap();
        let public = ring::signature::UnparsedPublicKey::new(
            &ring::signature::RSA_PSS_2048_8192_SHA256,
            key.key.public().as_ref(),
        );
        public.verify(b"message", &signature).unwrap();
        assert!(public.verify(b"messagf", &signature).is_err(), "{name}");
    }
}

#[test]
fn what_cannot_be_used_is_named_without_what_is_in_it() {
    let certificate = file("certificate.pem");
    for (bytes, key, password, says) in [
        (file("modern.p12"), None, "wrong", "does not open it"),
        (file("legacy.p12"), None, "wrong", "does not open it"),
        (file("modern.p12"), None, "", "needs a password"),
        (certificate.clone(), None, "", "no private key in it"),
        (
            certificate.clone(),
            Some("ec_key.pem"),
            "",
            "not an RSA key",
        ),
        (certificate, Some("encrypted_key.pem"), "", "is encrypted"),
        (
            file("ec_certificate.pem"),
            Some("key.pem"),
            "",
            "not of this private key",
        ),
        (file("key.pem"), None, "", "no certificate in it"),
        (b"nonsense".to_vec(), None, "", "neither PEM nor PKCS#12"),
        (vec![0x30, 0x80, 2, 1, 3, 0, 0], None, "", "BER form"),
    ] {
        let key = key.map(file);
        let refusal = SigningKey::of(&bytes, key.as_deref(), password).unwrap_err();
        assert!(refusal.contains(says), "{says}: {refusal}");
        assert!(
            !refusal.contains("BEGIN") && !refusal.contains("wrong"),
            "{refusal}"
        );
    }
}

#[test]
fn a_file_that_is_cut_or_changed_anywhere_is_refused_or_means_the_same() {
    let whole = file("modern.p12");
    for length in 0..whole.len() {
        let cut = SigningKey::of(&whole[..length], None, PASSWORD);
        assert!(cut.is_err(), "{length}");
    }
    let seed = 12;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..200 {
        let mut changed = whole.clone();
        let at = random.usize(..changed.len());
        changed[at] ^= 1 << random.u8(..8);
        if let Ok(key) = SigningKey::of(&changed, None, PASSWORD) {
            assert_eq!(thumbprint(&key), THUMBPRINT, "{at}");
        }
    }
    let plain = file("plain_nomac.p12");
    for _ in 0..2000 {
        let mut changed = plain.clone();
        let at = random.usize(..changed.len());
        changed[at] = random.u8(..);
        // no mac tells of the change: only that nothing breaks
        let _ = SigningKey::of(&changed, None, "");
    }
}
