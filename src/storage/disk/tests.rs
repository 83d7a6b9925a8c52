use std::fs::{File, OpenOptions};

use rustix::fs::{FlockOperation, flock};

use super::fs::OsLock;
use super::*;

fn disk() -> (tempfile::TempDir, OsDisk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::new(dir.path().join("r"));
    disk.create_dir(Path::new(TMP_DIR)).unwrap();
    (dir, disk)
}

#[test]
fn a_published_file_is_whole_and_leaves_no_temporary() {
    let (_dir, disk) = disk();
    disk.publish(Path::new("a"), b"one", false).unwrap();
    disk.publish(Path::new("a"), b"two", false).unwrap();
    assert_eq!(disk.read(Path::new("a"), 10).unwrap().unwrap(), b"one");
    disk.publish(Path::new("a"), b"three", true).unwrap();
    assert_eq!(disk.read(Path::new("a"), 10).unwrap().unwrap(), b"three");
    assert!(disk.read(Path::new("a"), 2).is_err());
    assert!(disk.list(Path::new(TMP_DIR)).unwrap().is_empty());
}

#[test]
fn a_cache_is_replaced_whole_and_leaves_no_temporary() {
    let (_dir, disk) = disk();
    disk.replace_cache(Path::new("a"), b"one").unwrap();
    disk.replace_cache(Path::new("a"), b"other").unwrap();
    assert_eq!(disk.read(Path::new("a"), 10).unwrap().unwrap(), b"other");
    assert!(disk.replace_cache(Path::new("no/such/dir"), b"x").is_err());
    assert!(disk.list(Path::new(TMP_DIR)).unwrap().is_empty());
}

