//! What messages talk about: users, hosts, sites, browsers, files, words. All invented, on
//! `example.*` names (RFC 2606, RFC 6761), rendered once and then only copied.
//!
//! The pools are much larger than the number of messages in one window of gzip (about 40), so
//! that a copy found there is one that real traffic would have held as well.

use fastrand::Rng;
use std::sync::LazyLock;

/// Seed of the pools. They are the same for all generators, like the streets of one town.
const SEED: u64 = 0x5eed_cef0;
/// About one in so many users, hosts and files has a name outside of ASCII.
const FOREIGN_ONE_IN: usize = 40;

const GIVEN: &[&str] = &[
    "anna", "bea", "carlos", "dana", "emil", "farah", "georg", "hana", "igor", "jun", "kofi",
    "lena", "marek", "nadia", "omar", "petra", "quinn", "ravi", "sofia", "tomas", "uma", "viktor",
    "wanda", "xenia", "yusuf", "zoe", "amir", "britta", "chen", "divya", "elif", "franz",
];
const FAMILY: &[&str] = &[
    "abel", "berger", "castro", "dimov", "eriksen", "ferrari", "gupta", "hansen", "ito", "jansen",
    "kowal", "lopez", "meier", "novak", "okafor", "petrov", "quist", "rossi", "santos", "tanaka",
    "ueda", "vogel", "weber", "xu", "yilmaz", "zhang", "anders", "brandt", "costa", "dubois",
    "egede", "fischer", "garnier", "haas", "ivanov", "joshi", "kaya", "lind", "moreau", "nagy",
    "oliveira", "popescu", "ramos", "sato", "tran", "urban", "varga", "wolf", "young", "zeman",
];
const FOREIGN: &[(&str, &str)] = &[
    ("josé", "garcía"),
    ("zoë", "müller"),
    ("søren", "ørsted"),
    ("łukasz", "wójcik"),
    ("андрей", "соколов"),
    ("美咲", "東"),
    ("şeyma", "çelik"),
    ("hélène", "lefèvre"),
];
const HOST_KINDS: &[&str] = &[
    "ws", "lt", "srv", "db", "vdi", "kiosk", "printer", "ap", "iot", "app",
];
const SITES: &[&str] = &[
    "lon", "ber", "nyc", "sin", "par", "waw", "dub", "tok", "gru", "syd", "mad", "ams",
];
const SITE_FIRST: &[&str] = &[
    "bright", "river", "stone", "cloud", "green", "north", "silver", "quick", "lucky", "blue",
    "data", "shop", "media", "travel", "bank", "health", "game", "news", "metro", "open", "pixel",
    "solar", "urban", "vivid", "wild", "prime", "nova", "orbit", "lumen", "harbor",
];
const SITE_SECOND: &[&str] = &[
    "path", "works", "hub", "store", "labs", "point", "cast", "desk", "line", "field", "press",
    "track", "port", "cdn", "mail", "sync", "track", "ads", "pay", "drive", "cloud", "forge",
];
const SUBDOMAINS: &[&str] = &[
    "", "", "", "www.", "www.", "api.", "cdn.", "static.", "mail.", "login.", "img.",
];
const TOP_LEVELS: &[&str] = &["example.com", "example.net", "example.org", "example"];
const PATHS: &[&str] = &[
    "index",
    "login",
    "images",
    "assets",
    "api",
    "v1",
    "v2",
    "users",
    "search",
    "cart",
    "static",
    "js",
    "css",
    "news",
    "2026",
    "download",
    "files",
    "account",
    "products",
    "docs",
    "media",
    "admin",
    "report",
    "wp-content",
    "uploads",
    "themes",
    "blog",
    "help",
    "events",
    "track",
    "collect",
    "session",
    "oauth",
    "token",
    "graphql",
    "feed",
    "checkout",
    "gate",
    "update",
    "lib",
];
const ENDINGS: &[&str] = &[
    "", "", "", ".html", ".php", ".js", ".css", ".png", ".jpg", ".json", ".aspx", "/",
];
const FILE_WORDS: &[&str] = &[
    "invoice",
    "report",
    "scan",
    "setup",
    "update",
    "order",
    "contract",
    "photo",
    "budget",
    "minutes",
    "statement",
    "backup",
    "letter",
    "quote",
    "manual",
    "payroll",
    "slides",
    "plan",
];
const FILE_ENDINGS: &[&str] = &[
    "pdf", "docx", "xlsm", "exe", "zip", "js", "dll", "lnk", "png", "iso", "ps1", "html",
];
const FOREIGN_FILES: &[&str] = &[
    "Capture d’écran",
    "Überweisung",
    "смета",
    "見積書",
    "año nuevo",
];
const WORDS: &[&str] = &[
    "the",
    "a",
    "of",
    "to",
    "and",
    "in",
    "for",
    "on",
    "with",
    "from",
    "was",
    "is",
    "has",
    "by",
    "at",
    "not",
    "device",
    "connection",
    "server",
    "client",
    "user",
    "traffic",
    "request",
    "response",
    "session",
    "policy",
    "rule",
    "signature",
    "pattern",
    "detected",
    "blocked",
    "allowed",
    "observed",
    "unusual",
    "rare",
    "external",
    "internal",
    "endpoint",
    "domain",
    "address",
    "port",
    "protocol",
    "certificate",
    "account",
    "password",
    "attempt",
    "failed",
    "successful",
    "repeated",
    "multiple",
    "several",
    "possible",
    "likely",
    "suspicious",
    "known",
    "unknown",
    "malicious",
    "activity",
    "behaviour",
    "transfer",
    "upload",
    "download",
    "volume",
    "bytes",
    "minutes",
    "hours",
    "seconds",
    "first",
    "last",
    "seen",
    "since",
    "during",
    "between",
    "after",
    "before",
    "against",
    "through",
    "network",
    "host",
    "file",
    "process",
    "service",
    "scan",
    "beacon",
    "command",
    "control",
    "data",
    "loss",
    "exfiltration",
    "lateral",
    "movement",
    "privilege",
    "escalation",
    "credential",
    "access",
    "remote",
    "desktop",
    "share",
    "admin",
    "new",
    "changed",
    "removed",
    "added",
    "installed",
    "started",
    "stopped",
    "license",
    "update",
    "interface",
    "tunnel",
    "gateway",
    "peer",
    "timeout",
    "reset",
    "threshold",
    "exceeded",
    "rate",
    "level",
    "critical",
    "high",
    "medium",
    "low",
    "information",
    "alert",
    "incident",
    "review",
    "please",
    "contact",
    "team",
    "check",
    "investigate",
    "quarantine",
    "isolated",
    "cleaned",
    "deleted",
    "could",
    "should",
    "may",
    "indicate",
    "compromise",
    "infection",
    "malware",
    "ransom",
    "trojan",
    "backup",
    "database",
    "web",
    "mail",
    "dns",
    "query",
    "record",
    "invalid",
    "expired",
];
const CODES: &[&str] = &[
    "DE", "US", "GB", "FR", "PL", "BR", "JP", "SG", "AU", "IN", "NL", "ES", "IT", "SE", "CA", "ZA",
];
const COUNTRIES: &[&str] = &[
    "Germany",
    "United States",
    "United Kingdom",
    "France",
    "Poland",
    "Brazil",
    "Japan",
    "Singapore",
    "Australia",
    "India",
    "Netherlands",
    "Spain",
    "Italy",
    "Sweden",
    "Canada",
    "South Africa",
];

