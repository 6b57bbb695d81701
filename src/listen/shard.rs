//! One shard: a pinned executor with its connections, from socket to page.
//!
//! Two kinds of tasks share the executor. Each connection has a *watch*, which sleeps on the socket
//! and hands the connection to the rounds when bytes come. One *main* task reads the connections
//! whose turn it is, hands pages over when they are full or old, and looks after everything that
//! needs a clock. Nothing else touches a connection while it is in the rounds.
//!
//! When no page is free the main task reads nobody until one is: the kernel's buffers fill, and TCP
//! slows the senders down.

mod desk;
mod drain;
mod help;
mod housekeeping;

use super::connection::{Connection, Fed, Sink};
use super::piece::Piece;
use super::rounds::{Interval, Rounds};
use super::runtime::Poller;
use super::socket::{Got, Socket};
use super::{Shared, Visitor};
use crate::clock::Mono;
use crate::config::Config;
use crate::filter::Filters;
use crate::limits::{BEAT_TIME, READ_BYTES_MAX};
use crate::map::{Mapper, Source};
use crate::metrics::{Counter, Counters, FilterBook, Tally};
use crate::ring::Ring;
use desk::Desk;
use futures_lite::future;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Notify, watch as signal};

/// How often ages and loads are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// What a shard is made of.
pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) ring: Arc<Ring>,
    pub(super) counters: Arc<Counters>,
    pub(super) settings: signal::Receiver<Arc<Config>>,
    pub(super) visitors: Receiver<Visitor>,
}

/// A connection of this shard.
struct Link {
    socket: Socket,
    peer: IpAddr,
    connection: RefCell<Connection>,
    interval: Cell<Interval>,
    /// Bytes since the last housekeeping.
    bytes: Cell<u64>,
    /// It is in the rounds; its watch waits for `asleep`.
    is_awake: Cell<bool>,
    /// It has left the shard.
    is_gone: Cell<bool>,
    /// Rings when the watch may sleep on the socket again, or has nothing left to watch.
    asleep: Notify,
}

struct Shard {
    index: usize,
    poller: Poller,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    links: RefCell<HashMap<u64, Rc<Link>>>,
    /// Numbers are never used again: 64 bits outlast the machine.
    next_link: Cell<u64>,
    rounds: RefCell<Rounds>,
    /// Connections whose bytes could not be mapped for want of a page.
    stalled: RefCell<Vec<u64>>,
    /// Another's, that could not be mapped for want of a page.
    piece: RefCell<Option<Piece>>,
    /// Its connections' frames are not for others.
    is_alone: Cell<bool>,
    desk: RefCell<Desk>,
    tally: RefCell<Tally>,
    /// Shared by all connections: a read is used up before the next.
    buffer: RefCell<Vec<u8>>,
    /// Bytes held by connections.
    held_bytes: Cell<usize>,
    /// Tells when there is a new configuration.
    settings: RefCell<signal::Receiver<Arc<Config>>>,
    /// The one that is followed.
    config: RefCell<Arc<Config>>,
}

/// Runs the shard until the program stops and everything that has arrived is in the ring.
pub(super) async fn run(parts: Parts, poller: Poller) {
    let Parts {
        index,
        shared,
        ring,
        counters,
        mut settings,
        visitors,
    } = parts;
    let config = settings.borrow_and_update().clone();
    let source = Source {
        peer: IpAddr::from([0, 0, 0, 0]),
        received: shared.clock.now(),
    };
    let shard = Rc::new(Shard {
        index,
        poller,
        counters: counters.clone(),
        links: RefCell::default(),
        next_link: Cell::new(0),
        rounds: RefCell::default(),
        stalled: RefCell::default(),
        piece: RefCell::default(),
        is_alone: Cell::new(shared.loads.len() == 1 || help::is_counting(&config)),
        desk: RefCell::new(Desk::new(
            ring,
            counters,
            mapper(&config, None, &shared.filters),
            source,
        )),
        tally: RefCell::default(),
        buffer: RefCell::new(vec![0; READ_BYTES_MAX]),
        held_bytes: Cell::new(0),
        settings: RefCell::new(settings),
        config: RefCell::new(config),
        shared,
    });
    shard.shared.io.spawn(welcome(shard.clone(), visitors));
    shard.main().await;
    shard.shared.leave();
    shard.beating(shard.drain()).await;
    shard.close();
    shard.shared.hearts[index].end();
}

