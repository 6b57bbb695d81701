//! SIGKILL under load, over and over: what was safe arrives, and the next start is ready at once.
//!
//! A round is a start, traffic over one connection, and a kill at a moment that chance chooses; the
//! next round's start finds what this one has left. In some rounds the service is away, so that what
//! is safe is on the disk alone, for several rounds. A chapter is so many rounds on one spool and
//! against one service; at its end the program runs in peace, and then each row that was reported as
//! safe must be in the table.
//!
//! What comes over one connection from one product is made safe in its order, so the first so many
//! messages of a round are the safe ones.
//!
//! `CEFLINE_KILLS` (20) and `CEFLINE_KILL_SEED`. Run it with `--release` to have it of the program as
//! it is used.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../program/account.rs"]
mod account;
#[path = "../program/http.rs"]
mod http;
#[path = "../program/process.rs"]
#[expect(dead_code, reason = "it is made for more tests than these")]
mod process;
#[path = "../program/table.rs"]
#[expect(dead_code, reason = "it is made for more tests than these")]
mod table;

use account::Account;
use cefline::clock::{Clock, Mono};
use fastrand::Rng;
use process::{EmulatorProcess, Keys, Process, SOON, free_port, until};
use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;
use table::Table;
use tempfile::TempDir;

/// Rounds against one service: what it stores is in memory.
const ROUNDS_A_CHAPTER: u64 = 100;
/// This vendor has one product: rows of different ones do not keep their order among each other.
const VENDOR: &str = "darktrace";
/// Messages a second.
const RATE: u64 = 20_000;
/// A kill comes at the latest so long after the first connection.
const TIME_MOST: Duration = Duration::from_millis(250);
/// What a start may take until the port answers, in 99 of 100. In a debug build on a machine that tests share
/// only that there is an end is asked for.
const READY_TIME: Duration =
    Duration::from_millis(if cfg!(debug_assertions) { 10_000 } else { 300 });
/// Requests in flight, and small bodies, so that many are in every state.
const IN_FLIGHT: u64 = 4;
const KEYS: Keys = Keys {
    listen: "",
    sentinel: "requests_in_flight = 4",
    more: "[spool]\nfree_bytes_min = \"0 B\"\n[runtime]\ningest_cores = 1\nupload_cores = 1\n\
           pin = false\n[batch]\nraw_bytes_max = \"128 KiB\"\nlinger = \"10 ms\"",
};

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap())
}

/// What a round has sent, and how much of it was safe when it was killed.
struct Round {
    seed: u64,
    safe: u64,
}

/// What all chapters came to.
#[derive(Default)]
struct Sums {
    kills: u64,
    safe: u64,
    stored: u64,
    twice: u64,
    in_flight_most: u64,
    ready: Vec<Duration>,
}

