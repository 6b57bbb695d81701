//! What the rules of `[[filter]]` would do to a file of messages: line by line, and as a table.

use crate::config::Filter;
use crate::filter::Effect;
use std::fmt::Write;

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Report {
    rules: Vec<Line>,
    lines: u64,
    all: Sums,
}

#[derive(Debug)]
struct Line {
    name: String,
    action: &'static str,
    sums: Sums,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    rows: u64,
    dropped: u64,
    /// Bytes of JSON of these rows without any rule...
    before: u64,
    /// ...and with this one, or with all.
    after: u64,
}

impl Report {
    pub(super) fn new(rules: &[Filter]) -> Self {
        let line = |rule: &Filter| Line {
            name: rule.name.clone(),
            action: rule.action.word(),
            sums: Sums::default(),
        };
        Report {
            rules: rules.iter().map(line).collect(),
            lines: 0,
            all: Sums::default(),
        }
    }

    /// Takes up what was done to one message, of which a row of so many bytes was written, and says
    /// it in one line. Without a row and without effects there is none by the configuration.
    pub(super) fn line(&mut self, effects: &[Effect], written: usize) -> String {
        self.lines += 1;
        let written = written as u64;
        let saved: u64 = effects.iter().map(|effect| effect.saved).sum();
        let added: u64 = effects.iter().map(|effect| effect.added).sum();
        let before = (written + saved).saturating_sub(added);
        let mut text = format!("{}: {before} bytes", self.lines);
        if before > 0 {
            self.all.rows += 1;
        }
        self.all.before += before;
        self.all.after += written;
        for effect in effects {
            let Some(rule) = self.rules.get_mut(usize::from(effect.rule)) else {
                continue;
            };
            rule.sums.rows += 1;
            rule.sums.dropped += u64::from(effect.dropped);
            rule.sums.before += before;
            rule.sums.after += (before + effect.added).saturating_sub(effect.saved);
            self.all.dropped += u64::from(effect.dropped);
            let (name, action) = (&rule.name, rule.action);
            let what = match (effect.dropped, effect.saved, effect.added) {
                (true, saved, _) => format!("no row, -{saved}"),
                (false, 0, 0) => "passes".to_owned(),
                (false, saved, 0) => format!("-{saved}"),
                (false, 0, added) => format!("+{added}"),
                (false, saved, added) => format!("-{saved} +{added}"),
            };
            // a String takes everything
            let _ = write!(text, "; {name} ({action}): {what}");
        }
        if !effects.is_empty() {
            let _ = write!(text, "; {written} bytes");
        }
        text.push('\n');
        text
    }

    /// Takes up rows that tell of suppressed ones.
    pub(super) fn summaries(&mut self, bytes: usize) {
        self.all.after += bytes as u64;
    }

    /// The table.
    pub(super) fn table(&self) -> String {
        let names = self.rules.iter().map(|rule| rule.name.len());
        let width = names.max().unwrap_or(0).max("all messages".len());
        let mut text = format!(
            "{:width$}  {:11}  {:>9}  {:>9}  {:>12}  {:>12}  {:>6}\n",
            "rule", "action", "matched", "dropped", "bytes before", "bytes after", "saved"
        );
        let mut row = |name: &str, action: &str, sums: &Sums| {
            let Sums {
                rows,
                dropped,
                before,
                after,
            } = sums;
            let share = sums.saved();
            let _ = writeln!(
                text,
                "{name:width$}  {action:11}  {rows:>9}  {dropped:>9}  {before:>12}  {after:>12}  {share:>6}"
            );
        };
        for rule in &self.rules {
            row(&rule.name, rule.action, &rule.sums);
        }
        row("all messages", "", &self.all);
        text
    }
}

impl Sums {
    /// In percent; of nothing, nothing.
    fn saved(&self) -> String {
        if self.before == 0 {
            return "-".to_owned();
        }
        let share = 1.0 - self.after as f64 / self.before as f64;
        format!("{:.1} %", 100.0 * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::filter::Action;

    #[test]
    fn bytes_before_are_those_without_any_rule() {
        let rule = |name: &str, action| Filter {
            name: name.to_owned(),
            when: Vec::new(),
            action,
        };
        let set = Action::Set("A_CF".into(), "x".into());
        let mut report = Report::new(&[rule("trim", Action::Sample(2)), rule("site", set)]);
        let effect = |rule, dropped, saved, added| Effect {
            rule,
            dropped,
            saved,
            added,
        };
        let effects = [effect(0, false, 300, 0), effect(1, false, 0, 20)];
        assert_eq!(
            report.line(&effects, 720),
            "1: 1000 bytes; trim (sample): -300; site (set): +20; 720 bytes\n"
        );
        let effects = [effect(0, true, 500, 0)];
        assert_eq!(
            report.line(&effects, 0),
            "2: 500 bytes; trim (sample): no row, -500; 0 bytes\n"
        );
        assert_eq!(report.line(&[], 0), "3: 0 bytes\n");
        let table = report.table();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            ["trim", "sample", "2", "1", "1500", "700", "53.3", "%"]
        );
        assert_eq!(
            lines[2],
            ["site", "set", "1", "0", "1000", "1020", "-2.0", "%"]
        );
        assert_eq!(
            lines[3],
            ["all", "messages", "2", "1", "1500", "720", "52.0", "%"]
        );
    }
}
