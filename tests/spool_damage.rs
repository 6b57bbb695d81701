//! Damage: bytes of a spool are changed at random places, and a new keeper finds everything but the
//! body that was hit, and counts that to the row.
//!
//! `CEFLINE_FLIPS` says at how many places of real files (10000 for a full run), `CEFLINE_SEED` which.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod spool_shared;

use cefline::spool::disk::Disk;
use cefline::spool::files::Folder;
use cefline::spool::format::{BLOCK_BYTES, HEAD_BYTES, RecordHead};
use cefline::spool::log::Log;
use cefline::spool::quarantine;
use cefline::spool::ram::RamDisk;
use cefline::spool::scan::{Between, look};
use cefline::spool::survey::survey;
use cefline::spool::{Body, Command, Event, Settings};
use spool_shared::{ReadBack, at, body, id_of, is_same, number, read_back, settings, start};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BODIES: u64 = 1000;
const SEGMENT_BYTES: usize = 256 * 1024;

/// What a byte of a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    SegmentHead,
    SettledYoung,
    SettledOld,
    Head,
    Content,
    Tail,
    Padding,
    Free,
}

const PARTS: [Part; 8] = [
    Part::SegmentHead,
    Part::SettledYoung,
    Part::SettledOld,
    Part::Head,
    Part::Content,
    Part::Tail,
    Part::Padding,
    Part::Free,
];

/// A range of bytes in a file, and the record that it belongs to.
#[derive(Debug, Clone)]
struct Range {
    path: String,
    start: usize,
    end: usize,
    record: Option<RecordHead>,
    is_settled: bool,
}

/// A spool that was closed cleanly, and what is in it.
struct Sound {
    bodies: BTreeMap<u64, Body>,
    /// Those that are not settled.
    open: Vec<u64>,
    parts: BTreeMap<Part, Vec<Range>>,
}

impl Sound {
    fn rows_open(&self) -> u64 {
        let rows = self
            .open
            .iter()
            .map(|id| self.bodies[id].payload.rows_count());
        rows.sum()
    }
}

/// Writes bodies, settles a tenth of them, and closes.
fn fill<D: Disk + Clone>(disk: D, settings: Settings, bodies_count: u64) -> (D, Sound) {
    let mut random = fastrand::Rng::with_seed(5);
    let (mut keeper, _) = start(disk, settings, 9);
    let mut bodies = BTreeMap::new();
    let mut open = Vec::new();
    let mut events = Vec::new();
    for id in 0..bodies_count {
        let rows_count = random.usize(1..30);
        let row_bytes = match random.u32(..5) {
            0 => random.usize(50..400),
            _ => random.usize(1..100),
        };
        let body = body(id, rows_count, row_bytes, &mut random);
        bodies.insert(id, body.clone());
        keeper.take(Command::Write(id, Box::new(body)), at(1.0), &mut events);
        if random.u32(..4) == 0 {
            keeper.work(at(1.0), &mut events);
        }
    }
    keeper.work(at(1.0), &mut events);
    let mut ignored = Vec::new();
    for event in events {
        let (id, place) = match event {
            Event::Written(id, place) => (id, place),
            Event::Scanned => continue,
            event => panic!("{event:?}"),
        };
        match random.u32(..10) {
            0 => keeper.take(Command::Settle(place), at(2.0), &mut ignored),
            _ => open.push(id),
        }
        keeper.work(at(2.0), &mut ignored);
    }
    keeper.take(Command::Close, at(3.0), &mut ignored);
    keeper.work(at(3.0), &mut ignored);
    // the next run gives unused ends back
    let (mut keeper, back) = read_back(keeper.disk().clone(), settings, 10);
    keeper.take(Command::Close, at(4.0), &mut ignored);
    keeper.work(at(4.0), &mut ignored);
    let mut sound = Sound {
        bodies,
        open,
        parts: BTreeMap::new(),
    };
    assert_all_there(&sound, &back, None);
    let mut disk = keeper.disk().clone();
    sound.parts = parts(&mut disk);
    (disk, sound)
}

