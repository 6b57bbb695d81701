//! The table: rows typed by its columns, kept in packed blocks in the order in which they arrived.
//!
//! A body's rows are appended to the open block; once that holds `BLOCK_ROWS` it is packed and
//! closed. A query takes a [`Snapshot`], which shares the closed blocks and copies the open one, so
//! that it neither waits for ingestion nor holds it up. When more rows are kept than asked for, the
//! oldest block goes, and that is counted.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::values::{Packed, Packer, Shape, Values};
use crate::limits::EMULATOR_BLOCK_ROWS;
use crate::map::columns::{COLUMNS, Column, Kind, Origin};

/// The name of the table, as a query writes it.
pub const TABLE: &str = "CommonSecurityLog";
/// The column that every row has.
pub const TIME_COLUMN: &str = "TimeGenerated";

/// The table's columns, and which of them the stream declares.
#[derive(Debug)]
pub struct Schema {
    by_name: HashMap<&'static str, usize, BuildHasherDefault<NameHasher>>,
    time_index: usize,
}

impl Default for Schema {
    fn default() -> Self {
        let by_name: HashMap<_, _, _> = COLUMNS
            .iter()
            .enumerate()
            .map(|(index, column)| (column.name, index))
            .collect();
        let time_index = by_name.get(TIME_COLUMN).copied().unwrap_or_default();
        Schema {
            by_name,
            time_index,
        }
    }
}

impl Schema {
    /// All columns of the table.
    #[must_use]
    pub fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    /// The place of a column among [`Schema::columns`].
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A column that the stream declares: what the service fills itself is not among them.
    #[must_use]
    pub fn declared(&self, name: &str) -> Option<(usize, Kind)> {
        let index = self.index(name)?;
        let column = COLUMNS.get(index)?;
        (column.origin != Origin::Service).then_some((index, column.kind))
    }

    /// The place behind the columns, where the time of receipt is kept: `ingestion_time()`.
    #[must_use]
    pub fn received_index(&self) -> usize {
        COLUMNS.len()
    }

    /// The place of `TimeGenerated`.
    #[must_use]
    pub fn time_index(&self) -> usize {
        self.time_index
    }
}

/// How the values of a column of this kind are held.
#[must_use]
pub fn shape(kind: Kind) -> Shape {
    match kind {
        Kind::Text => Shape::Text,
        Kind::Int | Kind::Long | Kind::DateTime => Shape::Whole,
        Kind::Real => Shape::Real,
    }
}

/// FNV-1a: names are short, and known beforehand but for those of a hostile body, which are only
/// looked up and never stored.
#[derive(Debug)]
pub struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> Self {
        NameHasher(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Rows by column. A column that no row has is not there.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// By the table's columns, and the time of receipt; each as long as `rows_count` or not there.
    pub columns: Vec<Option<Values>>,
    /// How many rows.
    pub rows_count: usize,
}

impl Rows {
    fn append(&mut self, other: &Rows) {
        let before = self.rows_count;
        self.rows_count = before.saturating_add(other.rows_count);
        if self.columns.len() < other.columns.len() {
            self.columns.resize(other.columns.len(), None);
        }
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            let Some(theirs) = theirs else { continue };
            let mine = mine.get_or_insert_with(|| Values::empty(theirs.shape()));
            mine.pad(before);
            mine.append(theirs);
        }
    }

    fn even_out(&mut self) {
        for column in self.columns.iter_mut().flatten() {
            column.pad(self.rows_count);
        }
    }
}

/// One column of a block.
#[derive(Debug)]
enum Stored {
    Packed(Packed),
    Plain(Arc<Values>),
}

/// Rows that do not change any more.
#[derive(Debug)]
pub struct Block {
    columns: Vec<Option<Stored>>,
    rows_count: usize,
    /// Least and greatest `TimeGenerated`, nanoseconds since 1970; nothing if no row has one.
    times: Option<(i64, i64)>,
}

impl Block {
    /// How many rows.
    #[must_use]
    pub fn rows_count(&self) -> usize {
        self.rows_count
    }

