//! What must hold between keys, and what is legal but perhaps not meant.

use std::net::SocketAddr;

use super::azure::Cloud;
use super::document::Reader;
use super::filter::Action;
use super::finding::Finding;
use super::value::{Wrong, bytes_text};
use super::{Config, DestinationId, Durability, EndpointUrl, Identity, Machine};
use crate::limits::{
    COLUMN_BYTES_MAX, LANES, PAGE_BYTES, PAGE_BYTES_SLACK, PAGES_PER_CORE_LEAST, PIECE_BYTES_KEPT,
    PIECES_PER_CORE, READ_BYTES_MAX, ROW_GROWTH, SERVICE_BODY_BYTES_MAX,
};

/// Reports combinations that cannot work.
pub(super) fn check(reader: &mut Reader<'_>, config: &Config) {
    frames_fit(reader, config);
    let (listen, runtime) = (&config.listen, &config.runtime);
    let metrics_port = config.metrics.listen.map(|address| address.port());
    let taken = listen
        .tcp
        .iter()
        .any(|address| Some(address.port()) == metrics_port);
    if taken && reader.all_good(&["listen.tcp", "metrics.listen"]) {
        let allowed = "a port for each, or metrics.listen = \"off\"";
        if reader.is_written("metrics.listen") {
            let wrong = Wrong::new("a port that listen.tcp uses", allowed);
            reader.wrong("metrics.listen", wrong);
        } else {
            let wrong = Wrong::new("the port that metrics.listen has by default", allowed);
            reader.wrong("listen.tcp", wrong);
        }
    }
    let threads_count = runtime.ingest_cores + runtime.upload_cores;
    let least = pages_bytes_least(threads_count);
    let keys = [
        "runtime.pages_bytes_max",
        "runtime.ingest_cores",
        "runtime.upload_cores",
    ];
    if runtime.pages_bytes_max < least && reader.all_good(&keys) {
        let what = format!("too little for {threads_count} cores");
        let allowed = format!(
            "at least {} ({PAGES_PER_CORE_LEAST} pages of {} for each core), or fewer cores",
            bytes_text(least),
            bytes_text(PAGE_BYTES + PAGE_BYTES_SLACK)
        );
        reader.wrong("runtime.pages_bytes_max", Wrong::new(what, allowed));
    }
}

/// A frame of the greatest length must have its place while it is unfinished, and as a row.
fn frames_fit(reader: &mut Reader<'_>, config: &Config) {
    let (listen, batch) = (&config.listen, &config.batch);
    let frame = bytes_text(listen.frame_bytes_max);
    let key = "listen.partial_bytes_max";
    if listen.partial_bytes_max < listen.frame_bytes_max
        && reader.all_good(&["listen.frame_bytes_max", key])
    {
        let allowed = format!("at least listen.frame_bytes_max, which is {frame}");
        reader.wrong(
            key,
            Wrong::new("less than one frame of the greatest length", allowed),
        );
    }
    // longer values are cut, so a longer frame makes a row that holds no more of one value
    let row_bytes = ROW_GROWTH * listen.frame_bytes_max.min(COLUMN_BYTES_MAX);
    let key = "batch.raw_bytes_max";
    if batch.raw_bytes_max < row_bytes && reader.all_good(&["listen.frame_bytes_max", key]) {
        let what = format!("does not hold the row of one frame of {frame}");
        let allowed = format!(
            "at least {}, or a lower listen.frame_bytes_max",
            bytes_text(row_bytes)
        );
        reader.wrong(key, Wrong::new(what, allowed));
    }
}

/// Least memory for the pages of so many cores, in bytes.
pub(super) fn pages_bytes_least(cores_count: usize) -> usize {
    cores_count * PAGES_PER_CORE_LEAST * (PAGE_BYTES + PAGE_BYTES_SLACK)
}

/// Memory for pages that lets every shard fill all of its lanes while as many pages travel, in bytes.
pub(super) fn pages_bytes_enough(ingest_cores: usize, upload_cores: usize) -> usize {
    (ingest_cores * LANES * 3 / 2 * (PAGE_BYTES + PAGE_BYTES_SLACK))
        .max(pages_bytes_least(ingest_cores + upload_cores))
}

/// What so many ingest cores read into and leave to each other, in bytes; one alone leaves nothing.
pub(super) fn ingest_bytes(cores_count: usize) -> usize {
    let pieces_bytes = match cores_count {
        1 => 0,
        _ => PIECES_PER_CORE * PIECE_BYTES_KEPT,
    };
    cores_count * (READ_BYTES_MAX + pieces_bytes)
}

