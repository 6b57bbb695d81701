//! Those who send: frames in any cuts, in each framing, with all that goes wrong on a connection.

use crate::plan::{MS, Plan, SECOND, id_of};
use crate::truth::{Row, Truth, digits};
use cefline::clock::{Moment, Mono};
use cefline::config::FramingChoice;
use cefline::frame::{End, Frame};
use cefline::listen::connection::{Connection, Fed, Sink};
use cefline::map::{Mapper, Source};
use cefline::metrics::{Counter, Tally};
use cefline::page::RowPage;
use cefline::ring::Ring;
use fastrand::Rng;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Lf,
    CrLf,
    Nul,
    Octets,
}

/// A connection, both ends of it.
pub(crate) struct Sender {
    framing: Framing,
    connection: Connection,
    /// Written and not read by the program.
    out: Vec<u8>,
    /// All bytes written.
    written: u64,
    /// All bytes read.
    read: u64,
    /// Where in the stream a frame can be told, and which it is.
    frames: VecDeque<(u64, u32)>,
    /// The program had no page for what it has read.
    pub(crate) is_stalled: bool,
    /// Where in the stream junk stands for an octet count.
    junk_at: Option<u64>,
    is_ended: bool,
    pub(crate) is_closed: bool,
    /// Bytes at a time.
    cut_max: usize,
    pause: u64,
}

/// Where the program's shard puts frames.
pub(crate) struct Desk<'w> {
    pub(crate) pages: &'w mut Pages,
    pub(crate) destinations: usize,
    pub(crate) ring: &'w Ring,
    pub(crate) mapper: Option<&'w mut Mapper>,
    pub(crate) rows_max: usize,
    pub(crate) now: Moment,
    pub(crate) truth: &'w mut Truth,
    pub(crate) wrong: &'w mut Option<(&'static str, String)>,
    frames: &'w mut VecDeque<(u64, u32)>,
    /// Nothing is expected to come whole: the stream has ended.
    is_end: bool,
}

/// The pages of a shard: those being filled, each for a destination, and the next one.
#[derive(Default)]
pub(crate) struct Pages {
    pub(crate) open: Vec<RowPage>,
    spare: Option<RowPage>,
}

impl Pages {
    pub(crate) fn opened_at(&self) -> Option<Mono> {
        self.open.iter().filter_map(RowPage::opened_at).min()
    }

    /// Sees to it that there is a page for the next row: as the program's own shard does.
    fn is_ready(&mut self, ring: &Ring, now: Moment, tally: &mut Tally) -> bool {
        if self.spare.is_none() {
            self.spare = ring.claim();
            let fullest = (0..self.open.len()).max_by_key(|at| self.open[*at].bytes_len());
            if self.spare.is_none()
                && let Some(at) = fullest
            {
                let page = self.open.swap_remove(at);
                hand_over(page, ring, now, tally);
            }
        }
        self.spare.is_some()
    }

    /// The place of the page for a destination.
    fn page_for(&mut self, destination: usize) -> Option<usize> {
        let id = id_of(destination);
        let found = self.open.iter().position(|page| page.destination() == id);
        found.or_else(|| {
            let mut page = self.spare.take()?;
            page.open_for(id);
            self.open.push(page);
            Some(self.open.len() - 1)
        })
    }

    pub(crate) fn hand_over_all(&mut self, ring: &Ring, now: Moment, tally: &mut Tally) {
        for page in self.open.drain(..) {
            hand_over(page, ring, now, tally);
        }
    }
}

/// The destination that a row is for, of so many.
fn destination_of(number: u32, destinations: usize) -> usize {
    (number.wrapping_mul(0x9E37_79B1) >> 16) as usize % destinations
}

/// What the shard has, for [`Desk`].
pub(crate) struct Shard<'w> {
    pub(crate) pages: &'w mut Pages,
    /// So many are in the configuration.
    pub(crate) destinations: usize,
    pub(crate) ring: &'w Ring,
    pub(crate) mapper: Option<&'w mut Mapper>,
    pub(crate) rows_max: usize,
    pub(crate) now: Moment,
    pub(crate) truth: &'w mut Truth,
    pub(crate) wrong: &'w mut Option<(&'static str, String)>,
    pub(crate) tally: &'w mut Tally,
}

