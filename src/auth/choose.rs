//! Which identity `auto` stands for. Decided once, by what there is and not by who answers: a
//! service that is down for a minute must not make us someone else.

use super::workload::{Environment, settle};
use crate::config::{Auto, Identity};

/// Where the Azure Arc agent is on Linux.
pub(super) const ARC_AGENT: &str = "/opt/azcmagent/bin/himds";

/// The identity, and why those before it were passed over.
pub(super) fn choose(
    auto: &Auto,
    environment: Environment<'_>,
    has_agent: bool,
) -> (Identity, Vec<String>) {
    let mut passed = Vec::new();
    match settle(&auto.workload, environment) {
        Ok(_) => return (Identity::Workload(auto.workload.clone()), passed),
        Err(what) => passed.push(format!("workload: {what}")),
    }
    match &auto.certificate {
        Some(one) => return (Identity::ClientCertificate(one.clone()), passed),
        None => passed.push("client_certificate: certificate_file is not set".into()),
    }
    match &auto.secret {
        Some(one) => return (Identity::ClientSecret(one.clone()), passed),
        None => passed.push("client_secret: no secret is set".into()),
    }
    let is_told = ["IDENTITY_ENDPOINT", "IMDS_ENDPOINT"]
        .iter()
        .all(|name| environment(name).is_some());
    if is_told || has_agent {
        return (Identity::AzureArc(auto.arc.clone()), passed);
    }
    passed.push(format!(
        "azure_arc: neither IDENTITY_ENDPOINT and IMDS_ENDPOINT nor {ARC_AGENT}"
    ));
    (Identity::ManagedIdentity(auto.managed.clone()), passed)
}
