//! `cefline spool verify`: whether a spool is sound.

use super::{Failure, failed, open, print, read_logs};
use crate::spool::files::Folder;
use crate::spool::format::{BLOCK_BYTES, LogId};
use crate::spool::inspect::{Fault, kept, read};
use crate::spool::scan::Look;
use crate::spool::survey::NoSegment;
use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

/// Read every body of a spool, and say what is damaged.
///
/// Checksums, gzip and the lengths of rows are compared for each body that waits, in logs and in
/// quarantine. Says for each damaged one where it is and how many rows it has; also which files are
/// left alone, which segments are not there (used up, or lost), and what was being written when the
/// machine stopped, which is no damage.
///
/// Exit code 0 if the spool is sound, 1 if something is damaged, 2 if DIR is no spool.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The spool
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// What a verification has found so far.
#[derive(Debug, Default)]
struct Findings {
    bodies: u64,
    rows: u64,
    rows_damaged: u64,
    is_damaged: bool,
    lines: Vec<String>,
}

impl Findings {
    fn damage(&mut self, rows: u64, what: String) {
        self.is_damaged = true;
        self.rows_damaged = self.rows_damaged.saturating_add(rows);
        self.lines.push(format!("damaged: {what}"));
    }

    fn note(&mut self, what: String) {
        self.lines.push(format!("note: {what}"));
    }

    fn strange(&mut self, path: &str, why: &NoSegment) {
        match why {
            NoSegment::Unreadable(_) | NoSegment::Strange => {
                self.damage(0, format!("{path} {why}"));
            }
            _ => self.note(format!("{path} {why}: it is left alone")),
        }
    }

    /// Reads all bodies of a segment that wait.
    fn segment(&mut self, disk: &mut Folder, id: LogId, path: &str, look: &mut Look<File>) {
        let found = look.found();
        if found.rows_damaged > 0 {
            let blocks = look.gaps.iter().filter(|gap| gap.is_safe);
            let blocks: Vec<String> = blocks
                .map(|gap| (gap.at / BLOCK_BYTES).to_string())
                .collect();
            let (rows, blocks) = (found.rows_damaged, blocks.join(", "));
            self.damage(
                rows,
                format!("{path}: {rows} rows are gone without a trace, at block {blocks}"),
            );
        }
        if found.rows_torn > 0 {
            let rows = found.rows_torn;
            self.note(format!(
                "{path}: {rows} rows were being written when the machine stopped"
            ));
        }
        for index in 0..look.records.len() {
            let Some(seen) = look.records.get(index).filter(|seen| !seen.is_settled) else {
                continue;
            };
            let (block, head) = (seen.block, seen.head);
            let rows = u64::from(head.rows_count);
            match read(disk, look, id, index) {
                Ok(_) => {
                    self.bodies += 1;
                    self.rows += rows;
                }
                Err(fault) => {
                    let what = format!(
                        "{path}: segment {}, block {block}: the body {} of {rows} rows {fault}",
                        head.segment, head.payload
                    );
                    match fault {
                        Fault::Torn => self.note(what),
                        _ => self.damage(rows, what),
                    }
                }
            }
        }
    }
}

/// Runs the command.
pub(super) fn verify(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let (mut disk, _) = open(&args.directory)?;
    let mut findings = Findings::default();
    for log in read_logs(&mut disk)? {
        log.each(&mut disk, |disk, known, look| {
            match look {
                Ok(mut look) => findings.segment(disk, log.id, &known.path, &mut look),
                Err(why) => findings.strange(&known.path, &why),
            }
            Ok::<(), Failure>(())
        })?;
        for (path, why) in &log.files.strange {
            findings.strange(path, why);
        }
        for missing in log.missing() {
            let (first, last) = (missing.start(), missing.end());
            let which = match first == last {
                true => format!("segment {first} is not there"),
                false => format!("segments {first} to {last} are not there"),
            };
            findings.note(format!("{}: {which}: used up, or lost", log.folder));
        }
    }
    for entry in kept(&mut disk).map_err(failed)? {
        match entry.segment {
            Some((id, Ok(mut look))) => findings.segment(&mut disk, id, &entry.path, &mut look),
            Some((_, Err(why))) => findings.damage(0, format!("{} {why}", entry.path)),
            None => findings.note(format!("{}: what is left of a damaged body", entry.path)),
        }
    }
    let mut text = findings.lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    let Findings {
        bodies,
        rows,
        rows_damaged,
        is_damaged,
        ..
    } = findings;
    let _ = match is_damaged {
        true => writeln!(
            text,
            "damage was found: {rows_damaged} rows are lost; {bodies} bodies with {rows} rows are sound"
        ),
        false => writeln!(text, "sound: {bodies} bodies with {rows} rows wait"),
    };
    print(&text)?;
    Ok(ExitCode::from(u8::from(is_damaged)))
}
