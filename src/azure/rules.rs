//! The rules to send to: what must stand in a resource group so that cefline can upload.
//!
//! | resource | how many | for |
//! |---|---|---|
//! | data collection endpoint | one, with private link only | a way in that is not public |
//! | data collection rule, `kind: Direct` | `rulesCount` | stream, columns, transformation, workspace |
//! | role assignment | each rule and principal | Monitoring Metrics Publisher, on the rule alone |
//! | diagnostic setting | each rule | `LogErrors`: the only place where rows show that are dropped after a 204 |
//!
//! The columns are those of [`crate::map::columns::COLUMNS`] that cefline fills, and no others:
//! what a stream does not declare is billed and not stored.
//!
//! Sources: "Structure of a data collection rule", "Logs Ingestion API in Azure Monitor" and the
//! providers' templates, all Microsoft's.

use super::model::{Expr, How, Output, Param, ParamKind, Place, Resource, Sign, Template, Value};
use crate::limits::{
    CUSTOM_COLUMN_BYTES_MOST, CUSTOM_COLUMNS_MOST, DEPLOYED_RULES_MOST, RULE_NAME_BYTES_MOST,
    TRANSFORM_CHARS_MOST,
};
use crate::map::columns::{COLUMNS, Origin};

/// The stream that cefline sends to.
pub const STREAM: &str = "Custom-CommonSecurityLog";
/// The stream that the table takes.
const TABLE_STREAM: &str = "Microsoft-CommonSecurityLog";
/// The transformation that changes nothing.
pub const TRANSFORM_DEFAULT: &str = "source";
/// Monitoring Metrics Publisher: may send to a rule, and nothing else.
const PUBLISHER_ROLE: &str = "3913510d-42f4-4e42-8a64-420c390055eb";
/// The first version whose rules have an endpoint of their own.
const RULES_API: &str = "2023-03-11";
/// The rule's only destination.
const DESTINATION: &str = "workspace";

/// What a template is made by, before anybody deploys it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    /// Further columns of the table.
    pub columns: Vec<CustomColumn>,
    /// The rules' transformation.
    pub transform: String,
}

impl Default for Choices {
    fn default() -> Self {
        Choices {
            columns: Vec::new(),
            transform: TRANSFORM_DEFAULT.to_owned(),
        }
    }
}

/// A column that somebody has added to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomColumn {
    name: String,
    kind: &'static str,
}

/// The types that a stream may declare.
const KINDS: [&str; 7] = [
    "string", "int", "long", "real", "boolean", "datetime", "dynamic",
];

impl CustomColumn {
    /// Reads `NAME_CF` or `NAME_CF:TYPE`.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub fn read(text: &str) -> Result<CustomColumn, String> {
        let (name, kind) = text.split_once(':').unwrap_or((text, "string"));
        let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else {
            let allowed = KINDS.join(", ");
            return Err(format!(
                "{kind:?} is no type of a column; allowed: {allowed}"
            ));
        };
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.len() <= CUSTOM_COLUMN_BYTES_MOST;
        let bare = name.strip_suffix("_CF").unwrap_or_default();
        if !is_name || bare.is_empty() {
            return Err(format!(
                "{name:?} is no name of a custom column; allowed: a letter, then letters, digits \
                 and _, up to {CUSTOM_COLUMN_BYTES_MOST}, with _CF at the end"
            ));
        }
        Ok(CustomColumn {
            name: name.to_owned(),
            kind,
        })
    }
}

