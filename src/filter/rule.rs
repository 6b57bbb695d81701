//! A rule made ready: its conditions, and its action with the state of one shard.

use super::Seen;
use super::edits::Edits;
use super::summary::About;
use super::table::Table;
use super::test::Node;
use super::values::Values;
use crate::clock::Mono;
use crate::columns::{self, ColumnId, KEYS};
use crate::config::DestinationId;
use crate::config::filter::{Action, Field, Filter};
use crate::limits::FILTER_KEY_BYTES_MAX;
use std::sync::Arc;
use std::time::Duration;

/// Length of a value that is not there.
pub(super) const ABSENT: u32 = u32::MAX;

/// A rule made ready.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) when: Vec<Node>,
    pub(super) action: Act,
}

/// An action with its state.
#[derive(Debug)]
pub(super) enum Act {
    Drop,
    Sample {
        one_in: u64,
        /// Matching rows since the last that was kept.
        since: u64,
    },
    RateLimit {
        /// Nanoseconds that one row takes.
        interval: u64,
        /// Nanoseconds that may be taken in advance.
        ahead: u64,
        by: Vec<u16>,
        /// When the rows let through so far would have come one by one at the rate.
        table: Table<Mono>,
    },
    Deduplicate {
        window: Duration,
        by: Vec<u16>,
        about: Arc<About>,
        table: Table<Window>,
    },
    /// Columns, and the keys that go from `AdditionalExtensions`.
    Remove {
        columns: Vec<ColumnId>,
        keys: Vec<String>,
    },
    Truncate(Vec<ColumnId>, u32),
    /// Which of the constants.
    Set(usize),
    Route(DestinationId),
}

/// Rows alike.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) opened_at: Mono,
    /// Rows suppressed and not told yet.
    pub(super) count: u64,
}

impl Window {
    pub(super) fn opened(now: Mono) -> Window {
        Window {
            opened_at: now,
            count: 0,
        }
    }
}

impl Act {
    pub(super) fn of(rule: &Filter, values: &mut Values, edits: &mut Edits) -> Act {
        match &rule.action {
            Action::Drop => Act::Drop,
            Action::Sample(one_in) => Act::Sample {
                one_in: *one_in,
                since: 0,
            },
            Action::RateLimit {
                count,
                period,
                burst,
                by,
            } => {
                let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
                let interval = period.checked_div(*count).unwrap_or(period);
                Act::RateLimit {
                    interval,
                    ahead: interval.saturating_mul(burst.saturating_sub(1)),
                    by: by.iter().map(|field| values.slot(field)).collect(),
                    table: Table::new(),
                }
            }
            Action::Deduplicate { window, by } => {
                // rows of two products are never alike
                let product = ["DeviceVendor", "DeviceProduct"].map(columns::by_name);
                let product = product.into_iter().flatten().map(Field::Column);
                let mut slots: Vec<u16> = Vec::new();
                for field in product.chain(by.iter().cloned()) {
                    let slot = values.slot(&field);
                    if !slots.contains(&slot) {
                        slots.push(slot);
                    }
                }
                let places = slots.iter().filter_map(|slot| values.place(*slot).cloned());
                Act::Deduplicate {
                    window: *window,
                    about: Arc::new(About {
                        rule: rule.name.clone(),
                        places: places.collect(),
                    }),
                    by: slots,
                    table: Table::new(),
                }
            }
            Action::Remove(fields) => {
                let (mut columns, mut keys) = (Vec::new(), Vec::new());
                for field in fields {
                    match field {
                        Field::Column(column) => columns.push(columns::id(column.name)),
                        Field::Key(name) => {
                            let known = KEYS.iter().find(|key| key.key == name);
                            let names = known.into_iter().flat_map(|key| key.columns);
                            columns.extend(names.map(|name| columns::id(name)));
                            keys.push(name.clone());
                        }
                    }
                }
                Act::Remove { columns, keys }
            }
            Action::Truncate(columns, bytes) => Act::Truncate(
                columns
                    .iter()
                    .map(|column| columns::id(column.name))
                    .collect(),
                u32::try_from(*bytes).unwrap_or(u32::MAX),
            ),
            Action::Set(column, value) => {
                // text is always JSON
                let value = serde_json::to_string(value).unwrap_or_default();
                let member = format!(",\"{column}\":{value}");
                edits.sets.push((column.clone(), member.into_bytes()));
                Act::Set(edits.sets.len().saturating_sub(1))
            }
            Action::Route(name) => Act::Route(DestinationId::of(name)),
        }
    }
}

/// Puts the values of these slots together. False if they are too long to be remembered.
pub(super) fn make_key(
    key: &mut Vec<u8>,
    by: &[u16],
    values: &mut Values,
    seen: &impl Seen,
) -> bool {
    key.clear();
    for slot in by {
        let value = values.value(*slot, seen).0;
        let length = value.map(|value| u32::try_from(value.len()).unwrap_or(ABSENT));
        key.extend_from_slice(&length.unwrap_or(ABSENT).to_le_bytes());
        key.extend_from_slice(value.unwrap_or_default());
        if key.len() > FILTER_KEY_BYTES_MAX {
            return false;
        }
    }
    true
}

/// Whether one more row of this key is within the rate. A key that gives way to another begins anew,
/// which lets more through, never less.
pub(super) fn within_rate(
    table: &mut Table<Mono>,
    key: &[u8],
    interval: u64,
    ahead: u64,
    now: Mono,
) -> bool {
    let Some((entry, _, is_own)) = table.seat(key, |due| due.0) else {
        return true;
    };
    let due = match entry.value {
        Some(due) if is_own => due.max(now),
        _ => {
            entry.take(key, now);
            now
        }
    };
    let passes = due.0.saturating_sub(now.0) <= ahead;
    if passes {
        entry.value = Some(Mono(due.0.saturating_add(interval)));
    }
    passes
}

/// Whether a row is the first of a window.
pub(super) enum First {
    Yes,
    /// Yes, and so many were suppressed in the last one, whose place this is.
    After(usize, u64),
    /// Yes, and the key of this place has to go, of whose rows so many were suppressed.
    Instead(usize, u64),
    No,
}

pub(super) fn first_of_window(
    table: &mut Table<Window>,
    key: &[u8],
    length: Duration,
    now: Mono,
) -> First {
    let Some((entry, place, is_own)) = table.seat(key, |window| window.opened_at.0) else {
        return First::Yes;
    };
    match &mut entry.value {
        Some(window) if is_own => {
            if now.since(window.opened_at) < length {
                window.count = window.count.saturating_add(1);
                return First::No;
            }
            let count = window.count;
            *window = Window::opened(now);
            match count {
                0 => First::Yes,
                count => First::After(place, count),
            }
        }
        Some(Window { count: 1.., .. }) => {
            let count = entry.value.as_ref().map_or(0, |window| window.count);
            First::Instead(place, count)
        }
        _ => {
            entry.take(key, Window::opened(now));
            First::Yes
        }
    }
}
