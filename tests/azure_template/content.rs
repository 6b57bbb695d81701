//! The content for Sentinel: each query is run on rows that cefline and devices write, and shown to
//! Microsoft's own parser where that is at hand.

use crate::skip::skipped;
use cefline::azure::content::{self, GRAIN, QUERIES, Query};
use cefline::azure::{arm, rules};
use cefline::clock::{Moment, Mono, Wall};
use cefline::config;
use cefline::emulator::kql::{Answer, answer, parse};
use cefline::emulator::rows::read_rows;
use cefline::emulator::table::{Schema, Table};
use cefline::frame::{End, Frame};
use cefline::map::columns::COLUMNS;
use cefline::map::{Mapper, Source};
use cefline::metrics::Tally;
use cefline::page::RowPage;
use serde_json::{Value, json};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

/// 2026-11-25T02:07:07Z
const NOW: Wall = Wall(1_795_572_427_000_000_000);
const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;

/// A time before [`NOW`], as rows have it.
fn ago(ns: i64) -> String {
    let stamp = jiff::Timestamp::from_nanosecond(i128::from(NOW.0 - ns)).unwrap();
    stamp.to_string()
}

/// The table of the emulator, filled by bodies that came at different times.
struct Sentinel {
    schema: Schema,
    table: Table,
}

impl Sentinel {
    fn empty() -> Self {
        Sentinel {
            schema: Schema::default(),
            table: Table::new(usize::MAX),
        }
    }

    /// Takes rows that arrived so long ago.
    fn take(&mut self, arrived: i64, rows: Vec<Value>) {
        let body = Value::from(rows).to_string();
        let received = Wall(NOW.0 - arrived);
        let (rows, notes) = read_rows(body.as_bytes(), received, &self.schema).unwrap();
        assert_eq!(notes, cefline::emulator::rows::Notes::default());
        self.table.append(&rows);
    }

    fn ask(&self, query: Query) -> Answer {
        let text = query.kql.replace(GRAIN, "5m");
        match answer(&text, &self.table.snapshot(), &self.schema, NOW, None) {
            Ok(answer) => answer,
            Err(error) => panic!("{}: {}", query.name, error.explain(&text)),
        }
    }

    /// The rows as objects.
    fn rows(&self, query: Query) -> Vec<Value> {
        let answer = self.ask(query);
        let rows = answer.rows().into_iter();
        let names = || answer.columns.iter().map(|column| column.name.clone());
        rows.map(|row| names().zip(row).collect::<serde_json::Map<_, _>>().into())
            .collect()
    }
}

/// A heartbeat of so long ago, of a program that has run for so long.
fn heartbeat(host: &str, before: i64, uptime: i64, lost: i64) -> Value {
    let uptime_seconds = uptime / SECOND;
    json!({
        "TimeGenerated": ago(before),
        "DeviceVendor": "cefline",
        "DeviceProduct": "heartbeat",
        "DeviceVersion": "0.1.0",
        "DeviceEventClassID": "heartbeat",
        "Computer": host,
        "CollectorHostName": host,
        "LogSeverity": "0",
        "Message": "ready",
        "DeviceCustomNumber1": lost,
        "DeviceCustomNumber1Label": "lost",
        "AdditionalExtensions": format!(
            "rows_uploaded=1000;rows_lost={lost};frames_lost=0;rows_held=7;rows_filtered=5;\
             rows_quarantined=2;lag_seconds=1.5;accepted_age_seconds=0;uptime_seconds={uptime_seconds};\
             events_per_second=250.5"
        ),
    })
}

/// Rows of messages, as the forwarder makes them.
fn mapped(messages: &[&str]) -> Vec<Value> {
    let settings = config::Map {
        collector_host_name: "collector".into(),
        ..config::Map::of(&config::Machine::read())
    };
    let mut mapper = Mapper::new(&settings, 100_000);
    let mut tally = Tally::default();
    let mut page = RowPage::new();
    let source = Source {
        peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        received: Moment {
            mono: Mono(1),
            wall: Wall(NOW.0 - 30 * MINUTE),
        },
    };
    for message in messages {
        let frame = Frame {
            bytes: message.as_bytes(),
            end: End::Whole,
        };
        mapper.map(frame, source, &mut page, &mut tally);
    }
    let text = std::str::from_utf8(page.bytes()).unwrap();
    serde_json::from_str(&format!("[{}]", &text[1..])).unwrap()
}

