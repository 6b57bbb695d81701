//! The identity of a machine outside of Azure that the Azure Arc agent connects. The agent on this
//! machine wants to see that we may read a file which root and group `himds` may read only:
//!
//! ```text
//! GET                            -> 401, WWW-Authenticate: Basic realm=FILE
//! GET, Authorization: Basic TEXT -> 200, the token
//! ```
//!
//! Who listens on the agent's port may not be the agent. So of FILE only the name is used, never
//! the folder; its ending must be the agent's; and only a short file is read. Whatever is asked of
//! us, no other file can leave this machine by this way (as Microsoft's own libraries do).

use super::Asking;
use super::answer::{Grant, Party, Refusal, read};
use super::login::answer;
use super::managed::url;
use crate::config::AzureArc;
use crate::limits::ARC_CHALLENGE_BYTES_MAX;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const API_VERSION: &str = "2020-06-01";

/// One request for a token, and the one before it.
pub(super) async fn grant(identity: &AzureArc, asking: &Asking<'_>) -> Result<Grant, Refusal> {
    let url = url(
        identity.endpoint.as_str(),
        API_VERSION,
        &identity.scope,
        None,
    );
    let get = || asking.clients.direct.get(&url).header("metadata", "true");
    let first = answer(Party::Arc, get()).await?;
    if first.status.as_u16() != 401 {
        let status = first.status.as_u16();
        if !first.status.is_success() {
            return read(first, Party::Arc, asking.clock.wall());
        }
        let what = format!("it answered {status} where it must answer 401 and name a file");
        return Err(Refusal::Challenge(what));
    }
    let file = file(&first.headers, &identity.tokens_directory)
        .map_err(|what| Refusal::Challenge(what.to_owned()))?;
    let authorization = challenge(&file).map_err(Refusal::Challenge)?;
    let second = get().header(AUTHORIZATION, authorization);
    read(
        answer(Party::Arc, second).await?,
        Party::Arc,
        asking.clock.wall(),
    )
}

/// The file that an answer names, in the folder where it must be.
fn file(headers: &HeaderMap, folder: &Path) -> Result<PathBuf, &'static str> {
    let header = headers
        .get(WWW_AUTHENTICATE)
        .ok_or("its 401 has no WWW-Authenticate header")?;
    let realm = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once('='))
        .filter(|(name, realm)| *name == "Basic realm" && !realm.contains('='))
        .map(|(_, realm)| Path::new(realm))
        .ok_or("its WWW-Authenticate header is not Basic realm=FILE")?;
    if realm.extension().is_none_or(|ending| ending != "key") {
        return Err("it names a file that does not end in .key");
    }
    let name = realm.file_name().ok_or("it names no file")?;
    Ok(folder.join(name))
}

/// What the file holds, as a header.
fn challenge(file: &Path) -> Result<HeaderValue, String> {
    let wrong = |what: &str| format!("{}: {what}", file.display());
    let is_file = |metadata: std::fs::Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(std::io::Error::other("not a regular file")),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(ARC_CHALLENGE_BYTES_MAX + 1));
    // a link would lead out of the folder
    std::fs::symlink_metadata(file)
        .and_then(is_file)
        .and_then(|()| File::open(file))
        .and_then(|file| {
            file.take(ARC_CHALLENGE_BYTES_MAX as u64 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => {
                wrong("permission denied; add the user that runs cefline to group himds")
            }
            ErrorKind::NotFound => wrong("the agent named it, and it is not there"),
            _ => wrong(&error.to_string()),
        })?;
    if bytes.len() > ARC_CHALLENGE_BYTES_MAX {
        return Err(wrong(
            "longer than 4096 bytes, so no challenge of the agent's",
        ));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() + 6));
    text.extend_from_slice(b"Basic ");
    text.extend_from_slice(bytes.trim_ascii());
    let mut header = HeaderValue::from_bytes(&text)
        .map_err(|_| wrong("not text, so no challenge of the agent's"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(header: &'static str) -> Result<PathBuf, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(header));
        file(&headers, Path::new("/tokens"))
    }

    #[test]
    fn only_a_file_of_the_agents_folder_can_be_named() {
        let good = Ok(PathBuf::from("/tokens/a.key"));
        assert_eq!(named("Basic realm=/tokens/a.key"), good);
        assert_eq!(named("Basic realm=/elsewhere/a.key"), good);
        assert_eq!(named("Basic realm=../../a.key"), good);
        for header in [
            "Basic realm=/etc/shadow",
            "Basic realm=/tokens/a.key/..",
            "Basic realm=/tokens/.key",
            "Basic realm=",
            "Basic realm",
            "Basic realm=a=b.key",
            "Bearer realm=/tokens/a.key",
        ] {
            assert!(named(header).is_err(), "{header}");
        }
        assert!(file(&HeaderMap::new(), Path::new("/tokens")).is_err());
    }
    #[test]
    fn a_link_out_of_the_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (link, secret) = (folder.path().join("a.key"), folder.path().join("secret"));
        std::fs::write(&secret, "not-a-challenge").unwrap();
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        assert!(challenge(&link).unwrap_err().contains("not a regular file"));
        assert_eq!(challenge(&secret).unwrap(), "Basic not-a-challenge");
    }
}
