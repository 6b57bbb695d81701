//! Each pure stage by itself, on generated messages of a dozen vendors: octets to frames, frames to
//! records, frames to rows, rows to gzip. Every answer is checked before it is timed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot be right ends"
)]

use cefline::clock::{Clock, Moment, Mono, Wall};
use cefline::config::{self, Filter, FramingChoice};
use cefline::filter::Filters;
use cefline::frame::{Cut, Frame, Framer};
use cefline::generate::{Generator, GeneratorOptions};
use cefline::limits::{BODY_RAW_BYTES_DEFAULT, FRAME_BYTES_DEFAULT};
use cefline::map::{Mapper, Source};
use cefline::metrics::{Counter, FilterBook, Tally};
use cefline::page::RowPage;
use cefline::parse;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::hint::black_box;
use std::io::Write;
use std::net::Ipv4Addr;

const SEED: u64 = 1;
const MESSAGES: usize = 10_000;
/// 2026-11-25T01:59:07Z
const NOW: Wall = Wall(1_795_571_947_000_000_000);

/// Generated messages, one a line.
fn lines() -> Vec<u8> {
    let mut generator = Generator::new(SEED, &GeneratorOptions::default());
    let mut lines = Vec::new();
    for _ in 0..MESSAGES {
        generator.append(NOW, &mut lines);
        lines.push(b'\n');
    }
    lines
}

fn frames(lines: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut framer = Framer::new(FramingChoice::Auto, FRAME_BYTES_DEFAULT);
    let mut at = 0;
    std::iter::from_fn(move || match framer.cut(&lines[at..]) {
        Cut::Frame { frame, used } => {
            at += used;
            Some(frame)
        }
        _ => None,
    })
}

fn cut(lines: &[u8]) -> usize {
    frames(lines).map(black_box).count()
}

fn mapper() -> Mapper {
    let settings = config::Map {
        collector_host_name: "collector-1".into(),
        ..config::Map::of(&config::Machine::read())
    };
    Mapper::new(&settings, BODY_RAW_BYTES_DEFAULT - 2)
}

const SOURCE: Source = Source {
    peer: std::net::IpAddr::V4(Ipv4Addr::LOCALHOST),
    received: Moment {
        mono: Mono(1),
        wall: NOW,
    },
};

/// Maps all frames into one page, begun anew when it is full; gives the rows and their bytes.
fn map(lines: &[u8], mapper: &mut Mapper, page: &mut RowPage, tally: &mut Tally) -> (usize, usize) {
    let (mut rows, mut bytes) = (0, 0);
    for frame in frames(lines) {
        if page.is_full() {
            rows += page.rows_count();
            bytes += page.bytes_len();
            page.reset();
        }
        mapper.map(frame, SOURCE, page, tally);
    }
    rows += page.rows_count();
    bytes += page.bytes_len();
    page.reset();
    (rows, bytes)
}

/// The first rows of the messages, as a body of the default size.
fn body(lines: &[u8]) -> Vec<u8> {
    let mut page = RowPage::new();
    let mut mapper = mapper();
    let mut tally = Tally::default();
    for frame in frames(lines) {
        if page.bytes_len() > BODY_RAW_BYTES_DEFAULT {
            break;
        }
        mapper.map(frame, SOURCE, &mut page, &mut tally);
    }
    let mut body = page.bytes().to_vec();
    body[0] = b'[';
    body.push(b']');
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
    assert_eq!(rows.len(), page.rows_count());
    body
}

