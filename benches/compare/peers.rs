//! The programs that are compared: where each is looked for, its configuration in `peers/`, and what
//! is left out of the work in its favour.

use crate::Result;
use crate::check::Form;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What cefline calls itself here.
pub(crate) const COLLECTOR: &str = "compare";

/// Where a program works.
pub(crate) struct Place<'p> {
    pub(crate) folder: &'p Path,
    /// Where it must take syslog, on loopback.
    pub(crate) port: u16,
    /// The sink, on loopback, and the authority of its certificate.
    pub(crate) sink: u16,
    pub(crate) ca: &'p Path,
    /// How many cores it has.
    pub(crate) cores: usize,
    /// Lines of cefline's `[batch]`.
    pub(crate) batch: &'p str,
}

/// A program.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// What it does of the work, and what it does not.
    pub(crate) work: &'static str,
    command: fn(&Place<'_>) -> Result<Command>,
    version: fn() -> Result<String>,
}

pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "cefline",
        form: Form::Columns,
        work: "header and extension to the columns of CommonSecurityLog with their types; gzip; HTTPS; \
               every body on disk first (durability = \"power\")",
        command: |place| cefline(place, "power", ""),
        version: || version(Command::new(env!("CARGO_BIN_EXE_cefline"))),
    },
    Peer {
        name: "cefline-plain",
        form: Form::Columns,
        work: "the same, but no more than Debian's rsyslog and syslog-ng do: without gzip (gzip_level = 0), \
               nothing on disk (durability = \"memory\")",
        command: |place| cefline(place, "memory", "gzip_level = 0\n"),
        version: || version(Command::new(env!("CARGO_BIN_EXE_cefline"))),
    },
    Peer {
        name: "rsyslog",
        form: Form::Keys,
        work: "header and extension by liblognorm, which drops the first letter of the extension (2.0.6); \
               HTTPS in bulk by omelasticsearch, without gzip, which Debian's rsyslog cannot; nothing on disk",
        command: rsyslog,
        version: || version_by(rsyslog_program()?, "-v"),
    },
    Peer {
        name: "syslog-ng",
        form: Form::Keys,
        work: "header by csv-parser, extension by kv-parser; HTTPS, without gzip, which Debian's \
               syslog-ng cannot; nothing on disk",
        command: |place| syslog_ng(place, syslog_ng_program()?, ""),
        version: || version(syslog_ng_program()?),
    },
    Peer {
        name: "axosyslog",
        form: Form::Keys,
        work: "header by csv-parser, extension by kv-parser; gzip; HTTPS; nothing on disk",
        command: |place| {
            syslog_ng(
                place,
                named("CEFLINE_AXOSYSLOG")?,
                "content-compression(\"gzip\")",
            )
        },
        version: || version(named("CEFLINE_AXOSYSLOG")?),
    },
    Peer {
        name: "tenzir",
        form: Form::Keys,
        work: "header and extension by parse_cef, with types; gzip; HTTPS; nothing on disk",
        command: tenzir,
        version: || version_by(tenzir_program()?, "version | select version"),
    },
    Peer {
        name: "vector",
        form: Form::Keys,
        work: "header and extension by parse_cef; gzip; HTTPS; nothing on disk",
        command: |place| {
            configured(
                named("CEFLINE_VECTOR")?,
                &["--config"],
                place,
                "vector.toml",
            )
        },
        version: || version(named("CEFLINE_VECTOR")?),
    },
    Peer {
        name: "fluent-bit",
        form: Form::Keys,
        work: "header by a regular expression; the extension stays one text; gzip; HTTPS; nothing on disk",
        command: |place| {
            configuration(place, "fluent-bit-parsers.conf", &[])?;
            configured(
                named("CEFLINE_FLUENT_BIT")?,
                &["-c"],
                place,
                "fluent-bit.conf",
            )
        },
        version: || version(named("CEFLINE_FLUENT_BIT")?),
    },
    Peer {
        name: "otel-arrow",
        form: Form::Keys,
        work: "as the configuration that is named by CEFLINE_OTEL_ARROW_CONFIG says",
        command: otel_arrow,
        version: || version(named("CEFLINE_OTEL_ARROW")?),
    },
];

impl Peer {
    /// Its version; or why it is not compared here.
    pub(crate) fn probe(&self) -> std::result::Result<String, String> {
        (self.version)().map_err(|error| error.to_string())
    }

    /// The command that runs it at a place.
    pub(crate) fn command(&self, place: &Place<'_>) -> Result<Command> {
        (self.command)(place)
    }
}

/// The first line with a number in what it says to `--version`.
fn version(command: Command) -> Result<String> {
    version_by(command, "--version")
}

fn version_by(mut command: Command, flag: &str) -> Result<String> {
    let told = command.arg(flag).output()?;
    let text = String::from_utf8(told.stdout)?;
    let line = text
        .lines()
        .find(|line| line.chars().any(|c| c.is_ascii_digit()));
    let line = line.ok_or("it tells no version")?.trim();
    Ok(line.trim_end_matches([',', ':']).to_owned())
}

/// Where `install.sh` puts programs.
fn installed() -> PathBuf {
    std::env::var("CEFLINE_PEERS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers"),
        PathBuf::from,
    )
}

