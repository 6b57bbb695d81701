//! What a program by this configuration goes on needing: files, folders, ports.
//!
//! Files are replaced by others of the same name, as editors and whoever renews secrets do, so what is
//! named stands for its folder; that of a link also for the folder that it leads to.

use super::{Layer, Standing};
use crate::config::{
    AZURE_FEDERATED_TOKEN_FILE, ClientCertificate, ClientSecret, Config, Durability, Identity,
    SecretFrom, Workload,
};
use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders that hold so much else that only the file itself is meant.
const WIDE: &[&str] = &[
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local",
    "/usr/local/etc",
    "/var",
    "/var/lib",
    "/var/run",
    "/var/tmp",
];

/// What names are looked up by. Where our user has no rights of root's, all files of `/etc` may be
/// read, since these are replaced by others at any time.
const NAMES: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/networks",
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/passwd",
];

/// Authorities of the machine, wherever distributions keep them, and zones of time: both are read
/// again at a reload.
const SHARED: &[&str] = &[
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/var/lib/ca-certificates",
    "/usr/share/zoneinfo",
    "/etc/localtime",
];

/// What the C library and the runtimes look at: how many processors there are, how memory is granted.
const MACHINE: &[&str] = &[
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/self",
];

/// The environment's word for authorities.
const CERTIFICATE_VARIABLES: &[&str] = &["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// DNS, when an answer is too long for a datagram.
const DNS_PORT: u16 = 53;

/// What stays.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Folders and files to read.
    pub(super) read: Vec<PathBuf>,
    /// Folders of which the files may be read.
    pub(super) read_files_in: Vec<PathBuf>,
    /// Files, and a folder, that must be readable.
    pub(super) named: Vec<PathBuf>,
    /// The folder of the spool, if there is to be one.
    pub(super) spool: Option<PathBuf>,
    /// TCP ports to connect to.
    pub(super) ports: Vec<u16>,
    /// The supervisor listens at one.
    pub(super) talks_to_abstract_sockets: bool,
}

impl Plan {
    /// By a configuration that was read from `file`, and by what this machine has.
    pub(super) fn new(config: &Config, file: &Path) -> Plan {
        let mut plan = Plan {
            named: named(config, file),
            ..Plan::default()
        };
        for file in plan.named.clone() {
            plan.read_around(&file);
        }
        // files come and go in it
        let arc = match &config.sentinel.identity {
            Identity::AzureArc(one) => Some(one),
            Identity::Auto(one) => Some(&one.arc),
            _ => None,
        };
        if let Some(arc) = arc {
            plan.named.push(arc.tokens_directory.clone());
            plan.read_at(&arc.tokens_directory);
        }
        plan.read.extend(SHARED.iter().map(PathBuf::from));
        for path in SHARED {
            plan.read_at(Path::new(path));
        }
        plan.read.extend(MACHINE.iter().map(PathBuf::from));
        for name in CERTIFICATE_VARIABLES {
            for path in env::var_os(name).iter().flat_map(env::split_paths) {
                plan.read_at(&path);
            }
        }
        let is_root = nix::unistd::geteuid().is_root();
        if !is_root {
            plan.read_files_in.push("/etc".into());
        }
        plan.read.extend(NAMES.iter().map(PathBuf::from));
        // what links lead to is replaced in its folder
        if let Ok(target) = Path::new("/etc/resolv.conf").canonicalize() {
            plan.read_around(&target);
        }
        if config.spool.durability != Durability::Memory {
            plan.spool = Some(config.spool.directory.clone());
        }
        plan.ports = config.ports_out().iter().map(|(port, _)| *port).collect();
        plan.ports.push(DNS_PORT);
        plan.ports.dedup();
        let mailbox = env::var_os("NOTIFY_SOCKET");
        plan.talks_to_abstract_sockets =
            mailbox.is_some_and(|path| path.as_encoded_bytes().starts_with(b"@"));
        plan
    }

    /// The folder to write, if there is to be a spool: its own. While that is not there, since its disk
    /// fails, the one that it is to be made in later.
    pub(super) fn written(&self) -> Option<&Path> {
        self.spool
            .as_ref()?
            .ancestors()
            .find(|folder| folder.exists())
    }

