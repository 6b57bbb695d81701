//! The two ways of waiting for connections. Each must do all that the other does: `.ci/run` has the
//! tests of receiving run by both; here is what belongs to the choice itself.

use crate::beside_others;
use crate::http;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, Process, SOON, until};
use crate::rig::Rig;
use cefline::clock::Clock;
use cefline::emulator::Options;
use cefline::run::View;
use cefline::send::{SendControl, SendOptions, send};
use cefline::watch::Watched;
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts the program where no memory may be locked, which io_uring needs.
fn start_without_locked_memory(arguments: &[&str], folder: &Path) -> Process {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -l 0 && exec \"$@\"",
            "sh",
            crate::process::PROGRAM,
        ])
        .args(arguments)
        .current_dir(folder);
    Process::of(command, Vec::new(), Stdio::piped())
}

fn with_io(io: &'static str) -> Keys {
    Keys {
        listen: io,
        ..Keys::default()
    }
}

/// What the page of metrics says.
fn shown(view: &View) -> String {
    let page = view.metrics();
    let line = page
        .lines()
        .find(|line| line.starts_with("cefline_build_info{"));
    line.unwrap().to_owned()
}

#[test]
fn each_backend_delivers_and_the_metrics_say_which_it_is() {
    let _machine = beside_others();
    for (seed, io, keys) in [
        (0xb1, "uring", with_io("io = \"uring\"")),
        (0xb2, "epoll", with_io("io = \"epoll\"")),
        (0xb3, "uring", with_io("io = \"auto\"")),
    ] {
        let mut rig = Rig::with(Options::default(), keys);
        let line = shown(&rig.view);
        assert!(line.contains(&format!("io=\"{io}\"")), "{line}");
        rig.deliver(seed, 20_000);
    }
}

#[test]
fn without_io_uring_auto_goes_on_with_epoll_and_says_why() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let keys = with_io("io = \"auto\"");
    let forwarder = ForwarderProcess::start_by(&emulator, keys, start_without_locked_memory);
    let page = http::get(forwarder.metrics, "/metrics").unwrap().body;
    assert!(page.contains(",io=\"epoll\"} 1"), "{page}");
    let said = until("the log says so", SOON, || {
        Some(forwarder.process.stderr()).filter(|text| text.contains("listening for syslog"))
    });
    assert!(said.contains("receiving by epoll"), "{said}");
    assert!(
        said.contains("too little memory may be locked: the limit is 0 bytes"),
        "{said}"
    );
    let options = SendOptions {
        count: Some(5_000),
        ..SendOptions::new(forwarder.tcp)
    };
    let sent = send(&options, Clock::start(), &SendControl::default()).unwrap();
    assert!(sent.is_clean(), "{sent:?}");
    until("all are uploaded", SOON, || {
        let account = forwarder.account();
        (account.count("rows_uploaded_total") == 5_000).then_some(())
    });
}

#[test]
fn without_io_uring_a_program_that_must_have_it_ends_with_what_to_do() {
    let _machine = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let destination = "[sentinel]\n\
         endpoint = \"https://name.region-1.ingest.monitor.azure.com\"\n\
         rules = [\"dcr-0123456789abcdef0123456789abcdef\"]\n\
         [sentinel.identity]\nkind = \"managed_identity\"\n";
    let keys = with_io("io = \"uring\"");
    let ports = [(); 2].map(|()| crate::process::free_port().to_string());
    let text = keys.config(&ports[0], &ports[1], destination, folder.path());
    let config = folder.path().join("cefline.toml");
    std::fs::write(&config, text).unwrap();
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let ended = start_without_locked_memory(&arguments, folder.path()).ended(SOON);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for part in [
        "listen.io = \"uring\"",
        "the limit is 0 bytes",
        "LimitMEMLOCK=64M",
        "\"auto\"",
    ] {
        assert!(ended.stderr.contains(part), "{ended:?}");
    }
}
