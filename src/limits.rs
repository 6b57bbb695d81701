//! Every bound in the program, with its reason, and the relations between them checked when the
//! program is compiled.
//!
//! A name ends in its unit. What a user may change has here its default and its legal range; the
//! configuration refuses anything outside of it.

use std::time::Duration;

/// One KiB, for the sums below.
pub const KIB: usize = 1024;
/// One MiB.
pub const MIB: usize = 1024 * KIB;

// ---- receive -------------------------------------------------------------------------------

/// Longest frame that is kept whole, by default. rsyslog advises 64 KiB; the longest of the real
/// vendors' messages that we know is under 5 KiB.
pub const FRAME_BYTES_DEFAULT: usize = 64 * KIB;
/// RFC 5424 section 6.1 asks every receiver to take at least 480 octets and advises 2,048.
pub const FRAME_BYTES_LEAST: usize = 2048;
/// Past this no row could reach the service in one call anyway.
pub const FRAME_BYTES_MOST: usize = MIB;
/// Digits of an octet count (RFC 6587 section 3.4.1): `FRAME_BYTES_MOST` has seven. A longer count
/// is refused before any arithmetic is done on it.
pub const OCTET_COUNT_DIGITS_MAX: usize = 7;
/// Counts of empty frames that may stand before the first frame of a connection while it is not yet
/// known to use octet counting: with more it is taken not to, so that no peer keeps us guessing.
pub const EMPTY_FRAMES_AT_START_MAX: usize = 8;
/// What one `recv` may bring; one such buffer for each shard, shared by its connections.
pub const READ_BYTES_MAX: usize = 256 * KIB;
/// A read of so much, of a connection that is read without a pause, says that it is likely to bring more
/// than one core keeps up with. Less than the first window of a Linux socket, 65,535 bytes, since not
/// every connection gets a wider one. Pieces of it are then left to cores that have nothing to do...
pub const READ_BYTES_HOT: usize = 48 * KIB;
/// ...of this length: some hundred frames, a tenth of a millisecond's work, against the some
/// microseconds that it takes to wake somebody for it.
pub const PIECE_BYTES: usize = 64 * KIB;
/// So much is mapped where it was read before others are asked again: less than a piece, so that who
/// helps finds the next one waiting when the last is done.
pub const OWN_BYTES: usize = PIECE_BYTES / 4;
/// Pieces that each ingest core may be waiting for, mapping, or filling.
pub const PIECES_PER_CORE: usize = 3;
/// Memory that a piece keeps: a frame may begin just before it is full.
pub const PIECE_BYTES_KEPT: usize = PIECE_BYTES + FRAME_BYTES_DEFAULT;
/// Pieces that a core maps before it looks at its own sockets.
pub const HELP_PIECES: usize = 8;
/// Open connections over all listeners, by default. Each costs a file descriptor and at most
/// 1 KiB of user memory while idle.
pub const CONNECTIONS_DEFAULT: usize = 10_000;
/// Highest number of connections that may be configured.
pub const CONNECTIONS_MOST: usize = 1_000_000;
/// Bytes of unfinished frames over all connections, by default: 1,024 connections may each hold an
/// unfinished frame of the greatest default length.
pub const PARTIAL_BYTES_DEFAULT: usize = 64 * MIB;
/// Most that may be configured: beyond this a mistyped unit is likelier than a wish.
pub const PARTIAL_BYTES_MOST: usize = 64 * 1024 * MIB;
/// User memory of a connection that holds no unfinished frame, for the sum that `check` prints.
pub const CONNECTION_IDLE_BYTES: usize = KIB;
/// A frame that has begun has so long to end.
pub const PARTIAL_AGE_DEFAULT: Duration = Duration::from_secs(60);
/// Shorter would cut frames that merely cross a slow link.
pub const PARTIAL_AGE_LEAST: Duration = Duration::from_secs(1);
/// Longer would let stalled senders hold the whole budget.
pub const PARTIAL_AGE_MOST: Duration = Duration::from_secs(3600);
/// Listening addresses: more than any machine has networks that send syslog.
pub const LISTENERS_MOST: usize = 64;
/// How long a stopping shard goes on reading what its connections have already sent.
pub const DRAIN_READ_TIME: Duration = Duration::from_secs(5);

