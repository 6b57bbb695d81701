//! Brings the machine onto its network, and keeps it there.
//!
//! ```text
//! settings --> choose one interface --> addresses: DHCP, router advertisements, DHCPv6, or as told
//!                                              |
//!              the kernel (addresses, routes) <-'-> /etc/resolv.conf
//!                      |
//!                      '--> what is so now: [`State`], for the console and for the rest of the boot
//! ```
//!
//! One thread does it all, from the first carrier to the last renewal, and begins anew when the
//! interface goes away. Two protocols are pure state machines, [`dhcp4`] and [`dhcp6`], to which
//! [`session`] lends its sockets and its clock; router advertisements (SLAAC) are the kernel's work.
//! [`State`] is what the kernel says, not what was asked of it. Addresses that are lent are given to
//! the kernel with their time, so that it takes them away even if this thread should stand still.
//!
//! Only the chosen interface takes router advertisements, and only if the settings say `auto`; IPv6
//! is off on all until then.

mod dhcp4;
mod dhcp6;
mod lease;
mod links;
mod resolv;
mod session;

use crate::clock::since_boot;
use crate::netlink;
use crate::settings::{self, Ipv4};
use session::Session;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// So long the boot waits for an address; after that it goes on without.
const BOOT_WAIT: Duration = Duration::from_secs(10);
/// With an IPv6 address alone, so long for an IPv4 address to come as well.
const SECOND_FAMILY_WAIT: Duration = Duration::from_secs(4);
/// Before all is begun anew.
const AGAIN_WAIT: Duration = Duration::from_secs(1);
/// Where /etc/resolv.conf points to: the root is closed to writing.
const RESOLV_CONF: &str = "/run/resolv.conf";
/// What the kernel takes.
const HOSTNAME_BYTES_MOST: usize = 64;
const HOSTNAME: &str = "/etc/hostname";

/// The network, kept.
#[derive(Debug, Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is so now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The chosen interface, once it is chosen.
    pub interface: Option<String>,
    /// Its addresses that others can reach, with the bits of their networks; IPv4 first.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its routers.
    pub gateways: Vec<IpAddr>,
    /// Resolvers.
    pub dns: Vec<IpAddr>,
    /// Time servers: those of the settings, else those that DHCP names.
    pub ntp: Vec<String>,
    /// What DHCP calls this machine.
    pub hostname: Option<String>,
    /// What last went wrong, if it still matters.
    pub trouble: Option<String>,
}

/// As the console has it: `eth0 10.0.2.15/24 gateway 10.0.2.2 dns 10.0.2.3`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.interface.as_deref().unwrap_or("no interface"))?;
        if self.addresses.is_empty() {
            f.write_str(" no address")?;
        }
        for (address, prefix) in &self.addresses {
            write!(f, " {address}/{prefix}")?;
        }
        for (what, addresses) in [("gateway", &self.gateways), ("dns", &self.dns)] {
            for address in addresses {
                write!(f, " {what} {address}")?;
            }
        }
        if let Some(trouble) = &self.trouble {
            write!(f, " ({trouble})")?;
        }
        Ok(())
    }
}

/// The network cannot be kept at all.
#[derive(Debug)]
pub struct Error {
    what: String,
    cause: io::Error,
}

impl Error {
    fn new(what: impl Into<String>, cause: impl Into<io::Error>) -> Self {
        Error {
            what: what.into(),
            cause: cause.into(),
        }
    }

    fn plain(what: impl Into<String>) -> Self {
        Error::new(what, io::ErrorKind::NotFound)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause.kind() {
            io::ErrorKind::NotFound => f.write_str(&self.what),
            _ => write!(f, "{}: {}", self.what, self.cause),
        }
    }
}

impl std::error::Error for Error {}

impl From<netlink::Error> for io::Error {
    fn from(error: netlink::Error) -> Self {
        error.cause
    }
}

impl Network {
    /// Brings it up: waits up to 10 s for an address, and goes on trying after that.
    ///
    /// # Errors
    /// The kernel has no netlink, or no thread to give.
    pub fn bring_up(settings: &settings::Network) -> Result<Network, Error> {
        Network::bring_up_with(settings, Path::new(RESOLV_CONF))
    }

