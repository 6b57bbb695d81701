//! All bodies that an uploader has in hand: which are sent, which wait, and which are left to the
//! spool.
//!
//! ```text
//!               Write                  place free
//! sealed ---+--> spool          +--> delivery --> settled --Settle--> spool
//!           '--> waiting -------+       ^
//!                  | safe, and no place |
//!                  '--Park--> on disk --Read--> fetched
//! ```
//!
//! - A body is sent from memory while it is being written. Only if it is safe and there is no place
//!   for it does it leave memory; it is read back when its turn comes.
//! - New bodies and those read back share the places by bytes (`spool.drain_share`), so that what is
//!   new does not wait behind an outage's backlog, nor the backlog for ever.
//! - While the spool takes nothing, bodies stay in memory; when there is no room for more, none is
//!   sealed, and that reaches the senders.
//! - Without a spool a body is sealed only when there is a place for it.
//! - All of that is so for each destination by itself: see `lane`.
//!
//! Pure: what is wanted of the outside is taken with [`Desk::action`].

mod closing;
mod lane;
mod spooling;

use super::common::Common;
use super::delivery::Delivery;
use super::destinations::DestinationIndex;
use super::request::{Reply, Request};
use super::want::{GivenUp, Want};
use crate::auth::{Denied, Permit};
use crate::clock::{Moment, Mono, Wall};
use crate::compress::Payload;
use crate::config::DestinationId;
use crate::limits::PLACES_LENT_MAX;
use crate::metrics::Counter;
use crate::planted::{Bug, is_planted};
use crate::spool::keeper::Key;
use crate::spool::{Body, Command, Event, Place};
use lane::Lane;
use std::collections::{BTreeMap, VecDeque};

/// What the desk wants of the outside.
#[derive(Debug)]
pub enum Action {
    /// A token for this body.
    Permit(Key),
    /// This request made for it.
    Send(Key, Request),
    /// This asked of the spool.
    Spool(Command),
}

/// What the outside answers.
#[derive(Debug)]
pub enum Input {
    /// The token, or why there is none.
    Permitted(Key, Result<Permit, Denied>),
    /// How the request ended; after 401, whether a further try will have another token.
    Replied(Key, Reply, bool),
    /// What came of something asked of the spool.
    Spool(Event),
}

/// Where a body stands with the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Safety {
    /// It is not written, and will not be.
    Memory,
    /// It waits to be written.
    Writing,
    /// It is safe.
    At(Place),
}

/// A body in memory that is not being delivered.
#[derive(Debug)]
struct Held {
    key: Key,
    payload: Payload,
    safety: Safety,
    /// It was read from disk.
    is_old: bool,
}

/// A body that is being delivered.
#[derive(Debug)]
struct Taken {
    delivery: Delivery,
    safety: Safety,
    is_old: bool,
    /// A permit or an answer is awaited.
    is_awaited: bool,
    /// Nothing to do before then.
    wake_at: Mono,
}

/// How bodies are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Deliveries at a time to each destination.
    pub places: usize,
    /// There is a spool.
    pub has_spool: bool,
    /// Bytes of new bodies that wait in memory for a place.
    pub waiting_bytes_max: usize,
    /// Part of the bytes that goes to what was read back while new bodies wait, in percent.
    pub drain_share: u32,
}

/// All bodies of one uploader.
#[derive(Debug)]
pub struct Desk {
    terms: Terms,
    pub(super) common: Common,
    last_key: Key,
    taken: BTreeMap<Key, Taken>,
    /// One for each destination, in their order.
    lanes: Vec<Lane>,
    /// Rows whose only copy is on disk, by what they are for.
    rows_parked: BTreeMap<DestinationId, u64>,
    /// Reads that were asked for and not answered.
    reads: usize,
    /// Rows on their way into quarantine.
    rows_given_up: u64,
    /// What rules and outages had come to at the last look.
    changes_seen: (u64, u64),
    commands: VecDeque<Command>,
    buffers: Vec<Vec<u8>>,
    end: Option<closing::Closing>,
}

impl Desk {
    pub(super) fn new(terms: Terms, common: Common) -> Self {
        let lanes = common.destinations.all().map(|_| Lane::default());
        Desk {
            terms,
            lanes: lanes.collect(),
            common,
            last_key: 0,
            taken: BTreeMap::new(),
            rows_parked: BTreeMap::new(),
            reads: 0,
            rows_given_up: 0,
            changes_seen: (0, 0),
            commands: VecDeque::new(),
            buffers: Vec::new(),
            end: None,
        }
    }

