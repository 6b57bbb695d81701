#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
//! Queries over a small table whose answers can be counted by hand, over a large one whose answers
//! are known by construction, and over text that is no query at all.

use cefline::clock::Wall;
use cefline::emulator::kql::{Answer, QueryError, answer};
use cefline::emulator::rows::read_rows;
use cefline::emulator::table::{Schema, Table};
use proptest::prelude::*;
use serde_json::{Value, json};

/// 2024-05-01T12:00:00Z
const NOW: Wall = Wall(1_714_564_800_000_000_000);

struct Fixture {
    schema: Schema,
    table: Table,
}

impl Fixture {
    fn of(rows: &Value) -> Self {
        let schema = Schema::default();
        let mut table = Table::new(usize::MAX);
        let (rows, notes) = read_rows(rows.to_string().as_bytes(), NOW, &schema).unwrap();
        assert_eq!(notes.keys_dropped + notes.values_mismatched, 0);
        table.append(&rows);
        Fixture { schema, table }
    }

    fn ask(&self, query: &str) -> Result<Answer, QueryError> {
        answer(query, &self.table.snapshot(), &self.schema, NOW, None)
    }

    fn rows(&self, query: &str) -> Vec<Vec<Value>> {
        match self.ask(query) {
            Ok(answer) => answer.rows(),
            Err(error) => panic!("{}", error.explain(query)),
        }
    }

    fn names(&self, query: &str) -> Vec<(String, &'static str)> {
        let columns = self.ask(query).unwrap().columns;
        columns
            .into_iter()
            .map(|column| (column.name, column.kind.name()))
            .collect()
    }
}

/// Six rows: ids a to f, one minute apart, a the oldest.
fn small() -> Fixture {
    Fixture::of(&json!([
        {"TimeGenerated": "2024-05-01T11:50:00Z", "ExtID": "a", "DeviceVendor": "Darktrace", "Activity": "Anomalous Connection",
         "DestinationPort": 443, "SentBytes": 100, "LogSeverity": "5", "DeviceCustomFloatingPoint1": 0.5},
        {"TimeGenerated": "2024-05-01T11:51:00Z", "ExtID": "b", "DeviceVendor": "Fortinet", "Activity": "traffic:forward close",
         "DestinationPort": 53, "SentBytes": 200, "LogSeverity": "3"},
        {"TimeGenerated": "2024-05-01T11:52:00Z", "ExtID": "c", "DeviceVendor": "darktrace", "Activity": "Unusual Activity",
         "DestinationPort": 443, "SentBytes": 50, "DeviceCustomFloatingPoint1": 1.5},
        {"TimeGenerated": "2024-05-01T11:53:00Z", "ExtID": "d", "DeviceVendor": "Darktrace", "Activity": "Beaconing-Activity x10",
         "SentBytes": 300, "LogSeverity": "8"},
        {"TimeGenerated": "2024-05-01T11:54:00Z", "ExtID": "e", "DeviceVendor": "Palo Alto Networks", "Activity": "THREAT",
         "DestinationPort": 80, "SentBytes": 9_000_000_000_i64},
        {"TimeGenerated": "2024-05-01T11:55:00Z", "ExtID": "f", "DeviceVendor": "Darktrace", "Activity": "",
         "DestinationPort": 22},
    ]))
}

fn ids(rows: &[Vec<Value>]) -> String {
    rows.iter().map(|row| row[0].as_str().unwrap()).collect()
}

#[test]
fn the_query_of_the_connector_page_gives_the_newest_first() {
    let fixture = small();
    let query = "CommonSecurityLog | where DeviceVendor == \"Darktrace\" | order by TimeGenerated desc | limit 10";
    let answer = fixture.ask(query).unwrap();
    assert_eq!(answer.rows_count, 3);
    assert_eq!(answer.columns.len(), 163);
    let id = answer
        .columns
        .iter()
        .position(|column| column.name == "ExtID")
        .unwrap();
    let found: Vec<Value> = (0..3).map(|row| answer.cell(row, id)).collect();
    assert_eq!(found, ["f", "d", "a"]);
    let time = answer
        .columns
        .iter()
        .position(|column| column.name == "TimeGenerated")
        .unwrap();
    assert_eq!(answer.cell(0, time), "2024-05-01T11:55:00Z");
    let kind = answer
        .columns
        .iter()
        .position(|column| column.name == "Type")
        .unwrap();
    assert_eq!(answer.cell(0, kind), "CommonSecurityLog");
    let port = answer
        .columns
        .iter()
        .position(|column| column.name == "DestinationPort")
        .unwrap();
    assert_eq!(answer.cell(1, port), Value::Null);
}

