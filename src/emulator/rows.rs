//! A body's JSON to typed rows, by the service's rules for single rows.
//!
//! The body as a whole is refused if it is not an array of objects. A row never is: a key that the
//! stream does not declare is dropped (and would be billed), a value of another type than its
//! column becomes absent, a long string is cut, a missing or far-off `TimeGenerated` becomes the
//! time of receipt. The real service does all of this without a word after its 204, so each of it
//! is counted here: for a forwarder every one of these counts should be zero.
//!
//! Values go straight from the JSON text into columns; there is no tree in between.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::stamp::{DAY_NS, parse_time};
use super::table::{Rows, Schema, shape};
use super::values::Values;
use crate::clock::Wall;
use crate::limits::COLUMN_BYTES_MAX;
use crate::map::columns::Kind;

/// Furthest `TimeGenerated` before receipt that the service keeps.
const TIME_BEHIND_MOST_NS: i64 = 2 * DAY_NS;
/// Furthest ahead.
const TIME_AHEAD_MOST_NS: i64 = DAY_NS;

/// What was done to rows without their sender being told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Notes {
    /// Keys that the stream does not declare.
    pub keys_dropped: u64,
    /// Rows with at least one of them.
    pub rows_with_keys_dropped: u64,
    /// Keys that came twice in one row; the last one counts.
    pub keys_repeated: u64,
    /// Values of another type than their column, now absent.
    pub values_mismatched: u64,
    /// Explicit nulls: legal, but bytes for nothing.
    pub values_null: u64,
    /// Strings cut at 64 KiB.
    pub values_cut: u64,
    /// `TimeGenerated` missing, or not a time.
    pub times_missing: u64,
    /// `TimeGenerated` more than two days behind receipt or one day ahead.
    pub times_replaced: u64,
}

impl Notes {
    /// Adds another body's.
    pub fn add(&mut self, other: &Notes) {
        self.keys_dropped += other.keys_dropped;
        self.rows_with_keys_dropped += other.rows_with_keys_dropped;
        self.keys_repeated += other.keys_repeated;
        self.values_mismatched += other.values_mismatched;
        self.values_null += other.values_null;
        self.values_cut += other.values_cut;
        self.times_missing += other.times_missing;
        self.times_replaced += other.times_replaced;
    }
}

/// Reads a body: a JSON array of objects.
///
/// # Errors
/// What is wrong and where, if it is anything else.
pub fn read_rows(body: &[u8], received: Wall, schema: &Schema) -> Result<(Rows, Notes), String> {
    // as a whole and first: the JSON reader does not look at the bytes of what it skips
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("invalid UTF-8 after byte {}", error.valid_up_to()))?;
    let mut reading = Reading {
        schema,
        received,
        rows: Rows {
            // one more for the time of receipt
            columns: vec![None; schema.received_index() + 1],
            rows_count: 0,
        },
        notes: Notes::default(),
    };
    let mut json = serde_json::Deserializer::from_str(text);
    ArrayOfRows(&mut reading)
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| error.to_string())?;
    let Reading {
        mut rows, notes, ..
    } = reading;
    for column in rows.columns.iter_mut().flatten() {
        column.pad(rows.rows_count);
    }
    if let Some(times) = rows.columns.get_mut(schema.received_index()) {
        *times = Some(Values::Whole(vec![Some(received.0); rows.rows_count]));
    }
    Ok((rows, notes))
}

struct Reading<'s> {
    schema: &'s Schema,
    received: Wall,
    rows: Rows,
    notes: Notes,
}

