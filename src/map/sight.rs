//! A frame as the rules of `[[filter]]` look at it: each value as its row would hold it.

use super::value::{self, TimeText};
use super::{Mapper, Source};
use crate::columns::Kind;
use crate::filter::{Found, HeaderField, Place, Seen, text};
use crate::parse::asa::{Fields, Line};
use crate::parse::{Escapes, Origin, Pair, Record, cef, place_in};
use std::io::Write;
use std::net::IpAddr;

/// A frame that has been read, and sorted by the mapper if it is a record.
pub(super) struct Sight<'m, 'f> {
    pub(super) mapper: &'m Mapper,
    pub(super) source: Source,
    pub(super) frame: &'f [u8],
    pub(super) read: Read<'m, 'f>,
}

/// What it was read as.
pub(super) enum Read<'m, 'f> {
    Record(&'m Record<'f>),
    Cisco(&'m Line<'f>, &'m Fields<'f>),
    Not(cef::Unparsed, Origin<'f>),
}

impl Seen for Sight<'_, '_> {
    fn frame(&self) -> &[u8] {
        self.frame
    }

    fn value(&self, place: &Place, out: &mut Vec<u8>) -> Found {
        match place {
            Place::Header(field) => self.header(*field, out),
            Place::Computer => self.computer(out),
            Place::Column { key, at, kind, .. } => self.column(key, *at, *kind, out),
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

/// What was appended from `start` on.
fn made(start: usize, out: &[u8]) -> Found {
    let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    match out.len() > start {
        true => Found::Made(short(start), short(out.len())),
        false => Found::Nothing,
    }
}

impl Sight<'_, '_> {
    /// Text as the table holds it.
    fn text(&self, text: &[u8], escapes: Escapes, semicolon: u8, out: &mut Vec<u8>) -> Found {
        if text.is_empty() {
            return Found::Nothing;
        }
        if text::is_plain(text)
            && let Some((start, end)) = place_in(self.frame, text)
        {
            return Found::InFrame(start, end);
        }
        let start = out.len();
        text::append(out, text, escapes, semicolon);
        made(start, out)
    }

    fn header(&self, field: HeaderField, out: &mut Vec<u8>) -> Found {
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
                    HeaderField::Version => return Found::Nothing,
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
                    HeaderField::Version | HeaderField::Severity => return Found::Nothing,
                };
                (text.as_bytes(), Escapes::None)
            }
        };
        self.text(text, escapes, b';', out)
    }

    fn computer(&self, out: &mut Vec<u8>) -> Found {
        let origin = match &self.read {
            Read::Record(record) => record.origin,
            Read::Cisco(line, _) => line.origin,
            Read::Not(_, origin) => *origin,
        };
        match origin.host {
            Some(host) => self.text(host, Escapes::None, b';', out),
            None => {
                let start = out.len();
                // a vector takes whatever is written to it
                let _ = match self.source.peer.to_canonical() {
                    IpAddr::V4(address) => write!(out, "{address}"),
                    IpAddr::V6(address) => write!(out, "{address}"),
                };
                made(start, out)
            }
        }
    }

    fn column(&self, key: &str, at: u8, kind: Kind, out: &mut Vec<u8>) -> Found {
        let (found, extension, escapes) = match &self.read {
            Read::Record(record) => {
                let found = self.mapper.last_value_at(at, record.extension);
                (found, record.extension, Escapes::Value)
            }
            Read::Cisco(line, _) if key == "msg" => (Some(line.text), &[][..], Escapes::None),
            Read::Cisco(_, fields) => (fields.value(key), &[][..], Escapes::None),
            Read::Not(..) => (
                Some(self.frame).filter(|_| key == "msg"),
                &[][..],
                Escapes::None,
            ),
        };
        let Some(found) = found.filter(|found| !found.is_empty()) else {
            return Found::Nothing;
        };
        let start = out.len();
        match kind {
            Kind::Text => return self.text(found, escapes, b';', out),
            Kind::Int | Kind::Long => {
                let number = value::read_long(found)
                    .filter(|number| kind == Kind::Long || i32::try_from(*number).is_ok());
                let Some(number) = number else {
                    return Found::Nothing;
                };
                out.extend_from_slice(value::long_digits(number, &mut [0; 20]));
            }
            Kind::Real => {
                let Some(number) = value::read_real(found) else {
                    return Found::Nothing;
                };
                value::write_real(out, number);
            }
            Kind::DateTime => {
                let now = self.source.received.wall;
                let Some(wall) = self.mapper.read_time(found, extension, now) else {
                    return Found::Nothing;
                };
                out.extend_from_slice(TimeText::of(wall).bytes());
            }
        }
        made(start, out)
    }

    fn key(&self, key: &[u8], has_column: bool, has_text_column: bool, out: &mut Vec<u8>) -> Found {
        let beside_columns = self.mapper.semicolon();
        match &self.read {
            // its column holds the text, whatever else was read from it
            Read::Cisco(..) | Read::Not(..) if key == b"msg" => {
                self.column("msg", u8::MAX, Kind::Text, out)
            }
            Read::Record(record) => {
                let extension = record.extension;
                let pairs = self.mapper.scratch.scan.pairs().iter().rev();
                let mut found = pairs.filter(|pair| {
                    (has_column || pair.known == Pair::UNKNOWN) && pair.key().of(extension) == key
                });
                let found = found.find(|pair| !pair.value().is_empty());
                let Some(pair) = found else {
                    return Found::Nothing;
                };
                let semicolon = match pair.known {
                    Pair::UNKNOWN => beside_columns,
                    _ if has_text_column => b';',
                    _ => beside_columns,
                };
                let value = pair.value().of(extension);
                self.text(value, Escapes::Value, semicolon, out)
            }
            Read::Cisco(_, fields) => {
                let name = std::str::from_utf8(key).unwrap_or_default();
                let Some(value) = fields.value(name) else {
                    return Found::Nothing;
                };
                let semicolon = if has_text_column {
                    b';'
                } else {
                    beside_columns
                };
                self.text(value, Escapes::None, semicolon, out)
            }
            Read::Not(..) => Found::Nothing,
        }
    }
}
