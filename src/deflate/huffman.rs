//! Huffman codes whose lengths have a limit.

/// Symbols of the largest alphabet: literals, the end of a block, lengths.
pub(super) const SYMBOLS_MAX: usize = 288;
/// RFC 1951: no code is longer.
const LEN_MAX: usize = 15;

/// Gives each symbol that occurs the length of its code, of at most `len_max` bits, and zero to the
/// others. The codes are complete: if fewer than two symbols occur, others get a code that nobody
/// uses, since not all decoders take a code of one symbol.
///
/// No lengths within the limit make the whole shorter.
pub(super) fn code_lengths(counts: &[u32], len_max: usize, lengths: &mut [u8]) {
    debug_assert!(
        counts.len() == lengths.len() && counts.len() <= SYMBOLS_MAX && len_max <= LEN_MAX
    );
    lengths.fill(0);
    let mut used = [0u64; SYMBOLS_MAX];
    let mut n = 0;
    for (symbol, count) in counts.iter().enumerate() {
        used[n] = u64::from(*count) << 16 | symbol as u64;
        n += usize::from(*count > 0);
    }
    if n < 2 {
        let only = if n == 1 {
            (used[0] & 0xffff) as usize
        } else {
            0
        };
        lengths[only] = 1;
        lengths[usize::from(only == 0)] = 1;
        return;
    }
    let used = &mut used[..n];
    used.sort_unstable();
    let mut of_len = counts_of_lengths(used);
    if of_len[len_max + 1..].iter().any(|count| *count > 0) {
        of_len = counts_of_limited(used, len_max);
    }
    // the rarest get the longest
    let mut len = len_max;
    for entry in used.iter() {
        while of_len[len] == 0 {
            len -= 1;
        }
        of_len[len] -= 1;
        lengths[(entry & 0xffff) as usize] = len as u8;
    }
}

/// Depth that is told apart; all that lies deeper counts as this deep.
const DEPTH_MAX: usize = 31;

/// How many leaves of the Huffman tree lie at each depth.
fn counts_of_lengths(used: &[u64]) -> [u32; DEPTH_MAX + 1] {
    let n = used.len();
    // inner nodes, in the order in which they are made, which is that of their weights
    let mut weights = [0u64; SYMBOLS_MAX];
    let mut parent_of_inner = [0u16; SYMBOLS_MAX];
    let mut inner_below = [0u8; SYMBOLS_MAX];
    let (mut leaf, mut inner) = (0, 0);
    for made in 0..n - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            if leaf < n && (inner == made || used[leaf] >> 16 <= weights[inner]) {
                weight += used[leaf] >> 16;
                leaf += 1;
            } else {
                weight += weights[inner];
                parent_of_inner[inner] = made as u16;
                inner_below[made] += 1;
                inner += 1;
            }
        }
        weights[made] = weight;
    }
    // from the root down: a parent is made after its children
    let mut depths = [0u8; SYMBOLS_MAX];
    let mut of_len = [0; DEPTH_MAX + 1];
    for node in (0..n - 1).rev() {
        if node < n - 2 {
            let above = depths[parent_of_inner[node] as usize];
            depths[node] = (above + 1).min(DEPTH_MAX as u8 - 1);
        }
        of_len[depths[node] as usize + 1] += 2 - u32::from(inner_below[node]);
    }
    of_len
}

/// The same under a limit, by package-merge: `len_max` times, the symbols and the pairs of the round
/// before are put in order and made pairs of, and as many symbols as a round's first items hold are one
/// bit longer for it.
fn counts_of_limited(used: &[u64], len_max: usize) -> [u32; DEPTH_MAX + 1] {
    let n = used.len();
    let mut pairs = [0u64; SYMBOLS_MAX];
    let mut pairs_len = 0;
    // how many of the first items of each round are symbols
    let mut symbols = [[0u16; 2 * SYMBOLS_MAX]; LEN_MAX];
    for symbols in &mut symbols[..len_max] {
        let (mut symbol, mut pair) = (0, 0);
        let mut weights = [0u64; 2 * SYMBOLS_MAX];
        for (weight, taken) in weights.iter_mut().zip(symbols).take(n + pairs_len) {
            if symbol < n && (pair == pairs_len || used[symbol] >> 16 <= pairs[pair]) {
                *weight = used[symbol] >> 16;
                symbol += 1;
            } else {
                *weight = pairs[pair];
                pair += 1;
            }
            *taken = symbol as u16;
        }
        pairs_len = (n + pairs_len) / 2;
        let (two, _) = weights.as_chunks::<2>();
        for (pair, [a, b]) in pairs.iter_mut().zip(two).take(pairs_len) {
            *pair = a + b;
        }
    }
    let mut of_len = [0; DEPTH_MAX + 1];
    let (mut items, mut longer) = (2 * n - 2, n);
    for (len, symbols) in symbols[..len_max].iter().rev().enumerate() {
        let taken = match items {
            0 => 0,
            _ => usize::from(symbols[items - 1]),
        };
        // those that got `len` bits and no more
        of_len[len] = (longer - taken) as u32;
        (items, longer) = (2 * (items - taken), taken);
    }
    of_len[len_max] = longer as u32;
    of_len
}

