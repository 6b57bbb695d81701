//! Known mistakes of programs of this kind, to be made on purpose: the simulator must find each.
//!
//! Without the feature `planted` there is none: [`is_planted`] is false when the program is
//! compiled, and nothing of this is in it.

use crate::clock::Moment;

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
    /// What the wall clock was ahead of the monotonic one at the first look.
    static AHEAD: std::cell::Cell<Option<i64>> = const { std::cell::Cell::new(None) };
}

/// A mistake. Each line names who has made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// Bodies count as safe before they are on stable storage (Vector, NATS).
    NoSync,
    /// The folder of a new file is not synced (Vector).
    NoFolderSync,
    /// A segment is used again before it is on stable storage that its records are settled (Vector).
    RecycleBeforeSettledSync,
    /// Bodies are not checked when they are read (AxoSyslog).
    NoBodyChecksum,
    /// What waits on disk is read youngest first, so that the oldest may never be.
    YoungestFirst,
    /// A body that is too large is dropped (many).
    TooLargeIsDropped,
    /// A service in trouble is asked again at once (many).
    NoBackoff,
    /// A body is done with on disk as soon as it is sent, not when it is accepted (Fluent Bit).
    SettledWhenSent,
    /// A body counts as accepted although nobody answered.
    SilenceIsSuccess,
    /// A body leaves memory before it is safe.
    ParkedBeforeWritten,
    /// What waits on disk is never read while new rows come (starvation).
    FreshOnly,
    /// New rows wait behind all of what waits on disk.
    BacklogFirst,
    /// What was in memory at a stop is thrown away (many).
    StopForgets,
    /// A body that was read from disk is settled in the wrong log.
    SettlesNothing,
    /// A row that was given up is not counted.
    GivenUpUncounted,
    /// A body that was accepted keeps its place.
    BodiesHeldForever,
    /// A sync that failed is asked for again, and believed when it says yes (PostgreSQL's fsyncgate).
    SyncRetried,
    /// A body is taken for settled when it is handed out to be sent (Fluent Bit).
    SettledBeforeDelivery,
    /// What an earlier use of a segment has left there is taken for its own (no segment number).
    StaleAccepted,
    /// The first block that is no record ends a segment (Vector).
    NoResync,
    /// Rows whose records are gone are not counted (all of the field).
    GapsNotCounted,
    /// What was being written when the power went is taken for safe, and for damaged (rsyslog).
    TornBelieved,
    /// A segment with a damaged head is not read (Fluent Bit).
    HeadDamageStops,
    /// What is settled is always written to the same block, so that a torn one leaves none.
    SettledInOneSlot,
    /// The unread rest of a segment is used again while a body in it is on its way.
    RecycledWhileOpen,
    /// A body that holds one bad row is dropped whole (many).
    RefusedBodyDropped,
    /// A bad row is tried for ever, and keeps its body on disk (Fluent Bit).
    PoisonForever,
    /// `Retry-After` is not heeded.
    RetryAfterIgnored,
    /// `Retry-After` is heeded whatever it says: one odd answer, and nothing is sent for years.
    RetryAfterUncapped,
    /// After 401 a new token is asked for and tried at once, over and over.
    UnauthorizedLoops,
    /// The piece of a frame that a connection leaves behind is taken for a whole one.
    PartialIsWhole,
    /// An octet count is taken to be one less than it is.
    OctetCountOffByOne,
    /// After an error of the framing it is guessed again, and what follows believed.
    FramerGuessesAgain,
    /// Waits are counted on the wall clock, which jumps.
    WallClockTimers,
    /// A body is sent only when it is full.
    LingerIgnored,
    /// A rule that was forbidden once is never tried again.
    HeldForEver,
    /// Bodies are sealed whether there is room for them or not.
    NoBackpressure,
    /// All rows go to one destination.
    OneDestination,
    /// All destinations share the places, so that one that takes nothing comes to hold them all.
    PlacesShared,
    /// What waits on disk is read in its order, whatever destination can take it.
    ReadsAnything,
    /// What is being delivered when the configuration changes goes on to where it was to go.
    DestinationKept,
    /// The body of a destination that few rows come for is open for as long as rows for others come.
    OthersLingerIgnored,
}

impl Bug {
    /// All of them.
    pub const ALL: &'static [Bug] = &[
        Bug::NoSync,
        Bug::NoFolderSync,
        Bug::RecycleBeforeSettledSync,
        Bug::NoBodyChecksum,
        Bug::YoungestFirst,
        Bug::TooLargeIsDropped,
        Bug::NoBackoff,
        Bug::SettledWhenSent,
        Bug::SilenceIsSuccess,
        Bug::ParkedBeforeWritten,
        Bug::FreshOnly,
        Bug::BacklogFirst,
        Bug::StopForgets,
        Bug::SettlesNothing,
        Bug::GivenUpUncounted,
        Bug::BodiesHeldForever,
        Bug::SyncRetried,
        Bug::SettledBeforeDelivery,
        Bug::StaleAccepted,
        Bug::NoResync,
        Bug::GapsNotCounted,
        Bug::TornBelieved,
        Bug::HeadDamageStops,
        Bug::SettledInOneSlot,
        Bug::RecycledWhileOpen,
        Bug::RefusedBodyDropped,
        Bug::PoisonForever,
        Bug::RetryAfterIgnored,
        Bug::RetryAfterUncapped,
        Bug::UnauthorizedLoops,
        Bug::PartialIsWhole,
        Bug::OctetCountOffByOne,
        Bug::FramerGuessesAgain,
        Bug::WallClockTimers,
        Bug::LingerIgnored,
        Bug::HeldForEver,
        Bug::NoBackpressure,
        Bug::OneDestination,
        Bug::PlacesShared,
        Bug::ReadsAnything,
        Bug::DestinationKept,
        Bug::OthersLingerIgnored,
    ];
}

/// Whether this thread makes that mistake.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn is_planted(_: Bug) -> bool {
    false
}

/// Whether this thread makes that mistake.
#[cfg(feature = "planted")]
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.with(|planted| planted.get() == Some(bug))
}

/// Lets this thread make that mistake from now on, and no other.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.with(|planted| planted.set(bug));
}

/// The moment, as those see it who make [`Bug::WallClockTimers`].
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn seen(now: Moment) -> Moment {
    now
}

/// The moment, as those see it who make [`Bug::WallClockTimers`].
#[cfg(feature = "planted")]
#[must_use]
pub fn seen(now: Moment) -> Moment {
    if !is_planted(Bug::WallClockTimers) {
        return now;
    }
    let mono = i64::try_from(now.mono.0).unwrap_or(i64::MAX);
    let ahead = AHEAD.with(|ahead| {
        let first = ahead.get().unwrap_or(now.wall.0.saturating_sub(mono));
        ahead.set(Some(first));
        first
    });
    let mono = u64::try_from(now.wall.0.saturating_sub(ahead)).unwrap_or(0);
    Moment {
        mono: crate::clock::Mono(mono),
        ..now
    }
}

/// Another process begins: what was seen of the clocks is forgotten.
#[cfg(feature = "planted")]
pub fn forget() {
    AHEAD.with(|ahead| ahead.set(None));
}
