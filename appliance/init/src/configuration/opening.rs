//! What the firewall must open for a cefline.toml: the ports it listens on, and those of others that
//! it connects to. Pure.
//!
//! cefline checks its configuration itself. So what is not understood here opens nothing, and
//! cefline says what is wrong with it.

use crate::firewall::{Cidr, Opening};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use toml::{Table, Value};

/// Listeners that are let in: cefline takes 64 addresses for syslog and one for its metrics, and
/// refuses a configuration with more.
const LISTENERS_MOST: usize = 65;

/// Whether there is anything to send to.
#[must_use]
pub fn has_destination(cefline: &Table) -> bool {
    cefline.contains_key("sentinel")
}

/// What to open for cefline.
#[must_use]
pub fn opening(cefline: &Table, senders: Vec<Cidr>) -> Opening {
    let sentinel = table(cefline, "sentinel");
    let identity = sentinel.and_then(|sentinel| table(sentinel, "identity"));
    let further = table(cefline, "destination").into_iter().flatten();
    let destinations = sentinel
        .into_iter()
        .chain(further.filter_map(|(_, destination)| destination.as_table()));
    let mut urls: Vec<&str> = destinations.flat_map(endpoints).collect();
    urls.extend(sentinel.and_then(|sentinel| text(sentinel, "proxy")));
    urls.extend(identity.and_then(|identity| text(identity, "authority")));
    let tcp_out: BTreeSet<u16> = urls.into_iter().filter_map(port_of).collect();
    Opening {
        tcp_in: listeners(cefline),
        senders,
        tcp_out: tcp_out.into_iter().collect(),
        metadata: identity.is_some_and(wants_metadata),
        azure_host: false,
    }
}

/// Addresses that others are to reach.
fn listeners(cefline: &Table) -> Vec<SocketAddr> {
    let tcp = table(cefline, "listen").and_then(|listen| listen.get("tcp"));
    let tcp = tcp.and_then(Value::as_array).into_iter().flatten();
    let metrics = table(cefline, "metrics").and_then(|metrics| metrics.get("listen"));
    let written = tcp.chain(metrics).filter_map(Value::as_str);
    let addresses = written.filter_map(|text| text.parse::<SocketAddr>().ok());
    addresses
        .filter(|address| !address.ip().is_loopback())
        .take(LISTENERS_MOST)
        .collect()
}

/// The endpoint of a destination, and those of its rules.
fn endpoints(destination: &Table) -> Vec<&str> {
    let rules = destination.get("rules").and_then(Value::as_array);
    let rules = rules.into_iter().flatten().filter_map(Value::as_table);
    let all = std::iter::once(destination).chain(rules);
    all.filter_map(|table| text(table, "endpoint")).collect()
}

/// Whether cefline is to be who the cloud says it is; as an `auto` it may find out so.
fn wants_metadata(identity: &Table) -> bool {
    matches!(text(identity, "kind"), Some("managed_identity" | "auto"))
}

/// The port of a URL.
fn port_of(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or_default();
    // an IPv6 address has colons of its own
    let after_host = authority.rsplit(']').next().unwrap_or_default();
    match after_host.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None if scheme.eq_ignore_ascii_case("https") => Some(443),
        None if scheme.eq_ignore_ascii_case("http") => Some(80),
        None => None,
    }
}

fn table<'t>(parent: &'t Table, key: &str) -> Option<&'t Table> {
    parent.get(key).and_then(Value::as_table)
}

fn text<'t>(parent: &'t Table, key: &str) -> Option<&'t str> {
    parent.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opening_of(text: &str) -> Opening {
        opening(&text.parse().unwrap(), Vec::new())
    }

    #[test]
    fn what_cefline_listens_on_is_open_unless_it_is_loopback() {
        let opening = opening_of(
            "[listen]\ntcp = ['0.0.0.0:514', '[::]:6514', '127.0.0.1:28330', 'x']\n\
             [metrics]\nlisten = '10.0.0.2:9514'",
        );
        let addresses: Vec<String> = opening.tcp_in.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["0.0.0.0:514", "[::]:6514", "10.0.0.2:9514"]);
        let off = opening_of("[metrics]\nlisten = 'off'");
        assert_eq!(off, Opening::default());
        assert_eq!(opening_of("[metrics]\nlisten = '[::1]:9514'").tcp_in, []);
    }

    #[test]
    fn no_more_listeners_are_let_in_than_cefline_has() {
        let addresses: String = (1..=100).map(|n| format!("'0.0.0.0:{n}',")).collect();
        let opening = opening_of(&format!("listen.tcp = [{addresses}]"));
        assert_eq!(opening.tcp_in.len(), LISTENERS_MOST);
    }

    #[test]
    fn every_place_that_cefline_connects_to_has_its_port_open() {
        let opening = opening_of(
            "[sentinel]\nendpoint = 'https://a.ingest.monitor.azure.com'\nproxy = 'http://proxy:3128'\n\
             rules = ['dcr-1', { id = 'dcr-2', endpoint = 'https://10.0.2.2:8443/' }]\n\
             [sentinel.identity]\nkind = 'client_secret'\nauthority = 'https://[fe80::1]:8444'\n\
             [destination.basic]\nendpoint = 'http://127.0.0.1'\n\
             [destination.more]\nrules = [{ endpoint = 'HTTPS://x:9' }]",
        );
        assert_eq!(opening.tcp_out, [9, 80, 443, 3128, 8443, 8444]);
        assert!(!opening.metadata);
    }

    #[test]
    fn only_who_asks_the_cloud_may_reach_its_metadata() {
        for (kind, wants) in [
            ("managed_identity", true),
            ("auto", true),
            ("azure_arc", false),
        ] {
            let opening = opening_of(&format!("[sentinel.identity]\nkind = '{kind}'"));
            assert_eq!(opening.metadata, wants, "{kind}");
        }
    }

    #[test]
    fn without_a_destination_there_is_no_configuration() {
        assert!(!has_destination(&"[listen]\ntcp = []".parse().unwrap()));
        assert!(has_destination(&"[sentinel]".parse().unwrap()));
    }

    #[test]
    fn a_url_has_the_port_that_it_names_or_that_of_its_scheme() {
        for (url, port) in [
            ("https://x", Some(443)),
            ("http://x/", Some(80)),
            ("https://[::1]", Some(443)),
            ("https://[::1]:1", Some(1)),
            ("https://x:65536", None),
            ("ftp://x", None),
            ("x:1", None),
        ] {
            assert_eq!(port_of(url), port, "{url}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_opens_something_or_nothing(text in "\\PC*", url in "[a-z:/\\[\\]0-9]*") {
            let _ = port_of(&url);
            if let Ok(table) = text.parse::<Table>() {
                let _ = opening(&table, Vec::new());
            }
        }
    }
}
