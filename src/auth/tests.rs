//! Tokens from a login endpoint on loopback that counts its requests and plays answers.

use super::*;
use crate::client::Trust;
use crate::config::{self, Application, ClientSecret, EndpointUrl, SecretFrom};
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the login endpoint does with one request.
#[derive(Clone)]
enum Say {
    /// Grants a token that lives for so many seconds.
    Grant(u32),
    Refuse(&'static str),
    Hang,
}

struct Login {
    auth: Arc<Auth>,
    counters: Arc<Counters>,
    requests: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

impl Login {
    /// Plays `answers`, then grants for an hour.
    async fn start(answers: impl IntoIterator<Item = Say>) -> Login {
        let folder = tempfile::tempdir().unwrap();
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, "first\n").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = EndpointUrl(format!("http://{}", listener.local_addr().unwrap()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let mut answers: VecDeque<Say> = answers.into_iter().collect();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let say = answers.pop_front().unwrap_or(Say::Grant(3600));
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    // the secret is the last field
                    while !request.windows(14).any(|bytes| bytes == b"client_secret=") {
                        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                    }
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(String::from_utf8(request).unwrap());
                        seen.len()
                    };
                    let (status, body) = match say {
                        Say::Grant(life) => (
                            200,
                            format!(r#"{{"access_token":"t{number}","expires_in":{life}}}"#),
                        ),
                        Say::Refuse(body) => (401, body.to_owned()),
                        Say::Hang => std::future::pending().await,
                    };
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                });
            }
        });
        let identity = Identity::ClientSecret(ClientSecret {
            application: Application {
                tenant_id: "tenant".into(),
                client_id: "client".into(),
                login: config::Login {
                    authority,
                    scope: "scope".into(),
                },
            },
            secret: SecretFrom::File(secret_file),
        });
        let trust = Trust::with_roots(rustls::RootCertStore::empty()).unwrap();
        let clients = Clients::new(&trust).unwrap();
        Login {
            auth: Arc::new(Auth::new(identity, clients, Clock::start())),
            counters: Arc::default(),
            requests,
            folder,
        }
    }

    async fn permit(&self) -> Result<String, Denied> {
        let permit = self.auth.permit(&self.counters).await?;
        Ok(permit.header.to_str().unwrap().to_owned())
    }

    fn requests_count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

#[tokio::test]
async fn a_token_is_obtained_once_and_kept() {
    let login = Login::start([]).await;
    for _ in 0..3 {
        assert_eq!(login.permit().await.unwrap(), "Bearer t1");
    }
    let request = login.requests.lock().unwrap()[0].clone();
    assert!(
        request.starts_with("POST /tenant/oauth2/v2.0/token HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("application/x-www-form-urlencoded"),
        "{request}"
    );
    let form = "grant_type=client_credentials&client_id=client&scope=scope&client_secret=first";
    assert!(request.ends_with(form), "{request}");
    assert_eq!(login.counters.value(Counter::TokensObtained), 1);
    assert!(matches!(login.auth.standing(), Standing::Valid(_, None)));
}

#[tokio::test]
async fn all_who_need_a_token_wait_for_one_request_also_from_other_threads() {
    let login = Login::start([]).await;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let auth = Arc::clone(&login.auth);
            std::thread::spawn(move || {
                let counters = Arc::default();
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(async { auth.permit(&counters).await.unwrap().header })
            })
        })
        .collect();
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for thread in threads {
        assert_eq!(thread.join().unwrap().as_bytes(), b"Bearer t1");
    }
    assert_eq!(login.requests_count(), 1);
}

#[tokio::test]
async fn an_aging_token_is_used_while_its_successor_is_fetched() {
    // renewed from the half of its life on, and the endpoint hangs
    let login = Login::start([Say::Grant(2), Say::Hang]).await;
    assert_eq!(login.permit().await.unwrap(), "Bearer t1");
    tokio::time::sleep(Duration::from_millis(1050)).await;
    for _ in 0..5 {
        assert_eq!(login.permit().await.unwrap(), "Bearer t1");
        tokio::task::yield_now().await;
    }
    while login.requests_count() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(login.permit().await.unwrap(), "Bearer t1");
    assert_eq!(login.requests_count(), 2, "one renewal at a time");
}

