//! The rules of `[[filter]]`: against a plain twin that evaluates them on the JSON of the row, at each
//! of their bounds, and on the real messages of the corpus, for the table in the README.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/samples.rs"]
#[expect(dead_code, reason = "only the frames of the samples are of use here")]
mod samples;
#[path = "support/skip.rs"]
mod skip;

use cefline::clock::{Moment, Mono, Wall};
use cefline::columns::{COLUMNS, KEYS, Kind, Origin};
use cefline::config::filter::{Action, Condition, Field, How, Network, Number, Test};
use cefline::config::{self, Filter};
use cefline::filter::Filters;
use cefline::frame::{End, Frame};
use cefline::generate::{Generator, GeneratorOptions};
use cefline::limits::{FILTER_KEY_BYTES_MAX, FILTER_TABLE_KEYS_MAX};
use cefline::map::{Mapper, Outcome, Source};
use cefline::metrics::{Counter, FilterBook, FilterGauges, Tally};
use cefline::page::RowPage;
use fastrand::Rng;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// 2026-11-25T02:07:07Z
const NOW: i64 = 1_795_572_427_000_000_000;
const ROW_BYTES_MAX: usize = 1_000_000;

/// A mapper with rules, and what comes of it.
struct Bench {
    mapper: Mapper,
    book: FilterBook,
    page: RowPage,
    tally: Tally,
    peer: IpAddr,
}

impl Bench {
    fn new(rules: &[Filter]) -> Bench {
        let settings = config::Map {
            collector_host_name: "collector".into(),
            ..config::Map::of(&config::Machine::read())
        };
        let mapper = Mapper::new(&settings, ROW_BYTES_MAX);
        let book = FilterBook::default();
        let names = rules.iter().map(|rule| rule.name.as_str());
        let filters = Filters::new(rules, book.open(names));
        Bench {
            mapper: match rules.is_empty() {
                true => mapper,
                false => mapper.filtered_by(filters),
            },
            book,
            page: RowPage::new(),
            tally: Tally::default(),
            peer: [192, 0, 2, 7].into(),
        }
    }

    fn source(&self, at: Duration) -> Source {
        Source {
            peer: self.peer,
            received: Moment {
                mono: Mono(1).plus(at),
                wall: Wall(NOW),
            },
        }
    }

    /// Rows of one frame, and their bytes.
    fn rows(&mut self, frame: &[u8], at: Duration) -> (Vec<Map<String, Value>>, usize) {
        self.page.reset();
        let frame = Frame {
            bytes: frame,
            end: End::Whole,
        };
        let source = self.source(at);
        self.mapper
            .map(frame, source, &mut self.page, &mut self.tally);
        self.written()
    }

    fn written(&self) -> (Vec<Map<String, Value>>, usize) {
        let mut text = self.page.bytes().to_vec();
        let bytes = text.len();
        match text.first_mut() {
            Some(first) => *first = b'[',
            None => text.push(b'['),
        }
        text.push(b']');
        (serde_json::from_slice(&text).unwrap(), bytes)
    }

    /// Whether a row comes of a frame.
    fn passes(&mut self, frame: &str, at: Duration) -> bool {
        !self.rows(frame.as_bytes(), at).0.is_empty()
    }

    /// What is told at the end.
    fn close(&mut self) -> Vec<Map<String, Value>> {
        let source = self.source(Duration::ZERO);
        self.page.reset();
        self.mapper.filters().unwrap().close();
        let mut rows = Vec::new();
        while self.mapper.filters().unwrap().has_summaries() {
            self.page.reset();
            self.mapper
                .summarize(source, &mut self.page, &mut self.tally);
            rows.extend(self.written().0);
        }
        rows
    }

    fn counts(&mut self) -> Vec<FilterGauges> {
        self.mapper.filters().unwrap().publish();
        self.book.read()
    }
}

fn rule(name: &str, when: Vec<Condition>, action: Action) -> Filter {
    Filter {
        name: name.to_owned(),
        when,
        action,
    }
}

fn column(name: &str) -> Field {
    Field::Column(cefline::columns::by_name(name).unwrap())
}

fn equals(name: &str, text: &str) -> Condition {
    Condition::Value(
        column(name),
        Test::Text {
            how: How::Equals,
            texts: vec![text.to_owned()],
            ignore_case: false,
        },
    )
}

