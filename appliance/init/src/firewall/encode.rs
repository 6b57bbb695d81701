//! Rules as the messages that the kernel's nftables takes.
//!
//! A match is one or two expressions of the kernel's: something is loaded into a register, and the
//! register is compared. Numbers are in network order. The names and numbers are those of the
//! kernel's header `linux/netfilter/nf_tables.h`.

use super::{Chain, Match, Rule, Verdict, octets};
use crate::netlink::{APPEND, CREATE, Message, REQUEST};
use std::net::IpAddr;

/// Our table; nothing else is in the kernel.
const TABLE: &str = "cefline";

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = (SUBSYSTEM << 8) | 2;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;

/// NFPROTO_INET: a table for IPv4 and IPv6.
const FAMILY_INET: u8 = 1;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// The first of the registers that hold 16 bytes.
const REGISTER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;
/// Loopback is the first interface of every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// The messages of the batch, and what each of them is about.
pub(super) fn batch(rules: &[Rule]) -> (Vec<Message>, Vec<String>) {
    let mut batch = Vec::new();
    let mut add = |message, subject: String| batch.push((message, subject));
    let frame = |kind| Message::new(kind, REQUEST, &header(0, SUBSYSTEM));
    add(frame(BATCH_BEGIN), "begin".to_owned());
    // made so that it can be deleted, and made anew: what was there is gone
    for kind in [NEW_TABLE, DELETE_TABLE, NEW_TABLE] {
        let mut message = message(kind, if kind == NEW_TABLE { CREATE } else { 0 });
        message.text(1, TABLE);
        add(message, format!("table inet {TABLE}"));
    }
    for chain in Chain::ALL {
        add(chain_message(chain), format!("chain {}", chain.name()));
    }
    for rule in rules {
        add(rule_message(rule), format!("{}: {rule}", rule.chain.name()));
    }
    add(frame(BATCH_END), "end".to_owned());
    batch.into_iter().unzip()
}

fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn message(kind: u16, flags: u16) -> Message {
    Message::new(kind, REQUEST | flags, &header(FAMILY_INET, 0))
}

fn chain_message(chain: Chain) -> Message {
    // where packets pass, and who comes first there: tracking itself is at -200
    let (hook, priority, policy) = match chain {
        Chain::Before => (0_u32, -300_i32, ACCEPT),
        Chain::BeforeOut => (3, -300, ACCEPT),
        Chain::Input => (1, 0, DROP),
        Chain::Forward => (2, 0, DROP),
        Chain::Output => (3, 0, DROP),
    };
    let mut message = message(NEW_CHAIN, CREATE);
    message.text(1, TABLE).text(3, chain.name());
    message.nested(4, |inside| {
        inside.attribute(1, &hook.to_be_bytes());
        inside.attribute(2, &priority.to_be_bytes());
    });
    message.attribute(5, &policy.to_be_bytes());
    message.text(7, "filter");
    message
}

fn rule_message(rule: &Rule) -> Message {
    let mut message = message(NEW_RULE, CREATE | APPEND);
    message.text(1, TABLE).text(2, rule.chain.name());
    message.nested(4, |list| {
        for one in &rule.matches {
            write_match(list, one);
        }
        match rule.verdict {
            Verdict::Accept => expression(list, "immediate", |data| {
                data.attribute(1, &REGISTER_VERDICT.to_be_bytes());
                data.nested(2, |value| {
                    value.nested(2, |verdict| {
                        verdict.attribute(1, &ACCEPT.to_be_bytes());
                    });
                });
            }),
            Verdict::NoTrack => expression(list, "notrack", |_| {}),
            Verdict::Count => expression(list, "counter", |_| {}),
        }
    });
    message
}

