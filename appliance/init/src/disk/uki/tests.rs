use super::*;
use proptest::prelude::*;

/// A UKI of this version, as small as one can be; the rest is `fill`.
pub(in crate::disk) fn uki(version: &str, bytes: usize, fill: u8) -> Vec<u8> {
    let release = format!("NAME=cefline-appliance\nID=cefline\nVERSION_ID={version}\n");
    let mut file = vec![fill; bytes];
    file[..1024].fill(0);
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x80;
    file[0x80..0x84].copy_from_slice(b"PE\0\0");
    file[0x84..0x86].copy_from_slice(&MACHINE.to_le_bytes());
    file[0x86] = 3;
    file[0x94] = 0xf0;
    let sections: [(&[u8], usize, usize); 3] = [
        (b".osrel", 1024, release.len()),
        (b".linux", 2048, 512),
        (b".initrd", 2560, bytes - 2560),
    ];
    for (index, (name, at, size)) in sections.into_iter().enumerate() {
        let header = 0x80 + 24 + 0xf0 + index * 40;
        file[header..header + name.len()].copy_from_slice(name);
        file[header + 8..header + 12].copy_from_slice(&(size as u32).to_le_bytes());
        file[header + 16..header + 20].copy_from_slice(&(size as u32).to_le_bytes());
        file[header + 20..header + 24].copy_from_slice(&(at as u32).to_le_bytes());
    }
    file[1024..1024 + release.len()].copy_from_slice(release.as_bytes());
    file
}

#[test]
fn the_version_of_a_system_is_found() {
    let file = uki("1.2.3", 4096, 1);
    let Uki { release } = Uki::parse(&file, 4096).unwrap();
    assert_eq!(
        version(&file[release.start as usize..release.end as usize]),
        Some("1.2.3".to_owned())
    );
    assert_eq!(Uki::parse(&file, 4095), None, "it is cut");
    for (place, what) in [
        (0, "no MZ"),
        (0x80, "no PE"),
        (0x84, "another machine"),
        (0x80 + 24 + 0xf0, "no .osrel"),
        (0x80 + 24 + 0xf0 + 40, "no .linux"),
    ] {
        let mut file = file.clone();
        file[place] ^= 0x20;
        assert_eq!(Uki::parse(&file, 4096), None, "{what}");
    }
}

#[test]
fn only_our_own_release_has_a_version() {
    for (text, expected) in [
        ("ID=cefline\nVERSION_ID=1.2\n", Some("1.2")),
        (
            "VERSION_ID=\"1.2~rc1\"\nID='cefline'\n\0\0\0",
            Some("1.2~rc1"),
        ),
        ("ID=debian\nVERSION_ID=12\n", None),
        ("VERSION_ID=12\n", None),
        ("ID=cefline\n", None),
        ("ID=cefline\nVERSION_ID=\n", None),
        ("ID=cefline\nVERSION_ID=1/../2\n", None),
        ("ID=cefline\nVERSION_ID=a b\n", None),
    ] {
        assert_eq!(version(text.as_bytes()).as_deref(), expected, "{text}");
    }
    assert_eq!(version(b"ID=cefline\nVERSION_ID=\xff"), None);
    let long = format!("ID=cefline\nVERSION_ID={}", "1".repeat(65));
    assert_eq!(version(long.as_bytes()), None);
}

/// The example of the UAPI version format, and more of our own.
#[test]
fn versions_are_in_the_order_of_the_boot_loader() {
    let order = [
        "~",
        "",
        "122.1",
        "123~rc1-1",
        "123",
        "123-a",
        "123-a.1",
        "123-1",
        "123-1.1",
        "123^post1",
        "123.a-1",
        "123.1-1",
        "123a-1",
        "124-1",
    ];
    for (left, one) in order.iter().enumerate() {
        for (right, other) in order.iter().enumerate() {
            assert_eq!(compare(one, other), left.cmp(&right), "{one} and {other}");
        }
    }
    assert_eq!(compare("1.9.0", "1.10.0"), Ordering::Less);
    assert_eq!(compare("1.02", "1.2"), Ordering::Equal);
    assert_eq!(compare("1.a", "1.0"), Ordering::Less);
    assert_eq!(compare("1_2", "1_2"), Ordering::Equal);
    assert_eq!(
        compare("99999999999999999999998", "99999999999999999999999"),
        Ordering::Less
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..700), changes in prop::collection::vec((0usize..700, any::<u8>()), 0..8), size in any::<u64>()) {
        let _ = (Uki::parse(&bytes, size), version(&bytes));
        let mut file = uki("1", 4096, 0);
        for (place, byte) in changes {
            file[place] = byte;
        }
        if let Some(Uki { release }) = Uki::parse(&file, 4096) {
            prop_assert!(release.start <= release.end && release.end <= 4096);
            let _ = version(&file[release.start as usize..release.end as usize]);
        }
    }

    #[test]
    fn the_order_is_one_whichever_way_it_is_asked(left in "[0-9a~^.-]{0,8}", right in "[0-9a~^.-]{0,8}") {
        prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
        prop_assert_eq!(compare(&left, &left), Ordering::Equal);
    }
}
