//! `cefline parse`: the rows of messages on standard input.

use super::Failure;
use crate::clock::{Clock, Moment, Wall};
use crate::config::{self, Config};
use crate::frame::{End, Frame};
use crate::limits::{BODY_RAW_BYTES_DEFAULT, FRAME_BYTES_DEFAULT};
use crate::map::{Mapper, Outcome, Source};
use crate::metrics::Tally;
use crate::page::RowPage;
use jiff::Timestamp;
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Show the row that each message would become.
///
/// Reads messages from standard input, one a line, and prints for each, in order, exactly one line
/// of JSON: the row as it would be uploaded. A line that is neither CEF nor of a Cisco firewall gives
/// the row that such lines become (DeviceVendor "cefline", DeviceProduct "unparsed"); one that the
/// configuration drops gives null.
///
/// Example: echo 'CEF:0|Acme|Gate|1.0|100|conn|5|src=10.0.0.1' | cefline parse
#[derive(Debug, clap::Args)]
pub struct ParseArgs {
    /// Take the settings of the sections map and listen from this configuration instead of the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Time of receipt, RFC 3339 (2026-11-25T01:59:07Z); by default the present
    #[arg(long, value_name = "TIME")]
    pub now: Option<Timestamp>,

    /// Address that the messages came from: the Computer of those that name no host
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub peer: IpAddr,
}

/// Prints the rows.
///
/// # Errors
/// A configuration that cannot be used (2), or standard input or output that fails (1).
pub fn run(args: &ParseArgs) -> Result<ExitCode, Failure> {
    let (settings, frame_bytes_max, raw_bytes_max) = match &args.config {
        Some(file) => {
            let config = Config::read(file).map_err(Failure::usage)?;
            let batch = config.batch.raw_bytes_max;
            (config.map, config.listen.frame_bytes_max, batch)
        }
        None => (
            config::Map::of(&config::Machine::read()),
            FRAME_BYTES_DEFAULT,
            BODY_RAW_BYTES_DEFAULT,
        ),
    };
    let mut rows = Rows {
        mapper: Mapper::new(&settings, raw_bytes_max.saturating_sub(2)),
        page: RowPage::new(),
        tally: Tally::default(),
        clock: Clock::start(),
        now: args.now,
        peer: args.peer,
    };
    let mut input = io::stdin().lock();
    let mut output = io::BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    let copied = loop {
        line.clear();
        match read_line(&mut input, frame_bytes_max, &mut line) {
            Ok(None) => break output.flush(),
            Ok(Some(end)) => {
                if let Err(error) = output.write_all(rows.row(&line, end)) {
                    break Err(error);
                }
            }
            Err(error) => break Err(error),
        }
    };
    match copied {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // whoever reads our output has enough of it
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::running(format!("cannot go on: {error}"))),
    }
}

struct Rows {
    mapper: Mapper,
    page: RowPage,
    tally: Tally,
    clock: Clock,
    now: Option<Timestamp>,
    peer: IpAddr,
}

impl Rows {
    /// The row of one line, with the LF behind it.
    fn row(&mut self, line: &[u8], end: End) -> &[u8] {
        let mut received = self.clock.now();
        if let Some(now) = self.now {
            received = Moment {
                wall: Wall(i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX)),
                ..received
            };
        }
        let source = Source {
            peer: self.peer,
            received,
        };
        self.page.reset();
        let frame = Frame { bytes: line, end };
        match self
            .mapper
            .map(frame, source, &mut self.page, &mut self.tally)
        {
            Outcome::Written => self.page.only_row(),
            Outcome::Lost => b"null\n",
        }
    }
}

/// Reads a line into `line`, without its end, and of a longer one no more than `bytes_max`. Gives
/// nothing at the end of the input.
fn read_line(
    input: &mut impl BufRead,
    bytes_max: usize,
    line: &mut Vec<u8>,
) -> io::Result<Option<End>> {
    let mut end = End::Whole;
    let mut has_any = false;
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok(has_any.then_some(end));
        }
        has_any = true;
        let stop = memchr::memchr(b'\n', chunk);
        let part = &chunk[..stop.unwrap_or(chunk.len())];
        let used = part.len() + usize::from(stop.is_some());
        line.extend_from_slice(part);
        // a CR at the limit is part of the end of the line
        if line.len() > bytes_max && !(line.len() == bytes_max + 1 && line.ends_with(b"\r")) {
            line.truncate(bytes_max);
            end = End::Truncated;
        }
        input.consume(used);
        if stop.is_some() {
            while let Some(b'\r' | 0) = line.last() {
                line.pop();
            }
            return Ok(Some(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_up_to_the_limit_and_cut_past_it() {
        let mut input = io::BufReader::with_capacity(3, &b"abcd\r\n\nabcde\nabcdefgh\nxy"[..]);
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while let Some(end) = read_line(&mut input, 4, &mut line).unwrap() {
            lines.push((String::from_utf8(std::mem::take(&mut line)).unwrap(), end));
        }
        let expected = [
            ("abcd", End::Whole),
            ("", End::Whole),
            ("abcd", End::Truncated),
            ("abcd", End::Truncated),
            ("xy", End::Whole),
        ];
        assert_eq!(lines, expected.map(|(text, end)| (text.to_owned(), end)));
    }
}
