//! Kernel, limits, synchronisation, firewalls, other agents.

use super::ports::owners;
use super::program::{NoOutput, output};
use crate::check::agent;
use crate::check::firewall::{Packet, Source, iptables, nft};
use crate::check::host::{Descriptors, LockedMemory, Process};
use crate::config::Config;
use crate::listen::uring;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// The kernel's release; empty if it cannot be read.
#[must_use]
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// The limits of a running cefline, or of this process.
#[must_use]
pub fn limits(config: &Config, running: Option<u32>) -> (LockedMemory, Descriptors) {
    let of = |id: &str| fs::read_to_string(format!("/proc/{id}/limits")).ok();
    let theirs = running.and_then(|id| Some((Process::Running(id), of(&id.to_string())?)));
    let (process, text) = theirs.unwrap_or_else(|| (Process::Ours, of("self").unwrap_or_default()));
    let hard = |name: &str| hard_limit(&text, name).unwrap_or(u64::MAX);
    // one that runs has passed this by itself
    let may_lock_any = process != Process::Ours || uring::may_lock_any();
    let locked_memory = LockedMemory {
        allowed: hard("Max locked memory"),
        needed: uring::locked_bytes_needed(config.runtime.ingest_cores, may_lock_any),
        of: process.clone(),
    };
    let descriptors = Descriptors {
        of: process,
        allowed: hard("Max open files"),
        connections_max: config.listen.connections_max,
    };
    (locked_memory, descriptors)
}

/// The hard limit of that name, from `/proc/PID/limits`.
fn hard_limit(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Whether the clock is synchronised. timedatectl asks the kernel (adjtimex), which has it from
/// whatever program keeps the clock; that call itself is for unsafe code only.
#[must_use]
pub fn is_synchronised() -> Option<bool> {
    let arguments = ["show", "--property=NTPSynchronized", "--value"];
    match output("timedatectl", &arguments).ok()?.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The rules of all firewalls that are there.
#[must_use]
pub fn firewalls(address: SocketAddr) -> Vec<Source> {
    let packet = Packet::to(address);
    let legacy = match packet.is_ipv6 {
        false => "iptables-save",
        true => "ip6tables-save",
    };
    let mut sources = Vec::new();
    match output("nft", &["-j", "list", "ruleset"]) {
        Ok(text) => sources.push(match nft::tables(&text, packet) {
            Ok(tables) => Source::Read("nft", tables),
            Err(why) => Source::Unreadable("nft", why),
        }),
        Err(NoOutput::Failed(why)) => sources.push(Source::Unreadable("nft", why)),
        Err(NoOutput::NotThere) => {}
    }
    match output(legacy, &[]) {
        Ok(text) => sources.push(Source::Read(legacy, iptables::tables(&text, packet))),
        Err(NoOutput::Failed(why)) => sources.push(Source::Unreadable(legacy, why)),
        Err(NoOutput::NotThere) => {}
    }
    sources
}

/// Variables of the environment that name a proxy; their values may hold a password.
#[must_use]
pub fn proxies_in_environment() -> Vec<String> {
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    names
        .into_iter()
        .filter(is_set)
        .map(str::to_owned)
        .collect()
}

/// Files that the Azure Monitor Agent brings along.
const AGENT_FILES: [&str; 3] = [
    "/etc/systemd/system/azuremonitoragent.service",
    "/lib/systemd/system/azuremonitoragent.service",
    "/opt/microsoft/azuremonitoragent",
];

/// Signs of Microsoft's agents.
#[must_use]
pub fn agents() -> agent::Facts {
    let at = |port| owners(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    agent::Facts {
        files: AGENT_FILES
            .iter()
            .filter(|file| Path::new(file).exists())
            .map(|file| (*file).to_owned())
            .collect(),
        on_28330: at(28330),
        on_25226: at(25226),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n\
                    Max locked memory         65536                unlimited            bytes\n";
        assert_eq!(hard_limit(text, "Max open files"), Some(524_288));
        assert_eq!(hard_limit(text, "Max locked memory"), Some(u64::MAX));
        assert_eq!(hard_limit(text, "Max nothing"), None);
        assert!(!kernel_release().is_empty());
    }
}
