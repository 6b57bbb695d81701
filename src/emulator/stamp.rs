//! Points and spans of time as Kusto reads and writes them: UTC, in steps of 100 ns.
//!
//! Both are held as nanoseconds in 64 bits, which reach from 1677 to 2262; what lies outside is
//! not a time.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Nanoseconds in one step.
const STEP_NS: i64 = 100;

/// Nanoseconds in a second, and so on.
pub const SECOND_NS: i64 = 1_000_000_000;
/// In a minute.
pub const MINUTE_NS: i64 = 60 * SECOND_NS;
/// In an hour.
pub const HOUR_NS: i64 = 60 * MINUTE_NS;
/// In a day.
pub const DAY_NS: i64 = 24 * HOUR_NS;

/// Reads an ISO 8601 time; one without a zone is UTC. Nanoseconds since 1970.
#[must_use]
pub fn parse_time(text: &str) -> Option<i64> {
    let text = text.trim();
    let stamp = match text.parse::<Timestamp>() {
        Ok(stamp) => stamp,
        Err(_) => {
            let civil = text
                .parse::<DateTime>()
                .or_else(|_| text.parse::<Date>().map(DateTime::from))
                .ok()?;
            TimeZone::UTC.to_timestamp(civil).ok()?
        }
    };
    let ns = i64::try_from(stamp.as_nanosecond()).ok()?;
    Some(ns.saturating_sub(ns.rem_euclid(STEP_NS)))
}

/// A time as the query API writes it: no more digits than it needs.
#[must_use]
pub fn time_text(ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(ns))
        .map_or_else(|_| String::new(), |stamp| stamp.to_string())
}

/// A span as Kusto writes it: `[-][d.]hh:mm:ss[.fffffff]`.
#[must_use]
pub fn span_text(ns: i64) -> String {
    let size = ns.unsigned_abs();
    let part = |unit: i64| unit.unsigned_abs();
    let mut out = String::new();
    if ns < 0 {
        out.push('-');
    }
    let days = size / part(DAY_NS);
    if days > 0 {
        let _ = write!(out, "{days}.");
    }
    let _ = write!(
        out,
        "{:02}:{:02}:{:02}",
        size / part(HOUR_NS) % 24,
        size / part(MINUTE_NS) % 60,
        size / part(SECOND_NS) % 60
    );
    let steps = size % part(SECOND_NS) / part(STEP_NS);
    if steps > 0 {
        let _ = write!(out, ".{steps:07}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_that_senders_use() {
        let noon = 1_714_564_800 * SECOND_NS;
        for text in [
            "2024-05-01T12:00:00Z",
            "2024-05-01T12:00:00.000Z",
            "2024-05-01T14:00:00+02:00",
            "2024-05-01T12:00:00",
            "2024-05-01 12:00:00",
            " 2024-05-01T12:00:00.00000001Z",
        ] {
            assert_eq!(parse_time(text), Some(noon), "{text}");
        }
        assert_eq!(parse_time("2024-05-01"), Some(noon - 12 * HOUR_NS));
        for text in [
            "",
            "yesterday",
            "2024-13-01T00:00:00Z",
            "1714564800",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn times_and_spans_are_written_as_kusto_does() {
        assert_eq!(time_text(1_714_564_800 * SECOND_NS), "2024-05-01T12:00:00Z");
        assert_eq!(
            time_text(1_714_564_800_123_456_700),
            "2024-05-01T12:00:00.1234567Z"
        );
        assert_eq!(span_text(5 * MINUTE_NS), "00:05:00");
        assert_eq!(span_text(-(DAY_NS + SECOND_NS / 2)), "-1.00:00:00.5000000");
        assert_eq!(span_text(i64::MIN).chars().next(), Some('-'));
    }
}
