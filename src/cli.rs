//! The command line: one file for each command, with its flags as types and the thin code that
//! hands them to the rest of the program.

pub mod azure;
pub mod bench;
pub mod check;
pub mod config;
pub mod demo;
pub mod emulate;
pub mod parse;
pub mod query;
pub mod run;
pub mod send;
pub mod spool;

use crate::failure::Failure;
