//! Which file system a disk has, and its label: from its first sectors, without mounting it. Pure.
//!
//! ```text
//! FAT      boot sector: sizes; label at 43, or 71 for FAT32, which some systems leave as it was
//!          root folder: the entry with the attribute "volume label" has the one that people see
//! ISO 9660 sector 16: 1 "CD001" 1, label at 40
//! ```

use std::fmt;

/// Reads as many bytes as the buffer has from a place of the disk.
pub type Read<'d> = &'d dyn Fn(u64, &mut [u8]) -> Option<()>;

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// FAT of any size.
    Fat,
    /// That of optical discs.
    Iso,
}

impl Kind {
    /// As the kernel calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Fat => "vfat",
            Kind::Iso => "iso9660",
        }
    }
}

/// A disk, or a part of one, with a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// As `vdb1`.
    pub device: String,
    /// Which.
    pub kind: Kind,
    /// Its label.
    pub label: String,
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.device, self.kind.name(), self.label)
    }
}

impl Volume {
    /// Whether it is labelled as one with a configuration.
    #[must_use]
    pub fn is_for_us(&self) -> bool {
        ["CONFIG", "cidata"]
            .iter()
            .any(|label| self.label.eq_ignore_ascii_case(label))
    }
}

const SECTOR_BYTES: usize = 512;
const ISO_DESCRIPTOR_AT: u64 = 16 * 2048;

/// What is on a disk.
pub fn identify(device: &str, read: Read<'_>) -> Option<Volume> {
    let fat = fat_label(read).map(|label| (Kind::Fat, label));
    let (kind, label) = fat.or_else(|| Some((Kind::Iso, iso_label(read)?)))?;
    Some(Volume {
        device: device.to_owned(),
        kind,
        label,
    })
}

fn iso_label(read: Read<'_>) -> Option<String> {
    let mut sector = [0; SECTOR_BYTES];
    read(ISO_DESCRIPTOR_AT, &mut sector)?;
    let is_primary = sector[..7] == *b"\x01CD001\x01";
    is_primary.then(|| padded(&sector[40..72]))
}

fn fat_label(read: Read<'_>) -> Option<String> {
    let mut sector = [0; SECTOR_BYTES];
    read(0, &mut sector)?;
    let is_fat32 = sector[82..90] == *b"FAT32   ";
    let is_fat = is_fat32 || sector[54..57] == *b"FAT";
    if !is_fat || sector[510..] != [0x55, 0xAA] {
        return None;
    }
    let written = if is_fat32 {
        &sector[71..82]
    } else {
        &sector[43..54]
    };
    let in_root = root_folder(&sector, is_fat32).and_then(|at| label_in_folder(at, read));
    Some(in_root.unwrap_or_else(|| padded(written)))
}

/// Where the root folder begins. With FAT32 it is a chain of clusters, of which the first is enough:
/// the label is written when the file system is made.
fn root_folder(boot: &[u8; SECTOR_BYTES], is_fat32: bool) -> Option<u64> {
    let two = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let four = |at: usize| two(at) | two(at + 2) << 16;
    let sector_bytes = two(11);
    if ![512, 1024, 2048, 4096].contains(&sector_bytes) {
        return None;
    }
    let table_sectors = if two(22) == 0 { four(36) } else { two(22) };
    let after_tables = two(14) + u64::from(boot[16]) * table_sectors;
    let cluster = if is_fat32 {
        four(44).checked_sub(2)?
    } else {
        0
    };
    Some((after_tables + cluster * u64::from(boot[13])) * sector_bytes)
}

/// The label among the first 16 entries of a folder: it is the first of all.
fn label_in_folder(at: u64, read: Read<'_>) -> Option<String> {
    const ENTRY_BYTES: usize = 32;
    const LABEL: u8 = 0x08;
    const LONG_NAME: u8 = 0x0F;
    let mut entries = [0; SECTOR_BYTES];
    read(at, &mut entries)?;
    let entries = entries.as_chunks::<ENTRY_BYTES>().0.iter();
    let mut used = entries
        .take_while(|entry| entry[0] != 0)
        .filter(|entry| entry[0] != 0xE5);
    let label = used.find(|entry| entry[11] & 0x3F != LONG_NAME && entry[11] & LABEL != 0)?;
    Some(padded(&label[..11]))
}