#[test]
fn kills_under_load_lose_no_safe_row() {
    let kills = number_of("CEFLINE_KILLS").unwrap_or(20);
    let seed = number_of("CEFLINE_KILL_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("CEFLINE_KILL_SEED={seed}");
    let mut chance = Rng::with_seed(seed);
    let mut sums = Sums::default();
    let clock = Clock::start();
    while sums.kills < kills {
        let rounds = ROUNDS_A_CHAPTER.min(kills - sums.kills);
        Chapter::begin().run(rounds, &mut chance, &mut sums);
        sums.ready.sort();
        let at = |part: usize| sums.ready[(sums.ready.len() - 1) * part / 100];
        println!(
            "{} kills in {} s: {} rows safe when killed, all of them stored; {} rows stored, {} \
             of them twice ({} in flight at most); ready after {:?} (median), {:?} (99 %), {:?} at \
             most",
            sums.kills,
            clock.mono().0 / 1_000_000_000,
            sums.safe,
            sums.stored,
            sums.twice,
            sums.in_flight_most,
            at(50),
            at(99),
            at(100),
        );
    }
    // nothing would have been shown
    assert!(sums.safe > 0);
    let is_late = |time: &&Duration| **time > READY_TIME;
    let late = sums.ready.iter().filter(is_late).count();
    // a machine that does other things as well stands still for a moment now and then
    assert!(late * 100 <= sums.ready.len(), "{late} starts took longer");
    assert!(sums.ready.iter().all(|time| *time <= 10 * READY_TIME));
}

/// One service, one spool.
struct Chapter {
    emulator: EmulatorProcess,
    folder: TempDir,
    config: PathBuf,
    tcp: SocketAddr,
    metrics: SocketAddr,
    rounds: Vec<Round>,
}

/// A running program that answers.
struct Running {
    process: Process,
    ready_after: Duration,
}

impl Chapter {
    fn begin() -> Chapter {
        let emulator = EmulatorProcess::start(&[
            "--minute-bytes",
            "1000000000000",
            "--minute-requests",
            "1000000000",
            "--fault",
            "error_rate=0.02",
            "--fault",
            "reset_rate=0.02",
            "--fault",
            "slow_rate=0.5",
            "--fault",
            "slow_ms=30",
        ]);
        let folder = tempfile::tempdir().unwrap();
        let (tcp, metrics) = (free_port(), free_port());
        let text = KEYS.config(
            &tcp.to_string(),
            &metrics.to_string(),
            &emulator.sentinel,
            folder.path(),
        );
        let config = folder.path().join("cefline.toml");
        fs::write(&config, text).unwrap();
        Chapter {
            emulator,
            folder,
            config,
            tcp,
            metrics,
            rounds: Vec::new(),
        }
    }

    fn run(mut self, rounds: u64, chance: &mut Rng, sums: &mut Sums) {
        let mut is_away = false;
        for _ in 0..rounds {
            // outages that span several kills
            if chance.u32(0..4) == 0 {
                is_away = !is_away;
                let outage = if is_away { "refuse" } else { "none" };
                self.emulator
                    .change_faults(&format!("{{\"outage\":\"{outage}\"}}"));
            }
            self.round(chance, sums);
        }
        self.emulator.change_faults("{\"outage\":\"none\"}");
        let running = self.start();
        let mut process = running.process;
        until("all rows are settled", 2 * SOON, || {
            let account = self.account(&mut process);
            let is_done = account.sum("rows_held") == 0 && account.count("spool_scanning") == 0;
            is_done.then_some(())
        });
        self.check(sums);
        process.signal("KILL");
        process.ended(SOON);
    }

    fn round(&mut self, chance: &mut Rng, sums: &mut Sums) {
        let Running {
            mut process,
            ready_after,
        } = self.start();
        sums.ready.push(ready_after);
        let seed = sums.kills + 1;
        let time = TIME_MOST.mul_f64(chance.f64());
        let mut sender = self.sender(seed);
        let clock = Clock::start();
        let mut safe = 0;
        let end = Mono(0).plus(time);
        until("the moment of the kill", SOON, || {
            let account = self.account(&mut process);
            safe = account.count("rows_spooled_total");
            (clock.mono() >= end).then_some(())
        });
        process.signal("KILL");
        assert_eq!(process.ended(SOON).code, None);
        sender.signal("KILL");
        sender.ended(SOON);
        self.rounds.push(Round { seed, safe });
        sums.kills += 1;
        sums.safe += safe;
    }

    /// Starts the program; gives it once its port answers.
    fn start(&self) -> Running {
        let clock = Clock::start();
        let arguments = ["run", "--config", self.config.to_str().unwrap()];
        let mut process = Process::start(&arguments, self.folder.path());
        let clock_at_ready = until("the port answers", SOON, || {
            assert!(process.is_running(), "{}", process.stderr());
            let connected = TcpStream::connect(self.tcp).is_ok();
            connected.then(|| clock.mono())
        });
        Running {
            process,
            ready_after: Duration::from_nanos(clock_at_ready.0),
        }
    }

    fn sender(&self, seed: u64) -> Process {
        let line = format!(
            "send {} --seed {seed} --vendors {VENDOR} --rate {RATE} --seconds 60 --close-wait 1",
            self.tcp
        );
        let arguments: Vec<&str> = line.split(' ').collect();
        Process::start(&arguments, self.folder.path())
    }

    /// What the program says of itself, which must be true.
    fn account(&self, process: &mut Process) -> Account {
        let answer = until("it answers", SOON, || {
            assert!(process.is_running(), "{}", process.stderr());
            http::get(self.metrics, "/metrics").ok()
        });
        let account = Account::of(&answer.body);
        account.assert_closed();
        account
    }

    /// All that was safe is there, and nothing is there more often than kills and lost answers can
    /// explain.
    fn check(&self, sums: &mut Sums) {
        let mut stored: HashMap<u64, HashMap<u64, u64>> = HashMap::new();
        for round in &self.rounds {
            let _ = stored.entry(round.seed).or_default();
        }
        for (seed, id) in self.stored() {
            *stored.entry(seed).or_default().entry(id).or_default() += 1;
        }
        for Round { seed, safe } in &self.rounds {
            let ids = &stored[seed];
            let missing: Vec<u64> = (0..*safe).filter(|id| !ids.contains_key(id)).collect();
            let some = &missing[..missing.len().min(10)];
            assert!(
                missing.is_empty(),
                "round {seed}: {} of {safe} safe rows are lost: {some:?}",
                missing.len()
            );
            sums.stored += ids.len() as u64;
            sums.twice += ids.values().map(|count| count - 1).sum::<u64>();
        }
        // a body of 128 KiB holds so many rows of this vendor at most
        let in_flight = (IN_FLIGHT + 1) * 160;
        sums.in_flight_most = sums.kills * in_flight;
        assert!(
            sums.twice <= sums.in_flight_most,
            "{} twice, at most {} were in flight",
            sums.twice,
            sums.in_flight_most
        );
    }

    /// Seed and number of each row that is stored. A frame that was cut by the sender's end may have
    /// lost a part of its number and does not count.
    fn stored(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        // an answer has a bound that all rows at once may be past
        (0..=9).flat_map(|digit| {
            let rows = self.emulator.ask(&format!(
                "CommonSecurityLog | where ExtID endswith \"{digit}\" and \
                 not(AdditionalExtensions startswith \"cefline.mark=frame_partial\") | project ExtID"
            ));
            rows.into_iter()
                .filter_map(|row| seed_and_number(row[0].as_str()?))
        })
    }
}

/// What [`cefline::generate::append_id`] makes, back.
fn seed_and_number(id: &str) -> Option<(u64, u64)> {
    let (seed, number) = id.strip_prefix("cf")?.split_once('-')?;
    Some((u64::from_str_radix(seed, 16).ok()?, number.parse().ok()?))
}
