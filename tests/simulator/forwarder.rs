//! One run of the program: its parts, wired together, and what passes between them.

use crate::disk::SharedDisk;
use crate::plan::{Plan, name_of};
use crate::senders::Pages;
use cefline::clock::{Moment, Mono, Wall};
use cefline::config::{DestinationId, Durability};
use cefline::map::Mapper;
use cefline::metrics::{Counters, Latency, Snapshot, Tally};
use cefline::ring::Ring;
use cefline::spool::disk::Disk;
use cefline::spool::{Command, Event, Keeper, Place, Settings, Space};
use cefline::upload::body_limit::BodyLimit;
use cefline::upload::pace::MinuteLimits;
use cefline::upload::{Destinations, Rules, State, Uploader};
use fastrand::Rng;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// One uploader, its keeper, and what lies between them.
pub(crate) struct Upload {
    pub(crate) machine: Uploader,
    pub(crate) counters: Arc<Counters>,
    pub(crate) keeper: Option<Keeper<SharedDisk>>,
    /// On their way to the keeper...
    pub(crate) commands: VecDeque<Command>,
    /// ...the last of them is there then.
    pub(crate) commands_at: u64,
    pub(crate) events: VecDeque<Event>,
    pub(crate) events_at: u64,
    /// The keeper is in the middle of something until then.
    pub(crate) busy_until: u64,
    /// When they are woken next.
    pub(crate) wake_at: u64,
    pub(crate) keeper_wake_at: u64,
    pub(crate) is_finished: bool,
    // ---- what is known of its bodies beside it
    /// Rows of bodies that were asked to be written.
    pub(crate) written: HashMap<u64, Rc<[u32]>>,
    /// New bodies in memory by key: their length, and where they are on disk too.
    pub(crate) in_memory: BTreeMap<u64, (usize, Option<Place>)>,
    /// New bodies that were not sent yet.
    pub(crate) fresh: HashSet<u64>,
    /// Read back, and not sent yet, by name.
    pub(crate) old: HashMap<[u8; 16], Place>,
    /// Logs that it has written itself.
    pub(crate) own_logs: HashSet<u128>,
    /// Bodies of earlier runs that wait.
    pub(crate) recovered_waiting: HashMap<DestinationId, i64>,
    /// Rows were lost, and nobody has said of which bodies.
    pub(crate) has_lost: bool,
    pub(crate) run: Run,
    /// The longest body that was sent.
    pub(crate) largest: usize,
}

/// Bodies of one kind in a row, while one of the other kind waited all the time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    pub(crate) is_old: bool,
    pub(crate) bytes: usize,
    pub(crate) bodies: u32,
    pub(crate) since: u64,
}

pub(crate) struct Forwarder {
    /// Counts the runs.
    pub(crate) number: u32,
    /// When it began.
    pub(crate) epoch: u64,
    pub(crate) ring: Arc<Ring>,
    pub(crate) destinations: Arc<Destinations>,
    /// So many are in its configuration.
    pub(crate) destinations_count: usize,
    /// Counts its configurations.
    pub(crate) edition: u32,
    pub(crate) state: Arc<State>,
    pub(crate) seen: (u64, u64),
    pub(crate) shard: Arc<Counters>,
    pub(crate) tally: Tally,
    pub(crate) pages: Pages,
    pub(crate) mapper: Option<Mapper>,
    pub(crate) uploads: Vec<Upload>,
    /// Rows of all bodies that this run has had in its hands or on its disk.
    pub(crate) bodies: Vec<Rc<[u32]>>,
    /// Requests under way.
    pub(crate) flights: BTreeMap<u64, Rc<[u32]>>,
    /// Rows of requests that this run knows to be accepted.
    pub(crate) rows_answered: u64,
    /// It is stopping; after that moment nothing is sent.
    pub(crate) deadline: Option<u64>,
    /// The disk has failed it at some time.
    pub(crate) disk_failed: bool,
    /// Not to be asked before then, by rule and by body.
    pub(crate) rule_not_before: Vec<u64>,
    pub(crate) body_not_before: HashMap<[u8; 16], u64>,
    /// Tries of a body in the last second.
    pub(crate) tries: HashMap<[u8; 16], (u64, u32)>,
}

/// So many destinations, with open rules.
fn destinations_of(plan: &Plan, count: usize) -> Arc<Destinations> {
    let rules = || {
        Rules::new(
            plan.rules,
            MinuteLimits::default(),
            BodyLimit::new(&plan.config.batch),
        )
    };
    let further = (1..count).map(|index| (name_of(index), rules()));
    Arc::new(Destinations::new(rules(), further))
}

