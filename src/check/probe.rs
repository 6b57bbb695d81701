//! One row to a rule, and what the service says to it.

use super::{Finding, Whose};
use crate::clock::Wall;
use crate::config::{Target, time_text};
use crate::upload::rules::HoldReason;
use crate::upload::verdict::{Kind, Verdict};
use serde_json::json;
use std::time::Duration;

/// `DeviceVendor` of every row that cefline makes itself.
pub const VENDOR: &str = "cefline";
/// `DeviceProduct` of a probe.
pub const PRODUCT: &str = "check";

/// The row: `id` is what it is found by.
#[must_use]
pub fn row(id: &str, collector: &str, now: Wall) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(now.0)).unwrap_or_default();
    let row = json!({
        "TimeGenerated": time.to_string(),
        "DeviceVendor": VENDOR,
        "DeviceProduct": PRODUCT,
        "DeviceVersion": env!("CARGO_PKG_VERSION"),
        "DeviceEventClassID": "probe",
        "Activity": "cefline check --live",
        "LogSeverity": "0",
        "Computer": collector,
        "CollectorHostName": collector,
        "ExtID": id,
        "Message": "a row of a check: the way from this collector to this table is open",
    });
    format!("[{row}]")
}

/// What the answer to the row means. `about` is the rule, one of those of `target`.
#[must_use]
pub fn judge(about: &str, target: &Target<'_>, verdict: &Verdict) -> Finding {
    const NAME: &str = "probe";
    let (section, stream) = (target.section(), target.stream.as_str());
    let text = &verdict.text;
    let failed = |whose, meaning: &str, remedy: &str| {
        let what = match meaning {
            "" => text.to_string(),
            _ => format!("{meaning} ({text})"),
        };
        Finding::failed(NAME, about, whose, what, remedy)
    };
    let code = text.code.as_deref().unwrap_or_default();
    match verdict.kind {
        Kind::Accepted => Finding::ok(NAME, about, format!("accepted ({text})")),
        Kind::Unauthorized => failed(
            Whose::Configuration,
            "the token is not accepted",
            "check that sentinel.endpoint and sentinel.identity.scope are of one cloud, and that \
             this machine's clock is right",
        ),
        Kind::Held(HoldReason::Forbidden) => failed(
            Whose::AzureSetup,
            "this identity may not write to the rule",
            "assign the role Monitoring Metrics Publisher to the application on this data collection \
             rule itself (Access control (IAM); Owner and Contributor do not include it); a new \
             assignment takes up to 30 minutes to act, so if it was just made, wait",
        ),
        Kind::Held(HoldReason::NotFound) => failed(
            Whose::Configuration,
            "the endpoint knows no such rule",
            &format!(
                "compare the id in {section}.rules with the rule's immutableId (JSON view of the rule, \
                 not its name), and {section}.endpoint with the rule's own logsIngestion endpoint or \
                 the collection endpoint that it names, in the same region"
            ),
        ),
        Kind::Held(_) if code.starts_with("InvalidStream") => failed(
            Whose::Configuration,
            &format!("the rule declares no stream {stream}"),
            &format!(
                "set {section}.stream to a name under streamDeclarations of the rule (it begins with \
                 Custom-, and case counts), or declare it there"
            ),
        ),
        Kind::Held(_) => failed(
            Whose::Configuration,
            "the request is not understood there",
            &format!(
                "check {section}.endpoint and {section}.stream; a proxy on the way may answer too"
            ),
        ),
        Kind::TooLarge => failed(
            Whose::Network,
            "a row of some 300 bytes is called too long",
            "Azure takes 1 MB: something in between has a limit of its own; let this host pass that \
             proxy by, or raise its limit on request bodies",
        ),
        Kind::Throttled(pause) => Finding::warning(
            NAME,
            about,
            Whose::AzureSetup,
            format!(
                "the rule is at its limit now and asks for a pause of {} ({text})",
                shown(pause)
            ),
            format!(
                "if it comes again: a rule takes 2 GB and 12,000 calls a minute; make further rules and \
                 list them in {section}.rules, cefline spreads calls over them"
            ),
        ),
        Kind::Unavailable(_) => failed(
            Whose::Azure,
            "the service is in trouble",
            "wait, and see https://status.azure.com; cefline holds rows in its spool and goes on \
             trying",
        ),
        Kind::Silent(_) => failed(
            Whose::Network,
            "",
            "connections can be made, but the call was cut: try again; if it stays so, something on \
             the way does not let calls with a body through",
        ),
        Kind::Refused => failed(
            Whose::AzureSetup,
            "the rule refuses a plain row",
            "declare the columns of CommonSecurityLog in the rule's stream, TimeGenerated as \
             datetime, and let its data flow have transformKql \"source\" and the output stream \
             Microsoft-CommonSecurityLog",
        ),
    }
}

