//! What one seed decides before it begins: sizes, rates, and when which fault comes.

use crate::disk::Mood;
use cefline::config::{self, Config, DestinationId, Durability, Machine};
use cefline::spool::WhenFull;
use fastrand::Rng;
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MS;
pub(crate) const HOUR: u64 = 3600 * SECOND;

/// What the service does for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No connection.
    Refuses,
    /// No answer.
    Blackhole,
    /// A reset, before or after it has stored.
    Resets,
    /// 500, 503.
    Errors,
    /// 502, 504: stored or not.
    Gateway,
    /// 429, in all forms.
    Throttles,
    /// 401.
    Unauthorized,
    /// 403, 404 by one rule.
    Holds,
    /// 400 to everything, by one rule.
    Misconfigured,
    /// No token.
    NoToken,
}

impl Trouble {
    pub(crate) const ALL: [Trouble; 10] = [
        Trouble::Refuses,
        Trouble::Blackhole,
        Trouble::Resets,
        Trouble::Errors,
        Trouble::Gateway,
        Trouble::Throttles,
        Trouble::Unauthorized,
        Trouble::Holds,
        Trouble::Misconfigured,
        Trouble::NoToken,
    ];
}

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    /// SIGKILL.
    Kill,
    /// The power goes; this share of what was not synced survives.
    PowerCut(f64),
    /// It is stopped, and has so long to deliver.
    Stop(u64),
}

/// What comes at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blow {
    /// The service is in trouble until then.
    Trouble(Trouble, u64),
    /// The disk has a mood until then.
    Disk(Mood, u64),
    /// The disk answers nothing for so long.
    Stall(u64),
    /// The program ends now, or in the middle of the work of a keeper, after so many operations.
    End(End, Option<u64>),
    /// The disk forgets a few bits while the program does not run the next time.
    Rot,
    /// The wall clock jumps by so much.
    Jump(i64),
    /// All rules of one destination forbid everything until then.
    Down(usize, u64),
    /// That was so for a while and nothing else was amiss: the others must have gone on.
    Others(usize),
    /// The configuration is read again, and has so many destinations now.
    Reload(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) config: Config,
    /// Destinations at most, that of `[sentinel]` among them.
    pub(crate) destinations: usize,
    /// Rules of each destination.
    pub(crate) rules: usize,
    pub(crate) segment_bytes: usize,
    pub(crate) space_bytes: u64,
    pub(crate) quarantine_bytes: u64,
    pub(crate) when_full: WhenFull,
    /// Rows are those of the real mapper.
    pub(crate) is_mapped: bool,
    pub(crate) frame_bytes_max: usize,
    pub(crate) pages: usize,
    pub(crate) page_rows_max: usize,
    pub(crate) senders: usize,
    /// Frames in all, before the faults end.
    pub(crate) frames: usize,
    pub(crate) text_max: usize,
    /// Share of rows that the service refuses.
    pub(crate) poison: f64,
    pub(crate) latency: (u64, u64),
    /// Share of requests that come to something odd without any trouble.
    pub(crate) noise: f64,
    /// Longest body that the service takes.
    pub(crate) service_bytes_max: usize,
    /// When the faults end.
    pub(crate) faults_end: u64,
    pub(crate) blows: Vec<(u64, Blow)>,
}

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let text = r#"
            [listen]
            tcp = ["127.0.0.1:514"]
            [sentinel]
            endpoint = "https://a.westeurope-1.ingest.monitor.azure.com"
            rules = ["dcr-00000000000000000000000000000000"]
            stream = "Custom-CommonSecurityLog"
            [sentinel.identity]
            kind = "client_secret"
            tenant_id = "00000000-0000-0000-0000-000000000000"
            client_id = "00000000-0000-0000-0000-000000000000"
            secret_file = "/nowhere"
        "#;
        let machine = Machine {
            cores: vec![0, 1],
            cores_quota: None,
            host_name: "collector".into(),
        };
        config::parse(text, &machine).unwrap()
    })
}

/// What a destination is called.
pub(crate) fn name_of(index: usize) -> String {
    match index {
        0 => config::SENTINEL_NAME.into(),
        _ => format!("further-{index}"),
    }
}

pub(crate) fn id_of(index: usize) -> DestinationId {
    DestinationId::of(&name_of(index))
}

const BODY_READINGS: [config::BodyReading; 4] = [
    config::BodyReading::Strict,
    config::BodyReading::Strict,
    config::BodyReading::Wire,
    config::BodyReading::Auto,
];

