//! What may come in and what may go out: everything else is dropped, and counted.
//!
//! ```text
//!             before tracking       at the door           on the way out
//! listeners   not tracked           accepted by port      accepted, but no connection begins there
//! all else                          answers to what we asked, and a little ICMP
//!                                                         DNS, NTP, DHCP, HTTPS, what is asked for
//! ```
//!
//! [`rules`] makes the rules as data, pure; they read as `nft` would print them. [`load`] puts them
//! into the kernel all at once, in place of those that were there: one batch of netlink messages,
//! so that no moment is without a rule and no program for it is in the image.
//!
//! Connections to the listeners are not tracked: ten thousand senders would cost a look-up for each
//! packet and 3 MB, to learn what the port says already. What a listener's port sends is let out
//! unless it would begin a connection, so that a program that got hold of the port cannot call others
//! from there. The few connections outward are tracked; the kernel's bound for them
//! (`nf_conntrack_max`) is thousands of times what they need.

mod encode;

use crate::netlink;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// What is to be open besides what is always open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// What cefline listens on.
    pub tcp_in: Vec<SocketAddr>,
    /// The networks that may send there; all if none is named.
    pub senders: Vec<Cidr>,
    /// Ports of others that cefline may connect to, besides 443.
    pub tcp_out: Vec<u16>,
    /// The metadata service of the cloud.
    pub metadata: bool,
    /// The host of an Azure machine: ready report, goal state.
    pub azure_host: bool,
}

/// The metadata service of Azure and others.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The host of every Azure machine.
pub const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

const HTTPS: u16 = 443;
/// Of the metadata service, and of the Azure host: goal state and ready report.
const HTTP: u16 = 80;
/// Enough for a monitor that asks each second from some places; a flood of it is nobody's need.
const ECHOES_PER_SECOND: u32 = 10;

/// All rules, chain by chain in their order.
#[must_use]
pub fn rules(opening: &Opening) -> Vec<Rule> {
    use Match::*;
    let mut rules = Rules::default();
    // ours to ourselves
    rules.untracked(&[FromLoopback], &[ToLoopback]);
    rules.input(&[FromLoopback]);
    rules.output(&[ToLoopback]);
    // first, for theirs are nearly all packets
    rules.about_senders(opening);
    // answers
    rules.input(&[AnswersUs]);
    rules.output(&[AnswersUs]);
    rules.about_icmp();
    rules.about_dhcp();
    rules.about_others(opening);
    // the rest is dropped by each chain's policy; here it is counted first
    for chain in [Chain::Input, Chain::Forward, Chain::Output] {
        rules.add(chain, &[], Verdict::Count);
    }
    rules.0
}

/// Rules that are being written.
#[derive(Default)]
struct Rules(Vec<Rule>);

impl Rules {
    fn add(&mut self, chain: Chain, matches: &[Match], verdict: Verdict) {
        self.0.push(Rule {
            chain,
            matches: matches.to_vec(),
            verdict,
        });
    }

    fn input(&mut self, matches: &[Match]) {
        self.add(Chain::Input, matches, Verdict::Accept);
    }

    fn output(&mut self, matches: &[Match]) {
        self.add(Chain::Output, matches, Verdict::Accept);
    }

    fn untracked(&mut self, coming: &[Match], going: &[Match]) {
        self.add(Chain::Before, coming, Verdict::NoTrack);
        self.add(Chain::BeforeOut, going, Verdict::NoTrack);
    }