/// What each byte is for.
fn parts<D: Disk>(disk: &mut D) -> BTreeMap<Part, Vec<Range>> {
    let mut parts: BTreeMap<Part, Vec<Range>> = BTreeMap::new();
    let folder = disk.folders().unwrap().remove(0);
    let id = Log::<usize>::id_of(&folder).unwrap();
    let known = survey(disk, id, &folder).unwrap().known;
    for (index, segment) in known.iter().enumerate() {
        let between = Between {
            before: None,
            next: known.get(index + 1),
        };
        let look = look(disk, segment, id, between).unwrap();
        let mut add = |part, start, end, record: Option<(RecordHead, bool)>| {
            if start < end {
                parts.entry(part).or_default().push(Range {
                    path: segment.path.clone(),
                    start,
                    end,
                    record: record.map(|(head, _)| head),
                    is_settled: record.is_some_and(|(_, is_settled)| is_settled),
                });
            }
        };
        add(Part::SegmentHead, 0, 512, None);
        add(Part::Padding, 512, BLOCK_BYTES, None);
        let young = look.young_settled_block().unwrap_or(1);
        for block in [1, 2] {
            let part = match block == young {
                true => Part::SettledYoung,
                false => Part::SettledOld,
            };
            let start = block * BLOCK_BYTES;
            add(part, start, start + 2124, None);
            add(Part::Padding, start + 2124, start + BLOCK_BYTES, None);
        }
        let mut end = 3 * BLOCK_BYTES;
        for seen in &look.records {
            let record = Some((seen.head, seen.is_settled));
            let start = seen.block as usize * BLOCK_BYTES;
            end = start + seen.head.record_bytes();
            let content = start + HEAD_BYTES;
            let padding = content + seen.head.content_bytes();
            add(Part::Head, start, content, record);
            add(Part::Content, content, padding, record);
            add(Part::Padding, padding, end - HEAD_BYTES, record);
            add(Part::Tail, end - HEAD_BYTES, end, record);
        }
        add(Part::Free, end, segment.bytes as usize, None);
    }
    parts
}

/// Everything is read back, save the body that was lost.
fn assert_all_there(sound: &Sound, back: &ReadBack, lost: Option<u64>) {
    let read: Vec<u64> = back.bodies.iter().map(|(_, body)| id_of(body)).collect();
    let open = sound.open.iter().copied();
    let due: Vec<u64> = open.filter(|id| Some(*id) != lost).collect();
    assert_eq!(read, due);
    assert_intact(sound, back);
}

fn assert_intact(sound: &Sound, back: &ReadBack) {
    for (_, body) in &back.bodies {
        assert!(
            is_same(body, &sound.bodies[&id_of(body)]),
            "body {}",
            id_of(body)
        );
    }
    assert_eq!(back.recovered.1, back.rows() + back.damaged + back.torn);
    assert_eq!(back.strange, Vec::<String>::new());
    assert_eq!(back.strangers().next(), None);
}

/// One byte was changed in this range. What the keeper says is as it must be.
fn assert_one_byte(sound: &Sound, part: Part, hit: &Range, back: &ReadBack) {
    let lost = hit
        .record
        .filter(|_| part == Part::Content && !hit.is_settled)
        .map(|head| (head.payload, u64::from(head.rows_count)));
    let lost_id =
        lost.map(|(payload, _)| u64::from_le_bytes(payload.to_bytes()[..8].try_into().unwrap()));
    let lost_rows = lost.map_or(0, |(_, rows)| rows);
    let counts = (
        back.damaged,
        back.torn,
        back.damaged_before,
        back.torn_before,
    );
    assert_eq!(counts, (lost_rows, 0, 0, 0), "{part:?} {hit:?}");
    if part == Part::SettledYoung {
        // some that were settled since the block before may come back
        assert_intact(sound, back);
        let read: Vec<u64> = back.bodies.iter().map(|(_, body)| id_of(body)).collect();
        assert!(sound.open.iter().all(|id| read.contains(id)));
        return;
    }
    assert_eq!(back.recovered.1, sound.rows_open(), "{part:?} {hit:?}");
    assert_all_there(sound, back, lost_id);
}

/// A random byte, each part as likely as the others, and what to change in it.
fn choose<'a>(sound: &'a Sound, random: &mut fastrand::Rng) -> (Part, &'a Range, usize, u8) {
    loop {
        let part = PARTS[random.usize(..PARTS.len())];
        let Some(ranges) = sound.parts.get(&part) else {
            continue;
        };
        let hit = &ranges[random.usize(..ranges.len())];
        let place = random.usize(hit.start..hit.end);
        // one bit, or any
        let change = match random.bool() {
            true => 1 << random.u32(..8),
            false => random.u8(1..),
        };
        return (part, hit, place, change);
    }
}

fn show(hits: &BTreeMap<Part, u64>) -> String {
    let hits = hits.iter().map(|(part, count)| format!("{part:?} {count}"));
    hits.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_changed_byte_costs_its_body_and_no_other() {
    let seed = number("CEFLINE_SEED", 1);
    let flips = 1500;
    let settings = settings(SEGMENT_BYTES);
    let (disk, sound) = fill(RamDisk::default(), settings, BODIES);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut hits = BTreeMap::new();
    for _ in 0..flips {
        let (part, hit, place, change) = choose(&sound, &mut random);
        *hits.entry(part).or_insert(0) += 1;
        let mut damaged = disk.clone();
        damaged.tamper(&hit.path, |content| content[place] ^= change);
        let (_, back) = read_back(damaged, settings, 11);
        assert_one_byte(&sound, part, hit, &back);
    }
    println!(
        "{flips} bytes changed in memory, seed {seed}: {}",
        show(&hits)
    );
}

/// A snapshot of all files of a folder and those in it.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in fs::read_dir(root).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let content = fs::read(&path).unwrap();
            files.insert(path, content);
        }
    }
    files
}

