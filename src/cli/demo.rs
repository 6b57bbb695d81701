//! `cefline demo`: the whole thing on one machine, with nothing to configure.

use super::Failure;
use super::query::width;
use super::run::{Signals, exit_code, start_log};
use crate::clock::{Clock, Mono};
use crate::config::{self, Config, Log, LogFormat, Machine};
use crate::emulator::{self, Emulator, show};
use crate::limits::MIB;
use crate::metrics::{Counter, Latency, Snapshot, Stopwatch};
use crate::run::{Forwarder, View};
use crate::send::{self, Rate, SendControl, SendOptions};
use std::fmt::Write as _;
use std::fs;
use std::io::{IsTerminal, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// The query that Microsoft's page on the connector gives.
const QUERY: &str = "CommonSecurityLog | where DeviceVendor == \"Darktrace\" \
                     | order by TimeGenerated desc | limit 10";
/// Finds what a person has sent by hand.
const OWN_QUERY: &str = "CommonSecurityLog | where DeviceVendor == \"You\" \
                         | order by TimeGenerated desc | limit 3 \
                         | project TimeGenerated, Computer, Activity, Message, SourceIP";
/// What a person may send by hand.
const OWN_MESSAGE: &str = "CEF:0|You|demo|1|hello|Hello from me|5|src=192.0.2.7 msg=It works";
/// Ports to try, in this order; then any free one.
const PORTS: [u16; 2] = [514, 5514];
/// Connections of the sender.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// How often the progress is shown on a terminal...
const REFRESH_TERMINAL: Duration = Duration::from_millis(500);
/// ...and elsewhere, where each time is a line.
const REFRESH_ELSEWHERE: Duration = Duration::from_secs(1);
/// How often its start is tried.
const STARTS_MAX: usize = 3;
/// What the forwarder may take to deliver the rest.
const STOP_TIME: Duration = Duration::from_secs(20);

/// Show all of it on this machine, with nothing to configure.
///
/// Starts a stand-in for Microsoft Sentinel on a loopback address, starts the forwarder with its
/// real pipeline (TCP, CEF, gzip, TLS, token, ingestion API), sends itself messages as a dozen
/// vendors' devices do, Darktrace among them, and shows how it goes. At the end it asks the table
/// for the ten newest rows of Darktrace. It prints a line to send a message of your own while it
/// runs.
///
/// Needs no rights: where port 514 is not allowed it takes another. Nothing leaves this machine.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// How long to send; Ctrl-C ends it earlier
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub seconds: u64,

    /// Messages a second
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000.0)]
    pub rate: f64,
}

/// Runs the demonstration.
///
/// # Errors
/// A part of it could not start.
pub fn run(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let rate = Rate::per_second(args.rate)
        .ok_or_else(|| Failure::usage(format!("--rate {}: not a rate", args.rate)))?;
    let mut log = start_log(&Log {
        level: tracing::Level::WARN,
        format: LogFormat::Text,
    })?;
    log.start_thread();
    let clock = Clock::start();
    let machine = Machine::read();
    let folder = tempfile::tempdir().map_err(Failure::running)?;
    let sentinel =
        emulator::start(emulator::Options::default(), clock).map_err(Failure::running)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let forwarder = start_forwarder(folder.path(), &sentinel, &machine, clock)?;
    let Some(address) = forwarder.view().addresses().first().copied() else {
        return Err(Failure::running("the forwarder listens nowhere"));
    };
    introduce(&sentinel, address, args)?;
    let control = Arc::new(SendControl::default());
    let sender = start_sender(address, rate, args.seconds, clock, control.clone())?;
    let mut screen = Screen::new(&sentinel, forwarder.view(), control.clone(), clock);
    runtime.block_on(screen.follow(&sender, &mut signals))?;
    control.stop.store(true, Ordering::Release);
    // what it sent is on its way; whether all of it has arrived is what the report shows
    let _ = sender.join();
    forwarder.stop(STOP_TIME);
    let report = forwarder.join();
    screen.show(true)?;
    conclude(&sentinel, &control, &report)?;
    sentinel.stop();
    Ok(exit_code(&report))
}

/// On the first ports that are free. Another program may take one between our look and the start,
/// so it is tried more than once.
fn start_forwarder(
    folder: &Path,
    sentinel: &Emulator,
    machine: &Machine,
    clock: Clock,
) -> Result<Forwarder, Failure> {
    let start = || {
        let config = configuration(folder, sentinel, machine)?;
        Forwarder::start(config, machine, clock)
    };
    (1..STARTS_MAX).fold(start(), |started, _| started.or_else(|_| start()))
}