    /// Who may call us.
    fn about_senders(&mut self, opening: &Opening) {
        use Match::*;
        for listener in &opening.tcp_in {
            let ip = listener.ip();
            if ip.is_loopback() {
                continue;
            }
            // one on `[::]` hears IPv4 as well; one on `0.0.0.0` does not hear IPv6
            let (here_to, here_from) = match ip {
                IpAddr::V6(any) if any.is_unspecified() => (vec![], vec![]),
                IpAddr::V4(any) if any.is_unspecified() => (vec![Family4], vec![Family4]),
                one => (vec![Destination(one)], vec![SourceAddress(one)]),
            };
            let hears =
                |sender: &Cidr| here_to.is_empty() || ip.is_ipv4() == sender.address.is_ipv4();
            let to_it = [&here_to[..], &[Is(TCP), DestinationPort(listener.port())]].concat();
            let from_it = [&here_from[..], &[Is(TCP), SourcePort(listener.port())]].concat();
            self.untracked(&to_it, &from_it);
            for sender in opening.senders.iter().filter(|sender| hears(sender)) {
                self.input(&[&[Source(*sender)], &to_it[..]].concat());
            }
            if opening.senders.is_empty() {
                self.input(&to_it);
            }
            self.output(&[&from_it[..], &[BeginsNoConnection]].concat());
        }
    }

    /// What IPv4 and IPv6 need to work at all: unreachable with "packet too big", time exceeded,
    /// parameter problem; routers and neighbours from no further than the link.
    fn about_icmp(&mut self) {
        use Match::*;
        for kind in [UNREACHABLE_4, TIME_EXCEEDED_4, PARAMETER_PROBLEM_4] {
            self.input(&[Is(ICMP), IcmpType(kind)]);
            self.output(&[Is(ICMP), IcmpType(kind)]);
        }
        for kind in [
            UNREACHABLE,
            PACKET_TOO_BIG,
            TIME_EXCEEDED,
            PARAMETER_PROBLEM,
        ] {
            self.input(&[Is(ICMPV6), Icmpv6Type(kind)]);
            self.output(&[Is(ICMPV6), Icmpv6Type(kind)]);
        }
        for kind in [ROUTER_ADVERT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT] {
            self.input(&[HopLimit(255), Is(ICMPV6), Icmpv6Type(kind)]);
        }
        for kind in [ROUTER_SOLICIT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT] {
            self.output(&[Is(ICMPV6), Icmpv6Type(kind)]);
        }
        // who listens to which group, asked by a router of the link
        self.input(&[Source(LINK_LOCAL), Is(ICMPV6), Icmpv6Type(GROUP_QUERY)]);
        for kind in [GROUP_REPORT, GROUP_REPORT_2] {
            self.output(&[Is(ICMPV6), Icmpv6Type(kind)]);
        }
        // tracked, a stream of echoes would be one that was let through before, and have no limit
        let limit = AtMostPerSecond(ECHOES_PER_SECOND);
        for (protocol, asked, answered) in [
            (ICMP, IcmpType(ECHO_4), IcmpType(ECHO_ANSWER_4)),
            (ICMPV6, Icmpv6Type(ECHO), Icmpv6Type(ECHO_ANSWER)),
        ] {
            self.untracked(&[Is(protocol), asked], &[Is(protocol), answered]);
            self.input(&[Is(protocol), asked, limit]);
            self.output(&[Is(protocol), answered]);
        }
    }

    /// Addresses by DHCP: its answers come from anywhere to anywhere, so no tracking knows them.
    fn about_dhcp(&mut self) {
        use Match::*;
        self.input(&[Family4, Is(UDP), SourcePort(67), DestinationPort(68)]);
        self.output(&[Family4, Is(UDP), SourcePort(68), DestinationPort(67)]);
        let from_link = Source(LINK_LOCAL);
        self.input(&[from_link, Is(UDP), SourcePort(547), DestinationPort(546)]);
        self.output(&[Family6, Is(UDP), SourcePort(546), DestinationPort(547)]);
    }

    /// Whom we call.
    fn about_others(&mut self, opening: &Opening) {
        use Match::*;
        // names and time
        self.output(&[Is(UDP), DestinationPort(53)]);
        self.output(&[Is(TCP), DestinationPort(53)]);
        self.output(&[Is(UDP), DestinationPort(123)]);

        // the cloud's own addresses, to nothing but their ports
        let cloud = [
            (opening.metadata, METADATA),
            (opening.azure_host, AZURE_HOST),
        ];
        for (_, address) in cloud.into_iter().filter(|(is_wanted, _)| *is_wanted) {
            let to_it = Destination(address.into());
            self.output(&[to_it, Is(TCP), DestinationPort(HTTP)]);
        }
        let mut ports: Vec<u16> = opening.tcp_out.iter().copied().chain([HTTPS]).collect();
        ports.sort_unstable();
        ports.dedup();
        for port in ports {
            self.output(&[Is(TCP), DestinationPort(port)]);
        }
    }
}

