//! Faults of identity, rules, table and service.

use crate::world::{World, free_port};

#[test]
fn all_is_well_when_nothing_is_planted_and_the_row_lands() {
    let world = World::new().asking("20");
    let outcome = world.check();
    assert_eq!(outcome.code, 0);
    for name in cefline::check::live::NAMES {
        assert!(!outcome.named(name).is_empty(), "{name} was not looked at");
    }
    for name in [
        "configuration",
        "kernel",
        "locked_memory",
        "io_uring",
        "port",
        "dns",
        "tcp",
        "tls",
        "clock_skew",
        "token",
        "claims",
        "probe",
        "landing",
    ] {
        assert_eq!(outcome.verdict_of(name), "ok", "{outcome:#?}");
    }
    let rows = world
        .emulator
        .query("CommonSecurityLog | where DeviceVendor == \"cefline\" and DeviceProduct == \"check\" | count")
        .unwrap();
    assert_eq!(rows.cell(0, 0).as_i64(), Some(1));
    assert_eq!(
        world.emulator.stats().notes.keys_dropped,
        0,
        "a key is no column"
    );
}

#[test]
fn a_secret_that_is_wrong_or_expired_is_told_apart() {
    World::new()
        .keys(|keys| keys.secret = "not~the~secret".into())
        .check()
        .names(
            "token",
            "failed",
            "AADSTS7000215",
            "the secret's value, not its id",
        )
        .skips(&["claims", "probe"]);
    World::faulty(|faults| faults.secret_expired = true)
        .check()
        .names("token", "failed", "AADSTS7000222", "make a new secret")
        .skips(&["claims", "probe"]);
}

#[test]
fn a_tenant_or_an_application_that_is_unknown_is_named() {
    World::new()
        .keys(|keys| keys.tenant = "44444444-4444-4444-4444-444444444444".into())
        .check()
        .names(
            "token",
            "failed",
            "AADSTS90002",
            "sentinel.identity.tenant_id",
        )
        .skips(&["claims", "probe"]);
    World::new()
        .keys(|keys| keys.client = "44444444-4444-4444-4444-444444444444".into())
        .check()
        .names("token", "failed", "AADSTS700016", "Application (client) ID")
        .skips(&["claims", "probe"]);
}

#[test]
fn a_scope_of_another_cloud_or_of_none_is_named() {
    World::new()
        .keys(|keys| keys.identity_more = "scope = \"https://monitor.azure.us/.default\"".into())
        .check()
        .names(
            "claims",
            "failed",
            "for https://monitor.azure.us, but this endpoint wants one for https://monitor.azure.com",
            "\"https://monitor.azure.com/.default\"",
        )
        .skips(&["probe"]);
    World::new()
        .keys(|keys| keys.identity_more = "scope = \"https://monitor.example/.default\"".into())
        .check()
        .names(
            "token",
            "failed",
            "AADSTS70011",
            "remove sentinel.identity.scope",
        )
        .skips(&["claims", "probe"]);
}

#[test]
fn a_login_host_in_trouble_is_not_called_a_wrong_secret() {
    for (status, what, remedy) in [
        (503, "in trouble", "status.azure.com"),
        (429, "too many requests", "wait some minutes"),
    ] {
        World::faulty(|faults| {
            faults.token_error_rate = 1.0;
            faults.token_error_status = status;
        })
        .check()
        .names("token", "failed", what, remedy)
        .skips(&["claims", "probe"]);
    }
}

