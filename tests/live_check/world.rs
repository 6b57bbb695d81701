//! A configuration that is right in every respect, an emulator that it points at, and the program
//! that checks them.

use cefline::clock::Clock;
use cefline::emulator::{self, Emulator, Faults, Options};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cefline");
pub(crate) const WORKSPACE: &str = "33333333-3333-3333-3333-333333333333";

/// Lines of a configuration that tests change.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) listen: String,
    pub(crate) metrics: String,
    pub(crate) endpoint: String,
    pub(crate) authority: String,
    pub(crate) rules: Vec<String>,
    pub(crate) stream: String,
    pub(crate) tenant: String,
    pub(crate) client: String,
    pub(crate) secret: String,
    pub(crate) ca_pem: Option<String>,
    pub(crate) spool: PathBuf,
    /// Further lines, by section.
    pub(crate) listen_more: String,
    pub(crate) sentinel_more: String,
    pub(crate) identity_more: String,
    pub(crate) spool_more: String,
    pub(crate) more: String,
}

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) emulator: Emulator,
    pub(crate) keys: Keys,
    /// What goes in front of the program: `sh -c …`.
    pub(crate) wrapper: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) arguments: Vec<String>,
}

/// A port that nobody has just now, each once, and below those that the kernel gives to whoever
/// connects: no other test can get it in between.
pub(crate) fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + (std::process::id() % 100) as u16 * 100;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 2000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl World {
    pub(crate) fn new() -> World {
        World::with(|_| ())
    }

    pub(crate) fn faulty(change: impl FnOnce(&mut Faults)) -> World {
        World::with(|options| change(&mut options.faults))
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        change(&mut options);
        let emulator = emulator::start(options, Clock::start()).unwrap();
        let options = emulator.options();
        let spool = folder.path().join("spool");
        std::fs::create_dir(&spool).unwrap();
        let keys = Keys {
            listen: free_port().to_string(),
            metrics: free_port().to_string(),
            endpoint: emulator.url(),
            authority: emulator.url(),
            rules: options.rules.clone(),
            stream: options.stream.clone(),
            tenant: options.tenant_id.clone(),
            client: options.client_id.clone(),
            secret: options.client_secret.clone(),
            ca_pem: Some(emulator.ca_pem().to_owned()),
            spool,
            listen_more: "connections_max = 100".into(),
            sentinel_more: String::new(),
            identity_more: String::new(),
            spool_more: "bytes_max = \"512 MiB\"\nfree_bytes_min = \"1 MiB\"".into(),
            more: String::new(),
        };
        World {
            folder,
            emulator,
            keys,
            wrapper: Vec::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Changes the configuration.
    pub(crate) fn keys(mut self, change: impl FnOnce(&mut Keys)) -> World {
        change(&mut self.keys);
        self
    }

    pub(crate) fn arguments(mut self, words: &[&str]) -> World {
        self.arguments
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Also asks the emulator for the row, for so many seconds.
    pub(crate) fn asking(self, wait: &str) -> World {
        let url = self.emulator.url();
        self.arguments(&[
            "--workspace",
            WORKSPACE,
            "--query-url",
            &url,
            "--wait",
            wait,
        ])
    }

    /// A program of that name that the check finds first.
    pub(crate) fn pretending(mut self, name: &str, script: &str) -> World {
        use std::os::unix::fs::PermissionsExt;
        let bin = self.folder.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let file = bin.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        self.environment.retain(|(name, _)| *name != "PATH");
        self.environment
            .push(("PATH", format!("{}:{path}", bin.display())));
        self
    }

    pub(crate) fn configuration(&self) -> String {
        let keys = &self.keys;
        let path = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            path.display().to_string()
        };
        let ca_file = keys.ca_pem.as_ref().map_or_else(String::new, |pem| {
            format!("ca_file = \"{}\"\n", path("ca.pem", pem))
        });
        format!(
            "[listen]\ntcp = [\"{}\"]\n{}\n[metrics]\nlisten = \"{}\"\n[sentinel]\nendpoint = \
             \"{}\"\nrules = {:?}\nstream = \"{}\"\n{ca_file}{}\n[sentinel.identity]\nkind = \
             \"client_secret\"\nauthority = \"{}\"\ntenant_id = \"{}\"\nclient_id = \
             \"{}\"\nsecret_file = \"{}\"\n{}\n[spool]\ndirectory = \"{}\"\n{}\n{}\n",
            keys.listen,
            keys.listen_more,
            keys.metrics,
            keys.endpoint,
            keys.rules,
            keys.stream,
            keys.sentinel_more,
            keys.authority,
            keys.tenant,
            keys.client,
            path("secret", &keys.secret),
            keys.identity_more,
            keys.spool.display(),
            keys.spool_more,
            keys.more,
        )
    }

    pub(crate) fn configuration_file(&self) -> PathBuf {
        let file = self.folder.path().join("cefline.toml");
        std::fs::write(&file, self.configuration()).unwrap();
        file
    }

    /// The command that checks this world.
    pub(crate) fn command(&self) -> Command {
        let file = self.configuration_file();
        let mut words = self.wrapper.clone();
        words.push(PROGRAM.to_owned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["check", "--live", "--json", "--config"])
            .arg(file)
            .args(["--step-time", "2", "--traffic-time", "0.5"])
            .args(&self.arguments)
            .env("RES_OPTIONS", "attempts:1 timeout:1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the check.
    pub(crate) fn check(&self) -> Outcome {
        Outcome::of(self.command(), &self.keys.secret)
    }
}

/// What a check has found.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) checks: Vec<Value>,
    pub(crate) verdict: String,
}

/// Checks see the whole machine: who changes what they see of it holds this alone meanwhile.
pub(crate) static MACHINE: RwLock<()> = RwLock::new(());

impl Outcome {
    pub(crate) fn of(command: Command, secret: &str) -> Outcome {
        // a test that has failed leaves the machine as it was
        let _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Outcome::of_alone(command, secret)
    }

    /// The same for who holds the machine alone.
    pub(crate) fn of_alone(mut command: Command, secret: &str) -> Outcome {
        let output = command.output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            !stdout.contains(secret) && !stderr.contains(secret),
            "{stdout}{stderr}"
        );
        let all: Value = serde_json::from_str(&stdout)
            .unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        Outcome {
            code: output.status.code().unwrap(),
            checks: all["checks"].as_array().unwrap().clone(),
            verdict: all["verdict"].as_str().unwrap().to_owned(),
        }
    }

    /// All findings of that name.
    pub(crate) fn named(&self, name: &str) -> Vec<&Value> {
        self.checks
            .iter()
            .filter(|check| check["name"] == name)
            .collect()
    }

    pub(crate) fn verdict_of(&self, name: &str) -> &str {
        self.named(name)[0]["verdict"].as_str().unwrap()
    }

    /// Names of what is wrong.
    fn wrong(&self) -> BTreeSet<String> {
        self.checks
            .iter()
            .filter(|check| check["verdict"] == "failed" || check["verdict"] == "warning")
            .map(|check| check["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Nothing is wrong but what this machine has by itself.
    pub(crate) fn is_well(&self) -> &Self {
        let more: Vec<String> = self.wrong().difference(usual()).cloned().collect();
        assert!(more.is_empty(), "{more:?} in {self:#?}");
        self
    }

    /// This fault is named, once, with this in its words, and no other.
    pub(crate) fn names(&self, name: &str, verdict: &str, what: &str, remedy: &str) -> &Self {
        let found: Vec<&Value> = self
            .named(name)
            .into_iter()
            .filter(|check| check["verdict"] == verdict)
            .filter(|check| check["what"].as_str().unwrap().contains(what))
            .collect();
        assert_eq!(
            found.len(),
            1,
            "no {verdict} {name} with {what:?} in {self:#?}"
        );
        let told = found[0]["remedy"].as_str().unwrap();
        assert!(told.contains(remedy), "{remedy:?} is not in {told:?}");
        assert!(found[0]["whose"].is_string(), "{:?}", found[0]);
        let mut allowed = usual().clone();
        allowed.insert(name.to_owned());
        let more: Vec<String> = self.wrong().difference(&allowed).cloned().collect();
        assert!(more.is_empty(), "{more:?} beside {name} in {self:#?}");
        let code = match verdict {
            "failed" => 3,
            _ => 0,
        };
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// These stand on what has failed, and were skipped.
    pub(crate) fn skips(&self, names: &[&str]) {
        for name in names {
            let all = self.named(name);
            assert!(!all.is_empty(), "{name} is not there");
            for check in all {
                assert_eq!(check["verdict"], "skipped", "{check}");
                assert!(
                    check["what"].as_str().unwrap().contains("because"),
                    "{check}"
                );
            }
        }
    }
}

/// What this machine has by itself: warnings only, or nothing can be tested here.
pub(crate) fn usual() -> &'static BTreeSet<String> {
    static USUAL: OnceLock<BTreeSet<String>> = OnceLock::new();
    USUAL.get_or_init(|| {
        let outcome = World::new().check();
        assert_eq!(
            outcome.code, 0,
            "this machine has a fault of its own: {outcome:#?}"
        );
        outcome.wrong()
    })
}