/// Rows by this configuration, the longest of which leaves room for the brackets around it. `old` are
/// the rules that there were before; if they are the same, they go on with their state.
fn mapper(config: &Config, old: Option<Filters>, book: &FilterBook) -> Mapper {
    let mapper = Mapper::new(&config.map, config.batch.raw_bytes_max.saturating_sub(2));
    let rules = &config.filters;
    let filters = match old {
        Some(old) if old.are(rules) => old,
        None if rules.is_empty() => return mapper,
        old => {
            let names = rules.iter().map(|rule| rule.name.as_str());
            let mut filters = Filters::new(rules, book.open(names));
            if let Some(old) = old {
                filters.inherit(old);
            }
            filters
        }
    };
    mapper.filtered_by(filters)
}

/// Takes in the connections that the acceptors, or other shards, send.
async fn welcome(shard: Rc<Shard>, mut visitors: Receiver<Visitor>) {
    while let Some(visitor) = visitors.recv().await {
        shard.admit(visitor);
    }
}

/// Sleeps on a connection's socket; see the module's text.
async fn watch(shard: Rc<Shard>, number: u64, link: Rc<Link>) {
    while !link.is_gone.get() {
        let got = link
            .socket
            .first_bytes(&shard.buffer, || !shard.is_stalled())
            .await;
        if link.is_gone.get() {
            return;
        }
        link.is_awake.set(true);
        link.interval.set(Interval::FIRST);
        shard.take_in(number, &link, got);
        shard.wake().notify_one();
        while link.is_awake.get() && !link.is_gone.get() {
            link.asleep.notified().await;
        }
    }
}

impl Shard {
    async fn main(&self) {
        let clock = self.shared.clock;
        let mut kept_house = clock.mono();
        let mut was_busy = true;
        while !self.shared.is_stopping() {
            self.beat();
            self.follow_settings();
            if self.is_stalled() {
                self.unstall().await;
                continue;
            }
            self.read_round();
            self.help();
            let now = clock.mono();
            if now.since(kept_house) >= HOUSEKEEPING {
                // of a quiet shard only once: it may have very many quiet connections
                if self.is_busy() || was_busy {
                    self.keep_house(now.since(kept_house), now);
                }
                was_busy = self.is_busy();
                kept_house = now;
            }
            // last: nothing may wake us for long
            self.publish(now);
            self.pause(kept_house.plus(HOUSEKEEPING)).await;
        }
    }

    /// Hands the page over if its time has come, and shows what was counted.
    fn publish(&self, now: Mono) {
        let mut tally = self.tally.borrow_mut();
        let mut desk = self.desk.borrow_mut();
        if desk.mapper.filters().is_some() {
            desk.tell(self.shared.clock.now(), &mut tally);
        }
        desk.hand_over_if_old(now, self.linger(), &mut tally);
        tally.publish(&self.counters);
    }

    /// Goes on by the new configuration, if there is one. What is read after a reload has ended is
    /// taken by what that has brought.
    fn follow_settings(&self) {
        let mut settings = self.settings.borrow_mut();
        // without a sender there will be no other
        if settings.has_changed().unwrap_or(false) {
            let config = settings.borrow_and_update().clone();
            let now = self.shared.clock.mono();
            let mapper_of = |old| mapper(&config, old, &self.shared.filters);
            self.desk
                .borrow_mut()
                .follow(mapper_of, now, &mut self.tally.borrow_mut());
            let is_one = self.shared.loads.len() == 1;
            self.is_alone.set(is_one || help::is_counting(&config));
            self.config.replace(config);
        }
    }

    fn linger(&self) -> Duration {
        self.config.borrow().batch.linger
    }

    /// Shows that the loop goes round.
    fn beat(&self) {
        self.shared.hearts[self.index].beat(self.shared.clock.mono());
    }

