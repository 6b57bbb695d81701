//! What the machine says: lines on the serial console, and a status screen between them. It takes no
//! input.
//!
//! A serial port is slow (some 11,000 bytes a second), and may be stuck. So nobody but one thread
//! waits for it: lines go into a queue of [`QUEUE_LINES`], and one that finds it full is left out.

use std::collections::VecDeque;
use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that wait: some seconds of a serial port.
const QUEUE_LINES: usize = 256;
/// Bytes of a line that are shown.
const LINE_BYTES_MOST: usize = 1000;
/// How long the end waits for what has been said.
const FLUSH_TIME: Duration = Duration::from_secs(3);

enum Entry {
    Text(String),
    /// To be answered when all before it is written.
    Flush(SyncSender<()>),
}

static QUEUE: OnceLock<SyncSender<Entry>> = OnceLock::new();
static LAST_ERROR: Mutex<Option<String>> = Mutex::new(None);

/// Starts the thread that writes. What is said before is written at once.
pub fn start() {
    let (sender, receiver) = sync_channel(QUEUE_LINES);
    let writer = thread::Builder::new().name("console".into());
    let writer = writer.spawn(move || {
        for entry in receiver {
            match entry {
                Entry::Text(text) => write(&text),
                Entry::Flush(done) => {
                    let _ = done.try_send(());
                }
            }
        }
    });
    if writer.is_ok() {
        let _ = QUEUE.set(sender);
    }
}

/// Says something, a line for each of its own.
pub fn say(text: impl Display) {
    for line in text.to_string().lines() {
        pass_on("appliance: ", line);
    }
}

/// Says what is wrong; the screen shows it as the last error.
pub fn complain(text: impl Display) {
    let text = text.to_string();
    note_error(&text);
    say(text);
}

/// Shows something as the last error, without saying it.
pub fn note_error(text: &str) {
    let mut last = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    *last = Some(printable(text));
}

/// What was last wrong.
#[must_use]
pub fn last_error() -> Option<String> {
    let last = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
    last.clone()
}

/// Writes a line of another program.
pub fn pass_on(prefix: &str, line: &str) {
    put(format!("{prefix}{}\n", printable(line)));
}

/// Waits until all is written that was said, but not for ever.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        let (done, is_done) = sync_channel(1);
        if queue.try_send(Entry::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_TIME);
        }
    }
}

fn put(text: String) {
    match QUEUE.get() {
        Some(queue) => {
            let _ = queue.try_send(Entry::Text(text));
        }
        None => write(&text),
    }
}

fn write(text: &str) {
    let mut console = std::io::stdout().lock();
    let _ = console
        .write_all(text.as_bytes())
        .and_then(|()| console.flush());
}

