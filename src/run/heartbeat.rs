//! A row a minute about the forwarder itself, so that whoever watches the table sees in its own query
//! language that a collector is silent, behind, or losing.
//!
//! ```text
//! CommonSecurityLog | where DeviceVendor == "cefline" and DeviceProduct == "heartbeat"
//! ```
//!
//! It goes the way of all rows, in a page of its own, and is counted as they are.
//!
//! | column | holds |
//! |---|---|
//! | `DeviceVersion` | the version of cefline |
//! | `Computer`, `CollectorHostName` | `map.collector_host_name` |
//! | `LogSeverity` | 0; 5 while `/readyz` has a remark; 8 after a loss since the last one |
//! | `Message` | what `/readyz` says |
//! | `DeviceCustomNumber1` to `3` | rows and frames lost, rows held, seconds behind |
//! | `AdditionalExtensions` | those and more, `key=value` |
//!
//! Pure: figures and time are arguments.

use crate::clock::Wall;
use crate::metrics::{Counter, Snapshot};
use jiff::{Timestamp, Unit};
use serde::Serialize;
use std::time::Duration;

/// What a heartbeat tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat<'a> {
    pub(super) now: Wall,
    pub(super) host: &'a str,
    pub(super) uptime: Duration,
    /// Since the last one, or since the start.
    pub(super) time: Duration,
    /// At the last one.
    pub(super) before: &'a Snapshot,
    pub(super) snapshot: &'a Snapshot,
    pub(super) lag: Duration,
    pub(super) accepted_ago: Option<Duration>,
    pub(super) connections: usize,
    /// What `/readyz` says.
    pub(super) readiness: &'a str,
    /// It says that nothing is amiss.
    pub(super) is_well: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    time_generated: String,
    device_vendor: &'static str,
    device_product: &'static str,
    device_version: &'static str,
    #[serde(rename = "DeviceEventClassID")]
    device_event_class_id: &'static str,
    activity: &'static str,
    log_severity: &'static str,
    computer: &'a str,
    collector_host_name: &'a str,
    message: &'a str,
    device_custom_number1: i32,
    device_custom_number1_label: &'static str,
    device_custom_number2: i32,
    device_custom_number2_label: &'static str,
    device_custom_number3: i32,
    device_custom_number3_label: &'static str,
    additional_extensions: String,
}

impl Beat<'_> {
    /// The row, as JSON.
    pub(super) fn row(&self) -> Vec<u8> {
        let lost = lost(self.snapshot);
        let is_losing = lost > self::lost(self.before);
        let row = Row {
            time_generated: written(self.now),
            device_vendor: "cefline",
            device_product: "heartbeat",
            device_version: env!("CARGO_PKG_VERSION"),
            device_event_class_id: "heartbeat",
            activity: "collector heartbeat",
            log_severity: match (is_losing, self.is_well) {
                (true, _) => "8",
                (false, false) => "5",
                (false, true) => "0",
            },
            computer: self.host,
            collector_host_name: self.host,
            message: self.readiness,
            device_custom_number1: clamped(lost),
            device_custom_number1_label: "lost",
            device_custom_number2: clamped(self.snapshot.held()),
            device_custom_number2_label: "held",
            device_custom_number3: clamped(self.lag.as_secs()),
            device_custom_number3_label: "lag_seconds",
            additional_extensions: self.extensions(),
        };
        serde_json::to_vec(&row).unwrap_or_default()
    }

    fn extensions(&self) -> String {
        let snapshot = self.snapshot;
        let grown = snapshot.value(Counter::FramesReceived)
            - self
                .before
                .value(Counter::FramesReceived)
                .min(snapshot.value(Counter::FramesReceived));
        let rate = grown as f64 / self.time.as_secs_f64().max(0.001);
        let mut pairs: Vec<(&str, u64)> = vec![
            ("frames_received", snapshot.value(Counter::FramesReceived)),
            ("frames_lost", snapshot.frames_lost()),
            ("records_unparsed", snapshot.total("records_unparsed_total")),
            ("rows_uploaded", snapshot.value(Counter::RowsUploaded)),
            ("rows_held", snapshot.held()),
            ("rows_filtered", snapshot.rows_filtered()),
            ("rows_lost", snapshot.rows_lost()),
            ("rows_quarantined", snapshot.rows_quarantined()),
            ("rows_maybe_twice", snapshot.value(Counter::RowsMaybeTwice)),
            ("reads_paused", snapshot.total("reads_paused_total")),
            ("events_per_second", rate as u64),
            ("connections", self.connections as u64),
            ("lag_seconds", self.lag.as_secs()),
            ("uptime_seconds", self.uptime.as_secs()),
        ];
        if let Some(ago) = self.accepted_ago {
            pairs.push(("accepted_age_seconds", ago.as_secs()));
        }
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join(";")
    }
}

