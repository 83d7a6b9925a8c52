//! `digstore gc`: what is of no use goes, to the byte, and nothing else, whenever it is killed and
//! whatever runs beside it.

#![expect(clippy::unwrap_used, reason = "a failed test says so")]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Dice, Sandbox, Tree, assert_same, files_below, noise, text};
use serde_json::Value;

/// Forget what could be undone.
const FORGET: [&str; 4] = ["--config", "gc.keep_days=0", "--config", "gc.keep_operations=0"];

fn gc(sandbox: &Sandbox, args: &[&str]) -> Value {
    sandbox.ok([&["gc", "--json"], args].concat()).json()
}

fn gc_all(sandbox: &Sandbox, args: &[&str]) -> Value {
    gc(sandbox, &[&FORGET, args].concat())
}

/// Bytes of the packs and of the log of operations.
fn stored_bytes(sandbox: &Sandbox) -> i64 {
    let packs = files_below(&sandbox.path(".digstore/packs"));
    let files = packs.into_iter().chain([sandbox.path(".digstore/operations")]);
    files.map(|file| file.metadata().unwrap().len() as i64).sum()
}

fn holds(sandbox: &Sandbox, marker: &[u8]) -> Vec<PathBuf> {
    let mut found = files_below(&sandbox.path(".digstore"));
    found.retain(|file| {
        std::fs::read(file).unwrap().windows(marker.len()).any(|bytes| bytes == marker)
    });
    found
}

/// Checks everything, the bytes too.
#[track_caller]
fn verify(sandbox: &Sandbox) {
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn what_nothing_reaches_is_freed_to_the_byte() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 300_000));
    sandbox.save("kept");
    sandbox.ok(["switch", "-c", "other"]);
    sandbox.write("gone", noise(2, 500_000));
    sandbox.save("gone");
    sandbox.ok(["switch", "main"]);
    sandbox.ok(["branch", "-D", "other"]);
    let marker = noise(2, 64);
    assert_eq!(holds(&sandbox, &marker).len(), 1);
    // What can be undone stays.
    let report = gc(&sandbox, &["--now"]);
    assert_eq!((&report["removed"], &report["expired"]), (&0.into(), &0.into()));
    assert_eq!(holds(&sandbox, &marker).len(), 1);
    sandbox.ok(["undo"]);
    sandbox.ok(["redo"]);

    let before = stored_bytes(&sandbox);
    let planned = gc_all(&sandbox, &["--now", "-n"]);
    assert_eq!(stored_bytes(&sandbox), before);
    let done = gc_all(&sandbox, &["--now"]);
    let freed = before - stored_bytes(&sandbox);
    assert_eq!(done["freed_bytes"], freed);
    assert_eq!(planned["freed_bytes"], freed);
    assert!(freed > 500_000, "{done:#}");
    assert!(holds(&sandbox, &marker).is_empty());
    verify(&sandbox);
    sandbox.ok(["get", "kept"]);
    let again = gc_all(&sandbox, &["--now"]);
    assert_eq!(again["freed_bytes"], 0, "{again:#}");
    sandbox.fails(20, ["log", "other"]);
}

#[test]
fn what_is_condemned_waits_and_can_be_rescued() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 300_000));
    sandbox.save("kept");
    sandbox.write("gone", noise(2, 500_000));
    let lost = sandbox.save("gone");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let report = gc_all(&sandbox, &[]);
    assert_eq!(report["removed"], 0, "{report:#}");
    assert!(report["condemned"].as_u64().unwrap() > 0);
    assert!(report["condemned_bytes"].as_u64().unwrap() > 500_000);
    assert!(report["due"].is_string());
    verify(&sandbox);
    // It is read by its id, and what is stored again is stored anew.
    assert_eq!(sandbox.restored(&lost).len(), 2);
    let before = stored_bytes(&sandbox);
    sandbox.write("back", noise(2, 500_000));
    sandbox.save("back");
    assert!(stored_bytes(&sandbox) - before > 500_000);
    // A branch rescues the rest.
    sandbox.ok(["branch", "rescued", &lost]);
    let report = gc_all(&sandbox, &["--now"]);
    assert!(report["removed_bytes"].as_u64().unwrap() > 500_000, "{report:#}");
    assert_eq!(sandbox.restored(&lost).len(), 2);
    sandbox.ok(["switch", "rescued"]);
    sandbox.write("more", "more");
    sandbox.save("more");
    verify(&sandbox);
    let again = gc_all(&sandbox, &["--now"]);
    assert_eq!(again["condemned"], 0);
    verify(&sandbox);
}

