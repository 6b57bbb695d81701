//! Tokens in the form of real ones: three parts in base64url (RFC 7519), the middle one the claims.
//!
//! The signature is random: what a token is good for is kept by [`super::token`], not read from it.
//! A forwarder must not look inside; `cefline check --live` does, to say whom a token is for.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::clock::Wall;

/// Length of a token; real ones have 1,200 to 2,000.
const TOKEN_BYTES: usize = 1400;

/// What a token says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Claims<'a> {
    /// The directory.
    pub tenant_id: &'a str,
    /// The application.
    pub client_id: &'a str,
    /// Not before.
    pub from: Wall,
    /// Not after.
    pub until: Wall,
}

impl<'a> Claims<'a> {
    /// Those of a token that tenant and application get now, for such a time.
    #[must_use]
    pub fn of((tenant_id, client_id): (&'a str, &'a str), now: Wall, life: Duration) -> Self {
        let life = i64::try_from(life.as_nanos()).unwrap_or(i64::MAX);
        Claims {
            tenant_id,
            client_id,
            from: now,
            until: Wall(now.0.saturating_add(life)),
        }
    }
}

/// A token for `audience`, unlike every other.
#[must_use]
pub fn token(claims: &Claims<'_>, audience: &str, random: &mut fastrand::Rng) -> String {
    let seconds = |wall: Wall| wall.0.div_euclid(super::stamp::SECOND_NS);
    let head = json!({"typ": "JWT", "alg": "RS256", "kid": "emulator"});
    let body = json!({
        "aud": audience,
        "iss": format!("https://sts.windows.net/{}/", claims.tenant_id),
        "iat": seconds(claims.from),
        "nbf": seconds(claims.from),
        "exp": seconds(claims.until),
        "appid": claims.client_id,
        "tid": claims.tenant_id,
        "ver": "1.0",
    });
    let mut token = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(head.to_string()),
        URL_SAFE_NO_PAD.encode(body.to_string())
    );
    while token.len() < TOKEN_BYTES {
        token.push(random.alphanumeric());
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_are_never_alike() {
        let claims = Claims {
            tenant_id: "t",
            client_id: "c",
            from: Wall(0),
            until: Wall(60_000_000_000),
        };
        let mut random = fastrand::Rng::with_seed(1);
        let one = token(&claims, "a", &mut random);
        assert_eq!(one.len(), TOKEN_BYTES);
        assert_ne!(one, token(&claims, "a", &mut random));
    }
}
