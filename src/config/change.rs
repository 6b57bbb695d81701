//! What may change while the program runs, and what needs a restart.
//!
//! Every key stands in here by its name: the sections are taken apart field by field, so that a new
//! key cannot be forgotten. It must be decided what becomes of it.

use super::finding::Finding;
use super::{
    Batch, Config, Destination, Durability, Listen, Log, LogFormat, Map, Metrics, Runtime, Sandbox,
    Sentinel, Spool, WhenFull, bytes_text,
};
use std::fmt::Display;

/// The keys that differ and that a running program cannot change: each with its old and its new value.
pub(super) fn restart_needed(old: &Config, new: &Config) -> Vec<Finding> {
    let mut fixed = Fixed(Vec::new());
    let Config {
        listen,
        map,
        // shards turn to others as a whole
        filters: _,
        batch,
        sentinel,
        destinations,
        spool,
        runtime,
        metrics,
        log,
        sandbox,
    } = old;
    of_listen(&mut fixed, listen, &new.listen);
    of_map(map);
    of_batch(&mut fixed, batch, &new.batch);
    of_sentinel(sentinel);
    destinations.iter().for_each(of_destination);
    of_spool(&mut fixed, spool, &new.spool);
    of_runtime(&mut fixed, runtime, &new.runtime);
    of_metrics(&mut fixed, metrics, &new.metrics);
    of_log(&mut fixed, log, &new.log);
    of_sandbox(&mut fixed, sandbox, &new.sandbox);
    fixed.0
}

/// What was found wrong with keys that cannot change.
struct Fixed(Vec<Finding>);

impl Fixed {
    fn key<T: PartialEq>(&mut self, key: &str, old: &T, new: &T, text: impl Fn(&T) -> String) {
        if old != new {
            let what = format!("it is {} in the running program", text(old));
            self.0.push(Finding {
                key: key.to_owned(),
                value: Some(text(new)),
                ..Finding::of_file(what, "needs a restart")
            });
        }
    }
}

fn of_listen(fixed: &mut Fixed, old: &Listen, new: &Listen) {
    let Listen {
        tcp,
        framing: _,
        frame_bytes_max: _,
        connections_max: _,
        partial_bytes_max: _,
        partial_age_max: _,
        io,
    } = old;
    fixed.key("listen.io", io, &new.io, |io| quoted(io.name()));
    fixed.key("listen.tcp", tcp, &new.tcp, |addresses| {
        let addresses: Vec<String> = addresses.iter().map(quoted).collect();
        format!("[{}]", addresses.join(", "))
    });
}

fn of_map(old: &Map) {
    let Map {
        time_generated: _,
        collector_host_name: _,
        time_zone: _,
        unparsed: _,
        semicolon: _,
    } = old;
}

/// Shards make rows to fit into bodies of the length that there was when they began.
fn of_batch(fixed: &mut Fixed, old: &Batch, new: &Batch) {
    let Batch {
        raw_bytes_max,
        wire_bytes_max: _,
        linger: _,
        gzip_level: _,
        body_limit: _,
    } = old;
    fixed.key(
        "batch.raw_bytes_max",
        raw_bytes_max,
        &new.raw_bytes_max,
        |bytes| quoted(bytes_text(*bytes)),
    );
}

/// Uploaders turn to another destination as a whole.
fn of_sentinel(old: &Sentinel) {
    let Sentinel {
        endpoint: _,
        rules: _,
        rule_bytes_a_minute: _,
        rule_requests_a_minute: _,
        stream: _,
        identity: _,
        ca_file: _,
        proxy: _,
        requests_in_flight: _,
        request_time_max: _,
        heartbeat: _,
    } = old;
}

/// They come, change and go; what was for one that is gone goes to that of `[sentinel]`.
fn of_destination(old: &Destination) {
    let Destination {
        name: _,
        endpoint: _,
        rules: _,
        stream: _,
    } = old;
}

