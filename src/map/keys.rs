//! Finds the columns of an extension key.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::columns::{self, COLUMNS, ColumnId, KEYS, Kind};
use crate::page::Lead;
use crate::parse::Pair;

/// Number of places, a power of two: so many that a hash without collisions is soon found.
const PLACES: usize = 4096;
/// The key's bits of a product that number a place.
const PLACE_SHIFT: u32 = 64 - PLACES.trailing_zeros();
const _: () = assert!(KEYS.len() < EMPTY as usize);
pub(super) const EMPTY: u8 = Pair::UNKNOWN;
/// Bytes of a key that are looked at as one number; of a longer one its first and last eight, and the
/// rest is compared too.
const WORD_BYTES: usize = 16;

/// Where a key's value goes.
#[derive(Debug)]
pub(super) struct Target {
    /// The key.
    key: &'static [u8],
    /// All of it, or its ends. No two keys of one length have the same.
    word: u128,
    /// The column it fills...
    pub(super) slot: Slot,
    /// ...and further ones.
    pub(super) more: Vec<Slot>,
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

/// All keys that have a column; made once at start from [`KEYS`]. No two have one place: a key is
/// found, or known not to be there, by one look.
#[derive(Debug)]
pub(super) struct KeyTable {
    targets: Vec<Target>,
    /// Makes the places differ.
    factor: u64,
    /// Index into `targets` by place, [`EMPTY`] where none is.
    places: Box<[u8; PLACES]>,
    /// Key and length of each target, where they are found with one look.
    words: Box<[(u128, usize); 256]>,
}

impl KeyTable {
    pub(super) fn new() -> Self {
        let targets: Vec<Target> = KEYS
            .iter()
            .filter_map(|key| {
                let mut slots = key.columns.iter().filter_map(|name| slot(name));
                Some(Target {
                    key: key.key.as_bytes(),
                    word: word(key.key.as_bytes(), 0, key.key.len()),
                    slot: slots.next()?,
                    more: slots.collect(),
                })
            })
            .collect();
        // one in some ten fits: the chance that n keys have n of p places is about e^(-n^2 / 2p)
        let mut factor = 0x9E37_79B9_7F4A_7C15u64;
        loop {
            if let Some(places) = places(&targets, factor) {
                let mut words = Box::new([(0, 0); 256]);
                for (place, target) in words.iter_mut().zip(&targets) {
                    *place = (target.word, target.key.len());
                }
                return KeyTable {
                    targets,
                    factor,
                    places,
                    words,
                };
            }
            factor = factor.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(2);
        }
    }

    /// Index of the target of the key `text[start..end]`; [`EMPTY`] if there is none.
    #[inline(always)]
    pub(super) fn find(&self, text: &[u8], start: usize, end: usize) -> u8 {
        let len = end.wrapping_sub(start);
        let word = word(text, start, end);
        let Some(index) = self.places.get(place(word, len, self.factor)).copied() else {
            return EMPTY;
        };
        match self.words.get(usize::from(index)) {
            Some(found)
                if *found == (word, len)
                    && (len <= WORD_BYTES || self.is_long(index, text, start)) =>
            {
                index
            }
            _ => EMPTY,
        }
    }

    /// Whether a long key stands there, whose ends do.
    #[cold]
    fn is_long(&self, index: u8, text: &[u8], start: usize) -> bool {
        let text = text.get(start..).unwrap_or_default();
        self.target(index)
            .is_some_and(|target| text.starts_with(target.key))
    }

    /// The same for a key that stands alone.
    pub(super) fn find_key(&self, key: &[u8]) -> Option<u8> {
        let index = self.find(key, 0, key.len());
        (index != EMPTY).then_some(index)
    }

