//! Capabilities, and the ways to gain some.
//!
//! Root without capabilities may still do what the owner of a file may, and no more: so files of
//! other users, which root reads by CAP_DAC_OVERRIDE, are looked at before it goes. Whoever needs it
//! keeps it, and the log says for which file.

use super::Standing;
use super::plan::Plan;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How deep the folders of a spool are.
const SPOOL_DEPTH: usize = 2;

/// Keeps what opens ports, and what root needs for files of others.
pub(super) fn reduce(plan: &Plan) -> Standing {
    let now = capabilities(None).map_err(|error| error.to_string())?;
    forgo_gains();
    let override_ = CapabilitySet::DAC_OVERRIDE;
    let port = CapabilitySet::NET_BIND_SERVICE;
    // what root has by it must not count for the look
    keep(now.permitted & (port | override_), now.permitted & port)?;
    let stays = match foreign_file(plan) {
        Some(_) => port | override_,
        None => port,
    };
    keep(now.permitted & stays, now.permitted & stays)
}

/// Keeps nothing, but for what root still needs.
pub(super) fn drop_all(plan: &Plan) -> Standing {
    let now = capabilities(None).map_err(|error| error.to_string())?;
    let stays = now.permitted & CapabilitySet::DAC_OVERRIDE;
    // what root has by it must not count for the look
    keep(stays, CapabilitySet::empty())?;
    let foreign = foreign_file(plan).filter(|_| !stays.is_empty());
    let Some(file) = foreign else {
        return keep(CapabilitySet::empty(), CapabilitySet::empty());
    };
    keep(stays, stays)?;
    Err(format!(
        "{} cannot be used without CAP_DAC_OVERRIDE, which is kept for it: give it to the user that \
         runs cefline",
        file.display()
    ))
}

/// Keeps nothing.
pub(super) fn forgo_all() -> Standing {
    forgo_gains();
    keep(CapabilitySet::empty(), CapabilitySet::empty())
}

/// No program that is started gives rights, by whatever stands on its file.
pub(super) fn forgo_new() -> Standing {
    set_no_new_privs(true).map_err(|error| error.to_string())
}

/// What a program that is started could gain or inherit.
fn forgo_gains() {
    // older kernels have none
    let _ = clear_ambient_capability_set();
    for (_, one) in CapabilitySet::all().iter_names() {
        // whoever may not do this has no rights that it could give
        let _ = remove_capability_from_bounding_set(one);
    }
}

fn keep(permitted: CapabilitySet, effective: CapabilitySet) -> Standing {
    let sets = CapabilitySets {
        permitted,
        effective,
        inheritable: CapabilitySet::empty(),
    };
    match set_capabilities(None, sets) {
        // where the call is refused there may be none to give up
        Err(_) if capabilities(None).is_ok_and(|now| now == sets) => Ok(()),
        set => set.map_err(|error| error.to_string()),
    }
}

/// A file of the plan that this thread, as it is now, can see and not use.
fn foreign_file(plan: &Plan) -> Option<PathBuf> {
    let unreadable = |path: &&PathBuf| {
        let opened = File::open(path);
        opened.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    let named = plan.named.iter().find(unreadable).cloned();
    named.or_else(|| {
        let written = plan.written()?;
        let is_there = plan.spool.as_deref() == Some(written);
        foreign_below(written, if is_there { SPOOL_DEPTH } else { 0 })
    })
}

/// A folder of another user, or a file that cannot be written.
fn foreign_below(path: &Path, depth: usize) -> Option<PathBuf> {
    let about = fs::metadata(path).ok()?;
    let is_usable = match about.is_dir() {
        true => about.uid() == nix::unistd::geteuid().as_raw(),
        false => OpenOptions::new().read(true).write(true).open(path).is_ok(),
    };
    if !is_usable {
        return Some(path.to_owned());
    }
    let entries = fs::read_dir(path).ok().filter(|_| depth > 0)?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find_map(|path| foreign_below(&path, depth - 1))
}
