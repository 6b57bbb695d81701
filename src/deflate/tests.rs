//! Streams read back by another decoder: any rows, any marks, any cut.

use super::cpu::Found;
use super::window::{BLOCK_BYTES, FED_BYTES_MAX, WINDOW_BYTES};
use super::*;
use std::io::Read;

/// How many random bodies are made; more by `CEFLINE_DEFLATE_RUNS`.
const RUNS: u64 = 400;

fn runs() -> u64 {
    let runs = std::env::var("CEFLINE_DEFLATE_RUNS");
    runs.ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}

fn gunzip(body: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(body);
    decoder.read_to_end(&mut raw).unwrap();
    // nothing behind the trailer
    assert!(decoder.into_inner().is_empty());
    raw
}

/// The most that so many bytes may become in so many blocks.
fn wire_bytes_most(raw_bytes: usize, blocks: usize) -> usize {
    let stored = raw_bytes + 5 * (raw_bytes / 65_535) + 6 * blocks;
    HEADER.len() + stored + 2 + TRAILER_BYTES
}

/// Something to feed.
#[derive(Debug, Clone)]
enum Step {
    Row(Vec<u8>, Vec<Mark>, u32, u32),
    Plain(Vec<u8>),
    Flush,
    Effort(Effort),
}

fn body_of(encoder: &mut Encoder, steps: &[Step]) -> Vec<u8> {
    encoder.start(vec![7; 3]);
    for step in steps {
        match step {
            Step::Row(bytes, marks, shape, family) => encoder.feed_row(Row {
                bytes,
                marks,
                shape: *shape,
                family: *family,
            }),
            Step::Plain(bytes) => encoder.feed(bytes),
            Step::Flush => encoder.flush(),
            Step::Effort(effort) => encoder.set_effort(*effort),
        }
    }
    encoder.finish()
}

fn raw_of(steps: &[Step]) -> Vec<u8> {
    let bytes = steps.iter().flat_map(|step| match step {
        Step::Row(bytes, ..) | Step::Plain(bytes) => bytes.as_slice(),
        _ => &[],
    });
    bytes.copied().collect()
}

/// Bytes of one kind: any, few, words, one, or such as lie between escapes.
fn bytes_of(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    let kind = random.u8(0..6);
    let letters = random.u8(1..26);
    let one = random.u8(..);
    (0..len)
        .map(|at| match kind {
            0 => random.u8(..),
            1 => b'a' + random.u8(0..letters),
            2 if random.u8(0..6) == 0 => b' ',
            2 => random.u8(b'a'..=b'z'),
            3 => one,
            4 if at % 2 == 0 => b'\\',
            4 => b"nrt\"\\/"[random.usize(0..6)],
            _ => random.u8(b'0'..=b'9'),
        })
        .collect()
}

/// A row of some columns, with marks that are right.
fn row_of(random: &mut fastrand::Rng, columns: &[(u8, String)]) -> (Vec<u8>, Vec<Mark>) {
    let mut bytes = Vec::from(b",{");
    let mut marks = Vec::new();
    for (number, name) in columns {
        if random.u8(0..8) == 0 {
            continue;
        }
        marks.extend(Mark::new(bytes.len(), *number));
        bytes.extend(format!(",\"{name}\":\"").bytes());
        let len = match random.u8(0..20) {
            0 => random.usize(0..600),
            1..=4 => random.usize(0..60),
            _ => random.usize(0..12),
        };
        match random.u8(0..4) {
            0 => bytes.extend(bytes_of(random, len)),
            1 => bytes.extend(random.u32(..).to_string().bytes()),
            2 => bytes.extend(format!("10.0.{}.{}", random.u8(..), random.u8(0..4)).bytes()),
            _ => bytes.extend(format!("value {}", random.u8(0..3)).bytes()),
        }
        bytes.push(b'"');
    }
    bytes.push(b'}');
    (bytes, marks)
}

