//! The empty file system that a new data partition begins with: made when the image is built, so that
//! no program that makes file systems is in the image.
//!
//! The build makes it so (`build.sh`; sparse, no mounts, same bytes each time), then
//! `make-seed data.img data.seed`:
//!
//! ```text
//! printf '[fs_types]\next4 = {\ninode_size = 256\n}\nsmall = {\ninode_size = 256\n}\n' > mke2fs.conf     # nothing of the build machine's
//! truncate -s 256M data.img
//! MKE2FS_CONFIG=mke2fs.conf E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 \
//!   -b 4096 -I 256 -i 1048576 -m 0 -e remount-ro -L cefline-data -J size=32 \
//!   -U 00000000-0000-4000-8000-000000000000 \
//!   -O none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed \
//!   -E nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=514:514,resize=4294967295,hash_seed=00000000-0000-4000-8000-000000000000 \
//!   data.img
//! ```
//!
//! * `-i 1048576`: few inodes (1,024 per GiB): files of the spool have 64 MiB, and growing writes all inodes.
//! * `resize=`: room for the descriptors of 8 TiB; beyond, the kernel goes on by itself (meta_bg).
//! * `metadata_csum_seed`: checksums do not hang on the UUID, so each machine can have its own.
//! * no `-d`: it would take times of files of the build machine along.
//!
//! Format, numbers little endian. Runs are of pieces of [`PIECE_BYTES`] that are not all 0; they are in
//! order and do not touch. Whatever is in none of them must be 0 on the disk.
//!
//! ```text
//! magic "CEFSEED1" | pieces of the image u32 | count of runs u32 | (first piece u32, count u32)* | bytes of the runs | CRC-32 of it all
//! ```

use std::fmt;

/// What runs are made of. Small, because most blocks of an empty file system hold a few numbers.
pub const PIECE_BYTES: usize = 64;
/// A seed is about 100 KiB; of an image with larger tables it may be some MiB.
pub const SEED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// An image is made of 256 MiB.
pub const IMAGE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"CEFSEED1";
const RUN_BYTES: usize = 8;

/// Why these bytes are no seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The image is empty, too large, or no whole number of 4 KiB.
    ImageSize(u64),
    /// Not begun by the magic word, or cut.
    NoSeed,
    /// The checksum is wrong.
    Checksum,
    /// The runs are not in order, or beyond the image, or not as long as the bytes.
    Runs,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::ImageSize(size) => write!(
                f,
                "an image of {size} bytes: from 1 to {IMAGE_BYTES_MAX}, in whole 4 KiB, would do"
            ),
            Error::NoSeed => f.write_str("not a seed, or cut"),
            Error::Checksum => f.write_str("the seed's checksum is wrong"),
            Error::Runs => f.write_str("the seed's runs make no sense"),
        }
    }
}

/// A seed whose checksum is right and whose runs are in order and within the image.
#[derive(Debug)]
pub struct Seed<'a> {
    /// Size of the image.
    pub image_bytes: u64,
    /// Where in the image, and what.
    pub runs: Vec<(u64, &'a [u8])>,
}

/// Makes the seed of an image.
pub fn make(image: &[u8]) -> Result<Vec<u8>, Error> {
    let size = image.len() as u64;
    if image.is_empty() || size > IMAGE_BYTES_MAX || !size.is_multiple_of(4096) {
        return Err(Error::ImageSize(size));
    }
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let mut bytes = Vec::<u8>::new();
    for (place, piece) in (0u32..).zip(image.chunks_exact(PIECE_BYTES)) {
        if piece.iter().all(|byte| *byte == 0) {
            continue;
        }
        match runs.last_mut() {
            Some((first, count)) if *first + *count == place => *count += 1,
            _ => runs.push((place, 1)),
        }
        bytes.extend(piece);
    }
    let mut seed = MAGIC.to_vec();
    seed.extend(((image.len() / PIECE_BYTES) as u32).to_le_bytes());
    seed.extend((runs.len() as u32).to_le_bytes());
    for (first, count) in runs {
        seed.extend(first.to_le_bytes());
        seed.extend(count.to_le_bytes());
    }
    seed.extend(bytes);
    let sum = crc32fast::hash(&seed);
    seed.extend(sum.to_le_bytes());
    Ok(seed)
}

