//! A keeper and what may stand in its way: full and failing disks, files of others, damage.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod spool_shared;

use cefline::clock::{Clock, Moment, Mono, Wall};
use cefline::config::DestinationId;
use cefline::spool::disk::Disk;
use cefline::spool::keeper::{Health, Loss};
use cefline::spool::log::RECORDS_AT;
use cefline::spool::quarantine::{FOLDER, Reason};
use cefline::spool::ram::RamDisk;
use cefline::spool::thread::{self, Link, Standing, Start};
use cefline::spool::{Body, Command, Event, Keeper, Place, Settings, Space, Wanted, WhenFull};
use spool_shared::{
    ReadBack, at, body, id_of, is_same, number, read_all, read_back, settings, start,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;

const SEGMENT_BYTES: usize = 48 * 1024;
const BLOCK: usize = 4096;

/// A keeper, and the bodies that it was given.
struct Bench {
    keeper: Keeper<RamDisk>,
    bodies: Vec<Body>,
    places: BTreeMap<u64, Place>,
    lost: Vec<(u64, Loss)>,
    read: Vec<u64>,
    nothings: u64,
    quarantined: Vec<(u64, bool)>,
    is_closed: bool,
    now: f64,
    random: fastrand::Rng,
}

impl Bench {
    fn on(disk: RamDisk, settings: Settings, space: Space, folders: &[String], seed: u64) -> Self {
        let keeper = Keeper::new(
            disk,
            settings,
            Arc::new(space),
            folders,
            seed,
            |path, why| panic!("{path} {why}"),
        );
        Bench {
            keeper,
            bodies: Vec::new(),
            places: BTreeMap::new(),
            lost: Vec::new(),
            read: Vec::new(),
            nothings: 0,
            quarantined: Vec::new(),
            is_closed: false,
            now: 10.0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn new(settings: Settings, space: Space) -> Self {
        Bench::on(RamDisk::default(), settings, space, &[], 1)
    }

    fn plain() -> Self {
        Bench::new(settings(SEGMENT_BYTES), Space::new(1 << 40, Some(0)))
    }

    fn take(&mut self, command: Command) {
        let mut events = Vec::new();
        self.keeper.take(command, at(self.now), &mut events);
        self.note(events);
    }

    fn work(&mut self) {
        let mut events = Vec::new();
        self.keeper.work(at(self.now), &mut events);
        self.note(events);
    }

    fn note(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Written(key, place) => {
                    self.places.insert(key, place);
                }
                Event::Body(place, body, _) => {
                    let id = id_of(&body);
                    assert!(is_same(&body, &self.bodies[usize::try_from(id).unwrap()]));
                    self.places.insert(id, place);
                    self.read.push(id);
                }
                Event::Nothing(_) => self.nothings += 1,
                Event::Lost { rows, why } => self.lost.push((rows.count, why)),
                Event::Quarantined { rows, is_kept, .. } => self.quarantined.push((rows, is_kept)),
                Event::Closed => self.is_closed = true,
                Event::Recovered { .. } | Event::Scanned => {}
            }
        }
    }

    /// Writes a body that takes one block, or more.
    fn write(&mut self, row_bytes: usize) -> u64 {
        let id = self.bodies.len() as u64;
        let body = body(id, 2, row_bytes, &mut self.random);
        self.bodies.push(body.clone());
        self.take(Command::Write(id, Box::new(body)));
        id
    }

    fn write_some(&mut self, count: usize) {
        for _ in 0..count {
            self.write(100);
        }
        self.work();
    }

    fn park_all(&mut self) {
        for place in self.places.values().copied().collect::<Vec<_>>() {
            self.take(Command::Park(place));
        }
    }

    fn settle(&mut self, id: u64) {
        let place = self.places[&id];
        self.take(Command::Settle(place));
    }

    fn read(&mut self, count: usize) {
        for _ in 0..count {
            self.take(Command::Read(Wanted::ALL));
        }
        self.work();
    }

    fn is_written(&self, id: u64) -> bool {
        self.places.contains_key(&id)
    }
}

fn folders(disk: &RamDisk) -> Vec<String> {
    disk.clone().folders().unwrap()
}

fn paths(disk: &RamDisk) -> Vec<String> {
    disk.contents().map(|(path, _)| path.to_owned()).collect()
}

// ---- full -----------------------------------------------------------------------------------

#[test]
fn a_full_spool_takes_no_more_and_goes_on_when_there_is_room() {
    let room = Space::new(2 * SEGMENT_BYTES as u64, Some(0));
    let mut bench = Bench::new(settings(SEGMENT_BYTES), room);
    // 9 blocks in each of two segments
    bench.write_some(18);
    assert_eq!(*bench.keeper.health(), Health::Well);
    bench.write_some(1);
    let Health::Full(why) = bench.keeper.health() else {
        panic!("{:?}", bench.keeper.health());
    };
    assert_eq!(
        *why,
        format!("spool.bytes_max = {} is reached", 2 * SEGMENT_BYTES)
    );
    assert!(!bench.is_written(18));
    for id in 0..9 {
        bench.settle(id);
    }
    bench.work();
    bench.now += 1.0;
    bench.work();
    assert!(bench.is_written(18));
    assert_eq!(*bench.keeper.health(), Health::Well);
    assert_eq!(bench.lost, []);
}

#[test]
fn a_full_spool_finds_room_although_nobody_writes() {
    let room = Space::new(SEGMENT_BYTES as u64, Some(0));
    let mut bench = Bench::new(settings(SEGMENT_BYTES), room);
    bench.write_some(10);
    assert!(matches!(bench.keeper.health(), Health::Full(_)));
    bench.take(Command::Forget(9));
    bench.now += 1.0;
    bench.work();
    assert!(matches!(bench.keeper.health(), Health::Full(_)));
    assert!(bench.keeper.wake_at().is_some());
    for id in 0..9 {
        bench.settle(id);
    }
    bench.work();
    // one segment is all that there may be, and it is full of what is settled
    bench.now += 1.0;
    bench.work();
    assert_eq!(*bench.keeper.health(), Health::Well);
    bench.write_some(9);
    assert!(bench.is_written(18));
}

#[test]
fn a_full_spool_gives_up_the_oldest_if_it_is_told_to() {
    let settings = Settings {
        when_full: WhenFull::DropOldest,
        ..settings(SEGMENT_BYTES)
    };
    let mut bench = Bench::new(settings, Space::new(3 * SEGMENT_BYTES as u64, Some(0)));
    bench.write_some(27);
    // one of the first segment is on its way, so that dropping the others would free nothing
    bench.park_all();
    bench.read(1);
    assert_eq!(bench.read, [0]);
    bench.write_some(1);
    assert!(bench.is_written(27));
    assert_eq!(bench.lost, [(18, Loss::Dropped)]);
    bench.read(100);
    let expected: Vec<u64> = (0..9).chain(18..27).collect();
    assert_eq!(bench.read, expected);
}

#[test]
fn a_file_system_without_space_is_full_and_not_broken() {
    let mut bench = Bench::plain();
    bench.keeper.disk_mut().faults.is_full = true;
    bench.write_some(1);
    assert!(matches!(bench.keeper.health(), Health::Full(_)));
    bench.keeper.disk_mut().faults.is_full = false;
    bench.now += 1.0;
    bench.work();
    assert!(bench.is_written(0));
    assert_eq!(*bench.keeper.health(), Health::Well);
}

#[test]
fn space_is_given_back_to_the_byte() {
    let mut disk = RamDisk::default();
    let on_disk = |keeper: &Keeper<RamDisk>| {
        let lengths = keeper.disk().contents().map(|(_, content)| content.len());
        lengths.sum::<usize>() as u64
    };
    for round in 0..6 {
        // segments were of another length in other rounds
        let settings = settings(SEGMENT_BYTES + round * BLOCK);
        let space = Arc::new(Space::new(1 << 40, Some(0)));
        let folders = folders(&disk);
        let seed = round as u64;
        let mut keeper = Keeper::new(disk, settings, space.clone(), &folders, seed, |_, _| {});
        assert_eq!(space.used(), on_disk(&keeper));
        let mut back = ReadBack::default();
        read_all(&mut keeper, at(1.0), &mut back);
        assert_eq!(space.used(), on_disk(&keeper));
        let mut events = Vec::new();
        let mut random = fastrand::Rng::with_seed(seed);
        for id in 0..25 {
            let body = Box::new(body(id, 1, 100, &mut random));
            keeper.take(Command::Write(id, body), at(1.0), &mut events);
        }
        keeper.work(at(1.0), &mut events);
        assert_eq!(space.used(), on_disk(&keeper));
        for (place, _) in back.bodies {
            keeper.take(Command::Settle(place), at(2.0), &mut events);
        }
        keeper.work(at(2.0), &mut events);
        assert_eq!(space.used(), on_disk(&keeper));
        disk = keeper.disk().after_kill();
    }
}

// ---- failing --------------------------------------------------------------------------------

#[test]
fn failing_writes_and_syncs_lose_nothing_and_are_got_over() {
    for fault in ["write", "sync", "read-only"] {
        let mut bench = Bench::plain();
        bench.write_some(3);
        bench.park_all();
        let set = |bench: &mut Bench, fails: bool| {
            let faults = &mut bench.keeper.disk_mut().faults;
            match fault {
                "write" => faults.fails_writes = fails,
                "sync" => faults.fails_syncs = fails,
                _ => faults.is_read_only = fails,
            }
        };
        set(&mut bench, true);
        bench.write_some(2);
        assert!(!bench.is_written(3), "{fault}");
        assert!(
            matches!(bench.keeper.health(), Health::Failing(_)),
            "{fault}"
        );
        // what is safe can be read all the same
        bench.read(3);
        assert_eq!(bench.read, [0, 1, 2], "{fault}");
        for _ in 0..20 {
            bench.now += 11.0;
            bench.work();
        }
        let files = paths(bench.keeper.disk()).len();
        assert!(files <= 4, "{fault}: {files} files");
        set(&mut bench, false);
        bench.now += 11.0;
        bench.work();
        assert!(bench.is_written(3) && bench.is_written(4), "{fault}");
        assert_eq!(*bench.keeper.health(), Health::Well);
        assert_eq!(bench.lost, []);
        let disk = bench.keeper.disk().after_power_cut(|| false);
        let (_, back) = read_back(disk, settings(SEGMENT_BYTES), 5);
        let ids: Vec<u64> = back.bodies.iter().map(|(_, body)| id_of(body)).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4], "{fault}");
        assert_eq!(back.damaged + back.damaged_before, 0);
    }
}

