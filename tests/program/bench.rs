//! `cefline bench`: it measures by the configuration that it is given, and leaves nothing behind.

use crate::alone;
use crate::process::{Ended, Process, SOON};
use serde_json::Value;
use std::fs;
use std::path::Path;

const CONFIG: &str = r#"
[listen]
tcp = ["0.0.0.0:514"]
[batch]
gzip_level = 3
linger = "100 ms"
[spool]
directory = "/nowhere/at/all/spool"
durability = "process"
[sentinel]
endpoint = "https://name.westeurope-1.ingest.monitor.azure.com"
rules = ["dcr-000000000000000000000000000000aa", "dcr-000000000000000000000000000000bb"]
[sentinel.identity]
kind = "client_secret"
tenant_id = "00000000-0000-0000-0000-000000000000"
client_id = "00000000-0000-0000-0000-000000000000"
secret_file = "/nowhere/at/all/secret"
[[filter]]
name = "no-zscaler"
when = [{ column = "DeviceVendor", equals = "Zscaler" }]
action = "drop"
[[filter]]
name = "fortinet-elsewhere"
when = [{ column = "DeviceVendor", equals = "Fortinet" }]
action = "route"
to = "archive"
[destination.archive]
endpoint = "https://other.westeurope-1.ingest.monitor.azure.com"
rules = ["dcr-000000000000000000000000000000cc"]
stream = "Custom-Archive"
"#;

fn bench(folder: &Path, config: &str, more: &[&str]) -> Ended {
    let (file, spools) = (folder.join("user.toml"), folder.join("spools"));
    fs::write(&file, config).unwrap();
    fs::create_dir_all(&spools).unwrap();
    let [file, spools] = [&file, &spools].map(|path| path.to_str().unwrap());
    let arguments = ["bench", "--config", file, "--directory", spools];
    Process::start(&[&arguments, more].concat(), folder).ended(SOON)
}

#[test]
fn a_bench_goes_by_the_configuration_and_leaves_nothing_behind() {
    let _machine = alone();
    let folder = tempfile::tempdir().unwrap();
    let ended = bench(
        folder.path(),
        CONFIG,
        &["--seconds", "1", "--rate", "400", "--json"],
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(told["durability"], "process");
    assert_eq!(
        (&told["gzip_level"], &told["filters"]),
        (&3.into(), &2.into())
    );
    for run in ["flat_out", "paced"] {
        let run = &told[run];
        let number = |name: &str| run[name].as_f64().unwrap();
        assert!(number("filtered") > 0.0, "{run}");
        assert_eq!(
            number("rows") + number("filtered"),
            number("messages"),
            "{run}"
        );
        assert_eq!(number("lost"), 0.0, "{run}");
        assert!(number("wire_bytes_per_event") < number("json_bytes_per_event"));
        assert!(number("memory_peak_bytes") > 1e6, "{run}");
    }
    let paced = &told["paced"];
    assert_eq!(paced["messages"], 400);
    // a month has 730 hours
    let month = 400.0 * 730.0 * 3600.0 * paced["json_bytes_per_event"].as_f64().unwrap() / 1e9;
    let said = paced["json_gb_a_month"].as_f64().unwrap();
    assert!((said - month).abs() < 1e-6 * month, "{said}, {month}");
    let spools = fs::read_dir(folder.path().join("spools")).unwrap();
    assert_eq!(spools.count(), 0);
}

#[test]
fn a_bench_of_messages_from_a_file_is_told_as_text() {
    let _machine = alone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages");
    fs::write(&file, "CEF:0|V|P|1|7|n|5|src=192.0.2.1 msg=one\n").unwrap();
    let file = file.to_str().unwrap();
    let more = ["--seconds", "1", "--rate", "50", "--file", file];
    let ended = bench(folder.path(), CONFIG, &more);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for text in [
        "durability process, gzip level 3, linger 100ms, 2 filters, TLS",
        "\n  sustained ",
        "40 bytes a message",
        "\n  at 50 events/s:\n",
        "50 in the table of 50 messages; 0 lost\n",
        "of the bytes that 2 of sentinel.rules take",
    ] {
        assert!(ended.stdout.contains(text), "{text}: {}", ended.stdout);
    }
}

#[test]
fn a_configuration_with_a_mistake_is_not_measured() {
    let _machine = alone();
    let folder = tempfile::tempdir().unwrap();
    let wrong = CONFIG.replace("gzip_level", "gzip_levle");
    let ended = bench(folder.path(), &wrong, &[]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("user.toml") && ended.stderr.contains("gzip_levle"),
        "{}",
        ended.stderr
    );
}
