//! `store repair` killed on its way.

use std::fs;
use std::path::PathBuf;

use crate::common::{Dice, Sandbox, files_below, flip};
use crate::scene::{ACTS, Scene, copy_of};
use crate::{below, dice, setting, strace};

const REPAIR: &[&str] = &["store", "repair", "--apply"];
/// What a record of the log of operations begins with.
const FRAME: &[u8] = b"DOPF";
/// Kills in the repair of one damage.
const KILLS: usize = 12;

/// A copy with one file damaged, which one repair heals.
fn healable(scene: &Scene, dice: &mut Dice) -> (Sandbox, String) {
    loop {
        let sandbox = scene.copy();
        let files: Vec<PathBuf> = files_below(&sandbox.path(".digstore"))
            .into_iter()
            .filter(|file| fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0))
            .collect();
        let file = &files[below(dice, files.len())];
        let len = fs::metadata(file).unwrap().len();
        let at = dice.roll() % len;
        let what = match dice.roll() % 4 {
            0 => {
                fs::remove_file(file).unwrap();
                "removed".to_owned()
            }
            1 => {
                fs::OpenOptions::new().write(true).open(file).unwrap().set_len(at).unwrap();
                format!("cut off at {at}")
            }
            _ => {
                flip(file, usize::try_from(at).unwrap());
                format!("flipped at {at}")
            }
        };
        let is_found = sandbox.run(["store", "verify", "--data"]).code == 21;
        if is_found && copy_of(&sandbox).run(REPAIR).code == 0 {
            return (sandbox, format!("{} {what}", file.display()));
        }
    }
}

/// What differs from the last commit, and from what is staged.
fn staged(sandbox: &Sandbox) -> Vec<String> {
    let status = sandbox.ok(["status", "--porcelain"]);
    status.text().lines().map(str::to_owned).collect()
}

#[test]
fn a_staging_area_is_damaged_until_its_repair_is_done() {
    if !strace::is_there("repairs of the staging area that are killed") {
        return;
    }
    let scene = Scene::new(ACTS[1]);
    let was_staged = staged(&scene.copy());
    let damaged = scene.copy();
    flip(&damaged.path(".digstore/staging/base"), 20);
    for command in [REPAIR, &["store", "reset-staging"]] {
        let done = copy_of(&damaged);
        done.ok(command);
        let after = staged(&done);
        assert!(command != REPAIR || after == was_staged, "{after:?}");
        let syncs = strace::calls(&copy_of(&damaged), command)["fsync"];
        for number in 1..=syncs {
            let sandbox = copy_of(&damaged);
            strace::inject(&sandbox, &format!("fsync:signal=SIGKILL:when={number}"), command);
            if sandbox.run(["status", "--porcelain"]).code != 0 {
                sandbox.ok(command);
            }
            assert_eq!(staged(&sandbox), after, "{command:?}, sync {number} of {syncs}");
        }
    }
}

#[test]
fn a_repair_that_is_killed_is_finished_by_the_next() {
    if !strace::is_there("repairs that are killed") {
        return;
    }
    let (mut dice, seed) = dice();
    let target = setting("DIGSTORE_REPAIRS", 12) as usize;
    let scene = Scene::new(ACTS[1]);
    let was_staged = staged(&scene.copy());
    let (mut runs, mut hits) = (0, 0);
    while runs < target {
        let (damaged, what) = healable(&scene, &mut dice);
        let calls: Vec<_> = strace::calls(&copy_of(&damaged), REPAIR).into_iter().collect();
        for _ in 0..KILLS.min(target - runs) {
            let (call, count) = &calls[below(&mut dice, calls.len())];
            let number = below(&mut dice, *count) + 1;
            let at = format!("{what}, {call}:signal=SIGKILL:when={number}");
            let sandbox = copy_of(&damaged);
            let inject = format!("{call}:signal=SIGKILL:when={number}");
            let (_, killed) = strace::inject(&sandbox, &inject, REPAIR);
            let again = sandbox.run(REPAIR);
            assert_eq!(again.code, 0, "{at}: {again:#?}");
            assert_eq!(staged(&sandbox), was_staged, "{at}");
            scene.check(&sandbox, &again, &at);
            (runs, hits) = (runs + 1, hits + usize::from(killed));
        }
    }
    println!("rig: repairs that are killed: runs={runs} killed={hits} seed={seed}");
}

