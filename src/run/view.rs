//! What can be seen of a running forwarder: its counters, and what `/metrics`, `/healthz` and `/readyz`
//! answer.

use super::keep::SpoolView;
use crate::clock::{Clock, Mono};
use crate::config::{ConfigError, DestinationId};
use crate::heart::{self, Heart};
use crate::limits::OUTAGE_TIME;
use crate::listen::Backend;
use crate::log::safe_text;
use crate::metrics::expose::{self, BodyGauges, Gauges, RuleGauges, SpoolGauges};
use crate::metrics::{Counter, Counters, FilterBook, Latency, Snapshot};
use crate::ring::Ring;
use crate::sandbox::Sandbox;
use crate::spool::Health;
use crate::upload::rules::{RuleReport, Standing};
use crate::upload::{self, Upstream};
use crate::watch::Watched;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What can be seen of a running forwarder from any thread.
pub struct View {
    pub(super) clock: Clock,
    pub(super) started_at: Mono,
    pub(super) ring: Arc<Ring>,
    /// Uploaders first: against the flow, as [`Snapshot::of`] asks for.
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) latencies: Vec<Arc<Latency>>,
    pub(super) filters: Arc<FilterBook>,
    pub(super) shared: upload::Shared,
    pub(super) io: Backend,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) metrics_address: Option<SocketAddr>,
    /// A thread has ended that should not have.
    pub(super) is_broken: AtomicBool,
    pub(super) is_stopping: AtomicBool,
    /// Of all loops.
    pub(super) hearts: Vec<Arc<Heart>>,
    /// Nothing without a spool.
    pub(super) spool: Option<SpoolView>,
    /// Why the configuration was refused when it was last read again; nothing if it was not.
    pub(super) refused_reload: Mutex<Option<String>>,
    pub(super) sandbox: Sandbox,
    /// How far behind the uploads are, in milliseconds.
    pub(super) lag_ms: AtomicU64,
}

impl View {
    /// All counters, as one.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.counters.iter().map(|counters| &**counters))
    }

    /// The latencies of all uploaders.
    pub fn latencies(&self) -> impl Iterator<Item = &Latency> + Clone {
        self.latencies.iter().map(|latency| &**latency)
    }

    /// Addresses that take frames, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How connections are waited for.
    #[must_use]
    pub fn io(&self) -> &'static str {
        self.io.name()
    }

    /// What was given up.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Address of the metrics server, if there is one.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// What keeps the program from working by a fault of its own, if anything does.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        if self.is_broken.load(Ordering::Acquire) {
            return Some("a thread has ended by a fault".into());
        }
        heart::complaint(&self.hearts, self.clock.mono())
    }

    /// Remembers how the configuration fared that was read again.
    pub(super) fn note_reload(&self, error: Option<&ConfigError>) {
        let text = error.map(|error| safe_text(&error.to_string().replace('\n', "; ")));
        *self.refused_reload() = text;
    }

    fn refused_reload(&self) -> MutexGuard<'_, Option<String>> {
        self.refused_reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the service last accepted rows; nothing if it never has.
    pub(super) fn accepted_ago(&self, now: Mono) -> Option<Duration> {
        let report = self.shared.state.report();
        report.last_success.map(|at| now.since(at))
    }

    /// How far behind the uploads are.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms.load(Ordering::Relaxed))
    }

    fn gauges(&self, snapshot: &Snapshot) -> Gauges {
        let now = self.clock.mono();
        let upstream = Arc::clone(&self.shared.upstream.borrow());
        let rules = rules_of(&upstream);
        let open = rules.iter().filter(|rule| rule.is_open).count();
        let sentinel = upstream.destinations.to(DestinationId::SENTINEL);
        let learnt = sentinel.rules.body_limit.report();
        let closed_connections = snapshot.total("connections_closed_total");
        let accepted = snapshot.value(Counter::ConnectionsAccepted);
        Gauges {
            uptime: now.since(self.started_at),
            io: self.io(),
            sandbox: self
                .sandbox
                .layers()
                .map(|(layer, is_on)| (layer.name(), is_on))
                .collect(),
            connections_open: usize::try_from(accepted.saturating_sub(closed_connections))
                .unwrap_or(usize::MAX),
            pages_waiting: self.ring.pages_waiting(),
            pages_total: self.ring.pages_count(),
            rules_open: open,
            rules_closed: rules.len() - open,
            rules,
            filters: self.filters.read(),
            lag: self.lag(),
            body: BodyGauges {
                max: learnt.raw_bytes_max,
                accepted_most: learnt.accepted_most,
                refused_least: learnt.refused_least.map(|(bytes, _)| bytes),
            },
            accepted_ago: self.accepted_ago(now),
            spool: self.spool.as_ref().map(|spool| {
                let health = spool.standing.worst();
                SpoolGauges {
                    bytes: spool.space.used(),
                    bytes_max: spool.space.bytes_max(),
                    scanning: (self.latencies.len() as u64)
                        .saturating_sub(snapshot.value(Counter::SpoolsScanned)),
                    is_full: matches!(health, Health::Full(_)),
                    is_failing: matches!(health, Health::Failing(_)),
                }
            }),
        }
    }
}

