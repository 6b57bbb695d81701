//! The two ends of a connection, as these lines write them.
//!
//! ```text
//! outside:192.0.2.1/443 (203.0.113.1/443) (LOCAL\user01)     ASA's usual way
//! '-----' '-------' '-'  '-----------' '-'  '----------'
//! interface address port mapped address, port     user
//!
//! inside/192.0.2.1(443)                                      106100
//! user01@192.0.2.1                                           304001
//! ```
//!
//! Each part but the address may be missing. Interfaces may have blanks (`NP Identity Ifc`), the
//! address may be a name (`names`), the port a service (`ssh`).

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::Fields;
use memchr::{memchr, memmem, memrchr};
use std::net::IpAddr;

/// The names of one end's fields; empty where there is none.
pub(super) struct End {
    interface: &'static str,
    address: &'static str,
    host: &'static str,
    port: &'static str,
    service: &'static str,
    mapped_address: &'static str,
    mapped_port: &'static str,
    user: &'static str,
}

/// Who is named first.
pub(super) const SOURCE: End = End {
    interface: "deviceInboundInterface",
    address: "src",
    host: "shost",
    port: "spt",
    service: "sourceServiceName",
    mapped_address: "sourceTranslatedAddress",
    mapped_port: "sourceTranslatedPort",
    user: "suser",
};

/// Who is named second.
pub(super) const DESTINATION: End = End {
    interface: "deviceOutboundInterface",
    address: "dst",
    host: "dhost",
    port: "dpt",
    service: "app",
    mapped_address: "destinationTranslatedAddress",
    mapped_port: "destinationTranslatedPort",
    user: "duser",
};

/// What the source is translated to.
pub(super) const MAPPED_SOURCE: End = End {
    interface: "deviceOutboundInterface",
    address: "sourceTranslatedAddress",
    host: "",
    port: "sourceTranslatedPort",
    service: "",
    mapped_address: "",
    mapped_port: "",
    user: "",
};

/// What the destination is translated to.
pub(super) const MAPPED_DESTINATION: End = End {
    interface: "",
    address: "destinationTranslatedAddress",
    host: "",
    port: "destinationTranslatedPort",
    service: "",
    mapped_address: "",
    mapped_port: "",
    user: "",
};

/// The fields that hold ports.
pub(super) const PORTS: &[&str] = &[
    "spt",
    "dpt",
    "sourceTranslatedPort",
    "destinationTranslatedPort",
];

impl End {
    fn put<'f>(&self, name: &'static str, value: &'f [u8], fields: &mut Fields<'f>) {
        if !name.is_empty() {
            fields.put(name, value);
        }
    }

    fn put_address<'f>(&self, text: &'f [u8], fields: &mut Fields<'f>) {
        let name = if is_address(text) {
            self.address
        } else {
            self.host
        };
        self.put(name, text, fields);
    }

    fn put_port<'f>(&self, text: &'f [u8], fields: &mut Fields<'f>) {
        let name = if is_number(text) {
            self.port
        } else {
            self.service
        };
        self.put(name, text, fields);
    }
}

/// Reads an end in the usual way.
pub(super) fn read<'f>(text: &'f [u8], end: &End, fields: &mut Fields<'f>) {
    let text = text.trim_ascii();
    let (core, mut groups) = match memchr(b'(', text) {
        // `inside(acl):192.0.2.1`: the interface, and which list its translation is by
        Some(at) => match memmem::find(text, b"):") {
            Some(close) if close > at && memchr(b':', text).is_some_and(|colon| colon > close) => {
                end.put(end.interface, text.get(..at).unwrap_or_default(), fields);
                let rest = text.get(close.saturating_add(2)..).unwrap_or_default();
                let cut = memchr(b'(', rest).unwrap_or(rest.len());
                rest.split_at_checked(cut).unwrap_or((rest, &[]))
            }
            _ => text.split_at_checked(at).unwrap_or((text, &[])),
        },
        None => (text, &[][..]),
    };
    // `IP spoof from (192.0.2.1)`
    if core.trim_ascii().is_empty() {
        if let Some((inner, _)) = group(groups) {
            end.put_address(inner.trim_ascii(), fields);
        }
        return;
    }
    read_core(core.trim_ascii(), end, fields);
    while let Some((inner, rest)) = group(groups) {
        read_group(inner.trim_ascii(), end, fields);
        groups = rest;
    }
}