#[test]
fn conditions_keep_the_right_rows() {
    let fixture = small();
    for (condition, expected) in [
        ("DeviceVendor == 'Darktrace'", "adf"),
        ("DeviceVendor =~ 'DARKTRACE'", "acdf"),
        ("DeviceVendor != 'Darktrace'", "bce"),
        ("DeviceVendor !~ 'darktrace'", "be"),
        ("Activity has 'activity'", "cd"),
        ("Activity has 'act'", ""),
        ("Activity has_cs 'Activity'", "cd"),
        ("Activity has_cs 'activity'", ""),
        ("Activity !has 'activity'", "abef"),
        ("Activity contains 'CONN'", "a"),
        ("Activity !contains 'a'", "f"),
        ("Activity contains_cs 'THREAT'", "e"),
        ("Activity startswith 'un'", "c"),
        ("Activity !startswith 'un'", "abdef"),
        ("Activity endswith 'CLOSE'", "b"),
        ("Activity endswith_cs 'CLOSE'", ""),
        ("Activity has_any ('threat', 'connection')", "ae"),
        ("Activity has_all ('anomalous', 'connection')", "a"),
        ("DeviceVendor in ('Fortinet', 'darktrace')", "bc"),
        ("DeviceVendor in~ ('FORTINET', 'darktrace')", "abcdf"),
        ("DeviceVendor !in ('Fortinet', 'Darktrace')", "ce"),
        ("DeviceVendor !in~ ('fortinet', 'darktrace')", "e"),
        ("DestinationPort == 443", "ac"),
        ("443 == DestinationPort", "ac"),
        ("DestinationPort != 443", "bdef"),
        ("DestinationPort > 53", "ace"),
        ("DestinationPort >= 53", "abce"),
        ("DestinationPort < 53", "f"),
        ("DestinationPort <= 53", "bf"),
        ("DestinationPort in (22, 80)", "ef"),
        ("DestinationPort !in (22, 80)", "abcd"),
        ("DestinationPort between (53 .. 443)", "abce"),
        ("DestinationPort !between (53 .. 443)", "df"),
        ("SentBytes > 4000000000", "e"),
        ("DeviceCustomFloatingPoint1 > 1", "c"),
        ("DeviceCustomFloatingPoint1 <= 0.5", "a"),
        ("TimeGenerated >= datetime(2024-05-01T11:54:00Z)", "ef"),
        ("TimeGenerated < datetime('2024-05-01 11:51:00')", "a"),
        ("TimeGenerated > ago(7m)", "ef"),
        ("TimeGenerated > now() - 7m", "ef"),
        ("TimeGenerated between (ago(9m) .. ago(8m))", "bc"),
        ("now() - TimeGenerated < 6m", "f"),
        ("isempty(Activity)", "f"),
        ("isnotempty(DestinationPort)", "abcef"),
        ("isnull(DestinationPort)", "d"),
        ("not(DeviceVendor == 'Darktrace')", "bce"),
        (
            "DeviceVendor == 'Darktrace' and DestinationPort == 443 or DeviceVendor == 'Fortinet'",
            "ab",
        ),
        (
            "DeviceVendor == 'Darktrace' and (DestinationPort == 443 or LogSeverity == '8')",
            "ad",
        ),
        ("tolower(DeviceVendor) == 'darktrace'", "acdf"),
        ("strlen(DeviceVendor) == 8", "b"),
        ("tostring(DestinationPort) == '443'", "ac"),
        ("tolong(LogSeverity) >= 5", "ad"),
        ("SentBytes / 100 == 2", "b"),
        ("-SentBytes + 1 == -49", "c"),
        ("true", "abcdef"),
        ("Activity == DeviceVendor", ""),
        ("['DeviceVendor'] == h'Fortinet'", "b"),
    ] {
        let query = format!("CommonSecurityLog | where {condition} | project ExtID");
        assert_eq!(ids(&fixture.rows(&query)), expected, "{condition}");
    }
}

