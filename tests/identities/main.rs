#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Each kind of identity against its double in the emulator, over real sockets and TLS, and what
//! each double refuses.

mod application;
mod bench;
mod keys;
mod machine;
mod secrecy;
mod way;
