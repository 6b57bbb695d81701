//! A whole world on one clock: senders, runs of the program one after the other, its disk, the
//! service, and everything that goes wrong between them. All of it follows from one number.

use crate::coverage::{Coverage, Seen};
use crate::disk::{Mood, SharedDisk};
use crate::forwarder::{Forwarder, Run};
use crate::plan::{Blow, End, MS, Plan, SECOND, Trouble};
use crate::senders::{Sender, Shard, mean_pause};
use crate::service::Service;
use crate::truth::Truth;
use cefline::auth::{Denied, Permit, Refusal};
use cefline::clock::{Moment, Wall};
use cefline::config::Durability;
use cefline::limits::{BODIES_WAITING_MAX, PLACES_LENT_MAX};
use cefline::metrics::{Counter, Latency, Stage};
use cefline::spool::{Command, Event, WhenFull};
use cefline::upload::request::Reply;
use cefline::upload::{Action, Input, Request};
use fastrand::Rng;
use reqwest::header::HeaderValue;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// The wall clock begins here: 2026-11-25T02:07:07Z.
const WALL: i64 = 1_795_572_427_000_000_000;
/// Once all faults have ended everything is through in this time: the longest pause that a service
/// may ask for, a request that times out, and a few of our own pauses.
const PROGRESS: u64 = 900 * SECOND;
/// What was settled is on stable storage after this time, if the disk does not stall.
const SETTLED_LAG: u64 = 3 * SECOND;
/// With nothing else amiss, rows are delivered in this time: their page and body are old enough, and
/// requests before theirs are answered.
const OTHERS_LAG: u64 = 15 * SECOND;
/// A body is tried no more often than this in a second.
const TRIES_MAX: u32 = 14;
/// More than any run should need.
const STEPS_MAX: u64 = 400_000;
/// What any run should come to at least.
pub(crate) const STEPS_LEAST: u64 = 200;
/// How many events a failure shows.
const TRACE_LINES: usize = 50;

/// What went wrong.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) step: u64,
    pub(crate) property: &'static str,
    pub(crate) text: String,
    pub(crate) trace: Vec<String>,
}

/// What was done in a run without a failure.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) steps: u64,
    pub(crate) rows: u64,
}

enum Ev {
    /// A sender writes, and the program reads from it.
    Sender(usize),
    /// The program reads from it again.
    Deliver(usize),
    /// A page may be old.
    Shard,
    Uploader(u32, usize),
    Keeper(u32, usize),
    ToKeeper(u32, usize),
    ToUploader(u32, usize),
    Permit(u32, usize, u64),
    Reply(u32, usize, u64, Box<Replied>),
    Store(Rc<[u32]>),
    Blow(usize),
    Restart,
    /// The disk is well again.
    Well,
    FaultsEnd,
    Trickle(u32),
    Look,
}

struct Replied {
    flight: u64,
    reply: Reply,
    rows: Rc<[u32]>,
    id: [u8; 16],
    /// Among those of all destinations.
    rule: usize,
    /// The configuration that the request was made by.
    edition: u32,
    is_accepted: bool,
    is_unclear: bool,
    asked: Option<u64>,
    name: &'static str,
}

/// What a body was the last time that it was looked into.
type Known = (bytes::Bytes, Rc<[u32]>);

pub(crate) struct World {
    plan: Plan,
    random: Rng,
    now: u64,
    /// What the wall clock shows more than it should.
    wall_ahead: i64,
    queue: BTreeMap<(u64, u64), Ev>,
    queued: u64,
    steps: u64,
    truth: Truth,
    senders: Vec<Sender>,
    frames_made: usize,
    service: Service,
    disk: SharedDisk,
    forwarder: Option<Forwarder>,
    runs: u32,
    /// So many destinations are in the configuration.
    destinations: usize,
    latency: Arc<Latency>,
    flights: u64,
    known: HashMap<[u8; 16], Known>,
    /// How the disk ends the program, if it is to do so.
    cut: Option<End>,
    mood_until: u64,
    /// The disk has stalled, and what was settled may be written much later.
    stalled_at: Option<u64>,
    /// When a request last came to anything but success.
    troubled_at: u64,
    is_final: bool,
    /// Everything is through and the last stop has begun.
    is_drained: bool,
    is_over: bool,
    /// The program was started again to deliver what it could not read before.
    is_again: bool,
    lost: u64,
    /// The disk is to forget something at the next end of the program...
    rots: bool,
    /// ...and has done so.
    is_rotten: bool,
    /// So many rows may be damaged by that.
    rotten_rows: u64,
    /// The disk has failed some run.
    has_failed: bool,
    /// There was a power cut.
    was_cut: bool,
    works: (u64, u32),
    wrong: Option<(&'static str, String)>,
    trace: Option<VecDeque<String>>,
    prints: bool,
    pub(crate) coverage: Coverage,
}

impl World {
    pub(crate) fn new(seed: u64, latency: &Arc<Latency>, traces: bool, prints: bool) -> World {
        let plan = Plan::of(seed);
        // names of bodies are drawn from the thread's own
        fastrand::seed(seed);
        let mut random = Rng::with_seed(seed ^ 0x5eed);
        let disk = SharedDisk::new(Default::default(), random.u64(..));
        let senders = (0..plan.senders)
            .map(|_| Sender::new(&plan, &mut random))
            .collect();
        let mut world = World {
            truth: Truth {
                frame_bytes_max: plan.frame_bytes_max,
                is_mapped: plan.is_mapped,
                ..Truth::default()
            },
            now: SECOND,
            wall_ahead: 0,
            queue: BTreeMap::new(),
            queued: 0,
            steps: 0,
            senders,
            frames_made: 0,
            service: Service::default(),
            disk,
            forwarder: None,
            runs: 0,
            destinations: plan.destinations,
            latency: latency.clone(),
            flights: 0,
            known: HashMap::new(),
            cut: None,
            mood_until: 0,
            stalled_at: None,
            troubled_at: 0,
            is_final: false,
            is_drained: false,
            is_over: false,
            is_again: false,
            lost: 0,
            rots: false,
            is_rotten: false,
            rotten_rows: 0,
            has_failed: false,
            was_cut: false,
            works: (0, 0),
            wrong: None,
            trace: traces.then(VecDeque::new),
            prints,
            coverage: Coverage::default(),
            random,
            plan,
        };
        world.restart();
        for slot in 0..world.plan.senders {
            let at = world.random.u64(..SECOND);
            world.after(at, Ev::Sender(slot));
        }
        for (index, (at, _)) in world.plan.blows.clone().iter().enumerate() {
            world.after(*at, Ev::Blow(index));
        }
        world.after(world.plan.faults_end, Ev::FaultsEnd);
        world
    }

