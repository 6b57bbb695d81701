//! What an application may prove itself by in place of a secret: an assertion (RFC 7523) that its
//! own key signed, or that an issuer signed whom it trusts.
//!
//! As strict as Microsoft's pages say, and stricter where they say nothing: no assertion is taken
//! twice, and none that is good for more than a day.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::token::Fault;
use crate::clock::Wall;
use crate::limits::EMULATOR_TOKENS_MAX;

/// The audience of tokens of outside issuers.
const EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";
/// The outside issuer that the emulator plays, and who it says we are.
const ISSUER: &str = "https://issuer.example";
const SUBJECT: &str = "system:serviceaccount:collectors:cefline";
/// How far the clocks of client and service may be apart, in seconds.
const CLOCK_SLACK: i64 = 300;
/// Longest life of an assertion, in seconds.
const LIFE_MOST: i64 = 86_400;

/// What is registered for the application.
pub struct Registered {
    certificates: Vec<CertificateDer<'static>>,
    issuer: Option<EcdsaKeyPair>,
}

/// The numbers of the assertions that were taken.
#[derive(Debug, Default)]
pub struct Taken(VecDeque<String>);

/// Whom an assertion must be from and for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// URL of the token endpoint, as the client calls it.
    pub audience: &'a str,
    /// The application.
    pub client_id: &'a str,
    /// Now by the service's clock.
    pub now: Wall,
}

impl Registered {
    /// The certificates of a PEM text, and an issuer with a key made for the run.
    ///
    /// # Errors
    /// The text is not PEM, or holds none.
    pub fn new(certificates_pem: Option<&str>) -> Result<Self, String> {
        let mut certificates = Vec::new();
        if let Some(pem) = certificates_pem {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                certificates.push(certificate.map_err(|error| error.to_string())?);
            }
            if certificates.is_empty() {
                return Err("no certificate in it".to_owned());
            }
        }
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let issuer = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .ok()
            .and_then(|key| EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).ok());
        Ok(Registered {
            certificates,
            issuer,
        })
    }

    /// A token of the outside issuer, good for so many seconds. Empty if the system gives no
    /// random bytes.
    #[must_use]
    pub fn federated_token(&self, now: Wall, life_seconds: i64) -> String {
        let now = seconds(now);
        self.issued(&json!({
            "iss": ISSUER,
            "sub": SUBJECT,
            "aud": EXCHANGE_AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + life_seconds,
        }))
    }

    fn issued(&self, claims: &Value) -> String {
        let head = json!({"alg": "ES256", "typ": "JWT", "kid": "emulator"});
        let signed = format!("{}.{}", coded(&head), coded(claims));
        let signature = self
            .issuer
            .as_ref()
            .and_then(|key| key.sign(&SystemRandom::new(), signed.as_bytes()).ok());
        signature.map_or_else(String::new, |signature| {
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        })
    }

    /// Checks an assertion.
    pub(super) fn check(
        &self,
        assertion: &str,
        expected: &Expected<'_>,
        taken: &mut Taken,
    ) -> Result<(), Fault> {
        let parts = Parts::of(assertion)
            .ok_or_else(|| refused(50_027, "The JWT token is invalid or malformed."))?;
        match parts.head["alg"].as_str() {
            Some("PS256") => self.check_own(&parts, expected, taken),
            Some("ES256") => self.check_federated(&parts, expected),
            _ => Err(refused(
                5_002_738,
                "The algorithm of the assertion's signature is not supported.",
            )),
        }
    }

    fn check_own(
        &self,
        parts: &Parts<'_>,
        expected: &Expected<'_>,
        taken: &mut Taken,
    ) -> Result<(), Fault> {
        let unknown = || {
            refused(
                700_027,
                "The certificate with the thumbprint is not registered.",
            )
        };
        let thumbprint = parts.head["x5t#S256"].as_str().ok_or_else(unknown)?;
        let of = |certificate: &&CertificateDer<'_>| {
            URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate)) == thumbprint
        };
        let certificate = self.certificates.iter().find(of).ok_or_else(unknown)?;
        let is_signed = webpki::EndEntityCert::try_from(certificate).is_ok_and(|certificate| {
            let algorithm = webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY;
            let signed = parts.signed.as_bytes();
            certificate
                .verify_signature(algorithm, signed, &parts.signature)
                .is_ok()
        });
        if !is_signed {
            return Err(refused(
                700_027,
                "The assertion's signature was not made by the key of the certificate.",
            ));
        }
        if parts.claims["aud"] != expected.audience {
            return Err(refused(
                700_023,
                "The assertion's audience does not match the token endpoint.",
            ));
        }
        if parts.claims["iss"] != expected.client_id || parts.claims["sub"] != expected.client_id {
            return Err(refused(
                700_021,
                "The assertion's issuer or subject is not the application.",
            ));
        }
        parts.check_time(expected.now)?;
        let number = parts.claims["jti"].as_str().unwrap_or_default();
        taken.take(number)
    }

    fn check_federated(&self, parts: &Parts<'_>, expected: &Expected<'_>) -> Result<(), Fault> {
        let is_signed = self.issuer.as_ref().is_some_and(|key| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())
                .verify(parts.signed.as_bytes(), &parts.signature)
                .is_ok()
        });
        for (claim, value, number) in [
            ("iss", ISSUER, 700_211),
            ("aud", EXCHANGE_AUDIENCE, 700_212),
            ("sub", SUBJECT, 700_213),
        ] {
            if parts.claims[claim] != value {
                return Err(refused(
                    number,
                    "No matching federated identity record was found for the assertion.",
                ));
            }
        }
        if !is_signed {
            return Err(refused(
                50_013,
                "The assertion's signature is not the issuer's.",
            ));
        }
        parts.check_time(expected.now)
    }
}

