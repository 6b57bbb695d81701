//! cefline takes Common Event Format (CEF) syslog from security devices and lands it in Microsoft
//! Sentinel's `CommonSecurityLog` table, through the Azure Monitor Logs Ingestion API.
//!
//! ```text
//!           ingest shard (one per core, on glommio or tokio)     uploader (own thread, tokio)
//!
//! socket -> listen -> frame -> parse -> map -> page ==ring==> batch -> compress -> upload -> verdict
//!                                                ^                        |        ^ |  ^       |
//!    senders wait when no page is free           '---- empty pages -------'        | |  '-retry-'
//!                                                                                  | v
//!                                             spool keeper (own thread)   segments on disk
//! ```
//!
//! The modules in the order of the data's way. A stage owns the types that it makes, and only
//! stages after it know them:
//!
//! | module | its one job | pure |
//! |---|---|---|
//! | [`listen`] | accept, share connections out over shards, read them, stop reading when pages run out | [`listen::connection`], [`listen::rounds`], [`listen::placement`], [`listen::piece`] |
//! | [`frame`] | cut the byte stream into syslog frames (RFC 6587) | yes |
//! | [`parse`] | one frame to a borrowed CEF record | yes |
//! | [`filter`] | what becomes of a record by the rules of the configuration | yes |
//! | [`map`] | one record to one row, as JSON, by the tables in [`columns`] | yes |
//! | [`page`] | rows on their way, with where each ends and when it came | yes |
//! | [`ring`] | pages from shards to uploaders and back; their number bounds memory | yes |
//! | [`batch`] | rows of pages into bodies under two limits and an age | yes |
//! | [`deflate`] | gzip for rows, told where their columns are | yes |
//! | [`compress`] | bodies as gzip, and back for the rare body that must be split | yes |
//! | [`spool`] | bodies on disk, so that a crash costs none, and back | all but [`spool::files`], [`spool::thread`] |
//! | [`upload`] | send a body, judge the answer, and go on until every row is settled | [`upload::uploader`], [`upload::desk`], [`upload::verdict`], [`upload::isolate`] |
//! | [`auth`], [`client`], [`retry`] | one token for all uploaders; the HTTPS client; when to try again | [`retry`] |
//!
//! Beside the way: [`config`] (text to checked values), [`limits`] (every bound, with its reason),
//! [`clock`] (time as a value), [`columns`] (the table that rows are for), [`metrics`] (the closed set of counters and the identity that they
//! keep), [`heart`] (whether every loop goes round), [`watch`] (the server behind `/metrics`), [`supervisor`] (what systemd and we say to each
//! other), [`log`], [`failure`], [`pin`] (threads that stay on a core), [`sandbox`] (rights that the running program gives up), [`planted`] (mistakes that the simulator must find; none in a program
//! for use), [`check`] (what is wrong on the way, and what helps), [`cli`] (the commands), and [`run`], the only place that knows all stages.
//!
//! Before the way: [`azure`] (templates of what to send to, and a configuration that fits what they
//! deployed). For rehearsals: [`emulator`] (a stand-in for Sentinel), [`generate`] and [`send`] (messages of a
//! dozen vendors, and how they get here). No stage knows them.
//!
//! What holds everywhere:
//!
//! - **Nothing is lost in silence.** Every frame becomes a row or is counted as lost with its reason;
//!   every row is held, uploaded, in quarantine, or counted as lost with its reason ([`metrics`]).
//! - **Nothing is unbounded.** Each buffer, queue, wait and retry has its bound in [`limits`].
//! - **Nothing a stranger sends can panic us**; there is no unsafe code but in one file of [`deflate`] and
//!   two of [`parse`], where it lets the compiler use what the processor has, and in one of [`sandbox`]
//!   that is in no program for use.
//! - **Pure modules** have no socket, no clock, no disk: time and configuration are arguments.
//! - glommio is known to [`listen`] alone, and there to two files; tokio to two others of it, and to
//!   [`client`], [`auth`], [`upload`], [`watch`], [`run`], [`check`], [`emulator`] and [`cli`]. `tokio::sync`, which belongs to no runtime, is what
//!   [`listen`] and [`ring`] share with them.
//! - `tests/tidy.rs` holds the code against these rules, and has the table of who may use whom.

pub mod auth;
pub mod azure;
pub mod batch;
pub mod check;
pub mod cli;
pub mod client;
pub mod clock;
pub mod columns;
pub mod compress;
pub mod config;
pub mod deflate;
pub mod emulator;
pub mod failure;
pub mod filter;
pub mod frame;
pub mod generate;
pub mod heart;
pub mod limits;
pub mod listen;
pub mod log;
pub mod map;
pub mod metrics;
pub mod page;
pub mod parse;
pub mod pin;
pub mod planted;
pub mod retry;
pub mod ring;
pub mod run;
pub mod sandbox;
pub mod send;
pub mod spool;
pub mod supervisor;
pub mod upload;
pub mod watch;
