//! TOML with the place of every key, read by asking for keys.
//!
//! A [`Section`] is asked for each key that exists, with its default and its check. What was asked
//! for is what is known: [`Section::close`] puts aside every key that nobody asked for, and
//! [`Reader::finish`] reports them, when all known names are together, with the one that was
//! likely meant. A wrong value is noted and its default used, so that one pass finds all mistakes.

mod syntax;

pub(super) use syntax::toml_of;

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::Finding;
use super::nearest::nearest;
use super::value::{Checked, Wrong, kind_of};
use crate::limits::VALUE_CHARS_SHOWN;

const KEY_MISSING: &str = "this key is missing";
const SECTION_MISSING: &str = "this section is missing";

/// What reading a text has found so far.
pub(super) struct Reader<'t> {
    text: &'t str,
    pub(super) findings: Vec<Finding>,
    /// Keys that were asked for and are there, by full name.
    places: BTreeMap<String, Range<usize>>,
    /// Keys that were asked for, as section and name, in the order of asking.
    pub(super) known: Vec<(String, &'static str)>,
    /// Keys that nobody asked for: section, name, place.
    unknown: Vec<(String, String, Range<usize>)>,
}

/// One section while it is read.
pub(super) struct Section<'r, 'd, 't> {
    pub(super) reader: &'r mut Reader<'t>,
    /// Full name; empty for the top of the file.
    name: String,
    table: Option<&'d DeTable<'t>>,
    /// Where missing keys are reported.
    place: Option<Range<usize>>,
    /// False if the section itself was reported: its keys are then not called missing.
    reports_missing: bool,
}

impl<'t> Reader<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Reader {
            text,
            findings: Vec::new(),
            places: BTreeMap::new(),
            known: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Notes what is wrong with the key `name` as a whole, wherever it was written; if it was not,
    /// its default is meant.
    pub(super) fn wrong(&mut self, name: &str, wrong: Wrong) {
        let finding = self.finding(name, wrong);
        self.findings.push(finding);
    }

    /// What is to be said of the key `name`.
    pub(super) fn finding(&self, name: &str, wrong: Wrong) -> Finding {
        self.finding_at(name, self.places.get(name).cloned(), wrong)
    }

    /// True if the file sets the key `name`.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The source of the value of the key `name`, if the file sets it.
    pub(super) fn source(&self, name: &str) -> Option<&'t str> {
        self.text.get(self.places.get(name)?.clone())
    }

    /// True if nothing was found wrong with any of `names`: what holds between keys is looked at
    /// only then, lest one mistake be reported twice.
    pub(super) fn all_good(&self, names: &[&str]) -> bool {
        let wrong = |finding: &Finding| names.contains(&finding.key.as_str());
        !self.findings.iter().any(wrong)
    }

    /// Notes what is wrong with the key `name`, which stands at `place`.
    pub(super) fn wrong_at(&mut self, name: &str, place: Range<usize>, wrong: Wrong) {
        let finding = self.finding_at(name, Some(place), wrong);
        self.findings.push(finding);
    }

    fn finding_at(&self, name: &str, place: Option<Range<usize>>, wrong: Wrong) -> Finding {
        let value = place
            .clone()
            .and_then(|place| self.text.get(place))
            .filter(|_| !wrong.hide_value)
            .map(shown);
        Finding {
            line: place.map(|place| line_of(self.text, place.start)),
            column: None,
            key: name.to_owned(),
            value,
            what: wrong.what,
            advice: wrong.allowed,
        }
    }

    /// Reports the unknown keys, each with what was likely meant.
    pub(super) fn finish(&mut self) {
        for (section, name, place) in std::mem::take(&mut self.unknown) {
            self.forget_missing(&section, &name);
            let wrong = Wrong::new("unknown key", self.meant_by(&section, &name));
            let mut finding = self.finding_at(&full_name(&section, &name), Some(place), wrong);
            finding.value = None; // it could be a secret
            self.findings.push(finding);
        }
    }

    /// What is missing because it is misspelt is one mistake, not two.
    fn forget_missing(&mut self, section: &str, misspelt: &str) {
        let Some(meant) = self.nearest_here(section, misspelt) else {
            return;
        };
        let meant = full_name(section, meant);
        let is_it = |finding: &Finding| {
            finding.key == meant && [KEY_MISSING, SECTION_MISSING].contains(&&*finding.what)
        };
        self.findings.retain(|finding| !is_it(finding));
    }

    /// The known name of this section that is nearest to an unknown one, if any is near.
    fn nearest_here(&self, section: &str, name: &str) -> Option<&'static str> {
        let here = self.known.iter().filter(|known| known.0 == section);
        nearest(name, here.map(|known| known.1))
    }

    fn meant_by(&self, section: &str, name: &str) -> String {
        if ["secret", "password", "client_secret", "key", "token"].contains(&name) {
            return "secrets are not written here: put it into a file of its own and name that \
                    in sentinel.identity.secret_file"
                .into();
        }
        if let Some(elsewhere) = self.known.iter().find(|known| known.1 == name) {
            return match elsewhere.0.as_str() {
                "" => format!("did you mean the section [{name}]?"),
                home => format!("did you mean {home}.{name}, in the section [{home}]?"),
            };
        }
        if let Some(meant) = self.nearest_here(section, name) {
            return match section {
                "" => format!("did you mean [{meant}]?"),
                _ => format!("did you mean {meant}?"),
            };
        }
        let here = self.known.iter().filter(|known| known.0 == section);
        let names: Vec<&str> = here.map(|known| known.1).collect();
        match section {
            "" => format!("sections are {}", names.join(", ")),
            _ => format!("[{section}] has the keys {}", names.join(", ")),
        }
    }
}

