//! Where one connection's messages come from, and how they are framed.

use crate::clock::Wall;
use crate::generate::{Generator, GeneratorOptions, Vendor};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How messages are told apart on a connection (RFC 6587).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// A line feed behind each message.
    #[default]
    Lf,
    /// A carriage return and a line feed behind each.
    CrLf,
    /// A NUL behind each.
    Nul,
    /// The message's length in decimal and a blank in front of each.
    Octet,
}

impl Framing {
    /// All of them.
    pub const ALL: [Framing; 4] = [Framing::Lf, Framing::CrLf, Framing::Nul, Framing::Octet];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Framing::Lf => "lf",
            Framing::CrLf => "crlf",
            Framing::Nul => "nul",
            Framing::Octet => "octet",
        }
    }
}

impl FromStr for Framing {
    type Err = UnknownFraming;

    fn from_str(text: &str) -> Result<Self, UnknownFraming> {
        let found = Framing::ALL
            .into_iter()
            .find(|framing| framing.name() == text);
        found.ok_or_else(|| UnknownFraming(text.to_owned()))
    }
}

/// Not the name of a framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFraming(String);

impl fmt::Display for UnknownFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no framing is called {:?}; known are lf, crlf, nul, octet",
            self.0
        )
    }
}

impl std::error::Error for UnknownFraming {}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub enum Source {
    /// Generated messages of these vendors; of all, if none is named.
    Generated(Vec<Vendor>),
    /// These messages, from the first to the last and then from the first again.
    Lines(Arc<Lines>),
}

/// Messages of a file: at least one, none of them empty.
#[derive(Debug)]
pub struct Lines {
    text: Vec<u8>,
    /// Start and end of each message in `text`.
    ranges: Vec<(usize, usize)>,
}

impl Lines {
    /// The messages in `text`, one a line. Line ends (LF or CR LF) are no part of them, empty lines
    /// are left out. None if there is no message at all.
    #[must_use]
    pub fn parse(text: Vec<u8>) -> Option<Self> {
        let mut ranges = Vec::new();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &text).chain([text.len()]) {
            let line = &text[start..end];
            let length = line.strip_suffix(b"\r").unwrap_or(line).len();
            if length > 0 {
                ranges.push((start, start + length));
            }
            start = end + 1;
        }
        (!ranges.is_empty()).then_some(Lines { text, ranges })
    }

    /// How many messages there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ranges.len()
    }

    /// Message number `index`, counted round.
    fn line(&self, index: u64) -> &[u8] {
        let (start, end) = self.ranges[(index % self.ranges.len() as u64) as usize];
        &self.text[start..end]
    }
}

/// One connection's messages: of all messages, every `step`th from its own first one on.
#[derive(Debug)]
pub(super) struct Messages {
    kind: Kind,
    framing: Framing,
    /// An octet count stands before its message, so that one is written here first.
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    Generated(Box<Generator>),
    Lines {
        lines: Arc<Lines>,
        next: u64,
        step: u64,
    },
}

impl Messages {
    /// The messages of connection `index` of `connections_count`.
    pub(super) fn new(
        source: &Source,
        seed: u64,
        index: u64,
        connections_count: u64,
        framing: Framing,
    ) -> Self {
        let kind = match source {
            Source::Generated(vendors) => {
                let options = GeneratorOptions {
                    vendors: vendors.clone(),
                    id_first: index,
                    id_step: connections_count,
                };
                Kind::Generated(Box::new(Generator::new(seed, &options)))
            }
            Source::Lines(lines) => Kind::Lines {
                lines: Arc::clone(lines),
                next: index,
                step: connections_count,
            },
        };
        Messages {
            kind,
            framing,
            scratch: Vec::new(),
        }
    }

    /// Appends the next message in its frame.
    pub(super) fn append(&mut self, now: Wall, out: &mut Vec<u8>) {
        match self.framing {
            Framing::Octet => {
                let mut scratch = std::mem::take(&mut self.scratch);
                scratch.clear();
                self.append_bare(now, &mut scratch);
                append_decimal(out, scratch.len());
                out.push(b' ');
                out.extend_from_slice(&scratch);
                self.scratch = scratch;
            }
            Framing::Lf | Framing::CrLf | Framing::Nul => {
                self.append_bare(now, out);
                out.extend_from_slice(match self.framing {
                    Framing::CrLf => b"\r\n",
                    Framing::Nul => b"\0",
                    _ => b"\n",
                });
            }
        }
    }

    fn append_bare(&mut self, now: Wall, out: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Generated(generator) => {
                generator.append(now, out);
            }
            Kind::Lines { lines, next, step } => {
                out.extend_from_slice(lines.line(*next));
                *next = next.wrapping_add(*step);
            }
        }
    }
}

fn append_decimal(out: &mut Vec<u8>, value: usize) {
    if value >= 10 {
        append_decimal(out, value / 10);
    }
    out.push(b'0' + (value % 10) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(text: &str, framing: Framing, index: u64, connections: u64, count: usize) -> String {
        let lines = Arc::new(Lines::parse(text.as_bytes().to_vec()).unwrap());
        let mut messages = Messages::new(&Source::Lines(lines), 0, index, connections, framing);
        let mut out = Vec::new();
        for _ in 0..count {
            messages.append(Wall(0), &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_cut_at_line_ends_and_empty_ones_left_out() {
        let lines = Lines::parse(b"a\r\n\n\r\nbc\n\nd\r".to_vec()).unwrap();
        let all: Vec<_> = (0..4).map(|index| lines.line(index)).collect();
        assert_eq!(
            (lines.count(), all),
            (3, vec![&b"a"[..], b"bc", b"d", b"a"])
        );
        assert!(Lines::parse(b"\r\n\n".to_vec()).is_none());
        assert!(Lines::parse(Vec::new()).is_none());
    }

    #[test]
    fn every_framing_is_that_of_its_standard() {
        let text = "first\nsecond one\n";
        assert_eq!(framed(text, Framing::Lf, 0, 1, 2), "first\nsecond one\n");
        assert_eq!(
            framed(text, Framing::CrLf, 0, 1, 2),
            "first\r\nsecond one\r\n"
        );
        assert_eq!(framed(text, Framing::Nul, 0, 1, 2), "first\0second one\0");
        assert_eq!(
            framed(text, Framing::Octet, 0, 1, 2),
            "5 first10 second one"
        );
    }

    #[test]
    fn connections_take_turns_at_the_lines() {
        assert_eq!(framed("0\n1\n2\n3\n4", Framing::Lf, 1, 3, 3), "1\n4\n2\n");
    }

    #[test]
    fn an_octet_count_is_the_length_in_bytes() {
        let mut messages = Messages::new(&Source::Generated(Vec::new()), 5, 0, 1, Framing::Octet);
        let mut out = Vec::new();
        for _ in 0..500 {
            let start = out.len();
            messages.append(Wall(0), &mut out);
            let frame = &out[start..];
            let blank = frame.iter().position(|byte| *byte == b' ').unwrap();
            let count: usize = std::str::from_utf8(&frame[..blank])
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(count, frame.len() - blank - 1);
        }
    }
}