/// A real configuration, read as any other, that points at the emulator.
fn configuration(folder: &Path, sentinel: &Emulator, machine: &Machine) -> Result<Config, Failure> {
    let (ca, secret) = (folder.join("ca.pem"), folder.join("secret"));
    fs::write(&ca, sentinel.ca_pem()).map_err(Failure::running)?;
    fs::write(&secret, sentinel.client_secret()).map_err(Failure::running)?;
    let options = sentinel.options();
    let text = format!(
        "[listen]\ntcp = [\"{listen}\"]\n\n[metrics]\nlisten = \"{metrics}\"\n\n[spool]\ndirectory = \
         {spool:?}\n\n[sentinel]\nendpoint = \"{url}\"\nrules = {rules:?}\nstream = \"{stream}\"\nca_file = {ca:?}\n\n\
         [sentinel.identity]\nkind = \"client_secret\"\ntenant_id = \"{tenant}\"\nclient_id = \
         \"{client}\"\nsecret_file = {secret:?}\nauthority = \"{url}\"\n",
        spool = folder.join("spool"),
        listen = free_address()?,
        metrics = free_port(9514)?,
        url = sentinel.url(),
        rules = options.rules,
        stream = options.stream,
        tenant = options.tenant_id,
        client = options.client_id,
    );
    config::parse(&text, machine).map_err(Failure::running)
}

/// Where to listen: on every address with port 514 if that is allowed, else on loopback.
fn free_address() -> Result<SocketAddr, Failure> {
    for port in PORTS {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    free_port(0)
}

/// A loopback address with this port, or with any other if it is taken.
fn free_port(port: u16) -> Result<SocketAddr, Failure> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bind(port)
        .or_else(|_| bind(0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Failure::running(format!("no free port on loopback: {error}")))
}

fn introduce(sentinel: &Emulator, address: SocketAddr, args: &DemoArgs) -> Result<(), Failure> {
    let (ip, port) = (address.ip(), address.port());
    let text = format!(
        "cefline demo: {rate:.0} CEF messages a second of a dozen vendors, for {seconds} s (Ctrl-C ends it)\n\n\
         \x20 devices --TCP {address}--> cefline --gzip, TLS--> stand-in for Sentinel at {url}\n\n\
         send a message of your own while it runs; its row shows up below:\n\n\
         \x20 printf '<134>%s\\n' '{OWN_MESSAGE}' | nc -w1 {ip} {port}\n\
         \x20 logger --tcp --rfc3164 --server {ip} --port {port} --tag CEF '{bare}'\n\n",
        rate = args.rate,
        seconds = args.seconds,
        url = sentinel.url(),
        bare = OWN_MESSAGE.trim_start_matches("CEF:"),
    );
    print(&text)
}

fn start_sender(
    to: SocketAddr,
    rate: Rate,
    seconds: u64,
    clock: Clock,
    control: Arc<SendControl>,
) -> Result<thread::JoinHandle<()>, Failure> {
    let options = SendOptions {
        connections: CONNECTIONS,
        rate: Some(rate),
        time: Some(Duration::from_secs(seconds)),
        seed: fastrand::u64(..),
        threads: Some(NonZeroUsize::MIN),
        ..SendOptions::new(to)
    };
    thread::Builder::new()
        .name("send".into())
        .spawn(move || {
            if let Err(error) = send::send(&options, clock, &control) {
                tracing::error!(%error, "the sender has failed");
            }
        })
        .map_err(Failure::running)
}

/// The live display.
struct Screen<'e> {
    sentinel: &'e Emulator,
    view: Arc<View>,
    control: Arc<SendControl>,
    clock: Clock,
    is_terminal: bool,
    /// Lines of the last display, to be drawn over.
    lines_drawn: usize,
    before: (Mono, Snapshot),
    own_rows_shown: usize,
}

impl<'e> Screen<'e> {
    fn new(
        sentinel: &'e Emulator,
        view: Arc<View>,
        control: Arc<SendControl>,
        clock: Clock,
    ) -> Self {
        let before = (clock.mono(), view.snapshot());
        Screen {
            sentinel,
            view,
            control,
            clock,
            is_terminal: std::io::stdout().is_terminal(),
            lines_drawn: 0,
            before,
            own_rows_shown: 0,
        }
    }

    /// Shows how it goes until the sender is done or somebody has seen enough.
    async fn follow(
        &mut self,
        sender: &thread::JoinHandle<()>,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let refresh = if self.is_terminal {
            REFRESH_TERMINAL
        } else {
            REFRESH_ELSEWHERE
        };
        let mut ticks = tokio::time::interval(refresh);
        ticks.tick().await;
        while !sender.is_finished() {
            tokio::select! {
                () = signals.next() => return Ok(()),
                _ = ticks.tick() => {
                    self.own_rows()?;
                    self.show(false)?;
                }
            }
        }
        Ok(())
    }

    /// Rows that a person has sent by hand since the last look.
    fn own_rows(&mut self) -> Result<(), Failure> {
        let Ok(answer) = self.sentinel.query(OWN_QUERY) else {
            return Ok(());
        };
        if answer.rows_count > self.own_rows_shown {
            let names: Vec<String> = answer.columns.iter().map(|c| c.name.clone()).collect();
            let table = show::table(&names, &answer.rows(), width());
            self.lines_drawn = 0;
            print(&format!("\nyour message has arrived:\n{table}\n"))?;
        }
        self.own_rows_shown = answer.rows_count;
        Ok(())
    }

