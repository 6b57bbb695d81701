use super::*;
use crate::disk::seed;
use std::fs;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1024 * 1024;
const ID: Guid = Guid([7; 16]);
const SIZE: u64 = 64 * MIB;

/// The command line at the head of `seed.rs`, for a smaller image; nothing if there is no such program.
fn image(folder: &Path, bytes: u64) -> Option<Vec<u8>> {
    let path = folder.join("data.img");
    File::create(&path).unwrap().set_len(bytes).unwrap();
    let zero = "00000000-0000-4000-8000-000000000000";
    let extended = format!(
        "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=514:514,resize=4294967295,hash_seed={zero}"
    );
    let configuration = folder.join("mke2fs.conf");
    fs::write(
        &configuration,
        "[fs_types]\next4 = {\ninode_size = 256\n}\nsmall = {\ninode_size = 256\n}\n",
    )
    .unwrap();
    let made = Command::new("mke2fs")
        .env("MKE2FS_CONFIG", configuration)
        .env("E2FSPROGS_FAKE_TIME", "1700000000")
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "1048576", "-m", "0"])
        .args(["-e", "remount-ro", "-L", "cefline-data", "-J", "size=4", "-g", "8192", "-U", zero])
        .args(["-O", "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed"])
        .args(["-E", &extended])
        .arg(&path)
        .status();
    let Ok(status) = made else {
        eprintln!("skipped: mke2fs is not installed");
        return None;
    };
    assert!(status.success());
    Some(fs::read(path).unwrap())
}

/// A partition with what was on the disk before.
fn partition(folder: &Path, fill: u8) -> (File, std::path::PathBuf) {
    let path = folder.join("partition");
    fs::write(&path, vec![fill; SIZE as usize]).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    (file, path)
}

fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let out = Command::new(program)
        .args(arguments)
        .arg(path)
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn what_is_sown_is_right_to_e2fsck_and_has_names_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = image(folder.path(), 48 * MIB) else {
        return;
    };
    let bytes = seed::make(&image).unwrap();
    assert!(bytes.len() < 256 * 1024, "{}", bytes.len());
    let seed = Seed::parse(&bytes).unwrap();
    let (file, path) = partition(folder.path(), 0x5a);
    write_mark(&file, 0, ID).unwrap();
    sow(&file, &seed, [0x11; 16], [0x22; 16]).unwrap();
    assert_eq!(content(&file, SIZE, ID).unwrap(), Content::Ext4);
    run("e2fsck", &["-fn"], &path);
    for superblock in ["superblock=0", "superblock=8192"] {
        let shown = run(
            "dumpe2fs",
            &["-h", "-o", superblock, "-o", "blocksize=4096"],
            &path,
        );
        assert!(
            shown.contains("11111111-1111-1111-1111-111111111111"),
            "{shown}"
        );
        assert!(
            shown.contains("22222222-2222-2222-2222-222222222222"),
            "{shown}"
        );
    }
    let mut head = [0; 2048];
    file.read_exact_at(&mut head, 0).unwrap();
    let superblock = Superblock::parse(&head).unwrap();
    assert_eq!((superblock.bytes, superblock.uuid), (48 * MIB, [0x11; 16]));
    head[1024 + 0x68] ^= 1;
    assert_eq!(Superblock::parse(&head), None);
}

/// The file fails as a disk does whose power goes: a quota of bytes, after which nothing is written.
/// Here by making the steps apart and stopping between them.
#[test]
fn until_the_last_step_the_partition_is_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = image(folder.path(), 48 * MIB) else {
        return;
    };
    let bytes = seed::make(&image).unwrap();
    let seed = Seed::parse(&bytes).unwrap();
    let (file, path) = partition(folder.path(), 0x5a);
    assert_eq!(content(&file, SIZE, ID).unwrap(), Content::Foreign);
    write_mark(&file, 0, ID).unwrap();
    assert_eq!(content(&file, SIZE, ID).unwrap(), Content::Unfinished);
    assert_eq!(
        content(&file, SIZE, Guid([8; 16])).unwrap(),
        Content::Foreign,
        "the mark is of another partition"
    );
    sow(&file, &seed, [1; 16], [2; 16]).unwrap();
    // cut in step 5: the superblock is there, and the mark
    write_mark(&file, 0, ID).unwrap();
    assert_eq!(content(&file, SIZE, ID).unwrap(), Content::Unfinished);
    // and in step 3: half of the seed is there
    device::zero(&file, 8 * MIB, 24 * MIB).unwrap();
    file.write_all_at(&[9; 4096], 4096).unwrap();
    sow(&file, &seed, [3; 16], [4; 16]).unwrap();
    assert_eq!(content(&file, SIZE, ID).unwrap(), Content::Ext4);
    run("e2fsck", &["-fn"], &path);
}

#[test]
fn what_is_not_ours_is_told_from_what_is_blank() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = partition(folder.path(), 0);
    assert_eq!(content(&file, SIZE, ID).unwrap(), Content::Blank);
    for (place, what) in [
        (0, "LUKS at the beginning"),
        (65_600, "btrfs at 64 KiB"),
        (MIB - 1, "the end of the first MiB"),
        (SIZE - MIB, "the last MiB"),
        (SIZE - 1, "the last byte"),
    ] {
        file.write_all_at(&[1], place).unwrap();
        assert_eq!(
            content(&file, SIZE, ID).unwrap(),
            Content::Foreign,
            "{what}"
        );
        file.write_all_at(&[0], place).unwrap();
    }
    file.write_all_at(&[0x53, 0xef], 1024 + 0x38).unwrap();
    assert_eq!(content(&file, SIZE, ID).unwrap(), Content::Ext4);
}

#[test]
fn a_seed_that_may_not_be_renamed_leaves_the_mark() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = partition(folder.path(), 0);
    write_mark(&file, 0, ID).unwrap();
    let bytes = seed::make(&vec![1; 8192]).unwrap();
    let failed = sow(&file, &Seed::parse(&bytes).unwrap(), [1; 16], [2; 16]);
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(content(&file, SIZE, ID).unwrap(), Content::Unfinished);
}

mod superblocks {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 2048), size in 0..2048usize, log in 0u32..80) {
            let mut bytes = bytes;
            let _ = Superblock::parse(&bytes[..size]);
            bytes[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
            // no checksums, so that the numbers are read
            bytes[1024 + 0x64..1024 + 0x68].fill(0);
            bytes[1024 + 0x18..1024 + 0x1c].copy_from_slice(&log.to_le_bytes());
            if let Some(superblock) = Superblock::parse(&bytes) {
                let _ = superblock.places(seed::IMAGE_BYTES_MAX);
            }
            let _ = ext4::rename(&mut bytes[1024..], [1; 16], [2; 16]);
            let _ = ext4::rename(&mut bytes[..size], [1; 16], [2; 16]);
        }
    }
}
