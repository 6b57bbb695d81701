//! `cefline bench`: what this machine carries with a configuration, measured.

mod forwarder;
mod rehearsal;
mod report;

use super::Failure;
use crate::clock::Clock;
use crate::config::{self, BodyReading, Config, Machine, REFERENCE};
use crate::emulator::{self, Emulator, MinuteLimits, SizeReading};
use crate::limits::CONFIG_BYTES_MAX;
use crate::send::{Rate, SendControl, SendOptions, Source, send};
use forwarder::Process;
use rehearsal::Stage;
use report::{Figures, Report};
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use toml::Table;

/// Connections of the sender.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// Rows that the stand-in keeps: only their number is of interest.
const ROWS_KEPT: usize = 100_000;

/// Measure what this machine carries with your configuration
///
/// Starts a stand-in for Microsoft Sentinel and a forwarder with the settings of the configuration
/// (durability, gzip, TLS, filters, cores, ...), sends it messages as fast as it takes them, and
/// prints the sustained rate, what an event costs, and memory; with --rate also what a month of
/// your events comes to. Every row is counted in the table of the stand-in.
///
/// Nothing leaves this machine, no running cefline is disturbed, and no file of yours is changed:
/// ports and spool are the bench's own. The spool is made beside the configured one, so that it
/// is the same disk. Sender and stand-in run on this machine too and take about as much
/// processor time as the forwarder, so the sustained rate is a lower bound; "a core" is exact.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cefline bench                                            with the default configuration
  cefline bench --config /etc/cefline/cefline.toml --rate 2500
  cefline bench --config cefline.toml --file sample.log    with messages like yours")]
pub struct BenchArgs {
    /// The configuration [default: that of `cefline config`]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Events a second that you expect: prints their month, and runs once more at that rate
    #[arg(long, value_name = "R")]
    pub rate: Option<Rate>,

    /// How long to send, each time
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,

    /// Send over so many connections
    #[arg(long, value_name = "C", default_value_t = CONNECTIONS)]
    pub connections: NonZeroUsize,

    /// Send the lines of this file, again and again, instead of generated messages
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Make the spool in this directory [default: beside the configured one]
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,

    /// Print one line of JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Measures, and prints.
///
/// # Errors
/// The configuration cannot be used, or a part of the bench could not start.
pub fn run(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let machine = Machine::read();
    let text = match &args.config {
        Some(file) => read(file)?,
        None => REFERENCE.to_owned(),
    };
    let shown = args.config.as_deref().unwrap_or(Path::new("the default"));
    let unusable =
        |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", shown.display()));
    let config = config::parse(&text, &machine).map_err(|error| unusable(&error))?;
    let table: Table = toml::from_str(&text).map_err(|error| unusable(&error))?;
    let source = match &args.file {
        Some(file) => Source::Lines(Arc::new(super::send::read_lines(file)?)),
        None => Source::Generated(Vec::new()),
    };
    let bench = Bench {
        args,
        machine,
        source,
        spool_in: spool_place(args.directory.as_deref(), &config)?,
        config,
        table,
    };
    let flat_out = bench.measure(None)?;
    let paced = args
        .rate
        .map(|rate| bench.measure(Some(rate)))
        .transpose()?;
    let report = Report {
        config: &bench.config,
        cores: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        spool_in: &bench.spool_in,
        flat_out,
        paced: args.rate.zip(paced),
    };
    let text = if args.json {
        report.json()
    } else {
        report.text()
    };
    super::config::print(&text)
}

/// Runs of one command.
struct Bench<'a> {
    args: &'a BenchArgs,
    machine: Machine,
    config: Config,
    /// The same as it was written.
    table: Table,
    source: Source,
    /// Where spools are made.
    spool_in: PathBuf,
}

