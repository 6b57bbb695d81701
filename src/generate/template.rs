//! Templates: how a vendor's message looks, as text with fields in braces.
//!
//! ```text
//! {syslog}CEF:0|Acme|Wall|{1.2||1.3}|100|deny|{n:1-9}|
//!     externalId={id} src={in.ip} suser={user.login?}{*0-2} hop={ip}{/} msg={words:3-9}
//! ```
//!
//! - `{name}` or `{name:argument}` is a field; [`super::field`] says what each one writes. With a
//!   `?` at its end it is left empty in a third of all messages.
//! - `{a||b||c}` writes one of the alternatives, each as likely as the next; an alternative may
//!   hold single pipes, so that a class id and its name can be drawn together.
//! - `{*1-4}...{/}` writes what stands between so many times.
//! - `{{` and `}}` are braces.
//! - A line break with the blanks around it stands for one blank; after a `|` for nothing.
//!
//! Everything else is written as it stands, so a template holds the escapes that the vendor would
//! send. Templates are taken apart once; writing one is a walk over its pieces.

use super::field::Field;
use super::scene::Scene;
use fastrand::Rng;
use std::ops::Range;

/// Fields marked `?` are empty in one of so many messages.
const EMPTY_ONE_IN: u32 = 3;

/// A template, taken apart.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// All literal text, of pieces and of alternatives.
    text: Vec<u8>,
    pieces: Vec<Piece>,
    /// Alternatives of all choices, as ranges of `text`.
    alternatives: Vec<Range<usize>>,
}

/// Literal text and what follows it.
#[derive(Debug)]
struct Piece {
    literal: Range<usize>,
    then: Then,
}

#[derive(Debug)]
enum Then {
    /// The template or the repeated part ends.
    End,
    Field(Field),
    FieldOrEmpty(Field),
    /// One of these `alternatives`.
    Choice(Range<usize>),
    /// The next `pieces_count` pieces, `least` to `most` times.
    Repeat {
        least: u32,
        most: u32,
        pieces_count: usize,
    },
}

/// A template with a mistake in it. They are part of the program, so only its tests see this.
#[derive(Debug)]
pub(super) struct BadTemplate {
    /// What stands in the braces.
    pub(super) field: String,
    pub(super) why: &'static str,
}

impl std::fmt::Display for BadTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "mistake in a template at {{{}}}: {}",
            self.field, self.why
        )
    }
}

impl Template {
    /// Takes a template apart.
    pub(super) fn parse(text: &str) -> Result<Self, BadTemplate> {
        let folded = fold(text);
        let mut template = Template::default();
        let mut literal_start = 0;
        // The pieces that opened a repetition which is not closed yet.
        let mut open = Vec::new();
        let mut rest = folded.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            template.text.extend_from_slice(&rest.as_bytes()[..at]);
            let brace = &rest[at..];
            if brace.starts_with("{{") || brace.starts_with("}}") {
                template.text.push(brace.as_bytes()[0]);
                rest = &brace[2..];
                continue;
            }
            let Some(inside) = brace.strip_prefix('{').and_then(|b| b.split_once('}')) else {
                return Err(bad(brace, "a brace without its partner"));
            };
            let literal = literal_start..template.text.len();
            let then = template.then(inside.0, &mut open)?;
            template.pieces.push(Piece { literal, then });
            literal_start = template.text.len();
            rest = inside.1;
        }
        template.text.extend_from_slice(rest.as_bytes());
        let literal = literal_start..template.text.len();
        template.pieces.push(Piece {
            literal,
            then: Then::End,
        });
        match open.is_empty() {
            true => Ok(template),
            false => Err(bad("*", "a repetition without its end")),
        }
    }

    /// A template that writes `text` as it stands.
    pub(super) fn literal(text: &str) -> Self {
        Template {
            text: text.as_bytes().to_vec(),
            pieces: vec![Piece {
                literal: 0..text.len(),
                then: Then::End,
            }],
            alternatives: Vec::new(),
        }
    }

    /// What the text between two braces stands for.
    fn then(&mut self, inside: &str, open: &mut Vec<usize>) -> Result<Then, BadTemplate> {
        if inside.contains("||") {
            let first = self.alternatives.len();
            for alternative in inside.split("||") {
                let start = self.text.len();
                self.text.extend_from_slice(alternative.as_bytes());
                self.alternatives.push(start..self.text.len());
            }
            return Ok(Then::Choice(first..self.alternatives.len()));
        }
        if let Some(times) = inside.strip_prefix('*') {
            let (least, most) = range(times).ok_or_else(|| bad(inside, "not a range of times"))?;
            open.push(self.pieces.len());
            return Ok(Then::Repeat {
                least,
                most,
                pieces_count: 0,
            });
        }
        if inside == "/" {
            let opened = open.pop().ok_or_else(|| bad(inside, "nothing to end"))?;
            let count = self.pieces.len() - opened;
            if let Some(Piece {
                then: Then::Repeat { pieces_count, .. },
                ..
            }) = self.pieces.get_mut(opened)
            {
                *pieces_count = count;
            }
            return Ok(Then::End);
        }
        let (name, empty) = inside
            .strip_suffix('?')
            .map_or((inside, false), |name| (name, true));
        let field = Field::parse(name).ok_or_else(|| bad(inside, "no such field"))?;
        Ok(if empty {
            Then::FieldOrEmpty(field)
        } else {
            Then::Field(field)
        })
    }

    /// Appends one message.
    pub(super) fn write(&self, scene: &Scene<'_>, rng: &mut Rng, out: &mut Vec<u8>) {
        self.write_pieces(&self.pieces, scene, rng, out);
    }

    fn write_pieces(&self, pieces: &[Piece], scene: &Scene<'_>, rng: &mut Rng, out: &mut Vec<u8>) {
        let mut rest = pieces;
        while let Some((piece, after)) = rest.split_first() {
            rest = after;
            out.extend_from_slice(&self.text[piece.literal.clone()]);
            match &piece.then {
                Then::End => {}
                Then::Field(field) => scene.write(*field, rng, out),
                Then::FieldOrEmpty(field) => {
                    if rng.u32(..EMPTY_ONE_IN) != 0 {
                        scene.write(*field, rng, out);
                    }
                }
                Then::Choice(alternatives) => {
                    let chosen = &self.alternatives[rng.usize(alternatives.clone())];
                    out.extend_from_slice(&self.text[chosen.clone()]);
                }
                Then::Repeat {
                    least,
                    most,
                    pieces_count,
                } => {
                    let (repeated, behind) = after.split_at(*pieces_count);
                    for _ in 0..rng.u32(*least..=*most) {
                        self.write_pieces(repeated, scene, rng, out);
                    }
                    rest = behind;
                }
            }
        }
    }
}

