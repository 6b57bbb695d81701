//! A page: encoded rows on their way from a shard to an uploader.
//!
//! ```text
//! bytes  ,{"TimeGenerated":…},{"TimeGenerated":…},{"TimeGenerated":…}
//!        ^ each row begins with its comma, so a run of rows after `[` and without its first byte
//!          is the inside of a JSON array
//! ends                      ^                    ^                    ^
//! ```
//!
//! A page is filled on one core and read on another; it never holds half a row outside of
//! [`RowPage::write_row`]. Its buffers are allocated once and go round: see [`crate::ring`].

pub mod pen;

use crate::clock::Mono;
use crate::config::DestinationId;
use crate::deflate::Row;
use crate::limits::{PAGE_BYTES, PAGE_BYTES_SLACK};
pub use pen::{Lead, Look, Pen};

/// Marks that a page has room for from the beginning: rows have some thirty columns for a kilobyte.
const MARKS: usize = PAGE_BYTES / 32;
/// Rows likewise.
const ROWS: usize = PAGE_BYTES / 256;

/// Gives out the page for a row once it is known where that goes.
pub trait Pages {
    /// The page for rows to this destination; nothing if none is free.
    fn page(&mut self, destination: DestinationId) -> Option<&mut RowPage>;
}

/// One for all destinations, for whoever looks at rows.
impl Pages for RowPage {
    fn page(&mut self, _: DestinationId) -> Option<&mut RowPage> {
        Some(self)
    }
}

/// So many rows were received at one moment (by one read of one connection).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Mono,
    /// How many rows.
    pub rows_count: u32,
}

/// What is known of a row besides its bytes: hints for the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hints {
    /// Where its marks end; they begin where those of the row before end.
    marks_end: u32,
    /// What it looks like.
    look: Look,
}

/// Rows as JSON, with where each ends and when they were received.
#[derive(Debug, Default)]
pub struct RowPage {
    /// Rows, each led by a comma, and where their columns begin.
    pen: Pen,
    /// End offset of each row; ascending, and the last equals `pen.len()`.
    ends: Vec<u32>,
    /// Of each row, as many as `ends`.
    hints: Vec<Hints>,
    /// In order of receipt; the sum of `rows_count` equals `ends.len()`.
    arrivals: Vec<Arrival>,
    /// When the page was handed to the ring.
    handed_at: Mono,
    /// Where all of its rows go.
    destination: DestinationId,
}

impl RowPage {
    /// An empty page with its buffers allocated.
    #[must_use]
    pub fn new() -> Self {
        RowPage {
            pen: Pen::new(PAGE_BYTES + PAGE_BYTES_SLACK, MARKS),
            ends: Vec::with_capacity(ROWS),
            hints: Vec::with_capacity(ROWS),
            arrivals: Vec::with_capacity(PAGE_BYTES / 1024),
            handed_at: Mono::default(),
            destination: DestinationId::SENTINEL,
        }
    }

    /// Appends what `write` appends as one row received at `at`. If `write` leaves the row longer
    /// than `row_bytes_max` the page is as before and the row's length is the error.
    ///
    /// # Errors
    /// The length in bytes of a row that was too long, comma included.
    pub fn write_row<T>(
        &mut self,
        at: Mono,
        row_bytes_max: usize,
        write: impl FnOnce(&mut Pen) -> T,
    ) -> Result<T, usize> {
        let marks = self.pen.marks().len();
        let (answer, row_bytes) = self.open_row(write);
        // `ends` holds 32 bits; a page is handed over long before, so this is the row's fault too
        let end = match u32::try_from(self.pen.len()) {
            Ok(end) if row_bytes <= row_bytes_max => end,
            _ => {
                self.pen.undo(marks);
                return Err(row_bytes);
            }
        };
        self.ends.push(end);
        self.hints.push(Hints {
            // fewer than there are bytes
            marks_end: u32::try_from(self.pen.marks().len()).unwrap_or(u32::MAX),
            look: self.pen.look(),
        });
        match self.arrivals.last_mut() {
            Some(last) if last.at == at => last.rows_count += 1,
            _ => self.arrivals.push(Arrival { at, rows_count: 1 }),
        }
        Ok(answer)
    }