#[test]
fn what_is_not_whole_any_more_is_not_rescued() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 300_000));
    sandbox.save("kept");
    sandbox.write("gone", noise(2, 500_000));
    let lost = sandbox.save("gone");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    gc_all(&sandbox, &[]);
    // As where a run was killed that removed it.
    std::fs::remove_file(&holds(&sandbox, &noise(2, 64))[0]).unwrap();
    for args in [&["branch", "rescued", &lost][..], &["tag", "t", &lost], &["reset", &lost]] {
        assert!(sandbox.fails(21, args).contains("missing"), "{args:?}");
    }
    assert_eq!(sandbox.restored("HEAD").len(), 1);
    gc_all(&sandbox, &["--now"]);
    verify(&sandbox);
}

#[test]
fn what_was_rescued_can_be_worked_with() {
    let sandbox = Sandbox::new();
    sandbox.write("base", "base");
    sandbox.save("base");
    for number in 0..900 {
        sandbox.write(format!("d/{number:03}"), format!("{number}"));
    }
    let lost = sandbox.save("many");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    assert!(gc_all(&sandbox, &[])["condemned"].as_u64().unwrap() > 0);
    sandbox.ok(["switch", "-c", "rescued", &lost]);
    sandbox.write("d/500", "changed");
    sandbox.ok(["stash", "push"]);
    sandbox.ok(["stash", "pop"]);
    sandbox.save("changed");
    sandbox.ok(["switch", "main"]);
    sandbox.write("main", "main");
    sandbox.save("main");
    sandbox.ok(["merge", "rescued", "-m", "merged"]);
    let expected = sandbox.snapshot();
    gc_all(&sandbox, &["--now"]);
    verify(&sandbox);
    assert_same(&expected, &sandbox.restored("HEAD"));
    assert_eq!(sandbox.restored(&lost).len(), 901);
}

#[test]
fn no_clock_endangers_anything() {
    let sandbox = Sandbox::new();
    sandbox.write("a", noise(1, 200_000));
    sandbox.save("a");
    sandbox.write("b", noise(2, 200_000));
    sandbox.save("b");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let hours = |hours: &str| format!("gc.grace_hours={hours}");
    // Condemned, and due ten years from now: as a clock would have it that went back ten years.
    let late = hours("87600");
    assert_eq!(gc_all(&sandbox, &["--config", &late])["removed"], 0);
    assert_eq!(gc_all(&sandbox, &["--config", &late])["removed"], 0);
    // The clock goes forward past all time of grace: what is in use stays.
    sandbox.ok(["branch", "b", "main"]);
    let report = gc_all(&sandbox, &["--config", &hours("0")]);
    assert!(report["removed"].as_u64().unwrap() > 0);
    verify(&sandbox);
    sandbox.ok(["get", "a"]);
    assert_eq!(sandbox.fails(20, ["get", "b"]).lines().count(), 1);
}

#[test]
fn sparse_packs_are_written_anew_and_dense_ones_stay() {
    let sandbox = Sandbox::new();
    for number in 0..40 {
        sandbox.write(format!("f/{number:02}"), text(number, 60_000));
        sandbox.write(format!("n/{number:02}"), noise(number, 60_000));
    }
    sandbox.save("all");
    for number in 0..4 {
        sandbox.remove(format!("n/{number:02}"));
    }
    sandbox.ok(["add", "-A"]);
    sandbox.ok(["commit", "--amend", "-m", "most"]);
    let expected = sandbox.snapshot();
    let report = gc_all(&sandbox, &["--now", "--config", "gc.sparse_percent=50"]);
    assert_eq!(sandbox.packs(1).len(), 1, "{report:#}");
    assert_eq!(holds(&sandbox, &noise(0, 64)).len(), 1);
    let before = stored_bytes(&sandbox);
    let planned = gc_all(&sandbox, &["--now", "--thorough", "-n"]);
    let done = gc_all(&sandbox, &["--now", "--thorough"]);
    assert!(done["repacked"].as_u64().unwrap() >= 1, "{done:#}");
    assert_eq!(done["freed_bytes"], before - stored_bytes(&sandbox));
    assert_eq!(planned["freed_bytes"], done["freed_bytes"]);
    assert!(holds(&sandbox, &noise(0, 64)).is_empty());
    verify(&sandbox);
    assert_same(&expected, &sandbox.restored("HEAD"));
}

