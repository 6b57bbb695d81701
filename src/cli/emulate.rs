//! `cefline emulate`: the stand-in for Microsoft Sentinel, for rehearsals.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::Failure;
use crate::clock::Clock;
use crate::emulator::{
    self, Emulator, EmulatorError, Faults, MinuteLimits, Options, SizeReading, Tls,
};
use crate::limits::{
    RULE_BYTES_A_MINUTE_LEAST, RULE_BYTES_A_MINUTE_MOST, RULE_REQUESTS_A_MINUTE_LEAST,
    RULE_REQUESTS_A_MINUTE_MOST,
};

/// First line of the PEM file, by which a file of ours is known and may be written over.
const CA_MARK: &str = "# authority of a cefline emulator, for rehearsals only";

/// Stands in for Microsoft Sentinel on this machine: token, ingestion and query endpoints.
///
/// On start it prints the lines of configuration that point `cefline run` at it. Rows are kept in
/// memory and can be asked for with `cefline query`. What goes wrong can be chosen at start with
/// --fault and changed while it runs through the control port.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  cefline emulate                                      everything by default
  cefline emulate --fault throttle_rate=0.1            a tenth of the calls get 429
  cefline emulate --fault error_rate=0.05 --fault lost_answer_rate=0.01
  cefline emulate --fault token_life_seconds=5         401 by expiry
  cefline emulate --fault granted_after_seconds=60     403 for the first minute
  curl -X PATCH http://127.0.0.1:8444/emulator/faults -d '{\"outage\":\"refuse\",\"outage_seconds\":20}'
  curl -X PUT http://127.0.0.1:8444/emulator/faults -d '{}'           all is well again
  curl http://127.0.0.1:8444/emulator/stats

Faults (rates are the share of calls, 0 to 1; the same names work as JSON keys):
  rules=[\"dcr-...\"]         only calls of these rules; all by default
  seed=N                    of the draws
  throttle_rate=R           429; retry_after=seconds|date|none, retry_after_seconds=N
  error_rate=R              error_status=[500,502,503,504], error_body=html|empty|json
  reset_rate=R              the connection is reset, the rows are not kept
  slow_rate=R               waits slow_ms=N milliseconds
  lost_answer_rate=R        the rows are kept, then the connection is reset: a retry doubles them
  lost_rows_rate=R          204, and the rows are not kept
  unauthorized_rate=R       401
  granted_after_seconds=S   403 until then
  refuse_text=TEXT          400 for a body that holds it: one bad row
  body_bytes_max=N          413 for more bytes on the wire; oversize=answer|close|reset
  lenient_parse=true        204 for a body that is not JSON, which is lost
  token_life_seconds=N      of tokens given out from now on
  token_error_rate=R        token_error_status=N
  token_refused=true        the right secret is refused; secret_expired=true: as expired
  rows_late_seconds=S       rows show up in the table only after that time
  query_forbidden=true      403 for queries that come with a token
  clock_skew_seconds=S      the Date of every answer is so far ahead (negative: behind)
  imds_gone_seconds=S       the metadata service answers 410 until then
  imds_status=N             it answers 404, 429, 503 and the like
  imds_no_identity=true     it answers 400
  arc=NAME                  the Azure Arc agent's place: hostile_path, other_folder, no_file,
                            oversize, bad_header, no_challenge, forbidden, no_proof
  outage=refuse|blackhole|reset   nobody there, the table is kept; outage_seconds=S, else until
                            it is switched off (the control port always answers)")]
pub struct EmulateArgs {
    /// Address of the token, ingestion and query endpoints; port 0 for any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Address of the control port: plain HTTP, no token, loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8444")]
    pub control: SocketAddr,
    /// A further name or address for the certificate; 127.0.0.1, ::1 and localhost are in it
    #[arg(long, value_name = "NAME")]
    pub name: Vec<String>,
    /// Plain HTTP instead of TLS, on a loopback address
    #[arg(long)]
    pub plain: bool,
    /// File for the PEM of the authority that signs the certificate, made anew at each start
    #[arg(long, value_name = "FILE", default_value = "cefline-emulator-ca.pem")]
    pub ca_file: PathBuf,
    /// File of the client secret: read if it is there, else written with a new secret
    #[arg(long, value_name = "FILE", default_value = "cefline-emulator-secret")]
    pub secret_file: PathBuf,
    /// PEM file of certificates that are registered for the application, for rehearsals of
    /// kind = "client_certificate"
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Write a token of an outside issuer to this file, good for a day, for rehearsals of
    /// kind = "workload"
    #[arg(long, value_name = "FILE")]
    pub federated_token_file: Option<PathBuf>,
    /// Play the Azure Arc agent too, with its challenges in this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub arc_tokens_directory: Option<PathBuf>,
    /// Immutable id of a data collection rule that is there; may be given several times
    #[arg(
        long,
        value_name = "ID",
        default_value = "dcr-00000000000000000000000000000000"
    )]
    pub rule: Vec<String>,
    /// Stream that the rules declare
    #[arg(long, value_name = "NAME", default_value = "Custom-CommonSecurityLog")]
    pub stream: String,
    /// Directory (tenant) id
    #[arg(
        long,
        value_name = "GUID",
        default_value = "11111111-1111-1111-1111-111111111111"
    )]
    pub tenant_id: String,
    /// Application (client) id
    #[arg(
        long,
        value_name = "GUID",
        default_value = "22222222-2222-2222-2222-222222222222"
    )]
    pub client_id: String,
    /// Audience that a token must have: that of the public cloud, or of another
    #[arg(long, value_name = "URL", default_value = "https://monitor.azure.com")]
    pub audience: String,
    /// Which bytes the 1 MB limit and the minute's limit count: the JSON or what is on the wire.
    /// Microsoft's pages can be read both ways
    #[arg(long, value_enum, default_value_t = Reading::Raw)]
    pub size_reading: Reading,
    /// Look at the token before the size of a body
    #[arg(long)]
    pub token_first: bool,
    /// Bytes that one rule may take in a minute
    #[arg(long, value_name = "BYTES", default_value_t = MinuteLimits::default().bytes_max)]
    pub minute_bytes: u64,
    /// Requests that one rule may take in a minute
    #[arg(long, value_name = "COUNT", default_value_t = MinuteLimits::default().requests_max)]
    pub minute_requests: u64,
    /// Seconds that a token is good
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub token_life: u64,
    /// Rows to keep; the oldest go when there are more. A row takes about 150 bytes of memory
    #[arg(long, value_name = "ROWS", default_value_t = crate::limits::EMULATOR_ROWS_DEFAULT)]
    pub keep_rows: usize,
    /// Something that goes wrong, as NAME=VALUE; may be given several times. See below (--help)
    #[arg(long, value_name = "NAME=VALUE")]
    pub fault: Vec<String>,
}

