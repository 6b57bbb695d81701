//! An answer as a table for a terminal.
//!
//! Columns that are empty in every row are left out. If the rest does not fit, long values are cut,
//! then whole columns are left out from the right, and a line below names them. The columns stand as
//! the query chose them; in an answer with all of the table's columns, which nobody chose, those that
//! say most come first. Nothing
//! that a row holds can move the cursor or change colours: control characters are written as
//! escapes.

use std::fmt::Write;

use serde_json::Value;

/// Widest that a column may be while others wait for room.
const COLUMN_WIDTH_MOST: usize = 60;
/// Narrowest that a column is cut to: a time fits, and a usual address.
const COLUMN_WIDTH_LEAST: usize = 28;
/// More columns than this are nobody's choice.
const CHOSEN_MOST: usize = 40;
/// Between two columns.
const GAP: &str = "  ";

/// The columns that say most of a row, first to last; those not named here come behind.
const TELLING: [&str; 24] = [
    "TimeGenerated",
    "DeviceVendor",
    "DeviceProduct",
    "Activity",
    "LogSeverity",
    "SourceIP",
    "DestinationIP",
    "DestinationPort",
    "DeviceAction",
    "Message",
    "DeviceEventClassID",
    "Computer",
    "SourceUserName",
    "DestinationUserName",
    "SourceHostName",
    "DestinationHostName",
    "Protocol",
    "RequestURL",
    "FileName",
    "ExtID",
    "SourcePort",
    "DeviceName",
    "EventOutcome",
    "AdditionalExtensions",
];

/// A table of these rows, at most so many characters wide, with a line break behind each line.
/// `columns` are the names; each row has a value for each.
#[must_use]
pub fn table(columns: &[String], rows: &[Vec<Value>], width_max: usize) -> String {
    let mut shown = Vec::new();
    for (index, name) in columns.iter().enumerate() {
        let cells: Vec<String> = rows
            .iter()
            .map(|row| row.get(index).map_or_else(String::new, text))
            .collect();
        if rows.is_empty() || cells.iter().any(|cell| !cell.is_empty()) {
            let content = cells
                .iter()
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0);
            let is_number = !rows.is_empty()
                && rows
                    .iter()
                    .all(|row| matches!(row.get(index), Some(Value::Number(_) | Value::Null)));
            shown.push(Shown {
                name: escape(name),
                wanted: content.max(name.chars().count()),
                cells,
                is_number,
            });
        }
    }
    if columns.len() > CHOSEN_MOST {
        let telling = |one: &Shown| TELLING.iter().position(|name| *name == one.name);
        shown.sort_by_key(|one| telling(one).unwrap_or(TELLING.len()));
    }
    let mut left_out = Vec::new();
    while shown.len() > 1 && total(&shown, Shown::least) > width_max {
        left_out.extend(shown.pop().map(|one| one.name));
    }
    let widths = share_out(&shown, width_max);
    let mut out = lines(&shown, &widths, rows.len());
    if !left_out.is_empty() {
        left_out.reverse();
        let _ = writeln!(
            out,
            "{}",
            cut(
                &format!("({} more columns: {})", left_out.len(), left_out.join(" ")),
                width_max
            )
        );
    }
    out
}

struct Shown {
    name: String,
    cells: Vec<String>,
    /// Characters of its longest cell, or of its name.
    wanted: usize,
    is_number: bool,
}

impl Shown {
    /// What it can be cut to: never its name, so that a query can be written from what is seen.
    fn least(&self) -> usize {
        let name = self.name.chars().count();
        self.wanted.min(name.max(COLUMN_WIDTH_LEAST))
    }
}

fn total(shown: &[Shown], width: impl Fn(&Shown) -> usize) -> usize {
    let gaps = shown.len().saturating_sub(1) * GAP.len();
    shown.iter().map(width).sum::<usize>() + gaps
}

