//! `appliance.toml`: what the appliance itself may be told, checked. cefline's own configuration is
//! another file, and cefline's business.
//!
//! ```toml
//! hostname = "collector-1"
//! [network]
//! ipv4 = { address = "10.0.0.2/24", gateway = "10.0.0.1" }
//! dns = ["10.0.0.53"]
//! [firewall]
//! senders = ["10.0.0.0/8"]
//! ```

use crate::firewall::{Cidr, decimal};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use toml::Value;

/// Resolvers that are asked, from all sources together; C libraries ask no more.
pub const DNS_MOST: usize = 3;
/// Time servers that are asked, of all names together: enough to outvote one that is wrong.
pub const NTP_MOST: usize = 4;
/// Networks that may send: each is a rule of the firewall for each listener.
pub const SENDERS_MOST: usize = 256;

/// All of `appliance.toml`; every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Name of this machine; by default what DHCP says, else `cefline`.
    pub hostname: Option<String>,
    /// How the machine is reached, and reaches others.
    pub network: Network,
    /// What the firewall lets in besides what cefline's configuration listens on.
    pub firewall: Firewall,
}

/// How the machine is reached, and reaches others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Name (`eth0`) or hardware address (`52:54:00:12:34:56`) of the interface; by default the
    /// first that has a carrier.
    pub interface: Option<String>,
    /// IPv4: `"dhcp"` (default), `"off"`, or an address.
    pub ipv4: Ipv4,
    /// IPv6: `"auto"` (default: router advertisements, and DHCPv6 where they ask for it), `"off"`,
    /// or an address.
    pub ipv6: Ipv6,
    /// Resolvers, in place of those that DHCP names: at most 3.
    pub dns: Vec<IpAddr>,
    /// Time servers, names or addresses, in place of those that DHCP names: at most 4.
    pub ntp: Vec<String>,
}

/// How the machine gets its IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ipv4 {
    /// By DHCP.
    #[default]
    Dhcp,
    /// Not at all.
    Off,
    /// By being told.
    Static {
        /// Its address.
        address: Ipv4Addr,
        /// Bits of its network: 1 to 32.
        prefix: u8,
        /// The router, if others are to be reached.
        gateway: Option<Ipv4Addr>,
    },
}

/// How the machine gets its IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ipv6 {
    /// By router advertisements (SLAAC), and by DHCPv6 where they ask for it.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// By being told.
    Static {
        /// Its address.
        address: Ipv6Addr,
        /// Bits of its network: 1 to 128.
        prefix: u8,
        /// The router, if others are to be reached.
        gateway: Option<Ipv6Addr>,
    },
}

/// What the firewall lets in besides what cefline's configuration listens on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Firewall {
    /// Networks (`10.0.0.0/8`) that may send; by default all.
    #[serde(deserialize_with = "networks")]
    pub senders: Vec<Cidr>,
}

/// What is wrong with `appliance.toml`: one line that names key, value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "appliance.toml: {}", self.0)
    }
}

impl std::error::Error for Error {}

impl Settings {
    /// Reads and checks a whole file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(text: &str) -> Result<Self, Error> {
        let settings: Settings =
            toml::from_str(text).map_err(|error| Error(in_one_line(text, &error)))?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(name) = &self.hostname {
            require(
                is_host_name(name) && name.len() <= 64,
                "hostname",
                name,
                HOST,
            )?;
        }
        let network = &self.network;
        if let Some(name) = &network.interface {
            let is_name = (1..16).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            let allowed = "a name such as eth0, or an address such as 52:54:00:12:34:56";
            let is_good = is_name || is_hardware_address(name);
            require(is_good, "network.interface", name, allowed)?;
        }
        at_most(network.dns.len(), DNS_MOST, "network.dns")?;
        at_most(network.ntp.len(), NTP_MOST, "network.ntp")?;
        for server in &network.ntp {
            let is_good = is_host_name(server) || server.parse::<IpAddr>().is_ok();
            require(is_good, "network.ntp", server, "names and addresses")?;
        }
        let count = self.firewall.senders.len();
        at_most(count, SENDERS_MOST, "firewall.senders")
    }
}

/// What is wrong with a TOML text, and in which line of it.
#[must_use]
pub fn in_one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("line {}: {message}", 1 + before.matches('\n').count()),
        None => message,
    }
}

const HOST: &str = "letters, digits, - and .";

fn require(is_good: bool, key: &str, value: &str, allowed: &str) -> Result<(), Error> {
    if is_good {
        return Ok(());
    }
    Err(wrong_value(key, value, allowed))
}

fn wrong_value(key: &str, value: &str, allowed: &str) -> Error {
    Error(format!("{key} = {value:?}: allowed are {allowed}"))
}

