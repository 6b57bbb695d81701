//! An IPv4 address by DHCP (RFC 2131, RFC 2132; routes by RFC 3442): a client without socket or clock.
//!
//! ```text
//!            offer                 answer                     half of its time    7/8     all
//! Discovering ----> Requesting ------------> Bound: resting ------> renewing --> rebinding --> lost
//!      ^                |  refused, silent     ^                       |  answer    |
//!      '----------------'                      '-----------------------'------------'
//! ```
//!
//! [`Client::step`] is called when [`Client::next`] has come, [`Client::hear`] with every datagram.
//! Both say what to send and what has changed. Answers that are not to our last question, or that
//! offer what cannot be, are as if they had not come. Whether another has the address already is not
//! tried (the server does it), nor is an address of an earlier boot asked for.

use super::Random;
use super::lease::{Change, LASTS_LEAST, NOT_RENEWED, WANTED_BACK};
use crate::settings::{DNS_MOST, NTP_MOST};
use std::net::Ipv4Addr;
use std::time::Duration;

/// What a server lent us, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    /// The server, to ask again.
    pub(crate) server: Ipv4Addr,
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) ntp: Vec<Ipv4Addr>,
    pub(crate) hostname: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) mtu: Option<u16>,
    /// From when it was asked for; at least [`LASTS_LEAST`]; for ever is 136 years.
    pub(crate) lasts: Duration,
    /// `renew < rebind < lasts`.
    pub(crate) renew: Duration,
    pub(crate) rebind: Duration,
}

/// A way to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Ipv4Addr,
    pub(crate) prefix: u8,
    /// Unspecified if they are on the link.
    pub(crate) gateway: Ipv4Addr,
}

/// Waits of RFC 2131 section 4.1: 4 s, doubled up to 64 s, each a second more or less.
const WAIT_FIRST: Duration = Duration::from_secs(4);
const WAIT_MOST: Duration = Duration::from_secs(64);
const WAIT_JITTER: Duration = Duration::from_secs(1);
/// Requests for an offer before it is given up: 4 + 8 + 16 + 32 s of silence.
const REQUESTS_MOST: u32 = 4;
/// Between asking again for what we have, when time allows (section 4.4.5).
const RENEW_WAIT_LEAST: Duration = Duration::from_secs(60);
/// After a refusal: a server that always refuses must not be flooded.
const REFUSED_WAIT: Duration = Duration::from_secs(5);
/// Far more than a network with one interface needs.
const ROUTES_MOST: usize = 32;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Step {
    /// A datagram, and to whom: broadcast, or the server.
    pub(crate) send: Option<(Vec<u8>, Ipv4Addr)>,
    pub(crate) change: Option<Change<Lease>>,
}

#[derive(Debug)]
pub(crate) struct Client {
    hardware: [u8; 6],
    random: Random,
    transaction: u32,
    /// When the first message of this transaction was sent.
    began: Duration,
    /// Messages sent of this transaction.
    sent_count: u32,
    stage: Stage,
    next: Duration,
}

#[derive(Debug)]
enum Stage {
    Discovering,
    Requesting(Box<Lease>),
    /// With a lease, counted from this time since the boot.
    Bound(Box<Lease>, Duration),
}

impl Client {
    pub(crate) fn new(hardware: [u8; 6], random: Random, now: Duration) -> Self {
        let mut client = Client {
            hardware,
            random,
            transaction: 0,
            began: now,
            sent_count: 0,
            stage: Stage::Discovering,
            next: now,
        };
        client.begin(Stage::Discovering, now);
        client
    }

    /// When [`Client::step`] wants to be called.
    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    /// The link was away: the lease may be worth nothing on the one that is there now.
    pub(crate) fn link_is_back(&mut self, now: Duration) {
        match &mut self.stage {
            Stage::Bound(lease, since) => {
                // the time to rebind has come, for whoever is there is to answer
                let until_lost = (*since + lease.lasts).saturating_sub(now);
                if self.sent_count == 0 && until_lost > LASTS_LEAST {
                    lease.renew = Duration::ZERO;
                    lease.rebind = now.saturating_sub(*since);
                    self.next = now;
                }
            }
            _ => self.begin(Stage::Discovering, now),
        }
    }

    fn begin(&mut self, stage: Stage, next: Duration) {
        self.stage = stage;
        self.transaction = self.random.next();
        self.sent_count = 0;
        self.next = next;
    }