/// A `reset --hard` killed when it was about to write the work tree, four commits behind it, and a file
/// that is staged nowhere.
fn killed_on_its_way() -> Sandbox {
    let sandbox = Sandbox::new();
    for number in 0..4 {
        sandbox.write("a", number.to_string());
        sandbox.write(format!("d{number}/b"), "b");
        sandbox.save("x");
    }
    sandbox.write("a", "unsaved");
    let reset = ["reset", "--hard", "HEAD~2"];
    let syncs = strace::calls(&copy_of(&sandbox), &reset)["fsync"];
    for number in 1..=syncs {
        let copy = copy_of(&sandbox);
        strace::inject(&copy, &format!("fsync:signal=SIGKILL:when={number}"), &reset);
        let moved = copy.read("a") != b"unsaved";
        if moved && copy.path(".digstore/moving").exists() {
            return copy;
        }
    }
    panic!("no sync came between the first file and the record");
}

#[test]
fn a_lost_tree_of_an_unfinished_command_stops_no_other() {
    if !strace::is_there("a damaged tree behind a kill") {
        return;
    }
    let sandbox = killed_on_its_way();
    let trees = sandbox.packs(2);
    for pack in &trees {
        let copy = copy_of(&sandbox);
        fs::remove_file(copy.path(pack.strip_prefix(&sandbox.work).unwrap())).unwrap();
        copy.run(REPAIR);
        copy.write("new", "n");
        copy.ok(["add", "new"]);
        // What is staged can be committed, if the commit before it is there.
        let committed = copy.run(["commit", "-m", "new"]);
        assert!(matches!(committed.code, 0 | 21), "{}: {committed:?}", pack.display());
        if committed.code == 0 {
            copy.restored("HEAD");
        }
    }
}

#[test]
fn a_log_that_begins_anew_forgets_no_command_that_did_not_finish() {
    if !strace::is_there("a lost log behind a kill") {
        return;
    }
    let killed = killed_on_its_way();
    fs::remove_file(killed.path(".digstore/operations")).unwrap();
    for first in [REPAIR, &["commit", "--allow-empty", "-m", "x"]] {
        let sandbox = copy_of(&killed);
        sandbox.ok(first);
        let log = sandbox.ok(["op", "log"]);
        assert!(log.text().contains("not finished"), "{log:?}");
        // What it had kept is named there; it is not entered again.
        for _ in 0..12 {
            sandbox.ok(["commit", "--allow-empty", "-m", "x"]);
        }
        sandbox.ok(["gc", "--now"]);
        sandbox.ok(["store", "verify", "--data"]);
        let after = sandbox.ok(["op", "log"]);
        assert_eq!(after.text().lines().count(), log.text().lines().count() + 12, "{after:?}");
    }
}

#[test]
fn a_mended_log_still_knows_the_command_that_did_not_finish() {
    if !strace::is_there("a damaged log behind a kill") {
        return;
    }
    for lost in 1..4 {
        let sandbox = killed_on_its_way();
        let log = sandbox.path(".digstore/operations");
        let bytes = fs::read(&log).unwrap();
        let frames: Vec<usize> = bytes
            .windows(FRAME.len())
            .enumerate()
            .filter_map(|(at, window)| (window == FRAME).then_some(at))
            .collect();
        frames[1..=lost].iter().for_each(|at| flip(&log, at + 30));
        sandbox.ok(REPAIR);
        sandbox.ok(["undo", "-f"]);
        assert_eq!(sandbox.read("a"), b"unsaved", "{lost} lost");
    }
}
