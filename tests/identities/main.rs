#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Each kind of identity against its double in the emulator, over real sockets and TLS, and what
//! each double refuses.

mod application;
#[path = "../support/awaited.rs"]
mod awaited;
mod bench;
mod keys;
mod machine;
mod secrecy;
#[path = "../support/until.rs"]
mod until;
mod way;

use std::time::Duration;

/// Whatever should happen soon has happened by then.
const SOON: Duration = Duration::from_secs(60);
