//! The ingestion endpoint's checks: a request's head and body, and the rules as they are, to rows
//! or a refusal. No socket and no clock.
//!
//! The service does not document the order of its checks; the one here is inferred (`admit`, then
//! `unpack`, then [`super::rows::read_rows`]) and a client must not lean on it. Whether the size is
//! looked at before the token is a switch for that reason.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::GzDecoder;

use super::faults::{Fate, Faults};
use super::reply::Reply;
use super::token::Tokens;
use super::window::{MinuteLimits, Window};
use crate::clock::Moment;
use crate::limits::{BODY_RAW_BYTES_MOST, SERVICE_BODY_BYTES_MAX};

/// The one stable version of the API.
pub const API_VERSION: &str = "2023-01-01";

/// Which bytes the service's limits count: its documentation can be read both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SizeReading {
    /// The JSON, after gzip is undone: what every SDK keeps to, and the stricter one.
    #[default]
    Raw,
    /// The bytes on the wire.
    Wire,
}

/// The head of a request and the length of its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Method.
    pub method: &'a str,
    /// Path, as sent.
    pub path: &'a str,
    /// Query, as sent, without its question mark.
    pub query: Option<&'a str>,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// Bytes of the body: counted, or as `Content-Length` says if it was not read.
    pub body_bytes: u64,
}

/// How the endpoint is set up.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Name of the stream.
    pub stream: &'a str,
    /// Audience that a token must have.
    pub audience: &'a str,
    /// What the limits count.
    pub size_reading: SizeReading,
    /// True to look at the size before the token.
    pub size_first: bool,
    /// What a rule may take in a minute.
    pub minute: MinuteLimits,
}

/// One rule, and its minute.
#[derive(Debug)]
pub struct Rule {
    /// Immutable id.
    pub id: String,
    /// Its window.
    pub window: Window,
}

/// The rule and the stream that a path names.
#[must_use]
pub fn split_path(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/dataCollectionRules/")?;
    let (rule, rest) = rest.split_once('/')?;
    let stream = rest.strip_prefix("streams/")?;
    (!rule.is_empty() && !stream.is_empty() && !stream.contains('/')).then_some((rule, stream))
}

/// True if a body of this length is over the limit, whatever else is right or wrong.
#[must_use]
pub fn is_oversize(body_bytes: u64, faults: &Faults) -> bool {
    let limit = SERVICE_BODY_BYTES_MAX as u64;
    body_bytes > faults.body_bytes_max.unwrap_or(limit).min(limit)
}

/// Checks everything that can be checked without the body. Gives the place of the rule among
/// `rules`, whose window has let the request in.
///
/// # Errors
/// The refusal.
pub fn admit(
    head: &Head<'_>,
    setup: &Setup<'_>,
    rules: &mut [Rule],
    tokens: &Tokens,
    faults: &Faults,
    fate: &Fate,
    now: Moment,
) -> Result<usize, Reply> {
    let (rule_id, stream) = split_path(head.path)
        .filter(|_| head.method == "POST")
        .ok_or_else(|| Reply::error(404, "NotFound", "The resource was not found."))?;
    check_version(head.query)?;
    if setup.size_first {
        check_size(head.body_bytes, faults)?;
    }
    let refused = match tokens.check_ingestion(head.authorization, setup.audience, now.mono) {
        Ok(()) if fate.unauthorized => Some("The access token has expired."),
        Ok(()) => None,
        Err(refused) => Some(refused.message()),
    };
    if let Some(message) = refused {
        let reply = Reply::error(401, "AuthenticationFailed", message);
        return Err(reply.with("www-authenticate", "Bearer error=\"invalid_token\""));
    }
    check_size(head.body_bytes, faults)?;
    let (index, rule) = rules
        .iter_mut()
        .enumerate()
        .find(|(_, rule)| rule.id == rule_id)
        .ok_or_else(|| {
            let message = format!(
                "Data collection rule with immutable Id '{}' not found.",
                shown(rule_id)
            );
            Reply::error(404, "NotFound", message)
        })?;
    if fate.forbidden {
        return Err(forbidden(&rule.id));
    }
    if let Err(wait) = rule.window.admit(now.mono, &setup.minute) {
        let message = format!(
            "The data collection rule has reached its limit of {} bytes or {} requests per minute.",
            setup.minute.bytes_max, setup.minute.requests_max
        );
        return Err(faults.throttled(wait, now, &message));
    }
    if setup.size_reading == SizeReading::Wire {
        rule.window.charge(head.body_bytes);
    }
    if stream != setup.stream {
        let message = format!(
            "The stream {} was not configured in the data collection rule.",
            shown(stream)
        );
        return Err(Reply::error(400, "InvalidStream", message));
    }
    check_media_type(head.content_type)?;
    Ok(index)
}

