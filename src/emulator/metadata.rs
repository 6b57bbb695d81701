//! The two services that know a machine: Azure's instance metadata service, and the agent of Azure
//! Arc. Both are asked at one path of the control port, since both speak plain HTTP to their own
//! machine only; the version of the API tells which is meant.
//!
//! ```text
//! 2018-02-01               metadata   Metadata: true; an identity that is assigned -> a token
//! 2019-11-01, 2020-06-01   Arc        Metadata: true -> 401 with the name of a file
//!                                     and Basic with what the file holds -> a token
//! ```
//!
//! Pure but for the files of the agent, which the caller writes and removes.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::faults::{ArcFault, Faults};
use super::reply::Reply;
use super::token::decode;

/// Where both are asked.
pub(super) const PATH: &str = "/metadata/identity/oauth2/token";
/// How long an answer of the metadata service says that an update takes, at most.
const GONE: &str = "The service is being updated; try again within 70 seconds.";

/// A request to one of them.
#[derive(Debug)]
pub struct Question<'a> {
    /// Behind the `?`.
    pub query: &'a str,
    /// `Metadata`.
    pub metadata: Option<&'a str>,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// True if it came through a proxy.
    pub is_forwarded: bool,
    /// Seconds since the faults were set.
    pub faults_age: f64,
}

/// Ids of the identity that is assigned besides the machine's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserAssigned {
    /// `client_id`.
    pub client_id: String,
    /// `object_id`.
    pub object_id: String,
    /// `msi_res_id`.
    pub resource_id: String,
}

impl Default for UserAssigned {
    fn default() -> Self {
        UserAssigned {
            client_id: "33333333-3333-3333-3333-333333333333".to_owned(),
            object_id: "44444444-4444-4444-4444-444444444444".to_owned(),
            resource_id: "/subscriptions/55555555-5555-5555-5555-555555555555/resourceGroups/soc/\
                          providers/Microsoft.ManagedIdentity/userAssignedIdentities/cefline"
                .to_owned(),
        }
    }
}

/// What becomes of a question.
#[derive(Debug)]
pub enum Verdict {
    /// This answer.
    Reply(Reply),
    /// A token for this resource.
    Grant(String),
    /// The agent leaves a challenge, and the answer names it.
    Challenge,
    /// A token for this resource, if the challenge's text is this.
    Proof(String, String),
}

/// Judges a question.
#[must_use]
pub fn judge(question: &Question<'_>, faults: &Faults, user: &UserAssigned) -> Verdict {
    let refused = |error: &str, text: &str| Verdict::Reply(refusal(400, error, text));
    let pairs: Option<Vec<(&str, String)>> = question
        .query
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name, decode(value)?))
        })
        .collect();
    let Some(pairs) = pairs else {
        return refused("invalid_request", "The query is malformed.");
    };
    let value = |name: &str| {
        let found = pairs.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str())
    };
    // lower case, as the documents say
    if question.metadata != Some("true") {
        return refused("bad_request_102", "Required metadata header not specified");
    }
    if question.is_forwarded {
        return refused(
            "bad_request_102",
            "A request that came through a proxy is not answered.",
        );
    }
    let Some(resource) = value("resource").filter(|resource| !resource.ends_with("/.default"))
    else {
        return refused("invalid_resource", "The resource is absent, or a scope.");
    };
    match value("api-version") {
        Some("2018-02-01") => {
            if let Some(reply) = trouble(question, faults) {
                return Verdict::Reply(reply);
            }
            let known = [
                ("client_id", &user.client_id),
                ("object_id", &user.object_id),
                ("msi_res_id", &user.resource_id),
            ];
            let named: Vec<bool> = known
                .iter()
                .filter_map(|(name, id)| Some(value(name)? == id.as_str()))
                .collect();
            match named[..] {
                [] | [true] if !faults.imds_no_identity => Verdict::Grant(resource.to_owned()),
                _ => refused("invalid_request", "Identity not found"),
            }
        }
        Some("2019-11-01" | "2020-06-01") => arc(question, faults, resource),
        _ => refused(
            "invalid_request",
            "This version of the API is not supported.",
        ),
    }
}

fn trouble(question: &Question<'_>, faults: &Faults) -> Option<Reply> {
    if question.faults_age < faults.imds_gone_seconds {
        return Some(refusal(410, "gone", GONE));
    }
    let status = faults.imds_status?;
    let reply = refusal(status, "trouble", "The service has a trouble of its own.");
    Some(match (status, faults.retry_after_seconds) {
        (429, seconds) => reply.with("retry-after", seconds.to_string()),
        _ => reply,
    })
}

fn arc(question: &Question<'_>, faults: &Faults, resource: &str) -> Verdict {
    match (question.authorization, faults.arc) {
        (None, ArcFault::NoChallenge) => Verdict::Grant(resource.to_owned()),
        (None, ArcFault::Forbidden) => {
            Verdict::Reply(refusal(403, "forbidden", "The agent is not connected."))
        }
        (None, _) => Verdict::Challenge,
        (Some(authorization), _) => match authorization.strip_prefix("Basic ") {
            Some(text) => Verdict::Proof(resource.to_owned(), text.to_owned()),
            None => Verdict::Reply(refusal(
                400,
                "invalid_request",
                "Not Basic and a challenge.",
            )),
        },
    }
}

/// The file of a challenge: where it is put, what is in it, and how the answer calls it.
#[must_use]
pub fn challenge(
    fault: ArcFault,
    folder: &Path,
    name: &str,
    text: &str,
) -> (PathBuf, String, String) {
    let file = folder.join(format!("{name}.key"));
    let called = match fault {
        ArcFault::HostilePath => "/etc/shadow".to_owned(),
        ArcFault::OtherFolder => format!("/nowhere/{name}.key"),
        ArcFault::BadHeader => format!("{name}=.key"),
        _ => file.display().to_string(),
    };
    let text = match fault {
        ArcFault::Oversize => text.repeat(4097_usize.div_ceil(text.len().max(1))),
        _ => text.to_owned(),
    };
    (file, text, called)
}

/// An answer that is no token.
#[must_use]
pub fn refusal(status: u16, error: &str, text: &str) -> Reply {
    let body = json!({"error": error, "error_description": text});
    Reply::json(status, body.to_string().into_bytes())
}

/// A token, with numbers as text.
#[must_use]
pub fn grant(token: &str, resource: &str, life_seconds: u64, now_seconds: i64) -> Reply {
    let expires_on = now_seconds.saturating_add(i64::try_from(life_seconds).unwrap_or(i64::MAX));
    let body = json!({
        "access_token": token,
        "refresh_token": "",
        "expires_in": life_seconds.to_string(),
        "expires_on": expires_on.to_string(),
        "not_before": now_seconds.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    Reply::json(200, body.to_string().into_bytes())
}
