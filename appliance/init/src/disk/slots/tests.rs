use super::*;
use crate::disk::uki::tests::uki;
use proptest::prelude::*;
use tempfile::TempDir;

/// An ESP and the variables of a boot loader, as directories.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn with(files: &[(&str, &[u8])], selected: &str) -> Machine {
        let machine = Machine {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(machine.esp().join(SYSTEMS)).unwrap();
        fs::create_dir(machine.efivars()).unwrap();
        for (name, bytes) in files {
            fs::write(machine.file(name), bytes).unwrap();
        }
        machine.boot(selected);
        machine
    }

    fn boot(&self, selected: &str) {
        fs::write(
            self.variable("LoaderEntrySelected"),
            esp::variable_bytes(selected),
        )
        .unwrap();
    }

    fn esp(&self) -> PathBuf {
        self.folder.path().join("esp")
    }

    fn efivars(&self) -> PathBuf {
        self.folder.path().join("efivars")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.esp().join(SYSTEMS).join(name)
    }

    fn variable(&self, name: &str) -> PathBuf {
        self.efivars().join(format!("{name}-{}", esp::LOADER))
    }

    fn slots(&self) -> Slots {
        Slots::at(&self.esp(), &self.efivars())
    }

    fn update(&self, bytes: &[u8]) -> Result<Update, Error> {
        let path = self.folder.path().join("update.efi");
        fs::write(&path, bytes).unwrap();
        self.slots().update(&path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.esp().join(SYSTEMS)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn read(&self, variable: &str) -> Option<String> {
        loader_variable(&self.efivars(), variable)
    }
}

fn written(slot: Slot, version: &str, goes_back: bool) -> Update {
    Update::Written {
        slot,
        version: version.to_owned(),
        goes_back,
    }
}

#[test]
fn names_of_slots_are_read_and_others_are_not() {
    let name = |slot, tries| Some(Name { slot, tries });
    assert_eq!(Name::parse("cefline-a.efi"), name(Slot::A, None));
    assert_eq!(
        Name::parse("\\EFI\\Linux\\CEFLINE-B+2-1.EFI"),
        name(Slot::B, Some((2, 1)))
    );
    assert_eq!(
        Name::parse("/EFI/Linux/cefline-b+3.efi"),
        name(Slot::B, Some((3, 0)))
    );
    assert_eq!(Name::parse("cefline-b"), name(Slot::B, None));
    for other in [
        "",
        "cefline-c.efi",
        "cefline-",
        "cefline-ab.efi",
        "cefline-a+.efi",
        "cefline-a+3-.efi",
        "cefline-a+x.efi",
        "cefline-a++3.efi",
        "BOOTX64.EFI",
        "cefline-a+99999999999.efi",
    ] {
        assert_eq!(Name::parse(other), None, "{other}");
    }
}

proptest! {
    #[test]
    fn a_name_is_read_as_it_is_shown(b in any::<bool>(), tries in prop::option::of((any::<u32>(), any::<u32>()))) {
        let name = Name { slot: if b { Slot::B } else { Slot::A }, tries };
        prop_assert_eq!(Name::parse(&name.to_string()), Some(name));
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), rest in "[-+0-9.efi]{0,12}") {
        let _ = Name::parse(&text);
        let _ = Name::parse(&format!("cefline-a{rest}"));
    }
}

#[test]
fn the_running_slot_is_what_the_boot_loader_says() {
    let machine = Machine::with(&[], "cefline-b+2-1.efi");
    assert_eq!(machine.slots().this(), Some(Slot::B));
    machine.boot("something else");
    assert_eq!(machine.slots().this(), None);
    fs::write(
        machine.variable("LoaderBootCountPath"),
        esp::variable_bytes("\\EFI\\Linux\\cefline-a+2-1.efi"),
    )
    .unwrap();
    assert_eq!(machine.slots().this(), Some(Slot::A));
    assert!(Machine::with(&[], "x").slots().bless().is_err());
}

