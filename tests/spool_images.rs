//! Power cuts: a run of a keeper is recorded, operation by operation; between any two of them the
//! power goes, and of what was not synced any sector of 512 bytes, length or name is lost or kept. A
//! new keeper is started on each disk that this leaves, and reads back everything that was safe.
//!
//! `CEFLINE_IMAGES` says how many disks (1000000 for a full run), `CEFLINE_SEED` which run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod spool_shared;

use cefline::clock::Mono;
use cefline::spool::disk::Disk;
use cefline::spool::format::RecordHead;
use cefline::spool::keeper::Loss;
use cefline::spool::log::{Log, RECORDS_AT};
use cefline::spool::quarantine::{FOLDER, Reason};
use cefline::spool::ram::RamDisk;
use cefline::spool::scan::{Between, look};
use cefline::spool::survey::survey;
use cefline::spool::{Body, Command, Event, Keeper, Place, Settings, Wanted};
use spool_shared::{at, body, id_of, is_same, number, read_back, settings, start};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

const SEGMENT_BYTES: usize = 48 * 1024;
/// Bodies that are not settled at any time, at most: so many are read back from each disk.
const OPEN_MOST: usize = 10;

/// What a keeper has done to its disk.
#[derive(Debug, Clone)]
enum Operation {
    CreateFolder(String),
    RemoveFolder(String),
    Create(String, u64),
    Remove(String),
    Write(usize, u64, Vec<u8>),
    Sync(usize),
    SyncFolder(String),
    Shorten(usize, u64),
}

/// A disk that writes down what is done to it, and what of that failed.
#[derive(Debug, Default, Clone)]
struct Recorder {
    disk: RamDisk,
    done: Vec<(Operation, bool)>,
    /// Operations until one fails, and how many fail then.
    fails_in: Option<(u32, u32)>,
    has_failed_sync: bool,
}

impl Recorder {
    fn apply<T>(
        &mut self,
        operation: Operation,
        apply: impl FnOnce(&mut RamDisk) -> io::Result<T>,
    ) -> io::Result<T> {
        let can_fail = matches!(operation, Operation::Sync(_) | Operation::Write(..));
        let fails = match &mut self.fails_in {
            Some((0, count)) if can_fail => {
                *count -= 1;
                true
            }
            Some((left, _)) => {
                *left = left.saturating_sub(1);
                false
            }
            None => false,
        };
        if let Some((0, 0)) = self.fails_in {
            self.fails_in = None;
        }
        self.has_failed_sync |= fails && matches!(operation, Operation::Sync(_));
        self.done.push((operation, fails));
        set_faults(&mut self.disk, fails);
        let done = apply(&mut self.disk);
        set_faults(&mut self.disk, false);
        done
    }
}

fn set_faults(disk: &mut RamDisk, fails: bool) {
    disk.faults.fails_writes = fails;
    disk.faults.fails_syncs = fails;
}

impl Disk for Recorder {
    type File = usize;

