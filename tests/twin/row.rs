//! A frame as a row, member by member, by the rules at the head of `map` and the two tables of
//! `map::columns`. Which fields the text of a Cisco line holds is taken as given: each message has
//! its samples.

use crate::record::{Envelope, Line, Reading, Record, read};
use crate::time::{self, Zone};
use cefline::config::{self, Semicolon, TimeGenerated, Unparsed};
use cefline::frame::End;
use cefline::map::Source;
use cefline::map::columns::{COLUMNS, KEYS, Kind};
use cefline::metrics::Counter;
use cefline::parse::asa;
use serde_json::{Map, Number, Value};
use std::collections::{HashMap, HashSet};

/// What may stand behind a backslash in a value.
const VALUE_ESCAPES: &[u8] = b"\\=nr";
const DAY: i64 = 86_400 * 1_000_000_000;

/// What must come of a frame.
pub(crate) struct Expected {
    /// The row, if one is written.
    pub(crate) row: Option<Map<String, Value>>,
    /// What is counted; all else is zero.
    pub(crate) counts: HashMap<Counter, u64>,
    /// Bytes of the row with its comma.
    pub(crate) row_bytes: usize,
}

/// A row while it is made.
struct Sheet<'s> {
    settings: &'s config::Map,
    source: Source,
    column_bytes_max: usize,
    members: Map<String, Value>,
    invalid: bool,
    cut: u64,
    unfit: u64,
    time_replaced: bool,
}

pub(crate) fn expected(
    frame: &[u8],
    end: End,
    settings: &config::Map,
    source: Source,
    row_bytes_max: usize,
) -> Expected {
    let reading = read(frame);
    let mut counts = HashMap::new();
    match &reading {
        Reading::Record(record) => {
            counts.insert(Counter::RecordsParsed, 1);
            if end == End::Partial {
                counts.insert(Counter::FramesPartial, 1);
            }
            match record.flaw {
                Some("severity_missing") => counts.insert(Counter::RecordsDegradedSeverity, 1),
                Some(_) => counts.insert(Counter::RecordsDegradedPipe, 1),
                None => None,
            };
            if !record.stray.is_empty() {
                counts.insert(Counter::RecordsDegradedStray, 1);
            }
        }
        Reading::Cisco(_) => {
            counts.insert(
                match fields(frame).is_empty() {
                    true => Counter::RecordsCiscoText,
                    false => Counter::RecordsCiscoFields,
                },
                1,
            );
            if end == End::Partial {
                counts.insert(Counter::FramesPartial, 1);
            }
        }
        Reading::Unparsed(why, _) => {
            counts.insert(
                match *why {
                    "no_cef" => Counter::RecordsUnparsedNoCef,
                    _ => Counter::RecordsUnparsedHeader,
                },
                1,
            );
            let lost = match (end, settings.unparsed) {
                (End::Partial, _) => Some(Counter::FramesLostPartial),
                (_, Unparsed::Drop) => Some(Counter::FramesLostUnparsed),
                (_, Unparsed::Forward) => None,
            };
            if let Some(lost) = lost {
                counts.insert(lost, 1);
                return Expected {
                    row: None,
                    counts,
                    row_bytes: 0,
                };
            }
        }
    }
    let make = |column_bytes_max: usize, shortened: bool| {
        let mut sheet = Sheet {
            settings,
            source,
            column_bytes_max,
            members: Map::new(),
            invalid: false,
            cut: 0,
            unfit: 0,
            time_replaced: false,
        };
        match &reading {
            Reading::Record(record) => sheet.record(record, end, shortened),
            Reading::Cisco(line) => sheet.cisco(line, &fields(frame), end, shortened),
            Reading::Unparsed(why, envelope) => {
                sheet.unparsed(frame, why, envelope, end, shortened);
            }
        }
        sheet
    };
    let mut sheet = make(64 * 1024, false);
    if json_len(&sheet.members) > row_bytes_max {
        counts.insert(Counter::RowsShortened, 1);
        // each column's name with its punctuation, 48 bytes, and its text at 6 bytes a character
        let columns = COLUMNS.len();
        sheet = make((row_bytes_max - columns * 48) / (columns * 6), true);
    }
    let row_bytes = json_len(&sheet.members);
    counts.insert(Counter::RowsWritten, 1);
    counts.insert(Counter::RowBytesWritten, row_bytes as u64);
    counts.insert(Counter::RecordsInvalidUtf8, sheet.invalid.into());
    counts.insert(Counter::ValuesTruncated, sheet.cut);
    counts.insert(Counter::ValuesUnfit, sheet.unfit);
    counts.insert(Counter::TimesReplaced, sheet.time_replaced.into());
    Expected {
        row: Some(sheet.members),
        counts,
        row_bytes,
    }
}