    /// Time has passed.
    pub(crate) fn step(&mut self, now: Duration) -> Step {
        if now < self.next {
            return Step::default();
        }
        if self.sent_count == 0 {
            self.began = now;
        }
        let change = match &self.stage {
            Stage::Requesting(_) if self.sent_count >= REQUESTS_MOST => {
                self.begin(Stage::Discovering, now);
                self.began = now;
                None
            }
            Stage::Bound(lease, since) if now >= *since + lease.lasts => {
                self.begin(Stage::Discovering, now);
                self.began = now;
                Some(Change::Lost(NOT_RENEWED))
            }
            _ => None,
        };
        let (kind, to, wait) = match &self.stage {
            Stage::Discovering => (DISCOVER, Ipv4Addr::BROADCAST, self.wait()),
            Stage::Requesting(_) => (REQUEST, Ipv4Addr::BROADCAST, self.wait()),
            Stage::Bound(lease, since) => {
                let rebind = *since + lease.rebind;
                let (to, limit) = if now < rebind {
                    (lease.server, rebind)
                } else {
                    (Ipv4Addr::BROADCAST, *since + lease.lasts)
                };
                let left = limit.saturating_sub(now);
                (REQUEST, to, (left / 2).max(RENEW_WAIT_LEAST).min(left))
            }
        };
        let datagram = self.write(kind, now);
        self.sent_count = self.sent_count.saturating_add(1);
        self.next = now + wait;
        Step {
            send: Some((datagram, to)),
            change,
        }
    }

    fn wait(&mut self) -> Duration {
        let doubled = WAIT_FIRST * 2_u32.pow(self.sent_count.min(6));
        self.random.around(doubled.min(WAIT_MOST), WAIT_JITTER)
    }

    /// A datagram came.
    pub(crate) fn hear(&mut self, datagram: &[u8], now: Duration) -> Step {
        let Some(answer) = Answer::read(datagram) else {
            return Step::default();
        };
        let is_ours = answer.transaction == self.transaction
            && answer.hardware == self.hardware
            && self.sent_count > 0;
        if !is_ours {
            return Step::default();
        }
        match (&self.stage, answer.kind) {
            (Stage::Discovering, OFFER) => {
                if let Some(offer) = answer.lease() {
                    // the transaction goes on with the same number
                    self.stage = Stage::Requesting(Box::new(offer));
                    self.sent_count = 0;
                    self.next = now;
                    return self.step(now);
                }
            }
            (Stage::Requesting(offer), ACKNOWLEDGE) => {
                let asked_one = answer.server() == Some(offer.server);
                if let Some(lease) = answer.lease().filter(|_| asked_one) {
                    return self.bind(lease);
                }
            }
            (Stage::Bound(..), ACKNOWLEDGE) => {
                if let Some(lease) = answer.lease() {
                    return self.bind(lease);
                }
            }
            (Stage::Requesting(_), REFUSE) => self.begin(Stage::Discovering, now + REFUSED_WAIT),
            (Stage::Bound(..), REFUSE) => {
                self.begin(Stage::Discovering, now + REFUSED_WAIT);
                return Step {
                    send: None,
                    change: Some(Change::Lost(WANTED_BACK)),
                };
            }
            _ => {}
        }
        Step::default()
    }

    fn bind(&mut self, lease: Lease) -> Step {
        // counted from the first question, for it may be the first that is answered
        let since = self.began;
        let change = Some(Change::Leased(Box::new(lease.clone()), since));
        let renew = since + lease.renew;
        self.begin(Stage::Bound(Box::new(lease), since), renew);
        Step { send: None, change }
    }

