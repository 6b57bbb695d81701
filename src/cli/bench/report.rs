//! What a bench has found, for a person and for a machine.

use super::forwarder::Page;
use crate::config::{Config, Durability, GzipLevel};
use crate::limits::MIB;
use crate::send::Rate;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Of a month, as Azure's price lists count it (730 hours).
const SECONDS_A_MONTH: f64 = 730.0 * 3600.0;
const GB: f64 = 1e9;

/// What one run came to.
pub(super) struct Figures {
    /// Sent.
    pub(super) messages: u64,
    /// Of their frames.
    pub(super) message_bytes: u64,
    /// From the first message to the last row's 204.
    pub(super) seconds: f64,
    /// Of the forwarder.
    pub(super) cpu_seconds: f64,
    /// Of the forwarder, in bytes.
    pub(super) memory_peak: u64,
    /// The forwarder's metrics at the end.
    pub(super) page: Page,
    /// Rows in the table of the stand-in.
    pub(super) rows_stored: u64,
}

impl Figures {
    fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    fn cpu_of_a_million(&self) -> f64 {
        1e6 * self.cpu_seconds / self.messages.max(1) as f64
    }

    /// Events that a core carries in a second.
    fn rate_of_a_core(&self) -> f64 {
        self.messages as f64 / self.cpu_seconds.max(1e-9)
    }

    /// Bytes of JSON, and on the wire, for an event.
    fn json_bytes(&self) -> f64 {
        self.page.value("body_raw_bytes_total") / self.messages.max(1) as f64
    }

    fn wire_bytes(&self) -> f64 {
        self.page.value("body_wire_bytes_total") / self.messages.max(1) as f64
    }

    /// Receipt to 204.
    fn latency_ms(&self, quantile: &str) -> f64 {
        let name = format!("latency_seconds{{stage=\"overall\",quantile=\"{quantile}\"}}");
        1e3 * self.page.value(&name)
    }

    fn lost(&self) -> f64 {
        self.page.sum("frames_lost_total") + self.page.sum("rows_lost_total")
    }

    /// Rows of messages in the table; not those that the forwarder writes of itself.
    fn rows(&self) -> f64 {
        self.rows_stored as f64 - self.page.value("heartbeats_total")
    }

    fn json(&self) -> Value {
        json!({
            "messages": self.messages,
            "message_bytes": self.message_bytes,
            "seconds": self.seconds,
            "events_per_second": self.rate(),
            "events_per_second_per_core": self.rate_of_a_core(),
            "cpu_seconds": self.cpu_seconds,
            "cpu_seconds_per_million": self.cpu_of_a_million(),
            "memory_peak_bytes": self.memory_peak,
            "json_bytes_per_event": self.json_bytes(),
            "wire_bytes_per_event": self.wire_bytes(),
            "latency_ms": {
                "p50": self.latency_ms("0.5"),
                "p99": self.latency_ms("0.99"),
                "p999": self.latency_ms("0.999"),
            },
            "rows": self.rows(),
            "filtered": self.page.sum("rows_filtered_total"),
            "lost": self.lost(),
        })
    }
}

/// All of it.
pub(super) struct Report<'r> {
    /// What was rehearsed.
    pub(super) config: &'r Config,
    /// That this process may use.
    pub(super) cores: usize,
    /// Where the spool was.
    pub(super) spool_in: &'r Path,
    /// As fast as it goes.
    pub(super) flat_out: Figures,
    /// At the user's own rate.
    pub(super) paced: Option<(Rate, Figures)>,
}

