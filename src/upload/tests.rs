//! Uploaders against a scripted service on loopback. Each test ends with counters that close.

mod service;

use super::*;
use crate::config::{
    self, ClientSecret, DestinationId, EndpointUrl, FramingChoice, Identity, RuleId, Semicolon,
    StreamName, TimeGenerated, Unparsed,
};
use crate::heart::Heart;
use crate::metrics::{Counter, Snapshot, Stopwatch};
use crate::page::RowPage;
use service::{Say, Seen, Service};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
const NOT_NOW: &[(&str, &str)] = &[("Retry-After", "1")];

/// Uploaders on the test's own runtime, and the shard's side by hand.
struct Bench {
    shared: Shared,
    upstream: watch::Sender<Arc<Upstream>>,
    stop: watch::Sender<Stop>,
    shard: Counters,
    uploaders: Vec<Running>,
    rows_sent: u64,
    _folder: tempfile::TempDir,
}

type Running = (Arc<Counters>, Arc<Latency>, Option<JoinHandle<()>>);

fn config_for(
    service: &Service,
    folder: &std::path::Path,
    change: impl FnOnce(&mut Config),
) -> Config {
    let secret_file = folder.join("secret");
    std::fs::write(&secret_file, "s3cret~\n").unwrap();
    let url = EndpointUrl(format!("http://{}", service.address));
    let mut config = Config {
        listen: config::Listen {
            tcp: Vec::new(),
            framing: FramingChoice::Auto,
            frame_bytes_max: 0,
            connections_max: 0,
            partial_bytes_max: 0,
            partial_age_max: Duration::ZERO,
            io: config::Io::Auto,
        },
        filters: Vec::new(),
        map: config::Map {
            time_generated: TimeGenerated::Received,
            collector_host_name: String::new(),
            time_zone: jiff::tz::TimeZone::UTC,
            unparsed: Unparsed::Forward,
            semicolon: Semicolon::Blank,
        },
        batch: config::Batch {
            raw_bytes_max: 1_000_000,
            wire_bytes_max: 1_000_000,
            linger: Duration::from_millis(50),
            gzip_level: config::GzipLevel::Auto,
            body_limit: config::BodyReading::Strict,
        },
        sentinel: config::Sentinel {
            endpoint: url.clone(),
            rules: vec![RuleId("dcr-00000000000000000000000000000001".into()).into()],
            rule_bytes_a_minute: 2_000_000_000,
            rule_requests_a_minute: 12_000,
            stream: StreamName("Custom-CommonSecurityLog".into()),
            identity: Identity::ClientSecret(ClientSecret {
                application: config::Application {
                    tenant_id: "t".into(),
                    client_id: "c".into(),
                    login: config::Login {
                        authority: url,
                        scope: "s".into(),
                    },
                },
                secret: config::SecretFrom::File(secret_file),
            }),
            ca_file: None,
            proxy: None,
            heartbeat: None,
            requests_in_flight: 4,
            request_time_max: Duration::from_secs(20),
        },
        destinations: Vec::new(),
        spool: config::Spool {
            directory: folder.join("spool"),
            durability: config::Durability::Memory,
            bytes_max: 0,
            free_bytes_min: None,
            when_full: config::WhenFull::Backpressure,
            drain_share: 50,
            quarantine_bytes_max: 0,
        },
        runtime: config::Runtime {
            ingest_cores: 1,
            upload_cores: 1,
            pin: false,
            pages_bytes_max: 0,
            stop_time_max: Duration::ZERO,
        },
        metrics: config::Metrics { listen: None },
        log: config::Log {
            level: tracing::Level::INFO,
            format: config::LogFormat::Text,
        },
        sandbox: config::Sandbox {
            mode: config::SandboxMode::Off,
        },
    };
    change(&mut config);
    config
}

impl Bench {
    /// The destination of `[sentinel]`.
    fn rules(&self) -> Arc<destinations::Destination> {
        let upstream = self.shared.upstream.borrow();
        Arc::clone(upstream.destinations.to(DestinationId::SENTINEL))
    }

    fn start(service: &Service, uploaders: usize, change: impl FnOnce(&mut Config)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let config = Arc::new(config_for(service, folder.path(), change));
        let (stop, stopped) = watch::channel(Stop::Run);
        let ring = Arc::new(Ring::new(0, 4));
        // one shard is enough here, the ring just gets pages for four
        for _ in 0..3 {
            ring.close_shard();
        }
        let clock = Clock::start();
        let upstream = Arc::new(Upstream::new(config, clock).unwrap());
        let (upstream, upstreams) = watch::channel(upstream);
        let shared = Shared {
            ring,
            clock,
            state: Arc::default(),
            upstream: upstreams,
            stop: stopped,
        };
        let start = |_| {
            let counters = Arc::new(Counters::default());
            let latency = Arc::new(Latency::new().unwrap());
            let own = Own {
                counters: Arc::clone(&counters),
                latency: Arc::clone(&latency),
                heart: Heart::new("upload"),
            };
            let runner = Runner::new(&shared, own, None).unwrap();
            (counters, latency, Some(tokio::spawn(run(runner))))
        };
        Bench {
            uploaders: (0..uploaders).map(start).collect(),
            shared,
            upstream,
            stop,
            shard: Counters::default(),
            rows_sent: 0,
            _folder: folder,
        }
    }

