//! The program with its spool on a disk that is full, read-only, or fails, for a while.

use crate::account::Account;
use crate::disk::Disk;
use crate::noise::Noise;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, SOON, until};
use crate::program::start_with_spool_on;
use crate::rights::has_own_mounts;
use crate::table::Table;
use cefline::clock::{Clock, Mono};
use std::time::Duration;

/// Room for some segments.
const DISK_BYTES: usize = 1 << 30;
/// The spool goes on by itself so soon after its disk is well: the longest pause between two tries,
/// and what a busy machine adds.
const RECOVERY_TIME: Duration = Duration::from_secs(20);
/// A sender that sends nothing for so long is held up.
const STILL: Duration = Duration::from_secs(1);
/// Rows that show that they flow.
const ROWS: u64 = 1_000;

/// Little memory, so that it is soon full.
const KEYS: Keys = Keys {
    listen: "connections_max = 100\npartial_bytes_max = \"8 MiB\"",
    sentinel: "",
    more: "[spool]\nbytes_max = \"2 GiB\"\nfree_bytes_min = \"0 B\"\n\
           [runtime]\ningest_cores = 1\nupload_cores = 1\npin = false\n\
           pages_bytes_max = \"16 MiB\"\nstop_time_max = \"1 s\"",
};

/// What is wrong with the disk, and how the program calls it.
struct Trouble {
    begin: fn(&mut Disk),
    end: fn(&mut Disk),
    gauge: &'static str,
    says: &'static str,
}

/// Another program has taken the last byte.
const FULL: Trouble = Trouble {
    begin: Disk::fill,
    end: Disk::clear,
    gauge: "spool_full",
    says: "the spool is full: ",
};

/// It can be read only, and no file be made.
const READ_ONLY: Trouble = Trouble {
    begin: Disk::cover_read_only,
    end: Disk::uncover,
    gauge: "spool_failing",
    says: "the spool cannot be written: Read-only file system",
};

/// Writes and flushes fail.
const FAILING: Trouble = Trouble {
    begin: Disk::fail,
    end: Disk::heal,
    gauge: "spool_failing",
    says: "the spool cannot be written: ",
};

/// The same, and the file system has given up, until the operator mounts it anew.
const GIVEN_UP: Trouble = Trouble {
    begin: Disk::fail,
    end: |disk| {
        disk.heal();
        disk.mount_anew();
    },
    gauge: "spool_failing",
    says: "the spool cannot be written: ",
};

#[test]
fn a_disk_that_another_program_fills_is_named_and_holds_nobody_up_while_the_service_is_well() {
    service_is_well(Disk::new, &FULL);
}

#[test]
fn a_disk_that_can_only_be_read_is_named_and_holds_nobody_up_while_the_service_is_well() {
    service_is_well(Disk::new, &READ_ONLY);
}

#[test]
fn a_disk_that_fails_is_named_and_holds_nobody_up_while_the_service_is_well() {
    service_is_well(Disk::without_journal, &FAILING);
}

#[test]
fn a_file_system_that_gives_up_is_named_and_holds_nobody_up_while_the_service_is_well() {
    service_is_well(Disk::new, &GIVEN_UP);
}

#[test]
fn a_disk_that_another_program_fills_in_an_outage_slows_senders_and_loses_nothing() {
    service_is_away(Disk::new, &FULL);
}

#[test]
fn a_disk_that_can_only_be_read_in_an_outage_slows_senders_and_loses_nothing() {
    service_is_away(Disk::new, &READ_ONLY);
}

#[test]
fn a_disk_that_fails_in_an_outage_slows_senders_and_loses_nothing() {
    service_is_away(Disk::without_journal, &FAILING);
}

#[test]
fn a_file_system_that_gives_up_in_an_outage_slows_senders_and_loses_nothing() {
    service_is_away(Disk::new, &GIVEN_UP);
}

#[test]
fn a_program_that_finds_its_disk_read_only_starts_and_takes_the_spool_when_it_is_not() {
    starts_beside(
        |disk| disk.remount("ro"),
        |disk| disk.remount("rw"),
        &READ_ONLY,
    );
}

#[test]
fn a_program_that_finds_its_disk_full_starts_and_takes_the_spool_when_it_is_not() {
    starts_beside(Disk::fill, Disk::clear, &FULL);
}

/// A disk, the service, the program, and a sender.
struct Scene {
    disk: Disk,
    emulator: EmulatorProcess,
    forwarder: ForwarderProcess,
    noise: Noise,
    seed: u64,
}

fn emulator() -> EmulatorProcess {
    EmulatorProcess::start(&[
        "--minute-bytes",
        "1000000000000",
        "--minute-requests",
        "1000000",
    ])
}

impl Scene {
    /// Rows flow, and some have been made safe.
    fn begin(disk: Disk) -> Scene {
        let emulator = emulator();
        let forwarder = start_with_spool_on(&disk, &emulator, KEYS);
        let seed = 0x0d15;
        let scene = Scene {
            noise: Noise::start(forwarder.tcp, seed),
            disk,
            emulator,
            forwarder,
            seed,
        };
        scene.until("rows are uploaded and made safe", SOON, |account| {
            let counts = ["rows_uploaded_total", "rows_spooled_total"];
            counts.iter().all(|name| account.count(name) > 0)
        });
        scene
    }

    fn until(&self, what: &str, time: Duration, is_so: impl Fn(&Account) -> bool) -> Account {
        until(what, time, || Some(self.forwarder.account()).filter(&is_so))
    }

    fn until_named(&self, trouble: &Trouble) {
        self.until("the trouble is seen", SOON, |account| {
            account.count(trouble.gauge) == 1
        });
        until("the trouble is named", SOON, || {
            let body = self.forwarder.readiness().body;
            body.contains(trouble.says).then_some(())
        });
    }

