//! What is left to the spool, and what it tells the desk.

use super::{Desk, Held, Safety};
use crate::clock::{Moment, Mono};
use crate::limits::SPOOL_EMPTY_PAUSE;
use crate::metrics::{Counter, Stopwatch};
use crate::planted::{Bug, is_planted};
use crate::spool::keeper::{Key, Loss};
use crate::spool::{Body, Command, Event, Place};
use crate::upload::age;
use crate::upload::common::{lost_counter, quarantined_counter};
use std::time::Duration;

impl Desk {
    fn is_waiting_full(&self) -> bool {
        self.waiting_bytes(false) >= self.terms.waiting_bytes_max
    }

    /// Bytes of the bodies that wait; or of those among them that are not safe.
    pub(super) fn waiting_bytes(&self, is_unsafe: bool) -> usize {
        self.waiting
            .iter()
            .filter(|held| !(is_unsafe && matches!(held.safety, Safety::At(_))))
            .map(|held| held.payload.body.len())
            .sum()
    }

    /// Leaves what waits and is safe to the disk, until the rest is within its bound.
    pub(super) fn park_surplus(&mut self) {
        while self.is_waiting_full() && self.park_one() {}
    }

    /// Leaves the oldest waiting body that is safe to the disk. False if there is none.
    fn park_one(&mut self) -> bool {
        let is_safe = |held: &Held| {
            matches!(held.safety, Safety::At(_)) || is_planted(Bug::ParkedBeforeWritten)
        };
        let Some(held) = self
            .waiting
            .iter()
            .position(is_safe)
            .and_then(|index| self.waiting.remove(index))
        else {
            return false;
        };
        let rows_count = held.payload.rows_count();
        self.parked(rows_count);
        if let Safety::At(place) = held.safety {
            self.commands.push_back(Command::Park(place));
        }
        self.keep_buffer(held.payload.into_buffer());
        true
    }

    pub(super) fn parked(&mut self, rows_count: u64) {
        self.common.tally.add(Counter::RowsParked, rows_count);
        self.rows_parked += rows_count;
        self.has_parked_since = true;
    }

    pub(super) fn told(&mut self, event: Event, now: Moment) {
        match event {
            Event::Written(key, place) => self.written(key, place),
            Event::Body(place, body, waited) => self.fetched(place, *body, waited, now),
            Event::Nothing => self.nothing(now.mono),
            Event::Recovered { rows, .. } => {
                self.common.tally.add(Counter::RowsRecovered, rows);
                self.rows_parked += rows;
                self.has_parked_since = true;
            }
            Event::Scanned => self.common.tally.add(Counter::SpoolsScanned, 1),
            Event::Lost { rows, why } => self.lost(rows, why),
            Event::Quarantined {
                rows,
                reason,
                is_kept,
            } => {
                self.rows_given_up = self.rows_given_up.saturating_sub(rows);
                if is_planted(Bug::GivenUpUncounted) {
                    return;
                }
                let counter = match is_kept {
                    true => quarantined_counter(reason),
                    false => lost_counter(reason),
                };
                self.common.tally.add(counter, rows);
            }
            Event::Closed => self.closed(),
        }
    }

    fn written(&mut self, key: Key, place: Place) {
        let safety = Safety::At(place);
        let rows_count = if let Some(taken) = self.taken.get_mut(&key) {
            taken.safety = safety;
            taken.delivery.rows_left()
        } else if let Some(held) = self.waiting.iter_mut().find(|held| held.key == key) {
            held.safety = safety;
            held.payload.rows_count()
        } else if let Some(rows_count) =
            self.end.as_mut().and_then(|end| end.unwritten.remove(&key))
        {
            self.parked(rows_count);
            rows_count
        } else {
            // it was settled while it was being written
            self.commands.push_back(Command::Settle(place));
            return;
        };
        self.common.tally.add(Counter::RowsSpooled, rows_count);
        self.common.tally.add(Counter::BodiesSpooled, 1);
    }

    fn fetched(&mut self, place: Place, body: Body, waited: Duration, now: Moment) {
        self.reads = self.reads.saturating_sub(1);
        if self.end.is_some() {
            // it stays where it is, and is counted there
            return;
        }
        let body = age::note_receipt(body, now.wall, self.common.gzip_level);
        let payload = body.payload;
        let rows_count = payload.rows_count();
        self.common.tally.add(Counter::RowsUnparked, rows_count);
        self.rows_parked = self.rows_parked.saturating_sub(rows_count);
        let latency = &self.common.latency;
        latency.record(Stopwatch::Spool, waited, rows_count);
        self.last_key += 1;
        self.fetched.push_back(Held {
            key: self.last_key,
            payload,
            safety: Safety::At(place),
            is_old: true,
        });
    }

    /// The spool has nothing that waits, whatever we think.
    fn nothing(&mut self, now: Mono) {
        self.reads = self.reads.saturating_sub(1);
        self.read_at = now.plus(SPOOL_EMPTY_PAUSE);
        if self.reads == 0 && !self.has_parked_since && self.end.is_none() {
            // records of which nothing is legible: not even how many rows they had
            let rows = std::mem::take(&mut self.rows_parked);
            self.common.tally.add(Counter::RowsLostDamaged, rows);
        }
    }

    fn lost(&mut self, rows: u64, why: Loss) {
        let (counter, was_counted) = match why {
            Loss::Damaged => (Counter::RowsLostDamaged, true),
            Loss::DamagedBefore => (Counter::RowsLostDamaged, false),
            Loss::Torn => (Counter::RowsLostTorn, true),
            Loss::TornBefore => (Counter::RowsLostTorn, false),
            Loss::Dropped => (Counter::RowsLostDropped, true),
        };
        if was_counted {
            self.rows_parked = self.rows_parked.saturating_sub(rows);
        } else {
            self.common.tally.add(Counter::RowsRecovered, rows);
        }
        self.common.tally.add(counter, rows);
    }
}