#[test]
fn a_disk_that_gives_nothing_costs_nothing() {
    let mut bench = Bench::plain();
    bench.write_some(20);
    bench.park_all();
    bench.keeper.disk_mut().faults.fails_reads = true;
    bench.read(3);
    for _ in 0..10 {
        bench.now += 11.0;
        bench.work();
    }
    assert_eq!((bench.read.len(), bench.nothings), (0, 0));
    assert!(bench.keeper.wake_at().is_some());
    bench.keeper.disk_mut().faults.fails_reads = false;
    bench.now += 11.0;
    bench.work();
    bench.read(20);
    assert_eq!(bench.read, (0..20).collect::<Vec<_>>());
    assert_eq!(bench.lost, []);
}

#[test]
fn a_bad_sector_costs_the_body_in_it() {
    for is_restarted in [false, true] {
        let mut bench = Bench::plain();
        bench.write_some(5);
        bench.park_all();
        let path = paths(bench.keeper.disk()).remove(0);
        let third = RECORDS_AT + 2 * BLOCK;
        bench.keeper.disk_mut().spoil(&path, third..third + 512);
        let lost = if is_restarted {
            let disk = bench.keeper.disk().after_kill();
            let (_, back) = read_back(disk, settings(SEGMENT_BYTES), 5);
            for (_, body) in &back.bodies {
                bench.read.push(id_of(body));
            }
            assert_eq!(back.recovered.1, back.rows() + back.damaged);
            // nothing was written after it that says that it was safe
            back.damaged + back.damaged_before + back.torn + back.torn_before
        } else {
            bench.read(5);
            assert_eq!(bench.lost, [(2, Loss::Damaged)]);
            2
        };
        assert_eq!(bench.read, [0, 1, 3, 4]);
        assert_eq!(lost, 2);
    }
}

