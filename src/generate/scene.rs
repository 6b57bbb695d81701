//! What one message is about, and how the fields of a template are written from it.
//!
//! A scene is drawn once for a message, so that its fields agree with each other as they do in
//! real messages: the same host has the same address and MAC in all of them, a user's mail address
//! is made from the login, the end follows the start. Fields without a place in the scene (hashes,
//! sizes, words) are drawn when they are written.

use super::Vendor;
use super::field::{Field, Name, Part};
use super::pools::{POOLS, Pools};
use super::write::{self, TimeForm};
use crate::clock::Wall;
use fastrand::Rng;

/// Where devices stand, as their names say it.
const DEVICE_PLACES: [&[u8]; 6] = [b"-lon-", b"-ber-", b"-nyc-", b"-sin-", b"-par-", b"-waw-"];
/// Devices of each vendor that report.
const DEVICES_COUNT: u32 = 24;
/// Servers inside.
const SERVERS_COUNT: u32 = 200;
/// One message in so many is about the same as the one before.
const BURST_ONE_IN: u32 = 3;
/// Rules in force, over all devices.
const RULES_COUNT: u64 = 60;
/// One header in so many is of RFC 5424.
const RFC5424_ONE_IN: u32 = 8;
/// What began before it was reported began at most 2 to the power of this many milliseconds
/// before (about 17 minutes); short times are likelier.
const DURATION_MS_BITS: u32 = 20;
/// A device reports within so many nanoseconds.
const REPORT_NANOS_MOST: i64 = 2_000_000_000;

/// A service: port, name, protocol.
const SERVICES: &[(u32, &str, &str)] = &[
    (443, "HTTPS", "TCP"),
    (443, "HTTPS", "TCP"),
    (443, "QUIC", "UDP"),
    (80, "HTTP", "TCP"),
    (53, "DNS", "UDP"),
    (445, "SMB", "TCP"),
    (22, "SSH", "TCP"),
    (25, "SMTP", "TCP"),
    (3389, "RDP", "TCP"),
    (123, "NTP", "UDP"),
    (8443, "HTTPS", "TCP"),
    (1433, "MSSQL", "TCP"),
];

/// What one message is about.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pools: &'static Pools,
    report: Report<'a>,
    /// When the device sends it, when what it tells ended and began: nanoseconds since 1970.
    sent: i64,
    end: i64,
    start: i64,
    actors: Actors,
    device: u32,
    source_port: u32,
    service: usize,
}

/// Who takes part, as indexes of pools.
#[derive(Debug, Clone, Copy)]
pub(super) struct Actors {
    inside: u32,
    outside: u32,
    server: u32,
    user: u32,
    peer: u32,
}

impl Actors {
    /// Draws them.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let pools = &*POOLS;
        Actors {
            inside: pools.hosts.skewed(rng),
            outside: pools.sites.skewed(rng),
            server: rng.u32(..SERVERS_COUNT),
            user: pools.logins.skewed(rng),
            peer: pools.logins.even(rng),
        }
    }

    /// Those of the next message: in one of [`BURST_ONE_IN`] the same ones again, since what one
    /// client does is seen by several devices and told in several messages.
    pub(super) fn next(self, rng: &mut Rng) -> Self {
        if rng.u32(..BURST_ONE_IN) == 0 {
            self
        } else {
            Actors::draw(rng)
        }
    }
}

/// What its sender gives a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report<'a> {
    pub(super) vendor: Vendor,
    pub(super) id_prefix: &'a [u8],
    pub(super) id: u64,
    pub(super) now: Wall,
}