#[test]
fn orders_put_absent_values_where_kusto_does() {
    let fixture = small();
    for (order, expected) in [
        ("order by TimeGenerated", "fedcba"),
        ("sort by TimeGenerated asc", "abcdef"),
        ("order by DestinationPort desc, ExtID asc", "acebfd"),
        ("order by DestinationPort asc, ExtID asc", "dfbeac"),
        (
            "order by DestinationPort asc nulls last, ExtID asc",
            "fbeacd",
        ),
        (
            "order by DestinationPort desc nulls first, ExtID asc",
            "dacebf",
        ),
        ("order by DeviceVendor asc, ExtID desc", "fdabec"),
        ("top 2 by SentBytes", "ed"),
        ("top 2 by SentBytes asc nulls last", "ca"),
        ("order by TimeGenerated | take 2", "fe"),
        ("order by TimeGenerated asc | limit 0", ""),
        ("take 3", "abc"),
        ("top 0 by ExtID", ""),
        (
            "order by ExtID | take 4 | order by ExtID asc | take 2",
            "cd",
        ),
        (
            "order by TimeGenerated | where DeviceVendor == 'Darktrace' | take 2",
            "fd",
        ),
    ] {
        let query = format!("CommonSecurityLog | {order} | project ExtID");
        assert_eq!(ids(&fixture.rows(&query)), expected, "{order}");
    }
}

#[test]
fn groups_are_counted_and_named_as_kusto_does() {
    let fixture = small();
    assert_eq!(fixture.rows("CommonSecurityLog | count"), [[json!(6)]]);
    assert_eq!(
        fixture.names("CommonSecurityLog | count"),
        [("Count".to_owned(), "long")]
    );
    let query = "CommonSecurityLog | summarize count() by DeviceVendor | order by count_ desc, DeviceVendor asc";
    assert_eq!(
        fixture.rows(query),
        [
            [json!("Darktrace"), json!(3)],
            [json!("Fortinet"), json!(1)],
            [json!("Palo Alto Networks"), json!(1)],
            [json!("darktrace"), json!(1)],
        ]
    );
    assert_eq!(
        fixture.names(query),
        [
            ("DeviceVendor".to_owned(), "string"),
            ("count_".to_owned(), "long")
        ]
    );
    let query = "CommonSecurityLog | summarize n = count(), dcount(DestinationPort), sum(SentBytes), min(TimeGenerated), \
                 max(DestinationPort), avg(SentBytes), countif(DestinationPort == 443)";
    assert_eq!(
        fixture.rows(query),
        [[
            json!(6),
            json!(4),
            json!(9_000_000_650_i64),
            json!("2024-05-01T11:50:00Z"),
            json!(443),
            json!(1_800_000_130.0),
            json!(2),
        ]]
    );
    assert_eq!(
        fixture.names(query),
        [
            ("n".to_owned(), "long"),
            ("dcount_DestinationPort".to_owned(), "long"),
            ("sum_SentBytes".to_owned(), "long"),
            ("min_TimeGenerated".to_owned(), "datetime"),
            ("max_DestinationPort".to_owned(), "int"),
            ("avg_SentBytes".to_owned(), "real"),
            ("countif_".to_owned(), "long"),
        ]
    );
    let query = "CommonSecurityLog | summarize count() by bin(TimeGenerated, 2m) | order by TimeGenerated asc";
    assert_eq!(
        fixture.rows(query),
        [
            [json!("2024-05-01T11:50:00Z"), json!(2)],
            [json!("2024-05-01T11:52:00Z"), json!(2)],
            [json!("2024-05-01T11:54:00Z"), json!(2)],
        ]
    );
    assert_eq!(
        fixture.rows("CommonSecurityLog | distinct DestinationPort | order by DestinationPort asc"),
        [
            [Value::Null],
            [json!(22)],
            [json!(53)],
            [json!(80)],
            [json!(443)]
        ]
    );
    assert_eq!(
        fixture.rows("CommonSecurityLog | distinct * | count"),
        [[json!(6)]]
    );
    assert_eq!(
        fixture.rows("CommonSecurityLog | summarize by DestinationPort | count"),
        [[json!(5)]]
    );
    assert_eq!(
        fixture.rows("CommonSecurityLog | summarize count() by ExtID | where count_ > 1 | count"),
        [[json!(0)]]
    );
}

