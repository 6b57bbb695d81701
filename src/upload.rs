//! The uploader: pages from the ring, bodies to the service.
//!
//! ```text
//! ring --take--> Pages --> Batch --seal--> Payload --> Delivery --+--> accepted
//!   ^              |                                   |   ^      +--> lost, with its reason
//!   +--give back---+                                   +---+ wait, halve, try again
//! ```
//!
//! Each uploader is one thread with one runtime, one client and one keeper of its spool. What it does
//! is decided by [`Uploader`], which is pure: [`uploader`] makes bodies of pages, [`desk`] has them in
//! hand, and a `delivery` brings each to its end. [`run`] is the shell that sends, waits and counts.
//!
//! A body keeps its place until all of its rows are settled. Without a free place a body that is safe
//! is left to the disk; if it cannot be made safe, no further body is sealed, its page is not given
//! back, the shard finds no page and stops reading: an outage fills the spool, and then pushes back to
//! the senders, while memory stays at the pages, the open body and the bodies in hand.
//!
//! All of that is so for each destination by itself, so that one that takes no rows holds up no other
//! ([`destinations`], [`desk`]). Without a spool, or with a full one, its pages do: they stand before the
//! pages of others, and nothing that was accepted is thrown away.
//!
//! Tokens, rules and what is known of the service are shared by all uploaders.
//!
//! **Stopping.** With [`Stop::Drain`] the uploader goes on until its shards have closed and nothing is
//! in memory, or until the deadline; then, as with [`Stop::Now`], it cancels its requests, makes what
//! is left into bodies for the spool, and waits until they are safe. Without a spool they are counted
//! as unsent.

mod age;
pub mod body_limit;
mod common;
mod delivery;
pub mod desk;
pub mod destinations;
pub mod isolate;
pub mod pace;
mod pains;
pub mod request;
pub mod rules;
pub mod state;
pub mod uploader;
pub mod verdict;
mod want;

pub use desk::{Action, Input};
pub use destinations::Destinations;
pub use request::Request;
pub use rules::Rules;
pub use state::State;
pub use uploader::Uploader;

use crate::auth::Auth;
use crate::client::{Clients, Trust, client};
use crate::clock::{Clock, Mono};
use crate::config::Config;
use crate::failure::Failure;
use crate::heart::Heart;
use crate::limits::{BEAT_TIME, RESOLVER_THREADS_MAX};
use crate::metrics::{Counters, Latency};
use crate::ring::Ring;
use crate::spool::keeper::Key;
use crate::spool::thread::Link;
use request::Requester;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Whether the program is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It is not.
    Run,
    /// Deliver what is there, until `deadline`.
    Drain {
        /// What is not delivered by then is lost.
        deadline: Mono,
    },
    /// At once.
    Now,
}

/// What all uploaders share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where pages come from.
    pub ring: Arc<Ring>,
    /// The clock.
    pub clock: Clock,
    /// How it goes.
    pub state: Arc<State>,
    /// Where rows go; another one when the configuration was read again.
    pub upstream: watch::Receiver<Arc<Upstream>>,
    /// Whether to stop. A sender that is gone means at once.
    pub stop: watch::Receiver<Stop>,
}

/// Where rows go, and as whom, by one configuration: shared by all uploaders.
#[derive(Debug)]
pub struct Upstream {
    /// The configuration.
    pub config: Arc<Config>,
    /// Whom to trust.
    pub trust: Trust,
    /// The token.
    pub auth: Arc<Auth>,
    /// The destinations with their rules.
    pub destinations: Arc<Destinations>,
}

impl Upstream {
    /// A token, open rules and trust, by the configuration.
    ///
    /// # Errors
    /// The authorities to trust cannot be read, or there are none.
    pub fn new(config: Arc<Config>, clock: Clock) -> Result<Self, Failure> {
        let trust = Trust::new(&config.sentinel)?;
        let clients = Clients::new(&trust)?;
        let auth = Auth::new(config.sentinel.identity.clone(), clients, clock);
        Ok(Upstream {
            auth: Arc::new(auth),
            destinations: Arc::new(Destinations::of(&config)),
            config,
            trust,
        })
    }