/// Puts the rules into the kernel, in place of all that were there in our table.
///
/// # Errors
/// The kernel would not have one of them, which is named, or has no nftables.
pub fn load(rules: &[Rule]) -> Result<(), Error> {
    let (messages, subjects) = encode::batch(rules);
    let mut socket = netlink::Socket::open(netlink::NETFILTER, 0)
        .map_err(|cause| Error::new("a line to nftables", cause))?;
    socket.batch(messages).map_err(|refused| {
        let subject = subjects.get(refused.index);
        Error::new(subject.map_or("the rules", String::as_str), refused.cause)
    })
}

/// The rules are not in force.
#[derive(Debug)]
pub struct Error {
    what: String,
    cause: std::io::Error,
}

impl Error {
    fn new(what: &str, cause: std::io::Error) -> Self {
        Error {
            what: what.to_owned(),
            cause,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the firewall is not in force: the kernel refused `{}`: {}; are nf_tables, nft_ct and \
             nft_limit among its modules?",
            self.what, self.cause
        )
    }
}

impl std::error::Error for Error {}

/// One rule: if all of `matches` hold, then `verdict`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands.
    pub chain: Chain,
    /// What must hold of a packet, cheapest first.
    pub matches: Vec<Match>,
    /// What becomes of it then.
    pub verdict: Verdict,
}

/// Where packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chain {
    /// What comes in, before it is tracked.
    Before,
    /// What goes out, before it is tracked.
    BeforeOut,
    /// What is for us.
    Input,
    /// What is for others by way of us: nothing ever.
    Forward,
    /// What is from us.
    Output,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It goes on, and is not tracked.
    NoTrack,
    /// It goes on, and is counted.
    Count,
}

/// Number of a protocol above IP.
pub const TCP: u8 = 6;
/// Number of a protocol above IP.
pub const UDP: u8 = 17;
/// Number of a protocol above IP.
pub const ICMP: u8 = 1;
/// Number of a protocol above IP.
pub const ICMPV6: u8 = 58;

const ECHO_ANSWER_4: u8 = 0;
const UNREACHABLE_4: u8 = 3;
const ECHO_4: u8 = 8;
const TIME_EXCEEDED_4: u8 = 11;
const PARAMETER_PROBLEM_4: u8 = 12;
const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO: u8 = 128;
const ECHO_ANSWER: u8 = 129;
const GROUP_QUERY: u8 = 130;
const GROUP_REPORT: u8 = 131;
const ROUTER_SOLICIT: u8 = 133;
const ROUTER_ADVERT: u8 = 134;
const NEIGHBOUR_SOLICIT: u8 = 135;
const NEIGHBOUR_ADVERT: u8 = 136;
const GROUP_REPORT_2: u8 = 143;
const LINK_LOCAL: Cidr = Cidr {
    address: IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)),
    prefix: 10,
};

/// Something that holds of a packet or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// It is IPv4.
    Family4,
    /// It is IPv6.
    Family6,
    /// It comes in by the loopback interface.
    FromLoopback,
    /// It goes out by the loopback interface.
    ToLoopback,
    /// It comes from this network.
    Source(Cidr),
    /// It comes from this address, one of ours.
    SourceAddress(IpAddr),
    /// It goes to this address.
    Destination(IpAddr),
    /// It comes from the link itself: no router has lowered this.
    HopLimit(u8),
    /// The protocol above IP.
    Is(u8),
    /// TCP or UDP: where from.
    SourcePort(u16),
    /// TCP or UDP: where to.
    DestinationPort(u16),
    /// TCP: it is not a lone SYN.
    BeginsNoConnection,
    /// ICMP's type.
    IcmpType(u8),
    /// ICMPv6's type.
    Icmpv6Type(u8),
    /// It belongs to something that was let through before.
    AnswersUs,
    /// So often, and no more.
    AtMostPerSecond(u32),
}

