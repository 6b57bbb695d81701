//! One frame to one row of `CommonSecurityLog`, encoded as JSON straight into the page.
//!
//! ```text
//! frame → record → pairs → {"TimeGenerated":…,"DeviceVendor":…,…,"AdditionalExtensions":"k=v;k=v"}
//! ```
//!
//! Two passes over the pairs of the extension. The first finds each key's columns and which of
//! several equal keys is the last; the second writes. A value goes to its columns if it is the last
//! of its key and fits their types; else to `AdditionalExtensions` under the sender's spelling, so
//! that nothing a sender wrote is without trace. Empty values are left out: absent and empty read
//! alike in the table, and users pay for bytes.
//!
//! **Absent here:** a way for a sender to name a column. Only [`columns::KEYS`] leads to columns, and
//! none of its keys leads to one that the service or cefline fills.
//!
//! cefline's own remarks stand in front of `AdditionalExtensions`: `cefline.mark=truncated` and
//! `cefline.stray=…` (text before the first key). A sender's key that begins with `cefline.` gets a
//! `_` before it, so that remarks cannot be forged.
//!
//! A frame that is not CEF may be a line of a Cisco firewall (`cisco`); any other becomes a row of
//! its own kind that holds the text.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod additional;
mod cisco;
mod json;
mod keys;
mod row;
mod sight;
mod summary;
mod value;

use crate::clock::{Moment, Wall};
pub use crate::columns;
use crate::columns::{ColumnId, id};
use crate::config::{self, DestinationId, Semicolon, TimeGenerated, Unparsed};
use crate::filter::{Effect, Filters, Verdict};
use crate::frame::{End, Frame};
use crate::limits::COLUMN_BYTES_MAX;
use crate::metrics::{Counter, Tally};
use crate::page::pen::LEAD_BYTES_MAX;
use crate::page::{Lead, Look, Pages, Pen, RowPage};
use crate::parse::asa::{self, Line};
use crate::parse::syslog::Memo;
use crate::parse::{self, Escapes, Flaw, Origin, Pair, Record, cef, time};
use keys::KeyTable;
use row::Row;
use sight::{Read, Sight};
use std::net::IpAddr;
use value::TimeText;

/// The service replaces a `TimeGenerated` older than this by the time of receipt...
const TIME_AGE_MAX_NS: i64 = 2 * 86_400 * 1_000_000_000;
/// ...or one further ahead than this.
const TIME_AHEAD_MAX_NS: i64 = 86_400 * 1_000_000_000;
/// The most that JSON makes of one byte of text: `\u0000`.
const ESCAPED_BYTES_MAX: usize = 6;

// columns that no key fills, or that not only a key fills
const TIME: ColumnId = id("TimeGenerated");
const VENDOR: Column = Column::new("DeviceVendor", b",\"DeviceVendor\":\"");
const PRODUCT: Column = Column::new("DeviceProduct", b",\"DeviceProduct\":\"");
const VERSION: Column = Column::new("DeviceVersion", b",\"DeviceVersion\":\"");
const CLASS_ID: Column = Column::new("DeviceEventClassID", b",\"DeviceEventClassID\":\"");
const ACTIVITY: Column = Column::new("Activity", b",\"Activity\":\"");
const SEVERITY: Column = Column::new("LogSeverity", b",\"LogSeverity\":\"");
const MESSAGE: Column = Column::new("Message", b",\"Message\":\"");
const COMPUTER: Column = Column::new("Computer", b",\"Computer\":\"");
const COLLECTOR: Column = Column::new("CollectorHostName", b",\"CollectorHostName\":\"");

/// A text column that is written by name.
#[derive(Debug)]
struct Column {
    id: ColumnId,
    lead: Lead,
}

impl Column {
    const fn new(name: &str, lead: &[u8]) -> Self {
        Column {
            id: id(name),
            lead: Lead::new(lead),
        }
    }
}

/// From where and when a frame came.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The peer's address: the `Computer` of messages that name no host.
    pub peer: IpAddr,
    /// When its last byte was read.
    pub received: Moment,
}