    #[inline]
    pub(super) fn target(&self, index: u8) -> Option<&Target> {
        self.targets.get(usize::from(index))
    }
}

/// The places of all targets by this factor; nothing if two have the same.
fn places(targets: &[Target], factor: u64) -> Option<Box<[u8; PLACES]>> {
    let mut places = Box::new([EMPTY; PLACES]);
    for (index, target) in targets.iter().enumerate() {
        let place = places.get_mut(place(target.word, target.key.len(), factor))?;
        if *place != EMPTY {
            return None;
        }
        *place = u8::try_from(index).ok()?;
    }
    Some(places)
}

fn slot(name: &str) -> Option<Slot> {
    let column = COLUMNS.iter().find(|column| column.name == name)?;
    let quote = match column.kind {
        Kind::Text | Kind::DateTime => "\"",
        Kind::Int | Kind::Long | Kind::Real => "",
    };
    Some(Slot {
        lead: Lead::new(format!(",\"{name}\":{quote}").as_bytes()),
        kind: column.kind,
        column: columns::id(name),
    })
}

/// The place of a key. The hash is chosen so that the keys of the table have one each, not against an
/// adversary: a foreign key costs one comparison, wherever it leads to.
#[inline(always)]
fn place(word: u128, len: usize, factor: u64) -> usize {
    let (low, high) = (word as u64, (word >> 64) as u64);
    let mixed = (low ^ high.rotate_left(29) ^ len as u64).wrapping_mul(factor);
    (mixed >> PLACE_SHIFT) as usize
}

/// The key `text[start..end]`, with zeros behind it, the first byte lowest; of a long one its ends.
#[inline(always)]
fn word(text: &[u8], start: usize, end: usize) -> u128 {
    let len = end.wrapping_sub(start);
    let Some(kept) = KEPT.get(len) else {
        let key = text.get(start..end).unwrap_or_default();
        let half = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        return u128::from(half(key.first_chunk())) | (u128::from(half(key.last_chunk())) << 64);
    };
    let from = text.get(start..).unwrap_or_default();
    let word = match from.first_chunk::<WORD_BYTES>() {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => near_the_end(from),
    };
    word & kept
}

/// The same where fewer bytes follow.
#[cold]
fn near_the_end(text: &[u8]) -> u128 {
    let bytes = text.iter().take(WORD_BYTES).rev();
    bytes.fold(0, |word, byte| (word << 8) | u128::from(*byte))
}

/// The bits of so many first bytes.
#[expect(
    clippy::indexing_slicing,
    reason = "computed by the compiler, which would say so"
)]
const KEPT: [u128; WORD_BYTES + 1] = {
    let mut kept = [0; WORD_BYTES + 1];
    let mut len = 1;
    while len <= WORD_BYTES {
        kept[len] = u128::MAX >> (8 * (WORD_BYTES - len));
        len += 1;
    }
    kept
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Origin;

    #[test]
    fn every_key_is_found_and_no_other() {
        let table = KeyTable::new();
        for (index, key) in KEYS.iter().enumerate() {
            let index = u8::try_from(index).ok();
            assert_eq!(table.find_key(key.key.as_bytes()), index);
            let target = table.target(index.unwrap()).unwrap();
            assert_eq!(1 + target.more.len(), key.columns.len());
            // wherever it stands, and whatever stands around it
            for behind in 0..20 {
                let mut text = b"xyz".to_vec();
                text.extend_from_slice(key.key.as_bytes());
                let end = text.len();
                text.resize(end + behind, b'=');
                assert_eq!(Some(table.find(&text, 3, end)), index);
                let shorter = table.find_key(&text[3..end - 1]).unwrap_or(EMPTY);
                assert_eq!(table.find(&text, 3, end - 1), shorter);
                assert_eq!(table.find(&text, 2, end), EMPTY);
            }
            let mut longer = key.key.as_bytes().to_vec();
            longer.push(b'x');
            assert_eq!(table.find_key(&longer), None);
        }
        assert_eq!(table.find_key(b""), None);
        let longest = KEYS.iter().map(|key| key.key.len()).max();
        assert!(
            longest > Some(WORD_BYTES),
            "those are compared in two steps"
        );
    }

    #[test]
    fn a_long_key_is_more_than_its_ends() {
        let table = KeyTable::new();
        let long = KEYS
            .iter()
            .find(|key| key.key.len() > WORD_BYTES + 2)
            .unwrap();
        let mut other = long.key.as_bytes().to_vec();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        assert_eq!(table.find_key(&other), None);
    }

    #[test]
    fn ends_and_length_tell_keys_apart() {
        // or else no factor would give each key a place of its own, and the search would not end
        let mut words: Vec<(u128, usize)> = KEYS
            .iter()
            .map(|key| (word(key.key.as_bytes(), 0, key.key.len()), key.key.len()))
            .collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), KEYS.len());
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
