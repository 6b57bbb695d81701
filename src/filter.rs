//! What becomes of a record by the rules of `[[filter]]`, decided before its row is written.
//!
//! ```text
//! record -> vendor -> rules that may mean it -> conditions -> drop, or edits of the row
//!                     in the order of the file
//! ```
//!
//! Each rule is held against the record as it was sent: what an earlier rule has changed is not seen.
//! Values are compared as the table would hold them ([`text`]). Rules that ask for a vendor cost
//! nothing for records of others; a value that several rules ask for is found once; nothing is
//! allocated for a record, but by a key that the table of a rule has not held before.
//!
//! State is that of one shard: no other thread touches it. Counts of all shards meet in
//! [`FilterCounts`] once a read.
//!
//! **No count is lost.** How many rows `deduplicate` has suppressed is told by the next row alike
//! that passes (`cefline.repeated=N`), or else by a [`Summary`]: when a window has been over for as
//! long as it was open, when its key gives way to another, and when the rules change or the shard
//! stops.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod edits;
mod rule;
mod summary;
mod table;
mod test;
pub mod text;
mod values;
mod vendors;

pub use edits::Edits;
pub use summary::{About, Summary};

use crate::clock::Mono;
use crate::columns::{self, ColumnId, Kind};
use crate::config::DestinationId;
use crate::config::filter::{Field, Filter};
use crate::limits::FILTER_LOOK_PAUSE;
use crate::metrics::{Counter, FilterCounts};
use rule::{Act, First, Rule, Window, first_of_window, make_key, within_rate};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use test::Node;
use values::Values;
use vendors::Vendors;

/// The slot of the vendor, by which rules are found.
const VENDOR: u16 = 0;

/// How a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Found {
    /// It was not: the row would hold nothing there.
    #[default]
    Nothing,
    /// It stands in the frame as the row would hold it, from here to there.
    InFrame(u32, u32),
    /// It was made, from here to there.
    Made(u32, u32),
}

/// A record, as the rules look at it.
pub trait Seen {
    /// All of it.
    fn frame(&self) -> &[u8];
    /// What the row would hold there; appended if the frame does not hold it as it is.
    fn value(&self, place: &Place, out: &mut Vec<u8>) -> Found;
    /// From where its frame came.
    fn peer(&self) -> IpAddr;
}

/// Where a value of a record is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the header.
    Header(HeaderField),
    /// In the syslog header, or else it is the peer.
    Computer,
    /// In a column that a key fills.
    Column {
        /// The column.
        column: ColumnId,
        /// The key...
        key: &'static str,
        /// ...and its place in [`columns::KEYS`].
        at: u8,
        /// What the column holds.
        kind: Kind,
    },
    /// In the last value of a key.
    Key {
        /// The key.
        key: Box<[u8]>,
        /// It has columns, or else it stands in `AdditionalExtensions`.
        has_column: bool,
        /// It stands in a column of text if it is the last, not in `AdditionalExtensions`.
        has_text_column: bool,
    },
}

/// A field of the header that has a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderField {
    /// `DeviceVendor`
    Vendor,
    /// `DeviceProduct`
    Product,
    /// `DeviceVersion`
    Version,
    /// `DeviceEventClassID`
    ClassId,
    /// `Activity`
    Name,
    /// `LogSeverity`
    Severity,
}

/// What a rule did to one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// The rule, by its place in the configuration.
    pub rule: u16,
    /// It ended the row.
    pub dropped: bool,
    /// Bytes of JSON that it saved.
    pub saved: u64,
    /// Bytes of JSON that it added.
    pub added: u64,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It becomes a row, with the edits, and goes there.
    Pass(DestinationId),
    /// No row, by the last rule that matched; counted there.
    Drop(Counter),
}

/// What was counted for a rule and is not published yet.
#[derive(Debug, Clone, Copy, Default)]
struct Noted {
    matched: u64,
    dropped: u64,
    saved: u64,
    added: u64,
}

/// All rules of a configuration, with the state of one shard.
#[derive(Debug)]
pub struct Filters {
    /// As they were written.
    written: Vec<Filter>,
    rules: Vec<Rule>,
    vendors: Vendors,
    values: Values,
    edits: Edits,
    /// What rows are told apart by, of the record at hand.
    key: Vec<u8>,
    /// Windows of the record at hand that were told: rule, place, count.
    told: Vec<(u16, usize, u64)>,
    summaries: Vec<Summary>,
    /// Memory of keys, to be used again.
    keys: Vec<Vec<u8>>,
    /// When windows are looked at again.
    look_at: Mono,
    noted: Vec<Noted>,
    counts: Vec<Arc<FilterCounts>>,
}

