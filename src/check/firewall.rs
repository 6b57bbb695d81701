//! Whether a firewall of this machine lets messages in: the rules are read and walked, never tried.
//!
//! nftables and iptables are read into one model: chains of rules, each with how it matches *the
//! packet that opens a connection to the port*. Sources and interfaces are not known, so a match is
//! yes, no or maybe; walking with all three tells a port that is open, one that is open to some, and
//! one that is closed to all. Only the last is a fault: rules for some sources are what a good
//! firewall has.

pub mod iptables;
pub mod nft;

use super::{Finding, Whose};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Chains that jump to each other are followed so deep; the kernel itself stops at 16 jumps.
const DEPTH_MAX: usize = 16;

/// The packet that opens a connection to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// To this port.
    pub port: u16,
    /// Over IPv6.
    pub is_ipv6: bool,
    /// From this machine itself.
    pub is_loopback: bool,
}

impl Packet {
    /// That which a device sends to an address.
    #[must_use]
    pub fn to(address: SocketAddr) -> Self {
        Packet {
            port: address.port(),
            is_ipv6: address.is_ipv6(),
            is_loopback: address.ip().is_loopback(),
        }
    }
}

/// Whether something holds for the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// It does not.
    No,
    /// For some sources, interfaces or times.
    Maybe,
    /// It does.
    Yes,
}

impl Truth {
    /// Both hold.
    #[must_use]
    pub fn and(self, other: Truth) -> Truth {
        self.min(other)
    }

    /// The opposite.
    #[must_use]
    pub fn opposite(self) -> Truth {
        match self {
            Truth::No => Truth::Yes,
            Truth::Maybe => Truth::Maybe,
            Truth::Yes => Truth::No,
        }
    }
}

impl From<bool> for Truth {
    fn from(is: bool) -> Truth {
        match is {
            true => Truth::Yes,
            false => Truth::No,
        }
    }
}

/// What a rule does with a packet that it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Lets it in, as far as this chain goes.
    Accept,
    /// Throws it away, or refuses it.
    Drop,
    /// Goes on in another chain, and comes back.
    Jump(String),
    /// Goes on in another chain, and comes back to where this one was called from.
    Goto(String),
    /// Back to where this chain was called from.
    Return,
    /// Nothing that decides: counting, logging, marking.
    Pass,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether the packet is meant.
    pub matches: Truth,
    /// What happens to it.
    pub action: Action,
    /// As a person knows it.
    pub text: String,
}

/// One chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Name for people.
    pub name: String,
    /// The kernel starts here for packets to this machine, and drops (true) or accepts what no rule
    /// decides.
    pub base: Option<bool>,
    /// In their order.
    pub rules: Vec<Rule>,
}

/// All chains of one table, by name.
pub type Table = BTreeMap<String, Chain>;

/// What the rules do with the packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Passage {
    /// Rules that let it in for some sources, interfaces or times.
    pub let_in: Vec<String>,
    /// Rules that keep it out for some.
    pub kept_out: Vec<String>,
    /// What keeps it out for all; nothing if it comes in.
    pub blocked: Option<String>,
}

enum Walk {
    Accepted,
    Blocked(String),
    /// The chain has ended without a decision.
    Through,
}

/// Walks all base chains: each must let the packet in.
#[must_use]
pub fn walk<'a>(tables: impl IntoIterator<Item = &'a Table>) -> Passage {
    let mut passage = Passage::default();
    for table in tables {
        for chain in table.values() {
            let Some(drops) = chain.base else { continue };
            let let_in_before = passage.let_in.len();
            let ended = match through(table, chain, &mut passage, DEPTH_MAX) {
                Walk::Blocked(why) => Some(why),
                Walk::Through if drops => Some(format!(
                    "the policy of chain {} is drop, and no rule accepts the port",
                    chain.name
                )),
                Walk::Accepted | Walk::Through => None,
            };
            let Some(why) = ended else { continue };
            if passage.let_in.len() > let_in_before {
                passage.kept_out.push(why);
            } else if passage.blocked.is_none() {
                passage.blocked = Some(why);
            }
        }
    }
    passage
}

