//! Times in all the forms that senders write, as UTC.
//!
//! | form | as in |
//! |---|---|
//! | epoch, by magnitude: seconds, milliseconds, microseconds, nanoseconds | `1795571947482`, `1795571947.482` |
//! | the CEF guide's eight: `MMM dd[ yyyy] HH:mm:ss[.SSS][ zzz]` | `Nov 25 2026 01:59:07.482 UTC` |
//! | the same with French month names, year first, day first, weekday first, year last | `25 déc. 2026 01:59:07` |
//! | ISO 8601, `T` or a blank between, any fraction | `2026-11-25T01:59:07.4821234Z` |
//! | DB2 | `2026-11-25-01.59.07.482123` |
//!
//! Quotes around it do not count. Zones: `Z`, `UTC`, `GMT`, offsets (`+0100`, `GMT+01:00`), the North
//! American and Central European abbreviations, names of the IANA database. An abbreviation that
//! stands for several zones (`IST`) makes the time unreadable rather than wrong. Without a year the
//! one is taken that brings the time nearest to now; without a zone the caller's.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::syslog::{digits_len, number};
use crate::clock::Wall;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

/// Longest text that can be a time.
const TIME_BYTES_MAX: usize = 64;
/// Most words of a time: weekday, month, day, time, zone, year.
const WORDS_MAX: usize = 8;

/// Years of which a part can be told in 64 bits of nanoseconds.
const YEARS: std::ops::RangeInclusive<i16> = 1677..=2262;

/// What a text that leaves it out is read with.
#[derive(Clone, Copy)]
pub struct Defaults<'z> {
    /// For the year.
    pub now: Wall,
    /// For the zone; asked only if it is needed.
    pub zone: &'z dyn Fn() -> TimeZone,
}

/// The instant that `text` names; nothing if it is no time, or one that [`Wall`]
/// cannot hold (before 1677-09-21 or after 2262-04-11).
#[must_use]
pub fn read(text: &[u8], defaults: Defaults<'_>) -> Option<Wall> {
    let text = text.trim_ascii();
    let text = match text {
        [b'"', inner @ .., b'"'] => inner.trim_ascii(),
        _ => text,
    };
    if text.len() > TIME_BYTES_MAX {
        return None;
    }
    read_epoch(text).or_else(|| read_civil(text, defaults))
}

/// Seconds below 1e11, milliseconds below 1e14, microseconds below 1e17, then nanoseconds.
fn read_epoch(text: &[u8]) -> Option<Wall> {
    let digits = digits_len(text);
    let whole: u64 = std::str::from_utf8(text.get(..digits)?)
        .ok()?
        .parse()
        .ok()?;
    let unit: i64 = match whole {
        ..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    let nanos = i64::try_from(whole).ok()?.checked_mul(unit)?;
    match text.get(digits..)? {
        [] => Some(Wall(nanos)),
        // a fraction goes with seconds, and only with a plausible number of them
        [b'.', fraction @ ..] if unit == 1_000_000_000 && digits >= 9 => Some(Wall(
            nanos.checked_add(i64::from(read_fraction(fraction)?))?,
        )),
        _ => None,
    }
}

/// Digits behind the decimal point, as nanoseconds; those past the ninth do not count.
fn read_fraction(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || digits_len(digits) != digits.len() {
        return None;
    }
    let mut nanos = 0i32;
    for place in 0..9 {
        let digit = digits.get(place).map_or(0, |byte| byte.wrapping_sub(b'0'));
        nanos = nanos.checked_mul(10)?.checked_add(i32::from(digit))?;
    }
    Some(nanos)
}

/// The parts of a civil time as they are found.
#[derive(Default)]
struct Parts {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    time: Option<Time>,
    zone: Option<TimeZone>,
}

fn read_civil(text: &[u8], defaults: Defaults<'_>) -> Option<Wall> {
    let mut parts = Parts::default();
    let mut words = 0usize;
    for word in text
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
    {
        words = words.checked_add(1).filter(|words| *words <= WORDS_MAX)?;
        read_word(word, &mut parts)?;
    }
    let (month, day, time) = (parts.month?, parts.day?, parts.time?);
    let zone = parts.zone.unwrap_or_else(defaults.zone);
    match parts.year {
        Some(year) => instant(year, month, day, time, &zone),
        None => nearest_year(month, day, time, &zone, defaults.now),
    }
}

/// Nothing outside of the years that [`Wall`] spans. What cannot be is refused before jiff is asked:
/// its errors cost an allocation, and a sender may repeat the same mistake in every message.
fn instant(year: i16, month: i8, day: i8, time: Time, zone: &TimeZone) -> Option<Wall> {
    let first = (YEARS.contains(&year) && (1..=12).contains(&month))
        .then(|| Date::new(year, month, 1).ok())??;
    let date = (1..=first.days_in_month())
        .contains(&day)
        .then(|| Date::new(year, month, day).ok())??;
    let timestamp = zone.to_timestamp(DateTime::from_parts(date, time)).ok()?;
    i64::try_from(timestamp.as_nanosecond()).ok().map(Wall)
}

/// This year, the last or the next: a message of 31 December may be read on 1 January.
fn nearest_year(month: i8, day: i8, time: Time, zone: &TimeZone, now: Wall) -> Option<Wall> {
    let today = Offset::UTC.to_datetime(jiff::Timestamp::from_nanosecond(i128::from(now.0)).ok()?);
    // 29 February exists in one year of the three at most, or in none: then the nearest leap year
    (-4i16..=4)
        .filter_map(|years| instant(today.year().checked_add(years)?, month, day, time, zone))
        .min_by_key(|wall| wall.0.abs_diff(now.0))
}

/// One word: whatever part of a time it can be and that is still missing.
fn read_word(word: &[u8], parts: &mut Parts) -> Option<()> {
    let word = word.strip_suffix(b",").unwrap_or(word);
    let digits = digits_len(word);
    if digits == word.len() {
        return read_number(word, parts);
    }
    if digits > 0 {
        return read_compound(word, parts);
    }
    if parts.month.is_none() {
        if let Some(month) = read_month(word) {
            parts.month = Some(month);
            return Some(());
        }
        if is_weekday(word) {
            return Some(());
        }
    }
    parts.time?;
    put(&mut parts.zone, read_zone(word)?)
}

/// A part may come once.
fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.is_none().then(|| *place = Some(value))
}

