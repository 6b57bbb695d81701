//! Cuts the byte stream of one connection into syslog frames, in place (RFC 6587).
//!
//! ```text
//! octet counting            68 <134>Nov 25 … CEF:0|…70 <134>Nov 25 … CEF:0|…
//! (section 3.4.1)           ^^^ then exactly so many octets, LF and NUL among them
//!
//! non-transparent framing   <134>Nov 25 … CEF:0|…⏎<134>Nov 25 … CEF:0|…⏎
//! (section 3.4.2)           up to LF, CR LF or NUL
//! ```
//!
//! Which of the two a connection uses is decided by its first bytes and then kept: a peer that
//! could make us guess again could smuggle a forged message behind a real one. A stream of counted
//! frames whose next count is none is broken for good.
//!
//! The framer does no reading: the caller shows it the bytes that it has, from the first one that
//! is not used up, and is told what to use up. It remembers how far it has looked, so that a frame
//! that arrives in a thousand pieces is scanned once. Nothing is ever allocated from a count.
//!
//! A connection whose first frame ends in NUL may end frames in NUL or LF; one whose first frame
//! ends in LF keeps NULs as data, but for those around a frame, which are dropped.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::config::FramingChoice;
use crate::limits::{EMPTY_FRAMES_AT_START_MAX, OCTET_COUNT_DIGITS_MAX};
use crate::planted::{Bug, is_planted};
use memchr::{memchr, memchr2};

/// One syslog frame, without its delimiter or count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Its bytes, not empty, with no LF, CR or NUL at either end.
    pub bytes: &'b [u8],
    /// How it came to its end.
    pub end: End,
}

/// How a frame came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By its delimiter or its count.
    Whole,
    /// Longer than the limit: cut there; the rest is skipped.
    Truncated,
    /// The connection ended first.
    Partial,
}

/// What the framer found at the front of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut<'b> {
    /// A frame. Use up `used` bytes.
    Frame {
        /// The frame.
        frame: Frame<'b>,
        /// Bytes to use up: delimiters and count included.
        used: usize,
    },
    /// Delimiters and counts of empty frames. Use up `used` bytes.
    Blank {
        /// Bytes to use up.
        used: usize,
    },
    /// The rest of a frame that was too long. Use up `used` bytes.
    Skip {
        /// Bytes to use up.
        used: usize,
    },
    /// The bytes are the beginning of a frame: show them again, with more behind.
    More,
    /// No octet count where one must stand. Nothing behind this can be trusted.
    Broken,
}

/// The framing of one connection.
#[derive(Debug, Clone)]
pub struct Framer {
    mode: Mode,
    /// Bytes at the front already looked through without finding a delimiter; never more than the
    /// caller has shown and not used up.
    scanned: u32,
    /// Longest frame kept whole.
    frame_bytes_max: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing but delimiters was seen.
    Undecided,
    /// Non-transparent; `nul` tells what ends a frame, `None` until the first one has ended.
    Delimited { nul: Option<bool>, skipping: bool },
    /// Octet counting; so many bytes of a frame that was too long are still to be skipped.
    Counted { skip_left: u32 },
    /// For good.
    Broken,
}

impl Framer {
    /// A framer for a new connection. `frame_bytes_max` is cut to 32 bits.
    #[must_use]
    pub fn new(choice: FramingChoice, frame_bytes_max: usize) -> Self {
        let mode = match choice {
            FramingChoice::Auto => Mode::Undecided,
            FramingChoice::OctetCounting => Mode::Counted { skip_left: 0 },
            FramingChoice::Delimited => Mode::DELIMITED,
        };
        Framer {
            mode,
            scanned: 0,
            frame_bytes_max: u32::try_from(frame_bytes_max).unwrap_or(u32::MAX),
        }
    }

