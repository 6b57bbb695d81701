//! The uploader: pages from the ring, bodies to the service.
//!
//! ```text
//! ring --take--> Pages --> Batch --seal--> Payload --> Delivery --+--> accepted
//!   ^              |                                   |   ^      +--> lost, with its reason
//!   +--give back---+                                   +---+ wait, halve, try again
//! ```
//!
//! Each uploader is one thread with one runtime and one client. Its loop takes pages and compresses
//! them; up to `requests_in_flight` deliveries run between its steps. A delivery keeps its place
//! until all of its rows are settled, and without a free place the open body is not sealed, its
//! page not given back, the shard finds no page and stops reading: an outage pushes back to the
//! senders, and memory stays at the pages, the open body and the bodies in flight.
//!
//! Tokens, rules and what is known of the service are shared by all uploaders.
//!
//! **Stopping.** With [`Stop::Drain`] the uploader goes on until its shards have closed and nothing
//! is left, or until the deadline; then, as with [`Stop::Now`], it cancels its requests and counts
//! what is left as unsent, the pages in the ring included.

mod delivery;
pub mod isolate;
pub mod request;
pub mod rules;
pub mod state;
pub mod verdict;

pub use rules::Rules;
pub use state::State;

use crate::auth::Auth;
use crate::batch::{Batch, Filled, Pages};
use crate::client::{Trust, client};
use crate::clock::{Clock, Mono};
use crate::compress::Payload;
use crate::config::Config;
use crate::failure::Failure;
use crate::limits::{RESOLVER_THREADS_MAX, STOP_COUNT_TIME};
use crate::metrics::{Counter, Counters, Latency, Stopwatch};
use crate::ring::Ring;
use delivery::Courier;
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
    /// The configuration.
    pub config: Arc<Config>,
    /// The clock.
    pub clock: Clock,
    /// Whom to trust.
    pub trust: Trust,
    /// The token.
    pub auth: Arc<Auth>,
    /// The rules of the destination.
    pub rules: Arc<Rules>,
    /// How it goes.
    pub state: Arc<State>,
    /// Whether to stop. A sender that is gone means at once.
    pub stop: watch::Receiver<Stop>,
}

impl Shared {
    /// A token, open rules and trust, by the configuration.
    ///
    /// # Errors
    /// The authorities to trust cannot be read, or there are none.
    pub fn new(
        config: Arc<Config>,
        ring: Arc<Ring>,
        clock: Clock,
        stop: watch::Receiver<Stop>,
    ) -> Result<Self, Failure> {
        let trust = Trust::new(&config.sentinel)?;
        let login = client(&trust, 0)?;
        let auth = Auth::new(config.sentinel.identity.clone(), login, clock);
        Ok(Shared {
            auth: Arc::new(auth),
            rules: Arc::new(Rules::new(config.sentinel.rules.len())),
            state: Arc::default(),
            ring,
            config,
            clock,
            trust,
            stop,
        })
    }
}

/// One uploader, ready to run on its thread.
#[derive(Debug)]
pub struct Uploader {
    ring: Arc<Ring>,
    courier: Arc<Courier>,
    requests_in_flight_max: usize,
    batch: Batch,
    /// The page being emptied.
    pages: Option<Pages>,
    deliveries: JoinSet<Option<Vec<u8>>>,
    stop: watch::Receiver<Stop>,
}

/// Runs an uploader on the calling thread until it has stopped.
///
/// # Errors
/// The thread's runtime cannot be made: descriptors or memory are short.
pub fn run_thread(uploader: Uploader) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(RESOLVER_THREADS_MAX)
        .build()
        .map_err(|error| Failure::running(format!("an uploader cannot start: {error}")))?;
    runtime.block_on(run(uploader));
    // not waiting for a name server
    runtime.shutdown_background();
    Ok(())
}

