//! Reads DER (ITU-T X.690) as far as PKCS#12 files need it: elements one behind
//! the other, tags of one byte, definite lengths. Lengths in more bytes than needed are forgiven,
//! as some writers use them.

/// `SEQUENCE`.
pub(super) const SEQUENCE: u8 = 0x30;
/// `INTEGER`.
pub(super) const INTEGER: u8 = 0x02;
/// `OCTET STRING`.
pub(super) const OCTET_STRING: u8 = 0x04;
/// `OBJECT IDENTIFIER`.
pub(super) const OID: u8 = 0x06;
/// `[0]`, with something in it.
pub(super) const CONTEXT_0: u8 = 0xa0;

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// They end within an element, or are not what must stand there.
    Broken,
    /// A length is told by an end mark, which BER allows and DER does not.
    Indefinite,
}

/// Elements yet to be read.
#[derive(Clone, Copy)]
pub(super) struct Elements<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

impl<'a> Elements<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Elements(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element.
    pub(super) fn any(&mut self) -> Result<Element<'a>, Malformed> {
        let [tag, first, rest @ ..] = self.0 else {
            return Err(Malformed::Broken);
        };
        // a tag of more bytes occurs in nothing that is read here
        if tag & 0x1f == 0x1f {
            return Err(Malformed::Broken);
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x80 => return Err(Malformed::Indefinite),
            _ => long_length(usize::from(first & 0x7f), rest)?,
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(Malformed::Broken)?;
        self.0 = rest;
        Ok(Element { tag: *tag, content })
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.any()? {
            element if element.tag == tag => Ok(element.content),
            _ => Err(Malformed::Broken),
        }
    }

    /// The elements in the next one, which must have this tag.
    pub(super) fn within(&mut self, tag: u8) -> Result<Elements<'a>, Malformed> {
        self.expect(tag).map(Elements)
    }

    /// The content of the next element if it has this tag; else it stays.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        match self.0.first() {
            Some(next) if *next == tag => self.expect(tag).map(Some),
            _ => Ok(None),
        }
    }

    /// A number that is not negative and fits.
    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        let bytes = self.expect(INTEGER)?;
        let digits = match bytes {
            [] => return Err(Malformed::Broken),
            [0, digits @ ..] => digits,
            [first, ..] if first & 0x80 != 0 => return Err(Malformed::Broken),
            digits => digits,
        };
        if digits.len() > 4 {
            return Err(Malformed::Broken);
        }
        let add = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
        Ok(digits.iter().fold(0, add))
    }
}

/// A length of `count` bytes, and what is behind it.
fn long_length(count: usize, rest: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (bytes, rest) = rest.split_at_checked(count).ok_or(Malformed::Broken)?;
    let mut length = 0usize;
    for byte in bytes {
        length = length.checked_mul(256).ok_or(Malformed::Broken)?;
        length |= usize::from(*byte);
    }
    Ok((length, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_one_behind_the_other() {
        let mut elements = Elements::of(&[0x30, 3, 0x02, 1, 5, 0x04, 0x81, 1, 7]);
        let mut inner = elements.within(SEQUENCE).unwrap();
        assert_eq!(inner.number(), Ok(5));
        assert!(inner.is_empty());
        assert_eq!(elements.optional(OID), Ok(None));
        assert_eq!(elements.expect(OCTET_STRING), Ok(&[7][..]));
        assert!(elements.any().is_err());
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        for bytes in [
            &[0x30][..],
            &[0x30, 1],
            &[0x30, 0x82, 1],
            &[0x30, 0x81, 2, 0],
            &[0x1f, 1, 0],
            &[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0x30, 0xff],
        ] {
            assert!(
                matches!(Elements::of(bytes).any(), Err(Malformed::Broken)),
                "{bytes:?}"
            );
        }
        assert!(matches!(
            Elements::of(&[0x30, 0x80, 0, 0]).any(),
            Err(Malformed::Indefinite)
        ));
    }

    #[test]
    fn numbers_are_whole_and_fit() {
        let number = |bytes: &[u8]| Elements::of(bytes).number();
        assert_eq!(number(&[2, 2, 0, 0x80]), Ok(128));
        assert_eq!(number(&[2, 5, 0, 0xff, 0xff, 0xff, 0xff]), Ok(u32::MAX));
        assert_eq!(number(&[2, 1, 0]), Ok(0));
        for bytes in [
            &[2, 0][..],
            &[2, 1, 0x80],
            &[2, 5, 1, 0, 0, 0, 0],
            &[4, 1, 1],
        ] {
            assert_eq!(number(bytes), Err(Malformed::Broken), "{bytes:?}");
        }
    }
}