#[test]
fn a_nested_query_costs_no_more_than_its_length() {
    let fixture = small();
    let mut value = "SentBytes".to_owned();
    for _ in 0..20 {
        value = format!("strlen(tostring({value} between (1 .. 2)))");
    }
    // were anything in it looked at twice, this would take 2^20 times as long for each row
    let clock = cefline::clock::Clock::start();
    let rows = fixture.rows(&format!("CommonSecurityLog | where {value} == 5 | count"));
    assert_eq!(rows, [[json!(6)]]);
    assert!(clock.mono().since(cefline::clock::Mono(0)) < std::time::Duration::from_secs(2));
}

#[test]
fn a_table_without_rows_still_counts_to_zero() {
    let fixture = Fixture::of(&json!([]));
    assert_eq!(fixture.rows("CommonSecurityLog | count"), [[json!(0)]]);
    assert_eq!(
        fixture.rows("CommonSecurityLog | summarize count(), max(ExtID), sum(SentBytes)"),
        [[json!(0), json!(""), Value::Null]]
    );
    assert!(
        fixture
            .rows("CommonSecurityLog | summarize count() by ExtID")
            .is_empty()
    );
    assert!(
        fixture
            .rows("CommonSecurityLog | order by TimeGenerated | take 3")
            .is_empty()
    );
    assert_eq!(fixture.ask("CommonSecurityLog").unwrap().columns.len(), 163);
}

#[test]
fn columns_are_chosen_made_and_left_out() {
    let fixture = small();
    let query = "CommonSecurityLog | where ExtID == 'a' | project Id = ExtID, Twice = SentBytes * 2, DeviceVendor, DestinationPort + 0.5";
    assert_eq!(
        fixture.rows(query),
        [[json!("a"), json!(200), json!("Darktrace"), json!(443.5)]]
    );
    assert_eq!(
        fixture.names(query),
        [
            ("Id".to_owned(), "string"),
            ("Twice".to_owned(), "long"),
            ("DeviceVendor".to_owned(), "string"),
            ("Column4".to_owned(), "real"),
        ]
    );
    let query = "CommonSecurityLog | project ExtID, SentBytes, DeviceVendor | project-away SentBytes \
                 | extend ExtID = toupper(ExtID), Age = now() - datetime(2024-05-01T11:00:00Z) | take 1";
    assert_eq!(
        fixture.rows(query),
        [[json!("A"), json!("Darktrace"), json!("01:00:00")]]
    );
    let query = "CommonSecurityLog | extend Big = SentBytes > 150 | where Big | project ExtID, Big";
    assert_eq!(
        fixture.rows(query),
        [
            [json!("b"), json!(true)],
            [json!("d"), json!(true)],
            [json!("e"), json!(true)]
        ]
    );
}

