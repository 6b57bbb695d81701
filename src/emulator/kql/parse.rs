//! Tokens to a [`Query`]: one function for each rule of the grammar, each reading from left to
//! right without going back.
//!
//! Depth is bounded in two ways: brackets may nest [`QUERY_DEPTH_MAX`] deep, and a query may hold
//! [`QUERY_ARITHMETIC_MAX`] arithmetic signs, which are what builds trees to one side. `and` and
//! `or` hold their parts in lists.

use super::QueryError;
use super::lex::{Spanned, Token, lex};
use super::syntax::{Aggregated, Expr, ExprKind, Name, Named, OrderKey, ParseKv, Query, Stage};
use crate::limits::{QUERY_ARITHMETIC_MAX, QUERY_DEPTH_MAX, QUERY_STAGES_MAX};

/// Reads a query.
///
/// # Errors
/// What was expected and what was found, and where.
pub fn parse(query: &str) -> Result<Query, QueryError> {
    let tokens = lex(query)?;
    let mut parser = Parser {
        query,
        tokens: &tokens,
        next: 0,
        depth: 0,
        arithmetic: 0,
    };
    let table = parser.name("the name of a table")?;
    let mut stages = Vec::new();
    loop {
        if parser.sign(";") {
            parser.expect_end()?;
        }
        if *parser.peek() == Token::End {
            return Ok(Query { table, stages });
        }
        let at = parser.at();
        if !parser.sign("|") {
            return Err(parser.unexpected("`|` and an operator"));
        }
        if stages.len() >= QUERY_STAGES_MAX {
            return Err(QueryError::new(
                at,
                format!("more than {QUERY_STAGES_MAX} operators"),
            ));
        }
        stages.push(parser.stage()?);
    }
}

const STAGES: &str = "where, order by, sort by, take, limit, top, project, project-away, extend, parse-kv, distinct, count or summarize";

struct Parser<'q> {
    query: &'q str,
    /// Not empty; the last is [`Token::End`].
    tokens: &'q [Spanned],
    next: usize,
    depth: usize,
    arithmetic: usize,
}

