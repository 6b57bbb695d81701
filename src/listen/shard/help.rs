//! How a shard gives pieces of a busy connection away, and takes those of others.
//!
//! A connection that is read without a pause, and brings much with each read all the same, is likely to
//! bring more than its shard keeps up with. Then the shard looks whether another one would take a piece:
//! if so, the next frames go into one, else it maps some itself and looks again.
//!
//! What stays as it was: frames of one read that become rows on one shard do so in their order, but for
//! those of a piece that nobody has taken before the shard itself had time for it; and all rows of a read
//! bear the time of that read, unless it had to wait for a page. A frame is counted as received on the
//! shard that makes a row of it, so that the account of each closes by itself. A shard leaves no piece
//! behind: it stops only after it has found none waiting, and none is passed after that. How many frames
//! were passed and how many of those came to an end is counted, and the same at the end of the program.
//!
//! Where rules count what they see nothing is passed; what was passed before a reload brings such rules is
//! counted where it is mapped.

use super::{Link, Shard};
use crate::config::Config;
use crate::config::filter::Action;
use crate::frame::{End, Frame};
use crate::limits::{HELP_PIECES, OWN_BYTES, READ_BYTES_HOT};
use crate::listen::connection::{Fed, Sink};
use crate::listen::exchange::Exchange;
use crate::listen::piece::Piece;
use crate::listen::rounds::Interval;
use crate::listen::shard::desk::Desk;
use crate::map::Source;
use crate::metrics::{Counter, Tally};
use tokio::sync::Notify;

/// Frames to the own desk, and pieces of them to others.
struct Sharing<'s> {
    desk: &'s mut Desk,
    exchange: &'s Exchange,
    wakes: &'s [Notify],
    /// The one being filled.
    piece: Option<Piece>,
    /// Bytes to be mapped here until others are asked again.
    own_bytes: usize,
}

impl Sink for Sharing<'_> {
    fn is_ready(&mut self, tally: &mut Tally) -> bool {
        if self.piece.is_none() && self.own_bytes == 0 {
            self.piece = self.exchange.wanted();
            self.own_bytes = OWN_BYTES;
            if let Some(piece) = &mut self.piece {
                piece.open_for(self.desk.source);
            }
        }
        self.piece.is_some() || self.desk.is_ready(tally)
    }

    fn count(&mut self, end: End, tally: &mut Tally) {
        if self.piece.is_none() {
            self.desk.count(end, tally);
        }
    }

    fn take(&mut self, frame: Frame<'_>, tally: &mut Tally) {
        match &mut self.piece {
            Some(piece) => {
                piece.push(frame);
                if piece.is_full() {
                    self.pass(tally);
                }
            }
            None => {
                self.own_bytes = self.own_bytes.saturating_sub(frame.bytes.len());
                self.desk.take(frame, tally);
            }
        }
    }
}

impl Sharing<'_> {
    /// Leaves what there is of a piece to others.
    fn pass(&mut self, tally: &mut Tally) {
        self.own_bytes = 0;
        let Some(piece) = self.piece.take() else {
            return;
        };
        if piece.is_empty() {
            return self.exchange.give_back(piece);
        }
        tally.add(Counter::PiecesPassed, 1);
        tally.add(Counter::FramesPassed, piece.frames_count());
        if let Some(shard) = self.exchange.pass(piece) {
            self.wakes[shard].notify_one();
        }
    }
}

/// Whether rules count what they see: they do so on each shard, and a connection's messages are counted
/// together.
pub(super) fn is_counting(config: &Config) -> bool {
    config.filters.iter().any(|rule| match rule.action {
        Action::Sample(_) | Action::RateLimit { .. } | Action::Deduplicate { .. } => true,
        Action::Drop
        | Action::Remove(_)
        | Action::Truncate(..)
        | Action::Set(..)
        | Action::Route(_) => false,
    })
}

/// Whether a connection read at this interval, and now so many bytes, is likely to bring more than a core
/// keeps up with.
fn is_hot(interval: Interval, read_bytes: usize) -> bool {
    interval.is_none() && read_bytes >= READ_BYTES_HOT
}

