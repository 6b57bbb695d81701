//! `cefline query`: sends one query to a running emulator and shows the answer.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::Failure;
use crate::emulator::show;
use crate::limits::{CONNECT_TIME, QUERY_TIME};

/// Where `cefline emulate` has its control port unless told otherwise.
pub const CONTROL_URL: &str = "http://127.0.0.1:8444";

/// Width of the table when there is no terminal to measure.
const WIDTH_ELSEWHERE: usize = 160;

/// Asks a running emulator (`cefline emulate`) a query and shows the answer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cefline query 'CommonSecurityLog | count'
  cefline query 'CommonSecurityLog | where DeviceVendor == \"Darktrace\" | order by TimeGenerated desc | limit 10'
  cefline query 'CommonSecurityLog | summarize count() by DeviceVendor | order by count_'
  cefline query 'CommonSecurityLog | summarize count() by ExtID | where count_ > 1 | count'

What is there of KQL: where (== != =~ < <= > >=, has, contains, startswith, endswith, in, between,
and, or, not(), isempty(), ago(), datetime(), iff(), ...), order by, take, top, project,
project-away, extend, parse-kv, distinct, count, summarize (count, countif, dcount, sum, avg, min,
max, arg_min, arg_max, percentile, take_any; by columns or bin()). The table has one name, CommonSecurityLog, and the columns of the real one.")]
pub struct QueryArgs {
    /// The query
    #[arg(value_name = "KQL")]
    pub kql: String,
    /// Base URL of the emulator's control port
    #[arg(long, value_name = "URL", default_value = CONTROL_URL)]
    pub url: String,
    /// PEM file of the authority to trust; needed for the emulator's https port only
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// File with a bearer token; needed for the emulator's https port only
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How the answer is written: a table for reading, or one line of JSON for each row
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table that fits the terminal.
    Table,
    /// One JSON object a line, without empty columns.
    Json,
}

/// Runs the command.
///
/// # Errors
/// The emulator is not there, or the query is wrong.
pub fn run(args: QueryArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::running)?;
    let (status, body) = runtime.block_on(ask(&args))?;
    let answer = read_answer(status, &body)?;
    if answer.is_cut {
        eprintln!("the answer was too large: only its first rows are here");
    }
    let text = match args.format {
        Format::Table => show::table(&answer.columns, &answer.rows, width()),
        Format::Json => answer.to_json_lines(),
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // the reader (`head`, say) has seen enough
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::running(error)),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// Columns of the terminal; of the variable `COLUMNS` or a usual number where there is none.
pub(super) fn width() -> usize {
    let by_variable = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok());
    let by_terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let measured = if std::io::stdout().is_terminal() {
        by_terminal
    } else {
        None
    };
    by_variable.or(measured).unwrap_or(WIDTH_ELSEWHERE)
}

async fn ask(args: &QueryArgs) -> Result<(u16, Vec<u8>), Failure> {
    let url = args.url.trim_end_matches('/');
    let client = client(args)?;
    let request = json!({"query": args.kql}).to_string();
    let mut post = client
        .post(format!("{url}/v1/workspaces/emulator/query"))
        .header("content-type", "application/json")
        .body(request);
    if let Some(file) = &args.token_file {
        let token = read(file, "--token-file")?;
        let token = String::from_utf8(token).map_err(|_| {
            Failure::usage(format!(
                "{}: the token is not text (--token-file)",
                file.display()
            ))
        })?;
        post = post.header("authorization", format!("Bearer {}", token.trim()));
    }
    let unreachable = |error: reqwest::Error| {
        let hint = if error.is_connect() {
            "\nis `cefline emulate` running? its control port is --url"
        } else {
            ""
        };
        Failure::running(format!(
            "no answer from {url}: {}{hint}",
            root_cause(&error)
        ))
    };
    let answer = post.send().await.map_err(unreachable)?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await.map_err(unreachable)?;
    Ok((status, body.to_vec()))
}

fn client(args: &QueryArgs) -> Result<reqwest::Client, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(file) = &args.ca_file {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let pem = read(file, "--ca-file")?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|error| {
                Failure::usage(format!("{}: {error} (--ca-file)", file.display()))
            })?;
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::running)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .connect_timeout(CONNECT_TIME)
        .timeout(QUERY_TIME.max(Duration::from_secs(1)))
        .build()
        .map_err(Failure::running)
}

fn read(file: &std::path::Path, option: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(file)
        .map_err(|error| Failure::usage(format!("{}: {error} ({option})", file.display())))
}

/// The innermost reason, which is the one that a person can act on.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// An answer of the query API.
struct Read {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    is_cut: bool,
}

fn read_answer(status: u16, body: &[u8]) -> Result<Read, Failure> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| {
        Failure::running(format!(
            "the answer (status {status}) is not that of a query endpoint: check --url"
        ))
    })?;
    let error = &answer["error"];
    if status != 200 {
        let inner = error["innererror"]["message"].as_str();
        return Err(match inner {
            Some(inner) => Failure::usage(show_error(inner)),
            None => Failure::running(format!(
                "the emulator refuses (status {status}): {}",
                show::escape(error["message"].as_str().unwrap_or("no reason given"))
            )),
        });
    }
    let table = &answer["tables"][0];
    let columns = table["columns"].as_array().into_iter().flatten();
    let rows = table["rows"].as_array().into_iter().flatten();
    Ok(Read {
        columns: columns
            .map(|column| column["name"].as_str().unwrap_or_default().to_owned())
            .collect(),
        rows: rows.filter_map(|row| row.as_array().cloned()).collect(),
        is_cut: error.is_object(),
    })
}

/// Several lines, each without anything that a terminal would obey.
fn show_error(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(show::escape).collect();
    lines.join("\n")
}

impl Read {
    fn to_json_lines(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let pairs = self.columns.iter().zip(row);
            let object: serde_json::Map<String, Value> = pairs
                .filter(|(_, value)| !value.is_null() && value.as_str() != Some(""))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            out.push_str(&Value::Object(object).to_string());
            out.push('\n');
        }
        out
    }
}
