//! What the kernel knows of interfaces, addresses and routes, and how it is told (rtnetlink).
//!
//! Reading is apart from asking: [`Link::read`], [`Address::read`] and [`gateway_of`] take bytes.
//! The numbers are those of the kernel's headers `linux/rtnetlink.h`, `if_link.h` and `if_addr.h`.

use super::dhcp4::Route;
use crate::netlink::{
    ACKNOWLEDGE, CREATE, DUMP, Error, Message, REPLACE, REQUEST, Socket, attributes, u16_at, u32_at,
};
use crate::settings::DNS_MOST;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Groups to hear: links, addresses of IPv6 and what routers say of them, options of routers.
pub(crate) const GROUPS: u32 = 0x1 | 0x100 | 0x20000 | (1 << 19);

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
/// An option of a router's advertisement that the kernel leaves to others.
pub(crate) const ROUTER_OPTION: u16 = 68;

const IPV4: u8 = 2;
const IPV6: u8 = 10;
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
const PART_OF_ANOTHER: u32 = 0x800;
const CARRIER: u32 = 0x1_0000;
const KIND_ETHERNET: u16 = 1;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) hardware: [u8; 6],
    pub(crate) has_carrier: bool,
    /// An Ethernet of its own: not loopback, not a tunnel, not half of a pair as a virtual
    /// function is on Azure.
    pub(crate) is_usable: bool,
    /// Routers say that addresses are to be had by DHCPv6.
    pub(crate) is_managed: bool,
    /// Routers say that all else is.
    pub(crate) has_more_told: bool,
}

impl Link {
    fn read(payload: &[u8]) -> Option<Self> {
        let flags = u32_at(payload, 8)?;
        let mut link = Link {
            index: u32_at(payload, 4)?,
            name: String::new(),
            hardware: [0; 6],
            has_carrier: flags & CARRIER != 0 && flags & UP != 0,
            is_usable: false,
            is_managed: false,
            has_more_told: false,
        };
        let mut is_whole = false;
        for (kind, value) in attributes(payload.get(16..)?) {
            match kind {
                1 => {
                    is_whole = value.len() == 6;
                    link.hardware = value.first_chunk().copied().unwrap_or_default();
                }
                3 => {
                    let name = value.split(|byte| *byte == 0).next()?;
                    link.name = String::from_utf8(name.to_vec()).ok()?;
                }
                // what each family knows of it
                26 => link.read_router_flags(value),
                _ => {}
            }
        }
        link.is_usable = u16_at(payload, 2)? == KIND_ETHERNET
            && is_whole
            && flags & (LOOPBACK | PART_OF_ANOTHER) == 0
            && is_plain_name(&link.name);
        Some(link)
    }

    fn read_router_flags(&mut self, families: &[u8]) {
        let of_ipv6 = attributes(families)
            .into_iter()
            .filter(|(family, _)| *family == u16::from(IPV6))
            .flat_map(|(_, value)| attributes(value));
        for (kind, value) in of_ipv6 {
            if let (1, Some(flags)) = (kind, u32_at(value, 0)) {
                self.is_managed = flags & 0x40 != 0;
                self.has_more_told = flags & 0x80 != 0;
            }
        }
    }
}

/// It may stand in a path.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/')
}

/// All interfaces, by their index.
pub(crate) fn links(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let answers = socket.dump(Message::new(GET_LINK, REQUEST | DUMP, &[0; 16]))?;
    let mut links: Vec<Link> = answers
        .iter()
        .filter(|answer| answer.kind == NEW_LINK)
        .filter_map(|answer| Link::read(&answer.payload))
        .collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}

/// Brings an interface up, or takes it down.
pub(crate) fn set_up(socket: &mut Socket, index: u32, is_up: bool) -> Result<(), Error> {
    let flags = if is_up { UP } else { 0 };
    socket.request(link_message(index, flags, UP))
}

/// How long a packet may be.
pub(crate) fn set_mtu(socket: &mut Socket, index: u32, mtu: u16) -> Result<(), Error> {
    let mut message = link_message(index, 0, 0);
    message.attribute(4, &u32::from(mtu).to_ne_bytes());
    socket.request(message)
}

fn link_message(index: u32, flags: u32, changed: u32) -> Message {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&changed.to_ne_bytes());
    Message::new(NEW_LINK, REQUEST | ACKNOWLEDGE, &header)
}

/// How long an address may be used, and how long for new connections; after that the kernel takes
/// it away, whatever becomes of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) valid: Duration,
    pub(crate) preferred: Duration,
}

/// Gives an interface an address, or a longer time to one that it has.
pub(crate) fn add_address(
    socket: &mut Socket,
    index: u32,
    (address, prefix): (IpAddr, u8),
    lifetime: Option<Lifetime>,
) -> Result<(), Error> {
    let flags = REQUEST | ACKNOWLEDGE | CREATE | REPLACE;
    let mut message = address_message(NEW_ADDRESS, flags, index, address, prefix);
    if let Some(lifetime) = lifetime {
        // all ones is for ever, and nothing shorter may be written so
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let mut times = seconds(lifetime.preferred).to_ne_bytes().to_vec();
        times.extend(seconds(lifetime.valid).to_ne_bytes());
        times.extend([0; 8]);
        message.attribute(6, &times);
    }
    if let IpAddr::V4(address) = address
        && prefix < 31
    {
        let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        let broadcast = Ipv4Addr::from(u32::from(address) | host);
        message.attribute(4, &broadcast.octets());
    }
    socket.request(message)
}

