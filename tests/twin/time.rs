//! Times by the table at the head of `parse::time`, read word by word with a calendar of its own.
//! Only zones of the IANA database are asked of jiff.

use jiff::tz::TimeZone;

const SECOND: i128 = 1_000_000_000;

/// Blanks as ASCII knows them.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

/// Without blanks around it.
pub(crate) fn trim(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    while text.last().is_some_and(|byte| is_blank(*byte)) {
        text.pop();
    }
    while text.first().is_some_and(|byte| is_blank(*byte)) {
        text.remove(0);
    }
    text
}

/// The words of a text, each with the offset where it begins.
pub(crate) fn words(text: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut words: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut in_word = false;
    for (at, byte) in text.iter().enumerate() {
        if is_blank(*byte) {
            in_word = false;
        } else if in_word {
            words.last_mut().unwrap().1.push(*byte);
        } else {
            in_word = true;
            words.push((at, vec![*byte]));
        }
    }
    words
}

fn all_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// A number of digits only; nothing if it is far too large.
fn number(text: &[u8]) -> Option<i128> {
    let zeros = text.iter().take_while(|byte| **byte == b'0').count();
    if !all_digits(text) || text.len() - zeros > 30 {
        return None;
    }
    Some(
        text.iter()
            .fold(0, |sum, byte| sum * 10 + i128::from(byte - b'0')),
    )
}

/// Nanoseconds of the digits behind a decimal point.
fn fraction(digits: &[u8]) -> Option<i128> {
    if !all_digits(digits) {
        return None;
    }
    let mut nine = digits.to_vec();
    nine.resize(9, b'0');
    number(&nine)
}

/// Days from 1970-01-01 to a date, counted month by month; nothing if there is no such day.
fn days(year: i128, month: i128, day: i128) -> Option<i128> {
    let is_leap = |year: i128| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let month_days = |year: i128, month: i128| match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i128::from(is_leap(year)),
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=month_days(year, month)).contains(&day) {
        return None;
    }
    let leaps = |year: i128| year / 4 - year / 100 + year / 400;
    let whole_years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    // year 0 is a leap year, and the division above rounds towards zero
    let whole_years = if year == 0 {
        whole_years - 1
    } else {
        whole_years
    };
    let months: i128 = (1..month).map(|m| month_days(year, m)).sum();
    Some(whole_years + months + day - 1)
}

/// How a zone is written.
#[derive(Clone)]
pub(crate) enum Zone {
    Seconds(i128),
    Named(TimeZone),
}

pub(crate) fn zone(text: &[u8]) -> Option<Zone> {
    let word = String::from_utf8(text.to_vec()).ok()?;
    if word.len() > 64 {
        return None;
    }
    if ["Z", "z", "UTC", "GMT", "utc", "gmt"].contains(&word.as_str()) {
        return Some(Zone::Seconds(0));
    }
    let offset = word
        .strip_prefix("GMT")
        .or(word.strip_prefix("UTC"))
        .unwrap_or(&word);
    if let Some(sign) = offset.chars().next().filter(|c| "+-".contains(*c)) {
        let digits: Vec<u8> = offset.bytes().skip(1).collect();
        let (hours, minutes) = match digits.len() {
            1 | 2 => (number(&digits)?, 0),
            4 => (number(&digits[..2])?, number(&digits[2..])?),
            5 if digits[2] == b':' => (number(&digits[..2])?, number(&digits[3..])?),
            _ => return None,
        };
        let seconds = hours * 3600 + minutes * 60;
        // no zone is a day and two hours from Greenwich
        if minutes > 59 || seconds >= 26 * 3600 {
            return None;
        }
        return Some(Zone::Seconds(if sign == '-' { -seconds } else { seconds }));
    }
    let hours = match word.as_str() {
        "EST" | "CDT" => -5,
        "EDT" => -4,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        "WET" => 0,
        "CET" => 1,
        "CEST" | "EET" => 2,
        "EEST" => 3,
        _ => {
            let named = word.contains('/').then(|| TimeZone::get(&word))?;
            return named.ok().map(Zone::Named);
        }
    };
    Some(Zone::Seconds(hours * 3600))
}

