//! Rules of `[[filter]]` in the running program: what they end is counted, and nothing else is missing.

use crate::account::Account;
use crate::beside_others;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, Process, SOON, until};
use crate::table::Table;
use std::io::Write;
use std::net::TcpStream;

const RULES: Keys = Keys {
    listen: "",
    sentinel: "heartbeat = \"1 s\"",
    more: r#"[batch]
linger = "10 ms"

[[filter]]
name = "allowed"
when = { column = "DeviceAction", equals = "allow" }
action = "drop"

[[filter]]
name = "every-tenth"
when = { column = "DeviceAction", equals = "sampled" }
action = "sample"
one_in = 10

[[filter]]
name = "repeats"
when = { column = "DeviceAction", equals = "deny" }
action = "deduplicate"
window = "1 s"
by = ["SourceIP"]

[[filter]]
name = "trim"
when = { column = "DeviceVendor", equals = "Acme" }
action = "remove"
keys = ["noise"]
"#,
};

fn say(socket: &mut TcpStream, action: &str, number: u32) {
    let frame = format!(
        "<13>CEF:0|Acme|Gate|1|100|conn|5|act={action} src=10.0.0.1 cnt={number} noise=12345"
    );
    writeln!(socket, "{frame}").unwrap();
}

/// Waits until so many frames have come and none is held.
fn settled(forwarder: &ForwarderProcess, frames: u64) -> Account {
    until("all rows are settled", SOON, || {
        let account = forwarder.account();
        account.assert_closed();
        let received = account.count("frames_received_total");
        (received == frames && account.sum("rows_held") == 0).then_some(account)
    })
}

#[test]
fn every_row_is_in_the_table_or_counted_by_the_rule_that_ended_it() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let mut forwarder = ForwarderProcess::start(&emulator, RULES);
    let mut socket = TcpStream::connect(forwarder.tcp).unwrap();
    for number in 0..100 {
        say(&mut socket, "allow", number);
        say(&mut socket, "sampled", number);
        say(&mut socket, "deny", number);
        say(&mut socket, "other", number);
    }
    socket.flush().unwrap();
    // those that were suppressed are told within two windows
    until("the suppressed rows are told", SOON, || {
        (forwarder.account().count("rows_summarizing_total") >= 1).then_some(())
    });
    let account = settled(&forwarder, 400);
    let filtered =
        |action: &str| account.count(&format!("rows_filtered_total{{action=\"{action}\"}}"));
    assert_eq!(filtered("drop"), 100);
    assert_eq!(filtered("sample"), 90);
    let of_rule =
        |name: &str, rule: &str| account.count(&format!("filter_{name}{{filter=\"{rule}\"}}"));
    assert_eq!(of_rule("rows_matched_total", "allowed"), 100);
    assert_eq!(of_rule("rows_dropped_total", "allowed"), 100);
    assert_eq!(of_rule("rows_matched_total", "repeats"), 100);
    assert_eq!(
        of_rule("rows_dropped_total", "repeats"),
        filtered("deduplicate")
    );
    // all that were not ended before it
    let left = 10 + 100 + (100 - filtered("deduplicate"));
    assert_eq!(of_rule("rows_matched_total", "trim"), left);
    assert_eq!(of_rule("rows_dropped_total", "trim"), 0);
    assert!(of_rule("bytes_saved_total", "trim") >= left * "noise=12345".len() as u64);
    let rows = "| where DeviceVendor == \"Acme\" and isnotempty(EventCount)";
    assert_eq!(emulator.count(rows), left);
    assert_eq!(
        emulator.count(&format!("{rows} and DeviceAction == \"allow\"")),
        0
    );
    assert_eq!(
        emulator.count(&format!("{rows} and AdditionalExtensions has \"noise\"")),
        0
    );
    let told = emulator.ask(
        "CommonSecurityLog | where AdditionalExtensions has \"cefline.repeated\" \
         | project AdditionalExtensions",
    );
    let told = told.iter().map(|row| {
        let text = row[0].as_str().unwrap();
        let pairs = text.split(';');
        let counts = pairs.filter_map(|pair| pair.strip_prefix("cefline.repeated="));
        counts
            .map(|count| count.parse::<u64>().unwrap())
            .sum::<u64>()
    });
    assert_eq!(told.sum::<u64>(), filtered("deduplicate"));
    // the heartbeat says so too
    let beat = format!(
        "has \"rows_filtered={}\"",
        account.sum("rows_filtered_total")
    );
    until("a heartbeat tells of the filtered rows", SOON, || {
        (emulator.count(&format!("| where AdditionalExtensions {beat}")) > 0).then_some(())
    });
    forwarder.process.signal("TERM");
    let ended = forwarder.process.ended(SOON);
    assert_eq!(ended.code, Some(0));
}

