//! How much JSON goes into one body. Azure's documents say 1 MB and leave open whether that is counted
//! before gzip or after it.
//!
//! | reading | a body ends at |
//! |---|---|
//! | `strict` | `batch.raw_bytes_max` of JSON, as every SDK does |
//! | `wire` | `batch.wire_bytes_max` after gzip, however much JSON that is |
//! | `auto` | begins as `strict`; doubles while such bodies are accepted, halves on 413 and then keeps to that |
//!
//! Fewer and larger bodies cost fewer calls, and gzip makes more of them: five to nine times as many
//! rows fit into 1 MB. A body that is refused as too large is halved and sent again, so finding the
//! limit costs a call and no row.
//!
//! What a rule takes in a minute is read in the same way, see [`super::pace`].
//!
//! Pure: time is an argument. All uploaders share one.

use crate::clock::Mono;
use crate::compress::Payload;
use crate::config::{self, BodyReading};
use crate::limits::{
    BODY_LIMIT_GOOD, BODY_LIMIT_MEMORY, BODY_RAW_BYTES_MOST, SERVICE_BODY_BYTES_MAX,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The limit of the bodies of one destination.
#[derive(Debug)]
pub struct BodyLimit {
    reading: BodyReading,
    /// Bytes of JSON that the strict reading allows.
    least: usize,
    learnt: Mutex<Learnt>,
}

/// What the service's answers have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learnt {
    /// Bytes of JSON in a body now, at most.
    pub raw_bytes_max: usize,
    /// Most that was accepted in one.
    pub accepted_most: usize,
    /// Least that was refused as too large, and when; nothing if none was.
    pub refused_least: Option<(usize, Mono)>,
    /// Bodies near the limit that were accepted since it last changed.
    good: u32,
}

impl BodyLimit {
    /// By the configuration.
    #[must_use]
    pub fn new(config: &config::Batch) -> Self {
        BodyLimit::by(config.body_limit, config.raw_bytes_max)
    }

    /// So many bytes of JSON and no more.
    #[must_use]
    pub fn strict(raw_bytes_max: usize) -> Self {
        BodyLimit::by(BodyReading::Strict, raw_bytes_max)
    }

    fn by(reading: BodyReading, least: usize) -> Self {
        let raw_bytes_max = match reading {
            BodyReading::Strict | BodyReading::Auto => least,
            BodyReading::Wire => BODY_RAW_BYTES_MOST,
        };
        BodyLimit {
            reading,
            least,
            learnt: Mutex::new(Learnt {
                raw_bytes_max,
                accepted_most: 0,
                refused_least: None,
                good: 0,
            }),
        }
    }

    /// Bytes of JSON in a body that is begun now, at most.
    #[must_use]
    pub fn raw_bytes_max(&self) -> usize {
        match self.reading {
            BodyReading::Strict => self.least,
            BodyReading::Wire => BODY_RAW_BYTES_MOST,
            BodyReading::Auto => self.learnt().raw_bytes_max,
        }
    }

    /// What the answers have shown.
    #[must_use]
    pub fn report(&self) -> Learnt {
        *self.learnt()
    }

    /// What a body counts against the limits of a minute.
    #[must_use]
    pub fn weight(&self, payload: &Payload) -> u64 {
        let is_wire = match self.reading {
            BodyReading::Strict => false,
            BodyReading::Wire => true,
            BodyReading::Auto => self.learnt().accepted_most > SERVICE_BODY_BYTES_MAX,
        };
        match is_wire {
            true => payload.body.len() as u64,
            false => payload.raw_bytes() as u64,
        }
    }

