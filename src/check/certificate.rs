//! Who has issued a certificate, read from its DER (RFC 5280 section 4.1), for the one case where a
//! person must know: a chain that is not trusted.

/// The names in a certificate, as far as they say something to people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Common name, else organisation, of who has signed it.
    pub issuer: String,
    /// The same of whom it is for.
    pub subject: String,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;
/// `id-at-commonName` and `id-at-organizationName`, in the order in which they are wanted.
const NAMED_BY: [&[u8]; 2] = [&[0x55, 4, 3], &[0x55, 4, 10]];

/// Reads the names; nothing if it is no certificate.
#[must_use]
pub fn names(der: &[u8]) -> Option<Names> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (body, _) = element(certificate, SEQUENCE)?;
    let rest = match element(body, VERSION) {
        Some((_, rest)) => rest,
        None => body,
    };
    let (_, _, rest) = next(rest)?; // serial number
    let (_, rest) = element(rest, SEQUENCE)?; // algorithm
    let (issuer, rest) = element(rest, SEQUENCE)?;
    let (_, rest) = element(rest, SEQUENCE)?; // validity
    let (subject, _) = element(rest, SEQUENCE)?;
    Some(Names {
        issuer: name(issuer),
        subject: name(subject),
    })
}

/// The next element: tag, content, and what follows.
fn next(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // up to four bytes of length; more is no certificate
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// The next element, if it is of this kind: content, and what follows.
fn element(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = next(der)?;
    (tag == wanted).then_some((content, rest))
}

fn name(mut sets: &[u8]) -> String {
    let mut found = [None, None];
    while let Some((set, rest)) = element(sets, SET) {
        sets = rest;
        let pair = element(set, SEQUENCE).and_then(|(pair, _)| element(pair, OBJECT_ID));
        let Some((id, value)) = pair else { continue };
        let Some(at) = NAMED_BY.iter().position(|wanted| *wanted == id) else {
            continue;
        };
        let text = next(value).and_then(|(_, text, _)| std::str::from_utf8(text).ok());
        found[at] = found[at].or(text);
    }
    let [common, organisation] = found;
    match common.or(organisation) {
        Some(text) => crate::log::safe_text(text),
        None => "nobody that is named".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut out = vec![tag];
        match length {
            0..=127 => out.push(length as u8),
            _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
        }
        out.extend(content);
        out
    }

    fn name_of(pairs: &[(u8, &str)]) -> Vec<u8> {
        let sets: Vec<u8> = pairs
            .iter()
            .flat_map(|(id, text)| {
                let id = part(OBJECT_ID, &[0x55, 4, *id]);
                let pair = [id, part(0x0c, text.as_bytes())].concat();
                part(SET, &part(SEQUENCE, &pair))
            })
            .collect();
        part(SEQUENCE, &sets)
    }

    fn certificate(issuer: &[(u8, &str)]) -> Vec<u8> {
        let body = [
            part(VERSION, &part(2, &[2])),
            part(2, &[7; 20]),
            part(SEQUENCE, &[]),
            name_of(issuer),
            part(SEQUENCE, &[0; 30]),
            name_of(&[(3, "host.example")]),
            part(SEQUENCE, &[0; 300]),
        ]
        .concat();
        let rest = [
            part(SEQUENCE, &body),
            part(SEQUENCE, &[]),
            part(3, &[0; 64]),
        ]
        .concat();
        part(SEQUENCE, &rest)
    }

    #[test]
    fn issuer_and_subject_are_read() {
        let der = certificate(&[(10, "Proxy Inc"), (3, "Proxy CA"), (11, "unit")]);
        let names = names(&der).unwrap();
        assert_eq!(
            (&*names.issuer, &*names.subject),
            ("Proxy CA", "host.example")
        );
        let der = certificate(&[(10, "Proxy\nInc")]);
        assert_eq!(super::names(&der).unwrap().issuer, "Proxy\\nInc");
        let der = certificate(&[]);
        assert_eq!(super::names(&der).unwrap().issuer, "nobody that is named");
    }

    #[test]
    fn cut_and_changed_bytes_are_no_reason_to_panic() {
        let der = certificate(&[(3, "Proxy CA")]);
        for end in 0..der.len() {
            let _ = names(&der[..end]);
        }
        for at in 0..der.len() {
            let mut changed = der.clone();
            changed[at] ^= 0x83;
            let _ = names(&changed);
        }
    }
}
