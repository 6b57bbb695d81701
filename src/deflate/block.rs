//! A block of the stream: what it costs in each form, and the shortest of them written.

use super::bits::{BitSlice, BitWriter};
use super::cpu::{AsciiCodes, Cpu, Found, Work};
use super::huffman;
use super::tokens::{DISTANCE_BASES, DISTANCES, MATCH_MAX, RUN_MAX, Token, Tokens};

/// RFC 1951 section 3.2.4: the length of a stored block has 16 bits.
pub(super) const STORED_BYTES_MAX: usize = 65_535;
/// Most bits that the first stored block takes beside its bytes: its head, up to 7 to the end of a
/// byte, and its length twice.
pub(super) const BLOCK_HEAD_BITS_MAX: usize = 3 + 7 + 32;

/// Symbols of literals, the end of a block, and lengths; the last two have a fixed code and no
/// meaning.
const LITERALS: usize = huffman::SYMBOLS_MAX;
const END_OF_BLOCK: usize = 256;
/// First symbol of a length.
const LENGTHS_FROM: usize = 257;
/// Codes of lengths.
const LENGTHS: usize = 29;
/// Symbols that the lengths of the codes are written in.
const CODE_LENGTHS: usize = 19;
/// The order in which their own lengths stand, RFC 1951 section 3.2.7.
const CODE_LENGTHS_ORDER: [u8; CODE_LENGTHS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
const CODE_LENGTHS_LEN_MAX: usize = 7;
/// Of literals and lengths: four of them are appended at once, which takes 56 bits.
const LITERALS_LEN_MAX: usize = 14;
const DISTANCES_LEN_MAX: usize = 15;

/// First length of each code, and its number of extra bits.
const LENGTH_BASES: [(u16, u8); LENGTHS] = {
    let mut bases = [(0, 0); LENGTHS];
    let (mut code, mut next) = (0, 3u16);
    while code < LENGTHS {
        let extra = if code < 8 { 0 } else { code / 4 - 1 };
        bases[code] = (next, extra as u8);
        next += 1 << extra;
        code += 1;
    }
    // the longest has a code of its own
    bases[LENGTHS - 1] = (MATCH_MAX as u16, 0);
    bases
};

/// Code of each length.
const LENGTH_CODES: [u8; MATCH_MAX + 1] = {
    let mut codes = [0; MATCH_MAX + 1];
    let mut len = 3;
    let mut code = 0;
    while len <= MATCH_MAX {
        while code + 1 < LENGTHS && LENGTH_BASES[code + 1].0 as usize <= len {
            code += 1;
        }
        codes[len] = code as u8;
        len += 1;
    }
    codes
};

/// Writes the input `raw`, which the tokens stand for, as a block in its shortest form.
pub(super) fn write(out: &mut BitWriter, tokens: &Tokens, raw: &[u8], is_last: bool, found: Found) {
    if raw.is_empty() {
        if is_last {
            // the fixed code, and its end of a block
            out.put(0b011, 10);
        }
        return;
    }
    let counts = Counts::of(tokens);
    let dynamic = Codes::best(&counts);
    let fixed = Codes::fixed();
    let mut head = Head::of(&dynamic);
    let dynamic_bits = 3 + head.bits() + dynamic.bits(&counts);
    let fixed_bits = 3 + fixed.bits(&counts);
    let stored_bits = stored_bits(out.bits_len(), raw.len());
    let shortest = stored_bits.min(fixed_bits).min(dynamic_bits);
    let end = out.bits_len() + shortest;
    let last = u64::from(is_last);
    if stored_bits == shortest {
        write_stored(out, raw, is_last);
    } else if fixed_bits == shortest {
        out.put(last | 1 << 1, 3);
        write_tokens(out, tokens, &fixed, fixed_bits, found);
    } else {
        out.put(last | 2 << 1, 3);
        head.write(out);
        write_tokens(out, tokens, &dynamic, dynamic_bits, found);
    }
    // the room and the promise of `Encoder::raw_bytes_left` rest on it
    assert_eq!(out.bits_len(), end, "a block is as long as was counted");
}

/// What stored blocks of so many bytes take, behind so many bits.
fn stored_bits(bits_before: usize, raw_bytes: usize) -> usize {
    let first = (bits_before + 3).next_multiple_of(8) + 32 - bits_before;
    let further = raw_bytes.div_ceil(STORED_BYTES_MAX).saturating_sub(1);
    first + 40 * further + 8 * raw_bytes
}

fn write_stored(out: &mut BitWriter, raw: &[u8], is_last: bool) {
    let mut parts = raw.chunks(STORED_BYTES_MAX).peekable();
    while let Some(part) = parts.next() {
        out.put(u64::from(is_last && parts.peek().is_none()), 3);
        out.align();
        let len = part.len() as u16;
        out.put_bytes(&len.to_le_bytes());
        out.put_bytes(&(!len).to_le_bytes());
        out.put_bytes(part);
    }
}

/// How often each symbol occurs.
struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Counts {
    fn of(tokens: &Tokens) -> Self {
        // a table for each place in a token, so that equal bytes do not wait for each other
        let mut parts = [[0u32; 256]; RUN_MAX];
        // tokens of each number of literals, side by side in one word, as far as twelve bits last
        let mut runs = [0u32; RUN_MAX + 1];
        for tokens in tokens.tokens().chunks(4095) {
            let mut sums = 0u64;
            for token in tokens {
                for (part, byte) in parts.iter_mut().zip(token.literals()) {
                    let count = &mut part[usize::from(byte)];
                    *count = count.wrapping_add(1);
                }
                sums = sums.wrapping_add(1 << ((12 * token.run()) & 63));
            }
            for (run, count) in runs.iter_mut().enumerate() {
                *count += (sums >> (12 * run)) as u32 & 4095;
            }
        }
        // the places that a token has no literal in were counted as zeros
        for (run, count) in runs.iter().enumerate().take(RUN_MAX) {
            for part in &mut parts[run..] {
                part[0] -= count;
            }
        }
        let mut literals = [0; LITERALS];
        for part in &parts {
            for (sum, count) in literals.iter_mut().zip(part) {
                *sum += count;
            }
        }
        literals[END_OF_BLOCK] = 1;
        for (count, code) in tokens.lengths.iter().zip(LENGTH_CODES) {
            literals[LENGTHS_FROM + usize::from(code)] += count;
        }
        let mut distances = [0; DISTANCES];
        distances.copy_from_slice(&tokens.distances[..DISTANCES]);
        Counts {
            literals,
            distances,
        }
    }
}

/// The codes of a block.
struct Codes {
    literals: [u8; LITERALS],
    distances: [u8; DISTANCES],
}

impl Codes {
    fn best(counts: &Counts) -> Self {
        let mut codes = Codes {
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
        };
        huffman::code_lengths(&counts.literals, LITERALS_LEN_MAX, &mut codes.literals);
        huffman::code_lengths(&counts.distances, DISTANCES_LEN_MAX, &mut codes.distances);
        codes
    }

    /// RFC 1951 section 3.2.6.
    fn fixed() -> Self {
        let mut literals = [8; LITERALS];
        literals[144..256].fill(9);
        literals[256..280].fill(7);
        Codes {
            literals,
            distances: [5; DISTANCES],
        }
    }

    /// What the symbols take, their extra bits included.
    fn bits(&self, counts: &Counts) -> usize {
        let sum = |counts: &[u32], lengths: &[u8]| -> usize {
            let bits = |(count, len): (&u32, &u8)| *count as usize * usize::from(*len);
            counts.iter().zip(lengths).map(bits).sum()
        };
        let extra = |counts: &[u32], bases: &[(u16, u8)]| -> usize {
            let bits = |(count, base): (&u32, &(u16, u8))| *count as usize * usize::from(base.1);
            counts.iter().zip(bases).map(bits).sum()
        };
        sum(&counts.literals, &self.literals)
            + sum(&counts.distances, &self.distances)
            + extra(&counts.literals[LENGTHS_FROM..], &LENGTH_BASES)
            + extra(&counts.distances, &DISTANCE_BASES)
    }
}

/// The lengths of the codes, as they stand before a block.
struct Head {
    literals: usize,
    distances: usize,
    /// Symbol, and the extra bits of those from 16 on.
    symbols: [(u8, u8); LITERALS + DISTANCES],
    symbols_len: usize,
    lengths: [u8; CODE_LENGTHS],
    /// How many of them are written.
    lengths_len: usize,
    bits: usize,
}

/// Extra bits of a symbol of code lengths.
fn extra_bits(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

impl Head {
    fn of(codes: &Codes) -> Self {
        let used = |lengths: &[u8]| {
            lengths
                .iter()
                .rposition(|len| *len > 0)
                .map_or(0, |at| at + 1)
        };
        let mut head = Head {
            literals: used(&codes.literals).max(LENGTHS_FROM),
            distances: used(&codes.distances).max(1),
            symbols: [(0, 0); LITERALS + DISTANCES],
            symbols_len: 0,
            lengths: [0; CODE_LENGTHS],
            lengths_len: 0,
            bits: 0,
        };
        let mut all = [0; LITERALS + DISTANCES];
        let len = head.literals + head.distances;
        all[..head.literals].copy_from_slice(&codes.literals[..head.literals]);
        all[head.literals..len].copy_from_slice(&codes.distances[..head.distances]);
        let mut counts = [0; CODE_LENGTHS];
        for run in all[..len].chunk_by(|a, b| a == b) {
            head.push_run(run[0], run.len());
        }
        for (symbol, _) in &head.symbols[..head.symbols_len] {
            counts[usize::from(*symbol)] += 1;
        }
        huffman::code_lengths(&counts, CODE_LENGTHS_LEN_MAX, &mut head.lengths);
        let is_used = |symbol: &u8| head.lengths[usize::from(*symbol)] > 0;
        head.lengths_len = CODE_LENGTHS_ORDER
            .iter()
            .rposition(is_used)
            .map_or(0, |at| at + 1)
            .max(4);
        let symbols = counts.iter().zip(&head.lengths).zip(0u8..);
        head.bits = 14
            + 3 * head.lengths_len
            + symbols
                .map(|((count, len), symbol)| {
                    *count as usize * (usize::from(*len) + extra_bits(symbol) as usize)
                })
                .sum::<usize>();
        head
    }

    fn push(&mut self, symbol: u8, extra: usize) {
        self.symbols[self.symbols_len] = (symbol, extra as u8);
        self.symbols_len += 1;
    }

    /// So many times this length.
    fn push_run(&mut self, len: u8, mut times: usize) {
        if len == 0 {
            while times >= 11 {
                let part = times.min(138);
                self.push(18, part - 11);
                times -= part;
            }
            if times >= 3 {
                self.push(17, times - 3);
                times = 0;
            }
        } else {
            self.push(len, 0);
            times -= 1;
            while times >= 3 {
                let part = times.min(6);
                self.push(16, part - 3);
                times -= part;
            }
        }
        for _ in 0..times {
            self.push(len, 0);
        }
    }

    fn bits(&self) -> usize {
        self.bits
    }

    fn write(&mut self, out: &mut BitWriter) {
        out.put((self.literals - LENGTHS_FROM) as u64, 5);
        out.put((self.distances - 1) as u64, 5);
        out.put((self.lengths_len - 4) as u64, 4);
        for symbol in &CODE_LENGTHS_ORDER[..self.lengths_len] {
            out.put(u64::from(self.lengths[usize::from(*symbol)]), 3);
        }
        let mut codes = [0; CODE_LENGTHS];
        huffman::codes(&self.lengths, &mut codes);
        for (symbol, extra) in &self.symbols[..self.symbols_len] {
            let at = usize::from(*symbol);
            out.put(u64::from(codes[at]), u32::from(self.lengths[at]));
            out.put(u64::from(*extra), extra_bits(*symbol));
        }
    }
}

/// Codes in the form that the loop below needs: how many bits lowest, and the bits from bit 8 on, so
/// that lengths add up in the lowest byte and shift by what is there.
struct Tables {
    literals: [u32; 256],
    ascii: AsciiCodes,
    /// By the length of a match, the extra bits included.
    lengths: [u32; 512],
    /// By the code of a distance; from bit 24 on how many bits there are with the extra bits.
    distances: [u32; 32],
    end_of_block: u32,
}

impl Tables {
    fn of(codes: &Codes) -> Self {
        let mut tables = Tables {
            literals: [0; 256],
            ascii: AsciiCodes {
                low: [0; 128],
                high: [0; 128],
                len: [0; 128],
            },
            // of length 0, which is no match: no bits
            lengths: [0; 512],
            distances: [0; 32],
            end_of_block: 0,
        };
        let entry = |code: u16, len: u8| u32::from(code) << 8 | u32::from(len);
        let mut bits = [0; LITERALS];
        huffman::codes(&codes.literals, &mut bits);
        let literals = bits.iter().zip(&codes.literals);
        for (slot, (code, len)) in tables.literals.iter_mut().zip(literals) {
            *slot = entry(*code, *len);
        }
        for (at, code) in bits.iter().enumerate().take(128) {
            [tables.ascii.low[at], tables.ascii.high[at]] = code.to_le_bytes();
        }
        tables.ascii.len.copy_from_slice(&codes.literals[..128]);
        tables.end_of_block = entry(bits[END_OF_BLOCK], codes.literals[END_OF_BLOCK]);
        let lengths = tables.lengths.iter_mut().enumerate();
        for (len, slot) in lengths.take(MATCH_MAX + 1).skip(3) {
            let code = usize::from(LENGTH_CODES[len]);
            let (base, extra_len) = LENGTH_BASES[code];
            let code_len = codes.literals[LENGTHS_FROM + code];
            let extra = (len as u32 - u32::from(base)) << code_len;
            *slot = entry(bits[LENGTHS_FROM + code], code_len + extra_len) | extra << 8;
        }
        let mut bits = [0; DISTANCES];
        huffman::codes(&codes.distances, &mut bits);
        for (code, slot) in tables.distances.iter_mut().enumerate().take(DISTANCES) {
            let len = codes.distances[code];
            let all = len + DISTANCE_BASES[code].1;
            *slot = entry(bits[code], len) | u32::from(all) << 24;
        }
        tables
    }
}

/// The tokens and the end of the block, which together with its head take `bits_max` bits.
fn write_tokens(
    out: &mut BitWriter,
    tokens: &Tokens,
    codes: &Codes,
    bits_max: usize,
    found: Found,
) {
    let mut end = (0, 0, 0);
    found.run(WriteTokens {
        out: out.open(bits_max),
        tokens: tokens.tokens(),
        tables: &Tables::of(codes),
        end: &mut end,
    });
    out.close(end);
}

/// Which of four literals a token has: all bits set for those.
const MASKS: [[u32; RUN_MAX]; 8] = {
    let mut masks = [[0; RUN_MAX]; 8];
    let mut run = 0;
    while run < 8 {
        let mut at = 0;
        while at < run && at < RUN_MAX {
            masks[run][at] = u32::MAX;
            at += 1;
        }
        run += 1;
    }
    masks
};

struct WriteTokens<'w> {
    out: BitSlice<'w>,
    tokens: &'w [Token],
    tables: &'w Tables,
    end: &'w mut (usize, u64, u32),
}

impl Work for WriteTokens<'_> {
    #[inline(always)]
    fn run<C: Cpu>(self, cpu: C) {
        let (mut out, tables) = (self.out, self.tables);
        let (eights, rest) = self.tokens.as_chunks::<8>();
        for tokens in eights {
            if let Some([bits, lens]) = cpu.literals(&tables.ascii, &tokens.map(Token::bits)) {
                for (token, (bits, len)) in tokens.iter().zip(bits.iter().zip(lens)) {
                    tables.put(&mut out, *token, (*bits, len as u32));
                }
            } else {
                for token in tokens {
                    tables.put(&mut out, *token, tables.literals_of(*token));
                }
            }
        }
        for token in rest {
            tables.put(&mut out, *token, tables.literals_of(*token));
        }
        let end_of_block = u64::from(tables.end_of_block >> 8);
        out.put(end_of_block, tables.end_of_block & 63);
        *self.end = out.end();
    }
}

