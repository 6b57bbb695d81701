//! Whether the ports are free, ours already, somebody else's, or not for us to open.

use super::{Finding, Whose};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A process that has a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub id: u32,
    /// Its name, as the kernel has it: up to 15 characters.
    pub name: String,
}

/// What came of binding an address for an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// It could be bound.
    Free,
    /// Somebody listens there; with those who were found to, which needs rights.
    Taken(Vec<Owner>),
    /// A port that this user may not open.
    NoRight,
    /// An address that this machine does not have.
    NotHere,
    /// Anything else.
    Other(String),
}

/// One address of the configuration.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The address.
    pub address: SocketAddr,
    /// The key that names it.
    pub key: &'static str,
    /// What came of it.
    pub bound: Bound,
    /// A cefline answers at the metrics address of this configuration.
    pub is_running: bool,
}

/// Whether the port can be used.
#[must_use]
pub fn judge(facts: &Facts) -> Finding {
    let about = format!("{} ({})", facts.address, facts.key);
    let (key, port) = (facts.key, facts.address.port());
    match &facts.bound {
        Bound::Free if facts.is_running && key == "listen.tcp" => Finding::warning(
            "port",
            about,
            Whose::Configuration,
            "nobody listens there, although a cefline answers at metrics.listen",
            "the running cefline has another configuration: restart it with this one",
        ),
        Bound::Free => Finding::ok("port", about, "free"),
        Bound::Taken(owners) => taken(about, owners, facts),
        Bound::NoRight => Finding::failed(
            "port",
            about,
            Whose::Machine,
            format!("this user may not open a port below 1024 like {port}"),
            "start cefline by its unit (dist/cefline.service gives CAP_NET_BIND_SERVICE), or with \
             that capability, or take a port from 1024 on",
        ),
        Bound::NotHere => Finding::failed(
            "port",
            about,
            Whose::Configuration,
            "no interface of this machine has this address",
            format!(
                "write an address that `ip address` shows into {key}, or 0.0.0.0:{port} for all IPv4"
            ),
        ),
        Bound::Other(error) => Finding::failed(
            "port",
            about,
            Whose::Machine,
            format!("cannot be opened: {error}"),
            format!("choose another address in {key}"),
        ),
    }
}

fn taken(about: String, owners: &[Owner], facts: &Facts) -> Finding {
    let is_cefline = |owner: &&Owner| owner.name == "cefline";
    if let Some(owner) = owners.iter().find(is_cefline) {
        let what = format!("a running cefline has it (process {})", owner.id);
        return Finding::ok("port", about, what);
    }
    if owners.is_empty() && facts.is_running {
        let what = "taken; a running cefline answers at metrics.listen, so by that";
        return Finding::ok("port", about, what);
    }
    let port = facts.address.port();
    if !owners.is_empty() && owners.iter().all(|owner| owner.name == "systemd") {
        return Finding::warning(
            "port",
            about,
            Whose::Machine,
            "systemd listens there, and no cefline does",
            format!(
                "right if a socket unit keeps it for cefline (`systemctl list-sockets` says which); \
                 start cefline by its unit then, else stop the socket unit that has port {port}"
            ),
        );
    }
    let (who, remedy) = match owners {
        [] => (
            "another program, which only root may see".to_owned(),
            format!("`sudo ss -ltnp 'sport = :{port}'` names it; stop it"),
        ),
        owners => {
            let named: Vec<String> = owners
                .iter()
                .map(|owner| format!("{} (process {})", owner.name, owner.id))
                .collect();
            (named.join(", "), "stop that program".to_owned())
        }
    };
    Finding::failed(
        "port",
        about,
        Whose::Machine,
        format!("taken by {who}"),
        format!(
            "{remedy}, or choose another port in {} (and in the devices)",
            facts.key
        ),
    )
}

/// Inodes of the sockets that listen on an address or on one that covers it, from the text of
/// `/proc/net/tcp` or `/proc/net/tcp6`.
#[must_use]
pub fn listeners(proc_net_tcp: &str, address: SocketAddr) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let lines = proc_net_tcp.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next()?, words.nth(1)?);
        let inode = words.nth(5)?.parse().ok()?;
        (state == LISTEN).then_some((endpoint(local)?, inode))
    });
    lines
        .filter(|(other, _)| overlap(*other, address))
        .map(|(_, inode)| inode)
        .collect()
}

/// `0100007F:1F90`: 32-bit words in the machine's order, the port as a number.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = ip.get(8 * at..8 * at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (is_any || one.ip() == other.ip())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn found(bound: Bound, is_running: bool) -> Finding {
        judge(&Facts {
            address: "0.0.0.0:514".parse().unwrap(),
            key: "listen.tcp",
            bound,
            is_running,
        })
    }

    fn owner(name: &str) -> Owner {
        Owner {
            id: 42,
            name: name.into(),
        }
    }

    #[test]
    fn a_port_is_free_or_ours_or_taken_or_not_for_us() {
        let cases = [
            (Bound::Free, false, Verdict::Ok, "free", ""),
            (
                Bound::Free,
                true,
                Verdict::Warning,
                "nobody listens",
                "restart it",
            ),
            (
                Bound::Taken(vec![owner("systemd"), owner("cefline")]),
                true,
                Verdict::Ok,
                "process 42",
                "",
            ),
            (Bound::Taken(vec![]), true, Verdict::Ok, "by that", ""),
            (
                Bound::Taken(vec![]),
                false,
                Verdict::Failed,
                "only root may see",
                "sudo ss -ltnp 'sport = :514'",
            ),
            (
                Bound::Taken(vec![owner("rsyslogd")]),
                true,
                Verdict::Failed,
                "rsyslogd (process 42)",
                "stop that program",
            ),
            (
                Bound::Taken(vec![owner("systemd")]),
                false,
                Verdict::Warning,
                "systemd listens",
                "list-sockets",
            ),
            (
                Bound::NoRight,
                false,
                Verdict::Failed,
                "below 1024",
                "CAP_NET_BIND_SERVICE",
            ),
            (
                Bound::NotHere,
                false,
                Verdict::Failed,
                "no interface",
                "0.0.0.0:514",
            ),
            (
                Bound::Other("odd".into()),
                false,
                Verdict::Failed,
                "odd",
                "another address",
            ),
        ];
        for (bound, is_running, verdict, what, remedy) in cases {
            let finding = found(bound, is_running);
            assert_eq!(finding.verdict, verdict, "{finding}");
            assert!(finding.what.contains(what), "{finding}");
            assert!(finding.remedy.contains(remedy), "{finding}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_sockets_are_found_by_address_and_by_any_that_covers_it() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 00000000:0202 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1\n\
             1: 0100007F:0202 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1\n\
             2: 0100007F:0202 0200007F:1000 01 00000000:00000000 00:00000000 00000000     0        0 102 1\n\
             3: 0100007F:0203 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 103 1\n\
             broken\n";
        let at = |address: &str| listeners(text, address.parse().unwrap());
        assert_eq!(at("127.0.0.1:514"), [100, 101]);
        assert_eq!(at("10.0.0.1:514"), [100]);
        assert_eq!(at("0.0.0.0:514"), [100, 101]);
        assert_eq!(at("127.0.0.1:515"), [103]);
        let text = "head\n 0: 00000000000000000000000001000000:0202 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 200 1\n";
        assert_eq!(listeners(text, "[::1]:514".parse().unwrap()), [200]);
        assert!(listeners(text, "[::2]:514".parse().unwrap()).is_empty());
    }
}
