//! Parity and `gc`.

use std::fs;

use crate::common::{Sandbox, noise, overwrite};
use crate::{contents, parities, parity_of};

const GC: [&str; 6] =
    ["--config", "gc.keep_days=0", "--config", "gc.keep_operations=0", "gc", "--now"];

/// A repository in which most of a branch was given up, in packs that are partly in use.
fn with_garbage() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(["config", "set", "reliability.parity", "10%"]);
    sandbox.write("kept", noise(1, 300_000));
    sandbox.save("kept");
    sandbox.ok(["switch", "-c", "other"]);
    sandbox.write("gone", noise(2, 1_500_000));
    sandbox.write("staged", noise(3, 200_000));
    sandbox.save("gone");
    sandbox.ok(["switch", "main"]);
    sandbox.ok(["branch", "-D", "other"]);
    sandbox.write("staged", noise(3, 200_000));
    sandbox.ok(["add", "-A"]);
    sandbox
}

#[test]
fn collected_packs_take_their_parity_along_and_new_ones_get_theirs() {
    let sandbox = with_garbage();
    let bytes = || -> i64 {
        let files = contents(&sandbox).into_values().map(|bytes| bytes.len() as i64).sum::<i64>();
        files + fs::metadata(sandbox.path(".digstore/operations")).unwrap().len() as i64
    };
    let before = bytes();
    let planned = sandbox.ok([&GC[..], &["-n", "--json"]].concat()).json();
    assert_eq!(bytes(), before);
    let done = sandbox.ok([&GC[..], &["--json"]].concat()).json();
    assert_eq!(done["freed_bytes"], before - bytes());
    assert_eq!(planned["freed_bytes"], before - bytes());
    assert!(done["repacked"].as_u64().unwrap() > 0 && before - bytes() > 1_500_000, "{done}");
    for parity in parities(&sandbox) {
        assert!(parity.with_extension("pack").exists(), "{}", parity.display());
    }
    let packs = sandbox.packs(1).len() + sandbox.packs(2).len();
    assert_eq!(parities(&sandbox).len(), packs);
    sandbox.ok(["store", "verify", "--data"]);
    assert!(sandbox.ok(["store", "repair"]).stderr.contains("nothing is damaged"));
}

/// A pack that was lost and of which nothing is in use is not brought back after a collection, which may
/// have taken what it needs.
#[test]
fn what_was_lost_and_is_not_in_use_does_not_come_back() {
    let sandbox = with_garbage();
    let (before, packs) = (contents(&sandbox), sandbox.packs(2));
    sandbox.ok(GC);
    let gone = packs.iter().find(|path| !path.exists()).unwrap();
    // As if it had been lost, and not removed.
    overwrite(&parity_of(gone), &before[&parity_of(gone)]);
    assert!(sandbox.run(["store", "verify"]).expect_code(3).text().contains("its pack is missing"));
    let size = before[&parity_of(gone)].len();
    let planned = sandbox.ok([&GC[..], &["-n", "--json"]].concat()).json();
    assert_eq!((&planned["removed"], &planned["removed_bytes"]), (&0.into(), &size.into()));
    assert!(parity_of(gone).exists());
    sandbox.ok(GC);
    assert!(!parity_of(gone).exists() && !gone.exists());
    sandbox.ok(["store", "verify", "--data"]);
    sandbox.ok(["store", "repair", "--apply"]);
    assert!(!gone.exists());
}
