//! Tokens for the identity of a machine: the state and the files behind [`super::metadata`].

use std::path::Path;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, FORWARDED, HeaderName, VIA};
use hyper::{Method, Request};

use super::faults::ArcFault;
use super::jwt::Claims;
use super::metadata::{Question, Verdict, challenge, grant, judge, refusal};
use super::reply::Reply;
use super::service::{Shared, State};
use super::stamp::SECOND_NS;

/// Answers a question for a token.
pub(super) fn give_token(shared: &Shared, request: &Request<Incoming>) -> Reply {
    if request.method() != Method::GET {
        return Reply::empty(405);
    }
    let header = |name: &HeaderName| {
        let value = request.headers().get(name)?;
        value.to_str().ok()
    };
    let forwarded = HeaderName::from_static("x-forwarded-for");
    let question = Question {
        query: request.uri().query().unwrap_or_default(),
        metadata: header(&HeaderName::from_static("metadata")),
        authorization: header(&AUTHORIZATION),
        is_forwarded: [VIA, FORWARDED, forwarded]
            .iter()
            .any(|name| header(name).is_some()),
        faults_age: shared.faults_age(),
    };
    let faults = shared.faults();
    let reply = match judge(&question, &faults, &shared.options().user_assigned) {
        Verdict::Reply(reply) => reply,
        Verdict::Grant(resource) => granted(shared, &resource),
        Verdict::Challenge => ask_for_proof(shared, faults.arc),
        Verdict::Proof(resource, text) => {
            let open = shared.set_challenge(None);
            if let Some((file, _)) = &open {
                // it is good for one request
                let _ = std::fs::remove_file(file);
            }
            match open {
                Some((_, wanted)) if wanted == text && faults.arc != ArcFault::NoProof => {
                    granted(shared, &resource)
                }
                _ => refusal(401, "unauthorized", "The proof is not what the file holds."),
            }
        }
    };
    if reply.status >= 400 && question.authorization.is_some() {
        shared.lock().stats.tokens_refused += 1;
    }
    reply
}

fn granted(shared: &Shared, resource: &str) -> Reply {
    let (options, now) = (shared.options(), shared.now());
    let mut state = shared.lock();
    let State {
        tokens,
        random,
        faults,
        ..
    } = &mut *state;
    let life = faults.token_life(options.token_life);
    let claims = Claims::of((&options.tenant_id, &options.client_id), now.wall, life);
    match tokens.give(resource, now.mono.plus(life), &claims, random) {
        Some(token) => {
            let now = now.wall.0.div_euclid(SECOND_NS);
            grant(&token, resource, life.as_secs(), now)
        }
        None => refusal(400, "invalid_resource", "There is no such resource."),
    }
}

fn ask_for_proof(shared: &Shared, fault: ArcFault) -> Reply {
    let Some(folder) = &shared.options().arc_tokens_directory else {
        return Reply::empty(404);
    };
    let (file, text, called) = challenge(fault, folder, &shared.name(), &shared.name());
    if fault != ArcFault::NoFile && write(&file, &text).is_err() {
        return Reply::empty(500);
    }
    if let Some((old, _)) = shared.set_challenge(Some((file, text))) {
        let _ = std::fs::remove_file(old);
    }
    refusal(401, "unauthorized", "Read the file and say what it holds.")
        .with("www-authenticate", format!("Basic realm={called}"))
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(file)?
        .write_all(text.as_bytes())
}