    /// Lets everything happen, in order.
    pub(crate) fn run(&mut self) -> Result<Done, Failure> {
        let plan = self.plan.clone();
        self.note(|| format!("{plan:?}"));
        let limit = SECOND + self.plan.faults_end + PROGRESS;
        while self.wrong.is_none() && !self.is_over {
            let Some(((at, _), event)) = self.queue.pop_first() else {
                self.fail("progress", "nothing happens any more".into());
                break;
            };
            self.now = at;
            if at > limit && !self.is_drained {
                let held = self.forwarder.as_mut().map(|forwarder| {
                    let snapshot = forwarder.snapshot();
                    Stage::ALL.map(|stage| (stage.name(), snapshot.held_in(stage)))
                });
                self.fail("progress", format!("still held: {held:?}"));
                break;
            }
            if self.steps > STEPS_MAX {
                self.fail("no hot loop", "too many steps".into());
                break;
            }
            self.happen(event);
            if self.steps.is_multiple_of(64) {
                self.check_counts();
            }
        }
        if self.wrong.is_none() {
            self.check_end();
        }
        match self.wrong.take() {
            None => Ok(Done {
                steps: self.steps,
                rows: self.truth.rows.len() as u64,
            }),
            Some((property, text)) => Err(Failure {
                seed: self.plan.seed,
                step: self.steps,
                property,
                text,
                trace: self.trace.take().unwrap_or_default().into(),
            }),
        }
    }

    fn fail(&mut self, property: &'static str, text: String) {
        self.wrong.get_or_insert((property, text));
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        let at = self.now as f64 / SECOND as f64;
        let line = format!("{:6} {at:11.6} {}", self.steps, text());
        if self.prints {
            println!("{line}");
        }
        trace.push_back(line);
        if trace.len() > TRACE_LINES {
            trace.pop_front();
        }
    }

    fn after(&mut self, time: u64, event: Ev) {
        self.at(self.now.saturating_add(time), event);
    }

