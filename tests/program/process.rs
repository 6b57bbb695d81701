//! Processes of the built binary: started with what they need, watched, and killed when dropped.

#[path = "../support/until.rs"]
pub(crate) mod until;

use crate::account::Account;
use crate::http::{self, Answer};
use crate::table::Table;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;
pub(crate) use until::until;

/// The built binary.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cefline");
/// A process on a busy machine is ready by then.
pub(crate) const START_TIME: Duration = Duration::from_secs(30);
/// Whatever should happen soon has happened by then.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// What a process has written, while it writes.
type Output = Arc<Mutex<Vec<u8>>>;

/// A running command.
pub(crate) struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
    /// Threads that end when its streams do.
    helpers: Vec<JoinHandle<()>>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Nothing if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    /// Starts `cefline` with these arguments, in `folder`.
    pub(crate) fn start(arguments: &[&str], folder: &Path) -> Process {
        Process::fed(arguments, folder, Vec::new())
    }

    /// Starts it with `input` on its standard input.
    pub(crate) fn fed(arguments: &[&str], folder: &Path, input: Vec<u8>) -> Process {
        Process::spawn(arguments, folder, input, Stdio::piped())
    }

    /// Starts it with a standard error of the caller's.
    pub(crate) fn with_stderr(arguments: &[&str], folder: &Path, stderr: Stdio) -> Process {
        Process::spawn(arguments, folder, Vec::new(), stderr)
    }

    fn spawn(arguments: &[&str], folder: &Path, input: Vec<u8>, stderr: Stdio) -> Process {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(folder);
        Process::of(command, input, stderr)
    }

    /// Starts a command of the caller's.
    pub(crate) fn of(mut command: Command, input: Vec<u8>, stderr: Stdio) -> Process {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // it may not want to read it all, or any
        let feeder = thread::spawn(move || drop(stdin.write_all(&input)));
        let (stdout, out) = collect(child.stdout.take().unwrap());
        let mut helpers = vec![feeder, out];
        let stderr =
            child
                .stderr
                .take()
                .map(collect)
                .map_or_else(Output::default, |(stderr, err)| {
                    helpers.push(err);
                    stderr
                });
        Process {
            child,
            stdout,
            stderr,
            helpers,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        // the shell's own kill: a bare machine may lack the program
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.id())])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self, time: Duration) -> Ended {
        let end = until("the end of a process", time, || {
            self.child.try_wait().unwrap()
        });
        for helper in self.helpers.drain(..) {
            helper.join().unwrap();
        }
        Ended {
            code: end.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// A number of kibibytes from its status in `/proc`, like VmRSS.
    pub(crate) fn kibibytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // it has ended already, or ends now
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("standard error of a process:\n{}", self.stderr());
        }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> (Output, JoinHandle<()>) {
    let output = Output::default();
    let into = Arc::clone(&output);
    let reader = thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut part) {
            let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
            into.extend_from_slice(&part[..length]);
        }
    });
    (output, reader)
}

fn text(output: &Output) -> String {
    let bytes = output.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8(bytes.clone()).unwrap()
}

/// `cefline emulate`, on free ports.
pub(crate) struct EmulatorProcess {
    _process: Process,
    _folder: TempDir,
    control: SocketAddr,
    /// The lines of configuration that it has printed.
    pub(crate) sentinel: String,
}

impl EmulatorProcess {
    pub(crate) fn start(arguments: &[&str]) -> EmulatorProcess {
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec![
            "emulate",
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
        ];
        all.extend(arguments);
        let process = Process::start(&all, folder.path());
        let printed = until("the emulator is ready", START_TIME, || {
            Some(process.stdout()).filter(|text| text.contains("# stop it"))
        });
        let (lines, remarks) = printed.split_once("\n# what has arrived").unwrap();
        let (_, control) = remarks.split_once("--url http://").unwrap();
        EmulatorProcess {
            _process: process,
            _folder: folder,
            control: control.split(' ').next().unwrap().parse().unwrap(),
            sentinel: lines.to_owned(),
        }
    }

    /// Makes something go wrong, or no longer.
    pub(crate) fn change_faults(&self, json: &str) {
        let answer = http::ask(self.control, "PATCH", "/emulator/faults", json).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// What it has seen.
    pub(crate) fn stats(&self) -> Value {
        let answer = http::get(self.control, "/emulator/stats").unwrap();
        serde_json::from_str(&answer.body).unwrap()
    }

    /// One number of [`EmulatorProcess::stats`].
    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.stats()[name].as_u64().unwrap()
    }
}

impl Table for EmulatorProcess {
    fn ask(&self, kql: &str) -> Vec<Vec<Value>> {
        let request = serde_json::json!({"query": kql}).to_string();
        let path = "/v1/workspaces/emulator/query";
        let answer = http::ask(self.control, "POST", path, &request).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut answer: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(answer["error"].is_null(), "{}", answer["error"]);
        serde_json::from_value(answer["tables"][0]["rows"].take()).unwrap()
    }
}

