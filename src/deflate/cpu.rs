//! What this processor can do at once, and the only unsafe code: that of telling the compiler.
//!
//! Work is written once, for any [`Cpu`], and compiled once for each. The memory that it touches is
//! checked as everywhere; unsafe is only the step into code for instructions that not every processor
//! has, and a value of [`Avx2`] or [`Avx512`] exists only where they were found.

/// Bytes that are looked at together.
pub(super) const MASK_BYTES: usize = 64;

/// Bytes compared and sorted into kinds.
pub(super) trait Cpu: Copy {
    /// A bit for each byte that equals its like.
    fn equal(self, a: &[u8; MASK_BYTES], b: &[u8; MASK_BYTES]) -> u64;

    /// A bit for each byte that is a letter, a digit or part of a longer character.
    fn words(self, bytes: &[u8; MASK_BYTES]) -> u64;

    /// For each of eight tokens the codes of its literals, one behind the other, and how many bits
    /// that is. Nothing if there is no fast way to it on this processor, or for these literals.
    #[inline(always)]
    fn literals(self, _: &AsciiCodes, _: &[u64; 8]) -> Option<[[u64; 8]; 2]> {
        None
    }
}

/// Codes of the literals below 128, of at most 14 bits each: their low and high bytes and lengths.
pub(super) struct AsciiCodes {
    pub(super) low: [u8; 128],
    pub(super) high: [u8; 128],
    pub(super) len: [u8; 128],
}

/// Something to do, on any processor. `run` and all that it calls must be inlined, or it is
/// compiled for the least of them.
pub(super) trait Work {
    fn run<C: Cpu>(self, cpu: C);
}

/// What was found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    Plain(Plain),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// Any processor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

/// One with AVX2, BMI1, BMI2 and LZCNT.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

/// One with those and AVX-512 for bytes, with their permutations.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Found {
    /// The best of this processor.
    pub(super) fn here() -> Self {
        Self::all().pop().unwrap_or(Found::Plain(Plain))
    }

    /// All that this processor can be treated as, the best one last.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Found::Plain(Plain)];
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt");
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vbmi");
            if has_avx2 {
                all.push(Found::Avx2(Avx2(())));
            }
            if has_avx2 && has_avx512 {
                all.push(Found::Avx512(Avx512(())));
            }
        }
        all
    }

    /// Does the work with what was found.
    #[inline(always)]
    pub(super) fn run(self, work: impl Work) {
        match self {
            Found::Plain(cpu) => work.run(cpu),
            #[cfg(target_arch = "x86_64")]
            Found::Avx2(cpu) => x86::run_avx2(cpu, work),
            #[cfg(target_arch = "x86_64")]
            Found::Avx512(cpu) => x86::run_avx512(cpu, work),
        }
    }
}

/// Asks the memory for bytes that are read soon, so that nobody waits for them then. Where a processor
/// has no way to ask, they come when they are read.
#[inline]
pub(super) fn fetch<T>(soon: &[T]) {
    #[cfg(target_arch = "x86_64")]
    x86::fetch(soon);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = soon;
}

impl Cpu for Plain {
    #[inline(always)]
    fn equal(self, a: &[u8; MASK_BYTES], b: &[u8; MASK_BYTES]) -> u64 {
        mask_of(|at| a[at] == b[at])
    }

    #[inline(always)]
    fn words(self, bytes: &[u8; MASK_BYTES]) -> u64 {
        mask_of(|at| {
            let byte = bytes[at];
            let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
            let is_digit = byte.wrapping_sub(b'0') < 10;
            is_letter | is_digit | (byte > 0x7f)
        })
    }
}

/// A bit for each of 64 that is so, in a form that the compiler makes vectors of.
#[inline(always)]
fn mask_of(is_so: impl Fn(usize) -> bool) -> u64 {
    let mut flags = [0u8; MASK_BYTES];
    for (at, flag) in flags.iter_mut().enumerate() {
        *flag = u8::from(is_so(at));
    }
    let (words, _) = flags.as_chunks::<8>();
    let mut mask = 0;
    for (at, word) in words.iter().enumerate() {
        // the lowest bits of eight bytes move side by side to the top
        mask |= u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56 << (8 * at);
    }
    mask
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "there is no safe way into code for some processors only"
)]
mod x86 {
    use super::{AsciiCodes, Avx2, Avx512, Cpu, MASK_BYTES, Work};
    use std::arch::x86_64::{
        __m256i, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_cmpeq_epi8, _mm256_loadu_si256,
        _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_sub_epi8,
        _mm512_and_si512, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_loadu_si512,
        _mm512_movepi8_mask, _mm512_or_si512, _mm512_permutex2var_epi8, _mm512_permutexvar_epi8,
        _mm512_sad_epu8, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_epi64,
        _mm512_setzero_si512, _mm512_sllv_epi32, _mm512_sllv_epi64, _mm512_srli_epi32,
        _mm512_srli_epi64, _mm512_storeu_si512, _mm512_sub_epi8, _mm512_sub_epi64,
    };

    /// Bytes that come from memory together.
    const LINE_BYTES: usize = 64;

