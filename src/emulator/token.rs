//! The token endpoint: the client credentials grant with a secret or an assertion, as strict as
//! Microsoft Entra, and the tokens that it gave out.
//!
//! A token has the form of a real one, but what it is good for is kept here and not read from it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::json;

use super::assertion::{Expected, Registered, Taken};
use super::jwt::{self, Claims};
use super::reply::Reply;
use crate::clock::{Mono, Wall};
use crate::limits::EMULATOR_TOKENS_MAX;

/// What `expires_in` falls short of the life of a token: the endpoint counts from before the
/// answer is sent.
const EXPIRES_IN_LESS: u64 = 1;
/// How an assertion is called (RFC 7523 section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The audience of the query API, in its two spellings.
const QUERY_AUDIENCES: [&str; 2] = [
    "https://api.loganalytics.azure.com",
    "https://api.loganalytics.io",
];
/// The audiences of the ingestion API in the three clouds.
const INGESTION_AUDIENCES: [&str; 3] = [
    "https://monitor.azure.com",
    "https://monitor.azure.us",
    "https://monitor.azure.cn",
];

/// Who may have a token.
pub struct Application<'a> {
    /// The directory.
    pub tenant_id: &'a str,
    /// The application.
    pub client_id: &'a str,
    /// Its secret.
    pub client_secret: &'a str,
    /// What else it may prove itself by.
    pub registered: &'a Registered,
}

/// A request to the token endpoint.
#[derive(Debug)]
pub struct TokenRequest<'a> {
    /// First segment of the path.
    pub tenant_id: &'a str,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The form.
    pub body: &'a [u8],
    /// URL that was asked, which an assertion must be for.
    pub url: &'a str,
}

/// The tokens that were given out and have not expired.
#[derive(Debug, Default)]
pub struct Tokens {
    issued: HashMap<String, Issued>,
    order: VecDeque<String>,
    count: u64,
    taken: Taken,
}

#[derive(Debug)]
struct Issued {
    audience: &'static str,
    expires: Mono,
}

/// Why a token does not open the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No `Authorization` header.
    Missing,
    /// Not `Bearer` and a token.
    Malformed,
    /// Never given out here, or so long ago that it is forgotten.
    Unknown,
    /// Its time is up.
    Expired,
    /// Given out for something else.
    WrongAudience,
}

impl Refused {
    /// For the error's message.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Refused::Missing => "The request has no Authorization header.",
            Refused::Malformed => "The Authorization header is not a bearer token.",
            Refused::Unknown => "The access token signature is invalid.",
            Refused::Expired => "The access token has expired.",
            Refused::WrongAudience => "The access token has the wrong audience.",
        }
    }
}

impl Tokens {
    /// Gives out a token.
    fn issue(
        &mut self,
        audience: &'static str,
        expires: Mono,
        claims: &Claims<'_>,
        random: &mut fastrand::Rng,
    ) -> String {
        self.count += 1;
        let token = jwt::token(claims, audience, random);
        while self.order.len() >= EMULATOR_TOKENS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.issued.remove(&oldest);
            }
        }
        self.order.push_back(token.clone());
        self.issued
            .insert(token.clone(), Issued { audience, expires });
        token
    }

    /// Gives out a token for a resource; nothing if there is no such one.
    pub(super) fn give(
        &mut self,
        resource: &str,
        expires: Mono,
        claims: &Claims<'_>,
        random: &mut fastrand::Rng,
    ) -> Option<String> {
        let audience = audience(resource)?;
        Some(self.issue(audience, expires, claims, random))
    }

    /// How many were given out.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Checks a token for the ingestion API of one cloud.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_ingestion(
        &self,
        authorization: Option<&str>,
        audience: &str,
        now: Mono,
    ) -> Result<(), Refused> {
        let issued = self.find(authorization, now)?;
        if issued.audience == audience.trim_end_matches('/') {
            Ok(())
        } else {
            Err(Refused::WrongAudience)
        }
    }

    /// Checks a token for the query API.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_query(&self, authorization: Option<&str>, now: Mono) -> Result<(), Refused> {
        if QUERY_AUDIENCES.contains(&self.find(authorization, now)?.audience) {
            Ok(())
        } else {
            Err(Refused::WrongAudience)
        }
    }

    fn find(&self, authorization: Option<&str>, now: Mono) -> Result<&Issued, Refused> {
        let (scheme, token) = authorization
            .ok_or(Refused::Missing)?
            .split_once(' ')
            .ok_or(Refused::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(' ') {
            return Err(Refused::Malformed);
        }
        let issued = self.issued.get(token).ok_or(Refused::Unknown)?;
        if now >= issued.expires {
            return Err(Refused::Expired);
        }
        Ok(issued)
    }
}

