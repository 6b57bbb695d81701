//! A query to steps: names become places of columns, types are checked, values that do not depend
//! on a row are computed.

use super::super::table::{Schema, TABLE};
use super::super::values::Shape;
use super::QueryError;
use super::chunk::Chunk;
use super::expression::{Comparison, Expr, Function, Scalar, Sign, TextTest, Type};
use super::group::Aggregate;
use super::parse::{self, ExprKind, Name, Named, OrderKey, Query, Stage};
use super::words::{Test, fold};
use crate::clock::Wall;
use crate::emulator::stamp::parse_time;
use crate::limits::QUERY_COLUMNS_MAX;
use crate::map::columns::Kind;

/// A column that a step hands on.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Type,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Keeps the rows for which it is true.
    Where(Expr),
    /// Makes these columns of each row.
    Columns(Vec<(Expr, Shape)>),
    /// Keeps so many rows, whichever come first.
    Take(usize),
    /// Keeps so many rows in this order.
    Top {
        /// How many.
        count: usize,
        /// The order.
        keys: Vec<Key>,
        /// Shapes of the columns, which are handed on as they are.
        shapes: Vec<Shape>,
    },
    /// Makes one row of each group.
    Group {
        /// What makes a group.
        keys: Vec<Expr>,
        /// What is computed for it.
        aggregates: Vec<Aggregate>,
        /// Shapes of keys and aggregates.
        shapes: Vec<Shape>,
    },
}

/// One key of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// What is compared.
    pub expr: Expr,
    /// Smallest first.
    pub ascending: bool,
    /// Absent values first.
    pub nulls_first: bool,
}

/// A query that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Its steps.
    pub steps: Vec<Step>,
    /// Columns of the answer.
    pub heads: Vec<Head>,
}

/// Plans a query.
///
/// # Errors
/// A name that is not there, a type that does not fit, and where.
pub fn plan(query: &Query, schema: &Schema, now: Wall) -> Result<Plan, QueryError> {
    if query.table.text != TABLE {
        let message = format!(
            "there is no table `{}` here, only {TABLE}",
            shown(&query.table.text)
        );
        return Err(QueryError::new(query.table.at, message));
    }
    let heads = schema.columns().iter().map(|column| Head {
        name: column.name.to_owned(),
        kind: match column.kind {
            Kind::Text => Type::Text,
            Kind::Int => Type::Int,
            Kind::Long => Type::Long,
            Kind::Real => Type::Real,
            Kind::DateTime => Type::DateTime,
        },
    });
    let mut planner = Planner {
        heads: heads.collect(),
        now,
    };
    let mut steps = Vec::new();
    for stage in &query.stages {
        let step = planner.stage(stage)?;
        match (steps.last_mut(), step) {
            // in order, the first so many: one step that never holds more than those
            (Some(Step::Top { count, .. }), Step::Take(first)) => *count = (*count).min(first),
            (_, step) => steps.push(step),
        }
    }
    Ok(Plan {
        steps,
        heads: planner.heads,
    })
}

/// A name out of the query, fit for a message.
fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

struct Planner {
    /// What the step before hands on.
    heads: Vec<Head>,
    now: Wall,
}

type Typed = (Expr, Type);

impl Planner {
    fn stage(&mut self, stage: &Stage) -> Result<Step, QueryError> {
        match stage {
            Stage::Where(expr) => Ok(Step::Where(self.truth(expr)?)),
            Stage::Take(count) => Ok(Step::Take(*count)),
            Stage::Order(keys) => self.top(usize::MAX, keys),
            Stage::Top(count, keys) => self.top(*count, keys),
            Stage::Project(all) => {
                let columns = self.named_all(all)?;
                self.columns(columns)
            }
            Stage::ProjectAway(names) => self.project_away(names),
            Stage::Extend(all) => self.extend(all),
            Stage::Distinct(all) if all.is_empty() => {
                let keys = (0..self.heads.len()).map(Expr::Column).collect();
                Ok(self.group(keys, Vec::new()))
            }
            Stage::Distinct(all) => self.summarize(&[], all),
            Stage::Count => {
                self.heads = vec![Head {
                    name: "Count".to_owned(),
                    kind: Type::Long,
                }];
                Ok(self.group(Vec::new(), vec![Aggregate::Count]))
            }
            Stage::Summarize { aggregates, by } => self.summarize(aggregates, by),
        }
    }

