//! `cefline check`: says what is wrong with a configuration, or what would run by it; with `--live`,
//! what is wrong anywhere between the devices and the table.

mod live;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use live::LiveArgs;

use super::Failure;
use super::config::print;
use crate::config::{
    AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE, AZURE_TENANT_ID, Application, Assigned, Config,
    Durability, FramingChoice, Identity, Io, Loaded, Machine, ManagedIdentity, SandboxMode,
    Sentinel, WhenFull, bytes_text, time_text,
};
use crate::sandbox;

/// Check a configuration; with --live, everything from this machine to the table in Sentinel.
///
/// Without --live no port is opened and nothing is sent.
///
/// Prints every mistake, one a line, as FILE:LINE: KEY = VALUE: what is wrong; what is allowed.
/// If there is none, prints what would run: listeners, destination, cores, the most memory that
/// it may take, and warnings of what is legal but perhaps not meant.
///
/// Also looks at the files that the configuration names, so run it as the user that runs cefline.
/// Exit code 0 if the configuration can be used, 2 if not.
///
/// With --live it goes the way of a message: this machine (kernel, limits, ports, firewall, spool,
/// clock), the network (names, connections, TLS), the token, one probe row to each rule, that row in
/// the table (--workspace), the messages that a cefline on this machine receives, and other agents.
/// Each check has a line: ok, warning, FAILED with whose fault it is and what helps, or skipped, since
/// what it stands on has failed. A running cefline is not disturbed. Exit code 0 if nothing has failed,
/// 2 if the configuration cannot be used, 3 if a check has failed.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration to check; `cefline config` prints one to start from
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Also look at this machine, the network, and Azure; sends one row to each rule
    #[arg(long)]
    pub live: bool,
    /// What only `--live` has.
    #[command(flatten)]
    pub more: LiveArgs,
}

impl CheckArgs {
    /// A check of the file alone.
    #[must_use]
    pub fn of(config: PathBuf) -> Self {
        CheckArgs {
            config,
            live: false,
            more: LiveArgs::default(),
        }
    }
}

/// Checks a configuration and prints what would run.
///
/// # Errors
/// All mistakes in the configuration, with exit code 2.
pub fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    if args.live {
        return live::run(&args.config, &args.more);
    }
    let machine = Machine::read();
    let loaded = Loaded::read(&args.config, &machine).map_err(Failure::usage)?;
    print(&summary(&args.config, &loaded, &machine))
}

/// The endpoints, and the rules at each.
fn destinations(sentinel: &Sentinel) -> Vec<(&str, Vec<&str>)> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for rule in &sentinel.rules {
        let (endpoint, id) = (sentinel.endpoint_of(rule).as_str(), rule.id.as_str());
        match all.iter_mut().find(|(known, _)| *known == endpoint) {
            Some((_, rules)) => rules.push(id),
            None => all.push((endpoint, vec![id])),
        }
    }
    all
}