#[test]
fn closing_ends_whatever_the_disk_does() {
    for fault in 0..5 {
        let mut bench = Bench::plain();
        bench.write_some(12);
        bench.park_all();
        bench.settle(1);
        let faults = &mut bench.keeper.disk_mut().faults;
        match fault {
            0 => faults.fails_writes = true,
            1 => faults.fails_syncs = true,
            2 => faults.is_read_only = true,
            3 => faults.is_full = true,
            _ => faults.operations_left = Some(0),
        }
        bench.write(100);
        bench.take(Command::Read(Wanted::ALL));
        bench.take(Command::Close);
        bench.work();
        assert!(bench.is_closed, "{fault}");
    }
}

#[test]
fn a_spool_whose_bodies_are_all_done_with_leaves_nothing() {
    let mut bench = Bench::plain();
    bench.write_some(30);
    for id in 0..30 {
        bench.settle(id);
    }
    bench.take(Command::Close);
    bench.work();
    assert!(bench.is_closed);
    assert_eq!(paths(bench.keeper.disk()), Vec::<String>::new());
    assert_eq!(folders(bench.keeper.disk()), Vec::<String>::new());
}

#[test]
fn what_is_forgotten_is_not_written_and_what_was_written_is_told_all_the_same() {
    let mut bench = Bench::plain();
    let first = bench.write(10);
    let second = bench.write(10);
    bench.take(Command::Forget(first));
    bench.work();
    assert!(!bench.is_written(first) && bench.is_written(second));
    bench.take(Command::Forget(second));
    bench.settle(second);
    bench.park_all();
    bench.read(1);
    assert_eq!(bench.nothings, 1);
}

