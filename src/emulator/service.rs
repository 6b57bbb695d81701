//! The emulator's state, and what it answers to each request.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use hyper::http::request::Parts;
use tokio::sync::{Semaphore, watch};

use super::ask;
use super::assertion::Registered;
use super::control;
use super::faults::{Fate, Faults, Outage, Oversize, draw};
use super::ingest::{self, Head, Rule, Setup};
use super::kql::{self, Answer, QueryError};
use super::login;
use super::machine;
use super::metadata;
use super::reply::Reply;
use super::rows::{Notes, read_rows};
use super::table::{Rows, Schema, Table};
use super::token::{Refused, Tokens, guid};
use super::window::Window;
use super::{Options, SizeReading, Stats};
use crate::clock::{Clock, Moment, Mono};
use crate::limits::{
    EMULATOR_BODY_BYTES_MAX, EMULATOR_DISCARD_BYTES_MAX, EMULATOR_LATE_BODIES_MAX,
    EMULATOR_QUERIES_MAX, SERVICE_BODY_BYTES_MAX,
};

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An answer.
    Reply(Reply),
    /// The connection is reset.
    Reset,
}

/// Which of the two ports a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// Token, ingestion, query.
    Service,
    /// Faults, stats, query; no token.
    Control,
}

/// An outage as it was ordered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OutageOrder {
    pub(super) outage: Outage,
    pub(super) time: Option<Duration>,
}

/// What all connections share.
pub(super) struct Shared {
    options: Options,
    clock: Clock,
    ca_pem: String,
    schema: Schema,
    pub(super) registered: Registered,
    state: Mutex<State>,
    orders: watch::Sender<OutageOrder>,
    /// Bounds the queries that run at once.
    pub(super) queries: Semaphore,
}

pub(super) struct State {
    table: Table,
    /// Rows that were accepted and are not in the table yet, oldest first, with when they will be.
    late: VecDeque<(Mono, Rows)>,
    pub(super) tokens: Tokens,
    rules: Vec<Rule>,
    /// The challenge of the Azure Arc agent that is open: its file, and what is in it.
    challenge: Option<(PathBuf, String)>,
    pub(super) faults: Arc<Faults>,
    faults_set: Mono,
    pub(super) random: fastrand::Rng,
    /// Without what is read off the table and the tokens.
    pub(super) stats: Stats,
}

impl State {
    fn keep(&mut self, rows: Rows, notes: &Notes, (raw_bytes, wire_bytes): (u64, u64), now: Mono) {
        self.stats.rows_stored += rows.rows_count as u64;
        let late = self.faults.rows_late();
        if late.is_zero() && self.late.is_empty() {
            self.stats.rows_expired += self.table.append(&rows) as u64;
        } else {
            self.late.push_back((now.plus(late), rows));
        }
        self.stats.raw_bytes += raw_bytes;
        self.stats.wire_bytes += wire_bytes;
        self.stats.notes.add(notes);
    }

    /// Puts into the table what is there by now, and what is too much to wait.
    fn arrive(&mut self, now: Mono) {
        while let Some((at, _)) = self.late.front() {
            if *at > now && self.late.len() <= EMULATOR_LATE_BODIES_MAX {
                return;
            }
            if let Some((_, rows)) = self.late.pop_front() {
                self.stats.rows_expired += self.table.append(&rows) as u64;
            }
        }
    }
}

fn order(faults: &Faults) -> OutageOrder {
    OutageOrder {
        outage: faults.outage,
        time: faults.outage_time(),
    }
}

impl Shared {
    pub(super) fn new(
        options: Options,
        registered: Registered,
        clock: Clock,
        ca_pem: String,
    ) -> Self {
        let rule = |id: &String| Rule {
            id: id.clone(),
            window: Window::default(),
        };
        let state = State {
            table: Table::new(options.rows_count_max),
            late: VecDeque::new(),
            tokens: Tokens::default(),
            challenge: None,
            rules: options.rules.iter().map(rule).collect(),
            faults: Arc::new(options.faults.clone()),
            faults_set: clock.mono(),
            random: fastrand::Rng::with_seed(options.faults.seed),
            stats: Stats::default(),
        };
        Shared {
            orders: watch::Sender::new(order(&options.faults)),
            options,
            clock,
            ca_pem,
            schema: Schema::default(),
            registered,
            state: Mutex::new(state),
            queries: Semaphore::new(EMULATOR_QUERIES_MAX),
        }
    }