/// How often rows tell that others like them were suppressed.
fn repeated(row: &Map<String, Value>) -> u64 {
    let Some(Value::String(text)) = row.get("AdditionalExtensions") else {
        return 0;
    };
    let counts = text.split(';');
    let counts = counts.filter_map(|pair| pair.strip_prefix("cefline.repeated="));
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

// ---- the twin ------------------------------------------------------------------------------

/// What a row holds of a field, as text.
fn value(row: &Map<String, Value>, field: &Field) -> Option<String> {
    let of_column = |name: &str| {
        row.get(name).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    match field {
        Field::Column(column) => of_column(column.name),
        Field::Key(name) => {
            let key = KEYS.iter().find(|key| key.key == name);
            let in_column = key.and_then(|key| of_column(key.columns[0]));
            in_column.or_else(|| {
                let lead = format!("{name}=");
                let Some(Value::String(text)) = row.get("AdditionalExtensions") else {
                    return None;
                };
                let mut pairs = text.split(';').rev();
                pairs.find_map(|pair| Some(pair.strip_prefix(&lead)?.to_owned()))
            })
        }
    }
}

fn holds(condition: &Condition, row: &Map<String, Value>, peer: IpAddr) -> bool {
    match condition {
        Condition::All(all) => all.iter().all(|one| holds(one, row, peer)),
        Condition::Any(any) => any.iter().any(|one| holds(one, row, peer)),
        Condition::Not(inner) => !holds(inner, row, peer),
        Condition::Peer(networks) => networks.iter().any(|network| network.has(peer)),
        Condition::Value(field, test) => {
            let found = value(row, field);
            let Some(found) = found else {
                return matches!(test, Test::Exists(false));
            };
            let number = || Number::read(found.as_bytes());
            match test {
                Test::Exists(is_there) => *is_there,
                Test::Numbers(numbers) => numbers.iter().any(|one| number() == Some(*one)),
                Test::Range(least, most) => number().is_some_and(|number| {
                    least.is_none_or(|least| least <= number)
                        && most.is_none_or(|most| most >= number)
                }),
                Test::Networks(networks) => found
                    .parse()
                    .is_ok_and(|address| networks.iter().any(|network| network.has(address))),
                Test::Text {
                    how,
                    texts,
                    ignore_case,
                } => texts.iter().any(|text| {
                    let (found, text) = match ignore_case {
                        true => (found.to_ascii_lowercase(), text.to_ascii_lowercase()),
                        false => (found.clone(), text.clone()),
                    };
                    match how {
                        How::Equals => found == text,
                        How::Prefix => found.starts_with(&text),
                        How::Suffix => found.ends_with(&text),
                        How::Contains => found.contains(&text),
                    }
                }),
            }
        }
    }
}

fn cut(text: &str, bytes: usize) -> String {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= bytes).last().unwrap_or(0);
    text[..end].to_owned()
}

/// The row by these rules, without state: nothing if one ends it.
fn expected(
    rules: &[Filter],
    row: &Map<String, Value>,
    peer: IpAddr,
) -> Option<Map<String, Value>> {
    let mut changed = row.clone();
    let mut removed = Vec::new();
    let mut limits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sets = BTreeMap::new();
    let matching = rules.iter().filter(|rule| {
        let mut when = rule.when.iter();
        when.all(|one| holds(one, row, peer))
    });
    for rule in matching {
        match &rule.action {
            Action::Drop => return None,
            Action::Remove(fields) => {
                for field in fields {
                    match field {
                        Field::Column(column) => drop(limits.insert(column.name, 0)),
                        Field::Key(name) => {
                            let key = KEYS.iter().filter(|key| key.key == name);
                            let columns = key.flat_map(|key| key.columns);
                            limits.extend(columns.map(|column| (*column, 0)));
                            removed.push(format!("{name}="));
                        }
                    }
                }
            }
            Action::Truncate(columns, bytes) => {
                for column in columns {
                    let limit = limits.entry(column.name).or_insert(*bytes);
                    *limit = (*limit).min(*bytes);
                }
            }
            Action::Set(column, value) => drop(sets.insert(column.clone(), value.clone())),
            _ => panic!("the twin has no state"),
        }
    }
    if let Some(Value::String(text)) = changed.get_mut("AdditionalExtensions") {
        let all = limits.get("AdditionalExtensions") == Some(&0);
        let is_mark =
            |pair: &str| pair.starts_with("cefline.mark=") || pair.starts_with("cefline.repeated=");
        let left = text.split(';').filter(|pair| {
            is_mark(pair) || !(all || removed.iter().any(|key| pair.starts_with(key)))
        });
        *text = left.collect::<Vec<_>>().join(";");
        if text.is_empty() {
            changed.remove("AdditionalExtensions");
        }
    }
    for (name, bytes) in limits {
        match changed.get_mut(name) {
            Some(_) if bytes == 0 && name != "AdditionalExtensions" => {
                changed.remove(name);
            }
            Some(Value::String(text)) if bytes > 0 => *text = cut(text, bytes),
            _ => {}
        }
    }
    changed.extend(sets.into_iter().map(|(name, value)| (name, value.into())));
    Some(changed)
}

fn frames(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = samples::all().into_iter().map(|s| s.frame).collect();
    let mut generator = Generator::new(rng.u64(..), &GeneratorOptions::default());
    for _ in 0..300 {
        let mut frame = Vec::new();
        generator.append(Wall(NOW), &mut frame);
        frames.push(frame);
    }
    for extension in [
        "src=10.1.2.3 dst=::ffff:10.0.0.7 spt=0443 foo=a\\=b\\nc\\\\ msg=x\\;y;z act=DENY",
        "foo=1 foo=2 foo= act=Deny cnt=many spt=99999 dpt=53 out=12345678901",
        "foo=\u{e4}\u{f6}\u{fc} msg=\u{20ac}\u{20ac}\u{20ac}\u{20ac} act=Deny cs1=\\\\x cs1Label=;",
        "cefline.x=1 bar=2 cfp1=7.5 start=1795572427000 end=never act=allow",
    ] {
        frames.push(format!("<13>CEF:0|Ac\\|me| Gate |1\\\\|c\\=d|n|5|{extension}").into_bytes());
        frames.push(format!("<13>CEF:0|acme|Gate||c|n|Low| stray {extension}").into_bytes());
    }
    let odd = b"<13>CEF:0|Acme|Gate|1|c|n|5|msg=a\xff\xfeb foo=\xc3 act=Deny".to_vec();
    frames.push(odd);
    frames
}

/// A condition that a row like this one may meet or just miss.
fn condition(rng: &mut Rng, row: &Map<String, Value>, depth: usize) -> Condition {
    if depth > 0 && rng.u8(..3) == 0 {
        let inner = |rng: &mut Rng| condition(rng, row, depth - 1);
        return match rng.u8(..4) {
            0 => Condition::All(vec![inner(rng), inner(rng)]),
            1 => Condition::Any(vec![inner(rng), inner(rng)]),
            2 => Condition::Not(Box::new(inner(rng))),
            _ => Condition::Peer(vec![
                Network::read(["192.0.2.0/24", "10.0.0.0/8"][rng.usize(..2)]).unwrap(),
            ]),
        };
    }
    let good: Vec<_> = COLUMNS
        .iter()
        .filter(|column| matches!(column.origin, Origin::Header | Origin::Extension))
        .chain(cefline::columns::by_name("Computer"))
        .collect();
    let there: Vec<_> = good
        .iter()
        .filter(|column| row.contains_key(column.name))
        .collect();
    let keys = [
        "foo",
        "bar",
        "act",
        "msg",
        "cs1",
        "FTNTFGTlogid",
        "PanOSRuleUUID",
    ];
    let field = match rng.u8(..10) {
        0 => Field::Column(good[rng.usize(..good.len())]),
        1 | 2 => Field::Key(keys[rng.usize(..keys.len())].to_owned()),
        3 | 4 => column("DeviceVendor"),
        _ => Field::Column(there[rng.usize(..there.len())]),
    };
    let found = value(row, &field).unwrap_or_else(|| "x".to_owned());
    let kind = match &field {
        Field::Column(column) => column.kind,
        Field::Key(_) => Kind::Text,
    };
    if kind == Kind::DateTime || rng.u8(..12) == 0 {
        return Condition::Value(field, Test::Exists(rng.bool()));
    }
    let number = Number::read(found.as_bytes());
    if let Some(number) = number
        && (kind != Kind::Text || rng.bool())
    {
        let test = match rng.u8(..3) {
            0 => Test::Numbers(vec![number, Number::Whole(7)]),
            1 => Test::Range(Some(number), None),
            _ => Test::Range(Some(Number::Whole(1)), Some(number)),
        };
        return Condition::Value(field, test);
    }
    if let Ok(address) = found.parse::<IpAddr>()
        && rng.bool()
    {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let network = Network::read(&format!("{address}/{}", rng.u32(..=bits))).unwrap();
        return Condition::Value(field, Test::Networks(vec![network]));
    }
    let chars: Vec<char> = found.chars().collect();
    let (a, b) = (rng.usize(..=chars.len()), rng.usize(..=chars.len()));
    let part = |from: usize, to: usize| -> String {
        let part: String = chars[from.min(to)..to.max(from)].iter().collect();
        if part.is_empty() { "x".into() } else { part }
    };
    let (how, text) = match rng.u8(..4) {
        0 => (How::Prefix, part(0, a)),
        1 => (How::Suffix, part(a, chars.len())),
        2 => (How::Contains, part(a, b)),
        _ => (How::Equals, found.clone()),
    };
    let ignore_case = rng.bool();
    let text = match ignore_case && rng.bool() {
        true => text.to_ascii_uppercase(),
        false => text,
    };
    Condition::Value(
        field,
        Test::Text {
            how,
            texts: vec!["other".into(), text],
            ignore_case,
        },
    )
}

fn action(rng: &mut Rng) -> Action {
    let texts: Vec<_> = COLUMNS
        .iter()
        .filter(|column| column.origin == Origin::Extension && column.kind == Kind::Text)
        .collect();
    let some =
        |rng: &mut Rng| -> Vec<_> { (0..40).map(|_| texts[rng.usize(..texts.len())]).collect() };
    match rng.u8(..7) {
        0 => Action::Drop,
        1 => Action::Remove(vec![column("AdditionalExtensions"), column("SourcePort")]),
        2 => Action::Remove(some(rng).into_iter().map(Field::Column).collect()),
        3 => {
            let keys = [
                "foo",
                "act",
                "spt",
                "bar",
                "cn1",
                "FTNTFGTlogid",
                "PanOSRuleUUID",
            ];
            let keys = keys.into_iter().filter(|_| rng.bool());
            Action::Remove(keys.map(|key| Field::Key(key.into())).collect())
        }
        4 => {
            let mut columns = some(rng);
            columns
                .extend(cefline::columns::by_name("AdditionalExtensions").filter(|_| rng.bool()));
            columns.extend(cefline::columns::by_name("Message"));
            Action::Truncate(columns, rng.usize(1..60))
        }
        5 => Action::Set(
            "Site_CF".into(),
            ["a\"b", "ber\u{20ac}lin"][rng.usize(..2)].into(),
        ),
        _ => Action::Set("Other_CF".into(), "x".into()),
    }
}

#[test]
fn rules_do_on_the_record_what_a_plain_twin_does_on_the_row() {
    let seed = std::env::var("CEFLINE_SEED").map_or(20_261_129, |text| text.parse().unwrap());
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let frames = frames(&mut rng);
    let mut plain = Bench::new(&[]);
    let (mut dropped, mut changed, mut same) = (0, 0, 0);
    for round in 0..400 {
        let mut rules = Vec::new();
        for number in 0..rng.usize(1..8) {
            let like = &frames[rng.usize(..frames.len())];
            let (row, _) = plain.rows(like, Duration::ZERO);
            let count = rng.usize(..3);
            let when = (0..count)
                .map(|_| condition(&mut rng, &row[0], 3))
                .collect();
            rules.push(rule(&format!("r{number}"), when, action(&mut rng)));
        }
        let mut bench = Bench::new(&rules);
        for _ in 0..60 {
            let frame = &frames[rng.usize(..frames.len())];
            let (row, before) = plain.rows(frame, Duration::ZERO);
            let (found, after) = bench.rows(frame, Duration::ZERO);
            let expected = expected(&rules, &row[0], bench.peer);
            assert_eq!(
                found.first(),
                expected.as_ref(),
                "round {round}, seed {seed}\n{}\n{rules:#?}",
                frame.escape_ascii()
            );
            let effects = bench.mapper.effects();
            let saved: u64 = effects.iter().map(|effect| effect.saved).sum();
            let added: u64 = effects.iter().map(|effect| effect.added).sum();
            assert_eq!(
                before as u64 + added,
                after as u64 + saved,
                "round {round}, seed {seed}\n{}\n{rules:#?}",
                frame.escape_ascii()
            );
            match found.first() {
                None => dropped += 1,
                Some(found) if *found == row[0] => same += 1,
                Some(_) => changed += 1,
            }
        }
    }
    println!("{dropped} dropped, {changed} changed, {same} as before");
    assert!(dropped > 1000 && changed > 1000 && same > 1000);
}

// ---- state ---------------------------------------------------------------------------------

const MESSAGE: &str = "<13>CEF:0|Acme|Gate|1|100|conn|5|src=10.0.0.1 act=deny foo=x";

#[test]
fn one_of_so_many_is_kept_the_first() {
    let mut bench = Bench::new(&[rule(
        "s",
        vec![equals("DeviceAction", "deny")],
        Action::Sample(3),
    )]);
    let kept: Vec<bool> = (0..7)
        .map(|_| bench.passes(MESSAGE, Duration::ZERO))
        .collect();
    assert_eq!(kept, [true, false, false, true, false, false, true]);
    assert!(bench.passes(&MESSAGE.replace("deny", "allow"), Duration::ZERO));
    assert_eq!(bench.tally.value(Counter::RowsFilteredSample), 4);
    let counts = &bench.counts()[0];
    assert_eq!((counts.matched, counts.dropped), (7, 4));
}

#[test]
fn a_rate_is_kept_for_each_key_and_so_is_its_burst() {
    let action = Action::RateLimit {
        count: 10,
        period: Duration::from_secs(1),
        burst: 4,
        by: vec![column("SourceIP")],
    };
    let mut bench = Bench::new(&[rule("r", Vec::new(), action)]);
    let ms = Duration::from_millis;
    let burst: Vec<bool> = (0..6).map(|_| bench.passes(MESSAGE, ms(0))).collect();
    assert_eq!(burst, [true, true, true, true, false, false]);
    let other = MESSAGE.replace("10.0.0.1", "10.0.0.2");
    assert!(bench.passes(&other, ms(0)));
    assert!(!bench.passes(MESSAGE, ms(99)));
    assert!(bench.passes(MESSAGE, ms(100)));
    assert!(!bench.passes(MESSAGE, ms(100)));
    // a second at three times the rate lets the rate through, and what had been saved up
    let passed = (0..30).filter(|step| bench.passes(MESSAGE, ms(10_000 + step * 33)));
    assert_eq!(passed.count(), 4 + 9);
    assert_eq!(bench.tally.value(Counter::RowsFilteredRate), 2 + 2 + 17);
}

fn deduplicate(window: Duration) -> Action {
    Action::Deduplicate {
        window,
        by: vec![column("SourceIP"), Field::Key("foo".into())],
    }
}

#[test]
fn the_next_row_alike_tells_how_many_were_suppressed() {
    let mut bench = Bench::new(&[rule("d", Vec::new(), deduplicate(Duration::from_secs(60)))]);
    let seconds = Duration::from_secs;
    assert!(bench.passes(MESSAGE, seconds(0)));
    for second in [1, 30, 59] {
        assert!(!bench.passes(MESSAGE, seconds(second)));
    }
    assert!(bench.passes(&MESSAGE.replace("foo=x", "foo=y"), seconds(59)));
    assert!(bench.passes(&MESSAGE.replace("Gate", "Wall"), seconds(59)));
    let (rows, _) = bench.rows(MESSAGE.as_bytes(), seconds(60));
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["AdditionalExtensions"], "cefline.repeated=3;foo=x");
    assert_eq!(bench.tally.value(Counter::RowsFilteredDuplicate), 3);
    assert_eq!(bench.close().len(), 0);
}

