//! Common Event Format: where a message begins, its seven header fields, its extension.
//!
//! The rules are those of ArcSight's "Implementing Common Event Format" guide, widened by what real
//! senders do. In short:
//!
//! - A message begins at the first `CEF:`, an optional blank, digits, an optional blank and `|`. A
//!   bare `CEF:` before that is a tag (`CEF:CEF:0|`), a second one behind it is data.
//! - A pipe ends a header field unless an odd number of backslashes stands before it.
//! - A key is a run of letters, digits and `_.,[]-` that begins with a letter, a digit or `_`,
//!   stands at the beginning or behind a blank, and is followed by a bare `=`. Any other `=` is part
//!   of the value around it: URLs, base64, `msg=lang=en`.
//! - A value reaches to the blanks before the next key. A tab counts as a blank there.
//! - `msg=please set user=root now` cannot be decided: `user` is a key, as for all other parsers.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::Flaw;
use super::masks::Stops;
pub use super::pairs::{Pair, Scan, Span, pairs};
use memchr::memchr_iter;

/// Why a frame is not a record. The codes stand in `DeviceEventClassID` of the rows made of such
/// frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unparsed {
    /// No `CEF:` with a version and a pipe behind it.
    NoCef,
    /// Fewer than seven header fields.
    HeaderIncomplete,
}

impl Unparsed {
    /// The reason code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Unparsed::NoCef => "no_cef",
            Unparsed::HeaderIncomplete => "header_incomplete",
        }
    }

    /// One sentence for the analyst who finds the row.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Unparsed::NoCef => "no CEF header in this message",
            Unparsed::HeaderIncomplete => "CEF header with fewer than seven fields",
        }
    }
}

/// The header fields as they stand, with their escapes and the blanks around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'f> {
    /// Digits behind `CEF:`; 0 and 1 are in use.
    pub version: &'f [u8],
    /// Device Vendor.
    pub vendor: &'f [u8],
    /// Device Product.
    pub product: &'f [u8],
    /// Device Version.
    pub device_version: &'f [u8],
    /// Device Event Class ID (Signature ID).
    pub class_id: &'f [u8],
    /// Name.
    pub name: &'f [u8],
    /// Severity: a number, a word, or whatever the sender put there.
    pub severity: &'f [u8],
    /// The fields and all behind them.
    pub text: &'f [u8],
    /// Surely no byte of the fields is an escape of CEF, or needs one in JSON, or is beyond ASCII.
    pub is_clean: bool,
}

/// Where a message begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Offset of `CEF:`.
    pub start: usize,
    /// Offset of the version's first digit.
    version: usize,
    /// Offset behind the version's last digit.
    version_end: usize,
    /// Offset behind the first pipe.
    fields: usize,
}

/// Finds the beginning of the message: the first pipe with `CEF:` and digits before it.
#[must_use]
pub fn anchor(frame: &[u8]) -> Option<Anchor> {
    memchr_iter(b'|', frame).find_map(|pipe| anchor_before(frame.get(..pipe)?))
}

fn anchor_before(text: &[u8]) -> Option<Anchor> {
    let pipe = text.len();
    let digits_and_before = text.strip_suffix(b" ").unwrap_or(text);
    let version_end = digits_and_before.len();
    let digits = digits_and_before
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let version = version_end.checked_sub(digits)?;
    let before = digits_and_before.get(..version)?;
    let before = before.strip_suffix(b" ").unwrap_or(before);
    let start = before.strip_suffix(b"CEF:")?.len();
    (digits > 0).then_some(Anchor {
        start,
        version,
        version_end,
        fields: pipe.saturating_add(1),
    })
}

