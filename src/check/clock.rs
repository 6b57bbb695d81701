//! Whether the clock is kept right, and how far it is from those of the hosts.

use super::{Finding, Whose};
use crate::clock::Wall;
use jiff::fmt::rfc2822::DateTimeParser;
use std::time::Duration;

/// Tokens are refused by a clock that is off by more.
const SKEW_MAX: Duration = Duration::from_secs(300);
/// More than this is no rounding and no slow answer: something is about to go wrong.
const SKEW_ODD: Duration = Duration::from_secs(30);
const NS: i64 = 1_000_000_000;

/// How to keep a clock right.
const SYNCHRONISE: &str = "synchronise the clock: `timedatectl set-ntp true`, or install chrony; \
                           UDP port 123 to the time servers must be open, or name your own";

/// Whether something keeps the clock right, as the kernel (adjtimex) has it; nothing if nobody could
/// be asked.
#[must_use]
pub fn synchronised(is: Option<bool>) -> Finding {
    match is {
        Some(true) => Finding::ok("clock", "", "synchronised"),
        Some(false) => Finding::warning(
            "clock",
            "",
            Whose::Machine,
            "nothing keeps it right, by the kernel's own account",
            SYNCHRONISE,
        ),
        None => Finding::skipped(
            "clock",
            "",
            "no timedatectl that tells whether it is synchronised; clock_skew compares it",
        ),
    }
}

/// The time that a host has said, against ours when it did. Its date has whole seconds.
#[must_use]
pub fn skew(host: &str, date: Option<&str>, now: Wall) -> Finding {
    const NAME: &str = "clock_skew";
    let theirs = date.and_then(|date| {
        let stamp = DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_timestamp(date)
            .ok()?;
        Some(stamp.as_second())
    });
    let Some(theirs) = theirs else {
        return Finding::skipped(NAME, host, "the host has told no time to compare with");
    };
    let off = now.0.div_euclid(NS).saturating_sub(theirs);
    let direction = match off {
        0.. => "ahead of",
        _ => "behind",
    };
    let size = Duration::from_secs(off.unsigned_abs());
    let shown = format!("this clock is {} s {direction} the host's", size.as_secs());
    if size > SKEW_MAX {
        let what = format!("{shown}: tokens are refused past 300 s");
        return Finding::failed(NAME, host, Whose::Machine, what, SYNCHRONISE);
    }
    if size > SKEW_ODD {
        let what = format!("{shown}; past 300 s tokens are refused");
        return Finding::warning(NAME, host, Whose::Machine, what, SYNCHRONISE);
    }
    Finding::ok(NAME, host, shown)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const DATE: &str = "Wed, 25 Nov 2026 09:00:00 GMT";

    fn at(seconds: i64) -> Finding {
        let date = "2026-11-25T09:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let now = Wall((date.as_second() + seconds) * NS + 999_999_999);
        skew("login.example", Some(DATE), now)
    }

    #[test]
    fn skew_is_judged_in_both_directions_and_at_its_edges() {
        for (seconds, verdict, what) in [
            (0, Verdict::Ok, "0 s ahead"),
            (30, Verdict::Ok, "30 s ahead"),
            (-30, Verdict::Ok, "30 s behind"),
            (31, Verdict::Warning, "31 s ahead"),
            (300, Verdict::Warning, "300 s ahead"),
            (-301, Verdict::Failed, "301 s behind"),
            (600, Verdict::Failed, "600 s ahead"),
        ] {
            let found = at(seconds);
            assert_eq!(found.verdict, verdict, "{found}");
            assert!(found.what.contains(what), "{found}");
        }
        assert!(at(600).remedy.contains("timedatectl set-ntp true"));
    }

    #[test]
    fn a_host_that_tells_no_time_is_not_compared() {
        for date in [None, Some(""), Some("yesterday")] {
            assert_eq!(skew("x", date, Wall(0)).verdict, Verdict::Skipped);
        }
    }

    #[test]
    fn an_unsynchronised_clock_is_a_warning_and_an_unknown_one_is_none() {
        assert_eq!(synchronised(Some(true)).verdict, Verdict::Ok);
        let off = synchronised(Some(false));
        assert_eq!(off.verdict, Verdict::Warning);
        assert!(off.remedy.contains("chrony"));
        assert_eq!(synchronised(None).verdict, Verdict::Skipped);
    }
}
