//! Reads what `nft -j list ruleset` prints (libnftables-json(5)).

use super::{Action, Chain, Packet, Rule, Table, Truth};
use serde_json::Value;
use std::collections::BTreeMap;

/// The chains that a packet to this machine meets, by table.
///
/// # Errors
/// The text is not that of `nft -j`.
pub fn tables(text: &str, packet: Packet) -> Result<Vec<Table>, String> {
    let all: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let objects = all
        .get("nftables")
        .and_then(Value::as_array)
        .ok_or("no list `nftables` in its answer")?;
    let mut read = Reading {
        packet,
        sets: BTreeMap::new(),
        tables: BTreeMap::new(),
    };
    for object in objects {
        read.set(object);
        read.chain(object);
    }
    // rules may stand in front of what they name
    for object in objects {
        read.rule(object);
    }
    Ok(read.tables.into_values().collect())
}

/// Family and table, and a name in it.
type Name<'a> = (&'a str, &'a str, &'a str);

struct Reading<'a> {
    packet: Packet,
    sets: BTreeMap<Name<'a>, &'a Value>,
    tables: BTreeMap<(&'a str, &'a str), Table>,
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn place(of: &Value) -> (&str, &str) {
    (text(of, "family"), text(of, "table"))
}

impl<'a> Reading<'a> {
    fn is_met(&self, family: &str) -> bool {
        match family {
            "inet" => true,
            "ip" => !self.packet.is_ipv6,
            "ip6" => self.packet.is_ipv6,
            _ => false,
        }
    }

    fn set(&mut self, object: &'a Value) {
        for kind in ["set", "map"] {
            if let Some(set) = object.get(kind) {
                let (family, table) = place(set);
                let elements = set.get("elem").unwrap_or(&Value::Null);
                self.sets
                    .insert((family, table, text(set, "name")), elements);
            }
        }
    }

    fn chain(&mut self, object: &'a Value) {
        let Some(chain) = object.get("chain") else {
            return;
        };
        let (family, table) = place(chain);
        if !self.is_met(family) {
            return;
        }
        let name = text(chain, "name");
        let is_base = matches!(text(chain, "hook"), "input" | "prerouting");
        let drops = text(chain, "policy") == "drop";
        self.tables.entry((family, table)).or_default().insert(
            name.to_owned(),
            Chain {
                name: format!("{family} {table} {name}"),
                base: is_base.then_some(drops),
                rules: Vec::new(),
            },
        );
    }

    fn rule(&mut self, object: &'a Value) {
        let Some(rule) = object.get("rule") else {
            return;
        };
        let (family, table) = place(rule);
        let expressions = rule.get("expr").and_then(Value::as_array);
        let read = self.read(
            (family, table),
            text(rule, "chain"),
            expressions.map_or(&[], Vec::as_slice),
        );
        let chain = self
            .tables
            .get_mut(&(family, table))
            .and_then(|table| table.get_mut(text(rule, "chain")));
        if let Some(chain) = chain {
            chain.rules.push(read);
        }
    }

    fn read(&self, table: (&str, &str), chain: &str, expressions: &[Value]) -> Rule {
        let mut matches = Truth::Yes;
        let mut action = Action::Pass;
        let mut shown = Vec::new();
        for expression in expressions {
            let Some((kind, value)) = expression.as_object().and_then(|one| one.iter().next())
            else {
                // a bare word, as old versions print verdicts
                action = expression
                    .as_str()
                    .and_then(|word| verdict(word, &Value::Null))
                    .unwrap_or(action);
                continue;
            };
            if let Some(found) = verdict(kind, value) {
                shown.push(shown_verdict(kind, value));
                action = found;
                continue;
            }
            match kind.as_str() {
                "match" => {
                    matches = matches.and(self.matches(table, value));
                    shown.push(shown_match(value));
                }
                "vmap" => {
                    let (is, found) = self.mapped(table, value);
                    matches = matches.and(is);
                    action = found;
                    shown.push("vmap".into());
                }
                "counter" | "log" | "mangle" | "notrack" | "quota" | "ct helper" | "meter" => {}
                "limit" | "xt" | "fib" | "ct count" | "ct timeout" => {
                    matches = matches.and(Truth::Maybe);
                    shown.push(kind.clone());
                }
                _ => matches = matches.and(Truth::Maybe),
            }
        }
        let (family, table) = table;
        Rule {
            matches,
            action,
            text: format!("{family} {table} {chain}: {}", shown.join(" ")),
        }
    }

