//! A query to steps: what each step hands on is settled here, expressions in [`super::bind`].

use super::super::table::{Schema, TABLE};
use super::super::values::Shape;
use super::QueryError;
use super::aggregate::usual_name;
use super::bind::{Head, RECEIVED, Scope, shown};
use super::expression::{Expr, Pair, Type};
use super::group::Aggregate;
use super::syntax::{Aggregated, Name, Named, OrderKey, ParseKv, Query, Stage};
use crate::clock::Wall;
use crate::limits::QUERY_COLUMNS_MAX;
use crate::map::columns::Kind;

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
    let received = Head {
        name: RECEIVED.to_owned(),
        kind: Type::DateTime,
    };
    let mut planner = Planner {
        scope: Scope {
            heads: heads.chain([received]).collect(),
            now,
        },
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
    // no answer has it under this name
    if let Ok(step) = planner.without_received() {
        steps.extend(step);
    }
    Ok(Plan {
        steps,
        heads: planner.scope.heads,
    })
}

struct Planner {
    /// What the step before hands on.
    scope: Scope,
}

impl Planner {
    fn stage(&mut self, stage: &Stage) -> Result<Step, QueryError> {
        match stage {
            Stage::Where(expr) => Ok(Step::Where(self.scope.truth(expr)?)),
            Stage::Take(count) => Ok(Step::Take(*count)),
            Stage::Order(keys) => self.top(usize::MAX, keys),
            Stage::Top(count, keys) => self.top(*count, keys),
            Stage::Project(all) => {
                let columns = self.named_all(all)?;
                self.columns(columns)
            }
            Stage::ProjectAway(names) => self.project_away(names),
            Stage::Extend(all) => self.extend(all),
            Stage::ParseKv(parse) => self.parse_kv(parse),
            Stage::Distinct(all) if all.is_empty() => {
                let heads = self.scope.heads.iter().enumerate();
                let (keys, heads) = heads
                    .filter(|(_, head)| head.name != RECEIVED)
                    .map(|(index, head)| (Expr::Column(index), head.clone()))
                    .unzip();
                self.scope.heads = heads;
                Ok(self.group(keys, Vec::new()))
            }
            Stage::Distinct(all) => self.summarize(&[], all),
            Stage::Count => {
                self.scope.heads = vec![Head {
                    name: "Count".to_owned(),
                    kind: Type::Long,
                }];
                Ok(self.group(Vec::new(), vec![Aggregate::Count]))
            }
            Stage::Summarize { aggregates, by } => self.summarize(aggregates, by),
        }
    }

    fn shapes(&self) -> Vec<Shape> {
        self.scope
            .heads
            .iter()
            .map(|head| head.kind.shape())
            .collect()
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
                    expr: self.scope.bind(&key.expr)?.0,
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
        self.scope.heads = heads;
        Ok(Step::Columns(exprs))
    }

    fn named_all(&self, all: &[Named]) -> Result<Vec<(usize, Head, Expr)>, QueryError> {
        all.iter()
            .enumerate()
            .map(|(index, named)| {
                let (expr, kind) = self.scope.bind(&named.expr)?;
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
            gone.push(self.scope.find(&name.text, name.at)?);
        }
        let kept = self.scope.heads.iter().cloned().enumerate();
        let columns = kept
            .filter(|(index, _)| !gone.contains(index))
            .map(|(index, head)| (0, head, Expr::Column(index)))
            .collect();
        self.columns(columns)
    }

    /// A step without the time of receipt, if the last one hands it on.
    fn without_received(&mut self) -> Result<Option<Step>, QueryError> {
        let heads = self.scope.heads.iter().cloned().enumerate();
        let columns: Vec<(usize, Head, Expr)> = heads
            .filter(|(_, head)| head.name != RECEIVED)
            .map(|(index, head)| (0, head, Expr::Column(index)))
            .collect();
        if columns.len() == self.scope.heads.len() {
            return Ok(None);
        }
        self.columns(columns).map(Some)
    }

    fn extend(&mut self, all: &[Named]) -> Result<Step, QueryError> {
        let new = self.named_all(all)?;
        self.add(new)
    }

    /// A column for each key.
    fn parse_kv(&mut self, parse: &ParseKv) -> Result<Step, QueryError> {
        let (text, kind) = self.scope.bind(&parse.value)?;
        if kind != Type::Text {
            let message = format!("`parse-kv` reads strings, this is {}", kind.name());
            return Err(QueryError::new(parse.value.at, message));
        }
        let key = |(name, kind_name): &(Name, Name)| {
            let kind = match kind_name.text.as_str() {
                "string" => Type::Text,
                "int" => Type::Int,
                "long" => Type::Long,
                "real" | "double" => Type::Real,
                "datetime" => Type::DateTime,
                "bool" => Type::Bool,
                other => {
                    let message = format!(
                        "`{}` is no type here: string, int, long, real, datetime, bool",
                        shown(other)
                    );
                    return Err(QueryError::new(kind_name.at, message));
                }
            };
            let pair = Pair {
                text: text.clone(),
                key: name.text.clone(),
                between_pairs: parse.between_pairs.clone(),
                behind_key: parse.behind_key.clone(),
                kind,
            };
            let head = Head {
                name: name.text.clone(),
                kind,
            };
            Ok((name.at, head, Expr::Pair(Box::new(pair))))
        };
        let new = parse.keys.iter().map(key).collect::<Result<_, _>>()?;
        self.add(new)
    }

    /// New columns behind those that are there, or in place of those of the same name.
    fn add(&mut self, all: Vec<(usize, Head, Expr)>) -> Result<Step, QueryError> {
        let present = self.scope.heads.iter().cloned().enumerate();
        let mut columns: Vec<(usize, Head, Expr)> = present
            .map(|(index, head)| (0, head, Expr::Column(index)))
            .collect();
        for new in all {
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

    fn summarize(&mut self, aggregates: &[Aggregated], by: &[Named]) -> Result<Step, QueryError> {
        let mut heads = Vec::new();
        let mut keys = Vec::new();
        for (at, head, expr) in self.named_all(by)? {
            check_new(&heads, &head, at)?;
            heads.push(head);
            keys.push(expr);
        }
        let mut computed = Vec::new();
        for asked in aggregates {
            let made = self.scope.aggregate(&asked.expr)?;
            if let Some(name) = asked.names.get(made.len()) {
                let message = format!("there is no value for `{}`", shown(&name.text));
                return Err(QueryError::new(name.at, message));
            }
            for (place, (aggregate, mut head)) in made.into_iter().enumerate() {
                if let Some(name) = asked.names.get(place) {
                    head.name.clone_from(&name.text);
                }
                check_new(&heads, &head, asked.expr.at)?;
                heads.push(head);
                computed.push(aggregate);
            }
        }
        self.scope.heads = heads;
        Ok(self.group(keys, computed))
    }
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
