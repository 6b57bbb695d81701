//! Runs a plan over a snapshot.
//!
//! Steps that look at one row at a time are applied to chunk after chunk; a step that needs to see
//! them all (`Take`, `Top`, `Group`) gathers, and what it hands on feeds the next. A `Top` by
//! `TimeGenerated` goes through the blocks from the newest on and stops when the rest of them
//! cannot matter.

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::table::{Block, Schema, Snapshot, TABLE};
use super::super::values::{Shape, Values};
use super::chunk::{Chunk, Column, Picks};
use super::expression::{Expr, Scalar, Type, scalar_text};
use super::group::{Grouping, push_scalar};
use super::plan::{Head, Key, Plan, Step};
use crate::limits::{QUERY_ANSWER_BYTES_MAX, QUERY_ANSWER_ROWS_MAX};

/// An answer: a table of its own.
#[derive(Debug)]
pub struct Answer {
    /// Its columns.
    pub columns: Vec<AnswerColumn>,
    /// How many rows it has.
    pub rows_count: usize,
    /// True if there would have been more rows.
    pub is_cut: bool,
    values: Vec<Values>,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Type,
}

impl Answer {
    /// One value, as the query API writes it: times as text, absent numbers as null.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> Value {
        let (Some(values), Some(head)) = (self.values.get(column), self.columns.get(column)) else {
            return Value::Null;
        };
        match (values, head.kind) {
            (Values::Text(texts), _) => Value::from(texts.get(row)),
            (Values::Real(reals), _) => match reals.get(row).copied().flatten() {
                Some(real) if !real.is_finite() => Value::from(real.to_string()),
                real => Value::from(real),
            },
            (Values::Whole(wholes), kind) => match (wholes.get(row).copied().flatten(), kind) {
                (None, _) => Value::Null,
                (Some(whole), Type::Bool) => Value::from(whole != 0),
                (Some(whole), Type::DateTime | Type::Span) => {
                    Value::from(scalar_text(&Scalar::Whole(whole), kind))
                }
                (Some(whole), _) => Value::from(whole),
            },
        }
    }

    /// All rows, as the query API writes them.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<Value>> {
        let row = |row| {
            (0..self.columns.len())
                .map(|column| self.cell(row, column))
                .collect()
        };
        (0..self.rows_count).map(row).collect()
    }

    /// The answer of the query API. Rows that would make it too long are left out, and the answer
    /// then says so as the real one does.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let heads: Vec<Value> = self
            .columns
            .iter()
            .map(|column| json!({"name": column.name, "type": column.kind.name()}))
            .collect();
        let mut out = b"{\"tables\":[{\"name\":\"PrimaryResult\",\"columns\":".to_vec();
        out.extend_from_slice(Value::from(heads).to_string().as_bytes());
        out.extend_from_slice(b",\"rows\":[");
        let mut is_cut = self.is_cut;
        for row in 0..self.rows_count {
            if out.len() > QUERY_ANSWER_BYTES_MAX {
                is_cut = true;
                break;
            }
            if row > 0 {
                out.push(b',');
            }
            let cells: Vec<Value> = (0..self.columns.len())
                .map(|column| self.cell(row, column))
                .collect();
            out.extend_from_slice(Value::from(cells).to_string().as_bytes());
        }
        out.extend_from_slice(b"]}]");
        if is_cut {
            let error = json!({
                "code": "PartialError",
                "message": "There were some errors when processing your query.",
                "details": [{"code": "EngineError", "message": format!(
                    "Too large: only the first rows are here, at most {QUERY_ANSWER_ROWS_MAX} rows \
                     or {QUERY_ANSWER_BYTES_MAX} bytes. Summarize, project or take fewer."
                )}],
            });
            out.extend_from_slice(b",\"error\":");
            out.extend_from_slice(error.to_string().as_bytes());
        }
        out.push(b'}');
        out
    }
}

/// What feeds a step.
enum Feed {
    Block(Arc<Block>, usize),
    Chunk(Chunk),
}

