//! The query endpoint, in the form of the Log Analytics query API.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request};
use serde_json::{Value, json};

use super::reply::Reply;
use super::service::{Port, Shared, header, read_short_body};
use super::stamp::parse_time;
use super::token;

/// A query in the form of the Log Analytics query API: `POST` with `{"query": …, "timespan": …}` or
/// `GET` with the same two as parameters. On the service's port it needs a token for that API, whose
/// scope is `https://api.loganalytics.azure.com/.default`.
pub(super) async fn query(shared: Arc<Shared>, port: Port, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    if port == Port::Service {
        let checked = shared.check_query_token(header(&parts, AUTHORIZATION));
        if let Err(refused) = checked {
            let reply = query_error(401, "InvalidTokenError", refused.message(), None);
            return reply.with("www-authenticate", "Bearer error=\"invalid_token\"");
        }
        if shared.faults().query_forbidden {
            let message = "The provided credentials have insufficient access to perform the requested operation";
            return query_error(403, "InsufficientAccessError", message, None);
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
    let between = match timespan.map(|text| read_timespan(text, shared.now().wall.0)) {
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
