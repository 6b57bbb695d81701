//! What is known of one connection, and how its bytes become rows. No socket, no clock.
//!
//! A connection keeps bytes only while a frame is unfinished, or while there is no page for the
//! rows: then its memory holds what was read and not yet framed. A quiet connection holds nothing.

use crate::clock::Mono;
use crate::config::FramingChoice;
use crate::frame::{Cut, End, Frame, Framer};
use crate::metrics::{Counter, Tally};

/// So many fresh bytes at a time are put behind an unfinished frame, until it is finished; the rest
/// is framed where it lies.
const STEP_BYTES: usize = 4096;

/// Where frames go.
pub trait Sink {
    /// False if no frame can be taken now.
    fn is_ready(&mut self, tally: &mut Tally) -> bool;
    /// Counts a frame that it is about to take. One that only passes it on leaves that to the last.
    fn count(&mut self, end: End, tally: &mut Tally) {
        tally.add(Counter::FramesReceived, 1);
        if end == End::Truncated {
            tally.add(Counter::FramesTruncated, 1);
        }
    }
    /// Takes one.
    fn take(&mut self, frame: Frame<'_>, tally: &mut Tally);
}

/// Where frames go when the program stops and there is no page: they are lost, and counted.
#[derive(Debug)]
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn is_ready(&mut self, _: &mut Tally) -> bool {
        true
    }

    fn take(&mut self, _: Frame<'_>, tally: &mut Tally) {
        tally.add(Counter::FramesLostStop, 1);
    }
}

/// The framing of a connection and the bytes that it has to keep.
#[derive(Debug)]
pub struct Connection {
    framer: Framer,
    /// From the first byte not used up; empty if all are.
    held: Vec<u8>,
    /// When the first of `held` came; meaningless if that is empty.
    held_since: Mono,
}

/// How far the bytes shown have been brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// All are in frames, or held as the beginning of one.
    All,
    /// The sink was not ready; what it did not take is held. Feed again, if only with nothing.
    Stalled,
    /// The framing is broken: nothing more can be understood.
    Broken,
}

impl Connection {
    /// A connection that has sent nothing yet.
    #[must_use]
    pub fn new(framing: FramingChoice, frame_bytes_max: usize) -> Self {
        Connection {
            framer: Framer::new(framing, frame_bytes_max),
            held: Vec::new(),
            held_since: Mono::default(),
        }
    }

    /// Bytes kept.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Since when bytes are kept, if any are.
    #[must_use]
    pub fn held_since(&self) -> Option<Mono> {
        (!self.held.is_empty()).then_some(self.held_since)
    }

    /// Takes in `fresh` bytes read at `now`.
    pub fn feed(
        &mut self,
        fresh: &[u8],
        now: Mono,
        sink: &mut impl Sink,
        tally: &mut Tally,
    ) -> Fed {
        let mut rest = fresh;
        let mut fed = Fed::All;
        // first what is held, with no more of the fresh bytes than it takes to be done with it
        while !self.held.is_empty() {
            let before = self.held.len();
            let (step, behind) = rest.split_at(rest.len().min(STEP_BYTES));
            self.held.extend_from_slice(step);
            let used;
            (used, fed) = cut_all(&mut self.framer, &self.held, sink, tally);
            if fed == Fed::All && used >= before {
                rest = &rest[used - before..];
                self.release();
                break;
            }
            if used > 0 {
                self.held.drain(..used);
                self.held_since = now;
            }
            rest = behind;
            if fed != Fed::All || rest.is_empty() {
                break;
            }
        }
        if fed == Fed::All && self.held.is_empty() {
            let used;
            (used, fed) = cut_all(&mut self.framer, rest, sink, tally);
            rest = &rest[used..];
        }
        match fed {
            Fed::Broken => {
                let discarded = self.held.len() + rest.len();
                tally.add(Counter::BytesDiscardedBroken, discarded as u64);
                self.release();
            }
            Fed::All | Fed::Stalled => self.hold(rest, now),
        }
        fed
    }

    /// The connection has ended: what is held is an unfinished frame, or nothing.
    pub fn finish(&mut self, sink: &mut impl Sink, tally: &mut Tally) {
        match self.framer.finish(&self.held) {
            Some(frame) => {
                sink.count(frame.end, tally);
                tally.add(Counter::BytesFramed, self.held.len() as u64);
                sink.take(frame, tally);
            }
            None => tally.add(Counter::BytesDiscardedPartial, self.held.len() as u64),
        }
        self.release();
    }

    /// The program stops and there is no page: what is held is lost, and counted frame by frame.
    pub fn abandon(&mut self, tally: &mut Tally) {
        let now = self.held_since;
        self.feed(&[], now, &mut Nowhere, tally);
        self.finish(&mut Nowhere, tally);
    }

    fn hold(&mut self, rest: &[u8], now: Mono) {
        if rest.is_empty() {
            return;
        }
        if self.held.is_empty() {
            self.held_since = now;
            self.held.reserve_exact(rest.len());
        }
        self.held.extend_from_slice(rest);
    }

    /// Gives the memory back: an idle connection keeps none.
    fn release(&mut self) {
        self.held = Vec::new();
    }
}

