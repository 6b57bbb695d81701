//! What can be made to go wrong, at start and while it runs.
//!
//! One flat set of settings: the same names as `--fault NAME=VALUE` on the command line and as keys
//! of the JSON that `PUT /emulator/faults` takes. Nothing is wrong by default. Rates are the share
//! of calls, from 0 to 1, drawn from a seeded generator, so that a run can be repeated.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reply::Reply;
use super::stamp;
use crate::clock::{Moment, Mono, Wall};

/// Longest time that may be set, in seconds: a day.
const SECONDS_MOST: f64 = 86_400.0;

/// What is made to go wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Seed of the draws; they begin anew whenever it is set to another value.
    pub seed: u64,
    /// The rules (immutable ids) whose calls are touched; none for all of them. `outage` and what
    /// concerns tokens have no rule and always act.
    pub rules: Vec<String>,

    /// Share of calls answered 429.
    pub throttle_rate: f64,
    /// What `Retry-After` such an answer has; also for those of a full minute window.
    pub retry_after: RetryAfter,
    /// What it says, in seconds. A full window says when it ends.
    pub retry_after_seconds: u64,

    /// Share of calls answered with one of `error_status`.
    pub error_rate: f64,
    /// 500, 502, 503, 504, or any other status from 300; those below 400 lead elsewhere.
    pub error_status: Vec<u16>,
    /// Body of such an answer.
    pub error_body: ErrorBody,

    /// Share of calls whose connection is reset and whose rows are not kept.
    pub reset_rate: f64,
    /// Share of calls that wait before anything is looked at...
    pub slow_rate: f64,
    /// ...so many milliseconds.
    pub slow_ms: u64,
    /// Share of calls whose rows are kept and whose connection is then reset: a retry stores them
    /// a second time.
    pub lost_answer_rate: f64,
    /// Share of calls answered 204 whose rows are not kept.
    pub lost_rows_rate: f64,

    /// Share of calls answered 401.
    pub unauthorized_rate: f64,
    /// 403 until so many seconds after this was set, as if a role were still on its way.
    pub granted_after_seconds: f64,
    /// 400 for a body that holds this text: one bad row.
    pub refuse_text: Option<String>,
    /// 413 for a body of more bytes on the wire than this, below the limit that is always there.
    pub body_bytes_max: Option<u64>,
    /// How a body over the limit is refused.
    pub oversize: Oversize,
    /// 204 for a body that is not JSON; its rows are lost.
    pub lenient_parse: bool,

    /// Life of the tokens given out from now on, in seconds.
    pub token_life_seconds: Option<u64>,
    /// Share of token requests answered with `token_error_status`.
    pub token_error_rate: f64,
    /// 429, 503 and the like.
    pub token_error_status: u16,
    /// The secret is refused although it is right, as after it has been rotated.
    pub token_refused: bool,
    /// The secret is refused because its time is over.
    pub secret_expired: bool,

    /// Rows can be asked for only so many seconds after they were accepted.
    pub rows_late_seconds: f64,
    /// Queries with a token are answered 403: the identity may write and not read.
    pub query_forbidden: bool,
    /// What the clock of the service is ahead of the time, in seconds; negative for behind. It shows
    /// in the `Date` of every answer, and by it assertions are judged.
    pub clock_skew_seconds: f64,

    /// 410 of the metadata service until so many seconds after this was set, as while it is updated.
    pub imds_gone_seconds: f64,
    /// What the metadata service answers instead of a token: 404, 429, 503 and the like.
    pub imds_status: Option<u16>,
    /// 400 of the metadata service: the machine has no identity.
    pub imds_no_identity: bool,
    /// What the Azure Arc agent does, or whoever is in its place.
    pub arc: ArcFault,

    /// Nobody there, on the whole of the service's port. The table is kept, and the control port
    /// still answers.
    pub outage: Outage,
    /// The outage ends by itself after so many seconds; nothing for when it is switched off.
    pub outage_seconds: Option<f64>,
}

/// Form of the `Retry-After` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetryAfter {
    /// A number of seconds.
    #[default]
    Seconds,
    /// An HTTP date.
    Date,
    /// The header is absent.
    None,
}

/// Body of an answer of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorBody {
    /// A bare HTML page.
    #[default]
    Html,
    /// Nothing.
    Empty,
    /// The API's error shape.
    Json,
    /// Four megabytes of text.
    Huge,
}

/// How a body over the limit is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Oversize {
    /// 413 after the body was read.
    #[default]
    Answer,
    /// 413 at once, and the connection closed while the client may still be sending.
    Close,
    /// The connection is reset with no answer.
    Reset,
}