    fn folders(&mut self) -> io::Result<Vec<String>> {
        self.disk.folders()
    }
    fn files(&mut self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.disk.files(folder)
    }
    fn create_folder(&mut self, folder: &str) -> io::Result<()> {
        let operation = Operation::CreateFolder(folder.to_owned());
        self.apply(operation, |disk| disk.create_folder(folder))
    }
    fn remove_folder(&mut self, folder: &str) -> io::Result<()> {
        let operation = Operation::RemoveFolder(folder.to_owned());
        self.apply(operation, |disk| disk.remove_folder(folder))
    }
    fn create(&mut self, path: &str, bytes: u64) -> io::Result<usize> {
        let operation = Operation::Create(path.to_owned(), bytes);
        self.apply(operation, |disk| disk.create(path, bytes))
    }
    fn open(&mut self, path: &str) -> io::Result<usize> {
        self.disk.open(path)
    }
    fn remove(&mut self, path: &str) -> io::Result<()> {
        let operation = Operation::Remove(path.to_owned());
        self.apply(operation, |disk| disk.remove(path))
    }
    fn write(&mut self, file: &mut usize, at: u64, bytes: &[u8]) -> io::Result<()> {
        let operation = Operation::Write(*file, at, bytes.to_vec());
        self.apply(operation, |disk| disk.write(file, at, bytes))
    }
    fn read(&mut self, file: &mut usize, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.disk.read(file, at, into)
    }
    fn sync(&mut self, file: &mut usize) -> io::Result<()> {
        self.apply(Operation::Sync(*file), |disk| disk.sync(file))
    }
    fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        let operation = Operation::SyncFolder(folder.to_owned());
        self.apply(operation, |disk| disk.sync_folder(folder))
    }
    fn shorten(&mut self, file: &mut usize, bytes: u64) -> io::Result<()> {
        let operation = Operation::Shorten(*file, bytes);
        self.apply(operation, |disk| disk.shorten(file, bytes))
    }
    fn length(&mut self, file: &mut usize) -> io::Result<u64> {
        self.disk.length(file)
    }
    fn space(&mut self) -> io::Result<(u64, u64)> {
        self.disk.space()
    }
}

/// Does a recorded operation again. It fails as it did, if it did.
fn replay(disk: &mut RamDisk, (operation, fails): &(Operation, bool)) {
    set_faults(disk, *fails);
    let _ = match operation {
        Operation::CreateFolder(folder) => disk.create_folder(folder),
        Operation::RemoveFolder(folder) => disk.remove_folder(folder),
        Operation::Create(path, bytes) => disk.create(path, *bytes).map(|_| ()),
        Operation::Remove(path) => disk.remove(path),
        Operation::Write(file, at, bytes) => disk.write(&mut file.clone(), *at, bytes),
        Operation::Sync(file) => disk.sync(&mut file.clone()),
        Operation::SyncFolder(folder) => disk.sync_folder(folder),
        Operation::Shorten(file, bytes) => disk.shorten(&mut file.clone(), *bytes),
    };
    set_faults(disk, false);
}

/// A body of the run, and when, in operations, what became of it.
struct Fate {
    body: Body,
    /// It is safe.
    told: Option<usize>,
    /// Asked to be settled: from then on it may be gone.
    settled: Option<usize>,
    /// The same, for settlings that came to nothing.
    doubtful: Vec<std::ops::Range<usize>>,
    /// It is on stable storage that it is settled: from then on it is gone.
    gone: Option<usize>,
    /// It is in quarantine.
    quarantined: Option<usize>,
    place: Option<Place>,
    /// In memory, and not only on disk.
    is_held: bool,
    /// Never to be told: the process died with it.
    is_dead: bool,
}

/// A run of keepers: what they did to the disk, and what of bodies was known when.
struct Run {
    done: Vec<(Operation, bool)>,
    fates: Vec<Fate>,
    settings: Settings,
    segments_made: usize,
    recycled: usize,
}

/// A run under way.
struct Driver {
    keeper: Keeper<Recorder>,
    fates: Vec<Fate>,
    random: fastrand::Rng,
    settings: Settings,
    seconds: f64,
    has_read_all: bool,
}

impl Driver {
    fn new(settings: Settings, seed: u64) -> Self {
        let (keeper, _) = start(Recorder::default(), settings, seed);
        Driver {
            keeper,
            fates: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            settings,
            seconds: 10.0,
            has_read_all: false,
        }
    }

    fn operations(&self) -> usize {
        self.keeper.disk().done.len()
    }

    fn command(&mut self, command: Command) {
        let mut events = Vec::new();
        self.keeper.take(command, at(self.seconds), &mut events);
        self.note(events).unwrap();
    }

    /// Lets the keeper work, and notes what it says.
    fn work(&mut self) -> Result<(), String> {
        let mut events = Vec::new();
        self.keeper.work(at(self.seconds), &mut events);
        self.note(events)
    }