/// A connection that has just woken up is read again in rounds, at first after this many milliseconds;
/// the interval halves while reads are full and doubles while they are small. Long enough to bring what
/// pays for a turn; a sender of much is read without a pause within 31 ms all the same.
pub const ROUND_MS_FIRST: u32 = 16;
/// Shortest interval between two reads of one connection that keeps up.
pub const ROUND_MS_LEAST: u32 = 1;
/// Longest, unless there are very many. Data on a busy connection waits no longer than this, which
/// keeps the promise of 100 ms with room for the work of the round itself.
pub const ROUND_MS_MOST: u32 = 64;
/// With so many reads in a row at the longest interval that bring nothing, a connection sleeps. To sleep
/// and be woken costs as much as some five reads, so one whose pauses are no longer than these reads take is
/// cheaper awake; with one, thousands that bring a message each 70 ms fell asleep after nearly every one.
/// In a crowd these reads are further apart, and a silent connection is awake for up to two seconds.
pub const VAIN_READS_UNTIL_SLEEP: u32 = 4;
/// Reads of connections at the longest interval that a shard makes in a second, about: each costs a
/// microsecond however little it brings, so this many are some 4 % of a core. With more connections the
/// longest interval grows...
pub const ROUND_READS_A_SECOND: u64 = 40_000;
/// ...up to this: half of the time that a body lingers by default.
pub const ROUND_MS_CROWDED: u32 = 512;
/// A read below this is small: the next one may wait longer. Close below a full one, so that most turns
/// bring so much: each begins with cold caches, which costs as much as some dozens of messages.
pub const READ_BYTES_SMALL: usize = 24 * KIB;
/// A read above this is full: half of the receive window that a Linux socket starts with.
pub const READ_BYTES_FULL: usize = 32 * KIB;

// ---- rows and pages ------------------------------------------------------------------------

/// Longest value of a column: the service cuts longer ones without a word ("64 KB"), so we cut at
/// a character boundary and count it.
pub const COLUMN_BYTES_MAX: usize = 64 * KIB;
/// A page is handed over once it holds this much: four times what gzip looks back, so that the price
/// of a page's first rows, which find nothing alike behind them, is spread.
pub const PAGE_BYTES: usize = 128 * KIB;
/// Room behind that for the row that crosses the mark, so that it does not have to move.
pub const PAGE_BYTES_SLACK: usize = 32 * KIB;
/// Pages that a shard fills side by side, by the kind of message: rows of one product behind each
/// other are found alike by gzip, which looks back no further than 32 KiB. Bodies of a dozen
/// products' messages come out a third shorter, and cost a third less, than with one page.
pub const LANES: usize = 32;
/// Pages that a shard holds at most: one for each lane of the rows to `[sentinel]`, one for each further
/// destination, and one for the next of them.
pub const SHARD_PAGES_MOST: usize = LANES + DESTINATIONS_FURTHER_MOST + 1;
/// Memory for pages, by default; the number of pages follows from it and is what bounds the rows
/// that are held before compression.
pub const PAGES_BYTES_DEFAULT: usize = 64 * MIB;
/// Least memory for pages: for each core a page being filled, one in the ring, one being taken.
pub const PAGES_BYTES_LEAST: usize = 4 * MIB;
/// Most memory for pages.
pub const PAGES_BYTES_MOST: usize = 64 * 1024 * MIB;
/// Pages that a core needs so that it never waits for another by design: a few being filled, one in
/// the ring, one being taken, one on its way back. With fewer than [`LANES`] the lanes share.
pub const PAGES_PER_CORE_LEAST: usize = 6;
/// A row may take this many times the bytes of its frame: column names are longer than CEF keys
/// (1.7 times for real traffic), and JSON escapes quotes and backslashes.
pub const ROW_GROWTH: usize = 2;

// ---- filters -------------------------------------------------------------------------------

/// Rules of `[[filter]]`: five times what a large site has.
pub const FILTERS_MOST: usize = 256;
/// Bytes of a rule's name, which is a label in metrics.
pub const FILTER_NAME_BYTES_MOST: usize = 64;
/// Names of rules whose counts are kept over reloads; past it those not in force are forgotten.
pub const FILTER_NAMES_MAX: usize = 4 * FILTERS_MOST;
/// Conditions of one rule, those inside others included.
pub const FILTER_CONDITIONS_MOST: usize = 64;
/// `all`, `any` and `not` inside each other: a person does not follow more.
pub const FILTER_DEPTH_MOST: usize = 8;
/// Values, networks or columns in one list of a rule.
pub const FILTER_LIST_MOST: usize = 256;
/// Bytes of one text that values are compared with.
pub const FILTER_TEXT_BYTES_MOST: usize = 1024;
/// Of so many rows one is kept, at most.
pub const FILTER_SAMPLE_MOST: usize = 1_000_000;
/// Rows a second or a minute, and rows at once, at most: no core maps more.
pub const FILTER_RATE_MOST: usize = 1_000_000;
/// Shortest window of `deduplicate`.
pub const FILTER_WINDOW_LEAST: Duration = Duration::from_secs(1);
/// Longest: how many were suppressed is told within two of them, and detections look back over hours.
pub const FILTER_WINDOW_MOST: Duration = Duration::from_secs(3600);
/// Columns and keys that rows are told apart by.
pub const FILTER_BY_MOST: usize = 16;
/// Keys that one rule of one shard tells apart: 4,096 keys of [`FILTER_KEY_BYTES_MAX`] are 4 MiB.
pub const FILTER_TABLE_KEYS_MAX: usize = 4096;
/// Places of the table that a key may stand in.
pub const FILTER_TABLE_WAYS: usize = 8;
const _: () = assert!(FILTER_TABLE_KEYS_MAX.is_multiple_of(FILTER_TABLE_WAYS));
/// Bytes of what rows are told apart by; a row with more passes.
pub const FILTER_KEY_BYTES_MAX: usize = 1024;
/// Memory of such a table: its places, with what they need besides their keys.
pub const FILTER_TABLE_BYTES_MAX: usize = FILTER_TABLE_KEYS_MAX * (FILTER_KEY_BYTES_MAX + 64);
/// Bytes of the constant that a rule sets.
pub const FILTER_SET_BYTES_MOST: usize = 256;
/// Bytes of JSON of all constants together: they must fit beside the columns of a shortened row.
pub const FILTER_SETS_BYTES_MAX: usize = 16 * KIB;
/// Ended windows are looked for so often.
pub const FILTER_LOOK_PAUSE: Duration = Duration::from_secs(1);

