//! A real rsyslog and a real syslog-ng in front of cefline, as the Azure Monitor Agent leaves a machine
//! behind: what they forward gives the same rows as what is sent directly.
//!
//! The same messages go to three forwarders that end in one table: directly, through rsyslog and
//! through syslog-ng. Their rows are told apart by `CollectorHostName`, held against each other one by
//! one, and must be equal in every column but three:
//!
//! | column | why it differs |
//! |---|---|
//! | `TimeGenerated` | when the forwarder received it |
//! | `CollectorHostName` | what each forwarder of this test is told to call itself |
//! | `Computer` | the front writes the header anew: rsyslog puts the sender's name where a message names no host, syslog-ng the sender's address always (`keep-hostname(no)`, its default) |
//!
//! `CEFLINE_FRONT_MESSAGES` (2,000) go through each. A front that is not installed, or cannot be
//! started, is skipped with the reason.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../program/account.rs"]
mod account;
mod front;
#[path = "../program/http.rs"]
mod http;
mod mocks;
#[path = "../program/process.rs"]
#[expect(dead_code, reason = "it is made for more tests than these")]
mod process;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../program/table.rs"]
#[expect(dead_code, reason = "it is made for more tests than these")]
mod table;

use cefline::clock::{Clock, Mono};
use cefline::generate::{Generator, GeneratorOptions};
use cefline::map::columns::{COLUMNS, Origin};
use front::{Front, Kind};
use process::{EmulatorProcess, ForwarderProcess, Keys, Process, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use table::Table;

/// Messages through each front, if not set.
const MESSAGES_DEFAULT: u64 = 2_000;
/// Of so many messages one is a line of a Cisco firewall.
const ONE_CISCO_IN: u64 = 5;
/// All rows are there by then.
const ARRIVE_TIME: Duration = Duration::from_secs(600);
const SEED: u64 = 0x5eed_0028;

/// How messages reach a forwarder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Directly,
    Through(Kind),
}

impl Way {
    /// What its forwarder calls itself.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Directly => "direct",
            Way::Through(kind) => kind.name(),
        }
    }

    /// The same as configuration.
    fn keys(self) -> Keys {
        let more = match self {
            Way::Directly => "[map]\ncollector_host_name = \"direct\"",
            Way::Through(Kind::Rsyslog) => "[map]\ncollector_host_name = \"rsyslog\"",
            Way::Through(Kind::SyslogNg) => "[map]\ncollector_host_name = \"syslog-ng\"",
        };
        Keys {
            more,
            ..Keys::default()
        }
    }
}

/// A forwarder, and what stands in front of it.
pub(crate) struct Entrance {
    pub(crate) forwarder: ForwarderProcess,
    front: Option<Front>,
}

impl Entrance {
    /// Nothing, and the reason is said, if the front cannot be had.
    pub(crate) fn open(way: Way, emulator: &EmulatorProcess) -> Option<Entrance> {
        let forwarder = ForwarderProcess::start(emulator, way.keys());
        let front = match way {
            Way::Directly => None,
            Way::Through(kind) => match kind.start(forwarder.tcp) {
                Ok(front) => Some(front),
                Err(why) => {
                    skip::skipped(format!("{}: {why}", kind.name()));
                    return None;
                }
            },
        };
        Some(Entrance { forwarder, front })
    }

    /// Where senders send to.
    pub(crate) fn tcp(&self) -> SocketAddr {
        self.front
            .as_ref()
            .map_or(self.forwarder.tcp, |front| front.tcp)
    }
}

