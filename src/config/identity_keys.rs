//! Reads `[sentinel.identity]`, and the places of secrets elsewhere: which keys there are, by kind.

use std::path::PathBuf;

use super::Proxy;
use super::azure::{self, CLOUDS, Cloud, EndpointUrl};
use super::document::Section;
use super::files::{Holds, NamedFile, named};
use super::identity::{
    Application, Assigned, Auto, AzureArc, ClientCertificate, ClientSecret, Identity, Login,
    ManagedIdentity, SecretFrom, Workload,
};
use super::value::{self, Wrong};

const KINDS: &[(&str, Kind)] = &[
    ("client_secret", Kind::ClientSecret),
    ("client_certificate", Kind::ClientCertificate),
    ("workload", Kind::Workload),
    ("managed_identity", Kind::ManagedIdentity),
    ("azure_arc", Kind::AzureArc),
    ("auto", Kind::Auto),
];

#[derive(Clone, Copy)]
enum Kind {
    ClientSecret,
    ClientCertificate,
    Workload,
    ManagedIdentity,
    AzureArc,
    Auto,
}

const GUID: &str = "\"01234567-89ab-cdef-0123-456789abcdef\"";
/// Where Azure's virtual machines are told about themselves.
const METADATA: &str = "http://169.254.169.254";
/// Where the agent of Azure Arc listens.
const ARC: &str = "http://localhost:40342";
/// Where it leaves its challenges.
const ARC_TOKENS: &str = "/var/opt/azcmagent/tokens";

/// Reads the section. `cloud` is that of the endpoint, if it is known; `checked` says that hosts must
/// be Microsoft's and of that cloud, or this machine's.
pub(super) fn identity(
    mut section: Section<'_, '_, '_>,
    cloud: Option<&Cloud>,
    checked: bool,
    files: &mut Vec<NamedFile>,
) -> Option<Identity> {
    let kind = section.required("kind", "\"client_secret\"", |written| {
        value::choice(written, KINDS)
    });
    // which keys there are depends on the kind: without it none can be called missing or unknown
    let kind = kind?;
    let mut keys = Keys {
        section,
        cloud: cloud.unwrap_or(&CLOUDS[0]),
        checked,
        must: cloud.filter(|_| checked),
        files,
    };
    let identity = match kind {
        Kind::ClientSecret => {
            let application = keys.application();
            let secret = keys.secret(true);
            application.zip(secret).map(|(application, secret)| {
                Identity::ClientSecret(ClientSecret {
                    application,
                    secret,
                })
            })
        }
        Kind::ClientCertificate => {
            let application = keys.application();
            let path = "\"/etc/cefline/certificate.pem\"";
            let certificate_file = keys.section.required("certificate_file", path, value::path);
            let (key_file, password_file) = keys.certificate(certificate_file.as_ref());
            application
                .zip(certificate_file)
                .map(|(application, certificate_file)| {
                    Identity::ClientCertificate(ClientCertificate {
                        application,
                        certificate_file,
                        password_file,
                        key_file,
                    })
                })
        }
        Kind::Workload => Some(Identity::Workload(keys.workload())),
        Kind::ManagedIdentity => {
            let by_client = keys.client_id().map(Assigned::ClientId);
            let scope = keys.scope();
            Some(Identity::ManagedIdentity(keys.managed(by_client, scope)))
        }
        Kind::AzureArc => {
            let scope = keys.scope();
            Some(Identity::AzureArc(keys.arc(scope)))
        }
        Kind::Auto => keys.auto().map(|auto| Identity::Auto(Box::new(auto))),
    };
    keys.section.close();
    identity
}

/// The keys of the section, asked for by kind.
struct Keys<'s, 'r, 'd, 't> {
    section: Section<'r, 'd, 't>,
    cloud: &'s Cloud,
    checked: bool,
    /// The only cloud that login host and scope may be of, if they are checked and it is known.
    must: Option<&'s Cloud>,
    files: &'s mut Vec<NamedFile>,
}

impl Keys<'_, '_, '_, '_> {
    fn client_id(&mut self) -> Option<String> {
        self.section.optional("client_id", |written| {
            azure::guid(written, "the application (client) id")
        })
    }

