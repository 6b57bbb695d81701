//! What is left on a disk when all is over.

use crate::disk::SharedDisk;
use cefline::clock::{Moment, Mono};
use cefline::spool::disk::Disk;
use cefline::spool::format::{HEAD_BYTES, RecordHead};
use cefline::spool::log::RECORDS_AT;
use cefline::spool::quarantine::{FOLDER, SEGMENT_ENDING};
use cefline::spool::{Body, Event, Keeper, Settings, Space, WhenFull};
use std::sync::Arc;

/// The bodies in quarantine, each of one row.
pub(crate) fn quarantined(disk: &mut SharedDisk) -> Vec<bytes::Bytes> {
    let mut bodies = Vec::new();
    for (name, length) in disk.files(FOLDER).unwrap() {
        if !name.ends_with(SEGMENT_ENDING) {
            continue;
        }
        let mut file = disk.open(&format!("{FOLDER}/{name}")).unwrap();
        let mut bytes = vec![0; length as usize];
        let count = disk.read(&mut file, 0, &mut bytes).unwrap();
        // one that a crash has cut off was never told to be there
        let record = bytes.get(RECORDS_AT..count).unwrap_or_default();
        if let Ok(head) = RecordHead::decode_any(record)
            && let Some(body) = Body::read(&head, &record[HEAD_BYTES..], Mono(0))
        {
            bodies.push(body.payload.body);
        }
    }
    bodies
}

/// Rows of bodies that the next run would find. A copy is looked at: what is found damaged is written
/// down, and must be told to the next run.
pub(crate) fn waiting(disk: &SharedDisk, segment_bytes: usize) -> u64 {
    let settings = Settings {
        is_power: true,
        segment_bytes,
        quarantine_bytes_max: 1 << 30,
        when_full: WhenFull::Backpressure,
    };
    let space = Arc::new(Space::new(1 << 40, Some(0)));
    let mut disk = SharedDisk::new(disk.after_kill(), 0);
    let folders = disk.folders().unwrap();
    let mut keeper = Keeper::new(disk, settings, space, &folders, 1, |_, _| {});
    let mut events = Vec::new();
    while keeper.wake_at() == Some(Mono(0)) {
        keeper.work(Moment::default(), &mut events);
    }
    let rows = events.iter().map(|event| match event {
        Event::Recovered { rows, .. } => rows.count,
        _ => 0,
    });
    rows.sum()
}