/// What the Azure Arc agent does, or whoever is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArcFault {
    /// What it should.
    #[default]
    None,
    /// It names a file that is none of its own: `/etc/shadow`.
    HostilePath,
    /// It names a file of its own name in another folder.
    OtherFolder,
    /// It names a file that is not there.
    NoFile,
    /// Its file is longer than 4096 bytes.
    Oversize,
    /// Its header is not `Basic realm=FILE`.
    BadHeader,
    /// It answers 200 with a token where it must ask for a proof.
    NoChallenge,
    /// It answers 403 there.
    Forbidden,
    /// It takes no proof.
    NoProof,
}

/// How nobody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outage {
    /// No outage.
    #[default]
    None,
    /// The port is closed: connections are refused, open ones reset.
    Refuse,
    /// Connections are taken by the kernel and nothing ever comes back; open ones freeze.
    Blackhole,
    /// Connections are accepted and reset, open ones too.
    Reset,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            seed: 0,
            rules: Vec::new(),
            throttle_rate: 0.0,
            retry_after: RetryAfter::Seconds,
            retry_after_seconds: 1,
            error_rate: 0.0,
            error_status: vec![500, 502, 503, 504],
            error_body: ErrorBody::Html,
            reset_rate: 0.0,
            slow_rate: 0.0,
            slow_ms: 1000,
            lost_answer_rate: 0.0,
            lost_rows_rate: 0.0,
            unauthorized_rate: 0.0,
            granted_after_seconds: 0.0,
            refuse_text: None,
            body_bytes_max: None,
            oversize: Oversize::Answer,
            lenient_parse: false,
            token_life_seconds: None,
            token_error_rate: 0.0,
            token_error_status: 503,
            token_refused: false,
            secret_expired: false,
            rows_late_seconds: 0.0,
            query_forbidden: false,
            clock_skew_seconds: 0.0,
            imds_gone_seconds: 0.0,
            imds_status: None,
            imds_no_identity: false,
            arc: ArcFault::None,
            outage: Outage::None,
            outage_seconds: None,
        }
    }
}

impl Faults {
    /// Reads the JSON of a whole set: what it does not name is as by default.
    ///
    /// # Errors
    /// The key or value that cannot be, and what is allowed.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        Faults::default().changed_by_json(text)
    }

    /// Reads the JSON of some settings on top of these.
    ///
    /// # Errors
    /// As [`Faults::from_json`].
    pub fn changed_by_json(&self, text: &[u8]) -> Result<Self, String> {
        let changes: Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        self.changed_by(changes)
    }

    /// Reads `NAME=VALUE` on top of these. A list is given as `[500,503]`, text as it is.
    ///
    /// # Errors
    /// As [`Faults::from_json`].
    pub fn changed_by_setting(&self, setting: &str) -> Result<Self, String> {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("`{setting}` is not NAME=VALUE"))?;
        let as_written = || Value::String(value.to_owned());
        let value = match (name, serde_json::from_str(value)) {
            ("refuse_text", _) | (_, Err(_)) => as_written(),
            (_, Ok(value)) => value,
        };
        let changes = Map::from_iter([(name.to_owned(), value)]);
        self.changed_by(changes)
            .map_err(|error| format!("`{setting}`: {error}"))
    }

    fn changed_by(&self, changes: Map<String, Value>) -> Result<Self, String> {
        let mut all = match serde_json::to_value(self) {
            Ok(Value::Object(all)) => all,
            _ => Map::new(),
        };
        all.extend(changes);
        let faults: Faults =
            serde_json::from_value(Value::Object(all)).map_err(|error| error.to_string())?;
        faults.check()?;
        Ok(faults)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// The value that is out of its range, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let rates = [
            ("throttle_rate", self.throttle_rate),
            ("error_rate", self.error_rate),
            ("reset_rate", self.reset_rate),
            ("slow_rate", self.slow_rate),
            ("lost_answer_rate", self.lost_answer_rate),
            ("lost_rows_rate", self.lost_rows_rate),
            ("unauthorized_rate", self.unauthorized_rate),
            ("token_error_rate", self.token_error_rate),
        ];
        for (name, rate) in rates {
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("{name} is {rate}: a rate is from 0 to 1"));
            }
        }
        let times = [
            ("granted_after_seconds", self.granted_after_seconds),
            ("imds_gone_seconds", self.imds_gone_seconds),
            ("outage_seconds", self.outage_seconds.unwrap_or(0.0)),
            ("rows_late_seconds", self.rows_late_seconds),
            ("clock_skew_seconds", self.clock_skew_seconds.abs()),
            ("slow_ms", self.slow_ms as f64 / 1000.0),
            ("retry_after_seconds", self.retry_after_seconds as f64),
            (
                "token_life_seconds",
                self.token_life_seconds.unwrap_or(0) as f64,
            ),
        ];
        for (name, seconds) in times {
            if !(0.0..=SECONDS_MOST).contains(&seconds) {
                return Err(format!("{name} is too long or negative: at most a day"));
            }
        }
        let single = [&self.token_error_status]
            .into_iter()
            .chain(&self.imds_status);
        for status in self.error_status.iter().chain(single) {
            if !(300..=599).contains(status) {
                return Err(format!("status {status} is no error: 300 to 599"));
            }
        }
        if self.error_status.is_empty() {
            return Err("error_status is empty: at least one status".to_owned());
        }
        Ok(())
    }

    /// Life of a token; `usual` unless a fault shortens it.
    #[must_use]
    pub fn token_life(&self, usual: Duration) -> Duration {
        self.token_life_seconds.map_or(usual, Duration::from_secs)
    }

    /// How long accepted rows are on their way to the table.
    #[must_use]
    pub fn rows_late(&self) -> Duration {
        Duration::try_from_secs_f64(self.rows_late_seconds).unwrap_or_default()
    }

    /// The time by the service's clock.
    #[must_use]
    pub fn wall(&self, now: Wall) -> Wall {
        let off = (self.clock_skew_seconds * stamp::SECOND_NS as f64) as i64;
        Wall(now.0.saturating_add(off))
    }

    /// The outage's length; nothing for without end.
    #[must_use]
    pub fn outage_time(&self) -> Option<Duration> {
        self.outage_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    fn touch(&self, rule: &str) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|one| one == rule)
    }

    /// 429, with the `Retry-After` that is set.
    #[must_use]
    pub fn throttled(&self, wait: Duration, now: Moment, message: &str) -> Reply {
        let reply = Reply::error(429, "TooManyRequests", message);
        // a client that waits a second too little is refused again
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        match self.retry_after {
            RetryAfter::Seconds => reply.with("retry-after", seconds.to_string()),
            RetryAfter::Date => {
                let wait = i64::try_from(seconds + 1).unwrap_or(i64::MAX);
                let then = now
                    .wall
                    .0
                    .saturating_add(wait.saturating_mul(stamp::SECOND_NS));
                reply.with("retry-after", http_date(then))
            }
            RetryAfter::None => reply,
        }
    }
}

