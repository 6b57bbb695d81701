//! The running program: the only place that knows all stages. Starts them in the order in which
//! nothing can be lost, watches over them, and stops them in the order of the flow.

mod heartbeat;
mod keep;
mod lag;
mod open;
mod report;
mod view;

pub use open::{DESCRIPTORS_OWN, Opened};
pub use report::Report;
pub use view::View;

use crate::clock::{Clock, Mono};
use crate::config::{Config, ConfigError, Machine};
use crate::failure::Failure;
use crate::heart::Heart;
use crate::listen::{self, Listening};
use crate::metrics::{Counter, Counters, FilterBook, Latency, Snapshot, Tally};
use crate::pin;
use crate::ring::Ring;
use crate::sandbox::{self, Kind, Sandbox};
use crate::supervisor::Supervisor;
use crate::upload::{self, Own, Runner, Stop, Upstream};
use crate::watch::{self, Watched};
use heartbeat::Beat;
use keep::Keepers;
use lag::Lag;
use open::connections_allowed;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::watch as signal;

/// A running forwarder.
pub struct Forwarder {
    view: Arc<View>,
    listening: Listening,
    uploaders: Vec<JoinHandle<Result<(), Failure>>>,
    keepers: Keepers,
    stop: signal::Sender<Stop>,
    /// The configuration in force, as shards see it...
    settings: signal::Sender<Arc<Config>>,
    /// ...and as uploaders do.
    upstream: signal::Sender<Arc<Upstream>>,
    /// What is counted here, by whoever holds the forwarder.
    counters: Arc<Counters>,
    lag: Lag,
    /// When the last heartbeat was, and what had been counted by then.
    last_beat: (Mono, Snapshot),
}

impl Forwarder {
    /// Binds, starts all threads, and returns once frames are taken.
    ///
    /// # Errors
    /// As [`Opened::new`] and [`Opened::start`].
    pub fn start(config: Config, machine: &Machine, clock: Clock) -> Result<Forwarder, Failure> {
        Opened::new(&mut Supervisor::none(), config, clock)?.start(machine, Sandbox::none())
    }