    #[inline]
    pub(super) fn fetch<T>(soon: &[T]) {
        let start: *const i8 = soon.as_ptr().cast();
        for at in (0..size_of_val(soon)).step_by(LINE_BYTES) {
            // SAFETY: a hint, which reads nothing that a program could see and takes any address;
            // every x86-64 has it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at)) }
        }
    }

    #[inline(always)]
    pub(super) fn run_avx2(cpu: Avx2, work: impl Work) {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
        fn inner(cpu: Avx2, work: impl Work) {
            work.run(cpu);
        }
        // SAFETY: a value of `Avx2` is made only where all four features were found.
        unsafe { inner(cpu, work) }
    }

    #[inline(always)]
    pub(super) fn run_avx512(cpu: Avx512, work: impl Work) {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,avx512f,avx512bw,avx512vl,avx512vbmi")]
        fn inner(cpu: Avx512, work: impl Work) {
            work.run(cpu);
        }
        // SAFETY: a value of `Avx512` is made only where all eight features were found.
        unsafe { inner(cpu, work) }
    }

    impl Cpu for Avx2 {
        #[inline(always)]
        fn equal(self, a: &[u8; MASK_BYTES], b: &[u8; MASK_BYTES]) -> u64 {
            #[inline]
            #[target_feature(enable = "avx2")]
            fn inner(a: &[u8; MASK_BYTES], b: &[u8; MASK_BYTES]) -> u64 {
                let ([a, more_a], [b, more_b]) = (halves(a), halves(b));
                joined(_mm256_cmpeq_epi8(a, b), _mm256_cmpeq_epi8(more_a, more_b))
            }
            // SAFETY: a value of `Avx2` is made only where AVX2 was found.
            unsafe { inner(a, b) }
        }

