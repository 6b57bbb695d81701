//! What `summarize` computes: the function's name and arguments to one column or several.

use super::QueryError;
use super::bind::{Head, Scope, shown};
use super::expression::{Expr, Type};
use super::group::{Aggregate, Of};
use super::syntax::{self, ExprKind};

const ALLOWED: &str = "count(), countif(), dcount(), sum(), avg(), min(), max(), take_any(), \
                       percentile(), arg_min() or arg_max()";

type Made = Vec<(Aggregate, Head)>;

impl Scope {
    /// The columns that an aggregate is.
    pub(super) fn aggregate(&self, expr: &syntax::Expr) -> Result<Made, QueryError> {
        let ExprKind::Call(function, arguments) = &expr.kind else {
            return Err(QueryError::new(
                expr.at,
                format!("summarize computes {ALLOWED}"),
            ));
        };
        let takes = |what: &str| {
            let message = format!("`{}` takes {what}", shown(function));
            QueryError::new(expr.at, message)
        };
        match (function.as_str(), arguments.as_slice()) {
            ("count", []) => Ok(vec![(Aggregate::Count, head("count_", Type::Long))]),
            ("arg_min" | "arg_max", [key, values @ ..]) if !values.is_empty() => {
                self.arg(function == "arg_max", key, values)
            }
            ("arg_min" | "arg_max", _) => Err(takes("a key, and values of its row")),
            ("percentile", [value, percent]) => self.percentile(value, percent),
            ("percentile", _) => Err(takes("a number and a percentage")),
            (_, [argument]) => self.of_one(expr.at, function, argument),
            _ => Err(takes("one argument")),
        }
    }

    fn arg(
        &self,
        greatest: bool,
        key: &syntax::Expr,
        values: &[syntax::Expr],
    ) -> Result<Made, QueryError> {
        let function = if greatest { "max" } else { "min" };
        let named = |expr: &syntax::Expr, kind, unnamed: String| {
            head(&usual_name(expr).unwrap_or(unnamed), kind)
        };
        let (by, kind) = self.bind(key)?;
        let shape = kind.shape();
        let own = match greatest {
            true => Aggregate::Greatest(by.clone(), shape),
            false => Aggregate::Least(by.clone(), shape),
        };
        let mut made = vec![(own, named(key, kind, format!("{function}_")))];
        for (place, value) in values.iter().enumerate() {
            let (bound, kind) = self.bind(value)?;
            let of = Of {
                key: by.clone(),
                greatest,
                value: bound,
                shape: kind.shape(),
            };
            let key_name = usual_name(key).unwrap_or_default();
            let unnamed = format!("{function}_{key_name}_arg{}", place + 1);
            made.push((Aggregate::Of(Box::new(of)), named(value, kind, unnamed)));
        }
        Ok(made)
    }

    fn percentile(&self, value: &syntax::Expr, percent: &syntax::Expr) -> Result<Made, QueryError> {
        let (bound, kind) = self.bind(value)?;
        let percent_bound = self.bind(percent)?.0;
        let literal = match &percent_bound {
            Expr::Literal(scalar) => scalar.as_real(),
            _ => None,
        };
        let Some(wanted) = literal.filter(|wanted| (0.0..=100.0).contains(wanted)) else {
            let message = "a percentage from 0 to 100 was expected";
            return Err(QueryError::new(percent.at, message));
        };
        if !kind.is_number() && !matches!(kind, Type::Span | Type::DateTime) {
            let message = format!("`percentile` orders numbers, this is {}", kind.name());
            return Err(QueryError::new(value.at, message));
        }
        let name = format!(
            "percentile_{}_{wanted}",
            usual_name(value).unwrap_or_default()
        );
        let aggregate = Aggregate::Percentile(bound, wanted, kind.shape());
        Ok(vec![(aggregate, head(&name, kind))])
    }

    fn of_one(
        &self,
        at: usize,
        function: &str,
        argument: &syntax::Expr,
    ) -> Result<Made, QueryError> {
        if function == "countif" {
            let condition = self.truth(argument)?;
            let aggregate = Aggregate::CountIf(condition);
            return Ok(vec![(aggregate, head("countif_", Type::Long))]);
        }
        let (inner, kind) = self.bind(argument)?;
        let argument_name = usual_name(argument).unwrap_or_default();
        let name = format!("{function}_{argument_name}");
        let needs_number = || {
            let message = format!("`{function}` adds numbers, this is {}", kind.name());
            QueryError::new(argument.at, message)
        };
        let shape = kind.shape();
        let (aggregate, head) = match function {
            "dcount" => (Aggregate::CountDistinct(inner), head(&name, Type::Long)),
            "min" => (Aggregate::Least(inner, shape), head(&name, kind)),
            "max" => (Aggregate::Greatest(inner, shape), head(&name, kind)),
            "take_any" => (Aggregate::Any(inner, shape), head(&argument_name, kind)),
            "sum" => {
                let sum = match kind {
                    Type::Int | Type::Long => Type::Long,
                    Type::Real | Type::Span => kind,
                    _ => return Err(needs_number()),
                };
                (Aggregate::Sum(inner, sum.shape()), head(&name, sum))
            }
            "avg" if kind.is_number() => (Aggregate::Average(inner), head(&name, Type::Real)),
            "avg" => return Err(needs_number()),
            _ => {
                let message = format!("there is no `{}` here: {ALLOWED}", shown(function));
                return Err(QueryError::new(at, message));
            }
        };
        Ok(vec![(aggregate, head)])
    }
}

fn head(name: &str, kind: Type) -> Head {
    Head {
        name: name.to_owned(),
        kind,
    }
}

/// The name that Kusto gives a column without one: that of the column looked at.
pub(super) fn usual_name(expr: &syntax::Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Column(name) => Some(name.clone()),
        ExprKind::Call(function, arguments) if function == "bin" => {
            arguments.first().and_then(usual_name)
        }
        _ => None,
    }
}
