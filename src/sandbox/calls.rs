//! The system calls that each kind of thread needs, and the filters that refuse all others.
//!
//! A filter is inherited and can only be added to, so what a thread may do is what all of its filters
//! allow: that of the process (the sum of all lists here), and its own. Where a call is allowed
//! whatever its arguments, the kernel knows from a bitmap and runs no filter: reading, sending and waiting
//! are such calls.
//!
//! The lists were taken from traces of the tests of this program, and completed by what the C
//! library does in other versions and on other kernels. Calls that are in none fail with EPERM.

use super::Standing;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A kind of thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// All of them: what the program does after it has begun.
    Any,
    /// The first: it attends to signals, reloads, and the supervisor.
    Main,
    /// Makes the thread that writes the log, and is it.
    Log,
    /// Accepts connections.
    Accept,
    /// Makes itself an executor for receiving, with the helper that it may have.
    IngestStart,
    /// Receives.
    Ingest,
    /// Compresses and sends, and has helpers that look up names and sign.
    Upload,
    /// Keeps the spool.
    Spool,
    /// Answers who asks for metrics.
    Watch,
}

impl Kind {
    #[cfg(test)]
    const NARROW: [Kind; 8] = [
        Kind::Main,
        Kind::Log,
        Kind::Accept,
        Kind::IngestStart,
        Kind::Ingest,
        Kind::Upload,
        Kind::Spool,
        Kind::Watch,
    ];
}

/// What of its arguments a call is allowed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    /// Whatever they are.
    Any,
    /// Memory that is not executable.
    Data,
    /// Files that are opened to be read; the flags are this argument.
    ToRead(u8),
    /// TCP, UDP, and sockets by path.
    Talk,
    /// A thread, in the same namespaces.
    Thread,
    /// Of this process: this argument is its id, or 0.
    Own(u8),
    /// What is allowed of a resource is asked for, not set.
    Asked,
    /// Whether it blocks, how much is there, whether it is a terminal.
    Asking,
    /// Names of threads and of memory; and what it takes to add a filter.
    Named,
    /// A filter is added.
    Filter,
}

type List = &'static [(i64, Only)];

/// A list of calls that any arguments may go with.
macro_rules! any {
    ($($name:ident)*) => { &[$((libc::$name, Only::Any)),*] };
}

/// Memory, locks, time, signals to itself, descriptors: what every thread of a program does.
const ALL: List = &[
    (libc::SYS_mmap, Only::Data),
    (libc::SYS_mprotect, Only::Data),
    (libc::SYS_tgkill, Only::Own(0)),
    (libc::SYS_prlimit64, Only::Asked),
    (libc::SYS_ioctl, Only::Asking),
    (libc::SYS_prctl, Only::Named),
];
const ALL_ANY: List = any!(
    SYS_brk SYS_munmap SYS_mremap SYS_madvise SYS_mincore
    SYS_futex SYS_set_robust_list SYS_get_robust_list SYS_rseq SYS_membarrier
    SYS_sched_yield SYS_sched_getaffinity SYS_getcpu
    SYS_nanosleep SYS_clock_nanosleep SYS_clock_gettime SYS_clock_getres SYS_gettimeofday
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_restart_syscall
    SYS_exit SYS_exit_group SYS_getpid SYS_gettid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid
    SYS_getrandom SYS_sysinfo SYS_uname SYS_getrusage
    SYS_read SYS_write SYS_readv SYS_writev SYS_close SYS_fstat SYS_lseek SYS_fcntl SYS_dup
);
/// Old calls of this processor that the C library still makes.
#[cfg(target_arch = "x86_64")]
const ALL_OLD: List = any!(SYS_time SYS_arch_prctl);
#[cfg(not(target_arch = "x86_64"))]
const ALL_OLD: List = &[];

/// Waiting for descriptors.
const WAIT: List = any!(
    SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_ppoll
    SYS_timerfd_create SYS_timerfd_settime
);
#[cfg(target_arch = "x86_64")]
const WAIT_OLD: List = any!(SYS_epoll_wait SYS_poll);
#[cfg(not(target_arch = "x86_64"))]
const WAIT_OLD: List = &[];

/// On sockets that are there.
const SOCKETS: List = any!(
    SYS_recvfrom SYS_sendto SYS_recvmsg SYS_sendmsg SYS_shutdown SYS_getsockopt SYS_setsockopt
    SYS_getsockname SYS_getpeername
);

/// Looks at files, and reads those that Landlock leaves.
const READ_FILES: List = &[(libc::SYS_openat, Only::ToRead(2))];
const LOOK_AT_FILES: List = any!(
    SYS_newfstatat SYS_statx SYS_faccessat SYS_faccessat2 SYS_readlinkat SYS_getdents64 SYS_getcwd
    SYS_statfs SYS_fstatfs SYS_pread64 SYS_fadvise64
);
#[cfg(target_arch = "x86_64")]
const READ_FILES_OLD: List = &[
    (libc::SYS_open, Only::ToRead(1)),
    (libc::SYS_stat, Only::Any),
    (libc::SYS_lstat, Only::Any),
    (libc::SYS_access, Only::Any),
    (libc::SYS_readlink, Only::Any),
];
#[cfg(not(target_arch = "x86_64"))]
const READ_FILES_OLD: List = &[];

