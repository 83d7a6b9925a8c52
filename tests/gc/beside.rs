//! `gc` among random histories, killed, and beside other commands.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{Dice, Sandbox, Tree, assert_same, noise, text};
use crate::{FORGET, gc, gc_all, stored_bytes, verify};

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
    let thorough: &[&str] = if dice.roll().is_multiple_of(2) { &["--thorough"] } else { &[] };
    let now: &[&str] = if dice.roll().is_multiple_of(4) { &[] } else { &["--now"] };
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
                    code => assert_eq!(code, 0, "{args:?}: {output:?}"),
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
                    retry(&["stash", if dice.roll().is_multiple_of(2) { "drop" } else { "pop" }]);
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
fn what_a_killed_switch_had_kept_comes_back() {
    let sandbox = Sandbox::new();
    let path = |number: u64| format!("d{}/f{number}", number % 20);
    (0..800).for_each(|number| sandbox.write(path(number), noise(number, 3000)));
    sandbox.save("one");
    sandbox.ok(["switch", "-c", "two"]);
    (0..800).for_each(|number| sandbox.write(path(number), noise(number + 800, 3000)));
    sandbox.save("two");
    sandbox.ok(["switch", "main"]);
    sandbox.write(path(20), "unsaved");
    let (before, moving) = (sandbox.snapshot(), sandbox.path(".digstore/moving"));
    let mut killed = 0;
    for round in 0..200 {
        let mut child =
            sandbox.command(["switch", "-f", "two"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(1000 + 500 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let is_begun = moving.exists();
        if is_begun {
            killed += 1;
            gc_all(&sandbox, &["--now", "--thorough"]);
            verify(&sandbox);
        }
        if is_begun || sandbox.ok(["branch", "--show-current"]).text() == "two\n" {
            sandbox.ok(["undo"]);
        }
        assert_same(&before, &sandbox.snapshot());
        if killed == 3 {
            return;
        }
    }
    assert!(killed > 0, "none was killed in time");
}