#[test]
fn crash_loops_do_not_fill_the_disk() {
    let settings = settings(1 << 20);
    let mut disk = RamDisk::default();
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..40 {
        let (mut keeper, _) = start(disk, settings, round);
        let mut events = Vec::new();
        while keeper.wake_at().is_some_and(|wake| wake.0 == 0) {
            keeper.work(at(1.0), &mut events);
        }
        let body = Box::new(body(round, 1, 100, &mut random));
        keeper.take(Command::Write(round, body), at(1.0), &mut events);
        match round % 3 {
            // before anything was written
            0 => keeper.disk_mut().faults.operations_left = Some(3),
            1 => keeper.disk_mut().faults.operations_left = Some(4),
            _ => {}
        }
        keeper.work(at(1.0), &mut events);
        disk = match round % 2 {
            0 => keeper.disk().after_kill(),
            _ => keeper.disk().after_power_cut(|| true),
        };
    }
    let (mut keeper, back) = read_back(disk, settings, 77);
    assert!(back.bodies.len() >= 13);
    keeper.work(at(5.0), &mut Vec::new());
    let bytes: usize = keeper
        .disk()
        .contents()
        .map(|(_, content)| content.len())
        .sum();
    assert!(
        bytes <= 40 * 4 * BLOCK,
        "{bytes} bytes for {} bodies",
        back.bodies.len()
    );
}

/// Bodies that come back from a disk.
fn ids_on(disk: RamDisk) -> Vec<u64> {
    let (_, back) = read_back(disk, settings(SEGMENT_BYTES), 99);
    assert_eq!(back.damaged + back.damaged_before, 0);
    back.bodies.iter().map(|(_, body)| id_of(body)).collect()
}

#[test]
fn what_a_killed_process_had_no_time_to_sync_is_made_sure_of() {
    let mut bench = Bench::plain();
    bench.write_some(1);
    // head and records of the next commit are written, and the process dies in the sync
    bench.keeper.disk_mut().faults.operations_left = Some(2);
    bench.write_some(2);
    let killed = bench.keeper.disk().after_kill();
    assert_eq!(ids_on(killed.after_power_cut(|| false)), [0]);
    let (keeper, back) = read_back(killed, settings(SEGMENT_BYTES), 5);
    assert_eq!(back.bodies.len(), 3);
    assert_eq!(ids_on(keeper.disk().after_power_cut(|| false)), [0, 1, 2]);
}

#[test]
fn a_segment_whose_first_commit_failed_stays_what_it_was() {
    let mut bench = Bench::plain();
    bench.write_some(10);
    for id in 0..9 {
        bench.settle(id);
    }
    bench.now += 2.0;
    bench.work();
    bench.write_some(8);
    // the next segment is the first one's file, whose head is half written then
    bench.keeper.disk_mut().faults.fails_writes = true;
    bench.keeper.disk_mut().faults.fails_removals = true;
    bench.write_some(1);
    bench.keeper.disk_mut().faults.fails_writes = false;
    bench.now += 30.0;
    bench.work();
    assert!(bench.is_written(18));
    bench.work();
    assert_eq!(
        ids_on(bench.keeper.disk().after_kill()),
        (9..19).collect::<Vec<_>>()
    );
}

#[test]
fn where_a_failed_segment_ends_is_known_after_the_next_one_is_used_up() {
    let mut bench = Bench::plain();
    bench.write_some(3);
    // one commit fails half way, and so does what is settled: that is tried again after a while
    bench.settle(0);
    bench.keeper.disk_mut().faults.fails_writes = true;
    bench.write_some(1);
    bench.keeper.disk_mut().faults.fails_writes = false;
    bench.now += 1.0;
    bench.work();
    assert!(bench.is_written(3));
    bench.write_some(8);
    for id in 3..12 {
        bench.settle(id);
    }
    // the file that has them is used again
    bench.write_some(9);
    bench.write_some(1);
    assert!(bench.is_written(21));
    let back = ids_on(bench.keeper.disk().after_kill());
    assert!(!back.contains(&3), "{back:?}");
    assert!(back.ends_with(&(12..22).collect::<Vec<_>>()), "{back:?}");
}

#[test]
fn a_damaged_record_in_front_of_what_a_failed_commit_has_left_is_counted() {
    let mut bench = Bench::plain();
    bench.write_some(1);
    // the commit is written, and its sync fails: what is next goes into another segment
    bench.keeper.disk_mut().faults.fails_syncs = true;
    bench.write_some(1);
    bench.keeper.disk_mut().faults.fails_syncs = false;
    bench.now += 30.0;
    bench.work();
    bench.write_some(8);
    bench.write_some(1);
    // that one is used up: no neighbour knows where the first one ends
    for id in 1..10 {
        bench.settle(id);
    }
    bench.now += 2.0;
    bench.work();
    let mut killed = bench.keeper.disk().after_kill();
    let path = paths(&killed).into_iter().next().unwrap();
    killed.tamper(&path, |content| content[RECORDS_AT..][..4096].fill(7));
    let (_, back) = read_back(killed, settings(SEGMENT_BYTES), 5);
    assert_eq!((back.damaged_before, back.torn_before), (2, 0));
    assert_eq!(back.bodies.len(), 1);
}

