#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
//! The emulator over real sockets and real TLS: each check, each fault, each way of asking.

#[path = "support/awaited.rs"]
mod awaited;

use awaited::awaited;
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cefline::clock::Clock;
use cefline::emulator::faults::{ErrorBody, Outage, Oversize, RetryAfter};
use cefline::emulator::{self, Emulator, Faults, MinuteLimits, Options, SizeReading, Tls};
use reqwest::{Client, RequestBuilder, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const INGESTION: &str = "https://monitor.azure.com/.default";
const QUERY: &str = "https://api.loganalytics.azure.com/.default";
const PATH: &str = "/dataCollectionRules/dcr-00000000000000000000000000000000/streams/Custom-CommonSecurityLog?api-version=2023-01-01";
const LIMIT: usize = 1_048_576;
/// How long a test waits for what should happen at once.
const DEADLINE: Duration = Duration::from_secs(20);

fn tls_client(
    ca_pem: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn client(ca_pem: &str) -> Client {
    let tls = tls_client(ca_pem, rustls::ALL_VERSIONS);
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .timeout(DEADLINE)
        .build()
        .unwrap()
}

struct Rehearsal {
    emulator: Emulator,
    client: Client,
}

impl Rehearsal {
    fn start(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let emulator = emulator::start(options, Clock::start()).unwrap();
        let client = client(emulator.ca_pem());
        Rehearsal { emulator, client }
    }

    fn with(faults: Faults) -> Self {
        Rehearsal::start(|options| options.faults = faults)
    }

    async fn ask_token(&self, scope: &str) -> Response {
        let options = self.emulator.options();
        let form: Vec<String> = [
            ("grant_type", "client_credentials"),
            ("client_id", &options.client_id),
            ("client_secret", &options.client_secret),
            ("scope", scope),
        ]
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
        self.client
            .post(format!(
                "{}/{}/oauth2/v2.0/token",
                self.emulator.url(),
                options.tenant_id
            ))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.join("&"))
            .send()
            .await
            .unwrap()
    }

    async fn token(&self, scope: &str) -> String {
        let response = self.ask_token(scope).await;
        assert_eq!(response.status(), 200);
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// An upload that is right in every respect.
    fn upload(&self, token: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client
            .post(format!("{}{PATH}", self.emulator.url()))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(body)
    }

    async fn status(&self, token: &str, body: impl Into<reqwest::Body>) -> u16 {
        self.upload(token, body)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    fn count(&self) -> i64 {
        let answer = self.emulator.query("CommonSecurityLog | count").unwrap();
        answer.cell(0, 0).as_i64().unwrap()
    }
}

fn encode(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn row(id: &str) -> String {
    format!("[{{\"ExtID\":\"{id}\",\"DeviceVendor\":\"Darktrace\"}}]")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn error_code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let header = response.headers()["x-ms-error-code"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(response.headers().contains_key("x-ms-request-id"));
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(
        body["error"]["code"].as_str(),
        Some(header.as_str()),
        "{body}"
    );
    assert!(body["error"]["message"].is_string());
    (status, header)
}

fn is_reset(error: &(dyn Error + 'static)) -> bool {
    let Some(io) = error.downcast_ref::<std::io::Error>() else {
        return error.source().is_some_and(is_reset);
    };
    // an error that holds another does not call it its source
    io.kind() == std::io::ErrorKind::ConnectionReset
        || io.get_ref().is_some_and(|inner| is_reset(inner))
}

#[tokio::test]
async fn rows_go_from_a_token_to_a_query() {
    let rehearsal = Rehearsal::start(|_| ());
    let token = rehearsal.token(INGESTION).await;
    assert!(token.len() > 1000, "as long as a real one");
    let response = rehearsal.upload(&token, row("one")).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert!(response.headers().contains_key("x-ms-request-id"));
    assert!(response.bytes().await.unwrap().is_empty());
    let gzipped = rehearsal
        .upload(&token, gzip(row("two").as_bytes()))
        .header("content-encoding", "gzip");
    assert_eq!(gzipped.send().await.unwrap().status(), 204);
    assert_eq!(rehearsal.status(&token, "[]").await, 204);

    let query_token = rehearsal.token(QUERY).await;
    let ask = |token: &str| {
        rehearsal
            .client
            .post(format!("{}/v1/workspaces/any/query", rehearsal.emulator.url()))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(json!({"query": "CommonSecurityLog | order by ExtID asc | project ExtID, TimeGenerated"}).to_string())
    };
    let response = ask(&query_token).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["tables"][0]["name"], "PrimaryResult");
    assert_eq!(
        answer["tables"][0]["columns"][1],
        json!({"name": "TimeGenerated", "type": "datetime"})
    );
    assert_eq!(answer["tables"][0]["rows"][0][0], "one");
    assert_eq!(answer["tables"][0]["rows"].as_array().unwrap().len(), 2);
    assert_eq!(
        ask(&token).send().await.unwrap().status(),
        401,
        "a token for ingestion is none for queries"
    );

    let stats = rehearsal.emulator.stats();
    assert_eq!(
        (stats.rows_stored, stats.rows_in_table, stats.calls[&204]),
        (2, 2, 3)
    );
    assert_eq!(stats.notes.times_missing, 2);
    assert_eq!(stats.tokens_issued, 2);
    assert_eq!(
        stats.raw_bytes,
        (row("one").len() + row("two").len() + 2) as u64
    );
    assert_eq!(stats.connections, 1, "the connection is kept alive");
    rehearsal.emulator.stop();
}

#[tokio::test]
async fn the_control_port_answers_queries_without_a_token() {
    let rehearsal = Rehearsal::start(|_| ());
    let token = rehearsal.token(INGESTION).await;
    assert_eq!(rehearsal.status(&token, row("one")).await, 204);
    let base = format!(
        "{}/v1/workspaces/any/query",
        rehearsal.emulator.control_url()
    );
    let get = |query: &str| rehearsal.client.get(format!("{base}?{query}"));
    let response = get("query=CommonSecurityLog+%7C+project+ExtID")
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["tables"][0]["rows"], json!([["one"]]));
    let response = get("query=CommonSecurityLog+%7C+count&timespan=2020-01-01/P1D")
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["tables"][0]["rows"], json!([[0]]));
    for (query, part) in [
        ("query=CommonSecurityLog+%7C+cuont", "no operator `cuont`"),
        ("query=CommonSecurityLog&timespan=soon", "timespan"),
        ("kql=CommonSecurityLog", "as \\\"query\\\""),
        ("query=%ff", "as \\\"query\\\""),
    ] {
        let response = get(query).send().await.unwrap();
        assert_eq!(response.status(), 400, "{query}");
        let body = response.text().await.unwrap();
        assert!(body.contains(part), "{query}: {body}");
    }
    let foreign = get("query=CommonSecurityLog")
        .header("host", "example.com")
        .send()
        .await
        .unwrap();
    assert_eq!(
        foreign.status(),
        403,
        "a page of elsewhere must not read the table"
    );
}

#[tokio::test]
async fn each_check_has_its_status_and_code() {
    let rehearsal = Rehearsal::start(|_| ());
    let token = rehearsal.token(INGESTION).await;
    let url = rehearsal.emulator.url();
    let rule = "dcr-00000000000000000000000000000000";
    let post = |path: &str| {
        rehearsal
            .client
            .post(format!("{url}{path}"))
            .bearer_auth(&token)
            .header("content-type", "application/json")
            .body(row("x"))
    };
    let version = "?api-version=2023-01-01";
    let stream = "Custom-CommonSecurityLog";
    let cases = [
        (post("/"), 404, "NotFound"),
        (
            post(&format!(
                "/dataCollectionRules/dcr-1/streams/{stream}{version}"
            )),
            404,
            "NotFound",
        ),
        (
            post(&format!(
                "/datacollectionrules/{rule}/streams/{stream}{version}"
            )),
            404,
            "NotFound",
        ),
        (
            post(&format!("/dataCollectionRules/{rule}/streams/{stream}")),
            400,
            "MissingApiVersionParameter",
        ),
        (
            post(&format!(
                "/dataCollectionRules/{rule}/streams/{stream}?api-version=2020"
            )),
            400,
            "UnsupportedApiVersion",
        ),
        (
            post(&format!(
                "/dataCollectionRules/{rule}/streams/Custom-Other{version}"
            )),
            400,
            "InvalidStream",
        ),
        (post(PATH).body("not json"), 400, "InvalidPayload"),
        (post(PATH).body("{\"ExtID\":\"x\"}"), 400, "InvalidPayload"),
        (
            post(PATH).body(&b"[{\"ExtID\":\"\xff\"}]"[..]),
            400,
            "InvalidPayload",
        ),
        (
            post(PATH).header("content-encoding", "gzip"),
            400,
            "InvalidContent",
        ),
        (
            post(PATH).header("content-encoding", "br"),
            400,
            "UnsupportedContentEncoding",
        ),
        (
            post(PATH).body(vec![b' '; LIMIT + 1]),
            413,
            "ContentLengthLimitExceeded",
        ),
        (
            post(PATH)
                .body(gzip(&vec![b' '; LIMIT + 1]))
                .header("content-encoding", "gzip"),
            413,
            "ContentLengthLimitExceeded",
        ),
        (
            rehearsal.upload("wrong", row("x")),
            401,
            "AuthenticationFailed",
        ),
        (
            rehearsal.client.post(format!("{url}{PATH}")).body(row("x")),
            401,
            "AuthenticationFailed",
        ),
        (
            rehearsal
                .client
                .post(format!("{url}{PATH}"))
                .bearer_auth(&token)
                .body(row("x")),
            415,
            "UnsupportedMediaType",
        ),
        (
            rehearsal
                .client
                .get(format!("{url}{PATH}"))
                .bearer_auth(&token),
            404,
            "NotFound",
        ),
    ];
    for (at, (request, status, code)) in cases.into_iter().enumerate() {
        let found = error_code(request.send().await.unwrap()).await;
        assert_eq!(found, (status, code.to_owned()), "case {at}");
    }
    let response = post(PATH).body(vec![b' '; LIMIT + 1]).send().await.unwrap();
    let body = response.text().await.unwrap();
    assert!(
        body.contains("Maximum allowed content length: 1048576 bytes (1 MB). Provided content length: 1048577 bytes."),
        "{body}"
    );
    let empty = post(PATH).body("").send().await.unwrap();
    assert_eq!(empty.status(), 500);
    assert!(!empty.headers().contains_key("x-ms-error-code"));
    assert!(empty.bytes().await.unwrap().is_empty());

    let mut exact = row("exact").into_bytes();
    exact.resize(LIMIT, b' ');
    assert_eq!(rehearsal.status(&token, exact).await, 204);
    assert_eq!(rehearsal.count(), 1, "nothing of what was refused was kept");
}

#[tokio::test]
async fn the_token_endpoint_refuses_as_entra_does() {
    let rehearsal = Rehearsal::start(|_| ());
    let options = rehearsal.emulator.options();
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        rehearsal.emulator.url(),
        options.tenant_id
    );
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret=wrong&scope={}",
        options.client_id,
        encode(INGESTION)
    );
    let post = rehearsal
        .client
        .post(&url)
        .header("content-type", "application/x-www-form-urlencoded");
    let response = post.body(form).send().await.unwrap();
    assert_eq!(response.status(), 401);
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(
        (&body["error"], &body["error_codes"][0]),
        (&json!("invalid_client"), &json!(7_000_215))
    );
    assert_eq!(
        rehearsal.client.get(&url).send().await.unwrap().status(),
        404
    );
    let wrong_cloud = rehearsal.token("https://monitor.azure.us/.default").await;
    let found = error_code(
        rehearsal
            .upload(&wrong_cloud, row("x"))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(found.0, 401);
    assert_eq!(rehearsal.emulator.stats().tokens_refused, 1);
}

#[tokio::test]
async fn the_wire_reading_lets_a_long_body_through_that_packs_well() {
    let rehearsal = Rehearsal::start(|options| options.size_reading = SizeReading::Wire);
    let token = rehearsal.token(INGESTION).await;
    let mut long = row("long").into_bytes();
    long.resize(3 * LIMIT, b' ');
    let packed = rehearsal
        .upload(&token, gzip(&long))
        .header("content-encoding", "gzip");
    assert_eq!(packed.send().await.unwrap().status(), 204);
    assert_eq!(rehearsal.status(&token, long).await, 413);
    assert_eq!(rehearsal.count(), 1);
}

#[tokio::test]
async fn http2_and_both_versions_of_tls_are_spoken() {
    let rehearsal = Rehearsal::start(|_| ());
    let token = rehearsal.token(INGESTION).await;
    let address = rehearsal.emulator.url().replace("https://", "");
    for version in rustls::ALL_VERSIONS {
        let mut tls = tls_client(rehearsal.emulator.ca_pem(), &[version]);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let socket = tokio::net::TcpStream::connect(&address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(tls))
            .connect(name, socket)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        let (mut sender, connection) = hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(stream),
        )
        .await
        .unwrap();
        let driver = tokio::spawn(connection);
        let requests = (0..20).map(|n| {
            let request = hyper::Request::post(format!("{}{PATH}", rehearsal.emulator.url()))
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/json")
                .body(http_body_util::Full::new(bytes::Bytes::from(row(
                    &n.to_string()
                ))))
                .unwrap();
            sender.send_request(request)
        });
        for answer in futures_lite::future::block_on(async { requests.collect::<Vec<_>>() }) {
            assert_eq!(answer.await.unwrap().status(), 204);
        }
        drop(sender);
        driver.await.unwrap().unwrap();
    }
    assert_eq!(rehearsal.count(), 40);
    let stranger = client("");
    assert!(
        stranger.get(rehearsal.emulator.url()).send().await.is_err(),
        "its authority is not known to others"
    );
}

#[tokio::test]
async fn full_windows_throttle_each_rule_by_itself() {
    for reading in [SizeReading::Raw, SizeReading::Wire] {
        let rehearsal = Rehearsal::start(|options| {
            options.minute = MinuteLimits {
                bytes_max: 100,
                requests_max: 5,
            };
            options.size_reading = reading;
            options.rules.push("dcr-2".to_owned());
        });
        let token = rehearsal.token(INGESTION).await;
        let long = row(&"x".repeat(100));
        assert_eq!(rehearsal.status(&token, long.clone()).await, 204);
        let refused = rehearsal.upload(&token, long.clone()).send().await.unwrap();
        let seconds: u64 = refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((50..=60).contains(&seconds), "{seconds}");
        assert_eq!(
            error_code(refused).await,
            (429, "TooManyRequests".to_owned())
        );
        let other = format!("{}{PATH}", rehearsal.emulator.url())
            .replace("dcr-00000000000000000000000000000000", "dcr-2");
        let post = |body: String| {
            rehearsal
                .client
                .post(&other)
                .bearer_auth(&token)
                .header("content-type", "application/json")
                .body(body)
        };
        for _ in 0..5 {
            assert_eq!(post("[]".to_owned()).send().await.unwrap().status(), 204);
        }
        assert_eq!(post("[]".to_owned()).send().await.unwrap().status(), 429);
        assert_eq!(rehearsal.count(), 1);
    }
}

#[tokio::test]
async fn throttling_names_its_pause_in_three_ways() {
    let rehearsal = Rehearsal::start(|_| ());
    let token = rehearsal.token(INGESTION).await;
    for (retry_after, check) in [
        (RetryAfter::Seconds, Some("7")),
        (RetryAfter::Date, Some("GMT")),
        (RetryAfter::None, None),
    ] {
        let faults = Faults {
            throttle_rate: 1.0,
            retry_after,
            retry_after_seconds: 7,
            ..Faults::default()
        };
        rehearsal.emulator.set_faults(faults).unwrap();
        let response = rehearsal.upload(&token, row("x")).send().await.unwrap();
        assert_eq!(response.status(), 429);
        let header = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().to_owned());
        match check {
            Some(part) => assert!(header.unwrap().ends_with(part)),
            None => assert_eq!(header, None),
        }
    }
    assert_eq!(rehearsal.count(), 0);
}

