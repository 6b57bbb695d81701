//! `cefline send`: messages to a receiver, and an exact account of them.

mod mock;

use super::Failure;
use crate::clock::Clock;
use crate::generate::{Vendor, append_id};
use crate::limits::{SEND_CLOSE_TIME_DEFAULT, SEND_CONNECTIONS_MOST, SEND_FILE_BYTES_MOST};
use crate::send::{
    Framing, Lines, Rate, SendControl, SendError, SendOptions, SendReport, Source, Writes, send,
};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Generated messages to send when neither a number nor a time is given.
const COUNT_DEFAULT: u64 = 10_000;

/// Send CEF messages to a receiver over TCP
///
/// Sends generated messages of a dozen vendors, or those of a file, and says exactly how many.
/// A message counts as sent once the kernel has taken all of it. Syslog over TCP has no
/// acknowledgement; that the receiver has read everything is certain when it closes its side
/// after we closed ours, which is waited for at the end and reported.
///
/// Each generated message carries an externalId of its own, cfSEED-NUMBER (the seed in
/// hexadecimal), so that rows can be held against what was sent (see --ids).
///
/// Exit code: 0 if no connection was lost, 1 if one was, 2 if the command cannot be carried out as
/// written. The last line of standard output is
/// "sent N messages, N bytes, over N connections in N s (N messages/s)", or JSON with --json.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  cefline send                                    10,000 messages to 127.0.0.1:514
  cefline send 127.0.0.1:5514 --vendors darktrace --rate 20 --seconds 60
  cefline send 127.0.0.1:5514 --count 2000000 --connections 8 --framing octet --ids sent.txt
  cefline send 127.0.0.1:5514 --file messages.log --small-writes
  cefline send 127.0.0.1:5514 --test              Microsoft's test messages, and how to find them")]
pub struct SendArgs {
    /// The receiver
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:514")]
    pub to: String,

    /// Send the lines of this file instead of generated messages ("-": standard input)
    ///
    /// Each line is a message; empty lines are left out. Without --count and --seconds each is
    /// sent once; with one of them, from the first to the last and then from the first again.
    #[arg(long, value_name = "FILE", help_heading = "What")]
    pub file: Option<PathBuf>,

    /// Send Microsoft's own test messages, one of each form, and print the query that finds each
    ///
    /// Those of the connector's page, its scripts and its troubleshooter: with and without a
    /// header, a severity, a line feed; text of Cisco ASA and FTD. Over connections of their own,
    /// framed as they are on those pages.
    #[arg(
        long,
        conflicts_with_all = [
            "file", "vendors", "count", "seconds", "seed", "rate", "connections", "framing",
            "small_writes", "single_bytes", "cuts", "threads", "ids", "json",
        ],
        help_heading = "What"
    )]
    pub test: bool,

    /// Generate messages of these vendors only [default: all]
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        value_parser = vendor_parser(),
        conflicts_with = "file",
        help_heading = "What"
    )]
    pub vendors: Vec<Vendor>,

    /// Send so many messages, over all connections
    ///
    /// Without --count and --seconds: the lines of --file once, or 10,000 generated messages.
    #[arg(long, value_name = "N", help_heading = "What")]
    pub count: Option<u64>,

    /// Send for so many seconds (whichever comes first, if --count is given as well)
    #[arg(long, value_name = "S", value_parser = seconds, help_heading = "What")]
    pub seconds: Option<Duration>,

    /// What generated messages, their ids and random cuts follow from [default: the time]
    ///
    /// The same seed, options and number of connections give the same messages, but for their
    /// times. Two runs into one table need different seeds for their ids to be unique.
    #[arg(long, value_name = "N", help_heading = "What")]
    pub seed: Option<u64>,

    /// Send so many messages a second, over all connections and evenly [default: flat out]
    ///
    /// If the receiver holds the sender up, the sender catches up afterwards.
    #[arg(long, value_name = "R", help_heading = "How")]
    pub rate: Option<Rate>,

    /// Open so many connections; all of them before the first message is sent
    #[arg(long, value_name = "C", default_value = "1", value_parser = connections, help_heading = "How")]
    pub connections: NonZeroUsize,

    /// How messages are told apart: by what stands behind each, or a length in front (RFC 6587)
    #[arg(long, value_name = "FRAMING", default_value = "lf", value_parser = framing_parser(), help_heading = "How")]
    pub framing: Framing,

    /// Write one message at a time, as devices do
    #[arg(long, help_heading = "How")]
    pub small_writes: bool,

    /// Write one byte at a time: the worst that a sender can do
    #[arg(long, conflicts_with = "small_writes", help_heading = "How")]
    pub single_bytes: bool,

    /// Write in random cuts, without regard to messages: a test of the receiver
    #[arg(long, conflicts_with_all = ["small_writes", "single_bytes"], help_heading = "How")]
    pub cuts: bool,

    /// Use at most so many threads [default: one a core]
    #[arg(long, value_name = "N", help_heading = "How")]
    pub threads: Option<NonZeroUsize>,

    /// Wait at the end so many seconds for the receiver to read everything and close [default: 30]
    #[arg(long, value_name = "S", value_parser = seconds, help_heading = "How")]
    pub close_wait: Option<Duration>,

    /// Write the ids of all messages that were sent in full to this file, one a line
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "file",
        help_heading = "Account"
    )]
    pub ids: Option<PathBuf>,

    /// End with a line of JSON instead of text, each connection with its own account
    #[arg(long, help_heading = "Account")]
    pub json: bool,
}