    /// As [`Network::bring_up`], with another file for the resolvers.
    ///
    /// # Errors
    /// As there.
    pub fn bring_up_with(
        settings: &settings::Network,
        resolv_conf: &Path,
    ) -> Result<Network, Error> {
        let mut socket = open(0)?;
        loopback_up(&mut socket)?;
        let shared = Arc::new(Shared::default());
        let keeper = Keeper {
            settings: settings.clone(),
            resolv_conf: resolv_conf.to_owned(),
            shared: Arc::clone(&shared),
        };
        thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || keeper.keep())
            .map_err(|cause| Error::new("no thread for the network", cause))?;
        let network = Network { shared };
        network.wait(settings);
        Ok(network)
    }

    /// What is so now.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.lock().clone()
    }

    fn wait(&self, settings: &settings::Network) {
        let begun = since_boot();
        let mut state = self.shared.lock();
        loop {
            let passed = since_boot().saturating_sub(begun);
            let has = |ipv4| state.addresses.iter().any(|(one, _)| one.is_ipv4() == ipv4);
            let limit = if has(true) || (has(false) && settings.ipv4 == Ipv4::Off) {
                return;
            } else if has(false) {
                SECOND_FAMILY_WAIT
            } else {
                BOOT_WAIT
            };
            let Some(left) = limit.checked_sub(passed).filter(|left| !left.is_zero()) else {
                return;
            };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Names this machine.
///
/// # Errors
/// It is no name, or the kernel would not have it.
pub fn set_hostname(name: &str) -> Result<(), Error> {
    let name = checked_name(name.as_bytes())
        .filter(|name| name.len() <= HOSTNAME_BYTES_MOST)
        .ok_or_else(|| Error::plain(format!("`{name}` is no name of a machine")))?;
    let refused = |cause| Error::new(format!("this machine is not named {name}"), cause);
    rustix::system::sethostname(name.as_bytes()).map_err(|errno| refused(errno.into()))?;
    fs::write(HOSTNAME, format!("{name}\n")).map_err(refused)
}

/// A name of a machine or a domain, out of what a stranger sent: such a name goes into files.
fn checked_name(bytes: &[u8]) -> Option<String> {
    const NAME_BYTES_MOST: usize = 253;
    let end = bytes.iter().rposition(|byte| *byte != 0 && *byte != b'.')?;
    let name = &bytes[..=end];
    let is_good = name.len() <= NAME_BYTES_MOST
        && name.split(|byte| *byte == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && label[0] != b'-'
                && label
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        });
    is_good.then(|| String::from_utf8(name.to_vec()).ok())?
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // whoever held it wrote whole states only
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_all();
    }
}

fn open(groups: u32) -> Result<netlink::Socket, Error> {
    netlink::Socket::open(netlink::ROUTE, groups)
        .map_err(|cause| Error::new("the kernel's netlink cannot be opened", cause))
}

fn loopback_up(socket: &mut netlink::Socket) -> Result<(), Error> {
    const LOOPBACK_INDEX: u32 = 1;
    links::set_up(socket, LOOPBACK_INDEX, true)
        .map_err(|cause| Error::new("loopback cannot be brought up", cause))
}

/// What the thread begins with, each time anew.
#[derive(Debug)]
struct Keeper {
    settings: settings::Network,
    resolv_conf: PathBuf,
    shared: Arc<Shared>,
}

impl Keeper {
    fn keep(&self) {
        loop {
            let Err(error) = Session::begin(self).and_then(Session::run) else {
                return;
            };
            self.shared.set(State {
                trouble: Some(error.to_string()),
                ntp: self.settings.ntp.clone(),
                ..State::default()
            });
            thread::sleep(AGAIN_WAIT);
        }
    }
}

/// Numbers that others on the link cannot guess at the start, for transactions and their waits.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // the steps below never leave 0
        Random(seed | 1 << 63)
    }

    fn from_kernel() -> Self {
        let mut seed = [0; 8];
        if rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::INSECURE).is_err() {
            seed = since_boot().as_nanos().to_ne_bytes()[..8]
                .try_into()
                .unwrap_or_default();
        }
        Random::new(u64::from_ne_bytes(seed))
    }

    /// xorshift64*, by Marsaglia and Vigna.
    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// A time that is off by at most so much.
    pub(crate) fn around(&mut self, time: Duration, by: Duration) -> Duration {
        let share = f64::from(self.next()) / f64::from(u32::MAX);
        (time + by.mul_f64(share * 2.0)).saturating_sub(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_console_sees_one_line() {
        let state = State {
            interface: Some("eth0".to_owned()),
            addresses: vec![([10, 0, 2, 15].into(), 24)],
            gateways: vec![[10, 0, 2, 2].into()],
            dns: vec![[10, 0, 2, 3].into()],
            ..State::default()
        };
        let line = "eth0 10.0.2.15/24 gateway 10.0.2.2 dns 10.0.2.3";
        assert_eq!(state.to_string(), line);
    }

    #[test]
    fn names_are_of_letters_digits_and_hyphens() {
        for good in ["a", "log-1.example.org", "a_b"] {
            assert_eq!(checked_name(good.as_bytes()).as_deref(), Some(good));
        }
        assert_eq!(
            checked_name(b"example.org.\0").as_deref(),
            Some("example.org")
        );
        for bad in ["", ".", "a..b", "-a", "a b", "a\nb", "a/b", "\u{e4}"] {
            assert_eq!(checked_name(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_off_by_no_more_than_told(seed: u64, time in 0..100_000_u64, by in 0..1000_u64) {
            let (time, by) = (Duration::from_millis(time), Duration::from_millis(by));
            let around = Random::new(seed).around(time, by);
            prop_assert!(around <= time + by && around + by >= time);
        }

        #[test]
        fn a_checked_name_may_stand_in_a_file(bytes: Vec<u8>) {
            if let Some(name) = checked_name(&bytes) {
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
            }
        }
    }
}
