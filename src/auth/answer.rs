//! What a token endpoint's answer means.
//!
//! Pure. Only `error` and the AADSTS number decide, never the prose, which changes and may repeat
//! what was sent.

use crate::client::Answer;
use crate::clock::Wall;
use crate::limits::{
    METADATA_GONE_PAUSES, METADATA_PAUSE_MOST, METADATA_PAUSES, NO_IDENTITY_PAUSE, SKEW_NAMED,
    TOKEN_LIFE_MOST,
};
use crate::log::safe_text;
use crate::retry;
use reqwest::header::{DATE, HeaderMap, HeaderValue};
use serde::Deserialize;
use std::fmt;
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// A token as it was granted.
pub(super) struct Grant {
    /// `Bearer` and the token, marked as sensitive.
    pub(super) header: HeaderValue,
    /// How long it lives from now.
    pub(super) life: Duration,
    /// When the endpoint advises to renew it.
    pub(super) renew_in: Option<Duration>,
    /// How many seconds the endpoint's clock is ahead of ours, if that is too much.
    pub(super) skew: Option<i64>,
}

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The login host of Microsoft Entra.
    Login,
    /// The instance metadata service of Azure's virtual machines.
    Metadata,
    /// The agent of Azure Arc on this machine.
    Arc,
}

impl Party {
    fn name(self) -> &'static str {
        match self {
            Party::Login => "the login endpoint",
            Party::Metadata => "the metadata service",
            Party::Arc => "the Azure Arc agent",
        }
    }

    /// The key that says where it is.
    fn key(self) -> &'static str {
        match self {
            Party::Login => "sentinel.identity.authority",
            Party::Metadata => "sentinel.identity.metadata_endpoint",
            Party::Arc => "sentinel.identity.arc_endpoint",
        }
    }
}

/// Why there is no token. Holds no secret and no prose of the endpoint.
#[derive(Debug)]
pub enum Refusal {
    /// What we prove ourselves by cannot be used; trying again helps once it can.
    Secret(String),
    /// The Azure Arc agent's challenge cannot be met; trying again helps once it can.
    Challenge(String),
    /// The endpoint was not reached, or did not answer; trying again helps.
    Unreachable(Party, String),
    /// The endpoint refused. Trying again helps only once somebody has acted, or for its own
    /// troubles (429, 5xx; of the metadata service also 404 and 410).
    Refused {
        /// Who.
        from: Party,
        /// HTTP status.
        status: u16,
        /// `error` of the answer, made fit for a log line.
        error: Option<String>,
        /// The AADSTS number.
        number: Option<u64>,
        /// What it asks to wait.
        retry_after: Option<Duration>,
        /// How many seconds its clock is ahead of ours, if that is too much.
        skew: Option<i64>,
    },
    /// The endpoint answered 200 with something that is no token; it may not be a token endpoint.
    Unusable(Party, &'static str),
}

impl Refusal {
    /// What the endpoint asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// How far the login endpoint's clock is ahead, if it has told; nothing inside if not too much.
    pub(super) fn skew(&self) -> Option<Option<i64>> {
        match self {
            Refusal::Refused {
                from: Party::Login,
                skew,
                ..
            } => Some(*skew),
            _ => None,
        }
    }

