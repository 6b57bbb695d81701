//! The regression guard: how many instructions the pure stages take for a message, counted by
//! callgrind, against the limits in `guard.toml`. Wall time tells little on a machine that does other
//! things as well; instructions are the same each time.
//!
//! ```text
//! cargo bench --bench guard                 compares; fails with the figure and the limit
//! cargo bench --bench guard -- --record     writes the figures of this tree into guard.toml
//! ```
//!
//! Each stage runs twice in a process of its own below callgrind, over few messages and over many;
//! the difference is what a message takes, without the set-up. What the count depends on beside the
//! code stands in `guard.toml`: the compiler, and the processor's features as they are found while it
//! runs. valgrind knows AVX2 and no AVX-512, so the same paths are counted wherever there is AVX2.
//! With other features nothing is compared, and that is said; the same where valgrind is not installed.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be right ends")]

#[path = "support/input.rs"]
mod input;

use cefline::batch::{Batch, Filled, Pages};
use cefline::clock::Mono;
use cefline::compress::Gzip;
use cefline::config::{self, Machine};
use cefline::filter::Filters;
use cefline::map::Mapper;
use cefline::metrics::{FilterBook, Tally};
use cefline::page::RowPage;
use cefline::parse;
use cefline::parse::cef::{Pair, Scan};
use cefline::parse::syslog::Memo;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Messages of the two runs of a stage. Both pass a body's end.
const FEW: usize = 1_500;
const MANY: usize = 4_500;
/// How much more than recorded is let through.
const HEADROOM_PERCENT: f64 = 3.0;
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/guard.toml");
/// What stands at the head of that file.
const HEAD: &str = "\
# Instructions that each pure stage takes for a message, as callgrind counts them, and what the count
# depends on. Written by `cargo bench --bench guard -- --record`; not by hand.
";

/// What was recorded.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// How much more is let through.
    headroom_percent: f64,
    /// Of the compiler.
    rustc: String,
    /// Of the processor, as they are found below valgrind.
    features: String,
    /// By stage.
    instructions: BTreeMap<String, u64>,
}

/// A stage, as what is done with so many messages.
type Stage = fn(&[u8]);

const STAGES: [(&str, Stage); 6] = [
    ("frame", frame),
    ("frame_and_parse", frame_and_parse),
    ("frame_parse_and_map", frame_parse_and_map),
    ("frame_parse_and_map_with_50_filters", with_filters),
    ("gzip_of_rows", gzip_of_rows),
    ("frame_to_body", frame_to_body),
];

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--stage") {
        let (name, count) = (&arguments[at + 1], arguments[at + 2].parse()?);
        run_stage(name, count)?;
        return Ok(ExitCode::SUCCESS);
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: the regression guard: valgrind is not installed");
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.iter().any(|argument| argument == "--record") {
        let text = HEAD.to_owned() + &toml::to_string(&measure()?)?;
        std::fs::write(FILE, &text)?;
        println!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    guard()
}

