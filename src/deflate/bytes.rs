//! Many bytes compared at once. All loads are checked; what lies behind the end reads as different.

use super::cpu::{Cpu, MASK_BYTES};

#[inline(always)]
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// Eight bytes, the first lowest; zero where there are fewer.
#[inline(always)]
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    chunk(bytes, at).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Four bytes, the first lowest; zero where there are fewer.
#[inline(always)]
pub(super) fn four(bytes: &[u8], at: usize) -> u32 {
    chunk(bytes, at).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Sixteen bytes; zero where there are fewer.
#[inline(always)]
pub(super) fn sixteen(bytes: &[u8], at: usize) -> [u8; 16] {
    chunk(bytes, at).copied().unwrap_or_default()
}

/// A bit for each of the 64 bytes from `a` on that equals the one as far from `b`; all zero if
/// there are fewer bytes than that.
#[inline(always)]
pub(super) fn equal_mask(cpu: impl Cpu, bytes: &[u8], a: usize, b: usize) -> u64 {
    match (chunk(bytes, a), chunk(bytes, b)) {
        (Some(a), Some(b)) => cpu.equal(a, b),
        _ => 0,
    }
}

/// How many bytes from `a` on equal those from `b` on, of at most `most`.
#[inline(always)]
pub(super) fn equal_len(cpu: impl Cpu, bytes: &[u8], a: usize, b: usize, most: usize) -> usize {
    let mut len = 0usize;
    while len < most {
        // twice as many at a time, since how often it goes round is hard to guess
        let (a, b) = (a.wrapping_add(len), b.wrapping_add(len));
        let first = equal_mask(cpu, bytes, a, b).trailing_ones();
        let (a, b) = (a.wrapping_add(MASK_BYTES), b.wrapping_add(MASK_BYTES));
        let second = equal_mask(cpu, bytes, a, b).trailing_ones();
        let ones = first + if first == 64 { second } else { 0 };
        len = len.wrapping_add(ones as usize);
        if ones < 128 {
            break;
        }
    }
    len.min(most)
}

/// How many bytes before `a` equal those before `b`, of at most `most` and 8.
#[inline(always)]
pub(super) fn equal_before(bytes: &[u8], a: usize, b: usize, most: usize) -> usize {
    match (a.checked_sub(8), b.checked_sub(8)) {
        (Some(a), Some(b)) => {
            let differ = word(bytes, a) ^ word(bytes, b);
            most.min((differ.leading_zeros() / 8) as usize)
        }
        _ => 0,
    }
}

/// A bit for each of the 64 bytes from `at` on where a word begins: a letter, a digit or a byte of a
/// longer character behind something else. Where 16 bytes have none, their first counts as one. What is
/// behind the first `known` bytes means nothing, and has none.
#[inline(always)]
pub(super) fn word_starts(cpu: impl Cpu, bytes: &[u8], at: usize, known: usize) -> u64 {
    let Some(chunk) = chunk(bytes, at) else {
        return 0;
    };
    let is_word = cpu.words(chunk);
    let is_known = match known {
        0..MASK_BYTES => !(u64::MAX << known),
        _ => u64::MAX,
    };
    let mut starts = is_word & !(is_word << 1) & is_known;
    for part in (0..MASK_BYTES).step_by(16) {
        starts |= u64::from(starts >> part & 0xffff == 0) << part;
    }
    starts
}
