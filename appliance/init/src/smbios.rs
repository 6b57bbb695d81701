//! The OEM strings of the machine's SMBIOS tables, by which a hypervisor can hand a configuration
//! over (`qemu -smbios type=11,value=...`). Pure.
//!
//! ```text
//! table:  type(1) length(1) handle(2)  the rest of length bytes   "text" 0 "text" 0 ... 0
//!         11: OEM strings              count(1)
//! ```

/// Type of a table of OEM strings.
const OEM_STRINGS: u8 = 11;
/// Type of the table after which there is none.
const END: u8 = 127;
/// Bytes of a table's head.
const HEAD_BYTES: usize = 4;

/// The OEM strings of all tables, in their order. Whatever is broken ends them.
#[must_use]
pub(crate) fn oem_strings(tables: &[u8]) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = tables;
    while let [kind, length, ..] = *rest {
        let length = usize::from(length);
        if kind == END || length < HEAD_BYTES {
            break;
        }
        let Some(texts) = rest.get(length..) else {
            break;
        };
        // texts end at two zeros; without any text there are just these
        let Some(end) = texts.windows(2).position(|pair| pair == [0, 0]) else {
            break;
        };
        if kind == OEM_STRINGS {
            let texts = texts[..end].split(|&byte| byte == 0);
            found.extend(texts.filter_map(|text| std::str::from_utf8(text).ok()));
        }
        rest = &texts[end + 2..];
    }
    found.retain(|text| !text.is_empty());
    found
}

/// Bytes that are written as base64, with or without padding; nothing if they are not.
#[must_use]
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    if text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.chunks(4) {
        let mut bits = 0;
        for &character in four {
            bits = bits << 6 | u32::from(sextet(character)?);
        }
        bits <<= 6 * (4 - four.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

fn sextet(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(kind: u8, body: &[u8], texts: &[&str]) -> Vec<u8> {
        let mut table = vec![kind, u8::try_from(HEAD_BYTES + body.len()).unwrap(), 0, 1];
        table.extend_from_slice(body);
        for text in texts {
            table.extend_from_slice(text.as_bytes());
            table.push(0);
        }
        table.resize(table.len() + if texts.is_empty() { 2 } else { 1 }, 0);
        table
    }

    #[test]
    fn oem_strings_are_found_between_other_tables() {
        let tables = [
            table(1, &[1, 2, 0, 0], &["QEMU", "Standard PC"]),
            table(32, &[0; 7], &[]),
            table(11, &[2], &["cefline.config=YQ==", "other"]),
            table(127, &[], &[]),
            table(11, &[1], &["after the end"]),
        ];
        assert_eq!(
            oem_strings(&tables.concat()),
            ["cefline.config=YQ==", "other"]
        );
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zg", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYmE=", "fooba"),
            ("Pz8+", "??>"),
        ] {
            assert_eq!(from_base64(text).unwrap(), bytes.as_bytes(), "{text}");
        }
        for text in ["Z", "Zm9vY", "Zm 9", "Zm-_", "=Zg"] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn tables_that_are_cut_or_broken_end_the_strings(cut in 0usize..40, bytes in any::<Vec<u8>>()) {
            let _ = oem_strings(&bytes);
            let whole = table(11, &[1], &["some text that is of some length"]);
            prop_assert!(oem_strings(&whole[..cut.min(whole.len() - 1)]).is_empty());
        }

        #[test]
        fn base64_never_gives_more_than_three_bytes_of_four(text in "[A-Za-z0-9+/=]*") {
            if let Some(bytes) = from_base64(&text) {
                prop_assert!(bytes.len() <= text.len() / 4 * 3 + 2);
            }
        }
    }
}
