//! Logs on standard error, whose level may change while the program runs.

use super::Failure;
use crate::config::{Log, LogFormat};
use crate::limits::LOG_LINES_QUEUED_MAX;
use std::io::{self, IsTerminal};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// The log that runs. When it is dropped it waits a moment for the last lines.
pub(in crate::cli) struct Logging {
    _last_lines: WorkerGuard,
    filter: reload::Handle<Targets, Registry>,
}

impl Logging {
    /// Logs from this level on, from now on.
    pub(super) fn set_level(&self, level: Level) {
        if let Err(error) = self.filter.reload(filter(level)) {
            tracing::warn!(%error, "the log keeps its level");
        }
    }
}

/// Logs to standard error, by the configuration, through a thread of its own: whoever reads our
/// standard error may stall, and must not stall the shards with it. Lines that find no room in the
/// queue are dropped.
///
/// # Errors
/// Logging has been set up before.
pub(in crate::cli) fn start_log(log: &Log) -> Result<Logging, Failure> {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let (writer, last_lines) = NonBlockingBuilder::default()
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
    Ok(Logging {
        _last_lines: last_lines,
        filter: handle,
    })
}

fn filter(level: Level) -> Targets {
    // what libraries have to say is of use to their authors
    Targets::new()
        .with_target("cefline", LevelFilter::from_level(level))
        .with_default(LevelFilter::WARN)
}
