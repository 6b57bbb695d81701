//! Why the program, or one of its commands, cannot go on: what a person at the terminal is told.

use std::fmt;

/// The text for the person at the terminal, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// 1: something went wrong while running; 2: what was asked for cannot be done as written.
    pub exit_code: u8,
    /// One line or a few: lower case, no full stop, the offending value and its name in it.
    pub message: String,
}

impl Failure {
    /// Something went wrong while running.
    pub fn running(message: impl fmt::Display) -> Self {
        Failure {
            exit_code: 1,
            message: message.to_string(),
        }
    }

    /// What was asked for cannot be done as written.
    pub fn usage(message: impl fmt::Display) -> Self {
        Failure {
            exit_code: 2,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
