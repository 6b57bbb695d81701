//! One payload on its way, from sealing until each of its rows is accepted or lost.
//!
//! The delivery holds its place among the requests in flight all the time, waits included, so in
//! an outage the uploader soon takes no more pages, and that reaches the senders.
//!
//! Cancellation: whatever a delivery has not settled when it is dropped is counted as unsent (see
//! [`Unsettled`]), at whichever `.await` that happens.

use super::isolate::{Mark, Part, Parts, Refused, TooLarge};
use super::request::Requester;
use super::rules::{HoldReason, RuleIndex, Rules, Turn};
use super::state::State;
use super::verdict::{Kind, Verdict, judge};
use super::{Stop, draining};
use crate::auth::{Auth, Permit};
use crate::clock::{Clock, Mono};
use crate::compress::Payload;
use crate::limits::{
    BACKOFF_STOPPING, ISOLATION_PAUSE, ISOLATION_REQUESTS_FAST, LOG_TEXT_CHARS_MAX, PLACES_LENT_MAX,
};
use crate::log::safe_text;
use crate::metrics::{Counter, Counters, Latency, Stopwatch};
use crate::retry::{backoff, spread};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What all deliveries of one uploader use.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) requester: Requester,
    pub(super) auth: Arc<Auth>,
    pub(super) rules: Arc<Rules>,
    pub(super) state: Arc<State>,
    pub(super) counters: Arc<Counters>,
    pub(super) latency: Arc<Latency>,
    pub(super) clock: Clock,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) wire_bytes_max: usize,
    pub(super) gzip_level: u32,
    pub(super) places: Places,
}

/// Places of deliveries that others may use for now, see [`PLACES_LENT_MAX`].
#[derive(Debug, Default)]
pub(super) struct Places {
    lent: AtomicUsize,
    /// Wakes the uploader when a place is lent.
    changed: Notify,
}

impl Places {
    /// How many there are.
    pub(super) fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed).min(PLACES_LENT_MAX)
    }

    /// Resolves when there is one more.
    pub(super) fn changed(&self) -> impl Future<Output = ()> {
        self.changed.notified()
    }
}

/// While it lives, its delivery's place may be used by another.
struct Lent<'a>(&'a Places);

impl<'a> Lent<'a> {
    fn new(places: &'a Places) -> Self {
        places.lent.fetch_add(1, Ordering::Relaxed);
        places.changed.notify_one();
        Lent(places)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.lent.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Rows that are not yet accounted for. Those left when it is dropped are unsent.
struct Unsettled {
    rows_count: u64,
    counters: Arc<Counters>,
}

impl Unsettled {
    fn settle(&mut self, counter: Counter, rows_count: u64) {
        debug_assert!(rows_count <= self.rows_count, "rows are settled once");
        self.counters.add(counter, rows_count);
        self.rows_count = self.rows_count.saturating_sub(rows_count);
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.counters.add(Counter::RowsLostUnsent, self.rows_count);
    }
}

/// One payload and how far it got.
struct Delivery {
    parts: Parts,
    unsettled: Unsettled,
    /// Requests in a row that the service could not serve.
    failures: u32,
    /// Refusals of single rows that proved nothing, in a row.
    unproven: u32,
    /// Requests for parts.
    isolation_requests: u32,
    /// The last answer was 401, and a new token was asked for.
    is_renewed: bool,
    /// The last request was cut off like a body that is too long.
    was_cut: bool,
    /// The buffer of the whole, to be used again.
    buffer: Option<Vec<u8>>,
}

/// What to do before the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Go,
    /// Wait; the end of an outage, or of the program, makes it shorter.
    Retry(Duration),
    /// Wait so long.
    Pause(Duration),
}

impl Courier {
    /// Delivers a payload and returns its buffer, if it is free.
    pub(super) async fn deliver(self: Arc<Self>, payload: Payload) -> Option<Vec<u8>> {
        let mut delivery = Delivery {
            unsettled: Unsettled {
                rows_count: payload.rows_count(),
                counters: Arc::clone(&self.counters),
            },
            parts: Parts::new(payload, self.gzip_level),
            failures: 0,
            unproven: 0,
            isolation_requests: 0,
            is_renewed: false,
            was_cut: false,
            buffer: None,
        };
        let mut next = Next::Go;
        while let Some(part) = delivery.parts.current() {
            // the batch makes this impossible, but for one row alone
            if part.payload.body.len() > self.wire_bytes_max {
                self.halve(&mut delivery, None);
                continue;
            }
            let (rule, permit) = {
                let is_unproven = delivery
                    .parts
                    .is_unproven(|rule| self.rules.rows_accepted(rule));
                let _lent = is_unproven.then(|| Lent::new(&self.places));
                self.wait(next).await;
                self.turn(&delivery.parts).await
            };
            let Some(part) = delivery.parts.current() else {
                break;
            };
            let verdict = self.request(part, rule, &permit).await;
            next = self.act(&mut delivery, rule, &permit, &verdict);
        }
        delivery.buffer
    }