#[test]
fn a_collector_without_heartbeats_for_ten_minutes_is_silent() {
    let mut sentinel = Sentinel::empty();
    for minutes in 0..30 {
        sentinel.take(
            minutes * MINUTE,
            vec![heartbeat("alive", minutes * MINUTE, 3600 * SECOND, 0)],
        );
    }
    sentinel.take(0, vec![heartbeat("late", 9 * MINUTE, 3600 * SECOND, 0)]);
    assert!(sentinel.rows(content::COLLECTOR_SILENT).is_empty());
    sentinel.take(0, vec![heartbeat("gone", 11 * MINUTE, 3600 * SECOND, 0)]);
    let rows = sentinel.rows(content::COLLECTOR_SILENT);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["Collector"], "gone");
    assert_eq!(rows[0]["SilentFor"], "00:11:00");
}

#[test]
fn a_collector_loses_if_its_counters_grow_and_not_if_they_stand() {
    let day = 86_400 * SECOND;
    let mut sentinel = Sentinel::empty();
    for minutes in 0..15 {
        let before = minutes * MINUTE;
        let uptime = day - before;
        let lost_now = |at: i64| if minutes < at { 5 } else { 0 };
        sentinel.take(
            before,
            vec![
                heartbeat("never", before, uptime, 0),
                heartbeat("long ago", before, uptime, 100),
                heartbeat("now", before, uptime, 100 + lost_now(4)),
            ],
        );
    }
    // after a start the counters begin anew: what they say is all of this run
    sentinel.take(
        0,
        vec![
            heartbeat("started", 14 * MINUTE, day, 100),
            heartbeat("started", 2 * MINUTE, 60 * SECOND, 0),
            heartbeat("started", MINUTE, 120 * SECOND, 3),
            heartbeat("started well", 14 * MINUTE, day, 100),
            heartbeat("started well", MINUTE, 60 * SECOND, 0),
        ],
    );
    let rows = sentinel.rows(content::COLLECTOR_LOSING);
    let mut found: Vec<(&str, i64)> = rows
        .iter()
        .map(|row| {
            let lost = row["LostInWindow"].as_i64().unwrap();
            (row["Collector"].as_str().unwrap(), lost)
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("now", 5), ("started", 3)]);
}

