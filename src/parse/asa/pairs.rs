//! The bodies of FTD's security events: `Key: value, Key: value`.
//!
//! Values are not quoted as a rule, and may hold commas (`UserAgent`, `URL`, names of policies): a value
//! ends at a comma and a blank only where a key, a colon and a blank follow. A key is one to four
//! words of letters, digits and `_`, and begins with a capital. A value in double quotes ends at its
//! closing one.
//!
//! Only the pairs of [`KEYS`] become fields; whatever else the device says stands in the text.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::Fields;
use memchr::{memchr, memchr_iter};

/// Longest key.
const KEY_BYTES_MAX: usize = 40;
/// Most words of a key: `Tunnel or Prefilter Rule`.
const KEY_WORDS_MAX: usize = 4;

/// The device's key, and the name of the field. Of an initiator the bytes are those sent, of a
/// responder those received, as seen from the source.
#[rustfmt::skip]
const KEYS: &[(&str, &str)] = &[
    ("ACPolicy", "ACPolicy"),
    ("AccessControlRuleAction", "act"),
    ("AccessControlRuleName", "cs2"),
    ("AccessControlRuleReason", "reason"),
    ("ApplicationProtocol", "app"),
    ("Classification", "cat"),
    ("Client", "Client"),
    ("ConnectionDuration", "duration"),
    ("ConnectionID", "connectionId"),
    ("DNSQuery", "DNSQuery"),
    ("DNSResponseType", "DNSResponseType"),
    ("DeviceUUID", "deviceExternalId"),
    ("DstIP", "dst"),
    ("DstPort", "dpt"),
    ("EgressInterface", "deviceOutboundInterface"),
    ("EgressZone", "EgressZone"),
    ("FileAction", "act"),
    ("FileDirection", "FileDirection"),
    ("FileName", "fname"),
    ("FilePolicy", "FilePolicy"),
    ("FileSHA256", "fileHash"),
    ("FileSize", "fsize"),
    ("FileType", "fileType"),
    ("FirstPacketSecond", "start"),
    ("GID", "GID"),
    ("HTTPReferer", "requestContext"),
    ("HTTPResponse", "HTTPResponse"),
    ("HTTP_Hostname", "dhost"),
    ("IngressInterface", "deviceInboundInterface"),
    ("IngressZone", "IngressZone"),
    ("InitiatorBytes", "out"),
    ("InlineResult", "act"),
    ("IntrusionPolicy", "IntrusionPolicy"),
    ("Message", "Signature"),
    ("NAT_InitiatorIP", "sourceTranslatedAddress"),
    ("NAT_InitiatorPort", "sourceTranslatedPort"),
    ("NAT_ResponderIP", "destinationTranslatedAddress"),
    ("NAT_ResponderPort", "destinationTranslatedPort"),
    ("Priority", "Priority"),
    ("Protocol", "proto"),
    ("ReferencedHost", "dhost"),
    ("ResponderBytes", "in"),
    ("Revision", "Revision"),
    ("SHA_Disposition", "SHA_Disposition"),
    ("SID", "SID"),
    ("SrcIP", "src"),
    ("SrcPort", "spt"),
    ("ThreatName", "ThreatName"),
    ("ThreatScore", "ThreatScore"),
    ("URI", "request"),
    ("URL", "request"),
    ("URLCategory", "URLCategory"),
    ("URLReputation", "URLReputation"),
    ("User", "suser"),
    ("UserAgent", "requestClientApplication"),
    ("WebApplication", "WebApplication"),
];

/// Takes the fields of a body.
pub(super) fn read<'f>(body: &'f [u8], fields: &mut Fields<'f>) {
    let mut rest = body;
    while let Some((key, behind)) = key(rest) {
        let (value, next) = value(behind);
        if let Some(name) = name_of(key) {
            fields.put(name, value);
            if name == "cs2" {
                fields.put("cs2Label", b"AccessControlRuleName");
            }
        }
        rest = next;
    }
}

fn name_of(key: &[u8]) -> Option<&'static str> {
    let index = KEYS.binary_search_by(|(other, _)| other.as_bytes().cmp(key));
    KEYS.get(index.ok()?).map(|(_, name)| *name)
}

/// The key at the front of `text`, and what is behind its colon.
fn key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = text.get(..KEY_BYTES_MAX.min(text.len()))?;
    let colon = memchr(b':', head)?;
    let key = text.get(..colon)?;
    let rest = text.get(colon.saturating_add(1)..)?;
    let is_key_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b' ');
    let is_key = key.first().is_some_and(u8::is_ascii_uppercase)
        && key.iter().all(is_key_byte)
        && key.split(|byte| *byte == b' ').count() <= KEY_WORDS_MAX
        && matches!(rest.first(), None | Some(b' '));
    is_key.then_some((key, rest))
}

/// The value at the front of `text`, and what begins at the next key.
fn value(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    if let Some(inner) = text.strip_prefix(b"\"")
        && let Some(close) = memchr(b'"', inner)
        && let Some((value, behind)) = inner.split_at_checked(close)
        && let Some(next) = next_key(behind.get(1..).unwrap_or_default())
    {
        return (value, next);
    }
    for comma in memchr_iter(b',', text) {
        let (value, behind) = text.split_at_checked(comma).unwrap_or((text, &[]));
        if let Some(next) = next_key(behind) {
            return (value, next);
        }
    }
    (text, &[])
}

/// What is behind a comma and a blank, if a key or nothing is.
fn next_key(text: &[u8]) -> Option<&[u8]> {
    if text.is_empty() {
        return Some(text);
    }
    let next = text.strip_prefix(b", ")?;
    key(next).map(|_| next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_can_be_searched_in() {
        assert!(KEYS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn values_end_where_a_key_begins() {
        let body = b"User: Not Found, UserAgent: Mozilla/5.0 (X11; Linux), like: a, b, Prefilter \
                     Policy: A, b: c, URL: http://h/?a=1, 2, Message: \"A: b, Sid: 7\", SID: 5";
        let mut fields = Fields::new();
        read(body, &mut fields);
        let text = |name| fields.value(name).map(|v| std::str::from_utf8(v).unwrap());
        assert_eq!(text("suser"), Some("Not Found"));
        let agent = "Mozilla/5.0 (X11; Linux), like: a, b";
        assert_eq!(text("requestClientApplication"), Some(agent));
        assert_eq!(text("request"), Some("http://h/?a=1, 2"));
        assert_eq!(text("Signature"), Some("A: b, Sid: 7"));
        assert_eq!(text("SID"), Some("5"));
    }
}
