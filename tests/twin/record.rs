//! A frame as a CEF record, byte by byte, by the rules at the heads of `parse`, `parse::cef` and
//! `parse::syslog`.

use crate::time::{header_time_end, is_blank, trim, words};

/// What stands before the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Envelope {
    pub(crate) pri: Option<u8>,
    pub(crate) time: Option<Vec<u8>>,
    pub(crate) host: Option<Vec<u8>>,
}

/// A record with all its texts as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) envelope: Envelope,
    /// Version, vendor, product, device version, class id, name, severity.
    pub(crate) header: Vec<Vec<u8>>,
    pub(crate) stray: Vec<u8>,
    pub(crate) pairs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) flaw: Option<&'static str>,
}

/// What a frame is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    Record(Record),
    Unparsed(&'static str, Envelope),
    /// A line of a Cisco firewall.
    Cisco(Line),
}

/// What the tag of a line says, and all from it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) envelope: Envelope,
    pub(crate) product: &'static str,
    pub(crate) level: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) text: Vec<u8>,
}

pub(crate) fn read(frame: &[u8]) -> Reading {
    let quoted = frame.len() >= 2 && frame.starts_with(b"\"") && frame.ends_with(b"\"");
    let frame = if quoted {
        &frame[1..frame.len() - 1]
    } else {
        frame
    };
    let Some((start, version, rest)) = anchor(frame) else {
        if let Some(line) = (0..frame.len()).find_map(|at| line(frame, at)) {
            return Reading::Cisco(line);
        }
        return Reading::Unparsed("no_cef", envelope(frame, true));
    };
    let envelope = envelope(&frame[..start], false);
    let (mut fields, behind) = split(rest);
    fields.insert(0, version);
    let mut flaw = None;
    let extension = match behind {
        Some(behind) if !begins_with_key(&fields[6]) || begins_with_key(&behind) => behind,
        Some(behind) => {
            // plainly a pair, and the pipe behind it stands in its value
            flaw = Some("severity_missing");
            [&std::mem::take(&mut fields[6]), &b"|"[..], &behind].concat()
        }
        None if fields.len() < 7 || trim(&fields[6]).is_empty() => {
            return Reading::Unparsed("header_incomplete", envelope);
        }
        None if first_key(&fields[6]).is_some() => {
            flaw = Some("severity_missing");
            std::mem::take(&mut fields[6])
        }
        None => {
            flaw = Some("last_pipe_missing");
            Vec::new()
        }
    };
    let at = first_key(&extension).unwrap_or(extension.len());
    Reading::Record(Record {
        envelope,
        header: fields,
        stray: trim(&extension[..at]),
        pairs: pairs(&extension[at..]),
        flaw,
    })
}

/// The fields up to the sixth pipe that stands behind an even number of backslashes, and what is
/// behind that pipe; or all fields there are.
fn split(text: &[u8]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut fields = vec![Vec::new()];
    let mut backslashes = 0;
    for (at, byte) in text.iter().enumerate() {
        if *byte == b'|' && backslashes % 2 == 0 {
            if fields.len() == 6 {
                return (fields, Some(text[at + 1..].to_vec()));
            }
            fields.push(Vec::new());
        } else {
            fields.last_mut().unwrap().push(*byte);
        }
        backslashes = if *byte == b'\\' { backslashes + 1 } else { 0 };
    }
    (fields, None)
}

/// The line whose tag begins at `at`.
fn line(frame: &[u8], at: usize) -> Option<Line> {
    let text = &frame[at..];
    if at > 0 && !b" \t:>".contains(&frame[at - 1]) {
        return None;
    }
    let tag: Vec<u8> = text
        .iter()
        .copied()
        .take_while(|byte| !b": ".contains(byte))
        .collect();
    let mut parts: Vec<&[u8]> = tag.split(|byte| *byte == b'-').collect();
    let is_class = |part: &[u8]| {
        (1..=16).contains(&part.len()) && part.iter().all(|b| b.is_ascii_lowercase() || *b == b'_')
    };
    if parts.len() == 4 && is_class(parts[1]) {
        parts.remove(1);
    }
    let [family, level, id] = parts[..] else {
        return None;
    };
    let is_family = [&b"%ASA"[..], b"%FTD", b"%PIX", b"%FWSM"].contains(&family);
    let is_level = level.len() == 1 && (b'0'..=b'7').contains(&level[0]);
    let is_id = id.len() == 6 && id.iter().all(u8::is_ascii_digit);
    (is_family && is_level && is_id).then(|| Line {
        envelope: envelope(&frame[..at], false),
        product: match family {
            b"%FTD" if id.starts_with(b"43000") => "FTD",
            _ => "ASA",
        },
        level: level.to_vec(),
        id: id.to_vec(),
        text: text.to_vec(),
    })
}

