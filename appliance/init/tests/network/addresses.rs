//! The network brought up over a real interface, against servers of the tests' own on its other end.

use crate::rig::{Peer, run, with_peer};
use appliance_init::clock::since_boot;
use appliance_init::firewall::{Opening, load, rules};
use appliance_init::network::{Network, State};
use appliance_init::settings::{self, Ipv4, Ipv6};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is waited for comes at the latest after this; else the test fails.
const SOON: Duration = Duration::from_secs(20);
/// How often it is looked for.
const POLL_TIME: Duration = Duration::from_millis(50);

fn settings() -> settings::Network {
    settings::Network {
        ipv6: Ipv6::Off,
        ..settings::Network::default()
    }
}

/// Brings it up with a file of its own for the resolvers; gives the file's text as well.
fn bring_up(settings: &settings::Network) -> (Network, impl Fn() -> String + use<>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let network = Network::bring_up_with(settings, &path).unwrap();
    let read = move || {
        let _kept = &folder;
        std::fs::read_to_string(&path).unwrap()
    };
    (network, read)
}

fn wait_until(network: &Network, what: &str, holds: impl Fn(&State) -> bool) -> State {
    let deadline = since_boot() + SOON;
    loop {
        let state = network.state();
        if holds(&state) {
            return state;
        }
        assert!(since_boot() < deadline, "not {what}: {state:?}");
        thread::sleep(POLL_TIME);
    }
}

#[test]
fn dhcp_gives_an_address_renews_it_and_a_refusal_takes_it_away() {
    with_peer(|peer| {
        run("ip link set eth0 down");
        // as strict as an appliance is
        for who in ["all", "default", "eth0"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{who}/rp_filter"), "1").unwrap();
        }
        load(&rules(&Opening::default())).unwrap();
        let server = Server::start(peer);
        let (network, resolv_conf) = bring_up(&settings());
        let state = network.state();
        assert_eq!(
            state.to_string(),
            "eth0 10.9.0.7/24 gateway 10.9.0.1 dns 10.9.0.1"
        );
        assert_eq!(state.ntp, ["10.9.0.1"]);
        assert_eq!(state.hostname.as_deref(), Some("forwarder"));
        assert!(resolv_conf().starts_with("nameserver 10.9.0.1\nsearch example.org\n"));
        let routes = run("ip route");
        assert!(routes.contains("default via 10.9.0.1 dev eth0"), "{routes}");
        assert!(!routes.contains("default dev"), "{routes}");
        assert!(run("ip link show eth0").contains("mtu 1400"));
        assert!(run("ip address show eth0").contains("valid_lft 1"));

        // the lease is of 12 s: renewed after 6
        server.wait_for_questions(3);
        assert_eq!(server.kinds(), [1, 3, 3]);
        server.refuse(true);
        let lost = wait_until(&network, "lost", |state| state.addresses.is_empty());
        assert!(lost.trouble.unwrap().contains("wants it back"));
        assert_eq!(lost.gateways, [] as [std::net::IpAddr; 0]);
        server.refuse(false);
        wait_until(&network, "had again", |state| !state.addresses.is_empty());
    });
}

#[test]
fn fixed_addresses_are_set_and_reach_their_router() {
    with_peer(|peer| {
        peer.run(|| {
            run("ip address add 10.9.0.1/24 dev eth0");
            run("ip address add fd09::1/64 dev eth0 nodad");
        });
        let settings = settings::Network {
            interface: Some("eth0".to_owned()),
            ipv4: Ipv4::Static {
                address: [10, 9, 0, 5].into(),
                prefix: 24,
                gateway: Some([10, 9, 0, 1].into()),
            },
            ipv6: Ipv6::Static {
                address: "fd09::5".parse().unwrap(),
                prefix: 64,
                gateway: Some("fd09::1".parse().unwrap()),
            },
            dns: vec!["fd09::1".parse().unwrap()],
            ntp: vec!["time.example.org".to_owned()],
        };
        let (network, resolv_conf) = bring_up(&settings);
        let state = wait_until(&network, "both", |state| state.addresses.len() == 2);
        assert_eq!(
            state.to_string(),
            "eth0 10.9.0.5/24 fd09::5/64 gateway 10.9.0.1 gateway fd09::1 dns fd09::1"
        );
        assert_eq!(state.ntp, ["time.example.org"]);
        assert!(resolv_conf().starts_with("nameserver fd09::1\n"));
        let there = peer.run(|| UdpSocket::bind("[fd09::1]:9").unwrap());
        UdpSocket::bind("[::]:0")
            .unwrap()
            .send_to(b"x", "[fd09::1]:9")
            .unwrap();
        there
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let (_, from) = there.recv_from(&mut [0; 1]).unwrap();
        assert_eq!(from.ip().to_string(), "fd09::5");
    });
}