/// What the text of a Cisco line says.
fn fields(frame: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let fields = asa::read(frame).unwrap().fields();
    fields
        .iter()
        .map(|(name, value)| (name, value.to_vec()))
        .collect()
}

impl Sheet<'_> {
    fn cisco(
        &mut self,
        line: &Line,
        fields: &[(&'static str, Vec<u8>)],
        end: End,
        shortened: bool,
    ) {
        let zone = Zone::Named(self.settings.time_zone.clone());
        self.time_generated(line.envelope.time.as_deref(), None, &zone);
        self.members.insert("DeviceVendor".into(), "Cisco".into());
        self.text("DeviceProduct", line.product.as_bytes());
        self.text("DeviceEventClassID", &line.id);
        self.text("LogSeverity", &line.level);
        let activity = asa::read(&line.text).unwrap().activity();
        self.text("Activity", activity.as_bytes());
        self.computer(&line.envelope);
        self.text("Message", &line.text);
        let mut more = marks(end, None, shortened);
        for (name, value) in fields {
            let target = KEYS.iter().find(|target| target.key == *name);
            let mut fits = false;
            for column in target.map_or(&[][..], |target| target.columns) {
                fits |= self.value(column, value, &zone, b"");
            }
            self.unfit += u64::from(target.is_some() && !fits);
            if !fits {
                let value = self.additional(value, b"");
                more.push([name.as_bytes(), b"=", &value].concat());
            }
        }
        self.text("AdditionalExtensions", &more.join(&b";"[..]));
    }

    fn record(&mut self, record: &Record, end: End, shortened: bool) {
        // the last pair of each key that has a column
        let mut last: HashMap<&[u8], usize> = HashMap::new();
        for (index, (key, _)) in record.pairs.iter().enumerate() {
            last.insert(key, index);
        }
        let value_of = |key: &[u8]| last.get(key).map(|index| record.pairs[*index].1.clone());
        let zone = value_of(b"dtz")
            .and_then(|zone| time::zone(&time::trim(&zone)))
            .unwrap_or_else(|| Zone::Named(self.settings.time_zone.clone()));
        self.time_generated(
            record.envelope.time.as_deref(),
            value_of(b"rt").as_deref(),
            &zone,
        );
        let columns = [
            "DeviceVendor",
            "DeviceProduct",
            "DeviceVersion",
            "DeviceEventClassID",
            "Activity",
            "LogSeverity",
        ];
        for (column, text) in columns.into_iter().zip(&record.header[1..]) {
            self.text(column, &unescape(&time::trim(text), b"\\|"));
        }
        self.computer(&record.envelope);
        let mut in_columns = HashSet::new();
        for (index, (key, value)) in record.pairs.iter().enumerate() {
            let target = KEYS.iter().find(|target| target.key.as_bytes() == key);
            if let Some(target) = target
                && last[key.as_slice()] == index
                && !value.is_empty()
            {
                let mut fits = false;
                for column in target.columns {
                    fits |= self.value(column, value, &zone, VALUE_ESCAPES);
                }
                if fits {
                    in_columns.insert(index);
                } else {
                    self.unfit += 1;
                }
            }
        }
        let mut more = marks(end, record.flaw, shortened);
        if !record.stray.is_empty() {
            more.push(
                [
                    b"cefline.stray=",
                    self.additional(&record.stray, VALUE_ESCAPES).as_slice(),
                ]
                .concat(),
            );
        }
        for (index, (key, value)) in record.pairs.iter().enumerate() {
            if !in_columns.contains(&index) && !value.is_empty() {
                let guard = if key.starts_with(b"cefline.") {
                    "_"
                } else {
                    ""
                };
                let value = self.additional(value, VALUE_ESCAPES);
                more.push([guard.as_bytes(), key, b"=", &value].concat());
            }
        }
        self.text("AdditionalExtensions", &more.join(&b";"[..]));
    }

    fn unparsed(
        &mut self,
        frame: &[u8],
        why: &str,
        envelope: &Envelope,
        end: End,
        shortened: bool,
    ) {
        self.members.insert(
            "TimeGenerated".into(),
            iso(self.source.received.wall.0).into(),
        );
        self.members.insert("DeviceVendor".into(), "cefline".into());
        self.members
            .insert("DeviceProduct".into(), "unparsed".into());
        self.text("DeviceEventClassID", why.as_bytes());
        self.text(
            "Activity",
            match why {
                "no_cef" => b"no CEF header in this message",
                _ => b"CEF header with fewer than seven fields",
            },
        );
        self.computer(envelope);
        self.text("Message", frame);
        let marks = marks(end, None, shortened);
        self.text("AdditionalExtensions", &marks.join(&b";"[..]));
    }

    fn time_generated(&mut self, header: Option<&[u8]>, rt: Option<&[u8]>, zone: &Zone) {
        let now = self.source.received.wall.0;
        let text = match self.settings.time_generated {
            TimeGenerated::Received => {
                self.members.insert("TimeGenerated".into(), iso(now).into());
                return;
            }
            TimeGenerated::Header => header,
            TimeGenerated::DeviceReceipt => rt,
        };
        let time = text
            .and_then(|text| time::read(text, now, zone))
            .filter(|time| *time >= now - 2 * DAY && *time <= now + DAY);
        self.time_replaced = time.is_none();
        let text = iso(time.unwrap_or(now));
        self.members.insert("TimeGenerated".into(), text.into());
    }

    fn computer(&mut self, envelope: &Envelope) {
        match &envelope.host {
            Some(host) => self.text("Computer", host),
            None => {
                let peer = self.source.peer.to_string();
                self.members.insert("Computer".into(), peer.into());
            }
        }
        self.members.insert(
            "CollectorHostName".into(),
            self.settings.collector_host_name.clone().into(),
        );
    }

    /// A value in a column of its type; false if it does not fit.
    fn value(&mut self, column: &str, value: &[u8], zone: &Zone, escapes: &[u8]) -> bool {
        let kind = COLUMNS.iter().find(|c| c.name == column).unwrap().kind;
        let cell = match kind {
            Kind::Text => {
                self.text(column, &unescape(value, escapes));
                return true;
            }
            Kind::Int => whole(value)
                .filter(|n| i32::try_from(*n).is_ok())
                .map(Value::from),
            Kind::Long => whole(value).map(Value::from),
            Kind::Real => real(value).map(|real| Number::from_f64(real).unwrap().into()),
            Kind::DateTime => {
                time::read(value, self.source.received.wall.0, zone).map(|time| iso(time).into())
            }
        };
        let fits = cell.is_some();
        if let Some(cell) = cell {
            self.members.insert(column.into(), cell);
        }
        fits
    }

    /// A text, cut where the column ends; none if it is empty.
    fn text(&mut self, column: &str, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let mut kept = String::new();
        for character in decode(text) {
            let shown = character.unwrap_or('\u{fffd}');
            if kept.len() + shown.len_utf8() > self.column_bytes_max {
                self.cut += 1;
                break;
            }
            self.invalid |= character.is_none();
            kept.push(shown);
        }
        self.members.insert(column.into(), kept.into());
    }

    /// A value as it stands in `AdditionalExtensions`.
    fn additional(&self, value: &[u8], escapes: &[u8]) -> Vec<u8> {
        let mut value = unescape(value, escapes);
        if self.settings.semicolon == Semicolon::Blank {
            for byte in &mut value {
                if *byte == b';' {
                    *byte = b' ';
                }
            }
        }
        value
    }
}

fn marks(end: End, flaw: Option<&str>, shortened: bool) -> Vec<Vec<u8>> {
    let end = match end {
        End::Whole => None,
        End::Truncated => Some("frame_truncated"),
        End::Partial => Some("frame_partial"),
    };
    [end, flaw, shortened.then_some("row_shortened")]
        .into_iter()
        .flatten()
        .map(|mark| format!("cefline.mark={mark}").into_bytes())
        .collect()
}

/// Resolves the escapes whose second character is one of `known`.
fn unescape(text: &[u8], known: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let next = text.get(at + 1).copied();
        match next.filter(|next| text[at] == b'\\' && known.contains(next)) {
            Some(next) => {
                plain.push(match next {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    other => other,
                });
                at += 2;
            }
            None => {
                plain.push(text[at]);
                at += 1;
            }
        }
    }
    plain
}

