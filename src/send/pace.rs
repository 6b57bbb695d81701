//! Pacing: which messages are due when, so that a rate is kept evenly over all connections.
//!
//! Message number `n` of all messages (from 0) is due `n / rate` after the start and belongs to
//! connection `n % connections`. Nothing is remembered between calls, so a sender that fell behind
//! catches up: over its whole run it keeps the rate that was asked for, as far as it is let.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Nanoseconds in a second times the thousandths that a rate is counted in.
const NANOS_MILLIS: u128 = 1_000_000_000 * 1_000;

/// Messages a second, over all connections: from 0.001 to 1,000,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Thousandths of a message a second; 1 to 10^12.
    millis: u64,
}

impl Rate {
    /// A rate in messages a second; none if it is out of range or no number.
    #[must_use]
    pub fn per_second(messages: f64) -> Option<Self> {
        let millis = (messages * 1_000.0).round();
        (1.0..=1e12).contains(&millis).then_some(Rate {
            millis: millis as u64,
        })
    }

    /// The rate in messages a second.
    #[must_use]
    pub fn messages_per_second(self) -> f64 {
        self.millis as f64 / 1_000.0
    }

    /// How many messages have come due by `elapsed` after the start. The first is due at once.
    fn due_count(self, elapsed: Duration) -> u128 {
        elapsed.as_nanos() * u128::from(self.millis) / NANOS_MILLIS + 1
    }

    /// When message number `index` of all comes due.
    fn due_at(self, index: u128) -> Duration {
        let nanos = index
            .saturating_mul(NANOS_MILLIS)
            .div_ceil(u128::from(self.millis));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let number = text.parse().ok().and_then(Rate::per_second);
        number.ok_or_else(|| BadRate(text.to_owned()))
    }
}

/// Not a rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRate(String);

impl fmt::Display for BadRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no rate; allowed are 0.001 to 1000000000 messages a second",
            self.0
        )
    }
}

impl std::error::Error for BadRate {}

/// One connection's part of a rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pacer {
    /// None: flat out, everything is always due.
    rate: Option<Rate>,
    /// Less than `connections_count`.
    index: u64,
    connections_count: u64,
}

impl Pacer {
    /// The part of connection `index` of `connections_count`.
    pub(super) fn new(rate: Option<Rate>, index: u64, connections_count: u64) -> Self {
        Pacer {
            rate,
            index,
            connections_count,
        }
    }

    /// How many of this connection's messages have come due by `elapsed` after the start.
    pub(super) fn due_count(&self, elapsed: Duration) -> u64 {
        let Some(rate) = self.rate else {
            return u64::MAX;
        };
        let others_before = u128::from(self.connections_count - 1 - self.index);
        let count = (rate.due_count(elapsed) + others_before) / u128::from(self.connections_count);
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// When this connection's message number `index` (from 0) comes due, after the start.
    pub(super) fn due_at(&self, index: u64) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let overall =
            u128::from(index) * u128::from(self.connections_count) + u128::from(self.index);
        rate.due_at(overall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(messages: f64) -> Rate {
        Rate::per_second(messages).unwrap()
    }

    #[test]
    fn rates_out_of_range_are_refused() {
        for bad in ["0", "-1", "nan", "inf", "1e10", "0.0001", "fast", ""] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        for good in ["0.001", "0.5", "1", "250000", "1e9"] {
            assert!(good.parse::<Rate>().is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_due_over_all_connections_is_the_rate_times_the_time() {
        for (messages, connections) in [(1.0, 1), (0.25, 3), (1000.0, 8), (333_333.0, 7), (1e9, 2)]
        {
            for millis in [0, 1, 10, 999, 1000, 3_600_000] {
                let elapsed = Duration::from_millis(millis);
                let sum: u64 = (0..connections)
                    .map(|index| {
                        Pacer::new(Some(rate(messages)), index, connections).due_count(elapsed)
                    })
                    .sum();
                let want = (messages * elapsed.as_secs_f64()).floor() as u64 + 1;
                assert_eq!(
                    sum, want,
                    "{messages}/s over {connections} after {millis} ms"
                );
            }
        }
    }

    #[test]
    fn a_message_is_due_from_its_time_on_and_not_a_nanosecond_sooner() {
        let mut rng = fastrand::Rng::with_seed(8);
        for _ in 0..10_000 {
            let connections = rng.u64(1..20);
            let pace = Pacer::new(
                Some(rate(rng.f64() * 1e6 + 0.01)),
                rng.u64(..connections),
                connections,
            );
            let index = rng.u64(..1_000_000);
            let at = pace.due_at(index);
            assert!(pace.due_count(at) > index, "{pace:?} {index}");
            if let Some(before) = at.checked_sub(Duration::from_nanos(1)) {
                assert!(pace.due_count(before) <= index, "{pace:?} {index}");
            }
        }
    }

    #[test]
    fn messages_come_due_at_even_distances_over_all_connections() {
        let connections = 4;
        let mut times: Vec<_> = (0..connections)
            .flat_map(|index| {
                let pace = Pacer::new(Some(rate(200.0)), index, connections);
                (0..50).map(move |message| pace.due_at(message))
            })
            .collect();
        times.sort();
        for (number, time) in times.iter().enumerate() {
            assert_eq!(*time, Duration::from_millis(5) * number as u32);
        }
    }

    #[test]
    fn flat_out_everything_is_due_at_once() {
        let pace = Pacer::new(None, 0, 1);
        assert_eq!(
            (pace.due_count(Duration::ZERO), pace.due_at(9)),
            (u64::MAX, Duration::ZERO)
        );
    }
}
