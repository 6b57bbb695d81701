//! When each connection that is not asleep is read next.
//!
//! The price of a small read is not the bytes but the wake-up: several microseconds for a message
//! of half a microsecond's work. So a connection that has just delivered is not waited for again.
//! It is read in rounds, at an interval that adapts: reads that bring much make it shorter, reads
//! that bring little or nothing make it longer, and [`VAIN_READS_UNTIL_SLEEP`] in a row that bring
//! nothing at the longest send the connection back to sleep, to be woken by the kernel. A busy
//! connection thus costs one `recv` for some thirty kilobytes and no wake-ups at all; a quiet one costs
//! nothing; and no byte waits longer than [`ROUND_MS_MOST`], but for crowds.
//!
//! Only where thousands share one core, and each brings a message or two at a time, would the reads be
//! most of the work. The longest interval then grows with their number, so that a shard makes no more
//! than some [`ROUND_READS_A_SECOND`] of them and each brings more, up to [`ROUND_MS_CROWDED`].
//!
//! Turns fall on multiples of their interval, so that connections of one interval share a wake-up.

use crate::clock::Mono;
use crate::limits::{
    READ_BYTES_FULL, READ_BYTES_SMALL, ROUND_MS_CROWDED, ROUND_MS_FIRST, ROUND_MS_LEAST,
    ROUND_MS_MOST, ROUND_READS_A_SECOND, VAIN_READS_UNTIL_SLEEP,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How long a connection waits for its next read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// 0 means as soon as the others had their turn; [`ROUND_MS_MOST`] stands for the longest, which is
    /// longer in a crowd.
    ms: u32,
    /// Reads in a row at the longest interval that brought nothing.
    vain_reads: u32,
}

impl Interval {
    /// Of a connection that has just woken up.
    pub const FIRST: Interval = Interval::of(ROUND_MS_FIRST);

    const fn of(ms: u32) -> Interval {
        Interval { ms, vain_reads: 0 }
    }

    /// True if there is no pause between two reads.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.ms == 0
    }

    /// After a read that brought so many bytes; nothing if the connection may sleep.
    #[must_use]
    pub fn after_read(self, bytes: usize) -> Option<Interval> {
        match bytes {
            0 if self.ms >= ROUND_MS_MOST => {
                let vain_reads = self.vain_reads + 1;
                (vain_reads < VAIN_READS_UNTIL_SLEEP).then_some(Interval { vain_reads, ..self })
            }
            0..READ_BYTES_SMALL => Some(self.longer()),
            READ_BYTES_SMALL..READ_BYTES_FULL => Some(Interval::of(self.ms)),
            _ => Some(self.shorter()),
        }
    }

    fn longer(self) -> Interval {
        match self.ms {
            0 => Interval::of(ROUND_MS_LEAST),
            ms => Interval::of((ms * 2).min(ROUND_MS_MOST)),
        }
    }

    fn shorter(self) -> Interval {
        match self.ms {
            ..=ROUND_MS_LEAST => Interval::of(0),
            ms => Interval::of(ms / 2),
        }
    }
}

/// The turns to come, soonest first, of connections named by a number.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Millisecond of the turn, and whose it is.
    turns: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Rounds {
    /// Gives a connection its next turn.
    pub fn add(&mut self, connection: u64, interval: Interval, now: Mono) {
        let now_ms = milliseconds(now);
        let turn = match interval.ms {
            0 => now_ms,
            ms => {
                let ms = u64::from(if ms < ROUND_MS_MOST {
                    ms
                } else {
                    self.longest()
                });
                (now_ms / ms + 1) * ms
            }
        };
        self.turns.push(Reverse((turn, connection)));
    }

    /// The longest interval with so many connections, a power of two like all.
    fn longest(&self) -> u32 {
        let wanted = self.turns.len() as u64 * 1_000 / ROUND_READS_A_SECOND;
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let most = ROUND_MS_CROWDED;
        wanted.clamp(ROUND_MS_MOST, most).next_power_of_two()
    }

    /// The next connection whose turn has come.
    pub fn next(&mut self, now: Mono) -> Option<u64> {
        let Reverse((turn, connection)) = *self.turns.peek()?;
        if turn > milliseconds(now) {
            return None;
        }
        self.turns.pop();
        Some(connection)
    }

    /// True if nobody waits for a turn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// When the next turn is; nothing if nobody waits for one.
    #[must_use]
    pub fn next_at(&self) -> Option<Mono> {
        self.turns
            .peek()
            .map(|Reverse((turn, _))| Mono(turn.saturating_mul(1_000_000)))
    }
}

