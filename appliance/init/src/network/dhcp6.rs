//! An IPv6 address, or only resolvers, by DHCPv6 (RFC 8415): a client without socket or clock.
//!
//! ```text
//! an address:   Soliciting -> Requesting -> Bound: resting -> renewing -> rebinding -> lost
//! only servers: Informing  -> Informed, and again after its time
//! ```
//!
//! Used as [`super::dhcp4::Client`] is. The first offer that can be taken is taken: to wait for a
//! better one would cost a second of each boot. Answers are not signed; the transaction's number and
//! the link are what they are known by.

use super::Random;
use super::lease::{Change, LASTS_LEAST, NOT_RENEWED, WANTED_BACK};
use crate::settings::{DNS_MOST, NTP_MOST};
use std::net::Ipv6Addr;
use std::time::Duration;

/// What the routers of the link say that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// An address, and all else.
    Address,
    /// All but an address.
    Information,
}

/// What a server said, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// None if only information was wanted.
    pub(crate) address: Option<Ipv6Addr>,
    pub(crate) dns: Vec<Ipv6Addr>,
    pub(crate) ntp: Vec<Ipv6Addr>,
    /// How long the address may be used; or until when the information is not asked for again.
    pub(crate) lasts: Duration,
    pub(crate) preferred: Duration,
    /// `renew < rebind < lasts`.
    renew: Duration,
    rebind: Duration,
    server: Vec<u8>,
}

/// Information is asked for again after a day, at the earliest after ten minutes.
const INFORMATION_LASTS: Duration = Duration::from_secs(86_400);
const INFORMATION_LEAST: Duration = Duration::from_secs(600);
/// The longest name of a server that the standard allows (section 11.1).
const SERVER_BYTES_MOST: usize = 130;

/// How often is asked (section 7.6): first wait, longest wait. The longest for a solicitation is an
/// hour in the standard; no machine that forwards logs has an hour.
const SOLICIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
const REQUEST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
const RENEW: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// Requests for an offer before it is given up.
const REQUESTS_MOST: u32 = 10;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Step {
    /// A datagram to all servers.
    pub(crate) send: Option<Vec<u8>>,
    pub(crate) change: Option<Change<Lease>>,
}

#[derive(Debug)]
pub(crate) struct Client {
    hardware: [u8; 6],
    want: Want,
    random: Random,
    transaction: u32,
    began: Duration,
    sent_count: u32,
    wait: Duration,
    stage: Stage,
    next: Duration,
}

#[derive(Debug)]
enum Stage {
    /// Soliciting, or informing, as [`Client::want`] says.
    Asking,
    Requesting(Box<Lease>),
    Bound(Box<Lease>, Duration),
}

impl Client {
    pub(crate) fn new(hardware: [u8; 6], want: Want, random: Random, now: Duration) -> Self {
        let mut client = Client {
            hardware,
            want,
            random,
            transaction: 0,
            began: now,
            sent_count: 0,
            wait: Duration::ZERO,
            stage: Stage::Asking,
            next: now,
        };
        client.begin(Stage::Asking, now);
        client
    }

    /// What it is for.
    pub(crate) fn want(&self) -> Want {
        self.want
    }

    /// When [`Client::step`] wants to be called.
    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    fn begin(&mut self, stage: Stage, next: Duration) {
        self.stage = stage;
        self.transaction = self.random.next() & 0x00ff_ffff;
        self.sent_count = 0;
        self.next = next;
    }

    /// Time has passed.
    pub(crate) fn step(&mut self, now: Duration) -> Step {
        if now < self.next {
            return Step::default();
        }
        let mut change = None;
        match &self.stage {
            Stage::Requesting(_) if self.sent_count >= REQUESTS_MOST => {
                self.begin(Stage::Asking, now);
            }
            Stage::Bound(lease, since) if now >= *since + lease.lasts => {
                if lease.address.is_some() {
                    change = Some(Change::Lost(NOT_RENEWED));
                }
                self.begin(Stage::Asking, now);
            }
            _ => {}
        }
        if self.sent_count == 0 {
            self.began = now;
        }
        let (kind, (first, most), limit) = match (&self.stage, self.want) {
            (Stage::Asking, Want::Address) => (1, SOLICIT, None),
            (Stage::Requesting(_), _) => (3, REQUEST, None),
            (Stage::Bound(lease, since), Want::Address) => {
                let rebind = *since + lease.rebind;
                if now < rebind {
                    (5, RENEW, Some(rebind))
                } else {
                    (6, RENEW, Some(*since + lease.lasts))
                }
            }
            (Stage::Asking | Stage::Bound(..), Want::Information) => (11, SOLICIT, None),
        };
        let datagram = self.write(kind, now);
        // doubled each time, a tenth more or less (section 15)
        let doubled = if self.sent_count == 0 {
            first
        } else {
            (self.wait * 2).min(most)
        };
        self.wait = self.random.around(doubled, doubled / 10);
        self.sent_count = self.sent_count.saturating_add(1);
        self.next = limit.map_or(now + self.wait, |limit| limit.min(now + self.wait));
        Step {
            send: Some(datagram),
            change,
        }
    }

