//! Asks time servers (SNTP: RFC 4330, with the checks of RFC 5905).
//!
//! A question carries a number that cannot be guessed in the place of our time, which is nobody's
//! business; only an answer that brings it back counts. [`read`] is pure.

use super::differing;
use crate::clock::since_boot;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Nanoseconds: of a difference, or since 1970.
pub(crate) type Nanos = i128;

const PACKET_BYTES: usize = 48;
/// An answer tells 32 bits of seconds; they are taken to be after the start of 2025, and for 68 years.
const EARLIEST: Nanos = 1_735_689_600 * 1_000_000_000;
const LATEST: Nanos = EARLIEST + (1 << 31) * 1_000_000_000;
/// Seconds from 1900 to 1970.
const EPOCH: i128 = 2_208_988_800;
/// A server that is further from a real clock than this knows too little (RFC 5905: MAXDIST).
const DISTANCE_MOST: Duration = Duration::from_millis(1500);

/// What one answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// What our clock lacks.
    pub(crate) offset: Nanos,
    /// How long question and answer were on their way.
    pub(crate) delay: Duration,
    /// How far the server itself may be off.
    pub(crate) root_distance: Duration,
}

impl Sample {
    /// How far what it says may be off.
    pub(crate) fn distance(&self) -> Duration {
        self.root_distance + self.delay / 2
    }
}

/// An answer that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is no answer to our question.
    NotOurs,
    /// The server wants not to be asked, or so often.
    GoAway([u8; 4]),
    /// The server itself does not know the time.
    Unsynchronized,
    /// It says what cannot be.
    Impossible,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotOurs => f.write_str("its answer is not to our question"),
            Refused::GoAway(code) => write!(f, "it refuses with {}", code.escape_ascii()),
            Refused::Unsynchronized => f.write_str("it does not know the time itself"),
            Refused::Impossible => f.write_str("its times cannot be"),
        }
    }
}

/// Asks all at once, and waits for each for so long.
pub(crate) fn ask(
    servers: &[SocketAddr],
    patience: Duration,
) -> Vec<(SocketAddr, Result<Sample, Refused>)> {
    let mut asked: Vec<Asked> = servers.iter().filter_map(|to| Asked::ask(*to)).collect();
    let mut answers = Vec::new();
    // by the clock that no step of anybody's changes
    let end = since_boot() + patience;
    while !asked.is_empty() {
        let left = end.saturating_sub(since_boot());
        if left.is_zero() {
            break;
        }
        let time = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds: Vec<_> = asked
            .iter()
            .map(|one| PollFd::new(&one.socket, PollFlags::IN))
            .collect();
        let count = poll(&mut fds, Some(&time));
        // the moment of arrival, as near as it can be had
        let received = now();
        let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        match count {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => break,
        }
        let mut came = came.into_iter();
        asked.retain(|one| {
            if !came.next().unwrap_or(false) {
                return true;
            }
            let mut packet = [0; PACKET_BYTES];
            match one.socket.recv(&mut packet) {
                Ok(length) => {
                    let answer = read(&packet[..length], one.number, one.sent, received);
                    // what is not ours is as if it had not come
                    let is_ours = answer != Err(Refused::NotOurs);
                    if is_ours {
                        answers.push((one.server, answer));
                    }
                    !is_ours
                }
                // nobody is there
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            }
        });
    }
    answers
}

/// A question that was sent.
struct Asked {
    server: SocketAddr,
    socket: UdpSocket,
    number: u64,
    sent: Nanos,
}

impl Asked {
    fn ask(server: SocketAddr) -> Option<Self> {
        let socket = match server {
            SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
        }
        .ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(server).ok()?;
        let number = differing();
        let sent = now();
        socket.send(&question(number)).ok()?;
        Some(Asked {
            server,
            socket,
            number,
            sent,
        })
    }
}

