//! Text tests: whole, part, word, start and end, with case or without.
//!
//! `has` looks for a word: what stands before and behind it must not be a letter or digit. Case is
//! folded by Unicode's simple lower case, ASCII on a faster way.

use std::borrow::Cow;

/// How a text is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// `==`, `=~`
    Equals,
    /// `has`
    Has,
    /// `contains`
    Contains,
    /// `startswith`
    StartsWith,
    /// `endswith`
    EndsWith,
}

/// The text as it is compared when case does not count.
#[must_use]
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.to_lowercase())
}

/// Tests `text` for `needle`. If `folded`, `needle` must be folded already and case does not count.
#[must_use]
pub fn test(test: Test, folded: bool, text: &str, needle: &str) -> bool {
    if !folded {
        return test_exact(test, text, needle);
    }
    if text.is_ascii() {
        return test_ascii(test, text.as_bytes(), needle.as_bytes());
    }
    test_exact(test, &text.to_lowercase(), needle)
}

fn test_exact(test: Test, text: &str, needle: &str) -> bool {
    match test {
        Test::Equals => text == needle,
        Test::Contains => text.contains(needle),
        Test::StartsWith => text.starts_with(needle),
        Test::EndsWith => text.ends_with(needle),
        Test::Has => {
            let mut from = 0;
            while let Some(found) = text.get(from..).and_then(|rest| rest.find(needle)) {
                let start = from + found;
                let end = start + needle.len();
                let before = text.get(..start).and_then(|text| text.chars().next_back());
                let behind = text.get(end..).and_then(|text| text.chars().next());
                if is_word(
                    before,
                    needle.chars().next(),
                    needle.chars().next_back(),
                    behind,
                ) {
                    return true;
                }
                from = start + needle.chars().next().map_or(1, char::len_utf8);
            }
            false
        }
    }
}

/// The same for a text of ASCII only, without copying it.
fn test_ascii(test: Test, text: &[u8], needle: &[u8]) -> bool {
    let equal = |part: Option<&[u8]>| part.is_some_and(|part| part.eq_ignore_ascii_case(needle));
    let from_end = text.len().checked_sub(needle.len());
    match test {
        Test::Equals => equal(Some(text)),
        Test::StartsWith => equal(text.get(..needle.len())),
        Test::EndsWith => equal(from_end.and_then(|start| text.get(start..))),
        Test::Contains => find_ascii(text, needle, 0).is_some(),
        Test::Has => {
            let letter = |byte: Option<&u8>| byte.copied().map(char::from);
            let mut from = 0;
            while let Some(start) = find_ascii(text, needle, from) {
                let before = start.checked_sub(1).and_then(|at| text.get(at));
                let behind = text.get(start + needle.len());
                if is_word(
                    letter(before),
                    letter(needle.first()),
                    letter(needle.last()),
                    letter(behind),
                ) {
                    return true;
                }
                from = start + 1;
            }
            false
        }
    }
}

/// Where `needle`, in lower case, is in `text` from a place on.
fn find_ascii(text: &[u8], needle: &[u8], mut from: usize) -> Option<usize> {
    let Some(first) = needle.first() else {
        return (from <= text.len()).then_some(from);
    };
    let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    loop {
        let start = from + memchr::memchr2(lower, upper, text.get(from..)?)?;
        if text
            .get(start..start.checked_add(needle.len())?)?
            .eq_ignore_ascii_case(needle)
        {
            return Some(start);
        }
        from = start + 1;
    }
}

/// True if the edges of what was found are edges of words.
fn is_word(
    before: Option<char>,
    first: Option<char>,
    last: Option<char>,
    behind: Option<char>,
) -> bool {
    let joined = |one: Option<char>, other: Option<char>| {
        one.is_some_and(char::is_alphanumeric) && other.is_some_and(char::is_alphanumeric)
    };
    !joined(before, first) && !joined(last, behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(kind: Test, text: &str, needle: &str) -> bool {
        test(kind, true, text, &fold(needle))
    }

    #[test]
    fn has_finds_words_and_contains_parts() {
        let text = "Model breach: Anomalous-Connection on host10";
        for (needle, has, contains) in [
            ("breach", true, true),
            ("BREACH", true, true),
            ("anomalous", true, true),
            ("Anomal", false, true),
            ("host", false, true),
            ("host10", true, true),
            ("connection on", true, true),
            ("nothing", false, false),
            ("", true, true),
            ("-connection", true, true),
            ("10", false, true),
        ] {
            assert_eq!(folded(Test::Has, text, needle), has, "has {needle}");
            assert_eq!(
                folded(Test::Contains, text, needle),
                contains,
                "contains {needle}"
            );
        }
        assert!(folded(Test::Has, "abc abcd abc", "ABC"));
        assert!(!folded(Test::Has, "abcd xabc", "abc"));
        assert!(
            folded(Test::Has, "abcd abc", "abc"),
            "the second place counts too"
        );
    }

    #[test]
    fn case_counts_only_where_it_should() {
        assert!(test(Test::Equals, false, "Darktrace", "Darktrace"));
        assert!(!test(Test::Equals, false, "Darktrace", "darktrace"));
        assert!(folded(Test::Equals, "Darktrace", "DARKTRACE"));
        assert!(folded(Test::StartsWith, "Darktrace", "dark"));
        assert!(folded(Test::EndsWith, "Darktrace", "TRACE"));
        assert!(!folded(Test::EndsWith, "ace", "TRACE"));
        assert!(folded(Test::Contains, "Überraschung", "ÜBER"));
        assert!(folded(Test::Has, "eine Überraschung!", "überraschung"));
        assert!(!folded(Test::Has, "Überraschung", "ber"));
        assert!(!test(Test::Has, false, "a Word b", "word"));
    }

    #[test]
    fn the_two_ways_agree_on_ascii() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut text = |length: usize| -> String {
            (0..random.usize(0..length))
                .map(|_| random.choice(['a', 'B', '-', '1']).unwrap())
                .collect()
        };
        for _ in 0..5000 {
            let (hay, needle) = (text(12), text(4));
            for kind in [
                Test::Equals,
                Test::Has,
                Test::Contains,
                Test::StartsWith,
                Test::EndsWith,
            ] {
                let fast = folded(kind, &hay, &needle);
                let plain = test_exact(kind, &hay.to_lowercase(), &needle.to_lowercase());
                assert_eq!(fast, plain, "{kind:?} {hay:?} {needle:?} seed {seed}");
            }
        }
    }
}
