//! Rows to groups, and what is computed for each group: `summarize`, `distinct`, `count`.
//!
//! The keys of a group are encoded one after the other into bytes, and those looked up in an
//! [`Interner`]: two million groups of one id each take some 60 bytes a group.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::super::values::{Shape, Values};
use super::chunk::{Chunk, Column};
use super::expression::{Expr, Scalar};

/// What is computed for a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Aggregate {
    /// `count()`
    Count,
    /// `countif(…)`
    CountIf(Expr),
    /// `dcount(…)`, exact
    CountDistinct(Expr),
    /// `sum(…)` of this shape
    Sum(Expr, Shape),
    /// `avg(…)`
    Average(Expr),
    /// `min(…)` of this shape
    Least(Expr, Shape),
    /// `max(…)` of this shape
    Greatest(Expr, Shape),
    /// `take_any(…)` of this shape: the first that comes
    Any(Expr, Shape),
    /// A value of the row with the least, or greatest, key: `arg_min(…)`, `arg_max(…)`
    Of(Box<Of>),
    /// `percentile(…)`, exact: the least value that so many percent of all do not pass
    Percentile(Expr, f64, Shape),
}

/// A value of one row of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Of {
    /// By which the row is chosen; the first of several that are equal.
    pub key: Expr,
    /// The greatest and not the least.
    pub greatest: bool,
    /// What is taken of the row.
    pub value: Expr,
    /// Its shape.
    pub shape: Shape,
}

/// Byte strings, each with a number of its own, counted from 0 in the order in which they came.
#[derive(Debug, Default)]
pub struct Interner {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hashes: Vec<u64>,
    /// Number + 1, or 0 for none; as many as a power of two, at most half of them taken.
    slots: Vec<u32>,
    hasher: RandomState,
}

impl Interner {
    /// The number of a key, and whether it is new.
    pub fn intern(&mut self, key: &[u8]) -> (usize, bool) {
        if self.ends.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = self.hasher.hash_one(key);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while let Some(number) = (self.slots[slot] as usize).checked_sub(1) {
            if self.hashes[number] == hash && self.key(number) == key {
                return (number, false);
            }
            slot = (slot + 1) & mask;
        }
        let number = self.ends.len();
        self.slots[slot] = u32::try_from(number + 1).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.hashes.push(hash);
        (number, true)
    }

    /// A key by its number.
    #[must_use]
    pub fn key(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }

    /// How many keys.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(64);
        self.slots = vec![0; slots];
        let mask = slots - 1;
        for (number, hash) in self.hashes.iter().enumerate() {
            let mut slot = *hash as usize & mask;
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = u32::try_from(number + 1).unwrap_or(u32::MAX);
        }
    }
}

/// One aggregate's state, by group.
#[derive(Debug)]
enum State {
    Counts(Vec<i64>),
    Distinct(Interner, Vec<i64>),
    Averages(Vec<(f64, i64)>),
    Scalars(Vec<Scalar<'static>>),
    /// Key and value of the row that leads.
    Leaders(Vec<(Scalar<'static>, Scalar<'static>)>),
    /// All values, and the percentile that is asked for.
    All(Vec<Vec<f64>>, f64),
}

/// Groups rows.
#[derive(Debug)]
pub struct Grouping<'p> {
    keys: &'p [Expr],
    aggregates: &'p [Aggregate],
    groups: Interner,
    states: Vec<State>,
    key: Vec<u8>,
}

impl<'p> Grouping<'p> {
    /// No rows yet.
    #[must_use]
    pub fn new(keys: &'p [Expr], aggregates: &'p [Aggregate]) -> Self {
        let state = |aggregate: &Aggregate| match aggregate {
            Aggregate::Count | Aggregate::CountIf(_) => State::Counts(Vec::new()),
            Aggregate::CountDistinct(_) => State::Distinct(Interner::default(), Vec::new()),
            Aggregate::Average(_) => State::Averages(Vec::new()),
            Aggregate::Sum(..)
            | Aggregate::Least(..)
            | Aggregate::Greatest(..)
            | Aggregate::Any(..) => State::Scalars(Vec::new()),
            Aggregate::Of(_) => State::Leaders(Vec::new()),
            Aggregate::Percentile(_, percent, _) => State::All(Vec::new(), *percent),
        };
        let mut grouping = Grouping {
            keys,
            aggregates,
            groups: Interner::default(),
            states: aggregates.iter().map(state).collect(),
            key: Vec::new(),
        };
        if keys.is_empty() {
            // without `by` there is one group, even of no rows
            grouping.group(&[]);
        }
        grouping
    }

