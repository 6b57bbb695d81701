//! Which bytes of a text are of interest, as words with one bit for each of 64 bytes: the first byte is
//! the lowest.
//!
//! With AVX2, or eight bytes at a time. The two are told apart by little but their speed.

/// What the scan of an extension looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Masks {
    /// `=`
    pub(super) equals: u64,
    /// Blank or tab.
    pub(super) blank: u64,
    /// What may not be copied as it is: control characters, `"`, `\`, `;` and all beyond ASCII.
    pub(super) odd: u64,
    /// All that no key has in it; with AVX2 only, or else all bytes.
    other: u64,
}

impl Masks {
    /// Without what is behind the first `len` bytes.
    pub(super) fn first(self, len: usize) -> Self {
        let kept = match len {
            0..64 => !(u64::MAX << len),
            _ => u64::MAX,
        };
        Masks {
            equals: self.equals & kept,
            blank: self.blank & kept,
            odd: self.odd & kept,
            other: self.other,
        }
    }

    /// Without the first `len` bytes: what is behind them comes to the front.
    #[inline]
    pub(super) fn behind(self, len: usize) -> Self {
        let shifted = |bits: u64| bits.checked_shr(len as u32).unwrap_or(0);
        Masks {
            equals: shifted(self.equals),
            blank: shifted(self.blank),
            odd: shifted(self.odd),
            other: shifted(self.other),
        }
    }

    /// Of a block, without wide instructions.
    pub(super) fn plain(block: &[u8; 64]) -> Self {
        let mut masks = Masks {
            other: u64::MAX,
            ..Masks::default()
        };
        let (words, _) = block.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let is = |byte: u8| bytes_like(word, byte);
            let shift = 8 * index;
            masks.equals |= gather(is(b'=')) << shift;
            masks.blank |= gather(is(b' ') | is(b'\t')) << shift;
            masks.odd |= gather(odd_bytes(word)) << shift;
        }
        masks
    }
}

/// Whether `len` bytes from `start` on, counted from the first of the 128, surely are all bytes of keys. Of a
/// word longer than 64 nothing is known.
#[inline]
pub(super) fn are_of_key(masks: &[Masks], start: usize, len: usize) -> bool {
    let ([first, second], 0..64, 1..=64) = (masks, start, len) else {
        return false;
    };
    let behind = second
        .other
        .wrapping_shl(1)
        .wrapping_shl(63u32.wrapping_sub(start as u32));
    let from = first.other.wrapping_shr(start as u32) | behind;
    from.wrapping_shl(64u32.wrapping_sub(len as u32)) == 0
}

/// What ends or hides the end of a header field, and what makes one anything but plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stops {
    /// `|` or a backslash.
    pub(super) stops: u64,
    /// As in [`Masks`].
    pub(super) odd: u64,
}

impl Stops {
    /// Of the first 64 bytes of a text.
    #[inline]
    pub(super) fn of(text: &[u8]) -> Self {
        let Some(block) = text.first_chunk::<64>() else {
            let mut block = [0; 64];
            if let Some(place) = block.get_mut(..text.len()) {
                place.copy_from_slice(text);
            }
            let kept = !u64::MAX.wrapping_shl(text.len() as u32);
            let all = Self::of(&block);
            return Stops {
                stops: all.stops & kept,
                odd: all.odd & kept,
            };
        };
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "what a processor can do is known when it runs")]
            // SAFETY: the processor has AVX2, which is all that the function asks for.
            return unsafe { avx2::stops(block) };
        }
        Self::plain(block)
    }

    fn plain(block: &[u8; 64]) -> Self {
        let mut all = Stops::default();
        let (words, _) = block.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let stops = bytes_like(word, b'|') | bytes_like(word, b'\\');
            all.stops |= gather(stops) << (8 * index);
            all.odd |= gather(odd_bytes(word)) << (8 * index);
        }
        all
    }
}

/// The highest bit of each byte that may not be copied as it is.
fn odd_bytes(word: u64) -> u64 {
    // the upper three bits of a control character are not set
    let control = zeros(word & LOWEST.wrapping_mul(0xE0));
    let escape = bytes_like(word, b'"') | bytes_like(word, b'\\');
    control | (word & HIGHEST) | escape | bytes_like(word, b';')
}

