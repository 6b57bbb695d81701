//! An application with a shared secret, which is read anew for each token.

use super::Asking;
use super::answer::{Grant, Refusal};
use super::login::{Claim, Proof};
use crate::config::{ClientSecret, read_secret};

/// One request for a token.
pub(super) async fn grant(identity: &ClientSecret, asking: &Asking<'_>) -> Result<Grant, Refusal> {
    let secret = read_secret(&identity.secret)
        .map_err(|what| Refusal::Secret(format!("the secret, {what}")))?;
    let application = &identity.application;
    let claim = Claim {
        tenant_id: &application.tenant_id,
        client_id: &application.client_id,
        login: &application.login,
    };
    claim.ask(Proof::Secret(&secret), asking).await
}
