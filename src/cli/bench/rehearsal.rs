//! A configuration that rehearses another: the same work by the same settings, from loopback to
//! loopback, with a spool of its own.

use crate::limits::{RULE_BYTES_A_MINUTE_MOST, RULE_REQUESTS_A_MINUTE_MOST};
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::{Table, Value};

/// What a rehearsal has in the place of what the configuration names.
#[derive(Debug)]
pub(super) struct Stage {
    /// Where it listens.
    pub(super) tcp: SocketAddr,
    /// Where its metrics are.
    pub(super) metrics: SocketAddr,
    /// Its spool.
    pub(super) spool: PathBuf,
    /// The stand-in: where it is, its stream, and by what it knows us.
    pub(super) url: String,
    pub(super) stream: String,
    pub(super) tenant_id: String,
    pub(super) client_id: String,
    /// Files of its authority and of the secret.
    pub(super) ca: PathBuf,
    pub(super) secret: PathBuf,
}

/// Keys of `[sentinel]` that stay as they are.
const KEPT: [&str; 3] = ["requests_in_flight", "request_time_max", "heartbeat"];

/// The ids that the rules of all destinations have in a rehearsal.
pub(super) fn rules(config: &Table) -> Vec<String> {
    let sentinel = config.get("sentinel").and_then(Value::as_table);
    let further = config.get("destination").and_then(Value::as_table);
    let further = further.into_iter().flat_map(Table::values);
    let destinations = sentinel
        .into_iter()
        .chain(further.filter_map(Value::as_table));
    rule_ids(0, destinations.map(rules_count).sum())
}

/// How many rules a destination has.
fn rules_count(destination: &Table) -> usize {
    let rules = destination.get("rules").and_then(Value::as_array);
    rules.map_or(1, Vec::len).max(1)
}

/// So many ids, from this number on.
fn rule_ids(first: usize, count: usize) -> Vec<String> {
    (first..first + count)
        .map(|number| format!("dcr-{number:032x}"))
        .collect()
}

/// Changes the configuration into one that rehearses it on `stage`.
///
/// What Azure would hold back by its limits is not held back: the machine is what is measured.
pub(super) fn rehearse(config: &mut Table, stage: &Stage) {
    let whole = |number: usize| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let mut rules_done = 0;
    let mut divert = |destination: &Table| {
        let ids = rule_ids(rules_done, rules_count(destination));
        rules_done += ids.len();
        let ids = ids.into_iter().map(Value::String).collect();
        Table::from_iter([
            ("endpoint".to_owned(), text(&stage.url)),
            ("stream".to_owned(), text(&stage.stream)),
            ("rules".to_owned(), Value::Array(ids)),
        ])
    };
    change(config, "sentinel", |sentinel| {
        let mut diverted = divert(sentinel);
        let kept = KEPT.map(|key| Some((key.to_owned(), sentinel.get(key)?.clone())));
        diverted.extend(kept.into_iter().flatten());
        diverted.extend([
            ("ca_file".to_owned(), text(&stage.ca.display())),
            (
                "rule_bytes_a_minute".to_owned(),
                whole(RULE_BYTES_A_MINUTE_MOST),
            ),
            (
                "rule_requests_a_minute".to_owned(),
                whole(RULE_REQUESTS_A_MINUTE_MOST),
            ),
            ("identity".to_owned(), Value::Table(identity(stage))),
        ]);
        *sentinel = diverted;
    });
    if let Some(Value::Table(further)) = config.get_mut("destination") {
        for (_, destination) in further.iter_mut() {
            if let Value::Table(destination) = destination {
                *destination = divert(destination);
            }
        }
    }
    let mut set = |name: &str, key: &str, value: Value| {
        change(config, name, |section| {
            section.insert(key.to_owned(), value);
        });
    };
    set("listen", "tcp", Value::Array(vec![text(&stage.tcp)]));
    set("metrics", "listen", text(&stage.metrics));
    set("spool", "directory", text(&stage.spool.display()));
    set("log", "level", text(&"warn"));
}