/// Sends all lines of a file.
pub(crate) fn send_file(to: SocketAddr, file: &Path) {
    let to = to.to_string();
    let arguments = ["send", &to, "--file", file.to_str().unwrap()];
    let ended = Process::start(&arguments, Path::new(".")).ended(ARRIVE_TIME);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Waits until so many rows that `pipe` finds have come that way.
pub(crate) fn wait_for(count: u64, emulator: &EmulatorProcess, way: Way, pipe: &str) {
    let who = way.name();
    let pipe = format!("| where CollectorHostName == \"{who}\" {pipe}");
    until(
        &format!("{count} rows of {who}, {pipe}"),
        ARRIVE_TIME,
        || (emulator.count(&pipe) >= count).then_some(()),
    );
}

/// Messages of a dozen vendors, and lines of Cisco firewalls among them.
fn messages(count: u64) -> Vec<u8> {
    let mut generator = Generator::new(SEED, &GeneratorOptions::default());
    let now = Clock::start().wall();
    let mut lines = Vec::new();
    for number in 0..count {
        if number % ONE_CISCO_IN == 0 {
            let (host, port) = (number % 250, 1024 + number % 60_000);
            write!(
                lines,
                "<166>Nov 25 2026 01:59:07 fw01 : %ASA-6-302013: Built inbound TCP connection \
                 {number} for outside:192.0.2.{host}/{port} (192.0.2.{host}/{port})(LOCAL\\nina) to \
                 dmz:10.1.0.8/443 (203.0.113.8/443)"
            )
            .unwrap();
        } else {
            generator.append(now, &mut lines);
        }
        lines.push(b'\n');
    }
    lines
}

/// The filters that share out all rows in parts of a size that an answer may have.
fn parts() -> Vec<String> {
    let ends = ["ExtID", "isempty(ExtID) and AdditionalExtensions"];
    ends.iter()
        .flat_map(|end| (0..10).map(move |digit| format!("{end} endswith \"{digit}\"")))
        .collect()
}

/// A row by its columns.
type Row = BTreeMap<&'static str, Value>;

/// What came a way and is found by a filter, by what tells each message from all others.
fn rows(emulator: &EmulatorProcess, way: Way, filter: &str) -> BTreeMap<String, Row> {
    let columns: Vec<&str> = COLUMNS
        .iter()
        .filter(|column| column.origin != Origin::Service)
        .map(|column| column.name)
        .collect();
    let answer = emulator.ask(&format!(
        "CommonSecurityLog | where CollectorHostName == \"{}\" and {filter} | project {}",
        way.name(),
        columns.join(", ")
    ));
    let mut rows = BTreeMap::new();
    for cells in answer {
        let row: Row = columns.iter().copied().zip(cells).collect();
        let key = match row["ExtID"].as_str() {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => row["Message"].to_string(),
        };
        assert!(rows.insert(key.clone(), row).is_none(), "twice: {key}");
    }
    rows
}

/// Two rows of one message may differ only as the table above says.
fn assert_equal(direct: &Row, forwarded: &Row, kind: Kind) {
    let names: BTreeSet<_> = direct.keys().chain(forwarded.keys()).collect();
    for name in names {
        let (a, b) = (&direct[name], &forwarded[name]);
        let may_differ = match *name {
            "TimeGenerated" | "CollectorHostName" => true,
            "Computer" if kind == Kind::SyslogNg => b == "127.0.0.1",
            // of a message without a host `Computer` is the sender's address
            "Computer" => a == "127.0.0.1" && b != "127.0.0.1",
            _ => false,
        };
        assert!(
            a == b || may_differ,
            "{name}: {a} directly, {b} through {}",
            kind.name()
        );
    }
}

#[test]
fn what_rsyslog_and_syslog_ng_forward_gives_the_rows_of_what_is_sent_directly() {
    let count = std::env::var("CEFLINE_FRONT_MESSAGES")
        .map_or(MESSAGES_DEFAULT, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages");
    fs::write(&file, messages(count)).unwrap();
    let emulator = EmulatorProcess::start(&[]);
    let direct = Entrance::open(Way::Directly, &emulator).unwrap();
    send_file(direct.tcp(), &file);
    // what front and forwarder say of themselves comes as well
    let of_ours = "and DeviceVendor != \"cefline\"";
    wait_for(count, &emulator, Way::Directly, of_ours);
    for kind in [Kind::Rsyslog, Kind::SyslogNg] {
        let way = Way::Through(kind);
        let Some(entrance) = Entrance::open(way, &emulator) else {
            continue;
        };
        let clock = Clock::start();
        send_file(entrance.tcp(), &file);
        wait_for(count, &emulator, way, of_ours);
        let took = clock.mono().since(Mono(0));
        let mut compared = 0;
        let mut other_hosts = 0;
        for part in parts() {
            let direct = rows(&emulator, Way::Directly, &part);
            let forwarded = rows(&emulator, way, &part);
            assert!(direct.keys().eq(forwarded.keys()), "{part}");
            for (key, row) in &direct {
                let other = &forwarded[key];
                assert_equal(row, other, kind);
                compared += 1;
                other_hosts += u64::from(row["Computer"] != other["Computer"]);
            }
        }
        assert_eq!(compared, count);
        let account = entrance.forwarder.settled(ARRIVE_TIME);
        assert_eq!(account.lost(), 0, "{account:?}");
        println!(
            "{compared} messages through {} in {took:?}: all rows equal, {other_hosts} with another \
             Computer",
            kind.name()
        );
    }
}