/// Commits of a random history that branches, tags or stashes still reach, and what each holds.
struct History {
    sandbox: Sandbox,
    dice: Dice,
    branches: Vec<String>,
    count: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("start", "start");
        sandbox.save("start");
        Self { sandbox, dice: Dice::new(seed), branches: vec!["main".to_owned()], count: 0 }
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.dice.roll() % below
    }

    fn change(&mut self) {
        for _ in 0..=self.roll(4) {
            let (file, seed) = (self.roll(12), self.roll(1000));
            let len = self.roll(200_000) as usize;
            let bytes = if self.roll(2) == 0 { text(seed, len) } else { noise(seed, len) };
            match self.roll(4) {
                0 => self.sandbox.remove(format!("d{}/{file}", file % 3)),
                _ => self.sandbox.write(format!("d{}/{file}", file % 3), bytes),
            }
        }
    }

    fn step(&mut self) {
        self.count += 1;
        let name = format!("b{}", self.count);
        match self.roll(9) {
            0 => {
                self.sandbox.run(["switch", "-c", &name]);
            }
            1 | 2 if self.branches.len() > 1 => {
                // Where an undo went back to before the first commit, there is no such branch.
                if self.sandbox.run(["switch", "-f", &self.branches[0]]).code == 0 {
                    let at = 1 + self.roll(self.branches.len() as u64 - 1) as usize;
                    self.sandbox.ok(["branch", "-D", &self.branches.remove(at)]);
                }
            }
            3 => {
                self.change();
                self.sandbox.run(["commit", "-a", "--amend", "-m", "amended"]);
            }
            4 => {
                self.change();
                self.sandbox.run(["stash", "push"]);
            }
            5 => {
                self.sandbox.run(["stash", "drop"]);
            }
            6 => {
                self.sandbox.run(["undo"]);
            }
            _ => {
                self.change();
                self.sandbox.run(["add", "-A"]);
                self.sandbox.run(["commit", "-m", &name]);
            }
        }
        let listed = self.sandbox.ok(["branch", "--json"]).json();
        let names = listed["branches"].as_array().unwrap().iter();
        self.branches = names.map(|branch| branch["name"].as_str().unwrap().to_owned()).collect();
        self.branches.sort_by_key(|name| name != "main");
    }

    fn reachable(&self) -> BTreeMap<String, Tree> {
        let log = self.sandbox.ok(["log", "--all", "--json"]).json();
        let mut ids: Vec<String> = log["commits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|commit| commit["id"].as_str().unwrap().to_owned())
            .collect();
        let stashes = self.sandbox.ok(["stash", "list", "--json"]).json();
        ids.extend(
            stashes["stashes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|stash| stash["id"].as_str().unwrap().to_owned()),
        );
        ids.into_iter().map(|id| (id.clone(), self.sandbox.restored(&id))).collect()
    }

    fn check(&self, expected: &BTreeMap<String, Tree>) {
        verify(&self.sandbox);
        for (id, tree) in expected {
            assert_same(tree, &self.sandbox.restored(id));
        }
    }
}

/// Says which seed a history had, where the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            // A second panic would hide the first one; this is the way of tests to say more.
            let _ = std::io::stderr().write_all(format!("the seed is {seed}\n").as_bytes());
        }
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let random = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    [1, 2, random.as_nanos() as u64].into_iter()
}

#[test]
fn whatever_is_reachable_survives_random_histories() {
    for seed in seeds() {
        let _shown = Seed(seed);
        let mut history = History::new(seed);
        for round in 0..3 {
            for _ in 0..12 {
                history.step();
            }
            let expected = history.reachable();
            let sandbox = &history.sandbox;
            let status = sandbox.status();
            let before = stored_bytes(sandbox);
            let args: &[&str] = [&["--now"][..], &[], &["--now", "--thorough"]][round];
            let keep = ["--config", "gc.keep_days=0", "--config", "gc.keep_operations=4"];
            let args = [&keep[..], args].concat();
            let planned = gc(sandbox, &[&args[..], &["-n"]].concat());
            let done = gc(sandbox, &args);
            assert_eq!(done["freed_bytes"], before - stored_bytes(sandbox), "{done:#}");
            assert_eq!(planned["freed_bytes"], done["freed_bytes"], "{planned:#}");
            history.check(&expected);
            assert_eq!(sandbox.status(), status);
            // What is left of the log can be undone and done again.
            for word in ["undo", "redo"] {
                let output = sandbox.run([word, "--force"]);
                assert!(output.code == 0 || output.stderr.contains("nothing to"), "{output:?}");
            }
        }
    }
}