/// An HTTP date (RFC 9110 section 5.6.7): whole seconds, rounded down.
#[must_use]
pub fn http_date(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map_or_else(
        |_| String::new(),
        |stamp| stamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
    )
}

/// What happens to one call, drawn when it comes in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fate {
    /// Wait so long before anything else.
    pub wait: Duration,
    /// Reset the connection, keep nothing.
    pub reset: bool,
    /// Answer so without looking.
    pub reply: Option<Reply>,
    /// Refuse the token.
    pub unauthorized: bool,
    /// Refuse the identity: its role is on its way.
    pub forbidden: bool,
    /// Answer 204, keep nothing.
    pub lose_rows: bool,
    /// Keep the rows, then reset the connection.
    pub lose_answer: bool,
}

/// Draws what happens to a call of this rule. Every rate is drawn for every call, whichever of them
/// then counts, so that switching one on does not change the draws of the others.
pub fn draw(
    faults: &Faults,
    rule: &str,
    set_at: Mono,
    now: Moment,
    random: &mut fastrand::Rng,
) -> Fate {
    let mut hit = |rate: f64| random.f64() < rate;
    let throttle = hit(faults.throttle_rate);
    let error = hit(faults.error_rate);
    let reset = hit(faults.reset_rate);
    let slow = hit(faults.slow_rate);
    let lose_answer = hit(faults.lost_answer_rate);
    let lose_rows = hit(faults.lost_rows_rate);
    let unauthorized = hit(faults.unauthorized_rate);
    let status = random.choice(&faults.error_status).copied().unwrap_or(500);
    if !faults.touch(rule) {
        return Fate::default();
    }
    let reply = if error {
        Some(gateway_error(status, faults.error_body))
    } else if throttle {
        let wait = Duration::from_secs(faults.retry_after_seconds);
        Some(faults.throttled(wait, now, "The data collection rule is being throttled."))
    } else {
        None
    };
    Fate {
        wait: Duration::from_millis(if slow { faults.slow_ms } else { 0 }),
        reset,
        reply,
        unauthorized,
        forbidden: now.mono.since(set_at).as_secs_f64() < faults.granted_after_seconds,
        lose_rows,
        lose_answer,
    }
}

