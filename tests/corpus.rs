//! The corpus of real vendors' messages and of malformed input that lies beside the repository (it
//! is not part of it: other people's licences). Without it every test here says so and passes.
//!
//! Rule of comparison, as the corpus states it: blanks around header fields and at the end of values
//! do not count; of a repeated key the last value stands.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/corpus.rs"]
mod folder;
#[path = "support/forward.rs"]
mod forward;
#[path = "support/skip.rs"]
mod skip;

use cefline::frame::{End, Frame};
use cefline::map::Mapper;
use cefline::map::columns::{COLUMNS, KEYS, Kind};
use cefline::metrics::{Counter, Tally};
use cefline::page::RowPage;
use cefline::parse::{self, cef, time};
use folder::corpus;
use forward::{Ended, forward, rows, settings, source};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;

const FRAME_BYTES_MAX: usize = cefline::limits::FRAME_BYTES_DEFAULT;

/// The lines of a file as JSON.
fn json_lines(path: &std::path::Path) -> Vec<Value> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// All lines of `*.expected.jsonl`, each with its file's name.
fn expected_lines(folder: &std::path::Path) -> Vec<(String, Value)> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".expected.jsonl") {
            lines.extend(json_lines(&path).into_iter().map(|l| (name.clone(), l)));
        }
    }
    assert!(!lines.is_empty(), "no *.expected.jsonl in {folder:?}");
    lines
}

