//! A template as Bicep.
//!
//! Text of several lines is written as it stands, between three quotes: queries stay readable.

use std::fmt::Write as _;

use super::model::{Expr, How, Output, Param, ParamKind, Place, Resource, Sign, Template, Value};

/// The variable of every loop.
const INDEX: &str = "i";

/// The template as Bicep text.
#[must_use]
pub fn print(template: &Template) -> String {
    let mut out = String::new();
    for line in &template.about {
        // a String takes everything
        let _ = writeln!(out, "{}", format!("// {line}").trim_end());
    }
    out.push_str("\ntargetScope = 'resourceGroup'\n");
    for one in &template.params {
        param(one, &mut out);
    }
    if !template.vars.is_empty() {
        out.push('\n');
    }
    for (name, value) in &template.vars {
        let _ = writeln!(out, "var {name} = {}", expr(value));
    }
    for one in &template.resources {
        resource(one, &mut out);
    }
    for one in &template.outputs {
        output(one, &mut out);
    }
    out
}

fn param(param: &Param, out: &mut String) {
    let bounds = |least: &str, greatest: &str, (from, to): (i64, i64)| {
        format!("@{least}({from})\n@{greatest}({to})\n")
    };
    let (kind, bounds) = match param.kind {
        ParamKind::Text { length: None } => ("string", String::new()),
        ParamKind::Text {
            length: Some(length),
        } => ("string", bounds("minLength", "maxLength", length)),
        ParamKind::Whole { range } => ("int", bounds("minValue", "maxValue", range)),
        ParamKind::Bool => ("bool", String::new()),
    };
    let _ = write!(
        out,
        "\n@description({})\n{bounds}param {} {kind}",
        quoted(param.about),
        param.name
    );
    if let Some(default) = &param.default {
        out.push_str(" = ");
        value(default, 0, out);
    }
    out.push('\n');
}

fn resource(resource: &Resource, out: &mut String) {
    let _ = write!(
        out,
        "\n// {}\nresource {} '{}@{}' ",
        resource.about, resource.symbol, resource.kind, resource.api
    );
    let end = match &resource.how {
        How::Once => {
            out.push_str("= {\n");
            "}\n"
        }
        How::Existing => {
            out.push_str("existing = {\n");
            "}\n"
        }
        How::If(condition) => {
            let _ = writeln!(out, "= if ({}) {{", expr(condition));
            "}\n"
        }
        How::Times(count) => {
            let _ = writeln!(out, "= [for {INDEX} in range(0, {}): {{", expr(count));
            "}]\n"
        }
    };
    let _ = writeln!(out, "  name: {}", expr(&resource.name));
    if let Some(scope) = &resource.scope {
        let _ = writeln!(out, "  scope: {}", place(scope));
    }
    for (name, one) in &resource.body {
        pair(name, one, 1, out);
    }
    out.push_str(end);
}

fn output(output: &Output, out: &mut String) {
    match &output.times {
        Some(count) => {
            let _ = write!(
                out,
                "\noutput {} array = [for {INDEX} in range(0, {}): ",
                output.name,
                expr(count)
            );
            value(&output.value, 0, out);
            out.push_str("]\n");
        }
        None => {
            let _ = write!(out, "\noutput {} string = ", output.name);
            value(&output.value, 0, out);
            out.push('\n');
        }
    }
}

fn pair(name: &str, one: &Value, depth: usize, out: &mut String) {
    let _ = write!(out, "{:indent$}{}: ", "", key(name), indent = 2 * depth);
    value(one, depth, out);
    out.push('\n');
}