fn identity(stage: &Stage) -> Table {
    Table::from_iter([
        ("kind".to_owned(), text(&"client_secret")),
        ("authority".to_owned(), text(&stage.url)),
        ("tenant_id".to_owned(), text(&stage.tenant_id)),
        ("client_id".to_owned(), text(&stage.client_id)),
        ("secret_file".to_owned(), text(&stage.secret.display())),
    ])
}

fn text(value: &dyn std::fmt::Display) -> Value {
    Value::String(value.to_string())
}

/// Changes a section, which is there afterwards.
fn change(config: &mut Table, name: &str, change: impl FnOnce(&mut Table)) {
    let mut section = match config.remove(name) {
        Some(Value::Table(section)) => section,
        _ => Table::new(),
    };
    change(&mut section);
    config.insert(name.to_owned(), Value::Table(section));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Machine, REFERENCE};

    fn stage() -> Stage {
        Stage {
            tcp: "127.0.0.1:1".parse().unwrap(),
            metrics: "127.0.0.1:2".parse().unwrap(),
            spool: "/spool".into(),
            url: "https://127.0.0.1:3".into(),
            stream: "Custom-A".into(),
            tenant_id: "11111111-1111-1111-1111-111111111111".into(),
            client_id: "22222222-2222-2222-2222-222222222222".into(),
            ca: "/ca".into(),
            secret: "/secret".into(),
        }
    }

    fn rehearsed(text: &str) -> (config::Config, Vec<String>) {
        let mut table: Table = toml::from_str(text).unwrap();
        let rules = rules(&table);
        rehearse(&mut table, &stage());
        let text = toml::to_string(&table).unwrap();
        (config::parse(&text, &Machine::read()).unwrap(), rules)
    }

    #[test]
    fn what_is_not_the_place_stays_as_it_was() {
        let before = config::parse(REFERENCE, &Machine::read()).unwrap();
        let (after, rules) = rehearsed(REFERENCE);
        assert_eq!(rules, ["dcr-00000000000000000000000000000000"]);
        assert_eq!(after.listen.tcp, [stage().tcp]);
        assert_eq!(after.metrics.listen, Some(stage().metrics));
        assert_eq!(after.spool.directory, stage().spool);
        assert_eq!(after.sentinel.endpoint.host(), "127.0.0.1");
        let like_before = config::Config {
            listen: config::Listen {
                tcp: before.listen.tcp.clone(),
                ..after.listen
            },
            spool: config::Spool {
                directory: before.spool.directory.clone(),
                ..after.spool
            },
            sentinel: before.sentinel.clone(),
            metrics: before.metrics.clone(),
            log: before.log.clone(),
            ..after
        };
        assert_eq!(like_before, before);
    }

    #[test]
    fn every_destination_is_diverted_with_as_many_rules_as_it_has() {
        let ids = |numbers: &[u32]| {
            let ids: Vec<String> = numbers.iter().map(|id| format!("dcr-{id:032x}")).collect();
            format!("\nrules = {ids:?}\n")
        };
        let text = REFERENCE
            .replace(&ids(&[0]), &ids(&[7, 8]))
            .replace("\nrequests_in_flight = 8\n", "\nrequests_in_flight = 3\n")
            + "\n[destination.archive]\n\
               endpoint = \"https://a.westeurope-1.ingest.monitor.azure.com\"\n\
               stream = \"Custom-B\""
            + &ids(&[9]);
        let (after, rules) = rehearsed(&text);
        let ids: Vec<String> = after
            .targets()
            .flat_map(|target| target.rules.iter().map(|rule| rule.id.as_str().to_owned()))
            .collect();
        assert_eq!((ids.len(), &ids), (3, &rules));
        for target in after.targets() {
            assert_eq!(target.endpoint.host(), "127.0.0.1");
            assert_eq!(target.stream.as_str(), "Custom-A");
        }
        assert_eq!(after.sentinel.requests_in_flight, 3);
    }
}
