//! The rules' template: what is in it, that both forms say the same, and that expressions are whole.

use crate::{azure, printed, skip::skipped};
use cefline::azure::{arm, bicep, content, model::Template, rules};
use cefline::map::columns::{COLUMNS, Origin};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn choices() -> rules::Choices {
    rules::Choices::default()
}

fn json(template: &Template) -> Value {
    serde_json::from_str(&arm::print(template)).unwrap()
}

/// The resource of a type.
fn resource<'t>(template: &'t Value, kind: &str) -> &'t Value {
    let all = template["resources"].as_array().unwrap();
    let mut found = all.iter().filter(|resource| resource["type"] == kind);
    let resource = found.next().unwrap();
    assert!(found.next().is_none(), "{kind} stands there twice");
    resource
}

fn rule(template: &Value) -> &Value {
    resource(template, "Microsoft.Insights/dataCollectionRules")
}

/// Name and type of each column of the stream.
fn columns(template: &Value) -> Vec<(String, String)> {
    let stream = &rule(template)["properties"]["streamDeclarations"]["Custom-CommonSecurityLog"];
    let columns = stream["columns"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    columns
        .map(|column| (text(&column["name"]), text(&column["type"])))
        .collect()
}

#[test]
fn the_stream_declares_what_rows_have_and_nothing_else() {
    let declared = columns(&json(&rules::template(&choices())));
    let filled: Vec<(String, String)> = COLUMNS
        .iter()
        .filter(|column| column.origin != Origin::Service)
        .map(|column| (column.name.to_owned(), column.kind.name().to_owned()))
        .collect();
    assert_eq!(declared, filled);
    assert_eq!(declared.len(), 143);
    let time = ("TimeGenerated".to_owned(), "datetime".to_owned());
    assert!(declared.contains(&time));
    for never in ["TenantId", "Type", "_BilledSize", "_ResourceId"] {
        assert!(declared.iter().all(|(name, _)| name != never), "{never}");
    }
}

#[test]
fn the_stream_is_that_of_microsofts_table_page() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/reference/commonsecuritylog-stream.json");
    let Ok(text) = std::fs::read_to_string(file) else {
        return skipped("no description of the table beside the project");
    };
    let page: Value = serde_json::from_str(&text).unwrap();
    let expected: BTreeSet<(String, String)> = page["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| {
            let text = |name: &str| column[name].as_str().unwrap().to_owned();
            (text("name"), text("type"))
        })
        .collect();
    let declared: BTreeSet<_> = columns(&json(&rules::template(&choices())))
        .into_iter()
        .collect();
    assert_eq!(declared, expected);
}

#[test]
fn a_rule_leads_from_its_stream_to_the_table() {
    let template = json(&rules::template(&choices()));
    let rule = rule(&template);
    assert_eq!(rule["kind"], "Direct");
    assert_eq!(rule["apiVersion"], "2023-03-11");
    assert_eq!(rule["copy"]["count"], "[parameters('rulesCount')]");
    let flows = rule["properties"]["dataFlows"].as_array().unwrap();
    assert_eq!(flows.len(), 1);
    assert_eq!(flows[0]["streams"], serde_json::json!([rules::STREAM]));
    assert_eq!(flows[0]["outputStream"], "Microsoft-CommonSecurityLog");
    assert_eq!(flows[0]["transformKql"], "source");
    let destination = &rule["properties"]["destinations"]["logAnalytics"][0];
    assert_eq!(flows[0]["destinations"][0], destination["name"]);
    assert_eq!(
        destination["workspaceResourceId"],
        "[variables('workspaceId')]"
    );
    let role = resource(&template, "Microsoft.Authorization/roleAssignments");
    let scope = role["scope"].as_str().unwrap();
    assert!(scope.contains("Microsoft.Insights/dataCollectionRules/"));
    assert_eq!(role["properties"]["principalType"], "ServicePrincipal");
    let logs = resource(&template, "Microsoft.Insights/diagnosticSettings");
    assert_eq!(logs["properties"]["logs"][0]["category"], "LogErrors");
    assert_eq!(logs["copy"]["count"], "[parameters('rulesCount')]");
    let limits = &template["parameters"]["rulesCount"];
    assert_eq!(
        (&limits["minValue"], &limits["maxValue"]),
        (&1.into(), &50.into())
    );
    // the longest name of a rule
    let prefix = &template["parameters"]["namePrefix"]["maxLength"];
    assert_eq!(prefix.as_i64().unwrap() + "-50".len() as i64, 30);
}

/// All strings of a tree.
fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(pairs) => pairs.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

/// Whether brackets and quotes of an expression close, as Resource Manager reads them.
fn is_whole(expression: &str) -> bool {
    let mut open = Vec::new();
    let mut quoted = false;
    for letter in expression.chars() {
        match letter {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => open.push(letter),
            ')' if open.pop() != Some('(') => return false,
            ']' if open.pop() != Some('[') => return false,
            _ => {}
        }
    }
    open.is_empty() && !quoted
}

