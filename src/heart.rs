//! Heartbeats: whether every loop of the program goes round.
//!
//! A loop beats its heart at least once in [`BEAT_TIME`](crate::limits::BEAT_TIME), also while it has
//! nothing to do or waits for others: that is no fault of its own. One that has been silent for
//! [`LIVENESS_TIME`] is stuck, and the program with it: `/healthz` says which loop it is, and the
//! supervisor is not told any more that we are alive.

use crate::clock::Mono;
use crate::limits::LIVENESS_TIME;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Has not beaten yet.
const NOT_BEGUN: u64 = 0;
/// Its loop has ended.
const ENDED: u64 = u64::MAX;

/// The heart of one loop: that loop beats, anyone may listen.
#[derive(Debug)]
pub struct Heart {
    name: String,
    /// Nanosecond of the last beat, [`NOT_BEGUN`] or [`ENDED`].
    beat_at: AtomicU64,
}

impl Heart {
    /// For the loop of this name. It is listened to from its first beat on.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Arc<Self> {
        Arc::new(Heart {
            name: name.into(),
            beat_at: AtomicU64::new(NOT_BEGUN),
        })
    }

    /// Its loop goes round.
    pub fn beat(&self, now: Mono) {
        let beat_at = now.0.clamp(NOT_BEGUN + 1, ENDED - 1);
        self.beat_at.store(beat_at, Ordering::Relaxed);
    }

    /// Its loop has ended as it should: nothing more is expected of it.
    pub fn end(&self) {
        self.beat_at.store(ENDED, Ordering::Relaxed);
    }

    /// How long its loop has been stuck, if it is.
    #[must_use]
    pub fn stuck_for(&self, now: Mono) -> Option<Duration> {
        match self.beat_at.load(Ordering::Relaxed) {
            NOT_BEGUN | ENDED => None,
            beat_at => Some(now.since(Mono(beat_at))).filter(|time| *time >= LIVENESS_TIME),
        }
    }
}

/// Those that are stuck, in words; nothing if all is well.
#[must_use]
pub fn complaint<'h>(
    hearts: impl IntoIterator<Item = &'h Arc<Heart>>,
    now: Mono,
) -> Option<String> {
    let stuck = hearts.into_iter().filter_map(|heart| {
        let seconds = heart.stuck_for(now)?.as_secs();
        Some(format!("{} has been stuck for {seconds} s", heart.name))
    });
    Some(stuck.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_is_listened_to_from_its_first_beat_to_its_end() {
        let [quick, stuck, late] = ["ingest-0", "ingest-1", "upload-0"].map(Heart::new);
        let hearts = [quick.clone(), stuck.clone(), late];
        let at = |time: Duration| Mono(0).plus(time);
        let now = at(LIVENESS_TIME);
        assert_eq!(complaint(&hearts, now), None);
        quick.beat(now);
        stuck.beat(Mono(0));
        let just_before = Mono(now.0);
        assert_eq!(complaint(&hearts, just_before), None);
        let later = at(LIVENESS_TIME + Duration::from_secs(2));
        assert_eq!(
            complaint(&hearts, later).unwrap(),
            "ingest-1 has been stuck for 6 s"
        );
        stuck.beat(later);
        assert_eq!(complaint(&hearts, later), None);
        stuck.end();
        quick.end();
        assert_eq!(complaint(&hearts, Mono(u64::MAX)), None);
    }
}