    /// What stands at the front of `bytes`, which begin at the first byte not used up.
    pub fn cut<'b>(&mut self, bytes: &'b [u8]) -> Cut<'b> {
        if bytes.is_empty() {
            return Cut::More;
        }
        match self.mode {
            Mode::Undecided => self.decide(bytes),
            Mode::Delimited { nul, skipping } => self.cut_delimited(bytes, nul, skipping),
            Mode::Counted { skip_left: 0 } => self.cut_counted(bytes),
            Mode::Counted { skip_left } => self.skip_counted(bytes, skip_left),
            Mode::Broken => Cut::Broken,
        }
    }

    /// The connection has ended behind `bytes`, for which [`Framer::cut`] has said
    /// [`Cut::More`]: what of them is a frame, if anything is.
    #[must_use]
    pub fn finish<'b>(&self, bytes: &'b [u8]) -> Option<Frame<'b>> {
        let bytes = match self.mode {
            Mode::Counted { .. } => match read_count(bytes) {
                Count::Frame { start, .. } => bytes.get(start..).unwrap_or_default(),
                Count::More | Count::None => return None,
            },
            Mode::Broken => return None,
            Mode::Undecided | Mode::Delimited { .. } => bytes,
        };
        let bytes = trim(bytes);
        match bytes.get(..self.max()) {
            Some(cut) if cut.len() < bytes.len() => Some(Frame {
                bytes: trim(cut),
                end: End::Truncated,
            }),
            _ => (!bytes.is_empty()).then_some(Frame {
                bytes,
                end: match is_planted(Bug::PartialIsWhole) {
                    true => End::Whole,
                    false => End::Partial,
                },
            }),
        }
    }

    fn max(&self) -> usize {
        self.frame_bytes_max as usize
    }

    fn decide<'b>(&mut self, bytes: &'b [u8]) -> Cut<'b> {
        let used = leading_delimiters(bytes);
        if used > 0 {
            return Cut::Blank { used };
        }
        self.mode = match looks_counted(bytes) {
            Some(true) => Mode::Counted { skip_left: 0 },
            Some(false) => Mode::DELIMITED,
            None => return Cut::More,
        };
        self.cut(bytes)
    }

    fn cut_delimited<'b>(&mut self, bytes: &'b [u8], nul: Option<bool>, skipping: bool) -> Cut<'b> {
        let scanned = self.scanned as usize;
        if scanned == 0 && !skipping {
            let used = leading_delimiters(bytes);
            if used > 0 {
                return Cut::Blank { used };
            }
        }
        // room for the CR and the delimiter behind a frame of exactly the greatest length
        let window = if skipping {
            bytes
        } else {
            bytes.get(..self.max().saturating_add(2)).unwrap_or(bytes)
        };
        let fresh = window.get(scanned..).unwrap_or_default();
        let found = match nul {
            Some(false) => memchr(b'\n', fresh),
            Some(true) | None => memchr2(b'\n', 0, fresh),
        };
        let Some(end) = found.map(|offset| scanned.saturating_add(offset)) else {
            return self.no_delimiter(bytes, window, skipping);
        };
        self.scanned = 0;
        let used = end.saturating_add(1);
        // the first frame has ended here, even if it was too long
        let decided = nul.or_else(|| bytes.get(end).map(|delimiter| *delimiter == 0));
        if skipping {
            self.mode = Mode::Delimited {
                nul: decided,
                skipping: false,
            };
            return Cut::Skip { used };
        }
        let frame = trim(window.get(..end).unwrap_or_default());
        if frame.is_empty() {
            return Cut::Blank { used };
        }
        if frame.len() > self.max() {
            return self.truncate(frame, nul);
        }
        self.mode = Mode::Delimited {
            nul: decided,
            skipping: false,
        };
        Cut::Frame {
            frame: Frame {
                bytes: frame,
                end: End::Whole,
            },
            used,
        }
    }

    fn no_delimiter<'b>(&mut self, bytes: &'b [u8], window: &'b [u8], skipping: bool) -> Cut<'b> {
        if skipping {
            self.scanned = 0;
            return Cut::Skip { used: bytes.len() };
        }
        if window.len() < self.max().saturating_add(2) {
            self.scanned = u32::try_from(window.len()).unwrap_or(u32::MAX);
            return Cut::More;
        }
        self.scanned = 0;
        let nul = match self.mode {
            Mode::Delimited { nul, .. } => nul,
            _ => None,
        };
        self.truncate(window, nul)
    }

    /// The frame at the front is longer than the limit. What is cut off starts with the delimiter
    /// or with more of the frame; either way it is skipped to the delimiter.
    fn truncate<'b>(&mut self, frame: &'b [u8], nul: Option<bool>) -> Cut<'b> {
        self.mode = Mode::Delimited {
            nul,
            skipping: true,
        };
        let used = self.max();
        Cut::Frame {
            frame: Frame {
                bytes: trim(frame.get(..used).unwrap_or(frame)),
                end: End::Truncated,
            },
            used,
        }
    }

    fn cut_counted<'b>(&mut self, bytes: &'b [u8]) -> Cut<'b> {
        let blank = leading_delimiters(bytes);
        if blank > 0 {
            return Cut::Blank { used: blank };
        }
        let (start, count) = match read_count(bytes) {
            Count::Frame { start, count } => (start, count),
            Count::More => return Cut::More,
            Count::None if is_planted(Bug::FramerGuessesAgain) => {
                self.mode = Mode::DELIMITED;
                return self.cut(bytes);
            }
            Count::None => {
                self.mode = Mode::Broken;
                return Cut::Broken;
            }
        };
        let kept = match is_planted(Bug::OctetCountOffByOne) {
            true => count.saturating_sub(1).min(self.max()),
            false => count.min(self.max()),
        };
        let used = start.saturating_add(kept);
        let Some(frame) = bytes.get(start..used) else {
            return Cut::More;
        };
        let skip_left = count.saturating_sub(kept);
        self.mode = Mode::Counted {
            skip_left: u32::try_from(skip_left).unwrap_or(u32::MAX),
        };
        let frame = trim(frame);
        if frame.is_empty() {
            return Cut::Blank { used };
        }
        let end = if skip_left > 0 {
            End::Truncated
        } else {
            End::Whole
        };
        Cut::Frame {
            frame: Frame { bytes: frame, end },
            used,
        }
    }

    fn skip_counted<'b>(&mut self, bytes: &'b [u8], skip_left: u32) -> Cut<'b> {
        let used = bytes.len().min(skip_left as usize);
        let skip_left = skip_left.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        self.mode = Mode::Counted { skip_left };
        Cut::Skip { used }
    }
}

