//! Time as a value: stages are given a [`Moment`], only the shell reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds on the monotonic clock since the program's [`Clock`] was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// Time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment moved on by `time`.
    #[must_use]
    pub fn plus(self, time: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Nanoseconds since 1970-01-01T00:00:00Z on the wall clock, which may jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Wall(pub i64);

/// One instant on both clocks: the wall clock for stamps, the monotonic one for every wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// For waits and ages.
    pub mono: Mono,
    /// For what is written into rows.
    pub wall: Wall,
}

/// The machine's clocks. Cheap to copy; all copies share one origin, so that a [`Mono`] taken on
/// one thread can be compared with one taken on another.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic side begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn start() -> Self {
        Clock {
            origin: Instant::now(),
        }
    }

    /// Now on the monotonic clock.
    #[must_use]
    pub fn mono(&self) -> Mono {
        Mono(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Now on the wall clock. A time before 1970 reads as 1970.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn wall(&self) -> Wall {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Wall(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Now on both.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment {
            mono: self.mono(),
            wall: self.wall(),
        }
    }
}
