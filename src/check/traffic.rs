//! Whether messages come, and are understood, by two looks at `/metrics` of a running cefline.

use super::{Finding, Whose};
use std::time::Duration;

const NAME: &str = "traffic";
/// More than one in so many messages that are no CEF is worth a look.
const UNPARSED_ONE_IN: u64 = 10;
/// The service has accepted nothing for so long although rows wait: it is not a matter of linger.
const ACCEPTED_AGE_MAX_S: f64 = 300.0;

/// What one look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Look {
    /// Frames received since the start.
    pub frames: u64,
    /// Of them not CEF.
    pub unparsed: u64,
    /// Rows held, in all stages.
    pub held: u64,
    /// Seconds since the service last accepted rows; nothing if it never has.
    pub accepted_age: Option<f64>,
    /// Connections of senders that are open.
    pub connections: u64,
}

/// Reads a page of metrics; nothing if it is not that of a cefline.
#[must_use]
pub fn read(page: &str) -> Option<Look> {
    let sum = |name: &str| -> f64 {
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix("cefline_")?.strip_prefix(name)?;
            let is_name = rest.starts_with([' ', '{']);
            is_name.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        values.sum()
    };
    page.contains("\ncefline_build_info{").then(|| Look {
        frames: sum("frames_received_total") as u64,
        unparsed: sum("records_unparsed_total") as u64,
        held: sum("rows_held") as u64,
        accepted_age: page
            .contains("\ncefline_accepted_age_seconds ")
            .then(|| sum("accepted_age_seconds")),
        connections: sum("connections_open") as u64,
    })
}

/// What was seen of a running cefline.
#[derive(Debug, Clone)]
pub enum Seen {
    /// The configuration has `metrics.listen = "off"`.
    Off,
    /// None answers at its metrics address.
    NotRunning,
    /// It answered, and was gone, or another, at the second look.
    Gone,
    /// Two looks, so far apart.
    Two(Look, Look, Duration),
}

/// Whether messages come and go.
#[must_use]
pub fn judge(seen: &Seen) -> Finding {
    let (first, second, apart) = match seen {
        Seen::Off => return Finding::skipped(NAME, "", "metrics.listen is \"off\""),
        Seen::NotRunning => {
            let why = "no cefline answers at metrics.listen: none runs here by this configuration";
            return Finding::skipped(NAME, "", why);
        }
        Seen::Gone => {
            let why = "the cefline that runs here has stopped or started in between";
            return Finding::skipped(NAME, "", why);
        }
        Seen::Two(first, second, apart) => (first, second, apart),
    };
    let frames = second.frames.saturating_sub(first.frames);
    let unparsed = second.unparsed.saturating_sub(first.unparsed);
    let seconds = apart.as_secs_f64().max(0.1);
    if let Some(age) = second.accepted_age
        && age > ACCEPTED_AGE_MAX_S
        && second.held > 0
    {
        let what = format!(
            "the running cefline holds {} rows, and the service has accepted none for {age:.0} s",
            second.held
        );
        let remedy = "see the checks of token and probe, and /readyz, for why; nothing is lost until \
                      the spool is full";
        return Finding::failed(NAME, "", Whose::Azure, what, remedy);
    }
    let connections = second.connections;
    if frames == 0 {
        return Finding::warning(
            NAME,
            "",
            Whose::Sources,
            format!(
                "no message came in {seconds:.0} s ({connections} connections open, {} messages \
                 since the start)",
                second.frames
            ),
            match connections {
                0 => {
                    "let the devices send syslog over TCP (not UDP) to this machine and this port; \
                      from another machine `logger --tcp --server ADDRESS --port PORT test` must \
                      show up here: if it does not, something on the way keeps it out"
                        .to_owned()
                }
                _ => {
                    "devices are connected and say nothing: see whether they are set to send what \
                      happens, and wait for it"
                        .to_owned()
                }
            },
        );
    }
    let rate = frames as f64 / seconds;
    if unparsed.saturating_mul(UNPARSED_ONE_IN) > frames {
        return Finding::warning(
            NAME,
            "",
            Whose::Sources,
            format!("{frames} messages in {seconds:.0} s, of which {unparsed} are no CEF"),
            "set the devices to CEF; which they are tells: CommonSecurityLog | where DeviceVendor == \
             \"cefline\" and DeviceProduct == \"unparsed\" | summarize count() by Computer",
        );
    }
    let accepted = match second.accepted_age {
        Some(age) => format!("the service accepted rows {age:.0} s ago"),
        None => "the service has accepted none yet".into(),
    };
    Finding::ok(
        NAME,
        "",
        format!("{rate:.1} messages a second, {unparsed} of {frames} no CEF; {accepted}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_page_is_read_by_whole_names() {
        let page = "# HELP x\ncefline_frames_received_total 100\ncefline_frames_received_totals 5\n\
                    cefline_records_unparsed_total{reason=\"no_cef\"} 3\n\
                    cefline_records_unparsed_total{reason=\"header_incomplete\"} 4\n\
                    cefline_rows_held{stage=\"page\"} 8\ncefline_connections_open 2\n\
                    cefline_accepted_age_seconds 1.5\ncefline_build_info{version=\"1\"} 1\n";
        let look = read(page).unwrap();
        assert_eq!(
            look,
            Look {
                frames: 100,
                unparsed: 7,
                held: 8,
                accepted_age: Some(1.5),
                connections: 2,
            }
        );
        assert_eq!(read("<html>"), None);
    }

    #[test]
    fn silence_noise_and_a_stuck_service_are_told_apart() {
        let start = Look {
            frames: 100,
            connections: 1,
            ..Look::default()
        };
        let then = |change: fn(&mut Look)| {
            let mut second = start;
            change(&mut second);
            judge(&Seen::Two(start, second, Duration::from_secs(10)))
        };
        let good = then(|look| {
            look.frames += 100;
            look.unparsed += 10;
            look.accepted_age = Some(1.0);
        });
        assert_eq!(good.verdict, Verdict::Ok);
        assert!(good.what.contains("10.0 messages a second"), "{good}");
        let noise = then(|look| {
            look.frames += 100;
            look.unparsed += 11;
        });
        assert_eq!(noise.verdict, Verdict::Warning);
        assert!(noise.remedy.contains("set the devices to CEF"), "{noise}");
        let silent = then(|_| ());
        assert!(silent.remedy.contains("say nothing"), "{silent}");
        let alone = then(|look| look.connections = 0);
        assert!(alone.remedy.contains("TCP (not UDP)"), "{alone}");
        let stuck = then(|look| {
            look.frames += 5;
            look.held = 7;
            look.accepted_age = Some(301.0);
        });
        assert_eq!(stuck.verdict, Verdict::Failed);
        assert!(stuck.what.contains("holds 7 rows"), "{stuck}");
        let quiet = then(|look| {
            look.frames += 5;
            look.accepted_age = Some(301.0);
        });
        assert_eq!(quiet.verdict, Verdict::Ok);
        for seen in [Seen::Off, Seen::NotRunning, Seen::Gone] {
            assert_eq!(judge(&seen).verdict, Verdict::Skipped);
        }
    }
}
