//! Many connections: what an idle one costs, and how soon a thin one is read.

use crate::alone;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, SOON, until};
use crate::rig::Rig;
use crate::table::Table;
use cefline::clock::Clock;
use cefline::config::Machine;
use cefline::emulator::Options;
use cefline::emulator::stamp::parse_time;
use cefline::limits::{ROUND_MS_MOST, VAIN_READS_UNTIL_SLEEP};
use cefline::metrics::Counter;
use cefline::send::{Framing, Lines, Rate, SendControl, SendOptions, Source, Writes, send};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// Idle connections.
const IDLE_COUNT: u64 = 3_000;
/// What they send.
const IDLE_FRAME: &str = "<13>CEF:0|Acme|Gate|1|100|conn|5|src=192.0.2.1";
/// Messages before them: several times what all pages hold.
const WARM_UP_COUNT: u64 = 100_000;
/// What each may take of user memory: a kibibyte, and an eighth for how the allocator rounds.
const IDLE_BYTES_MAX: u64 = 1_024 + 128;
/// The promise for data on any connection, from the sender's write to our read.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// A silent connection has fallen asleep by then: after reads at shorter intervals, which together are no
/// longer than two at the longest, and those at the longest.
const ASLEEP_AFTER_MS: u64 = ROUND_MS_MOST as u64 * (2 + VAIN_READS_UNTIL_SLEEP as u64);
/// Another program may take the cores away for a moment; a fault of ours stays.
const TRIES: u32 = 4;

/// Measured is the growth of the resident memory of the whole process, divided by the number of
/// connections; what the kernel keeps for a socket is not in it.
#[test]
fn idle_connections_cost_a_kibibyte_of_memory_each_and_no_processor_time() {
    let _machine = alone();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let emulator = EmulatorProcess::start(&[]);
    let forwarder = ForwarderProcess::start(
        &emulator,
        Keys {
            listen: "connections_max = 5000",
            more: "[runtime]\npages_bytes_max = \"4 MiB\"",
            ..Keys::default()
        },
    );
    // what all connections share is touched before: pages, bodies, buffers
    let line = Lines::parse(format!("{IDLE_FRAME}\n").into_bytes()).unwrap();
    let warm_up = SendOptions {
        source: Source::Lines(Arc::new(line)),
        count: Some(WARM_UP_COUNT),
        ..SendOptions::new(forwarder.tcp)
    };
    send(&warm_up, Clock::start(), &SendControl::default()).unwrap();
    settled_at(&forwarder, WARM_UP_COUNT);
    let before = forwarder.process.kibibytes("VmRSS");

    let mut sockets = open(forwarder.tcp, IDLE_COUNT);
    until_open(&forwarder, IDLE_COUNT);
    let silent = forwarder.process.kibibytes("VmRSS");
    // those that have sent something and rest again keep nothing more
    write_to_each(&mut sockets);
    settled_at(&forwarder, WARM_UP_COUNT + IDLE_COUNT);
    until_asleep(&forwarder);
    let rested = forwarder.process.kibibytes("VmRSS");
    let each = |kib: u64| kib.saturating_sub(before) * 1024 / IDLE_COUNT;
    println!(
        "{} bytes each before the first frame, {} after it",
        each(silent),
        each(rested)
    );
    assert!(each(silent) <= IDLE_BYTES_MAX);
    assert!(each(rested) <= IDLE_BYTES_MAX);

    let ticks = processor_ticks(&forwarder);
    let clock = Clock::start();
    until("three seconds pass", SOON, || {
        (clock.mono().0 > 3_000_000_000).then_some(())
    });
    let used = processor_ticks(&forwarder) - ticks;
    println!("{used} hundredths of a second of processor time in three seconds");
    assert!(used <= 6);
    drop(sockets);
    until_open(&forwarder, 0);
}

fn open(to: SocketAddr, count: u64) -> Vec<TcpStream> {
    (0..count)
        .map(|_| TcpStream::connect(to).unwrap())
        .collect()
}

