//! The receive side allocates nothing for a message: once its buffers have their size, a thousand
//! generated messages and every sample, mistakes among them, go from octets to rows without one call of the allocator.
//!
//! One test in this file, since the allocator of the process counts.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/samples.rs"]
#[expect(dead_code, reason = "only the frames of the samples are of use here")]
mod samples;

use cefline::clock::{Moment, Mono, Wall};
use cefline::config::{self, FramingChoice, Semicolon, TimeGenerated, Unparsed};
use cefline::filter::Filters;
use cefline::frame::{Cut, Framer};
use cefline::generate::{Generator, GeneratorOptions};
use cefline::limits::{BODY_RAW_BYTES_DEFAULT, FRAME_BYTES_DEFAULT};
use cefline::map::{Mapper, Source};
use cefline::metrics::{Counter, FilterBook, Tally};
use cefline::page::RowPage;
use jiff::tz::TimeZone;

/// 2026-11-25T02:07:07Z
const NOW: Wall = Wall(1_795_572_427_000_000_000);

/// Everything that goes over one connection, with the number of frames in it.
struct Stream {
    framing: FramingChoice,
    bytes: Vec<u8>,
    frames_count: u64,
}

fn streams() -> Vec<Stream> {
    let mut messages: Vec<Vec<u8>> = samples::all().into_iter().map(|s| s.frame).collect();
    // mistakes that a sender repeats in every message
    messages.extend(
        [
            "start=Nov 31 2026 01:59:07 rt=Feb 29 01:59:07",
            "start=Feb 29 25:61:07 end=9999-12-31T23:59:59Z",
            "start=2026-13-41T01:59:07Z end=$timestamp cn1=many cfp1=1e999 cnt=99999999999",
            "start=18446744073709551615 end=Nov 25 2026 01:59:07 IST dtz=+9999",
        ]
        .map(|extension| format!("<134>Nov 31 25:61:07 gw CEF:0|V|P|1|c|n|5|{extension}").into()),
    );
    let mut generator = Generator::new(1, &GeneratorOptions::default());
    for _ in 0..1000 {
        let mut message = Vec::new();
        generator.append(NOW, &mut message);
        messages.push(message);
    }
    [FramingChoice::Delimited, FramingChoice::OctetCounting]
        .map(|framing| {
            let mut bytes = Vec::new();
            for message in &messages {
                if framing == FramingChoice::OctetCounting {
                    bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
                }
                bytes.extend_from_slice(message);
                if framing == FramingChoice::Delimited {
                    bytes.push(b'\n');
                }
            }
            Stream {
                framing,
                bytes,
                frames_count: messages.len() as u64,
            }
        })
        .into()
}

/// One pass over the stream, as a shard makes it.
fn forward(stream: &Stream, mapper: &mut Mapper, page: &mut RowPage, tally: &mut Tally) {
    let mut framer = Framer::new(stream.framing, FRAME_BYTES_DEFAULT);
    let mut from = 0;
    // each message a moment later than the one before, so that its stamp is written anew
    let mut wall = NOW;
    loop {
        from += match framer.cut(&stream.bytes[from..]) {
            Cut::Frame { frame, used } => {
                wall.0 += 1_000_000;
                let received = Moment {
                    mono: Mono(1),
                    wall,
                };
                let peer = [192, 0, 2, 7].into();
                mapper.map(frame, Source { peer, received }, page, tally);
                if page.is_full() {
                    page.reset();
                }
                used
            }
            Cut::Blank { used } | Cut::Skip { used } => used,
            Cut::More => return,
            Cut::Broken => panic!("broken at {from}"),
        };
    }
}

/// The rules that are shipped.
fn rules() -> Vec<config::Filter> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/filters.toml");
    config::read_filters(file.as_ref()).unwrap()
}

#[test]
fn octets_become_rows_without_an_allocation() {
    let rules = rules();
    for time_generated in [
        TimeGenerated::Received,
        TimeGenerated::Header,
        TimeGenerated::DeviceReceipt,
    ] {
        for stream in streams() {
            let settings = config::Map {
                time_generated,
                collector_host_name: "collector".into(),
                time_zone: TimeZone::get("Europe/Berlin").unwrap(),
                unparsed: Unparsed::Forward,
                semicolon: Semicolon::Blank,
            };
            for rules in [&[][..], &rules] {
                let mut mapper = Mapper::new(&settings, BODY_RAW_BYTES_DEFAULT);
                if !rules.is_empty() {
                    let names = rules.iter().map(|rule| rule.name.as_str());
                    let counts = FilterBook::default().open(names);
                    mapper = mapper.filtered_by(Filters::new(rules, counts));
                }
                let mut page = RowPage::new();
                let mut tally = Tally::default();
                // a key is kept when it comes first: each row that is sampled in turn has to come once
                let passes_before = if rules.is_empty() { 1 } else { 10 };
                for _ in 0..passes_before {
                    forward(&stream, &mut mapper, &mut page, &mut tally);
                }
                let allocations = allocation_counter::measure(|| {
                    forward(&stream, &mut mapper, &mut page, &mut tally);
                });
                assert_eq!(allocations.count_total, 0, "{allocations:?}");
                let ended = ["drop", "sample", "rate_limit", "deduplicate"]
                    .into_iter()
                    .zip([
                        Counter::RowsFilteredDrop,
                        Counter::RowsFilteredSample,
                        Counter::RowsFilteredRate,
                        Counter::RowsFilteredDuplicate,
                    ]);
                let mut filtered_count = 0;
                for (word, counter) in ended {
                    // each kind of rule has been at work
                    let has_any = tally.value(counter) > 0;
                    assert_eq!(has_any, !rules.is_empty(), "{word}");
                    filtered_count += tally.value(counter);
                }
                let rows_count = tally.value(Counter::RowsWritten);
                let passes = passes_before + 1;
                assert_eq!(rows_count + filtered_count, passes * stream.frames_count);
            }
        }
    }
}
