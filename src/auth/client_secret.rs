//! The client credentials grant with a shared secret (RFC 6749 section 4.4, as Microsoft Entra
//! takes it).

use super::answer::{Grant, Refusal, read};
use crate::client::{Answer, cause_of};
use crate::config::ClientSecret;
use crate::limits::{SECRET_BYTES_MAX, TOKEN_TIME_MAX};
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

/// One request for a token.
pub(super) async fn grant(
    identity: &ClientSecret,
    client: &reqwest::Client,
) -> Result<Grant, Refusal> {
    let form = form(identity, &secret(&identity.secret_file)?);
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        identity.authority.as_str(),
        identity.tenant_id
    );
    let request = client
        .post(url)
        .header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        )
        // wiped when the last reader is done with it
        .body(Bytes::from_owner(form));
    let answer = tokio::time::timeout(TOKEN_TIME_MAX, async {
        match request.send().await {
            Ok(response) => Ok(Answer::read(response).await),
            Err(error) => Err(Refusal::Unreachable(cause_of(&error))),
        }
    })
    .await
    .unwrap_or_else(|_| {
        let seconds = TOKEN_TIME_MAX.as_secs();
        Err(Refusal::Unreachable(format!(
            "no answer within {seconds} s"
        )))
    })?;
    read(answer)
}

/// The secret's value: the file's text without the white space around it.
fn secret(file: &Path) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let wrong = |what: String| Refusal::Secret(format!("{}: {what}", file.display()));
    // room from the start, so that growing leaves no copy behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    File::open(file)
        .and_then(|file| {
            file.take(SECRET_BYTES_MAX as u64 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(wrong(format!("longer than {SECRET_BYTES_MAX} bytes")));
    }
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Err(wrong("empty".to_owned()));
    }
    Ok(Zeroizing::new(text.to_vec()))
}

fn form(identity: &ClientSecret, secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let fields: [(&[u8], &[u8]); 4] = [
        (b"grant_type", b"client_credentials"),
        (b"client_id", identity.client_id.as_bytes()),
        (b"scope", identity.scope.as_bytes()),
        (b"client_secret", secret),
    ];
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
        form.extend_from_slice(name);
        form.push(b'=');
        encode(&mut form, value);
    }
    form
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(out: &mut Vec<u8>, value: &[u8]) {
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
        let identity = ClientSecret {
            tenant_id: "t".into(),
            client_id: "c-1".into(),
            secret_file: "/nowhere".into(),
            authority: EndpointUrl("https://login".into()),
            scope: "https://monitor.azure.com/.default".into(),
        };
        let form = form(&identity, b"a~b+/=&%\xc3\xa9");
        assert_eq!(
            std::str::from_utf8(&form).unwrap(),
            "grant_type=client_credentials&client_id=c-1\
             &scope=https%3A%2F%2Fmonitor.azure.com%2F.default\
             &client_secret=a~b%2B%2F%3D%26%25%C3%A9"
        );
    }

    #[test]
    fn a_secret_is_read_without_its_line_end_and_bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let read = |content: &[u8]| {
            std::fs::write(&file, content).unwrap();
            secret(&file)
                .map(|s| s.to_vec())
                .map_err(|refusal| refusal.to_string())
        };
        assert_eq!(read(b"s3cret~\r\n"), Ok(b"s3cret~".to_vec()));
        assert!(read(b" \n").unwrap_err().ends_with("secret: empty"));
        assert!(read(&[b'x'; SECRET_BYTES_MAX]).is_ok());
        let long = read(&[b'x'; SECRET_BYTES_MAX + 1]).unwrap_err();
        assert!(
            long.ends_with("longer than 4096 bytes") && !long.contains("xx"),
            "{long}"
        );
        let missing = secret(Path::new("/nowhere/secret"))
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("/nowhere/secret: No such file"),
            "{missing}"
        );
    }
}
