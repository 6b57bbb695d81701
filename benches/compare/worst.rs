//! cefline alone, where it is hardest: odd writes, many connections, odd messages; memory, and latency
//! at half load. Each line has its limit, which is a promise.

use crate::Result;
use crate::messages::{Messages, Shape};
use crate::peers::{PEERS, Peer};
use crate::report::Machine;
use crate::run::{Cores, Load, Rig, Run, Task};
use cefline::clock::Clock;
use cefline::send::Writes;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use std::fs;
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Descriptors for all connections of both sides, and some more.
const DESCRIPTORS: u64 = 25_000;
/// Messages a second on each of the thin connections, if that many can be taken here.
const THIN_RATE: f64 = 20.0;
/// Where it is asked whether idle connections cost processor time.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// What is measured besides the mix of all vendors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Messages,
    Bytes,
    Thin,
    Idle,
    Latency,
}

impl Case {
    /// By the names that `CEFLINE_COMPARE_CASES` takes.
    const ALL: [(Case, &'static str); 5] = [
        (Case::Messages, "messages"),
        (Case::Bytes, "bytes"),
        (Case::Thin, "thin"),
        (Case::Idle, "idle"),
        (Case::Latency, "latency"),
    ];
}

/// One promise, and what was measured.
#[derive(Debug, Serialize)]
struct Line {
    what: String,
    found: f64,
    limit: f64,
    unit: &'static str,
    holds: bool,
    remark: String,
}

#[derive(Serialize)]
struct Results {
    machine: Machine,
    lines: Vec<Line>,
    runs: Vec<Run>,
}

impl Results {
    fn line(&mut self, what: &str, found: f64, limit: f64, unit: &'static str, remark: String) {
        let holds = found <= limit;
        println!(
            "{} {what}: {found:.2} {unit}, limit {limit}; {remark}",
            if holds { "ok  " } else { "FAIL" }
        );
        self.lines.push(Line {
            what: what.into(),
            found,
            limit,
            unit,
            holds,
            remark,
        });
    }

    /// Takes up a run, all of whose rows must be right.
    fn run(&mut self, run: Run) -> Result<Run> {
        println!("     {run}");
        if run.answers.right != run.messages as u64 {
            return Err(format!("not every row is right: {run}").into());
        }
        self.runs.push(run.clone());
        Ok(run)
    }
}

/// Nanoseconds of processor time for a byte of messages.
fn cost_of_a_byte(run: &Run, messages: &Messages) -> f64 {
    1e9 * run.cpu_seconds / messages.bytes(run.messages) as f64
}

pub(crate) fn run(cores: &Cores, is_test: bool) -> Result<()> {
    let cases = chosen()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.min(hard), hard)?;
    let connections = if is_test { 200 } else { 10_000 };
    let most = crate::number(
        "CEFLINE_COMPARE_MESSAGES",
        if is_test { "5000" } else { "600000" },
    )?;
    let clock = Clock::start();
    let messages = Messages::generate(usize::try_from(most)?, clock.wall());
    let rig = Rig::new(cores, clock, &messages)?;
    let cefline = &PEERS[0];
    let mut results = Results {
        machine: Machine::read(cores)?,
        lines: Vec::new(),
        runs: Vec::new(),
    };
    let mix = results.run(rig.run(cefline, &Task::flat_out(messages.count()))?)?;
    let byte = cost_of_a_byte(&mix, &messages);
    memory(&mut results, &mix);
    for case in &cases {
        match case {
            Case::Messages => odd_messages(&mut results, cores, cefline, (&messages, byte))?,
            Case::Bytes => single_bytes(&mut results, &rig, cefline, byte)?,
            Case::Thin => {
                let time_s = if is_test { 1.0 } else { 10.0 };
                let load = (connections, mix.rate, time_s);
                thin(&mut results, cores, cefline, load)?;
            }
            Case::Idle => idle(&mut results, &rig, cefline, connections)?,
            Case::Latency => latency(&mut results, &rig, cefline, mix.rate)?,
        }
    }
    // a part would stand for the whole
    let are_all = Case::ALL.iter().all(|(case, _)| cases.contains(case));
    write(&results, is_test || !are_all)
}

/// The cases that were asked for.
fn chosen() -> Result<Vec<Case>> {
    let all = Case::ALL.map(|(_, name)| name).join(",");
    let find = |word: &str| {
        let found = Case::ALL.iter().find(|(_, name)| *name == word.trim());
        let case = found.map(|(case, _)| *case);
        case.ok_or_else(|| format!("no case is called {word:?}; there are {all}").into())
    };
    let names = crate::variable("CEFLINE_COMPARE_CASES", &all);
    names.split(',').map(find).collect()
}

fn odd_messages(
    results: &mut Results,
    cores: &Cores,
    peer: &Peer,
    (mix, byte): (&Messages, f64),
) -> Result<()> {
    let clock = Clock::start();
    for (shape, what) in Shape::ALL {
        let bytes = mix.bytes(mix.count()) / 4;
        let shaped = Messages::of(shape, shape.count(bytes), clock.wall());
        let rig = Rig::new(cores, clock, &shaped)?;
        let run = results.run(rig.run(peer, &Task::flat_out(shaped.count()))?)?;
        against_mix(results, what, cost_of_a_byte(&run, &shaped), byte);
    }
    Ok(())
}

fn single_bytes(results: &mut Results, rig: &Rig<'_>, peer: &Peer, byte: f64) -> Result<()> {
    let messages = rig.messages();
    let single = Task {
        writes: Writes::OneByte,
        ..Task::flat_out((messages.count() / 60).max(100))
    };
    let run = results.run(rig.run(peer, &single)?)?;
    let what = "writes of one byte";
    against_mix(results, what, cost_of_a_byte(&run, messages), byte);
    Ok(())
}

