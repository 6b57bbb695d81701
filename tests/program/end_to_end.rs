//! Sender, forwarder and emulator as processes, over TLS, with everything in order.

use crate::process::{EmulatorProcess, ForwarderProcess, Keys, Process};
use crate::table::Table;
use crate::{alone, number_of};
use cefline::clock::Clock;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Longest that all of it may take.
const TIME_MAX: Duration = Duration::from_secs(300);

#[test]
fn two_million_messages_arrive_exactly_once_and_all_counts_agree() {
    let _machine = alone();
    let count = number_of("CEFLINE_E2E_MESSAGES", 2_000_000);
    let seed = 0x2e2;
    // what the real service takes in a minute is not what this is about
    let emulator = EmulatorProcess::start(&["--minute-bytes", "1000000000000"]);
    let mut forwarder = ForwarderProcess::start(&emulator, Keys::default());
    let folder = tempfile::tempdir().unwrap();
    let ids_file = folder.path().join("ids");
    let to = forwarder.tcp.to_string();
    let line = format!("send {to} --count {count} --connections 8 --seed {seed} --json --ids ids");
    let arguments: Vec<&str> = line.split(' ').collect();

    let clock = Clock::start();
    let sent = Process::start(&arguments, folder.path()).ended(TIME_MAX);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let account = forwarder.settled(TIME_MAX);
    println!(
        "{count} messages in {:?}",
        Duration::from_nanos(clock.mono().0)
    );

    // the sender's account is the forwarder's...
    let sent: Value = serde_json::from_str(sent.stdout.trim()).unwrap();
    assert_eq!(sent["messages"], count);
    assert_eq!(sent["bytes"], account.count("received_bytes_total"));
    assert_eq!(
        account.count("framed_bytes_total"),
        account.count("received_bytes_total")
    );
    for name in [
        "frames_received_total",
        "records_parsed_total",
        "rows_written_total",
        "rows_handed_total",
        "rows_taken_total",
        "rows_sealed_total",
        "rows_uploaded_total",
    ] {
        assert_eq!(account.count(name), count, "{name}");
    }
    // of each row either the time from receipt, or the time on disk
    let timed = |stage| account.count(&format!("latency_seconds_count{{stage=\"{stage}\"}}"));
    assert_eq!(timed("overall") + timed("spool"), count);
    assert_eq!(timed("spool"), account.count("rows_unparked_total"));
    assert_eq!(account.lost(), 0);
    assert_eq!(account.count("connections_accepted_total"), 8);
    assert_eq!(
        account.count("connections_closed_total{reason=\"peer\"}"),
        8
    );
    // ...whose account is the emulator's
    let stats = emulator.stats();
    assert_eq!(stats["rows_stored"], count);
    assert_eq!(stats["raw_bytes"], account.count("body_raw_bytes_total"));
    assert_eq!(stats["wire_bytes"], account.count("body_wire_bytes_total"));
    assert_eq!(
        stats["calls"]["204"],
        account.count("bodies_uploaded_total")
    );
    assert_eq!(
        account.count("requests_total"),
        account.count("bodies_uploaded_total")
    );
    let notes = stats["notes"].as_object().unwrap();
    assert!(notes.values().all(|note| *note == 0), "{notes:?}");

    let written = fs::read_to_string(ids_file).unwrap();
    let ids = emulator.ids(seed);
    ids.assert_are(0..count);
    assert_eq!(ids.surplus(), 0);
    assert_eq!(written.lines().count() as u64, count);
    println!("checked after {:?}", Duration::from_nanos(clock.mono().0));

    forwarder.process.signal("TERM");
    let ended = forwarder.process.ended(TIME_MAX);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let line = format!("received {count} frames = uploaded {count} rows + held 0 + lost 0\n");
    assert_eq!(ended.stdout, line);
}
