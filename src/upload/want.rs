//! What a delivery asks of whoever drives it.

use super::request::Request;
use crate::clock::Mono;
use crate::compress::Payload;
use crate::spool::quarantine::Reason;

/// What a delivery wants next.
#[derive(Debug)]
pub(super) enum Want {
    /// A token.
    Permit,
    /// This request made.
    Request(Request),
    /// Nothing before then, unless rules change or an outage ends.
    Time(Mono),
    /// Nothing: an answer is awaited.
    Answer,
    /// Nothing any more: all rows are settled.
    Nothing,
}

/// A row that is given up, to be kept.
#[derive(Debug)]
pub(super) struct GivenUp {
    pub(super) payload: Payload,
    pub(super) reason: Reason,
}
