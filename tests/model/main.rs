//! A model of version control beside the binary: random sequences of edits and commands are done in
//! both, and after each command everything that can be seen is compared.
//!
//! `DIGSTORE_MODEL_CASES` is the number of sequences, `DIGSTORE_MODEL_SEED` where they begin;
//! `DIGSTORE_MODEL_TRACE` prints the commands. A failure prints its seed and the shortest sequence that still fails, which is valid Rust for a
//! test of its own here, from the same files.

#![expect(clippy::panic, reason = "a test that fails says so")]

#[path = "../common/mod.rs"]
mod common;

mod action;
mod back;
mod commands;
mod compare;
mod files;
mod merge;
mod moves;
mod report;
mod shown;
mod stash;
mod state;
mod world;

use std::collections::BTreeSet;
use std::sync::Mutex;

use action::{Action, KNOWN, PATHS, steps};
use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use world::World;

/// What a random sequence begins with.
const BASE: &[&str] = &["a", "d/b", "d/e/c", "g/h"];
/// Steps of a sequence, at most.
const STEPS: usize = 50;

/// Runs a sequence in a repository whose first commit holds the ignore rule and these files.
fn run_from(base: &[&str], actions: &[Action]) -> BTreeSet<String> {
    let mut world = World::new(base);
    for action in actions {
        world.step(*action);
    }
    world.finish()
}

fn run(actions: &[Action]) {
    run_from(&[], actions);
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {value}")))
}

/// Runs sequences that follow from a seed; returns the commands that succeeded.
fn sequences(seed: u64, cases: u32) -> BTreeSet<String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config =
        Config { cases, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let met = Mutex::new(BTreeSet::new());
    let tried = TestRunner::new_with_rng(config, rng).run(&vec(steps(), 1..=STEPS), |actions| {
        let done = run_from(BASE, &actions.concat());
        met.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(done);
        Ok(())
    });
    if let Err(error) = tried {
        panic!("DIGSTORE_MODEL_SEED={seed} fails: {error}");
    }
    met.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn a_file_staged_where_the_other_branch_has_a_directory_stops_the_switch() {
    use Action::{AddAll, Commit, Remove, SwitchBack, SwitchNewAt, Write};
    let (file, inner) = (2, 3);
    // The other way round as well: staged, and gone from the work tree.
    for (there, staged) in [(file, inner), (inner, file)] {
        run(&[
            Write(there, 1),
            AddAll,
            Commit,
            SwitchNewAt(0, 0),
            Write(staged, 2),
            AddAll,
            Remove(staged),
            SwitchBack,
        ]);
    }
}

#[test]
fn a_path_is_never_staged_as_a_file_and_as_a_directory() {
    use Action::{AddAll, Commit, Mkdir, SwitchBack, SwitchNewAt, UnstageTo, Write};
    let (file, inner) = (2, 3);
    run(&[
        Write(inner, 1),
        AddAll,
        Commit,
        SwitchNewAt(0, 0),
        Mkdir(file),
        AddAll,
        SwitchBack,
        Commit,
    ]);
    for (there, staged) in [(file, inner), (inner, file)] {
        run(&[
            Write(there, 1),
            AddAll,
            Commit,
            Write(staged, 2),
            AddAll,
            UnstageTo(1, known(there)),
            Commit,
        ]);
    }
}

#[test]
fn a_restore_that_finds_a_directory_in_the_way_leaves_the_staged_size_alone() {
    use Action::{AddAll, Commit, Restore, Write};
    let (file, inner) = (5, 6);
    run(&[Write(file, 1), AddAll, Write(inner, 2), Restore(known(file)), Commit]);
}

#[test]
fn an_abort_leaves_what_lies_in_a_directory_that_is_staged_as_empty() {
    use Action::{
        Abort, Add, AddAll, Commit, Link, MergeRecent, Remove, SwitchBack, SwitchNew, Write,
    };
    run_from(
        BASE,
        &[
            Write(2, 0),
            AddAll,
            Commit,
            SwitchNew(0),
            Write(0, 0),
            AddAll,
            Commit,
            SwitchBack,
            Write(0, 0),
            AddAll,
            Commit,
            MergeRecent(1),
            Link(7, 0),
            Add(0),
            Remove(7),
            AddAll,
            Commit,
            SwitchNew(0),
            Write(3, 0),
            Write(2, 0),
            AddAll,
            Commit,
            SwitchBack,
            Write(3, 0),
            AddAll,
            Commit,
            MergeRecent(1),
            Link(6, 0),
            Add(3),
            Abort,
        ],
    );
}

/// The number that gives a command this path, whatever is there.
fn known(path: usize) -> usize {
    KNOWN.next_multiple_of(PATHS.len()) + path
}

/// What a sample must have done at least once, so that it shows something.
const MET: &[&str] = &[
    "add",
    "add -A",
    "add -u",
    "branch",
    "branch -D",
    "branch -d",
    "branch -m",
    "cherry-pick",
    "clean -f -d",
    "commit --amend -m",
    "commit -m",
    "merge",
    "merge --abort",
    "merge --continue",
    "merge --no-ff",
    "mv",
    "op --force",
    "redo",
    "reset --hard",
    "reset --mixed",
    "reset --soft",
    "restore",
    "restore --source",
    "restore --staged",
    "restore --staged --source",
    "revert",
    "rm -r",
    "rm -r --cached",
    "rm -r --force",
    "stash",
    "stash --include-untracked",
    "switch",
    "switch --detach",
    "switch -",
    "switch -c",
    "switch -f",
    "tag",
    "tag -d",
    "undo",
    "gc --now",
    "gc --now --thorough",
];

#[test]
fn random_sequences_do_what_the_model_does() {
    let cases = setting("DIGSTORE_MODEL_CASES").unwrap_or(60);
    let seed = setting("DIGSTORE_MODEL_SEED").unwrap_or(6);
    let met = sequences(seed, u32::try_from(cases).unwrap_or(u32::MAX));
    if cases >= 60 {
        let missed: Vec<_> = MET.iter().filter(|command| !met.contains(**command)).collect();
        assert!(missed.is_empty(), "never done: {missed:?}; done: {met:?}");
    }
}

#[test]
fn what_was_there_as_a_state_has_it_stays_when_that_is_taken_back() {
    use Action::{AddAll, GoBack, Rm, SwitchNew, Undo, Write};
    run_from(
        BASE,
        &[
            Rm(0, action::How::Force),
            Write(1, 0),
            GoBack(0),
            Undo,
            Undo,
            SwitchNew(0),
            AddAll,
            Undo,
            Undo,
            GoBack(36),
            GoBack(56),
            Undo,
            SwitchNew(12),
        ],
    );
}

#[test]
fn a_file_in_the_way_of_conflict_markers_stops_the_merge() {
    use Action::{AddAll, Commit, MergeRecent, Remove, SwitchBack, SwitchNew, Write};
    let (dir, inner) = (2, 3);
    run(&[
        Write(inner, 0),
        AddAll,
        Commit,
        SwitchNew(0),
        Write(inner, 1),
        AddAll,
        Commit,
        SwitchBack,
        Write(inner, 2),
        AddAll,
        Commit,
        Remove(dir),
        Write(dir, 3),
        MergeRecent(1),
    ]);
}
