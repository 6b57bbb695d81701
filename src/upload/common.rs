//! What all deliveries of one uploader use and share: rules, counts, chance, and their words in the log.

use super::destinations::{Destination, Destinations};
use super::isolate::Part;
use super::rules::RuleIndex;
use super::state::State;
use super::verdict::Verdict;
use crate::clock::Mono;
use crate::config::{DestinationId, GzipLevel};
use crate::limits::LOG_TEXT_CHARS_MAX;
use crate::log::safe_text;
use crate::metrics::{Counter, Latency, Tally};
use crate::planted::{Bug, is_planted};
use crate::spool::quarantine::Reason;
use std::sync::Arc;

/// What all deliveries of one uploader use and share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) destinations: Arc<Destinations>,
    pub(super) state: Arc<State>,
    pub(super) latency: Arc<Latency>,
    pub(super) random: fastrand::Rng,
    /// What was counted since it was last published.
    pub(super) tally: Tally,
    pub(super) wire_bytes_max: usize,
    pub(super) gzip_level: GzipLevel,
    /// Rows that cannot be delivered are kept, not lost.
    pub(super) has_quarantine: bool,
    /// The program is stopping: pauses are short.
    pub(super) is_stopping: bool,
}

/// How a row is counted that is given up and not kept.
pub(super) fn lost_counter(reason: Reason) -> Counter {
    match reason {
        Reason::Rejected => Counter::RowsLostRejected,
        Reason::TooLarge => Counter::RowsLostTooLarge,
    }
}

/// How a row is counted that is given up and kept.
pub(super) fn quarantined_counter(reason: Reason) -> Counter {
    match reason {
        Reason::Rejected => Counter::RowsQuarantinedRejected,
        Reason::TooLarge => Counter::RowsQuarantinedTooLarge,
    }
}

impl Common {
    /// Grows when a rule became usable, and when an outage ended.
    pub(super) fn changes(&self) -> (u64, u64) {
        (self.destinations.changes(), self.state.recoveries())
    }

    /// Where so many rows go that are for `id`; those whose destination is not known are counted.
    pub(super) fn direct(&mut self, id: DestinationId, rows_count: u64) -> Arc<Destination> {
        let to = match is_planted(Bug::OneDestination) {
            true => self.destinations.to(DestinationId::SENTINEL),
            false => self.destinations.to(id),
        };
        if to.id != id {
            self.tally.add(Counter::RowsRedirected, rows_count);
            if self.state.has_redirected() {
                tracing::warn!(
                    destination = format!("{:016x}", id.to_bits()),
                    "rows of a destination that is not in the configuration go to that of [sentinel]"
                );
            }
        }
        Arc::clone(to)
    }

    pub(super) fn trouble(
        &self,
        now: Mono,
        (to, rule): (&Destination, RuleIndex),
        verdict: &Verdict,
        what: &str,
    ) {
        if let Some(withheld) = self.state.trouble.allow(now) {
            let seconds = self.state.failing_for(now).as_secs();
            tracing::warn!(to = to.name, rule = rule.index(), verdict = %verdict.text, seconds, withheld, "{what}; trying again");
        }
    }

    pub(super) fn alarm(
        &self,
        now: Mono,
        (to, rule): (&Destination, RuleIndex),
        verdict: &Verdict,
        advice: &str,
    ) {
        if let Some(withheld) = self.state.alarm.allow(now) {
            tracing::error!(
                to = to.name, rule = rule.index(), verdict = %verdict.text, withheld,
                "data is held and tried again: {advice}"
            );
        }
    }

    /// No content of the row above `debug`.
    pub(super) fn given_up(&self, part: &Part, verdict: Option<&Verdict>, what: &str, now: Mono) {
        let text = verdict
            .map(|verdict| verdict.text.to_string())
            .unwrap_or_default();
        if let Some(withheld) = self.state.loss.allow(now) {
            let end = match self.has_quarantine {
                true => "it goes to quarantine",
                false => "it is lost",
            };
            tracing::error!(
                request = %part.payload.id, bytes = part.payload.raw_bytes(), verdict = text,
                withheld, "{what}: {end}"
            );
        }
        if tracing::enabled!(tracing::Level::DEBUG) {
            let raw = part.payload.raw().unwrap_or_default();
            // four bytes a character at most
            let start = raw.get(..4 * LOG_TEXT_CHARS_MAX).unwrap_or(&raw);
            let row: String = start.utf8_chunks().map(|chunk| chunk.valid()).collect();
            tracing::debug!(request = %part.payload.id, row = safe_text(&row), "row given up");
        }
    }
}