    fn at(&mut self, at: u64, event: Ev) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), event);
    }

    fn wall(&self) -> i64 {
        WALL + self.now as i64 + self.wall_ahead
    }

    fn moment(&self) -> Moment {
        let wall = self.wall();
        self.forwarder
            .as_ref()
            .map_or_else(Moment::default, |it| it.moment(self.now, wall))
    }

    fn has_spool(&self) -> bool {
        self.plan.config.spool.durability != Durability::Memory
    }

    fn is_run(&self, number: u32) -> bool {
        self.forwarder
            .as_ref()
            .is_some_and(|forwarder| forwarder.number == number)
    }

    fn happen(&mut self, event: Ev) {
        match event {
            Ev::Sender(slot) => self.sender(slot),
            Ev::Deliver(slot) => self.deliver(slot),
            Ev::Shard => self.shard_tick(),
            Ev::Uploader(run, index) if self.is_run(run) => {
                let now = self.now;
                if self.upload(index).is_some_and(|it| it.wake_at == now) {
                    self.steps += 1;
                    self.run_uploader(index);
                }
            }
            Ev::Keeper(run, index) if self.is_run(run) => {
                let now = self.now;
                if self
                    .upload(index)
                    .is_some_and(|it| it.keeper_wake_at == now)
                {
                    self.steps += 1;
                    self.work(index);
                }
            }
            Ev::ToKeeper(run, index) if self.is_run(run) => self.serve_keeper(index),
            Ev::ToUploader(run, index) if self.is_run(run) => self.serve_uploader(index),
            Ev::Permit(run, index, key) if self.is_run(run) => self.permit(index, key),
            Ev::Reply(run, index, key, replied) if self.is_run(run) => {
                self.replied(index, key, *replied);
            }
            Ev::Store(rows) => self.store(&rows),
            Ev::Blow(index) => self.blow(index),
            Ev::Restart => self.restart(),
            Ev::Well => {
                if self.now >= self.mood_until {
                    self.disk.set_mood(Mood::default());
                }
            }
            Ev::FaultsEnd => self.faults_end(),
            Ev::Trickle(count) => self.trickle(count),
            Ev::Look => self.look(),
            Ev::Uploader(..)
            | Ev::Keeper(..)
            | Ev::ToKeeper(..)
            | Ev::ToUploader(..)
            | Ev::Permit(..)
            | Ev::Reply(..) => {}
        }
    }

    fn upload(&mut self, index: usize) -> Option<&mut crate::forwarder::Upload> {
        self.forwarder.as_mut()?.uploads.get_mut(index)
    }

    // ---- senders and the shard

    fn with_shard<T>(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Sender, &mut Shard<'_>, &mut Rng) -> T,
    ) -> Option<T> {
        let now = self.moment();
        let forwarder = self.forwarder.as_mut()?;
        let before = forwarder.ring.pages_waiting();
        let mut shard = Shard {
            pages: &mut forwarder.pages,
            destinations: forwarder.destinations_count,
            ring: &forwarder.ring,
            mapper: forwarder.mapper.as_mut(),
            rows_max: self.plan.page_rows_max,
            now,
            truth: &mut self.truth,
            wrong: &mut self.wrong,
            tally: &mut forwarder.tally,
        };
        let answer = act(&mut self.senders[slot], &mut shard, &mut self.random);
        let has_page = !forwarder.pages.open.is_empty();
        let is_handed = forwarder.ring.pages_waiting() > before;
        if is_handed {
            self.wake_for_page();
        }
        if has_page {
            let linger = self.plan.config.batch.linger.as_nanos() as u64;
            self.after(linger + MS, Ev::Shard);
        }
        Some(answer)
    }

    fn is_accepting(&self) -> bool {
        self.forwarder
            .as_ref()
            .is_some_and(|forwarder| forwarder.deadline.is_none())
    }

    fn sender(&mut self, slot: usize) {
        self.steps += 1;
        if self.is_final {
            return;
        }
        if self.is_accepting() {
            let is_done = self.frames_made >= self.plan.frames;
            let sender = &mut self.senders[slot];
            if !is_done && sender.waiting_bytes() < 32 * 1024 {
                let count = match self.random.u8(..5) {
                    0 => self.random.usize(1..20),
                    _ => self.random.usize(1..4),
                };
                self.frames_made += count;
                sender.write(count, &self.plan, &mut self.truth, &mut self.random);
            }
            self.deliver(slot);
            if self.random.u8(..30) == 0 {
                let is_reset = self.random.bool();
                self.note(|| format!("sender {slot} ends, reset: {is_reset}"));
                self.coverage.see(match is_reset {
                    true => Seen::Reset,
                    false => Seen::Closed,
                });
                self.with_shard(slot, |sender, shard, _| sender.end(is_reset, shard));
            }
            if self.senders[slot].is_closed {
                self.senders[slot] = Sender::new(&self.plan, &mut self.random);
            }
        }
        let mean = mean_pause(&self.plan);
        let pause = self.senders[slot].pause(mean, &mut self.random);
        self.after(pause, Ev::Sender(slot));
    }

    fn deliver(&mut self, slot: usize) {
        self.steps += 1;
        if !self.is_accepting() || slot >= self.senders.len() {
            return;
        }
        let more = self.with_shard(slot, |sender, shard, random| sender.deliver(shard, random));
        if more == Some(true) {
            let pause = self.random.u64(..4 * MS);
            self.after(pause, Ev::Deliver(slot));
        } else if self.senders[slot].is_stalled {
            self.coverage.see(Seen::Stalled);
        }
    }

    fn shard_tick(&mut self) {
        let now = self.moment();
        let linger = self.plan.config.batch.linger;
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let opened_at = forwarder.pages.opened_at();
        if opened_at.is_some_and(|at| now.mono.since(at) >= linger) {
            self.steps += 1;
            let pages = &mut forwarder.pages;
            pages.hand_over_all(&forwarder.ring, now, &mut forwarder.tally);
            self.wake_for_page();
        }
    }

    /// One of the uploaders that would take a page is woken.
    fn wake_for_page(&mut self) {
        let Some(forwarder) = &self.forwarder else {
            return;
        };
        let takers: Vec<usize> = (0..forwarder.uploads.len())
            .filter(|index| {
                let upload = &forwarder.uploads[*index];
                !upload.is_finished && upload.machine.takes_pages()
            })
            .collect();
        if let Some(index) = self.random.choice(&takers).copied() {
            let pause = self.random.u64(..MS / 5);
            self.wake_uploader(index, self.now + pause);
        }
    }

    // ---- uploaders

    fn wake_uploader(&mut self, index: usize, at: u64) {
        let at = at.max(self.now);
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let number = forwarder.number;
        let Some(upload) = forwarder.uploads.get_mut(index) else {
            return;
        };
        if upload.is_finished || upload.wake_at <= at && upload.wake_at >= self.now {
            return;
        }
        upload.wake_at = at;
        self.at(at, Ev::Uploader(number, index));
    }

    fn run_uploader(&mut self, index: usize) {
        let number = self.forwarder.as_ref().map_or(0, |it| it.number);
        if let Some(upload) = self.upload(index) {
            upload.wake_at = u64::MAX;
        }
        for _ in 0..2000 {
            if !self.is_run(number) || self.wrong.is_some() {
                return;
            }
            self.heed(index);
            self.act(index);
            let now = self.moment();
            let Some(upload) = self.upload(index) else {
                return;
            };
            let goes_on = upload.machine.step(now);
            upload.machine.publish(&upload.counters);
            if upload.machine.is_finished() {
                upload.is_finished = true;
                self.act(index);
                self.note(|| format!("uploader {index} has ended"));
                return self.check_finished();
            }
            if !goes_on {
                let wake_at = upload.machine.wake_at();
                self.spread_news();
                if let Some(at) = wake_at {
                    let at = self.forwarder.as_ref().map_or(0, |it| it.at(at));
                    // a timer is never early, and often a little late
                    let late = self.random.u64(..2 * MS);
                    self.wake_uploader(index, at.saturating_add(late));
                }
                return self.resume_senders();
            }
            self.steps += 1;
            self.act(index);
            if self.random.u8(..4) == 0 {
                // others have their turn between two pages
                let pause = self.random.u64(..MS);
                self.spread_news();
                self.wake_uploader(index, self.now + pause);
                return self.resume_senders();
            }
        }
        self.fail("no hot loop", "an uploader goes on for ever".into());
    }

    /// Rules that changed, and outages that ended, are known to all uploaders.
    fn spread_news(&mut self) {
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let seen = (
            forwarder.destinations.changes(),
            forwarder.state.recoveries(),
        );
        if seen != forwarder.seen {
            forwarder.seen = seen;
            let count = forwarder.uploads.len();
            for index in 0..count {
                self.wake_uploader(index, self.now);
            }
        }
    }

    fn resume_senders(&mut self) {
        for slot in 0..self.senders.len() {
            if self.senders[slot].is_stalled {
                let pause = self.random.u64(..MS);
                self.after(pause, Ev::Deliver(slot));
            }
        }
    }

    fn heed(&mut self, index: usize) {
        let now = self.moment().mono;
        let time = self.now;
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let machine = &mut forwarder.uploads[index].machine;
        match forwarder.deadline {
            None => {}
            Some(deadline) if time < deadline => machine.hurry(now),
            Some(_) => machine.end(now),
        }
    }

    fn act(&mut self, index: usize) {
        for _ in 0..2000 {
            let now = self.moment();
            let Some(upload) = self.upload(index) else {
                return;
            };
            let Some(action) = upload.machine.action(now) else {
                return;
            };
            self.steps += 1;
            match action {
                Action::Permit(key) => {
                    let number = self.runs - 1;
                    let is_slow = self.random.u8(..10) == 0;
                    if is_slow || self.service.has(Trouble::NoToken, self.now) {
                        let pause = self.random.u64(..20 * MS);
                        self.after(pause, Ev::Permit(number, index, key));
                    } else {
                        let permit = Permit::of(HeaderValue::from_static("Bearer x"));
                        let input = Input::Permitted(key, Ok(permit));
                        if let Some(upload) = self.upload(index) {
                            upload.machine.take(input, now);
                        }
                    }
                }
                Action::Send(key, request) => self.send(index, key, &request),
                Action::Spool(command) => self.command(index, command),
            }
            if self.wrong.is_some() {
                return;
            }
        }
        self.fail("no hot loop", "an uploader wants more and more".into());
    }

    fn permit(&mut self, index: usize, key: u64) {
        self.steps += 1;
        let now = self.moment();
        let permit = match self.service.has(Trouble::NoToken, self.now) {
            true => {
                self.coverage.see(Seen::Trouble(Trouble::NoToken));
                self.troubled_at = self.now;
                let pause = std::time::Duration::from_millis(self.random.u64(200..3000));
                Err(Denied {
                    refusal: Arc::new(Refusal::Unreachable(
                        cefline::auth::Party::Login,
                        "no login".into(),
                    )),
                    retry_at: now.mono.plus(pause),
                })
            }
            false => Ok(Permit::of(HeaderValue::from_static("Bearer x"))),
        };
        self.input(index, Input::Permitted(key, permit));
    }

    /// An answer from outside comes to an uploader.
    fn input(&mut self, index: usize, input: Input) {
        let now = self.moment();
        let Some(upload) = self.upload(index) else {
            return;
        };
        if upload.is_finished {
            return;
        }
        upload.machine.take(input, now);
        self.run_uploader(index);
    }

    // ---- the service

    fn rows_in(&mut self, id: [u8; 16], body: &bytes::Bytes) -> Option<Rc<[u32]>> {
        if let Some((known, rows)) = self.known.get(&id)
            && known == body
        {
            return Some(rows.clone());
        }
        match self.truth.rows_in(body) {
            Ok(rows) => {
                let rows: Rc<[u32]> = rows.into();
                self.known.insert(id, (body.clone(), rows.clone()));
                for number in rows.iter() {
                    let row = &self.truth.rows[*number as usize];
                    if row.is_smuggled || !row.is_taken {
                        let what = format!("row {number} was never received");
                        self.fail("only what was sent", what);
                    }
                }
                Some(rows)
            }
            Err(what) => {
                self.fail("content is intact", what);
                None
            }
        }
    }

    fn send(&mut self, index: usize, key: u64, request: &Request) {
        let id = request.id.to_bytes();
        let Some(rows) = self.rows_in(id, &request.body) else {
            return;
        };
        let destination = request.destination.index();
        self.check_destination(&rows, destination);
        let rule = destination * self.plan.rules + request.rule.index();
        self.check_pace(index, id, rule);
        self.check_shares(index, key, id, request.body.len());
        let service_wall = Wall(WALL + self.now as i64);
        let outcome = self.service.outcome(
            &self.plan,
            &self.truth,
            &mut self.random,
            (self.now, service_wall),
            rule,
            (&rows, request.body.len()),
        );
        let name = outcome.name;
        self.note(|| {
            format!(
                "uploader {index} sends body {key} to rule {rule} of all, rows {}: {name}",
                brief(&rows)
            )
        });
        self.coverage.see(Seen::Outcome(name));
        self.flights += 1;
        let flight = self.flights;
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let (number, edition) = (forwarder.number, forwarder.edition);
        forwarder.flights.insert(flight, rows.clone());
        if self.plan.config.spool.durability == Durability::Memory {
            forwarder.bodies.push(rows.clone());
        }
        if let Some(time) = outcome.stored_in {
            self.after(time, Ev::Store(rows.clone()));
        }
        let replied = Box::new(Replied {
            flight,
            reply: outcome.reply,
            rows,
            id,
            rule,
            edition,
            is_accepted: outcome.is_accepted,
            is_unclear: outcome.is_unclear,
            asked: outcome.asked,
            name,
        });
        self.after(outcome.replied_in, Ev::Reply(number, index, key, replied));
    }

    /// Rows go where they are for, or to the first destination if that is not in the configuration.
    fn check_destination(&mut self, rows: &[u32], destination: usize) {
        let known = self.destinations;
        for number in rows {
            let row = self.truth.rows[*number as usize];
            let is_known = row.destination < known;
            if !is_known {
                self.coverage.see(Seen::Redirected);
            }
            if destination != if is_known { row.destination } else { 0 } {
                let of = row.destination;
                let what = format!("row {number} for {of} of {known} goes to {destination}");
                self.fail("each row goes to its own destination", what);
            }
        }
    }

    /// While one destination was down, the rows of all others were delivered.
    fn check_others(&mut self, down: usize) {
        let now = self.moment().mono.0;
        let late = self.truth.rows.iter().enumerate().find(|(_, row)| {
            row.is_taken
                && row.destination != down
                && row.stored == 0
                && row.taken_at + OTHERS_LAG < now
        });
        match late {
            Some((number, row)) => {
                let what = format!("row {number} waits while {down} is down: {row:?}");
                self.fail("one destination does not hold up the others", what);
            }
            None => self.coverage.see(Seen::OthersWentOn),
        }
    }

    /// No body is tried in a hot loop, and nobody is asked sooner than he has said.
    fn check_pace(&mut self, index: usize, id: [u8; 16], rule: usize) {
        let now = self.now;
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let tries = forwarder.tries.entry(id).or_insert((now, 0));
        if now > tries.0 + SECOND {
            *tries = (now, 0);
        }
        tries.1 += 1;
        let count = tries.1;
        let not_before = forwarder.rule_not_before[rule]
            .max(forwarder.body_not_before.get(&id).copied().unwrap_or(0));
        if count > TRIES_MAX {
            let what = format!("uploader {index} has sent a body {count} times in a second");
            self.fail("no hot loop", what);
        }
        if now < not_before {
            let what = format!("uploader {index} is {} ms early", (not_before - now) / MS);
            self.fail("a pause that was asked for is kept", what);
        }
    }

    /// New bodies and the backlog share the places.
    fn check_shares(&mut self, index: usize, key: u64, id: [u8; 16], bytes: usize) {
        let share = self.plan.config.spool.drain_share as usize;
        let ratio = share.max(100 - share).div_ceil(share.min(100 - share)) + 1;
        let now = self.now;
        // what is on disk when the program stops is for the next run
        let is_stopping = self
            .forwarder
            .as_ref()
            .is_some_and(|forwarder| forwarder.deadline.is_some());
        // which of those that wait are for which destination is not known here
        let is_calm = !is_stopping
            && self.plan.destinations == 1
            && now > self.troubled_at + 5 * SECOND
            && now > self.mood_until + 15 * SECOND
            && self.stalled_at.is_none_or(|at| now > at + 30 * SECOND);
        let places = self.plan.config.sentinel.requests_in_flight;
        let Some(upload) = self.upload(index) else {
            return;
        };
        let is_old = upload.old.remove(&id).is_some();
        // not by the name: one that is too long is halved before it is ever sent
        let is_fresh = upload.fresh.remove(&key);
        if !is_old && !is_fresh {
            return;
        }
        let do_others_wait = match is_old {
            true => !upload.fresh.is_empty(),
            false => upload.machine.rows_parked() > 0 || !upload.old.is_empty(),
        };
        // what one kind has had too much, the other may have in small bodies
        upload.largest = upload.largest.max(bytes);
        let largest = upload.largest;
        let run = &mut upload.run;
        if run.is_old != is_old || !do_others_wait || !is_calm {
            *run = Run {
                is_old,
                since: now,
                ..Run::default()
            };
            return;
        }
        run.bytes += bytes;
        run.bodies += 1;
        let is_long = run.bytes > (ratio + 1) * largest + 1000 && run.bodies as usize > places + 6;
        // those that have a place may wait for a rule a moment longer than others
        if is_long && now > run.since + 5 * SECOND {
            let what = format!(
                "{} bodies of one kind (from disk: {is_old}) in a row, while others wait: {:?}",
                run.bodies, upload.fresh
            );
            self.fail("new rows and the backlog share", what);
        }
    }

    fn store(&mut self, rows: &[u32]) {
        for number in rows {
            let row = &mut self.truth.rows[*number as usize];
            row.stored += 1;
        }
    }

    fn replied(&mut self, index: usize, key: u64, replied: Replied) {
        self.steps += 1;
        let now = self.now;
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        if forwarder.deadline.is_some_and(|at| now >= at) {
            // the request was cancelled: its rows stay among those that are under way
            return;
        }
        if forwarder.uploads[index].is_finished {
            return;
        }
        forwarder.flights.remove(&replied.flight);
        let is_good = replied.is_accepted;
        if replied.is_accepted {
            forwarder.rows_answered += replied.rows.len() as u64;
            for number in replied.rows.iter() {
                self.truth.rows[*number as usize].answered_at = Some(now);
            }
        }
        if replied.is_unclear {
            for number in replied.rows.iter() {
                self.truth.rows[*number as usize].unclear += 1;
            }
        }
        let is_current = replied.edition == forwarder.edition;
        if let Some(asked) = replied.asked.filter(|_| is_current) {
            // the reply is read a moment later at most
            let until = now + asked;
            match replied.name {
                "throttled" => {
                    let before = &mut forwarder.rule_not_before[replied.rule];
                    *before = until.max(*before);
                }
                _ => {
                    forwarder.body_not_before.insert(replied.id, until);
                }
            }
        }
        if !is_good {
            self.troubled_at = now;
        }
        let name = replied.name;
        self.note(|| format!("uploader {index} hears of body {key}: {name}"));
        let renews = replied.reply.is_unauthorized() && self.service.renews(now);
        self.input(index, Input::Replied(key, replied.reply, renews));
    }

    // ---- the spool

    fn command(&mut self, index: usize, command: Command) {
        self.observe_command(index, &command);
        self.note(|| format!("uploader {index} asks {}", name_of(&command)));
        let pause = self.random.u64(..MS);
        let now = self.now;
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let number = forwarder.number;
        let upload = &mut forwarder.uploads[index];
        if upload.keeper.is_none() {
            return;
        }
        upload.commands.push_back(command);
        upload.commands_at = upload.commands_at.max(now + pause);
        let at = upload.commands_at;
        self.at(at, Ev::ToKeeper(number, index));
    }

    fn observe_command(&mut self, index: usize, command: &Command) {
        match command {
            Command::Write(key, body) => {
                let id = body.payload.id.to_bytes();
                let Some(rows) = self.rows_in(id, &body.payload.body) else {
                    return;
                };
                let places = self.plan.config.sentinel.requests_in_flight;
                let has_refusals = self.plan.poison > 0.0 || self.has_been(Trouble::Misconfigured);
                let lent = if has_refusals { PLACES_LENT_MAX } else { 0 };
                let is_stopping = !self.is_accepting();
                let Some(forwarder) = &mut self.forwarder else {
                    return;
                };
                forwarder.bodies.push(rows.clone());
                let upload = &mut forwarder.uploads[index];
                upload.written.insert(*key, rows);
                let bytes = body.payload.body.len();
                upload.in_memory.insert(*key, (bytes, None));
                upload.fresh.insert(*key);
                let bytes: usize = upload.in_memory.values().map(|(bytes, _)| bytes).sum();
                // places, those that wait, and one that is being sealed
                let destinations = self.plan.destinations;
                let bodies = (places + lent + 3) * destinations + BODIES_WAITING_MAX + 1;
                let most = bodies * self.plan.config.batch.wire_bytes_max.max(1000);
                if bytes > most && !is_stopping {
                    let count = upload.in_memory.len();
                    let what = format!("{bytes} bytes of {count} bodies in memory");
                    self.fail("memory is bounded", what);
                }
            }
            Command::Forget(key) => {
                if let Some(upload) = self.upload(index) {
                    upload.in_memory.remove(key);
                }
            }
            Command::Settle(place) | Command::Park(place) => {
                let is_parked = matches!(command, Command::Park(_));
                if is_parked {
                    self.coverage.see(Seen::Parked);
                }
                let Some(upload) = self.upload(index) else {
                    return;
                };
                if !is_parked {
                    // a row that is too long is given up before it is ever sent
                    upload.old.retain(|_, of| of != place);
                }
                let found = upload.in_memory.iter();
                let mut found = found.filter(|(_, (_, at))| *at == Some(*place));
                if let Some(key) = found.next().map(|(key, _)| *key) {
                    upload.in_memory.remove(&key);
                    upload.fresh.remove(&key);
                }
            }
            Command::Quarantine(body, _) => {
                self.coverage.see(Seen::GivenUp);
                let id = body.payload.id.to_bytes();
                let now = self.now;
                if let Some(rows) = self.rows_in(id, &body.payload.body) {
                    for number in rows.iter() {
                        self.truth.rows[*number as usize].answered_at = Some(now);
                    }
                }
            }
            Command::Read(_) | Command::Close => {}
        }
    }

    fn serve_keeper(&mut self, index: usize) {
        self.steps += 1;
        let now = self.now;
        let moment = self.moment();
        let number = self.runs - 1;
        let pause = self.random.u64(..5 * MS);
        let failed = self.disk.failed();
        let Some(upload) = self.upload(index) else {
            return;
        };
        if now < upload.busy_until {
            let at = upload.busy_until;
            return self.at(at, Ev::ToKeeper(number, index));
        }
        let Some(command) = upload.commands.pop_front() else {
            return;
        };
        let is_write = matches!(command, Command::Write(..));
        let mut events = Vec::new();
        if let Some(keeper) = &mut upload.keeper {
            keeper.take(command, moment, &mut events);
        }
        self.note_disk(failed);
        self.tell(index, events);
        self.wake_keeper(index, now + if is_write { pause } else { 0 });
    }

    fn wake_keeper(&mut self, index: usize, at: u64) {
        let number = self.runs - 1;
        let now = self.now;
        let Some(upload) = self.upload(index) else {
            return;
        };
        let at = at.max(now).max(upload.busy_until);
        if upload.keeper_wake_at <= at && upload.keeper_wake_at >= now {
            return;
        }
        upload.keeper_wake_at = at;
        self.at(at, Ev::Keeper(number, index));
    }

    fn work(&mut self, index: usize) {
        let now = self.now;
        let moment = self.moment();
        self.works = match self.works {
            (at, count) if at == now => (at, count + 1),
            _ => (now, 1),
        };
        if self.works.1 > 2000 {
            return self.fail("no hot loop", "a keeper goes round and round".into());
        }
        let failed = self.disk.failed();
        let Some(upload) = self.upload(index) else {
            return;
        };
        upload.keeper_wake_at = u64::MAX;
        let mut events = Vec::new();
        let mut wake_at = None;
        if let Some(keeper) = &mut upload.keeper {
            keeper.work(moment, &mut events);
            wake_at = keeper.wake_at();
        }
        self.note_disk(failed);
        self.tell(index, events);
        if let Some(at) = wake_at {
            let at = self.forwarder.as_ref().map_or(0, |it| it.at(at));
            self.wake_keeper(index, at);
        }
    }

    fn note_disk(&mut self, failed_before: u64) {
        if self.disk.failed() > failed_before {
            self.coverage.see(Seen::DiskFailed);
            self.has_failed = true;
            if let Some(forwarder) = &mut self.forwarder {
                forwarder.disk_failed = true;
            }
        }
    }

    /// A keeper says something; it is heard a little later.
    fn tell(&mut self, index: usize, events: Vec<Event>) {
        for event in &events {
            // gone, whether the program comes to count them or ends before
            if let Event::Quarantined {
                rows,
                is_kept: false,
                ..
            } = event
            {
                self.lost += *rows;
            }
            if let Event::Lost { rows, .. } = event {
                self.lost += rows.count;
            }
        }
        if self.disk.is_cut() {
            // it did not come to that
            if let Some(end) = self.cut.take() {
                self.coverage.see(Seen::Cut);
                self.end_run(end);
            }
            return;
        }
        for event in events {
            self.observe_event(index, &event);
            self.note(|| format!("keeper {index} says {}", heard(&event)));
            let pause = self.random.u64(..MS);
            let now = self.now;
            let number = self.runs - 1;
            let Some(upload) = self.upload(index) else {
                return;
            };
            upload.events.push_back(event);
            upload.events_at = upload.events_at.max(now + pause);
            let at = upload.events_at;
            self.at(at, Ev::ToUploader(number, index));
        }
    }

    fn observe_event(&mut self, index: usize, event: &Event) {
        match event {
            Event::Written(key, place) => {
                let Some(upload) = self.upload(index) else {
                    return;
                };
                upload.own_logs.insert(place.log.0);
                let rows = upload.written.get(key).cloned();
                for number in rows.iter().flat_map(|rows| rows.iter()) {
                    self.truth.rows[*number as usize].is_safe = true;
                }
            }
            Event::Body(place, body, _) => {
                self.coverage.see(Seen::ReadBack);
                let id = body.payload.id.to_bytes();
                let Some(rows) = self.rows_in(id, &body.payload.body) else {
                    return;
                };
                // whatever an earlier run has heard of it, this one knows nothing
                for number in rows.iter() {
                    self.truth.rows[*number as usize].answered_at = None;
                }
                let Some(forwarder) = &mut self.forwarder else {
                    return;
                };
                forwarder.bodies.push(rows);
                // what a disk does not give is set aside for a while, and others are read meanwhile
                let keeps_order = !forwarder.disk_failed;
                let upload = &mut forwarder.uploads[index];
                upload.old.insert(id, *place);
                let of = body.payload.destination;
                let waiting = upload.recovered_waiting.entry(of).or_default();
                if !upload.own_logs.contains(&place.log.0) {
                    *waiting -= 1;
                } else if *waiting > 0 && keeps_order && !upload.has_lost {
                    let count = *waiting;
                    let what = format!("{count} bodies of earlier runs wait behind this run's");
                    self.fail("the oldest goes first", what);
                }
            }
            Event::Recovered { bodies, rows } => {
                self.coverage.see(Seen::Recovered);
                if let Some(upload) = self.upload(index) {
                    let waiting = upload.recovered_waiting.entry(rows.destination);
                    *waiting.or_default() += *bodies as i64;
                }
            }
            Event::Lost { .. } => {
                self.coverage.see(Seen::SpoolLost);
                // how many bodies these were is not said
                if let Some(upload) = self.upload(index) {
                    upload.has_lost = true;
                }
            }
            Event::Scanned | Event::Nothing(_) | Event::Quarantined { .. } | Event::Closed => {}
        }
    }

    fn serve_uploader(&mut self, index: usize) {
        self.steps += 1;
        let Some(upload) = self.upload(index) else {
            return;
        };
        let Some(event) = upload.events.pop_front() else {
            return;
        };
        if let Event::Written(key, place) = &event
            && let Some((_, at)) = upload.in_memory.get_mut(key)
        {
            *at = Some(*place);
        }
        self.input(index, Input::Spool(event));
    }

    // ---- what goes wrong

    fn blow(&mut self, index: usize) {
        self.steps += 1;
        let (_, blow) = self.plan.blows[index];
        self.note(|| format!("{blow:?}"));
        match blow {
            Blow::Trouble(trouble, until) => {
                let rule = self.random.usize(..8);
                let until = SECOND + until;
                self.service.troubles.push((trouble, until, rule));
                self.coverage.see(Seen::Trouble(trouble));
            }
            Blow::Disk(mood, until) => {
                self.mood_until = self.mood_until.max(SECOND + until);
                self.disk.set_mood(mood);
                self.at(self.mood_until, Ev::Well);
            }
            Blow::Stall(time) => {
                self.coverage.see(Seen::Stall);
                let until = self.now + time;
                self.stalled_at = Some(until);
                if let Some(forwarder) = &mut self.forwarder {
                    for upload in &mut forwarder.uploads {
                        upload.busy_until = until;
                    }
                    for index in 0..2 {
                        self.wake_keeper(index, until);
                    }
                }
            }
            Blow::End(_, _) if self.forwarder.is_none() || !self.is_accepting() => {}
            Blow::End(End::Stop(time), _) => self.stop(time),
            Blow::End(end, Some(operations)) if self.has_spool() => {
                self.cut = Some(end);
                self.disk.cut_after(operations);
            }
            Blow::End(end, _) => self.end_run(end),
            Blow::Down(destination, until) => {
                self.coverage.see(Seen::Down);
                self.service.down.push((destination, SECOND + until));
            }
            Blow::Others(destination) => self.check_others(destination),
            Blow::Reload(count) => self.reload(count),
            Blow::Rot => self.rots = true,
            Blow::Jump(by) => {
                self.coverage.see(Seen::Jump);
                self.wall_ahead += by;
            }
        }
    }

    /// The configuration is read again.
    fn reload(&mut self, destinations: usize) {
        self.coverage.see(Seen::Reload);
        self.destinations = destinations;
        let now = self.moment();
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        forwarder.reload(&self.plan, destinations, now);
        for index in 0..forwarder.uploads.len() {
            self.wake_uploader(index, self.now);
        }
    }

    /// The program is asked to stop.
    fn stop(&mut self, time: u64) {
        self.coverage.see(Seen::Stop);
        let deadline = self.now + time;
        for slot in 0..self.senders.len() {
            self.with_shard(slot, |sender, shard, _| sender.abandon(shard));
            self.senders[slot] = Sender::new(&self.plan, &mut self.random);
        }
        let now = self.moment();
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        forwarder.deadline = Some(deadline);
        let pages = &mut forwarder.pages;
        pages.hand_over_all(&forwarder.ring, now, &mut forwarder.tally);
        forwarder.ring.close_shard();
        let number = forwarder.number;
        for index in 0..forwarder.uploads.len() {
            self.wake_uploader(index, self.now);
            self.at(deadline, Ev::Permit(number, index, u64::MAX));
        }
    }

    fn check_finished(&mut self) {
        if !self.forwarder.as_ref().is_some_and(Forwarder::is_finished) {
            // another may wait for the end of the ring
            for index in 0..2 {
                self.wake_uploader(index, self.now);
            }
            return;
        }
        self.end_run(End::Stop(0));
    }

    /// The program is gone, in whatever way.
    fn end_run(&mut self, end: End) {
        self.note(|| format!("the program ends: {end:?}"));
        self.check_counts();
        let is_clean = matches!(end, End::Stop(_));
        if is_clean {
            self.check_stop();
        }
        self.check_losses();
        let Some(forwarder) = self.forwarder.take() else {
            return;
        };
        let is_power_cut = matches!(end, End::PowerCut(_));
        self.was_cut |= is_power_cut;
        let durability = self.plan.config.spool.durability;
        let lag = match self.stalled_at {
            Some(at) if self.now < at + 40 * SECOND => 60 * SECOND,
            _ => SETTLED_LAG,
        };
        let is_loose = forwarder.disk_failed || is_power_cut && durability == Durability::Process;
        let settled_by = self.now.saturating_sub(lag);
        for rows in forwarder.bodies.iter().chain(forwarder.flights.values()) {
            let is_settled = |number: &u32| {
                let answered_at = self.truth.rows[*number as usize].answered_at;
                answered_at.is_some_and(|at| at <= settled_by)
            };
            if is_loose || !rows.iter().all(is_settled) {
                for number in rows.iter() {
                    self.truth.rows[*number as usize].unclear += 1;
                }
            }
        }
        for row in &mut self.truth.rows {
            if is_power_cut && durability == Durability::Process {
                row.is_safe = false;
                row.unclear += 1;
            }
            let is_lost = row.is_taken && !row.is_safe && row.stored == 0;
            if is_lost && (!is_clean || durability == Durability::Memory) {
                row.is_excused = true;
            }
        }
        self.coverage.see(match end {
            End::Kill => Seen::Kill,
            End::PowerCut(_) => Seen::PowerCut,
            End::Stop(_) => Seen::Stopped,
        });
        let mut ram = match end {
            End::PowerCut(share) => self.disk.after_power_cut(share, &mut self.random),
            End::Kill | End::Stop(_) => self.disk.after_kill(),
        };
        if std::mem::take(&mut self.rots)
            && let Some(rows) = SharedDisk::rot(&mut ram, &mut self.random)
        {
            self.note(|| format!("bits rot, of {rows} rows"));
            self.rotten_rows += rows;
            self.coverage.see(Seen::Rot);
            self.is_rotten = true;
            for row in &mut self.truth.rows {
                // what is settled may be forgotten
                row.unclear += 1;
            }
        }
        self.disk = SharedDisk::new(ram, self.random.u64(..));
        self.cut = None;
        let has_failed = forwarder.disk_failed;
        drop(forwarder);
        if self.is_drained {
            self.is_over = true;
            let left = crate::rest::waiting(&self.disk, self.plan.segment_bytes);
            if !has_failed || self.is_again || left == 0 {
                return;
            }
            // what could not be read at the start is left alone until the next
            self.note(|| format!("once more, for {left} rows"));
            (self.is_over, self.is_drained, self.is_again) = (false, false, true);
            self.after(SECOND, Ev::Trickle(5));
            self.after(SECOND, Ev::Look);
        }
        for slot in 0..self.senders.len() {
            self.senders[slot] = Sender::new(&self.plan, &mut self.random);
        }
        let pause = self.random.u64(10 * MS..2 * SECOND);
        self.after(pause, Ev::Restart);
    }

    fn restart(&mut self) {
        self.steps += 1;
        plant_again();
        if self.now >= self.mood_until {
            self.disk.set_mood(Mood::default());
        }
        let number = self.runs;
        self.runs += 1;
        let forwarder = Forwarder::start(
            &self.plan,
            self.destinations,
            number,
            self.now,
            &self.disk,
            &self.latency,
            &mut self.random,
        );
        let count = forwarder.uploads.len();
        self.note(|| format!("the program starts with {count} uploaders"));
        self.forwarder = Some(forwarder);
        for index in 0..count {
            self.wake_uploader(index, self.now);
            self.wake_keeper(index, self.now);
        }
    }

    fn faults_end(&mut self) {
        self.note(|| "faults end".into());
        self.is_final = true;
        self.mood_until = self.mood_until.min(self.now);
        self.disk.set_mood(Mood::default());
        self.disk.cut_after(u64::MAX);
        self.cut = None;
        for slot in 0..self.senders.len() {
            self.deliver(slot);
        }
        // whoever was to reset, has
        self.senders.push(Sender::new(&self.plan, &mut self.random));
        self.after(MS, Ev::Trickle(0));
        self.after(SECOND, Ev::Look);
    }

    /// A few new rows, ever more seldom: they prove that the service takes rows, and that new ones
    /// come through.
    fn trickle(&mut self, count: u32) {
        if self.is_drained {
            return;
        }
        let slot = self.senders.len() - 1;
        if self.is_accepting() {
            if self.senders[slot].is_closed {
                self.senders[slot] = Sender::new(&self.plan, &mut self.random);
            }
            let calm = Plan {
                poison: 0.0,
                ..self.plan.clone()
            };
            self.senders[slot].write(2, &calm, &mut self.truth, &mut self.random);
            self.deliver(slot);
        }
        // seldom at first, so that a body waits for its age; and then often enough for each rule
        let pause = (SECOND << count.min(8)).min(30 * SECOND);
        self.after(pause, Ev::Trickle(count + 1));
    }

    /// Once nothing is left the program is stopped for the last time.
    fn look(&mut self) {
        if self.is_drained {
            return;
        }
        self.after(SECOND, Ev::Look);
        if self.steps < STEPS_LEAST {
            // a quiet one goes on for a while
            return;
        }
        if self.cut.is_some() || !self.is_accepting() {
            // it is to end in the next work of a keeper, or is about to
            return;
        }
        for slot in 0..self.senders.len() {
            self.deliver(slot);
        }
        let is_through = self.senders.iter().all(Sender::is_through);
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let is_idle = forwarder.uploads.iter().all(|upload| {
            upload.commands.is_empty() && upload.events.is_empty() && upload.machine.takes_pages()
        });
        if is_through && is_idle && forwarder.flights.is_empty() && forwarder.snapshot().held() == 0
        {
            self.check_counts();
            self.is_drained = true;
            self.stop(5 * SECOND);
        }
    }

    // ---- properties

    /// The accounting is exact, at any time.
    fn check_counts(&mut self) {
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let snapshot = forwarder.snapshot();
        let imbalance = snapshot.imbalance();
        let parked: u64 = forwarder
            .uploads
            .iter()
            .map(|upload| upload.machine.rows_parked())
            .sum();
        let counted = snapshot.held_in(Stage::Spool);
        let answered = (
            snapshot.value(Counter::RowsUploaded),
            forwarder.rows_answered,
        );
        if imbalance != 0 {
            self.fail("the accounting is exact", format!("off by {imbalance}"));
        } else if parked != counted {
            let what = format!("{parked} rows wait on disk, {counted} by the counters");
            self.fail("the accounting is exact", what);
        } else if answered.0 != answered.1 {
            let what = format!(
                "{} uploaded by the counters, {} truly",
                answered.0, answered.1
            );
            self.fail("the accounting is exact", what);
        }
    }

    /// After a stop nothing is held but on disk.
    fn check_stop(&mut self) {
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let snapshot = forwarder.snapshot();
        let held = snapshot.held() - snapshot.held_in(Stage::Spool);
        if held != 0 {
            self.fail(
                "the accounting is exact",
                format!("{held} rows held after a stop"),
            );
        }
    }

    /// Nothing is given up but for reasons that there are.
    fn check_losses(&mut self) {
        let has_spool = self.has_spool();
        let is_misconfigured = self.has_been(Trouble::Misconfigured);
        let plan = &self.plan;
        let is_small = plan.quarantine_bytes < 1 << 20;
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let snapshot = forwarder.snapshot();
        let is_ill = forwarder.disk_failed;
        let is_stopping = forwarder.deadline.is_some();
        let has_stalled = self.stalled_at.is_some();
        let durability = plan.config.spool.durability;
        let may_refuse = plan.poison > 0.0 || is_misconfigured;
        let may_be_long = plan.service_bytes_max < usize::MAX;
        let no_quarantine = !has_spool || is_small || is_ill;
        for (counter, is_possible) in [
            (Counter::RowsLostRejected, may_refuse && no_quarantine),
            (Counter::RowsLostTooLarge, may_be_long && no_quarantine),
            (Counter::RowsQuarantinedRejected, may_refuse),
            (Counter::RowsQuarantinedTooLarge, may_be_long),
            // what a spool without syncs has left after a power cut may look like anything
            (
                Counter::RowsLostDamaged,
                is_ill || self.is_rotten || self.was_cut && durability == Durability::Process,
            ),
            (
                Counter::RowsLostDropped,
                plan.when_full == WhenFull::DropOldest,
            ),
            (
                Counter::RowsLostUnsent,
                is_stopping && (!has_spool || is_ill || has_stalled || plan.space_bytes < 1 << 20),
            ),
        ] {
            let count = snapshot.value(counter);
            if count > 0 && !is_possible {
                let what = format!("{count} rows: {counter:?}");
                self.wrong
                    .get_or_insert(("nothing is lost for no reason", what));
            }
        }
        let damaged = snapshot.value(Counter::RowsLostDamaged);
        if durability == Durability::Power && !self.has_failed && damaged > self.rotten_rows {
            let what = format!("{damaged} rows are damaged, of {} rotten", self.rotten_rows);
            self.wrong
                .get_or_insert(("damage costs what it hits", what));
        }
        // the others are counted when a keeper says so
        self.lost += snapshot.value(Counter::RowsLostUnsent);
        if !has_spool {
            self.lost += snapshot.value(Counter::RowsLostRejected);
            self.lost += snapshot.value(Counter::RowsLostTooLarge);
        }
    }

    fn has_been(&self, trouble: Trouble) -> bool {
        self.service.troubles.iter().any(|(it, ..)| *it == trouble)
    }

    fn check_end(&mut self) {
        // what was under way to the table is there now
        while let Some((_, event)) = self.queue.pop_first() {
            if let Ev::Store(rows) = event {
                self.store(&rows);
            }
        }
        self.check_disk();
        let mut missing = Vec::new();
        for (number, row) in self.truth.rows.iter().enumerate() {
            let is_wrong = row.stored > 0 && (row.is_smuggled || !row.is_taken || row.is_poison);
            if is_wrong {
                let what = format!("row {number}: {row:?}");
                self.wrong.get_or_insert(("only what was sent", what));
            }
            if row.stored > 1 + row.unclear {
                let what = format!("row {number} is there {} times: {row:?}", row.stored);
                self.wrong.get_or_insert(("twice only when unclear", what));
            }
            if row.is_taken && row.stored == 0 && !row.is_quarantined && !row.is_excused {
                missing.push(number as u32);
            }
        }
        if missing.len() as u64 > self.lost {
            let lost = self.lost;
            let safe = |number: &&u32| self.truth.rows[**number as usize].is_safe;
            let safe = missing.iter().filter(safe).count();
            let what = format!(
                "{} rows are gone, {safe} of them were safe, {lost} counted as lost: {}",
                missing.len(),
                brief(&missing)
            );
            self.fail("what is safe arrives", what);
        }
    }

    /// Nothing is left on the disk but what is in quarantine.
    fn check_disk(&mut self) {
        for rows in crate::rest::quarantined(&mut self.disk) {
            match self.truth.rows_in(&rows) {
                Ok(rows) => {
                    for number in rows {
                        self.truth.rows[number as usize].is_quarantined = true;
                        let row = self.truth.rows[number as usize];
                        let is_due = row.is_poison
                            || self.plan.service_bytes_max < usize::MAX
                            || self.has_been(Trouble::Misconfigured);
                        if !is_due {
                            let what = format!("row {number} is in quarantine: {row:?}");
                            self.fail("nothing is lost for no reason", what);
                        }
                    }
                }
                Err(what) => self.fail("content is intact", what),
            }
        }
        let left = crate::rest::waiting(&self.disk, self.plan.segment_bytes);
        if left > 0 {
            let what = format!("{left} rows wait on disk, and all was delivered");
            self.fail("what is settled is gone", what);
        }
    }
}

/// The mistakes that are made on purpose begin anew with each run of the program.
fn plant_again() {
    #[cfg(feature = "planted")]
    cefline::planted::forget();
}

fn brief(rows: &[u32]) -> String {
    match rows {
        [] => "none".into(),
        [one] => format!("{one}"),
        [first, .., last] => format!("{first}..{last} ({})", rows.len()),
    }
}

fn name_of(command: &Command) -> String {
    match command {
        Command::Write(key, body) => {
            format!("Write {key}, {} rows", body.payload.rows_count())
        }
        Command::Quarantine(_, reason) => format!("Quarantine {reason:?}"),
        other => format!("{other:?}"),
    }
}

fn heard(event: &Event) -> String {
    match event {
        Event::Body(place, body, _) => {
            format!("Body {place:?}, {} rows", body.payload.rows_count())
        }
        other => format!("{other:?}"),
    }
}