impl<'a> Scene<'a> {
    /// Draws a scene that is reported at `now`.
    pub(super) fn draw(rng: &mut Rng, actors: Actors, report: Report<'a>) -> Self {
        let sent = report.now.0;
        let end = sent.saturating_sub(rng.i64(0..REPORT_NANOS_MOST));
        let duration_ms = rng.u64(..) >> (64 - rng.u32(1..=DURATION_MS_BITS));
        Scene {
            pools: &POOLS,
            report,
            sent,
            end,
            start: end.saturating_sub(duration_ms.cast_signed() * 1_000_000),
            actors,
            device: rng.u32(..DEVICES_COUNT),
            source_port: rng.u32(1024..65_536),
            service: rng.usize(..SERVICES.len()),
        }
    }

    /// Appends one field.
    pub(super) fn write(&self, field: Field, rng: &mut Rng, out: &mut Vec<u8>) {
        match field {
            Field::Id => {
                out.extend_from_slice(self.report.id_prefix);
                write::decimal(out, self.report.id);
            }
            Field::Syslog if rng.u32(..RFC5424_ONE_IN) == 0 => self.rfc5424(rng, out),
            Field::Syslog | Field::Bsd => self.bsd(rng, out),
            Field::Rfc5424 => self.rfc5424(rng, out),
            Field::Device(part) => self.device(part, out),
            Field::Inside(part) => self.inside(part, out),
            Field::Outside(part) => self.outside(part, out),
            Field::Server(part) => server(part, self.actors.server, out),
            Field::User(name) => self.user(name, self.actors.user, out),
            Field::Peer(name) => self.user(name, self.actors.peer, out),
            Field::SourcePort => write::decimal(out, self.source_port.into()),
            Field::ServicePort => write::decimal(out, self.service().0.into()),
            Field::Service => out.extend_from_slice(self.service().1.as_bytes()),
            Field::Protocol => out.extend_from_slice(self.service().2.as_bytes()),
            Field::ProtocolNumber => {
                let tcp = self.service().2 == "TCP";
                out.extend_from_slice(if tcp { b"6" } else { b"17" });
            }
            Field::Now(form) => write::time(out, self.end, form),
            Field::Start(form) => write::time(out, self.start, form),
            Field::Url => self.url(rng, out),
            Field::Path | Field::Query | Field::QueryRaw => self.request(field, rng, out),
            // A user keeps to one browser.
            Field::Agent => out.extend_from_slice(
                self.pools
                    .agents
                    .text(mixed(self.actors.user.into()) as u32),
            ),
            Field::File => {
                out.extend_from_slice(self.pools.files.text(self.pools.files.skewed(rng)))
            }
            Field::Words { least, most } => self.words(rng.u32(least..=most), rng, out),
            Field::Number { least, most } => write::decimal(out, rng.u64(least..=most)),
            Field::Size { bits } => write::decimal(out, rng.u64(..) >> (64 - rng.u32(1..=bits))),
            Field::Hex { count, upper } => write::hex(out, rng, count, upper),
            Field::Digits { count } => write::digits(out, rng, count),
            Field::Base64 { count } => write::base64(out, rng, count),
            Field::Rule => write::uuid(out, &mut Rng::with_seed(rng.u64(..RULES_COUNT))),
            Field::Uuid => write::uuid(out, rng),
            Field::Mac => write::mac(out, rng.u64(..)),
            Field::Address => write::address4(out, address_outside(rng.u32(..))),
        }
    }

    fn service(&self) -> (u32, &'static str, &'static str) {
        SERVICES[self.service]
    }

    /// `<PRI>Mmm dd HH:MM:SS host `
    fn bsd(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        self.priority(rng, out);
        write::time(out, self.sent, TimeForm::Bsd);
        out.push(b' ');
        self.device(Part::Host, out);
        out.push(b' ');
    }

    /// `<PRI>1 TIME host CEF pid - - `
    fn rfc5424(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        self.priority(rng, out);
        out.extend_from_slice(b"1 ");
        write::time(out, self.sent, TimeForm::Iso);
        out.push(b' ');
        self.device(Part::Host, out);
        out.extend_from_slice(b" CEF ");
        // A device's process lives long, so its number is part of the device.
        write::decimal(out, u64::from(mixed(self.device.into()) as u16) + 300);
        out.extend_from_slice(b" - - ");
    }