/// Text that blanks or zeros fill up.
fn padded(bytes: &[u8]) -> String {
    let text: String = bytes.iter().copied().map(char::from).collect();
    let text = text.trim_end_matches(['\0', ' ']);
    text.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(disk: &[u8]) -> Option<Volume> {
        let read = |offset: u64, buffer: &mut [u8]| {
            let start = usize::try_from(offset).ok()?;
            let bytes = disk.get(start..start.checked_add(buffer.len())?)?;
            buffer.copy_from_slice(bytes);
            Some(())
        };
        identify("vdb", &read)
    }

    /// A FAT as another system would make it: the label of the root is not that of the boot sector.
    fn fat(is_fat32: bool, written: &[u8; 11], in_root: Option<&[u8; 11]>) -> Vec<u8> {
        let mut disk = vec![0; 64 * 1024];
        disk[11..13].copy_from_slice(&512u16.to_le_bytes());
        disk[13] = 2;
        disk[14..16].copy_from_slice(&4u16.to_le_bytes());
        disk[16] = 2;
        let (kind, label, root) = if is_fat32 {
            disk[36..40].copy_from_slice(&9u32.to_le_bytes());
            disk[44..48].copy_from_slice(&5u32.to_le_bytes());
            (82, 71, 4 + 2 * 9 + 3 * 2)
        } else {
            disk[22..24].copy_from_slice(&9u16.to_le_bytes());
            (54, 43, 4 + 2 * 9)
        };
        disk[kind..kind + 8].copy_from_slice(if is_fat32 { b"FAT32   " } else { b"FAT16   " });
        disk[label..label + 11].copy_from_slice(written);
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        if let Some(in_root) = in_root {
            let root = root * 512;
            // an entry that was deleted, and one of a long name
            disk[root] = 0xE5;
            disk[root + 11] = 0x08;
            disk[root + 32..root + 43].copy_from_slice(b"Along name.");
            disk[root + 32 + 11] = 0x0F;
            disk[root + 64..root + 75].copy_from_slice(in_root);
            disk[root + 64 + 11] = 0x28;
        }
        disk
    }

    fn iso(label: &[u8]) -> Vec<u8> {
        let mut disk = vec![0; 36 * 1024];
        disk[32768..32775].copy_from_slice(b"\x01CD001\x01");
        disk[32768 + 40..32768 + 72].fill(b' ');
        disk[32768 + 40..32768 + 40 + label.len()].copy_from_slice(label);
        disk
    }

    #[test]
    fn a_fat_is_called_by_the_label_in_its_root_if_there_is_one() {
        for is_fat32 in [false, true] {
            let disk = fat(is_fat32, b"NO NAME    ", Some(b"CONFIG     "));
            let volume = of(&disk).unwrap();
            assert_eq!(volume.to_string(), "vdb (vfat, CONFIG)");
            assert!(volume.is_for_us());
            let volume = of(&fat(is_fat32, b"CIDATA     ", None)).unwrap();
            assert_eq!(
                (volume.label.as_str(), volume.is_for_us()),
                ("CIDATA", true)
            );
            let volume = of(&fat(is_fat32, b"CEFLINE-ESP", None)).unwrap();
            assert!(!volume.is_for_us());
        }
    }

    #[test]
    fn a_disc_is_called_by_its_primary_descriptor() {
        let volume = of(&iso(b"cidata")).unwrap();
        assert_eq!(volume.to_string(), "vdb (iso9660, cidata)");
        assert!(volume.is_for_us());
        assert!(!of(&iso(b"config-2")).unwrap().is_for_us());
    }

    #[test]
    fn anything_else_is_no_volume() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[0; 40960]), None);
        let mut unsigned = fat(true, b"CONFIG     ", None);
        unsigned[511] = 0;
        assert_eq!(of(&unsigned), None);
    }

    proptest! {
        #[test]
        fn no_disk_breaks_the_search(mut disk in proptest::collection::vec(any::<u8>(), 512..2048), is_fat32: bool) {
            let _ = of(&disk);
            disk[510..512].copy_from_slice(&[0x55, 0xAA]);
            let kind = if is_fat32 { 82 } else { 54 };
            disk[kind..kind + 8].copy_from_slice(if is_fat32 { b"FAT32   " } else { b"FAT16   " });
            disk[11..13].copy_from_slice(&512u16.to_le_bytes());
            let label = of(&disk).unwrap().label;
            prop_assert!(!label.contains(char::is_control));
        }
    }
}
