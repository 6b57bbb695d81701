//! Rows from pages into one open body, until bytes or age say that it is full.
//!
//! ```text
//! page   ,row,row,row,row,row,row        run = the rows that surely fit
//!        |___________________|  |
//! body   [row,row,…             }-> stays in the page for the next body
//! ```
//!
//! Whole runs of rows go to the encoder, or rows one by one where it knows them, and no row is ever
//! split. Both limits
//! hold exactly: the raw bytes are counted, and the wire bytes have a proven upper bound (see
//! [`crate::compress`]). When the bound says that the next row may not fit, the encoder is flushed
//! once to learn the true length; only then is the body full. With the default limits this
//! happens once in a body.
//!
//! Age: a body is due when its oldest row was received `linger` ago. The caller first takes what
//! waits in the ring, so after a stop of the flow bodies are full although all rows are old.
//!
//! Pure: pages, limits and time come in as arguments.

use crate::clock::Mono;
use crate::compress::{Gzip, Payload, PayloadId};
use crate::config::{self, DestinationId};
use crate::deflate::Effort;
use crate::limits::BODY_WIRE_TAIL_SHARE;
use crate::page::{Arrival, RowPage};
use crate::planted::{Bug, is_planted};
use bytes::Bytes;
use std::ops::Range;
use std::time::Duration;

/// A page that is being emptied, with a mark before the next row.
#[derive(Debug)]
pub struct Pages {
    page: RowPage,
    /// Rows already taken out; at most the page's number of rows.
    rows_done: usize,
    /// Index of the arrival that the next row belongs to...
    arrival: usize,
    /// ...and how many of its rows are already taken out.
    arrival_done: u32,
}

impl Pages {
    /// A page with all of its rows still to be taken out.
    #[must_use]
    pub fn new(page: RowPage) -> Self {
        Pages {
            page,
            rows_done: 0,
            arrival: 0,
            arrival_done: 0,
        }
    }

    /// Where all of its rows go.
    #[must_use]
    pub fn destination(&self) -> DestinationId {
        self.page.destination()
    }

    /// How many rows are still to be taken out.
    #[must_use]
    pub fn rows_left(&self) -> usize {
        self.page.rows_count() - self.rows_done
    }

    /// The page, to be given back.
    #[must_use]
    pub fn into_page(self) -> RowPage {
        self.page
    }

    /// Where the next row begins, at its comma.
    fn start(&self) -> usize {
        self.end_of(self.rows_done)
    }

    /// Where the first `rows_count` rows of the page end.
    fn end_of(&self, rows_count: usize) -> usize {
        rows_count
            .checked_sub(1)
            .and_then(|index| self.page.ends().get(index))
            .map_or(0, |end| *end as usize)
    }

    /// How many of the next rows end within `bytes` from here, commas included.
    fn rows_within(&self, bytes: usize) -> usize {
        let last = self.start().saturating_add(bytes);
        let ends = self.page.ends().get(self.rows_done..).unwrap_or_default();
        ends.partition_point(|end| *end as usize <= last)
    }

    /// Bytes of the next row, its comma included; nothing at the end.
    fn next_row_bytes(&self) -> Option<usize> {
        let end = *self.page.ends().get(self.rows_done)?;
        Some(end as usize - self.start())
    }

    /// Moves the mark and gives each part of an arrival that it moved over.
    fn advance(&mut self, rows_count: usize, mut moved: impl FnMut(Arrival)) {
        self.rows_done += rows_count;
        let mut left = u32::try_from(rows_count).unwrap_or(u32::MAX);
        while let (1.., Some(arrival)) = (left, self.page.arrivals().get(self.arrival)) {
            let here = left.min(arrival.rows_count - self.arrival_done);
            if here > 0 {
                moved(Arrival {
                    at: arrival.at,
                    rows_count: here,
                });
            }
            left -= here;
            self.arrival_done += here;
            if self.arrival_done == arrival.rows_count {
                self.arrival += 1;
                self.arrival_done = 0;
            }
        }
    }
}

/// What [`Batch::fill`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// All rows of the page are in the body.
    Page,
    /// The body is full and must be sealed before the next row.
    Body,
    /// The next row is longer than any body may be and was passed over: it is lost, and the caller
    /// counts it.
    TooLarge {
        /// Its length.
        row_bytes: usize,
    },
}

