//! Values of typed columns. A value that does not fit is not forced: the caller puts its text into
//! `AdditionalExtensions`.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::clock::Wall;
use crate::page::pen::BLOCK_BYTES;
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

/// Whether a text is a whole number as we write it, and not below zero.
#[inline]
pub(super) fn is_canonical(text: &[u8]) -> bool {
    let mut are_digits = true;
    for byte in text {
        are_digits &= byte.wrapping_sub(b'0') < 10;
    }
    match text {
        [] => false,
        [b'0'] => true,
        [b'0', ..] => false,
        _ => are_digits,
    }
}

/// The same for the first `len` bytes of a block, of which those with more than eight are left out.
#[inline(always)]
pub(super) fn is_short_number(block: &[u8; BLOCK_BYTES], len: usize) -> bool {
    let [first, ..] = block;
    if len.wrapping_sub(1) >= 8 || (*first == b'0' && len > 1) {
        return false;
    }
    let word = block
        .first_chunk()
        .map_or(0, |word| u64::from_le_bytes(*word));
    // eight bytes, those behind the text `0`
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let behind = (64u32.wrapping_sub((len as u32).wrapping_mul(8))) & 63;
    let word = word.wrapping_shl(behind) | !u64::MAX.wrapping_shl(behind) & ZEROS;
    // digits are what begins with 3, and still does when there is 6 more
    let upper = 0xF0F0_F0F0_F0F0_F0F0;
    word & upper == ZEROS && word.wrapping_add(0x0606_0606_0606_0606) & upper == ZEROS
}

/// A finite number.
pub(super) fn read_real(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number)
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
pub(super) fn write_real(out: &mut impl Write, number: f64) {
    // a buffer takes whatever is written to it
    let _ = if number == 0.0 || (1e-5..1e16).contains(&number.abs()) {
        write!(out, "{number}")
    } else {
        write!(out, "{number:e}")
    };
}

/// Length of the longest text of a time.
const TIME_BYTES_MAX: usize = "2026-11-25T01:59:07.4821234Z".len();
const SECOND_NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// Text of a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeText {
    bytes: [u8; TIME_BYTES_MAX],
    len: usize,
}

