//! The disk of a running program: a folder of the file system.

use super::disk::Disk;
use nix::fcntl::{FallocateFlags, fallocate};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Rows are evidence: nobody but our user reads them.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A folder of the file system.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    is_read_only: bool,
}

impl Folder {
    /// Uses `root`, which must exist.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Folder {
            root: root.to_path_buf(),
            is_read_only: false,
        }
    }

    /// The same for looking only.
    #[must_use]
    pub fn read_only(root: &Path) -> Self {
        Folder {
            root: root.to_path_buf(),
            is_read_only: true,
        }
    }

    /// Makes `root` and the folders above it that are missing, and syncs their names.
    ///
    /// # Errors
    /// The system's.
    pub fn create(root: &Path) -> io::Result<Self> {
        // the empty path above a relative one is where we are
        let here = Path::new(".");
        let missing: Vec<&Path> = root
            .ancestors()
            .take_while(|folder| *folder != Path::new("") && !folder.exists())
            .collect();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(root)?;
        for folder in missing {
            if let Some(parent) = folder.parent() {
                let parent = match parent == Path::new("") {
                    true => here,
                    false => parent,
                };
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Folder::new(root))
    }

    /// Moves a file to another folder, and makes sure of it.
    ///
    /// # Errors
    /// The system's; it is in one of the two places then.
    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        for path in [to, from] {
            if let Some((folder, _)) = path.split_once('/') {
                self.sync_folder(folder)?;
            }
        }
        Ok(())
    }

    fn names(&self, folder: &Path, want_folders: bool) -> io::Result<Vec<(String, u64)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let about = match entry.metadata() {
                // another keeper has just removed it
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                about => about?,
            };
            let is_wanted = if want_folders {
                about.is_dir()
            } else {
                about.is_file()
            };
            // a name of ours is ASCII
            if let (true, Some(name)) = (is_wanted, entry.file_name().to_str()) {
                names.push((name.to_owned(), about.len()));
            }
        }
        names.sort();
        Ok(names)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(OsStr::new(path))
    }
}

impl Disk for Folder {
    type File = File;

    fn folders(&mut self) -> io::Result<Vec<String>> {
        let names = self.names(&self.root, true)?;
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    fn files(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.names(&self.path(folder), false)
    }

    fn create_folder(&mut self, folder: &str) -> io::Result<()> {
        fs::DirBuilder::new()
            .mode(FOLDER_MODE)
            .create(self.path(folder))?;
        let synced = File::open(&self.root).and_then(|root| root.sync_all());
        if synced.is_err() {
            // another try is made under another name
            let _ = fs::remove_dir(self.path(folder));
        }
        synced
    }

    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        fs::remove_dir(self.path(folder))
    }

    fn create(&mut self, path: &str, bytes: u64) -> io::Result<File> {
        let full = self.path(path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&full)?;
        let length = i64::try_from(bytes).map_err(io::Error::other)?;
        if let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, length) {
            // a file system that cannot promise space gets a file of that length
            let made = match error {
                nix::Error::EOPNOTSUPP | nix::Error::ENOSYS => file.set_len(bytes),
                error => Err(error.into()),
            };
            if let Err(error) = made {
                let _ = fs::remove_file(&full);
                return Err(error);
            }
        }
        Ok(file)
    }

    fn open(&mut self, path: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(!self.is_read_only)
            .open(self.path(path))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.path(path)) {
            // its name has not survived a failure of the disk, or somebody was quicker
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn write(&mut self, file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn read(&mut self, file: &mut File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync(&mut self, file: &mut File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    fn shorten(&mut self, file: &mut File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    fn length(&mut self, file: &mut File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn space(&mut self) -> io::Result<(u64, u64)> {
        let about = nix::sys::statvfs::statvfs(&self.root)?;
        let unit = about.fragment_size();
        // a file system may say anything
        let bytes = |blocks: u64| blocks.saturating_mul(unit);
        Ok((bytes(about.blocks_available()), bytes(about.blocks())))
    }
}