impl<'q> Parser<'q> {
    fn peek(&self) -> &'q Token {
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |spanned| &spanned.token)
    }

    fn at(&self) -> usize {
        self.tokens
            .get(self.next)
            .map_or(self.query.len(), |spanned| spanned.at)
    }

    fn unexpected(&self, expected: &str) -> QueryError {
        let found = self.peek().shown();
        QueryError::new(self.at(), format!("expected {expected}, found {found}"))
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(here) if *here == sign);
        self.next += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), QueryError> {
        if self.sign(sign) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{sign}`")))
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(here) if here == word);
        self.next += usize::from(found);
        found
    }

    fn expect_end(&mut self) -> Result<(), QueryError> {
        if *self.peek() == Token::End {
            return Ok(());
        }
        Err(self.unexpected("the end of the query: one statement is all that is here"))
    }

    fn name(&mut self, expected: &str) -> Result<Name, QueryError> {
        match self.peek() {
            Token::Word(text) | Token::Quoted(text) if !text.starts_with('!') => {
                let at = self.at();
                self.next += 1;
                Ok(Name {
                    at,
                    text: text.clone(),
                })
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, QueryError>,
    ) -> Result<Vec<T>, QueryError> {
        let mut all = vec![one(self)?];
        while self.sign(",") {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn stage(&mut self) -> Result<Stage, QueryError> {
        let at = self.at();
        let Token::Word(word) = self.peek() else {
            return Err(self.unexpected(STAGES));
        };
        self.next += 1;
        match word.as_str() {
            "where" | "filter" => Ok(Stage::Where(self.expr()?)),
            "order" | "sort" => {
                self.by()?;
                Ok(Stage::Order(self.list(Self::order_key)?))
            }
            "take" | "limit" => Ok(Stage::Take(self.count()?)),
            "top" => {
                let count = self.count()?;
                self.by()?;
                Ok(Stage::Top(count, self.list(Self::order_key)?))
            }
            "project" => Ok(Stage::Project(self.list(Self::named)?)),
            "project-away" => Ok(Stage::ProjectAway(self.list(|one| one.name("a column"))?)),
            "extend" => Ok(Stage::Extend(self.list(Self::named)?)),
            "parse-kv" => Ok(Stage::ParseKv(self.parse_kv()?)),
            "distinct" if self.sign("*") => Ok(Stage::Distinct(Vec::new())),
            "distinct" => Ok(Stage::Distinct(self.list(Self::named)?)),
            "count" => Ok(Stage::Count),
            "summarize" => self.summarize(),
            _ => {
                let found = word.escape_debug();
                let message = format!("there is no operator `{found}` here: {STAGES}");
                Err(QueryError::new(at, message))
            }
        }
    }

    fn by(&mut self) -> Result<(), QueryError> {
        self.expect_word("by")
    }

    fn count(&mut self) -> Result<usize, QueryError> {
        let Token::Whole(count) = self.peek() else {
            return Err(self.unexpected("a number of rows"));
        };
        self.next += 1;
        Ok(usize::try_from(*count).unwrap_or(usize::MAX))
    }

    fn summarize(&mut self) -> Result<Stage, QueryError> {
        let mut aggregates = Vec::new();
        if !self.word("by") {
            aggregates = self.list(Self::aggregated)?;
            if !self.word("by") {
                return Ok(Stage::Summarize {
                    aggregates,
                    by: Vec::new(),
                });
            }
        }
        let by = self.list(Self::named)?;
        Ok(Stage::Summarize { aggregates, by })
    }

    fn order_key(&mut self) -> Result<OrderKey, QueryError> {
        let expr = self.expr()?;
        let ascending = self.word("asc") || {
            self.word("desc");
            false
        };
        let mut nulls_first = ascending;
        if self.word("nulls") {
            nulls_first = self.word("first");
            if !nulls_first && !self.word("last") {
                return Err(self.unexpected("`first` or `last`"));
            }
        }
        Ok(OrderKey {
            expr,
            ascending,
            nulls_first,
        })
    }

    fn named(&mut self) -> Result<Named, QueryError> {
        let is_named = matches!(self.peek(), Token::Word(_) | Token::Quoted(_))
            && matches!(
                self.tokens.get(self.next + 1).map(|next| &next.token),
                Some(Token::Sign("="))
            );
        let mut name = None;
        if is_named {
            name = Some(self.name("a name")?);
            self.expect_sign("=")?;
        }
        Ok(Named {
            name,
            expr: self.expr()?,
        })
    }

    /// `arg_min(…)`, `Name = arg_min(…)` or `(Name, Name) = arg_min(…)`
    fn aggregated(&mut self) -> Result<Aggregated, QueryError> {
        let mut names = Vec::new();
        if self.sign("(") {
            names = self.list(|one| one.name("a name"))?;
            self.expect_sign(")")?;
            self.expect_sign("=")?;
        }
        let Named { name, expr } = self.named()?;
        names.extend(name);
        Ok(Aggregated { names, expr })
    }

    fn parse_kv(&mut self) -> Result<ParseKv, QueryError> {
        let value = self.expr()?;
        self.expect_word("as")?;
        self.expect_sign("(")?;
        let keys = self.list(|one| {
            let key = one.name("a key")?;
            one.expect_sign(":")?;
            Ok((key, one.name("a type")?))
        })?;
        self.expect_sign(")")?;
        self.expect_word("with")?;
        self.expect_sign("(")?;
        let between_pairs = self.delimiter("pair_delimiter")?;
        self.expect_sign(",")?;
        let behind_key = self.delimiter("kv_delimiter")?;
        self.expect_sign(")")?;
        Ok(ParseKv {
            value,
            keys,
            between_pairs,
            behind_key,
        })
    }

    /// `name = "…"`, not empty
    fn delimiter(&mut self, name: &str) -> Result<String, QueryError> {
        self.expect_word(name)?;
        self.expect_sign("=")?;
        match self.peek() {
            Token::Text(text) if !text.is_empty() => {
                self.next += 1;
                Ok(text.clone())
            }
            _ => Err(self.unexpected("a string that is not empty")),
        }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), QueryError> {
        if self.word(word) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{word}`")))
    }

    /// One level down, for brackets of every kind.
    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        if self.depth >= QUERY_DEPTH_MAX {
            let message = format!("brackets nest more than {QUERY_DEPTH_MAX} deep");
            return Err(QueryError::new(self.at(), message));
        }
        self.depth += 1;
        let answer = inner(self);
        self.depth -= 1;
        answer
    }

    fn expr(&mut self) -> Result<Expr, QueryError> {
        self.deeper(Self::or)
    }

    fn or(&mut self) -> Result<Expr, QueryError> {
        let first = self.and()?;
        let at = first.at;
        let mut all = vec![first];
        while self.word("or") {
            all.push(self.and()?);
        }
        Ok(single(all).unwrap_or_else(|all| Expr {
            at,
            kind: ExprKind::Or(all),
        }))
    }

    fn and(&mut self) -> Result<Expr, QueryError> {
        let first = self.comparison()?;
        let at = first.at;
        let mut all = vec![first];
        while self.word("and") {
            all.push(self.comparison()?);
        }
        Ok(single(all).unwrap_or_else(|all| Expr {
            at,
            kind: ExprKind::And(all),
        }))
    }

    fn comparison(&mut self) -> Result<Expr, QueryError> {
        let left = self.sum()?;
        let at = left.at;
        let operator = match self.peek() {
            Token::Sign(sign @ ("==" | "!=" | "=~" | "!~" | "<" | ">" | "<=" | ">=")) => *sign,
            Token::Sign("=") => {
                let message = "`=` names a result; to compare write `==`, or `=~` to ignore case";
                return Err(QueryError::new(self.at(), message));
            }
            Token::Word(word) if is_word_operator(word) => word,
            _ => return Ok(left),
        };
        self.next += 1;
        let left = Box::new(left);
        let kind = match operator.strip_prefix('!').unwrap_or(operator) {
            "in" | "in~" | "has_any" | "has_all" => {
                self.expect_sign("(")?;
                let list = self.list(Self::expr)?;
                self.expect_sign(")")?;
                ExprKind::In(operator.to_owned(), left, list)
            }
            "between" => {
                self.expect_sign("(")?;
                let least = self.expr()?;
                self.expect_sign("..")?;
                let greatest = self.expr()?;
                self.expect_sign(")")?;
                let negated = operator.starts_with('!');
                ExprKind::Between(negated, left, Box::new(least), Box::new(greatest))
            }
            _ => ExprKind::Compare(operator.to_owned(), left, Box::new(self.sum()?)),
        };
        Ok(Expr { at, kind })
    }

    fn sum(&mut self) -> Result<Expr, QueryError> {
        self.chain(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Result<Expr, QueryError> {
        self.chain(&["*", "/", "%"], Self::signed)
    }

    fn chain(
        &mut self,
        signs: &[&'static str],
        part: fn(&mut Self) -> Result<Expr, QueryError>,
    ) -> Result<Expr, QueryError> {
        let mut left = part(self)?;
        while let Some(sign) = signs.iter().find(|sign| self.sign(sign)) {
            self.count_arithmetic()?;
            let right = part(self)?;
            left = Expr {
                at: left.at,
                kind: ExprKind::Arithmetic(sign, Box::new(left), Box::new(right)),
            };
        }
        Ok(left)
    }

    fn count_arithmetic(&mut self) -> Result<(), QueryError> {
        self.arithmetic += 1;
        if self.arithmetic > QUERY_ARITHMETIC_MAX {
            let message = format!("more than {QUERY_ARITHMETIC_MAX} arithmetic signs");
            return Err(QueryError::new(self.at(), message));
        }
        Ok(())
    }

    fn signed(&mut self) -> Result<Expr, QueryError> {
        let at = self.at();
        if self.sign("-") {
            self.count_arithmetic()?;
            let inner = self.signed()?;
            let kind = ExprKind::Minus(Box::new(inner));
            return Ok(Expr { at, kind });
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expr, QueryError> {
        let at = self.at();
        let token = self.peek();
        let kind = match token {
            Token::Text(text) => ExprKind::Text(text.clone()),
            Token::Whole(whole) => ExprKind::Whole(*whole),
            Token::Real(real) => ExprKind::Real(*real),
            Token::Span(span) => ExprKind::Span(*span),
            Token::DateTime(text) => ExprKind::DateTime(text.clone()),
            Token::Quoted(name) => ExprKind::Column(name.clone()),
            Token::Sign("(") => {
                self.next += 1;
                let inner = self.expr()?;
                self.expect_sign(")")?;
                return Ok(inner);
            }
            Token::Word(word) if word == "true" || word == "false" => {
                ExprKind::Bool(word == "true")
            }
            Token::Word(word) if !word.starts_with('!') && !is_word_operator(word) => {
                self.next += 1;
                return self.word_or_call(at, word);
            }
            _ => return Err(self.unexpected("a column, a value or a function")),
        };
        self.next += 1;
        Ok(Expr { at, kind })
    }

    fn word_or_call(&mut self, at: usize, word: &str) -> Result<Expr, QueryError> {
        if !self.sign("(") {
            let kind = ExprKind::Column(word.to_owned());
            return Ok(Expr { at, kind });
        }
        let mut arguments = Vec::new();
        if !self.sign(")") {
            arguments = self.list(Self::expr)?;
            self.expect_sign(")")?;
        }
        let kind = ExprKind::Call(word.to_owned(), arguments);
        Ok(Expr { at, kind })
    }
}

fn single(mut all: Vec<Expr>) -> Result<Expr, Vec<Expr>> {
    match all.pop() {
        Some(last) if all.is_empty() => Ok(last),
        Some(last) => {
            all.push(last);
            Err(all)
        }
        None => Err(all),
    }
}

/// True for a word that stands between two values.
fn is_word_operator(word: &str) -> bool {
    let bare = word.strip_prefix('!').unwrap_or(word);
    matches!(
        bare,
        "has"
            | "has_cs"
            | "contains"
            | "contains_cs"
            | "startswith"
            | "startswith_cs"
            | "endswith"
            | "endswith_cs"
            | "in"
            | "in~"
            | "between"
    ) || matches!(word, "has_any" | "has_all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_the_connector_page_is_read() {
        let query = parse(
            "CommonSecurityLog | where DeviceVendor == \"Darktrace\" | order by TimeGenerated desc | limit 10",
        )
        .unwrap();
        assert_eq!(query.table.text, "CommonSecurityLog");
        assert_eq!(query.stages.len(), 3);
        assert_eq!(query.stages[2], Stage::Take(10));
        let Stage::Order(keys) = &query.stages[1] else {
            panic!("{query:?}")
        };
        assert!(!keys[0].ascending && !keys[0].nulls_first);
    }

    #[test]
    fn and_binds_closer_than_or_and_brackets_closer_still() {
        let text = |query: &str| {
            let query = parse(&format!("T | where {query}")).unwrap();
            let Stage::Where(expr) = &query.stages[0] else {
                panic!()
            };
            expr.kind.clone()
        };
        let ExprKind::Or(parts) = text("A == 1 or B == 2 and C == 3") else {
            panic!()
        };
        assert!(matches!(parts[1].kind, ExprKind::And(_)));
        let ExprKind::And(parts) = text("(A == 1 or B == 2) and C == 3") else {
            panic!()
        };
        assert!(matches!(parts[0].kind, ExprKind::Or(_)));
        let ExprKind::Compare(_, _, right) = text("A > now() - 2 * 1h") else {
            panic!()
        };
        let ExprKind::Arithmetic("-", _, product) = right.kind else {
            panic!()
        };
        assert!(matches!(product.kind, ExprKind::Arithmetic("*", ..)));
    }

    #[test]
    fn errors_say_what_was_expected_and_where() {
        for (query, at, part) in [
            ("", 0, "the name of a table"),
            ("T where A == 1", 2, "`|`"),
            ("T | ", 4, "where, order by"),
            ("T | wher A == 1", 4, "no operator `wher`"),
            ("T | where", 9, "a column, a value or a function"),
            ("T | where A = 1", 12, "to compare write `==`"),
            ("T | where A ==", 14, "the end of the query"),
            ("T | where (A == 1", 17, "`)`"),
            ("T | where A in 1", 15, "`(`"),
            ("T | where A between (1, 2)", 22, "`..`"),
            ("T | order TimeGenerated", 10, "`by`"),
            ("T | take ten", 9, "a number of rows"),
            ("T | take -1", 9, "a number of rows"),
            ("T | where A == datetime(2024", 28, "`)`"),
            ("T | order by A nulls", 20, "`first` or `last`"),
            ("T; T", 3, "one statement"),
            ("T | where A == 1 and", 20, "the end of the query"),
            ("T | where has \"x\"", 10, "a column"),
        ] {
            let error = parse(query).unwrap_err();
            assert_eq!(error.at, at, "{query}: {error}");
            assert!(error.message.contains(part), "{query}: {error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested =
            |depth: usize| format!("T | where {}A{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(QUERY_DEPTH_MAX - 1)).is_ok());
        assert!(
            parse(&nested(QUERY_DEPTH_MAX))
                .unwrap_err()
                .message
                .contains("deep")
        );
        let calls = format!("T | where {}A", "not(".repeat(10_000));
        assert!(parse(&calls).unwrap_err().message.contains("deep"));
        let chain = format!("T | extend A{}", "+1".repeat(QUERY_ARITHMETIC_MAX + 1));
        assert!(parse(&chain).unwrap_err().message.contains("arithmetic"));
        let minus = format!("T | extend A={}1", "-".repeat(60_000));
        assert!(parse(&minus).unwrap_err().message.contains("arithmetic"));
        let stages = format!("T{}", "|count".repeat(QUERY_STAGES_MAX + 1));
        assert!(parse(&stages).unwrap_err().message.contains("operators"));
        let long = format!("T | where A{}", " or A".repeat(10_000));
        assert!(parse(&long).is_ok());
    }
}
