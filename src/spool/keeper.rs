//! The keeper: carries out what an uploader asks of its spool, and says what came of it.
//!
//! ```text
//! Write --> unwritten --commit: as many as wait, one sync--> Written
//! Park  --> waits on disk --Read, oldest first, old logs before ours--> Body | Damaged
//! Settle -> settled bits --written at once, synced with the next commit or within a second
//! ```
//!
//! A failed write or sync ends its segment; the bodies are in memory still and go into a new one.
//! A second failure in a row makes the keeper pause: nothing is safe then but what was, bodies stay
//! in memory, and it tries again. A disk that cannot be read makes reads wait; a sector that cannot
//! be read costs its body. Nothing else keeps it from going on.
//!
//! Pure: disk, time and randomness are arguments.

pub use super::command::{Command, Event, Health, Key, Loss, Wanted};

use super::disk::Disk;
use super::fetch::{Damage, Fetched};
use super::format::LogId;
use super::log::{Log, Place};
use super::quarantine::{Quarantine, Reason};
use super::record::Body;
use super::scan::Found;
use super::segment::Rows;
use super::survey::NoSegment;
use super::{Settings, Space};
use crate::clock::{Moment, Mono};
use crate::config::DestinationId;
use crate::limits::{
    SPOOL_LOOKS_MAX, SPOOL_PAUSE_FIRST, SPOOL_PAUSE_MOST, SPOOL_SETTLED_SYNC_PAUSE,
};
use crate::planted::{Bug, is_planted};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A keeper of one uploader's spool.
#[derive(Debug)]
pub struct Keeper<D: Disk> {
    pub(super) disk: D,
    pub(super) settings: Settings,
    pub(super) space: Arc<Space>,
    pub(super) random: fastrand::Rng,
    /// Of earlier runs, oldest first.
    pub(super) old: VecDeque<Log<D::File>>,
    pub(super) current: Option<Log<D::File>>,
    pub(super) quarantine: Quarantine,
    pub(super) unwritten: VecDeque<(Key, Box<Body>)>,
    /// Asked for and not answered.
    pub(super) reads: VecDeque<Wanted>,
    pub(super) is_closing: bool,
    pub(super) health: Health,
    pub(super) failures: u32,
    pub(super) retry_at: Mono,
    /// What earlier runs have left could not be read, and is looked at again then.
    pub(super) rescan_at: Mono,
    /// All logs of earlier runs were looked at, and that was told.
    pub(super) has_scanned: bool,
    /// Something could not be read, and is tried again then.
    pub(super) reread_at: Option<Mono>,
    pub(super) settled_synced_at: Mono,
    /// Settled since then.
    pub(super) is_settled_loose: bool,
    /// What is settled could not be written down, and is tried again then.
    pub(super) rewrite_at: Mono,
}

impl<D: Disk> Keeper<D> {
    /// A keeper that empties the logs in `folders`, which are those of earlier runs, and begins
    /// one of its own with the first body. `strange` is told of files that are no segments.
    pub fn new(
        mut disk: D,
        settings: Settings,
        space: Arc<Space>,
        folders: &[String],
        seed: u64,
        mut strange: impl FnMut(&str, NoSegment),
    ) -> Self {
        let mut old: VecDeque<Log<D::File>> = VecDeque::new();
        for folder in folders {
            let Some(id) = Log::<D::File>::id_of(folder) else {
                continue;
            };
            // a copy of a folder: what is settled in one of them could not be told from the other
            if old.iter().any(|log| log.id() == id) {
                strange(folder, NoSegment::Twice);
                continue;
            }
            match Log::open(&mut disk, id, folder, &settings, &mut strange) {
                Ok(log) => {
                    space.take(log.unscanned_bytes());
                    old.push_back(log);
                }
                Err(error) => strange(folder, NoSegment::Unreadable(error)),
            }
        }
        let quarantine = Quarantine::new(settings.quarantine_bytes_max);
        Keeper {
            disk,
            settings,
            space,
            random: fastrand::Rng::with_seed(seed),
            old,
            current: None,
            quarantine,
            unwritten: VecDeque::new(),
            reads: VecDeque::new(),
            is_closing: false,
            rescan_at: Mono(0),
            has_scanned: false,
            health: Health::Well,
            failures: 0,
            retry_at: Mono(0),
            reread_at: None,
            settled_synced_at: Mono(0),
            is_settled_loose: false,
            rewrite_at: Mono(0),
        }
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The same, to change it under the keeper.
    pub fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }

    /// How the spool is.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Bodies that wait to be written.
    #[must_use]
    pub fn unwritten_count(&self) -> usize {
        self.unwritten.len()
    }

    /// Takes one command in. What it comes to is known after [`Keeper::work`].
    pub fn take(&mut self, command: Command, now: Moment, events: &mut Vec<Event>) {
        match command {
            Command::Write(key, body) => self.unwritten.push_back((key, body)),
            Command::Forget(key) => self.unwritten.retain(|(other, _)| *other != key),
            Command::Settle(place) => self.settle(place),
            Command::Park(place) => {
                if let Some(log) = self.log(place) {
                    log.park(place);
                }
            }
            Command::Read(wanted) => self.reads.push_back(wanted),
            Command::Quarantine(body, reason) => self.keep(&body, reason, now, events),
            Command::Close => self.is_closing = true,
        }
    }

