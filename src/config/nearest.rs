//! The known name that a mistyped one is nearest to.

/// The name among `known` that `name` was likely meant to be: at most a third of its characters
/// away, at most three.
pub(super) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // longer than any name: spare the quadratic comparison
    if name.len() > 64 {
        return None;
    }
    let distance_max = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`, case
/// and the choice of `-` or `_` apart.
fn distance(a: &str, b: &str) -> usize {
    let folded = |text: &str| -> Vec<char> {
        text.chars()
            .map(|c| {
                if c == '-' {
                    '_'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let (a, b) = (folded(a), folded(b));
    // three rows of the table: two before, one before, this
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before_last[j - 2] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("liner", "linger", 1),
            ("ab", "ba", 1),
            ("Raw-Bytes", "raw_bytes", 0),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_near_names_are_offered() {
        let known = ["linger", "gzip_level", "raw_bytes_max"];
        assert_eq!(nearest("liner", known), Some("linger"));
        assert_eq!(nearest("raw_byte_max", known), Some("raw_bytes_max"));
        assert_eq!(nearest("raw-bytes-max", known), Some("raw_bytes_max"));
        assert_eq!(nearest("password", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
