//! Templates for Azure, the configuration that fits them, and the content for Sentinel: what was
//! printed is read again, and held against the tables and schemas that it must fit.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod content;
mod settings;
#[path = "../support/skip.rs"]
mod skip;
mod template;

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs `cefline azure …` with this on standard input: exit code, standard output and error.
fn azure(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_cefline"))
        .arg("azure")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // one that reads nothing may have ended already
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    let ended = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

/// The same where it must go well.
fn printed(arguments: &[&str], input: &str) -> String {
    let (code, stdout, stderr) = azure(arguments, input);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    stdout
}