// ---- batches -------------------------------------------------------------------------------

/// The service refuses a longer body with 413: "Maximum allowed content length: 1048576 bytes".
pub const SERVICE_BODY_BYTES_MAX: usize = 1_048_576;
/// Bytes of JSON in one body, by default: the reading of the limit that every SDK follows.
pub const BODY_RAW_BYTES_DEFAULT: usize = 1_000_000;
/// Highest that may be configured, for the reading that counts compressed bytes only.
pub const BODY_RAW_BYTES_MOST: usize = 50 * MIB;
/// With `body_limit = "auto"`: so many long bodies must be accepted before longer ones are tried.
pub const BODY_LIMIT_GOOD: u32 = 8;
/// A length that was refused is not tried again for so long: each try costs a refused call.
pub const BODY_LIMIT_MEMORY: Duration = Duration::from_secs(6 * 3600);
/// Bytes of one body after gzip, by default.
pub const BODY_WIRE_BYTES_DEFAULT: usize = 1_000_000;
/// Lowest that may be configured for either: a body must hold one row of ordinary length.
pub const BODY_BYTES_LEAST: usize = 64 * KIB;
/// The oldest row waits so long for its body to fill, by default.
pub const LINGER_DEFAULT: Duration = Duration::from_secs(1);
/// Shorter would send a call for nearly every read.
pub const LINGER_LEAST: Duration = Duration::from_millis(10);
/// Longer helps neither ratio nor calls, and detections wait for it.
pub const LINGER_MOST: Duration = Duration::from_secs(60);
/// What the encoder of an open body keeps: the bytes of its block, matches, tables. It has 3.5 MB.
pub const ENCODER_BYTES: usize = 4 * MIB;
/// Level that does not compress: rows stand in the gzip frame as they are.
pub const GZIP_LEVEL_LEAST: u32 = 0;
/// Highest level of gzip.
pub const GZIP_LEVEL_MOST: u32 = 9;

// ---- upload --------------------------------------------------------------------------------

