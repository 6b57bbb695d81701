//! Rules of the house that a compiler does not know: who may use whom, which modules are pure, how
//! long a file may be, which words have no place here.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use cefline::config::{self, Machine};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which module may use which others; `limits` is open to all. The order is that of the flow, as in
/// `src/lib.rs`, and a stage names only what stands before it or beside the way. An arrow that
/// nobody uses is taken out.
const ARROWS: &[(&str, &[&str])] = &[
    // beside the way
    ("limits", &[]),
    ("clock", &[]),
    ("columns", &[]),
    ("config", &["columns"]),
    ("metrics", &[]),
    ("log", &["clock"]),
    ("retry", &["clock", "planted"]),
    ("watch", &[]),
    ("heart", &["clock"]),
    ("supervisor", &[]),
    ("planted", &["clock"]),
    ("pin", &[]),
    ("sandbox", &["config"]),
    // the way
    ("frame", &["config", "planted"]),
    ("parse", &["clock"]),
    (
        "filter",
        &["clock", "columns", "config", "metrics", "parse"],
    ),
    (
        "map",
        &[
            "clock", "columns", "config", "filter", "frame", "metrics", "page", "parse",
        ],
    ),
    ("page", &["clock", "columns", "config", "deflate"]),
    ("ring", &["clock", "page"]),
    (
        "listen",
        &[
            "clock",
            "config",
            "filter",
            "frame",
            "heart",
            "log",
            "map",
            "metrics",
            "page",
            "pin",
            "ring",
            "sandbox",
            "supervisor",
        ],
    ),
    ("deflate", &[]),
    ("compress", &["clock", "config", "deflate", "page"]),
    (
        "batch",
        &["clock", "compress", "config", "deflate", "page", "planted"],
    ),
    ("spool", &["clock", "compress", "config", "planted"]),
    ("failure", &[]),
    ("client", &["failure", "config"]),
    (
        "auth",
        &["client", "clock", "config", "log", "metrics", "retry"],
    ),
    (
        "upload",
        &[
            "auth", "batch", "failure", "client", "clock", "compress", "config", "deflate",
            "heart", "log", "metrics", "planted", "retry", "ring", "spool",
        ],
    ),
    (
        "run",
        &[
            "failure",
            "clock",
            "config",
            "heart",
            "listen",
            "log",
            "metrics",
            "pin",
            "ring",
            "sandbox",
            "spool",
            "supervisor",
            "upload",
            "watch",
        ],
    ),
    // before the way
    ("azure", &["config", "map"]),
    // rehearsals, which no stage knows
    ("generate", &["clock"]),
    ("send", &["clock", "generate"]),
    ("emulator", &["clock", "map"]),
    // diagnosis, which no stage knows
    (
        "check",
        &[
            "auth", "client", "clock", "compress", "config", "failure", "listen", "log", "metrics",
            "run", "spool", "upload",
        ],
    ),
    // what a person types
    (
        "cli",
        &[
            "azure",
            "check",
            "clock",
            "config",
            "emulator",
            "failure",
            "filter",
            "frame",
            "generate",
            "map",
            "metrics",
            "page",
            "run",
            "sandbox",
            "send",
            "spool",
            "supervisor",
        ],
    ),
    ("lib", &[]),
    ("main", &[]),
];

/// Files, or folders, of pure logic: bytes, time and settings are arguments.
const PURE: &[&str] = &[
    "limits.rs",
    "frame.rs",
    "columns.rs",
    "parse",
    "filter",
    "map",
    "page.rs",
    "batch.rs",
    "deflate",
    "compress.rs",
    "retry.rs",
    "heart.rs",
    "azure",
    "config",
    "metrics",
    "generate",
    "listen/connection.rs",
    "listen/rounds.rs",
    "listen/placement.rs",
    "listen/piece.rs",
    "spool",
    "upload/age.rs",
    "upload/delivery.rs",
    "upload/desk.rs",
    "upload/uploader.rs",
    "upload/verdict.rs",
    "upload/isolate.rs",
    "check",
    "auth/answer.rs",
    "auth/choose.rs",
    "send/pace.rs",
    "send/source.rs",
    "emulator/assertion.rs",
    "emulator/faults.rs",
    "emulator/ingest.rs",
    "emulator/jwt.rs",
    "emulator/kql",
    "emulator/metadata.rs",
    "emulator/reply.rs",
    "emulator/rows.rs",
    "emulator/show.rs",
    "emulator/stamp.rs",
    "emulator/table.rs",
    "emulator/token.rs",
    "emulator/values.rs",
    "emulator/window.rs",
];

/// Files among them that are the shell of their module.
const NOT_PURE: &[&str] = &[
    "config/files.rs",
    "config/machine.rs",
    // the lock of the folder
    "spool.rs",
    "spool/files.rs",
    "spool/thread.rs",
    // errno values
    "spool/ram.rs",
    // what is read of the machine, and asked of the network
    "check/gather",
    "check/live.rs",
];