#[test]
fn an_update_is_written_tried_and_blessed() {
    let (old, new) = (uki("1.0", 9000, 1), uki("1.1", 80_000, 2));
    let machine = Machine::with(&[("cefline-a.efi", &old)], "cefline-a.efi");
    assert!(!machine.slots().bless().unwrap(), "it is blessed already");
    assert_eq!(
        machine.update(&new).unwrap(),
        written(Slot::B, "1.1", false)
    );
    assert_eq!(machine.names(), ["cefline-a.efi", "cefline-b+3.efi"]);
    assert_eq!(fs::read(machine.file("cefline-b+3.efi")).unwrap(), new);
    assert_eq!(fs::read(machine.file("cefline-a.efi")).unwrap(), old);
    assert_eq!(
        machine.update(&new).unwrap(),
        Update::Known("1.1".to_owned())
    );
    // systemd-boot tries it
    fs::rename(
        machine.file("cefline-b+3.efi"),
        machine.file("cefline-b+2-1.efi"),
    )
    .unwrap();
    machine.boot("cefline-b+2-1.efi");
    assert!(
        matches!(machine.update(&uki("1.2", 9000, 3)), Err(Error::Slot(_))),
        "nothing may be written before it is blessed"
    );
    assert!(machine.slots().bless().unwrap());
    assert_eq!(machine.names(), ["cefline-a.efi", "cefline-b.efi"]);
    assert_eq!(fs::read(machine.file("cefline-b.efi")).unwrap(), new);
    assert_eq!(
        (
            machine.read("LoaderEntryDefault"),
            machine.read("LoaderEntryOneShot")
        ),
        (None, None)
    );
    assert_eq!(
        machine.update(&uki("1.2", 9000, 3)).unwrap(),
        written(Slot::A, "1.2", false)
    );
    assert_eq!(machine.names(), ["cefline-a+3.efi", "cefline-b.efi"]);
}

#[test]
fn a_lower_version_is_named_to_the_boot_loader_until_a_higher_one_comes() {
    let machine = Machine::with(&[("cefline-a.efi", &uki("1.10", 9000, 1))], "cefline-a.efi");
    assert_eq!(
        machine.update(&uki("1.9", 9000, 2)).unwrap(),
        written(Slot::B, "1.9", true)
    );
    assert_eq!(
        machine.read("LoaderEntryOneShot").as_deref(),
        Some("cefline-b*")
    );
    assert_eq!(
        machine.read("LoaderEntryDefault"),
        None,
        "it is not yet known to be good"
    );
    fs::rename(
        machine.file("cefline-b+3.efi"),
        machine.file("cefline-b+2-1.efi"),
    )
    .unwrap();
    machine.boot("cefline-b+2-1.efi");
    assert!(machine.slots().bless().unwrap());
    assert_eq!(
        machine.read("LoaderEntryDefault").as_deref(),
        Some("cefline-b*")
    );
    assert_eq!(
        machine.update(&uki("1.11", 9000, 3)).unwrap(),
        written(Slot::A, "1.11", false)
    );
    assert_eq!(machine.read("LoaderEntryDefault"), None);
}

#[test]
fn a_bad_version_is_not_tried_again() {
    let bad = uki("2", 9000, 2);
    let machine = Machine::with(
        &[
            ("cefline-a.efi", &uki("1", 9000, 1)),
            ("cefline-b+0-3.efi", &bad),
        ],
        "cefline-a.efi",
    );
    assert_eq!(machine.update(&bad).unwrap(), Update::Known("2".to_owned()));
    assert_eq!(
        machine.update(&uki("3", 9000, 3)).unwrap(),
        written(Slot::B, "3", false)
    );
    assert_eq!(machine.names(), ["cefline-a.efi", "cefline-b+3.efi"]);
}

#[test]
fn what_is_no_system_of_ours_changes_nothing() {
    let machine = Machine::with(
        &[
            ("cefline-a.efi", &uki("1", 9000, 1)),
            ("cefline-b.efi", &uki("0", 9000, 1)),
        ],
        "cefline-a.efi",
    );
    let whole = uki("2", 9000, 2);
    for wrong in [&b""[..], b"MZ", &whole[..8999], &[0; 9000]] {
        assert!(machine.update(wrong).is_err());
    }
    assert!(
        machine
            .slots()
            .update(&machine.folder.path().join("none.efi"))
            .is_err()
    );
    assert_eq!(machine.names(), ["cefline-a.efi", "cefline-b.efi"]);
}

