//! One row, as JSON, member by member.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::Column;
use super::json::{Room, Style};
use super::keys::{KeyTable, Plain, Slot};
use super::value::{self, TimeText};
use crate::clock::Wall;
use crate::columns::{ColumnId, Kind};
use crate::filter::Edits;
use crate::metrics::{Counter, Tally};
use crate::page::pen::BLOCK_BYTES as PLAIN_BYTES_MAX;
use crate::page::{Lead, Pen};
use crate::parse::{Escapes, Header, Pair, place_in};
use std::io::Write;
use std::net::IpAddr;

/// What happened to the values of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Notes {
    /// Some bytes were no UTF-8.
    pub(super) invalid: bool,
    /// Values cut.
    pub(super) cut: u32,
    /// Values that do not fit their column's type.
    pub(super) unfit: u32,
    /// The time asked for as `TimeGenerated` could not be taken.
    pub(super) time_replaced: bool,
}

impl Notes {
    pub(super) fn count(self, tally: &mut Tally) {
        tally.add(Counter::RecordsInvalidUtf8, self.invalid.into());
        tally.add(Counter::ValuesTruncated, self.cut.into());
        tally.add(Counter::ValuesUnfit, self.unfit.into());
        tally.add(Counter::TimesReplaced, self.time_replaced.into());
    }

    pub(super) fn take(&mut self, room: Room) {
        self.invalid |= room.invalid;
        self.cut = self.cut.saturating_add(room.cut.into());
    }
}

/// A row being written to the end of a page.
#[derive(Debug)]
pub(super) struct Row<'o> {
    /// Where to.
    pub(super) out: &'o mut Pen,
    /// Longest text of a column.
    pub(super) column_bytes_max: usize,
    /// What has happened.
    pub(super) notes: Notes,
    /// What filters want otherwise; nothing if they have no wish.
    pub(super) edits: Option<&'o mut Edits>,
}

impl<'o> Row<'o> {
    pub(super) fn new(
        out: &'o mut Pen,
        column_bytes_max: usize,
        edits: Option<&'o mut Edits>,
    ) -> Self {
        Row {
            out,
            column_bytes_max,
            notes: Notes::default(),
            edits,
        }
    }

    /// Writes a column as filters want it: whole, cut, or not at all. What was written and taken
    /// back is what they save.
    #[inline]
    pub(super) fn column(&mut self, column: ColumnId, write: impl Fn(&mut Self) -> bool) -> bool {
        let start = self.out.len();
        let edit = match &self.edits {
            None => None,
            Some(edits) => edits.of_column(column),
        };
        let fits = match edit {
            None => write(self),
            Some((bytes_max, rule)) => self.edited(bytes_max, rule, write),
        };
        self.out.mark(start, column);
        fits
    }

    /// Writes the pairs from `from` on whose values may be copied as they are, passes over those without a
    /// column, of which `others` then knows, and gives the first of another kind.
    pub(super) fn plain_pairs(
        &mut self,
        keys: &KeyTable,
        extension: &[u8],
        pairs: &[Pair],
        from: usize,
        others: &mut bool,
    ) -> usize {
        if self.edits.is_some() || self.column_bytes_max < PLAIN_BYTES_MAX {
            return from;
        }
        let mut index = from;
        for pair in pairs.get(from..).unwrap_or_default() {
            let (start, end) = (pair.value().start(), pair.value().end());
            let len = end.wrapping_sub(start);
            if pair.known == Pair::UNKNOWN {
                *others |= len != 0;
                index = index.wrapping_add(1);
                continue;
            }
            let slot = keys.plain(pair.known);
            let text = extension.get(start..start.wrapping_add(PLAIN_BYTES_MAX));
            let Some(text) = text.and_then(|text| text.first_chunk()) else {
                break;
            };
            let is_text = match slot.plain {
                Plain::Text if pair.is_clean && len.wrapping_sub(1) < PLAIN_BYTES_MAX => true,
                Plain::Number if value::is_short_number(text, len) => false,
                _ => break,
            };
            self.out
                .plain_column(slot.column, &slot.lead, text, len, is_text);
            index = index.wrapping_add(1);
        }
        index
    }