impl TimeText {
    /// A time as ISO 8601, UTC: `2026-11-25T01:59:07.482Z`, with as many digits of its fraction as it
    /// has, up to the seven that the service keeps. A [`Wall`] is of the years 1677 to 2262.
    pub(super) fn of(wall: Wall) -> TimeText {
        let seconds = wall.0.div_euclid(SECOND_NS);
        let ticks = wall.0.rem_euclid(SECOND_NS) / 100;
        let second = seconds.rem_euclid(DAY_S);
        let (year, month, date) = civil(seconds.div_euclid(DAY_S));
        let mut bytes = *b"0000-00-00T00:00:00.0000000Z";
        let mut put = |at: usize, len: usize, number: i64| {
            digits(bytes.iter_mut().skip(at).take(len), number);
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, date);
        put(11, 2, second / 3600);
        put(14, 2, second / 60 % 60);
        put(17, 2, second % 60);
        let len = match ticks {
            0 => 20,
            _ if ticks % 10_000 == 0 => {
                put(20, 3, ticks / 10_000);
                24
            }
            _ => {
                put(20, 7, ticks);
                TIME_BYTES_MAX
            }
        };
        if let Some(last) = bytes.get_mut(..len).and_then(<[u8]>::last_mut) {
            *last = b'Z';
        }
        TimeText { bytes, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Year, month and day of the month of a day counted from 1970-01-01, in the calendar of Gregory: years
/// are counted from the first of March, so that the day that not all of them have is their last.
fn civil(day: i64) -> (i64, i64, i64) {
    /// Days in 400 years, after which all repeats.
    const ERA: i64 = 146_097;
    // from 0000-03-01 on
    let day = day.saturating_add(719_468);
    let era = day.div_euclid(ERA);
    let day = day.rem_euclid(ERA);
    // without the leap days that went before
    let leap_days = (day / 1460).saturating_sub(day / 36_524);
    let leap_days = leap_days.saturating_add(day / (ERA - 1));
    let year_of_era = day.saturating_sub(leap_days) / 365;
    let before = year_of_era
        .saturating_mul(365)
        .saturating_add(year_of_era / 4);
    let day = day.saturating_sub(before.saturating_sub(year_of_era / 100));
    // months from March on have 31, 30, 31, 30, 31 days, over and over
    let month = day.saturating_mul(5).saturating_add(2) / 153;
    let days_before = month.saturating_mul(153).saturating_add(2) / 5;
    let date = day.saturating_sub(days_before).saturating_add(1);
    let (month, years) = match month {
        0..10 => (month.saturating_add(3), 0),
        _ => (month.saturating_sub(9), 1),
    };
    let year = era.saturating_mul(400).saturating_add(year_of_era);
    (year.saturating_add(years), month, date)
}

/// The last digits of a number, as many as there are places.
fn digits<'p>(places: impl DoubleEndedIterator<Item = &'p mut u8>, number: i64) {
    let mut rest = number.unsigned_abs() as u32;
    for place in places.rev() {
        *place = b'0' | (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_are_those_that_any_length_knows() {
        let seed = 0x5eed_0018;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..200_000u32 {
            let mut block = [0u8; BLOCK_BYTES];
            for byte in &mut block {
                *byte = match round % 3 {
                    0 => random.u8(..),
                    _ => *random.choice(b"0123456789/:0").unwrap(),
                };
            }
            let len = random.usize(0..12);
            let expected = len <= 8 && is_canonical(&block[..len]);
            assert_eq!(is_short_number(&block, len), expected, "{len} of {block:?}");
        }
        for byte in 0..=u8::MAX {
            // each byte at each place of eight digits
            for at in 0..8 {
                let mut block = [b'1'; BLOCK_BYTES];
                block[at] = byte;
                assert_eq!(is_short_number(&block, 8), is_canonical(&block[..8]));
            }
        }
    }

    #[test]
    fn times_are_written_as_iso_8601() {
        for (nanos, expected) in [
            (1_795_571_947_482_000_000, "2026-11-25T01:59:07.482Z"),
            (1_795_571_947_000_000_000, "2026-11-25T01:59:07Z"),
            (1_795_571_947_482_123_456, "2026-11-25T01:59:07.4821234Z"),
            (0, "1970-01-01T00:00:00Z"),
            (-1_000_000, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "2262-04-11T23:47:16.8547758Z"),
            (i64::MIN, "1677-09-21T00:12:43.1452241Z"),
        ] {
            let text = TimeText::of(Wall(nanos));
            assert_eq!(std::str::from_utf8(text.bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let seed = 0x5eed_0013;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        // all that 64 bits of nanoseconds reach: each day at a random time
        let days = i64::MAX / (DAY_S * SECOND_NS);
        for day in -days..=days {
            let nanos = day * DAY_S * SECOND_NS + random.i64(0..DAY_S) * SECOND_NS;
            let nanos = nanos.saturating_add(random.i64(0..10_000) * 100_000);
            let text = TimeText::of(Wall(nanos));
            let text: jiff::Timestamp = std::str::from_utf8(text.bytes()).unwrap().parse().unwrap();
            assert_eq!(
                text,
                jiff::Timestamp::from_nanosecond(nanos.into()).unwrap()
            );
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
            let mut digits = [0; 20];
            let digits = long_digits(number, &mut digits);
            assert_eq!(digits, number.to_string().as_bytes());
            assert_eq!(read_long(digits), Some(number));
        }
    }

    #[test]
    fn canonical_numbers_are_those_that_come_back_as_they_were() {
        let seed = 0x5eed_0015;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..100_000 {
            let text: Vec<u8> = (0..random.usize(0..19))
                .map(|_| match random.u8(0..20) {
                    0 => *random.choice(b" +-.:/").unwrap(),
                    1..5 => b'0',
                    _ => random.u8(b'0'..=b'9'),
                })
                .collect();
            let mut digits = [0; 20];
            let back = read_long(&text).map(|number| long_digits(number, &mut digits));
            let comes_back = back == Some(&text) && text.first() != Some(&b'-');
            assert_eq!(is_canonical(&text), comes_back, "{text:?}");
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