fn write_match(list: &mut Message, one: &Match) {
    match one {
        Match::Family4 => is_family(list, FAMILY_IPV4),
        Match::Family6 => is_family(list, FAMILY_IPV6),
        Match::FromLoopback => {
            meta(list, 4);
            equal(list, &LOOPBACK_INDEX.to_ne_bytes());
        }
        Match::ToLoopback => {
            meta(list, 5);
            equal(list, &LOOPBACK_INDEX.to_ne_bytes());
        }
        Match::Source(cidr) => {
            load_address(list, cidr.address, 12, 8);
            let whole = if cidr.address.is_ipv4() { 32 } else { 128 };
            if cidr.prefix < whole {
                mask(list, &cidr.mask());
            }
            equal(list, &cidr.octets());
        }
        Match::SourceAddress(address) => {
            load_address(list, *address, 12, 8);
            equal(list, &octets(*address));
        }
        Match::Destination(address) => {
            load_address(list, *address, 16, 24);
            equal(list, &octets(*address));
        }
        Match::HopLimit(limit) => {
            is_family(list, FAMILY_IPV6);
            payload(list, NETWORK, 7, 1);
            equal(list, &[*limit]);
        }
        Match::Is(protocol) => {
            meta(list, 16);
            equal(list, &[*protocol]);
        }
        Match::SourcePort(port) => {
            payload(list, TRANSPORT, 0, 2);
            equal(list, &port.to_be_bytes());
        }
        Match::DestinationPort(port) => {
            payload(list, TRANSPORT, 2, 2);
            equal(list, &port.to_be_bytes());
        }
        Match::BeginsNoConnection => {
            // of the flags SYN (2) and ACK (16)
            payload(list, TRANSPORT, 13, 1);
            mask(list, &[0x12]);
            compare(list, NOT_EQUAL, &[0x02]);
        }
        Match::IcmpType(kind) | Match::Icmpv6Type(kind) => {
            payload(list, TRANSPORT, 0, 1);
            equal(list, &[*kind]);
        }
        Match::AnswersUs => {
            // of the states established (2) and related (4)
            expression(list, "ct", |data| {
                data.attribute(1, &REGISTER.to_be_bytes());
                data.attribute(2, &0_u32.to_be_bytes());
            });
            mask(list, &6_u32.to_ne_bytes());
            compare(list, NOT_EQUAL, &[0; 4]);
        }
        Match::AtMostPerSecond(rate) => expression(list, "limit", |data| {
            data.attribute(1, &u64::from(*rate).to_be_bytes());
            data.attribute(2, &1_u64.to_be_bytes());
            data.attribute(3, &BURST.to_be_bytes());
            data.attribute(4, &0_u32.to_be_bytes());
        }),
    }
}

/// Packets that may come at once before the rate counts; what `nft` takes if nothing is said.
const BURST: u32 = 5;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

fn expression(list: &mut Message, name: &str, data: impl FnOnce(&mut Message)) {
    list.nested(1, |element| {
        element.text(1, name);
        element.nested(2, data);
    });
}

fn is_family(list: &mut Message, family: u8) {
    meta(list, 15);
    equal(list, &[family]);
}

fn meta(list: &mut Message, key: u32) {
    expression(list, "meta", |data| {
        data.attribute(2, &key.to_be_bytes());
        data.attribute(1, &REGISTER.to_be_bytes());
    });
}

/// Offsets are where the address stands in the header of IPv4, and of IPv6.
fn load_address(list: &mut Message, address: IpAddr, offset4: u32, offset6: u32) {
    let (family, offset, length) = match address {
        IpAddr::V4(_) => (FAMILY_IPV4, offset4, 4),
        IpAddr::V6(_) => (FAMILY_IPV6, offset6, 16),
    };
    is_family(list, family);
    payload(list, NETWORK, offset, length);
}

fn payload(list: &mut Message, base: u32, offset: u32, length: u32) {
    expression(list, "payload", |data| {
        data.attribute(1, &REGISTER.to_be_bytes());
        data.attribute(2, &base.to_be_bytes());
        data.attribute(3, &offset.to_be_bytes());
        data.attribute(4, &length.to_be_bytes());
    });
}

fn mask(list: &mut Message, mask: &[u8]) {
    expression(list, "bitwise", |data| {
        data.attribute(1, &REGISTER.to_be_bytes());
        data.attribute(2, &REGISTER.to_be_bytes());
        data.attribute(3, &u32::try_from(mask.len()).unwrap_or(0).to_be_bytes());
        data.nested(4, |value| {
            value.attribute(1, mask);
        });
        data.nested(5, |value| {
            value.attribute(1, &vec![0; mask.len()]);
        });
    });
}

fn equal(list: &mut Message, value: &[u8]) {
    compare(list, EQUAL, value);
}

fn compare(list: &mut Message, operation: u32, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.attribute(1, &REGISTER.to_be_bytes());
        data.attribute(2, &operation.to_be_bytes());
        data.nested(3, |nested| {
            nested.attribute(1, value);
        });
    });
}
