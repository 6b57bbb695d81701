//! Counters, gauges and latencies as Prometheus text (exposition format 0.0.4).

use super::counter::{Counter, Snapshot};
use super::filters::FilterGauges;
use super::latency::{Latency, Stopwatch};
use super::stage::Stage;
use hdrhistogram::Histogram;
use std::fmt::Write;
use std::time::Duration;

/// Put before every name.
const PREFIX: &str = "cefline_";
/// Which quantiles of a latency are shown.
const QUANTILES: [(f64, &str); 5] = [
    (0.5, "0.5"),
    (0.9, "0.9"),
    (0.99, "0.99"),
    (0.999, "0.999"),
    (1.0, "1"),
];

/// What is true now, as opposed to what has been counted.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Time since the start.
    pub uptime: Duration,
    /// How connections are waited for.
    pub io: &'static str,
    /// The layers of the sandbox, and whether each is on.
    pub sandbox: Vec<(&'static str, bool)>,
    /// Connections open.
    pub connections_open: usize,
    /// Pages that wait for an uploader.
    pub pages_waiting: usize,
    /// All pages.
    pub pages_total: usize,
    /// Rules by whether they take rows now.
    pub rules_open: usize,
    /// Rules that are paused or held.
    pub rules_closed: usize,
    /// Since the service last accepted rows; nothing if it never has.
    pub accepted_ago: Option<Duration>,
    /// Nothing without a spool.
    pub spool: Option<SpoolGauges>,
    /// Each rule.
    pub rules: Vec<RuleGauges>,
    /// Each rule of `[[filter]]`.
    pub filters: Vec<FilterGauges>,
    /// How long bodies may be.
    pub body: BodyGauges,
    /// How far behind the uploads are.
    pub lag: Duration,
}

/// One data collection rule.
#[derive(Debug, Clone)]
pub struct RuleGauges {
    /// The name of its destination.
    pub destination: String,
    /// Its immutable id.
    pub rule: String,
    /// It takes rows now.
    pub is_open: bool,
    /// Rows that it has accepted.
    pub rows: u64,
    /// Bytes that it has accepted, by the reading of the limits.
    pub bytes: u64,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Of those, answered 429.
    pub throttled: u64,
    /// Bytes a minute that are sent to it at most.
    pub bytes_a_minute_max: u64,
}

/// Bytes of JSON in one body.
#[derive(Debug, Clone, Default)]
pub struct BodyGauges {
    /// At most, now.
    pub max: usize,
    /// Most that was accepted.
    pub accepted_most: usize,
    /// Least that was refused as too large; nothing if none was.
    pub refused_least: Option<usize>,
}

/// What is true of the spool now.
#[derive(Debug, Clone)]
pub struct SpoolGauges {
    /// Bytes of its segments.
    pub bytes: u64,
    /// The bound on them.
    pub bytes_max: u64,
    /// Keepers that are still looking at what earlier runs have left: some of it is not counted yet.
    pub scanning: u64,
    /// It takes no more for lack of space.
    pub is_full: bool,
    /// It cannot be written.
    pub is_failing: bool,
}

/// The whole page.
#[must_use]
pub fn page<'a>(
    snapshot: &Snapshot,
    latencies: impl IntoIterator<Item = &'a Latency> + Clone,
    gauges: &Gauges,
) -> String {
    let mut text = String::with_capacity(16 * 1024);
    counters(&mut text, snapshot);
    held(&mut text, snapshot);
    latency(&mut text, latencies);
    filters(&mut text, &gauges.filters);
    rules(&mut text, &gauges.rules);
    body(&mut text, &gauges.body);
    state(&mut text, gauges);
    text
}

fn filters(text: &mut String, filters: &[FilterGauges]) {
    type Value = fn(&FilterGauges) -> u64;
    let families: [(&str, &str, Value); 4] = [
        (
            "filter_rows_matched_total",
            "Rows that the filter's conditions mean.",
            |filter| filter.matched,
        ),
        (
            "filter_rows_dropped_total",
            "Rows that the filter has ended.",
            |filter| filter.dropped,
        ),
        (
            "filter_bytes_saved_total",
            "Bytes of JSON that the filter has saved; each row is made as it would be sent, so this is exact but for columns cut at 64 KB.",
            |filter| filter.saved,
        ),
        (
            "filter_bytes_added_total",
            "Bytes of JSON that the filter has added: constants, and counts of suppressed rows.",
            |filter| filter.added,
        ),
    ];
    for (name, help, value) in families {
        head(text, name, "counter", help);
        for filter in filters {
            let (label, value) = (&filter.name, value(filter));
            let _ = writeln!(text, "{PREFIX}{name}{{filter=\"{label}\"}} {value}");
        }
    }
}

