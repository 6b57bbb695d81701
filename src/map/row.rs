//! One row, as JSON, member by member.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::columns::Kind;
use super::json::{Room, Style};
use super::keys::Slot;
use super::value;
use crate::clock::Wall;
use crate::metrics::{Counter, Tally};
use crate::parse::Escapes;
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
    pub(super) out: &'o mut Vec<u8>,
    /// Longest text of a column.
    column_bytes_max: usize,
    /// What has happened.
    pub(super) notes: Notes,
}

impl<'o> Row<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, column_bytes_max: usize) -> Self {
        Row {
            out,
            column_bytes_max,
            notes: Notes::default(),
        }
    }

    /// A text column, left out if the text is empty. `lead` holds the comma, the name, the colon
    /// and the opening quote.
    pub(super) fn text(&mut self, lead: &[u8], text: &[u8], escapes: Escapes) {
        if text.is_empty() {
            return;
        }
        self.out.extend_from_slice(lead);
        self.string(text, escapes);
    }

    /// The inside of a string, and the quote that closes it.
    fn string(&mut self, text: &[u8], escapes: Escapes) {
        let mut room = Room::new(self.column_bytes_max);
        room.write(self.out, text, Style::plain(escapes));
        self.notes.take(room);
        self.out.push(b'"');
    }

    /// A text column that holds an address.
    pub(super) fn address(&mut self, lead: &[u8], address: IpAddr) {
        self.out.extend_from_slice(lead);
        // a vector takes whatever is written to it
        let _ = match address.to_canonical() {
            IpAddr::V4(address) => write!(self.out, "{address}"),
            IpAddr::V6(address) => write!(self.out, "{address}"),
        };
        self.out.push(b'"');
    }

    /// A column by its type. False, and nothing written, if the value does not fit.
    pub(super) fn value(
        &mut self,
        slot: &Slot,
        text: &[u8],
        read_time: impl FnOnce(&[u8]) -> Option<Wall>,
    ) -> bool {
        // nearly all columns hold text
        if slot.kind == Kind::Text {
            slot.lead.append(self.out);
            self.string(text, Escapes::Value);
            return true;
        }
        self.typed(slot, text, read_time)
    }

    /// The same for text without escapes.
    pub(super) fn plain(
        &mut self,
        slot: &Slot,
        text: &[u8],
        read_time: impl FnOnce(&[u8]) -> Option<Wall>,
    ) -> bool {
        if slot.kind == Kind::Text {
            slot.lead.append(self.out);
            self.string(text, Escapes::None);
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
                    slot.lead.append(self.out);
                    value::write_real(self.out, number);
                }
                number.is_some()
            }
            Kind::DateTime => read_time(text).is_some_and(|wall| self.time(slot, wall)),
        }
    }

    fn whole(&mut self, slot: &Slot, number: Option<i64>) -> bool {
        if let Some(number) = number {
            slot.lead.append(self.out);
            value::write_long(self.out, number);
        }
        number.is_some()
    }

    fn time(&mut self, slot: &Slot, wall: Wall) -> bool {
        let start = self.out.len();
        slot.lead.append(self.out);
        let written = value::write_time(self.out, wall);
        if written {
            self.out.push(b'"');
        } else {
            self.out.truncate(start);
        }
        written
    }

    /// Opens `AdditionalExtensions`; `semicolon` is what a `;` in a value becomes.
    pub(super) fn additional(&mut self, semicolon: u8) -> Additional<'_, 'o> {
        self.out.extend_from_slice(b",\"AdditionalExtensions\":\"");
        Additional {
            room: Room::new(self.column_bytes_max),
            row: self,
            semicolon,
            is_first: true,
        }
    }
}

/// The column `AdditionalExtensions` while it is written: `key=value;key=value`.
#[derive(Debug)]
pub(super) struct Additional<'r, 'o> {
    row: &'r mut Row<'o>,
    room: Room,
    semicolon: u8,
    is_first: bool,
}

impl Additional<'_, '_> {
    /// One more pair, with `guard` in front of its key, which holds only key characters. Once the
    /// column is full nothing more goes
    /// in, and the column counts as cut.
    pub(super) fn pair(&mut self, guard: &[u8], key: &[u8], value: &[u8]) {
        self.put(guard, key, value, Escapes::Value);
    }

    /// The same for a value without escapes.
    pub(super) fn plain(&mut self, key: &[u8], value: &[u8]) {
        self.put(b"", key, value, Escapes::None);
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

    /// Ends the column.
    pub(super) fn close(self) {
        self.row.notes.take(self.room);
        self.row.out.push(b'"');
    }
}
