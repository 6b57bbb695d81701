//! A pool of rules against the emulator's windows, hours of it in a moment: the clock is simulated.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use cefline::clock::Mono;
use cefline::emulator::window::{MinuteLimits, Window};
use cefline::upload::body_limit::BodyLimit;
use cefline::upload::rules::{Asker, HoldReason, RuleIndex, Turn};
use cefline::upload::{Rules, pace};
use std::collections::VecDeque;
use std::time::Duration;

const STEP: Duration = Duration::from_millis(10);
/// Bytes of a body.
const BODY: u64 = 1_000_000;
/// Requests at a time.
const PLACES: usize = 8;
const LATENCY: Duration = Duration::from_millis(120);

/// What a stretch of time came to.
#[derive(Debug, Default, Clone)]
struct Came {
    sent: u64,
    accepted: [u64; 4],
    throttled: u64,
    /// Bodies that wait at its end.
    waiting: usize,
}

struct Pool {
    rules: Rules,
    windows: [Window; 4],
    limits: MinuteLimits,
    /// A rule that is not there.
    missing: Option<usize>,
    waiting: usize,
    in_flight: VecDeque<(Mono, RuleIndex)>,
    now: Mono,
    random: fastrand::Rng,
}

impl Pool {
    fn new(bytes_max: u64) -> Pool {
        Pool {
            rules: Rules::new(
                4,
                pace::MinuteLimits::default(),
                BodyLimit::strict(1_000_000),
            ),
            windows: [Window::default(); 4],
            limits: MinuteLimits {
                bytes_max,
                ..MinuteLimits::default()
            },
            missing: None,
            waiting: 0,
            in_flight: VecDeque::new(),
            now: Mono(1_000_000_000),
            random: fastrand::Rng::with_seed(7),
        }
    }

    /// Bodies come at a steady rate for so long.
    fn run(&mut self, bodies_a_second: f64, time: Duration) -> Came {
        let mut came = Came::default();
        let end = self.now.plus(time);
        let mut owed = 0.0;
        while self.now < end {
            self.now = self.now.plus(STEP);
            owed += bodies_a_second * STEP.as_secs_f64();
            while owed >= 1.0 {
                owed -= 1.0;
                self.waiting += 1;
            }
            self.hear(&mut came);
            while self.waiting > 0 && self.in_flight.len() < PLACES {
                let Turn::Use(rule) = self.rules.turn(Asker::Fresh, BODY, self.now) else {
                    break;
                };
                self.waiting -= 1;
                came.sent += 1;
                self.in_flight.push_back((self.now.plus(LATENCY), rule));
            }
        }
        came.waiting = self.waiting;
        came
    }

    fn hear(&mut self, came: &mut Came) {
        while self
            .in_flight
            .front()
            .is_some_and(|(at, _)| *at <= self.now)
        {
            let (_, rule) = self.in_flight.pop_front().unwrap();
            let index = rule.index();
            if self.missing == Some(index) {
                let chance = self.random.f64();
                self.rules
                    .hold(rule, HoldReason::NotFound, self.now, chance);
                self.waiting += 1;
                continue;
            }
            match self.windows[index].admit(self.now, &self.limits) {
                Ok(()) => {
                    self.windows[index].charge(BODY);
                    came.accepted[index] += 1;
                    self.rules.accepted(rule, 1000, BODY, self.now);
                }
                Err(wait) => {
                    // whole seconds, as the header has them
                    let pause = Duration::from_secs(wait.as_secs() + 1);
                    came.throttled += 1;
                    self.rules.throttled(rule, pause, self.now);
                    self.waiting += 1;
                }
            }
        }
    }
}

fn assert_fair(accepted: &[u64]) {
    let mean = accepted.iter().sum::<u64>() / accepted.len() as u64;
    for count in accepted {
        assert!(count.abs_diff(mean) * 10 <= mean, "{accepted:?}");
    }
}

#[test]
fn rules_that_take_a_quarter_of_the_load_each_pass_all_of_it_without_a_storm_of_429() {
    // 1,200 bodies a minute, and four rules that take 300 each
    let mut pool = Pool::new(300 * BODY);
    let came = pool.run(20.0, Duration::from_secs(3600));
    println!("{came:?}");
    assert!(came.throttled * 100 < came.sent, "{came:?}");
    assert!(came.waiting < 1200, "less than a minute behind: {came:?}");
    assert_fair(&came.accepted);
}

#[test]
fn a_pool_that_is_offered_twice_its_limit_is_kept_busy_and_asks_for_no_more() {
    let mut pool = Pool::new(300 * BODY);
    let came = pool.run(40.0, Duration::from_secs(3600));
    println!("{came:?}");
    assert!(came.throttled * 100 < came.sent, "{came:?}");
    let share = came.accepted.iter().sum::<u64>() as f64 / (60.0 * 1200.0);
    assert!(share > 0.95, "{share} of what could be sent");
    assert_fair(&came.accepted);
}

#[test]
fn with_one_rule_missing_the_others_carry_on_and_it_joins_them_when_it_is_there() {
    let mut pool = Pool::new(300 * BODY);
    pool.missing = Some(2);
    let came = pool.run(14.0, Duration::from_secs(1800));
    println!("{came:?}");
    assert_eq!(came.accepted[2], 0);
    assert!(came.waiting < 100, "{came:?}");
    assert!(came.throttled * 100 < came.sent, "{came:?}");
    assert_fair(&[came.accepted[0], came.accepted[1], came.accepted[3]]);
    pool.missing = None;
    pool.run(14.0, Duration::from_secs(120));
    let came = pool.run(14.0, Duration::from_secs(1800));
    assert_fair(&came.accepted);
}

#[test]
fn a_limit_that_is_lifted_is_found_again() {
    let mut pool = Pool::new(300 * BODY);
    pool.run(40.0, Duration::from_secs(900));
    pool.limits = MinuteLimits::default();
    pool.waiting = 0;
    let came = pool.run(50.0, Duration::from_secs(1800));
    println!("{came:?}");
    assert!(came.waiting < 100, "{came:?}");
    let report = pool.rules.reports();
    assert!(
        report
            .iter()
            .all(|rule| rule.bytes_a_minute_max > 700_000_000),
        "{report:?}"
    );
}
