//! Reading back: the oldest record that waits, and what to make of one that cannot be read.
//!
//! Whoever asks says of which destinations he can use a body. Those of others are passed over and
//! keep their place: each segment knows in memory where its records go and which of them wait, so
//! that nothing is read for it, and a destination that takes nothing holds up none behind it.

use super::blocks::read_record;
use super::command::Wanted;
use super::disk::Disk;
use super::format::{BLOCK_BYTES, RecordHead};
use super::log::{Log, Place};
use super::record::Body;
use super::segment::{Rows, Segment};
use crate::clock::Mono;
use crate::config::DestinationId;
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
    pub rows: Rows,
    /// What there is of it behind its head.
    pub bytes: Vec<u8>,
}

impl<F> Log<F> {
    /// Reads the oldest record that waits and is wanted. Nothing if none is. A damaged one is not
    /// settled yet.
    pub fn fetch<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        wanted: &Wanted,
        now: Mono,
    ) -> Option<Fetched> {
        let id = self.id;
        let segment = self
            .segments
            .iter_mut()
            .find(|segment| segment.has_wanted(wanted) && !segment.is_aside)?;
        let block = segment.unpark(wanted)?;
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
            rows: segment.rows_at(block).unwrap_or(Rows {
                count: 0,
                destination: DestinationId::SENTINEL,
            }),
            bytes: read.map(|(_, content)| content).unwrap_or_default(),
        };
        let was_safe = block * BLOCK_BYTES < segment.durable_end;
        Some(match was_safe || is_planted(Bug::TornBelieved) {
            true => Fetched::Damaged(damage),
            false => Fetched::Torn(damage),
        })
    }

    /// Gives up the bodies of the oldest segment that becomes free by it: none of its records is on
    /// its way. Gives their rows by destination; nothing if there is none.
    pub fn drop_oldest(&mut self) -> Option<Vec<Rows>> {
        let mut segments = self.segments.iter_mut();
        let segment = segments.find(|segment| segment.is_waiting())?;
        let dropped = segment.waiting();
        while let Some(block) = segment.unpark(&Wanted::ALL) {
            segment.settle(block);
        }
        Some(dropped.into_iter().map(|(_, rows)| rows).collect())
    }

    /// What waits to be read in the youngest segment, by destination: how many records, and their
    /// rows.
    pub(super) fn newest_waiting(&self) -> Vec<(usize, Rows)> {
        self.segments
            .back()
            .map(Segment::waiting)
            .unwrap_or_default()
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