/// A frame that has been read, and not yet written as a row: time to choose the page.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'f> {
    frame: Frame<'f>,
    parsed: Parsed<'f>,
    /// See [`Draft::kind`].
    kind: u64,
}

/// What a frame was read as.
#[derive(Debug, Clone, Copy)]
enum Parsed<'f> {
    /// CEF.
    Record(Record<'f>),
    /// No CEF, but a line of a Cisco firewall.
    Cisco(Line<'f>),
    /// Neither.
    Not(cef::Unparsed, Origin<'f>),
}

impl Draft<'_> {
    /// A number that is the same for messages of one vendor's product, whose rows look alike. Spread
    /// over all bits; not against an adversary, who would gain nothing.
    #[must_use]
    pub fn kind(&self) -> u64 {
        self.kind
    }

    /// What rows look like of which further headers come to this number.
    fn look(&self, shape: u64) -> Look {
        Look {
            shape: (shape >> 32) as u32,
            family: (self.kind >> 32) as u32,
        }
    }
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A row was written.
    Written,
    /// No row, by a rule of `[[filter]]`; counted.
    Filtered,
    /// No row, by configuration or because it is a piece of a frame without a header; counted.
    Lost,
}

/// One frame on its way into a page.
struct Job<'j> {
    source: Source,
    pages: &'j mut dyn Pages,
    tally: &'j mut Tally,
    filters: Option<&'j mut Filters>,
}

/// Turns frames into rows. One for each shard: it owns the scratch memory, so that no row costs an
/// allocation.
#[derive(Debug)]
pub struct Mapper {
    settings: config::Map,
    row_bytes_max: usize,
    /// Syslog headers that were read.
    headers: Memo,
    keys: KeyTable,
    scratch: Scratch,
    /// `CollectorHostName` as a member of the row.
    collector: (Lead, Vec<u8>),
    /// A time of receipt, and its text.
    stamp: (Wall, Lead),
    /// The rules of `[[filter]]`; nothing if there are none.
    filters: Option<Box<Filters>>,
}

/// The pairs of the record at hand, kept so that their memory is used again.
#[derive(Debug)]
struct Scratch {
    /// The pairs, each with the index of its target in the key table if it goes to columns.
    scan: cef::Scan,
    /// For each target, the number of the last record that named it and the index of its last pair.
    last: Vec<(u32, u32)>,
    /// `last` was noted for the record at hand.
    has_places: bool,
    /// Number of the last record whose places were noted; it saves clearing `last`.
    record: u32,
}

impl Scratch {
    /// Notes where the last pair of each target is, and lets only that one go to columns.
    #[inline(never)]
    fn note_places(&mut self) {
        self.record = self.record.wrapping_add(1);
        if self.record == 0 {
            // what was noted four billion records ago is not of this one
            self.last.fill((0, 0));
            self.record = 1;
        }
        let pairs = self.scan.pairs_mut();
        for index in 0..pairs.len() {
            let known = pairs.get(index).map(|pair| usize::from(pair.known));
            let Some(seat) = known.and_then(|known| self.last.get_mut(known)) else {
                continue;
            };
            let (record, earlier) = *seat;
            *seat = (self.record, index as u32);
            if record == self.record
                && let Some(earlier) = pairs.get_mut(earlier as usize)
            {
                earlier.known = Pair::UNKNOWN;
            }
        }
    }

    /// The last pair of a target.
    fn last_of(&self, target: u8) -> Option<&Pair> {
        let pairs = self.scan.pairs();
        if !self.has_places {
            return pairs.iter().rev().find(|pair| pair.known == target);
        }
        let (record, index) = *self.last.get(usize::from(target))?;
        (record == self.record).then(|| pairs.get(index as usize))?
    }
}

/// What is remarked on a row.
#[derive(Debug, Clone, Copy)]
struct Marks {
    end: End,
    flaw: Option<Flaw>,
    shortened: bool,
}

