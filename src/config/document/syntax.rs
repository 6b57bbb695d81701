//! What is no TOML, told without a word of the line's text.

use super::{column_of, line_of, line_start};
use crate::config::finding::Finding;
use toml::Spanned;
use toml::de::DeTable;

/// Parses TOML.
///
/// # Errors
/// The first mistake in the syntax, with its line and column, and nothing of the line's text.
pub(in crate::config) fn toml_of(text: &str) -> Result<Spanned<DeTable<'_>>, Box<Finding>> {
    // the parser reports in the order in which it notices, and most mistakes cause others below
    let (table, errors) = DeTable::parse_recoverable(text);
    let start_of = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    match errors.iter().min_by_key(|error| start_of(error)) {
        None => Ok(table),
        Some(error) => Err(Box::new(syntax_finding(
            text,
            error,
            start_of(error).min(text.len()),
        ))),
    }
}

fn syntax_finding(text: &str, error: &toml::de::Error, start: usize) -> Finding {
    let line_text = text.get(line_start(text, start)..).unwrap_or_default();
    let duplicate = error.message() == "duplicate key";
    let unquoted = error.message().starts_with("string values must be quoted");
    let what = match error.message() {
        _ if duplicate => "a second time in one file".into(),
        _ if unquoted => "not TOML: a value is missing or is text without quotes".into(),
        other => format!("not TOML: {other}"),
    };
    let advice = match error.message() {
        _ if duplicate => "leave one of the two",
        _ if unquoted => "write text, sizes and times in quotes: \"64 KiB\", \"1 s\"",
        other if other.starts_with("missing comma") => "or a list above lacks its ]",
        _ => "",
    };
    let header = header_at(line_text).filter(|_| duplicate);
    Finding {
        line: Some(line_of(text, start)),
        column: Some(column_of(text, start)),
        key: header
            .or_else(|| key_at(line_text))
            .unwrap_or_default()
            .to_owned(),
        value: None, // it could be a secret
        what,
        advice: advice.into(),
    }
}

/// The key that a line sets, if it looks like one: a value must never be taken for it.
fn key_at(line: &str) -> Option<&str> {
    let (key, _) = line.lines().next()?.split_once('=')?;
    Some(key.trim()).filter(|key| is_name(key))
}

/// The section that a line opens.
fn header_at(line: &str) -> Option<&str> {
    let (name, _) = line.trim_start().trim_start_matches('[').split_once(']')?;
    Some(name.trim()).filter(|name| is_name(name) && line.trim_start().starts_with('['))
}

/// True for what our own names are made of. Secrets in base64 have capitals.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}
