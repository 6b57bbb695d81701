//! The running program has given up what it does not need, and does its work.

use crate::beside_others;
use crate::http;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, PROGRAM, Process, SOON, until};
use crate::skip::skipped;
use cefline::clock::Clock;
use cefline::sandbox::{self, Layer};
use cefline::send::{SendControl, SendOptions, send};
use nix::unistd::{Gid, Uid, chown};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nobody's.
const STRANGER: u32 = 65534;

const KEYS: Keys = Keys {
    listen: "",
    sentinel: "",
    more: "[batch]\nlinger = \"50 ms\"",
};

/// Whether this machine has a layer; if not, says that the test proves nothing.
fn has(layer: Layer) -> bool {
    let offered = sandbox::offered();
    let standing = offered.iter().find(|(other, _)| *other == layer);
    match standing.map(|(_, standing)| standing) {
        Some(Ok(())) => true,
        other => {
            skipped(format!("{}: {other:?}", layer.name()));
            false
        }
    }
}

/// What the kernel says of each thread, by its name.
fn statuses(process: &Process) -> BTreeMap<String, BTreeMap<String, String>> {
    let folder = format!("/proc/{}/task", process.id());
    let mut statuses = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // one that has just ended
        let Ok(text) = fs::read_to_string(path.join("status")) else {
            continue;
        };
        let pairs: BTreeMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let number = path.file_name().unwrap().to_str().unwrap().to_owned();
        statuses.insert(format!("{} {number}", pairs["Name"]), pairs);
    }
    statuses
}

fn deliver(forwarder: &ForwarderProcess, count: u64) {
    let before = forwarder.account().count("rows_uploaded_total");
    let options = SendOptions {
        count: Some(count),
        ..SendOptions::new(forwarder.tcp)
    };
    let sent = send(&options, Clock::start(), &SendControl::default()).unwrap();
    assert!(sent.is_clean(), "{sent:?}");
    until("all are uploaded", SOON, || {
        let now = forwarder.account().count("rows_uploaded_total");
        (now == before + count).then_some(())
    });
}

fn layers_on(forwarder: &ForwarderProcess) -> BTreeSet<&'static str> {
    let page = http::get(forwarder.metrics, "/metrics").unwrap().body;
    let is_on = |layer: &Layer| {
        let line = format!("cefline_sandbox_layer{{layer=\"{}\"}} 1", layer.name());
        page.lines().any(|it| it == line)
    };
    let on = Layer::ALL.into_iter().filter(is_on);
    on.map(Layer::name).collect()
}

#[test]
fn every_thread_of_a_running_program_is_in_the_sandbox_and_works() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let forwarder = ForwarderProcess::start(&emulator, KEYS);
    deliver(&forwarder, 5_000);
    let on = layers_on(&forwarder);
    let offered = sandbox::offered();
    let offered: BTreeSet<_> = offered
        .iter()
        .filter_map(|(layer, standing)| standing.is_ok().then_some(layer.name()))
        .collect();
    assert_eq!(on, offered);
    let statuses = statuses(&forwarder.process);
    let kinds: BTreeSet<&str> = statuses
        .keys()
        .filter_map(|name| name.split(['-', ' ']).next())
        .collect();
    for kind in [
        "cefline", "log", "accept", "ingest", "upload", "spool", "watch",
    ] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    for (name, status) in statuses {
        assert_eq!(status["NoNewPrivs"], "1", "{name}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{name} {set}");
        }
        if Uid::effective().is_root() {
            assert_eq!(status["CapBnd"], "0000000000000000", "{name}");
        }
        if on.contains("seccomp") {
            assert_eq!(status["Seccomp"], "2", "{name}");
            // the process's, and its own; none but the first has fewer
            let filters: u32 = status["Seccomp_filters"].parse().unwrap();
            assert!(filters >= 3, "{name} has {filters}");
        }
    }
    until("the log says what is on", SOON, || {
        let log = forwarder.process.stderr();
        log.contains("in the sandbox").then_some(())
    });
}

#[test]
fn without_a_sandbox_nothing_is_given_up() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let keys = Keys {
        more: "[sandbox]\nmode = \"off\"",
        ..KEYS
    };
    let forwarder = ForwarderProcess::start(&emulator, keys);
    assert!(layers_on(&forwarder).is_empty());
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own
        .lines()
        .find(|line| line.starts_with("CapEff:"))
        .unwrap();
    for (name, status) in statuses(&forwarder.process) {
        assert!(own.ends_with(&status["CapEff"]), "{name}");
    }
}

