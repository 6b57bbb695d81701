//! Runs a program of the system's and reads what it prints, for a bounded time.

use crate::limits::{CHECK_OUTPUT_BYTES_MAX, CHECK_PROGRAM_TIME};
use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;

/// Why there is no output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoOutput {
    /// The program is not on this machine.
    NotThere,
    /// It could not be run, failed or took too long: in its own words, if it has said any.
    Failed(String),
}

/// Where users' paths often do not lead.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Variables of the environment that programs get: where other programs are, and the system's bus.
const PASSED_ON: [&str; 2] = ["PATH", "DBUS_SYSTEM_BUS_ADDRESS"];

/// The file of a program.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// What a program prints.
///
/// # Errors
/// [`NoOutput`].
pub fn output(name: &str, arguments: &[&str]) -> Result<String, NoOutput> {
    let failed = |why: String| NoOutput::Failed(why);
    let file = find(name).ok_or(NoOutput::NotThere)?;
    let mut child = Command::new(file)
        .args(arguments.iter().map(OsStr::new))
        // ours may hold a secret (`secret_env`), and a process's environment can be read
        .env_clear()
        .envs(
            PASSED_ON
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("its output cannot be read".into()));
    };
    let (done, ended) = sync_channel(1);
    // reads until the streams end, which killing it brings about
    thread::spawn(move || {
        let errors = thread::spawn(move || read(err));
        let text = read(out);
        // nobody waits any more
        let _ = done.send((text, errors.join().unwrap_or_default()));
    });
    let Ok((text, errors)) = ended.recv_timeout(CHECK_PROGRAM_TIME) else {
        // it may have ended by itself in this very moment
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed("it did not end in time".into()));
    };
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(text);
    }
    let first = errors.lines().next().unwrap_or_default().trim();
    match first {
        "" => Err(failed(status.to_string())),
        words => Err(failed(crate::log::safe_text(words))),
    }
}

fn read(from: impl Read) -> String {
    let mut bytes = Vec::new();
    // what could be read is what there is
    let _ = from
        .take(CHECK_OUTPUT_BYTES_MAX as u64)
        .read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_complaints_are_told_apart() {
        assert_eq!(output("sh", &["-c", "echo yes"]), Ok("yes\n".into()));
        assert_eq!(output("no-such-program-here", &[]), Err(NoOutput::NotThere));
        assert_eq!(
            output("sh", &["-c", "echo no right >&2; exit 1"]),
            Err(NoOutput::Failed("no right".into()))
        );
        assert!(matches!(
            output("sh", &["-c", "exit 3"]),
            Err(NoOutput::Failed(_))
        ));
    }
}
