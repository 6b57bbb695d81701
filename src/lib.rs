//! cefline takes Common Event Format (CEF) syslog from security devices and lands it in Microsoft
//! Sentinel's `CommonSecurityLog` table.
    //! map
    pub mod columns;
}
pub mod auth;
pub mod batch;
pub mod cli;
pub mod client;
pub mod clock;
pub mod compress;
pub mod config;
pub mod emulator;
pub mod frame;
pub mod generate;
pub mod limits;
pub mod listen;
pub mod log;
pub mod map {
pub mod map;
pub mod metrics;
pub mod page;
pub mod parse;
pub mod retry;
pub mod ring;
pub mod send;
pub mod upload;
pub mod watch;