#[tokio::test]
async fn gateway_errors_are_bare() {
    let rehearsal = Rehearsal::start(|_| ());
    let token = rehearsal.token(INGESTION).await;
    for status in [500, 502, 503, 504] {
        for (error_body, part) in [
            (ErrorBody::Html, "<html>"),
            (ErrorBody::Empty, ""),
            (ErrorBody::Json, "error"),
        ] {
            let faults = Faults {
                error_rate: 1.0,
                error_status: vec![status],
                error_body,
                ..Faults::default()
            };
            rehearsal.emulator.set_faults(faults).unwrap();
            let response = rehearsal.upload(&token, row("x")).send().await.unwrap();
            assert_eq!(response.status(), status);
            let body = response.text().await.unwrap();
            assert!(
                body.contains(part) && body.is_empty() == part.is_empty(),
                "{body}"
            );
        }
    }
    assert_eq!(rehearsal.count(), 0);
    assert_eq!(rehearsal.emulator.stats().calls.values().sum::<u64>(), 12);
}

#[tokio::test]
async fn a_reset_keeps_nothing_and_a_lost_answer_keeps_the_rows() {
    let rehearsal = Rehearsal::with(Faults {
        reset_rate: 1.0,
        ..Faults::default()
    });
    let token = rehearsal.token(INGESTION).await;
    let error = rehearsal.upload(&token, row("x")).send().await.unwrap_err();
    assert!(is_reset(&error), "{error:?}");
    assert_eq!(rehearsal.count(), 0);

    let faults = Faults {
        lost_answer_rate: 1.0,
        ..Faults::default()
    };
    rehearsal.emulator.set_faults(faults).unwrap();
    let error = rehearsal.upload(&token, row("x")).send().await.unwrap_err();
    assert!(is_reset(&error), "{error:?}");
    rehearsal.emulator.set_faults(Faults::default()).unwrap();
    assert_eq!(rehearsal.status(&token, row("x")).await, 204);
    let doubled = "CommonSecurityLog | summarize count() by ExtID | where count_ > 1 | count";
    assert_eq!(rehearsal.emulator.query(doubled).unwrap().cell(0, 0), 1);
    let stats = rehearsal.emulator.stats();
    assert_eq!(
        (stats.calls_reset, stats.answers_lost, stats.rows_stored),
        (1, 1, 2)
    );
}