/// Texts of one kind, one after another.
#[derive(Debug, Default)]
pub(super) struct Pool {
    bytes: Vec<u8>,
    /// Where each text ends; it begins where the one before ends.
    ends: Vec<u32>,
}

impl Pool {
    fn of(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut pool = Pool::default();
        for text in texts {
            pool.bytes.extend_from_slice(text.as_ref().as_bytes());
            pool.ends.push(pool.bytes.len() as u32);
        }
        pool
    }

    /// Text number `index`, counted round.
    pub(super) fn text(&self, index: u32) -> &[u8] {
        let index = index as usize % self.ends.len();
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..self.ends[index] as usize]
    }

    /// An index, each as likely as the next.
    pub(super) fn even(&self, rng: &mut Rng) -> u32 {
        rng.u32(..self.ends.len() as u32)
    }

    /// An index, low ones much likelier: few users and sites make most of the traffic.
    pub(super) fn skewed(&self, rng: &mut Rng) -> u32 {
        let share = u64::from(rng.u32(..));
        let squared = (share * share) >> 32;
        ((squared * self.ends.len() as u64) >> 32) as u32
    }
}

/// All pools.
#[derive(Debug)]
pub(super) struct Pools {
    /// Login names, and under the same index the full names.
    pub(super) logins: Pool,
    pub(super) names: Pool,
    pub(super) hosts: Pool,
    pub(super) sites: Pool,
    pub(super) agents: Pool,
    pub(super) files: Pool,
    pub(super) paths: Pool,
    pub(super) endings: Pool,
    pub(super) words: Pool,
    /// Country codes, and under the same index the names.
    pub(super) codes: Pool,
    pub(super) countries: Pool,
}