#[test]
fn a_router_gives_a_network_a_resolver_and_asks_for_dhcpv6() {
    with_peer(|peer| {
        run("ip link set eth0 down");
        load(&rules(&Opening::default())).unwrap();
        // as an appliance has it: what is heard must be said for the one interface
        for who in ["all", "default", "eth0"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{who}/accept_ra"), "0").unwrap();
        }
        let _router = Router::start(peer);
        let settings = settings::Network {
            ipv4: Ipv4::Off,
            ipv6: Ipv6::Auto,
            ..settings::Network::default()
        };
        let (network, resolv_conf) = bring_up(&settings);
        let state = wait_until(&network, "by both", |state| state.addresses.len() == 2);
        let is = |prefix, bits| {
            let mut all = state.addresses.iter();
            all.any(|(one, of)| one.to_string().starts_with(prefix) && *of == bits)
        };
        assert!(is("fd09::77", 128), "{state}");
        assert!(is("fd09::", 64), "{state}");
        assert!(state.gateways[0].to_string().starts_with("fe80::"));
        wait_until(&network, "told", |state| state.dns.len() == 2);
        assert!(resolv_conf().starts_with("nameserver fd09::1\nnameserver fd09::2\n"));
    });
}

#[test]
fn without_a_carrier_the_boot_goes_on_and_the_network_comes_later() {
    with_peer(|peer| {
        peer.run(|| run("ip link set eth0 down"));
        let server = Server::start(peer);
        // this server sends to the address that it is about to lend, which is not ours yet
        let ours = run("ip -o link show eth0");
        let ours = ours.split("link/ether ").nth(1).unwrap();
        let ours = ours.split(' ').next().unwrap().to_owned();
        server.answer_directly();
        let (network, _) = bring_up(&settings());
        assert_eq!(network.state().addresses, []);
        peer.run(|| {
            run("ip link set eth0 up");
            run(&format!("ip neigh replace 10.9.0.7 lladdr {ours} dev eth0"));
        });
        wait_until(&network, "had", |state| !state.addresses.is_empty());
    });
}

/// A DHCP server on the other side, for one machine.
struct Server {
    state: Arc<Mutex<ServerState>>,
}

#[derive(Default)]
struct ServerState {
    /// What it was asked.
    kinds: Vec<u8>,
    refuses: bool,
    answers_directly: bool,
}

impl Server {
    fn start(peer: &Peer) -> Server {
        let socket = peer.run(|| {
            run("ip address add 10.9.0.1/24 dev eth0");
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_broadcast(true).unwrap();
            socket.bind_device(Some(b"eth0")).unwrap();
            let address: SocketAddr = "0.0.0.0:67".parse().unwrap();
            socket.bind(&address.into()).unwrap();
            UdpSocket::from(socket)
        });
        let state = Arc::new(Mutex::new(ServerState::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            let mut question = [0; 1500];
            while let Ok((_, from)) = socket.recv_from(&mut question) {
                let kind = question[242];
                let (refuses, answers_directly) = {
                    let mut state = shared.lock().unwrap();
                    state.kinds.push(kind);
                    (state.refuses, state.answers_directly)
                };
                let mut answer = question[..240].to_vec();
                answer[0] = 2;
                answer[16..20].copy_from_slice(&[10, 9, 0, 7]);
                let answer_kind = match kind {
                    1 if refuses => continue,
                    1 => 2,
                    _ if refuses => 6,
                    _ => 5,
                };
                answer.extend([53, 1, answer_kind, 54, 4, 10, 9, 0, 1]);
                answer.extend([1, 4, 255, 255, 255, 0, 3, 4, 10, 9, 0, 1, 6, 4, 10, 9, 0, 1]);
                answer.extend([42, 4, 10, 9, 0, 1, 26, 2, 5, 120, 51, 4, 0, 0, 0, 12]);
                answer.extend([12, 9]);
                answer.extend(b"forwarder");
                answer.extend([15, 11]);
                answer.extend(b"example.org");
                answer.push(255);
                // without an address it hears broadcasts alone
                let to = match from.ip().is_unspecified() {
                    true if answers_directly => "10.9.0.7:68".parse().unwrap(),
                    true => "255.255.255.255:68".parse().unwrap(),
                    false => from,
                };
                let _ = socket.send_to(&answer, to);
            }
        });
        Server { state }
    }

