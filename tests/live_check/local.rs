//! Faults of this machine and of the configuration.

use crate::skip::skipped;
use crate::until::until;
use crate::world::{MACHINE, Outcome, PROGRAM, World, free_port};
use cefline::spool::Lock;
use nix::unistd::geteuid;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, mpsc};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
/// The user and group of nobody, by custom.
const NOBODY: u32 = 65_534;

/// A process that is ended with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn started(mut command: Command) -> Running {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Running(child.unwrap())
}

fn until_open(address: SocketAddr) {
    until(&format!("{address} opens"), SOON, || {
        TcpStream::connect(address).ok().map(drop)
    });
}

#[test]
fn a_configuration_with_mistakes_is_all_that_is_looked_at() {
    let outcome = World::new()
        .keys(|keys| keys.more = "[batch]\nlinger = 1\ngzip_level = 10".into())
        .check();
    assert_eq!(outcome.code, 2);
    let mistakes = outcome.named("configuration");
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(
        mistakes[0]["what"]
            .as_str()
            .unwrap()
            .starts_with("batch.linger = 1: ")
    );
    assert!(
        mistakes[0]["remedy"]
            .as_str()
            .unwrap()
            .contains("allowed: ")
    );
    outcome.skips(&cefline::check::live::NAMES[1..]);
    let outcome = World::new()
        .keys(|keys| keys.sentinel_more = "endpoit = 3".into())
        .check();
    assert_eq!((outcome.code, &*outcome.verdict), (2, "failed"));
}

#[test]
fn a_warning_of_the_configuration_is_one_here() {
    World::new()
        .keys(|keys| keys.more = "[batch]\nraw_bytes_max = \"2 MiB\"".into())
        .check()
        .names(
            "configuration",
            "warning",
            "batch.raw_bytes_max",
            "answers_total",
        );
}

#[test]
fn a_port_that_another_program_has_is_named_with_that_program() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    World::new()
        .keys(|keys| keys.listen = address.to_string())
        .check()
        .names(
            "port",
            "failed",
            &format!("taken by {}", name.trim()),
            "stop that program",
        );
    World::new()
        .keys(|keys| keys.metrics = address.to_string())
        .check()
        .names(
            "port",
            "failed",
            name.trim(),
            "another port in metrics.listen",
        );
}

#[test]
fn an_address_that_is_not_of_this_machine_is_named() {
    World::new()
        .keys(|keys| keys.listen = "192.0.2.1:5514".into())
        .check()
        .names("port", "failed", "no interface", "0.0.0.0:5514");
}

