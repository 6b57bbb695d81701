//! Mistakes in a configuration, seen as a user sees them: one message on standard error that leads
//! to the key, exit code 2, and no port opened. That `run` opens none is seen from what it does not
//! say: both of its ports are taken by this test.

use crate::beside_others;
use crate::process::{EmulatorProcess, Ended, ForwarderProcess, Keys, Process, SOON};
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// The ports in it are put in their places.
const GOOD: &str = r#"[listen]
tcp = ["TCP"]
[metrics]
listen = "METRICS"
[sentinel]
endpoint = "https://name.region-1.ingest.monitor.azure.com"
rules = ["dcr-0123456789abcdef0123456789abcdef"]
stream = "Custom-CommonSecurityLog"
[sentinel.identity]
kind = "client_secret"
tenant_id = "01234567-89ab-cdef-0123-456789abcdef"
client_id = "01234567-89ab-cdef-0123-456789abcdef"
secret_file = "FOLDER/secret"
"#;

/// What stands in the secret's file; no message may hold it.
const CANARY: &str = "canary~NOT.a-secret_8Q";

/// What of [`GOOD`] becomes what, and what the message must say.
const MISTAKES: &[(&str, &str, &str)] = &[
    // names
    (
        "tcp =",
        "tpc =",
        "listen.tpc: unknown key; did you mean tcp?",
    ),
    (
        "[metrics]",
        "[metric]",
        "metric: unknown key; did you mean [metrics]?",
    ),
    (
        "[listen]",
        "[listen]\nlinger = \"1 s\"",
        "did you mean batch.linger",
    ),
    (
        "kind",
        "client_secret = \"canary~NOT.a-secret_8Q\"\nkind",
        "secrets are not written here",
    ),
    // syntax
    ("[listen]", "[listen", "not TOML"),
    ("[metrics]", "[listen]", "listen: a second time in one file"),
    ("stream = \"", "stream = ", "not TOML"),
    // what is missing
    ("tcp = [\"TCP\"]", "", "listen.tcp: this key is missing"),
    ("rules", "#", "sentinel.rules: this key is missing"),
    (
        "kind = \"client_secret\"",
        "",
        "sentinel.identity.kind: this key is missing",
    ),
    // kinds and units
    ("tcp = [\"TCP\"]", "tcp = \"TCP\"", "text, not a list"),
    (
        "[metrics]",
        "[batch]\nlinger = 1\n[metrics]",
        "batch.linger = 1: a number without unit",
    ),
    (
        "[metrics]",
        "[batch]\nlinger = \"1 sec\"\n[metrics]",
        "unknown unit \"sec\"",
    ),
    (
        "[metrics]",
        "[runtime]\npin = \"yes\"\n[metrics]",
        "runtime.pin = \"yes\": text, not a switch",
    ),
    // ranges
    (
        "[metrics]",
        "[runtime]\ningest_cores = 0\n[metrics]",
        "runtime.ingest_cores = 0: nothing would run",
    ),
    (
        "[metrics]",
        "[runtime]\nupload_cores = 5000\n[metrics]",
        "runtime.upload_cores = 5000: ",
    ),
    (
        "[metrics]",
        "[runtime]\npages_bytes_max = \"1 MiB\"\n[metrics]",
        "runtime.pages_bytes_max",
    ),
    (
        "[metrics]",
        "[batch]\ngzip_level = 10\n[metrics]",
        "batch.gzip_level = 10: out of range",
    ),
    (
        "[metrics]",
        "[batch]\nraw_bytes_max = \"64 KiB\"\n[metrics]",
        "does not hold the row of one",
    ),
    (
        "[listen]",
        "[listen]\nconnections_max = 0",
        "listen.connections_max = 0: out of range",
    ),
    (
        "[listen]",
        "[listen]\nframe_bytes_max = \"2 MiB\"",
        "from 2 KiB to 1 MiB",
    ),
    // words
    (
        "[listen]",
        "[listen]\nframing = \"lf\"",
        "one of \"auto\", \"octet_counting\", \"delimited\"",
    ),
    (
        "[metrics]",
        "[log]\nlevel = \"loud\"\n[metrics]",
        "log.level = \"loud\": unknown",
    ),
    (
        "[metrics]",
        "[map]\ntime_zone = \"Mars\"\n[metrics]",
        "map.time_zone = \"Mars\": unknown zone",
    ),
    (
        "\"client_secret\"",
        "\"password\"",
        "sentinel.identity.kind = \"password\": unknown",
    ),
    // addresses and the destination
    ("TCP", "127.0.0.1", "listen.tcp = \"127.0.0.1\": no port"),
    (
        "TCP",
        "0.0.0.0:0",
        "port 0 is none that a sender could know",
    ),
    ("\"METRICS\"", "\"TCP\"", "a port that listen.tcp uses"),
    (
        "https://name",
        "http://name",
        "sentinel.endpoint = \"http://name",
    ),
    ("https://name", "name", "not a URL"),
    ("monitor.azure.com", "example.com", "sentinel.endpoint"),
    (
        "dcr-0123456789abcdef0123456789abcdef",
        "my-rule",
        "sentinel.rules",
    ),
    (
        "Custom-CommonSecurityLog",
        "CommonSecurityLog",
        "sentinel.stream",
    ),
    (
        "tenant_id = \"01234567-89ab",
        "tenant_id = \"",
        "sentinel.identity.tenant_id",
    ),
    // files
    ("FOLDER/secret", "FOLDER/absent", "there is no such file"),
    ("FOLDER/secret", "FOLDER", "not a regular file"),
    (
        "FOLDER/secret",
        "FOLDER/empty",
        "sentinel.identity.secret_file",
    ),
    (
        "FOLDER/secret",
        "secret",
        "sentinel.identity.secret_file = \"secret\"",
    ),
    (
        "rules",
        "ca_file = \"FOLDER/secret\"\nrules",
        "sentinel.ca_file",
    ),
];

