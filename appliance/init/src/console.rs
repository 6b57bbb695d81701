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
        if bytes > self.bytes {
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
            writeln!(f, "{name:14} {value}")?;
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