fn through(table: &Table, chain: &Chain, passage: &mut Passage, depth: usize) -> Walk {
    for rule in &chain.rules {
        if rule.matches == Truth::No {
            continue;
        }
        let is_sure = rule.matches == Truth::Yes;
        match &rule.action {
            Action::Pass => {}
            Action::Return if is_sure => return Walk::Through,
            Action::Return => {}
            Action::Accept if is_sure => return Walk::Accepted,
            Action::Accept => passage.let_in.push(rule.text.clone()),
            Action::Drop if is_sure => return Walk::Blocked(format!("rule `{}`", rule.text)),
            Action::Drop => passage.kept_out.push(rule.text.clone()),
            Action::Jump(name) | Action::Goto(name) => {
                let Some(next) = table.get(name).filter(|_| depth > 0) else {
                    continue;
                };
                let ended = through(table, next, passage, depth - 1);
                let is_goto = matches!(rule.action, Action::Goto(_));
                match (ended, is_sure) {
                    (Walk::Through, true) if is_goto => return Walk::Through,
                    (Walk::Through, _) => {}
                    (decided, true) => return decided,
                    (Walk::Accepted, false) => passage.let_in.push(rule.text.clone()),
                    (Walk::Blocked(why), false) => passage.kept_out.push(why),
                }
            }
        }
    }
    Walk::Through
}