/// What stands between `head` and the next quote, at each place.
fn named<'t>(text: &'t str, head: &str) -> Vec<&'t str> {
    let places = text.split(head).skip(1);
    places
        .map(|rest| rest.split('\'').next().unwrap())
        .collect()
}

#[test]
fn expressions_are_whole_and_name_what_is_there() {
    for template in [rules::template(&choices()), content::template()] {
        let template = json(&template);
        let mut all = Vec::new();
        texts(&template, &mut all);
        let mut used = BTreeSet::new();
        let expressions = all.iter().filter(|text| text.starts_with('['));
        for text in expressions.filter(|text| !text.starts_with("[[")) {
            assert!(text.ends_with(']') && is_whole(text), "{text}");
            assert!(text.len() < 24_576, "longer than an expression may be");
            for name in named(text, "parameters('") {
                assert!(template["parameters"].get(name).is_some(), "{name}");
                used.insert(name);
            }
            for name in named(text, "variables('") {
                assert!(template["variables"].get(name).is_some(), "{name}");
            }
        }
        let declared: BTreeSet<&str> = template["parameters"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(used, declared, "parameters that nothing uses");
    }
}

#[test]
fn every_resource_has_what_the_published_schemas_require() {
    // type, version, properties that must be there; "…" stands for any other that the schema knows
    let schemas: [(&str, &str, &[&str], &[&str]); 6] = [
        (
            "Microsoft.Insights/dataCollectionEndpoints",
            "2023-03-11",
            &["networkAcls"],
            &[],
        ),
        (
            "Microsoft.Insights/dataCollectionRules",
            "2023-03-11",
            &["dataFlows", "destinations", "streamDeclarations"],
            &["dataCollectionEndpointId"],
        ),
        (
            "Microsoft.Authorization/roleAssignments",
            "2022-04-01",
            &["principalId", "roleDefinitionId"],
            &["principalType"],
        ),
        (
            "Microsoft.Insights/diagnosticSettings",
            "2021-05-01-preview",
            &["workspaceId", "logs"],
            &[],
        ),
        (
            "Microsoft.Insights/workbooks",
            "2023-06-01",
            &["category", "displayName", "serializedData"],
            &["sourceId", "version"],
        ),
        (
            "Microsoft.SecurityInsights/alertRules",
            "2024-09-01",
            &[
                "displayName",
                "enabled",
                "query",
                "queryFrequency",
                "queryPeriod",
                "severity",
                "suppressionDuration",
                "suppressionEnabled",
                "triggerOperator",
                "triggerThreshold",
            ],
            &[
                "alertDetailsOverride",
                "customDetails",
                "description",
                "entityMappings",
                "eventGroupingSettings",
                "incidentConfiguration",
                "tactics",
                "techniques",
            ],
        ),
    ];
    let mut seen = BTreeSet::new();
    for template in [rules::template(&choices()), content::template()] {
        let template = json(&template);
        for resource in template["resources"].as_array().unwrap() {
            let kind = resource["type"].as_str().unwrap();
            let schema = schemas.iter().find(|(name, ..)| *name == kind);
            let (_, api, required, known) = schema.unwrap();
            seen.insert(kind.to_owned());
            assert_eq!(resource["apiVersion"], *api, "{kind}");
            assert!(resource["name"].is_string(), "{kind}");
            let properties = resource["properties"].as_object().unwrap();
            for name in *required {
                assert!(properties.contains_key(*name), "{kind} has no {name}");
            }
            for name in properties.keys() {
                let is_known = required.contains(&name.as_str()) || known.contains(&name.as_str());
                assert!(is_known, "{kind} knows no {name}");
            }
        }
    }
    assert_eq!(seen.len(), schemas.len());
}

/// The parts of a Bicep text that must be in the other form as well: each string without a value in
/// it, its escapes undone.
fn bicep_strings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '/']) {
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("//") {
            rest = behind.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(behind) = rest.strip_prefix("'''\n") {
            let (verbatim, behind) = behind.split_once("'''").unwrap();
            found.push(verbatim.to_owned());
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix('\'') {
            let mut out = String::new();
            let mut letters = behind.char_indices();
            let mut has_value = false;
            let end = loop {
                let (at, letter) = letters.next().unwrap();
                match letter {
                    '\'' => break at,
                    '\n' => panic!("a string without an end: {out}"),
                    '$' => {
                        has_value = true;
                        let depth_end = behind[at..].find('}').unwrap();
                        for _ in 0..behind[at..at + depth_end].chars().count() {
                            letters.next();
                        }
                    }
                    '\\' => out.push(match letters.next().unwrap().1 {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        other => other,
                    }),
                    _ => out.push(letter),
                }
            };
            if !has_value {
                found.push(out);
            }
            rest = &behind[end + 1..];
        } else {
            rest = &rest[1..];
        }
    }
    found
}

#[test]
fn both_forms_say_the_same() {
    let odd = rules::Choices {
        transform: "source | where Message != '${x}' and Activity != \"a\\\\b\"\n| extend A = 'ü'"
            .into(),
        ..choices()
    };
    for template in [
        rules::template(&choices()),
        rules::template(&odd),
        content::template(),
    ] {
        let text = bicep::print(&template);
        let arm = json(&template);
        let mut in_arm = Vec::new();
        texts(&arm, &mut in_arm);
        let in_arm: BTreeSet<String> = in_arm.into_iter().map(str::to_owned).collect();
        let keys = arm::print(&template);
        for string in bicep_strings(&text) {
            let in_expression = format!("'{}'", string.replace('\'', "''"));
            let kind_and_api = string.split_once('@').is_some_and(|(kind, api)| {
                in_arm.contains(kind) && in_arm.contains(api)
                    || kind == "Microsoft.OperationalInsights/workspaces"
            });
            let is_there = in_arm.contains(&string)
                || kind_and_api
                || keys.contains(&in_expression)
                || keys.contains(&format!("\"{string}\":"))
                || string == "resourceGroup";
            assert!(is_there, "only Bicep has {string:?}");
        }
        // and every text that is no expression the other way round
        let strings: BTreeSet<String> = bicep_strings(&text).into_iter().collect();
        for resource in arm["resources"].as_array().unwrap() {
            let mut all = Vec::new();
            texts(&resource["properties"], &mut all);
            for literal in all.iter().filter(|text| !text.starts_with('[')) {
                assert!(strings.contains(*literal), "Bicep lacks {literal:?}");
            }
        }
        for param in &template.params {
            assert!(text.contains(&format!("\nparam {} ", param.name)));
        }
        assert_eq!(
            text.matches('{').count(),
            text.matches('}').count(),
            "brackets"
        );
    }
}

#[test]
fn what_is_printed_is_the_same_each_time_and_goes_into_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["template", "content"] {
        for format in ["bicep", "arm"] {
            let first = printed(&[command, "--format", format], "");
            assert_eq!(first, printed(&[command, "--format", format], ""));
            assert!(first.ends_with('\n') && !first.contains('\r'));
            let file = folder.path().join(format!("{command}.{format}"));
            let file = file.to_str().unwrap();
            let nothing = printed(&[command, "--format", format, "--output", file], "");
            assert_eq!(nothing, "");
            assert_eq!(std::fs::read_to_string(file).unwrap(), first);
        }
    }
    assert_eq!(
        printed(&["template"], ""),
        bicep::print(&rules::template(&choices()))
    );
    let nowhere = folder.path().join("no/such/folder");
    let (code, _, why) = azure(&["template", "--output", nowhere.to_str().unwrap()], "");
    assert_eq!(code, Some(1));
    assert!(why.contains("--output"), "{why}");
}

