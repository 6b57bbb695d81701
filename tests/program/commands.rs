//! The commands that answer and end.

use crate::beside_others;
use crate::process::{EmulatorProcess, Ended, ForwarderProcess, Keys, Process, SOON, free_port};
use cefline::config::REFERENCE;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn ended(arguments: &[&str]) -> Ended {
    Process::start(arguments, Path::new(".")).ended(SOON)
}

/// The rows that `parse` prints, one for each line; exit code 0 and nothing on standard error.
fn parsed(input: &[u8], more: &[&str]) -> Vec<Value> {
    let arguments = [&["parse", "--now", "2026-11-25T02:07:07Z"], more].concat();
    let ended = Process::fed(&arguments, Path::new("."), input.to_vec()).ended(SOON);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.is_empty() || ended.stdout.ends_with('\n'));
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn each_command_has_help_to_work_from() {
    let _machine = beside_others();
    let all = ended(&["--help"]);
    assert_eq!(all.code, Some(0));
    let commands = [
        "run", "demo", "emulate", "query", "send", "parse", "check", "bench", "config", "azure",
    ];
    for command in commands {
        let line = format!("\n  {command} ");
        assert!(all.stdout.contains(&line), "{command}: {}", all.stdout);
        let help = ended(&[command, "--help"]);
        assert_eq!(
            (help.code, help.stderr.as_str()),
            (Some(0), ""),
            "{command}"
        );
        let usage = format!("Usage: cefline {command}");
        assert!(help.stdout.contains(&usage), "{}", help.stdout);
        assert!(help.stdout.lines().count() >= 8, "{}", help.stdout);
    }
    let version = ended(&["--version"]);
    assert_eq!(
        version.stdout,
        format!("cefline {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_reference_configuration_is_printed_and_can_be_used() {
    let _machine = beside_others();
    let printed = ended(&["config"]);
    assert_eq!(
        (printed.code, printed.stdout.as_str()),
        (Some(0), REFERENCE)
    );
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "a-secret").unwrap();
    let file = folder.path().join("cefline.toml");
    let text = REFERENCE.replace("/etc/cefline/client-secret", secret.to_str().unwrap());
    fs::write(&file, text).unwrap();
    let checked = ended(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    assert!(
        checked.stdout.contains("cefline.toml can be used\n"),
        "{}",
        checked.stdout
    );
    assert!(!checked.stdout.contains("a-secret"));
}

#[test]
fn what_a_running_forwarder_was_started_with_passes_the_check() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let forwarder = ForwarderProcess::start(&emulator, Keys::default());
    let checked = ended(&["check", "--config", forwarder.config.to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.stdout.contains(&forwarder.tcp.to_string()),
        "{checked:?}"
    );
}

#[test]
fn parse_gives_one_line_for_each_line_in_order_whatever_they_hold() {
    let _machine = beside_others();
    let seed = 0x9a45e;
    println!("seed {seed:#x}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut input = Vec::new();
    let mut numbers = Vec::new();
    for number in 0..5_000u64 {
        let mut line = match random.u8(0..6) {
            0 => Vec::new(),
            1 => format!("<13>CEF:0|Acme|Gate|1|100|conn|5|cnt={number}").into_bytes(),
            2 => format!("CEF:0|Acme|Gate|1|100|conn|5|cnt={number} msg=\\").into_bytes(),
            3 => b"CEF:0|a|b".to_vec(),
            4 => vec![b'x'; random.usize(0..200_000) / (1 + number as usize % 400)],
            _ => (0..random.usize(0..200)).map(|_| random.u8(..)).collect(),
        };
        line.retain(|byte| *byte != b'\n');
        let is_numbered = line.windows(4).any(|four| four == b"cnt=");
        numbers.push(is_numbered.then_some(number));
        input.extend_from_slice(&line);
        input.extend_from_slice(if random.bool() { b"\n" } else { b"\r\n" });
    }
    // the last line may lack its end
    input.extend_from_slice(b"CEF:0|Acme|Gate|1|100|last|5|");
    numbers.push(None);
    let rows = parsed(&input, &[]);
    assert_eq!(rows.len(), numbers.len());
    for (row, number) in rows.iter().zip(&numbers) {
        assert!(row.is_object(), "{row}");
        assert_eq!(row["TimeGenerated"], "2026-11-25T02:07:07Z", "{row}");
        if number.is_some() {
            assert_eq!(row["EventCount"].as_u64(), *number);
        }
    }
    assert_eq!(rows[rows.len() - 1]["Activity"], "last");
    assert!(parsed(b"", &[]).is_empty());
}

#[test]
fn parse_follows_a_configuration_and_says_null_for_what_it_drops() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let keys = Keys {
        more: "[map]\nunparsed = \"drop\"\ncollector_host_name = \"here\"",
        ..Keys::default()
    };
    let forwarder = ForwarderProcess::start(&emulator, keys);
    let more = ["--config", forwarder.config.to_str().unwrap()];
    let rows = parsed(b"nothing\n\nCEF:0|Acme|Gate|1|100|conn|5|\n", &more);
    assert_eq!(rows.len(), 3);
    assert!(rows[0].is_null() && rows[1].is_null());
    assert_eq!(rows[2]["CollectorHostName"], "here");
}

#[test]
fn commands_without_a_partner_say_so_with_exit_code_1() {
    let _machine = beside_others();
    let nobody = free_port().to_string();
    let url = format!("http://{nobody}");
    for arguments in [
        &["send", &nobody, "--count", "1"][..],
        &["query", "--url", &url, "CommonSecurityLog | count"],
    ] {
        let ended = ended(arguments);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.starts_with("cefline: "), "{ended:?}");
        assert!(ended.stderr.contains(&nobody), "{ended:?}");
        assert_eq!(ended.stdout, "");
    }
    let test = ended(&["send", &nobody, "--test"]);
    assert_eq!(test.code, Some(1), "{test:?}");
    let says = format!("cefline: cannot send to {nobody} (0 of 6 messages were sent): ");
    assert!(test.stderr.starts_with(&says), "{test:?}");
}