/// Runs the check as nobody, who must be able to reach all of it; nothing where that cannot be.
fn as_nobody(world: &World) -> Option<Outcome> {
    if !geteuid().is_root() {
        skipped("another user can only be played by root");
        return None;
    }
    let folder = world.folder.path();
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.join("cefline");
    // the built one may lie where nobody may go
    if std::fs::hard_link(PROGRAM, &copy).is_err() {
        std::fs::copy(PROGRAM, &copy).unwrap();
    }
    let original = world.command();
    for name in ["secret", "ca.pem"] {
        std::os::unix::fs::chown(folder.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = Command::new(copy);
    command
        .args(original.get_args())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY);
    Some(Outcome::of(command, &world.keys.secret))
}

fn owned_by_nobody(folder: &Path) {
    std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
}

#[test]
fn a_port_below_1024_without_the_right_to_it_is_named() {
    let first: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    if first < 515 {
        skipped("this machine lets everybody open port 514");
        return;
    }
    let world = World::new().keys(|keys| keys.listen = "127.0.0.1:514".into());
    if geteuid().is_root() {
        owned_by_nobody(&world.keys.spool);
    }
    if let Some(outcome) = as_nobody(&world) {
        outcome.names(
            "port",
            "failed",
            "may not open a port below 1024",
            "CAP_NET_BIND_SERVICE",
        );
    }
}

#[test]
fn a_spool_that_cannot_be_written_by_this_user_is_named() {
    let world = World::new();
    std::fs::set_permissions(&world.keys.spool, PermissionsExt::from_mode(0o755)).unwrap();
    if let Some(outcome) = as_nobody(&world) {
        outcome.names(
            "spool",
            "failed",
            "not writable for user",
            "install -d -o cefline",
        );
    }
    let world = World::new();
    std::fs::set_permissions(&world.keys.spool, PermissionsExt::from_mode(0o700)).unwrap();
    if let Some(outcome) = as_nobody(&world) {
        outcome
            .names("spool", "failed", "may not look", "sudo -u cefline")
            .skips(&["disk", "quarantine"]);
    }
}

#[test]
fn a_spool_whose_path_is_a_file_is_named() {
    let world = World::new();
    let file = world.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    world
        .keys(|keys| keys.spool = file.join("spool"))
        .check()
        .names("spool", "failed", "is not a folder", "set spool.directory")
        .skips(&["disk", "quarantine"]);
}

#[test]
fn a_spool_that_is_not_there_yet_is_not_made_by_a_check() {
    let world = World::new();
    let below = world.keys.spool.join("deeper/spool");
    let world = world.keys(|keys| keys.spool = below.clone());
    let outcome = world.check();
    outcome.is_well();
    assert!(
        outcome.named("spool")[0]["what"]
            .as_str()
            .unwrap()
            .contains("will make it")
    );
    assert!(!below.parent().unwrap().exists());
}

#[test]
fn too_little_room_for_the_spool_is_a_fault_or_a_warning() {
    World::new()
        .keys(|keys| {
            keys.spool_more = "bytes_max = \"512 MiB\"\nfree_bytes_min = \"60000 GiB\"".into();
        })
        .check()
        .names(
            "disk",
            "failed",
            "no room for the spool",
            "spool.free_bytes_min",
        );
    World::new()
        .keys(|keys| {
            keys.spool_more = "bytes_max = \"60000 GiB\"\nfree_bytes_min = \"1 MiB\"".into();
        })
        .check()
        .names(
            "disk",
            "warning",
            "spool.bytes_max is 60000 GiB",
            "lower spool.bytes_max",
        );
}

/// Runs the check with a file system of its own over the spool's folder.
fn on_a_mount(options: &str, then: &str) -> Option<Outcome> {
    let mut world = World::new();
    let spool = world.keys.spool.display().to_string();
    let script = format!(
        "mount -t tmpfs -o {options} none {spool} && {then} exec \"$@\"",
        then = then.replace("SPOOL", &spool)
    );
    let words = ["unshare", "-m", "sh", "-c", &script, "sh"];
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("mount -t tmpfs none {spool}")])
        .stderr(Stdio::null())
        .status();
    if !tried.is_ok_and(|status| status.success()) {
        skipped("no right to mount");
        return None;
    }
    world.wrapper = words.map(str::to_owned).to_vec();
    Some(world.check())
}

#[test]
fn a_file_system_that_is_read_only_or_full_is_named() {
    if let Some(outcome) = on_a_mount("ro", "") {
        outcome.names(
            "spool",
            "failed",
            "can only be read",
            "mount it writable again",
        );
    }
    if let Some(outcome) = on_a_mount("size=1m", "dd if=/dev/zero of=SPOOL/x 2>/dev/null;") {
        // both are true, and each has its own line: nothing can be written, and there is no room
        let wrong = |name: &str| outcome.named(name)[0]["verdict"] == "failed";
        assert!(wrong("spool") && wrong("disk"), "{outcome:#?}");
        let what = outcome.named("spool")[0]["what"].as_str().unwrap();
        assert!(what.contains("without any room"), "{what}");
    }
    if let Some(outcome) = on_a_mount("size=2g", "") {
        outcome.names(
            "spool",
            "warning",
            "in memory (tmpfs)",
            "a folder on a disk",
        );
    }
}

#[test]
fn a_lock_that_is_held_is_fine_and_stays() {
    let world = World::new();
    let _lock = Lock::take(&world.keys.spool).unwrap();
    let outcome = world.check();
    outcome.is_well();
    let what = outcome.named("spool")[0]["what"].as_str().unwrap();
    assert!(what.contains("in use by process"), "{what}");
    assert!(Lock::is_taken(&world.keys.spool));
}

