//! Rows to gzip, in one reused encoder, and the payload that comes out.
//!
//! Two encoders make bodies: one that is told where the columns of rows are ([`crate::deflate`]), at
//! a quarter of the price of the other and no more bytes; and zlib's method at a fixed level, for
//! those who ask for one; at level 0 it only copies.
//!
//! The service counts bytes after gzip, so both say at any time how much more may be fed without
//! that a body comes over a limit ([`Gzip::raw_bytes_left`]), whatever the bytes are.

mod zlib;

use crate::clock::Mono;
use crate::config::{DestinationId, GzipLevel};
use crate::deflate::{Effort, Encoder, HEADER, Row, TRAILER_BYTES};
use crate::page::Arrival;
use bytes::{Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use zlib::Zlib;

/// An encoder that makes one gzip body after the other.
#[derive(Debug)]
pub struct Gzip {
    engine: Engine,
    /// What was fed, to be compared with what the body reads back as: a wrong body is lost rows.
    #[cfg(debug_assertions)]
    fed: Vec<u8>,
}

#[derive(Debug)]
enum Engine {
    Rows(Box<Encoder>),
    Zlib(Box<Zlib>),
}

impl Gzip {
    /// At this level.
    #[must_use]
    pub fn new(level: GzipLevel) -> Self {
        Gzip {
            engine: match level {
                GzipLevel::Auto => Engine::Rows(Box::default()),
                GzipLevel::Zlib(level) => Engine::Zlib(Box::new(Zlib::new(level))),
            },
            #[cfg(debug_assertions)]
            fed: Vec::new(),
        }
    }

    /// Begins a body in `out`, whose content is forgotten.
    pub fn start(&mut self, out: Vec<u8>) {
        #[cfg(debug_assertions)]
        self.fed.clear();
        match &mut self.engine {
            Engine::Rows(encoder) => encoder.start(out),
            Engine::Zlib(zlib) => zlib.start(out),
        }
    }

    /// Goes by this effort from the next row on. A fixed level stays what it is.
    pub fn set_effort(&mut self, effort: Effort) {
        if let Engine::Rows(encoder) = &mut self.engine {
            encoder.set_effort(effort);
        }
    }

    /// True if single rows are of use, with what is known of them; or else they are fed in runs.
    #[must_use]
    pub fn knows_rows(&self) -> bool {
        matches!(self.engine, Engine::Rows(_))
    }

    /// Adds bytes to the body.
    pub fn feed(&mut self, raw: &[u8]) {
        self.note(raw);
        match &mut self.engine {
            Engine::Rows(encoder) => encoder.feed(raw),
            Engine::Zlib(zlib) => zlib.feed(raw),
        }
    }

    /// This row is fed soon.
    #[inline]
    pub fn expect(&self, row: Row<'_>) {
        if let Engine::Rows(encoder) = &self.engine {
            encoder.expect(row);
        }
    }

    /// Adds a row to the body.
    pub fn feed_row(&mut self, row: Row<'_>) {
        self.note(row.bytes);
        match &mut self.engine {
            Engine::Rows(encoder) => encoder.feed_row(row),
            Engine::Zlib(zlib) => zlib.feed(row.bytes),
        }
    }

    /// Writes out what is held back, so that the length is exact. Costs some bytes.
    pub fn flush(&mut self) {
        match &mut self.engine {
            Engine::Rows(encoder) => encoder.flush(),
            Engine::Zlib(zlib) => zlib.flush(),
        }
    }

    /// Ends the body and returns it.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        let body = match &mut self.engine {
            Engine::Rows(encoder) => encoder.finish(),
            Engine::Zlib(zlib) => zlib.finish(),
        };
        #[cfg(debug_assertions)]
        assert!(
            gunzip(&body, self.fed.len()).as_ref() == Some(&self.fed),
            "a body reads back as what was fed"
        );
        body
    }

    /// Bytes fed since the body began.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        match &self.engine {
            Engine::Rows(encoder) => encoder.raw_bytes(),
            Engine::Zlib(zlib) => zlib.raw_bytes(),
        }
    }

    /// How many more bytes may be fed so that the finished body is never longer than
    /// `wire_bytes_max`. More may fit after a [`Gzip::flush`].
    #[must_use]
    pub fn raw_bytes_left(&self, wire_bytes_max: usize) -> usize {
        match &self.engine {
            Engine::Rows(encoder) => encoder.raw_bytes_left(wire_bytes_max),
            Engine::Zlib(zlib) => zlib.raw_bytes_left(wire_bytes_max),
        }
    }

    #[cfg(debug_assertions)]
    fn note(&mut self, raw: &[u8]) {
        self.fed.extend_from_slice(raw);
    }

    #[cfg(not(debug_assertions))]
    fn note(&self, _: &[u8]) {}
}

