//! What was sent, and what became of it: kept beside the program, and never told to it.

use cefline::compress::gunzip;

/// A frame that a sender made, under its number.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    /// Length of its text.
    pub(crate) text_bytes: u16,
    /// Has line feeds in it.
    pub(crate) has_lines: bool,
    /// Longer than a frame may be.
    pub(crate) is_oversize: bool,
    /// The service refuses it.
    pub(crate) is_poison: bool,
    /// Stands behind an error of the framing: must never be seen.
    pub(crate) is_smuggled: bool,
    /// It has been cut out of the stream...
    pub(crate) is_taken: bool,
    /// ...then, on the clock of that run...
    pub(crate) taken_at: u64,
    /// ...and put into a page for this destination.
    pub(crate) destination: usize,
    /// The program has said that it is safe.
    pub(crate) is_safe: bool,
    /// It was in memory when the program was killed, and no promise was made.
    pub(crate) is_excused: bool,
    pub(crate) is_quarantined: bool,
    /// How often it is in the table.
    pub(crate) stored: u16,
    /// How often it may have been stored without the program's knowing.
    pub(crate) unclear: u16,
    /// When the program last heard that it is stored.
    pub(crate) answered_at: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) rows: Vec<Row>,
    pub(crate) frame_bytes_max: usize,
    pub(crate) is_mapped: bool,
    pub(crate) scratch: Vec<u8>,
}

impl Truth {
    pub(crate) fn add(&mut self, row: Row) -> u32 {
        self.rows.push(row);
        (self.rows.len() - 1) as u32
    }

    /// The frame of a row, as it is sent.
    pub(crate) fn frame(&self, number: u32, out: &mut Vec<u8>) {
        let row = &self.rows[number as usize];
        if self.is_mapped {
            out.extend_from_slice(b"<134>Nov 25 10:00:00 gw CEF:0|Sim|Sim|1|7|name|5|externalId=");
            digits(number, out);
            out.extend_from_slice(b" msg=");
        } else {
            out.extend_from_slice(b"<134>");
            digits(number, out);
            out.push(b' ');
        }
        let mut state = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for at in 0..row.text_bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // neither all alike nor all unlike; a letter at either end
            let is_line = row.has_lines && at % 11 == 5 && at + 1 < row.text_bytes;
            out.push(match is_line {
                true => b'\n',
                false => b'a' + (state % 9) as u8,
            });
        }
    }

    /// The number of the row in a frame.
    pub(crate) fn number_of(&self, frame: &[u8]) -> Option<u32> {
        let rest = match self.is_mapped {
            true => frame.get(memchr::memmem::find(frame, b"externalId=")? + 11..)?,
            false => frame.strip_prefix(b"<134>")?,
        };
        let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let number: u32 = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
        ((number as usize) < self.rows.len()).then_some(number)
    }

    /// Writes the row of a frame as the small stand-in for the mapper does.
    pub(crate) fn row_of_frame(number: u32, is_cut: bool, frame: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"n\":");
        digits(number, out);
        out.extend_from_slice(if is_cut {
            b",\"cut\":\""
        } else {
            b",\"all\":\""
        });
        for byte in frame {
            match byte {
                b'\n' => out.extend_from_slice(b"\\n"),
                byte => out.push(*byte),
            }
        }
        out.extend_from_slice(b"\"}");
    }

    /// The rows of a body, each of which must be as it was sent.
    pub(crate) fn rows_in(&mut self, body: &[u8]) -> Result<Vec<u32>, String> {
        let length = body
            .last_chunk::<4>()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        let raw = gunzip(body, length.min(1 << 20)).ok_or("a body that is no gzip")?;
        if self.is_mapped {
            return self.mapped_rows(&raw);
        }
        let mut numbers = Vec::new();
        let mut rest = raw.strip_prefix(b"[").ok_or("no array")?;
        let (mut frame, mut row) = (Vec::new(), std::mem::take(&mut self.scratch));
        loop {
            let digits: String = rest
                .get(5..)
                .unwrap_or_default()
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .map(|byte| char::from(*byte))
                .collect();
            let number: u32 = digits.parse().map_err(|_| "a row without its number")?;
            let known = self.rows.get(number as usize).ok_or("a row of nobody")?;
            let is_cut = known.is_oversize;
            frame.clear();
            self.frame(number, &mut frame);
            if is_cut {
                frame.truncate(self.frame_bytes_max);
                while frame.last() == Some(&b'\n') {
                    frame.pop();
                }
            }
            row.clear();
            Self::row_of_frame(number, is_cut, &frame, &mut row);
            rest = rest.strip_prefix(&row[..]).ok_or_else(|| {
                let found = &rest[..rest.len().min(row.len())];
                format!("row {number} is {:?}", found.escape_ascii().to_string())
            })?;
            numbers.push(number);
            match rest {
                b"]" => break,
                [b',', more @ ..] => rest = more,
                _ => return Err("no end of the array".into()),
            }
        }
        self.scratch = row;
        Ok(numbers)
    }

    fn mapped_rows(&self, raw: &[u8]) -> Result<Vec<u32>, String> {
        let rows: Vec<serde_json::Value> =
            serde_json::from_slice(raw).map_err(|error| error.to_string())?;
        let mut numbers = Vec::new();
        let mut frame = Vec::new();
        for row in rows {
            let number = row["ExternalID"]
                .as_u64()
                .ok_or("a row without its number")? as u32;
            let known = self.rows.get(number as usize).ok_or("a row of nobody")?;
            frame.clear();
            self.frame(number, &mut frame);
            if known.is_oversize {
                frame.truncate(self.frame_bytes_max);
            }
            let frame = std::str::from_utf8(&frame).map_err(|error| error.to_string())?;
            let text = frame.split("msg=").nth(1).unwrap_or_default();
            let found = row["Message"].as_str().unwrap_or_default();
            if found.trim_end() != text.trim_end() {
                return Err(format!("row {number} is {found:?}"));
            }
            numbers.push(number);
        }
        Ok(numbers)
    }
}

pub(crate) fn digits(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(number.to_string().as_bytes());
}