#[tokio::test]
async fn rows_can_be_lost_behind_a_204() {
    let rehearsal = Rehearsal::with(Faults {
        lost_rows_rate: 1.0,
        lenient_parse: true,
        ..Faults::default()
    });
    let token = rehearsal.token(INGESTION).await;
    assert_eq!(rehearsal.status(&token, row("x")).await, 204);
    assert_eq!(rehearsal.status(&token, "not json").await, 204);
    assert_eq!(rehearsal.count(), 0);
    let stats = rehearsal.emulator.stats();
    assert_eq!((stats.rows_lost, stats.bodies_lost), (1, 1));
}

#[tokio::test]
async fn slow_answers_are_slow() {
    let rehearsal = Rehearsal::with(Faults {
        slow_rate: 1.0,
        slow_ms: 150,
        ..Faults::default()
    });
    let token = rehearsal.token(INGESTION).await;
    let clock = Clock::start();
    assert_eq!(rehearsal.status(&token, row("x")).await, 204);
    assert!(clock.mono().since(cefline::clock::Mono(0)) >= Duration::from_millis(150));
}

#[tokio::test]
async fn tokens_expire_and_can_be_refused() {
    let rehearsal = Rehearsal::start(|_| ());
    let good = rehearsal.token(INGESTION).await;
    let set = |faults| rehearsal.emulator.set_faults(faults).unwrap();
    set(Faults {
        token_life_seconds: Some(0),
        ..Faults::default()
    });
    let expired = rehearsal.token(INGESTION).await;
    assert_eq!(rehearsal.status(&expired, row("x")).await, 401);
    assert_eq!(
        rehearsal.status(&good, row("x")).await,
        204,
        "tokens given out before live on"
    );
    set(Faults {
        unauthorized_rate: 1.0,
        ..Faults::default()
    });
    assert_eq!(rehearsal.status(&good, row("x")).await, 401);
    set(Faults {
        token_refused: true,
        ..Faults::default()
    });
    assert_eq!(rehearsal.ask_token(INGESTION).await.status(), 401);
    set(Faults {
        token_error_rate: 1.0,
        token_error_status: 429,
        ..Faults::default()
    });
    assert_eq!(rehearsal.ask_token(INGESTION).await.status(), 429);
}

