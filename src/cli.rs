//! The command line: one file for each command, with its flags as types and the thin code that
//! hands them to the rest of the program.

pub mod check;
pub mod config;
pub mod demo;
pub mod emulate;
pub mod parse;
pub mod query;
pub mod run;
pub mod send;

use std::fmt;

/// Why a command ended badly: the text for the person at the terminal, and the exit code.
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
