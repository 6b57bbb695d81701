//! What is asked of Azure: the time, a token, the verdict on a row, and the row back.

use crate::auth::{Auth, Permit, Refusal};
use crate::check::landing::{self, NoAnswer};
use crate::client::{Answer, Clients, cause_of};
use crate::clock::Clock;
use crate::compress::PayloadId;
use crate::config::{Config, Identity};
use crate::failure::Failure;
use crate::metrics::Counters;
use crate::upload::destinations::DestinationIndex;
use crate::upload::request::{Request, Requester};
use crate::upload::rules::RuleIndex;
use crate::upload::verdict::{Verdict, judge};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The `Date` of a host's answer to a request for nothing.
pub async fn date(client: &Client, url: &str, time: Duration) -> Option<String> {
    let answer = timeout(time, client.get(format!("{url}/")).send())
        .await
        .ok()?;
    let date = answer.ok()?.headers().get(DATE)?.to_str().ok()?.to_owned();
    Some(date)
}

/// A token of an identity.
///
/// # Errors
/// Why there is none.
pub async fn token(
    identity: &Identity,
    clients: &Clients,
    clock: Clock,
) -> Result<Permit, Arc<Refusal>> {
    let auth = Arc::new(Auth::new(identity.clone(), clients.clone(), clock));
    let counters = Arc::new(Counters::default());
    auth.permit(&counters)
        .await
        .map_err(|denied| denied.refusal)
}

/// The same identity, for another resource.
#[must_use]
pub fn for_resource(identity: &Identity, audience: &str) -> Identity {
    identity.clone().with_scope(&format!("{audience}/.default"))
}

/// Sends rows, as JSON, to one rule as an upload does.
///
/// # Errors
/// They could not be packed, which is nobody's fault outside.
pub async fn probe(
    client: &Client,
    config: &Config,
    (destination, rule): (DestinationIndex, RuleIndex),
    permit: &Permit,
    rows: &str,
    clock: Clock,
) -> Result<Verdict, Failure> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    let body = packer
        .write_all(rows.as_bytes())
        .and_then(|()| packer.finish())
        .map_err(Failure::running)?;
    let wire_bytes = body.len();
    let request = Request {
        destination,
        rule,
        id: PayloadId::random(),
        body: Bytes::from(body),
        permit: permit.clone(),
    };
    let reply = Requester::new(client.clone(), config).send(&request).await;
    Ok(judge(&reply, (wire_bytes, rows.len()), clock.wall()))
}

/// Asks a workspace, and gives the ids in the answer.
///
/// # Errors
/// Why there is none.
pub async fn ask(
    client: &Client,
    (base, workspace): (&str, &str),
    permit: &Permit,
    query: &str,
    time: Duration,
) -> Result<Vec<String>, NoAnswer> {
    let post = client
        .post(format!("{base}/v1/workspaces/{workspace}/query"))
        .header(AUTHORIZATION, permit.header.clone())
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(json!({"query": query}).to_string());
    let answer = match timeout(time, post.send()).await {
        Ok(Ok(response)) => Answer::read(response).await,
        Ok(Err(error)) => return Err(NoAnswer::Silence(cause_of(&error))),
        Err(_) => {
            let why = format!("no answer within {} s", time.as_secs());
            return Err(NoAnswer::Silence(why));
        }
    };
    match answer.status.as_u16() {
        200 => landing::ids(&answer.body).ok_or(NoAnswer::Odd),
        status => Err(landing::refused(status, &answer.body)),
    }
}