    fn application(&mut self) -> Option<Application> {
        let tenant_id = self.section.required("tenant_id", GUID, azure::tenant);
        let client_id = self.section.required("client_id", GUID, |written| {
            azure::guid(written, "the application (client) id")
        });
        let login = self.login();
        Some(Application {
            tenant_id: tenant_id?,
            client_id: client_id?,
            login,
        })
    }

    fn login(&mut self) -> Login {
        let (checked, must) = (self.checked, self.must);
        let authority = self
            .section
            .or("authority", self.cloud.authority(), |written| {
                azure::authority(written, checked, must)
            });
        let scope = self.scope();
        Login { authority, scope }
    }

    fn scope(&mut self) -> String {
        let (default, must) = (self.cloud.scope.to_owned(), self.must);
        self.section
            .or("scope", default, |written| azure::scope(written, must))
    }

    fn note(&mut self, key: &'static str, source: SecretFrom, holds: Holds) {
        self.files.push(named(key, source, holds));
    }

    /// The one place that is named for the secret.
    fn secret(&mut self, is_needed: bool) -> Option<SecretFrom> {
        let section = &mut self.section;
        secret_from(section, SECRET, is_needed, self.files)
    }

    /// The files of the key and of the password; notes all.
    fn certificate(
        &mut self,
        certificate_file: Option<&PathBuf>,
    ) -> (Option<PathBuf>, Option<PathBuf>) {
        let key_file = self.section.optional("key_file", value::path);
        let password_file = self.section.optional("password_file", value::path);
        if key_file.is_some() && password_file.is_some() {
            let allowed = "key_file with PEM, or password_file with PKCS#12";
            let wrong = Wrong::new("beside key_file, which holds no password", allowed);
            self.section.wrong("password_file", wrong);
        }
        if let Some(file) = certificate_file {
            let holds = match &key_file {
                Some(key_file) => Holds::CertificateFor(key_file.clone()),
                None => Holds::CertificateAndKey(password_file.clone()),
            };
            let key = "sentinel.identity.certificate_file";
            self.note(key, SecretFrom::File(file.clone()), holds);
        }
        if let Some(file) = &key_file {
            let key = "sentinel.identity.key_file";
            self.note(key, SecretFrom::File(file.clone()), Holds::Key);
        }
        if let Some(file) = &password_file {
            let key = "sentinel.identity.password_file";
            self.note(key, SecretFrom::File(file.clone()), Holds::Secret);
        }
        (key_file, password_file)
    }

    fn workload(&mut self) -> Workload {
        let tenant_id = self.section.optional("tenant_id", azure::tenant);
        let client_id = self.client_id();
        let token_file = self.section.optional("token_file", value::path);
        Workload {
            tenant_id,
            client_id,
            token_file,
            login: self.login(),
        }
    }

    fn managed(&mut self, by_client: Option<Assigned>, scope: String) -> ManagedIdentity {
        let by_object = self.section.optional("object_id", |written| {
            azure::guid(written, "the object (principal) id of the identity")
        });
        let by_resource = self.section.optional("resource_id", azure::resource_id);
        let by_object = by_object.map(Assigned::ObjectId);
        let by_resource = by_resource.map(Assigned::ResourceId);
        let mut named = by_client.into_iter().chain(by_object).chain(by_resource);
        let assigned = named.next().unwrap_or(Assigned::System);
        if let Some(second) = named.next() {
            let key = match second {
                Assigned::ResourceId(_) => "resource_id",
                _ => "object_id",
            };
            let allowed =
                "client_id, object_id or resource_id, or none of them for the machine's own";
            let wrong = Wrong::new("a second name for the identity", allowed);
            self.section.wrong(key, wrong);
        }
        ManagedIdentity {
            endpoint: self.section.or(
                "metadata_endpoint",
                EndpointUrl(METADATA.to_owned()),
                azure::metadata,
            ),
            assigned,
            scope,
        }
    }

    fn arc(&mut self, scope: String) -> AzureArc {
        AzureArc {
            endpoint: self
                .section
                .or("arc_endpoint", EndpointUrl(ARC.to_owned()), azure::metadata),
            tokens_directory: self.section.or(
                "arc_tokens_directory",
                ARC_TOKENS.into(),
                value::path,
            ),
            scope,
        }
    }

