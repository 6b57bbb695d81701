//! The clock of the hypervisor, which it shows to its machines as a PTP device.
//!
//! Better than any server: no network lies between, and the host keeps it. Other PTP clocks are those
//! of network cards, which nobody has set: they are left alone.

use super::ntp::{Nanos, is_plausible, now};
use rustix::time::{DynamicClockId, clock_gettime_dynamic};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// What KVM and Hyper-V (so Azure) call theirs.
const KNOWN: [&str; 2] = ["KVM virtual PTP", "hyperv"];
/// Readings of which the quickest counts: one may be interrupted.
const READINGS: usize = 5;

/// An open clock.
#[derive(Debug)]
pub(crate) struct Clock {
    name: String,
    device: File,
}

impl Clock {
    /// The first whose name is known, and that says a time that can be.
    pub(crate) fn find(class: &Path, devices: &Path) -> Option<Self> {
        let mut entries: Vec<_> = fs::read_dir(class).ok()?.filter_map(Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        entries.into_iter().find_map(|entry| {
            let name = fs::read_to_string(entry.path().join("clock_name")).ok()?;
            let name = name.trim_end().to_owned();
            if !KNOWN.contains(&name.as_str()) {
                return None;
            }
            let device = File::open(devices.join(entry.file_name())).ok()?;
            let clock = Clock { name, device };
            clock.offset().ok()?;
            Some(clock)
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What our clock lacks.
    pub(crate) fn offset(&self) -> io::Result<Nanos> {
        let mut best: Option<(Nanos, Nanos)> = None;
        for _ in 0..READINGS {
            let before = now();
            let theirs = clock_gettime_dynamic(DynamicClockId::Dynamic(self.device.as_fd()))?;
            let after = now();
            let theirs = Nanos::from(theirs.tv_sec) * 1_000_000_000 + Nanos::from(theirs.tv_nsec);
            if !is_plausible(theirs) {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let width = after - before;
            if best.is_none_or(|(known, _)| width < known) {
                best = Some((width, theirs - (before + width / 2)));
            }
        }
        best.map(|(_, offset)| offset)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_network_cards_and_files_that_are_no_clocks_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (entry, name) in [("ptp0", "e1000e"), ("ptp1", "KVM virtual PTP")] {
            let path = folder.path().join("class").join(entry);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("clock_name"), format!("{name}\n")).unwrap();
            fs::write(folder.path().join(entry), "").unwrap();
        }
        let found = Clock::find(&folder.path().join("class"), folder.path());
        assert!(found.is_none());
        assert!(Clock::find(&folder.path().join("none"), folder.path()).is_none());
    }
}