#[test]
fn mistakes_are_explained_at_their_place() {
    let fixture = small();
    for (query, at, part) in [
        ("SecurityEvent | count", 0, "only CommonSecurityLog"),
        (
            "CommonSecurityLog | where devicevendor == 'x'",
            26,
            "did you mean `DeviceVendor`",
        ),
        (
            "CommonSecurityLog | project ExtID | where DeviceVendor == 'x'",
            42,
            "no column `DeviceVendor`",
        ),
        (
            "CommonSecurityLog | where DestinationPort == '443'",
            45,
            "without quotes",
        ),
        (
            "CommonSecurityLog | where DestinationPort has '443'",
            26,
            "compares strings",
        ),
        (
            "CommonSecurityLog | where TimeGenerated > '2024-05-01'",
            42,
            "datetime(",
        ),
        (
            "CommonSecurityLog | where DeviceVendor > 'x'",
            41,
            "no `<` and `>`",
        ),
        (
            "CommonSecurityLog | where DeviceVendor",
            26,
            "a condition was expected",
        ),
        (
            "CommonSecurityLog | where DeviceVendor in ('x', 1)",
            48,
            "a long in a list for a string",
        ),
        (
            "CommonSecurityLog | where DeviceVendor in (ExtID)",
            43,
            "a list of values",
        ),
        (
            "CommonSecurityLog | where TimeGenerated > datetime(soon)",
            42,
            "is no time",
        ),
        (
            "CommonSecurityLog | where frobnicate(ExtID) == 1",
            26,
            "there is no `frobnicate`",
        ),
        (
            "CommonSecurityLog | summarize ExtID",
            30,
            "summarize computes",
        ),
        (
            "CommonSecurityLog | summarize median(SentBytes)",
            30,
            "no `median`",
        ),
        (
            "CommonSecurityLog | summarize sum(ExtID)",
            34,
            "adds numbers",
        ),
        (
            "CommonSecurityLog | summarize count() by ExtID, ExtID",
            48,
            "two columns",
        ),
        (
            "CommonSecurityLog | extend a = DeviceVendor + 1",
            31,
            "arithmetic",
        ),
        (
            "CommonSecurityLog | join kind=inner X on Y",
            20,
            "no operator `join`",
        ),
    ] {
        let error = fixture.ask(query).unwrap_err();
        assert_eq!(error.at, at, "{query}: {error}");
        assert!(error.message.contains(part), "{query}: {error}");
        assert!(
            error
                .explain(query)
                .ends_with(&format!("{}^", " ".repeat(at))),
            "{query}"
        );
    }
    let query = "CommonSecurityLog\n| where 'ü' = 1";
    let error = fixture.ask(query).unwrap_err();
    assert!(
        error
            .explain(query)
            .contains("(line 2, column 13)\n  | where 'ü' = 1\n"),
        "{}",
        error.explain(query)
    );
}

/// Many blocks, times not in order of arrival, every tenth id twice.
fn large(seed: u64) -> (Fixture, Vec<(i64, String, i64)>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let schema = Schema::default();
    let mut table = Table::new(usize::MAX);
    let mut all = Vec::new();
    for body in 0..60 {
        let rows: Vec<Value> = (0..random.usize(1..600))
            .map(|n| {
                let id = if n % 10 == 9 {
                    format!("{body}-{}", n - 1)
                } else {
                    format!("{body}-{n}")
                };
                let second = random.i64(0..3600);
                let port = random.i64(0..5);
                all.push((second, id.clone(), port));
                let stamp =
                    cefline::emulator::stamp::time_text(NOW.0 - (3600 - second) * 1_000_000_000);
                json!({"TimeGenerated": stamp, "ExtID": id, "DestinationPort": port})
            })
            .collect();
        let (rows, _) = read_rows(json!(rows).to_string().as_bytes(), NOW, &schema).unwrap();
        table.append(&rows);
    }
    (Fixture { schema, table }, all)
}