fn vendor_parser() -> impl TypedValueParser<Value = Vendor> {
    PossibleValuesParser::new(Vendor::ALL.iter().map(|vendor| vendor.name()))
        .try_map(|name| name.parse())
}

fn framing_parser() -> impl TypedValueParser<Value = Framing> {
    PossibleValuesParser::new(Framing::ALL.map(Framing::name)).try_map(|name| name.parse())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    number.ok_or_else(|| "not a number of seconds, 0 or more".to_owned())
}

fn connections(text: &str) -> Result<NonZeroUsize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|count: &NonZeroUsize| count.get() <= SEND_CONNECTIONS_MOST);
    number.ok_or_else(|| format!("allowed are 1 to {SEND_CONNECTIONS_MOST} connections"))
}

/// Sends, and prints the account.
///
/// # Errors
/// If nothing could be sent: the file, the address or the receiver is not there.
pub fn run(args: SendArgs) -> Result<ExitCode, Failure> {
    let clock = Clock::start();
    let options = options(&args, clock)?;
    if args.test {
        return mock::run(options.to, options.close_time, clock);
    }
    // Opened before anything is sent: afterwards it would be too late to learn that it cannot be.
    let ids = args
        .ids
        .as_deref()
        .map(|path| Ok((path, create(path)?)))
        .transpose()?;
    let control = Arc::new(SendControl::default());
    stop_on_interrupt(Arc::clone(&control));
    let report = send_watched(&options, clock, &control).map_err(Failure::running)?;
    if let Some((path, file)) = ids {
        write_ids(file, &options, &report).map_err(|error| {
            Failure::running(format!("cannot write ids to {}: {error}", path.display()))
        })?;
    }
    account(&report);
    let last_line = if args.json {
        json_line(&options, &report)
    } else {
        text_line(&report)
    };
    writeln!(io::stdout(), "{last_line}")
        .map_err(|error| Failure::running(format!("cannot write to standard output: {error}")))?;
    Ok(ExitCode::from(u8::from(!report.is_clean())))
}

