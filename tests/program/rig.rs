//! Emulator, forwarder and sender inside this process: quicker to start, and seen from within.

use crate::process::Keys;
use crate::process::until::until_or;
use crate::table::Table;
use cefline::clock::Clock;
use cefline::config::{self, Config, Machine};
use cefline::emulator::{self, Emulator, Options};
use cefline::metrics::{Counter, Snapshot};
use cefline::run::{Forwarder, Report, View};
use cefline::send::{SendControl, SendOptions, SendReport, send};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// What any row takes at most to be settled when the service is well.
const SETTLE_TIME: Duration = Duration::from_secs(60);

/// An emulator and a forwarder that points at it.
pub(crate) struct Rig {
    pub(crate) emulator: Emulator,
    pub(crate) view: Arc<View>,
    forwarder: Option<Forwarder>,
    clock: Clock,
    _folder: TempDir,
}

impl Rig {
    /// A rig with a correct emulator.
    pub(crate) fn start(keys: Keys) -> Rig {
        Rig::with(Options::default(), keys)
    }

    pub(crate) fn with(options: Options, keys: Keys) -> Rig {
        Rig::changed(options, keys, |_| {})
    }

    /// The same with values that no configuration may have.
    pub(crate) fn changed(options: Options, keys: Keys, change: impl FnOnce(&mut Config)) -> Rig {
        Rig::built(options, keys, |_| {}, change)
    }

    /// The same with something in its folder before it starts.
    pub(crate) fn prepared(options: Options, keys: Keys, prepare: impl FnOnce(&Path)) -> Rig {
        Rig::built(options, keys, prepare, |_| {})
    }

    fn built(
        options: Options,
        keys: Keys,
        prepare: impl FnOnce(&Path),
        change: impl FnOnce(&mut Config),
    ) -> Rig {
        let clock = Clock::start();
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let emulator = emulator::start(options, clock).unwrap();
        let path = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let options = emulator.options();
        let destination = format!(
            "[sentinel]\nendpoint = \"{url}\"\nrules = {rules:?}\nstream = \"{stream}\"\n\
             ca_file = \"{ca}\"\n[sentinel.identity]\nkind = \"client_secret\"\n\
             authority = \"{url}\"\ntenant_id = \"{tenant}\"\nclient_id = \"{client}\"\n\
             secret_file = \"{secret}\"\n",
            url = emulator.url(),
            rules = options.rules,
            stream = options.stream,
            ca = path("ca.pem", emulator.ca_pem()),
            tenant = options.tenant_id,
            client = options.client_id,
            secret = path("secret", emulator.client_secret()),
        );
        let machine = Machine::read();
        // ports that stand for the free ones below, which a configuration cannot name
        let text = keys.config("127.0.0.1:1", "127.0.0.1:2", &destination, folder.path());
        let mut config = config::parse(&text, &machine).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        config.listen.tcp = vec![any];
        config.metrics.listen = Some(any);
        // several rigs may run at once
        config.runtime.pin = false;
        change(&mut config);
        let forwarder = Forwarder::start(config, &machine, clock).unwrap();
        Rig {
            emulator,
            view: forwarder.view(),
            forwarder: Some(forwarder),
            clock,
            _folder: folder,
        }
    }

    /// Where it takes frames.
    pub(crate) fn tcp(&self) -> SocketAddr {
        self.view.addresses()[0]
    }

    /// So many generated messages over four connections.
    pub(crate) fn options(&self, seed: u64, count: u64) -> SendOptions {
        SendOptions {
            count: Some(count),
            seed,
            connections: NonZeroUsize::new(4).unwrap(),
            ..SendOptions::new(self.tcp())
        }
    }

    /// Sends, and expects the forwarder to read to the end.
    pub(crate) fn send(&self, options: &SendOptions) -> SendReport {
        let report = send(options, self.clock, &SendControl::default()).unwrap();
        assert!(report.is_clean(), "{report:?}");
        report
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.view.snapshot().value(counter)
    }

    /// Waits until so many frames have come and nothing is held.
    pub(crate) fn settled(&self, frames_count: u64) -> Snapshot {
        let settled = || {
            let snapshot = self.view.snapshot();
            assert_eq!(snapshot.imbalance(), 0, "{snapshot:?}");
            let received = snapshot.value(Counter::FramesReceived);
            assert!(received <= frames_count, "{received} of {frames_count}");
            (received == frames_count && snapshot.held() == 0).then_some(snapshot)
        };
        until_or("all rows are settled", SETTLE_TIME, settled, || {
            let counted = counted(&self.view.snapshot());
            format!("of {frames_count}: {counted}; {:?}", self.emulator.stats())
        })
    }

    /// Stops it; the report must close.
    pub(crate) fn stop(&mut self) -> Report {
        let forwarder = self.forwarder.take().unwrap();
        forwarder.stop(SETTLE_TIME);
        let report = forwarder.join();
        assert!(!report.is_broken);
        assert_eq!(report.snapshot.imbalance(), 0, "{report}");
        assert_eq!(report.snapshot.held(), 0, "{report}");
        report
    }

    /// Sends generated messages, waits until all are settled, stops, and expects each in the table,
    /// and twice only where that was counted.
    pub(crate) fn deliver(&mut self, seed: u64, count: u64) -> Report {
        let options = self.options(seed, count);
        let sent = self.send(&options);
        assert_eq!(sent.messages(), count);
        self.settled(count);
        let report = self.stop();
        let ids = self.emulator.ids(seed);
        ids.assert_are(sent.ids());
        let twice = report.snapshot.value(Counter::RowsMaybeTwice);
        assert!(ids.surplus() <= twice, "{} > {twice}", ids.surplus());
        assert_eq!(report.unsent(), 0, "{report}");
        report
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(forwarder) = self.forwarder.take() {
            forwarder.stop(Duration::ZERO);
        }
    }
}

/// What is not zero.
fn counted(snapshot: &Snapshot) -> String {
    let counters = Counter::ALL.iter().filter_map(|counter| {
        let value = snapshot.value(*counter);
        (value > 0).then(|| format!("{counter:?}: {value}"))
    });
    counters.collect::<Vec<_>>().join(", ")
}