/// What pure logic does not touch: sockets, disk, clocks, threads, runtimes.
const IMPURE: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::fs",
    "File::",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::std",
    "Instant",
    "SystemTime",
    "Clock::start",
    "tokio",
    "glommio",
    "nix::",
    "socket2",
];

/// Libraries that only some files, or folders, may use.
const KEPT_TO: &[(&str, &[&str])] = &[
    ("glommio", &["listen/runtime.rs", "listen/socket.rs"]),
    ("io_uring::", &["listen/uring.rs"]),
    ("socket2", &["listen", "emulator/server.rs"]),
    // `tokio::sync` belongs to no runtime and is not meant
    (
        "tokio::",
        &[
            "upload",
            "auth",
            "client.rs",
            "watch.rs",
            "run.rs",
            "emulator",
            "cli",
            "check/gather",
            "check/live.rs",
            "listen/runtime.rs",
            "listen/epoll.rs",
        ],
    ),
    (
        "reqwest",
        &[
            "upload",
            "auth",
            "client.rs",
            "retry.rs",
            "cli/query.rs",
            "check/gather",
            "check/live.rs",
        ],
    ),
    (
        "hyper",
        &[
            "watch.rs",
            "emulator",
            "upload/request.rs",
            "check/gather/proxy.rs",
        ],
    ),
    ("rcgen", &["emulator/tls.rs"]),
    ("clap", &["cli", "main.rs"]),
    ("listenfd", &["supervisor.rs"]),
    ("landlock::", &["sandbox/ground.rs"]),
    ("seccompiler", &["sandbox/calls.rs"]),
    ("rustix", &["sandbox/capabilities.rs"]),
];

/// The only files that may be unsafe; the lint is opened there alone as well.
const UNSAFE: &[&str] = &[
    "deflate/cpu.rs",
    "parse/masks.rs",
    "parse/pairs.rs",
    // in no program for use
    "sandbox/attack.rs",
];

/// Lines of a file without its tests.
const LINES_MAX: usize = 500;
/// Files that may be longer, and why.
const LONGER: &[(&str, &str)] = &[
    (
        "map.rs",
        "the passes over one record share its scratch memory",
    ),
    ("limits.rs", "every bound stands in one place"),
];

/// A file of `src`.
struct Source {
    /// From `src` on.
    name: String,
    /// All of it.
    text: String,
    /// Without its tests.
    own: String,
    /// That without comments.
    code: String,
}

impl Source {
    /// The module that it belongs to.
    fn module(&self) -> &str {
        let first = self.name.split('/').next().unwrap();
        first.trim_end_matches(".rs")
    }

    /// Whether it is one of these files or lies in one of these folders, whose own file counts.
    fn is_in(&self, places: &[&str]) -> bool {
        let name = self.name.trim_end_matches(".rs");
        places.iter().any(|place| {
            let place = place.trim_end_matches(".rs");
            name == place || name.starts_with(&format!("{place}/"))
        })
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder with one of these endings.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if endings
            .iter()
            .any(|ending| path.to_str().unwrap().ends_with(ending))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The files of `src` but those that are tests only.
fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let sources: Vec<Source> = files(&folder, &[".rs"])
        .iter()
        .filter(|path| {
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
            !name.ends_with("tests.rs") && !name.contains("tests/")
        })
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let own = without_tests(&text).to_owned();
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            let code: Vec<&str> = own.lines().filter(is_code).collect();
            Source {
                name: path
                    .strip_prefix(&folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
                code: code.join("\n"),
                own,
                text,
            }
        })
        .collect();
    assert!(sources.len() > 80);
    sources
}

/// A file up to its module of tests, which stands at its foot.
fn without_tests(text: &str) -> &str {
    let heads = [
        "#[cfg(test)]\nmod tests",
        "#[cfg(test)]\npub(crate) mod tests",
    ];
    let start = heads.iter().find_map(|head| text.find(head));
    &text[..start.unwrap_or(text.len())]
}

/// Fails with all breaches at once.
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

/// Names of modules of the crate in a file's code.
fn used_by(source: &Source) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for path in source.code.split("crate::").skip(1) {
        let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let name: String = path.chars().take_while(is_name).collect();
        assert!(
            !name.is_empty(),
            "{}: write one `use` for each module",
            source.name
        );
        used.insert(name);
    }
    used
}