    /// Hands a page over with the next `rows_count` numbers.
    async fn send(&mut self, rows_count: u64) {
        self.send_with(rows_count, "").await;
    }

    async fn send_with(&mut self, rows_count: u64, filler: &str) {
        self.send_to(DestinationId::SENTINEL, rows_count, filler)
            .await;
    }

    async fn send_to(&mut self, destination: DestinationId, rows_count: u64, filler: &str) {
        let page = self.shared.ring.claimed();
        let mut page = tokio::time::timeout(PATIENCE, page).await.unwrap();
        page.open_for(destination);
        let now = self.shared.clock.mono();
        for n in self.rows_sent..self.rows_sent + rows_count {
            write(&mut page, now, n, filler);
        }
        self.rows_sent += rows_count;
        for counter in [
            Counter::FramesReceived,
            Counter::RowsWritten,
            Counter::RowsHanded,
        ] {
            self.shard.add(counter, rows_count);
        }
        self.shared.ring.hand_over(page, now);
    }

    fn snapshot(&self) -> Snapshot {
        let uploaders = self.uploaders.iter().map(|(counters, ..)| &**counters);
        Snapshot::of(
            std::iter::once(&self.shard)
                .chain(uploaders)
                .collect::<Vec<_>>(),
        )
    }

    fn value(&self, counter: Counter) -> u64 {
        self.snapshot().value(counter)
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&Snapshot) -> bool) {
        let poll = async {
            while !is_so(&self.snapshot()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, poll).await;
        assert!(in_time.is_ok(), "{what}: {:?}", self.snapshot());
    }

    /// Closes the shard, waits for the uploaders, and checks the sums. `lost` rows are lost.
    async fn finish(&mut self, lost: &[(Counter, u64)]) {
        let deadline = self.shared.clock.mono().plus(PATIENCE);
        self.finish_with(Stop::Drain { deadline }, lost).await;
    }

    async fn finish_with(&mut self, stop: Stop, lost: &[(Counter, u64)]) {
        self.stop.send(stop).unwrap();
        self.shared.ring.close_shard();
        for (_, _, handle) in &mut self.uploaders {
            let ended = tokio::time::timeout(PATIENCE, handle.take().unwrap()).await;
            ended.unwrap().unwrap();
        }
        let snapshot = self.snapshot();
        assert_eq!(snapshot.imbalance(), 0, "{snapshot:?}");
        assert_eq!(snapshot.held(), 0, "{snapshot:?}");
        let lost_count: u64 = lost.iter().map(|(_, count)| count).sum();
        assert_eq!(snapshot.rows_lost(), lost_count);
        for (counter, count) in lost {
            assert_eq!(snapshot.value(*counter), *count, "{counter:?}");
        }
        assert_eq!(
            snapshot.value(Counter::RowsUploaded),
            self.rows_sent - lost_count
        );
        let answers: u64 = Counter::ALL
            .iter()
            .filter(|c| ["answers_total", "requests_failed_total"].contains(&c.name()))
            .map(|c| snapshot.value(*c))
            .sum();
        assert!(answers <= snapshot.value(Counter::Requests));
        // all pages are back
        assert_eq!(
            std::iter::from_fn(|| self.shared.ring.claim()).count(),
            self.shared.ring.pages_count()
        );
    }
}

fn write(page: &mut RowPage, now: Mono, n: u64, filler: &str) {
    page.write_row(now, usize::MAX, |out| {
        out.extend_from_slice(format!("{{\"n\":{n},\"f\":\"{filler}\"}}").as_bytes());
    })
    .unwrap();
}

fn all(count: u64) -> Vec<u64> {
    (0..count).collect()
}

/// Text that gzip cannot shorten by much.
fn noise(bytes: usize, seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..bytes)
        .map(|_| char::from(random.u8(b'#'..b'[').max(b'$')))
        .collect()
}