impl Watched for View {
    fn metrics(&self) -> String {
        let snapshot = self.snapshot();
        expose::page(&snapshot, self.latencies(), &self.gauges(&snapshot))
    }

    fn health(&self) -> Result<String, String> {
        self.complaint().map_or(Ok("ok".into()), Err)
    }

    fn readiness(&self) -> Result<String, String> {
        self.health()?;
        if self.is_stopping.load(Ordering::Acquire) {
            return Err("stopping".into());
        }
        let snapshot = self.snapshot();
        let gauges = self.gauges(&snapshot);
        let mut remarks = Vec::new();
        if gauges.rules_open == 0 {
            remarks.push("no rule takes rows".to_owned());
        } else {
            let closed = closed_destinations(&gauges.rules);
            remarks.extend(closed.map(|name| format!("no rule of destination {name} takes rows")));
        }
        match self.spool.as_ref().map(|spool| spool.standing.worst()) {
            None | Some(Health::Well) => {}
            Some(Health::Full(why)) => remarks.push(format!("the spool is full: {why}")),
            Some(Health::Failing(why)) => {
                remarks.push(format!("the spool cannot be written: {why}"));
            }
        }
        if let Some(why) = &*self.refused_reload() {
            remarks.push(format!(
                "the configuration file was refused at the last reload: {why}"
            ));
        }
        let report = self.shared.state.report();
        if let (Some(since), Some((_, what))) = (report.failing_since, report.last_failure) {
            let seconds = self.clock.mono().since(since).as_secs();
            remarks.push(format!(
                "the service has not accepted for {seconds} s: {what}"
            ));
        }
        if self.ring.shards_waiting() > 0 {
            remarks.insert(0, "all pages are in use: senders wait".to_owned());
            // under a full load that is so again and again, for a moment
            if gauges.accepted_ago.unwrap_or(gauges.uptime) >= OUTAGE_TIME {
                return Err(remarks.join("; "));
            }
        }
        Ok(if remarks.is_empty() {
            "ready".into()
        } else {
            format!("ready, degraded: {}", remarks.join("; "))
        })
    }
}

/// The rules of all destinations, in the order of the configuration.
fn rules_of(upstream: &Upstream) -> Vec<RuleGauges> {
    let targets = upstream.config.targets().zip(upstream.destinations.all());
    let rules = targets.flat_map(|(target, destination)| {
        let reports = destination.rules.reports();
        let rules = target.rules.iter().zip(reports);
        rules.map(move |(rule, report)| gauges_of(target.name, rule.id.as_str(), &report))
    });
    rules.collect()
}

fn gauges_of(destination: &str, rule: &str, report: &RuleReport) -> RuleGauges {
    RuleGauges {
        destination: destination.to_owned(),
        rule: rule.to_owned(),
        is_open: report.standing == Standing::Open,
        rows: report.rows,
        bytes: report.bytes,
        requests: report.requests,
        throttled: report.throttled,
        bytes_a_minute_max: report.bytes_a_minute_max,
    }
}

/// The destinations that have no open rule; those of one stand together.
fn closed_destinations(rules: &[RuleGauges]) -> impl Iterator<Item = &str> {
    let destinations = rules.chunk_by(|one, next| one.destination == next.destination);
    let closed = destinations.filter(|rules| rules.iter().all(|rule| !rule.is_open));
    closed.filter_map(|rules| rules.first().map(|rule| rule.destination.as_str()))
}