impl Reading<'_> {
    /// The column that a key names, made if it is new, and padded to the present row.
    fn column(&mut self, key: &str) -> Option<(Kind, &mut Values, &mut Notes)> {
        let Some((index, kind)) = self.schema.declared(key) else {
            self.notes.keys_dropped += 1;
            return None;
        };
        let row = self.rows.rows_count;
        let slot = self.rows.columns.get_mut(index)?;
        let column = slot.get_or_insert_with(|| Values::empty(shape(kind)));
        if column.rows_count() > row {
            self.notes.keys_repeated += 1;
        }
        column.pad(row);
        Some((kind, column, &mut self.notes))
    }

    /// Settles `TimeGenerated` and begins the next row.
    fn end_row(&mut self) {
        let row = self.rows.rows_count;
        self.rows.rows_count += 1;
        let Some(slot) = self.rows.columns.get_mut(self.schema.time_index()) else {
            return;
        };
        let Values::Whole(times) = slot.get_or_insert_with(|| Values::Whole(Vec::new())) else {
            return;
        };
        times.resize(row + 1, None);
        let Some(time) = times.last_mut() else { return };
        let received = self.received.0;
        match *time {
            None => self.notes.times_missing += 1,
            Some(ns)
                if ns < received.saturating_sub(TIME_BEHIND_MOST_NS)
                    || ns > received.saturating_add(TIME_AHEAD_MOST_NS) =>
            {
                self.notes.times_replaced += 1;
            }
            Some(_) => return,
        }
        *time = Some(received.saturating_sub(received.rem_euclid(100)));
    }
}

struct ArrayOfRows<'r, 's>(&'r mut Reading<'s>);

impl<'de> DeserializeSeed<'de> for ArrayOfRows<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ArrayOfRows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while rows.next_element_seed(Row(self.0))?.is_some() {}
        Ok(())
    }
}

struct Row<'r, 's>(&'r mut Reading<'s>);

impl<'de> DeserializeSeed<'de> for Row<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a key for each column")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        let reading = self.0;
        let dropped_before = reading.notes.keys_dropped;
        while let Some(found) = pairs.next_key_seed(Name(reading))? {
            match found {
                Some((kind, column, notes)) => pairs.next_value_seed(Cell {
                    kind,
                    column,
                    notes,
                })?,
                None => {
                    pairs.next_value::<IgnoredAny>()?;
                }
            }
        }
        if reading.notes.keys_dropped > dropped_before {
            reading.notes.rows_with_keys_dropped += 1;
        }
        reading.end_row();
        Ok(())
    }
}

/// A key: to the column it names.
struct Name<'r, 's>(&'r mut Reading<'s>);

impl<'de, 'r> DeserializeSeed<'de> for Name<'r, '_> {
    type Value = Option<(Kind, &'r mut Values, &'r mut Notes)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de, 'r> Visitor<'de> for Name<'r, '_> {
    type Value = Option<(Kind, &'r mut Values, &'r mut Notes)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.column(key))
    }
}

/// A value: into its column, as the row behind its last.
struct Cell<'r> {
    kind: Kind,
    column: &'r mut Values,
    notes: &'r mut Notes,
}