#[tokio::test]
async fn rows_are_delivered_once_and_in_bodies_of_the_configured_size() {
    let service = Service::start(None, |_| Say::Store).await;
    let mut bench = Bench::start(&service, 1, |config| config.batch.raw_bytes_max = 100_000);
    for _ in 0..20 {
        bench.send_with(1000, "some filler").await;
    }
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(20_000));
    assert_eq!(service.tokens(), 1);
    let bodies = bench.value(Counter::BodiesSealed);
    // 6 full ones, and the rest
    assert!((6..=9).contains(&bodies), "{bodies}");
    assert_eq!(bench.value(Counter::BodiesUploaded), bodies);
    assert_eq!(bench.value(Counter::Requests), bodies);
    assert_eq!(
        bench.value(Counter::RequestBytes),
        bench.value(Counter::BodyWireBytes)
    );
    let seen = service.seen();
    assert!(seen.iter().all(|seen| seen.token == "Bearer t1"));
    let ids: std::collections::BTreeSet<_> = seen.iter().map(|seen| seen.id.clone()).collect();
    assert_eq!(ids.len(), seen.len());
    let latencies = [&*bench.uploaders[0].1];
    // nothing has been on disk
    let stopwatches = Stopwatch::ALL.into_iter();
    for stopwatch in stopwatches.filter(|stopwatch| *stopwatch != Stopwatch::Spool) {
        assert_eq!(
            Latency::merged(latencies, stopwatch).unwrap().len(),
            20_000,
            "{stopwatch:?}"
        );
    }
    assert!(bench.shared.state.report().last_success.is_some());
}

#[tokio::test]
async fn a_lone_row_is_sent_when_it_is_as_old_as_linger() {
    let service = Service::start(None, |_| Say::Store).await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.batch.linger = Duration::from_millis(200)
    });
    let begun = bench.shared.clock.mono();
    bench.send(1).await;
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 1)
        .await;
    let time = bench.shared.clock.mono().since(begun);
    assert!(time >= Duration::from_millis(200), "{time:?}");
    bench.finish(&[]).await;
}

#[tokio::test]
async fn the_last_body_does_not_wait_for_linger() {
    let service = Service::start(None, |_| Say::Store).await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.batch.linger = Duration::from_secs(60)
    });
    bench.send(1).await;
    bench.finish(&[]).await;
    assert_eq!(service.stored(), [0]);
}

#[tokio::test]
async fn several_uploaders_share_the_rows_and_the_token_and_all_of_them_end() {
    let service = Service::start(None, |_| Say::Store).await;
    let mut bench = Bench::start(&service, 3, |config| config.batch.raw_bytes_max = 65_536);
    for _ in 0..60 {
        bench.send(300).await;
    }
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(18_000));
    assert_eq!(service.tokens(), 1);
}

#[tokio::test]
async fn tls_trusts_the_configured_authority_and_no_other() {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key =
        tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der())
            .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let service = Service::start(Some(tls.clone()), |_| Say::Store).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, pair.cert.pem()).unwrap();
    let to_https = |config: &mut Config| {
        let https = |url: &mut EndpointUrl| url.0 = url.0.replace("http:", "https:");
        https(&mut config.sentinel.endpoint);
        if let Identity::ClientSecret(identity) = &mut config.sentinel.identity {
            https(&mut identity.application.login.authority);
        }
    };
    let mut bench = Bench::start(&service, 1, |config| {
        to_https(config);
        config.sentinel.ca_file = Some(file.clone());
    });
    bench.send(10).await;
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(10));

    // another authority of the same name
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&file, other.cert.pem()).unwrap();
    let service = Service::start(Some(tls), |_| Say::Store).await;
    let mut bench = Bench::start(&service, 1, |config| {
        to_https(config);
        config.sentinel.ca_file = Some(file);
    });
    bench.send(10).await;
    bench
        .until("refused", |s| s.value(Counter::TokensFailed) > 0)
        .await;
    let crate::auth::Standing::Failing(refusal) = bench.shared.upstream.borrow().auth.standing()
    else {
        panic!()
    };
    let refusal = refusal.to_string();
    assert!(
        refusal.contains("cannot be reached") && refusal.contains("certificate"),
        "{refusal}"
    );
    bench
        .finish_with(Stop::Now, &[(Counter::RowsLostUnsent, 10)])
        .await;
}

#[tokio::test]
async fn a_throttled_rule_pauses_for_as_long_as_it_asks_while_the_other_goes_on() {
    let clock = Clock::start();
    let mut first = None;
    let service = Service::start(None, move |seen| match (seen.rule, first) {
        (1, None) => {
            first = Some(clock.mono());
            Say::Answer(429, NOT_NOW, "")
        }
        (1, Some(at)) if clock.mono().since(at) < Duration::from_secs(1) => panic!("too early"),
        _ => Say::Store,
    })
    .await;
    let mut bench = Bench::start(&service, 1, |config| {
        config
            .sentinel
            .rules
            .push(RuleId("dcr-00000000000000000000000000000002".into()).into());
    });
    for _ in 0..10 {
        bench.send(10).await;
        let sent = bench.rows_sent;
        bench
            .until("delivered", |s| s.value(Counter::RowsUploaded) == sent)
            .await;
    }
    assert!(service.seen().iter().skip(1).all(|seen| seen.rule == 2));
    assert!(matches!(
        bench.rules().rules.standings()[..],
        [rules::Standing::Paused(_), rules::Standing::Open]
    ));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    bench.send(1).await;
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 101)
        .await;
    bench.finish(&[]).await;
    assert_eq!(service.seen().last().unwrap().rule, 1);
    assert_eq!(bench.value(Counter::AnswersThrottled), 1);
    assert_eq!(service.stored(), all(101));
}

