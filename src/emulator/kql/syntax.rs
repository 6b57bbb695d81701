//! A query as it was written: the shapes that [`super::parse`] reads and [`super::plan`] takes.
//! Each part knows where it stands in the text, for errors.

/// A query as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The table.
    pub table: Name,
    /// What is done with it, in order.
    pub stages: Vec<Stage>,
}

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// Byte of its first character.
    pub at: usize,
    /// The name.
    pub text: String,
}

/// One step of the pipe.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// `where`
    Where(Expr),
    /// `order by`, `sort by`
    Order(Vec<OrderKey>),
    /// `take`, `limit`
    Take(usize),
    /// `top N by`
    Top(usize, Vec<OrderKey>),
    /// `project`
    Project(Vec<Named>),
    /// `project-away`
    ProjectAway(Vec<Name>),
    /// `extend`
    Extend(Vec<Named>),
    /// `parse-kv`
    ParseKv(ParseKv),
    /// `distinct`; nothing for `*`
    Distinct(Vec<Named>),
    /// `count`
    Count,
    /// `summarize`
    Summarize {
        /// What is computed for each group.
        aggregates: Vec<Aggregated>,
        /// What makes a group.
        by: Vec<Named>,
    },
}

/// An expression that may be given a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// The name, if one is given.
    pub name: Option<Name>,
    /// The expression.
    pub expr: Expr,
}

/// What `summarize` computes, which may be several columns: `(First, Value) = arg_min(…)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregated {
    /// The names, as far as they are given.
    pub names: Vec<Name>,
    /// The expression.
    pub expr: Expr,
}

/// `parse-kv TEXT as (KEY: TYPE, …) with (pair_delimiter=…, kv_delimiter=…)`
#[derive(Debug, Clone, PartialEq)]
pub struct ParseKv {
    /// What is looked at.
    pub value: Expr,
    /// Keys, which become columns, and their types.
    pub keys: Vec<(Name, Name)>,
    /// What stands between pairs.
    pub between_pairs: String,
    /// What stands between key and value.
    pub behind_key: String,
}

/// One key of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderKey {
    /// What is compared.
    pub expr: Expr,
    /// Smallest first; the default is greatest first.
    pub ascending: bool,
    /// Whether absent values come first; by default they do in ascending order.
    pub nulls_first: bool,
}

/// An expression and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// Byte of its first character.
    pub at: usize,
    /// What it is.
    pub kind: ExprKind,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A column.
    Column(String),
    /// A string.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A number with a point.
    Real(f64),
    /// A span of time in nanoseconds.
    Span(i64),
    /// `true`, `false`
    Bool(bool),
    /// All must hold.
    And(Vec<Expr>),
    /// One must hold.
    Or(Vec<Expr>),
    /// `left sign right`, a comparison or a string operator.
    Compare(String, Box<Expr>, Box<Expr>),
    /// `value in (list)` and its kin.
    In(String, Box<Expr>, Vec<Expr>),
    /// `value between (least .. greatest)`; the flag is for `!between`.
    Between(bool, Box<Expr>, Box<Expr>, Box<Expr>),
    /// `left + right` and its kin.
    Arithmetic(&'static str, Box<Expr>, Box<Expr>),
    /// `- value`
    Minus(Box<Expr>),
    /// A function and its arguments.
    Call(String, Vec<Expr>),
    /// `datetime(...)`, with what stands between the brackets.
    DateTime(String),
}
