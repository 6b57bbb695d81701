//! The rows about the forwarder itself.

use crate::beside_others;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, SOON, until};
use crate::table::Table;

const EACH_SECOND: Keys = Keys {
    listen: "",
    sentinel: "heartbeat = \"1 s\"",
    more: "[map]\ncollector_host_name = \"collector-7\"\n[batch]\nlinger = \"10 ms\"",
};

#[test]
fn a_heartbeat_lands_at_once_and_goes_on_and_is_accounted_for() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let mut forwarder = ForwarderProcess::start(&emulator, EACH_SECOND);
    let beats = "| where DeviceVendor == \"cefline\" and DeviceProduct == \"heartbeat\"";
    until("three heartbeats are in the table", SOON, || {
        (emulator.count(beats) >= 3).then_some(())
    });
    let rows = emulator.ask(&format!(
        "CommonSecurityLog {beats} | order by TimeGenerated asc \
         | project Computer, LogSeverity, DeviceCustomNumber1, DeviceCustomNumber1Label, Message, \
         AdditionalExtensions"
    ));
    let row: Vec<String> = rows[1].iter().map(ToString::to_string).collect();
    assert_eq!(row[0], "\"collector-7\"");
    assert_eq!(row[2], "0");
    assert_eq!(row[3], "\"lost\"");
    assert!(row[4].starts_with("\"ready"), "{row:?}");
    assert!(
        row[5].contains("rows_uploaded=") && row[5].contains(";uptime_seconds="),
        "{row:?}"
    );
    let account = forwarder.account();
    account.assert_closed();
    assert!(account.count("heartbeats_total") >= 3);
    assert!(account.number("lag_seconds") < 5.0);
    forwarder.process.signal("TERM");
    assert_eq!(forwarder.process.ended(SOON).code, Some(0));
}

#[test]
fn without_a_heartbeat_the_table_holds_what_was_sent_and_no_more() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let forwarder = ForwarderProcess::start(&emulator, Keys::default());
    crate::process::until("it has run for two seconds", SOON, || {
        (forwarder.account().number("uptime_seconds") > 2.0).then_some(())
    });
    assert_eq!(forwarder.account().count("heartbeats_total"), 0);
    assert_eq!(emulator.count(""), 0);
}