/// Without anything that a terminal would obey, and not too long.
fn printable(line: &str) -> String {
    let mut text = String::with_capacity(line.len().min(LINE_BYTES_MOST));
    for character in line.chars() {
        if text.len() + character.len_utf8() > LINE_BYTES_MOST {
            text.push_str(" ...");
            break;
        }
        text.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
    text
}

// ---- how much another program may say

/// Bytes that a program may say: so many at once, and so many a second. Kept below what a serial
/// port takes, so that the queue stays short.
#[derive(Debug)]
pub struct Allowance {
    bytes: usize,
    counted_at: Duration,
    /// Nothing is said while this is not 0 and less than a second's bytes have been earned.
    left_out: u64,
}

/// At once.
const ALLOWED_BYTES: usize = 32 * 1024;
/// A second.
const ALLOWED_BYTES_A_SECOND: usize = 8 * 1024;

impl Allowance {
    /// All of it.
    #[must_use]
    pub fn full(now: Duration) -> Self {
        Allowance {
            bytes: ALLOWED_BYTES,
            counted_at: now,
            left_out: 0,
        }
    }

    /// Whether a line of this length may be said now, and how many before it were not.
    pub fn take(&mut self, bytes: usize, now: Duration) -> Option<u64> {
        let time = now.saturating_sub(self.counted_at).as_millis();
        let earned = usize::try_from(time).unwrap_or(usize::MAX);
        let earned = earned.saturating_mul(ALLOWED_BYTES_A_SECOND) / 1000;
        if earned > 0 {
            self.bytes = self.bytes.saturating_add(earned).min(ALLOWED_BYTES);
            self.counted_at = now;
        }
        // a flood is told of once a second, not at each gap in it
        let is_muted = self.left_out > 0 && self.bytes < ALLOWED_BYTES_A_SECOND;
        if is_muted || bytes > self.bytes {
            self.left_out += 1;
            return None;
        }
        self.bytes -= bytes;
        Some(std::mem::take(&mut self.left_out))
    }
}

// ---- the status screen

/// The traffic alone brings a new screen so often: a log of a serial port is to reach back for days.
const TRAFFIC_PERIOD: Duration = Duration::from_secs(60);
/// Anything else so often.
const SCREEN_PERIOD: Duration = Duration::from_secs(10);

/// What the screen shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Screen {
    /// Version and slot.
    pub version: String,
    /// What cefline is doing.
    pub state: String,
    /// Interface, addresses, resolvers.
    pub network: String,
    /// Where the configuration came from.
    pub configuration: String,
    /// Where the spool is.
    pub data: String,
    /// What cefline says of its traffic.
    pub traffic: String,
    /// What was last wrong.
    pub last_error: Option<String>,
}

impl Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = "-".repeat(79);
        writeln!(f, "{rule}\ncefline appliance {}", self.version)?;
        let last_error = self.last_error.as_deref().unwrap_or("none");
        for (name, value) in [
            ("state", self.state.as_str()),
            ("network", &self.network),
            ("configuration", &self.configuration),
            ("data", &self.data),
            ("traffic", &self.traffic),
            ("last error", last_error),
        ] {
            // also words of strangers: a key of a configuration, a name of DHCP
            writeln!(f, "{name:14} {}", printable(value))?;
        }
        writeln!(f, "{rule}")
    }
}

/// Draws the screen when it has changed, and not too often.
#[derive(Debug, Default)]
pub struct Easel {
    drawn: Option<(Screen, Duration)>,
}

impl Easel {
    /// The text to write, if it is time for one.
    pub fn due(&mut self, screen: &Screen, now: Duration) -> Option<String> {
        if let Some((old, at)) = &self.drawn {
            let with_old_traffic = Screen {
                traffic: old.traffic.clone(),
                ..screen.clone()
            };
            let has_only_traffic = *old == with_old_traffic;
            let period = if has_only_traffic {
                TRAFFIC_PERIOD
            } else {
                SCREEN_PERIOD
            };
            if old == screen || now.saturating_sub(*at) < period {
                return None;
            }
        }
        self.drawn = Some((screen.clone(), now));
        Some(screen.to_string())
    }
}

/// Draws it.
pub fn draw(text: &str) {
    put(text.to_owned());
}

// ---- lines of cefline's log

/// The message of a line of cefline's log if it tells of an error, without its time.
#[must_use]
pub fn error_in(line: &str) -> Option<&str> {
    let (time, rest) = line.trim_start().split_once(' ')?;
    let is_time = time.as_bytes().first().is_some_and(u8::is_ascii_digit);
    let message = rest.trim_start().strip_prefix("ERROR ")?;
    is_time.then(|| message.trim_start())
}

/// The last lines of a program, for when it ends badly.
#[derive(Debug, Default)]
pub struct Tail(VecDeque<String>);

impl Tail {
    /// One more line.
    pub fn push(&mut self, line: &str) {
        if self.0.len() == 3 {
            self.0.pop_front();
        }
        self.0.push_back(printable(line));
    }