#[test]
fn a_sandbox_that_is_required_is_there_or_nothing_starts() {
    let _machine = beside_others();
    if ![Layer::Files, Layer::Calls].into_iter().all(has) {
        return;
    }
    let emulator = EmulatorProcess::start(&[]);
    let keys = Keys {
        more: "[sandbox]\nmode = \"require\"",
        ..KEYS
    };
    let forwarder = ForwarderProcess::start(&emulator, keys);
    assert!(layers_on(&forwarder).contains("seccomp"));
}

/// As [`crate::reload`] has it.
fn reload(forwarder: &ForwarderProcess, text: &str) -> String {
    let count = || {
        let account = forwarder.account();
        ["done", "refused"]
            .map(|result| account.count(&format!("config_reloads_total{{result=\"{result}\"}}")))
    };
    let before = count();
    let new = forwarder.config.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, &forwarder.config).unwrap();
    forwarder.process.signal("HUP");
    until("the configuration has been read again", SOON, || {
        (count() != before).then_some(())
    });
    forwarder.readiness().body
}

#[test]
fn a_reload_that_leads_out_of_the_sandbox_is_refused_and_says_why() {
    let _machine = beside_others();
    if ![Layer::Files, Layer::Network].into_iter().all(has) {
        return;
    }
    let emulator = EmulatorProcess::start(&[]);
    let forwarder = ForwarderProcess::start(&emulator, KEYS);
    let text = fs::read_to_string(&forwarder.config).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("endpoint"))
        .unwrap();
    let elsewhere = text.replace(line, "endpoint = \"http://127.0.0.1:1\"");
    let readiness = reload(&forwarder, &elsewhere);
    assert!(
        readiness.contains("1 is not one of them; needs a restart"),
        "{readiness}"
    );
    // a secret in a folder that was not named
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "not-a-real-secret").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("secret_file"))
        .unwrap();
    let elsewhere = text.replace(line, &format!("secret_file = \"{}\"", secret.display()));
    let readiness = reload(&forwarder, &elsewhere);
    assert!(readiness.contains("may not read it"), "{readiness}");
    until("the log says what helps", SOON, || {
        let log = forwarder.process.stderr();
        log.contains("a file in another folder needs a restart")
            .then_some(())
    });
    // the old one, by the same file replaced
    let readiness = reload(&forwarder, &text);
    assert_eq!(readiness.trim(), "ready");
    deliver(&forwarder, 100);
}

#[test]
fn names_are_looked_up_and_tokens_renewed_in_the_sandbox() {
    let _machine = beside_others();
    let mut emulator = EmulatorProcess::start(&["--plain", "--fault", "token_life_seconds=2"]);
    emulator.sentinel = emulator.sentinel.replace("127.0.0.1", "localhost");
    let forwarder = ForwarderProcess::start(&emulator, KEYS);
    let tokens = || emulator.stat("tokens_issued");
    until("some tokens have been asked for", SOON, || {
        deliver(&forwarder, 10);
        (tokens() >= 3).then_some(())
    });
    assert!(!forwarder.process.stderr().contains("ERROR"));
}

/// Delivers until so many further tokens have been asked for.
fn deliver_by_new_tokens(forwarder: &ForwarderProcess, emulator: &EmulatorProcess, count: u64) {
    let before = emulator.stat("tokens_issued");
    until("further tokens have been asked for", SOON, || {
        deliver(forwarder, 10);
        (emulator.stat("tokens_issued") >= before + count).then_some(())
    });
}

/// Has a configuration name another file for its secret, and gives that which it has named.
fn rename_secret(config: &Path, to: &Path) -> PathBuf {
    let text = fs::read_to_string(config).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("secret_file"))
        .unwrap();
    let from = line.split('"').nth(1).unwrap();
    fs::write(config, text.replace(from, to.to_str().unwrap())).unwrap();
    PathBuf::from(from)
}

const SHORT_LIVES: [&str; 3] = ["--plain", "--fault", "token_life_seconds=2"];

#[test]
fn a_secret_behind_links_that_are_led_elsewhere_goes_on_being_read() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&SHORT_LIVES);
    // as Kubernetes mounts secrets, and a link of the operator's to it
    let volume = tempfile::tempdir().unwrap();
    let at = |path: &str| volume.path().join(path);
    let forwarder = ForwarderProcess::start_by(&emulator, KEYS, |arguments, folder| {
        let own = folder.join("secret");
        let from = rename_secret(Path::new(arguments[2]), &own);
        for version in ["..1", "..2"] {
            fs::create_dir_all(at(version)).unwrap();
            fs::copy(&from, at(version).join("secret")).unwrap();
        }
        // a port that was taken has it started once more
        if !at("secret").exists() {
            symlink("..1", at("..data")).unwrap();
            symlink("..data/secret", at("secret")).unwrap();
        }
        symlink(at("secret"), own).unwrap();
        Process::start(arguments, folder)
    });
    deliver(&forwarder, 10);
    symlink("..2", at("..new")).unwrap();
    fs::rename(at("..new"), at("..data")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    deliver_by_new_tokens(&forwarder, &emulator, 2);
}

