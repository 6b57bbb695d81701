//! The bytes of a spool, and nothing else: what a segment is made of, and how it is told from
//! anything that is not one.
//!
//! ```text
//! segment   block 0        block 1     block 2     block 3 ...
//!           head           settled A   settled B   record | record | record | free ...
//!
//! record    head (128 B) | body (gzip) | row lengths (LEB128) | zeros | tail (128 B)
//!           '---------------- a whole number of blocks of 4 KiB -----------------'
//! ```
//!
//! All numbers are little-endian. Each part has a magic number, the format's version, the id of its
//! log, the number of its segment, and a CRC32C, so that a stale record in a segment that is used
//! again, or one of another spool, is never taken for a record.
//!
//! - The **head of a segment** is a convenience: what it says can be had from the records too.
//! - **Settled** blocks say which records are done with: one bit for the block that a record begins
//!   in. The one with the higher edition counts; it is not written over before a sync has made sure
//!   of it, so that a power cut always leaves one of them whole. Losing both costs duplicates, never
//!   rows.
//! - The **tail of a record** repeats its head, so that a damaged head costs nothing. With both gone
//!   the next record says how many rows are missing: each has the number of rows before it. How many
//!   of those were done with, the settled blocks say.
//!
//! | head or tail of a record | bytes | |
//! |---|---|---|
//! | magic | 0..8 | `CEFREC\r\n`, or `CEFEND\r\n` for the tail |
//! | version | 8..12 | 1 |
//! | reserved | 12..16 | 0 |
//! | log | 16..32 | random |
//! | segment | 32..40 | counted from 1 in each log |
//! | sequence | 40..48 | counted from 1 in each log |
//! | payload | 48..64 | the id under which it is sent, at every try |
//! | rows before | 64..72 | rows in all records of the log before this one |
//! | rows, raw, body, lengths | 72..88 | four numbers of 32 bits: rows; bytes of JSON; bytes of the body; bytes of the row lengths |
//! | opened, sealed | 88..104 | receipt of the oldest row, and sealing; nanoseconds since 1970 |
//! | durable before | 104..112 | up to where this segment was on stable storage when this was written |
//! | destination | 112..120 | follows from its name; 0 for that of `[sentinel]` |
//! | content | 120..124 | CRC32C of body and row lengths |
//! | check | 124..128 | CRC32C of the 124 bytes before |

use crate::clock::Wall;
use crate::compress::PayloadId;
use crate::config::DestinationId;
use crate::limits::BODY_RAW_BYTES_MOST;
use crate::planted::{Bug, is_planted};

/// Unit of place and length in a segment: what disks write whole at best.
pub const BLOCK_BYTES: usize = 4096;
/// Blocks of a segment at most: as many bits as a settled block holds.
pub const BLOCKS_MAX: usize = 16_384;
/// The first block that a record may begin in.
pub const FIRST_BLOCK: usize = 3;
/// Length of a record's head, and of its tail.
pub const HEAD_BYTES: usize = 128;
/// What this program writes; it reads no other.
pub const VERSION: u32 = 1;

const SEGMENT_MAGIC: &[u8; 8] = b"CEFSEG\r\n";
const SETTLED_MAGIC: &[u8; 8] = b"CEFSET\r\n";
const RECORD_MAGIC: &[u8; 8] = b"CEFREC\r\n";
const TAIL_MAGIC: &[u8; 8] = b"CEFEND\r\n";
/// The used part of a segment's head lies in one sector.
const SEGMENT_HEAD_BYTES: usize = 512;
/// Segments that are named in the head of another; there are hardly ever any.
const ENDED_MOST: usize = 24;
const ENDED_AT: usize = 64;
const BITS_AT: usize = 72;
/// No count of rows, segments or editions comes near this; one beyond it was not written by us,
/// whatever its checksum says, and sums of them stay far from the end of 64 bits.
const NUMBER_MOST: u64 = 1 << 48;
const SETTLED_BYTES: usize = BITS_AT + BLOCKS_MAX / 8;

/// Random name of a log: of all segments that one uploader of one run has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u128);

/// Why bytes are not what was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlike {
    /// Other bytes: free space, a piece of a body, a damaged head.
    Other,
    /// Whole, but of another log or an earlier use of the segment.
    Stale,
    /// Whole, and written by a newer program.
    Newer(u32),
}

/// One bit for each block of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits(Box<[u64; BLOCKS_MAX / 64]>);

impl Default for Bits {
    fn default() -> Self {
        Bits(Box::new([0; BLOCKS_MAX / 64]))
    }
}