    /// The column of a pair. False if its value does not fit.
    pub(super) fn pair(
        &mut self,
        slot: &Slot,
        extension: &[u8],
        pair: &Pair,
        read_time: &dyn Fn(&[u8]) -> Option<Wall>,
    ) -> bool {
        let (start, end) = (pair.value().start(), pair.value().end());
        let text = pair.value().of(extension);
        let is_free = self.edits.is_none();
        let digits_max = match slot.kind {
            Kind::Int => INT_DIGITS,
            Kind::Long => LONG_DIGITS,
            _ => 0,
        };
        let at = self.out.len();
        if is_free
            && slot.kind == Kind::Text
            && pair.is_clean
            && text.len() <= self.column_bytes_max
        {
            self.out.member(&slot.lead, extension, start, end);
        } else if is_free && text.len() <= digits_max && value::is_canonical(text) {
            self.out.number(&slot.lead, extension, start, end);
        } else {
            return self.column(slot.column, |row| {
                row.value(slot, text, Escapes::Value, read_time)
            });
        }
        self.out.mark(at, slot.column);
        true
    }

    #[inline(never)]
    fn edited(&mut self, bytes_max: usize, rule: u16, write: impl Fn(&mut Self) -> bool) -> bool {
        let (start, notes) = (self.out.len(), self.notes);
        let mut fits = write(self);
        let whole = self.out.len().saturating_sub(start);
        // with its name it is no shorter than its text
        if whole <= bytes_max {
            return fits;
        }
        self.out.truncate(start);
        self.notes = notes;
        if bytes_max > 0 {
            let column_bytes_max = self.column_bytes_max;
            self.column_bytes_max = column_bytes_max.min(bytes_max);
            fits = write(self);
            self.column_bytes_max = column_bytes_max;
        } else {
            fits = true;
        }
        let left = self.out.len().saturating_sub(start);
        self.saved(rule, whole.saturating_sub(left));
        fits
    }

    pub(super) fn saved(&mut self, rule: u16, bytes: usize) {
        if let Some(edits) = &mut self.edits {
            edits.saved(rule, bytes);
        }
    }

    /// True if the row tells of suppressed ones before it.
    pub(super) fn has_repeats(&self) -> bool {
        let edits = self.edits.as_ref();
        edits.is_some_and(|edits| !edits.repeats().is_empty())
    }

    /// Ends the row, with the constants of filters.
    pub(super) fn end(&mut self) {
        if let Some(edits) = &mut self.edits {
            let start = self.out.len();
            for (member, _) in edits.sets() {
                self.out.extend_from_slice(member);
            }
            if self.out.len() > start {
                edits.count_sets();
            }
        }
        self.out.push(b'}');
    }

    /// A text column, left out if the text is empty. `lead` holds the comma, the name, the colon
    /// and the opening quote. Always true: text fits.
    pub(super) fn text(&mut self, lead: &Lead, text: &[u8], escapes: Escapes) -> bool {
        if !text.is_empty() {
            self.out.lead(lead);
            self.string(text, escapes);
        }
        true
    }

    /// The same as filters want it.
    #[inline]
    pub(super) fn text_column(&mut self, column: &Column, text: &[u8], escapes: Escapes) {
        self.column(column.id, |row| row.text(&column.lead, text, escapes));
    }

    /// A column of a header field.
    #[inline]
    pub(super) fn header_column(&mut self, column: &Column, header: &Header<'_>, field: &[u8]) {
        let is_plain = header.is_clean && self.edits.is_none();
        let text = trimmed(field);
        match place_in(header.text, text) {
            Some((start, end))
                if is_plain && !text.is_empty() && text.len() <= self.column_bytes_max =>
            {
                let at = self.out.len();
                self.out
                    .member(&column.lead, header.text, start as usize, end as usize);
                self.out.mark(at, column.id);
            }
            _ => self.text_column(column, text, Escapes::Header),
        }
    }

