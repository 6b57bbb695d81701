//! Each pure stage by itself, on generated messages of a dozen vendors: octets to frames, frames to
//! records, frames to rows, rows to gzip. Every answer is checked before it is timed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot be right ends"
)]

#[path = "support/input.rs"]
mod input;

use cefline::clock::Clock;
use cefline::compress::{Gzip, gunzip};
use cefline::config::GzipLevel;
use cefline::deflate::Effort;
use cefline::filter::Filters;
use cefline::limits::BODY_RAW_BYTES_DEFAULT;
use cefline::metrics::{Counter, FilterBook, Tally};
use cefline::page::RowPage;
use cefline::parse;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use input::{SOURCE, cut, frames, lines, map, mapper, rules};
use std::hint::black_box;

const MESSAGES: usize = 10_000;

/// The first rows of the messages, as many as a body of the default size holds.
fn page_of_a_body(lines: &[u8]) -> RowPage {
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
    page
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

/// A body of the rows of a page, in the buffer of an earlier one.
fn gzip(encoder: &mut Gzip, page: &RowPage, out: Vec<u8>) -> Vec<u8> {
    encoder.start(out);
    let rows = (0..page.rows_count()).filter_map(|index| page.row(index));
    rows.for_each(|row| encoder.feed_row(row));
    encoder.finish()
}

fn stages(criterion: &mut Criterion) {
    let lines = lines(MESSAGES);
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

    let page = page_of_a_body(&lines);
    let raw = page.bytes();
    let mut group = criterion.benchmark_group("gzip");
    group.throughput(Throughput::Bytes(raw.len() as u64));
    let rows = [("fast", Effort::Fast), ("dense", Effort::Dense)];
    let rows = rows.map(|(name, effort)| (name.to_owned(), GzipLevel::Auto, effort));
    let zlib = [1, 2, 4, 6];
    let zlib = zlib.map(|level| {
        (
            format!("level_{level}"),
            GzipLevel::Zlib(level),
            Effort::Fast,
        )
    });
    for (name, level, effort) in rows.into_iter().chain(zlib) {
        let mut encoder = Gzip::new(level);
        encoder.set_effort(effort);
        let mut out = gzip(&mut encoder, &page, Vec::new());
        assert!(gunzip(&out, raw.len()).unwrap() == raw);
        println!("{name}: ratio {:.2}", raw.len() as f64 / out.len() as f64);
        group.bench_function(name, |b| {
            b.iter(|| {
                out = gzip(&mut encoder, black_box(&page), std::mem::take(&mut out));
                out.len()
            });
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