impl Mode {
    const DELIMITED: Mode = Mode::Delimited {
        nul: None,
        skipping: false,
    };
}

/// Delimiters and other ends of lines at the front.
fn leading_delimiters(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\n' | b'\r' | 0))
        .count()
}

/// Without the ends of lines and NULs around it.
fn trim(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.get(leading_delimiters(bytes)..).unwrap_or_default();
    let tail = bytes
        .iter()
        .rev()
        .take_while(|byte| matches!(byte, b'\n' | b'\r' | 0))
        .count();
    bytes
        .get(..bytes.len().saturating_sub(tail))
        .unwrap_or_default()
}

enum Count {
    /// A frame of `count` octets begins at `start`.
    Frame { start: usize, count: usize },
    /// Digits so far, and too few bytes to tell.
    More,
    /// Not a count, or one with too many digits.
    None,
}

/// `<decimal> SP` at the front. Leading zeros are tolerated.
fn read_count(bytes: &[u8]) -> Count {
    let mut count = 0usize;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' if index < OCTET_COUNT_DIGITS_MAX => {
                let digit = usize::from(byte.wrapping_sub(b'0'));
                count = count.saturating_mul(10).saturating_add(digit);
            }
            b' ' if index > 0 => {
                return Count::Frame {
                    start: index.saturating_add(1),
                    count,
                };
            }
            _ => return Count::None,
        }
    }
    Count::More
}

/// Whether a connection that begins so uses octet counting; nothing if more bytes are needed. A
/// count must be followed by `<` (a PRI), `CEF:` or a byte-order mark: a line may begin with a year
/// or an epoch time as well. The counts of a few empty frames may stand before it.
fn looks_counted(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes;
    for _ in 0..=EMPTY_FRAMES_AT_START_MAX {
        let (start, count) = match read_count(rest) {
            Count::Frame { start, count } => (start, count),
            Count::More => return None,
            Count::None => return Some(false),
        };
        rest = rest.get(start..).unwrap_or_default();
        if count > 0 {
            return begins_a_message(rest);
        }
    }
    Some(false)
}

