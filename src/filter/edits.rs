//! What rules change of the row at hand, and how many bytes that makes.

use super::Effect;
use super::rule::{Act, Rule};
use crate::columns::{COLUMNS, ColumnId};

/// A column may hold this much.
const WHOLE: u32 = u32::MAX;

/// The changes of one row.
#[derive(Debug)]
pub struct Edits {
    /// Bytes that each column may hold, none if it is left out, and the rule that says so.
    limits: Vec<(u32, u16)>,
    /// Those of them that are not [`WHOLE`].
    touched: Vec<ColumnId>,
    /// Every key that some rule leaves out.
    pub(super) keys: Vec<(Box<[u8]>, u16)>,
    /// Rules that have matched and leave keys out.
    key_rules: Vec<u16>,
    /// Every constant that some rule sets: the column, and the member as it is written.
    pub(super) sets: Vec<(String, Vec<u8>)>,
    /// Those of this row, each with its rule.
    sets_now: Vec<(usize, u16)>,
    /// Rows that were suppressed before this one, and by which rule.
    pub(super) repeats: Vec<(u64, u16)>,
    /// What each matching rule has done.
    pub(super) effects: Vec<Effect>,
}

impl Edits {
    pub(super) fn new(rules_count: usize) -> Self {
        Edits {
            limits: vec![(WHOLE, 0); COLUMNS.len()],
            touched: Vec::with_capacity(COLUMNS.len()),
            keys: Vec::new(),
            key_rules: Vec::with_capacity(rules_count),
            sets: Vec::new(),
            sets_now: Vec::with_capacity(rules_count),
            repeats: Vec::with_capacity(rules_count),
            effects: Vec::with_capacity(rules_count),
        }
    }

    /// Forgets the row before.
    pub(super) fn begin(&mut self) {
        for column in self.touched.drain(..) {
            if let Some(limit) = self.limits.get_mut(usize::from(column)) {
                *limit = (WHOLE, 0);
            }
        }
        self.key_rules.clear();
        self.sets_now.clear();
        self.repeats.clear();
        self.effects.clear();
    }

    /// Notes that a rule leaves a column no more than so many bytes. The tighter of two rules counts.
    pub(super) fn limit(&mut self, column: ColumnId, bytes: u32, rule: u16) {
        if let Some(limit) = self.limits.get_mut(usize::from(column))
            && bytes < limit.0
        {
            if limit.0 == WHOLE {
                self.touched.push(column);
            }
            *limit = (bytes, rule);
        }
    }

    pub(super) fn leave_out_keys(&mut self, rule: u16) {
        self.key_rules.push(rule);
    }

    /// Notes that a rule sets a constant; the last rule of a column counts.
    pub(super) fn set(&mut self, set: usize, rule: u16) {
        let column = |set: usize| self.sets.get(set).map(|(column, _)| column);
        let earlier = self
            .sets_now
            .iter()
            .position(|now| column(now.0) == column(set));
        match earlier.and_then(|at| self.sets_now.get_mut(at)) {
            Some(now) => *now = (set, rule),
            None => self.sets_now.push((set, rule)),
        }
    }

    /// True if the row is written otherwise than without rules.
    pub(super) fn any(&self) -> bool {
        !(self.touched.is_empty()
            && self.key_rules.is_empty()
            && self.sets_now.is_empty()
            && self.repeats.is_empty())
    }

    /// The row is written once more: what it saved so far does not count.
    pub fn begin_pass(&mut self) {
        for effect in &mut self.effects {
            (effect.saved, effect.added) = (0, 0);
        }
    }

    /// Bytes that a column may hold, and the rule that says so; nothing if it is left as it is.
    #[must_use]
    pub fn of_column(&self, column: ColumnId) -> Option<(usize, u16)> {
        let (bytes, rule) = *self.limits.get(usize::from(column))?;
        (bytes != WHOLE).then_some((bytes as usize, rule))
    }

    /// The rule that leaves this key out of `AdditionalExtensions`, if one does.
    #[must_use]
    pub fn of_key(&self, key: &[u8]) -> Option<u16> {
        if self.key_rules.is_empty() {
            return None;
        }
        let is_it =
            |(name, rule): &&(Box<[u8]>, u16)| **name == *key && self.key_rules.contains(rule);
        self.keys.iter().find(is_it).map(|(_, rule)| *rule)
    }

    /// The constants of this row, as members, each with its rule.
    pub fn sets(&self) -> impl Iterator<Item = (&[u8], u16)> {
        let members = |(set, rule): &(usize, u16)| {
            let (_, member) = self.sets.get(*set)?;
            Some((&member[..], *rule))
        };
        self.sets_now.iter().filter_map(members)
    }

    /// Counts what the constants have added.
    pub fn count_sets(&mut self) {
        for at in 0..self.sets_now.len() {
            let Some((set, rule)) = self.sets_now.get(at).copied() else {
                return;
            };
            let bytes = self.sets.get(set).map_or(0, |(_, member)| member.len());
            self.added(rule, bytes);
        }
    }

    /// How many rows were suppressed since the last one like this, each with its rule.
    #[must_use]
    pub fn repeats(&self) -> &[(u64, u16)] {
        &self.repeats
    }

    /// Notes bytes that a rule has saved.
    pub fn saved(&mut self, rule: u16, bytes: usize) {
        if let Some(effect) = self.effect(rule) {
            effect.saved = effect.saved.saturating_add(bytes as u64);
        }
    }

    /// Notes bytes that a rule has added.
    pub fn added(&mut self, rule: u16, bytes: usize) {
        if let Some(effect) = self.effect(rule) {
            effect.added = effect.added.saturating_add(bytes as u64);
        }
    }

    fn effect(&mut self, rule: u16) -> Option<&mut Effect> {
        self.effects.iter_mut().find(|effect| effect.rule == rule)
    }

    /// Takes up what the rule `index` leaves out and sets, for rows to come.
    pub(super) fn know(&mut self, rule: &Rule, index: u16) {
        if let Act::Remove { keys, .. } = &rule.action {
            let keys = keys.iter().map(|key| (key.as_bytes().into(), index));
            self.keys.extend(keys);
        }
    }
}
