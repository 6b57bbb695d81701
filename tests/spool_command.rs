//! `cefline spool`, through the binary, on spools that a keeper has made.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod spool_shared;

use cefline::config::DestinationId;
use cefline::spool::files::Folder;
use cefline::spool::quarantine::Reason;
use cefline::spool::{Body, Command, Event, Lock};
use serde_json::Value;
use spool_shared::{at, body, id_of, number, read_back, settings, start};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};

const SEGMENT_BYTES: usize = 64 * 1024;

/// A spool with 30 bodies of 3 rows, of which the first 5 are settled and the next one is in
/// quarantine; closed, or as a kill leaves it.
fn spool(is_closed: bool) -> (tempfile::TempDir, Vec<Body>) {
    let root = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(number("CEFLINE_SEED", 1));
    let (mut keeper, _) = start(Folder::new(root.path()), settings(SEGMENT_BYTES), 1);
    let mut events = Vec::new();
    let bodies: Vec<Body> = (0..30).map(|id| body(id, 3, 1000, &mut random)).collect();
    for (id, body) in bodies.iter().enumerate() {
        let write = Command::Write(id as u64, Box::new(body.clone()));
        keeper.take(write, at(1.0), &mut events);
    }
    keeper.work(at(1.0), &mut events);
    for event in std::mem::take(&mut events) {
        match event {
            Event::Written(key, place) if key <= 5 => {
                if key == 5 {
                    let row = Box::new(bodies[5].clone());
                    let keep = Command::Quarantine(row, Reason::Rejected);
                    keeper.take(keep, at(2.0), &mut events);
                }
                keeper.take(Command::Settle(place), at(2.0), &mut events);
            }
            Event::Written(..) | Event::Scanned => {}
            other => panic!("{other:?}"),
        }
    }
    keeper.work(at(2.0), &mut events);
    if is_closed {
        keeper.take(Command::Close, at(3.0), &mut events);
        keeper.work(at(3.0), &mut events);
    }
    (root, bodies)
}

fn cefline(args: &[&str], root: &Path) -> Output {
    let mut args: Vec<&str> = args.to_vec();
    args.insert(1, root.to_str().unwrap());
    Process::new(env!("CARGO_BIN_EXE_cefline"))
        .arg("spool")
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn assert_code(output: &Output, code: i32) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
}

/// The rows of bodies as an export shows them.
fn lines<'a>(bodies: impl IntoIterator<Item = &'a Body>) -> String {
    let mut lines = String::new();
    for body in bodies {
        let raw = body.payload.raw().unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&raw).unwrap();
        for row in rows {
            // by hand: a map would sort the keys
            let (id, row_index, x) = (&row["id"], &row["row"], row["x"].as_str().unwrap());
            lines.push_str(&format!(
                "{{\"id\":{id},\"row\":{row_index},\"x\":\"{x}\"}}\n"
            ));
        }
    }
    lines
}

/// All files, and what is in them.
fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let all = files(root).into_iter().map(|(path, _)| path);
    let is_segment = |path: &PathBuf| !path.to_str().unwrap().contains("quarantine");
    all.filter(is_segment).collect()
}

#[test]
fn what_is_in_a_spool_is_listed() {
    let (root, _) = spool(true);
    let before = files(root.path());
    let output = cefline(&["list", "--json"], root.path());
    assert_code(&output, 0);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed["total"]["bodies"], 24);
    assert_eq!(listed["total"]["rows"], 72);
    assert_eq!(listed["total"]["rows_missing"], 0);
    assert_eq!(listed["quarantine_rows"], 3);
    assert_eq!(listed["quarantine"][0]["reason"], "rejected_by_service");
    assert_eq!(listed["is_in_use"], false);
    let text_output = cefline(&["list"], root.path());
    assert_code(&text_output, 0);
    let shown = text(&text_output.stdout);
    for part in [
        "log-",
        "total",
        "rejected_by_service",
        "1970-01-01T00:00:00Z",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let verified = cefline(&["verify"], root.path());
    assert_code(&verified, 0);
    let said = text(&verified.stdout);
    assert_eq!(said, "sound: 25 bodies with 75 rows wait\n");
    assert_eq!(files(root.path()), before, "something was changed");
}