#[test]
fn what_no_row_alike_tells_is_told_by_a_row_of_its_own() {
    let mut bench = Bench::new(&[rule("d", Vec::new(), deduplicate(Duration::from_secs(60)))]);
    let seconds = Duration::from_secs;
    for second in 0..8 {
        bench.passes(MESSAGE, seconds(second));
    }
    let look = |bench: &mut Bench, second| {
        let filters = bench.mapper.filters().unwrap();
        filters.look(Mono(1).plus(seconds(second)));
        filters.has_summaries()
    };
    assert!(!look(&mut bench, 119));
    assert!(look(&mut bench, 120));
    let rows = bench.close();
    let [row] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!(row["DeviceVendor"], "Acme");
    assert_eq!(row["DeviceProduct"], "Gate");
    assert_eq!(row["SourceIP"], "10.0.0.1");
    assert_eq!(
        row["AdditionalExtensions"],
        "cefline.mark=rows_suppressed;cefline.filter=d;cefline.repeated=7;foo=x"
    );
    assert_eq!(bench.tally.value(Counter::RowsSummarizing), 1);
}

#[test]
fn a_row_that_a_later_rule_ends_takes_no_count_with_it() {
    let late = rule(
        "late",
        vec![equals("DeviceEventClassID", "101")],
        Action::Drop,
    );
    let rules = [
        rule("d", Vec::new(), deduplicate(Duration::from_secs(1))),
        late,
    ];
    let mut bench = Bench::new(&rules);
    let ends = MESSAGE.replace("|100|", "|101|");
    assert!(bench.passes(MESSAGE, Duration::ZERO));
    assert!(!bench.passes(MESSAGE, Duration::ZERO));
    assert!(!bench.passes(&ends, Duration::from_secs(2)));
    let (rows, _) = bench.rows(MESSAGE.as_bytes(), Duration::from_secs(4));
    assert_eq!(repeated(&rows[0]), 1);
}

