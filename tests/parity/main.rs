//! Parity: what is damaged comes back byte for byte, up to what is promised; beyond it nothing gets worse.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails says so, and damages files by any means"
)]

#[path = "../common/mod.rs"]
mod common;

mod collected;
mod hostile;
mod sectors;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Sandbox, assert_same, files_below, flip, noise, overwrite, text};
use digstore::storage::format::parity::{HEADER_LEN, Layout};

const SHARD: usize = 4096;

/// Two commits with nothing in the work tree, so that parity alone brings anything back.
fn fixture(parity: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(["config", "set", "reliability.parity", parity]);
    sandbox.write("big", noise(1, 3_000_000));
    sandbox.write("dir/a", text(2, 40_000));
    sandbox.save("first");
    sandbox.write("dir/b", text(3, 9000));
    sandbox.save("second");
    sandbox.remove("big");
    sandbox.remove("dir");
    sandbox
}

/// The one pack that is larger than a megabyte.
fn large(sandbox: &Sandbox) -> PathBuf {
    let is_large = |path: &PathBuf| fs::metadata(path).unwrap().len() > 1_000_000;
    sandbox.packs(1).into_iter().find(is_large).unwrap()
}

fn parity_of(pack: &Path) -> PathBuf {
    pack.with_extension("parity")
}

fn parities(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut files = files_below(&sandbox.path(".digstore/packs"));
    files.retain(|path| path.extension().unwrap() == "parity");
    files
}

/// A dry run tells and changes nothing; then all files of packs are byte for byte what they were.
fn heals(sandbox: &Sandbox, sound: &BTreeMap<PathBuf, Vec<u8>>, damaged: &Path, code: i32) {
    let name = damaged.strip_prefix(sandbox.path(".digstore")).unwrap().display().to_string();
    sandbox.run(["store", "verify", "--data"]).expect_code(code);
    let left = fs::read(damaged).ok();
    let before = common::snapshot(&sandbox.path(".digstore"));
    let told = sandbox.run(["store", "repair"]).expect_code(code);
    assert_same(&before, &common::snapshot(&sandbox.path(".digstore")));
    let from = if code == 21 { "its parity" } else { "" };
    let is_told = |line: &str| {
        line.starts_with("would restore: ") && line.contains(&name) && line.ends_with(from)
            || code == 3 && line.ends_with("packs from the packs")
    };
    assert!(told.text().lines().any(is_told), "{name}: {told:?}");
    sandbox.run(["store", "repair", "--apply"]).expect_code(0);
    assert!(contents(sandbox) == *sound, "{name}");
    if let Some(left) = left.filter(|_| code == 21) {
        let kept = files_below(&sandbox.path(".digstore/damaged"));
        assert!(kept.iter().any(|path| fs::read(path).unwrap() == left), "{name}: {kept:?}");
    }
    sandbox.ok(["store", "verify", "--data"]);
    assert!(sandbox.ok(["store", "repair"]).stderr.contains("nothing is damaged"));
}

