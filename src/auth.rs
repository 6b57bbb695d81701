//! One valid token for all uploaders.
//!
//! A token is obtained when the first request needs one and renewed early, while the old one is
//! still used, so that a login endpoint that is down stops nothing until the token really ends.
//! At most one request for a token is under way at any time, whichever thread began it; the others
//! wait for its result. After a failure nobody asks again before the pause is over.
//!
//! ```text
//! none --permit--> obtain -----------> valid --half of its life--> valid, renewed behind
//!   ^                 | failed          |
//!   +-- pause <-------+      401 once in 30 s: forget
//! ```
//!
//! One file for each kind of identity says how one request is made. What proves who we are is read
//! anew for each request, so that a new secret, key or token file needs no restart, and is wiped
//! from memory after it. Neither it nor a token is ever in a message, a log line or the output of
//! `Debug`.

pub mod answer;
mod arc;
mod certificate;
mod choose;
mod client_secret;
mod login;
mod managed;
mod workload;

pub use answer::{Party, Refusal};

use crate::client::Clients;
use crate::clock::{Clock, Mono, Wall};
use crate::config::Identity;
use crate::limits::{ALARM_PAUSE, BACKOFF_LEAST, TOKEN_RENEW_JITTER, TOKEN_RENEW_PAUSE};
use crate::log::Limited;
use crate::metrics::{Counter, Counters};
use answer::Grant;
use reqwest::header::HeaderValue;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Leave to send: the value of the `Authorization` header.
#[derive(Debug, Clone)]
pub struct Permit {
    /// `Bearer` and the token; marked as sensitive, so that `Debug` does not show it.
    pub header: HeaderValue,
    /// Which token it holds.
    generation: u64,
}

impl Permit {
    /// A permit that was had in another way.
    #[must_use]
    pub fn of(header: HeaderValue) -> Self {
        Permit {
            header,
            generation: 0,
        }
    }
}

/// No token, and when the next try is allowed.
#[derive(Debug, Clone)]
pub struct Denied {
    /// Why.
    pub refusal: Arc<Refusal>,
    /// Not before.
    pub retry_at: Mono,
}

/// What the token is like now, for `/readyz` and the progress display.
#[derive(Debug, Clone)]
pub enum Standing {
    /// None was needed yet, or one is being obtained.
    None,
    /// Valid for so long; with why its renewal fails, if it does.
    Valid(Duration, Option<Arc<Refusal>>),
    /// There is none, and the last try failed.
    Failing(Arc<Refusal>),
}

/// The token of one identity, shared by all uploaders.
pub struct Auth {
    identity: Identity,
    clients: Clients,
    clock: Clock,
    state: Mutex<State>,
    /// Held while a token is requested.
    flight: Arc<tokio::sync::Mutex<()>>,
    alarm: Limited,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// Tokens obtained so far.
    generation: u64,
    /// Failed tries since the last success.
    failures: u32,
    /// Not before, after a failure.
    next_try: Mono,
    /// The last failure; nothing after a success.
    refusal: Option<Arc<Refusal>>,
    /// When a token was last forgotten because the service refused it.
    forgotten_at: Option<Mono>,
    /// How many seconds the login endpoint's clock is ahead of ours, if that is too much.
    skew: i64,
}

#[derive(Debug)]
struct Token {
    header: HeaderValue,
    expires_at: Mono,
    renew_at: Mono,
}

/// What a request for a token needs besides the identity.
struct Asking<'a> {
    clients: &'a Clients,
    clock: Clock,
    skew: i64,
}

impl Asking<'_> {
    /// What time it is for the login endpoint, as far as it has told.
    fn now_there(&self) -> Wall {
        let skew = self.skew.saturating_mul(1_000_000_000);
        Wall(self.clock.wall().0.saturating_add(skew))
    }
}

/// When a token of such a life is renewed: at half of it, so that a login endpoint may be away for
/// the other half. Earlier by up to a tenth, by `chance` in `0..1`: many who began together must not
/// renew together.
fn age_max(life: Duration, chance: f64) -> Duration {
    (life / 2).mul_f64(1.0 - TOKEN_RENEW_JITTER * chance)
}