#[tokio::test]
async fn trouble_of_the_service_is_waited_out_with_the_same_request_id() {
    let answers = [
        (500, ""),
        (503, "<html>busy</html>"),
        (408, "{}"),
        (502, "{"),
        (504, ""),
    ];
    let service = Service::start(None, move |seen| match answers.get(seen.index) {
        Some((status, body)) => Say::Answer(*status, &[("Retry-After", "0")], body),
        None => Say::Store,
    })
    .await;
    let mut bench = Bench::start(&service, 1, |_| ());
    bench.send(10).await;
    bench
        .until("troubled", |s| s.value(Counter::AnswersUnavailable) == 1)
        .await;
    // stopping shortens the pauses
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(10));
    assert_eq!(bench.value(Counter::AnswersUnavailable), 5);
    // gateways that lost their upstream know nothing of the rows
    assert_eq!(bench.value(Counter::RowsMaybeTwice), 20);
    let seen = service.seen();
    assert!(seen.iter().all(|other| other.id == seen[0].id));
}

#[tokio::test]
async fn rows_whose_answer_was_lost_are_sent_again_and_counted_as_perhaps_doubled() {
    let service = Service::start(None, |seen| match seen.index {
        0 => Say::StoreAndReset,
        1 => Say::StoreAndHang,
        _ => Say::Store,
    })
    .await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.sentinel.request_time_max = Duration::from_millis(700);
    });
    bench.send(10).await;
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 10)
        .await;
    bench.finish(&[]).await;
    assert_eq!(service.stored().len(), 30);
    assert_eq!(bench.value(Counter::RowsMaybeTwice), 20);
    assert_eq!(bench.value(Counter::RequestsFailedReset), 1);
    assert_eq!(bench.value(Counter::RequestsFailedTimeout), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_and_the_request_repeated_at_once() {
    let service = Service::start(None, |seen| match &*seen.token {
        "Bearer t1" => Say::Answer(401, &[], ""),
        _ => Say::Store,
    })
    .await;
    let mut bench = Bench::start(&service, 1, |_| ());
    let begun = bench.shared.clock.mono();
    bench.send(10).await;
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 10)
        .await;
    assert!(bench.shared.clock.mono().since(begun) < Duration::from_secs(5));
    bench.finish(&[]).await;
    assert_eq!(service.tokens(), 2);
    assert_eq!(bench.value(Counter::AnswersUnauthorized), 1);
    assert_eq!(bench.value(Counter::TokensObtained), 2);
    assert_eq!(bench.value(Counter::RowsMaybeTwice), 0);
}

#[tokio::test]
async fn tokens_that_are_never_accepted_are_not_asked_for_without_end() {
    let service = Service::start(None, |seen| match seen.index {
        ..8 => Say::Answer(401, &[], "{}"),
        _ => Say::Store,
    })
    .await;
    let mut bench = Bench::start(&service, 1, |_| ());
    bench.send(10).await;
    bench
        .until("refused", |s| s.value(Counter::AnswersUnauthorized) >= 4)
        .await;
    assert_eq!(service.tokens(), 2);
    // stopping shortens the pauses
    bench.finish(&[]).await;
    assert_eq!(service.tokens(), 2);
    assert_eq!(service.stored(), all(10));
}

#[tokio::test]
async fn a_login_endpoint_in_trouble_is_asked_again() {
    let service = Service::start(None, |_| Say::Store).await;
    service.login_answers(&[
        (503, "<html>"),
        (401, r#"{"error":"invalid_client","error_codes":[7000215]}"#),
        (200, "{}"),
    ]);
    let mut bench = Bench::start(&service, 2, |_| ());
    bench.send(5).await;
    bench.send(5).await;
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 10)
        .await;
    bench.finish(&[]).await;
    assert_eq!(bench.value(Counter::TokensFailed), 3);
    assert_eq!(bench.value(Counter::TokensObtained), 1);
    assert_eq!(service.stored(), all(10));
}