/// Escapes resolved by the rules of the guide, for a header field or a value.
fn unescaped(text: &[u8], escapes: parse::Escapes) -> String {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        match tail.first().and_then(|next| escapes.of(*next)) {
            Some(meant) if *byte == b'\\' => {
                plain.push(meant);
                rest = &tail[1..];
            }
            _ => {
                plain.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(plain).unwrap()
}

/// A record in the form in which the corpus states it.
fn stated(
    record: &parse::Record<'_>,
) -> (BTreeMap<&'static str, String>, BTreeMap<String, String>) {
    let header = &record.header;
    let header = [
        ("version", header.version),
        ("device_vendor", header.vendor),
        ("device_product", header.product),
        ("device_version", header.device_version),
        ("device_event_class_id", header.class_id),
        ("name", header.name),
        ("severity", header.severity),
    ]
    .map(|(name, text)| (name, unescaped(text, parse::Escapes::Header).trim().into()));
    let mut extensions = BTreeMap::new();
    cef::pairs(record.extension, |pair| {
        let key = unescaped(pair.key().of(record.extension), parse::Escapes::None);
        let value = unescaped(pair.value().of(record.extension), parse::Escapes::Value);
        extensions.insert(key, value);
    });
    (header.into(), extensions)
}

/// Holds a record against what the corpus states.
fn check_record(raw: &str, expected: &Value) {
    let record = match parse::parse(raw.as_bytes()) {
        Ok(record) => record,
        Err((why, _)) => panic!("{why:?}: {raw}"),
    };
    let (header, extensions) = stated(&record);
    for (name, text) in expected["header"].as_object().unwrap() {
        let text = text.as_str().unwrap().trim();
        assert_eq!(header[name.as_str()], text, "{name} of {raw}");
    }
    let stated: BTreeMap<String, String> = expected["extensions"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().trim_end().to_owned()))
        .collect();
    let found: BTreeMap<String, String> = extensions
        .iter()
        .map(|(key, value)| (key.clone(), value.trim_end().to_owned()))
        .collect();
    assert_eq!(found, stated, "{raw}");
}

/// The row of one frame.
fn row(raw: &str) -> (Map<String, Value>, Tally) {
    let (mut page, mut tally) = (RowPage::new(), Tally::default());
    let mut mapper = Mapper::new(&settings(), forward::ROW_BYTES_MAX);
    let frame = Frame {
        bytes: raw.as_bytes(),
        end: End::Whole,
    };
    mapper.map(frame, source(), &mut page, &mut tally);
    let mut rows = rows(&page);
    assert_eq!(rows.len(), 1, "{raw}");
    (rows.remove(0), tally)
}

/// Whether a column holds `value` by the column's type.
fn holds(row: &Map<String, Value>, column: &str, value: &str) -> bool {
    let Some(cell) = row.get(column) else {
        return false;
    };
    let kind = COLUMNS.iter().find(|c| c.name == column).unwrap().kind;
    match kind {
        Kind::Text => cell.as_str().unwrap().trim_end() == value.trim_end(),
        Kind::Int | Kind::Long => value.trim().parse().ok() == cell.as_i64(),
        Kind::Real => value.trim().parse().ok() == cell.as_f64(),
        Kind::DateTime => {
            let timestamp: jiff::Timestamp = cell.as_str().unwrap().parse().unwrap();
            let defaults = time::Defaults {
                now: forward::NOW,
                zone: &|| jiff::tz::TimeZone::UTC,
            };
            let wall = time::read(value.as_bytes(), defaults).unwrap();
            let hundreds = |nanos: i128| nanos / 100;
            hundreds(timestamp.as_nanosecond()) == hundreds(i128::from(wall.0))
        }
    }
}

/// Every pair of the record, repeated ones among them, stands in the row.
fn check_row(raw: &str) {
    let record = parse::parse(raw.as_bytes()).unwrap();
    let (row, _) = row(raw);
    let (_, last) = stated(&record);
    assert_eq!(row["TimeGenerated"], forward::NOW_TEXT);
    let more: Vec<&str> = row
        .get("AdditionalExtensions")
        .map_or_else(Vec::new, |more| more.as_str().unwrap().split(';').collect());
    cef::pairs(record.extension, |pair| {
        let key = unescaped(pair.key().of(record.extension), parse::Escapes::None);
        let value = unescaped(pair.value().of(record.extension), parse::Escapes::Value);
        if value.is_empty() {
            return;
        }
        let columns = KEYS.iter().find(|k| k.key == key).map(|k| k.columns);
        let is_last = last[&key] == value;
        let in_column =
            is_last && columns.is_some_and(|c| c.iter().any(|c| holds(&row, c, &value)));
        let text = format!("{key}={}", value.replace(';', " "));
        let in_more = more.iter().any(|m| m.trim_end() == text.trim_end());
        assert!(
            in_column || in_more,
            "{key}={value} is lost: {raw}\n{row:?}"
        );
    });
    for (column, text) in [
        ("DeviceVendor", record.header.vendor),
        ("DeviceProduct", record.header.product),
        ("DeviceVersion", record.header.device_version),
        ("DeviceEventClassID", record.header.class_id),
        ("Activity", record.header.name),
        ("LogSeverity", record.header.severity),
    ] {
        let text = unescaped(text.trim_ascii(), parse::Escapes::Header);
        let cell = row.get(column).map_or("", |cell| cell.as_str().unwrap());
        assert_eq!(cell, text, "{column} of {raw}");
    }
}

#[test]
fn every_expected_line_gives_its_header_and_extensions() {
    let Some(folder) = corpus() else { return };
    let lines = expected_lines(&folder);
    for (_, line) in &lines {
        check_record(line["raw"].as_str().unwrap(), line);
    }
    println!("{} lines", lines.len());
}

#[test]
fn every_expected_line_is_whole_in_its_row() {
    let Some(folder) = corpus() else { return };
    for (_, line) in expected_lines(&folder) {
        check_row(line["raw"].as_str().unwrap());
    }
}

#[test]
fn every_log_line_becomes_one_row_through_any_cuts() {
    let Some(folder) = corpus() else { return };
    let seed = 0x5eed_0003;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        let whole = forward(&bytes, &[], FRAME_BYTES_MAX);
        assert_eq!(whole.rows.len(), lines.len(), "{path:?}");
        // counted frames need a PRI in front, or `CEF:`, to be told from lines
        let mut counted = Vec::new();
        for line in &lines {
            counted.extend_from_slice(format!("{} ", line.len()).as_bytes());
            counted.extend_from_slice(line);
        }
        for stream in [&bytes, &counted] {
            let first = forward(stream, &[], FRAME_BYTES_MAX);
            for _ in 0..8 {
                let cuts = random_cuts(&mut random, stream.len());
                let cut = forward(stream, &cuts, FRAME_BYTES_MAX);
                assert_eq!(cut.rows, first.rows, "{path:?}");
            }
        }
        if lines[0].starts_with(b"<") || lines[0].starts_with(b"CEF:") {
            let framed = forward(&counted, &[], FRAME_BYTES_MAX);
            assert_eq!(framed.rows, whole.rows, "{path:?}, octet counting");
        }
    }
}

