//! The fields that a template can ask for, and what each one writes.
//!
//! | field | writes |
//! |---|---|
//! | `id` | the message's unique id |
//! | `syslog` | a header of RFC 3164, in one of eight messages of RFC 5424, with a blank behind |
//! | `bsd`, `5424` | the one or the other |
//! | `dev.host`, `dev.ip`, `dev.mac`, `dev.serial` | the device that reports |
//! | `in.host`, `in.ip`, `in.ip6`, `in.mac`, `in.uuid` | a host inside |
//! | `out.host`, `out.ip`, `out.ip6`, `out.sig`, `out.code`, `out.country` | a site or client outside, its signature of 96 digits, and where it is |
//! | `srv.host`, `srv.ip` | a server inside |
//! | `user.login`, `user.name`, `user.mail`, `peer.login`, `peer.name`, `peer.mail` | two users |
//! | `spt`, `dpt`, `proto`, `proto.number`, `service` | ports and what is spoken there |
//! | `now.FORM`, `start.FORM` | when it ended and when it began; FORM is one of `bsd`, `text`, `ctime`, `iso`, `spaced`, `s`, `ms`, `ns` |
//! | `path`, `query`, `query.raw`, `url`, `agent`, `file` | parts of a request; `=` is escaped but in `query.raw` |
//! | `words:3-9` | so many words |
//! | `n:1-9` | a number, each as likely as the next |
//! | `size:24` | a number below 2 to the power of 24, all lengths alike |
//! | `hex:N`, `HEX:N`, `dec:N`, `b64:N` | so many digits |
//! | `rule` | the UUID of one of the rules in force, of which there are some dozens |
//! | `uuid`, `mac`, `ip` | random ones |

use super::template::range;
use super::write::TimeForm;

/// What a template can ask for; the table above says what each one writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Syslog,
    Bsd,
    Rfc5424,
    Device(Part),
    Inside(Part),
    Outside(Part),
    Server(Part),
    User(Name),
    Peer(Name),
    SourcePort,
    ServicePort,
    Protocol,
    ProtocolNumber,
    Service,
    Now(TimeForm),
    Start(TimeForm),
    Path,
    Query,
    QueryRaw,
    Url,
    Agent,
    File,
    Words { least: u32, most: u32 },
    Number { least: u64, most: u64 },
    Size { bits: u32 },
    Hex { count: u32, upper: bool },
    Digits { count: u32 },
    Base64 { count: u32 },
    Rule,
    Uuid,
    Mac,
    Address,
}

/// A property of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Host,
    Address4,
    Address6,
    Mac,
    Uuid,
    Signature,
    Serial,
    Code,
    Country,
}

/// A form of a user's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Login,
    Full,
    Mail,
}

impl Field {
    /// The field that a template calls `text`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((name, argument)) = text.split_once(':') {
            return Field::with_argument(name, argument);
        }
        if let Some((owner, part)) = text.split_once('.') {
            return Field::with_owner(owner, part);
        }
        Some(match text {
            "id" => Field::Id,
            "syslog" => Field::Syslog,
            "bsd" => Field::Bsd,
            "5424" => Field::Rfc5424,
            "spt" => Field::SourcePort,
            "dpt" => Field::ServicePort,
            "proto" => Field::Protocol,
            "service" => Field::Service,
            "path" => Field::Path,
            "query" => Field::Query,
            "url" => Field::Url,
            "agent" => Field::Agent,
            "file" => Field::File,
            "rule" => Field::Rule,
            "uuid" => Field::Uuid,
            "mac" => Field::Mac,
            "ip" => Field::Address,
            _ => return None,
        })
    }

    fn with_argument(name: &str, argument: &str) -> Option<Self> {
        let count = || {
            argument
                .parse()
                .ok()
                .filter(|count| (1..=1024).contains(count))
        };
        Some(match name {
            "words" => range(argument).map(|(least, most)| Field::Words { least, most })?,
            "n" => range(argument).map(|(least, most)| Field::Number { least, most })?,
            "size" => Field::Size {
                bits: count().filter(|bits| *bits < 64)?,
            },
            "hex" => Field::Hex {
                count: count()?,
                upper: false,
            },
            "HEX" => Field::Hex {
                count: count()?,
                upper: true,
            },
            "dec" => Field::Digits { count: count()? },
            "b64" => Field::Base64 { count: count()? },
            _ => return None,
        })
    }

    fn with_owner(owner: &str, part: &str) -> Option<Self> {
        let form = || {
            Some(match part {
                "bsd" => TimeForm::Bsd,
                "text" => TimeForm::Text,
                "ctime" => TimeForm::Ctime,
                "iso" => TimeForm::Iso,
                "spaced" => TimeForm::Spaced,
                "s" => TimeForm::Seconds,
                "ms" => TimeForm::Millis,
                "ns" => TimeForm::Nanos,
                _ => return None,
            })
        };
        let name = || {
            Some(match part {
                "login" => Name::Login,
                "name" => Name::Full,
                "mail" => Name::Mail,
                _ => return None,
            })
        };
        Some(match (owner, part) {
            ("now", _) => Field::Now(form()?),
            ("start", _) => Field::Start(form()?),
            ("user", _) => Field::User(name()?),
            ("peer", _) => Field::Peer(name()?),
            ("proto", "number") => Field::ProtocolNumber,
            ("query", "raw") => Field::QueryRaw,
            ("dev", "host") => Field::Device(Part::Host),
            ("dev", "ip") => Field::Device(Part::Address4),
            ("dev", "mac") => Field::Device(Part::Mac),
            ("dev", "serial") => Field::Device(Part::Serial),
            ("in", "host") => Field::Inside(Part::Host),
            ("in", "ip") => Field::Inside(Part::Address4),
            ("in", "ip6") => Field::Inside(Part::Address6),
            ("in", "mac") => Field::Inside(Part::Mac),
            ("in", "uuid") => Field::Inside(Part::Uuid),
            ("out", "host") => Field::Outside(Part::Host),
            ("out", "ip") => Field::Outside(Part::Address4),
            ("out", "ip6") => Field::Outside(Part::Address6),
            ("out", "sig") => Field::Outside(Part::Signature),
            ("out", "code") => Field::Outside(Part::Code),
            ("out", "country") => Field::Outside(Part::Country),
            ("srv", "host") => Field::Server(Part::Host),
            ("srv", "ip") => Field::Server(Part::Address4),
            _ => return None,
        })
    }
}
