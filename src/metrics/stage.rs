//! The stages that hold rows.

/// A stage between whose way in and way out rows are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In the page that a shard is filling.
    Page,
    /// In the ring.
    Ring,
    /// In the body that an uploader is filling.
    Body,
    /// In sealed bodies in memory: being sent, or waiting to be sent.
    Flight,
    /// In bodies whose only copy is on disk.
    Spool,
}

impl Stage {
    /// All stages, in the order of the flow.
    pub const ALL: [Stage; 5] = [
        Stage::Page,
        Stage::Ring,
        Stage::Body,
        Stage::Flight,
        Stage::Spool,
    ];

    /// Its name in metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Page => "page",
            Stage::Ring => "ring",
            Stage::Body => "body",
            Stage::Flight => "flight",
            Stage::Spool => "spool",
        }
    }
}