    fn matches(&self, table: (&str, &str), value: &Value) -> Truth {
        let (Some(left), Some(right)) = (value.get("left"), value.get("right")) else {
            return Truth::Maybe;
        };
        let found = self.compare(table, left, right, text(value, "op"));
        match text(value, "op") {
            "!=" => found.opposite(),
            _ => found,
        }
    }

    /// Whether the packet's `left` is `right`, or lies in it; for `<` and the like, whether that holds.
    fn compare(&self, table: (&str, &str), left: &Value, right: &Value, op: &str) -> Truth {
        let Some(known) = self.known(left) else {
            return Truth::Maybe;
        };
        match (&known, op) {
            (Known::Port(port), "<" | "<=" | ">" | ">=") => {
                let Some(bound) = right.as_u64() else {
                    return Truth::Maybe;
                };
                let port = u64::from(*port);
                match op {
                    "<" => port < bound,
                    "<=" => port <= bound,
                    ">" => port > bound,
                    _ => port >= bound,
                }
                .into()
            }
            (Known::OtherProtocol, _) => Truth::No,
            _ => self.lies_in(table, &known, right),
        }
    }

    fn lies_in(&self, table: (&str, &str), known: &Known, right: &Value) -> Truth {
        if let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) {
            let (family, table_name) = table;
            return match self.sets.get(&(family, table_name, name)) {
                Some(elements) => self.any(table, known, elements),
                None => Truth::Maybe,
            };
        }
        match right {
            Value::Array(_) => self.any(table, known, right),
            Value::Object(object) => {
                if let Some(elements) = object.get("set") {
                    return self.any(table, known, elements);
                }
                if let Some(element) = object.get("elem") {
                    let value = element.get("val").unwrap_or(element);
                    return self.lies_in(table, known, value);
                }
                match (known, object.get("range").and_then(Value::as_array)) {
                    (Known::Port(port), Some(range)) => {
                        let bound = |at: usize| range.get(at).and_then(Value::as_u64);
                        match (bound(0), bound(1)) {
                            (Some(first), Some(last)) => {
                                (first..=last).contains(&u64::from(*port)).into()
                            }
                            _ => Truth::Maybe,
                        }
                    }
                    _ => Truth::Maybe,
                }
            }
            _ => known.is(right),
        }
    }

    fn any(&self, table: (&str, &str), known: &Known, elements: &Value) -> Truth {
        let elements = elements.as_array().map_or(&[][..], Vec::as_slice);
        elements
            .iter()
            .map(|element| {
                // of a map's element the first is the key
                let key = element.as_array().and_then(|pair| pair.first());
                self.lies_in(table, known, key.unwrap_or(element))
            })
            .max()
            .unwrap_or(Truth::No)
    }

    /// What the packet is, as far as that is known.
    fn known(&self, left: &Value) -> Option<Known> {
        if let Some(payload) = left.get("payload") {
            return match (text(payload, "protocol"), text(payload, "field")) {
                ("tcp" | "th", "dport") => Some(Known::Port(self.packet.port)),
                ("tcp" | "th", _) => None,
                ("udp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "udplite" | "esp" | "ah", _) => {
                    Some(Known::OtherProtocol)
                }
                ("ip", "protocol") | ("ip6", "nexthdr") => Some(Known::Words(&["tcp", "6"])),
                ("ip", _) if self.packet.is_ipv6 => Some(Known::OtherProtocol),
                ("ip6", _) if !self.packet.is_ipv6 => Some(Known::OtherProtocol),
                _ => None,
            };
        }
        if let Some(meta) = left.get("meta") {
            let lo: &'static [&'static str] = &["lo"];
            return match text(meta, "key") {
                "l4proto" => Some(Known::Words(&["tcp", "6"])),
                "nfproto" if self.packet.is_ipv6 => Some(Known::Words(&["ipv6", "10"])),
                "nfproto" => Some(Known::Words(&["ipv4", "2"])),
                "iif" | "iifname" if self.packet.is_loopback => Some(Known::Words(lo)),
                "iif" | "iifname" => Some(Known::NotLo),
                _ => None,
            };
        }
        match left.get("ct") {
            Some(ct) if text(ct, "key") == "state" => Some(Known::Words(&["new"])),
            _ => None,
        }
    }

    /// Where a map of verdicts leads.
    fn mapped(&self, table: (&str, &str), value: &Value) -> (Truth, Action) {
        let unknown = (Truth::Maybe, Action::Pass);
        let (Some(key), Some(data)) = (value.get("key"), value.get("data")) else {
            return unknown;
        };
        let elements = match data.as_str().and_then(|text| text.strip_prefix('@')) {
            Some(name) => self.sets.get(&(table.0, table.1, name)).copied(),
            None => data.get("set"),
        };
        let (Some(known), Some(elements)) = (self.known(key), elements.and_then(Value::as_array))
        else {
            return unknown;
        };
        let mut best = (Truth::No, Action::Pass);
        for element in elements {
            let Some([key, then]) = element.as_array().map(Vec::as_slice) else {
                continue;
            };
            let found = self.lies_in(table, &known, key);
            let then = then.as_object().and_then(|one| one.iter().next());
            if let (true, Some((kind, value))) = (found > best.0, then) {
                best = (found, verdict(kind, value).unwrap_or(Action::Pass));
            }
        }
        best
    }
}

