//! Diagnosis: what is wrong between the devices and the table, whose fault it is, and what helps.
//!
//! `cefline check --live` goes the way of a message, once, and says of each step how it stands. A
//! step whose ground is missing is skipped, so that one fault is named once: what follows from it is
//! not a second one.
//!
//! ```text
//! facts (gather, live: sockets, files, /proc)  -->  judgement (all other files, pure)  -->  Finding
//! ```
//!
//! It disturbs nothing: ports are bound for an instant and never listened on, no lock of the spool
//! is touched (`/proc/locks` is read), what is written to a disk has no name there, and one row of
//! some 300 bytes goes to each rule.
//!
//! What Microsoft's troubleshooter for its own agent (`Sentinel_AMA_troubleshoot.py`) checks, and
//! where that is here:
//!
//! | theirs | here |
//! |---|---|
//! | runs as root | not needed; each check says what this user may not see |
//! | agent service active, its version | `traffic`: a running cefline answers at its metrics address |
//! | Arc version | does not apply: nothing needs Arc |
//! | old agent (OMS) not running, port 25226 | `duplicates` |
//! | agent new enough | does not apply: there is one program and one file of settings |
//! | rule exists, has the stream, its content is valid | `probe`: the service itself is asked, by a row |
//! | several rules with one stream (multi-homing) | `duplicates`; several rules of one pool share rows and double none |
//! | syslog daemon present | does not apply: cefline takes syslog itself |
//! | listening on 514 or 6514 | `port` |
//! | forwarding file of the daemon | does not apply: there is no daemon in between |
//! | SELinux not enforcing | does not apply: cefline needs no exception from it |
//! | iptables: policy, rules with 514 | `firewall`, for iptables and nftables |
//! | iptables: rules with 28330 | does not apply, unless that port is in `listen.tcp`: then `firewall` |
//! | disk has 1 GB free | `disk`, by what the spool may take; `quarantine` |
//! | live traffic by tcpdump, with test messages | `traffic`, by what cefline itself has received and understood |
//! | curl to the internet | `dns`, `tcp`, `tls`, `clock_skew` for each host |
//! | facility and level settings | do not apply: cefline takes every message |
//! | collect mode: logs, top, cron | does not apply: `/metrics` and the log of cefline |
//!
//! Beyond theirs: `kernel`, `io_uring`, `locked_memory`, `file_descriptors`, `cores`, `spool`,
//! `clock`, `token`, `claims` and `landing` (the row is in the table).

pub mod agent;
pub mod certificate;
pub mod claims;
pub mod clock;
pub mod configuration;
pub mod firewall;
pub mod gather;
pub mod host;
pub mod landing;
pub mod live;
pub mod network;
pub mod ports;
pub mod probe;
pub mod proxy;
mod rules;
pub mod storage;
pub mod token;
pub mod traffic;

use serde::Serialize;
use std::fmt;

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check; these names stay as they are.
    pub name: &'static str,
    /// Which host, port, rule or folder; empty where there is only one.
    pub about: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen, or what is wrong.
    pub what: String,
    /// Whose fault it is; nothing if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whose: Option<Whose>,
    /// What helps; empty if nothing is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How a check ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may not go on doing so.
    Warning,
    /// It does not work.
    Failed,
    /// Not looked at: an earlier check failed, or this user may not look.
    Skipped,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// The configuration file's, or that of a file it names.
    Configuration,
    /// This machine's setup.
    Machine,
    /// That of the network between here and Azure.
    Network,
    /// That of the setup in Azure: application, role, rule, workspace.
    AzureSetup,
    /// Azure's own.
    Azure,
    /// That of the devices, or of the way from them to here.
    Sources,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        })
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Whose::Configuration => "the configuration",
            Whose::Machine => "this machine",
            Whose::Network => "the network",
            Whose::AzureSetup => "the setup in Azure",
            Whose::Azure => "Azure itself",
            Whose::Sources => "the devices, or the way from them",
        })
    }
}

impl Finding {
    /// All is well.
    pub fn ok(name: &'static str, about: impl Into<String>, what: impl Into<String>) -> Self {
        Finding {
            name,
            about: about.into(),
            verdict: Verdict::Ok,
            what: what.into(),
            whose: None,
            remedy: String::new(),
        }
    }

    /// It works, but.
    pub fn warning(
        name: &'static str,
        about: impl Into<String>,
        whose: Whose,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding {
            verdict: Verdict::Warning,
            whose: Some(whose),
            remedy: remedy.into(),
            ..Finding::ok(name, about, what)
        }
    }

    /// It does not work.
    pub fn failed(
        name: &'static str,
        about: impl Into<String>,
        whose: Whose,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding {
            verdict: Verdict::Failed,
            ..Finding::warning(name, about, whose, what, remedy)
        }
    }

    /// Not looked at, for this reason.
    pub fn skipped(name: &'static str, about: impl Into<String>, why: impl Into<String>) -> Self {
        Finding {
            verdict: Verdict::Skipped,
            ..Finding::ok(name, about, why)
        }
    }

    /// Not looked at, since what it stands on has failed.
    pub fn after(name: &'static str, about: impl Into<String>, earlier: &str) -> Self {
        Finding::skipped(name, about, format!("because {earlier} has failed"))
    }

    /// True unless it failed or was skipped: what stands on it can be looked at.
    #[must_use]
    pub fn is_ground(&self) -> bool {
        matches!(self.verdict, Verdict::Ok | Verdict::Warning)
    }
}

/// The worst of them; all well if there are none.
pub fn worst<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Verdict {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Ok | Verdict::Skipped => 0,
        Verdict::Warning => 1,
        Verdict::Failed => 2,
    };
    let verdicts = findings.into_iter().map(|finding| finding.verdict);
    match verdicts.max_by_key(rank) {
        Some(Verdict::Skipped) | None => Verdict::Ok,
        Some(worst) => worst,
    }
}

impl fmt::Display for Finding {
    /// One line, and below it what helps.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<17} ", self.verdict, self.name)?;
        if !self.about.is_empty() {
            write!(f, "{}: ", self.about)?;
        }
        f.write_str(&self.what)?;
        if let Some(whose) = self.whose {
            write!(f, "\n           fault of  {whose}")?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n           remedy    {}", self.remedy)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_what_helps() {
        let ok = Finding::ok("kernel", "", "Linux 6.1");
        assert_eq!(ok.to_string(), "ok       kernel            Linux 6.1");
        let failed = Finding::failed("dns", "a.example", Whose::Network, "no address", "ask");
        assert_eq!(
            failed.to_string(),
            "FAILED   dns               a.example: no address\n           fault of  the network\n           \
             remedy    ask"
        );
        let json = serde_json::to_string(&failed).unwrap();
        assert_eq!(
            json,
            r#"{"name":"dns","about":"a.example","verdict":"failed","what":"no address","whose":"network","remedy":"ask"}"#
        );
    }

    #[test]
    fn skipped_is_not_worse_than_well() {
        let ok = Finding::ok("a", "", "");
        let skipped = Finding::after("b", "", "a");
        let warning = Finding::warning("c", "", Whose::Machine, "", "");
        let failed = Finding::failed("d", "", Whose::Machine, "", "");
        assert_eq!(worst([]), Verdict::Ok);
        assert_eq!(worst([&skipped]), Verdict::Ok);
        assert_eq!(worst([&warning, &ok, &skipped]), Verdict::Warning);
        assert_eq!(worst([&failed, &warning]), Verdict::Failed);
        assert!(warning.is_ground() && !skipped.is_ground() && !failed.is_ground());
    }
}
