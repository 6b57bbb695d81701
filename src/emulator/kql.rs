//! A small part of the Kusto Query Language, on the one table that the emulator has.
//!
//! ```text
//! text -> lex -> parse -> Query (syntax) -> plan, bind (names to columns, types checked) -> run
//! ```
//!
//! What is there: `CommonSecurityLog` and a pipe of `where`, `order by`, `take`, `top`, `project`,
//! `project-away`, `extend`, `parse-kv`, `distinct`, `count`, `summarize`; the comparisons and string
//! operators that alert rules use; `ago`, `now`, `bin`, `iff`, `ingestion_time` and some more
//! functions. `dcount` and `percentile` are exact here, estimates in the real service.
//! Everything else is refused with its place, never guessed at.
//!
//! The well-known parser crate was looked at and left: it is at its fourth first version, has no
//! positions in its errors and no bound on depth.
//!
//! Rows are read by column and late: a query unpacks only the columns that it looks at, and the
//! rest of them for the rows of its answer.

pub mod lex;
pub mod parse;
pub mod syntax;

mod aggregate;
pub mod bind;
pub mod plan;

pub mod answer;
pub mod chunk;
pub mod expression;
pub mod group;
pub mod run;
mod top;
pub mod words;

use std::fmt;

use super::table::{Schema, Snapshot};
use crate::clock::Wall;

pub use answer::{Answer, AnswerColumn};

/// What is wrong with a query: always the query's own fault, so a retry does not help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// Byte of the query's text where it goes wrong.
    pub at: usize,
    /// Why, lower case and without a full stop.
    pub message: String,
}

impl QueryError {
    /// An error at a place.
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        QueryError {
            at,
            message: message.into(),
        }
    }

    /// The message with the line and column (from 1) of the query, and a mark below its text.
    #[must_use]
    pub fn explain(&self, query: &str) -> String {
        let mut at = self.at.min(query.len());
        while !query.is_char_boundary(at) {
            at -= 1;
        }
        let (before, behind) = query.split_at(at);
        let line_number = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let start = before.get(line_start..).unwrap_or_default();
        let column = start.chars().count();
        let line = format!("{start}{}", behind.lines().next().unwrap_or_default());
        format!(
            "{} (line {line_number}, column {})\n  {line}\n  {}^",
            self.message,
            column + 1,
            " ".repeat(column)
        )
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.at)
    }
}

impl std::error::Error for QueryError {}

/// Answers a query.
///
/// `between` are the least and the greatest `TimeGenerated` looked at (the API's `timespan`), in
/// nanoseconds since 1970.
///
/// # Errors
/// What is wrong with the query and where.
pub fn answer(
    query: &str,
    snapshot: &Snapshot,
    schema: &Schema,
    now: Wall,
    between: Option<(i64, i64)>,
) -> Result<Answer, QueryError> {
    let parsed = parse::parse(query)?;
    let plan = plan::plan(&parsed, schema, now)?;
    Ok(run::run(&plan, snapshot, schema, between))
}
