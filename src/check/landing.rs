//! Whether the probe's rows are in the table: the Log Analytics query API is asked until they are.

use super::probe::{PRODUCT, VENDOR};
use super::{Finding, Whose};
use crate::config::time_text;
use crate::log::safe_text;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const NAME: &str = "landing";

/// The query API's resource, which is also its base URL, in the cloud of an audience of ingestion.
#[must_use]
pub fn resource(audience: &str) -> &'static str {
    match audience.trim_end_matches('/').rsplit('.').next() {
        Some("us") => "https://api.loganalytics.us",
        Some("cn") => "https://api.loganalytics.azure.cn",
        _ => "https://api.loganalytics.azure.com",
    }
}

/// The query for all rows of one run, whose ids begin with `run`. Its answer has the id and when the
/// row came.
#[must_use]
pub fn query(run: &str) -> String {
    format!(
        "CommonSecurityLog | where DeviceVendor == \"{VENDOR}\" and DeviceProduct == \"{PRODUCT}\" \
         and ExtID startswith \"{run}\" | project ExtID"
    )
}

/// Ids of rows in an answer; nothing if it is none.
#[must_use]
pub fn ids(body: &[u8]) -> Option<Vec<String>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let rows = answer.get("tables")?.get(0)?.get("rows")?.as_array()?;
    let id = |row: &Value| Some(row.get(0)?.as_str()?.to_owned());
    Some(rows.iter().filter_map(id).collect())
}

/// Why the table cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// No token for the query API, for this reason.
    Token(String),
    /// The status, and the message of the answer.
    Status(u16, String),
    /// No answer, for this reason.
    Silence(String),
    /// An answer that is none.
    Odd,
}

impl NoAnswer {
    /// Trying again does not help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, NoAnswer::Token(_) | NoAnswer::Status(400..=407 | 409..=428, _))
    }
}

/// The message of an error answer.
#[must_use]
pub fn refused(status: u16, body: &[u8]) -> NoAnswer {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut error = answer.get("error").unwrap_or(&Value::Null);
    let mut message = "";
    loop {
        if let Some(text) = error.get("message").and_then(Value::as_str) {
            message = text;
        }
        match error.get("innererror") {
            Some(inner) => error = inner,
            None => break,
        }
    }
    NoAnswer::Status(status, safe_text(message))
}

/// What was asked for, and what came of it.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The workspace.
    pub workspace: &'a str,
    /// How long was waited at most.
    pub wait: Duration,
    /// When the row of each rule was there; only of those that were.
    pub landed: &'a BTreeMap<String, Duration>,
    /// Why the last try had no answer; nothing if it had.
    pub last: Option<&'a NoAnswer>,
}

/// Whether the row of a rule is in the table.
#[must_use]
pub fn judge(rule: &str, asked: &Asked<'_>) -> Finding {
    if let Some(after) = asked.landed.get(rule) {
        let what = format!(
            "the row is in the table, {} s after it was sent",
            after.as_secs()
        );
        return Finding::ok(NAME, rule, what);
    }
    match asked.last {
        Some(error) => unanswered(rule, asked.workspace, error),
        None => Finding::failed(
            NAME,
            rule,
            Whose::AzureSetup,
            format!(
                "the row was accepted, and is not in CommonSecurityLog of workspace {} after {}",
                asked.workspace,
                time_text(asked.wait)
            ),
            "see whether the rule's data flow leads to this workspace, with the output stream \
             Microsoft-CommonSecurityLog and transformKql \"source\"; switch on the diagnostic \
             setting Log Errors of the rule and look into the table DCRLogErrors. The first rows of \
             a new rule may take 20 minutes: a longer --wait tells",
        ),
    }
}