#[tokio::test]
async fn a_role_on_its_way_is_403_until_it_is_there() {
    let rehearsal = Rehearsal::with(Faults {
        granted_after_seconds: 0.5,
        ..Faults::default()
    });
    let token = rehearsal.token(INGESTION).await;
    let refused = rehearsal.upload(&token, row("x")).send().await.unwrap();
    assert_eq!(
        error_code(refused).await,
        (403, "OperationFailed".to_owned())
    );
    wait_for(async || rehearsal.status(&token, row("x")).await == 204).await;
}

/// Asks until it is true.
async fn wait_for(mut condition: impl AsyncFnMut() -> bool) {
    let look = async || condition().await.then_some(());
    awaited("what is asked for", DEADLINE, look).await;
}

#[tokio::test]
async fn one_bad_row_refuses_its_body() {
    let rehearsal = Rehearsal::with(Faults {
        refuse_text: Some("poison".to_owned()),
        body_bytes_max: Some(200),
        ..Faults::default()
    });
    let token = rehearsal.token(INGESTION).await;
    assert_eq!(rehearsal.status(&token, row("a poison b")).await, 400);
    assert_eq!(rehearsal.status(&token, row("water")).await, 204);
    assert_eq!(rehearsal.status(&token, row(&"x".repeat(200))).await, 413);
}

