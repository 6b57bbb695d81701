//! The way of a message, step by step: gathers the facts of each step, has them judged, and skips
//! what stands on a step that has failed.

mod reach;

use super::gather::{host, ports, running, service, storage};
use super::landing::{self, NoAnswer};
use super::rules::{endpoint_of, name_of, places};
use super::traffic::{self, Look, Seen};
use super::{
    Finding, agent, claims, clock, firewall, ports as port, probe, storage as disk, token,
};
use crate::auth::Permit;
use crate::check;
use crate::client::{Clients, Trust};
use crate::clock::{Clock, Mono};
use crate::compress::PayloadId;
use crate::config::{Config, Identity, Loaded, Machine};
use crate::failure::Failure;
use crate::limits::{CHECK_ASK_PAUSE_FIRST, CHECK_ASK_PAUSE_MOST};
use crate::listen::uring;
use reqwest::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// How to look.
#[derive(Debug, Clone)]
pub struct Options {
    /// For each step in the network.
    pub step_time: Duration,
    /// Between the two looks at a running cefline.
    pub traffic_time: Duration,
    /// The workspace to ask for the row; nothing to leave that out.
    pub workspace: Option<String>,
    /// Base URL of the query API; nothing for that of the endpoint's cloud.
    pub query_url: Option<String>,
    /// How long to wait for the row.
    pub wait: Duration,
}

/// The names of all checks, in their order.
pub const NAMES: [&str; 23] = [
    "configuration",
    "kernel",
    "locked_memory",
    "io_uring",
    "file_descriptors",
    "cores",
    "port",
    "firewall",
    "spool",
    "disk",
    "quarantine",
    "clock",
    "proxy",
    "dns",
    "tcp",
    "tls",
    "clock_skew",
    "token",
    "claims",
    "probe",
    "landing",
    "traffic",
    "duplicates",
];

/// All checks of a configuration that was read from `file`; each is told as soon as it has ended.
///
/// # Errors
/// Nothing that was found: only that looking itself cannot be done.
pub async fn run(
    file: &Path,
    loaded: &Loaded,
    machine: &Machine,
    clock: Clock,
    options: &Options,
    tell: &mut dyn FnMut(Finding),
) -> Result<(), Failure> {
    let mut live = Live {
        config: &loaded.config,
        machine,
        clock,
        options,
        tell,
        failed: BTreeSet::new(),
    };
    live.configuration(file, loaded);
    let first = live.first_look().await;
    live.host(first.is_some());
    live.storage();
    live.service().await?;
    live.traffic(first).await;
    live.tell(agent::judge(&host::agents()));
    Ok(())
}

struct Live<'a> {
    config: &'a Config,
    machine: &'a Machine,
    clock: Clock,
    options: &'a Options,
    tell: &'a mut dyn FnMut(Finding),
    /// Checks that have failed or were skipped, by name and what they are about.
    failed: BTreeSet<(&'static str, String)>,
}