    /// Does what is to be done: commits, reads, one look at a segment of an earlier run.
    pub fn work(&mut self, now: Moment, events: &mut Vec<Event>) {
        self.write(now, events);
        self.write_settled(now);
        if !self.is_closing {
            self.scan(now.mono, events);
            if !self.has_scanned && !self.old.iter().any(Log::is_unscanned) {
                self.has_scanned = true;
                events.push(Event::Scanned);
            }
        }
        self.read(now, events);
        self.recycle();
        let is_stuck = self.health != Health::Well && now.mono < self.retry_at;
        if self.is_closing && (self.unwritten.is_empty() || is_stuck) {
            self.close(events);
        }
    }

    /// When [`Keeper::work`] has something to do although no command comes.
    #[must_use]
    pub fn wake_at(&self) -> Option<Mono> {
        if !self.has_scanned && self.rescan_at == Mono(0) {
            return Some(Mono(0));
        }
        let rescan = (!self.has_scanned).then_some(self.rescan_at);
        let has_retry = !self.unwritten.is_empty() || matches!(self.health, Health::Full(_));
        let retry = has_retry.then_some(self.retry_at);
        let sync = self.is_settled_loose.then(|| {
            let due = self.settled_synced_at.plus(SPOOL_SETTLED_SYNC_PAUSE);
            due.max(self.rewrite_at)
        });
        let reread = self.reread_at.filter(|_| !self.reads.is_empty());
        [retry, sync, reread, rescan].into_iter().flatten().min()
    }

    fn log(&mut self, place: Place) -> Option<&mut Log<D::File>> {
        let mut logs = self.old.iter_mut().chain(&mut self.current);
        logs.find(|log| log.id() == place.log)
    }

    fn settle(&mut self, place: Place) {
        if self.log(place).is_some_and(|log| log.settle(place)) {
            self.is_settled_loose = true;
        }
    }

    fn keep(&mut self, body: &Body, reason: Reason, now: Moment, events: &mut Vec<Event>) {
        let rows = body.payload.rows_count();
        let id = LogId(self.random.u128(..));
        let disk = &mut self.disk;
        let kept = self
            .quarantine
            .keep(disk, &self.space, body, reason, id, now.wall);
        if let Err(error) = &kept {
            tracing::error!(%error, "a row could not be put into quarantine: it is lost");
        }
        events.push(Event::Quarantined {
            rows,
            reason,
            is_kept: kept.is_ok(),
        });
    }

    fn write_settled(&mut self, now: Moment) {
        if !self.is_settled_loose || now.mono < self.rewrite_at {
            return;
        }
        let is_due = now.mono >= self.settled_synced_at.plus(SPOOL_SETTLED_SYNC_PAUSE);
        let is_power = self.settings.is_power;
        let mut has_failed = false;
        for log in self.old.iter_mut().chain(&mut self.current) {
            let written = match is_power && is_due {
                true => log.sync_settled(&mut self.disk),
                false => log.write_settled(&mut self.disk),
            };
            // what is lost with it is that bodies may be sent twice
            if let Err(error) = written {
                tracing::debug!(%error, "what is settled could not be written down");
                has_failed = true;
            }
        }
        if has_failed {
            self.rewrite_at = now.mono.plus(SPOOL_PAUSE_MOST);
        } else if is_due {
            self.is_settled_loose = false;
        }
        if is_due {
            self.settled_synced_at = now.mono;
        }
    }

    pub(super) fn scan(&mut self, now: Mono, events: &mut Vec<Event>) {
        if now < self.rescan_at {
            return;
        }
        let Some(log) = self.old.iter_mut().find(|log| log.is_unscanned()) else {
            return;
        };
        match log.scan_next(&mut self.disk) {
            None => {}
            Some(Ok(found)) => {
                self.space.give_back(found.given_back);
                self.is_settled_loose |= found.has_news;
                let waiting = log.newest_waiting();
                tell(found, waiting, events);
            }
            Some(Err((known, NoSegment::Unreadable(why))))
                if known.failed_looks < SPOOL_LOOKS_MAX =>
            {
                tracing::warn!(path = known.path, %why, "a segment of the spool is tried again");
                let pause = SPOOL_PAUSE_FIRST.saturating_mul(1 << known.failed_looks.min(16));
                self.rescan_at = now.plus(pause.min(SPOOL_PAUSE_MOST));
                log.look_again(known);
            }
            Some(Err((known, why))) => {
                // it is counted no more, as those that are found strange at first
                self.space.give_back(known.bytes);
                tracing::warn!(
                    path = known.path,
                    "a file in the spool {why}; it is left alone"
                );
            }
        }
    }

