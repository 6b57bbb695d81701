//! Every status that the service, or something on the way to it, may answer: no row is lost by any.

use crate::beside_others;
use crate::process::{Keys, SOON, until};
use crate::rig::Rig;
use crate::table::Table;
use cefline::emulator::faults::ErrorBody;
use cefline::emulator::{Faults, Options};
use cefline::metrics::Counter;

/// Messages of a run: some 20 small bodies.
const COUNT: u64 = 1_500;
const KEYS: Keys = Keys {
    listen: "",
    sentinel: "",
    more: "[batch]\nraw_bytes_max = \"128 KiB\"\nlinger = \"50 ms\"",
};

/// Statuses by what follows from them; see `upload::verdict`.
const STATUSES: [(&[u16], Counter); 8] = [
    (&[401], Counter::AnswersUnauthorized),
    (&[403], Counter::AnswersForbidden),
    (&[404], Counter::AnswersNotFound),
    (&[413], Counter::AnswersTooLarge),
    (&[429], Counter::AnswersThrottled),
    (
        &[408, 500, 501, 502, 503, 504, 505, 507, 511, 599],
        Counter::AnswersUnavailable,
    ),
    (
        &[300, 301, 302, 303, 307, 308, 405, 407, 415, 421, 426],
        Counter::AnswersRefused,
    ),
    (
        &[400, 402, 406, 409, 410, 411, 412, 418, 422, 451, 499],
        Counter::AnswersRefused,
    ),
];

/// Calls are answered so, with each kind of body in turn, until some were; and then well.
fn deliver(index: usize, status: u16, counter: Counter) {
    let bodies = [
        ErrorBody::Html,
        ErrorBody::Empty,
        ErrorBody::Json,
        ErrorBody::Huge,
    ];
    let body = bodies[index % bodies.len()];
    let options = Options {
        faults: Faults {
            seed: u64::from(status),
            error_rate: 1.0,
            error_status: vec![status],
            error_body: body,
            ..Faults::default()
        },
        ..Options::default()
    };
    let mut rig = Rig::with(options, KEYS);
    let sending = rig.options(u64::from(status), COUNT);
    let sent = rig.send(&sending);
    until(&format!("a call is answered {status}"), SOON, || {
        (rig.count(counter) > 0).then_some(())
    });
    // a pause that grows to a minute is another test's matter
    rig.emulator.set_faults(Faults::default()).unwrap();
    rig.settled(COUNT);
    let report = rig.stop();
    let what = format!("{status} {body:?}: {report}");
    assert_eq!(report.snapshot.rows_lost(), 0, "{what}");
    let kept = report.snapshot.rows_quarantined();
    // a row that is refused alone while others pass is taken for a bad one, and kept
    assert!(
        kept == 0 || counter == Counter::AnswersRefused || status == 413,
        "{what}"
    );
    assert_eq!(
        report.snapshot.value(Counter::RowsUploaded),
        COUNT - kept,
        "{what}"
    );
    if kept == 0 {
        rig.emulator.ids(u64::from(status)).assert_are(sent.ids());
    }
    let twice = report.snapshot.value(Counter::RowsMaybeTwice);
    assert!(rig.emulator.count("") <= COUNT - kept + twice, "{what}");
}

#[test]
fn no_status_costs_a_row() {
    let _machine = beside_others();
    let all: Vec<(u16, Counter)> = STATUSES
        .iter()
        .flat_map(|(statuses, counter)| statuses.iter().map(|status| (*status, *counter)))
        .collect();
    // nearly all of the time they wait
    for (chunk_index, chunk) in all.chunks(10).enumerate() {
        std::thread::scope(|scope| {
            for (index, (status, counter)) in chunk.iter().enumerate() {
                scope.spawn(move || deliver(chunk_index + index, *status, *counter));
            }
        });
    }
}
