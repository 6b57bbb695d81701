//! The spool's folder, the room on its disk, and what lies in quarantine.

use super::{Finding, Whose};
use crate::config::{Durability, Spool, WhenFull, bytes_text};
use crate::limits::SPOOL_SEGMENT_BYTES;
use std::path::PathBuf;

/// Why something could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoWrite {
    /// This user may not.
    Denied,
    /// The file system is mounted read-only.
    ReadOnly,
    /// There is no room.
    Full,
    /// Anything else.
    Other(String),
}

/// What is at the place of the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The folder is there.
    Folder,
    /// It is not, and would be made below this one.
    Below(PathBuf),
    /// Something else is there.
    NoFolder(PathBuf),
    /// This user may not look.
    Hidden,
}

/// What was seen of the spool.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What is there.
    pub at: At,
    /// Whether some bytes could be written and synced there, without a name; in milliseconds.
    pub probe: Result<u64, NoWrite>,
    /// The user that has looked.
    pub user: String,
    /// Bytes that are free to users, and all bytes, of the file system.
    pub space: Option<(u64, u64)>,
    /// The file system is in memory.
    pub is_in_memory: bool,
    /// Bytes of the segments that are there.
    pub used: u64,
    /// Who has the spool, if anybody: a process id.
    pub locked_by: Option<u32>,
    /// Files and bytes in quarantine.
    pub quarantine: Option<(u64, u64)>,
}

/// The spool's folder.
#[must_use]
pub fn spool(config: &Spool, facts: &Facts) -> Finding {
    const NAME: &str = "spool";
    let about = config.directory.display().to_string();
    if config.durability == Durability::Memory {
        return Finding::ok(NAME, "", "none, as spool.durability = \"memory\" asks for");
    }
    let user = &facts.user;
    let at = match &facts.at {
        At::NoFolder(path) => {
            let what = format!("{} is not a folder", path.display());
            let remedy = "move it away, or set spool.directory to another path";
            return Finding::failed(NAME, about, Whose::Machine, what, remedy);
        }
        At::Hidden => {
            let what = format!("user {user} may not look there, as a spool of another user's is");
            let remedy =
                "run this check as the user that runs cefline (`sudo -u cefline`), or as root";
            return Finding::failed(NAME, about, Whose::Machine, what, remedy);
        }
        At::Folder => "it is".to_owned(),
        At::Below(parent) => format!("it would be made below {}, which is", parent.display()),
    };
    let ms = match &facts.probe {
        Ok(ms) => ms,
        Err(error) => return not_writable(about, &at, error, config, facts),
    };
    if facts.is_in_memory && config.durability == Durability::Power {
        return Finding::warning(
            NAME,
            about,
            Whose::Machine,
            "its file system is in memory (tmpfs): what is in it does not survive the power, nor a \
             restart of the machine",
            "set spool.directory to a folder on a disk",
        );
    }
    let used_by = match facts.locked_by {
        Some(id) => format!(", in use by process {id}"),
        None => String::new(),
    };
    let what = match facts.at {
        At::Folder => format!("writable, a sync takes {ms} ms{used_by}"),
        _ => "not there yet; cefline will make it".to_owned(),
    };
    Finding::ok(NAME, about, what)
}

fn not_writable(
    about: String,
    at: &str,
    error: &NoWrite,
    config: &Spool,
    facts: &Facts,
) -> Finding {
    let user = &facts.user;
    let shown = config.directory.display();
    let (what, remedy) = match error {
        NoWrite::Denied => (
            format!("{at} not writable for user {user}"),
            format!(
                "`install -d -o cefline -g cefline -m 700 {shown}` with the user and group that run \
                 cefline, or run this check as that user"
            ),
        ),
        NoWrite::ReadOnly => (
            format!("{at} on a file system that can only be read"),
            "see in the kernel's log (`dmesg`) whether the disk has failed; mount it writable again, \
             or set spool.directory to another disk. Until then cefline keeps rows in memory only"
                .to_owned(),
        ),
        NoWrite::Full => (
            format!("{at} on a file system without any room"),
            "make room there, or set spool.directory to another disk. Until then cefline keeps rows \
             in memory only, and then makes senders wait"
                .to_owned(),
        ),
        NoWrite::Other(error) => (
            format!("{at} not writable: {error}"),
            "see in the kernel's log (`dmesg`) whether the disk has failed, or set spool.directory \
             to another disk"
                .to_owned(),
        ),
    };
    Finding::failed("spool", about, Whose::Machine, what, remedy)
}

