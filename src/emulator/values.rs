//! The values of one column, in memory and packed.
//!
//! ```text
//! Texts   bytes  DarktraceFortinet…          one string after the other
//!         ends            ^9      ^17        where each ends; an absent one is as long as nothing
//! packed  deflate( varint length of each, bytes )              for text
//!         deflate( one bit a row: is it there, eight bytes each that is )   for the rest
//! ```
//!
//! As in Kusto a string is never null: absent and empty are one. Packing by column is what lets two
//! million rows of a kilobyte fit into some hundred megabytes, and lets a query that asks for one
//! column unpack that column only.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder};

/// Strings, one for each row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Texts {
    bytes: String,
    /// Ascending; the last equals `bytes.len()`.
    ends: Vec<usize>,
}

/// The values of one column, one for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// `string`.
    Text(Texts),
    /// `int`, `long`, `datetime` and `timespan` (nanoseconds), `bool`.
    Whole(Vec<Option<i64>>),
    /// `real`.
    Real(Vec<Option<f64>>),
}

/// How the values of a column are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// [`Values::Text`].
    Text,
    /// [`Values::Whole`].
    Whole,
    /// [`Values::Real`].
    Real,
}

impl Texts {
    /// The string of a row; empty if there is no such row.
    #[must_use]
    pub fn get(&self, row: usize) -> &str {
        let start = match row.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).copied().unwrap_or(0),
        };
        let end = self.ends.get(row).copied().unwrap_or(start);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Appends a row.
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    /// Bytes of all strings together.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    fn append(&mut self, other: &Texts) {
        let base = self.bytes.len();
        self.bytes.push_str(&other.bytes);
        self.ends
            .extend(other.ends.iter().map(|end| base.saturating_add(*end)));
    }
}

impl Values {
    /// No rows.
    #[must_use]
    pub fn empty(shape: Shape) -> Self {
        match shape {
            Shape::Text => Values::Text(Texts::default()),
            Shape::Whole => Values::Whole(Vec::new()),
            Shape::Real => Values::Real(Vec::new()),
        }
    }

    /// Which of the three it is.
    #[must_use]
    pub fn shape(&self) -> Shape {
        match self {
            Values::Text(_) => Shape::Text,
            Values::Whole(_) => Shape::Whole,
            Values::Real(_) => Shape::Real,
        }
    }

    /// How many rows.
    #[must_use]
    pub fn rows_count(&self) -> usize {
        match self {
            Values::Text(texts) => texts.ends.len(),
            Values::Whole(wholes) => wholes.len(),
            Values::Real(reals) => reals.len(),
        }
    }

    /// Makes it exactly so many rows: rows without a value behind, or the last ones cut.
    pub fn pad(&mut self, rows: usize) {
        match self {
            Values::Text(texts) if texts.ends.len() > rows => texts.truncate(rows),
            Values::Text(texts) => texts.ends.resize(rows, texts.bytes.len()),
            Values::Whole(wholes) => wholes.resize(rows, None),
            Values::Real(reals) => reals.resize(rows, None),
        }
    }

    /// Appends the rows of another; if it holds another shape, rows without a value.
    pub fn append(&mut self, other: &Values) {
        let rows = self.rows_count().saturating_add(other.rows_count());
        match (&mut *self, other) {
            (Values::Text(mine), Values::Text(theirs)) => mine.append(theirs),
            (Values::Whole(mine), Values::Whole(theirs)) => mine.extend_from_slice(theirs),
            (Values::Real(mine), Values::Real(theirs)) => mine.extend_from_slice(theirs),
            _ => self.pad(rows),
        }
    }

