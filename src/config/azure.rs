//! Names that Azure gives: endpoint, rule, stream, tenant; and the clouds they live in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use toml::de::DeValue;

use super::Rule;
use super::value::{Checked, Wrong, text};
use crate::limits::STREAM_NAME_BYTES_MOST;

/// An `https` URL without query and without trailing slash (`http` for loopback addresses).
/// Scheme and host are in lower case; there is no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl(pub(crate) String);

/// `dcr-` and 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleId(pub(crate) String);

/// `Custom-` and a name of letters, digits, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName(pub(crate) String);

impl EndpointUrl {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without port and brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((ipv6, _)) => ipv6,
            None => rest.split(':').next().unwrap_or_default(),
        }
    }

    /// The port, by the scheme if none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let place = rest.split('/').next().unwrap_or_default();
        let behind = match place.rsplit_once(']') {
            Some((_, behind)) => behind,
            None => place,
        };
        let written = behind
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        written.unwrap_or(if scheme == "http" { 80 } else { 443 })
    }

    /// True for this machine's own addresses, the only ones that plain `http` may go to.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl RuleId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl StreamName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the instance metadata service of Azure's virtual machines is.
const METADATA_HOST: &str = "169.254.169.254";

/// One of Azure's clouds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cloud {
    pub(super) name: &'static str,
    /// Its name in the configuration.
    pub(super) word: &'static str,
    /// End of every ingestion host, of collection endpoints and of rules.
    endpoint_suffix: &'static str,
    /// Login hosts; the first is the default.
    logins: &'static [&'static str],
    /// Scope of tokens for ingestion.
    pub(super) scope: &'static str,
}

/// Microsoft's overview of the Logs Ingestion API lists the audiences, its identity libraries the
/// login hosts. The first is the one for endpoints that tell nothing.
pub(super) const CLOUDS: &[Cloud] = &[
    Cloud {
        name: "public",
        word: "public",
        endpoint_suffix: ".ingest.monitor.azure.com",
        logins: &["login.microsoftonline.com"],
        scope: "https://monitor.azure.com/.default",
    },
    Cloud {
        name: "US Government",
        word: "us_government",
        endpoint_suffix: ".ingest.monitor.azure.us",
        logins: &["login.microsoftonline.us"],
        scope: "https://monitor.azure.us/.default",
    },
    Cloud {
        name: "China",
        word: "china",
        endpoint_suffix: ".ingest.monitor.azure.cn",
        logins: &["login.chinacloudapi.cn", "login.partner.microsoftonline.cn"],
        scope: "https://monitor.azure.cn/.default",
    },
];

impl Cloud {
    /// The cloud that an ingestion host belongs to.
    pub(super) fn of_endpoint(host: &str) -> Option<&'static Cloud> {
        CLOUDS
            .iter()
            .find(|cloud| host.ends_with(cloud.endpoint_suffix))
    }

    /// The cloud that a login host belongs to.
    pub(super) fn of_login(host: &str) -> Option<&'static Cloud> {
        CLOUDS.iter().find(|cloud| cloud.logins.contains(&host))
    }

    /// Where tokens are asked for.
    pub(super) fn authority(&self) -> EndpointUrl {
        EndpointUrl(format!("https://{}", self.logins.first().unwrap_or(&"")))
    }
}

/// Where rows go. With `checked`, only to Azure or to this machine: the host gets all rows and a
/// token that lets its bearer write more.
pub(super) fn endpoint(value: &DeValue<'_>, checked: bool) -> Checked<EndpointUrl> {
    const ALLOWED: &str = "the base URL of logs ingestion that Azure shows for the collection \
                           endpoint or rule, like \"https://NAME.REGION-1.ingest.monitor.azure.com\"";
    let url = base_url(text(value, ALLOWED)?, ALLOWED)?;
    if checked && !url.is_loopback() && Cloud::of_endpoint(url.host()).is_none() {
        let suffixes: Vec<&str> = CLOUDS.iter().map(|cloud| cloud.endpoint_suffix).collect();
        let allowed = format!(
            "hosts that end in {}, loopback addresses, or any with endpoint_check = false",
            suffixes.join(", ")
        );
        return Err(Wrong::new("a host outside of Azure Monitor", allowed));
    }
    Ok(url)
}

