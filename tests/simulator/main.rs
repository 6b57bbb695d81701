//! Whole forwarders under random schedules of everything that goes wrong, on a simulated clock.
//!
//! One number decides all of a run: what senders write and where their bytes are cut, what the
//! network and the service do, when the disk fails, when the process is killed and the power goes,
//! and how the wall clock jumps. The parts are those of the program (`listen::connection`, `map` in
//! every sixteenth run, `ring`, `upload::Uploader`, `spool::Keeper`), and after each run these hold:
//!
//! 1. What was made safe is in the table, or in quarantine; rows that were not safe are gone only
//!    after a crash; all other losses are counted, for a reason that there was.
//! 2. Nothing is in the table that was not sent, and a row is there twice only if an answer was
//!    unclear.
//! 3. The content is what was sent.
//! 4. Once the faults have ended everything is through in bounded time; nobody is asked in a hot
//!    loop, nor sooner than he asked for; the backlog and new rows share; memory is bounded.
//! 5. Enough has happened: 200 steps in each run, and of each kind of fault some in a batch.
//!
//! The accounting is exact all the time.
//!
//! `CEFLINE_SIM_SEEDS` sets how many runs there are, `CEFLINE_SIM_FROM` with which number they
//! begin, and `CEFLINE_SIM_SEED` repeats one run and prints all of it. With
//! `CEFLINE_SIM_GOES_ON` a failure is shown in one line and does not end the test. With the feature `planted`
//! known mistakes are made on purpose, one at a time, and each must be found.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod coverage;
mod disk;
mod forwarder;
mod plan;
mod rest;
mod senders;
mod service;
mod truth;
mod world;

use coverage::Coverage;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use world::{Done, Failure, STEPS_LEAST, World};

/// Runs, if not set: half a minute of one core with the tests' profile.
const SEEDS_DEFAULT: u64 = 6_000;

/// Runs that found something once and that few others would find.
const SEEDS_AGAIN: [(u64, &str); 1] = [(
    0xa64c_b59b_36ca_ea91,
    "a stopping program that was told so again and again drew each pause anew, and kept the shortest",
)];

fn number_of(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn latency() -> Arc<cefline::metrics::Latency> {
    Arc::new(cefline::metrics::Latency::new().unwrap())
}

/// One run; a panic in it is a failure like any other.
fn run(
    seed: u64,
    latency: &Arc<cefline::metrics::Latency>,
    (traces, prints): (bool, bool),
    coverage: &mut Coverage,
) -> Result<Done, Failure> {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, latency, traces, prints);
        let done = world.run();
        (done, world.coverage)
    }));
    let failure = |property, text| Failure {
        seed,
        step: 0,
        property,
        text,
        trace: Vec::new(),
    };
    match ran {
        Ok((Ok(done), seen)) => {
            coverage.add(&seen);
            match done.steps {
                STEPS_LEAST.. => Ok(done),
                steps => Err(failure("enough happens", format!("{steps} steps"))),
            }
        }
        Ok((Err(failure), _)) => Err(failure),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
            Err(failure("no panic", text.unwrap_or_default()))
        }
    }
}

/// Shows a failure, and how it came to it.
fn report(failure: &Failure) -> String {
    let again = run(
        failure.seed,
        &latency(),
        (true, false),
        &mut Coverage::default(),
    );
    let trace = match again {
        Err(again) => again.trace,
        Ok(_) => vec!["the same run again did not fail: it is not deterministic".into()],
    };
    format!(
        "seed {:#x}, step {}: {} does not hold: {}\n{}\nrepeat it with CEFLINE_SIM_SEED={:#x}",
        failure.seed,
        failure.step,
        failure.property,
        failure.text,
        trace.join("\n"),
        failure.seed
    )
}

/// Where a run's seed comes from: neighbours must not be alike.
fn seed_of(index: u64) -> u64 {
    index.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5eed
}