/// What our clock says.
pub(crate) fn now() -> Nanos {
    let now = clock_gettime(ClockId::Realtime);
    Nanos::from(now.tv_sec) * 1_000_000_000 + Nanos::from(now.tv_nsec)
}

/// True of a time that can be.
pub(crate) fn is_plausible(time: Nanos) -> bool {
    (EARLIEST..LATEST).contains(&time)
}

/// Version 4, from a client.
fn question(number: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    packet[0] = 4 << 3 | 3;
    packet[40..].copy_from_slice(&number.to_be_bytes());
    packet
}

/// What an answer says, to a question of that number that was sent then and answered then.
fn read(packet: &[u8], number: u64, sent: Nanos, received: Nanos) -> Result<Sample, Refused> {
    let packet: &[u8; PACKET_BYTES] = packet.first_chunk().ok_or(Refused::NotOurs)?;
    let (leap, version, mode) = (packet[0] >> 6, packet[0] >> 3 & 7, packet[0] & 7);
    let is_ours = mode == 4 && (1..=4).contains(&version) && field(packet, 24) == number;
    if !is_ours {
        return Err(Refused::NotOurs);
    }
    let stratum = packet[1];
    if stratum == 0 {
        return Err(Refused::GoAway([
            packet[12], packet[13], packet[14], packet[15],
        ]));
    }
    if leap == 3 || stratum > 15 || field(packet, 40) == 0 {
        return Err(Refused::Unsynchronized);
    }
    let root_distance = short(packet, 4) / 2 + short(packet, 8);
    if root_distance > DISTANCE_MOST {
        return Err(Refused::Unsynchronized);
    }
    let (heard, answered) = (time(field(packet, 32)), time(field(packet, 40)));
    let away = received - sent;
    let held = answered - heard;
    // a clock may tick coarsely, but no answer is made before its question
    if !is_plausible(answered) || held < 0 || away < 0 || held > away + 1_000_000 {
        return Err(Refused::Impossible);
    }
    Ok(Sample {
        offset: ((heard - sent) + (answered - received)) / 2,
        delay: Duration::from_nanos(u64::try_from(away - held).unwrap_or(0)),
        root_distance,
    })
}

fn field(packet: &[u8; PACKET_BYTES], at: usize) -> u64 {
    let bytes = packet.get(at..).and_then(|rest| rest.first_chunk());
    u64::from_be_bytes(bytes.copied().unwrap_or_default())
}

/// Seconds since 1900 in 32 bits, and the rest in 32 more; since 1970 in nanoseconds.
fn time(field: u64) -> Nanos {
    let earliest = EARLIEST / 1_000_000_000;
    let since_1900 = Nanos::from(field >> 32);
    // the field has forgotten how often its 32 bits were full
    let after_earliest = (since_1900 - EPOCH - earliest).rem_euclid(1 << 32);
    let rest = (Nanos::from(field & 0xffff_ffff) * 1_000_000_000) >> 32;
    (earliest + after_earliest) * 1_000_000_000 + rest
}

