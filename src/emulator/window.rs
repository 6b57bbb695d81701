//! One rule's minute: how many requests and bytes the service still takes from it.
//!
//! The documentation gives the limits (2 GB and 12,000 requests a minute) and not how the minute is
//! laid; here it is a fixed window that begins with the first request in it. A request is let in
//! while anything is left, and its bytes are charged once they are known.

use std::time::Duration;

use crate::clock::Mono;

/// Length of a window.
const WINDOW: Duration = Duration::from_secs(60);

/// What one rule may take in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinuteLimits {
    /// Bytes; of JSON or on the wire, by the reading of the limit.
    pub bytes_max: u64,
    /// Requests.
    pub requests_max: u64,
}

impl Default for MinuteLimits {
    fn default() -> Self {
        MinuteLimits {
            bytes_max: 2_000_000_000,
            requests_max: 12_000,
        }
    }
}

/// One rule's window.
#[derive(Debug, Clone, Copy, Default)]
pub struct Window {
    began: Mono,
    bytes: u64,
    requests: u64,
}

impl Window {
    /// Lets a request in.
    ///
    /// # Errors
    /// The time until the window ends, if it is full.
    pub fn admit(&mut self, now: Mono, limits: &MinuteLimits) -> Result<(), Duration> {
        let age = now.since(self.began);
        if age >= WINDOW || self.requests == 0 {
            *self = Window {
                began: now,
                bytes: 0,
                requests: 0,
            };
        } else if self.bytes >= limits.bytes_max || self.requests >= limits.requests_max {
            return Err(WINDOW.saturating_sub(age));
        }
        self.requests = self.requests.saturating_add(1);
        Ok(())
    }

    /// Charges the bytes of a request that was let in.
    pub fn charge(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MinuteLimits = MinuteLimits {
        bytes_max: 100,
        requests_max: 3,
    };

    fn second(n: u64) -> Mono {
        Mono(n * 1_000_000_000)
    }

    #[test]
    fn requests_run_out_and_come_back_with_the_next_window() {
        let mut window = Window::default();
        for n in 0..3 {
            assert_eq!(window.admit(second(100 + n), &LIMITS), Ok(()));
        }
        assert_eq!(
            window.admit(second(105), &LIMITS),
            Err(Duration::from_secs(55))
        );
        assert_eq!(
            window.admit(second(159), &LIMITS),
            Err(Duration::from_secs(1))
        );
        assert_eq!(window.admit(second(160), &LIMITS), Ok(()));
    }

    #[test]
    fn bytes_run_out_and_come_back_with_the_next_window() {
        let mut window = Window::default();
        assert_eq!(window.admit(second(1), &LIMITS), Ok(()));
        window.charge(99);
        assert_eq!(window.admit(second(2), &LIMITS), Ok(()));
        window.charge(1);
        assert_eq!(
            window.admit(second(3), &LIMITS),
            Err(Duration::from_secs(58))
        );
        assert_eq!(window.admit(second(61), &LIMITS), Ok(()));
        assert_eq!(window.admit(second(62), &LIMITS), Ok(()));
    }
}
