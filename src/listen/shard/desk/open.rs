//! The pages that a shard fills.

use crate::clock::Mono;
use crate::config::DestinationId;
use crate::limits::LANES;
use crate::page::{Pages, RowPage};

/// The pages being filled.
pub(super) struct Open {
    /// For `[sentinel]`, each with the rows of some kinds of messages.
    lanes: [Option<RowPage>; LANES],
    /// For further destinations: one for each that had a row lately.
    pub(super) further: Vec<RowPage>,
    /// For the next that needs one; none if there was none free.
    pub(super) spare: Option<RowPage>,
}

/// They, for a row of this kind.
pub(super) struct ForLane<'o> {
    open: &'o mut Open,
    lane: usize,
    /// The further destination that a page was given out for.
    pub(super) further: Option<DestinationId>,
}

impl Pages for ForLane<'_> {
    fn page(&mut self, destination: DestinationId) -> Option<&mut RowPage> {
        let Open {
            lanes,
            further,
            spare,
        } = &mut *self.open;
        if destination == DestinationId::SENTINEL {
            let page = lanes.get_mut(self.lane)?;
            if page.is_none() {
                *page = spare.take();
            }
            return page.as_mut();
        }
        self.further = Some(destination);
        let at = further
            .iter()
            .position(|page| page.destination() == destination);
        match at {
            Some(at) => further.get_mut(at),
            None => {
                let mut page = spare.take()?;
                page.open_for(destination);
                further.push(page);
                further.last_mut()
            }
        }
    }
}

impl Open {
    pub(super) fn new(spare: Option<RowPage>) -> Self {
        Open {
            lanes: [const { None }; LANES],
            further: Vec::new(),
            spare,
        }
    }

    /// The pages for a row that belongs into this lane, unless it goes elsewhere.
    pub(super) fn for_lane(&mut self, lane: usize) -> ForLane<'_> {
        ForLane {
            open: self,
            lane,
            further: None,
        }
    }

    pub(super) fn has_lane(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(Option::is_some)
    }

    pub(super) fn opened_at(&self) -> Option<Mono> {
        let pages = self.lanes.iter().flatten().chain(&self.further);
        pages.filter_map(RowPage::opened_at).min()
    }

    /// Takes one of them; nothing if none is open.
    pub(super) fn any(&mut self) -> Option<RowPage> {
        let mut lanes = self.lanes.iter_mut();
        lanes.find_map(Option::take).or_else(|| self.further.pop())
    }

    /// Takes the one with the most bytes.
    pub(super) fn fullest(&mut self) -> Option<RowPage> {
        let bytes = |page: &Option<RowPage>| page.as_ref().map(RowPage::bytes_len);
        let lane = self.lanes.iter_mut().max_by_key(|page| bytes(page))?;
        let further = (0..self.further.len()).max_by_key(|at| self.further[*at].bytes_len());
        match further {
            Some(at) if bytes(lane) < Some(self.further[at].bytes_len()) => {
                Some(self.further.swap_remove(at))
            }
            _ => lane.take(),
        }
    }

    pub(super) fn take_lane_if(
        &mut self,
        lane: usize,
        is_wanted: impl FnOnce(&RowPage) -> bool,
    ) -> Option<RowPage> {
        let page = self.lanes.get_mut(lane)?;
        page.take_if(|page| is_wanted(page))
    }

    pub(super) fn take_further_if(
        &mut self,
        destination: DestinationId,
        is_wanted: impl FnOnce(&RowPage) -> bool,
    ) -> Option<RowPage> {
        let mut pages = self.further.iter();
        let at = pages.position(|page| page.destination() == destination)?;
        is_wanted(self.further.get(at)?).then(|| self.further.swap_remove(at))
    }

    /// Keeps a page that no row came into, for whatever destination is next. Gives it back if it is
    /// not needed.
    pub(super) fn keep(&mut self, mut page: RowPage) -> Option<RowPage> {
        if self.spare.is_some() {
            return Some(page);
        }
        page.open_for(DestinationId::SENTINEL);
        self.spare = Some(page);
        None
    }
}
