//! The destinations of one configuration, each with rules of its own: their paces, their standing and
//! the limit of their bodies.
//!
//! Pages, bodies and records name theirs by its [`DestinationId`], which outlives the configuration.
//! Only when a body is about to go, or stands in line for it, is that looked up: one whose name is gone
//! goes to that of `[sentinel]`, and is counted.

use super::rules::{Changes, Rules};
use crate::config::{Config, DestinationId, SENTINEL_NAME};
use std::sync::Arc;

/// A place in the list of destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestinationIndex(usize);

impl DestinationIndex {
    /// The destination of `[sentinel]`.
    pub const SENTINEL: DestinationIndex = DestinationIndex(0);

    /// Of the destination at this place in [`Config::targets`].
    #[must_use]
    pub fn at(index: usize) -> Self {
        DestinationIndex(index)
    }

    /// The place in [`Config::targets`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where rows go, as all uploaders know it.
#[derive(Debug)]
pub struct Destination {
    /// Its name in the configuration.
    pub name: String,
    /// Follows from the name.
    pub id: DestinationId,
    /// Its place in the list.
    pub index: DestinationIndex,
    /// Its rules.
    pub rules: Rules,
}

/// All destinations; there is always that of `[sentinel]`.
#[derive(Debug)]
pub struct Destinations {
    sentinel: Arc<Destination>,
    further: Vec<Arc<Destination>>,
    changes: Arc<Changes>,
}

impl Destinations {
    /// Those of the configuration, with open rules.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let rules_of = |rules_count| Rules::of(config, rules_count);
        let further = config.destinations.iter();
        Destinations::new(
            rules_of(config.sentinel.rules.len()),
            further.map(|one| (one.name.clone(), rules_of(one.rules.len()))),
        )
    }

    /// That of `[sentinel]` with these rules, and further ones by name.
    #[must_use]
    pub fn new(sentinel: Rules, further: impl IntoIterator<Item = (String, Rules)>) -> Self {
        let changes = Arc::<Changes>::default();
        let destination = |index, name: String, rules: Rules| {
            Arc::new(Destination {
                id: DestinationId::of(&name),
                name,
                index: DestinationIndex(index),
                rules: rules.telling(&changes),
            })
        };
        let further = further.into_iter().enumerate();
        let further = further.map(|(index, (name, rules))| destination(index + 1, name, rules));
        Destinations {
            further: further.collect(),
            sentinel: destination(0, SENTINEL_NAME.to_owned(), sentinel),
            changes,
        }
    }

    /// All of them, in order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Destination>> {
        std::iter::once(&self.sentinel).chain(&self.further)
    }

    /// Where rows go that are for `id`: there, or to that of `[sentinel]` if there is no such one.
    #[must_use]
    pub fn to(&self, id: DestinationId) -> &Arc<Destination> {
        let mut further = self.further.iter();
        further.find(|one| one.id == id).unwrap_or(&self.sentinel)
    }

    /// How often a rule became usable that was not.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.count()
    }

    /// Resolves when a rule became usable that was not. What happens after this call and before the
    /// first poll is not missed.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.changes.changed()
    }
}
