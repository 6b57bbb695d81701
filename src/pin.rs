//! Threads that stay on one core.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps this thread, which is that of `who`, on a core. Where that may not be it goes on anywhere, and
/// the log says so.
pub fn to_core(core: usize, who: &str) {
    let mut set = CpuSet::new();
    let pinned = set
        .set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        tracing::warn!(core, %error, "{who} could not be pinned; it goes on unpinned");
    }
}
