//! A table of keys with a fixed number of places.
//!
//! A key may stand in one of a few places, by its hash, which senders cannot foresee. When all of
//! them are taken, the key there that is worth least gives way.

use crate::limits::{FILTER_TABLE_KEYS_MAX, FILTER_TABLE_WAYS};
use std::hash::{BuildHasher, RandomState};

const SETS: u64 = (FILTER_TABLE_KEYS_MAX / FILTER_TABLE_WAYS) as u64;

#[derive(Debug)]
pub(super) struct Table<T> {
    /// Sets of [`FILTER_TABLE_WAYS`] places.
    places: Vec<Entry<T>>,
    hasher: RandomState,
}

/// One place.
#[derive(Debug)]
pub(super) struct Entry<T> {
    hash: u64,
    pub(super) key: Vec<u8>,
    /// Nothing if the place is free.
    pub(super) value: Option<T>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        let free = || Entry {
            hash: 0,
            key: Vec::new(),
            value: None,
        };
        Table {
            places: (0..FILTER_TABLE_KEYS_MAX).map(|_| free()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The place of a key; if it has none, the one that it should have, with whatever is there now:
    /// nothing, or the key that is worth least. True if it is the key's own.
    pub(super) fn seat(
        &mut self,
        key: &[u8],
        worth: impl Fn(&T) -> u64,
    ) -> Option<(&mut Entry<T>, usize, bool)> {
        let hash = self.hasher.hash_one(key);
        // the upper half of the hash, as a fraction of the sets: less than all of them
        let set = ((hash >> 32).wrapping_mul(SETS) >> 32) as usize;
        let start = set.saturating_mul(FILTER_TABLE_WAYS);
        let end = start.saturating_add(FILTER_TABLE_WAYS);
        let set = self.places.get(start..end)?;
        let own = set
            .iter()
            .position(|entry| entry.value.is_some() && entry.hash == hash && entry.key == key);
        let least = || {
            let places = set.iter().enumerate();
            places
                .min_by_key(|(_, entry)| entry.value.as_ref().map(&worth))
                .map(|(at, _)| at)
        };
        let at = start.saturating_add(own.or_else(least)?);
        let entry = self.places.get_mut(at)?;
        if own.is_none() {
            entry.hash = hash;
        }
        Some((entry, at, own.is_some()))
    }

    pub(super) fn entries(&mut self) -> impl Iterator<Item = &mut Entry<T>> {
        self.places.iter_mut()
    }

    pub(super) fn at(&mut self, index: usize) -> Option<&mut Entry<T>> {
        self.places.get_mut(index)
    }
}

impl<T> Entry<T> {
    /// Gives the place to a key.
    pub(super) fn take(&mut self, key: &[u8], value: T) {
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_gives_the_place_of_what_is_worth_least() {
        let mut table = Table::new();
        let count = 4 * FILTER_TABLE_KEYS_MAX as u64;
        for number in 0..count {
            let key = number.to_le_bytes();
            let (entry, _, is_own) = table.seat(&key, |value| *value).unwrap();
            assert!(!is_own);
            // whoever gives way is older than all that stay beside it
            if let Some(old) = entry.value {
                assert!(old < number);
            }
            entry.take(&key, number);
            let (entry, _, is_own) = table.seat(&key, |value| *value).unwrap();
            assert!(is_own);
            assert_eq!(entry.value, Some(number));
        }
        let taken = table.entries().filter(|entry| entry.value.is_some());
        assert_eq!(taken.count(), FILTER_TABLE_KEYS_MAX);
        let newest = (count - 8..count).filter(|number| {
            let key = number.to_le_bytes();
            table.seat(&key, |value| *value).unwrap().2
        });
        // eight newer ones do not push out one of themselves
        assert_eq!(newest.count(), 8);
    }
}
