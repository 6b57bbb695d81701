//! Backslash escapes. They differ between header and extension; an unknown one keeps both of its
//! characters, so that `C:\Users` survives.

/// Which escapes a text may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escapes {
    /// None: the text stands for itself.
    None,
    /// Of a header field: `\\` and `\|`.
    Header,
    /// Of a value: `\\`, `\=`, `\n` (LF) and `\r` (CR).
    Value,
}

impl Escapes {
    /// What a backslash followed by `next` stands for; nothing if that is no escape here.
    #[must_use]
    pub fn of(self, next: u8) -> Option<u8> {
        match (self, next) {
            (Escapes::Header | Escapes::Value, b'\\') => Some(b'\\'),
            (Escapes::Header, b'|') => Some(b'|'),
            (Escapes::Value, b'=') => Some(b'='),
            (Escapes::Value, b'n') => Some(b'\n'),
            (Escapes::Value, b'r') => Some(b'\r'),
            _ => None,
        }
    }
}