fn rules(text: &mut String, rules: &[RuleGauges]) {
    type Value = fn(&RuleGauges) -> u64;
    let families: [(&str, &str, &str, Value); 6] = [
        (
            "rule_open",
            "gauge",
            "1 while the data collection rule takes rows.",
            |rule| u64::from(rule.is_open),
        ),
        (
            "rule_rows_total",
            "counter",
            "Rows that the rule has accepted.",
            |rule| rule.rows,
        ),
        (
            "rule_bytes_total",
            "counter",
            "Bytes that the rule has accepted: of JSON, or on the wire with batch.body_limit = \"wire\".",
            |rule| rule.bytes,
        ),
        (
            "rule_requests_total",
            "counter",
            "Requests that were sent to the rule.",
            |rule| rule.requests,
        ),
        (
            "rule_throttled_total",
            "counter",
            "Requests that the rule has answered 429.",
            |rule| rule.throttled,
        ),
        (
            "rule_bytes_a_minute_max",
            "gauge",
            "Bytes a minute that are sent to the rule at most: Azure's limit, or what its 429 have taught.",
            |rule| rule.bytes_a_minute_max,
        ),
    ];
    for (name, kind, help, value) in families {
        head(text, name, kind, help);
        for rule in rules {
            let (destination, id, value) = (&rule.destination, &rule.rule, value(rule));
            let _ = writeln!(
                text,
                "{PREFIX}{name}{{destination=\"{destination}\",rule=\"{id}\"}} {value}"
            );
        }
    }
}

fn body(text: &mut String, body: &BodyGauges) {
    let families = [
        (
            "body_raw_bytes_max",
            "Bytes of JSON in one body to [sentinel] at most, by batch.body_limit and what it has learnt.",
            Some(body.max),
        ),
        (
            "body_raw_bytes_accepted_most",
            "Longest JSON in one body that was accepted.",
            Some(body.accepted_most),
        ),
        (
            "body_raw_bytes_refused_least",
            "Shortest JSON in one body that was refused as too large; absent if none was.",
            body.refused_least,
        ),
    ];
    for (name, help, value) in families {
        if let Some(value) = value {
            head(text, name, "gauge", help);
            let _ = writeln!(text, "{PREFIX}{name} {value}");
        }
    }
}

fn counters(text: &mut String, snapshot: &Snapshot) {
    let mut last = "";
    for counter in Counter::ALL {
        let name = counter.name();
        if name != last {
            head(text, name, "counter", counter.help());
            last = name;
        }
        let label = counter.label().map_or_else(String::new, |(label, value)| {
            format!("{{{label}=\"{value}\"}}")
        });
        // a String takes everything
        let _ = writeln!(text, "{PREFIX}{name}{label} {}", snapshot.value(*counter));
    }
}

fn held(text: &mut String, snapshot: &Snapshot) {
    head(
        text,
        "rows_held",
        "gauge",
        "Rows received and neither uploaded nor lost, by stage.",
    );
    for stage in Stage::ALL {
        let (name, rows) = (stage.name(), snapshot.held_in(stage));
        let _ = writeln!(text, "{PREFIX}rows_held{{stage=\"{name}\"}} {rows}");
    }
    head(
        text,
        "accounting_imbalance",
        "gauge",
        "Frames received, rows recovered and rows of our own, minus rows uploaded, held, in quarantine, filtered and lost; anything but 0 is a fault of cefline.",
    );
    let _ = writeln!(
        text,
        "{PREFIX}accounting_imbalance {}",
        snapshot.imbalance()
    );
}

fn latency<'a>(text: &mut String, latencies: impl IntoIterator<Item = &'a Latency> + Clone) {
    let name = "latency_seconds";
    head(
        text,
        name,
        "summary",
        "Time of a row in each stage, and from receipt to the service's answer.",
    );
    for stopwatch in Stopwatch::ALL {
        let Ok(all) = Latency::merged(latencies.clone(), stopwatch) else {
            continue;
        };
        let stage = stopwatch.name();
        for (quantile, label) in QUANTILES {
            let seconds = seconds_at(&all, quantile);
            let _ = writeln!(
                text,
                "{PREFIX}{name}{{stage=\"{stage}\",quantile=\"{label}\"}} {seconds}"
            );
        }
        let sum = all.mean() * all.len() as f64 / 1e6;
        let _ = writeln!(text, "{PREFIX}{name}_sum{{stage=\"{stage}\"}} {sum}");
        let _ = writeln!(
            text,
            "{PREFIX}{name}_count{{stage=\"{stage}\"}} {}",
            all.len()
        );
    }
}

