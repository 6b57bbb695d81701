//! One interface, from its choice until it is gone: what the two DHCP clients and the routers say is
//! done, and what the kernel then says is told.

use super::lease::Change;
use super::links::{Lifetime, Link, Way};
use super::{Error, Keeper, Random, State, dhcp4, dhcp6, links, open, resolv};
use crate::clock::since_boot;
use crate::netlink;
use crate::settings::{self, DNS_MOST, Ipv4, Ipv6, NTP_MOST};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::thread;
use std::time::Duration;

/// Interfaces appear as their drivers find them.
const LINK_LOOK: Duration = Duration::from_millis(100);
/// After so long without a carrier the interfaces are looked through anew.
const CARRIER_WAIT: Duration = Duration::from_secs(10);
/// The kernel tells when something changes; should that be lost, it is asked so often.
const LOOK_WAIT: Duration = Duration::from_secs(60);
/// Datagrams that are read before anything else is done; more wait in the socket.
const DATAGRAMS_AT_ONCE: usize = 16;
/// No DHCP message may be longer on an Ethernet.
const DATAGRAM_BYTES: usize = 1500;

/// One interface, as long as it is there.
pub(super) struct Session<'a> {
    keeper: &'a Keeper,
    socket: netlink::Socket,
    events: netlink::Socket,
    link: Link,
    random: Random,
    dhcp4: Option<Dhcp4>,
    dhcp6: Option<Dhcp6>,
    /// Those that routers name, each until its time.
    resolvers: Vec<(Ipv6Addr, Duration)>,
    trouble: Option<String>,
}

struct Dhcp4 {
    socket: UdpSocket,
    /// Hears what the kernel keeps from `socket` as long as there is no address.
    listener: Option<socket2::Socket>,
    client: dhcp4::Client,
    lease: Option<Box<dhcp4::Lease>>,
}

struct Dhcp6 {
    socket: UdpSocket,
    client: dhcp6::Client,
    lease: Option<Box<dhcp6::Lease>>,
}

impl<'a> Session<'a> {
    /// Chooses an interface and gives it what it is to have.
    pub(super) fn begin(keeper: &'a Keeper) -> Result<Self, Error> {
        // first, so that nothing that is told is missed
        let events = open(links::GROUPS)?;
        let mut socket = open(0)?;
        let link = choose(&mut socket, &keeper.settings)?;
        let mut session = Session {
            keeper,
            socket,
            events,
            link,
            random: Random::from_kernel(),
            dhcp4: None,
            dhcp6: None,
            resolvers: Vec::new(),
            trouble: None,
        };
        session.begin_ipv6();
        session.begin_ipv4()?;
        Ok(session)
    }

    fn begin_ipv4(&mut self) -> Result<(), Error> {
        match self.keeper.settings.ipv4 {
            Ipv4::Off => {}
            Ipv4::Static {
                address,
                prefix,
                gateway,
            } => self.set_static((address.into(), prefix), gateway.map(IpAddr::V4)),
            Ipv4::Dhcp => {
                let no_socket = |cause| Error::new("no socket for DHCP", cause);
                let socket = dhcp4_socket(&self.link.name).map_err(no_socket)?;
                let random = Random::new(self.random.next().into());
                let client = dhcp4::Client::new(self.link.hardware, random, since_boot());
                self.dhcp4 = Some(Dhcp4 {
                    socket,
                    listener: Some(dhcp4_listener().map_err(no_socket)?),
                    client,
                    lease: None,
                });
            }
        }
        Ok(())
    }

    fn begin_ipv6(&mut self) {
        let (advertisements, is_off) = match self.keeper.settings.ipv6 {
            Ipv6::Auto => ("1", "0"),
            Ipv6::Static { .. } => ("0", "0"),
            Ipv6::Off => ("0", "1"),
        };
        // the last makes the kernel begin: it solicits routers only then
        for (key, value) in [
            ("accept_ra", advertisements),
            ("autoconf", advertisements),
            ("disable_ipv6", is_off),
        ] {
            let set = set_ipv6(&self.link.name, key, value);
            if self.keeper.settings.ipv6 != Ipv6::Off {
                self.note("IPv6", set);
            }
        }
        if let Ipv6::Static {
            address,
            prefix,
            gateway,
        } = self.keeper.settings.ipv6
        {
            self.set_static((address.into(), prefix), gateway.map(IpAddr::V6));
        }
    }

