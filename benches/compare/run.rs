//! One run of one program: start, send, wait until the sink has everything, end, check.

use crate::check::{self, Answers};
use crate::messages::Messages;
use crate::peers::{Peer, Place};
use crate::process::Program;
use crate::sink::Sink;
use crate::{QUIET, Result};
use cefline::clock::{Clock, Mono};
use cefline::send::{Rate, SendControl, SendOptions, Source, Writes, send};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Connections of the sender.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// A program listens by then.
const START_TIME: Duration = Duration::from_secs(60);
/// What was sent has come by then, or never will.
const ARRIVE_TIME: Duration = Duration::from_secs(180);
/// A program is left alone so long when it listens.
const SETTLE_TIME: Duration = Duration::from_millis(500);
/// What a program says, in its folder.
const LOG: &str = "program.log";
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Which cores do what.
pub(crate) struct Cores {
    /// All of them.
    pub(crate) count: usize,
    /// Of the program, as `taskset` writes them.
    pub(crate) program: String,
    pub(crate) program_count: usize,
    /// Of sender and sink.
    ours: Vec<usize>,
}

impl Cores {
    /// By the variable, or the first half for the program.
    pub(crate) fn choose() -> Result<Cores> {
        let all = allowed()?;
        let half = all.len().div_ceil(2);
        let listed = |cores: &[usize]| {
            let words: Vec<String> = cores.iter().map(usize::to_string).collect();
            words.join(",")
        };
        let program = crate::variable("CEFLINE_COMPARE_CORES", &listed(&all[..half]));
        let named: Vec<usize> = program
            .split(',')
            .map(str::parse)
            .collect::<std::result::Result<_, _>>()?;
        let others: Vec<usize> = all
            .iter()
            .copied()
            .filter(|core| !named.contains(core))
            .collect();
        Ok(Cores {
            count: all.len(),
            program,
            program_count: named.len(),
            // on a machine of one core, or if it is all the program's, they share
            ours: if others.is_empty() { all } else { others },
        })
    }

    /// This process, and all threads that it starts from now on.
    pub(crate) fn pin_ourselves(&self) -> Result<()> {
        let mut set = CpuSet::new();
        for core in &self.ours {
            set.set(*core)?;
        }
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }
}

/// Cores that this process may use.
pub(crate) fn allowed() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let cores = 0..CpuSet::count();
    Ok(cores
        .filter(|core| allowed.is_set(*core).unwrap_or(false))
        .collect())
}

/// How fast it is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    FlatOut,
    /// So many percent of its own rate, and the rate that they are.
    Percent(u64, f64),
    /// A rate.
    Rate(f64),
}

/// What a run is.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// The first so many messages.
    pub(crate) count: usize,
    pub(crate) load: Load,
    pub(crate) connections: NonZeroUsize,
    pub(crate) writes: Writes,
    /// What the sink takes for an answer.
    pub(crate) delay_ms: u64,
    /// Lines of cefline's `[batch]`.
    pub(crate) batch: String,
}

impl Task {
    /// As fast as it goes, in large writes.
    pub(crate) fn flat_out(count: usize) -> Task {
        Task {
            count,
            load: Load::FlatOut,
            connections: CONNECTIONS,
            writes: Writes::Large,
            delay_ms: 0,
            batch: crate::variable("CEFLINE_COMPARE_BATCH", ""),
        }
    }

    /// At a rate, one message a write.
    pub(crate) fn paced(count: usize, load: Load) -> Task {
        Task {
            load,
            writes: Writes::OneMessage,
            ..Task::flat_out(count)
        }
    }

    pub(crate) fn answered_after(self, delay_ms: u64) -> Task {
        Task { delay_ms, ..self }
    }
}

/// What one run came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) peer: String,
    pub(crate) load: String,
    pub(crate) delay_ms: u64,
    pub(crate) messages: usize,
    /// From the first message until the sink had 95 of 100 rows that came.
    pub(crate) seconds: f64,
    /// Those rows, a second.
    pub(crate) rate: f64,
    pub(crate) cpu_seconds: f64,
    /// Resident before the first message, and at most.
    pub(crate) idle_kib: u64,
    pub(crate) peak_kib: u64,
    /// 0.5, 0.99 and 0.999, if the load was paced.
    pub(crate) latency_ms: Option<[f64; 3]>,
    pub(crate) answers: Answers,
}

impl Run {
    /// By the rows that came.
    pub(crate) fn cpu_of_a_million(&self) -> f64 {
        1e6 * self.cpu_seconds / self.came().max(1) as f64
    }

    pub(crate) fn came(&self) -> u64 {
        self.messages as u64 - self.answers.missing
    }
}

/// What all runs share.
pub(crate) struct Rig<'m> {
    cores: &'m Cores,
    clock: Clock,
    sink: Sink,
    messages: &'m Messages,
    _folder: tempfile::TempDir,
}

