//! gzip (RFC 1951, RFC 1952) for rows: an encoder that is told where the columns are.
//!
//! A general compressor has to search for what repeats. Whoever writes rows knows it already: where
//! each column of a row begins, and which earlier row looked alike. So nothing is searched for here
//! that is known:
//!
//! ```text
//! earlier row of this shape   ,{"Time":"…07Z","SourceIP":"10.0.0.7","Port":80,"Action":"allow"}
//! this row                    ,{"Time":"…08Z","SourceIP":"10.0.0.15","Port":443,"Action":"allow"}
//! same distance as far as     |----------------------------|
//! lengths agree, then anew at                               |-------|
//! the next column                                                   |------------------|
//! ```
//!
//! 1. **Template.** The last row with the same [`Row::shape`], or else the same [`Row::family`], is
//!    looked up in a table. Both rows' marks are walked in step; as long as columns stay as far apart as
//!    they were, they form one *stretch* of one distance. A column that the template lacks is looked
//!    for where that column last was in any row.
//! 2. **Scan.** A stretch is compared with what lies at its distance, 64 bytes at a time, into a mask
//!    with one bit for each byte that is equal. The runs of ones in the mask are the matches, those
//!    after a difference too, with no search.
//! 3. **Gaps.** Where a long piece is left over, its word starts are looked up in a small hash table
//!    ([`Effort`] says how long). Rows without marks and bytes without rows are such pieces as well.
//! 4. **One block.** Literals and matches are collected and written as one block for a body of up to
//!    1 MiB, since further tables of codes cost more than they gain. The cost of a block is known to the
//!    bit before it is written; where the fixed codes or none at all are shorter, it is written so.
//!
//! **What marks can do.** They say where to look. Every match is made of bytes that were compared,
//! so a wrong mark costs bytes on the wire and never a wrong stream.
//!
//! **How long a body can become.** A block is never longer than its bytes stored, so what is fed
//! costs 5 bytes for each 65,535 at the very worst: see [`Encoder::raw_bytes_left`].
//!
//! **What it takes.** Some 3.5 MB, allocated once, of which bodies that shrink touch half. The inner
//! loops are compiled for AVX2 and AVX-512 too and chosen at run time, to the same bytes: a tenth, and a
//! fifth, less time than the portable form.
//!
//! Nothing here knows the rest of the program.

mod bits;
mod block;
mod bytes;
mod cpu;
mod huffman;
mod matches;
mod tokens;
mod window;

#[cfg(test)]
mod tests;

use bits::BitWriter;
use block::{BLOCK_HEAD_BITS_MAX, STORED_BYTES_MAX};
use cpu::Found;
use matches::Matcher;
use tokens::Tokens;
use window::{BLOCK_BYTES_LEAST, FED_BYTES_MAX, Window};

/// RFC 1952 section 2.3: magic, deflate, no flags, no time, no hint, system unknown.
pub(crate) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// Checksum and length.
pub(crate) const TRAILER_BYTES: usize = 8;
/// The checksum is taken of so many bytes at a time: enough to be fast, and still in the cache.
const CHECKSUM_BYTES: usize = 16 * 1024;
/// An empty last block, where all was written before the end: its head and the end of a block in the
/// fixed code.
const LAST_BLOCK_BITS: usize = 10;

/// Where a column of a row begins. A hint: a wrong one costs bytes, never a wrong stream.
///
/// The text from there on is expected to be alike in rows that have the column, so a mark stands
/// best before the column's name, at its comma.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u32);

impl Mark {
    /// Offset from the start of the row, and which column it is, by any numbering. Nothing if the
    /// offset does not fit 24 bits.
    #[must_use]
    #[inline]
    pub const fn new(at: usize, column: u8) -> Option<Self> {
        if at < 1 << 24 {
            Some(Mark((at as u32) << 8 | column as u32))
        } else {
            None
        }
    }

    /// Offset from the start of the row.
    #[must_use]
    #[inline]
    pub const fn at(self) -> usize {
        (self.0 >> 8) as usize
    }

    /// Which column.
    #[must_use]
    #[inline]
    pub const fn column(self) -> u8 {
        self.0 as u8
    }
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mark({} at {})", self.column(), self.at())
    }
}

/// A row, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'r> {
    /// All of it, what separates it from the row before it included.
    pub bytes: &'r [u8],
    /// Where its columns begin; ascending.
    pub marks: &'r [Mark],
    /// A hash that is equal for rows that look alike; 0 if nothing is known.
    pub shape: u32,
    /// A hash that is equal for rows of one origin, which share less; 0 if nothing is known. It is gone
    /// by where no row of the same shape is near.
    pub family: u32,
}

/// How much is searched for beside what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// Only where much is left over.
    #[default]
    Fast,
    /// In every gap of some length.
    Dense,
}

