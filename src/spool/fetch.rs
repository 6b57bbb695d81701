//! Reading back: the oldest record that waits, and what to make of one that cannot be read.

use super::blocks::read_record;
use super::disk::Disk;
use super::format::{BLOCK_BYTES, RecordHead};
use super::log::{Log, Place};
use super::record::Body;
use crate::clock::Mono;
use crate::planted::{Bug, is_planted};
use std::io;

/// A record that was read back, or what is known of one that could not be.
#[derive(Debug)]
pub enum Fetched {
    /// It is whole.
    Body(Place, Box<Body>),
    /// Safe once, and damaged.
    Damaged(Damage),
    /// Damaged, and it was being written when the machine stopped: it never was safe.
    Torn(Damage),
    /// Nothing of its segment can be read now. It waits on, and its segment is set aside.
    Unreadable(io::Error),
}

/// A record that cannot be read.
#[derive(Debug)]
pub struct Damage {
    /// Where it is.
    pub place: Place,
    /// Its rows.
    pub rows_count: u64,
    /// What there is of it behind its head.
    pub bytes: Vec<u8>,
}

impl<F> Log<F> {
    /// Reads the oldest record that waits. Nothing if none does. A damaged one is not settled yet.
    pub fn fetch<D: Disk<File = F>>(&mut self, disk: &mut D, now: Mono) -> Option<Fetched> {
        let id = self.id;
        let segment = self
            .segments
            .iter_mut()
            .find(|segment| segment.has_parked() && !segment.is_aside)?;
        let block = segment.unpark()?;
        // once more, since a bus may hiccup
        let read = read_record(disk, segment, id, block)
            .or_else(|_| read_record(disk, segment, id, block));
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                // a bad sector is damage; a disk that gives nothing at all may come back
                let mut first = vec![0; BLOCK_BYTES];
                if disk.read(&mut segment.file, 0, &mut first).is_err() {
                    segment.park(block);
                    segment.is_aside = true;
                    return Some(Fetched::Unreadable(error));
                }
                None
            }
        };
        let place = Place {
            log: id,
            segment: segment.number,
            block: u32::try_from(block).unwrap_or(u32::MAX),
        };
        if let Some((head, content)) = &read
            && let Some(body) = body_of(head, content, now)
        {
            return Some(Fetched::Body(place, Box::new(body)));
        }
        let damage = Damage {
            place,
            rows_count: segment.rows_at(block).unwrap_or(0),
            bytes: read.map(|(_, content)| content).unwrap_or_default(),
        };
        let was_safe = block * BLOCK_BYTES < segment.durable_end;
        Some(match was_safe || is_planted(Bug::TornBelieved) {
            true => Fetched::Damaged(damage),
            false => Fetched::Torn(damage),
        })
    }

    /// Segments that were set aside are read again.
    pub fn try_again(&mut self) {
        for segment in &mut self.segments {
            segment.is_aside = false;
        }
    }
}

fn body_of(head: &RecordHead, content: &[u8], now: Mono) -> Option<Body> {
    if is_planted(Bug::NoBodyChecksum) {
        let mut trusting = *head;
        trusting.content = crc32c::crc32c(content);
        return Body::read(&trusting, content, now);
    }
    Body::read(head, content, now)
}
