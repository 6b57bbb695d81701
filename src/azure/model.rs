//! A template as a tree: what Resource Manager's JSON and Bicep both can say, and no more.
//!
//! Names of functions are those that the two forms share. What they spell differently has a variant
//! of its own: references to parameters and resources, loops, arithmetic, text with values in it.

/// A template for one resource group.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// What a reader should know first, line by line.
    pub about: Vec<String>,
    /// What whoever deploys it decides.
    pub params: Vec<Param>,
    /// Values with a name.
    pub vars: Vec<(&'static str, Expr)>,
    /// What is deployed, and what must be there. Each has a symbol of its own.
    pub resources: Vec<Resource>,
    /// What the deployment tells.
    pub outputs: Vec<Output>,
}

impl Template {
    /// The resource of this symbol.
    #[must_use]
    pub fn resource(&self, symbol: &str) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|resource| resource.symbol == symbol)
    }
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// Its type, with bounds.
    pub kind: ParamKind,
    /// Its default; without one it must be given.
    pub default: Option<Value>,
    /// What it decides.
    pub about: &'static str,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// `string`
    Text {
        /// Least and greatest number of characters, if there is a limit.
        length: Option<(i64, i64)>,
    },
    /// `int`
    Whole {
        /// Least and greatest value.
        range: (i64, i64),
    },
    /// `bool`
    Bool,
}

/// A resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// How the rest of the template calls it.
    pub symbol: &'static str,
    /// Provider and type, like `Microsoft.Insights/dataCollectionRules`.
    pub kind: &'static str,
    /// Version of the provider's interface.
    pub api: &'static str,
    /// What it is for; one line.
    pub about: &'static str,
    /// Its name; with [`Expr::Index`] if there are several.
    pub name: Expr,
    /// Whether and how often it is deployed.
    pub how: How,
    /// The resource that it belongs to, if not to the resource group.
    pub scope: Option<Place>,
    /// Everything else, in order.
    pub body: Vec<(&'static str, Value)>,
}

/// Whether and how often a resource is deployed.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// Once.
    Once,
    /// Once, or not at all.
    If(Expr),
    /// So many times.
    Times(Expr),
    /// It is there already.
    Existing,
}

/// A resource of the template, or one of several.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Its symbol.
    pub symbol: &'static str,
    /// Which one of several, from 0.
    pub index: Option<Box<Expr>>,
}

/// What a deployment tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: &'static str,
    /// The value, or one of a list of so many.
    pub times: Option<Expr>,
    /// The value; of a list, one item.
    pub value: Value,
}

/// A value in a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text as it is.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// `true` or `false`
    Bool(bool),
    /// A list.
    List(Vec<Value>),
    /// Names and values, in order.
    Object(Vec<(String, Value)>),
    /// What is known only when it is deployed.
    Expr(Expr),
}

/// What is known only when it is deployed.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// Text.
    Text(&'static str),
    /// A whole number.
    Whole(i64),
    /// `null`
    Null,
    /// A list of nothing.
    Nothing,
    /// A parameter.
    Param(&'static str),
    /// A variable.
    Var(&'static str),
    /// Which time it is in a loop, from 0.
    Index,
    /// A function that both forms have.
    Call(&'static str, Vec<Expr>),
    /// `value.name`
    Member(Box<Expr>, &'static str),
    /// `list[index]`
    At(Box<Expr>, Box<Expr>),
    /// Parts put together to a text.
    Join(Vec<Expr>),
    /// The second if the first holds, else the third.
    If(Box<[Expr; 3]>),
    /// Arithmetic.
    Arithmetic(Sign, Box<[Expr; 2]>),
    /// The id of a resource.
    Id(Place),
    /// The properties of a resource as the service tells them after deployment.
    State(Place),
}

/// Arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Plus,
    /// `*`
    Times,
    /// `/`, rounded down
    Over,
    /// `%`
    Modulo,
}

impl Place {
    /// A resource that there is only one of.
    #[must_use]
    pub fn of(symbol: &'static str) -> Place {
        Place {
            symbol,
            index: None,
        }
    }

    /// One of several.
    #[must_use]
    pub fn at(symbol: &'static str, index: Expr) -> Place {
        Place {
            symbol,
            index: Some(Box::new(index)),
        }
    }
}

impl Expr {
    /// `self.name`
    #[must_use]
    pub fn member(self, name: &'static str) -> Expr {
        Expr::Member(Box::new(self), name)
    }

    /// `self[index]`
    #[must_use]
    pub fn at(self, index: Expr) -> Expr {
        Expr::At(Box::new(self), Box::new(index))
    }

    /// `self sign right`
    #[must_use]
    pub fn sign(self, sign: Sign, right: Expr) -> Expr {
        Expr::Arithmetic(sign, Box::new([self, right]))
    }

    /// `then` if `self` holds, else `other`.
    #[must_use]
    pub fn choose(self, then: Expr, other: Expr) -> Expr {
        Expr::If(Box::new([self, then, other]))
    }

    /// The resources that must be deployed before this is known.
    pub(super) fn needs<'e>(&'e self, found: &mut Vec<&'e Place>) {
        match self {
            Expr::Text(_) | Expr::Whole(_) | Expr::Null | Expr::Nothing => {}
            Expr::Param(_) | Expr::Var(_) | Expr::Index => {}
            Expr::Call(_, parts) | Expr::Join(parts) => {
                parts.iter().for_each(|part| part.needs(found));
            }
            Expr::Member(inner, _) => inner.needs(found),
            Expr::At(list, index) => {
                list.needs(found);
                index.needs(found);
            }
            Expr::If(parts) => parts.iter().for_each(|part| part.needs(found)),
            Expr::Arithmetic(_, sides) => sides.iter().for_each(|side| side.needs(found)),
            Expr::Id(place) | Expr::State(place) => found.push(place),
        }
    }
}

impl Value {
    /// Text as it is.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// Names and values, in order.
    #[must_use]
    pub fn object<const N: usize>(pairs: [(&str, Value); N]) -> Value {
        let owned = pairs.map(|(name, value)| (name.to_owned(), value));
        Value::Object(owned.into())
    }

    /// The resources that must be deployed before this is known.
    pub(super) fn needs<'v>(&'v self, found: &mut Vec<&'v Place>) {
        match self {
            Value::Text(_) | Value::Whole(_) | Value::Bool(_) => {}
            Value::List(items) => items.iter().for_each(|item| item.needs(found)),
            Value::Object(pairs) => pairs.iter().for_each(|(_, value)| value.needs(found)),
            Value::Expr(expr) => expr.needs(found),
        }
    }
}
