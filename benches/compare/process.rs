//! A program with all of its children: started on cores of its own, watched in `/proc`, and ended.

use crate::Result;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Linux counts processor time in hundredths of a second, on every machine.
const TICKS_A_SECOND: f64 = 100.0;

/// A program that runs; it ends with this value.
pub(crate) struct Program {
    child: Child,
}

/// What it has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    /// Resident now, and at most so far.
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
}

impl Program {
    /// Starts a command on these cores, as `taskset` writes them; what it says goes to a file.
    pub(crate) fn start(command: &Command, cores: &str, log: &Path) -> Result<Program> {
        let log = fs::File::create(log)?;
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", cores]).arg(command.get_program());
        pinned.args(command.get_args());
        for (name, value) in command.get_envs() {
            pinned.env(name, value.unwrap_or_default());
        }
        let child = pinned
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        Ok(Program { child })
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Of it and its children.
    pub(crate) fn usage(&self) -> Usage {
        let group = self.child.id().to_string();
        let mut usage = Usage::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            // the name in brackets may hold anything
            let behind_name = stat.rsplit(')').next().unwrap_or_default();
            let fields: Vec<&str> = behind_name.split_whitespace().collect();
            if fields.get(2) != Some(&group.as_str()) {
                continue;
            }
            // its own, and that of children that have ended
            let ticks = fields.iter().skip(11).take(4);
            let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
            usage.cpu_seconds += ticks / TICKS_A_SECOND;
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let kib = |name: &str| -> u64 {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
                number.unwrap_or(0)
            };
            usage.resident_kib += kib("VmRSS:");
            usage.peak_kib += kib("VmHWM:");
        }
        usage
    }

    fn signal(&self, name: &str) {
        let _ = Command::new("kill")
            .args([name, "--", &format!("-{}", self.child.id())])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal("-TERM");
        for _ in 0..200 {
            if !self.is_running() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
        self.signal("-KILL");
        let _ = self.child.wait();
    }
}
