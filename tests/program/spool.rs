//! The spool of the whole program: outages that hold nobody up, stops and kills that lose nothing,
//! and what may lie in its folder.

use crate::noise::Noise;
use crate::process::{
    EmulatorProcess, Ended, ForwarderProcess, Keys, Process, SOON, START_TIME, free_port, until,
};
use crate::rig::Rig;
use crate::table::Table;
use crate::{alone, beside_others, http};
use bytes::Bytes;
use cefline::clock::{Clock, Moment, Mono, Wall};
use cefline::compress::{Gzip, Payload, PayloadId};
use cefline::config::GzipLevel;
use cefline::config::{DestinationId, Machine, WhenFull};
use cefline::emulator::faults::Outage;
use cefline::emulator::{Faults, Options};
use cefline::generate::append_id;
use cefline::limits::SPOOL_SEGMENT_BYTES;
use cefline::metrics::Counter;
use cefline::run::View;
use cefline::send::{SendControl, SendOptions, SendReport, send};
use cefline::spool::files::Folder;
use cefline::spool::format::{LogId, SegmentHead};
use cefline::spool::{self, Body, Command, Event, Keeper, Settings, Space};
use nix::unistd::geteuid;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// More rows than memory holds by these settings.
const ROWS: u64 = 60_000;
/// A sender that sends nothing for so long is held up.
const STILL: Duration = Duration::from_secs(1);
/// Root, or we, without the rights of root.
const NOBODY: u32 = 65_534;

/// Little memory, and a stop that does not wait for a service that is away.
const KEYS: Keys = Keys {
    listen: "connections_max = 100\npartial_bytes_max = \"8 MiB\"",
    sentinel: "requests_in_flight = 2",
    more: "[spool]\nfree_bytes_min = \"0 B\"\n\
           [runtime]\npages_bytes_max = \"4 MiB\"\nstop_time_max = \"1 s\"\n\
           ingest_cores = 1\nupload_cores = 1\n[batch]\nlinger = \"50 ms\"",
};

fn emulator() -> EmulatorProcess {
    EmulatorProcess::start(&["--minute-bytes", "1000000000000"])
}

fn outage(emulator: &EmulatorProcess, kind: &str) {
    emulator.change_faults(&format!("{{\"outage\":\"{kind}\"}}"));
}

/// Sends generated messages until all are read.
fn send_all(to: SocketAddr, seed: u64, count: u64) {
    let options = SendOptions {
        count: Some(count),
        seed,
        connections: NonZeroUsize::new(4).unwrap(),
        close_time: SOON,
        ..SendOptions::new(to)
    };
    let report = send(&options, Clock::start(), &SendControl::default()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.messages(), count);
}

/// Sends generated messages until it is told to stop.
fn start_sender(
    to: SocketAddr,
    seed: u64,
    rate: f64,
) -> (JoinHandle<SendReport>, Arc<SendControl>) {
    let control = Arc::<SendControl>::default();
    let watched = Arc::clone(&control);
    let options = SendOptions {
        seed,
        rate: cefline::send::Rate::per_second(rate),
        close_time: SOON,
        ..SendOptions::new(to)
    };
    let sender = thread::spawn(move || send(&options, Clock::start(), &watched).unwrap());
    (sender, control)
}

/// Starts the program again, by the configuration as it stands now.
fn restart(forwarder: &mut ForwarderProcess) {
    let config = forwarder.config.to_str().unwrap();
    let folder = forwarder.config.parent().unwrap();
    forwarder.process = Process::start(&["run", "--config", config], folder);
    until("it is ready again", START_TIME, || {
        assert!(
            forwarder.process.is_running(),
            "{}",
            forwarder.process.stderr()
        );
        let answer = http::get(forwarder.metrics, "/readyz").ok()?;
        (answer.status == 200).then_some(())
    });
}

