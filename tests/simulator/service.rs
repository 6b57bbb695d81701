//! The service and the network before it: what a request comes to, and what may be said of it.

use crate::plan::{MS, Plan, SECOND, Trouble};
use crate::truth::Truth;
use cefline::client::Answer;
use cefline::clock::Wall;
use cefline::upload::request::{Reply, Silence, SilenceReason};
use fastrand::Rng;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

/// What a request comes to.
pub(crate) struct Outcome {
    /// When the rows are in the table, if they ever are.
    pub(crate) stored_in: Option<u64>,
    pub(crate) replied_in: u64,
    pub(crate) reply: Reply,
    /// It accepts.
    pub(crate) is_accepted: bool,
    /// The rows may be stored, for all that the program can know.
    pub(crate) is_unclear: bool,
    /// The service asked not to be asked again so soon.
    pub(crate) asked: Option<u64>,
    pub(crate) name: &'static str,
}

#[derive(Debug, Default)]
pub(crate) struct Service {
    /// What goes on until when, and at which rule.
    pub(crate) troubles: Vec<(Trouble, u64, usize)>,
    /// Which destinations forbid everything, and until when.
    pub(crate) down: Vec<(usize, u64)>,
    /// When the token was last changed for one that is refused too.
    renewed_at: Option<u64>,
}

impl Service {
    pub(crate) fn has(&self, trouble: Trouble, now: u64) -> bool {
        let mut all = self.troubles.iter();
        all.any(|(other, until, _)| *other == trouble && now < *until)
    }

    pub(crate) fn is_down(&self, destination: usize, now: u64) -> bool {
        let mut all = self.down.iter();
        all.any(|(which, until)| *which == destination && now < *until)
    }

    /// After 401: whether there is another token to try with.
    pub(crate) fn renews(&mut self, now: u64) -> bool {
        let is_due = self.renewed_at.is_none_or(|at| now >= at + 30 * SECOND);
        if is_due {
            self.renewed_at = Some(now);
        }
        is_due
    }