impl Cell<'_> {
    fn whole(self, value: Option<i64>) {
        let fits = value.filter(|value| match self.kind {
            Kind::Int => i32::try_from(*value).is_ok(),
            Kind::Long => true,
            Kind::Text | Kind::Real | Kind::DateTime => false,
        });
        match (self.column, fits, value) {
            (Values::Whole(wholes), Some(value), _) => wholes.push(Some(value)),
            // whole numbers are numbers too; a long one loses its last digits, as in any double
            (Values::Real(reals), _, Some(value)) => reals.push(Some(value as f64)),
            _ => self.notes.values_mismatched += 1,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cell<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match (self.kind, self.column) {
            (Kind::Text, Values::Text(texts)) => {
                let kept = cut_at(text, COLUMN_BYTES_MAX);
                self.notes.values_cut += u64::from(kept < text.len());
                texts.push(text.get(..kept).unwrap_or_default());
            }
            (Kind::DateTime, Values::Whole(wholes)) => match parse_time(text) {
                Some(time) => wholes.push(Some(time)),
                None => self.notes.values_mismatched += 1,
            },
            _ => self.notes.values_mismatched += 1,
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.whole(Some(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.whole(i64::try_from(value).ok());
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.column {
            Values::Real(reals) => reals.push(Some(value)),
            _ => self.notes.values_mismatched += 1,
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.notes.values_mismatched += 1;
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.notes.values_null += 1;
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut inner: A) -> Result<(), A::Error> {
        self.notes.values_mismatched += 1;
        while inner.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut inner: A) -> Result<(), A::Error> {
        self.notes.values_mismatched += 1;
        while inner.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// The last boundary between characters that is not behind `bytes`.
fn cut_at(text: &str, bytes: usize) -> usize {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_714_564_800_000_000_000);

    fn read(body: &str) -> Result<(Rows, Notes), String> {
        read_rows(body.as_bytes(), NOW, &Schema::default())
    }

    fn text(rows: &Rows, name: &str, row: usize) -> String {
        let index = Schema::default().index(name).unwrap();
        match &rows.columns[index] {
            Some(Values::Text(texts)) => texts.get(row).to_owned(),
            None => String::new(),
            other => panic!("{name} is {other:?}"),
        }
    }

    fn whole(rows: &Rows, name: &str, row: usize) -> Option<i64> {
        let index = Schema::default().index(name).unwrap();
        match &rows.columns[index] {
            Some(Values::Whole(wholes)) => wholes[row],
            None => None,
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn rows_are_typed_by_their_columns() {
        let (rows, notes) = read(
            r#"[ {"TimeGenerated":"2024-05-01T11:59:00Z","DeviceVendor":"Darktrace","SourcePort":443,
                  "SentBytes":9000000000,"DeviceCustomFloatingPoint1":1},
                 {"TimeGenerated":"2024-05-01T11:59:01Z","Message":"a\"b\u00fc","DeviceCustomFloatingPoint1":0.5} ]"#,
        )
        .unwrap();
        assert_eq!(rows.rows_count, 2);
        assert_eq!(notes, Notes::default());
        assert_eq!(text(&rows, "DeviceVendor", 0), "Darktrace");
        assert_eq!(text(&rows, "DeviceVendor", 1), "");
        assert_eq!(text(&rows, "Message", 0), "");
        assert_eq!(text(&rows, "Message", 1), "a\"bü");
        assert_eq!(whole(&rows, "SourcePort", 0), Some(443));
        assert_eq!(whole(&rows, "SourcePort", 1), None);
        assert_eq!(whole(&rows, "SentBytes", 0), Some(9_000_000_000));
        assert_eq!(
            whole(&rows, "TimeGenerated", 1),
            Some(NOW.0 - 59_000_000_000)
        );
        let index = Schema::default()
            .index("DeviceCustomFloatingPoint1")
            .unwrap();
        assert_eq!(
            rows.columns[index],
            Some(Values::Real(vec![Some(1.0), Some(0.5)]))
        );
    }

    #[test]
    fn an_empty_array_has_no_rows() {
        assert_eq!(read(" [ ] ").unwrap().0.rows_count, 0);
    }

    #[test]
    fn a_body_that_is_no_array_of_objects_is_refused() {
        for body in [
            "",
            "{}",
            "null",
            "1",
            "\"a\"",
            "[1]",
            "[[]]",
            "[null]",
            "[{}",
            "[{},]",
            "[{}]x",
            "[{}][{}]",
            "{\"a\":1}\n{\"a\":2}",
            "[{\"Message\":\"\u{1}\"}]",
            "[{\"Message\":\"a}]",
            "[{\"Message\":tru}]",
            "[{\"Message\":\"\\ud800\"}]",
            "[{Message:1}]",
        ] {
            assert!(read(body).is_err(), "{body:?}");
        }
        let deep = format!(
            "[{{\"Message\":{}{}}}]",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        // nothing limits depth here but the body's length, and nothing goes down it by recursion
        assert_eq!(read(&deep).unwrap().1.values_mismatched, 1);
        let mut bad = br#"[{"NoSuchColumn":"x"}]"#.to_vec();
        bad[18] = 0xff;
        assert!(
            read_rows(&bad, NOW, &Schema::default())
                .unwrap_err()
                .contains("UTF-8")
        );
    }

    #[test]
    fn undeclared_keys_are_dropped_and_counted_by_key_and_by_row() {
        let (rows, notes) = read(
            r#"[{"TimeGenerated":"2024-05-01T12:00:00Z","source_type":"x","path":{"a":[1]},"devicevendor":"y"},
                {"TimeGenerated":"2024-05-01T12:00:00Z"},
                {"TimeGenerated":"2024-05-01T12:00:00Z","_BilledSize":1.5}]"#,
        )
        .unwrap();
        assert_eq!(rows.rows_count, 3);
        assert_eq!((notes.keys_dropped, notes.rows_with_keys_dropped), (4, 2));
    }

    #[test]
    fn a_value_of_another_type_becomes_absent_and_is_counted() {
        let values = [
            ("SourcePort", "\"443\""),
            ("SourcePort", "4.5"),
            ("SourcePort", "2147483648"),
            ("SourcePort", "true"),
            ("SourcePort", "[1]"),
            ("SourcePort", "{\"a\":1}"),
            ("SentBytes", "9223372036854775808"),
            ("DeviceVendor", "1"),
            ("DeviceVendor", "{}"),
            ("StartTime", "\"soon\""),
            ("StartTime", "1714564800"),
            ("DeviceCustomFloatingPoint1", "\"1\""),
        ];
        for (name, value) in values {
            let (rows, notes) = read(&format!(
                r#"[{{"TimeGenerated":"2024-05-01T12:00:00Z","{name}":{value}}}]"#
            ))
            .unwrap();
            assert_eq!(notes.values_mismatched, 1, "{name} {value}");
            let index = Schema::default().index(name).unwrap();
            assert!(
                rows.columns[index].as_ref().unwrap().is_absent(),
                "{name} {value}"
            );
            assert_eq!(rows.columns[index].as_ref().unwrap().rows_count(), 1);
        }
        let (_, notes) =
            read(r#"[{"TimeGenerated":"2024-05-01T12:00:00Z","SourcePort":null}]"#).unwrap();
        assert_eq!((notes.values_mismatched, notes.values_null), (0, 1));
    }

    #[test]
    fn the_last_of_a_repeated_key_counts() {
        let (rows, notes) = read(
            r#"[{"TimeGenerated":"2024-05-01T12:00:00Z","Message":"first","SourcePort":1,"Message":"last","SourcePort":2},
                {"TimeGenerated":"2024-05-01T12:00:00Z","Message":"next"}]"#,
        )
        .unwrap();
        assert_eq!(text(&rows, "Message", 0), "last");
        assert_eq!(text(&rows, "Message", 1), "next");
        assert_eq!(whole(&rows, "SourcePort", 0), Some(2));
        assert_eq!(notes.keys_repeated, 2);
    }

    #[test]
    fn a_long_string_is_cut_at_a_character() {
        let long = "ü".repeat(COLUMN_BYTES_MAX / 2 + 1);
        let (rows, notes) = read(&format!(
            r#"[{{"TimeGenerated":"2024-05-01T12:00:00Z","Message":"a{long}"}}]"#
        ))
        .unwrap();
        assert_eq!(text(&rows, "Message", 0).len(), COLUMN_BYTES_MAX - 1);
        assert_eq!(notes.values_cut, 1);
        let exact = "x".repeat(COLUMN_BYTES_MAX);
        let (rows, notes) = read(&format!(
            r#"[{{"TimeGenerated":"2024-05-01T12:00:00Z","Message":"{exact}"}}]"#
        ))
        .unwrap();
        assert_eq!(
            (text(&rows, "Message", 0).len(), notes.values_cut),
            (COLUMN_BYTES_MAX, 0)
        );
    }

    #[test]
    fn a_time_outside_of_the_window_becomes_the_time_of_receipt() {
        let cases = [
            ("2024-04-29T12:00:00Z", false),
            ("2024-04-29T11:59:59Z", true),
            ("2024-05-02T12:00:00Z", false),
            ("2024-05-02T12:00:01Z", true),
        ];
        for (time, replaced) in cases {
            let (rows, notes) = read(&format!(r#"[{{"TimeGenerated":"{time}"}}]"#)).unwrap();
            assert_eq!(notes.times_replaced, u64::from(replaced), "{time}");
            assert_eq!(
                whole(&rows, "TimeGenerated", 0) == Some(NOW.0),
                replaced,
                "{time}"
            );
        }
        let (rows, notes) = read(r#"[{"Message":"x"},{"TimeGenerated":"soon"}]"#).unwrap();
        assert_eq!((notes.times_missing, notes.values_mismatched), (2, 1));
        assert_eq!(whole(&rows, "TimeGenerated", 1), Some(NOW.0));
    }
}