#[test]
fn a_killed_run_loses_nothing_and_the_next_goes_on() {
    let mut history = History::new(7);
    let mut kills = 0;
    for round in 0..40u64 {
        history.step();
        history.change();
        let expected = history.reachable();
        let sandbox = &history.sandbox;
        let thorough: &[&str] = if round % 2 == 0 { &["--thorough"] } else { &[] };
        let args = [&["gc", "--now"], &FORGET[..], thorough].concat();
        let mut child = sandbox.command(args).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(round * 1000));
        child.kill().unwrap();
        kills += u64::from(child.wait().unwrap().code().is_none());
        history.check(&expected);
    }
    assert!(kills > 5, "only {kills} runs were killed");
    let expected = history.reachable();
    gc_all(&history.sandbox, &["--now", "--thorough"]);
    let left = gc_all(&history.sandbox, &["--now", "--thorough"]);
    assert_eq!((&left["freed_bytes"], &left["condemned"]), (&0.into(), &0.into()), "{left:#}");
    history.check(&expected);
}

#[test]
fn readers_keep_what_they_read() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", "kept");
    sandbox.save("kept");
    sandbox.write("big", noise(1, 30_000_000));
    let lost = sandbox.save("big");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let mut reader =
        sandbox.command(["get", &format!("big@{lost}")]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = reader.stdout.take().unwrap();
    let mut bytes = vec![0; 1000];
    std::io::Read::read_exact(&mut stdout, &mut bytes).unwrap();
    let report = gc_all(&sandbox, &["--now"]);
    assert_eq!((&report["removed"], &report["in_use"]), (&0.into(), &true.into()), "{report:#}");
    assert!(report["condemned_bytes"].as_u64().unwrap() > 30_000_000);
    std::io::Read::read_to_end(&mut stdout, &mut bytes).unwrap();
    assert_eq!(bytes, noise(1, 30_000_000));
    assert!(reader.wait().unwrap().success());
    let report = gc_all(&sandbox, &["--now"]);
    assert!(report["removed_bytes"].as_u64().unwrap() > 30_000_000, "{report:#}");
    sandbox.fails(20, ["get", &format!("big@{lost}")]);
}

/// What runs beside the writer: a run of `gc`, whole or killed, and commands that read.
fn beside(sandbox: &Sandbox, number: u64, dice: &mut Dice) {
    let thorough: &[&str] = if dice.roll() % 2 == 0 { &["--thorough"] } else { &[] };
    let now: &[&str] = if dice.roll() % 4 == 0 { &[] } else { &["--now"] };
    let args = [&["gc"], &FORGET[..], thorough, now].concat();
    match number {
        0 => {
            let output = sandbox.run(args);
            assert!(matches!(output.code, 0 | 11), "{output:?}");
        }
        1 => {
            let mut child = sandbox.command(args).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(dice.roll() % 30_000));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        2 => {
            let output = sandbox.run(["get", "start@main"]);
            assert_eq!((output.code, &output.stdout[..]), (0, &b"start"[..]), "{output:?}");
        }
        _ => assert!(sandbox.restored("main").contains_key(OsStr::new("start"))),
    }
}