    fn set_static(&mut self, address: (IpAddr, u8), gateway: Option<IpAddr>) {
        let set = links::add_address(&mut self.socket, self.link.index, address, None);
        self.note(&format!("address {}", address.0), set);
        if let Some(gateway) = gateway {
            self.open_way(Way::to_all_by(gateway));
        }
    }

    fn open_way(&mut self, way: Way) {
        let opened = links::add_way(&mut self.socket, self.link.index, way);
        self.note(
            &format!("route to {}/{}", way.destination, way.prefix),
            opened,
        );
    }

    /// Remembers what went wrong; the network goes on with what it has.
    fn note<T, E: Into<io::Error>>(&mut self, what: &str, result: Result<T, E>) {
        if let Err(cause) = result {
            let cause: io::Error = cause.into();
            self.trouble = Some(format!("{what}: {cause}"));
        }
    }

    /// Goes on until the interface is gone.
    pub(super) fn run(mut self) -> Result<(), Error> {
        loop {
            self.step();
            self.look()?;
            let mut next = since_boot() + LOOK_WAIT;
            if let Some(dhcp4) = &self.dhcp4 {
                next = next.min(dhcp4.client.next());
            }
            if let Some(dhcp6) = &self.dhcp6 {
                next = next.min(dhcp6.client.next());
            }
            self.sleep(next.saturating_sub(since_boot()))?;
            self.hear()?;
        }
    }

