//! SIGKILL before any system call of any command, and at any moment.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Dice, Output, Sandbox, assert_same};
use crate::scene::{ACTS, Scene, copy_of};
use crate::{below, dice, setting, strace};

/// Every system call at which a command of a scene can be killed, in random order.
fn points(dice: &mut Dice, scene: &Scene) -> Vec<(String, usize)> {
    let calls = strace::calls(&scene.copy(), scene.act().args);
    let mut points: Vec<_> = calls
        .into_iter()
        .flat_map(|(name, count)| (1..=count).map(move |number| (name.clone(), number)))
        .collect();
    for last in (1..points.len()).rev() {
        points.swap(last, below(dice, last + 1));
    }
    points
}

#[test]
fn a_kill_before_any_system_call_loses_nothing() {
    if !strace::is_there("kills at system calls") {
        return;
    }
    let (mut dice, seed) = dice();
    let target = setting("DIGSTORE_KILLS", 30) as usize;
    let (mut runs, mut hits, mut all) = (0, 0, 0);
    // A sample visits as many commands as it can, a full run visits every point of each.
    let sample = ACTS.len().min(target / 5 + 1);
    let mut scenes: Vec<_> = Scene::some(&mut dice, target, sample)
        .into_iter()
        .map(|scene| {
            let points = points(&mut dice, &scene);
            all += points.len();
            (scene, points)
        })
        .collect();
    while runs < target {
        for (scene, points) in &mut scenes {
            let point = points.pop().unwrap_or_else(|| {
                *points = self::points(&mut dice, scene);
                points.pop().unwrap()
            });
            let sandbox = scene.copy();
            let what = format!("{}:signal=SIGKILL:when={}", point.0, point.1);
            let (output, killed) = strace::inject(&sandbox, &what, scene.act().args);
            assert!(killed || output.code == 0, "{what}: {output:?}");
            scene.check(&sandbox, &output, &what);
            (runs, hits) = (runs + 1, hits + usize::from(killed));
            if runs == target {
                break;
            }
        }
    }
    assert!(hits * 2 > runs, "of {runs} kills only {hits} came in time");
    println!("rig: kills at system calls: runs={runs} killed={hits} points={all} seed={seed}");
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    let (mut dice, seed) = dice();
    let target = setting("DIGSTORE_DELAYED_KILLS", 30) as usize;
    let scenes: Vec<_> = Scene::some(&mut dice, target, 5)
        .into_iter()
        .map(|scene| {
            let copy = scene.copy();
            let start = Instant::now();
            copy.ok(scene.act().args);
            (scene, start.elapsed())
        })
        .collect();
    let mut hits = 0;
    for run in 0..target {
        let (scene, time) = &scenes[run % scenes.len()];
        let sandbox = scene.copy();
        let mut command = sandbox.command(scene.act().args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let delay = Duration::from_nanos(dice.roll() % (time.as_nanos() as u64 * 11 / 10).max(1));
        std::thread::sleep(delay);
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        let code = ended.status.code().unwrap_or(-1);
        let output = Output { code, stdout: ended.stdout, stderr: String::new() };
        hits += usize::from(code == -1);
        scene.check(&sandbox, &output, &format!("killed after {delay:?}"));
    }
    println!("rig: kills at any moment: runs={target} killed={hits} seed={seed}");
}

/// A line that main changed, and a branch `t` as well.
fn with_conflict() -> Sandbox {
    let sandbox = Sandbox::new();
    let save = |text: &str| {
        sandbox.write("a", format!("first\n{text}\nlast\n"));
        sandbox.save(text);
    };
    save("base");
    sandbox.ok(["switch", "-c", "t"]);
    save("theirs");
    sandbox.ok(["switch", "main"]);
    save("ours");
    sandbox
}

/// A stash of a line that was changed since.
fn with_stash() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a", "first\nbase\nlast\n");
    sandbox.save("base");
    sandbox.write("a", "first\nstashed\nlast\n");
    sandbox.ok(["stash"]);
    sandbox.write("a", "first\nours\nlast\n");
    sandbox.save("ours");
    sandbox
}

/// They are written behind what the command says that it brings the work tree to.
#[test]
fn an_undo_takes_the_markers_of_a_killed_command_back() {
    if !strace::is_there("kills behind conflict markers") {
        return;
    }
    for (scene, args) in [(with_conflict(), ["merge", "t"]), (with_stash(), ["stash", "pop"])] {
        let before = scene.snapshot();
        let mut undone = 0;
        for number in 1.. {
            let sandbox = copy_of(&scene);
            let log = sandbox.path(".digstore/operations");
            let kill = format!("inject=openat:signal=KILL:when={number}");
            let options = ["-P", log.to_str().unwrap(), "-o", "/dev/null", "-e", &kill];
            let output = Output::of(&mut strace::command(&sandbox, &options, &args));
            if String::from_utf8(sandbox.read("a")).unwrap().contains("<<<<<<<") {
                sandbox.ok(["undo"]);
                assert_same(&before, &sandbox.snapshot());
                undone += 1;
            }
            // It was not killed.
            if output.code != -1 {
                break;
            }
        }
        assert!(undone > 1, "{args:?} was not killed behind the markers");
    }
}
