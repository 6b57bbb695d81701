//! Expressions whose names and types are settled, and their values for one row.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::super::stamp::{parse_time, span_text, time_text};
use super::super::values::{Shape, Values};
use super::chunk::Chunk;
use super::words::{Test, fold, test};

/// The type of an expression or a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `string`
    Text,
    /// `int`
    Int,
    /// `long`
    Long,
    /// `real`
    Real,
    /// `datetime`
    DateTime,
    /// `timespan`
    Span,
    /// `bool`
    Bool,
}

impl Type {
    /// Its name, as the query API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Type::Text => "string",
            Type::Int => "int",
            Type::Long => "long",
            Type::Real => "real",
            Type::DateTime => "datetime",
            Type::Span => "timespan",
            Type::Bool => "bool",
        }
    }

    /// How a column of this type is held.
    #[must_use]
    pub fn shape(self) -> Shape {
        match self {
            Type::Text => Shape::Text,
            Type::Real => Shape::Real,
            Type::Int | Type::Long | Type::DateTime | Type::Span | Type::Bool => Shape::Whole,
        }
    }

    /// True for what can be added up.
    #[must_use]
    pub fn is_number(self) -> bool {
        matches!(self, Type::Int | Type::Long | Type::Real)
    }
}

/// One value. Times and spans are nanoseconds, `bool` is 0 or 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    /// Absent; never a string.
    Null,
    /// All types but `string` and `real`.
    Whole(i64),
    /// `real`
    Real(f64),
    /// `string`
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// A value of its own.
    #[must_use]
    pub fn into_owned(self) -> Scalar<'static> {
        match self {
            Scalar::Null => Scalar::Null,
            Scalar::Whole(whole) => Scalar::Whole(whole),
            Scalar::Real(real) => Scalar::Real(real),
            Scalar::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
        }
    }

    /// True for `true`; absent is not.
    #[must_use]
    pub fn is_true(&self) -> bool {
        matches!(self, Scalar::Whole(whole) if *whole != 0)
    }

    fn text(&self) -> &str {
        match self {
            Scalar::Text(text) => text,
            _ => "",
        }
    }

    /// As a number with a point.
    #[must_use]
    pub fn as_real(&self) -> Option<f64> {
        match self {
            Scalar::Whole(whole) => Some(*whole as f64),
            Scalar::Real(real) => Some(*real),
            Scalar::Null | Scalar::Text(_) => None,
        }
    }

    /// The order of two values of one type; absent is least.
    #[must_use]
    pub fn order(&self, other: &Scalar<'_>) -> Ordering {
        match (self, other) {
            (Scalar::Null, Scalar::Null) => Ordering::Equal,
            (Scalar::Null, _) => Ordering::Less,
            (_, Scalar::Null) => Ordering::Greater,
            (Scalar::Whole(one), Scalar::Whole(two)) => one.cmp(two),
            (Scalar::Text(one), Scalar::Text(two)) => one.cmp(two),
            _ => {
                let real = |scalar: &Scalar<'_>| scalar.as_real().unwrap_or(f64::NAN);
                real(self).total_cmp(&real(other))
            }
        }
    }
}

/// A comparison of two values that have an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }

    /// Kusto's rules: absent equals nothing and differs from everything, and has no order; whether
    /// two absent values are equal is itself absent.
    fn apply(self, left: &Scalar<'_>, right: &Scalar<'_>) -> Scalar<'static> {
        let nulls = usize::from(*left == Scalar::Null) + usize::from(*right == Scalar::Null);
        match (nulls, self) {
            (0, _) => truth(self.holds(left.order(right))),
            (1, Comparison::Equal) => truth(false),
            (1, Comparison::Unequal) => truth(true),
            _ => Scalar::Null,
        }
    }
}

/// Arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `*`
    Times,
    /// `/`
    Divide,
    /// `%`
    Modulo,
}

impl Sign {
    fn apply(self, left: &Scalar<'_>, right: &Scalar<'_>) -> Scalar<'static> {
        if let (Scalar::Whole(left), Scalar::Whole(right)) = (left, right) {
            let whole = match self {
                Sign::Plus => left.checked_add(*right),
                Sign::Minus => left.checked_sub(*right),
                Sign::Times => left.checked_mul(*right),
                Sign::Divide => left.checked_div(*right),
                Sign::Modulo => left.checked_rem(*right),
            };
            return whole.map_or(Scalar::Null, Scalar::Whole);
        }
        let (Some(left), Some(right)) = (left.as_real(), right.as_real()) else {
            return Scalar::Null;
        };
        Scalar::Real(match self {
            Sign::Plus => left + right,
            Sign::Minus => left - right,
            Sign::Times => left * right,
            Sign::Divide => left / right,
            Sign::Modulo => left % right,
        })
    }
}

/// A function of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `isempty`, `isnull`; the flag is for their opposites.
    IsEmpty(bool),
    /// `not`
    Not,
    /// `tolower`
    ToLower,
    /// `toupper`
    ToUpper,
    /// `strlen`
    Length,
    /// `tostring`, of a value of this type
    ToText(Type),
    /// `tolong`, `toint`
    ToLong,
    /// `toreal`, `todouble`
    ToReal,
}

