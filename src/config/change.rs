//! What may change while the program runs, and what needs a restart.
//!
//! Every key stands in here by its name: the sections are taken apart field by field, so that a new
//! key cannot be forgotten. It must be decided what becomes of it.

use super::finding::Finding;
use super::{
    Batch, ClientSecret, Config, Identity, Listen, Log, LogFormat, Map, Metrics, Runtime, Sentinel,
    bytes_text, time_text,
};
use std::fmt::Display;
use std::time::Duration;

/// The keys that differ and that a running program cannot change: each with its old and its new value.
pub(super) fn restart_needed(old: &Config, new: &Config) -> Vec<Finding> {
    let mut fixed = Fixed(Vec::new());
    let Config {
        listen,
        map,
        batch,
        sentinel,
        runtime,
        metrics,
        log,
    } = old;
    of_listen(&mut fixed, listen, &new.listen);
    of_map(map);
    of_batch(&mut fixed, batch, &new.batch);
    of_sentinel(&mut fixed, sentinel, &new.sentinel);
    of_runtime(&mut fixed, runtime, &new.runtime);
    of_metrics(&mut fixed, metrics, &new.metrics);
    of_log(&mut fixed, log, &new.log);
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
    } = old;
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

/// Uploaders read it when they begin. And rows that wait in pages were made to fit into the bodies
/// that there are.
fn of_batch(fixed: &mut Fixed, old: &Batch, new: &Batch) {
    let Batch {
        raw_bytes_max,
        wire_bytes_max,
        linger,
        gzip_level,
    } = old;
    let bytes = |bytes: &usize| quoted(bytes_text(*bytes));
    fixed.key(
        "batch.raw_bytes_max",
        raw_bytes_max,
        &new.raw_bytes_max,
        bytes,
    );
    fixed.key(
        "batch.wire_bytes_max",
        wire_bytes_max,
        &new.wire_bytes_max,
        bytes,
    );
    let time = |time: &Duration| quoted(time_text(*time));
    fixed.key("batch.linger", linger, &new.linger, time);
    fixed.key(
        "batch.gzip_level",
        gzip_level,
        &new.gzip_level,
        u32::to_string,
    );
}

/// Uploaders read all of it when they begin.
fn of_sentinel(fixed: &mut Fixed, old: &Sentinel, new: &Sentinel) {
    let Sentinel {
        endpoint,
        rules,
        stream,
        identity,
        ca_file,
        requests_in_flight,
        request_time_max,
    } = old;
    fixed.key("sentinel.endpoint", endpoint, &new.endpoint, |endpoint| {
        quoted(endpoint.as_str())
    });
    fixed.key("sentinel.rules", rules, &new.rules, |rules| {
        let rules: Vec<String> = rules.iter().map(|rule| quoted(rule.as_str())).collect();
        format!("[{}]", rules.join(", "))
    });
    fixed.key("sentinel.stream", stream, &new.stream, |stream| {
        quoted(stream.as_str())
    });
    fixed.key("sentinel.ca_file", ca_file, &new.ca_file, |file| {
        file.as_ref()
            .map_or("not set".into(), |file| quoted(file.display()))
    });
    fixed.key(
        "sentinel.requests_in_flight",
        requests_in_flight,
        &new.requests_in_flight,
        usize::to_string,
    );
    let time = |time: &Duration| quoted(time_text(*time));
    fixed.key(
        "sentinel.request_time_max",
        request_time_max,
        &new.request_time_max,
        time,
    );
    match (identity, &new.identity) {
        (Identity::ClientSecret(old), Identity::ClientSecret(new)) => {
            of_client_secret(fixed, old, new);
        }
    }
}

/// What is in the secret's file may change at any time: it is read for each token.
fn of_client_secret(fixed: &mut Fixed, old: &ClientSecret, new: &ClientSecret) {
    let ClientSecret {
        tenant_id,
        client_id,
        secret_file,
        authority,
        scope,
    } = old;
    let text = |text: &String| quoted(text);
    let key = "sentinel.identity.tenant_id";
    fixed.key(key, tenant_id, &new.tenant_id, text);
    let key = "sentinel.identity.client_id";
    fixed.key(key, client_id, &new.client_id, text);
    let key = "sentinel.identity.secret_file";
    fixed.key(key, secret_file, &new.secret_file, |file| {
        quoted(file.display())
    });
    let key = "sentinel.identity.authority";
    fixed.key(key, authority, &new.authority, |url| quoted(url.as_str()));
    fixed.key("sentinel.identity.scope", scope, &new.scope, text);
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
                "#ca_file",
                "ca_file",
                "sentinel.ca_file = \"/etc/cefline/ca.pem\": it is not set in the running program; \
                 needs a restart",
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
            ("gzip_level = 1", "gzip_level = 2", "batch.gzip_level"),
            ("linger = \"1 s\"", "linger = \"2 s\"", "batch.linger"),
            (
                "raw_bytes_max = 1000000",
                "raw_bytes_max = 900000",
                "batch.raw_bytes_max",
            ),
            (
                "wire_bytes_max = 1000000",
                "wire_bytes_max = 900000",
                "batch.wire_bytes_max",
            ),
            ("NAME.", "other.", "sentinel.endpoint"),
            ("dcr-0", "dcr-1", "sentinel.rules"),
            ("Custom-Common", "Custom-Other", "sentinel.stream"),
            (
                "requests_in_flight = 8",
                "requests_in_flight = 9",
                "sentinel.requests_in_flight",
            ),
            (
                "request_time_max = \"60 s\"",
                "request_time_max = \"61 s\"",
                "sentinel.request_time_max",
            ),
            (
                "tenant_id = \"0",
                "tenant_id = \"1",
                "sentinel.identity.tenant_id",
            ),
            (
                "client_id = \"0",
                "client_id = \"1",
                "sentinel.identity.client_id",
            ),
            (
                "/client-secret",
                "/another",
                "sentinel.identity.secret_file",
            ),
            (
                "#authority = \"https://login.microsoftonline.com\"",
                "authority = \"https://login.microsoftonline.us\"",
                "sentinel.identity.authority",
            ),
            (
                "#scope = \"https://monitor.azure.com",
                "scope = \"https://monitor.azure.us",
                "sentinel.identity.scope",
            ),
        ] {
            let told = told(from, to);
            let named = |message: &String| message.starts_with(&format!("{key} = "));
            assert!(told.iter().any(named), "{key}: {told:?}");
        }
    }
}