#[test]
fn no_count_is_lost_when_keys_give_way_or_rules_change() {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let rules = [rule("d", Vec::new(), deduplicate(Duration::from_secs(1)))];
    let mut bench = Bench::new(&rules);
    let (mut frames, mut passed, mut told) = (0, 0, 0);
    let keys = 2 * FILTER_TABLE_KEYS_MAX as u32;
    for step in 0..60_000 {
        let key = std::net::Ipv4Addr::from(rng.u32(..keys));
        let frame = MESSAGE.replace("10.0.0.1", &key.to_string());
        let before = bench.tally.value(Counter::RowsSummarizing);
        let (rows, _) = bench.rows(frame.as_bytes(), Duration::from_micros(step * 50));
        frames += 1;
        let summaries = bench.tally.value(Counter::RowsSummarizing) - before;
        passed += rows.len() as u64 - summaries;
        told += rows.iter().map(repeated).sum::<u64>();
    }
    assert!(
        bench.tally.value(Counter::RowsSummarizing) > 0,
        "none gave way"
    );
    let old = bench.mapper.take_filters().unwrap();
    let mut next = Filters::new(&[], Vec::new());
    next.inherit(old);
    let mapper = std::mem::replace(&mut bench.mapper, Bench::new(&[]).mapper);
    bench.mapper = mapper.filtered_by(next);
    told += bench.close().iter().map(repeated).sum::<u64>();
    let suppressed = bench.tally.value(Counter::RowsFilteredDuplicate);
    assert_eq!(frames, passed + suppressed);
    assert_eq!(told, suppressed);
    assert_eq!(bench.tally.value(Counter::SummariesUntold), 0);
}