fn stop(forwarder: &mut ForwarderProcess) -> Ended {
    forwarder.process.signal("TERM");
    let ended = forwarder.process.ended(SOON);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

/// The report says that so many rows, and no others, are held, and that they are safe.
fn assert_kept(ended: &Ended, rows_count: u64) {
    let says = format!("  held in spool: {rows_count} (safe on disk, for the next run)\n");
    assert!(ended.stdout.contains(&says), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains(&format!(" held {rows_count} + lost 0\n")),
        "{ended:?}"
    );
}

/// Waits until all that was in the spool has been found, and it and all else delivered.
fn drained(forwarder: &ForwarderProcess, recovered: u64) -> u64 {
    let account = until("all rows are settled", SOON, || {
        let account = forwarder.account();
        let is_done = account.count("spool_scanning") == 0 && account.sum("rows_held") == 0;
        is_done.then_some(account)
    });
    assert_eq!(account.count("rows_recovered_total"), recovered);
    assert_eq!(account.lost(), 0);
    assert_eq!(account.sum("rows_quarantined_total"), 0);
    account.count("rows_maybe_duplicated_total")
}

/// So many rows of a seed are in the table, each once.
fn assert_once(emulator: &EmulatorProcess, seed: u64, count: u64) {
    let ids = emulator.ids(seed);
    ids.assert_are(0..count);
    assert_eq!(ids.surplus(), 0);
}

fn change(config: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{from} is not in\n{text}");
    fs::write(config, text.replacen(from, to, 1)).unwrap();
}

fn spool_of(forwarder: &ForwarderProcess) -> PathBuf {
    forwarder.config.with_file_name("spool")
}

#[test]
fn an_outage_holds_no_sender_up_and_all_arrives_after_it() {
    let _machine = alone();
    let emulator = emulator();
    let forwarder = ForwarderProcess::start(&emulator, KEYS);
    let seed = 0x0a7b;
    outage(&emulator, "refuse");
    send_all(forwarder.tcp, seed, ROWS);
    let account = forwarder.account();
    assert_eq!(account.count("frames_received_total"), ROWS);
    assert_eq!(account.count("rows_uploaded_total"), 0);
    let readiness = forwarder.readiness();
    assert_eq!(readiness.status, 200, "{readiness:?}");
    let parked = until("most of it waits on disk alone", SOON, || {
        let parked = forwarder.account().count("rows_held{stage=\"spool\"}");
        (parked > ROWS / 2).then_some(parked)
    });
    println!("{parked} of {ROWS} rows wait on disk alone");
    outage(&emulator, "none");
    drained(&forwarder, 0);
    assert_once(&emulator, seed, ROWS);
}

#[test]
fn a_stop_in_an_outage_keeps_everything_for_the_next_run() {
    let _machine = beside_others();
    let emulator = emulator();
    let mut forwarder = ForwarderProcess::start(&emulator, KEYS);
    let seed = 0x570c;
    outage(&emulator, "refuse");
    send_all(forwarder.tcp, seed, ROWS);
    let clock = Clock::start();
    let ended = stop(&mut forwarder);
    let time = Duration::from_nanos(clock.mono().0);
    assert!(time < Duration::from_secs(10), "{time:?}");
    assert_kept(&ended, ROWS);
    outage(&emulator, "none");
    restart(&mut forwarder);
    drained(&forwarder, ROWS);
    assert_once(&emulator, seed, ROWS);
    // nothing is left but the lock
    stop(&mut forwarder);
    let left = fs::read_dir(spool_of(&forwarder)).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn a_second_signal_in_an_outage_keeps_everything_as_well() {
    let _machine = beside_others();
    let emulator = emulator();
    let keys = Keys {
        more: "[runtime]\nstop_time_max = \"10 min\"\n[batch]\nlinger = \"50 ms\"",
        ..KEYS
    };
    let mut forwarder = ForwarderProcess::start(&emulator, keys);
    let seed = 0x570d;
    outage(&emulator, "blackhole");
    send_all(forwarder.tcp, seed, ROWS);
    forwarder.process.signal("TERM");
    until("it stops", SOON, || {
        let body = forwarder.readiness().body;
        body.contains("stopping").then_some(())
    });
    assert!(forwarder.process.is_running());
    let clock = Clock::start();
    let ended = stop(&mut forwarder);
    let time = Duration::from_nanos(clock.mono().0);
    assert!(time < Duration::from_secs(5), "{time:?}");
    assert_kept(&ended, ROWS);
    outage(&emulator, "none");
    restart(&mut forwarder);
    drained(&forwarder, ROWS);
    let ids = emulator.ids(seed);
    ids.assert_are(0..ROWS);
    // a request that the stop has cut may have been taken after all
    println!("{} rows twice", ids.surplus());
}

#[test]
fn a_kill_keeps_what_was_safe_without_a_sync() {
    let _machine = beside_others();
    let emulator = emulator();
    let keys = Keys {
        more: "[spool]\ndurability = \"process\"\n[batch]\nlinger = \"50 ms\"",
        ..KEYS
    };
    let mut forwarder = ForwarderProcess::start(&emulator, keys);
    let seed = 0x570e;
    outage(&emulator, "refuse");
    send_all(forwarder.tcp, seed, ROWS);
    until("all rows are safe", SOON, || {
        (forwarder.account().count("rows_spooled_total") == ROWS).then_some(())
    });
    forwarder.process.signal("KILL");
    assert_eq!(forwarder.process.ended(SOON).code, None);
    outage(&emulator, "none");
    restart(&mut forwarder);
    drained(&forwarder, ROWS);
    assert_once(&emulator, seed, ROWS);
}

#[test]
fn runs_with_fewer_and_more_cores_empty_what_the_others_have_left() {
    let _machine = beside_others();
    if Machine::read().cores.len() < 2 {
        return crate::skip::skipped("needs two cores");
    }
    let emulator = emulator();
    let mut forwarder = ForwarderProcess::start(&emulator, KEYS);
    outage(&emulator, "refuse");
    let cores = ["upload_cores = 1", "upload_cores = 2", "upload_cores = 1"];
    let mut kept = 0;
    for (seed, [now, next]) in (0xc0..).zip(cores.array_windows()) {
        send_all(forwarder.tcp, seed, ROWS / 2);
        kept += ROWS / 2;
        until("all rows are safe", SOON, || {
            (forwarder.account().count("rows_spooled_total") == ROWS / 2).then_some(())
        });
        assert_kept(&stop(&mut forwarder), kept);
        change(&forwarder.config, now, next);
        restart(&mut forwarder);
    }
    outage(&emulator, "none");
    drained(&forwarder, kept);
    assert_once(&emulator, 0xc0, ROWS / 2);
    assert_once(&emulator, 0xc1, ROWS / 2);
}

#[test]
fn a_program_that_stands_still_for_a_while_loses_nothing() {
    let _machine = beside_others();
    let emulator = emulator();
    let forwarder = ForwarderProcess::start(&emulator, KEYS);
    let seed = 0x5709;
    let (sender, control) = start_sender(forwarder.tcp, seed, 1_000_000.0);
    for _ in 0..3 {
        let before = forwarder.account().count("rows_uploaded_total");
        until("rows are uploaded", SOON, || {
            let uploaded = forwarder.account().count("rows_uploaded_total");
            (uploaded > before + ROWS / 10).then_some(())
        });
        forwarder.process.signal("STOP");
        standstill(|| control.messages.load(Ordering::Relaxed));
        forwarder.process.signal("CONT");
    }
    control.stop.store(true, Ordering::Relaxed);
    let report = sender.join().unwrap();
    assert!(report.is_clean(), "{report:?}");
    let twice = drained(&forwarder, 0);
    let ids = emulator.ids(seed);
    ids.assert_are(report.ids());
    assert!(ids.surplus() <= twice, "{} > {twice}", ids.surplus());
}

fn standstill(sent: impl Fn() -> u64) {
    let (mut last, mut since) = (0, Clock::start());
    until("the sender is held up", SOON, || {
        let now = sent();
        if now != last {
            (last, since) = (now, Clock::start());
        }
        (since.mono() >= Mono(0).plus(STILL)).then_some(())
    });
}

/// How a program ends whose spool cannot be its own.
fn refused(mut process: Process, says: &[&str]) {
    let ended = process.ended(START_TIME);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for text in says {
        assert!(ended.stderr.contains(text), "{text}: {ended:?}");
    }
    assert_eq!(ended.stderr.matches("spool.directory").count(), 1);
    assert!(!ended.stderr.contains("listening"), "{ended:?}");
}

#[test]
fn two_programs_with_one_spool_are_one_too_many() {
    let _machine = beside_others();
    let emulator = emulator();
    let forwarder = ForwarderProcess::start(&emulator, KEYS);
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(&forwarder.config).unwrap();
    let text = [forwarder.tcp, forwarder.metrics]
        .iter()
        .fold(text, |text, address| {
            text.replace(&address.to_string(), &free_port().to_string())
        });
    let config = folder.path().join("second.toml");
    fs::write(&config, text).unwrap();
    let second = Process::start(
        &["run", "--config", config.to_str().unwrap()],
        folder.path(),
    );
    let directory = spool_of(&forwarder).display().to_string();
    refused(second, &["another cefline uses it", &directory]);
    // the first has not noticed
    send_all(forwarder.tcp, 1, 100);
    drained(&forwarder, 0);
    assert_once(&emulator, 1, 100);
}

/// A program without the rights of root whose address is taken: what it says first is of the spool,
/// before it opens anything.
fn start_without_rights(more: &'static str, folder: &Path, spool: Option<&Path>) -> Process {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let secret = folder.join("secret");
    fs::write(&secret, "secret\n").unwrap();
    let keys = Keys {
        more,
        ..Keys::default()
    };
    let destination = format!(
        "[sentinel]\nendpoint = \"https://127.0.0.1:1\"\n\
         rules = [\"dcr-0123456789abcdef0123456789abcdef\"]\n\
         [sentinel.identity]\nkind = \"client_secret\"\n\
         tenant_id = \"00000000-0000-0000-0000-000000000001\"\n\
         client_id = \"00000000-0000-0000-0000-000000000002\"\nsecret_file = {secret:?}\n"
    );
    let address = taken.local_addr().unwrap().to_string();
    let text = keys.config(&address, "127.0.0.1:9", &destination, folder);
    let usual = format!("directory = {:?}", folder.join("spool"));
    assert!(text.contains(&usual));
    let spool = spool.map(|path| format!("directory = {path:?}"));
    let config = folder.join("cefline.toml");
    fs::write(&config, text.replace(&usual, &spool.unwrap_or_default())).unwrap();
    // who has no rights must reach all of it
    for path in [folder, &config, &secret] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let program = folder.join("cefline");
    fs::hard_link(crate::process::PROGRAM, &program)
        .or_else(|_| fs::copy(crate::process::PROGRAM, &program).map(drop))
        .unwrap();
    let mut command = std::process::Command::new(program);
    command
        .args(["run", "--config", config.to_str().unwrap()])
        .current_dir(folder);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Process::of(command, Vec::new(), Stdio::piped())
}

#[test]
fn a_spool_directory_without_rights_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let spool = closed.join("spool");
    let process = start_without_rights("", folder.path(), Some(&spool));
    refused(process, &["Permission denied", spool.to_str().unwrap()]);
}

#[test]
fn a_file_in_the_place_of_the_spool_directory_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let process = start_without_rights("", folder.path(), Some(&file));
    refused(process, &["cannot be used", file.to_str().unwrap()]);
    let below = file.join("spool");
    let folder = tempfile::tempdir().unwrap();
    let process = start_without_rights("", folder.path(), Some(&below));
    refused(process, &["Not a directory", below.to_str().unwrap()]);
}