#[tokio::test]
async fn a_renewed_token_replaces_the_old_one() {
    let login = Login::start([Say::Grant(2)]).await;
    assert_eq!(login.permit().await.unwrap(), "Bearer t1");
    std::fs::write(login.folder.path().join("secret"), "second").unwrap();
    tokio::time::sleep(Duration::from_millis(1050)).await;
    while login.permit().await.unwrap() != "Bearer t2" {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let requests = login.requests.lock().unwrap();
    assert!(
        requests[1].ends_with("client_secret=second"),
        "the file is read anew"
    );
}

#[tokio::test]
async fn after_a_failure_nobody_asks_before_the_pause_is_over() {
    let refusal = r#"{"error":"invalid_client","error_codes":[7000222]}"#;
    let login = Login::start([Say::Refuse(refusal)]).await;
    let denied = login.permit().await.unwrap_err();
    assert!(denied.refusal.to_string().contains("has expired"));
    assert!(matches!(login.auth.standing(), Standing::Failing(_)));
    while login.auth.clock.mono() < denied.retry_at {
        if login.permit().await.is_ok() {
            assert!(login.auth.clock.mono() >= denied.retry_at);
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(login.permit().await.unwrap(), "Bearer t2");
    assert_eq!(login.counters.value(Counter::TokensFailed), 1);
    assert!(matches!(login.auth.standing(), Standing::Valid(_, None)));
}

#[tokio::test]
async fn a_refused_token_is_forgotten_once_and_its_successor_is_kept() {
    let login = Login::start([]).await;
    let first = login.auth.permit(&login.counters).await.unwrap();
    assert!(login.auth.refused(&first));
    let second = login.auth.permit(&login.counters).await.unwrap();
    assert_eq!(second.header.as_bytes(), b"Bearer t2");
    assert!(
        login.auth.refused(&first),
        "a late answer to the old token changes nothing"
    );
    assert!(
        !login.auth.refused(&second),
        "a token this new is not the fault"
    );
    assert_eq!(login.permit().await.unwrap(), "Bearer t2");
}

#[tokio::test]
async fn neither_secret_nor_token_is_ever_shown() {
    let login = Login::start([]).await;
    let permit = login.auth.permit(&login.counters).await.unwrap();
    let shown = format!("{:?} {permit:?} {:?}", login.auth, login.auth.standing());
    assert!(!shown.contains("first") && !shown.contains("t1"), "{shown}");
    std::fs::remove_file(login.folder.path().join("secret")).unwrap();
    login.auth.refused(&permit);
    let denied = login.permit().await.unwrap_err();
    assert!(
        denied
            .refusal
            .to_string()
            .contains("secret: there is no such file"),
        "{}",
        denied.refusal
    );
}

#[test]
fn a_token_is_renewed_at_half_of_its_life_or_earlier_and_not_by_all_at_once() {
    let seconds = Duration::from_secs;
    for (life, latest, earliest) in [(3600, 1800, 1620), (86_400, 43_200, 38_880)] {
        assert_eq!(age_max(seconds(life), 0.0), seconds(latest));
        assert_eq!(age_max(seconds(life), 1.0), seconds(earliest));
    }
}

#[test]
fn auto_takes_the_first_identity_that_is_there_and_says_why_not_those_before() {
    use crate::config::{Identity, Machine, parse};
    let read = |keys: &str| {
        let text = format!(
            "[listen]\ntcp = [\"0.0.0.0:514\"]\n[sentinel]\n\
             endpoint = \"https://a.ingest.monitor.azure.com\"\n\
             rules = [\"dcr-0123456789abcdef0123456789abcdef\"]\n\
             [sentinel.identity]\nkind = \"auto\"\n{keys}"
        );
        let machine = Machine {
            cores: vec![0],
            cores_quota: None,
            host_name: "collector".into(),
        };
        match parse(&text, &machine).unwrap().sentinel.identity {
            Identity::Auto(auto) => auto,
            _ => panic!("not auto"),
        }
    };
    let ids = "tenant_id = \"example.com\"\nclient_id = \"01234567-89ab-cdef-0123-456789abcdef\"\n";
    let secret = format!("{ids}secret_env = \"X\"\n");
    let both = format!("{secret}certificate_file = \"/c\"\n");
    let federated: &[&str] = &[
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
    ];
    let arc: &[&str] = &["IDENTITY_ENDPOINT", "IMDS_ENDPOINT"];
    for (keys, names, has_agent, kind, passed_count) in [
        ("", federated, true, "workload", 0),
        (both.as_str(), &federated[2..], true, "workload", 0),
        (both.as_str(), &[], true, "client_certificate", 1),
        (secret.as_str(), &[], true, "client_secret", 2),
        ("", &[], true, "azure_arc", 3),
        ("", arc, false, "azure_arc", 3),
        ("", &arc[1..], false, "managed_identity", 4),
        ("", &federated[1..], false, "managed_identity", 4),
    ] {
        let environment = |name: &str| names.contains(&name).then(|| "x".to_owned());
        let (chosen, passed) = choose::choose(&read(keys), &environment, has_agent);
        assert_eq!(
            (chosen.kind(), passed.len()),
            (kind, passed_count),
            "{passed:?}"
        );
    }
}

#[test]
fn the_metadata_service_is_given_its_time() {
    let refused = |status| Refusal::Refused {
        from: Party::Metadata,
        status,
        error: None,
        number: None,
        retry_after: None,
        skew: None,
    };
    let pauses = |status, count| -> Vec<u64> {
        let pause = |failures| refused(status).pause(failures, 0.0).as_secs();
        (1..=count).map(pause).collect()
    };
    let gone = pauses(410, 6);
    assert_eq!(gone, [5, 10, 20, 40, 60, 60]);
    assert!(gone[..4].iter().sum::<u64>() >= 70);
    for status in [404, 429, 500, 503] {
        assert_eq!(pauses(status, 7), [2, 4, 8, 16, 30, 60, 60]);
    }
    assert_eq!(pauses(400, 2), [300, 300], "somebody must act first");
}