/// Marks that are wrong in some way.
fn spoil(random: &mut fastrand::Rng, marks: &mut Vec<Mark>, len: usize) {
    match random.u8(0..12) {
        0 => marks.clear(),
        1 => random.shuffle(marks),
        2 => {
            *marks = (0..len)
                .filter_map(|at| Mark::new(at, random.u8(..)))
                .collect()
        }
        3 => *marks = (0..len).filter_map(|at| Mark::new(at, 7)).collect(),
        4 => {
            for mark in marks.iter_mut() {
                *mark = Mark::new(random.usize(0..1 << 24), random.u8(..)).unwrap();
            }
        }
        5 => {
            for mark in marks.iter_mut() {
                let at = random.usize(0..=len);
                *mark = Mark::new(at, random.u8(0..4)).unwrap();
            }
        }
        6 => marks.extend(Mark::new((1 << 24) - 1, 255)),
        _ => {}
    }
}

fn steps_of(random: &mut fastrand::Rng) -> Vec<Step> {
    let names: Vec<(u8, String)> = (0..random.u8(1..40))
        .map(|number| (number, format!("Column{}", u32::from(number) * 7919 % 1000)))
        .collect();
    let count = match random.u8(0..10) {
        0 => random.usize(0..3),
        1 => random.usize(0..400),
        _ => random.usize(0..60),
    };
    let spoilt = random.u8(0..5);
    let mut steps = Vec::new();
    for _ in 0..count {
        let (mut bytes, mut marks) = row_of(random, &names);
        if random.u8(0..5) < spoilt {
            spoil(random, &mut marks, bytes.len());
        }
        if random.u8(0..30) == 0 {
            let len = random.usize(0..3 * WINDOW_BYTES);
            bytes.extend(bytes_of(random, len));
        }
        steps.push(match random.u8(0..50) {
            0 => Step::Plain(bytes),
            1 => Step::Flush,
            2 => Step::Effort(Effort::Dense),
            3 => Step::Effort(Effort::Fast),
            _ => Step::Row(bytes, marks, random.u32(0..4), random.u32(0..3)),
        });
    }
    steps
}

#[test]
fn any_rows_with_any_marks_are_read_back_and_alike_from_every_processor() {
    let mut encoders: Vec<_> = Found::all().into_iter().map(Encoder::on).collect();
    for seed in 0..runs() {
        let mut random = fastrand::Rng::with_seed(seed);
        let steps = steps_of(&mut random);
        let raw = raw_of(&steps);
        let bodies: Vec<_> = encoders
            .iter_mut()
            .map(|encoder| {
                encoder.set_effort(Effort::Fast);
                body_of(encoder, &steps)
            })
            .collect();
        assert!(gunzip(&bodies[0]) == raw, "seed {seed}");
        assert!(bodies.windows(2).all(|two| two[0] == two[1]), "seed {seed}");
        let flushes = steps.iter().filter(|step| matches!(step, Step::Flush));
        let blocks = flushes.count() + raw.len() / BLOCK_BYTES_LEAST + 1;
        assert!(
            bodies[0].len() <= wire_bytes_most(raw.len(), blocks),
            "seed {seed}"
        );
    }
}

#[test]
fn any_length_is_read_back() {
    let mut random = fastrand::Rng::with_seed(1);
    let edges = [
        0,
        258,
        3 * 258,
        WINDOW_BYTES,
        2 * WINDOW_BYTES,
        STORED_BYTES_MAX,
        2 * STORED_BYTES_MAX,
        BLOCK_BYTES_LEAST,
        BLOCK_BYTES,
    ];
    let mut encoder = Encoder::new();
    for edge in edges {
        for len in edge.saturating_sub(5)..edge + 6 {
            let text = bytes_of(&mut random, len);
            let one = vec![b'x'; len];
            let noise: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            for raw in [text, one, noise] {
                let body = body_of(&mut encoder, &[Step::Plain(raw.clone())]);
                assert!(gunzip(&body) == raw, "{len}");
                assert!(body.len() <= wire_bytes_most(len, 2), "{len}");
                let row = Step::Row(raw.clone(), vec![Mark(0)], 1, 1);
                assert!(gunzip(&body_of(&mut encoder, &[row])) == raw, "{len}");
            }
        }
    }
}