/// Runs a command to its end.
fn ended(folder: &Path, arguments: &[&str]) -> Ended {
    Process::start(arguments, folder).ended(SOON)
}

/// Nothing on standard output, one message on standard error, exit code 2. Gives the message.
fn refusal(ended: Ended) -> String {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    let message = ended.stderr.strip_prefix("cefline: ").unwrap();
    message.strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn each_mistake_gets_one_message_and_exit_code_2_before_any_port_is_opened() {
    let _machine = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("secret"), CANARY).unwrap();
    fs::write(folder.join("empty"), "\n").unwrap();
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let address = |index: usize| taken[index].local_addr().unwrap().to_string();
    let file = folder.join("cefline.toml");
    let file = file.to_str().unwrap();
    let write = |text: &str| {
        let text = text
            .replace("TCP", &address(0))
            .replace("METRICS", &address(1))
            .replace("FOLDER", folder.to_str().unwrap());
        fs::write(file, text).unwrap();
    };
    assert!(MISTAKES.len() >= 25);
    let mut bad = Vec::new();
    for (from, to, says) in MISTAKES {
        assert!(GOOD.contains(from), "{from}");
        write(&GOOD.replacen(from, to, 1));
        let message = refusal(ended(folder, &["run", "--config", file]));
        let leads = message.starts_with(file) && message.contains(says);
        if !leads || message.lines().count() != 1 {
            bad.push(format!("{from} -> {to}: {message}"));
        }
        assert!(!message.contains(CANARY), "{message}");
        let checked = refusal(ended(folder, &["check", "--config", file]));
        assert_eq!(checked, message);
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    // without a mistake it comes as far as the ports
    write(GOOD);
    let refused = ended(folder, &["run", "--config", file]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("cannot listen there"),
        "{refused:?}"
    );
    assert_eq!(ended(folder, &["check", "--config", file]).code, Some(0));
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let _machine = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("binary"), [0xff, 0xfe, 0x00]).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    for (file, says, lines_count) in [
        ("absent", "there is no such file", 1),
        (".", "not a regular file", 1),
        ("binary", "not UTF-8", 1),
        ("empty", "this section is missing", 2),
    ] {
        for command in ["run", "check"] {
            let message = refusal(ended(folder, &[command, "--config", file]));
            assert!(message.contains(says), "{file}: {message}");
            assert_eq!(message.lines().count(), lines_count, "{file}: {message}");
        }
    }
    for arguments in [
        &["run"][..],
        &["check"],
        &["run", "--confg", "x"],
        &["runn"],
        &[],
    ] {
        let ended = ended(folder, arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains("Usage: "), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let first = ForwarderProcess::start(&emulator, Keys::default());
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(&first.config).unwrap();
    let message = ended(
        folder.path(),
        &["run", "--config", first.config.to_str().unwrap()],
    )
    .stderr;
    assert!(message.contains("another cefline uses it"), "{message}");
    let run = |text: &str| {
        // with a spool of its own
        let text = text.replace("/spool\"", "/spool-2\"");
        fs::write(folder.path().join("second.toml"), text).unwrap();
        let ended = ended(folder.path(), &["run", "--config", "second.toml"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let messages = ended.stderr.lines();
        let message = messages.filter(|line| line.starts_with("cefline: "));
        let message: Vec<String> = message.map(str::to_owned).collect();
        assert_eq!(message.len(), 1, "{ended:?}");
        message[0].clone()
    };
    let metrics = text
        .lines()
        .find(|line| line.starts_with("listen = "))
        .unwrap();
    let message = run(&text.replace(metrics, "listen = \"off\""));
    let key = format!("listen.tcp = \"{}\": cannot listen there", first.tcp);
    assert!(message.contains(&key), "{message}");
    assert!(
        message.contains("another program, or another cefline, has this port"),
        "{message}"
    );
    let message = run(&text.replace(&first.tcp.port().to_string(), "1"));
    assert!(
        message.contains("metrics.listen = \"127.0.0.1:"),
        "{message}"
    );
    assert!(message.contains("cannot listen there"), "{message}");
}