impl Mapper {
    /// A mapper by these settings. `row_bytes_max` is the longest row that fits into one call.
    #[must_use]
    pub fn new(settings: &config::Map, row_bytes_max: usize) -> Self {
        let mut collector = Pen::default();
        Row::new(&mut collector, COLUMN_BYTES_MAX, None).text(
            &COLLECTOR.lead,
            settings.collector_host_name.as_bytes(),
            Escapes::None,
        );
        Mapper {
            settings: settings.clone(),
            row_bytes_max,
            headers: Memo::default(),
            keys: KeyTable::new(),
            scratch: Scratch {
                scan: cef::Scan::default(),
                last: vec![(0, 0); columns::KEYS.len()],
                has_places: false,
                record: 0,
            },
            collector: {
                let (short, rest) = collector
                    .bytes()
                    .split_at(collector.len().min(LEAD_BYTES_MAX));
                (Lead::new(short), rest.to_vec())
            },
            stamp: (Wall::default(), time_member(Wall::default())),
            filters: None,
        }
    }

    /// The same by these rules.
    #[must_use]
    pub fn filtered_by(mut self, filters: Filters) -> Self {
        self.filters = Some(Box::new(filters));
        self
    }

    /// The rules, if there are any.
    pub fn filters(&mut self) -> Option<&mut Filters> {
        self.filters.as_deref_mut()
    }

    /// Gives the rules away, with their state.
    pub fn take_filters(&mut self) -> Option<Filters> {
        self.filters.take().map(|filters| *filters)
    }

