//! The data collection rules of one destination, and whose turn it is.
//!
//! Limits of the service hold for each rule, so payloads are spread over all of them, by bytes: the
//! one that was given least goes next, if it is open and its pace lets it. A rule that comes back
//! joins the others where they are; it is not given what it missed. All uploaders share one list.
//!
//! ```text
//!           429                          403, 404, wrong configuration, suspicion
//! open ------------> paused     open --------------------------------------------> held
//!   ^                  |          ^                                                 |
//!   +---- time up -----+          +---- accepted ---- one request as a probe <------+
//! ```
//!
//! A held rule lets one request through when its pause ends; each refusal doubles the pause. What
//! waits for a rule waits as long as it takes: data is held, never dropped.
//!
//! *Suspicion*: so many bodies and parts were refused (400) in a row, without one row accepted,
//! that the rule's configuration seems at fault. A payload that was not refused before may go
//! there at once, since its acceptance would clear the rule; the refused ones wait.

use super::body_limit::BodyLimit;
use super::pace::{MinuteLimits, Pace};
use crate::clock::Mono;
use crate::config::Config;
use crate::limits::{GIVEN_MEMORY, HOLD_FIRST, HOLD_MOST, REFUSALS_UNPROVEN_MAX};
use crate::planted::{Bug, is_planted};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A place in the list of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleIndex(usize);

impl RuleIndex {
    /// Of the rule at this place in the `rules` of its destination.
    #[must_use]
    pub fn at(index: usize) -> Self {
        RuleIndex(index)
    }

    /// The place in the `rules` of its destination.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Why a rule cannot be used until somebody acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReason {
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// An answer that speaks of the request or the rule, not of a row.
    Misconfigured,
    /// It refuses everything, for a reason that we do not know.
    Suspected,
}

impl HoldReason {
    /// What to do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            HoldReason::Forbidden => {
                "give the application the role Monitoring Metrics Publisher on the data collection \
                 rule; that takes up to 30 minutes to act"
            }
            HoldReason::NotFound => {
                "check the destination's endpoint and the rule's immutable id in its rules"
            }
            HoldReason::Misconfigured => {
                "check the destination's stream, its endpoint and the stream's declaration in the rule"
            }
            HoldReason::Suspected => {
                "the rule refuses every row; check its stream's columns and the service's message"
            }
        }
    }
}

/// Whether a rule can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Open,
    /// Not before then; the service asked for the pause.
    Paused(Mono),
    /// Somebody must act; tried again then.
    Held(HoldReason, Mono),
}

/// Who asks for a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A payload that no rule has refused.
    Fresh,
    /// A part of one that this rule has refused: only there can it be proved bad.
    Refused(RuleIndex),
}

/// The answer to whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Send to this one.
    Use(RuleIndex),
    /// None can be used before then, unless something changes: see [`Changes`].
    Wait(Mono),
}

/// The list, shared by all uploaders.
#[derive(Debug)]
pub struct Rules {
    rules: Mutex<List>,
    /// How long bodies may be.
    pub body_limit: BodyLimit,
    changes: Arc<Changes>,
}

/// Tells that a rule became usable that was not; shared by the rules of all destinations.
#[derive(Debug, Default)]
pub struct Changes {
    rings: Notify,
    count: AtomicU64,
}

impl Changes {
    /// How often that was.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Resolves when it is so again. What happens after this call and before the first poll is not
    /// missed.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.rings.notified()
    }

    fn tell(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.rings.notify_waiters();
    }
}

#[derive(Debug)]
struct List {
    rules: Vec<Rule>,
    /// Where the rule stood whose turn was the last: see [`Rule::given`].
    given: u64,
    /// Turns given so far.
    turns: u64,
}

/// What there is to say about a rule, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleReport {
    /// Whether it can be used.
    pub standing: Standing,
    /// Rows that it has accepted.
    pub rows: u64,
    /// Bytes that it has accepted, by the reading of the limits.
    pub bytes: u64,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Of those, answered 429.
    pub throttled: u64,
    /// Bytes a minute that are sent to it at most.
    pub bytes_a_minute_max: u64,
}

#[derive(Debug, Clone)]
struct Rule {
    standing: Standing,
    /// What the service has asked for; nothing is sent before then, whatever else is answered.
    paused_until: Mono,
    /// A request was let through to a held rule and has not ended yet.
    is_probed: bool,
    /// Bytes that it was given, and those that it missed while it was closed...
    given: u64,
    /// ...since when.
    given_at: Mono,
    /// Number of its last turn.
    used_at: u64,
    pace: Pace,
    requests: u64,
    throttled: u64,
    bytes_accepted: u64,
    /// Rows that it has accepted.
    rows_accepted: u64,
    /// Refusals since it last accepted.
    refusals: u32,
    /// Probes that failed since it was last open.
    holds: u32,
}