fn check_version(query: Option<&str>) -> Result<(), Reply> {
    let mut versions = query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.strip_prefix("api-version="));
    match (versions.next(), versions.next()) {
        (Some(API_VERSION), None) => Ok(()),
        (None, _) => Err(Reply::error(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )),
        _ => Err(Reply::error(
            400,
            "UnsupportedApiVersion",
            format!("The api-version is not supported: use {API_VERSION}."),
        )),
    }
}

fn check_size(body_bytes: u64, faults: &Faults) -> Result<(), Reply> {
    if is_oversize(body_bytes, faults) {
        return Err(oversize(body_bytes));
    }
    Ok(())
}

/// The refusal of a body that is too long.
#[must_use]
pub fn oversize(bytes: u64) -> Reply {
    Reply::error(
        413,
        "ContentLengthLimitExceeded",
        format!(
            "Maximum allowed content length: {SERVICE_BODY_BYTES_MAX} bytes (1 MB). \
             Provided content length: {bytes} bytes."
        ),
    )
}

fn forbidden(rule_id: &str) -> Reply {
    Reply::error(
        403,
        "OperationFailed",
        format!(
            "The authentication token provided does not have access to ingest data for the data \
             collection rule with immutable Id '{rule_id}' PipelineAccessResult: AccessGranted: \
             False, IsRbacPresent: False, IsDcrDceBindingValid: , DcrArmId: "
        ),
    )
}

fn check_media_type(content_type: Option<&str>) -> Result<(), Reply> {
    let media_type = content_type
        .and_then(|text| text.split(';').next())
        .map(str::trim);
    if media_type.is_some_and(|text| text.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Reply::error(
        415,
        "UnsupportedMediaType",
        "The Content-Type must be application/json.",
    ))
}

/// A name out of a request, short enough for a message.
fn shown(name: &str) -> &str {
    name.get(..64).unwrap_or(name)
}

/// Undoes the encoding of a body that was admitted.
///
/// # Errors
/// The refusal.
pub fn unpack<'b>(
    body: &'b [u8],
    encoding: Option<&str>,
    reading: SizeReading,
) -> Result<Cow<'b, [u8]>, Reply> {
    if body.is_empty() {
        // seen of the real service: no code and no body
        return Err(Reply::empty(500));
    }
    let raw = match encoding.map(str::trim) {
        None => Cow::Borrowed(body),
        Some(gzip) if gzip.eq_ignore_ascii_case("gzip") => Cow::Owned(gunzip(body)?),
        Some(_) => {
            let message = "The Content-Encoding is not supported: gzip or none.";
            return Err(Reply::error(400, "UnsupportedContentEncoding", message));
        }
    };
    if reading == SizeReading::Raw && raw.len() > SERVICE_BODY_BYTES_MAX {
        return Err(oversize(raw.len() as u64));
    }
    Ok(raw)
}

fn gunzip(body: &[u8]) -> Result<Vec<u8>, Reply> {
    let broken = || Reply::error(400, "InvalidContent", "The body is not well-formed gzip.");
    let mut decoder = GzDecoder::new(body);
    let mut raw = Vec::with_capacity(body.len().saturating_mul(8).min(SERVICE_BODY_BYTES_MAX));
    let most = BODY_RAW_BYTES_MOST as u64;
    decoder
        .by_ref()
        .take(most + 1)
        .read_to_end(&mut raw)
        .map_err(|_| broken())?;
    if raw.len() as u64 > most {
        return Err(oversize(raw.len() as u64));
    }
    if !decoder.into_inner().is_empty() {
        return Err(broken());
    }
    Ok(raw)
}

