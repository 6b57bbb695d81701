//! What became of every frame, said at the end of a run.

use crate::metrics::{Counter, Snapshot, Stage};
use std::fmt;

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// Everything that was counted.
    pub snapshot: Snapshot,
    /// A thread ended by a fault of the program.
    pub is_broken: bool,
}

impl Report {
    /// The identity in one line.
    #[must_use]
    pub fn first_line(&self) -> String {
        let snapshot = &self.snapshot;
        // only what there is: a reader of the usual line need not know the others
        let term = |name: &str, rows: u64| match rows {
            0 => String::new(),
            rows => format!(" + {name} {rows}"),
        };
        format!(
            "received {} frames{}{}{} = uploaded {} rows + held {}{}{} + lost {}",
            snapshot.value(Counter::FramesReceived),
            term("recovered", snapshot.value(Counter::RowsRecovered)),
            term("heartbeats", snapshot.value(Counter::Heartbeats)),
            term("summaries", snapshot.value(Counter::RowsSummarizing)),
            snapshot.value(Counter::RowsUploaded),
            snapshot.held(),
            term("quarantined", snapshot.rows_quarantined()),
            term("filtered", snapshot.rows_filtered()),
            snapshot.frames_lost() + snapshot.rows_lost(),
        )
    }

    /// Rows and frames that were received and are neither uploaded, nor safe on disk, nor answered
    /// for by the configuration or the service.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.snapshot.held() - self.snapshot.held_in(Stage::Spool)
            + self.snapshot.value(Counter::RowsLostUnsent)
            + self.snapshot.value(Counter::FramesLostStop)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = &self.snapshot;
        writeln!(f, "{}", self.first_line())?;
        for stage in Stage::ALL {
            let rows = snapshot.held_in(stage);
            if rows > 0 {
                let safe = match stage {
                    Stage::Spool => " (safe on disk, for the next run)",
                    _ => "",
                };
                writeln!(f, "  held in {}: {rows}{safe}", stage.name())?;
            }
        }
        for counter in Counter::ALL {
            let what = match counter.name() {
                "frames_lost_total" | "rows_lost_total" => "lost",
                "rows_quarantined_total" => "quarantined",
                "rows_filtered_total" => "filtered",
                _ => continue,
            };
            if let (1.., Some((_, reason))) = (snapshot.value(*counter), counter.label()) {
                writeln!(f, "  {what}, {reason}: {}", snapshot.value(*counter))?;
            }
        }
        let twice = snapshot.value(Counter::RowsMaybeTwice);
        if twice > 0 {
            writeln!(
                f,
                "  perhaps twice in the table, an answer was lost: {twice}"
            )?;
        }
        let imbalance = snapshot.imbalance();
        if imbalance != 0 {
            writeln!(
                f,
                "  unaccounted for: {imbalance}; this is a fault of cefline"
            )?;
        }
        Ok(())
    }
}
