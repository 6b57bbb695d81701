//! One function for each section: its keys, their defaults, their checks.
//!
//! To add a key: ask for it here, explain it in `reference.toml` (a test will miss it there).
//! Kinds of identity are in `identity_keys`.

use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use super::azure::{self, CLOUDS, Cloud, EndpointUrl, StreamName};
use super::document::{Reader, Section, toml_of};
use super::files::{Holds, NamedFile, named};
use super::filter;
use super::finding::Finding;
use super::value::{self, Wrong};
use super::{
    Batch, BodyReading, Config, Durability, FramingChoice, GzipLevel, Io, Listen, Loaded, Log,
    LogFormat, Machine, Map, Metrics, Rule, Runtime, Sandbox, SandboxMode, SecretFrom, Semicolon,
    Sentinel, Spool, TimeGenerated, Unparsed, WhenFull, destination, identity_keys, relations,
};
use crate::limits::{
    BODY_BYTES_LEAST, BODY_RAW_BYTES_DEFAULT, BODY_RAW_BYTES_MOST, BODY_WIRE_BYTES_DEFAULT,
    CONNECTIONS_DEFAULT, CONNECTIONS_MOST, FRAME_BYTES_DEFAULT, FRAME_BYTES_LEAST,
    FRAME_BYTES_MOST, GZIP_LEVEL_LEAST, GZIP_LEVEL_MOST, HEARTBEAT_DEFAULT, HEARTBEAT_LEAST,
    HEARTBEAT_MOST, LINGER_DEFAULT, LINGER_LEAST, LINGER_MOST, LISTENERS_MOST, PAGES_BYTES_DEFAULT,
    PAGES_BYTES_LEAST, PAGES_BYTES_MOST, PARTIAL_AGE_DEFAULT, PARTIAL_AGE_LEAST, PARTIAL_AGE_MOST,
    PARTIAL_BYTES_DEFAULT, PARTIAL_BYTES_MOST, QUARANTINE_BYTES_DEFAULT, REQUEST_TIME_DEFAULT,
    REQUEST_TIME_LEAST, REQUEST_TIME_MOST, REQUESTS_IN_FLIGHT_DEFAULT, REQUESTS_IN_FLIGHT_MOST,
    RULE_BYTES_A_MINUTE, RULE_BYTES_A_MINUTE_LEAST, RULE_BYTES_A_MINUTE_MOST,
    RULE_REQUESTS_A_MINUTE, RULE_REQUESTS_A_MINUTE_LEAST, RULE_REQUESTS_A_MINUTE_MOST, RULES_MOST,
    SERVICE_BODY_BYTES_MAX, SPOOL_BYTES_DEFAULT, SPOOL_BYTES_LEAST, SPOOL_BYTES_MOST,
    SPOOL_DIRECTORY_DEFAULT, SPOOL_DRAIN_SHARE_DEFAULT, STOP_TIME_DEFAULT, STOP_TIME_MOST,
};

/// What reading a text gave.
pub(super) struct Reading {
    /// Nothing if a key without which there is no configuration is missing or wrong.
    config: Option<Config>,
    pub(super) findings: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    /// Files that the configuration names, yet to be looked at.
    pub(super) files: Vec<NamedFile>,
}

impl Reading {
    /// The configuration, or all that is wrong with it.
    pub(super) fn into_loaded(mut self) -> Result<Loaded, Vec<Finding>> {
        self.findings.sort_by_key(|finding| finding.line);
        self.warnings.sort_by_key(|warning| warning.line);
        match self.config {
            Some(config) if self.findings.is_empty() => Ok(Loaded {
                config,
                warnings: self.warnings,
            }),
            _ => Err(self.findings),
        }
    }
}