#[test]
fn a_key_at_its_bound_is_remembered_and_one_past_it_passes() {
    let by = vec![Field::Key("foo".into())];
    let window = Duration::from_secs(60);
    let mut bench = Bench::new(&[rule("d", Vec::new(), Action::Deduplicate { window, by })]);
    // vendor and product stand in it too, each with its length
    let room = FILTER_KEY_BYTES_MAX - 3 * 4 - "AcmeGate".len();
    for (length, second_passes) in [(room, false), (room + 1, true)] {
        let frame = MESSAGE.replace("foo=x", &format!("foo={}", "y".repeat(length)));
        assert!(bench.passes(&frame, Duration::ZERO));
        assert_eq!(bench.passes(&frame, Duration::ZERO), second_passes);
    }
}

#[test]
fn lines_of_cisco_and_what_is_neither_are_filtered_by_their_columns() {
    let asa = "<166>Nov 25 2026 01:59:07 fw01 : %ASA-6-302013: Built inbound TCP connection 8 for \
               outside:192.0.2.1/7 (192.0.2.1/7) to inside:10.0.0.5/443 (10.0.0.5/443)";
    for (frame, when) in [
        (asa, equals("DeviceVendor", "Cisco")),
        (asa, equals("SourceIP", "192.0.2.1")),
        (asa, equals("DeviceEventClassID", "302013")),
        ("<13>what is this", equals("DeviceProduct", "unparsed")),
        ("<13>what is this", equals("Message", "<13>what is this")),
    ] {
        let mut bench = Bench::new(&[rule("c", vec![when.clone()], Action::Drop)]);
        assert!(!bench.passes(frame, Duration::ZERO), "{when:?}");
        assert!(bench.passes(MESSAGE, Duration::ZERO));
        assert_eq!(bench.tally.value(Counter::RowsFilteredDrop), 1);
        assert_eq!(bench.tally.value(Counter::RowsWritten), 1);
    }
}

