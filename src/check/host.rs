//! Kernel, io_uring, limits of the process, cores.

use super::{Finding, Whose};
use crate::config::{Io, Machine, Runtime};
use crate::listen::uring::UringError;
use crate::run::DESCRIPTORS_OWN;

/// io_uring as cefline uses it is there from this version on.
const KERNEL_LEAST: (u32, u32) = (5, 8);

/// Whose limits were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Process {
    /// Of a cefline that runs, with its process id.
    Running(u32),
    /// Of this command: those that the shell gives, which a service manager may set otherwise.
    Ours,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Process::Running(id) => write!(f, "the running cefline (process {id})"),
            Process::Ours => f.write_str("a program started from here"),
        }
    }
}

/// The kernel by its release, like `6.1.0-18-amd64`, for a cefline that receives by `io`.
#[must_use]
pub fn kernel(release: &str, io: Io) -> Finding {
    let release = release.trim();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    let (Some(major), Some(minor)) = version else {
        let why = format!("the kernel calls itself {release:?}, which tells no version");
        return Finding::skipped("kernel", "", why);
    };
    if (major, minor) >= KERNEL_LEAST || io == Io::Epoll {
        return Finding::ok("kernel", "", format!("Linux {release}"));
    }
    if io == Io::Auto {
        let what = format!("Linux {release} is older than 5.8: epoll is used, not io_uring");
        return Finding::ok("kernel", "", what);
    }
    Finding::failed(
        "kernel",
        "",
        Whose::Machine,
        format!("Linux {release} is older than 5.8, which cefline needs for io_uring"),
        "set listen.io to \"auto\", or run it on a system with a newer kernel: Debian 11, Ubuntu \
         20.04 with its HWE kernel, RHEL 9, or newer",
    )
}

/// Whether a ring could be made, for a cefline that receives by `io`.
#[must_use]
pub fn io_uring(probe: Result<(), UringError>, io: Io) -> Finding {
    let error = match (probe, io) {
        (_, Io::Epoll) => return Finding::ok("io_uring", "", "not used: listen.io is \"epoll\""),
        (Ok(()), _) => return Finding::ok("io_uring", "", "usable"),
        (Err(error), _) => error,
    };
    // its text has both, apart by a semicolon
    let text = error.to_string();
    let (what, remedy) = text.split_once("; ").unwrap_or((
        &text,
        "set listen.io to \"auto\", or try another kernel, or outside of the container",
    ));
    match io {
        Io::Auto => Finding::ok("io_uring", "", format!("{what}: epoll is used")),
        _ => Finding::failed("io_uring", "", Whose::Machine, what, remedy),
    }
}

/// Memory that may be locked.
#[derive(Debug, Clone)]
pub struct LockedMemory {
    /// Of whom.
    pub of: Process,
    /// The hard limit, in bytes: cefline raises the soft one.
    pub allowed: u64,
    /// What it needs for io_uring, in bytes.
    pub needed: u64,
}

impl LockedMemory {
    /// Whether that is enough for io_uring.
    ///
    /// # Errors
    /// It is not.
    pub fn is_enough(&self) -> Result<(), UringError> {
        let (allowed, needed) = (self.allowed, self.needed);
        match allowed >= needed {
            true => Ok(()),
            false => Err(UringError::LockedMemory { allowed, needed }),
        }
    }
}

/// Whether enough memory may be locked, for a cefline that receives by `io`.
#[must_use]
pub fn locked_memory(facts: &LockedMemory, io: Io) -> Finding {
    let (allowed, needed, of) = (kib(facts.allowed), kib(facts.needed), &facts.of);
    let is_enough = facts.is_enough().is_ok();
    if is_enough || io != Io::Uring {
        let what = match (is_enough, io) {
            (_, Io::Epoll) => "none is needed: listen.io is \"epoll\"".to_owned(),
            (true, _) => format!("{of} may lock {allowed}, needed are {needed}"),
            (false, _) => format!("{of} may lock {allowed}, io_uring would need {needed}"),
        };
        return Finding::ok("locked_memory", "", what);
    }
    Finding::failed(
        "locked_memory",
        "",
        Whose::Machine,
        format!("{of} may lock {allowed}, but the rings of io_uring need {needed}"),
        "set LimitMEMLOCK=64M in the unit (dist/cefline.service has it), or `ulimit -l 65536` in the \
         shell that starts cefline, or listen.io to \"auto\"",
    )
}

fn kib(bytes: u64) -> String {
    match bytes {
        u64::MAX => "any amount".into(),
        _ => format!("{} KiB", bytes / 1024),
    }
}

/// File descriptors.
#[derive(Debug, Clone)]
pub struct Descriptors {
    /// Of whom.
    pub of: Process,
    /// The hard limit: cefline raises the soft one.
    pub allowed: u64,
    /// `listen.connections_max`.
    pub connections_max: usize,
}

