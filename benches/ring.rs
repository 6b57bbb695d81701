//! The ring: what it costs to hand a page from a shard to an uploader and back, on one thread and
//! across two. A page carries some 250 rows, so a thousandth of these figures is a row's share.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be right ends")]

use cefline::clock::Mono;
use cefline::page::RowPage;
use cefline::ring::Ring;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::spin_loop;
use std::sync::Arc;
use std::thread;

const PAGES: u64 = 10_000;
const ROWS: u64 = 10;

fn fill(page: &mut RowPage, first: u64) {
    for row in first..first + ROWS {
        page.write_row(Mono(row), 64, |out| {
            out.extend_from_slice(&row.to_le_bytes())
        })
        .unwrap();
    }
}

/// The rows of a page, added up.
fn sum(page: &RowPage) -> u64 {
    page.bytes()
        .chunks(9)
        .map(|row| u64::from_le_bytes(row[1..].try_into().unwrap()))
        .sum()
}

/// Sends the pages through and gives the sum of all rows.
fn same_thread(ring: &Ring) -> u64 {
    let mut total = 0;
    for index in 0..PAGES {
        let mut page = ring.claim().unwrap();
        fill(&mut page, index * ROWS);
        ring.hand_over(page, Mono(1));
        let page = ring.take().unwrap();
        total += sum(&page);
        ring.give_back(page);
    }
    total
}

fn across(ring: &Arc<Ring>) -> u64 {
    let taker = {
        let ring = ring.clone();
        thread::spawn(move || {
            let mut total = 0;
            for _ in 0..PAGES {
                let page = loop {
                    match ring.take() {
                        Some(page) => break page,
                        None => spin_loop(),
                    }
                };
                total += sum(&page);
                ring.give_back(page);
            }
            total
        })
    };
    for index in 0..PAGES {
        let mut page = loop {
            match ring.claim() {
                Some(page) => break page,
                None => spin_loop(),
            }
        };
        fill(&mut page, index * ROWS);
        ring.hand_over(page, Mono(1));
    }
    taker.join().unwrap()
}

fn ring(criterion: &mut Criterion) {
    let ring = Arc::new(Ring::new(0, 4));
    let rows = PAGES * ROWS;
    let expected = rows * (rows - 1) / 2;
    assert_eq!(same_thread(&ring), expected);
    assert_eq!(across(&ring), expected);
    let mut group = criterion.benchmark_group("pages");
    group.throughput(Throughput::Elements(PAGES));
    group.bench_function("one_thread", |b| b.iter(|| same_thread(&ring)));
    group.bench_function("two_threads", |b| b.iter(|| across(&ring)));
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(10);
    targets = ring
}
criterion_main!(all);
