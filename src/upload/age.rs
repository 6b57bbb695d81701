//! Rows that are too old for their own time.
//!
//! The service takes a `TimeGenerated` of the last two days; an older one it replaces by the time of
//! its own receipt, without a word. A row that has waited so long in the spool therefore gets its
//! time a second time, where it stays what it was:
//!
//! - in `FlexDate1`, with `FlexDate1Label` saying `cefline.received`. Of the columns that hold a
//!   time and take any text it is the one that devices hardly ever use: `StartTime`, `EndTime` and
//!   `ReceiptTime` belong to the event, and `DeviceCustomDate1` and 2 are in use by many products.
//!   `todatetime(FlexDate1)` gives it back in a query.
//! - If the device did send `flexDate1`: in front of `AdditionalExtensions`, as `cefline.received=`.

use crate::clock::Wall;
use crate::compress::{Gzip, Payload};
use crate::config::GzipLevel;
use crate::limits::{EVENT_AGE_MARGIN, EVENT_AGE_MAX};
use crate::spool::Body;
use bytes::Bytes;

/// How every row begins.
const TIME_KEY: &[u8] = b"{\"TimeGenerated\":\"";
const FLEX_KEYS: [&[u8]; 2] = [b",\"FlexDate1\":", b",\"FlexDate1Label\":"];
const EXTENSIONS_KEY: &[u8] = b",\"AdditionalExtensions\":\"";

/// The body as it is to be sent: with a second time in each row if it is too old, else as it is.
/// The name stays, so that a try before a crash and one after it can be told to be the same.
pub(super) fn note_receipt(body: Body, now: Wall, gzip_level: GzipLevel) -> Body {
    let age = now.0.saturating_sub(body.opened_at.0);
    let limit = EVENT_AGE_MAX.saturating_sub(EVENT_AGE_MARGIN).as_nanos();
    if i128::from(age) < i128::try_from(limit).unwrap_or(i128::MAX) {
        return body;
    }
    match with_receipt(&body.payload, gzip_level) {
        Some(payload) => Body { payload, ..body },
        // what cannot be read is for the service to judge
        None => body,
    }
}

fn with_receipt(payload: &Payload, gzip_level: GzipLevel) -> Option<Payload> {
    let raw = payload.raw()?;
    let mut out = Vec::with_capacity(raw.len() + payload.ends.len() * 128);
    let mut ends = Vec::with_capacity(payload.ends.len());
    let mut start = 0;
    for end in &payload.ends {
        // the bracket or the comma goes along
        let mark = raw.get(start)?;
        let row = raw.get(start + 1..*end as usize)?;
        out.push(*mark);
        note_row(row, &mut out);
        ends.push(u32::try_from(out.len()).ok()?);
        start = *end as usize;
    }
    out.push(b']');
    let mut gzip = Gzip::new(gzip_level);
    gzip.feed(&out);
    Some(Payload {
        body: Bytes::from(gzip.finish()),
        ends,
        ..payload.clone()
    })
}

