//! What the rules of `[[filter]]` have done, by their names. Names come from the configuration, so
//! these counts are beside the closed set; how many rows they have ended is in that set as well.

use crate::limits::FILTER_NAMES_MAX;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one rule has done, over all shards.
#[derive(Debug, Default)]
pub struct FilterCounts {
    matched: AtomicU64,
    dropped: AtomicU64,
    saved: AtomicU64,
    added: AtomicU64,
}

impl FilterCounts {
    /// Adds what a shard has counted: rows that matched and those of them that ended, bytes of JSON
    /// saved and added.
    pub fn add(&self, matched: u64, dropped: u64, saved: u64, added: u64) {
        for (cell, count) in [
            (&self.matched, matched),
            (&self.dropped, dropped),
            (&self.saved, saved),
            (&self.added, added),
        ] {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self, name: &str) -> FilterGauges {
        FilterGauges {
            name: name.to_owned(),
            matched: self.matched.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            saved: self.saved.load(Ordering::Relaxed),
            added: self.added.load(Ordering::Relaxed),
        }
    }
}

/// What one rule has done, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterGauges {
    /// Its name.
    pub name: String,
    /// Rows that it meant.
    pub matched: u64,
    /// Rows that it ended.
    pub dropped: u64,
    /// Bytes of JSON that it saved.
    pub saved: u64,
    /// Bytes of JSON that it added.
    pub added: u64,
}

/// The counts of all rules since the start, those that are no longer in force among them.
#[derive(Debug, Default)]
pub struct FilterBook(Mutex<BTreeMap<String, Arc<FilterCounts>>>);

impl FilterBook {
    /// The counts of rules of these names, which go on where there was one of the name before.
    pub fn open<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Arc<FilterCounts>> {
        let mut book = self.book();
        let opened: Vec<_> = names
            .map(|name| book.entry(name.to_owned()).or_default().clone())
            .collect();
        if book.len() > FILTER_NAMES_MAX {
            book.retain(|_, counts| Arc::strong_count(counts) > 1);
        }
        opened
    }

    /// All of them, by name.
    #[must_use]
    pub fn read(&self) -> Vec<FilterGauges> {
        let book = self.book();
        book.iter()
            .map(|(name, counts)| counts.read(name))
            .collect()
    }

    fn book(&self) -> MutexGuard<'_, BTreeMap<String, Arc<FilterCounts>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_name_go_on_and_names_have_a_bound() {
        let book = FilterBook::default();
        book.open(["a"].into_iter())[0].add(3, 2, 100, 0);
        let again = book.open(["a"].into_iter());
        again[0].add(1, 0, 0, 7);
        let found = &book.read()[0];
        assert_eq!((found.matched, found.dropped), (4, 2));
        assert_eq!((found.saved, found.added), (100, 7));
        let names: Vec<String> = (1..FILTER_NAMES_MAX).map(|n| format!("n{n}")).collect();
        drop(book.open(names.iter().map(String::as_str)));
        assert_eq!(book.read().len(), FILTER_NAMES_MAX);
        let kept = book.open(["b"].into_iter());
        // only those that somebody holds
        assert_eq!(book.read().len(), 2);
        drop(kept);
    }
}