/// What is known of one property of the packet.
enum Known {
    Port(u16),
    /// It is one of these words, which are the same thing.
    Words(&'static [&'static str]),
    /// An interface, and not that of the machine to itself.
    NotLo,
    /// A property of packets that are not TCP: nothing of it fits.
    OtherProtocol,
}

impl Known {
    fn is(&self, value: &Value) -> Truth {
        match self {
            Known::Port(port) => match value {
                Value::Number(number) => (number.as_u64() == Some(u64::from(*port))).into(),
                Value::String(name) => (*port == 514 && (name == "shell" || name == "syslog")
                    || name.parse() == Ok(*port))
                .into(),
                _ => Truth::Maybe,
            },
            Known::Words(words) => match value {
                Value::String(text) => words.contains(&text.as_str()).into(),
                Value::Number(number) => words.contains(&number.to_string().as_str()).into(),
                _ => Truth::Maybe,
            },
            Known::NotLo if value.as_str() == Some("lo") => Truth::No,
            Known::NotLo => Truth::Maybe,
            Known::OtherProtocol => Truth::No,
        }
    }
}

fn verdict(kind: &str, value: &Value) -> Option<Action> {
    let target = || text(value, "target").to_owned();
    Some(match kind {
        "accept" => Action::Accept,
        "drop" | "reject" => Action::Drop,
        "return" => Action::Return,
        "continue" => Action::Pass,
        "jump" => Action::Jump(target()),
        "goto" => Action::Goto(target()),
        _ => return None,
    })
}

fn shown_verdict(kind: &str, value: &Value) -> String {
    match text(value, "target") {
        "" => kind.to_owned(),
        target => format!("{kind} {target}"),
    }
}