/// Requests that one uploader keeps in flight, by default. One call of 1 MB at 50 ms carries
/// 20 MB/s of rows.
pub const REQUESTS_IN_FLIGHT_DEFAULT: usize = 8;
/// Highest that may be configured.
pub const REQUESTS_IN_FLIGHT_MOST: usize = 256;
/// One request, from connect to the last byte of the answer, by default.
pub const REQUEST_TIME_DEFAULT: Duration = Duration::from_secs(60);
/// Shorter than a handshake over a slow link.
pub const REQUEST_TIME_LEAST: Duration = Duration::from_secs(1);
/// The service and every proxy on the way have given up before.
pub const REQUEST_TIME_MOST: Duration = Duration::from_secs(600);
/// TCP and TLS handshakes.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);
/// What is read of any answer, of the ingestion or of the token endpoint.
pub const ANSWER_BYTES_MAX: usize = 64 * KIB;
/// The body of an answer whose status is known is waited for so long: only names for the log are
/// in it.
pub const ANSWER_BODY_TIME: Duration = Duration::from_secs(5);
/// First pause before a retry; doubled at each try, with full jitter.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest pause before a retry that the service did not ask for.
pub const BACKOFF_MOST: Duration = Duration::from_secs(30);
/// Longest `Retry-After` that is honoured; a longer one is cut to this, and the next answer decides.
pub const RETRY_AFTER_MOST: Duration = Duration::from_secs(300);
/// 429 without `Retry-After`.
pub const RETRY_AFTER_ABSENT: Duration = Duration::from_secs(30);
/// 403 and 404: role changes take up to 30 minutes to act, so the data is held and tried again.
pub const HOLD_MOST: Duration = Duration::from_secs(60);
/// Rules in one destination.
pub const RULES_MOST: usize = 100;
/// Destinations besides that of `[sentinel]`. Each costs memory in every core: a page that is being
/// filled, an open body with its encoder, and the bodies in hand, some 10 MB with the defaults. A cheaper
/// plan, an archive and a few teams' own tables are well below it.
pub const DESTINATIONS_FURTHER_MOST: usize = 7;
/// Open bodies of one uploader: of the destinations of two configurations, as some may have been begun
/// by the one before. Rows for further ones wait until one of them is sealed.
pub const BODIES_OPEN_MAX: usize = 2 * (DESTINATIONS_FURTHER_MOST + 1);
/// The name of a destination stands in log lines, labels of metrics and lists.
pub const DESTINATION_NAME_BYTES_MOST: usize = 32;
/// What a rule takes in [`PACE_MINUTE`], by Microsoft's page of limits: bytes of JSON...
pub const RULE_BYTES_A_MINUTE: usize = 2_000_000_000;
/// ...and requests.
pub const RULE_REQUESTS_A_MINUTE: usize = 12_000;
/// Least and most bytes a minute that may be configured: the least that 429 can teach; a rehearsal.
pub const RULE_BYTES_A_MINUTE_LEAST: usize = 10_000_000;
/// See [`RULE_BYTES_A_MINUTE_LEAST`].
pub const RULE_BYTES_A_MINUTE_MOST: usize = 1_000_000_000_000;
/// Requests, in the same way.
pub const RULE_REQUESTS_A_MINUTE_LEAST: usize = 60;
/// See [`RULE_REQUESTS_A_MINUTE_LEAST`].
pub const RULE_REQUESTS_A_MINUTE_MOST: usize = 1_000_000_000;
/// A pace that is never refused grows up to so many times what it started at.
pub const PACE_GROWTH_MOST: f64 = 50.0;
/// The time that those limits are for.
pub const PACE_MINUTE: Duration = Duration::from_secs(60);
/// What may go at once after a silence, in time of the steady rate: enough for eight requests at a
/// time under the documented limits, and little enough for a minute not to take much more than it may.
pub const PACE_BURST: Duration = Duration::from_secs(1);
/// Rules share bytes over this time; what one was given before is forgotten.
pub const GIVEN_MEMORY: Duration = Duration::from_secs(10);
/// Slowest pace that 429 can teach, in bytes a second: a two-hundredth of the documented limit. No rule is known to
/// take less, and a service that answers 429 at random must not bring us to a stop.
pub const PACE_LEAST: f64 = RULE_BYTES_A_MINUTE_LEAST as f64 / 60.0;
/// A row about the forwarder itself so often, by default: Sentinel's rules look back over minutes.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(60);
/// Most often and least often that may be configured.
pub const HEARTBEAT_LEAST: Duration = Duration::from_secs(1);
/// See [`HEARTBEAT_LEAST`].
pub const HEARTBEAT_MOST: Duration = Duration::from_secs(3600);
/// Samples from which it is told how far behind the uploads are: 8 minutes of seconds, then coarser.
pub const LAG_SAMPLES_MAX: usize = 512;
/// Between two steps of a pace that grows.
pub const PACE_GROWTH_PAUSE: Duration = Duration::from_secs(10);
/// A 429 within this time of another one is no accident.
pub const THROTTLED_AGAIN: Duration = Duration::from_secs(150);
/// A token is renewed earlier by up to this share of half of its life, by chance.
pub const TOKEN_RENEW_JITTER: f64 = 0.1;
/// Between two tries to renew a token that is still valid.
pub const TOKEN_RENEW_PAUSE: Duration = Duration::from_secs(30);
/// Shortest pause before a retry: full jitter alone may say "at once", over and over.
pub const BACKOFF_LEAST: Duration = Duration::from_millis(50);
/// Longest pause before a retry once the program is stopping: the deadline is near, and what is not
/// sent by then is lost.
pub const BACKOFF_STOPPING: Duration = Duration::from_secs(1);
/// Requests that were all told to come back at one moment are spread over so long.
pub const RETRY_SPREAD: Duration = Duration::from_secs(1);
/// First pause of a rule that is held; doubled each time up to [`HOLD_MOST`].
pub const HOLD_FIRST: Duration = Duration::from_secs(1);
/// Nothing was accepted for so long: an outage. Its end wakes the requests that wait for a retry.
pub const OUTAGE_TIME: Duration = Duration::from_secs(5);
/// A reset while a body of this length was being sent may be the service's way to say 413: it
/// counts the bytes and cuts the connection.
pub const BODY_BYTES_NEAR_LIMIT: usize = SERVICE_BODY_BYTES_MAX / 8 * 7;
/// A body goes to the connection in pieces of this length, so that we know whether the last one
/// went: only then can the service hold the rows.
pub const BODY_PIECE_BYTES: usize = 64 * KIB;
/// Refusals (400) in a row, without one row accepted by that rule, after which the fault is taken to
/// be the configuration's. Isolating one bad row among a million takes 20.
pub const REFUSALS_UNPROVEN_MAX: u32 = 256;
/// Requests for the parts of one refused body that may follow each other at once...
pub const ISOLATION_REQUESTS_FAST: u32 = 64;
/// ...and the pause between further ones: 8 bodies in flight on 2 uploaders stay below a third of
/// the 12,000 requests a minute that a rule allows.
pub const ISOLATION_PAUSE: Duration = Duration::from_millis(250);
/// Bodies of which only rows are left that prove nothing yet (refused alone, and the rule has
/// accepted nothing since) lend their place to others, up to this many for each uploader and
/// destination: only a body with a good row can clear them.
pub const PLACES_LENT_MAX: usize = 64;
/// A body is sealed when, at the worst, less than this share of its wire bytes is left: going on
/// would mean ever smaller pieces and flushes.
pub const BODY_WIRE_TAIL_SHARE: usize = 64;
/// Longest client secret that is read: Entra's have 40 characters.
pub const SECRET_BYTES_MAX: usize = 4 * KIB;
/// Longest file of a certificate, a private key, or both.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * KIB;
/// Rounds of hashing that a PKCS#12 file may ask for, a second's work; writers ask for 2,048 to
/// 600,000.
pub const PKCS12_ITERATIONS_MAX: u32 = 2_000_000;
/// Pauses after failures of the metadata service in a row, in seconds; the last one stays.
/// Microsoft's page on it advises tries at about 0, 2, 6, 14 and 30 s, and 60 s at most.
pub const METADATA_PAUSES: &[u64] = &[2, 4, 8, 16, 30, METADATA_PAUSE_MOST];
/// The same while it says 410: it is being updated, for up to 70 s.
pub const METADATA_GONE_PAUSES: &[u64] = &[5, 10, 20, 40, METADATA_PAUSE_MOST];
/// Longest of these pauses, in seconds.
pub const METADATA_PAUSE_MOST: u64 = 60;
/// A machine that has no identity is asked about so often: somebody must assign one.
pub const NO_IDENTITY_PAUSE: Duration = Duration::from_secs(300);
/// How long an assertion is good: as long as Microsoft's own libraries make theirs.
pub const ASSERTION_LIFE: Duration = Duration::from_secs(600);
/// An assertion is good from so long before it was made, for clocks that are a little ahead.
pub const ASSERTION_BACKDATE: Duration = Duration::from_secs(60);
/// Longest challenge of the Azure Arc agent that is read, as Microsoft's own libraries do.
pub const ARC_CHALLENGE_BYTES_MAX: usize = 4 * KIB;
/// Longest token of an outside issuer that is read.
pub const FEDERATED_TOKEN_BYTES_MAX: usize = 64 * KIB;
/// A clock that differs by more than this from the one that answers is named in the error.
pub const SKEW_NAMED: Duration = Duration::from_secs(300);
/// One request for a token, from connect to the last byte of the answer.
pub const TOKEN_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest life of a token that is believed; managed identities get up to 24 hours.
pub const TOKEN_LIFE_MOST: Duration = Duration::from_secs(7 * 24 * 3600);
/// After the deadline: so long for the shards to hand over their last pages, to be counted.
pub const STOP_COUNT_TIME: Duration = Duration::from_secs(10);
/// Idle connections to the endpoint are closed before a load balancer forgets them in silence.
pub const CONNECTION_IDLE_TIME: Duration = Duration::from_secs(60);
/// Threads of one uploader that resolve names.
pub const RESOLVER_THREADS_MAX: usize = 2;
/// A message of the same kind is logged once in this time, with how many were withheld.
pub const LOG_PAUSE: Duration = Duration::from_secs(10);
/// The same for alarms that stand until somebody acts: a missing role, a wrong stream.
pub const ALARM_PAUSE: Duration = Duration::from_secs(60);
/// What a message of the service may take of a log line, in characters.
pub const LOG_TEXT_CHARS_MAX: usize = 300;
/// How long a stopping program goes on uploading, by default.
pub const STOP_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// Longest; every init system kills before that.
pub const STOP_TIME_MOST: Duration = Duration::from_secs(3600);

