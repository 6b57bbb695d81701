//! `cefline check --live` on machines, networks and services with one planted fault each: that fault
//! is named, with its remedy, and nothing else.
//!
//! The real binary runs against the real emulator over TLS. What cannot be made real here (an old
//! kernel, io_uring switched off) is judged in the unit tests of `src/check`. Findings that this
//! machine has by itself, without any fault, are taken off.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod azure;
mod local;
mod reach;
mod servers;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/until.rs"]
mod until;
mod world;
