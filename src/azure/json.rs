//! A tree of values as JSON text, names in the order in which they stand in it.

use super::model::Value;
use serde::{Serialize, Serializer};

/// The text, indented by two, with a line feed behind it. What is known only at deployment has no
/// place in JSON and is left out: [`super::arm`] makes text of it first.
#[must_use]
pub fn pretty(value: &Value) -> String {
    // keys are text, and a String takes everything: nothing can fail
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Whole(whole) => serializer.serialize_i64(*whole),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::List(items) => serializer.collect_seq(items),
            Value::Object(pairs) => {
                serializer.collect_map(pairs.iter().map(|(name, one)| (name, one)))
            }
            Value::Expr(_) => serializer.serialize_unit(),
        }
    }
}
