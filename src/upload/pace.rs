//! How fast one rule is sent to: bytes and requests a minute, each by a token bucket.
//!
//! ```text
//! documented limit --- 429 twice in a row ---> what the rule took in that minute
//!        ^                                                  |
//!        '------- grows while it holds us up and <----------'
//!                 nothing is refused
//! ```
//!
//! - A rule starts at the documented limit, 2 GB and 12,000 requests a minute, or at what the
//!   configuration says of a rule whose limit was raised.
//! - One 429 pauses the rule as long as it asks and teaches nothing: another sender may have used
//!   the minute up. A second one soon after says that the limit is lower than we believe. The pause that it
//!   asks for ends with the service's minute, so what the rule has accepted since that minute began is
//!   what it takes in one; unless that minute began before our first request.
//! - The pace grows again while it is what holds us up: by a little near what was last refused, and
//!   fast far from it, beyond the start as well: "gradual increases" are taken, says Azure, limits are
//!   raised, and other senders go away.
//!
//! A bucket may go into debt by one body, so that a body longer than the bucket passes as well.
//!
//! Pure: time is an argument.

use crate::clock::Mono;
use crate::limits::{
    PACE_BURST, PACE_GROWTH_MOST, PACE_GROWTH_PAUSE, PACE_LEAST, PACE_MINUTE, RULE_BYTES_A_MINUTE,
    RULE_REQUESTS_A_MINUTE, THROTTLED_AGAIN,
};
use std::time::Duration;

/// Seconds whose bytes are remembered: those of the service's minute.
const SLOTS: usize = 60;
/// Of what a minute was found to take: the rest is for the body that went too far.
const KEPT: f64 = 0.99;
/// Growth far below the pace that was refused, and near it.
const GROWTH_FAR: f64 = 1.25;
const GROWTH_NEAR: f64 = 1.01;
/// What is near, as parts of the pace that was refused last: past it the limit is not what it was.
const NEAR: std::ops::Range<f64> = 0.8..1.2;

/// The pace of one rule.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    bytes: Bucket,
    requests: Bucket,
    /// Bytes a second that it may grow to.
    most: f64,
    /// Bytes a second that were refused last; nothing yet if infinite.
    refused: f64,
    /// When the first request went.
    begun_at: Option<Mono>,
    /// When it last answered 429.
    refused_at: Option<Mono>,
    /// No news before then: of one refused minute there may be several answers.
    deaf_until: Mono,
    /// It kept somebody waiting since it last grew...
    is_binding: bool,
    /// ...which was then.
    grown_at: Mono,
    /// Bytes that were accepted, by second.
    accepted: [(u64, u64); SLOTS],
}

/// What a rule takes in a minute, as far as we know at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinuteLimits {
    /// Bytes, by the reading of the limits.
    pub bytes: usize,
    /// Requests.
    pub requests: usize,
}

impl Default for MinuteLimits {
    fn default() -> Self {
        MinuteLimits {
            bytes: RULE_BYTES_A_MINUTE,
            requests: RULE_REQUESTS_A_MINUTE,
        }
    }
}

/// Tokens that come at a steady rate.
#[derive(Debug, Clone)]
struct Bucket {
    a_second: f64,
    /// Below zero in debt.
    tokens: f64,
    filled_at: Mono,
}

impl Bucket {
    fn new(a_minute: f64) -> Self {
        let a_second = a_minute / PACE_MINUTE.as_secs_f64();
        Bucket {
            a_second,
            tokens: a_second * PACE_BURST.as_secs_f64(),
            filled_at: Mono(0),
        }
    }

