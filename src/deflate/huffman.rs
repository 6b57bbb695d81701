//! Huffman codes whose lengths have a limit.

/// Symbols of the largest alphabet: literals, the end of a block, lengths.
pub(super) const SYMBOLS_MAX: usize = 288;

/// Gives each symbol that occurs the length of its code, of at most `len_max` bits, and zero to the
/// others. The codes are complete: if fewer than two symbols occur, others get a code that nobody
/// uses, since not all decoders take a code of one symbol.
///
/// The lengths are the best ones where those are within the limit. Where they are not, the few that
/// are too long are cut, and the shortest codes that can be are made longer for it.
pub(super) fn code_lengths(counts: &[u32], len_max: usize, lengths: &mut [u8]) {
    debug_assert!(counts.len() == lengths.len() && counts.len() <= SYMBOLS_MAX && len_max <= 15);
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
    limit(&mut of_len, len_max);
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

/// Moves leaves so that none lies deeper than `len_max` and the code is complete.
fn limit(of_len: &mut [u32; DEPTH_MAX + 1], len_max: usize) {
    let deep: u32 = of_len[len_max + 1..].iter().sum();
    if deep == 0 {
        return;
    }
    of_len[len_max + 1..].fill(0);
    of_len[len_max] += deep;
    // what is taken up, in codes of the greatest length; there are 2^len_max of them
    let mut taken: u32 = (1..=len_max)
        .map(|len| of_len[len] << (len_max - len))
        .sum();
    while taken > 1 << len_max {
        // a leaf above takes one of the greatest length beside it, one level down
        let Some(len) = (1..len_max).rev().find(|len| of_len[*len] > 0) else {
            return;
        };
        of_len[len] -= 1;
        of_len[len + 1] += 2;
        of_len[len_max] -= 1;
        taken -= 1;
    }
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
