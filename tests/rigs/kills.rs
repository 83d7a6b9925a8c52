//! SIGKILL before any system call of any command, and at any moment.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Dice, Output};
use crate::scene::{ACTS, Scene};
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