    fn fill(&mut self, now: Mono) {
        let time = now.since(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        let most = self.a_second * PACE_BURST.as_secs_f64();
        self.tokens = (self.tokens + time * self.a_second).min(most);
    }

    fn ready_at(&self) -> Mono {
        if self.tokens > 0.0 {
            return Mono(0);
        }
        let time = Duration::try_from_secs_f64(-self.tokens / self.a_second);
        // a little more, so that there is something by then
        self.filled_at
            .plus(time.unwrap_or(PACE_MINUTE) + Duration::from_micros(100))
    }

    fn set(&mut self, a_second: f64) {
        self.a_second = a_second;
        self.tokens = self.tokens.min(a_second * PACE_BURST.as_secs_f64());
    }
}

impl Pace {
    /// At the limits of a minute.
    pub(super) fn new(limits: MinuteLimits) -> Self {
        let bytes = Bucket::new(limits.bytes as f64);
        Pace {
            most: bytes.a_second * PACE_GROWTH_MOST,
            bytes,
            requests: Bucket::new(limits.requests as f64),
            refused: f64::INFINITY,
            begun_at: None,
            refused_at: None,
            deaf_until: Mono(0),
            is_binding: false,
            grown_at: Mono(0),
            accepted: [(0, 0); SLOTS],
        }
    }

    /// When the next request may go; past if now.
    pub(super) fn ready_at(&self) -> Mono {
        self.bytes.ready_at().max(self.requests.ready_at())
    }

    /// Somebody waits for its turn.
    pub(super) fn holds_up(&mut self) {
        self.is_binding = true;
    }

    /// A request of so many bytes goes.
    pub(super) fn sent(&mut self, bytes: u64, now: Mono) {
        for bucket in [&mut self.bytes, &mut self.requests] {
            bucket.fill(now);
        }
        self.begun_at.get_or_insert(now);
        self.bytes.tokens -= bytes as f64;
        self.requests.tokens -= 1.0;
    }

    /// It was accepted.
    pub(super) fn accepted(&mut self, bytes: u64, now: Mono) {
        let second = second_of(now);
        if let Some(slot) = self.accepted.get_mut((second % SLOTS as u64) as usize) {
            if slot.0 != second {
                *slot = (second, 0);
            }
            slot.1 += bytes;
        }
        self.grow(now);
    }

    fn grow(&mut self, now: Mono) {
        let is_quiet = self
            .refused_at
            .is_none_or(|at| now.since(at) >= PACE_MINUTE);
        if !self.is_binding || !is_quiet || now.since(self.grown_at) < PACE_GROWTH_PAUSE {
            return;
        }
        self.is_binding = false;
        self.grown_at = now;
        let growth = match NEAR.contains(&(self.bytes.a_second / self.refused)) {
            true => GROWTH_NEAR,
            false => GROWTH_FAR,
        };
        self.bytes
            .set((self.bytes.a_second * growth).min(self.most));
    }

    /// It was answered 429, with a pause of `asked`.
    pub(super) fn throttled(&mut self, asked: Duration, now: Mono) {
        if now < self.deaf_until {
            return;
        }
        self.deaf_until = now.plus(asked.min(PACE_MINUTE));
        let before = self.refused_at.replace(now);
        if before.is_none_or(|at| now.since(at) > THROTTLED_AGAIN) {
            return;
        }
        let minute_began = PACE_MINUTE.saturating_sub(asked.min(PACE_MINUTE));
        // a minute that began before we did is not ours: what we sent in it says nothing of its limit
        if self.begun_at.is_none_or(|at| now.since(at) < minute_began) {
            return;
        }
        // the first second of the minute is hardly ever a whole one
        let first = second_of(now).saturating_sub(minute_began.as_secs() + 1);
        let taken: u64 = self
            .accepted
            .iter()
            .filter(|(second, _)| *second >= first)
            .map(|(_, bytes)| bytes)
            .sum();
        let learnt = KEPT * taken as f64 / PACE_MINUTE.as_secs_f64();
        self.refused = self.bytes.a_second;
        self.bytes
            .set(learnt.min(KEPT * self.bytes.a_second).max(PACE_LEAST));
        self.is_binding = false;
        self.grown_at = now;
    }