/// The open body of one uploader.
#[derive(Debug)]
pub struct Batch {
    raw_bytes_max: usize,
    wire_bytes_max: usize,
    linger: Duration,
    gzip: Gzip,
    /// The buffer of an earlier body, for the next one; at most one, as one body is open.
    spare: Vec<Vec<u8>>,
    /// End of each row in the JSON array; ascending.
    ends: Vec<u32>,
    /// Of the rows in the body, in the order of the rows.
    arrivals: Vec<Arrival>,
    /// When the oldest row was received.
    opened_at: Mono,
    /// When the first row was put in.
    begun_at: Mono,
    /// No further row goes in, although there may be room by the count of raw bytes.
    is_full: bool,
    /// Where its rows go.
    destination: DestinationId,
    /// What the next body goes by, if that is something else.
    next: Option<config::Batch>,
}

impl Batch {
    /// An empty body under the limits of the configuration.
    #[must_use]
    pub fn new(config: &config::Batch) -> Self {
        Batch {
            raw_bytes_max: config.raw_bytes_max,
            wire_bytes_max: config.wire_bytes_max,
            linger: config.linger,
            gzip: Gzip::new(config.gzip_level),
            spare: Vec::new(),
            ends: Vec::new(),
            arrivals: Vec::new(),
            opened_at: Mono::default(),
            begun_at: Mono::default(),
            is_full: false,
            destination: DestinationId::SENTINEL,
            next: None,
        }
    }

    /// The same, for rows that go to this destination.
    #[must_use]
    pub fn bound_for(self, destination: DestinationId) -> Self {
        Batch {
            destination,
            ..self
        }
    }

    /// Where its rows go.
    #[must_use]
    pub fn destination(&self) -> DestinationId {
        self.destination
    }

    /// Goes by another configuration from the next body on.
    pub fn reload(&mut self, config: &config::Batch) {
        self.next = Some(config.clone());
        if self.is_empty() {
            self.change();
        }
    }

    fn change(&mut self) {
        if let Some(config) = self.next.take() {
            self.raw_bytes_max = config.raw_bytes_max;
            self.wire_bytes_max = config.wire_bytes_max;
            self.linger = config.linger;
            self.gzip = Gzip::new(config.gzip_level);
        }
    }

    /// The next body may hold so much JSON. Nothing changes while one is open.
    pub fn allow(&mut self, raw_bytes_max: usize) {
        if self.is_empty() {
            self.raw_bytes_max = raw_bytes_max;
        }
    }

    /// Takes so much pains from the next row on.
    pub fn set_effort(&mut self, effort: Effort) {
        self.gzip.set_effort(effort);
    }

    /// Moves rows from the page into the body until one of the two is done. After
    /// [`Filled::TooLarge`] call it again.
    pub fn fill(&mut self, pages: &mut Pages, now: Mono) -> Filled {
        while let Some(row_bytes) = pages.next_row_bytes() {
            // a row alone: its comma becomes the bracket, and the other bracket follows
            if row_bytes + 1 > self.raw_bytes_max {
                pages.advance(1, |_| ());
                return Filled::TooLarge {
                    row_bytes: row_bytes - 1,
                };
            }
            let rows_count = self.rows_that_fit(pages, row_bytes);
            if rows_count == 0 {
                self.is_full = true;
                return Filled::Body;
            }
            self.append(pages, rows_count, now);
        }
        if self.is_full {
            Filled::Body
        } else {
            Filled::Page
        }
    }

    /// How many of the next rows go in now; zero if the body is full.
    fn rows_that_fit(&mut self, pages: &Pages, row_bytes: usize) -> usize {
        if self.is_full {
            return 0;
        }
        let raw_left = self.raw_bytes_max - 1 - self.raw_bytes_open();
        if row_bytes > raw_left {
            return 0;
        }
        let worth_going_on = row_bytes.max(self.wire_bytes_max / BODY_WIRE_TAIL_SHARE);
        let mut wire_left = self.wire_left();
        // little is left at the worst: what there is in truth, only a flush tells
        if wire_left < worth_going_on {
            self.gzip.flush();
            wire_left = self.wire_left();
        }
        if wire_left < worth_going_on {
            // One row in a body of its own is tried though the bound forbids it: rows shrink. If
            // it does not, the body is over the limit, and whoever sends it finds that out.
            let is_alone = self.is_empty();
            self.is_full = is_alone;
            return usize::from(is_alone);
        }
        pages.rows_within(raw_left.min(wire_left))
    }

    /// Raw bytes that surely fit on the wire, the closing bracket kept back.
    fn wire_left(&self) -> usize {
        self.gzip
            .raw_bytes_left(self.wire_bytes_max)
            .saturating_sub(1)
    }

