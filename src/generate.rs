//! Generated CEF messages: what a fleet of security devices of a dozen vendors might send.
//!
//! ```text
//! seed --> vendor --> kind (template) --> scene --> bytes of one message
//! ```
//!
//! A vendor is drawn first, then one of its kinds of message, so that the mix is set by the shares
//! in [`Vendor`] and not by how many kinds someone wrote. A kind is a template (`template`) in a
//! text file of its vendor (`vendors/*.cef`); its fields (`field`) are filled from a scene (`scene`), drawn
//! for each message, and from pools of invented users, hosts and sites (`pools`). Every message has
//! a syslog header, mostly of RFC 3164.
//!
//! The mix has the shape that samples of 45 vendors were measured to have: 600 to 700 bytes on
//! average with a tail past 4 KB, some 25 keys, half of the messages with an escape, a third with
//! an empty value, one in eight or so with a repeated key, a few with text outside of ASCII. Values
//! vary as much as real ones, so that gzip finds no more in it than in real traffic; a test holds
//! it to that.
//!
//! Every message has exactly one `externalId`, of the form `cf<seed in hex>-<number>`: text in
//! whatever column it lands, and unique over connections (each takes its own numbers) and over
//! runs with different seeds. The same seed and options give the same messages, byte for byte,
//! but for the times, which lie shortly before the `now` that each message is given.
//!
//! Speed matters, since the sender shares a machine with what it measures: one message costs about
//! a microsecond and no allocation.

mod field;
pub mod mock;
mod pools;
mod scene;
mod template;
mod vendors;
mod write;

pub use vendors::{UnknownVendor, Vendor};

use crate::clock::Wall;
use fastrand::Rng;
use scene::{Actors, Report, Scene};
use vendors::{KINDS, Kinds};

/// What to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorOptions {
    /// Only these vendors, in the proportions of their shares. None at all means all of them.
    pub vendors: Vec<Vendor>,
    /// Number in the first message's id.
    pub id_first: u64,
    /// By how much the number grows with each message; generators that share a seed take turns by
    /// it (the second of three starts at 1 and steps by 3).
    pub id_step: u64,
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        GeneratorOptions {
            vendors: Vec::new(),
            id_first: 0,
            id_step: 1,
        }
    }
}

/// What is known of a message that was generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageInfo {
    /// The number in its id; [`append_id`] gives the whole id.
    pub id: u64,
    /// Whose message it is.
    pub vendor: Vendor,
}

/// A seeded source of messages.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    /// Who took part in the message before.
    actors: Actors,
    /// What all ids begin with.
    id_prefix: Vec<u8>,
    id_next: u64,
    id_step: u64,
    /// Each vendor as often as its share in percent says.
    draw: Vec<(Vendor, &'static Kinds)>,
}

impl Generator {
    /// A generator. Its messages follow from `seed`, `id_first` and the vendors.
    #[must_use]
    pub fn new(seed: u64, options: &GeneratorOptions) -> Self {
        let wanted =
            |vendor: &Vendor| options.vendors.is_empty() || options.vendors.contains(vendor);
        let draw = Vendor::ALL
            .iter()
            .zip(KINDS.iter())
            .filter(|(vendor, _)| wanted(vendor))
            .flat_map(|(vendor, kinds)| {
                std::iter::repeat_n((*vendor, kinds), vendor.share() as usize)
            })
            .collect();
        let mut rng = Rng::with_seed(seed);
        // Generators that share a seed and take turns must not say the same things.
        let mut rng = Rng::with_seed(rng.u64(..) ^ options.id_first.rotate_left(32));
        let mut id_prefix = Vec::new();
        append_id_prefix(&mut id_prefix, seed);
        let actors = Actors::draw(&mut rng);
        Generator {
            rng,
            actors,
            id_prefix,
            id_next: options.id_first,
            id_step: options.id_step,
            draw,
        }
    }

    /// Appends one message to `out`, without any delimiter. Its times lie shortly before `now`.
    pub fn append(&mut self, now: Wall, out: &mut Vec<u8>) -> MessageInfo {
        let id = self.id_next;
        self.id_next = id.wrapping_add(self.id_step);
        let (vendor, kinds) = self.draw[self.rng.usize(..self.draw.len())];
        let template = kinds.draw(&mut self.rng);
        let report = Report {
            vendor,
            id_prefix: &self.id_prefix,
            id,
            now,
        };
        self.actors = self.actors.next(&mut self.rng);
        let scene = Scene::draw(&mut self.rng, self.actors, report);
        template.write(&scene, &mut self.rng, out);
        MessageInfo { id, vendor }
    }
}

/// Appends the id that message number `id` of `seed` carries as its `externalId`.
pub fn append_id(out: &mut Vec<u8>, seed: u64, id: u64) {
    append_id_prefix(out, seed);
    write::decimal(out, id);
}

fn append_id_prefix(out: &mut Vec<u8>, seed: u64) {
    out.extend_from_slice(b"cf");
    write::hex_of(out, seed);
    out.push(b'-');
}

#[cfg(test)]
mod tests;
