//! A running program, which tries from inside everything that its sandbox is to refuse, gets nowhere,
//! and goes on working. Only with the feature `self-attack`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/until.rs"]
mod until;

use cefline::sandbox::{self, Layer};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use until::until;

const SOON: Duration = Duration::from_secs(60);
/// At least so many forbidden things are tried.
const ATTACKS_LEAST: usize = 40;

/// A process that ends with the test.
struct Attacker(Child);

impl Drop for Attacker {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Starts it; everything that it says goes into a file of the folder.
fn start(folder: &Path, mode: &str, io: &str) -> (Attacker, SocketAddr, SocketAddr) {
    let (tcp, metrics) = (free_port(), free_port());
    let (config, spool) = (folder.join("cefline.toml"), folder.join("spool"));
    let text = format!(
        "[listen]\ntcp = [\"{tcp}\"]\nio = \"{io}\"\n[metrics]\nlisten = \"{metrics}\"\n\
         [spool]\ndirectory = \"{}\"\n[sandbox]\nmode = \"{mode}\"\n\
         [sentinel]\nendpoint = \"http://127.0.0.1:9\"\n\
         rules = [\"dcr-0123456789abcdef0123456789abcdef\"]\n\
         [sentinel.identity]\nkind = \"managed_identity\"\n",
        spool.display()
    );
    fs::write(&config, text).unwrap();
    let said = fs::File::create(folder.join("said")).unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_cefline"))
        .args(["run", "--config", config.to_str().unwrap()])
        .env("CEFLINE_SELF_ATTACK", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .spawn();
    (Attacker(process.unwrap()), tcp, metrics)
}

/// What it has said of its attacks, once that is all.
fn report(folder: &Path) -> String {
    until("all attacks have been tried", SOON, || {
        let said = fs::read_to_string(folder.join("said")).unwrap();
        said.contains(" refused\n").then_some(said)
    })
}

fn metrics_of(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

fn every_attack_is_refused(io: &str) {
    for (layer, standing) in sandbox::offered() {
        let is_needed = layer.is_essential() || layer == Layer::Network;
        if let (Err(why), true) = (standing, is_needed) {
            return skip::skipped(format!("this machine has no {}: {why}", layer.name()));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut attacker, tcp, metrics) = start(folder.path(), "require", io);
    let said = report(folder.path());
    println!("{said}");
    let of = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    assert_eq!(of("NOT REFUSED"), 0, "{said}");
    let refused = of(": refused (");
    assert!(refused >= ATTACKS_LEAST, "{refused}");
    let sum = format!("self-attack: {refused} of {refused} refused");
    assert!(said.contains(&sum), "{said}");
    for kind in [
        "Main", "Log", "Accept", "Ingest", "Upload", "Spool", "Watch",
    ] {
        assert!(of(&format!("from {kind}: ")) > 0, "nothing from {kind}");
    }
    // and goes on as if nothing had been
    let mut sender = TcpStream::connect(tcp).unwrap();
    sender
        .write_all(b"<13>CEF:0|A|B|1|2|said|5|src=192.0.2.1\n")
        .unwrap();
    until("the message is received", SOON, || {
        let page = metrics_of(metrics);
        page.contains("cefline_frames_received_total 1\n")
            .then_some(())
    });
    assert!(attacker.0.try_wait().unwrap().is_none());
}

#[test]
fn every_attack_is_refused_on_io_uring() {
    every_attack_is_refused("auto");
}

#[test]
fn every_attack_is_refused_on_epoll() {
    every_attack_is_refused("epoll");
}

/// Else the tests above could pass by attacks that fail anywhere.
#[test]
fn without_the_sandbox_most_of_the_same_attacks_are_let_in() {
    if !nix::unistd::Uid::effective().is_root() {
        return skip::skipped("what root may do is refused to others without a sandbox");
    }
    let folder = tempfile::tempdir().unwrap();
    let (_attacker, ..) = start(folder.path(), "off", "epoll");
    let said = report(folder.path());
    println!("{said}");
    let of = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    let (let_in, refused) = (of("NOT REFUSED"), of(": refused ("));
    assert!(let_in >= 3 * refused, "{let_in} let in, {refused} refused");
    assert!(let_in >= ATTACKS_LEAST, "{let_in}");
}
