//! Streams of bytes, well formed and not, over real sockets: each byte, frame and row ends where the
//! pure stages say it does.
//!
//! The samples of this repository always take part; so does the corpus of real vendors' messages
//! and malformed streams where it lies beside the repository (`CEFLINE_CORPUS` names another place).

use crate::beside_others;
use crate::corpus::corpus;
use crate::process::{Keys, SOON, until};
use crate::rig::Rig;
use cefline::clock::Clock;
use cefline::config::{self, FramingChoice, Machine};
use cefline::emulator::stamp::{parse_time, time_text};
use cefline::frame::Frame;
use cefline::limits::{BODY_RAW_BYTES_DEFAULT, FRAME_BYTES_DEFAULT};
use cefline::listen::connection::{Connection, Fed, Sink};
use cefline::map::columns::{COLUMNS, Kind};
use cefline::map::{Mapper, Source};
use cefline::metrics::{Counter, Tally};
use cefline::page::RowPage;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often each stream is sent, each time in other cuts.
const ROUNDS: u64 = 3;
/// Senders at once.
const SENDERS: usize = 4;
/// A first frame that settles on octet counting, whatever comes behind it.
const GUARD: &[u8] = b"3 <1>";

/// Counted at the same places by the pure stages and by the program, whatever the cuts.
const COUNTERS: &[Counter] = &[
    Counter::FramesReceived,
    Counter::FramesTruncated,
    Counter::FramesPartial,
    Counter::FramingErrors,
    Counter::FramesLostPartial,
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
    Counter::RowsWritten,
    Counter::RowsShortened,
];

#[test]
fn samples_become_the_rows_that_the_mapper_makes_of_them() {
    let _machine = beside_others();
    let frames = samples();
    assert!(frames.len() > 150);
    let lines: Vec<u8> = frames
        .iter()
        .filter(|frame| !frame.contains(&b'\n') && !frame.contains(&0))
        .flat_map(|frame| [frame, &b"\n"[..]].concat())
        .collect();
    compare(vec![lines, counted(frames.iter().map(Vec::as_slice))]);
}

#[test]
fn real_vendors_lines_become_the_rows_that_the_mapper_makes_of_them() {
    let _machine = beside_others();
    let Some(folder) = corpus() else { return };
    let mut streams = Vec::new();
    for path in files_of(&folder, "log") {
        let lines = fs::read(path).unwrap();
        let frames = lines.split(|byte| *byte == b'\n');
        streams.push(counted(frames.filter(|frame| !frame.is_empty())));
        streams.push(lines);
    }
    assert!(streams.len() > 60, "{} streams", streams.len());
    compare(streams);
}

#[test]
fn malformed_streams_end_as_the_pure_stages_say() {
    let _machine = beside_others();
    let Some(folder) = corpus() else { return };
    let folder = folder.join("malformed");
    let index = fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let streams: Vec<Vec<u8>> = index
        .lines()
        .map(|line| {
            let case: Value = serde_json::from_str(line).unwrap();
            fs::read(folder.join(case["file"].as_str().unwrap())).unwrap()
        })
        .collect();
    assert_eq!(streams.len(), 69);
    compare(streams);
}

fn files_of(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

/// The frames of `tests/samples`.
fn samples() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut frames = Vec::new();
    for path in files_of(&folder, "toml") {
        let file: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
        for sample in file["sample"].as_array().unwrap() {
            let text = |key: &str| sample.get(key).and_then(toml::Value::as_str);
            frames.push(match text("raw") {
                Some(raw) => raw.as_bytes().to_vec(),
                None => without_hex_escapes(text("bytes").unwrap()),
            });
        }
    }
    frames
}

/// `\xHH` stands for a byte.
fn without_hex_escapes(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

/// A stream of counted frames.
fn counted<'f>(frames: impl Iterator<Item = &'f [u8]>) -> Vec<u8> {
    let mut stream = GUARD.to_vec();
    for frame in frames {
        stream.extend_from_slice(format!("{} ", frame.len()).as_bytes());
        stream.extend_from_slice(frame);
    }
    stream
}

/// A row's values as text; see [`plain`].
type Row = BTreeMap<String, String>;