    /// Does something that may take long, and beats meanwhile: who waits is alive.
    async fn beating<T>(&self, work: impl Future<Output = T>) -> T {
        let beats = async {
            loop {
                self.beat();
                self.shared.io.sleep(BEAT_TIME).await;
            }
        };
        future::or(work, beats).await
    }

    /// There are connections to be looked at without being woken for it.
    fn is_busy(&self) -> bool {
        !self.rounds.borrow().is_empty() || self.held_bytes.get() > 0
    }

    /// Waits for the next turn, the next hand-over, or whoever wakes us; no longer than until the next
    /// beat.
    async fn pause(&self, housekeeping_at: Mono) {
        if self.is_stalled() {
            return;
        }
        let linger_at = self
            .desk
            .borrow()
            .opened_at()
            .map(|at| at.plus(self.linger()));
        let next = [
            self.rounds.borrow().next_at(),
            linger_at,
            self.is_busy().then_some(housekeeping_at),
        ];
        let woken = self.wake().notified();
        let now = self.shared.clock.mono();
        let next = next.into_iter().flatten().min();
        match next.map_or(BEAT_TIME, |at| at.since(now).min(BEAT_TIME)) {
            Duration::ZERO => self.shared.io.yield_now().await,
            time => {
                // who passes a piece wakes us, if not before the look
                let exchange = &self.shared.exchange;
                exchange.set_free(self.index, true);
                if exchange.is_empty() {
                    future::or(woken, self.shared.io.sleep(time)).await;
                } else {
                    self.shared.io.yield_now().await;
                }
                exchange.set_free(self.index, false);
            }
        }
    }

    fn wake(&self) -> &Notify {
        &self.shared.wakes[self.index]
    }

    fn is_stalled(&self) -> bool {
        !self.stalled.borrow().is_empty() || self.piece.borrow().is_some()
    }

    /// Reads every connection whose turn it is, until one finds no page.
    fn read_round(&self) {
        let now = self.shared.clock.mono();
        while !self.is_stalled() {
            let Some(number) = self.rounds.borrow_mut().next(now) else {
                return;
            };
            let Some(link) = self.links.borrow().get(&number).cloned() else {
                continue;
            };
            let got = link.socket.read_now(&mut self.buffer.borrow_mut());
            self.take_in(number, &link, got);
        }
    }

    /// Deals with what a read brought, and settles when the connection is read next.
    fn take_in(&self, number: u64, link: &Rc<Link>, got: Got) {
        let bytes = match got {
            Got::Bytes(bytes) => bytes,
            Got::Nothing => 0,
            Got::End => return self.finish(number, link, Counter::ConnectionsClosedByPeer),
            Got::Reset => return self.finish(number, link, Counter::ConnectionsClosedByReset),
        };
        if bytes > 0 {
            let buffer = self.buffer.borrow();
            let fed = self.feed(link, &buffer[..bytes]);
            match fed {
                Fed::All => {}
                Fed::Stalled => self.stalled.borrow_mut().push(number),
                Fed::Broken => {
                    self.say_broken(link.peer);
                    return self.leave(number, link, Counter::ConnectionsClosedByFraming);
                }
            }
        }
        match link.interval.get().after_read(bytes) {
            Some(interval) => {
                link.interval.set(interval);
                let now = self.shared.clock.mono();
                self.rounds.borrow_mut().add(number, interval, now);
            }
            None => {
                link.is_awake.set(false);
                link.asleep.notify_one();
            }
        }
    }

    fn feed(&self, link: &Link, fresh: &[u8]) -> Fed {
        self.follow_settings();
        let now = self.shared.clock.now();
        let mut tally = self.tally.borrow_mut();
        let mut desk = self.desk.borrow_mut();
        if !fresh.is_empty() {
            link.bytes.set(link.bytes.get() + fresh.len() as u64);
            tally.add(Counter::BytesReceived, fresh.len() as u64);
            tally.add(Counter::Reads, 1);
        }
        desk.source = Source {
            peer: link.peer,
            received: now,
        };
        let held = || link.connection.borrow().held_bytes();
        let before = held();
        let fed = self.feed_desk(link, fresh, &mut desk, &mut tally);
        self.hold(before, held());
        fed
    }