/// Reads a whole text.
pub(super) fn read(text: &str, machine: &Machine) -> Reading {
    let root = match toml_of(text) {
        Ok(root) => root,
        Err(finding) => {
            return Reading {
                config: None,
                findings: vec![*finding],
                warnings: Vec::new(),
                files: Vec::new(),
            };
        }
    };
    let mut reader = Reader::of(text);
    let mut files = Vec::new();
    let config = config(&mut reader, root.get_ref(), machine, &mut files);
    reader.finish();
    let mut warnings = Vec::new();
    if let Some(config) = &config {
        relations::check(&mut reader, config);
        relations::warn(&reader, config, machine, &mut warnings);
    }
    for file in &mut files {
        file.finding = reader.finding(file.key, Wrong::new("", ""));
    }
    Reading {
        config,
        findings: reader.findings,
        warnings,
        files,
    }
}

fn config<'t>(
    reader: &mut Reader<'t>,
    root: &DeTable<'t>,
    machine: &Machine,
    files: &mut Vec<NamedFile>,
) -> Option<Config> {
    let mut top = Section::top(reader, root);
    let listen = listen(top.section("listen", "listen", true));
    let map = map(top.section("map", "map", false), machine);
    let rules = top.find("filter").map(|(_, written)| written);
    let filters = filter::filters(top.reader, rules, Some(&destination::names(root)));
    let batch = batch(top.section("batch", "batch", false));
    let (sentinel, checked) = sentinel(top.section("sentinel", "sentinel", true), files);
    let further = top.section("destination", "destination", false);
    let destinations = destination::destinations(further, sentinel.as_ref(), checked);
    let spool = spool(top.section("spool", "spool", false));
    let runtime = runtime(top.section("runtime", "runtime", false), machine);
    let metrics = metrics(top.section("metrics", "metrics", false));
    let log = log(top.section("log", "log", false));
    let sandbox = sandbox(top.section("sandbox", "sandbox", false));
    top.close();
    Some(Config {
        listen,
        map,
        filters,
        batch,
        sentinel: sentinel?,
        destinations,
        spool,
        runtime,
        metrics,
        log,
        sandbox,
    })
}

fn listen(mut section: Section<'_, '_, '_>) -> Listen {
    const FRAMINGS: &[(&str, FramingChoice)] = &[
        ("auto", FramingChoice::Auto),
        ("octet_counting", FramingChoice::OctetCounting),
        ("delimited", FramingChoice::Delimited),
    ];
    const IOS: &[(&str, Io)] = &[
        ("auto", Io::Auto),
        ("uring", Io::Uring),
        ("epoll", Io::Epoll),
    ];
    let listen = Listen {
        tcp: section.list(
            "tcp",
            "[\"0.0.0.0:514\"]",
            1..=LISTENERS_MOST,
            value::address,
            |old, new| {
                relations::overlap(*old, *new).then(|| {
                    let what = format!("{old} already takes these connections");
                    Wrong::new(what, "each address and port once")
                })
            },
        ),
        framing: section.or("framing", FramingChoice::Auto, |written| {
            value::choice(written, FRAMINGS)
        }),
        frame_bytes_max: section.or("frame_bytes_max", FRAME_BYTES_DEFAULT, |written| {
            value::size(written, FRAME_BYTES_LEAST..=FRAME_BYTES_MOST)
        }),
        connections_max: section.or("connections_max", CONNECTIONS_DEFAULT, |written| {
            value::count(written, 1..=CONNECTIONS_MOST)
        }),
        partial_bytes_max: section.or("partial_bytes_max", PARTIAL_BYTES_DEFAULT, |written| {
            value::size(written, FRAME_BYTES_LEAST..=PARTIAL_BYTES_MOST)
        }),
        partial_age_max: section.or("partial_age_max", PARTIAL_AGE_DEFAULT, |written| {
            value::time(written, PARTIAL_AGE_LEAST..=PARTIAL_AGE_MOST)
        }),
        io: section.or("io", Io::Auto, |written| value::choice(written, IOS)),
    };
    section.close();
    listen
}

