//! A piece of a busy connection: whole frames on their way to a shard that has nothing to do.
//!
//! Cutting frames out of a stream is a tenth of the work and needs all that came before; making rows of
//! them is the rest and does not. So a shard whose connection brings more than it can map cuts on and
//! gives pieces of it away. No socket, no clock.

use super::connection::{Nowhere, Sink};
use crate::clock::Moment;
use crate::frame::{End, Frame};
use crate::limits::{PIECE_BYTES, PIECE_BYTES_KEPT};
use crate::map::Source;
use crate::metrics::{Counter, Tally};
use std::net::IpAddr;

/// Frames of one read of one connection, in their order, and how many of them are done with.
#[derive(Debug)]
pub struct Piece {
    /// One behind the other.
    bytes: Vec<u8>,
    /// Where each ends in `bytes`, and how it came to its end.
    ends: Vec<(usize, End)>,
    source: Source,
    /// Frames done with.
    done_count: usize,
}

impl Default for Piece {
    /// Without memory for frames.
    fn default() -> Self {
        Piece {
            bytes: Vec::new(),
            ends: Vec::new(),
            source: Source {
                peer: IpAddr::from([0, 0, 0, 0]),
                received: Moment::default(),
            },
            done_count: 0,
        }
    }
}

impl Piece {
    /// Whom its frames came from, and when.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Sets that, for frames to come.
    pub fn open_for(&mut self, source: Source) {
        self.source = source;
    }

    /// True if it should get no further frame.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= PIECE_BYTES
    }

    /// True if it has no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Frames in it, done with or not.
    #[must_use]
    pub fn frames_count(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Puts a frame behind the others.
    pub fn push(&mut self, frame: Frame<'_>) {
        self.bytes.extend_from_slice(frame.bytes);
        self.ends.push((self.bytes.len(), frame.end));
    }

    /// Gives frames to the sink until it is not ready. True if all are done with.
    pub fn empty_into(&mut self, sink: &mut impl Sink, tally: &mut Tally) -> bool {
        let done = self.done_count.checked_sub(1);
        let mut start = done.map_or(0, |last| self.ends.get(last).map_or(0, |(end, _)| *end));
        for (end, how) in self.ends.iter().skip(self.done_count) {
            if !sink.is_ready(tally) {
                return false;
            }
            let bytes = self.bytes.get(start..*end).unwrap_or_default();
            tally.add(Counter::FramesHelped, 1);
            sink.count(*how, tally);
            sink.take(Frame { bytes, end: *how }, tally);
            start = *end;
            self.done_count += 1;
        }
        true
    }

    /// The program stops and there is no page: what is left is lost, and counted.
    pub fn abandon(&mut self, tally: &mut Tally) {
        self.empty_into(&mut Nowhere, tally);
    }

    /// Forgets the frames, and keeps the memory unless a giant one has made it grow.
    pub fn reset(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(PIECE_BYTES_KEPT);
        self.ends.clear();
        self.ends.shrink_to(PIECE_BYTES / 64);
        self.done_count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FRAME_BYTES_MOST;

    /// Takes so many frames before it needs a pause.
    #[derive(Default)]
    struct Collector {
        frames: Vec<(Vec<u8>, End)>,
        room: usize,
    }

    impl Sink for Collector {
        fn is_ready(&mut self, _: &mut Tally) -> bool {
            self.room > 0
        }
        fn take(&mut self, frame: Frame<'_>, _: &mut Tally) {
            self.room -= 1;
            self.frames.push((frame.bytes.to_vec(), frame.end));
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in_with_any_pauses() {
        let seed = 0x5eed_0e01;
        println!("seed {seed:#x}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut piece = Piece::default();
        for _ in 0..2_000 {
            let mut expected = Vec::new();
            while !piece.is_full() && random.u8(0..40) > 0 {
                let most = *random.choice(&[300, 9_000]).unwrap();
                let length = random.usize(1..most);
                let bytes = vec![random.u8(..); length];
                let end = *random.choice(&[End::Whole, End::Truncated]).unwrap();
                piece.push(Frame { bytes: &bytes, end });
                expected.push((bytes, end));
            }
            let mut sink = Collector::default();
            let mut tally = Tally::default();
            sink.room = random.usize(0..20);
            while !piece.empty_into(&mut sink, &mut tally) {
                assert_eq!(sink.room, 0);
                assert!(sink.frames.len() < expected.len());
                sink.room = random.usize(0..20);
            }
            assert_eq!(sink.frames, expected);
            // counted where they were taken
            let truncated = expected.iter().filter(|(_, end)| *end == End::Truncated);
            assert_eq!(tally.value(Counter::FramesReceived), expected.len() as u64);
            assert_eq!(
                tally.value(Counter::FramesTruncated),
                truncated.count() as u64
            );
            // a giant frame leaves no giant piece
            piece.push(Frame {
                bytes: &[b'x'; FRAME_BYTES_MOST],
                end: End::Whole,
            });
            piece.reset();
            assert!(piece.is_empty());
            assert!(piece.bytes.capacity() <= 2 * PIECE_BYTES_KEPT);
        }
    }

    #[test]
    fn what_is_left_at_a_stop_is_counted_as_lost() {
        let mut piece = Piece::default();
        for (bytes, end) in [
            (&b"a"[..], End::Whole),
            (b"b", End::Truncated),
            (b"c", End::Whole),
        ] {
            piece.push(Frame { bytes, end });
        }
        let mut sink = Collector {
            room: 1,
            ..Collector::default()
        };
        let mut tally = Tally::default();
        assert!(!piece.empty_into(&mut sink, &mut tally));
        piece.abandon(&mut tally);
        assert_eq!(tally.value(Counter::FramesReceived), 3);
        assert_eq!(tally.value(Counter::FramesLostStop), 2);
        assert_eq!(tally.value(Counter::FramesTruncated), 1);
        assert_eq!(tally.value(Counter::FramesHelped), piece.frames_count());
        sink.room = 9;
        assert!(piece.empty_into(&mut sink, &mut tally));
        assert_eq!(sink.frames.len(), 1);
    }
}
