//! `appliance.toml`: what the appliance itself may be told, checked. cefline's own configuration is
//! another file, and cefline's business.

use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    pub senders: Vec<String>,
}
