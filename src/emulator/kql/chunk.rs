//! A chunk: some rows by column, each column unpacked when it is first looked at.
//!
//! The steps of a query hand chunks on. A chunk over a block of the table names every column and
//! has none of them in memory; one behind an `order by` names where each of its rows came from. So
//! a query pays for the columns that it looks at. Values may be fewer than rows: those behind are
//! absent, so a column that no row has costs nothing.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use super::super::table::Block;
use super::super::values::{Shape, Texts, Values};

/// Rows, and those among them that are still wanted.
#[derive(Debug, Default)]
pub struct Chunk {
    columns: Vec<Rc<Column>>,
    rows_count: usize,
    /// Places of the rows that are wanted, in order; all below `rows_count`.
    pub rows: Vec<u32>,
}

/// A column that may not be in memory yet.
#[derive(Debug)]
pub struct Column {
    values: OnceCell<Arc<Values>>,
    source: Source,
    shape: Shape,
    rows_count: usize,
}

#[derive(Debug)]
enum Source {
    /// Already there.
    Ready,
    /// The same text in each row.
    Same(&'static str),
    /// A column of a block.
    Block(Arc<Block>, usize),
    /// Rows picked out of other chunks.
    Picks(Rc<Picks>, usize),
}

/// Rows out of several chunks, in an order of their own.
#[derive(Debug)]
pub struct Picks {
    /// The chunks.
    pub chunks: Vec<Chunk>,
    /// Chunk and row.
    pub rows: Vec<(u32, u32)>,
}

impl Column {
    /// A column that is in memory.
    #[must_use]
    pub fn ready(values: Values) -> Rc<Self> {
        let (shape, rows_count) = (values.shape(), values.rows_count());
        let column = Column {
            values: OnceCell::from(Arc::new(values)),
            source: Source::Ready,
            shape,
            rows_count,
        };
        Rc::new(column)
    }

    /// The values, kept for the next time.
    #[must_use]
    pub fn values(&self) -> &Values {
        self.values.get_or_init(|| self.load())
    }

    /// The values, not kept: for looking at each chunk once.
    #[must_use]
    pub fn values_once(&self) -> Arc<Values> {
        self.values.get().map_or_else(|| self.load(), Arc::clone)
    }

    fn load(&self) -> Arc<Values> {
        let absent = || Arc::new(Values::empty(self.shape));
        match &self.source {
            Source::Ready => absent(),
            Source::Same(text) => {
                let mut texts = Texts::default();
                (0..self.rows_count).for_each(|_| texts.push(text));
                Arc::new(Values::Text(texts))
            }
            Source::Block(block, index) => block.column(*index).unwrap_or_else(absent),
            Source::Picks(picks, index) => Arc::new(picks.column(*index, self.shape)),
        }
    }
}

impl Picks {
    fn column(&self, index: usize, shape: Shape) -> Values {
        let mut loaded: Vec<Option<Arc<Values>>> = vec![None; self.chunks.len()];
        let mut out = Values::empty(shape);
        for (done, (chunk, row)) in self.rows.iter().enumerate() {
            let chunk = *chunk as usize;
            if let (Some(slot), Some(from)) = (loaded.get_mut(chunk), self.chunks.get(chunk)) {
                let values = match slot {
                    Some(values) => values,
                    None => match from.columns.get(index) {
                        Some(column) => slot.insert(column.values_once()),
                        None => continue,
                    },
                };
                out.push_from(values, *row as usize);
            }
            out.pad(done + 1);
        }
        out
    }
}

impl Chunk {
    /// All rows of a block. `same` is the place of the one column whose text is the same in each
    /// row, and that text.
    #[must_use]
    pub fn of_block(
        block: &Arc<Block>,
        shapes: &[Shape],
        same: (Option<usize>, &'static str),
    ) -> Self {
        let rows_count = block.rows_count();
        let column = |(index, shape): (usize, &Shape)| {
            let source = if Some(index) == same.0 {
                Source::Same(same.1)
            } else {
                Source::Block(Arc::clone(block), index)
            };
            Rc::new(Column {
                values: OnceCell::new(),
                source,
                shape: *shape,
                rows_count,
            })
        };
        Chunk::of(shapes.iter().enumerate().map(column).collect(), rows_count)
    }

    /// All rows of these columns.
    #[must_use]
    pub fn of(columns: Vec<Rc<Column>>, rows_count: usize) -> Self {
        Chunk {
            columns,
            rows_count,
            rows: (0..u32::try_from(rows_count).unwrap_or(u32::MAX)).collect(),
        }
    }

    /// The rows that were picked.
    #[must_use]
    pub fn of_picks(picks: Picks, shapes: &[Shape]) -> Self {
        let rows_count = picks.rows.len();
        let picks = Rc::new(picks);
        let column = |(index, shape): (usize, &Shape)| {
            Rc::new(Column {
                values: OnceCell::new(),
                source: Source::Picks(Rc::clone(&picks), index),
                shape: *shape,
                rows_count,
            })
        };
        Chunk::of(shapes.iter().enumerate().map(column).collect(), rows_count)
    }

    /// The same rows with other columns.
    #[must_use]
    pub fn with_columns(self, columns: Vec<Rc<Column>>) -> Self {
        Chunk { columns, ..self }
    }

    /// A column.
    #[must_use]
    pub fn column(&self, index: usize) -> Option<&Rc<Column>> {
        self.columns.get(index)
    }

    /// The values of a column, kept for the next time.
    #[must_use]
    pub fn values(&self, index: usize) -> Option<&Values> {
        self.columns.get(index).map(|column| column.values())
    }

    /// How many rows there are, wanted or not.
    #[must_use]
    pub fn rows_count(&self) -> usize {
        self.rows_count
    }
}
