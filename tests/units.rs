//! The units for systemd: the service's sandbox is as tight as promised, lets through what the program
//! calls, and fits the program's own limits.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The highest exposure that is allowed, in tenths: "2.0" of 10.
const EXPOSURE_MAX: &str = "20";

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("dist")
        .join(name)
}

/// Runs systemd-analyze, if it is there and knows what it is asked for; else says why not.
fn analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => {
            let said = String::from_utf8(output.stderr.clone()).unwrap();
            if said.contains("unrecognized option") || said.contains("Unknown command") {
                skip::skipped(format!("systemd-analyze is too old: {said}"));
                return None;
            }
            Some(output)
        }
        Err(error) => {
            skip::skipped(format!("systemd-analyze cannot be run: {error}"));
            None
        }
    }
}

#[test]
fn the_sandbox_of_the_service_scores_at_most_two() {
    let service = unit("cefline.service");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let arguments = ["security", "--offline=true", "--no-pager", &threshold];
    let arguments = [&arguments[..], &[service.to_str().unwrap()]].concat();
    let Some(output) = analyze(&arguments) else {
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap_or_default();
    println!("{last}");
    assert!(last.contains("Overall exposure level"), "{text}");
    assert!(output.status.success(), "{text}");
}

/// The values of a key of a unit, in order.
fn values(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let of_key = lines.filter(|(name, _)| *name == key);
    of_key.map(|(_, value)| value.to_owned()).collect()
}

/// The calls of systemd's set of this name, sets in it included.
fn calls_of(set: &str, calls: &mut BTreeSet<String>) -> Option<()> {
    let output = analyze(&["syscall-filter", "--no-pager", set])?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(str::trim);
    for call in lines.filter(|line| !line.is_empty() && *line != set && !line.starts_with('#')) {
        if call.starts_with('@') {
            calls_of(call, calls)?;
        } else {
            calls.insert(call.to_owned());
        }
    }
    Some(())
}

#[test]
fn the_service_may_call_what_the_program_is_made_of() {
    let text = fs::read_to_string(unit("cefline.service")).unwrap();
    let mut allowed = BTreeSet::new();
    for filter in values(&text, "SystemCallFilter") {
        let (is_denied, names) = match filter.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, &*filter),
        };
        let mut calls = BTreeSet::new();
        for name in names.split(' ') {
            if !name.starts_with('@') {
                calls.insert(name.to_owned());
            } else if calls_of(name, &mut calls).is_none() {
                return;
            }
        }
        allowed = if is_denied {
            &allowed - &calls
        } else {
            &allowed | &calls
        };
    }
    for needed in [
        // the rings, locked memory, pinning, limits
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "sched_setaffinity",
        "sched_getaffinity",
        "prlimit64",
        // threads, waiting
        "clone3",
        "futex",
        "eventfd2",
        "epoll_create1",
        "timerfd_create",
        "ppoll",
        // sockets, the supervisor, the reload by ExecReload
        "accept4",
        "bind",
        "connect",
        "getsockopt",
        "listen",
        "sendmsg",
        "shutdown",
        "socketpair",
        "kill",
        // files, and what a spool needs of them
        "openat",
        "pread64",
        "pwrite64",
        "fallocate",
        "fdatasync",
        "flock",
        "ftruncate",
        "renameat2",
        "unlinkat",
        "getrandom",
        // the program's own sandbox
        "prctl",
        "capset",
        "seccomp",
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
    ] {
        assert!(allowed.contains(needed), "{needed} is not allowed");
    }
    for denied in ["mount", "ptrace", "bpf", "setuid", "reboot", "init_module"] {
        assert!(!allowed.contains(denied), "{denied} is allowed");
    }
}

#[test]
fn both_units_are_ones_that_systemd_understands() {
    for name in ["cefline.service", "cefline.socket"] {
        let unit = unit(name);
        let arguments = ["verify", "--man=no", "--recursive-errors=no"];
        let arguments = [&arguments[..], &[unit.to_str().unwrap()]].concat();
        let Some(output) = analyze(&arguments) else {
            return;
        };
        let said = String::from_utf8(output.stderr).unwrap();
        // whatever else it misses on this machine is the machine's
        let ours = said.lines().filter(|line| line.contains("/dist/"));
        let ours: Vec<&str> = ours.collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
}

#[test]
fn the_units_and_the_reference_name_the_same_ports_and_times() {
    let service = fs::read_to_string(unit("cefline.service")).unwrap();
    let socket = fs::read_to_string(unit("cefline.socket")).unwrap();
    let reference = cefline::config::REFERENCE;
    let [address] = &values(&socket, "ListenStream")[..] else {
        panic!("{socket}")
    };
    assert!(reference.contains(&format!("\ntcp = [\"{address}\"]\n")));
    // more time to stop than uploading gets by default
    let number = |key: &str| -> u64 { values(&service, key)[0].parse().unwrap() };
    let default = cefline::limits::STOP_TIME_DEFAULT + cefline::limits::STOP_COUNT_TIME;
    assert!(number("TimeoutStopSec") > default.as_secs());
    let liveness = cefline::limits::LIVENESS_TIME.as_secs();
    assert!(number("WatchdogSec") >= 2 * liveness);
    let given = u64::try_from(cefline::limits::SOCKETS_GIVEN_MOST).unwrap();
    assert_eq!(number("FileDescriptorStoreMax"), given);
}
