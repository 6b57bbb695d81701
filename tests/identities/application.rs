//! Applications: by certificate and by a workload's token.

use crate::SOON;
use crate::awaited::awaited;
use crate::bench::Bench;
use crate::keys::made;
use cefline::emulator::Options;
use std::time::Duration;

const CERTIFICATE: &str = "kind = \"client_certificate\"\nauthority = \"URL\"\n\
                           tenant_id = \"TENANT\"\nclient_id = \"CLIENT\"\n\
                           certificate_file = \"FOLDER/certificate.pem\"\n";
const WORKLOAD: &str = "kind = \"workload\"\nauthority = \"URL\"\ntenant_id = \"TENANT\"\n\
                        client_id = \"CLIENT\"\ntoken_file = \"FOLDER/token\"\n";

fn registered(certificate: &str) -> Bench {
    Bench::start(Options {
        certificates_pem: Some(certificate.to_owned()),
        ..Options::default()
    })
}

#[tokio::test]
async fn a_certificate_gets_tokens_with_its_key_beside_it_or_apart_in_either_form() {
    let made = made();
    let bench = registered(&made.certificate);
    let apart = format!("{CERTIFICATE}key_file = \"FOLDER/key.pem\"\n");
    for (certificate, key, lines) in [
        (
            format!("{}{}", made.certificate, made.pkcs8),
            "",
            CERTIFICATE,
        ),
        (
            format!("{}{}", made.pkcs1, made.certificate),
            "",
            CERTIFICATE,
        ),
        (
            made.certificate.clone(),
            made.pkcs8.as_str(),
            apart.as_str(),
        ),
        (
            made.certificate.clone(),
            made.pkcs1.as_str(),
            apart.as_str(),
        ),
    ] {
        bench.file("certificate.pem", &certificate);
        bench.file("key.pem", key);
        let token = bench.ask(lines).await.unwrap();
        assert_eq!(bench.upload(&token).await, 204);
    }
    assert_eq!(
        bench.emulator.stats().tokens_issued,
        4,
        "each with a jti of its own"
    );
}

#[tokio::test]
async fn a_new_certificate_needs_no_restart() {
    let (old, new) = (made(), made());
    let bench = registered(&new.certificate);
    bench.file(
        "certificate.pem",
        &format!("{}{}", old.certificate, old.pkcs8),
    );
    let auth = bench.auth("", CERTIFICATE);
    let denied = bench.permit(&auth).await.unwrap_err();
    let text = denied.refusal.to_string();
    assert!(
        text.contains("AADSTS700027") && text.contains("not registered"),
        "{text}"
    );
    bench.file(
        "certificate.pem",
        &format!("{}{}", new.certificate, new.pkcs8),
    );
    awaited("the new certificate is used", SOON, async || {
        bench.permit(&auth).await.ok()
    })
    .await;
}

#[tokio::test]
async fn files_that_cannot_sign_are_named_without_a_part_of_the_key() {
    let (one, other) = (made(), made());
    let bench = registered(&one.certificate);
    let ec = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    let ec = format!("{}{}", ec.cert.pem(), ec.signing_key.serialize_pem());
    let cut = one.pkcs8.replace("-----END", "");
    let encrypted = one.pkcs8.replace("PRIVATE", "ENCRYPTED PRIVATE");
    for (content, what) in [
        (one.certificate.clone(), "no private key in it"),
        (one.pkcs8.clone(), "no certificate in it"),
        (
            format!("{}{}", one.certificate, other.pkcs8),
            "not of this private key",
        ),
        (format!("{}{cut}", one.certificate), "private key in it"),
        (format!("{}{encrypted}", one.certificate), "is encrypted"),
        (ec, "not an RSA key"),
        (String::new(), "no certificate in it"),
    ] {
        bench.file("certificate.pem", &content);
        let text = bench.ask(CERTIFICATE).await.unwrap_err();
        assert!(
            text.contains(what) && text.contains("certificate.pem: "),
            "{text}"
        );
        let body = one.pkcs8.lines().nth(1).unwrap();
        assert!(!text.contains(&body[..16]), "{text}");
    }
}

#[tokio::test]
async fn a_workloads_token_is_read_anew_and_must_fit() {
    let bench = Bench::start(Options::default());
    let hour = Duration::from_secs(3600);
    bench.file(
        "token",
        &format!("{}\n", bench.emulator.federated_token(hour)),
    );
    let token = bench.ask(WORKLOAD).await.unwrap();
    assert_eq!(bench.upload(&token).await, 204);
    // Kubernetes hands out the same token for an hour
    bench.ask(WORKLOAD).await.unwrap();
    let stranger = Bench::start(Options::default());
    bench.file("token", &stranger.emulator.federated_token(hour));
    let text = bench.ask(WORKLOAD).await.unwrap_err();
    assert!(text.contains("AADSTS50013"), "{text}");
    for (content, what) in [
        ("", "empty"),
        ("a.b.c", "AADSTS50027"),
        ("x", "AADSTS50027"),
    ] {
        bench.file("token", content);
        let text = bench.ask(WORKLOAD).await.unwrap_err();
        assert!(text.contains(what), "{text}");
    }
    bench.file("token", &"x".repeat(70_000));
    let text = bench.ask(WORKLOAD).await.unwrap_err();
    assert!(
        text.contains("longer than 65536 bytes") && !text.contains("xx"),
        "{text}"
    );
}

const PKCS12: &str = "kind = \"client_certificate\"\nauthority = \"URL\"\ntenant_id = \"TENANT\"\n\
                      client_id = \"CLIENT\"\ncertificate_file = \"SAMPLE\"\n";

#[tokio::test]
async fn a_certificate_in_pkcs12_gets_tokens_by_its_password_from_a_file() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");
    let certificate = std::fs::read_to_string(format!("{samples}/certificate.pem")).unwrap();
    let bench = registered(&certificate);
    bench.file("password", "pass w\u{f6}rd\n");
    let lines = |name: &str| PKCS12.replace("SAMPLE", &format!("{samples}/{name}"));
    let password = "password_file = \"FOLDER/password\"\n";
    for name in ["modern.p12", "legacy.p12", "java.p12"] {
        let token = bench.ask(&(lines(name) + password)).await.unwrap();
        assert_eq!(bench.upload(&token).await, 204);
    }
    bench.ask(&lines("no_password.p12")).await.unwrap();
    let needed = bench.ask(&lines("modern.p12")).await.unwrap_err();
    assert!(
        needed.contains("modern.p12: PKCS#12 that needs a password"),
        "{needed}"
    );
    bench.file("password", "canary");
    let wrong = bench
        .ask(&(lines("modern.p12") + password))
        .await
        .unwrap_err();
    assert!(
        wrong.contains("does not open it") && !wrong.contains("canary"),
        "{wrong}"
    );
}
