//! Under a supervisor: it hears when we are ready and that we are alive, and a restart refuses nobody.

use crate::http;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, Process, SOON, until};
use crate::supervisor::{Supervisor, WATCHDOG_TIME};
use crate::table::Table;
use crate::{beside_others, skip};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const READY: &str = "READY=1";
const ALIVE: &str = "WATCHDOG=1";

/// Rows soon.
const KEYS: Keys = Keys {
    listen: "",
    sentinel: "",
    more: "[batch]\nlinger = \"50 ms\"",
};

/// A forwarder under a supervisor, ready.
fn start(emulator: &EmulatorProcess, supervisor: &Supervisor) -> ForwarderProcess {
    start_with(emulator, supervisor, KEYS)
}

/// The same, by other keys.
fn start_with(emulator: &EmulatorProcess, supervisor: &Supervisor, keys: Keys) -> ForwarderProcess {
    ForwarderProcess::start_by(emulator, keys, |arguments, folder| {
        supervisor.spawn(arguments, folder)
    })
}

/// Starts the forwarder's successor, by the same configuration.
fn succeed(forwarder: &mut ForwarderProcess, supervisor: &Supervisor) {
    let config = forwarder.config.to_str().unwrap().to_owned();
    let folder = forwarder.config.parent().unwrap();
    forwarder.process = supervisor.spawn(&["run", "--config", &config], folder);
}

/// The address in the configuration that a forwarder is started with.
fn configured(arguments: &[&str]) -> SocketAddr {
    let text = fs::read_to_string(arguments[2]).unwrap();
    let (_, address) = text.split_once("tcp = [\"").unwrap();
    address.split('"').next().unwrap().parse().unwrap()
}

fn message(number: u64) -> String {
    format!("<13>CEF:0|Acme|Over|1|{number}|handed|5|src=192.0.2.1\n")
}

/// Connects and sends one message.
fn send(to: SocketAddr, number: u64) -> io::Result<()> {
    TcpStream::connect(to)?.write_all(message(number).as_bytes())
}

/// The numbers of the messages that are in the table.
fn arrived(emulator: &EmulatorProcess) -> BTreeSet<u64> {
    let rows = emulator
        .ask("CommonSecurityLog | where DeviceProduct == \"Over\" | project DeviceEventClassID");
    let number = |row: &Vec<serde_json::Value>| row[0].as_str().unwrap().parse().unwrap();
    rows.iter().map(number).collect()
}

#[test]
fn it_is_ready_once_its_port_accepts_and_says_what_it_does() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let supervisor = Supervisor::start();
    let mut forwarder = ForwarderProcess::start_by(&emulator, KEYS, |arguments, folder| {
        let before = supervisor.count(READY);
        let mut process = supervisor.spawn(arguments, folder);
        let is_ready = until("it is ready, or a port was taken", SOON, || {
            let is_ready = supervisor.count(READY) > before;
            (is_ready || !process.is_running()).then_some(is_ready)
        });
        if is_ready {
            // at once, and not only after a while
            let text = fs::read_to_string(arguments[2]).unwrap();
            let (_, address) = text.split_once("tcp = [\"").unwrap();
            let (address, _) = address.split_once('"').unwrap();
            send(address.parse().unwrap(), 1).unwrap();
        }
        process
    });
    until("the message has arrived", SOON, || {
        (arrived(&emulator).len() == 1).then_some(())
    });
    let status = until("a status", SOON, || {
        let notices = supervisor.notices();
        notices
            .into_iter()
            .find(|notice| notice.starts_with("STATUS="))
    });
    assert!(status.contains("connections"), "{status}");
    assert_eq!(status.lines().count(), 1, "{status}");
    forwarder.process.signal("TERM");
    let ended = forwarder.process.ended(SOON);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // 30 s of uploading by default, and what it takes to begin and to end that
    supervisor.until_count("STOPPING=1", 1);
    supervisor.until_count("EXTEND_TIMEOUT_USEC=45000000", 1);
    // one that finds its port taken was never ready
    let ready_count = supervisor.count(READY);
    supervisor.drop_all();
    let _taken = TcpListener::bind(forwarder.tcp).unwrap();
    succeed(&mut forwarder, &supervisor);
    assert_eq!(forwarder.process.ended(SOON).code, Some(2));
    assert_eq!(supervisor.count(READY), ready_count);
}

#[test]
fn the_watchdog_is_fed_while_the_process_runs_and_not_while_it_is_stopped() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let supervisor = Supervisor::start();
    let forwarder = start(&emulator, &supervisor);
    supervisor.until_count(ALIVE, 3);
    forwarder.process.signal("STOP");
    until("it is stopped", SOON, || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", forwarder.process.id())).unwrap();
        stat.contains(") T ").then_some(())
    });
    assert_hungry(&supervisor);
    let before = supervisor.count(ALIVE);
    forwarder.process.signal("CONT");
    supervisor.until_count(ALIVE, before + 3);
}

