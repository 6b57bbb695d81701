//! Row lengths as they stand behind a body: LEB128, so that most rows take two bytes.

/// Row lengths as LEB128: each row's end in the array less the end before it (the first less 0).
pub fn encode_lengths(ends: &[u32], out: &mut Vec<u8>) {
    let mut before = 0;
    for end in ends {
        let mut length = end - before;
        before = *end;
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
    }
}

/// How many bytes [`encode_lengths`] makes.
#[must_use]
pub fn lengths_bytes(ends: &[u32]) -> usize {
    let mut before = 0;
    let bytes = ends.iter().map(|end| {
        let bits = 32 - (end - before).max(1).leading_zeros();
        before = *end;
        bits.div_ceil(7) as usize
    });
    bytes.sum()
}

/// The ends of so many rows; nothing if `bytes` are not exactly theirs, or not ascending within
/// 32 bits.
#[must_use]
pub fn decode_lengths(mut bytes: &[u8], rows_count: u32) -> Option<Vec<u32>> {
    // each takes a byte at least, so a wrong count costs no more memory than the bytes do
    let mut ends = Vec::with_capacity(bytes.len().min(rows_count as usize));
    let mut end = 0u32;
    for _ in 0..rows_count {
        let mut length = 0u32;
        let mut shift = 0;
        loop {
            let (byte, rest) = bytes.split_first()?;
            bytes = rest;
            let part = u32::from(byte & 0x7f);
            length |= part.checked_shl(shift).filter(|up| up >> shift == part)?;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        end = end.checked_add(length).filter(|_| length > 0)?;
        ends.push(end);
    }
    bytes.is_empty().then_some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ends_of(lengths: &[u32]) -> Vec<u32> {
        let mut end = 0;
        lengths
            .iter()
            .map(|length| {
                end += length;
                end
            })
            .collect()
    }

    #[test]
    fn every_bound_of_a_length_has_its_bytes() {
        let bounds = [
            (1, 1),
            (0x7f, 1),
            (0x80, 2),
            (0x3fff, 2),
            (0x4000, 3),
            (0x1f_ffff, 3),
            (0x20_0000, 4),
            (0xfff_ffff, 4),
            (0x1000_0000, 5),
            (u32::MAX, 5),
        ];
        for (length, bytes_count) in bounds {
            let mut bytes = Vec::new();
            encode_lengths(&[length], &mut bytes);
            assert_eq!(bytes.len(), bytes_count, "{length}");
            assert_eq!(lengths_bytes(&[length]), bytes_count, "{length}");
            assert_eq!(decode_lengths(&bytes, 1), Some(vec![length]));
        }
    }

    #[test]
    fn what_is_no_list_of_lengths_is_none() {
        let cases: [(&[u8], u32); 9] = [
            // too few, too many
            (&[1], 2),
            (&[1, 1], 1),
            (&[], 1),
            // cut off
            (&[0x80], 1),
            // an empty row
            (&[0], 1),
            (&[0x80, 0], 1),
            // past 32 bits: one length, a sum of two, and bytes without end
            (&[0xff, 0xff, 0xff, 0xff, 0x10], 1),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f, 1], 2),
            (&[0x80; 64], 1),
        ];
        for (bytes, rows_count) in cases {
            assert_eq!(decode_lengths(bytes, rows_count), None, "{bytes:?}");
        }
        assert_eq!(decode_lengths(&[], 0), Some(Vec::new()));
        // a count from a stranger costs no memory
        assert_eq!(decode_lengths(&[1, 1], u32::MAX), None);
    }

    proptest! {
        #[test]
        fn lengths_come_back(lengths in prop::collection::vec(1u32..100_000, 0..200)) {
            let ends = ends_of(&lengths);
            let mut bytes = Vec::new();
            encode_lengths(&ends, &mut bytes);
            prop_assert_eq!(bytes.len(), lengths_bytes(&ends));
            let rows_count = u32::try_from(ends.len()).unwrap();
            prop_assert_eq!(decode_lengths(&bytes, rows_count), Some(ends));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..50), rows in 0u32..60) {
            if let Some(ends) = decode_lengths(&bytes, rows) {
                prop_assert_eq!(ends.len(), rows as usize);
                prop_assert!(ends.is_sorted());
            }
        }
    }
}