#[test]
fn what_a_rule_says_to_the_probe_is_named_with_its_remedy() {
    World::new()
        .keys(|keys| keys.rules = vec!["dcr-11111111111111111111111111111111".into()])
        .check()
        .names(
            "probe",
            "failed",
            "knows no such rule (answer 404",
            "immutableId",
        );
    World::faulty(|faults| faults.granted_after_seconds = 3600.0)
        .check()
        .names(
            "probe",
            "failed",
            "may not write to the rule (answer 403",
            "30 minutes",
        );
    World::new()
        .keys(|keys| keys.stream = "Custom-Other".into())
        .check()
        .names(
            "probe",
            "failed",
            "declares no stream Custom-Other",
            "streamDeclarations",
        );
    World::faulty(|faults| faults.body_bytes_max = Some(10))
        .check()
        .names(
            "probe",
            "failed",
            "called too long (answer 413",
            "limit on request bodies",
        );
    World::faulty(|faults| {
        faults.throttle_rate = 1.0;
        faults.retry_after_seconds = 7;
    })
    .check()
    .names(
        "probe",
        "warning",
        "pause of 7 s (answer 429",
        "make further rules",
    );
    World::faulty(|faults| {
        faults.error_rate = 1.0;
        faults.error_status = vec![503];
    })
    .check()
    .names(
        "probe",
        "failed",
        "in trouble (answer 503",
        "status.azure.com",
    );
    World::faulty(|faults| faults.refuse_text = Some("cefline".into()))
        .check()
        .names(
            "probe",
            "failed",
            "refuses a plain row (answer 400",
            "transformKql \"source\"",
        );
    World::faulty(|faults| faults.unauthorized_rate = 1.0)
        .check()
        .names(
            "probe",
            "failed",
            "token is not accepted (answer 401",
            "of one cloud",
        );
}

#[test]
fn calls_that_are_cut_are_the_networks_and_no_time_is_compared() {
    World::faulty(|faults| faults.reset_rate = 1.0)
        .check()
        .names("probe", "failed", "no answer", "calls with a body");
}

#[test]
fn one_rule_of_several_is_named_and_the_others_take_their_row() {
    let rules = ["a", "b", "c"].map(|digit| format!("dcr-{}", digit.repeat(32)));
    let listed = rules.to_vec();
    let bad = rules[1].clone();
    let world = World::with(move |options| {
        options.rules = listed;
        options.faults.rules = vec![bad];
        options.faults.granted_after_seconds = 3600.0;
    })
    .asking("20");
    let outcome = world.check();
    outcome.names(
        "probe",
        "failed",
        "may not write",
        "Monitoring Metrics Publisher",
    );
    let verdicts = |name| -> Vec<(&str, &str)> {
        outcome
            .named(name)
            .iter()
            .map(|check| {
                (
                    check["about"].as_str().unwrap(),
                    check["verdict"].as_str().unwrap(),
                )
            })
            .collect()
    };
    let expected = |middle| vec![(&*rules[0], "ok"), (&*rules[1], middle), (&*rules[2], "ok")];
    assert_eq!(verdicts("probe"), expected("failed"));
    assert_eq!(verdicts("landing"), expected("skipped"));
}

#[test]
fn rows_that_come_late_are_waited_for() {
    let world = World::faulty(|faults| faults.rows_late_seconds = 1.5).asking("30");
    let outcome = world.check();
    outcome.is_well();
    assert_eq!(outcome.verdict_of("landing"), "ok");
    assert!(world.emulator.stats().queries > 1);
}

#[test]
fn rows_that_never_show_are_named_when_the_wait_is_over() {
    World::faulty(|faults| faults.lost_rows_rate = 1.0)
        .asking("1")
        .check()
        .names(
            "landing",
            "failed",
            "was accepted, and is not in CommonSecurityLog",
            "DCRLogErrors",
        );
    World::faulty(|faults| faults.rows_late_seconds = 600.0)
        .asking("1")
        .check()
        .names("landing", "failed", "after 1 s", "a longer --wait tells");
}

#[test]
fn a_workspace_that_may_not_be_read_or_reached_is_named_without_waiting() {
    World::faulty(|faults| faults.query_forbidden = true)
        .asking("600")
        .check()
        .names(
            "landing",
            "failed",
            "may not read workspace",
            "Log Analytics Reader",
        );
    let url = format!("https://{}", free_port());
    World::new()
        .arguments(&[
            "--workspace",
            crate::world::WORKSPACE,
            "--query-url",
            &url,
            "--wait",
            "1",
        ])
        .check()
        .names(
            "landing",
            "failed",
            "query API cannot be reached",
            "port 443",
        );
}
