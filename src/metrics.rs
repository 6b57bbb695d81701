//! Counting: one closed set of counters, one instance for each thread, added up on demand.
//!
//! **The identity.** Each stage counts what it takes in and what it hands on, by the rows that it
//! really holds (the page's own count, the body's own count). What a stage holds is the difference,
//! so at every instant
//!
//! ```text
//! frames received  + rows recovered from the spool + rows of our own
//!   = rows uploaded
//!   + rows held in pages, in the ring, in bodies, in flight, in the spool
//!   + rows in quarantine
//!   + rows that a filter has ended
//!   + frames and rows lost, each with its reason
//! ```
//!
//! and a stage that lost a row without saying so would hold it for ever: at the end of a run every
//! `held` must be what was really found there, and [`Snapshot::held`] of an empty program zero.
//!
//! Writers add up locally and publish once a read or once a body: no atomic is touched for a row.

pub mod counter;
pub mod expose;
pub mod filters;
pub mod latency;
mod stage;

pub use counter::{Counter, Counters, Snapshot, Tally};
pub use filters::{FilterBook, FilterCounts, FilterGauges};
pub use latency::{Latency, Stopwatch};
pub use stage::Stage;
