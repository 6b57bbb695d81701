//! The disk that all keepers of a simulated program share, with its moods.

use cefline::spool::disk::Disk;
use cefline::spool::format::{BLOCK_BYTES, HEAD_BYTES, RecordHead};
use cefline::spool::ram::RamDisk;
use fastrand::Rng;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// How often operations fail, from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mood {
    pub(crate) full: f64,
    pub(crate) read_only: f64,
    pub(crate) writes: f64,
    pub(crate) syncs: f64,
    pub(crate) reads: f64,
}

impl Mood {
    pub(crate) fn is_good(&self) -> bool {
        self.full + self.read_only + self.writes + self.syncs + self.reads == 0.0
    }
}

/// A handle of the one disk.
#[derive(Clone)]
pub(crate) struct SharedDisk(Rc<RefCell<Inner>>);

struct Inner {
    ram: RamDisk,
    mood: Mood,
    random: Rng,
    /// Operations that were made to fail.
    failed: u64,
}

impl SharedDisk {
    pub(crate) fn new(ram: RamDisk, seed: u64) -> Self {
        SharedDisk(Rc::new(RefCell::new(Inner {
            ram,
            mood: Mood::default(),
            random: Rng::with_seed(seed),
            failed: 0,
        })))
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.0.borrow_mut().mood = mood;
    }

    pub(crate) fn failed(&self) -> u64 {
        self.0.borrow().failed
    }

    /// The power goes, or the process ends, after so many more operations.
    pub(crate) fn cut_after(&self, operations: u64) {
        self.0.borrow_mut().ram.faults.operations_left = Some(operations);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.0.borrow().ram.faults.operations_left == Some(0)
    }

    /// What the next process finds after the end of this one.
    pub(crate) fn after_kill(&self) -> RamDisk {
        self.0.borrow().ram.after_kill()
    }

    /// What is found after a power cut; the share of what was not synced that survives is given.
    pub(crate) fn after_power_cut(&self, share: f64, random: &mut Rng) -> RamDisk {
        let survives = || random.f64() < share;
        self.0.borrow().ram.after_power_cut(survives)
    }

    /// Some bits of a segment are others than before, or a whole block that is not the last of its
    /// segment. Gives how many rows that may cost; nothing if there is no segment.
    pub(crate) fn rot(ram: &mut RamDisk, random: &mut Rng) -> Option<u64> {
        let is_used = |path: &str, content: &[u8]| {
            path.starts_with("log-") && content.get(..8).is_some_and(|head| head != [0; 8])
        };
        let used: Vec<(String, Vec<u8>)> = ram
            .contents()
            .filter(|(path, content)| is_used(path, content))
            .map(|(path, content)| (path.to_owned(), content.to_vec()))
            .collect();
        let (path, content) = random.choice(&used)?;
        let mut heads: Vec<(usize, RecordHead)> = content
            .chunks(BLOCK_BYTES)
            .enumerate()
            .filter_map(|(block, bytes)| Some((block, RecordHead::decode_any(bytes).ok()?)))
            .collect();
        // what stands behind the last one is left from an earlier use of the file
        let number = heads.iter().map(|(_, head)| head.segment).max();
        heads.retain(|(_, head)| Some(head.segment) == number);
        let at_stake = |at: usize| {
            let before = heads
                .iter()
                .take_while(|(block, _)| block * BLOCK_BYTES <= at);
            before
                .last()
                .map_or(0, |(_, head)| u64::from(head.rows_count))
        };
        // behind the last one nothing says how many rows there were
        if let [first, .., last] = &heads[..]
            && random.bool()
        {
            let block = random.usize(first.0..last.0);
            let start = block * BLOCK_BYTES;
            ram.tamper(path, |content| {
                content[start..start + BLOCK_BYTES].fill_with(|| random.u8(1..));
            });
            return Some(at_stake(start));
        }
        let parts: Vec<usize> = (0..content.len() / HEAD_BYTES)
            .map(|part| part * HEAD_BYTES)
            .filter(|at| content[*at..*at + HEAD_BYTES] != [0; HEAD_BYTES])
            .collect();
        let at = *random.choice(&parts)?;
        ram.tamper(path, |content| {
            for _ in 0..random.usize(1..4) {
                content[at + random.usize(..HEAD_BYTES)] ^= 1 << random.u8(..8);
            }
        });
        Some(at_stake(at))
    }

    fn with<T>(&self, act: impl FnOnce(&mut RamDisk) -> io::Result<T>) -> io::Result<T> {
        let inner = &mut *self.0.borrow_mut();
        let (mood, random) = (inner.mood, &mut inner.random);
        if !mood.is_good() {
            let faults = &mut inner.ram.faults;
            faults.is_full = random.f64() < mood.full;
            faults.is_read_only = random.f64() < mood.read_only;
            faults.fails_writes = random.f64() < mood.writes;
            faults.fails_syncs = random.f64() < mood.syncs;
            faults.fails_reads = random.f64() < mood.reads;
        }
        let done = act(&mut inner.ram);
        let faults = &mut inner.ram.faults;
        faults.is_full = false;
        faults.is_read_only = false;
        faults.fails_writes = false;
        faults.fails_syncs = false;
        faults.fails_reads = false;
        inner.failed += u64::from(done.is_err());
        done
    }
}

impl Disk for SharedDisk {
    type File = usize;

    fn folders(&mut self) -> io::Result<Vec<String>> {
        self.with(|ram| ram.folders())
    }
    fn files(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.with(|ram| ram.files(folder))
    }
    fn create_folder(&mut self, folder: &str) -> io::Result<()> {
        self.with(|ram| ram.create_folder(folder))
    }
    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        self.with(|ram| ram.remove_folder(folder))
    }
    fn create(&mut self, path: &str, bytes: u64) -> io::Result<usize> {
        self.with(|ram| ram.create(path, bytes))
    }
    fn open(&mut self, path: &str) -> io::Result<usize> {
        self.with(|ram| ram.open(path))
    }
    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.with(|ram| ram.remove(path))
    }
    fn write(&mut self, file: &mut usize, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|ram| ram.write(file, at, bytes))
    }
    fn read(&mut self, file: &mut usize, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|ram| ram.read(file, at, into))
    }
    fn sync(&mut self, file: &mut usize) -> io::Result<()> {
        self.with(|ram| ram.sync(file))
    }
    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        self.with(|ram| ram.sync_folder(folder))
    }
    fn shorten(&mut self, file: &mut usize, bytes: u64) -> io::Result<()> {
        self.with(|ram| ram.shorten(file, bytes))
    }
    fn length(&mut self, file: &mut usize) -> io::Result<u64> {
        self.with(|ram| ram.length(file))
    }
    fn space(&mut self) -> io::Result<(u64, u64)> {
        self.with(|ram| ram.space())
    }
}
