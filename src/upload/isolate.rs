//! What is left of one payload: the whole at first, parts of it once the service has refused it.
//!
//! A service that answers 400 does not say which row it means, and a row is thrown away only when
//! it is proved bad:
//!
//! 1. A refused part with several rows is halved; the halves are sent in turn.
//! 2. A row that is refused alone is *condemned*, that is counted as lost, if **the same rule has
//!    accepted other rows since the row's first refusal**, in whatever part that was.
//! 3. Otherwise the fault may be the configuration's. The row is set aside until the other parts
//!    are through, and is then sent again.
//!
//! So a rule that refuses everything never costs a row: the refusals make it suspect (see
//! [`super::rules`]), and what it refused waits.
//!
//! A part that is too long for the service (413) is halved too; one row alone that is too long is
//! lost as such.
//!
//! A payload of n rows takes at most 2n - 1 requests until every row has stood alone, and one more
//! for each row set aside once the rule has accepted anything; further tries come at the pace of
//! the back-off. Parts hold no more than the whole did, but for the frame of gzip.
//!
//! Pure: what a request came to is an argument.

use super::rules::{Asker, RuleIndex};
use crate::compress::Payload;
use crate::config::GzipLevel;
use crate::planted::{Bug, is_planted};
use std::collections::VecDeque;

/// One piece of a payload.
#[derive(Debug)]
pub struct Part {
    /// Its rows.
    pub payload: Payload,
    /// A request with these rows ended so that they may be stored.
    pub is_ambiguous: bool,
    /// The first time that these rows were refused, by the rule that refused them last.
    mark: Option<Mark>,
    /// One row, refused alone.
    was_alone: bool,
}

/// A refusal, and what the rule had accepted up to then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The rule that refused.
    pub rule: RuleIndex,
    /// Rows that it had accepted.
    pub rows_accepted: u64,
}

/// What became of a part that was refused.
#[derive(Debug)]
pub enum Refused {
    /// It was halved; go on with the first half.
    Halved,
    /// It is one row, to be tried again after the others.
    SetAside,
    /// It is one row and proved bad.
    Condemned(Part),
}

/// What became of a part that was too long.
#[derive(Debug)]
pub enum TooLarge {
    /// It was halved; go on with the first half.
    Halved,
    /// It is one row.
    Lost(Part),
}

/// All parts of one payload that are neither accepted nor lost.
#[derive(Debug)]
pub struct Parts {
    /// To be sent, the next one last.
    todo: Vec<Part>,
    /// Single rows that were refused, in order.
    aside: VecDeque<Part>,
    /// Halves must shrink as well as the whole did.
    gzip_level: GzipLevel,
}

impl Parts {
    /// The whole; halves of it are compressed at `gzip_level`.
    #[must_use]
    pub fn new(payload: Payload, gzip_level: GzipLevel) -> Self {
        Parts {
            todo: vec![Part {
                payload,
                is_ambiguous: false,
                mark: None,
                was_alone: false,
            }],
            aside: VecDeque::new(),
            gzip_level,
        }
    }

    /// The next part to send; nothing when all are through.
    pub fn current(&mut self) -> Option<&mut Part> {
        if self.todo.is_empty() {
            self.todo.extend(self.aside.drain(..).rev());
        }
        self.todo.last_mut()
    }

    /// For whom a rule is asked.
    #[must_use]
    pub fn asker(&self) -> Asker {
        let mark = self.todo.last().and_then(|part| part.mark);
        mark.map_or(Asker::Fresh, |mark| Asker::Refused(mark.rule))
    }

    /// True if a try of the next part proves nothing yet: it is a row that was refused alone, and
    /// its rule has accepted nothing since. `rows_accepted` says how many rows a rule has accepted.
    pub fn is_unproven(&mut self, rows_accepted: impl Fn(RuleIndex) -> u64) -> bool {
        self.current()
            .and_then(|part| part.mark.filter(|_| part.was_alone))
            .is_some_and(|mark| rows_accepted(mark.rule) == mark.rows_accepted)
    }

    /// What was refused counts as never refused: the rules are others.
    pub fn forget_refusals(&mut self) {
        for part in self.todo.iter_mut().chain(&mut self.aside) {
            part.mark = None;
            part.was_alone = false;
        }
    }

    /// The part was accepted.
    pub fn accepted(&mut self) -> Option<Part> {
        self.todo.pop()
    }

