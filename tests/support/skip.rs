//! How a test says that it proves nothing on this machine.

use std::fmt::Display;
use std::io::Write;

/// Writes the reason to standard error itself: of a test that passes, the harness would keep to
/// itself whatever it prints. On a line of its own, for `.ci/run` to find.
pub(crate) fn skipped(why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("\nskipped: {test}: {why}\n");
    // in one piece, so that tests side by side do not break into it
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
