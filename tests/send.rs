//! The sender over real loopback sockets: what it says it sent is what a receiver reads.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use cefline::cli::send::SendArgs;
use cefline::clock::Clock;
use cefline::generate::{Vendor, append_id};
use cefline::send::{
    Ending, Framing, Lines, Rate, SendControl, SendError, SendOptions, SendReport, Source, Writes,
    send,
};
use clap::{Args, Command, FromArgMatches};
use std::collections::HashSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(30);

/// Accepts `count` connections and gives each to `read` on a thread of its own.
fn receiver<T: Send + 'static>(
    count: usize,
    read: impl Fn(TcpStream) -> T + Clone + Send + 'static,
) -> (SocketAddr, JoinHandle<Vec<T>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = thread::spawn(move || {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                let (stream, read) = (listener.accept().unwrap().0, read.clone());
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                thread::spawn(move || read(stream))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    (address, receiver)
}

fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn options(to: SocketAddr, connections: usize) -> SendOptions {
    SendOptions {
        connections: NonZeroUsize::new(connections).unwrap(),
        seed: 77,
        close_time: DEADLINE,
        ..SendOptions::new(to)
    }
}

/// Cuts a stream the plain way.
fn frames(stream: &[u8], framing: Framing) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (length, skip, behind) = match framing {
            Framing::Octet => {
                let blank = rest.iter().position(|byte| *byte == b' ').expect("a count");
                let count = std::str::from_utf8(&rest[..blank])
                    .unwrap()
                    .parse()
                    .unwrap();
                (count, blank + 1, 0)
            }
            Framing::Nul => (
                rest.iter().position(|byte| *byte == 0).expect("a NUL"),
                0,
                1,
            ),
            Framing::Lf => (
                rest.iter().position(|byte| *byte == b'\n').expect("an LF"),
                0,
                1,
            ),
            Framing::CrLf => {
                let end = rest.iter().position(|byte| *byte == b'\n').expect("an LF");
                assert_eq!(rest[end - 1], b'\r');
                (end - 1, 0, 2)
            }
        };
        frames.push(rest[skip..skip + length].to_vec());
        rest = &rest[skip + length + behind..];
    }
    frames
}

fn id_of(frame: &[u8]) -> String {
    let text = std::str::from_utf8(frame).unwrap();
    let (_, behind) = text.split_once("externalId=").expect("an id");
    behind.split(' ').next().unwrap().to_owned()
}

fn ids_sent(report: &SendReport, seed: u64) -> HashSet<String> {
    let ids = report.ids().map(|id| {
        let mut text = Vec::new();
        append_id(&mut text, seed, id);
        String::from_utf8(text).unwrap()
    });
    ids.collect()
}

/// The whole stream of each connection holds exactly the messages, bytes and ids reported.
fn assert_account(report: &SendReport, streams: &[Vec<u8>], framing: Framing, seed: u64) {
    let frames: Vec<_> = streams
        .iter()
        .flat_map(|stream| frames(stream, framing))
        .collect();
    let ids: HashSet<_> = frames.iter().map(|frame| id_of(frame)).collect();
    assert_eq!(report.messages(), frames.len() as u64);
    assert_eq!(
        report.bytes(),
        streams
            .iter()
            .map(|stream| stream.len() as u64)
            .sum::<u64>()
    );
    assert_eq!(ids.len(), frames.len(), "an id came twice");
    assert_eq!(ids, ids_sent(report, seed));
    assert!(
        report
            .connections
            .iter()
            .all(|connection| connection.ending == Ending::ReadToEnd)
    );
}

#[test]
fn a_receiver_reads_what_was_reported_in_every_framing_and_manner_of_writing() {
    for framing in Framing::ALL {
        for writes in [
            Writes::Large,
            Writes::OneMessage,
            Writes::OneByte,
            Writes::RandomCuts,
        ] {
            let (to, receiver) = receiver(3, read_to_end);
            let control = SendControl::default();
            let options = SendOptions {
                framing,
                writes,
                count: Some(1_000),
                ..options(to, 3)
            };
            let report = send(&options, Clock::start(), &control).unwrap();
            assert_account(&report, &receiver.join().unwrap(), framing, 77);
            assert_eq!(report.messages(), 1_000, "{framing} {writes:?}");
            assert_eq!(control.messages.load(Ordering::Relaxed), 1_000);
            assert_eq!(control.bytes.load(Ordering::Relaxed), report.bytes());
        }
    }
}

#[test]
fn many_connections_on_one_thread_all_get_their_share() {
    let (to, receiver) = receiver(50, read_to_end);
    let options = SendOptions {
        count: Some(20_001),
        threads: NonZeroUsize::new(1),
        ..options(to, 50)
    };
    let report = send(&options, Clock::start(), &SendControl::default()).unwrap();
    assert_account(&report, &receiver.join().unwrap(), Framing::Lf, 77);
    let counts: Vec<_> = report
        .connections
        .iter()
        .map(|connection| connection.messages)
        .collect();
    assert_eq!((counts[0], counts[1], counts[49]), (401, 400, 400));
}

