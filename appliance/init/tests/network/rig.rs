//! Two namespaces with a cable between them: `eth0` on our side, `eth0` on the other.

use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::process::Command;
use std::thread;

/// The other side.
pub(crate) struct Peer {
    namespace: File,
}

/// Runs a test on our side of the cable, or tells why not.
pub(crate) fn with_peer(test: impl FnOnce(&Peer) + Send) {
    if let Some(reason) = missing() {
        println!("skipped: {reason}");
        return;
    }
    thread::scope(|scope| {
        let peer = scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                Peer {
                    namespace: File::open("/proc/thread-self/ns/net").unwrap(),
                }
            })
            .join()
            .unwrap();
        let ours = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            run("ip link set lo up");
            run("ip link add name eth0 type veth peer name eth1");
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&peer.namespace);
            let process = std::process::id();
            run(&format!(
                "ip link set eth1 netns /proc/{process}/fd/{descriptor}"
            ));
            peer.run(|| {
                run("ip link set eth1 name eth0");
                run("ip link set lo up");
                run("ip link set eth0 up");
            });
            test(&peer);
        });
        if let Err(failure) = ours.join() {
            std::panic::resume_unwind(failure);
        }
    });
}

impl Peer {
    /// Does something on the other side.
    pub(crate) fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
                what()
            });
            match there.join() {
                Ok(value) => value,
                Err(failure) => std::panic::resume_unwind(failure),
            }
        })
    }
}

/// Runs a command and gives what it printed.
pub(crate) fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{line}: {said}{complained}");
    said
}

fn missing() -> Option<&'static str> {
    if Command::new("ip").arg("-V").output().is_err() {
        return Some("`ip` is not there (package iproute2)");
    }
    let may = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join();
    (!may.unwrap()).then_some("no network namespace may be made: not root")
}