/// A quantile of a histogram of microseconds.
fn seconds_at(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e6
}

fn state(text: &mut String, gauges: &Gauges) {
    let mut gauge = |name: &str, help: &str, value: f64| {
        head(text, name, "gauge", help);
        let _ = writeln!(text, "{PREFIX}{name} {value}");
    };
    gauge(
        "uptime_seconds",
        "Time since the start.",
        gauges.uptime.as_secs_f64(),
    );
    gauge(
        "connections_open",
        "Connections open.",
        gauges.connections_open as f64,
    );
    gauge(
        "pages_waiting",
        "Pages that wait for an uploader.",
        gauges.pages_waiting as f64,
    );
    gauge(
        "pages",
        "All pages; when all are in use, reading stops.",
        gauges.pages_total as f64,
    );
    gauge(
        "rules_open",
        "Data collection rules that take rows.",
        gauges.rules_open as f64,
    );
    gauge(
        "rules_closed",
        "Data collection rules paused or held.",
        gauges.rules_closed as f64,
    );
    gauge(
        "lag_seconds",
        "Since as many rows had been received as are done with now: how far behind the uploads are.",
        gauges.lag.as_secs_f64(),
    );
    if let Some(ago) = gauges.accepted_ago {
        gauge(
            "accepted_age_seconds",
            "Since the service last accepted rows.",
            ago.as_secs_f64(),
        );
    }
    if let Some(spool) = &gauges.spool {
        gauge(
            "spool_bytes",
            "Bytes of the spool's segments.",
            spool.bytes as f64,
        );
        gauge(
            "spool_bytes_max",
            "Bound on the bytes of the spool's segments.",
            spool.bytes_max as f64,
        );
        gauge(
            "spool_scanning",
            "Uploaders whose part of the spool is still being looked at: some rows are not counted yet.",
            spool.scanning as f64,
        );
        gauge(
            "spool_full",
            "1 while the spool takes no more for lack of space.",
            f64::from(u8::from(spool.is_full)),
        );
        gauge(
            "spool_failing",
            "1 while the spool cannot be written and rows are held in memory only.",
            f64::from(u8::from(spool.is_failing)),
        );
    }
    head(
        text,
        "sandbox_layer",
        "gauge",
        "1 while the layer of the sandbox is on.",
    );
    for (layer, is_on) in &gauges.sandbox {
        let value = u8::from(*is_on);
        let _ = writeln!(text, "{PREFIX}sandbox_layer{{layer=\"{layer}\"}} {value}");
    }
    head(
        text,
        "build_info",
        "gauge",
        "Always 1; which program this is.",
    );
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(
        text,
        "{PREFIX}build_info{{version=\"{version}\",io=\"{io}\"}} 1",
        io = gauges.io
    );
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {PREFIX}{name} {help}");
    let _ = writeln!(text, "# TYPE {PREFIX}{name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::super::Counters;
    use super::*;

    #[test]
    fn every_counter_stands_on_the_page_once_and_behind_its_type() {
        let counters = Counters::default();
        counters.add(Counter::RowsLostRejected, 7);
        let latency = Latency::new().unwrap();
        latency.record(Stopwatch::Overall, Duration::from_millis(250), 10);
        let text = page(&Snapshot::of([&counters]), [&latency], &Gauges::default());
        for counter in Counter::ALL {
            let start = match counter.label() {
                Some((label, value)) => {
                    format!("cefline_{}{{{label}=\"{value}\"}} ", counter.name())
                }
                None => format!("cefline_{} ", counter.name()),
            };
            assert_eq!(
                text.lines().filter(|line| line.starts_with(&start)).count(),
                1,
                "{start}"
            );
        }
        assert!(text.contains("cefline_rows_lost_total{reason=\"rejected_by_service\"} 7\n"));
        assert!(text.contains("cefline_latency_seconds_count{stage=\"overall\"} 10\n"));
        assert!(text.contains("cefline_accounting_imbalance "));
        let types = text.lines().filter(|line| line.starts_with("# TYPE"));
        let mut names: Vec<_> = types.map(|line| line.split(' ').nth(2).unwrap()).collect();
        let count = names.len();
        names.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names.len(),
            count,
            "a name has two types, or its lines are apart"
        );
    }
}