#[test]
fn over_many_blocks_the_newest_and_the_repeated_are_found() {
    let seed = fastrand::u64(..);
    let (fixture, all) = large(seed);
    assert!(
        fixture.table.snapshot().len() > 3,
        "seed {seed}: too few blocks to mean anything"
    );

    // the newest first, of equal ones the last to arrive first: by the query and by sorting
    let mut expected: Vec<(i64, usize)> = all
        .iter()
        .enumerate()
        .map(|(at, row)| (row.0, at))
        .collect();
    expected.sort_by(|one, two| two.cmp(one));
    for count in [1, 10, 700, 100_000] {
        let query =
            format!("CommonSecurityLog | order by TimeGenerated | take {count} | project ExtID");
        let found: Vec<String> = fixture
            .rows(&query)
            .iter()
            .map(|row| row[0].as_str().unwrap().to_owned())
            .collect();
        let expected: Vec<String> = expected
            .iter()
            .take(count)
            .map(|(_, at)| all[*at].1.clone())
            .collect();
        assert_eq!(found, expected, "seed {seed}, {count} rows");
    }
    let with_port: Vec<&String> = expected
        .iter()
        .filter(|(_, at)| all[*at].2 == 3)
        .map(|(_, at)| &all[*at].1)
        .take(5)
        .collect();
    let query =
        "CommonSecurityLog | where DestinationPort == 3 | top 5 by TimeGenerated | project ExtID";
    let found = fixture.rows(query);
    assert_eq!(
        found
            .iter()
            .map(|row| row[0].as_str().unwrap())
            .collect::<Vec<_>>(),
        with_port,
        "seed {seed}"
    );

    let mut counts = std::collections::HashMap::new();
    for (_, id, _) in &all {
        *counts.entry(id).or_insert(0) += 1;
    }
    let repeated = counts.values().filter(|count| **count > 1).count();
    for (query, expected) in [
        (
            "CommonSecurityLog | summarize count() by ExtID | where count_ > 1 | count",
            repeated,
        ),
        ("CommonSecurityLog | distinct ExtID | count", counts.len()),
        ("CommonSecurityLog | summarize dcount(ExtID)", counts.len()),
        ("CommonSecurityLog | count", all.len()),
        (
            "CommonSecurityLog | where DestinationPort == 2 | count",
            all.iter().filter(|row| row.2 == 2).count(),
        ),
        ("CommonSecurityLog | take 5000 | count", all.len().min(5000)),
        ("CommonSecurityLog | order by ExtID asc | count", all.len()),
    ] {
        assert_eq!(
            fixture.rows(query),
            [[json!(expected)]],
            "{query}, seed {seed}"
        );
    }
}

#[test]
fn a_timespan_bounds_what_is_looked_at() {
    let fixture = small();
    let minute = 60_000_000_000;
    let between = Some((NOW.0 - 8 * minute, NOW.0 - 6 * minute));
    let snapshot = fixture.table.snapshot();
    let found = answer(
        "CommonSecurityLog | project ExtID",
        &snapshot,
        &fixture.schema,
        NOW,
        between,
    )
    .unwrap();
    assert_eq!(ids(&found.rows()), "cde");
}

fn words() -> impl Strategy<Value = String> {
    let words = [
        "CommonSecurityLog",
        "|",
        "where",
        "order",
        "by",
        "take",
        "top",
        "project",
        "project-away",
        "extend",
        "distinct",
        "count",
        "summarize",
        "DeviceVendor",
        "TimeGenerated",
        "DestinationPort",
        "ExtID",
        "==",
        "!=",
        "=~",
        "<",
        ">",
        "has",
        "!has",
        "contains",
        "in",
        "in~",
        "!in",
        "between",
        "..",
        "(",
        ")",
        ",",
        "and",
        "or",
        "not(",
        "ago(1h)",
        "now()",
        "datetime(2024-05-01)",
        "bin(",
        "count()",
        "dcount(",
        "sum(",
        "min(",
        "avg(",
        "'x'",
        "\"Darktrace\"",
        "443",
        "0",
        "-1",
        "1.5",
        "1e308",
        "5m",
        "9223372036854775807",
        "true",
        "asc",
        "desc",
        "nulls",
        "first",
        "*",
        "/",
        "%",
        "+",
        "-",
        "=",
        "a",
        "['ExtID']",
        "tostring(",
        "isempty(",
        "//",
        "\n",
        "@'\\'",
        "ü",
        "\u{0}",
        ";",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..24)
        .prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_text_makes_the_query_language_panic(text in ".{0,200}") {
        let fixture = small();
        if let Err(error) = fixture.ask(&text) {
            let _ = error.explain(&text);
        }
        if let Err(error) = fixture.ask(&format!("CommonSecurityLog | where {text}")) {
            let _ = error.explain(&text);
        }
    }

    #[test]
    fn no_sequence_of_its_own_words_makes_the_query_language_panic(tail in words(), head in 0..4usize) {
        let fixture = small();
        let head = ["", "CommonSecurityLog | where ", "CommonSecurityLog | summarize ", "CommonSecurityLog | extend a = "][head];
        let query = format!("{head}{tail}");
        match fixture.ask(&query) {
            Ok(answer) => { let _ = answer.to_json(); }
            Err(error) => { let _ = error.explain(&query); }
        }
    }

    #[test]
    fn no_body_makes_the_row_reader_panic(body in prop::collection::vec(any::<u8>(), 0..300), json in "[\\[\\]{}:,\"a-zA-Z0-9\\\\.eE+-]{0,200}") {
        let schema = Schema::default();
        let _ = read_rows(&body, NOW, &schema);
        let _ = read_rows(json.as_bytes(), NOW, &schema);
        let inside = format!("[{{\"TimeGenerated\":\"{}\",\"SourcePort\":1,{json}}}]", "2024-05-01T12:00:00Z");
        if let Ok((rows, _)) = read_rows(inside.as_bytes(), NOW, &schema) {
            let mut table = Table::new(usize::MAX);
            table.append(&rows);
            answer("CommonSecurityLog | order by ExtID", &table.snapshot(), &schema, NOW, None).unwrap();
        }
    }
}