fn unanswered(rule: &str, workspace: &str, error: &NoAnswer) -> Finding {
    let (whose, what, remedy) = match error {
        NoAnswer::Token(why) => (
            Whose::AzureSetup,
            format!("no token for the query API: {why}"),
            "leave out --workspace, or use an identity of the same tenant that may query",
        ),
        NoAnswer::Status(403, message) => (
            Whose::AzureSetup,
            format!("this identity may not read workspace {workspace} (403 {message})"),
            "assign the role Log Analytics Reader to the application on the workspace, or leave out \
             --workspace: cefline itself needs no right to read",
        ),
        NoAnswer::Status(401, message) => (
            Whose::AzureSetup,
            format!("the token is not accepted by the query API (401 {message})"),
            "the identity must be of the workspace's tenant; else leave out --workspace",
        ),
        NoAnswer::Status(404, message) => (
            Whose::Configuration,
            format!("there is no workspace {workspace} (404 {message})"),
            "give the Workspace ID that the workspace's overview shows, a GUID, to --workspace",
        ),
        NoAnswer::Status(400, message) => (
            Whose::AzureSetup,
            format!("the workspace does not understand the query (400 {message})"),
            "the table CommonSecurityLog is there only once Microsoft Sentinel is enabled on the \
             workspace: enable it",
        ),
        NoAnswer::Status(status, message) => (
            Whose::Azure,
            format!("the query API answers {status} {message}"),
            "try again later, or leave out --workspace",
        ),
        NoAnswer::Silence(cause) => (
            Whose::Network,
            format!("the query API cannot be reached: {cause}"),
            "let this machine connect to api.loganalytics.azure.com on port 443, or leave out \
             --workspace: cefline itself does not need it",
        ),
        NoAnswer::Odd => (
            Whose::Network,
            "what answers is not the query API".into(),
            "something in between answers in its place: ask who runs the network",
        ),
    };
    Finding::failed(NAME, rule, whose, what, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn answers_are_read_and_odd_ones_are_none() {
        let body = br#"{"tables":[{"name":"PrimaryResult","columns":[{"name":"ExtID","type":"string"}],"rows":[["a-0"],["a-1"],[null]]}]}"#;
        assert_eq!(ids(body), Some(vec!["a-0".into(), "a-1".into()]));
        for odd in ["", "{}", r#"{"tables":[]}"#, r#"{"tables":[{"rows":7}]}"#] {
            assert_eq!(ids(odd.as_bytes()), None, "{odd}");
        }
        let body = br#"{"error":{"code":"A","message":"outer","innererror":{"code":"B","message":"in\ner"}}}"#;
        assert_eq!(refused(400, body), NoAnswer::Status(400, "in\\ner".into()));
        assert_eq!(
            refused(503, b"<html>"),
            NoAnswer::Status(503, String::new())
        );
    }

    #[test]
    fn a_row_is_there_or_it_is_said_why_not() {
        let landed = BTreeMap::from([("dcr-1".to_owned(), Duration::from_secs(42))]);
        let found = |rule, last: Option<&NoAnswer>| {
            let asked = Asked {
                workspace: "w",
                wait: Duration::from_secs(1200),
                landed: &landed,
                last,
            };
            judge(rule, &asked)
        };
        let there = found("dcr-1", None);
        assert_eq!(there.verdict, Verdict::Ok);
        assert!(there.what.contains("42 s"), "{there}");
        let missing = found("dcr-2", None);
        assert_eq!(missing.verdict, Verdict::Failed);
        assert!(missing.what.contains("after 20 min"), "{missing}");
        assert!(missing.remedy.contains("DCRLogErrors"), "{missing}");
        for (error, whose, remedy) in [
            (
                NoAnswer::Token("x".into()),
                Whose::AzureSetup,
                "same tenant",
            ),
            (
                NoAnswer::Status(403, String::new()),
                Whose::AzureSetup,
                "Log Analytics Reader",
            ),
            (
                NoAnswer::Status(401, String::new()),
                Whose::AzureSetup,
                "tenant",
            ),
            (
                NoAnswer::Status(404, String::new()),
                Whose::Configuration,
                "Workspace ID",
            ),
            (
                NoAnswer::Status(400, String::new()),
                Whose::AzureSetup,
                "Microsoft Sentinel",
            ),
            (NoAnswer::Status(503, String::new()), Whose::Azure, "later"),
            (NoAnswer::Silence("x".into()), Whose::Network, "443"),
            (NoAnswer::Odd, Whose::Network, "in between"),
        ] {
            let found = found("dcr-2", Some(&error));
            assert_eq!((found.verdict, found.whose), (Verdict::Failed, Some(whose)));
            assert!(found.remedy.contains(remedy), "{found}");
        }
    }

    #[test]
    fn only_what_may_change_is_asked_again() {
        let status = |status| NoAnswer::Status(status, String::new()).is_final();
        assert!(status(400) && status(401) && status(403) && status(404));
        assert!(!status(408) && !status(429) && !status(500) && !status(503));
        assert!(!NoAnswer::Silence(String::new()).is_final());
    }
}
