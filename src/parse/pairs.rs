//! The pairs of an extension, by one look at its bytes.
//!
//! ```text
//! src=10.0.0.1 msg=a b url=http://h/?x=1 act=deny
//!    ^            ^       ^           ^     ^       equal signs; each is looked at once
//! ^            ^       ^                 ^          words that end in the first equal sign in them
//!                 ^^^                               what is before the next key is the value
//! ```
//!
//! Three passes, each over little: bytes to masks of what matters, masks to words that may
//! be keys, words to pairs. The rules are those of [`super::cef`].

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
    scan.pairs.iter().for_each(each);
}

/// Finds the pairs of extensions. Kept, so that its memory is used again.
#[derive(Debug, Default)]
pub struct Scan {
    /// Of each 64 bytes of the extension at hand.
    masks: Vec<Masks>,
    /// Words up to the first equal sign in them, and where that stands: what may be keys.
    words: Vec<(u32, u32)>,
    /// In order.
    pub pairs: Vec<Pair>,
}

impl Scan {
    /// Reads the pairs of an extension that begins with a key. `find` says what is known of what may be
    /// a key between two offsets, and must know nothing of what is none.
    #[inline]
    pub fn read(&mut self, extension: &[u8], find: impl Fn(usize, usize) -> u8) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("lzcnt")
        {
            #[expect(unsafe_code, reason = "what a processor can do is known when it runs")]
            // SAFETY: the processor has all that the function asks for.
            unsafe {
                self.read_wide(extension, find);
            }
            return;
        }
        self.look(extension, Masks::plain);
        self.find_words();
        self.sort(extension, find);
    }

    /// The same, for processors with AVX2 and what came with it.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
    fn read_wide(&mut self, extension: &[u8], find: impl Fn(usize, usize) -> u8) {
        self.look(extension, |block| masks::avx2::one(block));
        self.find_words();
        self.sort(extension, find);
    }

    /// Looks at all bytes.
    #[inline(always)]
    fn look(&mut self, extension: &[u8], masks_of: impl Fn(&[u8; 64]) -> Masks) {
        self.masks.clear();
        let (blocks, rest) = extension.as_chunks::<64>();
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
    }

    /// Finds what may be keys.
    #[inline(always)]
    fn find_words(&mut self) {
        self.words.clear();
        // where the word at hand begins: behind the last blank
        let mut word = 0usize;
        // behind the last equal sign
        let mut equals_end = 0usize;
        let mut base = 0usize;
        for masks in &self.masks {
            let mut equals = masks.equals;
            while equals != 0 {
                let bit = equals.trailing_zeros();
                equals &= equals.wrapping_sub(1);
                let before = 1u64.wrapping_shl(bit).wrapping_sub(1);
                let at = base.wrapping_add(bit as usize);
                let start = behind_last(masks.blank & before, base, word);
                // a word with an equal sign before this one is no key
                if equals_end <= start && start < at {
                    self.words.push((start as u32, at as u32));
                }
                equals_end = at.wrapping_add(1);
            }
            word = behind_last(masks.blank, base, word);
            base = base.wrapping_add(64);
        }
    }

    /// Tells keys from other words, and finds their values.
    #[inline(always)]
    fn sort(&mut self, extension: &[u8], find: impl Fn(usize, usize) -> u8) {
        self.pairs.clear();
        let mut odd = Odd::new(&self.masks);
        // the key whose value is being read, where its equal sign stands, what is known of it
        let mut open = None;
        let pairs = &mut self.pairs;
        let mut close = |(key, equals, known), end| {
            let end = value_end(extension, equals, end);
            pairs.push(Pair {
                key,
                equals,
                end,
                known,
                is_clean: odd.first_from(equals) >= end,
            });
        };
        for &(start, at) in &self.words {
            let found = find(start as usize, at as usize);
            if found == Pair::UNKNOWN
                && !is_key(&self.masks, extension, start as usize, at as usize)
            {
                continue;
            }
            if let Some(before) = open.replace((start, at, found)) {
                // in front of a key that is not the first there is a blank
                close(before, start.wrapping_sub(1));
            }
        }
        if let Some(last) = open {
            close(last, extension.len() as u32);
        }
    }
}

/// The places of odd bytes, in order.
struct Odd<'m> {
    masks: std::slice::Iter<'m, Masks>,
    /// What is left of the last one taken, and where its first bit stands.
    bits: u64,
    base: u32,
    /// The last place found; beyond all if there is none any more.
    at: u32,
}

impl<'m> Odd<'m> {
    #[inline(always)]
    fn new(masks: &'m [Masks]) -> Self {
        Odd {
            masks: masks.iter(),
            bits: 0,
            base: 0u32.wrapping_sub(64),
            at: 0,
        }
    }

    /// The first place from `start` on, which is never less than it was.
    #[inline(always)]
    fn first_from(&mut self, start: u32) -> u32 {
        while self.at < start {
            while self.bits == 0 {
                let Some(masks) = self.masks.next() else {
                    self.at = u32::MAX;
                    return self.at;
                };
                self.bits = masks.odd;
                self.base = self.base.wrapping_add(64);
            }
            self.at = self.base.wrapping_add(self.bits.trailing_zeros());
            self.bits &= self.bits.wrapping_sub(1);
        }
        self.at
    }
}

/// Whether a word is a key: key characters, the first of which is a letter, a digit or `_`.
#[inline]
fn is_key(masks: &[Masks], extension: &[u8], start: usize, end: usize) -> bool {
    if !begins_key(extension.get(start..end).unwrap_or_default()) {
        return false;
    }
    let masks = masks.get(start / 64);
    masks.is_some_and(|masks| masks.are_of_key(start & !63, start, end))
        || key_before(extension, start, end) == start
}

/// Where the value ends whose equal sign stands at `equals`: before the blanks before `end`. Those at its
/// beginning belong to it.
#[inline]
fn value_end(extension: &[u8], equals: u32, end: u32) -> u32 {
    let is_blank = |at: u32| matches!(extension.get(at as usize), Some(b' ' | b'\t'));
    let mut end = end;
    while end.wrapping_sub(1) > equals && is_blank(end.wrapping_sub(1)) {
        end = end.wrapping_sub(1);
    }
    end
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