fn read_number(word: &[u8], parts: &mut Parts) -> Option<()> {
    let value = number(word)?;
    match word.len() {
        1 | 2 => put(&mut parts.day, i8::try_from(value).ok()?),
        4 => put(&mut parts.year, i16::try_from(value).ok()?),
        _ => None,
    }
}

/// A word that begins with a digit and is no number: a clock time, or an ISO date with or without.
fn read_compound(word: &[u8], parts: &mut Parts) -> Option<()> {
    match word {
        [_, _, b':', ..] | [_, b':', ..] => {
            let (time, zone) = read_clock(word, b':')?;
            put(&mut parts.time, time)?;
            zone.map_or(Some(()), |zone| put(&mut parts.zone, zone))
        }
        [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, rest @ ..] => {
            put(
                &mut parts.year,
                i16::try_from(number(&[*y0, *y1, *y2, *y3])?).ok()?,
            )?;
            put(&mut parts.month, i8::try_from(number(&[*m0, *m1])?).ok()?)?;
            put(&mut parts.day, i8::try_from(number(&[*d0, *d1])?).ok()?)?;
            let (time, zone) = match rest {
                [] => return Some(()),
                [b'T' | b't', clock @ ..] => read_clock(clock, b':')?,
                [b'-', clock @ ..] => read_clock(clock, b'.')?,
                _ => return None,
            };
            put(&mut parts.time, time)?;
            zone.map_or(Some(()), |zone| put(&mut parts.zone, zone))
        }
        _ => None,
    }
}

/// `HH:mm[:ss[.fraction]][zone]`, with `separator` between the first three.
fn read_clock(word: &[u8], separator: u8) -> Option<(Time, Option<TimeZone>)> {
    let (hour, rest) = two_digits(word)?;
    let (minute, rest) = two_digits(rest.strip_prefix(&[separator])?)?;
    let (second, rest) = match rest.strip_prefix(&[separator]) {
        Some(rest) => two_digits(rest)?,
        None => (0, rest),
    };
    let (nanos, rest) = match rest {
        [b'.' | b',', tail @ ..] => {
            let (fraction, rest) = tail.split_at_checked(digits_len(tail))?;
            (read_fraction(fraction)?, rest)
        }
        _ => (0, rest),
    };
    // a leap second is read as the last one that every clock has; as to the check, see `instant`
    let time = (hour <= 23 && minute <= 59 && second <= 60)
        .then(|| Time::new(hour, minute, second.min(59), nanos).ok())??;
    let zone = match rest {
        [] => None,
        zone => Some(read_zone(zone)?),
    };
    Some((time, zone))
}