fn month(word: &[u8]) -> Option<i128> {
    // ASCII letters in any case; others as they are
    let word: Vec<u8> = word.to_ascii_lowercase();
    let word = String::from_utf8(word).ok()?;
    let word = word.strip_suffix('.').unwrap_or(&word);
    let names: [&[&str]; 12] = [
        &["jan", "january", "janvier", "janv"],
        &["feb", "february", "février", "févr", "fevrier", "fevr"],
        &["mar", "march", "mars"],
        &["apr", "april", "avril", "avr"],
        &["may", "mai"],
        &["jun", "june", "juin"],
        &["jul", "july", "juillet", "juil"],
        &["aug", "august", "août", "aout"],
        &["sep", "sept", "september", "septembre"],
        &["oct", "october", "octobre"],
        &["nov", "november", "novembre"],
        &["dec", "december", "décembre", "déc"],
    ];
    let at = names.iter().position(|names| names.contains(&word))?;
    Some(at as i128 + 1)
}

fn is_weekday(word: &[u8]) -> bool {
    let short: Vec<u8> = word.iter().take(3).map(u8::to_ascii_lowercase).collect();
    let days: [&[u8]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];
    days.contains(&short.as_slice())
}

/// Nanoseconds since midnight and the zone behind, of `HH:mm[:ss[.fraction]][zone]`.
fn clock(word: &[u8], separator: u8) -> Option<(i128, Option<Zone>)> {
    let mut rest = word.to_vec();
    let take_number = |rest: &mut Vec<u8>| {
        let digits: Vec<u8> = rest
            .iter()
            .copied()
            .take_while(u8::is_ascii_digit)
            .collect();
        rest.drain(..digits.len());
        number(&digits).filter(|_| digits.len() <= 2)
    };
    let hour = take_number(&mut rest)?;
    if rest.first() != Some(&separator) {
        return None;
    }
    rest.remove(0);
    let minute = take_number(&mut rest)?;
    let mut second = 0;
    if rest.first() == Some(&separator) {
        rest.remove(0);
        second = take_number(&mut rest)?;
    }
    let mut nanos = 0;
    if matches!(rest.first(), Some(b'.' | b',')) {
        rest.remove(0);
        let digits: Vec<u8> = rest
            .iter()
            .copied()
            .take_while(u8::is_ascii_digit)
            .collect();
        rest.drain(..digits.len());
        nanos = fraction(&digits)?;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = if rest.is_empty() {
        None
    } else {
        Some(zone(&rest)?)
    };
    let seconds = hour * 3600 + minute * 60 + second.min(59);
    Some((seconds * SECOND + nanos, zone))
}

#[derive(Default)]
struct Parts {
    year: Option<i128>,
    month: Option<i128>,
    day: Option<i128>,
    clock: Option<i128>,
    zone: Option<Zone>,
}

/// Sets what must not be set twice.
fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = Some(value);
    Some(())
}

impl Parts {
    fn word(&mut self, word: &[u8]) -> Option<()> {
        let word = word.strip_suffix(b",").unwrap_or(word);
        if all_digits(word) {
            return match word.len() {
                1 | 2 => set(&mut self.day, number(word)?),
                4 => set(&mut self.year, number(word)?),
                _ => None,
            };
        }
        let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_date = word.len() >= 10 && digits == 4 && word[4] == b'-' && word[7] == b'-';
        if is_date {
            set(&mut self.year, number(&word[..4])?)?;
            set(&mut self.month, number(&word[5..7])?)?;
            set(&mut self.day, number(&word[8..10])?)?;
            let (clock, zone) = match word.get(10) {
                None => return Some(()),
                Some(b'T' | b't') => clock(&word[11..], b':')?,
                Some(b'-') => clock(&word[11..], b'.')?,
                Some(_) => return None,
            };
            return self.clock(clock, zone);
        }
        if digits > 0 {
            let (clock, zone) = clock(word, b':')?;
            return self.clock(clock, zone);
        }
        if self.month.is_none() {
            if let Some(month) = month(word) {
                self.month = Some(month);
                return Some(());
            }
            if is_weekday(word) {
                return Some(());
            }
        }
        self.clock?;
        set(&mut self.zone, zone(word)?)
    }

    fn clock(&mut self, clock: i128, zone: Option<Zone>) -> Option<()> {
        set(&mut self.clock, clock)?;
        match zone {
            Some(zone) => set(&mut self.zone, zone),
            None => Some(()),
        }
    }

    fn instant(&self, year: i128, zone: &Zone) -> Option<i64> {
        let days = days(year, self.month?, self.day?)?;
        let local = days * 86_400 * SECOND + self.clock?;
        let utc = match zone {
            Zone::Seconds(seconds) => local - seconds * SECOND,
            Zone::Named(zone) => {
                let civil = jiff::tz::Offset::UTC
                    .to_datetime(jiff::Timestamp::from_nanosecond(local).ok()?);
                zone.to_timestamp(civil).ok()?.as_nanosecond()
            }
        };
        i64::try_from(utc).ok()
    }
}

