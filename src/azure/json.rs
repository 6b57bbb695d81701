//! A tree of values as JSON text, names in the order in which they stand in it.

use std::fmt::Write as _;

use super::model::Value;

/// The text, indented by two, with a line feed behind it. What is known only at deployment has no
/// place in JSON and is left out: [`super::arm`] makes text of it first.
#[must_use]
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let indent = 2 * depth;
    match value {
        Value::Text(text) => out.push_str(&quoted(text)),
        Value::Whole(whole) => {
            // a String takes everything
            let _ = write!(out, "{whole}");
        }
        Value::Bool(truth) => {
            let _ = write!(out, "{truth}");
        }
        Value::List(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(pairs) if pairs.is_empty() => out.push_str("{}"),
        Value::List(items) => {
            let mut before = "[\n";
            for item in items {
                let _ = write!(out, "{before}{:indent$}  ", "");
                write(item, depth + 1, out);
                before = ",\n";
            }
            let _ = write!(out, "\n{:indent$}]", "");
        }
        Value::Object(pairs) => {
            let mut before = "{\n";
            for (name, one) in pairs {
                let _ = write!(out, "{before}{:indent$}  {}: ", "", quoted(name));
                write(one, depth + 1, out);
                before = ",\n";
            }
            let _ = write!(out, "\n{:indent$}}}", "");
        }
        Value::Expr(_) => out.push_str("null"),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
