//! What a disk without power holds: all that was written before the last flush, and of the rest
//! whatever chance has left, sector by sector.

use fastrand::Rng;

/// A disk writes so many bytes whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// Nothing was done: the power is off, or the disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

/// A write since the last flush.
#[derive(Debug)]
struct Pending {
    start: usize,
    /// What it has replaced.
    before: Vec<u8>,
    after: Vec<u8>,
}

/// Requests so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) writes: u64,
    pub(crate) flushes: u64,
}

/// What has become of the writes since the last flush.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) kept: u64,
    pub(crate) torn: u64,
    pub(crate) lost: u64,
}

/// A disk's bytes, with a cache that forgets.
#[derive(Debug)]
pub(crate) struct Platter {
    /// As a read sees them: with the pending writes.
    bytes: Vec<u8>,
    /// In the order in which they came.
    pending: Vec<Pending>,
    is_on: bool,
    /// The power goes during the last of so many writes and flushes from now on.
    requests_left: Option<u64>,
    /// It says that it has flushed, and has not.
    is_liar: bool,
    /// It writes and flushes nothing, and says so.
    is_failing: bool,
    counts: Counts,
}

impl Platter {
    /// Zeros, with the power on.
    pub(crate) fn new(length: usize) -> Platter {
        Platter {
            bytes: vec![0; length],
            pending: Vec::new(),
            is_on: true,
            requests_left: None,
            is_liar: false,
            is_failing: false,
            counts: Counts::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// From now on flushes do nothing.
    pub(crate) fn lie(&mut self) {
        self.is_liar = true;
    }

    /// From now on writes and flushes fail, or no longer.
    pub(crate) fn fail(&mut self, is_failing: bool) {
        self.is_failing = is_failing;
    }

    /// From now on nothing becomes durable.
    pub(crate) fn cut(&mut self) {
        self.is_on = false;
    }

    /// Cuts the power in the middle of the last of so many writes and flushes from now on.
    pub(crate) fn cut_within(&mut self, requests_count: u64) {
        assert!(requests_count > 0);
        self.requests_left = Some(requests_count);
    }

    /// Bytes from `start` on, fewer at the end.
    pub(crate) fn read(&self, start: usize, length: usize) -> Result<&[u8], Failed> {
        if !self.is_on {
            return Err(Failed);
        }
        let start = start.min(self.len());
        let end = start.saturating_add(length).min(self.len());
        Ok(&self.bytes[start..end])
    }

    /// Takes bytes that are durable after the next flush. The write during which the power goes
    /// is among those that chance decides about.
    pub(crate) fn write(&mut self, start: usize, after: &[u8]) -> Result<(), Failed> {
        if !self.is_on || self.is_failing {
            return Err(Failed);
        }
        self.counts.writes += 1;
        let place = &mut self.bytes[start..start + after.len()];
        self.pending.push(Pending {
            start,
            before: place.to_vec(),
            after: after.to_vec(),
        });
        place.copy_from_slice(after);
        self.passed()
    }

    /// Makes all that was written durable. The flush during which the power goes does not.
    pub(crate) fn flush(&mut self) -> Result<(), Failed> {
        if !self.is_on || self.is_failing {
            return Err(Failed);
        }
        self.passed()?;
        self.counts.flushes += 1;
        if !self.is_liar {
            self.pending.clear();
        }
        Ok(())
    }

    /// Counts a request.
    fn passed(&mut self) -> Result<(), Failed> {
        let Some(left) = &mut self.requests_left else {
            return Ok(());
        };
        *left -= 1;
        if *left > 0 {
            return Ok(());
        }
        self.is_on = false;
        Err(Failed)
    }

    /// The same disk when the power is back: chance decides about each write since the last flush.
    pub(crate) fn revive(self, chance: &mut Rng) -> (Platter, Fate) {
        // from "a cache that was just being written" to "one that had no time at all"
        let kept_share = chance.choice([0.0, 0.1, 0.5, 0.9, 1.0]).unwrap_or_default();
        let torn_share = chance.choice([0.0, 0.2]).unwrap_or_default();
        // as if the disk wrote in order and was stopped somewhere, or in any order
        let in_order = chance.u32(0..4) == 0;
        let stop = chance.usize(0..=self.pending.len());
        let mut index = 0;
        self.revive_by(|sectors_count| {
            index += 1;
            if chance.f64() < torn_share || (in_order && index == stop + 1) {
                return (0..sectors_count).map(|_| chance.bool()).collect();
            }
            let is_kept = if in_order {
                index <= stop
            } else {
                chance.f64() < kept_share
            };
            vec![is_kept; sectors_count]
        })
    }

    /// The same where all writes since the last flush are gone.
    pub(crate) fn revive_flushed(self) -> (Platter, Fate) {
        self.revive_by(|sectors_count| vec![false; sectors_count])
    }

    /// The same by a choice: which of a write's sectors are kept.
    fn revive_by(mut self, mut kept: impl FnMut(usize) -> Vec<bool>) -> (Platter, Fate) {
        for pending in self.pending.iter().rev() {
            self.bytes[pending.start..][..pending.before.len()].copy_from_slice(&pending.before);
        }
        let mut fate = Fate::default();
        for Pending { start, after, .. } in &self.pending {
            let pieces = sectors(*start, after.len());
            let kept = kept(pieces.len());
            for ((from, to), _) in pieces.iter().zip(&kept).filter(|(_, is_kept)| **is_kept) {
                self.bytes[*from..*to].copy_from_slice(&after[from - start..to - start]);
            }
            match kept.iter().filter(|is_kept| **is_kept).count() {
                0 => fate.lost += 1,
                all if all == kept.len() => fate.kept += 1,
                _ => fate.torn += 1,
            }
        }
        let platter = Platter {
            pending: Vec::new(),
            is_on: true,
            requests_left: None,
            ..self
        };
        (platter, fate)
    }
}

/// The parts of a write that lie in different sectors, from and to.
fn sectors(start: usize, length: usize) -> Vec<(usize, usize)> {
    let end = start + length;
    (start / SECTOR..end.div_ceil(SECTOR))
        .map(|sector| (start.max(sector * SECTOR), end.min((sector + 1) * SECTOR)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn platter(sectors_count: usize) -> Platter {
        Platter::new(sectors_count * SECTOR)
    }

    fn first_of_each(platter: &Platter) -> Vec<u8> {
        platter
            .bytes
            .chunks(SECTOR)
            .map(|sector| sector[0])
            .collect()
    }

    #[test]
    fn what_was_flushed_is_there_whatever_chance_does() {
        for seed in 0..200 {
            let mut platter = platter(4);
            platter.write(0, &[1; 2 * SECTOR]).unwrap();
            platter.write(SECTOR, &[2; SECTOR]).unwrap();
            platter.flush().unwrap();
            platter.write(2 * SECTOR, &[3; SECTOR]).unwrap();
            platter.cut();
            let (platter, _) = platter.revive(&mut Rng::with_seed(seed));
            assert_eq!(first_of_each(&platter)[..2], [1, 2]);
            assert!(platter.is_on());
        }
    }

    #[test]
    fn of_writes_to_one_sector_any_may_be_the_last_that_is_kept() {
        let mut seen = BTreeSet::new();
        for seed in 0..500 {
            let mut platter = platter(2);
            platter.write(0, &[9; SECTOR]).unwrap();
            platter.flush().unwrap();
            platter.write(0, &[1; 2 * SECTOR]).unwrap();
            platter.write(0, &[2; 2 * SECTOR]).unwrap();
            let (platter, fate) = platter.revive(&mut Rng::with_seed(seed));
            assert_eq!(fate.kept + fate.torn + fate.lost, 2);
            seen.insert(first_of_each(&platter));
        }
        let all: BTreeSet<Vec<u8>> = [9, 1, 2]
            .into_iter()
            .flat_map(|first| [0, 1, 2].map(|second| vec![first, second]))
            .collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn the_write_that_is_cut_may_be_kept_and_the_flush_that_is_cut_does_nothing() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let mut platter = platter(1);
            platter.cut_within(2);
            platter.flush().unwrap();
            assert_eq!(platter.write(0, &[1; SECTOR]), Err(Failed));
            assert_eq!(platter.write(0, &[2; SECTOR]), Err(Failed));
            assert_eq!(platter.flush(), Err(Failed));
            assert_eq!(platter.read(0, 1), Err(Failed));
            let (platter, _) = platter.revive(&mut Rng::with_seed(seed));
            seen.insert(first_of_each(&platter));
        }
        assert_eq!(seen, BTreeSet::from([vec![0], vec![1]]));
        let mut platter = platter(1);
        platter.write(0, &[1; SECTOR]).unwrap();
        platter.cut_within(1);
        assert_eq!(platter.flush(), Err(Failed));
        let (platter, fate) = platter.revive_flushed();
        assert_eq!((first_of_each(&platter), fate.lost), (vec![0], 1));
    }

    #[test]
    fn sectors_are_those_of_the_disk() {
        assert_eq!(sectors(512, 1024), [(512, 1024), (1024, 1536)]);
        assert_eq!(sectors(500, 20), [(500, 512), (512, 520)]);
        assert_eq!(sectors(7, 5), [(7, 12)]);
    }
}
