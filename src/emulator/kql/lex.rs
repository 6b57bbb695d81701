//! A query's text to tokens.

use super::super::stamp::{DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS};
use super::QueryError;
use crate::limits::QUERY_BYTES_MAX;

/// A token and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned {
    /// Byte of its first character.
    pub at: usize,
    /// The token.
    pub token: Token,
}

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A name, a keyword or a word operator; `project-away` and `!in` are one word.
    Word(String),
    /// A name in brackets: `['SourceIP']`.
    Quoted(String),
    /// A string, its escapes undone.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A number with a point or an exponent.
    Real(f64),
    /// A span of time, in nanoseconds: `5m`.
    Span(i64),
    /// `datetime(…)`: what stands between the brackets, which needs no quotes.
    DateTime(String),
    /// An operator or a bracket.
    Sign(&'static str),
    /// The end of the query.
    End,
}

impl Token {
    /// How an error names it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Token::Word(word) => format!("`{}`", word.escape_debug()),
            Token::Quoted(name) => format!("`['{}']`", name.escape_debug()),
            Token::Text(_) => "a string".to_owned(),
            Token::Whole(_) | Token::Real(_) => "a number".to_owned(),
            Token::Span(_) => "a timespan".to_owned(),
            Token::DateTime(_) => "a time".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end of the query".to_owned(),
        }
    }
}

/// Longest first, so that `==` is not read as two `=`.
const SIGNS: [&str; 23] = [
    "==", "!=", "=~", "!~", "<=", ">=", "..", "<", ">", "=", "|", ",", "(", ")", "+", "-", "*",
    "/", ";", "%", "[", "]", ":",
];

const SPAN_UNITS: [(&str, i64); 15] = [
    ("d", DAY_NS),
    ("h", HOUR_NS),
    ("m", MINUTE_NS),
    ("s", SECOND_NS),
    ("ms", SECOND_NS / 1000),
    ("microsecond", 1000),
    ("microseconds", 1000),
    ("tick", 100),
    ("ticks", 100),
    ("day", DAY_NS),
    ("days", DAY_NS),
    ("hour", HOUR_NS),
    ("hours", HOUR_NS),
    ("minute", MINUTE_NS),
    ("second", SECOND_NS),
];

/// Cuts a query into tokens; the last one is [`Token::End`].
///
/// # Errors
/// A query that is too long, a string without an end, a character that belongs nowhere.
pub fn lex(query: &str) -> Result<Vec<Spanned>, QueryError> {
    if query.len() > QUERY_BYTES_MAX {
        let message = format!(
            "the query has {} bytes, more than {QUERY_BYTES_MAX}",
            query.len()
        );
        return Err(QueryError::new(QUERY_BYTES_MAX, message));
    }
    let mut lexer = Lexer { query, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        let token = lexer.next_token()?;
        let ended = token == Token::End;
        tokens.push(Spanned { at, token });
        if ended {
            return Ok(tokens);
        }
    }
}

struct Lexer<'q> {
    query: &'q str,
    /// Always at the start of a character.
    at: usize,
}

