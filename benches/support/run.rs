//! A stand-in for the service and a forwarder that sends to it, as processes of their own, and what can
//! be asked of them.

#![allow(dead_code, reason = "each bench asks for some of it")]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cefline");
/// What is waited for has come by then.
const PATIENCE_S: u32 = 120;

/// A number from the environment.
pub(crate) fn number(variable: &str, default: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(default),
    }
}

/// True with `-- --test`: a short run then shows that a bench works.
pub(crate) fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// An emulator and a forwarder that sends to it, in a folder of their own.
pub(crate) struct Run {
    forwarder: Process,
    _emulator: Process,
    /// It listens here for messages.
    pub(crate) port: u16,
    metrics_port: u16,
    /// URL of the emulator's control port.
    pub(crate) control: String,
    /// Last: it is removed when nobody writes to it any more.
    folder: tempfile::TempDir,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Run {
    /// With this durability, these lines of configuration, and an emulator that takes so many milliseconds to
    /// answer.
    pub(crate) fn new(durability: &str, more: &str, answer_ms: u64) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let (emulator, lines) = start_emulator(folder.path(), answer_ms)?;
        let control = lines
            .split_whitespace()
            .find_map(|word| word.strip_suffix("/emulator/faults"))
            .ok_or("the emulator names no control port")?
            .to_owned();
        let (port, metrics_port) = (free_port()?, free_port()?);
        let config = format!(
            "[listen]\ntcp = [\"127.0.0.1:{port}\"]\n[spool]\ndirectory = \"{}\"\ndurability = \
             \"{durability}\"\n[metrics]\nlisten = \
             \"127.0.0.1:{metrics_port}\"\n[log]\nlevel = \"warn\"\n{more}\n{lines}",
            folder.path().join("spool").display(),
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
            forwarder: Process(forwarder),
            _emulator: emulator,
            port,
            metrics_port,
            control,
            folder,
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

    /// One line of the metrics page; 0 if it is not there.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
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

    pub(crate) fn wait(&self, what: &str, is_there: impl Fn() -> Result<bool>) -> Result<()> {
        for _ in 0..PATIENCE_S * 5 {
            if is_there()? {
                return Ok(());
            }
            // to be asked costs it something
            sleep(Duration::from_millis(200));
        }
        let log = fs::read_to_string(self.folder.path().join("run.log"))?;
        Err(format!("waited in vain for {what}: {log}").into())
    }

    /// User and system time of the forwarder so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.forwarder.0.id())
    }

    /// Most memory that the forwarder had resident.
    pub(crate) fn peak_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.forwarder.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let digits: String = line
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        Ok(digits.parse()?)
    }
}

/// User and system time of a process so far. Linux counts in hundredths of a second here.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

/// Starts it and gives the lines of configuration that it prints.
fn start_emulator(folder: &Path, answer_ms: u64) -> Result<(Process, String)> {
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