/// Makes one gzip body after the other. Its buffers are allocated once.
#[derive(Debug)]
pub struct Encoder {
    window: Window,
    matcher: Matcher,
    tokens: Tokens,
    out: BitWriter,
    checksum: crc32fast::Hasher,
    /// Bytes fed since [`Encoder::start`].
    raw_bytes: usize,
    /// Start of what is not in the checksum yet, in the window.
    unchecked: usize,
    found: Found,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// One with its buffers allocated and an empty body begun.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Found::here())
    }

    fn on(found: Found) -> Self {
        let mut encoder = Encoder {
            window: Window::new(),
            matcher: Matcher::new(found),
            tokens: Tokens::new(),
            out: BitWriter::default(),
            checksum: crc32fast::Hasher::new(),
            raw_bytes: 0,
            unchecked: 0,
            found,
        };
        encoder.start(Vec::new());
        encoder
    }

    /// Goes by this effort from the next row on.
    pub fn set_effort(&mut self, effort: Effort) {
        self.matcher.set_effort(effort);
    }

    /// Begins a body in `out`, whose content is forgotten.
    pub fn start(&mut self, mut out: Vec<u8>) {
        out.clear();
        out.extend_from_slice(&HEADER);
        self.out.start(out);
        self.window.clear();
        self.tokens.clear();
        self.matcher.start();
        self.checksum.reset();
        self.raw_bytes = 0;
        self.unchecked = 0;
    }

    /// This row is fed soon: asks the memory for it. Rows that are in no near cache took 7 % longer
    /// without.
    #[inline]
    pub fn expect(&self, row: Row<'_>) {
        cpu::fetch(row.bytes);
        cpu::fetch(row.marks);
    }

    /// Adds a row to the body.
    pub fn feed_row(&mut self, row: Row<'_>) {
        if row.bytes.len() > FED_BYTES_MAX {
            // no earlier row of its like is within reach
            return self.feed(row.bytes);
        }
        self.append(row.bytes);
        self.matcher.row(&self.window, &mut self.tokens, row);
        self.check(CHECKSUM_BYTES);
    }

    /// Adds bytes of which nothing is known.
    pub fn feed(&mut self, raw: &[u8]) {
        for piece in raw.chunks(FED_BYTES_MAX) {
            self.append(piece);
            self.matcher.plain(&self.window, &mut self.tokens);
            self.check(CHECKSUM_BYTES);
        }
    }

    /// Ends the block, so that the length so far is exact. Costs the table of codes of another block.
    pub fn flush(&mut self) {
        if self.window.open_bytes() > 0 {
            self.end_block(false);
        }
    }

    /// Ends the body and returns it.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        self.end_block(true);
        let mut out = self.out.take();
        out.extend_from_slice(&self.checksum.clone().finalize().to_le_bytes());
        // RFC 1952: the length modulo 2^32
        out.extend_from_slice(&(self.raw_bytes as u32).to_le_bytes());
        out
    }

    /// Bytes fed since the body began.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// How many more bytes may be fed so that the finished body is never longer than
    /// `wire_bytes_max`. More may fit after an [`Encoder::flush`].
    ///
    /// No block is longer than its bytes stored: 8 bits a byte, and 40 bits for each 65,535 bytes
    /// begun, of which the first in a block may need 2 more to reach a byte's end. A block that ends of
    /// its own holds `BLOCK_BYTES_LEAST` or more. So `n` bytes from the last flush on cost at most
    /// `8 n + 40 (n / 65,535) + 42 (n / least + 1)` bits, and what ends the body comes to 10 bits, up
    /// to 7 to a byte's end, and the trailer.
    #[must_use]
    pub fn raw_bytes_left(&self, wire_bytes_max: usize) -> usize {
        let ends = BLOCK_HEAD_BITS_MAX + LAST_BLOCK_BITS + 7 + 8 * TRAILER_BYTES;
        let bits_max = wire_bytes_max.saturating_mul(8);
        let room = bits_max.saturating_sub(self.out.bits_len() + ends);
        // of more bytes than fit, so not too few
        let bytes = room / 8;
        let frames =
            40 * (bytes / STORED_BYTES_MAX) + BLOCK_HEAD_BITS_MAX * (bytes / BLOCK_BYTES_LEAST);
        (room.saturating_sub(frames) / 8).saturating_sub(self.window.open_bytes())
    }

    fn append(&mut self, raw: &[u8]) {
        if !self.window.has_room(raw.len()) {
            self.end_block(false);
        }
        self.window.append(raw);
        self.raw_bytes = self.raw_bytes.wrapping_add(raw.len());
    }

    /// Takes up into the checksum what is new, if it is as much as this.
    fn check(&mut self, bytes_least: usize) {
        let new = self.window.from(self.unchecked);
        if new.len() >= bytes_least {
            self.checksum.update(new);
            self.unchecked += new.len();
        }
    }

    fn end_block(&mut self, is_last: bool) {
        self.check(0);
        self.tokens.finish(&self.window);
        let raw = self.window.open();
        block::write(&mut self.out, &self.tokens, raw, is_last, self.found);
        self.tokens.clear();
        self.window.end_block();
        self.tokens.start_at(self.window.end());
        self.matcher.start_block();
        self.unchecked = self.window.end();
    }
}
