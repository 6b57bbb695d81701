//! One body on its way, from its first request until each of its rows is settled.
//!
//! ```text
//! ask for a token --> wait for a rule --> request --> verdict --> all rows settled
//!       ^                                                |
//!       '------------- wait, halve, or at once <---------'
//! ```
//!
//! A delivery holds its place among the requests in flight all the time, waits included, so in an
//! outage the uploader soon begins no more, and what comes then goes to the spool, or makes senders
//! wait.
//!
//! Pure: time, chance, permits and replies are arguments; what it wants next is [`Want`].

mod parting;

use super::common::Common;
use super::destinations::Destination;
use super::isolate::Parts;
use super::request::{Reply, Request};
use super::rules::{RuleIndex, Turn};
use super::verdict::{Kind, Verdict, judge};
use super::want::{GivenUp, Want};
use crate::auth::{Denied, Permit};
use crate::clock::{Moment, Mono};
use crate::compress::Payload;
use crate::config::DestinationId;
use crate::limits::{BACKOFF_FIRST, BACKOFF_LEAST, BACKOFF_STOPPING};
use crate::metrics::{Counter, Stopwatch};
use crate::planted::{Bug, is_planted};
use crate::retry::{backoff, spread};
use std::sync::Arc;
use std::time::Duration;

/// One body and how far it got.
#[derive(Debug)]
pub(super) struct Delivery {
    parts: Parts,
    /// What its rows are for...
    id: DestinationId,
    /// ...and where they go: to that of `[sentinel]` if there is no such one.
    to: Arc<Destination>,
    /// Rows that are neither settled nor given up.
    rows_left: u64,
    phase: Phase,
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
    pub(super) buffer: Option<Vec<u8>>,
    /// Rows to be kept.
    pub(super) given_up: Vec<GivenUp>,
    /// It was read from disk: its time in the spool says nothing of the flight.
    is_old: bool,
}

#[derive(Debug)]
enum Phase {
    /// Go on at once.
    Ready,
    /// Go on then.
    Pause(Mono),
    /// Go on then, or when an outage ends, which is when this count grows; but not before the last
    /// of these moments, which was asked for.
    Retry(Mono, u64, Mono),
    /// A permit was asked for.
    Asked,
    /// It was given; a rule is needed. Not asked again before then, unless rules change.
    Turn(Permit, Mono, u64),
    /// The request is under way, to a rule of this destination.
    Sent(RuleIndex, Arc<Destination>),
}

impl Delivery {
    pub(super) fn new(payload: Payload, is_old: bool, common: &mut Common) -> Self {
        let id = payload.destination;
        let rows_left = payload.rows_count();
        Delivery {
            id,
            to: common.direct(id, rows_left),
            rows_left,
            parts: Parts::new(payload, common.gzip_level),
            phase: Phase::Ready,
            failures: 0,
            unproven: 0,
            isolation_requests: 0,
            is_renewed: false,
            was_cut: false,
            buffer: None,
            given_up: Vec::new(),
            is_old,
        }
    }

    /// Rows that are not settled.
    pub(super) fn rows_left(&self) -> u64 {
        self.rows_left
    }

    /// True while it can gain nothing from its place: see
    /// [`PLACES_LENT_MAX`](crate::limits::PLACES_LENT_MAX).
    pub(super) fn lends_its_place(&mut self) -> bool {
        let rules = &self.to.rules;
        !matches!(self.phase, Phase::Sent(..))
            && self.parts.is_unproven(|rule| rules.rows_accepted(rule))
    }

    /// What its rows are for.
    pub(super) fn id(&self) -> DestinationId {
        self.id
    }

    /// Where it goes.
    pub(super) fn to(&self) -> &Destination {
        &self.to
    }

    /// What it wants now.
    pub(super) fn next(&mut self, now: Moment, common: &mut Common) -> Want {
        loop {
            // the batch makes this impossible, but for one row alone
            while let Some(part) = self.parts.current()
                && part.payload.body.len() > common.wire_bytes_max
            {
                self.halve(None, common, now.mono);
            }
            if self.parts.current().is_none() {
                return Want::Nothing;
            }
            match std::mem::replace(&mut self.phase, Phase::Ready) {
                Phase::Ready => {
                    self.phase = Phase::Asked;
                    return Want::Permit;
                }
                Phase::Pause(at) if now.mono < at => return self.wait(Phase::Pause(at), at),
                Phase::Retry(at, recoveries, least) if now.mono < at => {
                    if common.state.recoveries() == recoveries {
                        return self.wait(Phase::Retry(at, recoveries, least), at);
                    }
                    if now.mono < least {
                        return self.wait(Phase::Pause(least), least);
                    }
                }
                Phase::Pause(_) | Phase::Retry(..) => {}
                Phase::Asked => {
                    self.phase = Phase::Asked;
                    return Want::Answer;
                }
                Phase::Sent(rule, to) => {
                    self.phase = Phase::Sent(rule, to);
                    return Want::Answer;
                }
                Phase::Turn(permit, at, changes)
                    if now.mono < at && self.to.rules.changes() == changes =>
                {
                    return self.wait(Phase::Turn(permit, at, changes), at);
                }
                Phase::Turn(permit, Mono(0), _) => return self.turn(permit, now.mono, common),
                // the permit has aged meanwhile: it is asked for again
                Phase::Turn(..) => {}
            }
        }
    }