#[test]
fn a_system_of_less_than_a_sector_is_none_and_removes_nothing() {
    let machine = Machine::with(
        &[
            ("cefline-a.efi", &uki("1", 9000, 1)),
            ("cefline-b.efi", &uki("0", 9000, 1)),
        ],
        "cefline-a.efi",
    );
    // a head and three sections of the same bytes
    let release = b"ID=cefline\nVERSION_ID=2\n";
    let mut tiny = vec![0; 0x40 + 24 + 3 * 40];
    tiny[..2].copy_from_slice(b"MZ");
    tiny[0x3c] = 0x40;
    tiny[0x40..0x47].copy_from_slice(b"PE\0\0\x64\x86\x03");
    for (index, name) in [&b".osrel"[..], b".linux", b".initrd"].iter().enumerate() {
        let (at, end) = (0x40 + 24 + index * 40, tiny.len() as u32);
        tiny[at..at + name.len()].copy_from_slice(name);
        for field in [8, 16] {
            tiny[at + field..at + field + 4].copy_from_slice(&(release.len() as u32).to_le_bytes());
        }
        tiny[at + 20..at + 24].copy_from_slice(&end.to_le_bytes());
    }
    tiny.extend(release);
    assert!(Uki::parse(&tiny, tiny.len() as u64).is_some());
    assert!(machine.update(&tiny).is_err());
    assert_eq!(machine.names(), ["cefline-a.efi", "cefline-b.efi"]);
}

#[test]
fn what_a_power_cut_left_of_an_update_is_written_again() {
    let new = uki("2", 9000, 2);
    let mut cut = new.clone();
    cut[..SECTOR_BYTES].fill(0);
    let machine = Machine::with(
        &[
            ("cefline-a.efi", &uki("1", 9000, 1)),
            ("cefline-b+3.efi", &cut),
        ],
        "cefline-a.efi",
    );
    assert_eq!(machine.update(&new).unwrap(), written(Slot::B, "2", false));
    assert_eq!(fs::read(machine.file("cefline-b+3.efi")).unwrap(), new);
}

#[test]
fn a_blessing_that_was_cut_is_done_again() {
    let new = uki("2", 9000, 2);
    let mut cut = new.clone();
    cut[..SECTOR_BYTES].fill(0);
    for half in [&cut[..512], &cut, &new] {
        let machine = Machine::with(
            &[
                ("cefline-a.efi", &uki("1", 9000, 1)),
                ("cefline-b+1-2.efi", &new),
                ("cefline-b.efi", half),
            ],
            "cefline-b+1-2.efi",
        );
        assert!(machine.slots().bless().unwrap());
        assert_eq!(machine.names(), ["cefline-a.efi", "cefline-b.efi"]);
        assert_eq!(fs::read(machine.file("cefline-b.efi")).unwrap(), new);
    }
}

#[test]
fn an_update_that_does_not_fit_removes_nothing() {
    let machine = Machine::with(
        &[
            ("cefline-a.efi", &uki("1", 9000, 1)),
            ("cefline-b.efi", &uki("0", 9000, 1)),
        ],
        "cefline-a.efi",
    );
    assert!(matches!(
        machine.slots().check_room(u64::MAX / 2, 0),
        Err(Error::Slot(_))
    ));
    assert!(machine.slots().check_room(9000, 0).is_ok());
}

#[test]
fn a_file_is_no_program_until_its_last_write() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&source, uki("1", 9000, 1)).unwrap();
    // one byte more is announced than there is: it ends before the last write
    let failed = put(&mut File::open(&source).unwrap(), 9001, &target).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(
        version_of(&File::open(&target).unwrap(), 9000).unwrap(),
        None
    );
    assert_eq!(
        fs::read(&target).unwrap()[SECTOR_BYTES..],
        fs::read(&source).unwrap()[SECTOR_BYTES..]
    );
}

#[test]
fn a_slot_is_on_trial_until_it_is_blessed_if_there_is_another() {
    for (files, is_on_trial) in [
        (&["cefline-b+2-1.efi", "cefline-a.efi"][..], true),
        (&["cefline-b+2-1.efi"], false),
        (&["cefline-b.efi", "cefline-a.efi"], false),
    ] {
        let bytes = uki("2", 9000, 1);
        let files: Vec<(&str, &[u8])> = files.iter().map(|name| (*name, &bytes[..])).collect();
        let machine = Machine::with(&files, files[0].0);
        assert_eq!(
            machine.slots().is_on_trial(),
            is_on_trial,
            "{:?}",
            machine.names()
        );
    }
    let cut = Machine::with(
        &[
            ("cefline-b+3.efi", &uki("2", 9000, 1)),
            ("cefline-a.efi", b"cut"),
        ],
        "cefline-b+3.efi",
    );
    assert!(!cut.slots().is_on_trial());
}
