//! Damage, odd files, races, full disks and signals: what is wrong is told, and what was stored
//! before is still there.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make files by any means, and a failed helper fails the test"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, chown, lchown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::{
    Dice, Node, Output, Sandbox, Tree, assert_same, files_below, flip, noise, overwrite, text,
};
use digstore::storage::format::bytes::push_checksum;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

fn digstore(name: &str) -> String {
    format!(".digstore/{name}")
}

/// Two files in a data pack each.
fn with_two_packs() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("first", noise(1, 900_000));
    sandbox.save("first");
    sandbox.write("second", noise(2, 900_000));
    sandbox.save("second");
    assert_eq!(sandbox.packs(1).len(), 2);
    sandbox
}

/// The data pack that holds `first` of [`with_two_packs`].
fn pack_of_first(sandbox: &Sandbox) -> PathBuf {
    let packs = sandbox.packs(1);
    let wanted = noise(1, 900_000);
    let is_it = |path: &&PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(64).any(|window| window == &wanted[..64])
    };
    packs.iter().find(is_it).unwrap().clone()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

// Where there is no repository, or one that cannot be opened.

#[test]
fn without_a_repository_every_command_says_so() {
    let sandbox = Sandbox::bare();
    for args in [
        &["status"][..],
        &["add", "-A"],
        &["commit", "-m", "x"],
        &["log"],
        &["ls"],
        &["get", "x"],
        &["restore", "x"],
        &["rm", "x"],
        &["store", "size"],
        &["store", "verify"],
        &["--repo", "nowhere", "status"],
    ] {
        let told = sandbox.fails(10, args);
        assert!(told.starts_with("error: ") && told.contains("hint: 'digstore init'"), "{told}");
    }
    sandbox.fails(1, ["-C", "no/such/dir", "status"]);
}

#[test]
fn a_repository_inside_another_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.mkdir("sub/dir");
    let told = sandbox.run_in("sub/dir", ["init"]).expect_code(1).stderr;
    assert!(told.contains("hint: "), "{told}");
    sandbox.fails(1, ["init", "sub"]);
    assert_eq!(sandbox.snapshot().len(), 1);
}

#[test]
fn init_elsewhere_makes_one_repository_there() {
    let sandbox = Sandbox::bare();
    sandbox.mkdir("sub");
    sandbox.ok(["-C", "sub", "init"]);
    assert!(sandbox.path("sub/.digstore").is_dir());
    assert!(!sandbox.path("sub/sub").exists());
}

#[test]
fn init_in_a_repository_keeps_it() {
    let sandbox = with_two_packs();
    let before = files_below(&sandbox.path(".digstore"));
    let format = sandbox.read(".digstore/format");
    assert!(sandbox.ok(["init"]).stderr.contains("unchanged"));
    assert_eq!(sandbox.ok(["init", "--json"]).json()["created"], false);
    assert_eq!(sandbox.read(".digstore/format"), format);
    assert_eq!(files_below(&sandbox.path(".digstore")), before);
}

