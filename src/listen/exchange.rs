//! Where shards that have too much to do leave pieces of their connections for those that have nothing.
//!
//! ```text
//! busy shard  --- pass --->  full  --- take ------->  free shard
//! busy shard  <-- wanted --  free  <-- give back ---  free shard
//! ```
//!
//! No more pieces wait than there are shards to take them soon, so that a piece is mapped at once or
//! not passed at all; and there are only so many ([`Exchange::new`]), which bounds their memory. Two
//! queues without locks, as with pages.

use super::piece::Piece;
use crate::limits::PIECES_PER_CORE;
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The pieces of all shards.
#[derive(Debug)]
pub(super) struct Exchange {
    full: ArrayQueue<Piece>,
    free: ArrayQueue<Piece>,
    /// Of each shard: it sleeps and has nothing to do.
    are_free: Vec<AtomicBool>,
    /// Shards that take pieces just now.
    helping_count: AtomicUsize,
}

/// Counts a shard that takes pieces, for as long as it does.
pub(super) struct Helping<'e>(&'e AtomicUsize);

impl Drop for Helping<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Exchange {
    /// For so many shards; for one alone it has no pieces.
    pub(super) fn new(shards_count: usize) -> Self {
        let pieces_count = match shards_count {
            0 | 1 => 0,
            _ => PIECES_PER_CORE * shards_count,
        };
        let free = ArrayQueue::new(pieces_count.max(1));
        for _ in 0..pieces_count {
            let _ = free.push(Piece::default());
        }
        Exchange {
            full: ArrayQueue::new(pieces_count.max(1)),
            free,
            are_free: (0..shards_count).map(|_| AtomicBool::new(false)).collect(),
            helping_count: AtomicUsize::new(0),
        }
    }

    /// A piece to fill, if a shard would take it at once.
    pub(super) fn wanted(&self) -> Option<Piece> {
        let free_count = self.are_free.iter().filter(|is| is.load(Ordering::SeqCst));
        let hands = free_count.count() + self.helping_count.load(Ordering::SeqCst);
        match self.full.len() < hands {
            true => self.free.pop(),
            false => None,
        }
    }

    /// Leaves a piece to whoever takes it; gives the shard that must be woken for it, if one must.
    pub(super) fn pass(&self, piece: Piece) -> Option<usize> {
        let refused = self.full.push(piece).is_err();
        assert!(!refused, "there are as many places as pieces");
        // taken back by one of those who pass: each wakes another
        (0..self.are_free.len()).find(|shard| self.are_free[*shard].swap(false, Ordering::SeqCst))
    }

    /// A piece to map, if one waits.
    pub(super) fn take(&self) -> Option<Piece> {
        self.full.pop()
    }

    /// Takes back a piece that is done with.
    pub(super) fn give_back(&self, mut piece: Piece) {
        piece.reset();
        let refused = self.free.push(piece).is_err();
        assert!(!refused, "there are as many places as pieces");
    }

    /// True if no piece waits.
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    /// Says that a shard goes to sleep with nothing to do. It must look once more whether a piece
    /// waits before it does: who passes one later wakes it.
    pub(super) fn set_free(&self, shard: usize, is_free: bool) {
        self.are_free[shard].store(is_free, Ordering::SeqCst);
    }

    /// True if a shard takes pieces just now: it looks for a next one before it sleeps.
    pub(super) fn is_helped(&self) -> bool {
        self.helping_count.load(Ordering::SeqCst) > 0
    }

    /// To be kept while pieces are taken.
    pub(super) fn helping(&self) -> Helping<'_> {
        self.helping_count.fetch_add(1, Ordering::SeqCst);
        Helping(&self.helping_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_alone_is_never_asked_for_pieces() {
        let exchange = Exchange::new(1);
        exchange.set_free(0, true);
        let _helping = exchange.helping();
        assert!(exchange.wanted().is_none());
    }

    #[test]
    fn no_more_pieces_wait_than_shards_that_take_them() {
        let exchange = Exchange::new(3);
        assert!(exchange.wanted().is_none());
        exchange.set_free(1, true);
        exchange.set_free(2, true);
        // the first wakes one, the second the other; then both are on their way
        assert_eq!(exchange.pass(exchange.wanted().unwrap()), Some(1));
        assert!(exchange.wanted().is_none());
        let helping = exchange.helping();
        assert_eq!(exchange.pass(exchange.wanted().unwrap()), Some(2));
        assert!(exchange.wanted().is_none());
        let taken = exchange.take().unwrap();
        assert!(exchange.wanted().is_none());
        let _more = exchange.take().unwrap();
        assert!(exchange.is_empty());
        // who maps one may have the next one waiting
        assert!(exchange.pass(exchange.wanted().unwrap()).is_none());
        drop(helping);
        assert!(exchange.wanted().is_none());
        exchange.give_back(taken);
    }

    #[test]
    fn pieces_are_never_more_than_were_made() {
        let exchange = Exchange::new(2);
        let _helping: Vec<_> = (0..100).map(|_| exchange.helping()).collect();
        let pieces: Vec<_> = std::iter::from_fn(|| exchange.wanted()).collect();
        assert_eq!(pieces.len(), 2 * PIECES_PER_CORE);
        pieces
            .into_iter()
            .for_each(|piece| exchange.give_back(piece));
        assert!(exchange.wanted().is_some());
    }
}
