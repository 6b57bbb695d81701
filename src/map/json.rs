//! Text of senders as the inside of a JSON string: escapes of CEF resolved, escapes of JSON written,
//! invalid UTF-8 replaced, cut at a character boundary where a column ends.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::page::Pen;
use crate::parse::Escapes;

/// How a text is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Which backslash escapes it may hold.
    pub(super) escapes: Escapes,
    /// What a `;` becomes.
    pub(super) semicolon: u8,
}

impl Style {
    /// With these escapes, `;` as it is.
    pub(super) const fn plain(escapes: Escapes) -> Self {
        Style {
            escapes,
            semicolon: b';',
        }
    }
}

/// What is left of a column, and what happened to the text put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes of text (before JSON's escapes) that still fit.
    pub(super) bytes_left: usize,
    /// Some text did not fit.
    pub(super) cut: bool,
    /// Some bytes were no UTF-8, and what replaces them did fit.
    pub(super) invalid: bool,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Room {
            bytes_left: bytes,
            cut: false,
            invalid: false,
        }
    }

    /// Appends `text` to `out`, as far as there is room; nothing once something did not fit.
    pub(super) fn write(&mut self, out: &mut Pen, text: &[u8], style: Style) {
        // nearly all texts are clean and fit
        match self.bytes_left.checked_sub(text.len()) {
            Some(left) if !self.cut && is_clean(text, style.semicolon != b';') => {
                self.bytes_left = left;
                out.extend_from_slice(text);
            }
            _ => self.write_by_runs(out, text, style),
        }
    }

    /// Appends text that holds only clean bytes, such as a key and its punctuation.
    pub(super) fn write_clean(&mut self, out: &mut Pen, text: &[u8]) {
        if !self.cut {
            self.push(out, text);
        }
    }

    #[inline(never)]
    fn write_by_runs(&mut self, out: &mut Pen, text: &[u8], style: Style) {
        let mut rest = text;
        while !self.cut {
            let clean = clean_len(rest, style.semicolon != b';');
            let (run, tail) = rest.split_at_checked(clean).unwrap_or((rest, &[]));
            let Some((byte, _)) = tail.split_first() else {
                return self.push(out, run);
            };
            self.push(out, run);
            if self.cut {
                return;
            }
            rest = match byte {
                b'\\' => self.backslash(out, tail, style.escapes),
                b';' => self.one(out, style.semicolon, tail),
                0x80.. => self.beyond_ascii(out, tail),
                byte => self.one(out, *byte, tail),
            };
        }
    }

    /// Bytes that need no escape.
    fn push(&mut self, out: &mut Pen, run: &[u8]) {
        match self.bytes_left.checked_sub(run.len()) {
            Some(left) => {
                self.bytes_left = left;
                out.extend_from_slice(run);
            }
            None => {
                out.extend_from_slice(run.get(..self.bytes_left).unwrap_or_default());
                self.bytes_left = 0;
                self.cut = true;
            }
        }
    }

    /// One ASCII character in the place of the first byte of `tail`.
    fn one<'t>(&mut self, out: &mut Pen, byte: u8, tail: &'t [u8]) -> &'t [u8] {
        self.character(out, byte);
        tail.get(1..).unwrap_or_default()
    }

    fn character(&mut self, out: &mut Pen, byte: u8) {
        let Some(left) = self.bytes_left.checked_sub(1) else {
            self.cut = true;
            return;
        };
        self.bytes_left = left;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let low = HEX.get(usize::from(byte & 15)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' | (byte >> 4), low]);
            }
            _ => out.push(byte),
        }
    }

    /// `tail` begins with a backslash.
    fn backslash<'t>(&mut self, out: &mut Pen, tail: &'t [u8], escapes: Escapes) -> &'t [u8] {
        match tail.get(1).and_then(|next| escapes.of(*next)) {
            Some(byte) => {
                self.character(out, byte);
                tail.get(2..).unwrap_or_default()
            }
            None => self.one(out, b'\\', tail),
        }
    }

    /// `tail` begins beyond ASCII: the run of such bytes is valid by itself or it is not.
    fn beyond_ascii<'t>(&mut self, out: &mut Pen, tail: &'t [u8]) -> &'t [u8] {
        let len = tail.iter().take_while(|byte| !byte.is_ascii()).count();
        let (run, rest) = tail.split_at_checked(len).unwrap_or((tail, &[]));
        match std::str::from_utf8(run) {
            Ok(text) if text.len() <= self.bytes_left => self.push(out, run),
            _ => {
                for chunk in run.utf8_chunks() {
                    chunk.valid().chars().for_each(|c| self.wide(out, c));
                    if !chunk.invalid().is_empty() {
                        self.wide(out, char::REPLACEMENT_CHARACTER);
                        self.invalid |= !self.cut;
                    }
                }
            }
        }
        rest
    }

    fn wide(&mut self, out: &mut Pen, character: char) {
        match self.bytes_left.checked_sub(character.len_utf8()) {
            Some(left) if !self.cut => {
                self.bytes_left = left;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => self.cut = true,
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// True if all bytes may be copied as they are: printable ASCII but for `"`, `\` and, if asked for,
/// `;`. Looks at every byte, 16 at a time; the last 16 may overlap those before.
#[inline]
fn is_clean(text: &[u8], semicolon: bool) -> bool {
    let (chunks, _) = text.as_chunks::<16>();
    if let Some(last) = text.last_chunk::<16>() {
        return chunks.iter().all(|chunk| !is_dirty(chunk, semicolon))
            && !is_dirty(last, semicolon);
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        let flags = flags(u64::from_le_bytes(*first), semicolon)
            | flags(u64::from_le_bytes(*last), semicolon);
        return flags == 0;
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return flags(u64::from(first) | (u64::from(last) << 32), semicolon) == 0;
    }
    clean_len(text, semicolon) == text.len()
}

/// Whether one of 16 bytes needs an escape. Without an early end, so that the compiler can look at
/// all of them at once.
#[inline]
fn is_dirty(chunk: &[u8; 16], semicolon: bool) -> bool {
    let mut dirty = false;
    for byte in chunk {
        // as a signed number, what is below the blank is control or beyond ASCII
        dirty |= (byte.cast_signed() < 0x20) | (*byte == b'"') | (*byte == b'\\');
    }
    if semicolon {
        for byte in chunk {
            dirty |= *byte == b';';
        }
    }
    dirty
}

/// Length of the run at the front that may be copied as it is.
fn clean_len(text: &[u8], semicolon: bool) -> usize {
    let (words, tail) = text.as_chunks::<8>();
    let mut len = 0usize;
    for word in words {
        let flags = flags(u64::from_le_bytes(*word), semicolon);
        if flags != 0 {
            return len.saturating_add(flags.trailing_zeros() as usize / 8);
        }
        len = len.saturating_add(8);
    }
    let clean = |byte: &&u8| {
        matches!(byte, 0x20..=0x7f)
            && !matches!(byte, b'"' | b'\\')
            && !(semicolon && **byte == b';')
    };
    len.saturating_add(tail.iter().take_while(clean).count())
}

/// The high bit of each byte of the word that must not be copied as it is. See "Bit Twiddling
/// Hacks", "Determine if a word has a byte less than n": the lowest flag is exact, those above it
/// may be wrong.
fn flags(word: u64, semicolon: bool) -> u64 {
    let equals = |byte: u8| {
        let word = word ^ ONES.wrapping_mul(u64::from(byte));
        word.wrapping_sub(ONES) & !word
    };
    let control = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word;
    let mut flags = control | equals(b'"') | equals(b'\\') | word;
    if semicolon {
        flags |= equals(b';');
    }
    flags & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8], style: Style, room: usize) -> (String, Room) {
        let mut out = Pen::default();
        let mut room = Room::new(room);
        room.write(&mut out, text, style);
        let json = format!("\"{}\"", std::str::from_utf8(out.bytes()).unwrap());
        (serde_json::from_str(&json).unwrap(), room)
    }

    fn value(text: &[u8]) -> String {
        written(text, Style::plain(Escapes::Value), usize::MAX).0
    }

    #[test]
    fn escapes_are_resolved_where_they_are_known() {
        assert_eq!(value(br"a\=b\\c\nd\re\|f\xg\"), "a=b\\c\nd\re\\|f\\xg\\");
        let header = written(br"a\|b\\c\=d\n", Style::plain(Escapes::Header), 99).0;
        assert_eq!(header, r"a|b\c\=d\n");
        let none = written(br"a\|b\\c", Style::plain(Escapes::None), 99).0;
        assert_eq!(none, r"a\|b\\c");
    }

    #[test]
    fn every_byte_comes_through_json() {
        for byte in 0u8..=0x7f {
            let text = [b"12345678", &[byte][..], b"x"].concat();
            let expected = String::from_utf8(text.clone()).unwrap();
            assert_eq!(written(&text, Style::plain(Escapes::None), 99).0, expected);
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        for (text, expected) in [
            (&b"a\xffb"[..], "a\u{fffd}b"),
            ("déjà東京🎉".as_bytes(), "déjà東京🎉"),
            (b"\xc3", "\u{fffd}"),
            (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
            (b"\xc0\xaf", "\u{fffd}\u{fffd}"),
        ] {
            let (found, room) = written(text, Style::plain(Escapes::None), 99);
            assert_eq!(
                (found.as_str(), room.invalid),
                (expected, expected.contains('\u{fffd}'))
            );
        }
    }

    #[test]
    fn text_is_cut_at_a_character_boundary() {
        let plain = Style::plain(Escapes::Value);
        assert_eq!(written("aé東".as_bytes(), plain, 6).0, "aé東");
        assert!(!written("aé東".as_bytes(), plain, 6).1.cut);
        // what stands behind a character that did not fit does not fill its room
        for (room, expected) in [(5, "aé"), (3, "aé"), (2, "a"), (1, "a"), (0, "")] {
            for text in ["aé東", "aé東b", "aé東\"b"] {
                let (found, room) = written(text.as_bytes(), plain, room);
                assert_eq!((found.as_str(), room.cut), (expected, true));
            }
        }
        assert_eq!(written(br"\\\\\\", plain, 2).0, r"\\");
        assert_eq!(written(b"0123456789", plain, 10).0, "0123456789");
        assert!(!written(b"0123456789", plain, 10).1.cut);
        assert_eq!(written(b"0123456789", plain, 9).0, "012345678");
    }

    #[test]
    fn semicolons_become_what_is_asked_for() {
        let blank = Style {
            escapes: Escapes::Value,
            semicolon: b' ',
        };
        assert_eq!(written(b"a;b;;cdefghijk;", blank, 99).0, "a b  cdefghijk ");
    }

    #[test]
    fn clean_runs_equal_the_plain_twin() {
        let seed = 0x5eed_0002;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200_000 {
            let len = random.usize(0..40);
            let text: Vec<u8> = (0..len)
                .map(|_| match random.u8(0..8) {
                    0 => random.u8(..),
                    _ => random.u8(0x1e..0x80),
                })
                .collect();
            for semicolon in [false, true] {
                let naive = text
                    .iter()
                    .position(|byte| {
                        *byte < 0x20
                            || *byte >= 0x80
                            || *byte == b'"'
                            || *byte == b'\\'
                            || (semicolon && *byte == b';')
                    })
                    .unwrap_or(text.len());
                assert_eq!(clean_len(&text, semicolon), naive, "{text:?}");
                assert_eq!(is_clean(&text, semicolon), naive == text.len(), "{text:?}");
            }
        }
    }
}