    fn requester(&self) -> Result<Requester, Failure> {
        // of each host, which may be that of all destinations
        let calls = self.config.sentinel.requests_in_flight * self.config.targets().count();
        let client = client(&self.trust, calls)?;
        Ok(Requester::new(client, &self.config))
    }
}

/// An uploader on its thread: the shell around [`Uploader`].
#[derive(Debug)]
pub struct Runner {
    uploader: Uploader,
    ring: Arc<Ring>,
    requester: Arc<Requester>,
    upstream: Arc<Upstream>,
    upstreams: watch::Receiver<Arc<Upstream>>,
    state: Arc<State>,
    counters: Arc<Counters>,
    heart: Arc<Heart>,
    clock: Clock,
    spool: Option<Link>,
    /// Permits and requests under way; each ends with what the uploader is to be told.
    under_way: JoinSet<Input>,
    stop: watch::Receiver<Stop>,
}

/// Runs an uploader on the calling thread until it has stopped.
///
/// # Errors
/// The thread's runtime cannot be made: descriptors or memory are short.
pub fn run_thread(runner: Runner) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(RESOLVER_THREADS_MAX)
        .build()
        .map_err(|error| Failure::running(format!("an uploader cannot start: {error}")))?;
    runtime.block_on(run(runner));
    // not waiting for a name server
    runtime.shutdown_background();
    Ok(())
}

/// Runs an uploader until it has stopped. The runtime must be of one thread, as only one may write
/// the counters.
pub async fn run(mut runner: Runner) {
    let mut stop = runner.stop.clone();
    loop {
        // Registered before the looks below, so that nothing is missed between them and the wait.
        // What they belong to outlives the borrow of the runner.
        runner.follow();
        let (ring, destinations, state) = (
            Arc::clone(&runner.ring),
            Arc::clone(&runner.upstream.destinations),
            Arc::clone(&runner.state),
        );
        let (rings, changed, recovered) = (ring.ring(), destinations.changed(), state.recovered());
        runner.heart.beat(runner.clock.mono());
        runner.heed(&mut stop);
        runner.act();
        let goes_on = runner.uploader.step(runner.clock.now());
        runner.uploader.publish(&runner.counters);
        if runner.uploader.is_finished() {
            return runner.heart.end();
        }
        if goes_on {
            runner.act();
            // lets the requests move between two pages
            tokio::task::yield_now().await;
            runner.reap();
        } else {
            let changes = async {
                tokio::select! {
                    () = changed => {}
                    () = recovered => {}
                }
            };
            runner.wait(rings, changes, &mut stop).await;
        }
    }
}

/// What one uploader has for itself.
#[derive(Debug)]
pub struct Own {
    /// Only it writes them.
    pub counters: Arc<Counters>,
    /// Its times.
    pub latency: Arc<Latency>,
    /// Beats with its loop.
    pub heart: Arc<Heart>,
}

