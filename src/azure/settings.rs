//! The outputs of a deployment to a configuration.
//!
//! What the Azure CLI prints comes in three forms, all taken: the outputs alone (`--query
//! properties.outputs`), the whole deployment, and a list of one. What is not one of them is refused
//! with what was expected at its place. Names of endpoints and rules are judged by
//! [`crate::config`] alone, as those of any configuration are.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Map, Value};

use crate::config::{self, Machine};

/// What only the user knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Who cefline is for Microsoft Entra.
    pub identity: Identity,
    /// Directory; the one of the deployment unless set.
    pub tenant: Option<String>,
    /// Application, or a managed identity that is assigned by a user.
    pub client: Option<String>,
    /// Where messages are received.
    pub listen: SocketAddr,
}

/// Kinds of identity for which the keys are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// An application with a client secret.
    ClientSecret,
    /// The identity of the machine, on a virtual machine in Azure.
    ManagedIdentity,
}

/// What a deployment tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outputs {
    stream: String,
    /// Immutable id and endpoint.
    rules: Vec<(String, String)>,
    tenant: Option<String>,
}

const NO_ID: &str = "00000000-0000-0000-0000-000000000000";
const ADVICE: &str = "give what this prints: az deployment group show --resource-group GROUP \
                      --name NAME --query properties.outputs";

/// The configuration for what a deployment tells, in JSON.
///
/// # Errors
/// What is not as it should be, and where. The file is at fault; the same again does not help.
pub fn configuration(json: &[u8], answers: &Answers, machine: &Machine) -> Result<String, String> {
    let outputs = outputs(json)?;
    let head = head(&outputs, answers);
    // the identity is the user's, who may have to complete it: the rest must be good
    let stand_in = Answers {
        identity: Identity::ClientSecret,
        tenant: None,
        client: None,
        ..answers.clone()
    };
    let known = Outputs {
        tenant: None,
        ..outputs.clone()
    };
    let trial = format!("{head}{}", identity(&known, &stand_in));
    config::parse(&trial, machine)
        .map_err(|error| format!("the outputs do not fit a configuration of cefline: {error}"))?;
    Ok(format!("{head}{}", identity(&outputs, answers)))
}

fn outputs(json: &[u8]) -> Result<Outputs, String> {
    let all: Value = serde_json::from_slice(json)
        .map_err(|error| format!("this is not JSON ({error}); {ADVICE}"))?;
    let mut found = &all;
    if let Value::Array(list) = found {
        let [one] = list.as_slice() else {
            let count = list.len();
            return Err(format!("a list of {count} deployments, not one; {ADVICE}"));
        };
        found = one;
    }
    if let Some(properties) = found.get("properties") {
        let state = properties.get("provisioningState").and_then(Value::as_str);
        if let Some(state) = state.filter(|state| *state != "Succeeded") {
            return Err(format!(
                "the deployment has not succeeded: its provisioningState is {state:?}"
            ));
        }
        found = properties.get("outputs").unwrap_or(&Value::Null);
    }
    let Value::Object(outputs) = found else {
        return Err(format!(
            "there are no outputs of a deployment here; {ADVICE}"
        ));
    };
    Ok(Outputs {
        stream: text(output(outputs, "stream")?, "stream")?,
        rules: rules(output(outputs, "rules")?)?,
        tenant: match outputs.get("tenantId") {
            Some(_) => Some(text(output(outputs, "tenantId")?, "tenantId")?),
            None => None,
        },
    })
}

/// The value of an output, which stands beside its type.
fn output<'o>(outputs: &'o Map<String, Value>, name: &str) -> Result<&'o Value, String> {
    let found = outputs.get(name).ok_or_else(|| {
        let mut names: Vec<&str> = outputs.keys().map(String::as_str).take(10).collect();
        names.sort_unstable();
        format!(
            "there is no output {name:?} among [{}]: was the template of `cefline azure template` \
             deployed? {ADVICE}",
            names.join(", ")
        )
    })?;
    found
        .get("value")
        .ok_or_else(|| format!("the output {name:?} has no \"value\"; {ADVICE}"))
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    match value.as_str() {
        Some(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err(format!("the output {name:?} is not a text")),
    }
}