    fn shapes(&self) -> Vec<Shape> {
        self.heads.iter().map(|head| head.kind.shape()).collect()
    }

    /// A step to groups whose columns are the present heads.
    fn group(&self, keys: Vec<Expr>, aggregates: Vec<Aggregate>) -> Step {
        Step::Group {
            keys,
            aggregates,
            shapes: self.shapes(),
        }
    }

    fn top(&self, count: usize, keys: &[OrderKey]) -> Result<Step, QueryError> {
        let keys = keys
            .iter()
            .map(|key| {
                Ok(Key {
                    expr: self.bind(&key.expr)?.0,
                    ascending: key.ascending,
                    nulls_first: key.nulls_first,
                })
            })
            .collect::<Result<_, QueryError>>()?;
        Ok(Step::Top {
            count,
            keys,
            shapes: self.shapes(),
        })
    }

    /// Makes these the columns that are handed on.
    fn columns(&mut self, columns: Vec<(usize, Head, Expr)>) -> Result<Step, QueryError> {
        let mut heads: Vec<Head> = Vec::with_capacity(columns.len());
        let mut exprs = Vec::with_capacity(columns.len());
        for (at, head, expr) in columns {
            check_new(&heads, &head, at)?;
            exprs.push((expr, head.kind.shape()));
            heads.push(head);
        }
        self.heads = heads;
        Ok(Step::Columns(exprs))
    }

    fn named_all(&self, all: &[Named]) -> Result<Vec<(usize, Head, Expr)>, QueryError> {
        all.iter()
            .enumerate()
            .map(|(index, named)| {
                let (expr, kind) = self.bind(&named.expr)?;
                let name = match &named.name {
                    Some(name) => name.text.clone(),
                    None => {
                        usual_name(&named.expr).unwrap_or_else(|| format!("Column{}", index + 1))
                    }
                };
                Ok((named.expr.at, Head { name, kind }, expr))
            })
            .collect()
    }

    fn project_away(&mut self, names: &[Name]) -> Result<Step, QueryError> {
        let mut gone = Vec::with_capacity(names.len());
        for name in names {
            gone.push(self.find(&name.text, name.at)?);
        }
        let kept = self.heads.iter().cloned().enumerate();
        let columns = kept
            .filter(|(index, _)| !gone.contains(index))
            .map(|(index, head)| (0, head, Expr::Column(index)))
            .collect();
        self.columns(columns)
    }

    fn extend(&mut self, all: &[Named]) -> Result<Step, QueryError> {
        let present = self.heads.iter().cloned().enumerate();
        let mut columns: Vec<(usize, Head, Expr)> = present
            .map(|(index, head)| (0, head, Expr::Column(index)))
            .collect();
        for new in self.named_all(all)? {
            match columns
                .iter_mut()
                .find(|(_, head, _)| head.name == new.1.name)
            {
                Some(old) => *old = new,
                None => columns.push(new),
            }
        }
        self.columns(columns)
    }

    fn summarize(&mut self, aggregates: &[Named], by: &[Named]) -> Result<Step, QueryError> {
        let mut heads = Vec::new();
        let mut keys = Vec::new();
        for (at, head, expr) in self.named_all(by)? {
            check_new(&heads, &head, at)?;
            heads.push(head);
            keys.push(expr);
        }
        let mut computed = Vec::new();
        for named in aggregates {
            let (aggregate, mut head) = self.aggregate(&named.expr)?;
            if let Some(name) = &named.name {
                head.name.clone_from(&name.text);
            }
            check_new(&heads, &head, named.expr.at)?;
            heads.push(head);
            computed.push(aggregate);
        }
        self.heads = heads;
        Ok(self.group(keys, computed))
    }

