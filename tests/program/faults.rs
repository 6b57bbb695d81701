//! Each thing that can go wrong at the service, and that every row is accounted for and there.

use crate::beside_others;
use crate::process::{Keys, SOON, until};
use crate::rig::Rig;
use crate::table::Table;
use cefline::emulator::faults::{Oversize, RetryAfter};
use cefline::emulator::{Faults, Options, SizeReading};
use cefline::generate::append_id;
use cefline::metrics::Counter;

/// Messages of a run: some 90 small bodies.
const COUNT: u64 = 12_000;

/// Small bodies, so that a share of the calls is many calls.
const SMALL_BODIES: Keys = Keys {
    listen: "",
    sentinel: "",
    more: "[batch]\nraw_bytes_max = \"128 KiB\"\nlinger = \"100 ms\"",
};

fn rig(faults: Faults) -> Rig {
    let options = Options {
        faults,
        ..Options::default()
    };
    Rig::with(options, SMALL_BODIES)
}

#[test]
fn throttling_with_retry_after_delays_and_loses_nothing() {
    let _machine = beside_others();
    for retry_after in [RetryAfter::Seconds, RetryAfter::Date] {
        let mut rig = rig(Faults {
            throttle_rate: 0.05,
            retry_after,
            ..Faults::default()
        });
        let report = rig.deliver(1, COUNT);
        assert!(
            report.snapshot.value(Counter::AnswersThrottled) > 0,
            "{report}"
        );
        assert_eq!(
            report.snapshot.value(Counter::RowsMaybeTwice),
            0,
            "{report}"
        );
    }
}

#[test]
fn a_rule_throttled_without_retry_after_leaves_the_work_to_the_other() {
    let _machine = beside_others();
    let rules = [
        "dcr-0123456789abcdef0123456789abcdef",
        "dcr-fedcba9876543210fedcba9876543210",
    ]
    .map(str::to_owned)
    .to_vec();
    let faults = Faults {
        throttle_rate: 1.0,
        retry_after: RetryAfter::None,
        rules: rules[..1].to_vec(),
        ..Faults::default()
    };
    let options = Options {
        rules,
        faults,
        ..Options::default()
    };
    let mut rig = Rig::with(options, SMALL_BODIES);
    let report = rig.deliver(2, COUNT);
    let throttled = report.snapshot.value(Counter::AnswersThrottled);
    // those under way when the first answer came, and no more
    assert!(
        (1..=16).contains(&throttled),
        "{report}, {throttled} throttled"
    );
}

#[test]
fn errors_in_a_fifth_of_the_calls_delay_and_lose_nothing() {
    let _machine = beside_others();
    let mut rig = rig(Faults {
        error_rate: 0.2,
        error_status: vec![500, 503],
        ..Faults::default()
    });
    let report = rig.deliver(3, COUNT);
    let unavailable = report.snapshot.value(Counter::AnswersUnavailable);
    let requests = report.snapshot.value(Counter::Requests);
    assert_eq!(
        requests,
        report.snapshot.value(Counter::BodiesUploaded) + unavailable
    );
    assert!(unavailable * 10 > requests, "{unavailable} of {requests}");
    // these say that nothing was stored
    assert_eq!(
        report.snapshot.value(Counter::RowsMaybeTwice),
        0,
        "{report}"
    );
}

#[test]
fn gateway_errors_and_resets_delay_and_lose_nothing() {
    let _machine = beside_others();
    let mut rig = rig(Faults {
        error_rate: 0.1,
        error_status: vec![502, 504],
        reset_rate: 0.1,
        ..Faults::default()
    });
    let report = rig.deliver(4, COUNT);
    assert!(
        report.snapshot.value(Counter::RequestsFailedReset) > 0,
        "{report}"
    );
    assert_eq!(rig.emulator.count(""), COUNT, "nothing was stored twice");
}

#[test]
fn rows_whose_answer_was_lost_are_sent_again_and_counted_as_perhaps_twice() {
    let _machine = beside_others();
    let mut rig = rig(Faults {
        lost_answer_rate: 0.1,
        ..Faults::default()
    });
    let report = rig.deliver(5, COUNT);
    let surplus = rig.emulator.count("") - COUNT;
    assert!(surplus > 0);
    // every one of these was stored before its answer was lost
    assert_eq!(
        report.snapshot.value(Counter::RowsMaybeTwice),
        surplus,
        "{report}"
    );
    assert_eq!(report.snapshot.value(Counter::RowsUploaded), COUNT);
}