#[test]
fn who_writes_without_the_lock_survives_a_sweep() {
    let (_dir, disk) = disk();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..300u32 {
                let bytes = number.to_le_bytes();
                disk.publish(Path::new("a"), &bytes, true).unwrap();
                assert_eq!(disk.read(Path::new("a"), 10).unwrap().unwrap(), bytes);
            }
        });
        while !writer.is_finished() {
            for name in disk.list(Path::new(TMP_DIR)).unwrap() {
                disk.remove(&Path::new(TMP_DIR).join(name)).unwrap();
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
}

#[test]
fn an_unpublished_file_vanishes() {
    let (_dir, disk) = disk();
    let mut file = disk.create().unwrap();
    file.write_all(b"x").unwrap();
    drop(file);
    assert!(disk.list(Path::new(TMP_DIR)).unwrap().is_empty());
}

#[test]
fn a_lock_is_held_once() {
    let (_dir, disk) = disk();
    let guard = disk.try_lock(Path::new("lock")).unwrap();
    assert!(guard.is_some());
    assert!(disk.try_lock(Path::new("lock")).unwrap().is_none());
    drop(guard);
    assert!(disk.try_lock(Path::new("lock")).unwrap().is_some());
}

#[test]
fn a_mark_stays_until_all_is_settled() {
    let (dir, disk) = disk();
    let (lock, log, tmp) = (Path::new("lock"), Path::new("log"), dir.path().join("r/tmp"));
    disk.publish(log, b"grows", false).unwrap();
    disk.publish(lock, b"+", false).unwrap();
    std::fs::remove_dir(&tmp).unwrap();
    std::os::unix::fs::symlink("nowhere", &tmp).unwrap();
    for _ in 0..2 {
        let guard = disk.try_lock(lock).unwrap().unwrap();
        assert!(guard.was_abandoned());
        // There is no room for the new log.
        disk.settle(&[log]).unwrap_err();
    }
    disk.remove(Path::new(TMP_DIR)).unwrap();
    let guard = disk.try_lock(lock).unwrap().unwrap();
    assert!(guard.was_abandoned());
    disk.settle(&[log]).unwrap();
    drop(guard);
    assert!(!disk.try_lock(lock).unwrap().unwrap().was_abandoned());
}

#[test]
fn a_lock_ends_with_its_guard_even_if_a_child_has_the_file() {
    let (_dir, disk) = disk();
    disk.publish(Path::new("lock"), b"", false).unwrap();
    let file = File::open(disk.full(Path::new("lock")).unwrap()).unwrap();
    let _of_the_child = file.try_clone().unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    drop(OsLock { file });
    assert!(disk.try_lock(Path::new("lock")).unwrap().is_some());
}

#[test]
fn a_shared_lock_becomes_exclusive_only_for_one_alone() {
    let (_dir, disk) = disk();
    assert!(disk.try_share(Path::new("lock")).is_err());
    disk.publish(Path::new("lock"), b"", false).unwrap();
    let one = disk.try_share(Path::new("lock")).unwrap().unwrap();
    let other = disk.try_share(Path::new("lock")).unwrap().unwrap();
    assert!(!one.make_exclusive());
    // What failed lost nothing: the other one is not alone either.
    assert!(!other.make_exclusive());
    drop(other);
    assert!(one.make_exclusive());
    assert!(disk.try_share(Path::new("lock")).unwrap().is_none());
    one.make_shared();
    assert!(disk.try_share(Path::new("lock")).unwrap().is_some());
}

#[test]
fn a_map_past_the_end_is_an_error() {
    let (_dir, disk) = disk();
    disk.publish(Path::new("a"), &[7; 100_000], false).unwrap();
    let file = disk.open(Path::new("a")).unwrap().unwrap();
    assert_eq!(&*file.map(1, 99_999).unwrap(), &[7; 99_999][..]);
    assert!(file.map(1, 100_000).is_err());
    assert!(file.map(u64::MAX, 2).is_err());
}

#[test]
fn a_file_that_is_cut_off_while_it_is_mapped_is_found_out() {
    let (dir, disk) = disk();
    for left in [0, 4096, 99_999] {
        disk.publish(Path::new("a"), &[7; 100_000], true).unwrap();
        let file = disk.open(Path::new("a")).unwrap().unwrap();
        let bytes = file.map(0, 100_000).unwrap();
        assert!(matches!(bytes, FileBytes::Mapped(_)));
        assert!(bytes.iter().all(|byte| *byte == 7));
        bytes.check().unwrap();
        let path = dir.path().join("r/a");
        OpenOptions::new().write(true).open(path).unwrap().set_len(left).unwrap();
        assert_eq!(bytes.last(), Some(&0));
        let error = bytes.check().unwrap_err();
        assert!(error.source.to_string().contains("truncated"), "{error:?}");
    }
    assert!(disk.open(Path::new("b")).unwrap().is_none());
}

#[test]
fn a_missing_directory_for_new_files_is_made() {
    let (dir, disk) = disk();
    std::fs::remove_dir(dir.path().join("r/tmp")).unwrap();
    disk.publish(Path::new("a"), b"one", true).unwrap();
    // Nobody makes the repository itself.
    let disk = OsDisk::new(dir.path().join("none"));
    assert!(disk.create().is_err() && !dir.path().join("none").exists());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
fn what_is_left_of_another_process_is_in_nobodys_way() {
    let (dir, disk) = disk();
    let tmp = dir.path().join("r/tmp");
    let left = |name: String| std::fs::write(tmp.join(name), "left").unwrap();
    // Of one that had the same number, and of one that drew the same.
    (0..2000).for_each(|number| left(format!("{}-{number}", std::process::id())));
    let name = new_name();
    let (drawn, number) = name.split_once('-').unwrap();
    let number: u64 = number.parse().unwrap();
    (number..number + 60).for_each(|number| left(format!("{drawn}-{number}")));
    for _ in 0..10 {
        disk.publish(Path::new("a"), b"one", true).unwrap();
    }
    assert_eq!(disk.list(Path::new(TMP_DIR)).unwrap().len(), 2060);
}