    /// Waits for a rule and a token.
    async fn turn(&self, parts: &Parts) -> (RuleIndex, Permit) {
        loop {
            let permit = match self.auth.permit(&self.counters).await {
                Ok(permit) => permit,
                Err(denied) => {
                    let now = self.clock.mono();
                    self.state.failed(now, denied.refusal.to_string());
                    self.wait(Next::Pause(denied.retry_at.since(now))).await;
                    continue;
                }
            };
            let changed = self.rules.changed();
            let now = self.clock.mono();
            match self.rules.turn(parts.asker(), now) {
                Turn::Use(rule) => return (rule, permit),
                Turn::Wait(until) => {
                    let pause = spread(until.since(now), fastrand::f64());
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// One request, counted.
    async fn request(&self, part: &mut Part, rule: RuleIndex, permit: &Permit) -> Verdict {
        let payload = &part.payload;
        if std::mem::take(&mut part.is_ambiguous) {
            self.counters
                .add(Counter::RowsMaybeTwice, payload.rows_count());
        }
        self.counters.add(Counter::Requests, 1);
        self.counters
            .add(Counter::RequestBytes, payload.body.len() as u64);
        let reply = self
            .requester
            .send(rule, payload, permit.header.clone())
            .await;
        let verdict = judge(&reply, payload.body.len(), self.clock.wall());
        self.counters.add(verdict.kind.counter(), 1);
        tracing::debug!(
            request = %payload.id, rule = rule.index(), rows = payload.rows_count(),
            bytes = payload.body.len(), verdict = %verdict.text, "request"
        );
        part.is_ambiguous = verdict.is_ambiguous;
        verdict
    }

    fn act(
        &self,
        delivery: &mut Delivery,
        rule: RuleIndex,
        permit: &Permit,
        verdict: &Verdict,
    ) -> Next {
        let now = self.clock.mono();
        if verdict.kind != Kind::Accepted {
            self.state.failed(now, verdict.text.to_string());
        }
        let was_renewed = std::mem::take(&mut delivery.is_renewed);
        let was_cut = std::mem::take(&mut delivery.was_cut);
        match verdict.kind {
            Kind::Accepted => {
                self.accepted(delivery, rule, now);
                Next::Go
            }
            Kind::Unauthorized => {
                delivery.is_renewed = self.auth.refused(permit) && !was_renewed;
                if delivery.is_renewed {
                    return Next::Go;
                }
                self.alarm(now, rule, verdict, "the token is not accepted: check that sentinel.identity.scope and authority belong to the endpoint's cloud");
                self.back_off(delivery, None)
            }
            Kind::Held(reason) => {
                self.hold(rule, reason, verdict, now);
                self.halve_if_too_large(delivery, verdict, was_cut);
                Next::Go
            }
            Kind::Throttled(pause) => {
                self.rules.pause(rule, now.plus(pause));
                self.trouble(now, rule, verdict, "throttled");
                Next::Go
            }
            Kind::Unavailable(pause) => {
                self.state.unavailable(now);
                self.trouble(now, rule, verdict, "the service is in trouble");
                self.back_off(delivery, pause)
            }
            Kind::Silent(_) => {
                self.state.unavailable(now);
                self.trouble(now, rule, verdict, "the request failed");
                self.halve_if_too_large(delivery, verdict, was_cut);
                self.back_off(delivery, None)
            }
            Kind::TooLarge => {
                self.halve(delivery, Some(verdict));
                Next::Go
            }
            Kind::Refused => self.refused(delivery, rule, verdict, now),
        }
    }

    fn accepted(&self, delivery: &mut Delivery, rule: RuleIndex, now: Mono) {
        delivery.failures = 0;
        delivery.unproven = 0;
        let Some(part) = delivery.parts.accepted() else {
            return;
        };
        let payload = part.payload;
        let rows_count = payload.rows_count();
        delivery.unsettled.settle(Counter::RowsUploaded, rows_count);
        self.counters.add(Counter::BodiesUploaded, 1);
        self.rules.accepted(rule, rows_count);
        self.state.succeeded(now);
        self.latency
            .record(Stopwatch::Flight, now.since(payload.sealed_at), rows_count);
        for arrival in &payload.arrivals {
            let time = now.since(arrival.at);
            self.latency
                .record(Stopwatch::Overall, time, u64::from(arrival.rows_count));
        }
        delivery.buffer = payload.into_buffer();
    }

    fn back_off(&self, delivery: &mut Delivery, asked: Option<Duration>) -> Next {
        delivery.failures = delivery.failures.saturating_add(1);
        let pause = backoff(delivery.failures, fastrand::f64());
        match asked {
            Some(asked) if asked > pause => Next::Pause(spread(asked, fastrand::f64())),
            _ => Next::Retry(pause),
        }
    }

    fn hold(&self, rule: RuleIndex, reason: HoldReason, verdict: &Verdict, now: Mono) {
        self.rules.hold(rule, reason, now, fastrand::f64());
        self.alarm(now, rule, verdict, reason.advice());
    }

    /// Halves a part that was answered twice in a row as if it were too long. Never gives a row
    /// up: the network or the configuration may be at fault.
    fn halve_if_too_large(&self, delivery: &mut Delivery, verdict: &Verdict, was_cut: bool) {
        let rows_count = delivery
            .parts
            .current()
            .map_or(0, |part| part.payload.rows_count());
        if verdict.may_be_too_large && was_cut && rows_count > 1 {
            self.halve(delivery, Some(verdict));
        } else {
            delivery.was_cut = verdict.may_be_too_large;
        }
    }

    /// Halves the part that is too long, or gives its only row up.
    fn halve(&self, delivery: &mut Delivery, verdict: Option<&Verdict>) {
        match delivery.parts.too_large() {
            Some(TooLarge::Halved) => self.counters.add(Counter::BodiesHalved, 1),
            Some(TooLarge::Lost(part)) => {
                delivery
                    .unsettled
                    .settle(Counter::RowsLostTooLarge, part.payload.rows_count());
                self.lost(&part, verdict, "a row is too long for the service");
            }
            None => {}
        }
    }

    /// Halves the part that was refused, or puts its only row aside, or gives it up.
    fn refused(
        &self,
        delivery: &mut Delivery,
        rule: RuleIndex,
        verdict: &Verdict,
        now: Mono,
    ) -> Next {
        let (rows_accepted, is_suspect) = self.rules.refused(rule, now, fastrand::f64());
        if is_suspect {
            self.alarm(now, rule, verdict, HoldReason::Suspected.advice());
        }
        delivery.isolation_requests = delivery.isolation_requests.saturating_add(1);
        match delivery.parts.refused(Mark {
            rule,
            rows_accepted,
        }) {
            Some(Refused::Halved) => self.counters.add(Counter::BodiesHalved, 1),
            Some(Refused::Condemned(part)) => {
                delivery
                    .unsettled
                    .settle(Counter::RowsLostRejected, part.payload.rows_count());
                self.lost(
                    &part,
                    Some(verdict),
                    "a row was refused alone, others were accepted",
                );
            }
            Some(Refused::SetAside) | None => {}
        }
        if delivery
            .parts
            .is_unproven(|rule| self.rules.rows_accepted(rule))
        {
            // nothing to learn from a hasty try
            delivery.unproven = delivery.unproven.saturating_add(1);
            self.trouble(
                now,
                rule,
                verdict,
                "a row is refused, and nothing else was accepted since",
            );
            return Next::Retry(backoff(delivery.unproven, fastrand::f64()));
        }
        match delivery.isolation_requests {
            ..ISOLATION_REQUESTS_FAST => Next::Go,
            _ => Next::Pause(spread(ISOLATION_PAUSE, fastrand::f64())),
        }
    }

    async fn wait(&self, next: Next) {
        match next {
            Next::Go => {}
            Next::Pause(pause) => tokio::time::sleep(pause).await,
            Next::Retry(pause) => {
                let recovered = self.state.recovered();
                let mut stop = self.stop.clone();
                tokio::select! {
                    () = recovered => {}
                    () = tokio::time::sleep(pause) => {}
                    () = async {
                        draining(&mut stop).await;
                        tokio::time::sleep(BACKOFF_STOPPING.mul_f64(fastrand::f64())).await;
                    } => {}
                }
            }
        }
    }

    fn trouble(&self, now: Mono, rule: RuleIndex, verdict: &Verdict, what: &str) {
        if let Some(withheld) = self.state.trouble.allow(now) {
            let seconds = self.state.failing_for(now).as_secs();
            tracing::warn!(rule = rule.index(), verdict = %verdict.text, seconds, withheld, "{what}; trying again");
        }
    }

    fn alarm(&self, now: Mono, rule: RuleIndex, verdict: &Verdict, advice: &str) {
        if let Some(withheld) = self.state.alarm.allow(now) {
            tracing::error!(
                rule = rule.index(), verdict = %verdict.text, withheld,
                "data is held and tried again: {advice}"
            );
        }
    }

    /// No content of the row above `debug`.
    fn lost(&self, part: &Part, verdict: Option<&Verdict>, what: &str) {
        let text = verdict
            .map(|verdict| verdict.text.to_string())
            .unwrap_or_default();
        if let Some(withheld) = self.state.loss.allow(self.clock.mono()) {
            tracing::error!(
                request = %part.payload.id, bytes = part.payload.raw_bytes(), verdict = text,
                withheld, "{what}: it is lost"
            );
        }
        if tracing::enabled!(tracing::Level::DEBUG) {
            let raw = part.payload.raw().unwrap_or_default();
            // four bytes a character at most
            let start = raw.get(..4 * LOG_TEXT_CHARS_MAX).unwrap_or(&raw);
            let row: String = start.utf8_chunks().map(|chunk| chunk.valid()).collect();
            tracing::debug!(request = %part.payload.id, row = safe_text(&row), "lost row");
        }
    }
}