/// Appends the row with its time noted; as it is, if it is not as we write rows.
fn note_row(row: &[u8], out: &mut Vec<u8>) {
    let time = row
        .strip_prefix(TIME_KEY)
        .and_then(|rest| rest.get(..memchr::memchr(b'"', rest)?));
    let (Some(time), Some(inside)) = (time, row.strip_suffix(b"}")) else {
        out.extend_from_slice(row);
        return;
    };
    // a quote inside of a value stands behind a backslash, so these are keys
    let find = |key: &[u8]| memchr::memmem::find(row, key);
    if FLEX_KEYS.iter().all(|key| find(key).is_none()) {
        out.extend_from_slice(inside);
        out.extend_from_slice(b",\"FlexDate1\":\"");
        out.extend_from_slice(time);
        out.extend_from_slice(b"\",\"FlexDate1Label\":\"cefline.received\"}");
        return;
    }
    match find(EXTENSIONS_KEY).map(|at| inside.split_at(at + EXTENSIONS_KEY.len())) {
        Some((before, behind)) => {
            out.extend_from_slice(before);
            out.extend_from_slice(b"cefline.received=");
            out.extend_from_slice(time);
            if !behind.starts_with(b"\"") {
                out.push(b';');
            }
            out.extend_from_slice(behind);
        }
        None => {
            out.extend_from_slice(inside);
            out.extend_from_slice(EXTENSIONS_KEY);
            out.extend_from_slice(b"cefline.received=");
            out.extend_from_slice(time);
            out.push(b'"');
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;
    use crate::compress::PayloadId;
    use crate::config::DestinationId;
    use serde_json::Value;

    fn body(rows: &[&str], opened_at: Wall) -> Body {
        let mut raw = Vec::new();
        let mut ends = Vec::new();
        for row in rows {
            raw.push(if raw.is_empty() { b'[' } else { b',' });
            raw.extend_from_slice(row.as_bytes());
            ends.push(raw.len() as u32);
        }
        raw.push(b']');
        let mut gzip = Gzip::new(GzipLevel::Zlib(1));
        gzip.feed(&raw);
        let payload = Payload {
            destination: DestinationId::SENTINEL,
            id: PayloadId::random(),
            body: Bytes::from(gzip.finish()),
            ends,
            arrivals: Vec::new(),
            sealed_at: Mono(0),
        };
        Body {
            payload,
            opened_at,
            sealed_at: opened_at,
        }
    }

    fn rows_of(body: &Body) -> Vec<Value> {
        serde_json::from_slice(&body.payload.raw().unwrap()).unwrap()
    }

    const TIME: &str = "2026-11-20T10:00:00.123Z";

    #[test]
    fn an_old_row_keeps_its_time_where_the_service_does_not_change_it() {
        let row = |rest: &str| format!("{{\"TimeGenerated\":\"{TIME}\"{rest}}}");
        let rows = [
            row(""),
            row(",\"Message\":\"a \\\",\\\"FlexDate1\\\":\""),
            row(",\"FlexDate1\":\"x\",\"AdditionalExtensions\":\"a=b\""),
            row(",\"FlexDate1Label\":\"x\",\"AdditionalExtensions\":\"\""),
            row(",\"FlexDate1\":\"x\""),
            "{\"Other\":1}".to_owned(),
        ];
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let day = 24 * 3600 * 1_000_000_000;
        let old = body(&rows, Wall(0));
        let noted = note_receipt(old.clone(), Wall(2 * day), GzipLevel::Auto);
        assert_eq!(noted.payload.id, old.payload.id);
        assert_eq!(noted.payload.rows_count(), 6);
        let found = rows_of(&noted);
        for row in &found[..2] {
            assert_eq!(row["FlexDate1"], TIME);
            assert_eq!(row["FlexDate1Label"], "cefline.received");
        }
        let remark = format!("cefline.received={TIME}");
        assert_eq!(found[2]["AdditionalExtensions"], format!("{remark};a=b"));
        assert_eq!(found[3]["AdditionalExtensions"], remark);
        assert_eq!(found[4]["AdditionalExtensions"], remark);
        assert_eq!(found[5], serde_json::json!({"Other": 1}));
        // each row can still be cut out
        let raw = noted.payload.raw().unwrap();
        let mut start = 0;
        for (end, row) in noted.payload.ends.iter().zip(&found) {
            let text = &raw[start + 1..*end as usize];
            assert_eq!(serde_json::from_slice::<Value>(text).unwrap(), *row);
            start = *end as usize;
        }
    }

    #[test]
    fn a_row_that_the_service_takes_is_sent_as_it_is() {
        let row = format!("{{\"TimeGenerated\":\"{TIME}\"}}");
        let young = body(&[&row], Wall(0));
        let limit = (EVENT_AGE_MAX - EVENT_AGE_MARGIN).as_nanos() as i64;
        let at = |now: i64| {
            note_receipt(young.clone(), Wall(now), GzipLevel::Auto)
                .payload
                .body
        };
        assert_eq!(at(limit - 1), young.payload.body);
        assert_ne!(at(limit), young.payload.body);
        // the clock was set back
        assert_eq!(at(i64::MIN), young.payload.body);
    }
}
