//! The programs that stand in front of cefline on a machine set up for the Azure Monitor Agent, as
//! that agent's installer and extension configure them, but for ports and folders.

use crate::process::{Process, START_TIME, free_port, until};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsyslog,
    SyslogNg,
}

/// A front that runs, and takes syslog at an address of its own.
pub(crate) struct Front {
    _process: Process,
    _folder: TempDir,
    pub(crate) tcp: SocketAddr,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Rsyslog => "rsyslog",
            Kind::SyslogNg => "syslog-ng",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Kind::Rsyslog => "rsyslogd",
            Kind::SyslogNg => "syslog-ng",
        }
    }

    /// The command, told where its modules are if it is unpacked only; or why there is none. Debian's
    /// packages of the two exclude each other, and each would run as a service once it is installed:
    /// so they may be unpacked, below `CEFLINE_FRONTS` or `target/fronts`.
    fn command(self) -> Result<Command, String> {
        let fronts = std::env::var("CEFLINE_FRONTS").map_or_else(
            |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fronts"),
            PathBuf::from,
        );
        let unpacked = fronts.join(self.name());
        let program = unpacked.join("usr/sbin").join(self.program());
        if !program.is_file() {
            return installed(self.program()).map(Command::new);
        }
        let libraries = unpacked.join("usr/lib");
        let mut command = Command::new(program);
        match self {
            Kind::Rsyslog => {
                let modules = below(&libraries, |path| path.join("rsyslog").is_dir())?;
                command.arg("-M").arg(modules.join("rsyslog"));
            }
            Kind::SyslogNg => {
                let libraries = libraries.join("syslog-ng");
                let modules = below(&libraries, Path::is_dir)?;
                command.arg(format!("--module-path={}", modules.display()));
                command.env("LD_LIBRARY_PATH", libraries);
            }
        }
        Ok(command)
    }

    /// Starts it in front of `to`; or says why it cannot be started here.
    pub(crate) fn start(self, to: SocketAddr) -> Result<Front, String> {
        let mut command = self.command()?;
        let folder = tempfile::tempdir().unwrap();
        let tcp = free_port();
        let at = folder.path();
        let config = at.join("front.conf");
        let text = match self {
            Kind::Rsyslog => rsyslog_config(tcp, to, at),
            Kind::SyslogNg => syslog_ng_config(tcp, to, &syslog_ng_version(self.command()?)?),
        };
        fs::write(&config, text).unwrap();
        let path = |name: &str| at.join(name).display().to_string();
        match self {
            Kind::Rsyslog => command.args(["-n", "-f", &path("front.conf"), "-i", &path("pid")]),
            Kind::SyslogNg => command.args([
                "--foreground",
                "--no-caps",
                &format!("--cfgfile={}", path("front.conf")),
                &format!("--persist-file={}", path("persist")),
                &format!("--pidfile={}", path("pid")),
                &format!("--control={}", path("control")),
            ]),
        };
        let mut process = Process::of(command, Vec::new(), Stdio::piped());
        let is_up = until("the front listens", START_TIME, || {
            if !process.is_running() {
                return Some(false);
            }
            TcpStream::connect(tcp).ok().map(|_| true)
        });
        if !is_up {
            return Err(format!("it does not start: {}", process.stderr().trim()));
        }
        Ok(Front {
            _process: process,
            _folder: folder,
            tcp,
        })
    }
}

/// The path of an installed program; administrators' folders are not in everyone's path.
fn installed(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{name} is not installed"))
}

/// What is in a folder and is as asked for.
fn below(folder: &Path, is_it: impl Fn(&Path) -> bool) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    entries
        .map(|entry| entry.unwrap().path())
        .find(|path| is_it(path))
        .ok_or_else(|| format!("{} holds no modules", folder.display()))
}

/// The version that its configuration must name.
fn syslog_ng_version(mut command: Command) -> Result<String, String> {
    let told = command.arg("--version").output();
    let told = told.map_err(|error| format!("it does not run: {error}"))?;
    let text = String::from_utf8(told.stdout).unwrap();
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("Config version: "));
    version.map(str::to_owned).ok_or_else(|| {
        let stderr = String::from_utf8(told.stderr).unwrap();
        format!("it does not tell its version: {}", stderr.trim())
    })
}

/// `10-azuremonitoragent-omfwd.conf`: everything, in the traditional form with a blank in front of the
/// text where it has none, over TCP; a queue in memory of 25,000 that goes on on disk, and endless
/// tries. In front of it the input that the connector's installer opens.
fn rsyslog_config(tcp: SocketAddr, to: SocketAddr, folder: &Path) -> String {
    format!(
        r#"
global(workDirectory="{folder}")
module(load="imtcp")
input(type="imtcp" address="{ip}" port="{port}")

template(name="agent" type="string"
         string="<%PRI%>%TIMESTAMP% %HOSTNAME% %syslogtag%%msg:::sp-if-no-1st-sp%%msg%")
*.* action(type="omfwd" template="agent"
           target="{to_ip}" port="{to_port}" protocol="tcp"
           queue.type="LinkedList" queue.filename="azuremonitoragent" queue.size="25000"
           queue.dequeueBatchSize="2048" queue.workerThreads="100"
           queue.maxFileSize="32m" queue.maxDiskSpace="1g" queue.saveOnShutdown="on"
           action.resumeRetryCount="-1" action.resumeInterval="5")
"#,
        folder = folder.display(),
        ip = tcp.ip(),
        port = tcp.port(),
        to_ip = to.ip(),
        to_port = to.port(),
    )
}

/// `azuremonitoragent-tcp.conf`: the source `s_src` of the machine's own configuration, which the
/// connector's installer opens, to the agent's port with a queue of 25,000 and flow control.
fn syslog_ng_config(tcp: SocketAddr, to: SocketAddr, version: &str) -> String {
    format!(
        r#"@version: {version}
options {{ chain_hostnames(off); use_dns(no); use_fqdn(no); dns_cache(no); stats_freq(0); }};
source s_src {{ network(transport("tcp") ip("{ip}") port({port})); }};
destination d_azure_mdsd {{
    network("{to_ip}" transport("tcp") port({to_port}) log-fifo-size(25000));
}};
log {{ source(s_src); destination(d_azure_mdsd); flags(flow-control); }};
"#,
        ip = tcp.ip(),
        port = tcp.port(),
        to_ip = to.ip(),
        to_port = to.port(),
    )
}