#[test]
fn pairs_in_a_text_become_columns_of_the_types_that_are_asked_for() {
    let fixture = Fixture::of(&json!([
        {"ExtID": "a", "AdditionalExtensions": "rows=12;lag=1.5; who = you ;rows=99;since=2024-05-01T00:00:00Z;on=true"},
        {"ExtID": "b", "AdditionalExtensions": "rows=many;who=a=b;crows=7"},
        {"ExtID": "c"},
    ]));
    let query = "CommonSecurityLog | parse-kv AdditionalExtensions as (rows: long, lag: real, who: string, since: datetime, on: bool) \
                 with (pair_delimiter=';', kv_delimiter='=') | project ExtID, rows, lag, who, since, on";
    assert_eq!(
        fixture.rows(query),
        [
            [
                json!("a"),
                json!(12),
                json!(1.5),
                json!("you"),
                json!("2024-05-01T00:00:00Z"),
                json!(true)
            ],
            [
                json!("b"),
                Value::Null,
                Value::Null,
                json!("a=b"),
                Value::Null,
                Value::Null
            ],
            [
                json!("c"),
                Value::Null,
                Value::Null,
                json!(""),
                Value::Null,
                Value::Null
            ],
        ]
    );
    // a key may have the name of a column, whose place it takes
    let query = "CommonSecurityLog | parse-kv AdditionalExtensions as (ExtID: string) with (pair_delimiter=';', kv_delimiter='=') | where ExtID == '' | count";
    assert_eq!(fixture.rows(query), [[json!(3)]]);
}

#[test]
fn choices_take_the_first_that_fits() {
    let fixture = small();
    let query = "CommonSecurityLog | project ExtID, iff(SentBytes > 150, 'big', 'small'), \
                 case(DestinationPort == 443, 1, DestinationPort < 60, 2, 3), \
                 coalesce(LogSeverity, Activity, 'none'), coalesce(SentBytes, 0), iff(isnull(DestinationPort), 0.5, 1)";
    let rows = fixture.rows(query);
    assert_eq!(
        rows[0],
        [
            json!("a"),
            json!("small"),
            json!(1),
            json!("5"),
            json!(100),
            json!(1.0)
        ]
    );
    assert_eq!(
        rows[3],
        [
            json!("d"),
            json!("big"),
            json!(3),
            json!("8"),
            json!(300),
            json!(0.5)
        ]
    );
    assert_eq!(
        rows[5],
        [
            json!("f"),
            json!("small"),
            json!(2),
            json!("none"),
            json!(0),
            json!(1.0)
        ]
    );
}

#[test]
fn rows_that_lead_a_group_hand_on_what_they_hold() {
    let fixture = small();
    let query = "CommonSecurityLog | summarize (First, Id) = arg_min(TimeGenerated, ExtID), arg_max(SentBytes, Activity, LogSeverity), \
                 percentile(SentBytes, 50), Ninety = percentile(DeviceCustomFloatingPoint1, 90), take_any(DeviceVendor)";
    assert_eq!(
        fixture.rows(query),
        [[
            json!("2024-05-01T11:50:00Z"),
            json!("a"),
            json!(9_000_000_000_i64),
            json!("THREAT"),
            json!(""),
            json!(200),
            json!(1.5),
            json!("Darktrace"),
        ]]
    );
    let names: Vec<String> = fixture
        .names(query)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        [
            "First",
            "Id",
            "SentBytes",
            "Activity",
            "LogSeverity",
            "percentile_SentBytes_50",
            "Ninety",
            "DeviceVendor"
        ]
    );
    let query = "CommonSecurityLog | where DeviceVendor =~ 'darktrace' | summarize (Newest, Id) = arg_max(TimeGenerated, ExtID) by Port = DestinationPort | order by Id asc";
    let ids: Vec<Value> = fixture
        .rows(query)
        .into_iter()
        .map(|row| row[2].clone())
        .collect();
    assert_eq!(ids, ["c", "d", "f"]);
    // of no rows there is none that leads
    let query = "CommonSecurityLog | where false | summarize arg_max(TimeGenerated, ExtID), percentile(SentBytes, 50)";
    assert_eq!(fixture.rows(query), [[Value::Null, json!(""), Value::Null]]);
}