fn write_to_each(sockets: &mut [TcpStream]) {
    for socket in sockets {
        writeln!(socket, "{IDLE_FRAME}").unwrap();
    }
}

fn until_open(forwarder: &ForwarderProcess, count: u64) {
    until("connections are open", SOON, || {
        (forwarder.account().count("connections_open") == count).then_some(())
    });
}

fn settled_at(forwarder: &ForwarderProcess, frames_count: u64) {
    until("frames are received", SOON, || {
        (forwarder.account().count("frames_received_total") == frames_count).then_some(())
    });
    forwarder.settled(SOON);
}

/// Waits until nothing runs any more.
pub(crate) fn until_asleep(forwarder: &ForwarderProcess) {
    let mut before = (Clock::start(), processor_ticks(forwarder));
    until("the forwarder rests", SOON, || {
        let now = processor_ticks(forwarder);
        if now != before.1 {
            before = (Clock::start(), now);
        }
        (before.0.mono().0 > 500_000_000).then_some(())
    });
}

/// Processor time of the whole process, user and system, in hundredths of a second.
fn processor_ticks(forwarder: &ForwarderProcess) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", forwarder.process.id())).unwrap();
    let (_, behind_name) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = behind_name.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    ticks(11) + ticks(12)
}

/// Writes one message that carries the time at which it is written, with one write: of several, this side's
/// kernel keeps all but the first back until that is acknowledged, which may take 40 ms.
fn write_stamped(socket: &mut TcpStream, clock: Clock, mark: &str) {
    let now = clock.wall().0;
    let message = format!("<13>CEF:0|Acme|{mark}|1|100|conn|5|cs1={now}\n");
    socket.write_all(message.as_bytes()).unwrap();
}

/// How long the messages of a mark have waited to be read: TimeGenerated is when that was.
fn waits(rig: &Rig, mark: &str) -> Vec<Duration> {
    let rows = rig.emulator.ask(&format!(
        "CommonSecurityLog | where DeviceProduct == \"{mark}\" | project TimeGenerated, \
         DeviceCustomString1"
    ));
    let mut waits: Vec<Duration> = rows
        .iter()
        .map(|row| {
            let read = parse_time(row[0].as_str().unwrap()).unwrap();
            let written: i64 = row[1].as_str().unwrap().parse().unwrap();
            // the table keeps steps of 100 ns
            Duration::from_nanos(u64::try_from(read - written).unwrap_or(0))
        })
        .collect();
    waits.sort_unstable();
    waits
}

/// Measures until no message has waited too long, a few times at the most.
fn assert_short(mut measure: impl FnMut(&str) -> Vec<Duration>) {
    for number in 1..=TRIES {
        let waits = measure(&format!("try{number}"));
        let middle = waits[waits.len() / 2];
        let longest = waits[waits.len() - 1];
        println!(
            "{} messages, read after {middle:?} in the middle, {longest:?} at most",
            waits.len()
        );
        if longest <= WAIT_MAX {
            return;
        }
    }
    panic!("a message waited longer than {WAIT_MAX:?} each time");
}

#[test]
fn each_message_of_a_hundred_thin_connections_is_read_within_a_tenth_of_a_second() {
    let _machine = alone();
    let rig = Rig::start(Keys::default());
    let mut sockets = open(rig.tcp(), 100);
    let clock = Clock::start();
    let mut sent_count = 0;
    // one connection after the other; five a second on each, between which it stays awake, and so few that
    // it has fallen asleep before each
    let count = sockets.len() as u64;
    for (messages_count, pause_ms) in [(10 * count, 2), (4 * count, ASLEEP_AFTER_MS / count + 1)] {
        assert_short(|mark| {
            let mark = &format!("{mark}-{pause_ms}");
            let begun = clock.mono();
            for turn in 0..messages_count {
                let due = begun.plus(Duration::from_millis(pause_ms * turn));
                thread::sleep(due.since(clock.mono()));
                let index = turn as usize % sockets.len();
                write_stamped(&mut sockets[index], clock, mark);
                sent_count += 1;
            }
            rig.settled(sent_count);
            let waits = waits(&rig, mark);
            assert_eq!(waits.len(), messages_count as usize);
            waits
        });
    }
}

