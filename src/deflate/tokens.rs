//! Literals and matches of the open block, in the form that the writing loop needs.
//!
//! ```text
//! token   up to 4 literals, then a match or none
//!         | literals | extra bits of distance | code of distance | length |
//!         63       32                       16                  9        0
//! ```
//!
//! A longer run of literals is several tokens, so that what is done for each token has no branch to
//! be guessed wrong. The literals themselves stand in a buffer of their own, one behind the other.

use super::window::{BLOCK_BYTES, Window};

/// RFC 1951 section 3.2.5.
pub(super) const MATCH_MAX: usize = 258;
/// The shortest match that is made, but for the rest of a long one, which may have 3.
pub(super) const MATCH_MIN: usize = 4;
/// Literals in a token.
pub(super) const RUN_MAX: usize = 4;
/// Codes of distances, and one behind them that stands for no match.
pub(super) const DISTANCES: usize = 30;
const NO_DISTANCE: u64 = DISTANCES as u64;

const RUN_SHIFT: u32 = 32;
const EXTRA_SHIFT: u32 = 16;
const DISTANCE_SHIFT: u32 = 9;
/// Four literals and no match.
const FOUR: u64 = (RUN_MAX as u64) << RUN_SHIFT | NO_DISTANCE << DISTANCE_SHIFT;

/// Copied at once.
const COPY_BYTES: usize = 16;
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

impl Token {
    #[inline(always)]
    fn of_match(len: usize, distance: usize) -> (Self, usize) {
        let less = distance.wrapping_sub(1) & 0x7fff;
        let at = if less < 256 { less } else { 256 + (less >> 7) };
        let code = DISTANCE_CODES[at] as usize;
        // as many bits as the code has, since bases are multiples of that
        let (base, _) = DISTANCE_BASES[code % DISTANCES];
        let extra = distance.wrapping_sub(base as usize) & 0x1fff;
        let bits = len as u64 | (code as u64) << DISTANCE_SHIFT | (extra as u64) << EXTRA_SHIFT;
        (Token(bits), code)
    }

    const NO_MATCH: Token = Token(NO_DISTANCE << DISTANCE_SHIFT);

    #[inline(always)]
    fn after(self, literals: usize) -> Self {
        Token(self.0 | (literals as u64) << RUN_SHIFT)
    }

    /// How many literals; at most [`RUN_MAX`].
    #[inline(always)]
    pub(super) fn literals(self) -> usize {
        (self.0 >> RUN_SHIFT) as usize
    }

    /// Length of the match; 0 if there is none.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        (self.0 & 511) as usize
    }

    /// Code of the distance; [`DISTANCES`] if there is none.
    #[inline(always)]
    pub(super) fn distance_code(self) -> usize {
        (self.0 >> DISTANCE_SHIFT & 31) as usize
    }

    /// Extra bits of the distance.
    #[inline(always)]
    pub(super) fn distance_extra(self) -> u64 {
        self.0 >> EXTRA_SHIFT & 0x1fff
    }
}

/// What the open block is made of so far.
#[derive(Debug)]
pub(super) struct Tokens {
    literals: Box<[u8]>,
    literals_len: usize,
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
            literals: vec![0; BLOCK_BYTES + 2 * COPY_BYTES].into_boxed_slice(),
            literals_len: 0,
            tokens: vec![Token::default(); TOKENS_MAX].into_boxed_slice(),
            tokens_len: 0,
            lengths: [0; 512],
            distances: [0; 32],
            covered: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.literals_len = 0;
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
        self.covered_by_literals(window, at);
        let run = at.wrapping_sub(self.covered);
        self.covered = at.wrapping_add(len);
        let mut run = run;
        while len > MATCH_MAX {
            let part = MATCH_MAX.min(len - 3);
            self.push_token(part, distance, run);
            len -= part;
            run = 0;
        }
        self.push_token(len, distance, run);
    }

    /// Copies the literals up to `at`.
    #[inline(always)]
    fn covered_by_literals(&mut self, window: &Window, at: usize) {
        let run = at.wrapping_sub(self.covered);
        let mut done = 0usize;
        loop {
            let (from, to) = (
                self.covered.wrapping_add(done),
                self.literals_len.wrapping_add(done),
            );
            let bytes = &window.bytes()[from..from.wrapping_add(COPY_BYTES)];
            self.literals[to..to.wrapping_add(COPY_BYTES)].copy_from_slice(bytes);
            done = done.wrapping_add(COPY_BYTES);
            if done >= run {
                break;
            }
        }
        self.literals_len = self.literals_len.wrapping_add(run);
    }

    #[inline(always)]
    fn push_token(&mut self, len: usize, distance: usize, run: usize) {
        let (token, code) = Token::of_match(len, distance);
        let count = &mut self.lengths[len & 511];
        *count = count.wrapping_add(1);
        let count = &mut self.distances[code & 31];
        *count = count.wrapping_add(1);
        self.push_after(token, run);
    }

    /// As many tokens as `run` literals and this one take.
    #[inline(always)]
    fn push_after(&mut self, token: Token, mut run: usize) {
        while run > 4 * RUN_MAX {
            self.tokens[self.tokens_len..self.tokens_len.wrapping_add(4)].fill(Token(FOUR));
            self.tokens_len = self.tokens_len.wrapping_add(4);
            run -= 4 * RUN_MAX;
        }
        // up to three of four literals each: all are written, and counted as far as they are meant
        let fours = run.saturating_sub(1) / RUN_MAX;
        let end = self.tokens_len.wrapping_add(4);
        let slots = &mut self.tokens[self.tokens_len..end];
        slots.fill(Token(FOUR));
        slots[fours & 3] = token.after(run - fours * RUN_MAX);
        self.tokens_len = self.tokens_len.wrapping_add(fours).wrapping_add(1);
    }

    /// What is left over at the end of a block becomes literals.
    pub(super) fn finish(&mut self, window: &Window) {
        let run = window.end() - self.covered;
        if run > 0 {
            self.covered_by_literals(window, window.end());
            self.covered = window.end();
            self.push_after(Token::NO_MATCH, run);
        }
    }

    pub(super) fn literals(&self) -> &[u8] {
        self.literals.get(..self.literals_len).unwrap_or_default()
    }

    pub(super) fn tokens(&self) -> &[Token] {
        self.tokens.get(..self.tokens_len).unwrap_or_default()
    }

    /// The literals with bytes behind them that mean nothing, for loads of four.
    pub(super) fn padded_literals(&self) -> &[u8] {
        &self.literals
    }
}
