//! What has happened in all runs together: a simulator in which nothing happens finds nothing.

use crate::plan::Trouble;
use std::collections::BTreeMap;

/// Something that must have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Closed,
    Reset,
    Stalled,
    Parked,
    ReadBack,
    Recovered,
    SpoolLost,
    GivenUp,
    DiskFailed,
    Stall,
    Kill,
    PowerCut,
    Cut,
    Stop,
    Stopped,
    Jump,
    Rot,
    Down,
    Reload,
    Redirected,
    OthersWentOn,
    Trouble(Trouble),
    Outcome(&'static str),
}

/// Of what a batch of runs must have seen at least one.
const EXPECTED: [Seen; 21] = [
    Seen::Closed,
    Seen::Reset,
    Seen::Stalled,
    Seen::Parked,
    Seen::ReadBack,
    Seen::Recovered,
    Seen::SpoolLost,
    Seen::GivenUp,
    Seen::DiskFailed,
    Seen::Stall,
    Seen::Kill,
    Seen::PowerCut,
    Seen::Cut,
    Seen::Stop,
    Seen::Stopped,
    Seen::Jump,
    Seen::Rot,
    Seen::Down,
    Seen::Reload,
    Seen::Redirected,
    Seen::OthersWentOn,
];

const OUTCOMES: [&str; 13] = [
    "accepted",
    "too large",
    "poison",
    "refused",
    "timeout",
    "reset",
    "gateway",
    "error",
    "throttled",
    "unauthorized",
    "held",
    "wrong stream",
    "misconfigured",
];

/// How often what has happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    pub(crate) fn see(&mut self, seen: Seen) {
        *self.0.entry(name(seen)).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Coverage) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    /// What has not happened.
    pub(crate) fn missing(&self) -> Vec<String> {
        let troubles = Trouble::ALL.map(Seen::Trouble);
        let outcomes = OUTCOMES.map(Seen::Outcome);
        let all = EXPECTED.iter().chain(&troubles).chain(&outcomes);
        all.map(|seen| name(*seen))
            .filter(|name| !self.0.contains_key(name))
            .collect()
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self
            .0
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        f.write_str(&all.join(", "))
    }
}

fn name(seen: Seen) -> String {
    match seen {
        Seen::Trouble(trouble) => format!("{trouble:?} for a while"),
        Seen::Outcome(outcome) => format!("answer {outcome}"),
        other => format!("{other:?}"),
    }
}
