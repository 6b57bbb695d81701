//! The values that rules look at: each is found at most once in a record, when the first rule asks.

use super::{Found, HeaderField, Place, Seen};
use crate::columns::{self, COLUMNS, KEYS, Kind};
use crate::config::filter::Field;

/// The values of the record at hand.
#[derive(Debug, Default)]
pub(super) struct Values {
    places: Vec<Place>,
    slots: Vec<Slot>,
    /// Those that were made, one behind the other.
    text: Vec<u8>,
    /// For values in small letters.
    folded: Vec<u8>,
    /// Number of the record; it saves clearing `slots`.
    record: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The last record that it was found in, or not found.
    record: u64,
    /// Where.
    found: Found,
}

impl Values {
    /// The slot of a field, a new one if it has none.
    pub(super) fn slot(&mut self, field: &Field) -> u16 {
        let place = place(field);
        let known = self.places.iter().position(|other| *other == place);
        let index = known.unwrap_or_else(|| {
            self.places.push(place);
            self.slots.push(Slot::default());
            self.places.len().saturating_sub(1)
        });
        // fewer than rules times conditions
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    pub(super) fn place(&self, slot: u16) -> Option<&Place> {
        self.places.get(usize::from(slot))
    }

    /// Begins with another record.
    pub(super) fn begin(&mut self) {
        self.text.clear();
        self.record = self.record.wrapping_add(1);
    }

    /// A value of the record at hand, if it has it, and memory for whoever changes it.
    pub(super) fn value<'a>(
        &'a mut self,
        slot: u16,
        seen: &'a impl Seen,
    ) -> (Option<&'a [u8]>, &'a mut Vec<u8>) {
        let index = usize::from(slot);
        let (Some(slot), Some(place)) = (self.slots.get_mut(index), self.places.get(index)) else {
            return (None, &mut self.folded);
        };
        if slot.record != self.record {
            *slot = Slot {
                record: self.record,
                found: seen.value(place, &mut self.text),
            };
        }
        let value = match slot.found {
            Found::Nothing => None,
            Found::InFrame(start, end) => seen.frame().get(start as usize..end as usize),
            Found::Made(start, end) => self.text.get(start as usize..end as usize),
        };
        (value, &mut self.folded)
    }
}

/// Where a field is found.
fn place(field: &Field) -> Place {
    match field {
        Field::Column(column) => match column.name {
            "DeviceVendor" => Place::Header(HeaderField::Vendor),
            "DeviceProduct" => Place::Header(HeaderField::Product),
            "DeviceVersion" => Place::Header(HeaderField::Version),
            "DeviceEventClassID" => Place::Header(HeaderField::ClassId),
            "Activity" => Place::Header(HeaderField::Name),
            "LogSeverity" => Place::Header(HeaderField::Severity),
            "Computer" => Place::Computer,
            name => {
                let key = (0..).zip(KEYS).find(|(_, key)| key.columns.contains(&name));
                Place::Column {
                    column: columns::id(name),
                    key: key.map_or("", |(_, key)| key.key),
                    at: key.map_or(u8::MAX, |(at, _)| at),
                    kind: column.kind,
                }
            }
        },
        Field::Key(name) => {
            let known = KEYS.iter().find(|key| key.key == name);
            let is_text = |name: &&str| {
                let mut all = COLUMNS.iter();
                all.any(|column| column.name == *name && column.kind == Kind::Text)
            };
            Place::Key {
                key: name.as_bytes().into(),
                has_column: known.is_some(),
                has_text_column: known.is_some_and(|key| key.columns.iter().any(is_text)),
            }
        }
    }
}
