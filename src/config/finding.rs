//! What was found wrong or odd in a configuration, as one line for the person who wrote it.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake or one warning.
///
/// As text `LINE: KEY = VALUE: what; advice`, where the parts that do not apply are left out.
/// Lower case, no full stop, no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Line in the file, from 1; nothing where the file has no place for it.
    pub line: Option<usize>,
    /// Column in characters, from 1; for broken TOML only.
    pub column: Option<usize>,
    /// Full name of the key, like `listen.tcp`; empty if no key is meant.
    pub key: String,
    /// The value as it stands in the file, cut and on one line; nothing where there is none or
    /// where it could be a secret.
    pub value: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What is allowed, or what to do; may be empty.
    pub advice: String,
}

impl Finding {
    /// A finding about the file as a whole.
    pub(super) fn of_file(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding {
            line: None,
            column: None,
            key: String::new(),
            value: None,
            what: what.into(),
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
            if let Some(column) = self.column {
                write!(f, "{column}:")?;
            }
            f.write_str(" ")?;
        }
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.what)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

/// Why a configuration cannot be used: all of its mistakes, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    findings: Vec<Finding>,
}

impl ConfigError {
    /// The mistakes `findings` of `file`.
    pub(super) fn of(file: Option<&Path>, findings: Vec<Finding>) -> Self {
        ConfigError {
            file: file.map(Path::to_path_buf),
            findings,
        }
    }

    /// What is wrong with the file as a whole.
    #[must_use]
    pub fn of_file(file: &Path, what: String) -> Self {
        ConfigError::of(Some(file), vec![Finding::of_file(what, "")])
    }

    /// The mistakes, at least one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or(Path::new("configuration"));
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&in_file(file, finding))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// `FILE:LINE: KEY = VALUE: what; advice`, or `FILE: …` where there is no line.
pub(super) fn in_file(file: &Path, finding: &Finding) -> String {
    let blank = if finding.line.is_some() { "" } else { " " };
    format!("{}:{blank}{finding}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_that_leads_to_its_place() {
        let mut finding = Finding {
            line: Some(7),
            column: None,
            key: "listen.tcp".into(),
            value: Some("\"x\"".into()),
            what: "no address".into(),
            advice: "write IP:PORT".into(),
        };
        let shown = |finding: &Finding| in_file(Path::new("a.toml"), finding);
        assert_eq!(
            shown(&finding),
            "a.toml:7: listen.tcp = \"x\": no address; write IP:PORT"
        );
        finding.column = Some(3);
        finding.value = None;
        finding.advice.clear();
        assert_eq!(shown(&finding), "a.toml:7:3: listen.tcp: no address");
        let finding = Finding::of_file("cannot be read", "");
        assert_eq!(shown(&finding), "a.toml: cannot be read");
    }
}
