//! A disk in memory that loses what a real one may lose: for tests and for the simulator.
//!
//! After a power cut ([`RamDisk::after_power_cut`]) a file holds what was synced, and of every write
//! since then any of its sectors of 512 bytes, or none; its length may be the one before; a name that
//! was made or removed since its folder was last synced is there, or is not. After a crash of the process alone
//! ([`RamDisk::after_kill`]) everything written is there.
//!
//! A sync that fails loses what was written since the last one, as Linux does: the file shows it
//! until the power goes, and no later sync brings it to the disk.
//!
//! A copy of a disk is cheap: files are shared until one of the copies changes them.

use super::disk::Disk;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// No file can be made: no space.
    pub is_full: bool,
    /// Nothing can be written, made or removed (EROFS).
    pub is_read_only: bool,
    /// Writes fail (EIO).
    pub fails_writes: bool,
    /// Syncs of files and folders fail (EIO).
    pub fails_syncs: bool,
    /// Reads fail (EIO).
    pub fails_reads: bool,
    /// Files cannot be removed (EIO).
    pub fails_removals: bool,
    /// Everything fails once so many more operations were done: the power is off.
    pub operations_left: Option<u64>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    /// What a reader sees.
    content: Arc<Vec<u8>>,
    /// What is on stable storage.
    durable: Arc<Vec<u8>>,
    /// Changed since.
    pending: Vec<Change>,
    /// Bytes that cannot be read.
    bad: Vec<Range<usize>>,
}

#[derive(Debug, Clone)]
enum Change {
    /// Bytes written at a place.
    Bytes(usize, Arc<Vec<u8>>),
    /// Another length.
    Length(usize),
}

/// A disk in memory.
#[derive(Debug, Clone, Default)]
pub struct RamDisk {
    inodes: BTreeMap<usize, Inode>,
    /// Folders; their names are durable when they are made.
    folders: Vec<String>,
    /// Paths that a reader sees...
    names: BTreeMap<String, usize>,
    /// ...and those on stable storage.
    names_durable: BTreeMap<String, usize>,
    next_inode: usize,
    operations: u64,
    /// What goes wrong.
    pub faults: Faults,
}

