//! How uploading goes, for all uploaders together: what `/readyz` and the progress display show,
//! and the limits of log lines.
//!
//! An outage of Azure makes the program degraded, not unready: it still accepts what the buffers
//! hold, and then pushes back.

use crate::clock::Mono;
use crate::limits::{ALARM_PAUSE, LOG_PAUSE, OUTAGE_TIME};
use crate::log::Limited;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Shared by all uploaders.
#[derive(Debug)]
pub struct State {
    inner: Mutex<Report>,
    recovered: Notify,
    /// Outages that have ended.
    recoveries: AtomicU64,
    /// Requests that failed and are tried again.
    pub(super) trouble: Limited,
    /// Faults that stand until somebody acts.
    pub(super) alarm: Limited,
    /// Rows that are lost.
    pub(super) loss: Limited,
    /// Rows have gone to another destination than theirs, and that was said.
    has_redirected: AtomicBool,
}

/// How uploading goes.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// When a body was last accepted.
    pub last_success: Option<Mono>,
    /// When a request last came to something else, and to what; no secret, fit for display.
    pub last_failure: Option<(Mono, String)>,
    /// Since when the service has not answered, or only with its own trouble; nothing while it
    /// works.
    pub failing_since: Option<Mono>,
}

impl Default for State {
    fn default() -> Self {
        State {
            inner: Mutex::default(),
            recovered: Notify::new(),
            recoveries: AtomicU64::new(0),
            trouble: Limited::new(LOG_PAUSE),
            alarm: Limited::new(ALARM_PAUSE),
            loss: Limited::new(LOG_PAUSE),
            has_redirected: AtomicBool::new(false),
        }
    }
}

impl State {
    /// How uploading goes.
    #[must_use]
    pub fn report(&self) -> Report {
        self.inner().clone()
    }

    /// A body was accepted. If that ends an outage, whoever waits for a retry is woken.
    pub(super) fn succeeded(&self, now: Mono) {
        let outage = {
            let mut inner = self.inner();
            inner.last_success = Some(now);
            inner.failing_since.take().map(|since| now.since(since))
        };
        if let Some(time) = outage.filter(|time| *time >= OUTAGE_TIME) {
            tracing::info!(seconds = time.as_secs(), "the service accepts again");
            self.recoveries.fetch_add(1, Ordering::Release);
            self.recovered.notify_waiters();
        }
    }

    /// A request came to something else.
    pub(super) fn failed(&self, now: Mono, what: String) {
        self.inner().last_failure = Some((now, what));
    }

    /// The service did not answer, or with its own trouble.
    pub(super) fn unavailable(&self, now: Mono) {
        self.inner().failing_since.get_or_insert(now);
    }

    /// How long the service has been unavailable.
    pub(super) fn failing_for(&self, now: Mono) -> Duration {
        self.inner()
            .failing_since
            .map_or(Duration::ZERO, |since| now.since(since))
    }

    /// How many outages have ended. When this grows, whoever waits for another try goes on.
    #[must_use]
    pub fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Acquire)
    }

    /// Resolves when an outage ends. What happens after this call is not missed.
    pub(super) fn recovered(&self) -> impl Future<Output = ()> {
        self.recovered.notified()
    }

    /// Rows go to another destination than theirs. True if that is to be said.
    pub(super) fn has_redirected(&self) -> bool {
        !self.has_redirected.swap(true, Ordering::Relaxed)
    }

    /// The configuration is another: what of it is to be said, is to be said again.
    pub(super) fn forget_redirected(&self) {
        self.has_redirected.store(false, Ordering::Relaxed);
    }

    fn inner(&self) -> MutexGuard<'_, Report> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::poll_once;

    #[tokio::test]
    async fn the_first_success_after_an_outage_wakes_the_waiting_and_others_do_not() {
        let state = State::default();
        for (outage, is_woken) in [(OUTAGE_TIME, true), (OUTAGE_TIME / 2, false)] {
            let waiting = std::pin::pin!(state.recovered());
            state.unavailable(Mono(100));
            state.unavailable(Mono(200));
            assert_eq!(state.report().failing_since, Some(Mono(100)));
            state.succeeded(Mono(100).plus(outage));
            assert_eq!(state.report().failing_since, None);
            assert_eq!(poll_once(waiting).await.is_some(), is_woken);
        }
    }
}