    /// Appends one row of another; if it holds another shape, a row without a value.
    pub fn push_from(&mut self, other: &Values, row: usize) {
        match (&mut *self, other) {
            (Values::Text(mine), Values::Text(theirs)) => mine.push(theirs.get(row)),
            (Values::Whole(mine), Values::Whole(theirs)) => {
                mine.push(theirs.get(row).copied().flatten());
            }
            (Values::Real(mine), Values::Real(theirs)) => {
                mine.push(theirs.get(row).copied().flatten());
            }
            _ => self.pad(self.rows_count().saturating_add(1)),
        }
    }

    /// True if no row has a value.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        match self {
            Values::Text(texts) => texts.bytes.is_empty(),
            Values::Whole(wholes) => wholes.iter().all(Option::is_none),
            Values::Real(reals) => reals.iter().all(Option::is_none),
        }
    }
}

/// Packs columns; one for many, since its working memory is larger than a column.
#[derive(Debug)]
pub struct Packer {
    encoder: DeflateEncoder<Vec<u8>>,
    plain: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Self {
        Packer {
            encoder: DeflateEncoder::new(Vec::new(), Compression::fast()),
            plain: Vec::new(),
        }
    }
}

impl Packer {
    /// The values, packed; nothing if that failed, which writing to memory does not.
    pub fn pack(&mut self, values: &Values) -> Option<Packed> {
        self.plain.clear();
        lay_out(values, &mut self.plain);
        self.encoder.write_all(&self.plain).ok()?;
        let mut bytes = self.encoder.reset(Vec::new()).ok()?;
        bytes.shrink_to_fit();
        Some(Packed {
            shape: values.shape(),
            rows: values.rows_count(),
            plain_bytes: self.plain.len(),
            bytes,
        })
    }
}

/// One column, packed.
#[derive(Debug)]
pub struct Packed {
    shape: Shape,
    rows: usize,
    plain_bytes: usize,
    bytes: Vec<u8>,
}