#[test]
fn a_quiet_connection_is_read_within_a_tenth_of_a_second_while_others_are_busy() {
    let _machine = alone();
    let rig = Rig::start(Keys::default());
    let mut quiet = TcpStream::connect(rig.tcp()).unwrap();
    let clock = Clock::start();
    let control = SendControl::default();
    let busy = SendOptions {
        connections: NonZeroUsize::new(4).unwrap(),
        rate: Rate::per_second(10_000.0),
        threads: NonZeroUsize::new(1),
        ..SendOptions::new(rig.tcp())
    };
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(&busy, clock, &control).unwrap());
        until("the others are busy", SOON, || {
            (rig.count(Counter::FramesReceived) > 5_000).then_some(())
        });
        assert_short(|mark| {
            for _ in 0..10 {
                write_stamped(&mut quiet, clock, mark);
                // the pause that is tested
                thread::sleep(Duration::from_millis(ASLEEP_AFTER_MS));
            }
            until("the quiet messages are there", SOON, || {
                let waits = waits(&rig, mark);
                (waits.len() == 10).then_some(waits)
            })
        });
        control.stop.store(true, Ordering::Relaxed);
        assert!(sender.join().unwrap().is_clean());
    });
}

#[test]
fn a_busy_connection_moves_to_the_shard_with_less_to_do_and_loses_nothing() {
    let _machine = alone();
    if Machine::read().cores.len() < 2 {
        crate::skip::skipped("one core, and so one shard");
        return;
    }
    let mut rig = Rig::start(Keys {
        more: "[runtime]\ningest_cores = 2",
        ..Keys::default()
    });
    let count = 40_000;
    let options = |seed, framing| SendOptions {
        count: Some(count),
        seed,
        framing,
        // some 8 MB a second
        rate: Rate::per_second(12_000.0),
        writes: Writes::RandomCuts,
        ..SendOptions::new(rig.tcp())
    };
    let accepted = |connections_count| {
        until("a connection is accepted", SOON, || {
            (rig.count(Counter::ConnectionsAccepted) == connections_count).then_some(())
        });
    };
    // they take turns, so the first and the third one share a shard
    let mut idle = None;
    thread::scope(|scope| {
        let send = |seed, framing| rig.send(&options(seed, framing));
        let first = scope.spawn(move || send(0x71, Framing::Octet));
        accepted(1);
        idle = Some(open(rig.tcp(), 1));
        accepted(2);
        let third = scope.spawn(move || send(0x73, Framing::Lf));
        let (first, third) = (first.join().unwrap(), third.join().unwrap());
        assert_eq!(first.messages() + third.messages(), 2 * count);
    });
    let snapshot = rig.settled(2 * count);
    println!("{} moved", snapshot.value(Counter::ConnectionsMoved));
    assert!(snapshot.value(Counter::ConnectionsMoved) > 0);
    for seed in [0x71, 0x73] {
        let ids = rig.emulator.ids(seed);
        ids.assert_are(0..count);
        assert_eq!(ids.surplus(), 0);
    }
    drop(idle);
    rig.stop();
}

/// A short frame whose row is found by its number; all are of one length.
fn numbered(number: u64) -> String {
    format!("<13>CEF:0|Acme|Gate|1|100|conn|5|src=192.0.2.1 dst=192.0.2.2 cnt={number:07}\n")
}

/// Writes so many of them over one connection as fast as they go, and waits until all are settled.
fn write_flat_out(rig: &Rig, count: u64) {
    let mut socket = TcpStream::connect(rig.tcp()).unwrap();
    let mut block = String::new();
    for number in 0..count {
        block.push_str(&numbered(number));
        if block.len() > 1 << 20 || number + 1 == count {
            socket.write_all(block.as_bytes()).unwrap();
            block.clear();
        }
    }
    drop(socket);
    rig.settled(count);
}