impl Live<'_> {
    fn tell(&mut self, finding: Finding) -> bool {
        let is_ground = finding.is_ground();
        if !is_ground {
            self.failed.insert((finding.name, finding.about.clone()));
        }
        (self.tell)(finding);
        is_ground
    }

    fn configuration(&mut self, file: &Path, loaded: &Loaded) {
        let about = file.display().to_string();
        if loaded.warnings.is_empty() {
            self.tell(Finding::ok("configuration", about, "can be used"));
            return;
        }
        for warning in &loaded.warnings {
            self.tell(super::configuration::warning(&about, warning));
        }
    }

    /// Of a cefline that runs by this configuration.
    async fn first_look(&self) -> Option<(Mono, Look)> {
        let look = running::look(self.config.metrics.listen?).await?;
        Some((self.clock.mono(), look))
    }

    fn host(&mut self, is_running: bool) {
        let (config, machine) = (self.config, self.machine);
        let io = config.listen.io;
        let kernel = self.tell(check::host::kernel(&host::kernel_release(), io));
        let process = match is_running {
            true => running::process(&config.listen.tcp),
            false => None,
        };
        let (memory, descriptors) = host::limits(config, process);
        let ring = memory.is_enough().and_then(|()| uring::ring());
        let memory = self.tell(check::host::locked_memory(&memory, io));
        self.tell(match (kernel, memory) {
            (false, _) => Finding::after("io_uring", "", "kernel"),
            (_, false) => Finding::after("io_uring", "", "locked_memory"),
            (true, true) => check::host::io_uring(ring, io),
        });
        self.tell(check::host::file_descriptors(&descriptors));
        self.tell(check::host::cores(machine, &config.runtime));
        let listeners = config.listen.tcp.iter().map(|at| (*at, "listen.tcp"));
        let metrics = config.metrics.listen.map(|at| (at, "metrics.listen"));
        for (address, key) in listeners.chain(metrics) {
            self.tell(port::judge(&port::Facts {
                address,
                key,
                bound: ports::try_bind(address),
                is_running,
            }));
        }
        for address in &config.listen.tcp {
            self.tell(firewall::judge(*address, &host::firewalls(*address)));
        }
    }

    fn storage(&mut self) {
        let spool = &self.config.spool;
        let facts = storage::facts(spool, self.clock);
        let is_seen = self.tell(disk::spool(spool, &facts));
        let about = spool.directory.display().to_string();
        let has_no_place = matches!(facts.at, disk::At::NoFolder(_) | disk::At::Hidden);
        if is_seen || !has_no_place {
            self.tell(disk::disk(spool, &facts));
            self.tell(disk::quarantine(spool, &facts));
        } else {
            self.tell(Finding::after("disk", about, "spool"));
            self.tell(Finding::after("quarantine", "", "spool"));
        }
        self.tell(clock::synchronised(host::is_synchronised()));
    }

    /// Everything that goes out of this machine.
    async fn service(&mut self) -> Result<(), Failure> {
        let hosts = self.hosts();
        let trust = match Trust::new(&self.config.sentinel) {
            Ok(trust) => trust,
            Err(failure) => {
                self.without_trust(&failure.message, &hosts);
                return Ok(());
            }
        };
        let clients = Clients::new(&trust)?;
        let client = clients.login().clone();
        self.reach(&hosts, &trust).await;
        for host in &hosts {
            let about = host.about();
            let finding = match self.is_open(host) {
                true => {
                    let url = host.url.as_str();
                    let date = service::date(&client, url, self.options.step_time).await;
                    clock::skew(&about, date.as_deref(), self.clock.wall())
                }
                false => Finding::after("clock_skew", about, "tls"),
            };
            self.tell(finding);
        }
        let permit = self.token(&clients).await;
        let probes = self.probes(&client, permit.as_ref()).await?;
        self.landing(&clients, &probes).await;
        Ok(())
    }

    async fn token(&mut self, clients: &Clients) -> Option<Permit> {
        let sentinel = &self.config.sentinel;
        let login = authority(&sentinel.identity).and_then(|_| self.hosts().into_iter().next());
        // a machine's own identity is not asked for at a host that was looked at before
        let about = match &login {
            Some(login) => login.about(),
            None => sentinel.identity.kind().to_owned(),
        };
        if login.is_some_and(|login| !self.is_open(&login)) {
            self.tell(Finding::after("token", about, "tls"));
            self.tell(Finding::after("claims", "", "token"));
            return None;
        }
        let permit = service::token(&sentinel.identity, clients, self.clock).await;
        self.tell(token::judge(&about, permit.as_ref().err().map(|r| &**r)));
        let Ok(permit) = permit else {
            self.tell(Finding::after("claims", "", "token"));
            return None;
        };
        let bearer = permit.header.to_str().unwrap_or_default();
        let read = claims::read(bearer.trim_start_matches("Bearer "));
        let expected = claims::Expected {
            audience: sentinel.audience(),
            tenant: tenant(&sentinel.identity),
        };
        let judged = claims::judge(read.as_ref(), &expected, self.clock.wall());
        let is_good = judged.verdict != super::Verdict::Failed;
        self.tell(judged);
        is_good.then_some(permit)
    }

    /// Sends a row to each rule. Gives the rules that took theirs, with its id and when.
    async fn probes(
        &mut self,
        client: &Client,
        permit: Option<&Permit>,
    ) -> Result<Probes, Failure> {
        let config = self.config;
        let run = PayloadId::random().to_string();
        let collector = &self.config.map.collector_host_name;
        let mut sent = BTreeMap::new();
        for (index, (target, rule, place)) in places(config).enumerate() {
            let is_reached = self.is_open(&endpoint_of(&target, rule));
            let rule = name_of(&target, rule);
            let permit = match (is_reached, permit) {
                (false, _) => {
                    self.tell(Finding::after("probe", rule, "tls"));
                    continue;
                }
                (true, None) => {
                    let earlier = match self.failed.iter().any(|(name, _)| *name == "token") {
                        true => "token",
                        false => "claims",
                    };
                    self.tell(Finding::after("probe", rule, earlier));
                    continue;
                }
                (true, Some(permit)) => permit,
            };
            let id = format!("{run}-{index}");
            let row = probe::row(&id, collector, self.clock.wall());
            let sent_at = self.clock.mono();
            let verdict = service::probe(client, config, place, permit, &row, self.clock).await?;
            let judged = probe::judge(&rule, &target, &verdict);
            if judged.verdict == super::Verdict::Ok {
                sent.insert(id, (rule, sent_at));
            }
            self.tell(judged);
        }
        Ok(Probes { run, sent })
    }

    async fn landing(&mut self, clients: &Clients, probes: &Probes) {
        let Some(workspace) = &self.options.workspace else {
            return;
        };
        let rules = self.rule_names();
        let mut landed = BTreeMap::new();
        let last = match probes.sent.is_empty() {
            true => None,
            false => self.wait_for(clients, workspace, probes, &mut landed).await,
        };
        let asked = landing::Asked {
            workspace,
            wait: self.options.wait,
            landed: &landed,
            last: last.as_ref(),
        };
        for rule in &rules {
            let was_sent = probes.sent.values().any(|(sent, _)| sent == rule);
            self.tell(match was_sent {
                true => landing::judge(rule, &asked),
                false => Finding::skipped("landing", rule, "because no probe was accepted"),
            });
        }
    }

    /// Asks until all rows are there, the time is up, or asking is no use. Gives why the last try had
    /// no answer, if it had none.
    async fn wait_for(
        &self,
        clients: &Clients,
        workspace: &str,
        probes: &Probes,
        landed: &mut BTreeMap<String, Duration>,
    ) -> Option<NoAnswer> {
        let audience = landing::resource(self.config.sentinel.audience());
        let identity = service::for_resource(&self.config.sentinel.identity, audience);
        let permit = match service::token(&identity, clients, self.clock).await {
            Ok(permit) => permit,
            Err(refusal) => return Some(NoAnswer::Token(refusal.to_string())),
        };
        let base = self.options.query_url.as_deref().unwrap_or(audience);
        let query = landing::query(&probes.run);
        let until = self.clock.mono().plus(self.options.wait);
        let mut pause = CHECK_ASK_PAUSE_FIRST;
        loop {
            let time = self.options.step_time;
            let asked =
                service::ask(clients.login(), (base, workspace), &permit, &query, time).await;
            let now = self.clock.mono();
            let last = match asked {
                Ok(ids) => {
                    for id in ids {
                        if let Some((rule, sent_at)) = probes.sent.get(&id) {
                            landed
                                .entry(rule.clone())
                                .or_insert_with(|| now.since(*sent_at));
                        }
                    }
                    None
                }
                Err(error) => Some(error),
            };
            let is_over = last.as_ref().is_some_and(NoAnswer::is_final) || now >= until;
            if is_over || landed.len() == probes.sent.len() {
                return last;
            }
            tokio::time::sleep(pause.min(until.since(now))).await;
            pause = (pause * 2).min(CHECK_ASK_PAUSE_MOST);
        }
    }

    /// The second look at a running cefline.
    async fn traffic(&mut self, first: Option<(Mono, Look)>) {
        let seen = match (self.config.metrics.listen, first) {
            (None, _) => Seen::Off,
            (Some(_), None) => Seen::NotRunning,
            (Some(address), Some((at, first))) => {
                let due = at.plus(self.options.traffic_time);
                tokio::time::sleep(due.since(self.clock.mono())).await;
                match running::look(address).await {
                    Some(second) if second.frames >= first.frames => {
                        Seen::Two(first, second, self.clock.mono().since(at))
                    }
                    _ => Seen::Gone,
                }
            }
        };
        self.tell(traffic::judge(&seen));
    }
}

/// Rows that were accepted.
struct Probes {
    /// What the ids of this run begin with.
    run: String,
    /// Rule and time of sending, by id.
    sent: BTreeMap<String, (String, Mono)>,
}

/// Where tokens are asked for; nothing for identities that the machine itself has.
fn authority(identity: &Identity) -> Option<&crate::config::EndpointUrl> {
    identity.authority()
}

/// The tenant of the configuration.
fn tenant(identity: &Identity) -> Option<&str> {
    Some(&identity.application()?.tenant_id)
}
