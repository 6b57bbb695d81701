//! A forwarder in a process of its own, so that its processor time and its memory are its own.

use super::Failure;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Linux counts processor time in hundredths of a second, on every machine.
const TICKS_A_SECOND: f64 = 100.0;
/// How often it is looked whether something has come to be.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// A forwarder listens after so many looks, or never.
const START_LOOKS_MAX: usize = 1500;
/// What is held is uploaded after so many looks without any progress, or never.
const STILL_LOOKS_MAX: usize = 1500;

/// The process. It ends with this value.
pub(super) struct Process {
    child: Child,
    metrics: SocketAddr,
    log: PathBuf,
}

/// The metrics of a moment, by name and labels.
pub(super) struct Page(HashMap<String, f64>);

impl Page {
    /// One value; 0 if it is not there.
    pub(super) fn value(&self, name: &str) -> f64 {
        self.0
            .get(&format!("cefline_{name}"))
            .copied()
            .unwrap_or(0.0)
    }

    /// All values of a metric, whatever their labels.
    pub(super) fn sum(&self, name: &str) -> f64 {
        let head = format!("cefline_{name}{{");
        let labelled = self.0.iter().filter(|(key, _)| key.starts_with(&head));
        labelled.map(|(_, value)| value).sum()
    }

    fn of(text: &str) -> Page {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Page(values.collect())
    }
}

impl Process {
    /// Starts this program as a forwarder, and waits until it listens.
    pub(super) fn start(config: &Path, metrics: SocketAddr) -> Result<Process, Failure> {
        let program = std::env::current_exe().map_err(Failure::running)?;
        let log = config.with_extension("log");
        let stderr = File::create(&log).map_err(Failure::running)?;
        let child = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|error| Failure::running(format!("cannot start the forwarder: {error}")))?;
        let mut process = Process {
            child,
            metrics,
            log,
        };
        for _ in 0..START_LOOKS_MAX {
            // the page is served once all ports are open
            if process.page().is_ok() {
                return Ok(process);
            }
            if !matches!(process.child.try_wait(), Ok(None)) {
                break;
            }
            sleep(LOOK_PAUSE);
        }
        Err(process.failed("the forwarder does not start"))
    }

    /// What it says of itself.
    pub(super) fn page(&self) -> io::Result<Page> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(Page::of(&text))
    }

    /// Waits until it has received so many frames and holds no row any more.
    pub(super) fn settled(&self, frames: u64) -> Result<Page, Failure> {
        let (mut before, mut still) = (0.0, 0);
        while still < STILL_LOOKS_MAX {
            let page = self
                .page()
                .map_err(|_| self.failed("the forwarder is gone"))?;
            let received = page.value("frames_received_total");
            let uploaded = page.value("rows_uploaded_total");
            if received >= frames as f64 && page.sum("rows_held") == 0.0 {
                return Ok(page);
            }
            still += 1;
            if received + uploaded > before {
                (before, still) = (received + uploaded, 0);
            }
            sleep(LOOK_PAUSE);
        }
        Err(self.failed("the forwarder does not come to its end"))
    }

    /// Processor time that it has used so far, its user's and the kernel's, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64, Failure> {
        let text = self.proc("stat")?;
        // the name in brackets may hold anything
        let behind_name = text.rsplit(')').next().unwrap_or_default();
        let ticks = behind_name.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS_A_SECOND)
    }

    /// The most memory that it has had, in bytes.
    pub(super) fn memory_peak(&self) -> Result<u64, Failure> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.unwrap_or(0) * 1024)
    }

    fn proc(&self, file: &str) -> Result<String, Failure> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).map_err(Failure::running)
    }

    fn failed(&self, what: &str) -> Failure {
        let told = fs::read_to_string(&self.log).unwrap_or_default();
        Failure::running(format!("{what}: {}", told.trim()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nothing that it holds is anybody's
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_by_name_and_summed_over_labels() {
        let page = Page::of(
            "HTTP/1.1 200 OK\r\n# TYPE x counter\ncefline_reads_total 7\n\
             cefline_rows_held{stage=\"page\"} 2\ncefline_rows_held{stage=\"ring\"} 3.5\n",
        );
        assert_eq!(page.value("reads_total"), 7.0);
        assert_eq!(page.value("rows_held{stage=\"page\"}"), 2.0);
        assert_eq!(page.sum("rows_held"), 5.5);
        assert_eq!((page.value("none"), page.sum("none")), (0.0, 0.0));
    }
}
