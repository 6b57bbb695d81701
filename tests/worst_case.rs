//! No input is much dearer by the byte than an ordinary message: not many of one character, not
//! thousands of keys, not the same in pieces. What is quadratic in disguise is a thousand times
//! dearer at these lengths and cannot hide behind a generous bound.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/forward.rs"]
#[expect(dead_code, reason = "rows are not looked at here")]
mod forward;

use cefline::clock::Clock;
use cefline::config::FramingChoice;
use cefline::frame::{Cut, End, Frame, Framer};
use cefline::generate::{Generator, GeneratorOptions};
use cefline::limits::{BODY_BYTES_LEAST, FRAME_BYTES_MOST};
use cefline::map::columns::KEYS;
use cefline::map::{Mapper, Outcome};
use cefline::metrics::{Counter, Tally};
use cefline::page::RowPage;
use forward::{ROW_BYTES_MAX, settings, source};

/// How many times the ordinary message's time by the byte any input may take.
const TIMES_MAX: f64 = 30.0;
/// Length of the inputs: far past any real message, a quarter of what may be configured.
const INPUT_BYTES: usize = FRAME_BYTES_MOST / 4;
/// Of so many runs the fastest counts: others share the machine.
const RUNS: usize = 5;

/// The fastest of a few runs, in nanoseconds by the byte.
fn time_per_byte(bytes: usize, mut run: impl FnMut()) -> f64 {
    let clock = Clock::start();
    let fastest = (0..RUNS)
        .map(|_| {
            let start = clock.mono();
            run();
            clock.mono().since(start)
        })
        .min()
        .unwrap_or_default();
    fastest.as_secs_f64() * 1e9 / bytes as f64
}

/// From frames to rows.
fn time_to_map(frames: &[Vec<u8>]) -> f64 {
    let mut mapper = Mapper::new(&settings(), ROW_BYTES_MAX);
    let (mut page, mut tally) = (RowPage::new(), Tally::default());
    let bytes = frames.iter().map(Vec::len).sum();
    time_per_byte(bytes, || {
        for frame in frames {
            let frame = Frame {
                bytes: frame,
                end: End::Whole,
            };
            mapper.map(frame, source(), &mut page, &mut tally);
            if page.is_full() {
                page.reset();
            }
        }
    })
}

fn ordinary_messages() -> Vec<Vec<u8>> {
    let mut generator = Generator::new(1, &GeneratorOptions::default());
    (0..500)
        .map(|_| {
            let mut message = Vec::new();
            generator.append(forward::NOW, &mut message);
            message
        })
        .collect()
}

/// `piece` again and again, up to the length of the inputs.
fn filled(start: &str, piece: &str, end: &str) -> Vec<u8> {
    let count = (INPUT_BYTES - start.len() - end.len()) / piece.len();
    [start, &piece.repeat(count), end].concat().into_bytes()
}

/// Inputs that a reader of CEF may be slow on, each with its name.
fn hostile_frames() -> Vec<(String, Vec<u8>)> {
    let mut inputs = Vec::new();
    let places = [
        ("", "in front", ""),
        (
            "<134>Nov 25 01:59:07 ",
            "in the syslog header",
            " CEF:0|V|P|1|c|n|5|src=::1",
        ),
        ("CEF:0|", "in the header", "|P|1|c|n|5|src=::1"),
        ("CEF:0|V|P|1|c|n|", "as severity", ""),
        ("CEF:0|V|P|1|c|n|5|", "before the first key", " src=::1"),
        ("CEF:0|V|P|1|c|n|5|msg=", "in a value", " src=::1"),
        (
            "CEF:0|V|P|1|c|n|5|other=",
            "in a value without a column",
            "",
        ),
        ("CEF:0|V|P|1|c|n|5|start=", "in a time", " end=1"),
    ];
    let pieces = [
        "=",
        "==a",
        "a=",
        " =",
        "\\",
        "\\\\\\",
        "|",
        "\\|",
        " ",
        "\t",
        " \t",
        "\"",
        ";",
        "a",
        "1",
        "a b ",
        "a1-[],.",
        "<",
        "<1",
        "<13>Nov 25 01:59:07 ",
        "CEF:",
        "CEF:0",
        "CEF:0 ",
        "CEF:0|",
        "1|",
        "0|CEF:",
        "a=b ",
        "a= ",
        "src=::1 ",
        "dvc=1 ",
        "cn1=x ",
        "start=Nov 25 01:59:07 ",
        "é",
        "東",
        "\u{1}",
        "x\"",
        "-",
        ":",
        "1:",
        "00:00:00 ",
        "00:00:00/",
        "Nov ",
        "1 ",
        "\\n",
        "\u{7f}",
        "/",
    ];
    for (start, place, end) in places {
        for piece in pieces {
            inputs.push((format!("{piece:?} {place}"), filled(start, piece, end)));
        }
        let name = format!("no UTF-8 {place}");
        let middle = [0xff].repeat(INPUT_BYTES);
        inputs.push((name, [start.as_bytes(), &middle, end.as_bytes()].concat()));
        let name = format!("bytes that begin characters {place}");
        let middle = b"\xe2\x82".repeat(INPUT_BYTES / 2);
        inputs.push((name, [start.as_bytes(), &middle, end.as_bytes()].concat()));
    }
    let keys: String = (0..20_000).map(|index| format!("key{index}=v ")).collect();
    inputs.push((
        "20,000 keys".into(),
        filled("CEF:0|V|P|1|c|n|5|", &keys, ""),
    ));
    // keys that share place, length and ends with ones that have a column
    let keys: String = (0..10_000)
        .map(|index| format!("deviceCu{index:05}umber1Label=v destinat{index:05}dAddress=v "))
        .collect();
    inputs.push((
        "keys made to collide".into(),
        filled("CEF:0|V|P|1|c|n|5|", &keys, ""),
    ));
    inputs
}

