//! PID 1 of the cefline appliance.
//!
//! `main.rs` has the boot, in its order; each module is one part of it.

pub mod azure;
pub mod clock;
pub mod configuration;
pub mod confine;
pub mod console;
pub mod disk;
pub mod firewall;
pub mod modules;
pub mod mounts;
mod netlink;
pub mod network;
pub mod notify;
pub mod report;
pub mod settings;
mod smbios;
pub mod stop;
pub mod supervise;
pub mod sysctl;
pub mod time;

/// Where cefline keeps its data.
pub const DATA: &str = "/var/lib/cefline";
