//! How much pains an uploader takes to make bodies small: more while nothing waits for it.
//!
//! ```text
//! behind   pages wait in the ring                          fast
//! calm     so many pages in a row left an empty ring       dense
//! between  as it was
//! ```
//!
//! Pure: what is in the ring is an argument.

use crate::deflate::Effort;

/// So many pages waiting behind the one at hand are a backlog; one or two is how pages come.
const PAGES_BEHIND: usize = 3;
/// So many pages that left nothing waiting are a calm: some two bodies.
const PAGES_CALM: u32 = 16;

/// What was last seen of the ring.
#[derive(Debug, Default)]
pub(super) struct Pains {
    is_calm: bool,
    /// Pages in a row that left nothing waiting, as long as there is no calm.
    calm_pages: u32,
}

impl Pains {
    /// A page was taken, and so many wait behind it.
    pub(super) fn note(&mut self, waiting: usize) {
        match waiting {
            PAGES_BEHIND.. => *self = Pains::default(),
            0 => {
                self.calm_pages = self.calm_pages.saturating_add(1);
                self.is_calm |= self.calm_pages >= PAGES_CALM;
            }
            _ => self.calm_pages = 0,
        }
    }

    /// What to do about it.
    pub(super) fn effort(&self) -> Effort {
        if self.is_calm {
            Effort::Dense
        } else {
            Effort::Fast
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pains: &mut Pains, waiting: usize, times: u32) -> Effort {
        for _ in 0..times {
            pains.note(waiting);
        }
        pains.effort()
    }

    #[test]
    fn a_calm_takes_some_pages_and_a_backlog_one() {
        let mut pains = Pains::default();
        assert_eq!(pains.effort(), Effort::Fast);
        assert_eq!(after(&mut pains, 0, PAGES_CALM - 1), Effort::Fast);
        assert_eq!(after(&mut pains, 0, 1), Effort::Dense);
        // what comes in pairs is no backlog
        assert_eq!(after(&mut pains, PAGES_BEHIND - 1, 100), Effort::Dense);
        assert_eq!(after(&mut pains, PAGES_BEHIND, 1), Effort::Fast);
        // and not yet a calm
        assert_eq!(after(&mut pains, 0, PAGES_CALM - 1), Effort::Fast);
        assert_eq!(after(&mut pains, 1, 1), Effort::Fast);
        assert_eq!(after(&mut pains, 0, PAGES_CALM - 1), Effort::Fast);
        assert_eq!(after(&mut pains, 0, 1), Effort::Dense);
    }
}
