//! What a program by this configuration goes on needing: files, folders, ports.
//!
//! Files are replaced by others of the same name, as editors and whoever renews secrets do, so what is
//! named stands for its folder; and links are led elsewhere, so each on the way to it (`way.rs`) stands
//! for its own. What is not there yet stands for the folder that it will be made in.

use super::way::Way;
use super::{Layer, Standing};
use crate::config::{
    AZURE_FEDERATED_TOKEN_FILE, ClientCertificate, ClientSecret, Config, Durability, Identity,
    SecretFrom, Workload,
};
use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders that hold much else: of these only files may be read, and no folder be listed.
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

/// Wide folders in which nothing is replaced: the system's own.
const FIXED: &[&str] = &[
    "/",
    "/boot",
    "/dev",
    "/proc",
    "/sys",
    "/usr",
    "/usr/local",
    "/usr/local/etc",
];

/// What names are looked up by.
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

/// Those of them that are replaced while a machine runs, by whoever leases addresses or keeps hosts.
const NAMES_REPLACED: &[&str] = &["/etc/resolv.conf", "/etc/hosts"];

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
    "/nix/store",
    "/gnu/store",
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

/// The environment's words for authorities: a file, and folders.
const CERTIFICATE_FILE: &str = "SSL_CERT_FILE";
const CERTIFICATE_FOLDERS: &str = "SSL_CERT_DIR";

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
        if let Some(tokens) = tokens(config) {
            plan.named.push(tokens.to_owned());
            plan.read_in(tokens);
        }
        for path in SHARED {
            plan.read_at(Path::new(path));
        }
        plan.read.extend(MACHINE.iter().map(PathBuf::from));
        if let Some(file) = env::var_os(CERTIFICATE_FILE) {
            plan.read_around(Path::new(&file));
        }
        let folders = env::var_os(CERTIFICATE_FOLDERS);
        for folder in folders.iter().flat_map(env::split_paths) {
            plan.read_at(&folder);
        }
        plan.read.extend(NAMES.iter().map(PathBuf::from));
        if !nix::unistd::geteuid().is_root() {
            plan.read_files_in.push("/etc".into());
        }
        for path in NAMES_REPLACED {
            plan.read_around(Path::new(path));
        }
        if config.spool.durability != Durability::Memory {
            // links on the way are of no matter: the keepers' folder is the one that they lead to now
            plan.spool = Some(Way::to(&config.spool.directory).end);
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
        (!is_in(above, WIDE) || !nix::unistd::geteuid().is_root()).then_some(above)
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
        let way = Way::to(file);
        for link in &way.links {
            self.read_folder_of_link(link);
        }
        self.read.push(way.end.clone());
        // a file that is mounted by itself cannot be replaced
        if let (Some(folder), false) = (way.end.parent(), is_mounted(&way.end)) {
            self.read_in(folder);
        }
    }

    /// What is in a folder, or will be once it is there.
    fn read_in(&mut self, folder: &Path) {
        let end = Way::to(folder).end;
        let Some(there) = end.ancestors().find(|folder| folder.exists()) else {
            return;
        };
        if !is_in(there, WIDE) {
            self.read.push(there.to_owned());
        } else if !is_in(there, FIXED) && !self.read_files_in.iter().any(|known| known == there) {
            self.read_files_in.push(there.to_owned());
        }
    }

    fn read_folder_of_link(&mut self, link: &Path) {
        let Some(folder) = link.parent() else { return };
        // links of wide folders are the system's for the most part: root would get far more by them
        // than our user
        let is_root = nix::unistd::geteuid().is_root();
        if !is_in(folder, WIDE)
            || (!is_root && !is_in(folder, FIXED) && folder != Path::new("/var"))
        {
            self.read_in(folder);
        }
    }

    /// Wide folders of which root may read all files, for the sake of some.
    pub(super) fn wide_for_root(&self) -> &[PathBuf] {
        match nix::unistd::geteuid().is_root() {
            true => &self.read_files_in,
            false => &[],
        }
    }

    /// What may be read, with no link on the way to it.
    pub(super) fn readable(&self) -> Vec<PathBuf> {
        let paths = self.read.iter().chain(&self.read_files_in);
        paths.map(|path| Way::to(path).end).collect()
    }
}