#[test]
fn a_repository_is_made_by_one_process() {
    let sandbox = Sandbox::bare();
    sandbox.mkdir(".digstore");
    sandbox.write(".digstore/lock", "+");
    let lock = fs::File::options().write(true).open(sandbox.path(".digstore/lock")).unwrap();
    // As of a process that makes it.
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    sandbox.fails(11, ["init"]);
    let before = files_below(&sandbox.path(".digstore"));
    assert_eq!(before.len(), 1);
    drop(lock);
    sandbox.ok(["init"]);
    sandbox.write("f", "f");
    sandbox.save("x");
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_ref_is_not_led_to_a_commit_that_is_not_there() {
    let sandbox = with_two_packs();
    let copy = sandbox.beside("copy");
    let mut command = Command::new("cp");
    // Files that grow in place, grow in such a copy as well; packs that come later do not come there.
    let copied = command.arg("-al").arg(&sandbox.work).arg(&copy).status().unwrap();
    assert!(copied.success());
    let head = sandbox.ok(["log", "-n", "1", "--format=%H"]).stdout;
    sandbox.write("later", "later");
    sandbox.save("later");
    let mut command = sandbox.command(["branch", "y"]);
    let told = Output::of(command.current_dir(&copy)).expect_code(21).stderr;
    assert!(told.contains("missing"), "{told}");
    let mut command = sandbox.command(["log", "-n", "1", "--format=%H"]);
    assert_eq!(Output::of(command.current_dir(&copy)).expect_code(0).stdout, head);
}

#[test]
fn a_newer_format_is_called_newer_and_a_damaged_one_damaged() {
    let sandbox = with_two_packs();
    let format = sandbox.path(".digstore/format");
    let sound = fs::read(&format).unwrap();
    let mut newer = sound.clone();
    newer[8..12].copy_from_slice(&2u32.to_le_bytes());
    newer.truncate(sound.len() - 8);
    push_checksum(&mut newer, 0);
    overwrite(&format, &newer);
    for args in [&["status"][..], &["add", "-A"], &["log"], &["store", "verify"]] {
        assert!(sandbox.fails(12, args).contains("hint: update digstore"));
    }
    for offset in 0..sound.len() {
        overwrite(&format, &sound);
        flip(&format, offset);
        let told = sandbox.fails(12, ["status"]);
        assert!(told.contains("hint: restore the file 'format'"), "byte {offset}: {told}");
    }
    for len in [0, 1, 8, 12, 71] {
        overwrite(&format, &sound[..len]);
        sandbox.fails(12, ["status"]);
    }
    overwrite(&format, &sound);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn mistakes_in_settings_are_told_with_the_nearest_name() {
    let sandbox = Sandbox::new();
    let cases = [
        ("[performance]\nbatch_sise = 7\n", "did you mean 'performance.batch_size'?"),
        ("[perfromance]\nbatch_size = 7\n", "did you mean 'performance.batch_size'?"),
        ("[performance]\nbatch_size = 0\n", "expects"),
        ("[performance]\nbatch_size = 'many'\n", "expects"),
        ("[performance\n", "not valid TOML"),
    ];
    for file in [".digstore/config.toml", "digstore.toml", "../home/config/digstore/config.toml"] {
        for (content, expected) in cases {
            sandbox.write(file, content);
            let told = sandbox.fails(2, ["status"]);
            assert!(told.contains(expected), "{content}: {told}");
        }
        sandbox.remove(file);
    }
    sandbox.write("digstore.toml", "[user]\nname = 'Mallory'\n");
    assert!(sandbox.fails(2, ["status"]).contains("travels with the data"));
    sandbox.remove("digstore.toml");
    for flag in ["performance.batch_sise=7", "batch_size", "performance.batch_size=x"] {
        sandbox.fails(2, ["--config", flag, "status"]);
    }
    let mut command = sandbox.command(["status"]);
    Output::of(command.env("DIGSTORE_PERFORMANCE_BATCH_SIZE", "none")).expect_code(2);
    sandbox.ok(["--config", "performance.batch_size=1", "status"]);
}

#[test]
fn odd_surroundings_are_errors_and_no_panics() {
    let sandbox = with_two_packs();
    let script = "mkdir d && cd d && rmdir ../d && exec \"$0\" status";
    let mut command = Command::new("sh");
    sandbox.surround(&mut command);
    command.args(["-c", script, env!("CARGO_BIN_EXE_digstore")]);
    let gone = Output::of(&mut command).expect_code(1);
    assert!(gone.stderr.contains("cannot find the current directory"), "{}", gone.stderr);
    let mut command = sandbox.command(["status"]);
    Output::of(command.env_remove("HOME").env_remove("XDG_CONFIG_HOME")).expect_code(0);
    sandbox.run([common::name(b"get"), common::name(b"\xff")]).expect_code(20);
    sandbox.run([common::name(b"add"), common::name(b"\xff")]).expect_code(20);
    sandbox.run([common::name(b"commit"), common::name(b"-m\xff")]).expect_code(2);
}

// Damage.

#[test]
fn a_pack_cut_short_hurts_only_what_it_holds() {
    let sandbox = with_two_packs();
    let pack = pack_of_first(&sandbox);
    let sound = fs::read(&pack).unwrap();
    for len in [0, 1, 39, 40, 100, 500_000, sound.len() - 72, sound.len() - 1] {
        overwrite(&pack, &sound[..len]);
        let output = sandbox.run(["get", "first"]).expect_code(21);
        assert!(noise(1, 900_000).starts_with(&output.stdout), "cut to {len}");
        assert!(output.stderr.contains("hint: "), "{}", output.stderr);
        assert!(sandbox.ok(["get", "second"]).stdout == noise(2, 900_000));
        for args in [&["store", "verify"][..], &["store", "verify", "--data"]] {
            let told = sandbox.run(args).expect_code(21);
            assert!(told.text().contains(&stem(&pack)), "cut to {len}: {}", told.text());
            assert!(told.text().contains("affected: 'first'"), "cut to {len}: {}", told.text());
            assert!(!told.text().contains("affected: 'second'"));
        }
    }
    overwrite(&pack, &[sound.as_slice(), b"x"].concat());
    sandbox.run(["store", "verify"]).expect_code(21);
    overwrite(&pack, &sound);
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_flipped_bit_is_found_by_every_read() {
    let sandbox = with_two_packs();
    let pack = pack_of_first(&sandbox);
    let sound = fs::read(&pack).unwrap();
    let mut dice = Dice::new(3);
    let payload = 2000..890_000;
    for _ in 0..12 {
        let offset = payload.start + dice.roll() as usize % payload.len();
        overwrite(&pack, &sound);
        flip(&pack, offset);
        let output = sandbox.run(["get", "first"]).expect_code(21);
        assert!(output.stdout.len() < 900_000, "byte {offset}");
        assert!(noise(1, 900_000).starts_with(&output.stdout), "byte {offset}");
        sandbox.ok(["get", "second"]);
        let told = sandbox.run(["store", "verify", "--data"]).expect_code(21);
        assert!(told.text().contains(&stem(&pack)) && told.text().contains("'first'"), "{told:?}");
    }
    // No damaged file is left behind, neither by get nor by restore.
    sandbox.fails(21, ["get", "first", "-o", "../out"]);
    assert!(!sandbox.beside("out").exists());
    sandbox.fails(21, ["restore", "--target", "../copy"]);
    assert!(!sandbox.beside("copy/first").exists());
    let left: Vec<PathBuf> = files_below(&sandbox.beside("copy"));
    assert!(left.iter().all(|path| path.ends_with("second")), "{left:?}");
}

#[test]
fn a_flip_anywhere_in_any_file_of_the_store_is_found_by_verify() {
    let sandbox = Sandbox::new();
    sandbox.write("a", text(1, 3000));
    sandbox.write("dir/b", noise(2, 200));
    sandbox.save("x");
    let mut dice = Dice::new(5);
    for path in files_below(&sandbox.path(".digstore/packs")) {
        let sound = fs::read(&path).unwrap();
        for _ in 0..40 {
            let offset = dice.roll() as usize % sound.len();
            flip(&path, offset);
            let output = sandbox.run(["store", "verify", "--data"]);
            assert_eq!(output.code, 21, "byte {offset} of {}: {output:?}", path.display());
            overwrite(&path, &sound);
        }
    }
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn a_pack_that_is_gone_is_stored_again_from_the_files() {
    let sandbox = with_two_packs();
    fs::remove_file(pack_of_first(&sandbox)).unwrap();
    sandbox.fails(21, ["get", "first"]);
    let told = sandbox.run(["store", "verify"]).expect_code(21);
    assert!(told.text().contains("affected: 'first'"), "{told:?}");
    for file in ["first", "second"] {
        let file = fs::File::options().write(true).open(sandbox.path(file)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
    }
    sandbox.ok(["add", "-A"]);
    assert!(sandbox.ok(["get", "first"]).stdout == noise(1, 900_000));
    sandbox.ok(["store", "verify", "--data"]);
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn damaged_trees_and_commits_are_named() {
    let sandbox = with_two_packs();
    for pack in sandbox.packs(2) {
        let sound = fs::read(&pack).unwrap();
        flip(&pack, sound.len() / 3);
        sandbox.run(["store", "verify"]).expect_code(21);
        for args in
            [&["log"][..], &["restore", "--target", "../c"], &["status"], &["ls", "-s", "HEAD~1"]]
        {
            let output = sandbox.run(args);
            assert!(matches!(output.code, 0 | 20 | 21), "{args:?}: {output:?}");
        }
        overwrite(&pack, &sound);
    }
    sandbox.ok(["store", "verify", "--data"]);
}

/// Commits until an index covers their packs, and the packs of the first commit.
fn with_index() -> (Sandbox, Vec<PathBuf>) {
    let sandbox = Sandbox::new();
    sandbox.write("f0", noise(0, 3000));
    sandbox.save("0");
    let packs = files_below(&sandbox.path(".digstore/packs"));
    for number in 1..8 {
        sandbox.write(format!("f{number}"), noise(number, 3000));
        sandbox.save("x");
    }
    assert!(!files_below(&sandbox.path(".digstore/index")).is_empty(), "no index covers them");
    (sandbox, packs)
}

/// Cuts the packs of one kind short, which begin as packs of that kind do.
fn cut(packs: &[PathBuf], kind: u8, left: impl Fn(usize) -> usize) {
    for pack in packs {
        let bytes = fs::read(pack).unwrap();
        if bytes[10] == kind {
            overwrite(pack, &bytes[..left(bytes.len())]);
        }
    }
}

#[test]
fn what_an_index_says_of_a_pack_that_is_cut_short_is_stored_again() {
    for left in [|_| 0, |len| len / 2, |len| len - 1] {
        let (sandbox, packs) = with_index();
        cut(&packs, 1, left);
        let told = sandbox.fails(21, ["get", "f0"]);
        assert!(packs.iter().any(|pack| told.contains(&stem(pack))), "{told}");
        sandbox.write("copy", noise(0, 3000));
        sandbox.save("copy");
        for number in 10..20 {
            for name in ["copy", "f0"] {
                assert!(sandbox.ok(["get", name]).stdout == noise(0, 3000));
            }
            // Also when an index covers what was stored again.
            sandbox.write(format!("f{number}"), noise(number, 3000));
            sandbox.save("x");
        }
        let told = sandbox.run(["store", "verify"]).expect_code(21);
        assert!(told.text().starts_with("damaged: 'packs/"), "{told:?}");
        assert_eq!(told.text().lines().count(), 1, "{told:?}");
        sandbox.ok(["store", "repair", "--apply"]);
        sandbox.ok(["store", "verify", "--data"]);
        assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
    }
}

#[test]
fn a_tree_in_a_pack_that_is_cut_short_behind_the_index_is_stored_again() {
    let (sandbox, packs) = with_index();
    cut(&packs, 2, |_| 0);
    (1..8).for_each(|number| sandbox.remove(format!("f{number}")));
    sandbox.save("as the first");
    assert_eq!(sandbox.ok(["ls", "-s", "HEAD"]).text(), "f0\n");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

/// Damages a file that has these bytes.
type Damage = fn(&Path, &[u8]);

#[test]
fn a_damaged_merged_index_is_only_a_cache() {
    let sandbox = Sandbox::new();
    for number in 0..20 {
        sandbox.write(format!("{number}"), noise(number, 300));
        sandbox.save("x");
    }
    let indexes = files_below(&sandbox.path(".digstore/index"));
    assert!(!indexes.is_empty(), "so many packs have a merged index");
    let before = sandbox.snapshot();
    let damages: [Damage; 4] = [
        |path, _| overwrite(path, b"garbage"),
        |path, _| overwrite(path, b""),
        |path, sound| overwrite(path, &sound[..sound.len() / 2]),
        |path, _| fs::remove_file(path).unwrap(),
    ];
    for damage in damages {
        let kept: Vec<Vec<u8>> = indexes.iter().map(|path| fs::read(path).unwrap()).collect();
        indexes.iter().zip(&kept).for_each(|(path, sound)| damage(path, sound));
        let output = sandbox.run(["restore", "--target", "../copy"]);
        assert_eq!(output.code, 0, "{output:?}");
        assert_same(&before, &common::snapshot(&sandbox.beside("copy")));
        sandbox.remove("../copy");
        sandbox.ok(["log"]);
        indexes.iter().zip(&kept).for_each(|(path, sound)| overwrite(path, sound));
    }
    // A new one comes by itself.
    indexes.iter().for_each(|path| overwrite(path, b"garbage"));
    for number in 100..120 {
        sandbox.write(format!("{number}"), noise(number, 300));
        sandbox.save("x");
    }
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn where_no_index_can_be_written_commands_store_all_the_same() {
    let spoils: [fn(&Path); 3] = [
        |_| {},
        // As on a full disk: nothing can be made there.
        |index| fs::write(index, "").unwrap(),
        |index| {
            fs::create_dir_all(index.join("@eaDir")).unwrap();
            fs::create_dir_all(index.join("x.midx")).unwrap();
        },
    ];
    for spoil in spoils {
        let sandbox = Sandbox::new();
        let index = sandbox.path(".digstore/index");
        fs::remove_dir(&index).unwrap();
        spoil(&index);
        for number in 0..12 {
            sandbox.write(format!("{number}"), noise(number, 300));
            sandbox.save("x");
        }
        if index.is_dir() {
            let files = fs::read_dir(&index).unwrap();
            let files = files.filter(|entry| entry.as_ref().unwrap().path().is_file());
            assert_eq!(files.count(), 1, "an index where there can be one");
        }
        sandbox.ok(["store", "verify", "--data"]);
        assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
        sandbox.ok(["gc"]);
        sandbox.ok(["store", "repair"]);
    }
}

#[test]
fn a_flip_in_a_merged_index_keeps_nothing_from_being_read() {
    let sandbox = Sandbox::new();
    for number in 0..20 {
        sandbox.write(format!("{number}"), noise(number, 300));
        sandbox.save("x");
    }
    let before = sandbox.snapshot();
    for path in files_below(&sandbox.path(".digstore/index")) {
        let sound = fs::read(&path).unwrap();
        for offset in (0..sound.len()).step_by(41) {
            overwrite(&path, &sound);
            flip(&path, offset);
            let output = sandbox.run(["restore", "--target", "../copy"]);
            assert_eq!(output.code, 0, "byte {offset}: {output:?}");
            assert_same(&before, &common::snapshot(&sandbox.beside("copy")));
            sandbox.remove("../copy");
        }
    }
}

#[test]
fn a_damaged_staging_area_is_told_and_commits_are_not_affected() {
    let sandbox = with_two_packs();
    let base = sandbox.path(".digstore/staging/base");
    let sound = fs::read(&base).unwrap();
    let log = sandbox.read(".digstore/staging/log");
    let before = sandbox.snapshot();
    for offset in 0..sound.len() {
        overwrite(&base, &sound);
        flip(&base, offset);
        let output = sandbox.run(["status"]);
        assert!(matches!(output.code, 12 | 21), "byte {offset}: {output:?}");
        if offset % 16 == 0 {
            sandbox.run(["add", "-A"]).expect_code(output.code);
            sandbox.run(["commit", "-m", "x", "--allow-empty"]).expect_code(output.code);
            assert_same(&before, &{
                overwrite(&base, &sound);
                sandbox.restored("HEAD")
            });
        }
    }
    for len in [0, 50, sound.len() - 1] {
        overwrite(&base, &sound[..len]);
        let told = sandbox.fails(21, ["status"]);
        assert!(told.contains("what is committed is not affected"), "{told}");
    }
    fs::remove_file(&base).unwrap();
    sandbox.fails(21, ["status"]);
    overwrite(&base, &sound);
    assert_eq!(sandbox.read(".digstore/staging/log"), log);
    assert!(sandbox.status().is_empty());
}

#[test]
fn a_torn_end_of_the_staging_log_is_ignored() {
    let sandbox = Sandbox::new();
    let log = sandbox.path(".digstore/staging/log");
    sandbox.write("a", "1");
    sandbox.ok(["add", "a"]);
    let one = fs::read(&log).unwrap();
    sandbox.write("b", "1");
    sandbox.ok(["add", "b"]);
    let two = fs::read(&log).unwrap();
    assert!(two.starts_with(&one) && two.len() > one.len());
    // The last frame only says which tree the staging area equals.
    let end = two.len() - (24 + 33);
    for len in one.len()..two.len() {
        overwrite(&log, &two[..len]);
        let expected = if len < end { "a\n" } else { "a\nb\n" };
        assert_eq!(sandbox.ok(["ls"]).text(), expected, "cut to {len}");
    }
    overwrite(&log, &[one.as_slice(), &[0; 300]].concat());
    assert_eq!(sandbox.ok(["ls"]).text(), "a\n");
    // The next write cuts it off.
    overwrite(&log, &two[..end - 1]);
    sandbox.write("c", "1");
    sandbox.ok(["add", "c"]);
    assert_eq!(sandbox.ok(["ls"]).text(), "a\nc\n");
    sandbox.save("x");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn an_altered_staging_log_is_told() {
    let sandbox = Sandbox::new();
    let log = sandbox.path(".digstore/staging/log");
    sandbox.write("a", "1");
    sandbox.ok(["add", "a"]);
    let end_of_first = fs::read(&log).unwrap().len();
    sandbox.write("b", "1");
    sandbox.ok(["add", "b"]);
    let sound = fs::read(&log).unwrap();
    for offset in 0..end_of_first {
        overwrite(&log, &sound);
        flip(&log, offset);
        let output = sandbox.run(["status"]);
        // Another version is called another version.
        assert!(matches!(output.code, 12 | 21), "byte {offset}: {output:?}");
    }
    overwrite(&log, &sound);
    assert_eq!(sandbox.ok(["ls"]).text(), "a\nb\n");
}

#[test]
fn damaged_refs_are_told() {
    let sandbox = with_two_packs();
    for file in ["HEAD", "refs/heads/main"] {
        let path = sandbox.path(digstore(file));
        let sound = fs::read(&path).unwrap();
        for offset in 0..sound.len() {
            overwrite(&path, &sound);
            flip(&path, offset);
            let output = sandbox.run(["log"]);
            assert!(matches!(output.code, 12 | 21), "byte {offset} of {file}: {output:?}");
        }
        for len in [0, 1, sound.len() - 1] {
            overwrite(&path, &sound[..len]);
            for args in [
                &["log"][..],
                &["status"],
                &["commit", "-m", "x", "--allow-empty"],
                &["store", "verify"],
            ] {
                sandbox.run(args).expect_code(21);
            }
        }
        overwrite(&path, &sound);
        sandbox.ok(["store", "verify", "--data"]);
    }
    fs::remove_file(sandbox.path(".digstore/HEAD")).unwrap();
    sandbox.fails(21, ["log"]);
}

#[test]
fn what_others_leave_in_the_store_is_passed_by() {
    let sandbox = with_two_packs();
    for stray in ["packs/.directory", "packs/zz", "packs/a", "index/.directory", "tmp/.directory"] {
        sandbox.write(digstore(stray), "of a file manager");
    }
    sandbox.mkdir(digstore("packs/@eaDir/x"));
    sandbox.mkdir(digstore("index/x.midx"));
    sandbox.write("third", noise(3, 3000));
    sandbox.save("third");
    // In the place of a directory of packs; the name of a new pack may begin with anything.
    let free = (0..).map(|number| digstore(&format!("packs/{number:02x}")));
    let free = free.into_iter().find(|name| !sandbox.path(name).exists()).unwrap();
    sandbox.write(&free, "");
    for args in [
        &["add", "-A"][..],
        &["status"],
        &["get", "third"],
        &["store", "size"],
        &["store", "verify", "--data"],
        &["store", "repair"],
        &["gc"],
    ] {
        sandbox.ok(args);
    }
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
    assert!(sandbox.path(digstore("packs/.directory")).is_file());
}

/// Removes every directory of the repository that holds nothing, as some do that copy.
fn drop_empty_directories(sandbox: &Sandbox) {
    let mut find = Command::new("find");
    let dropped = find.arg(sandbox.path(".digstore")).args(["-type", "d", "-empty", "-delete"]);
    assert!(dropped.status().unwrap().success());
    assert!(!sandbox.path(".digstore/tmp").exists());
}

#[test]
fn a_copy_without_empty_directories_is_written_to() {
    let sandbox = Sandbox::new();
    drop_empty_directories(&sandbox);
    sandbox.write("a", "a");
    sandbox.save("a");
    for args in [
        &["tag", "v1"][..],
        &["branch", "next"],
        &["mv", "a", "b"],
        &["commit", "-m", "b"],
        &["undo"],
        &["gc"],
        &["store", "verify", "--data"],
    ] {
        drop_empty_directories(&sandbox);
        sandbox.ok(args);
    }
}

// Odd and changing files.

#[test]
fn fifos_and_sockets_are_left_out_and_the_rest_is_stored() {
    let sandbox = Sandbox::new();
    sandbox.write("dir/a", "1");
    sandbox.write("z", "1");
    assert!(Command::new("mkfifo").arg(sandbox.path("dir/fifo")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("socket")).unwrap();
    let told = sandbox.fails(3, ["add", "-A"]);
    assert!(told.contains("'dir/fifo': it is a FIFO") && told.contains("'socket'"), "{told}");
    assert_eq!(sandbox.ok(["ls"]).text(), "dir/a\nz\n");
    sandbox.fails(3, ["add", "dir/fifo"]);
    // One in the place of a file that was tracked.
    sandbox.commit("x");
    sandbox.remove("z");
    assert!(Command::new("mkfifo").arg(sandbox.path("z")).status().unwrap().success());
    sandbox.fails(3, ["add", "-A"]);
    assert_eq!(sandbox.run(["status", "-s"]).text(), "D  z\n");
}

/// Runs the binary as a user who is not root, owning the work tree.
fn run_as_nobody(sandbox: &Sandbox, args: &[&str]) -> Output {
    if !rustix::process::geteuid().is_root() {
        return sandbox.run(args);
    }
    let binary = sandbox.beside("digstore");
    if !binary.exists() {
        fs::copy(env!("CARGO_BIN_EXE_digstore"), &binary).unwrap();
    }
    let root = sandbox.beside("");
    let mut todo = vec![root.clone()];
    while let Some(path) = todo.pop() {
        lchown(&path, Some(65534), Some(65534)).unwrap();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let mut command = Command::new("setpriv");
    sandbox.surround(&mut command);
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary).args(args);
    let output = Output::of(&mut command);
    chown(root, Some(0), Some(0)).unwrap();
    output
}

#[test]
fn unreadable_files_and_directories_are_left_out_and_the_rest_is_stored() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "1");
    sandbox.write("secret", "1");
    sandbox.write("dir/inner", "1");
    sandbox.write("z", "1");
    run_as_nobody(&sandbox, &["add", "-A"]).expect_code(0);
    run_as_nobody(&sandbox, &["commit", "-m", "x"]).expect_code(0);
    sandbox.write("a", "22");
    sandbox.write("secret", "22");
    sandbox.write("z", "22");
    sandbox.chmod("secret", 0);
    sandbox.chmod("dir", 0);
    let output = run_as_nobody(&sandbox, &["add", "-A"]).expect_code(3);
    assert!(output.stderr.contains("'secret': "), "{}", output.stderr);
    assert!(output.stderr.contains("'dir': "), "{}", output.stderr);
    let status = run_as_nobody(&sandbox, &["status", "--porcelain"]).expect_code(3);
    assert_eq!(status.text(), "M  a\n M secret\nM  z\n");
    // What cannot be looked at is not gone.
    assert!(run_as_nobody(&sandbox, &["ls"]).text().contains("dir/inner"));
    sandbox.chmod("dir", 0o755);
    sandbox.chmod("secret", 0o644);
    run_as_nobody(&sandbox, &["add", "-A"]).expect_code(0);
    run_as_nobody(&sandbox, &["store", "verify", "--data"]).expect_code(0);
}

#[test]
fn a_repository_that_cannot_be_written_can_be_read() {
    let sandbox = with_two_packs();
    for dir in ["", "staging", "packs", "refs", "refs/heads", "index", "tmp"] {
        sandbox.chmod(digstore(dir), 0o500);
    }
    for args in [
        &["status"][..],
        &["log"],
        &["ls"],
        &["get", "first"],
        &["store", "verify", "--data"],
        &["store", "size"],
    ] {
        run_as_nobody(&sandbox, args).expect_code(0);
    }
    sandbox.write("new", "1");
    let output = run_as_nobody(&sandbox, &["add", "-A"]).expect_code(1);
    assert!(output.stderr.contains("hint: fix the permissions"), "{}", output.stderr);
    for dir in ["", "staging", "packs", "refs", "refs/heads", "index", "tmp"] {
        sandbox.chmod(digstore(dir), 0o700);
    }
}

/// Changes a file over and over while `add` runs a few times, then checks what was stored.
fn add_while(sandbox: &Sandbox, change: impl Fn(&Path, u64) + Sync) {
    let path = sandbox.path("changing");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                change(&path, round);
                round += 1;
            }
        });
        for _ in 0..4 {
            let output = sandbox.run(["add", "-A"]);
            let told = output.stderr.contains("'changing'");
            assert!(output.code == 0 || (output.code == 3 && told), "{output:?}");
            assert!(sandbox.ok(["ls"]).text().contains("still"));
        }
        done.store(true, Ordering::Relaxed);
    });
    sandbox.commit("x");
    sandbox.ok(["store", "verify", "--data"]);
    assert_eq!(sandbox.restored("HEAD")[&common::name(b"still")], Node::File(b"1".to_vec(), false));
    // Now that it rests, it is stored as it is.
    sandbox.ok(["add", "-A"]);
    sandbox.run(["commit", "-m", "y"]);
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn a_file_that_grows_while_it_is_read_is_stored_whole_or_left_out() {
    let sandbox = Sandbox::new();
    sandbox.write("still", "1");
    sandbox.write("changing", noise(1, 20 << 20));
    add_while(&sandbox, |path, round| {
        let mut file = fs::File::options().append(true).open(path).unwrap();
        file.write_all(&noise(round, 1000)).unwrap();
        std::thread::sleep(Duration::from_micros(300));
    });
    // Only appended to: every version that was stored is a prefix of the last.
    let last = sandbox.read("changing");
    for tree in [sandbox.restored("HEAD"), sandbox.restored("HEAD~1")] {
        if let Some(Node::File(bytes, _)) = tree.get(&common::name(b"changing")) {
            assert!(last.starts_with(bytes), "{} bytes", bytes.len());
        }
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_stored_whole_or_left_out() {
    let sandbox = Sandbox::new();
    sandbox.write("still", "1");
    let full = noise(1, 12 << 20);
    sandbox.write("changing", &full);
    add_while(&sandbox, |path, round| {
        let file = fs::File::options().write(true).open(path).unwrap();
        if round % 2 == 0 {
            file.set_len(round % 7 * 100_000).unwrap();
        } else {
            fs::write(path, &full).unwrap();
        }
        std::thread::sleep(Duration::from_millis(3));
    });
}

#[test]
fn a_file_replaced_while_it_is_read_is_never_stored_as_a_mix() {
    let sandbox = Sandbox::new();
    sandbox.write(".digignore", "*.new\n");
    sandbox.write("still", "1");
    let len = 4 << 20;
    sandbox.write("changing", vec![0u8; len]);
    add_while(&sandbox, |path, round| {
        // The same in every KiB, so that a mix would show.
        let bytes: Vec<u8> = noise(round, 1024).repeat(len / 1024);
        let new = path.with_extension("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, path).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    });
    for tree in [sandbox.restored("HEAD"), sandbox.restored("HEAD~1")] {
        if let Some(Node::File(bytes, _)) = tree.get(&common::name(b"changing")) {
            assert!(bytes.chunks(1024).all(|part| part == &bytes[..1024]));
        }
    }
}

// Others at work, full disks, closed streams.

#[test]
fn while_one_command_changes_the_repository_others_can_read_it() {
    let sandbox = with_two_packs();
    sandbox.write("new", "1");
    let lock = fs::File::open(sandbox.path(".digstore/lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    for args in [
        &["add", "-A"][..],
        &["commit", "-m", "x"],
        &["rm", "first"],
        &["restore", "."],
        &["restore", "-S", "."],
    ] {
        let told = sandbox.fails(11, args);
        assert!(told.contains("hint: wait"), "{told}");
    }
    for args in [
        &["status"][..],
        &["log"],
        &["ls"],
        &["get", "first"],
        &["add", "-n", "."],
        &["store", "verify"],
    ] {
        sandbox.ok(args);
    }
    drop(lock);
    sandbox.save("x");
}

#[test]
fn of_many_adds_at_once_each_works_or_says_that_it_is_locked() {
    let sandbox = Sandbox::new();
    for number in 0..40 {
        sandbox.write(format!("{number}"), noise(number, 100_000));
    }
    let start = |number: usize| {
        let mut command = sandbox.command(["add", &number.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..40).map(start).collect();
    let codes: Vec<_> =
        children.into_iter().map(|mut child| child.wait().unwrap().code().unwrap()).collect();
    assert!(codes.iter().all(|code| matches!(code, 0 | 11)), "{codes:?}");
    let done = codes.iter().filter(|code| **code == 0).count();
    assert!(done > 0);
    assert_eq!(sandbox.ok(["ls"]).text().lines().count(), done);
    sandbox.save("x");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

/// A small file system of its own, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this process may not mount.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "none"]).arg(&at);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_ends_the_command_and_harms_nothing() {
    let sandbox = Sandbox::bare();
    let Some(disk) = SmallDisk::mount(sandbox.beside("disk"), "8m") else { return };
    let repo = disk.0.join("repo").display().to_string();
    let with = |args: &[&str]| sandbox.run(["--repo", &repo].iter().chain(args));
    with(&["init"]).expect_code(0);
    sandbox.write("a", noise(1, 1 << 20));
    with(&["add", "-A"]).expect_code(0);
    with(&["commit", "-m", "fits"]).expect_code(0);
    let before = sandbox.snapshot();
    sandbox.write("big", noise(2, 12 << 20));
    sandbox.write("more", noise(3, 5 << 20));
    for _ in 0..3 {
        let output = with(&["add", "-A"]).expect_code(1);
        assert!(output.stderr.contains("hint: free some space"), "{}", output.stderr);
        with(&["store", "verify", "--data"]).expect_code(0);
    }
    sandbox.remove("big");
    // With not one byte left.
    let filler = disk.0.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
    for args in [
        &["status"][..],
        &["log"],
        &["ls"],
        &["get", "a"],
        &["store", "verify", "--data"],
        &["store", "size"],
    ] {
        with(args).expect_code(0);
    }
    assert_eq!(with(&["add", "-A"]).code, 1);
    assert_eq!(with(&["commit", "-m", "y", "--allow-empty"]).code, 1);
    assert_eq!(with(&["log", "--oneline"]).text().lines().count(), 1);
    // The next command works when there is room.
    drop(file);
    fs::remove_file(filler).unwrap();
    with(&["add", "-A"]).expect_code(0);
    with(&["commit", "-m", "fits too"]).expect_code(0);
    with(&["store", "verify", "--data"]).expect_code(0);
    with(&["restore", "-s", "HEAD~1", "--target", "../copy"]).expect_code(0);
    assert_same(&before, &common::snapshot(&sandbox.beside("copy")));
    drop(disk);
}

#[test]
fn a_full_disk_below_the_work_tree_leaves_no_half_file() {
    let sandbox = Sandbox::new();
    sandbox.write("a", noise(1, 3 << 20));
    sandbox.save("x");
    let Some(disk) = SmallDisk::mount(sandbox.beside("disk"), "1m") else { return };
    let output = sandbox.run(["get", "a", "-o", "../disk/a"]).expect_code(1);
    assert!(output.stderr.contains("hint: free some space"), "{}", output.stderr);
    sandbox.run(["restore", "--target", "../disk/copy"]).expect_code(1);
    assert!(files_below(&disk.0).is_empty(), "{:?}", files_below(&disk.0));
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let sandbox = Sandbox::new();
    sandbox.write("big", noise(1, 8 << 20));
    for number in 0..300 {
        sandbox.write(format!("{number}-{}", "n".repeat(200)), "");
    }
    sandbox.ok(["add", "-A"]);
    let message = "long message\n".repeat(20_000);
    sandbox.feed(message.as_bytes(), ["commit", "-F", "-"]).expect_code(0);
    for args in [&["get", "big"][..], &["ls"], &["ls", "--json"], &["log"], &["status", "-z"]] {
        let mut command = sandbox.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut start = [0; 10];
        let _ = child.stdout.take().unwrap().read(&mut start).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn every_command_that_lists_ends_quietly_when_nobody_reads() {
    let sandbox = with_two_packs();
    sandbox.ok(["tag", "v1"]);
    sandbox.write("first", "changed");
    sandbox.ok(["stash"]);
    sandbox.write("first", "changed again");
    sandbox.write("new", "n");
    let user = "../home/config/digstore/config.toml";
    sandbox.write(user, "[alias]\nst2 = 'status -s'\nsh = '!echo x'\n");
    for args in [
        &["add", "-n", "-A"][..],
        &["branch"],
        &["check-ignore", "-v", "-n", "first"],
        &["clean", "-n"],
        &["completion", "bash"],
        &["config", "list"],
        &["config", "get", "performance.batch_size"],
        &["diff"],
        &["diff", "--stat"],
        &["diff", "--name-status", "HEAD"],
        &["export", "tar"],
        &["get", "first"],
        &["help", "log"],
        &["help", "st2"],
        &["log"],
        &["log", "--graph", "--stat", "-p"],
        &["log", "--format=%H"],
        &["ls", "-l"],
        &["ls", "-s", "HEAD"],
        &["man"],
        &["merge-base", "HEAD", "HEAD"],
        &["op", "log"],
        &["op", "show"],
        &["reset", "-n", "--hard"],
        &["show"],
        &["stash", "list"],
        &["stash", "show"],
        &["status"],
        &["st2"],
        &["store", "size", "--efficiency"],
        &["store", "stats"],
        &["store", "stats", "--performance"],
        &["tag"],
        &["undo", "-n"],
        &["debug", "plan"],
    ] {
        for json in [&[][..], &["--json"]] {
            if args[0] == "help" && !json.is_empty() {
                continue; // It takes the names of commands only.
            }
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let args = [args, json].concat();
            let output = Output::of(sandbox.command(&args).stdout(writer));
            assert!(!output.stderr.contains("error"), "{args:?}: {output:?}");
            assert_eq!(output.code, 0, "{args:?}: {output:?}");
        }
    }
}

#[test]
fn the_nearest_name_is_told_wherever_one_is_unknown() {
    let sandbox = with_two_packs();
    sandbox.ok(["branch", "topic"]);
    sandbox.ok(["tag", "version"]);
    sandbox.write("loose", "");
    for (line, nearest) in [
        ("switch topci", "topic"),
        ("branch -d topci", "topic"),
        ("branch -m topci new", "topic"),
        ("branch new topci", "topic"),
        ("tag -d versoin", "version"),
        ("tag new topci", "topic"),
        ("merge topci", "topic"),
        ("merge-base topci HEAD", "topic"),
        ("cherry-pick topci", "topic"),
        ("revert topci", "topic"),
        ("reset topci", "topic"),
        ("show topci", "topic"),
        ("log topci", "topic"),
        ("log main..topci", "topic"),
        ("diff topci", "topic"),
        ("ls -s topci", "topic"),
        ("restore -s topci .", "topic"),
        ("export tar topci", "topic"),
        ("get first@topci", "topic"),
        ("get frist", "first"),
        ("restore frist", "first"),
        ("rm frist", "first"),
        ("mv frist x", "first"),
        ("ls frist", "first"),
        ("log frist", "first"),
        ("diff frist", "first"),
        ("reset -- frist", "first"),
        ("add losoe", "loose"),
    ] {
        let told = sandbox.fails(20, line.split(' '));
        assert!(told.contains(&format!("hint: did you mean '{nearest}'?")), "{line}: {told}");
    }
}

#[test]
fn without_an_editor_nothing_is_recorded_and_nothing_lost() {
    let sandbox = with_two_packs();
    sandbox.write("first", "changed");
    sandbox.ok(["add", "-A"]);
    let before = sandbox.ok(["log", "--json"]).stdout;
    for editor in ["no-such-editor", "false", ":"] {
        for args in [&["commit"][..], &["commit", "--amend", "-m", ""], &["tag", "-a", "v1"]] {
            let mut command = sandbox.command(args);
            let output = Output::of(command.env("DIGSTORE_EDITOR", editor)).expect_code(1);
            assert!(
                output.stderr.starts_with("error: ") || editor == "no-such-editor",
                "{output:?}"
            );
            assert!(
                output.stderr.contains("hint: ") || output.stderr.contains("-m"),
                "{args:?}: {output:?}"
            );
        }
    }
    assert_eq!(sandbox.ok(["log", "--json"]).stdout, before);
    assert_eq!((sandbox.ok(["tag"]).text(), sandbox.status()), ("", vec!["M  first".to_owned()]));
}

#[test]
fn a_message_cannot_drive_the_terminal() {
    let sandbox = Sandbox::new();
    let message = "sub\x1b[31mject\x07 \u{9b}2J\n\nbody\r\n\u{202e}x\ty";
    sandbox.feed(message.as_bytes(), ["commit", "--allow-empty", "-F", "-"]).expect_code(0);
    sandbox.ok(["tag", "-a", "v1", "-m", message]);
    sandbox.write("a", "1");
    sandbox.ok(["add", "a"]);
    sandbox.ok(["stash", "push", "-m", "st\x1b[2Jash"]);
    // It is kept as it is, and shown without what a terminal would obey.
    let json = sandbox.ok(["log", "--json"]).json();
    assert_eq!(json["commits"][0]["message"], message);
    for args in [
        &["log"][..],
        &["log", "--oneline"],
        &["log", "--graph"],
        &["log", "--format=%s"],
        &["show"],
        &["show", "v1"],
        &["op", "log"],
        &["op", "show", "1"],
        &["tag", "-l", "-n"],
        &["branch", "-v"],
        &["stash", "list"],
        &["undo", "-n"],
        &["cherry-pick", "HEAD"],
    ] {
        let output = sandbox.run(args);
        let shown = [output.text(), output.stderr.as_str()].concat();
        assert!(
            !shown.contains(['\x1b', '\x07', '\u{9b}', '\u{202e}', '\r']),
            "{args:?}: {shown:?}"
        );
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let sandbox = with_two_packs();
    for args in [
        &["get", "first"][..],
        &["ls"],
        &["log"],
        &["log", "--json"],
        &["status"],
        &["store", "size"],
        &["--help"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Output::of(sandbox.command(args).stdout(full));
        if args == ["--help"] {
            assert!(!output.stderr.contains("panicked"));
            continue;
        }
        assert_eq!(output.code, 1, "{args:?}: {output:?}");
        assert!(output.stderr.contains("No space left on device"), "{}", output.stderr);
    }
    // Messages that nobody can read are no reason to stop.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    sandbox.write("new", "1");
    let mut command = sandbox.command(["add", "-A"]);
    assert!(command.stderr(full).status().unwrap().success());
    sandbox.commit("x");
}

// Signals.

fn signal(child: &Child, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_child(child), signal);
}

#[test]
fn an_interrupt_ends_add_in_good_order() {
    let sandbox = with_two_packs();
    let before = sandbox.snapshot();
    // Large on paper only, so that reading it takes long.
    sandbox.write("new", "1");
    fs::File::create(sandbox.path("huge")).unwrap().set_len(8 << 40).unwrap();
    for number in [Signal::INT, Signal::TERM] {
        let mut command = sandbox.command(["add", "-A"]);
        let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let sent = Instant::now();
        signal(&child, number);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    }
    sandbox.remove("huge");
    sandbox.ok(["store", "verify", "--data"]);
    assert_same(&before, &sandbox.restored("HEAD"));
    sandbox.save("x");
    assert!(files_below(&sandbox.path(".digstore/tmp")).is_empty());
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

#[test]
fn a_second_interrupt_ends_at_once_and_loses_nothing() {
    let sandbox = with_two_packs();
    let before = sandbox.snapshot();
    // Who waits for a pipe that nobody writes to cannot look whether it is to stop.
    let mut command = sandbox.command(["import", "tar", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let pipe = child.stdin.take();
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it did not wait for the pipe");
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(pipe);
    sandbox.ok(["store", "verify", "--data"]);
    assert_same(&before, &sandbox.restored("HEAD"));
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let sandbox = with_two_packs();
    for (name, number) in [("HUP", Signal::HUP), ("INT", Signal::INT), ("TERM", Signal::TERM)] {
        sandbox.write("new", noise(number.as_raw() as u64, 30 << 20));
        let script = format!("trap '' {name}; exec \"$0\" add -A");
        let mut command = Command::new("sh");
        sandbox.surround(&mut command);
        command.args(["-c", &script, env!("CARGO_BIN_EXE_digstore")]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Until then the shell may not ignore it yet.
        std::thread::sleep(Duration::from_millis(50));
        while child.try_wait().unwrap().is_none() {
            signal(&child, number);
            std::thread::sleep(Duration::from_millis(1));
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
    sandbox.save("x");
    assert_same(&sandbox.snapshot(), &sandbox.restored("HEAD"));
}

/// Starts a command and kills it after `delay`; returns what it wrote to stdout, and whether the
/// kill came in time.
fn killed_after(sandbox: &Sandbox, args: &[&str], delay: Duration) -> (String, bool) {
    let mut command = sandbox.command(args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    signal(&child, Signal::KILL);
    let output = child.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.signal().is_some())
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_reported() {
    let sandbox = Sandbox::new();
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut reported: Vec<(String, Tree)> = Vec::new();
    let (mut kills, mut add_time, mut commit_time) = (0, 40_000, 10_000);
    for round in 0..14 {
        sandbox.write("large", noise(round, 3 << 20));
        for file in 0..40 {
            sandbox.write(format!("dir{}/{file}", file % 5), noise(round * 100 + file, 3000));
        }
        let delay = Duration::from_micros(dice.roll() % add_time);
        kills += u32::from(killed_after(&sandbox, &["add", "-A"], delay).1);
        // Nothing needs to be unlocked, and all that is there is sound.
        sandbox.ok(["status"]);
        sandbox.ok(["store", "verify", "--data"]);
        let started = Instant::now();
        sandbox.ok(["add", "-A"]);
        if round == 0 {
            add_time = (started.elapsed().as_micros() as u64 * 5 / 4).max(add_time / 4);
        }
        assert!(files_below(&sandbox.path(".digstore/tmp")).is_empty(), "swept");
        let tree = sandbox.snapshot();
        let delay = Duration::from_micros(dice.roll() % commit_time);
        let (said, killed) = killed_after(&sandbox, &["commit", "-m", "x"], delay);
        kills += u32::from(killed);
        if let Some(id) = said.strip_prefix("committed ").and_then(|rest| rest.strip_suffix('\n')) {
            reported.push((id.to_owned(), tree.clone()));
        }
        sandbox.ok(["store", "verify", "--data"]);
        sandbox.run(["log", "--oneline"]);
        if round % 5 == 0 {
            let started = Instant::now();
            let id = {
                let output = sandbox
                    .run(["commit", "-m", "again", "--allow-empty", "--json"])
                    .expect_code(0);
                output.json()["id"].as_str().unwrap().to_owned()
            };
            commit_time = (started.elapsed().as_micros() as u64 * 5 / 4).max(2000);
            reported.push((id, tree));
        }
    }
    assert!(kills >= 5, "only {kills} commands were killed in time");
    for (id, tree) in &reported {
        assert_same(tree, &sandbox.restored(id));
        sandbox.ok(["log", "-n", "1", id]);
    }
    assert!(fs::metadata(sandbox.path(".digstore/format")).unwrap().size() == 72);
}
