//! Writes a row to the end of a page.
//!
//! Nearly all of a row is members of the same form: a name from a table and some twenty bytes of the
//! frame. A pen copies both in blocks of a fixed length that may reach over their ends, since what
//! is behind the end is overwritten by what follows: two moves in place of two calls. For that its
//! buffer is as long as its room, and a place in it says how far it is written.
//!
//! It notes where columns begin ([`Mark`]), which is what the encoder of bodies lives on.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::columns::ColumnId;
use crate::deflate::Mark;

/// Longest text in front of a value: comma, name, colon and opening quote.
pub const LEAD_BYTES_MAX: usize = 48;
/// A value up to this length is copied as one block.
pub const BLOCK_BYTES: usize = 32;
/// All bits of a lead's length: with no others, no place behind a lead needs a check.
const LEAD_LEN_BITS: u8 = 63;
const _: () = assert!(LEAD_BYTES_MAX <= LEAD_LEN_BITS as usize);
/// Of a member with such a value: a lead, a block, a quote.
const MEMBER_BYTES: usize = LEAD_LEN_BITS as usize + BLOCK_BYTES + 1;

/// What stands before a value: `,"Column":`, with the quote that opens a string where the column holds
/// one.
#[derive(Debug, Clone, Copy)]
pub struct Lead {
    bytes: [u8; LEAD_BYTES_MAX],
    len: u8,
}

impl Lead {
    /// The text, of which [`LEAD_BYTES_MAX`] bytes are kept: no column of the table has more.
    #[must_use]
    pub const fn new(text: &[u8]) -> Self {
        let mut bytes = [0; LEAD_BYTES_MAX];
        let (kept, _) = match text.split_at_checked(LEAD_BYTES_MAX) {
            Some(split) => split,
            None => (text, text),
        };
        let (to, _) = bytes.split_at_mut(kept.len());
        to.copy_from_slice(kept);
        Lead {
            bytes,
            len: kept.len() as u8,
        }
    }

    /// The same of several texts, one behind the other.
    #[must_use]
    pub fn joined(texts: &[&[u8]]) -> Self {
        let mut lead = Lead::new(b"");
        for text in texts {
            for byte in *text {
                if let Some(place) = lead.bytes.get_mut(usize::from(lead.len)) {
                    *place = *byte;
                    lead.len = lead.len.wrapping_add(1);
                }
            }
        }
        lead
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The buffer of a page, and how far it is written.
#[derive(Debug, Default)]
pub struct Pen {
    /// All of it may be written to; what is behind `len` means nothing.
    room: Vec<u8>,
    /// At most the length of `room`.
    len: usize,
    /// Where the row at hand begins.
    row: usize,
    /// Of all rows, in order; each counts from the beginning of its row.
    marks: Vec<Mark>,
    /// What the row at hand looks like.
    look: Look,
}

/// What a row looks like: rows whose columns are mostly the same are best compressed by each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// A number that rows of one kind of event have in common; 0 if nothing is known.
    pub shape: u32,
    /// A number that rows of one sender's product have in common; 0 if nothing is known.
    pub family: u32,
}

impl Pen {
    /// With room for so many bytes and marks; both grow.
    #[must_use]
    pub fn new(bytes: usize, marks: usize) -> Self {
        Pen {
            room: vec![0; bytes],
            len: 0,
            row: 0,
            marks: Vec::with_capacity(marks),
            look: Look::default(),
        }
    }

    /// What is written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or_default()
    }

    /// How much is written.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where columns begin.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Takes back what is written from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Begins a row.
    pub(super) fn begin(&mut self) {
        self.row = self.len;
        self.look = Look::default();
    }

    /// Takes the row at hand back, with what marks there were before it.
    pub(super) fn undo(&mut self, marks: usize) {
        self.len = self.row;
        self.marks.truncate(marks);
    }

    /// Forgets all, and gives back room beyond that.
    pub(super) fn reset(&mut self, bytes: usize, marks: usize) {
        self.len = 0;
        self.room.truncate(bytes);
        self.room.shrink_to(bytes);
        self.marks.clear();
        self.marks.shrink_to(marks);
    }

    /// Notes that `column` begins at `start`, as [`Pen::len`] gave it, if anything was written since.
    #[inline]
    pub fn mark(&mut self, start: usize, column: ColumnId) {
        if self.len > start
            && let Some(mark) = Mark::new(start.wrapping_sub(self.row), column)
        {
            self.marks.push(mark);
        }
    }

    /// Says what the row at hand looks like.
    pub fn looks(&mut self, look: Look) {
        self.look = look;
    }