#[tokio::test]
async fn bodies_that_are_too_long_are_halved_until_they_fit_and_a_row_that_never_does_is_lost() {
    let service = Service::start(None, |seen| match seen.rows.len() {
        3.. => Say::Answer(
            413,
            &[],
            r#"{"error":{"code":"ContentLengthLimitExceeded"}}"#,
        ),
        _ if seen.rows.contains(&7) => Say::Answer(413, &[], ""),
        _ => Say::Store,
    })
    .await;
    let mut bench = Bench::start(&service, 1, |_| ());
    bench.send(20).await;
    bench
        .until("settled", |s| s.value(Counter::RowsUploaded) == 19)
        .await;
    bench.finish(&[(Counter::RowsLostTooLarge, 1)]).await;
    let expected: Vec<u64> = (0..20).filter(|n| *n != 7).collect();
    assert_eq!(service.stored(), expected);
    assert!(bench.value(Counter::BodiesHalved) > 7);
}

#[tokio::test]
async fn a_long_body_that_is_cut_off_twice_is_halved() {
    let service = Service::start(None, |_| Say::Store).await;
    service.cut_from(900_000);
    let mut bench = Bench::start(&service, 1, |config| {
        config.batch.raw_bytes_max = 4_000_000;
        // by which noise stays long
        config.batch.gzip_level = config::GzipLevel::Zlib(1);
        config.batch.linger = Duration::from_secs(2);
    });
    for page in 0..8 {
        bench.send_with(3, &noise(50_000, page)).await;
    }
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 24)
        .await;
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(24));
    assert!(bench.value(Counter::BodiesHalved) >= 1);
    assert!(bench.value(Counter::RequestsFailedReset) >= 2);
    assert!(service.seen().iter().all(|seen| seen.wire_bytes < 900_000));
}

#[tokio::test]
async fn rows_that_can_never_fit_are_lost_alone() {
    let service = Service::start(None, |_| Say::Store).await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.batch.raw_bytes_max = 200_000;
        config.batch.wire_bytes_max = 65_536;
    });
    bench.send(5).await;
    bench.send_with(1, &noise(250_000, 1)).await;
    bench.send_with(1, &noise(150_000, 2)).await;
    bench.send(5).await;
    bench.finish(&[(Counter::RowsLostTooLarge, 2)]).await;
    assert_eq!(service.stored(), [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]);
}

fn refuses(bad: &'static [u64]) -> impl FnMut(&Seen) -> Say {
    move |seen| match seen.rows.iter().any(|row| bad.contains(row)) {
        true => Say::Answer(
            400,
            &[],
            r#"{"error":{"code":"InvalidRow","message":"bad"}}"#,
        ),
        false => Say::Store,
    }
}

#[tokio::test]
async fn the_bad_rows_are_found_and_only_they_are_lost() {
    let service = Service::start(None, refuses(&[0, 123, 399])).await;
    let mut bench = Bench::start(&service, 1, |_| ());
    bench.send(400).await;
    bench
        .until("settled", |s| s.value(Counter::RowsUploaded) == 397)
        .await;
    bench.finish(&[(Counter::RowsLostRejected, 3)]).await;
    let expected: Vec<u64> = (0..400).filter(|n| ![0, 123, 399].contains(n)).collect();
    assert_eq!(service.stored(), expected);
    assert!(service.seen().len() < 60, "{}", service.seen().len());
}

#[tokio::test]
async fn a_lone_bad_row_is_lost_only_after_the_rule_has_accepted_another() {
    let service = Service::start(None, refuses(&[0])).await;
    let mut bench = Bench::start(&service, 1, |_| ());
    bench.send(1).await;
    bench
        .until("refused", |s| s.value(Counter::AnswersRefused) >= 2)
        .await;
    assert_eq!(bench.snapshot().rows_lost(), 0);
    bench.send(1).await;
    bench.until("settled", |s| s.rows_lost() == 1).await;
    bench.finish(&[(Counter::RowsLostRejected, 1)]).await;
    assert_eq!(service.stored(), [1]);
}

#[tokio::test]
async fn bodies_of_bad_rows_only_do_not_keep_good_rows_out() {
    let service = Service::start(None, refuses(&[0, 1, 2, 3, 4])).await;
    let mut bench = Bench::start(&service, 1, |config| config.sentinel.requests_in_flight = 2);
    for bodies in 1..=5 {
        bench.send(1).await;
        bench
            .until("sealed", |s| s.value(Counter::BodiesSealed) == bodies)
            .await;
    }
    assert_eq!(bench.snapshot().rows_lost(), 0);
    bench.send(1).await;
    bench.until("settled", |s| s.rows_lost() == 5).await;
    bench.finish(&[(Counter::RowsLostRejected, 5)]).await;
    assert_eq!(service.stored(), [5]);
}

#[tokio::test]
async fn a_long_body_that_is_not_found_twice_is_halved() {
    let service = Service::start(None, |seen| match seen.wire_bytes {
        900_000.. => Say::Answer(404, &[], ""),
        _ => Say::Store,
    })
    .await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.batch.raw_bytes_max = 4_000_000;
        // by which noise stays long
        config.batch.gzip_level = config::GzipLevel::Zlib(1);
        config.batch.linger = Duration::from_secs(1);
    });
    for page in 0..7 {
        bench.send_with(3, &noise(50_000, page)).await;
    }
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 21)
        .await;
    bench.finish(&[]).await;
    assert_eq!(bench.value(Counter::BodiesHalved), 1);
    assert_eq!(service.stored(), all(21));
}

