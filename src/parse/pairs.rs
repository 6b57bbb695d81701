//! The pairs of an extension, by one look at its bytes.
//!
//! ```text
//! src=10.0.0.1 msg=a b url=http://h/?x=1 act=deny
//!    ^            ^       ^           ^     ^       equal signs; each is looked at once
//! ^            ^       ^                 ^          words that end in the first equal sign in them
//!                 ^^^                               what is before the next key is the value
//! ```
//!
//! Two passes: bytes to masks of what matters, then from equal sign to equal sign, which is some thirty
//! steps for a message. The rules are those of [`super::cef`].

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::cef::{begins_key, key_before};
use super::masks::{self, Masks};

/// A piece of the extension. Frames are far shorter than what 32 bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Offset of its first byte.
    #[inline]
    #[must_use]
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Offset behind its last byte.
    #[inline]
    #[must_use]
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// True if nothing is in it.
    #[inline]
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// The piece of `extension`, which must be the text that the span was made for.
    #[must_use]
    pub fn of(self, extension: &[u8]) -> &[u8] {
        extension
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// Where a key and its value stand in the extension: the value with its escapes, without blanks at
/// its end. Offsets rather than slices, so that a list of pairs can be kept and used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pair {
    key: u32,
    /// Where the equal sign stands, behind which the value begins.
    equals: u32,
    end: u32,
    /// What the scan was told of the key; [`Pair::UNKNOWN`] if nothing.
    pub known: u8,
    /// No byte of the value is an escape of CEF, or needs one in JSON, or is a `;` or beyond ASCII.
    pub is_clean: bool,
}

impl Pair {
    /// Nothing is known of the key.
    pub const UNKNOWN: u8 = u8::MAX;

    /// The key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> Span {
        Span {
            start: self.key,
            end: self.equals,
        }
    }

    /// The value; it may be empty.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Span {
        Span {
            start: self.equals.wrapping_add(1),
            end: self.end,
        }
    }
}

/// Calls `each` for every pair of an extension that begins with a key, in order.
pub fn pairs(extension: &[u8], each: impl FnMut(&Pair)) {
    let mut scan = Scan::default();
    scan.read(extension, |_, _| Pair::UNKNOWN);
    scan.pairs().iter().for_each(each);
}

/// Finds the pairs of extensions. Kept, so that its memory is used again.
#[derive(Debug, Default)]
pub struct Scan {
    /// Of each 64 bytes of the extension at hand, and of 64 that are none.
    masks: Vec<Masks>,
    /// Those of the extension at hand come first; there is room for one for each of its equal signs.
    pairs: Vec<Pair>,
    pairs_len: usize,
    /// See [`Scan::has_repeats`].
    has_repeats: bool,
    /// By what is known of a key, the number of the last extension that had one.
    seen: Seen,
    extension: u32,
}

/// A number for each thing that may be known of a key.
#[derive(Debug)]
struct Seen([u32; 256]);

impl Default for Seen {
    fn default() -> Self {
        Seen([0; 256])
    }
}