/// True if two listeners want the same connections, which the kernel refuses. `[::]` is bound to
/// IPv6 only, so it may stand beside `0.0.0.0`.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// Why threads cannot have cores of their own, if they cannot.
pub(super) fn unpinned_because(threads_count: usize, machine: &Machine) -> Option<String> {
    let cores_count = machine.cores.len();
    if let Some(quota) = machine.cores_quota {
        return Some(format!(
            "a control group grants the time of {quota} of {cores_count} cores, and not which"
        ));
    }
    (threads_count > cores_count || cores_count == 1)
        .then(|| format!("{threads_count} threads share {cores_count} cores"))
}

/// Reports what is legal but perhaps not meant.
pub(super) fn warn(
    reader: &Reader<'_>,
    config: &Config,
    machine: &Machine,
    warnings: &mut Vec<Finding>,
) {
    let mut warn = |key: &str, what: String, advice: &str| {
        warnings.push(reader.finding(key, Wrong::new(what, advice)));
    };
    let batch = &config.batch;
    if batch.raw_bytes_max > SERVICE_BODY_BYTES_MAX {
        warn(
            "batch.raw_bytes_max",
            format!(
                "above {SERVICE_BODY_BYTES_MAX} B the service takes a body only if it counts \
                 compressed bytes, which its documents leave open"
            ),
            "watch answers_total{verdict=\"too_large\"}",
        );
    }
    if let Some(address) = config.metrics.listen
        && !address.ip().is_loopback()
    {
        let what = "metrics are shown beyond this machine, to anyone who asks".into();
        warn(
            "metrics.listen",
            what,
            "use a loopback address, or a firewall",
        );
    }
    let threads_count = config.runtime.ingest_cores + config.runtime.upload_cores;
    if threads_count > machine.cores_usable() && machine.cores_usable() > 1 {
        let key = match reader.is_written("runtime.upload_cores") {
            true => "runtime.upload_cores",
            false => "runtime.ingest_cores",
        };
        let what = format!(
            "{threads_count} threads for ingest and upload on {} cores",
            machine.cores_usable()
        );
        warn(key, what, "they will wait for each other");
    }
    if reader.source("runtime.pin") == Some("true")
        && let Some(reason) = unpinned_because(threads_count, machine)
    {
        warn("runtime.pin", format!("nothing is pinned: {reason}"), "");
    }
    warn_of_destination(config, &mut warn);
    warn_of_further(config, &mut warn);
    warn_of_unrouted(config, &mut warn);
}

/// Reports further destinations that may come to something else than was meant.
fn warn_of_further(config: &Config, warn: &mut impl FnMut(&str, String, &str)) {
    let mut known: Vec<(&str, &str)> = Vec::new();
    for target in config.targets() {
        let key = format!("{}.rules", target.section());
        for rule in target.rules {
            let id = rule.id.as_str();
            let same = known
                .iter()
                .find(|(other, _)| other.eq_ignore_ascii_case(id));
            if let Some((_, name)) = same {
                let what = format!(
                    "{id} is one of {name} too: each destination keeps a pace of its own, and Azure's \
                     limits are per rule"
                );
                warn(&key, what, "a rule of its own");
            } else {
                known.push((id, target.name));
            }
        }
        let is_real = !target.endpoint.is_loopback() && target.id != DestinationId::SENTINEL;
        if is_real
            && target
                .rules
                .iter()
                .any(|rule| is_placeholder(rule.id.as_str()))
        {
            let advice = "the rule's properties show its immutableId";
            warn(&key, "a placeholder, not a rule's id".into(), advice);
        }
    }
    if !config.destinations.is_empty() && config.spool.durability == Durability::Memory {
        let what = "without a spool a destination that takes no rows stops all others";
        warn("spool.durability", what.into(), "\"process\" or \"power\"");
    }
}

/// Reports further destinations to which no rule sends a row.
fn warn_of_unrouted(config: &Config, warn: &mut impl FnMut(&str, String, &str)) {
    let is_routed = |name: &str| {
        let mut filters = config.filters.iter();
        filters.any(|filter| matches!(&filter.action, Action::Route(to) if to == name))
    };
    for target in config.targets().skip(1) {
        if !is_routed(target.name) {
            let key = format!("{}.rules", target.section());
            let advice = "a rule of [[filter]] with action = \"route\"";
            warn(&key, "no rows are sent there".into(), advice);
        }
    }
}