fn shown_match(value: &Value) -> String {
    let left = value.get("left").map_or_else(String::new, |left| {
        let inner = |kind: &str| left.get(kind);
        if let Some(payload) = inner("payload") {
            format!("{} {}", text(payload, "protocol"), text(payload, "field"))
        } else if let Some(meta) = inner("meta") {
            text(meta, "key").to_owned()
        } else if let Some(ct) = inner("ct") {
            format!("ct {}", text(ct, "key"))
        } else {
            left.to_string()
        }
    });
    let right = value.get("right").map_or_else(String::new, |right| {
        right
            .as_str()
            .map_or_else(|| right.to_string(), str::to_owned)
    });
    match text(value, "op") {
        "==" | "in" | "" => format!("{left} {right}"),
        op => format!("{left} {op} {right}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk;
    use super::*;
    use serde_json::json;

    const PACKET: Packet = Packet {
        port: 514,
        is_ipv6: false,
        is_loopback: false,
    };

    fn ruleset(family: &str, policy: &str, rules: &[Value], more: &[Value]) -> String {
        let mut objects = vec![
            json!({"metainfo": {"version": "1.0.6", "json_schema_version": 1}}),
            json!({"table": {"family": family, "name": "filter", "handle": 1}}),
            json!({"chain": {"family": family, "table": "filter", "name": "input", "handle": 1,
                             "type": "filter", "hook": "input", "prio": 0, "policy": policy}}),
            json!({"chain": {"family": family, "table": "filter", "name": "mine", "handle": 2}}),
        ];
        objects.extend_from_slice(more);
        for rule in rules {
            objects.push(
                json!({"rule": {"family": family, "table": "filter", "chain": "input",
                                         "handle": 5, "expr": rule}}),
            );
        }
        json!({"nftables": objects}).to_string()
    }

    fn seen_by(text: &str, packet: Packet) -> &'static str {
        walk(&tables(text, packet).unwrap()).word()
    }

    fn dport(right: Value) -> Value {
        json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}})
    }

    fn state(right: Value) -> Value {
        json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": right}})
    }

    #[test]
    fn rules_are_read_as_the_kernel_reads_them() {
        let accept = json!({"accept": null});
        let drop = json!({"drop": null});
        let reject = json!({"reject": {"type": "icmpx", "expr": "port-unreachable"}});
        let established = json!([state(json!(["established", "related"])), accept]);
        let lo = json!([{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, accept]);
        let udp = json!([{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 514}}, accept]);
        let from = json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}});
        let l4 = json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]}}});
        let th = json!({"match": {"op": "==", "left": {"payload": {"protocol": "th", "field": "dport"}}, "right": {"set": [53, 514]}}});
        for (policy, rules, expected) in [
            ("accept", vec![], "open"),
            ("drop", vec![], "blocked"),
            (
                "drop",
                vec![
                    established.clone(),
                    lo.clone(),
                    json!([dport(json!(22)), accept]),
                ],
                "blocked",
            ),
            (
                "drop",
                vec![
                    established.clone(),
                    json!([dport(json!(514)), {"counter": {"packets": 0, "bytes": 0}}, accept]),
                ],
                "open",
            ),
            (
                "drop",
                vec![json!([dport(json!({"set": [22, 514]})), accept])],
                "open",
            ),
            (
                "drop",
                vec![json!([dport(json!({"range": [500, 600]})), accept])],
                "open",
            ),
            (
                "drop",
                vec![json!([
                    dport(json!({"set": [22, {"range": [500, 513]}]})),
                    accept
                ])],
                "blocked",
            ),
            ("drop", vec![json!([l4, th, accept])], "open"),
            ("drop", vec![udp], "blocked"),
            (
                "drop",
                vec![json!([from, dport(json!(514)), accept])],
                "some",
            ),
            ("drop", vec![json!([dport(json!("@open")), accept])], "open"),
            (
                "drop",
                vec![json!([dport(json!("@other")), accept])],
                "some",
            ),
            ("accept", vec![json!([dport(json!(514)), drop])], "blocked"),
            (
                "accept",
                vec![json!([dport(json!(514)), reject])],
                "blocked",
            ),
            (
                "accept",
                vec![established.clone(), json!([reject])],
                "blocked",
            ),
            (
                "accept",
                vec![json!([{"xt": {"type": "match", "name": "geoip"}}, drop])],
                "some",
            ),
            (
                "accept",
                vec![json!([state(json!("invalid")), drop])],
                "open",
            ),
            (
                "drop",
                vec![
                    json!([{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", accept], ["new", {"jump": {"target": "mine"}}]]}}}]),
                ],
                "open",
            ),
            ("drop", vec![json!([{"jump": {"target": "mine"}}])], "open"),
            (
                "drop",
                vec![
                    json!([{"match": {"op": ">", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 500}}, accept]),
                ],
                "open",
            ),
            (
                "drop",
                vec![
                    json!([{"match": {"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, accept]),
                ],
                "open",
            ),
            (
                "drop",
                vec![json!([{"log": {"prefix": "in "}}]), json!([accept])],
                "open",
            ),
        ] {
            let more = [
                json!({"set": {"family": "inet", "name": "open", "table": "filter", "type": "inet_service", "elem": [22, {"elem": {"val": 514, "comment": "syslog"}}]}}),
                json!({"rule": {"family": "inet", "table": "filter", "chain": "mine", "expr": [dport(json!(514)), accept]}}),
            ];
            let text = ruleset("inet", policy, &rules, &more);
            assert_eq!(
                seen_by(&text, PACKET),
                expected,
                "{policy} {}",
                json!(rules)
            );
        }
    }

    #[test]
    fn tables_of_the_other_family_do_not_count() {
        let text = ruleset("ip6", "drop", &[], &[]);
        assert_eq!(seen_by(&text, PACKET), "open");
        let packet = Packet {
            is_ipv6: true,
            ..PACKET
        };
        assert_eq!(seen_by(&text, packet), "blocked");
        let lo = json!([{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}, {"accept": null}]);
        let text = ruleset("inet", "drop", &[lo], &[]);
        let packet = Packet {
            is_loopback: true,
            ..PACKET
        };
        assert_eq!(seen_by(&text, packet), "open");
        assert_eq!(seen_by(&text, PACKET), "blocked");
    }

    #[test]
    fn text_that_is_no_ruleset_is_named_and_odd_ones_do_no_harm() {
        assert!(tables("", PACKET).is_err());
        assert!(tables("[]", PACKET).is_err());
        for odd in [
            json!({"nftables": []}),
            json!({"nftables": [null, 1, {"chain": 3}, {"rule": {"expr": 7}}, {"rule": {"expr": [{}]}}]}),
        ] {
            assert_eq!(seen_by(&odd.to_string(), PACKET), "open", "{odd}");
        }
    }
}