#[test]
fn tokens_that_end_soon_or_are_refused_are_replaced() {
    let _machine = beside_others();
    let mut rig = rig(Faults {
        // the endpoint announces one second less
        token_life_seconds: Some(2),
        unauthorized_rate: 0.05,
        ..Faults::default()
    });
    let options = cefline::send::SendOptions {
        rate: cefline::send::Rate::per_second(COUNT as f64 / 3.0),
        ..rig.options(6, COUNT)
    };
    let sent = rig.send(&options);
    rig.settled(COUNT);
    rig.emulator.ids(6).assert_are(sent.ids());
    let report = rig.stop();
    assert!(
        report.snapshot.value(Counter::TokensObtained) >= 3,
        "{report}"
    );
    assert!(
        report.snapshot.value(Counter::AnswersUnauthorized) > 0,
        "{report}"
    );
    assert_eq!(rig.emulator.count(""), COUNT);
}

#[test]
fn rows_wait_until_the_role_is_granted() {
    let _machine = beside_others();
    let mut rig = rig(Faults {
        granted_after_seconds: 2.5,
        ..Faults::default()
    });
    let report = rig.deliver(7, COUNT);
    let forbidden = report.snapshot.value(Counter::AnswersForbidden);
    // those under way at first, then one probe at a time
    assert!(
        (1..=20).contains(&forbidden),
        "{report}, {forbidden} forbidden"
    );
    assert_eq!(rig.emulator.count(""), COUNT);
}

/// Bodies of 4 MB: one megabyte of them on the wire is far off.
const LARGE_BODIES: Keys = Keys {
    listen: "",
    sentinel: "",
    more: "[batch]\nraw_bytes_max = \"4 MB\"\nlinger = \"2 s\"",
};

#[test]
fn bodies_past_a_limit_on_wire_bytes_only_are_taken_whole() {
    let _machine = beside_others();
    let options = Options {
        size_reading: SizeReading::Wire,
        ..Options::default()
    };
    let mut rig = Rig::with(options, LARGE_BODIES);
    let report = rig.deliver(8, COUNT);
    assert_eq!(
        report.snapshot.value(Counter::AnswersTooLarge),
        0,
        "{report}"
    );
    let mean =
        report.snapshot.value(Counter::BodyRawBytes) / report.snapshot.value(Counter::BodiesSealed);
    // what a strict reading would have refused
    assert!(mean > 1_048_576, "{mean} bytes a body");
}

#[test]
fn bodies_past_a_limit_on_raw_bytes_are_halved_until_they_fit() {
    let _machine = beside_others();
    let mut rig = Rig::with(Options::default(), LARGE_BODIES);
    let report = rig.deliver(9, COUNT);
    assert!(report.snapshot.value(Counter::BodiesHalved) > 0, "{report}");
    assert_eq!(
        report.snapshot.value(Counter::RowsLostTooLarge),
        0,
        "{report}"
    );
    assert_eq!(rig.emulator.count(""), COUNT, "nothing was stored twice");
}

#[test]
fn bodies_past_a_limit_are_halved_in_whatever_way_they_are_refused() {
    let _machine = beside_others();
    // bodies of nearly a megabyte on the wire, and a service that takes a little less
    let keys = Keys {
        more: "[batch]\nraw_bytes_max = \"20 MB\"\nlinger = \"2 s\"",
        ..LARGE_BODIES
    };
    for (seed, oversize) in (20..).zip([Oversize::Answer, Oversize::Close, Oversize::Reset]) {
        let options = Options {
            size_reading: SizeReading::Wire,
            faults: Faults {
                body_bytes_max: Some(950_000),
                oversize,
                ..Faults::default()
            },
            ..Options::default()
        };
        let mut rig = Rig::with(options, keys);
        let count = 3 * COUNT;
        let report = rig.deliver(seed, count);
        assert!(
            report.snapshot.value(Counter::BodiesHalved) > 0,
            "{oversize:?}: {report}"
        );
        assert_eq!(
            rig.emulator.count(""),
            count,
            "{oversize:?}: nothing was stored twice"
        );
    }
}