fn contents(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = files_below(&sandbox.path(".digstore/packs"));
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn zero(path: &Path, from: usize, len: usize) {
    let mut bytes = fs::read(path).unwrap();
    let end = (from + len).min(bytes.len());
    bytes[from..end].fill(0);
    overwrite(path, &bytes);
}

fn cut(path: &Path, len: usize) {
    let bytes = fs::read(path).unwrap();
    overwrite(path, &bytes[..len.min(bytes.len())]);
}

#[test]
fn any_damage_of_a_pack_up_to_what_is_promised_is_healed() {
    let sandbox = fixture("5%");
    sandbox.ok(["store", "verify", "--data"]);
    let sound = contents(&sandbox);
    let packs: Vec<PathBuf> = [sandbox.packs(1), sandbox.packs(2)].concat();
    assert!(packs.len() >= 5, "{packs:?}");
    for pack in &packs {
        assert!(parity_of(pack).exists());
        let len = fs::metadata(pack).unwrap().len() as usize;
        let damages: [&dyn Fn(); 9] = [
            &|| flip(pack, len / 2),
            &|| flip(pack, 3),
            &|| flip(pack, len - 1),
            &|| zero(pack, len / 2 / SHARD * SHARD, SHARD),
            &|| zero(pack, len / 3 / SHARD * SHARD, 16 * SHARD),
            &|| zero(pack, len / 3 / SHARD * SHARD + 100, 16 * SHARD),
            &|| zero(pack, len.saturating_sub(50_000), 50_000),
            &|| cut(pack, len.saturating_sub(60_000)),
            &|| overwrite(pack, [&fs::read(pack).unwrap()[..], &[7; 300]].concat().as_slice()),
        ];
        for damage in damages {
            damage();
            heals(&sandbox, &sound, pack, 21);
        }
    }
}

#[test]
fn metadata_comes_back_whole_though_nothing_of_it_is_left() {
    let sandbox = fixture("metadata");
    let sound = contents(&sandbox);
    assert_eq!(parities(&sandbox).len(), sandbox.packs(2).len());
    for pack in sandbox.packs(2) {
        overwrite(&pack, b"");
        heals(&sandbox, &sound, &pack, 21);
        overwrite(&pack, &noise(9, 100));
        heals(&sandbox, &sound, &pack, 21);
        fs::remove_file(&pack).unwrap();
        heals(&sandbox, &sound, &pack, 21);
    }
    // All of them at once, the commits of which everything hangs among them.
    for pack in sandbox.packs(2) {
        fs::remove_file(&pack).unwrap();
    }
    sandbox.run(["store", "repair", "--apply"]).expect_code(0);
    assert!(contents(&sandbox) == sound);
    assert_eq!(sandbox.ok(["log", "--oneline"]).text().lines().count(), 2);
}

/// Damages the first byte of so many shards of a pack, spread over it.
fn scatter(pack: &Path, shards: usize, count: usize) {
    let mut bytes = fs::read(pack).unwrap();
    for number in 0..count {
        bytes[number * shards / count * SHARD] ^= 0x55;
    }
    overwrite(pack, &bytes);
}

#[test]
fn so_many_shards_are_healed_and_one_more_is_reported_and_makes_nothing_worse() {
    let sandbox = fixture("5%");
    let sound = contents(&sandbox);
    let pack = large(&sandbox);
    let shards = (sound[&pack].len()).div_ceil(SHARD);
    // As many bytes in a row touch one shard more.
    let promised = (shards * 5).div_ceil(100) + 1;
    scatter(&pack, shards, promised);
    heals(&sandbox, &sound, &pack, 21);
    // Parity that is damaged itself counts as damage.
    let parity = parity_of(&pack);
    let after_table = HEADER_LEN + 8 * (shards + promised + 1);
    scatter(&pack, shards, promised - 1);
    flip(&parity, after_table + 5);
    heals(&sandbox, &sound, &pack, 21);

    scatter(&pack, shards, promised + 1);
    let damaged = fs::read(&pack).unwrap();
    let affected = |code: i32, command: &[&str]| {
        let report = sandbox.run(command.iter().copied()).expect_code(code).json();
        report["affected"].to_string()
    };
    let before = affected(21, &["store", "verify", "--data", "--json"]);
    assert!(before.contains("big"), "{before}");
    let snapshot = common::snapshot(&sandbox.path(".digstore"));
    let told = sandbox.run(["store", "repair"]).expect_code(21);
    assert!(!told.text().contains("its parity"), "{told:?}");
    assert_same(&snapshot, &common::snapshot(&sandbox.path(".digstore")));
    assert_eq!(affected(21, &["store", "repair", "--apply", "--json"]), before);
    // What is left of it, and its parity, are kept: somebody may have one of the shards.
    let kept = files_below(&sandbox.path(".digstore/damaged"));
    let is_kept = |bytes: &[u8]| kept.iter().any(|path| fs::read(path).unwrap() == bytes);
    assert!(is_kept(&damaged) && is_kept(&sound[&parity]));
    assert!(!pack.exists() && !parity.exists());
    assert_eq!(sandbox.ok(["get", "dir/a"]).stdout, text(2, 40_000));
    let after = sandbox.run(["store", "verify", "--data", "--json"]).expect_code(21).json();
    assert_eq!(after["redundancy"].as_array().unwrap().len(), 0, "{after}");
    assert_eq!(after["affected"].to_string(), before);
}

/// More than one group: the ends of a burst lie in different ones.
#[test]
fn a_large_pack_survives_a_burst_of_all_its_parity() {
    let sandbox = Sandbox::new();
    sandbox.ok(["config", "set", "reliability.parity", "2%"]);
    sandbox.write("big", noise(1, 20_000_000));
    sandbox.save("x");
    sandbox.remove("big");
    let sound = contents(&sandbox);
    let pack = large(&sandbox);
    let shards = sound[&pack].len().div_ceil(SHARD);
    let layout = Layout::decode(&sound[&parity_of(&pack)]).unwrap();
    assert!(layout.groups == 2 && layout.shards() == shards as u64, "{layout:?}");
    let burst = (layout.groups * layout.recovery) as usize;
    assert!(burst * 100 >= shards * 2);
    zero(&pack, 1001 * SHARD, burst * SHARD);
    heals(&sandbox, &sound, &pack, 21);
    cut(&pack, (shards - burst) * SHARD + 1);
    heals(&sandbox, &sound, &pack, 21);
}

/// One group is beyond help; what of the other one comes back saves chunks nevertheless.
#[test]
fn what_comes_back_of_a_pack_saves_more_of_it() {
    let sandbox = Sandbox::new();
    sandbox.ok(["config", "set", "reliability.parity", "2%"]);
    sandbox.write("big", noise(1, 20_000_000));
    sandbox.save("x");
    sandbox.remove("big");
    let pack = large(&sandbox);
    let layout = Layout::decode(&fs::read(parity_of(&pack)).unwrap()).unwrap();
    let recovery = layout.recovery as usize;
    (0..=recovery).for_each(|at| flip(&pack, 2 * at * SHARD));
    (0..recovery).for_each(|at| flip(&pack, (4001 - 2 * at) * SHARD));
    let sound_objects = || {
        let told = sandbox.run(["store", "repair"]).expect_code(21);
        let line = told.text().lines().find(|line| line.contains("sound objects of it")).unwrap();
        let words: Vec<_> = line.split(' ').collect();
        words[words.iter().position(|word| *word == "sound").unwrap() - 1].parse::<u64>().unwrap()
    };
    let with = sound_objects();
    let parity = fs::read(parity_of(&pack)).unwrap();
    fs::remove_file(parity_of(&pack)).unwrap();
    let without = sound_objects();
    assert!(with > without, "{with} {without}");
    overwrite(&parity_of(&pack), &parity);
    let done = sandbox.run(["store", "repair", "--apply"]).expect_code(21);
    assert!(done.text().contains(&format!("{with} sound objects of it")), "{done:?}");
    let report = sandbox.run(["store", "verify", "--data", "--json"]).expect_code(21).json();
    assert!(report["objects"].as_u64().unwrap() >= with, "{report}");
}

#[test]
fn damage_of_parity_is_no_damage_of_data_and_is_made_good() {
    let sandbox = fixture("10%");
    let sound = contents(&sandbox);
    for parity in parities(&sandbox) {
        let len = fs::metadata(&parity).unwrap().len() as usize;
        let damages: [&dyn Fn(); 8] = [
            &|| flip(&parity, 0),
            &|| flip(&parity, 40),
            &|| flip(&parity, HEADER_LEN + 1),
            &|| flip(&parity, len / 2),
            &|| flip(&parity, len - 1),
            &|| cut(&parity, len - 1),
            &|| cut(&parity, 0),
            &|| zero(&parity, 0, len),
        ];
        for damage in damages {
            damage();
            let told = sandbox.run(["store", "verify", "--data"]).expect_code(3);
            assert!(told.text().contains("redundancy: 'packs/"), "{told:?}");
            assert!(told.stderr.contains("no damage found"), "{told:?}");
            heals(&sandbox, &sound, &parity, 3);
        }
        fs::remove_file(&parity).unwrap();
        heals(&sandbox, &sound, &parity, 3);
    }
    assert!(!sandbox.path(".digstore/damaged").exists(), "what comes from packs is not kept");
}

#[test]
fn a_setting_that_is_turned_on_later_is_made_good_by_repair() {
    let sandbox = fixture("none");
    assert!(parities(&sandbox).is_empty());
    sandbox.ok(["store", "verify", "--data"]);
    let packs = sandbox.packs(1).len() + sandbox.packs(2).len();
    sandbox.ok(["config", "set", "reliability.parity", "metadata"]);
    let told = sandbox.run(["store", "verify"]).expect_code(3);
    assert!(told.text().contains("have less parity than reliability.parity asks for"), "{told:?}");
    assert!(told.stderr.contains("store repair --apply"), "{told:?}");
    let before = common::snapshot(&sandbox.path(".digstore"));
    let told = sandbox.run(["store", "repair"]).expect_code(3);
    assert!(told.text().contains("would restore: parity of "), "{told:?}");
    assert_same(&before, &common::snapshot(&sandbox.path(".digstore")));
    sandbox.ok(["store", "repair", "--apply"]);
    assert_eq!(parities(&sandbox).len(), sandbox.packs(2).len());
    sandbox.ok(["store", "verify", "--data"]);

    sandbox.ok(["config", "set", "reliability.parity", "20%"]);
    sandbox.run(["store", "verify"]).expect_code(3);
    sandbox.ok(["store", "repair", "--apply"]);
    assert_eq!(parities(&sandbox).len(), packs);
    let small = fs::metadata(parity_of(&large(&sandbox))).unwrap().len();
    sandbox.ok(["config", "set", "reliability.parity", "40%"]);
    let report = sandbox.run(["store", "verify", "--json"]).expect_code(3).json();
    assert!(report["sound"].as_bool().unwrap(), "{report}");
    assert_eq!(report["redundancy"].as_array().unwrap().len(), 1, "{report}");
    sandbox.ok(["store", "repair", "--apply"]);
    assert!(fs::metadata(parity_of(&large(&sandbox))).unwrap().len() > small * 3 / 2);

    // Less is asked for: what is there stays, is checked and heals.
    sandbox.ok(["config", "set", "reliability.parity", "none"]);
    let sound = contents(&sandbox);
    sandbox.ok(["store", "verify", "--data"]);
    flip(&large(&sandbox), 100_000);
    heals(&sandbox, &sound, &large(&sandbox), 21);
    // Nobody wants what is damaged of it.
    let parity = parity_of(&large(&sandbox));
    flip(&parity, 90_000);
    sandbox.run(["store", "verify", "--data"]).expect_code(3);
    sandbox.ok(["store", "repair", "--apply"]);
    assert!(!parity.exists());
    sandbox.ok(["store", "verify", "--data"]);
}

#[test]
fn parity_of_a_pack_that_is_lost_is_named_and_set_aside() {
    let sandbox = fixture("10%");
    let pack = large(&sandbox);
    fs::remove_file(&pack).unwrap();
    let told = sandbox.run(["store", "verify"]).expect_code(21);
    assert!(told.text().contains("its pack is missing"), "{told:?}");
    let told = sandbox.run(["store", "repair"]).expect_code(21);
    assert!(told.text().contains("from no pack: it is set aside"), "{told:?}");
    let done = sandbox.run(["store", "repair", "--apply"]).expect_code(21);
    assert!(done.text().contains("kept: damaged/packs/"), "{done:?}");
    assert!(!parity_of(&pack).exists());
    let told = sandbox.run(["store", "verify"]).expect_code(21);
    assert!(!told.text().contains("redundancy"), "{told:?}");
}

#[test]
fn the_size_of_the_store_counts_parity() {
    let sandbox = fixture("none");
    assert!(!sandbox.ok(["store", "size"]).text().contains("parity"));
    sandbox.ok(["config", "set", "reliability.parity", "10%"]);
    let before = sandbox.ok(["store", "size", "--json"]).json();
    sandbox.ok(["store", "repair", "--apply"]);
    let after = sandbox.ok(["store", "size", "--json"]).json();
    let bytes: u64 = parities(&sandbox).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let field = |report: &serde_json::Value, name: &str| report[name].as_u64().unwrap();
    assert_eq!((field(&before, "parity_bytes"), field(&after, "parity_bytes")), (0, bytes));
    assert_eq!(field(&before, "overhead_bytes"), field(&after, "overhead_bytes"));
    assert_eq!(field(&before, "disk_bytes") + bytes, field(&after, "disk_bytes"));
    assert!(sandbox.ok(["store", "size"]).text().contains("what heals damaged packs"));
}

#[test]
fn the_setting_is_the_owners_and_not_of_the_work_tree() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok(["config", "get", "reliability.parity"]).text(), "none\n");
    for value in ["metadata", "1%", "100%"] {
        sandbox.ok(["config", "set", "reliability.parity", value]);
        assert_eq!(
            sandbox.ok(["config", "get", "reliability.parity"]).text(),
            format!("{value}\n")
        );
    }
    for value in ["0%", "101%", "5", "all"] {
        let error = sandbox.fails(2, ["config", "set", "reliability.parity", value]);
        assert!(error.contains("'none', 'metadata' or a share from 1% to 100%"), "{error}");
    }
    sandbox.write("digstore.toml", "[reliability]\nparity = \"none\"\n");
    sandbox.fails(2, ["status"]);
}
