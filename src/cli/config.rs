//! `cefline config`: the reference configuration on standard output.

use std::io::{self, Write};
use std::process::ExitCode;

use super::Failure;
use crate::config::REFERENCE;

/// Print the reference configuration: every key with its effect, default, unit and edge values.
///
/// It is a configuration itself. To start from it:
///
///   cefline config > cefline.toml
///
/// then set the keys in the sections sentinel and sentinel.identity and see what `cefline check`
/// says of it. Only those keys and listen.tcp must stay: every other one has the default that is
/// shown.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ConfigArgs {}

/// Prints the reference configuration.
///
/// # Errors
/// Standard output could not be written.
pub fn run(_args: &ConfigArgs) -> Result<ExitCode, Failure> {
    print(REFERENCE)
}

/// Writes `text` to standard output. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::running(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(ExitCode::SUCCESS),
    }
}