    /// What the rules have done to the last frame, in their order.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        self.filters
            .as_ref()
            .map_or(&[], |filters| filters.effects())
    }

    /// Writes rows that tell how many were suppressed, as many as fit into the page for `[sentinel]`.
    /// Those that have to be told are found by [`Filters::look`] and [`Filters::close`].
    pub fn summarize(&mut self, source: Source, pages: &mut dyn Pages, tally: &mut Tally) {
        let Some(mut filters) = self.filters.take() else {
            return;
        };
        while let Some(page) = pages.page(DestinationId::SENTINEL)
            && !page.is_full()
            && let Some(summary) = filters.next_summary()
        {
            if !self.summary(&summary, source, page, tally) {
                tally.add(Counter::SummariesUntold, summary.count);
            }
            filters.told(summary);
        }
        self.filters = Some(filters);
    }

    /// Reads a frame.
    #[must_use]
    pub fn draft<'f>(&mut self, frame: Frame<'f>) -> Draft<'f> {
        let parsed = match parse::parse_with(frame.bytes, &mut self.headers) {
            Ok(record) => Parsed::Record(record),
            Err((why, origin)) => match asa::read(frame.bytes) {
                Some(line) if why == cef::Unparsed::NoCef => Parsed::Cisco(line),
                _ => Parsed::Not(why, origin),
            },
        };
        let kind = match &parsed {
            Parsed::Record(record) => record.family(),
            Parsed::Cisco(line) => parse::fold(1, line.product().as_bytes()),
            Parsed::Not(..) => 0,
        };
        Draft {
            frame,
            parsed,
            kind,
        }
    }

    /// Writes the row of one frame into the page, and counts.
    pub fn map(
        &mut self,
        frame: Frame<'_>,
        source: Source,
        page: &mut RowPage,
        tally: &mut Tally,
    ) -> Outcome {
        let draft = self.draft(frame);
        self.put(&draft, source, page, tally)
    }

    /// Writes the row of a draft into the page for its destination, and counts. Without such a page it
    /// is lost.
    pub fn put(
        &mut self,
        draft: &Draft<'_>,
        source: Source,
        pages: &mut dyn Pages,
        tally: &mut Tally,
    ) -> Outcome {
        // taken out while the row is written by what they want
        let mut filters = self.filters.take();
        let mut job = Job {
            source,
            pages,
            tally,
            filters: filters.as_deref_mut(),
        };
        if let Some(filters) = &mut job.filters {
            filters.begin();
        }
        let outcome = self.put_by(draft, &mut job);
        if let Some(filters) = &mut filters
            && outcome != Outcome::Lost
        {
            filters.note();
        }
        let has_summaries = filters.as_ref().is_some_and(|all| all.has_summaries());
        self.filters = filters;
        if has_summaries {
            self.summarize(source, pages, tally);
        }
        outcome
    }

    fn put_by(&mut self, draft: &Draft<'_>, job: &mut Job<'_>) -> Outcome {
        let source = job.source;
        self.stamp(source.received.wall);
        let end = draft.frame.end;
        match &draft.parsed {
            Parsed::Record(record) => {
                job.tally.add(Counter::RecordsParsed, 1);
                count_flaws(record, job.tally);
                if end == End::Partial {
                    job.tally.add(Counter::FramesPartial, 1);
                }
                self.sort_pairs(record.extension);
                let verdict = self.judge(job, draft, Read::Record(record));
                let look = draft.look(record.shape(draft.kind));
                self.write(job, verdict, |mapper, row, shortened| {
                    row.out.looks(look);
                    mapper.record_row(row, record, source, end, shortened);
                })
            }
            Parsed::Cisco(line) => {
                let fields = line.fields();
                cisco::count(&fields, job.tally);
                if end == End::Partial {
                    job.tally.add(Counter::FramesPartial, 1);
                }
                // there are no pairs: forget those of the record before
                self.sort_pairs(&[]);
                let verdict = self.judge(job, draft, Read::Cisco(line, &fields));
                let look = draft.look(parse::fold(draft.kind, line.id));
                self.write(job, verdict, |mapper, row, shortened| {
                    row.out.looks(look);
                    mapper.cisco_row(row, line, &fields, source, end, shortened);
                })
            }
            Parsed::Not(why, _) if end == End::Partial => {
                count_unparsed(*why, job.tally);
                job.tally.add(Counter::FramesLostPartial, 1);
                Outcome::Lost
            }
            Parsed::Not(why, _) if self.settings.unparsed == Unparsed::Drop => {
                count_unparsed(*why, job.tally);
                job.tally.add(Counter::FramesLostUnparsed, 1);
                Outcome::Lost
            }
            Parsed::Not(why, origin) => {
                count_unparsed(*why, job.tally);
                let verdict = self.judge(job, draft, Read::Not(*why, *origin));
                self.write(job, verdict, |mapper, row, shortened| {
                    mapper.unparsed_row(row, draft.frame, *why, *origin, source, shortened);
                })
            }
        }
    }

    /// What the rules say of a frame, which is sorted if it is a record.
    fn judge(&self, job: &mut Job<'_>, draft: &Draft<'_>, read: Read<'_, '_>) -> Verdict {
        let Some(filters) = &mut job.filters else {
            return Verdict::Pass(DestinationId::SENTINEL);
        };
        let sight = Sight {
            mapper: self,
            source: job.source,
            frame: draft.frame.bytes,
            read,
        };
        filters.judge(&sight, job.source.received.mono)
    }

    /// Writes one row; if it turns out longer than a call can carry, once more with shorter values,
    /// which fit by the sum in [`shortened_column_bytes`]. A row that a rule ends is written too, and
    /// taken back: how long it is, is what the rule has saved.
    fn write(
        &mut self,
        job: &mut Job<'_>,
        verdict: Verdict,
        mut write: impl FnMut(&mut Self, &mut Row<'_>, bool),
    ) -> Outcome {
        let Job {
            source,
            pages,
            tally,
            filters,
        } = job;
        let at = source.received.mono;
        let row_bytes_max = self.row_bytes_max;
        let destination = match verdict {
            Verdict::Pass(destination) => destination,
            // only to be measured
            Verdict::Drop(_) => DestinationId::SENTINEL,
        };
        let lost = |filters: &mut Option<&mut Filters>, tally: &mut Tally, why| {
            if let Some(filters) = filters {
                filters.take_back();
            }
            tally.add(why, 1);
            Outcome::Lost
        };
        let Some(page) = pages.page(destination) else {
            return lost(filters, tally, Counter::FramesLostStop);
        };
        for shortened in [false, true] {
            let column_bytes_max = if shortened {
                let added = filters.as_ref().map_or(0, |all| all.added_bytes_max());
                shortened_column_bytes(row_bytes_max.saturating_sub(added))
            } else {
                COLUMN_BYTES_MAX
            };
            let mut edits = filters.as_deref_mut().and_then(Filters::edits_if_any);
            if let Some(edits) = &mut edits {
                edits.begin_pass();
            }
            let fill = |out: &mut Pen| {
                let mut row = Row::new(out, column_bytes_max, edits);
                write(self, &mut row, shortened);
                row.notes
            };
            let before = page.bytes_len();
            match verdict {
                Verdict::Pass(_) => {
                    let Ok(notes) = page.write_row(at, row_bytes_max, fill) else {
                        continue;
                    };
                    let written = page.bytes_len().saturating_sub(before);
                    tally.add(Counter::RowsShortened, shortened.into());
                    notes.count(tally);
                    tally.add(Counter::RowsWritten, 1);
                    tally.add(Counter::RowBytesWritten, written as u64);
                    return Outcome::Written;
                }
                Verdict::Drop(counter) => {
                    let Ok(bytes) = page.measure_row(row_bytes_max, fill) else {
                        continue;
                    };
                    tally.add(counter, 1);
                    if let Some(filters) = filters {
                        filters.dropped(bytes);
                    }
                    return Outcome::Filtered;
                }
            }
        }
        debug_assert!(
            false,
            "a shortened row fits by the sum in `shortened_column_bytes`"
        );
        lost(filters, tally, Counter::FramesLostRowTooLong)
    }

    /// Makes the text of the time of receipt, unless it is that of the frame before.
    fn stamp(&mut self, wall: Wall) {
        if self.stamp.0 != wall {
            self.stamp.0 = wall;
            self.stamp.1 = time_member(wall);
        }
    }

    /// The first pass: columns by key, the last of equal keys.
    fn sort_pairs(&mut self, extension: &[u8]) {
        let (keys, scratch) = (&self.keys, &mut self.scratch);
        scratch
            .scan
            .read(extension, |start, end| keys.find(extension, start, end));
        scratch.has_places = scratch.scan.has_repeats() || self.filters.is_some();
        if scratch.has_places {
            scratch.note_places();
        }
    }

    /// A row of a record: both passes.
    fn record_row(
        &mut self,
        row: &mut Row<'_>,
        record: &Record<'_>,
        source: Source,
        end: End,
        shortened: bool,
    ) {
        if shortened {
            // the first pass has moved what does not fit
            self.sort_pairs(record.extension);
        }
        self.time_generated(row, record.origin.time, record.extension, source);
        let header = &record.header;
        for (column, text) in [
            (&VENDOR, header.vendor),
            (&PRODUCT, header.product),
            (&VERSION, header.device_version),
            (&CLASS_ID, header.class_id),
            (&ACTIVITY, header.name),
            (&SEVERITY, header.severity),
        ] {
            row.header_column(column, header, text);
        }
        self.computer(row, record.origin, source);
        let has_more = self.columns(row, record.extension, source.received.wall);
        let marks = Marks {
            end,
            flaw: record.flaw,
            shortened,
        };
        if has_more || marks.any() || !record.stray.is_empty() || row.has_repeats() {
            self.additional(row, record, marks);
        }
        row.end();
    }

    /// The row of a frame that is no record.
    fn unparsed_row(
        &mut self,
        row: &mut Row<'_>,
        frame: Frame<'_>,
        why: cef::Unparsed,
        origin: Origin<'_>,
        source: Source,
        shortened: bool,
    ) {
        row.out.lead(&self.stamp.1);
        row.out
            .extend_from_slice(b",\"DeviceVendor\":\"cefline\",\"DeviceProduct\":\"unparsed\"");
        row.text_column(&CLASS_ID, why.code().as_bytes(), Escapes::None);
        row.text_column(&ACTIVITY, why.explanation().as_bytes(), Escapes::None);
        self.computer(row, origin, source);
        row.text_column(&MESSAGE, frame.bytes, Escapes::None);
        let marks = Marks {
            end: frame.end,
            flaw: None,
            shortened,
        };
        if marks.any() || row.has_repeats() {
            row.additional(b';', |more| marks.write(more));
        }
        row.end();
    }

    /// Opens the row with `TimeGenerated`.
    fn time_generated(
        &self,
        row: &mut Row<'_>,
        header: Option<&[u8]>,
        extension: &[u8],
        source: Source,
    ) {
        let row_start = row.out.len().saturating_sub(1);
        let text = match self.settings.time_generated {
            TimeGenerated::Received => None,
            TimeGenerated::Header => Some(header),
            TimeGenerated::DeviceReceipt => Some(self.last_value(b"rt", extension)),
        };
        let mut sent = None;
        if let Some(text) = text {
            let now = source.received.wall;
            let wall = text
                .and_then(|text| self.read_time(text, extension, now))
                .filter(|wall| {
                    let ahead = wall.0.saturating_sub(now.0);
                    (TIME_AGE_MAX_NS.saturating_neg()..=TIME_AHEAD_MAX_NS).contains(&ahead)
                });
            row.notes.time_replaced = wall.is_none();
            sent = wall;
        }
        match sent {
            Some(wall) => row.out.lead(&time_member(wall)),
            None => row.out.lead(&self.stamp.1),
        }
        row.out.mark(row_start, TIME);
    }

    /// `Computer`, by the syslog header or else the peer, and `CollectorHostName`.
    fn computer(&self, row: &mut Row<'_>, origin: Origin<'_>, source: Source) {
        row.column(COMPUTER.id, |row| match origin.host {
            Some(host) => row.text(&COMPUTER.lead, host, Escapes::None),
            None => row.address(&COMPUTER.lead, source.peer),
        });
        row.column(COLLECTOR.id, |row| {
            self.collector_name(row);
            true
        });
    }

    fn collector_name(&self, row: &mut Row<'_>) {
        let (lead, rest) = &self.collector;
        row.out.lead(lead);
        if !rest.is_empty() {
            row.out.extend_from_slice(rest);
        }
    }

    /// Writes the pairs that have columns. True if there are others, or values that do not fit.
    fn columns(&mut self, row: &mut Row<'_>, extension: &[u8], now: Wall) -> bool {
        let mut has_more = false;
        let mut index = 0usize;
        loop {
            let pairs = self.scratch.scan.pairs();
            index = row.plain_pairs(&self.keys, extension, pairs, index, &mut has_more);
            let Some(pair) = pairs.get(index).copied() else {
                break;
            };
            if !pair.value().is_empty() && !self.odd_pair(row, extension, &pair, now) {
                has_more = true;
                if let Some(pair) = self.scratch.scan.pairs_mut().get_mut(index) {
                    pair.known = Pair::UNKNOWN;
                }
            }
            index = index.wrapping_add(1);
        }
        has_more
    }

    /// Writes a pair that is not plain. False if it has no column, or does not fit.
    #[inline(never)]
    fn odd_pair(&self, row: &mut Row<'_>, extension: &[u8], pair: &Pair, now: Wall) -> bool {
        let Some(target) = self.keys.target(pair.known) else {
            return false;
        };
        let read_time = |text: &[u8]| self.read_time(text, extension, now);
        let mut fits = row.pair(&target.slot, extension, pair, &read_time);
        for slot in &target.more {
            fits |= row.pair(slot, extension, pair, &read_time);
        }
        if !fits {
            row.notes.unfit = row.notes.unfit.saturating_add(1);
        }
        fits
    }

    /// Writes `AdditionalExtensions`: remarks, then what has no column, in the sender's order.
    fn additional(&self, row: &mut Row<'_>, record: &Record<'_>, marks: Marks) {
        row.additional(self.semicolon(), |more| {
            marks.write(more);
            if !record.stray.is_empty() {
                more.pair(b"", b"cefline.stray", record.stray);
            }
            for pair in self.scratch.scan.pairs() {
                if pair.known == Pair::UNKNOWN && !pair.value().is_empty() {
                    more.pair_of(record.extension, pair);
                }
            }
        });
    }

    /// What a `;` in `AdditionalExtensions` becomes.
    fn semicolon(&self) -> u8 {
        match self.settings.semicolon {
            Semicolon::Blank => b' ',
            Semicolon::Keep => b';',
        }
    }

    /// The last value of a key that has a column.
    fn last_value<'f>(&self, key: &[u8], extension: &'f [u8]) -> Option<&'f [u8]> {
        self.last_value_at(self.keys.find_key(key)?, extension)
    }

    /// The same by the key's place in [`columns::KEYS`].
    fn last_value_at<'f>(&self, target: u8, extension: &'f [u8]) -> Option<&'f [u8]> {
        let pair = self.scratch.last_of(target)?;
        Some(pair.value().of(extension))
    }

    /// A time of the record at hand: without a zone it is in the device's (`dtz`), or else in the
    /// configured one.
    fn read_time(&self, text: &[u8], extension: &[u8], now: Wall) -> Option<Wall> {
        let zone = || {
            self.last_value(b"dtz", extension)
                .and_then(|zone| time::read_zone(zone.trim_ascii()))
                .unwrap_or_else(|| self.settings.time_zone.clone())
        };
        time::read(text, time::Defaults { now, zone: &zone })
    }
}

