//! Crashes in every place, on a file system that forgets what was not synced.
//!
//! The commands run in this process on a [`sim::SimFs`]; after each call that changes something, the
//! machine may lose power, or the process may die. What is left is opened, verified and recovered,
//! and compared with what was reported. `DIGSTORE_TORTURE_IMAGES` is the number of crash images,
//! `DIGSTORE_TORTURE_SEED` where the random ones begin; both are printed.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails says so, and makes files by any means"
)]

#[path = "../common/mod.rs"]
mod common;

mod oracle;
mod rot;
mod script;
mod sim;

use std::sync::LazyLock;

use common::Dice;
use digstore::config::Parity;
use oracle::{Facts, check, check_gc, check_next_commit, check_repair};
use script::{COMMANDS, Command, World, bare, init, open};
use sim::{Fault, Loss, SimFs, State};

/// A number below `end`; 0 where there is none.
pub(crate) fn below(dice: &mut Dice, end: usize) -> usize {
    (dice.roll() % end.max(1) as u64) as usize
}

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

static SEED: LazyLock<u64> = LazyLock::new(|| {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    setting("DIGSTORE_TORTURE_SEED", now.map_or(0, |now| now.as_secs()))
});

fn seed() -> u64 {
    println!("DIGSTORE_TORTURE_SEED={}", *SEED);
    *SEED
}

/// Of seeds that follow each other one in two gives every pack parity.
pub(crate) fn parity() -> Parity {
    if SEED.is_multiple_of(2) { Parity::None } else { Parity::Share(25) }
}

/// A recorded run: the states of the machine, and between which facts each lies.
struct Recording {
    world: World,
    states: Vec<(State, usize)>,
    /// What held at the beginning, and behind each command.
    facts: Vec<Facts>,
    commands: Vec<Command>,
}

impl Recording {
    fn of(commands: &[Command]) -> Self {
        let mut world = World::new();
        let mut facts = vec![Facts::of(&world.open()).unwrap()];
        world.fs.record();
        for command in commands {
            // A command that is refused, such as an undo of nothing, changes nothing. Nothing refuses
            // a `gc` here.
            let ran = world.run(*command);
            if matches!(command, Command::Gc | Command::GcNow) {
                ran.unwrap_or_else(|why| panic!("{commands:?}: {command:?}: {why}"));
            }
            world.fs.say();
            facts.push(Facts::of(&world.open()).unwrap());
        }
        let states = world.fs.recorded();
        Self { world, states, facts, commands: commands.to_vec() }
    }

    fn between(&self, said: usize) -> (&Facts, &Facts) {
        (&self.facts[said], self.facts.get(said + 1).unwrap_or(&self.facts[said]))
    }

    /// Checks one image of one state; a failure names all that is needed to see it again.
    fn try_image(&self, at: usize, image: State, what: &str) {
        let (state, said) = &self.states[at];
        let (old, new) = self.between(*said);
        let fs = SimFs::new(image);
        let work_tree = self.world.work_tree();
        let checked =
            check(&fs, work_tree, old, new).and_then(|()| check_next_commit(&fs, work_tree));
        // What a crash left is what `gc` begins with: not each time, because it takes long.
        let checked = checked.and_then(|()| match fs.calls() % 3 {
            0 => check_gc(&fs, work_tree),
            1 if parity() != Parity::None => check_repair(&fs, work_tree),
            _ => Ok(()),
        });
        if let Err(why) = checked {
            let command = self.commands.get(*said);
            panic!(
                "{:?}: {what} at call {at} of {}, in {command:?}, {} pending: {why}",
                self.commands,
                self.states.len(),
                state.pending(),
            );
        }
    }
}

fn random_commands(dice: &mut Dice, len: usize) -> Vec<Command> {
    (0..len).map(|_| COMMANDS[below(dice, COMMANDS.len())]).collect()
}

const LOSSES: [Loss; 5] = [Loss::All, Loss::One, Loss::Any, Loss::Bytes, Loss::Names];

#[test]
fn no_power_cut_loses_what_was_reported() {
    let images = setting("DIGSTORE_TORTURE_IMAGES", 3000);
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut tried = 0;
    while tried < images {
        let recording = Recording::of(&random_commands(&mut dice, 8));
        for at in 0..recording.states.len() {
            for _ in 0..2 {
                let loss = LOSSES[below(&mut dice, LOSSES.len())];
                let image = recording.states[at].0.crash(loss, &mut dice);
                recording.try_image(at, image, &format!("power cut, {loss:?} lost,"));
                tried += 1;
            }
            recording.try_image(at, recording.states[at].0.clone(), "kill");
            tried += 1;
        }
    }
    println!("rig: power cuts: runs={tried} seed={seed}");
}

#[test]
fn recovery_survives_crashes_of_its_own() {
    let images = setting("DIGSTORE_TORTURE_RECOVERIES", 1000);
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut tried = 0;
    while tried < images {
        let recording = Recording::of(&random_commands(&mut dice, 4));
        let work_tree = recording.world.work_tree();
        for at in 0..recording.states.len() {
            let (state, said) = &recording.states[at];
            let (old, new) = recording.between(*said);
            let first = if below(&mut dice, 2) == 0 {
                state.clone()
            } else {
                state.crash(Loss::Any, &mut dice)
            };
            let fs = SimFs::new(first);
            fs.record();
            check(&fs, work_tree, old, new).unwrap_or_else(|why| panic!("{why}"));
            for (inside, _) in fs.recorded() {
                let loss = LOSSES[below(&mut dice, LOSSES.len())];
                recording.try_image(at, inside.crash(loss, &mut dice), "power cut in the recovery");
                recording.try_image(at, inside, "kill in the recovery");
                tried += 2;
            }
        }
    }
    println!("rig: power cuts in recoveries: runs={tried} seed={seed}");
}

