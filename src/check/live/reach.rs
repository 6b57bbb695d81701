//! The way to the hosts: names, the proxy, connections, TLS.

use super::{Live, authority};
use crate::check::gather::network::Way;
use crate::check::gather::proxy::{Authorization, authorization, tunnel};
use crate::check::gather::{host, network};
use crate::check::network::{self as judge, Host, Shaken};
use crate::check::rules::{endpoint_of, name_of};
use crate::check::{Finding, proxy};
use crate::client::Trust;
use crate::config::{Proxy, Rule, Target};
use std::net::{IpAddr, SocketAddr};

/// The proxy, as it was found.
struct Seen {
    about: String,
    address: SocketAddr,
    authorization: Option<Authorization>,
    /// How each host with TLS was asked for, in their order.
    tunnels: Vec<proxy::Tunnel>,
}

impl Live<'_> {
    /// The login host and the endpoints; each once.
    pub(super) fn hosts(&self) -> Vec<Host> {
        let sentinel = &self.config.sentinel;
        let login = authority(&sentinel.identity).map(|url| Host {
            url: url.clone(),
            key: "sentinel.identity.authority",
        });
        let mut hosts: Vec<Host> = login.into_iter().collect();
        for (target, rule) in self.rules() {
            let endpoint = endpoint_of(&target, rule);
            if !hosts.iter().any(|host| host.url == endpoint.url) {
                hosts.push(endpoint);
            }
        }
        hosts
    }

    /// The rules of all destinations.
    fn rules(&self) -> impl Iterator<Item = (Target<'_>, &Rule)> {
        let targets = self.config.targets();
        targets.flat_map(|target| target.rules.iter().map(move |rule| (target, rule)))
    }

    /// What they are called in findings.
    pub(super) fn rule_names(&self) -> Vec<String> {
        let rules = self.rules();
        rules.map(|(to, rule)| name_of(&to, rule)).collect()
    }

    /// There is nobody to trust, for this reason.
    pub(super) fn without_trust(&mut self, what: &str, hosts: &[Host]) {
        self.tell(judge::no_authority(what));
        self.tell(Finding::after("proxy", "", "tls"));
        for host in hosts {
            for name in ["dns", "tcp", "clock_skew"] {
                self.tell(Finding::after(name, host.about(), "tls"));
            }
        }
        self.tell(Finding::after("token", "", "tls"));
        self.tell(Finding::after("claims", "", "tls"));
        for rule in self.rule_names() {
            self.tell(Finding::after("probe", rule, "tls"));
        }
    }

    /// The way to each host, by the proxy if one is set.
    pub(super) async fn reach(&mut self, hosts: &[Host], trust: &Trust) {
        let proxy = match &self.config.sentinel.proxy {
            Some(proxy) => self.proxy(proxy, hosts).await,
            None => {
                self.tell(proxy::none(&host::proxies_in_environment()));
                None
            }
        };
        let is_proxied = |host: &Host| self.config.sentinel.proxy.is_some() && host.has_tls();
        let (proxied, straight): (Vec<&Host>, Vec<&Host>) =
            hosts.iter().partition(|host| is_proxied(host));
        let mut open = self.straight(&straight).await;
        let tunnels = proxy.as_ref().map(|proxy| proxy.tunnels.as_slice());
        for (index, host) in proxied.into_iter().enumerate() {
            let about = host.about();
            self.tell(Finding::skipped(
                "dns",
                host.name(),
                "the proxy looks it up",
            ));
            let seen = tunnels
                .and_then(|tunnels| tunnels.get(index))
                .zip(proxy.as_ref());
            let Some((tunnel, seen)) = seen else {
                self.tell(Finding::after("tcp", about, "proxy"));
                open.push((host, None));
                continue;
            };
            let seconds = self.options.step_time.as_secs();
            let is_open = self.tell(proxy::tunnel(host, &seen.about, tunnel, seconds));
            let way = Way::Through(seen.address, seen.authorization.as_ref());
            open.push((host, is_open.then_some(way)));
        }
        self.shake(&open, trust).await;
    }

    /// The proxy, and a tunnel through it to each host. Nothing if it cannot be used.
    async fn proxy(&mut self, config: &Proxy, hosts: &[Host]) -> Option<Seen> {
        let time = self.options.step_time;
        let at = Host {
            url: config.url.clone(),
            key: "sentinel.proxy",
        };
        let about = at.about();
        let authorization = match authorization(config) {
            Ok(authorization) => authorization,
            Err(what) => {
                self.tell(proxy::no_password(&about, &what));
                return None;
            }
        };
        let found = network::look_up(&at, time).await;
        let ips: &[IpAddr] = match &found {
            Some(Ok(ips)) => ips,
            _ => &[],
        };
        let (tried, address) = network::connect(ips, at.port(), time).await;
        let mut tunnels = Vec::new();
        if let Some(address) = address {
            for host in hosts.iter().filter(|host| host.has_tls()) {
                let opened = tunnel(host, address, authorization.as_ref(), time).await;
                tunnels.push(opened.err().unwrap_or(proxy::Tunnel::Open));
            }
        }
        let is_good = self.tell(proxy::judge(&proxy::Facts {
            about: &about,
            found: &found,
            tried: &tried,
            tunnels: &tunnels,
            has_user: config.user.is_some(),
            seconds: time.as_secs(),
        }));
        address.filter(|_| is_good).map(|address| Seen {
            about,
            address,
            authorization,
            tunnels,
        })
    }

    /// Names of hosts, and connections to them.
    async fn straight<'h>(&mut self, hosts: &[&'h Host]) -> Vec<(&'h Host, Option<Way<'static>>)> {
        let time = self.options.step_time;
        let mut named: Vec<(&Host, Vec<IpAddr>)> = Vec::new();
        for host in hosts {
            let found = network::look_up(host, time).await;
            self.tell(judge::dns(host, &found));
            named.push((host, found.and_then(Result::ok).unwrap_or_default()));
        }
        let mut open = Vec::new();
        for (host, ips) in named {
            let address = match ips.is_empty() {
                true => {
                    self.tell(Finding::after("tcp", host.about(), "dns"));
                    None
                }
                false => {
                    let (tried, address) = network::connect(&ips, host.port(), time).await;
                    self.tell(judge::tcp(host, &tried, time.as_secs()));
                    address
                }
            };
            open.push((host, address.map(Way::Straight)));
        }
        open
    }

    async fn shake(&mut self, open: &[(&Host, Option<Way<'_>>)], trust: &Trust) {
        let time = self.options.step_time;
        let has_ca_file = self.config.sentinel.ca_file.is_some();
        for (host, way) in open {
            let Some(way) = way else {
                self.tell(Finding::after("tls", host.about(), "tcp"));
                continue;
            };
            let (shaken, names) = match host.has_tls() {
                true => network::shake(host, *way, trust.tls(), time).await,
                false => (Shaken::Yes("none".into()), None),
            };
            self.tell(judge::tls(host, &shaken, names.as_ref(), has_ca_file));
        }
    }

    pub(super) fn is_open(&self, host: &Host) -> bool {
        !self.failed.contains(&("tls", host.about()))
    }
}
