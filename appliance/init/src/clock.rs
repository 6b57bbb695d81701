//! The time since the boot, the only clock that init goes by: it is there before the time of day is
//! known, and goes on while a virtual machine sleeps.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Time since the boot.
#[must_use]
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}
