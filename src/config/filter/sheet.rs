//! A table of a rule, read by asking for keys: what was asked for is what is known.

use crate::config::document::Reader;
use crate::config::nearest::nearest;
use crate::config::value::{Checked, Wrong};
use crate::limits::FILTER_NAME_BYTES_MOST;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table of a rule while it is read.
pub(super) struct Sheet<'r, 'd, 't> {
    pub(super) reader: &'r mut Reader<'t>,
    pub(super) table: &'d DeTable<'t>,
    /// Full name of the table.
    pub(super) name: String,
    pub(super) place: Range<usize>,
    pub(super) known: Vec<&'static str>,
}

impl<'r, 'd, 't> Sheet<'r, 'd, 't> {
    pub(super) fn of(
        reader: &'r mut Reader<'t>,
        table: &'d DeTable<'t>,
        name: String,
        place: Range<usize>,
    ) -> Self {
        Sheet {
            reader,
            table,
            name,
            place,
            known: Vec::new(),
        }
    }

    pub(super) fn find(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// The checked value of `key`; nothing if it is not there or is wrong.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&DeValue<'t>) -> Checked<T>,
    ) -> Option<T> {
        let value = self.find(key)?;
        match check(value.get_ref()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong_at(key, value.span(), wrong);
                None
            }
        }
    }

    /// The same for a key that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        check: impl FnOnce(&DeValue<'t>) -> Checked<T>,
    ) -> Option<T> {
        let value = self.optional(key, check);
        if !self.table.contains_key(key) {
            let wrong = Wrong::new("this key is missing", format!("write {key} = {example}"));
            self.wrong_at(key, self.place.clone(), wrong.bare());
        }
        value
    }

    /// The checked elements of a list, or a single one without brackets.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        count_max: usize,
        check: impl Fn(&DeValue<'t>) -> Checked<T>,
    ) -> Option<Vec<T>> {
        let value = self.find(key)?;
        let single = std::slice::from_ref(value);
        let elements: &[Spanned<DeValue<'t>>] = match value.get_ref() {
            DeValue::Array(list) if list.is_empty() || list.len() > count_max => {
                let what = match list.len() {
                    0 => "an empty list matches nothing".to_owned(),
                    count => format!("a list of {count}"),
                };
                let wrong = Wrong::new(what, format!("1 to {count_max} values"));
                self.wrong_at(key, value.span(), wrong);
                return None;
            }
            DeValue::Array(list) => list,
            _ => single,
        };
        let mut checked = Vec::new();
        for element in elements {
            match check(element.get_ref()) {
                Ok(good) => checked.push(good),
                Err(wrong) => self.wrong_at(key, element.span(), wrong),
            }
        }
        (checked.len() == elements.len()).then_some(checked)
    }

    pub(super) fn wrong_at(&mut self, key: &str, place: Range<usize>, wrong: Wrong) {
        let name = match key {
            "" => self.name.clone(),
            key => format!("{}.{key}", self.name),
        };
        self.reader.wrong_at(&name, place, wrong);
    }

    /// Reports the keys that nobody has asked for.
    pub(super) fn close(mut self) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let allowed = match nearest(name, self.known.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("keys here are {}", self.known.join(", ")),
            };
            let name: String = name.escape_debug().take(FILTER_NAME_BYTES_MOST).collect();
            self.wrong_at(&name, key.span(), Wrong::new("unknown key", allowed).bare());
        }
    }
}