/// Answers a request for a token.
pub fn answer(
    request: &TokenRequest<'_>,
    application: &Application<'_>,
    tokens: &mut Tokens,
    life: Duration,
    now: (Mono, Wall),
    random: &mut fastrand::Rng,
) -> Reply {
    match check(request, application, &mut tokens.taken, now.1) {
        Ok(audience) => {
            let ids = (application.tenant_id, application.client_id);
            let claims = Claims::of(ids, now.1, life);
            let token = tokens.issue(audience, now.0.plus(life), &claims, random);
            let seconds = life.as_secs().saturating_sub(EXPIRES_IN_LESS);
            let body = json!({
                "token_type": "Bearer",
                "expires_in": seconds,
                "ext_expires_in": seconds,
                "access_token": token,
            });
            Reply::json(200, body.to_string().into_bytes())
                .with("cache-control", "no-store, no-cache")
        }
        Err(fault) => fault.reply(now.1, random),
    }
}

/// What Entra would say: branch on `error` and the number, not on the prose.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    status: u16,
    error: &'static str,
    number: u32,
    message: String,
}

impl Fault {
    pub(super) fn new(
        status: u16,
        error: &'static str,
        number: u32,
        message: impl Into<String>,
    ) -> Self {
        Fault {
            status,
            error,
            number,
            message: message.into(),
        }
    }

    /// The number behind `AADSTS`.
    #[cfg(test)]
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    fn reply(self, now: Wall, random: &mut fastrand::Rng) -> Reply {
        let stamp = super::stamp::time_text(now.0 - now.0.rem_euclid(1_000_000_000));
        let trace = guid(random);
        let correlation = guid(random);
        let body = json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}",
                self.number, self.message
            ),
            "error_codes": [self.number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
        });
        Reply::json(self.status, body.to_string().into_bytes())
    }
}

/// A secret that is refused whatever it is, for the fault of that name.
#[must_use]
pub fn refuse_secret(now: Wall, random: &mut fastrand::Rng) -> Reply {
    bad_secret().reply(now, random)
}

/// A secret that was right once, for the fault of that name.
#[must_use]
pub fn refuse_expired(now: Wall, random: &mut fastrand::Rng) -> Reply {
    let message = "The provided client secret keys for the app are expired.";
    Fault::new(401, "invalid_client", 7_000_222, message).reply(now, random)
}

fn bad_secret() -> Fault {
    Fault::new(
        401,
        "invalid_client",
        7_000_215,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client \
         secret value, not the client secret ID.",
    )
}

fn check(
    request: &TokenRequest<'_>,
    application: &Application<'_>,
    taken: &mut Taken,
    now: Wall,
) -> Result<&'static str, Fault> {
    let invalid = |number, message: &str| Fault::new(400, "invalid_request", number, message);
    let media_type = request.content_type.and_then(|text| text.split(';').next());
    if media_type.map(str::trim) != Some("application/x-www-form-urlencoded") {
        return Err(invalid(
            900_910,
            "The content type must be 'application/x-www-form-urlencoded'.",
        ));
    }
    let fields = read_form(request.body)
        .ok_or_else(|| invalid(90_014, "The request body is not a well-formed form."))?;
    let field = |name: &'static str| {
        let mut found = fields
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(invalid(9_000_411, "A parameter is given more than once.")),
            (Some(value), None) if !value.is_empty() => Ok(value),
            _ => Err(invalid(
                900_144,
                &format!("The request body must contain the following parameter: '{name}'."),
            )),
        }
    };
    if request.tenant_id != application.tenant_id {
        return Err(invalid(
            90_002,
            "The tenant of the path was not found. Check the tenant id.",
        ));
    }
    if field("grant_type")? != "client_credentials" {
        return Err(Fault::new(
            400,
            "unsupported_grant_type",
            70_003,
            "The app requested an unsupported grant type: only 'client_credentials' is here.",
        ));
    }
    if field("client_id")? != application.client_id {
        return Err(Fault::new(
            400,
            "unauthorized_client",
            700_016,
            "The application was not found in the directory. Check the client id.",
        ));
    }
    let audience = audience_of(field("scope")?)?;
    let is_given = |name: &str| fields.iter().any(|(key, _)| key == name);
    if !is_given("client_assertion") {
        return match field("client_secret")? == application.client_secret {
            true => Ok(audience),
            false => Err(bad_secret()),
        };
    }
    if is_given("client_secret") || field("client_assertion_type")? != ASSERTION_TYPE {
        return Err(invalid(
            50_027,
            "An assertion is given with its type 'jwt-bearer', and not besides a secret.",
        ));
    }
    let expected = Expected {
        audience: request.url,
        client_id: application.client_id,
        now,
    };
    let assertion = field("client_assertion")?;
    application.registered.check(assertion, &expected, taken)?;
    Ok(audience)
}