impl Rules {
    /// So many open rules, by the limits of the configuration.
    #[must_use]
    pub fn of(config: &Config, rules_count: usize) -> Self {
        let sentinel = &config.sentinel;
        let limits = MinuteLimits {
            bytes: sentinel.rule_bytes_a_minute,
            requests: sentinel.rule_requests_a_minute,
        };
        Rules::new(rules_count, limits, BodyLimit::new(&config.batch))
    }

    /// The same, which tells its changes there.
    pub(super) fn telling(self, changes: &Arc<Changes>) -> Self {
        let changes = Arc::clone(changes);
        Rules { changes, ..self }
    }

    /// `rules_count` open rules.
    #[must_use]
    pub fn new(rules_count: usize, limits: MinuteLimits, body_limit: BodyLimit) -> Self {
        let rule = Rule {
            standing: Standing::Open,
            paused_until: Mono(0),
            is_probed: false,
            given: 0,
            given_at: Mono(0),
            used_at: 0,
            pace: Pace::new(limits),
            requests: 0,
            throttled: 0,
            bytes_accepted: 0,
            rows_accepted: 0,
            refusals: 0,
            holds: 0,
        };
        Rules {
            rules: Mutex::new(List {
                rules: vec![rule; rules_count],
                given: 0,
                turns: 0,
            }),
            body_limit,
            changes: Arc::default(),
        }
    }

    /// Which rule to send a body of `bytes` to. The caller sends it there and reports what came of
    /// it.
    #[must_use]
    pub fn turn(&self, asker: Asker, bytes: u64, now: Mono) -> Turn {
        let mut list = self.list();
        let Some(index) = list.choose(asker, now) else {
            list.hold_up(now);
            return Turn::Wait(list.next_change(now));
        };
        let List {
            rules,
            given,
            turns,
        } = &mut *list;
        if let Some(rule) = rules.get_mut(index) {
            // What was refused has no choice of its rule, and so takes nobody's turn: else its
            // tries would keep the others away, which alone can prove that the rule works.
            if asker == Asker::Fresh {
                *turns += 1;
                *given = rule.given_lately(*given, now).max(*given);
                (rule.given, rule.given_at, rule.used_at) = (*given + bytes, now, *turns);
            }
            rule.requests += 1;
            rule.pace.sent(bytes, now);
            rule.take_turn(now);
        }
        Turn::Use(RuleIndex(index))
    }

