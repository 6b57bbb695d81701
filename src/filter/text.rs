//! Text of senders as the table will hold it: escapes resolved, invalid UTF-8 replaced, cut where a
//! column ends. JSON's own escapes are not in it.

use crate::limits::COLUMN_BYTES_MAX;
use crate::parse::Escapes;

/// True for nearly all texts: the table will hold them as they are.
#[must_use]
pub fn is_plain(text: &[u8]) -> bool {
    // without an early end, so that many bytes are looked at at once
    let mut is_odd = false;
    for byte in text {
        is_odd |= (*byte >= 0x80) | (*byte == b'\\') | (*byte == b';');
    }
    !is_odd && text.len() <= COLUMN_BYTES_MAX
}

/// Appends `text`; `semicolon` is what a `;` becomes.
#[inline(never)]
pub fn append(out: &mut Vec<u8>, text: &[u8], escapes: Escapes, semicolon: u8) {
    let mut left = COLUMN_BYTES_MAX;
    let mut push = |c: char| match left.checked_sub(c.len_utf8()) {
        Some(rest) => {
            left = rest;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            true
        }
        None => false,
    };
    for chunk in text.utf8_chunks() {
        let mut chars = chunk.valid().chars().peekable();
        while let Some(c) = chars.next() {
            let escaped = match c {
                '\\' => chars.peek().and_then(|next| u8::try_from(*next).ok()),
                _ => None,
            };
            let c = match escaped.and_then(|next| escapes.of(next)) {
                Some(byte) => {
                    chars.next();
                    char::from(byte)
                }
                None if c == ';' => char::from(semicolon),
                None => c,
            };
            if !push(c) {
                return;
            }
        }
        if !chunk.invalid().is_empty() && !push(char::REPLACEMENT_CHARACTER) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(text: &[u8], escapes: Escapes, semicolon: u8) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, text, escapes, semicolon);
        out
    }

    #[test]
    fn texts_are_as_the_table_holds_them() {
        for (text, escapes, expected) in [
            (
                &b"a\\=b\\\\c\\nd\\x;e"[..],
                Escapes::Value,
                &b"a=b\\c\nd\\x e"[..],
            ),
            (b"a\\|b\\=c", Escapes::Header, b"a|b\\=c"),
            (b"a\\\\", Escapes::None, b"a\\\\"),
            (b"\xc3\xa4\xff\\", Escapes::Value, b"\xc3\xa4\xef\xbf\xbd\\"),
        ] {
            assert!(!is_plain(text));
            assert_eq!(appended(text, escapes, b' '), expected);
        }
    }

    #[test]
    fn texts_end_where_a_column_ends_at_a_whole_character() {
        let mut text = vec![b'x'; COLUMN_BYTES_MAX - 1];
        assert_eq!(appended(&text, Escapes::Value, b';'), text);
        text.push(b'x');
        assert!(is_plain(&text));
        text.push(b'x');
        assert!(!is_plain(&text));
        text.truncate(COLUMN_BYTES_MAX - 1);
        text.extend("\u{e4}".as_bytes());
        assert_eq!(
            appended(&text, Escapes::Value, b';').len(),
            COLUMN_BYTES_MAX - 1
        );
        text.truncate(COLUMN_BYTES_MAX - 1);
        text.extend(b"yz");
        assert!(appended(&text, Escapes::Value, b';').ends_with(b"xy"));
    }
}
