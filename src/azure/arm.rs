//! A template as Resource Manager's JSON.
//!
//! Expressions are text in square brackets; a text that only looks like one is marked by a second
//! bracket. A resource is referred to by type and name, so the name's expression is written out
//! anew at each place, with that place's index in it.

use super::json;
use super::model::{Expr, How, Output, Param, ParamKind, Place, Resource, Sign, Template, Value};

/// The schema of templates for resource groups.
const SCHEMA: &str =
    "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#";

/// The template as JSON text, with a line feed behind it.
#[must_use]
pub fn print(template: &Template) -> String {
    let printer = Printer { template };
    let params = template.params.iter();
    let vars = template.vars.iter();
    let outputs = template.outputs.iter();
    let deployed = template
        .resources
        .iter()
        .filter(|resource| resource.how != How::Existing);
    let all = Value::object([
        ("$schema", Value::text(SCHEMA)),
        ("contentVersion", Value::text("1.0.0.0")),
        (
            "metadata",
            Value::object([("comments", Value::text(template.about.join("\n")))]),
        ),
        (
            "parameters",
            Value::Object(
                params
                    .map(|param| (param.name.to_owned(), printer.param(param)))
                    .collect(),
            ),
        ),
        (
            "variables",
            Value::Object(
                vars.map(|(name, expr)| ((*name).to_owned(), printer.bracketed(expr, "")))
                    .collect(),
            ),
        ),
        (
            "resources",
            Value::List(
                deployed
                    .map(|resource| printer.resource(resource))
                    .collect(),
            ),
        ),
        (
            "outputs",
            Value::Object(
                outputs
                    .map(|output| (output.name.to_owned(), printer.output(output)))
                    .collect(),
            ),
        ),
    ]);
    json::pretty(&all)
}

struct Printer<'t> {
    template: &'t Template,
}

