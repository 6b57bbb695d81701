//! Pages from the shards to the uploaders and back, without locks.
//!
//! ```text
//! shard  --- hand over --->  full  --- take ------->  uploader
//! shard  <-- claim -------   free  <-- give back ---  uploader
//! ```
//!
//! Bounded queues (crossbeam's `ArrayQueue`) hold a fixed number of pages, made once: their
//! number is the ceiling on memory between receipt and compression. A page that was never used takes
//! no memory yet, and is taken only when no other is free: memory follows the load, and the few
//! pages of a small one stay in the caches of the cores. A shard that finds no free
//! page stops reading, and TCP carries that to the senders; nothing is dropped. A whole page
//! crosses at once, so the price of the crossing is shared by some 250 rows.

use crate::clock::Mono;
use crate::limits::{PAGE_BYTES, PAGE_BYTES_SLACK, SHARD_PAGES_MOST};
use crate::page::RowPage;
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// The two queues and who waits on them. `tokio::sync::Notify` belongs to no runtime: shards await
/// it on glommio, uploaders on tokio.
#[derive(Debug)]
pub struct Ring {
    /// Rows on their way; as long as there are pages, so that handing over cannot fail.
    full: ArrayQueue<RowPage>,
    /// Empty pages that were used before.
    free: ArrayQueue<RowPage>,
    /// Pages that were never used.
    fresh: ArrayQueue<RowPage>,
    /// Wakes one uploader for each page handed over.
    full_rings: Notify,
    /// Wakes shards that wait for a page.
    free_rings: Notify,
    /// Shards that may still hand over.
    shards_open: AtomicUsize,
    /// Shards in [`Ring::claimed`].
    shards_waiting: AtomicUsize,
    /// So many pages must be free before a shard that waits goes on: one wake-up for many pages.
    free_enough: usize,
}

/// Counts a shard that waits, for as long as it does.
struct Waiting<'r>(&'r AtomicUsize);

