//! The files that a configuration is, and names: the only place of `config` that reads the disk.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::finding::Finding;
use super::signing::{SigningKey, certificates_in as signing_certificates_in, key_in};
use super::value::bytes_text;
use super::{ClientCertificate, SecretFrom};
use crate::limits::{CA_BYTES_MAX, CERTIFICATE_BYTES_MAX, CONFIG_BYTES_MAX, SECRET_BYTES_MAX};

/// What a file that the configuration names must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    /// A secret of one line.
    Secret,
    /// Certificates in PEM form.
    Certificates,
    /// A certificate and its private key; the password of them is in that file.
    CertificateAndKey(Option<PathBuf>),
    /// A certificate; its private key is in that file.
    CertificateFor(PathBuf),
    /// A private key.
    Key,
}

/// A file that the configuration names, or what it names in place of one.
#[derive(Debug)]
pub(super) struct NamedFile {
    pub(super) key: &'static str,
    source: SecretFrom,
    holds: Holds,
    /// The key's place, to be completed with what is wrong.
    pub(super) finding: Finding,
}

impl NamedFile {
    /// Looks at the file; adds what is wrong to `findings` and what is odd to `warnings`.
    pub(super) fn check(&self, findings: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
        let with = |what: String, advice: &str| Finding {
            what,
            advice: advice.to_owned(),
            ..self.finding.clone()
        };
        let (bytes_max, advice) = match (&self.holds, &self.source) {
            (Holds::Secret, SecretFrom::File(_)) => (
                SECRET_BYTES_MAX,
                "a file that holds only the secret's value, readable for the user that runs cefline",
            ),
            (Holds::Secret, SecretFrom::Env(_)) => (
                SECRET_BYTES_MAX,
                "a variable that holds only the secret's value, set for the process that runs cefline",
            ),
            (Holds::Secret, SecretFrom::Credential(_)) => (
                SECRET_BYTES_MAX,
                "a credential that systemd loads for the unit (LoadCredential=); for `cefline \
                 check` set CREDENTIALS_DIRECTORY",
            ),
            (Holds::Certificates, _) => (
                CA_BYTES_MAX,
                "a file of certificates in PEM form, as in /etc/ssl/certs",
            ),
            (Holds::CertificateAndKey(_), _) => (
                CERTIFICATE_BYTES_MAX,
                "a file with the certificate and its private key (RSA): PEM (PKCS#8 or PKCS#1, not \
                 encrypted), or PKCS#12",
            ),
            (Holds::CertificateFor(_), _) => (
                CERTIFICATE_BYTES_MAX,
                "a PEM file with the certificate that belongs to the key in key_file",
            ),
            (Holds::Key, _) => (
                CERTIFICATE_BYTES_MAX,
                "a PEM file with the private key (RSA, PKCS#8 or PKCS#1, not encrypted)",
            ),
        };
        let checked = source_contents(&self.source, bytes_max).and_then(|(bytes, mode)| {
            match &self.holds {
                Holds::Secret => secret_good(&bytes),
                Holds::Certificates => certificates_in(&bytes).map(drop),
                // a password that is bad by itself is reported as such
                Holds::CertificateAndKey(password) => match password_in(password.as_deref()) {
                    Ok(password) => SigningKey::of(&bytes, None, &password).map(drop),
                    Err(_) => Ok(()),
                },
                Holds::Key => key_in(&bytes).map(drop),
                // a key that is bad by itself is reported as such
                Holds::CertificateFor(key) => match contents(key, CERTIFICATE_BYTES_MAX) {
                    Ok((key, _)) if key_in(&key).is_ok() => {
                        SigningKey::of(&bytes, Some(&key), "").map(drop)
                    }
                    _ => signing_certificates_in(&bytes).map(drop),
                },
            }?;
            Ok(mode)
        });
        let is_secret = !matches!(self.holds, Holds::Certificates | Holds::CertificateFor(_));
        match checked {
            Err(what) => findings.push(with(what, advice)),
            Ok(mode) if is_secret && mode & 0o007 != 0 => {
                let what =
                    format!("any user of this machine may read or change it (mode {mode:o})");
                warnings.push(with(what, "chmod 600 it"));
            }
            Ok(_) => {}
        }
    }
}

/// What the configuration names by `key`.
pub(super) fn named(key: &'static str, source: SecretFrom, holds: Holds) -> NamedFile {
    NamedFile {
        key,
        source,
        holds,
        finding: Finding::of_file("", ""),
    }
}

/// Bytes and mode of what is in such a place; a variable has no mode that could be wrong.
fn source_contents(
    source: &SecretFrom,
    bytes_max: usize,
) -> Result<(Zeroizing<Vec<u8>>, u32), String> {
    match source {
        SecretFrom::File(path) => contents(path, bytes_max),
        SecretFrom::Credential(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
                .ok_or("CREDENTIALS_DIRECTORY is not set: not started by systemd")?;
            contents(&Path::new(&folder).join(name), bytes_max)
        }
        SecretFrom::Env(name) => {
            let value = std::env::var_os(name).ok_or("there is no such variable")?;
            let bytes = Zeroizing::new(value.into_encoded_bytes());
            if bytes.len() > bytes_max {
                return Err(format!("larger than {}", bytes_text(bytes_max)));
            }
            Ok((bytes, 0))
        }
    }
}

/// The value of a secret, without the space around it.
///
/// # Errors
/// Why it cannot be had, naming the place and never the value; trying again helps once that is
/// mended.
pub fn read_secret(source: &SecretFrom) -> Result<Zeroizing<Vec<u8>>, String> {
    let (bytes, _) = source_contents(source, SECRET_BYTES_MAX)
        .and_then(|found| secret_good(&found.0).map(|()| found))
        .map_err(|what| format!("{source}: {what}"))?;
    Ok(Zeroizing::new(bytes.trim_ascii().to_vec()))
}

