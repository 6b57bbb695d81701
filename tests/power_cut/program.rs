//! The program with its spool on a disk whose power is cut: what it has reported as safe arrives.
//!
//! A round is a start, traffic over one connection, a cut, and a kill. Rounds follow each other on
//! one disk, so each also recovers what the one before has left, and in some the power goes while
//! it does. What comes over one connection from one product is made safe in its order, so the first
//! so many messages of a round are the safe ones.

use crate::disk::Disk;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, Process, SOON, until};
use crate::table::Table;
use cefline::clock::{Clock, Mono};
use fastrand::Rng;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Bytes of a disk for the program: a few segments, and what it leaves free.
const DISK_BYTES: usize = 2 << 30;
/// Rows of different products do not keep their order among each other; this vendor has one product.
const VENDOR: &str = "darktrace";
/// Messages a second: some for one body a commit, and many, for several.
const RATES: [&str; 2] = ["20000", "60000"];
/// A cut under load falls into one of so many requests to the disk.
const REQUESTS_MOST: u64 = 400;
/// One while the program starts, into one of so many; and it comes at the latest after this time.
const START_REQUESTS_MOST: u64 = 20;
const START_TIME: Duration = Duration::from_secs(1);
/// With the power off the program goes on until it has received so many frames more, or so long.
const FRAMES_AFTER: u64 = 1_000;
const TIME_AFTER: Duration = Duration::from_millis(500);

/// One thread of each kind, which keeps the order, and small bodies, so that commits are many. An
/// interrupt at the terminal reaches the programs as well, which then end soon.
const KEYS: Keys = Keys {
    listen: "",
    sentinel: "",
    more: "[spool]\nbytes_max = \"1 GiB\"\nfree_bytes_min = \"0 B\"\n\
           [runtime]\ningest_cores = 1\nupload_cores = 1\npin = false\nstop_time_max = \"1 s\"\n\
           [batch]\nraw_bytes_max = \"128 KiB\"\nlinger = \"50 ms\"",
};

/// A disk, the service, and what has been sent and reported.
pub(crate) struct Life {
    disk: Option<Disk>,
    emulator: EmulatorProcess,
    /// Killed; its configuration is still there.
    last: Option<ForwarderProcess>,
    rounds: Vec<Round>,
}

/// What a round has sent, and how much of it is safe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    seed: u64,
    safe: u64,
    received: u64,
}

impl Life {
    pub(crate) fn begin() -> Life {
        Life {
            disk: Some(Disk::new(DISK_BYTES)),
            emulator: EmulatorProcess::start(&[
                "--minute-bytes",
                "1000000000000",
                "--minute-requests",
                "1000000",
            ]),
            last: None,
            rounds: Vec::new(),
        }
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().unwrap()
    }

    /// Runs the program until the power is cut, kills it, and gives the disk power again.
    pub(crate) fn round(&mut self, chance: &mut Rng) {
        let round = if let Some(last) = self.last.as_ref().filter(|_| chance.u32(0..4) == 0) {
            let is_at_work = self.cut_at_start(&last.config, chance);
            println!("a start, cut while it writes: {is_at_work}");
            None
        } else {
            let (forwarder, round) = run_program_on(self.disk(), &self.emulator, chance);
            self.last = Some(forwarder);
            self.rounds.push(round);
            Some(round)
        };
        let (revived, fate) = self.disk.take().unwrap().revive(chance.u64(..));
        println!("{round:?}, {fate:?}");
        self.disk = Some(revived);
    }

