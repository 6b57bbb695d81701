//! The rules of `[[filter]]`, checked: which rows they mean, and what becomes of those.
//!
//! ```text
//! read     rules and their conditions...
//! actions  ...and what becomes of the rows, key by key
//! sheet    a table, and which of its keys are known
//! single   single values
//! sense    what is well written and yet can never match
//! ```

mod actions;
mod read;
mod sense;
mod sheet;
mod single;

pub(super) use read::filters;

use crate::columns::Column;
use std::net::IpAddr;
use std::time::Duration;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Its name: small letters, digits, `_` and `-`; no two rules have the same.
    pub name: String,
    /// It means the rows for which all of these hold; all rows if there are none.
    pub when: Vec<Condition>,
    /// What becomes of them.
    pub action: Action,
}

/// What must hold for a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Of one value in it.
    Value(Field, Test),
    /// Its frame came from an address in one of these networks.
    Peer(Vec<Network>),
    /// All of these hold.
    All(Vec<Condition>),
    /// At least one of these holds.
    Any(Vec<Condition>),
    /// This does not hold.
    Not(Box<Condition>),
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// What a column holds.
    Column(&'static Column),
    /// What a key of the extension holds, whether it has a column or not.
    Key(String),
}

impl Field {
    /// The column's name, or the key.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Field::Column(column) => column.name,
            Field::Key(key) => key,
        }
    }
}

/// What must hold for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// It is there, or it is not.
    Exists(bool),
    /// One of these texts matches.
    Text {
        /// How.
        how: How,
        /// The texts, none of them empty.
        texts: Vec<String>,
        /// ASCII letters match in either case.
        ignore_case: bool,
    },
    /// It is one of these numbers.
    Numbers(Vec<Number>),
    /// It is a number between these, both included; at least one is set.
    Range(Option<Number>, Option<Number>),
    /// It is an address in one of these networks.
    Networks(Vec<Network>),
}

/// How a text matches a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is all of it.
    Equals,
    /// It is its beginning.
    Prefix,
    /// It is its end.
    Suffix,
    /// It is somewhere in it.
    Contains,
}

/// A finite number.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A whole one.
    Whole(i64),
    /// One with a fraction.
    Real(f64),
}

impl Number {
    /// The number that a text is.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Number> {
        let text = std::str::from_utf8(text.trim_ascii()).ok()?;
        if let Ok(whole) = text.parse() {
            return Some(Number::Whole(whole));
        }
        // words such as "inf" are no numbers
        let is_plain = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        let real: f64 = text.parse().ok().filter(|_| text.bytes().all(is_plain))?;
        real.is_finite().then_some(Number::Real(real))
    }

    fn real(self) -> f64 {
        match self {
            Number::Whole(whole) => whole as f64,
            Number::Real(real) => real,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Whole numbers exactly; others as doubles.
impl Ord for Number {
    fn cmp(&self, other: &Number) -> std::cmp::Ordering {
        match (self, other) {
            (Number::Whole(a), Number::Whole(b)) => a.cmp(b),
            // zeros are equal, and none is not a number
            _ => self
                .real()
                .partial_cmp(&other.real())
                .unwrap_or(std::cmp::Ordering::Equal),
        }
    }
}

/// Addresses with the same beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The bits that must be equal; of IPv4 in the upper 32.
    bits: u128,
    mask: u128,
    is_v4: bool,
}

impl Network {
    /// Reads `ADDRESS/BITS`, or an address by itself.
    #[must_use]
    pub fn read(text: &str) -> Option<Network> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(length) => length
                .parse::<u32>()
                .ok()
                .filter(|length| *length <= most)?,
        };
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        Some(Network {
            bits: bits(address) & mask,
            mask,
            is_v4: address.is_ipv4(),
        })
    }

    /// Whether an address is in it. One of IPv4 written as IPv6 (`::ffff:…`) is one of IPv4.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.is_v4 && bits(address) & self.mask == self.bits
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What becomes of the rows that a rule means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// None becomes a row.
    Drop,
    /// One of so many does, the first of them.
    Sample(u64),
    /// So many do.
    RateLimit {
        /// Rows...
        count: u64,
        /// ...in this time...
        period: Duration,
        /// ...and so many at once after a quiet time.
        burst: u64,
        /// Each set of these values by itself.
        by: Vec<Field>,
    },
    /// The first of those that are alike does; how many others there were is told later.
    Deduplicate {
        /// Within this time from the first on.
        window: Duration,
        /// Alike in these values.
        by: Vec<Field>,
    },
    /// Without these values.
    Remove(Vec<Field>),
    /// These columns hold no more than so many bytes.
    Truncate(Vec<&'static Column>, usize),
    /// A column of the user's holds this text.
    Set(String, String),
    /// Goes to the destination of this name.
    Route(String),
}

impl Action {
    /// True if it tells rows apart by their values, and remembers those.
    #[must_use]
    pub fn has_table(&self) -> bool {
        matches!(self, Action::RateLimit { .. } | Action::Deduplicate { .. })
    }

    /// Its word in the configuration.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Action::Drop => "drop",
            Action::Sample(_) => "sample",
            Action::RateLimit { .. } => "rate_limit",
            Action::Deduplicate { .. } => "deduplicate",
            Action::Remove(_) => "remove",
            Action::Truncate(..) => "truncate",
            Action::Set(..) => "set",
            Action::Route(_) => "route",
        }
    }
}

impl Test {
    /// Whether it holds for a value, or for none. Plain rather than fast: for the checks of a file.
    fn holds(&self, value: Option<&str>) -> bool {
        let Some(value) = value else {
            return *self == Test::Exists(false);
        };
        match self {
            Test::Exists(is_there) => *is_there,
            Test::Text {
                how,
                texts,
                ignore_case,
            } => {
                let fold = |text: &str| match ignore_case {
                    true => text.to_ascii_lowercase(),
                    false => text.to_owned(),
                };
                let value = fold(value);
                texts.iter().map(|text| fold(text)).any(|text| match how {
                    How::Equals => value == text,
                    How::Prefix => value.starts_with(&text),
                    How::Suffix => value.ends_with(&text),
                    How::Contains => value.contains(&text),
                })
            }
            Test::Numbers(numbers) => {
                Number::read(value.as_bytes()).is_some_and(|number| numbers.contains(&number))
            }
            Test::Range(least, most) => Number::read(value.as_bytes()).is_some_and(|number| {
                least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
            }),
            Test::Networks(networks) => value
                .parse()
                .is_ok_and(|address| networks.iter().any(|network| network.has(address))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("::/0", "ffff::", "1.2.3.4"),
            ("192.0.2.0/25", "::ffff:192.0.2.127", "192.0.2.128"),
        ] {
            let network = Network::read(network).unwrap();
            assert!(network.has(inside.parse().unwrap()), "{inside}");
            assert!(!network.has(outside.parse().unwrap()), "{outside}");
        }
        for text in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "x",
            "10.0.0.0/",
            "1/8",
            "",
        ] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_ordered_across_their_kinds() {
        let read = |text: &str| Number::read(text.as_bytes());
        assert_eq!(read(" 007 "), Some(Number::Whole(7)));
        assert_eq!(read("7.0"), Some(Number::Whole(7)));
        assert!(read("9223372036854775807") > read("9223372036854775806"));
        assert!(read("6.9") < read("7"));
        for text in ["", "inf", "nan", "1e999", "0x7", "7 8"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