#[test]
fn the_time_of_receipt_is_known_and_is_no_column() {
    let fixture = small();
    let query = "CommonSecurityLog | where ExtID == 'a' | extend Late = (ingestion_time() - TimeGenerated) / 1m | project Late, ingestion_time()";
    assert_eq!(
        fixture.rows(query),
        [[json!(10.0), json!("2024-05-01T12:00:00Z")]]
    );
    for (query, columns_count) in [
        ("CommonSecurityLog", 163),
        ("CommonSecurityLog | order by TimeGenerated | take 2", 163),
        ("CommonSecurityLog | distinct *", 163),
        ("CommonSecurityLog | extend A = 1 | project-away ExtID", 163),
        ("CommonSecurityLog | where ingestion_time() > ago(1m)", 163),
    ] {
        let answer = fixture.ask(query).unwrap();
        assert_eq!(answer.columns.len(), columns_count, "{query}");
        assert!(
            answer
                .columns
                .iter()
                .all(|column| column.name != "ingestion_time()")
        );
    }
    assert_eq!(
        fixture.rows("CommonSecurityLog | where ingestion_time() < ago(1m) | count"),
        [[json!(0)]]
    );
}

#[test]
fn mistakes_in_what_is_computed_are_explained_at_their_place() {
    let fixture = small();
    for (query, part) in [
        (
            "project ExtID | extend A = ingestion_time()",
            "own rows only",
        ),
        ("extend A = iff(SentBytes, 1, 2)", "there is no `iff` here"),
        ("extend A = iff(true, 1, 'a')", "there is no `iff` here"),
        ("extend A = iff(true, 1)", "there is no `iff` here"),
        ("extend A = case(true, 1)", "there is no `case` here"),
        ("extend A = case(1)", "there is no `case` here"),
        ("extend A = coalesce()", "there is no `coalesce` here"),
        ("summarize arg_max(TimeGenerated)", "a key, and values"),
        (
            "summarize (A, B, C) = arg_max(TimeGenerated, ExtID)",
            "no value for `C`",
        ),
        ("summarize (A, B) = count()", "no value for `B`"),
        ("summarize (A B) = count()", "expected `)`"),
        ("summarize percentile(SentBytes, 101)", "from 0 to 100"),
        (
            "summarize percentile(SentBytes, SentBytes)",
            "from 0 to 100",
        ),
        ("summarize percentile(ExtID, 5)", "orders numbers"),
        ("summarize median(ExtID)", "there is no `median` here"),
        (
            "parse-kv SentBytes as (a: long) with (pair_delimiter=';', kv_delimiter='=')",
            "reads strings",
        ),
        (
            "parse-kv Message as (a: many) with (pair_delimiter=';', kv_delimiter='=')",
            "`many` is no type",
        ),
        (
            "parse-kv Message as (a: long) with (pair_delimiter='', kv_delimiter='=')",
            "not empty",
        ),
        (
            "parse-kv Message as (a) with (pair_delimiter=';', kv_delimiter='=')",
            "expected `:`",
        ),
        ("parse-kv Message as (a: long)", "expected `with`"),
    ] {
        let query = format!("CommonSecurityLog | {query}");
        match fixture.ask(&query) {
            Err(error) => assert!(error.message.contains(part), "{query}: {error}"),
            Ok(_) => panic!("{query} was answered"),
        }
    }
}