impl Plan {
    pub(crate) fn of(seed: u64) -> Plan {
        let random = &mut Rng::with_seed(seed);
        let is_mapped = random.u8(..16) == 0;
        let mut config = config().clone();
        let size = if is_mapped { 4 } else { 1 };
        config.batch = config::Batch {
            raw_bytes_max: size * random.usize(700..4000),
            wire_bytes_max: size * random.usize(500..2000),
            linger: Duration::from_millis(*random.choice(&[20, 100, 300, 1000, 3000]).unwrap()),
            gzip_level: config::GzipLevel::Auto,
            body_limit: *random.choice(&BODY_READINGS).unwrap(),
        };
        config.sentinel.requests_in_flight = random.usize(1..5);
        config.sentinel.request_time_max = Duration::from_secs(random.u64(2..20));
        config.spool.drain_share = *random.choice(&[30, 50, 70]).unwrap();
        config.spool.durability = match random.u8(..10) {
            0 => Durability::Memory,
            1 | 2 => Durability::Process,
            _ => Durability::Power,
        };
        config.runtime.upload_cores = random.usize(1..3);
        let segment_bytes = 4096 * random.usize(6..14);
        let segments = match random.u8(..4) {
            0 => random.usize(4..8),
            _ => 200,
        };
        let faults_end = random.u64(10..60) * SECOND;
        let is_slow = random.bool();
        let mut plan = Plan {
            seed,
            destinations: match random.u8(..5) {
                0 => 2,
                1 => 3,
                _ => 1,
            },
            rules: random.usize(1..4),
            segment_bytes,
            space_bytes: (segments * segment_bytes) as u64,
            quarantine_bytes: if random.u8(..8) == 0 { 30_000 } else { 1 << 24 },
            when_full: match random.u8(..3) {
                0 => WhenFull::DropOldest,
                _ => WhenFull::Backpressure,
            },
            is_mapped,
            frame_bytes_max: random.usize(200..400),
            pages: random.usize(2..6),
            page_rows_max: random.usize(1..30),
            senders: random.usize(1..5),
            frames: random.usize(160..400),
            text_max: random.usize(10..150),
            poison: match random.u8(..3) {
                0 => 0.02,
                _ => 0.0,
            },
            latency: match is_slow {
                true => (30 * MS, 500 * MS),
                false => (MS, 60 * MS),
            },
            noise: *random.choice(&[0.0, 0.0, 0.05, 0.2]).unwrap(),
            service_bytes_max: match random.u8(..6) {
                0 => size * random.usize(300..1500),
                _ => usize::MAX,
            },
            faults_end,
            blows: Vec::new(),
            config,
        };
        match plan.destinations > 1 && random.u8(..3) == 0 {
            true => plan.one_down(random),
            false => plan.blows(random),
        }
        plan
    }

    /// One destination is down for long, and nothing else is amiss.
    fn one_down(&mut self, random: &mut Rng) {
        (self.noise, self.poison, self.service_bytes_max) = (0.0, 0.0, usize::MAX);
        self.space_bytes = (400 * self.segment_bytes) as u64;
        self.config.spool.durability = Durability::Power;
        self.faults_end = random.u64(40..60) * SECOND;
        let (from, until) = (random.u64(..5 * SECOND), self.faults_end - SECOND);
        let down = random.usize(..self.destinations);
        self.blows.push((from, Blow::Down(down, until)));
        self.blows.push((until, Blow::Others(down)));
    }

    /// What the configuration with so many destinations says of the further ones.
    pub(crate) fn further(&self, destinations: usize) -> Vec<config::Destination> {
        let further = (1..destinations).map(|index| config::Destination {
            name: name_of(index),
            endpoint: self.config.sentinel.endpoint.clone(),
            rules: self.config.sentinel.rules.clone(),
            stream: self.config.sentinel.stream.clone(),
        });
        further.collect()
    }

    fn blows(&mut self, random: &mut Rng) {
        if self.destinations > 1 {
            let window = random.u64(SECOND..self.faults_end);
            let from = random.u64(..window);
            let down = random.usize(..self.destinations);
            self.blows.push((from, Blow::Down(down, window)));
            for _ in 0..random.usize(..4) {
                let at = random.u64(..self.faults_end);
                let count = random.usize(1..=self.destinations);
                self.blows.push((at, Blow::Reload(count)));
            }
        }
        let until = self.faults_end;
        let window = |random: &mut Rng| {
            let from = random.u64(..until);
            (from, random.u64(from..until))
        };
        // a kind of fault that is left out leaves room for what the others do
        if random.u8(..4) > 0 {
            for _ in 0..random.usize(..4) {
                let (from, to) = window(random);
                let trouble = *random.choice(&Trouble::ALL).unwrap();
                self.blows.push((from, Blow::Trouble(trouble, to)));
            }
        }
        if random.u8(..3) == 0 {
            for _ in 0..random.usize(1..4) {
                let (from, to) = window(random);
                let mut mood = Mood::default();
                let chance = *random.choice(&[0.1, 0.5, 1.0]).unwrap();
                let part = match random.u8(..5) {
                    0 => &mut mood.full,
                    1 => &mut mood.read_only,
                    2 => &mut mood.writes,
                    3 => &mut mood.syncs,
                    _ => &mut mood.reads,
                };
                *part = chance;
                self.blows.push((from, Blow::Disk(mood, to)));
            }
        }
        if random.u8(..8) == 0 {
            let time = random.u64(SECOND..12 * SECOND);
            self.blows.push((random.u64(..until), Blow::Stall(time)));
        }
        if random.u8(..3) > 0 {
            for _ in 0..random.usize(..5) {
                let end = match random.u8(..8) {
                    0 | 1 => End::Kill,
                    2 | 3 => End::Stop(random.u64(..3) * random.u64(..5 * SECOND)),
                    4 => End::PowerCut(0.0),
                    5 => End::PowerCut(1.0),
                    _ => End::PowerCut(random.f64()),
                };
                let operations = match end {
                    End::Stop(_) => None,
                    _ => random.bool().then(|| random.u64(1..40)),
                };
                self.blows
                    .push((random.u64(..until), Blow::End(end, operations)));
            }
        }
        if random.u8(..16) == 0 {
            self.blows.push((random.u64(..until), Blow::Rot));
            let kill = Blow::End(End::Kill, None);
            self.blows.push((random.u64(until / 2..until), kill));
        }
        if random.u8(..4) == 0 {
            for _ in 0..random.usize(1..4) {
                let most = *random.choice(&[HOUR, 24 * HOUR, 72 * HOUR]).unwrap() as i64;
                let jump = random.i64(-most..most);
                self.blows.push((random.u64(..until), Blow::Jump(jump)));
            }
        }
        self.blows.sort_by_key(|(at, _)| *at);
    }
}