    /// True for the troubles that the metadata service is known to get over by itself.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Refusal::Unreachable(Party::Metadata, _) => true,
            Refusal::Refused {
                from: Party::Metadata,
                status,
                ..
            } => matches!(status, 404 | 410 | 429 | 500..=599),
            _ => false,
        }
    }

    /// The pause after so many failures in a row. `chance` is in `0..1`.
    pub(super) fn pause(&self, failures: u32, chance: f64) -> Duration {
        let nth = |pauses: &[u64]| {
            let at = (failures.saturating_sub(1) as usize).min(pauses.len() - 1);
            let seconds = pauses.get(at).copied().unwrap_or(METADATA_PAUSE_MOST);
            retry::spread(Duration::from_secs(seconds), chance)
        };
        match self {
            Refusal::Refused {
                from: Party::Metadata,
                status: 410,
                ..
            } => nth(METADATA_GONE_PAUSES),
            Refusal::Refused {
                from: Party::Metadata,
                status: 400,
                ..
            } => retry::spread(NO_IDENTITY_PAUSE, chance),
            passing if passing.is_passing() => nth(METADATA_PAUSES),
            _ => retry::backoff(failures, chance),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Secret(what) => write!(f, "sentinel.identity: {what}"),
            Refusal::Challenge(what) => {
                let name = Party::Arc.name();
                write!(f, "{name} asked for a proof that cannot be given: {what}")
            }
            Refusal::Unreachable(from, cause) => {
                write!(f, "{} cannot be reached: {cause}", from.name())?;
                match from {
                    Party::Login => Ok(()),
                    _ => write!(f, "; is this such a machine? check sentinel.identity.kind"),
                }
            }
            Refusal::Unusable(from, what) => {
                let (name, key) = (from.name(), from.key());
                write!(f, "{name}'s answer is no token: {what}; check {key}")
            }
            Refusal::Refused {
                from,
                status,
                error,
                number,
                skew,
                ..
            } => {
                write!(f, "{} answered {status}", from.name())?;
                if let Some(error) = error {
                    write!(f, " {error}")?;
                }
                if let Some(number) = number {
                    write!(f, " (AADSTS{number})")?;
                }
                f.write_str(": ")?;
                let advice = match from {
                    Party::Login => advice(error.as_deref(), *number),
                    Party::Metadata | Party::Arc => machine_advice(*from, *status),
                };
                match (advice, number) {
                    (Some(advice), _) => f.write_str(advice),
                    (None, Some(number)) => write!(
                        f,
                        "look up the number at https://login.microsoftonline.com/error?code={number}"
                    ),
                    (None, None) => {
                        f.write_str("its own trouble if 429 or 5xx, else check sentinel.identity")
                    }
                }?;
                match skew {
                    None => Ok(()),
                    Some(skew) => {
                        let (seconds, way) = (
                            skew.unsigned_abs(),
                            if *skew > 0 { "behind" } else { "ahead of" },
                        );
                        write!(
                            f,
                            "; this machine's clock is {seconds} s {way} its clock: set it (NTP)"
                        )
                    }
                }
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// What to do about a refusal of a service that knows the machine.
fn machine_advice(from: Party, status: u16) -> Option<&'static str> {
    Some(match (from, status) {
        (Party::Metadata, 400) => {
            "this machine has no such identity; assign one in Azure, or check client_id, object_id or \
             resource_id in sentinel.identity"
        }
        (Party::Metadata, 410) => "it is being updated, which takes up to 70 s; it is asked again",
        (Party::Metadata, 404 | 429 | 500..=599) => "its own trouble; it is asked again",
        (Party::Arc, 400) => "this machine has no such identity; check that the agent is connected",
        (Party::Arc, 401 | 403) => "it did not take the proof; it is asked again with a new one",
        _ => return None,
    })
}

/// What to do about a refusal, in one sentence. Numbers by Microsoft's list of AADSTS errors.
fn advice(error: Option<&str>, number: Option<u64>) -> Option<&'static str> {
    Some(match (number, error) {
        (Some(7_000_215), _) => {
            "the client secret is wrong; put the secret's value (not its id) into the place named in \
             sentinel.identity"
        }
        (Some(7_000_222), _) => {
            "the client secret has expired; make a new one for the application in Entra and put its \
             value into the place named in sentinel.identity"
        }
        (Some(700_027), _) => {
            "the certificate is not registered for this application, or the key is not its own; \
             upload the certificate in Entra, or check sentinel.identity.certificate_file"
        }
        (Some(700_024), _) => {
            "the assertion is not valid at this time; check this machine's clock, and that the \
             token_file of a workload is renewed"
        }
        (Some(700_023), _) => {
            "the assertion is for another login host; check sentinel.identity.authority and tenant_id"
        }
        (Some(70_021 | 700_211..=700_213), _) => {
            "no federated credential of the application fits the token; compare its issuer, subject \
             and audience in Entra"
        }
        (Some(700_016), _) => {
            "the tenant knows no such application; check sentinel.identity.client_id and tenant_id"
        }
        (Some(90_002 | 900_023), _) => {
            "there is no such tenant; check sentinel.identity.tenant_id and, for a national cloud, \
             authority"
        }
        (Some(7_000_112), _) => "the application is disabled in Entra; enable it",
        (Some(500_011 | 70_011), _) | (_, Some("invalid_scope")) => {
            "the scope does not exist in this cloud; check sentinel.identity.scope and authority"
        }
        (_, Some("invalid_client")) => {
            "the application was not recognised; check sentinel.identity.client_id and its secret, \
             certificate or token"
        }
        (_, Some("unauthorized_client")) => {
            "the application may not ask for tokens in this way; check its registration in Entra"
        }
        _ => return None,
    })
}

/// Keys of both outcomes. Numbers may come as strings (managed identities do so).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields {
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    refresh_in: Option<serde_json::Value>,
    error: Option<String>,
    error_codes: Option<serde_json::Value>,
    error_description: Option<String>,
}

/// Reads an answer and wipes it.
pub(super) fn read(mut answer: Answer, from: Party, now: Wall) -> Result<Grant, Refusal> {
    let fields: Option<Fields> = serde_json::from_slice(&answer.body).ok();
    answer.body.zeroize();
    if answer.status.is_success() {
        let skew = skew(&answer.headers, now);
        return fields
            .ok_or("not JSON")
            .and_then(granted)
            .map(|grant| Grant { skew, ..grant })
            .map_err(|what| Refusal::Unusable(from, what));
    }
    let fields = fields.unwrap_or_default();
    Err(Refusal::Refused {
        from,
        status: answer.status.as_u16(),
        number: number(&fields),
        error: fields.error.map(|error| safe_text(&error)),
        retry_after: retry::retry_after(&answer.headers, now),
        skew: skew(&answer.headers, now),
    })
}

