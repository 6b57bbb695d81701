//! Conditions made ready to be asked of very many values.

use super::Seen;
use super::values::Values;
use crate::config::filter::{self, Condition, How, Network, Number};
use memchr::memmem::Finder;
use std::net::IpAddr;

/// A condition.
#[derive(Debug)]
pub(super) enum Node {
    /// Of one value; nearly all conditions are.
    Value(u16, Test),
    Other(Other),
}

/// One that is more, or less, than a test of a value.
#[derive(Debug)]
pub(super) enum Other {
    Peer(Vec<Network>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
}

impl Node {
    /// Makes a condition ready; its fields get their places among `values`.
    pub(super) fn of(condition: &Condition, values: &mut Values) -> Node {
        Node::Other(match condition {
            Condition::Value(field, test) => {
                return Node::Value(values.slot(field), Test::of(test));
            }
            Condition::Peer(networks) => Other::Peer(networks.clone()),
            Condition::All(all) => Other::All(Node::all(all, values)),
            Condition::Any(any) => Other::Any(Node::all(any, values)),
            Condition::Not(inner) => Other::Not(Box::new(Node::of(inner, values))),
        })
    }

    pub(super) fn all<'c>(
        conditions: impl IntoIterator<Item = &'c Condition>,
        values: &mut Values,
    ) -> Vec<Node> {
        let conditions = conditions.into_iter();
        conditions.map(|one| Node::of(one, values)).collect()
    }

    /// Whether it holds for the record at hand. As deep as the configuration may nest it.
    #[inline]
    pub(super) fn holds(&self, values: &mut Values, seen: &impl Seen) -> bool {
        match self {
            Node::Value(slot, test) => {
                let (value, folded) = values.value(*slot, seen);
                test.holds(value, folded)
            }
            Node::Other(other) => other.holds(values, seen),
        }
    }
}

impl Other {
    #[inline(never)]
    fn holds(&self, values: &mut Values, seen: &impl Seen) -> bool {
        match self {
            Other::Peer(networks) => {
                let peer = seen.peer();
                networks.iter().any(|network| network.has(peer))
            }
            Other::All(all) => all.iter().all(|node| node.holds(values, seen)),
            Other::Any(any) => any.iter().any(|node| node.holds(values, seen)),
            Other::Not(inner) => !inner.holds(values, seen),
        }
    }
}

/// What must hold for a value.
#[derive(Debug)]
pub(super) enum Test {
    Exists(bool),
    /// Sorted by length, then bytes; in small letters if `fold`.
    Equals {
        texts: Vec<Vec<u8>>,
        fold: bool,
    },
    Ends {
        texts: Vec<Vec<u8>>,
        fold: bool,
        is_prefix: bool,
    },
    Contains {
        finders: Vec<Finder<'static>>,
        fold: bool,
    },
    Numbers(Vec<Number>),
    Range(Option<Number>, Option<Number>),
    Networks(Vec<Network>),
}

impl Test {
    fn of(test: &filter::Test) -> Test {
        match test {
            filter::Test::Exists(is_there) => Test::Exists(*is_there),
            filter::Test::Numbers(numbers) => Test::Numbers(numbers.clone()),
            filter::Test::Range(least, most) => Test::Range(*least, *most),
            filter::Test::Networks(networks) => Test::Networks(networks.clone()),
            filter::Test::Text {
                how,
                texts,
                ignore_case: fold,
            } => {
                let fold = *fold;
                let folded = texts.iter().map(|text| match fold {
                    true => text.to_ascii_lowercase().into_bytes(),
                    false => text.clone().into_bytes(),
                });
                let mut texts: Vec<Vec<u8>> = folded.collect();
                match how {
                    How::Equals => {
                        texts.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
                        Test::Equals { texts, fold }
                    }
                    How::Prefix | How::Suffix => Test::Ends {
                        texts,
                        fold,
                        is_prefix: *how == How::Prefix,
                    },
                    How::Contains => Test::Contains {
                        finders: texts
                            .iter()
                            .map(|text| Finder::new(text).into_owned())
                            .collect(),
                        fold,
                    },
                }
            }
        }
    }

    fn holds(&self, value: Option<&[u8]>, folded: &mut Vec<u8>) -> bool {
        let Some(value) = value else {
            return matches!(self, Test::Exists(false));
        };
        match self {
            Test::Exists(is_there) => *is_there,
            Test::Equals { texts, fold } => {
                let value = folding(value, *fold, folded);
                match &texts[..] {
                    [one] => one == value,
                    _ => texts
                        .binary_search_by(|text| (text.len(), &text[..]).cmp(&(value.len(), value)))
                        .is_ok(),
                }
            }
            Test::Ends {
                texts,
                fold,
                is_prefix,
            } => texts.iter().any(|text| {
                let end = match is_prefix {
                    true => value.get(..text.len()),
                    false => value
                        .len()
                        .checked_sub(text.len())
                        .and_then(|at| value.get(at..)),
                };
                end.is_some_and(|end| match fold {
                    true => end.eq_ignore_ascii_case(text),
                    // most differ in the first byte, which needs no call
                    false => end.first() == text.first() && end == text,
                })
            }),
            Test::Contains { finders, fold } => {
                let value = folding(value, *fold, folded);
                finders.iter().any(|finder| finder.find(value).is_some())
            }
            Test::Numbers(numbers) => {
                Number::read(value).is_some_and(|number| numbers.contains(&number))
            }
            Test::Range(least, most) => Number::read(value).is_some_and(|number| {
                least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
            }),
            Test::Networks(networks) => address(value)
                .is_some_and(|address| networks.iter().any(|network| network.has(address))),
        }
    }
}

/// The value, in small letters if asked for.
fn folding<'v>(value: &'v [u8], fold: bool, folded: &'v mut Vec<u8>) -> &'v [u8] {
    if !fold {
        return value;
    }
    folded.clear();
    folded.extend_from_slice(value);
    folded.make_ascii_lowercase();
    folded
}

fn address(value: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