    /// Least and greatest `TimeGenerated`, nanoseconds since 1970.
    #[must_use]
    pub fn times(&self) -> Option<(i64, i64)> {
        self.times
    }

    /// The values of a column; nothing if no row has any.
    #[must_use]
    pub fn column(&self, index: usize) -> Option<Arc<Values>> {
        match self.columns.get(index)?.as_ref()? {
            Stored::Packed(packed) => Some(Arc::new(packed.unpack())),
            Stored::Plain(values) => Some(Arc::clone(values)),
        }
    }

    fn close(mut rows: Rows, times: Option<(i64, i64)>, mut packer: Option<&mut Packer>) -> Block {
        rows.even_out();
        let columns = rows
            .columns
            .into_iter()
            .map(|column| {
                let values = column?;
                let packed = packer.as_mut().and_then(|packer| packer.pack(&values));
                Some(packed.map_or_else(|| Stored::Plain(Arc::new(values)), Stored::Packed))
            })
            .collect();
        Block {
            columns,
            rows_count: rows.rows_count,
            times,
        }
    }

    fn packed_bytes(&self) -> usize {
        let packed = |stored: &Stored| match stored {
            Stored::Packed(packed) => packed.bytes_len(),
            Stored::Plain(_) => 0,
        };
        self.columns.iter().flatten().map(packed).sum()
    }
}

/// What a query sees: the table at one moment.
pub type Snapshot = Vec<Arc<Block>>;

/// The rows that were accepted.
#[derive(Debug)]
pub struct Table {
    closed: std::collections::VecDeque<Arc<Block>>,
    open: Rows,
    open_times: Option<(i64, i64)>,
    packer: Packer,
    rows_count_max: usize,
    /// Rows in `closed` and `open` together.
    rows_count: usize,
    packed_bytes: usize,
    time_index: usize,
}

impl Table {
    /// An empty table that keeps so many rows, or up to a block more.
    #[must_use]
    pub fn new(rows_count_max: usize) -> Self {
        Table {
            closed: std::collections::VecDeque::new(),
            open: Rows::default(),
            open_times: None,
            packer: Packer::default(),
            rows_count_max,
            rows_count: 0,
            packed_bytes: 0,
            time_index: Schema::default().time_index(),
        }
    }

    /// Takes the rows of one body. Says how many old ones went to make room.
    pub fn append(&mut self, rows: &Rows) -> usize {
        let times = rows.columns.get(self.time_index).and_then(Option::as_ref);
        if let Some(Values::Whole(times)) = times {
            for time in times.iter().flatten() {
                let (least, greatest) = self.open_times.get_or_insert((*time, *time));
                *least = (*least).min(*time);
                *greatest = (*greatest).max(*time);
            }
        }
        self.open.append(rows);
        self.rows_count = self.rows_count.saturating_add(rows.rows_count);
        if self.open.rows_count >= EMULATOR_BLOCK_ROWS {
            let rows = std::mem::take(&mut self.open);
            let block = Block::close(rows, self.open_times.take(), Some(&mut self.packer));
            self.packed_bytes = self.packed_bytes.saturating_add(block.packed_bytes());
            self.closed.push_back(Arc::new(block));
        }
        self.make_room()
    }

    fn make_room(&mut self) -> usize {
        let mut rows_gone = 0usize;
        while self.rows_count > self.rows_count_max {
            let Some(oldest) = self.closed.pop_front() else {
                break;
            };
            self.rows_count = self.rows_count.saturating_sub(oldest.rows_count);
            self.packed_bytes = self.packed_bytes.saturating_sub(oldest.packed_bytes());
            rows_gone = rows_gone.saturating_add(oldest.rows_count);
        }
        rows_gone
    }