    fn note(&mut self, events: Vec<Event>) -> Result<(), String> {
        let now = self.operations();
        for event in events {
            match event {
                Event::Written(key, place) => {
                    let fate = &mut self.fates[usize::try_from(key).unwrap()];
                    (fate.told, fate.place) = (Some(now), Some(place));
                }
                Event::Body(place, body, _) => {
                    let id = id_of(&body);
                    let known = self.fates.get_mut(usize::try_from(id).unwrap());
                    let fate = known.ok_or(format!("body {id} was never written"))?;
                    if !is_same(&fate.body, &body) {
                        return Err(format!("body {id} has changed"));
                    }
                    (fate.place, fate.is_held, fate.is_dead) = (Some(place), true, false);
                    // the process died before it could write down that it was settled, or when it
                    // could do so no more
                    if let Some(settled) = fate.settled.take() {
                        fate.doubtful.push(settled..now);
                    }
                }
                Event::Quarantined { is_kept, .. } => {
                    // commanded for the youngest of them
                    let fate = self
                        .fates
                        .iter_mut()
                        .rfind(|fate| fate.quarantined == Some(usize::MAX));
                    if let Some(fate) = fate.filter(|_| is_kept) {
                        fate.quarantined = Some(now);
                    }
                }
                // a write that failed, and then the process
                Event::Lost {
                    why: Loss::Torn | Loss::TornBefore,
                    ..
                } => {}
                Event::Lost { rows, why } => return Err(format!("{rows:?} lost: {why:?}")),
                Event::Nothing(_) => self.has_read_all = true,
                Event::Recovered { .. } | Event::Scanned | Event::Closed => {}
            }
        }
        Ok(())
    }

    fn open(&self) -> Vec<usize> {
        let is_open = |index: &usize| {
            let fate = &self.fates[*index];
            fate.place.is_some() && fate.settled.is_none() && !fate.is_dead
        };
        (0..self.fates.len()).filter(is_open).collect()
    }

    /// Something is on stable storage now: all that was settled before is.
    fn sync_settled(&mut self) -> Result<(), String> {
        // so long after a failure it is tried again
        self.seconds += 12.0;
        self.keeper.disk_mut().fails_in = None;
        self.work()?;
        self.note_gone();
        Ok(())
    }

    fn note_gone(&mut self) {
        let now = self.operations();
        for fate in &mut self.fates {
            if fate.settled.is_some() && fate.gone.is_none() {
                fate.gone = Some(now);
            }
        }
    }

    fn settle(&mut self, index: usize) {
        let now = self.operations();
        let fate = &mut self.fates[index];
        fate.settled = Some(now);
        let place = fate.place.unwrap();
        self.command(Command::Settle(place));
    }

    fn write(&mut self, count: usize) {
        for _ in 0..count {
            let id = self.fates.len() as u64;
            let (rows_count, row_bytes) = match self.random.u32(..10) {
                0 => (1, 1),
                1..=5 => (self.random.usize(1..20), self.random.usize(1..100)),
                6..=8 => (self.random.usize(1..60), self.random.usize(1..150)),
                // longer than a segment has room for after another
                _ => (30, 700),
            };
            let body = body(id, rows_count, row_bytes, &mut self.random);
            self.fates.push(Fate {
                body: body.clone(),
                told: None,
                settled: None,
                doubtful: Vec::new(),
                gone: None,
                quarantined: None,
                place: None,
                is_held: true,
                is_dead: false,
            });
            self.command(Command::Write(id, Box::new(body)));
        }
    }

