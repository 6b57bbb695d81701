//! Latency from receipt to the service's 204, by stage and overall.

use crate::limits::{LATENCY_FIGURES, LATENCY_US_MAX};
use hdrhistogram::Histogram;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Which part of a row's way a time belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopwatch {
    /// Receipt of the oldest row of a page to its hand-over.
    Page,
    /// Hand-over to being taken.
    Ring,
    /// First row taken to the sealing of the body.
    Body,
    /// Sealing to 2xx, retries included.
    Flight,
    /// Sealing to being read back from disk, by the wall clock; only for rows that waited there.
    Spool,
    /// Receipt to 2xx, each row by itself; not for rows that waited on disk.
    Overall,
}

impl Stopwatch {
    /// All, in the order of the flow.
    pub const ALL: [Stopwatch; 6] = [
        Stopwatch::Page,
        Stopwatch::Ring,
        Stopwatch::Body,
        Stopwatch::Flight,
        Stopwatch::Spool,
        Stopwatch::Overall,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stopwatch::Page => "page",
            Stopwatch::Ring => "ring",
            Stopwatch::Body => "body",
            Stopwatch::Flight => "flight",
            Stopwatch::Spool => "spool",
            Stopwatch::Overall => "overall",
        }
    }
}

/// One uploader's histograms, in microseconds. Locked by that uploader once a body and by a reader
/// once a scrape.
#[derive(Debug)]
pub struct Latency([Mutex<Histogram<u64>>; Stopwatch::ALL.len()]);

impl Latency {
    /// Empty histograms.
    ///
    /// # Errors
    /// None with the bounds in [`crate::limits`]; the library's word for bounds it cannot hold.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        let one = empty()?;
        Ok(Latency(std::array::from_fn(|_| Mutex::new(one.clone()))))
    }

    /// Notes that `rows_count` rows took `time`. Times past the bound count at the bound.
    pub fn record(&self, stopwatch: Stopwatch, time: Duration, rows_count: u64) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(histogram) = self.0.get(stopwatch as usize) {
            histogram
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .saturating_record_n(us.clamp(1, LATENCY_US_MAX), rows_count);
        }
    }

    /// All uploaders' times of one stopwatch.
    ///
    /// # Errors
    /// As for [`Latency::new`].
    pub fn merged<'a>(
        all: impl IntoIterator<Item = &'a Latency>,
        stopwatch: Stopwatch,
    ) -> Result<Histogram<u64>, hdrhistogram::CreationError> {
        let mut sum = empty()?;
        for latency in all {
            if let Some(histogram) = latency.0.get(stopwatch as usize) {
                let histogram = histogram.lock().unwrap_or_else(PoisonError::into_inner);
                // both have the same bounds, so nothing can fall outside
                let _ = sum.add(&*histogram);
            }
        }
        Ok(sum)
    }
}

fn empty() -> Result<Histogram<u64>, hdrhistogram::CreationError> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_FIGURES)
}