#[test]
fn the_usual_spool_directory_of_somebody_without_rights_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let process = start_without_rights("", folder.path(), None);
    refused(
        process,
        &[
            "spool.directory = \"/var/lib/cefline/spool\"",
            "Permission denied",
            "spool.durability = \"memory\"",
        ],
    );
}

#[test]
fn strange_files_in_the_spool_hinder_no_start_and_stay_what_they_were() {
    let _machine = beside_others();
    let emulator = emulator();
    let mut forwarder = ForwarderProcess::start(&emulator, KEYS);
    outage(&emulator, "refuse");
    send_all(forwarder.tcp, 1, ROWS / 10);
    stop(&mut forwarder);
    let spool = spool_of(&forwarder);
    let is_log = |path: &PathBuf| path.is_dir();
    let log = fs::read_dir(&spool)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(is_log)
        .unwrap();
    let ours = LogId(7);
    let head = |log| SegmentHead {
        log,
        number: 1,
        rows_before: 0,
        ended: Vec::new(),
    };
    // as a later version would write it: the number, and a checksum that is right
    let mut newer = head(ours).encode();
    newer[8] = 2;
    let check_at = newer.len() - 4;
    let check = crc32c::crc32c(&newer[..check_at]).to_le_bytes();
    newer[check_at..].copy_from_slice(&check);
    let mut newer = newer.to_vec();
    newer.resize(SPOOL_SEGMENT_BYTES / 64, 0);
    let mut foreign = head(LogId(8)).encode().to_vec();
    foreign.resize(SPOOL_SEGMENT_BYTES / 64, 0);
    let garbage: Vec<u8> = (0..100_000_u32)
        .map(|at| (at.wrapping_mul(at) >> 7) as u8)
        .collect();
    let other = spool.join(format!("log-{:016x}-{:032x}", 1, ours.0));
    fs::create_dir(&other).unwrap();
    fs::create_dir(spool.join("log-of-somebody")).unwrap();
    let strange = [
        (spool.join("notes.txt"), Vec::new()),
        (
            spool.join("log-of-somebody/segment-00000001"),
            garbage.clone(),
        ),
        (other.join("segment-00000001"), newer),
        (other.join("segment-00000002"), foreign),
        (other.join("segment-00000003"), Vec::new()),
        (other.join("segment-00000004"), garbage.clone()),
        (log.join("segment-00000099"), Vec::new()),
        (log.join("segment-00000098"), garbage),
    ];
    for (path, bytes) in &strange {
        fs::write(path, bytes).unwrap();
    }
    outage(&emulator, "none");
    restart(&mut forwarder);
    send_all(forwarder.tcp, 2, ROWS / 10);
    drained(&forwarder, ROWS / 10);
    assert_once(&emulator, 1, ROWS / 10);
    assert_once(&emulator, 2, ROWS / 10);
    let says = forwarder.process.stderr();
    for (path, bytes) in &strange {
        let name = path.strip_prefix(&spool).unwrap().display().to_string();
        let is_in_log = name.starts_with("log-0") || path.starts_with(&log);
        // one that was being made in a crash, of which nobody need hear
        if is_in_log && bytes.is_empty() {
            assert!(!path.exists(), "{name}");
            continue;
        }
        assert!(fs::read(path).unwrap() == *bytes, "{name}");
        assert_eq!(says.contains(&name), is_in_log, "{name}: {says}");
    }
    assert!(says.contains("has format 2: a newer cefline wrote it"));
    stop(&mut forwarder);
}