/// A program whose path is in a variable.
fn named(variable: &str) -> Result<Command> {
    let path = std::env::var(variable).map_err(|_| format!("{variable} names no program"))?;
    Ok(Command::new(path))
}

/// The first folder inside another that is as asked for.
fn inside(folder: &Path, is_it: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    let mut paths = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let found = paths.find(|path| is_it(path));
    found.ok_or_else(|| "it has no modules".into())
}

fn program(path: PathBuf) -> Result<Command> {
    if path.is_file() {
        return Ok(Command::new(path));
    }
    Err("not installed: benches/compare/install.sh".into())
}

/// Writes a configuration from its template, with the words in braces in their place.
fn configuration(place: &Place<'_>, template: &str, more: &[(&str, &str)]) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/peers");
    let mut text = fs::read_to_string(folder.join(template))?;
    let words = [
        ("PORT", place.port.to_string()),
        ("SINK", place.sink.to_string()),
        ("CA", place.ca.display().to_string()),
        ("FOLDER", place.folder.display().to_string()),
        ("CORES", place.cores.to_string()),
    ];
    let words = words.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in words.chain(more.iter().copied()) {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    let file = place.folder.join(template);
    fs::write(&file, text)?;
    Ok(file)
}

fn configured(
    mut command: Command,
    arguments: &[&str],
    place: &Place<'_>,
    template: &str,
) -> Result<Command> {
    command
        .args(arguments)
        .arg(configuration(place, template, &[])?);
    Ok(command)
}

/// With this durability, and these lines of `[batch]` before those of the place.
fn cefline(place: &Place<'_>, durability: &str, batch: &str) -> Result<Command> {
    fs::write(place.folder.join("secret"), "a-secret")?;
    let batch = format!("{batch}{}", place.batch);
    let more = [
        ("COLLECTOR", COLLECTOR),
        ("DURABILITY", durability),
        ("BATCH", &batch),
    ];
    let file = configuration(place, "cefline.toml", &more)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_cefline"));
    command.arg("run").arg("--config").arg(file);
    Ok(command)
}

fn rsyslog_program() -> Result<Command> {
    let folder = installed().join("rsyslog");
    let mut command = program(folder.join("usr/sbin/rsyslogd"))?;
    let has_modules = |path: &Path| path.join("rsyslog/lmnet.so").is_file();
    let libraries = inside(&folder.join("usr/lib"), has_modules)?;
    command.arg("-M").arg(libraries.join("rsyslog"));
    Ok(command)
}

fn rsyslog(place: &Place<'_>) -> Result<Command> {
    let mut command = rsyslog_program()?;
    configuration(place, "cef.rulebase", &[])?;
    let file = configuration(place, "rsyslog.conf", &[])?;
    command.arg("-n").arg("-f").arg(file);
    command.arg("-i").arg(place.folder.join("pid"));
    Ok(command)
}

fn syslog_ng_program() -> Result<Command> {
    let folder = installed().join("syslog-ng");
    let mut command = program(folder.join("usr/sbin/syslog-ng"))?;
    let libraries = folder.join("usr/lib/syslog-ng");
    let modules = inside(&libraries, Path::is_dir)?;
    command.arg(format!("--module-path={}", modules.display()));
    command.env("LD_LIBRARY_PATH", libraries);
    Ok(command)
}

fn syslog_ng(place: &Place<'_>, mut command: Command, compression: &str) -> Result<Command> {
    let mut asked = Command::new(command.get_program());
    asked.args(command.get_args()).arg("--version");
    for (name, value) in command.get_envs() {
        asked.env(name, value.unwrap_or_default());
    }
    let told = String::from_utf8(asked.output()?.stdout)?;
    let version = told
        .lines()
        .find_map(|line| line.strip_prefix("Config version: "))
        .ok_or("it does not tell its version")?;
    let more = [("VERSION", version), ("COMPRESSION", compression)];
    let file = configuration(place, "syslog-ng.conf", &more)?;
    let path = |name: &str| place.folder.join(name).display().to_string();
    command.args([
        "--foreground",
        "--no-caps",
        &format!("--cfgfile={}", file.display()),
        &format!("--persist-file={}", path("persist")),
        &format!("--pidfile={}", path("pid")),
        &format!("--control={}", path("control")),
    ]);
    Ok(command)
}

fn tenzir_program() -> Result<Command> {
    named("CEFLINE_TENZIR").or_else(|_| program(installed().join("tenzir/bin/tenzir")))
}

fn tenzir(place: &Place<'_>) -> Result<Command> {
    let mut command = tenzir_program()?;
    if place.cores > 1 {
        command.arg("--parallelism=max");
    }
    configured(command, &["-f"], place, "tenzir.tql")
}

fn otel_arrow(place: &Place<'_>) -> Result<Command> {
    let mut command = named("CEFLINE_OTEL_ARROW")?;
    let template = std::env::var("CEFLINE_OTEL_ARROW_CONFIG")
        .map_err(|_| "CEFLINE_OTEL_ARROW_CONFIG names no template of a configuration")?;
    command
        .arg("--config")
        .arg(configuration(place, &template, &[])?);
    Ok(command)
}