#[tokio::test]
async fn a_long_body_can_be_refused_before_it_was_read() {
    let rehearsal = Rehearsal::start(|_| ());
    let token = rehearsal.token(INGESTION).await;
    let set = |oversize| {
        let faults = Faults {
            oversize,
            ..Faults::default()
        };
        rehearsal.emulator.set_faults(faults).unwrap();
    };
    set(Oversize::Reset);
    assert!(
        rehearsal
            .upload(&token, vec![b' '; 8 * LIMIT])
            .send()
            .await
            .is_err()
    );
    set(Oversize::Close);
    // the client sees the answer or, still sending, the end of the connection: both are allowed
    match rehearsal.upload(&token, vec![b' '; 8 * LIMIT]).send().await {
        Ok(response) => assert_eq!(response.status(), 413),
        Err(error) => assert!(error.is_request() || error.is_body(), "{error:?}"),
    }
    let stats = rehearsal.emulator.stats();
    assert_eq!((stats.calls_reset, stats.calls[&413]), (1, 1));
    assert_eq!(
        rehearsal.status(&token, row("x")).await,
        204,
        "a body within the limit is not touched"
    );
}

#[tokio::test]
async fn an_outage_hides_the_service_and_keeps_the_table() {
    for outage in [Outage::Refuse, Outage::Reset, Outage::Blackhole] {
        let rehearsal = Rehearsal::start(|_| ());
        let token = rehearsal.token(INGESTION).await;
        assert_eq!(rehearsal.status(&token, row("before")).await, 204);
        let faults = rehearsal.emulator.control_url() + "/emulator/faults";
        let body = json!({"outage": outage}).to_string();
        let changed = rehearsal
            .client
            .patch(&faults)
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(changed.status(), 200);
        let short = Duration::from_millis(if outage == Outage::Blackhole {
            200
        } else {
            5000
        });
        wait_for(async || {
            // a connection that is open and one that is not
            rehearsal
                .upload(&token, row("during"))
                .timeout(short)
                .send()
                .await
                .is_err()
        })
        .await;
        let error = client(rehearsal.emulator.ca_pem())
            .get(rehearsal.emulator.url())
            .timeout(short)
            .send()
            .await
            .unwrap_err();
        match outage {
            Outage::Refuse => assert!(error.is_connect(), "{error:?}"),
            Outage::Blackhole => assert!(error.is_timeout(), "{error:?}"),
            Outage::Reset | Outage::None => assert!(is_reset(&error), "{error:?}"),
        }
        let query =
            rehearsal.emulator.control_url() + "/v1/workspaces/any/query?query=CommonSecurityLog";
        assert_eq!(
            rehearsal.client.get(query).send().await.unwrap().status(),
            200,
            "the control port still answers"
        );

        let ended = rehearsal
            .client
            .put(&faults)
            .body("{}")
            .send()
            .await
            .unwrap();
        assert_eq!(ended.status(), 200);
        wait_for(async || {
            let sent = rehearsal
                .upload(&token, row("after"))
                .timeout(Duration::from_secs(2))
                .send()
                .await;
            sent.is_ok_and(|response| response.status() == 204)
        })
        .await;
        let kept = rehearsal.emulator.query(
            "CommonSecurityLog | where ExtID in ('before', 'after') | distinct ExtID | count",
        );
        assert_eq!(kept.unwrap().cell(0, 0), 2, "{outage:?}");
    }
}

