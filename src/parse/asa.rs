//! Lines of Cisco's firewalls that are not CEF: `%ASA-6-302013: Built inbound TCP connection …`.
//!
//! ```text
//! <166>Nov 25 2026 01:59:07 fw01 : %ASA-6-302013: Built inbound TCP connection 8 for …
//! '------------ origin -----------' |   | '-id-'  '---------- body ----------------->
//!                                   |   level
//!                                   '------------------ text ----------------------->
//! ```
//!
//! A line is one of these if it has a tag: `%`, a family (ASA, FTD, PIX, FWSM), perhaps a class
//! (`%ASA-session-6-…`, as in the EMBLEM form), a level of 0 to 7 and an id of six digits, at the
//! beginning or behind a blank, a colon or a `>`. The first tag counts; what stands before it is a
//! syslog header, read as leniently as that of CEF.
//!
//! What a body says is known for the ids of `forms`, as published in Cisco's guides to ASA and FTD
//! syslog messages; bodies of ids 430001 to 430007 are lists of `Key: value` (`pairs`). The fields
//! found get the names of CEF keys where there is one, so that the same table leads them to their
//! columns. A body that is not as published gives no fields, or fewer; the line stays whole in
//! [`Line::text`] whatever happens, so that nothing is lost by a field that is not found.
//!
//! Which end is the source: the one that the message names first, as in Microsoft's parser of these
//! rows (`ASimNetworkSessionCiscoASA`). For connections (302013 to 302021) Cisco names the outer end
//! first, whoever opened it; `CommunicationDirection` tells who did.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod ends;
mod forms;
mod pairs;

use super::syslog::{self, Origin};
use memchr::{memchr_iter, memmem};

/// Most fields of one line; further ones stand in its text alone.
pub const FIELDS_MAX: usize = 40;
/// Longest class in a tag.
const CLASS_BYTES_MAX: usize = 16;
/// Digits of an id.
const ID_DIGITS: usize = 6;

/// A line, as found in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'f> {
    /// Who sent it and when, by the syslog header.
    pub origin: Origin<'f>,
    /// From the tag's `%` on, to the end of the frame.
    pub text: &'f [u8],
    /// The family: ASA, FTD, PIX or FWSM.
    family: &'static str,
    /// The level, one digit from 0 to 7.
    pub level: &'f [u8],
    /// The message id, six digits.
    pub id: &'f [u8],
    /// What is behind the tag and its colon.
    body: &'f [u8],
}

/// Reads the frame as a line of a Cisco firewall; nothing if it has no tag.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Line<'_>> {
    let frame = super::unquote(frame);
    memchr_iter(b'%', frame).find_map(|at| read_at(frame, at))
}

fn read_at(frame: &[u8], at: usize) -> Option<Line<'_>> {
    let (before, text) = frame.split_at_checked(at)?;
    if !matches!(before.last(), None | Some(b' ' | b'\t' | b':' | b'>')) {
        return None;
    }
    let (family, rest) = ["ASA", "FTD", "PIX", "FWSM"]
        .into_iter()
        .find_map(|family| {
            let rest = text.get(1..)?.strip_prefix(family.as_bytes())?;
            Some((family, rest.strip_prefix(b"-")?))
        })?;
    let rest = skip_class(rest);
    let (level, rest) = rest.split_at_checked(1)?;
    let (id, rest) = rest.strip_prefix(b"-")?.split_at_checked(ID_DIGITS)?;
    let is_tag = matches!(level, [b'0'..=b'7'])
        && syslog::digits_len(id) == ID_DIGITS
        && matches!(rest.first(), None | Some(b':' | b' '));
    is_tag.then(|| Line {
        origin: syslog::read(before),
        text,
        family,
        level,
        id,
        body: rest.strip_prefix(b":").unwrap_or(rest).trim_ascii(),
    })
}

/// `session-6-302013` without its class.
fn skip_class(text: &[u8]) -> &[u8] {
    let letters = text
        .iter()
        .take(CLASS_BYTES_MAX)
        .take_while(|byte| byte.is_ascii_lowercase() || **byte == b'_')
        .count();
    match text.get(letters..) {
        Some([b'-', rest @ ..]) if letters > 0 => rest,
        _ => text,
    }
}

impl<'f> Line<'f> {
    /// The device's product, as Microsoft's parsers ask for it: security events of FTD (4300xx) as
    /// `FTD`, by which `ASimNetworkSessionCiscoFTD` finds them; all others, whose ids and texts are
    /// those of an ASA whatever sends them, as `ASA`, by which `ASimNetworkSessionCiscoASA` does.
    #[must_use]
    pub fn product(&self) -> &'static str {
        if self.family == "FTD" && self.is_security_event() {
            "FTD"
        } else {
            "ASA"
        }
    }

    /// A short name of what happened, or of the class of such messages.
    #[must_use]
    pub fn activity(&self) -> &'static str {
        match forms::of(self.id) {
            Some(message) => message.activity,
            None => forms::class_of(self.id),
        }
    }

    /// What the body says, by names of CEF keys or, where there is none, of our own.
    #[must_use]
    pub fn fields(&self) -> Fields<'f> {
        let mut fields = Fields::new();
        if self.is_security_event() {
            pairs::read(self.body, &mut fields);
            return fields;
        }
        let own = forms::of(self.id).map_or(&[][..], |message| message.forms);
        for form in own.iter().chain(forms::COMMON) {
            if follows(form, self.body, &mut fields) {
                fields.settle();
                return fields;
            }
            fields.clear();
        }
        fields
    }

    /// Whether it is one of those messages of FTD whose bodies are lists of pairs.
    fn is_security_event(&self) -> bool {
        self.id.starts_with(b"43000")
    }
}

