//! `cefline run`: the forwarder.

mod attend;
mod logging;

pub(super) use logging::start_log;

use super::Failure;
use crate::clock::Clock;
use crate::config::{Loaded, Machine};
use crate::run::{Opened, Report, View};
use crate::sandbox::{self, Entrance, Kind};
use crate::supervisor::{Notice, Supervisor};
use attend::Attendant;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a run that had to leave rows behind.
const UNSENT: u8 = 3;

/// Receive CEF over TCP and land it in Microsoft Sentinel.
///
/// Runs until it is told to stop by Ctrl-C or SIGTERM: it then stops accepting, reads what has
/// arrived, uploads until runtime.stop_time_max, and prints what became of every frame. A second
/// signal ends it at once. Logs go to standard error; metrics to http://127.0.0.1:9514/metrics.
///
/// SIGHUP makes it read its configuration again: if all of it is good it is in force from then on, and
/// connections stay; else the old one stays, and log, /readyz and config_reloads_total say why.
///
/// Under systemd it says when it is ready, feeds the watchdog while every core moves, takes the
/// listening sockets that it is given, and leaves its own in systemd's keeping, so that a restart
/// refuses nobody.
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
    // first: it must be before any thread
    let mut supervisor = Supervisor::from_environment().map_err(|error| {
        Failure::running(format!(
            "the supervisor at NOTIFY_SOCKET cannot be spoken to: {error}"
        ))
    })?;
    let machine = Machine::read();
    let loaded = Loaded::read(&args.config, &machine).map_err(Failure::usage)?;
    let mut logging = start_log(&loaded.config.log)?;
    for warning in loaded.warnings_in(&args.config) {
        tracing::warn!("{warning}");
    }
    let clock = Clock::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::running(format!("cannot start: {error}")))?;
    // before any port opens, so that no signal can come too early
    let (mut signals, hangups) = {
        let _inside = runtime.enter();
        (Signals::new()?, listen(SignalKind::hangup())?)
    };
    let entrance = Entrance::new(&loaded.config, &args.config);
    let opened = Opened::new(&mut supervisor, loaded.config, clock)?;
    let sandbox = entrance.enter().map_err(Failure::usage)?;
    logging.start_thread();
    sandbox.log();
    let forwarder = opened.start(&machine, sandbox)?;
    sandbox::narrow(Kind::Main);
    announce(&forwarder.view());
    supervisor.tell(&Notice::Ready);
    let attendant = Attendant {
        file: args.config.clone(),
        machine,
        clock,
        logging,
        supervisor,
        hangups,
    };
    let report = runtime.block_on(attendant.attend(forwarder, &mut signals));
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
        tracing::info!(%address, io = view.io(), "listening for syslog over TCP");
    }
    if let Some(address) = view.metrics_address() {
        tracing::info!("metrics on http://{address}/metrics");
    }
}

/// Ctrl-C and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
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

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::running(format!("no signals: {error}")))
}
