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
    let frame = unquote(frame);
    let Some(anchor) = cef::anchor(frame) else {
        return Err((Unparsed::NoCef, syslog::read_unparsed(frame)));
    };
    let origin = syslog::read(frame.get(..anchor.start).unwrap_or_default());
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

/// Without the double quotes that some relays put around the whole line.
fn unquote(frame: &[u8]) -> &[u8] {
    match frame {
        [b'"', inner @ .., b'"'] => inner,
        _ => frame,
    }
}