#[test]
fn files_in_a_folder_that_holds_much_else_may_be_replaced() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&SHORT_LIVES);
    let wide = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    let forwarder = ForwarderProcess::start_by(&emulator, KEYS, |arguments, folder| {
        let from = rename_secret(Path::new(arguments[2]), wide.path());
        fs::copy(from, wide.path()).unwrap();
        Process::start(arguments, folder)
    });
    deliver(&forwarder, 10);
    let new = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    fs::copy(wide.path(), new.path()).unwrap();
    fs::rename(new.path(), wide.path()).unwrap();
    deliver_by_new_tokens(&forwarder, &emulator, 2);
}

#[test]
fn root_looks_names_up_in_files_that_were_replaced() {
    let _machine = beside_others();
    if !Uid::effective().is_root() {
        return skipped("only root may mount another /etc");
    }
    let mut emulator = EmulatorProcess::start(&SHORT_LIVES);
    emulator.sentinel = emulator.sentinel.replace("127.0.0.1", "localhost");
    let etc = tempfile::tempdir().unwrap();
    let hosts = etc.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    fs::write(etc.path().join("nsswitch.conf"), "hosts: files\n").unwrap();
    let forwarder = ForwarderProcess::start_by(&emulator, KEYS, |arguments, folder| {
        let script = "mount --bind \"$0\" /etc && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command.arg(etc.path()).arg(PROGRAM).args(arguments);
        command.current_dir(folder);
        Process::of(command, Vec::new(), Stdio::piped())
    });
    deliver(&forwarder, 10);
    let new = hosts.with_extension("new");
    fs::copy(&hosts, &new).unwrap();
    fs::rename(new, &hosts).unwrap();
    deliver_by_new_tokens(&forwarder, &emulator, 2);
}

/// A folder and what is in it, for another user.
fn give_away(folder: &Path) {
    let to = (Some(Uid::from_raw(STRANGER)), Some(Gid::from_raw(STRANGER)));
    for entry in fs::read_dir(folder).unwrap() {
        chown(&entry.unwrap().path(), to.0, to.1).unwrap();
    }
    chown(folder, to.0, to.1).unwrap();
}

#[test]
fn any_user_may_run_it() {
    let _machine = beside_others();
    if !Uid::effective().is_root() {
        return skipped("only root may become another user");
    }
    // the program as that user sees it
    let programs = tempfile::tempdir().unwrap();
    let program = programs.path().join("cefline");
    fs::copy(PROGRAM, &program).unwrap();
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let emulator = EmulatorProcess::start(&["--plain"]);
    let forwarder = ForwarderProcess::start_by(&emulator, KEYS, |arguments, folder| {
        let text = fs::read_to_string(arguments[2]).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("secret_file"))
            .unwrap();
        let from = line.split('"').nth(1).unwrap();
        let to = folder.join("secret");
        fs::copy(from, &to).unwrap();
        let text = text.replace(from, to.to_str().unwrap());
        fs::write(arguments[2], text).unwrap();
        give_away(folder);
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .current_dir(folder)
            .uid(STRANGER)
            .gid(STRANGER);
        Process::of(command, Vec::new(), Stdio::piped())
    });
    deliver(&forwarder, 1_000);
    let (layers, offered) = (layers_on(&forwarder), sandbox::offered());
    assert_eq!(
        layers.len(),
        offered
            .iter()
            .filter(|(_, standing)| standing.is_ok())
            .count()
    );
}

#[test]
fn root_keeps_the_right_to_files_of_others_only_if_it_needs_it() {
    let _machine = beside_others();
    if !Uid::effective().is_root() {
        return skipped("only root has that right");
    }
    let emulator = EmulatorProcess::start(&["--plain"]);
    let forwarder = ForwarderProcess::start_by(&emulator, KEYS, |arguments, folder| {
        give_away(folder);
        let config = Path::new(arguments[2]);
        fs::set_permissions(config, fs::Permissions::from_mode(0o600)).unwrap();
        Process::start(arguments, folder)
    });
    deliver(&forwarder, 100);
    let log = until("the log says it", SOON, || {
        Some(forwarder.process.stderr()).filter(|log| log.contains("CAP_DAC_OVERRIDE"))
    });
    assert!(log.contains("cefline.toml cannot be used without"), "{log}");
    // the right to read and write whatever it is, and nothing else
    for (name, status) in statuses(&forwarder.process) {
        assert_eq!(status["CapEff"], "0000000000000002", "{name}");
    }
}