/// A rig in an outage whose spool may have so many segments.
fn small_spool(when_full: WhenFull) -> Rig {
    let options = Options {
        faults: Faults {
            outage: Outage::Refuse,
            ..Faults::default()
        },
        ..Options::default()
    };
    Rig::changed(options, KEYS, |config| {
        config.spool.bytes_max = 3 * SPOOL_SEGMENT_BYTES;
        config.spool.when_full = when_full;
    })
}

fn readiness(view: &View) -> http::Answer {
    http::get(view.metrics_address().unwrap(), "/readyz").unwrap()
}

#[test]
fn a_spool_that_is_full_drops_its_oldest_bodies_if_it_is_told_to() {
    let _machine = alone();
    let mut rig = small_spool(WhenFull::DropOldest);
    let seed = 0xd09;
    let noise = Noise::start(rig.tcp(), seed);
    let view = Arc::clone(&rig.view);
    until("rows are dropped", SOON, || {
        (view.snapshot().value(Counter::RowsLostDropped) > 0).then_some(())
    });
    let sent = noise.end();
    until("all is on disk", SOON, || {
        let is_received = view.snapshot().value(Counter::FramesReceived) == sent;
        let is_safe = view.snapshot().value(Counter::RowsSpooled) == sent;
        (is_received && is_safe).then_some(())
    });
    assert_eq!(readiness(&view).status, 200);
    rig.emulator.set_faults(Faults::default()).unwrap();
    let snapshot = rig.settled(sent);
    let dropped = snapshot.value(Counter::RowsLostDropped);
    assert_eq!(snapshot.rows_lost(), dropped);
    let ids = rig.emulator.ids(seed);
    let missing: Vec<u64> = (0..sent).filter(|id| !ids.has(*id)).collect();
    println!("{dropped} of {sent} dropped, from {:?} on", missing.first());
    assert_eq!(missing.len() as u64, dropped);
    // one piece, of the oldest segment that nobody was sending from; the newest are there
    let (first, last) = (missing[0], missing[missing.len() - 1]);
    assert_eq!(last - first + 1, dropped);
    assert!(last < sent / 4 * 3, "{last} of {sent}");
    assert_eq!(ids.surplus(), 0);
    let text = rig.stop().to_string();
    let says = format!("lost, dropped_when_spool_was_full: {dropped}\n");
    assert!(text.contains(&says), "{text}");
}

