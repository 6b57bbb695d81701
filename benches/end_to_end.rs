//! The whole way, as three processes: `cefline send` over TCP into `cefline run`, over TLS into
//! `cefline emulate`. Prints events a second, processor seconds for a million events (user and
//! system time of the forwarder's process), peak memory and latency, and checks that every message
//! is in the table exactly once.
//!
//! `cargo bench --bench end_to_end`, with these in the environment:
//!
//! | variable | default | |
//! |---|---|---|
//! | `CEFLINE_BENCH_MESSAGES` | 2000000 | messages sent as fast as they go |
//! | `CEFLINE_BENCH_CONNECTIONS` | 8 | connections |
//! | `CEFLINE_BENCH_ROUNDS` | 2 | times that both durabilities are run, in turn |
//! | `CEFLINE_BENCH_ANSWER_MS` | 0 | what the service takes for an answer |
//! | `CEFLINE_BENCH_RATE` | 20000 | messages a second in the second run, which measures latency |
//! | `CEFLINE_BENCH_SECONDS` | 10 | its length; 0 leaves it out |
//! | `CEFLINE_BENCH_CONFIG` | | further lines of configuration, such as `[batch]\ngzip_level = 6` |
//! | `CEFLINE_BENCH_SEND` | | further arguments of `cefline send`, such as `--small-writes` |

#[path = "support/run.rs"]
mod run;

use run::{PROGRAM, Result, Run, is_test, number};
use std::process::Command;

fn main() -> Result<()> {
    let is_test = is_test();
    let messages = number(
        "CEFLINE_BENCH_MESSAGES",
        if is_test { 20_000 } else { 2_000_000 },
    )?;
    let connections = number("CEFLINE_BENCH_CONNECTIONS", 8)?;
    let rate = number("CEFLINE_BENCH_RATE", 20_000)?;
    let seconds = number("CEFLINE_BENCH_SECONDS", if is_test { 0 } else { 10 })?;
    println!("{} cores", std::thread::available_parallelism()?);
    let rounds = number("CEFLINE_BENCH_ROUNDS", if is_test { 1 } else { 2 })?;
    let mut costs = [0.0, 0.0];
    for _ in 0..rounds {
        // one after the other, as the machine is not the same from minute to minute
        for (cost, durability) in costs.iter_mut().zip(DURABILITIES) {
            let figures = measure(&start(durability)?, messages, connections, None)?;
            println!("flat out, {durability}: {figures}");
            *cost += figures.cpu_seconds;
        }
    }
    let [memory, power] = costs;
    println!(
        "power against memory: {:.3} times the CPU time",
        power / memory
    );
    if seconds > 0 {
        let paced = measure(&start("power")?, rate * seconds, connections, Some(rate))?;
        println!("{rate} a second, power: {paced}");
    }
    Ok(())
}

/// Values of `spool.durability` that are compared.
const DURABILITIES: [&str; 2] = ["memory", "power"];

/// With the configuration of the environment.
fn start(durability: &str) -> Result<Run> {
    let more = std::env::var("CEFLINE_BENCH_CONFIG").unwrap_or_default();
    let answer_ms = number("CEFLINE_BENCH_ANSWER_MS", 0)?;
    Run::new(durability, &more.replace("\\n", "\n"), answer_ms)
}

/// What a run came to.
struct Figures {
    messages: u64,
    rate: f64,
    cpu_seconds: f64,
    peak_kib: u64,
    /// 0.5, 0.99, 0.999
    latency_seconds: [f64; 3],
    ratio: f64,
    pages_waited: u64,
    rows_spooled: u64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, p999] = self.latency_seconds.map(|seconds| seconds * 1e3);
        write!(
            f,
            "{} rows, each once; {:.0} events/s; {:.2} CPU-seconds a million; peak {} MiB; \
             receipt to 204 p50 {p50:.0} ms, p99 {p99:.0} ms, p99.9 {p999:.0} ms; gzip 1:{:.2}; \
             senders were made to wait {} times; {} rows were on disk first",
            self.messages,
            self.rate,
            self.cpu_seconds * 1e6 / self.messages as f64,
            self.peak_kib / 1024,
            self.ratio,
            self.pages_waited,
            self.rows_spooled,
        )
    }
}

fn measure(run: &Run, messages: u64, connections: u64, rate: Option<u64>) -> Result<Figures> {
    let before = run.cpu_seconds()?;
    let mut send = Command::new(PROGRAM);
    send.arg("send")
        .arg(format!("127.0.0.1:{}", run.port))
        .args(["--count", &messages.to_string()])
        .args(["--connections", &connections.to_string()])
        .args(["--seed", "1", "--json"]);
    if let Some(rate) = rate {
        send.args(["--rate", &rate.to_string()]);
    }
    let more = std::env::var("CEFLINE_BENCH_SEND").unwrap_or_default();
    let sent = send.args(more.split_whitespace()).output()?;
    if !sent.status.success() {
        return Err(String::from_utf8(sent.stderr)?.into());
    }
    let sent: serde_json::Value = serde_json::from_slice(&sent.stdout)?;
    let uploaded = || -> Result<bool> {
        let uploaded = run.metric("cefline_rows_uploaded_total")?;
        Ok(uploaded - run.metric("cefline_heartbeats_total")? >= messages as f64)
    };
    run.wait("all rows to be uploaded", uploaded)?;
    let cpu_seconds = run.cpu_seconds()? - before;
    let quantile = |quantile: &str| {
        run.metric(&format!(
            "cefline_latency_seconds{{stage=\"overall\",quantile=\"{quantile}\"}}"
        ))
    };
    let figures = Figures {
        messages,
        rate: sent["messages_per_second"]
            .as_f64()
            .ok_or("the sender names no rate")?,
        cpu_seconds,
        peak_kib: run.peak_kib()?,
        latency_seconds: [quantile("0.5")?, quantile("0.99")?, quantile("0.999")?],
        ratio: run.metric("cefline_body_raw_bytes_total")?
            / run.metric("cefline_body_wire_bytes_total")?,
        pages_waited: run.metric("cefline_reads_paused_total")? as u64,
        rows_spooled: run.metric("cefline_rows_spooled_total")? as u64,
    };
    check(run, messages)?;
    Ok(figures)
}

/// Every message is in the table exactly once.
fn check(run: &Run, messages: u64) -> Result<()> {
    for summary in ["count", "distinct ExtID | count"] {
        // not cefline's rows about itself
        let query = format!("CommonSecurityLog | where DeviceVendor != \"cefline\" | {summary}");
        let answer = Command::new(PROGRAM)
            .arg("query")
            .args(["--url", &run.control, "--format", "json"])
            .arg(&query)
            .output()?;
        let text = String::from_utf8(answer.stdout)?;
        let rows: serde_json::Value = serde_json::from_str(text.trim())?;
        let count = rows["Count"].as_u64();
        if count != Some(messages) {
            return Err(format!("{query}: {text}, not {messages}").into());
        }
    }
    Ok(())
}
