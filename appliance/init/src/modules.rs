//! Loads the kernel's modules, in the order of the list that the build has made; after that no
//! module is loaded until the next boot.
//!
//! The list is for every machine that the image may run on. A line may say which machines a module is
//! for; most of the others find nothing to drive, and refuse.
//!
//! ```text
//! virtio_blk.ko
//! mlx5_core.ko # for: microsoft pci:15b3      a vendor of machines, or of a device on the PCI bus
//! ahci.ko # needs: libahci.ko libata.ko       before it; they stand above it
//! ```
//!
//! Checking a signature takes a processor longer than anything else here, and some modules wait for
//! their device, so two threads load, and a module waits for those that it needs. What fails is tried
//! once more, by one thread: an emulated processor that has miscounted one signature may get it right
//! the second time.

use crate::sysctl;
use rustix::io::Errno;
use rustix::system::finit_module;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// Threads that load.
const THREADS: usize = 2;

/// How modules say that they have nothing to do here; PERM is that of a few.
const NOT_HERE: [Errno; 4] = [Errno::NODEV, Errno::NXIO, Errno::OPNOTSUPP, Errno::PERM];

/// What became of the list.
#[derive(Debug, Default)]
pub struct Report {
    /// Those in the kernel now.
    pub loaded: usize,
    /// Those that do not apply to this machine, as the list or they themselves say.
    pub not_for_us: Vec<String>,
    /// Those that failed, and why.
    pub failed: Vec<(String, io::Error)>,
}

/// Loads all of a list from a folder that are for this machine.
#[must_use]
pub fn load(list: &str, folder: &Path, machine: &Machine) -> Report {
    let mut report = Report::default();
    let (ours, others): (Vec<_>, Vec<_>) = lines(list).partition(|line| machine.wants(line.words));
    report
        .not_for_us
        .extend(others.iter().map(|line| line.name.to_owned()));
    let mut again = Vec::new();
    let by_threads = load_by_threads(&ours, &|name| load_one(&folder.join(name)));
    for (name, ended) in by_threads {
        match ended {
            Err(error) if !is(&error, &NOT_HERE) => again.push(name),
            ended => report.add(name, ended),
        }
    }
    // in the order of the list
    again.sort_by_key(|name| ours.iter().position(|line| line.name == *name));
    for name in again {
        report.add(name, load_one(&folder.join(name)));
    }
    report
}

impl Report {
    fn add(&mut self, name: &str, ended: io::Result<()>) {
        match ended {
            Ok(()) => self.loaded += 1,
            Err(error) if is(&error, &[Errno::EXIST]) => self.loaded += 1,
            Err(error) if is(&error, &NOT_HERE) || is(&error, &[Errno::NOENT]) => {
                // the second time: what it needs is not for this machine either
                self.not_for_us.push(name.to_owned());
            }
            Err(error) => self.failed.push((name.to_owned(), error)),
        }
    }
}

fn is(error: &io::Error, which: &[Errno]) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| which.contains(&errno))
}

type Load<'l> = &'l (dyn Fn(&str) -> io::Result<()> + Sync);

fn load_by_threads<'l>(lines: &[Line<'l>], load: Load<'_>) -> Vec<(&'l str, io::Result<()>)> {
    let next = AtomicUsize::new(0);
    let ended = Ended::default();
    let load_some = || {
        let indices = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let mine = indices.map_while(|index| Some((index, lines.get(index)?)));
        mine.map(|(index, line)| {
            // only those above: each of them is loaded already, or a thread is at it
            let above = lines[..index].iter().map(|line| line.name);
            ended.wait_for(above.filter(|name| line.needs(name)).collect());
            let result = load(line.name);
            ended.add(line.name);
            (line.name, result)
        })
        .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS)
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, load_some).ok())
            .collect();
        let mut all = load_some();
        let others = others.into_iter().filter_map(|thread| thread.join().ok());
        all.extend(others.flatten());
        all
    })
}

/// Which modules have been tried, for the threads that wait for them.
#[derive(Default)]
struct Ended<'l> {
    names: Mutex<BTreeSet<&'l str>>,
    changed: Condvar,
}

impl<'l> Ended<'l> {
    fn add(&self, name: &'l str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name);
        self.changed.notify_all();
    }

    fn wait_for(&self, needed: Vec<&str>) {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missing =
            |names: &mut BTreeSet<&str>| !needed.iter().all(|name| names.contains(name));
        let waited = self.changed.wait_while(names, is_missing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

fn load_one(path: &Path) -> io::Result<()> {
    // a file that is missing is no module that needs another
    let file = File::open(path).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(finit_module(&file, c"", 0)?)
}

/// No more modules until the next boot.
///
/// # Errors
/// It is not so.
pub fn close() -> Result<(), sysctl::Difference> {
    sysctl::apply_one("kernel.modules_disabled", "1")
}

/// Removes the files, which are in memory, as the whole root is.
pub fn forget(folder: &Path) {
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        // one that stays costs memory and nothing else
        let _ = fs::remove_file(file.path());
    }
}

/// A line of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line<'l> {
    name: &'l str,
    /// Of machines that it is for; empty for all.
    words: &'l str,
    /// Names of modules that must be there before it.
    needs: &'l str,
}

impl Line<'_> {
    fn needs(&self, name: &str) -> bool {
        self.needs.split_whitespace().any(|other| other == name)
    }
}