fn options(args: &SendArgs, clock: Clock) -> Result<SendOptions, Failure> {
    let source = match &args.file {
        Some(path) => Source::Lines(Arc::new(read_lines(path)?)),
        None => Source::Generated(args.vendors.clone()),
    };
    let count = match (&source, args.seconds) {
        _ if args.count.is_some() => args.count,
        (_, Some(_)) => None,
        (Source::Lines(lines), None) => Some(lines.count() as u64),
        (Source::Generated(_), None) => Some(COUNT_DEFAULT),
    };
    Ok(SendOptions {
        to: resolve(&args.to)?,
        source,
        framing: args.framing,
        connections: args.connections,
        count,
        time: args.seconds,
        rate: args.rate,
        writes: match (args.cuts, args.single_bytes, args.small_writes) {
            (true, ..) => Writes::RandomCuts,
            (_, true, _) => Writes::OneByte,
            (.., true) => Writes::OneMessage,
            _ => Writes::Large,
        },
        seed: args.seed.unwrap_or_else(|| clock.wall().0.unsigned_abs()),
        threads: args.threads,
        close_time: args.close_wait.unwrap_or(SEND_CLOSE_TIME_DEFAULT),
    })
}

fn resolve(text: &str) -> Result<SocketAddr, Failure> {
    let mut addresses = text.to_socket_addrs().map_err(|error| {
        Failure::usage(format!(
            "{text:?} is no HOST:PORT that can be reached: {error}"
        ))
    })?;
    addresses
        .next()
        .ok_or_else(|| Failure::usage(format!("{text:?} has no address")))
}

pub(super) fn read_lines(path: &Path) -> Result<Lines, Failure> {
    let shown = path.display();
    let unreadable = |error| Failure::usage(format!("cannot read {shown}: {error}"));
    let mut text = Vec::new();
    let reader: &mut dyn Read = if path == Path::new("-") {
        &mut io::stdin().lock()
    } else {
        &mut File::open(path).map_err(unreadable)?
    };
    reader
        .take(SEND_FILE_BYTES_MOST + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > SEND_FILE_BYTES_MOST {
        return Err(Failure::usage(format!(
            "{shown} is longer than {SEND_FILE_BYTES_MOST} bytes, the most that is read"
        )));
    }
    Lines::parse(text).ok_or_else(|| Failure::usage(format!("{shown} holds no message")))
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path)
        .map_err(|error| Failure::usage(format!("cannot create {}: {error}", path.display())))
}

/// The first Ctrl-C ends the sending at the next end of a message; the second ends the program.
fn stop_on_interrupt(control: Arc<SendControl>) {
    let wait = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            tokio::signal::ctrl_c().await?;
            control.stop.store(true, Ordering::Relaxed);
            tokio::signal::ctrl_c().await
        })?;
        std::process::exit(130);
    };
    // Without the thread Ctrl-C ends the program at once, as it does by default.
    let _ = thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(move || -> io::Result<()> { wait() });
}

/// Sends, and meanwhile tells a person at a terminal how far it is.
fn send_watched(
    options: &SendOptions,
    clock: Clock,
    control: &SendControl,
) -> Result<SendReport, SendError> {
    if !io::stderr().is_terminal() {
        return send(options, clock, control);
    }
    thread::scope(|scope| {
        let (ended, end) = sync_channel::<()>(0);
        scope.spawn(move || {
            let mut before = 0;
            while end.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let sent = control.messages.load(Ordering::Relaxed);
                eprintln!("{sent} messages sent, {} in the last second", sent - before);
                before = sent;
            }
        });
        let result = send(options, clock, control);
        drop(ended);
        result
    })
}

fn write_ids(file: File, options: &SendOptions, report: &SendReport) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    let mut line = Vec::new();
    for id in report.ids() {
        line.clear();
        append_id(&mut line, options.seed, id);
        line.push(b'\n');
        file.write_all(&line)?;
    }
    file.flush()
}

/// Tells of each connection on which something is not certain.
fn account(report: &SendReport) {
    for (index, connection) in report.connections.iter().enumerate() {
        if connection.ending != crate::send::Ending::ReadToEnd {
            eprintln!(
                "connection {}: {} messages sent in full, {} bytes of one more; {}",
                index + 1,
                connection.messages,
                connection.unfinished_bytes,
                connection.ending
            );
        }
    }
}

fn text_line(report: &SendReport) -> String {
    format!(
        "sent {} messages, {} bytes, over {} connections in {:.3} s ({:.0} messages/s)",
        report.messages(),
        report.bytes(),
        report.connections.len(),
        report.elapsed.as_secs_f64(),
        report.rate()
    )
}