    fn read(&mut self, now: Moment, events: &mut Vec<Event>) {
        if !self.reads.is_empty() && self.reread_at.is_some_and(|at| now.mono >= at) {
            self.reread_at = None;
            for log in self.old.iter_mut().chain(&mut self.current) {
                log.try_again();
            }
        }
        let mut waits = VecDeque::new();
        while let Some(wanted) = self.reads.pop_front() {
            match self.fetch(&wanted, now) {
                Some(Fetched::Body(place, body)) => {
                    let waited = now.wall.0.saturating_sub(body.sealed_at.0);
                    let waited = Duration::from_nanos(u64::try_from(waited).unwrap_or(0));
                    events.push(Event::Body(place, body, waited));
                }
                Some(Fetched::Damaged(damage)) => {
                    self.damaged(&damage, Loss::Damaged, now, events);
                    self.reads.push_front(wanted);
                }
                Some(Fetched::Torn(damage)) => {
                    self.damaged(&damage, Loss::Torn, now, events);
                    self.reads.push_front(wanted);
                }
                Some(Fetched::Unreadable(error)) => {
                    if self.reread_at.is_none() {
                        tracing::error!(%error, "the spool cannot be read; trying again");
                        self.reread_at = Some(now.mono.plus(SPOOL_PAUSE_MOST));
                    }
                    self.reads.push_front(wanted);
                }
                // the next look, or the next try, may find some
                None if !self.is_closing && self.may_find_more() => {
                    waits.push_back(wanted);
                }
                None => events.push(Event::Nothing(wanted)),
            }
        }
        self.reads = waits;
    }

    fn may_find_more(&self) -> bool {
        self.reread_at.is_some() || self.old.iter().any(Log::is_unscanned)
    }

    /// The oldest body that waits and is wanted. Ours come after those of the logs that were not looked at yet.
    fn fetch(&mut self, wanted: &Wanted, now: Moment) -> Option<Fetched> {
        let is_unscanned = self.old.iter().any(Log::is_unscanned);
        let disk = &mut self.disk;
        let ours = self.current.iter_mut().filter(|_| !is_unscanned);
        let mut logs = self.old.iter_mut().chain(ours);
        match is_planted(Bug::YoungestFirst) {
            true => logs.rev().find_map(|log| log.fetch(disk, wanted, now.mono)),
            false => logs.find_map(|log| log.fetch(disk, wanted, now.mono)),
        }
    }

    fn damaged(&mut self, damage: &Damage, why: Loss, now: Moment, events: &mut Vec<Event>) {
        let Damage { place, rows, bytes } = damage;
        tracing::error!(
            log = format!("{:032x}", place.log.0),
            segment = place.segment,
            block = place.block,
            rows = rows.count,
            "a body in the spool is damaged: its rows are lost"
        );
        let id = LogId(self.random.u128(..));
        // evidence only: the rows are counted as lost, whether it can be kept or not
        if let Err(error) =
            self.quarantine
                .keep_damaged(&mut self.disk, &self.space, bytes, id, now.wall)
        {
            tracing::debug!(%error, "what is left of it could not be kept");
        }
        events.push(Event::Lost { rows: *rows, why });
        self.settle(*place);
    }

    pub(super) fn recycle(&mut self) {
        let Self { disk, space, .. } = self;
        for log in self.old.iter_mut().chain(&mut self.current) {
            let mut given_back = 0;
            // what cannot be freed stays as it is, and is tried again
            if let Err(error) = log.recycle(disk, &mut given_back) {
                tracing::debug!(%error, "a segment could not be freed");
            }
            space.give_back(given_back);
        }
        self.old.retain(|log| {
            let is_empty = log.is_empty();
            if is_empty && let Err(error) = disk.remove_folder(log.folder()) {
                // there is a file that is not ours
                tracing::debug!(%error, folder = log.folder(), "a folder of the spool stays");
            }
            !is_empty
        });
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        self.is_closing = false;
        for log in self.old.iter_mut().chain(&mut self.current) {
            if let Err(error) = log.sync_settled(&mut self.disk) {
                tracing::warn!(%error, "what is settled could not be written down: rows may be sent twice");
            }
        }
        self.recycle();
        if let Some(log) = &mut self.current {
            // the next run begins a log of its own
            let _ = log.release_free(&mut self.disk);
            if log.is_settled() && log.remove_all(&mut self.disk).is_ok() {
                let _ = self.disk.remove_folder(log.folder());
            }
        }
        events.push(Event::Closed);
    }
}

/// Says what a look at a segment found.
fn tell(found: Found, waiting: Vec<(usize, Rows)>, events: &mut Vec<Event>) {
    for (bodies, rows) in waiting {
        let bodies = bodies as u64;
        events.push(Event::Recovered { bodies, rows });
    }
    for (count, why) in [
        (found.rows_damaged, Loss::DamagedBefore),
        (found.rows_torn, Loss::TornBefore),
    ] {
        if count > 0 {
            // nobody can tell where they were to go
            let destination = DestinationId::SENTINEL;
            let rows = Rows { count, destination };
            events.push(Event::Lost { rows, why });
        }
    }
}