fn rules(value: &Value) -> Result<Vec<(String, String)>, String> {
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or("the output \"rules\" is not a list of rules")?;
    let member = |place: usize, rule: &Value, name: &str| {
        text(rule.get(name).unwrap_or(&Value::Null), name)
            .map_err(|_| format!("rule {place} of the output \"rules\" has no {name:?}"))
    };
    list.iter()
        .enumerate()
        .map(|(index, rule)| {
            let place = index + 1;
            let endpoint = member(place, rule, "endpoint")?;
            let endpoint = endpoint.trim_end_matches('/').to_owned();
            Ok((member(place, rule, "id")?, endpoint))
        })
        .collect()
}

/// `[listen]` and `[sentinel]`.
fn head(outputs: &Outputs, answers: &Answers) -> String {
    let mut out = format!("[listen]\ntcp = [\"{}\"]\n\n[sentinel]\n", answers.listen);
    let first = outputs.rules.first().map(|(_, endpoint)| endpoint);
    let is_shared = outputs
        .rules
        .iter()
        .all(|(_, endpoint)| Some(endpoint) == first);
    if let Some(endpoint) = first.filter(|_| is_shared) {
        // a String takes everything
        let _ = writeln!(out, "endpoint = {}", quoted(endpoint));
    }
    match outputs.rules.as_slice() {
        [(id, _)] => {
            let _ = writeln!(out, "rules = [{}]", quoted(id));
        }
        rules => {
            out.push_str("rules = [\n");
            for (id, endpoint) in rules {
                let _ = match is_shared {
                    true => writeln!(out, "    {},", quoted(id)),
                    false => writeln!(
                        out,
                        "    {{ id = {}, endpoint = {} }},",
                        quoted(id),
                        quoted(endpoint)
                    ),
                };
            }
            out.push_str("]\n");
        }
    }
    let _ = writeln!(out, "stream = {}\n", quoted(&outputs.stream));
    out
}

/// `[sentinel.identity]`, with a remark at each value that is still to be filled in.
fn identity(outputs: &Outputs, answers: &Answers) -> String {
    let mut out = "[sentinel.identity]\n".to_owned();
    let given = |value: &Option<String>| value.clone().unwrap_or_else(|| NO_ID.to_owned());
    match answers.identity {
        Identity::ClientSecret => {
            let tenant = answers.tenant.clone().or_else(|| outputs.tenant.clone());
            let remark = |missing: bool, what: &'static str| if missing { what } else { "" };
            let _ = write!(
                out,
                "kind = \"client_secret\"\n\
                 tenant_id = {}{}\n\
                 client_id = {}{}\n\
                 secret_file = \"/etc/cefline/client-secret\"   # the secret's value, mode 640\n",
                quoted(&given(&tenant)),
                remark(
                    tenant.is_none(),
                    "   # to fill in: the directory (tenant) id"
                ),
                quoted(&given(&answers.client)),
                remark(
                    answers.client.is_none(),
                    "   # to fill in: the application (client) id"
                ),
            );
        }
        Identity::ManagedIdentity => {
            out.push_str("kind = \"managed_identity\"\n");
            if let Some(client) = &answers.client {
                let _ = writeln!(out, "client_id = {}", quoted(client));
            }
        }
    }
    out
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_so_that_it_stays_text() {
        assert_eq!(quoted("https://a.example"), "\"https://a.example\"");
        let hostile = "a\"]\nb = 'c' # \\";
        let table: toml::Table = toml::from_str(&format!("x = {}", quoted(hostile))).unwrap();
        assert_eq!(table["x"].as_str(), Some(hostile));
    }
}