impl Bits {
    /// Whether a block's bit is set. Past the end no bit is.
    #[must_use]
    pub fn has(&self, block: usize) -> bool {
        self.0
            .get(block / 64)
            .is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// Sets or clears a block's bit. True if that changed it.
    pub fn set(&mut self, block: usize, is_set: bool) -> bool {
        let before = self.has(block);
        if let Some(word) = self.0.get_mut(block / 64) {
            let bit = 1 << (block % 64);
            *word = if is_set { *word | bit } else { *word & !bit };
        }
        before != self.has(block)
    }

    /// The first block from `from` on whose bit is set.
    #[must_use]
    pub fn next(&self, from: usize) -> Option<usize> {
        let words = self.0.iter().enumerate().skip(from / 64);
        for (index, word) in words {
            let word = match index == from / 64 {
                true => word & (u64::MAX << (from % 64)),
                false => *word,
            };
            if word != 0 {
                return Some(index * 64 + word.trailing_zeros() as usize);
            }
        }
        None
    }

    /// How many are set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// Head of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHead {
    /// Its log.
    pub log: LogId,
    /// Its number in the log.
    pub number: u64,
    /// Rows in all records of the log before it.
    pub rows_before: u64,
    /// Earlier segments that were ended by a failure: number, and the byte behind the last record
    /// that is one. What a commit that failed may have left behind it was written again elsewhere.
    pub ended: Vec<(u64, u64)>,
}

/// What is known of a segment's records besides themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Its log.
    pub log: LogId,
    /// Its segment's number.
    pub number: u64,
    /// Counts the writings.
    pub edition: u64,
    /// The segment was on stable storage up to this byte.
    pub durable_end: u64,
    /// Rows of the log up to there.
    pub rows_end: u64,
    /// Rows of the records that are done with and lie before that byte.
    pub rows_settled: u64,
    /// The records that are done with, by the block that they begin in.
    pub bits: Bits,
}

/// Head or tail of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    /// Its log.
    pub log: LogId,
    /// Its segment's number.
    pub segment: u64,
    /// Its number in the log.
    pub sequence: u64,
    /// The id under which the body is sent.
    pub payload: PayloadId,
    /// Rows in all records of the log before it.
    pub rows_before: u64,
    /// Rows in the body.
    pub rows_count: u32,
    /// Bytes of JSON.
    pub raw_bytes: u32,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// Bytes of the encoded row lengths.
    pub lengths_bytes: u32,
    /// Receipt of the oldest row.
    pub opened_at: Wall,
    /// When the body was sealed.
    pub sealed_at: Wall,
    /// The segment was on stable storage up to this byte when this was written.
    pub durable_before: u64,
    /// Where the rows go.
    pub destination: DestinationId,
    /// CRC32C of body and row lengths.
    pub content: u32,
}

/// Bytes of a record with so much content: whole blocks.
#[must_use]
pub fn record_bytes(content_bytes: usize) -> usize {
    (HEAD_BYTES + content_bytes + HEAD_BYTES).next_multiple_of(BLOCK_BYTES)
}

impl SegmentHead {
    /// Its sector; the rest of the block is free.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut bytes = [0; SEGMENT_HEAD_BYTES];
        let mut out = Out(&mut bytes);
        out.common(SEGMENT_MAGIC, self.log, self.number);
        out.u64(40, self.rows_before);
        let ended = self.ended.iter().take(ENDED_MOST);
        for (index, (number, end)) in ended.enumerate() {
            out.u64(ENDED_AT + 16 * index, *number);
            out.u64(ENDED_AT + 16 * index + 8, *end);
        }
        seal(&mut bytes, SEGMENT_HEAD_BYTES - 4);
        bytes
    }

    /// Reads the beginning of a segment.
    ///
    /// # Errors
    /// It is none of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unlike> {
        let (log, number) = common(bytes, SEGMENT_MAGIC, SEGMENT_HEAD_BYTES - 4)?;
        let ended = (0..ENDED_MOST)
            .map(|index| ENDED_AT + 16 * index)
            .map(|at| (u64_at(bytes, at), u64_at(bytes, at + 8)))
            .take_while(|(number, _)| *number > 0);
        Ok(SegmentHead {
            log,
            number,
            rows_before: number_at(bytes, 40)?,
            ended: ended.collect(),
        })
    }
}