fn at_most(count: usize, most: usize, key: &str) -> Result<(), Error> {
    if count <= most {
        return Ok(());
    }
    Err(Error(format!(
        "{key}: {count} are too many, at most {most} are allowed"
    )))
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..64).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() < 254 && text.split('.').all(is_label)
}

fn is_hardware_address(text: &str) -> bool {
    let mut pairs = text.split(':');
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    pairs.clone().count() == 6 && pairs.all(is_pair)
}

/// What the firewall cannot take must be said here: there it would be too late.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Cidr>, D::Error> {
    let (key, allowed) = ("firewall.senders", "networks such as 10.0.0.0/8");
    let read = |text: &String| match text.parse() {
        Ok(network) => Ok(network),
        Err(_) => Err(D::Error::custom(wrong_value(key, text, allowed).0)),
    };
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(read).collect()
}

// ---- addresses: a word, or a table

impl<'de> Deserialize<'de> for Ipv4 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::of(Value::deserialize(deserializer)?);
        match written.map_err(|value| D::Error::custom(wrong("ipv4", "dhcp", &value)))? {
            Written::Word(word) if word == "dhcp" => Ok(Ipv4::Dhcp),
            Written::Word(word) if word == "off" => Ok(Ipv4::Off),
            Written::Word(word) => Err(D::Error::custom(wrong("ipv4", "dhcp", &word))),
            Written::Table(table) => {
                let (address, prefix, gateway) =
                    table.read("ipv4", 32).map_err(D::Error::custom)?;
                let network = |ip: Ipv4Addr| ip.to_bits() >> (32 - u32::from(prefix));
                let is_near = gateway.is_none_or(|gateway| {
                    gateway != address && (network(gateway) == network(address) || prefix == 32)
                });
                let static_address = Ipv4::Static {
                    address,
                    prefix,
                    gateway,
                };
                let (key, gateway) = ("ipv4.gateway", table.gateway.unwrap_or_default());
                require(
                    is_near,
                    key,
                    &gateway,
                    "other addresses of the network of ipv4.address",
                )
                .map_err(|error| D::Error::custom(error.0))?;
                Ok(static_address)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Ipv6 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::of(Value::deserialize(deserializer)?);
        match written.map_err(|value| D::Error::custom(wrong("ipv6", "auto", &value)))? {
            Written::Word(word) if word == "auto" => Ok(Ipv6::Auto),
            Written::Word(word) if word == "off" => Ok(Ipv6::Off),
            Written::Word(word) => Err(D::Error::custom(wrong("ipv6", "auto", &word))),
            Written::Table(table) => {
                let (address, prefix, gateway) =
                    table.read("ipv6", 128).map_err(D::Error::custom)?;
                Ok(Ipv6::Static {
                    address,
                    prefix,
                    gateway,
                })
            }
        }
    }
}

fn wrong(key: &str, automatic: &str, value: &str) -> String {
    format!(
        "network.{key} = {value:?}: allowed are \"{automatic}\", \"off\", and a table with address = \
         \"ADDRESS/BITS\" and perhaps gateway"
    )
}

