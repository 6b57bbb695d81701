//! A backlog on disk: the start is quick however much waits, and new rows are quick while it is
//! delivered.
//!
//! `CEFLINE_BACKLOG_BYTES` (200 MB; 5368709120 takes some minutes and as much of the disk). A large one
//! is not stored by the emulator, whose table is in memory: then the forwarder's counts alone tell.

use crate::noise::Noise;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, Process, SOON, until};
use crate::table::Table;
use crate::{alone, number_of};
use cefline::clock::Clock;
use cefline::send::{Rate, SendControl, SendOptions, send};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const BACKLOG_BYTES: u64 = 200_000_000;
/// The emulator stores no more than this.
const STORED_BYTES_MOST: u64 = 500_000_000;
/// From the start of the process until its port answers.
const START_TIME: Duration = Duration::from_secs(2);
/// New rows, while the backlog is delivered: messages a second, and in what time nearly all of them
/// are in the table.
const RATE: f64 = 2_000.0;
const NEW_ROW_SECONDS: f64 = 10.0;
/// New rows at least.
const NEW_ROWS: u64 = 10_000;
/// A backlog may take so long, and is delivered no slower than so many bytes a second even by a
/// debug build on a machine that is shared.
const SLOWEST: u64 = 4_000_000;

/// Bodies of the length that real messages come to, so that there are as many records.
const KEYS: Keys = Keys {
    listen: "",
    sentinel: "",
    more: "[spool]\nfree_bytes_min = \"0 B\"\n[runtime]\nstop_time_max = \"0 s\"\n\
           [batch]\nraw_bytes_max = \"128 KiB\"",
};

#[test]
fn a_backlog_delays_neither_the_start_nor_new_rows() {
    let _machine = alone();
    let bytes = number_of("CEFLINE_BACKLOG_BYTES", BACKLOG_BYTES);
    let is_stored = bytes <= STORED_BYTES_MOST;
    let time_most = SOON + Duration::from_secs(bytes / SLOWEST);
    let lost_rows = format!("lost_rows_rate={}", u8::from(!is_stored));
    let emulator = EmulatorProcess::start(&[
        "--minute-bytes",
        "1000000000000",
        "--minute-requests",
        "1000000000",
        "--fault",
        &lost_rows,
    ]);
    let mut forwarder = ForwarderProcess::start(&emulator, KEYS);
    emulator.change_faults("{\"outage\":\"refuse\"}");
    let clock = Clock::start();
    let noise = Noise::start(forwarder.tcp, OLD);
    until("the backlog is there", time_most, || {
        (forwarder.account().count("spool_bytes") >= bytes).then_some(())
    });
    let old_count = noise.end();
    let wire_bytes = forwarder.account().count("body_wire_bytes_total");
    let bodies = forwarder.account().count("bodies_sealed_total");
    println!(
        "{old_count} rows in {bodies} bodies of {wire_bytes} bytes after {:.1} s",
        seconds(&clock)
    );
    forwarder.process.signal("TERM");
    let ended = forwarder.process.ended(SOON);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let says = format!(" held {old_count} + lost 0\n");
    assert!(ended.stdout.contains(&says), "{ended:?}");

    let config = forwarder.config.to_str().unwrap();
    let folder = forwarder.config.parent().unwrap();
    let clock = Clock::start();
    forwarder.process = Process::start(&["run", "--config", config], folder);
    until("the port answers", SOON, || {
        TcpStream::connect(forwarder.tcp).ok()
    });
    let started_after = Duration::from_nanos(clock.mono().0);
    println!("the port answers after {started_after:?}");
    assert!(started_after < START_TIME, "{started_after:?}");

    emulator.change_faults("{\"outage\":\"none\"}");
    let clock = Clock::start();
    let control = Arc::<SendControl>::default();
    let watched = Arc::clone(&control);
    let options = SendOptions {
        seed: NEW,
        rate: Rate::per_second(RATE),
        ..SendOptions::new(forwarder.tcp)
    };
    let sender = thread::spawn(move || send(&options, Clock::start(), &watched).unwrap());
    let account = until("the backlog ends", time_most, || {
        let account = forwarder.account();
        let is_done = account.count("spool_scanning") == 0
            && account.count("rows_held{stage=\"spool\"}") == 0
            && account.count("rows_uploaded_total") >= old_count
            && control.messages.load(Ordering::Relaxed) >= NEW_ROWS;
        is_done.then_some(account)
    });
    let time = seconds(&clock);
    println!(
        "delivered after {time:.1} s, {:.1} MB/s on the wire",
        wire_bytes as f64 / time / 1e6
    );
    assert_eq!(account.count("rows_recovered_total"), old_count);
    let new_row = |quantile: &str| {
        let name = format!("latency_seconds{{stage=\"overall\",quantile=\"{quantile}\"}}");
        account.number(&name)
    };
    println!(
        "{} new rows meanwhile: {:.3} s (median), {:.3} s (99 %)",
        control.messages.load(Ordering::Relaxed),
        new_row("0.5"),
        new_row("0.99")
    );
    control.stop.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    assert!(sent.is_clean(), "{sent:?}");
    assert!(new_row("0.99") < NEW_ROW_SECONDS);
    let account = until("all rows are settled", SOON, || {
        let account = forwarder.account();
        let is_done = account.count("frames_received_total") == sent.messages()
            && account.sum("rows_held") == 0;
        is_done.then_some(account)
    });
    assert_eq!(account.lost(), 0);
    let uploaded = account.count("rows_uploaded_total");
    assert_eq!(uploaded, old_count + sent.messages());
    if is_stored {
        emulator.ids(OLD).assert_are(0..old_count);
        emulator.ids(NEW).assert_are(sent.ids());
    }
}

/// Seeds.
const OLD: u64 = 0x01d;
const NEW: u64 = 0x2e3;

fn seconds(clock: &Clock) -> f64 {
    Duration::from_nanos(clock.mono().0).as_secs_f64()
}