/// Makes threads. `clone3` is allowed here and does not exist by a filter of its own: its flags lie in
/// memory, where no filter can see them, and the C library then turns to `clone`.
const THREADS: List = &[
    (libc::SYS_clone, Only::Thread),
    (libc::SYS_clone3, Only::Any),
];

/// Adds a filter, pins itself.
const BEGIN: List = &[
    (libc::SYS_seccomp, Only::Filter),
    (libc::SYS_sched_setaffinity, Only::Any),
];

const ACCEPT: List = any!(SYS_accept4);
const RING: List = any!(SYS_io_uring_enter SYS_io_uring_register);
const RING_START: List = any!(SYS_io_uring_setup);

/// Talks to the service.
const CONNECT: List = &[
    (libc::SYS_socket, Only::Talk),
    (libc::SYS_connect, Only::Any),
    (libc::SYS_sendmmsg, Only::Any),
];

/// Writes the spool.
const WRITE_FILES: List = any!(
    SYS_openat SYS_pwrite64 SYS_pwritev SYS_fsync SYS_fdatasync SYS_fallocate SYS_ftruncate SYS_flock
    SYS_mkdirat SYS_unlinkat
);
#[cfg(target_arch = "x86_64")]
const WRITE_FILES_OLD: List = any!(SYS_open SYS_mkdir SYS_rmdir SYS_unlink);
#[cfg(not(target_arch = "x86_64"))]
const WRITE_FILES_OLD: List = &[];

/// Raises its own limits.
const LIMITS: List = &[(libc::SYS_prlimit64, Only::Own(0))];

/// The lists of a kind of thread.
fn lists(kind: Kind) -> Vec<List> {
    let mut lists = vec![ALL, ALL_ANY, ALL_OLD];
    let wait = [WAIT, WAIT_OLD];
    let read = [READ_FILES, LOOK_AT_FILES, READ_FILES_OLD];
    match kind {
        Kind::Any => {
            lists.extend(wait);
            lists.extend(read);
            lists.extend([SOCKETS, THREADS, BEGIN, ACCEPT, RING, RING_START, CONNECT]);
            lists.extend([WRITE_FILES, WRITE_FILES_OLD, LIMITS]);
        }
        // signals and the supervisor's mailbox; it starts the thread that waits for the end
        Kind::Main => {
            lists.extend(wait);
            lists.extend(read);
            lists.extend([SOCKETS, THREADS, LIMITS]);
        }
        Kind::Log => lists.push(THREADS),
        Kind::Accept => {
            lists.extend(wait);
            lists.extend([SOCKETS, ACCEPT]);
        }
        // its helper, which it makes, has these too
        Kind::IngestStart => {
            lists.extend(wait);
            lists.extend(read);
            lists.extend([SOCKETS, THREADS, BEGIN, RING, RING_START]);
        }
        Kind::Ingest => {
            lists.extend(wait);
            lists.extend([SOCKETS, RING]);
        }
        Kind::Upload => {
            lists.extend(wait);
            lists.extend(read);
            lists.extend([SOCKETS, THREADS, CONNECT]);
        }
        Kind::Spool => {
            lists.extend(read);
            lists.extend([WRITE_FILES, WRITE_FILES_OLD]);
        }
        Kind::Watch => {
            lists.extend(wait);
            lists.extend([SOCKETS, ACCEPT]);
        }
    }
    lists
}

/// From now on this thread, and those that it starts, make only the calls that its kind needs.
pub(super) fn keep_to(kind: Kind) -> Standing {
    let tell = |error: &dyn std::fmt::Display| error.to_string();
    if kind == Kind::Any {
        let missing = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let missing = compile(
            missing,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS as u32),
        );
        seccompiler::apply_filter(&missing?).map_err(|error| tell(&error))?;
    }
    let allowed = compile(
        rules(kind)?,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
    );
    seccompiler::apply_filter(&allowed?).map_err(|error| tell(&error))
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> Result<BpfProgram, String> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| "there are no lists for this processor".to_owned())?;
    SeccompFilter::new(rules, otherwise, on_match, machine)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}

/// The calls of a kind, each with the conditions of which one must hold; with none it always may.
fn rules(kind: Kind) -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, only) in lists(kind).into_iter().flatten() {
        let conditions = alternatives(*only)?;
        match rules.entry(*call) {
            Entry::Vacant(new) => drop(new.insert(conditions)),
            // one of the lists asks for nothing
            Entry::Occupied(known) if known.get().is_empty() => {}
            Entry::Occupied(mut known) if conditions.is_empty() => known.get_mut().clear(),
            Entry::Occupied(mut known) => known.get_mut().extend(conditions),
        }
    }
    Ok(rules)
}