/// Runs `gc` beside a writer and readers, while the writer makes so many rounds.
fn stays_whole_beside(rounds: u64) {
    let sandbox = Sandbox::new();
    sandbox.write("start", "start");
    sandbox.save("start");
    let is_over = AtomicBool::new(false);
    let (sandbox, is_over) = (&sandbox, &is_over);
    std::thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || {
                let _over = Over(is_over);
                let mut dice = Dice::new(number);
                while !is_over.load(Ordering::Relaxed) {
                    beside(sandbox, number, &mut dice);
                }
            });
        }
        let retry = |args: &[&str]| {
            loop {
                let output = sandbox.run(args);
                match output.code {
                    11 => std::thread::sleep(Duration::from_millis(5)),
                    0 => return,
                    // Nothing to undo, to put aside or to bring back.
                    1 | 20 if matches!(args[0], "undo" | "stash") => return,
                    _ => panic!("{args:?}: {output:?}"),
                }
            }
        };
        let _over = Over(is_over);
        let mut dice = Dice::new(3);
        for round in (0..rounds).take_while(|_| !is_over.load(Ordering::Relaxed)) {
            // The same contents come and go, so that what is condemned is wanted again.
            for number in 0..=dice.roll() % 8 {
                let bytes = noise(dice.roll() % 4, 1000 << (dice.roll() % 9));
                sandbox.write(format!("d{}/f{number}", dice.roll() % 3), bytes);
            }
            retry(&["add", "-A"]);
            retry(&["commit", "--allow-empty", "-m", "x"]);
            match dice.roll() % 6 {
                0 | 1 => retry(&["reset", "--soft", "HEAD~1"]),
                2 => {
                    sandbox.write("stashed", noise(dice.roll() % 4, 150_000));
                    retry(&["stash", "push", "-u"]);
                    retry(&["stash", if dice.roll() % 2 == 0 { "drop" } else { "pop" }]);
                }
                3 => retry(&["undo", "--force"]),
                _ => {}
            }
            if round % 50 == 49 {
                verify(sandbox);
            }
        }
    });
    verify(sandbox);
    gc_all(sandbox, &["--now"]);
    verify(sandbox);
    assert_same(&sandbox.snapshot(), &{
        sandbox.ok(["add", "-A"]);
        sandbox.ok(["commit", "--allow-empty", "-m", "last"]);
        sandbox.restored("HEAD")
    });
}

/// Ends the other threads with this one, also where it panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn beside_writers_and_readers_everything_stays_whole() {
    stays_whole_beside(20);
}

#[test]
#[ignore = "takes minutes: DIGSTORE_GC_ROUNDS says how many"]
fn beside_writers_and_readers_everything_stays_whole_for_long() {
    let rounds = std::env::var("DIGSTORE_GC_ROUNDS").ok();
    stays_whole_beside(rounds.map_or(1000, |rounds| rounds.parse().unwrap()));
}

#[test]
fn old_operations_expire_and_the_rest_can_be_undone() {
    let sandbox = Sandbox::new();
    for number in 0..10 {
        sandbox.write("f", text(number, 50_000));
        sandbox.save(&format!("c{number}"));
    }
    let keep = ["--config", "gc.keep_days=0", "--config", "gc.keep_operations=5"];
    let report = gc(&sandbox, &[&keep[..], &["--now"]].concat());
    assert_eq!(report["expired"], 15);
    let log = sandbox.ok(["op", "log", "--json"]).json();
    let numbers: Vec<_> = log["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| operation["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [20, 19, 18, 17, 16]);
    assert!(sandbox.ok(["op", "log"]).stderr.contains("15 older operations expired"));
    assert!(sandbox.fails(20, ["op", "show", "3"]).contains("operation 3 has expired"));
    assert!(sandbox.fails(20, ["op", "restore", "0"]).contains("expired"));
    assert!(sandbox.fails(20, ["log", "--at-op", "2"]).contains("expired"));
    sandbox.ok(["log", "--at-op", "15"]);
    for _ in 0..5 {
        sandbox.ok(["undo"]);
    }
    assert!(sandbox.fails(1, ["undo"]).contains("nothing to undo"));
    sandbox.ok(["op", "restore", "15"]);
    for _ in 0..2 {
        sandbox.run(["redo"]);
    }
    sandbox.ok(["op", "restore", "20"]);
    assert_eq!(sandbox.read("f"), text(9, 50_000));
    verify(&sandbox);
}

#[test]
fn what_is_staged_and_what_waits_to_be_merged_stays() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "base\n");
    sandbox.save("base");
    sandbox.ok(["switch", "-c", "side"]);
    sandbox.write("f", "theirs\n");
    sandbox.write("binary", noise(4, 100_000));
    sandbox.save("side");
    sandbox.ok(["switch", "main"]);
    sandbox.write("f", "ours\n");
    sandbox.save("ours");
    sandbox.fails(1, ["merge", "side"]);
    sandbox.ok(["branch", "-D", "side"]);
    sandbox.write("staged", noise(5, 100_000));
    sandbox.ok(["add", "staged"]);
    gc_all(&sandbox, &["--now", "--thorough"]);
    verify(&sandbox);
    sandbox.write("f", "both\n");
    sandbox.ok(["add", "f"]);
    let id = sandbox.commit("merged");
    assert_same(&sandbox.snapshot(), &sandbox.restored(&id));
}