    fn aggregate(&self, expr: &parse::Expr) -> Result<(Aggregate, Head), QueryError> {
        let refuse = |at, message: String| Err(QueryError::new(at, message));
        let allowed = "count(), countif(), dcount(), sum(), avg(), min() or max()";
        let ExprKind::Call(function, arguments) = &expr.kind else {
            return refuse(expr.at, format!("summarize computes {allowed}"));
        };
        let head = |name: String, kind| Head { name, kind };
        if function == "count" && arguments.is_empty() {
            return Ok((Aggregate::Count, head("count_".to_owned(), Type::Long)));
        }
        let [argument] = arguments.as_slice() else {
            return refuse(expr.at, format!("`{}` takes one argument", shown(function)));
        };
        if function == "countif" {
            let condition = self.truth(argument)?;
            return Ok((
                Aggregate::CountIf(condition),
                head("countif_".to_owned(), Type::Long),
            ));
        }
        let (inner, kind) = self.bind(argument)?;
        let name = format!("{function}_{}", usual_name(argument).unwrap_or_default());
        let needs_number = || {
            let message = format!("`{function}` adds numbers, this is {}", kind.name());
            QueryError::new(argument.at, message)
        };
        match function.as_str() {
            "dcount" => Ok((Aggregate::CountDistinct(inner), head(name, Type::Long))),
            "min" => Ok((Aggregate::Least(inner, kind.shape()), head(name, kind))),
            "max" => Ok((Aggregate::Greatest(inner, kind.shape()), head(name, kind))),
            "sum" => {
                let sum = match kind {
                    Type::Int | Type::Long => Type::Long,
                    Type::Real | Type::Span => kind,
                    _ => return Err(needs_number()),
                };
                Ok((Aggregate::Sum(inner, sum.shape()), head(name, sum)))
            }
            "avg" if kind.is_number() => Ok((Aggregate::Average(inner), head(name, Type::Real))),
            "avg" => Err(needs_number()),
            _ => refuse(
                expr.at,
                format!("there is no `{}` here: {allowed}", shown(function)),
            ),
        }
    }

    fn find(&self, name: &str, at: usize) -> Result<usize, QueryError> {
        if let Some(index) = self.heads.iter().position(|head| head.name == name) {
            return Ok(index);
        }
        let near = self
            .heads
            .iter()
            .find(|head| head.name.eq_ignore_ascii_case(name));
        let hint = near.map_or_else(String::new, |head| {
            format!(": did you mean `{}`?", head.name)
        });
        Err(QueryError::new(
            at,
            format!("there is no column `{}` here{hint}", shown(name)),
        ))
    }

    fn truth(&self, expr: &parse::Expr) -> Result<Expr, QueryError> {
        match self.bind(expr)? {
            (bound, Type::Bool) => Ok(bound),
            (_, kind) => {
                let message = format!("a condition was expected, this is {}", kind.name());
                Err(QueryError::new(expr.at, message))
            }
        }
    }

    fn bind(&self, expr: &parse::Expr) -> Result<Typed, QueryError> {
        let whole = |whole, kind| (Expr::Literal(Scalar::Whole(whole)), kind);
        match &expr.kind {
            ExprKind::Column(name) => {
                let index = self.find(name, expr.at)?;
                let kind = self.heads.get(index).map_or(Type::Text, |head| head.kind);
                Ok((Expr::Column(index), kind))
            }
            ExprKind::Text(text) => {
                Ok((Expr::Literal(Scalar::Text(text.clone().into())), Type::Text))
            }
            ExprKind::Whole(number) => Ok(whole(*number, Type::Long)),
            ExprKind::Real(real) => Ok((Expr::Literal(Scalar::Real(*real)), Type::Real)),
            ExprKind::Span(span) => Ok(whole(*span, Type::Span)),
            ExprKind::Bool(truth) => Ok(whole(i64::from(*truth), Type::Bool)),
            ExprKind::DateTime(text) if text == "null" => {
                Ok((Expr::Literal(Scalar::Null), Type::DateTime))
            }
            ExprKind::DateTime(text) => match parse_time(text) {
                Some(ns) => Ok(whole(ns, Type::DateTime)),
                None => {
                    let message =
                        format!("`{}` is no time: write 2024-05-01T12:00:00Z", shown(text));
                    Err(QueryError::new(expr.at, message))
                }
            },
            ExprKind::And(parts) => Ok((Expr::And(self.truths(parts)?), Type::Bool)),
            ExprKind::Or(parts) => Ok((Expr::Or(self.truths(parts)?), Type::Bool)),
            ExprKind::Compare(operator, left, right) => {
                Ok((self.compare(operator, left, right)?, Type::Bool))
            }
            ExprKind::In(operator, value, list) => {
                Ok((self.one_of(operator, value, list)?, Type::Bool))
            }
            ExprKind::Between(negated, value, least, greatest) => {
                let inside = Expr::And(vec![
                    self.compare(">=", value, least)?,
                    self.compare("<=", value, greatest)?,
                ]);
                let bound = if *negated {
                    Expr::Call(Function::Not, Box::new(inside))
                } else {
                    inside
                };
                Ok((bound, Type::Bool))
            }
            ExprKind::Arithmetic(sign, left, right) => self.arithmetic(expr.at, sign, left, right),
            ExprKind::Minus(inner) => {
                let (inner, kind) = self.bind(inner)?;
                if !kind.is_number() && kind != Type::Span {
                    let message = format!("`-` needs a number, this is {}", kind.name());
                    return Err(QueryError::new(expr.at, message));
                }
                let zero = Box::new(Expr::Literal(Scalar::Whole(0)));
                Ok((
                    settled(Expr::Arithmetic(Sign::Minus, zero, Box::new(inner))),
                    kind,
                ))
            }
            ExprKind::Call(function, arguments) => self.call(expr.at, function, arguments),
        }
    }