/// The refusal of a body that is no JSON array of objects.
#[must_use]
pub fn not_rows(problem: &str) -> Reply {
    Reply::error(
        400,
        "InvalidPayload",
        format!("The body must be a JSON array of objects: {problem}."),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::super::assertion::Registered;
    use super::super::token::{Application, TokenRequest, answer};
    use super::*;
    use crate::clock::Wall;

    const NOW: Moment = Moment {
        mono: crate::clock::Mono(1_000_000_000),
        wall: Wall(1_714_564_800_000_000_000),
    };
    const PATH: &str = "/dataCollectionRules/dcr-1/streams/Custom-CommonSecurityLog";

    struct World {
        rules: Vec<Rule>,
        tokens: Tokens,
        faults: Faults,
        fate: Fate,
        setup: Setup<'static>,
        bearer: String,
    }

    fn world() -> World {
        let mut tokens = Tokens::default();
        let request = TokenRequest {
            tenant_id: "t",
            content_type: Some("application/x-www-form-urlencoded"),
            body: b"grant_type=client_credentials&client_id=c&client_secret=s&scope=https://monitor.azure.com/.default",
            url: "https://login/t/oauth2/v2.0/token",
        };
        let application = Application {
            tenant_id: "t",
            client_id: "c",
            client_secret: "s",
            registered: &Registered::new(None).unwrap(),
        };
        let reply = answer(
            &request,
            &application,
            &mut tokens,
            Duration::from_secs(60),
            (NOW.mono, NOW.wall),
            &mut fastrand::Rng::with_seed(1),
        );
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        World {
            rules: vec![Rule {
                id: "dcr-1".into(),
                window: Window::default(),
            }],
            bearer: format!("Bearer {}", body["access_token"].as_str().unwrap()),
            tokens,
            faults: Faults::default(),
            fate: Fate::default(),
            setup: Setup {
                stream: "Custom-CommonSecurityLog",
                audience: "https://monitor.azure.com",
                size_reading: SizeReading::Raw,
                size_first: true,
                minute: MinuteLimits {
                    bytes_max: 1000,
                    requests_max: 3,
                },
            },
        }
    }

    fn good(bearer: &str) -> Head<'_> {
        Head {
            method: "POST",
            path: PATH,
            query: Some("api-version=2023-01-01"),
            authorization: Some(bearer),
            content_type: Some("application/json; charset=utf-8"),
            body_bytes: 100,
        }
    }

    fn try_it(
        world: &mut World,
        change: impl FnOnce(&mut Head<'_>),
    ) -> Result<usize, (u16, String)> {
        let bearer = world.bearer.clone();
        let mut head = good(&bearer);
        change(&mut head);
        admit(
            &head,
            &world.setup,
            &mut world.rules,
            &world.tokens,
            &world.faults,
            &world.fate,
            NOW,
        )
        .map_err(|reply| {
            let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            let code = body["error"]["code"].as_str().unwrap().to_owned();
            assert!(reply.headers.contains(&("x-ms-error-code", code.clone())));
            (reply.status, code)
        })
    }

    #[test]
    fn each_check_has_its_status_and_code() {
        type Change = fn(&mut Head<'_>);
        let cases: [(Change, u16, &str); 16] = [
            (|head| head.method = "PUT", 404, "NotFound"),
            (
                |head| head.path = "/datacollectionrules/dcr-1/streams/Custom-CommonSecurityLog",
                404,
                "NotFound",
            ),
            (
                |head| head.path = "/dataCollectionRules/dcr-1/streams/",
                404,
                "NotFound",
            ),
            (
                |head| head.path = "/dataCollectionRules/dcr-1/streams/Custom-CommonSecurityLog/x",
                404,
                "NotFound",
            ),
            (
                |head| head.path = "/dataCollectionRules/dcr-2/streams/Custom-CommonSecurityLog",
                404,
                "NotFound",
            ),
            (
                |head| head.path = "/dataCollectionRules/DCR-1/streams/Custom-CommonSecurityLog",
                404,
                "NotFound",
            ),
            (|head| head.query = None, 400, "MissingApiVersionParameter"),
            (
                |head| head.query = Some("api-version=2016-04-01"),
                400,
                "UnsupportedApiVersion",
            ),
            (
                |head| head.body_bytes = SERVICE_BODY_BYTES_MAX as u64 + 1,
                413,
                "ContentLengthLimitExceeded",
            ),
            (
                |head| head.authorization = None,
                401,
                "AuthenticationFailed",
            ),
            (
                |head| head.authorization = Some("Bearer x"),
                401,
                "AuthenticationFailed",
            ),
            (
                |head| head.path = "/dataCollectionRules/dcr-1/streams/Custom-Other",
                400,
                "InvalidStream",
            ),
            (
                |head| head.path = "/dataCollectionRules/dcr-1/streams/custom-commonsecuritylog",
                400,
                "InvalidStream",
            ),
            (|head| head.content_type = None, 415, "UnsupportedMediaType"),
            (
                |head| head.content_type = Some("text/plain"),
                415,
                "UnsupportedMediaType",
            ),
            (
                |head| head.query = Some("api-version=2023-01-01&api-version=2023-01-01"),
                400,
                "UnsupportedApiVersion",
            ),
        ];
        for (at, (change, status, code)) in cases.into_iter().enumerate() {
            assert_eq!(
                try_it(&mut world(), change),
                Err((status, code.to_owned())),
                "case {at}"
            );
        }
        assert_eq!(try_it(&mut world(), |_| ()), Ok(0));
        assert_eq!(
            try_it(&mut world(), |head| head.body_bytes =
                SERVICE_BODY_BYTES_MAX as u64),
            Ok(0)
        );
    }

    #[test]
    fn size_and_token_change_places_by_the_switch() {
        let both_wrong: fn(&mut Head<'_>) = |head| {
            head.authorization = None;
            head.body_bytes = u64::MAX;
        };
        let mut world = world();
        assert_eq!(try_it(&mut world, both_wrong).unwrap_err().0, 413);
        world.setup.size_first = false;
        assert_eq!(try_it(&mut world, both_wrong).unwrap_err().0, 401);
    }

    #[test]
    fn faults_of_identity_act() {
        let mut world = world();
        world.fate.forbidden = true;
        assert_eq!(
            try_it(&mut world, |_| ()),
            Err((403, "OperationFailed".into()))
        );
        world.fate.unauthorized = true;
        assert_eq!(
            try_it(&mut world, |_| ()),
            Err((401, "AuthenticationFailed".into()))
        );
    }

    #[test]
    fn a_full_window_throttles() {
        let mut first = world();
        for _ in 0..3 {
            assert_eq!(try_it(&mut first, |_| ()), Ok(0));
        }
        assert_eq!(
            try_it(&mut first, |_| ()),
            Err((429, "TooManyRequests".into()))
        );
        let mut second = world();
        second.setup.size_reading = SizeReading::Wire;
        assert_eq!(try_it(&mut second, |head| head.body_bytes = 1000), Ok(0));
        assert_eq!(
            try_it(&mut second, |_| ()),
            Err((429, "TooManyRequests".into()))
        );
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bodies_are_unpacked_strictly() {
        let status = |body: &[u8], encoding: Option<&str>, reading| {
            unpack(body, encoding, reading)
                .map(|raw| raw.len())
                .map_err(|reply| reply.status)
        };
        let raw = SizeReading::Raw;
        assert_eq!(status(b"[]", None, raw), Ok(2));
        assert_eq!(status(&gzip(b"[]"), Some("gzip"), raw), Ok(2));
        assert_eq!(status(b"", None, raw), Err(500));
        assert_eq!(status(b"", Some("gzip"), raw), Err(500));
        assert_eq!(status(b"[]", Some("deflate"), raw), Err(400));
        assert_eq!(status(b"[]", Some("gzip"), raw), Err(400));
        let whole = gzip(b"[{}]");
        assert_eq!(
            status(&whole[..whole.len() - 1], Some("gzip"), raw),
            Err(400)
        );
        assert_eq!(
            status(&[&whole[..], b"x"].concat(), Some("gzip"), raw),
            Err(400)
        );
        let mut spoilt = whole.clone();
        let crc = spoilt.len() - 8;
        spoilt[crc] ^= 1;
        assert_eq!(status(&spoilt, Some("gzip"), raw), Err(400));
    }

    #[test]
    fn the_limit_counts_raw_or_wire_bytes_by_the_reading() {
        let long = gzip(&vec![b' '; SERVICE_BODY_BYTES_MAX + 1]);
        assert_eq!(
            unpack(&long, Some("gzip"), SizeReading::Raw)
                .unwrap_err()
                .status,
            413
        );
        assert!(unpack(&long, Some("gzip"), SizeReading::Wire).is_ok());
        let exact = gzip(&vec![b' '; SERVICE_BODY_BYTES_MAX]);
        assert!(unpack(&exact, Some("gzip"), SizeReading::Raw).is_ok());
        let bomb = gzip(&vec![0; BODY_RAW_BYTES_MOST + 1]);
        assert_eq!(
            unpack(&bomb, Some("gzip"), SizeReading::Wire)
                .unwrap_err()
                .status,
            413
        );
    }
}
