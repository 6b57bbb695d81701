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
/// Bytes at the end of a key that are looked at as one number, and so at the beginning of a longer one; what
/// is between them is compared too.
const WORD_BYTES: usize = 8;

/// What a key is told by.
#[derive(Debug, Clone, Copy, Default)]
struct Name {
    /// All of it, or its last bytes, with the very last one highest. No two keys of one length with one first
    /// byte have the same.
    last: u64,
    /// The first bytes of one that is longer than that.
    first: u64,
    /// Of all of it; 0 of what is none.
    len: usize,
}

/// Where a key's value goes.
#[derive(Debug)]
pub(super) struct Target {
    /// The key.
    key: &'static [u8],
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

/// What a plain value of a key becomes, side by side in what comes from memory at once.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct PlainSlot {
    /// What stands before the value.
    pub(super) lead: Lead,
    /// The column.
    pub(super) column: ColumnId,
    /// Which values are plain.
    pub(super) plain: Plain,
}

/// Which values may be copied into a row as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// None.
    No,
    /// Clean text.
    Text,
    /// A whole number as we write it.
    Number,
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
    /// Of each target, and of what is none, where they are found with one look.
    names: Box<[Name; 256]>,
    /// Of each target, and of what is none.
    plain: Box<[PlainSlot; 256]>,
}

impl KeyTable {
    pub(super) fn new() -> Self {
        let targets: Vec<Target> = KEYS
            .iter()
            .filter_map(|key| {
                let mut slots = key.columns.iter().filter_map(|name| slot(name));
                Some(Target {
                    key: key.key.as_bytes(),
                    slot: slots.next()?,
                    more: slots.collect(),
                })
            })
            .collect();
        // one in some ten fits: the chance that n keys have n of p places is about e^(-n^2 / 2p)
        let mut factor = 0x9E37_79B9_7F4A_7C15u64;
        loop {
            if let Some(places) = places(&targets, factor) {
                let mut names = Box::new([Name::default(); 256]);
                for (name, target) in names.iter_mut().zip(&targets) {
                    *name = Name {
                        last: top_aligned(target.key),
                        first: first_word(target.key, 0),
                        len: target.key.len(),
                    };
                }
                return KeyTable {
                    plain: plain(&targets),
                    targets,
                    factor,
                    places,
                    names,
                };
            }
            factor = factor.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(2);
        }
    }

    /// Index of the target of the key `text[start..end]`; [`EMPTY`] if there is none.
    #[inline(always)]
    pub(super) fn find(&self, text: &[u8], start: usize, end: usize) -> u8 {
        let len = end.wrapping_sub(start);
        let Some(last) = last_word(text, end) else {
            return self.find_near_the_start(text, start, end);
        };
        // the bytes before a short key go
        let last = match len {
            0..WORD_BYTES => last & !(u64::MAX.wrapping_shr((8usize.wrapping_mul(len)) as u32)),
            _ => last,
        };
        self.find_word(last, text, start, len)
    }

    /// The same, by the key's last bytes.
    #[inline(always)]
    fn find_word(&self, last: u64, text: &[u8], start: usize, len: usize) -> u8 {
        let first = text.get(start).copied().unwrap_or(0);
        let place = place(last, first, len, self.factor);
        let index = self.places.get(place).copied().unwrap_or(EMPTY);
        #[expect(clippy::indexing_slicing, reason = "there is one for each number")]
        let name = &self.names[usize::from(index)];
        if name.last == last
            && name.len == len
            && (len <= WORD_BYTES || name.first == first_word(text, start))
            && (len <= 2 * WORD_BYTES || self.is_long(index, text, start))
        {
            index
        } else {
            EMPTY
        }
    }

    /// The same where not enough bytes stand before the key's end.
    #[cold]
    fn find_near_the_start(&self, text: &[u8], start: usize, end: usize) -> u8 {
        let key = text.get(start..end).unwrap_or_default();
        self.find_word(top_aligned(key), text, start, key.len())
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
        let index = self.find_near_the_start(key, 0, key.len());
        (index != EMPTY).then_some(index)
    }

