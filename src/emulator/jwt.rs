//! Tokens in the form of real ones: three parts in base64url (RFC 7519), the middle one the claims.
//!
//! The signature is random: what a token is good for is kept by [`super::token`], not read from it.
//! A forwarder must not look inside; `cefline check --live` does, to say whom a token is for.

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
        base64url(head.to_string().as_bytes()),
        base64url(body.to_string().as_bytes())
    );
    while token.len() < TOKEN_BYTES {
        token.push(random.alphanumeric());
    }
    token
}

/// RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for digit in 0..=group.len() {
            let six = bits >> (18 - 6 * digit) & 63;
            out.push(char::from(DIGITS[six as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_that_of_the_standard() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("\u{3ff}\u{3ff}", "z7_Pvw"),
        ] {
            assert_eq!(base64url(plain.as_bytes()), coded);
        }
    }

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
