//! Faults on the way to the hosts.

use crate::servers;
use crate::world::{World, free_port};
use cefline::emulator::Tls;
use cefline::emulator::faults::Outage;

const SKIPPED: [&str; 1] = ["probe"];

#[test]
fn a_name_that_leads_nowhere_is_named() {
    let outcome = World::new()
        .keys(|keys| {
            keys.endpoint = "https://no-such-name.invalid".into();
            keys.authority = keys.endpoint.clone();
            keys.sentinel_more = "endpoint_check = false".into();
        })
        .check();
    let dns = outcome.named("dns");
    assert_eq!(
        (dns.len(), &dns[0]["verdict"]),
        (1, &"failed".into()),
        "{outcome:#?}"
    );
    assert_eq!(dns[0]["about"], "no-such-name.invalid");
    let remedy = dns[0]["remedy"].as_str().unwrap();
    // the one where a resolver answers, the other where there is none
    assert!(remedy.contains("letter by letter") || remedy.contains("/etc/resolv.conf"));
    outcome.skips(&["tcp", "tls", "clock_skew", "token", "claims", "probe"]);
    // a host outside of Azure is remarked as well, as the configuration has it
    assert_eq!(outcome.verdict_of("configuration"), "warning");
    assert_eq!(outcome.code, 3);
}

#[test]
fn a_port_that_refuses_is_named_for_the_host_that_it_is_of() {
    let closed = free_port();
    let outcome = World::new()
        .keys(|keys| keys.endpoint = format!("https://{closed}"))
        .check();
    outcome
        .names("tcp", "failed", "nobody listens there", "sentinel.endpoint")
        .skips(&SKIPPED);
    assert_eq!(outcome.verdict_of("token"), "ok");
    let outcome = World::new()
        .keys(|keys| keys.authority = format!("https://{closed}"))
        .check();
    outcome
        .names(
            "tcp",
            "failed",
            "nobody listens there",
            "sentinel.identity.authority",
        )
        .skips(&["token", "claims", "probe"]);
}

#[test]
fn packets_that_are_thrown_away_are_told_from_a_refusal() {
    let (address, _held) = servers::black_hole();
    World::new()
        .keys(|keys| keys.endpoint = format!("https://{address}"))
        .check()
        .names("tcp", "failed", "within 2 s", "let this machine connect")
        .skips(&SKIPPED);
}

#[test]
fn a_host_that_takes_connections_and_says_nothing_is_named_once() {
    let world = World::faulty(|faults| faults.outage = Outage::Blackhole);
    world
        .check()
        .names(
            "tls",
            "failed",
            "no answer to the TLS handshake",
            "breaks TLS off",
        )
        .skips(&["clock_skew", "token", "claims", "probe"]);
}

#[test]
fn an_authority_that_is_not_trusted_is_named_with_its_name() {
    World::new()
        .keys(|keys| keys.ca_pem = None)
        .check()
        .names(
            "tls",
            "failed",
            "\"cefline emulator, for rehearsals only\"",
            "sentinel.ca_file",
        )
        .skips(&["clock_skew", "token", "claims", "probe"]);
    let (other_pem, _) = servers::with_certificate((2020, 2060), "127.0.0.1");
    World::new()
        .keys(|keys| keys.ca_pem = Some(other_pem))
        .check()
        .names(
            "tls",
            "failed",
            "does not trust",
            "holds no certificate of \"cefline emulator",
        )
        .skips(&["clock_skew", "token", "claims", "probe"]);
}

#[test]
fn a_machine_without_any_authority_is_told_to_install_some() {
    let mut world = World::new().keys(|keys| keys.ca_pem = None);
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        world.environment.push((variable, "/nowhere".into()));
    }
    world
        .check()
        .names(
            "tls",
            "failed",
            "no certificate authority is known",
            "ca-certificates",
        )
        .skips(&["dns", "tcp", "clock_skew", "token", "claims", "probe"]);
}

#[test]
fn a_certificate_for_another_name_is_named() {
    World::with(|options| {
        options.tls = Tls::Generated {
            names: vec!["other.example".into()],
        };
    })
    .check()
    .names("tls", "failed", "not for 127.0.0.1", "letter by letter")
    .skips(&["clock_skew", "token", "claims", "probe"]);
}

#[test]
fn certificates_out_of_their_time_are_told_from_a_wrong_clock() {
    for (years, what, remedy) in [
        ((2010, 2020), "has expired", "must renew the certificate"),
        (
            (2060, 2070),
            "is not valid yet",
            "clock is most likely behind",
        ),
    ] {
        let (pem, address) = servers::with_certificate(years, "127.0.0.1");
        let world = World::new();
        let pem = format!("{}{pem}", world.emulator.ca_pem());
        world
            .keys(|keys| {
                keys.endpoint = format!("https://{address}");
                keys.ca_pem = Some(pem);
            })
            .check()
            .names("tls", "failed", what, remedy)
            .skips(&SKIPPED);
    }
}

#[test]
fn old_tls_plain_http_and_a_cut_handshake_are_told_apart() {
    // a server hello of TLS 1.1, and the alert of one that is asked for more
    const HELLO_1_1: &[u8] = &[
        0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 0, 0, 0x2f, 0,
    ];
    const ALERT: &[u8] = &[0x15, 3, 1, 0, 2, 2, 70];
    for (bytes, what, remedy) in [
        (
            HELLO_1_1,
            "does not speak TLS 1.2 or 1.3",
            "proxy that inspects",
        ),
        (
            ALERT,
            "does not speak TLS 1.2 or 1.3",
            "proxy that inspects",
        ),
        (
            &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
            "does not speak TLS",
            "check the port in sentinel.endpoint",
        ),
        (b"", "closed in the handshake", "looks for names"),
    ] {
        let address = servers::answering(bytes);
        World::new()
            .keys(|keys| keys.endpoint = format!("https://{address}"))
            .check()
            .names("tls", "failed", what, remedy)
            .skips(&SKIPPED);
    }
}

#[test]
fn a_clock_that_is_off_is_named_in_both_directions() {
    for (seconds, what) in [(600.0, "behind"), (-600.0, "ahead of")] {
        World::faulty(|faults| faults.clock_skew_seconds = seconds)
            .check()
            .names("clock_skew", "failed", what, "timedatectl set-ntp true");
    }
    World::faulty(|faults| faults.clock_skew_seconds = 120.0)
        .check()
        .names("clock_skew", "warning", "behind", "chrony");
}

#[test]
fn a_proxy_in_the_environment_is_remarked_and_not_followed() {
    let mut world = World::new();
    world
        .environment
        .push(("HTTPS_PROXY", "http://user:hunter2@192.0.2.1:1".into()));
    let outcome = world.check();
    outcome.is_well();
    let what = outcome.named("proxy")[0]["what"].as_str().unwrap();
    assert!(
        what.contains("HTTPS_PROXY") && !what.contains("hunter2"),
        "{what}"
    );
}