fn map(mut section: Section<'_, '_, '_>, machine: &Machine) -> Map {
    const TIMES: &[(&str, TimeGenerated)] = &[
        ("received", TimeGenerated::Received),
        ("header", TimeGenerated::Header),
        ("rt", TimeGenerated::DeviceReceipt),
    ];
    const UNPARSED: &[(&str, Unparsed)] =
        &[("forward", Unparsed::Forward), ("drop", Unparsed::Drop)];
    const SEMICOLONS: &[(&str, Semicolon)] =
        &[("blank", Semicolon::Blank), ("keep", Semicolon::Keep)];
    let host_name = if machine.host_name.is_empty() {
        section.required(
            "collector_host_name",
            "\"NAME\": this machine has none",
            value::host_name,
        )
    } else {
        Some(section.or(
            "collector_host_name",
            machine.host_name.clone(),
            value::host_name,
        ))
    };
    let map = Map {
        time_generated: section.or("time_generated", TimeGenerated::Received, |written| {
            value::choice(written, TIMES)
        }),
        collector_host_name: host_name.unwrap_or_default(),
        time_zone: section.or("time_zone", TimeZone::UTC, value::time_zone),
        unparsed: section.or("unparsed", Unparsed::Forward, |written| {
            value::choice(written, UNPARSED)
        }),
        semicolon: section.or("semicolon", Semicolon::Blank, |written| {
            value::choice(written, SEMICOLONS)
        }),
    };
    section.close();
    map
}

fn batch(mut section: Section<'_, '_, '_>) -> Batch {
    const READINGS: &[(&str, BodyReading)] = &[
        ("strict", BodyReading::Strict),
        ("wire", BodyReading::Wire),
        ("auto", BodyReading::Auto),
    ];
    let levels = GZIP_LEVEL_LEAST as usize..=GZIP_LEVEL_MOST as usize;
    let batch = Batch {
        raw_bytes_max: section.or("raw_bytes_max", BODY_RAW_BYTES_DEFAULT, |written| {
            value::size(written, BODY_BYTES_LEAST..=BODY_RAW_BYTES_MOST)
        }),
        wire_bytes_max: section.or("wire_bytes_max", BODY_WIRE_BYTES_DEFAULT, |written| {
            value::size(written, BODY_BYTES_LEAST..=SERVICE_BODY_BYTES_MAX)
        }),
        linger: section.or("linger", LINGER_DEFAULT, |written| {
            value::time(written, LINGER_LEAST..=LINGER_MOST)
        }),
        gzip_level: section.or("gzip_level", GzipLevel::Auto, |written| {
            let level = value::count_or_auto(written, levels)?;
            Ok(level.map_or(GzipLevel::Auto, |level| GzipLevel::Zlib(level as u32)))
        }),
        body_limit: section.or("body_limit", BodyReading::Strict, |written| {
            value::choice(written, READINGS)
        }),
    };
    section.close();
    batch
}

/// Reads `[sentinel]`, and says whether hosts are checked.
fn sentinel(
    mut section: Section<'_, '_, '_>,
    files: &mut Vec<NamedFile>,
) -> (Option<Sentinel>, bool) {
    // first, since it says how strictly the hosts are checked
    let checked = section.or("endpoint_check", true, value::boolean);
    (sentinel_of(section, checked, files), checked)
}

