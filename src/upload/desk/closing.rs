//! The end of an uploader: nothing is sent any more, and what is left is to be safe.

use super::lane::Lane;
use super::spooling::rows_of;
use super::{Desk, Safety};
use crate::metrics::Counter;
use crate::planted::{Bug, is_planted};
use crate::spool::keeper::Key;
use crate::spool::{Command, Rows};
use std::collections::BTreeMap;

/// What is left when no more is sent.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Bodies that are still being written, with their rows.
    pub(super) unwritten: BTreeMap<Key, Rows>,
    is_asked: bool,
    is_done: bool,
}

impl Desk {
    /// Nothing is sent any more: what is safe stays on disk, the rest is to be written. Answers
    /// that are under way are of no interest.
    pub fn close(&mut self) {
        if self.end.is_some() {
            return;
        }
        let mut end = Closing::default();
        let mut rows_lost = 0;
        let held = self.lanes.iter_mut().flat_map(Lane::take_all);
        let held = held.map(|held| (held.key, held.safety, rows_of(&held.payload)));
        let taken = std::mem::take(&mut self.taken);
        let taken = taken.into_iter().map(|(key, taken)| {
            let rows = Rows {
                count: taken.delivery.rows_left(),
                destination: taken.delivery.id(),
            };
            (key, taken.safety, rows)
        });
        for (key, safety, rows) in held.chain(taken).collect::<Vec<_>>() {
            match safety {
                Safety::At(_) => self.parked(rows),
                Safety::Writing if !is_planted(Bug::StopForgets) => {
                    end.unwritten.insert(key, rows);
                }
                _ => rows_lost += rows.count,
            }
        }
        self.common.tally.add(Counter::RowsLostUnsent, rows_lost);
        end.is_done = !self.terms.has_spool;
        self.end = Some(end);
    }

    /// No more body comes: the spool is to make everything sure. Call it once, after
    /// [`Desk::close`].
    pub fn close_spool(&mut self) {
        if let Some(end) = &mut self.end
            && !end.is_asked
            && self.terms.has_spool
        {
            end.is_asked = true;
            self.commands.push_back(Command::Close);
        }
    }

    pub(super) fn closed(&mut self) {
        let Some(end) = &mut self.end else { return };
        end.is_done = true;
        let unwritten = std::mem::take(&mut end.unwritten);
        let rows_count: u64 = unwritten.values().map(|rows| rows.count).sum();
        let rows_count = rows_count + std::mem::take(&mut self.rows_given_up);
        self.common.tally.add(Counter::RowsLostUnsent, rows_count);
    }

    /// True once nothing is left to do after [`Desk::close_spool`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.is_done)
    }

    /// Gives up waiting for the spool.
    pub fn abandon(&mut self) {
        self.closed();
    }
}