// ---- the rules that are shipped ------------------------------------------------------------

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shipped() -> Vec<Filter> {
    config::read_filters(&root().join("dist/filters.toml"))
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_shipped_rules_are_ten_good_ones() {
    assert_eq!(shipped().len(), 10);
    // as they are, and with any of them left out
    let text = fs::read_to_string(root().join("dist/filters.toml")).unwrap();
    assert_eq!(text.matches("[[filter]]\nname").count(), 10);
}

#[test]
fn the_example_of_the_reference_is_a_good_rule() {
    let lines = config::REFERENCE.lines();
    let example = lines
        .skip_while(|line| !line.starts_with("#   [[filter]]"))
        .map_while(|line| line.strip_prefix("#   "));
    let text: Vec<&str> = example.collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("filters.toml");
    fs::write(&file, text.join("\n")).unwrap();
    let rules = config::read_filters(&file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].when.len(), 4);
}

fn lines(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    paths.sort();
    let files = paths.iter().map(|path| fs::read(path).unwrap());
    let lines: Vec<Vec<u8>> = files
        .flat_map(|bytes| {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
            lines.collect::<Vec<_>>()
        })
        .filter(|line| !line.is_empty())
        .collect();
    lines
}

/// The table in the README: what each of the shipped rules by itself, and all together, do to the
/// bytes of the rows of the corpus. All messages at one moment.
#[test]
fn the_readme_says_what_the_shipped_rules_save() {
    let Some(folder) = corpus::corpus() else {
        return;
    };
    let lines = lines(&folder);
    let rules = shipped();
    let run = |rules: &[Filter]| {
        let mut bench = Bench::new(rules);
        let (mut rows, mut bytes) = (0, 0);
        for line in &lines {
            let frame = Frame {
                bytes: line,
                end: End::Whole,
            };
            let source = bench.source(Duration::ZERO);
            bench.page.reset();
            let outcome = bench
                .mapper
                .map(frame, source, &mut bench.page, &mut bench.tally);
            rows += u64::from(outcome == Outcome::Written);
            bytes += bench.page.bytes_len();
        }
        let mut matched = 0;
        if !rules.is_empty() {
            bench.close();
            bytes += bench.page.bytes_len();
            matched = bench.counts().iter().map(|one| one.matched).sum::<u64>();
        }
        (rows, matched, bytes)
    };
    let (all_rows, _, before) = run(&[]);
    let share = |bytes: usize| 100.0 * (1.0 - bytes as f64 / before as f64);
    let mut table = String::new();
    for rule in &rules {
        let (rows, matched, bytes) = run(std::slice::from_ref(rule));
        let (name, word) = (&rule.name, rule.action.word());
        let gone = all_rows - rows;
        table += &format!(
            "| `{name}` | {word} | {matched} | {gone} | {:.1} % |\n",
            share(bytes)
        );
    }
    let (rows, _, bytes) = run(&rules);
    let gone = all_rows - rows;
    table += &format!("| all ten | | | {gone} | {:.1} % |\n", share(bytes));
    println!("{} lines, {before} bytes of rows\n{table}", lines.len());
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&table), "the README does not have\n{table}");
}