    fn wait(&mut self, phase: Phase, at: Mono) -> Want {
        self.phase = phase;
        Want::Time(at)
    }

    fn turn(&mut self, permit: Permit, now: Mono, common: &mut Common) -> Want {
        let rules = &self.to.rules;
        let changes = rules.changes();
        let bytes = self
            .parts
            .current()
            .map_or(0, |part| rules.body_limit.weight(&part.payload));
        match rules.turn(self.parts.asker(), bytes, now) {
            Turn::Use(rule) => match self.request(rule, permit, common) {
                Some(request) => Want::Request(request),
                None => Want::Nothing,
            },
            Turn::Wait(until) => {
                let at = now.plus(spread(until.since(now), common.random.f64()));
                self.wait(Phase::Turn(permit, at, changes), at)
            }
        }
    }

    /// The request for the current part, counted.
    fn request(&mut self, rule: RuleIndex, permit: Permit, common: &mut Common) -> Option<Request> {
        let part = self.parts.current()?;
        let (id, body) = (part.payload.id, part.payload.body.clone());
        let tally = &mut common.tally;
        if std::mem::take(&mut part.is_ambiguous) {
            tally.add(Counter::RowsMaybeTwice, part.payload.rows_count());
        }
        tally.add(Counter::Requests, 1);
        tally.add(Counter::RequestBytes, body.len() as u64);
        self.phase = Phase::Sent(rule, Arc::clone(&self.to));
        Some(Request {
            destination: self.to.index,
            rule,
            id,
            body,
            permit,
        })
    }

    /// Takes the permit that was asked for, or why there is none.
    pub(super) fn permitted(
        &mut self,
        permit: Result<Permit, Denied>,
        now: Mono,
        common: &mut Common,
    ) {
        self.phase = match permit {
            Ok(permit) => Phase::Turn(permit, Mono(0), 0),
            Err(denied) => {
                common.state.failed(now, denied.refusal.to_string());
                Phase::Pause(denied.retry_at)
            }
        };
    }

    /// Takes the end of its request. `renews` says, after 401, that a further try will have another
    /// token.
    pub(super) fn replied(
        &mut self,
        reply: &Reply,
        renews: bool,
        now: Moment,
        common: &mut Common,
    ) {
        let Phase::Sent(rule, sent_to) = std::mem::replace(&mut self.phase, Phase::Ready) else {
            debug_assert!(false, "an answer without a request");
            return;
        };
        let Some(part) = self.parts.current() else {
            return;
        };
        let payload = &part.payload;
        let verdict = judge(reply, (payload.body.len(), payload.raw_bytes()), now.wall);
        common.tally.add(verdict.kind.counter(), 1);
        tracing::debug!(
            request = %payload.id, to = sent_to.name, rule = rule.index(), rows = payload.rows_count(),
            bytes = payload.body.len(), verdict = %verdict.text, "request"
        );
        part.is_ambiguous = verdict.is_ambiguous;
        if verdict.kind == Kind::Accepted {
            return self.accepted(&sent_to, rule, now.mono, common);
        }
        if !Arc::ptr_eq(&sent_to, &self.to) {
            // by what it was before a reload: tried again by what it is now
            self.is_renewed = false;
            self.was_cut = false;
            return;
        }
        self.act(rule, renews, &verdict, now.mono, common);
    }

    fn act(
        &mut self,
        rule: RuleIndex,
        renews: bool,
        verdict: &Verdict,
        now: Mono,
        common: &mut Common,
    ) {
        common.state.failed(now, verdict.text.to_string());
        let was_renewed = std::mem::take(&mut self.is_renewed);
        let was_cut = std::mem::take(&mut self.was_cut);
        match verdict.kind {
            // by then it is settled
            Kind::Accepted => {}
            Kind::Unauthorized => {
                self.is_renewed = renews && !was_renewed || is_planted(Bug::UnauthorizedLoops);
                if !self.is_renewed {
                    common.alarm(now, (&self.to, rule), verdict, "the token is not accepted: check that sentinel.identity.scope and authority belong to the endpoint's cloud");
                    self.back_off(None, now, common);
                }
            }
            Kind::Held(reason) => {
                self.to.rules.hold(rule, reason, now, common.random.f64());
                common.alarm(now, (&self.to, rule), verdict, reason.advice());
                self.halve_if_too_large(verdict, was_cut, common, now);
            }
            Kind::Throttled(asked) => {
                let pause = self.throttled(asked, common);
                let pause = match is_planted(Bug::RetryAfterIgnored) {
                    true => Duration::ZERO,
                    false => pause,
                };
                self.to.rules.throttled(rule, pause, now);
                common.trouble(now, (&self.to, rule), verdict, "throttled");
            }
            Kind::Unavailable(pause) => {
                common.state.unavailable(now);
                common.trouble(now, (&self.to, rule), verdict, "the service is in trouble");
                self.back_off(pause, now, common);
            }
            Kind::Silent(_) => {
                common.state.unavailable(now);
                common.trouble(now, (&self.to, rule), verdict, "the request failed");
                self.halve_if_too_large(verdict, was_cut, common, now);
                self.back_off(None, now, common);
            }
            Kind::TooLarge => {
                if let Some(part) = self.parts.current() {
                    let raw_bytes = part.payload.raw_bytes();
                    self.to.rules.body_limit.refused(raw_bytes, now);
                }
                self.halve(Some(verdict), common, now);
            }
            Kind::Refused => self.refused(rule, verdict, now, common),
        }
    }

