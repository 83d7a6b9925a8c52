//! Sectors that the disk cannot read any more, and reads that fail.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use digstore::config::{Config, Parity};
use digstore::progress::NullMonitor;
use digstore::repo::gc::GcOptions;
use digstore::repo::{Place, Repository};
use digstore::storage::disk::{FileSystem, OsDisk, RawFile, RawLock, RealFs};
use digstore::storage::mapped::Mapped;

use crate::common::{Sandbox, assert_same, files_below, flip, noise, overwrite, text};
use crate::{SHARD, contents, fixture, large, parity_of};

/// What of a file cannot be read.
#[derive(Debug)]
enum Fault {
    Sector(Range<u64>),
    /// The reads of these numbers, counted from 0.
    Reads(Range<usize>, AtomicUsize),
}

impl Fault {
    fn hits(&self, offset: u64, len: usize) -> bool {
        match self {
            Self::Sector(sector) => offset < sector.end && offset + len as u64 > sector.start,
            Self::Reads(bad, done) => bad.contains(&done.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// A file system that cannot read all of one file.
#[derive(Debug)]
struct Failing {
    inode: u64,
    /// As long as it is open, no other file gets its number.
    _held: fs::File,
    fault: Arc<Fault>,
}

#[derive(Debug)]
struct BadFile(Box<dyn RawFile>, Arc<Fault>);

impl RawFile for BadFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.1.hits(offset, buf.len()) {
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

impl FileSystem for Failing {
    fn open(&self, path: &Path) -> io::Result<Box<dyn RawFile>> {
        let file = RealFs.open(path)?;
        let is_bad = fs::metadata(path)?.ino() == self.inode;
        Ok(if is_bad { Box::new(BadFile(file, Arc::clone(&self.fault))) } else { file })
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

/// The repository of a sandbox on a disk with such a file.
fn on_failing(
    sandbox: &Sandbox,
    file: &Path,
    fault: &Arc<Fault>,
) -> digstore::repo::Result<Repository> {
    with_config(sandbox, file, fault, Config::default())
}

fn with_config(
    sandbox: &Sandbox,
    file: &Path,
    fault: &Arc<Fault>,
    config: Config,
) -> digstore::repo::Result<Repository> {
    let inode = fs::metadata(file).unwrap().ino();
    let held = fs::File::open(file).unwrap();
    let failing = Failing { inode, _held: held, fault: Arc::clone(fault) };
    let place = Place::at(&sandbox.work);
    let disk = OsDisk::on(&place.repository, Arc::new(failing));
    Repository::open_on(Arc::new(disk), place, config, Arc::new(NullMonitor::default()))
}

/// Three files in one block, and nothing in the work tree.
fn small(parity: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(["config", "set", "reliability.parity", parity]);
    for name in ["a", "b", "c"] {
        sandbox.write(name, noise(name.len() as u64 + u64::from(name.as_bytes()[0]), 30_000));
    }
    sandbox.save("x");
    ["a", "b", "c"].iter().for_each(|name| sandbox.remove(name));
    sandbox
}

/// Repairs with each of the reads of a pack failing, for so many reads; `after` sees what is left.
fn fail_each_read(sandbox: &Sandbox, pack: &Path, count: usize, after: impl Fn(usize)) {
    for number in 0usize.. {
        let end = number.saturating_add(count);
        let fault = Arc::new(Fault::Reads(number..end, AtomicUsize::new(0)));
        let _ = on_failing(sandbox, pack, &fault).and_then(|open| open.repair(true));
        let Fault::Reads(_, done) = &*fault else { return };
        after(number);
        if done.load(Ordering::Relaxed) <= number {
            assert!(number > 5, "{number}");
            return;
        }
    }
}

/// The repository, on a disk that cannot read these bytes of a file any more.
fn with_bad(sandbox: &Sandbox, file: &Path, sector: Range<u64>) -> Repository {
    on_failing(sandbox, file, &Arc::new(Fault::Sector(sector))).unwrap()
}

#[test]
fn a_bad_sector_in_the_trailer_of_a_pack_hurts_only_what_it_holds() {
    let sandbox = fixture("none");
    let len = |path: &Path| fs::metadata(path).unwrap().len();
    for pack in [sandbox.packs(1), sandbox.packs(2)].concat() {
        let trailer = len(&pack) - 10..len(&pack);
        let open = || with_bad(&sandbox, &pack, trailer.clone());
        let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
        let is_named = |problems: &[String]| problems.iter().any(|text| text.contains(&name));
        for depth in [false, true] {
            let report = open().verify(depth).unwrap();
            let is_hurt = !report.affected.is_empty() || !report.damaged.is_empty();
            assert!(is_named(&report.problems) && is_hurt, "{report:?}");
        }
        assert!(open().refs().head_commit().unwrap().is_some() && open().store().is_ok());
        assert!(open().gc(GcOptions::default()).unwrap_err().to_string().contains("damaged"));
        // Of the others one is damaged and comes back; this one is left as it is.
        let other = sandbox.packs(1).into_iter().find(|other| *other != pack).unwrap();
        let sound = fs::read(&other).unwrap();
        flip(&other, sound.len() - 3);
        let report = open().repair(true).unwrap();
        assert!(is_named(&report.left.problems) && !report.restored.is_empty(), "{report:?}");
        assert!(fs::read(&other).unwrap() == sound && pack.exists());
        sandbox.ok(["store", "verify", "--data"]);
    }
}

#[test]
fn a_read_that_fails_once_takes_no_sound_pack_apart() {
    for parity in ["none", "30%"] {
        let sandbox = small(parity);
        let sound = contents(&sandbox);
        for pack in [sandbox.packs(1), sandbox.packs(2)].concat() {
            fail_each_read(&sandbox, &pack, 1, |number| {
                // What counted as lost for a moment may have been stored again.
                let now = contents(&sandbox);
                let is_there = sound.iter().all(|(path, bytes)| now.get(path) == Some(bytes));
                assert!(is_there, "read {number} of {}", pack.display());
            });
        }
    }
}

#[test]
fn what_cannot_be_read_any_more_is_not_copied_into_a_healed_pack() {
    let sandbox = small("30%");
    let sound = contents(&sandbox);
    let pack = sandbox.packs(1).remove(0);
    let damage = || {
        sound.iter().for_each(|(path, bytes)| overwrite(path, bytes));
        flip(&pack, 50_000);
        fs::read(&pack).unwrap()
    };
    let damaged = damage();
    fail_each_read(&sandbox, &pack, usize::MAX, |number| {
        let now = fs::read(&pack).unwrap();
        assert!(now == damaged || now == sound[&pack], "from read {number} on");
        damage();
    });
}

#[test]
fn a_bad_sector_in_an_old_record_shuts_nobody_out_behind_a_repair() {
    let sandbox = fixture("none");
    for number in 0..40 {
        sandbox.ok(["branch", &format!("b{number}")]);
    }
    // As a command that was killed leaves it.
    overwrite(&sandbox.path(".digstore/lock"), b"+");
    let log = sandbox.path(".digstore/operations");
    let repository = with_bad(&sandbox, &log, 100..110);
    for _ in 0..2 {
        assert!(repository.begin("x").is_err());
        assert_eq!(fs::read(sandbox.path(".digstore/lock")).unwrap(), b"+");
    }
    let report = repository.repair(true).unwrap();
    assert!(report.left.is_sound(), "{report:?}");
    assert!(report.restored.iter().any(|one| one.what == "operations"), "{report:?}");
    assert!(!report.set_aside.is_empty());
    sandbox.ok(["branch", "new"]);
    sandbox.ok(["store", "verify", "--data"]);
    assert_eq!(sandbox.ok(["branch"]).text().lines().count(), 42);
}

#[test]
fn a_sector_that_the_disk_cannot_read_any_more_is_healed() {
    let sandbox = fixture("5%");
    let sound = contents(&sandbox);
    let pack = large(&sandbox);
    let start = 300 * SHARD as u64;
    let report = with_bad(&sandbox, &pack, start..start + SHARD as u64).repair(true).unwrap();
    assert!(report.left.is_sound() && report.restored[0].from == "its parity", "{report:?}");
    assert!(contents(&sandbox) == sound);
    // The copy of the damaged pack has all that could be read.
    let mut left = sound[&pack].clone();
    left[300 * SHARD..301 * SHARD].fill(0);
    let kept = files_below(&sandbox.path(".digstore/damaged"));
    assert!(kept.iter().any(|path| fs::read(path).unwrap() == left), "{kept:?}");
}

#[test]
fn what_a_bad_sector_took_comes_back_from_work_tree_and_staging_area() {
    for (kind, sector, from) in
        [(1, 300_000..304_096, "chunks of files"), (2, 100..1000, "trees of what is staged")]
    {
        let sandbox = Sandbox::new();
        sandbox.write("big", noise(1, 600_000));
        (0..60).for_each(|number| sandbox.write(format!("d/{number}"), text(number, 200)));
        sandbox.ok(["add", "-A"]);
        let largest = |path: &PathBuf| fs::metadata(path).unwrap().len();
        let pack = &sandbox.packs(kind).into_iter().max_by_key(largest).unwrap();
        sandbox.commit("x");
        let sound = contents(&sandbox);
        let open = || with_bad(&sandbox, pack, sector.clone());
        assert!(!open().verify(true).unwrap().affected.is_empty());
        let told = open().repair(false).unwrap();
        let report = open().repair(true).unwrap();
        for told in [told.restored, report.restored] {
            assert!(told.iter().any(|one| one.what.contains(from)), "{told:?}");
        }
        assert!(report.left.is_sound(), "{:?}", report.left);
        // Nothing is lost that the disk may read another day.
        let kept = files_below(&sandbox.path(".digstore/damaged"));
        assert!(kept.iter().any(|path| fs::read(path).unwrap() == sound[pack]), "{kept:?}");
        assert!(!pack.exists());
        sandbox.ok(["commit", "--allow-empty", "-m", "y"]);
        sandbox.ok(["gc", "--now"]);
        sandbox.ok(["store", "verify", "--data"]);
        assert_same(&sandbox.restored("HEAD"), &sandbox.snapshot());
    }
}

/// The table of a block says again what the footer says.
#[test]
fn a_bad_sector_that_holds_no_object_costs_none() {
    let sandbox = Sandbox::new();
    for number in 0..9000 {
        sandbox.write(format!("d/{number}"), noise(number, 150));
    }
    // One thread fills one block after the other.
    let threads = "performance.max_worker_threads=1";
    sandbox.ok(["--config", threads, "add", "-A"]);
    sandbox.commit("x");
    let files = sandbox.snapshot();
    sandbox.remove("d");
    let len = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let pack = sandbox.packs(1).into_iter().max_by_key(len).unwrap();
    let report = with_bad(&sandbox, &pack, 4096..8192).repair(true).unwrap();
    assert!(report.left.is_sound(), "{:?}", report.restored);
    assert!(pack.exists());
    sandbox.ok(["store", "verify", "--data"]);
    assert_same(&sandbox.restored("HEAD"), &files);
}

/// One pack whose parity cannot be made is no reason to make none of the others.
#[test]
fn a_bad_sector_ends_no_repair_that_makes_parity() {
    let sandbox = Sandbox::new();
    for number in 0..4 {
        sandbox.write(format!("f{number}"), noise(number, 300_000));
        sandbox.save("x");
        sandbox.remove(format!("f{number}"));
    }
    sandbox.ok(["config", "set", "reliability.parity", "10%"]);
    let packs = sandbox.packs(1);
    let mut config = Config::default();
    config.reliability.parity = Parity::Share(10);
    let fault = Arc::new(Fault::Sector(100_000..104_096));
    let repository = with_config(&sandbox, &packs[0], &fault, config).unwrap();
    let report = repository.repair(true).unwrap();
    assert!(!report.left.is_sound(), "{report:?}");
    assert!(packs[1..].iter().all(|pack| parity_of(pack).exists()));
}