/// UTF-8, one character at a time; `None` for each longest piece that begins a character and does
/// not go on as one (the practice that the Unicode standard recommends, section 3.9).
fn decode(bytes: &[u8]) -> Vec<Option<char>> {
    let mut characters = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let first = bytes[at];
        // how long, and within which bounds the second byte must be
        let (len, low, high) = match first {
            0..=0x7f => (1, 0, 0),
            0xc2..=0xdf => (2, 0x80, 0xbf),
            0xe0 => (3, 0xa0, 0xbf),
            0xe1..=0xec | 0xee..=0xef => (3, 0x80, 0xbf),
            0xed => (3, 0x80, 0x9f),
            0xf0 => (4, 0x90, 0xbf),
            0xf1..=0xf3 => (4, 0x80, 0xbf),
            0xf4 => (4, 0x80, 0x8f),
            _ => (0, 0, 0),
        };
        let mut good = 1;
        while good < len {
            let (low, high) = if good == 1 { (low, high) } else { (0x80, 0xbf) };
            match bytes.get(at + good) {
                Some(byte) if (low..=high).contains(byte) => good += 1,
                _ => break,
            }
        }
        let character = (good == len).then(|| {
            let text = std::str::from_utf8(&bytes[at..at + len]).unwrap();
            text.chars().next().unwrap()
        });
        characters.push(character);
        at += good;
    }
    characters
}

