//! The receive side against its plain twin: every frame, however odd, gives the same record, the
//! same row and the same counts in both.
//!
//! The twin (`record`, `row`, `time`) is written from the rules, not from the code: byte by byte,
//! with a copy of everything. What it disagrees on is shrunk and printed as a string that may be
//! pasted into a test. `CEFLINE_SEED` and `CEFLINE_CASES` set the seed and the number of frames.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod framing;
mod generate;
mod record;
mod row;
#[path = "../support/samples.rs"]
#[expect(dead_code, reason = "only the frames of the samples are of use here")]
mod samples;
mod time;

use cefline::clock::{Moment, Mono, Wall};
use cefline::config::{self, Semicolon, TimeGenerated, Unparsed};
use cefline::frame::{End, Frame};
use cefline::map::{Mapper, Source};
use cefline::metrics::{Counter, Tally};
use cefline::page::RowPage;
use cefline::parse::{self, Flaw, cef, time as fast_time};
use fastrand::Rng;
use jiff::tz::TimeZone;
use record::{Envelope, Reading, Record};
use serde_json::{Map, Value};

/// Frames in all, if not set.
const CASES_DEFAULT: u64 = 1_000_000;
/// 2026-11-25T02:07:07Z
const NOW: i64 = 1_795_572_427_000_000_000;
/// The longest rows: one that nothing here reaches, one that long extensions pass.
const ROW_BYTES_MAX: [usize; 2] = [1_000_000, 20_000];

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    }
}

/// One way to set up the mapper, with a mapper that is kept over many frames.
struct Setup {
    settings: config::Map,
    row_bytes_max: usize,
    mapper: Mapper,
}

fn setups() -> Vec<Setup> {
    let mut setups = Vec::new();
    for time_generated in [
        TimeGenerated::Received,
        TimeGenerated::Header,
        TimeGenerated::DeviceReceipt,
    ] {
        for (unparsed, semicolon) in [
            (Unparsed::Forward, Semicolon::Blank),
            (Unparsed::Drop, Semicolon::Keep),
        ] {
            for zone in ["UTC", "Europe/Berlin"] {
                for row_bytes_max in ROW_BYTES_MAX {
                    let settings = config::Map {
                        time_generated,
                        collector_host_name: "collector".into(),
                        time_zone: TimeZone::get(zone).unwrap(),
                        unparsed,
                        semicolon,
                    };
                    setups.push(Setup {
                        mapper: Mapper::new(&settings, row_bytes_max),
                        settings,
                        row_bytes_max,
                    });
                }
            }
        }
    }
    setups
}

fn source() -> Source {
    Source {
        peer: "192.0.2.7".parse().unwrap(),
        received: Moment {
            mono: Mono(1),
            wall: Wall(NOW),
        },
    }
}

/// What fast and twin disagree on, if they do. Adds what was counted to `sums`.
fn disagreement(
    frame: &[u8],
    end: End,
    setup: &mut Setup,
    page: &mut RowPage,
    sums: &mut Tally,
) -> Option<String> {
    let (found, expected) = (fast_reading(frame), record::read(frame));
    if found != expected {
        return Some(format!("fast: {found:?}\ntwin: {expected:?}"));
    }
    page.reset();
    let mut tally = Tally::default();
    let whole = Frame { bytes: frame, end };
    setup.mapper.map(whole, source(), page, &mut tally);
    let expected = row::expected(frame, end, &setup.settings, source(), setup.row_bytes_max);
    let row = match page.rows_count() {
        0 => None,
        1 => match members(&page.bytes()[1..]) {
            Ok(row) => Some(row),
            Err(error) => return Some(format!("{error}: {:?}", page.bytes().escape_ascii())),
        },
        more => return Some(format!("{more} rows")),
    };
    if row != expected.row {
        return Some(difference(row.as_ref(), expected.row.as_ref()));
    }
    if page.bytes_len() != expected.row_bytes || expected.row_bytes > setup.row_bytes_max {
        return Some(format!(
            "{} bytes, {}",
            page.bytes_len(),
            expected.row_bytes
        ));
    }
    for counter in Counter::ALL {
        sums.add(*counter, tally.value(*counter));
        let expected = expected.counts.get(counter).copied().unwrap_or(0);
        if tally.value(*counter) != expected {
            let found = tally.value(*counter);
            return Some(format!("{counter:?}: fast {found}, twin {expected}"));
        }
    }
    None
}