impl Printer<'_> {
    fn param(&self, param: &Param) -> Value {
        let (kind, bounds) = match param.kind {
            ParamKind::Text { length: None } => ("string", None),
            ParamKind::Text {
                length: Some(length),
            } => ("string", Some(("minLength", "maxLength", length))),
            ParamKind::Whole { range } => ("int", Some(("minValue", "maxValue", range))),
            ParamKind::Bool => ("bool", None),
        };
        let mut out = Pairs::default();
        out.add("type", Value::text(kind));
        if let Some((least, greatest, (from, to))) = bounds {
            out.add(least, Value::Whole(from));
            out.add(greatest, Value::Whole(to));
        }
        if let Some(default) = &param.default {
            out.add("defaultValue", self.value(default, ""));
        }
        let about = Value::text(param.about);
        out.add("metadata", Value::object([("description", about)]));
        out.end()
    }

    fn resource(&self, resource: &Resource) -> Value {
        let mut out = Pairs::default();
        let mut index = "";
        match &resource.how {
            How::Once | How::Existing => {}
            How::If(condition) => out.add("condition", self.bracketed(condition, "")),
            How::Times(count) => {
                index = "copyIndex()";
                let name = Value::text(resource.symbol);
                let count = self.bracketed(count, "");
                out.add("copy", Value::object([("name", name), ("count", count)]));
            }
        }
        out.add("type", Value::text(resource.kind));
        out.add("apiVersion", Value::text(resource.api));
        out.add("name", self.bracketed(&resource.name, index));
        if let Some(place) = &resource.scope {
            out.add("scope", Value::Text(self.scope(place, index)));
        }
        for (name, value) in &resource.body {
            out.add(name, self.value(value, index));
        }
        let before = self.before(resource, index);
        if !before.is_empty() {
            let before = before.into_iter().map(Value::Text).collect();
            out.add("dependsOn", Value::List(before));
        }
        out.end()
    }

    /// The resources that must be deployed before this one, each once.
    fn before(&self, resource: &Resource, index: &str) -> Vec<String> {
        let mut places = Vec::new();
        places.extend(&resource.scope);
        resource.name.needs(&mut places);
        for (_, value) in &resource.body {
            value.needs(&mut places);
        }
        let mut ids: Vec<String> = Vec::new();
        for place in places {
            let is_deployed = self
                .template
                .resource(place.symbol)
                .is_some_and(|found| found.how != How::Existing);
            let id = format!("[{}]", self.id(place, index));
            if is_deployed && !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn output(&self, output: &Output) -> Value {
        match &output.times {
            Some(count) => {
                let count = self.bracketed(count, "");
                let input = self.value(&output.value, "copyIndex()");
                let copy = Value::object([("count", count), ("input", input)]);
                Value::object([("type", Value::text("array")), ("copy", copy)])
            }
            None => {
                let value = self.value(&output.value, "");
                Value::object([("type", Value::text("string")), ("value", value)])
            }
        }
    }

    /// The same value with its expressions as text.
    fn value(&self, value: &Value, index: &str) -> Value {
        match value {
            Value::Text(text) if text.starts_with('[') && text.ends_with(']') => {
                Value::Text(format!("[{text}"))
            }
            Value::Text(_) | Value::Whole(_) | Value::Bool(_) => value.clone(),
            Value::List(items) => {
                Value::List(items.iter().map(|item| self.value(item, index)).collect())
            }
            Value::Object(pairs) => Value::Object(
                pairs
                    .iter()
                    .map(|(name, value)| (name.clone(), self.value(value, index)))
                    .collect(),
            ),
            Value::Expr(expr) => self.bracketed(expr, index),
        }
    }

    fn bracketed(&self, expr: &Expr, index: &str) -> Value {
        match expr {
            Expr::Text(text) => Value::text(*text),
            Expr::Whole(whole) => Value::Whole(*whole),
            _ => Value::Text(format!("[{}]", self.expr(expr, index))),
        }
    }

    /// An expression; `index` is what stands for [`Expr::Index`].
    fn expr(&self, expr: &Expr, index: &str) -> String {
        let list = |parts: &[Expr]| {
            let parts: Vec<String> = parts.iter().map(|part| self.expr(part, index)).collect();
            parts.join(", ")
        };
        match expr {
            Expr::Text(text) => quoted(text),
            Expr::Whole(whole) => whole.to_string(),
            Expr::Null => "null()".to_owned(),
            Expr::Nothing => "createArray()".to_owned(),
            Expr::Param(name) => format!("parameters('{name}')"),
            Expr::Var(name) => format!("variables('{name}')"),
            Expr::Index => index.to_owned(),
            Expr::Call(function, parts) => format!("{function}({})", list(parts)),
            Expr::Member(inner, name) => format!("{}.{name}", self.expr(inner, index)),
            Expr::At(inner, at) => {
                format!("{}[{}]", self.expr(inner, index), self.expr(at, index))
            }
            Expr::Join(parts) => self.join(parts, index),
            Expr::If(parts) => format!("if({})", list(parts.as_slice())),
            Expr::Arithmetic(sign, sides) => {
                let function = match sign {
                    Sign::Plus => "add",
                    Sign::Times => "mul",
                    Sign::Over => "div",
                    Sign::Modulo => "mod",
                };
                format!("{function}({})", list(sides.as_slice()))
            }
            Expr::Id(place) => self.id(place, index),
            Expr::State(place) => {
                let api = self
                    .template
                    .resource(place.symbol)
                    .map_or("", |resource| resource.api);
                format!("reference({}, '{api}')", self.id(place, index))
            }
        }
    }

    /// `format('{0}-{1}', …)`, as Bicep's own compiler writes it.
    fn join(&self, parts: &[Expr], index: &str) -> String {
        let mut form = String::new();
        let mut values = String::new();
        let mut count = 0;
        for part in parts {
            match part {
                Expr::Text(text) => form.push_str(&text.replace('{', "{{").replace('}', "}}")),
                _ => {
                    form.push_str(&format!("{{{count}}}"));
                    count += 1;
                    values.push_str(", ");
                    values.push_str(&self.expr(part, index));
                }
            }
        }
        format!("format({}{values})", quoted(&form))
    }

    /// Type and name of the resource at a place.
    fn kind_and_name(&self, place: &Place, index: &str) -> (&'static str, String) {
        let Some(resource) = self.template.resource(place.symbol) else {
            return ("", String::new());
        };
        let index = place
            .index
            .as_ref()
            .map_or_else(String::new, |at| self.expr(at, index));
        (resource.kind, self.expr(&resource.name, &index))
    }

    fn id(&self, place: &Place, index: &str) -> String {
        let (kind, name) = self.kind_and_name(place, index);
        format!("resourceId('{kind}', {name})")
    }

    fn scope(&self, place: &Place, index: &str) -> String {
        let (kind, name) = self.kind_and_name(place, index);
        format!("[format('{kind}/{{0}}', {name})]")
    }
}

/// Names and values that come one after the other.
#[derive(Default)]
struct Pairs(Vec<(String, Value)>);

impl Pairs {
    fn add(&mut self, name: &str, value: Value) {
        self.0.push((name.to_owned(), value));
    }

    fn end(self) -> Value {
        Value::Object(self.0)
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
