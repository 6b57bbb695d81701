//! The way from frames to the ring: each becomes a row in a page, and full or old pages are handed over.
//!
//! Rows to the destination of `[sentinel]` are told apart by kind, in lanes; those to each further one
//! share a page. With so many pages open, none may be free for the next one: then the fullest goes on
//! its way, whatever its destination, and the shard waits until a page comes back. So a shard that
//! waits holds what it has for no longer than that, however few pages there are.

mod open;

use crate::clock::{Moment, Mono};
use crate::config::DestinationId;
use crate::filter::Filters;
use crate::frame::Frame;
use crate::limits::LANES;
use crate::listen::connection::Sink;
use crate::map::{Mapper, Source};
use crate::metrics::{Counter, Counters, Tally};
use crate::page::RowPage;
use crate::ring::Ring;
use open::Open;
use std::sync::Arc;
use std::time::Duration;

/// Where the frames of a shard's connections become rows.
pub(super) struct Desk {
    pub(super) ring: Arc<Ring>,
    counters: Arc<Counters>,
    pub(super) mapper: Mapper,
    open: Open,
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
            open: Open::new(ring.claim()),
            ring,
            counters,
            mapper,
            source,
        }
    }

    /// Takes a page that was waited for, or none.
    pub(super) fn set_spare(&mut self, page: Option<RowPage>) {
        self.open.spare = page;
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
            if !self.open.has_lane(0) && !self.is_ready(tally) {
                return false;
            }
            let mut pages = self.open.for_lane(0);
            self.mapper.summarize(self.source, &mut pages, tally);
            let further = pages.further;
            self.settle(0, further, tally);
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
        self.open.opened_at()
    }

    /// If one row is old enough all go: the uploader seals a body for it in any case.
    pub(super) fn hand_over_if_old(&mut self, now: Mono, linger: Duration, tally: &mut Tally) {
        if self.opened_at().is_some_and(|at| now.since(at) >= linger) {
            self.hand_over_all(now, tally);
        }
    }

    pub(super) fn hand_over_all(&mut self, now: Mono, tally: &mut Tally) {
        while let Some(page) = self.open.any() {
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

    /// Goes on by another mapper, which is made with the rules of this one. Pages for destinations that
    /// it may know no more are handed over, so that there are never more than one configuration has.
    pub(super) fn follow(
        &mut self,
        mapper_of: impl FnOnce(Option<Filters>) -> Mapper,
        now: Mono,
        tally: &mut Tally,
    ) {
        self.mapper = mapper_of(self.mapper.take_filters());
        while let Some(page) = self.open.further.pop() {
            self.hand_over(page, now, tally);
        }
    }

    /// After a row: a full page goes on its way, and one that no row came into is kept for the next.
    fn settle(&mut self, lane: usize, further: Option<DestinationId>, tally: &mut Tally) {
        let now = self.source.received.mono;
        let pages = [
            self.open.take_lane_if(lane, RowPage::is_done),
            further.and_then(|to| self.open.take_further_if(to, RowPage::is_done)),
        ];
        for page in pages.into_iter().flatten() {
            match page.is_empty() {
                false => self.hand_over(page, now, tally),
                true => {
                    if let Some(page) = self.open.keep(page) {
                        self.ring.give_back(page);
                    }
                }
            }
        }
    }
}

impl Sink for Desk {
    fn is_ready(&mut self, tally: &mut Tally) -> bool {
        if self.open.spare.is_none() {
            self.open.spare = self.ring.claim();
            // none is free: the fullest of ours goes on its way, so that it comes back
            if self.open.spare.is_none()
                && let Some(page) = self.open.fullest()
            {
                self.hand_over(page, self.source.received.mono, tally);
            }
        }
        self.open.spare.is_some()
    }

    fn take(&mut self, frame: Frame<'_>, tally: &mut Tally) {
        let draft = self.mapper.draft(frame);
        let lane = (draft.kind() % LANES as u64) as usize;
        let mut pages = self.open.for_lane(lane);
        // there is a page: frames are cut only while the desk is ready
        self.mapper.put(&draft, self.source, &mut pages, tally);
        let further = pages.further;
        self.settle(lane, further, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::columns;
    use crate::config::filter::{Action, Condition, Field, Filter, How, Test};
    use crate::config::{self, Machine};
    use crate::frame::End;
    use crate::limits::DESTINATIONS_FURTHER_MOST;
    use crate::metrics::{FilterBook, Snapshot};
    use std::net::IpAddr;

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
        let mapper = Mapper::new(&config::Map::of(&machine), 1_000_000).filtered_by(routes());
        (Desk::new(ring, counters.clone(), mapper, source), counters)
    }

    fn further() -> impl Iterator<Item = String> {
        (0..DESTINATIONS_FURTHER_MOST).map(|index| format!("further-{index}"))
    }

    fn names() -> Vec<String> {
        std::iter::once("sentinel".to_owned())
            .chain(further())
            .collect()
    }

    /// One rule for each further destination: by the product.
    fn routes() -> Filters {
        let rules: Vec<Filter> = further()
            .map(|name| Filter {
                name: name.clone(),
                when: vec![Condition::Value(
                    Field::Column(columns::by_name("DeviceProduct").unwrap()),
                    Test::Text {
                        how: How::Equals,
                        texts: vec![name.clone()],
                        ignore_case: false,
                    },
                )],
                action: Action::Route(name),
            })
            .collect();
        let counts = FilterBook::default().open(rules.iter().map(|rule| rule.name.as_str()));
        Filters::new(&rules, counts)
    }

    fn put(desk: &mut Desk, name: &str, tally: &mut Tally) -> bool {
        if !desk.is_ready(tally) {
            return false;
        }
        let text = format!("<134>CEF:0|V|{name}|1|7|name|5|src=10.0.0.1 msg=text");
        let frame = Frame {
            bytes: text.as_bytes(),
            end: End::Whole,
        };
        desk.take(frame, tally);
        true
    }

    #[test]
    fn a_page_holds_rows_of_one_destination() {
        let (mut desk, counters) = desk(64 << 20);
        let mut tally = Tally::default();
        for round in 0..3 {
            for destination in names().iter().skip(round % 2) {
                assert!(put(&mut desk, destination, &mut tally));
            }
        }
        desk.hand_over_all(Mono(5), &mut tally);
        let mut found = Vec::new();
        while let Some(page) = desk.ring.take() {
            found.push((page.destination(), page.rows_count()));
            desk.ring.give_back(page);
        }
        found.sort_unstable();
        let mut expected: Vec<_> = names()
            .iter()
            .map(|name| (DestinationId::of(name), 3))
            .collect();
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
                while !put(&mut desk, &destination, &mut tally) {
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
            assert!(put(&mut desk, &destination, &mut tally));
        }
        let (other, _) = self::desk(0);
        desk.follow(|_| other.mapper, Mono(9), &mut tally);
        assert_eq!(desk.ring.pages_waiting(), DESTINATIONS_FURTHER_MOST);
        assert!(desk.open.further.is_empty());
        assert_eq!(desk.opened_at(), Some(Mono(0)));
    }
}