#[test]
fn whatever_happens_the_five_properties_hold_and_every_row_is_accounted_for() {
    if let Some(seed) = number_of("CEFLINE_SIM_SEED") {
        let done = run(seed, &latency(), (true, true), &mut Coverage::default());
        match done {
            Ok(done) => println!("seed {seed:#x}: {done:?}"),
            Err(failure) => panic!("{}: {}", failure.property, failure.text),
        }
        return;
    }
    let count = number_of("CEFLINE_SIM_SEEDS");
    let threads = match count {
        None => 1,
        Some(_) => std::thread::available_parallelism().unwrap().get(),
    };
    let count = count.unwrap_or(SEEDS_DEFAULT);
    let first = number_of("CEFLINE_SIM_FROM").unwrap_or(0);
    let goes_on = number_of("CEFLINE_SIM_GOES_ON").is_some();
    let clock = cefline::clock::Clock::start();
    let (next, failed) = (AtomicU64::new(first), AtomicU64::new(0));
    let results: Vec<(u64, u64, u64, Coverage, Option<Failure>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let latency = latency();
                    let (mut steps, mut least, mut rows) = (0, u64::MAX, 0);
                    let mut coverage = Coverage::default();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= first + count {
                            return (steps, least, rows, coverage, None);
                        }
                        match run(seed_of(index), &latency, (false, false), &mut coverage) {
                            Ok(done) => {
                                steps += done.steps;
                                least = least.min(done.steps);
                                rows += done.rows;
                            }
                            Err(failure) if goes_on => {
                                failed.fetch_add(1, Ordering::Relaxed);
                                println!(
                                    "{:#x}: {}: {}",
                                    failure.seed, failure.property, failure.text
                                );
                            }
                            Err(failure) => {
                                next.store(u64::MAX / 2, Ordering::Relaxed);
                                return (steps, least, rows, coverage, Some(failure));
                            }
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let time = clock.mono().since(cefline::clock::Mono(0));
    let mut coverage = Coverage::default();
    let (mut steps, mut least, mut rows) = (0, u64::MAX, 0);
    for (more_steps, fewest, more_rows, seen, failure) in &results {
        if let Some(failure) = failure {
            panic!("{}", report(failure));
        }
        steps += more_steps;
        least = least.min(*fewest);
        rows += more_rows;
        coverage.add(seen);
    }
    println!(
        "{count} runs on {threads} threads in {:.1} s: {:.0} a second; {} steps each ({least} at \
         least), {} rows each",
        time.as_secs_f64(),
        count as f64 / time.max(Duration::from_millis(1)).as_secs_f64(),
        steps / count.max(1),
        rows / count.max(1),
    );
    println!("seen: {coverage}");
    assert_eq!(failed.into_inner(), 0, "so many runs failed");
    if count >= SEEDS_DEFAULT {
        let missing = coverage.missing();
        assert!(missing.is_empty(), "never seen: {missing:?}");
    }
}

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, what) in SEEDS_AGAIN {
        if let Err(failure) = run(seed, &latency(), (false, false), &mut Coverage::default()) {
            panic!("{what}: {}", report(&failure));
        }
    }
}

/// Runs until a mistake must have been found.
#[cfg(feature = "planted")]
const SEEDS_PLANTED_MAX: u64 = 20_000;

#[cfg(feature = "planted")]
#[test]
fn each_planted_mistake_is_found() {
    use cefline::planted::{Bug, plant};
    let latency = latency();
    // a panic is one way to be found, and needs no words
    let hook = std::panic::take_hook();
    let own = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != own {
            hook(info);
        }
    }));
    let only = std::env::var("CEFLINE_SIM_BUG").ok();
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        if only
            .as_ref()
            .is_some_and(|only| *only != format!("{bug:?}"))
        {
            continue;
        }
        plant(Some(*bug));
        let found = (0..SEEDS_PLANTED_MAX).find_map(|index| {
            let ran = run(
                seed_of(index),
                &latency,
                (false, false),
                &mut Coverage::default(),
            );
            ran.err().map(|failure| (index + 1, failure))
        });
        match found {
            Some((_, failure)) if !is_fault_of(*bug, failure.seed, &latency) => {
                missed.push(format!("{bug:?}: {:#x} fails without it", failure.seed));
            }
            Some((runs, failure)) => println!(
                "{:26} found in run {runs:5} ({:#018x}): {}: {}",
                format!("{bug:?}"),
                failure.seed,
                failure.property,
                failure.text
            ),
            None => missed.push(format!("{bug:?}")),
        }
    }
    plant(None);
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Whether the run has no failure without the mistake.
#[cfg(feature = "planted")]
fn is_fault_of(
    bug: cefline::planted::Bug,
    seed: u64,
    latency: &Arc<cefline::metrics::Latency>,
) -> bool {
    use cefline::planted::plant;
    plant(None);
    let without = run(seed, latency, (false, false), &mut Coverage::default());
    plant(Some(bug));
    without.is_ok()
}