    /// A body of so much JSON was accepted.
    pub fn accepted(&self, raw_bytes: usize, now: Mono) {
        let mut learnt = self.learnt();
        learnt.accepted_most = learnt.accepted_most.max(raw_bytes);
        if self.reading != BodyReading::Auto || raw_bytes < learnt.raw_bytes_max / 4 * 3 {
            return;
        }
        learnt.good += 1;
        let may_grow = learnt
            .refused_least
            .is_none_or(|(_, at)| now.since(at) >= BODY_LIMIT_MEMORY);
        if learnt.good < BODY_LIMIT_GOOD || !may_grow {
            return;
        }
        let raw_bytes_max = (learnt.raw_bytes_max * 2).min(BODY_RAW_BYTES_MOST);
        if raw_bytes_max > learnt.raw_bytes_max {
            learnt.raw_bytes_max = raw_bytes_max;
            learnt.good = 0;
            tracing::info!(raw_bytes_max, "bodies of this length are tried");
        }
    }

    /// A body of so much JSON was refused as too large.
    pub fn refused(&self, raw_bytes: usize, now: Mono) {
        let mut learnt = self.learnt();
        if raw_bytes < learnt.refused_least.map_or(usize::MAX, |(least, _)| least) {
            learnt.refused_least = Some((raw_bytes, now));
        }
        let halved = (raw_bytes / 2).max(self.least);
        if self.reading == BodyReading::Auto && halved < learnt.raw_bytes_max {
            learnt.raw_bytes_max = halved;
            learnt.good = 0;
            learnt.refused_least = Some((raw_bytes, now));
            tracing::info!(
                raw_bytes,
                raw_bytes_max = halved,
                "a body was too large: shorter ones from now on"
            );
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(body_limit: BodyReading) -> BodyLimit {
        BodyLimit::by(body_limit, 1_000_000)
    }

    fn accept_some(limit: &BodyLimit, count: u32, now: Mono) {
        for _ in 0..count {
            limit.accepted(limit.raw_bytes_max() - 10, now);
        }
    }

    #[test]
    fn strict_and_wire_stay_what_they_are() {
        for (reading, raw_bytes) in [
            (BodyReading::Strict, 1_000_000),
            (BodyReading::Wire, BODY_RAW_BYTES_MOST),
        ] {
            let limit = limit(reading);
            accept_some(&limit, 100, Mono(1));
            limit.refused(raw_bytes, Mono(1));
            assert_eq!(limit.raw_bytes_max(), raw_bytes);
            assert_eq!(limit.report().refused_least, Some((raw_bytes, Mono(1))));
        }
    }

    #[test]
    fn auto_doubles_while_full_bodies_are_accepted() {
        let limit = limit(BodyReading::Auto);
        for _ in 0..1000 {
            limit.accepted(500_000, Mono(1));
        }
        assert_eq!(limit.raw_bytes_max(), 1_000_000, "those were small");
        accept_some(&limit, BODY_LIMIT_GOOD - 1, Mono(1));
        assert_eq!(limit.raw_bytes_max(), 1_000_000);
        accept_some(&limit, 1, Mono(1));
        assert_eq!(limit.raw_bytes_max(), 2_000_000);
        accept_some(&limit, 20 * BODY_LIMIT_GOOD, Mono(1));
        assert_eq!(limit.raw_bytes_max(), BODY_RAW_BYTES_MOST);
    }

    #[test]
    fn auto_halves_on_413_and_remembers_it_for_hours() {
        let limit = limit(BodyReading::Auto);
        accept_some(&limit, 2 * BODY_LIMIT_GOOD, Mono(1));
        assert_eq!(limit.raw_bytes_max(), 4_000_000);
        // all that were under way
        for _ in 0..8 {
            limit.refused(3_999_990, Mono(1));
        }
        assert_eq!(limit.raw_bytes_max(), 1_999_995);
        accept_some(&limit, 100, Mono(2));
        assert_eq!(limit.raw_bytes_max(), 1_999_995);
        accept_some(&limit, 1, Mono(1).plus(BODY_LIMIT_MEMORY));
        assert_eq!(limit.raw_bytes_max(), 3_999_990);
        // never below what the strict reading allows
        limit.refused(1_100_000, Mono(3));
        assert_eq!(limit.raw_bytes_max(), 1_000_000);
    }
}
