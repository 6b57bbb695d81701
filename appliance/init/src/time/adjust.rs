//! Sets and slews the kernel's clock.

use super::ntp::{Nanos, now};
use rustix::time::{ClockId, Timespec, clock_settime};
use std::io;
use std::time::Duration;

/// Sets the clock: forward or back by so much.
pub(super) fn step(offset: Nanos) -> io::Result<()> {
    let time = now() + offset;
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    let timespec = Timespec {
        tv_sec: i64::try_from(time.div_euclid(1_000_000_000)).map_err(invalid)?,
        tv_nsec: i64::try_from(time.rem_euclid(1_000_000_000)).map_err(invalid)?,
    };
    clock_settime(ClockId::Realtime, timespec)?;
    // from here on the kernel keeps the clock of the board right as well
    slew(0, Duration::from_secs(64))
}

/// Lets the kernel take the difference away bit by bit, and learn from it how fast its clock is.
/// `round` is the time until the next difference comes.
pub(super) fn slew(offset: Nanos, round: Duration) -> io::Result<()> {
    adjust(&request(offset, round))
}

fn request(offset: Nanos, round: Duration) -> libc::timex {
    /// What the kernel's loop can take (MAXPHASE).
    const OFFSET_MOST: Nanos = 500_000_000;
    let offset = offset.clamp(-OFFSET_MOST, OFFSET_MOST);
    let mut request = nothing();
    request.modes = libc::ADJ_OFFSET
        | libc::ADJ_STATUS
        | libc::ADJ_NANO
        | libc::ADJ_TIMECONST
        | libc::ADJ_MAXERROR
        | libc::ADJ_ESTERROR;
    // without "unsynchronized" the kernel writes the time to the clock of the board, every 11 minutes
    request.status = libc::STA_PLL;
    request.offset = i64::try_from(offset).unwrap_or(0);
    // the loop's reach is 16 s at 0, and doubles with each
    request.constant = i64::from(round.as_secs().max(16).ilog2()) - 4;
    request
}

#[expect(
    unsafe_code,
    reason = "the standard library and rustix have no adjtimex"
)]
fn nothing() -> libc::timex {
    // SAFETY: the struct is made of integers alone, and for these all zeros is a value
    unsafe { std::mem::zeroed() }
}

#[expect(
    unsafe_code,
    reason = "the standard library and rustix have no adjtimex"
)]
fn adjust(request: &libc::timex) -> io::Result<()> {
    let mut request = *request;
    // SAFETY: the kernel reads and writes the struct it is given, which is ours and whole, and keeps
    // no pointer to it
    let state = unsafe { libc::adjtimex(&raw mut request) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_understands_the_question() {
        // one that changes nothing
        adjust(&nothing()).unwrap();
    }

    #[test]
    fn a_slew_asks_for_no_more_than_the_kernel_takes() {
        let far = request(9_000_000_000, Duration::from_secs(1024));
        assert_eq!((far.offset, far.constant), (500_000_000, 6));
        let near = request(-1000, Duration::from_secs(64));
        assert_eq!((near.offset, near.constant), (-1000, 2));
        assert_eq!(request(0, Duration::ZERO).constant, 0);
    }
}
