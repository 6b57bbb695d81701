//! What strangers can make the program write.

use crate::beside_others;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, Process, SOON, until};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Connections of each kind.
const COUNT: u64 = 200;

fn send(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(to).unwrap();
    // it may be closed before all is written
    let _ = socket.write_all(bytes);
    socket
}

#[test]
fn bad_connections_do_not_flood_the_log_and_their_bytes_are_not_in_it() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let keys = Keys {
        listen: "partial_age_max = \"1 s\"",
        more: "[log]\nlevel = \"debug\"\n[batch]\nlinger = \"50 ms\"",
        ..Keys::default()
    };
    let mut forwarder = ForwarderProcess::start(&emulator, keys);
    let mut sockets = Vec::new();
    for number in 0..COUNT {
        sockets.push(send(forwarder.tcp, b"5 <13>x\x1b[31mcanary\x07 broken"));
        let unfinished = format!("<13>CEF:0|canary\x1b[2J|{number}|1|1|n|5|msg=canary");
        sockets.push(send(forwarder.tcp, unfinished.as_bytes()));
        drop(send(forwarder.tcp, b"canary\x1b]0;title\x07\r\n\xff\xfe\n"));
    }
    until("all of them are closed", SOON, || {
        let account = forwarder.account();
        let closed = |reason| {
            account.count(&format!("connections_closed_total{{reason=\"{reason}\"}}")) == COUNT
        };
        (closed("framing_error") && closed("partial_frame_stalled") && closed("peer")).then_some(())
    });
    forwarder.settled(SOON);
    forwarder.process.signal("TERM");
    let ended = forwarder.process.ended(Duration::from_secs(30));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let log = &ended.stderr;
    assert!(!log.contains("canary"), "{log}");
    assert!(!log.chars().any(|c| c.is_control() && c != '\n'), "{log:?}");
    for line in ["octet counting is broken", "with an unfinished frame"] {
        let lines_count = log.matches(line).count();
        assert!(
            (1..=2).contains(&lines_count),
            "{lines_count} lines: {line}"
        );
    }
}

/// What a pipe holds on Linux.
const PIPE_BYTES: usize = 64 * 1024;

/// A log reader that stalled once stopped the shards, which wrote to it themselves.
#[test]
fn a_reader_of_the_log_that_stalls_stalls_nobody() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let (_reader, mut full) = std::io::pipe().unwrap();
    full.write_all(&vec![b'x'; PIPE_BYTES]).unwrap();
    let keys = Keys {
        more: "[batch]\nlinger = \"50 ms\"",
        ..Keys::default()
    };
    let mut forwarder = ForwarderProcess::start_by(&emulator, keys, |arguments, folder| {
        Process::with_stderr(arguments, folder, full.try_clone().unwrap().into())
    });
    for _ in 0..COUNT {
        drop(send(forwarder.tcp, b"5 <13>x broken"));
    }
    drop(send(forwarder.tcp, b"CEF:0|A|B|1|c|n|5|src=192.0.2.1\n"));
    until("all of them are uploaded", SOON, || {
        let rows_count = forwarder.account().count("rows_uploaded_total");
        (rows_count == COUNT + 1).then_some(())
    });
    forwarder.process.signal("TERM");
    let ended = forwarder.process.ended(Duration::from_secs(30));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
