//! PID 1 of the cefline appliance: the boot, from the first mount to the loop that keeps cefline
//! running. To be read from top to bottom.
//!
//! PID 1 never ends. What fails is told on the console, and either the machine goes on with less,
//! which is told too, or it restarts after 10 s: a slot that was not yet good has one try less then,
//! and the boot loader takes the other one when it has none.

use appliance_init::configuration::opening::{has_destination, opening};
use appliance_init::configuration::{self, APPLIANCE_TOML, CEFLINE_TOML, Configuration, Source};
use appliance_init::console::{self, Screen, complain, say};
use appliance_init::disk::{self, Slots};
use appliance_init::firewall::{self, Opening};
use appliance_init::network::{self, Network};
use appliance_init::notify::Mailbox;
use appliance_init::settings::{Settings, in_one_line};
use appliance_init::stop::{self, Ending, Wishes};
use appliance_init::supervise::{self, Errand, Orders};
use appliance_init::{DATA, azure, clock, modules, mounts, report, sysctl, time};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

const MODULES_LIST: &str = "/etc/appliance/modules";
const MODULES_FOLDER: &str = "/usr/lib/modules";
const SYSCTL_LIST: &str = "/etc/appliance/sysctl.list";
const OS_RELEASE: &str = "/etc/os-release";

/// Disks appear some time after their drivers: none has for so long, and the search begins.
const DISKS_QUIET_TIME: Duration = Duration::from_millis(300);
/// A machine without any disk is not waited for longer.
const DISKS_TIME: Duration = Duration::from_secs(3);
/// A check of the data may take two hours; nothing else takes minutes. From then on the watchdog is fed.
const BOOT_TIME: Duration = Duration::from_secs(150 * 60);
/// Azure gives a new machine some 20 minutes to report.
const REPORT_TRIES: u32 = 20;
const REPORT_PAUSE: Duration = Duration::from_secs(30);

const CHECK: Errand = Errand {
    name: "check",
    arguments: &["check", "--live", "--config", "/etc/cefline/cefline.toml"],
};
fn main() {
    if std::process::id() != 1 {
        // the kernel calls us so when the host wishes the machine to stop
        if std::env::args().nth(1).as_deref() == Some("stop")
            && let Err(error) = stop::ask()
        {
            eprintln!("init: the machine cannot be asked to stop: {error}");
        }
        return;
    }
    std::panic::set_hook(Box::new(|fault| {
        stop::give_up(&format!("init has a fault: {fault}"));
    }));
    match boot() {
        Ok(ending) => stop::end(ending),
        Err(error) => stop::give_up(&error.to_string()),
    }
}

fn boot() -> Result<Ending, Box<dyn Error>> {
    // ---- the kernel: file systems, drivers, settings
    let mut wishes = Wishes::open()?;
    let deadline = stop::deadline(BOOT_TIME, || stop::give_up("the boot hangs"));
    let missing = mounts::mount_all()?;
    console::start();
    missing.iter().for_each(complain);
    // IPv6 of an interface takes over what is set when it appears, so once before; what only modules
    // bring is there after
    let sysctls = read(SYSCTL_LIST);
    let _ = sysctl::apply(&sysctls);
    load_modules();
    wishes.listen();
    if let Err(error) = mounts::mount_firmware() {
        complain(error);
    }
    sysctl::apply(&sysctls).iter().for_each(complain);

    // ---- which system this is
    let slots = Slots::find();
    let version = version(&slots);
    say(format_args!("version {version}"));
    if let Err(error) = &slots {
        complain(format_args!("{error}: no updates"));
    }

    // ---- nothing comes in until the configuration says what may
    let is_azure = azure::is_here();
    let closed = Opening {
        metadata: is_azure,
        azure_host: is_azure,
        ..Opening::default()
    };
    firewall::load(&firewall::rules(&closed))?;

    // ---- the data; meanwhile the configuration, if it is at hand, and the network, which another one
    // comes by
    let (data, at_hand, mut update, settings, network) = thread::scope(|scope| {
        let data = scope.spawn(|| prepare_data(&slots));
        wait_for_disks();
        let (on_disk, update) = configuration::from_disks(&mut |error| complain(error));
        // where there is user data, that comes before SMBIOS
        let at_hand = match on_disk {
            None if !is_azure => configuration_from_smbios(),
            on_disk => on_disk,
        };
        let (settings, _) = settings_of(at_hand.as_ref());
        let network = bring_up_network(&settings);
        let data = data
            .join()
            .unwrap_or_else(|_| Err("it could not be prepared".into()));
        (data, at_hand, update, settings, network)
    });
    let network = network?;
    if is_azure {
        report_to_azure();
    }
    let configuration = at_hand.unwrap_or_else(|| configuration_from_afar(is_azure));
    let source = describe(&configuration);
    say(format_args!("configuration from {source}"));
    for what in configuration.left_out() {
        complain(format_args!("left out: {what}"));
    }
    let (final_settings, wrong_settings) = settings_of(Some(&configuration));
    if final_settings.network != settings.network {
        complain("the network settings came by the network, and are not followed");
    }
    let settings = final_settings;

    // ---- an update comes before anything else: it may be for this configuration
    if let (Some(update), Ok(slots)) = (&update, &slots)
        && let Some(ending) = take_update(slots, update)
    {
        return Ok(ending);
    }

    // ---- cefline
    set_host_name(&settings, &network);
    let plan = wrong_settings.map_or_else(|| plan(&configuration, &data), Err);
    let ready = plan.and_then(|cefline| {
        let mut open = opening(&cefline, settings.firewall.senders);
        open.azure_host = is_azure;
        make_ready(&configuration, &open)
    });
    let refusal = ready.err();
    refusal.iter().for_each(complain);
    if let Err(error) = mounts::close() {
        complain(error);
    }
    let mailbox = Mailbox::open(Path::new(supervise::MAILBOX), mounts::CEFLINE)?;
    let is_test = read("/proc/cmdline")
        .split_whitespace()
        .any(|word| word == "cefline.test");
    let data_text = match &data {
        Ok(data) => data.to_string(),
        Err(error) if refusal.is_none() => format!("in memory, since {error}"),
        Err(error) => error.clone(),
    };
    let mut when_ready = |cefline| say(report::text(&report::lines(cefline, &sysctls)));
    let mut when_proven = || {
        let slots = slots.as_ref().ok()?;
        bless(slots);
        // one that waited for this slot to be good
        update.take().and_then(|update| take_update(slots, &update))
    };
    let screen = || Screen {
        version: version.clone(),
        network: network.state().to_string(),
        configuration: source.clone(),
        data: data_text.clone(),
        ..Screen::default()
    };
    let orders = Orders {
        refusal,
        when_ready: &mut when_ready,
        when_proven: &mut when_proven,
        errands: [CHECK].into(),
        screen: &screen,
        is_on_trial: slots.as_ref().is_ok_and(Slots::is_on_trial),
        is_test,
    };
    drop(deadline);
    Ok(supervise::keep(&mailbox, &mut wishes, orders))
}

