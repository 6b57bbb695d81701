//! PID 1 of a test boot (`tests/disk-boot.sh`): nothing but the disk, to be tried apart from all else.
//!
//! Mounts, modules in the order of `/etc/appliance/modules`, then what the kernel's command line asks
//! for: `t.data` the data partition, `t.write` a file on it, `t.slots` the ESP, `t.update` the UKI on
//! the second disk into the other slot, `t.bless`, `t.fake` without a boot loader. Each step says on the console how it ended.

use appliance_init::disk::{Data, Slots};
use rustix::fs::OFlags;
use rustix::mount::MountFlags;
use rustix::system::RebootCommand;
use std::fs;
use std::path::Path;

fn main() {
    for (source, target, kind) in [
        ("proc", "/proc", "proc"),
        ("sys", "/sys", "sysfs"),
        ("dev", "/dev", "devtmpfs"),
    ] {
        if let Err(error) = rustix::mount::mount(source, target, kind, MountFlags::empty(), None) {
            println!("test: mounting {target}: {error}");
        }
    }
    for name in fs::read_to_string("/etc/appliance/modules")
        .unwrap_or_default()
        .lines()
    {
        let loaded = rustix::fs::open(
            format!("/usr/lib/modules/{name}"),
            OFlags::RDONLY,
            rustix::fs::Mode::empty(),
        )
        .and_then(|file| rustix::system::finit_module(file, c"", 0));
        if let Err(error) = loaded {
            println!("test: module {name}: {error}");
        }
    }
    if let Err(error) = rustix::mount::mount(
        "efivarfs",
        "/sys/firmware/efi/efivars",
        "efivarfs",
        MountFlags::empty(),
        None,
    ) {
        println!("test: no EFI variables: {error}");
    }
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let asked = |what: &str| line.split_whitespace().any(|word| word == what);
    if asked("t.slots") {
        slots(asked("t.bless"), asked("t.update"), asked("t.fake"));
    }
    if asked("t.data") {
        data(asked("t.write"));
        if asked("t.wait") {
            wait_for_growth();
        }
    }
    rustix::fs::sync();
    if asked("t.unmount") {
        let _ = rustix::mount::unmount("/var/lib/cefline", rustix::mount::UnmountFlags::empty());
    }
    println!("test: end at {}", uptime());
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        println!("test: powering off: {error}");
    }
}

fn uptime() -> String {
    fs::read_to_string("/proc/uptime").unwrap_or_default()
}

fn data(write: bool) {
    println!("test: before data {}", uptime());
    match Data::prepare(true) {
        Ok(data) => println!("test: data: {data}"),
        Err(error) => println!("test: data failed: {error}"),
    }
    println!("test: after data {}", uptime());
    let kept = Path::new("/var/lib/cefline/kept");
    if write && let Err(error) = fs::write(kept, b"kept\n") {
        println!("test: writing: {error}");
    }
    println!("test: kept {:?}", fs::read_to_string(kept).ok());
    for line in fs::read_to_string("/proc/mounts")
        .unwrap_or_default()
        .lines()
    {
        println!("test: mount {line}");
    }
    match rustix::fs::statvfs("/var/lib/cefline") {
        Ok(about) => println!("test: size {} MiB", (about.f_blocks * about.f_frsize) >> 20),
        Err(error) => println!("test: size: {error}"),
    }
}

/// Until the file system has had the same size for half a minute.
fn wait_for_growth() {
    let (mut last, mut same) = (0, 0);
    while same < 6 {
        std::thread::sleep(std::time::Duration::from_secs(5));
        let size = rustix::fs::statvfs("/var/lib/cefline")
            .map_or(0, |about| about.f_blocks * about.f_frsize);
        same = if size == last { same + 1 } else { 0 };
        last = size;
        println!("test: size {} MiB at {}", size >> 20, uptime());
    }
}

/// As if a boot loader had said that slot A runs: for boots without one.
fn fake_slot_a() -> Slots {
    let selected: Vec<u8> = [7, 0, 0, 0]
        .into_iter()
        .chain("cefline-a.efi".encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    let name = "LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
    let opened = rustix::mount::mount_remount("/boot", MountFlags::empty(), c"");
    println!(
        "test: fake slot: {:?} {opened:?}",
        fs::write(Path::new("/run").join(name), selected)
    );
    Slots::at(Path::new("/boot"), Path::new("/run"))
}

fn slots(bless: bool, update: bool, fake: bool) {
    let slots = match Slots::find() {
        Ok(slots) => slots,
        Err(error) => return println!("test: slots failed: {error}"),
    };
    let slots = if fake { fake_slot_a() } else { slots };
    println!("test: slot {:?}", slots.this());
    if bless {
        match slots.bless() {
            Ok(new) => println!("test: blessed {new}"),
            Err(error) => println!("test: bless failed: {error}"),
        }
    }
    if update {
        // the second disk is the UKI itself, on a FAT of its own
        let mounted = rustix::mount::mount("/dev/vdb", "/mnt", "vfat", MountFlags::RDONLY, None);
        if let Err(error) = mounted {
            println!("test: mounting /dev/vdb: {error}");
        }
        println!("test: update begins");
        match slots.update(Path::new("/mnt/update.efi")) {
            Ok(done) => println!("test: update: {done}"),
            Err(error) => println!("test: update failed: {error}"),
        }
    }
}