#[test]
fn a_changed_byte_of_a_real_file_costs_its_body_and_no_other() {
    let seed = number("CEFLINE_SEED", 1);
    let flips = number("CEFLINE_FLIPS", 200);
    let root = tempfile::tempdir().unwrap();
    let settings = settings(SEGMENT_BYTES);
    let (disk, sound) = fill(Folder::new(root.path()), settings, BODIES);
    let files = snapshot(root.path());
    let mut random = fastrand::Rng::with_seed(seed);
    let mut hits = BTreeMap::new();
    for _ in 0..flips {
        let (part, hit, place, change) = choose(&sound, &mut random);
        *hits.entry(part).or_insert(0) += 1;
        let path = root.path().join(&hit.path);
        let before = &files[&path];
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[before[place] ^ change], place as u64)
            .unwrap();
        drop(file);
        let (_, back) = read_back(disk.clone(), settings, 11);
        assert_one_byte(&sound, part, hit, &back);
        fs::write(&path, before).unwrap();
        let _ = fs::remove_dir_all(root.path().join(quarantine::FOLDER));
    }
    assert!(snapshot(root.path()) == files, "a file has changed");
    println!(
        "{flips} bytes changed in real files, seed {seed}: {}",
        show(&hits)
    );
}

/// Records lose head and tail, alone and in rows, with and without their segment's head and the
/// older of its settled blocks. Rows are counted to the last, and once.
#[test]
fn what_is_gone_without_a_trace_is_counted_to_the_row_and_once() {
    let seed = number("CEFLINE_SEED", 1);
    let settings = settings(SEGMENT_BYTES);
    let (disk, sound) = fill(RamDisk::default(), settings, 400);
    let heads = &sound.parts[&Part::Head];
    let tails = &sound.parts[&Part::Tail];
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..400 {
        let mut damaged = disk.clone();
        let mut lost_rows = 0;
        let mut lost = Vec::new();
        for _ in 0..random.usize(1..4) {
            let first = random.usize(..heads.len());
            for record in first..(first + random.usize(1..5)).min(heads.len()) {
                if lost.contains(&record) {
                    continue;
                }
                lost.push(record);
                let (head, tail) = (&heads[record], &tails[record]);
                for range in [head, tail] {
                    let place = random.usize(range.start..range.end);
                    damaged.tamper(&range.path, |content| content[place] ^= 0x10);
                }
                if !head.is_settled {
                    lost_rows += u64::from(head.record.unwrap().rows_count);
                }
            }
        }
        for part in [Part::SegmentHead, Part::SettledOld] {
            let ranges = &sound.parts[&part];
            let range = &ranges[random.usize(..ranges.len())];
            if random.bool() {
                damaged.tamper(&range.path, |content| content[range.start + 9] ^= 1);
            }
        }
        let is_lost = |record: usize| lost.contains(&record) && !heads[record].is_settled;
        let lost_ids: Vec<u64> = (0..heads.len())
            .filter(|record| is_lost(*record))
            .map(|record| {
                let payload = heads[record].record.unwrap().payload;
                u64::from_le_bytes(payload.to_bytes()[..8].try_into().unwrap())
            })
            .collect();
        let due: Vec<u64> = sound
            .open
            .iter()
            .copied()
            .filter(|id| !lost_ids.contains(id))
            .collect();
        let mut disk = damaged;
        for is_first in [true, false] {
            let (mut keeper, back) = read_back(disk, settings, 11);
            let read: Vec<u64> = back.bodies.iter().map(|(_, body)| id_of(body)).collect();
            assert_eq!(read, due, "round {round}");
            assert_intact(&sound, &back);
            let counted = match is_first {
                true => lost_rows,
                false => 0,
            };
            let counts = (
                back.damaged_before,
                back.damaged,
                back.torn,
                back.torn_before,
            );
            assert_eq!(
                counts,
                (counted, 0, 0, 0),
                "round {round}, first: {is_first}"
            );
            keeper.work(at(30.0), &mut Vec::new());
            disk = keeper.disk().after_power_cut(|| false);
        }
    }
}

/// Mistakes that are made on purpose are found.
#[cfg(feature = "planted")]
mod planted {
    use super::*;
    use cefline::planted::{Bug, plant};
    use std::panic::catch_unwind;

    #[test]
    fn damage_finds_each() {
        for bug in [
            Bug::NoBodyChecksum,
            Bug::NoResync,
            Bug::GapsNotCounted,
            Bug::HeadDamageStops,
        ] {
            plant(Some(bug));
            let damage = catch_unwind(what_is_gone_without_a_trace_is_counted_to_the_row_and_once);
            let flips = catch_unwind(a_changed_byte_costs_its_body_and_no_other);
            plant(None);
            assert!(damage.is_err() || flips.is_err(), "{bug:?} is not found");
        }
    }
}
