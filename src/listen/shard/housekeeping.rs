//! What a shard does once a second: it says how much it has to do, gives a connection away if that is
//! clearly more than another shard has, and closes connections whose unfinished frames are too old
//! or too many.

use super::{Link, Shard};
use crate::clock::Mono;
use crate::listen::Visitor;
use crate::listen::connection::{Connection, Sink};
use crate::listen::placement;
use crate::metrics::Counter;
use std::rc::Rc;
use std::time::Duration;

impl Shard {
    /// Once a second: loads, unfinished frames that are too old or too many.
    pub(super) fn keep_house(&self, elapsed: Duration, now: Mono) {
        let rate = |bytes: u64| bytes * 1_000 / (elapsed.as_millis() as u64).max(1);
        let rates: Vec<(u64, u64)> = self
            .links
            .borrow()
            .iter()
            .map(|(number, link)| (*number, rate(link.bytes.take())))
            .collect();
        let loads = &self.shared.loads;
        loads[self.index].measure(rates.iter().map(|(_, bytes)| bytes).sum());
        if let Some((number, to)) = placement::relieve(self.index, loads, rates.into_iter()) {
            self.move_away(number, to);
        }
        if self.held_bytes.get() > 0 {
            self.close_overdue(now);
        }
    }

    /// Gives a connection to another shard, with the bytes that it holds.
    fn move_away(&self, number: u64, to: usize) {
        let Some(link) = self.links.borrow().get(&number).cloned() else {
            return;
        };
        // one that waits for a page holds frames that only its own shard knows to go on with
        if !link.is_awake.get() || self.stalled.borrow().contains(&number) {
            return;
        }
        let Ok(stream) = link.socket.detach() else {
            return;
        };
        let Ok(permit) = self.shared.doors[to].try_reserve() else {
            return;
        };
        // only to have something in its place
        let listen = &self.config.borrow().listen;
        let fresh = Connection::new(listen.framing, listen.frame_bytes_max);
        self.hold(link.connection.borrow().held_bytes(), 0);
        let connection = link.connection.replace(fresh);
        self.shared.loads[to].connect();
        self.tally.borrow_mut().add(Counter::ConnectionsMoved, 1);
        self.forget(number, &link);
        permit.send(Visitor {
            stream,
            peer: link.peer,
            connection,
        });
    }

    /// Closes connections whose frame was begun too long ago, and those with the oldest unfinished
    /// frames while all together hold more than they may.
    fn close_overdue(&self, now: Mono) {
        let listen = &self.config.borrow().clone().listen;
        let budget = listen.partial_bytes_max / self.shared.loads.len().max(1);
        let mut holding: Vec<(Mono, u64, Rc<Link>)> = self
            .links
            .borrow()
            .iter()
            .filter_map(|(number, link)| {
                let since = link.connection.borrow().held_since()?;
                Some((since, *number, link.clone()))
            })
            .collect();
        holding.sort_by_key(|(since, number, _)| (*since, *number));
        for (since, number, link) in holding {
            if self.stalled.borrow().contains(&number) {
                continue;
            }
            let why = if now.since(since) > listen.partial_age_max {
                Counter::ConnectionsClosedByStall
            } else if self.held_bytes.get() > budget {
                Counter::ConnectionsClosedByBudget
            } else {
                return;
            };
            // without a page it cannot be finished: it has its turn again in a second
            let has_page = self
                .desk
                .borrow_mut()
                .is_ready(&mut self.tally.borrow_mut());
            if !has_page {
                return;
            }
            if let Some(withheld) = self.shared.notices.unfinished.allow(now) {
                tracing::warn!(peer = %link.peer, withheld, "closing a connection with an unfinished frame");
            }
            self.finish(number, &link, why);
        }
    }
}