impl Sink for Desk<'_> {
    fn is_ready(&mut self, tally: &mut Tally) -> bool {
        self.pages.is_ready(self.ring, self.now, tally)
    }

    fn take(&mut self, frame: Frame<'_>, tally: &mut Tally) {
        if frame.end == End::Partial {
            tally.add(Counter::FramesLostPartial, 1);
            return;
        }
        let number = self.truth.number_of(frame.bytes);
        let expected = self.frames.front().map(|(_, number)| *number);
        match number {
            Some(number) if expected == Some(number) => {
                self.frames.pop_front();
                let row = &mut self.truth.rows[number as usize];
                row.is_taken = true;
                row.taken_at = self.now.mono.0;
                row.destination = destination_of(number, self.destinations);
            }
            _ => {
                let text = frame.bytes.escape_ascii().to_string();
                let what = format!("frame {text:?} came, and {expected:?} was sent");
                let is_end = self.is_end;
                self.wrong.get_or_insert(("only what was sent", what));
                if is_end {
                    return;
                }
            }
        }
        let destination = destination_of(number.unwrap_or(0), self.destinations);
        let Some(at) = self.pages.page_for(destination) else {
            tally.add(Counter::FramesLostStop, 1);
            return;
        };
        let page = &mut self.pages.open[at];
        match &mut self.mapper {
            Some(mapper) => {
                let source = Source {
                    peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
                    received: self.now,
                };
                mapper.map(frame, source, page, tally);
            }
            None => {
                let number = number.unwrap_or(u32::MAX);
                let is_cut = frame.end == End::Truncated;
                let written = page.write_row(self.now.mono, 1 << 20, |out| {
                    let mut row = Vec::new();
                    Truth::row_of_frame(number, is_cut, frame.bytes, &mut row);
                    out.extend_from_slice(&row);
                });
                assert!(written.is_ok());
                tally.add(Counter::RowsWritten, 1);
            }
        }
        if page.rows_count() >= self.rows_max || page.is_full() {
            let page = self.pages.open.swap_remove(at);
            hand_over(page, self.ring, self.now, tally);
        }
    }
}

fn hand_over(page: RowPage, ring: &Ring, now: Moment, tally: &mut Tally) {
    if page.is_empty() {
        return ring.give_back(page);
    }
    tally.add(Counter::RowsHanded, page.rows_count() as u64);
    tally.add(Counter::PagesHanded, 1);
    ring.hand_over(page, now.mono);
}

impl Sender {
    pub(crate) fn new(plan: &Plan, random: &mut Rng) -> Self {
        let framing = match random.u8(..6) {
            0 | 1 => Framing::Lf,
            2 => Framing::CrLf,
            3 => Framing::Nul,
            _ => Framing::Octets,
        };
        let choice = match (random.bool(), framing) {
            (true, _) => FramingChoice::Auto,
            (false, Framing::Octets) => FramingChoice::OctetCounting,
            (false, _) => FramingChoice::Delimited,
        };
        Sender {
            framing,
            connection: Connection::new(choice, plan.frame_bytes_max),
            out: Vec::new(),
            written: 0,
            read: 0,
            frames: VecDeque::new(),
            is_stalled: false,
            junk_at: None,
            is_ended: false,
            is_closed: false,
            cut_max: *random.choice(&[3, 40, 300, 2000]).unwrap(),
            pause: 0,
        }
    }

    /// Nothing more comes, and all was read.
    pub(crate) fn is_through(&self) -> bool {
        self.is_closed || self.out.is_empty() && !self.is_stalled
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.out.len()
    }

    /// How long until it writes again.
    pub(crate) fn pause(&mut self, mean: u64, random: &mut Rng) -> u64 {
        // bursts, and silence between them
        if random.u8(..6) == 0 {
            self.pause = random.u64(1..4) * mean;
        }
        random.u64(..2 * self.pause.max(mean / 8) + MS)
    }

    /// Writes a few frames.
    pub(crate) fn write(
        &mut self,
        frames_count: usize,
        plan: &Plan,
        truth: &mut Truth,
        random: &mut Rng,
    ) {
        if self.junk_at.is_some() || self.is_ended {
            return;
        }
        let mut frame = Vec::new();
        for _ in 0..frames_count {
            let is_long = random.u8(..40) == 0;
            let text_bytes = match is_long {
                true => random.usize(plan.frame_bytes_max - 40..3 * plan.frame_bytes_max),
                false => random.usize(1..plan.text_max),
            };
            let number = truth.add(Row {
                text_bytes: text_bytes as u16,
                has_lines: self.framing == Framing::Octets && !plan.is_mapped && random.bool(),
                is_poison: random.f64() < plan.poison,
                ..Row::default()
            });
            frame.clear();
            truth.frame(number, &mut frame);
            let max = plan.frame_bytes_max;
            let is_oversize = frame.len() > max;
            truth.rows[number as usize].is_oversize = is_oversize;
            let length = frame.len();
            if self.framing == Framing::Octets {
                let before = self.out.len();
                digits(length as u32, &mut self.out);
                self.out.push(b' ');
                self.written += (self.out.len() - before) as u64;
            }
            let told_at = self.written
                + match (self.framing, is_oversize) {
                    (Framing::Octets, _) => length.min(max),
                    (_, true) => max + 2,
                    (Framing::CrLf, false) => length + 2,
                    (_, false) => length + 1,
                } as u64;
            self.frames.push_back((told_at, number));
            match self.framing {
                Framing::Lf => frame.push(b'\n'),
                Framing::CrLf => frame.extend_from_slice(b"\r\n"),
                Framing::Nul => frame.push(0),
                Framing::Octets => {}
            }
            self.out.extend_from_slice(&frame);
            self.written += frame.len() as u64;
        }
        if self.framing == Framing::Octets && self.written > 0 && random.u8(..60) == 0 {
            self.smuggle(truth, random);
        }
    }