fn whole(text: &[u8]) -> Option<i64> {
    let text = String::from_utf8(text.to_vec()).ok()?;
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let size: i128 = match digits.len() {
        0 => 0,
        1..=20 => digits.parse().unwrap(),
        _ => return None,
    };
    i64::try_from(if text.starts_with('-') { -size } else { size }).ok()
}

fn real(text: &[u8]) -> Option<f64> {
    let text = String::from_utf8(text.to_vec()).ok()?;
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    // digits with at most one point among them, and then perhaps an exponent
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|e| is_digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    let mantissa_fits = is_digits(&mantissa.replacen('.', "", 1));
    if !(exponent_fits && mantissa_fits) {
        return None;
    }
    let number: f64 = text.parse().unwrap();
    number.is_finite().then_some(number)
}

/// ISO 8601, UTC, with no, three or seven digits behind the point, whatever keeps all of the seven.
pub(crate) fn iso(nanos: i64) -> String {
    let ticks = nanos.rem_euclid(1_000_000_000) / 100;
    let timestamp = jiff::Timestamp::from_second(nanos.div_euclid(1_000_000_000)).unwrap();
    let seconds = timestamp.strftime("%Y-%m-%dT%H:%M:%S");
    match (ticks, ticks % 10_000) {
        (0, _) => format!("{seconds}Z"),
        (_, 0) => format!("{seconds}.{:03}Z", ticks / 10_000),
        _ => format!("{seconds}.{ticks:07}Z"),
    }
}

/// Bytes of the row as JSON without needless escapes, with a comma in front.
fn json_len(members: &Map<String, Value>) -> usize {
    let text_len = |text: &str| -> usize {
        text.chars()
            .map(|c| match c {
                '"' | '\\' | '\n' | '\r' | '\t' => 2,
                '\0'..='\x1f' => 6,
                c => c.len_utf8(),
            })
            .sum()
    };
    let cells: usize = members
        .iter()
        .map(|(name, cell)| {
            let cell_len = match cell {
                Value::String(text) => text_len(text) + 2,
                Value::Number(number) if number.is_f64() => {
                    let number = number.as_f64().unwrap();
                    // the shorter of the two ways to write it where they differ much
                    let is_plain = number == 0.0 || (1e-5..1e16).contains(&number.abs());
                    let text = if is_plain {
                        format!("{number}")
                    } else {
                        format!("{number:e}")
                    };
                    text.len()
                }
                other => other.to_string().len(),
            };
            // a comma or the brace in front, quotes and a colon
            1 + name.len() + 3 + cell_len
        })
        .sum();
    1 + cells + 1
}
