//! cefline beside other programs at the same work: CEF messages over TCP on loopback, header and
//! extension read, JSON, HTTPS to a sink that keeps everything; then every row is held against the
//! message that it came of.
//!
//! ```text
//! benches/compare/install.sh          fetches the programs that Debian and PyPI have
//! cargo bench --bench compare         runs all that are there, and writes results/DATE.{json,md,svg}
//! cargo bench --bench compare -- --readme    the same, and puts the short table into the README
//! cargo bench --bench compare -- --worst     cefline alone: worst cases, connections, memory, latency
//! ```
//!
//! Each program has cores of its own, sender and sink have the others, all programs are run in turn,
//! several times. A program is measured with all of its children, from before the first message until
//! the sink has everything. Latency is from the moment at which a message was due to be sent until its
//! row was in the sink, so that a sender that is held up hides nothing.
//!
//! | variable | default | |
//! |---|---|---|
//! | `CEFLINE_COMPARE_PEERS` | all | names, with commas |
//! | `CEFLINE_COMPARE_CORES` | the first half | cores of the program, as `taskset` writes them |
//! | `CEFLINE_COMPARE_ROUNDS` | 3 | times that each is run flat out, in turn |
//! | `CEFLINE_COMPARE_SECONDS` | 8 | about how long a run takes |
//! | `CEFLINE_COMPARE_MESSAGES` | 600000 | messages of a run at most |
//! | `CEFLINE_COMPARE_LOADS` | 25,50,80 | percent of each one's own rate; latency is measured at these |
//! | `CEFLINE_COMPARE_DELAYS` | 0,80 | milliseconds that the sink takes for an answer |
//! | `CEFLINE_COMPARE_CASES` | all | which of `--worst`: messages, bytes, thin, idle, latency; files are written only of all together |
//! | `CEFLINE_COMPARE_BATCH` | | lines of cefline's `[batch]`, such as `gzip_level = 6` |
//! | `CEFLINE_COMPARE_OUT` | `benches/compare/results` | where results go |
//! | `CEFLINE_PEERS` | `target/peers` | where `install.sh` has put programs |
//! | `CEFLINE_TENZIR`, `CEFLINE_AXOSYSLOG`, `CEFLINE_VECTOR`, `CEFLINE_FLUENT_BIT`, `CEFLINE_OTEL_ARROW` | | paths of programs that are installed elsewhere |

#![expect(clippy::unwrap_used, reason = "a bench that cannot be right ends")]

mod check;
mod messages;
mod peers;
mod process;
#[path = "../../tests/twin/record.rs"]
mod record;
mod report;
#[path = "../../tests/twin/row.rs"]
#[expect(dead_code, reason = "what is counted is looked at by the tests only")]
mod row;
mod run;
mod sink;
#[path = "../../tests/twin/time.rs"]
mod time;
mod worst;

use cefline::clock::Clock;
use messages::Messages;
use peers::{PEERS, Peer};
use report::{Machine, Report};
use run::{Load, Rig, Run, Task};
use std::error::Error;
use std::time::Duration;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Messages that a program gets first, to learn its rate.
const FIRST_MESSAGES: usize = 20_000;
/// Its rate is known once a run takes so long.
const FIRST_SECONDS: f64 = 2.0;
/// Messages that a run has at least.
const MESSAGES_LEAST: usize = 2_000;

pub(crate) fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn numbers(name: &str, default: &str) -> Result<Vec<u64>> {
    let text = variable(name, default);
    let numbers = text.split(',').filter(|word| !word.is_empty());
    Ok(numbers
        .map(|word| word.trim().parse())
        .collect::<std::result::Result<_, _>>()?)
}

pub(crate) fn number(name: &str, default: &str) -> Result<u64> {
    Ok(variable(name, default).parse()?)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let cores = run::Cores::choose()?;
    cores.pin_ourselves()?;
    if has("--worst") {
        return worst::run(&cores, has("--test"));
    }
    compare(&cores, has("--test"), has("--readme"))
}

