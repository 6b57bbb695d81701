//! cefline takes Common Event Format (CEF) syslog from security devices and lands it in Microsoft
//! Sentinel's `CommonSecurityLog` table.
pub mod cli;
pub mod clock;
pub mod config;
pub mod frame;
pub mod generate;
pub mod limits;
pub mod listen;
pub mod map;
pub mod metrics;
pub mod page;
pub mod parse;
pub mod ring;
pub mod send;
pub mod watch;