/// Interface, address and port.
fn read_core<'f>(core: &'f [u8], end: &End, fields: &mut Fields<'f>) {
    let core = core.strip_suffix(b".").unwrap_or(core);
    let (user, core) = match memrchr(b'@', core).and_then(|at| core.split_at_checked(at)) {
        Some((user, rest)) => (user, rest.get(1..).unwrap_or_default()),
        None => (&[][..], core),
    };
    end.put(end.user, user, fields);
    let (place, port) = split_port(core);
    match split_interface(place) {
        (Some(interface), address) => {
            end.put(end.interface, interface, fields);
            end.put_address(address, fields);
        }
        (None, address) => end.put_address(address, fields),
    }
    if let Some(port) = port {
        end.put_port(port, fields);
    }
}

/// `address/port`.
fn split_port(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memrchr(b'/', text).and_then(|at| text.split_at_checked(at)) {
        Some((address, port)) => (address.trim_ascii_end(), port.get(1..)),
        None => (text, None),
    }
}

/// `interface:address`; the colons of an address of version 6 are its own.
fn split_interface(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    if is_address(text) {
        return (None, text);
    }
    match memchr(b':', text).and_then(|at| text.split_at_checked(at)) {
        Some((interface, rest)) => (
            Some(interface),
            rest.get(1..).unwrap_or_default().trim_ascii(),
        ),
        None => (None, text),
    }
}

/// What stands in parentheses behind an end: its translation, or the user and then a security group.
fn read_group<'f>(inner: &'f [u8], end: &End, fields: &mut Fields<'f>) {
    let (address, port) = split_port(inner);
    if is_address(address) {
        end.put(end.mapped_address, address, fields);
        end.put(end.mapped_port, port.unwrap_or_default(), fields);
        return;
    }
    let user = inner.split(|byte| *byte == b',').next();
    let user = user.unwrap_or_default().trim_ascii();
    // `3:Group` alone is a security group
    let is_group = user.first().is_some_and(u8::is_ascii_digit) && memchr(b':', user).is_some();
    if !is_group {
        end.put(end.user, user, fields);
    }
}

/// Reads an end as 106100 writes it: `interface/address(port)`, perhaps with a user behind it.
pub(super) fn read_slashed<'f>(text: &'f [u8], end: &End, fields: &mut Fields<'f>) {
    let text = text.trim_ascii();
    let slash = memchr(b'/', text).unwrap_or(0);
    let (interface, rest) = text.split_at_checked(slash).unwrap_or((&[], text));
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let open = memchr(b'(', rest).unwrap_or(rest.len());
    let (address, groups) = rest.split_at_checked(open).unwrap_or((rest, &[]));
    end.put(end.interface, interface, fields);
    end.put_address(address.trim_ascii(), fields);
    let Some((port, mut groups)) = group(groups) else {
        return;
    };
    end.put_port(port, fields);
    while let Some((inner, rest)) = group(groups) {
        read_group(inner.trim_ascii(), end, fields);
        groups = rest;
    }
}

/// The inside of the next parentheses, and what is behind them.
fn group(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.trim_ascii_start().strip_prefix(b"(")?;
    let close = memchr(b')', inner)?;
    Some((inner.get(..close)?, inner.get(close.saturating_add(1)..)?))
}

/// `192.0.2.1:http://…` or `192.0.2.1: path`: the end and the URL.
pub(super) fn split_url(text: &[u8]) -> (&[u8], &[u8]) {
    let colon = match memmem::find(text, b"://") {
        // the scheme is the run of letters before it
        Some(at) => {
            let before = text.get(..at).unwrap_or_default();
            before.iter().rposition(|byte| !byte.is_ascii_alphabetic())
        }
        None => memchr(b':', text),
    };
    let Some((end, url)) = colon.and_then(|at| text.split_at_checked(at)) else {
        return (text, &[]);
    };
    (end, url.get(1..).unwrap_or_default())
}

/// `TCP FINs (user01)`: the reason, and the user if there is one.
pub(super) fn split_user(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let text = text.trim_ascii();
    let open = text.strip_suffix(b")").and_then(|text| memrchr(b'(', text));
    match open.and_then(|open| text.split_at_checked(open)) {
        Some((reason, user)) => (reason, group(user).map(|(user, _)| user)),
        None => (text, None),
    }
}

/// Whether it is an address of version 4 or 6.
fn is_address(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).ok();
    text.is_some_and(|text| text.parse::<IpAddr>().is_ok())
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}