    /// Bytes of the JSON array so far, without its closing bracket.
    fn raw_bytes_open(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    fn append(&mut self, pages: &mut Pages, rows_count: usize, now: Mono) {
        let (start, first) = (pages.start(), pages.rows_done);
        let last = first + rows_count;
        let (mut from, to) = (start, pages.end_of(last));
        if self.is_empty() {
            self.begin(now);
            from += 1;
        }
        // the row ends in the body as far behind its comma's place as in the page
        let base = self.raw_bytes_open();
        let ends = pages.page.ends().get(first..last).unwrap_or_default();
        self.ends.extend(ends.iter().map(|end| {
            // both limits are below 2^32, see `limits`
            u32::try_from(base + (*end as usize - start)).unwrap_or(u32::MAX)
        }));
        self.feed(&pages.page, first..last, from, to);
        let (arrivals, opened_at) = (&mut self.arrivals, &mut self.opened_at);
        pages.advance(rows_count, |arrival| {
            *opened_at = arrival.at.min(*opened_at);
            match arrivals.last_mut() {
                Some(before) if before.at == arrival.at => before.rows_count += arrival.rows_count,
                _ => arrivals.push(arrival),
            }
        });
    }

    /// Feeds rows of the page, which are the bytes from `from` to `to`: one by one if that is of use, or
    /// else as they lie there.
    fn feed(&mut self, page: &RowPage, rows: Range<usize>, from: usize, to: usize) {
        let bytes = |from: usize, to: usize| page.bytes().get(from..to).unwrap_or_default();
        let mut fed = from;
        if self.gzip.knows_rows() {
            for index in rows {
                let Some(row) = page.row(index) else { break };
                if let Some(next) = page.row(index + 1) {
                    self.gzip.expect(next);
                }
                let end = page.ends().get(index).map_or(fed, |end| *end as usize);
                if fed + row.bytes.len() == end {
                    self.gzip.feed_row(row);
                } else {
                    // the bracket stands for its comma
                    self.gzip.feed(bytes(fed, end));
                }
                fed = end;
            }
        }
        // they are in the account of the body: whatever the page knows of them, all bytes go in
        self.gzip.feed(bytes(fed, to));
    }

    fn begin(&mut self, now: Mono) {
        self.gzip.feed(b"[");
        self.opened_at = Mono(u64::MAX);
        self.begun_at = now;
    }

    /// True if there is nothing to seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// True if no further row goes in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// How many rows are in the open body.
    #[must_use]
    pub fn rows_count(&self) -> u64 {
        self.ends.len() as u64
    }

    /// When the body must be sealed for its age; nothing if it is empty.
    #[must_use]
    pub fn due_at(&self) -> Option<Mono> {
        let has_age = !self.is_empty() && !is_planted(Bug::LingerIgnored);
        has_age.then(|| self.opened_at.plus(self.linger))
    }

    /// When the oldest row was received.
    #[must_use]
    pub fn opened_at(&self) -> Mono {
        self.opened_at
    }

    /// When the first row was put in.
    #[must_use]
    pub fn begun_at(&self) -> Mono {
        self.begun_at
    }

    /// Ends the body and begins an empty one. Nothing if it is empty.
    ///
    /// The body is within both limits, save for one row alone that gzip has not brought below
    /// `wire_bytes_max`.
    pub fn seal(&mut self, now: Mono) -> Option<Payload> {
        if self.is_empty() {
            return None;
        }
        self.gzip.feed(b"]");
        let body = Bytes::from(self.gzip.finish());
        self.gzip.start(self.spare.pop().unwrap_or_default());
        self.is_full = false;
        let (ends, arrivals) = (
            std::mem::take(&mut self.ends),
            std::mem::take(&mut self.arrivals),
        );
        self.change();
        Some(Payload {
            id: PayloadId::random(),
            body,
            ends,
            arrivals,
            sealed_at: now,
            destination: self.destination,
        })
    }

    /// True if it has a buffer for the next body.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        !self.spare.is_empty()
    }

    /// Takes the buffer of an earlier body for a later one.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        if self.spare.is_empty() {
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(
        raw_bytes_max: usize,
        wire_bytes_max: usize,
        gzip_level: config::GzipLevel,
    ) -> config::Batch {
        config::Batch {
            raw_bytes_max,
            wire_bytes_max,
            linger: Duration::from_secs(1),
            gzip_level,
            body_limit: config::BodyReading::Strict,
        }
    }

    /// With the encoder that knows rows, and with the other.
    const LEVELS: [config::GzipLevel; 2] = [config::GzipLevel::Auto, config::GzipLevel::Zlib(1)];

