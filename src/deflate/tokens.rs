//! Literals and matches of the open block, in the form that the writing loop needs.
//!
//! ```text
//! token   up to 4 literals, then a match or none
//!         | extra bits of distance | code of distance | length | literals | bytes of literals |
//!         62                       49                 44       35         32                  0
//! ```
//!
//! A longer run of literals is several tokens, so that what is done for each token has no branch to
//! be guessed wrong.

use super::bytes::{four, sixteen};
use super::window::{BLOCK_BYTES, Window};

/// RFC 1951 section 3.2.5.
pub(super) const MATCH_MAX: usize = 258;
/// The shortest match that is made, but for the rest of a long one, which may have 3: four or five
/// bytes take no more bits as literals, and less time.
pub(super) const MATCH_MIN: usize = 6;
/// Literals in a token.
pub(super) const RUN_MAX: usize = 4;
/// Codes of distances, and one behind them that stands for no match.
pub(super) const DISTANCES: usize = 30;
const NO_DISTANCE: u64 = DISTANCES as u64;

const RUN_SHIFT: u32 = 32;
const LENGTH_SHIFT: u32 = 35;
const DISTANCE_SHIFT: u32 = 44;
const EXTRA_SHIFT: u32 = 49;
const NO_MATCH: u64 = NO_DISTANCE << DISTANCE_SHIFT;
/// Four literals and no match, but for the literals themselves.
const FOUR: u64 = (RUN_MAX as u64) << RUN_SHIFT | NO_MATCH;

/// Every token stands for four bytes of input or more but the last one of a block, and for the rest
/// of a long match, which has more than 250 before it.
const TOKENS_MAX: usize = BLOCK_BYTES / 4 + BLOCK_BYTES / 250 + 16;

/// First distance of each code, and its number of extra bits.
pub(super) const DISTANCE_BASES: [(u16, u8); DISTANCES] = {
    let mut bases = [(0, 0); DISTANCES];
    let (mut code, mut next) = (0, 1u32);
    while code < DISTANCES {
        let extra = if code < 4 { 0 } else { code / 2 - 1 };
        bases[code] = (next as u16, extra as u8);
        next += 1 << extra;
        code += 1;
    }
    bases
};

/// First distance of each code, for all values of five bits.
const EXTRA_BASES: [u16; 32] = {
    let mut bases = [0; 32];
    let mut code = 0;
    while code < DISTANCES {
        bases[code] = DISTANCE_BASES[code].0;
        code += 1;
    }
    bases
};

/// Code of a distance less one below 256, and behind them that of each 128 beyond.
const DISTANCE_CODES: [u8; 512] = {
    let mut codes = [0; 512];
    let mut code = 0;
    while code < DISTANCES {
        let first = DISTANCE_BASES[code].0 as usize - 1;
        let last = first + (1 << DISTANCE_BASES[code].1) - 1;
        let (mut at, end) = if first < 256 {
            (first, last)
        } else {
            (256 + (first >> 7), 256 + (last >> 7))
        };
        while at <= end {
            codes[at] = code as u8;
            at += 1;
        }
        code += 1;
    }
    codes
};

/// A match or none, with the literals before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Token(u64);

/// A match, and the code of its distance.
#[inline(always)]
fn match_bits(len: usize, distance: usize) -> (u64, usize) {
    let less = distance.wrapping_sub(1) & 0x7fff;
    let at = if less < 256 { less } else { 256 + (less >> 7) };
    let code = usize::from(DISTANCE_CODES[at]);
    // 32 entries
    let extra = distance.wrapping_sub(EXTRA_BASES[code & 31] as usize) & 0x1fff;
    let bits = (len as u64) << LENGTH_SHIFT
        | (code as u64) << DISTANCE_SHIFT
        | (extra as u64) << EXTRA_SHIFT;
    (bits, code)
}

impl Token {
    /// All of it, in the form above.
    #[inline(always)]
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// How many literals; at most [`RUN_MAX`].
    #[inline(always)]
    pub(super) fn run(self) -> usize {
        (self.0 >> RUN_SHIFT & 7) as usize
    }

    /// The literals, the first lowest; zero behind the last.
    #[inline(always)]
    pub(super) fn literals(self) -> [u8; RUN_MAX] {
        (self.0 as u32).to_le_bytes()
    }

    /// Length of the match; 0 if there is none.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        (self.0 >> LENGTH_SHIFT & 511) as usize
    }

    /// Code of the distance; [`DISTANCES`] if there is none.
    #[inline(always)]
    pub(super) fn distance_code(self) -> usize {
        (self.0 >> DISTANCE_SHIFT & 31) as usize
    }

    /// Extra bits of the distance.
    #[inline(always)]
    pub(super) fn distance_extra(self) -> u64 {
        self.0 >> EXTRA_SHIFT
    }
}