    /// Nothing that is done under the lock leaves the state half changed, so one that panicked
    /// under it need not stop the others.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn orders(&self) -> watch::Receiver<OutageOrder> {
        self.orders.subscribe()
    }

    pub(super) fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.lock().faults)
    }

    pub(super) fn set_faults(&self, faults: Faults) -> Result<(), String> {
        faults.check()?;
        let new = order(&faults);
        let mut state = self.lock();
        if faults.seed != state.faults.seed {
            state.random = fastrand::Rng::with_seed(faults.seed);
        }
        state.faults_set = self.clock.mono();
        let old = order(&state.faults);
        state.faults = Arc::new(faults);
        drop(state);
        // a change of something else must not begin a running outage anew
        if new != old {
            self.orders.send_replace(new);
        }
        Ok(())
    }

    /// Notes that an outage has run its time.
    pub(super) fn outage_ended(&self) {
        let mut state = self.lock();
        let mut faults = state.faults.as_ref().clone();
        faults.outage = Outage::None;
        faults.outage_seconds = None;
        state.faults = Arc::new(faults);
    }

    pub(super) fn connection_accepted(&self) {
        self.lock().stats.connections += 1;
    }

    pub(super) fn stats(&self) -> Stats {
        let mut state = self.lock();
        state.arrive(self.clock.mono());
        let mut stats = state.stats.clone();
        stats.rows_in_table = state.table.rows_count() as u64;
        stats.packed_bytes = state.table.packed_bytes() as u64;
        stats.tokens_issued = state.tokens.count();
        stats
    }

    pub(super) fn query(
        &self,
        kql: &str,
        between: Option<(i64, i64)>,
    ) -> Result<Answer, QueryError> {
        let snapshot = {
            let mut state = self.lock();
            state.stats.queries += 1;
            state.arrive(self.clock.mono());
            state.table.snapshot()
        };
        kql::answer(kql, &snapshot, &self.schema, self.clock.wall(), between)
    }

    pub(super) fn check_query_token(&self, authorization: Option<&str>) -> Result<(), Refused> {
        let now = self.clock.mono();
        self.lock().tokens.check_query(authorization, now)
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Seconds since the faults were set.
    pub(super) fn faults_age(&self) -> f64 {
        let set = self.lock().faults_set;
        self.clock.mono().since(set).as_secs_f64()
    }

    /// A random name.
    pub(super) fn name(&self) -> String {
        guid(&mut self.lock().random)
    }

    /// Notes a challenge and what is in its file; the one before it, which is void now.
    pub(super) fn set_challenge(
        &self,
        new: Option<(PathBuf, String)>,
    ) -> Option<(PathBuf, String)> {
        std::mem::replace(&mut self.lock().challenge, new)
    }

    pub(super) fn federated_token(&self, life: Duration) -> String {
        let seconds = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
        self.registered.federated_token(self.clock.wall(), seconds)
    }

    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    fn request_id(&self) -> String {
        guid(&mut self.lock().random)
    }
}

/// Answers a request.
pub(super) async fn answer(shared: Arc<Shared>, port: Port, request: Request<Incoming>) -> Outcome {
    let path = request.uri().path();
    let is_query = path.starts_with("/v1/workspaces/") && path.ends_with("/query");
    match port {
        Port::Control if !control::is_local(&request) => Outcome::Reply(Reply::text(
            403,
            "the control port answers to a loopback address or localhost only\n",
        )),
        _ if is_query => Outcome::Reply(ask::query(shared, port, request).await),
        Port::Control if path == metadata::PATH => {
            Outcome::Reply(machine::give_token(&shared, &request))
        }
        Port::Control => Outcome::Reply(control::control(&shared, request).await),
        Port::Service if path.ends_with("/oauth2/v2.0/token") => {
            Outcome::Reply(login::give_token(&shared, request).await)
        }
        Port::Service => ingest(&shared, request).await,
    }
}

/// A body, or as much of it as is wanted.
struct Received {
    bytes: Vec<u8>,
    /// All of it, with what was thrown away.
    count: u64,
}

/// Reads a body. What is beyond `keep_max` is read and thrown away, up to a limit; nothing if the
/// connection breaks.
async fn read_body(mut body: Incoming, keep_max: usize) -> Option<Received> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(announced.min(keep_max));
    let mut count = 0u64;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        count = count.saturating_add(data.len() as u64);
        let room = keep_max.saturating_sub(bytes.len());
        bytes.extend_from_slice(data.get(..room).unwrap_or(&data));
        if count > EMULATOR_DISCARD_BYTES_MAX {
            break;
        }
    }
    Some(Received { bytes, count })
}

/// A body that must be short.
pub(super) async fn read_short_body(body: Incoming) -> Result<Vec<u8>, Reply> {
    match read_body(body, EMULATOR_BODY_BYTES_MAX).await {
        Some(received) if received.count == received.bytes.len() as u64 => Ok(received.bytes),
        Some(_) => Err(Reply::error(
            413,
            "RequestTooLarge",
            "The body is too long.",
        )),
        None => Err(Reply::empty(400)),
    }
}