impl Taken {
    fn take(&mut self, number: &str) -> Result<(), Fault> {
        if number.is_empty() {
            return Err(refused(50_027, "The assertion has no jti."));
        }
        if self.0.iter().any(|old| old == number) {
            return Err(refused(50_027, "The assertion was used before."));
        }
        if self.0.len() >= EMULATOR_TOKENS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(number.to_owned());
        Ok(())
    }
}

/// An assertion taken apart.
struct Parts<'a> {
    signed: &'a str,
    head: Value,
    claims: Value,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn of(jwt: &'a str) -> Option<Self> {
        let (signed, signature) = jwt.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Parts {
            signed,
            head: json(head)?,
            claims: json(claims)?,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    fn check_time(&self, now: Wall) -> Result<(), Fault> {
        let now = seconds(now);
        let time = |claim: &str| self.claims[claim].as_i64();
        let is_good = match (time("nbf"), time("exp")) {
            (Some(nbf), Some(exp)) => {
                nbf <= now + CLOCK_SLACK && now < exp + CLOCK_SLACK && exp - nbf <= LIFE_MOST
            }
            _ => false,
        };
        if is_good {
            return Ok(());
        }
        Err(refused(
            700_024,
            "The client assertion is not within its valid time range.",
        ))
    }
}

fn refused(number: u32, message: &str) -> Fault {
    Fault::new(401, "invalid_client", number, message)
}

fn seconds(wall: Wall) -> i64 {
    wall.0.div_euclid(super::stamp::SECOND_NS)
}

fn coded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rsa::KeyPair as RsaKeyPair;
    use ring::signature::RSA_PSS_SHA256;
    use rustls::pki_types::PrivatePkcs8KeyDer;

    const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/");
    const AUDIENCE: &str = "https://login.example/t/oauth2/v2.0/token";
    const NOW: i64 = 1_800_000_000;

    fn pem(name: &str) -> String {
        std::fs::read_to_string(format!("{KEYS}{name}")).unwrap()
    }

    /// An application with the certificate that is registered, and its key.
    struct Signer {
        registered: Registered,
        key: RsaKeyPair,
        head: Value,
        claims: Value,
    }

    impl Signer {
        fn new() -> Self {
            let registered = Registered::new(Some(&pem("certificate.pem"))).unwrap();
            let key = PrivatePkcs8KeyDer::from_pem_slice(pem("key.pem").as_bytes()).unwrap();
            let thumbprint = digest(&SHA256, &registered.certificates[0]);
            Signer {
                key: RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap(),
                head: json!({"alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint)}),
                claims: json!({"aud": AUDIENCE, "iss": "c", "sub": "c", "jti": "1",
                               "nbf": NOW - 60, "iat": NOW - 60, "exp": NOW + 540}),
                registered,
            }
        }

        fn signed(&self) -> String {
            let signed = format!("{}.{}", coded(&self.head), coded(&self.claims));
            let mut signature = vec![0; self.key.public().modulus_len()];
            let random = SystemRandom::new();
            self.key
                .sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature)
                .unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }

    fn check(registered: &Registered, assertion: &str, taken: &mut Taken) -> Result<(), Fault> {
        let expected = Expected {
            audience: AUDIENCE,
            client_id: "c",
            now: Wall(NOW * 1_000_000_000),
        };
        registered.check(assertion, &expected, taken)
    }

    fn number(result: Result<(), Fault>) -> u32 {
        result.unwrap_err().number()
    }

    #[test]
    fn an_assertion_of_the_application_is_taken_once() {
        let mut signer = Signer::new();
        let mut taken = Taken::default();
        let assertion = signer.signed();
        assert_eq!(check(&signer.registered, &assertion, &mut taken), Ok(()));
        assert_eq!(
            number(check(&signer.registered, &assertion, &mut taken)),
            50_027
        );
        signer.claims["jti"] = json!("2");
        let assertion = signer.signed();
        assert_eq!(check(&signer.registered, &assertion, &mut taken), Ok(()));
    }

    #[test]
    fn each_fault_of_an_own_assertion_is_refused() {
        for (part, claim, value, refused) in [
            ("head", "alg", json!("RS256"), 5_002_738),
            ("head", "alg", json!("none"), 5_002_738),
            ("head", "x5t#S256", json!("AAAA"), 700_027),
            ("head", "x5t#S256", Value::Null, 700_027),
            (
                "claims",
                "aud",
                json!("https://login.example/other/oauth2/v2.0/token"),
                700_023,
            ),
            ("claims", "aud", Value::Null, 700_023),
            ("claims", "iss", json!("d"), 700_021),
            ("claims", "sub", json!("d"), 700_021),
            ("claims", "jti", Value::Null, 50_027),
            ("claims", "jti", json!(""), 50_027),
            ("claims", "exp", json!(NOW - CLOCK_SLACK), 700_024),
            ("claims", "exp", Value::Null, 700_024),
            ("claims", "exp", json!(NOW - 60 + LIFE_MOST + 1), 700_024),
            ("claims", "nbf", json!(NOW + CLOCK_SLACK + 1), 700_024),
            ("claims", "nbf", Value::Null, 700_024),
        ] {
            let mut signer = Signer::new();
            match part {
                "head" => signer.head[claim] = value.clone(),
                _ => signer.claims[claim] = value.clone(),
            }
            let result = check(&signer.registered, &signer.signed(), &mut Taken::default());
            assert_eq!(number(result), refused, "{claim}: {value}");
        }
    }

    #[test]
    fn the_bounds_of_an_assertions_time_are_taken() {
        for (nbf, exp) in [
            (NOW - 60, NOW - CLOCK_SLACK + 1),
            (NOW + CLOCK_SLACK, NOW + 900),
            (NOW - 60, NOW - 60 + LIFE_MOST),
        ] {
            let mut signer = Signer::new();
            signer.claims["nbf"] = json!(nbf);
            signer.claims["exp"] = json!(exp);
            let result = check(&signer.registered, &signer.signed(), &mut Taken::default());
            assert_eq!(result, Ok(()), "{nbf}, {exp}");
        }
    }

    #[test]
    fn a_signature_must_be_that_of_the_certificates_key_over_these_bytes() {
        let signer = Signer::new();
        let good = signer.signed();
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let mut other = Signer::new();
        other.claims["jti"] = json!("other");
        let other = other.signed();
        let (other_signed, _) = other.rsplit_once('.').unwrap();
        for (assertion, refused) in [
            // of another text
            (format!("{other_signed}.{signature}"), 700_027),
            (format!("{signed}.AAAA"), 700_027),
            (format!("{signed}."), 700_027),
            (signed.to_owned(), 50_027),
            ("a.b".to_owned(), 50_027),
            (String::new(), 50_027),
        ] {
            let result = check(&signer.registered, &assertion, &mut Taken::default());
            assert_eq!(number(result), refused, "{assertion}");
        }
        // with the thumbprint of a certificate that is registered, and another's key
        let registered = Registered::new(Some(&pem("other_certificate.pem"))).unwrap();
        let mut signer = signer;
        let thumbprint = digest(&SHA256, &registered.certificates[0]);
        signer.head["x5t#S256"] = json!(URL_SAFE_NO_PAD.encode(thumbprint));
        let result = check(&registered, &signer.signed(), &mut Taken::default());
        assert_eq!(number(result), 700_027);
    }

    #[test]
    fn each_fault_of_an_issuers_token_is_refused() {
        let registered = Registered::new(None).unwrap();
        let good = json!({"iss": ISSUER, "sub": SUBJECT, "aud": EXCHANGE_AUDIENCE,
                          "iat": NOW, "nbf": NOW, "exp": NOW + 3600});
        let mut taken = Taken::default();
        for _ in 0..2 {
            // an issuer's token may come again
            let token = registered.issued(&good);
            assert_eq!(check(&registered, &token, &mut taken), Ok(()));
        }
        for (claim, value, refused) in [
            ("iss", json!("https://elsewhere.example"), 700_211),
            ("aud", json!(AUDIENCE), 700_212),
            (
                "sub",
                json!("system:serviceaccount:collectors:other"),
                700_213,
            ),
            ("exp", json!(NOW - CLOCK_SLACK), 700_024),
            ("nbf", json!(NOW + CLOCK_SLACK + 1), 700_024),
        ] {
            let mut claims = good.clone();
            claims[claim] = value;
            let token = registered.issued(&claims);
            assert_eq!(
                number(check(&registered, &token, &mut taken)),
                refused,
                "{claim}"
            );
        }
        let stranger = Registered::new(None).unwrap();
        let token = stranger.issued(&good);
        assert_eq!(number(check(&registered, &token, &mut taken)), 50_013);
    }

    #[test]
    fn certificates_that_are_none_are_refused() {
        assert!(Registered::new(Some("")).is_err());
        assert!(Registered::new(Some("no PEM")).is_err());
    }
}
