//! What stands before the message: PRI, time and host, read leniently.
//!
//! ```text
//! <134>Nov 25 01:59:07 gw01 tag[77]:                       RFC 3164
//! <134>1 2026-11-25T01:59:07.482Z gw01 app 77 ID47 [sd]    RFC 5424
//! <189>1203: *Nov 25 01:59:07.123: gw01                    Cisco
//! <166>:Nov 25 01:59:07 UTC:                               Cisco, EMBLEM
//! <134>1795571947.482 gw01                                 epoch
//! relay[-]: <161>Mar 19 05:24:39 10.0.0.1 tag:             relayed, header twice
//! ```
//!
//! Whatever does not read costs only itself. A word that ends in a colon is a tag, never the host;
//! without a time a word counts as the host only behind a PRI or when it is the only one.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::time::header_time_len;
use memchr::{memchr, memrchr};

/// Host names longer than this are none (RFC 5424 section 6: HOSTNAME has at most 255 characters).
const HOST_BYTES_MAX: usize = 255;
/// Digits that a PRI may have, with zeros in front.
const PRI_DIGITS_MAX: usize = 4;
/// Highest PRI: facility 23, severity 7 (RFC 5424 section 6.2.1).
const PRI_MAX: u32 = 191;

/// Who sent a message and when, by its syslog header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin<'f> {
    /// Facility times 8 plus severity.
    pub pri: Option<u8>,
    /// The time, as it stands.
    pub time: Option<&'f [u8]>,
    /// The host: a name or an address.
    pub host: Option<&'f [u8]>,
}

/// What follows a syslog header, and so which words may be the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// A message: all words before it are of the header.
    Message,
    /// Text of which nothing is known.
    Text,
}

/// Reads the text before the message.
#[must_use]
pub fn read(text: &[u8]) -> Origin<'_> {
    read_both(text, Then::Message)
}

/// Headers of the last messages, and what was read of them: but for the PRI, those of one sender are often the
/// same for a second, and to compare one is a tenth of the work of reading it.
#[derive(Debug)]
pub struct Memo {
    /// By a hash of the header without its PRI.
    seats: Vec<Seat>,
}

/// A header that was read. The empty one has no origin, as here before any was read.
#[derive(Debug, Clone, Copy)]
struct Seat {
    /// Without a sound PRI at its beginning.
    text: [u8; SEAT_BYTES],
    len: u8,
    /// There was one.
    has_pri: bool,
    /// What was read where there was none.
    pri: Option<u8>,
    time: Option<(u8, u8)>,
    host: Option<(u8, u8)>,
}

/// Longer headers are read each time.
const SEAT_BYTES: usize = 72;
/// Headers that are kept, a power of two: those of some hundred senders in one second.
const SEATS: usize = 1024;

impl Default for Memo {
    fn default() -> Self {
        let empty = Seat {
            text: [0; SEAT_BYTES],
            len: 0,
            has_pri: false,
            pri: None,
            time: None,
            host: None,
        };
        Memo {
            seats: vec![empty; SEATS],
        }
    }
}

impl Memo {
    /// What [`read`] reads.
    pub fn read<'f>(&mut self, text: &'f [u8]) -> Origin<'f> {
        let (pri, behind) = read_pri(text);
        let rest = if pri.is_some() { behind } else { text };
        let hash = super::fold(pri.is_some().into(), rest) as usize;
        let seat = self.seats.get_mut(hash & (SEATS - 1));
        let (Some(seat), true) = (seat, rest.len() <= SEAT_BYTES) else {
            return read(text);
        };
        let is_known =
            seat.has_pri == pri.is_some() && seat.text.get(..usize::from(seat.len)) == Some(rest);
        if !is_known {
            let origin = read(text);
            if pri.is_some() && memchr(b'<', rest).is_some() {
                // the PRI may be that of a header behind this one
                return origin;
            }
            seat.keep(origin, rest, pri.is_some());
        }
        let piece = |place: Option<(u8, u8)>| {
            let (start, end) = place?;
            rest.get(usize::from(start)..usize::from(end))
        };
        Origin {
            pri: pri.or(seat.pri),
            time: piece(seat.time),
            host: piece(seat.host),
        }
    }
}