// ---- quarantine -----------------------------------------------------------------------------

#[test]
fn quarantine_is_bounded_over_all_keepers() {
    let row_bytes = RECORDS_AT + BLOCK;
    let settings = Settings {
        quarantine_bytes_max: 3 * row_bytes as u64,
        ..settings(SEGMENT_BYTES)
    };
    let mut bench = Bench::new(settings, Space::new(1 << 40, Some(0)));
    let row = |random: &mut fastrand::Rng| Box::new(body(0, 1, 10, random));
    for _ in 0..5 {
        let row = row(&mut bench.random);
        bench.take(Command::Quarantine(row, Reason::TooLarge));
    }
    let kept: Vec<bool> = bench
        .quarantined
        .iter()
        .map(|(_, is_kept)| *is_kept)
        .collect();
    assert_eq!(kept, [true, true, true, false, false]);
    // somebody has made room
    let path = paths(bench.keeper.disk()).remove(0);
    bench.keeper.disk_mut().remove(&path).unwrap();
    let row = row(&mut bench.random);
    bench.take(Command::Quarantine(row, Reason::TooLarge));
    assert_eq!(bench.quarantined.last(), Some(&(1, true)));
    assert_eq!(bench.keeper.disk_mut().files(FOLDER).unwrap().len(), 3);
}

// ---- what others left -----------------------------------------------------------------------

/// A spool with 12 bodies in two segments, and the paths of these.
fn two_segments() -> (RamDisk, Vec<String>) {
    let mut bench = Bench::plain();
    bench.write_some(12);
    bench.take(Command::Close);
    bench.work();
    let disk = bench.keeper.disk().after_kill();
    let paths = paths(&disk);
    assert_eq!(paths.len(), 2);
    (disk, paths)
}

#[test]
fn files_of_others_are_left_alone() {
    let (disk, files) = two_segments();
    let folder = files[0].split('/').next().unwrap();
    let first = disk.contents().next().unwrap().1.to_vec();
    let mut foreign = first.clone();
    foreign[20] ^= 1;
    seal(&mut foreign, 508);
    let mut newer = first.clone();
    newer[8] = 2;
    seal(&mut newer, 508);
    let mut garbage = vec![0x5a; 100_000];
    garbage[..8].copy_from_slice(b"CEFSEG\r\n");
    let cases = [
        ("segment-00000003", foreign, "belongs to another log"),
        (
            "segment-00000004",
            newer,
            "has format 2: a newer cefline wrote it",
        ),
        (
            "segment-00000005",
            first.clone(),
            "is a segment that another file here holds already",
        ),
        ("segment-00000006", garbage, "holds no record of this log"),
        (
            "segment-00000001.bak",
            first.clone(),
            "is not named as a segment",
        ),
        ("segment-7", Vec::new(), "is not named as a segment"),
        ("readme", b"hello".to_vec(), "is not named as a segment"),
    ];
    let mut disk = disk;
    for (name, content, _) in &cases {
        disk.plant(&format!("{folder}/{name}"), content.clone());
    }
    // these are ours, and empty
    disk.plant(&format!("{folder}/segment-00000008"), Vec::new());
    disk.plant(&format!("{folder}/segment-00000009"), vec![0; 100_000]);
    disk.plant("lost+found/x", vec![1]);
    let (mut keeper, back) = read_back(disk, settings(SEGMENT_BYTES), 4);
    assert_eq!(back.bodies.len(), 12);
    assert_eq!(
        back.damaged + back.damaged_before + back.torn + back.torn_before,
        0
    );
    let mut expected: Vec<String> = cases
        .iter()
        .map(|(name, _, why)| format!("{folder}/{name} {why}"))
        .collect();
    expected.sort();
    let mut strange = back.strange.clone();
    strange.sort();
    assert_eq!(strange, expected);
    assert_eq!(back.strangers().count(), expected.len() - 1);
    for (place, _) in &back.bodies {
        keeper.take(Command::Settle(*place), at(1.0), &mut Vec::new());
    }
    keeper.work(at(5.0), &mut Vec::new());
    for (name, content, _) in &cases {
        let path = format!("{folder}/{name}");
        let found = keeper.disk().contents().find(|(other, _)| *other == path);
        assert_eq!(found.unwrap().1, content, "{name}");
    }
    assert_eq!(paths(keeper.disk()).len(), cases.len() + 1);
}