    fn truths(&self, parts: &[parse::Expr]) -> Result<Vec<Expr>, QueryError> {
        parts.iter().map(|part| self.truth(part)).collect()
    }

    fn compare(
        &self,
        operator: &str,
        left: &parse::Expr,
        right: &parse::Expr,
    ) -> Result<Expr, QueryError> {
        let (left_bound, left_kind) = self.bind(left)?;
        let (right_bound, right_kind) = self.bind(right)?;
        if let Some((test, folded, negated)) = text_test(operator, left_kind) {
            for (side, kind) in [(left, left_kind), (right, right_kind)] {
                if kind != Type::Text {
                    let message = format!(
                        "`{operator}` compares strings, this is {}{}",
                        kind.name(),
                        hint(kind)
                    );
                    return Err(QueryError::new(side.at, message));
                }
            }
            return Ok(Expr::Text(TextTest {
                test,
                folded,
                negated,
                all: false,
                value: Box::new(left_bound),
                needles: vec![folded_literal(right_bound, folded)],
            }));
        }
        let comparison = match operator {
            "==" => Comparison::Equal,
            "!=" => Comparison::Unequal,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            _ => Comparison::GreaterOrEqual,
        };
        let comparable = left_kind.is_number() && right_kind.is_number()
            || left_kind == right_kind && matches!(left_kind, Type::DateTime | Type::Span)
            || left_kind == right_kind
                && left_kind == Type::Bool
                && matches!(comparison, Comparison::Equal | Comparison::Unequal);
        if !comparable {
            let message = format!(
                "`{operator}` cannot compare {} with {}{}",
                left_kind.name(),
                right_kind.name(),
                hint(left_kind)
            );
            return Err(QueryError::new(right.at, message));
        }
        Ok(Expr::Compare(
            comparison,
            Box::new(left_bound),
            Box::new(right_bound),
        ))
    }

    fn one_of(
        &self,
        operator: &str,
        value: &parse::Expr,
        list: &[parse::Expr],
    ) -> Result<Expr, QueryError> {
        let (bound, kind) = self.bind(value)?;
        let mut scalars = Vec::with_capacity(list.len());
        for one in list {
            let (literal, one_kind) = self.bind(one)?;
            let fits = one_kind == kind || one_kind.is_number() && kind.is_number();
            let Expr::Literal(scalar) = literal else {
                return Err(QueryError::new(
                    one.at,
                    format!("`{operator}` takes a list of values"),
                ));
            };
            if !fits {
                let message = format!(
                    "a {} in a list for a {}{}",
                    one_kind.name(),
                    kind.name(),
                    hint(kind)
                );
                return Err(QueryError::new(one.at, message));
            }
            scalars.push(scalar);
        }
        let negated = operator.starts_with('!');
        let (test, folded, all) = match operator.strip_prefix('!').unwrap_or(operator) {
            "has_any" => (Test::Has, true, false),
            "has_all" => (Test::Has, true, true),
            "in~" => (Test::Equals, true, false),
            _ => (Test::Equals, false, false),
        };
        if kind != Type::Text && test == Test::Equals && !folded {
            return Ok(Expr::OneOf(negated, Box::new(bound), scalars));
        }
        if kind != Type::Text {
            let message = format!("`{operator}` compares strings, this is {}", kind.name());
            return Err(QueryError::new(value.at, message));
        }
        let needles = scalars.into_iter().map(Expr::Literal);
        Ok(Expr::Text(TextTest {
            test,
            folded,
            negated,
            all,
            value: Box::new(bound),
            needles: needles
                .map(|needle| folded_literal(needle, folded))
                .collect(),
        }))
    }

