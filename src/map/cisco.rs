//! The row of a line of a Cisco firewall: the fields that its text holds in the columns of the CEF keys
//! that they are named by, and the whole text in `Message`.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::row::Row;
use super::{ACTIVITY, CLASS_ID, MESSAGE, Mapper, Marks, PRODUCT, SEVERITY, Source};
use crate::frame::End;
use crate::metrics::{Counter, Tally};
use crate::parse::Escapes;
use crate::parse::asa::{FIELDS_MAX, Fields, Line};

const _: () = assert!(FIELDS_MAX <= u64::BITS as usize);

/// Counts a line, by whether anything could be read from its text.
pub(super) fn count(fields: &Fields<'_>, tally: &mut Tally) {
    let counter = if fields.iter().next().is_some() {
        Counter::RecordsCiscoFields
    } else {
        Counter::RecordsCiscoText
    };
    tally.add(counter, 1);
}

impl Mapper {
    /// Writes the row of a line.
    pub(super) fn cisco_row(
        &mut self,
        row: &mut Row<'_>,
        line: &Line<'_>,
        fields: &Fields<'_>,
        source: Source,
        end: End,
        shortened: bool,
    ) {
        self.time_generated(row, line.origin.time, &[], source);
        row.out.extend_from_slice(b",\"DeviceVendor\":\"Cisco\"");
        for (column, text) in [
            (&PRODUCT, line.product().as_bytes()),
            (&CLASS_ID, line.id),
            (&ACTIVITY, line.activity().as_bytes()),
            (&SEVERITY, line.level),
        ] {
            row.text_column(column, text, Escapes::None);
        }
        self.computer(row, line.origin, source);
        // bit by bit, which fields have no column or do not fit theirs
        let mut others = 0u64;
        for (index, (name, value)) in fields.iter().enumerate() {
            if !self.cisco_column(row, name, value, source) {
                others |= 1u64.checked_shl(index as u32).unwrap_or(0);
            }
        }
        row.text_column(&MESSAGE, line.text, Escapes::None);
        let marks = Marks {
            end,
            flaw: None,
            shortened,
        };
        if others != 0 || marks.any() || row.has_repeats() {
            row.additional(self.semicolon(), |more| {
                marks.write(more);
                for (index, (name, value)) in fields.iter().enumerate() {
                    if others.checked_shr(index as u32).unwrap_or(0) & 1 == 1 {
                        more.plain(b"", name.as_bytes(), value);
                    }
                }
            });
        }
        row.end();
    }

    /// Writes a field into the columns of its name. False if it has none, or does not fit.
    fn cisco_column(&self, row: &mut Row<'_>, name: &str, value: &[u8], source: Source) -> bool {
        let target = self.keys.find_key(name.as_bytes());
        let Some(target) = target.and_then(|index| self.keys.target(index)) else {
            return false;
        };
        let mut fits = false;
        for slot in std::iter::once(&target.slot).chain(&target.more) {
            let now = source.received.wall;
            fits |= row.column(slot.column, |row| {
                row.value(slot, value, Escapes::None, |text| {
                    self.read_time(text, &[], now)
                })
            });
        }
        row.notes.unfit = row.notes.unfit.saturating_add(u32::from(!fits));
        fits
    }
}
