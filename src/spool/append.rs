//! One commit: bodies into the current segment of a log, and one sync for all of them.

use super::disk::Disk;
use super::format::{BLOCK_BYTES, LogId, SegmentHead};
use super::log::{Log, Place};
use super::record::{Body, Spot};
use super::segment::{Rows, Segment};
use crate::planted::{Bug, is_planted};
use std::io;

impl<F> Log<F> {
    /// Writes bodies into the current segment, in which they have room, and makes sure of them if the
    /// settings say so. Gives their places, in order.
    ///
    /// # Errors
    /// The system's. None of them is safe then, and the segment is not written again.
    pub fn append<'b, D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        bodies: impl Iterator<Item = &'b Body>,
    ) -> io::Result<Vec<Place>> {
        let failed = self.segments.iter().filter(|segment| segment.is_failed);
        let ended = failed.map(|segment| (segment.number, segment.end as u64));
        let ended = ended.collect();
        let Some(segment) = self.segments.back_mut().filter(|_| self.has_current) else {
            return Err(io::Error::other("no segment is current"));
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let (id, start) = (self.id, segment.end);
        let (mut sequence, mut rows_count) = (self.sequence, self.rows_count);
        let mut written = Vec::new();
        for body in bodies {
            let at = start + buffer.len();
            sequence += 1;
            let spot = Spot {
                log: id,
                segment: segment.number,
                sequence,
                rows_before: rows_count,
                durable_before: segment.durable_end as u64,
            };
            body.write(spot, &mut buffer);
            rows_count += body.payload.rows_count();
            let rows = Rows {
                count: body.payload.rows_count(),
                destination: body.payload.destination,
            };
            written.push((at / BLOCK_BYTES, start + buffer.len(), rows));
        }
        let head = (!self.has_head).then_some(SegmentHead {
            log: id,
            number: segment.number,
            rows_before: self.rows_count,
            ended,
        });
        let done = write_all(disk, segment, head, &buffer, id);
        self.buffer = buffer;
        if let Err(error) = done {
            segment.fail(written.iter().map(|(block, _, _)| *block));
            return Err(error);
        }
        self.has_head = true;
        (self.sequence, self.rows_count) = (sequence, rows_count);
        let places = written.iter().map(|(block, end, rows)| {
            segment.note(*block, *end, *rows);
            Place {
                log: id,
                segment: segment.number,
                block: u32::try_from(*block).unwrap_or(u32::MAX),
            }
        });
        let places = places.collect();
        segment.committed(self.is_power);
        Ok(places)
    }
}

/// One commit: head if the segment is new, records, what is settled in it, and one sync for all.
fn write_all<D: Disk>(
    disk: &mut D,
    segment: &mut Segment<D::File>,
    head: Option<SegmentHead>,
    records: &[u8],
    id: LogId,
) -> io::Result<()> {
    if let Some(head) = head {
        disk.write(&mut segment.file, 0, &head.encode())?;
    }
    disk.write(&mut segment.file, segment.end as u64, records)?;
    segment.write_settled(disk, id)?;
    if segment.is_power && !is_planted(Bug::NoSync) {
        match disk.sync(&mut segment.file) {
            Err(_) if is_planted(Bug::SyncRetried) => disk.sync(&mut segment.file)?,
            done => done?,
        }
    }
    Ok(())
}
