//! The way from frames to the ring: each becomes a row in a page, and full or old pages are handed over.

use crate::clock::Mono;
use crate::frame::Frame;
use crate::limits::LANES;
use crate::listen::connection::Sink;
use crate::map::{Draft, Mapper, Source};
use crate::metrics::{Counter, Counters, Tally};
use crate::page::RowPage;
use crate::ring::Ring;
use std::sync::Arc;
use std::time::Duration;

/// Where the frames of a shard's connections become rows.
pub(super) struct Desk {
    pub(super) ring: Arc<Ring>,
    counters: Arc<Counters>,
    pub(super) mapper: Mapper,
    /// The pages being filled, each with the rows of some kinds of messages.
    lanes: [Option<RowPage>; LANES],
    /// For the next lane that needs one; none if there was none free.
    pub(super) spare: Option<RowPage>,
    pub(super) source: Source,
}

impl Desk {
    /// An empty desk.
    pub(super) fn new(
        ring: Arc<Ring>,
        counters: Arc<Counters>,
        mapper: Mapper,
        source: Source,
    ) -> Self {
        Desk {
            lanes: [const { None }; LANES],
            spare: ring.claim(),
            ring,
            counters,
            mapper,
            source,
        }
    }

    /// When the oldest row came that is not handed over.
    pub(super) fn opened_at(&self) -> Option<Mono> {
        let pages = self.lanes.iter().flatten();
        pages.filter_map(RowPage::opened_at).min()
    }

    /// If one row is old enough all go: the uploader seals a body for it in any case.
    pub(super) fn hand_over_if_old(&mut self, now: Mono, linger: Duration, tally: &mut Tally) {
        if self.opened_at().is_some_and(|at| now.since(at) >= linger) {
            self.hand_over_all(now, tally);
        }
    }

    pub(super) fn hand_over_all(&mut self, now: Mono, tally: &mut Tally) {
        for lane in 0..LANES {
            self.hand_over(lane, now, tally);
        }
    }

    /// Hands a lane's page over if it has one. What was counted is published first: an uploader may
    /// count the rows as taken before we could say that they were handed over.
    fn hand_over(&mut self, lane: usize, now: Mono, tally: &mut Tally) {
        let Some(page) = self.lanes[lane].take() else {
            return;
        };
        tally.add(Counter::RowsHanded, page.rows_count() as u64);
        tally.add(Counter::PagesHanded, 1);
        tally.publish(&self.counters);
        self.ring.hand_over(page, now);
    }

    /// None is free: the fullest of ours goes on its way, so that it comes back.
    fn hand_over_fullest(&mut self, tally: &mut Tally) {
        let bytes = |lane: &usize| self.lanes[*lane].as_ref().map(RowPage::bytes_len);
        if let Some(lane) = (0..LANES).max_by_key(bytes) {
            self.hand_over(lane, self.source.received.mono, tally);
        }
    }
}

impl Sink for Desk {
    fn is_ready(&mut self, tally: &mut Tally) -> bool {
        if self.spare.is_none() {
            self.spare = self.ring.claim();
            if self.spare.is_none() {
                self.hand_over_fullest(tally);
            }
        }
        self.spare.is_some()
    }

    fn take(&mut self, frame: Frame<'_>, tally: &mut Tally) {
        let draft = Draft::of(frame);
        let lane = (draft.kind() % LANES as u64) as usize;
        if self.lanes[lane].is_none() {
            self.lanes[lane] = self.spare.take();
        }
        let Some(page) = &mut self.lanes[lane] else {
            // not reached: frames are cut only while the desk is ready
            tally.add(Counter::FramesLostStop, 1);
            return;
        };
        self.mapper.put(&draft, self.source, page, tally);
        if page.is_full() {
            self.hand_over(lane, self.source.received.mono, tally);
        } else if page.is_empty()
            && let Some(page) = self.lanes[lane].take()
        {
            // no row came of the frame, by configuration
            match self.spare {
                None => self.spare = Some(page),
                Some(_) => self.ring.give_back(page),
            }
        }
    }
}
