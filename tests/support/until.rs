//! Waiting for a condition, with a deadline.

use cefline::clock::{Clock, Mono};
use std::thread;
use std::time::Duration;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until there is something to see, and fails past `time`.
pub(crate) fn until<T>(what: &str, time: Duration, look: impl FnMut() -> Option<T>) -> T {
    until_or(what, time, look, String::new)
}

/// The same; a failure says what `instead` tells.
pub(crate) fn until_or<T>(
    what: &str,
    time: Duration,
    mut look: impl FnMut() -> Option<T>,
    instead: impl Fn() -> String,
) -> T {
    let clock = Clock::start();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            clock.mono() < Mono(0).plus(time),
            "not within {time:?}: {what} {}",
            instead()
        );
        thread::sleep(LOOK);
    }
}