/// The pools of this program.
pub(super) static POOLS: LazyLock<Pools> = LazyLock::new(|| Pools::new(SEED));

impl Pools {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let people: Vec<_> = (0..3000).map(|index| person(&mut rng, index)).collect();
        Pools {
            logins: Pool::of(people.iter().map(|(login, _)| login)),
            names: Pool::of(people.iter().map(|(_, name)| name)),
            hosts: Pool::of((0..4000).map(|index| host(&mut rng, index))),
            sites: Pool::of((0..5000).map(|_| site(&mut rng))),
            agents: Pool::of((0..600).map(|_| agent(&mut rng))),
            files: Pool::of((0..3000).map(|index| file(&mut rng, index))),
            paths: Pool::of(PATHS),
            endings: Pool::of(ENDINGS),
            words: Pool::of(WORDS),
            codes: Pool::of(CODES),
            countries: Pool::of(COUNTRIES),
        }
    }
}

fn one<'a, T: ?Sized>(rng: &mut Rng, of: &[&'a T]) -> &'a T {
    of[rng.usize(..of.len())]
}

/// Login and full name.
fn person(rng: &mut Rng, index: usize) -> (String, String) {
    let (given, family) = if index % FOREIGN_ONE_IN == FOREIGN_ONE_IN - 1 {
        FOREIGN[rng.usize(..FOREIGN.len())]
    } else {
        (one(rng, GIVEN), one(rng, FAMILY))
    };
    let number = rng.u32(1..100);
    let initial = given.chars().next().unwrap_or('x');
    let login = match rng.u8(..4) {
        0 => format!("{given}.{family}"),
        1 => format!("{initial}{family}{number}"),
        2 => format!("{family}{initial}"),
        _ => format!("{given}.{family}{number}"),
    };
    (login, format!("{} {}", capital(given), capital(family)))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn host(rng: &mut Rng, index: usize) -> String {
    let (kind, site, number) = (one(rng, HOST_KINDS), one(rng, SITES), rng.u32(1..10_000));
    if index % FOREIGN_ONE_IN == FOREIGN_ONE_IN - 1 {
        return format!(
            "{kind}-{}-{number}",
            one(rng, &["東京", "münchen", "kraków", "são-paulo"])
        );
    }
    match rng.u8(..4) {
        0 => format!("{kind}-{site}-{number:04}"),
        1 => format!("{}{number}.{site}.corp.example.com", kind.to_uppercase()),
        2 => format!("DESKTOP-{:07X}", rng.u32(..0x0fff_ffff)),
        _ => format!("{kind}{number}.corp.example.net"),
    }
}

fn site(rng: &mut Rng) -> String {
    let (below, first, second) = (
        one(rng, SUBDOMAINS),
        one(rng, SITE_FIRST),
        one(rng, SITE_SECOND),
    );
    let top = one(rng, TOP_LEVELS);
    if rng.u8(..4) == 0 {
        format!("{below}{first}{second}{}.{top}", rng.u32(1..1000))
    } else {
        format!("{below}{first}-{second}.{top}")
    }
}

fn agent(rng: &mut Rng) -> String {
    let chrome = format!(
        "{}.0.{}.{}",
        rng.u32(96..140),
        rng.u32(4000..7000),
        rng.u32(10..250)
    );
    let system = one(
        rng,
        &[
            "Windows NT 10.0; Win64; x64",
            "Windows NT 10.0; WOW64",
            "Macintosh; Intel Mac OS X 10_15_7",
            "X11; Linux x86_64",
            "X11; Ubuntu; Linux x86_64",
        ],
    );
    let gecko = "AppleWebKit/537.36 (KHTML, like Gecko)";
    match rng.u8(..10) {
        0 => format!("curl/{}.{}.0", rng.u8(7..9), rng.u8(10..90)),
        1 => format!("python-requests/2.{}.{}", rng.u8(20..33), rng.u8(..4)),
        2 => format!("okhttp/{}.{}.{}", rng.u8(3..6), rng.u8(..13), rng.u8(..3)),
        3 => {
            let version = rng.u32(90..140);
            format!("Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0")
        }
        4 => format!(
            "Mozilla/5.0 (iPhone; CPU iPhone OS {}_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{}.0 Mobile/15E{} Safari/604.1",
            rng.u8(14..19),
            rng.u8(..7),
            rng.u8(14..19),
            rng.u8(100..200)
        ),
        5 => format!("Mozilla/5.0 ({system}) {gecko} Chrome/{chrome} Safari/537.36 Edg/{chrome}"),
        _ => format!("Mozilla/5.0 ({system}) {gecko} Chrome/{chrome} Safari/537.36"),
    }
}

fn file(rng: &mut Rng, index: usize) -> String {
    let (number, ending) = (rng.u32(1..100_000), one(rng, FILE_ENDINGS));
    if index % FOREIGN_ONE_IN == FOREIGN_ONE_IN - 1 {
        return format!("{} {number}.{ending}", one(rng, FOREIGN_FILES));
    }
    let (first, second) = (one(rng, FILE_WORDS), one(rng, FILE_WORDS));
    match rng.u8(..4) {
        0 => format!("{}_{number}.{ending}", capital(first)),
        1 => format!("{first} {second} {}.{ending}", rng.u32(2019..2027)),
        2 => format!("{first}-{second}-v{}.{ending}", rng.u8(1..12)),
        _ => format!("{first}{number}.{ending}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_whole_and_the_index_counts_round() {
        let pool = Pool::of(["ab", "", "c"]);
        let texts: Vec<_> = (0..4).map(|index| pool.text(index)).collect();
        assert_eq!(texts, [&b"ab"[..], b"", b"c", b"ab"]);
    }

    #[test]
    fn skewed_draws_stay_inside_and_favour_low_indexes() {
        let pool = Pool::of((0..100).map(|n| n.to_string()));
        let mut rng = Rng::with_seed(4);
        let low = (0..10_000).filter(|_| {
            let index = pool.skewed(&mut rng);
            assert!(index < 100);
            index < 25
        });
        assert!((4_500..5_500).contains(&low.count()));
    }

    #[test]
    fn no_text_of_a_pool_would_break_a_message() {
        let pools = &*POOLS;
        for pool in [
            &pools.logins,
            &pools.names,
            &pools.hosts,
            &pools.sites,
            &pools.agents,
            &pools.files,
            &pools.paths,
            &pools.words,
            &pools.codes,
            &pools.countries,
        ] {
            for index in 0..pool.ends.len() as u32 {
                let text = std::str::from_utf8(pool.text(index)).unwrap();
                assert!(!text.is_empty());
                assert!(!text.contains(['=', '|', '\\', '\n', '\r']), "{text}");
            }
        }
    }
}