/// The file that a program by this configuration, read from `file`, would read and may not, if all that
/// it may is below `readable`.
pub(super) fn beyond(config: &Config, file: &Path, readable: &[PathBuf]) -> Option<PathBuf> {
    let is_beyond = |path: &PathBuf| {
        let end = Way::to(path).end;
        !readable.iter().any(|known| end.starts_with(known))
    };
    let tokens = tokens(config).map(Path::to_owned);
    named(config, file)
        .into_iter()
        .chain(tokens)
        .find(is_beyond)
}

/// The folder in which the agent of Azure Arc leaves files that come and go.
fn tokens(config: &Config) -> Option<&Path> {
    match &config.sentinel.identity {
        Identity::AzureArc(one) => Some(&one.tokens_directory),
        Identity::Auto(one) => Some(&one.arc.tokens_directory),
        _ => None,
    }
}

fn is_in(folder: &Path, list: &[&str]) -> bool {
    list.iter().any(|one| folder == Path::new(one))
}

fn is_mounted(file: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|about| about.dev()).ok();
    let folder = file.parent().and_then(device);
    device(file).is_some_and(|own| folder.is_some_and(|folder| own != folder))
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
    use crate::config::{Machine, parse};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn plan_for(file: &Path) -> Plan {
        let mut plan = Plan::default();
        plan.read_around(file);
        plan
    }

    #[test]
    fn a_file_stands_for_its_folder_and_of_one_that_holds_much_else_for_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().canonicalize().unwrap();
        let plan = plan_for(&own.join("cefline.toml"));
        assert!(plan.read.contains(&own));
        assert!(plan.read_files_in.is_empty());
        let plan = plan_for(Path::new("/etc/cefline.toml"));
        assert_eq!(plan.read, [PathBuf::from("/etc/cefline.toml")]);
        assert_eq!(plan.read_files_in, [PathBuf::from("/etc")]);
        let plan = plan_for(Path::new("/cefline.toml"));
        assert_eq!(plan.read, [PathBuf::from("/cefline.toml")]);
        assert!(plan.read_files_in.is_empty());
    }

    #[test]
    fn what_is_not_there_stands_for_the_folder_that_it_will_be_in() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().canonicalize().unwrap();
        symlink(own.join("run/resolve/stub"), own.join("dangling")).unwrap();
        fs::create_dir(own.join("run")).unwrap();
        let plan = plan_for(&own.join("dangling"));
        assert!(plan.read.contains(&own.join("run")), "{plan:?}");
    }

    #[test]
    fn a_file_that_could_not_be_read_is_found_before_it_is_needed() {
        let machine = Machine {
            cores: vec![0],
            cores_quota: None,
            host_name: "collector".into(),
        };
        let text = r#"
[listen]
tcp = ["0.0.0.0:514"]
[sentinel]
endpoint = "https://a.ingest.monitor.azure.com"
rules = ["dcr-0123456789abcdef0123456789abcdef"]
[sentinel.identity]
kind = "workload"
token_file = "/run/none/such/token"
"#;
        let config = parse(text, &machine).unwrap();
        let file = Path::new("/srv/none/cefline.toml");
        let known = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let token = PathBuf::from("/run/none/such/token");
        assert_eq!(beyond(&config, file, &known(&["/srv/none"])), Some(token));
        let both = known(&["/srv/none", "/run/none"]);
        assert_eq!(beyond(&config, file, &both), None);
    }

    #[test]
    fn each_link_on_the_way_stands_for_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().canonicalize().unwrap();
        fs::create_dir_all(own.join("volume/..1")).unwrap();
        fs::create_dir(own.join("named")).unwrap();
        fs::write(own.join("volume/..1/secret"), "").unwrap();
        symlink("..1", own.join("volume/..data")).unwrap();
        symlink("..data/secret", own.join("volume/secret")).unwrap();
        symlink(own.join("volume/secret"), own.join("named/secret")).unwrap();
        let plan = plan_for(&own.join("named/secret"));
        for folder in ["named", "volume", "volume/..1"] {
            assert!(plan.read.contains(&own.join(folder)), "{folder}: {plan:?}");
        }
    }
}