    fn accepted(&mut self, sent_to: &Destination, rule: RuleIndex, now: Mono, common: &mut Common) {
        self.is_renewed = false;
        self.was_cut = false;
        self.failures = 0;
        self.unproven = 0;
        let Some(part) = self.parts.accepted() else {
            return;
        };
        let payload = part.payload;
        let rows_count = payload.rows_count();
        self.settle(Counter::RowsUploaded, rows_count, common);
        common.tally.add(Counter::BodiesUploaded, 1);
        let rules = &sent_to.rules;
        let weight = rules.body_limit.weight(&payload);
        rules.accepted(rule, rows_count, weight, now);
        rules.body_limit.accepted(payload.raw_bytes(), now);
        common.state.succeeded(now);
        if !self.is_old {
            let time = now.since(payload.sealed_at);
            common.latency.record(Stopwatch::Flight, time, rows_count);
        }
        for arrival in &payload.arrivals {
            let (time, rows_count) = (now.since(arrival.at), u64::from(arrival.rows_count));
            common.latency.record(Stopwatch::Overall, time, rows_count);
        }
        self.buffer = payload.into_buffer();
    }

    fn settle(&mut self, counter: Counter, rows_count: u64, common: &mut Common) {
        debug_assert!(rows_count <= self.rows_left, "rows are settled once");
        common.tally.add(counter, rows_count);
        self.rows_left = self.rows_left.saturating_sub(rows_count);
    }

    /// How long the rule pauses: as it was asked for. Who asks to be asked again at once, or names a
    /// moment that is past by our clock, gets our own pauses.
    fn throttled(&mut self, asked: Duration, common: &mut Common) -> Duration {
        if asked >= BACKOFF_FIRST {
            return asked;
        }
        self.failures = self.failures.saturating_add(1);
        asked.max(backoff(self.failures, common.random.f64()))
    }

    fn back_off(&mut self, asked: Option<Duration>, now: Mono, common: &mut Common) {
        self.failures = self.failures.saturating_add(1);
        if is_planted(Bug::NoBackoff) {
            return;
        }
        let pause = backoff(self.failures, common.random.f64());
        match asked {
            Some(asked) if asked > pause => {
                self.pause(spread(asked, common.random.f64()), now);
            }
            _ => self.retry(pause, asked.unwrap_or_default(), now, common),
        }
    }

    fn pause(&mut self, pause: Duration, now: Mono) {
        self.phase = Phase::Pause(now.plus(pause));
    }

    /// `least` is the part of the pause that was asked for.
    fn retry(&mut self, pause: Duration, least: Duration, now: Mono, common: &mut Common) {
        let recoveries = common.state.recoveries();
        self.phase = Phase::Retry(now.plus(pause), recoveries, now.plus(least));
        if common.is_stopping {
            self.hurry(now, common);
        }
    }

    /// The configuration is another: what rules were is forgotten.
    pub(super) fn redirect(&mut self, common: &mut Common) {
        if is_planted(Bug::DestinationKept) {
            return;
        }
        // what had no destination of its own before is not counted again
        self.to = match self.to.id == self.id {
            true => common.direct(self.id, self.rows_left),
            false => Arc::clone(common.destinations.to(self.id)),
        };
        self.parts.forget_refusals();
        if !matches!(self.phase, Phase::Sent(..) | Phase::Asked) {
            self.phase = Phase::Ready;
        }
    }

    /// The program is stopping: what waits for another try does so no longer than a moment.
    pub(super) fn hurry(&mut self, now: Mono, common: &mut Common) {
        if let Phase::Retry(at, _, least) = &mut self.phase {
            let soon = now.plus(
                BACKOFF_STOPPING
                    .mul_f64(common.random.f64())
                    .max(BACKOFF_LEAST),
            );
            *at = soon.max(*least).min(*at);
        }
    }
}