/// How many seconds the endpoint's clock is ahead of ours, if that is too much.
fn skew(headers: &HeaderMap, now: Wall) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = retry::http_date(date)?;
    let seconds = (theirs - i128::from(now.0)) / 1_000_000_000;
    let seconds = i64::try_from(seconds).ok()?;
    (seconds.unsigned_abs() > SKEW_NAMED.as_secs()).then_some(seconds)
}

fn granted(fields: Fields) -> Result<Grant, &'static str> {
    let token = fields.access_token.map(Zeroizing::new);
    let token = token.ok_or("no access_token")?;
    if token.is_empty() {
        return Err("an empty access_token");
    }
    let life = fields.expires_in.as_ref().and_then(seconds);
    let life = life.ok_or("no expires_in")?.min(TOKEN_LIFE_MOST);
    if life.is_zero() {
        return Err("expires_in is zero");
    }
    let text = Zeroizing::new(format!("Bearer {}", token.as_str()));
    let mut header = HeaderValue::from_str(&text)
        .map_err(|_| "an access_token that cannot stand in a header")?;
    header.set_sensitive(true);
    Ok(Grant {
        header,
        life,
        renew_in: fields.refresh_in.as_ref().and_then(seconds),
        skew: None,
    })
}

fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    Some(Duration::from_secs(number))
}

/// From `error_codes`, else from the start of the description, where it stands as `AADSTSn:`.
fn number(fields: &Fields) -> Option<u64> {
    let listed = fields
        .error_codes
        .as_ref()
        .and_then(|codes| codes.as_array()?.first()?.as_u64());
    listed.or_else(|| {
        let text = fields.error_description.as_ref()?.strip_prefix("AADSTS")?;
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        text.get(..end)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    fn answer(status: u16, body: &str) -> Result<Grant, Refusal> {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
        };
        read(answer, Party::Login, Wall(0))
    }

    #[test]
    fn a_token_is_read_with_numbers_of_both_kinds_and_its_value_is_not_shown() {
        for expires_in in ["3599", "\"3599\""] {
            let body = format!(
                r#"{{"token_type":"Bearer","expires_in":{expires_in},"refresh_in":100,"access_token":"abc"}}"#
            );
            let grant = answer(200, &body).ok().unwrap();
            assert_eq!(grant.life, Duration::from_secs(3599));
            assert_eq!(grant.renew_in, Some(Duration::from_secs(100)));
            assert_eq!(grant.header.as_bytes(), b"Bearer abc");
            assert_eq!(format!("{:?}", grant.header), "Sensitive");
        }
    }

    #[test]
    fn answers_that_are_no_token_are_named() {
        for (body, what) in [
            ("<html>", "not JSON"),
            ("{}", "no access_token"),
            (r#"{"access_token":"","expires_in":1}"#, "an empty"),
            (r#"{"access_token":"a"}"#, "no expires_in"),
            (r#"{"access_token":"a","expires_in":-5}"#, "no expires_in"),
            (r#"{"access_token":"a","expires_in":0}"#, "is zero"),
            (r#"{"access_token":"a\nb","expires_in":9}"#, "cannot stand"),
        ] {
            let text = answer(200, body).err().unwrap().to_string();
            assert!(text.contains(what), "{text}");
        }
        let endless = answer(
            200,
            r#"{"access_token":"a","expires_in":18446744073709551615}"#,
        );
        assert_eq!(endless.ok().unwrap().life, TOKEN_LIFE_MOST);
    }

    #[test]
    fn refusals_say_what_to_do_by_number_and_never_repeat_prose() {
        for (error, description, what) in [
            (
                "invalid_client",
                "AADSTS7000215: secret hunter2",
                "secret is wrong",
            ),
            (
                "invalid_client",
                "AADSTS7000222: secret hunter2",
                "has expired",
            ),
            (
                "unauthorized_client",
                "AADSTS700016: hunter2",
                "no such application",
            ),
            ("invalid_request", "AADSTS90002: hunter2", "no such tenant"),
            ("invalid_grant", "AADSTS12345: hunter2", "error?code=12345"),
            ("invalid_client", "hunter2", "not recognised"),
        ] {
            let body = format!(r#"{{"error":"{error}","error_description":"{description}"}}"#);
            let text = answer(401, &body).err().unwrap().to_string();
            assert!(text.contains(what) && text.contains(error), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        let listed = answer(
            400,
            r#"{"error":"x","error_codes":[90002],"error_description":"y"}"#,
        );
        assert!(listed.err().unwrap().to_string().contains("AADSTS90002"));
    }

    #[test]
    fn error_answers_need_not_be_json() {
        for body in ["", "<html>busy</html>", "[1]", "{\"error\":{\"code\":1}}"] {
            let text = answer(503, body).err().unwrap().to_string();
            assert!(
                text.starts_with("the login endpoint answered 503"),
                "{text}"
            );
        }
    }
}