/// Runs a plan. `between` are the least and greatest `TimeGenerated` that count, in nanoseconds
/// since 1970.
#[must_use]
pub fn run(
    plan: &Plan,
    snapshot: &Snapshot,
    schema: &Schema,
    between: Option<(i64, i64)>,
) -> Answer {
    let source = Source {
        shapes: schema
            .columns()
            .iter()
            .map(|column| super::super::table::shape(column.kind))
            .collect(),
        type_index: schema.index("Type"),
        time_index: schema.time_index(),
        between,
    };
    let blocks = snapshot.iter().enumerate();
    let mut feeds: Vec<Feed> = blocks
        .map(|(at, block)| Feed::Block(Arc::clone(block), at))
        .collect();
    let last = [Step::Take(QUERY_ANSWER_ROWS_MAX + 1)];
    let mut local: Vec<&Step> = Vec::new();
    for step in plan.steps.iter().chain(&last) {
        match step {
            Step::Where(_) | Step::Columns(_) => local.push(step),
            Step::Take(_) | Step::Top { .. } | Step::Group { .. } => {
                let by_time = leads_by_time(step, &local, source.time_index);
                if by_time {
                    newest_first(&mut feeds);
                }
                feeds = gather(step, feeds, &local, &source, by_time);
                local.clear();
            }
        }
    }
    collect(plan, feeds)
}

/// True for an order by `TimeGenerated`, greatest first, of the table's own rows.
fn leads_by_time(step: &Step, local: &[&Step], time_index: usize) -> bool {
    let Step::Top { keys, .. } = step else {
        return false;
    };
    let first = keys.first();
    first.is_some_and(|key| {
        key.expr == Expr::Column(time_index) && !key.ascending && !key.nulls_first
    }) && local.iter().all(|step| matches!(step, Step::Where(_)))
}

fn newest_first(feeds: &mut [Feed]) {
    feeds.sort_by_key(|feed| match feed {
        Feed::Block(block, _) => std::cmp::Reverse(block.times().map(|(_, newest)| newest)),
        Feed::Chunk(_) => std::cmp::Reverse(None),
    });
}

struct Source {
    shapes: Vec<Shape>,
    type_index: Option<usize>,
    time_index: usize,
    between: Option<(i64, i64)>,
}

impl Source {
    fn chunk(&self, feed: Feed) -> Chunk {
        let block = match feed {
            Feed::Chunk(chunk) => return chunk,
            Feed::Block(block, _) => block,
        };
        let mut chunk = Chunk::of_block(&block, &self.shapes, (self.type_index, TABLE));
        if let Some((least, greatest)) = self.between {
            let mut rows = std::mem::take(&mut chunk.rows);
            if let Some(Values::Whole(times)) = chunk.values(self.time_index) {
                rows.retain(|row| {
                    let time = times.get(*row as usize).copied().flatten();
                    time.is_some_and(|time| (least..=greatest).contains(&time))
                });
            }
            chunk.rows = rows;
        }
        chunk
    }
}

fn apply(step: &Step, mut chunk: Chunk) -> Chunk {
    match step {
        Step::Where(condition) => {
            let mut rows = std::mem::take(&mut chunk.rows);
            rows.retain(|row| condition.value(&chunk, *row as usize).is_true());
            chunk.rows = rows;
            chunk
        }
        Step::Columns(columns) => {
            let made = columns
                .iter()
                .map(|(expr, shape)| column(expr, *shape, &chunk))
                .collect();
            chunk.with_columns(made)
        }
        Step::Take(_) | Step::Top { .. } | Step::Group { .. } => chunk,
    }
}

/// A column of an expression's values; a bare column is handed on as it is, unpacked or not.
fn column(expr: &Expr, shape: Shape, chunk: &Chunk) -> Rc<Column> {
    if let Expr::Column(index) = expr
        && let Some(column) = chunk.column(*index)
    {
        return Rc::clone(column);
    }
    let mut values = Values::empty(shape);
    for row in &chunk.rows {
        // rows that are no longer wanted keep their places, without a value
        values.pad(*row as usize);
        push_scalar(&mut values, &expr.value(chunk, *row as usize));
    }
    values.pad(chunk.rows_count());
    Column::ready(values)
}

fn gather(
    step: &Step,
    feeds: Vec<Feed>,
    local: &[&Step],
    source: &Source,
    by_time: bool,
) -> Vec<Feed> {
    let mut gathering = Gathering::new(step);
    for (position, feed) in feeds.into_iter().enumerate() {
        if gathering.is_done(&feed, by_time) {
            break;
        }
        let position = match feed {
            Feed::Block(_, at) => at,
            Feed::Chunk(_) => position,
        };
        let chunk = local
            .iter()
            .fold(source.chunk(feed), |chunk, step| apply(step, chunk));
        gathering.add(chunk, position);
    }
    gathering.finish()
}

