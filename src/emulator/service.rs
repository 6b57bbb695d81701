//! The emulator's state, and what it answers to each request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName,
};
use hyper::http::request::Parts;
use hyper::{Method, Request};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::faults::{Fate, Faults, Outage, Oversize, draw, gateway_error};
use super::ingest::{self, Head, Rule, Setup};
use super::kql::{self, Answer, QueryError};
use super::reply::Reply;
use super::rows::read_rows;
use super::stamp::parse_time;
use super::table::{Schema, Table};
use super::token::{self, Application, TokenRequest, Tokens, guid};
use super::window::Window;
use super::{Options, SizeReading, Stats};
use crate::clock::{Clock, Moment, Mono};
use crate::limits::{
    EMULATOR_BODY_BYTES_MAX, EMULATOR_DISCARD_BYTES_MAX, EMULATOR_QUERIES_MAX,
    SERVICE_BODY_BYTES_MAX,
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
    state: Mutex<State>,
    orders: watch::Sender<OutageOrder>,
    queries: Semaphore,
}

struct State {
    table: Table,
    tokens: Tokens,
    rules: Vec<Rule>,
    faults: Arc<Faults>,
    faults_set: Mono,
    random: fastrand::Rng,
    /// Without what is read off the table and the tokens.
    stats: Stats,
}

fn order(faults: &Faults) -> OutageOrder {
    OutageOrder {
        outage: faults.outage,
        time: faults.outage_time(),
    }
}

impl Shared {
    pub(super) fn new(options: Options, clock: Clock, ca_pem: String) -> Self {
        let rule = |id: &String| Rule {
            id: id.clone(),
            window: Window::default(),
        };
        let state = State {
            table: Table::new(options.rows_count_max),
            tokens: Tokens::default(),
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
            state: Mutex::new(state),
            queries: Semaphore::new(EMULATOR_QUERIES_MAX),
        }
    }

    /// Nothing that is done under the lock leaves the state half changed, so one that panicked
    /// under it need not stop the others.
    fn lock(&self) -> MutexGuard<'_, State> {
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
        let state = self.lock();
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
            state.table.snapshot()
        };
        kql::answer(kql, &snapshot, &self.schema, self.clock.wall(), between)
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
        Port::Control if !is_local(&request) => Outcome::Reply(Reply::text(
            403,
            "the control port answers to a loopback address or localhost only\n",
        )),
        _ if is_query => Outcome::Reply(query(shared, port, request).await),
        Port::Control => Outcome::Reply(control(&shared, request).await),
        Port::Service if path.ends_with("/oauth2/v2.0/token") => {
            Outcome::Reply(give_token(&shared, request).await)
        }
        Port::Service => ingest(&shared, request).await,
    }
}

