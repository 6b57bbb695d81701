//! The row that tells how many rows `deduplicate` has suppressed, where no row alike came that could.
//! It holds what they had in common, in the same columns.

use super::additional::guard;
use super::columns::{COLUMNS, Kind};
use super::row::Row;
use super::{Mapper, Source};
use crate::filter::{HeaderField, Place, Summary};
use crate::limits::COLUMN_BYTES_MAX;
use crate::metrics::{Counter, Tally};
use crate::page::{Lead, RowPage};
use crate::parse::Escapes;

impl Mapper {
    /// Writes its row into the page. False if it does not fit, which bounds on keys rule out.
    pub(super) fn summary(
        &mut self,
        summary: &Summary,
        source: Source,
        page: &mut RowPage,
        tally: &mut Tally,
    ) -> bool {
        self.stamp(source.received.wall);
        let before = page.bytes_len();
        let written = page.write_row(source.received.mono, self.row_bytes_max, |out| {
            let mut row = Row::new(out, COLUMN_BYTES_MAX, None);
            self.summary_row(&mut row, summary);
        });
        if written.is_ok() {
            tally.add(Counter::RowsSummarizing, 1);
            tally.add(Counter::RowsWritten, 1);
            let written = page.bytes_len().saturating_sub(before);
            tally.add(Counter::RowBytesWritten, written as u64);
        }
        written.is_ok()
    }

    fn summary_row(&self, row: &mut Row<'_>, summary: &Summary) {
        row.out.lead(&self.stamp.1);
        for (place, text) in summary.values() {
            let (name, kind) = match place {
                Place::Header(HeaderField::Vendor) => ("DeviceVendor", Kind::Text),
                Place::Header(HeaderField::Product) => ("DeviceProduct", Kind::Text),
                Place::Header(HeaderField::Version) => ("DeviceVersion", Kind::Text),
                Place::Header(HeaderField::ClassId) => ("DeviceEventClassID", Kind::Text),
                Place::Header(HeaderField::Name) => ("Activity", Kind::Text),
                Place::Header(HeaderField::Severity) => ("LogSeverity", Kind::Text),
                Place::Computer => ("Computer", Kind::Text),
                Place::Column { column, kind, .. } => {
                    let column = COLUMNS.get(usize::from(*column));
                    (column.map_or("", |column| column.name), *kind)
                }
                Place::Key { .. } => continue,
            };
            let quote = match kind {
                Kind::Text | Kind::DateTime => "\"",
                Kind::Int | Kind::Long | Kind::Real => "",
            };
            let lead = Lead::new(format!(",\"{name}\":{quote}").as_bytes());
            match quote {
                // a number is as it was read from the row
                "" if !text.is_empty() => {
                    row.out.lead(&lead);
                    row.out.extend_from_slice(text);
                }
                "" => {}
                _ => {
                    row.text(&lead, text, Escapes::None);
                }
            }
        }
        self.collector_name(row);
        row.additional(self.semicolon(), |more| {
            more.mark(b"cefline.mark", b"rows_suppressed");
            more.mark(b"cefline.filter", summary.about.rule.as_bytes());
            more.mark(b"cefline.repeated", summary.count.to_string().as_bytes());
            for (place, text) in summary.values() {
                if let Place::Key { key, .. } = place
                    && !text.is_empty()
                {
                    more.plain(guard(key), key, text);
                }
            }
        });
        row.out.push(b'}');
    }
}
