//! How a shard stops: it reads what has arrived, finishes every connection, and hands the last page
//! over.
//!
//! What has arrived is what the kernel holds for a connection at that moment. A sender may go on
//! and on, so no more is read of a connection than its receive buffer can have held: otherwise the
//! first one would take all the time, and what others had sent long before would be thrown away.

use super::{Link, Shard};
use crate::clock::Mono;
use crate::limits::DRAIN_READ_TIME;
use crate::listen::connection::{Fed, Sink};
use crate::listen::socket::Got;
use crate::metrics::Counter;
use futures_lite::future;
use std::rc::Rc;
use std::time::Duration;

impl Shard {
    /// The program stops: reads what has arrived, finishes every connection, hands the last page
    /// over. Waits for pages no longer than the program goes on uploading.
    pub(super) async fn drain(&self) {
        let clock = self.shared.clock;
        let read_until = clock.mono().plus(DRAIN_READ_TIME);
        // those on their way to us come first
        while !self.shared.all_have_left() && clock.mono() < read_until {
            self.shared.io.sleep(Duration::from_millis(1)).await;
        }
        while !self.shared.is_anteroom_empty(self.index) {
            self.shared.io.yield_now().await;
        }
        let links: Vec<(u64, Rc<Link>)> = self
            .links
            .borrow()
            .iter()
            .map(|(number, link)| (*number, link.clone()))
            .collect();
        for (number, link) in links {
            self.drain_link(number, &link, read_until).await;
        }
        self.drain_pieces().await;
        self.tell_all().await;
        let mut tally = self.tally.borrow_mut();
        self.desk
            .borrow_mut()
            .hand_over_all(clock.mono(), &mut tally);
        tally.publish(&self.counters);
    }

    /// Tells how many rows `deduplicate` has suppressed, as far as there are pages.
    async fn tell_all(&self) {
        if let Some(filters) = self.desk.borrow_mut().mapper.filters() {
            filters.close();
        }
        loop {
            let now = self.shared.clock.now();
            if self
                .desk
                .borrow_mut()
                .tell(now, &mut self.tally.borrow_mut())
            {
                return;
            }
            if !self.page_before_deadline().await {
                let mut desk = self.desk.borrow_mut();
                return desk.leave_untold(&mut self.tally.borrow_mut());
            }
        }
    }

    /// Reads no more of a connection than can have arrived before the stop, and finishes it.
    async fn drain_link(&self, number: u64, link: &Rc<Link>, read_until: Mono) {
        let mut bytes_left = link.socket.arrived_bytes_max();
        let mut fed = self.feed(link, &[]);
        loop {
            while fed == Fed::Stalled {
                if !self.page_before_deadline().await {
                    let mut tally = self.tally.borrow_mut();
                    link.connection.borrow_mut().abandon(&mut tally);
                    break;
                }
                fed = self.feed(link, &[]);
            }
            if fed != Fed::All || bytes_left == 0 || self.shared.clock.mono() > read_until {
                break;
            }
            let got = link.socket.read_now(&mut self.buffer.borrow_mut());
            let Got::Bytes(bytes) = got else {
                break;
            };
            bytes_left = bytes_left.saturating_sub(bytes);
            fed = self.feed(link, &self.buffer.borrow()[..bytes]);
            self.shared.io.yield_if_needed().await;
        }
        if link.connection.borrow().held_bytes() > 0 && !self.page_before_deadline().await {
            let mut tally = self.tally.borrow_mut();
            link.connection.borrow_mut().abandon(&mut tally);
        }
        if !link.is_gone.get() {
            self.finish(number, link, Counter::ConnectionsClosedByStop);
        }
    }

    /// Sees to it that there is a page, if one comes free in time.
    pub(super) async fn page_before_deadline(&self) -> bool {
        if self
            .desk
            .borrow_mut()
            .is_ready(&mut self.tally.borrow_mut())
        {
            return true;
        }
        let ring = self.desk.borrow().ring.clone();
        let page = future::or(async { Some(ring.claimed().await) }, async {
            while !self.shared.is_out_of_time() {
                self.shared.io.sleep(Duration::from_millis(20)).await;
            }
            None
        });
        let page = page.await;
        let found = page.is_some();
        if found {
            self.desk.borrow_mut().set_spare(page);
        }
        found
    }
}