/// `TimeGenerated` as the first member of a row.
fn time_member(wall: Wall) -> Lead {
    let text = TimeText::of(wall);
    Lead::joined(&[b"{\"TimeGenerated\":\"", text.bytes(), b"\""])
}

impl Marks {
    fn any(self) -> bool {
        self.end != End::Whole || self.flaw.is_some() || self.shortened
    }

    fn write(self, more: &mut additional::Additional<'_, '_>) {
        let end = match self.end {
            End::Whole => None,
            End::Truncated => Some("frame_truncated"),
            End::Partial => Some("frame_partial"),
        };
        let flaw = self.flaw.map(|flaw| match flaw {
            Flaw::LastPipeMissing => "last_pipe_missing",
            Flaw::SeverityMissing => "severity_missing",
        });
        let shortened = self.shortened.then_some("row_shortened");
        for mark in [end, flaw, shortened].into_iter().flatten() {
            more.mark(b"cefline.mark", mark.as_bytes());
        }
        more.repeats();
    }
}

/// Room for each value of a shortened row: so little that all columns of the table together, each
/// byte escaped at its longest, fit into `row_bytes_max`.
const fn shortened_column_bytes(row_bytes_max: usize) -> usize {
    let columns = columns::COLUMNS.len();
    let values = row_bytes_max.saturating_sub(columns.saturating_mul(LEAD_BYTES_MAX));
    match values.checked_div(columns.saturating_mul(ESCAPED_BYTES_MAX)) {
        Some(bytes) => bytes,
        None => 0,
    }
}

const _: () = assert!(shortened_column_bytes(crate::limits::BODY_BYTES_LEAST) >= 32);

fn count_flaws(record: &Record<'_>, tally: &mut Tally) {
    match record.flaw {
        Some(Flaw::LastPipeMissing) => tally.add(Counter::RecordsDegradedPipe, 1),
        Some(Flaw::SeverityMissing) => tally.add(Counter::RecordsDegradedSeverity, 1),
        None => {}
    }
    if !record.stray.is_empty() {
        tally.add(Counter::RecordsDegradedStray, 1);
    }
}

fn count_unparsed(why: cef::Unparsed, tally: &mut Tally) {
    let counter = match why {
        cef::Unparsed::NoCef => Counter::RecordsUnparsedNoCef,
        cef::Unparsed::HeaderIncomplete => Counter::RecordsUnparsedHeader,
    };
    tally.add(counter, 1);
}