#[tokio::test]
async fn a_blackhole_freezes_what_is_open_and_resets_it_at_its_end() {
    let rehearsal = Rehearsal::start(|_| ());
    let address = rehearsal.emulator.url().replace("https://", "");
    let mut open = std::net::TcpStream::connect(&address).unwrap();
    wait_for(async || rehearsal.emulator.stats().connections == 1).await;
    let mut kind = |wait| {
        open.set_read_timeout(Some(wait)).unwrap();
        std::io::Read::read(&mut open, &mut [0]).unwrap_err().kind()
    };
    let set = |outage| {
        let faults = Faults {
            outage,
            ..Faults::default()
        };
        rehearsal.emulator.set_faults(faults).unwrap();
    };
    set(Outage::Blackhole);
    assert_eq!(
        kind(Duration::from_millis(200)),
        std::io::ErrorKind::WouldBlock
    );
    set(Outage::None);
    assert_eq!(kind(DEADLINE), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_port_that_refuses_is_given_to_nobody_who_asks_for_any() {
    // from the beginning: what is left of a connection would keep the port as well
    let rehearsal = Rehearsal::with(Faults {
        outage: Outage::Refuse,
        ..Faults::default()
    });
    let url = rehearsal.emulator.url();
    let address: SocketAddr = url.replace("https://", "").parse().unwrap();
    wait_for(async || std::net::TcpStream::connect(address).is_err()).await;
    // as the kernel looks whether a port is free for somebody who has named none
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let error = other.bind(&address.into()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn an_outage_ends_by_itself_after_its_time() {
    let rehearsal = Rehearsal::start(|_| ());
    let token = rehearsal.token(INGESTION).await;
    let faults = Faults {
        outage: Outage::Refuse,
        outage_seconds: Some(0.3),
        ..Faults::default()
    };
    rehearsal.emulator.set_faults(faults).unwrap();
    wait_for(async || rehearsal.upload(&token, row("x")).send().await.is_err()).await;
    wait_for(async || rehearsal.upload(&token, row("x")).send().await.is_ok()).await;
    assert_eq!(rehearsal.emulator.faults(), Faults::default());
}

#[tokio::test]
async fn faults_and_stats_are_seen_and_changed_while_it_runs() {
    let rehearsal = Rehearsal::start(|_| ());
    let base = rehearsal.emulator.control_url();
    let faults = format!("{base}/emulator/faults");
    let client = &rehearsal.client;
    let read = async |response: Response| -> Value {
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    };
    let changed = client
        .patch(&faults)
        .body("{\"error_rate\": 0.5}")
        .send()
        .await
        .unwrap();
    assert_eq!(read(changed).await["error_rate"], 0.5);
    let changed = client
        .patch(&faults)
        .body("{\"slow_ms\": 5}")
        .send()
        .await
        .unwrap();
    assert_eq!(
        read(changed).await["error_rate"],
        0.5,
        "PATCH leaves the rest"
    );
    let set = client
        .put(&faults)
        .body("{\"slow_ms\": 5}")
        .send()
        .await
        .unwrap();
    assert_eq!(read(set).await["error_rate"], 0.0, "PUT does not");
    assert_eq!(
        read(client.get(&faults).send().await.unwrap()).await["slow_ms"],
        5
    );
    for wrong in [
        "{\"eror_rate\": 0.5}",
        "{\"error_rate\": 2}",
        "nonsense",
        "[1]",
    ] {
        let refused = client.put(&faults).body(wrong).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{wrong}");
    }
    assert_eq!(
        rehearsal.emulator.faults().slow_ms,
        5,
        "what was refused changes nothing"
    );
    let stats = read(
        client
            .get(format!("{base}/emulator/stats"))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(stats["rows_stored"], 0);
    let pem = client
        .get(format!("{base}/emulator/ca.pem"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(pem, rehearsal.emulator.ca_pem());
    assert_eq!(client.get(&base).send().await.unwrap().status(), 200);
    assert_eq!(
        client
            .get(format!("{base}/other"))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
}

#[test]
fn what_cannot_be_is_refused_at_start() {
    let start = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        emulator::start(options, Clock::start())
            .unwrap_err()
            .to_string()
    };
    assert!(start(|options| options.rules.clear()).contains("at least one"));
    assert!(start(|options| options.control = ([192, 0, 2, 1], 0).into()).contains("loopback"));
    assert!(start(|options| options.faults.error_rate = 2.0).contains("from 0 to 1"));
    let plain: fn(&mut Options) = |options| {
        options.tls = Tls::Plain;
        options.listen = ([0, 0, 0, 0], 0).into();
    };
    assert!(start(plain).contains("loopback"));
    let first = emulator::start(Options::default(), Clock::start()).unwrap();
    let port = first.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let taken = Options {
        listen: ([127, 0, 0, 1], port).into(),
        ..Options::default()
    };
    let error = emulator::start(taken, Clock::start())
        .unwrap_err()
        .to_string();
    assert!(error.contains(&port.to_string()), "{error}");
}

#[test]
fn nothing_that_is_sent_stops_it() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let options = Options {
        tls: Tls::Plain,
        ..Options::default()
    };
    let emulator = emulator::start(options, Clock::start()).unwrap();
    let service = emulator.url().replace("http://", "");
    let control = emulator.control_url().replace("http://", "");
    let heads = [
        "POST /dataCollectionRules/a/streams/b?api-version=2023-01-01 HTTP/1.1\r\nHost: localhost\r\n",
        "POST /t/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "POST /v1/workspaces/x/query HTTP/1.1\r\nHost: localhost\r\n",
        "GET /v1/workspaces//query?query=%&timespan=P HTTP/1.1\r\nHost: [::1]:9\r\n",
        "PUT /emulator/faults HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        "",
    ];
    for _ in 0..300 {
        let address = if random.bool() { &service } else { &control };
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let body: Vec<u8> = (0..random.usize(0..200)).map(|_| random.u8(..)).collect();
        let head = random.choice(heads).unwrap();
        let length = if random.bool() {
            body.len()
        } else {
            random.usize(0..3_000_000)
        };
        // the other side may have closed already, which is as good an answer as any
        let _ = write!(
            stream,
            "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let _ = stream.write_all(&body);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
    let answer = emulator.query("CommonSecurityLog | count");
    assert_eq!(answer.unwrap().cell(0, 0), 0, "seed {seed}");
    let mut stream = std::net::TcpStream::connect(&control).unwrap();
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let text = std::io::read_to_string(stream).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "seed {seed}: {text}");
}
