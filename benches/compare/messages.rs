//! The messages that every program gets: the same, each with a number of its own in it.

use cefline::clock::Wall;
use cefline::generate::{Generator, GeneratorOptions};
use cefline::send::Lines;
use fastrand::Rng;
use std::sync::Arc;

const SEED: u64 = 0x5eed;
/// What the number of a message stands behind.
const ID_PREFIX: &str = "cf5eed-";

/// What costs most: of the bytes of a message, or of their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Close to the longest frame that is kept whole.
    Long,
    /// Values of nothing but escapes.
    Escapes,
    /// Five hundred keys that no column has.
    Keys,
    /// Values that gzip finds nothing in.
    Random,
}

impl Shape {
    pub(crate) const ALL: [(Shape, &'static str); 4] = [
        (Shape::Long, "messages of 64 KiB"),
        (Shape::Escapes, "values of escapes only"),
        (Shape::Keys, "messages of 500 keys"),
        (Shape::Random, "values that do not compress"),
    ];

    /// How many fit into a measurement.
    pub(crate) fn count(self, bytes: usize) -> usize {
        let bytes_each = match self {
            Shape::Long => 65_000,
            Shape::Escapes => 1_400,
            Shape::Keys => 6_000,
            Shape::Random => 700,
        };
        (bytes / bytes_each).max(10)
    }

    fn write(self, random: &mut Rng, out: &mut Vec<u8>) {
        let words = [
            "connection",
            "denied",
            "by",
            "policy",
            "from",
            "host",
            "10.1.2.3",
            "to",
            "port",
        ];
        match self {
            Shape::Long => {
                out.extend_from_slice(b" msg=");
                let end = out.len() + 64_000;
                while out.len() < end {
                    out.extend_from_slice(words[random.usize(..words.len())].as_bytes());
                    out.push(b' ');
                }
                out.pop();
            }
            Shape::Escapes => {
                let escapes: [&[u8]; 3] = [b"\\=", b"\\\\", b"\\n"];
                for key in [
                    "msg", "cs1", "cs2", "cs3", "request", "filePath", "reason", "act",
                ] {
                    out.extend_from_slice(format!(" {key}=x").as_bytes());
                    for _ in 0..80 {
                        out.extend_from_slice(escapes[random.usize(..escapes.len())]);
                    }
                    out.push(b'x');
                }
            }
            Shape::Keys => {
                for key in 0..500 {
                    let value = random.u16(..);
                    out.extend_from_slice(format!(" key{key}={value}").as_bytes());
                }
            }
            Shape::Random => {
                for key in ["msg", "cs1", "request", "filePath", "oldFileHash", "reason"] {
                    out.extend_from_slice(format!(" {key}=").as_bytes());
                    out.extend((0..100).map(|_| random.alphanumeric() as u8));
                }
            }
        }
    }
}

/// Messages, one a line.
pub(crate) struct Messages {
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// When they are said to have been written.
    pub(crate) now: Wall,
}

impl Messages {
    /// So many of a dozen vendors, written now.
    pub(crate) fn generate(count: usize, now: Wall) -> Messages {
        let mut generator = Generator::new(SEED, &GeneratorOptions::default());
        let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(count));
        for _ in 0..count {
            generator.append(now, &mut text);
            ends.push(text.len());
            text.push(b'\n');
        }
        Messages { text, ends, now }
    }

    /// So many of one shape.
    pub(crate) fn of(shape: Shape, count: usize, now: Wall) -> Messages {
        let mut random = Rng::with_seed(SEED);
        let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(count));
        for number in 0..count {
            let head = "<134>CEF:0|Vendor|Product|1.0|100|Name|5|externalId=";
            text.extend_from_slice(format!("{head}{ID_PREFIX}{number}").as_bytes());
            shape.write(&mut random, &mut text);
            ends.push(text.len());
            text.push(b'\n');
        }
        Messages { text, ends, now }
    }

    /// The message of a number.
    pub(crate) fn line(&self, number: usize) -> &[u8] {
        let start = match number {
            0 => 0,
            _ => self.ends[number - 1] + 1,
        };
        &self.text[start..self.ends[number]]
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of the first so many.
    pub(crate) fn bytes(&self, count: usize) -> usize {
        self.ends[count - 1] + 1
    }

    /// The first so many, to be sent.
    pub(crate) fn lines(&self, count: usize) -> Arc<Lines> {
        let text = self.text[..self.bytes(count)].to_vec();
        Arc::new(Lines::parse(text).unwrap())
    }

    /// The number that a row carries.
    pub(crate) fn number_in(&self, row: &str) -> Option<usize> {
        let at = row.find(ID_PREFIX)? + ID_PREFIX.len();
        let digits = row[at..].bytes().take_while(u8::is_ascii_digit).count();
        row[at..at + digits].parse().ok()
    }
}
