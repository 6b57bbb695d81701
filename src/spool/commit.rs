//! The writing side of a keeper: as many bodies as wait in one commit, a segment for them, and what
//! to do when there is no room or the disk fails.

use super::WhenFull;
use super::command::{Event, Health, Loss};
use super::disk::Disk;
use super::format::LogId;
use super::keeper::Keeper;
use super::log::Log;
use crate::clock::{Moment, Mono};
use crate::limits::{
    SPOOL_COMMIT_BYTES_MAX, SPOOL_FULL_PAUSE, SPOOL_PAUSE_FIRST, SPOOL_PAUSE_MOST,
};
use std::io;

impl<D: Disk> Keeper<D> {
    pub(super) fn write(&mut self, now: Moment, events: &mut Vec<Event>) {
        while now.mono >= self.retry_at {
            let done = match (&self.health, self.unwritten.is_empty()) {
                (_, false) => self.write_some(now, events),
                // whoever waits for room writes nothing until there is some
                (Health::Full(_), true) if !self.is_closing => {
                    self.advance(now.mono, events).map(|()| self.become_well())
                }
                (_, true) => return,
            };
            match done {
                Ok(()) => {}
                Err(Blocked::Full(why)) => {
                    self.become_unwell(Health::Full(why));
                    self.retry_at = now.mono.plus(SPOOL_FULL_PAUSE);
                }
                Err(Blocked::Failed(error)) => {
                    self.failures += 1;
                    if error.kind() == io::ErrorKind::NotFound {
                        self.begin_anew();
                    }
                    // the first time another segment is tried at once
                    if self.failures > 1 {
                        let doublings = self.failures.min(16) - 2;
                        let pause = SPOOL_PAUSE_FIRST
                            .saturating_mul(1 << doublings)
                            .min(SPOOL_PAUSE_MOST);
                        self.retry_at = now.mono.plus(pause);
                        self.become_unwell(Health::Failing(error.to_string()));
                    }
                }
            }
        }
    }

    /// The log's folder is gone: with what a file system gave up when it failed, or by hand. What is
    /// written next goes to a log of its own; what was safe in this one is read as long as it can be.
    fn begin_anew(&mut self) {
        if let Some(mut log) = self.current.take() {
            log.abandon();
            self.old.push_back(log);
        }
    }

    fn become_well(&mut self) {
        if self.health != Health::Well {
            tracing::info!("the spool takes bodies again");
            self.health = Health::Well;
        }
    }

    fn become_unwell(&mut self, health: Health) {
        if std::mem::discriminant(&self.health) != std::mem::discriminant(&health) {
            match &health {
                Health::Full(why) => tracing::warn!("the spool is full: {why}"),
                Health::Failing(why) => tracing::error!(
                    "the spool cannot be written: {why}; going on in memory, and trying again"
                ),
                Health::Well => {}
            }
        }
        self.health = health;
    }

    /// One commit.
    fn write_some(&mut self, now: Moment, events: &mut Vec<Event>) -> Result<(), Blocked> {
        let log = match &mut self.current {
            Some(log) => log,
            None => {
                let id = LogId(self.random.u128(..));
                let log = Log::create(&mut self.disk, id, now.wall, &self.settings)?;
                self.current.insert(log)
            }
        };
        let mut count = 0;
        let mut bytes = 0;
        for (_, body) in &self.unwritten {
            let more = body.record_bytes();
            if !log.has_room(bytes + more) || count > 0 && bytes + more > SPOOL_COMMIT_BYTES_MAX {
                break;
            }
            bytes += more;
            count += 1;
        }
        if count == 0 {
            if log.is_current_empty() {
                // longer than a segment, which no body can be: it stays in memory
                self.unwritten.pop_front();
                return Ok(());
            }
            return self.advance(now.mono, events);
        }
        let bodies = self.unwritten.iter().take(count).map(|(_, body)| &**body);
        let places = log.append(&mut self.disk, bodies)?;
        for ((key, _), place) in self.unwritten.drain(..count).zip(places) {
            events.push(Event::Written(key, place));
        }
        self.is_settled_loose |= log.give_up_leftovers();
        self.failures = 0;
        self.become_well();
        Ok(())
    }

    /// A new segment for the current log, for whatever it takes.
    fn advance(&mut self, now: Mono, events: &mut Vec<Event>) -> Result<(), Blocked> {
        let segment_bytes = self.settings.segment_bytes as u64;
        loop {
            let Some(log) = &mut self.current else {
                return Ok(());
            };
            if log.has_free() {
                return Ok(log.advance(&mut self.disk)?);
            }
            let space = self.disk.space()?;
            let why = match self.space.reserve(segment_bytes, space) {
                Ok(()) => match log.advance(&mut self.disk) {
                    Ok(()) => return Ok(()),
                    Err(error) => {
                        self.space.give_back(segment_bytes);
                        match Blocked::from(error) {
                            Blocked::Full(why) => why,
                            failed => return Err(failed),
                        }
                    }
                },
                Err(why) => why,
            };
            // what is full of bodies that are done with, is room as well
            if log.retire() {
                self.recycle();
                continue;
            }
            if self.settings.when_full != WhenFull::DropOldest || !self.drop_oldest(now, events) {
                return Err(Blocked::Full(why));
            }
        }
    }

    /// Gives up the oldest segment's bodies. False if there are none.
    fn drop_oldest(&mut self, now: Mono, events: &mut Vec<Event>) -> bool {
        // whatever is there must be known before it can be dropped
        while self.old.iter().any(Log::is_unscanned) {
            if now < self.rescan_at {
                return false;
            }
            self.scan(now, events);
        }
        let mut logs = self.old.iter_mut().chain(&mut self.current);
        let Some(dropped) = logs.find_map(Log::drop_oldest) else {
            return false;
        };
        self.is_settled_loose = true;
        let why = Loss::Dropped;
        events.extend(dropped.into_iter().map(|rows| Event::Lost { rows, why }));
        self.recycle();
        true
    }
}

/// Why a commit could not be made.
enum Blocked {
    Full(String),
    Failed(io::Error),
}

impl From<io::Error> for Blocked {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // a file system without space is full, not broken
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Blocked::Full(error.to_string())
            }
            _ => Blocked::Failed(error),
        }
    }
}
