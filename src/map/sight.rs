//! A frame as the rules of `[[filter]]` look at it: each value as its row would hold it.

use super::{Mapper, Source, value};
use crate::columns::Kind;
use crate::filter::{HeaderField, Place, Seen, text};
use crate::parse::asa::{Fields, Line};
use crate::parse::{Escapes, Origin, Record, cef};
use std::io::Write;
use std::net::IpAddr;

/// A frame that has been read, and sorted by the mapper if it is a record.
pub(super) struct Sight<'m, 'f> {
    pub(super) mapper: &'m Mapper,
    pub(super) source: Source,
    pub(super) read: Read<'m, 'f>,
}

/// What it was read as.
pub(super) enum Read<'m, 'f> {
    Record(&'m Record<'f>),
    Cisco(&'m Line<'f>, &'m Fields<'f>),
    Not(cef::Unparsed, Origin<'f>, &'f [u8]),
}

impl Seen for Sight<'_, '_> {
    fn value(&self, place: &Place, out: &mut Vec<u8>) -> bool {
        match place {
            Place::Header(field) => self.header(*field, out),
            Place::Computer => self.computer(out),
            Place::Column { key, kind, .. } => self.column(key, *kind, out),
            Place::Key {
                key,
                has_column,
                has_text_column,
            } => self.key(key, *has_column, *has_text_column, out),
        }
    }

    fn peer(&self) -> IpAddr {
        self.source.peer
    }
}

impl Sight<'_, '_> {
    fn header(&self, field: HeaderField, out: &mut Vec<u8>) -> bool {
        let (text, escapes) = match &self.read {
            Read::Record(record) => {
                let header = &record.header;
                let text = match field {
                    HeaderField::Vendor => header.vendor,
                    HeaderField::Product => header.product,
                    HeaderField::Version => header.device_version,
                    HeaderField::ClassId => header.class_id,
                    HeaderField::Name => header.name,
                    HeaderField::Severity => header.severity,
                };
                (text.trim_ascii(), Escapes::Header)
            }
            Read::Cisco(line, _) => {
                let text = match field {
                    HeaderField::Vendor => b"Cisco",
                    HeaderField::Product => line.product().as_bytes(),
                    HeaderField::Version => return false,
                    HeaderField::ClassId => line.id,
                    HeaderField::Name => line.activity().as_bytes(),
                    HeaderField::Severity => line.level,
                };
                (text, Escapes::None)
            }
            Read::Not(why, ..) => {
                let text = match field {
                    HeaderField::Vendor => "cefline",
                    HeaderField::Product => "unparsed",
                    HeaderField::ClassId => why.code(),
                    HeaderField::Name => why.explanation(),
                    HeaderField::Version | HeaderField::Severity => return false,
                };
                (text.as_bytes(), Escapes::None)
            }
        };
        text::append(out, text, escapes, b';');
        true
    }

    fn computer(&self, out: &mut Vec<u8>) -> bool {
        let origin = match &self.read {
            Read::Record(record) => record.origin,
            Read::Cisco(line, _) => line.origin,
            Read::Not(_, origin, _) => *origin,
        };
        match origin.host {
            Some(host) => text::append(out, host, Escapes::None, b';'),
            None => {
                // a vector takes whatever is written to it
                let _ = match self.source.peer.to_canonical() {
                    IpAddr::V4(address) => write!(out, "{address}"),
                    IpAddr::V6(address) => write!(out, "{address}"),
                };
            }
        }
        true
    }

    fn column(&self, key: &str, kind: Kind, out: &mut Vec<u8>) -> bool {
        let (found, extension, escapes) = match &self.read {
            Read::Record(record) => {
                let found = self.mapper.last_value(key.as_bytes(), record.extension);
                (found, record.extension, Escapes::Value)
            }
            Read::Cisco(line, _) if key == "msg" => (Some(line.text), &[][..], Escapes::None),
            Read::Cisco(_, fields) => (fields.value(key), &[][..], Escapes::None),
            Read::Not(_, _, frame) => (
                Some(*frame).filter(|_| key == "msg"),
                &[][..],
                Escapes::None,
            ),
        };
        let Some(found) = found.filter(|found| !found.is_empty()) else {
            return false;
        };
        match kind {
            Kind::Text => text::append(out, found, escapes, b';'),
            Kind::Int | Kind::Long => {
                let number = value::read_long(found)
                    .filter(|number| kind == Kind::Long || i32::try_from(*number).is_ok());
                let Some(number) = number else {
                    return false;
                };
                value::write_long(out, number);
            }
            Kind::Real => {
                let Some(number) = value::read_real(found) else {
                    return false;
                };
                value::write_real(out, number);
            }
            Kind::DateTime => {
                let now = self.source.received.wall;
                let Some(wall) = self.mapper.read_time(found, extension, now) else {
                    return false;
                };
                return value::write_time(out, wall);
            }
        }
        true
    }

    fn key(&self, key: &[u8], has_column: bool, has_text_column: bool, out: &mut Vec<u8>) -> bool {
        let beside_columns = self.mapper.semicolon();
        match &self.read {
            // its column holds the text, whatever else was read from it
            Read::Cisco(..) | Read::Not(..) if key == b"msg" => self.column("msg", Kind::Text, out),
            Read::Record(record) => {
                let extension = record.extension;
                let pairs = self.mapper.scratch.pairs.iter().rev();
                let mut found = pairs.filter(|(pair, target)| {
                    (has_column || target.is_none()) && pair.key.of(extension) == key
                });
                let found = found.find(|(pair, _)| !pair.value.of(extension).is_empty());
                let Some((pair, target)) = found else {
                    return false;
                };
                let semicolon = match target {
                    Some(_) if has_text_column => b';',
                    _ => beside_columns,
                };
                let value = pair.value.of(extension);
                text::append(out, value, Escapes::Value, semicolon);
                true
            }
            Read::Cisco(_, fields) => {
                let name = std::str::from_utf8(key).unwrap_or_default();
                let Some(value) = fields.value(name) else {
                    return false;
                };
                let semicolon = if has_text_column {
                    b';'
                } else {
                    beside_columns
                };
                text::append(out, value, Escapes::None, semicolon);
                true
            }
            Read::Not(..) => false,
        }
    }
}
