//! The rules in the real kernel: read back by `nft`, and tried by real connections.

use crate::rig::{Peer, run, with_peer};
use appliance_init::firewall::{Chain, Match, Opening, Rule, Verdict, load, rules};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

/// On a cable without rules an answer takes well under a millisecond.
const PATIENCE: Duration = Duration::from_millis(400);

fn opening() -> Opening {
    Opening {
        tcp_in: vec![
            "[::]:514".parse().unwrap(),
            "0.0.0.0:6514".parse().unwrap(),
            "10.9.0.1:601".parse().unwrap(),
            "127.0.0.1:9090".parse().unwrap(),
        ],
        senders: vec!["10.9.0.0/30".parse().unwrap(), "fd09::/16".parse().unwrap()],
        tcp_out: vec![8443, 443],
        metadata: true,
        azure_host: true,
    }
}

#[test]
fn the_kernel_has_the_rules_as_they_were_written() {
    with_peer(|_| {
        if Command::new("nft").arg("-v").output().is_err() {
            println!("skipped: `nft` is not there (package nftables)");
            return;
        }
        let rules = rules(&opening());
        // twice: the second takes the place of the first
        load(&rules).unwrap();
        load(&rules).unwrap();
        let listed = run("nft list table inet cefline");
        for chain in Chain::ALL {
            let block = listed.split(&format!("chain {} {{", chain.name())).nth(1);
            let found: Vec<&str> = block
                .unwrap()
                .lines()
                .skip(2)
                .map(str::trim)
                .take_while(|line| *line != "}")
                .collect();
            let wanted: Vec<String> = rules
                .iter()
                .filter(|rule| rule.chain == chain)
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, wanted, "chain {}", chain.name());
        }
        assert_eq!(listed.matches("policy drop;").count(), 3);
        assert_eq!(run("nft list tables"), "table inet cefline\n");
    });
}

#[test]
fn as_many_senders_and_listeners_as_are_allowed_have_their_rules() {
    with_peer(|_| {
        let senders = (0..=255).map(|n| format!("10.{n}.0.0/16").parse().unwrap());
        let listeners = (1..=65).map(|port| SocketAddr::from(([0, 0, 0, 0], port)));
        let opening = Opening {
            tcp_in: listeners.collect(),
            senders: senders.collect(),
            ..Opening::default()
        };
        load(&rules(&opening)).unwrap();
        if Command::new("nft").arg("-v").output().is_ok() {
            let listed = run("nft list chain inet cefline input");
            assert_eq!(listed.matches("ip saddr 10.").count(), 256 * 65);
        }
    });
}

#[test]
fn a_rule_that_the_kernel_refuses_is_named_and_the_old_ones_stay() {
    with_peer(|_| {
        load(&rules(&opening())).unwrap();
        let mut wrong = rules(&Opening::default());
        let refused = Rule {
            chain: Chain::Input,
            // never
            matches: vec![Match::AtMostPerSecond(0)],
            verdict: Verdict::Accept,
        };
        wrong.insert(7, refused.clone());
        let error = load(&wrong).unwrap_err().to_string();
        assert!(error.contains(&format!("input: {refused}")), "{error}");
        if Command::new("nft").arg("-v").output().is_ok() {
            let listed = run("nft list chain inet cefline input");
            assert!(listed.contains("tcp dport 6514"), "{listed}");
        }
    });
}

