//! Quarantine: rows that the service will not take, and what is left of damaged bodies.
//!
//! Each row is a segment of its own in the folder `quarantine`, so that what can read a spool can
//! read it, and putting it back is moving one file. The folder is bounded; what finds no room is
//! lost, and counted as that.

use super::Space;
use super::disk::Disk;
use super::format::{LogId, SegmentHead};
use super::log::RECORDS_AT;
use super::record::{Body, Spot};
use crate::clock::Wall;
use std::io;

/// Name of the folder.
pub const FOLDER: &str = "quarantine";
/// How the names of segments end.
pub const SEGMENT_ENDING: &str = ".segment";

/// Why a row cannot be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The service has refused it alone, and taken others.
    Rejected,
    /// It is too long for the service.
    TooLarge,
}

impl Reason {
    /// Its name in files and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::Rejected => "rejected_by_service",
            Reason::TooLarge => "row_too_large_for_service",
        }
    }
}

/// The folder. How much it holds is known to all keepers, in their [`Space`].
#[derive(Debug)]
pub struct Quarantine {
    bytes_max: u64,
}

impl Quarantine {
    /// No more than `bytes_max` are kept; none if it is zero.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Quarantine { bytes_max }
    }

    /// Keeps a row.
    ///
    /// # Errors
    /// The bound is reached, or the system's.
    pub fn keep<D: Disk>(
        &self,
        disk: &mut D,
        space: &Space,
        body: &Body,
        reason: Reason,
        id: LogId,
        now: Wall,
    ) -> io::Result<()> {
        let head = SegmentHead {
            log: id,
            number: 1,
            rows_before: 0,
            ended: Vec::new(),
        };
        let mut bytes = vec![0; RECORDS_AT];
        let encoded = head.encode();
        if let Some(place) = bytes.get_mut(..encoded.len()) {
            place.copy_from_slice(&encoded);
        }
        let spot = Spot {
            log: id,
            segment: 1,
            sequence: 1,
            rows_before: 0,
            durable_before: 0,
        };
        body.write(spot, &mut bytes);
        let name = name_of(reason.name(), SEGMENT_ENDING, id, now);
        self.put(disk, space, &bytes, &name, self.bytes_max)
    }

    /// Keeps what there is of a damaged record, as evidence: rows that can be delivered yet find
    /// half of the room at least.
    ///
    /// # Errors
    /// The bound is reached, or the system's.
    pub fn keep_damaged<D: Disk>(
        &self,
        disk: &mut D,
        space: &Space,
        bytes: &[u8],
        id: LogId,
        now: Wall,
    ) -> io::Result<()> {
        let name = name_of("damaged", ".bytes", id, now);
        self.put(disk, space, bytes, &name, self.bytes_max / 2)
    }

    fn put<D: Disk>(
        &self,
        disk: &mut D,
        space: &Space,
        bytes: &[u8],
        name: &str,
        bytes_max: u64,
    ) -> io::Result<()> {
        if self.bytes_max == 0 || bytes.is_empty() {
            return Err(io::Error::other("there is no quarantine"));
        }
        let more = bytes.len() as u64;
        let mut held = space.quarantined();
        let is_room =
            |held: &Option<u64>| held.is_some_and(|held| held.saturating_add(more) <= bytes_max);
        // the first look, or somebody may have made room since the last
        if !is_room(&held) {
            *held = Some(look(disk)?);
        }
        if !is_room(&held) {
            return Err(io::Error::other("spool.quarantine_bytes_max is reached"));
        }
        let path = format!("{FOLDER}/{name}");
        let mut file = disk.create(&path, more)?;
        let written = disk
            .write(&mut file, 0, bytes)
            .and_then(|()| disk.sync(&mut file))
            .and_then(|()| disk.sync_folder(FOLDER));
        let is_there = written.is_ok() || disk.remove(&path).is_err();
        if is_there {
            *held = held.map(|held| held + more);
        }
        written
    }
}

/// Bytes in the folder, which is made if it is missing.
fn look<D: Disk>(disk: &mut D) -> io::Result<u64> {
    if !disk.folders()?.iter().any(|name| name == FOLDER) {
        disk.create_folder(FOLDER)?;
    }
    let files = disk.files(FOLDER)?;
    let bytes = files.iter().map(|(_, bytes)| bytes);
    Ok(bytes.fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)))
}

fn name_of(reason: &str, ending: &str, id: LogId, now: Wall) -> String {
    format!("{:016x}-{:032x}-{reason}{ending}", now.0.max(0), id.0)
}
