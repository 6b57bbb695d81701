//! How it ends: on purpose, in a hurry, and when its sender dies.

use crate::beside_others;
use crate::process::{EmulatorProcess, Ended, ForwarderProcess, Keys, Process, SOON, until};
use crate::table::Table;
use cefline::clock::Clock;
use std::time::Duration;

/// Connections of a sender here.
const CONNECTIONS: u64 = 4;

/// An emulator, a forwarder, and a sender at full speed that has been under way for some time.
struct Traffic {
    emulator: EmulatorProcess,
    forwarder: ForwarderProcess,
    sender: Process,
    _folder: tempfile::TempDir,
}

const SEED: u64 = 0x570b;

impl Traffic {
    fn start(keys: Keys) -> Traffic {
        let emulator = EmulatorProcess::start(&["--minute-bytes", "1000000000000"]);
        let forwarder = ForwarderProcess::start(&emulator, keys);
        let folder = tempfile::tempdir().unwrap();
        let to = forwarder.tcp;
        let line =
            format!("send {to} --seconds 600 --connections {CONNECTIONS} --seed {SEED} --json");
        let arguments: Vec<&str> = line.split(' ').collect();
        let sender = Process::start(&arguments, folder.path());
        until("rows are uploaded", SOON, || {
            (forwarder.account().count("rows_uploaded_total") > 20_000).then_some(())
        });
        Traffic {
            emulator,
            forwarder,
            sender,
            _folder: folder,
        }
    }
}

/// The numbers of the first line of a report, which must close: received, uploaded, held, lost.
fn sums(ended: &Ended) -> [u64; 4] {
    let line = ended.stdout.lines().next().unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let sums = [1, 5, 9, 12].map(|word: usize| words[word].parse().unwrap());
    let [received, uploaded, held, lost] = sums;
    assert_eq!(received, uploaded + held + lost, "{line}");
    assert!(!ended.stdout.contains("unaccounted"), "{}", ended.stdout);
    sums
}

#[test]
fn a_stop_in_the_middle_of_traffic_uploads_what_has_arrived() {
    let _machine = beside_others();
    // with a spool what waits on disk is for the next run, see `spool`
    let keys = Keys {
        more: "[spool]\ndurability = \"memory\"",
        ..Keys::default()
    };
    let mut traffic = Traffic::start(keys);
    traffic.forwarder.process.signal("TERM");
    let ended = traffic.forwarder.process.ended(SOON);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let [received, uploaded, held, lost] = sums(&ended);
    assert_eq!(held, 0);
    // frames that the stop has cut in two may be lost, one a connection; they name their reason
    assert!(lost <= CONNECTIONS, "{}", ended.stdout);
    assert_eq!(traffic.emulator.stat("rows_stored"), uploaded);
    let ids = traffic.emulator.ids(SEED);
    assert_eq!(ids.surplus(), 0);
    let firsts = ids.assert_are_first_of_each(CONNECTIONS);
    println!("{received} received; of each connection {firsts:?}");
    // all were equally fast: none was read at the others' cost when the stop came
    let (least, most) = (firsts.iter().min().unwrap(), firsts.iter().max().unwrap());
    assert!(*most <= 4 * least, "{firsts:?}");
    assert!(!traffic.sender.ended(SOON).stdout.is_empty());
}

#[test]
fn a_stop_during_an_outage_ends_in_time_and_says_what_is_unsent() {
    let _machine = beside_others();
    let keys = Keys {
        more: "[spool]\ndurability = \"memory\"\n[runtime]\nstop_time_max = \"1 s\"",
        ..Keys::default()
    };
    let mut traffic = Traffic::start(keys);
    traffic.emulator.change_faults("{\"outage\":\"refuse\"}");
    until("senders wait", SOON, || {
        (traffic.forwarder.readiness().status == 503).then_some(())
    });
    let clock = Clock::start();
    traffic.forwarder.process.signal("TERM");
    let ended = traffic.forwarder.process.ended(SOON);
    let time = Duration::from_nanos(clock.mono().0);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(time < Duration::from_secs(10), "{time:?}");
    let [_, uploaded, held, lost] = sums(&ended);
    assert_eq!(held, 0, "{}", ended.stdout);
    assert!(lost > 0);
    assert!(
        ended.stdout.contains("lost, unsent_at_stop: "),
        "{}",
        ended.stdout
    );
    let ids = traffic.emulator.ids(SEED);
    assert!(ids.distinct() >= uploaded);
    println!("{}after {time:?}", ended.stdout);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let _machine = beside_others();
    let keys = Keys {
        more: "[spool]\ndurability = \"memory\"\n[runtime]\nstop_time_max = \"10 min\"",
        ..Keys::default()
    };
    let mut traffic = Traffic::start(keys);
    traffic.emulator.change_faults("{\"outage\":\"blackhole\"}");
    until("senders wait", SOON, || {
        (traffic.forwarder.readiness().status == 503).then_some(())
    });
    traffic.forwarder.process.signal("INT");
    until("it stops", SOON, || {
        traffic
            .forwarder
            .readiness()
            .body
            .contains("stopping")
            .then_some(())
    });
    assert!(traffic.forwarder.process.is_running());
    let clock = Clock::start();
    traffic.forwarder.process.signal("TERM");
    let ended = traffic.forwarder.process.ended(SOON);
    let time = Duration::from_nanos(clock.mono().0);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(time < Duration::from_secs(3), "{time:?}");
    let [_, _, held, lost] = sums(&ended);
    assert_eq!(held, 0, "{}", ended.stdout);
    assert!(lost > 0);
}

#[test]
fn a_sender_that_dies_leaves_an_account_that_closes() {
    let _machine = beside_others();
    let mut traffic = Traffic::start(Keys::default());
    traffic.sender.signal("KILL");
    assert_eq!(traffic.sender.ended(SOON).code, None);
    until("all connections are closed", SOON, || {
        let account = traffic.forwarder.account();
        (account.sum("connections_closed_total") == CONNECTIONS).then_some(())
    });
    let account = traffic.forwarder.settled(SOON);
    // each connection may end within a frame: one with a CEF header is kept, another counted
    assert!(account.lost() <= CONNECTIONS);
    let cut = account.count("frames_partial_total") + account.lost();
    assert!(cut <= CONNECTIONS, "{cut} frames cut");
    let in_bytes = account.count("framed_bytes_total") + account.sum("discarded_bytes_total");
    assert_eq!(in_bytes, account.count("received_bytes_total"));
    let rows_count = account.count("rows_uploaded_total");
    assert_eq!(traffic.emulator.count(""), rows_count);
    let ids = traffic.emulator.ids(SEED);
    let whole: u64 = ids.assert_are_first_of_each(CONNECTIONS).iter().sum();
    println!("{rows_count} rows, {whole} with an id, {cut} frames cut");
    assert!(whole + CONNECTIONS >= rows_count);

    traffic.forwarder.process.signal("TERM");
    let ended = traffic.forwarder.process.ended(SOON);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(sums(&ended)[1], rows_count);
}