    /// The next process finds the disk as it is.
    fn restart(&mut self, is_clean: bool) -> Result<(), String> {
        self.keeper.disk_mut().fails_in = None;
        // what a failed sync has lost, the next process sees and takes for safe: only the one that
        // was told can write it again
        if is_clean || std::mem::take(&mut self.keeper.disk_mut().has_failed_sync) {
            self.command(Command::Close);
            self.work()?;
            self.note_gone();
        }
        let disk = self.keeper.disk().clone();
        let seed = self.random.u64(..);
        self.keeper = start(disk, self.settings, seed).0;
        for fate in &mut self.fates {
            fate.is_held = false;
            fate.is_dead = true;
        }
        // all old segments are looked at
        while self.keeper.wake_at() == Some(Mono(0)) {
            self.work()?;
        }
        // and all bodies read
        self.has_read_all = false;
        while !self.has_read_all {
            self.command(Command::Read(Wanted::ALL));
            self.work()?;
        }
        let now = self.operations();
        for fate in self.fates.iter_mut().filter(|fate| fate.is_held) {
            // found again, and so safe from now on
            fate.told.get_or_insert(now);
        }
        for fate in &self.fates {
            let is_due = fate.told.is_some() && fate.settled.is_none();
            if is_due && fate.is_dead {
                return Err(format!("body {} is lost by a restart", id_of(&fate.body)));
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        self.seconds += self.random.f64() * 0.2;
        let open = self.open();
        let unheld = open.iter().filter(|index| !self.fates[**index].is_held);
        let has_unheld = unheld.count() > 0;
        match self.random.u32(..100) {
            0..35 if open.len() < OPEN_MOST => {
                let count = self.random.usize(1..4);
                self.write(count);
            }
            35..60 => {
                // mostly the oldest, so that segments become free
                let held: Vec<usize> = open
                    .into_iter()
                    .filter(|index| self.fates[*index].is_held)
                    .collect();
                let index = match self.random.u32(..4) {
                    0 => self.random.choice(&held).copied(),
                    _ => held.first().copied(),
                };
                if let Some(index) = index {
                    self.settle(index);
                }
            }
            60..75 => {
                if let Some(index) = self.random.choice(&open).copied() {
                    self.fates[index].is_held = false;
                    let place = self.fates[index].place.unwrap();
                    self.command(Command::Park(place));
                }
            }
            75..90 if has_unheld => self.command(Command::Read(Wanted::ALL)),
            90..92 => {
                if let Some(index) = open.first().copied()
                    && self.fates[index].is_held
                    && self.fates[index].quarantined.is_none()
                {
                    self.fates[index].quarantined = Some(usize::MAX);
                    let body = Box::new(self.fates[index].body.clone());
                    self.command(Command::Quarantine(body, Reason::Rejected));
                    self.settle(index);
                }
            }
            92..96 => return self.sync_settled(),
            96 => {
                // a disk that fails, once or for a while
                let (left, count) = (self.random.u32(..6), self.random.u32(1..4));
                self.keeper.disk_mut().fails_in = Some((left, count));
            }
            _ => {}
        }
        // some commands are carried out together
        match self.random.u32(..4) {
            0 => Ok(()),
            _ => self.work(),
        }
    }
}

/// A run of at least so many operations.
fn record(settings: Settings, seed: u64, operations_least: usize) -> Result<Run, String> {
    let mut driver = Driver::new(settings, seed);
    let mut restarts = vec![false, true, false, true];
    let pause = operations_least / (restarts.len() + 1);
    let mut restart_at = pause;
    while driver.operations() < operations_least {
        driver.step()?;
        if driver.operations() >= restart_at
            && let Some(is_clean) = restarts.pop()
        {
            restart_at += pause;
            driver.seconds += 20.0;
            driver.restart(is_clean)?;
        }
    }
    let done = driver.keeper.disk().done.clone();
    let is_create = |operation: &&(Operation, bool)| match &operation.0 {
        Operation::Create(path, _) => !path.starts_with(FOLDER),
        _ => false,
    };
    let is_head = |operation: &&(Operation, bool)| matches!(operation.0, Operation::Write(_, 0, _));
    let segments_made = done.iter().filter(is_create).count();
    let heads = done.iter().filter(is_head).count();
    Ok(Run {
        settings,
        fates: driver.fates,
        segments_made,
        recycled: heads.saturating_sub(segments_made),
        done,
    })
}

/// Starts a keeper on what a crash before operation `at` has left, and checks what it says.
fn check(run: &Run, at: usize, image: RamDisk, is_power_cut: bool) -> Result<(), String> {
    let mut disk = image.clone();
    let (_, back) = read_back(image, run.settings, 77);
    let mut seen = BTreeSet::new();
    let mut last = None;
    for (_, body) in &back.bodies {
        let id = id_of(body);
        let known = run.fates.get(usize::try_from(id).unwrap());
        let fate = known.ok_or(format!("body {id} was never written"))?;
        if !is_same(&fate.body, body) {
            return Err(format!("body {id} has changed"));
        }
        if fate.gone.is_some_and(|gone| gone <= at) {
            return Err(format!("body {id} was settled for good, and comes back"));
        }
        // one that was never safe may be there twice: where its commit failed, and where the next
        // one was cut off
        let is_new = seen.insert(id);
        if fate.told.is_none_or(|told| told > at) {
            continue;
        }
        if !is_new {
            return Err(format!("body {id} comes back twice"));
        }
        if last.replace(id) > Some(id) {
            return Err(format!("body {id} comes after a younger one"));
        }
    }
    let mut rows_unsafe = 0;
    for fate in &run.fates {
        let id = id_of(&fate.body);
        let is_safe = fate.told.is_some_and(|told| told <= at);
        let is_doubtful = fate.doubtful.iter().any(|range| range.contains(&at));
        let is_settled = is_doubtful || fate.settled.is_some_and(|settled| settled < at);
        if is_safe && !is_settled && !seen.contains(&id) {
            return Err(format!("body {id} is lost"));
        }
        if !is_safe {
            rows_unsafe += fate.body.payload.rows_count();
        }
    }
    if let Some(why) = back.strangers().next() {
        return Err(format!("a file is strange: {why}"));
    }
    if back.damaged + back.damaged_before > 0 {
        let rows = back.damaged + back.damaged_before;
        return Err(format!(
            "{rows} rows are said to be damaged, and were never safe: {}",
            gaps(&mut disk)
        ));
    }
    let torn = back.torn + back.torn_before;
    // a write that fails may have written a part
    let may_tear = is_power_cut || run.done.iter().take(at).any(|(_, fails)| *fails);
    if torn > rows_unsafe || torn > 0 && !may_tear {
        return Err(format!("{torn} rows are said to be torn, of {rows_unsafe}"));
    }
    if back.recovered.1 != back.rows() + back.damaged + back.torn {
        return Err(format!(
            "recovered {} rows, but read {} and lost {}",
            back.recovered.1,
            back.rows(),
            back.torn
        ));
    }
    check_quarantine(run, at, &mut disk)
}

/// The rows that are missing, for the person who looks for a mistake.
fn gaps(disk: &mut RamDisk) -> String {
    let mut text = String::new();
    for folder in disk.folders().unwrap() {
        let Some(id) = Log::<usize>::id_of(&folder) else {
            continue;
        };
        let known = survey(disk, id, &folder).unwrap().known;
        for (index, segment) in known.iter().enumerate() {
            let between = Between {
                before: None,
                next: known.get(index + 1),
            };
            let look = look(disk, segment, id, between).unwrap();
            let seen = look.records.iter().map(|seen| {
                let head = &seen.head;
                let rows = (head.rows_before, head.rows_count);
                (seen.block, rows, seen.is_settled)
            });
            let seen: Vec<_> = seen.collect();
            let found = look.found();
            text.push_str(&format!(
                "\n{segment:?}\n    {seen:?}\n    {:?} {found:?}",
                look.gaps
            ));
        }
    }
    text
}

/// Every row that was said to be in quarantine is there.
fn check_quarantine(run: &Run, at: usize, disk: &mut RamDisk) -> Result<(), String> {
    let is_due = |fate: &&Fate| fate.quarantined.is_some_and(|told| told <= at);
    let mut due: BTreeMap<u64, &Body> = run
        .fates
        .iter()
        .filter(is_due)
        .map(|fate| (id_of(&fate.body), &fate.body))
        .collect();
    if due.is_empty() {
        return Ok(());
    }
    for (name, length) in disk.files(FOLDER).unwrap() {
        let mut file = disk.open(&format!("{FOLDER}/{name}")).unwrap();
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        disk.read(&mut file, 0, &mut bytes).unwrap();
        let Some(record) = bytes.get(RECORDS_AT..) else {
            continue;
        };
        if let Ok(head) = RecordHead::decode_any(record)
            && let Some(content) = record.get(128..)
            && let Some(body) = Body::read(&head, content, Mono(0))
            && due
                .get(&id_of(&body))
                .is_some_and(|expected| is_same(expected, &body))
        {
            due.remove(&id_of(&body));
        }
    }
    match due.keys().next() {
        Some(id) => Err(format!("body {id} is not in quarantine")),
        None => Ok(()),
    }
}

/// How many disks were tried.
#[derive(Default)]
struct Tried {
    images: u64,
    boundaries: u64,
    /// Most that was not on stable storage at any boundary.
    pending_most: usize,
}

/// Cuts the power at every boundary of the run, about `images_count` times in all.
fn cut_everywhere(run: &Run, images_count: u64, seed: u64) -> Result<Tried, String> {
    let mut pending = Vec::new();
    let mut disk = RamDisk::default();
    for index in 0..=run.done.len() {
        pending.push(disk.pending_count());
        if let Some(operation) = run.done.get(index) {
            replay(&mut disk, operation);
        }
    }
    let singles: usize = pending.iter().map(|count| 2 * count).sum();
    let fixed = (singles + 3 * pending.len()) as u64;
    // of single losses only a part, if there is no room for all of them
    let stride = fixed.div_ceil(images_count.max(1)).max(1);
    let with_pending = pending.iter().filter(|count| **count > 1).count() as u64;
    let random_each = images_count.saturating_sub(fixed) / with_pending.max(1);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tried = Tried::default();
    let mut disk = RamDisk::default();
    for (index, count) in pending.into_iter().enumerate() {
        let mut image = |what: &str, image: RamDisk, is_power_cut: bool| {
            tried.images += 1;
            check(run, index, image, is_power_cut).map_err(|why| {
                format!(
                    "{}before operation {index}, {what}: {why}",
                    story(run, index)
                )
            })
        };
        image("killed", disk.after_kill(), false)?;
        image("nothing survives", disk.after_power_cut(|| false), true)?;
        image("all survives", disk.after_power_cut(|| true), true)?;
        for (single, is_lost) in (0..count).flat_map(|single| [(single, true), (single, false)]) {
            if stride > 1 && random.u64(..stride) > 0 {
                continue;
            }
            let mut number = 0;
            let cut = disk.after_power_cut(|| {
                number += 1;
                (number - 1 == single) != is_lost
            });
            let what = if is_lost { "only loses" } else { "only keeps" };
            image(&format!("{what} {single} of {count}"), cut, true)?;
        }
        for round in 0..if count > 1 { random_each } else { 0 } {
            // few losses, many, and anything between
            let share = [0.5, 0.1, 0.9, 0.02, 0.98][(round % 5) as usize];
            let mut own = fastrand::Rng::with_seed(random.u64(..));
            let cut = disk.after_power_cut(|| own.f64() > share);
            image(&format!("random {round}"), cut, true)?;
        }
        tried.boundaries += 1;
        tried.pending_most = tried.pending_most.max(count);
        if let Some(operation) = run.done.get(index) {
            replay(&mut disk, operation);
        }
    }
    Ok(tried)
}

/// The operations before a boundary, for the person who looks for a mistake.
fn story(run: &Run, at: usize) -> String {
    let from = at.saturating_sub(110);
    let mut text = String::new();
    for (index, (operation, fails)) in run.done.iter().enumerate().take(at + 1).skip(from) {
        let what = match operation {
            Operation::Write(file, at, bytes) => format!("write {file} at {at}: {}", bytes.len()),
            other => format!("{other:?}"),
        };
        let fails = if *fails { " FAILS" } else { "" };
        text.push_str(&format!("{index}: {what}{fails}\n"));
        for fate in &run.fates {
            let moments = [
                (fate.told, "told"),
                (fate.settled, "settled"),
                (fate.gone, "gone"),
            ];
            for (moment, name) in moments {
                if moment == Some(index + 1) {
                    let id = id_of(&fate.body);
                    text.push_str(&format!("    {name} {id} {:?}\n", fate.place));
                }
            }
        }
    }
    text
}

#[test]
fn no_power_cut_between_any_two_operations_loses_what_was_safe() {
    let seed = number("CEFLINE_SEED", 1);
    let images_count = number("CEFLINE_IMAGES", 150_000);
    let run = record(settings(SEGMENT_BYTES), seed, 2000).unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "a rate for the person who reads it"
    )]
    let began = Instant::now();
    let tried = match cut_everywhere(&run, images_count, seed) {
        Ok(tried) => tried,
        Err(why) => panic!("{why}\nseed {seed}"),
    };
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} images of {} boundaries ({} operations, {} bodies, {} segments made, {} used again, at \
         most {} sectors and names unsynced), seed {seed}: {seconds:.1} s, {:.0} images/s",
        tried.images,
        tried.boundaries,
        run.done.len(),
        run.fates.len(),
        run.segments_made,
        run.recycled,
        tried.pending_most,
        tried.images as f64 / seconds
    );
    assert!(run.done.len() >= 2000);
    assert!(run.recycled > 10, "{} segments used again", run.recycled);
}