    fn begin(opened: Opened, machine: &Machine, sandbox: Sandbox) -> Result<Forwarder, Failure> {
        let Opened {
            config,
            clock,
            spool,
            watcher,
            upstream,
            io,
            ports,
        } = opened;
        let (keepers, links) = Keepers::start(&config, spool, clock)?;
        let ring = Arc::new(Ring::new(
            config.runtime.pages_bytes_max,
            config.runtime.ingest_cores,
        ));
        let ingest = make_counters(listen::counters_count(&config));
        let upload = make_counters(config.runtime.upload_cores);
        let latencies = upload
            .iter()
            .map(|_| Latency::new().map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::running)?;
        let (stop, stopped) = signal::channel(Stop::Run);
        let (settings, followed) = signal::channel(config.clone());
        let control = Arc::<Counters>::default();
        let (upstream, upstreams) = signal::channel(upstream);
        let shared = upload::Shared {
            ring: ring.clone(),
            clock,
            state: Arc::default(),
            upstream: upstreams,
            stop: stopped,
        };
        let upload_hearts: Vec<_> = (0..config.runtime.upload_cores)
            .map(|index| Heart::new(uploader_name(index)))
            .collect();
        let own = upload.iter().zip(&latencies).zip(&upload_hearts);
        let uploaders = own
            .zip(links)
            .map(|(((counters, latency), heart), link)| {
                let own = Own {
                    counters: counters.clone(),
                    latency: latency.clone(),
                    heart: heart.clone(),
                };
                Runner::new(&shared, own, link)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let filters = Arc::<FilterBook>::default();
        let cores = &machine.cores;
        let listening = listen::start(&followed, io, ports, cores, clock, &ring, &ingest, &filters)
            .map_err(Failure::usage)?;
        let view = Arc::new(View {
            clock,
            started_at: clock.mono(),
            ring,
            counters: upload
                .into_iter()
                .chain(ingest)
                .chain([control.clone()])
                .collect(),
            latencies,
            filters,
            shared,
            io,
            addresses: listening.addresses().to_vec(),
            metrics_address: watcher
                .as_ref()
                .and_then(|listener| listener.local_addr().ok()),
            is_broken: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            hearts: [listening.hearts(), &upload_hearts].concat(),
            spool: keepers.view(),
            refused_reload: Mutex::default(),
            sandbox,
            lag_ms: AtomicU64::new(0),
        });
        if let Some(listener) = watcher {
            start_watcher(listener, view.clone());
        }
        let uploaders = start_uploaders(uploaders, &config, machine)?;
        Ok(Forwarder {
            view,
            listening,
            uploaders,
            keepers,
            stop,
            settings,
            upstream,
            counters: control,
            lag: Lag::default(),
            last_beat: (clock.mono(), Snapshot::of([])),
        })
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.settings.borrow().clone()
    }

    /// Goes on by what was read anew from `file`, as a whole, or by the old configuration, as a whole.
    /// What is received after the return is taken by the one in force; connections stay.
    ///
    /// # Errors
    /// What was wrong with the file, or which keys need a restart. It is counted, and `/readyz` shows
    /// it until a better one comes.
    pub fn reload(
        &mut self,
        file: &Path,
        read: Result<Config, ConfigError>,
    ) -> Result<(), ConfigError> {
        let outcome = read.and_then(|mut config| {
            config.follows(&self.config(), Some(file))?;
            let allowed = self.view.sandbox.allows(&config, file);
            allowed.map_err(|what| ConfigError::of_file(file, what))?;
            config.listen.connections_max = connections_allowed(config.listen.connections_max);
            let config = Arc::new(config);
            let upstream = Upstream::new(config.clone(), self.view.clock)
                .map_err(|failure| ConfigError::of_file(file, failure.message))?;
            // uploaders first: they know a new destination before rows for it can come
            self.upstream.send_replace(Arc::new(upstream));
            self.settings.send_replace(config);
            Ok(())
        });
        self.view.note_reload(outcome.as_ref().err());
        self.counters.add(
            match outcome {
                Ok(()) => Counter::ConfigReloadsDone,
                Err(_) => Counter::ConfigReloadsRefused,
            },
            1,
        );
        outcome
    }

    /// What can be seen of it from any thread.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// Looks after the threads. False if one has ended that should not have: the program must stop.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let has_ended = self.listening.has_ended()
            || self.keepers.has_ended()
            || self.uploaders.iter().any(JoinHandle::is_finished);
        if has_ended {
            self.view.is_broken.store(true, Ordering::Release);
        }
        !has_ended
    }

    /// Notes how far behind the uploads are, and sends a heartbeat if one is due. To be called about
    /// once a second.
    pub fn beat(&mut self) {
        let now = self.view.clock.now();
        let snapshot = self.view.snapshot();
        let done = snapshot.received().saturating_sub(snapshot.held());
        let lag = self.lag.note(snapshot.received(), done, now.mono);
        let lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        self.view.lag_ms.store(lag_ms, Ordering::Relaxed);
        let config = self.config();
        let (last, before) = &self.last_beat;
        let time = now.mono.since(*last);
        // the first one at once, so that a newcomer finds something in the table
        let is_first = before.received() == 0 && self.counters.value(Counter::Heartbeats) == 0;
        match config.sentinel.heartbeat {
            Some(period) if is_first || time >= period => {}
            _ => return,
        }
        let readiness = self.view.readiness();
        let row = Beat {
            now: now.wall,
            host: &config.map.collector_host_name,
            uptime: now.mono.since(self.view.started_at),
            time,
            before,
            snapshot: &snapshot,
            lag,
            accepted_ago: self.view.accepted_ago(now.mono),
            connections: self.connections(),
            readiness: readiness.as_ref().unwrap_or_else(|text| text),
            is_well: readiness.as_ref().is_ok_and(|text| text == "ready"),
        }
        .row();
        self.send(&row, now.mono);
        self.last_beat = (now.mono, snapshot);
    }

    /// Sends a row of our own, if there is a page for it.
    fn send(&self, row: &[u8], now: Mono) {
        let ring = &self.view.ring;
        let Some(mut page) = ring.claim() else {
            return self.counters.add(Counter::HeartbeatsSkipped, 1);
        };
        // no longer than any body may be, by far
        let written = page.write_row(now, usize::MAX, |out| out.extend_from_slice(row));
        if written.is_err() {
            return ring.give_back(page);
        }
        let mut tally = Tally::default();
        for counter in [
            Counter::Heartbeats,
            Counter::RowsWritten,
            Counter::RowsHanded,
            Counter::PagesHanded,
        ] {
            tally.add(counter, 1);
        }
        tally.publish(&self.counters);
        ring.hand_over(page, now);
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listening.connections()
    }

    /// Stops accepting, reads what has arrived, and goes on uploading for no longer than `time`.
    /// Returns at once; called again, it sets a new end.
    pub fn stop(&self, time: Duration) {
        self.stopper().stop(time);
    }

    /// A handle that stops it from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            view: self.view.clone(),
            listening: self.listening.stopper(),
            stop: self.stop.clone(),
        }
    }

    /// Waits until it has stopped; [`Forwarder::stop`] must have been called.
    pub fn join(self) -> Report {
        let Forwarder {
            view,
            listening,
            uploaders,
            keepers,
            stop,
            settings: _,
            upstream: _,
            counters: _,
            lag: _,
            last_beat: _,
        } = self;
        let mut is_broken = view.is_broken.load(Ordering::Acquire) || !listening.join();
        for uploader in uploaders {
            match uploader.join() {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => {
                    tracing::error!(%failure, "an uploader has failed");
                    is_broken = true;
                }
                Err(_) => is_broken = true,
            }
        }
        drop(stop);
        is_broken |= !keepers.join();
        let snapshot = view.snapshot();
        let passed = snapshot.value(Counter::FramesPassed);
        let helped = snapshot.value(Counter::FramesHelped);
        if passed != helped {
            tracing::error!(
                passed,
                helped,
                "frames were lost from one ingest core to another"
            );
            is_broken = true;
        }
        Report {
            snapshot,
            is_broken,
        }
    }
}

