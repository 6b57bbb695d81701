//! What becomes of the rows that a rule means: the keys of each action.

use super::sheet::Sheet;
use super::single::{Use, column, custom_column, extension_key, set_value};
use super::{Action, Field};
use crate::config::SENTINEL_NAME;
use crate::config::value::{self, Checked, Wrong};
use crate::limits::{
    COLUMN_BYTES_MAX, FILTER_BY_MOST, FILTER_LIST_MOST, FILTER_RATE_MOST, FILTER_SAMPLE_MOST,
    FILTER_WINDOW_LEAST, FILTER_WINDOW_MOST,
};
use std::time::Duration;
use toml::de::DeValue;

/// What becomes of the rows, by its word and the keys that go with it.
/// `destinations` are the names of the further ones, if those are known.
pub(super) fn action(
    sheet: &mut Sheet<'_, '_, '_>,
    destinations: Option<&[&str]>,
) -> Option<Action> {
    const WORDS: &[(&str, &str)] = &[
        ("drop", "drop"),
        ("sample", "sample"),
        ("rate_limit", "rate_limit"),
        ("deduplicate", "deduplicate"),
        ("remove", "remove"),
        ("truncate", "truncate"),
        ("set", "set"),
        ("route", "route"),
    ];
    let word = sheet.required("action", "\"drop\"", |written| {
        value::choice(written, WORDS)
    })?;
    match word {
        "sample" => sheet
            .required("one_in", "10", |written| {
                value::count(written, 2..=FILTER_SAMPLE_MOST)
            })
            .map(|one_in| Action::Sample(one_in as u64)),
        "rate_limit" => rate_limit(sheet),
        "deduplicate" => {
            let window = sheet.required("window", "\"60 s\"", |written| {
                value::time(written, FILTER_WINDOW_LEAST..=FILTER_WINDOW_MOST)
            });
            let by = by(sheet);
            if by.is_empty() {
                let what = "nothing to tell rows apart by";
                let allowed = "by = [\"SourceIP\"], a list of columns, or by_keys";
                let place = sheet.place.clone();
                sheet.wrong_at("by", place, Wrong::new(what, allowed).bare());
            }
            Some(Action::Deduplicate {
                window: window?,
                by,
            })
        }
        "remove" => {
            let columns = sheet.list("columns", FILTER_LIST_MOST, |written| {
                column(written, Use::Remove).map(Field::Column)
            });
            let keys = sheet.list("keys", FILTER_LIST_MOST, |written| {
                extension_key(written).map(Field::Key)
            });
            if !sheet.table.contains_key("columns") && !sheet.table.contains_key("keys") {
                let allowed = "columns = [\"Message\"], keys = [\"foo\"], or both";
                let place = sheet.place.clone();
                sheet.wrong_at(
                    "columns",
                    place,
                    Wrong::new("nothing to remove", allowed).bare(),
                );
            }
            let all = columns.into_iter().chain(keys).flatten();
            Some(Action::Remove(all.collect()))
        }
        "truncate" => {
            let bytes = sheet.required("bytes", "256", |written| {
                value::size(written, 1..=COLUMN_BYTES_MAX)
            });
            let example = sheet.table.contains_key("columns");
            let columns = sheet.list("columns", FILTER_LIST_MOST, |written| {
                column(written, Use::Truncate)
            });
            if !example {
                let place = sheet.place.clone();
                let wrong = Wrong::new("this key is missing", "write columns = [\"Message\"]");
                sheet.wrong_at("columns", place, wrong.bare());
            }
            Some(Action::Truncate(columns?, bytes?))
        }
        "set" => {
            let column = sheet.required("column", "\"Site_CF\"", custom_column);
            let value = sheet.required("value", "\"text\"", set_value);
            Some(Action::Set(column?, value?))
        }
        "route" => sheet
            .required("to", "\"basic\"", |written| {
                destination(written, destinations)
            })
            .map(Action::Route),
        _ => Some(Action::Drop),
    }
}

/// The name of a destination: of one of these, if they are known.
fn destination(written: &DeValue<'_>, destinations: Option<&[&str]>) -> Checked<String> {
    let allowed = match destinations {
        None | Some([]) => {
            format!("the name of a section [destination.NAME], or \"{SENTINEL_NAME}\"")
        }
        Some(names) => format!("one of {}, {SENTINEL_NAME}", names.join(", ")),
    };
    let name = value::text(written, &allowed)?;
    let is_known = name == SENTINEL_NAME || destinations.is_none_or(|all| all.contains(&name));
    match is_known {
        true => Ok(name.to_owned()),
        false => Err(Wrong::new("there is no destination of this name", allowed)),
    }
}

fn rate_limit(sheet: &mut Sheet<'_, '_, '_>) -> Option<Action> {
    let rate = |written: &DeValue<'_>| value::count(written, 1..=FILTER_RATE_MOST);
    let per_second = sheet.optional("per_second", rate);
    let per_minute = sheet.optional("per_minute", rate);
    let is_both = ["per_second", "per_minute"].map(|key| sheet.table.contains_key(key));
    if is_both[0] == is_both[1] {
        let allowed = "exactly one of per_second and per_minute";
        let place = sheet.place.clone();
        let wrong = Wrong::new("no rate, or two", allowed);
        sheet.wrong_at("per_second", place, wrong.bare());
    }
    let (count, period) = match (per_second, per_minute) {
        (Some(count), None) => (count, Duration::from_secs(1)),
        (None, Some(count)) => (count, Duration::from_secs(60)),
        _ => (1, Duration::from_secs(1)),
    };
    let burst = sheet.optional("burst", rate).unwrap_or(count);
    Some(Action::RateLimit {
        count: count as u64,
        period,
        burst: burst as u64,
        by: by(sheet),
    })
}

/// What rows are told apart by.
fn by(sheet: &mut Sheet<'_, '_, '_>) -> Vec<Field> {
    let columns = sheet.list("by", FILTER_BY_MOST, |written| {
        column(written, Use::Match).map(Field::Column)
    });
    let keys = sheet.list("by_keys", FILTER_BY_MOST, |written| {
        extension_key(written).map(Field::Key)
    });
    columns.into_iter().chain(keys).flatten().collect()
}
