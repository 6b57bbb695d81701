//! The rules of all destinations, and what they are called in findings.

use super::network::Host;
use crate::config::{Config, DestinationId, Rule, Target};
use crate::upload::destinations::DestinationIndex;
use crate::upload::rules::RuleIndex;

/// The rules of all destinations with their places.
pub(super) fn places(
    config: &Config,
) -> impl Iterator<Item = (Target<'_>, &Rule, (DestinationIndex, RuleIndex))> {
    config.targets().enumerate().flat_map(|(at, target)| {
        let at = DestinationIndex::at(at);
        let rules = target.rules.iter().enumerate();
        rules.map(move |(index, rule)| (target, rule, (at, RuleIndex::at(index))))
    })
}

/// What a rule is called here: by its id, with the name of a further destination before it.
pub(super) fn name_of(target: &Target<'_>, rule: &Rule) -> String {
    match target.id {
        DestinationId::SENTINEL => rule.id.as_str().to_owned(),
        _ => format!("{} {}", target.name, rule.id.as_str()),
    }
}

/// Where a rule is reached, and the key that says so.
pub(super) fn endpoint_of(target: &Target<'_>, rule: &Rule) -> Host {
    let is_further = target.id != DestinationId::SENTINEL;
    Host {
        url: target.endpoint_of(rule).clone(),
        key: match rule.endpoint {
            _ if is_further => "destination",
            Some(_) => "sentinel.rules",
            None => "sentinel.endpoint",
        },
    }
}