impl Chain {
    /// All of them, in the order in which they are made.
    pub const ALL: [Chain; 5] = [
        Chain::Before,
        Chain::BeforeOut,
        Chain::Input,
        Chain::Forward,
        Chain::Output,
    ];

    /// Its name in the kernel.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Chain::Before => "before",
            Chain::BeforeOut => "before_out",
            Chain::Input => "input",
            Chain::Forward => "forward",
            Chain::Output => "output",
        }
    }
}

/// As `nft list ruleset` prints it, when nothing has been counted yet.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // ports and ICMP types tell their protocol with them
        for one in &self.matches {
            match one {
                Match::Is(_) => continue,
                Match::SourcePort(_) | Match::DestinationPort(_) if self.is_about(UDP) => {
                    f.write_str("udp ")?;
                }
                Match::SourcePort(_) | Match::DestinationPort(_) => f.write_str("tcp ")?,
                _ => {}
            }
            write!(f, "{one} ")?;
        }
        match self.verdict {
            Verdict::Accept => f.write_str("accept"),
            Verdict::NoTrack => f.write_str("notrack"),
            Verdict::Count => f.write_str("counter packets 0 bytes 0"),
        }
    }
}

impl Rule {
    fn is_about(&self, protocol: u8) -> bool {
        self.matches.contains(&Match::Is(protocol))
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = |ip: &IpAddr| if ip.is_ipv4() { "ip" } else { "ip6" };
        match self {
            Match::Family4 => f.write_str("meta nfproto ipv4"),
            Match::Family6 => f.write_str("meta nfproto ipv6"),
            Match::FromLoopback => f.write_str("iif \"lo\""),
            Match::ToLoopback => f.write_str("oif \"lo\""),
            Match::Source(from) => write!(f, "{} saddr {from}", family(&from.address)),
            Match::SourceAddress(from) => write!(f, "{} saddr {from}", family(from)),
            Match::Destination(to) => write!(f, "{} daddr {to}", family(to)),
            Match::HopLimit(limit) => write!(f, "ip6 hoplimit {limit}"),
            Match::Is(protocol) => write!(f, "meta l4proto {protocol}"),
            Match::SourcePort(port) => write!(f, "sport {port}"),
            Match::DestinationPort(port) => write!(f, "dport {port}"),
            Match::BeginsNoConnection => f.write_str("tcp flags != syn / syn,ack"),
            Match::IcmpType(kind) => write!(f, "icmp type {}", icmp_name(*kind)),
            Match::Icmpv6Type(kind) => write!(f, "icmpv6 type {}", icmpv6_name(*kind)),
            Match::AnswersUs => f.write_str("ct state established,related"),
            Match::AtMostPerSecond(rate) => write!(f, "limit rate {rate}/second"),
        }
    }
}

fn icmp_name(kind: u8) -> &'static str {
    match kind {
        ECHO_ANSWER_4 => "echo-reply",
        UNREACHABLE_4 => "destination-unreachable",
        ECHO_4 => "echo-request",
        TIME_EXCEEDED_4 => "time-exceeded",
        PARAMETER_PROBLEM_4 => "parameter-problem",
        _ => "other",
    }
}

fn icmpv6_name(kind: u8) -> &'static str {
    match kind {
        UNREACHABLE => "destination-unreachable",
        PACKET_TOO_BIG => "packet-too-big",
        TIME_EXCEEDED => "time-exceeded",
        PARAMETER_PROBLEM => "parameter-problem",
        ECHO => "echo-request",
        ECHO_ANSWER => "echo-reply",
        GROUP_QUERY => "mld-listener-query",
        GROUP_REPORT => "mld-listener-report",
        ROUTER_SOLICIT => "nd-router-solicit",
        ROUTER_ADVERT => "nd-router-advert",
        NEIGHBOUR_SOLICIT => "nd-neighbor-solicit",
        NEIGHBOUR_ADVERT => "nd-neighbor-advert",
        GROUP_REPORT_2 => "mld2-listener-report",
        _ => "other",
    }
}

