//! What the receiver promises about single connections: framing, limits, ends.

use crate::beside_others;
use crate::process::{Keys, SOON, until};
use crate::rig::Rig;
use crate::table::Table;
use cefline::metrics::Counter;
use cefline::send::{Framing, SendOptions, Writes};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Rows are there soon.
const QUICK: Keys = Keys {
    listen: "",
    sentinel: "",
    more: "[batch]\nlinger = \"50 ms\"",
};

/// A short frame whose row is found by its number.
fn frame(number: u64) -> String {
    format!("<13>CEF:0|Acme|Gate|1|100|conn|5|cnt={number}")
}

fn connect(rig: &Rig) -> TcpStream {
    let socket = TcpStream::connect(rig.tcp()).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// Waits until the receiver has closed its side.
fn assert_closed(socket: &mut TcpStream) {
    // reads on when a signal interrupts it: executors in this process use them
    match socket.read_to_end(&mut Vec::new()) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
}

/// Waits until a counter has a value; it must not go past it.
fn counted(rig: &Rig, counter: Counter, value: u64) {
    until(&format!("{counter:?} is {value}"), SOON, || {
        let now = rig.count(counter);
        assert!(now <= value, "{counter:?} is {now}");
        (now == value).then_some(())
    });
}

/// The numbers of [`frame`]s in the table, in order.
fn numbers(rig: &Rig) -> Vec<u64> {
    let rows = rig.emulator.ask(
        "CommonSecurityLog | where isnotempty(EventCount) | order by EventCount asc | project EventCount",
    );
    rows.iter().map(|row| row[0].as_u64().unwrap()).collect()
}

#[test]
fn who_sees_its_connection_closed_finds_its_frames_counted() {
    let _machine = beside_others();
    let mut rig = Rig::start(QUICK);
    for number in 1..=200 {
        let mut socket = connect(&rig);
        socket
            .write_all(format!("{}\n", frame(number)).as_bytes())
            .unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        assert_closed(&mut socket);
        assert_eq!(rig.count(Counter::FramesReceived), number);
        assert_eq!(rig.count(Counter::ConnectionsClosedByPeer), number);
    }
    rig.stop();
}

#[test]
fn all_framings_are_understood_in_any_cuts() {
    let _machine = beside_others();
    let rig = Rig::start(QUICK);
    let mut sent_count = 0;
    for (seed, framing) in (0x40..).zip(Framing::ALL) {
        let options = SendOptions {
            framing,
            writes: Writes::RandomCuts,
            ..rig.options(seed, 3_000)
        };
        let sent = rig.send(&options);
        sent_count += sent.messages();
        rig.settled(sent_count);
        let ids = rig.emulator.ids(seed);
        ids.assert_are(sent.ids());
        assert_eq!(ids.surplus(), 0);
    }
    assert_eq!(rig.count(Counter::RecordsParsed), sent_count);
    assert_eq!(rig.count(Counter::FramingErrors), 0);
}

#[test]
fn a_frame_that_its_connection_cuts_short_is_kept_and_marked_or_counted() {
    let _machine = beside_others();
    let mut rig = Rig::start(QUICK);
    // with a CEF header, in each framing
    for (number, behind) in [(1, ""), (2, "200 ")] {
        let mut socket = connect(&rig);
        write!(socket, "{behind}{} and more", frame(number)).unwrap();
        drop(socket);
    }
    // without one, in each framing; the count alone is no frame
    for bytes in [
        "<13>Nov 25 01:59:07 host no",
        "40 <13>Nov 25 01:59:07 host CE",
        "4",
    ] {
        let mut socket = connect(&rig);
        socket.write_all(bytes.as_bytes()).unwrap();
        drop(socket);
    }
    counted(&rig, Counter::ConnectionsClosedByPeer, 5);
    let received = rig.count(Counter::FramesReceived);
    rig.settled(received);
    let snapshot = rig.stop().snapshot;
    let value = |counter| snapshot.value(counter);
    assert_eq!(value(Counter::FramesPartial), 2);
    assert_eq!(value(Counter::RowsUploaded), 2);
    assert_eq!(received, 2 + value(Counter::FramesLostPartial));
    let discarded = value(Counter::BytesDiscardedPartial);
    assert_eq!(
        value(Counter::BytesReceived),
        value(Counter::BytesFramed) + discarded
    );
    // nothing of them has vanished: each is lost as a frame, or its bytes are counted as discarded
    assert!(
        value(Counter::FramesLostPartial) >= 2 && discarded <= 2,
        "{snapshot:?}"
    );
    let marks = rig
        .emulator
        .ask("CommonSecurityLog | project AdditionalExtensions, Message");
    for row in marks {
        assert!(
            row[0]
                .as_str()
                .unwrap()
                .starts_with("cefline.mark=frame_partial"),
            "{row:?}"
        );
    }
}

#[test]
fn a_broken_octet_count_closes_its_connection_and_no_other() {
    let _machine = beside_others();
    let mut rig = Rig::start(QUICK);
    let mut broken = connect(&rig);
    let mut other = connect(&rig);
    let good = frame(1);
    let text = format!(
        "{} {good}what is this? {} {}",
        good.len(),
        good.len(),
        frame(2)
    );
    broken.write_all(text.as_bytes()).unwrap();
    assert_closed(&mut broken);
    counted(&rig, Counter::ConnectionsClosedByFraming, 1);
    writeln!(other, "{}", frame(3)).unwrap();
    rig.settled(2);
    assert_eq!(numbers(&rig), [1, 3]);
    assert_eq!(rig.count(Counter::FramingErrors), 1);
    let behind = text.len() - text.find("what").unwrap();
    assert_eq!(rig.count(Counter::BytesDiscardedBroken), behind as u64);
    drop(other);
    counted(&rig, Counter::ConnectionsClosedByPeer, 1);
    rig.stop();
}

#[test]
fn a_frame_that_is_too_long_is_cut_and_the_next_one_is_whole() {
    let _machine = beside_others();
    let mut rig = Rig::start(Keys {
        listen: "frame_bytes_max = \"2 KiB\"",
        ..QUICK
    });
    let mut received = 0;
    for length in [2_049, 10_000, 3_000_000] {
        for is_counted in [false, true] {
            let long = format!("{} msg={}", frame(7), "x".repeat(length));
            let long = &long[..length];
            let next = frame(8);
            let stream = match is_counted {
                false => format!("{long}\n{next}\n"),
                true => format!("{length} {long}{} {next}", next.len()),
            };
            let mut socket = connect(&rig);
            socket.write_all(stream.as_bytes()).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            assert_closed(&mut socket);
            received += 2;
            rig.settled(received);
        }
    }
    let report = rig.stop();
    let value = |counter| report.snapshot.value(counter);
    assert_eq!(value(Counter::FramesTruncated), received / 2);
    let discarded = value(Counter::BytesDiscardedTooLong);
    assert!(discarded >= 2 * (1 + 7_952 + 2_997_952), "{discarded}");
    assert_eq!(
        value(Counter::BytesReceived),
        value(Counter::BytesFramed) + discarded
    );
    assert_eq!(numbers(&rig), [vec![7; 6], vec![8; 6]].concat());
    let marked = "| where AdditionalExtensions startswith \"cefline.mark=frame_truncated\"";
    assert_eq!(rig.emulator.count(marked), 6);
}

#[test]
fn connections_past_the_cap_are_refused_and_counted_until_one_goes() {
    let _machine = beside_others();
    let rig = Rig::start(Keys {
        listen: "connections_max = 3",
        ..QUICK
    });
    let mut kept: Vec<TcpStream> = (0..3).map(|_| connect(&rig)).collect();
    counted(&rig, Counter::ConnectionsAccepted, 3);
    for refused in 1..=2 {
        assert_closed(&mut connect(&rig));
        counted(&rig, Counter::ConnectionsRefused, refused);
    }
    for (number, socket) in (0..).zip(&mut kept) {
        writeln!(socket, "{}", frame(number)).unwrap();
    }
    rig.settled(3);
    kept.remove(0);
    counted(&rig, Counter::ConnectionsClosedByPeer, 1);
    let mut late = connect(&rig);
    writeln!(late, "{}", frame(9)).unwrap();
    rig.settled(4);
    assert_eq!(numbers(&rig), [0, 1, 2, 9]);
}

#[test]
fn a_frame_that_does_not_end_in_time_closes_its_connection_and_idle_ones_stay() {
    let _machine = beside_others();
    let rig = Rig::start(Keys {
        listen: "partial_age_max = \"1 s\"",
        ..QUICK
    });
    let mut idle = connect(&rig);
    writeln!(idle, "{}", frame(1)).unwrap();
    rig.settled(1);
    let mut lost = connect(&rig);
    lost.write_all(b"<13>Nov 25 01:59:07 ho").unwrap();
    assert_closed(&mut lost);
    // seen although no row comes of it and nothing else happens
    counted(&rig, Counter::ConnectionsClosedByStall, 1);
    let mut kept = connect(&rig);
    write!(kept, "{}", frame(2)).unwrap();
    assert_closed(&mut kept);
    counted(&rig, Counter::ConnectionsClosedByStall, 2);
    rig.settled(3);
    assert_eq!(rig.count(Counter::FramesPartial), 1);
    assert_eq!(rig.count(Counter::FramesLostPartial), 1);
    writeln!(idle, "{}", frame(3)).unwrap();
    rig.settled(4);
    assert_eq!(numbers(&rig), [1, 2, 3]);
}

#[test]
fn a_frame_that_keeps_growing_does_not_live_longer_than_one_that_stands_still() {
    let _machine = beside_others();
    let rig = Rig::start(Keys {
        listen: "partial_age_max = \"1 s\"",
        ..QUICK
    });
    let mut socket = connect(&rig);
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    until("the connection is closed", SOON, || {
        let written = socket.write_all(b"x");
        let is_open = written.is_ok()
            && matches!(socket.read_to_end(&mut Vec::new()), Err(error) if error.kind() == ErrorKind::WouldBlock);
        (!is_open).then_some(())
    });
    counted(&rig, Counter::ConnectionsClosedByStall, 1);
}

#[test]
fn unfinished_frames_past_their_budget_cost_the_oldest_its_connection() {
    let _machine = beside_others();
    let rig = Rig::start(Keys {
        listen: "frame_bytes_max = \"4 KiB\"\npartial_bytes_max = \"8 KiB\"",
        more: "[runtime]\ningest_cores = 1\n[batch]\nlinger = \"50 ms\"",
        ..QUICK
    });
    let mut sockets: Vec<TcpStream> = Vec::new();
    for number in 0..4 {
        let mut socket = connect(&rig);
        let text = format!("{} msg={}", frame(number), "x".repeat(3_000));
        socket.write_all(text.as_bytes()).unwrap();
        sockets.push(socket);
        // one after the other, so that it is known which is oldest
        until("its bytes are read", SOON, || {
            (rig.count(Counter::BytesReceived) > 3_000 * number + 2_999).then_some(())
        });
    }
    // three of them are more than 8 KiB, two are not
    counted(&rig, Counter::ConnectionsClosedByBudget, 2);
    for socket in &mut sockets[..2] {
        assert_closed(socket);
    }
    for socket in &mut sockets[2..] {
        socket.write_all(b"\n").unwrap();
    }
    rig.settled(4);
    assert_eq!(numbers(&rig), [0, 1, 2, 3]);
    let marked = "| where AdditionalExtensions startswith \"cefline.mark=frame_partial\"";
    let rows = format!("CommonSecurityLog {marked} | order by EventCount asc | project EventCount");
    let cut: Vec<Value> = rig.emulator.ask(&rows).concat();
    assert_eq!(cut, [0, 1]);
}