    fn kinds(&self) -> Vec<u8> {
        self.state.lock().unwrap().kinds.clone()
    }

    fn refuse(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }

    fn answer_directly(&self) {
        self.state.lock().unwrap().answers_directly = true;
    }

    /// Waits until so many questions have come. What becomes of them is decided by then.
    fn wait_for_questions(&self, count: usize) {
        let deadline = since_boot() + SOON;
        while self.kinds().len() < count {
            assert!(since_boot() < deadline, "only {:?} came", self.kinds());
            thread::sleep(POLL_TIME);
        }
    }
}

/// A router that advertises a network, itself and a resolver, and a DHCPv6 server beside it.
struct Router;

impl Router {
    fn start(peer: &Peer) -> Router {
        let (advertiser, server, index) = peer.run(|| {
            let index = loop {
                // its link-local address must be its own first
                let addresses = run("ip -6 address show eth0");
                if addresses.contains("fe80") && !addresses.contains("tentative") {
                    let line = run("ip -o link show eth0");
                    break line.split(':').next().unwrap().parse::<u32>().unwrap();
                }
                thread::sleep(POLL_TIME);
                run("ip link set eth0 up");
                if run("ip link show eth0").contains("NO-CARRIER") {
                    break 0;
                }
            };
            let raw = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
            raw.bind_device(Some(b"eth0")).unwrap();
            raw.set_multicast_hops_v6(255).unwrap();
            let routers: Ipv6Addr = "ff02::2".parse().unwrap();
            let server = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
            server.bind_device(Some(b"eth0")).unwrap();
            let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 547, 0, 0);
            server.bind(&SockAddr::from(any)).unwrap();
            let line = run("ip -o link show eth0");
            let index = index.max(line.split(':').next().unwrap().parse::<u32>().unwrap());
            raw.join_multicast_v6(&routers, index).unwrap();
            let server = UdpSocket::from(server);
            let group: Ipv6Addr = "ff02::1:2".parse().unwrap();
            server.join_multicast_v6(&group, index).unwrap();
            (raw, server, index)
        });
        thread::spawn(move || {
            let all = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
            // hop limit 64, managed, a router for 600 s
            let mut advert = vec![134, 0, 0, 0, 64, 0x80, 2, 88, 0, 0, 0, 0, 0, 0, 0, 0];
            // a network for SLAAC
            advert.extend([3, 4, 64, 0xc0, 0, 0, 2, 88, 0, 0, 2, 88, 0, 0, 0, 0]);
            advert.extend("fd09::".parse::<Ipv6Addr>().unwrap().octets());
            advert.extend([25, 3, 0, 0, 0, 0, 2, 88]);
            advert.extend("fd09::1".parse::<Ipv6Addr>().unwrap().octets());
            // only to who asks for it
            let mut heard = [0; 1500];
            while (&advertiser).read(&mut heard).is_ok() {
                if heard[0] == 133 {
                    let _ = advertiser.send_to(&advert, &SockAddr::from(all));
                }
            }
        });
        thread::spawn(move || {
            let mut question = [0; 1500];
            while let Ok((length, from)) = server.recv_from(&mut question) {
                let mut answer = question[..4].to_vec();
                answer[0] = if question[0] == 1 { 2 } else { 7 };
                // the client's name comes first in what we send
                assert!(length > 18 && question[4..8] == [0, 1, 0, 10]);
                answer.extend(&question[4..18]);
                answer.extend([0, 2, 0, 4, 0, 3, 0, 1]);
                let association = question[..length]
                    .windows(4)
                    .position(|at| at == [0, 3, 0, 12]);
                let number = match association {
                    Some(at) => question[at + 4..at + 8].to_vec(),
                    None => question[..length]
                        .windows(4)
                        .position(|at| at == [0, 3, 0, 40])
                        .map(|at| question[at + 4..at + 8].to_vec())
                        .unwrap(),
                };
                answer.extend([0, 3, 0, 40]);
                answer.extend(number);
                answer.extend([0; 8]);
                answer.extend([0, 5, 0, 24]);
                answer.extend("fd09::77".parse::<Ipv6Addr>().unwrap().octets());
                answer.extend([0, 0, 2, 88, 0, 0, 2, 88]);
                answer.extend([0, 23, 0, 16]);
                answer.extend("fd09::2".parse::<Ipv6Addr>().unwrap().octets());
                let _ = server.send_to(&answer, from);
            }
        });
        Router
    }
}
