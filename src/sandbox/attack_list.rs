//! What is tried: calls with arguments that do no harm, and files.

use super::Kind;
use Arg::{N, T};
use nix::libc::{self, c_long};

/// An argument of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arg {
    /// A number, or an address: 0 is none.
    N(i64),
    /// A text.
    T(&'static str),
}

/// A call that is to fail: its name for people, its number, its arguments.
pub(super) type Call = (&'static str, c_long, &'static [Arg]);

/// No descriptor.
const NONE: Arg = N(-1);
/// No address.
const NULL: Arg = N(0);
/// An address where nothing can be.
const NOWHERE: Arg = N(1);
/// Flags, or a number of something, that nothing knows.
const UNKNOWN: Arg = N(0x7fff_fff0);
/// A path that no machine has.
const ABSENT: Arg = T("/cefline-self-attack.absent/x");
/// The first process.
const INIT: Arg = N(1);

/// What no thread may do.
pub(super) const CALLS: &[Call] = &[
    // other programs: their arguments lie nowhere
    (
        "execve of a shell",
        libc::SYS_execve,
        &[T("/bin/sh"), NOWHERE, NULL],
    ),
    (
        "execve of itself",
        libc::SYS_execve,
        &[T("/proc/self/exe"), NOWHERE, NULL],
    ),
    (
        "execveat of itself",
        libc::SYS_execveat,
        &[NONE, T("/proc/self/exe"), NOWHERE, NULL, N(0)],
    ),
    ("memfd_create", libc::SYS_memfd_create, &[NULL, UNKNOWN]),
    // other processes
    (
        "ptrace of process 1",
        libc::SYS_ptrace,
        &[N(libc::PTRACE_PEEKUSER as i64), INIT, NULL, NULL],
    ),
    (
        "process_vm_readv of process 1",
        libc::SYS_process_vm_readv,
        &[INIT, NULL, N(0), NULL, N(0), N(0)],
    ),
    (
        "process_vm_writev of process 1",
        libc::SYS_process_vm_writev,
        &[INIT, NULL, N(0), NULL, N(0), N(0)],
    ),
    ("kill of process 1", libc::SYS_kill, &[INIT, N(0)]),
    ("tgkill of process 1", libc::SYS_tgkill, &[INIT, INIT, N(0)]),
    ("tkill of process 1", libc::SYS_tkill, &[INIT, N(0)]),
    (
        "rt_sigqueueinfo to process 1",
        libc::SYS_rt_sigqueueinfo,
        &[INIT, N(0), NOWHERE],
    ),
    (
        "pidfd_open of process 1",
        libc::SYS_pidfd_open,
        &[INIT, UNKNOWN],
    ),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, &[NONE, N(0), N(0)]),
    (
        "pidfd_send_signal",
        libc::SYS_pidfd_send_signal,
        &[NONE, N(0), NULL, N(0)],
    ),
    (
        "kcmp of process 1",
        libc::SYS_kcmp,
        &[INIT, INIT, UNKNOWN, N(0), N(0)],
    ),
    (
        "prlimit64 of process 1",
        libc::SYS_prlimit64,
        &[INIT, N(7), NULL, NULL],
    ),
    (
        "move_pages of process 1",
        libc::SYS_move_pages,
        &[INIT, N(0), NULL, NULL, NULL, UNKNOWN],
    ),
    // file systems
    (
        "mount",
        libc::SYS_mount,
        &[T("none"), ABSENT, T("tmpfs"), N(0), NULL],
    ),
    ("umount2", libc::SYS_umount2, &[ABSENT, N(0)]),
    ("pivot_root", libc::SYS_pivot_root, &[ABSENT, ABSENT]),
    ("chroot", libc::SYS_chroot, &[ABSENT]),
    ("fsopen", libc::SYS_fsopen, &[T("tmpfs"), UNKNOWN]),
    ("open_tree", libc::SYS_open_tree, &[NONE, ABSENT, UNKNOWN]),
    (
        "move_mount",
        libc::SYS_move_mount,
        &[NONE, ABSENT, NONE, ABSENT, UNKNOWN],
    ),
    (
        "mknodat of a device",
        libc::SYS_mknodat,
        &[NONE, ABSENT, N(0o020_600), N(0x103)],
    ),
    (
        "fchmodat of setuid",
        libc::SYS_fchmodat,
        &[NONE, ABSENT, N(0o4755)],
    ),
    (
        "fchownat to root",
        libc::SYS_fchownat,
        &[NONE, ABSENT, N(0), N(0), N(0)],
    ),
    (
        "setxattr of capabilities",
        libc::SYS_setxattr,
        &[ABSENT, T("security.capability"), NULL, N(0), N(0)],
    ),
    ("symlinkat", libc::SYS_symlinkat, &[T("x"), NONE, ABSENT]),
    (
        "linkat",
        libc::SYS_linkat,
        &[NONE, ABSENT, NONE, ABSENT, N(0)],
    ),
    (
        "renameat2",
        libc::SYS_renameat2,
        &[NONE, ABSENT, NONE, ABSENT, N(0)],
    ),
    ("truncate", libc::SYS_truncate, &[ABSENT, N(0)]),
    (
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        &[NONE, NOWHERE, N(0)],
    ),
    (
        "name_to_handle_at",
        libc::SYS_name_to_handle_at,
        &[NONE, ABSENT, NULL, NULL, N(0)],
    ),
    (
        "fanotify_init",
        libc::SYS_fanotify_init,
        &[UNKNOWN, UNKNOWN],
    ),
    (
        "quotactl",
        libc::SYS_quotactl,
        &[UNKNOWN, ABSENT, N(0), NULL],
    ),
    ("acct", libc::SYS_acct, &[ABSENT]),
    ("swapon", libc::SYS_swapon, &[ABSENT, N(0)]),
    ("swapoff", libc::SYS_swapoff, &[ABSENT]),
    // namespaces
    (
        "unshare of users",
        libc::SYS_unshare,
        &[N(libc::CLONE_NEWUSER as i64)],
    ),
    ("setns", libc::SYS_setns, &[NONE, N(0)]),
    // who it is
    ("setuid to root", libc::SYS_setuid, &[N(0)]),
    ("setgid to root", libc::SYS_setgid, &[N(0)]),
    ("setresuid", libc::SYS_setresuid, &[NONE, NONE, NONE]),
    ("setgroups", libc::SYS_setgroups, &[UNKNOWN, NULL]),
    ("setfsuid", libc::SYS_setfsuid, &[NONE]),
    ("capset", libc::SYS_capset, &[NULL, NULL]),
    (
        "prctl of ambient capabilities",
        libc::SYS_prctl,
        &[N(47), N(1), N(10), N(0), N(0)],
    ),
    (
        "prctl of memory",
        libc::SYS_prctl,
        &[N(35), UNKNOWN, N(0), N(0), N(0)],
    ),
    (
        "another seccomp filter",
        libc::SYS_seccomp,
        &[N(1), N(0), NULL],
    ),
    ("personality", libc::SYS_personality, &[N(0xffff_ffff)]),
    // the kernel
    ("init_module", libc::SYS_init_module, &[NULL, N(0), NOWHERE]),
    ("finit_module", libc::SYS_finit_module, &[NONE, T(""), N(0)]),
    (
        "delete_module",
        libc::SYS_delete_module,
        &[T("cefline_absent"), N(libc::O_NONBLOCK as i64)],
    ),
    (
        "kexec_load",
        libc::SYS_kexec_load,
        &[N(0), N(0), NULL, UNKNOWN],
    ),
    ("bpf", libc::SYS_bpf, &[UNKNOWN, NULL, N(0)]),
    (
        "perf_event_open",
        libc::SYS_perf_event_open,
        &[NOWHERE, N(0), NONE, NONE, N(0)],
    ),
    ("userfaultfd", libc::SYS_userfaultfd, &[UNKNOWN]),
    ("syslog", libc::SYS_syslog, &[N(10), NULL, N(0)]),
    ("reboot", libc::SYS_reboot, &[N(0), N(0), N(0), NULL]),
    ("sethostname", libc::SYS_sethostname, &[NULL, NONE]),
    ("setdomainname", libc::SYS_setdomainname, &[NULL, NONE]),
    ("clock_settime", libc::SYS_clock_settime, &[UNKNOWN, NULL]),
    ("settimeofday", libc::SYS_settimeofday, &[NULL, NULL]),
    ("adjtimex", libc::SYS_adjtimex, &[NULL]),
    (
        "sched_setscheduler",
        libc::SYS_sched_setscheduler,
        &[N(0), N(1), NULL],
    ),
    ("setpriority", libc::SYS_setpriority, &[UNKNOWN, N(0), N(0)]),
    (
        "add_key",
        libc::SYS_add_key,
        &[NULL, NULL, NULL, N(0), N(0)],
    ),
    (
        "request_key",
        libc::SYS_request_key,
        &[NULL, NULL, NULL, N(0)],
    ),
    ("keyctl", libc::SYS_keyctl, &[UNKNOWN]),
    ("shmget", libc::SYS_shmget, &[N(0), N(0), N(0)]),
    (
        "terminal input by ioctl",
        libc::SYS_ioctl,
        &[NONE, N(0x5412), NULL],
    ),
    // the network
    ("bind", libc::SYS_bind, &[NONE, NULL, N(0)]),
    ("listen", libc::SYS_listen, &[NONE, N(0)]),
    ("clone3", libc::SYS_clone3, &[NULL, N(0)]),
];

