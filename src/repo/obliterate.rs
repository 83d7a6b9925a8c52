//! `obliterate`: takes files out of all history, for good.
//!
//! Every commit that a branch, a tag, a stash or `HEAD` leads to is written again without them, with
//! what comes after it, and the refs are moved. That is one operation; then what would bring the files
//! back goes: the log of operations begins anew, the staging area is written anew, the notes of imports
//! are forgotten, and the next `gc` frees every byte that nothing reaches.
//!
//! A run that is killed has moved all refs or none. The store remembers that it is not done, and
//! another run goes on from there.

mod doomed;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use doomed::{Doomed, Order};

use super::gc::GcOptions;
use super::operation::{Operation, description};
use super::pathspec::Pathspec;
use super::repair::DAMAGED_DIR;
use super::source::WorkTreeSource;
use super::trees::{Stop, edit_tree_by};
use super::{RepoError, Repository, Result};
use crate::id::{CommitId, ObjectId};
use crate::path::RepoPath;
use crate::progress::Phase;
use crate::storage::engine::{EngineError, Worker};
use crate::storage::format::object::{Commit, EntryKind};
use crate::storage::format::pack::BlockKind;
use crate::storage::format::staging_log::Frame;
use crate::storage::objects::{ObjectSink, Objects, TreeTotals};
use crate::storage::refs::{Head, RefValue};

/// Directory of what imports note.
const IMPORT_DIR: &str = "import";

/// What was taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObliterateReport {
    /// Commits that there are.
    pub commits: u64,
    /// Commits that were written again.
    pub rewritten: u64,
    /// Refs that moved.
    pub refs: u64,
    /// Paths that some commit or the staging area held.
    pub paths: BTreeSet<RepoPath>,
    /// Paths that were staged among them.
    pub staged: u64,
    /// Bytes that `gc --now` frees; none where nothing was done.
    pub freed_bytes: Option<i64>,
}

/// What became of the commits.
#[derive(Default)]
struct Rewritten {
    commits: HashMap<CommitId, CommitId>,
    report: ObliterateReport,
}

impl Rewritten {
    fn moved(&self, id: &CommitId) -> CommitId {
        self.commits.get(id).copied().unwrap_or(*id)
    }
}

impl Repository {
    /// Takes all files that match out of every commit and out of the staging area. Files of the work
    /// tree stay.
    pub fn obliterate(&self, paths: &Pathspec, dry_run: bool) -> Result<ObliterateReport> {
        let mut op = self.begin(description("obliterate", paths.shown()))?;
        // What is repaired later would bring the files back.
        self.check_sound()?;
        self.check_none_waits()?;
        self.monitor().phase(Phase::Processing);
        let order = self.parents_first()?;
        let staged: Vec<RepoPath> = (op.staged().iter())
            .map(|entry| entry.path)
            .filter(|path| paths.matches(path.as_bytes(), false))
            .collect();
        let report = ObliterateReport {
            commits: order.commits.len() as u64,
            staged: staged.len() as u64,
            paths: staged.iter().cloned().collect(),
            ..ObliterateReport::default()
        };
        let mut rewritten = Rewritten { commits: HashMap::new(), report };
        self.rewrite(&order, paths, &mut rewritten, dry_run)?;
        // A run that was killed may have moved the refs, and left the rest to this one.
        if rewritten.report.paths.is_empty() && !self.store()?.is_obliterating() {
            return Err(nothing_matches(paths));
        }
        if dry_run {
            self.move_refs(&mut op, &mut rewritten, true)?;
            return Ok(rewritten.report);
        }
        self.store()?.begin_obliterating()?;
        self.move_refs(&mut op, &mut rewritten, false)?;
        let mut frame = Frame::default();
        staged.iter().for_each(|path| frame.remove(path.as_bytes()));
        op.staging().apply_anew(frame)?;
        // One that waits no more, because HEAD went elsewhere, leads to what was.
        op.set_merge(None)?;
        op.forget_all()?;
        self.forget_traces()?;
        self.store()?.end_obliterating()?;
        if !self.disk.list(DAMAGED_DIR.as_ref())?.is_empty() {
            let dir = self.place.repository.join(DAMAGED_DIR);
            let what = format!("what repairs put aside may hold the files: '{}'", dir.display());
            self.monitor().warn(&what);
        }
        drop(op);
        // Only for the report: another command may have taken the lock meanwhile.
        let next = GcOptions { dry_run: true, now: true, thorough: true };
        rewritten.report.freed_bytes = self.gc(next).ok().map(|report| report.freed_bytes());
        Ok(rewritten.report)
    }

    /// All commits that something leads to.
    fn parents_first(&self) -> Result<Order> {
        let refs = self.refs().list("")?;
        let mut stack: Vec<(CommitId, bool)> =
            refs.into_iter().map(|(_, record)| (record.new.commit, false)).collect();
        if let Head::Detached(commit) = self.refs().read_head()? {
            stack.push((commit, false));
        }
        let (mut begun, mut order) = (BTreeSet::new(), Order::default());
        while let Some((id, has_parents)) = stack.pop() {
            self.stop_if_cancelled()?;
            if !has_parents && !begun.insert(id) {
                continue;
            }
            let commit = self.objects()?.commit(&id)?;
            if has_parents {
                order.push(id, &commit);
            } else {
                stack.push((id, true));
                stack.extend(commit.parents.into_iter().map(|parent| (parent, false)));
            }
        }
        Ok(order)
    }

