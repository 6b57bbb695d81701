//! One uploader: pages into bodies, and bodies into the desk's hands.
//!
//! Each destination has an open body of its own. Only that of the page being emptied grows; the others
//! wait for further pages, no longer than `batch.linger`.
//!
//! Pure: pages come from the ring, time and answers are arguments, and what is wanted of the outside
//! is taken with [`Uploader::action`]. The shell around it is [`super::run`]; the simulator is
//! another.

use super::common::Common;
use super::desk::{Action, Desk, Input, Terms};
use super::pains::Pains;
use super::{Destinations, State};
use crate::batch::{Batch, Filled, Pages};
use crate::clock::{Moment, Mono, Wall};
use crate::compress::Payload;
use crate::config::{self, Config, DestinationId, GzipLevel};
use crate::deflate::Effort;
use crate::limits::{
    BODIES_OPEN_MAX, BODIES_WAITING_BYTES_MAX, BODIES_WAITING_MAX, SPOOL_CLOSE_TIME,
    STOP_COUNT_TIME,
};
use crate::metrics::{Counter, Counters, Latency, Stopwatch, Tally};
use crate::planted::{Bug, is_planted, seen};
use crate::ring::Ring;
use std::sync::Arc;

/// Whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// It does.
    Run,
    /// Nothing is sent any more. Pages are still made into bodies for the spool, or counted as
    /// lost, until then or until the shards have closed.
    Save { until: Mono },
    /// All pages are through, and the spool is asked to make sure; no longer than then.
    Close { until: Mono },
    /// Nothing is left to do.
    Ended,
}

/// One uploader.
#[derive(Debug)]
pub struct Uploader {
    ring: Arc<Ring>,
    /// The open bodies, by what their rows are for: those of the configuration, and those that were
    /// begun for a name that is gone from it.
    batches: Vec<Batch>,
    limits: config::Batch,
    /// The page being emptied.
    pages: Option<Pages>,
    pains: Pains,
    desk: Desk,
    course: Course,
}

fn terms(config: &Config) -> Terms {
    let few = BODIES_WAITING_MAX.saturating_mul(config.batch.wire_bytes_max);
    Terms {
        waiting_bytes_max: few.min(BODIES_WAITING_BYTES_MAX),
        places: config.sentinel.requests_in_flight,
        has_spool: config.spool.durability != config::Durability::Memory,
        drain_share: config.spool.drain_share,
    }
}

impl Uploader {
    /// An uploader of the rows in `ring`, with nothing in hand. `seed` is for its pauses.
    #[must_use]
    pub fn new(
        config: &Config,
        ring: Arc<Ring>,
        destinations: Arc<Destinations>,
        state: Arc<State>,
        latency: Arc<Latency>,
        seed: u64,
    ) -> Self {
        let terms = terms(config);
        let common = Common {
            destinations,
            state,
            latency,
            random: fastrand::Rng::with_seed(seed),
            tally: Tally::default(),
            wire_bytes_max: config.batch.wire_bytes_max,
            gzip_level: config.batch.gzip_level,
            has_quarantine: terms.has_spool,
            is_stopping: false,
        };
        Uploader {
            ring,
            batches: Vec::new(),
            limits: config.batch.clone(),
            pages: None,
            pains: Pains::default(),
            desk: Desk::new(terms, common),
            course: Course::Run,
        }
    }

    /// Publishes what was counted since the last time.
    pub fn publish(&mut self, counters: &Counters) {
        self.desk.common.tally.publish(counters);
    }

    /// Goes by another configuration: by its destinations at once, by its limits from the next body
    /// on.
    pub fn reload(&mut self, config: &Config, destinations: Arc<Destinations>) {
        self.desk.reload(terms(config), |common| {
            common.wire_bytes_max = config.batch.wire_bytes_max;
            common.gzip_level = config.batch.gzip_level;
            common.destinations = destinations;
            common.state.forget_redirected();
        });
        self.limits = config.batch.clone();
        for batch in &mut self.batches {
            batch.reload(&config.batch);
        }
    }

    /// Takes an answer from outside.
    pub fn take(&mut self, input: Input, now: Moment) {
        self.desk.take(input, seen(now));
        while let Some(buffer) = self.desk.buffer() {
            let empty = self.batches.iter_mut().find(|batch| !batch.has_spare());
            if let Some(batch) = empty {
                batch.give_back(buffer);
            }
        }
    }

    /// What is wanted of the outside, one thing at a time.
    pub fn action(&mut self, now: Moment) -> Option<Action> {
        self.desk.action(seen(now))
    }

