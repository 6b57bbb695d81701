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

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cefline");
/// Rows must be in the table so long after the last was sent.
const PATIENCE_S: u32 = 120;

fn main() -> Result<()> {
    // `cargo test --benches` runs benches too; there a short run shows that they work
    let is_test = std::env::args().any(|argument| argument == "--test");
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
            let figures = Run::new(durability)?.measure(messages, connections, None)?;
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
        let paced = Run::new("power")?.measure(rate * seconds, connections, Some(rate))?;
        println!("{rate} a second, power: {paced}");
    }
    Ok(())
}

/// Values of `spool.durability` that are compared.
const DURABILITIES: [&str; 2] = ["memory", "power"];

fn number(variable: &str, default: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(default),
    }
}

/// An emulator and a forwarder that sends to it, in a folder of their own.
struct Run {
    folder: tempfile::TempDir,
    emulator: Process,
    forwarder: Process,
    port: u16,
    metrics_port: u16,
    control: String,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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

impl Run {
    fn new(durability: &str) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let (emulator, lines) = start_emulator(folder.path())?;
        let control = lines
            .split_whitespace()
            .find_map(|word| word.strip_suffix("/emulator/faults"))
            .ok_or("the emulator names no control port")?
            .to_owned();
        let (port, metrics_port) = (free_port()?, free_port()?);
        let more = std::env::var("CEFLINE_BENCH_CONFIG").unwrap_or_default();
        let config = format!(
            "[listen]\ntcp = [\"127.0.0.1:{port}\"]\n[spool]\ndirectory = \"{}\"\ndurability = \
             \"{durability}\"\n[metrics]\nlisten = \
             \"127.0.0.1:{metrics_port}\"\n[log]\nlevel = \"warn\"\n{}\n{lines}",
            folder.path().join("spool").display(),
            more.replace("\\n", "\n")
        );
        let file = folder.path().join("cefline.toml");
        fs::write(&file, config)?;
        let forwarder = Command::new(PROGRAM)
            .arg("run")
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("run.log"))?)
            .spawn()?;
        let run = Run {
            folder,
            emulator,
            forwarder: Process(forwarder),
            port,
            metrics_port,
            control,
        };
        // the page is served once all ports are open
        let is_ready = || {
            Ok(run
                .metric("cefline_uptime_seconds")
                .is_ok_and(|time| time > 0.0))
        };
        run.wait("it to listen", is_ready)?;
        Ok(run)
    }

    fn measure(self, messages: u64, connections: u64, rate: Option<u64>) -> Result<Figures> {
        let before = cpu_seconds(self.forwarder.0.id())?;
        let mut send = Command::new(PROGRAM);
        send.arg("send")
            .arg(format!("127.0.0.1:{}", self.port))
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
            let uploaded = self.metric("cefline_rows_uploaded_total")?;
            Ok(uploaded - self.metric("cefline_heartbeats_total")? >= messages as f64)
        };
        self.wait("all rows to be uploaded", uploaded)?;
        let cpu_seconds = cpu_seconds(self.forwarder.0.id())? - before;
        let quantile = |quantile: &str| {
            self.metric(&format!(
                "cefline_latency_seconds{{stage=\"overall\",quantile=\"{quantile}\"}}"
            ))
        };
        let figures = Figures {
            messages,
            rate: sent["messages_per_second"]
                .as_f64()
                .ok_or("the sender names no rate")?,
            cpu_seconds,
            peak_kib: peak_kib(self.forwarder.0.id())?,
            latency_seconds: [quantile("0.5")?, quantile("0.99")?, quantile("0.999")?],
            ratio: self.metric("cefline_body_raw_bytes_total")?
                / self.metric("cefline_body_wire_bytes_total")?,
            pages_waited: self.metric("cefline_reads_paused_total")? as u64,
            rows_spooled: self.metric("cefline_rows_spooled_total")? as u64,
        };
        self.check(messages)?;
        Ok(figures)
    }

    /// Every message is in the table exactly once.
    fn check(&self, messages: u64) -> Result<()> {
        for summary in ["count", "distinct ExtID | count"] {
            // not cefline's rows about itself
            let query =
                format!("CommonSecurityLog | where DeviceVendor != \"cefline\" | {summary}");
            let answer = Command::new(PROGRAM)
                .arg("query")
                .args(["--url", &self.control, "--format", "json"])
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

    /// One line of the metrics page; 0 if it is not there.
    fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics_port))?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.unwrap_or("0").trim().parse()?)
    }

    fn wait(&self, what: &str, is_there: impl Fn() -> Result<bool>) -> Result<()> {
        for _ in 0..PATIENCE_S * 5 {
            if is_there()? {
                return Ok(());
            }
            // to be asked costs it something
            sleep(Duration::from_millis(200));
        }
        let log = fs::read_to_string(self.folder.path().join("run.log"))?;
        let _ = &self.emulator;
        Err(format!("waited in vain for {what}: {log}").into())
    }
}

/// Starts it and gives the lines of configuration that it prints.
fn start_emulator(folder: &Path) -> Result<(Process, String)> {
    let answer_ms = number("CEFLINE_BENCH_ANSWER_MS", 0)?;
    let mut emulator = Command::new(PROGRAM)
        .args([
            "emulate",
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
        ])
        .args([
            "--minute-bytes",
            "100000000000",
            "--minute-requests",
            "1000000",
        ])
        .args([
            "--fault",
            &format!("slow_rate={}", if answer_ms > 0 { 1 } else { 0 }),
            "--fault",
            &format!("slow_ms={answer_ms}"),
        ])
        .arg("--ca-file")
        .arg(folder.join("ca.pem"))
        .arg("--secret-file")
        .arg(folder.join("secret"))
        .stdout(Stdio::piped())
        .spawn()
        .map(Process)?;
    let mut lines = String::new();
    let output = emulator.0.stdout.take().ok_or("no output")?;
    let mut output = BufReader::new(output);
    while !lines.contains("/emulator/faults") {
        if output.read_line(&mut lines)? == 0 {
            return Err(format!("the emulator ended: {lines}").into());
        }
    }
    // it goes on printing to nobody
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    Ok((emulator, lines))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// User and system time of a process so far. Linux counts in hundredths of a second here.
fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

fn peak_kib(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits: String = line
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    Ok(digits.parse()?)
}