fn shown(pause: Duration) -> String {
    time_text(Duration::from_secs(pause.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict as Ends;
    use super::*;
    use crate::config::{DestinationId, EndpointUrl, SENTINEL_NAME, StreamName};
    use crate::upload::request::SilenceReason;
    use crate::upload::verdict::Text;

    #[test]
    fn a_probe_is_one_row_that_can_be_found() {
        let text = row("id-1", "gw", Wall(1_800_000_000_000_000_000));
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["ExtID"], "id-1");
        assert_eq!(rows[0]["TimeGenerated"], "2027-01-15T08:00:00Z");
        for name in rows[0].as_object().unwrap().keys() {
            assert!(
                crate::map::columns::COLUMNS
                    .iter()
                    .any(|column| column.name == name),
                "{name} is no column"
            );
        }
        assert!(text.len() < 600, "{}", text.len());
    }

    #[test]
    fn each_verdict_has_its_remedy() {
        let held = Kind::Held;
        for (kind, code, ends, what, remedy) in [
            (Kind::Accepted, "", Ends::Ok, "accepted", ""),
            (Kind::Unauthorized, "", Ends::Failed, "token", "one cloud"),
            (
                held(HoldReason::Forbidden),
                "OperationFailed",
                Ends::Failed,
                "may not write",
                "30 minutes",
            ),
            (
                held(HoldReason::NotFound),
                "NotFound",
                Ends::Failed,
                "no such rule",
                "immutableId",
            ),
            (
                held(HoldReason::Misconfigured),
                "InvalidStream",
                Ends::Failed,
                "no stream Custom-X",
                "streamDeclarations",
            ),
            (
                held(HoldReason::Misconfigured),
                "Other",
                Ends::Failed,
                "not understood",
                "sentinel.endpoint",
            ),
            (Kind::TooLarge, "", Ends::Failed, "too long", "in between"),
            (
                Kind::Throttled(Duration::from_secs(7)),
                "",
                Ends::Warning,
                "pause of 7 s",
                "further rules",
            ),
            (
                Kind::Unavailable(None),
                "",
                Ends::Failed,
                "in trouble",
                "status.azure.com",
            ),
            (
                Kind::Silent(SilenceReason::Reset),
                "",
                Ends::Failed,
                "answer 599",
                "does not let calls",
            ),
            (
                Kind::Refused,
                "",
                Ends::Failed,
                "refuses a plain row",
                "transformKql",
            ),
        ] {
            let verdict = Verdict {
                kind,
                is_ambiguous: false,
                may_be_too_large: false,
                text: Text {
                    status: Some(599),
                    code: Some(code.to_owned()).filter(|code| !code.is_empty()),
                    message: None,
                },
            };
            let url = EndpointUrl("https://a.ingest.monitor.azure.com".into());
            let target = Target {
                name: SENTINEL_NAME,
                id: DestinationId::SENTINEL,
                endpoint: &url,
                rules: &[],
                stream: &StreamName("Custom-X".into()),
            };
            let found = judge("dcr-0", &target, &verdict);
            assert_eq!(found.verdict, ends, "{found}");
            assert!(found.what.contains(what), "{found}");
            assert!(found.remedy.contains(remedy), "{found}");
        }
    }
}