#[tokio::test]
async fn a_wrong_stream_holds_the_rows_without_halving_them() {
    let service = Service::start(None, |seen| match seen.index {
        ..2 => Say::Answer(400, &[("x-ms-error-code", "InvalidStream")], ""),
        _ => Say::Store,
    })
    .await;
    let mut bench = Bench::start(&service, 1, |_| ());
    bench.send(10).await;
    bench
        .until("held", |s| s.value(Counter::AnswersRefused) == 1)
        .await;
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 10)
        .await;
    bench.finish(&[]).await;
    assert_eq!(bench.value(Counter::BodiesHalved), 0);
    assert_eq!(service.stored(), all(10));
}

#[tokio::test]
async fn a_rule_that_refuses_everything_for_an_unknown_reason_costs_no_row() {
    let is_broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let script = Arc::clone(&is_broken);
    let service = Service::start(None, move |_| {
        match script.load(std::sync::atomic::Ordering::Relaxed) {
            true => Say::Answer(400, &[], ""),
            false => Say::Store,
        }
    })
    .await;
    let mut bench = Bench::start(&service, 1, |config| config.sentinel.requests_in_flight = 8);
    for _ in 0..5 {
        bench.send(100).await;
        let bodies = bench.value(Counter::BodiesSealed);
        bench
            .until("sealed", |s| s.value(Counter::BodiesSealed) > bodies)
            .await;
    }
    let standing = bench.rules();
    let suspected = |_: &Snapshot| {
        matches!(
            standing.rules.standings()[..],
            [rules::Standing::Held(rules::HoldReason::Suspected, _)]
        )
    };
    bench.until("suspected", suspected).await;
    assert_eq!(bench.snapshot().rows_lost(), 0);
    is_broken.store(false, std::sync::atomic::Ordering::Relaxed);
    bench.send(10).await;
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 510)
        .await;
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(510));
}

#[tokio::test]
async fn a_missing_role_holds_the_rows_until_it_is_granted() {
    let service = Service::start(None, |seen| match seen.index {
        ..2 => Say::Answer(
            403,
            &[],
            r#"{"error":{"code":"OperationFailed","message":"no access"}}"#,
        ),
        _ => Say::Store,
    })
    .await;
    let mut bench = Bench::start(&service, 1, |_| ());
    bench.send(10).await;
    bench
        .until("held", |s| s.value(Counter::AnswersForbidden) == 1)
        .await;
    let (_, what) = bench.shared.state.report().last_failure.unwrap();
    assert_eq!(what, "answer 403 OperationFailed: no access");
    bench
        .until("delivered", |s| s.value(Counter::RowsUploaded) == 10)
        .await;
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(10));
    assert_eq!(bench.value(Counter::AnswersForbidden), 2);
}

#[tokio::test]
async fn in_an_outage_the_uploader_stops_taking_pages_and_nothing_is_lost() {
    let is_down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let script = Arc::clone(&is_down);
    let service = Service::start(None, move |_| {
        match script.load(std::sync::atomic::Ordering::Relaxed) {
            true => Say::Answer(503, &[], ""),
            false => Say::Store,
        }
    })
    .await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.batch.raw_bytes_max = 65_536;
        config.sentinel.requests_in_flight = 2;
    });
    // each page is more than one body
    let filler = "x".repeat(1000);
    for _ in 0..8 {
        bench.send_with(100, &filler).await;
    }
    bench
        .until("full", |s| {
            s.value(Counter::BodiesSealed) == 2 && s.value(Counter::AnswersUnavailable) > 6
        })
        .await;
    assert_eq!(bench.value(Counter::BodiesSealed), 2);
    assert!(bench.shared.ring.pages_waiting() >= 5);
    let still = bench.shared.ring.pages_waiting();
    bench
        .until("more tries", |s| s.value(Counter::AnswersUnavailable) > 9)
        .await;
    assert_eq!(bench.shared.ring.pages_waiting(), still);
    assert!(bench.shared.state.report().failing_since.is_some());
    is_down.store(false, std::sync::atomic::Ordering::Relaxed);
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(800));
}

#[tokio::test]
async fn at_the_deadline_what_is_left_everywhere_is_counted_as_unsent() {
    let service = Service::start(None, |_| Say::StoreAndHang).await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.batch.raw_bytes_max = 65_536;
        config.sentinel.requests_in_flight = 1;
    });
    let filler = "x".repeat(1000);
    for _ in 0..6 {
        bench.send_with(100, &filler).await;
    }
    bench
        .until("in flight", |s| s.value(Counter::Requests) == 1)
        .await;
    let snapshot = bench.snapshot();
    assert!(
        crate::metrics::Stage::ALL[1..=3]
            .iter()
            .all(|stage| snapshot.held_in(*stage) > 0)
    );
    let deadline = bench.shared.clock.mono().plus(Duration::from_millis(300));
    let unsent = [(Counter::RowsLostUnsent, 600)];
    bench.finish_with(Stop::Drain { deadline }, &unsent).await;
    assert!(bench.shared.clock.mono() >= deadline);
}