    /// How often a rule became usable that was not.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.count()
    }

    /// The rule has accepted so many rows in a body of `bytes`.
    pub fn accepted(&self, rule: RuleIndex, rows_count: u64, bytes: u64, now: Mono) {
        let mut list = self.list();
        let Some(rule) = list.rules.get_mut(rule.0) else {
            return;
        };
        rule.rows_accepted += rows_count;
        rule.bytes_accepted += bytes;
        rule.pace.accepted(bytes, now);
        rule.refusals = 0;
        rule.holds = 0;
        rule.is_probed = false;
        // a pause that the service asked for stands, whatever was under way when it did
        if matches!(rule.standing, Standing::Held(..)) {
            rule.standing = match rule.paused_until {
                Mono(0) => Standing::Open,
                until => Standing::Paused(until),
            };
            self.changes.tell();
        }
    }

    /// The rule has answered 429, and is not to be used for `pause`.
    pub fn throttled(&self, rule: RuleIndex, pause: Duration, now: Mono) {
        let mut list = self.list();
        let Some(rule) = list.rules.get_mut(rule.0) else {
            return;
        };
        rule.throttled += 1;
        rule.pace.throttled(pause, now);
        let until = now.plus(pause);
        rule.is_probed = false;
        rule.paused_until = rule.paused_until.max(until);
        rule.standing = match rule.standing {
            Standing::Open => Standing::Paused(until),
            Standing::Paused(before) => Standing::Paused(before.max(until)),
            // a suspicion lets fresh payloads pass, which a pause must not; the next refusal
            // brings it back
            Standing::Held(HoldReason::Suspected, _) => Standing::Paused(until),
            Standing::Held(reason, before) => Standing::Held(reason, before.max(until)),
        };
    }

    /// The rule cannot be used until somebody acts. `chance` is in `0..1`.
    pub fn hold(&self, rule: RuleIndex, reason: HoldReason, now: Mono, chance: f64) {
        let mut list = self.list();
        if let Some(rule) = list.rules.get_mut(rule.0) {
            rule.hold(reason, now, chance);
        }
    }

    /// The rule has refused a body. Returns how many rows it has accepted so far, and whether it
    /// is under suspicion now. `chance` is in `0..1`.
    pub fn refused(&self, rule: RuleIndex, now: Mono, chance: f64) -> (u64, bool) {
        let mut list = self.list();
        let Some(rule) = list.rules.get_mut(rule.0) else {
            return (0, false);
        };
        rule.refusals = rule.refusals.saturating_add(1);
        let is_suspect = rule.refusals >= REFUSALS_UNPROVEN_MAX;
        if is_suspect {
            rule.hold(HoldReason::Suspected, now, chance);
        }
        (rule.rows_accepted, is_suspect)
    }

    /// How many rows the rule has accepted so far.
    #[must_use]
    pub fn rows_accepted(&self, rule: RuleIndex) -> u64 {
        self.list()
            .rules
            .get(rule.0)
            .map_or(0, |rule| rule.rows_accepted)
    }

    /// All rules, in the order of the configuration.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.list().rules.iter().map(|rule| rule.standing).collect()
    }

    /// All rules, in the order of the configuration.
    #[must_use]
    pub fn reports(&self) -> Vec<RuleReport> {
        let report = |rule: &Rule| RuleReport {
            standing: rule.standing,
            rows: rule.rows_accepted,
            bytes: rule.bytes_accepted,
            requests: rule.requests,
            throttled: rule.throttled,
            bytes_a_minute_max: rule.pace.bytes_a_minute(),
        };
        self.list().rules.iter().map(report).collect()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn choose(&self, asker: Asker, now: Mono) -> Option<usize> {
        let least_given = |may: &dyn Fn(&Rule) -> bool| {
            let usable = self
                .rules
                .iter()
                .enumerate()
                .filter(|(_, rule)| may(rule) && rule.is_in_pace(now));
            usable
                .min_by_key(|(_, rule)| (rule.given_lately(self.given, now), rule.used_at))
                .map(|(index, _)| index)
        };
        let open = || least_given(&|rule| rule.is_open(now));
        let probe = || least_given(&|rule| rule.is_probe_due(now));
        match asker {
            // a probe first: what it costs is one request a minute, and nobody would find out
            // that a rule works again while others carry the load
            Asker::Fresh => probe()
                .or_else(open)
                .or_else(|| least_given(&Rule::is_suspected)),
            Asker::Refused(RuleIndex(index)) => {
                let may = |rule: &Rule| rule.is_open(now) && rule.is_in_pace(now);
                let is_open = self.rules.get(index).is_some_and(may);
                is_open.then_some(index).or_else(open).or_else(probe)
            }
        }
    }

    fn next_change(&self, now: Mono) -> Mono {
        let times = self.rules.iter().map(|rule| {
            let until = match rule.standing {
                Standing::Open => now,
                Standing::Paused(until) | Standing::Held(_, until) => until,
            };
            until.max(rule.pace.ready_at())
        });
        times.min().unwrap_or_else(|| now.plus(HOLD_MOST))
    }

    /// Somebody waits: those that are open are open, and their pace alone is what he waits for.
    fn hold_up(&mut self, now: Mono) {
        for rule in self.rules.iter_mut().filter(|rule| rule.is_open(now)) {
            rule.pace.holds_up();
        }
    }
}

impl Rule {
    /// What it was given, against the others. Where little comes, one long body must not keep a
    /// rule out of its turns for many short ones.
    fn given_lately(&self, others: u64, now: Mono) -> u64 {
        match now.since(self.given_at) < GIVEN_MEMORY {
            true => self.given,
            false => self.given.min(others),
        }
    }

    fn is_open(&self, now: Mono) -> bool {
        match self.standing {
            Standing::Open => true,
            Standing::Paused(until) => now >= until,
            Standing::Held(..) => false,
        }
    }

    fn is_in_pace(&self, now: Mono) -> bool {
        self.pace.ready_at() <= now
    }

    fn is_suspected(&self) -> bool {
        matches!(self.standing, Standing::Held(HoldReason::Suspected, _))
    }

    fn is_probe_due(&self, now: Mono) -> bool {
        matches!(self.standing, Standing::Held(_, until) if now >= until)
            && !is_planted(Bug::HeldForEver)
    }

