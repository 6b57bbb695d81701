//! Frames: made by a grammar that likes corners, or by breaking good ones.

use cefline::map::columns::KEYS;
use fastrand::Rng;

/// One of `choices`.
fn pick<'c>(random: &mut Rng, choices: &[&'c str]) -> &'c str {
    choices[random.usize(..choices.len())]
}

fn one_in(random: &mut Rng, count: usize) -> bool {
    random.usize(..count) == 0
}

/// A frame by the grammar: envelope, header, extension.
pub(crate) fn frame(random: &mut Rng) -> Vec<u8> {
    let mut frame = Vec::new();
    envelope(random, &mut frame);
    if one_in(random, 20) {
        cisco(random, &mut frame);
    } else {
        header(random, &mut frame);
        extension(random, &mut frame);
    }
    if one_in(random, 40) {
        frame.insert(0, b'"');
        if one_in(random, 2) {
            frame.push(b'"');
        }
    }
    frame
}

/// A good frame, broken.
pub(crate) fn mutated(random: &mut Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let sample = |random: &mut Rng| samples[random.usize(..samples.len())].clone();
    let mut frame = sample(random);
    for _ in 0..random.usize(1..5) {
        if frame.is_empty() {
            return frame;
        }
        let at = random.usize(..frame.len());
        let end = (at + random.usize(..20)).min(frame.len());
        if one_in(random, 2000) {
            let long = pick(random, PIECES).repeat(12_000);
            frame.splice(at..at, long.into_bytes());
            continue;
        }
        match random.usize(..9) {
            0 => frame[at] ^= 1 << random.u8(..8),
            1 => frame[at] = random.u8(..),
            2 => frame.truncate(at),
            3 => drop(frame.drain(..at)),
            4 => drop(frame.drain(at..end)),
            5 => {
                let piece = frame[at..end].to_vec();
                drop(frame.splice(at..at, piece));
            }
            6 => {
                let other = sample(random);
                let from = random.usize(..=other.len());
                drop(frame.splice(at.., other[from..].iter().copied()));
            }
            7 => {
                let piece = pick(random, PIECES).as_bytes().to_vec();
                drop(frame.splice(at..at, piece));
            }
            _ => frame[at] = *random.choice(b"\\|= \t;:<>\"\n\x00").unwrap(),
        }
    }
    frame
}

/// A line of a Cisco firewall, or nearly one.
#[rustfmt::skip] // one word a line otherwise
fn cisco(random: &mut Rng, out: &mut Vec<u8>) {
    for parts in [
        &["", "", "", ": ", "x"][..],
        &["%ASA", "%ASA", "%FTD", "%PIX", "%FWSM", "%ASB", "ASA"],
        &["-", "-", "-", "-session-", "-vpn_1-", "--", "-Auth-"],
        &["6", "6", "0", "7", "8", "66", ""],
        &["-"],
        &["302013", "302014", "106023", "430003", "430001", "999999", "30201", "3020130"],
        &[":", ": ", ": ", " ", ";", ""],
    ] {
        out.extend_from_slice(pick(random, parts).as_bytes());
    }
    for _ in 0..random.usize(..12) {
        let word = pick(
            random,
            &[
                "Built ", "inbound ", "TCP ", "connection ", "7 ", "for ", " to ", "src ", " dst ",
                "Deny ", "outside:192.0.2.1/443 ", "inside:2001:db8::1/ssh", "(192.0.2.1/7)",
                "(LOCAL\\nina)", " duration ", " bytes ", "by access-group \"a;b\" ", "SrcIP: ",
                "192.0.2.1, ", "DstPort: ", "99999999999, ", "FirstPacketSecond: ",
                "2026-11-25T01:59:07Z, ", "User: ", "InitiatorBytes: 7, ", "SID: 1;2, ", "URL: ",
            ],
        );
        out.extend_from_slice(word.as_bytes());
    }
    if one_in(random, 300) {
        out.extend_from_slice(pick(random, PIECES).repeat(12_000).as_bytes());
    }
    if one_in(random, 20) {
        noise(random, out);
    }
}

