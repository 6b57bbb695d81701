//! Tries from inside what the sandbox is to refuse: for tests, with the feature `self-attack` only, and
//! when the environment has `CEFLINE_SELF_ATTACK=1`.
//!
//! ```text
//! self-attack execve of a shell: refused (EPERM)
//! self-attack ...: NOT REFUSED (EFAULT)
//! self-attack ...: nothing there (ENOENT)       a file that this machine has not
//! self-attack: 99 of 99 refused
//! ```
//!
//! Where an attack is not refused it does no harm: its arguments are such that the kernel finds fault
//! with them (no descriptor, no address, no path, unknown flags), changes nothing, or what it has made is
//! undone. Refused means EPERM or EACCES; whatever else comes shows that the call was let in.

use super::Kind;
use nix::errno::Errno;
use nix::libc::{self, c_long};
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What turns it on.
const VARIABLE: &str = "CEFLINE_SELF_ATTACK";
/// Kinds of threads that try as well, besides the first.
const OTHERS: [Kind; 6] = [
    Kind::Log,
    Kind::Accept,
    Kind::Ingest,
    Kind::Upload,
    Kind::Spool,
    Kind::Watch,
];
/// How often, and with which pause, the first waits for them: some kinds may not be there.
const WAITS: (u32, Duration) = (40, Duration::from_millis(50));

/// What has come of all attacks so far.
struct Account {
    begun: BTreeSet<Kind>,
    done: BTreeSet<Kind>,
    tried: u32,
    refused: u32,
}

static ACCOUNT: Mutex<Account> = Mutex::new(Account {
    begun: BTreeSet::new(),
    done: BTreeSet::new(),
    tried: 0,
    refused: 0,
});

