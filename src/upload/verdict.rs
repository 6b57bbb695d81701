//! What the end of a request means.
//!
//! | end | verdict | what follows |
//! |---|---|---|
//! | 2xx | accepted | release |
//! | 401 | unauthorized | another token, once at once, then back off |
//! | 403, 404 | held | the rule is tried again slowly, others go on |
//! | 3xx, 405 and the like, a known code of a wrong configuration | held | the same |
//! | 408, 5xx, no answer | unavailable | back off |
//! | 413 | too large | halve |
//! | 429 | throttled | the rule pauses, others go on |
//! | 400, other 4xx | refused | isolate the bad row |
//!
//! Pure. Answers of gateways are HTML or empty, so nothing rests on the body but the names in log
//! lines and the list of known codes.

use super::request::{Reply, Silence, SilenceReason};
use super::rules::HoldReason;
use crate::client::Answer;
use crate::clock::Wall;
use crate::limits::{BODY_BYTES_NEAR_LIMIT, RETRY_AFTER_ABSENT, SERVICE_BODY_BYTES_MAX};
use crate::log::safe_text;
use crate::metrics::Counter;
use crate::retry::retry_after;
use reqwest::StatusCode;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// What the end of a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What follows from it.
    pub kind: Kind,
    /// The rows may be stored although the request did not succeed: if they are sent again, they
    /// may stand twice in the table.
    pub is_ambiguous: bool,
    /// It may have been the service's way to refuse a long body: a reset, or 404, for a body near
    /// the limit. Once means nothing.
    pub may_be_too_large: bool,
    /// Status, code and message, or what went wrong on the way; fit for a log line.
    pub text: Text,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The rows are delivered.
    Accepted,
    /// The token was not accepted.
    Unauthorized,
    /// The rule cannot be used until somebody acts.
    Held(HoldReason),
    /// The rule asks for a pause.
    Throttled(Duration),
    /// The service is in trouble; with the pause that it asks for.
    Unavailable(Option<Duration>),
    /// The request ended without an answer.
    Silent(SilenceReason),
    /// The body is longer than the service takes.
    TooLarge,
    /// The body was refused for what it holds, or for another fault that trying again as it is
    /// does not mend.
    Refused,
}

/// Names for log lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    /// HTTP status; nothing without an answer.
    pub status: Option<u16>,
    /// The service's code.
    pub code: Option<String>,
    /// The service's message, or the cause of a request without an answer.
    pub message: Option<String>,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "answer {status}")?,
            None => f.write_str("no answer")?,
        }
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

impl Kind {
    /// The counter of requests that ended so.
    #[must_use]
    pub fn counter(self) -> Counter {
        match self {
            Kind::Accepted => Counter::AnswersAccepted,
            Kind::Unauthorized => Counter::AnswersUnauthorized,
            Kind::Held(HoldReason::Forbidden) => Counter::AnswersForbidden,
            Kind::Held(HoldReason::NotFound) => Counter::AnswersNotFound,
            Kind::Held(HoldReason::Misconfigured | HoldReason::Suspected) | Kind::Refused => {
                Counter::AnswersRefused
            }
            Kind::Throttled(_) => Counter::AnswersThrottled,
            Kind::Unavailable(_) => Counter::AnswersUnavailable,
            Kind::TooLarge => Counter::AnswersTooLarge,
            Kind::Silent(SilenceReason::Connect) => Counter::RequestsFailedConnect,
            Kind::Silent(SilenceReason::Reset) => Counter::RequestsFailedReset,
            Kind::Silent(SilenceReason::Timeout) => Counter::RequestsFailedTimeout,
        }
    }
}

/// Codes that speak of the request line or of the rule, never of a row; from memory of the service
/// and its neighbours, so an unknown one is found by isolation. A wrong entry would hold data that
/// could have been isolated, and lose none.
const CONFIGURATION_CODES: [&str; 9] = [
    "InvalidStream",
    "InvalidStreamName",
    "InvalidApiVersion",
    "InvalidApiVersionParameter",
    "MissingApiVersionParameter",
    "UnsupportedApiVersion",
    "InvalidDcrImmutableId",
    "DataCollectionRuleNotFound",
    "UnsupportedContentEncoding",
];

/// What `reply` to a body means that has so many bytes on the wire and so many of JSON.
#[must_use]
pub fn judge(reply: &Reply, (wire_bytes, raw_bytes): (usize, usize), now: Wall) -> Verdict {
    // near the limit by the one reading, beyond it by the other
    let is_long = wire_bytes >= BODY_BYTES_NEAR_LIMIT || raw_bytes > SERVICE_BODY_BYTES_MAX;
    match reply {
        Reply::Answer(answer) => judge_answer(answer, is_long, now),
        Reply::Silence(silence) => judge_silence(silence, is_long),
    }
}

fn judge_answer(answer: &Answer, is_long: bool, now: Wall) -> Verdict {
    let text = text_of(answer);
    let is_known = |code: &str| {
        CONFIGURATION_CODES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(code))
    };
    let pause = || retry_after(&answer.headers, now);
    let kind = match answer.status.as_u16() {
        200..=299 => Kind::Accepted,
        401 => Kind::Unauthorized,
        403 => Kind::Held(HoldReason::Forbidden),
        404 => Kind::Held(HoldReason::NotFound),
        // method, proxy, media type, wrong host, upgrade: never about a row
        300..=399 | 405 | 407 | 415 | 421 | 426 => Kind::Held(HoldReason::Misconfigured),
        413 => Kind::TooLarge,
        429 => Kind::Throttled(pause().unwrap_or(RETRY_AFTER_ABSENT)),
        408 => Kind::Unavailable(pause()),
        400..=499 if text.code.as_deref().is_some_and(is_known) => {
            Kind::Held(HoldReason::Misconfigured)
        }
        400..=499 => Kind::Refused,
        _ => Kind::Unavailable(pause()),
    };
    Verdict {
        kind,
        // a gateway that lost its upstream does not know how far that got
        is_ambiguous: matches!(answer.status.as_u16(), 502 | 504),
        may_be_too_large: is_long && answer.status == StatusCode::NOT_FOUND,
        text,
    }
}

