//! A system in one file (UKI): a PE program with the kernel, its memory disk and its os-release as
//! sections. Enough is read of it to tell which system it is, and whether the file is whole. No IO.

use std::cmp::Ordering;
use std::ops::Range;

/// The headers of a UKI are within its first so many bytes: the stub has ten or so sections.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;
/// An os-release has some hundred bytes.
const RELEASE_BYTES_MAX: u64 = 64 * 1024;
const SECTIONS_COUNT_MAX: u16 = 96;
const VERSION_BYTES_MAX: usize = 64;
/// `IMAGE_FILE_MACHINE_AMD64`
const MACHINE: u16 = 0x8664;

/// The sections of a PE program that we know by name, each wholly within the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uki {
    /// Where its os-release is: at most 64 KiB.
    pub(crate) release: Range<u64>,
}

impl Uki {
    /// Reads the headers out of a file's beginning; `size` is the file's. Nothing if it is no UKI for
    /// this kind of machine, or a section of it is beyond the file's end.
    #[must_use]
    pub(crate) fn parse(head: &[u8], size: u64) -> Option<Uki> {
        head.strip_prefix(b"MZ")?;
        let pe = usize::try_from(u32_at(head, 0x3c)?).ok()?;
        let coff = pe.checked_add(4)?;
        if head.get(pe..coff)? != b"PE\0\0" || u16_at(head, coff)? != MACHINE {
            return None;
        }
        let count =
            u16_at(head, coff.checked_add(2)?).filter(|count| *count <= SECTIONS_COUNT_MAX)?;
        let optional = usize::from(u16_at(head, coff.checked_add(16)?)?);
        let sections = head.get(coff.checked_add(20)?.checked_add(optional)?..)?;
        let (mut release, mut linux, mut initrd) = (None, false, false);
        for section in sections.chunks_exact(40).take(usize::from(count)) {
            let used = u64::from(u32_at(section, 8)?);
            let stored = u64::from(u32_at(section, 16)?);
            let at = u64::from(u32_at(section, 20)?);
            if at + stored > size {
                return None;
            }
            match section.get(..8)? {
                b".osrel\0\0" => release = Some(at..at + used.min(stored)),
                b".linux\0\0" => linux = stored > 0,
                b".initrd\0" => initrd = stored > 0,
                _ => {}
            }
        }
        let release = release.filter(|range| range.end - range.start <= RELEASE_BYTES_MAX)?;
        (linux && initrd).then_some(Uki { release })
    }
}

/// The version in an os-release of our system; nothing if it is another system's.
#[must_use]
pub(crate) fn version(release: &[u8]) -> Option<String> {
    let text = str::from_utf8(release).ok()?.trim_end_matches('\0');
    let value = |key: &str| {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?
            .trim();
        Some(
            found
                .strip_prefix(['"', '\''])
                .and_then(|rest| rest.strip_suffix(['"', '\'']))
                .unwrap_or(found),
        )
    };
    let version = value("VERSION_ID").filter(|_| value("ID") == Some("cefline"))?;
    let right = (1..=VERSION_BYTES_MAX).contains(&version.len())
        && version
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_~^+".contains(&byte));
    right.then(|| version.to_owned())
}

/// Which of two versions is higher, as systemd-boot has it (UAPI version format): numbers by their
/// value, and in this order: `~`, the end, `-`, `^`, `.`, letters, numbers.
#[must_use]
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    let unknown = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"~-^.".contains(byte);
    loop {
        left = skip(left, unknown);
        right = skip(right, unknown);
        for separator in *b"~-^." {
            // all but `~` are more than the end
            if separator == b'-' && (left.is_empty() || right.is_empty()) {
                return right.is_empty().cmp(&left.is_empty());
            }
            match (
                left.strip_prefix(&[separator]),
                right.strip_prefix(&[separator]),
            ) {
                (Some(after_left), Some(after_right)) => (left, right) = (after_left, after_right),
                (Some(_), None) => return Ordering::Less,
                (None, Some(_)) => return Ordering::Greater,
                (None, None) => {}
            }
        }
        let first_is_digit = |bytes: &[u8]| bytes.first().is_some_and(u8::is_ascii_digit);
        let digits = first_is_digit(left) || first_is_digit(right);
        let is_part = |byte: &u8| {
            if digits {
                byte.is_ascii_digit()
            } else {
                byte.is_ascii_alphabetic()
            }
        };
        let (left_rest, right_rest) = (skip(left, is_part), skip(right, is_part));
        let (one, other) = (
            &left[..left.len() - left_rest.len()],
            &right[..right.len() - right_rest.len()],
        );
        let order = if digits {
            let (value, other_value) = (
                skip(one, |byte| *byte == b'0'),
                skip(other, |byte| *byte == b'0'),
            );
            other
                .is_empty()
                .cmp(&one.is_empty())
                .then(value.len().cmp(&other_value.len()))
                .then(value.cmp(other_value))
        } else {
            one.cmp(other)
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
}

fn skip(bytes: &[u8], which: impl Fn(&u8) -> bool) -> &[u8] {
    let count = bytes.iter().take_while(|byte| which(byte)).count();
    &bytes[count..]
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at.checked_add(2)?)?
        .try_into()
        .ok()
        .map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests;
