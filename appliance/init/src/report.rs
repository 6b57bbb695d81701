//! The self-report: what the kernel says of the machine and of cefline, so that a test, or whoever
//! reads the serial console, need not believe us. Reading is in [`lines`]; all else is pure.

use crate::sysctl::{self, Difference};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The report, as KEY=VALUE.
#[must_use]
pub fn lines(cefline: u32, sysctls: &str) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let setting = |key: &str| {
        let value = read(&format!("/proc/sys/kernel/{key}"));
        format!("{key}={}", or_unknown(value.trim()))
    };
    let mut lines = vec![format!(
        "lockdown={}",
        or_unknown(chosen(&read("/sys/kernel/security/lockdown")))
    )];
    let settings = [
        "tainted",
        "modules_disabled",
        "io_uring_disabled",
        "io_uring_group",
    ];
    lines.extend(settings.map(setting));
    lines.push(format!("sysctls={}", sysctl::settings(sysctls).count()));
    let differing = sysctl::differences(sysctls);
    lines.push(format!("sysctls_differing={}", differing.len()));
    lines.extend(differing.iter().map(differing_line));
    let status = read(&format!("/proc/{cefline}/status"));
    for key in [
        "Seccomp",
        "NoNewPrivs",
        "CapEff",
        "CapPrm",
        "CapBnd",
        "CapAmb",
        "Uid",
        "Gid",
    ] {
        lines.push(format!(
            "cefline.{key}={}",
            or_unknown(&field(&status, key))
        ));
    }
    let mut sockets = Vec::new();
    for (protocol, state) in [
        ("tcp", LISTENS),
        ("tcp6", LISTENS),
        ("udp", UNCONNECTED),
        ("udp6", UNCONNECTED),
    ] {
        let table = read(&format!("/proc/net/{protocol}"));
        let addresses = waiting(&table, state);
        sockets.extend(addresses.map(|address| format!("{}:{address}", &protocol[..3])));
    }
    lines.push(format!("sockets={}", sockets.join(",")));
    lines.push(format!(
        "redirects_taken_by={}",
        taking_redirects().join(",")
    ));
    lines.push(format!("mounts_lax={}", lax(&read("/proc/self/mounts"))));
    let memory = memory_used_mib(&read("/proc/meminfo"));
    let memory = memory.map(|mib| mib.to_string()).unwrap_or_default();
    lines.push(format!("mem_used_mib={}", or_unknown(&memory)));
    lines
}

fn or_unknown(value: &str) -> &str {
    if value.is_empty() { "unknown" } else { value }
}

fn differing_line(difference: &Difference) -> String {
    let Difference { key, wanted, found } = difference;
    format!("sysctl.{key}={found} wanted {wanted}")
}

/// The word in brackets of `none integrity [confidentiality]`.
fn chosen(text: &str) -> &str {
    let word = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    word.map_or("", |(word, _)| word)
}

/// A field of /proc/PID/status, with its values parted by one blank.
fn field(status: &str, key: &str) -> String {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let value = lines
        .find(|(name, _)| *name == key)
        .map_or("", |(_, value)| value);
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Memory that is not to be had for others: what the kernel counts as available is cache.
fn memory_used_mib(meminfo: &str) -> Option<u64> {
    let kib = |key| field(meminfo, key).strip_suffix(" kB")?.parse::<u64>().ok();
    Some(kib("MemTotal")?.saturating_sub(kib("MemAvailable")?) / 1024)
}

/// Of the mounts in /proc/self/mounts those that allow more than data needs, each with what it lacks.
fn lax(mounts: &str) -> String {
    let lax = mounts.lines().filter_map(|line| {
        let (target, options) = (line.split(' ').nth(1)?, line.split(' ').nth(3)?);
        let has = |wanted: &str| options.split(',').any(|option| option == wanted);
        let lacks = ["nosuid", "nodev", "noexec"]
            .into_iter()
            .filter(|one| !has(one));
        let lacks: Vec<&str> = lacks.collect();
        (!lacks.is_empty()).then(|| format!("{target}:{}", lacks.join(":")))
    });
    lax.collect::<Vec<_>>().join(",")
}

/// Interfaces that let a neighbour change the way of our packets. The settings for all do not say it:
/// each has its own.
fn taking_redirects() -> Vec<String> {
    let mut taking = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let folder = format!("/proc/sys/net/{family}/conf");
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let value = fs::read_to_string(entry.path().join("accept_redirects"));
            let name = entry.file_name();
            if name != "lo" && value.is_ok_and(|value| value.trim() != "0") {
                taking.push(format!("{family}/{}", name.display()));
            }
        }
    }
    taking.sort();
    taking
}

