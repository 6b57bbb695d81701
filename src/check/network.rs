//! The way to a host: its name, a connection, TLS.

use super::certificate::Names;
use super::{Finding, Whose};
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};
use std::net::IpAddr;

/// A host to be reached, and the key that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its base URL.
    pub url: crate::config::EndpointUrl,
    /// The key.
    pub key: &'static str,
}

impl Host {
    /// Name or address, without port.
    #[must_use]
    pub fn name(&self) -> &str {
        self.url.host()
    }

    /// Port; that of the scheme if none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        let written = self.url.as_str().rsplit(':').next();
        written
            .and_then(|port| port.parse().ok())
            .unwrap_or(if self.has_tls() { 443 } else { 80 })
    }

    /// False for a rehearsal on loopback without TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.url.as_str().starts_with("https://")
    }

    /// Name and port, as HTTP writes them.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.name().contains(':') {
            true => format!("[{}]:{}", self.name(), self.port()),
            false => format!("{}:{}", self.name(), self.port()),
        }
    }

    /// How a finding calls it.
    #[must_use]
    pub fn about(&self) -> String {
        match self.port() {
            443 => self.name().to_owned(),
            port => format!("{}:{port}", self.name()),
        }
    }
}

/// That there is nobody to trust.
#[must_use]
pub fn no_authority(what: &str) -> Finding {
    Finding::failed(
        "tls",
        "",
        Whose::Machine,
        what,
        "install the package ca-certificates, or name a PEM file of authorities in sentinel.ca_file",
    )
}

/// What came of looking a name up: addresses, or the resolver's words; nothing if it did not answer
/// in time.
pub type LookedUp = Option<Result<Vec<IpAddr>, String>>;

/// The lookup of a host's name.
#[must_use]
pub fn dns(host: &Host, found: &LookedUp) -> Finding {
    const NAME: &str = "dns";
    let about = host.name();
    if about.parse::<IpAddr>().is_ok() {
        return Finding::ok(NAME, about, "an address, which needs no lookup");
    }
    let unanswered = "see whether the servers in /etc/resolv.conf can be reached from here \
                      (`resolvectl query NAME`, or `getent hosts NAME`); port 53 to them must be \
                      open";
    let error = match found {
        Some(Ok(addresses)) if !addresses.is_empty() => {
            let shown: Vec<String> = addresses.iter().take(3).map(ToString::to_string).collect();
            return Finding::ok(NAME, about, shown.join(", "));
        }
        Some(Ok(_)) => "no address",
        Some(Err(error)) => error,
        None => {
            let what = "the resolver does not answer";
            return Finding::failed(NAME, about, Whose::Network, what, unanswered);
        }
    };
    if error.contains("Temporary failure") {
        let what = "the resolver gives no answer for now (temporary failure in name resolution)";
        return Finding::failed(NAME, about, Whose::Network, what, unanswered);
    }
    let key = host.key;
    Finding::failed(
        NAME,
        about,
        Whose::Configuration,
        format!("the name leads nowhere ({error})"),
        format!(
            "compare {key} with what Azure shows, letter by letter; if it is right, this machine's \
             resolver does not know public names: for a private endpoint its zone must be linked to \
             this network, else forward public names"
        ),
    )
}

/// How a try to connect ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connected {
    /// Well.
    Yes,
    /// The other side answers that nobody listens there.
    Refused,
    /// Nothing came back.
    Silence,
    /// There is no way there.
    Unreachable,
    /// Anything else.
    Other(String),
}