fn audience_of(scope: &str) -> Result<&'static str, Fault> {
    let invalid = |message: &str| Fault::new(400, "invalid_scope", 70_011, message);
    let resource = scope
        .strip_suffix("/.default")
        .ok_or_else(|| invalid("The scope must be a resource and '/.default'."))?;
    // Microsoft's own sample has two slashes before `.default`, its SDKs have one
    let resource = resource.strip_suffix('/').unwrap_or(resource);
    audience(resource)
        .ok_or_else(|| invalid("The resource of the scope was not found in the tenant."))
}

fn audience(resource: &str) -> Option<&'static str> {
    INGESTION_AUDIENCES
        .into_iter()
        .chain(QUERY_AUDIENCES)
        .find(|audience| *audience == resource)
}

/// `application/x-www-form-urlencoded` to pairs; nothing if it is broken.
fn read_form(body: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(body).ok()?;
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Undoes percent encoding and `+` for a blank.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let high = digit(bytes.next())?;
                let low = digit(bytes.next())?;
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

/// A random GUID.
#[must_use]
pub fn guid(random: &mut fastrand::Rng) -> String {
    let bits = random.u128(..);
    // version 4, variant 1
    let bits = bits & !(0xf000 << 64) & !(0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48;
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "grant_type=client_credentials&client_id=c&client_secret=a~b%2Bc%2Fd%3D+%26&scope=https%3A%2F%2Fmonitor.azure.com%2F.default";

    fn ask(
        tenant_id: &str,
        content_type: Option<&str>,
        form: &str,
        tokens: &mut Tokens,
    ) -> (u16, serde_json::Value) {
        let request = TokenRequest {
            tenant_id,
            content_type,
            body: form.as_bytes(),
            url: "https://login/t/oauth2/v2.0/token",
        };
        let application = Application {
            tenant_id: "t",
            client_id: "c",
            client_secret: "a~b+c/d= &",
            registered: &Registered::new(None).unwrap(),
        };
        let mut random = fastrand::Rng::with_seed(1);
        let reply = answer(
            &request,
            &application,
            tokens,
            Duration::from_secs(60),
            (Mono(0), Wall(0)),
            &mut random,
        );
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    fn refusal(tenant_id: &str, form: &str) -> (u16, String, u64) {
        let form_type = Some("application/x-www-form-urlencoded");
        let (status, body) = ask(tenant_id, form_type, form, &mut Tokens::default());
        let number = body["error_codes"][0].as_u64().unwrap();
        assert!(
            body["error_description"]
                .as_str()
                .unwrap()
                .starts_with(&format!("AADSTS{number}: "))
        );
        assert!(
            !body.to_string().contains("a~b+c"),
            "the secret is in {body}"
        );
        (status, body["error"].as_str().unwrap().to_owned(), number)
    }

    #[test]
    fn a_token_opens_until_it_expires_and_for_its_audience_only() {
        let mut tokens = Tokens::default();
        let (status, body) = ask(
            "t",
            Some("application/x-www-form-urlencoded;charset=utf-8"),
            FORM,
            &mut tokens,
        );
        assert_eq!((status, body["expires_in"].as_u64()), (200, Some(59)));
        let token = body["access_token"].as_str().unwrap();
        let bearer = format!("Bearer {token}");
        let last = Mono(59_999_999_999);
        let public = "https://monitor.azure.com";
        assert_eq!(tokens.check_ingestion(Some(&bearer), public, last), Ok(()));
        assert_eq!(
            tokens.check_ingestion(Some(&bearer), "https://monitor.azure.com/", last),
            Ok(())
        );
        assert_eq!(
            tokens.check_ingestion(Some(&bearer), public, Mono(60_000_000_000)),
            Err(Refused::Expired)
        );
        assert_eq!(
            tokens.check_ingestion(Some(&bearer), "https://monitor.azure.us", last),
            Err(Refused::WrongAudience)
        );
        assert_eq!(
            tokens.check_query(Some(&bearer), last),
            Err(Refused::WrongAudience)
        );
        assert_eq!(tokens.check_query(None, last), Err(Refused::Missing));
        for malformed in ["", "Bearer", "Bearer ", "Basic abc", token, "Bearer a b"] {
            assert_eq!(
                tokens.check_query(Some(malformed), last),
                Err(Refused::Malformed),
                "{malformed}"
            );
        }
        assert_eq!(
            tokens.check_query(Some(&format!("{bearer}x")), last),
            Err(Refused::Unknown)
        );
    }

    #[test]
    fn each_mistake_has_its_number() {
        assert_eq!(
            refusal("other", FORM),
            (400, "invalid_request".into(), 90_002)
        );
        let cases = [
            (
                "grant_type=client_credentials",
                "grant_type=password",
                400,
                "unsupported_grant_type",
                70_003,
            ),
            (
                "client_id=c",
                "client_id=d",
                400,
                "unauthorized_client",
                700_016,
            ),
            ("a~b%2B", "a~b+", 401, "invalid_client", 7_000_215),
            (
                "monitor.azure.com%2F",
                "monitor.azure.org%2F",
                400,
                "invalid_scope",
                70_011,
            ),
            ("%2F.default", "", 400, "invalid_scope", 70_011),
            ("client_id=c&", "", 400, "invalid_request", 900_144),
            ("client_id=c", "client_id=", 400, "invalid_request", 900_144),
            (
                "client_id=c",
                "client_id=c&client_id=c",
                400,
                "invalid_request",
                9_000_411,
            ),
            ("%26", "%2", 400, "invalid_request", 90_014),
            ("%26", "%zz", 400, "invalid_request", 90_014),
            ("%26", "%ff", 400, "invalid_request", 90_014),
        ];
        for (from, to, status, error, number) in cases {
            let form = FORM.replacen(from, to, 1);
            assert_ne!(form, FORM);
            assert_eq!(
                refusal("t", &form),
                (status, error.to_owned(), number),
                "{from} -> {to}"
            );
        }
        let (status, body) = ask("t", Some("application/json"), FORM, &mut Tokens::default());
        assert_eq!(
            (status, body["error"].as_str()),
            (400, Some("invalid_request"))
        );
        let doubled = FORM.replace("%2F.default", "%2F%2F.default");
        assert_eq!(
            ask(
                "t",
                Some("application/x-www-form-urlencoded"),
                &doubled,
                &mut Tokens::default()
            )
            .0,
            200
        );
    }

    #[test]
    fn so_many_tokens_are_remembered_and_no_more() {
        let mut tokens = Tokens::default();
        let mut random = fastrand::Rng::with_seed(1);
        let claims = Claims {
            tenant_id: "t",
            client_id: "c",
            from: Wall(0),
            until: Wall(1),
        };
        let mut issue = || tokens.issue(QUERY_AUDIENCES[0], Mono(1), &claims, &mut random);
        let first = issue();
        for _ in 0..EMULATOR_TOKENS_MAX {
            issue();
        }
        assert_eq!(tokens.issued.len(), EMULATOR_TOKENS_MAX);
        assert_eq!(tokens.order.len(), EMULATOR_TOKENS_MAX);
        assert_eq!(
            tokens.check_query(Some(&format!("Bearer {first}")), Mono(0)),
            Err(Refused::Unknown)
        );
    }

    #[test]
    fn a_guid_looks_like_one() {
        let guid = guid(&mut fastrand::Rng::with_seed(3));
        let lengths: Vec<usize> = guid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(guid.as_bytes()[14], b'4');
    }
}
