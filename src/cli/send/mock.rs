//! `cefline send --test`: Microsoft's test messages, what each is, and how to find it.

use super::super::Failure;
use crate::clock::{Clock, Wall};
use crate::config::Machine;
use crate::generate::mock::{MOCKS, Mock};
use crate::limits::CONNECT_TIME;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// Sends each message over a connection of its own, since one without a line feed ends with its
/// connection only.
pub(super) fn run(to: SocketAddr, close_time: Duration, clock: Clock) -> Result<ExitCode, Failure> {
    let host = Some(Machine::read().host_name).filter(|host| !host.is_empty());
    let host = host.as_deref().unwrap_or("localhost");
    let mut output = io::stdout().lock();
    let broken = |error| Failure::running(format!("cannot write to standard output: {error}"));
    writeln!(
        output,
        "{} test messages to {to}, each over a connection of its own\n",
        MOCKS.len()
    )
    .map_err(broken)?;
    let mut all_read = true;
    for (index, mock) in MOCKS.iter().enumerate() {
        let line = mock.line(&header_time(clock.wall()), host);
        let is_read = deliver(to, &framed(mock, &line), close_time).map_err(|error| {
            Failure::running(format!(
                "cannot send to {to} ({index} of {} messages were sent): {error}",
                MOCKS.len()
            ))
        })?;
        all_read &= is_read;
        let doubt = if is_read {
            ""
        } else {
            "\n   sent, but the receiver has not closed its side: whether it has read it is not known"
        };
        writeln!(
            output,
            "{}. {}\n   {line}\n   {}{doubt}\n",
            index + 1,
            mock.what,
            mock.kql
        )
        .map_err(broken)?;
    }
    writeln!(
        output,
        "sent {} messages; rows show up within a minute or so, on a new rule within 20",
        MOCKS.len()
    )
    .map_err(broken)?;
    Ok(ExitCode::from(u8::from(!all_read)))
}

fn framed(mock: &Mock, line: &str) -> Vec<u8> {
    let end = if mock.has_line_end { "\n" } else { "" };
    [line, end].concat().into_bytes()
}

/// The present in the form of RFC 3164, UTC.
fn header_time(now: Wall) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(now.0))
        .map(|now| now.strftime("%b %e %H:%M:%S").to_string())
        .unwrap_or_default()
}

/// Sends the bytes and closes our side. True if the receiver then closed its own: it has read all.
fn deliver(to: SocketAddr, bytes: &[u8], close_time: Duration) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECT_TIME)?;
    stream.set_write_timeout(Some(CONNECT_TIME))?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    // a time of 0 would be none at all
    stream.set_read_timeout(Some(close_time.max(Duration::from_millis(1))))?;
    Ok(matches!(stream.read(&mut [0]), Ok(0)))
}
