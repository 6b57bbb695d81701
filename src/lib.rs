//! cefline takes Common Event Format (CEF) syslog from security devices and lands it in Microsoft
//! Sentinel's `CommonSecurityLog` table.
pub mod cli;
pub mod clock;
pub mod config;
pub mod emulator;
pub mod limits;
pub mod map { //! map
    pub mod columns;
}
pub mod metrics;
pub mod page;
pub mod ring;