impl Seat {
    fn keep(&mut self, origin: Origin<'_>, rest: &[u8], has_pri: bool) {
        let place = |piece: Option<&[u8]>| {
            let (start, end) = super::place_in(rest, piece?)?;
            Some((u8::try_from(start).ok()?, u8::try_from(end).ok()?))
        };
        self.has_pri = has_pri;
        self.pri = origin.pri;
        self.time = place(origin.time);
        self.host = place(origin.host);
        self.len = rest.len() as u8;
        if let Some(to) = self.text.get_mut(..rest.len()) {
            to.copy_from_slice(rest);
        }
    }
}

/// Reads the beginning of a frame that is no message. Its words may be its text, so that one of
/// them is the host only behind a time.
#[must_use]
pub fn read_unparsed(frame: &[u8]) -> Origin<'_> {
    read_both(frame, Then::Text)
}

fn read_both(text: &[u8], then: Then) -> Origin<'_> {
    let origin = read_from(text, then);
    if origin.host.is_some() {
        return origin;
    }
    // a relay may have put its own tag in front of the whole line: try the inner header
    match inner_header(text) {
        Some(inner) => {
            let inner = read_from(inner, then);
            if inner.host.is_some() { inner } else { origin }
        }
        None => origin,
    }
}

/// From the last `<` on, if there is one behind the beginning.
fn inner_header(text: &[u8]) -> Option<&[u8]> {
    let at = memrchr(b'<', text).filter(|at| *at > 0)?;
    text.get(at..)
}

fn read_from(text: &[u8], then: Then) -> Origin<'_> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let text = text.strip_prefix(b"\"").unwrap_or(text).trim_ascii_start();
    let (pri, rest) = read_pri(text);
    let rest = skip_version(rest.trim_ascii_start());
    let (time, behind_time) = read_time(rest);
    let has_time = time.is_some() || behind_time.len() < rest.len();
    let has_lead = match then {
        Then::Message => has_time || rest.len() < text.len(),
        Then::Text => has_time,
    };
    let is_only_word = then == Then::Message && words(behind_time).nth(1).is_none();
    Origin {
        pri,
        time,
        host: words(behind_time)
            .next()
            .filter(|word| (has_lead || is_only_word) && is_host(word)),
    }
}

/// `<134>`; a PRI that is empty, too high or without its `>` is skipped. `<Event` is none.
fn read_pri(text: &[u8]) -> (Option<u8>, &[u8]) {
    let Some(inner) = text.strip_prefix(b"<") else {
        return (None, text);
    };
    let digits = digits_len(inner);
    let value = inner
        .get(..digits)
        .filter(|digits| (1..=PRI_DIGITS_MAX).contains(&digits.len()))
        .map(|digits| {
            digits.iter().fold(0u32, |value, digit| {
                let digit = u32::from(digit.wrapping_sub(b'0'));
                value.wrapping_mul(10).wrapping_add(digit)
            })
        })
        .filter(|value| *value <= PRI_MAX)
        .and_then(|value| u8::try_from(value).ok());
    let rest = inner.get(digits..).unwrap_or_default();
    match rest.strip_prefix(b">") {
        Some(rest) => (value, rest),
        None if digits > 0 => (None, rest),
        None => (None, text),
    }
}

/// The version of RFC 5424 (`1 `) or Cisco's sequence number (`1203: `), with the mark that Cisco
/// puts before a time that is not in step, or the colon that its EMBLEM form puts there.
fn skip_version(text: &[u8]) -> &[u8] {
    let digits = digits_len(text);
    let rest = text.get(digits..).unwrap_or_default();
    let text = match (digits, rest) {
        (1, [b' ', b'-' | b'0'..=b'9', ..]) => rest.trim_ascii_start(),
        (1.., [b':', b' ', ..]) => rest.get(1..).unwrap_or_default().trim_ascii_start(),
        _ => text,
    };
    match text {
        [b'*' | b'.' | b'%' | b':', rest @ ..] => rest,
        _ => text,
    }
}

fn read_time(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    if let [b'-', b' ', rest @ ..] = text {
        return (None, rest);
    }
    let len = header_time_len(text);
    if len == 0 {
        return (None, text);
    }
    let (time, rest) = text.split_at_checked(len).unwrap_or((text, &[]));
    (Some(time), rest.strip_prefix(b":").unwrap_or(rest))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
}

