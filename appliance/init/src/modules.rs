//! Loads the kernel's modules, in the order of the list that the build has made; after that no
//! module is loaded until the next boot.
//!
//! The list is for every machine that the image may run on, so most modules find nothing to drive.

use crate::sysctl;
use rustix::io::Errno;
use rustix::system::finit_module;
use std::fs::File;
use std::io;
use std::path::Path;

/// What became of the list.
#[derive(Debug, Default)]
pub struct Report {
    /// Those in the kernel now.
    pub loaded: usize,
    /// Those that say themselves that they do not apply to this machine.
    pub not_for_us: Vec<String>,
    /// Those that failed, and why.
    pub failed: Vec<(String, io::Error)>,
}

/// Loads all of a list from a folder.
#[must_use]
pub fn load(list: &str, folder: &Path) -> Report {
    let mut report = Report::default();
    for name in names(list) {
        let loaded = File::open(folder.join(name))
            .and_then(|file| finit_module(&file, c"", 0).map_err(io::Error::from));
        match loaded.map_err(|error| (Errno::from_io_error(&error), error)) {
            Ok(()) | Err((Some(Errno::EXIST), _)) => report.loaded += 1,
            Err((Some(Errno::NODEV | Errno::NXIO | Errno::OPNOTSUPP), _)) => {
                report.not_for_us.push(name.to_owned());
            }
            Err((_, error)) => report.failed.push((name.to_owned(), error)),
        }
    }
    report
}

/// No more modules until the next boot.
///
/// # Errors
/// It is not so.
pub fn close() -> Result<(), sysctl::Difference> {
    sysctl::apply_one("kernel.modules_disabled", "1")
}

/// Names of files, one a line; `#` begins a comment.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_name_a_line_and_comments() {
        let list = "# storage\nvirtio_blk.ko\n\n  nvme.ko # built in on some\n#x.ko";
        let names: Vec<&str> = names(list).collect();
        assert_eq!(names, ["virtio_blk.ko", "nvme.ko"]);
    }

    #[test]
    fn a_module_that_is_missing_is_told_and_the_others_are_tried() {
        let folder = tempfile::tempdir().unwrap();
        let report = load("a.ko\nb.ko", folder.path());
        assert_eq!(report.loaded, 0);
        let failed: Vec<_> = report
            .failed
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(failed, ["a.ko", "b.ko"]);
    }
}
