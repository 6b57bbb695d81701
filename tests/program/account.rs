//! The page of metrics, read back, and the identity that must hold on it.

use std::collections::BTreeMap;

/// Samples by name, without the common prefix and with their labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Account(BTreeMap<String, f64>);

impl Account {
    /// Reads a page; every line must be a comment or a sample of ours.
    pub(crate) fn of(page: &str) -> Account {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let read = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = name.strip_prefix("cefline_").unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Account(read.collect())
    }

    /// One sample.
    pub(crate) fn number(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(value) => *value,
            None => panic!("no {name} among {:?}", self.0.keys()),
        }
    }

    /// One count.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.number(name) as u64
    }

    /// All samples of a name, whatever their labels, added up.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let samples = self
            .0
            .iter()
            .filter(|(key, _)| key.split('{').next() == Some(name));
        samples.map(|(_, value)| *value as u64).sum()
    }

    /// Received and recovered = uploaded + held + in quarantine + filtered + lost with a reason.
    pub(crate) fn assert_closed(&self) {
        let received = self.count("frames_received_total")
            + self.count("rows_recovered_total")
            + self.count("heartbeats_total")
            + self.count("rows_summarizing_total");
        let settled = self.count("rows_uploaded_total")
            + self.sum("rows_quarantined_total")
            + self.sum("rows_filtered_total")
            + self.lost();
        let held = self.sum("rows_held");
        assert_eq!(received, settled + held, "{self:?}");
        assert_eq!(self.number("accounting_imbalance"), 0.0, "{self:?}");
    }

    /// Frames and rows lost, for whatever reason.
    pub(crate) fn lost(&self) -> u64 {
        self.sum("frames_lost_total") + self.sum("rows_lost_total")
    }
}