/// State of a TCP socket that listens, in /proc/net.
const LISTENS: &str = "0A";
/// State of a UDP socket that takes datagrams from everybody.
const UNCONNECTED: &str = "07";

/// Local addresses of the sockets in a table of /proc/net that are in a state.
fn waiting(table: &str, state: &str) -> impl Iterator<Item = SocketAddr> {
    table.lines().filter_map(move |line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, _, in_state) = (columns.next()?, columns.next()?, columns.next()?);
        address(local).filter(|_| in_state == state)
    })
}

/// `0100007F:0202`: the address in words of the machine's own byte order, the port in hex.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(
        address,
        u16::from_str_radix(port, 16).ok()?,
    ))
}

/// As one text, for the console.
#[must_use]
pub fn text(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "self-report {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_level_of_lockdown_is_the_word_in_brackets() {
        assert_eq!(
            chosen("none integrity [confidentiality]\n"),
            "confidentiality"
        );
        assert_eq!(chosen("[none] integrity confidentiality\n"), "none");
        assert_eq!(or_unknown(chosen("")), "unknown");
    }

    #[test]
    fn fields_of_a_process_are_found_by_their_whole_name() {
        let status = "Name:\tcefline\nUid:\t514\t514\t514\t514\nCapEff:\t0000000000000400\nSeccomp_filters:\t1\nSeccomp:\t2\n";
        assert_eq!(field(status, "Uid"), "514 514 514 514");
        assert_eq!(field(status, "CapEff"), "0000000000000400");
        assert_eq!(field(status, "Seccomp"), "2");
        assert_eq!(field(status, "CapAmb"), "");
    }

    #[test]
    fn memory_that_can_be_had_at_once_is_not_used() {
        let meminfo = "MemTotal:        1009664 kB\nMemFree:          800000 kB\nMemAvailable:     907264 kB\n";
        assert_eq!(memory_used_mib(meminfo), Some(100));
        assert_eq!(memory_used_mib("MemTotal: 1 kB"), None);
    }

    #[test]
    fn only_sockets_that_listen_are_told() {
        let table = "  sl  local_address rem_address   st tx_queue\n   \
            0: 00000000:0202 00000000:0000 0A 00000000:00000000 00\n   \
            1: 0100007F:252A 00000000:0000 0A 00000000:00000000 00\n   \
            2: 0F02000A:0202 0202000A:9C40 01 00000000:00000000 00\n";
        let addresses: Vec<String> = waiting(table, LISTENS).map(|a| a.to_string()).collect();
        assert_eq!(addresses, ["0.0.0.0:514", "127.0.0.1:9514"]);
        let table = "   0: 00000000000000000000000001000000:0202 00000000000000000000000000000000:0000 0A 0\n";
        let addresses: Vec<String> = waiting(table, LISTENS).map(|a| a.to_string()).collect();
        assert_eq!(addresses, ["[::1]:514"]);
    }

    #[test]
    fn mounts_are_told_that_allow_more_than_data_needs() {
        let mounts = "rootfs / rootfs ro,nosuid,nodev,size=1k 0 0\n\
            proc /proc proc rw,nosuid,nodev,noexec,relatime,hidepid=invisible 0 0\n\
            none /x tmpfs rw 0 0\n\nbroken\n";
        assert_eq!(lax(mounts), "/:noexec,/x:nosuid:nodev:noexec");
    }

    #[test]
    fn a_report_can_be_made_of_any_linux() {
        let lines = lines(std::process::id(), "kernel.ostype = Minix");
        let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
        for start in [
            "lockdown=",
            "tainted=",
            "sysctls=1",
            "sysctls_differing=1",
            "sysctl.kernel.ostype=Linux wanted Minix",
            "cefline.Seccomp=",
            "cefline.CapBnd=",
            "sockets=",
            "mounts_lax=",
            "redirects_taken_by=",
            "mem_used_mib=",
        ] {
            assert!(has(start), "{start}: {lines:#?}");
        }
        assert!(text(&lines).starts_with("self-report lockdown="));
    }

    proptest! {
        #[test]
        fn no_table_breaks_the_report(text in "\\PC*", address_text in "[0-9A-F]{0,40}:[0-9A-F]{0,6}") {
            let _ = (chosen(&text), field(&text, "Uid"), memory_used_mib(&text), address(&address_text));
            let _ = waiting(&text, LISTENS).count();
        }
    }
}