/// Undoes gzip as [`Gzip`] makes it. Nothing if `body` is no such body, is damaged, or holds more
/// than `raw_bytes_max`.
#[must_use]
pub fn gunzip(body: &[u8], raw_bytes_max: usize) -> Option<Vec<u8>> {
    let deflated_end = body.len().checked_sub(TRAILER_BYTES)?;
    let deflated = body.get(HEADER.len()..deflated_end)?;
    let (checksum, length) = body.get(deflated_end..)?.split_at_checked(4)?;
    let mut raw = Vec::with_capacity(raw_bytes_max + 1);
    let mut inflate = Decompress::new(false);
    let status = inflate.decompress_vec(deflated, &mut raw, FlushDecompress::Finish);
    let is_whole = matches!(status, Ok(Status::StreamEnd))
        && raw.len() <= raw_bytes_max
        && u32::try_from(raw.len()).ok()?.to_le_bytes() == length
        && crc32fast::hash(&raw).to_le_bytes() == checksum;
    is_whole.then_some(raw)
}

/// Name of a payload: sent as `x-ms-client-request-id`, the same at each try, and written into
/// every log line about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadId(u128);

impl PayloadId {
    /// A random one. It tells payloads apart in logs and protects nothing.
    #[must_use]
    pub fn random() -> Self {
        PayloadId(fastrand::u128(..))
    }

    /// As it is kept on disk.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// As it was kept on disk.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        PayloadId(u128::from_le_bytes(bytes))
    }
}

impl std::fmt::Display for PayloadId {
    /// As a GUID, version 4 (RFC 9562 section 5.4).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = (self.0 & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            bits >> 96,
            (bits >> 80) & 0xffff,
            (bits >> 64) & 0xffff,
            (bits >> 48) & 0xffff,
            bits & 0xffff_ffff_ffff
        )
    }
}

impl std::fmt::Debug for PayloadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A sealed body and what is known of its rows. Never empty: [`crate::batch::Batch`] seals only
/// bodies with rows.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Its name.
    pub id: PayloadId,
    /// The JSON array, gzipped. A copy is a reference.
    pub body: Bytes,
    /// End of each row in the JSON array. The first row begins at 1, each further one at the end
    /// of the row before it and 1, for the bracket or the comma. Kept, not found by reading the
    /// rows: a row that is broken JSON is what the service refuses, and must be cut out all the
    /// same.
    pub ends: Vec<u32>,
    /// When the rows were received; the sum of `rows_count` equals `ends.len()`.
    pub arrivals: Vec<Arrival>,
    /// When the body was sealed; for parts of a body, when the whole was.
    pub sealed_at: Mono,
    /// Where its rows go; of a name that the configuration need not have any more.
    pub destination: DestinationId,
}

impl Payload {
    /// How many rows it holds.
    #[must_use]
    pub fn rows_count(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Bytes of JSON, brackets included.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize) + 1
    }

    /// The JSON array; nothing if the body was damaged in memory.
    #[must_use]
    pub fn raw(&self) -> Option<Vec<u8>> {
        gunzip(&self.body, self.raw_bytes())
    }

    /// Two payloads with half of the rows each, in order, compressed at `level`. Nothing if there is
    /// only one row.
    ///
    /// Builds an encoder anew: this is for what the service has refused.
    #[must_use]
    pub fn halves(&self, level: GzipLevel) -> Option<(Payload, Payload)> {
        if self.ends.len() < 2 {
            return None;
        }
        let raw = self.raw()?;
        let middle = self.ends.len() / 2;
        let mut gzip = Gzip::new(level);
        let mut part = |from: usize, to: usize| {
            let start = match from {
                0 => 0,
                _ => self.ends.get(from - 1).map_or(0, |end| *end as usize),
            };
            let ends = self.ends.get(from..to)?;
            let rows = raw.get(start + 1..*ends.last()? as usize)?;
            gzip.start(Vec::new());
            gzip.feed(b"[");
            gzip.feed(rows);
            gzip.feed(b"]");
            let shift = u32::try_from(start).ok()?;
            Some(Payload {
                id: PayloadId::random(),
                body: Bytes::from(gzip.finish()),
                ends: ends.iter().map(|end| end - shift).collect(),
                arrivals: Vec::new(),
                sealed_at: self.sealed_at,
                destination: self.destination,
            })
        };
        let (mut first, mut second) = (part(0, middle)?, part(middle, self.ends.len())?);
        (first.arrivals, second.arrivals) = split_arrivals(&self.arrivals, middle);
        Some((first, second))
    }

    /// The body's buffer, to be used again; nothing if somebody still reads it.
    #[must_use]
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        self.body.try_into_mut().ok().map(BytesMut::into)
    }
}