    /// One of local0 to local7 for each device, severity error to informational.
    fn priority(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        out.push(b'<');
        write::decimal(out, u64::from(128 + 8 * (self.device % 8) + rng.u32(3..7)));
        out.push(b'>');
    }

    fn device(&self, part: Part, out: &mut Vec<u8>) {
        let vendor = self.report.vendor;
        let bits = mixed(u64::from(self.device) << 8 | vendor as u64);
        match part {
            Part::Address4 => write::address4(out, 0xac10_0000 | (bits as u32 & 0x000f_ffff)),
            Part::Mac => write::mac(out, bits),
            Part::Serial => write::padded::<15>(out, bits),
            _ => {
                out.extend_from_slice(vendor.device_kind().as_bytes());
                out.extend_from_slice(DEVICE_PLACES[self.device as usize % DEVICE_PLACES.len()]);
                write::padded::<2>(out, u64::from(self.device / 2 + 1));
            }
        }
    }

    fn inside(&self, part: Part, out: &mut Vec<u8>) {
        let bits = mixed(self.actors.inside.into());
        match part {
            Part::Address4 => write::address4(out, 0x0a00_0000 | (bits as u32 & 0x003f_ffff)),
            Part::Address6 => write::address6(out, bits),
            Part::Mac => write::mac(out, bits),
            Part::Uuid => write::uuid(out, &mut Rng::with_seed(bits)),
            _ => out.extend_from_slice(self.pools.hosts.text(self.actors.inside)),
        }
    }

    fn outside(&self, part: Part, out: &mut Vec<u8>) {
        // A site has up to four addresses.
        let bits = mixed((u64::from(self.actors.outside) << 2) | (self.report.id & 3));
        let place = mixed(self.actors.outside.into()) as u32;
        match part {
            Part::Address4 => write::address4(out, address_outside(bits as u32)),
            Part::Address6 => write::address6(out, bits),
            Part::Signature => write::hex(out, &mut Rng::with_seed(bits), 96, false),
            Part::Code => out.extend_from_slice(self.pools.codes.text(place)),
            Part::Country => out.extend_from_slice(self.pools.countries.text(place)),
            _ => out.extend_from_slice(self.pools.sites.text(self.actors.outside)),
        }
    }

    fn user(&self, name: Name, index: u32, out: &mut Vec<u8>) {
        match name {
            Name::Login => out.extend_from_slice(self.pools.logins.text(index)),
            Name::Full => out.extend_from_slice(self.pools.names.text(index)),
            Name::Mail => {
                out.extend_from_slice(self.pools.logins.text(index));
                out.extend_from_slice(if index.is_multiple_of(3) {
                    b"@example.org"
                } else {
                    b"@example.com"
                });
            }
        }
    }

    /// `https://site/path`, in one of three with a query.
    fn url(&self, rng: &mut Rng, out: &mut Vec<u8>) {
        out.extend_from_slice(if rng.u8(..4) == 0 {
            b"http://"
        } else {
            b"https://"
        });
        self.outside(Part::Host, out);
        self.request(Field::Path, rng, out);
        if rng.u8(..3) == 0 {
            out.push(b'?');
            self.request(Field::Query, rng, out);
        }
    }

