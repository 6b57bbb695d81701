//! The way from frames to the ring: each becomes a row in a page, and full or old pages are handed over.
//!
//! Rows to the destination of `[sentinel]` are told apart by kind, in lanes; those to each further one
//! share a page. With so many pages open, none may be free for the next one: then the fullest goes on
//! its way, whatever its destination, and the shard waits until a page comes back. So a shard that
//! waits holds what it has for no longer than that, however few pages there are.

use crate::clock::{Moment, Mono};
use crate::config::DestinationId;
use crate::filter::Filters;
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
    /// The same for rows to further destinations: one for each that had a row lately.
    further: Vec<RowPage>,
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
            further: Vec::new(),
            spare: ring.claim(),
            ring,
            counters,
            mapper,
            source,
        }
    }

    /// Writes rows for what `deduplicate` has suppressed and no row alike has told in time, and shows
    /// what rules have done. False if something is left to be told for want of a page.
    pub(super) fn tell(&mut self, now: Moment, tally: &mut Tally) -> bool {
        if let Some(filters) = self.mapper.filters() {
            filters.look(now.mono);
            filters.publish();
        }
        self.source.received = now;
        while self.mapper.filters().is_some_and(|all| all.has_summaries()) {
            if self.lanes[0].is_none() && !self.is_ready(tally) {
                return false;
            }
            if self.lanes[0].is_none() {
                self.lanes[0] = self.spare.take();
            }
            let Some(page) = &mut self.lanes[0] else {
                return false;
            };
            self.mapper.summarize(self.source, page, tally);
            if page.is_full()
                && let Some(page) = self.lanes[0].take()
            {
                self.hand_over(page, now.mono, tally);
            }
        }
        true
    }

    /// No page will come: what is left to be told is counted.
    pub(super) fn leave_untold(&mut self, tally: &mut Tally) {
        while let Some(summary) = self.mapper.filters().and_then(Filters::next_summary) {
            tally.add(Counter::SummariesUntold, summary.count);
        }
    }

    /// When the oldest row came that is not handed over.
    pub(super) fn opened_at(&self) -> Option<Mono> {
        let pages = self.lanes.iter().flatten().chain(&self.further);
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
            if let Some(page) = self.lanes[lane].take() {
                self.hand_over(page, now, tally);
            }
        }
        while let Some(page) = self.further.pop() {
            self.hand_over(page, now, tally);
        }
    }

    /// Hands a page over. What was counted is published first: an uploader may count the rows as taken
    /// before we could say that they were handed over.
    fn hand_over(&mut self, page: RowPage, now: Mono, tally: &mut Tally) {
        tally.add(Counter::RowsHanded, page.rows_count() as u64);
        tally.add(Counter::PagesHanded, 1);
        tally.publish(&self.counters);
        self.ring.hand_over(page, now);
    }

    /// None is free: the fullest of ours goes on its way, so that it comes back.
    fn hand_over_fullest(&mut self, tally: &mut Tally) {
        let now = self.source.received.mono;
        let bytes = |lane: &usize| self.lanes[*lane].as_ref().map(RowPage::bytes_len);
        let lane = (0..LANES).max_by_key(bytes);
        let further = (0..self.further.len()).max_by_key(|at| self.further[*at].bytes_len());
        let page = match (lane, further) {
            (Some(lane), Some(at)) if bytes(&lane) < Some(self.further[at].bytes_len()) => {
                Some(self.further.swap_remove(at))
            }
            (Some(lane), _) => self.lanes[lane].take(),
            (None, _) => None,
        };
        if let Some(page) = page {
            self.hand_over(page, now, tally);
        }
    }

    /// Goes on by another mapper, which is made with the rules of this one. Pages for destinations that it may know no more are handed over, so
    /// that there are never more than one configuration has.
    pub(super) fn follow(
        &mut self,
        mapper_of: impl FnOnce(Option<Filters>) -> Mapper,
        now: Mono,
        tally: &mut Tally,
    ) {
        self.mapper = mapper_of(self.mapper.take_filters());
        while let Some(page) = self.further.pop() {
            self.hand_over(page, now, tally);
        }
    }

    /// Makes the row of a frame, in a page for this destination. To be called only while the desk is
    /// ready.
    fn put(&mut self, draft: &Draft<'_>, destination: DestinationId, tally: &mut Tally) {
        if destination == DestinationId::SENTINEL {
            return self.put_in_lane(draft, tally);
        }
        let mut open = self.further.iter();
        let at = open.position(|page| page.destination() == destination);
        let at = match (at, self.spare.take()) {
            (Some(at), spare) => {
                self.spare = spare;
                at
            }
            (None, Some(mut page)) => {
                page.open_for(destination);
                self.further.push(page);
                self.further.len() - 1
            }
            (None, None) => return tally.add(Counter::FramesLostStop, 1),
        };
        let page = &mut self.further[at];
        self.mapper.put(draft, self.source, page, tally);
        if page.is_full() {
            let page = self.further.swap_remove(at);
            self.hand_over(page, self.source.received.mono, tally);
        } else if page.is_empty() {
            let page = self.further.swap_remove(at);
            self.keep(page);
        }
    }

    /// Keeps a page that no row came into, by configuration.
    fn keep(&mut self, page: RowPage) {
        match self.spare {
            // for whatever destination is next
            None => self.spare = Some(with_no_destination(page)),
            Some(_) => self.ring.give_back(page),
        }
    }

    fn put_in_lane(&mut self, draft: &Draft<'_>, tally: &mut Tally) {
        let lane = (draft.kind() % LANES as u64) as usize;
        if self.lanes[lane].is_none() {
            self.lanes[lane] = self.spare.take();
        }
        let Some(page) = &mut self.lanes[lane] else {
            // not reached: frames are cut only while the desk is ready
            tally.add(Counter::FramesLostStop, 1);
            return;
        };
        self.mapper.put(draft, self.source, page, tally);
        let is_full = page.is_full();
        if (is_full || page.is_empty())
            && let Some(page) = self.lanes[lane].take()
        {
            match is_full {
                true => self.hand_over(page, self.source.received.mono, tally),
                false => self.keep(page),
            }
        }
    }
}

