//! `cefline spool`: what is in a spool, whether it is sound, its rows, and back with the rows in
//! quarantine.

mod export;
mod list;
mod verify;

pub use export::ExportArgs;
pub use list::ListArgs;
pub use verify::VerifyArgs;

use super::Failure;
use super::config::print;
use crate::clock::Clock;
use crate::config::{DestinationId, SENTINEL_NAME};
use crate::spool::disk::Disk;
use crate::spool::files::Folder;
use crate::spool::inspect::{LogFiles, kept, logs};
use crate::spool::log::Log;
use crate::spool::{Lock, is_spool};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Look into a spool, or put rows in quarantine back into it.
///
/// DIR is the folder that the configuration names as spool.directory, of a cefline that is stopped,
/// or a copy of it. list, verify and export change nothing and work on read-only media.
#[derive(Debug, clap::Args)]
pub struct SpoolArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Verify(VerifyArgs),
    Export(ExportArgs),
    Requeue(RequeueArgs),
}

/// Put the rows in quarantine back, to be sent by the next run.
///
/// Each becomes a log of its own. If the service refuses them again, they go back into quarantine.
/// Needs a spool that no cefline uses.
///
/// Exit code 0, 1 if an entry could not be put back, 2 if DIR is no spool or is in use.
#[derive(Debug, clap::Args)]
pub struct RequeueArgs {
    /// The spool
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// What a destination is called where no configuration tells its name.
fn name_of(destination: DestinationId) -> String {
    match destination {
        DestinationId::SENTINEL => SENTINEL_NAME.to_owned(),
        other => format!("{:016x}", other.to_bits()),
    }
}

/// The destination that is called so: by its name, or as [`name_of`] calls it.
fn destination_called(text: &str) -> DestinationId {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
    bits.map_or_else(|| DestinationId::of(text), DestinationId::from_bits)
}

/// Runs the command.
///
/// # Errors
/// The folder is no spool (2), is in use (2), or cannot be read (1).
pub fn run(args: &SpoolArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::List(args) => list::list(args),
        Command::Verify(args) => verify::verify(args),
        Command::Export(args) => export::export(args),
        Command::Requeue(args) => requeue(args),
    }
}

/// A spool to look at, and whether a cefline uses it.
fn open(root: &Path) -> Result<(Folder, bool), Failure> {
    check(root)?;
    let is_moving = Lock::is_taken(root);
    if is_moving {
        eprintln!(
            "cefline: a cefline uses this spool: what is shown here may have changed already"
        );
    }
    Ok((Folder::read_only(root), is_moving))
}

fn check(root: &Path) -> Result<(), Failure> {
    if let Err(error) = root.read_dir() {
        return Err(Failure::usage(format!("{}: {error}", root.display())));
    }
    match is_spool(root) {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "{}: no spool: there is no log, no quarantine and no lock in it; a spool is the folder \
             that spool.directory names",
            root.display()
        ))),
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::running(format!("the spool cannot be read: {error}"))
}

fn read_logs(disk: &mut Folder) -> Result<Vec<LogFiles>, Failure> {
    let unreadable = |folder: &str, error: io::Error| {
        eprintln!("cefline: {folder} cannot be listed: {error}");
    };
    logs(disk, unreadable).map_err(failed)
}

fn requeue(args: &RequeueArgs) -> Result<ExitCode, Failure> {
    let root = &args.directory;
    check(root)?;
    let _lock = Lock::take(root).map_err(|error| {
        let shown = root.display();
        Failure::usage(match error.kind() {
            io::ErrorKind::WouldBlock => {
                format!("{shown}: a running cefline uses this spool: stop it first")
            }
            _ => format!("{shown}: its lock cannot be taken: {error}"),
        })
    })?;
    let mut disk = Folder::new(root);
    let now = Clock::start().wall();
    let (mut entries, mut rows_count, mut left) = (0_u64, 0_u64, 0_u64);
    for entry in kept(&mut disk).map_err(failed)? {
        let Some((id, look)) = entry.segment else {
            continue;
        };
        let rows = match look {
            Ok(look) => look.found().rows,
            Err(why) => {
                left += 1;
                eprintln!("cefline: {} {why}: it stays", entry.path);
                continue;
            }
        };
        let folder = Log::<File>::folder_of(id, now);
        let moved = disk
            .create_folder(&folder)
            .and_then(|()| disk.rename(&entry.path, &format!("{folder}/segment-00000001")));
        match moved {
            Ok(()) => {
                entries += 1;
                rows_count += rows;
            }
            Err(error) => {
                left += 1;
                eprintln!("cefline: {} cannot be put back: {error}", entry.path);
            }
        }
    }
    let mut text = match entries {
        0 => "nothing in quarantine can be put back\n".to_owned(),
        _ => format!(
            "{entries} entries with {rows_count} rows are put back: the next run sends them\n"
        ),
    };
    if left > 0 {
        let _ = writeln!(text, "{left} entries stay in quarantine");
    }
    print(&text)?;
    Ok(ExitCode::from(u8::from(left > 0)))
}
