//! The identity of the virtual machine that we run on: Azure's instance metadata service knows it
//! by the way that the question comes, so there is no secret. Nor a proxy: the way is the proof.

use super::Asking;
use super::answer::{Grant, Party, Refusal, read};
use super::login::{answer, encode};
use crate::config::{Assigned, ManagedIdentity};

const API_VERSION: &str = "2018-02-01";

/// One request for a token.
pub(super) async fn grant(
    identity: &ManagedIdentity,
    asking: &Asking<'_>,
) -> Result<Grant, Refusal> {
    let more = match &identity.assigned {
        Assigned::System => None,
        Assigned::ClientId(id) => Some(("client_id", id.as_str())),
        Assigned::ObjectId(id) => Some(("object_id", id.as_str())),
        Assigned::ResourceId(id) => Some(("msi_res_id", id.as_str())),
    };
    let url = url(
        identity.endpoint.as_str(),
        API_VERSION,
        &identity.scope,
        more,
    );
    let request = asking.clients.direct.get(url).header("metadata", "true");
    let answer = answer(Party::Metadata, request).await?;
    read(answer, Party::Metadata, asking.clock.wall())
}

/// The question that both services of this kind take: for a resource, which is a scope without
/// its end.
pub(super) fn url(
    endpoint: &str,
    api_version: &str,
    scope: &str,
    more: Option<(&str, &str)>,
) -> String {
    let resource = scope.trim_end_matches(".default").trim_end_matches('/');
    let encoded = |value: &str| {
        let mut out = Vec::new();
        encode(&mut out, value.as_bytes());
        String::from_utf8(out).unwrap_or_default()
    };
    let mut url = format!(
        "{endpoint}/metadata/identity/oauth2/token?api-version={api_version}&resource={}",
        encoded(resource)
    );
    if let Some((name, value)) = more {
        url.push_str(&format!("&{name}={}", encoded(value)));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_a_resource_and_no_scope() {
        for scope in [
            "https://monitor.azure.com/.default",
            "https://monitor.azure.com//.default",
        ] {
            assert_eq!(
                url("http://h", "v", scope, None),
                "http://h/metadata/identity/oauth2/token?api-version=v\
                 &resource=https%3A%2F%2Fmonitor.azure.com"
            );
        }
        let with = url("http://h", "v", "s/.default", Some(("msi_res_id", "/a/b")));
        assert!(with.ends_with("&resource=s&msi_res_id=%2Fa%2Fb"), "{with}");
    }
}
