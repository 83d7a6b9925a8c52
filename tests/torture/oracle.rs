//! What must hold of a repository after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use digstore::repo::Repository;
use digstore::repo::add::AddOptions;

use crate::script::{REMOVE_ALL, TOGGLED, empty_commit, open};
use crate::sim::SimFs;

/// What a command leaves, as far as a user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    head: String,
    refs: BTreeMap<String, String>,
    /// Path and content.
    staged: BTreeMap<String, String>,
}

impl Facts {
    pub(crate) fn of(repository: &Repository) -> Result<Self, String> {
        let said = |error: &dyn std::error::Error| chain(error);
        let refs = repository.refs().list("").map_err(|error| said(&error))?;
        let staging = repository.staging().map_err(|error| said(&error))?;
        Ok(Self {
            head: format!("{:?}", repository.refs().read_head().map_err(|error| said(&error))?),
            refs: refs
                .into_iter()
                .map(|(name, record)| (name, format!("{:?}", record.new)))
                .collect(),
            staged: staging
                .iter()
                .map(|entry| (entry.path.to_string(), format!("{:?}", entry.kind)))
                .collect(),
        })
    }

    /// Whether refs and `HEAD` are the same.
    pub(crate) fn has_refs_of(&self, other: &Self) -> bool {
        (&self.head, &self.refs) == (&other.head, &other.refs)
    }

    /// Whether each ref, `HEAD` and each staged path is as in one of these two: none is torn.
    fn is_between(&self, old: &Self, new: &Self) -> bool {
        let names: BTreeSet<_> =
            old.refs.keys().chain(new.refs.keys()).chain(self.refs.keys()).collect();
        let is_one = |name: &&String| {
            let now = self.refs.get(*name);
            now == old.refs.get(*name) || now == new.refs.get(*name)
        };
        (self.head == old.head || self.head == new.head) && names.iter().all(is_one)
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Checks a machine that came up again. It held `old` for certain, and perhaps what the command that
/// was under way makes of it, `new`.
pub(crate) fn check(fs: &SimFs, work_tree: &Path, old: &Facts, new: &Facts) -> Result<(), String> {
    let repository =
        open(fs, work_tree).map_err(|error| format!("cannot open: {}", chain(&error)))?;
    let at_once = Facts::of(&repository)?;
    if !at_once.is_between(old, new) {
        return Err(format!("neither old nor new: {at_once:#?}\nold {old:#?}\nnew {new:#?}"));
    }
    verify(&repository)?;
    // The next command finishes what the killed one began, without being asked.
    drop(repository.begin("look").map_err(|error| format!("cannot recover: {}", chain(&error)))?);
    let repository = open(fs, work_tree).map_err(|error| chain(&error))?;
    let recovered = Facts::of(&repository)?;
    if recovered != *old && recovered != *new && !is_mixed(&recovered, old, new) {
        return Err(format!("recovered to neither: {recovered:#?}\nold {old:#?}\nnew {new:#?}"));
    }
    verify(&repository)
}

/// A command that stages and then moves refs may have done the one for certain and not the other.
fn is_mixed(now: &Facts, old: &Facts, new: &Facts) -> bool {
    let refs_are = |of: &Facts| now.refs == of.refs && now.head == of.head;
    (refs_are(old) || refs_are(new)) && now.is_between(old, new)
}

/// Stages something, commits, and loses power with all that is not durable: the commit must be there.
pub(crate) fn check_next_commit(fs: &SimFs, work_tree: &Path) -> Result<(), String> {
    use crate::sim::Loss;
    let repository = open(fs, work_tree).map_err(|error| chain(&error))?;
    // A stash that came back with conflicts waits for somebody to resolve them.
    let waits = repository.merge_state().map_err(|error| chain(&error))?.is_some();
    // Staging takes longer than all the rest: not each time.
    if waits || fs.calls().is_multiple_of(4) {
        stage_something(&repository, work_tree)?;
    }
    let id =
        empty_commit(&repository).map_err(|error| format!("cannot commit: {}", chain(&error)))?;
    let reported = Facts::of(&open(fs, work_tree).map_err(|error| chain(&error))?)?;
    for loss in [Loss::All, Loss::Names, Loss::Bytes] {
        let after = SimFs::new(fs.state().crash(loss, &mut crate::common::Dice::new(1)));
        let repository = open(&after, work_tree)
            .map_err(|error| format!("after {loss:?}: {}", chain(&error)))?;
        let head = repository.refs().head_commit().map_err(|error| chain(&error))?;
        if head != Some(id) {
            return Err(format!("the commit after the recovery was lost with {loss:?}"));
        }
        let left = Facts::of(&repository)?;
        if left != reported {
            return Err(format!("{loss:?} lost something: {left:#?}, reported {reported:#?}"));
        }
        verify(&repository)?;
    }
    Ok(())
}

/// Removes all that is not in use: nobody may see a difference, and nothing is left to be removed.
pub(crate) fn check_gc(fs: &SimFs, work_tree: &Path) -> Result<(), String> {
    let facts = || Facts::of(&open(fs, work_tree).map_err(|error| chain(&error))?);
    let before = facts()?;
    let gc = || {
        let repository = open(fs, work_tree).map_err(|error| chain(&error))?;
        repository.gc(REMOVE_ALL).map_err(|error| format!("cannot gc: {}", chain(&error)))
    };
    let report = gc()?;
    if facts()? != before || report.in_use {
        return Err(format!("gc changed something: {report:?} {before:#?} {:#?}", facts()?));
    }
    verify(&open(fs, work_tree).map_err(|error| chain(&error))?)?;
    let again = gc()?;
    if (again.removed, again.condemned, again.freed_bytes()) != (0, 0, 0) {
        return Err(format!("gc left something: {again:?}"));
    }
    Ok(())
}

/// Makes the parity again that a power cut tore: nobody may see another difference.
pub(crate) fn check_repair(fs: &SimFs, work_tree: &Path) -> Result<(), String> {
    let facts = || Facts::of(&open(fs, work_tree).map_err(|error| chain(&error))?);
    let before = facts()?;
    let repository = open(fs, work_tree).map_err(|error| chain(&error))?;
    let report =
        repository.repair(true).map_err(|error| format!("cannot repair: {}", chain(&error)))?;
    if !report.left.is_sound() || !report.left.redundancy.is_empty() || facts()? != before {
        return Err(format!("repaired to {report:?}; {before:#?} {:#?}", facts()?));
    }
    let left = open(fs, work_tree).map_err(|error| chain(&error))?.verify(true);
    let left = left.map_err(|error| format!("cannot verify: {}", chain(&error)))?.redundancy;
    if left.is_empty() { Ok(()) } else { Err(format!("the repair left {left:?}")) }
}

fn stage_something(repository: &Repository, work_tree: &Path) -> Result<(), String> {
    let toggled = work_tree.join(TOGGLED);
    if std::fs::remove_file(&toggled).is_err() {
        std::fs::write(&toggled, "x").map_err(|error| chain(&error))?;
    }
    let added = repository.add(&AddOptions::default());
    added.map(drop).map_err(|error| format!("cannot add: {}", chain(&error)))
}

fn verify(repository: &Repository) -> Result<(), String> {
    let report =
        repository.verify(true).map_err(|error| format!("cannot verify: {}", chain(&error)))?;
    if report.problems.is_empty() && report.affected.is_empty() {
        return Ok(());
    }
    Err(format!("damaged: {:?} {:?}", report.problems, report.affected))
}