    /// Goes by other terms and other destinations.
    pub(super) fn reload(&mut self, terms: Terms, change: impl FnOnce(&mut Common)) {
        // whether there is a spool cannot change
        self.terms = Terms {
            has_spool: self.terms.has_spool,
            ..terms
        };
        change(&mut self.common);
        for taken in self.taken.values_mut() {
            taken.delivery.redirect(&mut self.common);
            taken.wake_at = Mono(0);
        }
        let lanes = self.common.destinations.all().map(|_| Lane::default());
        let before = std::mem::replace(&mut self.lanes, lanes.collect());
        let held = before.into_iter().flat_map(|mut lane| {
            let held: Vec<Held> = lane.take_all().collect();
            held
        });
        let mut held: Vec<Held> = held.collect();
        // keys are given in the order of coming
        held.sort_by_key(|held| held.key);
        for held in held {
            let lane = self.lane_of(held.payload.destination);
            match held.is_old {
                true => lane.fetched.push_back(held),
                false => lane.waiting.push_back(held),
            }
        }
    }

    /// The lane of what is for `id`.
    fn lane_of(&mut self, id: DestinationId) -> &mut Lane {
        let index = self.common.destinations.to(id).index.index();
        // as many lanes as destinations, of which there is one
        &mut self.lanes[index]
    }

    /// True if one more body for this destination may be sealed.
    pub(super) fn has_room(&mut self, destination: DestinationId) -> bool {
        if self.end.is_some() || is_planted(Bug::NoBackpressure) {
            return true;
        }
        let index = self.common.destinations.to(destination).index;
        let is_place_free = self.has_place(index) && self.lane_of(destination).waiting.is_empty();
        // those that are safe make way; what cannot be left to the disk must not become more
        is_place_free
            || self.terms.has_spool && self.waiting_bytes(true) < self.terms.waiting_bytes_max
    }

    /// True if one more body can be delivered to this destination. Places that are lent are free.
    fn has_place(&mut self, destination: DestinationIndex) -> bool {
        let (mut taken_count, mut lent) = (0, 0);
        for taken in self.taken.values_mut() {
            if taken.delivery.to().index == destination || is_planted(Bug::PlacesShared) {
                taken_count += 1;
                lent += usize::from(taken.delivery.lends_its_place());
            }
        }
        taken_count < self.terms.places + lent.min(PLACES_LENT_MAX)
    }

    /// Takes a sealed body, whose oldest row was received at `opened_at`.
    pub(super) fn accept(&mut self, payload: Payload, opened_at: Wall, now: Moment) {
        self.last_key += 1;
        let key = self.last_key;
        let mut safety = Safety::Memory;
        if self.terms.has_spool {
            safety = Safety::Writing;
            let body = Body {
                payload: Payload {
                    arrivals: Vec::new(),
                    ..payload.clone()
                },
                opened_at,
                sealed_at: now.wall,
            };
            self.commands.push_back(Command::Write(key, Box::new(body)));
        }
        if let Some(end) = &mut self.end {
            let rows = spooling::rows_of(&payload);
            match safety {
                Safety::Writing => {
                    end.unwritten.insert(key, rows);
                }
                _ => self.common.tally.add(Counter::RowsLostUnsent, rows.count),
            }
            return;
        }
        self.lane_of(payload.destination).waiting.push_back(Held {
            key,
            payload,
            safety,
            is_old: false,
        });
        self.park_surplus();
    }

    fn keep_buffer(&mut self, buffer: Option<Vec<u8>>) {
        if self.buffers.is_empty() {
            self.buffers.extend(buffer);
        }
    }

    /// A buffer that is free.
    pub(super) fn buffer(&mut self) -> Option<Vec<u8>> {
        self.buffers.pop()
    }

