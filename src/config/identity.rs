//! `[sentinel.identity]`: who we are for Microsoft Entra.
//!
//! ```text
//! kind                    shows Entra                                   keys of its own
//! client_secret           a shared secret                               secret_file | secret_env | secret_credential
//! client_certificate      an assertion signed with a private key        certificate_file, key_file
//! workload                a token of an issuer that Entra trusts         token_file
//! managed_identity        nothing: Azure knows the machine (IMDS)        client_id | object_id | resource_id, metadata_endpoint
//! azure_arc               that it may read a file of root's              arc_endpoint, arc_tokens_directory
//! auto                    the first of these that there is               those of all
//! ```
//!
//! To add a kind: a variant of [`Identity`], a name and a function in `identity_keys`, which reads
//! its keys, and its keys in `reference.toml`.

use std::fmt;
use std::path::PathBuf;

use super::azure::EndpointUrl;

/// Where a workload's tenant stands if the configuration has none.
pub const AZURE_TENANT_ID: &str = "AZURE_TENANT_ID";
/// Where its application stands.
pub const AZURE_CLIENT_ID: &str = "AZURE_CLIENT_ID";
/// Where the path of its token stands.
pub const AZURE_FEDERATED_TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// Who we are for Microsoft Entra. One variant for each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// An application with a client secret.
    ClientSecret(ClientSecret),
    /// An application with a certificate.
    ClientCertificate(ClientCertificate),
    /// An application that trusts an outside issuer's tokens.
    Workload(Workload),
    /// The identity of the virtual machine that we run on.
    ManagedIdentity(ManagedIdentity),
    /// The identity of a machine elsewhere that is connected by Azure Arc.
    AzureArc(AzureArc),
    /// The first of these that is there.
    Auto(Box<Auto>),
}

/// An application at its login host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Tenant, a GUID or a domain name.
    pub tenant_id: String,
    /// Application (client) id, a GUID.
    pub client_id: String,
    /// Where tokens are asked for.
    pub login: Login,
}

/// A login host, and what tokens are asked for there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Base URL of the login host.
    pub authority: EndpointUrl,
    /// Scope to ask for.
    pub scope: String,
}

/// Where a secret is. Read anew each time that it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// In a file.
    File(PathBuf),
    /// In a variable of the environment, of this name.
    Env(String),
    /// In a credential of this name that systemd hands over (`LoadCredential`), which is a file in
    /// `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl fmt::Display for SecretFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretFrom::File(path) => write!(f, "{}", path.display()),
            SecretFrom::Env(name) => write!(f, "environment variable {name}"),
            SecretFrom::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

/// An application with a client secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSecret {
    /// The application.
    pub application: Application,
    /// Its secret.
    pub secret: SecretFrom,
}

/// An application with a certificate. Its files are read anew for each token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The application.
    pub application: Application,
    /// File of the certificate, and of the key if there is no other: PEM or PKCS#12.
    pub certificate_file: PathBuf,
    /// File of the password of a PKCS#12 file, if it has one.
    pub password_file: Option<PathBuf>,
    /// PEM file of the private key.
    pub key_file: Option<PathBuf>,
}

/// An application that trusts an outside issuer. What is not set is taken from the environment
/// (`AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_FEDERATED_TOKEN_FILE`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Tenant.
    pub tenant_id: Option<String>,
    /// Application (client) id.
    pub client_id: Option<String>,
    /// File with the issuer's token, read anew for each of ours.
    pub token_file: Option<PathBuf>,
    /// Where tokens are asked for.
    pub login: Login,
}

/// The identity of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedIdentity {
    /// Base URL of the instance metadata service.
    pub endpoint: EndpointUrl,
    /// Which of the machine's identities.
    pub assigned: Assigned,
    /// Scope to ask for.
    pub scope: String,
}

/// Which of a machine's identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assigned {
    /// Its own.
    System,
    /// One that was made apart, by its client id.
    ClientId(String),
    /// One that was made apart, by its object (principal) id.
    ObjectId(String),
    /// One that was made apart, by its Azure resource id.
    ResourceId(String),
}

/// The identity of a machine that is connected by Azure Arc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureArc {
    /// Base URL of the agent on this machine.
    pub endpoint: EndpointUrl,
    /// Where the agent leaves its challenges; files elsewhere are never read.
    pub tokens_directory: PathBuf,
    /// Scope to ask for.
    pub scope: String,
}

/// The first kind that is there, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auto {
    /// If its three values are known.
    pub workload: Workload,
    /// If it is set.
    pub certificate: Option<ClientCertificate>,
    /// If it is set.
    pub secret: Option<ClientSecret>,
    /// If the agent is on this machine.
    pub arc: AzureArc,
    /// Else.
    pub managed: ManagedIdentity,
}

impl Identity {
    /// The name of the kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Identity::ClientSecret(_) => "client_secret",
            Identity::ClientCertificate(_) => "client_certificate",
            Identity::Workload(_) => "workload",
            Identity::ManagedIdentity(_) => "managed_identity",
            Identity::AzureArc(_) => "azure_arc",
            Identity::Auto(_) => "auto",
        }
    }

    /// The login host, where one is asked.
    #[must_use]
    pub fn authority(&self) -> Option<&EndpointUrl> {
        match self {
            Identity::ClientSecret(one) => Some(&one.application.login.authority),
            Identity::ClientCertificate(one) => Some(&one.application.login.authority),
            Identity::Workload(one) => Some(&one.login.authority),
            Identity::ManagedIdentity(_) | Identity::AzureArc(_) => None,
            Identity::Auto(one) => Some(&one.workload.login.authority),
        }
    }

    /// The scope of its tokens.
    #[must_use]
    pub fn scope(&self) -> &str {
        match self {
            Identity::ClientSecret(one) => &one.application.login.scope,
            Identity::ClientCertificate(one) => &one.application.login.scope,
            Identity::Workload(one) => &one.login.scope,
            Identity::ManagedIdentity(one) => &one.scope,
            Identity::AzureArc(one) => &one.scope,
            Identity::Auto(one) => &one.workload.login.scope,
        }
    }

    /// The same with tokens for something else.
    #[must_use]
    pub fn with_scope(mut self, scope: &str) -> Identity {
        let mut all: Vec<&mut String> = Vec::new();
        match &mut self {
            Identity::ClientSecret(one) => all.push(&mut one.application.login.scope),
            Identity::ClientCertificate(one) => all.push(&mut one.application.login.scope),
            Identity::Workload(one) => all.push(&mut one.login.scope),
            Identity::ManagedIdentity(one) => all.push(&mut one.scope),
            Identity::AzureArc(one) => all.push(&mut one.scope),
            Identity::Auto(one) => {
                all.push(&mut one.workload.login.scope);
                all.extend(
                    one.certificate
                        .iter_mut()
                        .map(|one| &mut one.application.login.scope),
                );
                all.extend(
                    one.secret
                        .iter_mut()
                        .map(|one| &mut one.application.login.scope),
                );
                all.extend([&mut one.arc.scope, &mut one.managed.scope]);
            }
        }
        for old in all {
            scope.clone_into(old);
        }
        self
    }

    /// The application, where the configuration names one.
    #[must_use]
    pub fn application(&self) -> Option<&Application> {
        match self {
            Identity::ClientSecret(one) => Some(&one.application),
            Identity::ClientCertificate(one) => Some(&one.application),
            Identity::Auto(one) => {
                let certificate = one.certificate.as_ref().map(|one| &one.application);
                certificate.or_else(|| one.secret.as_ref().map(|one| &one.application))
            }
            _ => None,
        }
    }
}