/// Where `CEF:` begins, the version, and all behind the first pipe.
fn anchor(frame: &[u8]) -> Option<(usize, Vec<u8>, &[u8])> {
    for start in 0..frame.len() {
        if !frame[start..].starts_with(b"CEF:") {
            continue;
        }
        let mut at = start + 4;
        if frame.get(at) == Some(&b' ') {
            at += 1;
        }
        let mut version = Vec::new();
        while let Some(digit) = frame.get(at).filter(|byte| byte.is_ascii_digit()) {
            version.push(*digit);
            at += 1;
        }
        if frame.get(at) == Some(&b' ') {
            at += 1;
        }
        if !version.is_empty() && frame.get(at) == Some(&b'|') {
            return Some((start, version, &frame[at + 1..]));
        }
    }
    None
}

/// If a key begins at `at`: how long it is.
fn key_len(text: &[u8], at: usize) -> Option<usize> {
    let first = *text.get(at)?;
    if !first.is_ascii_alphanumeric() && first != b'_' {
        return None;
    }
    let mut len = 0;
    loop {
        match *text.get(at + len)? {
            b'=' => return Some(len),
            byte if byte.is_ascii_alphanumeric() || b"_.,[]-".contains(&byte) => len += 1,
            _ => return None,
        }
    }
}

/// Whether there is nothing but blanks before the first key.
fn begins_with_key(text: &[u8]) -> bool {
    key_len(&trim(text), 0).is_some()
}

/// Where the first key begins: at the front, or behind a blank, a tab or a pipe.
fn first_key(text: &[u8]) -> Option<usize> {
    (0..text.len())
        .find(|at| (*at == 0 || b" \t|".contains(&text[at - 1])) && key_len(text, *at).is_some())
}

/// Keys and values of a text that begins with a key.
fn pairs(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let may_begin = at == 0 || b" \t".contains(&text[at - 1]);
        match key_len(text, at).filter(|_| may_begin) {
            Some(len) => {
                pairs.push((text[at..at + len].to_vec(), Vec::new()));
                at += len + 1;
            }
            None => {
                pairs.last_mut().unwrap().1.push(text[at]);
                at += 1;
            }
        }
    }
    for (_, value) in &mut pairs {
        while matches!(value.last(), Some(b' ' | b'\t')) {
            value.pop();
        }
    }
    pairs
}

/// The syslog header at the front of `text`; of a frame that is no message its text follows, so
/// that a word is the host only behind a time.
fn envelope(text: &[u8], is_frame: bool) -> Envelope {
    let outer = envelope_once(text, is_frame);
    if outer.host.is_none()
        && let Some(at) = text.iter().rposition(|byte| *byte == b'<')
        && at > 0
    {
        let inner = envelope_once(&text[at..], is_frame);
        if inner.host.is_some() {
            return inner;
        }
    }
    outer
}

fn envelope_once(text: &[u8], is_frame: bool) -> Envelope {
    let mut envelope = Envelope::default();
    let mut text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    text = text.strip_prefix(b"\"").unwrap_or(text);
    text = skip_blanks(text);
    let mut has_lead = false;
    if text.first() == Some(&b'<') {
        let digits: Vec<u8> = text[1..]
            .iter()
            .copied()
            .take_while(u8::is_ascii_digit)
            .collect();
        let is_closed = text.get(1 + digits.len()) == Some(&b'>');
        if is_closed || !digits.is_empty() {
            has_lead = true;
            let value = digits
                .iter()
                .fold(0u64, |sum, d| (sum * 10 + u64::from(d - b'0')).min(9999));
            if is_closed && (1..=4).contains(&digits.len()) && value <= 191 {
                envelope.pri = Some(value as u8);
            }
            text = skip_blanks(&text[1 + digits.len() + usize::from(is_closed)..]);
        }
    }
    // the version of RFC 5424, or Cisco's sequence number
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let behind = &text[digits..];
    let is_version = digits == 1
        && behind.len() > 1
        && behind[0] == b' '
        && (behind[1] == b'-' || behind[1].is_ascii_digit());
    if is_version {
        text = skip_blanks(behind);
    } else if digits > 0 && behind.starts_with(b": ") {
        text = skip_blanks(&behind[1..]);
    }
    has_lead |= is_version || (digits > 0 && behind.starts_with(b": "));
    if matches!(text.first(), Some(b'*' | b'.' | b'%' | b':')) {
        text = &text[1..];
        has_lead = true;
    }
    let mut is_behind_time = false;
    if text.starts_with(b"- ") {
        text = &text[2..];
        is_behind_time = true;
    } else {
        let end = header_time_end(text);
        if end > 0 {
            envelope.time = Some(text[..end].to_vec());
            is_behind_time = true;
            text = text[end..].strip_prefix(b":").unwrap_or(&text[end..]);
        }
    }
    let words = words(text);
    let may_be_host = if is_frame {
        is_behind_time
    } else {
        is_behind_time || has_lead || words.len() == 1
    };
    if may_be_host && let Some((_, word)) = words.first() {
        let legal =
            |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:".contains(byte) || *byte >= 0x80;
        let is_host =
            word.len() <= 255 && word != b"-" && !word.ends_with(b":") && word.iter().all(legal);
        envelope.host = is_host.then(|| word.clone());
    }
    envelope
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    &text[blanks..]
}