impl Shard {
    /// As [`crate::listen::connection::Connection::feed`], with others' help if that may be.
    pub(super) fn feed_desk(
        &self,
        link: &Link,
        fresh: &[u8],
        desk: &mut Desk,
        tally: &mut Tally,
    ) -> Fed {
        let mut connection = link.connection.borrow_mut();
        let now = desk.source.received.mono;
        if !is_hot(link.interval.get(), fresh.len())
            || self.is_alone.get()
            || self.shared.is_stopping()
        {
            return connection.feed(fresh, now, desk, tally);
        }
        let mut sharing = Sharing {
            desk,
            exchange: &self.shared.exchange,
            wakes: &self.shared.wakes,
            piece: None,
            own_bytes: 0,
        };
        let fed = connection.feed(fresh, now, &mut sharing, tally);
        sharing.pass(tally);
        fed
    }

    /// Maps pieces that others have left, if this shard has nothing to do, or nobody else is at it:
    /// one that was woken for a piece may have got something to do in between.
    pub(super) fn help(&self) {
        let exchange = &self.shared.exchange;
        // whoever waits for a page can map none
        if self.is_stalled() || exchange.is_empty() {
            return;
        }
        let is_helped = exchange.is_helped();
        let _helping = exchange.helping();
        for count in 0..HELP_PIECES {
            if (count > 0 || is_helped) && self.has_turn() {
                return;
            }
            let Some(piece) = exchange.take() else {
                return;
            };
            if !self.map_piece(piece) {
                return;
            }
        }
    }

    fn has_turn(&self) -> bool {
        let next = self.rounds.borrow().next_at();
        next.is_some_and(|at| at <= self.shared.clock.mono())
    }

    /// Makes rows of a piece. False if there is no page; it is kept then.
    fn map_piece(&self, mut piece: Piece) -> bool {
        self.follow_settings();
        let mut desk = self.desk.borrow_mut();
        let mut tally = self.tally.borrow_mut();
        let Source { peer, mut received } = piece.source();
        // rows in a page stand in the order in which they came to it
        received.mono = received.mono.max(desk.source.received.mono);
        desk.source = Source { peer, received };
        let is_done = piece.empty_into(&mut *desk, &mut tally);
        match is_done {
            true => self.shared.exchange.give_back(piece),
            false => drop(self.piece.replace(Some(piece))),
        }
        is_done
    }

    /// Goes on with a piece that had to wait for a page. False if it must wait on.
    pub(super) fn resume_piece(&self) -> bool {
        match self.piece.take() {
            Some(piece) => self.map_piece(piece),
            None => true,
        }
    }

    /// Maps all pieces that wait; without pages their frames are lost, and counted.
    pub(super) async fn drain_pieces(&self) {
        loop {
            let piece = self.piece.take();
            let Some(piece) = piece.or_else(|| self.shared.exchange.take()) else {
                return;
            };
            if !self.map_piece(piece)
                && !self.page_before_deadline().await
                && let Some(mut piece) = self.piece.take()
            {
                piece.abandon(&mut self.tally.borrow_mut());
                self.shared.exchange.give_back(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::READ_BYTES_MAX;

    /// The first window of a socket with the receive buffer of 131,072 bytes that it has by default
    /// (Linux, ip-sysctl). On loopback a read of it brought 95,228 bytes.
    const READ_BYTES_AT_FIRST: usize = 65_535;

    #[test]
    fn a_connection_is_hot_that_is_read_without_a_pause_and_brings_much() {
        let mut interval = Interval::FIRST;
        while !interval.is_none() {
            assert!(!is_hot(interval, READ_BYTES_MAX), "{interval:?}");
            interval = interval.after_read(READ_BYTES_AT_FIRST).unwrap();
        }
        assert!(is_hot(interval, READ_BYTES_AT_FIRST));
        assert!(is_hot(interval, READ_BYTES_HOT));
        assert!(!is_hot(interval, READ_BYTES_HOT - 1));
    }
}