/// An argument of a call.
#[derive(Debug, Clone, Copy)]
enum Arg {
    /// A number, or an address: 0 is none.
    N(i64),
    /// A text.
    T(&'static str),
}
use Arg::{N, T};

/// A call that is to fail: its name for people, its number, its arguments.
type Call = (&'static str, c_long, &'static [Arg]);

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
const CALLS: &[Call] = &[
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
    ("setrlimit", libc::SYS_setrlimit, &[N(7), NOWHERE]),
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
const OLD_CALLS: &[Call] = &[
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
const OLD_CALLS: &[Call] = &[];

/// Sockets that nobody needs: by family, type and protocol.
const SOCKETS: &[Call] = &[
    ("raw socket", libc::SYS_socket, &[N(2), N(3), N(1)]),
    ("ping socket", libc::SYS_socket, &[N(2), N(2), N(1)]),
    ("packet socket", libc::SYS_socket, &[N(17), N(3), N(0)]),
    ("netlink socket", libc::SYS_socket, &[N(16), N(3), N(0)]),
    (
        "socket of kernel ciphers",
        libc::SYS_socket,
        &[N(38), N(5), N(0)],
    ),
    (
        "socket to the hypervisor",
        libc::SYS_socket,
        &[N(40), N(1), N(0)],
    ),
    ("bluetooth socket", libc::SYS_socket, &[N(31), N(3), N(0)]),
];

/// What a kind of thread may not do, while others may.
fn of_kind(kind: Kind) -> &'static [Call] {
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
const READ: &[&str] = &[
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
const WRITTEN: &[&str] = &[
    "/dev/kmsg",
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/self/oom_score_adj",
    "/etc/passwd",
];
/// Folders that it would leave something in.
const MADE_IN: &[&str] = &["/", "/etc", "/tmp", "/var", "/run", "/dev", "/usr/bin"];

/// All that a thread of this kind is to try, when it is the first of its kind. The first thread of all
/// waits for the others, and says how it went.
pub(super) fn from_inside(kind: Kind) {
    if std::env::var_os(VARIABLE).as_deref() != Some(OsStr::new("1")) || !begins(kind) {
        return;
    }
    for (what, call, arguments) in of_kind(kind) {
        tell(&format!("{what} from {kind:?}"), attempt(*call, arguments));
    }
    match kind {
        Kind::Main => every(),
        Kind::Upload => connect_elsewhere(),
        _ => {}
    }
    account(|account| account.done.insert(kind));
    if kind == Kind::Main {
        finish();
    }
}

/// False if another thread of this kind has begun.
fn begins(kind: Kind) -> bool {
    let mut is_first = false;
    account(|account| is_first = account.begun.insert(kind));
    is_first
}

fn account<T>(change: impl FnOnce(&mut Account) -> T) -> T {
    change(&mut ACCOUNT.lock().unwrap_or_else(PoisonError::into_inner))
}

fn finish() {
    let (times, pause) = WAITS;
    for _ in 0..times {
        let are_done = account(|account| OTHERS.iter().all(|kind| account.done.contains(kind)));
        if are_done {
            break;
        }
        thread::sleep(pause);
    }
    let (refused, tried) = account(|account| (account.refused, account.tried));
    eprintln!("self-attack: {refused} of {tried} refused");
}

/// Notes an end and says it. An attack that has succeeded has no error.
fn tell(what: &str, end: Result<(), Errno>) {
    let is_refused = match end {
        Err(Errno::EPERM | Errno::EACCES) => true,
        // what makes the C library turn to a call that can be looked into
        Err(Errno::ENOSYS) => what == "clone3",
        _ => false,
    };
    account(|account| {
        account.tried += 1;
        account.refused += u32::from(is_refused);
    });
    let how = match end {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("{error:?}"),
    };
    let word = if is_refused { "refused" } else { "NOT REFUSED" };
    eprintln!("self-attack {what}: {word} ({how})");
}

/// Everything that the first thread tries.
fn every() {
    for (what, call, arguments) in CALLS.iter().chain(OLD_CALLS).chain(SOCKETS) {
        tell(what, attempt(*call, arguments));
    }
    for path in READ {
        tell_file(&format!("reading {path}"), File::open(path).map(drop));
    }
    for path in WRITTEN {
        let opened = OpenOptions::new().write(true).open(path);
        tell_file(&format!("writing {path}"), opened.map(drop));
    }
    for folder in MADE_IN {
        let path = PathBuf::from(folder).join("cefline-self-attack");
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        if made.is_ok() {
            let _ = fs::remove_file(&path);
        }
        tell_file(&format!("making a file in {folder}"), made.map(drop));
        let made = fs::create_dir(&path);
        if made.is_ok() {
            let _ = fs::remove_dir(&path);
        }
        tell_file(&format!("making a folder in {folder}"), made);
    }
    if let Ok(program) = std::env::current_exe() {
        let opened = OpenOptions::new().write(true).open(program);
        tell_file("writing its own program", opened.map(drop));
    }
    let mut arguments = std::env::args_os().skip_while(|argument| argument != "--config");
    if let Some(config) = arguments.nth(1) {
        let opened = OpenOptions::new().append(true).open(config);
        tell_file("writing its own configuration", opened.map(drop));
    }
    tell("fork", fork(libc::SIGCHLD.into()));
    let user = i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    tell("fork into a namespace", fork(user));
    memory();
}

/// As [`tell`], but for a file that is not there at all: the machine has nothing to refuse then.
fn tell_file(what: &str, end: io::Result<()>) {
    let error = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    match end.map_err(error) {
        Err(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV) => {
            eprintln!("self-attack {what}: nothing there");
        }
        end => tell(what, end),
    }
}

/// To a port of this machine that no configuration names.
fn connect_elsewhere() {
    let end = TcpStream::connect(("127.0.0.1", 1)).map(drop);
    let error = end.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()));
    tell("connect to another port from Upload", error);
}

/// A result of a call as an end.
fn ended(result: c_long) -> Result<c_long, Errno> {
    Errno::result(result)
}

fn attempt(call: c_long, arguments: &[Arg]) -> Result<(), Errno> {
    let texts: Vec<Option<CString>> = arguments
        .iter()
        .map(|argument| match argument {
            N(_) => None,
            T(text) => CString::new(OsStr::new(text).as_bytes()).ok(),
        })
        .collect();
    let mut numbers = [0; 6];
    for ((number, argument), text) in numbers.iter_mut().zip(arguments).zip(&texts) {
        *number = match (argument, text) {
            (N(value), _) => *value,
            (T(_), text) => text.as_ref().map_or(0, |text| text.as_ptr() as i64),
        };
    }
    let [a, b, c, d, e, f] = numbers;
    #[expect(unsafe_code, reason = "calls that no library makes")]
    // SAFETY: texts live until it returns; all other addresses are none, or lie in the first page, which
    // nothing can be mapped at: the kernel reports them. No call of the lists changes memory of ours.
    let made = ended(unsafe { libc::syscall(call, a, b, c, d, e, f) })?;
    let makes_descriptor = call == libc::SYS_socket;
    if makes_descriptor && let Ok(descriptor) = i32::try_from(made) {
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

/// A child that ends at once, if there may be one.
fn fork(flags: i64) -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "a fork past the C library")]
    // SAFETY: the child runs on a copy of this memory and makes one call, which ends it.
    let child = unsafe {
        let child = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
        if child == 0 {
            libc::syscall(libc::SYS_exit_group, 0);
        }
        child
    };
    let child = i32::try_from(ended(child)?).unwrap_or_default();
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None);
    Ok(())
}

/// Memory that is executable, in three ways.
fn memory() {
    const LENGTH: usize = 4096;
    let map = |rights: i32| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        #[expect(unsafe_code, reason = "a mapping with these rights")]
        // SAFETY: a new mapping, where the kernel has room; nothing is in it.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), LENGTH, rights, flags, -1, 0) };
        match at == libc::MAP_FAILED {
            true => Err(Errno::last()),
            false => Ok(at),
        }
    };
    let unmap = |at| {
        #[expect(unsafe_code, reason = "the end of such a mapping")]
        // SAFETY: it was made above, and nobody has its address.
        unsafe {
            libc::munmap(at, LENGTH)
        };
    };
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    tell(
        "mmap to write and execute",
        map(writable | libc::PROT_EXEC).map(unmap),
    );
    tell(
        "mmap to execute",
        map(libc::PROT_READ | libc::PROT_EXEC).map(unmap),
    );
    let protected = map(writable).and_then(|at| {
        #[expect(unsafe_code, reason = "new rights for a mapping")]
        // SAFETY: it was made above, and nothing is in it.
        let done = unsafe { libc::mprotect(at, LENGTH, libc::PROT_READ | libc::PROT_EXEC) };
        let done = Errno::result(done).map(drop);
        unmap(at);
        done
    });
    tell("mprotect to execute", protected);
}