/// One or two digits at the front.
fn two_digits(text: &[u8]) -> Option<(i8, &[u8])> {
    let (digits, rest) = text.split_at_checked(digits_len(text))?;
    let value = i8::try_from(number(digits)?).ok()?;
    (digits.len() <= 2).then_some((value, rest))
}

/// English in full or by three letters, French in full or as abbreviated there.
fn read_month(word: &[u8]) -> Option<i8> {
    const LONG: [(&str, i8); 33] = [
        ("january", 1),
        ("february", 2),
        ("march", 3),
        ("april", 4),
        ("may", 5),
        ("june", 6),
        ("july", 7),
        ("august", 8),
        ("september", 9),
        ("october", 10),
        ("november", 11),
        ("december", 12),
        ("sept", 9),
        ("janvier", 1),
        ("janv", 1),
        ("février", 2),
        ("févr", 2),
        ("fevrier", 2),
        ("fevr", 2),
        ("mars", 3),
        ("avril", 4),
        ("avr", 4),
        ("mai", 5),
        ("juin", 6),
        ("juillet", 7),
        ("juil", 7),
        ("août", 8),
        ("aout", 8),
        ("septembre", 9),
        ("octobre", 10),
        ("novembre", 11),
        ("décembre", 12),
        ("déc", 12),
    ];
    let word = word.strip_suffix(b".").unwrap_or(word);
    // what nearly every header holds, without a search
    if let [a, b, c] = word {
        let month = match &[a | 0x20, b | 0x20, c | 0x20] {
            b"jan" => 1,
            b"feb" => 2,
            b"mar" => 3,
            b"apr" => 4,
            b"may" => 5,
            b"jun" => 6,
            b"jul" => 7,
            b"aug" => 8,
            b"sep" => 9,
            b"oct" => 10,
            b"nov" => 11,
            b"dec" => 12,
            _ => 0,
        };
        if month > 0 && word.iter().all(u8::is_ascii_alphabetic) {
            return Some(month);
        }
    }
    LONG.iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, month)| *month)
}

fn is_weekday(word: &[u8]) -> bool {
    const DAYS: [&[u8]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];
    let word = word.get(..3).unwrap_or(word);
    DAYS.iter().any(|day| word.eq_ignore_ascii_case(day))
}

/// The zone that `text` names.
#[must_use]
pub fn read_zone(text: &[u8]) -> Option<TimeZone> {
    /// Abbreviations with one meaning, in hours.
    const ABBREVIATIONS: [(&[u8], i8); 13] = [
        (b"EST", -5),
        (b"EDT", -4),
        (b"CST", -6),
        (b"CDT", -5),
        (b"MST", -7),
        (b"MDT", -6),
        (b"PST", -8),
        (b"PDT", -7),
        (b"CET", 1),
        (b"CEST", 2),
        (b"EET", 2),
        (b"EEST", 3),
        (b"WET", 0),
    ];
    if text.len() > TIME_BYTES_MAX {
        return None;
    }
    if matches!(text, b"Z" | b"z" | b"UTC" | b"GMT" | b"utc" | b"gmt") {
        return Some(TimeZone::UTC);
    }
    let offset = text
        .strip_prefix(b"GMT")
        .or_else(|| text.strip_prefix(b"UTC"))
        .unwrap_or(text);
    if let [b'+' | b'-', ..] = offset {
        return read_offset(offset).map(TimeZone::fixed);
    }
    if let Some((_, hours)) = ABBREVIATIONS.iter().find(|(name, _)| *name == text) {
        return Some(TimeZone::fixed(Offset::constant(*hours)));
    }
    let name = std::str::from_utf8(text).ok()?;
    name.contains('/').then(|| TimeZone::get(name).ok())?
}

/// `+HH`, `+HHmm` or `+HH:mm`.
fn read_offset(text: &[u8]) -> Option<Offset> {
    let (sign, digits) = text.split_first()?;
    let (hours, minutes) = match digits {
        [h] => (number(&[*h])?, 0),
        [h0, h1] => (number(&[*h0, *h1])?, 0),
        [h0, h1, b':', m0, m1] | [h0, h1, m0, m1] => (number(&[*h0, *h1])?, number(&[*m0, *m1])?),
        _ => return None,
    };
    let seconds = i32::try_from(
        hours
            .checked_mul(3600)?
            .checked_add(minutes.checked_mul(60)?)?,
    )
    .ok()?;
    let seconds = if *sign == b'-' {
        seconds.checked_neg()?
    } else {
        seconds
    };
    (minutes < 60).then(|| Offset::from_seconds(seconds).ok())?
}