/// Seconds in 16 bits, and the rest in 16 more.
fn short(packet: &[u8; PACKET_BYTES], at: usize) -> Duration {
    let value = field(packet, at) >> 32;
    Duration::from_nanos((value * 1_000_000_000) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    const SECOND: Nanos = 1_000_000_000;
    const NOW: Nanos = 1_800_000_000 * SECOND;

    fn stamp(time: Nanos) -> [u8; 8] {
        let seconds = u64::try_from(time / SECOND + EPOCH).unwrap() & 0xffff_ffff;
        let rest = u64::try_from(((time % SECOND) << 32) / SECOND).unwrap();
        (seconds << 32 | rest).to_be_bytes()
    }

    fn answer(number: u64, heard: Nanos, answered: Nanos) -> [u8; PACKET_BYTES] {
        let mut packet = question(number);
        packet[0] = 4 << 3 | 4;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&number.to_be_bytes());
        packet[32..40].copy_from_slice(&stamp(heard));
        packet[40..].copy_from_slice(&stamp(answered));
        packet
    }

    #[test]
    fn the_way_there_and_back_is_taken_out() {
        let server = NOW + 5 * SECOND;
        let packet = answer(7, server + SECOND / 10, server + SECOND / 5);
        let sample = read(&packet, 7, NOW, NOW + 3 * SECOND / 10).unwrap();
        assert!((sample.offset - 5 * SECOND).abs() < 10, "{sample:?}");
        assert_eq!(sample.delay.as_millis(), 200);
    }

    #[test]
    fn what_cannot_be_trusted_is_refused() {
        let good = answer(7, NOW, NOW);
        let with = |at: usize, value: u8| {
            let mut packet = good;
            packet[at] = value;
            read(&packet, 7, NOW, NOW + 1000)
        };
        assert!(with(1, 2).is_ok());
        assert_eq!(read(&good, 8, NOW, NOW), Err(Refused::NotOurs));
        assert_eq!(read(&good[..47], 7, NOW, NOW), Err(Refused::NotOurs));
        assert_eq!(with(0, 4 << 3 | 3), Err(Refused::NotOurs));
        assert_eq!(with(0, 3 << 6 | 4 << 3 | 4), Err(Refused::Unsynchronized));
        assert_eq!(with(1, 16), Err(Refused::Unsynchronized));
        assert_eq!(with(9, 2), Err(Refused::Unsynchronized));
        assert_eq!(with(1, 0), Err(Refused::GoAway([0; 4])));
        let before = answer(7, NOW, NOW - SECOND);
        assert_eq!(read(&before, 7, NOW, NOW + 1000), Err(Refused::Impossible));
        // held for longer than it was away
        let longer = answer(7, NOW, NOW + SECOND);
        assert_eq!(read(&longer, 7, NOW, NOW + 1000), Err(Refused::Impossible));
    }

    #[test]
    fn the_seconds_go_on_when_their_bits_are_full() {
        // in February of 2036
        let full = ((1_i128 << 32) - EPOCH) * SECOND;
        for around in [full - SECOND, full, full + SECOND] {
            assert_eq!(time(u64::from_be_bytes(stamp(around))), around);
        }
    }

    #[test]
    fn a_server_is_asked_and_one_that_is_silent_waited_for_but_a_while() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addresses = [server.local_addr().unwrap(), silent.local_addr().unwrap()];
        let there = thread::spawn(move || {
            let mut packet = [0; PACKET_BYTES];
            let (_, from) = server.recv_from(&mut packet).unwrap();
            let number = field(&packet, 40);
            let theirs = now() + 90 * SECOND;
            // another's answer first
            let stray = answer(number ^ 1, theirs, theirs);
            server.send_to(&stray, from).unwrap();
            let good = answer(number, theirs, theirs);
            server.send_to(&good, from).unwrap();
        });
        let answers = ask(&addresses, Duration::from_millis(300));
        there.join().unwrap();
        assert_eq!(answers.len(), 1);
        let (from, sample) = &answers[0];
        assert_eq!(*from, addresses[0]);
        let off = sample.as_ref().unwrap().offset - 90 * SECOND;
        assert!(off.abs() < SECOND / 5, "{off}");
    }

    proptest! {
        #[test]
        fn no_packet_is_too_bad_to_be_read(
            mut packet in proptest::collection::vec(any::<u8>(), 0..80),
            is_answer: bool,
            sent: i64,
            received: i64,
        ) {
            if is_answer && packet.len() >= 32 {
                packet[0] = 4 << 3 | 4;
                packet[24..32].copy_from_slice(&7_u64.to_be_bytes());
            }
            if let Ok(sample) = read(&packet, 7, sent.into(), received.into()) {
                prop_assert!(sample.root_distance <= DISTANCE_MOST);
            }
        }
    }
}
