//! `cefline check --live`: finds out what is wrong, and tells it to people or to machines.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::super::Failure;
use crate::check::{Finding, Verdict, configuration, live, worst};
use crate::clock::Clock;
use crate::config::{ConfigError, Loaded, Machine};
use crate::limits::{
    CHECK_STEP_TIME_DEFAULT, CHECK_TIME_MOST, CHECK_TRAFFIC_TIME_DEFAULT, CHECK_WAIT_DEFAULT,
};

/// Exit code: a check has failed.
const FAILED: u8 = 3;
/// Exit code: the configuration cannot be used.
const UNUSABLE: u8 = 2;

/// Flags that only `--live` has.
#[derive(Debug, clap::Args)]
pub struct LiveArgs {
    /// Print one JSON object instead of text
    #[arg(long, requires = "live")]
    pub json: bool,
    /// Workspace ID (a GUID): ask it for the probe's row until it is there. The application needs the
    /// role Log Analytics Reader there
    #[arg(long, requires = "live", value_name = "GUID", value_parser = guid)]
    pub workspace: Option<String>,
    /// Seconds to wait for that row
    #[arg(long, requires = "workspace", value_name = "SECONDS", value_parser = seconds,
          default_value = "1200")]
    pub wait: Duration,
    /// Base URL of the query API, for rehearsals: a loopback address
    #[arg(long, requires = "workspace", value_name = "URL", value_parser = loopback)]
    pub query_url: Option<String>,
    /// Seconds for each step in the network
    #[arg(long, requires = "live", value_name = "SECONDS", value_parser = seconds,
          default_value = "10")]
    pub step_time: Duration,
    /// Seconds to watch the messages of a cefline that runs here
    #[arg(long, requires = "live", value_name = "SECONDS", value_parser = seconds,
          default_value = "10")]
    pub traffic_time: Duration,
}

impl Default for LiveArgs {
    fn default() -> Self {
        LiveArgs {
            json: false,
            workspace: None,
            wait: CHECK_WAIT_DEFAULT,
            query_url: None,
            step_time: CHECK_STEP_TIME_DEFAULT,
            traffic_time: CHECK_TRAFFIC_TIME_DEFAULT,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| *time <= CHECK_TIME_MOST)
        .ok_or_else(|| format!("a number of seconds, up to {}", CHECK_TIME_MOST.as_secs()))
}

fn guid(text: &str) -> Result<String, String> {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let is_hex = text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    match is_hex && lengths == [8, 4, 4, 4, 12] {
        true => Ok(text.to_owned()),
        false => Err("a GUID, as the workspace's overview shows for Workspace ID".into()),
    }
}

/// Only this machine: the URL gets a token.
fn loopback(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let address: Option<std::net::SocketAddr> = rest.and_then(|rest| rest.parse().ok());
    match address {
        Some(address) if address.ip().is_loopback() => Ok(text.to_owned()),
        _ => Err("a URL of a loopback address, like https://127.0.0.1:8443".into()),
    }
}

/// Runs all checks and prints what they find.
///
/// # Errors
/// Looking itself could not be done.
pub(super) fn run(file: &Path, args: &LiveArgs) -> Result<ExitCode, Failure> {
    let machine = Machine::read();
    let mut teller = Teller {
        is_json: args.json,
        findings: Vec::new(),
    };
    let loaded = match Loaded::read(file, &machine) {
        Ok(loaded) => loaded,
        Err(error) => {
            unusable(file, &error, &mut teller);
            teller.end(file)?;
            return Ok(ExitCode::from(UNUSABLE));
        }
    };
    let options = live::Options {
        step_time: args.step_time,
        traffic_time: args.traffic_time,
        workspace: args.workspace.clone(),
        query_url: args.query_url.clone(),
        wait: args.wait,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    let clock = Clock::start();
    let ended = runtime.block_on(live::run(
        file,
        &loaded,
        &machine,
        clock,
        &options,
        &mut |finding| teller.tell(finding),
    ));
    // a lookup that hangs must not hold the end up
    runtime.shutdown_background();
    ended?;
    let worst = teller.end(file)?;
    Ok(match worst {
        Verdict::Failed => ExitCode::from(FAILED),
        _ => ExitCode::SUCCESS,
    })
}

/// All mistakes, and that nothing else was looked at.
fn unusable(file: &Path, error: &ConfigError, teller: &mut Teller) {
    let about = file.display().to_string();
    for mistake in error.findings() {
        teller.tell(configuration::mistake(&about, mistake));
    }
    for name in live::NAMES.into_iter().skip(1) {
        teller.tell(Finding::after(name, "", "configuration"));
    }
}

/// Tells findings: to people at once, to machines at the end.
struct Teller {
    is_json: bool,
    findings: Vec<Finding>,
}

impl Teller {
    fn tell(&mut self, finding: Finding) {
        if !self.is_json {
            // who has seen enough must not end the checks: their exit code still counts
            let _ = writeln!(io::stdout(), "{finding}");
        }
        self.findings.push(finding);
    }

    fn end(&self, file: &Path) -> Result<Verdict, Failure> {
        let worst = worst(&self.findings);
        let count = |verdict| {
            let of = self
                .findings
                .iter()
                .filter(|found| found.verdict == verdict);
            of.count()
        };
        let text = match self.is_json {
            true => {
                let all = json!({
                    "file": file.display().to_string(),
                    "verdict": worst,
                    "checks": self.findings,
                });
                format!("{all}\n")
            }
            false => format!(
                "\n{} ok, {} warnings, {} failed, {} skipped\n",
                count(Verdict::Ok),
                count(Verdict::Warning),
                count(Verdict::Failed),
                count(Verdict::Skipped)
            ),
        };
        super::super::config::print(&text)?;
        Ok(worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_may_stand_in_for_the_query_api() {
        assert_eq!(
            loopback("https://127.0.0.1:8443/"),
            Ok("https://127.0.0.1:8443".into())
        );
        assert!(loopback("http://[::1]:1").is_ok());
        for text in [
            "https://10.0.0.1:1",
            "https://api.example",
            "127.0.0.1:1",
            "https://127.0.0.1:1@evil.example",
            "https://localhost:1",
        ] {
            assert!(loopback(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_flags_the_times_are_those_of_the_limits() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            args: super::super::CheckArgs,
        }
        let words = ["check", "--config", "x", "--live"];
        let parsed = <Command as clap::Parser>::parse_from(words).args.more;
        let usual = LiveArgs::default();
        assert_eq!(
            (parsed.wait, parsed.step_time, parsed.traffic_time),
            (usual.wait, usual.step_time, usual.traffic_time)
        );
    }

    #[test]
    fn flags_are_checked() {
        assert!(guid("01234567-89ab-cdef-0123-456789ABCDEF").is_ok());
        assert!(guid("01234567-89ab-cdef-0123-456789ABCDE").is_err());
        assert!(guid("my-workspace").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("x").is_err() && seconds("1e9").is_err());
    }
}