#[test]
fn custom_columns_are_declared_and_said_to_be_needed_first() {
    let arguments = [
        "template",
        "--format",
        "arm",
        "--column",
        "Site_CF",
        "--column",
        "Risk_CF:real",
    ];
    let template: Value = serde_json::from_str(&printed(&arguments, "")).unwrap();
    let declared = columns(&template);
    let pair = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    assert_eq!(declared.len(), 145);
    assert_eq!(
        declared[143..],
        [pair("Site_CF", "string"), pair("Risk_CF", "real")]
    );
    let comments = template["metadata"]["comments"].as_str().unwrap();
    assert!(comments.contains("--name CommonSecurityLog --columns Site_CF=string Risk_CF=real"));
}

#[test]
fn what_azure_would_refuse_is_refused_before() {
    let long = format!("{}_CF", "x".repeat(43));
    let longest = format!("{}_CF", "x".repeat(42));
    printed(&["template", "--column", &longest], "");
    for (arguments, part) in [
        (["--column", "Site"], "no name of a custom column"),
        (["--column", "_CF"], "no name of a custom column"),
        (["--column", "1a_CF"], "no name of a custom column"),
        (["--column", "a b_CF"], "no name of a custom column"),
        (["--column", "ü_CF"], "no name of a custom column"),
        (["--column", "Site_cf"], "no name of a custom column"),
        (["--column", &long], "no name of a custom column"),
        (["--column", "Site_CF:text"], "no type of a column"),
        (["--transform", "where true"], "must begin with source"),
        (["--transform", "sources"], "must begin with source"),
        (["--transform", ""], "must begin with source"),
    ] {
        let all = [&["template"], &arguments[..]].concat();
        let (code, out, why) = azure(&all, "");
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {why}");
        assert!(why.contains(part), "{arguments:?}: {why}");
    }
    let twice = ["template", "--column", "Site_CF", "--column", "SITE_CF"];
    let (code, _, why) = azure(&twice, "");
    assert_eq!(code, Some(2));
    assert!(why.contains("named twice"), "{why}");
    let with = |length: usize| rules::Choices {
        transform: format!("source//{}", "x".repeat(length - "source//".len())),
        ..choices()
    };
    assert!(with(15_360).check().is_ok());
    assert!(with(15_361).check().is_err());
}