/// Compares with what was recorded.
fn guard() -> Result<ExitCode> {
    let recorded: Record = toml::from_str(&std::fs::read_to_string(FILE)?)?;
    let measured = measure()?;
    if measured.features != recorded.features {
        println!(
            "skipped: the regression guard: recorded with {}, and this processor has {}",
            recorded.features, measured.features
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut breaches = String::new();
    println!("instructions a message, callgrind, {}", measured.features);
    for (stage, found) in &measured.instructions {
        let was = *recorded
            .instructions
            .get(stage)
            .ok_or_else(|| format!("{stage} is not in {FILE}: record anew"))?;
        let change = 100.0 * (*found as f64 / was as f64 - 1.0);
        println!("  {stage:<36} {found:>8}  recorded {was:>8}  {change:+.2} %");
        if change > recorded.headroom_percent {
            let limit = was as f64 * (1.0 + recorded.headroom_percent / 100.0);
            writeln!(
                breaches,
                "{stage} takes {found} instructions a message; the limit is {limit:.0}, {} % above what \
                 was recorded",
                recorded.headroom_percent
            )?;
        }
    }
    if breaches.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if measured.rustc != recorded.rustc {
        writeln!(
            breaches,
            "the compiler is another: {}, recorded with {}",
            measured.rustc, recorded.rustc
        )?;
    }
    println!(
        "\n{breaches}If that is meant: `cargo bench --bench guard -- --record`, and say why in the commit."
    );
    Ok(ExitCode::FAILURE)
}

/// Counts all stages.
fn measure() -> Result<Record> {
    let mut instructions = BTreeMap::new();
    let mut features = String::new();
    for (name, _) in STAGES {
        let (few, _) = count(name, FEW)?;
        let (many, found) = count(name, MANY)?;
        instructions.insert(name.to_owned(), (many - few) / (MANY - FEW) as u64);
        features = found;
    }
    Ok(Record {
        headroom_percent: HEADROOM_PERCENT,
        rustc: compiler()?,
        features,
        instructions,
    })
}

/// Instructions of one stage over so many messages with all of its set-up, and the processor's
/// features that it found.
fn count(stage: &str, messages: usize) -> Result<(u64, String)> {
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--stage", stage, &messages.to_string()])
        .output()?;
    let told = String::from_utf8(ran.stderr)?;
    if !ran.status.success() {
        return Err(format!("{stage} below callgrind: {told}").into());
    }
    let counted = told
        .lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .ok_or_else(|| format!("callgrind tells no count: {told}"))?;
    Ok((counted, String::from_utf8(ran.stdout)?.trim().to_owned()))
}

fn compiler() -> Result<String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let ran = Command::new(rustc)
        .arg("--version")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()?;
    Ok(String::from_utf8(ran.stdout)?.trim().to_owned())
}

/// Below callgrind: does it, and tells the features.
fn run_stage(name: &str, count: usize) -> Result<()> {
    let (_, stage) = STAGES
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or("no such stage")?;
    // the same set-up, however many of them are used
    let all = input::lines(MANY);
    let end = memchr::memchr_iter(b'\n', &all)
        .nth(count - 1)
        .ok_or("too few")?;
    stage(&all[..=end]);
    println!("{}", features());
    Ok(())
}

/// The features on which the libraries and we choose our paths.
#[cfg(target_arch = "x86_64")]
fn features() -> String {
    let found = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    let names: Vec<&str> = found
        .iter()
        .filter(|(_, is_there)| *is_there)
        .map(|(name, _)| *name)
        .collect();
    format!("x86_64 {}", names.join(" "))
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> String {
    std::env::consts::ARCH.into()
}

fn frame(lines: &[u8]) {
    black_box(input::cut(lines));
}

fn frame_and_parse(lines: &[u8]) {
    let (mut memo, mut scan) = (Memo::default(), Scan::default());
    for frame in input::frames(lines) {
        if let Ok(record) = parse::parse_with(frame.bytes, &mut memo) {
            scan.read(record.extension, |_, _| Pair::UNKNOWN);
            black_box(scan.pairs());
        }
    }
}

fn map_all(lines: &[u8], mut mapper: Mapper) {
    let mapped = input::map(
        lines,
        &mut mapper,
        &mut RowPage::new(),
        &mut Tally::default(),
    );
    black_box(mapped);
}

fn frame_parse_and_map(lines: &[u8]) {
    map_all(lines, input::mapper());
}

fn with_filters(lines: &[u8]) {
    let rules = input::rules();
    let counts = FilterBook::default().open(rules.iter().map(|rule| rule.name.as_str()));
    map_all(
        lines,
        input::mapper().filtered_by(Filters::new(&rules, counts)),
    );
}

/// The rows of all messages, as the pages hold them.
fn pages(lines: &[u8]) -> Vec<RowPage> {
    let (mut mapper, mut tally) = (input::mapper(), Tally::default());
    let mut pages = vec![RowPage::new()];
    for frame in input::frames(lines) {
        if pages.last().unwrap().is_full() {
            pages.push(RowPage::new());
        }
        let page = pages.last_mut().unwrap();
        mapper.map(frame, input::SOURCE, page, &mut tally);
    }
    pages
}

/// The encoder alone: the rows of all messages are made in both runs.
fn gzip_of_rows(lines: &[u8]) {
    let (settings, all) = (settings(), input::lines(MANY));
    let mut gzip = Gzip::new(settings.gzip_level);
    let mut rows_left = memchr::memchr_iter(b'\n', lines).count();
    for page in pages(&all) {
        let rows = page.ends().len().min(rows_left);
        rows_left -= rows;
        for row in 0..rows {
            gzip.feed_row(page.row(row).unwrap());
        }
        if gzip.raw_bytes() >= settings.raw_bytes_max {
            let body = black_box(gzip.finish());
            gzip.start(body);
        }
    }
    black_box(gzip.finish());
}

/// All of the pure way: messages to pages to sealed bodies.
fn frame_to_body(lines: &[u8]) {
    let mut batch = Batch::new(&settings());
    for page in pages(lines) {
        let mut pages = Pages::new(page);
        while batch.fill(&mut pages, Mono(1)) == Filled::Body {
            if let Some(buffer) = batch.seal(Mono(1)).and_then(|body| body.into_buffer()) {
                batch.give_back(buffer);
            }
        }
    }
    black_box(batch.seal(Mono(1)));
}

/// Those of bodies, by default.
fn settings() -> config::Batch {
    let text = "[listen]\ntcp = [\"127.0.0.1:514\"]\n[sentinel]\nendpoint = \"https://a.ingest.monitor.azure.com\"\n\
                rules = [\"dcr-00000000000000000000000000000000\"]\nstream = \"Custom-CommonSecurityLog\"\n\
                [sentinel.identity]\nkind = \"managed_identity\"\n";
    config::parse(text, &Machine::read()).unwrap().batch
}