impl Filters {
    /// These rules; `counts` has one for each of them.
    #[must_use]
    pub fn new(rules: &[Filter], counts: Vec<Arc<FilterCounts>>) -> Self {
        let mut values = Values::default();
        if let Some(vendor) = columns::by_name("DeviceVendor") {
            values.slot(&Field::Column(vendor));
        }
        let mut edits = Edits::new(rules.len());
        let vendors = Vendors::of(rules);
        let mut ready = Vec::new();
        for (index, rule) in (0..).zip(rules) {
            let rule = Rule {
                when: Node::all(vendors.left(&rule.when), &mut values),
                action: Act::of(rule, &mut values, &mut edits),
            };
            edits.know(&rule, index);
            ready.push(rule);
        }
        Filters {
            vendors,
            rules: ready,
            values,
            edits,
            key: Vec::new(),
            told: Vec::with_capacity(rules.len()),
            summaries: Vec::new(),
            keys: Vec::new(),
            look_at: Mono::default(),
            noted: vec![Noted::default(); rules.len()],
            counts,
            written: rules.to_vec(),
        }
    }

    /// True if these are the same rules.
    #[must_use]
    pub fn are(&self, rules: &[Filter]) -> bool {
        self.written == rules
    }

    /// Forgets the frame before.
    pub fn begin(&mut self) {
        self.edits.begin();
    }

    /// The row at hand, which the last rule ended, would have had so many bytes.
    pub fn dropped(&mut self, bytes: usize) {
        if let Some(effect) = self.edits.effects.last_mut() {
            effect.saved = effect.saved.saturating_add(bytes as u64);
        }
    }

    /// Decides on a record that was received at `now`. What is to be changed of its row, and what each
    /// rule has done, is in the edits until the next one.
    pub fn judge(&mut self, seen: &impl Seen, now: Mono) -> Verdict {
        let Filters {
            rules,
            vendors,
            values,
            edits,
            key,
            told,
            summaries,
            keys,
            ..
        } = self;
        values.begin();
        told.clear();
        let mut destination = DestinationId::SENTINEL;
        for index in vendors.rules(values.value(VENDOR, seen).0) {
            let Some(rule) = rules.get_mut(usize::from(*index)) else {
                continue;
            };
            if !rule.when.iter().all(|node| node.holds(values, seen)) {
                continue;
            }
            edits.effects.push(Effect {
                rule: *index,
                dropped: false,
                saved: 0,
                added: 0,
            });
            let end = match &mut rule.action {
                Act::Drop => Some(Counter::RowsFilteredDrop),
                Act::Sample { one_in, since } => {
                    let is_kept = *since == 0;
                    let next = since.saturating_add(1);
                    *since = if next >= *one_in { 0 } else { next };
                    (!is_kept).then_some(Counter::RowsFilteredSample)
                }
                Act::RateLimit {
                    interval,
                    ahead,
                    by,
                    table,
                } => {
                    let passes = !make_key(key, by, values, seen)
                        || within_rate(table, key, *interval, *ahead, now);
                    (!passes).then_some(Counter::RowsFilteredRate)
                }
                Act::Deduplicate {
                    window,
                    by,
                    about,
                    table,
                } => {
                    let first = match make_key(key, by, values, seen) {
                        true => first_of_window(table, key, *window, now),
                        false => First::Yes,
                    };
                    match first {
                        First::Yes => None,
                        First::After(place, count) => {
                            edits.repeats.push((count, *index));
                            told.push((*index, place, count));
                            None
                        }
                        First::Instead(place, count) => {
                            let mut old = keys.pop().unwrap_or_default();
                            if let Some(entry) = table.at(place) {
                                std::mem::swap(&mut old, &mut entry.key);
                                entry.take(key, Window::opened(now));
                            }
                            summaries.push(Summary {
                                about: about.clone(),
                                key: old,
                                count,
                            });
                            None
                        }
                        First::No => Some(Counter::RowsFilteredDuplicate),
                    }
                }
                Act::Remove { columns, .. } => {
                    columns
                        .iter()
                        .for_each(|column| edits.limit(*column, 0, *index));
                    edits.leave_out_keys(*index);
                    None
                }
                Act::Truncate(columns, bytes) => {
                    columns
                        .iter()
                        .for_each(|column| edits.limit(*column, *bytes, *index));
                    None
                }
                Act::Set(set) => {
                    edits.set(*set, *index);
                    None
                }
                Act::Route(to) => {
                    destination = *to;
                    None
                }
            };
            if let Some(end) = end {
                if let Some(effect) = edits.effects.last_mut() {
                    effect.dropped = true;
                }
                self.take_back();
                return Verdict::Drop(end);
            }
        }
        Verdict::Pass(destination)
    }