/// True if the request was addressed to this machine: a page in a browser may be made to send
/// requests to a loopback address, but under its own name.
fn is_local(request: &Request<Incoming>) -> bool {
    let Some(host) = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
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
async fn read_short_body(body: Incoming) -> Result<Vec<u8>, Reply> {
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
fn header(parts: &Parts, name: HeaderName) -> Option<&str> {
    parts
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
}

async fn give_token(shared: &Shared, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let tenant_id = path
        .trim_start_matches('/')
        .trim_end_matches("/oauth2/v2.0/token");
    if parts.method != Method::POST || tenant_id.contains('/') || tenant_id.is_empty() {
        return Reply::empty(404);
    }
    let body = match read_short_body(body).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let now = shared.clock.now();
    let mut state = shared.lock();
    let State {
        tokens,
        random,
        faults,
        stats,
        ..
    } = &mut *state;
    let reply = if random.f64() < faults.token_error_rate {
        gateway_error(faults.token_error_status, faults.error_body)
    } else if faults.token_refused {
        token::refuse_secret(now.wall, random)
    } else {
        let request = TokenRequest {
            tenant_id,
            content_type: header(&parts, CONTENT_TYPE),
            body: &body,
        };
        let application = Application {
            tenant_id: &shared.options.tenant_id,
            client_id: &shared.options.client_id,
            client_secret: &shared.options.client_secret,
        };
        let life = faults.token_life(shared.options.token_life);
        token::answer(
            &request,
            &application,
            tokens,
            life,
            (now.mono, now.wall),
            random,
        )
    };
    stats.tokens_refused += u64::from(reply.status != 200);
    reply
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
                None => judge(shared, &parts, &received, &faults, &fate),
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
) -> Outcome {
    let now = shared.clock.now();
    match accept(shared, parts, received, faults, fate, now) {
        Ok(outcome) => outcome,
        Err(reply) => Outcome::Reply(reply),
    }
}

fn accept(
    shared: &Shared,
    parts: &Parts,
    received: &Received,
    faults: &Faults,
    fate: &Fate,
    now: Moment,
) -> Result<Outcome, Reply> {
    let options = &shared.options;
    let head = Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        authorization: header(parts, AUTHORIZATION),
        content_type: header(parts, CONTENT_TYPE),
        content_encoding: header(parts, CONTENT_ENCODING),
        body_bytes: received.count,
    };
    let setup = Setup {
        stream: &options.stream,
        audience: &options.audience,
        size_reading: options.size_reading,
        size_first: options.size_first,
        minute: options.minute,
    };
    let rule = {
        let mut state = shared.lock();
        let State { rules, tokens, .. } = &mut *state;
        ingest::admit(&head, &setup, rules, tokens, faults, fate, now)?
    };
    let raw = ingest::unpack(&received.bytes, head.content_encoding, options.size_reading)?;
    if let Some(text) = &faults.refuse_text
        && memchr::memmem::find(&raw, text.as_bytes()).is_some()
    {
        return Err(ingest::not_rows("a row that was set to be refused"));
    }
    let (rows, notes) = match read_rows(&raw, now.wall, &shared.schema) {
        Ok(read) => read,
        Err(_) if faults.lenient_parse => {
            shared.lock().stats.bodies_lost += 1;
            return Ok(Outcome::Reply(Reply::empty(204)));
        }
        Err(problem) => return Err(ingest::not_rows(&problem)),
    };
    let mut state = shared.lock();
    let State {
        table,
        rules,
        stats,
        ..
    } = &mut *state;
    if let (SizeReading::Raw, Some(rule)) = (options.size_reading, rules.get_mut(rule)) {
        rule.window.charge(raw.len() as u64);
    }
    let rows_count = rows.rows_count as u64;
    if fate.lose_rows {
        stats.rows_lost += rows_count;
        return Ok(Outcome::Reply(Reply::empty(204)));
    }
    stats.rows_stored += rows_count;
    stats.rows_expired += table.append(&rows) as u64;
    stats.raw_bytes += raw.len() as u64;
    stats.wire_bytes += received.count;
    stats.notes.add(&notes);
    if fate.lose_answer {
        stats.answers_lost += 1;
        return Ok(Outcome::Reset);
    }
    Ok(Outcome::Reply(Reply::empty(204)))
}

/// A query in the form of the Log Analytics query API: `POST` with `{"query": …, "timespan": …}` or
/// `GET` with the same two as parameters. On the service's port it needs a token for that API, whose
/// scope is `https://api.loganalytics.azure.com/.default`.
async fn query(shared: Arc<Shared>, port: Port, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    if port == Port::Service {
        let checked = shared
            .lock()
            .tokens
            .check_query(header(&parts, AUTHORIZATION), shared.clock.mono());
        if let Err(refused) = checked {
            let reply = query_error(401, "InvalidTokenError", refused.message(), None);
            return reply.with("www-authenticate", "Bearer error=\"invalid_token\"");
        }
    }
    let asked = match parts.method {
        Method::GET => parameters(parts.uri.query().unwrap_or_default()),
        Method::POST => match read_short_body(body).await {
            Ok(body) => serde_json::from_slice(&body).ok(),
            Err(reply) => return reply,
        },
        _ => return query_error(405, "MethodNotAllowed", "GET or POST.", None),
    };
    let Some((kql, timespan)) = asked.as_ref().and_then(query_and_timespan) else {
        let message = "The body must be a JSON object with the query's text as \"query\".";
        return query_error(400, "BadArgumentError", message, None);
    };
    let between = match timespan.map(|text| read_timespan(text, shared.clock.wall().0)) {
        None => None,
        Some(Some(between)) => Some(between),
        Some(None) => {
            let message = "The timespan must be an ISO 8601 duration or interval.";
            return query_error(400, "BadArgumentError", message, None);
        }
    };
    // closed only when the program ends
    let _permit = shared.queries.acquire().await;
    let kql = kql.to_owned();
    let worker = Arc::clone(&shared);
    let work = move || match worker.query(&kql, between) {
        Ok(answer) => Reply::json(200, answer.to_json()),
        Err(error) => {
            let message = "The request had some invalid properties";
            query_error(400, "BadArgumentError", message, Some(&error.explain(&kql)))
        }
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(reply) => reply,
        Err(_) => query_error(500, "InternalServerError", "The query failed.", None),
    }
}

fn query_error(status: u16, code: &str, message: &str, inner: Option<&str>) -> Reply {
    let mut error = json!({"code": code, "message": message});
    if let (Some(inner), Value::Object(error)) = (inner, &mut error) {
        let inner = json!({"code": "SyntaxError", "message": inner});
        error.insert("innererror".to_owned(), inner);
    }
    Reply::json(status, json!({"error": error}).to_string().into_bytes())
}

fn parameters(query: &str) -> Option<Value> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| Some((name.to_owned(), Value::from(token::decode(value)?))))
        .collect()
}