/// Whether these bytes begin a syslog message or a bare CEF one.
fn begins_a_message(bytes: &[u8]) -> Option<bool> {
    for lead in [&b"<"[..], b"CEF:", b"\xEF\xBB\xBF"] {
        let shown = bytes.get(..lead.len()).unwrap_or(bytes);
        if lead.starts_with(shown) {
            return (shown.len() == lead.len()).then_some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All frames of a stream shown in the given cuts, with the bytes in frames, skipped, and left.
    fn frames(stream: &[u8], cuts: &[usize], max: usize) -> (Vec<(Vec<u8>, End)>, bool) {
        let mut framer = Framer::new(FramingChoice::Auto, max);
        let mut held: Vec<u8> = Vec::new();
        let mut found = Vec::new();
        let mut broken = false;
        let mut at = 0;
        let ends = cuts.iter().copied().chain([stream.len()]);
        for end in ends {
            held.extend_from_slice(&stream[at..end.max(at)]);
            at = end.max(at);
            loop {
                let used = match framer.cut(&held) {
                    Cut::Frame { frame, used } => {
                        found.push((frame.bytes.to_vec(), frame.end));
                        used
                    }
                    Cut::Blank { used } | Cut::Skip { used } => used,
                    Cut::More => break,
                    Cut::Broken => {
                        broken = true;
                        break;
                    }
                };
                assert!(used > 0 && used <= held.len());
                held.drain(..used);
            }
        }
        if let Some(frame) = framer.finish(&held) {
            found.push((frame.bytes.to_vec(), frame.end));
        }
        (found, broken)
    }

    fn texts(stream: &[u8], max: usize) -> Vec<String> {
        let (whole, broken) = frames(stream, &[], max);
        // every place to cut gives the same frames
        for cut in 0..=stream.len() {
            assert_eq!(
                frames(stream, &[cut], max),
                (whole.clone(), broken),
                "cut at {cut}"
            );
        }
        let each: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(frames(stream, &each, max), (whole.clone(), broken));
        let mut texts: Vec<String> = whole
            .into_iter()
            .map(|(bytes, end)| match end {
                End::Whole => String::from_utf8(bytes).unwrap(),
                End::Truncated => format!("{}…", String::from_utf8(bytes).unwrap()),
                End::Partial => format!("{}?", String::from_utf8(bytes).unwrap()),
            })
            .collect();
        if broken {
            texts.push("broken".into());
        }
        texts
    }

    #[test]
    fn lines_end_in_lf_or_cr_lf() {
        assert_eq!(texts(b"<1>a\n<1>b\r\n\n\r\nc", 90), ["<1>a", "<1>b", "c?"]);
    }

    #[test]
    fn a_connection_whose_first_frame_ends_in_nul_ends_frames_in_nul_or_lf() {
        assert_eq!(texts(b"a\0b\0\nc\nd\0", 90), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_connection_whose_first_frame_ends_in_lf_keeps_nul_as_data() {
        assert_eq!(texts(b"a\n\0b\0c\0\0\nd\n", 90), ["a", "b\0c", "d"]);
        // even if the first one was too long
        assert_eq!(texts(b"abcdefgh\nb\0c\n", 6), ["abcdef…", "b\0c"]);
    }

    #[test]
    fn counted_frames_may_hold_lf_and_be_followed_by_it() {
        assert_eq!(
            texts(b"4 <1>\n\n5 <1>\nx3 abc", 90),
            ["<1>", "<1>\nx", "abc"]
        );
    }

    #[test]
    fn counts_may_have_leading_zeros_and_be_zero() {
        assert_eq!(texts(b"0 004 <1>a0 2 xy", 90), ["<1>a", "xy"]);
    }

    #[test]
    fn no_number_of_empty_counts_keeps_a_connection_undecided() {
        let most = "0 ".repeat(EMPTY_FRAMES_AT_START_MAX);
        assert_eq!(texts(format!("{most}2 <x").as_bytes(), 90), ["<x"]);
        let line = "0 ".repeat(EMPTY_FRAMES_AT_START_MAX + 1) + "2 <x";
        assert_eq!(texts(line.as_bytes(), 90), [format!("{line}?")]);
        // once a question asked anew at each zero, to the end of the stack
        let stream = "0 ".repeat(1 << 20);
        let mut framer = Framer::new(FramingChoice::Auto, 64);
        let cut = framer.cut(stream.as_bytes());
        assert!(matches!(cut, Cut::Frame { used: 64, .. }), "{cut:?}");
    }

    #[test]
    fn a_broken_count_ends_the_stream() {
        assert_eq!(texts(b"4 <1>a<2>b", 90), ["<1>a", "broken"]);
        assert_eq!(texts(b"4 <1>a12345678 ", 90), ["<1>a", "broken"]);
        assert_eq!(texts(b"4 <1>a 3 abc", 90), ["<1>a", "broken"]);
    }

    #[test]
    fn lines_may_begin_with_digits() {
        for line in [
            &b"1795571947.482 gw CEF:0|"[..],
            b"2026-11-25T01:02:03Z gw CEF:0|",
            b"2026 Nov 25 01:02:03 gw CEF:0|",
            b"184467440737095516170 <134>gw CEF:0|",
            b"12 monkeys",
        ] {
            let mut stream = line.to_vec();
            stream.push(b'\n');
            assert_eq!(texts(&stream, 90), [std::str::from_utf8(line).unwrap()]);
        }
    }

    #[test]
    fn a_frame_at_the_limit_is_whole_and_one_past_it_is_cut() {
        assert_eq!(texts(b"12345678\n<>\n", 8), ["12345678", "<>"]);
        assert_eq!(texts(b"x2345678\r\n<>\n", 8), ["x2345678", "<>"]);
        assert_eq!(texts(b"x23456789\n<>\n", 8), ["x2345678…", "<>"]);
        assert_eq!(texts(b"x2345678901234\n<>\n", 8), ["x2345678…", "<>"]);
        assert_eq!(texts(b"8 <2345678", 8), ["<2345678"]);
        assert_eq!(texts(b"9 <234567893 <>x", 8), ["<2345678…", "<>x"]);
        assert_eq!(texts(b"5 <1234", 8), ["<1234"]);
    }

    #[test]
    fn an_unfinished_frame_comes_out_as_partial() {
        assert_eq!(texts(b"90 <1>abc\n", 90), ["<1>abc?"]);
        assert_eq!(texts(b"3 <1>12", 90), ["<1>"]);
        assert_eq!(texts(b"123", 90), ["123?"]);
    }

    /// The plain twin, with the whole stream at hand: lines, one after the other.
    fn naive_lines(stream: &[u8], max: usize) -> Vec<(Vec<u8>, End)> {
        let cut = |line: &[u8]| (trim(&line[..max]).to_vec(), End::Truncated);
        let mut found = Vec::new();
        let mut rest = trim_start(stream);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = &rest[..end];
            if line.len() >= max + 2 || trim(line).len() > max {
                found.push(cut(line));
            } else {
                found.push((trim(line).to_vec(), End::Whole));
            }
            rest = trim_start(&rest[end + 1..]);
        }
        if rest.len() >= max + 2 || trim(rest).len() > max {
            found.push(cut(rest));
        } else if !rest.is_empty() {
            found.push((trim(rest).to_vec(), End::Partial));
        }
        found
    }

    fn trim_start(bytes: &[u8]) -> &[u8] {
        &bytes[leading_delimiters(bytes)..]
    }

    #[test]
    fn lines_in_random_cuts_equal_the_plain_twin() {
        let seed = 0x5eed_0001;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..100_000 {
            let len = random.usize(0..60);
            let stream: Vec<u8> = (0..len)
                .map(|_| *random.choice(b"abc<\n\r").unwrap())
                .collect();
            let max = random.usize(1..30);
            let mut cuts: Vec<usize> = (0..random.usize(0..6))
                .map(|_| random.usize(0..=len))
                .collect();
            cuts.sort_unstable();
            let (found, broken) = frames(&stream, &cuts, max);
            assert!(!broken);
            let text = String::from_utf8(stream.clone()).unwrap();
            assert_eq!(
                found,
                naive_lines(&stream, max),
                "{text:?} in {cuts:?}, max {max}"
            );
        }
    }
}