#[test]
fn rows_in_quarantine_are_a_warning() {
    let world = World::new();
    let quarantine = world.keys.spool.join("quarantine");
    std::fs::create_dir(&quarantine).unwrap();
    std::fs::write(quarantine.join("1-2-refused.segment"), [0; 4096]).unwrap();
    world.check().names(
        "quarantine",
        "warning",
        "1 files (4.0 KiB)",
        "cefline spool requeue",
    );
}

#[test]
fn limits_that_are_too_low_are_named() {
    let limited = |limit: &str| {
        let mut world = World::new();
        let script = format!("ulimit {limit} && exec \"$@\"");
        world.wrapper = ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
        world
    };
    // by default epoll serves as well
    let outcome = limited("-l 64").check();
    let ring = outcome.named("io_uring")[0];
    assert_eq!(ring["verdict"], "ok", "{ring}");
    assert!(
        ring["what"].as_str().unwrap().contains("epoll is used"),
        "{ring}"
    );
    limited("-l 64")
        .keys(|keys| keys.listen_more = "io = \"uring\"".into())
        .check()
        .names(
            "locked_memory",
            "failed",
            "may lock 64 KiB",
            "LimitMEMLOCK=64M",
        )
        .skips(&["io_uring"]);
    limited("-n 100")
        .keys(|keys| keys.listen_more = "connections_max = 1000".into())
        .check()
        .names(
            "file_descriptors",
            "warning",
            "50 connections are taken",
            "LimitNOFILE=1256",
        );
}

#[test]
fn a_firewall_that_keeps_the_port_closed_is_named_and_one_that_is_unreadable_is_not_guessed_at() {
    const DROPS: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"chain": {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
        {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"accept": null}]}}]}"#;
    let any = |world: World| {
        let port = free_port().port();
        world.keys(|keys| keys.listen = format!("0.0.0.0:{port}"))
    };
    let nft = format!("cat <<'END'\n{DROPS}\nEND");
    any(World::new())
        .pretending("nft", &nft)
        .pretending("iptables-save", "exit 0")
        .check()
        .names(
            "firewall",
            "failed",
            "kept out by nft: the policy of chain inet filter input is drop",
            "accept",
        );
    let world = any(World::new());
    let port = world.keys.listen.rsplit(':').next().unwrap().to_owned();
    world
        .pretending("nft", "echo '{\"nftables\": []}'")
        .pretending(
            "iptables-save",
            &format!("echo '*filter'; echo ':INPUT ACCEPT [0:0]'; echo '-A INPUT -p tcp -m tcp --dport {port} -j REJECT'; echo COMMIT"),
        )
        .check()
        .names("firewall", "failed", "kept out by iptables-save: rule", &format!("--dport {port} -j ACCEPT"));
    let refused = "echo 'Operation not permitted (you must be root)' >&2; exit 1";
    let outcome = any(World::new())
        .pretending("nft", refused)
        .pretending("iptables-save", refused)
        .check();
    outcome.is_well();
    let what = outcome.named("firewall")[0]["what"].as_str().unwrap();
    assert!(
        what.contains("Operation not permitted") && what.contains("as root"),
        "{what}"
    );
    assert_eq!(outcome.verdict_of("firewall"), "skipped");
}

#[test]
fn a_clock_that_nothing_keeps_right_is_a_warning() {
    let outcome = World::new().pretending("timedatectl", "echo yes").check();
    assert_eq!(outcome.verdict_of("clock"), "ok");
    World::new()
        .pretending("timedatectl", "echo no")
        .check()
        .names(
            "clock",
            "warning",
            "nothing keeps it right",
            "timedatectl set-ntp true",
        );
}

#[test]
fn an_agent_beside_cefline_is_a_warning_about_duplicates() {
    let world = World::new();
    let mdsd = world.folder.path().join("mdsd");
    std::os::unix::fs::symlink(PROGRAM, &mdsd).unwrap();
    let agent: SocketAddr = "127.0.0.1:28330".parse().unwrap();
    let alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    if TcpListener::bind(agent).is_err() {
        skipped("somebody has port 28330");
        return;
    }
    let mut command = Command::new(mdsd);
    command
        .args([
            "emulate",
            "--plain",
            "--listen",
            "127.0.0.1:28330",
            "--control",
            "127.0.0.1:0",
        ])
        .current_dir(world.folder.path());
    let played = started(command);
    until_open(agent);
    let outcome = Outcome::of_alone(world.command(), &world.keys.secret);
    drop(played);
    drop(alone);
    outcome.names(
        "duplicates",
        "warning",
        "mdsd listens on port 28330",
        "one of the two only",
    );
}

