//! Streams made of frames that are known, in every way in which senders part them: the framer must
//! give those frames back, however the stream is cut.

use crate::{from_environment, generate};
use cefline::config::FramingChoice;
use cefline::frame::{Cut, End, Framer};
use fastrand::Rng;

const FRAME_BYTES_MAX: usize = 2048;

/// How a sender ends its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Lf,
    CrLf,
    Nul,
    LfNul,
    Counted,
    CountedLf,
}

const WAYS: [Way; 6] = [
    Way::Lf,
    Way::CrLf,
    Way::Nul,
    Way::LfNul,
    Way::Counted,
    Way::CountedLf,
];

/// A frame that this way can carry as it is.
fn frame(random: &mut Rng, way: Way, is_first: bool) -> Vec<u8> {
    let mut frame = generate::frame(random);
    if random.usize(..20) == 0 {
        frame = frame.repeat(1 + 5000 / (frame.len() + 1));
    }
    match way {
        Way::Lf | Way::CrLf => frame.retain(|byte| *byte != b'\n'),
        Way::Nul | Way::LfNul => frame.retain(|byte| !b"\n\0".contains(byte)),
        Way::Counted | Way::CountedLf => {}
    }
    // which kind a connection is of shows in its first frame
    if is_first && matches!(way, Way::Lf | Way::CrLf) {
        frame.retain(|byte| *byte != 0);
    }
    if is_first {
        frame.insert(0, b'<');
    }
    let is_end = |byte: &u8| b"\r\n\0".contains(byte);
    let start = frame
        .iter()
        .position(|byte| !is_end(byte))
        .unwrap_or(frame.len());
    frame.drain(..start);
    while frame.last().is_some_and(is_end) {
        frame.pop();
    }
    if frame.is_empty() {
        frame.push(b'x');
    }
    frame
}

fn append(stream: &mut Vec<u8>, random: &mut Rng, way: Way, frame: &[u8]) {
    if matches!(way, Way::Counted | Way::CountedLf) {
        let zeros = if random.usize(..30) == 0 { "00" } else { "" };
        stream.extend_from_slice(format!("{zeros}{} ", frame.len()).as_bytes());
    }
    stream.extend_from_slice(frame);
    stream.extend_from_slice(match way {
        Way::Lf | Way::CountedLf => b"\n",
        Way::CrLf => b"\r\n",
        Way::Nul => b"\0",
        Way::LfNul => b"\n\0",
        Way::Counted => b"",
    });
    if random.usize(..30) == 0 {
        stream.extend_from_slice(match way {
            Way::Lf | Way::CrLf => b"\n\n",
            Way::Nul | Way::LfNul => b"\0\0",
            Way::Counted | Way::CountedLf => b"0 ",
        });
    }
}

/// What must come of a frame: itself, or its beginning.
fn expected(frame: &[u8]) -> (Vec<u8>, End) {
    if frame.len() <= FRAME_BYTES_MAX {
        return (frame.to_vec(), End::Whole);
    }
    let mut cut = frame[..FRAME_BYTES_MAX].to_vec();
    while cut.last().is_some_and(|byte| b"\r\n\0".contains(byte)) {
        cut.pop();
    }
    (cut, End::Truncated)
}

#[test]
fn known_frames_come_back_from_any_cuts() {
    let seed = from_environment("CEFLINE_SEED", 0x5eed_0007);
    let cases = from_environment("CEFLINE_CASES", crate::CASES_DEFAULT).div_ceil(100);
    println!("CEFLINE_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    for case in 0..cases {
        let way = WAYS[random.usize(..WAYS.len())];
        let frames: Vec<Vec<u8>> = (0..random.usize(1..12))
            .map(|index| frame(&mut random, way, index == 0))
            .collect();
        let mut stream = Vec::new();
        for frame in &frames {
            append(&mut stream, &mut random, way, frame);
        }
        let mut framer = Framer::new(FramingChoice::Auto, FRAME_BYTES_MAX);
        let (mut held, mut shown, mut found) = (Vec::new(), 0, Vec::new());
        while shown < stream.len() {
            let piece = match random.usize(..3) {
                0 => random.usize(1..9),
                1 => random.usize(1..3000),
                _ => stream.len(),
            };
            let end = (shown + piece).min(stream.len());
            held.extend_from_slice(&stream[shown..end]);
            shown = end;
            loop {
                let used = match framer.cut(&held) {
                    Cut::Frame { frame, used } => {
                        found.push((frame.bytes.to_vec(), frame.end));
                        used
                    }
                    Cut::Blank { used } | Cut::Skip { used } => used,
                    Cut::More => break,
                    Cut::Broken => panic!("broken: case {case} of seed {seed}, {way:?}"),
                };
                assert!(used > 0);
                held.drain(..used);
            }
            // the frame, its count or its delimiter
            assert!(held.len() <= FRAME_BYTES_MAX + 9, "{}", held.len());
        }
        assert!(framer.finish(&held).is_none(), "{way:?}");
        let expected: Vec<_> = frames.iter().map(|frame| expected(frame)).collect();
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(
                found == expected,
                "frame {index}, case {case} of seed {seed}, {way:?}\nfound: {} {:?}\nexpected: {} {:?}",
                found.0.escape_ascii(),
                found.1,
                expected.0.escape_ascii(),
                expected.1,
            );
        }
        assert_eq!(
            found.len(),
            expected.len(),
            "case {case} of seed {seed}, {way:?}"
        );
    }
}
