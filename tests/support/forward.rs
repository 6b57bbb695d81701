//! The receive side as one function: frames or a stream of bytes in, rows and counts out.

use cefline::clock::{Moment, Mono, Wall};
use cefline::config::{self, FramingChoice, Semicolon, TimeGenerated, Unparsed};
use cefline::frame::{Cut, Frame, Framer};
use cefline::map::{Mapper, Outcome, Source};
use cefline::metrics::{Counter, Tally};
use cefline::page::RowPage;
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr};

/// 2026-11-25T02:07:07Z, the moment at which everything is received.
pub(crate) const NOW: Wall = Wall(1_795_572_427_000_000_000);
/// [`NOW`] as it stands in rows.
pub(crate) const NOW_TEXT: &str = "2026-11-25T02:07:07Z";
/// Who sends.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// Longest row: what one call carries by default.
pub(crate) const ROW_BYTES_MAX: usize = cefline::limits::BODY_RAW_BYTES_DEFAULT - 2;

/// The default settings, with a fixed host name and UTC.
pub(crate) fn settings() -> config::Map {
    config::Map {
        time_generated: TimeGenerated::Received,
        collector_host_name: "collector".into(),
        time_zone: jiff::tz::TimeZone::UTC,
        unparsed: Unparsed::Forward,
        semicolon: Semicolon::Blank,
    }
}

/// From where and when everything comes.
pub(crate) fn source() -> Source {
    Source {
        peer: PEER,
        received: Moment {
            mono: Mono(1),
            wall: NOW,
        },
    }
}

/// What became of the bytes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// The rows, in order.
    pub(crate) rows: Vec<Map<String, Value>>,
    /// Frames cut.
    pub(crate) frames_count: u64,
    /// What the mapper counted.
    pub(crate) tally: Tally,
    /// The stream ended in a broken octet count.
    pub(crate) broken: bool,
    /// Bytes behind a broken count, or unfinished and no frame.
    pub(crate) bytes_left: usize,
}

impl Ended {
    /// Frames that did not become rows, over all reasons.
    pub(crate) fn frames_lost(&self) -> u64 {
        Counter::ALL
            .iter()
            .filter(|counter| counter.name() == "frames_lost_total")
            .map(|counter| self.tally.value(*counter))
            .sum()
    }

    fn frame(&mut self, frame: Frame<'_>, mapper: &mut Mapper, page: &mut RowPage) {
        self.frames_count += 1;
        let before = page.rows_count();
        let outcome = mapper.map(frame, source(), page, &mut self.tally);
        let written = page.rows_count() - before;
        assert_eq!(written, usize::from(outcome == Outcome::Written));
    }
}

/// Shows a connection's bytes to framer and mapper in pieces that end at `cuts` (ascending) and at
/// the end, where the connection ends.
pub(crate) fn forward(stream: &[u8], cuts: &[usize], frame_bytes_max: usize) -> Ended {
    let mut framer = Framer::new(FramingChoice::Auto, frame_bytes_max);
    let mut mapper = Mapper::new(&settings(), ROW_BYTES_MAX);
    let mut page = RowPage::new();
    let mut ended = Ended::default();
    let mut held: Vec<u8> = Vec::new();
    let mut shown = 0;
    'pieces: for end in cuts.iter().copied().chain([stream.len()]) {
        held.extend_from_slice(&stream[shown..end]);
        shown = end;
        let mut from = 0;
        loop {
            from += match framer.cut(&held[from..]) {
                Cut::Frame { frame, used } => {
                    ended.frame(frame, &mut mapper, &mut page);
                    used
                }
                Cut::Blank { used } | Cut::Skip { used } => used,
                Cut::More => break,
                Cut::Broken => {
                    ended.broken = true;
                    ended.bytes_left = held.len() - from + stream.len() - shown;
                    break 'pieces;
                }
            };
        }
        held.drain(..from);
        // what a shard must hold for one connection is bounded by the longest frame
        assert!(held.len() <= frame_bytes_max + 16, "{} held", held.len());
    }
    if !ended.broken {
        match framer.finish(&held) {
            Some(frame) => ended.frame(frame, &mut mapper, &mut page),
            None => ended.bytes_left = held.len(),
        }
    }
    ended.rows = rows(&page);
    ended
}

/// The rows of a page, each checked to be a JSON object behind a comma.
pub(crate) fn rows(page: &RowPage) -> Vec<Map<String, Value>> {
    let mut start = 0;
    let mut rows = Vec::new();
    for end in page.ends() {
        let end = *end as usize;
        assert_eq!(page.bytes()[start], b',');
        let row = &page.bytes()[start + 1..end];
        rows.push(serde_json::from_slice(row).unwrap());
        start = end;
    }
    assert_eq!(start, page.bytes().len());
    rows
}