/// The connections to a host's addresses, in the order in which they were tried.
#[must_use]
pub fn tcp(host: &Host, tried: &[(IpAddr, Connected)], seconds: u64) -> Finding {
    const NAME: &str = "tcp";
    let (about, port) = (host.about(), host.port());
    if let Some((ip, _)) = tried.iter().find(|(_, how)| *how == Connected::Yes) {
        let failed = tried
            .iter()
            .filter(|(_, how)| *how != Connected::Yes)
            .count();
        let note = match failed {
            0 => String::new(),
            _ => format!(", though not to {failed} other addresses of it"),
        };
        return Finding::ok(NAME, about, format!("connected to {ip}{note}"));
    }
    let way = format!(
        "let this machine connect to {} on TCP port {port}, in its own firewall and in those on the \
         way; if only a proxy may go out, that must be configured, as nothing is taken from the \
         environment",
        host.name()
    );
    match tried.first().map(|(ip, how)| (ip, how)) {
        Some((ip, Connected::Refused)) => {
            let what = format!("{ip} refuses connections to port {port}: nobody listens there");
            let remedy = format!("check host and port in {}; else {way}", host.key);
            Finding::failed(NAME, about, Whose::Network, what, remedy)
        }
        Some((ip, Connected::Silence)) => {
            let what = format!(
                "no answer from {ip} port {port} within {seconds} s: something on the way throws \
                 packets away"
            );
            Finding::failed(NAME, about, Whose::Network, what, way)
        }
        Some((ip, Connected::Unreachable)) => {
            let what = format!("no way to {ip}: the network is unreachable");
            let remedy = "see whether this machine has a route there (`ip route get ADDRESS`)";
            Finding::failed(NAME, about, Whose::Network, what, remedy)
        }
        Some((ip, Connected::Other(error))) => {
            let what = format!("no connection to {ip} port {port}: {error}");
            Finding::failed(NAME, about, Whose::Network, what, way)
        }
        Some((_, Connected::Yes)) | None => {
            Finding::skipped(NAME, about, "there is no address to connect to")
        }
    }
}

/// How a TLS handshake ended.
#[derive(Debug, Clone)]
pub enum Shaken {
    /// Well: the version, for people.
    Yes(String),
    /// By TLS's own rules.
    Tls(Box<TlsError>),
    /// The other side closed the connection.
    Closed,
    /// Nothing came back.
    Silence,
    /// Anything else.
    Other(String),
}

/// The handshake with a host; `names` are those of its certificate, if one was seen, and `has_ca_file`
/// says whether the configuration trusts more than the machine does.
#[must_use]
pub fn tls(host: &Host, shaken: &Shaken, names: Option<&Names>, has_ca_file: bool) -> Finding {
    const NAME: &str = "tls";
    let about = host.about();
    if !host.has_tls() {
        let what = "plain http, as a loopback address may have";
        return Finding::ok(NAME, about, what);
    }
    let network = |what: String, remedy: &str| {
        Finding::failed(NAME, host.about(), Whose::Network, what, remedy)
    };
    let broken = "something between here and the host breaks TLS off: a firewall that looks for \
                  names, or a proxy that must be configured; ask who runs the network";
    let error = match shaken {
        Shaken::Yes(version) => {
            let by = match names {
                Some(names) => format!(", certificate by {}", names.issuer),
                None => String::new(),
            };
            return Finding::ok(NAME, about, format!("{version}{by}"));
        }
        Shaken::Closed => {
            return network("the connection was closed in the handshake".into(), broken);
        }
        Shaken::Silence => {
            let what = "connected, but no answer to the TLS handshake";
            return network(what.into(), broken);
        }
        Shaken::Other(error) => return network(format!("no handshake: {error}"), broken),
        Shaken::Tls(error) => error,
    };
    match &**error {
        TlsError::InvalidCertificate(error) => certificate(host, error, names, has_ca_file),
        TlsError::AlertReceived(AlertDescription::ProtocolVersion)
        | TlsError::PeerIncompatible(_) => network(
            "the other side does not speak TLS 1.2 or 1.3".into(),
            "Azure speaks both: this is something in between, mostly a proxy that inspects; have it \
             updated, or let this host pass it by",
        ),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType)
        | TlsError::InappropriateMessage { .. } => network(
            format!("what listens on port {} does not speak TLS", host.port()),
            &format!(
                "check the port in {}; if it is right, something in between answers in plain text: a \
                 portal or a proxy",
                host.key
            ),
        ),
        error => network(format!("no handshake: {error}"), broken),
    }
}

