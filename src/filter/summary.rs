//! What `deduplicate` has suppressed and no row alike has told.

use super::Place;
use super::rule::ABSENT;
use std::sync::Arc;

/// Rows that were suppressed, where no row alike came that could tell so.
#[derive(Debug)]
pub struct Summary {
    /// What they have in common.
    pub about: Arc<About>,
    /// The values that they have in common: for each place of `about`, whether it has one, its
    /// length as 32 bits and its bytes.
    pub(super) key: Vec<u8>,
    /// How many there were.
    pub count: u64,
}

/// What is known of the rows that a rule takes for alike.
#[derive(Debug)]
pub struct About {
    /// Name of the rule.
    pub rule: String,
    /// Where the values stand that they have in common.
    pub places: Vec<Place>,
}

impl Summary {
    /// The values that the rows have in common.
    pub fn values(&self) -> impl Iterator<Item = (&Place, &[u8])> {
        let mut rest = &self.key[..];
        self.about.places.iter().filter_map(move |place| {
            let (length, more) = rest.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length);
            let length = if length == ABSENT { 0 } else { length as usize };
            let (value, more) = more.split_at_checked(length)?;
            rest = more;
            Some((place, value))
        })
    }
}