/// For longer than its time the watchdog gets nothing, but for what may be on its way.
fn assert_hungry(supervisor: &Supervisor) {
    let before = supervisor.count(ALIVE);
    thread::sleep(2 * WATCHDOG_TIME);
    let fed = supervisor.count(ALIVE) - before;
    assert!(fed <= 1, "fed {fed} times");
}

/// The threads of a process, with their names.
fn threads(process: &Process) -> Vec<(Pid, String)> {
    let folder = format!("/proc/{}/task", process.id());
    let each = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let number = entry.file_name().to_str().unwrap().parse().unwrap();
        let name = fs::read_to_string(entry.path().join("comm")).unwrap();
        (Pid::from_raw(number), name.trim().to_owned())
    });
    each.collect()
}

/// A thread of another process that is stopped, as a loop without end would stop it, until this is
/// dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(thread: Pid) -> nix::Result<Stopped> {
        ptrace::attach(thread)?;
        waitpid(thread, Some(WaitPidFlag::__WALL))?;
        Ok(Stopped(thread))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // it may have been killed
        let _ = ptrace::detach(self.0, None);
    }
}

#[test]
fn one_core_that_is_stuck_is_named_and_the_watchdog_goes_hungry() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let supervisor = Supervisor::start();
    let forwarder = start(&emulator, &supervisor);
    let health = || http::get(forwarder.metrics, "/healthz").unwrap();
    assert_eq!(health().status, 200);
    supervisor.until_count(ALIVE, 1);
    let threads = threads(&forwarder.process);
    let (shard, _) = threads.iter().find(|(_, name)| name == "ingest-0").unwrap();
    let stopped = match Stopped::new(*shard) {
        Ok(stopped) => stopped,
        Err(error) => return skip::skipped(format!("no thread may be stopped here: {error}")),
    };
    let complaint = until("the stuck core is noticed", SOON, || {
        Some(health()).filter(|answer| answer.status == 503)
    });
    assert!(
        complaint.body.starts_with("ingest-0 has been stuck for "),
        "{complaint:?}"
    );
    assert_eq!(forwarder.readiness().status, 503);
    until("the log says it", SOON, || {
        let log = forwarder.process.stderr();
        log.contains("ingest-0 has been stuck").then_some(())
    });
    // every loop but this one goes on, and yet
    assert_hungry(&supervisor);
    let before = supervisor.count(ALIVE);
    drop(stopped);
    supervisor.until_count(ALIVE, before + 1);
    assert_eq!(health().status, 200);
}

#[test]
fn a_shard_that_waits_for_pages_is_alive() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let supervisor = Supervisor::start();
    // a disk may take more than the sender sends
    let keys = Keys {
        more: "[spool]\ndurability = \"memory\"\n[runtime]\npages_bytes_max = \"16 MiB\"",
        ..KEYS
    };
    let forwarder = start_with(&emulator, &supervisor, keys);
    emulator.change_faults("{\"outage\":\"refuse\"}");
    let folder = tempfile::tempdir().unwrap();
    let to = forwarder.tcp.to_string();
    let arguments = ["send", &to, "--seconds", "600", "--connections", "4"];
    let _sender = Process::start(&arguments, folder.path());
    until("senders wait", SOON, || {
        (forwarder.readiness().status == 503).then_some(())
    });
    let before = supervisor.count(ALIVE);
    // longer than it takes to be thought dead
    let feeds_count = 3 * 7;
    supervisor.until_count(ALIVE, before + feeds_count);
    assert_eq!(
        http::get(forwarder.metrics, "/healthz").unwrap().status,
        200
    );
    assert!(!forwarder.process.stderr().contains("stuck"));
}

/// Connects again and again, and sends a numbered message each time.
struct Client {
    next: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<io::Error>>,
}

impl Client {
    fn start(to: SocketAddr) -> Client {
        let next = Arc::<AtomicU64>::default();
        let is_over = Arc::<AtomicBool>::default();
        let (number, over) = (next.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            let mut refusals = Vec::new();
            while !over.load(Ordering::Acquire) {
                let sent = send(to, number.fetch_add(1, Ordering::AcqRel));
                refusals.extend(sent.err());
                // the pace of a sender, so that the queue has room for the whole gap
                thread::sleep(Duration::from_millis(1));
            }
            refusals
        });
        Client {
            next,
            is_over,
            thread,
        }
    }

    /// The number of the next message: those from here on are sent later than now.
    fn now(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Waits until it has sent some more messages.
    fn until_sent(&self, count: u64) {
        let from = self.now();
        until("the client goes on", SOON, || {
            (self.now() >= from + count).then_some(())
        });
    }

    /// Stops it; gives how many messages it has sent. Nobody must have refused it.
    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Release);
        let refusals = self.thread.join().unwrap();
        assert!(
            refusals.is_empty(),
            "{} connections were refused: {:?}",
            refusals.len(),
            refusals[0]
        );
        self.next.load(Ordering::Acquire)
    }
}