#[test]
fn disputed_lines_end_as_they_are_judged() {
    let Some(folder) = corpus() else { return };
    for line in json_lines(&folder.join("disputed.jsonl")) {
        let raw = line["raw"].as_str().unwrap();
        let judgement = &line["judgement"];
        if judgement["verdict"] == "reject" {
            assert!(parse::parse(raw.as_bytes()).is_err(), "{raw}");
            let (row, tally) = row(raw);
            assert_eq!(row["Message"], raw);
            assert_eq!(row["DeviceProduct"], "unparsed");
            assert_eq!(tally.value(Counter::RecordsParsed), 0);
            continue;
        }
        assert_eq!(judgement["verdict"], "parse");
        check_record(raw, judgement);
        check_row(raw);
        let record = parse::parse(raw.as_bytes()).unwrap();
        let stray = judgement["text_before_first_key"].as_str().unwrap_or("");
        assert_eq!(unescaped(record.stray, parse::Escapes::None), stray.trim());
        if !stray.is_empty() {
            let (row, _) = row(raw);
            let more = row["AdditionalExtensions"].as_str().unwrap();
            assert!(more.starts_with("cefline.stray="), "{more}");
        }
    }
}

/// The cells of a line of a table, quotes around them undone.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            other => cells.last_mut().unwrap().push(other),
        }
    }
    cells
}

#[test]
fn the_tables_are_those_of_the_reference() {
    let Some(folder) = corpus() else { return };
    let folder = folder.join("../reference");
    if !folder.is_dir() {
        return skip::skipped("no reference beside the corpus");
    }
    let table = |name: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        text.lines().skip(1).map(cells).collect()
    };
    let columns: BTreeMap<String, String> = table("commonsecuritylog.csv")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let ours: BTreeMap<String, String> = COLUMNS
        .iter()
        .map(|column| (column.name.into(), column.kind.name().into()))
        .collect();
    assert_eq!(ours, columns);
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in table("cef-to-commonsecuritylog.csv") {
        let is_key = row[0].chars().all(|c| c.is_ascii_alphanumeric()) && !row[1].is_empty();
        let is_header = row[2].starts_with("Device") && row[4].starts_with("header field");
        if is_key && !is_header && row[2] != "AdditionalExtensions" {
            keys.entry(row[0].clone()).or_default().push(row[2].clone());
        }
    }
    // the header's fields that have names of one word
    keys.remove("Name");
    keys.remove("Severity");
    let ours: BTreeMap<String, Vec<String>> = KEYS
        .iter()
        .map(|key| {
            (
                key.key.into(),
                key.columns.iter().map(|c| (*c).into()).collect(),
            )
        })
        .collect();
    assert_eq!(ours, keys);
}

fn random_cuts(random: &mut fastrand::Rng, len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..random.usize(0..12))
        .map(|_| random.usize(0..=len))
        .collect();
    cuts.sort_unstable();
    cuts
}

/// What must hold of a malformed stream, whatever its verdict says: everything is accounted for.
fn check_sums(name: &str, ended: &Ended) {
    let rows_count = ended.rows.len() as u64;
    assert_eq!(
        ended.frames_count,
        rows_count + ended.frames_lost(),
        "{name}"
    );
    assert_eq!(
        ended.tally.value(Counter::RowsWritten),
        rows_count,
        "{name}"
    );
    let unparsed: u64 = Counter::ALL
        .iter()
        .filter(|counter| {
            ["records_unparsed_total", "records_cisco_total"].contains(&counter.name())
        })
        .map(|counter| ended.tally.value(*counter))
        .sum();
    let parsed = ended.tally.value(Counter::RecordsParsed);
    assert_eq!(parsed + unparsed, ended.frames_count, "{name}");
}