    fn write(&self, kind: u8, now: Duration) -> Vec<u8> {
        let seconds = now.saturating_sub(self.began).as_secs();
        let seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
        let ours = match &self.stage {
            Stage::Bound(lease, _) => lease.address,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        // without an address we hear broadcasts only
        let flags: u16 = if ours.is_unspecified() { 0x8000 } else { 0 };
        let mut datagram = vec![1, 1, 6, 0];
        datagram.extend(self.transaction.to_be_bytes());
        datagram.extend(seconds.to_be_bytes());
        datagram.extend(flags.to_be_bytes());
        datagram.extend(ours.octets());
        datagram.resize(HARDWARE_AT, 0);
        datagram.extend(self.hardware);
        datagram.resize(COOKIE_AT, 0);
        datagram.extend(COOKIE);
        datagram.extend([KIND, 1, kind]);
        datagram.extend([CLIENT, 7, 1]);
        datagram.extend(self.hardware);
        if let Stage::Requesting(offer) = &self.stage {
            datagram.extend([WANTED_ADDRESS, 4]);
            datagram.extend(offer.address.octets());
            datagram.extend([SERVER, 4]);
            datagram.extend(offer.server.octets());
        }
        datagram.extend([LARGEST, 2]);
        datagram.extend(LARGEST_BYTES.to_be_bytes());
        datagram.extend([WANTED, u8::try_from(ASKED_FOR.len()).unwrap_or(0)]);
        datagram.extend(ASKED_FOR);
        datagram.push(END);
        // the shortest that old relays pass on
        datagram.resize(datagram.len().max(300), 0);
        datagram
    }
}

/// The datagram from a server to a client that is in an IPv4 packet, if there is one.
pub(crate) fn datagram_in(packet: &[u8]) -> Option<&[u8]> {
    const UDP: u8 = 17;
    const PORTS: [u8; 4] = [0, 67, 0, 68];
    let head: &[u8; 20] = packet.first_chunk()?;
    let is_whole = head[6] & 0x3f == 0 && head[7] == 0;
    let header_bytes = usize::from(head[0] & 0xf) * 4;
    if head[0] >> 4 != 4 || header_bytes < 20 || head[9] != UDP || !is_whole {
        return None;
    }
    let udp = packet.get(header_bytes..)?;
    let length = u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]);
    if udp.get(..4)? != PORTS {
        return None;
    }
    // its sum is not looked at: on the way from one machine to another of the same host it is none
    udp.get(8..usize::from(length))
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACKNOWLEDGE: u8 = 5;
const REFUSE: u8 = 6;

const HARDWARE_AT: usize = 28;
const COOKIE_AT: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const DNS: u8 = 6;
const HOSTNAME: u8 = 12;
const DOMAIN: u8 = 15;
const MTU: u8 = 26;
const NTP: u8 = 42;
const WANTED_ADDRESS: u8 = 50;
const LASTS: u8 = 51;
const OVERLOAD: u8 = 52;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const LARGEST: u8 = 57;
const RENEW: u8 = 58;
const REBIND: u8 = 59;
const CLIENT: u8 = 61;
const CLASSLESS_ROUTES: u8 = 121;
const END: u8 = 255;
/// Routes stand before the router, which they replace (RFC 3442).
const ASKED_FOR: [u8; 11] = [
    MASK,
    CLASSLESS_ROUTES,
    ROUTER,
    DNS,
    HOSTNAME,
    DOMAIN,
    MTU,
    NTP,
    LASTS,
    RENEW,
    REBIND,
];
/// What a plain Ethernet carries.
const LARGEST_BYTES: u16 = 1472;

/// What a server said, cut into its parts.
#[derive(Debug)]
struct Answer {
    kind: u8,
    transaction: u32,
    hardware: [u8; 6],
    address: Ipv4Addr,
    /// By their number; those that came in pieces (RFC 3396) put together.
    options: Vec<(u8, Vec<u8>)>,
}

impl Answer {
    fn read(datagram: &[u8]) -> Option<Self> {
        let head: &[u8; 240] = datagram.first_chunk()?;
        let is_answer = head[..3] == [2, 1, 6] && head[COOKIE_AT..] == COOKIE;
        if !is_answer {
            return None;
        }
        let mut options = Vec::new();
        take_options(&datagram[240..], &mut options);
        // options may go on in the fields for a file and a server's name
        let overload = first_byte(&options, OVERLOAD).unwrap_or(0);
        if overload & 1 != 0 {
            take_options(&head[108..236], &mut options);
        }
        if overload & 2 != 0 {
            take_options(&head[44..108], &mut options);
        }
        Some(Answer {
            kind: first_byte(&options, KIND)?,
            transaction: u32::from_be_bytes(*head[4..].first_chunk()?),
            hardware: *head[HARDWARE_AT..].first_chunk()?,
            address: address(&head[16..20])?,
            options,
        })
    }

    fn option(&self, code: u8) -> &[u8] {
        let found = self.options.iter().find(|(one, _)| *one == code);
        found.map_or(&[], |(_, value)| value)
    }

    fn addresses(&self, code: u8, most: usize) -> Vec<Ipv4Addr> {
        let all = self.option(code).chunks_exact(4).filter_map(address);
        all.filter(|address| is_of_one(*address))
            .take(most)
            .collect()
    }