/// One module a line; `#` begins a comment.
fn lines(list: &str) -> impl Iterator<Item = Line<'_>> {
    let lines = list.lines().map(|line| {
        let mut parts = line.split('#').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let part = |word| parts.clone().find_map(|part| part.strip_prefix(word));
        let (words, needs) = (part("for:"), part("needs:"));
        Line {
            name,
            words: words.unwrap_or_default(),
            needs: needs.unwrap_or_default(),
        }
    });
    lines.filter(|line| !line.name.is_empty())
}

/// By what a list tells machines apart.
#[derive(Debug, Default)]
pub struct Machine {
    /// Who made it, in small letters.
    vendor: String,
    /// Vendors of its devices, as four hexadecimal digits.
    pci: BTreeSet<String>,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let vendor = read(Path::new("/sys/class/dmi/id/sys_vendor"));
        let devices = fs::read_dir("/sys/bus/pci/devices").into_iter().flatten();
        let vendors = devices
            .flatten()
            .map(|device| read(&device.path().join("vendor")));
        Machine {
            vendor: vendor.trim().to_ascii_lowercase(),
            pci: vendors
                .map(|id| id.trim().trim_start_matches("0x").to_owned())
                .collect(),
        }
    }

    fn wants(&self, words: &str) -> bool {
        let mut words = words.split_whitespace().peekable();
        words.peek().is_none()
            || words.any(|word| match word.strip_prefix("pci:") {
                Some(id) => self.pci.contains(id),
                None => self.vendor.starts_with(word),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_name_a_line_and_comments() {
        let list = "# storage\nvirtio_blk.ko\n\n  nvme.ko # built in on some\n#x.ko\nmana.ko # for: a b\n\
            sr_mod.ko # needs: cdrom.ko scsi_mod.ko\nmlx.ko # for: c # needs: d.ko";
        let lines: Vec<_> = lines(list)
            .map(|line| (line.name, line.words.trim(), line.needs.trim()))
            .collect();
        assert_eq!(
            lines,
            [
                ("virtio_blk.ko", "", ""),
                ("nvme.ko", "", ""),
                ("mana.ko", "a b", ""),
                ("sr_mod.ko", "", "cdrom.ko scsi_mod.ko"),
                ("mlx.ko", "c", "d.ko"),
            ]
        );
    }

    #[test]
    fn a_module_is_loaded_after_those_that_it_needs() {
        // `slow` is still being loaded when the second thread comes to `quick`
        let list = "slow\nquick # needs: slow below absent\nother\nlast # needs: quick\nbelow";
        let lines: Vec<_> = lines(list).collect();
        let events = Mutex::new(Vec::new());
        let event = |what: &str, name: &str| events.lock().unwrap().push(format!("{what} {name}"));
        let load = |name: &str| {
            event("begin", name);
            if name == "slow" {
                thread::sleep(std::time::Duration::from_millis(50));
            }
            event("end", name);
            Ok(())
        };
        assert_eq!(load_by_threads(&lines, &load).len(), 5);
        let events = events.lock().unwrap();
        let place = |event: &str| events.iter().position(|other| other == event).unwrap();
        assert!(place("end slow") < place("begin quick"), "{events:?}");
        assert!(place("end quick") < place("begin last"), "{events:?}");
    }

    #[test]
    fn a_module_is_for_a_machine_if_any_of_its_words_is() {
        let machine = Machine {
            vendor: "microsoft corporation".into(),
            pci: ["15b3".into()].into(),
        };
        for (words, wants) in [
            ("", true),
            ("microsoft", true),
            ("vmware", false),
            ("vmware pci:15b3", true),
            ("pci:1af4", false),
        ] {
            assert_eq!(machine.wants(words), wants, "{words}");
        }
    }

    #[test]
    fn a_module_that_is_missing_is_told_and_the_others_are_tried() {
        let folder = tempfile::tempdir().unwrap();
        let report = load(
            "a.ko\nb.ko\nc.ko # for: nobody",
            folder.path(),
            &Machine::default(),
        );
        assert_eq!((report.loaded, report.not_for_us), (0, vec!["c.ko".into()]));
        let mut failed: Vec<_> = report
            .failed
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        failed.sort_unstable();
        assert_eq!(failed, ["a.ko", "b.ko"]);
    }
}