/// What the open block is made of so far.
#[derive(Debug)]
pub(super) struct Tokens {
    tokens: Box<[Token]>,
    tokens_len: usize,
    /// How often each length was used.
    pub(super) lengths: [u32; 512],
    /// How often each code of a distance was used.
    pub(super) distances: [u32; 32],
    /// Position in the window up to which the input is in tokens.
    covered: usize,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Tokens {
            tokens: vec![Token::default(); TOKENS_MAX].into_boxed_slice(),
            tokens_len: 0,
            lengths: [0; 512],
            distances: [0; 32],
            covered: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.tokens_len = 0;
        self.lengths.fill(0);
        self.distances.fill(0);
        self.covered = 0;
    }

    /// The next block begins at this position.
    pub(super) fn start_at(&mut self, at: usize) {
        self.covered = at;
    }

    /// Position up to which the input is in tokens; what follows is literals unless a match is made.
    #[inline(always)]
    pub(super) fn covered(&self) -> usize {
        self.covered
    }

    /// Literals up to `at`, then a match of at least [`MATCH_MIN`] bytes.
    #[inline(always)]
    pub(super) fn push(&mut self, window: &Window, at: usize, mut len: usize, distance: usize) {
        debug_assert!(at >= self.covered && at + len <= window.end());
        debug_assert!(len >= MATCH_MIN && (1..=super::window::WINDOW_BYTES).contains(&distance));
        let (mut from, mut run) = (self.covered, at.wrapping_sub(self.covered));
        self.covered = at.wrapping_add(len);
        while len > MATCH_MAX {
            let part = MATCH_MAX.min(len - 3);
            self.push_match(window, from, run, part, distance);
            len -= part;
            (from, run) = (at, 0);
        }
        self.push_match(window, from, run, len, distance);
    }

    #[inline(always)]
    fn push_match(
        &mut self,
        window: &Window,
        from: usize,
        run: usize,
        len: usize,
        distance: usize,
    ) {
        let (bits, code) = match_bits(len, distance);
        let count = &mut self.lengths[len & 511];
        *count = count.wrapping_add(1);
        let count = &mut self.distances[code & 31];
        *count = count.wrapping_add(1);
        self.push_after(window, from, run, bits);
    }

    /// As many tokens as the literals from `from` on and this match take.
    #[inline(always)]
    fn push_after(&mut self, window: &Window, mut from: usize, mut run: usize, bits: u64) {
        while run > 4 * RUN_MAX {
            self.put_fours(sixteen(window.bytes(), from));
            self.tokens_len = self.tokens_len.wrapping_add(4);
            from = from.wrapping_add(4 * RUN_MAX);
            run = run.wrapping_sub(4 * RUN_MAX);
        }
        // up to three of four literals each: all are written, and counted as far as they are meant
        let fours = run.saturating_sub(1) / RUN_MAX;
        self.put_fours(sixteen(window.bytes(), from));
        let left = run.wrapping_sub(fours.wrapping_mul(RUN_MAX));
        let four = four(
            window.bytes(),
            from.wrapping_add(fours.wrapping_mul(RUN_MAX)),
        );
        let literals = u64::from(four) & !(u64::MAX << ((left * 8) & 63));
        let at = self.tokens_len.wrapping_add(fours);
        self.tokens[at] = Token(literals | (left as u64) << RUN_SHIFT | bits);
        self.tokens_len = at.wrapping_add(1);
    }

    /// Four tokens of four literals each behind the last token, which are not counted.
    #[inline(always)]
    fn put_fours(&mut self, bytes: [u8; 16]) {
        let end = self.tokens_len.wrapping_add(4);
        let slots = &mut self.tokens[self.tokens_len..end];
        let (fours, _) = bytes.as_chunks::<4>();
        for (slot, four) in slots.iter_mut().zip(fours) {
            *slot = Token(u64::from(u32::from_le_bytes(*four)) | FOUR);
        }
    }

    /// What is left over at the end of a block becomes literals.
    pub(super) fn finish(&mut self, window: &Window) {
        let run = window.end() - self.covered;
        if run > 0 {
            self.push_after(window, self.covered, run, NO_MATCH);
            self.covered = window.end();
        }
    }

    pub(super) fn tokens(&self) -> &[Token] {
        self.tokens.get(..self.tokens_len).unwrap_or_default()
    }
}
