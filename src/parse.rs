//! One frame to a CEF record that borrows from it; nothing is copied, nothing allocated.
//!
//! ```text
//! <134>Nov 25 01:59:07 gw01 CEF:0|Acme|Gate|1.0|100|conn|5|9|src=10.0.0.1 msg=a b
//! '------- origin --------' '-------- header -----------' ^^ '---- extension ---'
//!                          ^ anchor                       stray text
//! ```
//!
//! CEF is looked for first and what stands before it is read leniently afterwards: a bad syslog
//! header costs the syslog header, never the message. Rules and their sources are in [`cef`] (the
//! "Implementing CEF" guide, and how senders really write it), [`syslog`] (RFC 3164, RFC 5424) and
//! [`time`]. Frames that are not CEF may be lines of a Cisco firewall: [`asa`].

pub mod asa;
pub mod cef;
pub mod escape;
mod masks;
pub mod pairs;
pub mod syslog;
pub mod time;

pub use cef::{Header, Pair, Unparsed};
pub use escape::Escapes;
pub use syslog::Origin;

/// A CEF message, as found in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'f> {
    /// Who sent it and when, by the syslog header.
    pub origin: Origin<'f>,
    /// The seven header fields.
    pub header: Header<'f>,
    /// Text between the seventh pipe and the first key; empty in a sound message.
    pub stray: &'f [u8],
    /// The extension from its first key on; [`cef::pairs`] reads it.
    pub extension: &'f [u8],
    /// What was amiss with the header.
    pub flaw: Option<Flaw>,
}

impl Record<'_> {
    /// A number that is the same for messages of one product, spread over all of its bits. Not against
    /// an adversary, who would gain nothing.
    #[must_use]
    pub fn family(&self) -> u64 {
        fold(fold(0, self.header.vendor), self.header.product)
    }

    /// A number that is the same for messages whose headers are the same but for the version and the
    /// severity, by that of the product.
    #[must_use]
    pub fn shape(&self, family: u64) -> u64 {
        fold(fold(family, self.header.class_id), self.header.name)
    }
}

/// A hash of a text on top of that of what was before. Quick and well spread over the high bits.
#[must_use]
pub fn fold(hash: u64, text: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let (words, rest) = text.as_chunks::<8>();
    let rest = rest.iter().fold(text.len() as u64, |word, byte| {
        (word << 8) | u64::from(*byte)
    });
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let hash = words
        .iter()
        .fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    mix(hash, rest).wrapping_mul(FACTOR)
}

/// What was amiss with a header that could be read all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The message ends within the severity: the seventh pipe is missing.
    LastPipeMissing,
    /// Where the severity belongs the extension begins.
    SeverityMissing,
}

/// Reads the frame as CEF.
///
/// # Errors
/// Why it is none, with the syslog header all the same.
pub fn parse(frame: &[u8]) -> Result<Record<'_>, (Unparsed, Origin<'_>)> {
    parse_by(frame, syslog::read)
}

/// The same, with what is known of syslog headers.
///
/// # Errors
/// Why it is none, with the syslog header all the same.
pub fn parse_with<'f>(
    frame: &'f [u8],
    memo: &mut syslog::Memo,
) -> Result<Record<'f>, (Unparsed, Origin<'f>)> {
    parse_by(frame, |text| memo.read(text))
}

fn parse_by<'f>(
    frame: &'f [u8],
    read: impl FnOnce(&'f [u8]) -> Origin<'f>,
) -> Result<Record<'f>, (Unparsed, Origin<'f>)> {
    let frame = unquote(frame);
    let Some(anchor) = cef::anchor(frame) else {
        return Err((Unparsed::NoCef, syslog::read_unparsed(frame)));
    };
    let origin = read(frame.get(..anchor.start).unwrap_or_default());
    let Some((header, rest, flaw)) = cef::header(frame, anchor) else {
        return Err((Unparsed::HeaderIncomplete, origin));
    };
    let (stray, extension) = cef::split_stray(rest);
    Ok(Record {
        origin,
        header,
        stray,
        extension,
        flaw,
    })
}

/// Where a part stands in the whole; nothing if it is no part of it.
pub(crate) fn place_in(whole: &[u8], part: &[u8]) -> Option<(u32, u32)> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    let is_inside = end <= whole.len();
    is_inside.then_some((u32::try_from(start).ok()?, u32::try_from(end).ok()?))
}

/// Without the double quotes that some relays put around the whole line.
fn unquote(frame: &[u8]) -> &[u8] {
    match frame {
        [b'"', inner @ .., b'"'] => inner,
        _ => frame,
    }
}