// ---- the steps

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| {
        complain(format_args!("{path} cannot be read: {error}"));
        String::new()
    })
}

fn load_modules() {
    let machine = modules::Machine::this();
    let report = modules::load(&read(MODULES_LIST), Path::new(MODULES_FOLDER), &machine);
    for (name, error) in &report.failed {
        complain(format_args!("module {name} cannot be loaded: {error}"));
    }
    let (loaded, not_for_us) = (report.loaded, report.not_for_us.join(" "));
    say(format_args!(
        "modules: {loaded} loaded, not for this machine: {not_for_us}"
    ));
    match modules::close() {
        // their memory is of more use now
        Ok(()) => modules::forget(Path::new(MODULES_FOLDER)),
        Err(difference) => complain(format_args!("modules can still be loaded: {difference}")),
    }
}

/// Version and slot of the system, and the kernel's.
fn version(slots: &Result<Slots, disk::Error>) -> String {
    let os_release = read(OS_RELEASE);
    let version = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_ID="));
    let slot = slots.as_ref().ok().and_then(Slots::this);
    let slot = slot.map_or_else(|| "none".to_owned(), |slot| slot.to_string());
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_str().unwrap_or("unknown").to_owned();
    let version = version.unwrap_or("unknown").trim_matches('"');
    format!("{version} slot {slot} kernel {kernel}")
}

fn wait_for_disks() {
    let began_at = clock::since_boot();
    let (mut known, mut changed_at) = (configuration::block_devices(), began_at);
    loop {
        let now = clock::since_boot();
        let is_quiet = now - changed_at >= DISKS_QUIET_TIME && !known.is_empty();
        if is_quiet || now - began_at >= DISKS_TIME {
            return;
        }
        thread::sleep(Duration::from_millis(50));
        let there = configuration::block_devices();
        if there != known {
            (known, changed_at) = (there, clock::since_boot());
        }
    }
}

fn configuration_from_smbios() -> Option<Configuration> {
    configuration::from_smbios().unwrap_or_else(|error| {
        complain(error);
        None
    })
}

/// What needed the network first; else what is built in.
fn configuration_from_afar(is_azure: bool) -> Configuration {
    let from_azure = is_azure.then(configuration_from_azure).flatten();
    let found = from_azure.or_else(|| is_azure.then(configuration_from_smbios).flatten());
    found.unwrap_or_else(configuration::built_in)
}

fn configuration_from_azure() -> Option<Configuration> {
    let document = azure::user_data().unwrap_or_else(|error| {
        complain(format_args!(
            "the user data of this machine cannot be had: {error}"
        ));
        None
    })?;
    configuration::from_document(Source::Azure, &document).map_or_else(
        |error| {
            complain(error);
            None
        },
        Some,
    )
}

