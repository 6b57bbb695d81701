//! The proxy that connections to Azure go through, and the tunnels that it opens.

use super::network::{Connected, Host, LookedUp};
use super::{Finding, Whose};
use std::net::IpAddr;

const NAME: &str = "proxy";

/// How a tunnel (`CONNECT`) to a host was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tunnel {
    /// It is open.
    Open,
    /// The proxy's answer.
    Status(u16),
    /// The proxy took the connection, and nothing came back.
    Silence,
    /// The proxy closed the connection, or answered what is no HTTP.
    Broken(String),
}

/// What is known of the proxy.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Its name and port.
    pub about: &'a str,
    /// What came of looking its name up.
    pub found: &'a LookedUp,
    /// The connections to its addresses, in the order in which they were tried.
    pub tried: &'a [(IpAddr, Connected)],
    /// The tunnels that it was asked for.
    pub tunnels: &'a [Tunnel],
    /// `sentinel.proxy_user` is set.
    pub has_user: bool,
    /// How long each step was given.
    pub seconds: u64,
}

/// That no proxy is configured; `variables` are those of the environment that name one, and are not
/// followed.
#[must_use]
pub fn none(variables: &[String]) -> Finding {
    let note = match variables {
        [] => String::new(),
        names => format!(
            "; {} is set in this environment, and cefline takes none from there",
            names.join(", ")
        ),
    };
    Finding::ok(NAME, "", format!("none is configured{note}"))
}

/// That the file with its password cannot be read.
#[must_use]
pub fn no_password(about: &str, what: &str) -> Finding {
    let remedy = "see that the user that runs cefline can read the file of \
                  sentinel.proxy_password_file";
    Finding::failed(
        NAME,
        about,
        Whose::Configuration,
        format!("its password, {what}"),
        remedy,
    )
}

/// The proxy itself: whether it is there, is one, and takes us.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Finding {
    let failed =
        |whose, what: String, remedy: &str| Finding::failed(NAME, facts.about, whose, what, remedy);
    let check = "check host and port in sentinel.proxy; ask who runs the network";
    match facts.found {
        Some(Ok(ips)) if !ips.is_empty() => {}
        Some(Ok(_)) | None => {
            let what = "its name has no address, or the resolver does not answer".into();
            return failed(Whose::Network, what, check);
        }
        Some(Err(error)) => {
            let what = format!("its name leads nowhere ({error})");
            return failed(Whose::Configuration, what, check);
        }
    }
    let Some((ip, _)) = facts.tried.iter().find(|(_, how)| *how == Connected::Yes) else {
        let what = match facts.tried.first() {
            Some((ip, Connected::Refused)) => format!("{ip} refuses connections to its port"),
            Some((ip, Connected::Silence)) => {
                format!("no answer from {ip} within {} s", facts.seconds)
            }
            Some((ip, Connected::Other(error))) => format!("no connection to {ip}: {error}"),
            Some((ip, Connected::Unreachable | Connected::Yes)) => format!("no way to {ip}"),
            None => "it has no address to connect to".into(),
        };
        return failed(Whose::Network, what, check);
    };
    if facts.tunnels.contains(&Tunnel::Status(407)) {
        return match facts.has_user {
            false => failed(
                Whose::Configuration,
                "it wants a name and a password (status 407)".into(),
                "set sentinel.proxy_user and sentinel.proxy_password_file; cefline proves itself \
                 by Basic only: if the proxy wants Kerberos or NTLM, let this machine pass without",
            ),
            true => failed(
                Whose::Configuration,
                "it refuses name and password (status 407)".into(),
                "check sentinel.proxy_user and what stands in the file of \
                 sentinel.proxy_password_file; cefline proves itself by Basic only: if the proxy \
                 wants Kerberos or NTLM, let this machine pass without",
            ),
        };
    }
    let is_none = |tunnel: &Tunnel| matches!(tunnel, Tunnel::Silence | Tunnel::Broken(_));
    match facts.tunnels.first() {
        Some(first) if facts.tunnels.iter().all(is_none) => {
            let what = format!(
                "what listens there is no HTTP proxy: {}",
                told(first, facts.seconds)
            );
            failed(Whose::Configuration, what, check)
        }
        _ => Finding::ok(NAME, facts.about, format!("connected to {ip}")),
    }
}

