//! The state behind [`super::token`]: one request for a token, and what may go wrong with it.

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};

use super::Tls;
use super::faults::gateway_error;
use super::reply::Reply;
use super::service::{Shared, State, header, read_short_body};
use super::token::{self, Application, TokenRequest};

/// Answers a request for a token.
pub(super) async fn give_token(shared: &Shared, request: Request<Incoming>) -> Reply {
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
    let options = shared.options();
    let scheme = match options.tls {
        Tls::Generated { .. } => "https",
        Tls::Plain => "http",
    };
    // HTTP/2 has the host in the URI
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let host = authority
        .or_else(|| header(&parts, HOST))
        .unwrap_or_default();
    let request = TokenRequest {
        tenant_id,
        content_type: header(&parts, CONTENT_TYPE),
        body: &body,
        url: &format!("{scheme}://{host}{path}"),
    };
    let application = Application {
        tenant_id: &options.tenant_id,
        client_id: &options.client_id,
        client_secret: &options.client_secret,
        registered: &shared.registered,
    };
    let now = shared.now();
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
    } else if faults.secret_expired {
        token::refuse_expired(now.wall, random)
    } else {
        let life = faults.token_life(options.token_life);
        let now = (now.mono, faults.wall(now.wall));
        token::answer(&request, &application, tokens, life, now, random)
    };
    stats.tokens_refused += u64::from(reply.status != 200);
    reply
}