fn key(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| !c.is_ascii_digit());
    match is_plain {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// Whether an object fits on a line: a column of a stream, mostly.
fn is_short(pairs: &[(String, Value)]) -> bool {
    const CHARS_MAX: usize = 80;
    let chars = pairs.iter().map(|(name, one)| match one {
        Value::Text(text) if !text.contains('\n') => name.len() + text.len() + 6,
        Value::Whole(_) | Value::Bool(_) => name.len() + 8,
        _ => CHARS_MAX,
    });
    pairs.len() > 1 && chars.sum::<usize>() < CHARS_MAX
}

fn value(value_: &Value, depth: usize, out: &mut String) {
    let indent = 2 * depth;
    match value_ {
        Value::Text(text)
            if text.contains('\n') && !text.contains("'''") && !text.ends_with('\'') =>
        {
            // the line feed behind the opening quotes is not part of the text
            let _ = write!(out, "'''\n{text}'''");
        }
        Value::Text(text) => out.push_str(&quoted(text)),
        Value::Whole(whole) => {
            let _ = write!(out, "{whole}");
        }
        Value::Bool(truth) => {
            let _ = write!(out, "{truth}");
        }
        Value::List(items) if items.is_empty() => out.push_str("[]"),
        Value::List(items) => {
            out.push_str("[\n");
            for item in items {
                let _ = write!(out, "{:indent$}  ", "");
                value(item, depth + 1, out);
                out.push('\n');
            }
            let _ = write!(out, "{:indent$}]", "");
        }
        Value::Object(pairs) if pairs.is_empty() => out.push_str("{}"),
        Value::Object(pairs) if is_short(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(name, one)| {
                    let mut shown = format!("{}: ", key(name));
                    value(one, 0, &mut shown);
                    shown
                })
                .collect();
            let _ = write!(out, "{{ {} }}", pairs.join(", "));
        }
        Value::Object(pairs) => {
            out.push_str("{\n");
            for (name, one) in pairs {
                pair(name, one, depth + 1, out);
            }
            let _ = write!(out, "{:indent$}}}", "");
        }
        Value::Expr(one) => out.push_str(&expr(one)),
    }
}

fn expr(one: &Expr) -> String {
    match one {
        Expr::Text(text) => quoted(text),
        Expr::Whole(whole) => whole.to_string(),
        Expr::Null => "null".to_owned(),
        Expr::Nothing => "[]".to_owned(),
        Expr::Param(name) | Expr::Var(name) => (*name).to_owned(),
        Expr::Index => INDEX.to_owned(),
        Expr::Call(function, parts) => {
            let parts: Vec<String> = parts.iter().map(expr).collect();
            format!("{function}({})", parts.join(", "))
        }
        Expr::Member(inner, name) => format!("{}.{name}", expr(inner)),
        Expr::At(list, at) => format!("{}[{}]", expr(list), expr(at)),
        Expr::Join(parts) => {
            let parts = parts.iter().map(|part| match part {
                Expr::Text(text) => escaped(text),
                _ => format!("${{{}}}", expr(part)),
            });
            format!("'{}'", parts.collect::<String>())
        }
        Expr::If(parts) => {
            let [condition, then, other] = parts.as_ref();
            format!("{} ? {} : {}", expr(condition), expr(then), expr(other))
        }
        Expr::Arithmetic(sign, sides) => {
            let sign = match sign {
                Sign::Plus => "+",
                Sign::Times => "*",
                Sign::Over => "/",
                Sign::Modulo => "%",
            };
            let [left, right] = sides.as_ref();
            format!("{} {sign} {}", operand(left), operand(right))
        }
        Expr::Id(at) => format!("{}.id", place(at)),
        Expr::State(at) => format!("{}.properties", place(at)),
    }
}

/// In brackets if it would bind otherwise.
fn operand(one: &Expr) -> String {
    match one {
        Expr::If(_) | Expr::Arithmetic(..) => format!("({})", expr(one)),
        _ => expr(one),
    }
}

fn place(at: &Place) -> String {
    match &at.index {
        Some(index) => format!("{}[{}]", at.symbol, expr(index)),
        None => at.symbol.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", escaped(text))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // `${` would begin a value
            '$' => out.push_str("\\$"),
            _ => out.push(letter),
        }
    }
    out
}