#[test]
fn a_spool_that_is_full_makes_senders_wait_and_loses_nothing() {
    let _machine = alone();
    let mut rig = small_spool(WhenFull::Backpressure);
    let seed = 0xd0a;
    let noise = Noise::start(rig.tcp(), seed);
    standstill(|| noise.sent());
    let answer = until("that senders wait is said", SOON, || {
        Some(readiness(&rig.view)).filter(|answer| answer.status == 503)
    });
    let says = "the spool is full: spool.bytes_max = ";
    assert!(answer.body.contains(says), "{answer:?}");
    assert!(answer.body.contains("senders wait"), "{answer:?}");
    let held = rig.view.snapshot().held();
    rig.emulator.set_faults(Faults::default()).unwrap();
    until("the sender goes on", SOON, || {
        (noise.sent() > held + 1_000).then_some(())
    });
    let sent = noise.end();
    let snapshot = rig.settled(sent);
    assert_eq!(snapshot.rows_lost() + snapshot.frames_lost(), 0);
    let ids = rig.emulator.ids(seed);
    ids.assert_are(0..sent);
    assert!(ids.surplus() <= snapshot.value(Counter::RowsMaybeTwice));
    rig.stop();
}

#[test]
fn rows_that_the_service_refuses_and_that_are_too_long_for_it_go_into_quarantine() {
    let _machine = beside_others();
    let emulator = emulator();
    let mut forwarder = ForwarderProcess::start(&emulator, KEYS);
    let (seed, refused) = (0x9015, ROWS / 30);
    let mut id = Vec::new();
    append_id(&mut id, seed, refused);
    // so that both wait on disk among others
    let id = String::from_utf8(id).unwrap();
    let set = |outage| {
        emulator.change_faults(&format!(
            "{{\"refuse_text\":\"{id}\\\"\",\"body_bytes_max\":20000,\"outage\":\"{outage}\"}}"
        ));
    };
    set("refuse");
    send_all(forwarder.tcp, seed, ROWS / 10);
    // one that does not compress to what the service takes now
    long_message(forwarder.tcp);
    until("all rows are safe", SOON, || {
        let spooled = forwarder.account().count("rows_spooled_total");
        (spooled == ROWS / 10 + 1).then_some(())
    });
    set("none");
    let account = forwarder.settled(2 * SOON);
    assert_eq!(account.lost(), 0);
    for reason in ["rejected_by_service", "row_too_large_for_service"] {
        let name = format!("rows_quarantined_total{{reason=\"{reason}\"}}");
        assert_eq!(account.count(&name), 1, "{reason}");
    }
    let ids = emulator.ids(seed);
    ids.assert_are((0..ROWS / 10).filter(|id| *id != refused));
    assert_eq!(ids.surplus(), 0);
    let ended = stop(&mut forwarder);
    assert!(ended.stdout.contains(" + quarantined 2 + "), "{ended:?}");
    let files = fs::read_dir(spool_of(&forwarder).join("quarantine")).unwrap();
    assert_eq!(files.count(), 2);
}