/// The fields of one line: names, and values that stand in the line. No name twice, no value empty.
#[derive(Debug, Clone)]
pub struct Fields<'f> {
    items: [(&'static str, &'f [u8]); FIELDS_MAX],
    count: usize,
}

impl<'f> Fields<'f> {
    fn new() -> Self {
        Fields {
            items: [("", &[]); FIELDS_MAX],
            count: 0,
        }
    }

    /// In the order of the line.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'f [u8])> + use<'_, 'f> {
        self.items.iter().take(self.count).copied()
    }

    /// The value of a name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'f [u8]> {
        let (_, value) = self.iter().find(|(other, _)| *other == name)?;
        Some(value)
    }

    /// Adds a field, or changes it: of several the last one counts, as in CEF.
    fn put(&mut self, name: &'static str, value: &'f [u8]) {
        let value = value.trim_ascii();
        if value.is_empty() {
            return;
        }
        let mut taken = self.items.iter_mut().take(self.count);
        if let Some(item) = taken.find(|(other, _)| *other == name) {
            item.1 = value;
        } else if let Some(item) = self.items.get_mut(self.count) {
            *item = (name, value);
            self.count = self.count.saturating_add(1);
        }
    }

    fn clear(&mut self) {
        self.count = 0;
    }

    /// What only the whole line can tell: of ICMP the numbers behind addresses are no ports.
    fn settle(&mut self) {
        let is_icmp = |proto: &[u8]| {
            let head = proto.get(..4).unwrap_or(proto);
            head.eq_ignore_ascii_case(b"icmp") || matches!(proto, b"1" | b"58")
        };
        if !self.value("proto").is_some_and(is_icmp) {
            return;
        }
        let mut kept = Fields::new();
        for (name, value) in self.iter() {
            if !ends::PORTS.contains(&name) {
                kept.put(name, value);
            }
        }
        *self = kept;
    }
}

/// Whether a body follows a form. A form is the text of a message with names in braces for what
/// varies: each takes the shortest text before what follows it in the form. At the beginning the body
/// must be as the form says; what stands behind its end does not matter.
fn follows<'f>(form: &'static str, body: &'f [u8], fields: &mut Fields<'f>) -> bool {
    let (head, mut form) = form.split_once('{').unwrap_or((form, ""));
    let Some(mut rest) = body.strip_prefix(head.as_bytes()) else {
        return false;
    };
    while let Some((name, behind)) = form.split_once('}') {
        let (text, next) = behind.split_once('{').unwrap_or((behind, ""));
        let end = match text {
            "" => Some(rest.len()),
            text => memmem::find(rest, text.as_bytes()),
        };
        let Some((value, behind)) = end.and_then(|end| rest.split_at_checked(end)) else {
            return false;
        };
        take(name, value, fields);
        rest = behind.get(text.len()..).unwrap_or_default();
        form = next;
    }
    true
}

/// Takes the value that stands in the place of a name.
fn take<'f>(name: &'static str, value: &'f [u8], fields: &mut Fields<'f>) {
    match name {
        "source" => ends::read(value, &ends::SOURCE, fields),
        "destination" => ends::read(value, &ends::DESTINATION, fields),
        "mapped" => ends::read(value, &ends::MAPPED_SOURCE, fields),
        "mapped destination" => ends::read(value, &ends::MAPPED_DESTINATION, fields),
        "source/" => ends::read_slashed(value, &ends::SOURCE, fields),
        "destination/" => ends::read_slashed(value, &ends::DESTINATION, fields),
        "direction" => fields.put("deviceDirection", direction(value)),
        "destination:request" => {
            let (end, url) = ends::split_url(value);
            ends::read(end, &ends::DESTINATION, fields);
            fields.put("request", url);
        }
        "reason" => {
            let (reason, user) = ends::split_user(value);
            fields.put("reason", reason);
            if let Some(user) = user
                && fields.value("suser").is_none()
            {
                fields.put("suser", user);
            }
        }
        "acl" => {
            fields.put("cs2", unquoted(value));
            fields.put("cs2Label", b"ACL");
        }
        "suser" | "sproc" | "command" | "ipOptions" => fields.put(name, unquoted(value)),
        // a protocol that has no name is told as `protocol 41`
        "proto" => fields.put(name, value.strip_prefix(b"protocol ").unwrap_or(value)),
        "deviceInboundInterface" | "deviceOutboundInterface" => {
            fields.put(name, value.strip_suffix(b".").unwrap_or(value));
        }
        _ => fields.put(name, value),
    }
}

/// As Microsoft's parsers write it.
fn direction(word: &[u8]) -> &[u8] {
    match word {
        b"inbound" => b"Inbound",
        b"outbound" => b"Outbound",
        _ => b"",
    }
}

/// Without quotes.
fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    match value {
        [b'"' | b'\'', inner @ .., b'"' | b'\''] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests;
