//! Power cuts: a real ext4 on a disk that forgets what was not flushed, and on it first a writer
//! that proves the rig, then the program. And the same disk full, read-only, or failing (`unwell`).
//!
//! The disk is a file of ours (FUSE) under a loop device, see `disk`. A cut falls into the middle
//! of a write or a flush that chance chooses; what was written since the last flush is then kept,
//! lost or torn, sector by sector, as chance has it. Everything follows from the seed that is
//! printed, but for what the kernel does in which order.
//!
//! Needs root, FUSE, loop devices and e2fsprogs; without them the tests say so and prove nothing.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../program/account.rs"]
mod account;
mod disk;
mod fuse;
#[path = "../program/http.rs"]
mod http;
#[path = "../support/noise.rs"]
mod noise;
mod platter;
#[path = "../program/process.rs"]
#[expect(dead_code, reason = "it is made for more tests than these")]
mod process;
mod program;
mod promises;
mod rights;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../program/table.rs"]
#[expect(dead_code, reason = "it is made for more tests than these")]
mod table;
mod unwell;

use cefline::clock::Clock;
use disk::Disk;
use fastrand::Rng;
use program::Life;
use promises::{Found, Promises};
use rights::has_own_mounts;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

/// Bytes of a disk for the writer.
const DISK_BYTES: usize = 64 << 20;
/// A cut falls into one of so many requests.
const REQUESTS_MOST: u64 = 150;
/// So many cuts on one disk and against one service, then new ones.
const CUTS_A_LIFE: u64 = 20;

/// Cuts of each test: `CEFLINE_POWER_CUTS`, or few.
fn cuts_count() -> u64 {
    number_of("CEFLINE_POWER_CUTS").unwrap_or(3)
}

/// What everything follows from: `CEFLINE_POWER_SEED`, or another each time.
fn first_seed() -> u64 {
    let seed = number_of("CEFLINE_POWER_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("CEFLINE_POWER_SEED={seed}");
    seed
}

fn number_of(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap())
}

#[test]
fn a_sync_of_a_file_reaches_the_platter_and_a_write_alone_does_not() {
    if !has_own_mounts() {
        return;
    }
    let disk = Disk::new(DISK_BYTES);
    let mut promises = Promises::begin(&disk.root(), 0).unwrap();
    let before = disk.counts();
    promises.write_block(&disk.root()).unwrap();
    let written = disk.counts();
    assert!(written.writes > before.writes, "{before:?}, {written:?}");
    assert_eq!(written.flushes, before.flushes);
    promises.sync_blocks(&disk.root()).unwrap();
    let flushed = disk.counts();
    assert!(flushed.flushes > written.flushes, "{flushed:?}");

    // of a file that grows, it is the journal that flushes
    let mut file = File::create(disk.root().join("grows")).unwrap();
    file.write_all(b"one").unwrap();
    assert_eq!(disk.counts(), flushed);
    file.sync_data().unwrap();
    assert!(disk.counts().flushes > flushed.flushes);
}

#[test]
fn what_was_synced_survives_and_what_was_not_does_not_always() {
    if !has_own_mounts() {
        return;
    }
    let clock = Clock::start();
    let seed = first_seed();
    let mut chance = Rng::with_seed(seed);
    let mut disk = Disk::new(DISK_BYTES);
    let mut last: Option<Promises> = None;
    let mut all = Found::default();
    for round in 0..cuts_count() {
        // room for the next, and the old ones are still right when it is made
        if let Some(promises) = last.take() {
            let found = promises.look(&disk.root());
            assert_eq!(found.broken, [""; 0], "before round {round} of seed {seed}");
            fs::remove_dir_all(disk.root().join(format!("round-{}", round - 1))).unwrap();
        }
        let mut promises = Promises::begin(&disk.root(), round).unwrap();
        disk.cut_within(chance.u64(1..=REQUESTS_MOST));
        let error = promises.write_on(&disk.root(), &mut chance);
        assert!(disk.is_cut(), "{error}");
        let (revived, fate) = disk.revive(chance.u64(..));
        disk = revived;
        let found = promises.look(&disk.root());
        assert_eq!(
            found.broken, [""; 0],
            "after round {round} of seed {seed}, {fate:?}, {error}"
        );
        disk.assert_sound();
        all.add(found);
        last = Some(promises);
    }
    let time = Duration::from_nanos(clock.mono().0) / cuts_count() as u32;
    println!("{} cuts, {time:?} each: {all:?}", cuts_count());
    assert!(all.records_lost > 0, "the rig proves nothing: {all:?}");
    if cuts_count() >= 100 {
        let fates = [all.blocks_lost, all.blocks_kept, all.blocks_torn];
        assert!(fates.iter().all(|count| *count > 0), "{all:?}");
    }
}

#[test]
fn what_a_disk_was_given_and_did_not_flush_is_kept_lost_or_torn() {
    if !has_own_mounts() {
        return;
    }
    let mut all = Found::default();
    let mut disk = Disk::new(DISK_BYTES);
    // by seeds that are always the same: a disk without a flush since is up to chance alone
    for seed in 0..100 {
        let mut promises = Promises::begin(&disk.root(), seed).unwrap();
        for _ in 0..8 {
            promises.write_block(&disk.root()).unwrap();
        }
        disk = disk.revive(seed).0;
        let found = promises.look(&disk.root());
        assert_eq!(found.broken, [""; 0], "seed {seed}");
        all.add(found);
        if all.blocks_lost.min(all.blocks_kept).min(all.blocks_torn) > 0 {
            return;
        }
    }
    panic!("{all:?}");
}

#[test]
fn a_disk_that_lies_about_its_flushes_is_found_out() {
    if !has_own_mounts() {
        return;
    }
    let disk = Disk::new(DISK_BYTES);
    let mut promises = Promises::begin(&disk.root(), 0).unwrap();
    disk.lie();
    promises.new_log(&disk.root()).unwrap();
    promises.append(&disk.root(), 100).unwrap();
    promises.sync_log(&disk.root()).unwrap();
    promises.write_block(&disk.root()).unwrap();
    promises.sync_blocks(&disk.root()).unwrap();
    assert_eq!(promises.look(&disk.root()).broken, [""; 0]);
    disk.cut();
    let disk = disk.revive_flushed().unwrap();
    let found = promises.look(&disk.root());
    assert_eq!(found.broken.len(), 2, "{found:?}");
}

#[test]
fn a_power_cut_loses_no_safe_row() {
    if !has_own_mounts() {
        return;
    }
    let clock = Clock::start();
    let seed = first_seed();
    let mut chance = Rng::with_seed(seed);
    let (mut safe, mut lost) = (0, 0);
    let mut cuts_left = cuts_count();
    while cuts_left > 0 {
        let cuts = cuts_left.min(CUTS_A_LIFE);
        let mut life = Life::begin();
        for _ in 0..cuts {
            life.round(&mut chance);
        }
        let (safe_now, lost_now) = life.end();
        safe += safe_now;
        lost += lost_now;
        cuts_left -= cuts;
    }
    let time = Duration::from_nanos(clock.mono().0) / cuts_count() as u32;
    println!(
        "{} cuts, {time:?} each: {safe} safe rows, all arrived; {lost} others received and lost",
        cuts_count()
    );
    assert!(safe > 0, "the program has reported no row as safe");
}