/// One message of some 48 KB on the wire of the service.
fn long_message(to: SocketAddr) {
    use std::io::Write;
    let mut chance = fastrand::Rng::with_seed(1);
    let mut text = "<13>CEF:0|Acme|Long|1|1|long|5|msg=".to_owned();
    // of many keys, since a column has its bound
    for key in 0..12 {
        text += &format!("acme{key}=");
        text.extend((0..5_000).map(|_| chance.alphanumeric()));
        text += " ";
    }
    text += "\n";
    let mut stream = std::net::TcpStream::connect(to).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
}

#[test]
fn rows_that_have_waited_for_days_keep_the_time_of_their_receipt() {
    let _machine = beside_others();
    let options = Options::default();
    let now = Clock::start().wall();
    let day = 24 * 3600 * 1_000_000_000;
    let at = Wall(now.0 - 3 * day);
    let time = jiff::Timestamp::from_millisecond(at.0 / 1_000_000).unwrap();
    let time = format!("{time:.3}");
    let rows: Vec<String> = (0..3)
        .map(|number| {
            format!(
                "{{\"TimeGenerated\":\"{time}\",\"DeviceProduct\":\"Old\",\
                 \"DeviceEventClassID\":\"{number}\"}}"
            )
        })
        .collect();
    let rig = Rig::prepared(options, KEYS, |folder| {
        write_spool(&folder.join("spool"), &rows, at);
    });
    until("the old rows are there", SOON, || {
        (rig.emulator.count("| where DeviceProduct == \"Old\"") == 3).then_some(())
    });
    let found = rig.emulator.ask(
        "CommonSecurityLog | where DeviceProduct == \"Old\" | project FlexDate1, FlexDate1Label",
    );
    for row in found {
        assert_eq!(row[0].as_str().unwrap(), time);
        assert_eq!(row[1].as_str().unwrap(), "cefline.received");
    }
    assert_eq!(rig.count(Counter::RowsRecovered), 3);
}

