//! Destinations: where rows go. That of `[sentinel]` is always there; `[destination.NAME]` are further
//! ones, with rules, a stream and perhaps an endpoint of their own. Who we are, what is trusted and
//! how bodies are made is the same for all of them, and stands in `[sentinel]` and `[batch]`.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::azure::{self, Cloud};
use super::document::Section;
use super::value::Wrong;
use super::{Config, EndpointUrl, Rule, Sentinel, StreamName};
use crate::limits::{DESTINATION_NAME_BYTES_MOST, DESTINATIONS_FURTHER_MOST, RULES_MOST};

/// Tells destinations apart: follows from the name alone, so that it means the same in each core, in
/// each run and on disk, whatever other destinations there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DestinationId(u64);

impl DestinationId {
    /// That of `[sentinel]`, which every row goes to unless something sends it elsewhere.
    pub const SENTINEL: DestinationId = DestinationId(0);

    /// That of the destination with this name: FNV-1a of 64 bits, but for `sentinel`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name == SENTINEL_NAME {
            return DestinationId::SENTINEL;
        }
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte: u8| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        DestinationId(hash.max(1))
    }

    /// As it is kept on disk.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// As it was kept on disk; of a name that this configuration need not have.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        DestinationId(bits)
    }
}

/// What the destination of `[sentinel]` is called.
pub const SENTINEL_NAME: &str = "sentinel";

/// The names of further destinations, whether or not they are well formed.
pub(super) fn names<'d>(root: &'d DeTable<'_>) -> Vec<&'d str> {
    let written = root.get("destination").map(Spanned::get_ref);
    let tables = written.and_then(DeValue::as_table).into_iter().flatten();
    tables.map(|(name, _)| name.get_ref().as_ref()).collect()
}

/// `[destination.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// NAME.
    pub name: String,
    /// Base URL for the rules that have none of their own.
    pub endpoint: EndpointUrl,
    /// The data collection rules.
    pub rules: Vec<Rule>,
    /// Name of the stream in the rules.
    pub stream: StreamName,
}

/// A destination, be it that of `[sentinel]` or a further one.
#[derive(Debug, Clone, Copy)]
pub struct Target<'c> {
    /// Its name.
    pub name: &'c str,
    /// Follows from the name.
    pub id: DestinationId,
    /// Base URL for the rules that have none of their own.
    pub endpoint: &'c EndpointUrl,
    /// The data collection rules.
    pub rules: &'c [Rule],
    /// Name of the stream in the rules.
    pub stream: &'c StreamName,
}

impl<'c> Target<'c> {
    /// Where one of its rules takes rows.
    #[must_use]
    pub fn endpoint_of(&self, rule: &'c Rule) -> &'c EndpointUrl {
        rule.endpoint.as_ref().unwrap_or(self.endpoint)
    }

    /// What its keys begin with: `sentinel`, or `destination.NAME`.
    #[must_use]
    pub fn section(&self) -> String {
        match self.id {
            DestinationId::SENTINEL => SENTINEL_NAME.to_owned(),
            _ => format!("destination.{}", self.name),
        }
    }
}

impl Config {
    /// All destinations; that of `[sentinel]` is the first.
    pub fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        let sentinel = &self.sentinel;
        let first = Target {
            name: SENTINEL_NAME,
            id: DestinationId::SENTINEL,
            endpoint: &sentinel.endpoint,
            rules: &sentinel.rules,
            stream: &sentinel.stream,
        };
        let further = self.destinations.iter().map(|destination| Target {
            name: &destination.name,
            id: DestinationId::of(&destination.name),
            endpoint: &destination.endpoint,
            rules: &destination.rules,
            stream: &destination.stream,
        });
        std::iter::once(first).chain(further)
    }
}