    fn group(&mut self, key: &[u8]) -> usize {
        let (number, is_new) = self.groups.intern(key);
        if is_new {
            for state in &mut self.states {
                match state {
                    State::Counts(counts) | State::Distinct(_, counts) => counts.push(0),
                    State::Averages(averages) => averages.push((0.0, 0)),
                    State::Scalars(scalars) => scalars.push(Scalar::Null),
                    State::Leaders(leaders) => leaders.push((Scalar::Null, Scalar::Null)),
                    State::All(all, _) => all.push(Vec::new()),
                }
            }
        }
        number
    }

    /// Takes the rows of a chunk.
    pub fn add(&mut self, chunk: &Chunk) {
        let mut key = std::mem::take(&mut self.key);
        for row in &chunk.rows {
            let row = *row as usize;
            key.clear();
            for expr in self.keys {
                write_key(&expr.value(chunk, row), &mut key);
            }
            let group = if self.keys.is_empty() {
                0
            } else {
                self.group(&key)
            };
            for (aggregate, state) in self.aggregates.iter().zip(&mut self.states) {
                add_row(aggregate, state, group, chunk, row, &mut key);
            }
        }
        self.key = key;
    }

    /// The groups in the order in which they came: their keys, then what was computed. `shapes` are
    /// those of the columns.
    #[must_use]
    pub fn finish(self, shapes: &[Shape]) -> Chunk {
        let count = self.groups.count();
        let (key_shapes, state_shapes) = shapes.split_at(self.keys.len().min(shapes.len()));
        let mut columns: Vec<Values> = key_shapes
            .iter()
            .map(|shape| Values::empty(*shape))
            .collect();
        for number in 0..count {
            let mut rest = self.groups.key(number);
            for column in &mut columns {
                push_key(column, &mut rest);
            }
        }
        for (state, shape) in self.states.into_iter().zip(state_shapes) {
            columns.push(state_column(state, *shape));
        }
        let columns = columns.into_iter().map(Column::ready).collect();
        Chunk::of(columns, count)
    }
}

fn add_row(
    aggregate: &Aggregate,
    state: &mut State,
    group: usize,
    chunk: &Chunk,
    row: usize,
    key: &mut Vec<u8>,
) {
    match (aggregate, state) {
        (Aggregate::Count, State::Counts(counts)) => counts[group] += 1,
        (Aggregate::CountIf(expr), State::Counts(counts)) => {
            counts[group] += i64::from(expr.value(chunk, row).is_true());
        }
        (Aggregate::CountDistinct(expr), State::Distinct(seen, counts)) => {
            let value = expr.value(chunk, row);
            // as in Kusto: absent values are not counted
            if value != Scalar::Null {
                key.clear();
                key.extend_from_slice(&group.to_le_bytes());
                write_key(&value, key);
                counts[group] += i64::from(seen.intern(key).1);
            }
        }
        (Aggregate::Average(expr), State::Averages(averages)) => {
            if let Some(real) = expr.value(chunk, row).as_real() {
                averages[group].0 += real;
                averages[group].1 += 1;
            }
        }
        (Aggregate::Sum(expr, shape), State::Scalars(sums)) => {
            let value = expr.value(chunk, row);
            let sum = &mut sums[group];
            *sum = match (&*sum, value) {
                (_, Scalar::Null) => return,
                (Scalar::Whole(sum), Scalar::Whole(value)) => {
                    Scalar::Whole(sum.saturating_add(value))
                }
                (Scalar::Null, Scalar::Whole(value)) if *shape == Shape::Whole => {
                    Scalar::Whole(value)
                }
                (sum, value) => {
                    Scalar::Real(sum.as_real().unwrap_or(0.0) + value.as_real().unwrap_or(0.0))
                }
            };
        }
        (Aggregate::Least(expr, _), State::Scalars(least)) => {
            keep_if(
                &mut least[group],
                &expr.value(chunk, row),
                std::cmp::Ordering::is_lt,
            );
        }
        (Aggregate::Greatest(expr, _), State::Scalars(greatest)) => {
            keep_if(
                &mut greatest[group],
                &expr.value(chunk, row),
                std::cmp::Ordering::is_gt,
            );
        }
        (Aggregate::Any(expr, _), State::Scalars(first)) => {
            keep_if(&mut first[group], &expr.value(chunk, row), |_| false);
        }
        (Aggregate::Of(of), State::Leaders(leaders)) => {
            let (leader, value) = &mut leaders[group];
            let key = of.key.value(chunk, row);
            let order = key.order(leader);
            let leads = match of.greatest {
                true => order.is_gt(),
                false => order.is_lt(),
            };
            if key != Scalar::Null && (*leader == Scalar::Null || leads) {
                *leader = key.into_owned();
                *value = of.value.value(chunk, row).into_owned();
            }
        }
        (Aggregate::Percentile(expr, ..), State::All(all, _)) => {
            all[group].extend(expr.value(chunk, row).as_real());
        }
        _ => {}
    }
}