/// What only this processor has.
#[cfg(target_arch = "x86_64")]
pub(super) const OLD_CALLS: &[Call] = &[
    ("setrlimit", libc::SYS_setrlimit, &[N(7), NOWHERE]),
    ("iopl", libc::SYS_iopl, &[N(0)]),
    ("ioperm", libc::SYS_ioperm, &[NONE, N(0), N(0)]),
    ("modify_ldt", libc::SYS_modify_ldt, &[N(0), NULL, N(0)]),
    ("chmod of setuid", libc::SYS_chmod, &[ABSENT, N(0o4755)]),
    (
        "mknod of a device",
        libc::SYS_mknod,
        &[ABSENT, N(0o020_600), N(0x103)],
    ),
    (
        "kexec_file_load",
        libc::SYS_kexec_file_load,
        &[NONE, NONE, N(0), NULL, UNKNOWN],
    ),
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OLD_CALLS: &[Call] = &[];

/// Sockets that nobody needs: by family, type and protocol.
pub(super) const SOCKETS: &[Call] = &[
    ("raw socket", libc::SYS_socket, &[N(2), N(3), N(1)]),
    ("ping socket", libc::SYS_socket, &[N(2), N(2), N(1)]),
    ("packet socket", libc::SYS_socket, &[N(17), N(3), N(0)]),
    ("netlink socket", libc::SYS_socket, &[N(16), N(3), N(0)]),
    (
        "socket of kernel ciphers",
        libc::SYS_socket,
        &[N(38), N(5), N(0)],
    ),
    ("socket to the host", libc::SYS_socket, &[N(40), N(1), N(0)]),
    ("bluetooth socket", libc::SYS_socket, &[N(31), N(3), N(0)]),
];

/// What a kind of thread may not do, while others may.
pub(super) fn of_kind(kind: Kind) -> &'static [Call] {
    const SOCKET: Call = ("socket", libc::SYS_socket, &[N(2), N(1), N(0)]);
    const CONNECT: Call = ("connect", libc::SYS_connect, &[NONE, NULL, N(0)]);
    const ACCEPT: Call = ("accept4", libc::SYS_accept4, &[NONE, NULL, NULL, N(0)]);
    const RING: Call = ("io_uring_setup", libc::SYS_io_uring_setup, &[N(0), NULL]);
    const ENTER: Call = (
        "io_uring_enter",
        libc::SYS_io_uring_enter,
        &[NONE, N(0), N(0), N(0), NULL],
    );
    const OPEN: Call = ("openat", libc::SYS_openat, &[NONE, ABSENT, N(0), N(0)]);
    const CREATE: Call = (
        "openat to write",
        libc::SYS_openat,
        &[NONE, ABSENT, N(0o101), N(0)],
    );
    const PIN: Call = (
        "sched_setaffinity",
        libc::SYS_sched_setaffinity,
        &[N(0), N(0), NULL],
    );
    match kind {
        Kind::Main => &[SOCKET, CONNECT, ACCEPT, RING, ENTER, CREATE, PIN],
        Kind::Log => &[SOCKET, CONNECT, ACCEPT, RING, OPEN],
        Kind::Accept | Kind::Watch => &[SOCKET, CONNECT, RING, ENTER, OPEN],
        Kind::Ingest => &[SOCKET, CONNECT, ACCEPT, RING, OPEN, PIN],
        Kind::Upload => &[ACCEPT, RING, ENTER, CREATE, PIN],
        Kind::Spool => &[SOCKET, CONNECT, ACCEPT, RING, ENTER],
        Kind::Any | Kind::IngestStart => &[],
    }
}

/// Files that are none of its business.
pub(super) const READ: &[&str] = &[
    "/etc/shadow",
    "/etc/ssl/private",
    "/proc/1/environ",
    "/proc/1/maps",
    "/proc/kcore",
    "/proc/kallsyms",
    "/dev/mem",
    "/dev/kmsg",
    "/sys/kernel/notes",
    "/root",
    "/boot",
    "/usr/bin",
];
pub(super) const WRITTEN: &[&str] = &[
    "/dev/kmsg",
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/self/oom_score_adj",
    "/etc/passwd",
];
/// Folders that it would leave something in.
pub(super) const MADE_IN: &[&str] = &["/", "/etc", "/tmp", "/var", "/run", "/dev", "/usr/bin"];
