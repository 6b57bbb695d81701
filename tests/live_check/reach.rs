//! Faults on the way to the hosts.

use crate::servers;
use crate::world::{World, free_port};
use cefline::emulator::Tls;
use cefline::emulator::faults::Outage;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

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

fn by_proxy(address: impl std::fmt::Display) -> World {
    World::new().keys(|keys| keys.sentinel_more = format!("proxy = \"http://{address}\""))
}

#[test]
fn a_proxy_that_lets_all_through_is_used_for_all() {
    let targets: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&targets);
    let proxy = servers::proxy(move |head| {
        seen.lock()
            .unwrap()
            .push(head.lines().next().unwrap().to_owned());
        None
    });
    let world = by_proxy(proxy).asking("20");
    let outcome = world.check();
    outcome.is_well();
    assert_eq!(outcome.verdict_of("proxy"), "ok");
    assert_eq!(outcome.verdict_of("dns"), "skipped");
    for name in ["tcp", "tls", "clock_skew", "token", "probe", "landing"] {
        assert_eq!(outcome.verdict_of(name), "ok", "{outcome:#?}");
    }
    let what = outcome.named("tcp")[0]["what"].as_str().unwrap();
    assert!(what.contains(&proxy.to_string()), "{what}");
    let host = world.emulator.url().replace("https://", "");
    let targets = targets.lock().unwrap();
    assert!(
        targets
            .iter()
            .all(|line| *line == format!("CONNECT {host} HTTP/1.1"))
    );
    // a tunnel, a handshake, the clock, the token, the probe, the query
    assert!(targets.len() >= 6, "{targets:?}");
}

#[test]
fn a_proxy_that_is_away_or_is_none_is_named_once() {
    let skipped = ["tcp", "tls", "clock_skew", "token", "claims", "probe"];
    let (silent, _held) = servers::black_hole();
    for (address, what) in [
        (free_port().to_string(), "refuses connections"),
        (silent.to_string(), "within 2 s"),
        ("no-such-name.invalid:3128".to_owned(), "name"),
        (
            servers::answering(b"SSH-2.0-x\r\n").to_string(),
            "no HTTP proxy",
        ),
        (servers::answering(b"").to_string(), "no HTTP proxy"),
    ] {
        by_proxy(address)
            .check()
            .names("proxy", "failed", what, "sentinel.proxy")
            .skips(&skipped);
    }
}

#[test]
fn a_proxy_that_wants_a_name_or_another_one_is_told_apart() {
    const REFUSED: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\
                           Proxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
    // collector:pass~word
    const GOOD: &str = "basic y29sbgvjdg9yonbhc3n+d29yza==";
    let refuse = |head: &str| match head.to_ascii_lowercase().contains(GOOD) {
        true => None,
        false => Some(REFUSED),
    };
    by_proxy(servers::proxy(refuse))
        .check()
        .names("proxy", "failed", "wants a name", "sentinel.proxy_user")
        .skips(&["tcp", "tls", "token", "probe"]);
    for (password, is_good) in [("pass~word", true), ("other", false)] {
        let world = by_proxy(servers::proxy(refuse));
        let file = world.folder.path().join("proxy-password");
        std::fs::write(&file, password).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let world = world.keys(|keys| {
            let file = file.display();
            keys.sentinel_more +=
                &format!("\nproxy_user = \"collector\"\nproxy_password_file = \"{file}\"");
        });
        let outcome = world.check();
        match is_good {
            true => outcome.is_well(),
            false => outcome.names("proxy", "failed", "refuses name and password", "proxy_user"),
        };
    }
}

#[test]
fn a_proxy_that_lets_one_host_through_is_named_for_the_other() {
    for (answer, what, remedy) in [
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "refuses a tunnel to 127.0.0.2",
            "have CONNECT to 127.0.0.2",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            "cannot reach 127.0.0.2",
            "sentinel.endpoint",
        ),
        ("", "opens no tunnel to 127.0.0.2", "have CONNECT"),
    ] {
        let proxy = servers::proxy(move |head| head.contains("127.0.0.2").then_some(answer));
        let outcome = by_proxy(proxy)
            .keys(|keys| keys.endpoint = "https://127.0.0.2:443".into())
            .check();
        outcome
            .names("tcp", "failed", what, remedy)
            .skips(&["probe"]);
        assert_eq!(outcome.verdict_of("proxy"), "ok");
        assert_eq!(outcome.verdict_of("token"), "ok");
    }
}
