//! `obliterate` and `gc` cut off on their way.

use crate::common::{Output, Sandbox, files_below, noise};
use crate::scene::copy_of;
use crate::{below, dice, setting, strace};

const OBLITERATE: &[&str] = &["obliterate", "--yes", "secret"];
const FORGET: [&str; 4] = ["--config", "gc.keep_days=0", "--config", "gc.keep_operations=0"];

/// A secret in two commits, behind and before others.
fn with_a_secret(secret: &[u8]) -> Sandbox {
    let sandbox = Sandbox::new();
    for round in 0..4u8 {
        sandbox.write("kept", [round; 200]);
        match round {
            1 | 2 => sandbox.write("secret", [secret, &[round]].concat()),
            3 => sandbox.remove("secret"),
            _ => {}
        }
        sandbox.save("x");
    }
    sandbox.ok(["tag", "before", "HEAD~1"]);
    sandbox
}

/// Some bytes of the repository that hold these.
fn holds(sandbox: &Sandbox, bytes: &[u8]) -> bool {
    files_below(&sandbox.path(".digstore"))
        .iter()
        .any(|file| std::fs::read(file).unwrap().windows(bytes.len()).any(|window| window == bytes))
}

#[test]
fn an_obliterate_that_is_killed_is_finished_by_the_next() {
    if !strace::is_there("obliterates that are killed") {
        return;
    }
    let (mut dice, seed) = dice();
    let target = setting("DIGSTORE_OBLITERATES", 12);
    let secret = noise(seed, 300);
    let scene = with_a_secret(&secret);
    assert!(holds(&scene, &secret));
    let calls: Vec<_> = strace::calls(&copy_of(&scene), OBLITERATE).into_iter().collect();
    let (mut hits, mut finished) = (0, 0);
    for _ in 0..target {
        let (call, count) = &calls[below(&mut dice, calls.len())];
        let at = format!("{call}:signal=SIGKILL:when={}", below(&mut dice, *count) + 1);
        let sandbox = copy_of(&scene);
        let (_, killed) = strace::inject(&sandbox, &at, OBLITERATE);
        sandbox.ok(["store", "verify", "--data"]);
        // In between, as somebody who takes it for done.
        let warned = sandbox.ok(["gc", "--now"]).stderr.contains("obliterate");
        let again = sandbox.run(OBLITERATE);
        assert!(matches!(again.code, 0 | 20), "{at}: {again:?}");
        assert!(again.code == 0 || !warned, "{at}: {again:?}");
        sandbox.ok(["gc", "--now"]);
        assert!(!holds(&sandbox, &secret), "{at}: {again:?}");
        sandbox.fails(1, ["undo"]);
        sandbox.ok(["store", "verify", "--data"]);
        assert_eq!(sandbox.restored("HEAD").len(), 1, "{at}");
        hits += u64::from(killed);
        finished += u64::from(again.code == 0);
    }
    println!(
        "rig: obliterates that are killed: runs={target} killed={hits} finished={finished} seed={seed}"
    );
}

#[test]
fn a_full_disk_takes_no_pack_that_another_needs() {
    if !strace::is_there("gc without room for a list") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("f", "0");
    sandbox.save("kept");
    for number in 1..5 {
        sandbox.write("f", number.to_string());
        sandbox.save("lost");
    }
    sandbox.ok(["reset", "--hard", "HEAD~4"]);
    let before = files_below(&sandbox.path(".digstore/packs"));
    let args = [&["gc", "--now"], &FORGET[..]].concat();
    // The log of operations becomes shorter, then nothing new gets its name.
    let no_room = ["inject=renameat:error=ENOSPC:when=2+", "inject=renameat2:error=ENOSPC"];
    let options = ["-o", "/dev/null", "-e", no_room[0], "-e", no_room[1]];
    let output = Output::of(&mut strace::command(&sandbox, &options, &args));
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(files_below(&sandbox.path(".digstore/packs")), before);
    sandbox.ok(&args);
    assert!(files_below(&sandbox.path(".digstore/packs")).len() < before.len());
    sandbox.ok(["store", "verify", "--data"]);
}