/// A spool with one body of these rows, as a run of that time has left it.
fn write_spool(root: &Path, rows: &[String], at: Wall) {
    let (mut raw, mut ends) = (Vec::new(), Vec::new());
    for row in rows {
        raw.push(if raw.is_empty() { b'[' } else { b',' });
        raw.extend_from_slice(row.as_bytes());
        ends.push(raw.len() as u32);
    }
    raw.push(b']');
    let mut gzip = Gzip::new(GzipLevel::Zlib(1));
    gzip.feed(&raw);
    let body = Body {
        payload: Payload {
            destination: DestinationId::SENTINEL,
            id: PayloadId::random(),
            body: Bytes::from(gzip.finish()),
            ends,
            arrivals: Vec::new(),
            sealed_at: Mono(0),
        },
        opened_at: at,
        sealed_at: at,
    };
    let settings = Settings {
        is_power: true,
        segment_bytes: SPOOL_SEGMENT_BYTES,
        quarantine_bytes_max: 0,
        when_full: spool::WhenFull::Backpressure,
    };
    let space = Arc::new(Space::new(u64::MAX, Some(0)));
    let folder = Folder::create(root).unwrap();
    let mut keeper = Keeper::new(folder, settings, space, &[], 1, |_, _| {});
    let now = Moment {
        mono: Mono(1),
        wall: at,
    };
    let mut events = Vec::new();
    keeper.take(Command::Write(1, Box::new(body)), now, &mut events);
    keeper.take(Command::Close, now, &mut events);
    keeper.work(now, &mut events);
    assert!(matches!(events[0], Event::Written(1, _)), "{events:?}");
}