/// The highest bit of each byte that is this one.
fn bytes_like(word: u64, byte: u8) -> u64 {
    zeros(word ^ LOWEST.wrapping_mul(u64::from(byte)))
}

const LOWEST: u64 = 0x0101_0101_0101_0101;
const HIGHEST: u64 = 0x8080_8080_8080_8080;

/// The highest bit of each byte that is zero, and no other.
fn zeros(word: u64) -> u64 {
    let low = (word & !HIGHEST).wrapping_add(!HIGHEST);
    !(low | word) & HIGHEST
}

/// The highest bits of eight bytes side by side.
fn gather(word: u64) -> u64 {
    // byte n, shifted to its lowest bit, goes to bit 56 + n, and to bits that are shifted out
    (word >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use super::{Masks, Stops};
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_movemask_epi8,
        _mm256_or_si256, _mm256_set_epi64x, _mm256_set1_epi8, _mm256_setzero_si256,
        _mm256_shuffle_epi8, _mm256_srli_epi16,
    };

    /// Of a block.
    #[target_feature(enable = "avx2")]
    pub(super) fn stops(block: &[u8; 64]) -> Stops {
        let (words, _) = block.as_chunks::<8>();
        let [a, b, c, d, e, f, g, h] = words else {
            return Stops::default();
        };
        let (low, high) = (load([a, b, c, d]), load([e, f, g, h]));
        Stops {
            stops: join(stop(low), stop(high)),
            odd: join(odd(low), odd(high)),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn stop(bytes: __m256i) -> __m256i {
        _mm256_or_si256(is(bytes, b'|'), is(bytes, b'\\'))
    }

    /// Of a block. Not inlined: what is known of the bits tempts the compiler to look at each of them.
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn one(block: &[u8; 64]) -> Masks {
        let (words, _) = block.as_chunks::<8>();
        let [a, b, c, d, e, f, g, h] = words else {
            return Masks::default();
        };
        let (low, high) = (load([a, b, c, d]), load([e, f, g, h]));
        Masks {
            equals: join(is(low, b'='), is(high, b'=')),
            blank: join(blank(low), blank(high)),
            odd: join(odd(low), odd(high)),
            other: join(other(low), other(high)),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(words: [&[u8; 8]; 4]) -> __m256i {
        let [a, b, c, d] = words.map(|word| i64::from_le_bytes(*word));
        _mm256_set_epi64x(d, c, b, a)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn is(bytes: __m256i, byte: u8) -> __m256i {
        _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn blank(bytes: __m256i) -> __m256i {
        _mm256_or_si256(is(bytes, b' '), is(bytes, b'\t'))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn odd(bytes: __m256i) -> __m256i {
        // as signed numbers, what is below the blank is control or beyond ASCII
        let odd = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), bytes);
        let odd = _mm256_or_si256(odd, is(bytes, b';'));
        _mm256_or_si256(odd, _mm256_or_si256(is(bytes, b'"'), is(bytes, b'\\')))
    }

    /// Bytes that no key has. Each half of a byte has a set of classes, and a byte of keys has one in
    /// both: 1 is `,-.`, 2 digits, 4 `A` to `O` and `a` to `o`, 8 `P` to `Z` and `[]_`, 16 `p` to `z`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn other(bytes: __m256i) -> __m256i {
        const LOWER: [u8; 16] = [26, 30, 30, 30, 30, 30, 30, 30, 30, 30, 28, 12, 5, 13, 5, 12];
        const UPPER: [u8; 16] = [0, 0, 1, 2, 4, 8, 4, 16, 0, 0, 0, 0, 0, 0, 0, 0];
        // a byte beyond ASCII has none in its lower half
        let lower = _mm256_shuffle_epi8(table(LOWER), bytes);
        let half = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(0x0F));
        let upper = _mm256_shuffle_epi8(table(UPPER), half);
        _mm256_cmpeq_epi8(_mm256_and_si256(lower, upper), _mm256_setzero_si256())
    }

    /// A table of 16 bytes, for each half.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn table(bytes: [u8; 16]) -> __m256i {
        let number = i128::from_le_bytes(bytes);
        let (low, high) = (number as i64, (number >> 64) as i64);
        _mm256_set_epi64x(high, low, high, low)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn join(low: __m256i, high: __m256i) -> u64 {
        let low = _mm256_movemask_epi8(low).cast_unsigned();
        let high = _mm256_movemask_epi8(high).cast_unsigned();
        u64::from(low) | (u64::from(high) << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte.
    fn naive(block: &[u8; 64]) -> Masks {
        let bits = |is: fn(u8) -> bool| {
            let bits = block.iter().enumerate();
            bits.fold(0, |bits, (at, byte)| bits | (u64::from(is(*byte)) << at))
        };
        Masks {
            equals: bits(|byte| byte == b'='),
            blank: bits(|byte| matches!(byte, b' ' | b'\t')),
            odd: bits(|byte| !(0x20..0x80).contains(&byte) || matches!(byte, b'"' | b'\\' | b';')),
            other: bits(|byte| {
                !byte.is_ascii_alphanumeric()
                    && !matches!(byte, b',' | b'-' | b'.' | b'_' | b'[' | b']')
            }),
        }
    }

    /// In all ways that there are here.
    fn all(block: &[u8; 64]) -> Vec<Masks> {
        let mut all = vec![Masks::plain(block)];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "what a processor can do is known when it runs")]
            // SAFETY: the processor has AVX2, which is all that the function asks for.
            all.push(unsafe { avx2::one(block) });
        }
        all
    }

    /// Without what is not known everywhere.
    fn common(masks: Masks) -> Masks {
        Masks { other: 0, ..masks }
    }

    #[test]
    fn all_ways_lead_to_the_same_masks() {
        let seed = 0x5eed_0012;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..100_000u32 {
            let mut block = [0u8; 64];
            for (at, byte) in block.iter_mut().enumerate() {
                *byte = match round < 256 {
                    // every byte at every place
                    true => (round as u8).wrapping_add(at as u8 * 4),
                    false if random.bool() => random.u8(..),
                    false => *random.choice(b"= \t\";\\\x1f\x20\x7f\x80\xff").unwrap(),
                };
            }
            let expected = naive(&block);
            for found in all(&block) {
                assert_eq!(common(found), common(expected), "{block:?}");
                assert!(found.other == expected.other || found.other == u64::MAX);
            }
        }
    }

    #[test]
    fn stops_are_found_in_all_ways() {
        let seed = 0x5eed_0016;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..100_000 {
            let text: Vec<u8> = (0..random.usize(0..80))
                .map(|_| *random.choice(b"ab|\\\";\x1f\x20\x7f\x80\xff=").unwrap())
                .collect();
            let mut expected = Stops::default();
            for (at, byte) in text.iter().take(64).enumerate() {
                expected.stops |= u64::from(matches!(byte, b'|' | b'\\')) << at;
                let is_odd = !(0x20..0x80).contains(byte) || matches!(byte, b'"' | b'\\' | b';');
                expected.odd |= u64::from(is_odd) << at;
            }
            assert_eq!(Stops::of(&text), expected, "{text:?}");
            if let Some(block) = text.first_chunk() {
                assert_eq!(Stops::plain(block), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_behind_the_end_is_nothing() {
        let masks = naive(&[b'='; 64]);
        assert_eq!(masks.first(64), masks);
        assert_eq!(masks.first(63).equals, u64::MAX >> 1);
        assert_eq!(masks.first(1).equals, 1);
        assert_eq!(masks.first(0).equals, 0);
        assert_eq!(masks.behind(0), masks);
        assert_eq!(masks.behind(63).equals, 1);
        assert_eq!(masks.behind(64).equals, 0);
    }

    #[test]
    fn words_are_of_keys_wherever_they_lie() {
        let seed = 0x5eed_0017;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..100_000 {
            let mut other = || (0..3).fold(u64::MAX, |bits, _| bits & random.u64(..));
            let masks = [other(), other()].map(|other| Masks {
                other,
                ..Masks::default()
            });
            let both = u128::from(masks[0].other) | u128::from(masks[1].other) << 64;
            let (start, len) = (random.usize(0..66), random.usize(0..67));
            let expected = start < 64
                && (1..=64).contains(&len)
                && (start..start + len).all(|at| both >> at & 1 == 0);
            assert_eq!(are_of_key(&masks, start, len), expected, "{start} {len}");
        }
        assert!(
            !are_of_key(&[Masks::default()], 0, 1),
            "one block is not enough"
        );
    }
}