/// Room for the spool.
#[must_use]
pub fn disk(config: &Spool, facts: &Facts) -> Finding {
    const NAME: &str = "disk";
    let about = config.directory.display().to_string();
    if config.durability == Durability::Memory {
        return Finding::skipped(NAME, "", "there is no spool");
    }
    let Some((free, all)) = facts.space else {
        return Finding::skipped(NAME, about, "the file system tells nothing of its room");
    };
    let floor = crate::spool::floor(config.free_bytes_min.map(|bytes| bytes as u64), all);
    let for_spool = facts.used.saturating_add(free.saturating_sub(floor));
    let bytes_max = config.bytes_max as u64;
    let numbers = format!(
        "{} free of {}, of which {} stay free",
        size(free),
        size(all),
        size(floor)
    );
    if free < floor.saturating_add(SPOOL_SEGMENT_BYTES as u64) {
        let then = match config.when_full {
            WhenFull::Backpressure => "senders will wait as soon as memory is full",
            WhenFull::DropOldest => "the oldest rows will be given up",
        };
        return Finding::failed(
            NAME,
            about,
            Whose::Machine,
            format!("no room for the spool: {numbers}; in an outage {then}"),
            "make room in that file system, set spool.directory to another disk, or lower \
             spool.free_bytes_min",
        );
    }
    if for_spool < bytes_max {
        return Finding::warning(
            NAME,
            about,
            Whose::Machine,
            format!(
                "spool.bytes_max is {}, but there is room for {} only: {numbers}",
                bytes_text(config.bytes_max),
                size(for_spool)
            ),
            "make room in that file system, or lower spool.bytes_max to what an outage may take",
        );
    }
    Finding::ok(
        NAME,
        about,
        format!(
            "{numbers}; the spool takes up to {}",
            bytes_text(config.bytes_max)
        ),
    )
}