impl Scan {
    /// The pairs of the last extension, in order.
    #[inline]
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        self.pairs.get(..self.pairs_len).unwrap_or_default()
    }

    /// The same, so that what is known of them can be changed.
    #[inline]
    pub fn pairs_mut(&mut self) -> &mut [Pair] {
        self.pairs.get_mut(..self.pairs_len).unwrap_or_default()
    }

    /// Whether the same was known of two keys.
    #[inline]
    #[must_use]
    pub fn has_repeats(&self) -> bool {
        self.has_repeats
    }

    /// Reads the pairs of an extension that begins with a key. `find` says what is known of what may be
    /// a key between two offsets, and must know nothing of what is none.
    #[inline]
    pub fn read(&mut self, extension: &[u8], find: impl Fn(usize, usize) -> u8) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("lzcnt")
            && std::arch::is_x86_feature_detected!("popcnt")
        {
            #[expect(unsafe_code, reason = "what a processor can do is known when it runs")]
            // SAFETY: the processor has all that the function asks for.
            unsafe {
                self.read_wide(extension, find);
            }
            return;
        }
        self.look(extension, Masks::plain);
        self.sort(extension, find);
    }

    /// The same, for processors with AVX2 and what came with it.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn read_wide(&mut self, extension: &[u8], find: impl Fn(usize, usize) -> u8) {
        self.look(extension, |block| masks::avx2::one(block));
        self.sort(extension, find);
    }

    /// Looks at all bytes, and makes room for the pairs.
    #[inline(always)]
    fn look(&mut self, extension: &[u8], masks_of: impl Fn(&[u8; 64]) -> Masks) {
        self.masks.clear();
        let (blocks, rest) = extension.as_chunks::<64>();
        self.masks.reserve(blocks.len().wrapping_add(2));
        for block in blocks {
            self.masks.push(masks_of(block));
        }
        // what is behind the last whole block, looked at with what is before it if there is so much
        let masks = match extension.last_chunk::<64>() {
            Some(last) => masks_of(last).behind(64usize.wrapping_sub(rest.len())),
            None => {
                let mut last = [0; 64];
                if let Some(place) = last.get_mut(..rest.len()) {
                    place.copy_from_slice(rest);
                }
                masks_of(&last).first(rest.len())
            }
        };
        self.masks.push(masks);
        // so that each block has another behind it
        self.masks.push(Masks::default());
        let counts = self.masks.iter().map(|masks| masks.equals.count_ones());
        let pairs_max = counts.sum::<u32>() as usize;
        if self.pairs.len() < pairs_max {
            self.pairs.resize(pairs_max, Pair::default());
        }
    }

    /// Tells keys from other words before an equal sign, and finds their values.
    #[inline(always)]
    fn sort(&mut self, extension: &[u8], find: impl Fn(usize, usize) -> u8) {
        let number = self.next_number();
        let masks = self.masks.as_slice();
        let seen = &mut self.seen.0;
        let mut has_repeats = false;
        let mut ends = Ends::new(masks, extension);
        // the pair whose value is being read, and room for further ones
        let mut open: Option<&mut Pair> = None;
        let mut slots = self.pairs.iter_mut();
        // where the word at hand begins: behind the last blank
        let mut word = 0usize;
        // behind the last equal sign
        let mut equals_end = 0usize;
        let mut base = 0usize;
        for block in masks {
            let mut equals = block.equals;
            while equals != 0 {
                let bit = equals.trailing_zeros();
                equals &= equals.wrapping_sub(1);
                let before = 1u64.wrapping_shl(bit).wrapping_sub(1);
                let at = base.wrapping_add(bit as usize);
                let start = behind_last(block.blank & before, base, word);
                // a word with an equal sign before this one is no key
                let is_word = equals_end <= start && start < at;
                equals_end = at.wrapping_add(1);
                if !is_word {
                    continue;
                }
                let known = find(start, at);
                if known != Pair::UNKNOWN {
                    if let Some(seen) = seen.get_mut(usize::from(known)) {
                        has_repeats |= *seen == number;
                        *seen = number;
                    }
                } else if !is_key(masks, extension, start, at) {
                    continue;
                }
                if let Some(open) = open {
                    // in front of a key that is not the first there is a blank
                    ends.close(open, start.wrapping_sub(1));
                }
                open = slots.next();
                debug_assert!(open.is_some(), "there is room for each equal sign");
                if let Some(open) = &mut open {
                    open.key = start as u32;
                    open.equals = at as u32;
                    open.known = known;
                }
            }
            word = behind_last(block.blank, base, word);
            base = base.wrapping_add(64);
        }
        if let Some(open) = open {
            ends.close_last(open);
        }
        let left = slots.len();
        self.pairs_len = self.pairs.len().wrapping_sub(left);
        self.has_repeats = has_repeats;
    }

    /// A number that no extension in `seen` has.
    fn next_number(&mut self) -> u32 {
        self.extension = self.extension.wrapping_add(1);
        if self.extension == 0 {
            // what was seen four billion extensions ago is not of this one
            self.seen = Seen::default();
            self.extension = 1;
        }
        self.extension
    }
}

/// Finds where values end.
struct Ends<'x> {
    masks: &'x [Masks],
    extension: &'x [u8],
    /// Somewhere there are two blanks side by side: or else, where a key follows, nothing is before its one blank.
    has_runs: bool,
    /// The first odd byte from the beginning of a value on that was closed before.
    odd: usize,
}

impl<'x> Ends<'x> {
    #[inline(always)]
    fn new(masks: &'x [Masks], extension: &'x [u8]) -> Self {
        let mut runs = 0;
        let mut last = 0;
        for masks in masks {
            runs |= masks.blank & (masks.blank << 1 | last >> 63);
            last = masks.blank;
        }
        Ends {
            masks,
            extension,
            has_runs: runs != 0,
            odd: 0,
        }
    }

    /// The value of the pair reaches to the blanks before `end`. Those at its beginning belong to it.
    #[inline(always)]
    fn close(&mut self, pair: &mut Pair, end: usize) {
        let end = match self.has_runs {
            true => self.trimmed(pair.value().start(), end),
            false => end,
        };
        self.close_at(pair, end);
    }

    /// The same of the last pair, whose value reaches to the end, and which may have one blank behind it.
    fn close_last(&mut self, pair: &mut Pair) {
        let end = self.trimmed(pair.value().start(), self.extension.len());
        self.close_at(pair, end);
    }

    #[inline(always)]
    fn close_at(&mut self, pair: &mut Pair, end: usize) {
        pair.end = end as u32;
        if self.odd < end {
            self.odd = self.first_odd(pair.value().start());
        }
        pair.is_clean = self.odd >= end;
    }

    /// `end`, or where the blanks before it begin.
    #[inline(never)]
    fn trimmed(&self, start: usize, end: usize) -> usize {
        let value = self.extension.get(start..end).unwrap_or_default();
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let blanks = value.iter().rev().take_while(|byte| is_blank(byte));
        end.wrapping_sub(blanks.count())
    }

