//! What proves who we are stands nowhere: the program is run with logs at `trace`, and all that it
//! shows and leaves behind is searched.

use crate::SOON;
use crate::bench::Bench;
use crate::keys::made;
use crate::until::until;
use cefline::emulator::{Faults, Options};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Every token and every assertion is a JWT, and begins so.
const JWT: &str = "eyJ";

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn page(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn end(mut child: Child) -> String {
    let id = child.id().to_string();
    assert!(Command::new("kill").arg(&id).status().unwrap().success());
    child.wait().unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

fn files_in(folder: &Path, all: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, all);
        } else {
            all.extend(std::fs::read(&path).unwrap());
        }
    }
}

/// Runs the program by this identity until a row is stored; everything that it showed.
fn run(bench: &Bench, identity: &str, env: &[(&str, &str)]) -> String {
    let (port, metrics) = (free_port(), free_port());
    let text = bench
        .text("heartbeat = \"off\"", identity)
        .replace("127.0.0.1:1\"", &format!("127.0.0.1:{port}\""));
    let spool = bench.folder.path().join("spool");
    let text = format!(
        "{text}\n[log]\nlevel = \"trace\"\n[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n\
         [spool]\ndirectory = \"{}\"\ndurability = \"process\"\nbytes_max = \"512 MiB\"\n\
         [runtime]\npin = false\n",
        spool.display()
    );
    let config = bench.file("cefline.toml", &text);
    let command = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cefline"));
        command
            .args([name, "--config"])
            .arg(&config)
            .envs(env.iter().copied());
        command
    };
    let checked = command("check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let log = std::fs::File::create(bench.folder.path().join("log")).unwrap();
    let stored = bench.emulator.stats().rows_stored;
    let child = command("run")
        .stderr(log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("the port opens", SOON, || {
        TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
    });
    let mut sender = TcpStream::connect(("127.0.0.1", port)).unwrap();
    sender
        .write_all(b"CEF:0|Vendor|Product|1|1|name|5|msg=hello\n")
        .unwrap();
    until("a row is stored", SOON, || {
        (bench.emulator.stats().rows_stored > stored).then_some(())
    });
    let mut shown = page(metrics, "/metrics") + &page(metrics, "/readyz");
    let refused = Faults {
        token_refused: true,
        unauthorized_rate: 1.0,
        ..Faults::default()
    };
    bench.emulator.set_faults(refused).unwrap();
    sender
        .write_all(b"CEF:0|Vendor|Product|1|1|name|5|msg=again\n")
        .unwrap();
    let refusals = bench.emulator.stats().tokens_refused;
    until("a token is refused", SOON, || {
        (bench.emulator.stats().tokens_refused > refusals).then_some(())
    });
    shown += &page(metrics, "/metrics");
    shown += &page(metrics, "/readyz");
    bench.emulator.set_faults(Faults::default()).unwrap();
    shown += &end(child);
    shown += &std::fs::read_to_string(bench.folder.path().join("log")).unwrap();
    shown += &String::from_utf8(checked.stdout).unwrap();
    let mut left = Vec::new();
    files_in(&spool, &mut left);
    shown.extend(left.iter().copied().filter(u8::is_ascii).map(char::from));
    assert!(shown.contains("a token was obtained"), "the log is there");
    shown
}

#[test]
fn a_secret_a_key_an_assertion_and_a_token_appear_nowhere() {
    let made = made();
    let bench = Bench::start(Options {
        certificates_pem: Some(made.certificate.clone()),
        ..Options::default()
    });
    let secret = bench.emulator.client_secret().to_owned();
    let by_secret = crate::way::SECRET.replace(
        "secret_file = \"FOLDER/secret\"",
        "secret_env = \"CEFLINE_CANARY\"",
    );
    let shown = run(&bench, &by_secret, &[("CEFLINE_CANARY", &secret)]);
    assert!(!shown.contains(&secret[..16]), "the secret is shown");
    assert!(!shown.contains(JWT), "a token is shown");
    bench.file(
        "certificate.pem",
        &format!("{}{}", made.certificate, made.pkcs8),
    );
    let by_certificate = crate::way::SECRET
        .replace("client_secret", "client_certificate")
        .replace(
            "secret_file = \"FOLDER/secret\"",
            "certificate_file = \"FOLDER/certificate.pem\"",
        );
    let shown = run(&bench, &by_certificate, &[]);
    assert!(!shown.contains(JWT), "a token or an assertion is shown");
    for line in made.pkcs8.lines().filter(|line| !line.starts_with('-')) {
        assert!(!shown.contains(line), "the key is shown");
    }
    let credentials = bench.folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("entra"), &secret).unwrap();
    let by_credential = crate::way::SECRET.replace(
        "secret_file = \"FOLDER/secret\"",
        "secret_credential = \"entra\"",
    );
    let folder = credentials.display().to_string();
    let shown = run(
        &bench,
        &by_credential,
        &[("CREDENTIALS_DIRECTORY", &folder)],
    );
    assert!(!shown.contains(&secret[..16]) && !shown.contains(JWT));
}
