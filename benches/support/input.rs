//! What the pure stages are measured on, and how each is driven: generated messages of a dozen
//! vendors with a fixed seed, and rules that keep all of them.

use cefline::clock::{Moment, Mono, Wall};
use cefline::config::{self, Filter, FramingChoice};
use cefline::frame::{Cut, Frame, Framer};
use cefline::generate::{Generator, GeneratorOptions};
use cefline::limits::{BODY_RAW_BYTES_DEFAULT, FRAME_BYTES_DEFAULT};
use cefline::map::{Mapper, Source};
use cefline::metrics::Tally;
use cefline::page::RowPage;
use std::hint::black_box;
use std::net::Ipv4Addr;

const SEED: u64 = 1;
/// 2026-11-25T01:59:07Z
const NOW: Wall = Wall(1_795_571_947_000_000_000);

/// So many generated messages, one a line.
pub(crate) fn lines(count: usize) -> Vec<u8> {
    let mut generator = Generator::new(SEED, &GeneratorOptions::default());
    let mut lines = Vec::new();
    for _ in 0..count {
        generator.append(NOW, &mut lines);
        lines.push(b'\n');
    }
    lines
}

/// The frames of the messages.
pub(crate) fn frames(lines: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut framer = Framer::new(FramingChoice::Auto, FRAME_BYTES_DEFAULT);
    let mut at = 0;
    std::iter::from_fn(move || match framer.cut(&lines[at..]) {
        Cut::Frame { frame, used } => {
            at += used;
            Some(frame)
        }
        _ => None,
    })
}

/// Cuts all frames; gives their number.
pub(crate) fn cut(lines: &[u8]) -> usize {
    frames(lines).map(black_box).count()
}

/// A mapper of the default settings.
pub(crate) fn mapper() -> Mapper {
    let settings = config::Map {
        collector_host_name: "collector-1".into(),
        ..config::Map::of(&config::Machine::read())
    };
    Mapper::new(&settings, BODY_RAW_BYTES_DEFAULT - 2)
}

pub(crate) const SOURCE: Source = Source {
    peer: std::net::IpAddr::V4(Ipv4Addr::LOCALHOST),
    received: Moment {
        mono: Mono(1),
        wall: NOW,
    },
};

/// Maps all frames into one page, begun anew when it is full; gives the rows and their bytes.
pub(crate) fn map(
    lines: &[u8],
    mapper: &mut Mapper,
    page: &mut RowPage,
    tally: &mut Tally,
) -> (usize, usize) {
    let (mut rows, mut bytes) = (0, 0);
    for frame in frames(lines) {
        if page.is_full() {
            rows += page.rows_count();
            bytes += page.bytes_len();
            page.reset();
        }
        mapper.map(frame, SOURCE, page, tally);
    }
    rows += page.rows_count();
    bytes += page.bytes_len();
    page.reset();
    (rows, bytes)
}

/// Fifty rules of a large site: most of them for one vendor, some for all, none of which ends a row
/// of the generated messages, so that every row is written with them as without.
pub(crate) fn rules() -> Vec<Filter> {
    let vendors = [
        "Fortinet",
        "Palo Alto Networks",
        "Check Point",
        "Cisco",
        "F5",
        "FireEye",
        "Darktrace",
        "Imperva Inc.",
        "Trend Micro",
        "Zscaler",
        "CyberArk",
        "Microsoft",
    ];
    let mut text = String::new();
    for number in 0..50 {
        let vendor = vendors[number % vendors.len()];
        let when = match number % 5 {
            0 => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ column = \"Activity\", equals = \"none {number}\" }}]"
            ),
            1 => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ column = \"DeviceAction\", in = [\"a{number}\", \"b\"], ignore_case = true }}, \
                 {{ column = \"DestinationPort\", in = [53, 123] }}]"
            ),
            2 => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ column = \"SourceIP\", cidr = [\"240.0.{number}.0/24\"] }}]"
            ),
            3 => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ column = \"RequestURL\", contains = \"/none/{number}\" }}]"
            ),
            _ if number < 25 => format!(
                "[{{ column = \"DeviceEventClassID\", prefix = \"none-{number}\" }}, \
                 {{ column = \"LogSeverity\", at_most = 3 }}]"
            ),
            _ => format!(
                "[{{ column = \"DeviceVendor\", equals = \"{vendor}\" }}, \
                 {{ key = \"none{number}\", exists = true }}]"
            ),
        };
        text += &format!("[[filter]]\nname = \"r{number}\"\nwhen = {when}\naction = \"drop\"\n");
    }
    let file = std::env::temp_dir().join(format!("cefline-rules-{}.toml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let rules = config::read_filters(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(rules.len(), 50);
    rules
}
