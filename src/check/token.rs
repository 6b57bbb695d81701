//! Why there is no token: the login host's numbers, and what helps against each.
//!
//! Numbers by Microsoft's list of AADSTS errors.

use super::{Finding, Whose};
use crate::auth::{Party, Refusal};

/// A token that was obtained, or why it was not. `about` is the login host.
#[must_use]
pub fn judge(about: &str, refusal: Option<&Refusal>) -> Finding {
    const NAME: &str = "token";
    let Some(refusal) = refusal else {
        return Finding::ok(NAME, about, "obtained");
    };
    let failed =
        |whose, what: String, remedy: &str| Finding::failed(NAME, about, whose, what, remedy);
    match refusal {
        Refusal::Refused {
            from: Party::Login,
            status,
            error,
            number,
            ..
        } => {
            let (whose, meaning, remedy) = meaning(*status, *number);
            let named = match (number, error) {
                (Some(number), _) => format!(" (AADSTS{number})"),
                (None, Some(error)) => format!(" ({error})"),
                (None, None) => String::new(),
            };
            let what = format!("refused with {status}{named}: {meaning}");
            failed(whose, what, &remedy)
        }
        Refusal::Unreachable(Party::Login, cause) => failed(
            Whose::Network,
            format!("the login host gave no answer: {cause}"),
            "try again; if it stays so, something on the way cuts the request: ask who runs the \
             network",
        ),
        Refusal::Unusable(Party::Login, what) => failed(
            Whose::Configuration,
            format!("the answer is no token: {what}"),
            "check sentinel.identity.authority: what answers there is no login host",
        ),
        // a secret, or whatever an identity of another kind lacks on this machine
        other => failed(
            Whose::Machine,
            other.to_string(),
            "mend what the message names; cefline reads it again for each token, without a restart",
        ),
    }
}

fn meaning(status: u16, number: Option<u64>) -> (Whose, &'static str, String) {
    let (whose, meaning, remedy) = match (number, status) {
        (Some(7_000_215), _) => (
            Whose::Configuration,
            "the client secret is wrong",
            "write the secret's value, not its id, where sentinel.identity.secret_file \
             (or _env, _credential) points; Azure shows the value only once: if it is gone, make a new secret (Entra, App \
             registrations, Certificates & secrets)",
        ),
        (Some(7_000_222), _) => (
            Whose::AzureSetup,
            "the client secret has expired",
            "make a new secret for the application (Entra, App registrations, Certificates & \
             secrets) and write its value into the file that sentinel.identity.secret_file names; no \
             restart is needed",
        ),
        (Some(700_016), _) => (
            Whose::Configuration,
            "the tenant knows no application with this id",
            "compare sentinel.identity.client_id with the Application (client) ID in Entra, App \
             registrations (not the object id), and sentinel.identity.tenant_id with the tenant that \
             it is in",
        ),
        (Some(90_002 | 900_023), _) => (
            Whose::Configuration,
            "there is no such tenant",
            "compare sentinel.identity.tenant_id with the Tenant ID that Entra's overview shows; for \
             a national cloud check sentinel.identity.authority too",
        ),
        (Some(7_000_112), _) => (
            Whose::AzureSetup,
            "the application is disabled",
            "enable it: Entra, Enterprise applications, the application, Properties, Enabled for \
             users to sign-in",
        ),
        (Some(500_011 | 70_011), _) => (
            Whose::Configuration,
            "this cloud knows no such resource",
            "remove sentinel.identity.scope, so that it follows the endpoint's cloud; check \
             sentinel.identity.authority if it is set",
        ),
        (Some(700_024), _) => (
            Whose::Machine,
            "the assertion is outside of its time",
            "synchronise this machine's clock",
        ),
        (Some(700_027 | 7_000_214), _) => (
            Whose::Configuration,
            "the certificate is not one that the application knows",
            "upload the certificate to the application (Entra, App registrations, Certificates & \
             secrets), or configure the one that is there",
        ),
        (Some(53_003), _) => (
            Whose::AzureSetup,
            "a Conditional Access policy blocks it",
            "let the policies for workload identities allow this application from this machine's \
             address",
        ),
        (Some(_), 400..=499) => {
            let number = number.unwrap_or_default();
            return (
                Whose::AzureSetup,
                "see the number",
                format!("https://login.microsoftonline.com/error?code={number} explains it"),
            );
        }
        (None, 429) => (
            Whose::Azure,
            "too many requests for tokens",
            "wait some minutes; if it comes again, find what else asks for tokens of this \
             application",
        ),
        (_, 500..) => (
            Whose::Azure,
            "the login host is in trouble",
            "wait, and see https://status.azure.com; cefline holds rows and goes on trying",
        ),
        (None, 300..=399) => (
            Whose::Configuration,
            "it points elsewhere, where cefline does not follow",
            "set sentinel.identity.authority to the login host itself",
        ),
        _ => (
            Whose::Configuration,
            "it gives no number, so it may not be a login host of Microsoft's",
            "check sentinel.identity.authority; a proxy on the way may answer too",
        ),
    };
    (whose, meaning, remedy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn each_number_has_its_own_remedy() {
        let cases = [
            (401, Some(7_000_215), "secret is wrong", "not its id"),
            (401, Some(7_000_222), "has expired", "make a new secret"),
            (400, Some(700_016), "no application", "client_id"),
            (400, Some(90_002), "no such tenant", "tenant_id"),
            (400, Some(900_023), "no such tenant", "tenant_id"),
            (400, Some(7_000_112), "disabled", "enable it"),
            (
                400,
                Some(70_011),
                "no such resource",
                "sentinel.identity.scope",
            ),
            (401, Some(700_024), "its time", "clock"),
            (401, Some(700_027), "certificate", "upload"),
            (400, Some(53_003), "Conditional Access", "policies"),
            (400, Some(12_345), "see the number", "error?code=12345"),
            (429, None, "too many", "wait"),
            (503, None, "in trouble", "status.azure.com"),
            (302, None, "elsewhere", "authority"),
            (404, None, "no number", "authority"),
        ];
        for (status, number, meaning, remedy) in cases {
            let refusal = Refusal::Refused {
                from: Party::Login,
                status,
                error: Some("some_error".into()),
                number,
                retry_after: None,
                skew: None,
            };
            let found = judge("login.example", Some(&refusal));
            assert_eq!(found.verdict, Verdict::Failed);
            assert!(found.what.contains(meaning), "{found}");
            assert!(found.remedy.contains(remedy), "{found}");
            if let Some(number) = number {
                assert!(found.what.contains(&format!("AADSTS{number}")), "{found}");
            }
        }
    }

    #[test]
    fn what_keeps_the_login_host_from_being_asked_is_told_as_it_is() {
        assert_eq!(judge("x", None).verdict, Verdict::Ok);
        let secret = Refusal::Secret("/etc/s: permission denied".into());
        let found = judge("x", Some(&secret));
        assert!(found.what.contains("/etc/s: permission denied"), "{found}");
        let silent = judge(
            "x",
            Some(&Refusal::Unreachable(Party::Login, "reset".into())),
        );
        assert_eq!(silent.whose, Some(Whose::Network));
        let odd = judge("x", Some(&Refusal::Unusable(Party::Login, "not JSON")));
        assert!(odd.remedy.contains("authority"), "{odd}");
    }
}