/// `least-most`, or one number for both.
pub(super) fn range<T: std::str::FromStr + Copy + PartialOrd>(text: &str) -> Option<(T, T)> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let (least, most) = (least.parse().ok()?, most.parse().ok()?);
    (least <= most).then_some((least, most))
}

/// Joins the lines of a template.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !folded.is_empty() && !folded.ends_with('|') {
            folded.push(' ');
        }
        folded.push_str(line);
    }
    folded
}

fn bad(field: &str, why: &'static str) -> BadTemplate {
    BadTemplate {
        field: field.chars().take(40).collect(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::generate::Vendor;
    use crate::generate::scene::{Actors, Report};

    fn written(text: &str, seed: u64) -> String {
        let mut rng = Rng::with_seed(seed);
        let actors = Actors::draw(&mut rng);
        let report = Report {
            vendor: Vendor::F5,
            id_prefix: b"cf1-",
            id: 7,
            now: Wall(0),
        };
        let scene = Scene::draw(&mut rng, actors, report);
        let mut out = Vec::new();
        Template::parse(text)
            .unwrap()
            .write(&scene, &mut rng, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_joined_by_one_blank_and_after_a_pipe_by_none() {
        assert_eq!(written("a|\n   k=v\n\n   l=w ", 1), "a|k=v l=w");
    }

    #[test]
    fn braces_can_be_written() {
        assert_eq!(written("x={{'a': {{}}}}", 1), "x={'a': {}}");
    }

    #[test]
    fn a_choice_writes_each_of_its_alternatives_pipes_and_all() {
        let mut seen: Vec<_> = (0..50)
            .map(|seed| written("{1|one||2|two||}", seed))
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, ["", "1|one", "2|two"]);
    }

    #[test]
    fn a_repeated_part_is_written_as_often_as_its_range_allows() {
        let mut seen: Vec<_> = (0..50)
            .map(|seed| written("<{*1-3}({*0-0}never{/}){/}>", seed))
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, ["<()()()>", "<()()>", "<()>"]);
    }

    #[test]
    fn a_field_with_a_question_mark_is_sometimes_empty() {
        let empty = (0..300)
            .filter(|seed| written("{id?}", *seed).is_empty())
            .count();
        assert!((70..130).contains(&empty), "{empty}");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("a {nonsense} b", "no such field"),
            ("a {id", "a brace without its partner"),
            ("a } b", "a brace without its partner"),
            ("{*3-1}x{/}", "not a range of times"),
            ("x{/}", "nothing to end"),
            ("{*1-2}x", "a repetition without its end"),
        ] {
            assert_eq!(Template::parse(text).unwrap_err().why, why, "{text}");
        }
    }
}
