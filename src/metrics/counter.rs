//! The closed set of counters.

use super::stage::Stage;
use std::hint;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Declares the set: variant, name, reason label, help. One line a counter, so that the whole set
/// can be read at once.
macro_rules! counters {
    ($( $(#[doc = $help:literal])+ $variant:ident => $name:literal $( { $label:literal = $value:literal } )? ),+ $(,)?) => {
        /// Everything that is counted. The name is that of the metric without its prefix.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Counter {
            $( $(#[doc = $help])+ $variant, )+
        }

        impl Counter {
            /// All of them, in the order in which the data flows.
            pub const ALL: &'static [Counter] = &[ $( Counter::$variant, )+ ];

            /// Metric name, without prefix.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $( Counter::$variant => $name, )+ }
            }

            /// Label and value that set it apart from others of the same name.
            #[must_use]
            pub fn label(self) -> Option<(&'static str, &'static str)> {
                match self { $( Counter::$variant => counters!(@label $( $label, $value )?), )+ }
            }

            /// One sentence for the reader of `/metrics`.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $( Counter::$variant => concat!($( $help ),+).trim_ascii_start(), )+ }
            }
        }
    };
    (@label) => { None };
    (@label $label:literal, $value:literal) => { Some(($label, $value)) };
}

counters! {
    // ---- connections
    /// Connections accepted.
    ConnectionsAccepted => "connections_accepted_total",
    /// Connections closed after they were accepted.
    ConnectionsClosedByPeer => "connections_closed_total" { "reason" = "peer" },
    /// Connections closed after they were accepted.
    ConnectionsClosedByReset => "connections_closed_total" { "reason" = "reset" },
    /// Connections closed after they were accepted.
    ConnectionsClosedByFraming => "connections_closed_total" { "reason" = "framing_error" },
    /// Connections closed after they were accepted.
    ConnectionsClosedByStall => "connections_closed_total" { "reason" = "partial_frame_stalled" },
    /// Connections closed after they were accepted.
    ConnectionsClosedByBudget => "connections_closed_total" { "reason" = "partial_frame_budget" },
    /// Connections closed after they were accepted.
    ConnectionsClosedByStop => "connections_closed_total" { "reason" = "stop" },
    /// Connections refused at once.
    ConnectionsRefused => "connections_refused_total" { "reason" = "too_many" },
    /// Connections moved from a busy shard to an idle one.
    ConnectionsMoved => "connections_moved_total",
    /// Pieces of busy connections that were left to whichever shard has time.
    PiecesPassed => "pieces_passed_total",
    /// Frames in such pieces...
    FramesPassed => "frames_passed_total",
    /// ...and those of which rows were made, or that a stop has cost. At the end as many.
    FramesHelped => "frames_helped_total",

    // ---- bytes
    /// Bytes received from senders: framed, discarded, or part of an unfinished frame.
    BytesReceived => "received_bytes_total",
    /// Bytes that ended in a frame, with the delimiters and octet counts around them.
    BytesFramed => "framed_bytes_total",
    /// Bytes received that are in no frame.
    BytesDiscardedTooLong => "discarded_bytes_total" { "reason" = "frame_too_long" },
    /// Bytes received that are in no frame.
    BytesDiscardedBroken => "discarded_bytes_total" { "reason" = "framing_error" },
    /// Bytes received that are in no frame.
    BytesDiscardedPartial => "discarded_bytes_total" { "reason" = "partial_frame" },
    /// Reads from sockets that brought bytes.
    Reads => "reads_total",

    // ---- of our own
    /// Rows about the forwarder itself.
    Heartbeats => "heartbeats_total",
    /// Heartbeats that were left out, as all pages were in use.
    HeartbeatsSkipped => "heartbeats_skipped_total",

    // ---- frames
    /// Syslog frames received, whole, cut or partial; each becomes a row or is lost with a reason.
    FramesReceived => "frames_received_total",
    /// Frames longer than the limit: cut there, marked, the rest skipped.
    FramesTruncated => "frames_truncated_total",
    /// Frames that were unfinished when their connection ended and held a header of CEF or the tag of a
    /// Cisco firewall: kept, marked.
    FramesPartial => "frames_partial_total",
    /// Octet counts that were no number or past the limit; the connection is closed.
    FramingErrors => "framing_errors_total",
    /// Frames lost.
    FramesLostPartial => "frames_lost_total" { "reason" = "partial" },
    /// Frames lost.
    FramesLostUnparsed => "frames_lost_total" { "reason" = "unparsed_dropped_by_configuration" },
    /// Frames lost.
    FramesLostRowTooLong => "frames_lost_total" { "reason" = "row_too_long_even_shortened" },
    /// Frames lost.
    FramesLostStop => "frames_lost_total" { "reason" = "stopped_before_a_page_was_free" },

    // ---- records
    /// Frames parsed as CEF.
    RecordsParsed => "records_parsed_total",
    /// Lines of Cisco firewalls that are not CEF, by what of them is in columns beside the text.
    RecordsCiscoFields => "records_cisco_total" { "columns" = "fields" },
    /// Lines of Cisco firewalls that are not CEF, by what of them is in columns beside the text.
    RecordsCiscoText => "records_cisco_total" { "columns" = "text_only" },
    /// Frames that are not CEF, or too broken.
    RecordsUnparsedNoCef => "records_unparsed_total" { "reason" = "no_cef" },
    /// Frames that are not CEF, or too broken.
    RecordsUnparsedHeader => "records_unparsed_total" { "reason" = "header_incomplete" },
    /// CEF records with something amiss that were kept and marked.
    RecordsDegradedSeverity => "records_degraded_total" { "reason" = "severity_missing" },
    /// CEF records with something amiss that were kept and marked.
    RecordsDegradedPipe => "records_degraded_total" { "reason" = "last_pipe_missing" },
    /// CEF records with something amiss that were kept and marked.
    RecordsDegradedStray => "records_degraded_total" { "reason" = "text_before_first_key" },
    /// CEF records with invalid UTF-8, replaced by U+FFFD.
    RecordsInvalidUtf8 => "records_invalid_utf8_total",
    /// Values longer than a column holds, cut at a character boundary.
    ValuesTruncated => "values_truncated_total",
    /// Values that do not fit their column's type and went to AdditionalExtensions.
    ValuesUnfit => "values_unfit_total",
    /// Times asked for as TimeGenerated that were absent, no time, or outside of what the service
    /// takes; the time of receipt stands instead.
    TimesReplaced => "times_replaced_total",

    // ---- filters
    /// Rows that a rule of section filter has ended before they were written.
    RowsFilteredDrop => "rows_filtered_total" { "action" = "drop" },
    /// Rows that a rule of section filter has ended before they were written.
    RowsFilteredSample => "rows_filtered_total" { "action" = "sample" },
    /// Rows that a rule of section filter has ended before they were written.
    RowsFilteredRate => "rows_filtered_total" { "action" = "rate_limit" },
    /// Rows that a rule of section filter has ended before they were written.
    RowsFilteredDuplicate => "rows_filtered_total" { "action" = "deduplicate" },
    /// Rows of our own that tell how many deduplicate has suppressed, where no row alike came that could.
    RowsSummarizing => "rows_summarizing_total",
    /// Suppressed rows whose number could not be told, as no page came free before the stop.
    SummariesUntold => "rows_suppressed_untold_total",

    // ---- rows
    /// Rows written into pages.
    RowsWritten => "rows_written_total",
    /// Rows that were too long for one call and were shortened.
    RowsShortened => "rows_shortened_total",
    /// Bytes of JSON written into pages.
    RowBytesWritten => "row_bytes_written_total",
    /// Rows handed to the ring.
    RowsHanded => "rows_handed_total",
    /// Pages handed to the ring.
    PagesHanded => "pages_handed_total",
    /// Times that a shard found no free page and stopped reading.
    ReadsPaused => "reads_paused_total",
    /// Rows taken from the ring by an uploader.
    RowsTaken => "rows_taken_total",
    /// Pages that were compressed with the least effort, since others waited.
    PagesFast => "pages_compressed_fast_total",
    /// Pages that were compressed with more effort, since there was time.
    PagesDense => "pages_compressed_dense_total",
    /// Rows in sealed bodies.
    RowsSealed => "rows_sealed_total",
    /// Bodies sealed.
    BodiesSealed => "bodies_sealed_total",
    /// Bytes of JSON in sealed bodies.
    BodyRawBytes => "body_raw_bytes_total",
    /// Bytes of sealed bodies after gzip.
    BodyWireBytes => "body_wire_bytes_total",

    // ---- spool
    /// Rows of bodies of earlier runs that were found in the spool.
    RowsRecovered => "rows_recovered_total",
    /// Keepers of the spool that have looked at all that earlier runs have left; one for each uploader.
    SpoolsScanned => "spools_scanned_total",
    /// Rows of bodies made safe on disk before they were uploaded.
    RowsSpooled => "rows_spooled_total",
    /// Bodies made safe on disk before they were uploaded.
    BodiesSpooled => "bodies_spooled_total",
    /// Rows of safe bodies that left memory to wait on disk.
    RowsParked => "rows_parked_total",
    /// Rows of bodies that were read back from disk to be uploaded.
    RowsUnparked => "rows_unparked_total",

    // ---- upload
    /// Rows answered with 2xx.
    RowsUploaded => "rows_uploaded_total",
    /// Bodies answered with 2xx.
    BodiesUploaded => "bodies_uploaded_total",
    /// Rows lost.
    RowsLostRejected => "rows_lost_total" { "reason" = "rejected_by_service" },
    /// Rows lost.
    RowsLostTooLarge => "rows_lost_total" { "reason" = "row_too_large_for_service" },
    /// Rows lost.
    RowsLostUnsent => "rows_lost_total" { "reason" = "unsent_at_stop" },
    /// Rows lost.
    RowsLostDamaged => "rows_lost_total" { "reason" = "damaged_in_spool" },
    /// Rows lost.
    RowsLostTorn => "rows_lost_total" { "reason" = "being_written_at_a_crash" },
    /// Rows lost.
    RowsLostDropped => "rows_lost_total" { "reason" = "dropped_when_spool_was_full" },
    /// Rows that the service does not take, kept in the spool's quarantine.
    RowsQuarantinedRejected => "rows_quarantined_total" { "reason" = "rejected_by_service" },
    /// Rows that the service does not take, kept in the spool's quarantine.
    RowsQuarantinedTooLarge => "rows_quarantined_total" { "reason" = "row_too_large_for_service" },
    /// Rows of requests whose end is unknown (reset or time-out after the body was sent) and that
    /// were sent again: they may stand twice in the table.
    RowsMaybeTwice => "rows_maybe_duplicated_total",
    /// Rows of a destination that the configuration does not have any more, which go to that of
    /// `[sentinel]`.
    RowsRedirected => "rows_redirected_total",
    /// Requests sent.
    Requests => "requests_total",
    /// Bytes of request bodies sent, tries included.
    RequestBytes => "request_bytes_total",
    /// Answers by class.
    AnswersAccepted => "answers_total" { "verdict" = "accepted" },
    /// Answers by class.
    AnswersThrottled => "answers_total" { "verdict" = "throttled" },
    /// Answers by class.
    AnswersUnavailable => "answers_total" { "verdict" = "unavailable" },
    /// Answers by class.
    AnswersUnauthorized => "answers_total" { "verdict" = "unauthorized" },
    /// Answers by class.
    AnswersForbidden => "answers_total" { "verdict" = "forbidden" },
    /// Answers by class.
    AnswersNotFound => "answers_total" { "verdict" = "not_found" },
    /// Answers by class.
    AnswersTooLarge => "answers_total" { "verdict" = "too_large" },
    /// Answers by class.
    AnswersRefused => "answers_total" { "verdict" = "refused" },
    /// Requests that ended without an answer.
    RequestsFailedConnect => "requests_failed_total" { "reason" = "connect" },
    /// Requests that ended without an answer.
    RequestsFailedReset => "requests_failed_total" { "reason" = "reset" },
    /// Requests that ended without an answer.
    RequestsFailedTimeout => "requests_failed_total" { "reason" = "timeout" },
    /// Bodies that were halved and sent in parts.
    BodiesHalved => "bodies_halved_total",
    /// Tokens obtained.
    TokensObtained => "tokens_obtained_total",
    /// Tries to get a token that failed.
    TokensFailed => "tokens_failed_total",

    // ---- control
    /// Times that the configuration was read again on demand, by whether it is in force since.
    ConfigReloadsDone => "config_reloads_total" { "result" = "done" },
    /// Times that the configuration was read again on demand, by whether it is in force since.
    ConfigReloadsRefused => "config_reloads_total" { "result" = "refused" },
}

/// Number of counters.
pub const COUNTERS_COUNT: usize = Counter::ALL.len();

/// One thread's counters. Only that thread writes; anyone may read.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    values: [AtomicU64; COUNTERS_COUNT],
    /// Odd while a [`Tally`] is being published: what belongs together is seen together.
    edition: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            values: [const { AtomicU64::new(0) }; COUNTERS_COUNT],
            edition: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Adds to one counter. Only the owning thread may call this: it is a load and a store, not an
    /// atomic addition.
    pub fn add(&self, counter: Counter, count: u64) {
        if let Some(cell) = self.values.get(counter as usize) {
            cell.store(
                cell.load(Ordering::Relaxed).wrapping_add(count),
                Ordering::Release,
            );
        }
    }

    /// One counter.
    #[must_use]
    pub fn value(&self, counter: Counter) -> u64 {
        self.values
            .get(counter as usize)
            .map_or(0, |cell| cell.load(Ordering::Acquire))
    }

    /// All counters, none of them between two parts of one tally; read against the flow.
    fn read(&self) -> [u64; COUNTERS_COUNT] {
        loop {
            let before = self.edition.load(Ordering::Acquire);
            let mut values = [0; COUNTERS_COUNT];
            for (value, cell) in values.iter_mut().zip(&self.values).rev() {
                *value = cell.load(Ordering::Acquire);
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.edition.load(Ordering::Relaxed) == before {
                return values;
            }
            hint::spin_loop();
        }
    }
}

/// What one step has counted and not yet published; plain numbers, for the hot path.
#[derive(Debug, Clone)]
pub struct Tally([u64; COUNTERS_COUNT]);

impl Default for Tally {
    fn default() -> Self {
        Tally([0; COUNTERS_COUNT])
    }
}

impl Tally {
    /// Adds to one counter.
    pub fn add(&mut self, counter: Counter, count: u64) {
        if let Some(cell) = self.0.get_mut(counter as usize) {
            *cell = cell.wrapping_add(count);
        }
    }

    /// One counter.
    #[must_use]
    pub fn value(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }

    /// Adds everything to `counters` at once, as their readers see it, and begins anew.
    pub fn publish(&mut self, counters: &Counters) {
        let edition = counters.edition.load(Ordering::Relaxed);
        counters
            .edition
            .store(edition.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (counter, count) in Counter::ALL.iter().zip(&mut self.0) {
            if *count > 0 {
                counters.add(*counter, std::mem::take(count));
            }
        }
        counters
            .edition
            .store(edition.wrapping_add(2), Ordering::Release);
    }
}

/// All threads' counters at one instant, as far as the identity goes: a row is never seen to leave a
/// stage that it was not seen to enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot([u64; COUNTERS_COUNT]);

impl Snapshot {
    /// The sum over `threads`, which must come against the flow: uploaders, then shards.
    pub fn of<'a>(threads: impl IntoIterator<Item = &'a Counters>) -> Self {
        let mut sums = [0u64; COUNTERS_COUNT];
        for thread in threads {
            for (sum, value) in sums.iter_mut().zip(thread.read()) {
                *sum = sum.wrapping_add(value);
            }
        }
        Snapshot(sums)
    }

    /// One counter.
    #[must_use]
    pub fn value(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }

    /// Rows held by a stage.
    #[must_use]
    pub fn held_in(&self, stage: Stage) -> u64 {
        let (entered, left) = match stage {
            Stage::Page => (
                self.value(Counter::RowsWritten),
                self.value(Counter::RowsHanded),
            ),
            Stage::Ring => (
                self.value(Counter::RowsHanded),
                self.value(Counter::RowsTaken),
            ),
            Stage::Body => (
                self.value(Counter::RowsTaken),
                self.value(Counter::RowsSealed),
            ),
            Stage::Flight => (
                self.value(Counter::RowsSealed) + self.value(Counter::RowsUnparked),
                self.value(Counter::RowsUploaded)
                    + self.value(Counter::RowsParked)
                    + self.rows_quarantined()
                    + (self.rows_lost() - self.rows_lost_on_disk()),
            ),
            Stage::Spool => (
                self.value(Counter::RowsParked) + self.value(Counter::RowsRecovered),
                self.value(Counter::RowsUnparked) + self.rows_lost_on_disk(),
            ),
        };
        entered.saturating_sub(left)
    }

    /// Rows held by all stages.
    #[must_use]
    pub fn held(&self) -> u64 {
        Stage::ALL.iter().map(|stage| self.held_in(*stage)).sum()
    }

    /// Frames lost before they became rows, over all reasons.
    #[must_use]
    pub fn frames_lost(&self) -> u64 {
        self.total("frames_lost_total")
    }

    /// Rows lost after they were written, over all reasons.
    #[must_use]
    pub fn rows_lost(&self) -> u64 {
        self.total("rows_lost_total")
    }

    /// Rows kept in quarantine, over all reasons.
    #[must_use]
    pub fn rows_quarantined(&self) -> u64 {
        self.total("rows_quarantined_total")
    }

    /// Rows that filters have ended, over all actions.
    #[must_use]
    pub fn rows_filtered(&self) -> u64 {
        self.total("rows_filtered_total")
    }

    /// Of the rows lost, those that were on disk.
    fn rows_lost_on_disk(&self) -> u64 {
        self.value(Counter::RowsLostDamaged)
            + self.value(Counter::RowsLostTorn)
            + self.value(Counter::RowsLostDropped)
    }

    /// Everything that must be accounted for: frames received, rows recovered, rows of our own.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.value(Counter::FramesReceived)
            + self.value(Counter::RowsRecovered)
            + self.value(Counter::Heartbeats)
            + self.value(Counter::RowsSummarizing)
    }

    /// What has been received minus everything that accounts for it: zero unless the program is
    /// wrong.
    #[must_use]
    pub fn imbalance(&self) -> i128 {
        let received = i128::from(self.received());
        let accounted = i128::from(self.value(Counter::RowsUploaded))
            + i128::from(self.held())
            + i128::from(self.frames_lost())
            + i128::from(self.rows_quarantined())
            + i128::from(self.rows_filtered())
            + i128::from(self.rows_lost());
        received - accounted
    }

    /// All counters of a name, whatever their labels.
    #[must_use]
    pub fn total(&self, name: &str) -> u64 {
        Counter::ALL
            .iter()
            .filter(|counter| counter.name() == name)
            .map(|counter| self.value(*counter))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_adds_up_all_threads_and_derives_what_is_held() {
        let (shard, uploader) = (Counters::default(), Counters::default());
        shard.add(Counter::FramesReceived, 10);
        shard.add(Counter::FramesLostPartial, 1);
        shard.add(Counter::RowsWritten, 9);
        shard.add(Counter::RowsHanded, 7);
        uploader.add(Counter::RowsTaken, 5);
        uploader.add(Counter::RowsSealed, 4);
        uploader.add(Counter::RowsUploaded, 2);
        uploader.add(Counter::RowsLostRejected, 1);
        let snapshot = Snapshot::of([&uploader, &shard]);
        let held: Vec<u64> = Stage::ALL.iter().map(|s| snapshot.held_in(*s)).collect();
        assert_eq!(held, [2, 2, 1, 1, 0]);
        assert_eq!(snapshot.imbalance(), 0);
        shard.add(Counter::FramesReceived, 1);
        assert_eq!(Snapshot::of([&uploader, &shard]).imbalance(), 1);
    }

    #[test]
    fn a_reader_never_sees_half_a_tally() {
        let counters = Counters::default();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut tally = Tally::default();
                for _ in 0..200_000 {
                    tally.add(Counter::FramesReceived, 3);
                    tally.add(Counter::FramesLostUnparsed, 1);
                    tally.add(Counter::RowsWritten, 2);
                    tally.publish(&counters);
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                assert_eq!(Snapshot::of([&counters]).imbalance(), 0);
            }
        });
        assert_eq!(counters.value(Counter::FramesReceived), 600_000);
    }

    #[test]
    fn no_two_counters_share_name_and_label() {
        for (index, a) in Counter::ALL.iter().enumerate() {
            for b in Counter::ALL.iter().skip(index + 1) {
                assert!(
                    (a.name(), a.label()) != (b.name(), b.label()),
                    "{a:?} {b:?}"
                );
            }
        }
    }
}
