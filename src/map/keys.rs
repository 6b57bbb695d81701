//! Finds the columns of an extension key.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::LEAD_BYTES_MAX;
use crate::columns::{self, COLUMNS, ColumnId, KEYS, Kind};

/// Number of places, a power of two with room to spare, so that most keys are found at the first.
const PLACES: usize = 1024;
const _: () = assert!(KEYS.len() * 4 < PLACES);
const _: () = assert!(KEYS.len() < EMPTY as usize);
const EMPTY: u8 = u8::MAX;

/// Where a key's value goes.
#[derive(Debug)]
pub(super) struct Target {
    /// The key.
    key: &'static [u8],
    /// Its two ends, which are all of it if it is no longer than 16 bytes.
    ends: (u64, u64),
    /// The columns it fills.
    pub(super) slots: Vec<Slot>,
}

/// A column as it is written into a row.
#[derive(Debug)]
pub(super) struct Slot {
    /// What stands before the value.
    pub(super) lead: Lead,
    /// What the column holds.
    pub(super) kind: Kind,
    /// The column.
    pub(super) column: ColumnId,
}

/// `,"Column":`, with the quote that opens a string where the column holds one. Of one length for
/// all, so that it is copied by a few wide moves instead of a call.
#[derive(Debug)]
pub(super) struct Lead {
    bytes: [u8; LEAD_BYTES_MAX],
    len: usize,
}

impl Lead {
    fn new(text: &str) -> Self {
        let mut bytes = [0; LEAD_BYTES_MAX];
        for (place, byte) in bytes.iter_mut().zip(text.as_bytes()) {
            *place = *byte;
        }
        Lead {
            bytes,
            len: text.len().min(LEAD_BYTES_MAX),
        }
    }

    pub(super) fn append(&self, out: &mut Vec<u8>) {
        let end = out.len().saturating_add(self.len);
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}

/// All keys that have a column; made once at start from [`KEYS`].
#[derive(Debug)]
pub(super) struct KeyTable {
    targets: Vec<Target>,
    /// Index into `targets` by hash, [`EMPTY`] where none is; collisions go to the next place.
    places: [u8; PLACES],
}

impl KeyTable {
    pub(super) fn new() -> Self {
        let targets: Vec<Target> = KEYS
            .iter()
            .map(|key| Target {
                key: key.key.as_bytes(),
                ends: ends(key.key.as_bytes()),
                slots: key.columns.iter().filter_map(|name| slot(name)).collect(),
            })
            .collect();
        let mut places = [EMPTY; PLACES];
        for (index, target) in targets.iter().enumerate() {
            let free = probe(target.key.len(), target.ends)
                .find(|place| places.get(*place) == Some(&EMPTY));
            if let (Some(place), Ok(index)) = (free, u8::try_from(index))
                && let Some(place) = places.get_mut(place)
            {
                *place = index;
            }
        }
        KeyTable { targets, places }
    }

    /// Index of the key's target.
    pub(super) fn find(&self, key: &[u8]) -> Option<u8> {
        let ends = ends(key);
        for place in probe(key.len(), ends) {
            let index = *self.places.get(place)?;
            let target = self.targets.get(usize::from(index))?;
            let alike = target.ends == ends && target.key.len() == key.len();
            if alike && (key.len() <= 16 || target.key == key) {
                return Some(index);
            }
        }
        None
    }

    pub(super) fn target(&self, index: u8) -> Option<&Target> {
        self.targets.get(usize::from(index))
    }
}

fn slot(name: &str) -> Option<Slot> {
    let column = COLUMNS.iter().find(|column| column.name == name)?;
    let quote = match column.kind {
        Kind::Text | Kind::DateTime => "\"",
        Kind::Int | Kind::Long | Kind::Real => "",
    };
    Some(Slot {
        lead: Lead::new(&format!(",\"{name}\":{quote}")),
        kind: column.kind,
        column: columns::id(name),
    })
}

/// Places to look at, the likeliest first. The hash is chosen so that the keys of the table spread
/// well, not against an adversary: a foreign key costs one comparison more at worst for each of
/// ours.
fn probe(len: usize, ends: (u64, u64)) -> impl Iterator<Item = usize> {
    let mixed =
        (ends.0 ^ ends.1.rotate_left(29) ^ (len as u64)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let first = (mixed >> 54) as usize;
    (0..PLACES).map(move |step| first.wrapping_add(step) & (PLACES - 1))
}

/// The first and the last eight bytes; of a shorter key, the first and the last four, or its bytes.
/// Together with the length this is all of a key of up to 16 bytes.
#[inline]
fn ends(key: &[u8]) -> (u64, u64) {
    if let (Some(head), Some(tail)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        return (u64::from_le_bytes(*head), u64::from_le_bytes(*tail));
    }
    if let (Some(head), Some(tail)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        let (head, tail) = (u32::from_le_bytes(*head), u32::from_le_bytes(*tail));
        return (u64::from(head), u64::from(tail));
    }
    let all = key
        .iter()
        .fold(0, |word, byte| (word << 8) | u64::from(*byte));
    (all, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Origin;

    #[test]
    fn every_key_is_found_and_no_other() {
        let table = KeyTable::new();
        for (index, key) in KEYS.iter().enumerate() {
            assert_eq!(table.find(key.key.as_bytes()), u8::try_from(index).ok());
            assert_eq!(table.targets[index].slots.len(), key.columns.len());
            let mut longer = key.key.as_bytes().to_vec();
            longer.push(b'x');
            assert_eq!(table.find(&longer), None);
        }
        assert_eq!(table.find(b""), None);
    }

    #[test]
    fn keys_spread_over_the_places() {
        let steps: usize = KEYS
            .iter()
            .map(|key| {
                let key = key.key.as_bytes();
                let table = KeyTable::new();
                probe(key.len(), ends(key))
                    .position(|place| {
                        table
                            .targets
                            .get(usize::from(table.places[place]))
                            .map(|t| t.key)
                            == Some(key)
                    })
                    .unwrap()
            })
            .sum();
        assert!(steps <= KEYS.len() / 4, "{steps} collisions");
    }

    #[test]
    fn no_key_reaches_a_column_of_the_forwarder_or_of_the_service() {
        for key in KEYS {
            for name in key.columns {
                let column = COLUMNS.iter().find(|column| column.name == *name).unwrap();
                assert_eq!(column.origin, Origin::Extension, "{}", key.key);
            }
        }
    }

    #[test]
    fn every_column_of_an_extension_key_is_filled_by_exactly_one_key() {
        for column in COLUMNS
            .iter()
            .filter(|column| column.origin == Origin::Extension)
        {
            let keys = KEYS.iter().filter(|key| key.columns.contains(&column.name));
            assert_eq!(keys.count(), 1, "{}", column.name);
        }
    }
}
