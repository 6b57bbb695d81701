//! Reads what `iptables-save` and `ip6tables-save` print.

use super::{Action, Chain, Packet, Rule, Table, Truth};

/// Targets that decide nothing and let the walk go on.
const PASSING: [&str; 12] = [
    "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "CT", "NOTRACK", "TRACE", "AUDIT", "SET", "TCPMSS",
    "CHECKSUM",
];

/// The chains of the tables that a packet to this machine meets and that may drop it: `filter`,
/// and `raw`, `mangle` and `nat` with the few who drop there.
#[must_use]
pub fn tables(text: &str, packet: Packet) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut table = Table::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('*') {
            table = Table::new();
        } else if line == "COMMIT" {
            tables.push(std::mem::take(&mut table));
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let (name, policy) = (words.next().unwrap_or_default(), words.next());
            let is_input = matches!(name, "INPUT" | "PREROUTING") && policy != Some("-");
            table.insert(
                name.to_owned(),
                Chain {
                    name: name.to_owned(),
                    base: is_input.then_some(policy == Some("DROP")),
                    rules: Vec::new(),
                },
            );
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let words = words(rest);
            if let Some((name, options)) = words.split_first()
                && let Some(chain) = table.get_mut(name)
            {
                chain.rules.push(rule(line, options, packet));
            }
        }
    }
    tables
}

/// Words apart by blanks; quotes hold one together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut has_word) = (false, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                has_word = true;
            }
            '\\' if is_quoted => word.extend(chars.next()),
            ' ' if !is_quoted => {
                if has_word {
                    words.push(std::mem::take(&mut word));
                }
                has_word = false;
            }
            _ => {
                word.push(c);
                has_word = true;
            }
        }
    }
    if has_word {
        words.push(word);
    }
    words
}

fn rule(line: &str, options: &[String], packet: Packet) -> Rule {
    let mut matches = Truth::Yes;
    let mut action = Action::Pass;
    let mut is_not = false;
    let mut options = options.iter().map(String::as_str).peekable();
    while let Some(option) = options.next() {
        if option == "!" {
            is_not = true;
            continue;
        }
        let mut value = || options.next().unwrap_or_default();
        let found = match option {
            "-j" | "--jump" => {
                action = target(value(), false);
                break;
            }
            "-g" | "--goto" => {
                action = target(value(), true);
                break;
            }
            // a match module: its options follow
            "-m" | "--match" => {
                let module = value();
                match module {
                    "tcp" | "multiport" | "state" | "conntrack" | "comment" => Truth::Yes,
                    "udp" => Truth::No,
                    _ => Truth::Maybe,
                }
            }
            "-p" | "--protocol" => protocol(value()),
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" | "--ports" => {
                ports(value(), packet.port).into()
            }
            "--state" | "--ctstate" => value().split(',').any(|state| state == "NEW").into(),
            "-i" | "--in-interface" => interface(value(), packet),
            "--syn" => Truth::Yes,
            "--tcp-flags" => {
                let (mask, set) = (value(), options.next().unwrap_or_default());
                flags(mask, set).into()
            }
            "--comment" => {
                value();
                Truth::Yes
            }
            // whatever it asks for, its values are no options of ours
            _ => {
                while options
                    .peek()
                    .is_some_and(|next| !next.starts_with('-') && *next != "!")
                {
                    options.next();
                }
                Truth::Maybe
            }
        };
        matches = matches.and(if is_not { found.opposite() } else { found });
        is_not = false;
    }
    Rule {
        matches,
        action,
        text: line.to_owned(),
    }
}

fn target(name: &str, is_goto: bool) -> Action {
    match name {
        "ACCEPT" => Action::Accept,
        "DROP" | "REJECT" | "TARPIT" => Action::Drop,
        "RETURN" => Action::Return,
        name if PASSING.contains(&name) => Action::Pass,
        name if is_goto => Action::Goto(name.to_owned()),
        // one that is no chain of the table is not found there, and passed by
        name => Action::Jump(name.to_owned()),
    }
}

fn protocol(name: &str) -> Truth {
    matches!(name, "tcp" | "6" | "all" | "0").into()
}

/// `514`, `500:600`, `514,6514`, `:1023`.
fn ports(text: &str, port: u16) -> bool {
    text.split(',').any(|part| match part.split_once(':') {
        Some((first, last)) => {
            let first = first.parse().unwrap_or(0);
            let last = last.parse().unwrap_or(u16::MAX);
            (first..=last).contains(&port)
        }
        None => part == "syslog" && port == 514 || part.parse() == Ok(port),
    })
}

fn interface(name: &str, packet: Packet) -> Truth {
    match (name, packet.is_loopback) {
        ("lo", is_loopback) => is_loopback.into(),
        (_, true) => Truth::No,
        _ => Truth::Maybe,
    }
}