    pub(crate) fn outcome(
        &self,
        plan: &Plan,
        truth: &Truth,
        random: &mut Rng,
        now: (u64, Wall),
        rule: usize,
        (rows, bytes): (&[u32], usize),
    ) -> Outcome {
        let time_max = plan.config.sentinel.request_time_max.as_nanos() as u64;
        let latency = random.u64(plan.latency.0..plan.latency.1);
        let current = self.troubles.iter().find(|(trouble, until, at)| {
            let is_of_rule = matches!(trouble, Trouble::Holds | Trouble::Misconfigured);
            now.0 < *until && (!is_of_rule || *at % (plan.rules * plan.destinations) == rule)
        });
        let trouble = match current {
            _ if self.is_down(rule / plan.rules, now.0) => Some(Trouble::Holds),
            Some((Trouble::NoToken, ..)) => None,
            Some((trouble, ..)) => Some(*trouble),
            None if random.f64() < plan.noise && now.0 < plan.faults_end => {
                // refusals of good rows would be judged as what they are not
                let kinds = &Trouble::ALL[..7];
                random.choice(kinds).copied()
            }
            None => None,
        };
        let is_good = bytes <= plan.service_bytes_max
            && !rows.iter().any(|row| truth.rows[*row as usize].is_poison);
        let stores = is_good && random.bool();
        let unclear = |reason, replied_in, stored_in, name| Outcome {
            stored_in,
            replied_in,
            reply: silence(reason, true),
            is_accepted: false,
            is_unclear: true,
            asked: None,
            name,
        };
        let Some(trouble) = trouble else {
            return answer_of(plan, truth, rows, bytes, latency);
        };
        match trouble {
            Trouble::Refuses => Outcome {
                is_unclear: false,
                reply: silence(SilenceReason::Connect, false),
                ..unclear(SilenceReason::Connect, MS, None, "refused")
            },
            Trouble::Blackhole => {
                let stored_in = (stores && random.bool()).then(|| random.u64(..2 * time_max));
                unclear(SilenceReason::Timeout, time_max, stored_in, "timeout")
            }
            Trouble::Resets => {
                let stored_in = stores.then_some(latency / 2);
                let is_sent = stored_in.is_some() || random.bool();
                Outcome {
                    is_unclear: is_sent,
                    reply: silence(SilenceReason::Reset, is_sent),
                    ..unclear(SilenceReason::Reset, latency, stored_in, "reset")
                }
            }
            Trouble::Gateway => {
                let (headers, asked) = retry_after(plan, now.0, now.1);
                let status = *random.choice(&[502, 504]).unwrap();
                Outcome {
                    reply: answer(status, headers, ""),
                    asked,
                    ..unclear(
                        SilenceReason::Reset,
                        latency,
                        stores.then_some(latency / 2),
                        "gateway",
                    )
                }
            }
            _ => {
                let (headers, asked) = match trouble {
                    Trouble::Errors | Trouble::Throttles => retry_after(plan, now.0, now.1),
                    _ => (HeaderMap::new(), None),
                };
                let (status, body, name) = match trouble {
                    Trouble::Errors => (*random.choice(&[500, 503, 408]).unwrap(), "", "error"),
                    Trouble::Throttles => (429, "", "throttled"),
                    Trouble::Unauthorized => (401, "", "unauthorized"),
                    Trouble::Holds => (*random.choice(&[403, 404]).unwrap(), "", "held"),
                    _ if now.0.is_multiple_of(2) => {
                        (400, r#"{"error":{"code":"InvalidStream"}}"#, "wrong stream")
                    }
                    _ => (400, "", "misconfigured"),
                };
                Outcome {
                    stored_in: None,
                    replied_in: latency,
                    reply: answer(status, headers, body),
                    is_accepted: false,
                    is_unclear: false,
                    asked,
                    name,
                }
            }
        }
    }
}

/// What a service without trouble says.
fn answer_of(plan: &Plan, truth: &Truth, rows: &[u32], bytes: usize, latency: u64) -> Outcome {
    let has_poison = rows.iter().any(|row| truth.rows[*row as usize].is_poison);
    let (status, name) = match () {
        () if bytes > plan.service_bytes_max => (413, "too large"),
        () if has_poison => (400, "poison"),
        () => (204, "accepted"),
    };
    let is_accepted = status == 204;
    Outcome {
        stored_in: is_accepted.then_some(latency / 2),
        replied_in: latency,
        reply: answer(status, HeaderMap::new(), ""),
        is_accepted,
        is_unclear: false,
        asked: None,
        name,
    }
}

fn silence(reason: SilenceReason, is_sent_whole: bool) -> Reply {
    Reply::Silence(Silence {
        reason,
        is_sent_whole,
        cause: String::new(),
    })
}

fn answer(status: u16, headers: HeaderMap, body: &str) -> Reply {
    Reply::Answer(Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: body.as_bytes().to_vec(),
    })
}

/// `Retry-After` in all of its forms, with what it asks for if that does not hang on a clock.
fn retry_after(plan: &Plan, now: u64, wall: Wall) -> (HeaderMap, Option<u64>) {
    const MOST: u64 = 300;
    let date = |seconds: i64| {
        let second = wall.0 / 1_000_000_000 + seconds;
        let at = jiff::Timestamp::from_second(second).unwrap();
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    };
    let plain = HeaderName::from_static("retry-after-ms");
    // the same for a while: a service that says "at once" does so again
    let mut random = Rng::with_seed(plan.seed ^ (now / (3 * SECOND)));
    let (name, value, asked) = match random.u8(..12) {
        0..=2 => return (HeaderMap::new(), None),
        3 => (RETRY_AFTER, "0".to_owned(), None),
        4 => (RETRY_AFTER, "1".to_owned(), Some(SECOND)),
        5 => (RETRY_AFTER, "7".to_owned(), Some(7 * SECOND)),
        6 => (RETRY_AFTER, "999999999".to_owned(), Some(MOST * SECOND)),
        7 => (RETRY_AFTER, "-1".to_owned(), None),
        8 => (RETRY_AFTER, date(-100), None),
        9 => (RETRY_AFTER, date(20), None),
        10 => (RETRY_AFTER, date(1_000_000), None),
        _ => (plain, "1500".to_owned(), Some(1500 * MS)),
    };
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_str(&value).unwrap());
    (headers, asked)
}
