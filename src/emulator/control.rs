//! The control port: faults and stats, while the emulator runs.

use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Method, Request};

use super::faults::Faults;
use super::reply::Reply;
use super::service::{Shared, read_short_body};

/// True if the request was addressed to this machine: a page in a browser may be made to send
/// requests to a loopback address, but under its own name.
pub(super) fn is_local(request: &Request<Incoming>) -> bool {
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

const CONTROL_HELP: &str = "\
cefline emulator, control port

  GET   /emulator/faults     what goes wrong now, as JSON
  PUT   /emulator/faults     exactly this goes wrong from now on; {} for nothing
  PATCH /emulator/faults     these settings change, the others stay
  GET   /emulator/stats      what it has seen, as JSON
  GET   /emulator/ca.pem     the authority that signed the service's certificate
  POST  /v1/workspaces/{any}/query   {\"query\": \"CommonSecurityLog | count\"}
";

pub(super) async fn control(shared: &Shared, request: Request<Incoming>) -> Reply {
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
        (Method::GET, "/emulator/ca.pem") => Reply::text(200, shared.ca_pem()),
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
