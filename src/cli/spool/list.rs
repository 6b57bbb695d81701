//! `cefline spool list`: what is in a spool.

use super::{Failure, failed, name_of, open, print, read_logs};
use crate::clock::Wall;
use crate::config::DestinationId;
use crate::emulator::show;
use crate::spool::inspect::kept;
use crate::spool::scan::Look;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show what is in a spool.
///
/// Each log (what one uploader of one run has written) with its segments, bodies that wait, their
/// rows, bytes on disk, and when the oldest and the newest body was sealed; the quarantine with the
/// reason of each entry; and the sums. What waits is also shown by destination: "sentinel", or sixteen
/// digits that follow from the name of a further one. Only heads of bodies are read: see `cefline spool
/// verify`.
///
/// Exit code 0, or 2 if DIR is no spool.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// The spool
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,

    /// For machines: one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Sums over segments.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    segments: u64,
    bodies: u64,
    rows: u64,
    rows_missing: u64,
    bytes: u64,
    sealed: Option<(Wall, Wall)>,
}

impl Sum {
    fn add(&mut self, look: &Look<File>, bytes: u64) {
        let found = look.found();
        let sealed = look
            .records
            .iter()
            .filter(|seen| !seen.is_settled)
            .map(|seen| seen.head.sealed_at);
        for at in sealed {
            let (oldest, newest) = self.sealed.unwrap_or((at, at));
            self.sealed = Some((oldest.min(at), newest.max(at)));
        }
        self.segments += 1;
        self.bodies += found.bodies;
        self.rows += found.rows;
        self.rows_missing = self
            .rows_missing
            .saturating_add(found.rows_damaged)
            .saturating_add(found.rows_torn);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn merge(&mut self, other: &Sum) {
        self.segments += other.segments;
        self.bodies += other.bodies;
        self.rows += other.rows;
        self.rows_missing = self.rows_missing.saturating_add(other.rows_missing);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.sealed = match (self.sealed, other.sealed) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
    }

    fn json(&self) -> Value {
        json!({
            "segments": self.segments,
            "bodies": self.bodies,
            "rows": self.rows,
            "rows_missing": self.rows_missing,
            "bytes": self.bytes,
            "oldest": self.sealed.and_then(|(oldest, _)| time(oldest)),
            "newest": self.sealed.and_then(|(_, newest)| time(newest)),
        })
    }
}

fn time(at: Wall) -> Option<String> {
    let at = Timestamp::from_nanosecond(i128::from(at.0)).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Bodies that wait and their rows, by destination.
#[derive(Debug, Default)]
struct Waiting(BTreeMap<DestinationId, (u64, u64)>);

impl Waiting {
    fn add(&mut self, look: &Look<File>) {
        for seen in look.records.iter().filter(|seen| !seen.is_settled) {
            let (bodies, rows) = self.0.entry(seen.head.destination).or_default();
            *bodies += 1;
            *rows += u64::from(seen.head.rows_count);
        }
    }

    fn json(&self) -> Value {
        let all = self.0.iter().map(|(id, (bodies, rows))| {
            json!({"destination": name_of(*id), "bodies": bodies, "rows": rows})
        });
        all.collect()
    }

    /// Nothing if there are no further destinations.
    fn text(&self) -> Option<String> {
        if self.0.keys().all(|id| *id == DestinationId::SENTINEL) {
            return None;
        }
        let columns = ["destination", "bodies", "rows"].map(str::to_owned);
        let lines = self
            .0
            .iter()
            .map(|(id, (bodies, rows))| vec![json!(name_of(*id)), json!(bodies), json!(rows)]);
        Some(show::table(
            &columns,
            &lines.collect::<Vec<_>>(),
            usize::MAX,
        ))
    }
}

/// Runs the command.
pub(super) fn list(args: &ListArgs) -> Result<ExitCode, Failure> {
    let (mut disk, is_moving) = open(&args.directory)?;
    let mut shown = Vec::new();
    let mut total = Sum::default();
    let mut waiting = Waiting::default();
    for log in read_logs(&mut disk)? {
        let mut sum = Sum::default();
        let mut strange: Vec<(String, String)> = Vec::new();
        for (path, why) in &log.files.strange {
            strange.push((path.clone(), why.to_string()));
        }
        log.each(&mut disk, |_, known, look| {
            match look {
                Ok(look) => {
                    waiting.add(&look);
                    sum.add(&look, known.bytes);
                }
                Err(why) => strange.push((known.path.clone(), why.to_string())),
            }
            Ok::<(), Failure>(())
        })?;
        total.merge(&sum);
        shown.push((log.folder, sum, strange));
    }
    let entries = kept(&mut disk).map_err(failed)?;
    let entries: Vec<(String, String, u64, u64)> = entries
        .into_iter()
        .map(|entry| {
            let rows = match &entry.segment {
                Some((_, Ok(look))) => look.found().rows,
                _ => 0,
            };
            (entry.path, entry.reason, rows, entry.bytes)
        })
        .collect();
    match args.json {
        true => print(&format!(
            "{}\n",
            list_json((&shown, &total, &waiting), &entries, is_moving)
        )),
        false => print(&list_text((&shown, &total, &waiting), &entries)),
    }
}

type Shown = (String, Sum, Vec<(String, String)>);
type Logs<'a> = (&'a [Shown], &'a Sum, &'a Waiting);
type Entry = (String, String, u64, u64);

fn list_json((shown, total, waiting): Logs<'_>, entries: &[Entry], is_moving: bool) -> Value {
    let logs = shown.iter().map(|(folder, sum, strange)| {
        let mut log = sum.json();
        log["log"] = json!(folder);
        let strange = strange
            .iter()
            .map(|(path, why)| json!({"path": path, "why": why}));
        log["left_alone"] = strange.collect();
        log
    });
    let quarantine = entries.iter().map(|(path, reason, rows, bytes)| {
        json!({"path": path, "reason": reason, "rows": rows, "bytes": bytes})
    });
    json!({
        "logs": logs.collect::<Vec<_>>(),
        "quarantine": quarantine.collect::<Vec<_>>(),
        "quarantine_rows": entries.iter().map(|entry| entry.2).sum::<u64>(),
        "total": total.json(),
        "destinations": waiting.json(),
        "is_in_use": is_moving,
    })
}

fn list_text((shown, total, waiting): Logs<'_>, entries: &[Entry]) -> String {
    let mut text = String::new();
    let columns = [
        "log", "segments", "bodies", "rows", "missing", "bytes", "oldest", "newest",
    ]
    .map(str::to_owned);
    let line = |name: &str, sum: &Sum| {
        let time = |at: Option<Wall>| json!(at.and_then(time).unwrap_or_default());
        vec![
            json!(name),
            json!(sum.segments),
            json!(sum.bodies),
            json!(sum.rows),
            json!(sum.rows_missing),
            json!(sum.bytes),
            time(sum.sealed.map(|(oldest, _)| oldest)),
            time(sum.sealed.map(|(_, newest)| newest)),
        ]
    };
    let mut lines: Vec<Vec<Value>> = shown.iter().map(|(name, sum, _)| line(name, sum)).collect();
    lines.push(line("total", total));
    text.push_str(&show::table(&columns, &lines, usize::MAX));
    if let Some(table) = waiting.text() {
        text.push('\n');
        text.push_str(&table);
    }
    if !entries.is_empty() {
        let columns = ["quarantine", "reason", "rows", "bytes"].map(str::to_owned);
        let lines = entries.iter().map(|(path, reason, rows, bytes)| {
            vec![json!(path), json!(reason), json!(rows), json!(bytes)]
        });
        text.push('\n');
        text.push_str(&show::table(
            &columns,
            &lines.collect::<Vec<_>>(),
            usize::MAX,
        ));
    }
    for (path, why) in shown.iter().flat_map(|(_, _, strange)| strange) {
        // a String takes everything
        let _ = writeln!(text, "{path} {why}: left alone");
    }
    text
}