/// Which bytes the limits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Reading {
    /// The JSON, as every SDK reads it.
    Raw,
    /// The bytes on the wire.
    Wire,
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// A port that is taken, a file that cannot be written, a fault that is not there.
pub fn run(args: EmulateArgs) -> Result<ExitCode, Failure> {
    let options = options(&args)?;
    let is_plain = args.plain;
    let emulator = emulator::start(options, Clock::start()).map_err(|error| match error {
        EmulatorError::Option(_) | EmulatorError::Listen(..) | EmulatorError::Certificate(_) => {
            Failure::usage(error)
        }
        EmulatorError::Thread(_) => Failure::running(error),
    })?;
    if !is_plain {
        write_ca(&args.ca_file, emulator.ca_pem())?;
    }
    if let Some(file) = &args.federated_token_file {
        let token = emulator.federated_token(Duration::from_secs(24 * 3600));
        std::fs::write(file, token).map_err(|error| {
            let file = file.display();
            Failure::usage(format!("{file}: {error} (--federated-token-file)"))
        })?;
    }
    print(&introduction(&emulator, &args))?;
    wait_for_signal()?;
    let stats = emulator.stats();
    emulator.stop();
    // as comments: all that we print may stand in a configuration
    let lines: String = stats
        .to_string()
        .lines()
        .map(|line| format!("# {line}\n"))
        .collect();
    print(&format!("\n{lines}"))?;
    Ok(ExitCode::SUCCESS)
}

fn options(args: &EmulateArgs) -> Result<Options, Failure> {
    let mut faults = Faults::default();
    for setting in &args.fault {
        faults = faults
            .changed_by_setting(setting)
            .map_err(|problem| Failure::usage(format!("--fault {problem}")))?;
    }
    let usual = Options::default();
    let tls = match usual.tls {
        _ if args.plain => Tls::Plain,
        Tls::Generated { mut names } => {
            names.extend(args.name.iter().cloned());
            Tls::Generated { names }
        }
        Tls::Plain => Tls::Plain,
    };
    Ok(Options {
        listen: args.listen,
        control: args.control,
        tls,
        tenant_id: args.tenant_id.clone(),
        client_id: args.client_id.clone(),
        client_secret: secret(&args.secret_file, usual.client_secret)?,
        certificates_pem: args.certificate.as_deref().map(certificates).transpose()?,
        user_assigned: usual.user_assigned,
        arc_tokens_directory: args.arc_tokens_directory.clone(),
        rules: args.rule.clone(),
        stream: args.stream.clone(),
        audience: args.audience.clone(),
        size_reading: match args.size_reading {
            Reading::Raw => SizeReading::Raw,
            Reading::Wire => SizeReading::Wire,
        },
        size_first: !args.token_first,
        minute: MinuteLimits {
            bytes_max: args.minute_bytes,
            requests_max: args.minute_requests,
        },
        token_life: Duration::from_secs(args.token_life),
        rows_count_max: args.keep_rows,
        faults,
    })
}