    fn page_of(rows: &[Vec<u8>], at: u64) -> Pages {
        let mut page = RowPage::new();
        for (index, row) in rows.iter().enumerate() {
            // two rows a read
            page.write_row(Mono(at + index as u64 / 2), usize::MAX, |out| {
                for (column, piece) in row.chunks(24).enumerate() {
                    let start = out.len();
                    out.extend_from_slice(piece);
                    out.mark(start, column as u8);
                }
            })
            .unwrap();
        }
        Pages::new(page)
    }

    /// All bodies, and the lengths of rows that were too large.
    fn bodies_of(batch: &mut Batch, pages: Vec<Pages>) -> (Vec<Payload>, Vec<usize>) {
        let (mut bodies, mut too_large) = (Vec::new(), Vec::new());
        for mut pages in pages {
            loop {
                match batch.fill(&mut pages, Mono(5)) {
                    Filled::Page => break,
                    Filled::Body => bodies.push(batch.seal(Mono(6)).unwrap()),
                    Filled::TooLarge { row_bytes } => too_large.push(row_bytes),
                }
                if pages.rows_left() == 0 && !batch.is_full() {
                    break;
                }
            }
            assert_eq!(pages.rows_left(), 0);
        }
        bodies.extend(batch.seal(Mono(6)));
        (bodies, too_large)
    }

    fn rows_of(payload: &Payload) -> Vec<Vec<u8>> {
        let raw = payload.raw().unwrap();
        assert_eq!((raw.first(), raw.last()), (Some(&b'['), Some(&b']')));
        assert_eq!(raw.len(), payload.raw_bytes());
        let mut start = 0;
        payload
            .ends
            .iter()
            .map(|end| {
                assert_eq!(raw[start], if start == 0 { b'[' } else { b',' });
                let row = raw[start + 1..*end as usize].to_vec();
                start = *end as usize;
                row
            })
            .collect()
    }