impl<'r, 'd, 't> Section<'r, 'd, 't> {
    /// The top of the file.
    pub(super) fn top(reader: &'r mut Reader<'t>, table: &'d DeTable<'t>) -> Self {
        Section {
            reader,
            name: String::new(),
            table: Some(table),
            place: None,
            reports_missing: true,
        }
    }

    /// The section `key` inside this one, called `name` in full. If it must be there, its absence
    /// is one mistake, and not one for each of its keys.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        name: &'static str,
        required: bool,
    ) -> Section<'_, 'd, 't> {
        let found = self.find(key);
        self.section_at(found, name.to_owned(), required)
    }

    /// The section `key` inside this one, whose name is the user's own: one of [`Section::names`].
    pub(super) fn inner(&mut self, key: &str) -> Section<'_, 'd, 't> {
        let name = full_name(&self.name, key);
        let found = self.table.and_then(|table| table.get(key));
        let found = found.map(|value| (value.span(), value));
        self.section_at(found, name, true)
    }

    /// The names of what this section holds, if its names are the user's own; none is unknown then.
    pub(super) fn names(&self) -> Vec<String> {
        let keys = self.table.into_iter().flatten();
        keys.map(|(key, _)| key.get_ref().as_ref().to_owned())
            .collect()
    }

    fn section_at(
        &mut self,
        found: Option<(Range<usize>, &'d Spanned<DeValue<'t>>)>,
        name: String,
        required: bool,
    ) -> Section<'_, 'd, 't> {
        let (mut table, mut reports_missing) = (None, self.reports_missing);
        let mut place = None;
        match found.map(|(place, value)| (place, value.get_ref())) {
            Some((at, DeValue::Table(inner))) => (table, place) = (Some(inner), Some(at)),
            Some((at, other)) => {
                let what = format!("{}, not a section", kind_of(other));
                let wrong = Wrong::new(what, format!("write [{name}] and its keys below"));
                self.reader.wrong_at(&name, at, wrong);
                reports_missing = false;
            }
            None if required && reports_missing => {
                let advice = format!("write [{name}]; `cefline config` shows all of it");
                let wrong = Wrong::new(SECTION_MISSING, advice);
                self.reader.wrong(&name, wrong);
                reports_missing = false;
            }
            None => {}
        }
        Section {
            reader: self.reader,
            name,
            table,
            place,
            reports_missing,
        }
    }

    /// The checked value of `key`, or `default` if the key is not there or is wrong.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        check: impl FnOnce(&DeValue<'_>) -> Checked<T>,
    ) -> T {
        self.optional(key, check).unwrap_or(default)
    }

    /// The checked value of `key`; nothing if the key is not there or is wrong.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&DeValue<'_>) -> Checked<T>,
    ) -> Option<T> {
        let (place, value) = self.find(key)?;
        match check(value.get_ref()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let name = full_name(&self.name, key);
                self.reader.wrong_at(&name, place, wrong);
                None
            }
        }
    }

    /// The checked value of `key`, which must be there; `example` shows what to write.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        check: impl FnOnce(&DeValue<'_>) -> Checked<T>,
    ) -> Option<T> {
        let value = self.optional(key, check);
        self.report_missing(key, example);
        value
    }

    /// The checked elements of the list `key`, which must be there and hold so many; `clash` says
    /// what forbids a second element beside a first. Wrong elements are reported one by one.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        counts: RangeInclusive<usize>,
        check: impl Fn(&DeValue<'_>) -> Checked<T>,
        clash: impl Fn(&T, &T) -> Option<Wrong>,
    ) -> Vec<T> {
        let mut elements: Vec<T> = Vec::new();
        let name = full_name(&self.name, key);
        let Some((place, value)) = self.find(key) else {
            self.report_missing(key, example);
            return elements;
        };
        let list = match value.get_ref() {
            DeValue::Array(list) if counts.contains(&list.len()) => list,
            other => {
                let what = match other {
                    DeValue::Array(list) if list.is_empty() => "an empty list".into(),
                    DeValue::Array(list) => format!("a list of {}", list.len()),
                    other => format!("{}, not a list", kind_of(other)),
                };
                let (least, most) = (counts.start(), counts.end());
                let allowed = format!("a list of {least} to {most} like {example}");
                self.reader
                    .wrong_at(&name, place, Wrong::new(what, allowed));
                return elements;
            }
        };
        for element in list {
            let checked = check(element.get_ref()).and_then(|new| {
                let wrong = elements.iter().find_map(|old| clash(old, &new));
                wrong.map_or(Ok(new), Err)
            });
            match checked {
                Ok(new) => elements.push(new),
                Err(wrong) => self.reader.wrong_at(&name, element.span(), wrong),
            }
        }
        elements
    }

    /// Puts aside the keys that nobody has asked for.
    pub(super) fn close(self) {
        for (key, value) in self.table.into_iter().flatten() {
            let asked = |known: &(String, &str)| {
                (known.0.as_str(), known.1) == (self.name.as_str(), key.get_ref().as_ref())
            };
            if !self.reader.known.iter().any(asked) {
                // a section's own span is its header; a dotted key's span is the key itself
                let place = match value.get_ref() {
                    DeValue::Table(_) => value.span(),
                    _ => key.span(),
                };
                let name = key.get_ref().as_ref().to_owned();
                self.reader.unknown.push((self.name.clone(), name, place));
            }
        }
    }

    /// The value of `key` and its place.
    pub(super) fn find(
        &mut self,
        key: &'static str,
    ) -> Option<(Range<usize>, &'d Spanned<DeValue<'t>>)> {
        self.reader.known.push((self.name.clone(), key));
        let value = self.table?.get(key)?;
        let name = full_name(&self.name, key);
        self.reader.places.insert(name, value.span());
        Some((value.span(), value))
    }

    /// True if the file sets `key` of this section.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.reader.is_written(&full_name(&self.name, key))
    }

    /// Notes what is wrong with `key` of this section.
    pub(super) fn wrong(&mut self, key: &str, wrong: Wrong) {
        let name = full_name(&self.name, key);
        self.reader.wrong(&name, wrong);
    }

    /// Notes what is wrong with this section as a whole.
    pub(super) fn wrong_itself(&mut self, wrong: Wrong) {
        let name = self.name.clone();
        let place = self.place.clone();
        let mut finding = self.reader.finding_at(&name, place, wrong);
        finding.value = None; // the place is that of the section's header
        self.reader.findings.push(finding);
    }

    /// Notes what is wrong with a section inside this one whose name is the user's own.
    pub(super) fn wrong_inside(&mut self, key: &str, wrong: Wrong) {
        let value = self.table.and_then(|table| table.get(key));
        let name = full_name(&self.name, key);
        let mut finding = self
            .reader
            .finding_at(&name, value.map(Spanned::span), wrong);
        finding.value = None; // the place is that of the section's header
        self.reader.findings.push(finding);
    }

    /// Reports that `key` is missing, if it is.
    pub(super) fn report_missing(&mut self, key: &str, example: &str) {
        let name = full_name(&self.name, key);
        if self.reports_missing && !self.reader.is_written(&name) {
            let wrong = Wrong::new(KEY_MISSING, format!("write {key} = {example}"));
            let mut finding = self.reader.finding_at(&name, self.place.clone(), wrong);
            finding.value = None; // the place is that of the section's header
            self.reader.findings.push(finding);
        }
    }
}

fn full_name(section: &str, key: &str) -> String {
    let escaped = key.escape_debug();
    let key: String = escaped.take(VALUE_CHARS_SHOWN).collect();
    match section {
        "" => key,
        _ => format!("{section}.{key}"),
    }
}

/// A value's source on one line, cut.
fn shown(source: &str) -> String {
    let line: Vec<&str> = source.split_whitespace().collect();
    let escaped = |c: char| {
        let plain = !c.is_control();
        let shown: String = if plain {
            c.into()
        } else {
            c.escape_default().collect()
        };
        shown
    };
    let line = line.join(" ");
    let mut chars = line.chars();
    let mut shown: String = chars
        .by_ref()
        .take(VALUE_CHARS_SHOWN)
        .map(escaped)
        .collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

fn line_start(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1)
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    1 + memchr::memchr_iter(b'\n', before).count()
}

fn column_of(text: &str, at: usize) -> usize {
    let line = text.get(line_start(text, at)..at).unwrap_or_default();
    1 + line.chars().count()
}