/// Fifty rules of a large site: most of them for one vendor, some for all, none of which ends a row
/// of the generated messages, so that every row is written with them as without.
fn rules() -> Vec<Filter> {
    let vendors = [
        "Fortinet",
        "Palo Alto Networks",
        "Check Point",
        "Cisco",
        "F5",
        "FireEye",
        "Darktrace",
        "Imperva Inc.",
        "Trend Micro",
        "Zscaler",
        "CyberArk",
        "Microsoft",
    ];
    let mut text = String::new();
    for number in 0..50 {
        let vendor = vendors[number % vendors.len()];
        let when = match number % 5 {
            0 => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ column = \"Activity\", equals = \"none {number}\" }}]"
            ),
            1 => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ column = \"DeviceAction\", in = [\"a{number}\", \"b\"], ignore_case = true }}, \
                 {{ column = \"DestinationPort\", in = [53, 123] }}]"
            ),
            2 => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ column = \"SourceIP\", cidr = [\"240.0.{number}.0/24\"] }}]"
            ),
            3 => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ column = \"RequestURL\", contains = \"/none/{number}\" }}]"
            ),
            _ if number < 25 => format!(
                "[{{ column = \"DeviceEventClassID\", prefix = \"none-{number}\" }}, \
                 {{ column = \"LogSeverity\", at_most = 3 }}]"
            ),
            _ => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ key = \"none{number}\", exists = true }}]"
            ),
        };
        text += &format!("[[filter]]\nname = \"r{number}\"\nwhen = {when}\naction = \"drop\"\n");
    }
    let file = std::env::temp_dir().join(format!("cefline-rules-{}.toml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let rules = config::read_filters(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(rules.len(), 50);
    rules
}

/// Mapping with fifty rules against mapping without, side by side.
fn filters(criterion: &mut Criterion, lines: &[u8]) {
    let rules = rules();
    let names = rules.iter().map(|rule| rule.name.as_str());
    let counts = FilterBook::default().open(names);
    let mut with = mapper().filtered_by(Filters::new(&rules, counts));
    let mut without = mapper();
    let (mut page, mut tally) = (RowPage::new(), Tally::default());
    let expected = map(lines, &mut without, &mut page, &mut tally);
    assert_eq!(map(lines, &mut with, &mut page, &mut tally), expected);
    // turn by turn, so that what else the machine does meets both alike
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..60 {
        for (index, mapper) in [&mut without, &mut with].into_iter().enumerate() {
            let clock = Clock::start();
            black_box(map(black_box(lines), mapper, &mut page, &mut tally));
            if round >= 10 {
                times[index].push(clock.mono().0 / MESSAGES as u64);
            }
        }
    }
    let [plain, ruled] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    println!(
        "50 filters: {plain} ns a message without, {ruled} with: {:+.1} %",
        100.0 * (ruled as f64 / plain as f64 - 1.0)
    );
    let mut group = criterion.benchmark_group("filters");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("map_without", |b| {
        b.iter(|| map(black_box(lines), &mut without, &mut page, &mut tally));
    });
    group.bench_function("map_with_50", |b| {
        b.iter(|| map(black_box(lines), &mut with, &mut page, &mut tally));
    });
    group.finish();
}

fn gzip(body: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len()), Compression::new(level));
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn stages(criterion: &mut Criterion) {
    let lines = lines();
    let mean = lines.len() / MESSAGES;
    assert!((600..=700).contains(&mean), "{mean} bytes a message");
    assert_eq!(cut(&lines), MESSAGES);

    let mut group = criterion.benchmark_group("per_message");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("frame", |b| b.iter(|| cut(black_box(&lines))));
    group.bench_function("frame_and_parse", |b| {
        b.iter(|| {
            let mut pairs = 0usize;
            for frame in frames(black_box(&lines)) {
                match parse::parse(frame.bytes) {
                    Ok(record) => parse::cef::pairs(record.extension, |pair| {
                        black_box(pair);
                        pairs += 1;
                    }),
                    Err((why, _)) => panic!("{why:?}"),
                }
            }
            pairs
        });
    });
    let (mut mapper, mut page, mut tally) = (mapper(), RowPage::new(), Tally::default());
    let (rows, bytes) = map(&lines, &mut mapper, &mut page, &mut tally);
    assert_eq!(rows, MESSAGES);
    assert_eq!(tally.value(Counter::RecordsParsed), MESSAGES as u64);
    println!("{mean} bytes a message, {} bytes a row", bytes / rows);
    group.bench_function("frame_parse_and_map", |b| {
        b.iter(|| map(black_box(&lines), &mut mapper, &mut page, &mut tally));
    });
    group.finish();
    filters(criterion, &lines);

    let body = body(&lines);
    let mut group = criterion.benchmark_group("gzip");
    group.throughput(Throughput::Bytes(body.len() as u64));
    for level in [1, 2, 4, 6] {
        let packed = gzip(&body, level);
        let mut unpacked = Vec::new();
        std::io::copy(
            &mut flate2::read::GzDecoder::new(&packed[..]),
            &mut unpacked,
        )
        .unwrap();
        assert!(unpacked == body);
        println!(
            "level {level}: ratio {:.2}",
            body.len() as f64 / packed.len() as f64
        );
        group.bench_function(format!("level_{level}"), |b| {
            b.iter(|| gzip(black_box(&body), level));
        });
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = stages
}
criterion_main!(all);
