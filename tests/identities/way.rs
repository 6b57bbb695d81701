//! The way to a token: proxies, clouds, secrets, clocks, and the time between two tokens.

use crate::SOON;
use crate::awaited::awaited;
use crate::bench::Bench;
use cefline::auth::Permit;
use cefline::config::{Machine, parse};
use cefline::emulator::{Faults, Options};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const SECRET: &str = "kind = \"client_secret\"\nauthority = \"URL\"\n\
                                 tenant_id = \"TENANT\"\nclient_id = \"CLIENT\"\n\
                                 secret_file = \"FOLDER/secret\"\n";

fn start(faults: Faults) -> Bench {
    let bench = Bench::start(Options {
        faults,
        ..Options::default()
    });
    bench.file("secret", bench.emulator.client_secret());
    bench
}

/// A proxy that knows CONNECT, and the heads of the requests that it saw.
async fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let heads = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let heads = Arc::clone(&heads);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                heads.lock().unwrap().push(head);
                let mut server = TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                // either side may end it
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (url, seen)
}

#[tokio::test]
async fn a_proxy_is_used_for_the_login_host_and_never_for_the_metadata_service() {
    let bench = start(Faults::default());
    bench.file("password", "pass~word\n");
    let (url, seen) = proxy().await;
    let lines = format!(
        "proxy = \"{url}\"\nproxy_user = \"collector\"\n\
         proxy_password_file = \"FOLDER/password\""
    );
    let auth = bench.auth(&lines, SECRET);
    bench.permit(&auth).await.unwrap();
    {
        let heads = seen.lock().unwrap();
        assert_eq!(heads.len(), 1);
        let host = bench.emulator.url().replace("https://", "");
        assert!(
            heads[0].starts_with(&format!("CONNECT {host} HTTP/1.1\r\n")),
            "{heads:?}"
        );
        let head = heads[0].to_ascii_lowercase();
        // collector:pass~word
        assert!(
            head.contains("proxy-authorization: basic y29sbgvjdg9yonbhc3n+d29yza=="),
            "{head}"
        );
    }
    let managed = "kind = \"managed_identity\"\nmetadata_endpoint = \"CONTROL\"";
    let auth = bench.auth(&lines, managed);
    bench.permit(&auth).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_difference_of_two_clocks_is_named() {
    let made = crate::keys::made();
    let bench = Bench::start(Options {
        certificates_pem: Some(made.certificate.clone()),
        faults: Faults {
            clock_skew_seconds: 1800.0,
            ..Faults::default()
        },
        ..Options::default()
    });
    bench.file(
        "certificate.pem",
        &format!("{}{}", made.certificate, made.pkcs8),
    );
    let lines = SECRET
        .replace("client_secret", "client_certificate")
        .replace(
            "secret_file = \"FOLDER/secret\"",
            "certificate_file = \"FOLDER/certificate.pem\"",
        );
    let text = bench.ask(&lines).await.unwrap_err();
    let skew = text.contains("clock is 1799 s behind") || text.contains("clock is 1800 s behind");
    assert!(text.contains("AADSTS700024") && skew, "{text}");
    // the answer has told the time: the next try is for that
    let auth = bench.auth("", &lines);
    assert!(bench.permit(&auth).await.is_err());
    awaited("the next try is made", SOON, async || {
        let denied = match bench.permit(&auth).await {
            Ok(permit) => return Some(permit),
            Err(denied) => denied,
        };
        let text = denied.refusal.to_string();
        assert!(bench.clock.mono() < denied.retry_at, "{text}");
        None
    })
    .await;
    // small differences are survived
    for seconds in [-240.0, 240.0] {
        bench
            .emulator
            .set_faults(Faults {
                clock_skew_seconds: seconds,
                ..Faults::default()
            })
            .unwrap();
        bench.ask(&lines).await.unwrap();
    }
    // as with a secret, which asks for no clock
    bench
        .emulator
        .set_faults(Faults {
            clock_skew_seconds: -9000.0,
            ..Faults::default()
        })
        .unwrap();
    bench.file("secret", bench.emulator.client_secret());
    bench.ask(SECRET).await.unwrap();
}

#[tokio::test]
async fn no_call_fails_by_expiry_over_hours_compressed_into_seconds() {
    // an hour is five seconds: 7200 s become 10 s, and a token is renewed at half of its life
    let bench = start(Faults {
        token_life_seconds: Some(5),
        ..Faults::default()
    });
    let auth = bench.auth("", SECRET);
    let begun = bench.clock.mono();
    let elapsed = || bench.clock.mono().since(begun);
    let mut calls_count = 0;
    let mut last: Option<Permit> = None;
    let mut turns = tokio::time::interval(Duration::from_millis(20));
    while elapsed() < Duration::from_secs(11) {
        let permit = bench.permit(&auth).await.unwrap();
        let token = permit.header.to_str().unwrap().to_owned();
        assert_eq!(bench.upload(&token).await, 204, "after {:?}", elapsed());
        calls_count += 1;
        last = Some(permit);
        turns.tick().await;
    }
    assert!(last.is_some() && calls_count > 20, "{calls_count} calls");
    let stats = bench.emulator.stats();
    assert!(
        (3..=8).contains(&stats.tokens_issued),
        "{} tokens",
        stats.tokens_issued
    );
    assert_eq!(stats.tokens_refused, 0);
}

#[tokio::test]
async fn auto_uses_the_secret_that_is_set_and_else_the_machine() {
    let bench = start(Faults::default());
    let secret = SECRET.replace("\"client_secret\"", "\"auto\"");
    let auth = bench.auth("", &secret);
    assert!(format!("{auth:?}").contains("ClientSecret"));
    bench.permit(&auth).await.unwrap();
    let machine = "kind = \"auto\"\nmetadata_endpoint = \"CONTROL\"";
    let auth = bench.auth("", machine);
    assert!(format!("{auth:?}").contains("ManagedIdentity"));
    bench.permit(&auth).await.unwrap();
}

/// All that is wrong with a configuration that has these lines.
fn wrong(sentinel: &str, identity: &str) -> String {
    let text = format!(
        "[listen]\ntcp = [\"0.0.0.0:514\"]\n[sentinel]\n\
         endpoint = \"https://a.ingest.monitor.azure.com\"\n\
         rules = [\"dcr-0123456789abcdef0123456789abcdef\"]\n{sentinel}\n\
         [sentinel.identity]\n{identity}"
    );
    match parse(&text, &Machine::read()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn mistakes_in_identities_are_named() {
    let ids = "tenant_id = \"example.com\"\nclient_id = \"01234567-89ab-cdef-0123-456789abcdef\"\n";
    let secret = format!("kind = \"client_secret\"\n{ids}");
    let managed = "kind = \"managed_identity\"\n";
    for (lines, what) in [
        (secret.clone(), "secret_file: this key is missing"),
        (
            format!("{secret}secret_file = \"/a\"\nsecret_env = \"A\""),
            "secret_env = \"A\": a second place",
        ),
        (
            format!("{secret}secret_env = \"A\"\nsecret_credential = \"a\""),
            "a second place",
        ),
        (
            format!("{secret}secret_env = \"abc8Q~x\""),
            "secret_env: not such a name in capitals (value not shown)",
        ),
        (
            format!("{secret}secret_credential = \"../a\""),
            "not a credential's name",
        ),
        (
            format!("{secret}secret_file = \"/a\"\ncertificate_file = \"/a\""),
            "certificate_file: unknown key",
        ),
        (
            format!("kind = \"client_certificate\"\n{ids}"),
            "certificate_file: this key is missing",
        ),
        (
            "kind = \"auto\"\nsecret_env = \"A\"".into(),
            "tenant_id: this key is missing",
        ),
        (
            format!("{managed}metadata_endpoint = \"http://10.0.0.1\""),
            "neither Azure's metadata service",
        ),
        (
            format!("{managed}metadata_endpoint = \"https://evil.example\""),
            "neither Azure's metadata service",
        ),
        (format!("{managed}resource_id = \"x\""), "not a resource id"),
        (
            format!(
                "{managed}object_id = \"01234567-89ab-cdef-0123-456789abcdef\"\nresource_id = \"/subscriptions/x\""
            ),
            "a second name",
        ),
        (
            "kind = \"azure_arc\"\narc_endpoint = \"http://arc.example\"".into(),
            "nor this machine",
        ),
    ] {
        let found = wrong("", &lines);
        assert!(found.contains(what), "{lines}: {found}");
    }
    for good in [
        format!("{secret}secret_env = \"A\""),
        format!("{secret}secret_credential = \"client-secret\""),
        "kind = \"workload\"".into(),
        "kind = \"auto\"".into(),
        format!("{managed}metadata_endpoint = \"http://169.254.169.254\""),
    ] {
        assert_eq!(wrong("", &good), "", "{good}");
    }
}

#[test]
fn mistakes_in_cloud_and_proxy_are_named() {
    let managed = "kind = \"managed_identity\"\n";
    for (lines, what) in [
        (
            "cloud = \"mars\"",
            "one of \"public\", \"us_government\", \"china\"",
        ),
        (
            "cloud = \"china\"",
            "cloud = \"china\": not the cloud of a.ingest.monitor.azure.com",
        ),
        ("proxy = \"https://proxy:3128\"", "not http"),
        (
            "proxy = \"http://user:x@proxy:3128\"",
            "user name (value not shown)",
        ),
        (
            "proxy = \"http://proxy:3128\"\nproxy_user = \"a\"",
            "one without the other",
        ),
        ("proxy_user = \"a\"", "there is no proxy"),
    ] {
        let found = wrong(lines, managed);
        assert!(found.contains(what), "{lines}: {found}");
    }
    for good in [
        "cloud = \"public\"",
        "cloud = \"china\"\nendpoint_check = false",
        "proxy = \"http://proxy:3128\"",
    ] {
        assert_eq!(wrong(good, managed), "", "{good}");
    }
}