    fn request(&self, field: Field, rng: &mut Rng, out: &mut Vec<u8>) {
        if field == Field::Path {
            for _ in 0..rng.u32(1..4) {
                out.push(b'/');
                out.extend_from_slice(self.pools.paths.text(self.pools.paths.even(rng)));
            }
            if rng.u8(..3) == 0 {
                out.push(b'/');
                write::decimal(out, rng.u64(..1_000_000));
            }
            out.extend_from_slice(self.pools.endings.text(self.pools.endings.even(rng)));
            return;
        }
        let equals: &[u8] = if field == Field::QueryRaw {
            b"="
        } else {
            b"\\="
        };
        for index in 0..rng.u32(1..4) {
            if index > 0 {
                out.push(b'&');
            }
            out.extend_from_slice(self.pools.paths.text(self.pools.paths.even(rng)));
            out.extend_from_slice(equals);
            match rng.u8(..3) {
                0 => write::decimal(out, rng.u64(..100_000)),
                1 => write::hex(out, rng, 12, false),
                _ => out.extend_from_slice(self.pools.words.text(self.pools.words.even(rng))),
            }
        }
    }

    fn words(&self, count: u32, rng: &mut Rng, out: &mut Vec<u8>) {
        for index in 0..count {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(self.pools.words.text(self.pools.words.skewed(rng)));
        }
    }
}

fn server(part: Part, index: u32, out: &mut Vec<u8>) {
    if part == Part::Address4 {
        write::address4(out, 0xc0a8_0000 | (mixed(index.into()) as u32 & 0xffff));
        return;
    }
    out.extend_from_slice([&b"www"[..], b"shop", b"portal", b"api", b"mail"][index as usize % 5]);
    write::decimal(out, u64::from(index / 5));
    out.extend_from_slice(b".example.com");
}

/// An address from the ranges kept for documentation (RFC 5737) and for benchmarks (RFC 2544):
/// nobody's, but more than 100,000 of them.
fn address_outside(bits: u32) -> u32 {
    match bits >> 29 {
        0 => 0xc000_0200 | (bits & 0xff),
        1 => 0xc633_6400 | (bits & 0xff),
        2 => 0xcb00_7100 | (bits & 0xff),
        _ => 0xc612_0000 | (bits & 0x0001_ffff),
    }
}

/// Bits that look random but follow from `value`: what a host has for life (splitmix64).
fn mixed(value: u64) -> u64 {
    let mut bits = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn scene(rng: &mut Rng, id: u64, now: Wall) -> Scene<'static> {
        let report = Report {
            vendor: Vendor::F5,
            id_prefix: b"",
            id,
            now,
        };
        let actors = Actors::draw(rng);
        Scene::draw(rng, actors, report)
    }

    #[test]
    fn addresses_outside_belong_to_nobody() {
        let mut rng = Rng::with_seed(5);
        for _ in 0..10_000 {
            let address = Ipv4Addr::from_bits(address_outside(rng.u32(..)));
            let benchmark = address.octets()[0] == 198 && matches!(address.octets()[1], 18 | 19);
            assert!(address.is_documentation() || benchmark, "{address}");
        }
    }

    #[test]
    fn a_scene_ends_before_it_is_sent_and_begins_before_it_ends() {
        let mut rng = Rng::with_seed(6);
        let now = 1_793_844_427_482_123_456;
        for id in 0..10_000 {
            let scene = scene(&mut rng, id, Wall(now));
            assert!(scene.start <= scene.end && scene.end <= scene.sent && scene.sent == now);
            assert!(now - scene.start < 20 * 60 * 1_000_000_000);
        }
    }

    #[test]
    fn the_fields_of_one_host_stay_together() {
        let mut rng = Rng::with_seed(7);
        let mut seen = std::collections::HashMap::new();
        for id in 0..2_000 {
            let scene = scene(&mut rng, id, Wall(0));
            let (mut host, mut rest) = (Vec::new(), Vec::new());
            scene.write(Field::Inside(Part::Host), &mut rng, &mut host);
            scene.write(Field::Inside(Part::Address4), &mut rng, &mut rest);
            scene.write(Field::Inside(Part::Mac), &mut rng, &mut rest);
            // Two hosts may have drawn one name, so the key is the index.
            assert_eq!(
                *seen
                    .entry((scene.actors.inside, host))
                    .or_insert_with(|| rest.clone()),
                rest
            );
        }
    }
}