impl Report<'_> {
    fn durability(&self) -> &'static str {
        match self.config.spool.durability {
            Durability::Memory => "memory",
            Durability::Process => "process",
            Durability::Power => "power",
        }
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        let (figures, batch) = (&self.flat_out, &self.config.batch);
        let mut text = format!(
            "cefline bench: {} cores, durability {}, gzip level {}, linger {:?}, {} filters, TLS; spool in {}\n\n",
            self.cores,
            self.durability(),
            batch.gzip_level,
            batch.linger,
            self.config.filters.len(),
            self.spool_in.display(),
        );
        let mut line = |name: &str, what: String| {
            // a String takes everything
            let _ = writeln!(text, "  {name:<12} {what}");
        };
        line(
            "sustained",
            format!(
                "{:.0} events/s for {:.1} s, sender and stand-in on the same machine; {:.0} bytes a message",
                figures.rate(),
                figures.seconds,
                figures.message_bytes as f64 / figures.messages.max(1) as f64,
            ),
        );
        line(
            "a core",
            format!(
                "{:.0} events/s: {:.2} CPU-seconds for a million",
                figures.rate_of_a_core(),
                figures.cpu_of_a_million(),
            ),
        );
        line("memory", format!("{} MiB at most", mebibytes(figures)));
        line("latency", latency(figures));
        line("rows", rows(figures));
        line(
            "an event",
            format!(
                "{:.0} bytes of JSON, {:.0} on the wire",
                figures.json_bytes(),
                figures.wire_bytes(),
            ),
        );
        if let Some((rate, figures)) = &self.paced {
            text.push_str(&self.at_rate(*rate, figures));
        }
        text
    }

    /// For a machine: one line.
    pub(super) fn json(&self) -> String {
        let batch = &self.config.batch;
        let gzip_level = match batch.gzip_level {
            GzipLevel::Auto => json!("auto"),
            GzipLevel::Zlib(level) => json!(level),
        };
        let mut all = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": self.cores,
            "durability": self.durability(),
            "gzip_level": gzip_level,
            "linger_ms": batch.linger.as_secs_f64() * 1e3,
            "filters": self.config.filters.len(),
            "flat_out": self.flat_out.json(),
        });
        if let (Some((rate, figures)), Some(members)) = (&self.paced, all.as_object_mut()) {
            let mut paced = figures.json();
            if let Some(paced) = paced.as_object_mut() {
                let (billed, wire) = month(*rate, figures);
                paced.insert("rate".into(), rate.messages_per_second().into());
                paced.insert("json_gb_a_month".into(), billed.into());
                paced.insert("wire_gb_a_month".into(), wire.into());
            }
            members.insert("paced".into(), paced);
        }
        format!("{all}\n")
    }

    /// What a user's own rate comes to.
    fn at_rate(&self, rate: Rate, figures: &Figures) -> String {
        let (billed, wire) = month(rate, figures);
        let sentinel = &self.config.sentinel;
        let minute = sentinel.rules.len() as f64 * sentinel.rule_bytes_a_minute as f64;
        let share = 100.0 * 60.0 * rate.messages_per_second() * figures.json_bytes() / minute;
        format!(
            "\n  at {:.0} events/s:\n\
             \x20 processor    {:.1} % of a core; {:.2} CPU-seconds for a million\n\
             \x20 memory       {} MiB at most\n\
             \x20 latency      {}\n\
             \x20 rows         {}\n\
             \x20 a month      {billed:.1} GB of JSON, which is about what Azure bills; {wire:.1} GB on the wire\n\
             \x20 rules        {share:.1} % of the bytes that {} of sentinel.rules take in a minute\n",
            rate.messages_per_second(),
            100.0 * figures.cpu_seconds / figures.seconds,
            figures.cpu_of_a_million(),
            mebibytes(figures),
            latency(figures),
            rows(figures),
            sentinel.rules.len(),
        )
    }
}

/// GB of a month at this rate: of JSON, and on the wire.
fn month(rate: Rate, figures: &Figures) -> (f64, f64) {
    let events = rate.messages_per_second() * SECONDS_A_MONTH;
    let gb = |bytes: f64| events * bytes / GB;
    (gb(figures.json_bytes()), gb(figures.wire_bytes()))
}

fn mebibytes(figures: &Figures) -> u64 {
    figures.memory_peak.div_ceil(MIB as u64)
}

fn latency(figures: &Figures) -> String {
    format!(
        "receipt to 204: p50 {:.0} ms, p99 {:.0} ms, p99.9 {:.0} ms",
        figures.latency_ms("0.5"),
        figures.latency_ms("0.99"),
        figures.latency_ms("0.999"),
    )
}

fn rows(figures: &Figures) -> String {
    let filtered = match figures.page.sum("rows_filtered_total") {
        0.0 => String::new(),
        rows => format!(", {rows:.0} kept out by filters"),
    };
    format!(
        "{:.0} in the table of {} messages{filtered}; {:.0} lost",
        figures.rows(),
        figures.messages,
        figures.lost(),
    )
}
