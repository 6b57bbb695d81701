//! Starts a program as cefline's user, with the one capability that it needs and no way to another:
//! no file can give it more, no child of it can have more.
//!
//! cefline takes more from itself once it runs (seccomp, Landlock, the capability); that is its own
//! business, since it knows which of its threads needs what.

use crate::mounts::CEFLINE;
use crate::stop;
use rustix::io::{Errno, Result};
use rustix::process::{Resource, Rlimit, setrlimit, setsid, umask};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The program.
pub const PROGRAM: &str = "/usr/bin/cefline";
/// Descriptors: one for each connection, of which cefline allows a million at most.
const DESCRIPTORS_MOST: u64 = 1024 * 1024;
/// Rings of io_uring, one for each core.
const LOCKED_BYTES_MOST: u64 = 256 * 1024 * 1024;
/// Bytes that a pipe keeps while the console is busy.
const PIPE_BYTES: usize = 1024 * 1024;

/// A port below 1024.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// cefline, confined, with what it says going into a pipe.
///
/// # Errors
/// What the kernel says.
pub fn command(arguments: &[&str]) -> io::Result<(Command, io::PipeReader)> {
    let (reader, writer) = io::pipe()?;
    // a smaller one does too
    let _ = rustix::pipe::fcntl_setpipe_size(reader.as_fd(), PIPE_BYTES);
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    stop::let_hear(&mut command);
    #[expect(
        unsafe_code,
        reason = "there is no other way to act between fork and exec"
    )]
    // SAFETY: the child is a copy of a process with several threads, so nothing but system calls
    // may be made there: `confine` allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| confine().map_err(io::Error::from));
    }
    Ok((command, reader))
}

/// Makes this process cefline's user, for good.
fn confine() -> Result<()> {
    setsid()?;
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    limit(Resource::Nofile, DESCRIPTORS_MOST)?;
    limit(Resource::Memlock, LOCKED_BYTES_MOST)?;
    limit(Resource::Core, 0)?;

    for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        match remove_capability_from_bounding_set_unless_kept(capability) {
            // the kernel knows no more of them
            Err(Errno::INVAL) => break,
            removed => removed?,
        }
    }
    // root is nobody special from here on, and changing the user neither takes nor gives
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED;
    set_capabilities_secure_bits(bits)?;

    let user = rustix::process::Uid::from_raw(CEFLINE);
    let group = rustix::process::Gid::from_raw(CEFLINE);
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;

    // to have the last word on the secure bits
    hold(KEPT | CapabilitySet::SETPCAP)?;
    configure_capability_in_ambient_set(KEPT, true)?;
    let bits = bits
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits)?;
    hold(KEPT)?;
    set_no_new_privs(true)
}

fn limit(resource: Resource, most: u64) -> Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit)
}

fn remove_capability_from_bounding_set_unless_kept(capability: CapabilitySet) -> Result<()> {
    if capability == KEPT {
        return Ok(());
    }
    remove_capability_from_bounding_set(capability)
}

fn hold(held: CapabilitySet) -> Result<()> {
    let sets = CapabilitySets {
        effective: held,
        permitted: held,
        inheritable: KEPT,
    };
    set_capabilities(None, sets)
}