enum Gathering<'p> {
    Take(usize, Vec<Chunk>),
    Top(Top<'p>),
    Group(Grouping<'p>, &'p [Shape]),
}

impl<'p> Gathering<'p> {
    fn new(step: &'p Step) -> Self {
        match step {
            Step::Take(count) => Gathering::Take(*count, Vec::new()),
            Step::Top {
                count,
                keys,
                shapes,
            } => Gathering::Top(Top::new(*count, keys, shapes)),
            Step::Group {
                keys,
                aggregates,
                shapes,
            } => Gathering::Group(Grouping::new(keys, aggregates), shapes),
            Step::Where(_) | Step::Columns(_) => Gathering::Take(usize::MAX, Vec::new()),
        }
    }

    /// True if neither this feed nor any behind it can matter.
    fn is_done(&self, next: &Feed, by_time: bool) -> bool {
        match (self, next) {
            (Gathering::Take(left, _), _) => *left == 0,
            (Gathering::Top(top), _) if top.count == 0 => true,
            (Gathering::Top(top), Feed::Block(block, _)) if by_time => {
                let newest = block.times().map_or(i64::MIN, |(_, newest)| newest);
                top.is_past(newest)
            }
            _ => false,
        }
    }

    fn add(&mut self, mut chunk: Chunk, position: usize) {
        match self {
            Gathering::Take(left, chunks) => {
                chunk.rows.truncate(*left);
                *left -= chunk.rows.len();
                if !chunk.rows.is_empty() {
                    chunks.push(chunk);
                }
            }
            Gathering::Top(top) => top.add(chunk, position),
            Gathering::Group(grouping, _) => grouping.add(&chunk),
        }
    }

    fn finish(self) -> Vec<Feed> {
        match self {
            Gathering::Take(_, chunks) => chunks.into_iter().map(Feed::Chunk).collect(),
            Gathering::Top(top) => vec![Feed::Chunk(top.finish())],
            Gathering::Group(grouping, shapes) => vec![Feed::Chunk(grouping.finish(shapes))],
        }
    }
}

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
struct Top<'p> {
    count: usize,
    order: &'p [Key],
    shapes: &'p [Shape],
    /// At most twice `count`; the first `sorted` of them are in order and the best so far.
    candidates: Vec<Candidate>,
    sorted: usize,
    chunks: Vec<Chunk>,
}

impl<'p> Top<'p> {
    fn new(count: usize, order: &'p [Key], shapes: &'p [Shape]) -> Self {
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

    fn is_past(&self, newest: i64) -> bool {
        let key = self.worst().and_then(|worst| worst.keys.first());
        matches!(key, Some(Scalar::Whole(time)) if *time > newest)
    }

    fn add(&mut self, chunk: Chunk, position: usize) {
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

    fn finish(mut self) -> Chunk {
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

fn collect(plan: &Plan, feeds: Vec<Feed>) -> Answer {
    let chunks: Vec<Chunk> = feeds
        .into_iter()
        .filter_map(|feed| match feed {
            Feed::Chunk(chunk) => Some(chunk),
            Feed::Block(..) => None,
        })
        .collect();
    let found: usize = chunks.iter().map(|chunk| chunk.rows.len()).sum();
    let rows_count = found.min(QUERY_ANSWER_ROWS_MAX);
    let heads = plan.heads.iter().enumerate();
    let values = heads.map(|(index, head)| {
        let mut values = Values::empty(head.kind.shape());
        for chunk in &chunks {
            let Some(column) = chunk.column(index) else {
                continue;
            };
            let from = column.values_once();
            for row in &chunk.rows {
                values.push_from(&from, *row as usize);
            }
        }
        values.pad(rows_count);
        values
    });
    Answer {
        values: values.collect(),
        columns: plan
            .heads
            .iter()
            .map(|Head { name, kind }| AnswerColumn {
                name: name.clone(),
                kind: *kind,
            })
            .collect(),
        rows_count,
        is_cut: found > rows_count,
    }
}
