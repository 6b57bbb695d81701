//! Single values of rules: a TOML value in, a checked value or what is wrong with it out.

use super::{Field, Network, Number};
use crate::columns::{self, COLUMNS, Column, Kind, Origin};
use crate::config::nearest::nearest;
use crate::config::value::{self, Checked, Wrong, kind_of};
use crate::limits::{
    CUSTOM_COLUMN_BYTES_MOST, FILTER_NAME_BYTES_MOST, FILTER_SET_BYTES_MOST, FILTER_TEXT_BYTES_MOST,
};
use toml::de::DeValue;

/// Text that a value is compared with; a whole number without quotes will do.
pub(super) fn text(written: &DeValue<'_>) -> Checked<String> {
    let allowed = format!("text of 1 to {FILTER_TEXT_BYTES_MOST} bytes");
    let text = match written {
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::String(text) if text.is_empty() => {
            let what = "empty, and no row holds an empty value";
            return Err(Wrong::new(what, "exists = false, or more text"));
        }
        DeValue::String(text) => text.clone().into_owned(),
        other => {
            let what = format!("{}, not text", kind_of(other));
            return Err(Wrong::new(what, allowed));
        }
    };
    match text.len() <= FILTER_TEXT_BYTES_MOST {
        true => Ok(text),
        false => Err(Wrong::new("too long", allowed)),
    }
}

/// A number that a column of this kind can hold.
pub(super) fn number(written: &DeValue<'_>, kind: Kind) -> Checked<Number> {
    let number = match written {
        DeValue::Integer(text) if text.radix() == 10 => Number::read(text.as_str().as_bytes()),
        DeValue::Float(text) => Number::read(text.as_str().as_bytes()),
        DeValue::String(text) => Number::read(text.as_bytes()),
        _ => None,
    };
    let fits = match (kind, number) {
        (_, None) => return Err(Wrong::new("not a number", "a finite number without quotes")),
        (Kind::Int, Some(Number::Whole(whole))) => i32::try_from(whole).is_ok(),
        (Kind::Int | Kind::Long, Some(Number::Real(_))) => false,
        _ => true,
    };
    match number.filter(|_| fits) {
        Some(number) => Ok(number),
        None => Err(Wrong::new(
            "can never match: the column holds no such number",
            match kind {
                Kind::Int => "a whole number of 32 bits",
                _ => "a whole number of 64 bits",
            },
        )),
    }
}

pub(super) fn network(written: &DeValue<'_>) -> Checked<Network> {
    const ALLOWED: &str = "networks like \"10.0.0.0/8\" or \"2001:db8::/32\", or addresses";
    let text = value::text(written, ALLOWED)?;
    Network::read(text).ok_or_else(|| Wrong::new("not a network", ALLOWED))
}

pub(super) fn may_hold_address(field: &Field) -> bool {
    match field {
        Field::Key(_) => true,
        Field::Column(column) => {
            let name = column.name;
            name == "Computer"
                || name.ends_with("IP")
                || (name.contains("Address")
                    && !name.contains("MAC")
                    && !name.contains("Mac")
                    && !name.ends_with("Label"))
        }
    }
}

/// What a column is named for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Use {
    Match,
    Remove,
    Truncate,
}

pub(super) fn column(written: &DeValue<'_>, reason: Use) -> Checked<&'static Column> {
    const ALLOWED: &str = "a column of CommonSecurityLog that messages fill";
    let name = value::text(written, ALLOWED)?;
    let is_good = |column: &&Column| match (column.origin, column.name) {
        (Origin::Service, _) | (_, "TimeGenerated") => false,
        (_, "AdditionalExtensions" | "CollectorHostName") => reason != Use::Match,
        // by these the queries of others find the rows
        (_, "DeviceVendor" | "DeviceProduct") => reason == Use::Match,
        _ => reason != Use::Truncate || column.kind == Kind::Text,
    };
    match columns::by_name(name) {
        Some(column) if is_good(&column) => Ok(column),
        Some(Column {
            name: "AdditionalExtensions",
            ..
        }) => Err(Wrong::new("looked at by its keys", "key = \"NAME\"")),
        Some(column) => {
            let what = match (column.origin, reason) {
                (Origin::Service, _) => "filled by the service, after cefline",
                (_, Use::Match) => "the same in all rows, or their time",
                (_, Use::Remove) => "needed by queries, which find rows by it",
                (_, Use::Truncate) => "not a column that can be cut",
            };
            Err(Wrong::new(what, ALLOWED))
        }
        None => {
            let names = COLUMNS.iter().filter(is_good).map(|column| column.name);
            let what = match nearest(name, names) {
                Some(meant) => format!("unknown column; did you mean {meant}?"),
                None => "unknown column".into(),
            };
            let key = columns::KEYS.iter().find(|key| key.key == name);
            let allowed = match key.and_then(|key| key.columns.first()) {
                Some(column) => format!("key = \"{name}\", or its column, {column}"),
                None => ALLOWED.to_owned(),
            };
            Err(Wrong::new(what, allowed))
        }
    }
}

pub(super) fn extension_key(written: &DeValue<'_>) -> Checked<String> {
    let allowed = format!(
        "a key of 1 to {FILTER_NAME_BYTES_MOST} letters, digits and _.,[]-, as senders write it"
    );
    let key = value::text(written, &allowed)?;
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_.,[]-".contains(&c);
    let is_good = key.len() <= FILTER_NAME_BYTES_MOST
        && key.bytes().all(plain)
        && key.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    match is_good {
        true => Ok(key.to_owned()),
        false => Err(Wrong::new("can never match: not a key of CEF", allowed)),
    }
}

/// By the rules for columns of one's own in a table of Azure Monitor.
pub(super) fn custom_column(written: &DeValue<'_>) -> Checked<String> {
    let allowed = format!(
        "a letter, then letters, digits and _, up to {CUSTOM_COLUMN_BYTES_MOST}, with _CF at the end"
    );
    let name = value::text(written, &allowed)?;
    let is_good = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= CUSTOM_COLUMN_BYTES_MOST
        && name
            .strip_suffix("_CF")
            .is_some_and(|bare| !bare.is_empty());
    match is_good {
        true => Ok(name.to_owned()),
        false => Err(Wrong::new("no name of a custom column", allowed)),
    }
}

pub(super) fn set_value(written: &DeValue<'_>) -> Checked<String> {
    let allowed = format!("text of 1 to {FILTER_SET_BYTES_MOST} bytes without control characters");
    let text = value::text(written, &allowed)?;
    if text.len() > FILTER_SET_BYTES_MOST || text.contains(char::is_control) {
        return Err(Wrong::new("not such text", allowed));
    }
    Ok(text.to_owned())
}