impl<'q> Lexer<'q> {
    fn rest(&self) -> &'q str {
        self.query.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let text = rest.trim_start();
            self.at += rest.len() - text.len();
            if !text.starts_with("//") {
                return;
            }
            self.at += text.find('\n').unwrap_or(text.len());
        }
    }

    fn next_token(&mut self) -> Result<Token, QueryError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        let second = rest[first.len_utf8()..].chars().next();
        match (first, second) {
            ('"' | '\'', _) => self.text(0, false),
            ('@' | 'h' | 'H', Some('"' | '\'')) => self.text(1, first == '@'),
            ('[', Some('"' | '\'')) => self.quoted_name(),
            ('0'..='9', _) => self.number(),
            ('!', Some(letter)) if letter.is_ascii_alphabetic() => {
                self.at += 1;
                Ok(Token::Word(format!("!{}", self.word())))
            }
            (letter, _) if letter.is_ascii_alphabetic() || letter == '_' => {
                let word = self.word();
                match self.rest().trim_start().strip_prefix('(') {
                    Some(inside) if word == "datetime" => self.date_time(inside),
                    _ => Ok(Token::Word(word.to_owned())),
                }
            }
            _ => self.sign(),
        }
    }

    fn sign(&mut self) -> Result<Token, QueryError> {
        let rest = self.rest();
        let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) else {
            let first = rest.chars().next().unwrap_or_default();
            let message = format!("the character `{}` belongs nowhere", first.escape_debug());
            return Err(QueryError::new(self.at, message));
        };
        self.at += sign.len();
        Ok(Token::Sign(sign))
    }

    /// A name; with `-away` if it is `project`, `-kv` if it is `parse`, `~` if it is `in`.
    fn word(&mut self) -> &'q str {
        let rest = self.rest();
        let mut length = rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(rest.len());
        let (word, behind) = rest.split_at(length);
        for (head, tail) in [("project", "-away"), ("parse", "-kv"), ("in", "~")] {
            if word == head && behind.starts_with(tail) {
                length += tail.len();
            }
        }
        self.at += length;
        &rest[..length]
    }

    fn date_time(&mut self, inside: &str) -> Result<Token, QueryError> {
        let Some((inside, behind)) = inside.split_once(')') else {
            let message = "expected `)` behind the time, found the end of the query";
            return Err(QueryError::new(self.query.len(), message));
        };
        self.at = self.query.len() - behind.len();
        let bare = inside.trim().trim_matches(['"', '\'']);
        Ok(Token::DateTime(bare.to_owned()))
    }

    fn quoted_name(&mut self) -> Result<Token, QueryError> {
        let at = self.at;
        let Token::Text(name) = self.text(1, false)? else {
            return Err(QueryError::new(at, "a name in brackets was expected"));
        };
        if !self.rest().starts_with(']') {
            return Err(QueryError::new(self.at, "`]` was expected behind the name"));
        }
        self.at += 1;
        Ok(Token::Quoted(name))
    }

    /// A string whose quote is `ahead` bytes ahead.
    fn text(&mut self, ahead: usize, verbatim: bool) -> Result<Token, QueryError> {
        let start = self.at;
        self.at += ahead;
        let mut letters = self.rest().char_indices();
        let quote = letters.next().map_or('"', |(_, quote)| quote);
        let mut out = String::new();
        while let Some((offset, letter)) = letters.next() {
            match letter {
                _ if letter == quote => {
                    if verbatim
                        && letters
                            .clone()
                            .next()
                            .is_some_and(|(_, next)| next == quote)
                    {
                        letters.next();
                        out.push(quote);
                        continue;
                    }
                    self.at += offset + quote.len_utf8();
                    return Ok(Token::Text(out));
                }
                '\n' => break,
                '\\' if !verbatim => {
                    let at = self.at + offset;
                    let escape = letters.next().map(|(_, letter)| letter);
                    out.push(unescape(escape, &mut letters).ok_or_else(|| {
                        QueryError::new(
                            at,
                            "an unknown escape: write \\\\ for a backslash, or @\"…\"",
                        )
                    })?);
                }
                _ => out.push(letter),
            }
        }
        Err(QueryError::new(start, "the string has no end on its line"))
    }

    fn number(&mut self) -> Result<Token, QueryError> {
        let at = self.at;
        let rest = self.rest();
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let mut length = digits(rest);
        let mut is_real = false;
        // `1..5` is a range, not a number with a point
        if rest[length..].starts_with('.') && digits(&rest[length + 1..]) > 0 {
            length += 1 + digits(&rest[length + 1..]);
            is_real = true;
        }
        let behind = &rest[length..];
        let exponent = behind
            .strip_prefix(['e', 'E'])
            .map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
        if let Some(exponent) = exponent.filter(|text| digits(text) > 0) {
            length += behind.len() - exponent.len() + digits(exponent);
            is_real = true;
        }
        let number = &rest[..length];
        self.at += length;
        let unit = self.word();
        if unit.is_empty() {
            return parse_number(number, is_real)
                .ok_or_else(|| QueryError::new(at, "the number is too large"));
        }
        let Some((_, unit_ns)) = SPAN_UNITS.into_iter().find(|(name, _)| *name == unit) else {
            let message = format!("`{unit}` is no unit of time: d, h, m, s, ms");
            return Err(QueryError::new(at, message));
        };
        let span = match parse_number(number, is_real) {
            Some(Token::Whole(count)) => count.checked_mul(unit_ns),
            Some(Token::Real(count)) => {
                let ns = count * unit_ns as f64;
                (ns < i64::MAX as f64).then_some(ns as i64)
            }
            _ => None,
        };
        span.map(Token::Span)
            .ok_or_else(|| QueryError::new(at, "the timespan is too long"))
    }
}