/// Letters, digits and `.-_:`, and no colon at the end.
fn is_host(word: &[u8]) -> bool {
    let legal = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':') || *byte >= 0x80
    };
    word.len() <= HOST_BYTES_MAX
        && word != b"-"
        && word.last() != Some(&b':')
        && word.iter().all(legal)
}

pub(super) fn digits_len(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// A number of digits and nothing else (`parse` alone would take a sign).
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    if digits_len(digits) < digits.len() {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_would_be_read() {
        let seed = 0x5eed_0014;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut memo = Memo::default();
        let long = "x".repeat(SEAT_BYTES);
        for _ in 0..20_000 {
            let pris = [
                "",
                "<1>",
                "<134>",
                "<191>",
                "<192>",
                "<0013>",
                "<00013>",
                "<9999>",
                "<>",
                "<13",
                "<134><9>",
                "<134> <9>",
                "<134>relay: <9>",
                " <134>",
            ];
            let pri = pris[random.usize(0..pris.len())];
            let second = random.u8(0..70);
            let time = match random.u8(0..4) {
                0 => format!("Nov 25 01:59:{second:02} "),
                1 => format!("1 2026-11-25T01:59:{second:02}Z "),
                2 => "- ".to_owned(),
                _ => String::new(),
            };
            let host = [
                "",
                "gw01 ",
                "gw02 ",
                "tag: ",
                "10.0.0.1 app 77 ID47 - ",
                &long,
            ][random.usize(0..6)];
            let text = format!("{pri}{time}{host}");
            assert_eq!(memo.read(text.as_bytes()), read(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_header_without_pri_is_not_taken_for_one_with_it_on_the_same_seat() {
        let seat = |has_pri: u64, text: &str| {
            super::super::fold(has_pri, text.as_bytes()) as usize & (SEATS - 1)
        };
        // behind a PRI its first word is the host, and else it is not
        let rest = (0..)
            .map(|number| format!("host{number} tag "))
            .find(|rest| seat(0, rest) == seat(1, rest))
            .unwrap();
        let with_pri = format!("<13>{rest}");
        let mut memo = Memo::default();
        for _ in 0..2 {
            for text in [&with_pri, &rest] {
                assert_eq!(memo.read(text.as_bytes()), read(text.as_bytes()), "{text}");
            }
        }
        assert_ne!(read(with_pri.as_bytes()).host, read(rest.as_bytes()).host);
    }

    fn origin(text: &str) -> (Option<u8>, Option<&str>, Option<&str>) {
        let origin = read(text.as_bytes());
        (
            origin.pri,
            origin.time.map(|time| std::str::from_utf8(time).unwrap()),
            origin.host.map(|host| std::str::from_utf8(host).unwrap()),
        )
    }

    #[test]
    fn headers_of_every_shape_give_pri_time_and_host() {
        for (text, pri, time, host) in [
            ("", None, None, None),
            (
                "<134>Nov 25 01:59:07 gw01 ",
                Some(134),
                Some("Nov 25 01:59:07"),
                Some("gw01"),
            ),
            (
                "<134> Nov  5 01:59:07 gw01 tag -: ",
                Some(134),
                Some("Nov  5 01:59:07"),
                Some("gw01"),
            ),
            (
                "Nov 25 01:59:07 gw01 tag[77]: ",
                None,
                Some("Nov 25 01:59:07"),
                Some("gw01"),
            ),
            ("Nov 25 01:59:07 ", None, Some("Nov 25 01:59:07"), None),
            ("<164>fenotify-851.alert: ", Some(164), None, None),
            (
                "<134>1795571947.482 gw01 ",
                Some(134),
                Some("1795571947.482"),
                Some("gw01"),
            ),
            (
                "<134>2026 Nov 25 01:59:07 gw01 ",
                Some(134),
                Some("2026 Nov 25 01:59:07"),
                Some("gw01"),
            ),
            (
                "<189>1203: *Nov 25 01:59:07.123: gw01 ",
                Some(189),
                Some("Nov 25 01:59:07.123"),
                Some("gw01"),
            ),
            (
                "<134>1 2026-11-25T01:59:07.482Z gw01 app 77 ID47 [ex a=\"x\\]y\"] ",
                Some(134),
                Some("2026-11-25T01:59:07.482Z"),
                Some("gw01"),
            ),
            (
                "1 2021-04-01T05:14:15.000003Z 192.0.2.1 app 87 - - ",
                None,
                Some("2021-04-01T05:14:15.000003Z"),
                Some("192.0.2.1"),
            ),
            (
                "<5>1 2020-01-24T22:53:03Z VAULT ",
                Some(5),
                Some("2020-01-24T22:53:03Z"),
                Some("VAULT"),
            ),
            ("<165>1 - gw01 app - - - ", Some(165), None, Some("gw01")),
            (
                "<165>1 2020-01-24T22:53:03Z - app - - - ",
                Some(165),
                Some("2020-01-24T22:53:03Z"),
                None,
            ),
            (
                "2023-07-05T00:00:00.000000Z localhost ",
                None,
                Some("2023-07-05T00:00:00.000000Z"),
                Some("localhost"),
            ),
            (
                "<192>Nov 25 01:59:07 gw01 ",
                None,
                Some("Nov 25 01:59:07"),
                Some("gw01"),
            ),
            (
                "<>Nov 25 01:59:07 gw01 ",
                None,
                Some("Nov 25 01:59:07"),
                Some("gw01"),
            ),
            (
                "<0134>Nov 25 01:59:07 gw01 ",
                Some(134),
                Some("Nov 25 01:59:07"),
                Some("gw01"),
            ),
            (
                "<134Nov 25 01:59:07 gw01 ",
                None,
                Some("Nov 25 01:59:07"),
                Some("gw01"),
            ),
            (
                "fireeye[-]: <161>Mar 19 05:24:39 10.220.15.15 fenotify-864461.alert: ",
                Some(161),
                Some("Mar 19 05:24:39"),
                Some("10.220.15.15"),
            ),
            (
                "Dec 16 2019 15:09:49.652-0500 10.10.16.162 ",
                None,
                Some("Dec 16 2019 15:09:49.652-0500"),
                Some("10.10.16.162"),
            ),
            (
                "Sep 3 16:06:16 172.30.0.20 ASM:",
                None,
                Some("Sep 3 16:06:16"),
                Some("172.30.0.20"),
            ),
            (
                "<14>2025-12-22T17:17Z Guardicore ",
                Some(14),
                Some("2025-12-22T17:17Z"),
                Some("Guardicore"),
            ),
            ("<13>gw01 ", Some(13), None, Some("gw01")),
            ("gw01 ", None, None, Some("gw01")),
            (
                "<134>2026-11-25 01:59:07.482 +01:00 gw01 ",
                Some(134),
                Some("2026-11-25 01:59:07.482 +01:00"),
                Some("gw01"),
            ),
            (
                "<134>Nov 31 25:61:07 gw01 ",
                Some(134),
                Some("Nov 31 25:61:07"),
                Some("gw01"),
            ),
            ("<134>20:30::1 ", Some(134), None, Some("20:30::1")),
            ("<b>gw01 ", None, None, None),
            (
                "<134>Nov 25 01:59:07 fe80::1 ",
                Some(134),
                Some("Nov 25 01:59:07"),
                Some("fe80::1"),
            ),
        ] {
            assert_eq!(origin(text), (pri, time, host), "{text}");
        }
    }

    #[test]
    fn of_text_that_is_no_message_only_a_word_behind_a_time_is_the_host() {
        for (text, host) in [
            ("<134>Nov 25 01:59:07 gw01 link down", Some("gw01")),
            ("<134>1 - gw01 app - - - link down", Some("gw01")),
            ("relay[-]: <161>Mar 19 05:24:39 gw01 x", Some("gw01")),
            ("<134>link down", None),
            ("hello", None),
            ("<134>%ASA-7-106010: Deny inbound", None),
            ("<Event><Data>x</Data>", None),
            ("a <b href", None),
            ("1 2 3", None),
        ] {
            let found = read_unparsed(text.as_bytes()).host;
            assert_eq!(found, host.map(str::as_bytes), "{text}");
        }
    }
}
