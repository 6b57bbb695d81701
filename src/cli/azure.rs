//! `cefline azure`: templates for Azure's own tools, and a configuration that fits what they made.

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Failure;
use super::config::print;
use crate::azure::model::Template;
use crate::azure::rules::{Choices, CustomColumn, TRANSFORM_DEFAULT};
use crate::azure::settings::{Answers, Identity, configuration};
use crate::azure::{arm, bicep, content, rules};
use crate::config::Machine;
use crate::limits::OUTPUTS_BYTES_MAX;

/// Make what cefline needs in Azure: templates to deploy, and the configuration that fits them.
///
/// Nothing here talks to Azure: the Azure CLI (az) deploys, with the rights of whoever calls it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example, from nothing to a running forwarder:
  cefline azure template --output rules.bicep
  az deployment group create --resource-group GROUP --name cefline --template-file rules.bicep \\
      --parameters workspace=WORKSPACE principalId=OBJECT_ID > deployed.json
  cefline azure settings deployed.json --client APPLICATION_ID > cefline.toml
  cefline check --config cefline.toml
  cefline run   --config cefline.toml")]
pub struct AzureArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Template(TemplateArgs),
    Settings(SettingsArgs),
    Content(ContentArgs),
}

/// Print a template of the data collection rules to send to.
///
/// It holds the rules (kind Direct, with exactly the columns that cefline fills), the role for
/// whoever sends, the setting that logs rows which the service drops later, and for private link a
/// data collection endpoint. Parameters of the deployment: workspace (name or resource id, the only
/// one without a default), principalId, rulesCount, usePrivateLink, namePrefix, location.
#[derive(Debug, clap::Args)]
pub struct TemplateArgs {
    #[command(flatten)]
    form: Form,
    /// Declare a custom column as well, NAME_CF or NAME_CF:TYPE; may be repeated
    ///
    /// TYPE is string (the default), int, long, real, boolean, datetime or dynamic. The table must
    /// have the column before the template is deployed; the template says how.
    #[arg(long = "column", value_name = "NAME_CF", value_parser = CustomColumn::read)]
    columns: Vec<CustomColumn>,
    /// The rules' transformation; what it drops is billed in part, what cefline drops is not
    #[arg(long, value_name = "KQL", default_value = TRANSFORM_DEFAULT)]
    transform: String,
}

/// Print a template of content for Microsoft Sentinel: a workbook and analytic rules.
///
/// The workbook shows volume by product, the health of each collector, lag, and rows that were
/// rejected or could not be parsed. The rules: a collector is silent, a collector loses rows,
/// Darktrace reports a model breach of high severity. Deploy it in the resource group of the
/// workspace. Parameters of the deployment: workspace (name or resource id), location,
/// rulesEnabled.
#[derive(Debug, clap::Args)]
pub struct ContentArgs {
    #[command(flatten)]
    form: Form,
}

/// In which form, and where to.
#[derive(Debug, clap::Args)]
struct Form {
    /// Bicep, or the JSON of Azure Resource Manager
    #[arg(long, value_enum, default_value_t = Format::Bicep)]
    format: Format,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The form of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Bicep,
    /// For tools.
    Arm,
}

/// Print the configuration that fits a deployment of `cefline azure template`.
///
/// FILE is what `az deployment group create` or `show` prints, whole or with `--query
/// properties.outputs`. What only you know is marked in what is printed.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// The deployment's outputs in JSON; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Who cefline is for Microsoft Entra; for other kinds see `cefline config`
    #[arg(long, value_enum, default_value_t = Kind::ClientSecret)]
    identity: Kind,
    /// Directory (tenant) id, if it is not that of the deployment
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Application (client) id
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Address to receive messages at
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:514")]
    listen: SocketAddr,
}

/// Kinds of identity for which the keys are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// An application with a client secret
    #[value(name = "client_secret")]
    ClientSecret,
    /// The identity of the virtual machine; with --client one that a user assigned to it
    #[value(name = "managed_identity")]
    ManagedIdentity,
}

/// Runs the command.
///
/// # Errors
/// What was asked for cannot be done as written (2), or a file cannot be read or written (1).
pub fn run(args: &AzureArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Template(args) => {
            let choices = Choices {
                columns: args.columns.clone(),
                transform: args.transform.clone(),
            };
            choices.check().map_err(Failure::usage)?;
            write(&rules::template(&choices), &args.form)
        }
        Command::Content(args) => write(&content::template(), &args.form),
        Command::Settings(args) => settings(args),
    }
}

fn write(template: &Template, form: &Form) -> Result<ExitCode, Failure> {
    let text = match form.format {
        Format::Bicep => bicep::print(template),
        Format::Arm => arm::print(template),
    };
    let Some(file) = &form.output else {
        return print(&text);
    };
    fs::write(file, text)
        .map_err(|error| Failure::running(format!("{}: {error} (--output)", file.display())))?;
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &SettingsArgs) -> Result<ExitCode, Failure> {
    let shown = match is_standard_input(&args.file) {
        true => "standard input".to_owned(),
        false => args.file.display().to_string(),
    };
    let json = read(&args.file).map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    let answers = Answers {
        identity: match args.identity {
            Kind::ClientSecret => Identity::ClientSecret,
            Kind::ManagedIdentity => Identity::ManagedIdentity,
        },
        tenant: args.tenant.clone(),
        client: args.client.clone(),
        listen: args.listen,
    };
    match configuration(&json, &answers, &Machine::read()) {
        Ok(text) => print(&text),
        Err(why) => Err(Failure::usage(format!("{shown}: {why}"))),
    }
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let source: Box<dyn Read> = match is_standard_input(file) {
        true => Box::new(io::stdin().lock()),
        false => Box::new(fs::File::open(file)?),
    };
    let mut json = Vec::new();
    let most = OUTPUTS_BYTES_MAX as u64;
    source.take(most + 1).read_to_end(&mut json)?;
    if json.len() > OUTPUTS_BYTES_MAX {
        let why = format!(
            "more than {OUTPUTS_BYTES_MAX} bytes: too long for the outputs of a deployment"
        );
        return Err(io::Error::other(why));
    }
    Ok(json)
}
