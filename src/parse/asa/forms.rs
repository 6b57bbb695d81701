//! What Cisco's messages say, by id: the forms that its guides to syslog messages publish, and those
//! that devices send where guide and device differ.
//!
//! Names in braces are names of CEF keys, names of our own where CEF has none, or one of those that
//! [`super::take`] reads further: `source`, `destination`, `mapped`, `direction`, `reason`, `acl`.

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    /// Its id.
    id: u32,
    /// A short name.
    pub(super) activity: &'static str,
    /// The forms of its body; the first that fits counts.
    pub(super) forms: &'static [&'static str],
}

const fn message(id: u32, activity: &'static str, forms: &'static [&'static str]) -> Message {
    Message {
        id,
        activity,
        forms,
    }
}

/// What messages of many ids begin with: those of VPN sessions (713, 716, 722 and others).
pub(super) const COMMON: &[&str] = &[
    "Group <{group}> User <{suser}> IP <{source}> ",
    "Group = {group}, Username = {suser}, IP = {source}, ",
    "Group = {group}, IP = {source}, ",
];

/// The message of an id.
pub(super) fn of(id: &[u8]) -> Option<&'static Message> {
    let id = crate::parse::syslog::number(id)?;
    let index = MESSAGES.binary_search_by_key(&id, |message| message.id);
    MESSAGES.get(index.ok()?)
}

/// What messages are about whose id has these first three digits, by the guide's table of classes.
pub(super) fn class_of(id: &[u8]) -> &'static str {
    let class = id.get(..3).and_then(crate::parse::syslog::number);
    match class.unwrap_or(0) {
        109 | 113 => "User authentication",
        110 | 220 => "Transparent firewall",
        106 => "Access list",
        111 | 112 | 208 | 308 => "Command interface",
        101..=105 | 210 | 311 | 709 => "Failover",
        199
        | 211
        | 214
        | 216
        | 306
        | 307
        | 315
        | 414
        | 604..=606
        | 610
        | 612
        | 614
        | 615
        | 701
        | 711
        | 741 => "System",
        209 | 215 | 313 | 317 | 408 => "IP stack",
        212 => "SNMP",
        213 | 403 | 603 => "PPTP and L2TP",
        316 | 320 | 402 | 404 | 501 | 602 | 702 | 713 | 714 | 715 | 750..=752 => "IKE and IPsec",
        318 | 409 | 503 | 613 => "OSPF",
        201 | 202 | 204 | 302 | 303 | 304 | 305 | 314 | 405 | 406 | 407 | 500 | 502 | 607 | 608
        | 609 | 616 | 620 | 703 | 710 => "User session",
        319 => "Network processor",
        323 => "NAC settings",
        338 => "Botnet traffic filter",
        400 | 401 | 415 => "Intrusion prevention",
        430 => "Security event",
        611 => "VPN client",
        716 | 724 | 725 => "WebVPN and SSL",
        717 => "Certificates",
        718 => "VPN load balancing",
        720 => "VPN failover",
        722 => "SSL VPN client",
        731 | 732 => "NAC",
        733 => "Threat detection",
        734 => "Dynamic access policies",
        735 => "Environment",
        737 => "IP address assignment",
        746 => "User identity",
        747 => "Clustering",
        _ => "Cisco syslog message",
    }
}

