//! Whether this process may do what a power cut needs, and what it lacks.

use crate::skip::skipped;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use std::fs::{self, OpenOptions};
use std::process::{Command, Stdio};

/// Gives this thread, and the threads and processes that it starts, mounts of their own, which end
/// with the last of them whatever ends it. Without the rights it says so, and the test is over.
pub(crate) fn has_own_mounts() -> bool {
    let lacking = lacking();
    if let Err(what) = &lacking {
        skipped(format_args!("a power cut {what}"));
    }
    lacking.is_ok()
}

fn lacking() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("needs root, for mounts and loop devices".to_owned());
    }
    // the root of a user namespace may not mount an ext4
    let ids = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if ids.split_whitespace().ne(["0", "0", "4294967295"]) {
        return Err("needs the root of the machine, not that of a user namespace".to_owned());
    }
    for path in ["/dev/fuse", "/dev/loop-control"] {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        opened.map_err(|error| format!("needs {path}: {error}"))?;
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    for name in ["fuse", "ext4"] {
        if !known.split_whitespace().any(|word| word == name) {
            return Err(format!(
                "needs the file system {name}, which the kernel lacks or has not loaded (modprobe {name})"
            ));
        }
    }
    for program in ["mount", "losetup", "mkfs.ext4", "e2fsck"] {
        let tried = Command::new(program)
            .arg("-V")
            .stdin(Stdio::null())
            .output();
        tried.map_err(|error| format!("needs the program {program}: {error}"))?;
    }
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|errno| format!("needs the right to mount: {errno}"))?;
    let privately = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, privately, None::<&str>)
        .map_err(|errno| format!("needs the right to mount: {errno}"))?;
    let device =
        run("losetup", &["--find"]).map_err(|why| format!("needs a loop device: {why}"))?;
    let opened = OpenOptions::new().read(true).write(true).open(&device);
    opened.map_err(|error| format!("needs a loop device: {device}: {error}"))?;
    Ok(())
}

/// Runs a program of the system's to its end; what it has printed, all of it if it failed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let stdout = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(stdout.trim().to_owned());
    }
    let stderr = String::from_utf8(output.stderr).map_err(|error| error.to_string())?;
    Err(format!(
        "{program} {arguments:?}: {}\n{stdout}{stderr}",
        output.status
    ))
}
