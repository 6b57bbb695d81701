//! What waits for one destination.
//!
//! Each destination has places of its own, a line for new bodies and one for those read back, and
//! reads of its own: the keeper passes over the records of others. So one that takes nothing fills its
//! places and two bodies that were read ahead, and then stands still; what is new for it is left to the
//! disk once it is safe there. The others never meet it: not in a line, not in the log, not in the
//! places. They share the memory for bodies that wait, in which those leave first that are most, and the
//! disk: a spool that is full takes nothing from anybody.
//!
//! Without a spool nothing can be left anywhere: a destination with its places full lets no further
//! body be sealed, its page stands before the pages of others, and the senders wait, since what they
//! send on one connection is for all destinations. The configuration warns of that.

use super::{Desk, Held};
use crate::clock::Mono;
use crate::limits::BODIES_READ_AHEAD_MAX;
use crate::planted::{Bug, is_planted};
use crate::spool::{Command, Wanted};
use std::collections::VecDeque;

/// The bodies of one destination that are not being delivered.
#[derive(Debug)]
pub(super) struct Lane {
    /// New bodies without a place, oldest first.
    pub(super) waiting: VecDeque<Held>,
    /// Read back and without a place, oldest first.
    pub(super) fetched: VecDeque<Held>,
    /// Reads that were asked for and not answered.
    pub(super) reads: usize,
    /// Something was parked since the last read was asked for.
    pub(super) has_parked_since: bool,
    /// The spool had nothing to read although it should have: not asked again before then.
    pub(super) read_at: Mono,
    /// Bytes that the new bodies have had more than their share, in hundredths.
    debt: i128,
}

impl Default for Lane {
    fn default() -> Self {
        Lane {
            waiting: VecDeque::new(),
            fetched: VecDeque::new(),
            reads: 0,
            // of what was before nothing is known
            has_parked_since: true,
            read_at: Mono(0),
            debt: 0,
        }
    }
}

impl Lane {
    /// True if there is a line for one more body that is read back.
    pub(super) fn may_read(&self) -> bool {
        self.reads + self.fetched.len() < BODIES_READ_AHEAD_MAX
            && (self.waiting.is_empty() || !is_planted(Bug::FreshOnly))
    }

    /// The next body to deliver, by the shares of new and old ones: `drain_share` percent of the
    /// bytes go to the old ones.
    pub(super) fn next_held(&mut self, drain_share: u32) -> Option<Held> {
        let (new, old) = (self.waiting.front(), self.fetched.front());
        let is_old = match (new, old) {
            (None, None) => return None,
            (Some(_), None) | (None, Some(_)) => {
                self.debt = 0;
                new.is_none()
            }
            (Some(_), Some(_)) if is_planted(Bug::BacklogFirst) => true,
            (Some(_), Some(_)) => self.debt > 0,
        };
        let share = i128::from(drain_share);
        let (held, part) = match is_old {
            true => (self.fetched.pop_front()?, share - 100),
            false => (self.waiting.pop_front()?, share),
        };
        self.debt += part * held.payload.body.len() as i128;
        Some(held)
    }

    /// All bodies in it, without order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Held> {
        self.waiting.drain(..).chain(self.fetched.drain(..))
    }
}

impl Desk {
    /// The lanes that want one more body from disk, with their places.
    pub(super) fn lanes_to_read(&self) -> impl Iterator<Item = (usize, &Lane)> {
        // what waits on disk when the program stops is for the next run
        let is_stopping = self.common.is_stopping;
        let lanes = self.lanes.iter().enumerate();
        lanes.filter(move |(index, lane)| {
            !is_stopping && lane.may_read() && self.rows_parked_for(*index) > 0
        })
    }

    /// Rows on disk that would go to the destination at this place.
    fn rows_parked_for(&self, index: usize) -> u64 {
        let destinations = &self.common.destinations;
        let parked = self.rows_parked.iter();
        let parked = parked.filter(|(id, _)| destinations.to(**id).index.index() == index);
        parked.map(|(_, rows)| rows).sum()
    }

    pub(super) fn read_ahead(&mut self, now: Mono) -> Option<Command> {
        let mut lanes = self.lanes_to_read();
        let (index, _) = lanes.find(|(_, lane)| now >= lane.read_at)?;
        drop(lanes);
        let lane = self.lanes.get_mut(index)?;
        lane.reads += 1;
        lane.has_parked_since = false;
        self.reads += 1;
        let mut all = self.common.destinations.all().map(|one| one.id);
        Some(Command::Read(match index {
            // what nobody else takes
            0 => Wanted::But(all.skip(1).collect()),
            _ => Wanted::Of(all.nth(index).into_iter().collect()),
        }))
    }
}
