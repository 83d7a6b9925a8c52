//! Parity: what is damaged comes back byte for byte, up to what is promised; beyond it nothing gets worse.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that fails says so, and damages files by any means"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{Output, Sandbox, assert_same, files_below, flip, noise, overwrite, text};
use digstore::config::Config;
use digstore::id::PackId;
use digstore::progress::NullMonitor;
use digstore::repo::{Place, Repository};
use digstore::storage::disk::{FileSystem, OsDisk, RawFile, RawLock, RealFs};
use digstore::storage::format::parity::{HEADER_LEN, Layout};
use digstore::storage::mapped::Mapped;

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
        let damages: [&dyn Fn(); 8] = [
            &|| flip(pack, len / 2),
            &|| flip(pack, 3),
            &|| flip(pack, len - 1),
            &|| zero(pack, len / 2 / SHARD * SHARD, SHARD),
            &|| zero(pack, len / 3 / SHARD * SHARD, 16 * SHARD),
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
    let promised = (shards * 5).div_ceil(100);
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

/// A file system that cannot read one sector of one file any more.
#[derive(Debug)]
struct BadSector {
    inode: u64,
    sector: std::ops::Range<u64>,
}

#[derive(Debug)]
struct BadFile(Box<dyn RawFile>, std::ops::Range<u64>);

impl RawFile for BadFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset < self.1.end && offset + buf.len() as u64 > self.1.start {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.0.read_exact_at(buf, offset)
    }

    fn map(&self, _: u64, _: usize) -> Option<io::Result<Mapped>> {
        None
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

impl FileSystem for BadSector {
    fn open(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        let file = RealFs.open(path)?;
        let is_bad = fs::metadata(path)?.ino() == self.inode;
        Ok(if is_bad { Box::new(BadFile(file, self.sector.clone())) } else { file })
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        RealFs.create_new(path)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        RealFs.open_append(path)
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        RealFs.rename(from, to, replace)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealFs.list(path)
    }

    fn kind(&self, path: &Path) -> io::Result<(bool, u64)> {
        RealFs.kind(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_dir(path)
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_all(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn RawLock>>> {
        RealFs.try_lock(path)
    }
}

#[test]
fn a_sector_that_the_disk_cannot_read_any_more_is_healed() {
    let sandbox = fixture("5%");
    let sound = contents(&sandbox);
    let pack = large(&sandbox);
    let start = 300 * SHARD as u64;
    let inode = fs::metadata(&pack).unwrap().ino();
    let bad = BadSector { inode, sector: start..start + SHARD as u64 };
    let place = Place::at(&sandbox.work);
    let disk = OsDisk::on(&place.repository, Arc::new(bad));
    let config = Config::default();
    let open = Repository::open_on(Arc::new(disk), place, config, Arc::new(NullMonitor::default()));
    let report = open.unwrap().repair(true).unwrap();
    assert!(report.left.is_sound() && report.restored[0].from == "its parity", "{report:?}");
    assert!(contents(&sandbox) == sound);
    // The copy of the damaged pack has all that could be read.
    let mut left = sound[&pack].clone();
    left[300 * SHARD..301 * SHARD].fill(0);
    let kept = files_below(&sandbox.path(".digstore/damaged"));
    assert!(kept.iter().any(|path| fs::read(path).unwrap() == left), "{kept:?}");
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

/// Runs a command that may have half a gigabyte of memory beyond what every process maps.
fn in_little_memory(sandbox: &Sandbox, args: &str) -> Output {
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_digstore");
    command.args(["-c", &format!("ulimit -v 3000000; RAYON_NUM_THREADS=1 exec {binary} {args}")]);
    sandbox.surround(&mut command);
    Output::of(command.current_dir(&sandbox.work))
}

#[test]
fn a_parity_file_that_lies_costs_no_memory_and_heals_nothing() {
    let sandbox = fixture("5%");
    let pack = large(&sandbox);
    let len = fs::metadata(&pack).unwrap().len();
    let id: PackId = pack.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    zero(&pack, 500_000, 300_000);
    let damaged = fs::read(&pack).unwrap();
    let lies = [
        Layout { pack: id, pack_len: u64::MAX, shard_len: 4096, groups: u32::MAX, recovery: 1 },
        Layout { pack: id, pack_len: 1 << 40, shard_len: 4096, groups: 1 << 20, recovery: 4096 },
        Layout { pack: id, pack_len: len, shard_len: u32::MAX, groups: 1, recovery: u32::MAX },
        Layout { pack: id, pack_len: len, shard_len: 64, groups: 4000, recovery: 4096 },
        Layout { pack: id, pack_len: 1, shard_len: 64, groups: 1, recovery: 1 },
        Layout { pack: id, pack_len: 50_000, shard_len: 4096, groups: 2, recovery: 6 },
    ];
    for lie in lies {
        let mut bytes = lie.encode();
        // Sums that are right for zeros, so that everything that is zeros, or missing, is "sound".
        if Layout::decode(&bytes).is_ok() {
            let table = vec![0; lie.table_len(0) / 8 - 1];
            bytes.extend(lie.encode_table(0, &table));
        }
        bytes.extend(noise(3, 200_000));
        overwrite(&parity_of(&pack), &bytes);
        assert_eq!(in_little_memory(&sandbox, "store verify --data").code, 21, "{lie:?}");
        let told = in_little_memory(&sandbox, "store repair");
        assert_eq!(told.code, 21, "{lie:?}: {told:?}");
        assert!(!told.text().contains("from its parity"), "{lie:?}: {told:?}");
        assert!(fs::read(&pack).unwrap() == damaged);
    }
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