    fn arithmetic(
        &self,
        at: usize,
        sign: &str,
        left: &parse::Expr,
        right: &parse::Expr,
    ) -> Result<Typed, QueryError> {
        let (left, left_kind) = self.bind(left)?;
        let (right, right_kind) = self.bind(right)?;
        let sign = match sign {
            "+" => Sign::Plus,
            "-" => Sign::Minus,
            "*" => Sign::Times,
            "/" => Sign::Divide,
            _ => Sign::Modulo,
        };
        let whole = |kind| matches!(kind, Type::Int | Type::Long);
        let kind = match (left_kind, sign, right_kind) {
            (one, _, other) if whole(one) && whole(other) => Type::Long,
            (one, _, other) if one.is_number() && other.is_number() => Type::Real,
            (Type::DateTime, Sign::Plus | Sign::Minus, Type::Span)
            | (Type::Span, Sign::Plus, Type::DateTime) => Type::DateTime,
            (Type::DateTime, Sign::Minus, Type::DateTime)
            | (Type::Span, Sign::Plus | Sign::Minus, Type::Span) => Type::Span,
            (Type::Span, Sign::Times | Sign::Divide, number) if whole(number) => Type::Span,
            (number, Sign::Times, Type::Span) if whole(number) => Type::Span,
            (Type::Span, Sign::Divide, Type::Span) => Type::Long,
            _ => {
                let message = format!(
                    "this arithmetic is not there for {} and {}",
                    left_kind.name(),
                    right_kind.name()
                );
                return Err(QueryError::new(at, message));
            }
        };
        Ok((
            settled(Expr::Arithmetic(sign, Box::new(left), Box::new(right))),
            kind,
        ))
    }

    fn call(&self, at: usize, name: &str, arguments: &[parse::Expr]) -> Result<Typed, QueryError> {
        let now = Expr::Literal(Scalar::Whole(self.now.0));
        let bound: Vec<Typed> = arguments
            .iter()
            .map(|one| self.bind(one))
            .collect::<Result<_, _>>()?;
        let kinds: Vec<Type> = bound.iter().map(|(_, kind)| *kind).collect();
        let mut exprs = bound.into_iter().map(|(expr, _)| Box::new(expr));
        let first = exprs.next();
        let second = exprs.next();
        let (function, kind) = match (name, kinds.as_slice()) {
            ("now", []) => return Ok((now, Type::DateTime)),
            ("ago", [Type::Span]) => {
                let Some(span) = first else {
                    return Err(wrong_call(at, name));
                };
                let then = Expr::Arithmetic(Sign::Minus, Box::new(now), span);
                return Ok((settled(then), Type::DateTime));
            }
            ("bin" | "floor", [kind, step])
                if kind.is_number() && step.is_number()
                    || matches!(kind, Type::DateTime | Type::Span) && *step == Type::Span =>
            {
                let (Some(value), Some(step)) = (first, second) else {
                    return Err(wrong_call(at, name));
                };
                let real = kinds.contains(&Type::Real);
                let kind = if real { Type::Real } else { *kind };
                return Ok((Expr::Bin(value, step), kind));
            }
            ("isempty" | "isnull", [_]) => (Function::IsEmpty(false), Type::Bool),
            ("isnotempty" | "notempty" | "isnotnull" | "notnull", [_]) => {
                (Function::IsEmpty(true), Type::Bool)
            }
            ("not", [Type::Bool]) => (Function::Not, Type::Bool),
            ("tolower", [Type::Text]) => (Function::ToLower, Type::Text),
            ("toupper", [Type::Text]) => (Function::ToUpper, Type::Text),
            ("strlen", [Type::Text]) => (Function::Length, Type::Long),
            ("tostring", [kind]) => (Function::ToText(*kind), Type::Text),
            ("tolong" | "toint", [kind]) if kind.is_number() || *kind == Type::Text => {
                (Function::ToLong, Type::Long)
            }
            ("toreal" | "todouble", [kind]) if kind.is_number() || *kind == Type::Text => {
                (Function::ToReal, Type::Real)
            }
            _ => return Err(wrong_call(at, name)),
        };
        let inner = first.ok_or_else(|| wrong_call(at, name))?;
        Ok((settled(Expr::Call(function, inner)), kind))
    }
}