/// The arrivals of the first `rows_count` rows, and those of the rest.
fn split_arrivals(arrivals: &[Arrival], rows_count: usize) -> (Vec<Arrival>, Vec<Arrival>) {
    let mut left = u32::try_from(rows_count).unwrap_or(u32::MAX);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for arrival in arrivals {
        let here = arrival.rows_count.min(left);
        left -= here;
        for (side, rows_count) in [(&mut first, here), (&mut second, arrival.rows_count - here)] {
            if rows_count > 0 {
                side.push(Arrival {
                    at: arrival.at,
                    rows_count,
                });
            }
        }
    }
    (first, second)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Read;

    /// A payload of these rows, each received at its own index.
    pub(crate) fn payload_of(rows: &[&str]) -> Payload {
        let mut gzip = Gzip::new(GzipLevel::Zlib(1));
        let mut raw = Vec::from(b"[");
        let mut ends = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                raw.push(b',');
            }
            raw.extend_from_slice(row.as_bytes());
            ends.push(u32::try_from(raw.len()).unwrap());
        }
        raw.push(b']');
        gzip.feed(&raw);
        Payload {
            id: PayloadId::random(),
            body: Bytes::from(gzip.finish()),
            ends,
            arrivals: (0..rows.len() as u64)
                .map(|at| Arrival {
                    at: Mono(at),
                    rows_count: 1,
                })
                .collect(),
            sealed_at: Mono(7),
            destination: DestinationId::SENTINEL,
        }
    }

    /// All that there are.
    fn levels() -> impl Iterator<Item = GzipLevel> {
        let zlib = (0..=9).map(GzipLevel::Zlib);
        zlib.chain([GzipLevel::Auto])
    }

    fn text_of(payload: &Payload) -> String {
        String::from_utf8(payload.raw().unwrap()).unwrap()
    }

    #[test]
    fn a_body_is_read_back_by_another_gzip_reader_at_every_level_and_cut() {
        let mut random = fastrand::Rng::with_seed(11);
        for level in levels() {
            let mut gzip = Gzip::new(level);
            for round in 0..4 {
                gzip.start(vec![1, 2, 3]);
                let mut raw = Vec::new();
                for _ in 0..random.usize(0..20) {
                    let bytes: Vec<u8> = (0..random.usize(0..60_000))
                        .map(|_| {
                            if round == 0 {
                                random.u8(..)
                            } else {
                                random.u8(b'a'..b'f')
                            }
                        })
                        .collect();
                    gzip.feed(&bytes);
                    raw.extend_from_slice(&bytes);
                    if random.bool() {
                        gzip.flush();
                    }
                }
                let body = gzip.finish();
                let mut back = Vec::new();
                flate2::read::GzDecoder::new(body.as_slice())
                    .read_to_end(&mut back)
                    .unwrap();
                assert!(back == raw, "level {level:?} round {round}");
                assert_eq!(gunzip(&body, raw.len()), Some(raw));
            }
        }
    }

    #[test]
    fn a_body_that_was_left_unfinished_does_not_spoil_the_next() {
        for level in levels() {
            let mut gzip = Gzip::new(level);
            gzip.feed(b"some rows that nobody wants");
            gzip.start(Vec::new());
            gzip.feed(b"[{}]");
            assert_eq!(
                gunzip(&gzip.finish(), 4),
                Some(b"[{}]".to_vec()),
                "level {level:?}"
            );
        }
    }

    #[test]
    fn what_is_left_is_never_more_than_what_fits_even_for_bytes_that_do_not_shrink() {
        let mut random = fastrand::Rng::with_seed(12);
        for level in levels() {
            for round in 0..40 {
                let wire_bytes_max = random.usize(200..150_000);
                let mut gzip = Gzip::new(level);
                gzip.start(Vec::new());
                loop {
                    let left = gzip.raw_bytes_left(wire_bytes_max);
                    if left == 0 {
                        gzip.flush();
                        if gzip.raw_bytes_left(wire_bytes_max) == 0 || gzip.raw_bytes() > 1_000_000
                        {
                            break;
                        }
                        continue;
                    }
                    let piece: Vec<u8> = (0..random.usize(1..=left))
                        // the high bytes have the nine bits; the last rounds shrink a little
                        .map(|_| {
                            if round < 30 {
                                random.u8(144..)
                            } else {
                                random.u8(..16)
                            }
                        })
                        .collect();
                    gzip.feed(&piece);
                }
                let raw_bytes = gzip.raw_bytes();
                let body = gzip.finish();
                assert!(
                    body.len() <= wire_bytes_max,
                    "level {level:?}: {} of at most {wire_bytes_max} from {raw_bytes}",
                    body.len()
                );
            }
        }
    }

    #[test]
    fn damaged_and_longer_bodies_are_refused() {
        let body = payload_of(&["{}", "{}"]).body.to_vec();
        assert_eq!(gunzip(&body, 7), Some(b"[{},{}]".to_vec()));
        assert_eq!(gunzip(&body, 6), None);
        assert_eq!(gunzip(&body[..body.len() - 1], 7), None);
        assert_eq!(gunzip(b"", 7), None);
        for at in HEADER.len()..body.len() {
            let mut damaged = body.clone();
            damaged[at] ^= 0x10;
            // the bits that pad the last byte of the stream mean nothing
            let rows = gunzip(&damaged, 7);
            assert!(rows.is_none_or(|rows| rows == b"[{},{}]"), "byte {at}");
        }
    }

    #[test]
    fn halves_hold_the_rows_in_order_with_their_arrivals() {
        let whole = payload_of(&[r#"{"a":1}"#, r#"{"b":"},{"}"#, "{}", "broken\"", "{}"]);
        let (first, second) = whole.halves(GzipLevel::Auto).unwrap();
        assert_eq!(text_of(&first), r#"[{"a":1},{"b":"},{"}]"#);
        assert_eq!(text_of(&second), r#"[{},broken",{}]"#);
        assert_eq!(first.raw_bytes(), text_of(&first).len());
        assert_eq!(second.raw_bytes(), text_of(&second).len());
        assert_eq!((first.rows_count(), second.rows_count()), (2, 3));
        assert_eq!(second.arrivals.first().unwrap().at, Mono(2));
        assert_eq!(second.sealed_at, whole.sealed_at);
        assert_ne!(first.id, second.id);
        let (broken, last) = second
            .halves(GzipLevel::Auto)
            .unwrap()
            .1
            .halves(GzipLevel::Auto)
            .unwrap();
        assert_eq!(
            (text_of(&broken), text_of(&last)),
            ("[broken\"]".into(), "[{}]".into())
        );
        assert!(last.halves(GzipLevel::Auto).is_none());
    }

    #[test]
    fn arrivals_are_split_inside_of_one_read() {
        let arrivals = [
            Arrival {
                at: Mono(1),
                rows_count: 3,
            },
            Arrival {
                at: Mono(2),
                rows_count: 2,
            },
        ];
        let (first, second) = split_arrivals(&arrivals, 4);
        assert_eq!(
            first.iter().map(|a| a.rows_count).collect::<Vec<_>>(),
            [3, 1]
        );
        assert_eq!(
            second,
            [Arrival {
                at: Mono(2),
                rows_count: 1
            }]
        );
    }

    #[test]
    fn an_id_is_a_guid_of_version_four() {
        assert_eq!(
            PayloadId(0).to_string(),
            "00000000-0000-4000-8000-000000000000"
        );
        assert_eq!(
            PayloadId(u128::MAX).to_string(),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }

    #[test]
    fn a_buffer_comes_back_once_nobody_reads_it() {
        let payload = payload_of(&["{}"]);
        let reader = payload.body.clone();
        assert!(payload.clone().into_buffer().is_none());
        drop(reader);
        let body = payload.body.to_vec();
        assert_eq!(payload.into_buffer(), Some(body));
    }
}
