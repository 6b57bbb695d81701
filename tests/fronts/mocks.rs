//! Microsoft's test messages land with the columns that their pages say, whichever way they come.

use crate::front::Kind;
use crate::process::{EmulatorProcess, Keys, Process, SOON, free_port, until};
use crate::table::Table;
use crate::{Entrance, Way, send_file, wait_for};
use cefline::generate::mock::MOCKS;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

/// For each message, by place: columns that its row must have.
const COLUMNS: &[&[(&str, &str)]] = &[
    &[
        ("DeviceVendor", "TestCommonEventFormat"),
        ("DeviceProduct", "MOCK"),
        ("DeviceVersion", "common=event-format-test"),
        ("DeviceEventClassID", "end"),
        ("Activity", "TRAFFIC"),
        ("LogSeverity", "1"),
        ("ReceiptTime", "$common=event-formatted-receive_time"),
        ("DeviceExternalID", "0002D01655"),
        ("SourceIP", "1.1.1.1"),
        ("DestinationIP", "2.2.2.2"),
        ("SourceTranslatedAddress", "1.1.1.1"),
        ("DestinationTranslatedAddress", "3.3.3.3"),
        ("DeviceCustomString1Label", "Rule"),
        ("DeviceCustomString1", "CEF_TEST_InternetDNS"),
    ],
    &[
        ("DeviceVendor", "Mock-test"),
        ("DeviceProduct", "MOCK"),
        ("DeviceVersion", "common=event-format-test"),
        ("DeviceEventClassID", "end"),
        ("Activity", "TRAFFIC"),
        ("LogSeverity", "1"),
        ("ReceiptTime", "$common=event-formatted-receive_time"),
    ],
    &[
        ("DeviceVendor", "Mock-test"),
        ("DeviceProduct", "MOCK"),
        ("DeviceVersion", "common=event-format-test"),
        ("DeviceEventClassID", "end"),
        ("Activity", "TRAFFIC"),
        ("LogSeverity", ""),
        ("ReceiptTime", "$common=event-formatted-receive_time"),
        ("AdditionalExtensions", "cefline.mark=severity_missing"),
    ],
    &[
        ("DeviceVendor", "Cisco"),
        ("DeviceProduct", "ASA"),
        ("DeviceEventClassID", "106010"),
        ("LogSeverity", "7"),
        ("DeviceAction", "Deny"),
        ("Protocol", "TCP"),
        ("SourceIP", "1.1.1.1"),
        ("DestinationIP", "2.2.2.2"),
        ("DeviceInboundInterface", "inet"),
        ("DeviceOutboundInterface", "inet"),
        (
            "Message",
            "%ASA-7-106010: Deny inbound TCP src inet:1.1.1.1 dst inet:2.2.2.2",
        ),
    ],
    &[
        ("DeviceVendor", "Cisco"),
        ("DeviceProduct", "ASA"),
        ("DeviceEventClassID", "305012"),
        ("LogSeverity", "6"),
        ("DeviceAction", "Teardown"),
        ("SourceIP", "10.51.100.1"),
        ("SourceTranslatedAddress", "10.0.2.3"),
    ],
    &[
        ("DeviceVendor", "device1"),
        ("DeviceProduct", "PAN-OS"),
        ("DeviceVersion", "8.0.0"),
        ("DeviceEventClassID", "general"),
        ("Activity", "SYSTEM"),
        ("LogSeverity", "3"),
        ("ReceiptTime", "Nov 04 2018 07:15:46"),
        ("AdditionalExtensions", "GMTcs3Label=Virtual"),
    ],
];

/// Whether a row that a test message's own query finds has all of its columns.
fn has_landed(emulator: &EmulatorProcess, way: Way, index: usize) -> bool {
    let columns = COLUMNS[index];
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let found = emulator.ask(&format!(
        "{} | where CollectorHostName == \"{}\" | project {}",
        MOCKS[index].kql,
        way.name(),
        names.join(", ")
    ));
    let is_as_told = |row: &Vec<Value>| {
        let cells = row.iter().map(|cell| cell.as_str().unwrap_or_default());
        cells.eq(columns.iter().map(|(_, cell)| *cell))
    };
    let count = found.iter().filter(|row| is_as_told(row)).count();
    assert!(count <= 1, "{}: {found:?}", MOCKS[index].what);
    if count == 0 {
        eprintln!("{}: {found:?}", MOCKS[index].what);
    }
    count == 1
}

/// All test messages have come that way, each with its columns, and nothing else has.
fn assert_landed(emulator: &EmulatorProcess, way: Way) {
    assert_eq!(COLUMNS.len(), MOCKS.len());
    let ours = "and DeviceVendor != \"cefline\"";
    wait_for(MOCKS.len() as u64, emulator, way, ours);
    for (index, mock) in MOCKS.iter().enumerate() {
        assert!(
            has_landed(emulator, way, index),
            "{}: {}",
            way.name(),
            mock.what
        );
    }
}

/// What `cefline send --test` prints, which is what each message is, itself, and its query.
fn send_test(entrance: &Entrance) {
    let to = entrance.tcp().to_string();
    let ended = Process::start(&["send", &to, "--test"], Path::new(".")).ended(SOON);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    for mock in MOCKS {
        for text in [mock.what, &mock.line("", "")[..5], mock.kql] {
            assert!(ended.stdout.contains(text), "{text}: {}", ended.stdout);
        }
    }
}

#[test]
fn test_messages_land_when_sent_directly() {
    let emulator = EmulatorProcess::start(&[]);
    let entrance = Entrance::open(Way::Directly, &emulator).unwrap();
    send_test(&entrance);
    assert_landed(&emulator, Way::Directly);
}

#[test]
fn the_agents_port_is_taken_beside_that_of_the_devices() {
    let emulator = EmulatorProcess::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let [devices, agent, metrics] = [(); 3].map(|()| free_port().to_string());
    let both = format!("{devices}\", \"{agent}");
    let keys = Keys {
        more: "[map]\ncollector_host_name = \"direct\"",
        ..Keys::default()
    };
    let text = keys.config(&both, &metrics, &emulator.sentinel, folder.path());
    fs::write(folder.path().join("cefline.toml"), text).unwrap();
    let arguments = ["run", "--config", "cefline.toml"];
    let _forwarder = Process::start(&arguments, folder.path());
    for (port, sent) in [(&devices, 1), (&agent, 2)] {
        let mut stream = until("the port is open", SOON, || TcpStream::connect(port).ok());
        let line = MOCKS[0].line("Nov 25 01:59:07", "fwd01");
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        wait_for(sent, &emulator, Way::Directly, "and Computer == \"fwd01\"");
    }
}

#[test]
fn test_messages_land_when_sent_from_a_file() {
    let emulator = EmulatorProcess::start(&[]);
    let entrance = Entrance::open(Way::Directly, &emulator).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages");
    let lines: Vec<String> = MOCKS
        .iter()
        .map(|mock| mock.line("Nov 25 01:59:07", "fwd01"))
        .collect();
    fs::write(&file, lines.join("\n")).unwrap();
    send_file(entrance.tcp(), &file);
    assert_landed(&emulator, Way::Directly);
}

#[test]
fn test_messages_land_through_rsyslog_and_syslog_ng() {
    for kind in [Kind::Rsyslog, Kind::SyslogNg] {
        let emulator = EmulatorProcess::start(&[]);
        let way = Way::Through(kind);
        if let Some(entrance) = Entrance::open(way, &emulator) {
            send_test(&entrance);
            assert_landed(&emulator, way);
        }
    }
}
