//! Content for Microsoft Sentinel: a workbook and analytic rules over what cefline writes.
//!
//! The queries stand in `content/*.kql`, as they would be typed into Sentinel's own page of logs,
//! and are run by the tests on the emulator's table. What they rest on: the heartbeat rows
//! (`DeviceProduct == "heartbeat"`, numbers in `AdditionalExtensions`), the `unparsed` rows, and the
//! table `DCRLogErrors` that the rules' diagnostic settings fill.
//!
//! A rule looks again each five minutes at a window that is longer, so what goes on gives an alert
//! each time; these are gathered into one incident for each collector and day.

use super::model::{Expr, How, Param, ParamKind, Place, Resource, Template, Value};
use super::workbook;

/// A query by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Name of its file.
    pub name: &'static str,
    /// Its text. In those of the workbook [`GRAIN`] stands for a span of time.
    pub kql: &'static str,
}

/// What a workbook replaces by the width of a step that fits the time range.
pub const GRAIN: &str = "{TimeRange:grain}";

macro_rules! query {
    ($name:literal) => {
        Query {
            name: $name,
            kql: include_str!(concat!("content/", $name, ".kql")),
        }
    };
}

/// Collectors without a heartbeat.
pub const COLLECTOR_SILENT: Query = query!("collector_silent");
/// Collectors whose losses grow.
pub const COLLECTOR_LOSING: Query = query!("collector_losing");
/// Darktrace's model breaches of high severity.
pub const DARKTRACE_HIGH: Query = query!("darktrace_model_breach_high");
/// State of each collector.
pub const COLLECTORS: Query = query!("collectors");
/// Rows that wait, over time.
pub const HELD: Query = query!("held_over_time");
/// Rows and bytes by product.
pub const VOLUME: Query = query!("volume_by_product");
/// Rows over time.
pub const VOLUME_OVER_TIME: Query = query!("volume_over_time");
/// From receipt to table.
pub const LAG: Query = query!("lag_over_time");
/// What the service dropped.
pub const REJECTED: Query = query!("rejected");
/// What is not CEF.
pub const UNPARSED: Query = query!("unparsed");

/// All queries.
pub const QUERIES: [Query; 10] = [
    COLLECTOR_SILENT,
    COLLECTOR_LOSING,
    DARKTRACE_HIGH,
    COLLECTORS,
    HELD,
    VOLUME,
    VOLUME_OVER_TIME,
    LAG,
    REJECTED,
    UNPARSED,
];

/// An analytic rule.
struct Rule {
    symbol: &'static str,
    about: &'static str,
    title: &'static str,
    description: &'static str,
    query: Query,
    /// ISO 8601.
    period: &'static str,
    /// Title of an alert, with up to three columns in it.
    alert: &'static str,
    /// What the alert is about: kind of entity, its identifier, the column.
    entities: &'static [(&'static str, &'static str, &'static str)],
    /// Columns that the alert shows.
    details: &'static [&'static str],
}

const RULES: [Rule; 3] = [
    Rule {
        symbol: "collectorSilent",
        about: "a collector that is gone, or cannot reach Azure",
        title: "cefline: collector is silent",
        description: "A collector sent heartbeats within the last day, and none for ten minutes: \
                      it is down, or cannot reach Azure. What it receives meanwhile waits in its \
                      spool. Look at its log and its /readyz.",
        query: COLLECTOR_SILENT,
        period: "P1D",
        alert: "cefline on {{Collector}} is silent since {{LastHeartbeat}}",
        entities: &[("Host", "HostName", "Collector")],
        details: &["LastHeartbeat", "SilentFor"],
    },
    Rule {
        symbol: "collectorLosing",
        about: "a collector that has lost something for good",
        title: "cefline: collector loses messages",
        description: "The counters of losses in a collector's heartbeats have grown. Its metrics \
                      cefline_rows_lost_total and cefline_frames_lost_total say why.",
        query: COLLECTOR_LOSING,
        period: "PT15M",
        alert: "cefline on {{Collector}} has lost {{LostInWindow}} messages",
        entities: &[("Host", "HostName", "Collector")],
        details: &["LostInWindow", "LostSinceStart"],
    },
    Rule {
        symbol: "darktraceHigh",
        about: "what Darktrace itself calls severe",
        title: "Darktrace: model breach of high severity",
        description: "Darktrace reports a model breach of severity 7 or more of 10 (High and \
                      Very-High in CEF's scale). Rows are looked at by the time at which they \
                      reached the table, up to a day late.",
        query: DARKTRACE_HIGH,
        period: "P1D",
        alert: "Darktrace: {{Activity}} on {{Host}}",
        entities: &[
            ("Host", "HostName", "Host"),
            ("IP", "Address", "SourceIP"),
            ("URL", "Url", "DarktraceUrl"),
        ],
        details: &["Severity", "BreachId", "DestinationIP"],
    },
];

