//! The workbook: a list of tiles, as JSON in a text of its own, which is how Azure takes it.

use super::content::{COLLECTORS, HELD, LAG, Query, REJECTED, UNPARSED, VOLUME, VOLUME_OVER_TIME};
use super::json;
use super::model::Value;

/// Version of the form, which the resource repeats.
pub(super) const VERSION: &str = "Notebook/1.0";
/// The parameter that all queries take their time range from.
const RANGE: &str = "TimeRange";
/// Time ranges to choose from, in milliseconds: an hour to 30 days. The second is the first shown.
const RANGES_MS: [i64; 5] = [
    3_600_000,
    86_400_000,
    3 * 86_400_000,
    7 * 86_400_000,
    30 * 86_400_000,
];

/// What a query's answer is shown as.
struct Tile {
    title: &'static str,
    query: Query,
    chart: &'static str,
    none: &'static str,
}

const TILES: [Tile; 7] = [
    Tile {
        title: "Collectors, by their newest heartbeat",
        query: COLLECTORS,
        chart: "table",
        none: "No heartbeat: is it turned off, or did no collector run?",
    },
    Tile {
        title: "Rows that wait in the collectors",
        query: HELD,
        chart: "timechart",
        none: "No heartbeat",
    },
    Tile {
        title: "Volume by product: events and billed GB",
        query: VOLUME,
        chart: "table",
        none: "No rows",
    },
    Tile {
        title: "Events by vendor",
        query: VOLUME_OVER_TIME,
        chart: "timechart",
        none: "No rows",
    },
    Tile {
        title: "Seconds from receipt to the table",
        query: LAG,
        chart: "timechart",
        none: "No rows",
    },
    Tile {
        title: "Rejected by Azure (DCRLogErrors)",
        query: REJECTED,
        chart: "table",
        none: "Nothing was rejected",
    },
    Tile {
        title: "Not CEF, or too broken (unparsed rows)",
        query: UNPARSED,
        chart: "table",
        none: "Everything could be parsed",
    },
];

/// The workbook as text.
pub(super) fn text() -> String {
    let mut items = vec![range()];
    items.extend(TILES.iter().map(tile));
    json::pretty(&Value::object([
        ("version", Value::text(VERSION)),
        ("items", Value::List(items)),
        ("fallbackResourceIds", Value::List(Vec::new())),
    ]))
}

fn duration(ms: i64) -> Value {
    Value::object([("durationMs", Value::Whole(ms))])
}

/// The choice of the time range. The numbers are the form's own: 9 is an item of parameters, 4 a
/// parameter that is a time range.
fn range() -> Value {
    let choices = RANGES_MS.into_iter().map(duration).collect();
    let parameter = Value::object([
        ("id", Value::text("6f1b7b0e-3c52-4f0e-9a53-2b6d0f6a6c11")),
        ("version", Value::text("KqlParameterItem/1.0")),
        ("name", Value::text(RANGE)),
        ("label", Value::text("Time range")),
        ("type", Value::Whole(4)),
        ("isRequired", Value::Bool(true)),
        ("value", duration(RANGES_MS[1])),
        (
            "typeSettings",
            Value::object([("selectableValues", Value::List(choices))]),
        ),
    ]);
    Value::object([
        ("type", Value::Whole(9)),
        (
            "content",
            Value::object([
                ("version", Value::text("KqlParameterItem/1.0")),
                ("parameters", Value::List(vec![parameter])),
                ("style", Value::text("pills")),
                ("queryType", Value::Whole(0)),
                (
                    "resourceType",
                    Value::text("microsoft.operationalinsights/workspaces"),
                ),
            ]),
        ),
        ("name", Value::text("range")),
    ])
}

/// A query and its answer: 3 is an item that is a query, 0 the language of Log Analytics.
fn tile(tile: &Tile) -> Value {
    Value::object([
        ("type", Value::Whole(3)),
        (
            "content",
            Value::object([
                ("version", Value::text("KqlItem/1.0")),
                ("query", Value::text(tile.query.kql)),
                ("size", Value::Whole(0)),
                ("title", Value::text(tile.title)),
                ("noDataMessage", Value::text(tile.none)),
                ("timeContextFromParameter", Value::text(RANGE)),
                ("queryType", Value::Whole(0)),
                (
                    "resourceType",
                    Value::text("microsoft.operationalinsights/workspaces"),
                ),
                ("visualization", Value::text(tile.chart)),
            ]),
        ),
        ("name", Value::text(tile.query.name)),
    ])
}