    /// A datagram came.
    pub(crate) fn hear(&mut self, datagram: &[u8], now: Duration) -> Step {
        let Some(answer) = Answer::read(datagram) else {
            return Step::default();
        };
        let is_ours = answer.transaction == self.transaction
            && option(answer.options, CLIENT) == Some(&self.identity()[..])
            && self.sent_count > 0;
        if !is_ours {
            return Step::default();
        }
        let given = answer.lease(self.want, self.association());
        match (&self.stage, answer.kind, given) {
            (Stage::Asking, ADVERTISE, Some(offer)) if self.want == Want::Address => {
                self.begin(Stage::Requesting(Box::new(offer)), now);
                self.step(now)
            }
            (Stage::Asking, REPLY, Some(lease)) if self.want == Want::Information => {
                self.bind(lease)
            }
            (Stage::Requesting(offer), REPLY, Some(lease)) if offer.server == lease.server => {
                self.bind(lease)
            }
            (Stage::Bound(..), REPLY, Some(lease)) => self.bind(lease),
            // the server knows nothing of what we ask to be renewed
            (Stage::Requesting(_), REPLY, None) => {
                self.begin(Stage::Asking, now + SOLICIT.0);
                Step::default()
            }
            (Stage::Bound(held, _), REPLY, None) if answer.has_status(NO_BINDING) => {
                let change = held.address.map(|_| Change::Lost(WANTED_BACK));
                self.begin(Stage::Asking, now + SOLICIT.0);
                Step { send: None, change }
            }
            _ => Step::default(),
        }
    }

    fn bind(&mut self, lease: Lease) -> Step {
        let since = self.began;
        let change = Some(Change::Leased(Box::new(lease.clone()), since));
        let renew = since + lease.renew;
        self.begin(Stage::Bound(Box::new(lease), since), renew);
        Step { send: None, change }
    }

    /// The machine's name by its hardware address (DUID-LL), so that it is the same after each boot.
    fn identity(&self) -> [u8; 10] {
        let [a, b, c, d, e, f] = self.hardware;
        [0, 3, 0, 1, a, b, c, d, e, f]
    }

    /// The interface's number, by its hardware address as well.
    fn association(&self) -> [u8; 4] {
        let [_, _, c, d, e, f] = self.hardware;
        [c, d, e, f]
    }

    fn write(&self, kind: u8, now: Duration) -> Vec<u8> {
        let mut datagram = self.transaction.to_be_bytes().to_vec();
        datagram[0] = kind;
        let mut add = |code: u16, value: &[u8]| {
            datagram.extend(code.to_be_bytes());
            datagram.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
            datagram.extend(value);
        };
        add(CLIENT, &self.identity());
        let held = match &self.stage {
            Stage::Requesting(lease) | Stage::Bound(lease, _) => Some(lease),
            Stage::Asking => None,
        };
        // asked are all, but for a request and a renewal the one whose lease it is
        if let Some(lease) = held.filter(|_| kind == 3 || kind == 5) {
            add(SERVER, &lease.server);
        }
        if self.want == Want::Address {
            let mut association = self.association().to_vec();
            association.extend([0; 8]);
            if let Some(address) = held.and_then(|lease| lease.address) {
                association.extend(ADDRESS.to_be_bytes());
                association.extend(24_u16.to_be_bytes());
                association.extend(address.octets());
                association.extend([0; 8]);
            }
            add(ASSOCIATION, &association);
        }
        let hundredths = now.saturating_sub(self.began).as_millis() / 10;
        let hundredths = u16::try_from(hundredths).unwrap_or(u16::MAX);
        add(ELAPSED, &hundredths.to_be_bytes());
        let asked_for: Vec<u8> = ASKED_FOR
            .iter()
            .flat_map(|code| code.to_be_bytes())
            .collect();
        add(WANTED, &asked_for);
        datagram
    }
}

const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;

const CLIENT: u16 = 1;
const SERVER: u16 = 2;
const ASSOCIATION: u16 = 3;
const ADDRESS: u16 = 5;
const WANTED: u16 = 6;
const ELAPSED: u16 = 8;
const STATUS: u16 = 13;
const DNS: u16 = 23;
const SNTP: u16 = 31;
const REFRESH: u16 = 32;
const NTP: u16 = 56;
const NTP_ADDRESS: u16 = 1;
const ASKED_FOR: [u16; 4] = [DNS, SNTP, REFRESH, NTP];
const NO_BINDING: u16 = 3;

