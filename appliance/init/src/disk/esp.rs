//! The EFI system partition and the variables of the boot loader: how they are recognised and read.
//! No IO.

/// Label of our ESP. Exactly the eleven characters of a FAT label.
pub(crate) const LABEL: &[u8; 11] = b"CEFLINE-ESP";
/// Namespace of the variables of systemd-boot (its boot loader interface).
pub(crate) const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Variables that we read hold a path or an identifier.
pub(crate) const VARIABLE_BYTES_MAX: u64 = 4096;
/// A variable that we write stays, and is seen by the boot loader and by us.
const STAYS: u32 = 0x7;

/// The label in the first sector of a FAT file system; nothing if it is none.
#[must_use]
pub(crate) fn label(sector: &[u8]) -> Option<&[u8]> {
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return None;
    }
    let extended = |signature: usize| matches!(sector.get(signature), Some(0x28 | 0x29));
    match () {
        () if extended(66) && sector.get(82..87) == Some(b"FAT32") => sector.get(71..82),
        () if extended(38) && sector.get(54..57) == Some(b"FAT") => sector.get(43..54),
        () => None,
    }
}

/// The text of a variable as efivarfs gives it: 4 bytes of attributes, then UTF-16 that ends with 0.
#[must_use]
pub(crate) fn variable_text(bytes: &[u8]) -> Option<String> {
    let (_attributes, text) = bytes.split_first_chunk::<4>()?;
    let units = text
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0);
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .ok()
}

/// A variable with this text as efivarfs takes it.
#[must_use]
pub(crate) fn variable_bytes(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
    STAYS.to_le_bytes().into_iter().chain(units).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_variable_is_read_as_it_was_written(text in "[^\0]{0,40}") {
            prop_assert_eq!(variable_text(&variable_bytes(&text)), Some(text));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = (label(&bytes), variable_text(&bytes));
            let mut sector = bytes;
            sector.resize(512, 0x29);
            sector[510..].copy_from_slice(&[0x55, 0xaa]);
            let _ = label(&sector);
        }
    }

    #[test]
    fn labels_of_fat32_and_of_fat16_are_read() {
        let mut sector = [0; 512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(label(&sector), None);
        let mut fat32 = sector;
        fat32[66] = 0x29;
        fat32[71..87].copy_from_slice(b"CEFLINE-ESPFAT32");
        assert_eq!(label(&fat32), Some(LABEL.as_slice()));
        let mut fat16 = sector;
        fat16[38] = 0x29;
        fat16[43..59].copy_from_slice(b"CEFLINE-ESPFAT16");
        assert_eq!(label(&fat16), Some(LABEL.as_slice()));
        fat16[511] = 0;
        assert_eq!(label(&fat16), None);
    }
}