#[test]
fn all_short_sequences_survive_a_crash_at_every_call() {
    let (len, mut tried) = (setting("DIGSTORE_TORTURE_LENGTH", 1) as u32, 0);
    let [part, parts] = [("PART", 0), ("PARTS", 1)]
        .map(|(name, default)| setting(&format!("DIGSTORE_TORTURE_{name}"), default) as usize);
    let (seed, mut sequences) = (seed(), 0);
    let mut dice = Dice::new(seed);
    for number in (part..COMMANDS.len().pow(len)).step_by(parts) {
        sequences += 1;
        let mut rest = number;
        let commands: Vec<_> = (0..len)
            .map(|_| {
                let command = COMMANDS[rest % COMMANDS.len()];
                rest /= COMMANDS.len();
                command
            })
            .collect();
        let recording = Recording::of(&commands);
        for at in 0..recording.states.len() {
            for loss in [Loss::All, Loss::Any] {
                let image = recording.states[at].0.crash(loss, &mut dice);
                recording.try_image(at, image, &format!("power cut, {loss:?} lost,"));
                tried += 1;
            }
            recording.try_image(at, recording.states[at].0.clone(), "kill");
            tried += 1;
        }
    }
    println!("rig: short sequences: runs={tried} sequences={sequences} seed={seed}");
}

#[test]
fn a_killed_init_leaves_no_repository_or_a_whole_one() {
    let fs = bare();
    fs.record();
    init(&fs).unwrap();
    let (seed, mut tried) = (seed(), 0);
    let mut dice = Dice::new(seed);
    let dir = tempfile::tempdir().unwrap();
    for (state, _) in fs.recorded() {
        let cuts = LOSSES.map(|loss| state.crash(loss, &mut dice));
        for image in cuts.into_iter().chain([state]) {
            let fs = SimFs::new(image);
            if open(&fs, dir.path()).is_err() {
                init(&fs).unwrap();
            }
            check_next_commit(&fs, dir.path()).unwrap();
            tried += 1;
        }
    }
    println!("rig: init: runs={tried} seed={seed}");
}

#[test]
fn any_call_may_fail_and_nothing_reported_is_lost() {
    let errnos = [
        libc_errno::EIO,
        libc_errno::ENOSPC,
        libc_errno::EDQUOT,
        libc_errno::EROFS,
        libc_errno::EACCES,
        libc_errno::EMFILE,
        libc_errno::EINTR,
    ];
    let step = setting("DIGSTORE_TORTURE_FAULT_STEP", 5) as usize;
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut tried = 0;
    for command in COMMANDS {
        let mut world = World::new();
        for prepare in [
            Command::Add,
            Command::Commit,
            Command::Amend,
            Command::Add,
            Command::Amend,
            Command::NewBranch,
            Command::Stash,
        ] {
            world.run(prepare).unwrap();
        }
        let (before, start) = (world.fs.state(), world.fs.calls());
        let old = Facts::of(&world.open()).unwrap();
        world.prepare(command);
        let files = world.files();
        let ran = world.run_on(&world.fs, command);
        let calls = world.fs.calls() - start;
        let new = Facts::of(&world.open()).unwrap();
        let mut at = below(&mut dice, step);
        while (at as u64) < calls {
            for for_ever in [false, true] {
                let errno = errnos[below(&mut dice, errnos.len())];
                let fs = SimFs::new(before.clone());
                world.put_files(&files);
                fs.fail(Some(Fault { at: at as u64, errno, for_ever }));
                let reported = world.run_on(&fs, command);
                // The next command may not get far either. That it dies with the lock's mark set
                // takes more than room.
                if below(&mut dice, 2) == 0 {
                    let (at, errno) =
                        (fs.calls() + below(&mut dice, 12) as u64, libc_errno::ENOSPC);
                    fs.fail(Some(Fault { at, errno, for_ever: false }));
                    let next = open(&fs, world.work_tree());
                    let _ = next.and_then(|next| next.begin("look").map(drop));
                }
                fs.fail(None);
                let what = format!(
                    "{command:?}, call {at} of {calls} failed with {errno}, for ever: {for_ever}"
                );
                if reported.is_ok() && ran.is_ok() {
                    let facts = Facts::of(&open(&fs, world.work_tree()).unwrap()).unwrap();
                    assert_eq!(facts, new, "{what}: reported, and not done");
                }
                for image in [
                    fs.state(),
                    fs.state().crash(Loss::All, &mut dice),
                    fs.state().crash(Loss::Any, &mut dice),
                ] {
                    let fs = SimFs::new(image);
                    let old = if reported.is_ok() { &new } else { &old };
                    let checked = check(&fs, world.work_tree(), old, &new)
                        .and_then(|()| check_next_commit(&fs, world.work_tree()));
                    checked.unwrap_or_else(|why| panic!("{what}: {why}"));
                    tried += 1;
                }
            }
            at += 1 + below(&mut dice, step);
        }
    }
    println!("rig: failed calls: runs={tried} seed={seed}");
}

/// Numbers of Linux.
mod libc_errno {
    pub(crate) const EINTR: i32 = 4;
    pub(crate) const EIO: i32 = 5;
    pub(crate) const EACCES: i32 = 13;
    pub(crate) const EMFILE: i32 = 24;
    pub(crate) const ENOSPC: i32 = 28;
    pub(crate) const EROFS: i32 = 30;
    pub(crate) const EDQUOT: i32 = 122;
}