    /// What a plain value of this target becomes.
    #[inline(always)]
    pub(super) fn plain(&self, index: u8) -> &PlainSlot {
        #[expect(clippy::indexing_slicing, reason = "there is one for each number")]
        &self.plain[usize::from(index)]
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
        let (last, first) = (top_aligned(target.key), *target.key.first()?);
        let place = places.get_mut(place(last, first, target.key.len(), factor))?;
        if *place != EMPTY {
            return None;
        }
        *place = u8::try_from(index).ok()?;
    }
    Some(places)
}

fn plain(targets: &[Target]) -> Box<[PlainSlot; 256]> {
    let mut targets = targets.iter();
    Box::new(std::array::from_fn(|_| match targets.next() {
        Some(target) => PlainSlot {
            lead: target.slot.lead,
            column: target.slot.column,
            plain: match target.slot.kind {
                _ if !target.more.is_empty() => Plain::No,
                Kind::Text => Plain::Text,
                Kind::Int | Kind::Long => Plain::Number,
                Kind::Real | Kind::DateTime => Plain::No,
            },
        },
        None => PlainSlot {
            lead: Lead::new(b""),
            column: 0,
            plain: Plain::No,
        },
    }))
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
fn place(last: u64, first: u8, len: usize, factor: u64) -> usize {
    let mixed = (last ^ u64::from(first) << 8 ^ len as u64).wrapping_mul(factor);
    (mixed >> PLACE_SHIFT) as usize
}

/// The bytes before `end`, the last one highest; nothing if there are fewer.
#[inline(always)]
fn last_word(text: &[u8], end: usize) -> Option<u64> {
    let bytes = text.get(end.checked_sub(WORD_BYTES)?..end)?;
    Some(u64::from_le_bytes(*bytes.first_chunk()?))
}

/// The bytes from `start` on, the first one lowest; 0 if there are fewer.
#[inline(always)]
fn first_word(text: &[u8], start: usize) -> u64 {
    let bytes = text.get(start..start.wrapping_add(WORD_BYTES));
    let bytes = bytes.and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The last bytes of a key, the very last one highest.
fn top_aligned(key: &[u8]) -> u64 {
    let last = key
        .iter()
        .rev()
        .take(WORD_BYTES)
        .zip((0..64).step_by(8).rev());
    last.fold(0, |word, (byte, shift)| word | u64::from(*byte) << shift)
}

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
            longest > Some(2 * WORD_BYTES),
            "those are compared in three steps"
        );
    }

    #[test]
    fn a_long_key_is_more_than_its_ends() {
        let table = KeyTable::new();
        let long = KEYS
            .iter()
            .find(|key| key.key.len() > 2 * WORD_BYTES + 2)
            .unwrap();
        let mut other = long.key.as_bytes().to_vec();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        assert_eq!(table.find_key(&other), None);
    }

    #[test]
    fn a_key_with_any_byte_changed_is_another() {
        let table = KeyTable::new();
        for key in KEYS {
            for at in 0..key.key.len() {
                let mut text = b"before ".to_vec();
                let start = text.len();
                text.extend_from_slice(key.key.as_bytes());
                text[start + at] ^= 4;
                let changed = text[start..].to_vec();
                let expected = KEYS
                    .iter()
                    .position(|key| key.key.as_bytes() == changed)
                    .map_or(EMPTY, |index| index as u8);
                let end = text.len();
                text.extend_from_slice(b"=value");
                assert_eq!(table.find(&text, start, end), expected, "{}", key.key);
            }
        }
    }

    #[test]
    fn end_first_byte_and_length_tell_keys_apart() {
        // or else no factor would give each key a place of its own, and the search would not end
        let mut words: Vec<(u64, u8, usize)> = KEYS
            .iter()
            .map(|key| key.key.as_bytes())
            .map(|key| (top_aligned(key), key[0], key.len()))
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
