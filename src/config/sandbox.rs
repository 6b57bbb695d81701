//! How much of a sandbox there must be, and which TCP ports a configuration is served at.

use super::{Config, EndpointUrl, Identity};
use std::collections::BTreeSet;

/// What a running program gives up of its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sandbox {
    /// How much of it.
    pub mode: SandboxMode,
}

/// How much of a sandbox there must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxMode {
    /// Every layer that this kernel has.
    Auto,
    /// The same, and the essential ones without fail.
    Require,
    /// None.
    Off,
}

impl SandboxMode {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SandboxMode::Auto => "auto",
            SandboxMode::Require => "require",
            SandboxMode::Off => "off",
        }
    }
}

impl Config {
    /// The TCP ports of all that a program with this configuration talks to, name servers not counted.
    /// Each with the key that names it.
    #[must_use]
    pub fn ports_out(&self) -> BTreeSet<(u16, &'static str)> {
        let sentinel = &self.sentinel;
        let mut ports = BTreeSet::new();
        let mut add = |key, url: &EndpointUrl| ports.insert((url.port(), key));
        for target in self.targets() {
            add("endpoint", target.endpoint);
            for rule in target.rules {
                if let Some(endpoint) = &rule.endpoint {
                    add("endpoint", endpoint);
                }
            }
        }
        if let Some(proxy) = &sentinel.proxy {
            add("sentinel.proxy", &proxy.url);
        }
        if let Some(authority) = sentinel.identity.authority() {
            add("sentinel.identity.authority", authority);
        }
        let (metadata, arc) = match &sentinel.identity {
            Identity::ManagedIdentity(one) => (Some(one), None),
            Identity::AzureArc(one) => (None, Some(one)),
            Identity::Auto(one) => {
                let applications = [
                    one.certificate.as_ref().map(|one| &one.application),
                    one.secret.as_ref().map(|one| &one.application),
                ];
                for application in applications.into_iter().flatten() {
                    add("sentinel.identity.authority", &application.login.authority);
                }
                (Some(&one.managed), Some(&one.arc))
            }
            _ => (None, None),
        };
        if let Some(metadata) = metadata {
            add("sentinel.identity.metadata_endpoint", &metadata.endpoint);
        }
        if let Some(arc) = arc {
            add("sentinel.identity.arc_endpoint", &arc.endpoint);
        }
        ports
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Machine, REFERENCE, parse};

    fn ports(from: &str, to: &str) -> Vec<u16> {
        let machine = Machine {
            cores: vec![0, 1],
            cores_quota: None,
            host_name: "collector".into(),
        };
        assert!(REFERENCE.contains(from), "{from}");
        let config = parse(&REFERENCE.replacen(from, to, 1), &machine).unwrap();
        let mut ports: Vec<u16> = config.ports_out().iter().map(|(port, _)| *port).collect();
        ports.dedup();
        ports
    }

    #[test]
    fn ports_are_those_of_every_place_that_is_named() {
        assert_eq!(ports("", ""), [443]);
        let endpoint = "https://NAME.REGION-1.ingest.monitor.azure.com";
        assert_eq!(ports(endpoint, "http://127.0.0.1:8080"), [443, 8080]);
        assert_eq!(ports(endpoint, "http://[::1]:8080"), [443, 8080]);
        assert_eq!(ports("#proxy = ", "proxy = "), [443, 3128]);
        let of_rule = "[{ id = \"dcr-00000000000000000000000000000000\", endpoint = \
                       \"http://localhost:81\" }]";
        let rules = "[\"dcr-00000000000000000000000000000000\"]";
        assert_eq!(ports(rules, of_rule), [81, 443]);
        let auto = "kind = \"auto\"\n#";
        let mut all = ports("kind = \"client_secret\"", auto);
        all.sort_unstable();
        assert_eq!(all, [80, 443, 40342]);
    }
}
