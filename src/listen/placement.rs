//! Which shard a connection lives on.
//!
//! A new connection goes to the shard with the least to do, by the bytes that its connections have
//! lately brought and by their number. That cannot know which of two new connections will be the
//! heavy one; so once a second a shard that has clearly more to do than another may move one of its
//! connections there. A handful of heavy senders thus ends up spread out however they connected.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a connection counts for before it has sent anything, in bytes a second.
const CONNECTION_BYTES: u64 = 16 * 1024;
/// A difference below this, in bytes a second, is not worth a move.
const MOVE_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// What one shard has to do; written by the shard and by the accepting threads.
#[derive(Debug, Default)]
pub struct Load {
    connections: AtomicUsize,
    bytes_per_second: AtomicU64,
}

impl Load {
    /// A connection was given to the shard.
    pub fn connect(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has left the shard.
    pub fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many connections it has.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What its connections brought in the last second.
    pub fn measure(&self, bytes_per_second: u64) {
        self.bytes_per_second
            .store(bytes_per_second, Ordering::Relaxed);
    }

    fn weight(&self) -> u64 {
        let connections = self.connections.load(Ordering::Relaxed) as u64;
        self.bytes_per_second.load(Ordering::Relaxed) + connections * CONNECTION_BYTES
    }
}

/// The shard for a new connection.
#[must_use]
pub fn place(loads: &[Load]) -> usize {
    (0..loads.len())
        .min_by_key(|shard| loads[*shard].weight())
        .unwrap_or(0)
}

/// Whether shard `me` should give a connection away: which, and to whom. `connections` are its own,
/// by number and bytes in the last second.
#[must_use]
pub fn relieve(
    me: usize,
    loads: &[Load],
    connections: impl Iterator<Item = (u64, u64)>,
) -> Option<(u64, usize)> {
    let other = place(loads);
    let bytes = |shard: usize| loads[shard].bytes_per_second.load(Ordering::Relaxed);
    let gap = bytes(me).checked_sub(bytes(other))?;
    if other == me || gap < MOVE_BYTES_MIN {
        return None;
    }
    // moving this much makes the two equal; moving as much as the gap or more gains nothing
    let ideal = gap / 2;
    connections
        .filter(|(_, bytes)| *bytes > 0 && *bytes < gap - gap / 8)
        .min_by_key(|(_, bytes)| bytes.abs_diff(ideal))
        .map(|(connection, _)| (connection, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards of connections with the given rates, in bytes a second.
    fn loads(shards: &[Vec<u64>]) -> Vec<Load> {
        shards
            .iter()
            .map(|rates| {
                let load = Load::default();
                rates.iter().for_each(|_| load.connect());
                load.measure(rates.iter().sum());
                load
            })
            .collect()
    }

    /// Lets all shards move connections until none wants to; gives the number of moves.
    fn settle(shards: &mut [Vec<u64>]) -> usize {
        let mut moves = 0;
        for _ in 0..1_000 {
            let mut moved = false;
            for me in 0..shards.len() {
                let now = loads(shards);
                let own = shards[me].clone();
                let own = (0..).zip(own);
                if let Some((connection, to)) = relieve(me, &now, own) {
                    let rate = shards[me].remove(connection as usize);
                    shards[to].push(rate);
                    moved = true;
                    moves += 1;
                }
            }
            if !moved {
                return moves;
            }
        }
        panic!("the shards never settle: {shards:?}");
    }

    #[test]
    fn new_connections_are_spread_evenly() {
        let shards = loads(&[vec![], vec![], vec![], vec![]]);
        for _ in 0..40 {
            shards[place(&shards)].connect();
        }
        assert!(shards.iter().all(|load| load.connections() == 10));
    }

    #[test]
    fn a_new_connection_avoids_the_shard_that_works() {
        let shards = loads(&[vec![50_000_000], vec![0, 0, 0]]);
        assert_eq!(place(&shards), 1);
    }

    #[test]
    fn heavy_connections_that_piled_up_are_spread_out() {
        let heavy = 60_000_000;
        let mut shards = vec![vec![heavy; 8], vec![1_000; 50], vec![], vec![]];
        let moves = settle(&mut shards);
        assert!(moves <= 8, "{moves} moves");
        for shard in &shards {
            let count = shard.iter().filter(|rate| **rate == heavy).count();
            assert_eq!(count, 2, "{shards:?}");
        }
    }

    #[test]
    fn one_heavy_connection_is_not_passed_around() {
        let mut shards = vec![vec![90_000_000], vec![], vec![20]];
        assert_eq!(settle(&mut shards), 0);
    }

    #[test]
    fn any_distribution_settles() {
        let seed = 0x5eed_0005;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..500 {
            let mut shards: Vec<Vec<u64>> = (0..random.usize(1..9))
                .map(|_| {
                    (0..random.usize(0..20))
                        .map(|_| random.u64(0..100_000_000))
                        .collect()
                })
                .collect();
            settle(&mut shards);
        }
    }
}
