//! The partition table of a disk (GPT, UEFI specification section 5.3): read, changed, written. No IO:
//! what is read and written goes through the caller.
//!
//! ```text
//! sector 0   protective MBR
//! sector 1   header            entries: sectors 2 to 33
//! ...        partitions
//! end - 33   entries again     last sector: header again
//! ```
//!
//! The table is there twice so that one of the two is whole while the other is written. So
//! [`Table::writes`] gives the writes in the one order in which that is true, and each is on the disk
//! before the next begins. After a power cut anywhere in between, [`Table::read`] finds either the
//! table of before or the one that was to be.
//!
//! A disk that grew has its second table in the middle: it is read by the first one, and written anew
//! at the true end.
//!
//! Written here because what matters is that order; libraries for it write the first table first, or
//! both without waiting.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;

/// Partitions begin at whole MiB: what flash and the hypervisors' stores like.
pub(crate) const ALIGN_BYTES: u64 = 1024 * 1024;
/// Size of one entry; the specification allows larger ones, which nobody makes.
const ENTRY_BYTES: usize = 128;
/// Entries of a table: 128 on nearly every disk.
const ENTRIES_COUNT_MAX: u32 = 1024;
/// Size of the used part of a header.
const HEADER_BYTES: usize = 92;
/// The sectors that disks have.
const SECTOR_BYTES: [u64; 4] = [512, 1024, 2048, 4096];
/// Disks are smaller than 8 EiB, so no sum of byte offsets overflows.
const DISK_BYTES_MAX: u64 = i64::MAX as u64;

/// An identifier, as it stands in the table: its first three groups are little endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Guid(pub(crate) [u8; 16]);

impl Guid {
    /// Of an EFI system partition: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
    pub(crate) const ESP: Guid =
        Guid(*b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b");
    /// Of a Linux filesystem: 0FC63DAF-8483-4772-8E79-3D69D8477DE4.
    pub(crate) const LINUX: Guid =
        Guid(*b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4");
    const NONE: Guid = Guid([0; 16]);

    /// An identifier of these random bytes (version 4).
    #[must_use]
    pub(crate) fn random(mut bytes: [u8; 16]) -> Guid {
        bytes[7] = bytes[7] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(bytes)
    }

    /// Out of its usual form, in either case: `0FC63DAF-8483-4772-8E79-3D69D8477DE4`.
    #[must_use]
    pub(crate) fn from_text(text: &str) -> Option<Guid> {
        let groups: Vec<&str> = text.split('-').collect();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
            return None;
        }
        let digits: Vec<u8> = groups
            .concat()
            .bytes()
            .map(|digit| char::from(digit).to_digit(16))
            .map(|d| d.and_then(|d| u8::try_from(d).ok()))
            .collect::<Option<_>>()?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Some(Guid(swapped(bytes)))
    }
}

/// The first three groups the other way round.
fn swapped(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in swapped(self.0).iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The shape of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Size of a sector.
    sector_bytes: u64,
    /// Sectors of the whole disk.
    sectors_count: u64,
}

impl Shape {
    /// A disk of so many bytes; nothing if no disk can have this shape, or none with a table.
    #[must_use]
    pub(crate) fn new(sector_bytes: u64, disk_bytes: u64) -> Option<Shape> {
        let fits = SECTOR_BYTES.contains(&sector_bytes) && disk_bytes <= DISK_BYTES_MAX;
        let shape = Shape {
            sector_bytes,
            sectors_count: disk_bytes.checked_div(sector_bytes)?,
        };
        (fits && disk_bytes >= 4 * ALIGN_BYTES).then_some(shape)
    }
}

/// Why a disk's table cannot be used.
#[derive(Debug)]
pub(crate) enum Error {
    /// The disk has none.
    None,
    /// The disk cannot be read.
    Read(io::Error),
    /// It has one, and it is damaged or of a kind that is not known here: what is wrong.
    Damaged(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::None => f.write_str("no GPT partition table"),
            Error::Read(error) => write!(f, "cannot be read: {error}"),
            Error::Damaged(what) => write!(f, "its GPT partition table is damaged: {what}"),
        }
    }
}

