//! Small writers of text into a reused buffer: numbers, addresses, digests and times. None of them
//! allocates, none of them goes through `std::fmt`, which would be half of the generator's time.

use fastrand::Rng;

const NANOS_A_SECOND: i64 = 1_000_000_000;
const SECONDS_A_DAY: i64 = 86_400;
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
/// 1970-01-01 was a Thursday.
const WEEKDAYS: &[u8] = b"ThuFriSatSunMonTueWed";
const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `value` in decimal.
pub(super) fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut first = digits.len();
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        first = index;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// The last `DIGITS` decimal digits of `value`, with zeros in front.
pub(super) fn padded<const DIGITS: usize>(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

/// `count` random decimal digits, the first of them not zero.
pub(super) fn digits(out: &mut Vec<u8>, rng: &mut Rng, count: u32) {
    out.push(b'1' + rng.u8(..9));
    for _ in 1..count {
        out.push(b'0' + rng.u8(..10));
    }
}

/// `count` random hexadecimal digits.
pub(super) fn hex(out: &mut Vec<u8>, rng: &mut Rng, count: u32, upper: bool) {
    let alphabet = if upper { HEX_UPPER } else { HEX_LOWER };
    let mut left = count as usize;
    while left > 0 {
        let mut bits = rng.u64(..);
        let mut block = [0u8; 16];
        for digit in &mut block {
            *digit = alphabet[(bits & 15) as usize];
            bits >>= 4;
        }
        let taken = left.min(block.len());
        out.extend_from_slice(&block[..taken]);
        left -= taken;
    }
}

/// `value` as lower-case hexadecimal without leading zeros.
pub(super) fn hex_of(out: &mut Vec<u8>, value: u64) {
    let digits_count = (u64::BITS - value.leading_zeros()).div_ceil(4).max(1);
    for index in (0..digits_count).rev() {
        out.push(HEX_LOWER[(value >> (4 * index) & 15) as usize]);
    }
}

/// `count` random characters of base64, without padding.
pub(super) fn base64(out: &mut Vec<u8>, rng: &mut Rng, count: u32) {
    for _ in 0..count {
        out.push(BASE64[usize::from(rng.u8(..64))]);
    }
}

/// A random UUID of version 4.
pub(super) fn uuid(out: &mut Vec<u8>, rng: &mut Rng) {
    hex(out, rng, 8, false);
    out.push(b'-');
    hex(out, rng, 4, false);
    out.extend_from_slice(b"-4");
    hex(out, rng, 3, false);
    out.push(b'-');
    out.push(b"89ab"[usize::from(rng.u8(..4))]);
    hex(out, rng, 3, false);
    out.push(b'-');
    hex(out, rng, 12, false);
}

/// An IPv4 address.
pub(super) fn address4(out: &mut Vec<u8>, address: u32) {
    for (index, octet) in address.to_be_bytes().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        decimal(out, u64::from(octet));
    }
}

/// An address of the documentation range 2001:db8::/32 (RFC 3849), in full form.
pub(super) fn address6(out: &mut Vec<u8>, mut bits: u64) {
    out.extend_from_slice(b"2001:db8");
    for _ in 0..4 {
        out.push(b':');
        hex_of(out, bits & 0xffff);
        bits >>= 16;
    }
    out.extend_from_slice(b"::");
    hex_of(out, bits.wrapping_add(7) & 0xff);
}

/// A MAC address that is locally administered, made from `bits`.
pub(super) fn mac(out: &mut Vec<u8>, bits: u64) {
    out.extend_from_slice(b"02");
    for octet in bits.to_be_bytes().into_iter().skip(3) {
        out.push(b':');
        out.push(HEX_LOWER[usize::from(octet >> 4)]);
        out.push(HEX_LOWER[usize::from(octet & 15)]);
    }
}

/// How devices write a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeForm {
    /// `Nov  5 02:07:07`, of RFC 3164.
    Bsd,
    /// `Nov 05 2026 02:07:07`.
    Text,
    /// `Thu Nov  5 02:07:07 2026`, of C's `ctime`.
    Ctime,
    /// `2026-11-05T02:07:07.482Z`.
    Iso,
    /// `2026-11-05 02:07:07`.
    Spaced,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
    /// Nanoseconds since 1970.
    Nanos,
}