/// Rows that the service has refused.
#[must_use]
pub fn quarantine(config: &Spool, facts: &Facts) -> Finding {
    const NAME: &str = "quarantine";
    if config.durability == Durability::Memory {
        return Finding::skipped(NAME, "", "there is no spool");
    }
    let shown = config.directory.display();
    match facts.quarantine {
        None => Finding::skipped(NAME, "", "this user may not look into the spool"),
        Some((0, _)) => Finding::ok(NAME, "", "empty"),
        Some((files, bytes)) => Finding::warning(
            NAME,
            "",
            Whose::AzureSetup,
            format!(
                "{files} files ({}) hold rows that the service has refused, or what is left of \
                 damaged ones",
                size(bytes)
            ),
            format!(
                "`cefline spool list {shown}` says why each is there; once the rule takes such rows, \
                 stop cefline and put them back with `cefline spool requeue {shown}`"
            ),
        ),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    for (bits, name) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        let unit = 1_u64 << bits;
        if bytes >= unit {
            return format!("{:.1} {name}", bytes as f64 / unit as f64);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const GIB: u64 = 1 << 30;

    fn config() -> Spool {
        Spool {
            directory: "/var/lib/cefline/spool".into(),
            durability: Durability::Power,
            bytes_max: 10 << 30,
            free_bytes_min: None,
            when_full: WhenFull::Backpressure,
            drain_share: 50,
            quarantine_bytes_max: 1 << 20,
        }
    }

    fn facts() -> Facts {
        Facts {
            at: At::Folder,
            probe: Ok(3),
            user: "cefline".into(),
            space: Some((50 * GIB, 100 * GIB)),
            is_in_memory: false,
            used: 0,
            locked_by: Some(42),
            quarantine: Some((0, 0)),
        }
    }

    #[test]
    fn a_good_spool_is_well_and_a_lock_is_fine() {
        let (config, facts) = (config(), facts());
        let found = spool(&config, &facts);
        assert_eq!(found.verdict, Verdict::Ok);
        assert!(found.what.contains("in use by process 42"), "{found}");
        assert_eq!(disk(&config, &facts).verdict, Verdict::Ok);
        assert_eq!(quarantine(&config, &facts).verdict, Verdict::Ok);
    }

    #[test]
    fn whatever_keeps_it_from_writing_is_named() {
        for (at, probe, what, remedy) in [
            (
                At::Folder,
                Err(NoWrite::Denied),
                "not writable for user cefline",
                "install -d -o cefline",
            ),
            (
                At::Below("/var".into()),
                Err(NoWrite::Denied),
                "below /var",
                "install -d",
            ),
            (
                At::Folder,
                Err(NoWrite::ReadOnly),
                "only be read",
                "mount it writable",
            ),
            (
                At::Folder,
                Err(NoWrite::Full),
                "without any room",
                "make room",
            ),
            (
                At::Folder,
                Err(NoWrite::Other("input/output error".into())),
                "input/output",
                "dmesg",
            ),
            (
                At::NoFolder("/var/lib".into()),
                Ok(0),
                "/var/lib is not a folder",
                "move it away",
            ),
            (
                At::Hidden,
                Err(NoWrite::Denied),
                "may not look",
                "sudo -u cefline",
            ),
        ] {
            let found = spool(
                &config(),
                &Facts {
                    at,
                    probe,
                    ..facts()
                },
            );
            assert_eq!(found.verdict, Verdict::Failed);
            assert!(found.what.contains(what), "{found}");
            assert!(found.remedy.contains(remedy), "{found}");
        }
    }

    #[test]
    fn a_spool_in_memory_is_remarked_only_if_the_power_is_to_be_survived() {
        let facts = Facts {
            is_in_memory: true,
            ..facts()
        };
        let mut config = config();
        let found = spool(&config, &facts);
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(found.what.contains("tmpfs"), "{found}");
        config.durability = Durability::Process;
        assert_eq!(spool(&config, &facts).verdict, Verdict::Ok);
        config.durability = Durability::Memory;
        assert_eq!(spool(&config, &facts).verdict, Verdict::Ok);
        assert_eq!(disk(&config, &facts).verdict, Verdict::Skipped);
        assert_eq!(quarantine(&config, &facts).verdict, Verdict::Skipped);
    }

    #[test]
    fn room_is_judged_by_the_floor_and_by_what_the_spool_may_take() {
        let of = |free: u64, used: u64| {
            disk(
                &config(),
                &Facts {
                    space: Some((free, 100 * GIB)),
                    used,
                    ..facts()
                },
            )
        };
        // the floor of 100 GiB is 2 GiB
        assert_eq!(of(12 * GIB, 0).verdict, Verdict::Ok);
        assert_eq!(of(12 * GIB - 1, 0).verdict, Verdict::Warning);
        assert_eq!(of(6 * GIB, 6 * GIB).verdict, Verdict::Ok);
        assert_eq!(of(2 * GIB + (64 << 20), 0).verdict, Verdict::Warning);
        let full = of(2 * GIB + (64 << 20) - 1, 0);
        assert_eq!(full.verdict, Verdict::Failed);
        assert!(full.what.contains("senders will wait"), "{full}");
        assert!(full.remedy.contains("spool.free_bytes_min"), "{full}");
    }

    #[test]
    fn rows_in_quarantine_are_a_warning_with_the_way_back() {
        let found = quarantine(
            &config(),
            &Facts {
                quarantine: Some((2, 4096)),
                ..facts()
            },
        );
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(found.what.contains("2 files (4.0 KiB)"), "{found}");
        assert!(
            found
                .remedy
                .contains("cefline spool requeue /var/lib/cefline/spool"),
            "{found}"
        );
    }
}