/// What something in front of the service says.
#[must_use]
pub fn gateway_error(status: u16, body: ErrorBody) -> Reply {
    let reason = match status {
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Time-out",
        _ => "Error",
    };
    let reply = match body {
        ErrorBody::Huge => Reply::text(status, "x".repeat(4 << 20)),
        ErrorBody::Html => Reply::html(status, reason),
        ErrorBody::Empty => Reply::empty(status),
        ErrorBody::Json => Reply::error(status, "InternalError", reason),
    };
    match status {
        300..=399 => reply.with("location", "/elsewhere"),
        429 => reply.with("retry-after", "1"),
        _ => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;

    const NOW: Moment = Moment {
        mono: Mono(5_000_000_000),
        wall: Wall(1_714_564_800_000_000_000),
    };

    #[test]
    fn settings_are_read_by_the_same_names_from_json_and_from_the_command_line() {
        let json =
            br#"{"error_rate":0.25,"error_status":[503],"outage":"refuse","outage_seconds":20,
                        "refuse_text":"17","retry_after":"date","token_life_seconds":2}"#;
        let by_json = Faults::from_json(json).unwrap();
        let mut by_settings = Faults::default();
        for setting in [
            "error_rate=0.25",
            "error_status=[503]",
            "outage=refuse",
            "outage_seconds=20",
            "refuse_text=17",
            "retry_after=date",
            "token_life_seconds=2",
        ] {
            by_settings = by_settings.changed_by_setting(setting).unwrap();
        }
        assert_eq!(by_settings, by_json);
        assert_eq!(
            by_json
                .changed_by_json(b"{\"error_rate\":0}")
                .unwrap()
                .error_rate,
            0.0
        );
        assert_eq!(by_json.changed_by_json(b"{}").unwrap(), by_json);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (setting, part) in [
            ("throttle_rate", "NAME=VALUE"),
            ("trottle_rate=1", "unknown field"),
            ("error_rate=1.5", "from 0 to 1"),
            ("error_rate=-0.1", "from 0 to 1"),
            ("error_rate=often", "invalid type"),
            ("error_status=[204]", "204"),
            ("error_status=[]", "empty"),
            ("outage=forever", "unknown variant"),
            ("outage_seconds=-1", "negative"),
            ("slow_ms=100000000000", "a day"),
            ("token_error_status=200", "200"),
        ] {
            let error = Faults::default().changed_by_setting(setting).unwrap_err();
            assert!(error.contains(part), "{setting}: {error}");
        }
        assert!(Faults::from_json(b"[]").is_err());
        assert!(Faults::from_json(b"nonsense").is_err());
    }

    #[test]
    fn rates_are_met_and_repeat_with_the_seed() {
        let faults = Faults {
            throttle_rate: 0.1,
            reset_rate: 0.3,
            ..Faults::default()
        };
        let run = || {
            let mut random = fastrand::Rng::with_seed(7);
            (0..10_000)
                .map(|_| draw(&faults, "dcr-1", Mono(0), NOW, &mut random))
                .collect::<Vec<_>>()
        };
        let fates = run();
        assert_eq!(fates, run());
        let throttled = fates.iter().filter(|fate| fate.reply.is_some()).count();
        let reset = fates.iter().filter(|fate| fate.reset).count();
        assert!((900..1100).contains(&throttled), "{throttled}");
        assert!((2800..3200).contains(&reset), "{reset}");
        assert!(
            fates
                .iter()
                .all(|fate| !fate.lose_answer && !fate.forbidden && fate.wait.is_zero())
        );
    }

    #[test]
    fn only_the_named_rules_are_touched() {
        let faults = Faults {
            error_rate: 1.0,
            rules: vec!["dcr-1".into()],
            ..Faults::default()
        };
        let mut random = fastrand::Rng::with_seed(7);
        assert!(
            draw(&faults, "dcr-1", Mono(0), NOW, &mut random)
                .reply
                .is_some()
        );
        assert_eq!(
            draw(&faults, "dcr-2", Mono(0), NOW, &mut random),
            Fate::default()
        );
    }

    #[test]
    fn a_grant_acts_after_its_delay() {
        let faults = Faults {
            granted_after_seconds: 4.0,
            ..Faults::default()
        };
        let mut random = fastrand::Rng::with_seed(7);
        assert!(draw(&faults, "dcr-1", Mono(1_500_000_000), NOW, &mut random).forbidden);
        assert!(!draw(&faults, "dcr-1", Mono(1_000_000_000), NOW, &mut random).forbidden);
    }

    #[test]
    fn retry_after_has_three_forms() {
        let header = |retry_after| {
            let faults = Faults {
                retry_after,
                ..Faults::default()
            };
            let reply = faults.throttled(Duration::from_millis(2500), NOW, "x");
            reply
                .headers
                .into_iter()
                .find(|(name, _)| *name == "retry-after")
                .map(|(_, value)| value)
        };
        assert_eq!(header(RetryAfter::Seconds).as_deref(), Some("3"));
        assert_eq!(
            header(RetryAfter::Date).as_deref(),
            Some("Wed, 01 May 2024 12:00:04 GMT")
        );
        assert_eq!(header(RetryAfter::None), None);
    }
}
