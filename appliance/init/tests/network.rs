//! The network parts against the real kernel, in network namespaces that the tests make.
//!
//! They need root, `ip`, and for one of them `nft`; without these they say `skipped: …` and pass.

#![expect(clippy::unwrap_used, reason = "it is a test")]

#[path = "network/rig.rs"]
mod rig;

#[path = "network/firewall.rs"]
mod firewall;

#[path = "network/addresses.rs"]
mod addresses;