    fn seconds(&self, code: u8) -> Option<Duration> {
        let bytes = *self.option(code).first_chunk()?;
        Some(Duration::from_secs(u32::from_be_bytes(bytes).into()))
    }

    fn server(&self) -> Option<Ipv4Addr> {
        address(self.option(SERVER)).filter(|server| is_of_one(*server))
    }

    /// What is offered or given, if it can be.
    fn lease(&self) -> Option<Lease> {
        let lasts = self.seconds(LASTS).filter(|lasts| *lasts >= LASTS_LEAST)?;
        let rebind = self.seconds(REBIND).filter(|rebind| *rebind < lasts);
        let rebind = rebind.unwrap_or(lasts * 7 / 8);
        let renew = self.seconds(RENEW).filter(|renew| *renew < rebind);
        let renew = renew.unwrap_or(lasts / 2).min(rebind * 4 / 7);
        let mtu = self
            .option(MTU)
            .first_chunk()
            .copied()
            .map(u16::from_be_bytes);
        Some(Lease {
            address: Some(self.address).filter(|address| is_of_one(*address))?,
            prefix: self.prefix()?,
            server: self.server()?,
            routes: self.routes(),
            dns: self.addresses(DNS, DNS_MOST),
            ntp: self.addresses(NTP, NTP_MOST),
            hostname: super::checked_name(self.option(HOSTNAME))
                .filter(|name| name.len() <= super::HOSTNAME_BYTES_MOST),
            domain: super::checked_name(self.option(DOMAIN)),
            // the least for IPv6 as well, and the most for frames of any card
            mtu: mtu.filter(|mtu| (1280..=9216).contains(mtu)),
            lasts,
            renew,
            rebind,
        })
    }

    fn prefix(&self) -> Option<u8> {
        let mask = u32::from(address(self.option(MASK))?);
        let ones = mask.leading_ones();
        (ones + mask.trailing_zeros() == 32 && ones > 0)
            .then_some(ones)
            .and_then(|ones| u8::try_from(ones).ok())
    }

    fn routes(&self) -> Vec<Route> {
        let classless = self.option(CLASSLESS_ROUTES);
        if classless.is_empty() {
            let routers = self.addresses(ROUTER, 1).into_iter();
            return routers.map(Route::default_by).collect();
        }
        let mut routes = Vec::new();
        let mut rest = classless;
        while let Some((&prefix, after)) = rest.split_first() {
            let significant = usize::from(prefix).div_ceil(8);
            if prefix > 32 || after.len() < significant + 4 || routes.len() == ROUTES_MOST {
                break;
            }
            let mut octets = [0; 4];
            octets[..significant].copy_from_slice(&after[..significant]);
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            if let Some(gateway) = address(&after[significant..significant + 4]) {
                routes.push(Route {
                    destination: Ipv4Addr::from(u32::from_be_bytes(octets) & mask),
                    prefix,
                    gateway,
                });
            }
            rest = &after[significant + 4..];
        }
        routes.retain(|route| {
            let is_there = route.prefix == 0 || is_of_one(route.destination);
            is_there && (route.gateway.is_unspecified() || is_of_one(route.gateway))
        });
        routes
    }
}

impl Route {
    fn default_by(gateway: Ipv4Addr) -> Self {
        Route {
            destination: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            gateway,
        }
    }
}

fn take_options(bytes: &[u8], options: &mut Vec<(u8, Vec<u8>)>) {
    let mut rest = bytes;
    while let Some((&code, after)) = rest.split_first() {
        if code == END {
            return;
        }
        if code == PAD {
            rest = after;
            continue;
        }
        let Some((&length, after)) = after.split_first() else {
            return;
        };
        let Some((value, after)) = after.split_at_checked(length.into()) else {
            return;
        };
        match options.iter_mut().find(|(one, _)| *one == code) {
            Some((_, known)) => known.extend(value),
            None => options.push((code, value.to_vec())),
        }
        rest = after;
    }
}

fn first_byte(options: &[(u8, Vec<u8>)], code: u8) -> Option<u8> {
    let (_, value) = options.iter().find(|(one, _)| *one == code)?;
    value.first().copied()
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?))
}

/// It may be the address of one machine that is not this one.
fn is_of_one(address: Ipv4Addr) -> bool {
    !(address.octets()[0] == 0 || address.is_loopback() || address.octets()[0] >= 224)
}

#[cfg(test)]
#[path = "dhcp4_tests.rs"]
mod tests;
