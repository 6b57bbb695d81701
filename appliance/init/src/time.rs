//! Sets the clock of this machine, and keeps it.
//!
//! ```text
//! the hypervisor's clock (/dev/ptp*), if there is one ---.
//!                                                        '--> how far off --> step, or slew
//! time servers (SNTP), of several answers the best ------'
//! ```
//!
//! At first a clock that is off by more than half a second is set; a smaller difference, and every
//! one later, is slewed away by the kernel, for rows are stamped by this clock and should not go back
//! in time. A machine that slept is the exception: if three rounds in a row say that its clock is off
//! by more than that, it is set, and the console tells so.
//!
//! The boot waits [`BOOT_WAIT`] for the first round, and no longer: the clock of the board is good
//! enough to begin with. [`Discipline`] decides, and is pure; so is all of [`ntp`] but its sockets.

mod adjust;
mod ntp;
mod ptp;

use crate::clock::since_boot;
use crate::settings::NTP_MOST;
use ntp::{Nanos, Sample};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The boot waits no longer than this for the time.
const BOOT_WAIT: Duration = Duration::from_secs(3);
/// Of a clock that is off by more it is better to set it than to wait: slewing takes 2000 s for a
/// second.
const STEP_LEAST: Nanos = 500_000_000;
/// A later step needs so many rounds that agree.
const FAR_ROUNDS: u32 = 3;
/// As often as is good manners, and as seldom as a clock of a computer allows.
const ROUND_WAIT_LEAST: Duration = Duration::from_secs(64);
const ROUND_WAIT_MOST: Duration = Duration::from_secs(1024);
/// A clock this near may be asked for less often; one this far must be asked for more often.
const NEAR: Nanos = 5_000_000;
const FAR: Nanos = 50_000_000;
/// After a round without an answer, doubled up to [`ROUND_WAIT_LEAST`].
const SILENCE_WAIT: Duration = Duration::from_secs(2);
/// Of each server so many answers, of which the quickest counts; so long apart.
const ANSWERS_PER_ROUND: usize = 3;
const ANSWER_PAUSE: Duration = Duration::from_secs(2);
/// An answer that takes longer says too little.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Keeps the clock, in a thread that never ends. `servers` are asked for before each round, so that
/// those of a network that comes late are used; `say` hears of every step and of the first failure.
///
/// # Errors
/// There is no thread for it.
pub fn keep(
    servers: impl Fn() -> Vec<String> + Send + 'static,
    say: impl Fn(&str) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (done, first) = sync_channel(1);
    let thread = thread::Builder::new()
        .name("time".to_owned())
        .spawn(move || {
            let clock = ptp::Clock::find(Path::new("/sys/class/ptp"), Path::new("/dev"));
            let mut keeper = Keeper {
                clock,
                discipline: Discipline::default(),
                is_told: None,
                say,
            };
            loop {
                let wait = keeper.round(&servers());
                // the boot may have gone on
                let _ = done.try_send(());
                thread::sleep(wait);
            }
        })?;
    let _ = first.recv_timeout(BOOT_WAIT);
    Ok(thread)
}

struct Keeper<S> {
    clock: Option<ptp::Clock>,
    discipline: Discipline,
    /// What was last said of success or failure, which is not said again.
    is_told: Option<String>,
    say: S,
}

impl<S: Fn(&str)> Keeper<S> {
    /// One round: ask, and do what is to be done. Gives how long to wait then.
    fn round(&mut self, servers: &[String]) -> Duration {
        let (offset, source) = match self.ask(servers) {
            Ok(answer) => answer,
            Err(why) => {
                let text = format!("time is not kept: {why}");
                self.tell_once("silent", &text);
                return self.discipline.silence();
            }
        };
        let act = self.discipline.judge(offset);
        let wait = self.discipline.wait;
        let done = match act {
            Act::Step => adjust::step(offset),
            Act::Slew => adjust::slew(offset, wait),
            Act::Wait => Ok(()),
        };
        let seconds = seconds(offset);
        match (act, done) {
            (_, Err(error)) => {
                let text = format!("time cannot be set by {source}: {error}");
                self.tell_once("refused", &text);
            }
            (Act::Step, Ok(())) => {
                (self.say)(&format!("time set by {source}: was off by {seconds:+.3} s"));
                self.is_told = Some("kept".to_owned());
            }
            (Act::Slew, Ok(())) => {
                let text = format!("time kept by {source}: off by {seconds:+.6} s");
                self.tell_once("kept", &text);
            }
            (Act::Wait, Ok(())) => {
                let text = format!("time is off by {seconds:+.3} s, says {source}");
                self.tell_once("far", &text);
            }
        }
        wait
    }

