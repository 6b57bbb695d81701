//! A disk whose power can be cut, with an ext4 on it.
//!
//! ```text
//! files -- ext4 -- loop device --> the file "platter" (FUSE, no cache) --> Platter
//!   journal, barriers   fsync for each flush
//! ```
//!
//! All of it ends with the last process that sees it: the mounts belong to their own space of
//! mounts (`rights`), and the loop device lets go of its file when the ext4 does.

use crate::fuse::{self, Shared};
use crate::platter::{Counts, Fate, Platter};
use crate::process::{SOON, until};
use crate::rights::run;
use fastrand::Rng;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, umount2};
use std::fs::{self, File};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// A file that takes what space there is, at first in steps of so many bytes.
const BALLAST: &str = "ballast";
const BALLAST_STEP: i64 = 64 << 20;

/// A file system on a disk on a file of ours.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    /// Answers for the platter until it is not mounted any more.
    server: Option<JoinHandle<()>>,
    is_mounted: bool,
    /// The same before and after a cut.
    folder: Arc<TempDir>,
}

impl Disk {
    /// An empty ext4 with the power on.
    pub(crate) fn new(length: usize) -> Disk {
        Disk::made(length, &["-J", "size=4"])
    }

    /// One that has no journal to give up when a write fails.
    pub(crate) fn without_journal(length: usize) -> Disk {
        Disk::made(length, &["-O", "^has_journal"])
    }

    fn made(length: usize, journal: &[&str]) -> Disk {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        File::create(folder.path().join("platter")).unwrap();
        let mut disk = Disk::with(Platter::new(length), Arc::new(folder));
        // no work of the file system's own in the background
        let options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        let path = disk.platter_path().display().to_string();
        let arguments = ["-q", "-F", "-b", "4096", "-N", "1024"];
        let arguments = [&arguments[..], journal, &["-E", options, &path]].concat();
        run("mkfs.ext4", &arguments).unwrap();
        disk.shared.platter().flush().unwrap();
        disk.mount().unwrap();
        disk
    }

    /// A disk that is not mounted.
    fn with(platter: Platter, folder: Arc<TempDir>) -> Disk {
        let path = folder.path().join("platter");
        let shared = Shared::new(platter);
        let server = fuse::serve(&path, &shared).unwrap();
        Disk {
            shared,
            server: Some(server),
            is_mounted: false,
            folder,
        }
    }

    fn platter_path(&self) -> PathBuf {
        self.folder.path().join("platter")
    }

    /// The root folder of its file system.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Mounts the ext4 through a loop device that lets go of the platter when the mount ends.
    fn mount(&mut self) -> Result<(), String> {
        let [path, root] =
            [self.platter_path(), self.root()].map(|path| path.display().to_string());
        run("mount", &["-t", "ext4", "-o", "loop", &path, &root])?;
        self.is_mounted = true;
        Ok(())
    }

