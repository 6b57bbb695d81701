//! cefline's own sample messages, in `tests/samples/*.toml`, each with what must come of it. They are
//! a test suite for any reader of CEF, not only for this one.
//!
//! ```toml
//! [[sample]]
//! name = 'what it shows'
//! raw = 'the frame'            # or `bytes`, in which \xHH stands for a byte
//! pri = 134                    # of the syslog header: nothing if left out
//! time = 'Nov 25 01:59:07'     # likewise, only looked at in envelopes.toml
//! header = ['0', …]            # the seven fields, or: unparsed = 'the reason', or: cisco = ['ASA',
//!                              # '302013', '6', 'the activity'] for a line of a Cisco firewall
//! extensions = { src = '…' }   # escapes resolved; of a repeated key the last
//! [sample.row]                 # every column but those of the header, TimeGenerated and
//! SourceIP = '…'               # CollectorHostName; without `Computer` it is the peer
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/forward.rs"]
mod forward;
#[path = "support/samples.rs"]
mod samples;

use cefline::metrics::Counter;
use cefline::parse::{self, Escapes, cef};
use forward::{Ended, forward};
use samples::{Sample, all};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const FRAME_BYTES_MAX: usize = cefline::limits::FRAME_BYTES_DEFAULT;

/// A text with its escapes resolved, bytes that are no UTF-8 replaced.
fn unescaped(text: &[u8], escapes: Escapes) -> String {
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
    let mut text = String::new();
    for chunk in plain.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend((!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER));
    }
    text
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_sample_is_read_as_it_says() {
    for sample in all() {
        let name = &sample.name;
        let (origin, record) = match parse::parse(&sample.frame) {
            Ok(record) => (record.origin, record),
            Err((why, _)) => {
                let why = sample.cisco.is_none().then(|| why.code());
                assert_eq!(why, sample.unparsed.as_deref(), "{name}");
                assert_eq!(
                    parse::asa::read(&sample.frame).is_some(),
                    sample.cisco.is_some(),
                    "{name}"
                );
                continue;
            }
        };
        if sample.file == "envelopes" {
            assert_eq!(origin.pri, sample.pri, "{name}");
            assert_eq!(origin.time.map(text), sample.time.as_deref(), "{name}");
        }
        let header = record.header;
        let header = [
            header.version,
            header.vendor,
            header.product,
            header.device_version,
            header.class_id,
            header.name,
            header.severity,
        ]
        .map(|field| unescaped(field.trim_ascii(), Escapes::Header));
        assert_eq!(Some(header.to_vec()), sample.header, "{name}");
        let mut extensions = BTreeMap::new();
        cef::pairs(record.extension, |pair| {
            extensions.insert(
                unescaped(pair.key().of(record.extension), Escapes::None),
                unescaped(pair.value().of(record.extension), Escapes::Value),
            );
        });
        assert_eq!(extensions, sample.extensions, "{name}");
    }
}

/// The whole row that a sample asks for.
fn expected_row(sample: &Sample) -> Map<String, Value> {
    let mut row = Map::new();
    let mut put = |column: &str, cell: Value| {
        if cell != "" {
            row.insert(column.into(), cell);
        }
    };
    put("TimeGenerated", forward::NOW_TEXT.into());
    put("CollectorHostName", "collector".into());
    put("Computer", forward::PEER.to_string().into());
    match (&sample.header, sample.unparsed.as_deref(), &sample.cisco) {
        (Some(header), None, None) => {
            for (column, text) in [
                "DeviceVendor",
                "DeviceProduct",
                "DeviceVersion",
                "DeviceEventClassID",
                "Activity",
                "LogSeverity",
            ]
            .into_iter()
            .zip(&header[1..])
            {
                put(column, text.clone().into());
            }
        }
        (None, None, Some([product, id, level, activity])) => {
            put("DeviceVendor", "Cisco".into());
            put("DeviceProduct", product.clone().into());
            put("DeviceEventClassID", id.clone().into());
            put("LogSeverity", level.clone().into());
            put("Activity", activity.clone().into());
            if !sample.row.contains_key("Message") {
                let tag = sample.frame.iter().position(|byte| *byte == b'%').unwrap();
                put("Message", text(&sample.frame[tag..]).into());
            }
        }
        (None, Some(why), None) => {
            put("DeviceVendor", "cefline".into());
            put("DeviceProduct", "unparsed".into());
            put("DeviceEventClassID", why.into());
            put(
                "Activity",
                match why {
                    "no_cef" => "no CEF header in this message".into(),
                    _ => "CEF header with fewer than seven fields".into(),
                },
            );
            put("Message", text(&sample.frame).into());
        }
        both => panic!(
            "{}: either header, unparsed or cisco, not {both:?}",
            sample.name
        ),
    }
    for (column, cell) in &sample.row {
        put(column, cell.clone());
    }
    row
}