fn sentinel_of(
    mut section: Section<'_, '_, '_>,
    checked: bool,
    files: &mut Vec<NamedFile>,
) -> Option<Sentinel> {
    let rules = section.list(
        "rules",
        "[\"dcr-00000000000000000000000000000000\"], with the rule's immutableId",
        1..=RULES_MOST,
        |written| azure::rule(written, checked),
        |old: &Rule, new: &Rule| {
            let same = old.id.as_str().eq_ignore_ascii_case(new.id.as_str());
            same.then(|| Wrong::new("a second time in this list", "each rule once"))
        },
    );
    let of_endpoint = |written: &DeValue<'_>| azure::endpoint(written, checked);
    let endpoint = match &rules[..] {
        [first, ..] if rules.iter().all(|rule| rule.endpoint.is_some()) => section
            .optional("endpoint", of_endpoint)
            .or_else(|| first.endpoint.clone()),
        _ => {
            let example = "\"https://NAME.REGION-1.ingest.monitor.azure.com\"";
            section.required("endpoint", example, of_endpoint)
        }
    };
    let rule_bytes_a_minute = section.or("rule_bytes_a_minute", RULE_BYTES_A_MINUTE, |written| {
        value::size(
            written,
            RULE_BYTES_A_MINUTE_LEAST..=RULE_BYTES_A_MINUTE_MOST,
        )
    });
    let rule_requests_a_minute = section.or(
        "rule_requests_a_minute",
        RULE_REQUESTS_A_MINUTE,
        |written| {
            value::count(
                written,
                RULE_REQUESTS_A_MINUTE_LEAST..=RULE_REQUESTS_A_MINUTE_MOST,
            )
        },
    );
    let stream = section.or("stream", stream_default(), azure::stream);
    let ca_file = section.optional("ca_file", value::path);
    if let Some(file) = &ca_file {
        let source = SecretFrom::File(file.clone());
        files.push(named("sentinel.ca_file", source, Holds::Certificates));
    }
    let requests_in_flight = section.or(
        "requests_in_flight",
        REQUESTS_IN_FLIGHT_DEFAULT,
        |written| value::count(written, 1..=REQUESTS_IN_FLIGHT_MOST),
    );
    let request_time_max = section.or("request_time_max", REQUEST_TIME_DEFAULT, |written| {
        value::time(written, REQUEST_TIME_LEAST..=REQUEST_TIME_MOST)
    });
    let heartbeat = section.or(
        "heartbeat",
        Some(HEARTBEAT_DEFAULT),
        |written| match written.as_str() {
            Some("off") => Ok(None),
            _ => value::time(written, HEARTBEAT_LEAST..=HEARTBEAT_MOST)
                .map(Some)
                .map_err(|wrong| Wrong {
                    allowed: format!("\"off\", or {}", wrong.allowed),
                    ..wrong
                }),
        },
    );
    let proxy = identity_keys::proxy(&mut section, files);
    let own = rules.iter().filter_map(|rule| rule.endpoint.as_ref());
    let hosts: Vec<&str> = endpoint.iter().chain(own).map(EndpointUrl::host).collect();
    let cloud = section.optional("cloud", |written| cloud(written, &hosts, checked));
    let cloud = cloud.or_else(|| Cloud::of_endpoint(hosts.first()?));
    let inner = section.section("identity", "sentinel.identity", true);
    let identity = identity_keys::identity(inner, cloud, checked, files);
    section.close();
    Some(Sentinel {
        endpoint: endpoint?,
        rules,
        rule_bytes_a_minute,
        rule_requests_a_minute,
        stream,
        identity: identity?,
        ca_file,
        proxy,
        requests_in_flight,
        request_time_max,
        heartbeat,
    })
}

