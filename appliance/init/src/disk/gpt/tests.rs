use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::fs;
use std::process::Command;

const MIB: u64 = ALIGN_BYTES;

/// An empty table on a disk of so many bytes, as a program that makes tables leaves it.
fn empty(sector_bytes: u64, disk_bytes: u64) -> Vec<u8> {
    let shape = Shape::new(sector_bytes, disk_bytes).unwrap();
    let mut mbr = vec![0; sector_bytes as usize];
    mbr[446 + 4] = 0xee;
    mbr[446 + 8] = 1;
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    let entries = vec![0; 128 * ENTRY_BYTES];
    let first_usable = 2 + (entries.len() as u64).div_ceil(sector_bytes);
    let mut disk = vec![0; disk_bytes as usize];
    disk[..mbr.len()].copy_from_slice(&mbr);
    let table = Table {
        shape,
        disk_id: Guid([1; 16]),
        first_usable,
        entries,
        mbr,
        from_second: false,
    };
    write(&mut disk, &table);
    disk
}

fn write(disk: &mut [u8], table: &Table) {
    for Write { offset, bytes } in table.writes() {
        disk[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
}

fn read(disk: &[u8], sector_bytes: u64) -> Result<Table, Error> {
    let shape = Shape::new(sector_bytes, disk.len() as u64).ok_or(Error::None)?;
    Table::read(shape, |offset, bytes| {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let taken = disk.get(from..from.saturating_add(bytes.len()));
        bytes.copy_from_slice(taken.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    })
}

fn names(table: &Table) -> Vec<(u32, String)> {
    table.partitions().map(|p| (p.number, p.name)).collect()
}

#[test]
fn an_identifier_is_read_as_it_is_shown() {
    assert_eq!(
        Guid::ESP.to_string(),
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
    );
    assert_eq!(
        Guid::LINUX.to_string(),
        "0fc63daf-8483-4772-8e79-3d69d8477de4"
    );
    assert_eq!(
        Guid::from_text("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
        Some(Guid::ESP)
    );
    for wrong in [
        "",
        "C12A7328",
        "C12A7328-F81F-11D2-BA4B-00A0C93EC93",
        "C12A7328-F81F-11D2-BA4B00A0-C93EC93B",
        "+12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    ] {
        assert_eq!(Guid::from_text(wrong), None, "{wrong}");
    }
}

#[test]
fn the_largest_space_is_found_and_taken() {
    let mut disk = empty(512, 64 * MIB);
    let mut table = read(&disk, 512).unwrap();
    let whole = table.largest_free(u64::MAX).unwrap();
    assert_eq!(table.bytes_of(&whole), (MIB, 62 * MIB));
    let esp = 2048 * 20..=2048 * 30 - 1;
    assert_eq!(table.add(Guid::ESP, Guid([2; 16]), "esp", esp), Some(1));
    let behind = table.largest_free(u64::MAX).unwrap();
    assert_eq!(table.bytes_of(&behind), (30 * MIB, 33 * MIB));
    let bounded = table.largest_free(5 * MIB).unwrap();
    assert_eq!(table.bytes_of(&bounded), (MIB, 5 * MIB));
    assert_eq!(
        table.add(Guid::LINUX, Guid([3; 16]), "cefline-data", behind),
        Some(2)
    );
    write(&mut disk, &table);
    let again = read(&disk, 512).unwrap();
    assert_eq!(
        names(&again),
        [(1, "esp".to_owned()), (2, "cefline-data".to_owned())]
    );
    assert_eq!(again.room_to_grow(2, u64::MAX), None);
    let left = again.largest_free(u64::MAX).unwrap();
    assert_eq!(again.bytes_of(&left), (MIB, 19 * MIB));
    assert_eq!(
        again.room_to_grow(1, u64::MAX),
        None,
        "another one follows it"
    );
}

#[test]
fn sectors_that_are_taken_are_not_given_again() {
    let mut table = read(&empty(512, 64 * MIB), 512).unwrap();
    let before = table.clone();
    for wrong in [
        0..=100,
        33..=4095,
        4096..=131_072,
        131_039..=131_039,
        RangeInclusive::new(50, 40),
        u64::MAX..=u64::MAX,
    ] {
        assert_eq!(
            table.add(Guid::LINUX, Guid([3; 16]), "x", wrong.clone()),
            None,
            "{wrong:?}"
        );
    }
    assert_eq!(table, before);
    assert_eq!(
        table.add(Guid::LINUX, Guid([3; 16]), "x", 2048..=4095),
        Some(1)
    );
    assert_eq!(
        table.add(Guid::LINUX, Guid([4; 16]), "y", 4095..=5000),
        None
    );
    assert!(!table.set_end(1, 131_039));
    assert!(!table.set_end(1, 2000));
    assert!(!table.set_end(0, 5000));
    assert!(!table.set_end(129, 5000));
    assert!(table.set_end(1, 131_038));
}

#[test]
fn a_table_that_is_full_takes_no_more() {
    let mut table = read(&empty(512, 256 * MIB), 512).unwrap();
    for number in 1..=128 {
        let at = u64::from(number) * 2048;
        assert_eq!(
            table.add(
                Guid::LINUX,
                Guid([9; 16]),
                "a name longer than thirty-six letters is cut",
                at..=at
            ),
            Some(number)
        );
    }
    assert_eq!(
        table.add(
            Guid::LINUX,
            Guid([9; 16]),
            "one more",
            129 * 2048..=129 * 2048
        ),
        None
    );
    assert_eq!(
        names(&table)[0].1,
        "a name longer than thirty-six letters is cut"[..36]
    );
}

#[test]
fn on_a_disk_that_grew_the_last_partition_may_grow() {
    for sector_bytes in [512, 4096] {
        let mut disk = empty(sector_bytes, 64 * MIB);
        let mut table = read(&disk, sector_bytes).unwrap();
        let all = table.largest_free(u64::MAX).unwrap();
        let number = table.add(Guid::LINUX, Guid([3; 16]), "data", all).unwrap();
        write(&mut disk, &table);
        disk.resize(100 * MIB as usize, 0);
        let mut table = read(&disk, sector_bytes).unwrap();
        assert!(!table.from_second);
        let last = table.room_to_grow(number, u64::MAX).unwrap();
        assert_eq!((last + 1) * sector_bytes, 99 * MIB);
        assert!(table.set_end(number, last));
        write(&mut disk, &table);
        let first = read(&disk, sector_bytes).unwrap();
        disk[sector_bytes as usize..][..512].fill(0);
        let second = read(&disk, sector_bytes).unwrap();
        assert!(second.from_second && !first.from_second);
        assert_eq!(
            second.partitions().collect::<Vec<_>>(),
            first.partitions().collect::<Vec<_>>()
        );
    }
}

/// Each write is of sectors that a cut leaves old or new, one after the other in any order within one
/// write; the next write only begins when all of it is there.
#[test]
fn a_power_cut_at_any_sector_leaves_the_old_table_or_the_new_one() {
    for (grown, broken) in [(false, false), (true, false), (false, true)] {
        let mut disk = empty(512, 8 * MIB);
        let mut table = read(&disk, 512).unwrap();
        assert_eq!(
            table.add(Guid::ESP, Guid([2; 16]), "esp", 2048..=4095),
            Some(1)
        );
        write(&mut disk, &table);
        if grown {
            disk.resize(12 * MIB as usize, 0);
        }
        if broken {
            // a cut before this one left only the second table
            disk[512..1024].fill(7);
        }
        let before = read(&disk, 512).unwrap();
        assert_eq!(before.from_second, broken);
        let mut after = before.clone();
        let free = after.largest_free(u64::MAX).unwrap();
        assert_eq!(after.add(Guid::LINUX, Guid([3; 16]), "data", free), Some(2));
        let mut cuts = 0;
        for Write { offset, bytes } in after.writes() {
            for (place, sector) in bytes.chunks(512).enumerate() {
                for from_behind in [false, true] {
                    let mut cut = disk.clone();
                    let (old, new) = (offset as usize, offset as usize + place * 512);
                    if from_behind {
                        cut[new..offset as usize + bytes.len()]
                            .copy_from_slice(&bytes[place * 512..]);
                    } else {
                        cut[old..new].copy_from_slice(&bytes[..place * 512]);
                        cut[new..][..sector.len()].copy_from_slice(sector);
                    }
                    let found = read(&cut, 512).unwrap();
                    assert!(
                        names(&found) == names(&before) || names(&found) == names(&after),
                        "cut at {offset} + {place}"
                    );
                    assert!(found.partitions().any(|p| p.name == "esp"));
                    cuts += 1;
                }
            }
            disk[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        assert!(cuts > 100);
        assert_eq!(names(&read(&disk, 512).unwrap()), names(&after));
    }
}

#[test]
fn a_disk_without_a_table_and_one_with_a_damaged_table_are_told_apart() {
    let disk = empty(512, 8 * MIB);
    assert!(matches!(read(&vec![0; disk.len()], 512), Err(Error::None)));
    let mut both = disk.clone();
    both[512 + 60] ^= 1;
    both[8 * MIB as usize - 450] ^= 1;
    assert!(matches!(read(&both, 512), Err(Error::Damaged(_))));
    // sectors of another size: nothing where the header should be
    assert!(matches!(read(&disk, 4096), Err(Error::Damaged(_))));
}

#[test]
fn a_disk_that_shrank_under_a_partition_is_damaged() {
    let mut disk = empty(512, 16 * MIB);
    let mut table = read(&disk, 512).unwrap();
    let all = table.largest_free(u64::MAX).unwrap();
    assert_eq!(table.add(Guid::LINUX, Guid([3; 16]), "data", all), Some(1));
    write(&mut disk, &table);
    disk.truncate(8 * MIB as usize);
    assert!(matches!(read(&disk, 512), Err(Error::Damaged(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// With right checksums, so that what is behind them is reached.
    #[test]
    fn no_header_makes_it_panic(
        fields in prop::collection::vec((prop::sample::select(vec![12usize, 24, 32, 40, 48, 72, 80, 84]), any::<u64>(), any::<bool>()), 0..4),
        entries in prop::collection::vec((any::<u8>(), any::<u64>(), any::<u64>()), 0..4),
        small in any::<bool>(),
    ) {
        let mut disk = empty(512, 4 * MIB);
        for (index, (kind, first, last)) in entries.into_iter().enumerate() {
            let at = 1024 + index * 128;
            let (first, last) = if small { (first % 9000, last % 9000) } else { (first, last) };
            disk[at] = kind;
            disk[at + 32..at + 40].copy_from_slice(&first.to_le_bytes());
            disk[at + 40..at + 48].copy_from_slice(&last.to_le_bytes());
        }
        let sum = crc32fast::hash(&disk[1024..1024 + 128 * 128]);
        disk[512 + 88..512 + 92].copy_from_slice(&sum.to_le_bytes());
        for (field, value, low) in fields {
            let value = if low { value % 200 } else { value };
            let size = if matches!(field, 12 | 80 | 84) { 4 } else { 8 };
            disk[512 + field..512 + field + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        disk[512 + 16..512 + 20].fill(0);
        let size = (u32_at(&disk[512..1024], 12) as usize).min(512);
        let sum = crc32fast::hash(&disk[512..512 + size]);
        disk[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
        if let Ok(mut table) = read(&disk, 512) {
            let _ = (table.largest_free(u64::MAX), table.largest_free(0), table.room_to_grow(1, u64::MAX));
            let free = table.largest_free(MIB);
            if let Some(free) = free {
                let _ = table.add(Guid::LINUX, Guid([3; 16]), "data", free);
            }
            write(&mut disk, &table);
            prop_assert_eq!(names(&read(&disk, 512).unwrap()), names(&table));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 2048), places in prop::collection::vec((0usize..40_000, any::<u8>()), 0..20)) {
        let mut disk = vec![0; 4 * MIB as usize];
        disk[..2048].copy_from_slice(&bytes);
        let _ = read(&disk, 512);
        let mut disk = empty(512, 4 * MIB);
        for (place, byte) in places {
            disk[place] = byte;
        }
        let _ = read(&disk, 512);
    }

    /// Free space is free: whatever is added never overlaps what is there.
    #[test]
    fn any_partitions_leave_a_table_that_can_be_read(wanted in prop::collection::vec((2048u64..30_000, 0u64..9000), 0..12), bound in 0u64..20) {
        let mut disk = empty(512, 16 * MIB);
        let mut table = read(&disk, 512).unwrap();
        for (first, size) in wanted {
            let _ = table.add(Guid::LINUX, Guid([5; 16]), "other", first..=first + size);
        }
        if let Some(free) = table.largest_free(bound * MIB) {
            let (offset, size) = table.bytes_of(&free);
            prop_assert!(offset % MIB == 0 && size % MIB == 0 && size > 0 && size <= bound * MIB);
            prop_assert!(table.add(Guid::LINUX, Guid([6; 16]), "data", free).is_some());
        }
        for partition in table.clone().partitions() {
            if let Some(last) = table.room_to_grow(partition.number, u64::MAX) {
                prop_assert!(last > *partition.sectors.end());
                prop_assert!(table.clone().set_end(partition.number, last));
            }
        }
        write(&mut disk, &table);
        prop_assert_eq!(read(&disk, 512).unwrap().partitions().collect::<Vec<_>>(), table.partitions().collect::<Vec<_>>());
    }
}

/// What a partitioning program says of a disk; nothing if it is not installed.
fn sgdisk(arguments: &[&str], disk: &std::path::Path) -> Option<String> {
    let out = Command::new("sgdisk")
        .args(arguments)
        .arg(disk)
        .output()
        .ok()?;
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).ok()
}

#[test]
fn sgdisk_finds_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    fs::File::create(&path).unwrap().set_len(64 * MIB).unwrap();
    let Some(_) = sgdisk(
        &["-n1:1M:+8M", "-t1:ef00", "-c1:esp", "-n2:40M:+4M", "-c2:x"],
        &path,
    ) else {
        eprintln!("skipped: sgdisk is not installed");
        return;
    };
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(128 * MIB).unwrap();
    let disk = RefCell::new(fs::read(&path).unwrap());
    let mut table = read(&disk.borrow(), 512).unwrap();
    let free = table.largest_free(u64::MAX).unwrap();
    assert_eq!(table.bytes_of(&free), (44 * MIB, 83 * MIB));
    assert_eq!(
        table.add(Guid::LINUX, Guid::random([0xa5; 16]), "cefline-data", free),
        Some(3)
    );
    write(&mut disk.borrow_mut(), &table);
    fs::write(&path, &*disk.borrow()).unwrap();
    let verified = sgdisk(&["-v"], &path).unwrap();
    assert!(verified.contains("No problems found"), "{verified}");
    let shown = sgdisk(&["-i3"], &path).unwrap();
    for line in [
        "Partition name: 'cefline-data'",
        "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
        "A5A5A5A5-A5A5-45A5-A5A5-A5A5A5A5A5A5",
        "First sector: 90112",
        "Last sector: 260095",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
}
