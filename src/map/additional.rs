//! The column `AdditionalExtensions`: `key=value;key=value`, of what has no column of its own, behind
//! remarks of ours.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::json::{Room, Style};
use super::row::Row;
use super::value;
use crate::columns::{self, ColumnId};
use crate::filter::Edits;
use crate::page::Lead;
use crate::parse::{Escapes, Pair};

impl Row<'_> {
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