    /// Cuts the power while the program starts and recovers; whether it was writing then.
    fn cut_at_start(&self, config: &Path, chance: &mut Rng) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let disk = self.disk();
        // it writes down what it has delivered, if it can
        if chance.bool() {
            self.emulator.change_faults("{\"outage\":\"none\"}");
        }
        disk.cut_within(chance.u64(1..=START_REQUESTS_MOST));
        let arguments = ["run", "--config", config.to_str().unwrap()];
        let mut program = Process::start(&arguments, folder.path());
        let is_at_work = disk.wait_cut(START_TIME);
        if !is_at_work {
            disk.cut();
        }
        kill(&mut program);
        is_at_work
    }

    /// Runs the program in peace; every safe row must arrive. Gives how many were safe, and how
    /// many that were not have not arrived.
    pub(crate) fn end(mut self) -> (u64, u64) {
        let forwarder = start(self.disk(), &self.emulator);
        let safe = self.rounds.iter().map(|round| round.safe).sum();
        let received: u64 = self.rounds.iter().map(|round| round.received).sum();
        until("all rows are settled", 2 * SOON, || {
            let account = forwarder.account();
            let is_done = account.sum("rows_held") == 0 && account.count("spool_scanning") == 0;
            is_done.then_some(())
        });
        let mut arrived = 0;
        let emulator = &self.emulator;
        self.rounds.retain(|round| {
            let ids = emulator.ids(round.seed);
            arrived += ids.distinct();
            !(0..round.safe).all(|id| ids.has(id))
        });
        let left = &self.rounds;
        for Round { seed, safe, .. } in left {
            let ids = self.emulator.ids(*seed);
            let missing: Vec<u64> = (0..*safe).filter(|id| !ids.has(*id)).collect();
            let some = &missing[..missing.len().min(10)];
            println!(
                "seed {seed}: {} of {safe} safe rows are missing: {some:?}",
                missing.len()
            );
        }
        assert!(left.is_empty(), "safe rows are lost: {left:?}");
        drop(forwarder);
        (safe, received.saturating_sub(arrived))
    }
}

/// Starts the program with its spool on this disk and the service well, sends to it, cuts the power
/// under the load, and kills it. Some of the time the service is away, so that rows are on the disk
/// alone.
pub(crate) fn run_program_on(
    disk: &Disk,
    emulator: &EmulatorProcess,
    chance: &mut Rng,
) -> (ForwarderProcess, Round) {
    let mut forwarder = start(disk, emulator);
    if chance.bool() {
        emulator.change_faults("{\"outage\":\"refuse\"}");
    }
    let seed = chance.u64(..);
    disk.cut_within(chance.u64(1..=REQUESTS_MOST));
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "send",
        &forwarder.tcp.to_string(),
        "--seed",
        &seed.to_string(),
        "--vendors",
        VENDOR,
        "--rate",
        RATES[chance.usize(..RATES.len())],
        "--seconds",
        &SOON.as_secs().to_string(),
        "--close-wait",
        "1",
    ];
    let mut sender = Process::start(&arguments, folder.path());
    let mut round = Round {
        seed,
        safe: 0,
        received: 0,
    };
    let mut look = || {
        let account = forwarder.account();
        round.safe = account.count("rows_spooled_total");
        round.received = account.count("frames_received_total");
        round.received
    };
    let received = until("the power is cut", SOON, || {
        let received = look();
        disk.is_cut().then_some(received)
    });
    // what it reports without power must be true as well
    let clock = Clock::start();
    until("the program has gone on without power", SOON, || {
        let has_gone_on = look() >= received + FRAMES_AFTER;
        (has_gone_on || clock.mono() >= Mono(0).plus(TIME_AFTER)).then_some(())
    });
    kill(&mut forwarder.process);
    kill(&mut sender);
    (forwarder, round)
}

fn start(disk: &Disk, emulator: &EmulatorProcess) -> ForwarderProcess {
    emulator.change_faults("{\"outage\":\"none\"}");
    start_with_spool_on(disk, emulator, KEYS)
}

/// Starts the program with its spool on this disk.
pub(crate) fn start_with_spool_on(
    disk: &Disk,
    emulator: &EmulatorProcess,
    keys: Keys,
) -> ForwarderProcess {
    let spool = disk.root().join("spool");
    ForwarderProcess::start_by(emulator, keys, |arguments, folder| {
        let path = folder.join("cefline.toml");
        let config = fs::read_to_string(&path).unwrap();
        let usual = format!("{:?}", folder.join("spool"));
        assert!(config.contains(&usual), "{config}");
        fs::write(&path, config.replace(&usual, &format!("{spool:?}"))).unwrap();
        Process::start(arguments, folder)
    })
}

/// Kills what cannot resist, and waits for its end.
fn kill(process: &mut Process) {
    process.signal("KILL");
    process.ended(SOON);
}