    /// How long the row would be that `write` appends, comma included; the page stays as it is.
    ///
    /// # Errors
    /// The length of a row longer than `row_bytes_max`.
    pub fn measure_row<T>(
        &mut self,
        row_bytes_max: usize,
        write: impl FnOnce(&mut Pen) -> T,
    ) -> Result<usize, usize> {
        let marks = self.pen.marks().len();
        let (_, row_bytes) = self.open_row(write);
        self.pen.undo(marks);
        if row_bytes <= row_bytes_max {
            Ok(row_bytes)
        } else {
            Err(row_bytes)
        }
    }

    /// Writes a row, and gives its length.
    fn open_row<T>(&mut self, write: impl FnOnce(&mut Pen) -> T) -> (T, usize) {
        let start = self.pen.len();
        self.pen.begin();
        self.pen.push(b',');
        let answer = write(&mut self.pen);
        (answer, self.pen.len().saturating_sub(start))
    }

    /// True once the page should be handed over.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pen.len() >= PAGE_BYTES
    }

    /// True if nothing is to be added: it is full, or the row that it was opened for was not written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_full() || self.is_empty()
    }

    /// True if no row was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many rows it holds.
    #[must_use]
    pub fn rows_count(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes of JSON.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.pen.len()
    }

    /// End offset of each row in [`RowPage::bytes`].
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The rows, each led by a comma.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.pen.bytes()
    }

    /// The row of this number, with what is known of it.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<Row<'_>> {
        let hints = self.hints.get(index)?;
        let (start, marks_start) = match index.checked_sub(1) {
            None => (0, 0),
            Some(before) => (*self.ends.get(before)?, self.hints.get(before)?.marks_end),
        };
        let end = *self.ends.get(index)?;
        let marks = marks_start as usize..hints.marks_end as usize;
        Some(Row {
            bytes: self.bytes().get(start as usize..end as usize)?,
            marks: self.pen.marks().get(marks).unwrap_or_default(),
            shape: hints.look.shape,
            family: hints.look.family,
        })
    }

    /// The first row of a page, with an LF behind it instead of the comma before it. For people who
    /// look at rows; an empty page gives nothing. The page is of no other use afterwards.
    pub fn first_row(&mut self) -> &[u8] {
        let Some(end) = self.ends.first() else {
            return &[];
        };
        self.pen.truncate(*end as usize);
        self.pen.push(b'\n');
        self.pen.bytes().get(1..).unwrap_or_default()
    }

    /// When the rows were received, in order.
    #[must_use]
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// When the oldest row was received; nothing if the page is empty.
    #[must_use]
    pub fn opened_at(&self) -> Option<Mono> {
        self.arrivals.first().map(|arrival| arrival.at)
    }

    /// When the page was handed to the ring.
    #[must_use]
    pub fn handed_at(&self) -> Mono {
        self.handed_at
    }

    /// Where its rows go: to that of `[sentinel]` unless it was opened for another.
    #[must_use]
    pub fn destination(&self) -> DestinationId {
        self.destination
    }

    /// Says where the rows of this page go, in which there are none yet.
    pub fn open_for(&mut self, destination: DestinationId) {
        debug_assert!(self.is_empty(), "all rows of a page go to one destination");
        self.destination = destination;
    }

    /// Notes that the page goes to the ring now.
    pub fn hand_over(&mut self, now: Mono) {
        self.handed_at = now;
    }

    /// Forgets the rows and keeps the buffers, unless a giant row has made them grow.
    pub fn reset(&mut self) {
        self.pen.reset(PAGE_BYTES + PAGE_BYTES_SLACK, 2 * MARKS);
        self.ends.clear();
        self.ends.shrink_to(4 * ROWS);
        self.hints.clear();
        self.hints.shrink_to(4 * ROWS);
        self.arrivals.clear();
        self.arrivals.shrink_to(PAGE_BYTES / 256);
        self.destination = DestinationId::SENTINEL;
    }
}
