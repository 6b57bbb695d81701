//! Runs a plan over a snapshot.
//!
//! Steps that look at one row at a time are applied to chunk after chunk; a step that needs to see
//! them all (`Take`, `Top`, `Group`) gathers, and what it hands on feeds the next. A `Top` by
//! `TimeGenerated` goes through the blocks from the newest on and stops when the rest of them
//! cannot matter.

use std::rc::Rc;
use std::sync::Arc;

use super::super::table::{Block, Schema, Snapshot, TABLE};
use super::super::values::{Shape, Values};
use super::answer::{Answer, AnswerColumn};
use super::bind::Head;
use super::chunk::{Chunk, Column};
use super::expression::Expr;
use super::group::{Grouping, push_scalar};
use super::plan::{Plan, Step};
use super::top::Top;
use crate::limits::QUERY_ANSWER_ROWS_MAX;

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
            // the time of receipt
            .chain([Shape::Whole])
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
            (Gathering::Top(top), _) if top.is_full() => true,
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
