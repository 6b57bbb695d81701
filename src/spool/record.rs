//! A body and its record: what is written of a payload, and a payload from what was written.

use super::format::{HEAD_BYTES, LogId, RecordHead, record_bytes};
use super::lengths::{decode_lengths, encode_lengths, lengths_bytes};
use crate::clock::{Mono, Wall};
use crate::compress::Payload;
use bytes::Bytes;

/// A sealed body as the spool keeps it.
#[derive(Debug, Clone)]
pub struct Body {
    /// Id, gzip, and where rows end.
    pub payload: Payload,
    /// Receipt of the oldest row.
    pub opened_at: Wall,
    /// When it was sealed.
    pub sealed_at: Wall,
}

/// Where in a log a record goes, and what the log knows.
#[derive(Debug, Clone, Copy)]
pub struct Spot {
    /// The log.
    pub log: LogId,
    /// The segment's number.
    pub segment: u64,
    /// The record's number in the log.
    pub sequence: u64,
    /// Rows of the log before it.
    pub rows_before: u64,
    /// The segment is on stable storage up to here.
    pub durable_before: u64,
}

impl Body {
    /// Bytes of its record.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        record_bytes(self.payload.body.len() + lengths_bytes(&self.payload.ends))
    }

    /// Appends its record to `out`.
    pub fn write(&self, spot: Spot, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + HEAD_BYTES, 0);
        let payload = &self.payload;
        out.extend_from_slice(&payload.body);
        encode_lengths(&payload.ends, out);
        let content = out.get(start + HEAD_BYTES..).unwrap_or_default();
        let lengths_bytes = content.len() - payload.body.len();
        // a body is at most 50 MiB of JSON, so all of them fit in 32 bits
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let head = RecordHead {
            log: spot.log,
            segment: spot.segment,
            sequence: spot.sequence,
            payload: payload.id,
            rows_before: spot.rows_before,
            rows_count: small(payload.ends.len()),
            raw_bytes: small(payload.raw_bytes()),
            body_bytes: small(payload.body.len()),
            lengths_bytes: small(lengths_bytes),
            opened_at: self.opened_at,
            sealed_at: self.sealed_at,
            durable_before: spot.durable_before,
            destination: payload.destination,
            content: crc32c::crc32c(content),
        };
        out.resize(start + head.record_bytes() - HEAD_BYTES, 0);
        out.extend_from_slice(&head.encode_tail());
        if let Some(place) = out.get_mut(start..start + HEAD_BYTES) {
            place.copy_from_slice(&head.encode());
        }
    }

    /// The body of a record, of which `content` is what stands behind the head. Nothing if it is
    /// not what the head says. `now` is what waits are counted from: no moment of an earlier run
    /// can be told on this run's clock.
    #[must_use]
    pub fn read(head: &RecordHead, content: &[u8], now: Mono) -> Option<Body> {
        let content = content.get(..head.content_bytes())?;
        if crc32c::crc32c(content) != head.content {
            return None;
        }
        let (body, lengths) = content.split_at_checked(head.body_bytes as usize)?;
        let ends = decode_lengths(lengths, head.rows_count)?;
        if ends.last()?.checked_add(1)? != head.raw_bytes {
            return None;
        }
        Some(Body {
            payload: Payload {
                id: head.payload,
                body: Bytes::copy_from_slice(body),
                ends,
                arrivals: Vec::new(),
                sealed_at: now,
                destination: head.destination,
            },
            opened_at: head.opened_at,
            sealed_at: head.sealed_at,
        })
    }
}