#[tokio::test]
async fn stop_now_and_a_stop_signal_that_is_gone_end_at_once_and_count_everything() {
    for is_gone in [false, true] {
        let service =
            Service::start(None, |_| Say::Answer(503, &[("Retry-After", "100")], "")).await;
        let mut bench = Bench::start(&service, 2, |_| ());
        bench.send(10).await;
        bench
            .until("in flight", |s| s.value(Counter::AnswersUnavailable) == 1)
            .await;
        bench.send(10).await;
        if is_gone {
            let (gone, _) = watch::channel(Stop::Run);
            drop(std::mem::replace(&mut bench.stop, gone));
            bench.shared.ring.close_shard();
            for (_, _, handle) in &mut bench.uploaders {
                let ended = tokio::time::timeout(PATIENCE, handle.take().unwrap()).await;
                ended.unwrap().unwrap();
            }
            assert_eq!(bench.value(Counter::RowsLostUnsent), 20);
            assert_eq!(bench.snapshot().imbalance(), 0);
        } else {
            bench
                .finish_with(Stop::Now, &[(Counter::RowsLostUnsent, 20)])
                .await;
        }
    }
}

#[tokio::test]
async fn a_page_that_comes_after_the_stop_is_counted() {
    let service = Service::start(None, |_| Say::Store).await;
    let mut bench = Bench::start(&service, 1, |_| ());
    bench.stop.send(Stop::Now).unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    bench.send(10).await;
    bench
        .finish_with(Stop::Now, &[(Counter::RowsLostUnsent, 10)])
        .await;
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn an_uploader_runs_on_a_thread_of_its_own() {
    let service = Service::start(None, |_| Say::Store).await;
    let mut bench = Bench::start(&service, 0, |_| ());
    let (counters, latency) = (Arc::default(), Arc::new(Latency::new().unwrap()));
    let own = Own {
        counters: Arc::clone(&counters),
        latency: Arc::clone(&latency),
        heart: Heart::new("upload"),
    };
    let runner = Runner::new(&bench.shared, own, None).unwrap();
    let thread = std::thread::spawn(move || run_thread(runner));
    bench.uploaders.push((counters, latency, None));
    bench.send(100).await;
    let deadline = bench.shared.clock.mono().plus(PATIENCE);
    bench.stop.send(Stop::Drain { deadline }).unwrap();
    bench.shared.ring.close_shard();
    bench.until("ended", |_| thread.is_finished()).await;
    thread.join().unwrap().unwrap();
    assert_eq!(service.stored(), all(100));
    assert_eq!(
        (bench.snapshot().imbalance(), bench.snapshot().held()),
        (0, 0)
    );
}

/// A further destination, with the second rule and a stream of its own.
fn basic(config: &Config) -> config::Destination {
    config::Destination {
        name: "basic".into(),
        endpoint: config.sentinel.endpoint.clone(),
        rules: vec![RuleId("dcr-00000000000000000000000000000002".into()).into()],
        stream: StreamName("Custom-Basic".into()),
    }
}

impl Bench {
    /// The configuration is read again, with a further destination or without.
    fn reload(&self, has_basic: bool) {
        let mut config = Config::clone(&self.shared.upstream.borrow().config);
        config.destinations.clear();
        if has_basic {
            config.destinations.push(basic(&config));
        }
        let upstream = Upstream::new(Arc::new(config), self.shared.clock).unwrap();
        self.upstream.send_replace(Arc::new(upstream));
    }
}

#[tokio::test]
async fn a_destination_that_takes_no_rows_does_not_hold_up_the_others() {
    let is_forbidden = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let forbids = Arc::clone(&is_forbidden);
    let service = Service::start(None, move |seen| {
        let of_stream = match seen.rule {
            1 => "Custom-CommonSecurityLog",
            _ => "Custom-Basic",
        };
        assert_eq!(seen.stream, of_stream);
        match seen.rule == 2 && forbids.load(std::sync::atomic::Ordering::Relaxed) {
            true => Say::Answer(403, &[], ""),
            false => Say::Store,
        }
    })
    .await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.sentinel.requests_in_flight = 2;
        config.destinations.push(basic(config));
    });
    // as many bodies as the destination has places
    for _ in 0..2 {
        bench.send_to(DestinationId::of("basic"), 10, "").await;
        bench.send(10).await;
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    for count in 3..6 {
        bench.send(10).await;
        bench
            .until("the others go on", |s| {
                s.value(Counter::RowsUploaded) == 10 * count
            })
            .await;
    }
    assert_eq!(bench.value(Counter::RowsUploaded), 50);
    is_forbidden.store(false, std::sync::atomic::Ordering::Relaxed);
    // rules are asked again soon after the configuration was read
    bench.reload(true);
    bench
        .until("all", |s| s.value(Counter::RowsUploaded) == 70)
        .await;
    assert_eq!(bench.value(Counter::RowsRedirected), 0);
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(70));
}

