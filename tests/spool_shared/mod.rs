//! Bodies, disks and runs of a keeper, for the tests of the spool.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use bytes::Bytes;
use cefline::clock::{Moment, Mono, Wall};
use cefline::compress::{Gzip, Payload, PayloadId};
use cefline::config::DestinationId;
use cefline::config::GzipLevel;
use cefline::spool::disk::Disk;
use cefline::spool::keeper::Loss;
use cefline::spool::{Body, Command, Event, Keeper, Place, Settings, Space, Wanted, WhenFull};
use std::sync::Arc;

/// What tests go by unless they say otherwise.
pub(crate) fn settings(segment_bytes: usize) -> Settings {
    Settings {
        is_power: true,
        segment_bytes,
        quarantine_bytes_max: 1 << 20,
        when_full: WhenFull::Backpressure,
    }
}

/// So many seconds after the beginning.
pub(crate) fn at(seconds: f64) -> Moment {
    let nanos = (seconds * 1e9) as u64;
    Moment {
        mono: Mono(nanos),
        wall: Wall(1_790_000_000_000_000_000 + i64::try_from(nanos).unwrap()),
    }
}

/// A body of so many rows that gzip makes little of. The id tells bodies apart.
pub(crate) fn body(
    id: u64,
    rows_count: usize,
    row_bytes: usize,
    random: &mut fastrand::Rng,
) -> Body {
    let mut raw = vec![b'['];
    let mut ends = Vec::new();
    for row in 0..rows_count {
        if row > 0 {
            raw.push(b',');
        }
        raw.extend_from_slice(format!("{{\"id\":{id},\"row\":{row},\"x\":\"").as_bytes());
        let letters = std::iter::repeat_with(|| random.alphanumeric() as u8);
        raw.extend(letters.take(row_bytes));
        raw.extend_from_slice(b"\"}");
        ends.push(u32::try_from(raw.len()).unwrap());
    }
    raw.push(b']');
    let mut gzip = Gzip::new(GzipLevel::Zlib(1));
    gzip.feed(&raw);
    let mut name = [0; 16];
    name[..8].copy_from_slice(&id.to_le_bytes());
    Body {
        payload: Payload {
            destination: DestinationId::SENTINEL,
            id: PayloadId::from_bytes(name),
            body: Bytes::from(gzip.finish()),
            ends,
            arrivals: Vec::new(),
            sealed_at: Mono(1),
        },
        opened_at: Wall(5),
        sealed_at: Wall(6),
    }
}

/// The id that [`body`] was given.
pub(crate) fn id_of(body: &Body) -> u64 {
    let bytes = body.payload.id.to_bytes();
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// True if both hold the same rows.
pub(crate) fn is_same(one: &Body, other: &Body) -> bool {
    one.payload.body == other.payload.body
        && one.payload.ends == other.payload.ends
        && one.opened_at == other.opened_at
        && one.sealed_at == other.sealed_at
        && one.payload.destination == other.payload.destination
}

/// What a keeper that was started on a disk said.
#[derive(Debug, Default)]
pub(crate) struct ReadBack {
    pub(crate) bodies: Vec<(Place, Box<Body>)>,
    pub(crate) recovered: (u64, u64),
    /// Rows of damaged, torn, dropped bodies that had been recovered.
    pub(crate) damaged: u64,
    pub(crate) torn: u64,
    /// Rows that were gone before.
    pub(crate) damaged_before: u64,
    pub(crate) torn_before: u64,
    pub(crate) strange: Vec<String>,
}

impl ReadBack {
    pub(crate) fn rows(&self) -> u64 {
        let rows = self
            .bodies
            .iter()
            .map(|(_, body)| body.payload.rows_count());
        rows.sum()
    }

    pub(crate) fn add(&mut self, event: Event) {
        match event {
            Event::Body(place, body, _) => self.bodies.push((place, body)),
            Event::Recovered { bodies, rows } => {
                self.recovered.0 += bodies;
                self.recovered.1 += rows.count;
            }
            Event::Lost { rows, why } => match why {
                Loss::Damaged => self.damaged += rows.count,
                Loss::Torn => self.torn += rows.count,
                Loss::DamagedBefore => self.damaged_before += rows.count,
                Loss::TornBefore => self.torn_before += rows.count,
                Loss::Dropped => panic!("nothing is to be dropped"),
            },
            Event::Nothing(_) | Event::Scanned => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Starts a keeper on a disk.
pub(crate) fn start<D: Disk>(
    mut disk: D,
    settings: Settings,
    seed: u64,
) -> (Keeper<D>, Vec<String>) {
    let folders = disk.folders().unwrap();
    let space = Arc::new(Space::new(1 << 40, Some(0)));
    let mut strange = Vec::new();
    let keeper = Keeper::new(disk, settings, space, &folders, seed, |path, why| {
        strange.push(format!("{path} {why}"));
    });
    (keeper, strange)
}

impl ReadBack {
    /// Files that are told to be strange, save those that hold nothing: the machine stopped when they
    /// were made.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = &String> {
        let is_known = |why: &&String| !why.ends_with("holds no record of this log");
        self.strange.iter().filter(is_known)
    }
}

/// Reads everything that waits.
pub(crate) fn read_all<D: Disk>(keeper: &mut Keeper<D>, mut now: Moment, into: &mut ReadBack) {
    let mut events = Vec::new();
    loop {
        keeper.take(Command::Read(Wanted::ALL), now, &mut events);
        loop {
            keeper.work(now, &mut events);
            if !events.is_empty() && events.iter().any(is_answer) {
                break;
            }
            // what cannot be read is tried again later
            let wake_at = keeper.wake_at().unwrap();
            now.mono = now.mono.max(wake_at);
        }
        let is_over = events
            .iter()
            .any(|event| matches!(event, Event::Nothing(_)));
        for event in events.drain(..) {
            into.add(event);
        }
        if is_over {
            return;
        }
    }
}

fn is_answer(event: &Event) -> bool {
    matches!(event, Event::Nothing(_) | Event::Body(..))
}

/// Starts a keeper on a disk and reads everything back.
pub(crate) fn read_back<D: Disk>(disk: D, settings: Settings, seed: u64) -> (Keeper<D>, ReadBack) {
    let (mut keeper, strange) = start(disk, settings, seed);
    let mut back = ReadBack {
        strange,
        ..ReadBack::default()
    };
    read_all(&mut keeper, at(0.1), &mut back);
    (keeper, back)
}

/// A number from the environment.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => otherwise,
    }
}