fn query_and_timespan(asked: &Value) -> Option<(&str, Option<&str>)> {
    let kql = asked.get("query")?.as_str()?;
    match asked.get("timespan") {
        None | Some(Value::Null) => Some((kql, None)),
        Some(timespan) => Some((kql, Some(timespan.as_str()?))),
    }
}

/// `PT1H`, `start/end`, `start/PT1H` or `PT1H/end`: least and greatest time, nanoseconds since 1970.
fn read_timespan(text: &str, now: i64) -> Option<(i64, i64)> {
    let duration = |text: &str| -> Option<i64> {
        // the parser reads other forms too
        let span: jiff::Span = text.parse().ok().filter(|_| text.starts_with('P'))?;
        let day = jiff::SpanRelativeTo::days_are_24_hours();
        let ns = span.to_duration(day).ok()?.as_nanos();
        i64::try_from(ns).ok().filter(|ns| *ns >= 0)
    };
    let Some((first, second)) = text.split_once('/') else {
        return Some((now.checked_sub(duration(text)?)?, now));
    };
    match (parse_time(first), parse_time(second)) {
        (Some(start), Some(end)) => Some((start, end)),
        (Some(start), None) => Some((start, start.checked_add(duration(second)?)?)),
        (None, Some(end)) => Some((end.checked_sub(duration(first)?)?, end)),
        (None, None) => None,
    }
}

const CONTROL_HELP: &str = "\
cefline emulator, control port

  GET   /emulator/faults     what goes wrong now, as JSON
  PUT   /emulator/faults     exactly this goes wrong from now on; {} for nothing
  PATCH /emulator/faults     these settings change, the others stay
  GET   /emulator/stats      what it has seen, as JSON
  GET   /emulator/ca.pem     the authority that signed the service's certificate
  POST  /v1/workspaces/{any}/query   {\"query\": \"CommonSecurityLog | count\"}
";

async fn control(shared: &Shared, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let as_json = |value: Result<Vec<u8>, serde_json::Error>| match value {
        Ok(mut json) => {
            json.push(b'\n');
            Reply::json(200, json)
        }
        Err(_) => Reply::empty(500),
    };
    match (parts.method, parts.uri.path()) {
        (Method::GET, "/") => Reply::text(200, CONTROL_HELP),
        (Method::GET, "/emulator/stats") => as_json(serde_json::to_vec_pretty(&shared.stats())),
        (Method::GET, "/emulator/faults") => {
            as_json(serde_json::to_vec_pretty(shared.faults().as_ref()))
        }
        (Method::GET, "/emulator/ca.pem") => Reply::text(200, shared.ca_pem.clone()),
        (method @ (Method::PUT | Method::PATCH), "/emulator/faults") => {
            let body = match read_short_body(body).await {
                Ok(body) => body,
                Err(reply) => return reply,
            };
            let faults = if method == Method::PUT {
                Faults::from_json(&body)
            } else {
                shared.faults().changed_by_json(&body)
            };
            match faults.and_then(|faults| shared.set_faults(faults)) {
                Ok(()) => as_json(serde_json::to_vec_pretty(shared.faults().as_ref())),
                Err(problem) => Reply::text(400, format!("{problem}\n")),
            }
        }
        _ => Reply::text(404, CONTROL_HELP),
    }
}

/// An answer as HTTP.
pub(super) fn response(reply: Reply) -> hyper::Response<http_body_util::Full<Bytes>> {
    let mut response = hyper::Response::new(http_body_util::Full::new(Bytes::from(reply.body)));
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status)
        .unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = reply
        .content_type
        .map(|text| ("content-type", text.to_owned()));
    for (name, value) in content_type.into_iter().chain(reply.headers) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timespans_are_read_in_their_four_forms() {
        let hour = super::super::stamp::HOUR_NS;
        let at = |text| parse_time(text).unwrap();
        let now = at("2024-05-01T12:00:00Z");
        assert_eq!(read_timespan("PT1H", now), Some((now - hour, now)));
        assert_eq!(read_timespan("P1D", now), Some((now - 24 * hour, now)));
        let day = (at("2024-05-01T00:00:00Z"), at("2024-05-02T00:00:00Z"));
        assert_eq!(
            read_timespan("2024-05-01T00:00:00Z/2024-05-02T00:00:00Z", now),
            Some(day)
        );
        assert_eq!(read_timespan("2024-05-01T00:00:00Z/P1D", now), Some(day));
        assert_eq!(read_timespan("P1D/2024-05-02T00:00:00Z", now), Some(day));
        for text in ["", "1h", "/", "P1D/P1D", "-PT1H", "P1Y", "x/y"] {
            assert_eq!(read_timespan(text, now), None, "{text}");
        }
    }
}