fn parse_number(number: &str, is_real: bool) -> Option<Token> {
    if is_real {
        let real = number.parse::<f64>().ok().filter(|real| real.is_finite());
        return real.map(Token::Real);
    }
    number.parse().ok().map(Token::Whole)
}

fn unescape(escape: Option<char>, letters: &mut std::str::CharIndices<'_>) -> Option<char> {
    match escape? {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        '0' => Some('\0'),
        'u' => {
            let mut code = 0;
            for _ in 0..4 {
                code = code * 16 + letters.next()?.1.to_digit(16)?;
            }
            char::from_u32(code)
        }
        letter @ ('\\' | '"' | '\'') => Some(letter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(query: &str) -> Vec<Token> {
        lex(query)
            .unwrap()
            .into_iter()
            .map(|spanned| spanned.token)
            .collect()
    }

    fn one(query: &str) -> Token {
        let mut all = tokens(query);
        assert_eq!(all.pop(), Some(Token::End));
        assert_eq!(all.len(), 1, "{query}: {all:?}");
        all.remove(0)
    }

    #[test]
    fn strings_are_read_in_all_their_forms() {
        for query in [
            r#""a'b""#,
            r#"'a\'b'"#,
            r#"@"a'b""#,
            r#"h"a'b""#,
            r#""a\u0027b""#,
            "@'a''b'",
        ] {
            assert_eq!(one(query), Token::Text("a'b".into()), "{query}");
        }
        assert_eq!(one(r#"@"C:\temp""#), Token::Text(r"C:\temp".into()));
        assert_eq!(one(r#""C:\\temp""#), Token::Text(r"C:\temp".into()));
        assert_eq!(one("['SourceIP']"), Token::Quoted("SourceIP".into()));
    }

    #[test]
    fn numbers_and_spans_are_told_apart() {
        assert_eq!(one("443"), Token::Whole(443));
        assert_eq!(one("1.5"), Token::Real(1.5));
        assert_eq!(one("1e3"), Token::Real(1000.0));
        assert_eq!(one("1.5e-1"), Token::Real(0.15));
        assert_eq!(one("5m"), Token::Span(5 * MINUTE_NS));
        assert_eq!(one("1.5h"), Token::Span(90 * MINUTE_NS));
        assert_eq!(one("100ms"), Token::Span(SECOND_NS / 10));
        assert_eq!(
            tokens("1..5"),
            [
                Token::Whole(1),
                Token::Sign(".."),
                Token::Whole(5),
                Token::End
            ]
        );
    }

    #[test]
    fn words_and_signs_are_cut_and_comments_left_out() {
        assert_eq!(
            tokens("project-away A // all\n|where B!in~(C)and D !has_cs E"),
            [
                Token::Word("project-away".into()),
                Token::Word("A".into()),
                Token::Sign("|"),
                Token::Word("where".into()),
                Token::Word("B".into()),
                Token::Word("!in~".into()),
                Token::Sign("("),
                Token::Word("C".into()),
                Token::Sign(")"),
                Token::Word("and".into()),
                Token::Word("D".into()),
                Token::Word("!has_cs".into()),
                Token::Word("E".into()),
                Token::End,
            ]
        );
    }

    #[test]
    fn errors_name_their_place() {
        for (query, at) in [
            ("a \"b", 2),
            ("a 'b\nc'", 2),
            ("a ~ b", 2),
            ("x == \"\\q\"", 6),
            ("99999999999999999999", 0),
            ("5parsecs", 0),
            ("1e999", 0),
            ("['a'", 4),
            ("ü", 0),
            ("300000000d", 0),
            ("\"\\u12\"", 1),
        ] {
            assert_eq!(lex(query).unwrap_err().at, at, "{query}");
        }
        assert!(lex(&"a".repeat(QUERY_BYTES_MAX)).is_ok());
        assert!(lex(&"a".repeat(QUERY_BYTES_MAX + 1)).is_err());
    }
}