    fn auto(&mut self) -> Option<Auto> {
        let workload = self.workload();
        let certificate_file = self.section.optional("certificate_file", value::path);
        let (key_file, password_file) = self.certificate(certificate_file.as_ref());
        let secret = self.secret(false);
        let scope = workload.login.scope.clone();
        let arc = self.arc(scope.clone());
        let managed = self.managed(None, scope);
        let application = match (&workload.tenant_id, &workload.client_id) {
            (Some(tenant_id), Some(client_id)) => Some(Application {
                tenant_id: tenant_id.clone(),
                client_id: client_id.clone(),
                login: workload.login.clone(),
            }),
            _ => None,
        };
        if (certificate_file.is_some() || secret.is_some()) && application.is_none() {
            // says which of them is missing
            let _ = self.application();
            return None;
        }
        let certificate = application.clone().zip(certificate_file);
        let secret = application.zip(secret);
        Some(Auto {
            workload,
            certificate: certificate.map(|(application, certificate_file)| ClientCertificate {
                application,
                certificate_file,
                password_file,
                key_file,
            }),
            secret: secret.map(|(application, secret)| ClientSecret {
                application,
                secret,
            }),
            arc,
            managed,
        })
    }
}

/// The three keys that may say where a secret is: in which file, in which variable of the
/// environment, in which credential; each with its full name.
pub(super) type SecretKeys = [(&'static str, &'static str); 3];

const SECRET: SecretKeys = [
    ("secret_file", "sentinel.identity.secret_file"),
    ("secret_env", "sentinel.identity.secret_env"),
    ("secret_credential", "sentinel.identity.secret_credential"),
];

/// The one place that is named for a secret.
pub(super) fn secret_from(
    section: &mut Section<'_, '_, '_>,
    keys: SecretKeys,
    is_needed: bool,
    files: &mut Vec<NamedFile>,
) -> Option<SecretFrom> {
    let [
        (file_key, file_name),
        (env_key, env_name),
        (credential_key, credential_name),
    ] = keys;
    let file = section
        .optional(file_key, value::path)
        .map(SecretFrom::File);
    let env = section
        .optional(env_key, value::variable)
        .map(SecretFrom::Env);
    let credential = section
        .optional(credential_key, value::credential)
        .map(SecretFrom::Credential);
    let is_other_written = section.is_written(env_key) || section.is_written(credential_key);
    if is_needed && !is_other_written {
        section.report_missing(file_key, "\"/etc/cefline/client-secret\"");
    }
    let all = [
        (file_name, file_key, file),
        (env_name, env_key, env),
        (credential_name, credential_key, credential),
    ];
    let mut found: Option<SecretFrom> = None;
    for (name, key, source) in all {
        let Some(source) = source else { continue };
        if found.is_some() {
            let allowed = format!("one of {file_key}, {env_key}, {credential_key}");
            section.wrong(key, Wrong::new("a second place for the secret", allowed));
            continue;
        }
        files.push(named(name, source.clone(), Holds::Secret));
        found = Some(source);
    }
    found
}

/// `sentinel.proxy` and what belongs to it.
pub(super) fn proxy(
    section: &mut Section<'_, '_, '_>,
    files: &mut Vec<NamedFile>,
) -> Option<Proxy> {
    let url = section.optional("proxy", azure::proxy);
    let user = section.optional("proxy_user", value::proxy_user);
    let password = section.optional("proxy_password_file", value::path);
    for (is_there, key) in [
        (user.is_some(), "proxy_user"),
        (password.is_some(), "proxy_password_file"),
    ] {
        if is_there && !section.is_written("proxy") {
            section.wrong(
                key,
                Wrong::new("there is no proxy", "proxy = \"http://HOST:PORT\" besides"),
            );
        } else if is_there && user.is_some() != password.is_some() {
            let allowed = "proxy_user and proxy_password_file, or neither";
            section.wrong(key, Wrong::new("one without the other", allowed));
        }
    }
    let password = password.map(SecretFrom::File);
    if let Some(password) = &password {
        let key = "sentinel.proxy_password_file";
        files.push(named(key, password.clone(), Holds::Secret));
    }
    Some(Proxy {
        url: url?,
        user: user.zip(password),
    })
}
