//! One row, as JSON, member by member.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::Column;
use super::json::{Room, Style};
use super::keys::Slot;
use super::value::{self, TimeText};
use crate::clock::Wall;
use crate::columns::{self, ColumnId, Kind};
use crate::filter::Edits;
use crate::metrics::{Counter, Tally};
use crate::page::{Lead, Pen};
use crate::parse::{Escapes, Pair};
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

    fn take(&mut self, room: Room) {
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
    column_bytes_max: usize,
    /// What has happened.
    pub(super) notes: Notes,
    /// What filters want otherwise; nothing if they have no wish.
    edits: Option<&'o mut Edits>,
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

    /// The same for a column of the extension. False if its value does not fit.
    #[inline]
    pub(super) fn pair(
        &mut self,
        slot: &Slot,
        extension: &[u8],
        pair: &Pair,
        read_time: impl Fn(&[u8]) -> Option<Wall>,
    ) -> bool {
        let (start, end) = (pair.value().start(), pair.value().end());
        // nearly all hold text that may be copied as it is
        if slot.kind == Kind::Text
            && pair.is_clean
            && end.wrapping_sub(start) <= self.column_bytes_max
            && self.edits.is_none()
        {
            let at = self.out.len();
            self.out.member(&slot.lead, extension, start, end);
            self.out.mark(at, slot.column);
            return true;
        }
        self.column(slot.column, |row| {
            row.value(slot, pair.value().of(extension), Escapes::Value, &read_time)
        })
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

    fn saved(&mut self, rule: u16, bytes: usize) {
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
            Kind::DateTime => read_time(text).is_some_and(|wall| self.time(slot, wall)),
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

    fn time(&mut self, slot: &Slot, wall: Wall) -> bool {
        let text = TimeText::of(wall);
        if let Some(text) = &text {
            self.out.lead(&slot.lead);
            self.out.extend_from_slice(text.bytes());
            self.out.push(b'"');
        }
        text.is_some()
    }

    /// Writes `AdditionalExtensions`; `semicolon` is what a `;` in a value becomes.
    pub(super) fn additional(&mut self, semicolon: u8, write: impl Fn(&mut Additional<'_, '_>)) {
        let start = self.out.len();
        self.additional_edited(semicolon, write);
        self.out.mark(start, ADDITIONAL);
    }

    fn additional_edited(&mut self, semicolon: u8, write: impl Fn(&mut Additional<'_, '_>)) {
        let edit = match &self.edits {
            None => None,
            Some(edits) => edits.of_column(ADDITIONAL),
        };
        let room = Room::new(self.column_bytes_max);
        let mut additional = Additional {
            room,
            row: self,
            semicolon,
            is_first: true,
            left_out_by: None,
            left_out_last: None,
            is_counted: true,
        };
        match edit {
            None => {
                additional.all(&write);
            }
            Some((0, rule)) => {
                additional.left_out_by = Some(rule);
                additional.all(&write);
            }
            Some((bytes_max, rule)) => {
                let (start, notes) = (additional.row.out.len(), additional.row.notes);
                let whole = additional.all(&write);
                // what other rules save and add is what it is without this one
                additional.is_counted = false;
                additional.row.out.truncate(start);
                additional.row.notes = notes;
                additional.is_first = true;
                additional.room = room;
                additional.room.bytes_left = room.bytes_left.min(bytes_max);
                let left = additional.all(&write);
                additional.row.saved(rule, whole.saturating_sub(left));
            }
        }
    }
}

/// Whether a sender's key looks like a remark of ours, which it must not.
fn is_ours(key: &[u8]) -> bool {
    key.starts_with(b"cefline.")
}

/// What stands before a sender's key, so that none looks like a remark of ours.
pub(super) fn guard(key: &[u8]) -> &'static [u8] {
    if is_ours(key) { b"_" } else { b"" }
}

const ADDITIONAL: ColumnId = columns::id("AdditionalExtensions");
const ADDITIONAL_LEAD: Lead = Lead::new(b",\"AdditionalExtensions\":\"");

/// The column `AdditionalExtensions` while it is written: `key=value;key=value`.
#[derive(Debug)]
pub(super) struct Additional<'r, 'o> {
    row: &'r mut Row<'o>,
    room: Room,
    semicolon: u8,
    is_first: bool,
    /// The rule that leaves all pairs of senders out, if one does.
    left_out_by: Option<u16>,
    /// The rule that has left out the last pair that is not there.
    left_out_last: Option<u16>,
    /// What is saved and added counts.
    is_counted: bool,
}

impl Additional<'_, '_> {
    /// Writes the column; none if nothing is in it. Gives its bytes.
    fn all(&mut self, write: &impl Fn(&mut Self)) -> usize {
        let start = self.row.out.len();
        self.row.out.lead(&ADDITIONAL_LEAD);
        write(self);
        self.row.notes.take(self.room);
        self.row.out.push(b'"');
        if let (true, Some(rule)) = (self.is_first, self.left_out_last) {
            // of pairs that are all gone, one had no separator
            let around = self.row.out.len().saturating_sub(start).saturating_sub(1);
            self.row.out.truncate(start);
            if self.is_counted {
                self.row.saved(rule, around);
            }
        }
        self.row.out.len().saturating_sub(start)
    }

    /// One more pair, with `guard` in front of its key, which holds only key characters. Once the
    /// column is full nothing more goes
    /// in, and the column counts as cut.
    pub(super) fn pair(&mut self, guard: &[u8], key: &[u8], value: &[u8]) {
        self.of_sender(guard, key, value, Escapes::Value);
    }

    /// A pair of an extension.
    #[inline]
    pub(super) fn pair_of(&mut self, extension: &[u8], pair: &Pair) {
        let (start, end) = (pair.key().start(), pair.value().end());
        // with the separator
        let bytes = end.wrapping_sub(start).saturating_add(1);
        let key = pair.key().of(extension);
        // key, equal sign and value stand there as they are written here
        if pair.is_clean
            && !self.is_first
            && !self.room.cut
            && bytes <= self.room.bytes_left
            && self.row.edits.is_none()
            && !is_ours(key)
        {
            self.room.bytes_left = self.room.bytes_left.saturating_sub(bytes);
            self.row.out.push(b';');
            self.row.out.piece(extension, start, end);
            return;
        }
        self.pair(guard(key), key, pair.value().of(extension));
    }

    /// The same for a value without escapes.
    pub(super) fn plain(&mut self, guard: &[u8], key: &[u8], value: &[u8]) {
        self.of_sender(guard, key, value, Escapes::None);
    }

    /// A remark of our own, which no filter leaves out.
    pub(super) fn mark(&mut self, key: &[u8], value: &[u8]) {
        self.put(b"", key, value, Escapes::Value);
    }

    /// How many rows were suppressed before this one.
    pub(super) fn repeats(&mut self) {
        let count = |edits: &Edits| edits.repeats().len();
        for index in 0..self.row.edits.as_deref().map_or(0, count) {
            let repeats = self.row.edits.as_deref().map(Edits::repeats);
            let Some((count, rule)) = repeats.and_then(|all| all.get(index)).copied() else {
                return;
            };
            let start = self.row.out.len();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let mut digits = [0; 20];
            let digits = value::long_digits(count, &mut digits);
            self.put(b"", b"cefline.repeated", digits, Escapes::None);
            let added = self.row.out.len().saturating_sub(start);
            if let (true, Some(edits)) = (self.is_counted, &mut self.row.edits) {
                edits.added(rule, added);
            }
        }
    }

    /// A pair of the sender's, unless a filter leaves it out: it is written and taken back, so that
    /// its bytes are known.
    fn of_sender(&mut self, guard: &[u8], key: &[u8], value: &[u8], escapes: Escapes) {
        let rule = match &self.row.edits {
            None => None,
            Some(edits) => self.left_out_by.or_else(|| edits.of_key(key)),
        };
        let Some(rule) = rule else {
            return self.put(guard, key, value, escapes);
        };
        let (start, room, is_first) = (self.row.out.len(), self.room, self.is_first);
        self.put(guard, key, value, escapes);
        let bytes = self.row.out.len().saturating_sub(start);
        self.row.out.truncate(start);
        (self.room, self.is_first) = (room, is_first);
        if bytes > 0 {
            self.left_out_last = Some(rule);
            if self.is_counted {
                // with the separator that goes with it, before it or behind it
                self.row.saved(rule, bytes.saturating_add(is_first.into()));
            }
        }
    }

    fn put(&mut self, guard: &[u8], key: &[u8], value: &[u8], escapes: Escapes) {
        if self.room.cut {
            return;
        }
        let separator = if self.is_first { &b""[..] } else { b";" };
        self.is_first = false;
        for part in [separator, guard, key, b"="] {
            self.room.write_clean(self.row.out, part);
        }
        let style = Style {
            escapes,
            semicolon: self.semicolon,
        };
        self.room.write(self.row.out, value, style);
    }
}