fn memory(results: &mut Results, mix: &Run) {
    let mib = |kib: u64| kib as f64 / 1024.0;
    let remark = "resident, before the first message".to_owned();
    results.line("memory at idle", mib(mix.idle_kib), 64.0, "MiB", remark);
    let remark = "at most, flat out".to_owned();
    results.line(
        "memory at full load",
        mib(mix.peak_kib),
        256.0,
        "MiB",
        remark,
    );
}

fn against_mix(results: &mut Results, what: &str, found: f64, mix: f64) {
    let remark = format!("{found:.2} ns CPU a byte, the mix {mix:.2}");
    results.line(what, found / mix, 4.0, "times the mix by byte", remark);
}

/// Many connections that say little, against few that say the same together: for ten seconds, so that
/// opening and closing them is as small a part as it is of such connections' lives. It takes messages of
/// its own, since it takes more than the others.
fn thin(
    results: &mut Results,
    cores: &Cores,
    peer: &Peer,
    (many, flat_out, time_s): (usize, f64, f64),
) -> Result<()> {
    let clock = Clock::start();
    let rate = (many as f64 * THIN_RATE).min(flat_out / 2.0);
    let count = ((time_s * rate) as usize).max(1);
    let messages = Messages::generate(count, clock.wall());
    let rig = Rig::new(cores, clock, &messages)?;
    let few = Task::paced(count, Load::Rate(rate));
    let thin = Task {
        connections: NonZeroUsize::new(many).ok_or("no connections")?,
        ..few.clone()
    };
    let few = results.run(rig.run(peer, &few)?)?;
    let thin = results.run(rig.run(peer, &thin)?)?;
    let ratio = thin.cpu_of_a_million() / few.cpu_of_a_million();
    let remark = format!(
        "{:.1} messages/s each, {:.2} CPU-seconds a million; 8 connections at the same rate {:.2}",
        thin.rate / many as f64,
        thin.cpu_of_a_million(),
        few.cpu_of_a_million(),
    );
    let what = format!("{many} thin connections");
    results.line(&what, ratio, 1.3, "times 8 connections by event", remark);
    Ok(())
}

/// Connections that say nothing.
fn idle(results: &mut Results, rig: &Rig<'_>, peer: &Peer, many: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (program, to) = rig.start(peer, "", folder.path())?;
    sleep(IDLE_TIME / 5);
    let without = program.usage();
    sleep(IDLE_TIME);
    let alone = program.usage().cpu_seconds - without.cpu_seconds;
    let streams: Vec<TcpStream> = (0..many)
        .map(|_| TcpStream::connect(to))
        .collect::<std::io::Result<_>>()?;
    sleep(IDLE_TIME / 5);
    let with = program.usage();
    sleep(IDLE_TIME);
    let beside = program.usage().cpu_seconds - with.cpu_seconds;
    drop(streams);
    let percent = |seconds: f64| 100.0 * seconds / IDLE_TIME.as_secs_f64();
    let what = format!("{many} idle connections, processor");
    let remark = format!("{:.2} % with none", percent(alone));
    // a hundredth of a second is the finest that Linux counts
    results.line(&what, percent(beside - alone), 0.2, "% of a core", remark);
    let more = (with.resident_kib as f64 - without.resident_kib as f64) / 1024.0;
    let what = format!("{many} idle connections, memory");
    results.line(&what, more, 40.0, "MiB more", String::new());
    Ok(())
}

/// Half of what it can, one message a write.
fn latency(results: &mut Results, rig: &Rig<'_>, peer: &Peer, flat_out: f64) -> Result<()> {
    let rate = flat_out / 2.0;
    let count = ((10.0 * rate) as usize).clamp(1, rig.messages().count());
    for (linger, limit) in [("1 s", 1050.0), ("100 ms", 150.0)] {
        let task = Task {
            batch: format!("linger = \"{linger}\""),
            ..Task::paced(count, Load::Percent(50, rate))
        };
        let run = results.run(rig.run(peer, &task)?)?;
        let [p50, p99, p999] = run.latency_ms.unwrap_or_default();
        let what = format!("p99 at half load, linger {linger}");
        let remark = format!("p50 {p50:.0} ms, p99.9 {p999:.0} ms, {rate:.0} events/s");
        results.line(&what, p99, limit, "ms", remark);
    }
    Ok(())
}

/// Writes the files, unless it is told only to print.
fn write(results: &Results, only_prints: bool) -> Result<()> {
    if only_prints {
        return Ok(());
    }
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/results");
    let folder = std::env::var("CEFLINE_COMPARE_OUT").map_or(usual, PathBuf::from);
    fs::create_dir_all(&folder)?;
    let mut table = results.machine.line();
    table += "\n\n| | found | limit | | |\n|---|---|---|---|---|\n";
    for line in &results.lines {
        table += &format!(
            "| {} | {:.2} {} | {} | {} | {} |\n",
            line.what,
            line.found,
            line.unit,
            line.limit,
            if line.holds {
                "holds"
            } else {
                "**does not hold**"
            },
            line.remark,
        );
    }
    let file = |ending: &str| folder.join(format!("{}-worst{ending}", results.machine.date()));
    fs::write(file(".json"), serde_json::to_string_pretty(results)? + "\n")?;
    fs::write(file(".md"), &table)?;
    println!("\n{table}\nwritten: {}", file(".{json,md}").display());
    Ok(())
}