    /// The program is stopping: pauses become short.
    pub fn hurry(&mut self, now: Mono) {
        self.desk.hurry(now);
    }

    /// Nothing is sent any more. What is left goes to the spool; where there is none it is counted
    /// as unsent.
    pub fn end(&mut self, now: Mono) {
        if self.course == Course::Run {
            self.desk.close();
            let until = now.plus(STOP_COUNT_TIME);
            self.course = Course::Save { until };
        }
    }

    /// True once nothing is left and nothing can come.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.course == Course::Ended
    }

    /// True while a page that is handed over would be taken.
    #[must_use]
    pub fn takes_pages(&self) -> bool {
        // a full body must go first, and is that of a page; a ring heard now would be lost for other
        // uploaders
        self.pages.is_none()
    }

    /// Rows whose only copy is on disk.
    #[must_use]
    pub fn rows_parked(&self) -> u64 {
        self.desk.rows_parked()
    }

    /// The next moment at which there is something to do without any input.
    #[must_use]
    pub fn wake_at(&mut self) -> Option<Mono> {
        let course = match self.course {
            Course::Run | Course::Ended => None,
            Course::Save { until } | Course::Close { until } => Some(until),
        };
        let desk = &mut self.desk;
        let page = self.pages.as_ref().map(Pages::destination);
        let linger = self.limits.linger;
        let open = self.batches.iter();
        let open = open.filter(|batch| desk.has_room(batch.destination()));
        let due = open.filter_map(|batch| match page {
            // as long as a page stands there: see `work`
            Some(page) if page != batch.destination() => {
                batch.due_at().map(|_| batch.begun_at().plus(linger))
            }
            _ => batch.due_at(),
        });
        let due = due.min();
        [course, due, self.desk.wake_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes one page further, or seals one body. False if there is nothing to do but wait.
    pub fn step(&mut self, now: Moment) -> bool {
        let now = seen(now);
        match self.course {
            Course::Run => {
                let goes_on = self.work(now);
                if !goes_on && self.is_empty() && self.ring.is_finished() && self.desk.is_idle() {
                    // what waits on disk is for the next run
                    self.desk.close();
                    self.close(now.mono);
                    return true;
                }
                goes_on
            }
            Course::Save { until } => {
                if self.work(now) {
                    return true;
                }
                let is_over = self.ring.is_finished() || now.mono >= until;
                if is_over {
                    self.close(now.mono);
                }
                is_over
            }
            Course::Close { until } => {
                if now.mono >= until && !self.desk.is_closed() {
                    tracing::error!("the spool does not answer: what it was to write is lost");
                    self.desk.abandon();
                }
                let is_over = self.desk.is_closed();
                if is_over {
                    self.course = Course::Ended;
                }
                is_over
            }
            Course::Ended => false,
        }
    }

    fn close(&mut self, now: Mono) {
        self.desk.close_spool();
        let until = now.plus(SPOOL_CLOSE_TIME);
        self.course = Course::Close { until };
    }

    fn is_empty(&self) -> bool {
        self.pages.is_none() && self.batches.iter().all(Batch::is_empty)
    }

    fn work(&mut self, now: Moment) -> bool {
        if self.pages.is_none() {
            self.take_page(now.mono);
        }
        let Some(pages) = &self.pages else {
            // the ring is empty: a body that is due waits for nothing more
            let is_last = self.ring.is_finished() || self.course != Course::Run;
            return self.seal_one(now, |batch| {
                is_last || batch.due_at().is_some_and(|due| now.mono >= due)
            });
        };
        let destination = pages.destination();
        let linger = self.limits.linger;
        // Pages for others may go on coming for ever. By its age a body would be due at once after a
        // stop of the flow, when all rows are old; so it is by the time that it has been open.
        let is_overdue = |batch: &Batch| {
            batch.destination() != destination
                && !is_planted(Bug::OthersLingerIgnored)
                && now.mono.since(batch.begun_at()) >= linger
        };
        if self.seal_one(now, is_overdue) {
            return true;
        }
        self.fill(destination, now)
    }

    /// Takes the page further into the open body of its destination, or seals that if it is full.
    fn fill(&mut self, destination: DestinationId, now: Moment) -> bool {
        let Some(index) = self.batch_for(destination) else {
            // whatever is open: there is no place for one more
            return self.seal_one(now, |_| true);
        };
        let (Some(pages), Some(batch)) = (&mut self.pages, self.batches.get_mut(index)) else {
            return false;
        };
        if batch.is_full() {
            return self.seal(index, now);
        }
        let to = self.desk.common.destinations.to(destination);
        batch.allow(to.rules.body_limit.raw_bytes_max());
        batch.set_effort(self.pains.effort());
        match batch.fill(pages, now.mono) {
            Filled::Page => {
                if let Some(pages) = self.pages.take() {
                    self.ring.give_back(pages.into_page());
                }
            }
            // the next step seals it
            Filled::Body => {}
            Filled::TooLarge { row_bytes } => self.lose_too_large(row_bytes, now.mono),
        }
        true
    }

    /// The place of the open body for this destination, which is begun if there is none. Empty ones
    /// whose names are gone from the configuration make way. Nothing if there are too many others.
    fn batch_for(&mut self, destination: DestinationId) -> Option<usize> {
        let is_it = |batch: &Batch| batch.destination() == destination;
        if let Some(index) = self.batches.iter().position(is_it) {
            return Some(index);
        }
        let destinations = &self.desk.common.destinations;
        let is_known = |id: DestinationId| destinations.to(id).id == id;
        self.batches
            .retain(|batch| !batch.is_empty() || is_known(batch.destination()));
        if self.batches.len() >= BODIES_OPEN_MAX {
            return None;
        }
        let batch = Batch::new(&self.limits).bound_for(destination);
        self.batches.push(batch);
        Some(self.batches.len() - 1)
    }

    fn take_page(&mut self, now: Mono) {
        let Some(page) = self.ring.take() else { return };
        let rows_count = page.rows_count() as u64;
        let common = &mut self.desk.common;
        common.tally.add(Counter::RowsTaken, rows_count);
        let latency = &common.latency;
        if let Some(opened_at) = page.opened_at() {
            let time = page.handed_at().since(opened_at);
            latency.record(Stopwatch::Page, time, rows_count);
        }
        latency.record(Stopwatch::Ring, now.since(page.handed_at()), rows_count);
        self.pains.note(self.ring.pages_waiting());
        if self.limits.gzip_level == GzipLevel::Auto {
            let counter = match self.pains.effort() {
                Effort::Fast => Counter::PagesFast,
                Effort::Dense => Counter::PagesDense,
            };
            common.tally.add(counter, 1);
        }
        self.pages = Some(Pages::new(page));
    }

    /// Seals the first open body that is to be sealed and finds room. False if there is none.
    fn seal_one(&mut self, now: Moment, is_to_be: impl Fn(&Batch) -> bool) -> bool {
        (0..self.batches.len()).any(|index| {
            let batch = self.batches.get(index);
            batch.is_some_and(|batch| !batch.is_empty() && is_to_be(batch)) && self.seal(index, now)
        })
    }

    /// Seals an open body and hands it to the desk. False if there is no room for it, or nothing
    /// to seal.
    fn seal(&mut self, index: usize, now: Moment) -> bool {
        let Some(batch) = self.batches.get_mut(index) else {
            return false;
        };
        if batch.is_empty() || !self.desk.has_room(batch.destination()) {
            return false;
        }
        let begun_at = batch.begun_at();
        let waited = now.mono.since(batch.opened_at());
        let Some(payload) = batch.seal(now.mono) else {
            return false;
        };
        self.count_body(&payload);
        let time = now.mono.since(begun_at);
        let latency = &self.desk.common.latency;
        latency.record(Stopwatch::Body, time, payload.rows_count());
        let waited = i64::try_from(waited.as_nanos()).unwrap_or(i64::MAX);
        let opened_at = Wall(now.wall.0.saturating_sub(waited));
        self.desk.accept(payload, opened_at, now);
        true
    }

    fn count_body(&mut self, payload: &Payload) {
        let tally = &mut self.desk.common.tally;
        tally.add(Counter::RowsSealed, payload.rows_count());
        tally.add(Counter::BodiesSealed, 1);
        tally.add(Counter::BodyRawBytes, payload.raw_bytes() as u64);
        tally.add(Counter::BodyWireBytes, payload.body.len() as u64);
    }

    fn lose_too_large(&mut self, row_bytes: usize, now: Mono) {
        let common = &mut self.desk.common;
        // through the stages in one step, so that none of them seems to hold it
        common.tally.add(Counter::RowsSealed, 1);
        common.tally.add(Counter::RowsLostTooLarge, 1);
        if let Some(withheld) = common.state.loss.allow(now) {
            tracing::error!(
                row_bytes,
                withheld,
                "a row is longer than batch.raw_bytes_max allows: it is lost"
            );
        }
    }
}