/// What is in a spool was made safe by what it says.
fn of_spool(fixed: &mut Fixed, old: &Spool, new: &Spool) {
    let Spool {
        directory,
        durability,
        bytes_max,
        free_bytes_min,
        when_full,
        drain_share: _,
        quarantine_bytes_max,
    } = old;
    fixed.key("spool.directory", directory, &new.directory, |path| {
        quoted(path.display())
    });
    fixed.key("spool.durability", durability, &new.durability, |which| {
        quoted(match which {
            Durability::Memory => "memory",
            Durability::Process => "process",
            Durability::Power => "power",
        })
    });
    let bytes = |bytes: &usize| quoted(bytes_text(*bytes));
    fixed.key("spool.bytes_max", bytes_max, &new.bytes_max, bytes);
    let key = "spool.free_bytes_min";
    fixed.key(key, free_bytes_min, &new.free_bytes_min, |free| {
        free.as_ref().map_or("not set".into(), bytes)
    });
    fixed.key("spool.when_full", when_full, &new.when_full, |which| {
        quoted(match which {
            WhenFull::Backpressure => "backpressure",
            WhenFull::DropOldest => "drop_oldest",
        })
    });
    let key = "spool.quarantine_bytes_max";
    let (old, new) = (quarantine_bytes_max, &new.quarantine_bytes_max);
    fixed.key(key, old, new, bytes);
}

fn of_runtime(fixed: &mut Fixed, old: &Runtime, new: &Runtime) {
    let Runtime {
        ingest_cores,
        upload_cores,
        pin,
        pages_bytes_max,
        stop_time_max: _,
    } = old;
    let count = usize::to_string;
    fixed.key(
        "runtime.ingest_cores",
        ingest_cores,
        &new.ingest_cores,
        count,
    );
    fixed.key(
        "runtime.upload_cores",
        upload_cores,
        &new.upload_cores,
        count,
    );
    fixed.key("runtime.pin", pin, &new.pin, bool::to_string);
    let bytes = |bytes: &usize| quoted(bytes_text(*bytes));
    let key = "runtime.pages_bytes_max";
    fixed.key(key, pages_bytes_max, &new.pages_bytes_max, bytes);
}

fn of_metrics(fixed: &mut Fixed, old: &Metrics, new: &Metrics) {
    let Metrics { listen } = old;
    fixed.key("metrics.listen", listen, &new.listen, |address| {
        address.map_or(quoted("off"), quoted)
    });
}

