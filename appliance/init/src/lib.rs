//! PID 1 of the cefline appliance.
//!
//! The modules in the order of the boot.

pub mod settings;