    /// Until something comes, or the time has passed.
    fn sleep(&self, time: Duration) -> Result<(), Error> {
        // a client whose time has come but who does not go on must not make us spin
        let time = time.max(Duration::from_millis(1));
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::new(&self.events, PollFlags::IN)];
        let dhcp4 = self.dhcp4.as_ref().map(|dhcp4| &dhcp4.socket);
        let dhcp6 = self.dhcp6.as_ref().map(|dhcp6| &dhcp6.socket);
        for socket in dhcp4.into_iter().chain(dhcp6) {
            fds.push(PollFd::new(socket, PollFlags::IN));
        }
        let listener = self
            .dhcp4
            .as_ref()
            .and_then(|dhcp4| dhcp4.listener.as_ref());
        fds.extend(listener.map(|socket| PollFd::new(socket, PollFlags::IN)));
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(cause) => Err(Error::new("waiting for the network", cause)),
        }
    }

    /// Reads all that came.
    fn hear(&mut self) -> Result<(), Error> {
        let now = since_boot();
        let told = self.events.heard();
        let told = told.map_err(|cause| Error::new("the kernel's netlink", cause))?;
        for message in told.iter().filter(|one| one.kind == links::ROUTER_OPTION) {
            if let Some((index, lifetime, resolvers)) = links::resolvers_of(&message.payload)
                && index == self.link.index
            {
                self.resolvers
                    .retain(|(known, _)| !resolvers.contains(known));
                let kept = resolvers.into_iter().map(|one| (one, now + lifetime));
                self.resolvers.splice(..0, kept);
                self.resolvers.truncate(DNS_MOST);
            }
        }
        let mut buffer = [0; DATAGRAM_BYTES];
        for _ in 0..DATAGRAMS_AT_ONCE {
            let Some(dhcp4) = &mut self.dhcp4 else { break };
            let listened = match &mut dhcp4.listener {
                Some(listener) => listener.read(&mut buffer).ok(),
                None => None,
            };
            let datagram = match listened {
                Some(length) => dhcp4::datagram_in(&buffer[..length]),
                None => match dhcp4.socket.recv_from(&mut buffer) {
                    Ok((length, _)) => Some(&buffer[..length]),
                    Err(_) => break,
                },
            };
            if let Some(datagram) = datagram {
                let step = dhcp4.client.hear(datagram, now);
                self.take4(step, now);
            }
        }
        for _ in 0..DATAGRAMS_AT_ONCE {
            let mut heard = None;
            if let Some(dhcp6) = &mut self.dhcp6
                && let Ok((length, _)) = dhcp6.socket.recv_from(&mut buffer)
            {
                heard = Some(dhcp6.client.hear(&buffer[..length], now));
            }
            match heard {
                Some(step) => self.take6(step, now),
                None => break,
            }
        }
        Ok(())
    }

    /// Does what the time asks for.
    fn step(&mut self) {
        let now = since_boot();
        if let Some(step) = self.dhcp4.as_mut().map(|dhcp4| dhcp4.client.step(now)) {
            self.take4(step, now);
        }
        if let Some(step) = self.dhcp6.as_mut().map(|dhcp6| dhcp6.client.step(now)) {
            self.take6(step, now);
        }
    }

    fn take4(&mut self, step: dhcp4::Step, now: Duration) {
        const SERVERS_PORT: u16 = 67;
        let Some(dhcp4) = &mut self.dhcp4 else { return };
        let sent = step
            .send
            .map(|(datagram, to)| dhcp4.socket.send_to(&datagram, (to, SERVERS_PORT)));
        let old = match &step.change {
            None => None,
            Some(_) => dhcp4.lease.take(),
        };
        // a link that is down is not worth a word: it is asked again
        if let Some(Err(cause)) = sent {
            self.trouble = Some(format!("DHCP: {cause}"));
        }
        match step.change {
            None => {}
            Some(Change::Leased(lease, since)) => {
                self.trouble = None;
                self.set_lease4(&lease, old.as_deref(), now.saturating_sub(since));
                if let Some(dhcp4) = &mut self.dhcp4 {
                    dhcp4.lease = Some(lease);
                    dhcp4.listener = None;
                }
            }
            Some(Change::Lost(why)) => {
                self.trouble = Some(format!("the address of DHCP is lost: {why}"));
                if let Some(old) = old {
                    self.unset_lease4(&old, None);
                }
                let listener = dhcp4_listener();
                match (listener, &mut self.dhcp4) {
                    (Ok(listener), Some(dhcp4)) => dhcp4.listener = Some(listener),
                    (failed, _) => self.note("DHCP", failed),
                }
            }
        }
    }

    fn set_lease4(&mut self, lease: &dhcp4::Lease, old: Option<&dhcp4::Lease>, age: Duration) {
        let left = lease.lasts.saturating_sub(age);
        let lifetime = Lifetime {
            valid: left,
            preferred: left,
        };
        let address = (lease.address.into(), lease.prefix);
        let index = self.link.index;
        let set = links::add_address(&mut self.socket, index, address, Some(lifetime));
        self.note("address of DHCP", set);
        if let Some(old) = old {
            self.unset_lease4(old, Some(lease));
        }
        if let Some(mtu) = lease.mtu {
            let set = links::set_mtu(&mut self.socket, index, mtu);
            self.note(&format!("mtu {mtu} of DHCP"), set);
        }
        for route in &lease.routes {
            self.open_way(route.into());
        }
    }

    /// Takes away what a lease gave and the one after it does not.
    fn unset_lease4(&mut self, old: &dhcp4::Lease, new: Option<&dhcp4::Lease>) {
        let index = self.link.index;
        for route in &old.routes {
            if new.is_none_or(|new| !new.routes.contains(route)) {
                // what is gone already is as good
                let _ = links::remove_way(&mut self.socket, index, route.into());
            }
        }
        let same = |new: &dhcp4::Lease| (new.address, new.prefix) == (old.address, old.prefix);
        if !new.is_some_and(same) {
            let address = (old.address.into(), old.prefix);
            let _ = links::remove_address(&mut self.socket, index, address);
        }
    }

    fn take6(&mut self, step: dhcp6::Step, now: Duration) {
        const SERVERS_PORT: u16 = 547;
        const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
        let index = self.link.index;
        let Some(dhcp6) = &mut self.dhcp6 else { return };
        if let Some(datagram) = step.send {
            let servers = SocketAddrV6::new(SERVERS, SERVERS_PORT, 0, index);
            // without a link-local address yet there is no sending; it is asked again
            let _ = dhcp6.socket.send_to(&datagram, servers);
        }
        let Some(change) = step.change else { return };
        let old = dhcp6.lease.take().and_then(|lease| lease.address);
        let new = match change {
            Change::Leased(lease, since) => {
                let age = now.saturating_sub(since);
                let lifetime = Lifetime {
                    valid: lease.lasts.saturating_sub(age),
                    preferred: lease.preferred.saturating_sub(age),
                };
                let address = lease.address;
                dhcp6.lease = Some(lease);
                if let Some(address) = address {
                    // which network it is in the routers say, not this
                    let address = (address.into(), 128);
                    let set = links::add_address(&mut self.socket, index, address, Some(lifetime));
                    self.note("address of DHCPv6", set);
                }
                address
            }
            Change::Lost(why) => {
                self.trouble = Some(format!("the address of DHCPv6 is lost: {why}"));
                None
            }
        };
        if let Some(old) = old.filter(|old| Some(*old) != new) {
            let _ = links::remove_address(&mut self.socket, index, (old.into(), 128));
        }
    }

    /// What the kernel says now, and what follows from it.
    fn look(&mut self) -> Result<(), Error> {
        let now = since_boot();
        let ask = |cause| Error::new("the kernel says nothing of its interfaces", cause);
        let index = self.link.index;
        let links = links::links(&mut self.socket).map_err(ask)?;
        let link = links.into_iter().find(|link| link.index == index);
        let link = link.ok_or_else(|| Error::plain(format!("{} is gone", self.link.name)))?;
        if link.has_carrier
            && !self.link.has_carrier
            && let Some(dhcp4) = &mut self.dhcp4
        {
            dhcp4.client.link_is_back(now);
        }
        self.link = link;
        self.follow_routers(now);
        self.resolvers.retain(|(_, until)| *until > now);

        let (dns, ntp) = self.servers();
        let lease4 = self.lease4();
        let hostname = lease4.and_then(|lease| lease.hostname.clone());
        let domain = lease4.and_then(|lease| lease.domain.clone());
        let text = resolv::text(&dns, domain.as_deref());
        let written = resolv::write(&self.keeper.resolv_conf, &text);
        self.note("resolv.conf", written);

        let addresses = links::addresses(&mut self.socket, index).map_err(ask)?;
        let gateways = links::gateways(&mut self.socket, index).map_err(ask)?;
        let no_carrier = (!self.link.has_carrier).then(|| "no carrier".to_owned());
        self.keeper.shared.set(State {
            interface: Some(self.link.name.clone()),
            addresses,
            gateways,
            dns,
            ntp,
            hostname,
            trouble: no_carrier.or_else(|| self.trouble.clone()),
        });
        Ok(())
    }

    /// Resolvers and time servers: those of the settings, else those that servers and routers name.
    fn servers(&self) -> (Vec<IpAddr>, Vec<String>) {
        let settings = &self.keeper.settings;
        let (mut dns, mut ntp) = (settings.dns.clone(), settings.ntp.clone());
        let (lease4, lease6) = (self.lease4().into_iter(), self.lease6().into_iter());
        if dns.is_empty() {
            let of_lease4 = lease4.clone().flat_map(|lease| &lease.dns);
            dns.extend(of_lease4.map(|one| IpAddr::V4(*one)));
            let of_routers = self.resolvers.iter().map(|(one, _)| one);
            let of_lease6 = lease6.clone().flat_map(|lease| &lease.dns);
            // a file has no place for the interface that a link-local address belongs to
            let named = of_routers.chain(of_lease6);
            let named = named.filter(|one| !one.is_unicast_link_local());
            dns.extend(named.map(|one| IpAddr::V6(*one)));
        }
        if ntp.is_empty() {
            let of_lease4 = lease4.flat_map(|lease| &lease.ntp);
            ntp.extend(of_lease4.map(ToString::to_string));
            let of_lease6 = lease6.flat_map(|lease| &lease.ntp);
            ntp.extend(of_lease6.map(ToString::to_string));
        }
        dns.truncate(DNS_MOST);
        ntp.truncate(NTP_MOST);
        (dns, ntp)
    }

    fn lease4(&self) -> Option<&dhcp4::Lease> {
        self.dhcp4.as_ref()?.lease.as_deref()
    }

    fn lease6(&self) -> Option<&dhcp6::Lease> {
        self.dhcp6.as_ref()?.lease.as_deref()
    }

    /// DHCPv6 is used if the routers say so, for what they say. Once begun it goes on: a router
    /// that falls silent does not take an address away, its time does.
    fn follow_routers(&mut self, now: Duration) {
        let want = match (self.link.is_managed, self.link.has_more_told) {
            (true, _) => dhcp6::Want::Address,
            (false, true) => dhcp6::Want::Information,
            (false, false) => return,
        };
        let has_enough = self.dhcp6.as_ref().is_some_and(|dhcp6| {
            dhcp6.client.want() == want || dhcp6.client.want() == dhcp6::Want::Address
        });
        if has_enough || self.keeper.settings.ipv6 != Ipv6::Auto {
            return;
        }
        // of information alone nothing is held that would have to be given back
        self.dhcp6 = None;
        match dhcp6_socket(&self.link.name) {
            Ok(socket) => {
                let random = Random::new(self.random.next().into());
                let client = dhcp6::Client::new(self.link.hardware, want, random, now);
                self.dhcp6 = Some(Dhcp6 {
                    socket,
                    client,
                    lease: None,
                });
            }
            failed => self.note("DHCPv6", failed),
        }
    }
}

