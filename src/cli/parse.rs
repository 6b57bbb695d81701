//! `cefline parse`: the rows of messages on standard input, and what filters would do to them.

mod report;

use super::Failure;
use crate::clock::{Clock, Moment, Wall};
use crate::config::{self, Config};
use crate::filter::Filters;
use crate::frame::{End, Frame};
use crate::limits::{BODY_RAW_BYTES_DEFAULT, FRAME_BYTES_DEFAULT};
use crate::map::{Mapper, Outcome, Source};
use crate::metrics::{FilterBook, Tally};
use crate::page::RowPage;
use jiff::Timestamp;
use report::Report;
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Show the row that each message would become.
///
/// Reads messages from standard input, one a line, and prints for each, in order, exactly one line
/// of JSON: the row as it would be uploaded. A line that is neither CEF nor of a Cisco firewall gives
/// the row that such lines become (DeviceVendor "cefline", DeviceProduct "unparsed"); one that the
/// configuration drops, or a rule of section filter ends, gives null.
///
/// With --explain there is a line for each message that says which rules of section filter mean it and how
/// many bytes of the row each saves, and at the end a table of the rules.
///
/// Example: echo 'CEF:0|Acme|Gate|1.0|100|conn|5|src=10.0.0.1' | cefline parse
#[derive(Debug, clap::Args)]
pub struct ParseArgs {
    /// Take the settings of the sections map, filter and listen from this configuration instead of the
    /// defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Take the rules of section filter from this file, which need hold nothing else
    #[arg(long, value_name = "FILE")]
    pub filters: Option<PathBuf>,

    /// Say what the rules of section filter do instead of printing rows
    #[arg(long)]
    pub explain: bool,

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
    let (settings, mut rules, frame_bytes_max, raw_bytes_max) = match &args.config {
        Some(file) => {
            let config = Config::read(file).map_err(Failure::usage)?;
            let batch = config.batch.raw_bytes_max;
            let frame_bytes_max = config.listen.frame_bytes_max;
            (config.map, config.filters, frame_bytes_max, batch)
        }
        None => (
            config::Map::of(&config::Machine::read()),
            Vec::new(),
            FRAME_BYTES_DEFAULT,
            BODY_RAW_BYTES_DEFAULT,
        ),
    };
    if let Some(file) = &args.filters {
        rules = config::read_filters(file).map_err(Failure::usage)?;
    }
    let mut report = args.explain.then(|| Report::new(&rules));
    let mut mapper = Mapper::new(&settings, raw_bytes_max.saturating_sub(2));
    if !rules.is_empty() {
        let names = rules.iter().map(|rule| rule.name.as_str());
        let counts = FilterBook::default().open(names);
        mapper = mapper.filtered_by(Filters::new(&rules, counts));
    }
    let mut rows = Rows {
        mapper,
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
            Ok(None) => {
                let table = report.as_mut().map(|report| {
                    report.summaries(rows.summaries());
                    report.table()
                });
                let table = table.unwrap_or_default();
                break output
                    .write_all(table.as_bytes())
                    .and_then(|()| output.flush());
            }
            Ok(Some(end)) => {
                let row = rows.row(&line, end);
                let written = match &mut report {
                    None => output.write_all(row),
                    Some(report) => {
                        let bytes = if row == NONE { 0 } else { row.len() };
                        let line = report.line(rows.mapper.effects(), bytes);
                        output.write_all(line.as_bytes())
                    }
                };
                if let Err(error) = written {
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

/// In the place of a row that is not written.
const NONE: &[u8] = b"null\n";

struct Rows {
    mapper: Mapper,
    page: RowPage,
    tally: Tally,
    clock: Clock,
    now: Option<Timestamp>,
    peer: IpAddr,
}

impl Rows {
    fn source(&self) -> Source {
        let mut received = self.clock.now();
        if let Some(now) = self.now {
            received = Moment {
                wall: Wall(i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX)),
                ..received
            };
        }
        Source {
            peer: self.peer,
            received,
        }
    }

    /// Bytes of the rows that tell how many were suppressed.
    fn summaries(&mut self) -> usize {
        let source = self.source();
        let mut bytes = 0;
        if let Some(filters) = self.mapper.filters() {
            filters.close();
        }
        while self.mapper.filters().is_some_and(|all| all.has_summaries()) {
            self.page.reset();
            self.mapper
                .summarize(source, &mut self.page, &mut self.tally);
            bytes += self.page.bytes_len();
        }
        bytes
    }

    /// The row of one line, with the LF behind it. One that tells of suppressed ones may stand behind
    /// it in the page: it is not shown.
    fn row(&mut self, line: &[u8], end: End) -> &[u8] {
        let source = self.source();
        self.page.reset();
        let frame = Frame { bytes: line, end };
        match self
            .mapper
            .map(frame, source, &mut self.page, &mut self.tally)
        {
            Outcome::Written => self.page.first_row(),
            Outcome::Filtered | Outcome::Lost => NONE,
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
