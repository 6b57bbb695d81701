//! The vendors whose messages are generated: how much of the traffic each one makes, and the kinds
//! of message it sends.
//!
//! A kind is a template; those of one vendor stand in one file under `vendors/`, each behind a line
//! `# SHARE WHAT IT IS`, the shares of a file adding up to 100. They are composed for this program
//! from the keys that the vendors document; names, hosts and addresses are invented.

use super::template::Template;
use fastrand::Rng;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// Declares the vendors: variant, name on the command line, share in percent, what its devices' names
/// begin with, DeviceVendor values.
macro_rules! vendors {
    ($( $(#[doc = $help:literal])+ $variant:ident => $name:literal, $share:literal, $device:literal, [$($cef:literal),+] ),+ $(,)?) => {
        /// A vendor whose messages can be generated.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Vendor {
            $( $(#[doc = $help])+ $variant, )+
        }

        impl Vendor {
            /// All of them.
            pub const ALL: &'static [Vendor] = &[ $( Vendor::$variant, )+ ];

            /// Its name on the command line: lower case, no blanks.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $( Vendor::$variant => $name, )+ }
            }

            /// Percent of all messages that are of this vendor when all vendors are generated.
            #[must_use]
            pub fn share(self) -> u32 {
                match self { $( Vendor::$variant => $share, )+ }
            }

            /// What its messages carry as device vendor.
            #[must_use]
            pub fn cef_names(self) -> &'static [&'static str] {
                match self { $( Vendor::$variant => &[$($cef),+], )+ }
            }

            /// What the names of its devices begin with.
            pub(super) fn device_kind(self) -> &'static str {
                match self { $( Vendor::$variant => $device, )+ }
            }

            fn templates(self) -> &'static str {
                match self { $( Vendor::$variant => include_str!(concat!("vendors/", $name, ".cef")), )+ }
            }
        }
    };
}

vendors! {
    /// Model breaches, AI Analyst incidents and system messages (`DCIP`).
    Darktrace => "darktrace", 13, "dt", ["Darktrace"],
    /// PAN-OS, and the very long messages of its cloud log forwarding.
    PaloAlto => "paloalto", 6, "pa", ["Palo Alto Networks"],
    /// FortiGate.
    Fortinet => "fortinet", 14, "fgt", ["Fortinet"],
    /// Firewall, application control, threat prevention.
    CheckPoint => "checkpoint", 10, "cpgw", ["Check Point"],
    /// Mail gateway, firewall, identity.
    Cisco => "cisco", 10, "csc", ["Cisco", "CISCO"],
    /// Cloud and appliance.
    Imperva => "imperva", 6, "waf", ["Incapsula", "Imperva Inc."],
    /// Workload protection, endpoint, network sensor.
    TrendMicro => "trendmicro", 9, "tm", ["Trend Micro"],
    /// Web and firewall logs.
    Zscaler => "zscaler", 9, "nss", ["Zscaler"],
    /// Vault and analytics.
    CyberArk => "cyberark", 8, "vault", ["Cyber-Ark", "CyberArk"],
    /// Central management, appliance, endpoint.
    FireEye => "fireeye", 6, "fe", ["FireEye"],
    /// Web application firewall, with whole requests in a value, and network firewall.
    F5 => "f5", 4, "bigip", ["F5"],
    /// ATA, and Windows events by way of a connector.
    Microsoft => "microsoft", 5, "msc", ["Microsoft"],
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Vendor {
    type Err = UnknownVendor;

    fn from_str(text: &str) -> Result<Self, UnknownVendor> {
        let found = Vendor::ALL
            .iter()
            .find(|vendor| vendor.name().eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| UnknownVendor(text.to_owned()))
    }
}

/// Not the name of a vendor that can be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVendor(String);

impl fmt::Display for UnknownVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no vendor is called {:?}; known are", self.0)?;
        for (index, vendor) in Vendor::ALL.iter().enumerate() {
            write!(f, "{} {vendor}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownVendor {}

/// The kinds of message of one vendor.
#[derive(Debug)]
pub(super) struct Kinds {
    templates: Vec<Template>,
    /// Of a hundred messages, which template each one uses.
    draw: Vec<usize>,
}

/// The kinds of all vendors, in the order of [`Vendor::ALL`], taken apart once.
pub(super) static KINDS: LazyLock<Vec<Kinds>> = LazyLock::new(|| {
    Vendor::ALL
        .iter()
        .map(|vendor| Kinds::of(vendor.templates()))
        .collect()
});

impl Kinds {
    fn of(file: &str) -> Self {
        let mut kinds = Kinds {
            templates: Vec::new(),
            draw: Vec::new(),
        };
        for (share, text) in split(file) {
            // A mistake is caught by a test below; here it would show itself in the message.
            let template =
                Template::parse(text).unwrap_or_else(|bad| Template::literal(&bad.to_string()));
            kinds
                .draw
                .resize(kinds.draw.len() + share, kinds.templates.len());
            kinds.templates.push(template);
        }
        kinds
    }

    /// The template for one message.
    pub(super) fn draw(&self, rng: &mut Rng) -> &Template {
        &self.templates[self.draw[rng.usize(..self.draw.len())]]
    }
}

/// Share and template of each kind in a file.
fn split(file: &str) -> impl Iterator<Item = (usize, &str)> {
    file.split("# ").skip(1).filter_map(|kind| {
        let (title, text) = kind.split_once('\n')?;
        let share = title.split(' ').next()?.parse().ok()?;
        Some((share, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_without_mistakes_and_holds_one_id() {
        for vendor in Vendor::ALL {
            assert!(split(vendor.templates()).count() >= 2, "{vendor}");
            for (_, text) in split(vendor.templates()) {
                if let Err(bad) = Template::parse(text) {
                    panic!("{vendor}: {bad}");
                }
                assert_eq!(
                    text.matches("externalId={id}").count(),
                    1,
                    "{vendor}: {text}"
                );
                assert_eq!(text.matches("{id}").count(), 1, "{vendor}: {text}");
            }
        }
    }

    #[test]
    fn shares_add_up_to_a_hundred() {
        assert_eq!(
            Vendor::ALL.iter().map(|vendor| vendor.share()).sum::<u32>(),
            100
        );
        for vendor in Vendor::ALL {
            let kinds = split(vendor.templates()).map(|(share, _)| share);
            assert_eq!(kinds.sum::<usize>(), 100, "{vendor}");
        }
    }

    #[test]
    fn a_vendor_is_found_by_its_name_and_an_unknown_one_is_told_the_names() {
        for vendor in Vendor::ALL {
            assert_eq!(vendor.name().to_uppercase().parse(), Ok(*vendor));
        }
        let message = "acme".parse::<Vendor>().unwrap_err().to_string();
        assert!(
            message.starts_with("no vendor is called \"acme\"; known are darktrace, paloalto,"),
            "{message}"
        );
    }
}
