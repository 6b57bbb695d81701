//! What is asked of a keeper, and what it says came of it.

use super::log::Place;
use super::quarantine::Reason;
use super::record::Body;
use super::segment::Rows;
use crate::config::DestinationId;
use crate::planted::{Bug, is_planted};
use std::time::Duration;

/// What the uploader calls a body that it has in memory.
pub type Key = u64;

/// What is asked of a keeper.
#[derive(Debug)]
pub enum Command {
    /// Make this body safe.
    Write(Key, Box<Body>),
    /// It need not be written any more. One that is written already is told as [`Event::Written`]
    /// all the same, and is to be settled then.
    Forget(Key),
    /// The record is done with.
    Settle(Place),
    /// The record's body is no longer in memory.
    Park(Place),
    /// Read the oldest that waits of those that are wanted. Answered with [`Event::Body`]
    /// or [`Event::Nothing`]; not before the logs of earlier runs were looked at, or while the disk
    /// cannot be read.
    Read(Wanted),
    /// Keep this one row that cannot be delivered.
    Quarantine(Box<Body>, Reason),
    /// Make everything safe, and sure: the program ends.
    Close,
}

/// Bodies of which destinations are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Of these only.
    Of(Vec<DestinationId>),
    /// Of all but these, be they known or not.
    But(Vec<DestinationId>),
}

impl Wanted {
    /// Any.
    pub const ALL: Wanted = Wanted::But(Vec::new());

    /// Whether one of this destination is wanted.
    #[must_use]
    pub fn has(&self, destination: DestinationId) -> bool {
        match self {
            _ if is_planted(Bug::ReadsAnything) => true,
            Wanted::Of(these) => these.contains(&destination),
            Wanted::But(these) => !these.contains(&destination),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Event {
    /// The body is safe.
    Written(Key, Place),
    /// A body to be delivered. It waited so long, by the wall clock, since it was sealed.
    Body(Place, Box<Body>, Duration),
    /// No body waits of those that were wanted.
    Nothing(Wanted),
    /// Bodies of an earlier run that wait.
    Recovered {
        /// How many.
        bodies: u64,
        /// Their rows.
        rows: Rows,
    },
    /// All that earlier runs have left was looked at. Told once.
    Scanned,
    /// Rows that cannot be read any more.
    Lost {
        /// How many, and where they were to go, as far as that can be told.
        rows: Rows,
        /// Why.
        why: Loss,
    },
    /// The row is kept in quarantine, or there was no room for it.
    Quarantined {
        /// How many rows.
        rows: u64,
        /// Why it was given up.
        reason: Reason,
        /// Whether it is kept.
        is_kept: bool,
    },
    /// Everything is safe that could be made so.
    Closed,
}

/// Why rows of a spool are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Their record was waiting, and is damaged.
    Damaged,
    /// Damage found by a look at a segment of an earlier run: they were not counted before.
    DamagedBefore,
    /// Being written when the machine stopped, and waiting now.
    Torn,
    /// Found by a look at a segment of an earlier run.
    TornBefore,
    /// Given up for younger ones, by the configuration.
    Dropped,
}

/// How the spool is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// It takes bodies.
    #[default]
    Well,
    /// No space is left: its own bound, or the file system's.
    Full(String),
    /// It cannot be written.
    Failing(String),
}