    /// The part was refused by a rule. Nothing if there is none.
    pub fn refused(&mut self, refusal: Mark) -> Option<Refused> {
        let mut part = self.todo.pop()?;
        let mark = *part.mark.get_or_insert(refusal);
        if mark.rule != refusal.rule {
            part.mark = Some(refusal);
        }
        if let Some(halves) = part.halves(self.gzip_level) {
            self.todo.extend(halves);
            return Some(Refused::Halved);
        }
        let is_proved = mark.rule == refusal.rule && refusal.rows_accepted > mark.rows_accepted;
        if is_proved && !is_planted(Bug::PoisonForever) {
            return Some(Refused::Condemned(part));
        }
        part.was_alone = true;
        self.aside.push_back(part);
        Some(Refused::SetAside)
    }

    /// The part is too long for the service. Nothing if there is none.
    pub fn too_large(&mut self) -> Option<TooLarge> {
        let part = self.todo.pop()?;
        if let Some(halves) = part.halves(self.gzip_level) {
            self.todo.extend(halves);
            return Some(TooLarge::Halved);
        }
        Some(TooLarge::Lost(part))
    }
}

impl Part {
    /// Second half, then first, as they are pushed; nothing for a single row.
    fn halves(&self, gzip_level: GzipLevel) -> Option<[Part; 2]> {
        let (first, second) = self.payload.halves(gzip_level)?;
        Some([second, first].map(|payload| Part {
            payload,
            is_ambiguous: self.is_ambiguous,
            mark: self.mark,
            was_alone: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;
    use crate::compress::tests::payload_of;
    use crate::upload::body_limit::BodyLimit;
    use crate::upload::pace::MinuteLimits;
    use crate::upload::rules::{Rules, Turn};
    use std::collections::BTreeSet;

    /// A service of one rule that refuses bodies with bad rows, and the loop around [`Parts`].
    struct Simulation {
        bad: BTreeSet<usize>,
        rules: Rules,
        requests: usize,
        accepted: Vec<usize>,
        condemned: Vec<usize>,
    }

    impl Simulation {
        fn new(bad: impl IntoIterator<Item = usize>) -> Self {
            Simulation {
                bad: bad.into_iter().collect(),
                rules: Rules::new(1, MinuteLimits::default(), BodyLimit::strict(1_000_000)),
                requests: 0,
                accepted: Vec::new(),
                condemned: Vec::new(),
            }
        }

        /// Sends the next part; false when all are through. `is_broken`: the service refuses all.
        fn step(&mut self, parts: &mut Parts, is_broken: bool) -> bool {
            let Some(part) = parts.current() else {
                return false;
            };
            let rows = rows_of(&part.payload);
            // late enough for any probe
            let now = Mono(self.requests as u64 * 100_000_000_000);
            let Turn::Use(rule) = self.rules.turn(parts.asker(), 1000, now) else {
                panic!("held")
            };
            self.requests += 1;
            assert!(self.requests < 10_000, "it goes on for ever");
            if !is_broken && rows.iter().all(|row| !self.bad.contains(row)) {
                self.rules.accepted(rule, rows.len() as u64, 1000, now);
                self.accepted.extend(rows);
                parts.accepted().unwrap();
                return true;
            }
            let (rows_accepted, _) = self.rules.refused(rule, now, 0.0);
            match parts
                .refused(Mark {
                    rule,
                    rows_accepted,
                })
                .unwrap()
            {
                Refused::Condemned(part) => self.condemned.extend(rows_of(&part.payload)),
                Refused::Halved => assert!(rows.len() > 1),
                Refused::SetAside => assert_eq!(rows.len(), 1),
            }
            true
        }

        fn check(&mut self, rows_count: usize) {
            self.accepted.sort_unstable();
            self.condemned.sort_unstable();
            let bad: Vec<_> = self.bad.iter().copied().collect();
            let good: Vec<_> = (0..rows_count)
                .filter(|row| !self.bad.contains(row))
                .collect();
            assert_eq!(self.condemned, bad);
            assert_eq!(self.accepted, good);
        }
    }

    fn parts_of(rows: std::ops::Range<usize>) -> Parts {
        let rows: Vec<String> = rows.map(|row| format!("{{\"n\":{row}}}")).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        Parts::new(payload_of(&rows), GzipLevel::Auto)
    }

    fn rows_of(payload: &Payload) -> Vec<usize> {
        let rows: Vec<std::collections::BTreeMap<String, usize>> =
            serde_json::from_slice(&payload.raw().unwrap()).unwrap();
        rows.iter().map(|row| row["n"]).collect()
    }

    #[test]
    fn one_bad_row_is_found_in_a_logarithm_of_requests() {
        for bad in [0, 1, 77, 498, 499] {
            let (mut simulation, mut parts) = (Simulation::new([bad]), parts_of(0..500));
            while simulation.step(&mut parts, false) {}
            simulation.check(500);
            assert!(
                simulation.requests <= 2 * 9 + 2,
                "{bad}: {}",
                simulation.requests
            );
        }
    }

    #[test]
    fn any_bad_rows_are_condemned_and_all_others_accepted_within_the_bound() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..40 {
            let rows_count = random.usize(2..200);
            let share = random.f64();
            // row 0 is good, so that the rule can prove itself
            let bad = (1..rows_count)
                .filter(|_| random.f64() < share)
                .collect::<Vec<_>>();
            let mut simulation = Simulation::new(bad.iter().copied());
            let mut parts = parts_of(0..rows_count);
            while simulation.step(&mut parts, false) {}
            simulation.check(rows_count);
            // each bad row alone once for the mark, once for the proof, and once more if it was
            // marked before the first row was accepted... which never delays it further
            assert!(
                simulation.requests < 2 * rows_count + 2 * bad.len(),
                "{}",
                simulation.requests
            );
        }
    }

    #[test]
    fn a_rule_that_refuses_everything_costs_no_row() {
        let (mut simulation, mut parts) = (Simulation::new([]), parts_of(0..20));
        for _ in 0..500 {
            assert!(simulation.step(&mut parts, true));
        }
        assert_eq!(simulation.condemned, [0usize; 0]);
        while simulation.step(&mut parts, false) {}
        simulation.check(20);
    }

    #[test]
    fn rows_refused_during_a_fault_of_the_configuration_are_sent_again_after_it() {
        // broken until every row stands alone and aside; then others are accepted, which proves
        // the rule but not that these rows are bad
        let (mut simulation, mut parts) = (Simulation::new([3]), parts_of(0..8));
        for _ in 0..15 {
            simulation.step(&mut parts, true);
        }
        let mut others = parts_of(100..110);
        while simulation.step(&mut others, false) {}
        simulation.accepted.clear();
        while simulation.step(&mut parts, false) {}
        simulation.check(8);
    }

    #[test]
    fn a_service_that_fails_at_random_loses_first_rows_that_it_refuses_alone_twice() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut simulation, mut parts) = (Simulation::new([7]), parts_of(0..64));
        loop {
            // a whole payload refused for nothing
            let is_broken =
                random.u8(..10) == 0 && parts.current().is_some_and(|p| p.payload.rows_count() > 1);
            if !simulation.step(&mut parts, is_broken) {
                break;
            }
        }
        simulation.check(64);
    }

    #[test]
    fn a_lone_bad_row_waits_until_the_rule_accepts_something() {
        let (mut simulation, mut parts) = (Simulation::new([0]), parts_of(0..1));
        for _ in 0..20 {
            assert!(simulation.step(&mut parts, false));
            let rules = &simulation.rules;
            assert!(parts.is_unproven(|rule| rules.rows_accepted(rule)));
        }
        let mut others = parts_of(100..101);
        while simulation.step(&mut others, false) {}
        let rules = &simulation.rules;
        assert!(!parts.is_unproven(|rule| rules.rows_accepted(rule)));
        assert!(simulation.step(&mut parts, false));
        assert!(parts.current().is_none());
        assert_eq!(simulation.condemned, [0]);
    }

    #[test]
    fn a_proof_by_another_rule_is_none() {
        let mut parts = parts_of(0..1);
        let rules = Rules::new(2, MinuteLimits::default(), BodyLimit::strict(1_000_000));
        let Turn::Use(a) = rules.turn(Asker::Fresh, 1000, Mono(0)) else {
            panic!()
        };
        let Turn::Use(b) = rules.turn(Asker::Fresh, 1000, Mono(0)) else {
            panic!()
        };
        let mut refused = |rule, rows_accepted| {
            parts.current().unwrap();
            parts
                .refused(Mark {
                    rule,
                    rows_accepted,
                })
                .unwrap()
        };
        assert!(matches!(refused(a, 0), Refused::SetAside));
        assert!(matches!(refused(b, 9), Refused::SetAside));
        assert!(matches!(refused(b, 9), Refused::SetAside));
        assert!(matches!(refused(b, 10), Refused::Condemned(_)));
    }

    #[test]
    fn what_is_too_long_is_halved_down_to_one_row() {
        let mut parts = parts_of(0..3);
        parts.current().unwrap().is_ambiguous = true;
        assert!(matches!(parts.too_large(), Some(TooLarge::Halved)));
        assert_eq!(rows_of(&parts.current().unwrap().payload), [0]);
        assert!(
            parts.current().unwrap().is_ambiguous,
            "a half of what may be stored may be stored"
        );
        let Some(TooLarge::Lost(part)) = parts.too_large() else {
            panic!()
        };
        assert_eq!(rows_of(&part.payload), [0]);
        assert_eq!(rows_of(&parts.current().unwrap().payload), [1, 2]);
        assert_eq!(
            parts.asker(),
            Asker::Fresh,
            "a length says nothing against a row"
        );
    }
}