/// The time `nanos` since 1970 in UTC, in the given form.
pub(super) fn time(out: &mut Vec<u8>, nanos: i64, form: TimeForm) {
    let seconds = nanos.div_euclid(NANOS_A_SECOND);
    let nanos_left = nanos.rem_euclid(NANOS_A_SECOND).unsigned_abs();
    let day = seconds.div_euclid(SECONDS_A_DAY);
    let second = seconds.rem_euclid(SECONDS_A_DAY).unsigned_abs();
    let date = || civil(day);
    match form {
        TimeForm::Bsd => {
            month_and_day(out, date(), b' ');
            out.push(b' ');
            clock(out, second);
        }
        TimeForm::Text => {
            month_and_day(out, date(), b'0');
            out.push(b' ');
            padded::<4>(out, date().year);
            out.push(b' ');
            clock(out, second);
        }
        TimeForm::Ctime => {
            let weekday = day.rem_euclid(7) as usize;
            out.extend_from_slice(&WEEKDAYS[3 * weekday..][..3]);
            out.push(b' ');
            month_and_day(out, date(), b' ');
            out.push(b' ');
            clock(out, second);
            out.push(b' ');
            padded::<4>(out, date().year);
        }
        TimeForm::Iso | TimeForm::Spaced => {
            let date = date();
            padded::<4>(out, date.year);
            out.push(b'-');
            padded::<2>(out, date.month);
            out.push(b'-');
            padded::<2>(out, date.day);
            out.push(if form == TimeForm::Iso { b'T' } else { b' ' });
            clock(out, second);
            if form == TimeForm::Iso {
                out.push(b'.');
                padded::<3>(out, nanos_left / 1_000_000);
                out.push(b'Z');
            }
        }
        TimeForm::Seconds => decimal(out, seconds.max(0).unsigned_abs()),
        TimeForm::Millis => decimal(out, nanos.max(0).unsigned_abs() / 1_000_000),
        TimeForm::Nanos => decimal(out, nanos.max(0).unsigned_abs()),
    }
}

fn month_and_day(out: &mut Vec<u8>, date: Date, fill: u8) {
    let month = (date.month - 1) as usize;
    out.extend_from_slice(&MONTHS[3 * month..][..3]);
    out.push(b' ');
    out.push(if date.day < 10 {
        fill
    } else {
        b'0' + (date.day / 10) as u8
    });
    out.push(b'0' + (date.day % 10) as u8);
}

fn clock(out: &mut Vec<u8>, second: u64) {
    padded::<2>(out, second / 3600);
    out.push(b':');
    padded::<2>(out, second / 60 % 60);
    out.push(b':');
    padded::<2>(out, second % 60);
}

/// A day of the Gregorian calendar. Month and day count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: u64,
    month: u64,
    day: u64,
}

/// The date `days` after 1970-01-01. Counts in years that begin with March, so that the leap day
/// is the last of its year, and in eras of 400 years, all of which have 146,097 days.
fn civil(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date {
        year: year.unsigned_abs(),
        month: month.unsigned_abs(),
        day: day.unsigned_abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_are_those_of_the_standard_library() {
        let mut rng = Rng::with_seed(1);
        for shift in 0..64 {
            let value = rng.u64(..) >> shift;
            assert_eq!(written(|out| decimal(out, value)), value.to_string());
            assert_eq!(written(|out| hex_of(out, value)), format!("{value:x}"));
        }
        for value in [0, 9, 10, 99, 100, u64::MAX] {
            assert_eq!(written(|out| decimal(out, value)), value.to_string());
        }
    }

    #[test]
    fn dates_are_those_of_a_calendar_library_over_three_centuries() {
        for days in (0..120_000).step_by(13) {
            let theirs = jiff::civil::date(1970, 1, 1)
                .checked_add(jiff::Span::new().days(days))
                .unwrap();
            let ours = civil(days);
            let want = (
                theirs.year() as u64,
                theirs.month() as u64,
                theirs.day() as u64,
            );
            assert_eq!((ours.year, ours.month, ours.day), want, "day {days}");
        }
    }

    #[test]
    fn every_form_of_a_time_is_as_devices_write_it() {
        // 2026-11-05T02:07:07.482123456Z, a Thursday
        let nanos = 1_793_844_427_482_123_456;
        let cases = [
            (TimeForm::Bsd, "Nov  5 02:07:07"),
            (TimeForm::Text, "Nov 05 2026 02:07:07"),
            (TimeForm::Ctime, "Thu Nov  5 02:07:07 2026"),
            (TimeForm::Iso, "2026-11-05T02:07:07.482Z"),
            (TimeForm::Spaced, "2026-11-05 02:07:07"),
            (TimeForm::Seconds, "1793844427"),
            (TimeForm::Millis, "1793844427482"),
            (TimeForm::Nanos, "1793844427482123456"),
        ];
        for (form, want) in cases {
            assert_eq!(written(|out| time(out, nanos, form)), want);
        }
    }

    #[test]
    fn addresses_are_addresses() {
        let mut rng = Rng::with_seed(2);
        for _ in 0..1000 {
            let bits = rng.u64(..);
            let four = written(|out| address4(out, bits as u32));
            assert_eq!(
                four.parse::<std::net::Ipv4Addr>().unwrap().to_bits(),
                bits as u32
            );
            let six = written(|out| address6(out, bits));
            assert!(six.parse::<std::net::Ipv6Addr>().is_ok(), "{six}");
            assert_eq!(written(|out| mac(out, bits)).len(), 17);
        }
    }

    #[test]
    fn random_text_has_the_length_asked_for() {
        let mut rng = Rng::with_seed(3);
        for count in 1..70 {
            let mut out = Vec::new();
            hex(&mut out, &mut rng, count, true);
            digits(&mut out, &mut rng, count);
            base64(&mut out, &mut rng, count);
            assert_eq!(out.len(), 3 * count as usize);
        }
        let mut out = Vec::new();
        uuid(&mut out, &mut rng);
        assert_eq!(out.len(), 36);
    }
}