/// Flags of `clone` for namespaces of its own.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;
/// Flags of `open` that change something.
const CHANGES: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;
/// The kind of a socket without the flags beside it.
const SOCKET_KIND: u64 = 0xf;
/// Asked of descriptors: that it does not block, how much is there, whether it is a terminal.
const ASKED: [u64; 4] = [
    libc::FIONBIO,
    libc::FIONREAD,
    libc::TCGETS,
    libc::TIOCGWINSZ,
];
/// Told about threads and memory: names; and that no rights are gained, which goes with each filter.
const NAMES: [i32; 4] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_VMA,
    libc::PR_SET_NO_NEW_PRIVS,
];

/// Sets of conditions: one of the sets must hold, with all that is in it.
fn alternatives(only: Only) -> Result<Vec<SeccompRule>, String> {
    let masked = |mask: i32| Is::MaskedEq(u64::from(mask.cast_unsigned()));
    let own = u64::from(std::process::id());
    let sets: Vec<Vec<(u8, Is, u64)>> = match only {
        Only::Any => Vec::new(),
        Only::Data => vec![vec![(2, masked(libc::PROT_EXEC), 0)]],
        Only::ToRead(flags) => vec![vec![(flags, masked(CHANGES), 0)]],
        Only::Talk => talks(),
        Only::Thread => {
            let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
            vec![vec![(0, masked(libc::CLONE_THREAD | NAMESPACES), thread)]]
        }
        Only::Own(id) => vec![vec![(id, Is::Eq, 0)], vec![(id, Is::Eq, own)]],
        Only::Asked => return asked(own),
        Only::Asking => ASKED.iter().map(|what| vec![(1, Is::Eq, *what)]).collect(),
        Only::Named => NAMES
            .iter()
            .map(|what| vec![(0, Is::Eq, u64::from(what.cast_unsigned()))])
            .collect(),
        Only::Filter => vec![vec![(0, Is::Eq, u64::from(libc::SECCOMP_SET_MODE_FILTER))]],
    };
    sets.into_iter()
        .map(|set| all_of(set, &Width::Dword))
        .collect()
}

/// Limits are set by what the third argument points at: none of it may be anything.
fn asked(own: u64) -> Result<Vec<SeccompRule>, String> {
    let condition = |width, number, value| {
        SeccompCondition::new(number, width, Is::Eq, value).map_err(|error| error.to_string())
    };
    [0, own]
        .into_iter()
        .map(|id| {
            let both = vec![
                condition(Width::Dword, 0, id)?,
                condition(Width::Qword, 2, 0)?,
            ];
            SeccompRule::new(both).map_err(|error| error.to_string())
        })
        .collect()
}

fn all_of(set: Vec<(u8, Is, u64)>, width: &Width) -> Result<SeccompRule, String> {
    let conditions: Result<Vec<_>, _> = set
        .into_iter()
        .map(|(number, is, value)| SeccompCondition::new(number, width.clone(), is, value))
        .collect();
    conditions
        .and_then(SeccompRule::new)
        .map_err(|error| error.to_string())
}

/// Families of sockets, and what is spoken on them: no raw ones, no other protocols.
fn talks() -> Vec<Vec<(u8, Is, u64)>> {
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX];
    let kinds = [
        (libc::SOCK_STREAM, 0),
        (libc::SOCK_STREAM, libc::IPPROTO_TCP),
        (libc::SOCK_DGRAM, 0),
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    ];
    let number = |value: i32| u64::from(value.cast_unsigned());
    let mut talks = Vec::new();
    for family in families {
        for (kind, protocol) in kinds {
            talks.push(vec![
                (0, Is::Eq, number(family)),
                (1, Is::MaskedEq(SOCKET_KIND), number(kind)),
                (2, Is::Eq, number(protocol)),
            ]);
        }
    }
    talks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_thread_has_a_call_that_the_process_has_not() {
        let all = rules(Kind::Any).unwrap();
        for kind in Kind::NARROW {
            for (call, conditions) in rules(kind).unwrap() {
                let Some(of_all) = all.get(&call) else {
                    panic!("{kind:?} has {call}");
                };
                assert!(
                    of_all.is_empty() || !conditions.is_empty(),
                    "{kind:?} has {call} with any arguments"
                );
            }
        }
    }

    #[test]
    fn nobody_starts_programs_or_opens_ports() {
        let all = rules(Kind::Any).unwrap();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_kill,
        ] {
            assert!(!all.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn each_kind_does_only_its_own_work() {
        let has = |kind, call| rules(kind).unwrap().contains_key(&call);
        for (call, kinds) in [
            (libc::SYS_connect, vec![Kind::Upload]),
            (libc::SYS_socket, vec![Kind::Upload]),
            (libc::SYS_accept4, vec![Kind::Accept, Kind::Watch]),
            (libc::SYS_io_uring_setup, vec![Kind::IngestStart]),
            (
                libc::SYS_io_uring_enter,
                vec![Kind::IngestStart, Kind::Ingest],
            ),
            (libc::SYS_pwrite64, vec![Kind::Spool]),
            (libc::SYS_seccomp, vec![Kind::IngestStart]),
        ] {
            let having: Vec<Kind> = Kind::NARROW
                .into_iter()
                .filter(|kind| has(*kind, call))
                .collect();
            assert_eq!(having, kinds, "{call}");
        }
    }
}