impl Choices {
    /// Whether they can go together.
    ///
    /// # Errors
    /// What cannot be, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if self.columns.len() > CUSTOM_COLUMNS_MOST {
            return Err(format!(
                "{} custom columns; a table takes no more than {CUSTOM_COLUMNS_MOST}",
                self.columns.len()
            ));
        }
        for (place, column) in self.columns.iter().enumerate() {
            let mut before = self.columns.iter().take(place);
            if before.any(|other| other.name.eq_ignore_ascii_case(&column.name)) {
                return Err(format!("the column {} is named twice", column.name));
            }
        }
        let chars = self.transform.chars().count();
        if chars > TRANSFORM_CHARS_MOST {
            return Err(format!(
                "the transformation has {chars} characters; Azure takes no more than \
                 {TRANSFORM_CHARS_MOST}"
            ));
        }
        let behind = self.transform.trim_start().strip_prefix("source");
        let begins = behind
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        if !begins {
            return Err(
                "the transformation must begin with source, like \"source | where DeviceVendor != 'X'\""
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// The template.
#[must_use]
pub fn template(choices: &Choices) -> Template {
    Template {
        about: about(choices),
        params: params(),
        vars: vars(),
        resources: vec![endpoint(), rules(choices), roles(), error_logs()],
        outputs: outputs(),
    }
}

fn about(choices: &Choices) -> Vec<String> {
    let mut lines = vec![
        format!(
            "What cefline {} sends to: data collection rules for CommonSecurityLog.",
            env!("CARGO_PKG_VERSION")
        ),
        "Written by `cefline azure template`. Deploy it in the region of the workspace, then"
            .into(),
        "`cefline azure settings` makes a configuration of what the deployment tells.".into(),
    ];
    if !choices.columns.is_empty() {
        let columns: Vec<String> = choices
            .columns
            .iter()
            .map(|column| format!("{}={}", column.name, column.kind))
            .collect();
        lines.push("The table must have its custom columns first:".into());
        lines.push(format!(
            "az monitor log-analytics workspace table update --resource-group GROUP \
             --workspace-name WORKSPACE --name CommonSecurityLog --columns {}",
            columns.join(" ")
        ));
    }
    lines
}

fn params() -> Vec<Param> {
    // as long as the suffix leaves
    let prefix_length = (1, RULE_NAME_BYTES_MOST - 3);
    vec![
        Param {
            name: "workspace",
            kind: ParamKind::Text { length: None },
            default: None,
            about: "Log Analytics workspace with Microsoft Sentinel: its name if it is in this \
                    resource group, else its resource id",
        },
        Param {
            name: "principalId",
            kind: ParamKind::Text { length: None },
            default: Some(Value::text("")),
            about: "Object id of the service principal or managed identity that cefline is (not \
                    the application id); several with commas between them; empty to assign the \
                    role by hand",
        },
        Param {
            name: "rulesCount",
            kind: ParamKind::Whole {
                range: (1, DEPLOYED_RULES_MOST),
            },
            default: Some(Value::Whole(1)),
            about: "Number of rules, all alike: each takes 2 GB and 12,000 calls a minute",
        },
        Param {
            name: "usePrivateLink",
            kind: ParamKind::Bool,
            default: Some(Value::Bool(false)),
            about: "Whether rows come through a data collection endpoint without public access, to \
                    be added to an Azure Monitor Private Link Scope",
        },
        Param {
            name: "namePrefix",
            kind: ParamKind::Text {
                length: Some(prefix_length),
            },
            default: Some(Value::text("cefline")),
            about: "How the names of the rules begin; -01, -02 and so on follow",
        },
        Param {
            name: "location",
            kind: ParamKind::Text { length: None },
            default: Some(Value::Expr(
                Expr::Call("resourceGroup", Vec::new()).member("location"),
            )),
            about: "Region; must be that of the workspace",
        },
    ]
}

fn vars() -> Vec<(&'static str, Expr)> {
    let call = Expr::Call;
    let workspace = || Expr::Param("workspace");
    let principal = || Expr::Param("principalId");
    vec![
        (
            "workspaceId",
            call("startsWith", vec![workspace(), Expr::Text("/")]).choose(
                workspace(),
                call(
                    "resourceId",
                    vec![
                        Expr::Text("Microsoft.OperationalInsights/workspaces"),
                        workspace(),
                    ],
                ),
            ),
        ),
        (
            "principals",
            call("empty", vec![principal()]).choose(
                Expr::Nothing,
                call(
                    "split",
                    vec![
                        call(
                            "replace",
                            vec![principal(), Expr::Text(" "), Expr::Text("")],
                        ),
                        Expr::Text(","),
                    ],
                ),
            ),
        ),
        (
            "publisherRole",
            call(
                "subscriptionResourceId",
                vec![
                    Expr::Text("Microsoft.Authorization/roleDefinitions"),
                    Expr::Text(PUBLISHER_ROLE),
                ],
            ),
        ),
    ]
}

fn endpoint() -> Resource {
    Resource {
        symbol: "endpoint",
        kind: "Microsoft.Insights/dataCollectionEndpoints",
        api: RULES_API,
        about: "the way in with private link; without it each rule has its own",
        name: Expr::Join(vec![Expr::Param("namePrefix"), Expr::Text("-dce")]),
        how: How::If(Expr::Param("usePrivateLink")),
        scope: None,
        body: vec![
            ("location", Value::Expr(Expr::Param("location"))),
            (
                "properties",
                Value::object([(
                    "networkAcls",
                    Value::object([("publicNetworkAccess", Value::text("Disabled"))]),
                )]),
            ),
        ],
    }
}

fn rules(choices: &Choices) -> Resource {
    let number = Expr::Call(
        "padLeft",
        vec![
            Expr::Index.sign(Sign::Plus, Expr::Whole(1)),
            Expr::Whole(2),
            Expr::Text("0"),
        ],
    );
    let endpoint_id =
        Expr::Param("usePrivateLink").choose(Expr::Id(Place::of("endpoint")), Expr::Null);
    let one_of = |text: &str| Value::List(vec![Value::text(text)]);
    let destination = Value::object([
        ("name", Value::text(DESTINATION)),
        ("workspaceResourceId", Value::Expr(Expr::Var("workspaceId"))),
    ]);
    let flow = Value::object([
        ("streams", one_of(STREAM)),
        ("destinations", one_of(DESTINATION)),
        ("transformKql", Value::text(choices.transform.as_str())),
        ("outputStream", Value::text(TABLE_STREAM)),
    ]);
    let columns = Value::object([("columns", Value::List(columns(choices)))]);
    Resource {
        symbol: "rules",
        kind: "Microsoft.Insights/dataCollectionRules",
        api: RULES_API,
        about: "the columns are those that cefline fills: others would be billed and not stored",
        name: Expr::Join(vec![Expr::Param("namePrefix"), Expr::Text("-"), number]),
        how: How::Times(Expr::Param("rulesCount")),
        scope: None,
        body: vec![
            ("location", Value::Expr(Expr::Param("location"))),
            ("kind", Value::text("Direct")),
            (
                "properties",
                Value::object([
                    ("dataCollectionEndpointId", Value::Expr(endpoint_id)),
                    ("streamDeclarations", Value::object([(STREAM, columns)])),
                    (
                        "destinations",
                        Value::object([("logAnalytics", Value::List(vec![destination]))]),
                    ),
                    ("dataFlows", Value::List(vec![flow])),
                ]),
            ),
        ],
    }
}

/// Name and type of every column that may come.
fn columns(choices: &Choices) -> Vec<Value> {
    let column = |name: &str, kind: &str| {
        Value::object([("name", Value::text(name)), ("type", Value::text(kind))])
    };
    let filled = COLUMNS
        .iter()
        .filter(|column| column.origin != Origin::Service);
    let own = choices.columns.iter();
    filled
        .map(|one| column(one.name, one.kind.name()))
        .chain(own.map(|one| column(&one.name, one.kind)))
        .collect()
}

fn roles() -> Resource {
    let count = || Expr::Call("length", vec![Expr::Var("principals")]);
    let rule = || Place::at("rules", Expr::Index.sign(Sign::Over, count()));
    let principal = || Expr::Var("principals").at(Expr::Index.sign(Sign::Modulo, count()));
    Resource {
        symbol: "roles",
        kind: "Microsoft.Authorization/roleAssignments",
        api: "2022-04-01",
        about: "each principal may send to each rule; a new role takes up to 30 minutes to act",
        name: Expr::Call(
            "guid",
            vec![Expr::Id(rule()), principal(), Expr::Var("publisherRole")],
        ),
        how: How::Times(Expr::Param("rulesCount").sign(Sign::Times, count())),
        scope: Some(rule()),
        body: vec![(
            "properties",
            Value::object([
                ("roleDefinitionId", Value::Expr(Expr::Var("publisherRole"))),
                ("principalId", Value::Expr(principal())),
                ("principalType", Value::text("ServicePrincipal")),
            ]),
        )],
    }
}

fn error_logs() -> Resource {
    Resource {
        symbol: "errorLogs",
        kind: "Microsoft.Insights/diagnosticSettings",
        api: "2021-05-01-preview",
        about: "rows that the service drops after it has accepted them show in DCRLogErrors only",
        name: Expr::Text("cefline-errors"),
        how: How::Times(Expr::Param("rulesCount")),
        scope: Some(Place::at("rules", Expr::Index)),
        body: vec![(
            "properties",
            Value::object([
                ("workspaceId", Value::Expr(Expr::Var("workspaceId"))),
                (
                    "logs",
                    Value::List(vec![Value::object([
                        ("category", Value::text("LogErrors")),
                        ("enabled", Value::Bool(true)),
                    ])]),
                ),
            ]),
        )],
    }
}

fn outputs() -> Vec<Output> {
    let rule = || Expr::State(Place::at("rules", Expr::Index));
    let endpoint = Expr::Param("usePrivateLink").choose(
        Expr::State(Place::of("endpoint"))
            .member("logsIngestion")
            .member("endpoint"),
        rule().member("endpoints").member("logsIngestion"),
    );
    vec![
        Output {
            name: "stream",
            times: None,
            value: Value::text(STREAM),
        },
        Output {
            name: "rules",
            times: Some(Expr::Param("rulesCount")),
            value: Value::object([
                ("id", Value::Expr(rule().member("immutableId"))),
                ("endpoint", Value::Expr(endpoint)),
            ]),
        },
        Output {
            name: "tenantId",
            times: None,
            value: Value::Expr(Expr::Call("subscription", Vec::new()).member("tenantId")),
        },
    ]
}