/// Sends the streams to a forwarder and holds counts and rows against those of the pure stages.
fn compare(streams: Vec<Vec<u8>>) {
    let seed = 0x5eed_0a11;
    println!("seed {seed:#x}, {} streams", streams.len());
    let mut rig = Rig::start(Keys {
        more: "[map]\ncollector_host_name = \"collector\"",
        ..Keys::default()
    });
    let expected = Expected::of(&streams);
    let frames_count = expected.tally.value(Counter::FramesReceived) * ROUNDS;
    for round in 0..ROUNDS {
        let share = streams.len().div_ceil(SENDERS);
        thread::scope(|scope| {
            for (number, streams) in (0..).zip(streams.chunks(share)) {
                let mut random = fastrand::Rng::with_seed(seed ^ (round << 8) ^ number);
                let to = rig.tcp();
                scope.spawn(move || {
                    for stream in streams {
                        send_in_cuts(to, stream, &mut random);
                    }
                });
            }
        });
    }
    let snapshot = rig.settled(frames_count);
    for counter in COUNTERS {
        let wanted = expected.tally.value(*counter) * ROUNDS;
        assert_eq!(snapshot.value(*counter), wanted, "{counter:?}");
    }
    let lost = snapshot.frames_lost() + snapshot.rows_lost();
    let rows_count = snapshot.value(Counter::RowsUploaded);
    assert_eq!(frames_count, rows_count + lost);
    until(
        "the bytes of the last connections are counted",
        SOON,
        || {
            let value = |counter| rig.count(counter);
            let discarded = value(Counter::BytesDiscardedTooLong)
                + value(Counter::BytesDiscardedBroken)
                + value(Counter::BytesDiscardedPartial);
            let received = value(Counter::BytesReceived);
            (received == value(Counter::BytesFramed) + discarded).then_some(())
        },
    );
    rig.stop();

    let mut found = counts_of(rows_of_table(&rig));
    for (row, count) in counts_of(expected.rows) {
        let count_found = found.remove(&row).unwrap_or(0);
        if count_found != count * ROUNDS {
            // the row of the table that has most in common with it
            let common = |other: &&Row| {
                row.iter()
                    .filter(|cell| other.get(cell.0) == Some(cell.1))
                    .count()
            };
            let nearest = found.keys().max_by_key(common);
            panic!(
                "{count_found} and not {count} * {ROUNDS} times: {row:#?}\nnearest: {nearest:#?}"
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    let notes = rig.emulator.stats().notes;
    assert_eq!(notes, cefline::emulator::rows::Notes::default());
    println!("{rows_count} rows, {lost} frames lost");
}

/// Sends one stream over a connection of its own and waits until it was read, or cut off.
fn send_in_cuts(to: SocketAddr, stream: &[u8], random: &mut fastrand::Rng) {
    let mut socket = TcpStream::connect(to).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut cuts: Vec<usize> = (0..random.usize(0..20))
        .map(|_| random.usize(0..=stream.len()))
        .chain([0, stream.len()])
        .collect();
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        // a broken stream is closed before we are done
        if socket.write_all(&stream[pair[0]..pair[1]]).is_err() {
            return;
        }
        if random.u8(0..8) == 0 {
            // time for the receiver to read up to here
            thread::sleep(Duration::from_millis(2));
        }
    }
    let _ = socket.shutdown(Shutdown::Write);
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut nothing = Vec::new();
    // an end, or a reset; not a time-out
    if let Err(error) = socket.read_to_end(&mut nothing) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert!(nothing.is_empty());
}

/// What the pure stages make of the streams.
struct Expected {
    tally: Tally,
    rows: Vec<Row>,
}

/// Maps every frame.
struct Desk {
    mapper: Mapper,
    page: RowPage,
}

impl Sink for Desk {
    fn is_ready(&mut self, _: &mut Tally) -> bool {
        true
    }

    fn take(&mut self, frame: Frame<'_>, tally: &mut Tally) {
        let source = Source {
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            received: Clock::start().now(),
        };
        self.mapper.map(frame, source, &mut self.page, tally);
    }
}

impl Expected {
    fn of(streams: &[Vec<u8>]) -> Expected {
        let settings = config::Map {
            collector_host_name: "collector".into(),
            ..config::Map::of(&Machine::read())
        };
        let mut desk = Desk {
            mapper: Mapper::new(&settings, BODY_RAW_BYTES_DEFAULT - 2),
            page: RowPage::new(),
        };
        let mut tally = Tally::default();
        let now = Clock::start().mono();
        for stream in streams {
            let mut connection = Connection::new(FramingChoice::Auto, FRAME_BYTES_DEFAULT);
            match connection.feed(stream, now, &mut desk, &mut tally) {
                Fed::All => connection.finish(&mut desk, &mut tally),
                Fed::Broken => {}
                Fed::Stalled => panic!("the desk is always ready"),
            }
        }
        Expected {
            rows: rows_of_page(&desk.page),
            tally,
        }
    }
}

fn rows_of_page(page: &RowPage) -> Vec<Row> {
    let mut start = 0;
    let rows = page.ends().iter().map(|end| {
        let row = &page.bytes()[start + 1..*end as usize];
        start = *end as usize;
        let row: BTreeMap<String, Value> = serde_json::from_slice(row).unwrap();
        plain(row.into_iter())
    });
    rows.collect()
}

fn rows_of_table(rig: &Rig) -> Vec<Row> {
    let answer = rig
        .emulator
        .query("CommonSecurityLog | project-away Type")
        .unwrap();
    assert!(!answer.is_cut);
    let names: Vec<String> = answer
        .columns
        .iter()
        .map(|column| column.name.clone())
        .collect();
    let rows = answer.rows().into_iter();
    rows.map(|row| plain(names.iter().cloned().zip(row)))
        .collect()
}

/// Values in one form for pages and answers; without empty ones and the time of receipt.
fn plain(cells: impl Iterator<Item = (String, Value)>) -> Row {
    let kind_of = |name: &str| {
        let column = COLUMNS.iter().find(|column| column.name == name);
        column.map_or(Kind::Text, |column| column.kind)
    };
    cells
        .filter(|(name, _)| name != "TimeGenerated")
        .map(|(name, value)| {
            let text = match (kind_of(&name), &value) {
                (_, Value::Null) => String::new(),
                (Kind::DateTime, Value::String(text)) => time_text(parse_time(text).unwrap()),
                (Kind::Real, Value::Number(number)) => number.as_f64().unwrap().to_string(),
                (_, Value::String(text)) => text.clone(),
                (_, other) => other.to_string(),
            };
            (name, text)
        })
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

fn counts_of(rows: Vec<Row>) -> BTreeMap<Row, u64> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row).or_default() += 1;
    }
    counts
}