#[test]
fn a_body_is_the_same_whatever_was_made_before() {
    let mut used = Encoder::new();
    for seed in 0..runs() {
        let steps = steps_of(&mut fastrand::Rng::with_seed(seed));
        // effort outlives a body
        used.set_effort(Effort::Fast);
        let fresh = body_of(&mut Encoder::new(), &steps);
        assert!(body_of(&mut used, &steps) == fresh, "seed {seed}");
    }
}

#[test]
fn bodies_of_many_blocks_are_read_back() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut encoder = Encoder::new();
    let mut steps = Vec::new();
    while raw_of(&steps).len() < 5 * BLOCK_BYTES {
        let noise = Step::Plain(bytes_of(&mut random, 300_000));
        steps.extend(steps_of(&mut random).into_iter().chain([noise]));
    }
    let raw = raw_of(&steps);
    for effort in [Effort::Fast, Effort::Dense] {
        encoder.set_effort(effort);
        assert!(gunzip(&body_of(&mut encoder, &steps)) == raw);
    }
}

#[test]
fn what_does_not_shrink_is_stored() {
    let mut random = fastrand::Rng::with_seed(3);
    let noise: Vec<u8> = (0..1_000_000).map(|_| random.u8(..)).collect();
    let body = body_of(&mut Encoder::new(), &[Step::Plain(noise.clone())]);
    assert_eq!(
        body.len(),
        1_000_000 + 5 * 16 + HEADER.len() + TRAILER_BYTES
    );
    assert!(gunzip(&body) == noise);
}

#[test]
fn a_body_is_never_longer_than_what_was_asked_for() {
    let mut encoder = Encoder::new();
    for seed in 0..runs() / 4 {
        let mut random = fastrand::Rng::with_seed(seed);
        let wire_bytes_max = match seed % 4 {
            0 => random.usize(0..100),
            1 => random.usize(0..70_000),
            _ => random.usize(0..400_000),
        };
        encoder.start(Vec::new());
        let mut raw = Vec::new();
        loop {
            let left = encoder.raw_bytes_left(wire_bytes_max);
            let all = random.u8(0..4) == 0;
            let len = if all { left } else { random.usize(0..=left) };
            // what does not shrink comes closest to the limit
            let bytes = match random.bool() {
                true => (0..len).map(|_| random.u8(..)).collect(),
                false => bytes_of(&mut random, len),
            };
            encoder.feed(&bytes);
            raw.extend(bytes);
            assert!(
                encoder.raw_bytes_left(wire_bytes_max) <= left - len,
                "seed {seed}"
            );
            if random.u8(0..3) == 0 {
                encoder.flush();
            }
            if left < 8 || all && random.bool() {
                break;
            }
        }
        assert_eq!(encoder.raw_bytes(), raw.len());
        let body = encoder.finish();
        assert!(
            raw.is_empty() || body.len() <= wire_bytes_max,
            "seed {seed}"
        );
        assert!(gunzip(&body) == raw, "seed {seed}");
    }
}

/// That the bound does not give away much: noise fills it nearly.
#[test]
fn noise_fills_what_was_asked_for() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut encoder = Encoder::new();
    for wire_bytes_max in [100, 1_000, 65_535, 65_560, 300_000, 1_000_000, 3_000_000] {
        encoder.start(Vec::new());
        let len = encoder.raw_bytes_left(wire_bytes_max);
        let noise: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
        encoder.feed(&noise);
        let spare = wire_bytes_max - encoder.finish().len();
        assert!(spare <= 24, "{spare} of {wire_bytes_max}");
    }
}

#[test]
fn rows_alike_shrink_more_with_marks_than_without() {
    let mut random = fastrand::Rng::with_seed(6);
    let names: Vec<_> = (0..30).map(|n| (n, format!("ColumnOfNumber{n}"))).collect();
    let steps: Vec<_> = (0..900)
        .map(|_| {
            let (bytes, marks) = row_of(&mut random, &names);
            Step::Row(bytes, marks, 1, 1)
        })
        .collect();
    let plain = [Step::Plain(raw_of(&steps))];
    let mut encoder = Encoder::new();
    let marked = body_of(&mut encoder, &steps).len();
    let unmarked = body_of(&mut encoder, &plain).len();
    encoder.set_effort(Effort::Dense);
    let dense = body_of(&mut encoder, &steps).len();
    assert!(
        marked < unmarked && dense < marked,
        "{dense} {marked} {unmarked}"
    );
}