#[test]
fn damage_ends_it_before_anything_goes() {
    let sandbox = Sandbox::new();
    sandbox.write("d/f", noise(1, 100_000));
    sandbox.save("one");
    sandbox.write("d/f", noise(2, 100_000));
    sandbox.save("two");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let before = files_below(&sandbox.path(".digstore/packs"));
    let lost = sandbox.packs(2).into_iter().next().unwrap();
    let bytes = std::fs::read(&lost).unwrap();
    for pack in sandbox.packs(2) {
        common::flip(&pack, 100);
    }
    let args = [&["gc", "--now"], &FORGET[..]].concat();
    sandbox.fails(21, &args);
    assert_eq!(files_below(&sandbox.path(".digstore/packs")), before);
    for pack in sandbox.packs(2) {
        common::flip(&pack, 100);
    }
    assert_eq!(std::fs::read(&lost).unwrap(), bytes);
    // A damaged list stops writers, not readers, and the next run makes a new one.
    sandbox.ok(&args);
    sandbox.ok(["reset", "--hard", "main"]);
    let list = sandbox.path(".digstore/condemned");
    common::overwrite(&list, b"nonsense");
    sandbox.ok(["get", "d/f"]);
    sandbox.write("new", "new");
    assert!(sandbox.fails(21, ["add", "-A"]).contains("digstore gc"));
    sandbox.ok(["gc"]);
    sandbox.ok(["add", "-A"]);
    verify(&sandbox);
}

/// The packs that a run made.
fn new_packs(sandbox: &Sandbox, run: impl FnOnce()) -> Vec<PathBuf> {
    let before = files_below(&sandbox.path(".digstore/packs"));
    run();
    let mut packs = files_below(&sandbox.path(".digstore/packs"));
    packs.retain(|pack| !before.contains(pack));
    packs
}

#[test]
fn a_pack_that_cannot_be_opened_keeps_everything() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 100_000));
    sandbox.save("kept");
    let metas = new_packs(&sandbox, || {
        sandbox.write("gone", noise(2, 100_000));
        sandbox.save("gone");
    });
    let metas: Vec<_> = metas.into_iter().filter(|pack| sandbox.packs(2).contains(pack)).collect();
    assert!(!metas.is_empty());
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let last = |pack: &PathBuf| pack.metadata().unwrap().len() as usize - 1;
    for pack in &metas {
        common::flip(pack, last(pack));
    }
    // A repair brings these trees back. They would count as stored, with chunks below them that are
    // gone.
    let before = files_below(&sandbox.path(".digstore/packs"));
    let log = std::fs::read(sandbox.path(".digstore/operations")).unwrap();
    for args in [&["--now"][..], &["--now", "-n"], &[]] {
        let error = sandbox.fails(21, [&["gc"], &FORGET[..], args].concat());
        assert!(error.contains("store repair"), "{error}");
    }
    assert_eq!(files_below(&sandbox.path(".digstore/packs")), before);
    assert!(sandbox.fails(21, ["obliterate", "--yes", "kept"]).contains("store repair"));
    assert_eq!(std::fs::read(sandbox.path(".digstore/operations")).unwrap(), log);
    sandbox.ok(["store", "repair", "--apply"]);
    verify(&sandbox);
    gc_all(&sandbox, &["--now"]);
    verify(&sandbox);
    assert!(holds(&sandbox, &noise(2, 64)).is_empty());
}

#[test]
fn a_ref_that_is_damaged_or_missing_keeps_everything() {
    for is_missing in [true, false] {
        let sandbox = Sandbox::new();
        sandbox.write("kept", noise(1, 100_000));
        sandbox.save("kept");
        sandbox.ok(["switch", "-c", "side"]);
        sandbox.write("side", noise(2, 100_000));
        let side = sandbox.save("side");
        sandbox.ok(["switch", "main"]);
        let file = sandbox.path(".digstore/refs/heads/side");
        if is_missing {
            std::fs::remove_file(&file).unwrap();
        } else {
            common::flip(&file, 20);
        }
        for args in [&["--now"][..], &["--now", "-n"], &[]] {
            sandbox.fails(21, [&["gc"], &FORGET[..], args].concat());
        }
        // Also the log is there, by which it comes back.
        sandbox.ok(["store", "repair", "--apply"]);
        gc_all(&sandbox, &["--now"]);
        verify(&sandbox);
        assert_eq!(sandbox.restored("side"), sandbox.restored(&side));
        assert_eq!(sandbox.restored("side").len(), 2);
    }
}