impl Runner {
    /// An uploader with its own client; `spool` leads to its keeper.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(shared: &Shared, own: Own, spool: Option<Link>) -> Result<Self, Failure> {
        let mut upstreams = shared.upstream.clone();
        let upstream = Arc::clone(&upstreams.borrow_and_update());
        let uploader = Uploader::new(
            &upstream.config,
            Arc::clone(&shared.ring),
            Arc::clone(&upstream.destinations),
            Arc::clone(&shared.state),
            own.latency,
            fastrand::u64(..),
        );
        Ok(Runner {
            uploader,
            ring: Arc::clone(&shared.ring),
            requester: Arc::new(upstream.requester()?),
            upstream,
            upstreams,
            state: Arc::clone(&shared.state),
            counters: own.counters,
            heart: own.heart,
            clock: shared.clock,
            spool,
            under_way: JoinSet::new(),
            stop: shared.stop.clone(),
        })
    }

    /// Goes by the configuration that was read again, if one was.
    fn follow(&mut self) {
        if !self.upstreams.has_changed().unwrap_or(false) {
            return;
        }
        let upstream = Arc::clone(&self.upstreams.borrow_and_update());
        match upstream.requester() {
            Ok(requester) => {
                let destinations = Arc::clone(&upstream.destinations);
                self.uploader.reload(&upstream.config, destinations);
                self.requester = Arc::new(requester);
                self.upstream = upstream;
            }
            Err(error) => tracing::error!(%error, "an uploader goes on by the old configuration"),
        }
    }

    /// Does what the program's stop asks for.
    fn heed(&mut self, stop: &mut watch::Receiver<Stop>) {
        let now = self.clock.mono();
        // without a sender nobody could stop us any more
        let course = match stop.has_changed() {
            Err(_) => Stop::Now,
            Ok(_) => *stop.borrow_and_update(),
        };
        match course {
            Stop::Run => {}
            Stop::Drain { deadline } if now < deadline => self.uploader.hurry(now),
            Stop::Drain { .. } | Stop::Now => {
                self.under_way.abort_all();
                self.uploader.end(now);
            }
        }
    }

    /// Does what the uploader wants.
    fn act(&mut self) {
        loop {
            let now = self.clock.now();
            let Some(action) = self.uploader.action(now) else {
                return;
            };
            match action {
                Action::Permit(key) => self.permit(key),
                Action::Send(key, request) => self.send(key, request),
                Action::Spool(command) => {
                    // a keeper that is gone answers nothing: bodies stay in memory
                    if let Some(spool) = &self.spool {
                        let _ = spool.commands.send(command);
                    }
                }
            }
        }
    }

    fn permit(&mut self, key: Key) {
        if let Some(permit) = self.upstream.auth.permit_at_hand() {
            let input = Input::Permitted(key, permit);
            return self.uploader.take(input, self.clock.now());
        }
        let auth = Arc::clone(&self.upstream.auth);
        let counters = Arc::clone(&self.counters);
        self.under_way
            .spawn(async move { Input::Permitted(key, auth.permit(&counters).await) });
    }

    fn send(&mut self, key: Key, request: Request) {
        let auth = Arc::clone(&self.upstream.auth);
        let requester = Arc::clone(&self.requester);
        self.under_way.spawn(async move {
            let reply = requester.send(&request).await;
            let renews = reply.is_unauthorized() && auth.refused(&request.permit);
            Input::Replied(key, reply, renews)
        });
    }

    /// Waits for whatever may let the uploader go on.
    async fn wait(
        &mut self,
        rings: impl Future<Output = ()>,
        changes: impl Future<Output = ()>,
        stop: &mut watch::Receiver<Stop>,
    ) {
        let clock = self.clock;
        let takes_pages = self.uploader.takes_pages();
        let deadline = match *stop.borrow() {
            Stop::Drain { deadline } => Some(deadline),
            Stop::Run | Stop::Now => None,
        };
        let wake_at = [self.uploader.wake_at(), deadline]
            .into_iter()
            .flatten()
            .filter(|at| *at > clock.mono())
            .min();
        let sleep = tokio::time::sleep(wake_at.unwrap_or_default().since(clock.mono()));
        let told = async {
            match &mut self.spool {
                Some(spool) => spool.events.recv().await,
                None => std::future::pending().await,
            }
        };
        let input = tokio::select! {
            Some(ended) = self.under_way.join_next() => result_of(ended),
            event = told => match event {
                Some(event) => Some(Input::Spool(event)),
                // the keeper's thread has ended
                None => {
                    self.spool = None;
                    None
                }
            },
            () = rings, if takes_pages => None,
            () = changes => None,
            () = sleep, if wake_at.is_some() => None,
            _ = stop.changed() => None,
            _ = self.upstreams.changed() => {
                self.upstreams.mark_changed();
                None
            }
            () = tokio::time::sleep(BEAT_TIME) => None,
        };
        if let Some(input) = input {
            self.uploader.take(input, clock.now());
        }
        self.reap();
    }

    /// Takes in what has ended meanwhile.
    fn reap(&mut self) {
        while let Some(ended) = self.under_way.try_join_next() {
            if let Some(input) = result_of(ended) {
                self.uploader.take(input, self.clock.now());
            }
        }
        while let Some(event) = self
            .spool
            .as_mut()
            .and_then(|spool| spool.events.try_recv().ok())
        {
            let now = self.clock.now();
            self.uploader.take(Input::Spool(event), now);
        }
    }
}

fn result_of(ended: Result<Input, tokio::task::JoinError>) -> Option<Input> {
    match ended {
        Ok(input) => Some(input),
        Err(error) if error.is_cancelled() => None,
        Err(error) => {
            tracing::error!(%error, "a request broke off: this is a fault of the program");
            None
        }
    }
}

#[cfg(test)]
mod tests;