/// A network: an address of which only the first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// With nothing behind its first bits.
    address: IpAddr,
    /// At most 32, or 128.
    prefix: u8,
}

/// Text that is no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotACidr(String);

impl fmt::Display for NotACidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(
            f,
            "`{text}` is no network: write it as 10.1.0.0/16 or 2001:db8::/32"
        )
    }
}

impl std::error::Error for NotACidr {}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let refuse = || NotACidr(text.to_owned());
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix.map_or(Ok(bits), |prefix| decimal(prefix).ok_or_else(refuse))?;
        if prefix > bits {
            return Err(refuse());
        }
        let cidr = Cidr { address, prefix };
        let network = cidr
            .mask()
            .into_iter()
            .zip(cidr.octets())
            .map(|(mask, byte)| mask & byte);
        // one bit more than the network has is more likely a slip than meant
        if network.ne(cidr.octets()) {
            return Err(refuse());
        }
        Ok(cidr)
    }
}

/// Digits alone, without the sign that `parse` would take.
pub(crate) fn decimal(text: &str) -> Option<u8> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        write!(f, "{}", self.address)?;
        if self.prefix < bits {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

impl Cidr {
    fn octets(&self) -> Vec<u8> {
        octets(self.address)
    }

    fn mask(&self) -> Vec<u8> {
        let bits = usize::from(self.prefix);
        (0..self.octets().len())
            .map(|at| match bits.saturating_sub(at * 8) {
                0 => 0,
                some @ 1..8 => !(0xff >> some),
                _ => 0xff,
            })
            .collect()
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn about(rules: &[Rule], chain: Chain, text: &str) -> Vec<String> {
        let of_chain = rules.iter().filter(|rule| rule.chain == chain);
        let texts = of_chain.map(ToString::to_string);
        texts.filter(|rule| rule.contains(text)).collect()
    }

    #[test]
    fn senders_are_all_when_none_is_named() {
        let opening = Opening {
            tcp_in: vec!["[::]:514".parse().unwrap()],
            ..Opening::default()
        };
        let open = about(&rules(&opening), Chain::Input, "tcp");
        assert_eq!(open, ["tcp dport 514 accept"]);
    }

    #[test]
    fn senders_of_the_other_family_open_nothing() {
        let opening = Opening {
            tcp_in: vec!["0.0.0.0:514".parse().unwrap()],
            senders: vec!["2001:db8::/32".parse().unwrap()],
            ..Opening::default()
        };
        let open = about(&rules(&opening), Chain::Input, "tcp");
        assert_eq!(open, [""; 0]);
    }

    #[test]
    fn nothing_of_the_cloud_is_open_unless_asked_for() {
        let rules = rules(&Opening::default());
        assert_eq!(about(&rules, Chain::Output, "daddr"), [""; 0]);
        let ports = about(&rules, Chain::Output, "tcp dport");
        assert_eq!(ports, ["tcp dport 53 accept", "tcp dport 443 accept"]);
    }

    #[test]
    fn each_chain_that_drops_counts_at_its_end() {
        let rules = rules(&Opening::default());
        for chain in [Chain::Input, Chain::Forward, Chain::Output] {
            let last = rules.iter().rfind(|rule| rule.chain == chain);
            assert_eq!(last.unwrap().verdict, Verdict::Count);
        }
    }

    #[test]
    fn a_network_is_written_with_nothing_behind_its_bits() {
        for good in [
            "10.0.0.0/8",
            "10.1.2.3",
            "2001:db8::/32",
            "::/0",
            "0.0.0.0/0",
        ] {
            assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "a/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_bad_for_a_network(text in ".{0,40}") {
            let _ = text.parse::<Cidr>();
        }
    }
}