impl Tables {
    /// The codes of a token's literals, one behind the other, and how many bits that is.
    #[inline(always)]
    fn literals_of(&self, token: Token) -> (u64, u32) {
        let masks = MASKS[token.run() & 7];
        let bytes = token.literals();
        let of = |at: usize| self.literals[usize::from(bytes[at])] & masks[at];
        let [e0, e1, e2, e3] = [of(0), of(1), of(2), of(3)];
        let bits = |entry: u32| u64::from(entry >> 8);
        // only the lowest bits of a sum are meant
        let first_two = e0.wrapping_add(e1);
        let low = bits(e0) | bits(e1) << (e0 & 63);
        let high = bits(e2) | bits(e3) << (e2 & 63);
        let len = first_two.wrapping_add(e2.wrapping_add(e3)) & 63;
        (low | high << (first_two & 63), len)
    }

    /// Writes these literals and the token's match.
    #[inline(always)]
    fn put(&self, out: &mut BitSlice<'_>, token: Token, (literals, literals_len): (u64, u32)) {
        let length = self.lengths[token.len()];
        let distance = self.distances[token.distance_code()];
        let distance_code = u64::from(distance >> 8 & 0xffff);
        let distance_bits = distance_code | token.distance_extra() << (distance & 63);
        let bits = u64::from(length >> 8) | distance_bits << (length & 63);
        let len = (length & 63).wrapping_add(distance >> 24);
        let all_len = literals_len.wrapping_add(len);
        if all_len <= 56 {
            out.put(literals | bits << (literals_len & 63), all_len);
        } else {
            out.put(literals, literals_len);
            out.put(bits, len);
        }
    }
}
