//! `store repair`: brings back what redundancy allows.
//!
//! | damaged | comes back from |
//! |---|---|
//! | merged index | the packs; it is a cache and not kept |
//! | header, footer, trailer of a pack | its frames |
//! | any part of a pack, or all of it | its parity, as far as that goes |
//! | parity of a pack | its pack, as the settings ask for |
//! | header and table of a frame | the pack's footer |
//! | block of a pack, or a sector in one that the disk cannot read | nothing else, but each sound object of it goes into a new pack; another pack that holds the object |
//! | a chunk of a file | the same path of the work tree, where its bytes hash to the id |
//! | trees of what is staged | the staging area |
//! | ref, `HEAD` | the log of operations |
//! | log of operations | its sound records, linked anew; where a ref is that is elsewhere than it says, as it is |
//! | what a killed command did to the work tree | nothing: it is set aside; in a log that was linked anew it gets its place again |
//! | list of condemned packs | what is in use: `gc` makes a new one; where it cannot, all packs are condemned |
//! | staging area | what the last operation staged, else the commit of `HEAD` |
//!
//! Nothing is invented: what cannot be proven by a checksum or an id is not taken. A damaged original is
//! copied below `damaged/` durably before anything takes its place, and what replaces it is published
//! before it is removed, so that a repair may be killed and begun again. Chunk lists, commits and the trees
//! of other commits have no second copy but parity. Without `apply` nothing is written.

mod chunks;
mod logs;
mod packs;
mod parity;
mod trees;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parity::AsRead;

use super::verify::{Depth, VerifyReport};
use super::{Repository, Result};
use crate::id::PackId;
use crate::storage::disk::{Disk, ReadFile};

/// Directory of damaged originals.
pub const DAMAGED_DIR: &str = "damaged";
/// Bytes copied at a time.
const COPY: usize = 1 << 20;

/// Something that is restored, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What, relative to the repository where it is a file.
    pub what: String,
    /// From what.
    pub from: String,
}

/// What a repair did, or would do.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// What came back.
    pub restored: Vec<Restored>,
    /// Where damaged originals are, relative to the repository.
    pub set_aside: Vec<PathBuf>,
    /// What was found before, where nothing was changed; what is damaged still, where it was.
    pub left: VerifyReport,
}

impl Repository {
    /// Restores what can be restored; without `apply` only says what that is.
    pub fn repair(&self, apply: bool) -> Result<RepairReport> {
        // Who changes something is told that another command does.
        let _reading = if apply { None } else { self.wait_to_read()? };
        let mut repair = Repair::new(self, apply, RepairReport::default());
        if !apply {
            repair.report.left = self.verify_to(Depth::Data)?;
            repair.under_lock()?;
            chunks::restore(&mut repair)?;
            trees::restore(&mut repair)?;
            repair.staging()?;
            repair.condemned()?;
            repair.parity()?;
            return Ok(repair.report);
        }
        {
            let _lock = self.lock_to_repair()?;
            repair.under_lock()?;
        }
        let report = repair.report;
        let so_far = report.restored.clone();
        self.repair_contents(report).inspect_err(|_| {
            // Another command may have taken the lock between: what was done is told all the same.
            for Restored { what, from } in &so_far {
                self.monitor().warn(&format!("restored: {what} from {from}"));
            }
        })
    }

    /// What needs objects, once the packs are mended; the report of all that was done.
    fn repair_contents(&self, report: RepairReport) -> Result<RepairReport> {
        let fresh = self.again()?;
        let mut repair = Repair::new(&fresh, true, report);
        {
            let _lock = fresh.lock_to_repair()?;
            repair.report.left = fresh.verify_to(Depth::Present)?;
            chunks::restore(&mut repair)?;
            trees::restore(&mut repair)?;
        }
        let report = std::mem::take(&mut repair.report);
        let fresh = self.again()?;
        let mut repair = Repair::new(&fresh, true, report);
        repair.staging()?;
        repair.condemned()?;
        {
            let _lock = fresh.lock_to_repair()?;
            repair.parity()?;
        }
        let mut report = repair.report;
        // A ref that the last operation had not moved yet, or that is gone since, as the next command
        // would. What stands against it, the verification says.
        let _ = fresh.begin("store repair").and_then(|mut op| op.enter_strays());
        report.left = self.again()?.verify_to(Depth::Data)?;
        Ok(report)
    }