/// Runs an uploader until it has stopped. The runtime must be of one thread, as only one may write
/// the counters.
pub async fn run(mut uploader: Uploader) {
    let mut stop = uploader.stop.clone();
    loop {
        // Registered before the looks below, so that nothing is missed between them and the wait.
        // The ring outlives the borrow of the uploader.
        let ring = Arc::clone(&uploader.ring);
        let rings = ring.ring();
        if uploader.must_end(&stop) {
            return uploader.abandon().await;
        }
        if uploader.step() {
            // lets the deliveries move between two pages
            tokio::task::yield_now().await;
        } else if uploader.is_finished() {
            return;
        } else {
            uploader.wait(rings, &mut stop).await;
        }
        uploader.reap();
    }
}

/// Resolves once the program is stopping.
async fn draining(stop: &mut watch::Receiver<Stop>) {
    // an error means that the sender is gone, which stops the program as well
    let _ = stop.wait_for(|stop| *stop != Stop::Run).await;
}

impl Uploader {
    /// An uploader with its own client, counters and latencies.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(
        shared: &Shared,
        counters: Arc<Counters>,
        latency: Arc<Latency>,
    ) -> Result<Self, Failure> {
        let config = &shared.config;
        let requests_in_flight_max = config.sentinel.requests_in_flight;
        let client = client(&shared.trust, requests_in_flight_max)?;
        Ok(Uploader {
            ring: Arc::clone(&shared.ring),
            courier: Arc::new(Courier {
                requester: Requester::new(client, &config.sentinel),
                auth: Arc::clone(&shared.auth),
                rules: Arc::clone(&shared.rules),
                state: Arc::clone(&shared.state),
                counters,
                latency,
                clock: shared.clock,
                stop: shared.stop.clone(),
                wire_bytes_max: config.batch.wire_bytes_max,
                gzip_level: config.batch.gzip_level,
                places: delivery::Places::default(),
            }),
            requests_in_flight_max,
            batch: Batch::new(&config.batch),
            pages: None,
            deliveries: JoinSet::new(),
            stop: shared.stop.clone(),
        })
    }

    fn must_end(&self, stop: &watch::Receiver<Stop>) -> bool {
        // without a sender nobody could stop us any more
        if stop.has_changed().is_err() {
            return true;
        }
        match *stop.borrow() {
            Stop::Run => false,
            Stop::Drain { deadline } => self.courier.clock.mono() >= deadline,
            Stop::Now => true,
        }
    }

    /// Takes one page further, or seals one body. False if there is nothing to do but wait.
    fn step(&mut self) -> bool {
        let now = self.courier.clock.mono();
        if self.batch.is_full() {
            return self.seal(now);
        }
        if self.pages.is_none() {
            self.take(now);
        }
        let Some(pages) = &mut self.pages else {
            // the ring is empty: a body that is due waits for nothing more
            let is_due = self.batch.due_at().is_some_and(|due| now >= due);
            return (is_due || self.ring.is_finished()) && self.seal(now);
        };
        match self.batch.fill(pages, now) {
            Filled::Page => {
                if let Some(pages) = self.pages.take() {
                    self.ring.give_back(pages.into_page());
                }
            }
            // the next step seals it
            Filled::Body => {}
            Filled::TooLarge { row_bytes } => self.lose_too_large(row_bytes, now),
        }
        true
    }

    fn take(&mut self, now: Mono) {
        let Some(page) = self.ring.take() else { return };
        let rows_count = page.rows_count() as u64;
        self.count(Counter::RowsTaken, rows_count);
        let latency = &self.courier.latency;
        if let Some(opened_at) = page.opened_at() {
            latency.record(
                Stopwatch::Page,
                page.handed_at().since(opened_at),
                rows_count,
            );
        }
        latency.record(Stopwatch::Ring, now.since(page.handed_at()), rows_count);
        self.pages = Some(Pages::new(page));
    }

    /// Seals the open body and begins to deliver it. False if there is no place for it, or nothing
    /// to seal.
    fn seal(&mut self, now: Mono) -> bool {
        if !self.has_place() {
            return false;
        }
        let begun_at = self.batch.begun_at();
        let Some(payload) = self.batch.seal(now) else {
            return false;
        };
        self.count_body(&payload);
        let time = now.since(begun_at);
        self.courier
            .latency
            .record(Stopwatch::Body, time, payload.rows_count());
        self.deliveries
            .spawn(Arc::clone(&self.courier).deliver(payload));
        true
    }

    fn has_place(&self) -> bool {
        self.deliveries.len() < self.requests_in_flight_max + self.courier.places.lent()
    }

    fn count_body(&self, payload: &Payload) {
        self.count(Counter::RowsSealed, payload.rows_count());
        self.count(Counter::BodiesSealed, 1);
        self.count(Counter::BodyRawBytes, payload.raw_bytes() as u64);
        self.count(Counter::BodyWireBytes, payload.body.len() as u64);
    }

    fn lose_too_large(&self, row_bytes: usize, now: Mono) {
        // through the stages in one step, so that none of them seems to hold it
        self.count(Counter::RowsSealed, 1);
        self.count(Counter::RowsLostTooLarge, 1);
        if let Some(withheld) = self.courier.state.loss.allow(now) {
            tracing::error!(
                row_bytes,
                withheld,
                "a row is longer than batch.raw_bytes_max allows: it is lost"
            );
        }
    }

    fn count(&self, counter: Counter, count: u64) {
        self.courier.counters.add(counter, count);
    }

    /// True if nothing is left and nothing can come.
    fn is_finished(&self) -> bool {
        self.pages.is_none()
            && self.batch.is_empty()
            && self.deliveries.is_empty()
            && self.ring.is_finished()
    }

    /// Waits for whatever may let [`Uploader::step`] go on.
    async fn wait(&mut self, rings: impl Future<Output = ()>, stop: &mut watch::Receiver<Stop>) {
        let clock = self.courier.clock;
        let until = |at: Mono| tokio::time::sleep(at.since(clock.mono()));
        let due_at = self.batch.due_at().filter(|_| self.has_place());
        let courier = Arc::clone(&self.courier);
        // a full body must go first; a ring heard now would be lost for other uploaders
        let takes_pages = self.pages.is_none() && !self.batch.is_full();
        let deadline = match *stop.borrow_and_update() {
            Stop::Drain { deadline } => Some(deadline),
            Stop::Run | Stop::Now => None,
        };
        tokio::select! {
            Some(ended) = self.deliveries.join_next() => keep_buffer(&mut self.batch, ended),
            () = rings, if takes_pages => {}
            () = courier.places.changed() => {}
            () = until(due_at.unwrap_or_default()), if due_at.is_some() => {}
            () = until(deadline.unwrap_or_default()), if deadline.is_some() => {}
            _ = stop.changed() => {}
        }
    }

    /// Clears away the deliveries that have ended.
    fn reap(&mut self) {
        while let Some(ended) = self.deliveries.try_join_next() {
            keep_buffer(&mut self.batch, ended);
        }
    }

    /// Cancels and counts what is left.
    async fn abandon(mut self) {
        // each delivery counts its own rows when it is dropped
        self.deliveries.shutdown().await;
        let mut rows_count = self.batch.abandon();
        if let Some(pages) = self.pages.take() {
            rows_count += pages.rows_left() as u64;
            self.ring.give_back(pages.into_page());
        }
        self.lose_unsent(rows_count);
        let ring = Arc::clone(&self.ring);
        let give_up_at = self.courier.clock.mono().plus(STOP_COUNT_TIME);
        loop {
            let rings = ring.ring();
            if let Some(page) = ring.take() {
                let rows_count = page.rows_count() as u64;
                self.count(Counter::RowsTaken, rows_count);
                self.lose_unsent(rows_count);
                ring.give_back(page);
                continue;
            }
            let left = give_up_at.since(self.courier.clock.mono());
            if ring.is_finished() || left.is_zero() {
                return;
            }
            let _ = tokio::time::timeout(left, rings).await;
        }
    }

    fn lose_unsent(&self, rows_count: u64) {
        self.count(Counter::RowsSealed, rows_count);
        self.count(Counter::RowsLostUnsent, rows_count);
    }
}

fn keep_buffer(batch: &mut Batch, ended: Result<Option<Vec<u8>>, tokio::task::JoinError>) {
    match ended {
        Ok(Some(buffer)) => batch.give_back(buffer),
        Ok(None) => {}
        // its rows were counted as unsent when it was dropped
        Err(error) => {
            tracing::error!(%error, "a delivery broke off: this is a fault of the program")
        }
    }
}

#[cfg(test)]
mod tests;