impl<'a> Seed<'a> {
    /// Reads a seed, all of it checked before anything is written to any disk.
    pub fn parse(bytes: &'a [u8]) -> Result<Seed<'a>, Error> {
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(Error::NoSeed)?;
        let rest = body.strip_prefix(MAGIC).ok_or(Error::NoSeed)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(Error::Checksum);
        }
        let (pieces, rest) = number(rest).ok_or(Error::NoSeed)?;
        let (runs_count, rest) = number(rest).ok_or(Error::NoSeed)?;
        let table_bytes = usize::try_from(runs_count)
            .ok()
            .and_then(|count| count.checked_mul(RUN_BYTES));
        let (table, mut data) = table_bytes
            .and_then(|size| rest.split_at_checked(size))
            .ok_or(Error::Runs)?;
        let mut runs = Vec::with_capacity(table.len() / RUN_BYTES);
        let mut free_from = 0;
        for run in table.chunks_exact(RUN_BYTES) {
            let (first, run) = number(run).ok_or(Error::Runs)?;
            let (count, _) = number(run).ok_or(Error::Runs)?;
            let end = first
                .checked_add(count)
                .filter(|end| first >= free_from && *end > first && *end <= pieces)
                .ok_or(Error::Runs)?;
            let size = (count as usize)
                .checked_mul(PIECE_BYTES)
                .ok_or(Error::Runs)?;
            let (taken, left) = data.split_at_checked(size).ok_or(Error::Runs)?;
            runs.push((u64::from(first) * PIECE_BYTES as u64, taken));
            data = left;
            free_from = end;
        }
        if !data.is_empty() {
            return Err(Error::Runs);
        }
        let image_bytes = u64::from(pieces) * PIECE_BYTES as u64;
        if image_bytes == 0 || image_bytes > IMAGE_BYTES_MAX || !image_bytes.is_multiple_of(4096) {
            return Err(Error::ImageSize(image_bytes));
        }
        Ok(Seed { image_bytes, runs })
    }

    /// `size` bytes of the image from `offset` on, with the zeros that the seed leaves out.
    #[must_use]
    pub fn image(&self, offset: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        for (at, run) in &self.runs {
            // the part of the run that lies within
            let skip = offset.saturating_sub(*at);
            let Some(run) = usize::try_from(skip).ok().and_then(|skip| run.get(skip..)) else {
                continue;
            };
            let Some(place) = usize::try_from((at + skip).saturating_sub(offset))
                .ok()
                .and_then(|place| bytes.get_mut(place..))
            else {
                continue;
            };
            let count = run.len().min(place.len());
            place[..count].copy_from_slice(&run[..count]);
        }
        bytes
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (four, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*four), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(pieces: &[u8]) -> Vec<u8> {
        let mut image: Vec<u8> = pieces
            .iter()
            .flat_map(|fill| [*fill; PIECE_BYTES])
            .collect();
        image.resize(image.len().next_multiple_of(4096).max(4096), 0);
        image
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_back(pieces in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..300)) {
            let image = image(&pieces);
            let bytes = make(&image).unwrap();
            let seed = Seed::parse(&bytes).unwrap();
            prop_assert_eq!(seed.image_bytes, image.len() as u64);
            prop_assert!(seed.runs.windows(2).all(|two| two[0].0 + (two[0].1.len() as u64) < two[1].0));
            prop_assert_eq!(seed.image(0, image.len()), image);
        }

        #[test]
        fn any_part_of_the_image_is_given(pieces in prop::collection::vec(0u8..2, 64..200), offset in 0usize..9000, size in 0usize..9000) {
            let mut image = image(&pieces);
            let bytes = make(&image).unwrap();
            image.resize(20_000, 0);
            prop_assert_eq!(Seed::parse(&bytes).unwrap().image(offset as u64, size), &image[offset..offset + size]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Seed::parse(&bytes);
            // with a right beginning and a right checksum, so that what follows is read
            let mut bytes = [MAGIC.as_slice(), &bytes].concat();
            bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
            if let Ok(seed) = Seed::parse(&bytes) {
                prop_assert!(seed.runs.iter().all(|(at, run)| at + run.len() as u64 <= seed.image_bytes));
            }
        }

        #[test]
        fn runs_of_any_numbers_are_within_the_image(pieces in 0u32..200, runs in prop::collection::vec((0u32..200, 0u32..20), 0..6), data in 0usize..40) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend((pieces * 64).to_le_bytes());
            bytes.extend((runs.len() as u32).to_le_bytes());
            for (first, count) in &runs {
                bytes.extend(first.to_le_bytes());
                bytes.extend(count.to_le_bytes());
            }
            bytes.extend(vec![7; data * PIECE_BYTES]);
            bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
            if let Ok(seed) = Seed::parse(&bytes) {
                prop_assert!(seed.runs.iter().all(|(at, run)| at + run.len() as u64 <= seed.image_bytes));
                prop_assert_eq!(seed.runs.iter().map(|(_, run)| run.len()).sum::<usize>(), data * PIECE_BYTES);
            }
        }

        #[test]
        fn one_wrong_bit_is_noticed(place in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = make(&image(&[1, 0, 2])).unwrap();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert!(Seed::parse(&bytes).is_err());
        }
    }

    #[test]
    fn an_image_of_odd_size_is_refused() {
        assert_eq!(make(&[]), Err(Error::ImageSize(0)));
        assert_eq!(make(&[1; 5000]), Err(Error::ImageSize(5000)));
    }
}