/// An expression over the columns of a chunk.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A column by its place.
    Column(usize),
    /// A value.
    Literal(Scalar<'static>),
    /// All must hold.
    And(Vec<Expr>),
    /// One must hold.
    Or(Vec<Expr>),
    /// A comparison of values with an order.
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// The value lies between these two, or is one of them; the flag is for the opposite.
    Between(bool, Box<Expr>, Vec<Expr>),
    /// A test of a text.
    Text(TextTest),
    /// The value is one of these; the flag is for the opposite.
    OneOf(bool, Box<Expr>, Vec<Scalar<'static>>),
    /// Arithmetic.
    Arithmetic(Sign, Box<Expr>, Box<Expr>),
    /// A function.
    Call(Function, Box<Expr>),
    /// `bin`: rounded down to a multiple of the second.
    Bin(Box<Expr>, Box<Expr>),
    /// `case`, `iff`: conditions, each with a value behind it, and at the end what else.
    Case(Vec<Expr>),
    /// The first that is not absent, or of strings not empty.
    Coalesce(Vec<Expr>),
    /// The value of a key in a text of pairs.
    Pair(Box<Pair>),
}

/// A test of a text for one needle of several.
#[derive(Debug, Clone, PartialEq)]
pub struct TextTest {
    /// Which.
    pub test: Test,
    /// Case does not count; needles that are literals are folded already.
    pub folded: bool,
    /// The answer is turned round.
    pub negated: bool,
    /// All needles must be found and not just one.
    pub all: bool,
    /// What is looked at.
    pub value: Box<Expr>,
    /// What is looked for.
    pub needles: Vec<Expr>,
}

/// A key that is looked for in a text of pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The text.
    pub text: Expr,
    /// The key.
    pub key: String,
    /// What stands between pairs.
    pub between_pairs: String,
    /// What stands between key and value.
    pub behind_key: String,
    /// What the value is.
    pub kind: Type,
}

impl Pair {
    /// Of the first pair with the key; blanks around keys and values do not count.
    fn value(&self, text: &str) -> Scalar<'static> {
        let mut pairs = text
            .split(self.between_pairs.as_str())
            .filter_map(|pair| pair.split_once(self.behind_key.as_str()));
        let found = pairs.find(|(key, _)| key.trim() == self.key);
        let value = found.map_or("", |(_, value)| value.trim());
        match self.kind {
            Type::Text => Scalar::Text(Cow::Owned(value.to_owned())),
            Type::Int | Type::Long => value.parse().map_or(Scalar::Null, Scalar::Whole),
            Type::Real => value.parse().map_or(Scalar::Null, Scalar::Real),
            Type::DateTime => parse_time(value).map_or(Scalar::Null, Scalar::Whole),
            Type::Bool => value
                .parse()
                .map_or(Scalar::Null, |holds: bool| truth(holds)),
            Type::Span => Scalar::Null,
        }
    }
}

fn truth(holds: bool) -> Scalar<'static> {
    Scalar::Whole(i64::from(holds))
}

impl Expr {
    /// Its value for a row.
    #[must_use]
    pub fn value<'c>(&'c self, chunk: &'c Chunk, row: usize) -> Scalar<'c> {
        match self {
            Expr::Column(index) => column_value(chunk.values(*index), row),
            Expr::Literal(scalar) => borrowed(scalar),
            Expr::And(parts) => truth(parts.iter().all(|part| part.value(chunk, row).is_true())),
            Expr::Or(parts) => truth(parts.iter().any(|part| part.value(chunk, row).is_true())),
            Expr::Compare(comparison, left, right) => {
                comparison.apply(&left.value(chunk, row), &right.value(chunk, row))
            }
            Expr::Between(negated, value, ends) => {
                let value = value.value(chunk, row);
                let mut ends = ends.iter().map(|end| end.value(chunk, row));
                let mut holds = |comparison: Comparison| {
                    ends.next()
                        .is_some_and(|end| comparison.apply(&value, &end).is_true())
                };
                let inside = holds(Comparison::GreaterOrEqual) && holds(Comparison::LessOrEqual);
                truth(inside != *negated)
            }
            Expr::Text(text) => truth(text.holds(chunk, row)),
            Expr::OneOf(negated, value, list) => {
                let value = value.value(chunk, row);
                let found = list
                    .iter()
                    .any(|one| Comparison::Equal.apply(&value, one).is_true());
                truth(found != *negated)
            }
            Expr::Arithmetic(sign, left, right) => {
                sign.apply(&left.value(chunk, row), &right.value(chunk, row))
            }
            Expr::Call(function, inner) => call(*function, inner.value(chunk, row)),
            Expr::Bin(value, step) => bin(&value.value(chunk, row), &step.value(chunk, row)),
            Expr::Case(parts) => {
                let (otherwise, cases) = match parts.split_last() {
                    Some((otherwise, cases)) => (otherwise, cases),
                    None => return Scalar::Null,
                };
                let holds = |case: &&[Expr]| {
                    case.first()
                        .is_some_and(|condition| condition.value(chunk, row).is_true())
                };
                let found = cases.chunks(2).find(holds).and_then(<[Expr]>::last);
                found.unwrap_or(otherwise).value(chunk, row)
            }
            Expr::Coalesce(parts) => {
                let mut values = parts.iter().map(|part| part.value(chunk, row));
                let empty = |value: &Scalar<'_>| {
                    matches!(value, Scalar::Null)
                        || matches!(value, Scalar::Text(text) if text.is_empty())
                };
                let last = || parts.last().map(|part| part.value(chunk, row));
                values
                    .find(|value| !empty(value))
                    .or_else(last)
                    .unwrap_or(Scalar::Null)
            }
            Expr::Pair(pair) => pair.value(pair.text.value(chunk, row).text()),
        }
    }
}