/// The interface that the settings name, else the first, once it has a carrier.
fn choose(socket: &mut netlink::Socket, settings: &settings::Network) -> Result<Link, Error> {
    let ask = |cause| Error::new("the kernel says nothing of its interfaces", cause);
    let begun = since_boot();
    let mut raised = Vec::new();
    loop {
        let mut candidates = links::links(socket).map_err(ask)?;
        candidates.retain(|link| link.is_usable && is_wanted(link, settings));
        for link in &candidates {
            if !raised.contains(&link.index) {
                // nobody's advertisement is heard before it is chosen
                let _ = set_ipv6(&link.name, "disable_ipv6", "1");
                links::set_up(socket, link.index, true).map_err(|cause| {
                    Error::new(format!("{} cannot be brought up", link.name), cause)
                })?;
                raised.push(link.index);
            }
        }
        if let Some(at) = candidates.iter().position(|link| link.has_carrier) {
            let chosen = candidates.swap_remove(at);
            for other in candidates {
                // it may be gone by now
                let _ = links::set_up(socket, other.index, false);
            }
            return Ok(chosen);
        }
        if since_boot().saturating_sub(begun) > CARRIER_WAIT {
            let names: Vec<_> = candidates.iter().map(|link| link.name.as_str()).collect();
            return Err(Error::plain(match &settings.interface {
                _ if !names.is_empty() => format!("no carrier on {}", names.join(", ")),
                Some(wanted) => format!("there is no interface {wanted} (network.interface)"),
                None => "there is no Ethernet interface: is its driver in the image?".to_owned(),
            }));
        }
        thread::sleep(LINK_LOOK);
    }
}

