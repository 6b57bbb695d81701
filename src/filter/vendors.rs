//! Which rules may mean a record, by its vendor: those of other vendors cost it nothing.

use crate::config::filter::{Condition, Field, Filter, How, Test};

/// Which rules may mean records of a vendor.
#[derive(Debug)]
pub(super) struct Vendors {
    /// Those that rules name, in small letters and by length, each with the rules in their order.
    named: Vec<(Vec<u8>, Vec<u16>)>,
    /// Rules that may mean any other.
    others: Vec<u16>,
}

impl Vendors {
    pub(super) fn of(rules: &[Filter]) -> Self {
        let asked: Vec<Option<Vec<Vec<u8>>>> =
            rules.iter().map(|rule| vendors_of(&rule.when)).collect();
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
        }
    }

    pub(super) fn rules(&self, vendor: Option<&[u8]>) -> &[u16] {
        let vendor = vendor.unwrap_or_default();
        let start = self
            .named
            .partition_point(|(name, _)| name.len() < vendor.len());
        let alike = self.named.iter().skip(start);
        alike
            .take_while(|(name, _)| name.len() == vendor.len())
            .find(|(name, _)| name.eq_ignore_ascii_case(vendor))
            .map_or(&self.others, |(_, rules)| rules)
    }
}

/// The vendors that a rule asks for, in small letters; nothing if it does not ask.
fn vendors_of(all: &[Condition]) -> Option<Vec<Vec<u8>>> {
    all.iter().find_map(|one| match one {
        Condition::Value(
            field,
            Test::Text {
                how: How::Equals,
                texts,
                ..
            },
        ) if field.name() == "DeviceVendor" && matches!(field, Field::Column(_)) => {
            let small = texts
                .iter()
                .map(|text| text.to_ascii_lowercase().into_bytes());
            Some(small.collect())
        }
        Condition::All(inner) => vendors_of(inner),
        _ => None,
    })
}