fn keep_if(kept: &mut Scalar<'static>, value: &Scalar<'_>, better: fn(std::cmp::Ordering) -> bool) {
    if *value != Scalar::Null && (*kept == Scalar::Null || better(value.order(kept))) {
        *kept = value.clone().into_owned();
    }
}

fn state_column(state: State, shape: Shape) -> Values {
    match (state, shape) {
        (State::Counts(counts) | State::Distinct(_, counts), _) => {
            Values::Whole(counts.into_iter().map(Some).collect())
        }
        (State::Averages(averages), _) => {
            let mean = |(sum, count): (f64, i64)| (count > 0).then(|| sum / count as f64);
            Values::Real(averages.into_iter().map(mean).collect())
        }
        (State::Leaders(leaders), shape) => {
            let mut column = Values::empty(shape);
            for (_, value) in &leaders {
                push_scalar(&mut column, value);
            }
            column
        }
        (State::All(all, percent), shape) => {
            let mut column = Values::empty(shape);
            for values in all {
                push_scalar(&mut column, &percentile(values, percent, shape));
            }
            column
        }
        (State::Scalars(scalars), shape) => {
            let mut column = Values::empty(shape);
            for scalar in &scalars {
                push_scalar(&mut column, scalar);
            }
            column
        }
    }
}

/// By the nearest rank.
fn percentile(mut values: Vec<f64>, percent: f64, shape: Shape) -> Scalar<'static> {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    match (values.get(rank.saturating_sub(1)), shape) {
        (Some(value), Shape::Real) => Scalar::Real(*value),
        (Some(value), _) => Scalar::Whole(*value as i64),
        (None, _) => Scalar::Null,
    }
}

/// Appends a value; one of another shape is absent.
pub fn push_scalar(column: &mut Values, scalar: &Scalar<'_>) {
    match (&mut *column, scalar) {
        (Values::Text(texts), Scalar::Text(text)) => texts.push(text),
        (Values::Whole(wholes), Scalar::Whole(whole)) => wholes.push(Some(*whole)),
        (Values::Real(reals), _) => reals.push(scalar.as_real()),
        _ => column.pad(column.rows_count() + 1),
    }
}

/// A tag for the shape, then eight bytes, or the length and the bytes of a text.
fn write_key(scalar: &Scalar<'_>, key: &mut Vec<u8>) {
    match scalar {
        Scalar::Null => key.push(0),
        Scalar::Whole(whole) => {
            key.push(1);
            key.extend_from_slice(&whole.to_le_bytes());
        }
        Scalar::Real(real) => {
            key.push(2);
            key.extend_from_slice(&real.to_le_bytes());
        }
        Scalar::Text(text) => {
            key.push(3);
            key.extend_from_slice(&(text.len() as u64).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
    }
}

/// Takes one value from the front of a key that [`write_key`] wrote.
fn push_key(column: &mut Values, rest: &mut &[u8]) {
    let scalar = read_key(rest).unwrap_or(Scalar::Null);
    push_scalar(column, &scalar);
}

fn read_key<'k>(rest: &mut &'k [u8]) -> Option<Scalar<'k>> {
    let tag = *rest.split_off_first()?;
    if tag == 0 {
        return Some(Scalar::Null);
    }
    let number: [u8; 8] = *rest.split_off(..8)?.first_chunk()?;
    match tag {
        1 => Some(Scalar::Whole(i64::from_le_bytes(number))),
        2 => Some(Scalar::Real(f64::from_le_bytes(number))),
        _ => {
            let length = usize::try_from(u64::from_le_bytes(number)).ok()?;
            let text = std::str::from_utf8(rest.split_off(..length)?).ok()?;
            Some(Scalar::Text(Cow::Borrowed(text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interner_numbers_each_key_once() {
        let mut interner = Interner::default();
        for n in 0..10_000u32 {
            assert_eq!(interner.intern(&n.to_le_bytes()), (n as usize, true));
        }
        for n in 0..10_000u32 {
            assert_eq!(interner.intern(&n.to_le_bytes()), (n as usize, false));
            assert_eq!(interner.key(n as usize), n.to_le_bytes());
        }
        assert_eq!(interner.intern(b""), (10_000, true));
        assert_eq!(interner.key(10_000), b"");
    }

    #[test]
    fn keys_come_back_as_they_were() {
        let mut key = Vec::new();
        let all = [
            Scalar::Null,
            Scalar::Whole(-1),
            Scalar::Real(0.5),
            Scalar::Text("ü".into()),
            Scalar::Text("".into()),
        ];
        for scalar in &all {
            write_key(scalar, &mut key);
        }
        let mut rest = key.as_slice();
        for scalar in &all {
            assert_eq!(read_key(&mut rest).as_ref(), Some(scalar));
        }
        assert!(rest.is_empty());
    }
}