    fn show(&mut self, is_last: bool) -> Result<(), Failure> {
        let now = self.clock.mono();
        let snapshot = self.view.snapshot();
        let (then, before) = std::mem::replace(&mut self.before, (now, snapshot.clone()));
        let seconds = now.since(then).as_secs_f64().max(0.001);
        let rate = |counter| {
            let grown = snapshot.value(counter) - before.value(counter);
            format!("{:.0}/s", grown as f64 / seconds)
        };
        let text = if self.is_terminal {
            self.block(
                &snapshot,
                rate(Counter::FramesReceived),
                rate(Counter::RowsUploaded),
            )
        } else if is_last {
            String::new()
        } else {
            self.line(
                &snapshot,
                rate(Counter::FramesReceived),
                rate(Counter::RowsUploaded),
            )
        };
        let up = match self.lines_drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        if self.is_terminal {
            self.lines_drawn = text.lines().count();
        }
        print(&format!("{up}{text}"))
    }

    fn block(&self, snapshot: &Snapshot, rate_in: String, rate_out: String) -> String {
        let value = |counter| snapshot.value(counter);
        let (p50, p99) = self.latency();
        let mut text = String::new();
        let mut line = |name: &str, what: String| {
            // a String takes everything
            let _ = writeln!(text, "  {name:<12} {what}");
        };
        line(
            "in",
            format!(
                "{rate_in:>10}   {} frames, {}",
                value(Counter::FramesReceived),
                mebibytes(value(Counter::BytesReceived))
            ),
        );
        line(
            "out",
            format!(
                "{rate_out:>10}   {} rows in {} calls, {} of JSON, {} on the wire, gzip {}",
                value(Counter::RowsUploaded),
                value(Counter::BodiesUploaded),
                mebibytes(value(Counter::BodyRawBytes)),
                mebibytes(value(Counter::BodyWireBytes)),
                ratio(snapshot),
            ),
        );
        line("latency", format!("receipt to 204: p50 {p50}, p99 {p99}"));
        line(
            "accounting",
            format!(
                "sent {} | received {} = uploaded {} + held {} + lost {}",
                self.control.messages.load(Ordering::Relaxed),
                value(Counter::FramesReceived),
                value(Counter::RowsUploaded),
                snapshot.held(),
                snapshot.frames_lost() + snapshot.rows_lost(),
            ),
        );
        text
    }

    fn line(&self, snapshot: &Snapshot, rate_in: String, rate_out: String) -> String {
        let (p50, p99) = self.latency();
        format!(
            "in {rate_in}, out {rate_out}, gzip {}, p50 {p50}, p99 {p99}; received {} = uploaded {} \
             + held {} + lost {}\n",
            ratio(snapshot),
            snapshot.value(Counter::FramesReceived),
            snapshot.value(Counter::RowsUploaded),
            snapshot.held(),
            snapshot.frames_lost() + snapshot.rows_lost(),
        )
    }

    fn latency(&self) -> (String, String) {
        let Ok(all) = Latency::merged(self.view.latencies(), Stopwatch::Overall) else {
            return Default::default();
        };
        let at = |quantile| format!("{:.0} ms", all.value_at_quantile(quantile) as f64 / 1e3);
        (at(0.5), at(0.99))
    }
}

fn ratio(snapshot: &Snapshot) -> String {
    match snapshot.value(Counter::BodyWireBytes) {
        0 => "-".into(),
        wire => format!(
            "1:{:.1}",
            snapshot.value(Counter::BodyRawBytes) as f64 / wire as f64
        ),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

/// The table, and what became of everything.
fn conclude(
    sentinel: &Emulator,
    control: &SendControl,
    report: &crate::run::Report,
) -> Result<(), Failure> {
    let answer = sentinel.query(QUERY).map_err(Failure::running)?;
    let names: Vec<String> = answer.columns.iter().map(|c| c.name.clone()).collect();
    let table = show::table(&names, &answer.rows(), width());
    print(&format!("\n{QUERY}\n\n{table}\n"))?;
    let own = sentinel.query(OWN_QUERY).map_err(Failure::running)?;
    if own.rows_count > 0 {
        let names: Vec<String> = own.columns.iter().map(|c| c.name.clone()).collect();
        print(&format!(
            "what you sent:\n\n{}\n",
            show::table(&names, &own.rows(), width())
        ))?;
    }
    let stored = sentinel.stats().rows_stored;
    print(&format!(
        "sent {} messages\n{report}in the table: {stored} rows\n",
        control.messages.load(Ordering::Acquire)
    ))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // whoever reads has seen enough
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failure::running),
    }
}