impl Settled {
    /// Its block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK_BYTES];
        let mut out = Out(&mut bytes);
        out.common(SETTLED_MAGIC, self.log, self.number);
        out.u64(40, self.edition);
        out.u64(48, self.durable_end);
        out.u64(56, self.rows_end);
        out.u64(64, self.rows_settled);
        for (index, word) in self.bits.0.iter().enumerate() {
            out.u64(BITS_AT + 8 * index, *word);
        }
        seal(&mut bytes, SETTLED_BYTES);
        bytes
    }

    /// Reads a block.
    ///
    /// # Errors
    /// It is none of this version, or not of this segment.
    pub fn decode(bytes: &[u8], of: (LogId, u64)) -> Result<Self, Unlike> {
        let (log, number) = common(bytes, SETTLED_MAGIC, SETTLED_BYTES)?;
        if (log, number) != of && !is_planted(Bug::StaleAccepted) {
            return Err(Unlike::Stale);
        }
        let mut bits = Bits::default();
        for (index, word) in bits.0.iter_mut().enumerate() {
            *word = u64_at(bytes, BITS_AT + 8 * index);
        }
        Ok(Settled {
            log,
            number,
            edition: number_at(bytes, 40)?,
            durable_end: u64_at(bytes, 48),
            rows_end: number_at(bytes, 56)?,
            rows_settled: number_at(bytes, 64)?,
            bits,
        })
    }

    /// The block that an edition is written to.
    #[must_use]
    pub fn block_of(edition: u64) -> usize {
        1 + (edition % 2) as usize
    }
}

impl RecordHead {
    /// Bytes of the whole record.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        record_bytes(self.content_bytes())
    }

    /// Bytes of body and row lengths.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.body_bytes as usize + self.lengths_bytes as usize
    }

    /// As a head.
    #[must_use]
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        self.encode_as(RECORD_MAGIC)
    }

    /// As a tail.
    #[must_use]
    pub fn encode_tail(&self) -> [u8; HEAD_BYTES] {
        self.encode_as(TAIL_MAGIC)
    }

    fn encode_as(&self, magic: &[u8; 8]) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let mut out = Out(&mut bytes);
        out.common(magic, self.log, self.segment);
        out.u64(40, self.sequence);
        out.put(48, &self.payload.to_bytes());
        out.u64(64, self.rows_before);
        out.put(72, &self.rows_count.to_le_bytes());
        out.put(76, &self.raw_bytes.to_le_bytes());
        out.put(80, &self.body_bytes.to_le_bytes());
        out.put(84, &self.lengths_bytes.to_le_bytes());
        out.put(88, &self.opened_at.0.to_le_bytes());
        out.put(96, &self.sealed_at.0.to_le_bytes());
        out.u64(104, self.durable_before);
        out.u64(112, self.destination.to_bits());
        out.put(120, &self.content.to_le_bytes());
        seal(&mut bytes, HEAD_BYTES - 4);
        bytes
    }

    /// Reads the head at the beginning of `bytes`.
    ///
    /// # Errors
    /// There is none, or it is not of this segment.
    pub fn decode(bytes: &[u8], of: (LogId, u64)) -> Result<Self, Unlike> {
        Self::decode_any(bytes).and_then(|head| head.if_of(of))
    }

    /// Reads the tail at the end of `bytes`.
    ///
    /// # Errors
    /// There is none, or it is not of this segment.
    pub fn decode_tail(bytes: &[u8], of: (LogId, u64)) -> Result<Self, Unlike> {
        Self::decode_any_tail(bytes).and_then(|head| head.if_of(of))
    }

    /// The same for a head of whatever segment.
    ///
    /// # Errors
    /// There is none.
    pub fn decode_any(bytes: &[u8]) -> Result<Self, Unlike> {
        Self::decode_as(bytes, RECORD_MAGIC)
    }

    /// The same for a tail of whatever segment.
    ///
    /// # Errors
    /// There is none.
    pub fn decode_any_tail(bytes: &[u8]) -> Result<Self, Unlike> {
        let at = bytes.len().checked_sub(HEAD_BYTES).ok_or(Unlike::Other)?;
        Self::decode_as(bytes.get(at..).unwrap_or_default(), TAIL_MAGIC)
    }

    fn if_of(self, of: (LogId, u64)) -> Result<Self, Unlike> {
        let is_of = match is_planted(Bug::StaleAccepted) {
            true => self.log == of.0,
            false => (self.log, self.segment) == of,
        };
        is_of.then_some(self).ok_or(Unlike::Stale)
    }

    fn decode_as(bytes: &[u8], magic: &[u8; 8]) -> Result<Self, Unlike> {
        let (log, segment) = common(bytes, magic, HEAD_BYTES - 4)?;
        let head = RecordHead {
            log,
            segment,
            sequence: u64_at(bytes, 40),
            payload: PayloadId::from_bytes(array_at(bytes, 48)),
            rows_before: number_at(bytes, 64)?,
            rows_count: u32_at(bytes, 72),
            raw_bytes: u32_at(bytes, 76),
            body_bytes: u32_at(bytes, 80),
            lengths_bytes: u32_at(bytes, 84),
            opened_at: Wall(i64::from_le_bytes(array_at(bytes, 88))),
            sealed_at: Wall(i64::from_le_bytes(array_at(bytes, 96))),
            durable_before: u64_at(bytes, 104),
            destination: DestinationId::from_bits(u64_at(bytes, 112)),
            content: u32_at(bytes, 120),
        };
        // a record that no segment could hold was not written by us, whatever its checksum says
        let fits = head.record_bytes() <= (BLOCKS_MAX - FIRST_BLOCK) * BLOCK_BYTES;
        let fits = fits && head.raw_bytes as usize <= BODY_RAW_BYTES_MOST;
        (fits && (1..=head.raw_bytes).contains(&head.rows_count))
            .then_some(head)
            .ok_or(Unlike::Other)
    }
}