/// All messages that are known, by id.
#[rustfmt::skip]
const MESSAGES: &[Message] = &[
    message(106001, "Inbound connection denied",
        &["Inbound {proto} connection {act} from {source} to {destination} flags {tcpFlags} on interface {deviceInboundInterface}"]),
    message(106002, "Connection denied by outbound list",
        &["{proto} Connection {act} by outbound list {acl} src {source} dest {destination}"]),
    message(106006, "Inbound UDP denied",
        &["{act} {direction} {proto} from {source} to {destination} on interface {deviceInboundInterface}"]),
    message(106007, "Inbound UDP denied, DNS",
        &["{act} {direction} {proto} from {source} to {destination} due to {reason}"]),
    message(106010, "Inbound packet denied",
        &["{act} {direction} {proto} src {source} dst {destination} (type {icmpType}, code {icmpCode})",
          "{act} {direction} {proto} src {source} dst {destination}"]),
    message(106012, "Packet with IP options denied",
        &["{act} {proto} from {source} to {destination}, IP options: {ipOptions}",
          "{act} {proto} from {source} to {destination}, IP options {ipOptions}"]),
    message(106013, "Echo request dropped",
        &["{act} echo request from {source} to PAT address {destination}"]),
    message(106014, "Inbound ICMP denied",
        &["{act} {direction} {proto} src {source} dst {destination} (type {icmpType}, code {icmpCode})"]),
    message(106015, "TCP without connection denied",
        &["{act} {proto} (no connection) from {source} to {destination} flags {tcpFlags} on interface {deviceInboundInterface}"]),
    message(106016, "IP spoof denied",
        &["{act} {proto} spoof from {source} to {destination} on interface {deviceInboundInterface}"]),
    message(106017, "Land attack denied",
        &["{act} {proto} due to {reason} from {source} to {destination}"]),
    message(106018, "ICMP denied by outbound list",
        &["{proto} packet type {icmpType} {act} by outbound list {acl} src {source} dest {destination}"]),
    message(106020, "Teardrop fragment denied",
        &["{act} {proto} teardrop fragment ({fragment}) from {source} to {destination}"]),
    message(106021, "Reverse path check failed",
        &["{act} {proto} reverse path check from {source} to {destination} on interface {deviceInboundInterface}"]),
    message(106022, "Connection spoof denied",
        &["{act} {proto} connection spoof from {source} to {destination} on interface {deviceInboundInterface}"]),
    message(106023, "Denied by access group",
        &["{act} {proto} src {source} dst {destination} (type {icmpType}, code {icmpCode}) by access-group {acl} [{aclHash}]",
          "{act} {proto} src {source} dst {destination} by access-group {acl} [{aclHash}]",
          "{act} {proto} src {source} dst {destination} by access-group {acl}"]),
    message(106100, "Access list hit",
        &["access-list {acl} {act} {proto} {source/} -> {destination/} hit-cnt {cnt} {hitInterval} [{aclHash}]",
          "access-list {acl} {act} {proto} {source/} -> {destination/} hit-cnt {cnt} "]),
    message(106102, "Access list hit by VPN user",
        &["access-list {acl} {act} {proto} for user {suser} {source/} -> {destination/} hit-cnt {cnt} "]),
    message(106103, "Access list denied VPN user",
        &["access-list {acl} {act} {proto} for user {suser} {source/} -> {destination/} hit-cnt {cnt} "]),
    message(109005, "User authentication succeeded",
        &["Authentication {outcome} for user {suser} from {source} to {destination} on interface {deviceInboundInterface}"]),
    message(109006, "User authentication failed",
        &["Authentication {outcome} for user {suser} from {source} to {destination} on interface {deviceInboundInterface}"]),
    message(109007, "User authorization permitted",
        &["Authorization {outcome} for user {suser} from {source} to {destination} on interface {deviceInboundInterface}"]),
    message(109008, "User authorization denied",
        &["Authorization {outcome} for user {suser} from {source} to {destination} on interface {deviceInboundInterface}"]),
    message(110002, "No egress interface",
        &["Failed to locate egress interface for {proto} from {source} to {destination}"]),
    message(110003, "No next hop",
        &["Routing failed to locate next hop for {proto} from {source} to {destination}"]),
    message(111008, "Command executed",
        &["User {suser} executed the {command} command", "User {suser} executed the command {command}"]),
    message(111009, "Command executed",
        &["User {suser} executed cmd: {command}", "User {suser} executed cmd:{command}"]),
    message(111010, "Command executed",
        &["User {suser}, running {sproc} from IP {source}, executed {command}"]),
    message(113004, "AAA request successful",
        &["AAA user {aaaType} {outcome} : server ={server}: user ={suser}",
          "AAA user {aaaType} {outcome}: server ={server}, User ={suser}"]),
    message(113005, "AAA authentication rejected",
        &["AAA user {aaaType} {outcome} : reason ={reason}: server ={server}: user ={suser}: user IP ={source}",
          "AAA user {aaaType} {outcome}: reason ={reason}: server ={server}, User ={suser}: user IP ={source}",
          "AAA user {aaaType} {outcome} : reason ={reason}: server ={server}: user ={suser}"]),
    message(113006, "User locked out",
        &["User {suser} locked out on exceeding {attempts} successive failed authentication attempts"]),
    message(113008, "AAA transaction accepted",
        &["AAA transaction status {outcome} : user ={suser}", "AAA transaction status {outcome}: user ={suser}"]),
    message(113009, "Default group policy retrieved",
        &["AAA retrieved default group policy ({groupPolicy}) for user ={suser}",
          "AAA retrieved default group policy {groupPolicy} for user {suser}"]),
    message(113012, "Local authentication successful",
        &["AAA user {aaaType} {outcome} : local database : user ={suser}",
          "AAA user {aaaType} {outcome}: local database: user ={suser}"]),
    message(113015, "Local authentication rejected",
        &["AAA user {aaaType} {outcome} : reason ={reason}: local database : user ={suser}: user IP ={source}",
          "AAA user {aaaType} {outcome}: reason ={reason}: local database: user ={suser}: user IP ={source}",
          "AAA user {aaaType} {outcome} : reason ={reason}: local database : user ={suser}"]),
    message(113019, "VPN session disconnected",
        &["Group = {group}, Username = {suser}, IP = {source}, Session disconnected. Session Type: {sessionType}, Duration: {duration}, Bytes xmt: {out}, Bytes rcv: {in}, Reason: {reason}"]),
    message(113039, "VPN parent session started", &[]),
    message(302013, "TCP connection built",
        &["{act} {direction} {proto} connection {connectionId} for {source} to {destination}"]),
    message(302014, "TCP connection torn down", TEARDOWN),
    message(302015, "UDP connection built",
        &["{act} {direction} {proto} connection {connectionId} for {source} to {destination}"]),
    message(302016, "UDP connection torn down", TEARDOWN),
    message(302017, "GRE connection built",
        &["{act} {direction} {proto} connection {connectionId} from {source} to {destination}"]),
    message(302018, "GRE connection torn down",
        &["{act} {proto} connection {connectionId} from {source} to {destination} duration {duration} bytes {bytes} {reason}",
          "{act} {proto} connection {connectionId} from {source} to {destination} duration {duration} bytes {bytes}"]),
    message(302020, "ICMP connection built", ICMP_BUILT),
    message(302021, "ICMP connection torn down", ICMP_TORN_DOWN),
    message(302303, "TCP state bypass connection built",
        &["{act} {proto} state-bypass connection {connectionId} from {source} to {destination}"]),
    message(302304, "TCP state bypass connection torn down",
        &["{act} {proto} state-bypass connection {connectionId} from {source} to {destination} duration {duration} bytes {bytes} {reason}",
          "{act} {proto} state-bypass connection {connectionId} from {source} to {destination} duration {duration} bytes {bytes}"]),
    message(303002, "FTP file transfer",
        &["{app} connection from {source} to {destination}, user {suser} {act} file {fname}"]),
    message(304001, "URL accessed",
        &["{source} {act} URL {destination:request}"]),
    message(304002, "URL access denied",
        &["Access {act} URL {request} SRC {source} DEST {destination} on interface {deviceInboundInterface}",
          "Access {act} URL {request} SRC {source} DEST {destination}"]),
    message(305005, "No translation group",
        &["No translation group found for {proto} src {source} dst {destination}"]),
    message(305006, "Translation creation failed",
        &["{translation} translation creation failed for {proto} src {source} dst {destination} (type {icmpType}, code {icmpCode})",
          "{translation} translation creation failed for {proto} src {source} dst {destination}"]),
    message(305009, "Translation built",
        &["{act} {translation} translation from {source} to {mapped}"]),
    message(305010, "Translation torn down",
        &["{act} {translation} translation from {source} to {mapped} duration {duration}"]),
    message(305011, "Translation built",
        &["{act} {translation} {proto} translation from {source} to {mapped}"]),
    message(305012, "Translation torn down",
        &["{act} {translation} {proto} translation from {source} to {mapped} duration {duration}"]),
    message(305013, "Asymmetric translation rules",
        &["Asymmetric NAT rules matched for forward and reverse flows; Connection for {proto} src {source} dst {destination} {act} due to {reason}",
          "Asymmetric NAT rules matched for forward and reverse flows; Connection {proto} src {source} dst {destination} {act} due to {reason}"]),
    message(313001, "ICMP denied",
        &["{act} {proto} type={icmpType}, code={icmpCode} from {source} on interface {deviceInboundInterface}"]),
    message(313004, "ICMP without session denied",
        &["{act} {proto} type={icmpType}, from laddr {source} on interface {deviceInboundInterface} to {destination}: {reason}",
          "{act} {proto} type={icmpType}, from {source} on interface {deviceInboundInterface} to {destination}:{reason}"]),
    message(313005, "ICMP error without connection",
        &["No matching connection for ICMP error message: {proto} src {source} dst {destination} (type {icmpType}, code {icmpCode}) on {deviceInboundInterface} interface."]),
    message(313008, "ICMPv6 denied",
        &["{act} {proto} type={icmpType}, code={icmpCode} from {source} on interface {deviceInboundInterface}"]),
    message(313009, "Invalid ICMP code denied",
        &["{act} invalid {proto} code {icmpCode}, for {source} to {destination}, ICMP id {icmpId}, ICMP type {icmpType}"]),
    message(410001, "DNS packet dropped",
        &["{act} {proto} {app} {dnsKind} from {source} to {destination}; {reason}"]),
    message(419002, "Duplicate TCP SYN",
        &["Duplicate {proto} SYN from {source} to {destination} with different initial sequence number"]),
    message(430001, "Intrusion event", &[]),
    message(430002, "Connection begun", &[]),
    message(430003, "Connection ended", &[]),
    message(430004, "File event", &[]),
    message(430005, "File malware event", &[]),
    message(430007, "Elephant flow", &[]),
    message(500004, "Invalid transport field",
        &["Invalid transport field for protocol={proto}, from {source} to {destination}"]),
    message(605004, "Management login denied",
        &["Login {act} from {source} to {destination} for user {suser}"]),
    message(605005, "Management login permitted",
        &["Login {act} from {source} to {destination} for user {suser}"]),
    message(609001, "Local host added",
        &["{act} local-host {source}"]),
    message(609002, "Local host removed",
        &["{act} local-host {source} duration {duration}"]),
    message(611101, "User authentication succeeded",
        &["User authentication {outcome}: IP address: {source}, Uname: {suser}", "User authentication {outcome}: Uname: {suser}"]),
    message(611102, "User authentication failed",
        &["User authentication {outcome}: IP address: {source}, Uname: {suser}", "User authentication {outcome}: Uname: {suser}"]),
    message(611103, "User logged out",
        &["User logged out: Uname: {suser}"]),
    message(710001, "TCP access requested",
        &["{proto} access {act} from {source} to {destination}"]),
    message(710002, "Access to the device permitted",
        &["{proto} access {act} from {source} to {destination}"]),
    message(710003, "Access to the device denied",
        &["{proto} access {act} by ACL from {source} to {destination}"]),
    message(710004, "Connection limit exceeded",
        &["{proto} connection {act} from {source} to {destination} (current connections/connection limit = {connections})"]),
    message(710005, "Request discarded",
        &["{proto} request {act} from {source} to {destination}"]),
    message(710006, "Request discarded",
        &["{proto} request {act} from {source} to {destination}"]),
    message(713228, "VPN address assigned",
        &["Group = {group}, Username = {suser}, IP = {source}, Assigned private IP address {mapped} to remote user"]),
    message(716001, "WebVPN session started", &[]),
    message(716002, "WebVPN session ended",
        &["Group <{group}> User <{suser}> IP <{source}> WebVPN session terminated: {reason}."]),
    message(716038, "WebVPN authentication successful",
        &["Group <{group}> User <{suser}> IP <{source}> Authentication: {outcome}, Session Type: {sessionType}."]),
    message(716039, "WebVPN authentication rejected",
        &["Group <{group}> User <{suser}> IP <{source}> Authentication: {outcome}, Session Type: {sessionType}."]),
    message(722022, "SVC connection established",
        &["Group <{group}> User <{suser}> IP <{source}> {proto} SVC connection {outcome} "]),
    message(722023, "SVC connection terminated",
        &["Group <{group}> User <{suser}> IP <{source}> {proto} SVC connection {outcome} "]),
    message(722051, "VPN address assigned",
        &["Group <{group}> User <{suser}> IP <{source}> IPv4 Address <{mapped}> "]),
    message(725001, "TLS handshake begun",
        &["Starting SSL handshake with {peer} {source} to {destination} for "]),
    message(725002, "TLS handshake completed",
        &["Device completed SSL handshake with {peer} {source} to {destination} for "]),
    message(725003, "TLS session resumed",
        &["SSL {peer} {source} to {destination} request to resume previous session"]),
    message(725006, "TLS handshake failed",
        &["Device failed SSL handshake with {peer} {source} to {destination}"]),
    message(725007, "TLS session ended",
        &["SSL session with {peer} {source} to {destination} terminated"]),
];

