//! An answer, and how the query API writes it.

use serde_json::{Value, json};

use super::super::values::Values;
use super::expression::{Scalar, Type, scalar_text};
use crate::limits::{QUERY_ANSWER_BYTES_MAX, QUERY_ANSWER_ROWS_MAX};

/// An answer: a table of its own.
#[derive(Debug)]
pub struct Answer {
    /// Its columns.
    pub columns: Vec<AnswerColumn>,
    /// How many rows it has.
    pub rows_count: usize,
    /// True if there would have been more rows.
    pub is_cut: bool,
    /// As many as `columns`, each of `rows_count`.
    pub(super) values: Vec<Values>,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Type,
}

impl Answer {
    /// One value, as the query API writes it: times as text, absent numbers as null.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> Value {
        let (Some(values), Some(head)) = (self.values.get(column), self.columns.get(column)) else {
            return Value::Null;
        };
        match (values, head.kind) {
            (Values::Text(texts), _) => Value::from(texts.get(row)),
            (Values::Real(reals), _) => match reals.get(row).copied().flatten() {
                Some(real) if !real.is_finite() => Value::from(real.to_string()),
                real => Value::from(real),
            },
            (Values::Whole(wholes), kind) => match (wholes.get(row).copied().flatten(), kind) {
                (None, _) => Value::Null,
                (Some(whole), Type::Bool) => Value::from(whole != 0),
                (Some(whole), Type::DateTime | Type::Span) => {
                    Value::from(scalar_text(&Scalar::Whole(whole), kind))
                }
                (Some(whole), _) => Value::from(whole),
            },
        }
    }

    /// All rows, as the query API writes them.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<Value>> {
        let row = |row| {
            (0..self.columns.len())
                .map(|column| self.cell(row, column))
                .collect()
        };
        (0..self.rows_count).map(row).collect()
    }

    /// The answer of the query API. Rows that would make it too long are left out, and the answer
    /// then says so as the real one does.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let heads: Vec<Value> = self
            .columns
            .iter()
            .map(|column| json!({"name": column.name, "type": column.kind.name()}))
            .collect();
        let mut out = b"{\"tables\":[{\"name\":\"PrimaryResult\",\"columns\":".to_vec();
        out.extend_from_slice(Value::from(heads).to_string().as_bytes());
        out.extend_from_slice(b",\"rows\":[");
        let mut is_cut = self.is_cut;
        for row in 0..self.rows_count {
            if out.len() > QUERY_ANSWER_BYTES_MAX {
                is_cut = true;
                break;
            }
            if row > 0 {
                out.push(b',');
            }
            let cells: Vec<Value> = (0..self.columns.len())
                .map(|column| self.cell(row, column))
                .collect();
            out.extend_from_slice(Value::from(cells).to_string().as_bytes());
        }
        out.extend_from_slice(b"]}]");
        if is_cut {
            let error = json!({
                "code": "PartialError",
                "message": "There were some errors when processing your query.",
                "details": [{"code": "EngineError", "message": format!(
                    "Too large: only the first rows are here, at most {QUERY_ANSWER_ROWS_MAX} rows \
                     or {QUERY_ANSWER_BYTES_MAX} bytes. Summarize, project or take fewer."
                )}],
            });
            out.extend_from_slice(b",\"error\":");
            out.extend_from_slice(error.to_string().as_bytes());
        }
        out.push(b'}');
        out
    }
}