#[test]
fn no_kill_between_any_two_operations_loses_what_was_written() {
    for seed in 1..=3 {
        let settings = Settings {
            is_power: false,
            ..settings(SEGMENT_BYTES)
        };
        let run = record(settings, seed, 2000).unwrap();
        let mut disk = RamDisk::default();
        for index in 0..=run.done.len() {
            if let Err(why) = check(&run, index, disk.after_kill(), false) {
                let story = story(&run, index);
                panic!("{story}seed {seed}, before operation {index}: {why}");
            }
            if let Some(operation) = run.done.get(index) {
                replay(&mut disk, operation);
            }
        }
    }
}

/// Mistakes that are made on purpose are found.
#[cfg(feature = "planted")]
mod planted {
    use super::*;
    use cefline::planted::{Bug, plant};

    fn first_find(bug: Bug) -> Option<String> {
        plant(Some(bug));
        let find = (1..=10).find_map(|seed| {
            let run = record(settings(SEGMENT_BYTES), seed, 1000);
            let found = run.and_then(|run| cut_everywhere(&run, 20_000, seed));
            found.err().map(|why| format!("seed {seed}, {why}"))
        });
        plant(None);
        find
    }

    #[test]
    fn power_cuts_find_each() {
        for bug in [
            Bug::NoSync,
            Bug::NoFolderSync,
            Bug::RecycleBeforeSettledSync,
            Bug::NoBodyChecksum,
            Bug::YoungestFirst,
            Bug::SyncRetried,
            Bug::SettledBeforeDelivery,
            Bug::StaleAccepted,
            Bug::TornBelieved,
            Bug::SettledInOneSlot,
            Bug::RecycledWhileOpen,
        ] {
            let Some(why) = first_find(bug) else {
                panic!("{bug:?} is not found");
            };
            let last = why.lines().rfind(|line| !line.starts_with(' '));
            println!("{bug:?}: {}", last.unwrap_or_default());
        }
    }
}
