//! cefline takes Common Event Format (CEF) syslog from security devices and lands it in Microsoft
//! Sentinel's `CommonSecurityLog` table.
pub mod auth;
pub mod batch;
pub mod cli;
pub mod client;
pub mod clock;
pub mod compress;
pub mod config;
pub mod limits;
pub mod log;
pub mod map {
    //! map
    pub mod columns;
}
pub mod metrics;
pub mod page;
pub mod retry;
pub mod ring;
pub mod upload;
