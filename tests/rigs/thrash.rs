//! Eight processes at once on one repository, some of them stopped and killed.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Dice, Output, Sandbox, noise};
use crate::scene::reported;
use crate::{below, dice, setting};

const COMMANDS: [&[&str]; 22] = [
    &["add", "-A"],
    &["add", "-A"],
    &["commit", "--allow-empty", "-m", "x"],
    &["commit", "--allow-empty", "-m", "x"],
    &["commit", "--allow-empty", "-a", "-m", "x"],
    &["branch", "-f", "b"],
    &["branch", "-D", "b"],
    &["tag", "-f", "-m", "x", "t"],
    &["switch", "-f", "main"],
    &["switch", "-f", "other"],
    &["merge", "other"],
    &["undo", "-f"],
    &["redo", "-f"],
    &["stash", "-u"],
    &["stash", "pop"],
    &["reset", "--hard"],
    &["status"],
    &["log", "--stat", "-n", "5"],
    &["ls"],
    &["store", "verify"],
    // What was done can be undone, so that it keeps every commit.
    &["gc", "--now"],
    &["gc", "--now", "--thorough"],
];

/// Longest that a command may take, others holding the lock.
const PATIENCE: Duration = Duration::from_mins(2);

/// What happened, from all processes.
#[derive(Default)]
struct Events {
    commits: Vec<String>,
    /// How often a command ended so.
    codes: BTreeMap<(usize, i32), u64>,
    kills: u64,
    stops: u64,
}

fn send(child: &Child, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_child(child), signal);
}

/// Lets a command run for a while, perhaps stops it, perhaps kills it.
fn disturb(dice: &mut Dice, child: &Child) -> (u64, u64) {
    let mut pause = |most: u64| std::thread::sleep(Duration::from_micros(dice.roll() % most));
    pause(15_000);
    let choice = dice.roll() % 6;
    match choice {
        0 => send(child, Signal::KILL),
        1 | 2 => {
            send(child, Signal::STOP);
            std::thread::sleep(Duration::from_micros(dice.roll() % 60_000));
            if choice == 2 && dice.roll().is_multiple_of(4) {
                send(child, Signal::KILL);
            }
            send(child, Signal::CONT);
        }
        _ => {}
    }
    (u64::from(choice == 0), u64::from(matches!(choice, 1 | 2)))
}

/// Waits for a command; a hang fails the test.
fn finish(mut child: Child, args: &[&str]) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{args:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    Output { code: ended.status.code().unwrap_or(-1), stdout: ended.stdout, stderr }
}

fn work(sandbox: &Sandbox, seed: u64, until: Instant, events: &Mutex<Events>) {
    let mut dice = Dice::new(seed);
    while Instant::now() < until {
        let number = below(&mut dice, COMMANDS.len());
        let args = COMMANDS[number];
        if number < 2 {
            let name = sandbox.path(format!("f{}", dice.roll() % 12));
            // Another process may be moving the work tree.
            let _ = std::fs::write(name, noise(dice.roll(), 2000));
        }
        let mut command = sandbox.command(args);
        // What they say fits the pipes.
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (kills, stops) = disturb(&mut dice, &child);
        let output = finish(child, args);
        let sane = matches!(output.code, -1 | 0 | 1 | 3 | 11 | 20);
        let said = || String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr;
        let is_sound = sane && !output.stderr.contains("panicked");
        assert!(is_sound, "{args:?} ended with {}: {}", output.code, said());
        let mut events = events.lock().unwrap();
        events.commits.extend(reported(&output));
        *events.codes.entry((number, output.code)).or_default() += 1;
        (events.kills, events.stops) = (events.kills + kills, events.stops + stops);
    }
}

#[test]
fn eight_processes_at_once_lose_nothing() {
    let (mut dice, seed) = dice();
    let seconds = setting("DIGSTORE_THRASH_SECONDS", 4);
    let sandbox = Sandbox::new();
    sandbox.write("f0", "first");
    sandbox.write("d/large", noise(1, 300_000));
    sandbox.save("first");
    sandbox.ok(["branch", "other"]);
    let until = Instant::now() + Duration::from_secs(seconds);
    let events = Mutex::new(Events::default());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let seed = dice.roll();
            let (sandbox, events) = (&sandbox, &events);
            scope.spawn(move || work(sandbox, seed, until, events));
        }
    });
    let events = events.into_inner().unwrap();
    let total: u64 = events.codes.values().sum();
    let done: u64 = events.codes.iter().filter(|((_, code), _)| *code == 0).map(|(_, n)| n).sum();
    sandbox.ok(["status"]);
    sandbox.ok(["store", "verify", "--data"]);
    for id in &events.commits {
        sandbox.ok(["log", "-n", "1", id]);
    }
    for _ in 0..events.commits.len().min(30) {
        let id = &events.commits[below(&mut dice, events.commits.len())];
        sandbox.restored(id);
    }
    assert!(done > 0 && !events.commits.is_empty(), "{:?}", events.codes);
    println!(
        "rig: eight processes: runs={total} done={done} commits={} kills={} stops={} seconds={seconds} seed={seed}",
        events.commits.len(),
        events.kills,
        events.stops
    );
}