fn judge_silence(silence: &Silence, is_long: bool) -> Verdict {
    // Sent whole or not: the buffers of the system take a body of this length at once, so the reset
    // comes after it.
    let may_be_too_large = is_long && silence.reason == SilenceReason::Reset;
    Verdict {
        kind: Kind::Silent(silence.reason),
        is_ambiguous: silence.is_sent_whole,
        may_be_too_large,
        text: Text {
            message: Some(safe_text(&silence.cause)),
            ..Text::default()
        },
    }
}

/// The service's error body; whatever else comes is no error here.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorFields,
}

#[derive(Deserialize)]
struct ErrorFields {
    code: Option<String>,
    message: Option<String>,
}

fn text_of(answer: &Answer) -> Text {
    let fields = serde_json::from_slice(&answer.body)
        .ok()
        .map(|body: ErrorBody| body.error);
    let (code, message) = fields.map_or((None, None), |fields| (fields.code, fields.message));
    let header = answer
        .headers
        .get("x-ms-error-code")
        .and_then(|value| value.to_str().ok());
    Text {
        status: Some(answer.status.as_u16()),
        code: header
            .map(str::to_owned)
            .or(code)
            .map(|code| safe_text(&code)),
        message: message.map(|message| safe_text(&message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    fn answered(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Verdict {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: body.into(),
        };
        judge(&Reply::Answer(answer), (1000, 5000), Wall(0))
    }

    #[test]
    fn every_status_has_its_verdict() {
        let held = Kind::Held;
        for (statuses, kind) in [
            (&[200, 202, 204][..], Kind::Accepted),
            (
                &[301, 302, 307, 308, 405, 407, 415, 421, 426],
                held(HoldReason::Misconfigured),
            ),
            (&[401], Kind::Unauthorized),
            (&[403], held(HoldReason::Forbidden)),
            (&[404], held(HoldReason::NotFound)),
            (&[413], Kind::TooLarge),
            (&[429], Kind::Throttled(RETRY_AFTER_ABSENT)),
            (
                &[400, 402, 406, 409, 410, 411, 412, 422, 431, 499],
                Kind::Refused,
            ),
            (
                &[408, 500, 501, 502, 503, 504, 507, 599, 600, 999],
                Kind::Unavailable(None),
            ),
        ] {
            for status in statuses {
                let verdict = answered(*status, &[], "<html>\u{1b}</html>");
                assert_eq!(verdict.kind, kind, "{status}");
                assert_eq!(
                    verdict.is_ambiguous,
                    [502, 504].contains(status),
                    "{status}"
                );
                assert_eq!(verdict.text.to_string(), format!("answer {status}"));
            }
        }
    }

    #[test]
    fn pauses_are_read_where_the_service_may_ask_for_one() {
        let pause = &[("retry-after", "7")];
        let seven = Duration::from_secs(7);
        assert_eq!(answered(429, pause, "").kind, Kind::Throttled(seven));
        assert_eq!(
            answered(503, pause, "").kind,
            Kind::Unavailable(Some(seven))
        );
        assert_eq!(answered(400, pause, "").kind, Kind::Refused);
    }

    #[test]
    fn code_and_message_come_from_header_or_body_and_are_fit_for_a_log_line() {
        let body = r#"{"error":{"code":"InvalidX","message":"bad\nrow","details":[null]}}"#;
        let verdict = answered(400, &[], body);
        assert_eq!(verdict.kind, Kind::Refused);
        assert_eq!(verdict.text.to_string(), "answer 400 InvalidX: bad\\nrow");
        let verdict = answered(400, &[("x-ms-error-code", "InvalidStream")], body);
        assert_eq!(verdict.kind, Kind::Held(HoldReason::Misconfigured));
        let verdict = answered(400, &[], r#"{"error":{"code":"invalidstream"}}"#);
        assert_eq!(verdict.kind, Kind::Held(HoldReason::Misconfigured));
        for odd in [
            "",
            "[]",
            "{}",
            r#"{"error":"x"}"#,
            r#"{"error":{"code":7}}"#,
            "{\"error\":",
        ] {
            assert_eq!(
                answered(400, &[], odd).text.to_string(),
                "answer 400",
                "{odd}"
            );
        }
    }

    #[test]
    fn a_request_without_an_answer_is_ambiguous_only_if_its_whole_body_went_out() {
        use SilenceReason::{Connect, Reset, Timeout};
        let near = BODY_BYTES_NEAR_LIMIT;
        for (reason, is_sent_whole, wire_bytes, may_be_too_large) in [
            (Connect, false, near, false),
            (Timeout, false, near, false),
            (Timeout, true, near, false),
            (Reset, true, near, true),
            (Reset, false, near - 1, false),
            (Reset, false, near, true),
        ] {
            let cause = "connection reset".to_owned();
            let reply = Reply::Silence(Silence {
                reason,
                is_sent_whole,
                cause,
            });
            let verdict = judge(&reply, (wire_bytes, wire_bytes), Wall(0));
            assert_eq!(verdict.kind, Kind::Silent(reason));
            assert_eq!(verdict.may_be_too_large, may_be_too_large);
            assert_eq!(verdict.is_ambiguous, is_sent_whole);
            assert_eq!(verdict.text.to_string(), "no answer: connection reset");
        }
    }
}