    /// Writes the commits that hold what goes, and those after them, again; a dry run counts them.
    fn rewrite(
        &self,
        order: &Order,
        paths: &Pathspec,
        rewritten: &mut Rewritten,
        dry_run: bool,
    ) -> Result<()> {
        let (root, objects) = (self.work_tree_handle()?, self.objects()?);
        let mut doomed = Doomed::new(objects, paths, order);
        if dry_run {
            for id in &order.commits {
                self.stop_if_cancelled()?;
                let commit = objects.commit(id)?;
                count_one(id, &commit, doomed.of(id, &commit)?, rewritten);
            }
            rewritten.report.paths.append(&mut doomed.all);
            return Ok(());
        }
        let mut unreadable = None;
        let written = self.engine()?.write_objects(&WorkTreeSource(&root), |worker| {
            for id in &order.commits {
                if self.cancel_token().is_cancelled() {
                    return Err(EngineError::Interrupted);
                }
                match rewrite_next(objects, id, &mut doomed, rewritten, worker) {
                    Ok(()) => {}
                    Err(Broken::Sink(error)) => return Err(error),
                    Err(Broken::Unreadable(error)) => {
                        unreadable = Some(error);
                        return Ok(());
                    }
                }
                self.monitor().advance(1, 0);
            }
            Ok(())
        });
        rewritten.report.paths.append(&mut doomed.all);
        match unreadable {
            Some(error) => Err(error),
            None => Ok(written?),
        }
    }

    /// Lets refs and `HEAD` lead to the new commits.
    fn move_refs(
        &self,
        op: &mut Operation<'_>,
        rewritten: &mut Rewritten,
        dry_run: bool,
    ) -> Result<()> {
        for (name, record) in self.refs().list("")? {
            let RefValue { commit, annotation } = record.new;
            let moved = rewritten.moved(&commit);
            if moved == commit {
                continue;
            }
            rewritten.report.refs += 1;
            if dry_run {
                continue;
            }
            let annotation = match annotation {
                Some(tag) => {
                    let mut tag = self.objects()?.tag(&tag)?;
                    tag.target = rewritten.moved(&tag.target);
                    Some(self.write_tag(&tag)?)
                }
                None => None,
            };
            op.set_ref(&name, Some(RefValue { commit: moved, annotation }))?;
        }
        if let Head::Detached(commit) = self.refs().read_head()? {
            op.set_head(Head::Detached(rewritten.moved(&commit)));
        }
        Ok(())
    }

    /// Removes what else could bring the files back.
    fn forget_traces(&self) -> Result<()> {
        for name in self.disk.list(IMPORT_DIR.as_ref())? {
            self.disk.remove_durably(&Path::new(IMPORT_DIR).join(name))?;
        }
        Ok(())
    }
}

fn nothing_matches(paths: &Pathspec) -> RepoError {
    let pathspec = paths.shown().next().unwrap_or_default().into_bytes();
    RepoError::NoMatch { pathspec, place: "any commit or the staging area".to_owned() }
}

/// Why a commit cannot be written again.
enum Broken {
    Unreadable(RepoError),
    Sink(EngineError),
}

impl<E: Into<RepoError>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::Unreadable(error.into())
    }
}

fn rewrite_next(
    objects: &Objects,
    id: &CommitId,
    doomed: &mut Doomed<'_>,
    rewritten: &mut Rewritten,
    worker: &mut Worker<'_>,
) -> std::result::Result<(), Broken> {
    let commit = objects.commit(id)?;
    let doomed = doomed.of(id, &commit)?;
    rewrite_one(objects, id, &commit, doomed, rewritten, worker).map_err(|stop| match stop {
        Stop::Unreadable(error) => error.into(),
        Stop::Sink(error) => Broken::Sink(error),
    })
}

fn rewrite_one(
    objects: &Objects,
    id: &CommitId,
    commit: &Commit,
    doomed: &BTreeSet<RepoPath>,
    rewritten: &mut Rewritten,
    worker: &mut Worker<'_>,
) -> std::result::Result<(), Stop<EngineError>> {
    let parents: Vec<_> = commit.parents.iter().map(|parent| rewritten.moved(parent)).collect();
    if doomed.is_empty() && parents == commit.parents {
        return Ok(());
    }
    let old = TreeTotals { tree: commit.tree, files: commit.files, bytes: commit.bytes };
    let edits: Vec<(RepoPath, Option<EntryKind>)> =
        doomed.iter().map(|path| (path.clone(), None)).collect();
    let TreeTotals { tree, files, bytes } = match edits.as_slice() {
        [] => old,
        edits => edit_tree_by(objects, Some(old), edits, worker)?,
    };
    let encoded = Commit { tree, files, bytes, parents, ..commit.clone() }.encode();
    let new = CommitId::of(&encoded);
    worker.put(BlockKind::Commit, ObjectId::from(new), encoded).map_err(Stop::Sink)?;
    rewritten.commits.insert(*id, new);
    rewritten.report.rewritten += 1;
    Ok(())
}

/// Counts what [`rewrite_one`] would do. Any other id stands for a new one.
fn count_one(
    id: &CommitId,
    commit: &Commit,
    doomed: &BTreeSet<RepoPath>,
    rewritten: &mut Rewritten,
) {
    let moves = commit.parents.iter().any(|parent| rewritten.commits.contains_key(parent));
    if moves || !doomed.is_empty() {
        rewritten.commits.insert(*id, CommitId::of(id.as_bytes()));
        rewritten.report.rewritten += 1;
    }
}