/// A row in which `90` and `90.0` are the same in columns of real numbers.
fn even(mut row: Map<String, Value>) -> Map<String, Value> {
    for (column, cell) in &mut row {
        if column.starts_with("DeviceCustomFloatingPoint") && cell.is_number() {
            *cell = cell.as_f64().into();
        }
    }
    row
}

#[test]
fn every_sample_gives_its_row() {
    for sample in all() {
        let ended = forward(&sample.frame, &[], FRAME_BYTES_MAX);
        // behind its delimiter, so that the frame is not marked as unfinished
        let line = [sample.frame.as_slice(), b"\n"].concat();
        let whole = forward(&line, &[], FRAME_BYTES_MAX);
        assert_eq!(whole.rows.len(), 1, "{}", sample.name);
        let row = even(whole.rows[0].clone());
        assert_eq!(row, even(expected_row(&sample)), "{}", sample.name);
        check_marks(&sample, &whole);
        // without its delimiter it is a row too if it is CEF, and else accounted for
        let lost = u64::from(sample.unparsed.is_some());
        assert_eq!(ended.frames_lost(), lost, "{}", sample.name);
    }
}

/// What is remarked in the row is counted as well.
fn check_marks(sample: &Sample, ended: &Ended) {
    let more = sample.row.get("AdditionalExtensions");
    let more = more.and_then(Value::as_str).unwrap_or_default();
    let sum = |name: &str, label: &str| {
        Counter::ALL
            .iter()
            .filter(|c| c.name() == name && c.label().is_some_and(|l| l.1 == label))
            .map(|counter| ended.tally.value(*counter))
            .sum::<u64>()
    };
    let name = "records_degraded_total";
    for label in ["severity_missing", "last_pipe_missing"] {
        let mark = format!("cefline.mark={label}");
        let is_marked = more.split(';').any(|pair| pair == mark);
        assert_eq!(sum(name, label), u64::from(is_marked), "{}", sample.name);
    }
    let has_stray = more
        .split(';')
        .any(|pair| pair.starts_with("cefline.stray="));
    let stray = sum(name, "text_before_first_key");
    assert_eq!(stray, u64::from(has_stray), "{}", sample.name);
}

#[test]
fn all_samples_on_one_connection_give_the_same_rows_in_either_framing() {
    let samples = all();
    let (mut lines, mut counted) = (b"<1>first\n".to_vec(), b"8 <1>first".to_vec());
    for sample in &samples {
        lines.extend_from_slice(&sample.frame);
        lines.extend_from_slice(b"\r\n");
        counted.extend_from_slice(format!("{} ", sample.frame.len()).as_bytes());
        counted.extend_from_slice(&sample.frame);
    }
    let lines = forward(&lines, &[], FRAME_BYTES_MAX);
    let counted = forward(&counted, &[], FRAME_BYTES_MAX);
    assert_eq!(lines.rows, counted.rows);
    assert_eq!(lines.rows.len(), samples.len() + 1);
    for (sample, row) in samples.iter().zip(&lines.rows[1..]) {
        assert_eq!(
            even(row.clone()),
            even(expected_row(sample)),
            "{}",
            sample.name
        );
    }
}

#[test]
fn no_two_samples_share_a_name_or_a_frame() {
    let samples = all();
    assert!(samples.len() >= 180, "{}", samples.len());
    for (index, a) in samples.iter().enumerate() {
        for b in &samples[index + 1..] {
            assert!(a.name != b.name, "{}", a.name);
            assert!(a.frame != b.frame, "{}, {}", a.name, b.name);
        }
    }
}