#[rustfmt::skip] // one word a line otherwise
fn envelope(random: &mut Rng, out: &mut Vec<u8>) {
    if one_in(random, 4) {
        return;
    }
    if one_in(random, 30) {
        out.extend_from_slice("\u{feff}".as_bytes());
    }
    if one_in(random, 20) {
        out.extend_from_slice(
            pick(random, &["relay[-]: ", "fenotify: ", "gw09 ", "<", " "]).as_bytes(),
        );
    }
    pri(random, out);
    if one_in(random, 4) {
        out.extend_from_slice(
            pick(random, &["1 ", "1203: *", "1 - ", "2 ", "7: ", "%", "12: "]).as_bytes(),
        );
    }
    if !one_in(random, 5) {
        out.extend_from_slice(time(random).as_bytes());
        out.extend_from_slice(pick(random, &[" ", " ", " ", "  ", ": ", "", ":"]).as_bytes());
    }
    if !one_in(random, 4) {
        let host = pick(
            random,
            &[
                "gw01", "192.0.2.1", "fe80::1", "-", "fw.example.com", "tag:", "[x]", "東京", "a_b",
                "CEF",
            ],
        );
        out.extend_from_slice(host.as_bytes());
        out.push(b' ');
    }
    for _ in 0..random.usize(..3) {
        let tag = pick(
            random,
            &[
                "tag[77]: ", "tag: ", "CEF:", "app 77 ID47 ", "- ", "[ex@32473 a=\"x\\]y\"] ",
                "<13>", "ASM:",
            ],
        );
        out.extend_from_slice(tag.as_bytes());
    }
    if one_in(random, 30) {
        noise(random, out);
    }
}

#[rustfmt::skip] // one word a line otherwise
fn pri(random: &mut Rng, out: &mut Vec<u8>) {
    match random.usize(..10) {
        0 => {}
        1 => out.extend_from_slice(
            pick(
                random,
                &[
                    "<>", "<192>", "<0134>", "<134", "<00001>", "<x>", "<<13>", "<134> ",
                ],
            )
            .as_bytes(),
        ),
        _ => out.extend_from_slice(format!("<{}>", random.u8(..195)).as_bytes()),
    }
}

#[rustfmt::skip] // one word a line otherwise
fn header(random: &mut Rng, out: &mut Vec<u8>) {
    let anchor = if one_in(random, 10) {
        pick(
            random,
            &[
                "CEF: 0", "CEF:1", "CEF:0 ", "CEF:CEF:0", "CEF:", "cef:0", "CEF:26", "CEF:x",
                "CEF:  0", "CEF", "CEF:00 ",
            ],
        )
    } else {
        "CEF:0"
    };
    out.extend_from_slice(anchor.as_bytes());
    let fields = if one_in(random, 12) {
        random.usize(..9)
    } else {
        6
    };
    for field in 0..fields {
        out.push(b'|');
        if one_in(random, 10) {
            text(random, out);
            continue;
        }
        let choices: &[&str] = if field == 5 {
            &[
                "5", "10", "High", "Very-High", "-1", "", " 7 ", "rt=1", "a=b c", "unknown x=y",
            ]
        } else {
            &[
                "Acme", "Gate", "1.0", "100", "conn", "", " a b ", r"a\|b", r"x\\", r"\", "a=b",
                r"\\\|", "é",
            ]
        };
        out.extend_from_slice(pick(random, choices).as_bytes());
    }
    if !one_in(random, 20) {
        out.push(b'|');
    }
}

#[rustfmt::skip] // one word a line otherwise
fn extension(random: &mut Rng, out: &mut Vec<u8>) {
    if one_in(random, 20) {
        out.extend_from_slice(
            pick(
                random,
                &[
                    "Unknown|", "stray text ", "...", "a;b|", " ", "\\n ", "=", "x:y=z ",
                ],
            )
            .as_bytes(),
        );
    }
    let count = match random.usize(..10) {
        0 => 0,
        1 => random.usize(..40),
        _ => random.usize(..10),
    };
    // few keys repeat often
    let few = one_in(random, 3);
    for _ in 0..count {
        let key = key(random, few);
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        value(random, key, out);
        out.extend_from_slice(
            pick(
                random,
                &[" ", " ", " ", " ", "  ", "\t", "", " \t ", "\n", "|", "\\ "],
            )
            .as_bytes(),
        );
    }
}

