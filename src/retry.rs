//! When to try again: jittered back-off, and what `Retry-After` asks for.
//!
//! Pure: chance and time come in as arguments.

use crate::clock::Wall;
use crate::limits::{BACKOFF_FIRST, BACKOFF_LEAST, BACKOFF_MOST, RETRY_AFTER_MOST, RETRY_SPREAD};
use crate::planted::{Bug, is_planted};
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// The pause after `failures` failures in a row: any time up to a bound that doubles with each
/// ("full jitter": clients that failed together do not come back together). `chance` is in `0..1`.
#[must_use]
pub fn backoff(failures: u32, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let bound = BACKOFF_FIRST
        .saturating_mul(1 << doublings)
        .min(BACKOFF_MOST);
    bound.mul_f64(chance.clamp(0.0, 1.0)).max(BACKOFF_LEAST)
}

/// A pause that somebody asked for, made a little longer: by up to a tenth, and no more than
/// [`RETRY_SPREAD`]. Never shorter. `chance` is in `0..1`.
#[must_use]
pub fn spread(pause: Duration, chance: f64) -> Duration {
    pause
        + (pause / 10)
            .min(RETRY_SPREAD)
            .mul_f64(chance.clamp(0.0, 1.0))
}

/// What the service asks to wait: `retry-after-ms` and `x-ms-retry-after-ms` in milliseconds
/// (as Azure's own clients read them), else `Retry-After` in seconds or as a date (RFC 9110
/// section 10.2.3). At most [`RETRY_AFTER_MOST`]; nothing if absent or neither.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Wall) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let pause = ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .find_map(|name| whole_number(text(name)?).map(Duration::from_millis))
        .or_else(|| {
            let value = text(RETRY_AFTER.as_str())?;
            whole_number(value)
                .map(Duration::from_secs)
                .or_else(|| until(value, now))
        })?;
    if is_planted(Bug::RetryAfterUncapped) {
        return Some(pause);
    }
    Some(pause.min(RETRY_AFTER_MOST))
}

/// Digits only; a number past the range is the greatest.
fn whole_number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// An HTTP date (RFC 9110 section 5.6.7), in nanoseconds since 1970.
#[must_use]
pub fn http_date(date: &str) -> Option<i128> {
    let at = DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(date)
        .ok()?;
    Some(at.as_nanosecond())
}

/// Time from now to an HTTP date; zero if it is past.
fn until(date: &str, now: Wall) -> Option<Duration> {
    let nanoseconds = http_date(date)? - i128::from(now.0);
    Some(Duration::from_nanos(
        u64::try_from(nanoseconds.max(0)).unwrap_or(u64::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn asked(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        // 1994-11-06T08:49:00Z
        retry_after(&map, Wall(784_111_740_000_000_000))
    }

    #[test]
    fn a_pause_doubles_up_to_its_bound_and_is_never_too_short() {
        for (failures, bound_ms) in [
            (0, 500),
            (1, 500),
            (2, 1_000),
            (3, 2_000),
            (6, 16_000),
            (7, 30_000),
            (u32::MAX, 30_000),
        ] {
            assert_eq!(backoff(failures, 1.0), Duration::from_millis(bound_ms));
            assert_eq!(backoff(failures, 0.0), BACKOFF_LEAST);
            assert_eq!(backoff(failures, 0.5), Duration::from_millis(bound_ms / 2));
        }
    }

    #[test]
    fn a_pause_that_was_asked_for_is_never_made_shorter() {
        assert_eq!(
            spread(Duration::from_secs(30), 0.0),
            Duration::from_secs(30)
        );
        assert_eq!(
            spread(Duration::from_secs(30), 1.0),
            Duration::from_secs(31)
        );
        assert_eq!(
            spread(Duration::from_secs(1), 1.0),
            Duration::from_millis(1_100)
        );
    }

    #[test]
    fn all_forms_of_retry_after_are_read() {
        let ms = |ms| Some(Duration::from_millis(ms));
        for (headers, expected) in [
            (&[][..], None),
            (&[("retry-after", "17")], ms(17_000)),
            (&[("retry-after", " 0 ")], ms(0)),
            (
                &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")],
                ms(37_000),
            ),
            (&[("retry-after", "Sun, 06 Nov 1994 08:48:37 GMT")], ms(0)),
            (
                &[("retry-after", "Sun, 06 Nov 2094 08:49:37 GMT")],
                Some(RETRY_AFTER_MOST),
            ),
            (&[("retry-after", "86400")], Some(RETRY_AFTER_MOST)),
            (
                &[("retry-after", "99999999999999999999999")],
                Some(RETRY_AFTER_MOST),
            ),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "1.5")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "")], None),
            (&[("retry-after-ms", "250")], ms(250)),
            (&[("x-ms-retry-after-ms", "1500")], ms(1_500)),
            (
                &[("retry-after", "17"), ("x-ms-retry-after-ms", "20")],
                ms(20),
            ),
            (
                &[("retry-after", "17"), ("retry-after-ms", "no")],
                ms(17_000),
            ),
        ] {
            assert_eq!(asked(headers), expected, "{headers:?}");
        }
    }
}