impl<'r> Waiting<'r> {
    fn on(shards_waiting: &'r AtomicUsize) -> Self {
        shards_waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(shards_waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ring {
    /// A ring of as many pages as fit into `pages_bytes`, filled by `shards_count` shards. Each
    /// shard gets at least two pages, one to fill while the other travels.
    #[must_use]
    pub fn new(pages_bytes: usize, shards_count: usize) -> Self {
        let pages_count =
            (pages_bytes / (PAGE_BYTES + PAGE_BYTES_SLACK)).max(2 * shards_count.max(1));
        let fresh = ArrayQueue::new(pages_count);
        for _ in 0..pages_count {
            let _ = fresh.push(RowPage::new());
        }
        Ring {
            full: ArrayQueue::new(pages_count),
            free: ArrayQueue::new(pages_count),
            fresh,
            full_rings: Notify::new(),
            free_rings: Notify::new(),
            shards_open: AtomicUsize::new(shards_count),
            shards_waiting: AtomicUsize::new(0),
            free_enough: free_enough(pages_count, shards_count),
        }
    }

    /// How many pages go round.
    #[must_use]
    pub fn pages_count(&self) -> usize {
        self.full.capacity()
    }

    /// How many pages wait for an uploader.
    #[must_use]
    pub fn pages_waiting(&self) -> usize {
        self.full.len()
    }

    /// How many shards wait for a page, and so their senders.
    #[must_use]
    pub fn shards_waiting(&self) -> usize {
        self.shards_waiting.load(Ordering::Relaxed)
    }

    /// An empty page, if there is one.
    #[must_use]
    pub fn claim(&self) -> Option<RowPage> {
        self.free.pop().or_else(|| self.fresh.pop())
    }

    fn is_enough_free(&self) -> bool {
        self.free.len() + self.fresh.len() >= self.free_enough
    }

    /// An empty page, once so many are free that going on is worth a wake-up. All who wait then go
    /// on: whoever comes second would else wait for as many again, and others could take them all
    /// each time.
    pub async fn claimed(&self) -> RowPage {
        let _waiting = Waiting::on(&self.shards_waiting);
        let mut is_enough = false;
        loop {
            // made before the look, so that pages given back in between are not missed
            let rings = self.free_rings.notified();
            is_enough |= self.is_enough_free();
            if is_enough && let Some(page) = self.claim() {
                return page;
            }
            rings.await;
            is_enough = true;
        }
    }

    /// Sends a page to the uploaders.
    pub fn hand_over(&self, mut page: RowPage, now: Mono) {
        page.hand_over(now);
        let refused = self.full.push(page).is_err();
        assert!(!refused, "there are as many places in the ring as pages");
        self.full_rings.notify_one();
    }

    /// The next page, if one waits.
    #[must_use]
    pub fn take(&self) -> Option<RowPage> {
        self.full.pop()
    }

    /// Waits until a page may be there, or a shard has closed. What happens after this call and
    /// before the first poll is not missed: call it, look with [`Ring::take`], then wait.
    pub fn ring(&self) -> impl Future<Output = ()> {
        self.full_rings.notified()
    }

    /// Gives a page back after its rows were taken over.
    pub fn give_back(&self, mut page: RowPage) {
        page.reset();
        let refused = self.free.push(page).is_err();
        assert!(!refused, "there are as many places in the ring as pages");
        if self.is_enough_free() {
            self.free_rings.notify_waiters();
        }
    }

    /// A shard will hand over no more.
    pub fn close_shard(&self) {
        self.shards_open.fetch_sub(1, Ordering::Release);
        self.full_rings.notify_waiters();
        self.full_rings.notify_one();
    }

    /// True when no shard can hand over and nothing waits.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shards_open.load(Ordering::Acquire) == 0 && self.full.is_empty()
    }
}

/// An eighth of the pages that are free for certain once the uploaders have emptied the ring: those
/// that shards, while they wait, cannot be holding.
fn free_enough(pages_count: usize, shards_count: usize) -> usize {
    let held_most = shards_count.saturating_mul(SHARD_PAGES_MOST);
    (pages_count.saturating_sub(held_most) / 8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_gives_out_exactly_its_pages_and_takes_them_back() {
        let ring = Ring::new(4 * (PAGE_BYTES + PAGE_BYTES_SLACK), 1);
        assert_eq!(ring.pages_count(), 4);
        let pages: Vec<_> = std::iter::from_fn(|| ring.claim()).collect();
        assert_eq!(pages.len(), 4);
        for page in pages {
            ring.hand_over(page, Mono(1));
        }
        assert_eq!(ring.pages_waiting(), 4);
        assert!(ring.claim().is_none());
        while let Some(page) = ring.take() {
            ring.give_back(page);
        }
        assert!(ring.claim().is_some());
    }

    #[test]
    fn a_page_that_was_used_is_used_again_before_a_fresh_one() {
        let ring = Ring::new(4 * (PAGE_BYTES + PAGE_BYTES_SLACK), 1);
        for _ in 0..10 {
            let pages = [ring.claim().unwrap(), ring.claim().unwrap()];
            assert_eq!(ring.fresh.len(), 2);
            for page in pages {
                ring.give_back(page);
            }
        }
    }

    #[test]
    fn fresh_pages_are_free_for_a_shard_that_would_wait() {
        let ring = Ring::new(64 * (PAGE_BYTES + PAGE_BYTES_SLACK) + 1, 1);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut claimed = std::pin::pin!(ring.claimed());
        assert!(claimed.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn a_shard_that_waits_goes_on_when_an_eighth_of_the_pages_is_free() {
        let ring = Ring::new(64 * (PAGE_BYTES + PAGE_BYTES_SLACK) + 1, 1);
        assert_eq!(free_enough(64, 1), 3);
        let mut pages: Vec<_> = std::iter::from_fn(|| ring.claim()).collect();
        let mut claimed = std::pin::pin!(ring.claimed());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..2 {
            ring.give_back(pages.pop().unwrap());
            assert!(claimed.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(ring.shards_waiting(), 1);
        ring.give_back(pages.pop().unwrap());
        assert!(claimed.as_mut().poll(&mut context).is_ready());
    }

    /// Of two shards that wait, the second once waited for as many pages again.
    #[test]
    fn when_enough_pages_are_free_all_who_wait_go_on() {
        let ring = Ring::new(64 * (PAGE_BYTES + PAGE_BYTES_SLACK) + 1, 1);
        let mut pages: Vec<_> = std::iter::from_fn(|| ring.claim()).collect();
        let mut first = std::pin::pin!(ring.claimed());
        let mut second = std::pin::pin!(ring.claimed());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        for _ in 0..ring.free_enough {
            ring.give_back(pages.pop().unwrap());
        }
        assert!(first.as_mut().poll(&mut context).is_ready());
        assert!(!ring.is_enough_free());
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn enough_pages_are_fewer_than_what_comes_free_for_certain() {
        for shards_count in 1..100usize {
            for pages_count in 2 * shards_count..2_000 {
                let certain = pages_count.saturating_sub(shards_count * SHARD_PAGES_MOST);
                let enough = free_enough(pages_count, shards_count);
                assert!(enough == 1 || enough <= certain);
            }
        }
    }

    #[test]
    fn a_ring_is_finished_when_its_shards_are_closed_and_it_is_empty() {
        let ring = Ring::new(0, 2);
        ring.close_shard();
        assert!(!ring.is_finished());
        let page = ring.claim().unwrap();
        ring.hand_over(page, Mono(1));
        ring.close_shard();
        assert!(!ring.is_finished());
        assert!(ring.take().is_some());
        assert!(ring.is_finished());
    }
}
