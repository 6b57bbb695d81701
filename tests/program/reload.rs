//! SIGHUP: the configuration is read again and is in force as a whole, or stays as it was as a whole.

use crate::beside_others;
use crate::connections::until_asleep;
use crate::process::{EmulatorProcess, ForwarderProcess, Keys, SOON, until};
use crate::supervisor::Supervisor;
use crate::table::Table;
use cefline::clock::Clock;
use cefline::send::{SendControl, SendOptions, send};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const KEYS: Keys = Keys {
    listen: "connections_max = 100",
    sentinel: "requests_in_flight = 4",
    more: "[batch]\nlinger = \"50 ms\"\n[map]\ncollector_host_name = \"before\"\n[log]\nlevel = \
           \"error\"",
};

/// How often the configuration was read again: to what effect.
fn reloads(forwarder: &ForwarderProcess) -> [u64; 2] {
    let account = forwarder.account();
    ["done", "refused"]
        .map(|result| account.count(&format!("config_reloads_total{{result=\"{result}\"}}")))
}

/// Replaces the configuration in one step, as whoever edits it under our eyes should.
fn replace(config: &Path, text: &str) {
    let new = config.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, config).unwrap();
}

/// Changes the configuration and waits until it has been read again.
fn reload(forwarder: &ForwarderProcess, from: &str, to: &str) -> [u64; 2] {
    let text = fs::read_to_string(&forwarder.config).unwrap();
    assert!(text.contains(from), "{from} is not in\n{text}");
    reload_as(forwarder, &text.replacen(from, to, 1))
}

fn reload_as(forwarder: &ForwarderProcess, text: &str) -> [u64; 2] {
    let before = reloads(forwarder);
    replace(&forwarder.config, text);
    forwarder.process.signal("HUP");
    until("the configuration has been read again", SOON, || {
        Some(reloads(forwarder)).filter(|now| *now != before)
    })
}

/// A connection that stays.
struct Talk(TcpStream);

impl Talk {
    fn to(address: SocketAddr) -> Talk {
        Talk(TcpStream::connect(address).unwrap())
    }