/// One partition. First and last sector are both inside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Number, from 1.
    pub(crate) number: u32,
    /// What it is for.
    pub(crate) kind: Guid,
    /// Which it is.
    pub(crate) id: Guid,
    /// Where it is, in sectors.
    pub(crate) sectors: RangeInclusive<u64>,
    /// Its name.
    pub(crate) name: String,
}

/// One piece of a table to be written: on the disk before the next one is begun.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Where, from the beginning of the disk.
    pub(crate) offset: u64,
    /// What.
    pub(crate) bytes: Vec<u8>,
}

/// The table of one disk. All its partitions are within the disk, and none overlaps another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    shape: Shape,
    disk_id: Guid,
    /// Partitions are not before this sector.
    first_usable: u64,
    /// As on the disk, whole, with what we know nothing of.
    entries: Vec<u8>,
    mbr: Vec<u8>,
    /// The first table was damaged, and this one is the second.
    from_second: bool,
}

impl Table {
    /// Reads the table through `read` (offset in bytes, bytes to fill): the first one, or the second
    /// one if the first is damaged.
    pub(crate) fn read(
        shape: Shape,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<Table, Error> {
        let mut mbr = sector(shape)?;
        read(0, &mut mbr).map_err(Error::Read)?;
        if mbr.get(510..512) != Some(&[0x55, 0xaa]) || !mbr_kinds(&mbr).contains(&0xee) {
            return Err(Error::None);
        }
        match Table::read_one(shape, 1, &mbr, &mut read) {
            Ok(table) => Ok(table),
            Err(first) => match Table::read_one(shape, shape.sectors_count - 1, &mbr, &mut read) {
                Ok(table) => Ok(Table {
                    from_second: true,
                    ..table
                }),
                Err(_) => Err(first),
            },
        }
    }

    fn read_one(
        shape: Shape,
        at: u64,
        mbr: &[u8],
        read: &mut impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<Table, Error> {
        let mut header = sector(shape)?;
        read(at * shape.sector_bytes, &mut header).map_err(Error::Read)?;
        if header.get(..8) != Some(b"EFI PART") {
            return Err(Error::Damaged("no header"));
        }
        let size = u32_at(&header, 12) as usize;
        if size < HEADER_BYTES || size > header.len() {
            return Err(Error::Damaged("size of the header"));
        }
        let mut summed = header[..size].to_vec();
        summed[16..20].fill(0);
        if crc32fast::hash(&summed) != u32_at(&header, 16) || u64_at(&header, 24) != at {
            return Err(Error::Damaged("checksum of the header"));
        }
        let count = u32_at(&header, 80);
        if u32_at(&header, 84) as usize != ENTRY_BYTES || count == 0 || count > ENTRIES_COUNT_MAX {
            return Err(Error::Damaged("size or number of its entries"));
        }
        let mut entries = vec![0; count as usize * ENTRY_BYTES];
        let entries_at = u64_at(&header, 72);
        if entries_at >= shape.sectors_count {
            return Err(Error::Damaged("place of its entries"));
        }
        read(entries_at * shape.sector_bytes, &mut entries).map_err(Error::Read)?;
        if crc32fast::hash(&entries) != u32_at(&header, 88) {
            return Err(Error::Damaged("checksum of its entries"));
        }
        let table = Table {
            shape,
            disk_id: guid_at(&header, 56),
            first_usable: u64_at(&header, 40),
            entries,
            mbr: mbr.to_vec(),
            from_second: false,
        };
        table.checked()
    }

    fn checked(self) -> Result<Table, Error> {
        if self.first_usable < 2 + self.entries_sectors() || self.first_usable > self.last_usable()
        {
            return Err(Error::Damaged("its usable sectors"));
        }
        let mut free_from = self.first_usable;
        for partition in self.by_place() {
            let (first, last) = partition.sectors.into_inner();
            if first < free_from || last < first {
                return Err(Error::Damaged("partitions overlap"));
            }
            if last > self.last_usable() {
                return Err(Error::Damaged(
                    "a partition goes beyond the end of the disk",
                ));
            }
            free_from = last + 1;
        }
        Ok(self)
    }

    /// Its partitions by number.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = Partition> {
        (1..)
            .zip(self.entries.chunks_exact(ENTRY_BYTES))
            .filter(|(_, entry)| guid_at(entry, 0) != Guid::NONE)
            .map(|(number, entry)| Partition {
                number,
                kind: guid_at(entry, 0),
                id: guid_at(entry, 16),
                sectors: u64_at(entry, 32)..=u64_at(entry, 40),
                name: name_of(&entry[56..ENTRY_BYTES]),
            })
    }

    fn by_place(&self) -> Vec<Partition> {
        let mut partitions: Vec<Partition> = self.partitions().collect();
        partitions.sort_by_key(|partition| *partition.sectors.start());
        partitions
    }

    /// Where these sectors are: offset and size in bytes.
    #[must_use]
    pub(crate) fn bytes_of(&self, sectors: &RangeInclusive<u64>) -> (u64, u64) {
        let count = (sectors.end() + 1).saturating_sub(*sectors.start());
        (
            sectors.start() * self.shape.sector_bytes,
            count * self.shape.sector_bytes,
        )
    }

    /// The largest free space, begun at a whole MiB and ended at one, and at most `bytes_max` large;
    /// the first if several are the largest.
    #[must_use]
    pub(crate) fn largest_free(&self, bytes_max: u64) -> Option<RangeInclusive<u64>> {
        let mut largest: Option<RangeInclusive<u64>> = None;
        let mut from = self.first_usable;
        let used = self
            .by_place()
            .into_iter()
            .map(|partition| partition.sectors.into_inner());
        for (first, last) in used.chain([(self.last_usable() + 1, u64::MAX - 1)]) {
            if let Some(gap) = self.aligned(from, first, bytes_max)
                && largest
                    .as_ref()
                    .is_none_or(|best| gap.end() - gap.start() > best.end() - best.start())
            {
                largest = Some(gap);
            }
            from = last + 1;
        }
        largest
    }

    /// The last sector that this partition could have, at a whole MiB and at most `bytes_max` after its
    /// beginning: what follows it is free up to there. Nothing if it can have no more than it has.
    #[must_use]
    pub(crate) fn room_to_grow(&self, number: u32, bytes_max: u64) -> Option<u64> {
        let partitions = self.by_place();
        let place = partitions
            .iter()
            .position(|partition| partition.number == number)?;
        let (first, last) = partitions[place].sectors.clone().into_inner();
        let next = partitions
            .get(place + 1)
            .map_or(self.last_usable() + 1, |next| *next.sectors.start());
        // the end is aligned, whatever the beginning is
        let end = first
            .saturating_add(bytes_max / self.shape.sector_bytes)
            .min(next);
        let end = end - end % self.align_sectors();
        (end > last + 1).then(|| end - 1)
    }

    /// Adds a partition and gives its number; nothing if no entry is free, or these sectors are not.
    #[must_use]
    pub(crate) fn add(
        &mut self,
        kind: Guid,
        id: Guid,
        name: &str,
        sectors: RangeInclusive<u64>,
    ) -> Option<u32> {
        let mut changed = self.clone();
        let index = self
            .entries
            .chunks_exact(ENTRY_BYTES)
            .position(|entry| guid_at(entry, 0) == Guid::NONE)?;
        let entry = changed.entries.chunks_exact_mut(ENTRY_BYTES).nth(index)?;
        entry.fill(0);
        entry[..16].copy_from_slice(&kind.0);
        entry[16..32].copy_from_slice(&id.0);
        entry[32..40].copy_from_slice(&sectors.start().to_le_bytes());
        entry[40..48].copy_from_slice(&sectors.end().to_le_bytes());
        for (place, unit) in entry[56..].chunks_exact_mut(2).zip(name.encode_utf16()) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        *self = changed.checked().ok()?;
        u32::try_from(index + 1).ok()
    }

    /// Lets a partition end at this sector; `false`, and nothing changes, if it cannot.
    #[must_use]
    pub(crate) fn set_end(&mut self, number: u32, last: u64) -> bool {
        let mut changed = self.clone();
        let index = (number as usize).wrapping_sub(1);
        let Some(entry) = changed.entries.chunks_exact_mut(ENTRY_BYTES).nth(index) else {
            return false;
        };
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        let Ok(changed) = changed.checked() else {
            return false;
        };
        *self = changed;
        true
    }

    /// What is to be written, in this order, each on the disk before the next: the one of the two tables
    /// that this was not read from goes first.
    #[must_use]
    pub(crate) fn writes(&self) -> Vec<Write> {
        let last = self.shape.sectors_count - 1;
        let entries_last = last - self.entries_sectors();
        let first = [
            self.write(2, self.entries.clone()),
            self.write(1, self.header(1, last, 2)),
        ];
        let second = [
            self.write(entries_last, self.entries.clone()),
            self.write(last, self.header(last, 1, entries_last)),
        ];
        let mut writes = Vec::new();
        if self.from_second {
            writes.extend(first);
            writes.extend(second);
        } else {
            writes.extend(second);
            writes.extend(first);
        }
        writes.extend(self.protective());
        writes
    }

    fn write(&self, sector: u64, bytes: Vec<u8>) -> Write {
        Write {
            offset: sector * self.shape.sector_bytes,
            bytes,
        }
    }

    fn header(&self, own: u64, other: u64, entries_at: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(4096);
        header.extend(b"EFI PART\x00\x00\x01\x00");
        header.extend((HEADER_BYTES as u32).to_le_bytes());
        header.extend([0; 8]);
        for sector in [own, other, self.first_usable, self.last_usable()] {
            header.extend(sector.to_le_bytes());
        }
        header.extend(self.disk_id.0);
        header.extend(entries_at.to_le_bytes());
        header.extend(((self.entries.len() / ENTRY_BYTES) as u32).to_le_bytes());
        header.extend((ENTRY_BYTES as u32).to_le_bytes());
        header.extend(crc32fast::hash(&self.entries).to_le_bytes());
        let sum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header.resize(self.shape.sector_bytes as usize, 0);
        header
    }

    /// The protective MBR says how large the disk is. One that has other partitions as well is left alone.
    fn protective(&self) -> Option<Write> {
        let kinds = mbr_kinds(&self.mbr);
        let place = kinds.iter().position(|kind| *kind == 0xee)?;
        if kinds.iter().filter(|kind| **kind != 0).count() != 1 {
            return None;
        }
        let size = u32::try_from(self.shape.sectors_count - 1).unwrap_or(u32::MAX);
        let mut mbr = self.mbr.clone();
        mbr[446 + 16 * place + 12..][..4].copy_from_slice(&size.to_le_bytes());
        (mbr != self.mbr).then(|| self.write(0, mbr))
    }

    fn entries_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(self.shape.sector_bytes)
    }