/// Our own settings, and what is wrong with them: the network is brought up without them then, but
/// nothing is let in.
fn settings_of(configuration: Option<&Configuration>) -> (Settings, Option<String>) {
    let Some(configuration) = configuration else {
        return (Settings::default(), None);
    };
    let text = configuration
        .text(APPLIANCE_TOML)
        .map_err(|error| error.to_string());
    let settings = text.and_then(|text| Settings::read(text).map_err(|error| error.to_string()));
    match settings {
        Ok(settings) => (settings, None),
        Err(error) => {
            let refusal = format!("cefline is not started: {error}");
            (Settings::default(), Some(refusal))
        }
    }
}

/// The data partition. Without a disk of ours there is nothing to wait for a second time.
fn prepare_data(slots: &Result<Slots, disk::Error>) -> Result<disk::Data, String> {
    let has_system_disk = !matches!(slots, Err(disk::Error::NoSystemDisk(_)));
    let data = disk::Data::prepare(has_system_disk).map_err(|error| error.to_string());
    match &data {
        Ok(data) => say(format_args!("data: {data}")),
        Err(error) => complain(format_args!("data: {error}")),
    }
    data
}

/// The network, and the time that comes by it.
fn bring_up_network(settings: &Settings) -> Result<Network, network::Error> {
    let network = Network::bring_up(&settings.network)?;
    say(format_args!("network {}", network.state()));
    let servers = network.clone();
    if let Err(error) = time::keep(move || servers.state().ntp, |text| say(text)) {
        complain(format_args!("the clock is not kept: {error}"));
    }
    Ok(network)
}

/// A new machine counts as broken if it does not report. The network may come late.
fn report_to_azure() {
    let report = || {
        for _ in 0..REPORT_TRIES {
            match azure::report_ready() {
                Ok(()) => return say("Azure knows that this machine is ready"),
                Err(error) => complain(format_args!("Azure cannot be told: {error}")),
            }
            thread::sleep(REPORT_PAUSE);
        }
    };
    if thread::Builder::new()
        .name("azure".into())
        .spawn(report)
        .is_err()
    {
        complain("Azure cannot be told: no thread for it");
    }
}

fn describe(configuration: &Configuration) -> String {
    let names: Vec<&str> = configuration.files.keys().map(String::as_str).collect();
    format!("{}: {}", configuration.source, names.join(" "))
}

fn set_host_name(settings: &Settings, network: &Network) {
    let name = settings.hostname.clone().or(network.state().hostname);
    if let Err(error) = network::set_hostname(name.as_deref().unwrap_or("cefline")) {
        complain(error);
    }
}

/// cefline's configuration as it is written, or why cefline is not to be started. What is wrong
/// with single keys it says itself.
fn plan(
    configuration: &Configuration,
    data: &Result<disk::Data, String>,
) -> Result<toml::Table, String> {
    let wrong = |what: &str| format!("cefline is not started: {what}");
    let text = configuration
        .text(CEFLINE_TOML)
        .map_err(|error| wrong(&error.to_string()))?;
    let cefline: toml::Table = text
        .parse()
        .map_err(|error| wrong(&format!("{CEFLINE_TOML}: {}", in_one_line(text, &error))))?;
    if !has_destination(&cefline) {
        return Err(format!(
            "no configuration: attach a disk labelled CONFIG with a {CEFLINE_TOML} in its root, and \
             restart"
        ));
    }
    if let Err(error) = data {
        let spool = cefline
            .get("spool")
            .and_then(|spool| spool.get("durability"));
        if spool.and_then(toml::Value::as_str) != Some("memory") {
            return Err(wrong(&format!("it would lose its spool: {error}")));
        }
        // rows are to be lost with the power anyway
        mounts::mount_data_in_memory(DATA).map_err(|error| wrong(&error.to_string()))?;
    }
    Ok(cefline)
}

/// cefline's files, and the firewall. What fails here would fail at each boot, so the machine stays
/// up and says it.
fn make_ready(configuration: &Configuration, open: &Opening) -> Result<(), String> {
    let wrong = |what: &dyn Error| format!("cefline is not started: {what}");
    configuration.install().map_err(|error| wrong(&error))?;
    firewall::load(&firewall::rules(open)).map_err(|error| wrong(&error))
}

fn bless(slots: &Slots) {
    let Some(slot) = slots.this() else { return };
    match slots.bless() {
        Ok(true) => say(format_args!("blessed slot {slot}")),
        Ok(false) => {}
        Err(error) => complain(format_args!("slot {slot} stays on trial: {error}")),
    }
}

/// Puts an update into the other slot. If it was not there, the machine restarts into it.
fn take_update(slots: &Slots, update: &configuration::Update) -> Option<Ending> {
    match slots.update(&update.path()) {
        Ok(done) => {
            say(format_args!("update: {done}"));
            matches!(done, disk::slots::Update::Written { .. }).then_some(Ending::Restart)
        }
        Err(error) => {
            complain(format_args!("update: {error}"));
            None
        }
    }
}
