//! What has arrived in the table, and how it compares with what was sent.

use cefline::emulator::Emulator;
use cefline::generate::append_id;
use serde_json::Value;
use std::collections::HashMap;

/// Whoever answers queries about the table.
pub(crate) trait Table {
    /// The rows of an answer that is whole.
    fn ask(&self, kql: &str) -> Vec<Vec<Value>>;

    /// A query that counts.
    fn count(&self, pipe: &str) -> u64 {
        let rows = self.ask(&format!("CommonSecurityLog {pipe} | count"));
        rows[0][0].as_u64().unwrap()
    }

    /// How often each generated message of `seed` is there, by its number. A frame that was cut by
    /// the end of its connection may have lost a part of it and does not count.
    fn ids(&self, seed: u64) -> Ids {
        let mut prefix = Vec::new();
        append_id(&mut prefix, seed, 0);
        let prefix = String::from_utf8(prefix).unwrap();
        let prefix = prefix.strip_suffix('0').unwrap();
        let mut ids = Ids::default();
        // an answer has a bound that all ids at once may be past
        for digit in 0..=9 {
            let rows = self.ask(&format!(
                "CommonSecurityLog | where ExtID startswith \"{prefix}\" and ExtID endswith \
                 \"{digit}\" and not(AdditionalExtensions startswith \
                 \"cefline.mark=frame_partial\") | project ExtID"
            ));
            for row in rows {
                let id = row[0].as_str().unwrap().strip_prefix(prefix).unwrap();
                *ids.0.entry(id.parse().unwrap()).or_default() += 1;
            }
        }
        ids
    }
}

impl Table for Emulator {
    fn ask(&self, kql: &str) -> Vec<Vec<Value>> {
        let answer = self.query(kql).unwrap();
        assert!(!answer.is_cut);
        answer.rows()
    }
}

/// Numbers of generated messages, each with how often it is there.
#[derive(Debug, Default)]
pub(crate) struct Ids(HashMap<u64, u64>);

impl Ids {
    /// How many different ones.
    pub(crate) fn distinct(&self) -> u64 {
        self.0.len() as u64
    }

    /// Rows beyond the first of each.
    pub(crate) fn surplus(&self) -> u64 {
        self.0.values().sum::<u64>() - self.distinct()
    }

    /// Adds those of another table.
    pub(crate) fn add(&mut self, other: Ids) {
        for (id, count) in other.0 {
            *self.0.entry(id).or_default() += count;
        }
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        self.0.contains_key(&id)
    }

    /// Each of `sent` is there, and nothing else.
    pub(crate) fn assert_are(&self, sent: impl Iterator<Item = u64>) {
        let mut sent_count = 0;
        let missing: Vec<u64> = sent
            .inspect(|_| sent_count += 1)
            .filter(|id| !self.has(*id))
            .collect();
        let some = &missing[..missing.len().min(10)];
        assert!(
            missing.is_empty(),
            "{} are missing: {some:?}",
            missing.len()
        );
        assert_eq!(self.distinct(), sent_count, "rows that nobody sent");
    }

    /// What is there of each of so many connections is its first messages, without a gap. Gives how
    /// many of each.
    pub(crate) fn assert_are_first_of_each(&self, connections_count: u64) -> Vec<u64> {
        let firsts: Vec<u64> = (0..connections_count)
            .map(|connection| {
                let ids = (connection..).step_by(connections_count as usize);
                ids.take_while(|id| self.has(*id)).count() as u64
            })
            .collect();
        let all: u64 = firsts.iter().sum();
        assert_eq!(all, self.distinct(), "there are gaps behind {firsts:?}");
        firsts
    }
}