fn with_no_destination(mut page: RowPage) -> RowPage {
    page.open_for(DestinationId::SENTINEL);
    page
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
        self.put(&draft, DestinationId::SENTINEL, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::config::{self, Machine};
    use crate::frame::End;
    use crate::limits::DESTINATIONS_FURTHER_MOST;
    use crate::metrics::Snapshot;
    use std::net::IpAddr;

    const FRAME: &[u8] = b"<134>Nov 25 10:00:00 gw CEF:0|V|P|1|7|name|5|src=10.0.0.1 msg=text";

    /// A desk with so many pages.
    fn desk(pages_bytes: usize) -> (Desk, Arc<Counters>) {
        let machine = Machine {
            cores: vec![0],
            cores_quota: None,
            host_name: "collector".into(),
        };
        let counters = Arc::<Counters>::default();
        let source = Source {
            peer: IpAddr::from([127, 0, 0, 1]),
            received: Moment::default(),
        };
        let ring = Arc::new(Ring::new(pages_bytes, 1));
        let mapper = Mapper::new(&config::Map::of(&machine), 1_000_000);
        (Desk::new(ring, counters.clone(), mapper, source), counters)
    }

    fn names() -> Vec<DestinationId> {
        let further = (0..DESTINATIONS_FURTHER_MOST).map(|index| format!("further-{index}"));
        let all = std::iter::once("sentinel".to_owned()).chain(further);
        all.map(|name| DestinationId::of(&name)).collect()
    }

    fn put(desk: &mut Desk, destination: DestinationId, tally: &mut Tally) -> bool {
        if !desk.is_ready(tally) {
            return false;
        }
        let draft = Draft::of(Frame {
            bytes: FRAME,
            end: End::Whole,
        });
        desk.put(&draft, destination, tally);
        true
    }

    #[test]
    fn a_page_holds_rows_of_one_destination() {
        let (mut desk, counters) = desk(64 << 20);
        let mut tally = Tally::default();
        for round in 0..3 {
            for destination in names().iter().skip(round % 2) {
                assert!(put(&mut desk, *destination, &mut tally));
            }
        }
        desk.hand_over_all(Mono(5), &mut tally);
        let mut found = Vec::new();
        while let Some(page) = desk.ring.take() {
            found.push((page.destination(), page.rows_count()));
            desk.ring.give_back(page);
        }
        found.sort_unstable();
        let mut expected: Vec<_> = names().into_iter().map(|id| (id, 3)).collect();
        expected[0].1 = 2;
        expected.sort_unstable();
        assert_eq!(found, expected);
        let snapshot = Snapshot::of([&*counters]);
        assert_eq!(snapshot.value(Counter::RowsWritten), 23);
        assert_eq!(snapshot.value(Counter::RowsHanded), 23);
        // a page that went round knows nothing of where it has been
        let page = desk.ring.claim().unwrap();
        assert_eq!(page.destination(), DestinationId::SENTINEL);
    }

    #[test]
    fn with_fewer_pages_than_destinations_a_shard_never_stands_still() {
        let (mut desk, counters) = desk(0);
        assert_eq!(desk.ring.pages_count(), 2);
        let mut tally = Tally::default();
        let (mut waited, mut rows) = (0, 0);
        for _ in 0..20 {
            for destination in names() {
                while !put(&mut desk, destination, &mut tally) {
                    // what the shard waits for is what an uploader gives back
                    waited += 1;
                    let page = desk.ring.take().expect("a page is on its way");
                    rows += page.rows_count();
                    desk.ring.give_back(page);
                }
            }
        }
        desk.hand_over_all(Mono(5), &mut tally);
        while let Some(page) = desk.ring.take() {
            rows += page.rows_count();
            desk.ring.give_back(page);
        }
        assert_eq!(rows, 20 * names().len());
        assert!(waited > 20, "{waited}");
        assert_eq!(Snapshot::of([&*counters]).frames_lost(), 0);
    }

    #[test]
    fn when_the_configuration_changes_pages_for_further_destinations_go_on_their_way() {
        let (mut desk, _) = desk(64 << 20);
        let mut tally = Tally::default();
        for destination in names() {
            assert!(put(&mut desk, destination, &mut tally));
        }
        let (other, _) = self::desk(0);
        desk.follow(|_| other.mapper, Mono(9), &mut tally);
        assert_eq!(desk.ring.pages_waiting(), DESTINATIONS_FURTHER_MOST);
        assert!(desk.further.is_empty());
        assert_eq!(desk.opened_at(), Some(Mono(0)));
    }
}
