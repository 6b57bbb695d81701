//! The encoder that knows the rows against flate2 at level 1, on rows of generated messages of a dozen
//! vendors. Every body is read back before it is timed.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be right ends")]

use cefline::clock::{Moment, Mono, Wall};
use cefline::config;
use cefline::deflate::{Effort, Encoder, Mark, Row};
use cefline::frame::{End, Frame};
use cefline::generate::{Generator, GeneratorOptions};
use cefline::limits::BODY_RAW_BYTES_DEFAULT;
use cefline::map::{Mapper, Source};
use cefline::metrics::Tally;
use cefline::page::RowPage;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Compress, Compression, FlushCompress, Status};
use std::collections::HashMap;
use std::hint::black_box;
use std::io::Read;

const SEED: u64 = 1;
/// 2026-11-25T01:59:07Z
const NOW: Wall = Wall(1_795_571_947_000_000_000);

/// Rows as the encoder takes them.
#[derive(Default)]
struct Rows {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    /// End of each row in the bytes and in the marks, its shape and its family.
    rows: Vec<(usize, usize, u32, u32)>,
}

impl Rows {
    fn each(&self) -> impl Iterator<Item = Row<'_>> {
        let (mut bytes_at, mut marks_at) = (0, 0);
        self.rows
            .iter()
            .map(move |(bytes_end, marks_end, shape, family)| {
                let row = Row {
                    bytes: &self.bytes[bytes_at..*bytes_end],
                    marks: &self.marks[marks_at..*marks_end],
                    shape: *shape,
                    family: *family,
                };
                (bytes_at, marks_at) = (*bytes_end, *marks_end);
                row
            })
    }

    /// Appends a row and marks its columns, which are numbered as they come.
    fn add(&mut self, row: &str, columns: &mut HashMap<String, u8>) {
        let mut places = HashMap::new();
        for (at, _) in row.match_indices(",\"") {
            let name = row[at + 2..].split('"').next().unwrap();
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if is_name && row[at + 2 + name.len()..].starts_with("\":") {
                let next = columns.len() as u8;
                let column = *columns.entry(name.to_owned()).or_insert(next);
                self.marks.extend(Mark::new(at, column));
                places.insert(name, at);
            }
        }
        let hash = |to: &str| crc32fast::hash(&row.as_bytes()[places["DeviceVendor"]..places[to]]);
        self.bytes.extend(row.bytes());
        self.rows.push((
            self.bytes.len(),
            self.marks.len(),
            hash("LogSeverity"),
            hash("DeviceVersion"),
        ));
    }
}

/// The first rows of generated messages, as many as a body of the default size holds.
fn rows() -> Rows {
    let mut generator = Generator::new(SEED, &GeneratorOptions::default());
    let settings = config::Map {
        collector_host_name: "collector-1".into(),
        ..config::Map::of(&config::Machine::read())
    };
    let mut mapper = Mapper::new(&settings, BODY_RAW_BYTES_DEFAULT - 2);
    let (mut page, mut tally) = (RowPage::new(), Tally::default());
    let (mut rows, mut columns) = (Rows::default(), HashMap::new());
    while rows.bytes.len() < BODY_RAW_BYTES_DEFAULT - 10_000 {
        let mut line = Vec::new();
        generator.append(NOW, &mut line);
        let source = Source {
            peer: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            received: Moment {
                mono: Mono(1),
                wall: NOW,
            },
        };
        let frame = Frame {
            bytes: &line,
            end: End::Whole,
        };
        mapper.map(frame, source, &mut page, &mut tally);
        rows.add(std::str::from_utf8(page.bytes()).unwrap(), &mut columns);
        page.reset();
    }
    rows
}

fn with_rows(encoder: &mut Encoder, rows: &Rows, out: Vec<u8>) -> Vec<u8> {
    encoder.start(out);
    for row in rows.each() {
        encoder.feed_row(row);
    }
    encoder.finish()
}

/// As the program did before: a reused encoder and a checksum of its own.
fn with_flate2(deflate: &mut Compress, raw: &[u8], mut out: Vec<u8>) -> Vec<u8> {
    out.clear();
    out.reserve(raw.len());
    out.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    deflate.reset();
    let status = deflate.compress_vec(raw, &mut out, FlushCompress::Finish);
    assert_eq!(status.unwrap(), Status::StreamEnd);
    out.extend(crc32fast::hash(raw).to_le_bytes());
    out.extend((raw.len() as u32).to_le_bytes());
    out
}

fn deflate(criterion: &mut Criterion) {
    let rows = rows();
    let mut flate2 = Compress::new(Compression::new(1), false);
    let mut encoders = [Effort::Fast, Effort::Dense].map(|effort| {
        let mut encoder = Encoder::new();
        encoder.set_effort(effort);
        (effort, encoder)
    });
    let check = |name: &str, body: &[u8]| {
        let mut raw = Vec::new();
        flate2::read::GzDecoder::new(body)
            .read_to_end(&mut raw)
            .unwrap();
        assert!(raw == rows.bytes, "{name}");
        println!("{name}: ratio {:.2}", raw.len() as f64 / body.len() as f64);
    };
    let (count, bytes) = (rows.rows.len(), rows.bytes.len());
    println!("{count} rows of {} bytes", bytes / count);
    let mut group = criterion.benchmark_group("deflate");
    group.throughput(Throughput::Bytes(bytes as u64));
    for (effort, encoder) in &mut encoders {
        let name = format!("{effort:?}").to_lowercase();
        check(&name, &with_rows(encoder, &rows, Vec::new()));
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                out = with_rows(encoder, black_box(&rows), std::mem::take(&mut out));
                out.len()
            });
        });
    }
    let mut out = with_flate2(&mut flate2, &rows.bytes, Vec::new());
    check("flate2_level_1", &out);
    group.bench_function("flate2_level_1", |b| {
        b.iter(|| {
            let raw = black_box(&rows.bytes);
            out = with_flate2(&mut flate2, raw, std::mem::take(&mut out));
            out.len()
        });
    });
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = deflate
}
criterion_main!(all);