impl TextTest {
    fn holds(&self, chunk: &Chunk, row: usize) -> bool {
        let value = self.value.value(chunk, row);
        let finds = |needle: &Expr| {
            let scalar = needle.value(chunk, row);
            let text = scalar.text();
            match (self.folded, needle) {
                (true, Expr::Literal(_)) | (false, _) => {
                    test(self.test, self.folded, value.text(), text)
                }
                (true, _) => test(self.test, true, value.text(), &fold(text)),
            }
        };
        let found = if self.all {
            self.needles.iter().all(finds)
        } else {
            self.needles.iter().any(finds)
        };
        found != self.negated
    }
}

fn column_value(values: Option<&Values>, row: usize) -> Scalar<'_> {
    match values {
        Some(Values::Text(texts)) => Scalar::Text(Cow::Borrowed(texts.get(row))),
        Some(Values::Whole(wholes)) => wholes
            .get(row)
            .copied()
            .flatten()
            .map_or(Scalar::Null, Scalar::Whole),
        Some(Values::Real(reals)) => reals
            .get(row)
            .copied()
            .flatten()
            .map_or(Scalar::Null, Scalar::Real),
        None => Scalar::Null,
    }
}

fn borrowed<'c>(scalar: &'c Scalar<'static>) -> Scalar<'c> {
    match scalar {
        Scalar::Text(text) => Scalar::Text(Cow::Borrowed(text)),
        Scalar::Null => Scalar::Null,
        Scalar::Whole(whole) => Scalar::Whole(*whole),
        Scalar::Real(real) => Scalar::Real(*real),
    }
}

fn call(function: Function, value: Scalar<'_>) -> Scalar<'_> {
    match (function, value) {
        (Function::IsEmpty(opposite), value) => {
            let is_empty = matches!(&value, Scalar::Null)
                || matches!(&value, Scalar::Text(text) if text.is_empty());
            truth(is_empty != opposite)
        }
        (Function::Not, Scalar::Whole(whole)) => truth(whole == 0),
        (Function::ToLower, Scalar::Text(text)) => Scalar::Text(Cow::Owned(text.to_lowercase())),
        (Function::ToUpper, Scalar::Text(text)) => Scalar::Text(Cow::Owned(text.to_uppercase())),
        (Function::Length, Scalar::Text(text)) => {
            Scalar::Whole(i64::try_from(text.chars().count()).unwrap_or(i64::MAX))
        }
        (Function::ToText(kind), value) => Scalar::Text(Cow::Owned(scalar_text(&value, kind))),
        (Function::ToLong, Scalar::Text(text)) => {
            text.trim().parse().map_or(Scalar::Null, Scalar::Whole)
        }
        (Function::ToLong, Scalar::Real(real)) if real.abs() < i64::MAX as f64 => {
            Scalar::Whole(real as i64)
        }
        (Function::ToReal, Scalar::Text(text)) => {
            text.trim().parse().map_or(Scalar::Null, Scalar::Real)
        }
        (Function::ToReal, value) => value.as_real().map_or(Scalar::Null, Scalar::Real),
        (Function::ToLong, whole @ Scalar::Whole(_)) => whole,
        _ => Scalar::Null,
    }
}

/// A value as text: what `tostring` gives.
#[must_use]
pub fn scalar_text(value: &Scalar<'_>, kind: Type) -> String {
    match (value, kind) {
        (Scalar::Null, _) => String::new(),
        (Scalar::Text(text), _) => text.clone().into_owned(),
        (Scalar::Real(real), _) => real.to_string(),
        (Scalar::Whole(ns), Type::DateTime) => time_text(*ns),
        (Scalar::Whole(ns), Type::Span) => span_text(*ns),
        (Scalar::Whole(whole), Type::Bool) => (*whole != 0).to_string(),
        (Scalar::Whole(whole), _) => whole.to_string(),
    }
}

fn bin(value: &Scalar<'_>, step: &Scalar<'_>) -> Scalar<'static> {
    match (value, step) {
        (Scalar::Whole(value), Scalar::Whole(step)) if *step > 0 => value
            .checked_sub(value.rem_euclid(*step))
            .map_or(Scalar::Null, Scalar::Whole),
        _ => match (value.as_real(), step.as_real()) {
            (Some(value), Some(step)) if step > 0.0 => Scalar::Real((value / step).floor() * step),
            _ => Scalar::Null,
        },
    }
}
