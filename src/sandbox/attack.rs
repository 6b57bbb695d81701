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
use super::attack_list::{Arg, CALLS, MADE_IN, OLD_CALLS, READ, SOCKETS, WRITTEN, of_kind};
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
    let is_root = nix::unistd::geteuid().is_root();
    // root is left the files of /etc where hosts and name servers are replaced in it
    let read = READ
        .iter()
        .filter(|path| !is_root || **path != "/etc/shadow");
    for path in read {
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
            Arg::N(_) => None,
            Arg::T(text) => CString::new(OsStr::new(text).as_bytes()).ok(),
        })
        .collect();
    let mut numbers = [0; 6];
    for ((number, argument), text) in numbers.iter_mut().zip(arguments).zip(&texts) {
        *number = match (argument, text) {
            (Arg::N(value), _) => *value,
            (Arg::T(_), text) => text.as_ref().map_or(0, |text| text.as_ptr() as i64),
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
