//! Logs on standard error, whose level may change while the program runs.

use super::Failure;
use crate::config::{Log, LogFormat};
use crate::limits::LOG_LINES_QUEUED_MAX;
use crate::sandbox::{self, Kind};
use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::thread;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// The log that runs. When it is dropped it waits a moment for the last lines.
pub(in crate::cli) struct Logging {
    last_lines: Option<WorkerGuard>,
    queue: Arc<OnceLock<NonBlocking>>,
    filter: reload::Handle<Targets, Registry>,
}

impl Logging {
    /// Writes by a thread of its own from now on: whoever reads our standard error may stall, and must
    /// not stall the shards with it. Lines that find no room in the queue are dropped. Until then each
    /// line is written by whoever has it to tell.
    pub(in crate::cli) fn start_thread(&mut self) {
        // a thread has the rights of the one that starts it
        let starting = thread::spawn(|| {
            sandbox::narrow(Kind::Log);
            NonBlockingBuilder::default()
                .buffered_lines_limit(LOG_LINES_QUEUED_MAX)
                .thread_name("log")
                .finish(io::stderr())
        });
        if let Ok((queue, last_lines)) = starting.join() {
            let _ = self.queue.set(queue);
            self.last_lines = Some(last_lines);
        }
    }

    /// Logs from this level on, from now on.
    pub(super) fn set_level(&self, level: Level) {
        if let Err(error) = self.filter.reload(filter(level)) {
            tracing::warn!(%error, "the log keeps its level");
        }
    }
}

/// Where lines go: to the thread, or as long as there is none to standard error.
enum Outlet {
    Queue(NonBlocking),
    Direct(io::Stderr),
}

impl io::Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Outlet::Queue(queue) => queue.write_all(bytes),
            Outlet::Direct(stderr) => stderr.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs to standard error, by the configuration.
///
/// # Errors
/// Logging has been set up before.
pub(in crate::cli) fn start_log(log: &Log) -> Result<Logging, Failure> {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let queue = Arc::<OnceLock<NonBlocking>>::default();
    let behind = Arc::clone(&queue);
    let writer = move || match behind.get() {
        Some(queue) => Outlet::Queue(queue.clone()),
        None => Outlet::Direct(io::stderr()),
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    }
    .map_err(Failure::running)?;
    Ok(Logging {
        last_lines: None,
        queue,
        filter: handle,
    })
}

fn filter(level: Level) -> Targets {
    // what libraries have to say is of use to their authors
    Targets::new()
        .with_target("cefline", LevelFilter::from_level(level))
        .with_default(LevelFilter::WARN)
}