/// Reads `[destination]`, whose sections are the further destinations. `sentinel` is what was read of
/// `[sentinel]`, and `checked` says that hosts must be Azure's.
pub(super) fn destinations(
    mut section: Section<'_, '_, '_>,
    sentinel: Option<&Sentinel>,
    checked: bool,
) -> Vec<Destination> {
    let names = section.names();
    if names.len() > DESTINATIONS_FURTHER_MOST {
        let what = format!("{} of them", names.len());
        let allowed = format!("at most {DESTINATIONS_FURTHER_MOST} besides [sentinel]");
        section.wrong_itself(Wrong::new(what, allowed));
        return Vec::new();
    }
    let mut known = vec![(SENTINEL_NAME.to_owned(), DestinationId::SENTINEL)];
    let mut destinations = Vec::new();
    for name in names {
        if let Err(wrong) = named(&name, &known) {
            section.wrong_inside(&name, wrong);
            continue;
        }
        known.push((name.clone(), DestinationId::of(&name)));
        let inner = section.inner(&name);
        destinations.extend(destination(inner, &name, sentinel, checked));
    }
    destinations
}

/// Whether a destination may have this name beside those that are known.
fn named(name: &str, known: &[(String, DestinationId)]) -> Result<(), Wrong> {
    const LENGTHS: RangeInclusive<usize> = 1..=DESTINATION_NAME_BYTES_MOST;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
    if !LENGTHS.contains(&name.len()) || !name.bytes().all(plain) {
        let allowed = format!(
            "1 to {DESTINATION_NAME_BYTES_MOST} lower-case letters, digits, _ or -, like \
             [destination.basic]"
        );
        return Err(Wrong::new("not a destination's name", allowed));
    }
    if name == SENTINEL_NAME {
        let what = "the name of the destination in [sentinel]";
        return Err(Wrong::new(what, "another name"));
    }
    let id = DestinationId::of(name);
    match known.iter().find(|(_, other)| *other == id) {
        Some((other, _)) => {
            let what = format!("cannot be told from {other} on disk");
            Err(Wrong::new(what, "another name"))
        }
        None => Ok(()),
    }
}

fn destination(
    mut section: Section<'_, '_, '_>,
    name: &str,
    sentinel: Option<&Sentinel>,
    checked: bool,
) -> Option<Destination> {
    let cloud = sentinel.and_then(|sentinel| Cloud::of_endpoint(sentinel.endpoint.host()));
    let in_cloud = |url: &EndpointUrl| match (cloud, Cloud::of_endpoint(url.host())) {
        (Some(cloud), Some(other)) if checked && cloud != other => Err(Wrong::new(
            format!("in the {} cloud, and sentinel.endpoint is not", other.name),
            "the cloud of [sentinel], whose token is used, or endpoint_check = false",
        )),
        _ => Ok(()),
    };
    let rules = section.list(
        "rules",
        "[\"dcr-00000000000000000000000000000000\"], with the rule's immutableId",
        1..=RULES_MOST,
        |written| {
            let rule = azure::rule(written, checked)?;
            rule.endpoint.as_ref().map_or(Ok(()), in_cloud)?;
            Ok(rule)
        },
        |old: &Rule, new: &Rule| {
            let same = old.id.as_str().eq_ignore_ascii_case(new.id.as_str());
            same.then(|| Wrong::new("a second time in this list", "each rule once"))
        },
    );
    let endpoint = section.optional("endpoint", |written| {
        let url = azure::endpoint(written, checked)?;
        in_cloud(&url)?;
        Ok(url)
    });
    let stream = section.required("stream", "\"Custom-NAME\"", azure::stream);
    section.close();
    Some(Destination {
        name: name.to_owned(),
        endpoint: endpoint.or_else(|| Some(sentinel?.endpoint.clone()))?,
        rules,
        stream: stream?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is on disk rests on this: a change would send the rows of a spool elsewhere.
    #[test]
    fn ids_follow_from_the_name_and_stay_what_they_are() {
        for (name, bits) in [
            ("sentinel", 0),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(DestinationId::of(name).to_bits(), bits, "{name}");
            assert_eq!(DestinationId::from_bits(bits), DestinationId::of(name));
        }
        assert_eq!(DestinationId::default(), DestinationId::SENTINEL);
    }

    #[test]
    fn two_names_with_one_id_are_refused() {
        let known = [("other".to_owned(), DestinationId::of("basic"))];
        let wrong = named("basic", &known).unwrap_err();
        assert_eq!(wrong.what, "cannot be told from other on disk");
        assert!(named("basic", &[]).is_ok());
    }
}