impl Forwarder {
    pub(crate) fn start(
        plan: &Plan,
        destinations_count: usize,
        number: u32,
        now: u64,
        disk: &SharedDisk,
        latency: &Arc<Latency>,
        random: &mut Rng,
    ) -> Forwarder {
        let count = match number {
            0 => plan.config.runtime.upload_cores,
            _ => random.usize(1..3),
        };
        let ring = Arc::new(Ring::new(
            plan.pages * (cefline::limits::PAGE_BYTES + cefline::limits::PAGE_BYTES_SLACK),
            1,
        ));
        let destinations = destinations_of(plan, destinations_count);
        let state = Arc::new(State::default());
        let space = Arc::new(Space::new(plan.space_bytes, Some(0)));
        let settings = Settings {
            is_power: plan.config.spool.durability == Durability::Power,
            segment_bytes: plan.segment_bytes,
            quarantine_bytes_max: plan.quarantine_bytes / count as u64,
            when_full: plan.when_full,
        };
        let has_spool = plan.config.spool.durability != Durability::Memory;
        let folders = disk.clone().folders().unwrap_or_default();
        let uploads = (0..count)
            .map(|index| {
                let folders: Vec<String> =
                    folders.iter().skip(index).step_by(count).cloned().collect();
                let keeper = has_spool.then(|| {
                    let seed = random.u64(..);
                    Keeper::new(
                        disk.clone(),
                        settings,
                        space.clone(),
                        &folders,
                        seed,
                        |_, _| {},
                    )
                });
                Upload {
                    machine: Uploader::new(
                        &plan.config,
                        ring.clone(),
                        destinations.clone(),
                        state.clone(),
                        latency.clone(),
                        random.u64(..),
                    ),
                    counters: Arc::default(),
                    keeper,
                    commands: VecDeque::new(),
                    commands_at: now,
                    events: VecDeque::new(),
                    events_at: now,
                    busy_until: now,
                    wake_at: u64::MAX,
                    keeper_wake_at: u64::MAX,
                    is_finished: false,
                    written: HashMap::new(),
                    in_memory: BTreeMap::new(),
                    fresh: HashSet::new(),
                    old: HashMap::new(),
                    own_logs: HashSet::new(),
                    recovered_waiting: HashMap::new(),
                    has_lost: false,
                    run: Run::default(),
                    largest: 0,
                }
            })
            .collect();
        Forwarder {
            number,
            epoch: now,
            ring,
            destinations,
            destinations_count,
            edition: 0,
            state,
            seen: (0, 0),
            shard: Arc::default(),
            tally: Tally::default(),
            pages: Pages::default(),
            mapper: plan
                .is_mapped
                .then(|| Mapper::new(&plan.config.map, plan.config.batch.raw_bytes_max - 2)),
            uploads,
            bodies: Vec::new(),
            flights: BTreeMap::new(),
            rows_answered: 0,
            deadline: None,
            disk_failed: false,
            rule_not_before: vec![0; plan.destinations * plan.rules],
            body_not_before: HashMap::new(),
            tries: HashMap::new(),
        }
    }

    /// Goes by a configuration with so many destinations.
    pub(crate) fn reload(&mut self, plan: &Plan, destinations_count: usize, now: Moment) {
        self.destinations = destinations_of(plan, destinations_count);
        self.destinations_count = destinations_count;
        self.edition += 1;
        let mut config = plan.config.clone();
        config.destinations = plan.further(destinations_count);
        for upload in self.uploads.iter_mut().filter(|upload| !upload.is_finished) {
            upload.machine.reload(&config, self.destinations.clone());
        }
        // as the program's own shard does
        self.pages.hand_over_all(&self.ring, now, &mut self.tally);
        self.seen = (0, 0);
        // what rules have asked for is forgotten with them
        self.rule_not_before.fill(0);
        self.body_not_before.clear();
    }

    pub(crate) fn moment(&self, now: u64, wall: i64) -> Moment {
        Moment {
            mono: Mono(now - self.epoch),
            wall: Wall(wall),
        }
    }

    /// On the simulated clock.
    pub(crate) fn at(&self, mono: Mono) -> u64 {
        self.epoch.saturating_add(mono.0)
    }

    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.tally.publish(&self.shard);
        let uploads = self.uploads.iter().map(|upload| &*upload.counters);
        Snapshot::of(uploads.chain([&*self.shard]))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.uploads.iter().all(|upload| upload.is_finished)
    }
}