// ---- spool ---------------------------------------------------------------------------------

/// Where the spool is, by default: where the hierarchy of file systems has a service's own data.
pub const SPOOL_DIRECTORY_DEFAULT: &str = "/var/lib/cefline/spool";
/// Segments together, by default: an hour at 12,000 events a second.
pub const SPOOL_BYTES_DEFAULT: usize = 10 * 1024 * MIB;
/// A few segments for each uploader of a small machine.
pub const SPOOL_BYTES_LEAST: usize = 512 * MIB;
/// Beyond this a mistyped unit is likelier than a wish.
pub const SPOOL_BYTES_MOST: usize = 64 * 1024 * 1024 * MIB;
/// Percent of the bytes sent that goes to the backlog, by default: half.
pub const SPOOL_DRAIN_SHARE_DEFAULT: u32 = 50;
/// Rows in quarantine, by default: 30,000 of 4 KiB at least, which somebody has noticed by then.
pub const QUARANTINE_BYTES_DEFAULT: usize = 256 * MIB;
/// Sealed bodies that wait in memory for a place beside those being sent, in bytes; further ones that
/// are safe are left to the disk. Some 20 of the usual length: a tenth of a second at full speed.
pub const BODIES_WAITING_BYTES_MAX: usize = 4 * MIB;
/// No more of them than this many of the greatest length, if that is configured to be small.
pub const BODIES_WAITING_MAX: usize = 4;
/// Bodies that are read from disk ahead of a free place, for each destination: one while another is
/// being read.
pub const BODIES_READ_AHEAD_MAX: usize = 2;
/// The spool had nothing to read although it should have: asked again after this time.
pub const SPOOL_EMPTY_PAUSE: Duration = Duration::from_millis(500);
/// A stopping program waits so long for its last bodies to be on disk.
pub const SPOOL_CLOSE_TIME: Duration = Duration::from_secs(10);
/// The service replaces a `TimeGenerated` that is older than this by the time of its own receipt...
pub const EVENT_AGE_MAX: Duration = Duration::from_secs(2 * 24 * 3600);
/// ...so rows that come near it are given a second time, this much earlier: a retry takes minutes.
pub const EVENT_AGE_MARGIN: Duration = Duration::from_secs(3600);
/// Length of a segment: as many blocks as its bits can name. A quarter of a second at full speed.
pub const SPOOL_SEGMENT_BYTES: usize = 64 * MIB;
/// What one commit writes at most: four bodies of the greatest length.
pub const SPOOL_COMMIT_BYTES_MAX: usize = 4 * MIB;
/// Bodies wait so long for others to be written with them: a sync costs the same for one and for
/// ten. The oldest row of a body has waited up to a second already.
pub const SPOOL_COMMIT_WAIT: Duration = Duration::from_millis(5);
/// What is settled is on stable storage after this time, also if nothing else is written. In a
/// power cut so much may be sent twice.
pub const SPOOL_SETTLED_SYNC_PAUSE: Duration = Duration::from_secs(1);
/// Looks at a segment that cannot be read in part, some 25 s in all with the pauses between them;
/// then what is legible is taken, and the file left for the next run.
pub const SPOOL_LOOKS_MAX: u32 = 6;
/// A full spool looks again for room after this time.
pub const SPOOL_FULL_PAUSE: Duration = Duration::from_millis(250);
/// After two failures in a row the disk is tried again after this time, doubled each time...
pub const SPOOL_PAUSE_FIRST: Duration = Duration::from_millis(500);
/// ...up to this.
pub const SPOOL_PAUSE_MOST: Duration = Duration::from_secs(10);

