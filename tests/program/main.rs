//! The program as a whole: real processes, real sockets, real TLS, the emulator in Sentinel's place.
//!
//! What a user would run is started as a process from the built binary where exit codes, signals or
//! memory matter, and inside this one where only the rows and counts do (`rig`). Every wait is for a
//! condition and has a deadline.
//!
//! Tests that measure (memory, latency, a million rows) take the machine for themselves, others
//! share it: see [`alone`] and [`beside_others`].
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod account;
mod backends;
mod backlog;
mod bench;
mod commands;
mod connections;
#[path = "../support/corpus.rs"]
mod corpus;
mod end_to_end;
mod faults;
mod filters;
mod heartbeat;
mod http;
mod logging;
mod mistakes;
#[path = "../support/noise.rs"]
mod noise;
mod outage;
mod process;
mod receiving;
mod reload;
mod rig;
mod sandbox;
#[path = "../support/skip.rs"]
mod skip;
mod spool;
mod stopping;
mod streams;
mod supervise;
mod supervisor;
mod table;
mod verdicts;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// Until the guard is dropped no other test of this file runs.
fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Until the guard is dropped no test runs that must be alone.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// A number that a developer may set, or the usual one.
fn number_of(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}