/// A header's text; of several of one name the first.
pub(super) fn header(parts: &Parts, name: HeaderName) -> Option<&str> {
    parts
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
}

async fn ingest(shared: &Shared, request: Request<Incoming>) -> Outcome {
    let (parts, body) = request.into_parts();
    let (faults, fate) = {
        let mut state = shared.lock();
        let faults = Arc::clone(&state.faults);
        let set = state.faults_set;
        let rule = ingest::split_path(parts.uri.path()).map_or("", |(rule, _)| rule);
        let fate = draw(&faults, rule, set, shared.clock.now(), &mut state.random);
        (faults, fate)
    };
    if !fate.wait.is_zero() {
        tokio::time::sleep(fate.wait).await;
    }
    let outcome = match early_end(&parts, &faults) {
        Some(outcome) => outcome,
        None => match read_body(body, SERVICE_BODY_BYTES_MAX).await {
            None => return Outcome::Reset,
            Some(received) => match &fate.reply {
                _ if fate.reset => Outcome::Reset,
                Some(reply) => Outcome::Reply(reply.clone()),
                None => {
                    judge(shared, &parts, &received, &faults, &fate).unwrap_or_else(Outcome::Reply)
                }
            },
        },
    };
    let mut state = shared.lock();
    match outcome {
        Outcome::Reset if fate.lose_answer => Outcome::Reset,
        Outcome::Reset => {
            state.stats.calls_reset += 1;
            Outcome::Reset
        }
        Outcome::Reply(reply) => {
            *state.stats.calls.entry(reply.status).or_default() += 1;
            drop(state);
            Outcome::Reply(reply.with("x-ms-request-id", shared.request_id()))
        }
    }
}

/// The end of a call whose body is announced as too long, if that does not wait for the body.
fn early_end(parts: &Parts, faults: &Faults) -> Option<Outcome> {
    let announced = header(parts, CONTENT_LENGTH)?.parse().ok()?;
    if !ingest::is_oversize(announced, faults) {
        return None;
    }
    match faults.oversize {
        Oversize::Answer => None,
        Oversize::Close => Some(Outcome::Reply(
            ingest::oversize(announced).with("connection", "close"),
        )),
        Oversize::Reset => Some(Outcome::Reset),
    }
}

/// A call from its first check to its rows in the table.
fn judge(
    shared: &Shared,
    parts: &Parts,
    received: &Received,
    faults: &Faults,
    fate: &Fate,
) -> Result<Outcome, Reply> {
    let now = shared.clock.now();
    let reading = shared.options.size_reading;
    let encoding = header(parts, CONTENT_ENCODING);
    let rule = admit(shared, parts, received, faults, fate, now)?;
    let raw = ingest::unpack(&received.bytes, encoding, reading)?;
    if let Some(text) = &faults.refuse_text
        && memchr::memmem::find(&raw, text.as_bytes()).is_some()
    {
        return Err(ingest::not_rows("a row that was set to be refused"));
    }
    let done = Outcome::Reply(Reply::empty(204));
    let (rows, notes) = match read_rows(&raw, now.wall, &shared.schema) {
        Ok(read) => read,
        Err(_) if faults.lenient_parse => {
            shared.lock().stats.bodies_lost += 1;
            return Ok(done);
        }
        Err(problem) => return Err(ingest::not_rows(&problem)),
    };
    let mut state = shared.lock();
    if let (SizeReading::Raw, Some(rule)) = (reading, state.rules.get_mut(rule)) {
        rule.window.charge(raw.len() as u64);
    }
    if fate.lose_rows {
        state.stats.rows_lost += rows.rows_count as u64;
        return Ok(done);
    }
    state.keep(rows, &notes, (raw.len() as u64, received.count), now.mono);
    state.arrive(now.mono);
    if fate.lose_answer {
        state.stats.answers_lost += 1;
        return Ok(Outcome::Reset);
    }
    Ok(done)
}

fn admit(
    shared: &Shared,
    parts: &Parts,
    received: &Received,
    faults: &Faults,
    fate: &Fate,
    now: Moment,
) -> Result<usize, Reply> {
    let options = &shared.options;
    let head = Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        authorization: header(parts, AUTHORIZATION),
        content_type: header(parts, CONTENT_TYPE),
        body_bytes: received.count,
    };
    let setup = Setup {
        stream: &options.stream,
        audience: &options.audience,
        size_reading: options.size_reading,
        size_first: options.size_first,
        minute: options.minute,
    };
    let mut state = shared.lock();
    let State { rules, tokens, .. } = &mut *state;
    ingest::admit(&head, &setup, rules, tokens, faults, fate, now)
}