    fn tell_once(&mut self, kind: &str, text: &str) {
        if self.is_told.as_deref() != Some(kind) {
            (self.say)(text);
            self.is_told = Some(kind.to_owned());
        }
    }

    fn ask(&mut self, servers: &[String]) -> Result<(Nanos, String), String> {
        if let Some(clock) = &self.clock
            && let Ok(offset) = clock.offset()
        {
            return Ok((offset, clock.name().to_owned()));
        }
        if servers.is_empty() {
            return Err("no time server is known, and the hypervisor has no clock".to_owned());
        }
        let addresses = addresses(servers);
        if addresses.is_empty() {
            return Err(format!("no address for {}", servers.join(", ")));
        }
        // of the first round, one answer each: the boot waits for it
        let is_first = !self.discipline.is_set;
        let answers = if is_first { 1 } else { ANSWERS_PER_ROUND };
        let mut samples = Vec::new();
        let mut refused = None;
        for number in 0..answers {
            if number > 0 {
                thread::sleep(ANSWER_PAUSE);
            }
            for (server, answer) in ntp::ask(&addresses, ANSWER_WAIT) {
                match answer {
                    Ok(sample) => samples.push((server, sample)),
                    Err(why) => refused = Some(format!("{server}: {why}")),
                }
            }
        }
        let best = best(&samples).ok_or_else(|| {
            refused.unwrap_or_else(|| format!("no answer from {}", servers.join(", ")))
        })?;
        Ok((best.1.offset, best.0.ip().to_string()))
    }
}

/// All that the names stand for, a few of each.
fn addresses(servers: &[String]) -> Vec<SocketAddr> {
    const NTP_PORT: u16 = 123;
    let each = NTP_MOST / servers.len().clamp(1, NTP_MOST);
    let mut addresses = Vec::new();
    for server in servers.iter().take(NTP_MOST) {
        if let Ok(found) = std::net::ToSocketAddrs::to_socket_addrs(&(server.as_str(), NTP_PORT)) {
            addresses.extend(found.take(each));
        }
    }
    addresses
}

/// Of each server the answer that was quickest on its way; of three servers and more the one in the
/// middle, so that one that lies counts for nothing; of two the one that is nearer to a real clock.
fn best(samples: &[(SocketAddr, Sample)]) -> Option<(SocketAddr, Sample)> {
    let mut of_each: Vec<(SocketAddr, Sample)> = Vec::new();
    for (server, sample) in samples {
        match of_each.iter_mut().find(|(known, _)| known == server) {
            Some((_, known)) if known.delay <= sample.delay => {}
            Some((_, known)) => *known = *sample,
            None => of_each.push((*server, *sample)),
        }
    }
    if of_each.len() < 3 {
        return of_each.into_iter().min_by_key(|(_, one)| one.distance());
    }
    of_each.sort_by_key(|(_, sample)| sample.offset);
    of_each.get(of_each.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "it is for people to read")]
fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

/// What is done about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// The clock is set.
    Step,
    /// The kernel lets it go faster or slower for a while.
    Slew,
    /// Nothing yet: it may be the server that is wrong.
    Wait,
}

/// Decides what is done about a difference, and when to ask again.
#[derive(Debug)]
struct Discipline {
    /// The clock was right once.
    is_set: bool,
    /// Rounds in a row that said that it is far off.
    far_count: u32,
    wait: Duration,
    silence_wait: Duration,
}

impl Default for Discipline {
    fn default() -> Self {
        Discipline {
            is_set: false,
            far_count: 0,
            wait: ROUND_WAIT_LEAST,
            silence_wait: SILENCE_WAIT,
        }
    }
}