// ---- configuration -------------------------------------------------------------------------

/// A configuration file; the reference configuration is a fiftieth of it.
pub const CONFIG_BYTES_MAX: usize = MIB;
/// File of certificate authorities; the public ones together take 250 KiB.
pub const CA_BYTES_MAX: usize = 4 * MIB;
/// Name of a stream. Names of custom tables end after 63 characters; room for a longer habit.
pub const STREAM_NAME_BYTES_MOST: usize = 128;
/// A host name (RFC 1035 section 2.3.4).
pub const HOST_NAME_BYTES_MOST: usize = 255;
/// Characters of a value that an error message repeats.
pub const VALUE_CHARS_SHOWN: usize = 80;

// ---- being watched -------------------------------------------------------------------------

/// A loop of the program that has not gone round for so long is stuck: by design each does so within
/// [`BEAT_TIME`], and a machine that is too busy for five times that loses messages in any case.
pub const LIVENESS_TIME: Duration = Duration::from_secs(5);
/// Each loop of the program shows at least so often that it goes round, if only for that.
pub const BEAT_TIME: Duration = Duration::from_secs(1);
/// The supervisor's watchdog is fed so often within its time: once more than it would take.
pub const WATCHDOG_FEEDS: u32 = 3;
/// Mistakes of a configuration that are logged when it is refused by a running program; `cefline check`
/// shows all.
pub const RELOAD_FINDINGS_LOGGED_MAX: usize = 100;
/// A notice to the supervisor waits no longer than this for room in its mailbox: who should feed the
/// watchdog must not stand still for it.
pub const SUPERVISOR_SEND_TIME: Duration = Duration::from_secs(1);
/// Sockets that a supervisor may give: one for each address, and one for each that the configuration
/// had before. More are a mistake, and none is taken.
pub const SOCKETS_GIVEN_MOST: usize = 2 * LISTENERS_MOST;
/// Log lines on their way to standard error; further ones are dropped while its reader stalls.
pub const LOG_LINES_QUEUED_MAX: usize = 4096;
/// The head of a request to the metrics listener must be there within this time: a stranger who
/// sends half of one holds a place no longer.
pub const METRICS_HEAD_TIME: Duration = Duration::from_secs(2);
/// Head of a request to the metrics listener.
pub const METRICS_REQUEST_BYTES_MAX: usize = 8 * KIB;
/// A connection to the metrics listener lives no longer than this.
pub const METRICS_CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Connections to the metrics listener at once.
pub const METRICS_CONNECTIONS_MAX: usize = 16;
/// Latency histograms reach to this many microseconds (one hour; later ones are counted there)...
pub const LATENCY_US_MAX: u64 = 3_600_000_000;
/// ...with so many significant figures (1 %).
pub const LATENCY_FIGURES: u8 = 2;

// ---- diagnosis -----------------------------------------------------------------------------