#[test]
fn no_frame_takes_much_more_time_by_the_byte_than_an_ordinary_one() {
    let ordinary = time_to_map(&ordinary_messages());
    println!("ordinary: {ordinary:.2} ns a byte");
    let mut times: Vec<(f64, String)> = Vec::new();
    for (name, input) in hostile_frames() {
        let time = time_to_map(std::slice::from_ref(&input)) / ordinary;
        times.push((time, name));
    }
    times.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (time, name) in times.iter().take(12) {
        println!("{time:.2} times as long: {name}");
    }
    for (time, name) in times {
        assert!(time < TIMES_MAX, "{time:.1} times as long: {name}");
    }
}

/// From octets to frames, shown in pieces of `piece_bytes`, as reads bring them.
fn time_to_frame(stream: &[u8], piece_bytes: usize, frame_bytes_max: usize) -> f64 {
    let mut held = Vec::with_capacity(stream.len());
    time_per_byte(stream.len(), || {
        let mut framer = Framer::new(FramingChoice::Auto, frame_bytes_max);
        held.clear();
        let mut from = 0;
        for piece in stream.chunks(piece_bytes) {
            held.extend_from_slice(piece);
            loop {
                from += match framer.cut(&held[from..]) {
                    Cut::Frame { used, .. } | Cut::Blank { used } | Cut::Skip { used } => used,
                    Cut::More => break,
                    Cut::Broken => return,
                };
            }
        }
    })
}

#[test]
fn no_stream_takes_much_more_time_by_the_byte_than_an_ordinary_one() {
    let ordinary = time_to_map(&ordinary_messages());
    let text = |piece: &str| piece.repeat(INPUT_BYTES / piece.len()).into_bytes();
    let streams = [
        ("one long line", text("a")),
        (
            "one long counted frame",
            [b"1000000 <1>", text("a").as_slice()].concat(),
        ),
        ("line ends", text("\n")),
        ("NULs", text("\0")),
        ("CR alone", text("\r")),
        ("lines of one octet", text("a\n")),
        ("lines of two NULs and an octet", text("a\0\0")),
        ("empty counted frames", text("0 ")),
        (
            "counted frames of one octet",
            [b"1 <", text("1 a").as_slice()].concat(),
        ),
        ("digits", text("1")),
        ("CR and an octet", text("\ra")),
    ];
    for (name, stream) in streams {
        for piece_bytes in [4, 100, 65_536] {
            let time = time_to_frame(&stream, piece_bytes, FRAME_BYTES_MOST) / ordinary;
            println!("{time:.2} times as long: {name} in pieces of {piece_bytes}");
            assert!(
                time < TIMES_MAX,
                "{time:.1} times as long: {name} in pieces of {piece_bytes}"
            );
        }
    }
}

/// The sum behind a shortened row holds: every column filled with what JSON makes most of, in the
/// smallest body that may be configured.
#[test]
fn the_longest_row_fits_the_smallest_body() {
    let row_bytes_max = BODY_BYTES_LEAST - 2;
    for value in [
        "\u{1}",
        "-1.7976931348623157e308",
        "-9223372036854775808",
        "東",
        "\\\\",
        "1795571947482123",
    ] {
        let field = "\u{1}".repeat(1000);
        let header = format!("{field}|").repeat(6);
        let pairs: String = KEYS
            .iter()
            .map(|key| {
                let is_number = value.starts_with(['-', '1']);
                let value = if is_number {
                    value.into()
                } else {
                    value.repeat(1000)
                };
                format!(
                    "{}={value} other{}={} ",
                    key.key,
                    key.key,
                    "\u{1}".repeat(1000)
                )
            })
            .collect();
        let frame = format!(
            "<1>Nov 25 01:59:07 {} CEF:0|{header}{pairs}",
            "h".repeat(255)
        );
        let mut mapper = Mapper::new(&settings(), row_bytes_max);
        let (mut page, mut tally) = (RowPage::new(), Tally::default());
        let frame = Frame {
            bytes: frame.as_bytes(),
            end: End::Truncated,
        };
        let outcome = mapper.map(frame, source(), &mut page, &mut tally);
        assert_eq!((outcome, page.rows_count()), (Outcome::Written, 1));
        assert_eq!(tally.value(Counter::RowsShortened), 1);
        assert!(page.bytes_len() <= row_bytes_max, "{}", page.bytes_len());
        forward::rows(&page);
    }
}