#[derive(Debug)]
struct Answer<'a> {
    kind: u8,
    transaction: u32,
    options: &'a [u8],
}

impl<'a> Answer<'a> {
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let (head, options) = datagram.split_first_chunk::<4>()?;
        Some(Answer {
            kind: head[0],
            transaction: u32::from_be_bytes(*head) & 0x00ff_ffff,
            options,
        })
    }

    fn has_status(&self, status: u16) -> bool {
        let inside = option(self.options, ASSOCIATION).and_then(|value| value.get(12..));
        status_of(self.options) == status
            || inside.is_some_and(|inside| status_of(inside) == status)
    }

    fn lease(&self, want: Want, association: [u8; 4]) -> Option<Lease> {
        if status_of(self.options) != 0 {
            return None;
        }
        let server = option(self.options, SERVER)?;
        if server.is_empty() || server.len() > SERVER_BYTES_MOST {
            return None;
        }
        let sntp = option(self.options, SNTP)
            .unwrap_or_default()
            .chunks_exact(16);
        let ntp = options(option(self.options, NTP).unwrap_or_default())
            .filter_map(|(code, value)| (code == NTP_ADDRESS).then_some(value));
        let mut lease = Lease {
            address: None,
            dns: option(self.options, DNS)
                .unwrap_or_default()
                .chunks_exact(16)
                .filter_map(address)
                .take(DNS_MOST)
                .collect(),
            ntp: ntp.chain(sntp).filter_map(address).take(NTP_MOST).collect(),
            lasts: INFORMATION_LASTS,
            preferred: INFORMATION_LASTS,
            renew: INFORMATION_LASTS,
            rebind: INFORMATION_LASTS,
            server: server.to_vec(),
        };
        match want {
            Want::Information => {
                let told = option(self.options, REFRESH).and_then(seconds);
                lease.lasts = told
                    .unwrap_or(INFORMATION_LASTS)
                    .clamp(INFORMATION_LEAST, INFORMATION_LASTS);
                (lease.renew, lease.rebind) = (lease.lasts, lease.lasts);
            }
            Want::Address => self.take_address(association, &mut lease)?,
        }
        Some(lease)
    }

    fn take_address(&self, association: [u8; 4], lease: &mut Lease) -> Option<()> {
        let all = options(self.options);
        let (head, inside) = all
            .filter_map(|(code, value)| (code == ASSOCIATION).then_some(value))
            .filter_map(|value| value.split_first_chunk::<12>())
            .find(|(head, _)| head[..4] == association)?;
        if status_of(inside) != 0 {
            return None;
        }
        let (given, preferred, lasts) = options(inside)
            .filter_map(|(code, value)| (code == ADDRESS).then_some(value))
            .find_map(|value| {
                Some((
                    address(value)?,
                    seconds(&value[16..])?,
                    seconds(&value[20..])?,
                ))
            })
            .filter(|(_, preferred, lasts)| *lasts >= LASTS_LEAST && preferred <= lasts)?;
        // a time of 0 leaves it to us (section 14.2)
        let told = |bytes| seconds(bytes).filter(|told| !told.is_zero());
        lease.address = Some(given);
        (lease.preferred, lease.lasts) = (preferred, lasts);
        let rebind = told(&head[8..]).filter(|rebind| *rebind < lasts);
        lease.rebind = rebind.unwrap_or(lasts * 4 / 5);
        let renew = told(&head[4..]).filter(|renew| *renew < lease.rebind);
        lease.renew = renew.unwrap_or(lease.rebind * 5 / 8);
        Some(())
    }
}

fn options(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<4>()?;
        let length = u16::from_be_bytes([head[2], head[3]]);
        let (value, after) = after.split_at_checked(length.into())?;
        rest = after;
        Some((u16::from_be_bytes([head[0], head[1]]), value))
    })
}

fn option(bytes: &[u8], code: u16) -> Option<&[u8]> {
    let (_, value) = options(bytes).find(|(one, _)| *one == code)?;
    Some(value)
}

/// What a status says; all is well if there is none.
fn status_of(bytes: &[u8]) -> u16 {
    let status = option(bytes, STATUS).and_then(|value| value.first_chunk());
    status.copied().map_or(0, u16::from_be_bytes)
}

fn seconds(bytes: &[u8]) -> Option<Duration> {
    let seconds = u32::from_be_bytes(*bytes.first_chunk()?);
    Some(Duration::from_secs(seconds.into()))
}

/// The address of one machine that is not this one.
fn address(bytes: &[u8]) -> Option<Ipv6Addr> {
    let address = Ipv6Addr::from(*bytes.first_chunk::<16>()?);
    let is_of_one = !(address.is_unspecified() || address.is_loopback() || address.is_multicast());
    is_of_one.then_some(address)
}

#[cfg(test)]
#[path = "dhcp6_tests.rs"]
mod tests;
