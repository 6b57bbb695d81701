#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
//! The emulator under load, without the network: rows of some 1,000 bytes and 27 columns, and queries
//! over all of them. `CEFLINE_VOLUME_ROWS` (20,000) says how many; two million are what the emulator is
//! made for, to be tried when the table or the queries change:
//! `CEFLINE_VOLUME_ROWS=2000000 cargo test --release --test emulator_volume -- --nocapture`

use std::fmt::Write as _;
use std::io::Write as _;

use cefline::clock::{Clock, Mono, Wall};
use cefline::emulator::ingest::{SizeReading, unpack};
use cefline::emulator::kql::answer;
use cefline::emulator::rows::read_rows;
use cefline::emulator::stamp::time_text;
use cefline::emulator::table::{Schema, Table};

/// Rows, if not set: a second or two with the tests' profile.
const ROWS_DEFAULT: usize = 20_000;
const ROWS_IN_BODY: usize = 900;
const NOW: Wall = Wall(1_714_564_800_000_000_000);

fn body(first: usize, random: &mut fastrand::Rng) -> String {
    let vendors = [
        "Darktrace",
        "Palo Alto Networks",
        "Fortinet",
        "Check Point",
        "Cisco",
    ];
    let mut out = String::from("[");
    for id in first..first + ROWS_IN_BODY {
        let vendor = random.choice(vendors).unwrap();
        let stamp = time_text(NOW.0 - 3_600_000_000_000 + id as i64 * 1_000_000);
        let _ = write!(
            out,
            "{}{{\"TimeGenerated\":\"{stamp}\",\"DeviceVendor\":\"{vendor}\",\"DeviceProduct\":\"PAN-OS\",\
             \"DeviceVersion\":\"10.2.{}\",\"DeviceEventClassID\":\"TRAFFIC\",\"Activity\":\"end of session\",\
             \"LogSeverity\":\"{}\",\"SourceIP\":\"10.{}.{}.{}\",\"DestinationIP\":\"198.51.{}.{}\",\
             \"SourcePort\":{},\"DestinationPort\":{},\"Protocol\":\"tcp\",\"ApplicationProtocol\":\"ssl\",\
             \"DeviceAction\":\"allow\",\"SourceUserName\":\"user{}@example.com\",\"ReceivedBytes\":{},\"SentBytes\":{},\
             \"DeviceCustomString1\":\"rule-{}\",\"DeviceCustomString1Label\":\"Rule\",\
             \"DeviceCustomNumber1\":{},\"FieldDeviceCustomNumber1\":{},\"DeviceCustomNumber1Label\":\"SessionID\",\
             \"RequestURL\":\"https://www.example.com/{:016x}/{:016x}\",\"StartTime\":\"{stamp}\",\
             \"Computer\":\"fw{}.example.com\",\"ExtID\":\"{:08x}-{id:012}-{:08x}\",\
             \"AdditionalExtensions\":\"PanOSPacketsReceived={};PanOSSessionStartTime=May 01 2024;PanOSActionFlags=0x8000;\
             PanOSContainerName=;PanOSHostID={:x};PanOSEndpointSerialNumber={:x}\"}}",
            if id == first { "" } else { "," },
            random.u8(0..9),
            random.u8(0..10),
            random.u8(..),
            random.u8(..),
            random.u8(..),
            random.u8(..),
            random.u8(..),
            random.u16(1024..),
            random.choice([80, 443, 53, 22]).unwrap(),
            random.u16(0..2000),
            random.u32(0..1_000_000),
            random.u32(0..100_000),
            random.u8(0..200),
            random.u16(..),
            random.u16(..),
            random.u64(..),
            random.u64(..),
            random.u8(0..20),
            random.u32(..),
            random.u32(..),
            random.u16(..),
            random.u64(..),
            random.u64(..),
        );
    }
    out.push(']');
    out
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[test]
fn very_many_rows_are_kept_and_asked_for() {
    let asked_for = std::env::var("CEFLINE_VOLUME_ROWS").ok();
    let rows_min = asked_for.map_or(ROWS_DEFAULT, |text| text.parse().unwrap());
    let clock = Clock::start();
    let schema = Schema::default();
    let mut table = Table::new(usize::MAX);
    let mut random = fastrand::Rng::with_seed(1);
    // a few bodies of each kind would pack too well: ids differ, and so does the random part
    let (mut spent, mut raw_bytes, mut wire_bytes) = (0, 0, 0);
    let mut slowest = std::time::Duration::ZERO;
    let mut rows_count = 0;
    while rows_count < rows_min {
        let raw = body(rows_count, &mut random);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(raw.as_bytes()).unwrap();
        let wire = encoder.finish().unwrap();
        raw_bytes += raw.len();
        wire_bytes += wire.len();
        let began = clock.mono();
        let raw = unpack(&wire, Some("gzip"), SizeReading::Raw).unwrap();
        let (rows, notes) = read_rows(&raw, NOW, &schema).unwrap();
        table.append(&rows);
        let took = clock.mono().since(began);
        assert_eq!(notes, Default::default());
        spent += took.as_nanos();
        slowest = slowest.max(took);
        rows_count += rows.rows_count;
    }
    println!(
        "{} bytes raw a row, {} on the wire, {} packed; {} ns a row, slowest body {slowest:?}; {} MiB resident",
        raw_bytes / rows_count,
        wire_bytes / rows_count,
        table.packed_bytes() / rows_count,
        spent / rows_count as u128,
        resident_mib()
    );
    for (query, expected) in [
        ("CommonSecurityLog | count", Some(rows_count)),
        (
            "CommonSecurityLog | summarize count() by ExtID | where count_ > 1 | count",
            Some(0),
        ),
        (
            "CommonSecurityLog | distinct ExtID | count",
            Some(rows_count),
        ),
        (
            "CommonSecurityLog | summarize dcount(ExtID)",
            Some(rows_count),
        ),
        (
            "CommonSecurityLog | where RequestURL contains 'abcdef' | count",
            None,
        ),
        (
            "CommonSecurityLog | where DeviceVendor == \"Darktrace\" | order by TimeGenerated desc | limit 10",
            None,
        ),
        (
            "CommonSecurityLog | where DeviceVendor == \"Nobody\" | order by TimeGenerated desc | limit 10",
            None,
        ),
        (
            "CommonSecurityLog | summarize count() by DeviceVendor, bin(TimeGenerated, 1m) | order by count_",
            None,
        ),
        (
            "CommonSecurityLog | order by SourceUserName asc | project ExtID",
            None,
        ),
    ] {
        let began: Mono = clock.mono();
        let snapshot = table.snapshot();
        let found = answer(query, &snapshot, &schema, NOW, None).unwrap();
        println!(
            "{:?}  {} MiB  {query}",
            clock.mono().since(began),
            resident_mib()
        );
        if let Some(expected) = expected {
            assert_eq!(found.cell(0, 0), expected as u64, "{query}");
        }
    }
}
