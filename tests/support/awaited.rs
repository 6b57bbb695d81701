//! Waiting for a condition, with a deadline, where looking takes awaiting.

use cefline::clock::{Clock, Mono};
use std::time::Duration;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until there is something to see, and fails past `time`.
pub(crate) async fn awaited<T>(
    what: &str,
    time: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let clock = Clock::start();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            clock.mono() < Mono(0).plus(time),
            "not within {time:?}: {what}"
        );
        tokio::time::sleep(LOOK).await;
    }
}