fn certificate(
    host: &Host,
    error: &CertificateError,
    names: Option<&Names>,
    has_ca_file: bool,
) -> Finding {
    let nobody = Names {
        issuer: "somebody unknown".into(),
        subject: "somebody unknown".into(),
    };
    let names = names.unwrap_or(&nobody);
    let (issuer, subject) = (&names.issuer, &names.subject);
    let failed = |whose, what: String, remedy: String| {
        Finding::failed("tls", host.about(), whose, what, remedy)
    };
    match error {
        CertificateError::UnknownIssuer => failed(
            Whose::Network,
            format!("the certificate is signed by \"{issuer}\", whom this machine does not trust"),
            match has_ca_file {
                false => format!(
                    "if \"{issuer}\" is the proxy of your network that inspects TLS, put its \
                     authority's certificate as PEM into a file and name that in sentinel.ca_file; \
                     if nobody knows it, somebody listens in: do not trust it. If it is a public \
                     authority, update the package ca-certificates"
                ),
                true => format!(
                    "sentinel.ca_file holds no certificate of \"{issuer}\" either: put that \
                     authority's (not the host's) into it, if it is the proxy of your network"
                ),
            },
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => failed(
            Whose::Network,
            format!("the certificate for \"{subject}\", by \"{issuer}\", has expired ({error})"),
            "see whether this machine's clock is right (`date -u`); if it is, who runs the host or \
             the proxy named as issuer must renew the certificate"
                .into(),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => failed(
            Whose::Machine,
            format!("the certificate for \"{subject}\", by \"{issuer}\", is not valid yet ({error})"),
            "this machine's clock is most likely behind (`date -u`): synchronise it".into(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            failed(
                Whose::Configuration,
                format!(
                    "the certificate is for \"{subject}\", by \"{issuer}\", and not for {}",
                    host.name()
                ),
                format!(
                    "check the host in {}, letter by letter; if it is right, the name leads to \
                     another machine (see the address at dns), or a proxy answers in its place",
                    host.key
                ),
            )
        }
        other => failed(
            Whose::Network,
            format!("the certificate for \"{subject}\", by \"{issuer}\", is not good: {other}"),
            "who runs the host, or the proxy named as issuer, must mend its certificate".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::config::EndpointUrl;
    use rustls::PeerIncompatible;

    fn host(url: &str) -> Host {
        Host {
            url: EndpointUrl(url.into()),
            key: "sentinel.endpoint",
        }
    }

    #[test]
    fn hosts_have_a_port_and_a_short_name() {
        for (url, name, port, about) in [
            ("https://a.example", "a.example", 443, "a.example"),
            ("https://a.example:443", "a.example", 443, "a.example"),
            (
                "https://127.0.0.1:8443",
                "127.0.0.1",
                8443,
                "127.0.0.1:8443",
            ),
            ("http://localhost", "localhost", 80, "localhost:80"),
            ("https://[::1]:9", "::1", 9, "::1:9"),
            ("https://[::1]", "::1", 443, "::1"),
        ] {
            let host = host(url);
            assert_eq!((host.name(), host.port()), (name, port), "{url}");
            assert_eq!(host.about(), about);
            let written = match name {
                "::1" => format!("[::1]:{port}"),
                name => format!("{name}:{port}"),
            };
            assert_eq!(host.authority(), written);
        }
    }

    #[test]
    fn names_that_lead_nowhere_and_resolvers_that_are_silent_are_told_apart() {
        let host = host("https://a.example");
        let failing = |text: &str| Some(Err(text.to_owned()));
        for (found, verdict, what) in [
            (
                Some(Ok(vec!["192.0.2.1".parse().unwrap()])),
                Verdict::Ok,
                "192.0.2.1",
            ),
            (Some(Ok(vec![])), Verdict::Failed, "no address"),
            (
                failing("failed to lookup address information: Name or service not known"),
                Verdict::Failed,
                "leads nowhere",
            ),
            (
                failing(
                    "failed to lookup address information: Temporary failure in name resolution",
                ),
                Verdict::Failed,
                "temporary failure",
            ),
            (None, Verdict::Failed, "does not answer"),
        ] {
            let finding = dns(&host, &found);
            assert_eq!(finding.verdict, verdict);
            assert!(finding.what.contains(what), "{finding}");
        }
        let address = self::host("https://192.0.2.1");
        assert_eq!(dns(&address, &None).verdict, Verdict::Ok);
    }

    #[test]
    fn one_address_is_enough_and_else_the_first_says_why() {
        let host = host("https://a.example");
        let (one, two) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mixed = [(one, Connected::Unreachable), (two, Connected::Yes)];
        let finding = tcp(&host, &mixed, 10);
        assert_eq!(finding.verdict, Verdict::Ok);
        assert!(
            finding.what.contains("192.0.2.2, though not to 1"),
            "{finding}"
        );
        for (how, what) in [
            (Connected::Refused, "refuses connections to port 443"),
            (Connected::Silence, "within 10 s"),
            (Connected::Unreachable, "unreachable"),
            (Connected::Other("odd".into()), "odd"),
        ] {
            let finding = tcp(&host, &[(one, how)], 10);
            assert_eq!(finding.verdict, Verdict::Failed);
            assert!(finding.what.contains(what), "{finding}");
        }
    }

    #[test]
    fn handshakes_that_fail_are_told_apart() {
        let host = host("https://a.example");
        let names = Names {
            issuer: "Corp Proxy CA".into(),
            subject: "b.example".into(),
        };
        let bad = |error| Shaken::Tls(Box::new(TlsError::InvalidCertificate(error)));
        let own = |error| Shaken::Tls(Box::new(error));
        for (shaken, what, remedy) in [
            (
                bad(CertificateError::UnknownIssuer),
                "Corp Proxy CA",
                "sentinel.ca_file",
            ),
            (bad(CertificateError::Expired), "expired", "renew"),
            (bad(CertificateError::NotValidYet), "not valid yet", "clock"),
            (
                bad(CertificateError::NotValidForName),
                "\"b.example\"",
                "letter by letter",
            ),
            (bad(CertificateError::BadEncoding), "not good", "mend"),
            (
                own(TlsError::AlertReceived(AlertDescription::ProtocolVersion)),
                "TLS 1.2",
                "in between",
            ),
            (
                own(TlsError::PeerIncompatible(
                    PeerIncompatible::ServerDoesNotSupportTls12Or13,
                )),
                "TLS 1.2",
                "in between",
            ),
            (
                own(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)),
                "does not speak TLS",
                "check the port",
            ),
            (
                own(TlsError::DecryptError),
                "no handshake",
                "breaks TLS off",
            ),
            (Shaken::Closed, "closed", "breaks TLS off"),
            (Shaken::Silence, "no answer", "breaks TLS off"),
            (Shaken::Other("reset".into()), "reset", "breaks TLS off"),
        ] {
            let finding = tls(&host, &shaken, Some(&names), false);
            assert_eq!(finding.verdict, Verdict::Failed, "{finding}");
            assert!(finding.what.contains(what), "{finding}");
            assert!(finding.remedy.contains(remedy), "{finding}");
        }
        let unknown = bad(CertificateError::UnknownIssuer);
        let finding = tls(&host, &unknown, Some(&names), true);
        assert!(
            finding
                .remedy
                .contains("no certificate of \"Corp Proxy CA\" either")
        );
        let well = tls(&host, &Shaken::Yes("TLS 1.3".into()), Some(&names), false);
        assert_eq!(well.verdict, Verdict::Ok);
        let plain = self::host("http://127.0.0.1:1");
        assert_eq!(
            tls(&plain, &Shaken::Closed, None, false).verdict,
            Verdict::Ok
        );
    }
}