#[test]
fn counts_go_on_over_a_reload_that_changes_the_rules() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let forwarder = ForwarderProcess::start(&emulator, RULES);
    let mut socket = TcpStream::connect(forwarder.tcp).unwrap();
    let matched = |rule: &str| {
        let name = format!("filter_rows_matched_total{{filter=\"{rule}\"}}");
        forwarder.account().count(&name)
    };
    say(&mut socket, "allow", 1);
    say(&mut socket, "deny", 1);
    say(&mut socket, "deny", 2);
    until("three frames were received", SOON, || {
        (forwarder.account().count("frames_received_total") == 3).then_some(())
    });
    let text = std::fs::read_to_string(&forwarder.config).unwrap();
    let other = text.replacen("name = \"repeats\"", "name = \"again\"", 1);
    std::fs::write(&forwarder.config, other).unwrap();
    forwarder.process.signal("HUP");
    until("the reload is done", SOON, || {
        let done = "config_reloads_total{result=\"done\"}";
        (forwarder.account().count(done) == 1).then_some(())
    });
    say(&mut socket, "allow", 2);
    say(&mut socket, "deny", 3);
    let account = settled(&forwarder, 5);
    assert_eq!(account.sum("rows_filtered_total"), 3);
    until("what was suppressed is told at the reload", SOON, || {
        (emulator.count("| where AdditionalExtensions has \"cefline.repeated=1\"") == 1)
            .then_some(())
    });
    assert_eq!(
        (matched("allowed"), matched("repeats"), matched("again")),
        (2, 2, 1)
    );
    forwarder.account().assert_closed();
}

const ROUTE: Keys = Keys {
    listen: "",
    sentinel: "",
    more: r#"[batch]
linger = "10 ms"

[[filter]]
name = "cheap"
when = { column = "DeviceAction", equals = "allow" }
action = "route"
to = "basic"
"#,
};

const MAIN: &str = "dcr-00000000000000000000000000000001";
const BASIC: &str = "dcr-00000000000000000000000000000002";

/// Starts a forwarder with the first rule in `[sentinel]` and the second in `[destination.basic]`.
fn with_two_destinations(emulator: &EmulatorProcess) -> ForwarderProcess {
    let main = format!("rules = [\"{MAIN}\"]");
    let basic = format!(
        "\n[destination.basic]\nrules = [\"{BASIC}\"]\nstream = \"Custom-CommonSecurityLog\"\n"
    );
    ForwarderProcess::start_by(emulator, ROUTE, |arguments, folder| {
        let text = std::fs::read_to_string(arguments[2]).unwrap();
        let both = format!("rules = [\"{MAIN}\", \"{BASIC}\"]");
        let text = text.replace(&both, &main) + &basic;
        std::fs::write(arguments[2], text).unwrap();
        Process::start(arguments, folder)
    })
}

#[test]
fn a_destination_that_is_down_holds_its_rows_up_and_no_others() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&["--rule", MAIN, "--rule", BASIC]);
    let forwarder = with_two_destinations(&emulator);
    emulator.change_faults(&format!("{{\"error_rate\":1,\"rules\":[\"{BASIC}\"]}}"));
    let mut socket = TcpStream::connect(forwarder.tcp).unwrap();
    let count = |action: &str| emulator.count(&format!("| where DeviceAction == \"{action}\""));
    for number in 0..500 {
        say(&mut socket, "allow", number);
        say(&mut socket, "deny", number);
    }
    until("the rows of the other destination arrive", SOON, || {
        (count("deny") == 500).then_some(())
    });
    assert_eq!(count("allow"), 0);
    let account = forwarder.account();
    assert_eq!(account.sum("rows_held"), 500);
    assert_eq!(
        account.count("filter_rows_matched_total{filter=\"cheap\"}"),
        500
    );
    emulator.change_faults("{\"error_rate\":0}");
    let account = forwarder.settled(SOON);
    assert_eq!(account.count("rows_uploaded_total"), 1000);
    assert_eq!((count("allow"), count("deny")), (500, 500));
    let rows_of = |destination: &str, rule: &str| {
        account.count(&format!(
            "rule_rows_total{{destination=\"{destination}\",rule=\"{rule}\"}}"
        ))
    };
    assert_eq!(rows_of("basic", BASIC), 500);
    assert_eq!(rows_of("sentinel", MAIN), 500);
}

#[test]
fn rows_for_a_destination_that_is_gone_go_to_that_of_sentinel() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&["--rule", MAIN, "--rule", BASIC]);
    let forwarder = with_two_destinations(&emulator);
    emulator.change_faults(&format!("{{\"error_rate\":1,\"rules\":[\"{BASIC}\"]}}"));
    let mut socket = TcpStream::connect(forwarder.tcp).unwrap();
    for number in 0..100 {
        say(&mut socket, "allow", number);
    }
    until("the rows are held", SOON, || {
        let account = forwarder.account();
        let is_sealed = account.count("rows_held{stage=\"page\"}") == 0;
        (account.count("frames_received_total") == 100 && is_sealed).then_some(())
    });
    let text = std::fs::read_to_string(&forwarder.config).unwrap();
    let (text, _) = text.split_once("\n[destination.basic]").unwrap();
    let text = text.replace("to = \"basic\"", "to = \"sentinel\"");
    std::fs::write(&forwarder.config, text).unwrap();
    forwarder.process.signal("HUP");
    let account = until("all rows are delivered", SOON, || {
        let account = forwarder.account();
        (account.count("rows_uploaded_total") == 100).then_some(account)
    });
    assert_eq!(account.sum("rows_redirected_total"), 100);
    assert_eq!(emulator.count("| where DeviceAction == \"allow\""), 100);
}