/// A program of the system's that is asked for facts (nft, timedatectl) ends by then, or is ended.
pub const CHECK_PROGRAM_TIME: Duration = Duration::from_secs(10);
/// What is read of what it prints: a ruleset of a hundred thousand rules.
pub const CHECK_OUTPUT_BYTES_MAX: usize = 64 * MIB;
/// A cefline on this machine shows its page of metrics within this time.
pub const CHECK_PAGE_TIME: Duration = Duration::from_secs(3);
/// What is read of that page; it has some 20 KiB.
pub const CHECK_PAGE_BYTES_MAX: usize = MIB;
/// Addresses of one host that are tried.
pub const CHECK_ADDRESSES_MAX: usize = 4;
/// Each step in the network, by default.
pub const CHECK_STEP_TIME_DEFAULT: Duration = Duration::from_secs(10);
/// Between the two looks at a running cefline, by default.
pub const CHECK_TRAFFIC_TIME_DEFAULT: Duration = Duration::from_secs(10);
/// The row of a probe is waited for so long, by default: Microsoft's pages speak of up to 20 minutes.
pub const CHECK_WAIT_DEFAULT: Duration = Duration::from_secs(20 * 60);
/// Longest that such times may be set to.
pub const CHECK_TIME_MOST: Duration = Duration::from_secs(24 * 3600);
/// The table is asked again after this time, doubled each time...
pub const CHECK_ASK_PAUSE_FIRST: Duration = Duration::from_millis(250);
/// ...up to this: the query API takes 200 queries in 30 s.
pub const CHECK_ASK_PAUSE_MOST: Duration = Duration::from_secs(15);

// ---- the sender ----------------------------------------------------------------------------

/// What the sender gathers for one write: enough that the call costs nothing beside the copy, and
/// still in the second-level cache when it is copied.
pub const SEND_WRITE_BYTES: usize = 128 * KIB;
/// With many connections it gathers less, but at least this...
pub const SEND_WRITE_BYTES_LEAST: usize = 4 * KIB;
/// ...so that the buffers of all connections stay near this.
pub const SEND_BUFFERS_BYTES: usize = 64 * MIB;
/// Connections of one sender: a process's file descriptors are the bound before this one.
pub const SEND_CONNECTIONS_MOST: usize = 100_000;
/// One thread serves several connections, and a write or a pause on one takes no longer than this.
pub const SEND_TURN_TIME: Duration = Duration::from_millis(20);
/// A sender that keeps a rate sleeps at least so long between two writes; a high rate is made of
/// some messages at each waking.
pub const SEND_WAKE_PAUSE: Duration = Duration::from_micros(500);
/// A sender that is told to stop has so long to finish the message it has begun.
pub const SEND_STOP_TIME: Duration = Duration::from_secs(2);
/// How long a sender waits at the end for the receiver to read everything, by default: a receiver
/// that is held up by an outage may need as long.
pub const SEND_CLOSE_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// A file of messages is read whole; it may be so long.
pub const SEND_FILE_BYTES_MOST: u64 = 1024 * MIB as u64;

const _: () = assert!(SEND_WRITE_BYTES_LEAST <= SEND_WRITE_BYTES);
const _: () = assert!(SEND_WAKE_PAUSE.as_nanos() < SEND_TURN_TIME.as_nanos());
// ---- emulator ------------------------------------------------------------------------------

/// Rows of a block before it is packed: some 2 MiB, packed in about 8 ms, for which calls wait.
pub const EMULATOR_BLOCK_ROWS: usize = 2048;
/// Rows that the emulator keeps, by default: about 150 bytes each once packed.
pub const EMULATOR_ROWS_DEFAULT: usize = 5_000_000;
/// Tokens that the emulator remembers: a client that asks for one with each call still has its last.
pub const EMULATOR_TOKENS_MAX: usize = 1024;
/// Connections to each of the emulator's two ports.
pub const EMULATOR_CONNECTIONS_MAX: usize = 1024;
/// TLS handshake with the emulator.
pub const EMULATOR_HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Body of a request that is no upload: for a token, a query, a set of faults.
pub const EMULATOR_BODY_BYTES_MAX: usize = 256 * KIB;
/// What is read and thrown away of an upload over the limit, so that its sender sees the answer.
pub const EMULATOR_DISCARD_BYTES_MAX: u64 = 64 * MIB as u64;
/// Queries at once; each may take a core for some seconds.
pub const EMULATOR_QUERIES_MAX: usize = 2;
/// How long a stopping emulator waits for a query that is running.
pub const EMULATOR_STOP_TIME: Duration = Duration::from_secs(2);
/// Bodies that the emulator lets wait before their rows show up; with more the oldest show up early.
pub const EMULATOR_LATE_BODIES_MAX: usize = 1024;
/// Between two tries to open the port again after an outage, or to accept when that failed.
pub const EMULATOR_PORT_PAUSE: Duration = Duration::from_millis(50);

