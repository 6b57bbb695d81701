//! `cefline run`: the forwarder.

use super::Failure;
use crate::clock::Clock;
use crate::config::{Loaded, Log, LogFormat, Machine};
use crate::limits::LOG_LINES_QUEUED_MAX;
use crate::metrics::{Counter, Snapshot};
use crate::run::{Forwarder, Report, View};
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Exit code of a run that had to leave rows behind.
const UNSENT: u8 = 3;
/// How often the threads are looked after.
const LOOK: Duration = Duration::from_secs(1);
/// How often a line about the traffic is logged.
const PROGRESS: Duration = Duration::from_secs(60);

/// Receive CEF over TCP and land it in Microsoft Sentinel.
///
/// Runs until it is told to stop by Ctrl-C or SIGTERM: it then stops accepting, reads what has
/// arrived, uploads until runtime.stop_time_max, and prints what became of every frame. A second
/// signal ends it at once. Logs go to standard error; metrics to http://127.0.0.1:9514/metrics.
///
/// Exit code 0: everything received was uploaded, or lost for a reason that the report names and the
/// configuration or the service asked for. 1: it failed. 2: the configuration and the machine do not
/// go together. 3: it was stopped before everything was uploaded; the report says how many rows.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The configuration; `cefline config` prints one to start from
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs until a signal.
///
/// # Errors
/// Why it could not begin, or that it broke off.
pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let machine = Machine::read();
    let loaded = Loaded::read(&args.config, &machine).map_err(Failure::usage)?;
    let _log = start_log(&loaded.config.log)?;
    for warning in loaded.warnings_in(&args.config) {
        tracing::warn!("{warning}");
    }
    let stop_time = loaded.config.runtime.stop_time_max;
    let clock = Clock::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::running(format!("cannot start: {error}")))?;
    // before any port opens, so that no signal can come too early
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let forwarder = Forwarder::start(loaded.config, &machine, clock)?;
    announce(&forwarder.view());
    let report = runtime.block_on(async {
        attend(&forwarder, &mut signals).await;
        finish(forwarder, stop_time, &mut signals).await
    });
    // that nobody reads it is no reason to end in another way
    tracing::info!("stopped: {}", report.first_line());
    let _ = write!(io::stdout(), "{report}");
    Ok(exit_code(&report))
}

pub(super) fn exit_code(report: &Report) -> ExitCode {
    if report.is_broken {
        ExitCode::FAILURE
    } else if report.unsent() > 0 {
        ExitCode::from(UNSENT)
    } else {
        ExitCode::SUCCESS
    }
}

fn announce(view: &View) {
    for address in view.addresses() {
        tracing::info!(%address, io = "uring", "listening for syslog over TCP");
    }
    if let Some(address) = view.metrics_address() {
        tracing::info!("metrics on http://{address}/metrics");
    }
}

/// Ctrl-C and SIGTERM.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::running(format!("no signals: {error}")));
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Until a signal, or until a thread ends that should not.
async fn attend(forwarder: &Forwarder, signals: &mut Signals) {
    let view = forwarder.view();
    let mut looks = tokio::time::interval(LOOK);
    let mut progress = tokio::time::interval(PROGRESS);
    progress.tick().await;
    let mut before = view.snapshot();
    loop {
        tokio::select! {
            () = signals.next() => {
                tracing::info!("stopping: no more connections, uploading what has arrived");
                return;
            }
            _ = looks.tick() => {
                if !forwarder.is_sound() {
                    tracing::error!("a thread has ended by a fault; stopping");
                    return;
                }
            }
            _ = progress.tick() => {
                let now = view.snapshot();
                log_progress(&before, &now, forwarder.connections());
                before = now;
            }
        }
    }
}

fn log_progress(before: &Snapshot, now: &Snapshot, connections: usize) {
    let grown = |counter| now.value(counter) - before.value(counter);
    tracing::info!(
        connections,
        frames = grown(Counter::FramesReceived),
        rows_uploaded = grown(Counter::RowsUploaded),
        rows_held = now.held(),
        rows_lost = now.rows_lost() + now.frames_lost(),
        "the last minute"
    );
}

/// Stops it; at once if another signal comes.
async fn finish(forwarder: Forwarder, time: Duration, signals: &mut Signals) -> Report {
    let stopper = forwarder.stopper();
    forwarder.stop(time);
    let (ended, mut end) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let _ = ended.send(forwarder.join());
    });
    loop {
        tokio::select! {
            report = &mut end => match report {
                Ok(report) => return report,
                Err(_) => std::process::exit(1),
            },
            () = signals.next() => {
                tracing::warn!("stopping at once");
                stopper.stop(Duration::ZERO);
            }
        }
    }
}

/// Logs to standard error, by the configuration, through a thread of its own: whoever reads our
/// standard error may stall, and must not stall the shards with it. Lines that find no room in the
/// queue are dropped. The guard, when it is dropped, waits a moment for the last lines.
///
/// # Errors
/// Logging has been set up before.
pub(super) fn start_log(log: &Log) -> Result<WorkerGuard, Failure> {
    // what libraries have to say is of use to their authors
    let filter = Targets::new()
        .with_target("cefline", LevelFilter::from_level(log.level))
        .with_default(LevelFilter::WARN);
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LOG_LINES_QUEUED_MAX)
        .thread_name("log")
        .finish(io::stderr());
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    }
    .map_err(Failure::running)?;
    Ok(guard)
}