    /// Writes and flushes that have reached the platter.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.platter().counts()
    }

    /// From now on flushes are answered, and nothing is flushed.
    pub(crate) fn lie(&self) {
        self.shared.platter().lie();
    }

    /// From now on writes and flushes fail.
    pub(crate) fn fail(&mut self) {
        self.shared.platter().fail(true);
    }

    /// They succeed again.
    pub(crate) fn heal(&mut self) {
        self.shared.platter().fail(false);
    }

    /// Takes all space that is left.
    pub(crate) fn fill(&mut self) {
        let file = File::create(self.root().join(BALLAST)).unwrap();
        let (mut length, mut step) = (0, BALLAST_STEP);
        while step > 0 {
            match fallocate(&file, FallocateFlags::empty(), length, step) {
                Ok(()) => length += step,
                Err(Errno::ENOSPC) => step /= 2,
                Err(errno) => panic!("the disk cannot be filled: {errno}"),
            }
        }
    }

    /// Gives it back.
    pub(crate) fn clear(&mut self) {
        fs::remove_file(self.root().join(BALLAST)).unwrap();
    }

    /// Has the file system remounted by these options; no file may be open to be written if it is
    /// to become read-only.
    pub(crate) fn remount(&mut self, options: &str) {
        let root = self.root().display().to_string();
        run("mount", &["-o", &format!("remount,{options}"), &root]).unwrap();
    }

    /// Puts a view that can be read only where the root folder is: what is open already can still
    /// be written.
    pub(crate) fn cover_read_only(&mut self) {
        let root = self.root().display().to_string();
        run("mount", &["--bind", &root, &root]).unwrap();
        run("mount", &["-o", "remount,bind,ro", &root]).unwrap();
    }

    /// Takes it away.
    pub(crate) fn uncover(&mut self) {
        unmount(&self.root()).unwrap();
    }

    /// Does what an operator does whose file system has given up: takes it away whoever uses it, and
    /// mounts it again. What is open stays as it was.
    pub(crate) fn mount_anew(&mut self) {
        umount2(&self.root(), MntFlags::MNT_DETACH).unwrap();
        let [path, root] =
            [self.platter_path(), self.root()].map(|path| path.display().to_string());
        // another device than the one that is given up, or it would be the same file system
        let device = run("losetup", &["--find", "--show", &path]).unwrap();
        run("mount", &["-t", "ext4", &device, &root]).unwrap();
        // as soon as nobody uses it
        run("losetup", &["--detach", &device]).unwrap();
    }

    /// From this instant nothing more becomes durable, and every request fails.
    pub(crate) fn cut(&self) {
        self.shared.platter().cut();
    }

    /// Cuts the power in the middle of the last of so many writes and flushes from now on.
    pub(crate) fn cut_within(&self, requests_count: u64) {
        self.shared.platter().cut_within(requests_count);
    }

    pub(crate) fn is_cut(&self) -> bool {
        !self.shared.platter().is_on()
    }

    /// Waits until the power has gone; whether it has.
    pub(crate) fn wait_cut(&self, time: Duration) -> bool {
        self.shared.wait_cut(time)
    }

    /// The disk when the power is back, its journal replayed. Nobody may use it any more. Chance
    /// decides about each write since the last flush.
    pub(crate) fn revive(self, seed: u64) -> (Disk, Fate) {
        let folder = Arc::clone(&self.folder);
        let (platter, fate) = self.into_platter().revive(&mut Rng::with_seed(seed));
        let mut disk = Disk::with(platter, folder);
        disk.mount().unwrap();
        (disk, fate)
    }

    /// The same where nothing is kept that was not flushed; why it cannot be used if it cannot.
    pub(crate) fn revive_flushed(self) -> Result<Disk, String> {
        let folder = Arc::clone(&self.folder);
        let (platter, _) = self.into_platter().revive_flushed();
        let mut disk = Disk::with(platter, folder);
        disk.mount()?;
        Ok(disk)
    }

    /// Cuts the power and takes everything down.
    fn into_platter(mut self) -> Platter {
        self.cut();
        self.take_down().unwrap();
        mem::replace(&mut *self.shared.platter(), Platter::new(0))
    }

    /// Has the file system checked, and mounts it again.
    pub(crate) fn assert_sound(&mut self) {
        self.unmount_root().unwrap();
        let path = self.platter_path().display().to_string();
        run("e2fsck", &["-f", "-n", &path]).unwrap();
        self.mount().unwrap();
    }

    fn unmount_root(&mut self) -> Result<(), Errno> {
        if mem::take(&mut self.is_mounted) {
            unmount(&self.root())?;
        }
        Ok(())
    }

    fn take_down(&mut self) -> Result<(), Errno> {
        self.unmount_root()?;
        let Some(server) = self.server.take() else {
            return Ok(());
        };
        // the loop device may still be letting go of the file: the mount ends with that
        umount2(&self.platter_path(), MntFlags::MNT_DETACH)?;
        until("the platter is left", SOON, || {
            server.is_finished().then_some(())
        });
        server.join().unwrap();
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.server.is_none() {
            return;
        }
        // nothing waits for a disk without power
        self.cut();
        if mem::take(&mut self.is_mounted) {
            let _ = umount2(&self.root(), MntFlags::MNT_DETACH);
        }
        // the server's thread ends with the mount, which may outlive us if somebody still uses it
        let _ = umount2(&self.platter_path(), MntFlags::MNT_DETACH);
    }
}

/// Unmounts what nobody should use any more, as soon as nobody does.
fn unmount(point: &Path) -> Result<(), Errno> {
    until("nobody uses a file system", SOON, || {
        match umount2(point, MntFlags::empty()) {
            Err(Errno::EBUSY) => None,
            ended => Some(ended),
        }
    })
}
