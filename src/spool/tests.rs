use super::*;

#[test]
fn space_has_two_bounds_and_is_counted_at_both() {
    let space = Space::new(100, Some(50));
    // the file system's
    assert_eq!(space.reserve(60, (110, 1000)), Ok(()));
    let why = space.reserve(60, (109, 1000)).unwrap_err();
    assert!(why.contains("109 bytes are free") && why.contains("50 stay free"));
    // ours
    assert_eq!(space.reserve(40, (1000, 1000)), Ok(()));
    assert_eq!(
        space.reserve(1, (1000, 1000)),
        Err("spool.bytes_max = 100 is reached".to_owned())
    );
    assert_eq!(space.used(), 100);
    space.give_back(1);
    assert_eq!(space.reserve(1, (1000, 1000)), Ok(()));
    // lengths come from the disk
    space.take(u64::MAX);
    assert!(space.reserve(u64::MAX, (u64::MAX, u64::MAX)).is_err());
    space.give_back(u64::MAX);
    assert_eq!(space.used(), 0);
}

#[test]
fn unless_told_a_tenth_of_the_file_system_stays_free_and_two_gib_at_most() {
    let space = Space::new(u64::MAX, None);
    assert!(space.reserve(1, (100, 1000)).is_err());
    assert_eq!(space.reserve(1, (101, 1000)), Ok(()));
    let all = 1 << 40;
    assert!(space.reserve(1, (FREE_BYTES_MOST, all)).is_err());
    assert_eq!(space.reserve(1, (FREE_BYTES_MOST + 1, all)), Ok(()));
}

#[test]
fn a_spool_is_used_by_one_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    assert!(!is_spool(root.path()) && !Lock::is_taken(root.path()));
    let lock = Lock::take(root.path()).unwrap();
    assert!(is_spool(root.path()) && Lock::is_taken(root.path()));
    let failure = Lock::take(root.path()).unwrap_err();
    assert_eq!(failure.kind(), std::io::ErrorKind::WouldBlock);
    drop(lock);
    assert!(!Lock::is_taken(root.path()));
    Lock::take(root.path()).unwrap();
}