#[test]
fn listeners_are_reached_and_nothing_else_is() {
    with_peer(|peer| {
        addresses(peer);
        load(&rules(&opening())).unwrap();
        for (address, is_open) in [
            ("10.9.0.1:514", true),
            ("[fd09::1]:514", true),
            ("10.9.0.1:6514", true),
            ("10.9.0.1:601", true),
            ("10.9.0.1:515", false),
            ("[fd09::1]:6514", false),
            ("10.9.0.1:9090", false),
            ("10.9.0.1:22", false),
            // from a sender that was not named
            ("10.8.0.1:514", false),
            ("10.8.0.1:6514", false),
        ] {
            let to: SocketAddr = address.parse().unwrap();
            let listener = TcpListener::bind(to).unwrap();
            let reached = peer.run(|| TcpStream::connect_timeout(&to, PATIENCE));
            match reached {
                Ok(mut stream) => {
                    assert!(is_open, "{address} is open");
                    let (mut accepted, _) = listener.accept().unwrap();
                    stream.write_all(b"ping").unwrap();
                    let mut heard = [0; 4];
                    accepted.read_exact(&mut heard).unwrap();
                    accepted.write_all(&heard).unwrap();
                    stream.read_exact(&mut heard).unwrap();
                    assert_eq!(&heard, b"ping");
                }
                Err(error) => {
                    assert!(!is_open, "{address}: {error}");
                    assert_eq!(error.kind(), ErrorKind::TimedOut, "{address}");
                }
            }
        }
        let tracked = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
        assert_eq!(tracked.unwrap().trim(), "0");
        let here = TcpListener::bind("127.0.0.1:9090").unwrap();
        TcpStream::connect_timeout(&here.local_addr().unwrap(), PATIENCE).unwrap();
        // of many echoes a few are answered
        let answered = peer.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let to: SocketAddr = "10.9.0.1:0".parse().unwrap();
            let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
            for _ in 0..50 {
                socket.send_to(&echo, &to.into()).unwrap();
            }
            let mut heard = [0; 64];
            (0..50)
                .take_while(|_| (&socket).read(&mut heard).is_ok())
                .count()
        });
        assert!((1..=20).contains(&answered), "{answered}");
    });
}

#[test]
fn only_what_is_needed_goes_out() {
    with_peer(|peer| {
        addresses(peer);
        load(&rules(&opening())).unwrap();
        for (address, is_open) in [
            ("10.9.0.2:443", true),
            ("[fd09::2]:443", true),
            ("10.9.0.2:8443", true),
            ("10.9.0.2:53", true),
            ("169.254.169.254:80", true),
            ("168.63.129.16:80", true),
            ("168.63.129.16:32526", false),
            ("10.9.0.2:80", false),
            ("169.254.169.254:8080", false),
            ("[fd09::2]:25", false),
            ("10.9.0.2:514", false),
        ] {
            let to: SocketAddr = address.parse().unwrap();
            let _listener = peer.run(|| TcpListener::bind(to).unwrap());
            let reached = TcpStream::connect_timeout(&to, PATIENCE);
            assert_eq!(reached.is_ok(), is_open, "{address}: {reached:?}");
        }
        for (port, is_open) in [(53, true), (123, true), (514, false), (443, false)] {
            let there = peer.run(|| UdpSocket::bind(("10.9.0.2", port)).unwrap());
            there.set_read_timeout(Some(PATIENCE)).unwrap();
            let here = UdpSocket::bind("0.0.0.0:0").unwrap();
            here.set_read_timeout(Some(PATIENCE)).unwrap();
            let sent = here.send_to(b"ping", ("10.9.0.2", port));
            assert_eq!(sent.is_ok(), is_open, "udp {port}: {sent:?}");
            if is_open {
                let mut heard = [0; 4];
                let (_, from) = there.recv_from(&mut heard).unwrap();
                there.send_to(&heard, from).unwrap();
                here.recv_from(&mut heard).unwrap();
            }
        }
        // a call from the port that listens
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from: SocketAddr = "10.9.0.1:514".parse().unwrap();
        socket.bind(&from.into()).unwrap();
        let to: SocketAddr = "10.9.0.2:8080".parse().unwrap();
        let _listener = peer.run(|| TcpListener::bind(to).unwrap());
        assert!(socket.connect_timeout(&to.into(), PATIENCE).is_err());
        if Command::new("nft").arg("-v").output().is_ok() {
            let listed = run("nft list chain inet cefline output");
            assert!(!listed.contains("counter packets 0 "), "{listed}");
        }
    });
}

/// Two networks on the cable: one of the senders that are named, one of others.
fn addresses(peer: &Peer) {
    run("ip link set eth0 up");
    run("ip address add 10.9.0.1/24 dev eth0");
    run("ip address add 10.8.0.1/24 dev eth0");
    run("ip address add fd09::1/64 dev eth0 nodad");
    run("ip route add 168.63.129.16 dev eth0");
    run("ip route add 169.254.169.254 dev eth0");
    peer.run(|| {
        run("ip address add 10.9.0.2/24 dev eth0");
        run("ip address add 10.8.0.2/24 dev eth0");
        run("ip address add fd09::2/64 dev eth0 nodad");
        run("ip address add 168.63.129.16 dev eth0");
        run("ip address add 169.254.169.254 dev eth0");
    });
}