fn is_wanted(link: &Link, settings: &settings::Network) -> bool {
    settings.interface.as_ref().is_none_or(|wanted| {
        let hardware = link.hardware.map(|byte| format!("{byte:02x}")).join(":");
        *wanted == link.name || wanted.eq_ignore_ascii_case(&hardware)
    })
}

fn set_ipv6(link: &str, key: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/ipv6/conf/{link}/{key}"), value)
}

fn dhcp4_socket(link: &str) -> io::Result<UdpSocket> {
    let socket = bound_to_link(link, socket2::Domain::IPV4)?;
    socket.set_broadcast(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into())?;
    Ok(socket.into())
}

/// A socket that sees every IPv4 packet before the kernel judges it. Without an address the kernel
/// would drop what a server sends to the address that it is about to lend, and with `rp_filter` even
/// what it sends to all. Packets of other interfaces are seen too: the transaction's number and the
/// hardware address in them tell which is for us.
fn dhcp4_listener() -> io::Result<socket2::Socket> {
    const PACKET: i32 = 17;
    const IPV4: u16 = 0x0800;
    let protocol = socket2::Protocol::from(i32::from(IPV4.to_be()));
    let domain = socket2::Domain::from(PACKET);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn dhcp6_socket(link: &str) -> io::Result<UdpSocket> {
    let socket = bound_to_link(link, socket2::Domain::IPV6)?;
    socket.set_only_v6(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, 546)).into())?;
    Ok(socket.into())
}

fn bound_to_link(link: &str, domain: socket2::Domain) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(link.as_bytes()))?;
    Ok(socket)
}
