//! Whether an agent of Microsoft's forwards the same messages: then each row is there twice.

use super::ports::Owner;
use super::{Finding, Whose};

/// What was seen of other forwarders.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Files of the Azure Monitor Agent that are there.
    pub files: Vec<String>,
    /// Who listens on 127.0.0.1:28330, where it takes messages from rsyslog or syslog-ng; nothing if
    /// nobody does, an empty list if only root may see who.
    pub on_28330: Option<Vec<Owner>>,
    /// Who listens on 25226, where the retired agent (OMS) did.
    pub on_25226: Option<Vec<Owner>>,
}

/// Whether rows may be doubled.
#[must_use]
pub fn judge(facts: &Facts) -> Finding {
    const NAME: &str = "duplicates";
    let is_other = |owners: &&Vec<Owner>| owners.iter().all(|owner| owner.name != "cefline");
    let mut signs = facts.files.clone();
    if let Some(owners) = facts.on_28330.as_ref().filter(is_other) {
        signs.push(listens(28330, owners));
    }
    if !signs.is_empty() {
        return Finding::warning(
            NAME,
            "",
            Whose::Machine,
            format!(
                "the Azure Monitor Agent is on this machine ({}): what reaches both is in the table \
                 twice",
                signs.join(", ")
            ),
            "let devices send to one of the two only; once cefline has them all, remove the data \
             collection rule for CEF from this machine, or the agent",
        );
    }
    if let Some(owners) = facts.on_25226.as_ref().filter(is_other) {
        return Finding::warning(
            NAME,
            "",
            Whose::Machine,
            format!(
                "the retired Log Analytics agent may be on this machine ({}): what reaches both is \
                 in the table twice",
                listens(25226, owners)
            ),
            "remove that agent (omsagent); Microsoft has retired it",
        );
    }
    Finding::ok(NAME, "", "no agent of Microsoft's on this machine")
}

fn listens(port: u16, owners: &[Owner]) -> String {
    match owners {
        [] => format!("port {port} is taken"),
        [owner, ..] => format!("{} listens on port {port}", owner.name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn by(name: &str) -> Option<Vec<Owner>> {
        Some(vec![Owner {
            id: 7,
            name: name.into(),
        }])
    }

    #[test]
    fn agents_are_known_by_files_and_ports_and_cefline_is_none() {
        assert_eq!(judge(&Facts::default()).verdict, Verdict::Ok);
        let own = Facts {
            on_28330: by("cefline"),
            ..Facts::default()
        };
        assert_eq!(judge(&own).verdict, Verdict::Ok);
        for (facts, what, remedy) in [
            (
                Facts {
                    files: vec!["/lib/systemd/system/azuremonitoragent.service".into()],
                    ..Facts::default()
                },
                "azuremonitoragent.service",
                "one of the two",
            ),
            (
                Facts {
                    on_28330: by("mdsd"),
                    ..Facts::default()
                },
                "mdsd listens on port 28330",
                "one of the two",
            ),
            (
                Facts {
                    on_28330: Some(vec![]),
                    ..Facts::default()
                },
                "port 28330 is taken",
                "one of the two",
            ),
            (
                Facts {
                    on_25226: by("ruby"),
                    ..Facts::default()
                },
                "ruby listens on port 25226",
                "omsagent",
            ),
        ] {
            let found = judge(&facts);
            assert_eq!(found.verdict, Verdict::Warning);
            assert!(found.what.contains(what), "{found}");
            assert!(found.remedy.contains(remedy), "{found}");
        }
    }
}