#[test]
fn the_lines_of_a_file_arrive_each_once_and_as_they_are() {
    let text = (0..500)
        .map(|n| format!("<13>line {n} \u{fc}\\=|\n"))
        .collect::<String>();
    let lines = Arc::new(Lines::parse(text.clone().into_bytes()).unwrap());
    for framing in Framing::ALL {
        let (to, receiver) = receiver(4, read_to_end);
        let count = Some(lines.count() as u64);
        let options = SendOptions {
            source: Source::Lines(Arc::clone(&lines)),
            framing,
            count,
            ..options(to, 4)
        };
        let report = send(&options, Clock::start(), &SendControl::default()).unwrap();
        let mut got: Vec<_> = receiver
            .join()
            .unwrap()
            .iter()
            .flat_map(|stream| frames(stream, framing))
            .collect();
        let mut want: Vec<_> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
        got.sort();
        want.sort();
        assert_eq!((report.messages(), got), (500, want), "{framing}");
    }
}

#[test]
fn the_same_seed_sends_the_same_vendors_in_the_same_order() {
    let vendors = || {
        let (to, receiver) = receiver(1, read_to_end);
        let options = SendOptions {
            source: Source::Generated(vec![Vendor::Darktrace, Vendor::F5]),
            count: Some(200),
            ..options(to, 1)
        };
        send(&options, Clock::start(), &SendControl::default()).unwrap();
        let streams = receiver.join().unwrap();
        let header = |frame: Vec<u8>| {
            String::from_utf8(frame)
                .unwrap()
                .split('|')
                .nth(1)
                .unwrap()
                .to_owned()
        };
        frames(&streams[0], Framing::Lf)
            .into_iter()
            .map(header)
            .collect::<Vec<_>>()
    };
    let first = vendors();
    assert!(
        first
            .iter()
            .all(|vendor| vendor == "Darktrace" || vendor == "F5")
    );
    assert_eq!(first, vendors());
}

#[test]
fn a_rate_is_kept_over_all_connections() {
    let (to, receiver) = receiver(3, read_to_end);
    let options = SendOptions {
        count: Some(600),
        rate: Rate::per_second(1_000.0),
        ..options(to, 3)
    };
    let report = send(&options, Clock::start(), &SendControl::default()).unwrap();
    assert_account(&report, &receiver.join().unwrap(), Framing::Lf, 77);
    // The last of 600 is due after 599 ms. It may come late on a busy machine, but never early.
    let elapsed = report.elapsed.as_secs_f64();
    assert!((0.599..3.0).contains(&elapsed), "{elapsed} s");
}

#[test]
fn a_time_ends_the_sending_between_two_messages() {
    let (to, receiver) = receiver(2, read_to_end);
    let time = Some(Duration::from_millis(200));
    let options = SendOptions {
        time,
        framing: Framing::Octet,
        writes: Writes::RandomCuts,
        ..options(to, 2)
    };
    let report = send(&options, Clock::start(), &SendControl::default()).unwrap();
    assert_account(&report, &receiver.join().unwrap(), Framing::Octet, 77);
    assert!(report.messages() > 0);
    assert!(
        (0.2..5.0).contains(&report.elapsed.as_secs_f64()),
        "{:?}",
        report.elapsed
    );
}

#[test]
fn a_stop_ends_the_sending_between_two_messages() {
    for rate in [None, Rate::per_second(50.0)] {
        let (to, receiver) = receiver(2, read_to_end);
        let control = Arc::new(SendControl::default());
        let watched = Arc::clone(&control);
        let stopper = thread::spawn(move || {
            let clock = Clock::start();
            while watched.messages.load(Ordering::Relaxed) < 10
                && clock.mono().0 < DEADLINE.as_nanos() as u64
            {
                thread::yield_now();
            }
            watched.stop.store(true, Ordering::Relaxed);
        });
        let report = send(
            &SendOptions {
                rate,
                ..options(to, 2)
            },
            Clock::start(),
            &control,
        )
        .unwrap();
        stopper.join().unwrap();
        assert_account(&report, &receiver.join().unwrap(), Framing::Lf, 77);
        assert!(report.messages() >= 10);
    }
}

#[test]
fn a_stop_while_the_receiver_holds_back_still_ends_between_two_messages() {
    let control = Arc::new(SendControl::default());
    let watched = Arc::clone(&control);
    // Reads nothing until the sender stands still, then stops it, then reads everything.
    let (to, receiver) = receiver(1, move |stream: TcpStream| {
        let mut before = None;
        loop {
            let sent = watched.messages.load(Ordering::Relaxed);
            if sent > 0 && before == Some(sent) {
                break;
            }
            before = Some(sent);
            thread::park_timeout(Duration::from_millis(100));
        }
        watched.stop.store(true, Ordering::Relaxed);
        read_to_end(stream)
    });
    let report = send(&options(to, 1), Clock::start(), &control).unwrap();
    assert_account(&report, &receiver.join().unwrap(), Framing::Lf, 77);
}