    /// As one text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.0 {
            let _ = write!(text, "{line} ");
        }
        text.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn screen() -> Screen {
        Screen {
            version: "1.0 slot A kernel 6.12".into(),
            state: "ready".into(),
            traffic: "3 connections".into(),
            ..Screen::default()
        }
    }

    #[test]
    fn a_screen_is_plain_lines_between_two_rules() {
        let text = screen().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 9);
        assert_eq!(lines[0], lines[8]);
        assert_eq!(lines[1], "cefline appliance 1.0 slot A kernel 6.12");
        assert_eq!(lines[2], "state          ready");
        assert_eq!(lines[7], "last error     none");
        assert!(text.is_ascii() && text.ends_with('\n'));
    }

    #[test]
    fn a_screen_has_its_lines_and_obeys_nobody_whatever_is_shown() {
        let bad = format!("\u{1b}[2J\r\n\u{9b}31m{}", "x".repeat(5000));
        let screen = Screen {
            state: bad.clone(),
            network: bad.clone(),
            data: bad,
            ..screen()
        };
        let text = screen.to_string();
        assert_eq!(text.lines().count(), 9);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
        assert!(text.len() < 5000);
    }

    #[test]
    fn a_screen_is_drawn_when_it_changes_and_not_too_often() {
        let mut easel = Easel::default();
        let mut screen = screen();
        assert!(easel.due(&screen, at(1)).is_some());
        assert_eq!(easel.due(&screen, at(1000)), None);
        screen.state = "ended".into();
        assert!(easel.due(&screen, at(1001)).is_some());
        screen.last_error = Some("x".into());
        assert_eq!(easel.due(&screen, at(1010)), None);
        assert!(easel.due(&screen, at(1011)).is_some());
    }

    #[test]
    fn traffic_alone_brings_a_screen_each_minute() {
        let mut easel = Easel::default();
        let mut screen = screen();
        assert!(easel.due(&screen, at(0)).is_some());
        screen.traffic = "4 connections".into();
        assert_eq!(easel.due(&screen, at(59)), None);
        assert!(easel.due(&screen, at(60)).is_some());
    }

    #[test]
    fn only_an_error_in_ceflines_log_is_one() {
        let line = "2026-11-30T00:00:00.0Z ERROR no token";
        assert_eq!(error_in(line), Some("no token"));
        for line in [
            "2026-11-30T00:00:00.0Z  WARN ERROR in a message",
            "ERROR ERROR x",
            "2026-11-30T00:00:00.0Z ERRORS",
            "",
        ] {
            assert_eq!(error_in(line), None, "{line}");
        }
    }

    #[test]
    fn a_flood_is_cut_to_what_a_serial_port_takes_and_the_rest_is_counted() {
        let mut allowance = Allowance::full(at(0));
        let mut said = 0;
        while allowance.take(100, at(0)).is_some() {
            said += 100;
        }
        assert_eq!(said, ALLOWED_BYTES / 100 * 100);
        assert_eq!(allowance.take(100, at(0)), None);
        assert_eq!(allowance.take(1, at(0) + Duration::from_millis(990)), None);
        assert_eq!(allowance.take(100, at(1)), Some(3));
        assert_eq!(allowance.take(ALLOWED_BYTES + 1, at(1000)), None);
        assert_eq!(allowance.take(ALLOWED_BYTES, at(1000)), Some(1));
    }

    proptest! {
        #[test]
        fn a_line_obeys_nobody_and_has_an_end(line in any::<String>()) {
            let text = printable(&line);
            prop_assert!(!text.contains(char::is_control));
            prop_assert!(text.len() <= LINE_BYTES_MOST + 4);
        }

        #[test]
        fn no_more_is_said_than_is_allowed(lines in proptest::collection::vec((0..2000usize, 0..500u64), 0..200)) {
            let mut allowance = Allowance::full(at(0));
            let (mut now, mut said) = (at(0), 0);
            for (bytes, pause) in lines {
                now += Duration::from_millis(pause);
                if allowance.take(bytes, now).is_some() {
                    said += bytes;
                }
            }
            let allowed = ALLOWED_BYTES as f64 + now.as_secs_f64() * ALLOWED_BYTES_A_SECOND as f64;
            prop_assert!(said as f64 <= allowed);
        }
    }
}