/// Length of the time at the front of a syslog header, zone behind it included; 0 if none stands
/// there. Only its shape is looked at: [`read`] may still refuse it.
pub(super) fn header_time_len(text: &[u8]) -> usize {
    let word = word_len(text);
    let first = text.get(..word).unwrap_or_default();
    if is_stamp(first) {
        return word;
    }
    // words of a civil time: up to and including the one with the clock, and what belongs to it
    let mut end = 0usize;
    for _ in 0..WORDS_MAX {
        let blanks = blanks_len(text.get(end..).unwrap_or_default());
        let start = end.saturating_add(blanks);
        let len = word_len(text.get(start..).unwrap_or_default());
        let stop = start.saturating_add(len);
        let word = text.get(start..stop).unwrap_or_default();
        if is_clock(word) {
            let colon = usize::from(word.last() == Some(&b':'));
            return zone_behind(text, stop.saturating_sub(colon));
        }
        let number = digits_len(word) == len && matches!(len, 1 | 2 | 4);
        if !(number || is_date(word) || read_month(word).is_some() || is_weekday(word)) {
            return 0;
        }
        end = stop;
    }
    0
}

/// Where the time ends whose clock ends at `end`: behind a zone or year that follows, if one does.
fn zone_behind(text: &[u8], end: usize) -> usize {
    let rest = text.get(end..).unwrap_or_default();
    let blanks = blanks_len(rest);
    let word = rest.get(blanks..).unwrap_or_default();
    let word = word.get(..word_len(word)).unwrap_or_default();
    let bare = word.strip_suffix(b":").unwrap_or(word);
    let zone = bare.len() <= 9 && read_zone(bare).is_some();
    let year = bare.len() == 4 && bare.starts_with(b"20") && digits_len(bare) == 4;
    if blanks > 0 && (zone || year) {
        end.saturating_add(blanks).saturating_add(bare.len())
    } else {
        end
    }
}

fn word_len(text: &[u8]) -> usize {
    text.iter()
        .take_while(|byte| !byte.is_ascii_whitespace())
        .count()
}

fn blanks_len(text: &[u8]) -> usize {
    text.iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count()
}

/// An ISO date and time in one word, or an epoch time.
fn is_stamp(word: &[u8]) -> bool {
    let digits = digits_len(word);
    match word.get(digits..) {
        Some([b'-', _, _, b'-', _, _, b'T' | b't', ..]) => digits == 4,
        Some([] | [b'.', ..]) => digits >= 9,
        _ => false,
    }
}

/// An ISO date alone: its clock is the next word.
fn is_date(word: &[u8]) -> bool {
    matches!(word, [_, _, _, _, b'-', _, _, b'-', _, _]) && digits_len(word) == 4
}