    /// The first odd byte from `start` on; beyond all if there is none.
    #[inline(never)]
    fn first_odd(&self, start: usize) -> usize {
        let mut bits = u64::MAX.wrapping_shl(start as u32 & 63);
        let mut base = start & !63;
        for masks in self.masks.get(start / 64..).unwrap_or_default() {
            bits &= masks.odd;
            if bits != 0 {
                return base.wrapping_add(bits.trailing_zeros() as usize);
            }
            bits = u64::MAX;
            base = base.wrapping_add(64);
        }
        usize::MAX
    }
}

/// Whether a word is a key: key characters, the first of which is a letter, a digit or `_`.
#[inline]
fn is_key(masks: &[Masks], extension: &[u8], start: usize, end: usize) -> bool {
    if !begins_key(extension.get(start..end).unwrap_or_default()) {
        return false;
    }
    let block = start / 64;
    let masks = masks.get(block..block.wrapping_add(2));
    masks.is_some_and(|masks| masks::are_of_key(masks, start & 63, end.wrapping_sub(start)))
        || key_before(extension, start, end) == start
}

/// Behind the highest bit, in a text where the lowest stands at `base`; or else what it was before.
#[inline]
fn behind_last(bits: u64, base: usize, before: usize) -> usize {
    match bits {
        0 => before,
        _ => base
            .wrapping_add(64)
            .wrapping_sub(bits.leading_zeros() as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_of_two_keys_is_told_and_forgotten() {
        let mut scan = Scan::default();
        let known = |text: &'static [u8]| {
            move |start: usize, end: usize| match &text[start..end] {
                b"src" => 254,
                b"dst" => 3,
                _ => Pair::UNKNOWN,
            }
        };
        for (text, has_repeats) in [
            (&b"src=1 dst=2 src=3"[..], true),
            (b"src=1 dst=2 x=3 x=4", false),
            (b"dst=2 a=dst=2", false),
            (b"", false),
            (b"dst=dst dst=", true),
            (b"src=1", false),
        ] {
            scan.read(text, known(text));
            assert_eq!(scan.has_repeats(), has_repeats, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_was_seen_is_forgotten_when_the_numbers_of_extensions_begin_anew() {
        let mut scan = Scan::default();
        scan.read(b"src=1", |_, _| 7);
        scan.extension = u32::MAX;
        scan.read(b"src=1", |_, _| 7);
        assert!(!scan.has_repeats());
        assert_eq!(scan.extension, 1, "the number of the first");
    }

    /// Byte by byte.
    fn naive(text: &[u8]) -> Vec<(usize, usize, usize, bool)> {
        let is_blank = |byte: u8| byte == b' ' || byte == b'\t';
        let is_key = |word: &[u8]| {
            let other = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"_.,[]-".contains(byte);
            begins_key(word) && !word.iter().any(other)
        };
        let mut starts = Vec::new();
        for at in (0..text.len()).filter(|at| text[*at] == b'=') {
            let start = (0..at).rev().find(|at| is_blank(text[*at]));
            let start = start.map_or(0, |blank| blank + 1);
            if !text[start..at].contains(&b'=') && is_key(&text[start..at]) {
                starts.push((start, at));
            }
        }
        let ends = starts.iter().skip(1).map(|(start, _)| start - 1);
        let ends: Vec<usize> = ends.chain([text.len()]).collect();
        let pairs = starts.iter().zip(ends).map(|(&(start, at), end)| {
            let value = &text[at + 1..end];
            let blanks = value.iter().rev().take_while(|byte| is_blank(**byte));
            let value = &value[..value.len() - blanks.count()];
            let odd = |byte: &u8| !(0x20..0x80).contains(byte) || b"\"\\;".contains(byte);
            (start, at, at + 1 + value.len(), !value.iter().any(odd))
        });
        pairs.collect()
    }

    #[test]
    fn pairs_are_those_found_byte_by_byte_wherever_blocks_end() {
        let seed = 0x5eed_0019;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut scan = Scan::default();
        for round in 0..60_000 {
            let mut text = Vec::new();
            let len = random.usize(0..300);
            while text.len() < len {
                match random.u8(0..8) {
                    0..3 => text.extend_from_slice(b"key="),
                    3 => text.extend_from_slice(b" "),
                    4 => text.extend(std::iter::repeat_n(b'v', random.usize(0..90))),
                    5 => text.extend(std::iter::repeat_n(b' ', random.usize(0..4))),
                    _ => text.push(*random.choice(b"k= \t\"\\;.[]-|\x01\x80\xff").unwrap()),
                }
            }
            let expected = naive(&text);
            let found = |scan: &Scan| -> Vec<_> {
                let pairs = scan.pairs().iter();
                let parts = pairs.map(|pair| {
                    let value = pair.value();
                    (
                        pair.key().start(),
                        pair.key().end(),
                        value.end(),
                        pair.is_clean,
                    )
                });
                parts.collect()
            };
            scan.read(&text, |_, _| Pair::UNKNOWN);
            assert_eq!(found(&scan), expected, "{round}: {}", text.escape_ascii());
            // and without wide instructions
            scan.look(&text, Masks::plain);
            scan.sort(&text, |_, _| Pair::UNKNOWN);
            assert_eq!(found(&scan), expected, "{round}: {}", text.escape_ascii());
        }
    }
}
