//! What came against what was sent, row by row and field by field, by a reading of CEF that is the
//! plain twin of the tests, not the program's.

use crate::messages::Messages;
use crate::record::{self, Reading};
use crate::row;
use crate::sink::Body;
use crate::time::{self, Zone};
use cefline::clock::{Moment, Mono, Wall};
use cefline::config;
use cefline::frame::End;
use cefline::map::Source;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::net::IpAddr;

/// What became of the messages.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Answers {
    /// Rows with every field as it was sent.
    pub(crate) right: u64,
    /// Rows in which that holds but for backslashes that were left in front of `=`, `|` or `\`, or for
    /// quotes around a value, which CEF gives no meaning, that were taken off.
    pub(crate) nearly: u64,
    /// Rows with a field that is missing or has another value.
    pub(crate) wrong: u64,
    /// Messages without a row.
    pub(crate) missing: u64,
    /// Rows of a message that has one already.
    pub(crate) doubled: u64,
    /// The first wrong field: its name, what was sent and what came.
    pub(crate) example: Option<String>,
    /// Bytes of JSON, and of bodies.
    pub(crate) json_bytes: u64,
    pub(crate) body_bytes: u64,
    pub(crate) bodies: u64,
}

/// How a program names what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Columns of CommonSecurityLog.
    Columns,
    /// The keys of CEF, somewhere in the row.
    Keys,
}

/// Names that programs give to the fields of the header, in its order without the version.
const HEADER: [&[&str]; 6] = [
    &["DeviceVendor", "device_vendor"],
    &["DeviceProduct", "device_product"],
    &["DeviceVersion", "device_version"],
    &["SignatureID", "signature_id", "device_event_class_id"],
    &["Name", "name"],
    &["Severity", "severity"],
];

/// Checks all bodies; gives also, for each message that has come, when it came.
pub(crate) fn check(
    bodies: &[Body],
    messages: &Messages,
    count: usize,
    form: Form,
) -> (Answers, Vec<Option<Mono>>) {
    let settings = config::Map {
        collector_host_name: crate::peers::COLLECTOR.into(),
        ..config::Map::of(&config::Machine::read())
    };
    let mut answers = Answers::default();
    let mut times = vec![None; count];
    for body in bodies {
        answers.bodies += 1;
        answers.body_bytes += body.bytes.len() as u64;
        let (json, ends) = unpacked(body);
        answers.json_bytes += json.len() as u64;
        let mut at = 0;
        for (row, end) in rows(&json) {
            while at + 1 < ends.len() && ends[at].0 < end {
                at += 1;
            }
            let Some(number) = messages.number_in(&row.to_string()) else {
                continue;
            };
            match times.get_mut(number) {
                Some(time @ None) => *time = ends.get(at).map(|(_, time)| *time),
                Some(_) => {
                    answers.doubled += 1;
                    continue;
                }
                None => continue,
            }
            let line = messages.line(number);
            let fault = match form {
                Form::Columns => column_fault(&row, line, &settings, messages.now),
                Form::Keys => key_fault(&row, line, messages.now),
            };
            match fault {
                None => answers.right += 1,
                Some(Fault::Nearly) => answers.nearly += 1,
                Some(Fault::Wrong(what)) => {
                    answers.wrong += 1;
                    answers.example.get_or_insert(what);
                }
            }
        }
    }
    answers.missing = times.iter().filter(|time| time.is_none()).count() as u64;
    (answers, times)
}

/// The JSON of a body, and how much of it was there at which moment.
fn unpacked(body: &Body) -> (Vec<u8>, Vec<(usize, Mono)>) {
    if !body.bytes.starts_with(&[0x1f, 0x8b]) {
        return (body.bytes.clone(), body.marks.clone());
    }
    let (mut json, mut ends, mut from) = (Vec::new(), Vec::new(), 0);
    let mut decoder = flate2::write::MultiGzDecoder::new(Vec::new());
    for (to, time) in &body.marks {
        use std::io::Write;
        if decoder.write_all(&body.bytes[from..*to]).is_err() || decoder.flush().is_err() {
            break;
        }
        from = *to;
        ends.push((decoder.get_ref().len(), *time));
    }
    json.append(decoder.get_mut());
    (json, ends)
}

/// The rows of an array or of lines, and where each ends.
fn rows(json: &[u8]) -> Vec<(Value, usize)> {
    let end = json.len();
    if json.first() == Some(&b'[') {
        let rows: Vec<Value> = serde_json::from_slice(json).unwrap_or_default();
        return rows.into_iter().map(|row| (row, end)).collect();
    }
    let mut stream = serde_json::Deserializer::from_slice(json).into_iter::<Value>();
    let mut found = Vec::new();
    while let Some(Ok(row)) = stream.next() {
        found.push((row, stream.byte_offset()));
    }
    found
}

enum Fault {
    Nearly,
    Wrong(String),
}

/// Against the row that the twin makes, in all but the time of receipt.
fn column_fault(row: &Value, line: &[u8], settings: &config::Map, now: Wall) -> Option<Fault> {
    let source = Source {
        peer: [127, 0, 0, 1].into(),
        received: Moment {
            mono: Mono(1),
            wall: now,
        },
    };
    let expected = row::expected(line, End::Whole, settings, source, 1_000_000).row?;
    let empty = Map::new();
    let found = row.as_object().unwrap_or(&empty);
    let names = expected.keys().chain(found.keys());
    for name in names.filter(|name| *name != "TimeGenerated") {
        if expected.get(name) != found.get(name) {
            let (sent, came) = (expected.get(name), found.get(name));
            return Some(Fault::Wrong(format!("{name}: {sent:?} came as {came:?}")));
        }
    }
    None
}

