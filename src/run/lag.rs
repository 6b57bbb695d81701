//! How far behind the uploads are: since when as many rows had been received as are done with now.
//!
//! Rows leave nearly in the order in which they came, so that moment is about when the oldest row
//! was received that is still held. After an outage new rows and the backlog go side by side, and
//! this says when the last of it will be gone rather than how old the rows are that arrive.
//!
//! Samples are taken now and then; when there are too many, every second one is dropped and they are
//! taken half as often, so that a lag of days takes no more memory than one of minutes.
//!
//! Pure: time is an argument.

use crate::clock::Mono;
use crate::limits::LAG_SAMPLES_MAX;
use std::collections::VecDeque;
use std::time::Duration;

/// Samples of what was received.
#[derive(Debug, Clone, Default)]
pub(super) struct Lag {
    /// Time, and all that had been received by then; both ascending.
    samples: VecDeque<(Mono, u64)>,
    /// Time between two of them, at least.
    step: Duration,
}

impl Lag {
    /// Notes what has been received and what is done with, and gives how far behind that is.
    pub(super) fn note(&mut self, received: u64, done: u64, now: Mono) -> Duration {
        let last = self.samples.back();
        if last.is_none_or(|(at, _)| now.since(*at) >= self.step) {
            self.samples.push_back((now, received));
        }
        // of those that are done with only the last is of use
        while self.samples.get(1).is_some_and(|(_, count)| *count <= done) {
            self.samples.pop_front();
        }
        if self.samples.len() == 1 {
            self.step = Duration::ZERO;
        }
        if self.samples.len() > LAG_SAMPLES_MAX {
            let time = self.samples.front().map_or(now, |(at, _)| *at);
            self.step = now.since(time) * 2 / LAG_SAMPLES_MAX as u32;
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        match self.samples.front() {
            Some((at, _)) if received > done => now.since(*at),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn nothing_is_behind_while_all_is_done() {
        let mut lag = Lag::default();
        for second in 0..1000 {
            let lag = lag.note(second * 10, second * 10, at(second));
            assert_eq!(lag, Duration::ZERO);
        }
        assert_eq!(lag.samples.len(), 1);
    }

    #[test]
    fn the_lag_is_the_time_since_so_many_had_come() {
        let mut lag = Lag::default();
        for second in 0..100_u64 {
            // ten come each second, and after 30 s nothing is done any more
            let behind = lag.note(second * 10, second.min(30) * 10, at(second));
            assert_eq!(behind.as_secs(), second.saturating_sub(30));
        }
        // it is all made up for
        assert_eq!(lag.note(990, 990, at(100)), Duration::ZERO);
    }

    #[test]
    fn a_lag_of_days_takes_little_memory_and_is_exact_enough() {
        let mut lag = Lag::default();
        for second in 0..300_000 {
            let behind = lag.note(10 + second, 5, at(second));
            assert_eq!(behind.as_secs(), second);
            assert!(lag.samples.len() <= LAG_SAMPLES_MAX);
        }
        let behind = lag.note(300_010, 150_000, at(300_000)).as_secs();
        assert!((150_000..152_000).contains(&behind), "{behind}");
    }
}