#[test]
fn bodies_that_are_not_compressed_are_delivered_and_halved_like_others() {
    let _machine = beside_others();
    let keys = Keys {
        more: "[batch]\ngzip_level = 0\nlinger = \"2 s\"",
        ..LARGE_BODIES
    };
    let options = Options {
        faults: Faults {
            body_bytes_max: Some(950_000),
            ..Faults::default()
        },
        ..Options::default()
    };
    let mut rig = Rig::with(options, keys);
    let report = rig.deliver(25, COUNT);
    let of = |counter| report.snapshot.value(counter);
    assert!(of(Counter::BodiesHalved) > 0, "{report}");
    assert_eq!(rig.emulator.count(""), COUNT, "nothing was stored twice");
    // the frame of gzip, and a head for each stored block
    let (raw, wire) = (of(Counter::BodyRawBytes), of(Counter::BodyWireBytes));
    assert!((raw..raw + raw / 500).contains(&wire), "{raw} {wire}");
}

#[test]
fn answers_that_come_too_late_are_not_waited_for() {
    let _machine = beside_others();
    let options = Options {
        faults: Faults {
            slow_rate: 0.05,
            slow_ms: 2_500,
            ..Faults::default()
        },
        ..Options::default()
    };
    let keys = Keys {
        sentinel: "request_time_max = \"1 s\"",
        ..SMALL_BODIES
    };
    let mut rig = Rig::with(options, keys);
    let report = rig.deliver(11, COUNT);
    let late = report.snapshot.value(Counter::RequestsFailedTimeout);
    assert!(late > 0, "{report}");
    assert!(
        report.snapshot.value(Counter::RowsMaybeTwice) > 0,
        "{report}"
    );
}

#[test]
fn rows_wait_for_a_login_endpoint_that_fails_or_refuses_the_secret() {
    let _machine = beside_others();
    let mut rig = rig(Faults {
        token_refused: true,
        ..Faults::default()
    });
    let options = rig.options(12, COUNT);
    let sent = rig.send(&options);
    until("the secret is refused", SOON, || {
        (rig.count(Counter::TokensFailed) > 1).then_some(())
    });
    assert_eq!(rig.view.snapshot().held(), COUNT);
    let failing = Faults {
        token_error_rate: 0.5,
        ..Faults::default()
    };
    rig.emulator.set_faults(failing).unwrap();
    rig.settled(COUNT);
    rig.emulator.ids(12).assert_are(sent.ids());
    let report = rig.stop();
    assert_eq!(report.unsent(), 0, "{report}");
    assert_eq!(rig.emulator.count(""), COUNT);
}

#[test]
fn a_row_that_the_service_refuses_is_kept_alone_and_named() {
    refused_row(
        SMALL_BODIES,
        Counter::RowsQuarantinedRejected,
        "quarantined, rejected_by_service: 1\n",
    );
}

#[test]
fn a_row_that_the_service_refuses_is_lost_alone_and_named_without_a_spool() {
    let keys = Keys {
        more: "[spool]\ndurability = \"memory\"\n[batch]\nraw_bytes_max = \"128 KiB\"\nlinger = \"50 ms\"",
        ..SMALL_BODIES
    };
    refused_row(
        keys,
        Counter::RowsLostRejected,
        "lost, rejected_by_service: 1\n",
    );
}

fn refused_row(keys: Keys, counter: Counter, line: &str) {
    let _machine = beside_others();
    let (seed, refused) = (10, COUNT / 3);
    let mut id = Vec::new();
    append_id(&mut id, seed, refused);
    let options = Options {
        faults: Faults {
            refuse_text: Some(format!("{}\"", String::from_utf8(id).unwrap())),
            ..Faults::default()
        },
        ..Options::default()
    };
    let mut rig = Rig::with(options, keys);
    let sent = rig.send(&rig.options(seed, COUNT));
    rig.settled(COUNT);
    let report = rig.stop();
    rig.emulator
        .ids(seed)
        .assert_are(sent.ids().filter(|id| *id != refused));
    assert_eq!(report.snapshot.value(counter), 1, "{report}");
    assert_eq!(report.snapshot.value(Counter::RowsUploaded), COUNT - 1);
    let text = report.to_string();
    assert!(text.contains(line), "{text}");
}