/// The tunnel to a host, in the place of a connection to it.
#[must_use]
pub fn tunnel(host: &Host, proxy: &str, tunnel: &Tunnel, seconds: u64) -> Finding {
    let about = host.about();
    let target = format!("{} port {}", host.name(), host.port());
    let what = match tunnel {
        Tunnel::Open => {
            return Finding::ok("tcp", about, format!("a tunnel through the proxy {proxy}"));
        }
        Tunnel::Status(status @ 500..) => {
            let what = format!("the proxy {proxy} cannot reach {target} (status {status})");
            let remedy = format!(
                "check the host in {}, letter by letter; if it is right, who runs the proxy must \
                 let it look that name up and connect to it",
                host.key
            );
            return Finding::failed("tcp", about, Whose::Network, what, remedy);
        }
        Tunnel::Status(status) => {
            format!("the proxy {proxy} refuses a tunnel to {target} (status {status})")
        }
        broken => format!(
            "the proxy {proxy} opens no tunnel to {target}: {}",
            told(broken, seconds)
        ),
    };
    let remedy = format!("have CONNECT to {target} allowed in the proxy");
    Finding::failed("tcp", about, Whose::Network, what, remedy)
}

fn told(tunnel: &Tunnel, seconds: u64) -> String {
    match tunnel {
        Tunnel::Open => "the tunnel is open".into(),
        Tunnel::Status(status) => format!("status {status}"),
        Tunnel::Silence => format!("no answer to CONNECT within {seconds} s"),
        Tunnel::Broken(error) => format!("no answer to CONNECT: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::config::EndpointUrl;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn of(found: &LookedUp, how: &Connected, tunnels: &[Tunnel], has_user: bool) -> Finding {
        judge(&Facts {
            about: "proxy.example:3128",
            found,
            tried: &[(IP, how.clone())],
            tunnels,
            has_user,
            seconds: 2,
        })
    }

    #[test]
    fn a_proxy_that_is_away_is_none_or_refuses_us_is_told_apart() {
        let found = Some(Ok(vec![IP]));
        let yes = Connected::Yes;
        let broken = || Tunnel::Broken("odd".into());
        for (found, how, tunnels, has_user, what) in [
            (None, &yes, vec![], false, "the resolver does not answer"),
            (Some(Ok(vec![])), &yes, vec![], false, "no address"),
            (
                Some(Err("Name".into())),
                &yes,
                vec![],
                false,
                "leads nowhere (Name)",
            ),
            (
                found.clone(),
                &Connected::Refused,
                vec![],
                false,
                "refuses connections",
            ),
            (
                found.clone(),
                &Connected::Silence,
                vec![],
                false,
                "within 2 s",
            ),
            (
                found.clone(),
                &Connected::Unreachable,
                vec![],
                false,
                "no way to",
            ),
            (
                found.clone(),
                &Connected::Other("x".into()),
                vec![],
                false,
                ": x",
            ),
            (
                found.clone(),
                &yes,
                vec![Tunnel::Status(407)],
                false,
                "wants a name",
            ),
            (
                found.clone(),
                &yes,
                vec![Tunnel::Status(407)],
                true,
                "refuses name and password",
            ),
            (
                found.clone(),
                &yes,
                vec![broken(), Tunnel::Silence],
                false,
                "no HTTP proxy",
            ),
        ] {
            let finding = of(&found, how, &tunnels, has_user);
            assert_eq!(finding.verdict, Verdict::Failed, "{finding}");
            assert!(finding.what.contains(what), "{finding}");
            assert!(!finding.remedy.is_empty());
        }
        for tunnels in [
            vec![Tunnel::Open],
            vec![Tunnel::Open, broken()],
            // that is told of the host
            vec![Tunnel::Status(403), Tunnel::Status(502)],
            vec![],
        ] {
            let finding = of(&found, &yes, &tunnels, false);
            assert_eq!(finding.verdict, Verdict::Ok, "{finding}");
        }
    }

    #[test]
    fn a_tunnel_that_is_refused_is_told_from_one_that_leads_nowhere() {
        let host = Host {
            url: EndpointUrl("https://a.example".into()),
            key: "sentinel.endpoint",
        };
        for (how, what, remedy) in [
            (
                Tunnel::Status(403),
                "refuses a tunnel to a.example port 443 (status 403)",
                "allowed",
            ),
            (
                Tunnel::Status(502),
                "cannot reach a.example",
                "sentinel.endpoint",
            ),
            (
                Tunnel::Silence,
                "no answer to CONNECT within 2 s",
                "allowed",
            ),
            (Tunnel::Broken("reset".into()), "reset", "allowed"),
        ] {
            let finding = tunnel(&host, "p:1", &how, 2);
            assert_eq!(finding.verdict, Verdict::Failed, "{finding}");
            assert!(finding.what.contains(what), "{finding}");
            assert!(finding.remedy.contains(remedy), "{finding}");
        }
        assert_eq!(tunnel(&host, "p:1", &Tunnel::Open, 2).verdict, Verdict::Ok);
    }
}