/// Whether a row bears a mark of cefline or is one of an unparsed frame.
fn is_marked(row: &Map<String, Value>) -> bool {
    row.get("AdditionalExtensions")
        .and_then(Value::as_str)
        .is_some_and(|more| more.starts_with("cefline."))
        || row
            .get("DeviceProduct")
            .is_some_and(|product| product == "unparsed")
}

/// Holds what became of a malformed stream against its line in the index.
fn check_malformed(case: &Value, ended: &Ended) {
    let name = case["file"].as_str().unwrap();
    check_sums(name, ended);
    if let Some(messages) = case["messages"].as_u64() {
        assert_eq!(ended.rows.len() as u64, messages, "{name}");
    }
    let parsed = ended.tally.value(Counter::RecordsParsed);
    let degraded: u64 = Counter::ALL
        .iter()
        .filter(|counter| counter.name() == "records_degraded_total")
        .map(|counter| ended.tally.value(*counter))
        .sum();
    match case["verdict"].as_str().unwrap() {
        "accept" => {
            assert_eq!(parsed, ended.rows.len() as u64, "{name}");
            assert_eq!(degraded, 0, "{name}");
            // the last frame of a stream that ends without a delimiter is marked as partial
            let marked = ended.rows.iter().filter(|row| is_marked(row)).count();
            let partial =
                usize::from(case["framing"] == "tcp-close" || case["framing"] == "lf-eof");
            assert_eq!(marked, partial, "{name}");
            assert!(!ended.broken && ended.bytes_left == 0, "{name}");
        }
        "degraded" => {
            assert!(!ended.rows.is_empty(), "{name}");
        }
        "reject" => {
            assert_eq!(parsed, 0, "{name}");
            assert!(ended.rows.iter().all(|row| row.contains_key("Message")));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_malformed_stream_ends_as_the_index_says() {
    let Some(folder) = corpus() else { return };
    let seed = 0x5eed_0004;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = folder.join("malformed");
    for case in json_lines(&folder.join("index.jsonl")) {
        let name = case["file"].as_str().unwrap();
        let stream = fs::read(folder.join(name)).unwrap();
        let whole = forward(&stream, &[], FRAME_BYTES_MAX);
        check_malformed(&case, &whole);
        let rounds = if stream.len() > 10_000 { 4 } else { 40 };
        for _ in 0..rounds {
            let cuts = random_cuts(&mut random, stream.len());
            let cut = forward(&stream, &cuts, FRAME_BYTES_MAX);
            assert_eq!(cut.rows, whole.rows, "{name} in {cuts:?}");
            assert_eq!(cut.bytes_left, whole.bytes_left, "{name} in {cuts:?}");
            check_malformed(&case, &cut);
        }
        if stream.len() <= 10_000 {
            let each: Vec<usize> = (0..stream.len()).collect();
            assert_eq!(forward(&stream, &each, FRAME_BYTES_MAX).rows, whole.rows);
        }
    }
}

#[test]
fn malformed_lines_give_the_same_row_when_they_are_counted() {
    let Some(folder) = corpus() else { return };
    let folder = folder.join("malformed");
    let guard = b"3 <1>";
    for case in json_lines(&folder.join("index.jsonl")) {
        if case["framing"] != "lf" || case["messages"] != 1 {
            continue;
        }
        let name = case["file"].as_str().unwrap();
        let stream = fs::read(folder.join(name)).unwrap();
        let line = stream.strip_suffix(b"\n").unwrap_or(&stream);
        // a first frame that fixes the framing, and one behind that must stay intact
        let mut counted = guard.to_vec();
        counted.extend_from_slice(format!("{} ", line.len()).as_bytes());
        counted.extend_from_slice(line);
        counted.extend_from_slice(b"36 <1>CEF:0|Acme|Gate|1|100|n|5|src=::1\n");
        let ended = forward(&counted, &[], FRAME_BYTES_MAX);
        let plain = forward(&stream, &[], FRAME_BYTES_MAX);
        check_sums(name, &ended);
        assert_eq!(ended.rows.len(), 3, "{name}");
        assert_eq!(ended.rows[1..2], plain.rows, "{name}");
        assert_eq!(ended.rows[2]["SourceIP"], "::1", "{name}");
    }
}