/// The instant in nanoseconds since 1970 that `text` names.
pub(crate) fn read(text: &[u8], now: i64, default_zone: &Zone) -> Option<i64> {
    let mut text = trim(text);
    if text.len() >= 2 && text.starts_with(b"\"") && text.ends_with(b"\"") {
        text = trim(&text[1..text.len() - 1]);
    }
    if text.len() > 64 {
        return None;
    }
    if let Some(nanos) = epoch(&text) {
        return Some(nanos);
    }
    let mut parts = Parts::default();
    let words = words(&text);
    if words.len() > 8 {
        return None;
    }
    for (_, word) in words {
        parts.word(&word)?;
    }
    let zone = parts.zone.clone().unwrap_or_else(|| default_zone.clone());
    if let Some(year) = parts.year {
        return parts.instant(year, &zone);
    }
    let this_year = jiff::Timestamp::from_nanosecond(i128::from(now)).unwrap();
    let this_year = i128::from(jiff::tz::Offset::UTC.to_datetime(this_year).year());
    (this_year - 4..=this_year + 4)
        .filter_map(|year| parts.instant(year, &zone))
        .min_by_key(|nanos| (i128::from(*nanos) - i128::from(now)).abs())
}

fn epoch(text: &[u8]) -> Option<i64> {
    let digits: Vec<u8> = text
        .iter()
        .copied()
        .take_while(u8::is_ascii_digit)
        .collect();
    let whole = number(&digits)?;
    let unit = match whole {
        0..100_000_000_000 => SECOND,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    let rest = &text[digits.len()..];
    let nanos = if rest.is_empty() {
        0
    } else if rest[0] == b'.' && unit == SECOND && digits.len() >= 9 {
        fraction(&rest[1..])?
    } else {
        return None;
    };
    i64::try_from(whole * unit + nanos).ok()
}

/// One or two digits, colon, two digits, perhaps another colon and two digits; then nothing, a letter,
/// or the sign of a fraction or an offset.
fn looks_like_a_clock(word: &[u8]) -> bool {
    let shape: String = word
        .iter()
        .map(|byte| match byte {
            b'0'..=b'9' => '9',
            b'a'..=b'z' | b'A'..=b'Z' => 'a',
            b':' => ':',
            b'.' | b',' | b'+' | b'-' => '.',
            _ => '?',
        })
        .collect();
    let Some(rest) = shape.strip_prefix("99:").or(shape.strip_prefix("9:")) else {
        return false;
    };
    ["99:99", "99"]
        .into_iter()
        .find_map(|digits| rest.strip_prefix(digits))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['a', '.']))
}

/// Where the time at the front of a syslog header ends; 0 if there is none.
pub(crate) fn header_time_end(text: &[u8]) -> usize {
    let words = words(text);
    let end = |index: usize| words[index].0 + words[index].1.len();
    let Some((at, first)) = words.first() else {
        return 0;
    };
    if *at == 0 {
        let digits = first
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let rest = &first[digits..];
        let is_epoch = digits >= 9 && (rest.is_empty() || rest[0] == b'.');
        let is_iso = digits == 4
            && rest.len() >= 7
            && rest[0] == b'-'
            && rest[3] == b'-'
            && matches!(rest[6], b'T' | b't');
        if is_epoch || is_iso {
            return end(0);
        }
    }
    for (index, (_, word)) in words.iter().enumerate().take(8) {
        let bare = word.strip_suffix(b":").unwrap_or(word);
        if looks_like_a_clock(bare) {
            let colon = word.len() - bare.len();
            // the zone or the year behind belongs to it
            if colon == 0
                && let Some((_, next)) = words.get(index + 1)
            {
                let bare = next.strip_suffix(b":").unwrap_or(next);
                let is_year = bare.len() == 4 && bare.starts_with(b"20") && all_digits(bare);
                if is_year || (bare.len() <= 9 && zone(bare).is_some()) {
                    return words[index + 1].0 + bare.len();
                }
            }
            return end(index) - colon;
        }
        let is_number = all_digits(word) && matches!(word.len(), 1 | 2 | 4);
        let is_date = word.len() == 10
            && all_digits(&word[..4])
            && !word[4].is_ascii_digit()
            && (word[4], word[7]) == (b'-', b'-');
        if !is_number && !is_date && month(word).is_none() && !is_weekday(word) {
            return 0;
        }
    }
    0
}