/// Against the header and the pairs of the message: every one is there with its value.
fn key_fault(row: &Value, line: &[u8], now: Wall) -> Option<Fault> {
    let Reading::Record(record) = record::read(line) else {
        return Some(Fault::Wrong("not CEF".into()));
    };
    let mut leaves: HashMap<&str, Vec<String>> = HashMap::new();
    gather(row, "", &mut leaves);
    let mut is_near = false;
    let header = HEADER.iter().zip(record.header.iter().skip(1));
    let header = header.map(|(names, value)| (names.to_vec(), vec![value.clone()]));
    let mut pairs: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
    for (key, value) in &record.pairs {
        let key = std::str::from_utf8(key).unwrap_or_default().to_owned();
        pairs.entry(key).or_default().push(value.clone());
    }
    // of a key that is there several times one value must have come
    let pairs = pairs
        .iter()
        .map(|(key, values)| (vec![key.as_str()], values.clone()));
    for (names, values) in header.chain(pairs) {
        let found: Vec<&String> = names
            .iter()
            .filter_map(|name| leaves.get(name))
            .flatten()
            .collect();
        let sent = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap_or_default();
        let texts: Vec<String> = values.iter().map(|value| sent(value)).collect();
        let is_right = texts.iter().any(|text| {
            let plain = unescaped(text);
            let plain = plain.trim();
            (plain.is_empty() && found.is_empty())
                || found.iter().any(|found| is_equal(found.trim(), plain, now))
        });
        if is_right {
            continue;
        }
        let bare = |text: &str| unescaped(text).trim().trim_matches('"').trim().to_owned();
        let is_nearly = texts
            .iter()
            .any(|text| found.iter().any(|found| bare(found) == bare(text)));
        if !is_nearly {
            return Some(Fault::Wrong(format!(
                "{}: {texts:?} came as {found:?} in {row:.600}",
                names[0]
            )));
        }
        is_near = true;
    }
    is_near.then_some(Fault::Nearly)
}

/// All values that are no objects, by the last part of their name.
fn gather<'v>(value: &'v Value, name: &'v str, leaves: &mut HashMap<&'v str, Vec<String>>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                gather(value, name, leaves);
            }
        }
        Value::Array(values) => {
            for value in values {
                gather(value, name, leaves);
            }
        }
        Value::Null => {}
        Value::String(text) => leaves.entry(name).or_default().push(text.clone()),
        other => leaves.entry(name).or_default().push(other.to_string()),
    }
}

/// The same text, or the same number, truth, address or moment: a program may give values a type.
fn is_equal(found: &str, sent: &str, now: Wall) -> bool {
    if found == sent || found.eq_ignore_ascii_case(sent) {
        return true;
    }
    if let (Ok(found), Ok(sent)) = (found.parse::<f64>(), sent.parse::<f64>()) {
        return found == sent;
    }
    if let (Ok(found), Ok(sent)) = (found.parse::<IpAddr>(), sent.parse::<IpAddr>()) {
        return found == sent;
    }
    let moment = |text: &str| time::read(text.as_bytes(), now.0, &Zone::Seconds(0));
    moment(sent).is_some() && moment(found) == moment(sent)
}

/// With what stands behind backslashes in its place.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, characters.clone().next()) {
            ('\\', Some(next @ ('=' | '|' | '\\'))) => {
                plain.push(next);
                characters.next();
            }
            ('\\', Some('n')) => {
                plain.push('\n');
                characters.next();
            }
            ('\\', Some('r')) => {
                plain.push('\r');
                characters.next();
            }
            (other, _) => plain.push(other),
        }
    }
    plain
}

/// Shows that the check finds each fault, before it is believed.
pub(crate) fn prove(messages: &Messages) {
    let row = |number: usize, change: &dyn Fn(&mut Map<String, Value>)| {
        let Reading::Record(record) = record::read(messages.line(number)) else {
            unreachable!("every generated message is CEF");
        };
        let text = |bytes: &[u8]| Value::String(unescaped(std::str::from_utf8(bytes).unwrap()));
        let mut members: Map<String, Value> = record
            .pairs
            .iter()
            .map(|(key, value)| (String::from_utf8(key.clone()).unwrap(), text(value)))
            .collect();
        let header = HEADER.iter().zip(record.header.iter().skip(1));
        members.extend(header.map(|(names, value)| (names[0].to_owned(), text(value))));
        change(&mut members);
        Value::Object(members).to_string() + "\n"
    };
    let body = |rows: &[String], at: u64| {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(rows.concat().as_bytes()).unwrap();
        let bytes = gzip.finish().unwrap();
        Body {
            marks: vec![(bytes.len(), Mono(at))],
            bytes,
        }
    };
    let keep = |_: &mut Map<String, Value>| {};
    let quoted = |row: &mut Map<String, Value>| {
        let vendor = row["DeviceVendor"].as_str().unwrap().to_owned();
        row.insert("DeviceVendor".into(), format!("\"{vendor}\"").into());
    };
    let other = |row: &mut Map<String, Value>| {
        row.insert("DeviceProduct".into(), "another".into());
    };
    let without = |row: &mut Map<String, Value>| {
        row.remove("DeviceProduct");
    };
    let bodies = [
        body(&[row(0, &keep), row(1, &quoted), row(2, &other)], 7),
        body(&[row(0, &keep), row(3, &without)], 9),
    ];
    let (answers, times) = check(&bodies, messages, 5, Form::Keys);
    let found = [
        answers.right,
        answers.nearly,
        answers.wrong,
        answers.missing,
        answers.doubled,
    ];
    assert_eq!(found, [1, 1, 2, 1, 1], "{answers:?}");
    let times: Vec<Option<u64>> = times.iter().map(|time| time.map(|at| at.0)).collect();
    assert_eq!(times, [Some(7), Some(7), Some(7), Some(9), None]);
}