#[test]
fn what_was_copied_is_found_among_many_packs() {
    let sandbox = Sandbox::new();
    for number in 0..30 {
        sandbox.write(format!("f{}", number % 7), noise(number, 30_000));
        sandbox.save(&format!("c{number}"));
        if number % 3 == 2 {
            sandbox.ok(["reset", "--soft", "HEAD~1"]);
        }
        if number % 10 == 9 {
            let args: &[&str] = if number == 19 { &[] } else { &["--now", "--thorough"] };
            gc_all(&sandbox, args);
            verify(&sandbox);
        }
    }
    assert_same(&sandbox.snapshot(), &{
        sandbox.save("last");
        sandbox.restored("HEAD")
    });
}

#[test]
fn verify_knows_what_is_condemned_and_what_only_operations_need() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", noise(1, 100_000));
    sandbox.save("kept");
    sandbox.write("gone", noise(2, 100_000));
    sandbox.save("gone");
    sandbox.ok(["reset", "--hard", "HEAD~1"]);
    let found = sandbox.packs(1);
    let holds_it = |pack: &&PathBuf| {
        std::fs::read(pack).unwrap().windows(64).any(|bytes| bytes == noise(2, 64))
    };
    let pack = found.iter().find(holds_it).unwrap().clone();
    common::flip(&pack, 5000);
    let problems = sandbox.run(["store", "verify", "--data"]).expect_code(21);
    assert!(problems.text().contains("operation"), "{problems:?}");
    // What no operation needs either harms nobody.
    gc_all(&sandbox, &[]);
    verify(&sandbox);
}

#[test]
fn an_index_that_lies_is_not_believed() {
    let sandbox = Sandbox::new();
    for number in 0..20 {
        sandbox.write("f", noise(number, 30_000));
        sandbox.save(&format!("c{number}"));
    }
    let index = files_below(&sandbox.path(".digstore/index")).pop().unwrap();
    let mut bytes = std::fs::read(&index).unwrap();
    // Every record names another pack, and the checksum is right.
    let packs = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as u32;
    let records = 48 + 32 * packs as usize;
    let end = bytes.len() - 8;
    for record in bytes[records..end].chunks_exact_mut(48) {
        let pack = u32::from_le_bytes(record[32..36].try_into().unwrap());
        record[32..36].copy_from_slice(&((pack + 1) % packs).to_le_bytes());
    }
    let sum = digstore::storage::format::bytes::checksum(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    common::overwrite(&index, &bytes);
    gc_all(&sandbox, &["--now"]);
    verify(&sandbox);
    sandbox.ok(["get", "f"]);
}

/// As `gc` does while it removes packs, for longer than anybody waits.
#[test]
fn who_did_not_see_what_went_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("kept", "kept");
    sandbox.save("kept");
    sandbox.write("new", "new");
    let readers = std::fs::File::open(sandbox.path(".digstore/readers")).unwrap();
    readers.lock().unwrap();
    sandbox.ok(["get", "kept"]);
    sandbox.fails(11, ["add", "-A"]);
    sandbox.fails(11, ["branch", "side"]);
    assert!(sandbox.fails(11, ["gc", "--now"]).contains("another digstore command"));
    readers.unlock().unwrap();
    // A repository of an older release has no such file; what needs two locks makes it once.
    std::fs::remove_file(sandbox.path(".digstore/readers")).unwrap();
    sandbox.ok(["get", "kept"]);
    sandbox.ok(["add", "-A"]);
    std::fs::remove_file(sandbox.path(".digstore/readers")).unwrap();
    sandbox.ok(["obliterate", "--yes", "kept"]);
    assert!(sandbox.path(".digstore/readers").exists());
    sandbox.ok(["gc", "--now"]);
    verify(&sandbox);
}

#[test]
fn another_command_keeps_it_out() {
    let sandbox = Sandbox::new();
    let lock =
        std::fs::OpenOptions::new().write(true).open(sandbox.path(".digstore/lock")).unwrap();
    lock.lock().unwrap();
    let error = sandbox.fails(11, ["gc"]);
    assert!(error.contains("another digstore command"), "{error}");
    drop(lock);
    let mut out = sandbox.ok(["gc"]).stderr.into_bytes();
    out.flush().unwrap();
    assert!(Path::new(&sandbox.path(".digstore/lock")).exists());
}