/// Whether there are descriptors for all connections that may come.
#[must_use]
pub fn file_descriptors(facts: &Descriptors) -> Finding {
    let (allowed, of, connections_max) = (facts.allowed, &facts.of, facts.connections_max);
    // as `run` reckons
    let for_connections = allowed - DESCRIPTORS_OWN.min(allowed / 2);
    let needed = (connections_max as u64).saturating_add(DESCRIPTORS_OWN);
    let name = "file_descriptors";
    if for_connections >= connections_max as u64 {
        let shown = match allowed {
            u64::MAX => "any number of files".into(),
            _ => format!("{allowed} files"),
        };
        let what = format!("{of} may open {shown}, for {connections_max} connections");
        return Finding::ok(name, "", what);
    }
    Finding::warning(
        name,
        "",
        Whose::Machine,
        format!(
            "{of} may open {allowed} files: {for_connections} connections are taken, not the \
             {connections_max} of listen.connections_max"
        ),
        format!(
            "set LimitNOFILE={needed} or more in the unit (or `ulimit -Hn` in the shell that starts \
             cefline), or lower listen.connections_max"
        ),
    )
}

/// Cores, and the threads that share them.
#[must_use]
pub fn cores(machine: &Machine, runtime: &Runtime) -> Finding {
    let (ingest, upload) = (runtime.ingest_cores, runtime.upload_cores);
    let usable = machine.cores_usable();
    let quota = match machine.cores_quota {
        Some(_) => " by the control group's quota",
        None => "",
    };
    let what = format!("{usable} usable{quota}: {ingest} threads for ingest, {upload} for upload");
    if ingest + upload <= usable.max(2) {
        return Finding::ok("cores", "", what);
    }
    Finding::warning(
        "cores",
        "",
        Whose::Configuration,
        format!("{what}, which will wait for each other"),
        "leave runtime.ingest_cores and runtime.upload_cores at \"auto\"",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_number_and_not_by_text() {
        for (release, verdict) in [
            ("5.8.0\n", Verdict::Ok),
            ("5.10.0-28-amd64", Verdict::Ok),
            ("6.1", Verdict::Ok),
            ("10.0.1", Verdict::Ok),
            ("5.7.19", Verdict::Failed),
            ("4.18.0-553.el8.x86_64", Verdict::Failed),
            ("strange", Verdict::Skipped),
            ("", Verdict::Skipped),
        ] {
            assert_eq!(kernel(release, Io::Uring).verdict, verdict, "{release}");
        }
        assert_eq!(kernel("4.18.0", Io::Epoll).verdict, Verdict::Ok);
        let old = kernel("4.18.0", Io::Auto);
        assert_eq!(old.verdict, Verdict::Ok);
        assert!(old.what.contains("epoll is used"), "{old}");
    }

    #[test]
    fn a_ring_that_is_not_to_be_had_is_explained() {
        assert_eq!(io_uring(Ok(()), Io::Uring).verdict, Verdict::Ok);
        let other = io_uring(Err(UringError::Blocked), Io::Auto);
        assert_eq!(other.verdict, Verdict::Ok);
        assert!(other.what.contains("seccomp"), "{other}");
        assert!(other.what.ends_with("epoll is used"), "{other}");
        let unasked = io_uring(Err(UringError::Blocked), Io::Epoll);
        assert!(unasked.what.contains("not used"), "{unasked}");
        for (error, what, remedy) in [
            (UringError::Absent, "not available", "newer kernel"),
            (
                UringError::DisabledForAll,
                "kernel.io_uring_disabled is 2",
                "set it to 0",
            ),
            (
                UringError::DisabledForOthers,
                "kernel.io_uring_disabled is 1",
                "kernel.io_uring_group",
            ),
            (UringError::Blocked, "seccomp", "a profile that allows"),
        ] {
            let finding = io_uring(Err(error), Io::Uring);
            assert_eq!(finding.verdict, Verdict::Failed);
            assert!(finding.what.contains(what), "{finding}");
            assert!(finding.remedy.contains(remedy), "{finding}");
        }
    }

    #[test]
    fn limits_are_judged_at_their_edges() {
        let memory_for = |allowed, io| {
            let facts = LockedMemory {
                of: Process::Ours,
                allowed,
                needed: 524_288,
            };
            locked_memory(&facts, io)
        };
        let memory = |allowed| memory_for(allowed, Io::Uring);
        assert_eq!(memory_for(524_287, Io::Auto).verdict, Verdict::Ok);
        assert_eq!(memory_for(0, Io::Epoll).verdict, Verdict::Ok);
        assert_eq!(memory(524_288).verdict, Verdict::Ok);
        assert_eq!(memory(u64::MAX).verdict, Verdict::Ok);
        let small = memory(524_287);
        assert_eq!(small.verdict, Verdict::Failed);
        assert!(small.remedy.contains("LimitMEMLOCK=64M"), "{small}");
        let files = |allowed| {
            file_descriptors(&Descriptors {
                of: Process::Running(7),
                allowed,
                connections_max: 1000,
            })
        };
        assert_eq!(files(1256).verdict, Verdict::Ok);
        assert_eq!(files(u64::MAX).verdict, Verdict::Ok);
        let few = files(1255);
        assert_eq!(few.verdict, Verdict::Warning);
        assert!(few.what.contains("999 connections"), "{few}");
        assert!(few.what.contains("process 7"), "{few}");
        assert!(few.remedy.contains("LimitNOFILE=1256"), "{few}");
    }
}