/// Takes an address away.
pub(crate) fn remove_address(
    socket: &mut Socket,
    index: u32,
    (address, prefix): (IpAddr, u8),
) -> Result<(), Error> {
    let flags = REQUEST | ACKNOWLEDGE;
    socket.request(address_message(
        DELETE_ADDRESS,
        flags,
        index,
        address,
        prefix,
    ))
}

fn address_message(kind: u16, flags: u16, index: u32, address: IpAddr, prefix: u8) -> Message {
    let (family, octets) = family_and_octets(address);
    let mut header = [family, prefix, 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(kind, flags, &header);
    message.attribute(1, &octets);
    if address.is_ipv4() {
        message.attribute(2, &octets);
    }
    message
}

fn family_and_octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (IPV4, address.octets().to_vec()),
        IpAddr::V6(address) => (IPV6, address.octets().to_vec()),
    }
}

/// An address of an interface, of those that others can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl Address {
    /// None if it is for the link alone, or not (or no more) to be used.
    fn read(payload: &[u8]) -> Option<Self> {
        const DOUBLE: u32 = 0x8;
        const NOT_FOR_NEW: u32 = 0x20;
        const BEING_TRIED: u32 = 0x40;
        let (&[family, prefix, flags, scope], _) = payload.split_first_chunk::<4>()?;
        let mut flags = u32::from(flags);
        let (mut local, mut other) = (None, None);
        for (kind, value) in attributes(payload.get(8..)?) {
            match kind {
                1 => other = address(family, value),
                2 => local = address(family, value),
                8 => flags = u32_at(value, 0)?,
                _ => {}
            }
        }
        let is_good = scope == 0 && flags & (DOUBLE | NOT_FOR_NEW | BEING_TRIED) == 0;
        Some(Address {
            index: u32_at(payload, 4)?,
            address: local.or(other).filter(|_| is_good)?,
            prefix,
        })
    }
}