/// Gives each column what it can do with, and what is left over to the first that want more.
fn share_out(shown: &[Shown], width_max: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = shown.iter().map(Shown::least).collect();
    let mut left = width_max.saturating_sub(total(shown, Shown::least));
    for most in [COLUMN_WIDTH_MOST, usize::MAX] {
        for (width, one) in widths.iter_mut().zip(shown) {
            let more = one.wanted.min(most).saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
    }
    // a single column may still be wider than all there is
    widths
        .iter_mut()
        .for_each(|width| *width = (*width).min(width_max.max(1)));
    widths
}

fn lines(shown: &[Shown], widths: &[usize], rows_count: usize) -> String {
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = (String, bool)>| {
        let mut text = String::new();
        for ((cell, right), width) in cells.zip(widths) {
            if !text.is_empty() {
                text.push_str(GAP);
            }
            let cell = cut(&cell, *width);
            let _ = if right {
                write!(text, "{cell:>width$}")
            } else {
                write!(text, "{cell:<width$}")
            };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut shown.iter().map(|one| (one.name.clone(), one.is_number)));
    line(
        &mut shown
            .iter()
            .zip(widths)
            .map(|(_, width)| ("-".repeat(*width), false)),
    );
    for row in 0..rows_count {
        let cell = |one: &Shown| {
            (
                one.cells.get(row).cloned().unwrap_or_default(),
                one.is_number,
            )
        };
        line(&mut shown.iter().map(cell));
    }
    out
}

/// A value as text on one line.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape(text),
        other => escape(&other.to_string()),
    }
}

/// Text without anything that a terminal would obey: control characters, and those that turn the
/// direction of writing, as escapes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        let turns = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if letter.is_control() || turns => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(letter));
            }
            _ => out.push(letter),
        }
    }
    out
}

/// At most so many characters, the last an ellipsis if there were more.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn show(columns: &[&str], rows: &[Value], width: usize) -> String {
        let names: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let rows: Vec<Vec<Value>> = rows
            .iter()
            .map(|row| row.as_array().unwrap().clone())
            .collect();
        table(&names, &rows, width)
    }

    #[test]
    fn empty_columns_are_left_out_and_numbers_stand_right() {
        let text = show(
            &["DeviceVendor", "Message", "Count"],
            &[json!(["Darktrace", "", 5]), json!(["Fortinet", "", 1200])],
            80,
        );
        assert_eq!(
            text,
            "DeviceVendor  Count\n------------  -----\nDarktrace         5\nFortinet       1200\n"
        );
    }

    #[test]
    fn an_answer_without_rows_shows_its_columns() {
        assert_eq!(show(&["A", "B"], &[], 80), "A  B\n-  -\n");
    }

    #[test]
    fn nothing_in_a_row_can_steer_the_terminal() {
        let text = show(
            &["Message"],
            &[json!(["\u{1b}[2Ja\nb\tc\u{202e}d\u{85}"])],
            80,
        );
        assert!(
            text.contains("\\u{1b}[2Ja\\nb\\tc\\u{202e}d\\u{85}"),
            "{text}"
        );
        assert!(
            !text
                .chars()
                .any(|letter| letter.is_control() && letter != '\n')
        );
    }

    #[test]
    fn a_wide_answer_keeps_its_telling_columns_and_names_the_others() {
        let columns: Vec<String> = crate::map::columns::COLUMNS
            .iter()
            .map(|column| column.name.to_owned())
            .collect();
        let rows = vec![
            columns
                .iter()
                .map(|name| json!(format!("value of {name} {}", "x".repeat(50))))
                .collect::<Vec<_>>();
            3
        ];
        for width in [1, 40, 80, 120, 200] {
            let text = table(&columns, &rows, width);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            assert!(text.lines().count() == 6, "{text}");
            if width >= 80 {
                assert!(text.starts_with("TimeGenerated"), "{text}");
                assert!(text.contains("more columns:"), "{text}");
            }
        }
    }

    #[test]
    fn a_long_value_gets_the_room_that_is_left() {
        let text = show(&["A", "Message"], &[json!(["a", "m".repeat(100)])], 50);
        let row = text.lines().nth(2).unwrap();
        assert_eq!(row.chars().count(), 50);
        assert!(row.ends_with('…'));
    }
}