    /// Writes no count where one must stand, and a message behind it that must never be taken for
    /// one.
    fn smuggle(&mut self, truth: &mut Truth, random: &mut Rng) {
        self.junk_at = Some(self.written);
        let number = truth.add(Row {
            text_bytes: 12,
            is_smuggled: true,
            ..Row::default()
        });
        let junk: &[u8] = match random.u8(..3) {
            0 => b"x\n",
            1 => b"12345678 ",
            _ => b"<13>forged\n",
        };
        let before = self.out.len();
        self.out.extend_from_slice(junk);
        truth.frame(number, &mut self.out);
        self.out.push(b'\n');
        self.written += (self.out.len() - before) as u64;
    }

    fn desk<'w>(
        frames: &'w mut VecDeque<(u64, u32)>,
        shard: &'w mut Shard<'_>,
        is_end: bool,
    ) -> (Desk<'w>, &'w mut Tally) {
        let desk = Desk {
            pages: shard.pages,
            destinations: shard.destinations,
            ring: shard.ring,
            mapper: shard.mapper.as_deref_mut(),
            rows_max: shard.rows_max,
            now: shard.now,
            truth: shard.truth,
            wrong: shard.wrong,
            frames,
            is_end,
        };
        (desk, shard.tally)
    }

    /// The program reads some of what was written. True if there may be more to read.
    pub(crate) fn deliver(&mut self, shard: &mut Shard<'_>, random: &mut Rng) -> bool {
        if self.is_closed {
            return false;
        }
        let count = match self.is_stalled {
            true => 0,
            false => random.usize(1..=self.cut_max).min(self.out.len()),
        };
        let fresh: Vec<u8> = self.out.drain(..count).collect();
        self.read += count as u64;
        let now = shard.now.mono;
        let (mut desk, tally) = Self::desk(&mut self.frames, shard, false);
        tally.add(Counter::BytesReceived, count as u64);
        let fed = self.connection.feed(&fresh, now, &mut desk, tally);
        self.is_stalled = fed == Fed::Stalled;
        match fed {
            Fed::Stalled => return false,
            Fed::Broken => {
                if self.junk_at.is_none_or(|at| at >= self.read) {
                    let what = "a stream of good frames was taken for broken".to_owned();
                    shard.wrong.get_or_insert(("only what was sent", what));
                }
                self.is_closed = true;
                self.frames.clear();
            }
            Fed::All => {
                if let Some((told_at, number)) = self.frames.front()
                    && *told_at <= self.read
                {
                    let what = format!("row {number} was read whole, and is no frame");
                    shard.wrong.get_or_insert(("nothing is lost", what));
                }
                if self.junk_at.is_some() && self.read == self.written {
                    let what = format!(
                        "an octet count that is none was passed over: {:?}",
                        self.connection
                    );
                    shard.wrong.get_or_insert(("only what was sent", what));
                }
            }
        }
        if self.is_ended && self.out.is_empty() && !self.is_closed {
            self.finish(shard);
        }
        !self.is_closed && !self.out.is_empty()
    }

    /// The sender closes, or resets, which loses what the program has not read.
    pub(crate) fn end(&mut self, is_reset: bool, shard: &mut Shard<'_>) {
        if self.is_closed {
            return;
        }
        self.is_ended = true;
        if is_reset {
            self.out.clear();
        }
        if self.out.is_empty() && !self.is_stalled {
            self.finish(shard);
        }
    }

    fn finish(&mut self, shard: &mut Shard<'_>) {
        let (mut desk, tally) = Self::desk(&mut self.frames, shard, true);
        if !desk.is_ready(tally) {
            self.is_stalled = true;
            return;
        }
        self.connection.finish(&mut desk, tally);
        self.is_closed = true;
        self.frames.clear();
    }

    /// The program stops: what was read and has no page is lost, and counted.
    pub(crate) fn abandon(&mut self, shard: &mut Shard<'_>) {
        if self.is_closed {
            return;
        }
        self.out.clear();
        self.is_ended = true;
        self.is_stalled = false;
        self.deliver(shard, &mut Rng::with_seed(0));
        if !self.is_closed {
            self.connection.abandon(shard.tally);
            self.is_closed = true;
        }
    }
}

/// How long the pauses of a sender are, so that all is sent in time.
pub(crate) fn mean_pause(plan: &Plan) -> u64 {
    let each = plan.frames.div_ceil(plan.senders * 3).max(1) as u64;
    (plan.faults_end / each).min(2 * SECOND)
}