fn address(family: u8, octets: &[u8]) -> Option<IpAddr> {
    match family {
        IPV4 => Some(Ipv4Addr::from(*octets.first_chunk::<4>()?).into()),
        IPV6 => Some(Ipv6Addr::from(*octets.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// The addresses of an interface that others can reach, IPv4 first.
pub(crate) fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<(IpAddr, u8)>, Error> {
    let answers = socket.dump(Message::new(GET_ADDRESS, REQUEST | DUMP, &[0; 8]))?;
    let mut addresses: Vec<_> = answers
        .iter()
        .filter(|answer| answer.kind == NEW_ADDRESS)
        .filter_map(|answer| Address::read(&answer.payload))
        .filter(|address| address.index == index)
        .map(|address| (address.address, address.prefix))
        .collect();
    addresses.sort_unstable();
    Ok(addresses)
}

/// A way over an interface. Of two to the same the lower metric is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) destination: IpAddr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) metric: u32,
}

impl Way {
    /// To everyone.
    pub(crate) fn to_all_by(gateway: IpAddr) -> Self {
        let destination = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Way {
            destination,
            prefix: 0,
            gateway: Some(gateway),
            metric: METRIC,
        }
    }
}

impl From<&Route> for Way {
    fn from(route: &Route) -> Self {
        let gateway = Some(route.gateway).filter(|gateway| !gateway.is_unspecified());
        Way {
            destination: route.destination.into(),
            prefix: route.prefix,
            gateway: gateway.map(IpAddr::V4),
            metric: METRIC,
        }
    }
}

/// Of our ways; the kernel's own, to the network of an address, have none and come first.
const METRIC: u32 = 100;

/// Opens a way.
pub(crate) fn add_way(socket: &mut Socket, index: u32, way: Way) -> Result<(), Error> {
    let flags = REQUEST | ACKNOWLEDGE | CREATE | REPLACE;
    socket.request(way_message(NEW_ROUTE, flags, index, way))
}

/// Closes a way.
pub(crate) fn remove_way(socket: &mut Socket, index: u32, way: Way) -> Result<(), Error> {
    socket.request(way_message(DELETE_ROUTE, REQUEST | ACKNOWLEDGE, index, way))
}

fn way_message(kind: u16, flags: u16, index: u32, way: Way) -> Message {
    const MAIN: u8 = 254;
    const BY_BOOT: u8 = 3;
    const TO_ONE: u8 = 1;
    const ON_LINK: u32 = 4;
    const SCOPE_LINK: u8 = 253;
    let (family, octets) = family_and_octets(way.destination);
    let scope = match way.gateway {
        None if family == IPV4 => SCOPE_LINK,
        _ => 0,
    };
    let mut header = vec![family, way.prefix, 0, 0, MAIN, BY_BOOT, scope, TO_ONE];
    // some clouds give addresses without a network, and a router that is in none
    let hop = if way.gateway.is_some() { ON_LINK } else { 0 };
    header.extend(hop.to_ne_bytes());
    let mut message = Message::new(kind, flags, &header);
    if way.prefix > 0 {
        message.attribute(1, &octets);
    }
    message.attribute(4, &index.to_ne_bytes());
    if let Some(gateway) = way.gateway {
        message.attribute(5, &family_and_octets(gateway).1);
    }
    message.attribute(6, &way.metric.to_ne_bytes());
    message
}

/// The routers of an interface to everyone, IPv4 first.
pub(crate) fn gateways(socket: &mut Socket, index: u32) -> Result<Vec<IpAddr>, Error> {
    let mut gateways = Vec::new();
    for family in [IPV4, IPV6] {
        let mut header = [0; 12];
        header[0] = family;
        let answers = socket.dump(Message::new(GET_ROUTE, REQUEST | DUMP, &header))?;
        gateways.extend(
            answers
                .iter()
                .filter(|answer| answer.kind == NEW_ROUTE)
                .filter_map(|answer| gateway_of(&answer.payload))
                .filter_map(|(of, gateway)| (of == index).then_some(gateway)),
        );
    }
    gateways.dedup();
    Ok(gateways)
}

/// Of a route to everyone: its interface and its router.
fn gateway_of(payload: &[u8]) -> Option<(u32, IpAddr)> {
    let (&[family, prefix], _) = payload.split_first_chunk::<2>()?;
    let (mut index, mut gateway) = (None, None);
    for (kind, value) in attributes(payload.get(12..)?) {
        match kind {
            4 => index = u32_at(value, 0),
            5 => gateway = address(family, value),
            _ => {}
        }
    }
    (prefix == 0).then_some((index?, gateway?))
}

/// The resolvers that a router's option names (RFC 8106), of which interface, and for how long.
pub(crate) fn resolvers_of(payload: &[u8]) -> Option<(u32, Duration, Vec<Ipv6Addr>)> {
    const RESOLVERS: u8 = 25;
    let index = u32_at(payload, 4)?;
    let option = payload.get(16..)?;
    let (&[kind, length, _, _, a, b, c, d], _) = option.split_first_chunk::<8>()?;
    let addresses = option.get(8..usize::from(length) * 8)?;
    if kind != RESOLVERS {
        return None;
    }
    let addresses = addresses
        .chunks_exact(16)
        .filter_map(|octets| Some(Ipv6Addr::from(*octets.first_chunk::<16>()?)))
        .filter(|address| !address.is_unspecified() && !address.is_multicast())
        .take(DNS_MOST)
        .collect();
    let seconds = u32::from_be_bytes([a, b, c, d]);
    Some((index, Duration::from_secs(seconds.into()), addresses))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link(flags: u32, router_flags: u32) -> Link {
        let mut header = vec![0, 0, 1, 0, 2, 0, 0, 0];
        header.extend(flags.to_ne_bytes());
        header.extend([0; 4]);
        let mut message = Message::new(NEW_LINK, 0, &header);
        message.attribute(1, &[2, 0, 0, 0, 0, 1]).text(3, "eth0");
        message.nested(26, |families| {
            families.nested(10, |of_ipv6| {
                of_ipv6.attribute(1, &router_flags.to_ne_bytes());
            });
        });
        Link::read(&message.finish(0)[16..]).unwrap()
    }

    #[test]
    fn what_routers_say_of_dhcpv6_is_read() {
        let said = [0, 0x40, 0x80, 0xc0].map(|flags| {
            let link = link(UP, flags);
            (link.is_managed, link.has_more_told)
        });
        assert_eq!(
            said,
            [(false, false), (true, false), (false, true), (true, true)]
        );
    }

    #[test]
    fn loopback_and_halves_of_pairs_are_not_usable() {
        let plain = link(UP | CARRIER, 0);
        assert_eq!((plain.index, plain.name.as_str()), (2, "eth0"));
        assert!(plain.is_usable && plain.has_carrier);
        assert!(!link(UP | LOOPBACK, 0).is_usable);
        assert!(!link(UP | PART_OF_ANOTHER, 0).is_usable);
        assert!(!link(CARRIER, 0).has_carrier);
    }

    #[test]
    fn resolvers_of_a_router_are_read() {
        let mut payload = vec![10, 0, 24, 0, 2, 0, 0, 0, 134, 0, 0, 0, 0, 0, 0, 0];
        payload.extend([25, 3, 0, 0, 0, 0, 0, 60]);
        let server = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
        payload.extend(server.octets());
        let read = resolvers_of(&payload);
        assert_eq!(read, Some((2, Duration::from_secs(60), vec![server])));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_bad_to_be_read(bytes: Vec<u8>) {
            let _ = Link::read(&bytes);
            let _ = Address::read(&bytes);
            let _ = gateway_of(&bytes);
            let _ = resolvers_of(&bytes);
        }
    }
}
