//! The client credentials grant (RFC 6749 section 4.4, as Microsoft Entra takes it): what all
//! applications do, whatever they prove themselves by.

use super::Asking;
use super::answer::{Grant, Party, Refusal, read};
use crate::client::{Answer, cause_of};
use crate::config::Login;
use crate::limits::TOKEN_TIME_MAX;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use zeroize::Zeroizing;

/// How an assertion is called (RFC 7523 section 2.2).
const ASSERTION_TYPE: &[u8] = b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An application, and what proves that we are it.
pub(super) struct Claim<'a> {
    pub(super) tenant_id: &'a str,
    pub(super) client_id: &'a str,
    pub(super) login: &'a Login,
}

/// What an application proves itself by.
pub(super) enum Proof<'a> {
    Secret(&'a [u8]),
    /// A signed JWT: our own or an outside issuer's.
    Assertion(&'a [u8]),
}

impl Claim<'_> {
    /// Where tokens are asked for.
    pub(super) fn url(&self) -> String {
        let authority = self.login.authority.as_str();
        format!("{authority}/{}/oauth2/v2.0/token", self.tenant_id)
    }

    /// One request for a token.
    pub(super) async fn ask(
        &self,
        proof: Proof<'_>,
        asking: &Asking<'_>,
    ) -> Result<Grant, Refusal> {
        let request = asking
            .clients
            .login
            .post(self.url())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )
            // wiped when the last reader is done with it
            .body(Bytes::from_owner(self.form(proof)));
        read(
            answer(Party::Login, request).await?,
            Party::Login,
            asking.clock.wall(),
        )
    }

    fn form(&self, proof: Proof<'_>) -> Zeroizing<Vec<u8>> {
        let mut fields: Vec<(&str, &[u8])> = vec![
            ("grant_type", b"client_credentials"),
            ("client_id", self.client_id.as_bytes()),
            ("scope", self.login.scope.as_bytes()),
        ];
        match proof {
            Proof::Secret(secret) => fields.push(("client_secret", secret)),
            Proof::Assertion(jwt) => {
                fields.push(("client_assertion_type", ASSERTION_TYPE));
                fields.push(("client_assertion", jwt));
            }
        }
        // three bytes for each at most, so that growing leaves no copy behind
        let bytes: usize = fields
            .iter()
            .map(|(name, value)| name.len() + 3 * value.len() + 2)
            .sum();
        let mut form = Zeroizing::new(Vec::with_capacity(bytes));
        for (name, value) in fields {
            if !form.is_empty() {
                form.push(b'&');
            }
            form.extend_from_slice(name.as_bytes());
            form.push(b'=');
            encode(&mut form, value);
        }
        form
    }
}

/// The answer to a request, within its time.
pub(super) async fn answer(
    from: Party,
    request: reqwest::RequestBuilder,
) -> Result<Answer, Refusal> {
    tokio::time::timeout(TOKEN_TIME_MAX, async {
        match request.send().await {
            Ok(response) => Ok(Answer::read(response).await),
            Err(error) => Err(Refusal::Unreachable(from, cause_of(&error))),
        }
    })
    .await
    .unwrap_or_else(|_| {
        let seconds = TOKEN_TIME_MAX.as_secs();
        let cause = format!("no answer within {seconds} s");
        Err(Refusal::Unreachable(from, cause))
    })
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(super) fn encode(out: &mut Vec<u8>, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
    for byte in value {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            _ => out.extend([b'%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EndpointUrl;

    #[test]
    fn the_form_is_encoded() {
        let login = Login {
            authority: EndpointUrl("https://login".into()),
            scope: "https://monitor.azure.com/.default".into(),
        };
        let claim = Claim {
            tenant_id: "t",
            client_id: "c-1",
            login: &login,
        };
        let form = claim.form(Proof::Secret(b"a~b+/=&%\xc3\xa9"));
        assert_eq!(
            std::str::from_utf8(&form).unwrap(),
            "grant_type=client_credentials&client_id=c-1\
             &scope=https%3A%2F%2Fmonitor.azure.com%2F.default\
             &client_secret=a~b%2B%2F%3D%26%25%C3%A9"
        );
        let form = claim.form(Proof::Assertion(b"a.b-_.c"));
        assert!(std::str::from_utf8(&form).unwrap().ends_with(
            "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3A\
                 jwt-bearer&client_assertion=a.b-_.c"
        ));
        assert_eq!(claim.url(), "https://login/t/oauth2/v2.0/token");
    }
}