#[tokio::test]
async fn rows_for_a_destination_that_is_gone_go_to_the_first_and_are_counted() {
    let service = Service::start(None, |seen| match seen.rule {
        1 => Say::Store,
        _ => Say::Answer(403, &[], ""),
    })
    .await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.destinations.push(basic(config));
    });
    let id = DestinationId::of("basic");
    bench.send_to(id, 10, "").await;
    bench
        .until("forbidden", |s| s.value(Counter::AnswersForbidden) > 0)
        .await;
    bench.reload(false);
    // being delivered then, and what comes late
    bench.send_to(id, 5, "").await;
    bench.send(3).await;
    bench
        .until("all", |s| s.value(Counter::RowsUploaded) == 18)
        .await;
    assert_eq!(bench.value(Counter::RowsRedirected), 15);
    bench.reload(true);
    bench.finish(&[]).await;
    assert_eq!(service.stored(), all(18));
}

#[tokio::test]
async fn a_destination_that_a_reload_brings_takes_its_rows_at_once() {
    let service = Service::start(None, |_| Say::Store).await;
    let mut bench = Bench::start(&service, 2, |_| {});
    bench.send(1).await;
    bench.reload(true);
    bench.send_to(DestinationId::of("basic"), 10, "").await;
    bench.send(1).await;
    bench
        .until("all", |s| s.value(Counter::RowsUploaded) == 12)
        .await;
    let seen = service.seen();
    let to = |stream: &str| -> Vec<u64> {
        let seen = seen.iter().filter(|seen| seen.stream == stream);
        let mut rows: Vec<u64> = seen.flat_map(|seen| seen.rows.clone()).collect();
        rows.sort_unstable();
        rows
    };
    assert_eq!(to("Custom-Basic"), (1..=10).collect::<Vec<_>>());
    assert_eq!(to("Custom-CommonSecurityLog"), [0, 11]);
    assert_eq!(bench.value(Counter::RowsRedirected), 0);
    bench.finish(&[]).await;
}

/// Few rows for one destination do not wait until there are none for another.
#[tokio::test]
async fn a_body_is_sealed_in_time_while_rows_for_others_keep_coming() {
    let service = Service::start(None, |_| Say::Store).await;
    let mut bench = Bench::start(&service, 1, |config| {
        config.batch.linger = Duration::from_millis(200);
        config.destinations.push(basic(config));
    });
    bench.send_to(DestinationId::of("basic"), 1, "").await;
    let until = bench.shared.clock.mono().plus(Duration::from_secs(3));
    let is_there = || service.seen().iter().any(|seen| seen.rule == 2);
    while !is_there() && bench.shared.clock.mono() < until {
        // the ring is never empty
        while bench.shared.ring.pages_waiting() < 4 {
            bench.send(1).await;
        }
        tokio::task::yield_now().await;
    }
    assert!(is_there());
    bench.finish(&[]).await;
}

/// Names that come and go with the configuration leave no more open bodies than there may be.
#[tokio::test]
async fn open_bodies_are_no_more_than_their_bound_whatever_names_come() {
    let service = Service::start(None, |_| Say::Store).await;
    let folder = tempfile::tempdir().unwrap();
    let config = config_for(&service, folder.path(), |config| {
        config.batch.linger = Duration::from_secs(10);
        config.sentinel.requests_in_flight = 100;
    });
    let ring = Arc::new(Ring::new(64 << 20, 1));
    let mut uploader = Uploader::new(
        &config,
        Arc::clone(&ring),
        Arc::new(Destinations::of(&config)),
        Arc::default(),
        Arc::new(Latency::new().unwrap()),
        1,
    );
    let names_count = crate::limits::BODIES_OPEN_MAX as u64 + 3;
    for n in 0..names_count {
        let mut page = ring.claim().unwrap();
        page.open_for(DestinationId::of(&n.to_string()));
        write(&mut page, Mono(0), n, "");
        ring.hand_over(page, Mono(0));
    }
    let counters = Counters::default();
    let now = crate::clock::Moment::default();
    while uploader.step(now) {
        while uploader.action(now).is_some() {}
    }
    uploader.publish(&counters);
    assert_eq!(counters.value(Counter::RowsTaken), names_count);
    assert_eq!(counters.value(Counter::RowsSealed), 3);
}