/// `HH:mm[:ss]` and whatever is attached to it, by its shape: an impossible one is a time all the
/// same, and not the host.
fn is_clock(word: &[u8]) -> bool {
    let word = word.strip_suffix(b":").unwrap_or(word);
    let rest = match word {
        [b'0'..=b'9', b':', rest @ ..] | [b'0'..=b'9', b'0'..=b'9', b':', rest @ ..] => rest,
        _ => return false,
    };
    let rest = match rest {
        [m0, m1, b':', s0, s1, rest @ ..] if digits_len(&[*m0, *m1, *s0, *s1]) == 4 => rest,
        [m0, m1, rest @ ..] if digits_len(&[*m0, *m1]) == 2 => rest,
        _ => return false,
    };
    match rest.first() {
        None | Some(b'.' | b',' | b'+' | b'-') => true,
        Some(byte) => byte.is_ascii_alphabetic(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-25T02:07:07Z
    const NOW: Wall = Wall(1_795_572_427_000_000_000);

    fn utc(text: &str) -> Option<String> {
        let defaults = Defaults {
            now: NOW,
            zone: &|| TimeZone::UTC,
        };
        let wall = read(text.as_bytes(), defaults)?;
        let timestamp = jiff::Timestamp::from_nanosecond(i128::from(wall.0)).unwrap();
        Some(timestamp.to_string())
    }

    #[test]
    fn every_form_that_senders_write_is_read() {
        for (text, expected) in [
            ("1795571947482", "2026-11-25T01:59:07.482Z"),
            ("1795571947", "2026-11-25T01:59:07Z"),
            ("1795571947.482", "2026-11-25T01:59:07.482Z"),
            ("1795571947482123", "2026-11-25T01:59:07.482123Z"),
            ("Nov 25 2026 01:59:07", "2026-11-25T01:59:07Z"),
            ("Nov 25 2026 01:59:07.482", "2026-11-25T01:59:07.482Z"),
            ("Nov 25 2026 01:59:07 UTC", "2026-11-25T01:59:07Z"),
            ("Nov 25 2026 01:59:07.482 CET", "2026-11-25T00:59:07.482Z"),
            ("Nov 25 01:59:07", "2026-11-25T01:59:07Z"),
            ("Nov 25 01:59:07.482 UTC", "2026-11-25T01:59:07.482Z"),
            ("Nov  5 2026 01:59:07 GMT+00:00", "2026-11-05T01:59:07Z"),
            ("Nov 5 2026 01:59:07 GMT-05:30", "2026-11-05T07:29:07Z"),
            (
                "2026-11-25T01:59:07.4821234Z",
                "2026-11-25T01:59:07.4821234Z",
            ),
            ("2026-11-25T01:59:07+0100", "2026-11-25T00:59:07Z"),
            ("2026-11-25 01:59:07", "2026-11-25T01:59:07Z"),
            ("\"2026-11-25T01:59:07Z\"", "2026-11-25T01:59:07Z"),
            ("2026-11-25-01.59.07.482123", "2026-11-25T01:59:07.482123Z"),
            ("25 déc. 2025 01:59:07", "2025-12-25T01:59:07Z"),
            ("juil. 25 2026 01:59:07", "2026-07-25T01:59:07Z"),
            ("Wed Nov 25 01:59:07 2026", "2026-11-25T01:59:07Z"),
            ("Wed Nov 25 01:59:07 UTC 2026", "2026-11-25T01:59:07Z"),
            ("25 March 2026 01:59:07", "2026-03-25T01:59:07Z"),
            (
                "Nov 25 2026 01:59:07 America/Argentina/Buenos_Aires",
                "2026-11-25T04:59:07Z",
            ),
            ("Dec 16 2019 15:09:49.652-0500", "2019-12-16T20:09:49.652Z"),
        ] {
            assert_eq!(utc(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            " ",
            "$timestamp",
            "Wrong Date Format",
            "Nov 25 2026",
            "25:61:07",
            "Nov 31 2026 01:59:07",
            "Nov 25 2026 01:59:07 IST",
            "18446744073709551615",
            "99999999999999999999",
            "Nov 25 2026 24:00:00",
            "-1",
            "1.5",
            "2026-11-25T",
            "2026-11-25T01",
            "Nov 25 25 2026 01:59:07",
            "Nov 04 2018 07:15:46 GMTcs3Label=Virtual",
            "Nov 25 2026 01:59:07 ++1",
            "2026-+1-25 01:59:07",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_without_year_is_the_nearest_to_now() {
        let at = |now: i64, text: &str| {
            let defaults = Defaults {
                now: Wall(now * 1_000_000_000),
                zone: &|| TimeZone::UTC,
            };
            let wall = read(text.as_bytes(), defaults).unwrap();
            jiff::Timestamp::from_nanosecond(i128::from(wall.0))
                .unwrap()
                .to_string()
        };
        // 2027-01-01T00:00:10Z
        assert_eq!(at(1_798_761_610, "Dec 31 23:59:59"), "2026-12-31T23:59:59Z");
        // 2026-12-31T23:59:50Z
        assert_eq!(at(1_798_761_590, "Jan  1 00:00:01"), "2027-01-01T00:00:01Z");
        assert_eq!(at(1_798_761_590, "Feb 29 00:00:01"), "2028-02-29T00:00:01Z");
    }

    #[test]
    fn a_time_without_zone_is_in_the_zone_given() {
        let zone = read_zone(b"Europe/Berlin").unwrap();
        let defaults = Defaults {
            now: NOW,
            zone: &|| zone.clone(),
        };
        let wall = read(b"Jul 25 2026 01:59:07", defaults).unwrap();
        assert_eq!(wall, Wall(1_784_937_547_000_000_000));
    }
}