    /// The inside of a string, and the quote that closes it.
    fn string(&mut self, text: &[u8], escapes: Escapes) {
        let mut room = Room::new(self.column_bytes_max);
        room.write(self.out, text, Style::plain(escapes));
        self.notes.take(room);
        self.out.push(b'"');
    }

    /// A text column that holds an address.
    pub(super) fn address(&mut self, lead: &Lead, address: IpAddr) -> bool {
        self.out.lead(lead);
        // a buffer takes whatever is written to it
        let _ = match address.to_canonical() {
            IpAddr::V4(address) => write!(self.out, "{address}"),
            IpAddr::V6(address) => write!(self.out, "{address}"),
        };
        self.out.push(b'"');
        true
    }

    /// A column by its type. False, and nothing written, if the value does not fit.
    pub(super) fn value(
        &mut self,
        slot: &Slot,
        text: &[u8],
        escapes: Escapes,
        read_time: impl FnOnce(&[u8]) -> Option<Wall>,
    ) -> bool {
        // nearly all columns hold text
        if slot.kind == Kind::Text {
            self.out.lead(&slot.lead);
            self.string(text, escapes);
            return true;
        }
        self.typed(slot, text, read_time)
    }

    #[inline(never)]
    fn typed(
        &mut self,
        slot: &Slot,
        text: &[u8],
        read_time: impl FnOnce(&[u8]) -> Option<Wall>,
    ) -> bool {
        match slot.kind {
            Kind::Text => false,
            Kind::Int => self.whole(
                slot,
                value::read_long(text).filter(|number| i32::try_from(*number).is_ok()),
            ),
            Kind::Long => self.whole(slot, value::read_long(text)),
            Kind::Real => {
                let number = value::read_real(text);
                if let Some(number) = number {
                    self.out.lead(&slot.lead);
                    value::write_real(self.out, number);
                }
                number.is_some()
            }
            Kind::DateTime => {
                let wall = read_time(text);
                if let Some(wall) = wall {
                    self.time(slot, wall);
                }
                wall.is_some()
            }
        }
    }

    fn whole(&mut self, slot: &Slot, number: Option<i64>) -> bool {
        if let Some(number) = number {
            self.out.lead(&slot.lead);
            self.out
                .extend_from_slice(value::long_digits(number, &mut [0; 20]));
        }
        number.is_some()
    }

    fn time(&mut self, slot: &Slot, wall: Wall) {
        self.out.lead(&slot.lead);
        self.out.extend_from_slice(TimeText::of(wall).bytes());
        self.out.push(b'"');
    }
}

/// Without blanks around it, of which there mostly are none.
#[inline]
fn trimmed(text: &[u8]) -> &[u8] {
    match text {
        [first, .., last] if *first > b' ' && *last > b' ' => text,
        _ => text.trim_ascii(),
    }
}

/// Digits of which any fit into 32 bits with a sign...
const INT_DIGITS: usize = 9;
/// ...and into 64.
const LONG_DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::cef::Scan;

    #[test]
    fn what_a_column_may_have_no_room_for_is_not_plain() {
        let (keys, mut scan) = (KeyTable::new(), Scan::default());
        let text =
            b"act=allow cnt=7 request=http://192.0.2.1/ msg=what follows is long enough for all";
        scan.read(text, |start, end| keys.find(text, start, end));
        for (column_bytes_max, last) in [(PLAIN_BYTES_MAX - 1, 0), (PLAIN_BYTES_MAX, 3)] {
            let mut pen = Pen::default();
            let mut row = Row::new(&mut pen, column_bytes_max, None);
            let mut others = false;
            let index = row.plain_pairs(&keys, text, scan.pairs(), 0, &mut others);
            assert_eq!(index, last, "{column_bytes_max}");
            assert_eq!(pen.is_empty(), last == 0);
            assert!(!others);
        }
    }
}