/// 302014 and 302016; behind the bytes stand, if anything, a reason and the user.
const TEARDOWN: &[&str] = &[
    "{act} {proto} connection {connectionId} for {source} to {destination} duration {duration} bytes {bytes} {reason}",
    "{act} {proto} connection {connectionId} for {source} to {destination} duration {duration} bytes {bytes}",
];

/// 302020; `gaddr` is what `laddr` is translated to.
const ICMP_BUILT: &[&str] = &[
    "{act} {direction} {proto} connection for faddr {source} gaddr {mapped destination} laddr {destination} type {icmpType} code {icmpCode}",
    "{act} {direction} {proto} connection for faddr {source} gaddr {mapped destination} laddr {destination}",
];

/// 302021, in newer and in older releases.
const ICMP_TORN_DOWN: &[&str] = &[
    "{act} {proto} connection for faddr {source} gaddr {mapped destination} laddr {destination} type {icmpType} code {icmpCode}",
    "{act} {proto} connection for faddr {source} gaddr {mapped destination} laddr {destination}",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_can_be_searched_in() {
        assert!(MESSAGES.is_sorted_by(|a, b| a.id < b.id));
    }

    #[test]
    fn every_form_has_its_braces_in_pairs_and_text_between_its_names() {
        for form in MESSAGES.iter().flat_map(|m| m.forms).chain(COMMON) {
            assert_eq!(
                form.matches('{').count(),
                form.matches('}').count(),
                "{form}"
            );
            assert!(!form.contains("}{"), "{form}");
        }
    }
}