/// Whether the packet, which has SYN and no other flag, has these.
fn flags(mask: &str, set: &str) -> bool {
    let is_in = |list: &str, flag| list.split(',').any(|one| one == flag || one == "ALL");
    let others = ["FIN", "RST", "PSH", "ACK", "URG"];
    let syn_good = !is_in(mask, "SYN") || is_in(set, "SYN");
    syn_good
        && !others
            .iter()
            .any(|flag| is_in(mask, flag) && is_in(set, flag))
}

#[cfg(test)]
mod tests {
    use super::super::walk;
    use super::*;

    fn seen(text: &str, port: u16) -> &'static str {
        let packet = Packet {
            port,
            is_ipv6: false,
            is_loopback: false,
        };
        walk(&tables(text, packet)).word()
    }

    fn filter(policy: &str, rules: &[&str]) -> String {
        format!(
            "# Generated by iptables-save v1.8.9\n*filter\n:INPUT {policy} [12:3456]\n:FORWARD DROP [0:0]\n\
             :OUTPUT ACCEPT [0:0]\n:mine - [0:0]\n{}\nCOMMIT\n",
            rules.join("\n")
        )
    }

    #[test]
    fn rules_are_read_as_the_kernel_reads_them() {
        let established = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
        let ssh = "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT";
        for (policy, rules, expected) in [
            ("ACCEPT", vec![], "open"),
            ("DROP", vec![], "blocked"),
            (
                "DROP",
                vec!["-A INPUT -i lo -j ACCEPT", established, ssh],
                "blocked",
            ),
            (
                "DROP",
                vec![ssh, "-A INPUT -p tcp -m tcp --dport 514 -j ACCEPT"],
                "open",
            ),
            (
                "DROP",
                vec!["-A INPUT -p udp -m udp --dport 514 -j ACCEPT"],
                "blocked",
            ),
            (
                "DROP",
                vec!["-A INPUT -p tcp -m multiport --dports 22,514 -j ACCEPT"],
                "open",
            ),
            (
                "DROP",
                vec!["-A INPUT -p tcp -m tcp --dport 500:600 -j ACCEPT"],
                "open",
            ),
            (
                "DROP",
                vec!["-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 514 -j ACCEPT"],
                "some",
            ),
            (
                "DROP",
                vec!["-A INPUT -i eth0 -p tcp -m tcp --dport 514 -j ACCEPT"],
                "some",
            ),
            (
                "ACCEPT",
                vec!["-A INPUT -p tcp -m tcp --dport 514 -j DROP"],
                "blocked",
            ),
            (
                "ACCEPT",
                vec!["-A INPUT -p tcp -m tcp --dport 5140 -j DROP"],
                "open",
            ),
            (
                "ACCEPT",
                vec!["-A INPUT -p tcp -m tcp ! --dport 22 -j REJECT --reject-with tcp-reset"],
                "blocked",
            ),
            (
                "ACCEPT",
                vec![
                    established,
                    "-A INPUT -j REJECT --reject-with icmp-host-prohibited",
                ],
                "blocked",
            ),
            (
                "ACCEPT",
                vec!["-A INPUT ! -s 10.0.0.0/8 -p tcp -m tcp --dport 514 -j DROP"],
                "some",
            ),
            (
                "DROP",
                vec![
                    "-A INPUT -m comment --comment \"-j DROP the \\\"rest\\\"\" -j mine",
                    "-A mine -p tcp -m tcp --dport 514 -j ACCEPT",
                ],
                "open",
            ),
            (
                "DROP",
                vec![
                    "-A INPUT -j LOG --log-prefix \"in: \"",
                    "-A INPUT -j ACCEPT",
                ],
                "open",
            ),
            (
                "DROP",
                vec!["-A INPUT -m set --match-set fine src -j ACCEPT"],
                "some",
            ),
            (
                "ACCEPT",
                vec![
                    "-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m state --state NEW -j DROP",
                ],
                "open",
            ),
            (
                "DROP",
                vec!["-A FORWARD -p tcp --dport 514 -j ACCEPT"],
                "blocked",
            ),
            (
                "DROP",
                vec!["-A INPUT -p tcp -m state --state NEW -m tcp --dport 514 -j ACCEPT"],
                "open",
            ),
            (
                "ACCEPT",
                vec!["-A INPUT -m limit --limit 3/min -j DROP"],
                "some",
            ),
        ] {
            assert_eq!(
                seen(&filter(policy, &rules), 514),
                expected,
                "{policy} {rules:?}"
            );
        }
    }

    #[test]
    fn loopback_passes_what_is_for_lo() {
        let text = filter("DROP", &["-A INPUT -i lo -j ACCEPT"]);
        let packet = Packet {
            port: 514,
            is_ipv6: false,
            is_loopback: true,
        };
        assert_eq!(walk(&tables(&text, packet)).blocked, None);
    }

    #[test]
    fn broken_text_is_no_reason_to_panic() {
        for text in [
            "",
            "*filter",
            ":",
            "-A",
            "*filter\n:INPUT\n-A INPUT -p\nCOMMIT",
            "-A INPUT \"",
        ] {
            assert_eq!(seen(text, 514), "open", "{text}");
        }
    }
}