#[test]
fn a_restart_refuses_no_connection_and_what_comes_in_the_gap_arrives() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let supervisor = Supervisor::start();
    let mut forwarder = start(&emulator, &supervisor);
    let name = format!("tcp-{}", forwarder.tcp).replace(':', "_");
    assert_eq!(supervisor.kept(), [name.as_str()]);
    let client = Client::start(forwarder.tcp);
    for signal in ["TERM", "KILL", "TERM"] {
        client.until_sent(50);
        forwarder.process.signal(signal);
        let ended = forwarder.process.ended(SOON);
        assert_eq!(ended.code, (signal == "TERM").then_some(0), "{ended:?}");
        let begin = client.now();
        // nobody is there, and nobody is refused
        client.until_sent(50);
        let ready_count = supervisor.count(READY);
        succeed(&mut forwarder, &supervisor);
        supervisor.until_count(READY, ready_count + 1);
        let gap = begin..client.now();
        // before the next end: whoever is killed takes what it holds along
        until("all from the gap have arrived", SOON, || {
            let arrived = arrived(&emulator);
            gap.clone().all(|id| arrived.contains(&id)).then_some(())
        });
        println!("{signal}: {} in the gap", gap.end - gap.start);
        // the same socket, once
        assert_eq!(supervisor.kept(), [name.as_str()]);
    }
    let sent_count = client.stop();
    until("the last has arrived", SOON, || {
        arrived(&emulator).contains(&(sent_count - 1)).then_some(())
    });
}

#[test]
fn a_socket_that_is_given_serves_its_address_and_what_waited_there_is_read() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let supervisor = Supervisor::start();
    let forwarder = ForwarderProcess::start_by(&emulator, KEYS, |arguments, folder| {
        let address = configured(arguments);
        supervisor.drop_all();
        if let Ok(listener) = TcpListener::bind(address) {
            // as a socket unit does it: the connection is the first thing that there is
            send(address, 7).unwrap();
            supervisor.keep("cefline.socket", listener.into());
        }
        supervisor.spawn(arguments, folder)
    });
    until("the message has arrived", SOON, || {
        arrived(&emulator).contains(&7).then_some(())
    });
    send(forwarder.tcp, 8).unwrap();
    until("so does the next", SOON, || {
        arrived(&emulator).contains(&8).then_some(())
    });
    // whoever gave it keeps it; a second copy would come back at the next start
    assert_eq!(supervisor.kept(), ["cefline.socket"]);
    assert_eq!(supervisor.count("FDSTORE=1"), 0);
}

#[test]
fn a_given_socket_that_no_address_asks_for_is_closed_and_forgotten() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let supervisor = Supervisor::start();
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = foreign.local_addr().unwrap();
    supervisor.keep("other.socket", foreign.into());
    // no socket at all
    let (end, _other_end) = std::io::pipe().unwrap();
    supervisor.keep("pipe", end.into());
    let ours = RefCell::new(None);
    let forwarder = ForwarderProcess::start_by(&emulator, KEYS, |arguments, folder| {
        // of an earlier configuration, and in the way of the new one; held as well by one that takes
        // its time to forget it
        let all = SocketAddr::from(([0, 0, 0, 0], configured(arguments).port()));
        if let Ok(listener) = TcpListener::bind(all) {
            let name = format!("tcp-{all}").replace(':', "_");
            supervisor.keep(&name, listener.try_clone().unwrap().into());
            ours.replace(Some((listener, name)));
        }
        supervisor.spawn(arguments, folder)
    });
    let (ours, name) = ours.take().unwrap();
    let closed = |address| format!("ask for: it is closed address={address}");
    for warning in [
        closed(ours.local_addr().unwrap()),
        closed(other),
        "not TCP".to_owned(),
    ] {
        until(&warning, SOON, || {
            let log = forwarder.process.stderr();
            log.contains(&warning).then_some(())
        });
    }
    until("it is forgotten", SOON, || {
        (!supervisor.kept().contains(&name)).then_some(())
    });
    // what belongs to another stays as it was
    assert!(TcpStream::connect(other).is_ok());
    assert!(supervisor.kept().contains(&"other.socket".to_owned()));
    send(forwarder.tcp, 1).unwrap();
    until("its own port works", SOON, || {
        arrived(&emulator).contains(&1).then_some(())
    });
}
