//! What becomes of a part that the service does not take as it is: halved, set aside, or given up.

use super::Delivery;
use crate::clock::Mono;
use crate::limits::{ISOLATION_PAUSE, ISOLATION_REQUESTS_FAST};
use crate::metrics::Counter;
use crate::planted::{Bug, is_planted};
use crate::retry::{backoff, spread};
use crate::spool::quarantine::Reason;
use crate::upload::common::{Common, lost_counter};
use crate::upload::isolate::{Mark, Part, Refused, TooLarge};
use crate::upload::rules::{HoldReason, RuleIndex};
use crate::upload::verdict::Verdict;
use crate::upload::want::GivenUp;
use std::time::Duration;

impl Delivery {
    /// Halves a part that was answered twice in a row as if it were too long. Never gives a row
    /// up: the network or the configuration may be at fault.
    pub(super) fn halve_if_too_large(
        &mut self,
        verdict: &Verdict,
        was_cut: bool,
        common: &mut Common,
        now: Mono,
    ) {
        let rows_count = self
            .parts
            .current()
            .map_or(0, |part| part.payload.rows_count());
        if verdict.may_be_too_large && was_cut && rows_count > 1 {
            self.halve(Some(verdict), common, now);
        } else {
            self.was_cut = verdict.may_be_too_large;
        }
    }

    /// Halves the part that is too long, or gives its only row up.
    pub(super) fn halve(&mut self, verdict: Option<&Verdict>, common: &mut Common, now: Mono) {
        if is_planted(Bug::TooLargeIsDropped) && verdict.is_some() {
            if let Some(part) = self.parts.accepted() {
                self.rows_left -= part.payload.rows_count();
            }
            return;
        }
        match self.parts.too_large() {
            Some(TooLarge::Halved) => common.tally.add(Counter::BodiesHalved, 1),
            Some(TooLarge::Lost(part)) => {
                let what = "a row is too long for the service";
                self.give_up(part, verdict, Reason::TooLarge, what, common, now);
            }
            None => {}
        }
    }

    /// Halves the part that was refused, or puts its only row aside, or gives it up.
    pub(super) fn refused(
        &mut self,
        rule: RuleIndex,
        verdict: &Verdict,
        now: Mono,
        common: &mut Common,
    ) {
        let chance = common.random.f64();
        let (rows_accepted, is_suspect) = self.to.rules.refused(rule, now, chance);
        if is_suspect {
            common.alarm(
                now,
                (&self.to, rule),
                verdict,
                HoldReason::Suspected.advice(),
            );
        }
        if is_planted(Bug::RefusedBodyDropped) {
            let rows_count = self.rows_left;
            while self.parts.accepted().is_some() {}
            return self.settle(Counter::RowsLostRejected, rows_count, common);
        }
        self.isolation_requests = self.isolation_requests.saturating_add(1);
        let mark = Mark {
            rule,
            rows_accepted,
        };
        match self.parts.refused(mark) {
            Some(Refused::Halved) => common.tally.add(Counter::BodiesHalved, 1),
            Some(Refused::Condemned(part)) => {
                let what = "a row was refused alone, others were accepted";
                self.give_up(part, Some(verdict), Reason::Rejected, what, common, now);
            }
            Some(Refused::SetAside) | None => {}
        }
        if self
            .parts
            .is_unproven(|rule| self.to.rules.rows_accepted(rule))
        {
            // nothing to learn from a hasty try
            self.unproven = self.unproven.saturating_add(1);
            let what = "a row is refused, and nothing else was accepted since";
            common.trouble(now, (&self.to, rule), verdict, what);
            let pause = backoff(self.unproven, common.random.f64());
            return self.retry(pause, Duration::ZERO, now, common);
        }
        if self.isolation_requests > ISOLATION_REQUESTS_FAST {
            self.pause(spread(ISOLATION_PAUSE, common.random.f64()), now);
        }
    }

    /// Takes leave of one row: it goes to quarantine, or is lost where there is none.
    fn give_up(
        &mut self,
        part: Part,
        verdict: Option<&Verdict>,
        reason: Reason,
        what: &str,
        common: &mut Common,
        now: Mono,
    ) {
        let rows_count = part.payload.rows_count();
        common.given_up(&part, verdict, what, now);
        if common.has_quarantine {
            self.rows_left = self.rows_left.saturating_sub(rows_count);
            self.given_up.push(GivenUp {
                payload: part.payload,
                reason,
            });
        } else {
            self.settle(lost_counter(reason), rows_count, common);
        }
    }
}
