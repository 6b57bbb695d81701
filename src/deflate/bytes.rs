//! Many bytes compared at once. All loads are checked; what lies behind the end reads as different.

/// Bytes that [`equal_mask`] looks at.
pub(super) const MASK_BYTES: usize = 64;

#[inline(always)]
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// Eight bytes, the first lowest; zero where there are fewer.
#[inline(always)]
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    chunk(bytes, at).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A bit for each of the 64 bytes from `a` on that equals the one as far from `b`; all zero if
/// there are fewer bytes than that.
#[inline(always)]
pub(super) fn equal_mask(bytes: &[u8], a: usize, b: usize) -> u64 {
    match (chunk(bytes, a), chunk(bytes, b)) {
        (Some(a), Some(b)) => equal(a, b),
        _ => 0,
    }
}

/// Written so that the compiler compares and masks sixteen bytes at a time.
#[inline(always)]
fn equal(a: &[u8; MASK_BYTES], b: &[u8; MASK_BYTES]) -> u64 {
    mask_of(|at| a[at] == b[at])
}

/// A bit for each of 64 that is so.
#[inline(always)]
fn mask_of(is_so: impl Fn(usize) -> bool) -> u64 {
    let mut flags = [0u8; MASK_BYTES];
    for (at, flag) in flags.iter_mut().enumerate() {
        *flag = u8::from(is_so(at));
    }
    let mut mask = 0;
    for at in (0..MASK_BYTES).step_by(8) {
        // the lowest bits of eight bytes move side by side to the top
        mask |= word(&flags, at).wrapping_mul(0x0102_0408_1020_4080) >> 56 << at;
    }
    mask
}

/// How many bytes from `a` on equal those from `b` on, of at most `most`.
#[inline(always)]
pub(super) fn equal_len(bytes: &[u8], a: usize, b: usize, most: usize) -> usize {
    let mut len = 0usize;
    while len < most {
        let ones = equal_mask(bytes, a.wrapping_add(len), b.wrapping_add(len)).trailing_ones();
        len = len.wrapping_add(ones as usize);
        if ones < 64 {
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
/// longer character behind something else. Where 16 bytes have none, their first counts as one.
#[inline(always)]
pub(super) fn word_starts(bytes: &[u8], at: usize) -> u64 {
    let Some(chunk) = chunk(bytes, at) else {
        return 0;
    };
    let is_word = word_mask(chunk);
    let mut starts = is_word & !(is_word << 1);
    for part in (0..MASK_BYTES).step_by(16) {
        starts |= u64::from(starts >> part & 0xffff == 0) << part;
    }
    starts
}

#[inline(always)]
fn word_mask(bytes: &[u8; MASK_BYTES]) -> u64 {
    mask_of(|at| {
        let byte = bytes[at];
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let is_digit = byte.wrapping_sub(b'0') < 10;
        is_letter | is_digit | (byte > 0x7f)
    })
}