/// Where numbers are put; what does not fit is left out, which the tests of the formats would see.
struct Out<'a>(&'a mut [u8]);

impl Out<'_> {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn u64(&mut self, at: usize, number: u64) {
        self.put(at, &number.to_le_bytes());
    }

    fn common(&mut self, magic: &[u8; 8], log: LogId, segment: u64) {
        self.put(0, magic);
        self.put(8, &VERSION.to_le_bytes());
        self.put(16, &log.0.to_le_bytes());
        self.u64(32, segment);
    }
}

/// Puts the checksum of the bytes before `at` there.
fn seal(bytes: &mut [u8], at: usize) {
    let check = crc32c::crc32c(bytes.get(..at).unwrap_or_default());
    Out(bytes).put(at, &check.to_le_bytes());
}

/// Checks magic, checksum and version; gives log and segment.
fn common(bytes: &[u8], magic: &[u8; 8], check_at: usize) -> Result<(LogId, u64), Unlike> {
    if bytes.len() < check_at + 4 || !bytes.starts_with(magic) {
        return Err(Unlike::Other);
    }
    let checked = bytes.get(..check_at).unwrap_or_default();
    if crc32c::crc32c(checked) != u32_at(bytes, check_at) {
        return Err(Unlike::Other);
    }
    match u32_at(bytes, 8) {
        VERSION => Ok((
            LogId(u128::from_le_bytes(array_at(bytes, 16))),
            number_at(bytes, 32)?,
        )),
        0 => Err(Unlike::Other),
        version => Err(Unlike::Newer(version)),
    }
}

/// Bytes at a place that lies inside; zeros if it does not.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..at + N)
        .and_then(|part| part.try_into().ok())
        .unwrap_or([0; N])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// A count or number.