#[rustfmt::skip] // one word a line otherwise
fn key(random: &mut Rng, few: bool) -> &'static str {
    const FEW: &[&str] = &[
        "src", "dvc", "cn1", "start", "rt", "x", "externalId", "msg", "dtz",
    ];
    const ODD: &[&str] = &[
        "ad.field[0]", "ad.Error_,Code", "_cefVer", "0key", "X-Forwarded-For", "cefline.mark",
        "cefline.", "cefline", "Computer", "TimeGenerated", "cs7", "cs7Label", "srcx", "sr", "a",
        "key#1", "-x", ".y", "a b", "é", "cn1Label2", "TenantId", "http://h/?q", "", "dvcx",
        "filename", "eventId",
    ];
    if few {
        pick(random, FEW)
    } else if one_in(random, 3) {
        pick(random, ODD)
    } else {
        KEYS[random.usize(..KEYS.len())].key
    }
}

fn value(random: &mut Rng, key: &str, out: &mut Vec<u8>) {
    let typed = match key {
        "rt" | "start" | "end" | "art" => 0,
        "dtz" => 1,
        _ if key.starts_with("cfp") => 2,
        "in" | "out" | "cnt" | "fsize" | "spt" | "dpt" | "type" | "externalId" | "cn1" | "cn2"
        | "cn3" => 3,
        _ => random.usize(..16),
    };
    if one_in(random, 8) {
        return text(random, out);
    }
    match typed {
        0 => out.extend_from_slice(time(random).as_bytes()),
        1 => out.extend_from_slice(zone(random).as_bytes()),
        2 => out.extend_from_slice(real(random).as_bytes()),
        3 => out.extend_from_slice(whole(random).as_bytes()),
        4 => {}
        _ => text(random, out),
    }
}

#[rustfmt::skip] // one word a line otherwise
const PIECES: &[&str] = &[
    " ", "  ", "\t", "=", "==", "|", ";", "\\", "\\\\", r"\=", r"\n", r"\r", r"\|", r"\t", "\"",
    "a", "word", "x=y", " x=y", "a b", "http://h/?x=1&y=2", "C:\\new\\report", "é", "東京", "🎉",
    "{\"a\": \"b\"}", "\u{0}", "\u{1b}[31m", "\u{7f}", "\r", "\n", "CEF:0|", "#011", "src=",
    "cs1Label=", "<13>", "[0]", "-", "_", ".", ",", "\u{202e}", "%", "\u{a0}", "key-1=",
    "user\\=root",
];

fn text(random: &mut Rng, out: &mut Vec<u8>) {
    for _ in 0..random.usize(..6) {
        if one_in(random, 12) {
            noise(random, out);
        } else {
            out.extend_from_slice(pick(random, PIECES).as_bytes());
        }
    }
    // so long that the row must be shortened, and now and then longer than a column
    if one_in(random, 700) {
        let start = out.len();
        let long = if one_in(random, 20) { 70_000 } else { 7_000 };
        while out.len() < start + long {
            text(random, out);
            let word = pick(random, &["word ", "é", "東京", "\\\\", "\u{1}", "\"", "a"])
                .repeat(random.usize(..400));
            out.extend_from_slice(word.as_bytes());
        }
    }
}

/// Bytes that are mostly no UTF-8.
fn noise(random: &mut Rng, out: &mut Vec<u8>) {
    const BAD: &[&[u8]] = &[
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xe2\x82",
        b"\xf0\x9f\x8e",
        b"\x80",
        b"\xf4\x90\x80\x80",
        b"d\xe9c",
        b"\xe2\\=\x82",
        b"\xf8\x88",
    ];
    if one_in(random, 2) {
        out.extend_from_slice(BAD[random.usize(..BAD.len())]);
    } else {
        out.extend((0..random.usize(1..6)).map(|_| random.u8(..)));
    }
}

fn whole(random: &mut Rng) -> String {
    let number: i128 = match random.usize(..8) {
        0 => i128::from(i32::MAX) + random.i128(-1..=1),
        1 => i128::from(i32::MIN) + random.i128(-1..=1),
        2 => i128::from(i64::MAX) + random.i128(-1..=1),
        3 => i128::from(i64::MIN) + random.i128(-1..=1),
        4 => random.i64(..).into(),
        _ => random.i128(0..70_000),
    };
    let junk = pick(random, &["", "", "", "", "", " ", "+", "0", "x", "0x"]);
    if one_in(random, 12) {
        format!("{number}{junk}")
    } else {
        format!("{junk}{number}")
    }
}