fn json_line(options: &SendOptions, report: &SendReport) -> String {
    let connections: Vec<_> = report
        .connections
        .iter()
        .map(|connection| {
            json!({
                "messages": connection.messages,
                "bytes": connection.bytes,
                "unfinished_bytes": connection.unfinished_bytes,
                "ending": connection.ending.name(),
            })
        })
        .collect();
    json!({
        "messages": report.messages(),
        "bytes": report.bytes(),
        "seconds": report.elapsed.as_secs_f64(),
        "messages_per_second": report.rate(),
        "seed": options.seed,
        "framing": options.framing.name(),
        "clean": report.is_clean(),
        "connections": connections,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn parse(line: &str) -> Result<SendArgs, clap::Error> {
        let command = SendArgs::augment_args(Command::new("send"));
        let matches =
            command.try_get_matches_from(std::iter::once("send").chain(line.split_whitespace()))?;
        SendArgs::from_arg_matches(&matches)
    }

    fn options_of(line: &str) -> Result<SendOptions, Failure> {
        options(&parse(line).unwrap(), Clock::start())
    }

    #[test]
    fn the_flags_are_without_contradiction() {
        SendArgs::augment_args(Command::new("send")).debug_assert();
    }

    #[test]
    fn without_a_number_or_a_time_it_ends_by_itself() {
        let defaults = options_of("").unwrap();
        assert_eq!(defaults.count, Some(COUNT_DEFAULT));
        assert_eq!(defaults.to, "127.0.0.1:514".parse().unwrap());
        assert_eq!(options_of("--seconds 2.5").unwrap().count, None);
        assert_eq!(options_of("--count 7 --seconds 2").unwrap().count, Some(7));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\n\nb\n").unwrap();
        let lines = options_of(&format!("--file {}", file.path().display())).unwrap();
        assert_eq!(lines.count, Some(2));
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_name() {
        for (line, says) in [
            ("--connections 0", "allowed are 1 to 100000 connections"),
            ("--rate fast", "\"fast\" is no rate"),
            ("--seconds=-1", "not a number of seconds"),
            (
                "--vendors darktrace,acme",
                "possible values: darktrace, paloalto",
            ),
            ("--framing tls", "possible values: lf, crlf, nul, octet"),
            ("--cuts --small-writes", "cannot be used with"),
            ("--cuts --single-bytes", "cannot be used with"),
            ("--single-bytes --small-writes", "cannot be used with"),
            ("--file x --ids y", "cannot be used with"),
            ("--test --count 7", "cannot be used with"),
            ("--test --framing octet", "cannot be used with"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
        for (line, says) in [
            ("127.0.0.1", "\"127.0.0.1\" is no HOST:PORT"),
            ("--file /does/not/exist", "cannot read /does/not/exist"),
            ("--file /dev/null", "/dev/null holds no message"),
        ] {
            let failure = options_of(line).unwrap_err();
            assert_eq!(failure.exit_code, 2);
            assert!(failure.message.starts_with(says), "{line}: {failure}");
        }
    }

    #[test]
    fn the_last_line_is_as_documented() {
        let connection = crate::send::ConnectionReport {
            messages: 3,
            bytes: 1900,
            unfinished_bytes: 0,
            ending: crate::send::Ending::ReadToEnd,
        };
        let report = SendReport {
            connections: vec![connection.clone(), connection],
            elapsed: Duration::from_millis(1500),
        };
        assert_eq!(
            text_line(&report),
            "sent 6 messages, 3800 bytes, over 2 connections in 1.500 s (4 messages/s)"
        );
        let json: serde_json::Value =
            serde_json::from_str(&json_line(&options_of("--seed 5").unwrap(), &report)).unwrap();
        assert_eq!(
            (
                &json["messages"],
                &json["seed"],
                &json["connections"][1]["ending"]
            ),
            (&json!(6), &json!(5), &json!("read_to_end"))
        );
    }
}