/// Puts the checksum of the bytes before `at` there.
fn seal(bytes: &mut [u8], at: usize) {
    let check = crc32c::crc32c(&bytes[..at]);
    bytes[at..at + 4].copy_from_slice(&check.to_le_bytes());
}

#[test]
fn a_segment_that_was_cut_off_anywhere_costs_what_was_cut_off() {
    let (disk, paths) = two_segments();
    let mut random = fastrand::Rng::with_seed(number("CEFLINE_SEED", 1));
    for round in 0..200 {
        let which = round % 2;
        let full = disk.contents().nth(which).unwrap().1.len();
        let length = match round {
            0..20 => [0, 1, 511, 512, 4095, 4096, 12287, 12288, 12289, 16384][round / 2],
            _ => random.usize(..full),
        };
        let mut cut = disk.clone();
        cut.tamper(&paths[which], |content| content.truncate(length));
        let (_, back) = read_back(cut, settings(SEGMENT_BYTES), 4);
        let lost = back.damaged + back.damaged_before;
        // without its head nobody knows that there was such a segment; and of the last one nothing
        // says what was in it once even its settled blocks are gone
        let is_known = length >= [512, RECORDS_AT][which];
        if is_known {
            assert_eq!(back.rows() + lost, 24, "segment {which} cut to {length}");
        }
        assert_eq!(back.recovered.1, back.rows() + back.damaged);
        assert_eq!(
            back.torn + back.torn_before,
            0,
            "segment {which} cut to {length}"
        );
    }
}

#[test]
fn numbers_of_strangers_do_no_harm() {
    // every number of every part at its greatest, with the checksum made right
    let (disk, paths) = two_segments();
    let parts = [
        (0, 508),
        (4096, 2120),
        (8192, 2120),
        (RECORDS_AT, 124),
        (16384 - 128, 124),
    ];
    for path in &paths {
        for (start, check) in parts {
            for field in (32..check.min(300)).step_by(4) {
                for value in [u32::MAX, i32::MAX as u32, 1] {
                    let mut damaged = disk.clone();
                    damaged.tamper(path, |content| {
                        let part = &mut content[start..start + check + 4];
                        part[field..field + 4].copy_from_slice(&value.to_le_bytes());
                        if field % 8 == 0 && field + 8 <= check {
                            part[field + 4..field + 8].copy_from_slice(&value.to_le_bytes());
                        }
                        seal(part, check);
                    });
                    let (mut keeper, back) = read_back(damaged, settings(SEGMENT_BYTES), 4);
                    for (place, _) in back.bodies {
                        keeper.take(Command::Settle(place), at(1.0), &mut Vec::new());
                    }
                    keeper.work(at(5.0), &mut Vec::new());
                    keeper.take(Command::Close, at(6.0), &mut Vec::new());
                    keeper.work(at(6.0), &mut Vec::new());
                }
            }
        }
    }
}

#[test]
fn without_both_settled_blocks_bodies_come_twice_and_none_is_lost() {
    let mut bench = Bench::plain();
    bench.write_some(3);
    bench.write_some(3);
    bench.settle(1);
    bench.settle(4);
    bench.work();
    bench.take(Command::Close);
    bench.work();
    let mut disk = bench.keeper.disk().after_kill();
    let path = paths(&disk).remove(0);
    disk.tamper(&path, |content| {
        content[4096 + 70] ^= 1;
        content[8192 + 70] ^= 1;
    });
    let (_, back) = read_back(disk, settings(SEGMENT_BYTES), 4);
    let ids: Vec<u64> = back.bodies.iter().map(|(_, body)| id_of(body)).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5]);
    assert_eq!(
        back.damaged + back.damaged_before + back.torn + back.torn_before,
        0
    );
}

#[test]
fn a_clock_that_goes_back_a_day_makes_no_difference() {
    let settings = settings(SEGMENT_BYTES);
    let (mut keeper, _) = start(RamDisk::default(), settings, 1);
    let mut random = fastrand::Rng::with_seed(1);
    let mut events = Vec::new();
    let day = 86_400_000_000_000;
    for (round, back) in [(0, 0), (1, day), (2, i64::MAX)] {
        let now = Moment {
            wall: Wall(at(1.0).wall.0.saturating_sub(back)),
            ..at(1.0)
        };
        let body = Box::new(body(round, 1, 10, &mut random));
        keeper.take(Command::Write(round, body), now, &mut events);
        keeper.work(now, &mut events);
        let disk = keeper.disk().after_kill();
        keeper = start(disk, settings, round + 2).0;
        while keeper.wake_at().is_some_and(|wake| wake.0 == 0) {
            keeper.work(now, &mut events);
        }
    }
    let mut read = ReadBack::default();
    read_all(&mut keeper, at(2.0), &mut read);
    let mut ids: Vec<u64> = read.bodies.iter().map(|(_, body)| id_of(body)).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2]);
}