    fn until_well(&self, trouble: &Trouble) {
        let clock = Clock::start();
        let mut said = String::new();
        until("the spool takes bodies again", RECOVERY_TIME, || {
            let body = self.forwarder.readiness().body;
            if body != said {
                println!("{:?}: {body}", Duration::from_nanos(clock.mono().0));
                said = body;
            }
            (self.forwarder.account().count(trouble.gauge) == 0).then_some(())
        });
        println!("well after {:?}", Duration::from_nanos(clock.mono().0));
    }

    fn until_more(&self, name: &str) {
        let before = self.forwarder.account().count(name);
        self.until(name, SOON, |account| account.count(name) >= before + ROWS);
    }

    /// Waits until the sender is held up.
    fn standstill(&self) {
        let (mut sent, mut since) = (0, Clock::start());
        until("the sender is held up", SOON, || {
            let now = self.noise.sent();
            if now != sent {
                (sent, since) = (now, Clock::start());
            }
            (since.mono() >= Mono(0).plus(STILL)).then_some(())
        });
    }

    /// The sender ends, and all that it has sent is in the table.
    fn end(mut self) {
        let sent = self.noise.end();
        let account = until("all rows are settled", SOON, || {
            let account = self.forwarder.account();
            let is_done =
                account.count("frames_received_total") == sent && account.sum("rows_held") == 0;
            is_done.then_some(account)
        });
        assert_eq!(account.lost(), 0);
        assert_eq!(self.forwarder.readiness().body, "ready\n");
        let ids = self.emulator.ids(self.seed);
        ids.assert_are(0..sent);
        let twice = account.count("rows_maybe_duplicated_total");
        assert!(ids.surplus() <= twice, "{} > {twice}", ids.surplus());
        println!("{sent} rows, {} of them twice", ids.surplus());
        self.forwarder.process.signal("TERM");
        let ended = self.forwarder.process.ended(SOON);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

fn service_is_well(disk: impl Fn(usize) -> Disk, trouble: &Trouble) {
    if !has_own_mounts() {
        return;
    }
    let mut scene = Scene::begin(disk(DISK_BYTES));
    (trouble.begin)(&mut scene.disk);
    scene.until_named(trouble);
    assert_eq!(scene.forwarder.readiness().status, 200);
    scene.until_more("rows_uploaded_total");
    assert_eq!(scene.forwarder.account().count(trouble.gauge), 1);
    (trouble.end)(&mut scene.disk);
    scene.until_well(trouble);
    scene.until_more("rows_spooled_total");
    scene.end();
}

fn service_is_away(disk: impl Fn(usize) -> Disk, trouble: &Trouble) {
    if !has_own_mounts() {
        return;
    }
    let mut scene = Scene::begin(disk(DISK_BYTES));
    scene.emulator.change_faults("{\"outage\":\"refuse\"}");
    (trouble.begin)(&mut scene.disk);
    scene.until_named(trouble);
    scene.standstill();
    let answer = until("that senders wait is said", SOON, || {
        Some(scene.forwarder.readiness()).filter(|answer| answer.status == 503)
    });
    assert!(answer.body.contains(trouble.says), "{answer:?}");
    assert!(answer.body.contains("senders wait"), "{answer:?}");
    (trouble.end)(&mut scene.disk);
    scene.until_well(trouble);
    scene.until_more("rows_spooled_total");
    scene.emulator.change_faults("{\"outage\":\"none\"}");
    scene.end();
}

/// What a run has left on the disk is delivered by the next, which begins while the disk cannot be
/// used.
fn starts_beside(begin: fn(&mut Disk), end: fn(&mut Disk), trouble: &Trouble) {
    if !has_own_mounts() {
        return;
    }
    // a disk that has never been used, and one that holds rows
    for is_used in [false, true] {
        let mut disk = Disk::new(DISK_BYTES);
        let emulator = emulator();
        let seed = 0x01d;
        let mut left = 0;
        if is_used {
            left = leave_rows(&disk, &emulator, seed);
        }
        begin(&mut disk);
        let forwarder = start_with_spool_on(&disk, &emulator, KEYS);
        let scene = Scene {
            noise: Noise::start(forwarder.tcp, 0x0d15),
            disk,
            emulator,
            forwarder,
            seed: 0x0d15,
        };
        let mut scene = scene;
        scene.until_named(trouble);
        scene.until_more("rows_uploaded_total");
        end(&mut scene.disk);
        scene.until_well(trouble);
        scene.until_more("rows_spooled_total");
        let account = scene.until("what was left is delivered", SOON, |account| {
            account.count("rows_recovered_total") == left && account.count("spool_scanning") == 0
        });
        assert_eq!(account.lost(), 0);
        until("all that was left has arrived", SOON, || {
            (scene.emulator.ids(seed).distinct() == left).then_some(())
        });
        scene.end();
    }
}

/// A run in an outage that stops; gives how many rows it leaves.
fn leave_rows(disk: &Disk, emulator: &EmulatorProcess, seed: u64) -> u64 {
    let mut forwarder = start_with_spool_on(disk, emulator, KEYS);
    emulator.change_faults("{\"outage\":\"refuse\"}");
    let noise = Noise::start(forwarder.tcp, seed);
    until("rows are made safe", SOON, || {
        (forwarder.account().count("rows_spooled_total") >= ROWS).then_some(())
    });
    let sent = noise.end();
    forwarder.process.signal("TERM");
    let ended = forwarder.process.ended(SOON);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    emulator.change_faults("{\"outage\":\"none\"}");
    let says = format!("held in spool: {sent} (safe on disk, for the next run)");
    assert!(ended.stdout.contains(&says), "{ended:?}");
    sent
}