    /// A row of this length: of few bytes, or of such that do not shrink.
    fn row(row_bytes: usize, is_random: bool, seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..row_bytes)
            .map(|_| {
                if is_random {
                    random.u8(..)
                } else {
                    random.u8(b'a'..b'e')
                }
            })
            .collect()
    }

    fn any_rows() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let length = prop_oneof![
            8 => 0usize..300,
            4 => 300usize..3_000,
            1 => 3_000usize..12_000,
        ];
        proptest::collection::vec(
            (length, any::<bool>(), any::<u64>())
                .prop_map(|(n, random, seed)| row(n, random, seed)),
            0..60,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_rows_come_out_whole_and_in_order_and_every_body_is_within_both_limits(
            pages in proptest::collection::vec(any_rows(), 0..4),
            raw_bytes_max in 400usize..40_000,
            wire_bytes_max in 400usize..20_000,
            level in prop_oneof![
                Just(config::GzipLevel::Auto),
                (0u32..=9).prop_map(config::GzipLevel::Zlib),
            ],
        ) {
            let mut batch = Batch::new(&config(raw_bytes_max, wire_bytes_max, level));
            let views = pages.iter().enumerate().map(|(i, rows)| page_of(rows, i as u64 * 1000));
            let (bodies, too_large) = bodies_of(&mut batch, views.collect());
            let rows = pages.iter().flatten();
            let fits = |row: &&Vec<u8>| row.len() + 2 <= raw_bytes_max;
            let expected: Vec<_> = rows.clone().filter(fits).cloned().collect();
            let lost: Vec<_> = rows.filter(|row| !fits(row)).map(Vec::len).collect();
            prop_assert!(bodies.iter().flat_map(rows_of).eq(expected.iter().cloned()));
            prop_assert_eq!(too_large, lost);
            for body in &bodies {
                prop_assert!(body.raw_bytes() <= raw_bytes_max);
                let is_alone = body.ends.len() == 1;
                prop_assert!(
                    body.body.len() <= wire_bytes_max || is_alone,
                    "{} of at most {}, {} rows", body.body.len(), wire_bytes_max, body.ends.len()
                );
                let arrived: u32 = body.arrivals.iter().map(|a| a.rows_count).sum();
                prop_assert_eq!(arrived as usize, body.ends.len());
            }
            let mut arrivals = bodies.iter().flat_map(|body| &body.arrivals);
            prop_assert!(arrivals.clone().zip(arrivals.by_ref().skip(1)).all(|(a, b)| a.at <= b.at));
        }
    }

    #[test]
    fn the_raw_limit_is_met_to_the_byte() {
        for level in LEVELS {
            // [12345678,12345678] is 19 bytes
            for (raw_bytes_max, bodies_count) in [(19, 1), (18, 2)] {
                let mut batch = Batch::new(&config(raw_bytes_max, 1_000_000, level));
                let rows = vec![b"12345678".to_vec(); 2];
                let (bodies, _) = bodies_of(&mut batch, vec![page_of(&rows, 0)]);
                assert_eq!(bodies.len(), bodies_count);
            }
            for (raw_bytes_max, lost_count) in [(10, 0), (9, 1)] {
                let mut batch = Batch::new(&config(raw_bytes_max, 1_000_000, level));
                let rows = vec![b"12345678".to_vec()];
                let (_, too_large) = bodies_of(&mut batch, vec![page_of(&rows, 0)]);
                assert_eq!(too_large.len(), lost_count);
            }
        }
    }

    #[test]
    fn rows_that_shrink_fill_the_raw_limit_and_others_the_wire_limit() {
        for level in LEVELS {
            let pages = |is_random| {
                (0..40)
                    .map(|page| {
                        let rows: Vec<_> = (0..200)
                            .map(|i| {
                                row(
                                    1_000,
                                    is_random,
                                    if is_random { page * 1000 + i } else { i % 7 },
                                )
                            })
                            .collect();
                        page_of(&rows, 0)
                    })
                    .collect()
            };
            let mut batch = Batch::new(&config(1_000_000, 1_000_000, level));
            let (bodies, _) = bodies_of(&mut batch, pages(false));
            let most = bodies.iter().map(Payload::raw_bytes).max().unwrap();
            assert!(most > 998_000, "{most}");
            let mut batch = Batch::new(&config(4_000_000, 1_000_000, level));
            let (bodies, _) = bodies_of(&mut batch, pages(true));
            let most = bodies.iter().map(|b| b.body.len()).max().unwrap();
            assert!((970_000..=1_000_000).contains(&most), "{most}");
        }
    }

    /// Where little seemed left and a row would still have fitted, a body was once sealed a third
    /// full.
    #[test]
    fn rows_that_shrink_fill_the_wire_limit_body_for_body() {
        for level in LEVELS {
            let pages = (0..200).map(|page| {
                let rows: Vec<_> = (0..115)
                    .map(|i| row(1_000 + (page + i) % 200, false, (page * 1_000 + i) as u64))
                    .collect();
                page_of(&rows, 0)
            });
            let mut batch = Batch::new(&config(20_000_000, 1_000_000, level));
            let (mut bodies, _) = bodies_of(&mut batch, pages.collect());
            bodies.pop();
            assert!(bodies.len() > 5, "{}", bodies.len());
            for body in bodies {
                let (wire, raw) = (body.body.len(), body.raw_bytes());
                assert!((970_000..=1_000_000).contains(&wire), "{wire} of {raw} raw");
            }
        }
    }

    #[test]
    fn a_row_that_does_not_shrink_stands_alone_in_a_body_over_the_limit() {
        for level in LEVELS {
            let mut batch = Batch::new(&config(100_000, 65_536, level));
            let rows = vec![row(300, false, 1), row(70_000, true, 2), row(300, false, 3)];
            let (bodies, too_large) = bodies_of(&mut batch, vec![page_of(&rows, 0)]);
            assert_eq!(too_large, [0usize; 0]);
            assert_eq!(
                bodies.iter().map(|b| b.ends.len()).collect::<Vec<_>>(),
                [1, 1, 1]
            );
            assert!(bodies[1].body.len() > 65_536);
            assert!(bodies.iter().flat_map(rows_of).eq(rows));
        }
    }

    #[test]
    fn a_body_is_due_when_its_oldest_row_has_waited_for_linger() {
        for level in LEVELS {
            let mut batch = Batch::new(&config(1_000_000, 1_000_000, level));
            assert_eq!(batch.due_at(), None);
            assert_eq!(
                batch.fill(&mut page_of(&[b"{}".to_vec()], 500), Mono(900)),
                Filled::Page
            );
            // a page of another shard, older
            assert_eq!(
                batch.fill(&mut page_of(&[b"{}".to_vec()], 300), Mono(950)),
                Filled::Page
            );
            assert_eq!(batch.due_at(), Some(Mono(300 + 1_000_000_000)));
            assert_eq!(batch.begun_at(), Mono(900));
            assert_eq!(batch.seal(Mono(1)).unwrap().rows_count(), 2);
            assert_eq!(batch.due_at(), None);
            assert!(batch.seal(Mono(1)).is_none());
        }
    }
}