/// Reads the six fields behind the version. Gives the header, what is behind it, and what was amiss;
/// nothing if there are too few fields.
#[must_use]
pub fn header(frame: &[u8], anchor: Anchor) -> Option<(Header<'_>, &[u8], Option<Flaw>)> {
    let version = frame.get(anchor.version..anchor.version_end)?;
    let mut fields = Fields::of(frame.get(anchor.fields..)?);
    let vendor = fields.next()?;
    let product = fields.next()?;
    let device_version = fields.next()?;
    let class_id = fields.next()?;
    let name = fields.next()?;
    let rest = fields.rest();
    let mut is_clean = fields.are_clean;
    let last = fields.next().map(|severity| (severity, fields.rest()));
    let (severity, rest, flaw) = match last {
        // the pipe stands in a value: `…|Name|src=10.0.0.1 msg=a | b`
        Some((severity, behind)) if begins_with_key(severity) && !begins_with_key(behind) => {
            (&b""[..], rest, Some(Flaw::SeverityMissing))
        }
        Some((severity, behind)) => {
            is_clean = fields.are_clean;
            (severity, behind, None)
        }
        None if rest.trim_ascii().is_empty() => return None,
        None if first_key(rest).is_some() => (&b""[..], rest, Some(Flaw::SeverityMissing)),
        None => {
            is_clean = false;
            (rest, &b""[..], Some(Flaw::LastPipeMissing))
        }
    };
    let header = Header {
        version,
        vendor,
        product,
        device_version,
        class_id,
        name,
        severity,
        text: frame.get(anchor.fields..)?,
        is_clean,
    };
    Some((header, rest, flaw))
}

/// Header fields, each up to the next pipe that no backslash takes.
struct Fields<'t> {
    text: &'t [u8],
    /// Where the next field begins.
    start: usize,
    /// Pipes and backslashes of the 64 bytes from `base` on that were not looked at yet.
    stops: u64,
    /// Odd bytes of the same.
    odd: u64,
    base: usize,
    /// No field so far has odd bytes.
    are_clean: bool,
}

impl<'t> Fields<'t> {
    fn of(text: &'t [u8]) -> Self {
        let first = Stops::of(text);
        Fields {
            text,
            start: 0,
            stops: first.stops,
            odd: first.odd,
            base: 0,
            are_clean: true,
        }
    }

    #[inline]
    fn next(&mut self) -> Option<&'t [u8]> {
        // a backslash takes the byte behind it, whatever that is
        let mut taken = 0usize;
        loop {
            while self.stops == 0 {
                self.are_clean &= self.odd == 0;
                self.base = self.base.saturating_add(64);
                let text = self.text.get(self.base..).filter(|text| !text.is_empty())?;
                Stops {
                    stops: self.stops,
                    odd: self.odd,
                } = Stops::of(text);
            }
            let bit = self.stops.trailing_zeros();
            self.stops &= self.stops.wrapping_sub(1);
            let at = self.base.saturating_add(bit as usize);
            if at < taken {
                continue;
            }
            if self.text.get(at) != Some(&b'|') {
                taken = at.saturating_add(2);
                continue;
            }
            // what is odd before the pipe is of this field
            let before = 1u64.wrapping_shl(bit).wrapping_sub(1);
            self.are_clean &= self.odd & before == 0;
            let field = self.text.get(self.start..at)?;
            self.start = at.saturating_add(1);
            return Some(field);
        }
    }

    /// What is behind the last field.
    fn rest(&self) -> &'t [u8] {
        self.text.get(self.start..).unwrap_or_default()
    }
}

/// Sets the text before the first key apart. In front of the first key alone a pipe stands for a
/// blank: Check Point sends one header field too many (`|Unknown|act=Accept`).
#[must_use]
pub fn split_stray(rest: &[u8]) -> (&[u8], &[u8]) {
    let at = first_key(rest).unwrap_or(rest.len());
    let (stray, extension) = rest.split_at_checked(at).unwrap_or((rest, &[]));
    (stray.trim_ascii(), extension)
}

/// Whether nothing but blanks stands before the first key.
fn begins_with_key(text: &[u8]) -> bool {
    first_key(text.trim_ascii_start()) == Some(0)
}

/// Offset of the first key.
fn first_key(text: &[u8]) -> Option<usize> {
    // mostly there is one at the very beginning
    if let Some(first) = text.first_chunk::<16>() {
        let run = key_bytes_at_start(first);
        if begins_key(text) && text.get(run) == Some(&b'=') {
            return Some(0);
        }
    }
    let mut from = 0usize;
    for equals in memchr_iter(b'=', text) {
        let key = key_before(text, from, equals);
        if begins_key(text.get(key..equals).unwrap_or_default())
            && (key == 0 || matches!(byte_before(text, key), Some(b' ' | b'\t' | b'|')))
        {
            return Some(key);
        }
        from = equals.saturating_add(1);
    }
    None
}