/// A variable of the environment that holds something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What `auto` stands for; any other identity as it is.
fn settled(identity: Identity) -> Identity {
    let Identity::Auto(auto) = identity else {
        return identity;
    };
    let has_agent = std::path::Path::new(choose::ARC_AGENT).exists();
    let (chosen, passed) = choose::choose(&auto, &variable, has_agent);
    let passed = passed.join("; ");
    tracing::info!(kind = chosen.kind(), passed, "identity chosen");
    chosen
}

/// What a look at the state says.
enum Look {
    Valid(Permit),
    /// Valid, and to be renewed.
    Aging(Permit),
    Paused(Denied),
    Missing,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Auth {
    /// For `auto` it is decided here who we are, by what there is on this machine.
    #[must_use]
    pub fn new(identity: Identity, clients: Clients, clock: Clock) -> Self {
        Auth {
            identity: settled(identity),
            clients,
            clock,
            state: Mutex::default(),
            flight: Arc::default(),
            alarm: Limited::new(ALARM_PAUSE),
        }
    }

    /// The token in hand, or why there is none, if that can be said without asking anybody.
    #[must_use]
    pub fn permit_at_hand(&self) -> Option<Result<Permit, Denied>> {
        match self.look() {
            Look::Valid(permit) => Some(Ok(permit)),
            Look::Paused(denied) => Some(Err(denied)),
            Look::Aging(_) | Look::Missing => None,
        }
    }

    /// The token in hand, or a new one if there is none. `counters` are the calling thread's.
    ///
    /// # Errors
    /// There is no token and none can be had now.
    pub async fn permit(self: &Arc<Self>, counters: &Arc<Counters>) -> Result<Permit, Denied> {
        match self.look() {
            Look::Valid(permit) => return Ok(permit),
            Look::Aging(permit) => {
                self.renew_behind(counters);
                return Ok(permit);
            }
            Look::Paused(denied) => return Err(denied),
            Look::Missing => {}
        }
        let _turn = self.flight.lock().await;
        // whoever had the turn before may have done it
        match self.look() {
            Look::Valid(permit) | Look::Aging(permit) => Ok(permit),
            Look::Paused(denied) => Err(denied),
            Look::Missing => self.obtain(counters).await,
        }
    }

    /// The service did not accept this permit. True if a further try has, or will get, another
    /// token; false if this one is so new that the fault must lie elsewhere.
    pub fn refused(&self, permit: &Permit) -> bool {
        let now = self.clock.mono();
        let mut state = self.state();
        if state.generation != permit.generation || state.token.is_none() {
            return true;
        }
        if state
            .forgotten_at
            .is_some_and(|at| now.since(at) < TOKEN_RENEW_PAUSE)
        {
            return false;
        }
        state.forgotten_at = Some(now);
        state.token = None;
        true
    }

    /// What the token is like now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let now = self.clock.mono();
        let state = self.state();
        match (&state.token, &state.refusal) {
            (Some(token), refusal) if now < token.expires_at => {
                Standing::Valid(token.expires_at.since(now), refusal.clone())
            }
            (_, Some(refusal)) => Standing::Failing(Arc::clone(refusal)),
            (_, None) => Standing::None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Look {
        let now = self.clock.mono();
        let state = self.state();
        let may_try = now >= state.next_try;
        match (&state.token, &state.refusal) {
            (Some(token), _) if now < token.expires_at => {
                let permit = Permit {
                    header: token.header.clone(),
                    generation: state.generation,
                };
                if now >= token.renew_at && may_try {
                    Look::Aging(permit)
                } else {
                    Look::Valid(permit)
                }
            }
            (_, Some(refusal)) if !may_try => Look::Paused(Denied {
                refusal: Arc::clone(refusal),
                retry_at: state.next_try,
            }),
            _ => Look::Missing,
        }
    }

    /// Renews on the calling thread's runtime, unless somebody does so already.
    fn renew_behind(self: &Arc<Self>, counters: &Arc<Counters>) {
        if let Ok(turn) = Arc::clone(&self.flight).try_lock_owned() {
            let (auth, counters) = (Arc::clone(self), Arc::clone(counters));
            tokio::spawn(async move {
                let _turn = turn;
                // the result is in the state
                let _ = auth.obtain(&counters).await;
            });
        }
    }

    /// One try. The caller holds `flight`.
    async fn obtain(&self, counters: &Counters) -> Result<Permit, Denied> {
        // before the request: a token must not seem to live longer than it does
        let asked_at = self.clock.mono();
        let granted = self.grant().await;
        let skew = match &granted {
            Ok(grant) => Some(grant.skew),
            Err(refusal) => refusal.skew(),
        };
        if let Some(skew) = skew {
            self.note_skew(skew);
        }
        match granted {
            Ok(grant) => Ok(self.keep(&grant, asked_at, counters)),
            Err(refusal) => Err(self.pause(refusal, counters)),
        }
    }

    /// Nothing means that the clocks agree.
    fn note_skew(&self, skew: Option<i64>) {
        let mut state = self.state();
        if let Some(seconds) = skew
            && state.skew == 0
        {
            tracing::warn!(
                behind_s = seconds,
                "this machine's clock differs from the login endpoint's: set it (NTP)"
            );
        }
        state.skew = skew.unwrap_or(0);
    }

    async fn grant(&self) -> Result<Grant, Refusal> {
        let asking = Asking {
            clients: &self.clients,
            clock: self.clock,
            skew: self.state().skew,
        };
        match &self.identity {
            Identity::ClientSecret(identity) => client_secret::grant(identity, &asking).await,
            Identity::ClientCertificate(identity) => certificate::grant(identity, &asking).await,
            Identity::Workload(identity) => workload::grant(identity, &asking).await,
            Identity::ManagedIdentity(identity) => managed::grant(identity, &asking).await,
            Identity::AzureArc(identity) => arc::grant(identity, &asking).await,
            // decided when this was made
            Identity::Auto(auto) => managed::grant(&auto.managed, &asking).await,
        }
    }

    fn keep(&self, grant: &Grant, asked_at: Mono, counters: &Counters) -> Permit {
        counters.add(Counter::TokensObtained, 1);
        let mut state = self.state();
        if state.refusal.take().is_some() {
            tracing::info!("a token was obtained again");
        }
        tracing::debug!(life_s = grant.life.as_secs(), "a token was obtained");
        let age_max =
            age_max(grant.life, fastrand::f64()).min(grant.renew_in.unwrap_or(Duration::MAX));
        state.failures = 0;
        state.generation += 1;
        state.token = Some(Token {
            header: grant.header.clone(),
            expires_at: asked_at.plus(grant.life),
            renew_at: asked_at.plus(age_max),
        });
        Permit {
            header: grant.header.clone(),
            generation: state.generation,
        }
    }

    fn pause(&self, refusal: Refusal, counters: &Counters) -> Denied {
        counters.add(Counter::TokensFailed, 1);
        let now = self.clock.mono();
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let left = state
            .token
            .as_ref()
            .map(|token| token.expires_at.since(now))
            .unwrap_or_default();
        let is_valid = !left.is_zero();
        let pause = if is_valid {
            // well before its end, if that is near
            TOKEN_RENEW_PAUSE.min(left / 2).max(BACKOFF_LEAST)
        } else {
            refusal.pause(state.failures, fastrand::f64())
        };
        state.next_try = now.plus(pause.max(refusal.retry_after().unwrap_or_default()));
        let refusal = Arc::new(refusal);
        state.refusal = Some(Arc::clone(&refusal));
        if let Some(withheld) = self.alarm.allow(now) {
            let failures = state.failures;
            match refusal.is_passing() && failures == 1 {
                true => tracing::warn!(%refusal, is_valid, withheld, "no token yet"),
                false => tracing::error!(%refusal, failures, is_valid, withheld, "no token"),
            }
        }
        Denied {
            refusal,
            retry_at: state.next_try,
        }
    }
}

#[cfg(test)]
mod tests;