    /// The folder that the spool's file system is mounted in. One that is mounted anew, after its disk
    /// has failed, is another to the kernel, and this all that the two have in common. As root, who has
    /// rights to all of it, not one that holds much else.
    pub(super) fn mounted_in(&self) -> Option<&Path> {
        let device = |folder: &Path| folder.metadata().map(|about| about.dev()).ok();
        let own = device(self.written()?)?;
        let parents = self.written()?.ancestors().skip(1);
        let above = parents
            .into_iter()
            .find(|folder| device(folder) != Some(own))?;
        let is_wide = WIDE.iter().any(|wide| above == Path::new(wide));
        (!is_wide || !nix::unistd::geteuid().is_root()).then_some(above)
    }

    /// The ports that may be connected to, if these layers restrict them.
    pub(super) fn ports_in(&self, layers: &[(Layer, Standing)]) -> Option<Vec<u16>> {
        let is_on = layers.contains(&(Layer::Network, Ok(())));
        is_on.then(|| self.ports.clone())
    }

    fn read_at(&mut self, path: &Path) {
        self.read.push(path.to_owned());
        // authorities of a site's own are links to anywhere
        for entry in path.read_dir().into_iter().flatten().flatten() {
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if let (true, Ok(target)) = (is_link, entry.path().canonicalize())
                && !self.read.iter().any(|known| target.starts_with(known))
            {
                self.read.push(target);
            }
        }
    }

    fn read_around(&mut self, file: &Path) {
        for path in [std::path::absolute(file).ok(), file.canonicalize().ok()]
            .into_iter()
            .flatten()
        {
            self.read.push(around(&path).to_owned());
        }
    }
}

/// The folder of a file, or the file itself if the folder holds much else.
fn around(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !WIDE.iter().any(|wide| folder == Path::new(wide)) => folder,
        _ => file,
    }
}

/// The files that are read again while the program runs.
fn named(config: &Config, file: &Path) -> Vec<PathBuf> {
    let sentinel = &config.sentinel;
    let mut files = vec![file.to_owned()];
    files.extend(sentinel.ca_file.clone());
    let proxy = sentinel.proxy.as_ref();
    let password = proxy.and_then(|proxy| proxy.user.as_ref());
    files.extend(password.and_then(|(_, from)| place(from)));
    match &sentinel.identity {
        Identity::ClientSecret(one) => files.extend(of_secret(one)),
        Identity::ClientCertificate(one) => files.extend(of_certificate(one)),
        Identity::Workload(one) => files.extend(of_workload(one)),
        Identity::ManagedIdentity(_) => {}
        Identity::AzureArc(_) => {}
        Identity::Auto(one) => {
            files.extend(of_workload(&one.workload));
            files.extend(one.certificate.iter().flat_map(of_certificate));
            files.extend(one.secret.as_ref().and_then(of_secret));
        }
    }
    files
}

fn of_secret(identity: &ClientSecret) -> Option<PathBuf> {
    place(&identity.secret)
}

fn of_certificate(identity: &ClientCertificate) -> Vec<PathBuf> {
    let further = [&identity.password_file, &identity.key_file];
    let further = further.into_iter().flatten().cloned();
    std::iter::once(identity.certificate_file.clone())
        .chain(further)
        .collect()
}

fn of_workload(identity: &Workload) -> Option<PathBuf> {
    let told = || env::var_os(AZURE_FEDERATED_TOKEN_FILE).map(PathBuf::from);
    identity.token_file.clone().or_else(told)
}

/// The file that a secret is in.
fn place(from: &SecretFrom) -> Option<PathBuf> {
    match from {
        SecretFrom::File(path) => Some(path.clone()),
        SecretFrom::Env(_) => None,
        SecretFrom::Credential(name) => {
            Some(Path::new(&env::var_os("CREDENTIALS_DIRECTORY")?).join(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_for_its_folder_unless_that_holds_much_else() {
        for (file, stands_for) in [
            ("/etc/cefline/cefline.toml", "/etc/cefline"),
            ("/etc/cefline.toml", "/etc/cefline.toml"),
            ("/cefline.toml", "/cefline.toml"),
            (
                "/run/secrets/azure/tokens/token",
                "/run/secrets/azure/tokens",
            ),
            ("/run/token", "/run/token"),
        ] {
            assert_eq!(around(Path::new(file)), Path::new(stands_for), "{file}");
        }
    }
}
