//! An application that trusts an outside issuer (workload identity federation): the issuer's token
//! is the assertion. Somebody else renews it in its file, so it is read anew for each of ours.

use super::Asking;
use super::answer::{Grant, Refusal};
use super::login::{Claim, Proof};
use crate::config::{AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE, AZURE_TENANT_ID, Workload};
use crate::limits::FEDERATED_TOKEN_BYTES_MAX;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Names in the environment and their values; nothing for what is not set or empty.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a workload needs, from the configuration or else the environment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    tenant_id: String,
    client_id: String,
    pub(super) token_file: PathBuf,
}

/// Puts it together, or names what is missing.
pub(super) fn settle(workload: &Workload, environment: Environment<'_>) -> Result<Settled, String> {
    let or_env = |set: Option<String>, key: &str, name: &str| {
        set.or_else(|| environment(name))
            .ok_or_else(|| format!("neither {key} nor {name} is set"))
    };
    let file = match &workload.token_file {
        Some(file) => file.clone(),
        None => or_env(None, "token_file", AZURE_FEDERATED_TOKEN_FILE)?.into(),
    };
    Ok(Settled {
        token_file: file,
        tenant_id: or_env(workload.tenant_id.clone(), "tenant_id", AZURE_TENANT_ID)?,
        client_id: or_env(workload.client_id.clone(), "client_id", AZURE_CLIENT_ID)?,
    })
}

/// One request for a token.
pub(super) async fn grant(identity: &Workload, asking: &Asking<'_>) -> Result<Grant, Refusal> {
    let settled = settle(identity, &super::variable)
        .map_err(|what| Refusal::Secret(format!("the workload, {what}")))?;
    let token = token(&settled.token_file)
        .map_err(|what| Refusal::Secret(format!("the token in {what}")))?;
    let claim = Claim {
        tenant_id: &settled.tenant_id,
        client_id: &settled.client_id,
        login: &identity.login,
    };
    claim
        .ask(Proof::Assertion(token.trim_ascii()), asking)
        .await
}

fn token(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let wrong = |what: String| format!("{}: {what}", file.display());
    let mut bytes = Zeroizing::new(Vec::with_capacity(FEDERATED_TOKEN_BYTES_MAX + 1));
    File::open(file)
        .and_then(|file| {
            file.take(FEDERATED_TOKEN_BYTES_MAX as u64 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() > FEDERATED_TOKEN_BYTES_MAX {
        return Err(wrong(format!(
            "longer than {FEDERATED_TOKEN_BYTES_MAX} bytes"
        )));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(wrong("empty".into()));
    }
    Ok(bytes)
}
