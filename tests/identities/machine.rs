//! Identities that a machine has: by the metadata service, and by the agent of Azure Arc.

use crate::SOON;
use crate::awaited::awaited;
use crate::bench::Bench;
use cefline::emulator::faults::ArcFault;
use cefline::emulator::{Faults, Options};
use std::time::Duration;
use tempfile::TempDir;

const MANAGED: &str = "kind = \"managed_identity\"\nmetadata_endpoint = \"CONTROL\"\n";

fn with(faults: Faults) -> Bench {
    Bench::start(Options {
        faults,
        ..Options::default()
    })
}

#[tokio::test]
async fn a_virtual_machine_has_tokens_of_its_own_identity_and_of_those_assigned() {
    let bench = with(Faults::default());
    let user = bench.emulator.options().user_assigned.clone();
    for more in [
        String::new(),
        format!("client_id = \"{}\"", user.client_id),
        format!("object_id = \"{}\"", user.object_id),
        format!("resource_id = \"{}\"", user.resource_id),
    ] {
        let token = bench.ask(&format!("{MANAGED}{more}")).await.unwrap();
        assert_eq!(bench.upload(&token).await, 204, "{more}");
    }
    let unknown = "client_id = \"99999999-9999-9999-9999-999999999999\"";
    let text = bench.ask(&format!("{MANAGED}{unknown}")).await.unwrap_err();
    assert!(
        text.contains("answered 400") && text.contains("no such identity"),
        "{text}"
    );
}

#[tokio::test]
async fn a_machine_without_an_identity_is_asked_again_only_after_minutes() {
    let bench = with(Faults {
        imds_no_identity: true,
        ..Faults::default()
    });
    let auth = bench.auth("", MANAGED);
    let denied = bench.permit(&auth).await.unwrap_err();
    assert!(denied.refusal.to_string().contains("no such identity"));
    let wait = denied.retry_at.since(bench.clock.mono());
    assert!(wait > Duration::from_secs(290), "{wait:?}");
}

#[tokio::test]
async fn troubles_of_the_metadata_service_pass() {
    for status in [404, 429, 500, 503] {
        let bench = with(Faults {
            imds_status: Some(status),
            retry_after_seconds: 7,
            ..Faults::default()
        });
        let auth = bench.auth("", MANAGED);
        let denied = bench.permit(&auth).await.unwrap_err();
        let text = denied.refusal.to_string();
        assert!(
            text.contains(&format!("answered {status}")) && text.contains("asked again"),
            "{text}"
        );
        let wait = denied.retry_at.since(bench.clock.mono()).as_secs_f64();
        let least = if status == 429 { 6.5 } else { 1.5 };
        assert!((least..8.0).contains(&wait), "{status}: {wait}");
    }
}

#[tokio::test]
async fn a_metadata_service_that_is_being_updated_is_waited_for() {
    let bench = with(Faults {
        imds_gone_seconds: 2.0,
        ..Faults::default()
    });
    let auth = bench.auth("", MANAGED);
    let denied = bench.permit(&auth).await.unwrap_err();
    assert!(
        denied.refusal.to_string().contains("up to 70 s"),
        "{}",
        denied.refusal
    );
    let wait = denied.retry_at.since(bench.clock.mono());
    assert!(wait > Duration::from_secs(4), "{wait:?}");
    awaited("the metadata service is back", SOON, async || {
        bench.permit(&auth).await.ok()
    })
    .await;
    assert!(bench.clock.mono() >= denied.retry_at);
}

#[tokio::test]
async fn the_metadata_double_is_as_strict_as_the_real_one() {
    let bench = with(Faults::default());
    let url = format!(
        "{}/metadata/identity/oauth2/token",
        bench.emulator.control_url()
    );
    let client = bench.client();
    let good = "api-version=2018-02-01&resource=https%3A%2F%2Fmonitor.azure.com";
    for (query, headers, status) in [
        (good, &[("metadata", "true")][..], 200),
        (good, &[], 400),
        (good, &[("metadata", "True")], 400),
        (
            good,
            &[("metadata", "true"), ("x-forwarded-for", "10.0.0.1")],
            400,
        ),
        (good, &[("metadata", "true"), ("via", "1.1 proxy")], 400),
        ("api-version=2018-02-01", &[("metadata", "true")], 400),
        (
            "api-version=1&resource=https%3A%2F%2Fmonitor.azure.com",
            &[("metadata", "true")],
            400,
        ),
        (
            "api-version=2018-02-01&resource=https%3A%2F%2Fmonitor.azure.com%2F.default",
            &[("metadata", "true")],
            400,
        ),
        (
            "api-version=2018-02-01&resource=https%3A%2F%2Fexample.com",
            &[("metadata", "true")],
            400,
        ),
    ] {
        let mut request = client.get(format!("{url}?{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{query} {headers:?}");
        let body: serde_json::Value =
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(
            body["expires_in"].is_string(),
            status == 200,
            "numbers come as text"
        );
    }
}

const ARC: &str = "kind = \"azure_arc\"\narc_endpoint = \"CONTROL\"\n";

/// A bench whose emulator plays the agent, and the agent's folder.
fn agent(fault: ArcFault) -> (Bench, TempDir, String) {
    let tokens = tempfile::tempdir().unwrap();
    let bench = Bench::start(Options {
        arc_tokens_directory: Some(tokens.path().to_owned()),
        faults: Faults {
            arc: fault,
            ..Faults::default()
        },
        ..Options::default()
    });
    let folder = tokens.path().display();
    let lines = format!("{ARC}arc_tokens_directory = \"{folder}\"\n");
    (bench, tokens, lines)
}

#[tokio::test]
async fn a_machine_with_azure_arc_proves_that_it_can_read_each_challenge() {
    let (bench, tokens, lines) = agent(ArcFault::None);
    for _ in 0..2 {
        let token = bench.ask(&lines).await.unwrap();
        assert_eq!(bench.upload(&token).await, 204);
    }
    assert_eq!(
        std::fs::read_dir(tokens.path()).unwrap().count(),
        0,
        "each is good once"
    );
}

#[tokio::test]
async fn whoever_is_in_the_agents_place_gets_no_other_file() {
    for (fault, what) in [
        (ArcFault::HostilePath, "does not end in .key"),
        (ArcFault::NoFile, "it is not there"),
        (ArcFault::Oversize, "longer than 4096 bytes"),
        (ArcFault::BadHeader, "is not Basic realm=FILE"),
        (
            ArcFault::NoChallenge,
            "answered 200 where it must answer 401",
        ),
        (ArcFault::Forbidden, "answered 403"),
        (ArcFault::NoProof, "did not take the proof"),
    ] {
        let (bench, _tokens, lines) = agent(fault);
        let text = bench.ask(&lines).await.unwrap_err();
        assert!(text.contains(what), "{fault:?}: {text}");
        assert_eq!(
            bench.emulator.stats().tokens_issued,
            u64::from(fault == ArcFault::NoChallenge)
        );
    }
    // the folder is ours, whatever it says
    let (bench, _tokens, lines) = agent(ArcFault::OtherFolder);
    bench.ask(&lines).await.unwrap();
}

#[tokio::test]
async fn without_an_agent_it_is_said_where_one_was_looked_for() {
    let bench = Bench::start(Options::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let lines = format!("kind = \"azure_arc\"\narc_endpoint = \"http://{address}\"\n");
    let text = bench.ask(&lines).await.unwrap_err();
    assert!(
        text.contains("the Azure Arc agent cannot be reached"),
        "{text}"
    );
    let text = bench.ask(ARC).await.unwrap_err();
    assert!(text.contains("answered 404"), "{text}");
}