    /// Bytes a minute that it goes by.
    pub(super) fn bytes_a_minute(&self) -> u64 {
        (self.bytes.a_second * PACE_MINUTE.as_secs_f64()) as u64
    }
}

fn second_of(now: Mono) -> u64 {
    now.since(Mono(0)).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Mono {
        Mono(0).plus(Duration::from_secs_f64(seconds))
    }

    /// Sends bodies as fast as the pace lets, and gives when each went.
    fn flat_out(pace: &mut Pace, body: u64, from: f64, to: f64) -> Vec<f64> {
        let mut went = Vec::new();
        let mut now = from;
        while now < to {
            let ready = pace.ready_at().since(Mono(0)).as_secs_f64();
            if ready > now {
                pace.holds_up();
                now = ready;
                continue;
            }
            pace.sent(body, at(now));
            pace.accepted(body, at(now));
            went.push(now);
        }
        went
    }

    #[test]
    fn no_minute_takes_more_than_the_documented_limit() {
        let mut pace = Pace::new(MinuteLimits::default());
        let went = flat_out(&mut pace, 1_000_000, 0.0, 10.0);
        assert!((333..=369).contains(&went.len()), "{}", went.len());
        // as long as nobody presses on it
        pace.grown_at = at(1e6);
        let went = flat_out(&mut pace, 1_000_000, 60.0, 240.0);
        for start in 60..180 {
            let (start, end) = (f64::from(start), f64::from(start) + 60.0);
            let count = went.iter().filter(|at| start <= **at && **at < end).count();
            // the bucket's burst beyond
            assert!((1990..=2036).contains(&count), "{count} from {start}");
        }
    }

    #[test]
    fn requests_are_paced_too() {
        let mut pace = Pace::new(MinuteLimits::default());
        let went = flat_out(&mut pace, 10, 0.0, 60.0);
        assert!((12_000..=12_210).contains(&went.len()), "{}", went.len());
    }

    #[test]
    fn one_429_teaches_nothing_and_a_second_one_soon_after_teaches_the_limit() {
        let mut pace = Pace::new(MinuteLimits::default());
        flat_out(&mut pace, 100_000, 0.0, 0.1);
        pace.throttled(Duration::from_secs(60), at(0.1));
        assert_eq!(pace.bytes_a_minute(), 2_000_000_000);
        // the next minute takes 300 MB, and has 50 s to go
        for index in 0..30 {
            pace.sent(10_000_000, at(60.1 + f64::from(index) / 10.0));
            pace.accepted(10_000_000, at(60.1 + f64::from(index) / 10.0));
        }
        pace.throttled(Duration::from_secs(50), at(70.1));
        // what else was under way
        pace.throttled(Duration::from_secs(50), at(70.2));
        assert_eq!(pace.bytes_a_minute(), 297_000_000);
    }

    #[test]
    fn a_minute_that_began_before_the_first_request_teaches_nothing() {
        for (first, learnt) in [(0.0, 19_800_000), (61.0, 2_000_000_000)] {
            let mut pace = Pace::new(MinuteLimits::default());
            pace.sent(20_000_000, at(first));
            pace.throttled(Duration::from_secs(1), at(62.0));
            pace.accepted(20_000_000, at(63.5));
            // by this pause the minute began at 5 s
            pace.throttled(Duration::from_secs(1), at(64.0));
            assert_eq!(pace.bytes_a_minute(), learnt, "{first}");
        }
    }

    #[test]
    fn a_429_long_after_another_is_the_first_of_its_kind() {
        let mut pace = Pace::new(MinuteLimits::default());
        pace.throttled(Duration::from_secs(1), at(10.0));
        pace.throttled(Duration::from_secs(1), at(11.5).plus(THROTTLED_AGAIN));
        assert_eq!(pace.bytes_a_minute(), 2_000_000_000);
    }

    #[test]
    fn a_pace_grows_only_while_it_holds_somebody_up() {
        let mut pace = Pace::new(MinuteLimits::default());
        pace.sent(1, at(0.0));
        pace.throttled(Duration::from_secs(60), at(0.0));
        pace.accepted(20_000_000, at(61.0));
        pace.throttled(Duration::from_secs(58), at(62.0));
        assert_eq!(pace.bytes_a_minute(), 19_800_000);
        pace.accepted(1, at(200.0));
        assert_eq!(pace.bytes_a_minute(), 19_800_000);
        let went = flat_out(&mut pace, 100_000, 200.0, 500.0);
        // it comes back far faster than it would by a hundredth a time
        assert!(
            pace.bytes_a_minute() > 500_000_000,
            "{} {}",
            pace.bytes_a_minute(),
            went.len()
        );
        flat_out(&mut pace, 10_000_000, 500.0, 2000.0);
        assert!(pace.bytes_a_minute().abs_diff(100_000_000_000) < 10);
    }
}