/// A set of rules, or why there is none.
#[derive(Debug, Clone)]
pub enum Source {
    /// Read with this program.
    Read(&'static str, Vec<Table>),
    /// Not permitted, or not understood.
    Unreadable(&'static str, String),
}

/// Whether the packet comes in, by all rules that could be read.
#[must_use]
pub fn judge(address: SocketAddr, sources: &[Source]) -> Finding {
    const NAME: &str = "firewall";
    let about = address.to_string();
    let port = address.port();
    let mut read = Vec::new();
    let mut unreadable = Vec::new();
    let mut conditions = Vec::new();
    for source in sources {
        let (program, tables) = match source {
            Source::Read(program, tables) => (*program, tables),
            Source::Unreadable(program, why) => {
                unreadable.push(format!("{program}: {why}"));
                continue;
            }
        };
        let passage = walk(tables);
        if let Some(why) = passage.blocked {
            let what = format!("connections to port {port} are kept out by {program}: {why}");
            return Finding::failed(NAME, about, Whose::Machine, what, remedy(program, port));
        }
        read.push(program);
        conditions.extend(passage.let_in);
        conditions.extend(passage.kept_out);
    }
    let note = match unreadable.as_slice() {
        [] => String::new(),
        some => format!("; not looked at: {}", some.join("; ")),
    };
    if read.is_empty() {
        let why = match unreadable.as_slice() {
            [] => "not looked at: neither nft nor iptables-save is on this machine; rules may be \
                   there all the same"
                .to_owned(),
            _ => format!(
                "not looked at: {}; run this check as root to have it looked at",
                unreadable.join("; ")
            ),
        };
        return Finding::skipped(NAME, about, why);
    }
    let by = read.join(" and ");
    if conditions.is_empty() {
        let what = format!("port {port} is open by {by}{note}");
        return Finding::ok(NAME, about, what);
    }
    let shown: Vec<String> = conditions
        .iter()
        .take(3)
        .map(|rule| format!("`{rule}`"))
        .collect();
    let what = format!(
        "port {port} is open by {by} for some sources or interfaces, see {}{note}",
        shown.join(", ")
    );
    Finding::ok(NAME, about, what)
}

fn remedy(program: &str, port: u16) -> String {
    let rule = match program {
        "nft" => format!("`tcp dport {port} accept`"),
        _ => format!("`-p tcp --dport {port} -j ACCEPT`"),
    };
    format!(
        "let the devices in, in front of that rule, with a rule like {rule}, better for their \
         networks only; where ufw or firewalld rules: `ufw allow {port}/tcp`, or `firewall-cmd \
         --permanent --add-port={port}/tcp` and `firewall-cmd --reload`"
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    impl Passage {
        /// For whom the port is open.
        pub(super) fn word(&self) -> &'static str {
            let conditions = self.let_in.len() + self.kept_out.len();
            match (&self.blocked, conditions) {
                (Some(_), _) => "blocked",
                (None, 0) => "open",
                (None, _) => "some",
            }
        }
    }

    fn rule(matches: Truth, action: Action) -> Rule {
        Rule {
            matches,
            text: format!("{matches:?} {action:?}"),
            action,
        }
    }

    fn table(drops: bool, rules: Vec<Rule>, others: &[(&str, Vec<Rule>)]) -> Table {
        let chain = |name: &str, base, rules| {
            let name = name.to_owned();
            (name.clone(), Chain { name, base, rules })
        };
        let mut table = Table::from([chain("INPUT", Some(drops), rules)]);
        table.extend(
            others
                .iter()
                .map(|(name, rules)| chain(name, None, rules.clone())),
        );
        table
    }

    fn verdict(table: &Table) -> &'static str {
        walk([table]).word()
    }

    #[test]
    fn the_first_sure_rule_decides_and_the_policy_at_the_end() {
        use Action::{Accept, Drop, Pass, Return};
        use Truth::{Maybe, No, Yes};
        for (drops, rules, expected) in [
            (false, vec![], "open"),
            (true, vec![], "blocked"),
            (true, vec![rule(Yes, Accept)], "open"),
            (true, vec![rule(No, Accept)], "blocked"),
            (true, vec![rule(Maybe, Accept)], "some"),
            (false, vec![rule(Yes, Drop)], "blocked"),
            (false, vec![rule(Maybe, Drop)], "some"),
            (false, vec![rule(Yes, Accept), rule(Yes, Drop)], "open"),
            (true, vec![rule(Yes, Pass), rule(Yes, Accept)], "open"),
            (true, vec![rule(Yes, Return), rule(Yes, Accept)], "blocked"),
            (false, vec![rule(Maybe, Accept), rule(Yes, Drop)], "some"),
        ] {
            assert_eq!(
                verdict(&table(drops, rules.clone(), &[])),
                expected,
                "{rules:?}"
            );
        }
    }

    #[test]
    fn jumps_are_followed_and_loops_end() {
        use Action::{Accept, Drop, Goto, Jump, Return};
        use Truth::{Maybe, Yes};
        let to = |name: &str| Jump(name.to_owned());
        let goes = |name: &str| Goto(name.to_owned());
        for (rules, other, expected) in [
            (vec![rule(Yes, to("a"))], vec![rule(Yes, Accept)], "open"),
            (vec![rule(Yes, to("a"))], vec![rule(Yes, Drop)], "blocked"),
            (vec![rule(Maybe, to("a"))], vec![rule(Yes, Accept)], "some"),
            (
                vec![rule(Yes, to("a")), rule(Yes, Accept)],
                vec![rule(Yes, Return), rule(Yes, Drop)],
                "open",
            ),
            (
                vec![rule(Yes, goes("a")), rule(Yes, Accept)],
                vec![],
                "blocked",
            ),
            (
                vec![rule(Yes, to("a"))],
                vec![rule(Yes, to("a"))],
                "blocked",
            ),
            (
                vec![rule(Yes, to("none")), rule(Yes, Accept)],
                vec![],
                "open",
            ),
        ] {
            let table = table(true, rules.clone(), &[("a", other)]);
            assert_eq!(verdict(&table), expected, "{rules:?}");
        }
    }

    #[test]
    fn what_may_not_be_read_is_said_and_not_guessed() {
        let address = "0.0.0.0:514".parse().unwrap();
        let none = judge(address, &[]);
        assert_eq!(none.verdict, Verdict::Skipped);
        let refused = Source::Unreadable("nft", "Operation not permitted".into());
        let unseen = judge(address, std::slice::from_ref(&refused));
        assert_eq!(unseen.verdict, Verdict::Skipped);
        assert!(unseen.what.contains("Operation not permitted"), "{unseen}");
        assert!(unseen.what.contains("as root"), "{unseen}");
        let open = Source::Read("iptables-save", vec![table(false, vec![], &[])]);
        let half = judge(address, &[refused.clone(), open]);
        assert_eq!(half.verdict, Verdict::Ok);
        assert!(half.what.contains("not looked at: nft"), "{half}");
        let closed = Source::Read("iptables-save", vec![table(true, vec![], &[])]);
        let blocked = judge(address, &[refused, closed]);
        assert_eq!(blocked.verdict, Verdict::Failed);
        assert!(
            blocked.remedy.contains("--dport 514 -j ACCEPT"),
            "{blocked}"
        );
    }
}
