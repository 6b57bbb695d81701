//! As much of HTTP/1.1 as two services of Azure need: one question, one answer, then the end.
//!
//! The smallest crate for it would bring redirects, proxies and an address book of its own; here a
//! question goes to one address, and [`Answer::read`], which is pure, says when the answer is whole.

use crate::clock::since_boot;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Both are in the same house; the whole exchange takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// User data is at most 64 KiB, so 88 KiB as base64; a goal state has some 10 KiB.
const ANSWER_BYTES_MOST: usize = 256 * 1024;

/// There is no answer.
#[derive(Debug)]
pub enum Error {
    /// The way there, or time.
    Io(io::Error),
    /// What came is not HTTP, or too long.
    NotAnAnswer,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => error.fmt(f),
            Error::NotAnAnswer => f.write_str("what it answered is not HTTP, or too long"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Asks and reads the answer, within [`PATIENCE`]. Each line of `headers` ends as HTTP's do.
pub(super) fn exchange(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<&[u8]>,
) -> Result<Answer, Error> {
    let end = since_boot() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    let host = server.ip();
    let length = body.map(|body| format!("Content-Length: {}\r\n", body.len()));
    let length = length.unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}Connection: close\r\n\r\n"
    );
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[head.as_bytes(), body.unwrap_or_default()].concat())?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = end.saturating_sub(since_boot());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        stream.set_read_timeout(Some(left))?;
        let length = stream.read(&mut piece)?;
        bytes.extend(&piece[..length]);
        if bytes.len() > ANSWER_BYTES_MOST {
            return Err(Error::NotAnAnswer);
        }
        match Answer::read(&bytes, length == 0)? {
            Some(answer) => return Ok(answer),
            None if length == 0 => return Err(Error::NotAnAnswer),
            None => {}
        }
    }
}

impl Answer {
    /// The answer, once all of it is there; `is_all` says that nothing more will come.
    fn read(bytes: &[u8], is_all: bool) -> Result<Option<Self>, Error> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let (head, body) = (&bytes[..end], &bytes[end + 4..]);
        let head = str::from_utf8(head).map_err(|_| Error::NotAnAnswer)?;
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|status| status.parse().ok())
            .ok_or(Error::NotAnAnswer)?;
        let (mut length, mut is_chunked) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(
                    value
                        .trim()
                        .parse::<usize>()
                        .map_err(|_| Error::NotAnAnswer)?,
                );
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = value.trim().eq_ignore_ascii_case("chunked");
            }
        }
        let body = match length {
            _ if is_chunked => chunks(body)?,
            Some(length) => body.get(..length).map(<[u8]>::to_vec),
            None => is_all.then(|| body.to_vec()),
        };
        Ok(body.map(|body| Answer { status, body }))
    }
}

/// A body in pieces, each after a line with its length; nothing if they are not all there.
fn chunks(bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let mut body = Vec::new();
    let mut rest = bytes;
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let line = str::from_utf8(&rest[..end]).map_err(|_| Error::NotAnAnswer)?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(length, 16).map_err(|_| Error::NotAnAnswer)?;
        if length == 0 {
            return Ok(Some(body));
        }
        if length > ANSWER_BYTES_MOST {
            return Err(Error::NotAnAnswer);
        }
        let start = end + 2;
        let Some(piece) = rest.get(start..start + length) else {
            return Ok(None);
        };
        body.extend(piece);
        let Some(after) = rest.get(start + length + 2..) else {
            return Ok(None);
        };
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, is_all: bool) -> Option<Answer> {
        Answer::read(text.as_bytes(), is_all).unwrap()
    }

    #[test]
    fn an_answer_ends_by_its_length_its_chunks_or_the_connection() {
        let whole = |body: &str| {
            let body = body.as_bytes().to_vec();
            Some(Answer { status: 200, body })
        };
        let by_length = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc";
        assert_eq!(read(by_length, false), whole("ab"));
        let by_chunks =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n";
        assert_eq!(read(by_chunks, false), whole("abc"));
        let by_end = "HTTP/1.0 200 OK\r\n\r\nabc";
        assert_eq!(read(by_end, false), None);
        assert_eq!(read(by_end, true), whole("abc"));
    }

    #[test]
    fn what_is_cut_is_not_whole() {
        let by_length = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc";
        assert_eq!(read(by_length, true), None);
        let by_chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n";
        assert_eq!(read(by_chunks, true), None);
    }

    proptest! {
        #[test]
        fn no_answer_is_too_bad_to_be_read(text in "[a-f0-9\r\n:; ]{0,60}", bytes: Vec<u8>, is_all: bool) {
            let _ = Answer::read(&bytes, is_all);
            for head in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"] {
                if let Ok(Some(answer)) = Answer::read(format!("{head}{text}").as_bytes(), is_all) {
                    prop_assert!(answer.body.len() <= text.len());
                }
            }
        }
    }
}
