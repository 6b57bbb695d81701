//! Expressions: names become places of columns, types are checked, values that do not depend on a
//! row are computed.

use super::QueryError;
use super::chunk::Chunk;
use super::expression::{Comparison, Expr, Function, Scalar, Sign, TextTest, Type};
use super::syntax::{self, ExprKind};
use super::words::{Test, fold};
use crate::clock::Wall;
use crate::emulator::stamp::parse_time;

/// A column that a step hands on.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Type,
}

/// The column of the time of receipt, under a name that none can have; `ingestion_time()` is it.
pub(super) const RECEIVED: &str = "ingestion_time()";

/// What an expression may name.
pub(super) struct Scope {
    /// The columns.
    pub(super) heads: Vec<Head>,
    /// For `now()` and `ago()`.
    pub(super) now: Wall,
}

type Typed = (Expr, Type);

impl Scope {
    pub(super) fn find(&self, name: &str, at: usize) -> Result<usize, QueryError> {
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

    pub(super) fn truth(&self, expr: &syntax::Expr) -> Result<Expr, QueryError> {
        match self.bind(expr)? {
            (bound, Type::Bool) => Ok(bound),
            (_, kind) => {
                let message = format!("a condition was expected, this is {}", kind.name());
                Err(QueryError::new(expr.at, message))
            }
        }
    }

    pub(super) fn bind(&self, expr: &syntax::Expr) -> Result<Typed, QueryError> {
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
                let (bound, kind) = self.bind(value)?;
                let mut ends = Vec::with_capacity(2);
                for end in [least, greatest] {
                    let (end_bound, end_kind) = self.bind(end)?;
                    check_order("between", Comparison::LessOrEqual, kind, (end_kind, end.at))?;
                    ends.push(end_bound);
                }
                Ok((Expr::Between(*negated, Box::new(bound), ends), Type::Bool))
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

    fn truths(&self, parts: &[syntax::Expr]) -> Result<Vec<Expr>, QueryError> {
        parts.iter().map(|part| self.truth(part)).collect()
    }

    fn compare(
        &self,
        operator: &str,
        left: &syntax::Expr,
        right: &syntax::Expr,
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
        check_order(operator, comparison, left_kind, (right_kind, right.at))?;
        Ok(Expr::Compare(
            comparison,
            Box::new(left_bound),
            Box::new(right_bound),
        ))
    }

    fn one_of(
        &self,
        operator: &str,
        value: &syntax::Expr,
        list: &[syntax::Expr],
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
        left: &syntax::Expr,
        right: &syntax::Expr,
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
            (Type::Span, Sign::Divide, Type::Span) => {
                let real = Expr::Call(Function::ToReal, Box::new(left));
                let ratio = Expr::Arithmetic(sign, Box::new(settled(real)), Box::new(right));
                return Ok((settled(ratio), Type::Real));
            }
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

    fn call(&self, at: usize, name: &str, arguments: &[syntax::Expr]) -> Result<Typed, QueryError> {
        let now = Expr::Literal(Scalar::Whole(self.now.0));
        let bound: Vec<Typed> = arguments
            .iter()
            .map(|one| self.bind(one))
            .collect::<Result<_, _>>()?;
        let kinds: Vec<Type> = bound.iter().map(|(_, kind)| *kind).collect();
        if let Some(many) = of_many(name, &bound) {
            return many.ok_or_else(|| wrong_call(at, name));
        }
        let mut exprs = bound.into_iter().map(|(expr, _)| Box::new(expr));
        let first = exprs.next();
        let second = exprs.next();
        let (function, kind) = match (name, kinds.as_slice()) {
            ("now", []) => return Ok((now, Type::DateTime)),
            ("ingestion_time", []) => {
                let index = self.heads.iter().position(|head| head.name == RECEIVED);
                let Some(index) = index else {
                    let message = "ingestion_time() is known of the table's own rows only";
                    return Err(QueryError::new(at, message));
                };
                return Ok((Expr::Column(index), Type::DateTime));
            }
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

/// A function of any number of values; nothing inside if they do not fit.
fn of_many(name: &str, bound: &[Typed]) -> Option<Option<Typed>> {
    let exprs = || bound.iter().map(|(expr, _)| expr.clone()).collect();
    let kind_of = |values: Vec<Type>| {
        let first = *values.first()?;
        if values.iter().all(|kind| *kind == first) {
            return Some(first);
        }
        let all_numbers = values.iter().all(|kind| kind.is_number());
        let kind = match values.contains(&Type::Real) {
            true => Type::Real,
            false => Type::Long,
        };
        all_numbers.then_some(kind)
    };
    let made = match name {
        "coalesce" => {
            let kinds = bound.iter().map(|(_, kind)| *kind).collect();
            kind_of(kinds).map(|kind| (Expr::Coalesce(exprs()), kind))
        }
        "case" | "iff" | "iif" => {
            let is_condition = |place: usize| place.is_multiple_of(2) && place + 1 < bound.len();
            let (conditions, values): (Vec<_>, Vec<_>) = bound
                .iter()
                .map(|(_, kind)| *kind)
                .enumerate()
                .partition(|(place, _)| is_condition(*place));
            let fits = conditions.iter().all(|(_, kind)| *kind == Type::Bool)
                && bound.len() % 2 == 1
                && bound.len() >= 3
                && (name == "case" || bound.len() == 3);
            let kinds = values.into_iter().map(|(_, kind)| kind).collect();
            kind_of(kinds)
                .filter(|_| fits)
                .map(|kind| (Expr::Case(exprs()), kind))
        }
        _ => return None,
    };
    Some(made)
}

/// A name out of the query, fit for a message.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

/// Whether values of these types have an order, or at least can be equal.
fn check_order(
    operator: &str,
    comparison: Comparison,
    left: Type,
    (right, at): (Type, usize),
) -> Result<(), QueryError> {
    let fits = match left {
        Type::Int | Type::Long | Type::Real => right.is_number(),
        Type::DateTime | Type::Span => right == left,
        Type::Bool => {
            right == left && matches!(comparison, Comparison::Equal | Comparison::Unequal)
        }
        Type::Text => false,
    };
    if fits {
        return Ok(());
    }
    let message = format!(
        "`{operator}` cannot compare {} with {}{}",
        left.name(),
        right.name(),
        hint(left)
    );
    Err(QueryError::new(at, message))
}

fn wrong_call(at: usize, name: &str) -> QueryError {
    let message = format!(
        "there is no `{}` here that takes this: ago(timespan), now(), bin(value, step), \
         isempty(value), isnotempty(value), not(condition), tolower(string), toupper(string), \
         strlen(string), tostring(value), tolong(value), toreal(value), iff(condition, value, \
         value), case(condition, value, ..., value), coalesce(value, ...), ingestion_time()",
        shown(name)
    );
    QueryError::new(at, message)
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