#[test]
fn model_breaches_from_severity_seven_on_are_found_by_the_time_they_arrive() {
    let breach = |severity: &str, id: u32| {
        format!(
            "CEF:0|Darktrace|DCIP|6.3.3|537|Device/SMB Lateral Movement|{severity}|externalId={id} \
             src=10.0.0.5 shost=laptop5 dvchost=dt-01 dst=198.51.100.9 cs1Label=tags cs1=Admin, Key \
             darktraceUrl=https://dt-01.example.com/#modelbreach/{id}"
        )
    };
    let others = [
        "CEF:0|Darktrace|DCIP|6.3.3|aianalyst|AI Analyst/Scanning|9|darktraceUrl=https://d.example/#aiaincidentevent/1",
        "CEF:0|Darktrace|DCIP|6.3.3|systemstatus|System/Probe|8|msg=gone",
        "CEF:0|Darktrace|DCIP System Monitoring|1.0|100|system usage|9|src=10.0.0.1",
        "CEF:0|Other|X|1|537|Device/SMB|10|externalId=99",
    ];
    let breaches: Vec<String> = [
        ("6", 1),
        ("7", 2),
        ("10", 3),
        ("High", 4),
        ("Very-High", 5),
        ("Low", 6),
        ("Unknown", 7),
    ]
    .iter()
    .map(|(severity, id)| breach(severity, *id))
    .collect();
    let messages: Vec<&str> = breaches.iter().map(String::as_str).chain(others).collect();
    let mut sentinel = Sentinel::empty();
    // received half an hour ago, held back, and in the table since a minute
    sentinel.take(MINUTE, mapped(&messages));
    // looked at by an earlier run
    sentinel.take(6 * MINUTE, mapped(&[breach("9", 50).as_str()]));
    let rows = sentinel.rows(content::DARKTRACE_HIGH);
    let ids: Vec<&str> = rows
        .iter()
        .map(|row| row["BreachId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["2", "3", "4", "5"]);
    assert_eq!(rows[0]["Host"], "laptop5");
    assert_eq!(rows[0]["SourceIP"], "10.0.0.5");
    assert_eq!(
        rows[0]["DarktraceUrl"],
        "https://dt-01.example.com/#modelbreach/2"
    );
}

#[test]
fn keys_that_queries_read_are_keys_that_heartbeats_have() {
    let heartbeat = include_str!("../../src/run/heartbeat.rs");
    let mut read = 0;
    for query in QUERIES {
        if !query.kql.contains("\"heartbeat\"") {
            continue;
        }
        let lists = query.kql.split(" as (").skip(1);
        for pair in lists.flat_map(|rest| rest.split(')').next().unwrap().split(',')) {
            let key = pair.split(':').next().unwrap().trim();
            // told by collectors that have rules for it
            let is_there = heartbeat.contains(&format!("(\"{key}\",")) || key == "rows_filtered";
            assert!(is_there, "{}: {key}", query.name);
            read += 1;
        }
    }
    assert!(read > 10);
}

#[test]
fn the_workbook_shows_each_collector_with_its_newest_numbers() {
    let day = 86_400 * SECOND;
    let mut sentinel = Sentinel::empty();
    sentinel.take(
        0,
        vec![
            heartbeat("b", 2 * MINUTE, day, 3),
            heartbeat("b", MINUTE, day, 4),
            heartbeat("a", 5 * MINUTE, day, 0),
            heartbeat("c", 50 * MINUTE, day, 0),
        ],
    );
    let rows = sentinel.rows(content::COLLECTORS);
    let states: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| {
            (
                row["Collector"].as_str().unwrap(),
                row["State"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(states, [("a", "good"), ("b", "has lost"), ("c", "silent")]);
    assert_eq!(
        rows[1],
        json!({
            "Collector": "b", "State": "has lost", "Readiness": "ready", "LastHeartbeat": ago(MINUTE),
            "EventsPerSecond": 250.5, "LagSeconds": 1.5, "AcceptedAgeSeconds": 0.0, "Held": 7,
            "Lost": 4, "Quarantined": 2, "Filtered": 5, "Uploaded": 1000, "UptimeSeconds": 86400,
            "Version": "0.1.0",
        })
    );
    let held = sentinel.rows(content::HELD);
    assert!(held.iter().all(|row| row["Held"] == 7) && held.len() >= 3);
}

#[test]
fn the_workbook_counts_products_lag_and_what_could_not_be_parsed() {
    let mut sentinel = Sentinel::empty();
    let rows = mapped(&[
        "CEF:0|Acme|Gate|1|100|conn|5|src=10.0.0.1",
        "CEF:0|Acme|Gate|1|100|conn|5|src=10.0.0.2",
        "CEF:0|Acme|Wall|1|100|conn|5|src=10.0.0.2",
        "this is no CEF",
    ]);
    sentinel.take(29 * MINUTE, rows.clone());
    sentinel.take(20 * MINUTE, rows);
    let volume = sentinel.rows(content::VOLUME);
    let gate = volume.iter().find(|row| row["DeviceProduct"] == "Gate");
    assert_eq!(gate.unwrap()["Events"], 4);
    assert_eq!(volume.len(), 3);
    let events = sentinel.rows(content::VOLUME_OVER_TIME);
    let all: i64 = events
        .iter()
        .map(|row| row["Events"].as_i64().unwrap())
        .sum();
    assert_eq!(all, 8);
    let lag = sentinel.rows(content::LAG);
    assert_eq!(lag.len(), 1);
    assert_eq!(lag[0]["Median"], 60.0);
    assert_eq!(lag[0]["Slowest5Percent"], 600.0);
    let unparsed = sentinel.rows(content::UNPARSED);
    assert_eq!(unparsed.len(), 1, "{unparsed:?}");
    assert_eq!(unparsed[0]["Rows"], 2);
    assert_eq!(unparsed[0]["Example"], "this is no CEF");
}

#[test]
fn every_query_is_one_for_the_emulators_parser() {
    for query in QUERIES {
        let text = query.kql.replace(GRAIN, "5m");
        if let Err(error) = parse::parse(&text) {
            panic!("{}: {}", query.name, error.explain(&text));
        }
        // by Microsoft's page of limits of analytic rules
        assert!(text.len() <= 10_000, "{}", query.name);
    }
}

#[test]
fn alerts_name_columns_that_their_queries_have() {
    let sentinel = Sentinel::empty();
    let template: Value = serde_json::from_str(&arm::print(&content::template())).unwrap();
    let alerts = template["resources"].as_array().unwrap().iter();
    let mut seen = 0;
    for alert in alerts.filter(|one| one["type"] == "Microsoft.SecurityInsights/alertRules") {
        seen += 1;
        assert_eq!(alert["kind"], "Scheduled");
        let alert = &alert["properties"];
        let query = QUERIES.iter().find(|query| alert["query"] == query.kql);
        let answer = sentinel.ask(*query.unwrap());
        let has = |name: &str| answer.columns.iter().any(|column| column.name == name);
        let entities = alert["entityMappings"].as_array().unwrap();
        for entity in entities {
            for field in entity["fieldMappings"].as_array().unwrap() {
                assert!(has(field["columnName"].as_str().unwrap()), "{field}");
            }
        }
        for column in alert["customDetails"].as_object().unwrap().values() {
            assert!(has(column.as_str().unwrap()), "{column}");
        }
        let title = alert["alertDetailsOverride"]["alertDisplayNameFormat"]
            .as_str()
            .unwrap();
        let named: Vec<&str> = title
            .split("{{")
            .skip(1)
            .map(|rest| rest.split("}}").next().unwrap())
            .collect();
        assert!(named.iter().all(|name| has(name)), "{title}");
        assert!((1..=3).contains(&named.len()), "{title}");
    }
    assert_eq!(seen, 3);
}

#[test]
fn the_workbook_is_json_and_asks_queries_of_ours() {
    let template: Value = serde_json::from_str(&arm::print(&content::template())).unwrap();
    let mut workbooks = template["resources"].as_array().unwrap().iter();
    let workbook = workbooks.find(|one| one["type"] == "Microsoft.Insights/workbooks");
    let text = workbook.unwrap()["properties"]["serializedData"].as_str();
    let workbook: Value = serde_json::from_str(text.unwrap()).unwrap();
    let items = workbook["items"].as_array().unwrap();
    let range = &items[0]["content"]["parameters"][0];
    assert_eq!(range["name"], "TimeRange");
    for item in &items[1..] {
        let tile = &item["content"];
        assert!(QUERIES.iter().any(|query| tile["query"] == query.kql));
        assert_eq!(tile["timeContextFromParameter"], range["name"]);
    }
    assert_eq!(items.len(), 8);
}

/// The tables as variables without rows, so that the parser knows names and types.
fn tables() -> String {
    let columns = COLUMNS
        .iter()
        .map(|column| format!("{}:{}", column.name, column.kind.name()));
    let columns: Vec<String> = columns.collect();
    // by Microsoft's page of the table
    let errors = "ClientRequestId:string, CorrelationId:string, InputStreamId:string, Message:string, \
                  OperationName:string, TimeGenerated:datetime, _ResourceId:string";
    format!(
        "let CommonSecurityLog = datatable({})[];\nlet DCRLogErrors = datatable({errors})[];\n",
        columns.join(", ")
    )
}

/// What Microsoft's parser says of each query; nothing if it is not at hand.
fn microsoft_says(queries: &Value) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/kusto.js");
    let process = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut process) = process else {
        skipped("there is no node");
        return None;
    };
    let input = json!({"tables": tables(), "queries": queries}).to_string();
    // without the package it reads nothing
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    let ended = process.wait_with_output().unwrap();
    let complaint = String::from_utf8(ended.stderr).unwrap();
    if complaint.contains("MODULE_NOT_FOUND") {
        skipped(
            "no @kusto/language-service-next where CEFLINE_KUSTO points (npm install it there)",
        );
        return None;
    }
    assert!(ended.status.success(), "{complaint}");
    Some(String::from_utf8(ended.stdout).unwrap())
}

#[test]
fn every_query_is_good_for_microsofts_own_parser() {
    let mut queries = serde_json::Map::new();
    for query in QUERIES {
        let text = query.kql.replace(GRAIN, "5m");
        queries.insert(query.name.to_owned(), text.into());
    }
    queries.insert(
        "transformation".to_owned(),
        rules::TRANSFORM_DEFAULT
            .replace("source", "CommonSecurityLog")
            .into(),
    );
    let count = queries.len();
    if let Some(said) = microsoft_says(&queries.into()) {
        assert_eq!(said, format!("{count} queries read\n"));
    }
    // and it would say so if one were not
    let wrong = json!({"wrong": "CommonSecurityLog | where NoSuchColumn == 1"});
    if let Some(said) = microsoft_says(&wrong) {
        assert!(said.contains("NoSuchColumn"), "{said}");
    }
}
