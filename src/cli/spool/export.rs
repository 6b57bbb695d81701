//! `cefline spool export`: the rows of a spool.

use super::{Failure, destination_called, failed, open, read_logs};
use crate::config::DestinationId;
use crate::spool::files::Folder;
use crate::spool::format::LogId;
use crate::spool::inspect::{kept, read, rows};
use crate::spool::scan::Look;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the rows of a spool, one JSON object a line.
///
/// Rows of the bodies that wait, oldest first. What cannot be read is left out, and told on standard
/// error.
///
/// Exit code 0, 1 if something could not be read, 2 if DIR is no spool.
///
/// Example: cefline spool export /var/lib/cefline/spool | jq -r .DeviceVendor | sort | uniq -c
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The spool
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,

    /// The rows in quarantine instead
    #[arg(long)]
    pub quarantine: bool,

    /// Also rows that are done with and still legible
    #[arg(long, conflicts_with = "quarantine")]
    pub settled: bool,

    /// Only rows for this destination: its name, or what `cefline spool list` calls it
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
}

/// Why an export ends before its end.
enum Ended {
    Output(io::Error),
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Ended::Failed(failure)
    }
}

/// Rows on their way to standard output.
struct Export<W> {
    output: W,
    with_settled: bool,
    /// Nothing for all.
    only: Option<DestinationId>,
    unread: u64,
}

impl<W: Write> Export<W> {
    fn segment(
        &mut self,
        disk: &mut Folder,
        id: LogId,
        path: &str,
        look: &mut Look<File>,
    ) -> Result<(), Ended> {
        for index in 0..look.records.len() {
            let Some(seen) = look.records.get(index) else {
                continue;
            };
            let (block, is_settled) = (seen.block, seen.is_settled);
            let is_asked = self.only.is_none_or(|only| only == seen.head.destination);
            if is_settled && !self.with_settled || !is_asked {
                continue;
            }
            match read(disk, look, id, index) {
                Ok((body, raw)) => {
                    for row in rows(&body, &raw) {
                        let written = self.output.write_all(row);
                        let written = written.and_then(|()| self.output.write_all(b"\n"));
                        written.map_err(Ended::Output)?;
                    }
                }
                // one that is done with may have been written over
                Err(_) if is_settled => {}
                Err(fault) => {
                    self.unread += 1;
                    eprintln!("cefline: {path}: the body at block {block} {fault}");
                }
            }
        }
        Ok(())
    }

    fn all(&mut self, disk: &mut Folder) -> Result<(), Ended> {
        for log in read_logs(disk)? {
            log.each(disk, |disk, known, look| match look {
                Ok(mut look) => self.segment(disk, log.id, &known.path, &mut look),
                Err(why) => {
                    self.unread += 1;
                    eprintln!("cefline: {} {why}", known.path);
                    Ok(())
                }
            })?;
        }
        Ok(())
    }

    fn quarantine(&mut self, disk: &mut Folder) -> Result<(), Ended> {
        for entry in kept(disk).map_err(failed)? {
            match entry.segment {
                Some((id, Ok(mut look))) => self.segment(disk, id, &entry.path, &mut look)?,
                Some((_, Err(why))) => {
                    self.unread += 1;
                    eprintln!("cefline: {} {why}", entry.path);
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Runs the command.
pub(super) fn export(args: &ExportArgs) -> Result<ExitCode, Failure> {
    let (mut disk, _) = open(&args.directory)?;
    let mut export = Export {
        output: BufWriter::new(io::stdout().lock()),
        with_settled: args.settled,
        only: args.destination.as_deref().map(destination_called),
        unread: 0,
    };
    let done = match args.quarantine {
        true => export.quarantine(&mut disk),
        false => export.all(&mut disk),
    };
    match done.and_then(|()| export.output.flush().map_err(Ended::Output)) {
        // whoever reads our output has enough of it
        Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(Ended::Output(error)) => Err(Failure::running(format!(
            "cannot write to standard output: {error}"
        ))),
        Err(Ended::Failed(failure)) => Err(failure),
        Ok(()) => Ok(ExitCode::from(u8::from(export.unread > 0))),
    }
}