/// Stops a forwarder from another thread.
#[derive(Clone)]
pub struct Stopper {
    view: Arc<View>,
    listening: listen::Stopper,
    stop: signal::Sender<Stop>,
}

impl Stopper {
    /// As [`Forwarder::stop`].
    pub fn stop(&self, time: Duration) {
        self.view.is_stopping.store(true, Ordering::Release);
        self.listening.stop(time);
        let deadline = self.view.clock.mono().plus(time);
        self.stop.send_replace(if time.is_zero() {
            Stop::Now
        } else {
            Stop::Drain { deadline }
        });
    }
}

fn make_counters(count: usize) -> Vec<Arc<Counters>> {
    (0..count).map(|_| Arc::default()).collect()
}

fn start_watcher(listener: TcpListener, view: Arc<View>) {
    let watch = move || {
        sandbox::narrow(Kind::Watch);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build();
        match runtime {
            Ok(runtime) => {
                if let Err(error) = runtime.block_on(watch::serve(listener, view)) {
                    tracing::error!(%error, "the metrics server has ended");
                }
            }
            Err(error) => tracing::error!(%error, "the metrics server cannot start"),
        }
    };
    // never joined: it serves until the process ends
    if let Err(error) = thread::Builder::new().name("watch".into()).spawn(watch) {
        tracing::error!(%error, "the metrics server cannot start");
    }
}

fn start_uploaders(
    uploaders: Vec<Runner>,
    config: &Config,
    machine: &Machine,
) -> Result<Vec<JoinHandle<Result<(), Failure>>>, Failure> {
    let cores = machine.cores.iter().skip(config.runtime.ingest_cores);
    let mut cores = cores.filter(|_| config.runtime.pin).copied();
    uploaders
        .into_iter()
        .enumerate()
        .map(|(index, uploader)| {
            let core = cores.next();
            thread::Builder::new()
                .name(uploader_name(index))
                .spawn(move || {
                    if let Some(core) = core {
                        pin::to_core(core, "an uploader");
                    }
                    sandbox::narrow(Kind::Upload);
                    upload::run_thread(uploader)
                })
                .map_err(|error| Failure::running(format!("an uploader cannot start: {error}")))
        })
        .collect()
}

fn uploader_name(index: usize) -> String {
    format!("upload-{index}")
}