#[test]
fn any_number_of_keepers_empties_the_logs_of_any_other() {
    let settings = settings(SEGMENT_BYTES);
    let mut disk = RamDisk::default();
    let mut random = fastrand::Rng::with_seed(1);
    let mut next = 0;
    for (round, keepers_count) in [4, 2, 8, 1].into_iter().enumerate() {
        let all = folders(&disk);
        let mut recovered = 0;
        for index in 0..keepers_count {
            let own: Vec<String> = all
                .iter()
                .skip(index)
                .step_by(keepers_count)
                .cloned()
                .collect();
            let space = Arc::new(Space::new(1 << 40, Some(0)));
            let seed = (round * 10 + index) as u64;
            let mut keeper =
                Keeper::new(disk, settings, space, &own, seed, |p, w| panic!("{p} {w}"));
            let mut back = ReadBack::default();
            read_all(&mut keeper, at(1.0), &mut back);
            recovered += back.bodies.len();
            let mut events = Vec::new();
            for _ in 0..5 {
                let body = Box::new(body(next, 1, 10, &mut random));
                keeper.take(Command::Write(next, body), at(1.0), &mut events);
                next += 1;
            }
            keeper.work(at(1.0), &mut events);
            disk = keeper.disk().after_power_cut(|| false);
        }
        let before: usize = [0, 20, 30, 70][round];
        assert_eq!(recovered, before);
    }
}

// ---- its thread -----------------------------------------------------------------------------

fn started(standing: &Arc<Standing>) -> (Link, JoinHandle<()>) {
    thread::start(Start {
        index: 0,
        disk: RamDisk::default(),
        settings: settings(SEGMENT_BYTES),
        space: Arc::new(Space::new(1 << 40, Some(0))),
        folders: Box::new(|| Ok(Vec::new())),
        clock: Clock::start(),
        standing: Arc::clone(standing),
        begin: || {},
    })
    .unwrap()
}

#[test]
fn a_keeper_on_its_own_thread_does_as_it_is_told_and_ends() {
    let standing = Arc::new(Standing::new(1));
    let (mut link, thread) = started(&standing);
    assert!(matches!(link.events.blocking_recv(), Some(Event::Scanned)));
    let mut random = fastrand::Rng::with_seed(1);
    for id in 0..20 {
        let body = Box::new(body(id, 1, 100, &mut random));
        link.commands.send(Command::Write(id, body)).unwrap();
    }
    for id in 0..20 {
        let Some(Event::Written(key, place)) = link.events.blocking_recv() else {
            panic!("body {id} is not written");
        };
        assert_eq!(key, id);
        let command = match id % 2 {
            0 => Command::Settle(place),
            _ => Command::Park(place),
        };
        link.commands.send(command).unwrap();
    }
    for id in (1..20).step_by(2) {
        link.commands.send(Command::Read(Wanted::ALL)).unwrap();
        let Some(Event::Body(_, body, _)) = link.events.blocking_recv() else {
            panic!("body {id} is not read");
        };
        assert_eq!(id_of(&body), id);
    }
    assert_eq!(standing.worst(), Health::Well);
    link.commands.send(Command::Close).unwrap();
    assert!(matches!(link.events.blocking_recv(), Some(Event::Closed)));
    assert!(link.events.blocking_recv().is_none());
    thread.join().unwrap();
}

#[test]
fn a_thread_whose_link_is_dropped_ends() {
    let (link, thread) = started(&Arc::new(Standing::new(1)));
    drop(link);
    thread.join().unwrap();
}

// ---- against a model ------------------------------------------------------------------------

/// Random commands, faults, kills, power cuts and restarts against a queue of bodies in memory.
#[test]
fn a_keeper_is_a_queue_whatever_happens() {
    let seed = number("CEFLINE_SEED", 1);
    for seed in seed..seed + number("CEFLINE_ROUNDS", 60) {
        println!("seed {seed}");
        queue(seed);
    }
}