/// The key and the certificate in these files, the same one if there is no second.
///
/// # Errors
/// Why they cannot be used; trying again helps once that is mended.
pub fn read_signing_key(identity: &ClientCertificate) -> Result<SigningKey, String> {
    let read = |path: &Path| {
        let read = contents(path, CERTIFICATE_BYTES_MAX).map(|(bytes, _)| bytes);
        read.map_err(|what| format!("{}: {what}", path.display()))
    };
    let file = &identity.certificate_file;
    let certificate = read(file)?;
    let key = identity.key_file.as_deref().map(read).transpose()?;
    let key = key.as_ref().map(|bytes| bytes.as_slice());
    let password = password_in(identity.password_file.as_deref())?;
    SigningKey::of(&certificate, key, &password)
        .map_err(|what| format!("{}: {what}", file.display()))
}

/// The password in a file; an empty one if there is no file.
fn password_in(file: Option<&Path>) -> Result<Zeroizing<String>, String> {
    let Some(file) = file else {
        return Ok(Zeroizing::default());
    };
    let bytes = read_secret(&SecretFrom::File(file.to_owned()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "not text".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The text of the configuration file.
pub(super) fn config_text(path: &Path) -> Result<String, Box<Finding>> {
    let advice = "`cefline config` prints one to start from";
    let (bytes, _) = contents(path, CONFIG_BYTES_MAX)
        .map_err(|what| Box::new(Finding::of_file(what, advice)))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        Box::new(Finding {
            line: Some(1 + memchr::memchr_iter(b'\n', good).count()),
            ..Finding::of_file("not UTF-8", "save the file as UTF-8")
        })
    })?;
    Ok(text.to_owned())
}

/// Bytes and mode of a regular file. Pipes are refused: they could block for ever, and what a key
/// names is read again later.
fn contents(path: &Path, bytes_max: usize) -> Result<(Zeroizing<Vec<u8>>, u32), String> {
    let metadata = std::fs::metadata(path).map_err(|error| cannot_be_read(&error))?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max.min(64 * 1024) + 1));
    File::open(path)
        .and_then(|file| {
            let bound = u64::try_from(bytes_max)
                .unwrap_or(u64::MAX)
                .saturating_add(1);
            file.take(bound).read_to_end(&mut bytes)
        })
        .map_err(|error| cannot_be_read(&error))?;
    if bytes.len() > bytes_max {
        return Err(format!("larger than {}", bytes_text(bytes_max)));
    }
    Ok((bytes, metadata.permissions().mode() & 0o7777))
}

fn cannot_be_read(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => {
            let user = nix::unistd::geteuid();
            format!("user {user} may not read it (permission denied)")
        }
        _ => format!("cannot be read ({error})"),
    }
}

/// A secret is one line of text; space around it does not count.
fn secret_good(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not text, so no client secret")?;
    match text.trim() {
        "" => Err("empty".into()),
        secret if secret.contains(char::is_control) => {
            Err("more than one line, so no client secret".into())
        }
        _ => Ok(()),
    }
}

/// The certificates in a PEM text, each good enough to trust.
///
/// # Errors
/// That there is none, or which one is broken.
pub fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut certificates = Vec::new();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let number = certificates.len() + 1;
        let broken = |why: String| format!("certificate {number} in it is broken ({why})");
        let certificate = certificate.map_err(|error| broken(error.to_string()))?;
        roots
            .add(certificate.clone())
            .map_err(|error| broken(error.to_string()))?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err("no certificate in it".into());
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line() {
        for good in ["abc~", "abc~\n", " abc~ \r\n"] {
            assert_eq!(secret_good(good.as_bytes()), Ok(()), "{good:?}");
        }
        for bad in [&b""[..], b" \n", b"a\nb", b"a\0b", b"\xff"] {
            assert!(secret_good(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_that_may_not_be_read_is_told_from_one_that_is_not_there() {
        let denied = cannot_be_read(&io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(denied.contains("may not read it"), "{denied}");
        let absent = cannot_be_read(&io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(absent, "there is no such file");
    }

    #[test]
    fn certificates_are_parsed_and_not_only_decoded() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = made.cert.pem();
        assert_eq!(certificates_in(pem.as_bytes()).unwrap().len(), 1);
        let two = format!("# two\n{pem}\n{pem}");
        assert_eq!(certificates_in(two.as_bytes()).unwrap().len(), 2);
        assert_eq!(certificates_in(b"x").unwrap_err(), "no certificate in it");
        let key = made.signing_key.serialize_pem();
        assert_eq!(
            certificates_in(key.as_bytes()).unwrap_err(),
            "no certificate in it"
        );
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = certificates_in(format!("{pem}{broken}").as_bytes()).unwrap_err();
        assert!(
            error.starts_with("certificate 2 in it is broken"),
            "{error}"
        );
        let cut = pem.replace("-----END", "");
        assert!(certificates_in(cut.as_bytes()).is_err());
    }

    #[test]
    fn a_file_at_its_bound_is_read_and_one_past_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![b'x'; 100]).unwrap();
        assert_eq!(contents(&path, 100).unwrap().0.len(), 100);
        assert_eq!(contents(&path, 99).unwrap_err(), "larger than 99 B");
        assert_eq!(
            contents(folder.path(), 99).unwrap_err(),
            "not a regular file"
        );
    }
}