/// All programs, in turn.
fn compare(cores: &run::Cores, is_test: bool, is_readme: bool) -> Result<()> {
    let clock = Clock::start();
    let most = number(
        "CEFLINE_COMPARE_MESSAGES",
        if is_test { "5000" } else { "600000" },
    )?;
    let rounds = number("CEFLINE_COMPARE_ROUNDS", if is_test { "1" } else { "3" })?;
    let seconds = number("CEFLINE_COMPARE_SECONDS", "8")? as f64;
    let loads = numbers(
        "CEFLINE_COMPARE_LOADS",
        if is_test { "" } else { "25,50,80" },
    )?;
    let delays = numbers("CEFLINE_COMPARE_DELAYS", if is_test { "0" } else { "0,80" })?;
    let messages = Messages::generate(usize::try_from(most)?, clock.wall());
    check::prove(&messages);
    let rig = Rig::new(cores, clock, &messages)?;
    let mut report = Report::new(Machine::read(cores)?, &messages);
    let mut peers: Vec<(&Peer, usize)> = Vec::new();
    for peer in chosen(is_test)? {
        match peer.probe() {
            Ok(version) => report.took_part(peer, version),
            Err(why) => {
                println!("skipped: {}: {why}", peer.name);
                report.left_out(peer, why);
                continue;
            }
        }
        let mut count = FIRST_MESSAGES.min(messages.count());
        let mut first = rig.run(peer, &Task::flat_out(count))?;
        // of a run that is over at once the wait for the last body is most
        while first.seconds < FIRST_SECONDS && count < messages.count() {
            count = (4 * count).min(messages.count());
            first = rig.run(peer, &Task::flat_out(count))?;
        }
        println!("first: {first}");
        let count = (first.rate * seconds) as usize;
        peers.push((
            peer,
            count.clamp(MESSAGES_LEAST.min(messages.count()), messages.count()),
        ));
    }
    for _ in 0..rounds {
        for delay in &delays {
            for (peer, count) in &peers {
                let run = rig.run(peer, &Task::flat_out(*count).answered_after(*delay))?;
                println!("{run}");
                report.add(run);
            }
        }
    }
    for delay in &delays {
        for load in &loads {
            for (peer, _) in &peers {
                let rate = report.rate_of(peer.name, *delay) * *load as f64 / 100.0;
                let count = ((rate * seconds) as usize).clamp(1, messages.count());
                let run = rig.run(
                    peer,
                    &Task::paced(count, Load::Percent(*load, rate)).answered_after(*delay),
                )?;
                println!("{run}");
                report.add(run);
            }
        }
    }
    report.write(is_test)?;
    if is_readme {
        report.write_readme()?;
    }
    Ok(())
}

/// The programs that were asked for.
fn chosen(is_test: bool) -> Result<Vec<&'static Peer>> {
    let names = variable(
        "CEFLINE_COMPARE_PEERS",
        if is_test { "cefline" } else { "" },
    );
    if names.is_empty() {
        return Ok(PEERS.iter().collect());
    }
    let find = |name: &str| {
        let found = PEERS.iter().find(|peer| peer.name == name.trim());
        found.ok_or_else(|| format!("no program is called {name}").into())
    };
    names.split(',').map(find).collect()
}

/// How long nothing must come for everything to have come: longer than any program gathers rows.
pub(crate) const QUIET: Duration = Duration::from_secs(3);

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answers = &self.answers;
        write!(
            f,
            "{:<10} {:<9} sink {:>2} ms: {:>8.0} events/s, {:>7.2} CPU-s/million, {:>5} MiB, {} right, \
             {} nearly, {} wrong, {} missing, {} doubled",
            self.peer,
            self.load,
            self.delay_ms,
            self.rate,
            self.cpu_of_a_million(),
            self.peak_kib.div_ceil(1024),
            answers.right,
            answers.nearly,
            answers.wrong,
            answers.missing,
            answers.doubled,
        )?;
        if let Some([p50, p99, p999]) = self.latency_ms {
            write!(f, "; p50 {p50:.0} ms, p99 {p99:.0} ms, p99.9 {p999:.0} ms")?;
        }
        match &answers.example {
            Some(example) => write!(f, "; wrong, such as {example:.900}"),
            None => Ok(()),
        }
    }
}