/// What would run, for people.
fn summary(file: &Path, loaded: &Loaded, machine: &Machine) -> String {
    let config = &loaded.config;
    let mut text = format!("{} can be used\n", file.display());
    let mut line = |name: &str, what: String| {
        // a String takes everything
        let _ = writeln!(text, "  {name:<9}  {what}");
    };
    line("receives", listeners(config));
    for (index, (endpoint, rules)) in destinations(&config.sentinel).into_iter().enumerate() {
        line(
            if index == 0 { "sends to" } else { "and to" },
            endpoint.to_owned(),
        );
        line("by rules", rules.join(", "));
    }
    line("stream", config.sentinel.stream.as_str().to_owned());
    line("identity", identity(config));
    line("cores", cores(config, machine));
    line("spool", spool(config));
    line("memory", memory(config));
    line(
        "metrics",
        match config.metrics.listen {
            Some(address) => format!("http://{address}/metrics"),
            None => "off".into(),
        },
    );
    line("sandbox", confinement(config));
    for warning in loaded.warnings_in(file) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn listeners(config: &Config) -> String {
    let listen = &config.listen;
    let addresses: Vec<String> = listen.tcp.iter().map(ToString::to_string).collect();
    let framing = match listen.framing {
        FramingChoice::Auto => "octet counting or delimited, by connection",
        FramingChoice::OctetCounting => "octet counting",
        FramingChoice::Delimited => "delimited",
    };
    format!(
        "tcp {}: {framing}; frames up to {}, {} connections; by {}",
        addresses.join(", "),
        bytes_text(listen.frame_bytes_max),
        listen.connections_max,
        match listen.io {
            Io::Auto => "io_uring or else epoll",
            Io::Uring => "io_uring",
            Io::Epoll => "epoll",
        }
    )
}

fn identity(config: &Config) -> String {
    match &config.sentinel.identity {
        Identity::ClientSecret(one) => {
            format!(
                "{}, secret in {}",
                application(&one.application),
                one.secret
            )
        }
        Identity::ClientCertificate(one) => format!(
            "{}, certificate in {}",
            application(&one.application),
            one.certificate_file.display()
        ),
        Identity::Workload(one) => {
            let or_of = |value: Option<String>, name| value.unwrap_or(format!("${name}"));
            let file = one
                .token_file
                .as_ref()
                .map(|file| file.display().to_string());
            format!(
                "application {} of tenant {}, by the token in {}, tokens from {}",
                or_of(one.client_id.clone(), AZURE_CLIENT_ID),
                or_of(one.tenant_id.clone(), AZURE_TENANT_ID),
                or_of(file, AZURE_FEDERATED_TOKEN_FILE),
                one.login.authority.as_str()
            )
        }
        Identity::ManagedIdentity(one) => managed(one),
        Identity::AzureArc(one) => format!(
            "this machine's, by the Azure Arc agent at {}",
            one.endpoint.as_str()
        ),
        Identity::Auto(one) => {
            let mut kinds = vec!["a workload's if its token is there".to_owned()];
            let certificate = one.certificate.as_ref().map(|_| "by certificate");
            let secret = one.secret.as_ref().map(|_| "by secret");
            let named = certificate
                .or(secret)
                .zip(config.sentinel.identity.application());
            kinds.extend(named.map(|(how, one)| format!("{} {how}", application(one))));
            kinds.push("Azure Arc's if its agent is there".to_owned());
            kinds.push(managed(&one.managed));
            format!("the first of: {}", kinds.join("; "))
        }
    }
}

fn application(application: &Application) -> String {
    format!(
        "application {} of tenant {}, tokens from {}",
        application.client_id,
        application.tenant_id,
        application.login.authority.as_str()
    )
}

fn managed(managed: &ManagedIdentity) -> String {
    let which = match &managed.assigned {
        Assigned::System => "of its own".to_owned(),
        Assigned::ClientId(id) => format!("with client id {id}"),
        Assigned::ObjectId(id) => format!("with object id {id}"),
        Assigned::ResourceId(id) => id.clone(),
    };
    let endpoint = managed.endpoint.as_str();
    format!("this machine's managed identity {which}, by {endpoint}")
}

fn cores(config: &Config, machine: &Machine) -> String {
    let runtime = &config.runtime;
    let quota = match machine.cores_quota {
        Some(quota) => format!(" (quota: {quota})"),
        None => String::new(),
    };
    format!(
        "{} ingest, {} upload, on {}{quota}; {}; up to {} to stop",
        runtime.ingest_cores,
        runtime.upload_cores,
        machine.cores.len(),
        if runtime.pin { "pinned" } else { "not pinned" },
        time_text(runtime.stop_time_max)
    )
}

fn spool(config: &Config) -> String {
    let spool = &config.spool;
    let survives = match spool.durability {
        Durability::Memory => return "none: what is not uploaded at a stop is lost".into(),
        Durability::Process => "survives the end of the process",
        Durability::Power => "survives the end of the power",
    };
    let when_full = match spool.when_full {
        WhenFull::Backpressure => "senders wait",
        WhenFull::DropOldest => "the oldest are dropped",
    };
    format!(
        "{}: {survives}; up to {}, then {when_full}",
        spool.directory.display(),
        bytes_text(spool.bytes_max)
    )
}

fn memory(config: &Config) -> String {
    let parts = config.memory_bytes_max();
    let mib = |bytes: usize| bytes.div_ceil(1 << 20);
    let sum = parts
        .iter()
        .fold(0_usize, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let named: Vec<String> = parts
        .iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| format!("{name} {}", mib(*bytes)))
        .collect();
    format!(
        "up to {} MiB, besides the program ({})",
        mib(sum),
        named.join(", ")
    )
}

/// What is given up, by what this machine has: each layer is tried, by a thread that ends with it.
fn confinement(config: &Config) -> String {
    let mode = config.sandbox.mode;
    if mode == SandboxMode::Off {
        return "none".into();
    }
    let offered = sandbox::offered();
    let named = |is_wanted: bool| {
        let layers = offered.iter();
        let layers = layers.filter(|(_, standing)| standing.is_ok() == is_wanted);
        let names: Vec<&str> = layers.map(|(layer, _)| layer.name()).collect();
        names.join(", ")
    };
    let missing = match named(false) {
        none if none.is_empty() => none,
        layers => format!("; this machine lacks {layers}"),
    };
    format!("{}: {}{missing}", mode.name(), named(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
[listen]
tcp = ["0.0.0.0:514"]
[sentinel]
endpoint = "https://a.ingest.monitor.azure.com"
rules = ["dcr-0123456789abcdef0123456789abcdef"]
[sentinel.identity]
kind = "client_secret"
tenant_id = "example.onmicrosoft.com"
client_id = "01234567-89ab-cdef-0123-456789abcdef"
"#;

    fn written(folder: &Path, more: &str) -> PathBuf {
        let secret = folder.join("secret");
        std::fs::write(&secret, "not-a-real-secret\n").unwrap();
        let file = folder.join("cefline.toml");
        let text = format!("{SMALL}secret_file = \"{}\"\n{more}", secret.display());
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn a_good_configuration_is_summed_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = written(folder.path(), "[metrics]\nlisten = \"0.0.0.0:9514\"\n");
        let machine = Machine {
            cores: vec![0, 1, 4, 5],
            cores_quota: None,
            host_name: "collector".into(),
        };
        let loaded = Loaded::read(&file, &machine).unwrap();
        let text = summary(&file, &loaded, &machine);
        for part in [
            "cefline.toml can be used\n",
            "receives   tcp 0.0.0.0:514: octet counting or delimited, by connection; frames up to \
             64 KiB, 10000 connections; by io_uring or else epoll\n",
            "sends to   https://a.ingest.monitor.azure.com\n",
            "application 01234567-89ab-cdef-0123-456789abcdef of tenant example.onmicrosoft.com",
            "cores      2 ingest, 2 upload, on 4; pinned; up to 30 s to stop\n",
            "memory     up to 186 MiB",
            "metrics    http://0.0.0.0:9514/metrics\n",
            "sandbox    auto: capabilities, no_new_privs",
            "warning: ",
            "metrics are shown beyond this machine",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("not-a-real-secret"), "{text}");
    }

    #[test]
    fn a_bad_configuration_ends_with_code_2_and_all_of_its_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let file = written(folder.path(), "[batch]\nlinger = 1\ngzip_level = 10\n");
        let failure = run(&CheckArgs::of(file.clone())).unwrap_err();
        assert_eq!(failure.exit_code, 2);
        let lines: Vec<&str> = failure.message.lines().collect();
        assert_eq!(lines.len(), 2, "{failure}");
        let start = format!("{}:13: batch.linger = 1: ", file.display());
        assert!(lines[0].starts_with(&start), "{failure}");
        let start = format!("{}:14: batch.gzip_level = 10: ", file.display());
        assert!(lines[1].starts_with(&start), "{failure}");
    }
}