impl RamDisk {
    /// How many operations were done that change something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// What a power cut may lose or keep: sectors, lengths and names.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        let mut count = 0;
        let _ = self.after_power_cut(|| {
            count += 1;
            true
        });
        count
    }

    /// From now on these bytes of a file cannot be read.
    pub fn spoil(&mut self, path: &str, bytes: Range<usize>) {
        if let Some(inode) = self
            .names
            .get(path)
            .and_then(|number| self.inodes.get_mut(number))
        {
            inode.bad.push(bytes);
        }
    }

    /// The disk as the next process finds it: nothing is lost.
    #[must_use]
    pub fn after_kill(&self) -> RamDisk {
        RamDisk {
            faults: Faults::default(),
            ..self.clone()
        }
    }

    /// The disk as it is found after a power cut. `survives` says of each unsynced sector, and of
    /// each unsynced name, whether it made it.
    #[must_use]
    pub fn after_power_cut(&self, mut survives: impl FnMut() -> bool) -> RamDisk {
        let mut names = self.names_durable.clone();
        for (path, inode) in &self.names {
            if !names.contains_key(path) && survives() {
                names.insert(path.clone(), *inode);
            }
        }
        for path in self.names_durable.keys() {
            if !self.names.contains_key(path) && survives() {
                names.remove(path);
            }
        }
        let mut inodes = BTreeMap::new();
        for number in names.values() {
            let Some(inode) = self.inodes.get(number) else {
                continue;
            };
            let mut durable = Arc::clone(&inode.durable);
            for change in &inode.pending {
                match change {
                    Change::Length(length) => {
                        if survives() {
                            Arc::make_mut(&mut durable).resize(*length, 0);
                        }
                    }
                    Change::Bytes(at, bytes) => {
                        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                            if survives() {
                                let durable = Arc::make_mut(&mut durable);
                                put(durable, at + index * SECTOR_BYTES, sector);
                            }
                        }
                    }
                }
            }
            inodes.insert(
                *number,
                Inode {
                    content: Arc::clone(&durable),
                    durable,
                    pending: Vec::new(),
                    bad: inode.bad.clone(),
                },
            );
        }
        RamDisk {
            inodes,
            folders: self.folders.clone(),
            names_durable: names.clone(),
            names,
            next_inode: self.next_inode,
            operations: 0,
            faults: Faults::default(),
        }
    }

    /// All files that a reader sees, with their content.
    pub fn contents(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.names.iter().filter_map(|(path, number)| {
            let inode = self.inodes.get(number)?;
            Some((path.as_str(), inode.content.as_slice()))
        })
    }

    /// Changes a file under everybody's feet: what a reader sees, and what is on stable storage.
    pub fn tamper(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(inode) = self
            .names
            .get(path)
            .and_then(|number| self.inodes.get_mut(number))
        {
            change(Arc::make_mut(&mut inode.content));
            inode.durable = Arc::clone(&inode.content);
            inode.pending.clear();
        }
    }

    /// Puts a file there, whatever it holds: what somebody else left behind.
    pub fn plant(&mut self, path: &str, content: Vec<u8>) {
        let number = self.next_inode;
        self.next_inode += 1;
        self.names.insert(path.to_owned(), number);
        self.names_durable.insert(path.to_owned(), number);
        let content = Arc::new(content);
        self.inodes.insert(
            number,
            Inode {
                durable: Arc::clone(&content),
                content,
                ..Inode::default()
            },
        );
    }

    fn change(&mut self) -> io::Result<()> {
        self.touch()?;
        if self.faults.is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    fn touch(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.faults.operations_left {
            if *left == 0 {
                return Err(io::Error::other("the power is off"));
            }
            *left -= 1;
        }
        self.operations += 1;
        Ok(())
    }

    fn inode(&mut self, file: usize) -> io::Result<&mut Inode> {
        self.inodes
            .get_mut(&file)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    if let Some(place) = content.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

impl Disk for RamDisk {
    type File = usize;

    fn folders(&mut self) -> io::Result<Vec<String>> {
        Ok(self.folders.clone())
    }

    fn files(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for (path, number) in &self.names {
            if let Some(name) = path
                .strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/'))
            {
                let length = self
                    .inodes
                    .get(number)
                    .map_or(0, |inode| inode.content.len());
                files.push((name.to_owned(), length as u64));
            }
        }
        Ok(files)
    }

    fn create_folder(&mut self, folder: &str) -> io::Result<()> {
        self.change()?;
        self.folders.push(folder.to_owned());
        self.folders.sort();
        Ok(())
    }

    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        self.change()?;
        if !self.files(folder)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.folders.retain(|name| name != folder);
        Ok(())
    }

    fn create(&mut self, path: &str, bytes: u64) -> io::Result<usize> {
        self.change()?;
        if self.faults.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = self.next_inode;
        self.next_inode += 1;
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        self.inodes.insert(
            number,
            Inode {
                content: Arc::new(vec![0; length]),
                pending: vec![Change::Length(length)],
                ..Inode::default()
            },
        );
        self.names.insert(path.to_owned(), number);
        Ok(number)
    }

    fn open(&mut self, path: &str) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.change()?;
        if self.faults.fails_removals {
            return Err(Errno::EIO.into());
        }
        self.names.remove(path);
        Ok(())
    }

    fn write(&mut self, file: &mut usize, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.change()?;
        let fails = self.faults.fails_writes;
        let inode = self.inode(*file)?;
        let at = usize::try_from(at).map_err(io::Error::other)?;
        // a write that fails has written some of it
        let done = match fails {
            true => bytes.get(..bytes.len() / 2).unwrap_or_default(),
            false => bytes,
        };
        put(Arc::make_mut(&mut inode.content), at, done);
        let bytes = Arc::new(done.to_vec());
        inode.pending.push(Change::Bytes(at, bytes));
        match fails {
            true => Err(Errno::EIO.into()),
            false => Ok(()),
        }
    }

    fn read(&mut self, file: &mut usize, at: u64, into: &mut [u8]) -> io::Result<usize> {
        if self.faults.fails_reads || self.faults.operations_left == Some(0) {
            return Err(Errno::EIO.into());
        }
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let inode = self.inode(*file)?;
        let end = at.saturating_add(into.len());
        if inode.bad.iter().any(|bad| bad.start < end && at < bad.end) {
            return Err(Errno::EIO.into());
        }
        let there = inode.content.get(at..).unwrap_or_default();
        let count = there.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), there.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn sync(&mut self, file: &mut usize) -> io::Result<()> {
        self.change()?;
        let fails = self.faults.fails_syncs;
        let inode = self.inode(*file)?;
        let pending = std::mem::take(&mut inode.pending);
        if fails {
            return Err(Errno::EIO.into());
        }
        let durable = Arc::make_mut(&mut inode.durable);
        for change in pending {
            match change {
                Change::Length(length) => durable.resize(length, 0),
                Change::Bytes(at, bytes) => put(durable, at, &bytes),
            }
        }
        Ok(())
    }

    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        self.change()?;
        if self.faults.fails_syncs {
            return Err(Errno::EIO.into());
        }
        let is_in = |path: &String| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        self.names_durable.retain(|path, _| !is_in(path));
        for (path, number) in &self.names {
            if is_in(path) {
                self.names_durable.insert(path.clone(), *number);
            }
        }
        Ok(())
    }

    fn shorten(&mut self, file: &mut usize, bytes: u64) -> io::Result<()> {
        self.change()?;
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        let inode = self.inode(*file)?;
        Arc::make_mut(&mut inode.content).resize(length, 0);
        inode.pending.push(Change::Length(length));
        Ok(())
    }

    fn length(&mut self, file: &mut usize) -> io::Result<u64> {
        Ok(self.inode(*file)?.content.len() as u64)
    }

    fn space(&mut self) -> io::Result<(u64, u64)> {
        Ok((u64::MAX / 4, u64::MAX / 2))
    }
}