    /// What was said.
    pub(super) fn look(&self) -> Look {
        self.look
    }

    /// Appends a byte.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        if self.room.len() <= self.len {
            self.grow(1);
        }
        if let Some(place) = self.room.get_mut(self.len) {
            *place = byte;
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Appends text.
    #[inline]
    pub fn extend_from_slice(&mut self, text: &[u8]) {
        self.reserve(text.len());
        let room = self.room.get_mut(self.len..).unwrap_or_default();
        if let Some(place) = room.get_mut(..text.len()) {
            place.copy_from_slice(text);
            self.len = self.len.wrapping_add(text.len());
        }
    }

    /// Appends a lead.
    #[inline]
    pub fn lead(&mut self, lead: &Lead) {
        self.reserve(LEAD_BYTES_MAX);
        let room = self.room.get_mut(self.len..).unwrap_or_default();
        if let Some(place) = room.first_chunk_mut::<LEAD_BYTES_MAX>() {
            *place = lead.bytes;
            self.len = self.len.wrapping_add(usize::from(lead.len));
        }
    }

    /// Appends a string member: its lead, the text `whole[start..end]` as it is, and the quote that
    /// closes it. Nothing of the text if that is no range of `whole`.
    #[inline]
    pub fn member(&mut self, lead: &Lead, whole: &[u8], start: usize, end: usize) {
        let len = end.wrapping_sub(start);
        let block = whole.get(start..start.wrapping_add(BLOCK_BYTES));
        match block.and_then(|block| block.first_chunk()) {
            Some(block) if len <= BLOCK_BYTES => {
                self.len = self.len.wrapping_add(self.block(lead, block, len, true));
            }
            _ => {
                self.lead(lead);
                self.extend_from_slice(whole.get(start..end).unwrap_or_default());
                self.push(b'"');
            }
        }
    }

    /// Appends a column whose value is the first `len` bytes of `text`, and notes where it begins.
    #[inline(always)]
    pub fn plain_column(
        &mut self,
        column: ColumnId,
        lead: &Lead,
        text: &[u8; BLOCK_BYTES],
        len: usize,
        is_string: bool,
    ) {
        let added = self.block(lead, text, len, is_string);
        if let Some(mark) = Mark::new(self.len.wrapping_sub(self.row), column) {
            self.marks.push(mark);
        }
        self.len = self.len.wrapping_add(added);
    }

    /// Writes a lead, the first `len` bytes of `text` and, behind a string, the quote that closes it.
    /// Gives the length.
    #[inline(always)]
    fn block(
        &mut self,
        lead: &Lead,
        text: &[u8; BLOCK_BYTES],
        len: usize,
        is_string: bool,
    ) -> usize {
        let end = self.len.wrapping_add(MEMBER_BYTES);
        if self.room.len() < end {
            self.grow(MEMBER_BYTES);
        }
        let room = self.room.get_mut(self.len..end);
        let Some(room) = room.and_then(|room| room.first_chunk_mut::<MEMBER_BYTES>()) else {
            return 0;
        };
        if let Some(to) = room.first_chunk_mut() {
            *to = lead.bytes;
        }
        let lead_len = usize::from(lead.len & LEAD_LEN_BITS);
        let to = room.get_mut(lead_len..lead_len.wrapping_add(BLOCK_BYTES));
        if let Some(to) = to.and_then(|to| to.first_chunk_mut()) {
            *to = *text;
        }
        let quote = lead_len.wrapping_add(len);
        if let Some(place) = room.get_mut(quote) {
            *place = b'"';
        }
        quote.wrapping_add(is_string.into())
    }

    /// Appends a member without quotes: its lead and the text `whole[start..end]` as it is.
    #[inline]
    pub fn number(&mut self, lead: &Lead, whole: &[u8], start: usize, end: usize) {
        self.lead(lead);
        self.piece(whole, start, end);
    }

    /// Appends `whole[start..end]`; nothing if that is no range of it.
    #[inline]
    pub fn piece(&mut self, whole: &[u8], start: usize, end: usize) {
        let len = end.wrapping_sub(start);
        self.reserve(BLOCK_BYTES);
        let room = self.room.get_mut(self.len..).unwrap_or_default();
        let block = whole
            .get(start..)
            .and_then(|from| from.first_chunk::<BLOCK_BYTES>());
        match (block, room.first_chunk_mut::<BLOCK_BYTES>()) {
            (Some(from), Some(to)) if len <= BLOCK_BYTES => {
                *to = *from;
                self.len = self.len.wrapping_add(len);
            }
            _ => self.extend_from_slice(whole.get(start..end).unwrap_or_default()),
        }
    }

    #[inline]
    fn reserve(&mut self, bytes: usize) {
        if self.room.len().wrapping_sub(self.len) < bytes {
            self.grow(bytes);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) {
        let needed = self.len.saturating_add(bytes);
        let len = needed.max(self.room.len().saturating_mul(2));
        self.room.resize(len, 0);
    }
}

impl std::io::Write for Pen {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_there_wherever_it_lies() {
        let seed = 0x5eed_0011;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let lead = Lead::new(b",\"Column\":\"");
        for _ in 0..2000 {
            let whole: Vec<u8> = (0..random.usize(0..200)).map(|_| random.u8(..)).collect();
            let mut pen = Pen::new(random.usize(0..300), 0);
            let mut twin = Vec::new();
            for _ in 0..random.usize(0..20) {
                let start = random.usize(0..=whole.len());
                let end = random.usize(start..=whole.len());
                match random.u8(0..5) {
                    0 => {
                        pen.push(7);
                        twin.push(7);
                    }
                    1 => {
                        pen.extend_from_slice(&whole[start..end]);
                        twin.extend_from_slice(&whole[start..end]);
                    }
                    2 => {
                        pen.member(&lead, &whole, start, end);
                        twin.extend_from_slice(lead.text());
                        twin.extend_from_slice(&whole[start..end]);
                        twin.push(b'"');
                    }
                    3 => {
                        pen.piece(&whole, start, end);
                        twin.extend_from_slice(&whole[start..end]);
                    }
                    _ => {
                        let len = random.usize(0..=twin.len());
                        pen.truncate(len);
                        twin.truncate(len);
                    }
                }
                assert_eq!(pen.bytes(), twin);
            }
        }
    }

    #[test]
    fn a_plain_column_is_a_member_with_its_mark() {
        let lead = Lead::new(b",\"Column\":\"");
        let text: [u8; BLOCK_BYTES] = std::array::from_fn(|at| b'a' + at as u8 % 26);
        for len in 0..=BLOCK_BYTES {
            let (mut pen, mut twin) = (Pen::new(len, 0), Pen::new(0, 0));
            for pen in [&mut pen, &mut twin] {
                pen.extend_from_slice(b"before");
                pen.begin();
                pen.push(b'{');
            }
            pen.plain_column(7, &lead, &text, len, true);
            pen.plain_column(8, &lead, &text, len, false);
            for (column, quote) in [(7, true), (8, false)] {
                let start = twin.len();
                twin.lead(&lead);
                twin.extend_from_slice(&text[..len]);
                if quote {
                    twin.push(b'"');
                }
                twin.mark(start, column);
            }
            assert_eq!(pen.bytes(), twin.bytes());
            assert_eq!(pen.marks(), twin.marks());
        }
    }

    #[test]
    fn what_is_no_range_is_nothing() {
        let mut pen = Pen::new(100, 0);
        let whole = [1; 100];
        pen.piece(&whole, 3, 2);
        pen.piece(&whole, 90, 101);
        pen.piece(&whole, 101, 102);
        assert!(pen.is_empty());
    }

    #[test]
    fn marks_count_from_their_row() {
        let mut pen = Pen::new(0, 0);
        pen.extend_from_slice(b"before");
        pen.begin();
        let start = pen.len();
        pen.mark(start, 1);
        pen.extend_from_slice(b",a");
        pen.mark(start, 2);
        let start = pen.len();
        pen.extend_from_slice(b",b");
        pen.mark(start, 3);
        let marks: Vec<_> = pen.marks().iter().map(|m| (m.at(), m.column())).collect();
        assert_eq!(marks, [(0, 2), (2, 3)], "a column without a byte has none");
        pen.undo(1);
        assert_eq!((pen.bytes(), pen.marks().len()), (&b"before"[..], 1));
    }

    #[test]
    fn a_lead_keeps_what_it_has_room_for() {
        assert_eq!(Lead::new(b"abc").text(), b"abc");
        let longest = [b'x'; LEAD_BYTES_MAX + 1];
        assert_eq!(Lead::new(&longest).text(), &longest[..LEAD_BYTES_MAX]);
        assert_eq!(Lead::joined(&[b"ab", b"", b"c"]).text(), b"abc");
        let joined = Lead::joined(&[b"xx", &longest]);
        assert_eq!(joined.text(), &longest[..LEAD_BYTES_MAX]);
    }
}