enum Written {
    Word(String),
    Table(Static),
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Static {
    address: String,
    gateway: Option<String>,
}

impl Written {
    /// Or the text of what is neither.
    fn of(value: Value) -> Result<Written, String> {
        match value {
            Value::String(word) => Ok(Written::Word(word)),
            Value::Table(table) => {
                let text = table.to_string().replace('\n', ", ");
                table.try_into().map(Written::Table).map_err(|_| text)
            }
            other => Err(other.to_string()),
        }
    }
}

impl Static {
    fn read<A: std::str::FromStr>(
        &self,
        key: &str,
        bits: u8,
    ) -> Result<(A, u8, Option<A>), String> {
        let address = self.address.split_once('/').and_then(|(address, prefix)| {
            let prefix = decimal(prefix).filter(|prefix| (1..=bits).contains(prefix))?;
            Some((address.parse().ok()?, prefix))
        });
        let written = &self.address;
        let (address, prefix) = address.ok_or_else(|| {
            format!("network.{key}.address = {written:?}: allowed is ADDRESS/BITS, with 1 to {bits} bits")
        })?;
        let gateway = self.gateway.as_ref().map(|written| {
            let wrong = || {
                format!("network.{key}.gateway = {written:?}: allowed is an address of its kind")
            };
            written.parse().map_err(|_| wrong())
        });
        Ok((address, prefix, gateway.transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(lines: &str) -> Result<Network, Error> {
        Settings::read(&format!("[network]\n{lines}")).map(|settings| settings.network)
    }

    #[test]
    fn nothing_written_is_dhcp_and_router_advertisements() {
        let settings = Settings::read("").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.network.ipv4, Ipv4::Dhcp);
        assert_eq!(settings.network.ipv6, Ipv6::Auto);
        let words = network("ipv4 = \"dhcp\"\nipv6 = \"auto\"").unwrap();
        assert_eq!(words, Network::default());
        let off = network("ipv4 = \"off\"\nipv6 = \"off\"").unwrap();
        assert_eq!((off.ipv4, off.ipv6), (Ipv4::Off, Ipv6::Off));
    }

    #[test]
    fn a_table_is_a_fixed_address() {
        let written = "ipv4 = { address = \"10.0.0.2/24\", gateway = \"10.0.0.1\" }\n\
                       [network.ipv6]\naddress = \"2001:db8::2/64\"";
        let network = network(written).unwrap();
        let address = Ipv4Addr::new(10, 0, 0, 2);
        let gateway = Some(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(
            network.ipv4,
            Ipv4::Static {
                address,
                prefix: 24,
                gateway
            }
        );
        let address = "2001:db8::2".parse().unwrap();
        assert_eq!(
            network.ipv6,
            Ipv6::Static {
                address,
                prefix: 64,
                gateway: None
            }
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key_its_value_and_what_is_allowed() {
        for (text, parts) in [
            (
                "[network]\nipv4 = \"bootp\"",
                ["line 2", "network.ipv4", "bootp", "dhcp"],
            ),
            (
                "[network]\nipv4 = 4",
                ["line 2", "network.ipv4", "4", "dhcp"],
            ),
            (
                "network.ipv4 = { adress = \"x\" }",
                ["line 1", "network.ipv4", "adress", "address ="],
            ),
            (
                "network.ipv4 = { address = \"10.0.0.2\" }",
                ["line 1", "ipv4.address", "10.0.0.2", "BITS"],
            ),
            (
                "network.ipv4 = { address = \"10.0.0.2/33\" }",
                ["line 1", "ipv4.address", "33", "1 to 32"],
            ),
            (
                "network.ipv4 = { address = \"10.0.0.2/+8\" }",
                ["line 1", "ipv4.address", "+8", "1 to 32"],
            ),
            (
                "network.ipv4 = { address = \"10.0.0.2/24\", gateway = \"10.0.1.1\" }",
                ["line 1", "ipv4.gateway", "10.0.1.1", "of the network"],
            ),
            (
                "network.ipv6 = { address = \"::2/64\", gateway = \"10.0.0.1\" }",
                ["line 1", "ipv6.gateway", "10.0.0.1", "of its kind"],
            ),
            (
                "hostname = \"a b\"",
                ["appliance.toml", "hostname", "a b", "letters"],
            ),
            (
                "network.interface = \"eth0/..\"",
                ["appliance.toml", "network.interface", "eth0/..", "52:54"],
            ),
            (
                "network.ntp = [\"-\"]",
                ["appliance.toml", "network.ntp", "-", "names"],
            ),
            (
                "network.dns = [\"ns1\"]",
                ["line 1", "invalid", "IP", "address"],
            ),
            (
                "network.dns = [\"::1\", \"::2\", \"::3\", \"::4\"]",
                ["network.dns", "4", "at most", "3"],
            ),
            (
                "firewall.senders = [\"10.0.0.0/40\"]",
                ["firewall.senders", "10.0.0.0/40", "allowed", "/8"],
            ),
            (
                "firewall.senders = [\"10.0.0.1/8\"]",
                ["firewall.senders", "10.0.0.1/8", "allowed", "/8"],
            ),
            (
                "firewall.senders = [\"10.0.0.0/+8\"]",
                ["firewall.senders", "10.0.0.0/+8", "allowed", "/8"],
            ),
            (
                "firewall.sender = []",
                ["line 1", "unknown", "sender", "senders"],
            ),
        ] {
            let error = Settings::read(text).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
            for part in parts {
                assert!(error.contains(part), "{text}: {part} is not in: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_or_refused(text in "\\PC*") {
            let _ = Settings::read(&text);
            let _ = network(&format!("ipv4 = {{ address = {text:?} }}"));
        }

        #[test]
        fn text_that_is_nearly_toml_is_read_or_refused(text in "[\\[\\]{}\"'=.,#a0\u{e4}\u{1f600}\u{feff}\r\n\\\\u-]{0,24}") {
            let _ = Settings::read(&text);
            let _ = Settings::read(&format!("hostname = \"{text}"));
        }

        #[test]
        fn every_fixed_address_is_taken(bits in any::<u32>(), prefix in 1u8..=32) {
            let address = Ipv4Addr::from_bits(bits);
            let network = network(&format!("ipv4 = {{ address = \"{address}/{prefix}\" }}"));
            prop_assert_eq!(network.unwrap().ipv4, Ipv4::Static { address, prefix, gateway: None });
        }
    }
}