/// What a configuration says besides the destination.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Keys {
    /// Lines for `[listen]`, without `tcp`.
    pub(crate) listen: &'static str,
    /// Lines for `[sentinel]`.
    pub(crate) sentinel: &'static str,
    /// Further sections.
    pub(crate) more: &'static str,
}

impl Keys {
    /// The whole text; `destination` begins with `[sentinel]`. The spool is in `folder`, unless the
    /// further sections say something of it. `CEFLINE_IO` says how it receives, unless the lines do.
    pub(crate) fn config(
        &self,
        tcp: &str,
        metrics: &str,
        destination: &str,
        folder: &Path,
    ) -> String {
        let Keys {
            listen,
            sentinel,
            more,
        } = self;
        let (_, destination) = destination.split_once("[sentinel]\n").unwrap();
        // all of these tests may be run by either backend
        let io = match std::env::var("CEFLINE_IO") {
            Ok(io) if !listen.contains("io = ") => format!("io = \"{io}\"\n"),
            _ => String::new(),
        };
        let spool = match more.contains("[spool]") {
            true => more.replace("[spool]", &spool_in(folder)),
            false => format!("{}\n{more}", spool_in(folder)),
        };
        // rows are counted in most tests
        let heartbeat = match sentinel.contains("heartbeat") {
            true => "",
            false => "heartbeat = \"off\"\n",
        };
        format!(
            "[listen]\ntcp = [\"{tcp}\"]\n{io}{listen}\n\
             [metrics]\nlisten = \"{metrics}\"\n{spool}\n\
             [sentinel]\n{heartbeat}{sentinel}\n{destination}\n"
        )
    }
}

/// The head of the section, with its folder.
fn spool_in(folder: &Path) -> String {
    let directory = folder.join("spool");
    format!("[spool]\ndirectory = \"{}\"", directory.display())
}

/// `cefline run`, on free ports.
pub(crate) struct ForwarderProcess {
    pub(crate) process: Process,
    _folder: TempDir,
    pub(crate) config: PathBuf,
    pub(crate) tcp: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl ForwarderProcess {
    /// Starts it and waits until it is ready. A free port may be taken by another program before
    /// we have it; then it is tried again with others.
    pub(crate) fn start(emulator: &EmulatorProcess, keys: Keys) -> ForwarderProcess {
        Self::start_by(emulator, keys, Process::start)
    }

    /// The same by a start of the caller's.
    pub(crate) fn start_by(
        emulator: &EmulatorProcess,
        keys: Keys,
        start: impl Fn(&[&str], &Path) -> Process,
    ) -> ForwarderProcess {
        for _ in 0..5 {
            if let Some(forwarder) = Self::try_start(&emulator.sentinel, keys, &start) {
                return forwarder;
            }
        }
        panic!("no free port");
    }

    fn try_start(
        destination: &str,
        keys: Keys,
        start: impl Fn(&[&str], &Path) -> Process,
    ) -> Option<ForwarderProcess> {
        let folder = tempfile::tempdir().unwrap();
        let (tcp, metrics) = (free_port(), free_port());
        let config = folder.path().join("cefline.toml");
        let text = keys.config(
            &tcp.to_string(),
            &metrics.to_string(),
            destination,
            folder.path(),
        );
        fs::write(&config, text).unwrap();
        let arguments = ["run", "--config", config.to_str().unwrap()];
        let mut process = start(&arguments, folder.path());
        let is_ready = until("the forwarder is ready", START_TIME, || {
            if !process.is_running() {
                let stderr = process.stderr();
                assert!(stderr.contains("cannot listen there"), "{stderr}");
                return Some(false);
            }
            let answer = http::get(metrics, "/readyz").ok()?;
            (answer.status == 200).then_some(true)
        });
        is_ready.then_some(ForwarderProcess {
            process,
            _folder: folder,
            config,
            tcp,
            metrics,
        })
    }

    /// Its counters now; the accounting must close whenever one looks.
    pub(crate) fn account(&self) -> Account {
        let answer = http::get(self.metrics, "/metrics").unwrap();
        let account = Account::of(&answer.body);
        account.assert_closed();
        account
    }

    pub(crate) fn readiness(&self) -> Answer {
        http::get(self.metrics, "/readyz").unwrap()
    }

    /// Waits until nothing is held any more.
    pub(crate) fn settled(&self, time: Duration) -> Account {
        until("all rows are settled", time, || {
            Some(self.account()).filter(|account| account.sum("rows_held") == 0)
        })
    }
}

/// A port of the loopback address on which nobody listens. It is bound until this process ends, so that
/// the kernel gives it to nobody else who asks for any.
pub(crate) fn free_port() -> SocketAddr {
    static HOLDERS: Mutex<Vec<Socket>> = Mutex::new(Vec::new());
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // without it nobody could listen besides
    holder.set_reuse_address(true).unwrap();
    holder
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = holder.local_addr().unwrap().as_socket().unwrap();
    let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    holders.push(holder);
    address
}
