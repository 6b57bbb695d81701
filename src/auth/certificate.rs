//! An application with a certificate: it proves itself by an assertion that its private key signs
//! (RFC 7523; Microsoft's form of it is in "certificate credentials" of its identity platform).
//!
//! Certificate and key are read anew for each token, so that new ones need no restart; and an
//! assertion is made for the time that the login endpoint has told last.

use super::Asking;
use super::answer::{Grant, Refusal};
use super::login::{Claim, Proof};
use crate::clock::Wall;
use crate::config::{ClientCertificate, SigningKey, read_signing_key};
use crate::limits::{ASSERTION_BACKDATE, ASSERTION_LIFE};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use zeroize::Zeroizing;

/// One request for a token.
pub(super) async fn grant(
    identity: &ClientCertificate,
    asking: &Asking<'_>,
) -> Result<Grant, Refusal> {
    let application = &identity.application;
    let claim = Claim {
        tenant_id: &application.tenant_id,
        client_id: &application.client_id,
        login: &application.login,
    };
    let (identity_there, to) = (identity.clone(), claim.url());
    let now = asking.now_there();
    // the password of a PKCS#12 file takes a second at the worst, for which uploads must not wait
    let made = tokio::task::spawn_blocking(move || sign(&identity_there, &to, now)).await;
    let assertion =
        made.map_err(|_| Refusal::Secret("no thread to sign an assertion on".into()))??;
    claim
        .ask(Proof::Assertion(assertion.as_bytes()), asking)
        .await
}

fn sign(
    identity: &ClientCertificate,
    audience: &str,
    now: Wall,
) -> Result<Zeroizing<String>, Refusal> {
    let key = read_signing_key(identity)
        .map_err(|what| Refusal::Secret(format!("the certificate, {what}")))?;
    // unlike every other: a second one with the same is refused as a replay
    let mut number = [0; 16];
    SystemRandom::new()
        .fill(&mut number)
        .ok()
        .and_then(|()| {
            let number = URL_SAFE_NO_PAD.encode(number);
            let to = (audience, identity.application.client_id.as_str());
            assertion(&key, to, &number, now)
        })
        .ok_or_else(|| Refusal::Secret("no assertion: the system gives no random bytes".into()))
}

/// A JWT (RFC 7519) that says that `client_id` wants a token at `audience`.
fn assertion(
    key: &SigningKey,
    (audience, client_id): (&str, &str),
    number: &str,
    now: Wall,
) -> Option<Zeroizing<String>> {
    let seconds = |wall: i64| wall.div_euclid(1_000_000_000);
    let backdate = i64::try_from(ASSERTION_BACKDATE.as_nanos()).unwrap_or_default();
    let life = i64::try_from(ASSERTION_LIFE.as_nanos()).unwrap_or_default();
    let head = json!({
        "alg": "PS256",
        "typ": "JWT",
        "x5t#S256": URL_SAFE_NO_PAD.encode(key.thumbprint()),
    });
    let claims = json!({
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": number,
        "nbf": seconds(now.0 - backdate),
        "iat": seconds(now.0 - backdate),
        "exp": seconds(now.0.saturating_add(life)),
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&head), part(&claims));
    let signature = key.sign(signed.as_bytes())?;
    let signature = URL_SAFE_NO_PAD.encode(signature);
    Some(Zeroizing::new(format!("{signed}.{signature}")))
}