/// Reports destinations that do not fit each other.
fn warn_of_destination(config: &Config, warn: &mut impl FnMut(&str, String, &str)) {
    let sentinel = &config.sentinel;
    let endpoint = &sentinel.endpoint;
    let cloud = Cloud::of_endpoint(endpoint.host());
    if cloud.is_none() && !endpoint.is_loopback() {
        let what = "this host is not known to be Azure's: it gets all rows, and a token".into();
        warn("sentinel.endpoint", what, "");
    }
    // a rehearsal may use the ids that the emulator has
    let is_real = !endpoint.is_loopback();
    let placeholder = sentinel
        .rules
        .iter()
        .any(|rule| is_placeholder(rule.id.as_str()));
    if is_real && placeholder {
        let what = "a placeholder, not a rule's id".into();
        warn(
            "sentinel.rules",
            what,
            "the rule's properties show its immutableId",
        );
    }
    warn_of_identity(&sentinel.identity, endpoint, warn);
}

/// Reports identities that do not fit the endpoint.
fn warn_of_identity(
    identity: &Identity,
    endpoint: &EndpointUrl,
    warn: &mut impl FnMut(&str, String, &str),
) {
    let cloud = Cloud::of_endpoint(endpoint.host());
    let application = identity.application();
    for (key, id) in [
        (
            "sentinel.identity.tenant_id",
            application.map(|one| &one.tenant_id),
        ),
        (
            "sentinel.identity.client_id",
            application.map(|one| &one.client_id),
        ),
    ] {
        if !endpoint.is_loopback() && id.is_some_and(|id| is_placeholder(id)) {
            warn(key, "a placeholder, not an id".into(), "");
        }
    }
    if let Some(authority) = identity.authority() {
        warn_of_authority(authority, endpoint, warn);
    }
    if let Some(cloud) = cloud
        && identity.scope().replace("//.default", "/.default") != cloud.scope
    {
        let what = format!("not the scope of the {} cloud", cloud.name);
        let advice = format!("the default would be {}", cloud.scope);
        warn("sentinel.identity.scope", what, &advice);
    }
}

fn warn_of_authority(
    authority: &EndpointUrl,
    endpoint: &EndpointUrl,
    warn: &mut impl FnMut(&str, String, &str),
) {
    let cloud = Cloud::of_endpoint(endpoint.host());
    if endpoint.is_loopback() != authority.is_loopback() {
        let what = format!(
            "rows go to {}, but tokens are asked of {}: the one is this machine, the other is not",
            endpoint.host(),
            authority.host()
        );
        warn(
            "sentinel.identity.authority",
            what,
            "a rehearsal needs both on this machine",
        );
    } else if let (Some(cloud), Some(login)) = (cloud, Cloud::of_login(authority.host()))
        && cloud != login
    {
        let what = format!(
            "a login host of the {} cloud for an endpoint in the {} cloud",
            login.name, cloud.name
        );
        let default = cloud.authority();
        let advice = format!("the default would be {}", default.as_str());
        warn("sentinel.identity.authority", what, &advice);
    }
}

/// True for the zeros of the examples.
fn is_placeholder(id: &str) -> bool {
    id.trim_start_matches("dcr-")
        .bytes()
        .all(|b| b == b'0' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_overlap_only_on_one_port_of_one_family() {
        for (a, b, expected) in [
            ("0.0.0.0:514", "0.0.0.0:514", true),
            ("0.0.0.0:514", "10.0.0.1:514", true),
            ("10.0.0.1:514", "0.0.0.0:514", true),
            ("10.0.0.1:514", "10.0.0.2:514", false),
            ("0.0.0.0:514", "0.0.0.0:515", false),
            ("0.0.0.0:514", "[::]:514", false),
            ("[::]:514", "[::1]:514", true),
        ] {
            let found = overlap(a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(found, expected, "{a} {b}");
        }
    }

    #[test]
    fn threads_are_pinned_only_to_cores_of_their_own() {
        let machine = |cores_count, cores_quota| Machine {
            cores: (0..cores_count).collect(),
            cores_quota,
            host_name: "collector".into(),
        };
        assert!(unpinned_because(2, &machine(1, None)).is_some());
        assert!(unpinned_because(2, &machine(2, None)).is_none());
        assert!(unpinned_because(3, &machine(2, None)).is_some());
        assert!(unpinned_because(2, &machine(8, Some(2))).is_some());
    }

    #[test]
    fn ingest_cores_have_a_read_buffer_each_and_pieces_if_there_are_several() {
        const KIB: usize = 1024;
        assert_eq!(ingest_bytes(1), 256 * KIB);
        // three pieces each, of 64 KiB and one frame of as many
        assert_eq!(ingest_bytes(2), 2 * (256 + 3 * 128) * KIB);
    }
}
