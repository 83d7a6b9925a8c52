//! Disks that are full, and calls that fail.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::statvfs;

use crate::common::{Output, Sandbox, assert_same, files_below, noise, text};
use crate::scene::{ACTS, Scene, copy_of, reported};
use crate::{below, dice, setting, strace};

/// A file system in memory whose size can be changed, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said in words, where this process may not mount.
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=64m,mode=700", "none"]).arg(&at);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        if !mounted {
            println!("rig: full disks: left out, this user may not mount");
        }
        mounted.then_some(Self(at))
    }

    fn limit(&self, option: &str) {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,{option}")]).arg(&self.0);
        assert!(command.status().unwrap().success(), "{option}");
    }

    /// Leaves so many KiB, or so many files.
    fn leave(&self, free: u64, of_files: bool) {
        let now = statvfs(&self.0).unwrap();
        if of_files {
            self.limit(&format!("nr_inodes={}", now.f_files - now.f_ffree + free));
        } else {
            let used = (now.f_blocks - now.f_bfree) * now.f_frsize / 1024;
            self.limit(&format!("size={}k", used + free));
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// The store on a disk of its own, the work tree beside it; or both there.
fn try_full(scene: &Scene, disk: &SmallDisk, free: u64, of_files: bool) -> bool {
    let place = Sandbox::bare();
    let work = disk.0.join("work");
    fs::create_dir(&work).unwrap();
    scene.copy_to(&work);
    let run = |args: &[&str]| Output::of(place.command(args).current_dir(&work));
    disk.leave(free, of_files);
    let output = run(scene.act().args);
    let at = format!("{free} {} left", if of_files { "files" } else { "KiB" });
    let said = || format!("{at}: {:?}: {output:#?}", scene.act());
    assert!(matches!(output.code, 0 | 1 | 3), "{}", said());
    assert!(matches!(output.code, 0 | 3) || reported(&output).is_none(), "{}", said());
    // With not one byte left, everything can be read.
    let filler = disk.0.join("filler");
    if let Ok(mut file) = fs::File::create(&filler) {
        while file.write_all(&[1; 4096]).is_ok() {}
    }
    for args in [&["log"][..], &["status"], &["ls"], &["get", "HEAD:large"], &["store", "verify"]] {
        let read = run(args);
        assert_eq!(read.code, 0, "{}, then {args:?}: {read:#?}", said());
    }
    let _ = fs::remove_file(filler);
    disk.limit("size=64m,nr_inodes=100000");
    scene.check_store(&run, &output, &at);
    let again = run(&["add", "-A"]);
    assert_eq!(again.code, 0, "{}, then add: {again:#?}", said());
    let again = run(&["commit", "--allow-empty", "-m", "there is room"]);
    assert_eq!(again.code, 0, "{}, then commit: {again:#?}", said());
    fs::remove_dir_all(work).unwrap();
    output.code != 0
}

#[test]
fn a_full_disk_loses_nothing_and_can_be_read() {
    let (mut dice, seed) = dice();
    let sizes = setting("DIGSTORE_FULL_DISKS", 3);
    let home = Sandbox::bare();
    let Some(disk) = SmallDisk::mount(home.beside("disk")) else { return };
    let acts = if sizes < 100 { 4 } else { ACTS.len() };
    let first = below(&mut dice, ACTS.len());
    let (mut runs, mut full) = (0, 0);
    for number in 0..acts {
        let scene = Scene::new(ACTS[(first + number) % ACTS.len()]);
        for _ in 0..sizes {
            let of_files = below(&mut dice, 4) == 0;
            let free = dice.roll() % if of_files { 14 } else { 500 };
            runs += 1;
            full += u64::from(try_full(&scene, &disk, free, of_files));
        }
    }
    println!("rig: full disks: runs={runs} full={full} seed={seed}");
}

#[test]
fn what_a_killed_command_was_writing_makes_room_for_the_next() {
    if !strace::is_there("a full disk behind a kill") {
        return;
    }
    let mut sandbox = Sandbox::bare();
    let Some(disk) = SmallDisk::mount(sandbox.beside("disk")) else { return };
    sandbox.work = disk.0.join("work");
    sandbox.mkdir("many");
    sandbox.ok(["init"]);
    (0..2000).for_each(|number| sandbox.write(format!("many/{number}"), number.to_string()));
    sandbox.save("x");
    sandbox.write("big", noise(1, 3 << 20));
    let (_, killed) = strace::inject(&sandbox, "fsync:signal=SIGKILL:when=1", &["add", "big"]);
    assert!(killed && !files_below(&sandbox.path(".digstore/tmp")).is_empty());
    disk.leave(0, false);
    sandbox.ok(["add", "many/1"]);
    sandbox.ok(["store", "verify"]);
}

/// What can fail, and how: calls for `strace`, with `+` also for ever after.
const FAULTS: [(&str, &str); 11] = [
    ("fsync", "EIO"),
    ("fdatasync", "EIO"),
    ("write", "EDQUOT"),
    ("write", "EIO"),
    ("pwrite64", "EIO"),
    ("openat", "EMFILE"),
    ("openat", "EROFS"),
    ("renameat", "EDQUOT"),
    ("renameat2", "EDQUOT"),
    ("mkdirat", "EDQUOT"),
    ("unlinkat", "EIO"),
];

#[test]
fn no_pack_is_damaged_because_too_many_files_are_open() {
    if !strace::is_there("too many open files") {
        return;
    }
    let sandbox = Sandbox::new();
    // More packs than are kept open.
    for number in 0..70 {
        sandbox.write("f", noise(number, 3000));
        sandbox.save("x");
    }
    let pack = sandbox.packs(1).remove(0);
    let mut failed = 0;
    for number in 2..6 {
        let fails = format!("inject=openat:error=EMFILE:when={number}+");
        let options = ["-o", "/dev/null", "-P", pack.to_str().unwrap(), "-e", &fails];
        let output =
            Output::of(&mut strace::command(&sandbox, &options, &["store", "verify", "--data"]));
        assert!(matches!(output.code, 0 | 1), "{number}: {output:?}");
        failed += output.code;
    }
    assert!(failed > 0);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_stash_that_fails_on_its_way_is_there() {
    if !strace::is_there("a stash that fails") {
        return;
    }
    let scene = Sandbox::new();
    for name in ["a", "b/c", "d/e"] {
        scene.write(name, name);
    }
    scene.save("x");
    for name in ["a", "b/c", "d/e"] {
        scene.append(name, "changed");
    }
    let changed = scene.snapshot();
    let renames = strace::calls(&copy_of(&scene), &["stash"])["renameat"];
    let mut half = 0;
    for number in 1..=renames {
        let sandbox = copy_of(&scene);
        let (output, _) =
            strace::inject(&sandbox, &format!("renameat:error=EACCES:when={number}+"), &["stash"]);
        if sandbox.snapshot() == changed {
            continue;
        }
        half += i32::from(output.code != 0);
        let undone = copy_of(&sandbox);
        undone.ok(["undo"]);
        assert_same(&changed, &undone.snapshot());
        assert!(undone.status().iter().all(|line| line.starts_with(" M")), "{:?}", undone.status());
        sandbox.ok(["reset", "--hard"]);
        sandbox.ok(["stash", "pop"]);
        assert_same(&changed, &sandbox.snapshot());
    }
    assert!(half > 0);
}

#[test]
fn what_a_clean_could_not_remove_is_not_in_the_way_of_its_undo() {
    if !strace::is_there("a clean that fails") {
        return;
    }
    let sandbox = Sandbox::new();
    for name in ["r/u", "w/u", "x"] {
        sandbox.write(name, name);
    }
    let before = sandbox.snapshot();
    let clean = ["clean", "-f", "-d"];
    let (output, _) = strace::inject(&sandbox, "unlinkat:error=EACCES:when=1", &clean);
    assert_eq!(output.code, 3, "{output:?}");
    let inodes = || {
        let there = files_below(&sandbox.work).into_iter();
        let there = there.filter(|path| !path.starts_with(sandbox.path(".digstore")));
        there.map(|path| (fs::metadata(&path).unwrap().ino(), path)).collect::<Vec<_>>()
    };
    let stayed = inodes();
    assert_eq!(stayed.len(), 1, "{stayed:?}");
    sandbox.ok(["undo"]);
    assert_same(&before, &sandbox.snapshot());
    assert!(inodes().contains(&stayed[0]), "it was written anew");
}

#[test]
fn a_call_that_fails_loses_nothing() {
    if !strace::is_there("calls that fail") {
        return;
    }
    let (mut dice, seed) = dice();
    let target = setting("DIGSTORE_FAULTS", 24) as usize;
    let scenes: Vec<_> = Scene::some(&mut dice, target, 4)
        .into_iter()
        .map(|scene| {
            let calls = strace::calls(&scene.copy(), scene.act().args);
            (scene, calls)
        })
        .collect();
    let (mut runs, mut failed) = (0, 0);
    while runs < target {
        let (scene, calls) = &scenes[runs % scenes.len()];
        let (call, errno) = FAULTS[below(&mut dice, FAULTS.len())];
        let Some(count) = calls.get(call) else {
            // Not every command makes every call.
            runs +=
                usize::from(calls.keys().all(|call| FAULTS.iter().all(|fault| fault.0 != call)));
            continue;
        };
        let number = below(&mut dice, *count) + 1;
        let ever_after = ["", "+"][below(&mut dice, 2)];
        let sandbox = scene.copy();
        let what = format!("{call}:error={errno}:when={number}{ever_after}");
        let (output, killed) = strace::inject(&sandbox, &what, scene.act().args);
        let said = format!("{what}: {:?}: {output:#?}", scene.act());
        assert!(!killed && !output.stderr.contains("panicked"), "{said}");
        assert!(matches!(output.code, 0 | 3) || reported(&output).is_none(), "{said}");
        scene.check(&sandbox, &output, &what);
        (runs, failed) = (runs + 1, failed + usize::from(output.code != 0));
    }
    println!("rig: calls that fail: runs={runs} failed={failed} seed={seed}");
}

#[test]
fn a_report_that_could_not_be_written_never_comes() {
    if !strace::is_there("reports that fail") {
        return;
    }
    let act = ACTS.iter().find(|act| act.args[0] == "commit").unwrap();
    let scene = Scene::new(*act);
    let writes = strace::calls(&scene.copy(), act.args)["write"];
    let mut refused = 0;
    for number in 1..=writes {
        let what = format!("write:error=EIO:when={number}");
        let (output, _) = strace::inject(&scene.copy(), &what, act.args);
        // A buffer that is flushed again when it is dropped would bring it behind the error.
        assert!(output.code == 0 || output.stdout.is_empty(), "{what}: {output:#?}");
        refused += u64::from(output.stderr.contains("cannot write the output"));
    }
    assert_eq!(refused, 1, "of {writes}");
}

#[test]
fn a_write_that_is_cut_short_loses_nothing() {
    let (mut dice, seed) = dice();
    let target = setting("DIGSTORE_FAULTS", 24) as usize;
    let scenes = Scene::some(&mut dice, target, 4);
    let mut failed = 0;
    for run in 0..target {
        let scene = &scenes[run % scenes.len()];
        let sandbox = scene.copy();
        // No file may grow beyond so many halves of a KiB: the write that would is cut short there.
        let limit = below(&mut dice, 700);
        let mut command = Command::new("sh");
        sandbox.surround(&mut command);
        command.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"")).arg("sh");
        command.arg(env!("CARGO_BIN_EXE_digstore")).args(scene.act().args);
        let output = Output::of(&mut command);
        let said = format!("ulimit -f {limit}: {:?}: {output:#?}", scene.act());
        assert!(!output.stderr.contains("panicked") && output.code >= 0, "{said}");
        assert!(matches!(output.code, 0 | 3) || reported(&output).is_none(), "{said}");
        scene.check(&sandbox, &output, &format!("ulimit -f {limit}"));
        failed += usize::from(output.code != 0);
    }
    println!("rig: writes cut short: runs={target} failed={failed} seed={seed}");
}

#[test]
fn without_renames_that_spare_what_is_there_links_do_and_without_links_a_look() {
    if !strace::is_there("renames that are unknown") {
        return;
    }
    let no_renames = ["renameat2:error=EINVAL", "renameat2:error=ENOSYS", "renameat2:error=EPERM"];
    let no_links = "inject=link,linkat:error=EPERM";
    for (no_rename, no_link) in no_renames.iter().flat_map(|one| [(one, false), (one, true)]) {
        let sandbox = Sandbox::bare();
        sandbox.write("a", text(1, 3000));
        let no_rename = format!("inject={no_rename}");
        let mut options = vec!["-o", "/dev/null", "-e", &no_rename];
        options.extend(["-e", no_links].iter().filter(|_| no_link));
        for args in [&["init"][..], &["add", "-A"], &["commit", "-m", "x"], &["tag", "v1"]] {
            let output = Output::of(&mut strace::command(&sandbox, &options, args));
            assert_eq!(output.code, 0, "{no_rename} {no_link} {args:?}: {output:#?}");
        }
        sandbox.ok(["store", "verify", "--data"]);
        assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
        assert!(files_below(&sandbox.path(".digstore/tmp")).is_empty());
    }
}

#[test]
fn who_has_no_room_left_takes_the_lock_all_the_same() {
    if !strace::is_there("locks without room") {
        return;
    }
    for errno in ["ENOSPC", "EDQUOT"] {
        let sandbox = Sandbox::new();
        sandbox.write("a", "a");
        sandbox.save("x");
        // The first one is the mark of the lock.
        let what = format!("pwrite64:error={errno}:when=1");
        let (output, _) = strace::inject(&sandbox, &what, &["tag", "v1"]);
        assert_eq!(output.code, 0, "{errno}: {output:#?}");
        sandbox.ok(["store", "verify", "--data"]);
    }
}
