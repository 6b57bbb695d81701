//! Attends to a running forwarder: signals, the supervisor, a line about the traffic now and then; and
//! sees to its end.

use super::Signals;
use super::logging::Logging;
use crate::clock::{Clock, Mono};
use crate::config::{Loaded, Machine};
use crate::limits::{DRAIN_READ_TIME, RELOAD_FINDINGS_LOGGED_MAX, STOP_COUNT_TIME, WATCHDOG_FEEDS};
use crate::metrics::{Counter, Snapshot};
use crate::run::{Forwarder, Report, View};
use crate::sandbox::Layer;
use crate::supervisor::{Notice, Supervisor};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the threads are looked after, at least.
const LOOK: Duration = Duration::from_secs(1);
/// How often a line about the traffic is logged.
const PROGRESS: Duration = Duration::from_secs(60);
/// How often the supervisor is told of the traffic.
const STATUS: Duration = Duration::from_secs(10);

/// What it takes to attend to a forwarder.
pub(super) struct Attendant {
    /// The configuration.
    pub(super) file: PathBuf,
    pub(super) machine: Machine,
    pub(super) clock: Clock,
    pub(super) logging: Logging,
    pub(super) supervisor: Supervisor,
    /// SIGHUP.
    pub(super) hangups: Signal,
}

impl Attendant {
    /// Attends to it until it has stopped.
    pub(super) async fn attend(
        mut self,
        mut forwarder: Forwarder,
        signals: &mut Signals,
    ) -> Report {
        self.until_stop(&mut forwarder, signals).await;
        self.finish(forwarder, signals).await
    }

    /// Until a signal, or until a thread ends that should not.
    async fn until_stop(&mut self, forwarder: &mut Forwarder, signals: &mut Signals) {
        let view = forwarder.view();
        let mut looks = self.looks();
        let (mut progress, mut status) = (interval(PROGRESS), interval(STATUS));
        progress.tick().await;
        let mut minute = Traffic::begin(&view, self.clock);
        let mut moment = Traffic::begin(&view, self.clock);
        let mut is_well = true;
        loop {
            tokio::select! {
                () = signals.next() => {
                    tracing::info!("stopping: no more connections, uploading what has arrived");
                    return;
                }
                Some(()) = self.hangups.recv() => self.reload(forwarder),
                _ = looks.tick() => {
                    if !forwarder.is_sound() {
                        tracing::error!("a thread has ended by a fault; stopping");
                        return;
                    }
                    self.look(&view, &mut is_well);
                    forwarder.beat();
                }
                _ = progress.tick() => {
                    minute.next(&view, self.clock).log(forwarder.connections());
                }
                _ = status.tick(), if self.supervisor.is_there() => {
                    let text = moment.next(&view, self.clock).text(forwarder.connections());
                    self.supervisor.tell(&Notice::Status(&text));
                }
            }
        }
    }

    /// Often enough for a watchdog.
    fn looks(&self) -> Interval {
        let watchdog_time = self.supervisor.watchdog_time();
        let period = watchdog_time.map_or(LOOK, |time| LOOK.min(time / WATCHDOG_FEEDS));
        let mut looks = interval(period.max(Duration::from_millis(1)));
        // none of those that were missed could be of use
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks
    }

    /// Feeds the watchdog if all is well, and else logs once what is not.
    fn look(&self, view: &View, is_well: &mut bool) {
        match view.complaint() {
            None => {
                if !*is_well {
                    tracing::info!("all loops go round again");
                }
                *is_well = true;
                if self.supervisor.watchdog_time().is_some() {
                    self.supervisor.tell(&Notice::Alive);
                }
            }
            Some(complaint) => {
                if *is_well {
                    tracing::error!("{complaint}; the watchdog, if there is one, is not fed");
                }
                *is_well = false;
            }
        }
    }

    /// Reads the configuration again and goes on by it, or by the old one.
    fn reload(&self, forwarder: &mut Forwarder) {
        self.supervisor.tell_reloading();
        let file = &self.file;
        let read = Loaded::read(file, &self.machine);
        let warnings: Vec<String> = read
            .iter()
            .flat_map(|loaded| loaded.warnings_in(file))
            .collect();
        match forwarder.reload(file, read.map(|loaded| loaded.config)) {
            Ok(()) => {
                self.logging.set_level(forwarder.config().log.level);
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!("the configuration was read again and is in force");
            }
            Err(error) => {
                let findings = error.to_string();
                for finding in findings.lines().take(RELOAD_FINDINGS_LOGGED_MAX) {
                    tracing::error!("{finding}");
                }
                let is_confined = forwarder.view().sandbox().has(Layer::Files);
                if is_confined && findings.contains("permission denied") {
                    tracing::error!(
                        "the sandbox leaves the folders of the files that were named at the start: a \
                         file in another folder needs a restart"
                    );
                }
                let count = error.findings().len();
                tracing::error!(
                    count,
                    "the configuration was read again and refused as a whole: the old one stays in force"
                );
            }
        }
        self.supervisor.tell(&Notice::Ready);
    }

    /// Stops it; at once if another signal comes.
    async fn finish(&self, forwarder: Forwarder, signals: &mut Signals) -> Report {
        let time = forwarder.config().runtime.stop_time_max;
        self.supervisor.tell(&Notice::Stopping {
            time: time + DRAIN_READ_TIME + STOP_COUNT_TIME,
        });
        let (view, stopper) = (forwarder.view(), forwarder.stopper());
        forwarder.stop(time);
        let (ended, mut end) = oneshot::channel();
        thread::spawn(move || {
            let _ = ended.send(forwarder.join());
        });
        let mut looks = self.looks();
        let mut is_well = true;
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
                _ = looks.tick() => self.look(&view, &mut is_well),
            }
        }
    }
}

/// The traffic of a stretch of time.
struct Traffic {
    began_at: Mono,
    before: Snapshot,
}

/// What a stretch of time has brought.
struct Brought {
    time: Duration,
    before: Snapshot,
    now: Snapshot,
}

impl Traffic {
    fn begin(view: &View, clock: Clock) -> Self {
        Traffic {
            began_at: clock.mono(),
            before: view.snapshot(),
        }
    }

    /// Ends the stretch, and begins the next.
    fn next(&mut self, view: &View, clock: Clock) -> Brought {
        let next = Traffic::begin(view, clock);
        let ended = std::mem::replace(self, next);
        Brought {
            time: self.began_at.since(ended.began_at),
            before: ended.before,
            now: self.before.clone(),
        }
    }
}

impl Brought {
    fn grown(&self, counter: Counter) -> u64 {
        self.now.value(counter) - self.before.value(counter)
    }

    fn lost(&self) -> u64 {
        self.now.rows_lost() + self.now.frames_lost()
    }

    fn log(&self, connections: usize) {
        tracing::info!(
            connections,
            frames = self.grown(Counter::FramesReceived),
            rows_uploaded = self.grown(Counter::RowsUploaded),
            rows_held = self.now.held(),
            rows_lost = self.lost(),
            "the last minute"
        );
    }

    /// For whoever asks the supervisor.
    fn text(&self, connections: usize) -> String {
        let seconds = self.time.as_secs_f64().max(0.001);
        let rate = |counter| self.grown(counter) as f64 / seconds;
        format!(
            "{connections} connections, {:.0} frames/s received, {:.0} rows/s uploaded, {} rows held, \
             {} lost",
            rate(Counter::FramesReceived),
            rate(Counter::RowsUploaded),
            self.now.held(),
            self.lost(),
        )
    }
}
