//! What is well written and yet can never match, or can do nothing.

use super::{Action, Condition, Field, Filter, How, Test};
use crate::config::value::Wrong;

/// Why a rule behind `earlier` ones can never match, if that can be told.
pub(super) fn senseless(rule: &Filter, earlier: &[Filter]) -> Option<Wrong> {
    if let Some(what) = impossible(&rule.when) {
        return Some(Wrong::new(
            format!("can never match: {what}"),
            "conditions that one row can meet at once",
        ));
    }
    let shadow = earlier.iter().find(|other| {
        other.action == Action::Drop && other.when.iter().all(|one| is_implied(one, &rule.when))
    })?;
    let name = &shadow.name;
    let what = match shadow.when.is_empty() {
        true => format!("can never match: filter.{name} drops every row before it"),
        false => format!("can never match: filter.{name} drops all such rows before it"),
    };
    Some(Wrong::new(what, "put it before that rule, or leave it out"))
}

/// Why no row meets all of these.
fn impossible(all: &[Condition]) -> Option<String> {
    let flat = flattened(all);
    for one in &flat {
        if let Condition::Value(field, test) = one {
            // what the value can be, held against everything else that is asked of it
            let candidates: Vec<Option<&str>> = match test {
                Test::Text {
                    how: How::Equals,
                    texts,
                    ignore_case: false,
                } => texts.iter().map(|text| Some(text.as_str())).collect(),
                Test::Exists(false) => vec![None],
                _ => continue,
            };
            let meets = |value: &Option<&str>| {
                flat.iter()
                    .all(|other| holds_of(other, field, *value).unwrap_or(true))
            };
            if !candidates.iter().any(meets) {
                let name = field.name();
                return Some(format!("no value of {name} meets all that is asked of it"));
            }
        }
    }
    ranges(&flat).or_else(|| {
        flat.iter().find_map(|one| match one {
            Condition::Not(inner) if is_implied(inner, all) => {
                Some("something is asked for and ruled out".to_owned())
            }
            Condition::Any(any) => {
                let whys: Vec<_> = any
                    .iter()
                    .map(|one| impossible(std::slice::from_ref(one)))
                    .collect();
                whys.into_iter().collect::<Option<Vec<_>>>()?.pop()
            }
            _ => None,
        })
    })
}

/// Whether ranges of one field exclude each other.
fn ranges(flat: &[&Condition]) -> Option<String> {
    for (index, one) in flat.iter().enumerate() {
        let Condition::Value(field, Test::Range(least, most)) = one else {
            continue;
        };
        for other in flat.iter().skip(index + 1) {
            let Condition::Value(same, Test::Range(other_least, other_most)) = other else {
                continue;
            };
            let apart = |most: &Option<super::Number>, least: &Option<super::Number>| matches!((most, least), (Some(most), Some(least)) if most < least);
            if field == same && (apart(most, other_least) || apart(other_most, least)) {
                return Some(format!("the ranges of {} do not meet", field.name()));
            }
        }
    }
    None
}

/// The conditions with those inside `all` among them.
fn flattened(all: &[Condition]) -> Vec<&Condition> {
    let mut flat = Vec::new();
    for one in all {
        match one {
            Condition::All(inner) => flat.extend(flattened(inner)),
            one => flat.push(one),
        }
    }
    flat
}

/// Whether a condition holds where this field has this value; nothing if it looks at others.
fn holds_of(one: &Condition, field: &Field, value: Option<&str>) -> Option<bool> {
    match one {
        Condition::Value(same, test) if same == field => Some(test.holds(value)),
        Condition::Value(..) | Condition::Peer(_) => None,
        Condition::Not(inner) => holds_of(inner, field, value).map(|holds| !holds),
        // one that fails is enough, one that is unknown may hold
        Condition::All(all) => {
            let known: Vec<_> = all.iter().map(|one| holds_of(one, field, value)).collect();
            if known.contains(&Some(false)) {
                return Some(false);
            }
            known
                .into_iter()
                .all(|one| one == Some(true))
                .then_some(true)
        }
        Condition::Any(any) => {
            let known: Vec<_> = any.iter().map(|one| holds_of(one, field, value)).collect();
            if known.contains(&Some(true)) {
                return Some(true);
            }
            known
                .into_iter()
                .all(|one| one == Some(false))
                .then_some(false)
        }
    }
}

/// Whether a row that meets `all` surely meets `one`.
fn is_implied(one: &Condition, all: &[Condition]) -> bool {
    let flat = flattened(all);
    match one {
        Condition::All(inner) => inner.iter().all(|one| is_implied(one, all)),
        Condition::Any(inner) if inner.iter().any(|one| is_implied(one, all)) => true,
        one if flat.contains(&one) => true,
        Condition::Value(field, test) => flat.iter().any(|other| match other {
            Condition::Value(
                same,
                Test::Text {
                    how: How::Equals,
                    texts,
                    ignore_case: false,
                },
            ) => same == field && texts.iter().all(|text| test.holds(Some(text))),
            _ => false,
        }),
        _ => false,
    }
}