/// Where tokens are asked for. With `checked`, only hosts of Microsoft's or this machine: the host
/// gets the secret. Of `must` only, if that is known.
pub(super) fn authority(
    value: &DeValue<'_>,
    checked: bool,
    must: Option<&Cloud>,
) -> Checked<EndpointUrl> {
    const ALLOWED: &str =
        "the base URL of the login host, like \"https://login.microsoftonline.com\"";
    let url = base_url(text(value, ALLOWED)?, ALLOWED)?;
    if checked && !url.is_loopback() && Cloud::of_login(url.host()).is_none() {
        let logins = CLOUDS.iter().flat_map(|cloud| cloud.logins).copied();
        let allowed = format!(
            "{}, loopback addresses, or any with endpoint_check = false",
            logins.collect::<Vec<_>>().join(", ")
        );
        return Err(Wrong::new("not a login host of Microsoft's", allowed));
    }
    if let (Some(must), Some(login)) = (must, Cloud::of_login(url.host()))
        && must != login
    {
        let what = format!(
            "a login host of the {} cloud for an endpoint in the {} cloud",
            login.name, must.name
        );
        let allowed = format!(
            "{}, or any with endpoint_check = false",
            must.logins.join(", ")
        );
        return Err(Wrong::new(what, allowed));
    }
    Ok(url)
}

/// Where a machine asks who it is. Only this machine's own addresses and the link-local one that
/// Azure uses, which no router forwards: in the clear, and what answers is believed.
pub(super) fn metadata(value: &DeValue<'_>) -> Checked<EndpointUrl> {
    const ALLOWED: &str = "\"http://169.254.169.254\" or a loopback address with its port";
    let url = any_base_url(text(value, ALLOWED)?, ALLOWED)?;
    if !url.is_loopback() && url.host() != METADATA_HOST {
        return Err(Wrong::new(
            "neither Azure's metadata service nor this machine",
            ALLOWED,
        ));
    }
    Ok(url)
}

/// A proxy's URL.
pub(super) fn proxy(value: &DeValue<'_>) -> Checked<EndpointUrl> {
    const ALLOWED: &str = "\"http://HOST:PORT\"; name and password in proxy_user and \
                           proxy_password_file";
    let url = any_base_url(text(value, ALLOWED)?, ALLOWED)?;
    if !url.as_str().starts_with("http://") {
        return Err(Wrong::new(
            "not http: what goes through it has TLS of its own",
            ALLOWED,
        ));
    }
    Ok(url)
}

/// The Azure resource id of an identity.
pub(super) fn resource_id(value: &DeValue<'_>) -> Checked<String> {
    const ALLOWED: &str = "the identity's resource id, like \"/subscriptions/…/resourceGroups/…/\
                           providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME\"";
    let text = text(value, ALLOWED)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.()".contains(&b);
    if !text.starts_with("/subscriptions/") || text.len() > 1024 || !text.bytes().all(plain) {
        return Err(Wrong::new("not a resource id", ALLOWED).hidden_if_secret(text));
    }
    Ok(text.to_owned())
}

/// `SCHEME://HOST` or `SCHEME://HOST:PORT`, a slash at the end forgiven; `http` for loopback only.
fn base_url(text: &str, allowed: &str) -> Checked<EndpointUrl> {
    let url = any_base_url(text, allowed)?;
    if url.as_str().starts_with("http:") && !url.is_loopback() {
        let what = "http would send tokens in the clear: only loopback addresses may have it";
        return Err(Wrong::new(what, allowed));
    }
    Ok(url)
}

