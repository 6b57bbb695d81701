//! What a token says of itself: whom it is for, until when, of which tenant. Decoded, never verified:
//! only the service can do that.

use super::{Finding, Whose};
use crate::clock::Wall;
use serde::Deserialize;

const NS: i64 = 1_000_000_000;
/// A token that ends sooner than this is no use: renewal is begun then.
const LEFT_MIN_S: i64 = 60;

/// The claims that matter here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// Audience.
    pub aud: String,
    /// End, in seconds since 1970.
    #[serde(default)]
    pub exp: i64,
    /// Tenant.
    #[serde(default)]
    pub tid: String,
}

/// Reads the claims of a token; nothing if it has none that can be read. Microsoft does not promise
/// that a client can.
#[must_use]
pub fn read(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, body, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&base64url(body)?).ok()
}

/// RFC 4648 section 5, with or without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let mut bits = 0_u32;
    let mut bits_count = 0;
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 & 0xffff | u32::from(six);
        bits_count += 6;
        if bits_count >= 8 {
            bits_count -= 8;
            out.push((bits >> bits_count & 0xff) as u8);
        }
    }
    Some(out)
}

/// What a token should say.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// Audience of the cloud that the endpoint is in.
    pub audience: &'a str,
    /// The tenant of the configuration: a GUID or a domain name; nothing for identities without.
    pub tenant: Option<&'a str>,
}

/// Whether the token is good for what it is wanted for.
#[must_use]
pub fn judge(claims: Option<&Claims>, expected: &Expected<'_>, now: Wall) -> Finding {
    const NAME: &str = "claims";
    let Some(claims) = claims else {
        let why = "the token cannot be read, as Microsoft reserves to itself; the probe tells";
        return Finding::skipped(NAME, "", why);
    };
    let is_url = claims.aud.contains("://");
    let same = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
    // an audience may also be the resource's GUID
    if is_url && same(&claims.aud) != same(expected.audience) {
        return Finding::failed(
            NAME,
            "",
            Whose::Configuration,
            format!(
                "the token is for {}, but this endpoint wants one for {}",
                claims.aud, expected.audience
            ),
            format!(
                "remove sentinel.identity.scope, or set it to \"{}/.default\"",
                expected.audience
            ),
        );
    }
    if let Some(tenant) = expected.tenant
        && !tenant.contains('.')
        && !claims.tid.is_empty()
        && !claims.tid.eq_ignore_ascii_case(tenant)
    {
        return Finding::failed(
            NAME,
            "",
            Whose::Configuration,
            format!("the token is of tenant {}, not {tenant}", claims.tid),
            "set sentinel.identity.tenant_id to the tenant of the workspace's subscription, and use \
             an application of that tenant",
        );
    }
    let left_s = claims.exp.saturating_sub(now.0.div_euclid(NS));
    if left_s < LEFT_MIN_S {
        return Finding::failed(
            NAME,
            "",
            Whose::Machine,
            match left_s {
                0.. => format!("by this machine's clock the token ends in {left_s} s"),
                _ => format!(
                    "by this machine's clock the token has ended {} s ago",
                    -left_s
                ),
            },
            "a fresh token lives for an hour at least, so this clock is ahead: synchronise it",
        );
    }
    Finding::ok(
        NAME,
        "",
        format!(
            "for {}, tenant {}, {} min left",
            claims.aud,
            claims.tid,
            left_s / 60
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const PUBLIC: &str = "https://monitor.azure.com";
    const TENANT: &str = "11111111-1111-1111-1111-11111111111a";

    fn found(aud: &str, tid: &str, exp: i64, tenant: Option<&str>) -> Finding {
        let claims = Claims {
            aud: aud.into(),
            exp,
            tid: tid.into(),
        };
        let expected = Expected {
            audience: PUBLIC,
            tenant,
        };
        judge(Some(&claims), &expected, Wall(1000 * NS))
    }

    #[test]
    fn a_token_is_read_without_padding_and_odd_ones_are_left() {
        // {"aud":"https://a?","exp":7,"tid":"t"}
        let body = "eyJhdWQiOiJodHRwczovL2E_IiwiZXhwIjo3LCJ0aWQiOiJ0In0";
        let claims = read(&format!("head.{body}.signature")).unwrap();
        assert_eq!(
            (&*claims.aud, claims.exp, &*claims.tid),
            ("https://a?", 7, "t")
        );
        assert_eq!(read(&format!("h.{body}=.s")), Some(claims));
        for odd in ["", "opaque", "a.b", "a.b.c", "a.!!.c", "a..c", "a.W10.c"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn audience_tenant_and_end_are_compared() {
        let good = found(PUBLIC, TENANT, 4600, Some(TENANT));
        assert_eq!(good.verdict, Verdict::Ok);
        assert!(good.what.contains("60 min left"), "{good}");
        for (aud, tid, tenant) in [
            ("https://monitor.azure.com/", TENANT, Some(TENANT)),
            (PUBLIC, "11111111-1111-1111-1111-11111111111A", Some(TENANT)),
            (PUBLIC, TENANT, Some("example.onmicrosoft.com")),
            (PUBLIC, TENANT, None),
            (TENANT, TENANT, None),
        ] {
            assert_eq!(found(aud, tid, 4600, tenant).verdict, Verdict::Ok);
        }
        for (finding, what, remedy) in [
            (
                found("https://monitor.azure.us", TENANT, 4600, None),
                "for https://monitor.azure.us, but",
                "https://monitor.azure.com/.default",
            ),
            (
                found(
                    PUBLIC,
                    "22222222-1111-1111-1111-111111111111",
                    4600,
                    Some(TENANT),
                ),
                "of tenant 22222222",
                "tenant_id",
            ),
            (found(PUBLIC, TENANT, 1059, None), "ends in 59 s", "ahead"),
            (found(PUBLIC, TENANT, 400, None), "ended 600 s ago", "ahead"),
        ] {
            assert_eq!(finding.verdict, Verdict::Failed);
            assert!(finding.what.contains(what), "{finding}");
            assert!(finding.remedy.contains(remedy), "{finding}");
        }
        let expected = Expected {
            audience: PUBLIC,
            tenant: None,
        };
        assert_eq!(judge(None, &expected, Wall(0)).verdict, Verdict::Skipped);
    }
}
