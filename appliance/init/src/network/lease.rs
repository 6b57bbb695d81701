//! What DHCPv4 and DHCPv6 have in common: how a lease comes and goes.

use std::time::Duration;

/// A lease shorter than this is a mistake, and would keep us asking.
pub(crate) const LASTS_LEAST: Duration = Duration::from_secs(10);
/// Why one goes at its end.
pub(crate) const NOT_RENEWED: &str = "its time is over and no server renewed it";
/// Why one goes before its end.
pub(crate) const WANTED_BACK: &str = "the server wants it back";

/// What becomes of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change<Lease> {
    /// It is new or renewed; counted from this time since the boot.
    Leased(Box<Lease>, Duration),
    /// The address is ours no more.
    Lost(&'static str),
}