#[test]
fn a_receiver_that_closes_early_is_told_and_the_other_connection_goes_on() {
    // The first connection is closed after some bytes, with more unread; the second is read whole.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let receiver = thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        let (second, _) = listener.accept().unwrap();
        let closer = thread::spawn(move || {
            let mut bytes = vec![0; 100_000];
            first.read_exact(&mut bytes).unwrap();
            bytes
        });
        (closer.join().unwrap(), read_to_end(second))
    });
    let options = SendOptions {
        count: Some(40_000),
        threads: NonZeroUsize::new(1),
        ..options(to, 2)
    };
    let report = send(&options, Clock::start(), &SendControl::default()).unwrap();
    let (first, second) = receiver.join().unwrap();
    let [lost, whole] = &report.connections[..] else {
        unreachable!("two connections")
    };
    assert!(
        matches!(lost.ending, Ending::Broken(_) | Ending::ClosedEarly),
        "{lost:?}"
    );
    assert!(!report.is_clean());
    // Never fewer than the receiver has read, never all of them.
    let last_end = first.iter().rposition(|byte| *byte == b'\n').unwrap();
    assert!(lost.messages >= frames(&first[..=last_end], Framing::Lf).len() as u64);
    assert!(lost.messages < 20_000);
    assert_eq!(
        (whole.messages, &whole.ending),
        (20_000, &Ending::ReadToEnd)
    );
    assert_eq!(frames(&second, Framing::Lf).len(), 20_000);
}

#[test]
fn at_a_low_rate_a_closed_receiver_is_noticed_before_anything_more_is_sent() {
    let (to, receiver) = receiver(1, |mut stream: TcpStream| {
        let mut byte = [0];
        let mut bytes = Vec::new();
        while byte[0] != b'\n' {
            stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
        bytes
    });
    let options = SendOptions {
        count: Some(100),
        rate: Rate::per_second(2.0),
        ..options(to, 1)
    };
    let report = send(&options, Clock::start(), &SendControl::default()).unwrap();
    let got = receiver.join().unwrap();
    assert_eq!(report.connections[0].ending, Ending::ClosedEarly);
    assert_eq!(
        (report.messages(), report.bytes()),
        (1, got[0].len() as u64)
    );
}

#[test]
fn a_receiver_that_does_not_read_holds_the_sender_up_but_not_for_ever() {
    let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let (to, receiver) = receiver(1, move |stream: TcpStream| {
        let _ = wait.lock().unwrap().recv();
        read_to_end(stream)
    });
    let time = Some(Duration::from_millis(300));
    let options = SendOptions {
        time,
        close_time: Duration::from_millis(100),
        ..options(to, 1)
    };
    let clock = Clock::start();
    let report = send(&options, clock, &SendControl::default()).unwrap();
    assert!(clock.mono().0 < DEADLINE.as_nanos() as u64);
    let connection = report.connections[0].clone();
    assert!(
        matches!(connection.ending, Ending::Stalled | Ending::NotClosed),
        "{connection:?}"
    );
    // What the kernel took is there to be read, to the byte.
    drop(done);
    let stream = receiver.join().unwrap().remove(0);
    assert_eq!(
        stream.len() as u64,
        connection.bytes + connection.unfinished_bytes
    );
    let whole = usize::try_from(connection.bytes).unwrap();
    assert_eq!(
        frames(&stream[..whole], Framing::Lf).len() as u64,
        connection.messages
    );
}

#[test]
fn nothing_is_sent_if_a_connection_cannot_be_opened() {
    let to = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = send(
        &SendOptions {
            count: Some(1),
            ..options(to, 2)
        },
        Clock::start(),
        &SendControl::default(),
    )
    .unwrap_err();
    assert!(matches!(error, SendError::Connect { opened: 0, .. }));
    assert!(
        error.to_string().starts_with(&format!(
            "cannot connect to {to} (connection 1; nothing was sent): "
        )),
        "{error}"
    );
}

#[test]
fn the_command_writes_the_ids_of_what_it_sent() {
    let (to, receiver) = receiver(2, read_to_end);
    let ids = tempfile::NamedTempFile::new().unwrap();
    let path = ids.path().to_str().unwrap();
    let line = format!(
        "send {to} --count 101 --connections 2 --framing octet --cuts --seed 9 --json --ids {path}"
    );
    let command = SendArgs::augment_args(Command::new("send"));
    let args = SendArgs::from_arg_matches(&command.get_matches_from(line.split(' '))).unwrap();
    let code = cefline::cli::send::run(args).unwrap();
    assert_eq!(
        format!("{code:?}"),
        format!("{:?}", std::process::ExitCode::SUCCESS)
    );
    let streams = receiver.join().unwrap();
    let got: HashSet<_> = streams
        .iter()
        .flat_map(|stream| frames(stream, Framing::Octet))
        .map(|f| id_of(&f))
        .collect();
    let written = std::fs::read_to_string(ids.path()).unwrap();
    assert_eq!(written.lines().count(), 101);
    assert_eq!(
        written.lines().map(str::to_owned).collect::<HashSet<_>>(),
        got
    );
    assert!(got.contains("cf9-100"));
}