    fn last_usable(&self) -> u64 {
        // no underflow: a disk has 4 MiB, its entries take 128 KiB at most
        self.shape.sectors_count - 2 - self.entries_sectors()
    }

    fn align_sectors(&self) -> u64 {
        ALIGN_BYTES / self.shape.sector_bytes
    }

    /// The whole MiBs from one sector to before another.
    fn aligned(&self, from: u64, to: u64, bytes_max: u64) -> Option<RangeInclusive<u64>> {
        let align = self.align_sectors();
        let from = from.checked_next_multiple_of(align)?;
        let to = from
            .saturating_add(bytes_max / self.shape.sector_bytes)
            .min(to);
        let to = to - to % align;
        (to > from).then(|| from..=to - 1)
    }
}

fn sector(shape: Shape) -> Result<Vec<u8>, Error> {
    usize::try_from(shape.sector_bytes)
        .map(|size| vec![0; size])
        .map_err(|_| Error::Damaged("sector size"))
}

/// The four kinds of partitions in an MBR; 0 is none.
fn mbr_kinds(mbr: &[u8]) -> [u8; 4] {
    [446, 462, 478, 494].map(|entry| mbr.get(entry + 4).copied().unwrap_or(0))
}

/// A name of the table, up to its first 0. One that is no proper UTF-16 is no name that we look for.
fn name_of(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0);
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

// Of slices that are long enough: sectors, headers and entries.

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|eight| eight.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

fn guid_at(bytes: &[u8], at: usize) -> Guid {
    bytes
        .get(at..at + 16)
        .and_then(|sixteen| sixteen.try_into().ok())
        .map_or(Guid::NONE, Guid)
}

#[cfg(test)]
mod tests;