impl Discipline {
    fn judge(&mut self, offset: Nanos) -> Act {
        self.silence_wait = SILENCE_WAIT;
        let is_far = offset.abs() > STEP_LEAST;
        self.far_count = if is_far { self.far_count + 1 } else { 0 };
        let act = match is_far {
            true if !self.is_set || self.far_count >= FAR_ROUNDS => Act::Step,
            true => Act::Wait,
            false => Act::Slew,
        };
        if act == Act::Step {
            self.far_count = 0;
        }
        if act != Act::Wait {
            self.is_set = true;
        }
        self.wait = match offset.abs() {
            ..NEAR if act == Act::Slew => (self.wait * 2).min(ROUND_WAIT_MOST),
            NEAR..FAR => self.wait,
            _ => ROUND_WAIT_LEAST,
        };
        act
    }

    /// Nobody answered.
    fn silence(&mut self) -> Duration {
        let wait = self.silence_wait;
        self.silence_wait = (wait * 2).min(ROUND_WAIT_LEAST);
        wait
    }
}

/// A time that is off by the last bits of the time since the boot: good for numbers that only have to
/// differ.
fn differing() -> u64 {
    let mut bytes = [0; 8];
    if rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::INSECURE).is_err() {
        return since_boot().as_micros() as u64;
    }
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_clock_is_set_at_first_and_slewed_after() {
        let mut discipline = Discipline::default();
        assert_eq!(discipline.judge(3 * SECOND), Act::Step);
        assert_eq!(discipline.judge(-SECOND / 4), Act::Slew);
        let mut near = Discipline::default();
        assert_eq!(near.judge(SECOND / 4), Act::Slew);
        assert_eq!(near.judge(3 * SECOND), Act::Wait);
    }

    #[test]
    fn a_machine_that_slept_is_set_when_three_rounds_agree() {
        let mut discipline = Discipline::default();
        discipline.judge(0);
        let acts = [(); 4].map(|()| discipline.judge(600 * SECOND));
        assert_eq!(acts, [Act::Wait, Act::Wait, Act::Step, Act::Wait]);
    }

    #[test]
    fn a_clock_that_is_right_is_asked_for_less_often() {
        let mut discipline = Discipline::default();
        let waits = [(); 5].map(|()| {
            discipline.judge(NEAR / 2);
            discipline.wait.as_secs()
        });
        assert_eq!(waits, [128, 256, 512, 1024, 1024]);
        discipline.judge(-FAR);
        assert_eq!(discipline.wait, ROUND_WAIT_LEAST);
    }

    #[test]
    fn silence_is_asked_again_soon_then_less_soon() {
        let mut discipline = Discipline::default();
        let waits = [(); 7].map(|()| discipline.silence().as_secs());
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 64]);
    }

    fn sample(offset: Nanos, delay: u64) -> Sample {
        Sample {
            offset,
            delay: Duration::from_millis(delay),
            root_distance: Duration::ZERO,
        }
    }

    #[test]
    fn of_three_servers_one_that_lies_counts_for_nothing() {
        let at = |n| SocketAddr::from(([10, 0, 0, n], 123));
        let samples = [
            (at(1), sample(7, 40)),
            (at(1), sample(5, 20)),
            (at(2), sample(999 * SECOND, 1)),
            (at(3), sample(4, 30)),
        ];
        assert_eq!(best(&samples), Some((at(1), sample(5, 20))));
        assert_eq!(best(&samples[..2]), Some((at(1), sample(5, 20))));
        assert_eq!(best(&[]), None);
    }

    proptest! {
        #[test]
        fn whatever_is_said_the_waits_keep_their_bounds(offsets: Vec<Option<i64>>) {
            let mut discipline = Discipline::default();
            let mut set_count = 0;
            for offset in offsets {
                let wait = match offset {
                    Some(offset) => {
                        let act = discipline.judge(offset.into());
                        if act == Act::Step {
                            set_count += 1;
                        }
                        prop_assert!(act != Act::Slew || Nanos::from(offset).abs() <= STEP_LEAST);
                        discipline.wait
                    }
                    None => discipline.silence(),
                };
                prop_assert!((SILENCE_WAIT..=ROUND_WAIT_MOST).contains(&wait));
            }
            prop_assert!(set_count == 0 || discipline.is_set);
        }
    }
}