fn lost(snapshot: &Snapshot) -> u64 {
    snapshot.rows_lost() + snapshot.frames_lost()
}

fn clamped(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// In UTC, to the millisecond; the epoch for a clock that is out of the calendar.
fn written(now: Wall) -> String {
    Timestamp::from_nanosecond(i128::from(now.0))
        .and_then(|time| time.round(Unit::Millisecond))
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Counters;
    use serde_json::Value;

    fn row_of(before: &Snapshot, now: &Snapshot, is_well: bool) -> Value {
        let beat = Beat {
            now: Wall(1_700_000_000_123_456_789),
            host: "collector \"1\"",
            uptime: Duration::from_secs(120),
            time: Duration::from_secs(60),
            before,
            snapshot: now,
            lag: Duration::from_secs(7),
            accepted_ago: Some(Duration::from_secs(3)),
            connections: 2,
            readiness: "ready",
            is_well,
        };
        serde_json::from_slice(&beat.row()).unwrap()
    }

    #[test]
    fn a_row_names_the_collector_and_its_figures() {
        let counters = Counters::default();
        let before = Snapshot::of([&counters]);
        counters.add(Counter::FramesReceived, 6000);
        counters.add(Counter::RowsWritten, 6000);
        let row = row_of(&before, &Snapshot::of([&counters]), true);
        assert_eq!(row["TimeGenerated"], "2023-11-14T22:13:20.123Z");
        assert_eq!(row["DeviceVendor"], "cefline");
        assert_eq!(row["DeviceProduct"], "heartbeat");
        assert_eq!(row["Computer"], "collector \"1\"");
        assert_eq!(row["LogSeverity"], "0");
        assert_eq!(row["DeviceCustomNumber2"], 6000);
        assert_eq!(row["DeviceCustomNumber3"], 7);
        let more = row["AdditionalExtensions"].as_str().unwrap();
        for pair in ["rows_held=6000", "events_per_second=100", "lag_seconds=7"] {
            assert!(more.split(';').any(|it| it == pair), "{more}");
        }
    }

    #[test]
    fn every_column_is_one_of_the_table() {
        let none = Snapshot::of([]);
        let row = row_of(&none, &none, true);
        for name in row.as_object().unwrap().keys() {
            let is_known = crate::map::columns::COLUMNS
                .iter()
                .any(|column| column.name == name);
            assert!(is_known, "{name}");
        }
    }

    #[test]
    fn the_severity_says_whether_it_is_losing_or_degraded() {
        let counters = Counters::default();
        counters.add(Counter::RowsLostRejected, 1);
        let before = Snapshot::of([&counters]);
        assert_eq!(row_of(&before, &before, true)["LogSeverity"], "0");
        assert_eq!(row_of(&before, &before, false)["LogSeverity"], "5");
        counters.add(Counter::FramesLostPartial, 1);
        let now = Snapshot::of([&counters]);
        assert_eq!(row_of(&before, &now, true)["LogSeverity"], "8");
    }
}