/// The cloud by its name. With `checked` all hosts must be in it, but for this machine's.
fn cloud(written: &DeValue<'_>, hosts: &[&str], checked: bool) -> Result<&'static Cloud, Wrong> {
    let words: Vec<(&str, &Cloud)> = CLOUDS.iter().map(|cloud| (cloud.word, cloud)).collect();
    let cloud = value::choice(written, &words)?;
    let other = |host: &&&str| Cloud::of_endpoint(host).is_some_and(|of| of != cloud);
    match hosts.iter().find(other) {
        Some(host) if checked => {
            let what = format!("not the cloud of {host}");
            Err(Wrong::new(
                what,
                "the endpoint's cloud, or endpoint_check = false",
            ))
        }
        _ => Ok(cloud),
    }
}

fn spool(mut section: Section<'_, '_, '_>) -> Spool {
    const DURABILITIES: &[(&str, Durability)] = &[
        ("memory", Durability::Memory),
        ("process", Durability::Process),
        ("power", Durability::Power),
    ];
    const POLICIES: &[(&str, WhenFull)] = &[
        ("backpressure", WhenFull::Backpressure),
        ("drop_oldest", WhenFull::DropOldest),
    ];
    let size = |range: std::ops::RangeInclusive<usize>| {
        move |written: &DeValue<'_>| value::size(written, range.clone())
    };
    let spool = Spool {
        directory: section.or("directory", SPOOL_DIRECTORY_DEFAULT.into(), value::path),
        durability: section.or("durability", Durability::Power, |written| {
            value::choice(written, DURABILITIES)
        }),
        bytes_max: section.or(
            "bytes_max",
            SPOOL_BYTES_DEFAULT,
            size(SPOOL_BYTES_LEAST..=SPOOL_BYTES_MOST),
        ),
        free_bytes_min: section.optional("free_bytes_min", size(0..=SPOOL_BYTES_MOST)),
        when_full: section.or("when_full", WhenFull::Backpressure, |written| {
            value::choice(written, POLICIES)
        }),
        drain_share: section.or("drain_share", SPOOL_DRAIN_SHARE_DEFAULT, |written| {
            value::count(written, 1..=99).map(|share| share as u32)
        }),
        quarantine_bytes_max: section.or(
            "quarantine_bytes_max",
            QUARANTINE_BYTES_DEFAULT,
            size(0..=SPOOL_BYTES_MOST),
        ),
    };
    section.close();
    spool
}

fn runtime(mut section: Section<'_, '_, '_>, machine: &Machine) -> Runtime {
    let cores_count = machine.cores.len();
    let cores = |written: &DeValue<'_>| value::cores(written, cores_count);
    let ingest = section.or("ingest_cores", None, cores);
    let upload = section.or("upload_cores", None, cores);
    let (ingest_cores, upload_cores) = shares(ingest, upload, machine.cores_usable());
    let pin = section.or("pin", true, value::boolean);
    let pages_default =
        PAGES_BYTES_DEFAULT.max(relations::pages_bytes_enough(ingest_cores, upload_cores));
    let runtime = Runtime {
        ingest_cores,
        upload_cores,
        pin: pin && relations::unpinned_because(ingest_cores + upload_cores, machine).is_none(),
        pages_bytes_max: section.or("pages_bytes_max", pages_default, |written| {
            value::size(written, PAGES_BYTES_LEAST..=PAGES_BYTES_MOST)
        }),
        stop_time_max: section.or("stop_time_max", STOP_TIME_DEFAULT, |written| {
            value::time(written, std::time::Duration::ZERO..=STOP_TIME_MOST)
        }),
    };
    section.close();
    runtime
}

/// Cores for ingest and for upload, out of `usable`. Receiving, parsing and mapping takes 1.5 CPU-seconds
/// for a million messages, compressing, keeping and sending 1.6: so half goes to ingest, no more than
/// upload leaves, and the rest to upload; each side gets at least one.
fn shares(ingest: Option<usize>, upload: Option<usize>, usable: usize) -> (usize, usize) {
    let half = usable / 2;
    let ingest = ingest.unwrap_or_else(|| {
        let left = usable.saturating_sub(upload.unwrap_or(0));
        half.min(left).max(1)
    });
    let upload = upload.unwrap_or_else(|| usable.saturating_sub(ingest).max(1));
    (ingest, upload)
}

fn metrics(mut section: Section<'_, '_, '_>) -> Metrics {
    let default = std::net::SocketAddr::from(([127, 0, 0, 1], 9514));
    let listen = section.or("listen", Some(default), |written| match written.as_str() {
        Some("off") => Ok(None),
        _ => value::address(written).map(Some).map_err(|wrong| Wrong {
            allowed: "\"off\", or IP:PORT like \"127.0.0.1:9514\", port 1 to 65535".into(),
            ..wrong
        }),
    });
    section.close();
    Metrics { listen }
}

fn log(mut section: Section<'_, '_, '_>) -> Log {
    const LEVELS: &[(&str, tracing::Level)] = &[
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log = Log {
        level: section.or("level", tracing::Level::INFO, |written| {
            value::choice(written, LEVELS)
        }),
        format: section.or("format", LogFormat::Text, |written| {
            value::choice(written, FORMATS)
        }),
    };
    section.close();
    log
}

fn sandbox(mut section: Section<'_, '_, '_>) -> Sandbox {
    const MODES: &[(&str, SandboxMode)] = &[
        ("auto", SandboxMode::Auto),
        ("require", SandboxMode::Require),
        ("off", SandboxMode::Off),
    ];
    let mode = section.or("mode", SandboxMode::Auto, |written| {
        value::choice(written, MODES)
    });
    section.close();
    Sandbox { mode }
}

fn stream_default() -> StreamName {
    StreamName("Custom-CommonSecurityLog".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::REFERENCE;

    #[test]
    fn cores_are_shared_as_measured() {
        for (usable, expected) in [
            (1, (1, 1)),
            (2, (1, 1)),
            (3, (1, 2)),
            (4, (2, 2)),
            (5, (2, 3)),
            (8, (4, 4)),
            (16, (8, 8)),
            (64, (32, 32)),
        ] {
            assert_eq!(shares(None, None, usable), expected, "{usable}");
        }
        assert_eq!(shares(Some(2), None, 8), (2, 6));
        assert_eq!(shares(None, Some(7), 8), (1, 7));
        assert_eq!(shares(None, Some(8), 8), (1, 8));
        assert_eq!(shares(Some(8), None, 8), (8, 1));
    }

    fn machine(cores_count: usize) -> Machine {
        Machine {
            cores: (0..cores_count).collect(),
            cores_quota: None,
            host_name: "collector".into(),
        }
    }

    /// The lines of the reference that hold keys: section, key, whether it is behind a `#`.
    fn reference_keys() -> Vec<(String, String, bool)> {
        let mut section = String::new();
        let mut keys = Vec::new();
        for line in REFERENCE.lines() {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                section = name.to_owned();
            } else if let Some((key, _)) = line.split_once(" = ")
                && !line.starts_with("# ")
            {
                let plain = key.trim_start_matches('#');
                keys.push((section.clone(), plain.to_owned(), plain != key));
            }
        }
        keys
    }

    #[test]
    fn the_reference_explains_every_key_and_no_other() {
        let root = toml_of(REFERENCE).unwrap();
        let mut reader = Reader::of(REFERENCE);
        config(&mut reader, root.get_ref(), &machine(4), &mut Vec::new());
        let known = reader.known.iter();
        let mut known: Vec<(&str, &str)> = known.map(|(of, key)| (of.as_str(), *key)).collect();
        known.retain(|(section, key)| !section.is_empty() && *key != "identity"); // sections
        known.sort_unstable();
        let written = reference_keys();
        let mut written: Vec<(&str, &str)> = written
            .iter()
            .map(|(section, key, _)| (section.as_str(), key.as_str()))
            .collect();
        written.sort_unstable();
        assert_eq!(known, written);
    }

    #[test]
    fn the_values_of_the_reference_are_the_defaults() {
        // only what has no default
        let must = [
            "tcp",
            "endpoint",
            "rules",
            "kind",
            "tenant_id",
            "client_id",
            "secret_file",
        ];
        let smallest: Vec<&str> = REFERENCE
            .lines()
            .filter(|line| {
                let key = line.split(" = ").next().unwrap_or_default();
                line.starts_with('[') || must.contains(&key)
            })
            .collect();
        for cores_count in [1, 2, 4, 8, 64] {
            let of = |text: &str| {
                read(text, &machine(cores_count))
                    .into_loaded()
                    .unwrap()
                    .config
            };
            assert_eq!(
                of(REFERENCE),
                of(&smallest.join("\n")),
                "{cores_count} cores"
            );
        }
    }

    #[test]
    fn the_values_behind_a_comment_are_good_ones() {
        let all: Vec<&str> = REFERENCE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                // they exclude secret_file
                Some(key) if key.starts_with("secret_") => line,
                Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
                _ => line,
            })
            .collect();
        let of = |text: &str| read(text, &machine(4)).into_loaded().unwrap().config;
        let mut found = of(&all.join("\n"));
        assert_eq!(found.map.collector_host_name, "collector-1");
        assert_eq!(
            found.sentinel.ca_file.take(),
            Some("/etc/cefline/ca.pem".into())
        );
        assert_eq!(found.spool.free_bytes_min.take(), Some(2 << 30));
        let proxy = found.sentinel.proxy.take().unwrap();
        assert_eq!(proxy.url.host(), "proxy.example.com");
        assert_eq!(proxy.user.unwrap().0, "cefline");
        found.map.collector_host_name = "collector".into();
        assert_eq!(found, of(REFERENCE));
    }

    #[test]
    fn the_reference_shows_a_further_destination_with_all_of_its_keys() {
        let shown = REFERENCE.split("\n# Further destinations").nth(1).unwrap();
        let keys: Vec<&str> = shown
            .lines()
            .filter_map(|line| line.strip_prefix("#   "))
            .collect();
        let text = format!("{REFERENCE}\n{}\n", keys.join("\n"));
        let mut reader = Reader::of(&text);
        let root = toml_of(&text).unwrap();
        let config = config(&mut reader, root.get_ref(), &machine(4), &mut Vec::new()).unwrap();
        reader.finish();
        assert_eq!(reader.findings, []);
        assert_eq!(config.destinations[0].name, "basic");
        let asked = reader
            .known
            .iter()
            .filter(|(of, _)| of == "destination.basic");
        for (_, key) in asked {
            assert!(
                reader.is_written(&format!("destination.basic.{key}")),
                "{key}"
            );
        }
    }

    #[test]
    fn the_reference_shows_the_keys_of_each_kind_of_identity() {
        let shown = "\n#   kind = \"";
        let head = REFERENCE.split("\n[sentinel.identity]").next().unwrap();
        let ids =
            "tenant_id = \"example.com\"\nclient_id = \"01234567-89ab-cdef-0123-456789abcdef\"\n";
        let mut kinds = Vec::new();
        for part in REFERENCE
            .split("\n[spool]")
            .next()
            .unwrap()
            .split(shown)
            .skip(1)
        {
            let kind = part.split('"').next().unwrap();
            let keys: Vec<&str> = part
                .lines()
                .filter_map(|line| line.strip_prefix("#   "))
                // for PKCS#12, which has no key file
                .filter(|line| !line.starts_with("password_file"))
                .collect();
            let ids = if kind == "client_certificate" {
                ids
            } else {
                ""
            };
            let keys = keys.join("\n");
            let text = format!("{head}\n[sentinel.identity]\nkind = \"{kind}\"\n{ids}{keys}\n");
            let config = read(&text, &machine(4)).into_loaded().unwrap().config;
            assert_eq!(config.sentinel.identity.kind(), kind);
            kinds.push(kind);
        }
        let all = [
            "client_certificate",
            "workload",
            "managed_identity",
            "azure_arc",
            "auto",
        ];
        assert_eq!(kinds, all);
    }

    #[test]
    fn the_reference_has_lines_that_fit_a_terminal() {
        for line in REFERENCE.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