    /// The row at hand is not written after all: what it would have told is told by another.
    pub fn take_back(&mut self) {
        self.edits.repeats.clear();
        for (rule, place, count) in self.told.drain(..) {
            if let Some(rule) = self.rules.get_mut(usize::from(rule))
                && let Act::Deduplicate { table, .. } = &mut rule.action
                && let Some(window) = table.at(place).and_then(|entry| entry.value.as_mut())
            {
                window.count = window.count.saturating_add(count);
            }
        }
    }

    /// The edits of the row at hand; nothing if it is written as without rules.
    pub fn edits_if_any(&mut self) -> Option<&mut Edits> {
        self.edits.any().then_some(&mut self.edits)
    }

    /// What the rules that matched have done to the row at hand, in their order.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.edits.effects
    }

    /// Bytes of JSON that constants may add to a row.
    #[must_use]
    pub fn added_bytes_max(&self) -> usize {
        let sets = self.edits.sets.iter();
        sets.map(|(_, member)| member.len())
            .fold(0, usize::saturating_add)
    }

    /// Counts what the rules have done to the row at hand, which has ended.
    pub fn note(&mut self) {
        for effect in &self.edits.effects {
            if let Some(noted) = self.noted.get_mut(usize::from(effect.rule)) {
                noted.matched = noted.matched.saturating_add(1);
                noted.dropped = noted.dropped.saturating_add(effect.dropped.into());
                noted.saved = noted.saved.saturating_add(effect.saved);
                noted.added = noted.added.saturating_add(effect.added);
            }
        }
    }

    /// Shows what was counted.
    pub fn publish(&mut self) {
        for (noted, counts) in self.noted.iter_mut().zip(&self.counts) {
            if noted.matched > 0 {
                counts.add(noted.matched, noted.dropped, noted.saved, noted.added);
                *noted = Noted::default();
            }
        }
    }

    /// Looks for windows that have been over for as long as they were open, now and then.
    pub fn look(&mut self, now: Mono) {
        if now >= self.look_at {
            self.look_at = now.plus(FILTER_LOOK_PAUSE);
            self.close_windows(|window, opened_at| {
                now.since(opened_at) >= window.saturating_mul(2)
            });
        }
    }

    /// Ends all windows: what was suppressed in them is to be told now.
    pub fn close(&mut self) {
        self.close_windows(|_, _| true);
    }

    fn close_windows(&mut self, is_over: impl Fn(Duration, Mono) -> bool) {
        for rule in &mut self.rules {
            let Act::Deduplicate {
                window,
                about,
                table,
                ..
            } = &mut rule.action
            else {
                continue;
            };
            for entry in table.entries() {
                let Some(Window { opened_at, count }) = entry.value else {
                    continue;
                };
                if !is_over(*window, opened_at) {
                    continue;
                }
                entry.value = None;
                if count > 0 {
                    let key = self.keys.pop().unwrap_or_default();
                    self.summaries.push(Summary {
                        about: about.clone(),
                        key: std::mem::replace(&mut entry.key, key),
                        count,
                    });
                }
            }
        }
    }

    /// Takes over what other rules have yet to tell.
    pub fn inherit(&mut self, mut other: Filters) {
        other.publish();
        other.close();
        self.summaries.append(&mut other.summaries);
    }

    /// True if there is something to be told by rows of its own.
    #[must_use]
    pub fn has_summaries(&self) -> bool {
        !self.summaries.is_empty()
    }

    /// The next of them.
    pub fn next_summary(&mut self) -> Option<Summary> {
        self.summaries.pop()
    }

    /// Gives its memory back once it is told.
    pub fn told(&mut self, summary: Summary) {
        self.keys.push(summary.key);
    }

    /// It could not be told now.
    pub fn keep(&mut self, summary: Summary) {
        self.summaries.push(summary);
    }
}