        #[inline(always)]
        fn words(self, bytes: &[u8; MASK_BYTES]) -> u64 {
            #[inline]
            #[target_feature(enable = "avx2")]
            fn inner(bytes: &[u8; MASK_BYTES]) -> u64 {
                let [low, high] = halves(bytes).map(|bytes| {
                    let lower = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
                    let letter = _mm256_sub_epi8(lower, _mm256_set1_epi8(b'a' as i8));
                    let is_letter =
                        _mm256_cmpeq_epi8(_mm256_min_epu8(letter, _mm256_set1_epi8(25)), letter);
                    let digit = _mm256_sub_epi8(bytes, _mm256_set1_epi8(b'0' as i8));
                    let is_digit =
                        _mm256_cmpeq_epi8(_mm256_min_epu8(digit, _mm256_set1_epi8(9)), digit);
                    // the highest bit of a byte is the third kind
                    _mm256_or_si256(bytes, _mm256_or_si256(is_letter, is_digit))
                });
                joined(low, high)
            }
            // SAFETY: a value of `Avx2` is made only where AVX2 was found.
            unsafe { inner(bytes) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(bytes: &[u8; MASK_BYTES]) -> [__m256i; 2] {
        let at: *const __m256i = bytes.as_ptr().cast();
        // SAFETY: both loads, which need no alignment, lie within the 64 bytes.
        unsafe { [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))] }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn joined(low: __m256i, high: __m256i) -> u64 {
        let bits = |part| u64::from(_mm256_movemask_epi8(part) as u32);
        bits(low) | bits(high) << 32
    }

    impl Cpu for Avx512 {
        #[inline(always)]
        fn equal(self, a: &[u8; MASK_BYTES], b: &[u8; MASK_BYTES]) -> u64 {
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw")]
            fn inner(a: &[u8; MASK_BYTES], b: &[u8; MASK_BYTES]) -> u64 {
                _mm512_cmpeq_epi8_mask(whole(a), whole(b))
            }
            // SAFETY: a value of `Avx512` is made only where both were found.
            unsafe { inner(a, b) }
        }

        #[inline(always)]
        fn words(self, bytes: &[u8; MASK_BYTES]) -> u64 {
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw")]
            fn inner(bytes: &[u8; MASK_BYTES]) -> u64 {
                let bytes = whole(bytes);
                let lower = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
                let letter = _mm512_sub_epi8(lower, _mm512_set1_epi8(b'a' as i8));
                let digit = _mm512_sub_epi8(bytes, _mm512_set1_epi8(b'0' as i8));
                _mm512_cmplt_epu8_mask(letter, _mm512_set1_epi8(26))
                    | _mm512_cmplt_epu8_mask(digit, _mm512_set1_epi8(10))
                    | _mm512_movepi8_mask(bytes)
            }
            // SAFETY: a value of `Avx512` is made only where both were found.
            unsafe { inner(bytes) }
        }

        #[inline(always)]
        fn literals(self, codes: &AsciiCodes, tokens: &[u64; 8]) -> Option<[[u64; 8]; 2]> {
            // SAFETY: a value of `Avx512` is made only where all three were found.
            unsafe { literals(codes, tokens) }
        }
    }

    /// Where the bytes of a number of 64 bits come from, in each of eight: places in two times 64 bytes.
    const fn places(of_number: [u8; 8]) -> [u8; MASK_BYTES] {
        let mut places = [0; MASK_BYTES];
        let mut at = 0;
        while at < MASK_BYTES {
            places[at] = of_number[at % 8] + (at as u8 & !7);
            at += 1;
        }
        places
    }

    /// Low and high bytes of four codes, side by side.
    const SIDE_BY_SIDE: [u8; MASK_BYTES] = places([0, 64, 1, 65, 2, 66, 3, 67]);
    /// The lengths of the first and the third code, in a number of 32 bits each.
    const FIRST_AND_THIRD: [u8; MASK_BYTES] = places([0, 7, 7, 7, 2, 7, 7, 7]);

    /// See [`Cpu::literals`]; a token is as [`super::super::tokens`] has it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn literals(codes: &AsciiCodes, tokens: &[u64; 8]) -> Option<[[u64; 8]; 2]> {
        let halves = |table: &[u8; 128]| {
            // SAFETY: both loads, which need no alignment, lie within the 128 bytes.
            unsafe {
                let at: *const __m512i = table.as_ptr().cast();
                (_mm512_loadu_si512(at), _mm512_loadu_si512(at.add(1)))
            }
        };
        // SAFETY: the load, which needs no alignment, is of just these 64 bytes.
        let tokens = unsafe { _mm512_loadu_si512(tokens.as_ptr().cast()) };
        // a literal from 128 on
        if _mm512_movepi8_mask(tokens) & 0x0f0f_0f0f_0f0f_0f0f != 0 {
            return None;
        }
        // all bits of the literals that there are
        let run = _mm512_and_si512(_mm512_srli_epi64(tokens, 32 - 3), _mm512_set1_epi64(7 << 3));
        let one = _mm512_set1_epi64(1);
        let there = _mm512_sub_epi64(_mm512_sllv_epi64(one, run), one);
        let of = |table: &[u8; 128]| {
            let (first, second) = halves(table);
            _mm512_and_si512(_mm512_permutex2var_epi8(first, tokens, second), there)
        };
        let (low, high, len) = (of(&codes.low), of(&codes.high), of(&codes.len));
        // four numbers of 16 bits, then two of 32, then one
        let four = _mm512_permutex2var_epi8(low, whole(&SIDE_BY_SIDE), high);
        let shift = _mm512_permutexvar_epi8(whole(&FIRST_AND_THIRD), len);
        let second = _mm512_sllv_epi32(_mm512_srli_epi32(four, 16), shift);
        let two = _mm512_or_si512(_mm512_and_si512(four, _mm512_set1_epi32(0xffff)), second);
        let zero = _mm512_setzero_si512();
        let first_two = _mm512_and_si512(len, _mm512_set1_epi64(0xffff));
        let shift = _mm512_sad_epu8(first_two, zero);
        let second = _mm512_sllv_epi64(_mm512_srli_epi64(two, 32), shift);
        let bits = _mm512_or_si512(
            _mm512_and_si512(two, _mm512_set1_epi64(0xffff_ffff)),
            second,
        );
        let sum = _mm512_sad_epu8(len, zero);
        let mut found = [[0; 8]; 2];
        // SAFETY: both stores, which need no alignment, are of just 64 bytes.
        unsafe {
            _mm512_storeu_si512(found[0].as_mut_ptr().cast(), bits);
            _mm512_storeu_si512(found[1].as_mut_ptr().cast(), sum);
        }
        Some(found)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn whole(bytes: &[u8; MASK_BYTES]) -> __m512i {
        // SAFETY: the load, which needs no alignment, is of just these 64 bytes.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Both<'b> {
        a: [u8; MASK_BYTES],
        b: [u8; MASK_BYTES],
        masks: &'b mut Vec<(u64, u64)>,
    }

    impl Work for Both<'_> {
        fn run<C: Cpu>(self, cpu: C) {
            let masks = (cpu.equal(&self.a, &self.b), cpu.words(&self.a));
            self.masks.push(masks);
        }
    }

    #[test]
    fn masks_are_those_made_byte_by_byte_on_every_processor() {
        let mut random = fastrand::Rng::with_seed(4);
        for round in 0..4096usize {
            let a: [u8; MASK_BYTES] = match round {
                // each byte there is
                0..4 => std::array::from_fn(|at| (64 * round + at) as u8),
                _ => std::array::from_fn(|_| random.u8(..)),
            };
            let b = a.map(|byte| if random.bool() { byte } else { random.u8(..) });
            let mut masks = Vec::new();
            for found in Found::all() {
                let masks = &mut masks;
                found.run(Both { a, b, masks });
            }
            let bits = |is_so: &dyn Fn(usize) -> bool| {
                (0..MASK_BYTES).fold(0, |mask, at| mask | u64::from(is_so(at)) << at)
            };
            let equal = bits(&|at| a[at] == b[at]);
            let words = bits(&|at| a[at].is_ascii_alphanumeric() || !a[at].is_ascii());
            assert!(
                masks.iter().all(|found| *found == (equal, words)),
                "{round}"
            );
        }
    }
}