fn of_log(fixed: &mut Fixed, old: &Log, new: &Log) {
    let Log { level: _, format } = old;
    fixed.key("log.format", format, &new.format, |format| {
        quoted(match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    });
}

/// What was given up cannot be had again.
fn of_sandbox(fixed: &mut Fixed, old: &Sandbox, new: &Sandbox) {
    let Sandbox { mode } = old;
    fixed.key("sandbox.mode", mode, &new.mode, |mode| quoted(mode.name()));
}

fn quoted(value: impl Display) -> String {
    format!("\"{value}\"")
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Machine, REFERENCE, parse};

    fn config(from: &str, to: &str) -> Config {
        let machine = Machine {
            cores: (0..8).collect(),
            cores_quota: None,
            host_name: "collector".into(),
        };
        assert!(REFERENCE.contains(from), "{from}");
        parse(&REFERENCE.replacen(from, to, 1), &machine).unwrap()
    }

    /// What a reload of the reference with this change in it is told.
    fn told(from: &str, to: &str) -> Vec<String> {
        let old = config("", "");
        let new = config(from, to);
        assert_ne!(old, new, "{from}");
        let findings = super::restart_needed(&old, &new);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_running_program_takes_over_needs_no_restart() {
        for (from, to) in [
            ("framing = \"auto\"", "framing = \"delimited\""),
            (
                "frame_bytes_max = \"64 KiB\"",
                "frame_bytes_max = \"32 KiB\"",
            ),
            ("connections_max = 10000", "connections_max = 1"),
            (
                "partial_bytes_max = \"64 MiB\"",
                "partial_bytes_max = \"1 MiB\"",
            ),
            ("partial_age_max = \"60 s\"", "partial_age_max = \"1 s\""),
            ("time_generated = \"received\"", "time_generated = \"rt\""),
            ("#collector_host_name", "collector_host_name"),
            ("time_zone = \"UTC\"", "time_zone = \"+02:00\""),
            ("unparsed = \"forward\"", "unparsed = \"drop\""),
            ("semicolon = \"blank\"", "semicolon = \"keep\""),
            ("stop_time_max = \"30 s\"", "stop_time_max = \"0 s\""),
            ("level = \"info\"", "level = \"debug\""),
            ("gzip_level = \"auto\"", "gzip_level = 2"),
            ("linger = \"1 s\"", "linger = \"2 s\""),
            ("wire_bytes_max = 1000000", "wire_bytes_max = 900000"),
            ("NAME.", "other."),
            ("dcr-0", "dcr-1"),
            ("Custom-Common", "Custom-Other"),
            ("#ca_file", "ca_file"),
            ("requests_in_flight = 8", "requests_in_flight = 9"),
            ("tenant_id = \"0", "tenant_id = \"1"),
            ("drain_share = 50", "drain_share = 10"),
        ] {
            assert_eq!(told(from, to), [""; 0], "{to}");
        }
    }

    #[test]
    fn what_it_cannot_take_over_is_named_with_both_values() {
        for (from, to, message) in [
            (
                "tcp = [\"0.0.0.0:514\"]",
                "tcp = [\"0.0.0.0:514\", \"[::]:514\"]",
                "listen.tcp = [\"0.0.0.0:514\", \"[::]:514\"]: it is [\"0.0.0.0:514\"] in the \
                 running program; needs a restart",
            ),
            (
                "io = \"auto\"",
                "io = \"epoll\"",
                "listen.io = \"epoll\": it is \"auto\" in the running program; needs a restart",
            ),
            (
                "pin = true",
                "pin = false",
                "runtime.pin = false: it is true in the running program; needs a restart",
            ),
            (
                "listen = \"127.0.0.1:9514\"",
                "listen = \"off\"",
                "metrics.listen = \"off\": it is \"127.0.0.1:9514\" in the running program; needs a \
                 restart",
            ),
            (
                "mode = \"auto\"",
                "mode = \"off\"",
                "sandbox.mode = \"off\": it is \"auto\" in the running program; needs a restart",
            ),
            (
                "format = \"text\"",
                "format = \"json\"",
                "log.format = \"json\": it is \"text\" in the running program; needs a restart",
            ),
        ] {
            assert_eq!(told(from, to), [message]);
        }
        for (from, to, key) in [
            (
                "ingest_cores = \"auto\"",
                "ingest_cores = 1",
                "runtime.ingest_cores",
            ),
            (
                "#pages_bytes_max = \"64 MiB\"",
                "pages_bytes_max = \"1 GiB\"",
                "runtime.pages_bytes_max",
            ),
            (
                "raw_bytes_max = 1000000",
                "raw_bytes_max = 900000",
                "batch.raw_bytes_max",
            ),
            (
                "\ndirectory = \"/var",
                "\ndirectory = \"/srv",
                "spool.directory",
            ),
            ("\"power\"\n", "\"memory\"\n", "spool.durability"),
            ("\"backpressure\"\n", "\"drop_oldest\"\n", "spool.when_full"),
            ("#free_bytes_min", "free_bytes_min", "spool.free_bytes_min"),
            (
                "bytes_max = \"10 GiB\"",
                "bytes_max = \"11 GiB\"",
                "spool.bytes_max",
            ),
            ("\"256 MiB\"", "\"0 B\"", "spool.quarantine_bytes_max"),
        ] {
            let told = told(from, to);
            let named = |message: &String| message.starts_with(&format!("{key} = "));
            assert!(told.iter().any(named), "{key}: {told:?}");
        }
    }
}