/// The fast reading in the twin's form.
fn fast_reading(frame: &[u8]) -> Reading {
    let envelope = |origin: parse::Origin<'_>| Envelope {
        pri: origin.pri,
        time: origin.time.map(<[u8]>::to_vec),
        host: origin.host.map(<[u8]>::to_vec),
    };
    let record = match parse::parse(frame) {
        Ok(record) => record,
        Err((why, origin)) => {
            let line = parse::asa::read(frame).filter(|_| why == cef::Unparsed::NoCef);
            let Some(line) = line else {
                return Reading::Unparsed(why.code(), envelope(origin));
            };
            return Reading::Cisco(record::Line {
                envelope: envelope(line.origin),
                product: line.product(),
                level: line.level.to_vec(),
                id: line.id.to_vec(),
                text: line.text.to_vec(),
            });
        }
    };
    let mut pairs = Vec::new();
    cef::pairs(record.extension, |pair| {
        pairs.push((
            pair.key().of(record.extension).to_vec(),
            pair.value().of(record.extension).to_vec(),
        ));
    });
    let header = record.header;
    Reading::Record(Record {
        envelope: envelope(record.origin),
        header: [
            header.version,
            header.vendor,
            header.product,
            header.device_version,
            header.class_id,
            header.name,
            header.severity,
        ]
        .map(<[u8]>::to_vec)
        .into(),
        stray: record.stray.to_vec(),
        pairs,
        flaw: record.flaw.map(|flaw| match flaw {
            Flaw::LastPipeMissing => "last_pipe_missing",
            Flaw::SeverityMissing => "severity_missing",
        }),
    })
}

/// The members of a row, no name twice.
fn members(json: &[u8]) -> Result<Map<String, Value>, String> {
    struct Row(Vec<(String, Value)>);
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Row;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a row")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
            let mut members = Vec::new();
            while let Some(name) = map.next_key::<String>()? {
                // serde_json's own reading of a real number may be off by its last bit
                let cell = if name.starts_with("DeviceCustomFloatingPoint") && !name.ends_with('l')
                {
                    let text: &serde_json::value::RawValue = map.next_value()?;
                    let _: serde_json::Number = serde_json::from_str(text.get()).unwrap();
                    text.get().parse::<f64>().unwrap().into()
                } else {
                    map.next_value()?
                };
                members.push((name, cell));
            }
            Ok(Row(members))
        }
    }
    impl<'de> serde::Deserialize<'de> for Row {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Row, D::Error> {
            deserializer.deserialize_map(Visitor)
        }
    }
    let row: Row = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let mut members = Map::new();
    for (name, cell) in row.0 {
        if members.insert(name.clone(), cell).is_some() {
            return Err(format!("{name} twice"));
        }
    }
    Ok(members)
}

fn difference(fast: Option<&Map<String, Value>>, twin: Option<&Map<String, Value>>) -> String {
    let (Some(fast), Some(twin)) = (fast, twin) else {
        return format!("fast: {fast:?}\ntwin: {twin:?}");
    };
    let names: std::collections::BTreeSet<&String> = fast.keys().chain(twin.keys()).collect();
    names
        .into_iter()
        .filter(|name| fast.get(*name) != twin.get(*name))
        .map(|name| {
            format!(
                "{name}: fast {:?}, twin {:?}\n",
                fast.get(name),
                twin.get(name)
            )
        })
        .collect()
}

