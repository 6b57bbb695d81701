//! One connection flat out, on a forwarder with one ingest core and on one with two, in turn: how many
//! messages a second become rows, and how many times as many with two.
//!
//! A rule drops every row once it is written, so that the second core has nothing else to do, and the
//! sender only writes what was made before, in a tenth of the forwarder's processor time. On a machine of
//! two cores they share them, so that two ingest cores cannot come to twice one; threads are bound to no
//! core, with one or with two. Checks that there are as many rows as messages.
//!
//! `cargo bench --bench one_connection`, with these in the environment:
//!
//! | variable | default | |
//! |---|---|---|
//! | `CEFLINE_BENCH_MESSAGES` | 1000000 | messages of a run |
//! | `CEFLINE_BENCH_ROUNDS` | 7 | times that both are run |

#[path = "support/run.rs"]
mod run;

use cefline::clock::Clock;
use cefline::generate::{Generator, GeneratorOptions};
use run::{Result, Run, cpu_seconds, is_test, number};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

const DROP_ALL: &str = "[[filter]]\nname = \"all\"\nwhen = [{ column = \"DeviceVendor\", exists = \
                        true }]\naction = \"drop\"\n";
/// So often are the same messages sent, to take less memory.
const REPEATS: u64 = 10;
/// At once to the kernel.
const WRITE_BYTES: usize = 256 * 1024;

fn main() -> Result<()> {
    let is_test = is_test();
    let messages = number(
        "CEFLINE_BENCH_MESSAGES",
        if is_test { 20_000 } else { 1_000_000 },
    )?;
    let rounds = number("CEFLINE_BENCH_ROUNDS", if is_test { 1 } else { 7 })?;
    let some = made(messages / REPEATS);
    let messages = messages / REPEATS * REPEATS;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let one = flat_out(&some, messages, 1)?;
        let two = flat_out(&some, messages, 2)?;
        times.push(two.rate / one.rate);
        println!(
            "one core {one}; two cores {two}; {:.2} times",
            two.rate / one.rate
        );
    }
    times.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (times.first(), times.last()) {
        let median = times[times.len() / 2];
        println!("two cores: {median:.2} times one (median; {least:.2} to {most:.2})");
    }
    Ok(())
}

/// Generated messages, one a line.
fn made(messages: u64) -> Vec<u8> {
    let mut generator = Generator::new(1, &GeneratorOptions::default());
    let now = Clock::start().wall();
    let mut lines = Vec::new();
    for _ in 0..messages {
        generator.append(now, &mut lines);
        lines.push(b'\n');
    }
    lines
}

/// What a run came to.
struct Figures {
    /// Messages a second.
    rate: f64,
    /// Of the forwarder, for a million.
    cpu_seconds: f64,
    /// Of the sender.
    sender_seconds: f64,
    /// Messages that were left to others in pieces.
    passed: f64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} a second, {:.2} CPU-seconds a million (sender {:.2}), {:.0} passed",
            self.rate, self.cpu_seconds, self.sender_seconds, self.passed
        )
    }
}

fn flat_out(some: &[u8], messages: u64, ingest_cores: usize) -> Result<Figures> {
    let config = format!(
        "[runtime]\ningest_cores = {ingest_cores}\nupload_cores = 1\npin = false\n{DROP_ALL}"
    );
    let run = Run::new("memory", &config, 0)?;
    let before = run.cpu_seconds()?;
    let sender_before = cpu_seconds(std::process::id())?;
    let mut stream = TcpStream::connect(("127.0.0.1", run.port))?;
    let clock = Clock::start();
    let start = clock.mono();
    for _ in 0..REPEATS {
        for piece in some.chunks(WRITE_BYTES) {
            stream.write_all(piece)?;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    // it closes its side when it has taken all
    stream.read_to_end(&mut Vec::new())?;
    let seconds = clock.mono().since(start).as_secs_f64();
    let sender_seconds = cpu_seconds(std::process::id())? - sender_before;
    let dropped = "cefline_rows_filtered_total{action=\"drop\"}";
    run.wait("all rows to be dropped", || {
        Ok(run.metric(dropped)? == messages as f64)
    })?;
    let passed = run.metric("cefline_frames_passed_total")?;
    if ingest_cores == 1 && passed > 0.0 || ingest_cores > 1 && passed == 0.0 && !is_test() {
        return Err(format!("{passed} messages were passed by {ingest_cores} cores").into());
    }
    Ok(Figures {
        rate: messages as f64 / seconds,
        cpu_seconds: (run.cpu_seconds()? - before) * 1e6 / messages as f64,
        sender_seconds: sender_seconds * 1e6 / messages as f64,
        passed,
    })
}