/// The forwarder itself, by this world's configuration.
fn running(world: &World) -> Running {
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--config"])
        .arg(world.configuration_file());
    let running = started(command);
    until_open(world.keys.listen.parse().unwrap());
    until_open(world.keys.metrics.parse().unwrap());
    running
}

#[test]
fn a_cefline_that_runs_is_known_and_not_disturbed() {
    let world = World::new();
    let forwarder = running(&world);
    let outcome = world.check();
    outcome.names("traffic", "warning", "no message came in", "TCP (not UDP)");
    for port in outcome.named("port") {
        let what = port["what"].as_str().unwrap();
        assert!(
            what.contains(&format!("process {}", forwarder.0.id())),
            "{port}"
        );
    }
    let limits = outcome.named("locked_memory")[0]["what"].as_str().unwrap();
    assert!(limits.contains("the running cefline"), "{limits}");
    let spool = outcome.named("spool")[0]["what"].as_str().unwrap();
    assert!(
        spool.contains(&format!("in use by process {}", forwarder.0.id())),
        "{spool}"
    );
}

/// Sends a message every few milliseconds until it is dropped.
struct Sender {
    _stop: mpsc::SyncSender<()>,
}

impl Sender {
    fn of(to: &str, message: &'static str) -> Sender {
        let (stop, stopped) = mpsc::sync_channel::<()>(0);
        let mut stream = TcpStream::connect(to).unwrap();
        std::thread::spawn(move || {
            let pause = Duration::from_millis(5);
            while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                if stream.write_all(message.as_bytes()).is_err() {
                    return;
                }
            }
        });
        Sender { _stop: stop }
    }
}

#[test]
fn messages_that_come_are_counted_and_those_that_are_no_cef_are_remarked() {
    let world = World::new();
    let _forwarder = running(&world);
    {
        let _sender = Sender::of(
            &world.keys.listen,
            "<134>CEF:0|Acme|Gate|1|100|hello|5|src=192.0.2.1\n",
        );
        let outcome = world.check();
        outcome.is_well();
        assert_eq!(outcome.verdict_of("traffic"), "ok", "{outcome:#?}");
    }
    let _sender = Sender::of(&world.keys.listen, "<134>no cef at all\n");
    world.check().names(
        "traffic",
        "warning",
        "are no CEF",
        "DeviceProduct == \"unparsed\"",
    );
}

#[test]
fn text_for_people_has_a_line_for_each_check_and_what_helps_below() {
    let world = World::new().keys(|keys| keys.secret = "not~the~secret".into());
    let file = world.configuration_file();
    let output = Command::new(PROGRAM)
        .args(["check", "--live", "--step-time", "2", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    for part in [
        "ok       kernel            Linux ",
        "FAILED   token             127.0.0.1:",
        "\n           fault of  the configuration\n           remedy    write the secret's value",
        "skipped  probe             dcr-00000000000000000000000000000000: because token has failed",
        " failed, ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let usage = Command::new(PROGRAM)
        .args(["check", "--json", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2), "--json is for --live only");
}

#[test]
fn programs_that_a_check_runs_get_no_secret_in_their_environment() {
    const CANARY: &str = "c4nary-in-the-coal-mine";
    let mut world = World::new();
    let seen = world.folder.path().join("environment");
    let tells = format!("cat /proc/$$/environ >> {}; echo yes", seen.display());
    for name in ["nft", "iptables-save", "timedatectl"] {
        world = world.pretending(name, &tells);
    }
    world.environment.push(("CEFLINE_CANARY", CANARY.into()));
    world.check();
    let seen = std::fs::read(&seen).unwrap();
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.contains("PATH="), "a program was run: {seen:?}");
    assert!(!seen.contains(CANARY), "{seen:?}");
}