#[rustfmt::skip] // one word a line otherwise
fn real(random: &mut Rng) -> String {
    match random.usize(..6) {
        0 => pick(
            random,
            &[
                "nan", "inf", "1e999", "-0", ".5", "5.", "1e-5", "1E+3", "1,5", "+1.5", "e5", ".",
                "1e", "1e300", "5e-324",
            ],
        )
        .into(),
        1 => format!("{}", f64::from_bits(random.u64(..))),
        _ => format!("{}.{}", random.i32(-99..999), random.u32(..9999)),
    }
}

#[rustfmt::skip] // one word a line otherwise
fn zone(random: &mut Rng) -> &'static str {
    pick(
        random,
        &[
            "UTC", "Z", "gmt", "CET", "EST", "IST", "+0100", "-05:30", "GMT+01:00", "UTC-3",
            "+2600", "+25:59", "+1:00", "Europe/Berlin", "America/New_York", "a/b", "+0160", "+",
            "GMT+", "CEST", " UTC",
        ],
    )
}

/// A time in one of many forms, often near to now, sometimes none.
#[rustfmt::skip] // one word a line otherwise
pub(crate) fn time(random: &mut Rng) -> String {
    let day = 86_400i64;
    let second = match random.usize(..8) {
        0 => random.i64(-3_000_000_000..6_000_000_000),
        1 => random.i64(0..120_000_000_000),
        _ => 1_795_572_427 + random.i64(-3 * day..2 * day),
    };
    let Ok(at) = jiff::Timestamp::from_second(second) else {
        return second.to_string();
    };
    let millis = random.u32(..1000);
    let forms = [
        "%b %d %Y %H:%M:%S", "%b %d %Y %H:%M:%S.m", "%b %d %Y %H:%M:%S z", "%b %d %Y %H:%M:%S.m z",
        "%b %d %H:%M:%S", "%b %d %H:%M:%S", "%b %e %H:%M:%S.m", "%b %d %H:%M:%S z",
        "%Y-%m-%dT%H:%M:%S.mZ", "%Y-%m-%dT%H:%M:%Sz", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d-%H.%M.%S.m", "%a %b %e %H:%M:%S %Y", "%a %b %e %H:%M:%S z %Y",
        "%d %B %Y %H:%M:%S", "%Y %b %d %H:%M:%S", "%b %d %Y %H:%M:%S.m-0500",
        "\"%Y-%m-%dT%H:%M:%Sz\"", "%s", "%s", "%sm", "%s.m", "%smm", "%Y-%m-%dT%H:%M:%S.mm1Z",
        "%b %d %Y, %H:%M:%S", "%H:%M:%S %d %b %Y", "%b %d %Y %H:%M",
    ];
    let form = pick(random, &forms);
    let mut text = at.strftime(form).to_string();
    text = text.replacen(
        'm',
        &format!("{millis:03}"),
        if form.contains("%b") || form.contains("%B") {
            0
        } else {
            9
        },
    );
    text = text.replace(".m", &format!(".{millis:03}"));
    if form.contains('z') {
        text = text.replace('z', zone(random));
    }
    match random.usize(..30) {
        0 => text.replace(
            "Nov",
            pick(
                random,
                &[
                    "nov.", "NOV", "November", "déc.", "juil.", "août", "Feb", "Smarch",
                ],
            ),
        ),
        1 => text
            .chars()
            .take(random.usize(..=text.chars().count()))
            .collect(),
        2 => text.replace(' ', "  "),
        3 => pick(
            random,
            &[
                "$timestamp", "Wrong Date Format", "Feb 29 01:02:03", "Dec 31 23:59:60", "0", "-1",
                "Jan  1 00:00:00", "Nov 04 2018 07:15:46 GMTcs3Label", "2026", "25:61:07",
                "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2262-04-11T23:47:16.854775807Z",
                "1677-09-21T00:12:43Z", "Mar 28 2027 02:30:00", "99999999999", "100000000000",
                "99999999999999", "100000000000000", "99999999999999999", "100000000000000000",
                "9223372036854775807", "9223372036854775808",
            ],
        )
        .into(),
        _ => text,
    }
}
