//! Values of typed columns. A value that does not fit is not forced: the caller puts its text into
//! `AdditionalExtensions`.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::clock::Wall;
use jiff::Timestamp;
use jiff::tz::Offset;
use std::io::Write;

/// A whole number of 64 bits.
pub(super) fn read_long(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    let (digits, negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        [b'+', digits @ ..] | digits => (digits, false),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0i64;
    for byte in digits {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        // counted downwards, where there is one number more
        number = number.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative {
        Some(number)
    } else {
        number.checked_neg()
    }
}

/// A finite number.
pub(super) fn read_real(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number)
}

/// Writes a whole number.
pub(super) fn write_long(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(long_digits(number, &mut [0; 20]));
}

/// The text of a whole number, at the end of `text`.
pub(super) fn long_digits(number: i64, text: &mut [u8; 20]) -> &[u8] {
    // 19 digits and a sign
    let mut start = text.len();
    let mut rest = number.unsigned_abs();
    for place in text.iter_mut().rev() {
        *place = b'0' | u8::try_from(rest % 10).unwrap_or(0);
        start = start.saturating_sub(1);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        start = start.saturating_sub(1);
        if let Some(place) = text.get_mut(start) {
            *place = b'-';
        }
    }
    text.get(start..).unwrap_or_default()
}

/// Writes a number so that it reads back as the same, in at most 24 bytes: very large and very small
/// ones with an exponent, not with hundreds of zeros.
pub(super) fn write_real(out: &mut Vec<u8>, number: f64) {
    let _ = if number == 0.0 || (1e-5..1e16).contains(&number.abs()) {
        write!(out, "{number}")
    } else {
        write!(out, "{number:e}")
    };
}

/// Writes a time as ISO 8601, UTC: `2026-11-25T01:59:07.482Z`, with as many digits of its fraction
/// as it has, up to the seven that the service keeps. False, and nothing written, outside of the
/// years 1 to 9999.
pub(super) fn write_time(out: &mut Vec<u8>, wall: Wall) -> bool {
    let Ok(timestamp) = Timestamp::from_nanosecond(i128::from(wall.0)) else {
        return false;
    };
    let civil = Offset::UTC.to_datetime(timestamp);
    let Ok(year @ 1..=9999) = u32::try_from(civil.year()) else {
        return false;
    };
    digits::<4>(out, year);
    for (lead, part) in [
        (b'-', civil.month()),
        (b'-', civil.day()),
        (b'T', civil.hour()),
        (b':', civil.minute()),
        (b':', civil.second()),
    ] {
        out.push(lead);
        digits::<2>(out, part.unsigned_abs().into());
    }
    let ticks = civil.subsec_nanosecond().unsigned_abs() / 100;
    if !ticks.is_multiple_of(10_000) {
        out.push(b'.');
        digits::<7>(out, ticks);
    } else if ticks != 0 {
        out.push(b'.');
        digits::<3>(out, ticks / 10_000);
    }
    out.push(b'Z');
    true
}

/// The last `N` digits of a number.
fn digits<const N: usize>(out: &mut Vec<u8>, mut number: u32) {
    let mut text = [b'0'; N];
    for place in text.iter_mut().rev() {
        *place = b'0' | u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_iso_8601() {
        for (nanos, expected) in [
            (1_795_571_947_482_000_000, "2026-11-25T01:59:07.482Z"),
            (1_795_571_947_000_000_000, "2026-11-25T01:59:07Z"),
            (1_795_571_947_482_123_456, "2026-11-25T01:59:07.4821234Z"),
            (0, "1970-01-01T00:00:00Z"),
            (-1_000_000, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "2262-04-11T23:47:16.8547758Z"),
        ] {
            let mut out = Vec::new();
            assert!(write_time(&mut out, Wall(nanos)));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn real_numbers_are_short_and_read_back_as_the_same() {
        for (number, expected) in [
            (0.35, "0.35"),
            (-0.0, "-0"),
            (90.0, "90"),
            (1e-5, "0.00001"),
            (9e-6, "9e-6"),
            (1e16, "1e16"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (-f64::MAX, "-1.7976931348623157e308"),
        ] {
            let mut out = Vec::new();
            write_real(&mut out, number);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text, expected);
            assert_eq!(text.parse(), Ok(number));
        }
    }

    #[test]
    fn whole_numbers_are_written_as_they_are_read() {
        for number in [
            0,
            7,
            -7,
            10,
            99,
            100,
            i64::MAX,
            i64::MIN,
            i64::from(i32::MIN),
        ] {
            let mut out = Vec::new();
            write_long(&mut out, number);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), number.to_string());
            assert_eq!(read_long(&out), Some(number));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_none() {
        for (text, number) in [
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            (" +007 ", 7),
            ("-0", 0),
        ] {
            assert_eq!(read_long(text.as_bytes()), Some(number));
        }
        for text in [
            &b"9223372036854775808"[..],
            b"-9223372036854775809",
            b"-",
            b"+-1",
            b"",
            b"0x10",
            b"1.0",
            b"1 2",
            b"\xff",
        ] {
            assert_eq!(read_long(text), None);
        }
        assert_eq!(read_real(b"-1.5e3"), Some(-1500.0));
        for text in [&b"nan"[..], b"inf", b"1e999", b"", b"1,5"] {
            assert_eq!(read_real(text), None);
        }
    }
}