    /// The repository as it is on the disk now.
    fn again(&self) -> Result<Self> {
        let disk = Arc::clone(&self.disk);
        let mut again = Self::open_on(
            disk,
            self.place.clone(),
            self.config.clone(),
            Arc::clone(&self.monitor),
        )?;
        again.cancel = self.cancel.clone();
        Ok(again)
    }
}

struct Repair<'a> {
    repository: &'a Repository,
    apply: bool,
    report: RepairReport,
    /// Packs that were found damaged or lost.
    unsound: BTreeSet<PackId>,
    /// Those of them that parity heals.
    healed: BTreeSet<PackId>,
    /// The number of the last sound operation before the log was mended, and since.
    renumbered: Option<(u64, u64)>,
}

impl<'a> Repair<'a> {
    fn new(repository: &'a Repository, apply: bool, report: RepairReport) -> Self {
        let (unsound, healed) = Default::default();
        Self { repository, apply, report, unsound, healed, renumbered: None }
    }
}

impl Repair<'_> {
    fn disk(&self) -> &Arc<dyn Disk> {
        &self.repository.disk
    }

    /// What needs no object: the log first, because refs and `HEAD` come from it.
    fn under_lock(&mut self) -> Result<()> {
        let records = self.log()?;
        self.head(&records)?;
        self.refs(&records)?;
        self.moving()?;
        self.packs()
    }

    fn note(&mut self, what: impl Into<String>, from: impl Into<String>) {
        self.report.restored.push(Restored { what: what.into(), from: from.into() });
    }

    /// Copies a damaged file below `damaged/`, as far as the disk can read it; it stays where it is.
    fn set_aside(&mut self, path: &Path) -> Result<()> {
        if !self.apply {
            return Ok(());
        }
        let disk = self.disk();
        let file = match disk.open(path) {
            Err(error) if error.is_no_file() => return Ok(()),
            file => file?,
        };
        let Some(file) = file.map(AsRead) else { return Ok(()) };
        let (to, newest) = self.place_aside(path)?;
        if let Some(newest) = newest.filter(|newest| is_copy(&**disk, &file, newest)) {
            // An earlier repair, which did not come to its end, has kept it.
            self.report.set_aside.push(newest);
            return Ok(());
        }
        parity::publish_copy(&**disk, &file, &to, false)?;
        self.report.set_aside.push(to);
        Ok(())
    }

    /// Moves a file that the disk cannot read all of below `damaged/`: what a copy would lack, the disk may
    /// read another day.
    fn move_aside(&mut self, path: &Path) -> Result<()> {
        let (to, _) = self.place_aside(path)?;
        self.disk().move_durably(path, &to)?;
        self.report.set_aside.push(to);
        Ok(())
    }

    /// A name below `damaged/` that is not in use yet, in a directory that is there, and the last one that
    /// is.
    fn place_aside(&self, path: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
        let (disk, first) = (self.disk(), Path::new(DAMAGED_DIR).join(path));
        let (mut to, mut newest, mut number) = (first.clone(), None, 0);
        while disk.file_kind(&to)?.is_some() {
            number += 1;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let next = first.with_file_name(format!("{name}.{number}"));
            newest = Some(std::mem::replace(&mut to, next));
        }
        disk.create_dir(to.parent().unwrap_or(DAMAGED_DIR.as_ref()))?;
        Ok((to, newest))
    }
}

/// Whether a file holds the bytes of another one. One that cannot be read is no copy.
fn is_copy(disk: &dyn Disk, file: &AsRead, copy: &Path) -> bool {
    let Ok(Some(copy)) = disk.open(copy) else { return false };
    let (Ok(len), Ok(copy_len)) = (file.len(), copy.len()) else { return false };
    let mut pieces = [vec![0; COPY], vec![0; COPY]];
    let mut is_same = |at: u64| {
        let [one, other] = &mut pieces;
        let len = (len - at).min(COPY as u64) as usize;
        let is_read = file.read_exact_at(&mut one[..len], at).is_ok()
            && copy.read_exact_at(&mut other[..len], at).is_ok();
        is_read && one[..len] == other[..len]
    };
    copy_len == len && (0..len).step_by(COPY).all(&mut is_same)
}