/// Where the run of key characters before `equals` begins, not before `floor`, which is the beginning
/// of the text or behind another `=`.
#[inline]
pub(super) fn key_before(text: &[u8], floor: usize, equals: usize) -> usize {
    let before = text.get(..equals).unwrap_or_default();
    if let Some(last) = before.last_chunk::<16>() {
        let run = key_bytes_at_end(last);
        if run < last.len() {
            return equals.saturating_sub(run);
        }
    }
    before
        .get(floor..)
        .unwrap_or_default()
        .iter()
        .rposition(|byte| !is_key_byte(*byte))
        .map_or(floor, |other| floor.saturating_add(other).saturating_add(1))
}

/// How many key characters stand at the end: all 16 are looked at side by side, since the place where
/// a loop over them ends cannot be predicted.
#[inline]
fn key_bytes_at_end(chunk: &[u8; 16]) -> usize {
    (u128::from_le_bytes(others(chunk)).leading_zeros() / 8) as usize
}

/// How many key characters stand at the beginning, seen in the same way.
#[inline]
fn key_bytes_at_start(chunk: &[u8; 16]) -> usize {
    (u128::from_le_bytes(others(chunk)).trailing_zeros() / 8) as usize
}

/// All bits of those bytes that are no key characters.
#[inline]
fn others(chunk: &[u8; 16]) -> [u8; 16] {
    let mut others = [0u8; 16];
    for (other, byte) in others.iter_mut().zip(chunk) {
        *other = if is_key_byte(*byte) { 0 } else { 0xFF };
    }
    others
}

/// The characters of keys in the field: `ad.field[0]`, `ad.Error_,Code`, `PanOSX-Forwarded-For`.
#[inline]
fn is_key_byte(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let digit = byte.wrapping_sub(b'0') < 10;
    let comma_hyphen_dot = byte.wrapping_sub(b',') < 3;
    letter | digit | comma_hyphen_dot | (byte == b'_') | (byte == b'[') | (byte == b']')
}

