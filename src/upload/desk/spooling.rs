//! What is left to the spool, and what it tells the desk.

use super::lane::Lane;
use super::{Desk, Held, Safety};
use crate::clock::{Moment, Mono};
use crate::compress::Payload;
use crate::config::DestinationId;
use crate::limits::SPOOL_EMPTY_PAUSE;
use crate::metrics::{Counter, Stopwatch};
use crate::planted::{Bug, is_planted};
use crate::spool::keeper::{Key, Loss};
use crate::spool::{Body, Command, Event, Place, Rows, Wanted};
use crate::upload::age;
use crate::upload::common::{lost_counter, quarantined_counter};
use std::time::Duration;

impl Desk {
    fn is_waiting_full(&self) -> bool {
        self.waiting_bytes(false) >= self.terms.waiting_bytes_max
    }

    /// Bytes of the bodies that wait; or of those among them that are not safe.
    pub(super) fn waiting_bytes(&self, is_unsafe: bool) -> usize {
        self.lanes
            .iter()
            .flat_map(|lane| &lane.waiting)
            .filter(|held| !(is_unsafe && matches!(held.safety, Safety::At(_))))
            .map(|held| held.payload.body.len())
            .sum()
    }

    /// Leaves what waits and is safe to the disk, until the rest is within its bound.
    pub(super) fn park_surplus(&mut self) {
        while self.is_waiting_full() && self.park_one() {}
    }

    /// Leaves a waiting body that is safe to the disk: the oldest of the destination of which most
    /// such bytes wait. False if there is none.
    fn park_one(&mut self) -> bool {
        let is_safe = |held: &Held| {
            matches!(held.safety, Safety::At(_)) || is_planted(Bug::ParkedBeforeWritten)
        };
        let safe_bytes = |lane: &&mut Lane| -> usize {
            let safe = lane.waiting.iter().filter(|held| is_safe(held));
            safe.map(|held| held.payload.body.len()).sum()
        };
        let lane = self.lanes.iter_mut().max_by_key(safe_bytes);
        let held = lane.and_then(|lane| {
            let index = lane.waiting.iter().position(is_safe)?;
            lane.waiting.remove(index)
        });
        let Some(held) = held else {
            return false;
        };
        self.parked(rows_of(&held.payload));
        if let Safety::At(place) = held.safety {
            self.commands.push_back(Command::Park(place));
        }
        self.keep_buffer(held.payload.into_buffer());
        true
    }

    pub(super) fn parked(&mut self, rows: Rows) {
        self.common.tally.add(Counter::RowsParked, rows.count);
        self.waits_on_disk(rows);
    }

    fn waits_on_disk(&mut self, rows: Rows) {
        *self.rows_parked.entry(rows.destination).or_default() += rows.count;
        self.lane_of(rows.destination).has_parked_since = true;
    }

    fn left_the_disk(&mut self, rows: Rows) {
        if let Some(parked) = self.rows_parked.get_mut(&rows.destination) {
            *parked = parked.saturating_sub(rows.count);
        }
        // names that are gone from the configuration are not kept for ever
        self.rows_parked.retain(|_, rows| *rows > 0);
    }

    pub(super) fn told(&mut self, event: Event, now: Moment) {
        match event {
            Event::Written(key, place) => self.written(key, place),
            Event::Body(place, body, waited) => self.fetched(place, *body, waited, now),
            Event::Nothing(wanted) => self.nothing(&wanted, now.mono),
            Event::Recovered { rows, .. } => {
                self.common.tally.add(Counter::RowsRecovered, rows.count);
                self.waits_on_disk(rows);
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
        } else if let Some(held) = self
            .lanes
            .iter_mut()
            .flat_map(|lane| &mut lane.waiting)
            .find(|held| held.key == key)
        {
            held.safety = safety;
            held.payload.rows_count()
        } else if let Some(rows) = self.end.as_mut().and_then(|end| end.unwritten.remove(&key)) {
            self.parked(rows);
            rows.count
        } else {
            // it was settled while it was being written
            self.commands.push_back(Command::Settle(place));
            return;
        };
        self.common.tally.add(Counter::RowsSpooled, rows_count);
        self.common.tally.add(Counter::BodiesSpooled, 1);
    }

    fn fetched(&mut self, place: Place, body: Body, waited: Duration, now: Moment) {
        self.answered(body.payload.destination);
        if self.end.is_some() {
            // it stays where it is, and is counted there
            return;
        }
        let body = age::note_receipt(body, now.wall, self.common.gzip_level);
        let payload = body.payload;
        let rows_count = payload.rows_count();
        self.common.tally.add(Counter::RowsUnparked, rows_count);
        self.left_the_disk(rows_of(&payload));
        let latency = &self.common.latency;
        latency.record(Stopwatch::Spool, waited, rows_count);
        self.last_key += 1;
        let key = self.last_key;
        self.lane_of(payload.destination).fetched.push_back(Held {
            key,
            payload,
            safety: Safety::At(place),
            is_old: true,
        });
    }

    /// A read for this destination has its answer.
    fn answered(&mut self, id: DestinationId) {
        self.reads = self.reads.saturating_sub(1);
        let lane = self.lane_of(id);
        // after a reload it may have been another lane's
        lane.reads = lane.reads.saturating_sub(1);
    }

    /// The spool has nothing that waits of what was wanted, whatever we think.
    fn nothing(&mut self, wanted: &Wanted, now: Mono) {
        let id = match wanted {
            Wanted::Of(these) => these.first().copied().unwrap_or_default(),
            Wanted::But(_) => DestinationId::SENTINEL,
        };
        self.answered(id);
        let is_all_known = self.reads == 0 && self.end.is_none();
        let lane = self.lane_of(id);
        lane.read_at = now.plus(SPOOL_EMPTY_PAUSE);
        if is_all_known && !lane.has_parked_since {
            // records of which nothing is legible: not even how many rows they had
            let parked = self.rows_parked.iter_mut();
            for (_, rows) in parked.filter(|(id, _)| wanted.has(**id)) {
                let rows = std::mem::take(rows);
                self.common.tally.add(Counter::RowsLostDamaged, rows);
            }
        }
    }

    fn lost(&mut self, rows: Rows, why: Loss) {
        let (counter, was_counted) = match why {
            Loss::Damaged => (Counter::RowsLostDamaged, true),
            Loss::DamagedBefore => (Counter::RowsLostDamaged, false),
            Loss::Torn => (Counter::RowsLostTorn, true),
            Loss::TornBefore => (Counter::RowsLostTorn, false),
            Loss::Dropped => (Counter::RowsLostDropped, true),
        };
        if was_counted {
            self.left_the_disk(rows);
        } else {
            self.common.tally.add(Counter::RowsRecovered, rows.count);
        }
        self.common.tally.add(counter, rows.count);
    }
}

/// The rows of a body.
pub(super) fn rows_of(payload: &Payload) -> Rows {
    Rows {
        count: payload.rows_count(),
        destination: payload.destination,
    }
}