#[test]
fn modules_use_only_those_that_stand_before_them() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let sources = sources();
    let mut breaches = Vec::new();
    for source in &sources {
        let module = source.module();
        let Some(allowed) = allowed.get(module) else {
            breaches.push(format!("{module} has no line in the table"));
            continue;
        };
        for other in used_by(source) {
            let is_own = other == module || other == "limits";
            if !is_own && !allowed.contains(&other.as_str()) {
                breaches.push(format!("src/{} uses {other}", source.name));
            }
            used.entry(module).or_default().insert(other);
        }
    }
    for (module, arrows) in ARROWS {
        let used = used.get(module).cloned().unwrap_or_default();
        let unused = arrows.iter().filter(|arrow| !used.contains(**arrow));
        breaches.extend(unused.map(|arrow| format!("{module} does not use {arrow} any more")));
    }
    assert_none(&breaches);
}

#[test]
fn pure_modules_touch_nothing_outside() {
    let mut breaches = Vec::new();
    let sources = sources();
    for source in &sources {
        if source.is_in(PURE) && !source.is_in(NOT_PURE) {
            let found = IMPURE.iter().filter(|word| source.code.contains(**word));
            breaches.extend(found.map(|word| format!("src/{} has {word}", source.name)));
        }
    }
    for place in PURE.iter().chain(NOT_PURE) {
        if !sources.iter().any(|source| source.is_in(&[place])) {
            breaches.push(format!("there is no src/{place}"));
        }
    }
    assert_none(&breaches);
}

#[test]
fn libraries_are_known_only_where_they_belong() {
    let mut breaches = Vec::new();
    for source in sources() {
        let code = source.code.replace("tokio::sync", "");
        for (library, places) in KEPT_TO {
            if code.contains(library) && !source.is_in(places) {
                breaches.push(format!("src/{} uses {library}", source.name));
            }
        }
    }
    assert_none(&breaches);
}

#[test]
fn files_are_short_and_say_first_what_they_are() {
    let mut breaches = Vec::new();
    for source in sources() {
        let lines_count = source.own.lines().count();
        let may_be_longer = LONGER.iter().any(|(name, _)| *name == source.name);
        if (lines_count > LINES_MAX) != may_be_longer {
            breaches.push(format!("src/{} has {lines_count} lines", source.name));
        }
        if !source.text.starts_with("//! ") {
            breaches.push(format!(
                "src/{} does not begin with what it is",
                source.name
            ));
        }
    }
    assert_none(&breaches);
}

#[test]
fn words_that_have_no_place_here_are_nowhere() {
    // put together here, so that this file does not hold them
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["HA", "CK "],
        ["/wo", "rk/"],
        ["/tm", "p/wt"],
    ]
    .map(|parts| parts.concat());
    let mut breaches = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for path in files(&root().join(folder), &[".rs", ".toml"]) {
            let text = fs::read_to_string(&path).unwrap();
            let found = words.iter().filter(|word| text.contains(word.as_str()));
            breaches.extend(found.map(|word| format!("{} has {word}", path.display())));
        }
    }
    for source in sources() {
        let mut tokens = source
            .code
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_meant = source.is_in(UNSAFE);
        if tokens.any(|token| token == "unsafe") != is_meant {
            breaches.push(format!(
                "src/{} is{} safe",
                source.name,
                if is_meant { "" } else { " not" }
            ));
        }
    }
    assert_none(&breaches);
}

#[test]
fn every_limit_limits_something() {
    let limits = fs::read_to_string(root().join("src/limits.rs")).unwrap();
    let names = limits.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("pub const ")?.split_once(':')?;
        Some(name)
    });
    let sources = sources();
    let is_used = |name: &&str| {
        let others = sources.iter().filter(|source| source.name != "limits.rs");
        let mut words = others.flat_map(|source| {
            source
                .code
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        });
        words.any(|word| word == *name)
    };
    let unused: Vec<String> = names
        .filter(|name| !is_used(name))
        .map(|name| format!("nothing is limited by {name}"))
        .collect();
    assert_none(&unused);
}

#[test]
fn configurations_in_the_readme_can_be_used_as_they_stand() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```toml\n").skip(1);
    let texts: Vec<&str> = blocks
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(!texts.is_empty());
    for text in texts {
        if let Err(error) = config::parse(text, &Machine::read()) {
            panic!("{error}\n{text}");
        }
    }
}

#[test]
fn tests_that_the_readme_names_are_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| ") && line.ends_with("` |") || line.ends_with(") |"));
    let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let named: BTreeSet<&str> = words
        .filter(|word| word.matches('_').count() > 3 && !word.contains([' ', '.', '(', '{']))
        .filter(|word| !word.starts_with("cefline_"))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let tests: Vec<String> = files(&root().join("tests"), &[".rs"])
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let is_there = |name: &&str| {
        let head = format!("fn {name}()");
        tests.iter().any(|text| text.contains(&head))
    };
    let missing: Vec<String> = named
        .iter()
        .filter(|name| !is_there(name))
        .map(|name| format!("there is no test {name}"))
        .collect();
    assert_none(&missing);
}