impl<'m> Rig<'m> {
    pub(crate) fn new(cores: &'m Cores, clock: Clock, messages: &'m Messages) -> Result<Rig<'m>> {
        let folder = tempfile::tempdir()?;
        Ok(Rig {
            cores,
            clock,
            sink: Sink::start(folder.path(), clock)?,
            messages,
            _folder: folder,
        })
    }

    /// Starts a program anew, in a folder, and waits until it listens.
    pub(crate) fn start(
        &self,
        peer: &Peer,
        batch: &str,
        folder: &Path,
    ) -> Result<(Program, SocketAddr)> {
        let port = free_port()?;
        let command = peer.command(&Place {
            folder,
            port,
            sink: self.sink.port,
            ca: &self.sink.ca,
            cores: self.cores.program_count,
            batch,
        })?;
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let mut program = Program::start(&command, &self.cores.program, &folder.join(LOG))?;
        let begun = self.clock.mono();
        while self.clock.mono().since(begun) < START_TIME && program.is_running() {
            if TcpStream::connect(to).is_ok() {
                // what it does at its start is no part of the work
                sleep(SETTLE_TIME);
                return Ok((program, to));
            }
            sleep(LOOK_PAUSE);
        }
        Err(failed(peer, folder, "it does not listen").into())
    }

    /// Runs a program anew.
    pub(crate) fn run(&self, peer: &Peer, task: &Task) -> Result<Run> {
        let (count, load, delay) = (task.count, task.load, task.delay_ms);
        self.sink.answer_after(Duration::from_millis(delay));
        let folder = tempfile::tempdir()?;
        let failed = |what: &str| failed(peer, folder.path(), what);
        let (mut program, to) = self.start(peer, &task.batch, folder.path())?;
        let before = program.usage();
        let rate = match load {
            Load::FlatOut => None,
            Load::Percent(_, rate) | Load::Rate(rate) => Rate::per_second(rate),
        };
        let options = SendOptions {
            source: Source::Lines(self.messages.lines(count)),
            connections: task.connections,
            count: Some(count as u64),
            rate,
            writes: task.writes,
            close_time: ARRIVE_TIME,
            ..SendOptions::new(to)
        };
        let begun = self.clock.mono();
        let sent = send(&options, self.clock, &SendControl::default())
            .map_err(|error| failed(&error.to_string()))?;
        if sent.messages() != count as u64 {
            return Err(failed("it took no more").into());
        }
        self.wait_for_all(&mut program, begun);
        let after = program.usage();
        drop(program);
        let bodies = self.sink.take();
        let (answers, times) = check::check(&bodies, self.messages, count, peer.form);
        let mut came: Vec<Mono> = times.iter().flatten().copied().collect();
        came.sort_unstable();
        if came.is_empty() {
            println!("{}", failed("nothing came"));
        }
        // the last rows may wait for a body that is never full
        let most = came.len() * 95 / 100;
        let seconds = came.get(most).map_or(Duration::ZERO, |at| at.since(begun));
        let seconds = seconds.as_secs_f64().max(1e-9);
        Ok(Run {
            peer: peer.name.into(),
            load: match load {
                Load::FlatOut => "flat out".into(),
                Load::Percent(percent, _) => format!("{percent} %"),
                Load::Rate(rate) => format!("{rate:.0}/s"),
            },
            delay_ms: delay,
            messages: count,
            seconds,
            rate: most as f64 / seconds,
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            idle_kib: before.resident_kib,
            peak_kib: after.peak_kib,
            latency_ms: rate.map(|rate| latencies(&times, begun, rate.messages_per_second())),
            answers,
        })
    }

    pub(crate) fn messages(&self) -> &Messages {
        self.messages
    }

    /// Until nothing has come for a while.
    fn wait_for_all(&self, program: &mut Program, begun: Mono) {
        let sent_at = self.clock.mono();
        loop {
            let now = self.clock.mono();
            let last = self.sink.last().max(sent_at);
            let is_over = now.since(sent_at) > ARRIVE_TIME || !program.is_running();
            // a program that has not sent anything yet may begin late
            let quiet = if self.sink.last() < begun {
                4 * QUIET
            } else {
                QUIET
            };
            if is_over || now.since(last) > quiet {
                return;
            }
            sleep(LOOK_PAUSE);
        }
    }
}

/// What went wrong, with the last that the program said.
fn failed(peer: &Peer, folder: &Path, what: &str) -> String {
    let told = fs::read_to_string(folder.join(LOG)).unwrap_or_default();
    let mut tail: Vec<&str> = told.lines().rev().take(20).collect();
    tail.reverse();
    format!("{}: {what}: {}", peer.name, tail.join("\n"))
}

/// Quantiles of what passed between the moment at which a message was due and its row in the sink.
fn latencies(times: &[Option<Mono>], begun: Mono, rate: f64) -> [f64; 3] {
    let mut passed: Vec<f64> = times
        .iter()
        .enumerate()
        .filter_map(|(number, time)| {
            let due = number as f64 / rate;
            Some(1e3 * (time.as_ref()?.since(begun).as_secs_f64() - due))
        })
        .collect();
    passed.sort_by(f64::total_cmp);
    [0.5, 0.99, 0.999].map(|quantile| {
        let index = (quantile * passed.len() as f64) as usize;
        passed
            .get(index.min(passed.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    })
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