    /// What is wanted of the outside, one thing at a time.
    pub fn action(&mut self, now: Moment) -> Option<Action> {
        if let Some(command) = self.commands.pop_front() {
            return Some(Action::Spool(command));
        }
        if self.end.is_some() {
            return None;
        }
        self.heed_changes();
        if let Some(command) = self.read_ahead(now.mono) {
            return Some(Action::Spool(command));
        }
        self.fill_places();
        let keys: Vec<Key> = self
            .taken
            .iter()
            .filter(|(_, taken)| !taken.is_awaited && now.mono >= taken.wake_at)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let Some(taken) = self.taken.get_mut(&key) else {
                continue;
            };
            match taken.delivery.next(now, &mut self.common) {
                Want::Permit => {
                    taken.is_awaited = true;
                    return Some(Action::Permit(key));
                }
                Want::Request(request) => {
                    taken.is_awaited = true;
                    if is_planted(Bug::SettledWhenSent)
                        && let Safety::At(place) = taken.safety
                    {
                        self.commands.push_back(Command::Settle(place));
                    }
                    return Some(Action::Send(key, request));
                }
                Want::Time(at) => taken.wake_at = at,
                Want::Answer => taken.is_awaited = true,
                Want::Nothing => self.finish(key),
            }
            if let Some(command) = self.commands.pop_front() {
                return Some(Action::Spool(command));
            }
        }
        None
    }

    /// Wakes deliveries that wait for a rule or for the end of an outage, if there was one.
    fn heed_changes(&mut self) {
        let changes = self.common.changes();
        if std::mem::replace(&mut self.changes_seen, changes) != changes {
            for taken in self.taken.values_mut() {
                taken.wake_at = Mono(0);
            }
        }
    }

    /// The next moment at which [`Desk::action`] may have something without any input.
    pub fn wake_at(&self) -> Option<Mono> {
        if self.end.is_some() {
            return None;
        }
        let waits = self.taken.values().filter(|taken| !taken.is_awaited);
        let reads = self.lanes_to_read().map(|(_, lane)| lane.read_at);
        waits.map(|taken| taken.wake_at).chain(reads).min()
    }

    /// Begins deliveries while there are places.
    fn fill_places(&mut self) {
        for index in 0..self.lanes.len() {
            self.fill_places_of(index);
        }
    }

    fn fill_places_of(&mut self, index: usize) {
        let share = self.terms.drain_share;
        while self.has_place(DestinationIndex::at(index)) {
            let held = self.lanes.get_mut(index);
            let Some(held) = held.and_then(|lane| lane.next_held(share)) else {
                return;
            };
            let delivery = Delivery::new(held.payload, held.is_old, &mut self.common);
            let taken = Taken {
                delivery,
                safety: held.safety,
                is_old: held.is_old,
                is_awaited: false,
                wake_at: Mono(0),
            };
            self.taken.insert(held.key, taken);
        }
    }

    /// Takes an answer from outside.
    pub fn take(&mut self, input: Input, now: Moment) {
        match input {
            Input::Permitted(key, permit) => {
                if let Some(taken) = self.taken.get_mut(&key) {
                    taken.awaited();
                    let common = &mut self.common;
                    taken.delivery.permitted(permit, now.mono, common);
                }
            }
            Input::Replied(key, reply, renews) => {
                if let Some(taken) = self.taken.get_mut(&key) {
                    taken.awaited();
                    let reply = match reply {
                        Reply::Silence(_) if is_planted(Bug::SilenceIsSuccess) => Reply::success(),
                        reply => reply,
                    };
                    let common = &mut self.common;
                    taken.delivery.replied(&reply, renews, now, common);
                    self.finish_if_settled(key, now);
                }
            }
            Input::Spool(event) => self.told(event, now),
        }
    }

    fn finish_if_settled(&mut self, key: Key, now: Moment) {
        let Some(taken) = self.taken.get_mut(&key) else {
            return;
        };
        if taken.delivery.rows_left() == 0 && taken.delivery.given_up.is_empty() {
            self.finish(key);
        } else if !taken.delivery.given_up.is_empty() {
            let given_up = std::mem::take(&mut taken.delivery.given_up);
            self.put_aside(given_up, now);
            if self
                .taken
                .get(&key)
                .is_some_and(|taken| taken.delivery.rows_left() == 0)
            {
                self.finish(key);
            }
        }
    }

    fn put_aside(&mut self, given_up: Vec<GivenUp>, now: Moment) {
        for GivenUp { payload, reason } in given_up {
            if !is_planted(Bug::GivenUpUncounted) {
                self.rows_given_up += payload.rows_count();
            }
            let body = Body {
                payload,
                opened_at: now.wall,
                sealed_at: now.wall,
            };
            self.commands
                .push_back(Command::Quarantine(Box::new(body), reason));
        }
    }

    /// All rows of a delivery are settled.
    fn finish(&mut self, key: Key) {
        let Some(mut taken) = self.taken.remove(&key) else {
            return;
        };
        if is_planted(Bug::BodiesHeldForever) {
            taken.is_awaited = true;
            self.taken.insert(key, taken);
            return;
        }
        self.keep_buffer(taken.delivery.buffer.take());
        match taken.safety {
            Safety::Memory => {}
            Safety::Writing => self.commands.push_back(Command::Forget(key)),
            Safety::At(_) if is_planted(Bug::SettlesNothing) && taken.is_old => {}
            Safety::At(place) => self.commands.push_back(Command::Settle(place)),
        }
    }

    /// True if no body is in hand and nothing is wanted.
    pub fn is_idle(&self) -> bool {
        self.taken.is_empty()
            && self.held().next().is_none()
            && self.commands.is_empty()
            && self.rows_given_up == 0
    }

    /// Bodies that are not being delivered.
    fn held(&self) -> impl Iterator<Item = &Held> {
        let lanes = self.lanes.iter();
        lanes.flat_map(|lane| lane.waiting.iter().chain(&lane.fetched))
    }

    /// Rows whose only copy is on disk.
    #[must_use]
    pub fn rows_parked(&self) -> u64 {
        self.rows_parked.values().sum()
    }

    /// The program is stopping: pauses become short. Once: who is told again and again draws no
    /// pause again, of which the shortest would count.
    pub fn hurry(&mut self, now: Mono) {
        if self.common.is_stopping {
            return;
        }
        self.common.is_stopping = true;
        for taken in self.taken.values_mut() {
            taken.delivery.hurry(now, &mut self.common);
            taken.wake_at = Mono(0);
        }
    }
}

impl Taken {
    fn awaited(&mut self) {
        self.is_awaited = false;
        self.wake_at = Mono(0);
    }
}