/// Short matches in noise of two letters take more bits than the letters, and most of the time.
#[test]
fn noise_of_few_letters_is_left_to_its_codes() {
    let mut random = fastrand::Rng::with_seed(9);
    let noise: Vec<u8> = (0..400_000).map(|_| random.u8(b'a'..=b'b')).collect();
    let mut encoder = Encoder::new();
    for effort in [Effort::Fast, Effort::Dense] {
        encoder.set_effort(effort);
        let steps: Vec<_> = noise
            .chunks(1000)
            .map(|row| Step::Plain(row.into()))
            .collect();
        let len = body_of(&mut encoder, &steps).len();
        assert!(len * 5 < noise.len(), "{effort:?}: {len}");
    }
}

#[test]
fn marks_that_mean_nothing_cost_next_to_nothing() {
    let mut random = fastrand::Rng::with_seed(10);
    let names: Vec<_> = (0..12).map(|n| (n, format!("ColumnOfNumber{n}"))).collect();
    let rows: Vec<_> = (0..900).map(|_| row_of(&mut random, &names).0).collect();
    let marked: Vec<_> = rows
        .iter()
        .map(|bytes| {
            let marks = (0..bytes.len())
                .filter_map(|at| Mark::new(at, random.u8(..)))
                .collect();
            Step::Row(bytes.clone(), marks, 1, 1)
        })
        .collect();
    let unmarked: Vec<_> = rows
        .iter()
        .map(|bytes| Step::Row(bytes.clone(), Vec::new(), 1, 1))
        .collect();
    let mut encoder = Encoder::new();
    let marked = body_of(&mut encoder, &marked).len();
    let unmarked = body_of(&mut encoder, &unmarked).len();
    assert!(marked * 100 < unmarked * 103, "{marked} {unmarked}");
}

#[test]
fn what_was_fed_before_a_flush_or_a_full_block_is_still_within_reach() {
    let mut random = fastrand::Rng::with_seed(8);
    let noise: Vec<u8> = (0..20_000).map(|_| random.u8(b'a'..=b'z')).collect();
    let marks: Vec<_> = (0..50)
        .filter_map(|n| Mark::new(n * 400, n as u8))
        .collect();
    let row = Step::Row(noise.clone(), marks, 1, 1);
    let plain = Step::Plain(noise);
    let mut encoder = Encoder::new();
    for (step, between) in [(&row, true), (&plain, true), (&row, false), (&plain, false)] {
        let count = if between { 2 } else { BLOCK_BYTES / 20_000 + 1 };
        let mut steps = Vec::new();
        for _ in 0..count {
            steps.extend([step.clone()]);
            steps.extend(between.then_some(Step::Flush));
        }
        let alone = body_of(&mut encoder, &steps[..1]).len();
        let again = body_of(&mut encoder, &steps).len() - alone;
        assert!(
            again < 300 * (count - 1),
            "{again} of {count} times {alone}"
        );
    }
}

#[test]
fn a_warm_encoder_allocates_nothing() {
    let mut random = fastrand::Rng::with_seed(7);
    let steps = steps_of(&mut random);
    let mut encoder = Encoder::new();
    let mut out = body_of(&mut encoder, &steps);
    let counted = allocation_counter::measure(|| {
        encoder.start(std::mem::take(&mut out));
        for step in &steps {
            if let Step::Row(bytes, marks, shape, family) = step {
                let (shape, family) = (*shape, *family);
                encoder.feed_row(Row {
                    bytes,
                    marks,
                    shape,
                    family,
                });
            }
        }
        out = encoder.finish();
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn marks_keep_what_they_are_made_of() {
    for (at, column) in [(0, 0), (1, 255), ((1 << 24) - 1, 7)] {
        let mark = Mark::new(at, column).unwrap();
        assert_eq!((mark.at(), mark.column()), (at, column));
    }
    assert_eq!(Mark::new(1 << 24, 0), None);
    assert!(Mark::new(5, 255) < Mark::new(6, 0));
    const { assert!(FED_BYTES_MAX < 1 << 24) };
}