/// Both ways to receive.
const BACKENDS: [&str; 2] = ["io = \"uring\"", "io = \"epoll\""];

/// Two ingest cores with the fewest pages that there can be, so that they run out again and again.
fn two_cores_of_few_pages(io: &'static str) -> Rig {
    let keys = Keys {
        listen: io,
        more: "[runtime]\ningest_cores = 2\nupload_cores = 1",
        ..Keys::default()
    };
    Rig::changed(Options::default(), keys, |config| {
        config.runtime.pages_bytes_max = 0;
    })
}

#[test]
fn one_connection_flat_out_is_mapped_by_all_ingest_cores_and_its_rows_keep_their_order() {
    let _machine = alone();
    for io in BACKENDS {
        let mut rig = two_cores_of_few_pages(io);
        let count = 150_000;
        write_flat_out(&rig, count);
        let rows = rig
            .emulator
            .ask("CommonSecurityLog | order by EventCount asc | project EventCount, TimeGenerated");
        assert_eq!(rows.len() as u64, count);
        let mut last = jiff::Timestamp::MIN;
        for (number, row) in (0..count).zip(&rows) {
            assert_eq!(row[0].as_u64(), Some(number));
            // not as text: fractions are as long as they need to be
            let time: jiff::Timestamp = row[1].as_str().unwrap().parse().unwrap();
            assert!(
                last <= time,
                "row {number} is of {time}, the one before of {last}"
            );
            last = time;
        }
        let snapshot = rig.stop().snapshot;
        let pieces = snapshot.value(Counter::PiecesPassed);
        let waits = snapshot.value(Counter::ReadsPaused);
        println!("{io}: {pieces} pieces passed, {waits} waits for pages");
        assert!(pieces > 0 && waits > 0);
        assert_eq!(
            snapshot.value(Counter::BytesReceived),
            snapshot.value(Counter::BytesFramed)
        );
    }
}

#[test]
fn rules_that_count_keep_a_connection_on_its_core() {
    let _machine = alone();
    let mut rig = Rig::start(Keys {
        more: "[runtime]\ningest_cores = 2\n[[filter]]\nname = \"tenth\"\n\
               when = { column = \"DeviceProduct\", exists = true }\naction = \"sample\"\n\
               one_in = 10",
        ..Keys::default()
    });
    write_flat_out(&rig, 100_000);
    let snapshot = rig.stop().snapshot;
    assert_eq!(snapshot.value(Counter::PiecesPassed), 0);
    assert_eq!(snapshot.value(Counter::RowsUploaded), 10_000);
}

#[test]
fn a_stop_while_pieces_are_under_way_leaves_none_behind() {
    let _machine = alone();
    // some of them wait for pages when the stop comes
    for io in BACKENDS.into_iter().cycle().take(8) {
        let mut rig = two_cores_of_few_pages(io);
        let to = rig.tcp();
        let writer = thread::spawn(move || {
            let mut socket = TcpStream::connect(to).unwrap();
            let block: String = (0..2_000).map(numbered).collect();
            // until it is closed
            while socket.write_all(block.as_bytes()).is_ok() {}
        });
        until("pieces are passed", SOON, || {
            (rig.count(Counter::PiecesPassed) > 5).then_some(())
        });
        // the account closes, and nothing is held
        let report = rig.stop();
        writer.join().unwrap();
        let snapshot = report.snapshot;
        let rows = snapshot.value(Counter::RowsUploaded);
        assert_eq!(
            snapshot.value(Counter::FramesReceived),
            rows + snapshot.frames_lost()
        );
        assert_eq!(rig.emulator.count(""), rows);
        // every frame that was cut is in it; the last may have been cut short by the stop
        let bytes = snapshot.value(Counter::BytesFramed);
        let cut = bytes.div_ceil(numbered(0).len() as u64);
        assert_eq!(snapshot.value(Counter::FramesReceived), cut);
    }
}
