//! The service goes away in the middle of the traffic and comes back.

use crate::process::{EmulatorProcess, ForwarderProcess, Keys, SOON, until};
use crate::rig::Rig;
use crate::table::Table;
use crate::{alone, beside_others, number_of};
use cefline::clock::{Clock, Mono};
use cefline::config::{Loaded, Machine};
use cefline::emulator::faults::Outage;
use cefline::emulator::{Faults, Options};
use cefline::metrics::Counter;
use cefline::send::{SendControl, SendOptions, SendReport, send};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Rows before the outage and behind it.
const ROWS: u64 = 60_000;
/// A sender that sends nothing for so long is held up: longer than `batch.linger`, and than the kernel takes
/// to find room for a little more in its buffers when it probes a closed window.
const STILL: Duration = Duration::from_secs(3);

/// Little memory, so that it is soon full; the rest is as usual.
const KEYS: Keys = Keys {
    listen: "connections_max = 100\npartial_bytes_max = \"8 MiB\"",
    sentinel: "",
    more: "[spool]\ndurability = \"memory\"\n[runtime]\npages_bytes_max = \"16 MiB\"",
};

#[test]
fn a_service_that_refuses_connections_slows_senders_and_loses_nothing() {
    outage("refuse", number_of("CEFLINE_OUTAGE_SECONDS", 20));
}

#[test]
fn a_service_that_resets_connections_slows_senders_and_loses_nothing() {
    outage("reset", number_of("CEFLINE_OUTAGE_SECONDS", 20) / 2);
}

#[test]
fn what_senders_have_left_behind_in_an_outage_arrives_after_it() {
    let _machine = beside_others();
    let options = Options {
        faults: Faults {
            outage: Outage::Refuse,
            ..Faults::default()
        },
        ..Options::default()
    };
    let keys = Keys {
        sentinel: "requests_in_flight = 1",
        more: "[spool]\ndurability = \"memory\"\n[runtime]\npages_bytes_max = \"4 MiB\"",
        ..Keys::default()
    };
    let rig = Rig::with(options, keys);
    let seed = 0x1ef7;
    // more than pages and bodies hold, and no more than the kernel takes besides
    let count = 12_000;
    let sent = rig.send(&SendOptions {
        time: Some(SOON),
        close_time: Duration::from_millis(100),
        ..rig.options(seed, count)
    });
    assert_eq!(sent.messages(), count);
    until("reads are paused", SOON, || {
        (rig.count(Counter::ReadsPaused) > 0).then_some(())
    });
    let received = rig.count(Counter::FramesReceived);
    assert!(received < count, "nobody was held up: {received} received");
    rig.emulator.set_faults(Faults::default()).unwrap();
    let snapshot = rig.settled(count);
    assert_eq!(snapshot.value(Counter::RowsUploaded), count);
    let ids = rig.emulator.ids(seed);
    ids.assert_are(sent.ids());
    assert!(ids.surplus() <= snapshot.value(Counter::RowsMaybeTwice));
}

fn outage(kind: &str, seconds: u64) {
    let _machine = alone();
    let emulator = EmulatorProcess::start(&["--minute-bytes", "1000000000000"]);
    let forwarder = ForwarderProcess::start(&emulator, KEYS);
    let started_kib = forwarder.process.kibibytes("VmRSS");
    let control = Arc::new(SendControl::default());
    let seed = 0x0a7a;
    let sender = start_sender(&forwarder, &control, seed);
    let uploaded = |past: u64| {
        until("rows are uploaded", SOON, || {
            let rows_count = forwarder.account().count("rows_uploaded_total");
            (rows_count >= past).then_some(rows_count)
        })
    };
    uploaded(ROWS);

    emulator.change_faults(&format!(
        "{{\"outage\":\"{kind}\",\"outage_seconds\":{seconds}}}"
    ));
    let begun = Clock::start();
    let end = Mono(0).plus(Duration::from_secs(seconds));
    let sent_when_full = standstill(&control);
    let held_up_at = Duration::from_nanos(begun.mono().0);
    assert!(
        begun.mono() < end,
        "senders were held up only after {held_up_at:?}"
    );
    let mut readiness = None;
    let mut sent_at_end = sent_when_full;
    until("the outage is over", SOON, || {
        // looked at first, so that what is seen is from before the end
        let (sent, answer) = (
            control.messages.load(Ordering::Relaxed),
            forwarder.readiness(),
        );
        if begun.mono() >= end {
            return Some(());
        }
        (sent_at_end, readiness) = (sent, Some(answer));
        None
    });
    let slipped_through = sent_at_end - sent_when_full;
    println!("{sent_when_full} sent, then none from {held_up_at:?} on, until the end");
    assert_eq!(slipped_through, 0, "senders went on");
    let readiness = readiness.unwrap();
    assert_eq!(readiness.status, 503, "{readiness:?}");
    assert!(forwarder.account().count("reads_paused_total") > 0);

    let before = forwarder.account().count("rows_uploaded_total");
    uploaded(before + ROWS);
    assert_eq!(forwarder.readiness().status, 200);
    control.stop.store(true, Ordering::Relaxed);
    let report = sender.join().unwrap();
    assert!(report.is_clean(), "{report:?}");
    until("all frames are read", SOON, || {
        let received = forwarder.account().count("frames_received_total");
        (received == report.messages()).then_some(())
    });
    let account = forwarder.settled(SOON);
    assert_eq!(account.lost(), 0);
    let ids = emulator.ids(seed);
    ids.assert_are(report.ids());
    let twice = account.count("rows_maybe_duplicated_total");
    println!(
        "{} rows, {} twice of {twice} perhaps",
        ids.distinct(),
        ids.surplus()
    );
    assert!(ids.surplus() <= twice);
    assert_memory(&forwarder, started_kib);
}

/// Waits until the sender is held up; gives how much it had sent by then.
fn standstill(control: &SendControl) -> u64 {
    let (mut sent, mut since) = (0, Clock::start());
    until("senders are held up", SOON, || {
        let now = control.messages.load(Ordering::Relaxed);
        if now != sent {
            (sent, since) = (now, Clock::start());
        }
        (since.mono() >= Mono(0).plus(STILL)).then_some(sent)
    })
}

fn start_sender(
    forwarder: &ForwarderProcess,
    control: &Arc<SendControl>,
    seed: u64,
) -> JoinHandle<SendReport> {
    let control = Arc::clone(control);
    let options = SendOptions {
        seed,
        connections: NonZeroUsize::new(8).unwrap(),
        ..SendOptions::new(forwarder.tcp)
    };
    thread::spawn(move || send(&options, Clock::start(), &control).unwrap())
}

/// The most that the forwarder has ever had resident is what it had at its start and the sum that
/// `cefline check` prints.
fn assert_memory(forwarder: &ForwarderProcess, started_kib: u64) {
    let loaded = Loaded::read(&forwarder.config, &Machine::read()).unwrap();
    let parts = loaded.config.memory_bytes_max();
    let budget_kib = parts.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>() / 1024;
    let most_kib = forwarder.process.kibibytes("VmHWM");
    println!(
        "resident: {started_kib} KiB at the start, {most_kib} KiB at most, budget {budget_kib} KiB"
    );
    assert!(most_kib <= started_kib + budget_kib);
}