/// Cuts frames off the front of `bytes` until there are no more, or the sink is not ready. Gives
/// the bytes used up and why it stopped.
fn cut_all(
    framer: &mut Framer,
    bytes: &[u8],
    sink: &mut impl Sink,
    tally: &mut Tally,
) -> (usize, Fed) {
    let mut used_up = 0;
    let mut framed = 0;
    let fed = loop {
        if !sink.is_ready(tally) {
            break Fed::Stalled;
        }
        match framer.cut(&bytes[used_up..]) {
            Cut::Frame { frame, used } => {
                framed += used;
                used_up += used;
                sink.count(frame.end, tally);
                sink.take(frame, tally);
            }
            Cut::Blank { used } => {
                framed += used;
                used_up += used;
            }
            Cut::Skip { used } => {
                tally.add(Counter::BytesDiscardedTooLong, used as u64);
                used_up += used;
            }
            Cut::More => break Fed::All,
            Cut::Broken => {
                tally.add(Counter::FramingErrors, 1);
                break Fed::Broken;
            }
        }
    };
    tally.add(Counter::BytesFramed, framed as u64);
    (used_up, fed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many frames before it needs a pause.
    #[derive(Default)]
    struct Collector {
        frames: Vec<Vec<u8>>,
        room: usize,
    }

    impl Sink for Collector {
        fn is_ready(&mut self, _: &mut Tally) -> bool {
            self.room > 0
        }
        fn take(&mut self, frame: Frame<'_>, _: &mut Tally) {
            self.room = self.room.saturating_sub(1);
            self.frames.push(frame.bytes.to_vec());
        }
    }

    #[test]
    fn frames_come_out_the_same_in_any_cuts_and_with_any_pauses() {
        let seed = 0x5eed_0003;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..3_000 {
            let counted = round % 2 == 0;
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for index in 0..random.usize(1..40) {
                let long = if random.u8(0..20) == 0 { 9_000 } else { 60 };
                let mut frame = format!("<13>{index} ").into_bytes();
                frame.extend((0..random.usize(1..long)).map(|_| random.u8(b'a'..=b'z')));
                if counted {
                    stream.extend_from_slice(format!("{} ", frame.len()).as_bytes());
                    stream.extend_from_slice(&frame);
                } else {
                    stream.extend_from_slice(&frame);
                    stream.push(b'\n');
                }
                expected.push(frame);
            }
            let mut connection = Connection::new(FramingChoice::Auto, 64 * 1024);
            let mut sink = Collector::default();
            let mut tally = Tally::default();
            let mut at = 0;
            while at < stream.len() {
                let end = (at + random.usize(1..6_000)).min(stream.len());
                let mut fresh = &stream[at..end];
                at = end;
                loop {
                    sink.room = random.usize(0..30);
                    match connection.feed(fresh, Mono(1), &mut sink, &mut tally) {
                        Fed::All => break,
                        Fed::Stalled => fresh = &[],
                        Fed::Broken => panic!("broken"),
                    }
                }
            }
            assert_eq!(connection.held_bytes(), 0);
            assert_eq!(sink.frames, expected);
            let value = |counter| usize::try_from(tally.value(counter)).unwrap();
            assert_eq!(value(Counter::FramesReceived), expected.len());
            assert_eq!(value(Counter::BytesFramed), stream.len());
        }
    }

    #[test]
    fn every_byte_is_framed_discarded_or_held() {
        let seed = 0x5eed_0004;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let mut connection = Connection::new(FramingChoice::Auto, 16);
            let mut sink = Collector {
                room: usize::MAX,
                ..Collector::default()
            };
            let mut tally = Tally::default();
            let mut sent = 0;
            let mut broken = false;
            for _ in 0..random.usize(1..5) {
                let fresh: Vec<u8> = (0..random.usize(0..50))
                    .map(|_| *random.choice(b"0129 <ab\n\0\r").unwrap())
                    .collect();
                sent += fresh.len();
                if connection.feed(&fresh, Mono(1), &mut sink, &mut tally) == Fed::Broken {
                    broken = true;
                    break;
                }
            }
            let accounted = |tally: &Tally| {
                tally.value(Counter::BytesFramed)
                    + tally.value(Counter::BytesDiscardedTooLong)
                    + tally.value(Counter::BytesDiscardedBroken)
                    + tally.value(Counter::BytesDiscardedPartial)
            };
            let held = connection.held_bytes() as u64;
            assert_eq!(accounted(&tally) + held, sent as u64);
            assert!(!broken || held == 0);
            connection.finish(&mut sink, &mut tally);
            assert_eq!(accounted(&tally), sent as u64);
            assert_eq!(
                tally.value(Counter::FramesReceived),
                sink.frames.len() as u64
            );
        }
    }

    #[test]
    fn a_frame_that_is_cut_at_the_end_of_its_connection_counts_as_cut() {
        let mut connection = Connection::new(FramingChoice::Auto, 64);
        let mut tally = Tally::default();
        let mut sink = Collector {
            room: 9,
            ..Collector::default()
        };
        // one byte more than a frame may have, and the delimiter could still come
        connection.feed(&[b'a'; 65], Mono(1), &mut sink, &mut tally);
        assert_eq!(sink.frames.len(), 0);
        connection.finish(&mut sink, &mut tally);
        assert_eq!(sink.frames.len(), 1);
        assert_eq!(tally.value(Counter::FramesTruncated), 1);
    }

    #[test]
    fn frames_that_cannot_be_mapped_at_the_stop_are_counted_as_lost() {
        let mut connection = Connection::new(FramingChoice::Auto, 64);
        let mut tally = Tally::default();
        let fed = connection.feed(b"a\nb\nc", Mono(1), &mut Collector::default(), &mut tally);
        assert_eq!(fed, Fed::Stalled);
        connection.abandon(&mut tally);
        assert_eq!(tally.value(Counter::FramesLostStop), 3);
        assert_eq!(tally.value(Counter::FramesReceived), 3);
    }
}