/// A run of key characters is a key if it begins like one.
pub(super) fn begins_key(run: &[u8]) -> bool {
    matches!(run.first(), Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn byte_before(text: &[u8], at: usize) -> Option<u8> {
    text.get(at.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::super::{Record, parse};
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    fn record(line: &str) -> Record<'_> {
        parse(line.as_bytes()).unwrap()
    }

    fn extension(line: &str) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        let extension = record(line).extension;
        pairs(extension, |pair| {
            found.push((
                text(pair.key().of(extension)),
                text(pair.value().of(extension)),
            ));
        });
        found
    }

    #[test]
    fn the_first_key_is_found_whatever_begins_the_text() {
        for (text, first) in [
            (&b"src=10.0.0.1 dst=10.0.0.2"[..], Some(0)),
            (b"src=1", Some(0)),
            (b".rc=10.0.0.1 dst=10.0.0.2", Some(13)),
            (b"s rc=10.0.0.1 dst=10.0.0.2", Some(2)),
            (b"=src=10.0.0.1 dst=10.0.0.2", Some(14)),
            (b"sixteen_letters_=1 dst=1", Some(0)),
            (b"seventeen_letters=1 dst=1", Some(0)),
            (b"no key in this text at all", None),
        ] {
            assert_eq!(first_key(text), first, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn the_message_begins_at_the_first_version_and_pipe() {
        for line in [
            "CEF:0|V|P|1|c|n|5|a=b",
            "CEF: 0|V|P|1|c|n|5|a=b",
            "CEF:0 |V|P|1|c|n|5|a=b",
            "<1>CEF:CEF:0|V|P|1|c|n|5|a=b",
            "x|y CEF: CEF:0|V|P|1|c|n|5|a=b CEF:1|W|",
            "\"CEF:0|V|P|1|c|n|5|a=b\"",
        ] {
            let record = record(line);
            assert_eq!(text(record.header.version), "0", "{line}");
            assert_eq!(text(record.header.vendor), "V", "{line}");
        }
        for line in [
            "",
            "CEF:",
            "CEF:|V|",
            "CEF:x|V|",
            "CEF:0",
            "cef:0|V|",
            "CEF:  0|V",
        ] {
            let refused = parse(line.as_bytes()).map_err(|(why, _)| why);
            assert_eq!(refused, Err(Unparsed::NoCef), "{line}");
        }
    }

    #[test]
    fn a_pipe_behind_an_odd_number_of_backslashes_is_text() {
        let header = record(r"CEF:0|Ac\|me\\|Ga\\te|1\|c\\|c|n|5|").header;
        assert_eq!(text(header.vendor), r"Ac\|me\\");
        assert_eq!(text(header.product), r"Ga\\te");
        assert_eq!(text(header.device_version), r"1\|c\\");
    }

    #[test]
    fn a_short_header_is_none_unless_only_the_severity_or_its_pipe_is_missing() {
        for line in [
            "CEF:0|V|P|1|c|n",
            "CEF:0|V|P|1|c|n|",
            "CEF:0|V|P|1|c|n|  ",
            "CEF:0|V",
        ] {
            let refused = parse(line.as_bytes()).map_err(|(why, _)| why);
            assert_eq!(refused, Err(Unparsed::HeaderIncomplete), "{line}");
        }
        let cut = record("CEF:0|V|P|1|c|n|7");
        assert_eq!(
            (text(cut.header.severity), cut.flaw),
            ("7", Some(Flaw::LastPipeMissing))
        );
        let none = record("CEF:0|V|P|1|c|n|rt=$x y=z");
        assert_eq!(
            (text(none.header.severity), none.flaw),
            ("", Some(Flaw::SeverityMissing))
        );
        assert_eq!(text(none.extension), "rt=$x y=z");
        // a pipe in a value does not make a pair the severity
        let none = record("CEF:0|V|P|1|c|n|src=::1 msg=a | b x=y");
        assert_eq!(
            (text(none.header.severity), none.flaw),
            ("", Some(Flaw::SeverityMissing))
        );
        assert_eq!(text(none.extension), "src=::1 msg=a | b x=y");
        // but in front of the first key it ends the header, whatever the severity is
        let odd = record("CEF:0|V|P|1|c|n|severity=5|src=::1");
        assert_eq!((text(odd.header.severity), odd.flaw), ("severity=5", None));
        assert_eq!(text(odd.extension), "src=::1");
    }

    #[test]
    fn values_keep_bare_equal_signs_and_inner_blanks() {
        assert_eq!(
            extension("CEF:0|V|P|1|c|n|5|msg= a  b=  http://h/?x=1&y=2 =z cs1=q==  "),
            [
                ("msg", " a"),
                ("b", "  http://h/?x=1&y=2 =z"),
                ("cs1", "q==")
            ]
        );
    }

    #[test]
    fn keys_are_told_from_text_by_their_characters() {
        assert_eq!(
            extension(r"CEF:0|V|P|1|c|n|5|a[0].b=1 ad.E_,C=2 x-y=3 _z=4 9=5 -n=6 k#1=7 u\=8 t:x=9"),
            [
                ("a[0].b", "1"),
                ("ad.E_,C", "2"),
                ("x-y", "3"),
                ("_z", "4"),
                ("9", r"5 -n=6 k#1=7 u\=8 t:x=9"),
            ]
        );
    }

    #[test]
    fn empty_values_do_not_take_the_next_key() {
        assert_eq!(
            extension("CEF:0|V|P|1|c|n|5|a= b=\tc= d="),
            [("a", ""), ("b", ""), ("c", ""), ("d", "")]
        );
        assert_eq!(extension("CEF:0|V|P|1|c|n|5|a=b=c"), [("a", "b=c")]);
    }

    #[test]
    fn text_before_the_first_key_is_set_apart() {
        for (line, stray, key) in [
            ("CEF:0||V|P|1|c|n|Unknown|act=Accept", "Unknown|", "act"),
            ("CEF:0|V|P|1|c|n|5|stray words src=1", "stray words", "src"),
            ("CEF:0|V|P|1|c|n|5|  src=1", "", "src"),
        ] {
            let record = record(line);
            assert_eq!(text(record.stray), stray);
            assert_eq!(extension(line)[0].0, key);
        }
        let none = record("CEF:0|V|P|1|c|n|5|...");
        assert_eq!((text(none.stray), text(none.extension)), ("...", ""));
    }
}