fn wrong_call(at: usize, name: &str) -> QueryError {
    let message = format!(
        "there is no `{}` here that takes this: ago(timespan), now(), bin(value, step), \
         isempty(value), isnotempty(value), not(condition), tolower(string), toupper(string), \
         strlen(string), tostring(value), tolong(value), toreal(value)",
        shown(name)
    );
    QueryError::new(at, message)
}

fn check_new(heads: &[Head], new: &Head, at: usize) -> Result<(), QueryError> {
    if heads.len() >= QUERY_COLUMNS_MAX {
        return Err(QueryError::new(
            at,
            format!("more than {QUERY_COLUMNS_MAX} columns"),
        ));
    }
    if heads.iter().any(|head| head.name == new.name) {
        let message = format!(
            "two columns are named `{}`: give one another name",
            shown(&new.name)
        );
        return Err(QueryError::new(at, message));
    }
    Ok(())
}

/// The name that Kusto gives a column without one: that of the column looked at.
fn usual_name(expr: &parse::Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Column(name) => Some(name.clone()),
        ExprKind::Call(function, arguments) if function == "bin" => {
            arguments.first().and_then(usual_name)
        }
        _ => None,
    }
}

/// Computed now if it does not depend on a row.
fn settled(expr: Expr) -> Expr {
    let is_literal = |part: &Expr| matches!(part, Expr::Literal(_));
    let settles = match &expr {
        Expr::Arithmetic(_, left, right) => is_literal(left) && is_literal(right),
        Expr::Call(_, inner) => is_literal(inner),
        _ => false,
    };
    if settles {
        return Expr::Literal(expr.value(&Chunk::default(), 0).into_owned());
    }
    expr
}

fn folded_literal(needle: Expr, folded: bool) -> Expr {
    match needle {
        Expr::Literal(Scalar::Text(text)) if folded => {
            Expr::Literal(Scalar::Text(fold(&text).into_owned().into()))
        }
        needle => needle,
    }
}

/// The test that an operator on strings stands for: which, whether case does not count, whether it
/// is turned round.
fn text_test(operator: &str, left: Type) -> Option<(Test, bool, bool)> {
    match operator {
        "==" if left == Type::Text => return Some((Test::Equals, false, false)),
        "!=" if left == Type::Text => return Some((Test::Equals, false, true)),
        "=~" => return Some((Test::Equals, true, false)),
        "!~" => return Some((Test::Equals, true, true)),
        _ => {}
    }
    let (bare, negated) = match operator.strip_prefix('!') {
        Some(bare) => (bare, true),
        None => (operator, false),
    };
    let (bare, folded) = match bare.strip_suffix("_cs") {
        Some(bare) => (bare, false),
        None => (bare, true),
    };
    let test = match bare {
        "has" => Test::Has,
        "contains" => Test::Contains,
        "startswith" => Test::StartsWith,
        "endswith" => Test::EndsWith,
        _ => return None,
    };
    Some((test, folded, negated))
}

/// What to write for a value of this type.
fn hint(kind: Type) -> &'static str {
    match kind {
        Type::Int | Type::Long | Type::Real => ": write the number without quotes",
        Type::DateTime => ": write datetime(2024-05-01T12:00:00Z) or ago(1h)",
        Type::Span => ": write 5m",
        Type::Text => ": write the text in quotes; strings have no `<` and `>`",
        Type::Bool => "",
    }
}
