//! The thread of a keeper: commands in, events out, and the waits between.

use super::disk::Disk;
use super::keeper::{Command, Event, Health, Keeper};
use super::survey::NoSegment;
use super::{Settings, Space};
use crate::clock::Clock;
use crate::limits::{SPOOL_COMMIT_WAIT, SPOOL_PAUSE_FIRST, SPOOL_PAUSE_MOST};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The uploader's end. What is on its way is bounded by the bodies that the uploader may hold.
#[derive(Debug)]
pub struct Link {
    /// What the uploader asks.
    pub commands: Sender<Command>,
    /// What comes of it.
    pub events: UnboundedReceiver<Event>,
}

/// How all keepers of a program are: the worst of them.
#[derive(Debug, Default)]
pub struct Standing(Mutex<Vec<Health>>);

impl Standing {
    /// For so many keepers.
    #[must_use]
    pub fn new(keepers_count: usize) -> Self {
        Standing(Mutex::new(vec![Health::Well; keepers_count]))
    }

    /// The first that is not well.
    #[must_use]
    pub fn worst(&self) -> Health {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .find(|health| **health != Health::Well)
            .cloned()
            .unwrap_or_default()
    }

    fn set(&self, index: usize, health: &Health) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(index)
            && own != health
        {
            *own = health.clone();
        }
    }
}

/// Logs of earlier runs, or how the disk is that does not tell yet.
pub type Folders = Box<dyn FnMut() -> Result<Vec<String>, Health> + Send>;

/// What a keeper's thread is started with.
pub struct Start<D> {
    /// Which of the keepers it is.
    pub index: usize,
    /// Its disk.
    pub disk: D,
    /// What it goes by.
    pub settings: Settings,
    /// What all keepers share.
    pub space: Arc<Space>,
    /// Gives the logs of earlier runs that it is to empty; asked until it does.
    pub folders: Folders,
    /// The clock.
    pub clock: Clock,
    /// Where it says how it is.
    pub standing: Arc<Standing>,
    /// Called by its thread before anything else.
    pub begin: fn(),
}

/// Starts a keeper. Its thread ends when [`Event::Closed`] was sent, or the link is dropped.
///
/// # Errors
/// The system has no thread for it.
pub fn start<D>(start: Start<D>) -> std::io::Result<(Link, JoinHandle<()>)>
where
    D: Disk + Send + 'static,
    D::File: Send,
{
    let (commands, asked) = commands();
    let (told, events) = events();
    let thread = thread::Builder::new()
        .name(format!("spool-{}", start.index))
        .spawn(move || run(start, &asked, &told))?;
    Ok((Link { commands, events }, thread))
}

#[expect(
    clippy::disallowed_methods,
    reason = "bounded by the bodies that an uploader may hold: a few commands for each"
)]
fn commands() -> (Sender<Command>, Receiver<Command>) {
    channel()
}

#[expect(
    clippy::disallowed_methods,
    reason = "bounded by what was asked: one event for each command, and one for each segment found"
)]
fn events() -> (UnboundedSender<Event>, UnboundedReceiver<Event>) {
    unbounded_channel()
}

fn run<D: Disk>(start: Start<D>, asked: &Receiver<Command>, told: &UnboundedSender<Event>) {
    let Start {
        index,
        disk,
        settings,
        space,
        mut folders,
        clock,
        standing,
        begin,
    } = start;
    begin();
    let mut waiting = Vec::new();
    let Some(folders) = wait_for_disk(&mut folders, &mut waiting, asked, told, clock, |health| {
        standing.set(index, &health);
    }) else {
        return;
    };
    let strange = |path: &str, why: NoSegment| {
        tracing::warn!(path, "a file in the spool {why}; it is left alone");
    };
    let seed = fastrand::u64(..);
    let mut keeper = Keeper::new(disk, settings, space, &folders, seed, strange);
    let mut commands = waiting;
    let mut events = Vec::new();
    loop {
        if commands.is_empty() && !collect(&keeper, asked, &mut commands, clock) {
            return;
        }
        let now = clock.now();
        for command in commands.drain(..) {
            keeper.take(command, now, &mut events);
        }
        keeper.work(now, &mut events);
        standing.set(index, keeper.health());
        for event in events.drain(..) {
            let is_last = matches!(event, Event::Closed);
            if told.send(event).is_err() || is_last {
                return;
            }
        }
    }
}

/// Stands in for a keeper until the disk can be used: nothing is made safe, what is to be written
/// gathers in `waiting`. Gives the logs of earlier runs; nothing if the program has ended first.
fn wait_for_disk(
    folders: &mut Folders,
    waiting: &mut Vec<Command>,
    asked: &Receiver<Command>,
    told: &UnboundedSender<Event>,
    clock: Clock,
    tell: impl Fn(Health),
) -> Option<Vec<String>> {
    let mut pause = SPOOL_PAUSE_FIRST;
    loop {
        match folders() {
            Ok(folders) => return Some(folders),
            Err(health) => tell(health),
        }
        let until = clock.mono().plus(pause);
        pause = pause.saturating_mul(2).min(SPOOL_PAUSE_MOST);
        loop {
            let event = match asked.recv_timeout(until.since(clock.mono())) {
                Ok(command @ Command::Write(..)) => {
                    waiting.push(command);
                    continue;
                }
                Ok(Command::Forget(key)) => {
                    waiting.retain(
                        |command| !matches!(command, Command::Write(other, _) if *other == key),
                    );
                    continue;
                }
                // of places, and there are none
                Ok(Command::Settle(_) | Command::Park(_)) => continue,
                Ok(Command::Read(wanted)) => Event::Nothing(wanted),
                Ok(Command::Quarantine(body, reason)) => Event::Quarantined {
                    rows: body.payload.rows_count(),
                    reason,
                    is_kept: false,
                },
                Ok(Command::Close) => Event::Closed,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            let is_last = matches!(event, Event::Closed);
            if told.send(event).is_err() || is_last {
                return None;
            }
        }
    }
}

/// Waits for commands, or until there is other work. A body to be written waits a moment for
/// others. False if nobody can command any more.
fn collect<D: Disk>(
    keeper: &Keeper<D>,
    asked: &Receiver<Command>,
    commands: &mut Vec<Command>,
    clock: Clock,
) -> bool {
    let mut commit_at = None;
    loop {
        let now = clock.mono();
        let until = match commit_at {
            // those who go on asking do not put it off
            Some(at) if now >= at => return true,
            Some(at) => Some(at),
            None => keeper.wake_at(),
        };
        let command = match until {
            Some(at) => asked.recv_timeout(at.since(now)),
            None => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match command {
            Ok(command) => {
                let is_write = matches!(command, Command::Write(..));
                commands.push(command);
                match (is_write, commit_at) {
                    (true, None) => commit_at = Some(now.plus(SPOOL_COMMIT_WAIT)),
                    (true, Some(_)) => {}
                    // nothing is gained by waiting
                    (false, None) => return true,
                    (false, Some(_)) => {}
                }
            }
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return !commands.is_empty(),
        }
    }
}
