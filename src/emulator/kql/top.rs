//! The first so many rows in an order, without holding more than twice as many.

use std::cmp::Ordering;

use super::super::values::Shape;
use super::chunk::{Chunk, Picks};
use super::expression::Scalar;
use super::plan::Key;

/// A row that may be among the first.
struct Candidate {
    keys: Vec<Scalar<'static>>,
    /// Place of its chunk among those kept, and of its row there.
    at: (u32, u32),
    /// Place in the table, to settle a draw.
    place: (usize, u32),
}

/// Below so many rows in order it pays to look after each chunk which chunks are still wanted.
const FORGET_BELOW: usize = 10_000;

/// The first so many rows in an order.
pub(super) struct Top<'p> {
    count: usize,
    order: &'p [Key],
    shapes: &'p [Shape],
    /// At most twice `count`; the first `sorted` of them are in order and the best so far.
    candidates: Vec<Candidate>,
    sorted: usize,
    chunks: Vec<Chunk>,
}

impl<'p> Top<'p> {
    /// No rows yet.
    pub(super) fn new(count: usize, order: &'p [Key], shapes: &'p [Shape]) -> Self {
        Top {
            count,
            order,
            shapes,
            candidates: Vec::new(),
            sorted: 0,
            chunks: Vec::new(),
        }
    }

    /// The last of the best, if there are enough of them.
    fn worst(&self) -> Option<&Candidate> {
        let last = self.count.checked_sub(1)?;
        (self.sorted == self.count)
            .then(|| self.candidates.get(last))
            .flatten()
    }

    /// True if no row is wanted.
    pub(super) fn is_full(&self) -> bool {
        self.count == 0
    }

    /// True if the newest of some rows is older than the last of the best.
    pub(super) fn is_past(&self, newest: i64) -> bool {
        let key = self.worst().and_then(|worst| worst.keys.first());
        matches!(key, Some(Scalar::Whole(time)) if *time > newest)
    }

    /// Takes the rows of a chunk, whose place in the table is `position`.
    pub(super) fn add(&mut self, chunk: Chunk, position: usize) {
        let chunk_at = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        for row in &chunk.rows {
            let keys: Vec<Scalar<'_>> = self
                .order
                .iter()
                .map(|key| key.expr.value(&chunk, *row as usize))
                .collect();
            let place = (position, *row);
            if let Some(worst) = self.worst()
                && compare(self.order, (&keys, place), (&worst.keys, worst.place)).is_ge()
            {
                continue;
            }
            self.candidates.push(Candidate {
                keys: keys.into_iter().map(Scalar::into_owned).collect(),
                at: (chunk_at, *row),
                place,
            });
            // once as soon as there are enough, then whenever as many again have gathered
            let due = if self.sorted < self.count {
                self.count
            } else {
                self.count.saturating_mul(2)
            };
            if self.candidates.len() >= due {
                self.sort();
            }
        }
        self.chunks.push(chunk);
        if self.count < FORGET_BELOW {
            self.forget_chunks();
        }
    }

    fn sort(&mut self) {
        let order = self.order;
        self.candidates
            .sort_by(|one, two| compare(order, (&one.keys, one.place), (&two.keys, two.place)));
        self.candidates.truncate(self.count);
        self.sorted = self.candidates.len();
    }

    /// Empties the chunks of which no row is left.
    fn forget_chunks(&mut self) {
        let mut wanted = vec![false; self.chunks.len()];
        for candidate in &self.candidates {
            if let Some(wanted) = wanted.get_mut(candidate.at.0 as usize) {
                *wanted = true;
            }
        }
        for (chunk, _) in self
            .chunks
            .iter_mut()
            .zip(&wanted)
            .filter(|(_, wanted)| !**wanted)
        {
            *chunk = Chunk::default();
        }
    }

    /// The rows in order.
    pub(super) fn finish(mut self) -> Chunk {
        self.sort();
        let rows = self
            .candidates
            .iter()
            .map(|candidate| candidate.at)
            .collect();
        let picks = Picks {
            chunks: self.chunks,
            rows,
        };
        Chunk::of_picks(picks, self.shapes)
    }
}

/// The order of two rows by their keys. A draw goes by the place in the table, in the direction of
/// the first key: so the newest first means the last to arrive first.
fn compare(
    order: &[Key],
    one: (&[Scalar<'_>], (usize, u32)),
    two: (&[Scalar<'_>], (usize, u32)),
) -> Ordering {
    for (key, (left, right)) in order.iter().zip(one.0.iter().zip(two.0)) {
        let nulls = match (left, right) {
            (Scalar::Null, Scalar::Null) => Ordering::Equal,
            (Scalar::Null, _) if key.nulls_first => Ordering::Less,
            (Scalar::Null, _) => Ordering::Greater,
            (_, Scalar::Null) if key.nulls_first => Ordering::Greater,
            (_, Scalar::Null) => Ordering::Less,
            _ if key.ascending => left.order(right),
            _ => right.order(left),
        };
        if nulls.is_ne() {
            return nulls;
        }
    }
    match order.first() {
        Some(key) if !key.ascending => two.1.cmp(&one.1),
        _ => one.1.cmp(&two.1),
    }
}