    /// Waits for a page, then goes on with those that had to stop for want of one.
    async fn unstall(&self) {
        {
            let mut tally = self.tally.borrow_mut();
            tally.add(Counter::ReadsPaused, 1);
            tally.publish(&self.counters);
        }
        let ring = self.desk.borrow().ring.clone();
        let page = future::or(async { Some(ring.claimed().await) }, async {
            while !self.shared.is_stopping() {
                self.wake().notified().await;
            }
            None
        });
        if let Some(page) = self.beating(page).await {
            self.desk.borrow_mut().set_spare(Some(page));
            self.resume();
        }
    }

    /// Feeds what stalled connections hold; those that stall again stay.
    fn resume(&self) {
        if !self.resume_piece() {
            return;
        }
        let stalled = self.stalled.take();
        for number in stalled {
            let Some(link) = self.links.borrow().get(&number).cloned() else {
                continue;
            };
            match self.feed(&link, &[]) {
                Fed::All => {}
                Fed::Stalled => self.stalled.borrow_mut().push(number),
                Fed::Broken => {
                    self.say_broken(link.peer);
                    self.leave(number, &link, Counter::ConnectionsClosedByFraming);
                }
            }
        }
    }

    fn hold(&self, before: usize, after: usize) {
        self.held_bytes.set(self.held_bytes.get() + after - before);
    }

    fn admit(self: &Rc<Self>, visitor: Visitor) {
        let number = self.next_link.get();
        self.next_link.set(number + 1);
        self.hold(0, visitor.connection.held_bytes());
        let link = Rc::new(Link {
            socket: self.poller.socket(visitor.stream),
            peer: visitor.peer,
            connection: RefCell::new(visitor.connection),
            interval: Cell::new(Interval::FIRST),
            bytes: Cell::new(0),
            is_awake: Cell::new(false),
            is_gone: Cell::new(false),
            asleep: Notify::new(),
        });
        self.links.borrow_mut().insert(number, link.clone());
        self.shared.io.spawn(watch(self.clone(), number, link));
    }

    /// The peer is done: what it left unfinished is mapped or counted.
    fn finish(&self, number: u64, link: &Rc<Link>, why: Counter) {
        {
            let mut tally = self.tally.borrow_mut();
            let mut desk = self.desk.borrow_mut();
            desk.source.peer = link.peer;
            desk.source.received = self.shared.clock.now();
            let mut connection = link.connection.borrow_mut();
            let before = connection.held_bytes();
            if before > 0 && !desk.is_ready(&mut tally) {
                // it has its turn again when there is a page: the end is still there to be read
                self.stalled.borrow_mut().push(number);
                let now = self.shared.clock.mono();
                self.rounds.borrow_mut().add(number, Interval::FIRST, now);
                return;
            }
            connection.finish(&mut *desk, &mut tally);
            self.hold(before, connection.held_bytes());
        }
        self.leave(number, link, why);
    }

    fn say_broken(&self, peer: IpAddr) {
        let notice = &self.shared.notices.framing_broken;
        if let Some(withheld) = notice.allow(self.shared.clock.mono()) {
            tracing::warn!(%peer, withheld, "octet counting is broken; closing the connection");
        }
    }

    /// Takes a connection out of the shard and closes it. Once the peer sees that, all that it has sent is
    /// in the counters, but for pieces that others have yet to map.
    fn leave(&self, number: u64, link: &Rc<Link>, why: Counter) {
        let mut tally = self.tally.borrow_mut();
        tally.add(why, 1);
        tally.publish(&self.counters);
        drop(tally);
        link.socket.shut();
        self.forget(number, link);
    }

    fn forget(&self, number: u64, link: &Rc<Link>) {
        link.is_gone.set(true);
        self.hold(link.connection.borrow().held_bytes(), 0);
        self.links.borrow_mut().remove(&number);
        self.shared.loads[self.index].disconnect();
        link.asleep.notify_one();
    }

    fn close(&self) {
        self.desk.borrow().ring.close_shard();
    }
}