fn any_base_url(text: &str, allowed: &str) -> Checked<EndpointUrl> {
    let wrong = |what: &str| Err(Wrong::new(what, allowed));
    let Some((scheme, rest)) = text.split_once("://") else {
        let wrong = Wrong::new("not a URL: no https:// in front", allowed);
        return Err(wrong.hidden_if_secret(text));
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" && scheme != "http" {
        return wrong("neither https nor, for loopback addresses, http");
    }
    if rest.contains('@') {
        return wrong("a URL with a user name").map_err(Wrong::hidden);
    }
    if rest.contains(['?', '#']) {
        return wrong("a URL with a query").map_err(Wrong::hidden);
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('/') {
        return wrong("a URL with a path; only the part up to the host or port is wanted");
    }
    let Some(host_and_port) = host_and_port(rest) else {
        return wrong("not a URL: the host or the port is malformed");
    };
    Ok(EndpointUrl(format!("{scheme}://{host_and_port}")))
}

/// `rest` in lower case, if it is a host with or without a port.
fn host_and_port(rest: &str) -> Option<String> {
    let port_at = match rest.strip_prefix('[') {
        Some(inner) => 2 + inner.split_once(']').map(|(ip, _)| ip)?.len(),
        None => rest.find(':').unwrap_or(rest.len()),
    };
    let (host, port) = rest.split_at_checked(port_at)?;
    let is_ipv6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
    if !is_ipv6 && host.parse::<Ipv4Addr>().is_err() && !is_dns_name(host) {
        return None;
    }
    let port_good = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|b| b.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    port_good.then(|| rest.to_ascii_lowercase())
}

/// Labels of letters, digits and inner hyphens. A last label of digits is refused: programs
/// disagree on which address "127.1" or "0x7f.1" means.
fn is_dns_name(name: &str) -> bool {
    let label_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.split('.').all(label_good)
        && last.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// A rule: its immutable id, or a table with that and the endpoint.
pub(super) fn rule(value: &DeValue<'_>, checked: bool) -> Checked<Rule> {
    const ALLOWED: &str = "a rule's immutableId, or { id = \"dcr-…\", endpoint = \"https://…\" }";
    let DeValue::Table(table) = value else {
        return rule_id(value).map(Rule::from);
    };
    let known = ["id", "endpoint"];
    if let Some(key) = table
        .keys()
        .find(|key| !known.contains(&key.get_ref().as_ref()))
    {
        let what = format!("an unknown key {:?}", key.get_ref());
        return Err(Wrong::new(what, ALLOWED));
    }
    let Some(id) = table.get("id") else {
        return Err(Wrong::new("a table without id", ALLOWED));
    };
    let url = table.get("endpoint");
    Ok(Rule {
        id: rule_id(id.get_ref())?,
        endpoint: url
            .map(|url| endpoint(url.get_ref(), checked))
            .transpose()?,
    })
}

/// The immutable id of a data collection rule.
fn rule_id(value: &DeValue<'_>) -> Checked<RuleId> {
    const ALLOWED: &str = "the rule's immutableId (not its name): dcr- and 32 hexadecimal digits";
    let text = text(value, ALLOWED)?;
    match text.strip_prefix("dcr-") {
        Some(digits) if digits.len() == 32 && is_hex(digits) => Ok(RuleId(text.to_owned())),
        Some(digits) if is_hex(digits) => {
            let what = format!("{} digits behind dcr-, not 32", digits.len());
            Err(Wrong::new(what, ALLOWED))
        }
        _ => Err(Wrong::new("not an immutable id", ALLOWED)),
    }
}

/// The name of an input stream of the rule.
pub(super) fn stream(value: &DeValue<'_>) -> Checked<StreamName> {
    let allowed = format!(
        "the rule's input stream: Custom- and letters, digits, _ or -, up to \
         {STREAM_NAME_BYTES_MOST} bytes"
    );
    let text = text(value, &allowed)?;
    let plain = |name: &str| {
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    match text.strip_prefix("Custom-") {
        Some(name) if !name.is_empty() && plain(name) && text.len() <= STREAM_NAME_BYTES_MOST => {
            Ok(StreamName(text.to_owned()))
        }
        None if text.starts_with("Microsoft-") => {
            Err(Wrong::new("an output stream of the rule", allowed))
        }
        _ => Err(Wrong::new("not a stream's name", allowed)),
    }
}

/// A GUID; `what` says whose.
pub(super) fn guid(value: &DeValue<'_>, what: &str) -> Checked<String> {
    let allowed = format!("{what}: a GUID like \"01234567-89ab-cdef-0123-456789abcdef\"");
    let text = text(value, &allowed)?;
    if is_guid(text) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("not a GUID", allowed).hidden_if_secret(text))
}

/// A tenant: its GUID, or one of its domain names.
pub(super) fn tenant(value: &DeValue<'_>) -> Checked<String> {
    const ALLOWED: &str = "the directory (tenant) id: a GUID, or a domain name of the tenant \
                           like \"example.onmicrosoft.com\"";
    let text = text(value, ALLOWED)?;
    if is_guid(text) || (text.contains('.') && is_dns_name(text)) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("neither a GUID nor a domain name", ALLOWED).hidden_if_secret(text))
}

/// A scope for the client credentials grant.
/// Of `must` only, if that is known.
pub(super) fn scope(value: &DeValue<'_>, must: Option<&Cloud>) -> Checked<String> {
    const ALLOWED: &str = "audience and /.default, like \"https://monitor.azure.com/.default\"";
    let text = text(value, ALLOWED)?;
    let audience = text.strip_suffix("/.default").unwrap_or_default();
    let plain = |c: char| c.is_ascii_graphic();
    if audience.is_empty() || audience.len() > 256 || !audience.chars().all(plain) {
        return Err(Wrong::new("not a scope", ALLOWED));
    }
    if let Some(must) = must
        && text.replace("//.default", "/.default") != must.scope
    {
        let what = format!("not the scope of the {} cloud", must.name);
        let allowed = format!("{}, or any with endpoint_check = false", must.scope);
        return Err(Wrong::new(what, allowed));
    }
    Ok(text.to_owned())
}

fn is_guid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let mut groups = text.split('-');
    let each_good = lengths.iter().all(|length| {
        groups
            .next()
            .is_some_and(|group| group.len() == *length && is_hex(group))
    });
    each_good && groups.next().is_none()
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(text: &str, check: impl FnOnce(&DeValue<'_>) -> Checked<T>) -> Checked<T> {
        check(&DeValue::String(text.into()))
    }

    #[test]
    fn endpoints_of_azure_and_of_this_machine_are_taken() {
        for (text, url, host) in [
            (
                "https://soc-a1b2.westeurope-1.ingest.monitor.azure.com",
                "https://soc-a1b2.westeurope-1.ingest.monitor.azure.com",
                "soc-a1b2.westeurope-1.ingest.monitor.azure.com",
            ),
            (
                "HTTPS://NAME.REGION-1.ingest.monitor.azure.com/",
                "https://name.region-1.ingest.monitor.azure.com",
                "name.region-1.ingest.monitor.azure.com",
            ),
            (
                "https://r-x-westeurope.logs.z1.ingest.monitor.azure.com",
                "https://r-x-westeurope.logs.z1.ingest.monitor.azure.com",
                "r-x-westeurope.logs.z1.ingest.monitor.azure.com",
            ),
            (
                "https://a.ingest.monitor.azure.us:443",
                "https://a.ingest.monitor.azure.us:443",
                "a.ingest.monitor.azure.us",
            ),
            (
                "http://127.0.0.1:8080",
                "http://127.0.0.1:8080",
                "127.0.0.1",
            ),
            ("http://localhost:1", "http://localhost:1", "localhost"),
            ("https://[::1]:9", "https://[::1]:9", "::1"),
        ] {
            let found = with(text, |value| endpoint(value, true)).unwrap();
            assert_eq!((found.as_str(), found.host()), (url, host));
        }
    }

    #[test]
    fn endpoints_that_would_leak_are_refused() {
        for text in [
            "ftp://a.ingest.monitor.azure.com",
            "a.ingest.monitor.azure.com",
            "https://",
            "https://a..ingest.monitor.azure.com",
            "https://.ingest.monitor.azure.com",
            "https://ingest.monitor.azure.com",
            "https://a.ingest.monitor.azure.com.",
            "https://a.ingest.monitor.azure.com.evil.example",
            "https://evil.example",
            "https://evil.example#.ingest.monitor.azure.com",
            "https://evil.example/.ingest.monitor.azure.com",
            "https://evil.example\\.ingest.monitor.azure.com",
            "https://user:pw@a.ingest.monitor.azure.com",
            "https://a.ingest.monitor.azure.com:0",
            "https://a.ingest.monitor.azure.com:65536",
            "https://a.ingest.monitor.azure.com:+1",
            "https://a.ingest.monitor.azure.com/dataCollectionRules/dcr-0",
            "https://a.ingest.monitor.azure.com?x=1",
            "https://a b.ingest.monitor.azure.com",
            "https://\u{e4}.ingest.monitor.azure.com",
            "http://a.ingest.monitor.azure.com",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://127.1",
            "http://10.0.0.1",
            "http://[::ffff:10.0.0.1]",
            "https://[::1",
            "https://[::1]x",
        ] {
            assert!(with(text, |value| endpoint(value, true)).is_err(), "{text}");
        }
    }

    #[test]
    fn without_the_check_any_host_will_do_but_http_still_will_not() {
        assert!(with("https://relay.example", |value| endpoint(value, false)).is_ok());
        assert!(with("http://relay.example", |value| endpoint(value, false)).is_err());
        assert!(
            with("https://login.example", |value| authority(
                value, false, None
            ))
            .is_ok()
        );
        assert!(
            with("https://login.example", |value| authority(
                value, true, None
            ))
            .is_err()
        );
        assert!(
            with("https://login.microsoftonline.us", |value| authority(
                value, true, None
            ))
            .is_ok()
        );
    }

    #[test]
    fn a_url_that_may_hold_a_secret_is_not_repeated() {
        for text in ["https://u:pw@x", "https://x?sig=1", "abc8Q~x"] {
            let wrong = with(text, |value| endpoint(value, true)).unwrap_err();
            assert!(wrong.hide_value, "{text}");
        }
    }

    #[test]
    fn clouds_have_a_login_and_are_told_apart_by_their_hosts() {
        for cloud in CLOUDS {
            let host = format!("x{}", cloud.endpoint_suffix);
            assert_eq!(Cloud::of_endpoint(&host), Some(cloud));
            assert_eq!(Cloud::of_login(cloud.authority().host()), Some(cloud));
        }
    }

    #[test]
    fn ids_are_exact() {
        let zeros = "0".repeat(32);
        assert!(with(&format!("dcr-{zeros}"), rule_id).is_ok());
        for text in [
            &zeros,
            &format!("dcr-{zeros}0"),
            "dcr-",
            "my-rule",
            "dcr-xyz",
        ] {
            assert!(with(text, rule_id).is_err(), "{text}");
        }
        assert!(with("Custom-CommonSecurityLog", stream).is_ok());
        let long = format!("Custom-{}", "x".repeat(STREAM_NAME_BYTES_MOST - 7));
        assert!(with(&long, stream).is_ok());
        assert!(with(&format!("{long}x"), stream).is_err());
        for text in [
            "Custom-",
            "custom-X",
            "Microsoft-CommonSecurityLog",
            "Custom-a/b",
            "Custom-a b",
        ] {
            assert!(with(text, stream).is_err(), "{text}");
        }
        let id = "01234567-89ab-cdef-0123-456789ABCDEF";
        assert!(with(id, |value| guid(value, "an id")).is_ok());
        assert!(with(id, tenant).is_ok());
        assert!(with("example.onmicrosoft.com", tenant).is_ok());
        for text in [
            "common",
            "organizations",
            &id[1..],
            &format!("{id}-0"),
            "a b.c",
        ] {
            assert!(with(text, tenant).is_err(), "{text}");
        }
        assert!(with("example.com", |value| guid(value, "an id")).is_err());
        assert!(
            with("https://monitor.azure.com//.default", |value| scope(
                value, None
            ))
            .is_ok()
        );
        for text in ["/.default", "https://monitor.azure.com", "a b/.default"] {
            assert!(with(text, |value| scope(value, None)).is_err(), "{text}");
        }
    }
}
