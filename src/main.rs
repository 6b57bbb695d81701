//! The program: arguments into a run, its end into an exit code.

use cefline::cli;
use cefline::failure::Failure;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// CEF over syslog into Microsoft Sentinel's CommonSecurityLog.
///
/// Takes Common Event Format messages from security devices over TCP and lands them as rows in
/// Sentinel, through the Azure Monitor Logs Ingestion API. Begin with `cefline demo`.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cefline {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(cli::run::RunArgs),
    Demo(cli::demo::DemoArgs),
    Emulate(cli::emulate::EmulateArgs),
    Query(cli::query::QueryArgs),
    Send(cli::send::SendArgs),
    Parse(cli::parse::ParseArgs),
    Check(cli::check::CheckArgs),
    Bench(cli::bench::BenchArgs),
    Config(cli::config::ConfigArgs),
    Spool(cli::spool::SpoolArgs),
    Azure(cli::azure::AzureArgs),
}

fn main() -> ExitCode {
    let ended = match Cefline::parse().command {
        Command::Run(args) => cli::run::run(&args),
        Command::Demo(args) => cli::demo::run(&args),
        Command::Emulate(args) => cli::emulate::run(args),
        Command::Query(args) => cli::query::run(args),
        Command::Send(args) => cli::send::run(args),
        Command::Parse(args) => cli::parse::run(&args),
        Command::Check(args) => cli::check::run(&args),
        Command::Bench(args) => cli::bench::run(&args),
        Command::Config(args) => cli::config::run(&args),
        Command::Spool(args) => cli::spool::run(&args),
        Command::Azure(args) => cli::azure::run(&args),
    };
    ended.unwrap_or_else(|Failure { exit_code, message }| {
        eprintln!("cefline: {message}");
        ExitCode::from(exit_code)
    })
}
