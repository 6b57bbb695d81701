//! The configuration file: its mistakes and warnings as findings.

use super::{Finding, Whose};
use crate::config;

const NAME: &str = "configuration";

/// A mistake: the configuration cannot be used.
#[must_use]
pub fn mistake(file: &str, found: &config::Finding) -> Finding {
    let remedy = match found.advice.as_str() {
        "" => "mend it there; `cefline config` explains every key".to_owned(),
        advice => format!("allowed: {advice}"),
    };
    Finding::failed(
        NAME,
        place(file, found),
        Whose::Configuration,
        what(found),
        remedy,
    )
}

/// What is legal, but perhaps not meant.
#[must_use]
pub fn warning(file: &str, found: &config::Finding) -> Finding {
    let remedy = match found.advice.as_str() {
        "" => "change it, unless it is meant so",
        advice => advice,
    };
    Finding::warning(
        NAME,
        place(file, found),
        Whose::Configuration,
        what(found),
        remedy,
    )
}

fn place(file: &str, found: &config::Finding) -> String {
    match found.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    }
}

fn what(found: &config::Finding) -> String {
    match (found.key.as_str(), &found.value) {
        ("", _) => found.what.clone(),
        (key, Some(value)) => format!("{key} = {value}: {}", found.what),
        (key, None) => format!("{key}: {}", found.what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_keep_their_place_and_their_advice() {
        let found = config::Finding {
            line: Some(7),
            column: None,
            key: "batch.linger".into(),
            value: Some("1".into()),
            what: "no unit".into(),
            advice: "\"1 s\"".into(),
        };
        let finding = mistake("a.toml", &found);
        assert_eq!(finding.about, "a.toml:7");
        assert_eq!(finding.what, "batch.linger = 1: no unit");
        assert_eq!(finding.remedy, "allowed: \"1 s\"");
        let bare = config::Finding {
            line: None,
            value: None,
            advice: String::new(),
            ..found
        };
        let finding = warning("a.toml", &bare);
        assert_eq!(
            (&*finding.about, &*finding.what),
            ("a.toml", "batch.linger: no unit")
        );
        assert!(!finding.remedy.is_empty());
    }
}