fn number_at(bytes: &[u8], at: usize) -> Result<u64, Unlike> {
    Some(u64_at(bytes, at))
        .filter(|number| *number <= NUMBER_MOST)
        .ok_or(Unlike::Other)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

    fn record_head() -> RecordHead {
        RecordHead {
            log: LOG,
            segment: 7,
            sequence: 9,
            payload: PayloadId::from_bytes([3; 16]),
            rows_before: 1000,
            rows_count: 20,
            raw_bytes: 5000,
            body_bytes: 700,
            lengths_bytes: 40,
            opened_at: Wall(-1),
            sealed_at: Wall(i64::MAX),
            durable_before: 12_288,
            destination: DestinationId::of("basic"),
            content: 0xdead_beef,
        }
    }

    #[test]
    fn parts_come_back_and_only_for_their_segment() {
        let head = record_head();
        let of = (LOG, 7);
        assert_eq!(RecordHead::decode(&head.encode(), of), Ok(head));
        assert_eq!(RecordHead::decode_tail(&head.encode_tail(), of), Ok(head));
        assert_eq!(
            RecordHead::decode(&head.encode_tail(), of),
            Err(Unlike::Other)
        );
        assert_eq!(
            RecordHead::decode_tail(&head.encode(), of),
            Err(Unlike::Other)
        );
        for other in [(LOG, 6), (LogId(1), 7)] {
            assert_eq!(
                RecordHead::decode(&head.encode(), other),
                Err(Unlike::Stale)
            );
        }
        let ended: Vec<(u64, u64)> = (1..=ENDED_MOST as u64).map(|n| (n, n * 4096)).collect();
        let segment = SegmentHead {
            log: LOG,
            number: 30,
            rows_before: 99,
            ended,
        };
        assert_eq!(SegmentHead::decode(&segment.encode()), Ok(segment.clone()));
        let mut more = segment.clone();
        more.ended.push((25, 4096));
        assert_eq!(SegmentHead::decode(&more.encode()), Ok(segment));
        let mut bits = Bits::default();
        for block in [FIRST_BLOCK, 64, BLOCKS_MAX - 1] {
            assert!(bits.set(block, true) && !bits.set(block, true));
        }
        assert!(!bits.set(BLOCKS_MAX, true) && !bits.has(BLOCKS_MAX));
        let settled = Settled {
            log: LOG,
            number: 7,
            edition: 5,
            durable_end: 70_000,
            rows_end: 300,
            rows_settled: 200,
            bits,
        };
        let block = settled.encode();
        assert_eq!(block.len(), BLOCK_BYTES);
        assert_eq!(Settled::decode(&block, of), Ok(settled));
        assert_eq!(Settled::decode(&block, (LOG, 8)), Err(Unlike::Stale));
    }

    #[test]
    fn a_changed_byte_anywhere_is_seen() {
        let head = record_head().encode();
        let settled = Settled {
            log: LOG,
            number: 7,
            edition: 5,
            durable_end: 0,
            rows_end: 0,
            rows_settled: 0,
            bits: Bits::default(),
        };
        let settled = settled.encode();
        for at in 0..HEAD_BYTES {
            let mut bytes = head;
            bytes[at] ^= 0x20;
            let decoded = RecordHead::decode(&bytes, (LOG, 7));
            assert_eq!(decoded, Err(Unlike::Other), "{at}");
        }
        for at in 0..SETTLED_BYTES + 4 {
            let mut bytes = settled.clone();
            bytes[at] ^= 0x20;
            let decoded = Settled::decode(&bytes, (LOG, 7));
            assert_eq!(decoded, Err(Unlike::Other), "{at}");
        }
        // too short for what it should be
        for length in 0..HEAD_BYTES {
            assert!(RecordHead::decode_any(&head[..length]).is_err());
            assert!(RecordHead::decode_any_tail(&head[..length]).is_err());
        }
    }

    #[test]
    fn numbers_beyond_what_a_run_can_reach_are_not_ours() {
        let of = (LOG, 7);
        let good = record_head();
        let room = (BLOCKS_MAX - FIRST_BLOCK) * BLOCK_BYTES - 2 * HEAD_BYTES;
        let room = u32::try_from(room).unwrap();
        let raw_most = u32::try_from(BODY_RAW_BYTES_MOST).unwrap();
        let at_bound = [
            RecordHead {
                rows_before: NUMBER_MOST,
                ..good
            },
            RecordHead {
                body_bytes: room - 40,
                ..good
            },
            RecordHead {
                raw_bytes: raw_most,
                ..good
            },
            RecordHead {
                rows_count: 5000,
                ..good
            },
        ];
        for head in at_bound {
            assert_eq!(RecordHead::decode(&head.encode(), of), Ok(head));
        }
        let past_bound = [
            RecordHead {
                rows_before: NUMBER_MOST + 1,
                ..good
            },
            RecordHead {
                segment: u64::MAX,
                ..good
            },
            RecordHead {
                body_bytes: room - 39,
                ..good
            },
            RecordHead {
                body_bytes: u32::MAX,
                lengths_bytes: u32::MAX,
                ..good
            },
            RecordHead {
                raw_bytes: raw_most + 1,
                ..good
            },
            RecordHead {
                rows_count: 0,
                ..good
            },
            RecordHead {
                rows_count: 5001,
                ..good
            },
        ];
        for head in past_bound {
            let decoded = RecordHead::decode_any(&head.encode());
            assert_eq!(decoded, Err(Unlike::Other), "{head:?}");
        }
    }

    #[test]
    fn bits_are_found_in_order() {
        let mut bits = Bits::default();
        let set = [0, 63, 64, 127, 5000, BLOCKS_MAX - 1];
        for block in set {
            bits.set(block, true);
        }
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(block) = bits.next(from) {
            found.push(block);
            from = block + 1;
        }
        assert_eq!(found, set);
        assert_eq!(bits.count(), set.len());
        bits.set(64, false);
        assert_eq!(bits.next(64), Some(127));
    }

    #[test]
    fn records_take_whole_blocks() {
        for (content_bytes, blocks) in [
            (0, 1),
            (BLOCK_BYTES - 2 * HEAD_BYTES, 1),
            (BLOCK_BYTES - 2 * HEAD_BYTES + 1, 2),
        ] {
            assert_eq!(record_bytes(content_bytes), blocks * BLOCK_BYTES);
        }
    }
}