/// The code of each symbol with its first bit lowest (RFC 1951 section 3.2.2).
pub(super) fn codes(lengths: &[u8], codes: &mut [u16]) {
    let mut of_len = [0u16; 16];
    for len in lengths {
        of_len[usize::from(*len) & 15] += 1;
    }
    of_len[0] = 0;
    let mut next = [0u16; 16];
    for len in 1..16 {
        next[len] = (next[len - 1] + of_len[len - 1]) << 1;
    }
    for (len, code) in lengths.iter().zip(codes) {
        let len = usize::from(*len) & 15;
        // nothing has no code
        *code = if len == 0 {
            0
        } else {
            next[len].reverse_bits() >> (16 - len)
        };
        next[len] = next[len].wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Package-merge as it is in the books: the best lengths under a limit.
    fn best_cost(counts: &[u32], len_max: usize) -> u64 {
        let leaves: Vec<(u64, Vec<usize>)> = counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(symbol, count)| (u64::from(*count), vec![symbol]))
            .collect();
        let mut packages: Vec<(u64, Vec<usize>)> = Vec::new();
        for _ in 0..len_max {
            packages.extend(leaves.iter().cloned());
            packages.sort_by_key(|(weight, _)| *weight);
            packages = packages
                .chunks_exact(2)
                .map(|two| {
                    (
                        two[0].0 + two[1].0,
                        [two[0].1.clone(), two[1].1.clone()].concat(),
                    )
                })
                .collect();
        }
        let chosen = packages.iter().take(leaves.len() - 1);
        chosen.map(|(weight, _)| weight).sum()
    }

    fn counts_of(random: &mut fastrand::Rng) -> Vec<u32> {
        let n = if random.bool() {
            19
        } else {
            random.usize(20..=286)
        };
        let kind = random.u8(0..4);
        let (mut a, mut b) = (1, 1);
        (0..n)
            .map(|_| match kind {
                0 => random.u32(0..1000),
                1 => random.u32(0..3),
                // the deepest tree there is
                2 => {
                    (a, b) = (b, (a + b).min(500_000));
                    a
                }
                _ => 1 << random.u32(0..20),
            })
            .collect()
    }

    #[test]
    fn lengths_are_complete_and_as_good_as_package_merge_makes_them() {
        let mut limited = 0;
        for seed in 0..400 {
            let mut random = fastrand::Rng::with_seed(seed);
            let counts = counts_of(&mut random);
            let n = counts.iter().filter(|count| **count > 0).count();
            // as they are used
            let len_max = match counts.len() {
                ..=19 => 7,
                _ => random.usize(14..=15),
            };
            let mut lengths = vec![0; counts.len()];
            code_lengths(&counts, len_max, &mut lengths);
            let taken: u32 = lengths
                .iter()
                .filter(|len| **len > 0)
                .map(|len| 1 << (15 - len))
                .sum();
            assert_eq!(taken, 1 << 15, "seed {seed}");
            assert!(lengths.iter().all(|len| usize::from(*len) <= len_max));
            if n < 2 {
                continue;
            }
            let both = counts.iter().zip(&lengths);
            assert!(both.clone().all(|(count, len)| (*count > 0) == (*len > 0)));
            let cost: u64 = both
                .map(|(count, len)| u64::from(*count) * u64::from(*len))
                .sum();
            let best = best_cost(&counts, len_max);
            assert_eq!(cost, best, "seed {seed}");
            limited += usize::from(best != best_cost(&counts, 40));
        }
        assert!(limited > 20, "{limited}");
    }

    #[test]
    fn no_symbol_and_one_symbol_get_codes_that_every_decoder_takes() {
        for (counts, expected) in [
            ([0, 0, 0], [1, 1, 0]),
            ([9, 0, 0], [1, 1, 0]),
            ([0, 9, 0], [1, 1, 0]),
            ([0, 0, 9], [1, 0, 1]),
        ] {
            let mut lengths = [0; 3];
            code_lengths(&counts, 15, &mut lengths);
            assert_eq!(lengths, expected);
        }
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 1951 section 3.2.2, its example
        let lengths = [3, 3, 3, 3, 3, 2, 4, 4];
        let mut found = [0; 8];
        codes(&lengths, &mut found);
        let expected = [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111];
        for ((code, len), expected) in found.iter().zip(lengths).zip(expected) {
            let reversed: u16 = (0..len)
                .map(|bit| (expected >> bit & 1) << (len - 1 - bit))
                .sum();
            assert_eq!(*code, reversed);
        }
    }
}