fn milliseconds(mono: Mono) -> u64 {
    mono.0 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_silent_connection_falls_asleep_after_a_few_reads() {
        let mut interval = Some(Interval::FIRST);
        let mut reads = 0;
        while let Some(current) = interval {
            interval = current.after_read(0);
            reads += 1;
        }
        // each at twice the interval, up to the longest
        let doublings = (ROUND_MS_MOST / ROUND_MS_FIRST).ilog2();
        assert_eq!(reads, doublings + VAIN_READS_UNTIL_SLEEP);
    }

    #[test]
    fn a_connection_with_pauses_that_are_not_long_stays_awake() {
        let mut interval = Interval::of(ROUND_MS_MOST);
        for _ in 0..10 {
            for _ in 1..VAIN_READS_UNTIL_SLEEP {
                interval = interval.after_read(0).unwrap();
            }
            interval = interval.after_read(700).unwrap();
            assert_eq!(interval, Interval::of(ROUND_MS_MOST));
        }
        for _ in 1..VAIN_READS_UNTIL_SLEEP {
            interval = interval.after_read(0).unwrap();
        }
        assert_eq!(interval.after_read(0), None);
    }

    #[test]
    fn a_full_connection_is_read_without_pause_and_a_small_one_ever_less_often() {
        let mut interval = Interval::FIRST;
        for _ in 0..10 {
            interval = interval.after_read(READ_BYTES_FULL).unwrap();
        }
        assert_eq!(interval, Interval::of(0));
        for _ in 0..10 {
            interval = interval.after_read(1).unwrap();
        }
        assert_eq!(interval, Interval::of(ROUND_MS_MOST));
        assert_eq!(interval.after_read(READ_BYTES_SMALL), Some(interval));
    }

    #[test]
    fn the_longest_interval_grows_with_a_crowd_and_no_other_does() {
        let start = Mono(1_000_000_000);
        let crowd = |count: u64| Rounds {
            turns: (0..count).map(|turn| Reverse((turn, turn))).collect(),
        };
        let longest = |count| crowd(count).longest();
        let few = ROUND_READS_A_SECOND * u64::from(ROUND_MS_MOST) / 1_000;
        assert_eq!(longest(0), ROUND_MS_MOST);
        assert_eq!(longest(few), ROUND_MS_MOST);
        assert_eq!(longest(few + 1_000), 2 * ROUND_MS_MOST);
        assert_eq!(longest(10_000), 256);
        assert_eq!(longest(1_000_000), ROUND_MS_CROWDED);
        // 1,024 is a multiple of all of them
        for (ms, turn) in [(ROUND_MS_MOST, 1_024), (8, 1_008), (0, 1_000)] {
            let mut rounds = crowd(10_000);
            rounds.add(u64::MAX, Interval::of(ms), start);
            let mine = rounds.turns.iter().find(|turn| turn.0.1 == u64::MAX);
            assert_eq!(mine.unwrap().0.0, turn, "{ms}");
        }
        let mut rounds = crowd(10_000);
        let start = Mono(1_024_000_000);
        rounds.add(u64::MAX, Interval::of(ROUND_MS_MOST), start);
        let mine = rounds.turns.iter().find(|turn| turn.0.1 == u64::MAX);
        assert_eq!(mine.unwrap().0.0, 1_280);
    }

    #[test]
    fn turns_come_in_order_and_never_later_than_the_longest_interval() {
        let mut rounds = Rounds::default();
        let start = Mono(123_456_789);
        for connection in 0..100 {
            let interval = Interval::of(1 << (connection % 7));
            rounds.add(connection, interval, start);
        }
        let mut now = start;
        let mut seen = 0;
        while let Some(at) = rounds.next_at() {
            assert!(at >= now);
            now = at;
            while let Some(connection) = rounds.next(now) {
                let waited = now.since(start);
                assert!(waited <= Duration::from_millis(1 << (connection % 7)));
                seen += 1;
            }
        }
        assert_eq!(seen, 100);
    }
}