impl Bench<'_> {
    /// A run with everything new, at this rate, or as fast as it goes.
    fn measure(&self, rate: Option<Rate>) -> Result<Figures, Failure> {
        let clock = Clock::start();
        let folder = tempfile::tempdir().map_err(Failure::running)?;
        let spool = self.spool()?;
        let sentinel = emulator::start(self.emulator_options(), clock).map_err(Failure::running)?;
        let stage = stage(folder.path(), spool.path(), &sentinel)?;
        let mut table = self.table.clone();
        rehearsal::rehearse(&mut table, &stage);
        let text = toml::to_string(&table).map_err(Failure::running)?;
        config::parse(&text, &self.machine).map_err(Failure::running)?;
        let file = folder.path().join("cefline.toml");
        fs::write(&file, text).map_err(Failure::running)?;
        let forwarder = Process::start(&file, stage.metrics)?;
        let options = SendOptions {
            source: self.source.clone(),
            connections: self.args.connections,
            time: Some(Duration::from_secs(self.args.seconds)),
            rate,
            seed: fastrand::u64(..),
            ..SendOptions::new(stage.tcp)
        };
        let cpu_before = forwarder.cpu_seconds()?;
        let begun = clock.mono();
        let sent = send(&options, clock, &SendControl::default()).map_err(Failure::running)?;
        let page = forwarder.settled(sent.messages())?;
        let took = clock.mono().since(begun);
        let figures = Figures {
            messages: sent.messages(),
            message_bytes: sent.bytes(),
            seconds: took.as_secs_f64(),
            cpu_seconds: forwarder.cpu_seconds()? - cpu_before,
            memory_peak: forwarder.memory_peak()?,
            page,
            rows_stored: sentinel.stats().rows_stored,
        };
        drop(forwarder);
        sentinel.stop();
        Ok(figures)
    }

    fn spool(&self) -> Result<TempDir, Failure> {
        tempfile::Builder::new()
            .prefix("cefline-bench-")
            .tempdir_in(&self.spool_in)
            .map_err(Failure::running)
    }

    fn emulator_options(&self) -> emulator::Options {
        emulator::Options {
            rules: rehearsal::rules(&self.table),
            size_reading: match self.config.batch.body_limit {
                BodyReading::Wire => SizeReading::Wire,
                BodyReading::Strict | BodyReading::Auto => SizeReading::Raw,
            },
            minute: MinuteLimits {
                bytes_max: u64::MAX,
                requests_max: u64::MAX,
            },
            rows_count_max: ROWS_KEPT,
            ..emulator::Options::default()
        }
    }
}

/// Where to make the spool: where it is told to, or where the configured one lies or would lie.
fn spool_place(wanted: Option<&Path>, config: &Config) -> Result<PathBuf, Failure> {
    let beside = config.spool.directory.parent().unwrap_or(Path::new("/"));
    let place = wanted.unwrap_or(beside);
    match tempfile::tempdir_in(place) {
        Ok(_) => Ok(place.to_owned()),
        // the default one need not be there on a machine that is looked at first
        Err(_) if wanted.is_none() => Ok(std::env::temp_dir()),
        Err(error) => Err(Failure::usage(format!(
            "--directory {}: {error}",
            place.display()
        ))),
    }
}

fn stage(folder: &Path, spool: &Path, sentinel: &Emulator) -> Result<Stage, Failure> {
    let (ca, secret) = (folder.join("ca.pem"), folder.join("secret"));
    fs::write(&ca, sentinel.ca_pem()).map_err(Failure::running)?;
    fs::write(&secret, sentinel.client_secret()).map_err(Failure::running)?;
    let options = sentinel.options();
    // both at once, so that they are not the same
    let ports = [free_port()?, free_port()?];
    let [tcp, metrics] = [ports[0].local_addr(), ports[1].local_addr()];
    Ok(Stage {
        tcp: tcp.map_err(Failure::running)?,
        metrics: metrics.map_err(Failure::running)?,
        spool: spool.to_owned(),
        url: sentinel.url(),
        stream: options.stream.clone(),
        tenant_id: options.tenant_id.clone(),
        client_id: options.client_id.clone(),
        ca,
        secret,
    })
}

fn free_port() -> Result<TcpListener, Failure> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .map_err(|error| Failure::running(format!("no free port on loopback: {error}")))
}

fn read(file: &Path) -> Result<String, Failure> {
    let unreadable =
        |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", file.display()));
    let mut text = String::new();
    fs::File::open(file)
        .and_then(|opened| {
            let mut most = opened.take(CONFIG_BYTES_MAX as u64);
            most.read_to_string(&mut text)
        })
        .map_err(|error| unreadable(&error))?;
    Ok(text)
}
