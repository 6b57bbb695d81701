//! A block of the stream: what it costs in each form, and the shortest of them written.

use super::bits::{BitSlice, BitWriter};
use super::huffman;
use super::tokens::{DISTANCE_BASES, DISTANCES, MATCH_MAX, RUN_MAX, Token, Tokens};

/// RFC 1951 section 3.2.4: the length of a stored block has 16 bits.
pub(super) const STORED_BYTES_MAX: usize = 65_535;
/// Most bits that the first stored block takes beside its bytes: its head, up to 7 to the end of a
/// byte, and its length twice.
pub(super) const BLOCK_HEAD_BITS_MAX: usize = 3 + 7 + 32;

/// Symbols of literals, the end of a block, and lengths.
const LITERALS: usize = 286;
const END_OF_BLOCK: usize = 256;
/// First symbol of a length.
const LENGTHS_FROM: usize = 257;
/// Codes of lengths.
const LENGTHS: usize = LITERALS - LENGTHS_FROM;
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
pub(super) fn write(out: &mut BitWriter, tokens: &Tokens, raw: &[u8], is_last: bool) {
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
    let last = u64::from(is_last);
    if stored_bits <= dynamic_bits.min(fixed_bits) {
        write_stored(out, raw, is_last);
    } else if fixed_bits <= dynamic_bits {
        out.put(last | 1 << 1, 3);
        write_tokens(out, tokens, &fixed, fixed_bits);
    } else {
        out.put(last | 2 << 1, 3);
        head.write(out);
        write_tokens(out, tokens, &dynamic, dynamic_bits);
    }
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
        // equal bytes in a row would wait for each other in one table
        let mut parts = [[0u32; 256]; 4];
        let mut chunks = tokens.literals().chunks_exact(4);
        for chunk in &mut chunks {
            for (part, byte) in parts.iter_mut().zip(chunk) {
                let count = &mut part[usize::from(*byte)];
                *count = count.wrapping_add(1);
            }
        }
        for byte in chunks.remainder() {
            parts[0][usize::from(*byte)] += 1;
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

/// Codes in the form that the loop below needs.
struct Tables {
    /// Code, and from bit 16 on its length.
    literals: [u32; 256],
    /// By the length of a match: code and extra bits, and from bit 24 on how many bits that is.
    lengths: [u32; 512],
    /// By the code of a distance: code, from bit 16 on its length, and from bit 24 on its length with
    /// the extra bits.
    distances: [u32; 32],
    end_of_block: (u64, u32),
}

impl Tables {
    fn of(codes: &Codes) -> Self {
        let mut tables = Tables {
            literals: [0; 256],
            // of length 0, which is no match: no bits
            lengths: [0; 512],
            distances: [0; 32],
            end_of_block: (0, 0),
        };
        let mut bits = [0; LITERALS];
        huffman::codes(&codes.literals, &mut bits);
        for (entry, (code, len)) in tables
            .literals
            .iter_mut()
            .zip(bits.iter().zip(&codes.literals))
        {
            *entry = u32::from(*code) | u32::from(*len) << 16;
        }
        for (len, entry) in tables
            .lengths
            .iter_mut()
            .enumerate()
            .take(MATCH_MAX + 1)
            .skip(3)
        {
            let code = usize::from(LENGTH_CODES[len]);
            let (base, extra) = LENGTH_BASES[code];
            let code_len = u32::from(codes.literals[LENGTHS_FROM + code]);
            let extra_value = len as u32 - u32::from(base);
            *entry = u32::from(bits[LENGTHS_FROM + code])
                | extra_value << code_len
                | (code_len + u32::from(extra)) << 24;
        }
        tables.end_of_block = (
            u64::from(bits[END_OF_BLOCK]),
            u32::from(codes.literals[END_OF_BLOCK]),
        );
        let mut bits = [0; DISTANCES];
        huffman::codes(&codes.distances, &mut bits);
        for (code, entry) in tables.distances.iter_mut().enumerate().take(DISTANCES) {
            let len = u32::from(codes.distances[code]);
            let all = len + u32::from(DISTANCE_BASES[code].1);
            *entry = u32::from(bits[code]) | len << 16 | all << 24;
        }
        tables
    }
}

/// The tokens and the end of the block, which together with its head take `bits_max` bits.
fn write_tokens(out: &mut BitWriter, tokens: &Tokens, codes: &Codes, bits_max: usize) {
    let tables = Tables::of(codes);
    out.put_all(bits_max, |slice| {
        write_each(slice, tokens.tokens(), tokens.padded_literals(), &tables);
        let (bits, len) = tables.end_of_block;
        slice.put(bits, len);
    });
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

#[inline(never)]
fn write_each(out: &mut BitSlice<'_>, tokens: &[Token], mut literals: &[u8], tables: &Tables) {
    for token in tokens {
        let run = token.literals();
        let Some((bytes, _)) = literals.split_first_chunk::<4>() else {
            return;
        };
        let [m0, m1, m2, m3] = MASKS[run & 7];
        let of = |byte: u8, mask: u32| {
            let entry = tables.literals[usize::from(byte)] & mask;
            (u64::from(entry & 0xffff), entry >> 16)
        };
        let [(c0, n0), (c1, n1)] = [of(bytes[0], m0), of(bytes[1], m1)];
        let [(c2, n2), (c3, n3)] = [of(bytes[2], m2), of(bytes[3], m3)];
        let (low, low_len) = (c0 | c1 << (n0 & 63), n0.wrapping_add(n1));
        let (high, high_len) = (c2 | c3 << (n2 & 63), n2.wrapping_add(n3));
        let literal_bits = low | high << (low_len & 63);
        let literal_len = low_len.wrapping_add(high_len);
        literals = literals.get(run..).unwrap_or_default();

        let length = tables.lengths[token.len()];
        let distance = tables.distances[token.distance_code()];
        let (length_bits, length_len) = (u64::from(length & 0xff_ffff), length >> 24);
        let distance_bits =
            u64::from(distance & 0xffff) | token.distance_extra() << (distance >> 16 & 15);
        let match_bits = length_bits | distance_bits << (length_len & 63);
        let match_len = length_len.wrapping_add(distance >> 24);

        let all_len = literal_len.wrapping_add(match_len);
        if all_len <= 56 {
            out.put(literal_bits | match_bits << (literal_len & 63), all_len);
        } else {
            out.put(literal_bits, literal_len);
            out.put(match_bits, match_len);
        }
    }
}