    fn take_turn(&mut self, now: Mono) {
        match self.standing {
            Standing::Held(reason, _) => {
                self.is_probed = true;
                // if the probe comes to nothing, another one goes then
                self.standing = Standing::Held(reason, now.plus(HOLD_MOST));
            }
            Standing::Open | Standing::Paused(_) => self.standing = Standing::Open,
        }
    }

    fn hold(&mut self, reason: HoldReason, now: Mono, chance: f64) {
        let is_known = matches!(self.standing, Standing::Held(..)) && !self.is_probed;
        if is_known {
            // one of several requests that were under way: no news
            return;
        }
        // a suspicion lets new payloads pass, which a pause must not
        if now < self.paused_until && reason == HoldReason::Suspected {
            return;
        }
        self.is_probed = false;
        let pause = HOLD_FIRST
            .saturating_mul(1 << self.holds.min(16))
            .min(HOLD_MOST);
        self.holds = self.holds.saturating_add(1);
        let until = now.plus(crate::retry::spread(pause, chance));
        self.standing = Standing::Held(reason, until.max(self.paused_until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: RuleIndex = RuleIndex(0);
    const B: RuleIndex = RuleIndex(1);

    fn at(seconds: u64) -> Mono {
        Mono(0).plus(Duration::from_secs(seconds))
    }

    fn rules_of(count: usize) -> Rules {
        let limits = MinuteLimits::default();
        Rules::new(count, limits, BodyLimit::strict(1_000_000))
    }

    fn turn(rules: &Rules, seconds: u64) -> Turn {
        rules.turn(Asker::Fresh, 1000, at(seconds))
    }

    #[test]
    fn payloads_go_round_over_the_open_rules() {
        let rules = rules_of(3);
        let turns: Vec<_> = (0..6).map(|_| turn(&rules, 0)).collect();
        assert_eq!(
            turns,
            [0, 1, 2, 0, 1, 2].map(|index| Turn::Use(RuleIndex(index)))
        );
    }

    #[test]
    fn a_throttled_rule_pauses_alone_and_comes_back() {
        let rules = rules_of(2);
        rules.throttled(A, Duration::from_secs(30), at(0));
        assert_eq!(turn(&rules, 1), Turn::Use(B));
        assert_eq!(turn(&rules, 1), Turn::Use(B));
        rules.throttled(B, Duration::from_secs(20), at(0));
        rules.throttled(B, Duration::from_secs(10), at(0));
        assert_eq!(turn(&rules, 2), Turn::Wait(at(20)));
        // what was under way may still be accepted, and that does not end the pause
        rules.accepted(B, 5, 1000, at(0));
        assert_eq!(turn(&rules, 3), Turn::Wait(at(20)));
        assert_eq!(turn(&rules, 20), Turn::Use(B));
        assert_eq!(turn(&rules, 30), Turn::Use(A));
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_whatever_is_answered_meanwhile() {
        for reason in [HoldReason::Forbidden, HoldReason::Suspected] {
            let rules = rules_of(1);
            rules.throttled(A, Duration::from_secs(20), at(0));
            // of requests that were under way
            rules.hold(A, reason, at(1), 0.0);
            assert_eq!(turn(&rules, 10), Turn::Wait(at(20)));
            rules.accepted(A, 1, 1000, at(0));
            assert_eq!(turn(&rules, 10), Turn::Wait(at(20)));
            assert_eq!(turn(&rules, 20), Turn::Use(A));
        }
    }

    #[test]
    fn what_was_refused_takes_nobodys_turn() {
        let rules = rules_of(2);
        assert_eq!(turn(&rules, 0), Turn::Use(A));
        for second in 1..10 {
            let again = rules.turn(Asker::Refused(B), 1000, at(second));
            assert_eq!(again, Turn::Use(B));
        }
        // it is still the one that new payloads have used least
        assert_eq!(turn(&rules, 10), Turn::Use(B));
    }

    #[test]
    fn a_held_rule_is_probed_ever_more_slowly_by_one_request_and_opens_when_one_is_accepted() {
        let rules = rules_of(1);
        // eight requests were under way
        for _ in 0..8 {
            rules.hold(A, HoldReason::Forbidden, at(0), 0.0);
        }
        let mut now = 0;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(turn(&rules, now), Turn::Wait(at(now + pause)));
            now += pause;
            assert_eq!(turn(&rules, now), Turn::Use(A));
            assert_eq!(
                turn(&rules, now),
                Turn::Wait(at(now + 60)),
                "one probe at a time"
            );
            rules.hold(A, HoldReason::Forbidden, at(now), 0.0);
        }
        rules.accepted(A, 1, 1000, at(0));
        assert_eq!(rules.standings(), [Standing::Open]);
        rules.hold(A, HoldReason::NotFound, at(now), 0.0);
        assert_eq!(turn(&rules, now), Turn::Wait(at(now + 1)));
    }

    #[test]
    fn a_held_rule_lets_others_go_on() {
        let rules = rules_of(2);
        rules.hold(A, HoldReason::NotFound, at(0), 0.0);
        assert_eq!(turn(&rules, 0), Turn::Use(B));
        assert_eq!(turn(&rules, 0), Turn::Use(B));
        assert_eq!(rules.turn(Asker::Refused(B), 1000, at(5)), Turn::Use(B));
        // a probe
        assert_eq!(turn(&rules, 5), Turn::Use(A));
        assert_eq!(turn(&rules, 6), Turn::Use(B));
    }

    #[test]
    fn a_rule_that_refuses_everything_is_suspected_and_only_fresh_payloads_may_clear_it() {
        let rules = rules_of(1);
        for refusals in 1..=REFUSALS_UNPROVEN_MAX {
            let (_, is_suspect) = rules.refused(A, at(0), 0.0);
            assert_eq!(is_suspect, refusals == REFUSALS_UNPROVEN_MAX);
        }
        assert_eq!(
            rules.turn(Asker::Refused(A), 1000, at(0)),
            Turn::Wait(at(1))
        );
        assert_eq!(rules.turn(Asker::Fresh, 1000, at(0)), Turn::Use(A));
        rules.throttled(A, Duration::from_secs(5), at(0));
        assert_eq!(rules.turn(Asker::Fresh, 1000, at(0)), Turn::Wait(at(5)));
        assert_eq!(rules.turn(Asker::Fresh, 1000, at(5)), Turn::Use(A));
        assert_eq!(rules.refused(A, at(5), 0.0), (0, true));
        rules.accepted(A, 10, 1000, at(0));
        assert_eq!(rules.turn(Asker::Refused(A), 1000, at(5)), Turn::Use(A));
        assert_eq!(rules.refused(A, at(5), 0.0), (10, false));
    }

    #[test]
    fn what_was_refused_goes_to_the_rule_that_refused_it_while_that_is_open() {
        let rules = rules_of(3);
        for _ in 0..4 {
            assert_eq!(rules.turn(Asker::Refused(B), 1000, at(0)), Turn::Use(B));
        }
        rules.throttled(B, Duration::from_secs(10), at(0));
        assert_eq!(rules.turn(Asker::Refused(B), 1000, at(0)), Turn::Use(A));
    }

    #[test]
    fn bytes_are_shared_out_evenly_and_a_rule_that_comes_back_gets_its_part_and_no_more() {
        let rules = rules_of(3);
        let mut given = [0_u64; 3];
        let mut random = fastrand::Rng::with_seed(1);
        let mut spread = |seconds: u64, bytes: u64, given: &mut [u64; 3]| {
            let end = given.iter().sum::<u64>() + bytes;
            while given.iter().sum::<u64>() < end {
                let bytes = random.u64(100..1000);
                let Turn::Use(rule) = rules.turn(Asker::Fresh, bytes, at(seconds)) else {
                    panic!("no rule is open");
                };
                given[rule.0] += bytes;
            }
        };
        spread(1, 300_000, &mut given);
        assert!(
            given.iter().all(|bytes| (99_000..101_000).contains(bytes)),
            "{given:?}"
        );
        rules.throttled(B, Duration::from_secs(30), at(1));
        spread(2, 200_000, &mut given);
        assert!((99_000..101_000).contains(&given[1]), "{given:?}");
        given = [0; 3];
        spread(40, 300_000, &mut given);
        assert!(
            given.iter().all(|bytes| (99_000..101_000).contains(bytes)),
            "{given:?}"
        );
    }

    #[test]
    fn where_little_comes_a_long_body_costs_its_rule_no_turns() {
        let rules = rules_of(2);
        assert_eq!(rules.turn(Asker::Fresh, 1_000_000, at(0)), Turn::Use(A));
        let turns = [30, 60, 90, 120].map(|seconds| turn(&rules, seconds));
        assert_eq!(turns, [B, A, B, A].map(Turn::Use));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_a_rule_opens() {
        let rules = rules_of(1);
        rules.hold(A, HoldReason::Forbidden, at(0), 0.0);
        let changed = rules.changes.changed();
        rules.accepted(A, 1, 1000, at(0));
        tokio::time::timeout(Duration::from_secs(5), changed)
            .await
            .unwrap();
    }
}