impl Packed {
    /// The values again. What cannot be read is absent, so there are always as many rows.
    #[must_use]
    pub fn unpack(&self) -> Values {
        let mut decoder = DeflateDecoder::new(Vec::with_capacity(self.plain_bytes));
        let plain = match decoder.write_all(&self.bytes) {
            Ok(()) => decoder.finish().unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let mut values =
            read_back(self.shape, self.rows, &plain).unwrap_or(Values::empty(self.shape));
        values.pad(self.rows);
        values
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }
}

fn lay_out(values: &Values, out: &mut Vec<u8>) {
    match values {
        Values::Text(texts) => {
            let mut start = 0;
            for end in &texts.ends {
                lay_out_length(end.saturating_sub(start), out);
                start = *end;
            }
            out.extend_from_slice(texts.bytes.as_bytes());
        }
        Values::Whole(wholes) => {
            lay_out_numbers(wholes.iter().map(|value| value.map(i64::to_le_bytes)), out);
        }
        Values::Real(reals) => {
            lay_out_numbers(reals.iter().map(|value| value.map(f64::to_le_bytes)), out);
        }
    }
}

/// Seven bits a byte, lowest first; the high bit says that more follow.
fn lay_out_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn lay_out_numbers(values: impl Iterator<Item = Option<[u8; 8]>> + Clone, out: &mut Vec<u8>) {
    let mut bits = 0u8;
    let mut rows = 0usize;
    for value in values.clone() {
        bits |= u8::from(value.is_some()) << (rows % 8);
        rows += 1;
        if rows.is_multiple_of(8) {
            out.push(std::mem::take(&mut bits));
        }
    }
    if !rows.is_multiple_of(8) {
        out.push(bits);
    }
    for value in values.flatten() {
        out.extend_from_slice(&value);
    }
}

fn read_back(shape: Shape, rows: usize, plain: &[u8]) -> Option<Values> {
    match shape {
        Shape::Text => read_back_texts(rows, plain),
        Shape::Whole => {
            let mut values = Vec::with_capacity(rows);
            read_back_numbers(rows, plain, |bytes| {
                values.push(bytes.map(i64::from_le_bytes))
            })?;
            Some(Values::Whole(values))
        }
        Shape::Real => {
            let mut values = Vec::with_capacity(rows);
            read_back_numbers(rows, plain, |bytes| {
                values.push(bytes.map(f64::from_le_bytes))
            })?;
            Some(Values::Real(values))
        }
    }
}

fn read_back_texts(rows: usize, plain: &[u8]) -> Option<Values> {
    let mut ends = Vec::with_capacity(rows);
    let mut end = 0usize;
    let mut at = 0usize;
    for _ in 0..rows {
        let mut length = 0usize;
        let mut shift = 0u32;
        loop {
            let byte = *plain.get(at)?;
            at += 1;
            length |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        end = end.checked_add(length)?;
        ends.push(end);
    }
    let bytes = std::str::from_utf8(plain.get(at..)?).ok()?.to_owned();
    (bytes.len() == end).then_some(Values::Text(Texts { bytes, ends }))
}

fn read_back_numbers(
    rows: usize,
    plain: &[u8],
    mut push: impl FnMut(Option<[u8; 8]>),
) -> Option<()> {
    let (bits, numbers) = plain.split_at_checked(rows.div_ceil(8))?;
    let (mut numbers, _) = numbers.as_chunks::<8>();
    for row in 0..rows {
        if bits.get(row / 8)? >> (row % 8) & 1 == 1 {
            let (first, rest) = numbers.split_first()?;
            push(Some(*first));
            numbers = rest;
        } else {
            push(None);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Values {
        let mut texts = Texts::default();
        for text in all {
            texts.push(text);
        }
        Values::Text(texts)
    }

    #[test]
    fn what_is_packed_comes_back() {
        let long = "ü".repeat(20_000);
        let mut packer = Packer::default();
        for values in [
            texts(&[]),
            texts(&["", "a", "", &long, "Darktrace", ""]),
            Values::Whole(vec![
                None,
                Some(0),
                Some(-1),
                None,
                Some(i64::MAX),
                Some(i64::MIN),
                None,
                None,
                Some(7),
            ]),
            Values::Real(vec![Some(0.5), None, Some(-0.0), Some(1e300)]),
            Values::Whole(vec![]),
        ] {
            let packed = packer.pack(&values).unwrap();
            assert_eq!(packed.unpack(), values);
        }
    }

    #[test]
    fn random_values_come_back() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut packer = Packer::default();
        for _ in 0..50 {
            let rows = random.usize(0..300);
            let mut column = Values::empty(Shape::Text);
            let mut numbers = Values::empty(Shape::Whole);
            for row in 0..rows {
                if let (Values::Text(texts), true) = (&mut column, random.bool()) {
                    texts.ends.resize(row, texts.bytes.len());
                    texts.push(&"x".repeat(random.usize(0..200)));
                }
                if let (Values::Whole(wholes), true) = (&mut numbers, random.bool()) {
                    wholes.resize(row, None);
                    wholes.push(Some(random.i64(..)));
                }
            }
            column.pad(rows);
            numbers.pad(rows);
            assert_eq!(
                packer.pack(&column).unwrap().unpack(),
                column,
                "seed {seed}"
            );
            assert_eq!(
                packer.pack(&numbers).unwrap().unpack(),
                numbers,
                "seed {seed}"
            );
        }
    }

    #[test]
    fn spoilt_bytes_give_absent_values_and_no_panic() {
        let mut packed = Packer::default().pack(&texts(&["a", "bc"])).unwrap();
        for at in 0..packed.bytes.len() {
            packed.bytes[at] ^= 0x55;
            assert_eq!(packed.unpack().rows_count(), 2);
        }
    }

    #[test]
    fn padding_lengthens_and_cuts() {
        let mut values = texts(&["ab", "cd"]);
        values.pad(1);
        assert_eq!(values, texts(&["ab"]));
        values.pad(3);
        assert_eq!(values, texts(&["ab", "", ""]));
    }
}