/// The certificates in the file.
fn certificates(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        let file = file.display();
        Failure::usage(format!("{file}: {error} (--certificate)"))
    })
}

/// The secret in the file, or the new one, which is then in the file.
fn secret(file: &Path, new: String) -> Result<String, Failure> {
    let refuse = |problem: &dyn std::fmt::Display| {
        Failure::usage(format!("{}: {problem} (--secret-file)", file.display()))
    };
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match created {
        Ok(mut created) => {
            created
                .write_all(new.as_bytes())
                .map_err(|error| refuse(&error))?;
            Ok(new)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let text = std::fs::read_to_string(file).map_err(|error| refuse(&error))?;
            match text.trim_end() {
                "" => Err(refuse(
                    &"the file is empty: remove it, or write a secret into it",
                )),
                secret => Ok(secret.to_owned()),
            }
        }
        Err(error) => Err(refuse(&error)),
    }
}

/// Writes the authority's PEM; over a file of ours, never over another.
fn write_ca(file: &Path, pem: &str) -> Result<(), Failure> {
    let refuse = |problem: &dyn std::fmt::Display| {
        Failure::usage(format!("{}: {problem} (--ca-file)", file.display()))
    };
    match std::fs::read(file) {
        Ok(old) if !old.starts_with(CA_MARK.as_bytes()) => {
            return Err(refuse(
                &"the file is there and was not written by `cefline emulate`",
            ));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(refuse(&error)),
        _ => {}
    }
    std::fs::write(file, format!("{CA_MARK}\n{pem}")).map_err(|error| refuse(&error))
}

fn introduction(emulator: &Emulator, args: &EmulateArgs) -> String {
    let url = emulator.url();
    let control = emulator.control_url();
    let quoted = |text: &dyn std::fmt::Display| toml::Value::String(text.to_string()).to_string();
    let rules: Vec<String> = args.rule.iter().map(|rule| quoted(rule)).collect();
    let ca_file = if args.plain {
        String::new()
    } else {
        format!("ca_file = {}\n", quoted(&absolute(&args.ca_file).display()))
    };
    let limits = minute_limits(args);
    let ask = if control == super::query::CONTROL_URL {
        "cefline query".to_owned()
    } else {
        format!("cefline query --url {control}")
    };
    format!(
        "# the emulator is running; these lines point cefline at it:\n\
         [sentinel]\n\
         endpoint = {}\n\
         rules = [{}]\n\
         stream = {}\n\
         {limits}{ca_file}\n\
         [sentinel.identity]\n\
         kind = \"client_secret\"\n\
         authority = {}\n\
         tenant_id = {}\n\
         client_id = {}\n\
         secret_file = {}\n\
         \n\
         # what has arrived:  {ask} 'CommonSecurityLog | order by TimeGenerated desc | limit 10'\n\
         # what goes wrong:   curl {control}/emulator/faults     (GET, PUT, PATCH)\n\
         # stop it:           Ctrl-C\n",
        quoted(&url),
        rules.join(", "),
        quoted(&args.stream),
        quoted(&url),
        quoted(&args.tenant_id),
        quoted(&args.client_id),
        quoted(&absolute(&args.secret_file).display()),
    )
}

/// What its rules take, if that is not what Azure's do.
fn minute_limits(args: &EmulateArgs) -> String {
    let usual = MinuteLimits::default();
    if args.minute_bytes == usual.bytes_max && args.minute_requests == usual.requests_max {
        return String::new();
    }
    let within = |value: u64, least: usize, most: usize| {
        usize::try_from(value).unwrap_or(most).clamp(least, most)
    };
    let bytes = within(
        args.minute_bytes,
        RULE_BYTES_A_MINUTE_LEAST,
        RULE_BYTES_A_MINUTE_MOST,
    );
    let requests = within(
        args.minute_requests,
        RULE_REQUESTS_A_MINUTE_LEAST,
        RULE_REQUESTS_A_MINUTE_MOST,
    );
    format!("rule_bytes_a_minute = {bytes}\nrule_requests_a_minute = {requests}\n")
}

/// The path from the root, so that the lines can be used from any directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Writes to standard output. That nobody reads it is no reason to end.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::running(error))
        }
        _ => Ok(()),
    }
}

fn wait_for_signal() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::running)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::running)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}
