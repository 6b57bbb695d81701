//! Log lines that cannot flood: one kind of line at most once in a period, and the next one says
//! how many were withheld.

use crate::clock::Mono;
use crate::limits::LOG_TEXT_CHARS_MAX;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Allows one line in a period. Shared by the threads that write the same kind of line.
#[derive(Debug)]
pub struct Limited {
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// From here on the next line is allowed; nothing before the first.
    next_at: Option<Mono>,
    /// Lines since the last one that was allowed.
    withheld: u64,
}

impl Limited {
    /// The first line is allowed at once.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        Limited {
            period,
            state: Mutex::default(),
        }
    }

    /// If a line may be written now: how many were withheld since the last one.
    #[must_use]
    pub fn allow(&self, now: Mono) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next_at.is_some_and(|next| now < next) {
            state.withheld += 1;
            return None;
        }
        state.next_at = Some(now.plus(self.period));
        Some(std::mem::take(&mut state.withheld))
    }
}

/// Text from outside, fit for a log line: cut, and without control characters.
#[must_use]
pub fn safe_text(text: &str) -> String {
    let mut safe = String::new();
    let mut chars = text.chars();
    for c in chars.by_ref().take(LOG_TEXT_CHARS_MAX) {
        // `escape_debug` also escapes quotes, which would make every JSON message unreadable
        match c {
            '"' | '\'' | '\\' => safe.push(c),
            _ => safe.extend(c.escape_debug()),
        }
    }
    if chars.next().is_some() {
        safe.push('…');
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_period_is_allowed_and_tells_how_many_were_withheld() {
        let limited = Limited::new(Duration::from_nanos(10));
        assert_eq!(limited.allow(Mono(0)), Some(0));
        assert_eq!(limited.allow(Mono(1)), None);
        assert_eq!(limited.allow(Mono(9)), None);
        assert_eq!(limited.allow(Mono(10)), Some(2));
        assert_eq!(limited.allow(Mono(19)), None);
        assert_eq!(limited.allow(Mono(20)), Some(1));
    }

    #[test]
    fn text_from_outside_is_cut_and_has_no_control_characters() {
        assert_eq!(safe_text("a\u{1b}[31m\nb \"c\""), "a\\u{1b}[31m\\nb \"c\"");
        let long = safe_text(&"é".repeat(LOG_TEXT_CHARS_MAX + 1));
        assert_eq!(long.chars().count(), LOG_TEXT_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
    }
}