/// The template.
#[must_use]
pub fn template() -> Template {
    let mut resources = vec![workspace(), workbook()];
    resources.extend(RULES.iter().map(rule));
    Template {
        about: vec![
            format!(
                "Content for Microsoft Sentinel by cefline {}: a workbook and analytic rules.",
                env!("CARGO_PKG_VERSION")
            ),
            "Written by `cefline azure content`. Deploy it in the workspace's resource group."
                .into(),
        ],
        params: params(),
        vars: vec![(
            "workspaceName",
            Expr::Call(
                "last",
                vec![Expr::Call(
                    "split",
                    vec![Expr::Param("workspace"), Expr::Text("/")],
                )],
            ),
        )],
        resources,
        outputs: Vec::new(),
    }
}

fn params() -> Vec<Param> {
    vec![
        Param {
            name: "workspace",
            kind: ParamKind::Text { length: None },
            default: None,
            about: "Name or resource id of the workspace with Microsoft Sentinel; it must be in \
                    this resource group",
        },
        Param {
            name: "rulesEnabled",
            kind: ParamKind::Bool,
            default: Some(Value::Bool(true)),
            about: "Whether the analytic rules run at once",
        },
        Param {
            name: "location",
            kind: ParamKind::Text { length: None },
            default: Some(Value::Expr(
                Expr::Call("resourceGroup", Vec::new()).member("location"),
            )),
            about: "Region of the workbook",
        },
    ]
}

fn workspace() -> Resource {
    Resource {
        symbol: "sentinel",
        kind: "Microsoft.OperationalInsights/workspaces",
        api: "2022-10-01",
        about: "the workspace, which is there already",
        name: Expr::Var("workspaceName"),
        how: How::Existing,
        scope: None,
        body: Vec::new(),
    }
}

/// A name that stays the same from one deployment to the next.
fn name(of: &'static str) -> Expr {
    Expr::Call(
        "guid",
        vec![Expr::Id(Place::of("sentinel")), Expr::Text(of)],
    )
}

fn workbook() -> Resource {
    Resource {
        symbol: "overview",
        kind: "Microsoft.Insights/workbooks",
        api: "2023-06-01",
        about: "volume, health, lag, and what was rejected or could not be parsed",
        name: name("cefline-workbook"),
        how: How::Once,
        scope: None,
        body: vec![
            ("location", Value::Expr(Expr::Param("location"))),
            ("kind", Value::text("shared")),
            (
                "properties",
                Value::object([
                    ("displayName", Value::text("cefline")),
                    ("category", Value::text("sentinel")),
                    ("version", Value::text(workbook::VERSION)),
                    ("sourceId", Value::Expr(Expr::Id(Place::of("sentinel")))),
                    ("serializedData", Value::text(workbook::text())),
                ]),
            ),
        ],
    }
}

fn rule(rule: &Rule) -> Resource {
    let texts = |all: &[&str]| Value::List(all.iter().map(|text| Value::text(*text)).collect());
    let details = rule.details.iter();
    let grouping = Value::object([
        ("enabled", Value::Bool(true)),
        ("reopenClosedIncident", Value::Bool(false)),
        ("lookbackDuration", Value::text("P1D")),
        ("matchingMethod", Value::text("AllEntities")),
        ("groupByEntities", texts(&[])),
        ("groupByAlertDetails", texts(&[])),
        ("groupByCustomDetails", texts(&[])),
    ]);
    let properties = Value::object([
        ("displayName", Value::text(rule.title)),
        ("description", Value::text(rule.description)),
        ("severity", Value::text("High")),
        ("enabled", Value::Expr(Expr::Param("rulesEnabled"))),
        ("query", Value::text(rule.query.kql)),
        ("queryFrequency", Value::text("PT5M")),
        ("queryPeriod", Value::text(rule.period)),
        ("triggerOperator", Value::text("GreaterThan")),
        ("triggerThreshold", Value::Whole(0)),
        ("suppressionEnabled", Value::Bool(false)),
        ("suppressionDuration", Value::text("PT1H")),
        ("tactics", texts(&[])),
        ("techniques", texts(&[])),
        (
            "eventGroupingSettings",
            Value::object([("aggregationKind", Value::text("AlertPerResult"))]),
        ),
        (
            "alertDetailsOverride",
            Value::object([("alertDisplayNameFormat", Value::text(rule.alert))]),
        ),
        (
            "customDetails",
            Value::Object(
                details
                    .map(|column| ((*column).to_owned(), Value::text(*column)))
                    .collect(),
            ),
        ),
        (
            "entityMappings",
            Value::List(rule.entities.iter().map(entity).collect()),
        ),
        (
            "incidentConfiguration",
            Value::object([
                ("createIncident", Value::Bool(true)),
                ("groupingConfiguration", grouping),
            ]),
        ),
    ]);
    Resource {
        symbol: rule.symbol,
        kind: "Microsoft.SecurityInsights/alertRules",
        api: "2024-09-01",
        about: rule.about,
        name: name(rule.query.name),
        how: How::Once,
        scope: Some(Place::of("sentinel")),
        body: vec![
            ("kind", Value::text("Scheduled")),
            ("properties", properties),
        ],
    }
}

fn entity((kind, identifier, column): &(&str, &str, &str)) -> Value {
    let field = Value::object([
        ("identifier", Value::text(*identifier)),
        ("columnName", Value::text(*column)),
    ]);
    Value::object([
        ("entityType", Value::text(*kind)),
        ("fieldMappings", Value::List(vec![field])),
    ])
}