    /// The table as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut blocks: Snapshot = self.closed.iter().cloned().collect();
        if self.open.rows_count > 0 {
            blocks.push(Arc::new(Block::close(
                self.open.clone(),
                self.open_times,
                None,
            )));
        }
        blocks
    }

    /// Rows that can be asked for.
    #[must_use]
    pub fn rows_count(&self) -> usize {
        self.rows_count
    }

    /// Bytes of the closed blocks.
    #[must_use]
    pub fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::Texts;
    use super::*;

    fn body(schema: &Schema, ids: std::ops::Range<usize>) -> Rows {
        let mut columns = vec![None; COLUMNS.len()];
        let mut texts = Texts::default();
        let mut times = Vec::new();
        for id in ids.clone() {
            texts.push(&id.to_string());
            times.push(Some(id as i64));
        }
        columns[schema.index("ExtID").unwrap()] = Some(Values::Text(texts));
        columns[schema.time_index()] = Some(Values::Whole(times));
        Rows {
            columns,
            rows_count: ids.len(),
        }
    }

    fn ids(table: &Table, schema: &Schema) -> Vec<String> {
        let index = schema.index("ExtID").unwrap();
        let mut all = Vec::new();
        for block in table.snapshot() {
            let values = block.column(index).unwrap();
            let Values::Text(texts) = values.as_ref() else {
                panic!("text")
            };
            all.extend((0..block.rows_count()).map(|row| texts.get(row).to_owned()));
        }
        all
    }

    #[test]
    fn every_row_is_there_once_and_in_order_over_many_blocks() {
        let schema = Schema::default();
        let mut table = Table::new(usize::MAX);
        let mut next = 0;
        while next < 3 * EMULATOR_BLOCK_ROWS {
            let end = next + 777;
            assert_eq!(table.append(&body(&schema, next..end)), 0);
            next = end;
        }
        let expected: Vec<String> = (0..next).map(|id| id.to_string()).collect();
        assert_eq!(ids(&table, &schema), expected);
        assert_eq!(table.rows_count(), next);
        let snapshot = table.snapshot();
        assert_eq!(snapshot[0].times().unwrap().0, 0);
        assert_eq!(snapshot.last().unwrap().times().unwrap().1, next as i64 - 1);
    }

    #[test]
    fn a_column_that_some_bodies_lack_stays_in_step_with_the_others() {
        let schema = Schema::default();
        let mut table = Table::new(usize::MAX);
        let (id, message) = (
            schema.index("ExtID").unwrap(),
            schema.index("Message").unwrap(),
        );
        for part in 0..8 {
            let mut rows = body(&schema, part * 3..part * 3 + 3);
            if part % 3 == 1 {
                rows.columns[message] = rows.columns[id].clone();
            }
            table.append(&rows);
        }
        let snapshot = table.snapshot();
        let values = snapshot[0].column(message).unwrap();
        let Values::Text(texts) = values.as_ref() else {
            panic!("text")
        };
        for row in 0..24 {
            let expected = if row / 3 % 3 == 1 {
                row.to_string()
            } else {
                String::new()
            };
            assert_eq!(texts.get(row), expected, "row {row}");
        }
        assert_eq!(values.rows_count(), 24);
    }

    #[test]
    fn the_oldest_rows_go_when_there_are_too_many_and_are_counted() {
        let schema = Schema::default();
        let mut table = Table::new(EMULATOR_BLOCK_ROWS + 10);
        let mut gone = 0;
        for part in 0..6 {
            let first = part * EMULATOR_BLOCK_ROWS / 2;
            gone += table.append(&body(&schema, first..first + EMULATOR_BLOCK_ROWS / 2));
        }
        let kept = ids(&table, &schema);
        assert_eq!(gone + kept.len(), 3 * EMULATOR_BLOCK_ROWS);
        assert!(kept.len() <= EMULATOR_BLOCK_ROWS + 10, "{}", kept.len());
        assert_eq!(kept[0], gone.to_string());
    }

    #[test]
    fn what_the_service_fills_is_not_declared() {
        let schema = Schema::default();
        assert!(schema.declared("TimeGenerated").is_some());
        assert!(schema.declared("_BilledSize").is_none());
        assert!(schema.declared("timegenerated").is_none());
        assert_eq!(
            COLUMNS
                .iter()
                .filter(|column| schema.declared(column.name).is_some())
                .count(),
            143,
            "the columns of the stream declaration"
        );
    }
}