/// Text of a query. Alert rules have up to 10,000 characters.
pub const QUERY_BYTES_MAX: usize = 64 * KIB;
/// Brackets in brackets of a query: what bounds the stack.
pub const QUERY_DEPTH_MAX: usize = 64;
/// Arithmetic signs in a query, which may all be one tree: bounds the stack as well.
pub const QUERY_ARITHMETIC_MAX: usize = 128;
/// Operators in a query's pipe.
pub const QUERY_STAGES_MAX: usize = 64;
/// Columns that a step of a query may make: as many as a table of the real service may have.
pub const QUERY_COLUMNS_MAX: usize = 500;
/// Rows of an answer, as in the real query API.
pub const QUERY_ANSWER_ROWS_MAX: usize = 500_000;
/// Bytes of an answer: the real query API stops at about 64 MB.
pub const QUERY_ANSWER_BYTES_MAX: usize = 64 * MIB;
/// How long `cefline query` waits for an answer.
pub const QUERY_TIME: Duration = Duration::from_secs(120);

/// Rules that one deployment creates: their names end in two digits, and 50 carry 1.5 million
/// events a second.
pub const DEPLOYED_RULES_MOST: i64 = 50;
/// Characters of the name of a rule of kind Direct, by its users' experience; others may have 64.
pub const RULE_NAME_BYTES_MOST: i64 = 30;
/// Characters of a rule's transformation, by Microsoft's page of limits.
pub const TRANSFORM_CHARS_MOST: usize = 15_360;
/// Bytes of the name of a custom column, by the same page.
pub const CUSTOM_COLUMN_BYTES_MOST: usize = 45;
/// Custom columns of a table: 500 columns in all, by the same page, less those that it has.
pub const CUSTOM_COLUMNS_MOST: usize = 300;
/// The outputs of a deployment, as the Azure CLI prints them with all that surrounds them.
pub const OUTPUTS_BYTES_MAX: usize = 4 * MIB;

const _: () = assert!(DEPLOYED_RULES_MOST as usize <= RULES_MOST);
const _: () = assert!(EMULATOR_BLOCK_ROWS <= u32::MAX as usize);
const _: () = assert!(EMULATOR_DISCARD_BYTES_MAX > SERVICE_BODY_BYTES_MAX as u64);
const _: () = assert!(QUERY_BYTES_MAX <= EMULATOR_BODY_BYTES_MAX);
const _: () = assert!(3 * BEAT_TIME.as_millis() < LIVENESS_TIME.as_millis());
const _: () = assert!(FRAME_BYTES_LEAST <= FRAME_BYTES_DEFAULT);
const _: () = assert!(FRAME_BYTES_DEFAULT <= FRAME_BYTES_MOST);
const _: () = assert!(FRAME_BYTES_MOST < 10usize.pow(OCTET_COUNT_DIGITS_MAX as u32));
const _: () = assert!(ROUND_MS_LEAST.is_power_of_two() && ROUND_MS_MOST.is_power_of_two());
const _: () = assert!(ROUND_MS_LEAST <= ROUND_MS_FIRST && ROUND_MS_FIRST <= ROUND_MS_MOST);
const _: () = assert!(ROUND_MS_MOST < 100 && VAIN_READS_UNTIL_SLEEP > 0);
const _: () = assert!(ROUND_MS_CROWDED.is_power_of_two() && ROUND_MS_MOST <= ROUND_MS_CROWDED);
const _: () = assert!(READ_BYTES_SMALL < READ_BYTES_FULL && READ_BYTES_FULL < READ_BYTES_MAX);
const _: () = assert!(BODY_WIRE_BYTES_DEFAULT < SERVICE_BODY_BYTES_MAX);
const _: () = assert!(BODY_RAW_BYTES_DEFAULT < SERVICE_BODY_BYTES_MAX);
const _: () = assert!(BODY_BYTES_LEAST <= BODY_RAW_BYTES_DEFAULT);
const _: () = assert!(ROW_GROWTH * FRAME_BYTES_DEFAULT <= BODY_RAW_BYTES_DEFAULT);
const _: () = assert!(FRAME_BYTES_MOST <= PARTIAL_BYTES_DEFAULT);
const _: () = assert!(BODY_RAW_BYTES_MOST <= u32::MAX as usize);
const _: () = assert!(BODY_BYTES_NEAR_LIMIT < SERVICE_BODY_BYTES_MAX);
const _: () = assert!(1 << (REFUSALS_UNPROVEN_MAX / 8) > BODY_RAW_BYTES_MOST);
const _: () = assert!(REQUESTS_IN_FLIGHT_DEFAULT <= REQUESTS_IN_FLIGHT_MOST);
const _: () = assert!(PAGES_BYTES_LEAST / (PAGE_BYTES + PAGE_BYTES_SLACK) >= 8);
const _: () = assert!(PAGES_BYTES_LEAST <= PAGES_BYTES_DEFAULT);
const _: () = assert!(READ_BYTES_FULL <= READ_BYTES_HOT && READ_BYTES_HOT < 65_535);
const _: () = assert!(OWN_BYTES < PIECE_BYTES);