/// Takes pieces out of a frame as long as it still fails.
fn shrunk(frame: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let mut piece = frame.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < frame.len() {
            let mut shorter = frame.clone();
            shorter.drain(at..(at + piece).min(frame.len()));
            if fails(&shorter) {
                frame = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    frame
}

/// Runs half of the cases on frames from `make`.
fn compare(seed_offset: u64, mut make: impl FnMut(&mut Rng) -> Vec<u8>) {
    let seed = from_environment("CEFLINE_SEED", 0x5eed_0005).wrapping_add(seed_offset);
    let cases = from_environment("CEFLINE_CASES", CASES_DEFAULT).div_ceil(2);
    println!(
        "CEFLINE_SEED={} CEFLINE_CASES={}",
        seed.wrapping_sub(seed_offset),
        cases * 2
    );
    let mut random = Rng::with_seed(seed);
    let mut setups = setups();
    let mut page = RowPage::new();
    let mut sums = Tally::default();
    for case in 0..cases {
        let frame = make(&mut random);
        let end = match random.usize(..10) {
            0 => End::Truncated,
            1 => End::Partial,
            _ => End::Whole,
        };
        let index = random.usize(..setups.len());
        let Some(first) = disagreement(&frame, end, &mut setups[index], &mut page, &mut sums)
        else {
            continue;
        };
        // with a new mapper each time, unless the frame fails only behind others
        let fresh = |frame: &[u8]| {
            let setup = &mut self::setups()[index];
            disagreement(
                frame,
                end,
                setup,
                &mut RowPage::new(),
                &mut Tally::default(),
            )
        };
        let shortest = shrunk(&frame, |frame| fresh(frame).is_some());
        let settings = &setups[index].settings;
        panic!(
            "case {case} of seed {seed}, {end:?}, {settings:?}\n{first}\nframe: b\"{}\"\nshrunk: b\"{}\"\n{}",
            frame.escape_ascii(),
            shortest.escape_ascii(),
            fresh(&shortest).unwrap_or_else(|| "fails only behind the frames before it".into()),
        );
    }
    // the frames reach every way in which one can end
    let reached = [
        Counter::FramesLostPartial,
        Counter::FramesLostUnparsed,
        Counter::FramesPartial,
        Counter::RecordsParsed,
        Counter::RecordsCiscoFields,
        Counter::RecordsCiscoText,
        Counter::RecordsUnparsedNoCef,
        Counter::RecordsUnparsedHeader,
        Counter::RecordsDegradedSeverity,
        Counter::RecordsDegradedPipe,
        Counter::RecordsDegradedStray,
        Counter::RecordsInvalidUtf8,
        Counter::ValuesTruncated,
        Counter::ValuesUnfit,
        Counter::TimesReplaced,
        Counter::RowsShortened,
    ];
    for counter in reached {
        println!("{counter:?} {}", sums.value(counter));
        assert!(
            cases < 50_000 || sums.value(counter) > 0,
            "{counter:?} was never reached"
        );
    }
}

#[test]
fn composed_frames_give_the_same_in_both() {
    compare(0, generate::frame);
}

#[test]
fn broken_frames_give_the_same_in_both() {
    let samples: Vec<Vec<u8>> = samples::all().into_iter().map(|s| s.frame).collect();
    compare(1, |random| generate::mutated(random, &samples));
}

#[test]
fn times_give_the_same_in_both() {
    let seed = from_environment("CEFLINE_SEED", 0x5eed_0006);
    let cases = from_environment("CEFLINE_CASES", CASES_DEFAULT).div_ceil(4);
    println!("CEFLINE_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    for _ in 0..cases {
        let mut text = generate::time(&mut random).into_bytes();
        if random.bool() {
            text = generate::mutated(&mut random, &[text]);
        }
        // mostly near to the times, and now and then in a century without its leap year
        let seconds = match random.usize(..4) {
            0 => random.i64(-2_300_000_000..4_300_000_000),
            _ => NOW / 1_000_000_000 + random.i64(-400..400) * 86_400,
        };
        let now = seconds * 1_000_000_000;
        let fast = |text: &[u8]| {
            let zone = || berlin.clone();
            let defaults = fast_time::Defaults {
                now: Wall(now),
                zone: &zone,
            };
            fast_time::read(text, defaults).map(|wall| wall.0)
        };
        let twin = |text: &[u8]| time::read(text, now, &time::Zone::Named(berlin.clone()));
        if fast(&text) != twin(&text) {
            let text = shrunk(&text, |text| fast(text) != twin(text));
            let (fast, twin) = (fast(&text), twin(&text));
            panic!(
                "{}: fast {fast:?}, twin {twin:?}, now {now}",
                text.escape_ascii()
            );
        }
    }
}