fn queue(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let settings = Settings {
        is_power: random.bool(),
        ..settings(SEGMENT_BYTES)
    };
    let mut bench = Bench::on(
        RamDisk::default(),
        settings,
        Space::new(1 << 40, Some(0)),
        &[],
        seed,
    );
    // those that wait on disk, in order; those that are out; those that are done with
    let mut parked: VecDeque<u64> = VecDeque::new();
    let mut out: Vec<u64> = Vec::new();
    for step in 0..400 {
        bench.now += random.f64() * 2.0;
        match random.u32(..100) {
            0..30 => {
                let row_bytes = random.usize(1..3000);
                bench.write(row_bytes);
            }
            30..45 => {
                if let Some(index) = (!out.is_empty()).then(|| random.usize(..out.len())) {
                    let id = out.swap_remove(index);
                    bench.settle(id);
                    bench.places.remove(&id);
                }
            }
            45..60 => {
                if let Some(index) = (!out.is_empty()).then(|| random.usize(..out.len())) {
                    let id = out.swap_remove(index);
                    let place = bench.places[&id];
                    bench.take(Command::Park(place));
                    parked.push_back(id);
                }
            }
            60..80 => {
                bench.read.clear();
                bench.nothings = 0;
                bench.read(1);
                if let Some(id) = bench.read.pop() {
                    let oldest = parked.iter().copied().min_by_key(|id| bench.places[id]);
                    assert!(
                        parked.contains(&id),
                        "seed {seed}, step {step}: {id} did not wait"
                    );
                    let place = bench.places[&id];
                    let first = bench.places[&oldest.unwrap()];
                    if place.log == first.log {
                        assert_eq!(place, first, "seed {seed}, step {step}: not the oldest");
                    }
                    parked.retain(|other| *other != id);
                    out.push(id);
                } else {
                    assert_eq!(bench.nothings, 1);
                    assert_eq!(parked.len(), 0, "seed {seed}, step {step}: nothing waits");
                }
            }
            80..84 if bench.keeper.unwritten_count() == 0 => {
                let is_clean = random.bool();
                // what is settled survives a kill once it was written down
                bench.work();
                if is_clean {
                    bench.take(Command::Close);
                    bench.work();
                    assert!(bench.is_closed);
                }
                // all that is written is settled, or waits again
                let disk = match settings.is_power && random.bool() && is_clean {
                    true => bench.keeper.disk().after_power_cut(|| random.bool()),
                    false => bench.keeper.disk().after_kill(),
                };
                let folders = folders(&disk);
                let space = Space::new(1 << 40, Some(0));
                let mut next = Bench::on(disk, settings, space, &folders, random.u64(..));
                next.bodies = std::mem::take(&mut bench.bodies);
                next.now = bench.now;
                let due = parked.len() + out.len();
                next.read(due + 10);
                while next.nothings == 0 {
                    next.work();
                }
                let mut read = next.read.clone();
                read.sort_unstable();
                let mut expected: Vec<u64> = parked.iter().chain(&out).copied().collect();
                expected.sort_unstable();
                assert_eq!(
                    read, expected,
                    "seed {seed}, step {step}, clean: {is_clean}"
                );
                assert_eq!(next.lost, []);
                parked.clear();
                out = read;
                bench = next;
            }
            _ => bench.work(),
        }
        // whatever was written meanwhile is out
        let is_new = |id: &u64| !parked.contains(id) && !out.contains(id);
        let new: Vec<u64> = bench.places.keys().copied().filter(is_new).collect();
        out.extend(new);
    }
}

/// What one destination does not take stays where it is, and holds up nothing behind it.
#[test]
fn bodies_are_read_by_destination_oldest_first_and_the_others_wait() {
    let basic = DestinationId::of("basic");
    let mut bench = Bench::plain();
    for index in 0..60 {
        let id = bench.bodies.len() as u64;
        let mut body = body(id, 2, 100, &mut bench.random);
        if index % 3 == 0 {
            body.payload.destination = basic;
        }
        bench.bodies.push(body.clone());
        bench.take(Command::Write(id, Box::new(body)));
    }
    bench.work();
    bench.park_all();
    // as the next run finds them, too
    for is_restarted in [false, true] {
        if is_restarted {
            let mut disk = bench.keeper.disk().after_kill();
            let folders = disk.folders().unwrap();
            let space = Space::new(1 << 40, Some(0));
            let mut next = Bench::on(disk, settings(SEGMENT_BYTES), space, &folders, 2);
            next.bodies = std::mem::take(&mut bench.bodies);
            bench = next;
            while bench.keeper.wake_at() == Some(Mono(0)) {
                bench.work();
            }
        }
        let mut read = |wanted: Wanted| {
            bench.read.clear();
            for _ in 0..61 {
                bench.take(Command::Read(wanted.clone()));
            }
            bench.work();
            let read = bench.read.clone();
            for id in &read {
                let place = bench.places[id];
                bench.take(Command::Park(place));
            }
            read
        };
        let of = |is_basic: bool| (0..60).filter(move |id| (id % 3 == 0) == is_basic);
        assert_eq!(read(Wanted::Of(vec![basic])), of(true).collect::<Vec<_>>());
        assert_eq!(
            read(Wanted::But(vec![basic])),
            of(false).collect::<Vec<_>>()
        );
        assert_eq!(read(Wanted::ALL), (0..60).collect::<Vec<_>>());
        assert_eq!(read(Wanted::Of(vec![DestinationId::of("other")])), [0; 0]);
    }
}