#[test]
fn rows_are_exported_oldest_first() {
    for is_closed in [true, false] {
        let (root, bodies) = spool(is_closed);
        let before = files(root.path());
        let output = cefline(&["export"], root.path());
        assert_code(&output, 0);
        assert_eq!(text(&output.stdout), lines(&bodies[6..]));
        let output = cefline(&["export", "--settled"], root.path());
        assert_eq!(text(&output.stdout), lines(&bodies));
        let output = cefline(&["export", "--quarantine"], root.path());
        assert_eq!(text(&output.stdout), lines(&bodies[5..6]));
        assert_eq!(files(root.path()), before, "something was changed");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_mistake() {
    let (root, _) = spool(true);
    let mut process = Process::new(env!("CARGO_BIN_EXE_cefline"))
        .args(["spool", "export", root.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn damage_is_found_and_named() {
    let (root, bodies) = spool(true);
    let path = segments(root.path()).remove(1);
    let mut content = fs::read(&path).unwrap();
    // the first body of the second segment, and the head and the tail of the second
    content[3 * 4096 + 200] ^= 1;
    content[4 * 4096 + 50] ^= 1;
    content[5 * 4096 - 50] ^= 1;
    fs::write(&path, content).unwrap();
    fs::write(path.with_file_name("readme"), "foreign").unwrap();
    let output = cefline(&["verify"], root.path());
    assert_code(&output, 1);
    let said = text(&output.stdout);
    for part in [
        "segment-00000002: segment 2, block 3: the body",
        "of 3 rows is damaged",
        "segment-00000002: 3 rows are gone without a trace, at block 4",
        "readme is not named as a segment: it is left alone",
        "damage was found: 6 rows are lost; 23 bodies with 69 rows are sound",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    let output = cefline(&["export"], root.path());
    assert_code(&output, 1);
    assert!(text(&output.stderr).contains("block 3 is damaged"));
    let (_, back) = read_back(Folder::new(root.path()), settings(SEGMENT_BYTES), 3);
    let read = back
        .bodies
        .iter()
        .map(|(_, body)| &bodies[usize::try_from(id_of(body)).unwrap()]);
    assert_eq!(text(&output.stdout), lines(read));
}

#[test]
fn what_is_no_spool_is_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("something"), "else").unwrap();
    for command in ["list", "verify", "export", "requeue"] {
        let output = cefline(&[command], root.path());
        assert_code(&output, 2);
        assert!(text(&output.stderr).contains("no spool"));
        let output = cefline(&[command], &root.path().join("nowhere"));
        assert_code(&output, 2);
        assert!(text(&output.stderr).contains("nowhere"));
    }
}

#[test]
fn a_spool_in_use_is_shown_with_a_warning_and_not_changed() {
    let (root, _) = spool(false);
    let _lock = Lock::take(root.path()).unwrap();
    for command in ["list", "verify", "export"] {
        let output = cefline(&[command], root.path());
        assert_code(&output, 0);
        assert!(text(&output.stderr).contains("a cefline uses this spool"));
    }
    let before = files(root.path());
    let output = cefline(&["requeue"], root.path());
    assert_code(&output, 2);
    assert!(text(&output.stderr).contains("a running cefline uses this spool: stop it first"));
    assert_eq!(files(root.path()), before);
}

#[test]
fn rows_in_quarantine_are_put_back_and_read_by_the_next_run() {
    let (root, bodies) = spool(true);
    let output = cefline(&["requeue"], root.path());
    assert_code(&output, 0);
    let said = text(&output.stdout);
    assert_eq!(
        said,
        "1 entries with 3 rows are put back: the next run sends them\n"
    );
    assert_code(&cefline(&["verify"], root.path()), 0);
    let (_, back) = read_back(Folder::new(root.path()), settings(SEGMENT_BYTES), 3);
    let mut read: Vec<u64> = back.bodies.iter().map(|(_, body)| id_of(body)).collect();
    read.sort_unstable();
    assert_eq!(read, (5..30).collect::<Vec<_>>());
    assert_eq!(back.rows(), 75);
    assert_eq!(back.strangers().next(), None);
    assert!(
        back.bodies
            .iter()
            .any(|(_, body)| spool_shared::is_same(body, &bodies[5]))
    );
    let again = cefline(&["requeue"], root.path());
    assert_code(&again, 0);
    assert_eq!(
        text(&again.stdout),
        "nothing in quarantine can be put back\n"
    );
}

/// What a record is for is shown, and goes with it into quarantine and back.
#[test]
fn destinations_are_shown_asked_for_and_kept() {
    let basic = DestinationId::of("basic");
    let root = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let (mut keeper, _) = start(Folder::new(root.path()), settings(SEGMENT_BYTES), 1);
    let mut events = Vec::new();
    let bodies: Vec<Body> = (0..6)
        .map(|id| {
            let mut body = body(id, 3, 100, &mut random);
            if id % 3 == 0 {
                body.payload.destination = basic;
            }
            body
        })
        .collect();
    for (id, body) in bodies.iter().enumerate() {
        let write = Command::Write(id as u64, Box::new(body.clone()));
        keeper.take(write, at(1.0), &mut events);
    }
    keeper.work(at(1.0), &mut events);
    let Some(Event::Written(0, place)) = events.first() else {
        panic!("{events:?}");
    };
    let keep = Command::Quarantine(Box::new(bodies[0].clone()), Reason::Rejected);
    keeper.take(keep, at(2.0), &mut Vec::new());
    keeper.take(Command::Settle(*place), at(2.0), &mut Vec::new());
    keeper.take(Command::Close, at(3.0), &mut Vec::new());
    keeper.work(at(3.0), &mut Vec::new());
    drop(keeper);
    let shown = cefline(&["list", "--json"], root.path());
    assert_code(&shown, 0);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let digits = format!("{:016x}", basic.to_bits());
    let expected = serde_json::json!([
        {"destination": "sentinel", "bodies": 4, "rows": 12},
        {"destination": digits, "bodies": 1, "rows": 3},
    ]);
    assert_eq!(shown["destinations"], expected);
    let shown = cefline(&["list"], root.path());
    assert!(text(&shown.stdout).contains(&digits));
    for name in ["basic", &digits] {
        let rows = cefline(&["export", "--destination", name], root.path());
        assert_code(&rows, 0);
        assert_eq!(text(&rows.stdout), lines([&bodies[3]]));
    }
    let rows = cefline(&["export", "--destination", "sentinel"], root.path());
    assert_eq!(
        text(&rows.stdout),
        lines([1, 2, 4, 5].map(|at| &bodies[at]))
    );
    assert_code(&cefline(&["requeue"], root.path()), 0);
    let (_, back) = read_back(Folder::new(root.path()), settings(SEGMENT_BYTES), 3);
    for (_, body) in &back.bodies {
        assert_eq!(
            body.payload.destination == basic,
            id_of(body).is_multiple_of(3)
        );
    }
    assert_eq!(back.bodies.len(), 6);
}