    fn say(&mut self, number: u64) {
        let text = format!("<13>CEF:0|Acme|Talk|1|{number}|said|5|src=192.0.2.1\n");
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Whether the other side has closed it.
    fn is_closed(&mut self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let read = self.0.read(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        !matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// One column of a message's row, once that has arrived.
fn column(emulator: &EmulatorProcess, number: u64, name: &str) -> String {
    let query = format!(
        "CommonSecurityLog | where DeviceProduct == \"Talk\" and DeviceEventClassID == \"{number}\" \
         | project {name}"
    );
    until("a row", SOON, || {
        let rows = emulator.ask(&query);
        Some(rows.first()?[0].as_str().unwrap().to_owned())
    })
}

#[test]
fn a_good_configuration_is_in_force_from_the_next_read_on_and_connections_stay() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let supervisor = Supervisor::start();
    let forwarder = ForwarderProcess::start_by(&emulator, KEYS, |arguments, folder| {
        supervisor.spawn(arguments, folder)
    });
    let mut old = Talk::to(forwarder.tcp);
    old.say(1);
    assert_eq!(column(&emulator, 1, "CollectorHostName"), "before");
    let ready_count = supervisor.count("READY=1");
    // nothing but the next bytes wakes connection and shard then
    until_asleep(&forwarder);
    let text = fs::read_to_string(&forwarder.config).unwrap();
    let text = text
        .replace("\"before\"", "\"after\"")
        .replace("\"error\"", "\"info\"")
        .replace("connections_max = 100", "connections_max = 1");
    assert_eq!(reload_as(&forwarder, &text), [1, 0]);
    old.say(2);
    assert_eq!(column(&emulator, 2, "CollectorHostName"), "after");
    // the limits as well
    let mut new = Talk::to(forwarder.tcp);
    until("one more is too many now", SOON, || {
        new.is_closed().then_some(())
    });
    // and the log, which was silent
    until("the log says it", SOON, || {
        let log = forwarder.process.stderr();
        log.contains("read again and is in force").then_some(())
    });
    // the supervisor was told when it began, on its own clock, and when it was over
    supervisor.until_count("READY=1", ready_count + 1);
    let notices = supervisor.notices();
    let reloading = notices
        .iter()
        .rposition(|notice| notice.starts_with("RELOADING=1\nMONOTONIC_USEC="));
    let ready = notices.iter().rposition(|notice| notice == "READY=1\n");
    assert!(reloading.is_some() && reloading < ready, "{notices:?}");
    assert!(!old.is_closed());
    let account = forwarder.account();
    assert_eq!(account.sum("connections_closed_total"), 0);
    assert_eq!(account.count("connections_accepted_total"), 1);
}

#[test]
fn limits_of_frames_hold_for_the_connections_that_come_later() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let forwarder = ForwarderProcess::start(&emulator, KEYS);
    let long = "x".repeat(10_000);
    let say = |talk: &mut Talk, number: u64| {
        let text = format!("<13>CEF:0|Acme|Talk|1|{number}|said|5|msg={long}\n");
        talk.0.write_all(text.as_bytes()).unwrap();
    };
    let mut old = Talk::to(forwarder.tcp);
    say(&mut old, 1);
    assert_eq!(column(&emulator, 1, "Message"), long);
    let limit = "connections_max = 100\nframe_bytes_max = \"2 KiB\"\npartial_age_max = \"1 s\"";
    assert_eq!(reload(&forwarder, "connections_max = 100", limit), [1, 0]);
    let mut new = Talk::to(forwarder.tcp);
    say(&mut new, 2);
    assert!(column(&emulator, 2, "Message").len() < 2048);
    say(&mut old, 3);
    assert_eq!(column(&emulator, 3, "Message"), long);
    assert_eq!(forwarder.account().count("frames_truncated_total"), 1);
    // how old an unfinished frame may be holds for all
    old.0.write_all(b"<13>CEF:0|unfinished").unwrap();
    until("it is closed", SOON, || old.is_closed().then_some(()));
}

/// What of the configuration becomes what, and what is said of it.
const REFUSED: &[(&str, &str, &str)] = &[
    ("[map]", "[mapp]", "mapp: unknown key; did you mean [map]?"),
    ("[map]", "[map", "not TOML"),
    (
        "connections_max = 100",
        "connections_max = 0",
        "listen.connections_max = 0: out of range",
    ),
    ("endpoint = ", "endpont = ", "sentinel.endpont: unknown key"),
    (
        "secret_file = \"",
        "secret_file = \"/absent",
        "there is no such file",
    ),
    (
        "ca_file = \"",
        "ca_file = \"/absent",
        "there is no such file",
    ),
    (
        "[batch]\n",
        "[batch]\nraw_bytes_max = 900000\n",
        "batch.raw_bytes_max = \"",
    ),
    (
        "tcp = [\"",
        "tcp = [\"127.0.0.1:1\", \"",
        "in the running program; needs a restart",
    ),
    (
        "[metrics]",
        "[runtime]\npages_bytes_max = \"77 MiB\"\n[metrics]",
        "runtime.pages_bytes_max = \"77 MiB\": it is \"",
    ),
    (
        "[metrics]\nlisten = \"",
        "[metrics]\nlisten = \"off\"\n#\"",
        "metrics.listen = \"off\": it is \"127.0.0.1:",
    ),
    (
        "[spool]\n",
        "[spool]\nwhen_full = \"drop_oldest\"\n",
        "spool.when_full = \"drop_oldest\": it is \"backpressure\" in the running program; needs a \
         restart",
    ),
];

#[test]
fn a_configuration_with_a_mistake_changes_nothing_and_is_remarked_until_a_good_one_comes() {
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&[]);
    let forwarder = ForwarderProcess::start(&emulator, KEYS);
    let good = fs::read_to_string(&forwarder.config).unwrap();
    let mut old = Talk::to(forwarder.tcp);
    for ((from, to, says), number) in REFUSED.iter().zip(1..) {
        assert!(good.contains(from), "{from}");
        // each with a change that would be welcome by itself
        let bad = good
            .replacen(from, to, 1)
            .replace("\"before\"", "\"after\"");
        assert_eq!(reload_as(&forwarder, &bad), [0, number], "{to}");
        let readiness = forwarder.readiness();
        assert_eq!(readiness.status, 200, "{readiness:?}");
        let remark = "the configuration file was refused at the last reload: ";
        assert!(readiness.body.contains(remark), "{readiness:?}");
        until("the log says why", SOON, || {
            let log = forwarder.process.stderr();
            let file = forwarder.config.display();
            let is_said = |line: &str| line.contains(says) && line.contains(&format!(" {file}:"));
            log.lines().any(is_said).then_some(())
        });
        old.say(number);
        assert_eq!(column(&emulator, number, "CollectorHostName"), "before");
    }
    // one that is not there at all, or is no file, is refused as well
    let refused_count = REFUSED.len() as u64;
    fs::rename(&forwarder.config, forwarder.config.with_extension("away")).unwrap();
    forwarder.process.signal("HUP");
    until("it is refused", SOON, || {
        (reloads(&forwarder) == [0, refused_count + 1]).then_some(())
    });
    // several at once, all of which are told
    let bad = good
        .replace("[map]", "[map]\nsemicolon = \"x\"\nunparsed = \"y\"")
        .replace("\"error\"", "\"z\"");
    assert_eq!(reload_as(&forwarder, &bad), [0, refused_count + 2]);
    until("all are told", SOON, || {
        let log = forwarder.process.stderr();
        let keys = [
            "map.semicolon = \"x\"",
            "map.unparsed = \"y\"",
            "log.level = \"z\"",
        ];
        keys.iter().all(|key| log.contains(key)).then_some(())
    });
    let better = good.replace("\"before\"", "\"after\"");
    assert_eq!(reload_as(&forwarder, &better), [1, refused_count + 2]);
    assert_eq!(forwarder.readiness().body, "ready\n");
    old.say(1_000);
    assert_eq!(column(&emulator, 1_000, "CollectorHostName"), "after");
    assert_eq!(forwarder.account().count("connections_accepted_total"), 1);
    assert!(!old.is_closed());
}

#[test]
fn a_storm_of_reloads_amid_traffic_does_no_harm() {
    const COUNT: u64 = 20_000;
    const HANGUPS: usize = 100;
    const SEED: u64 = 0x4e17;
    let _machine = beside_others();
    let emulator = EmulatorProcess::start(&["--minute-bytes", "1000000000000"]);
    let mut forwarder = ForwarderProcess::start(&emulator, KEYS);
    let good = fs::read_to_string(&forwarder.config).unwrap();
    let options = SendOptions {
        count: Some(COUNT),
        seed: SEED,
        connections: NonZeroUsize::new(4).unwrap(),
        rate: cefline::send::Rate::per_second(10_000.0),
        ..SendOptions::new(forwarder.tcp)
    };
    let sender =
        thread::spawn(move || send(&options, Clock::start(), &SendControl::default()).unwrap());
    // good ones and bad ones in turn, and always some before the first is done
    for number in 0..HANGUPS {
        let level = ["\"warn\"", "\"loud\"", "\"info\""][number % 3];
        replace(&forwarder.config, &good.replace("\"error\"", level));
        forwarder.process.signal("HUP");
    }
    let sent = sender.join().unwrap();
    assert!(sent.is_clean(), "{sent:?}");
    // hangups that come while one is dealt with may be one; the last is not lost
    let account = until("all has arrived", SOON, || {
        let account = forwarder.settled(SOON);
        (account.count("frames_received_total") == COUNT).then_some(account)
    });
    let [done, refused] = reloads(&forwarder);
    println!("{done} reloads, {refused} refused, of {HANGUPS}");
    assert!(done + refused <= HANGUPS as u64);
    assert_eq!(account.lost(), 0);
    emulator.ids(SEED).assert_are(sent.ids());
    let [last, _] = reload_as(&forwarder, &good);
    assert!(last > 0);
    assert_eq!(forwarder.readiness().body, "ready\n");
    // descriptors do not leak
    let folder = format!("/proc/{}/fd", forwarder.process.id());
    let open = fs::read_dir(folder).unwrap().count();
    assert!(open < 100, "{open} descriptors are open");
    forwarder.process.signal("TERM");
    assert_eq!(
        forwarder.process.ended(Duration::from_secs(60)).code,
        Some(0)
    );
}

#[test]
fn another_destination_takes_what_comes_and_what_waits_and_nothing_is_lost() {
    const SEED: u64 = 0x4e18;
    const ROWS: u64 = 20_000;
    let _machine = beside_others();
    let emulators = [(); 3].map(|()| EmulatorProcess::start(&["--minute-bytes", "1000000000000"]));
    // all are on one address: only their ports tell them apart, and the sandbox keeps to those that
    // were named at the start
    let keys = Keys {
        more: "[batch]\nlinger = \"50 ms\"\n[log]\nlevel = \"error\"\n[sandbox]\nmode = \"off\"",
        ..KEYS
    };
    let forwarder = ForwarderProcess::start(&emulators[0], keys);
    let good = fs::read_to_string(&forwarder.config).unwrap();
    let (before, _) = good.split_once("[sentinel]\n").unwrap();
    let config_for = |emulator: &EmulatorProcess| {
        let keys = format!("[sentinel]\n{}\n", KEYS.sentinel);
        let (_, destination) = emulator.sentinel.split_once("[sentinel]\n").unwrap();
        format!("{before}{keys}{destination}\n")
    };
    let control = Arc::<SendControl>::default();
    let watched = Arc::clone(&control);
    let options = SendOptions {
        seed: SEED,
        connections: NonZeroUsize::new(4).unwrap(),
        ..SendOptions::new(forwarder.tcp)
    };
    let sender = thread::spawn(move || send(&options, Clock::start(), &watched).unwrap());
    let stored = |emulator: &EmulatorProcess| {
        until("rows arrive there", SOON, || {
            (emulator.stat("rows_stored") >= ROWS).then_some(())
        });
    };
    stored(&emulators[0]);
    // from one that is well, and then from one that is away, with rows that wait for it on disk
    assert_eq!(reload_as(&forwarder, &config_for(&emulators[1])), [1, 0]);
    stored(&emulators[1]);
    emulators[1].change_faults("{\"outage\":\"refuse\"}");
    until("rows wait on disk", SOON, || {
        let waiting = forwarder.account().count("rows_held{stage=\"spool\"}");
        (waiting >= ROWS).then_some(())
    });
    assert_eq!(reload_as(&forwarder, &config_for(&emulators[2])), [2, 0]);
    stored(&emulators[2]);
    control.stop.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    assert!(sent.is_clean(), "{sent:?}");
    let account = forwarder.settled(SOON);
    assert_eq!(account.count("frames_received_total"), sent.messages());
    assert_eq!(account.lost(), 0);
    emulators[1].change_faults("{\"outage\":\"none\"}");
    let mut all = emulators[0].ids(SEED);
    for emulator in &emulators[1..] {
        all.add(emulator.ids(SEED));
    }
    all.assert_are(sent.ids());
    let twice = account.count("rows_maybe_duplicated_total");
    assert!(all.surplus() <= twice, "{} > {twice}", all.surplus());
    assert!(!forwarder.readiness().body.contains("refused"));
}
