//! Which rules may mean a record, by its vendor: those of other vendors cost it nothing.

use crate::config::filter::{Condition, Field, Filter, How, Test};

/// Which rules may mean records of a vendor.
#[derive(Debug)]
pub(super) struct Vendors {
    /// Those that rules name, by length, each with the rules in their order; in small letters unless
    /// all are asked for as they are written.
    named: Vec<(Vec<u8>, Vec<u16>)>,
    /// Rules that may mean any other.
    others: Vec<u16>,
    /// No rule asks for a vendor in either case: whoever is found here has been asked.
    is_exact: bool,
}

impl Vendors {
    pub(super) fn of(rules: &[Filter]) -> Self {
        let is_exact = !rules
            .iter()
            .filter_map(|rule| vendors_of(&rule.when))
            .any(|(_, _, ignore_case)| ignore_case);
        let asked = rules.iter().map(|rule| {
            let (_, texts, _) = vendors_of(&rule.when)?;
            let names = texts.iter().map(|text| match is_exact {
                true => text.clone().into_bytes(),
                false => text.to_ascii_lowercase().into_bytes(),
            });
            Some(names.collect())
        });
        let asked: Vec<Option<Vec<Vec<u8>>>> = asked.collect();
        let mut names: Vec<Vec<u8>> = asked.iter().flatten().flatten().cloned().collect();
        names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        names.dedup();
        let rules_for = |name: Option<&Vec<u8>>| {
            let rules = (0..).zip(&asked);
            let may = rules.filter(|(_, asked)| match (asked, name) {
                (None, _) => true,
                (Some(asked), Some(name)) => asked.contains(name),
                (Some(_), None) => false,
            });
            may.map(|(index, _)| index).collect::<Vec<u16>>()
        };
        let named = names.into_iter().map(|name| {
            let rules = rules_for(Some(&name));
            (name, rules)
        });
        Vendors {
            named: named.collect(),
            others: rules_for(None),
            is_exact,
        }
    }

    /// What is left to be asked of a record that was found by its vendor.
    pub(super) fn left<'w>(&self, when: &'w [Condition]) -> impl Iterator<Item = &'w Condition> {
        let settled = vendors_of(when).filter(|_| self.is_exact);
        let settled = settled.map(|(place, ..)| place);
        let left = when.iter().enumerate();
        left.filter(move |(place, _)| Some(*place) != settled)
            .map(|(_, one)| one)
    }

    pub(super) fn rules(&self, vendor: Option<&[u8]>) -> &[u16] {
        let vendor = vendor.unwrap_or_default();
        let start = self
            .named
            .partition_point(|(name, _)| name.len() < vendor.len());
        let alike = self.named.iter().skip(start);
        alike
            .take_while(|(name, _)| name.len() == vendor.len())
            .find(|(name, _)| match self.is_exact {
                true => name == vendor,
                false => name.eq_ignore_ascii_case(vendor),
            })
            .map_or(&self.others, |(_, rules)| rules)
    }
}

/// Which condition of a rule asks for vendors, which ones, and whether in either case; nothing if none
/// does.
fn vendors_of(when: &[Condition]) -> Option<(usize, &[String], bool)> {
    when.iter().enumerate().find_map(|(place, one)| match one {
        Condition::Value(
            Field::Column(column),
            Test::Text {
                how: How::Equals,
                texts,
                ignore_case,
            },
        ) if column.name == "DeviceVendor" => Some((place, &texts[..], *ignore_case)),
        _ => None,
    })
}
