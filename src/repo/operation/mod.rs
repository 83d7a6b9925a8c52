//! Operations: each command that changes the repository is one, and is entered in the log of
//! operations, so that it can be undone.
//!
//! An operation holds the lock. It changes in this order, each step durable before the next:
//! objects, the staging area, the record in the log, refs and `HEAD`. The record is the commit
//! point of refs and `HEAD`: [`Repository::begin`] looks at the last one and brings refs and
//! `HEAD` to what it says, where the command that wrote it was killed before. What is staged and
//! has no record, because an `add` was killed, is entered by a record of its own, so that no undo
//! loses it.
//!
//! Bytes of the work tree that a command would overwrite and nobody has are stored first
//! ([`Keeper`]). Before files of the work tree change, either their record is written, or a file
//! says what they are brought to and what is kept ([`Operation::announce`]): should the command be
//! killed, the next one enters that, and an undo takes it back.

mod catch_up;
mod keep;
mod staged;
mod undo;
mod way;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use catch_up::MOVING_FILE;
pub use keep::{Doomed, Held, Keeper};
pub use undo::{UndoError, UndoOptions, UndoReport};
pub use way::PastState;

use super::{Repository, Result};
use crate::id::{CommitId, TreeId};
use crate::path::RepoPath;
use crate::storage::binary_staging::BinaryStagingArea;
use crate::storage::disk::LockGuard;
use crate::storage::format::merge_state::MergeState;
use crate::storage::format::moving::Moving;
use crate::storage::format::object::EntryKind;
use crate::storage::objects::TreeTotals;
pub use crate::storage::oplog::{OpKind, OpRecord, OpState, RefChange, StagedTree};
use crate::storage::oplog::{OpLink, OpLog};
use crate::storage::refs::{Head, RefValue};

/// Longest description of an operation that is recorded, in bytes.
const MAX_DESCRIPTION: usize = 512;
/// Longest name of a user that is recorded, in bytes.
const MAX_USER: usize = 256;

/// A command that changes the repository, while it runs. One that is dropped without
/// [`Self::finish`] has moved no ref; what it staged stays, and the next operation records it.
pub struct Operation<'r> {
    repository: &'r Repository,
    log: OpLog,
    staging: BinaryStagingArea,
    description: String,
    kind: OpKind,
    /// The record that an undo or a redo takes back.
    takes_back: Option<OpRecord>,
    before: OpState,
    head: Option<Head>,
    refs: BTreeMap<String, RefChange>,
    kept: Option<TreeId>,
    written: Option<TreeId>,
    /// The merge that waits behind it.
    merging: Option<TreeId>,
    moves_work_tree: bool,
    /// Whether it goes a way back, so that a killed one is gone on with.
    is_undo: bool,
    /// What a killed command was doing to the work tree. Behind [`Self::catch_up`] only that of an
    /// undo which is gone on with.
    unfinished: Option<Moving>,
    /// Whether a file announces what it does to the work tree.
    is_announced: bool,
    /// Last, so that it is let go last.
    _lock: Box<dyn LockGuard>,
}

impl Repository {
    /// Begins an operation, for which `description` is one line in the log. Takes the lock, and
    /// finishes or enters what a killed command left.
    pub fn begin(&self, description: impl Into<String>) -> Result<Operation<'_>> {
        let lock = self.lock()?;
        let mut operation = Operation::new(self, lock, self.staging()?, description.into())?;
        operation.catch_up(true)?;
        Ok(operation)
    }

    /// As [`Self::begin`], under the lock, with an empty staging area in the place of one that cannot
    /// be read. What is staged comes to the disk with the operation's record: if it is killed before,
    /// the staging area is as damaged as it was. It must be in use already: the list of condemned packs may
    /// be damaged too.
    pub(super) fn begin_anew(
        &self,
        lock: Box<dyn LockGuard>,
        description: impl Into<String>,
    ) -> Result<Operation<'_>> {
        let staging = BinaryStagingArea::anew(Arc::clone(&self.disk))?;
        let mut operation = Operation::new(self, lock, staging, description.into())?;
        operation.catch_up(false)?;
        Ok(operation)
    }

    /// The log of operations.
    pub fn operations(&self) -> Result<OpLog> {
        Ok(OpLog::open(Arc::clone(&self.disk))?)
    }
}

impl<'r> Operation<'r> {
    fn new(
        repository: &'r Repository,
        lock: Box<dyn LockGuard>,
        staging: BinaryStagingArea,
        description: String,
    ) -> Result<Self> {
        let log = repository.operations()?;
        let before = match log.last() {
            Some(last) => last.after.clone(),
            None => OpState {
                head: repository.refs().read_head()?,
                staged: staged::nothing(),
                merging: None,
            },
        };
        let unfinished = repository.announced(&log)?;
        repository.stored.clear();
        Ok(Self {
            repository,
            log,
            staging,
            description,
            kind: OpKind::Normal,
            takes_back: None,
            head: None,
            refs: BTreeMap::new(),
            kept: None,
            written: None,
            merging: before.merging,
            before,
            moves_work_tree: false,
            is_undo: false,
            unfinished,
            is_announced: false,
            _lock: lock,
        })
    }

    /// The repository.
    pub fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// The staging area, to be changed.
    pub fn staging(&mut self) -> &mut BinaryStagingArea {
        &mut self.staging
    }

    /// The staging area, to be read.
    pub fn staged(&self) -> &BinaryStagingArea {
        &self.staging
    }

    /// What `HEAD` names: what it will be, once it was set.
    pub fn head(&self) -> &Head {
        self.head.as_ref().unwrap_or(&self.before.head)
    }

    /// The commit that `HEAD` leads to, changes of this operation included; none on a branch
    /// without commits.
    pub fn head_commit(&self) -> Result<Option<CommitId>> {
        match self.head() {
            Head::Detached(commit) => Ok(Some(*commit)),
            Head::Branch(name) => {
                Ok(self.read_ref(&format!("heads/{name}"))?.map(|value| value.commit))
            }
        }
    }

    /// Where a ref leads, changes of this operation included.
    pub fn read_ref(&self, name: &str) -> Result<Option<RefValue>> {
        match self.refs.get(name) {
            Some(change) => Ok(change.new),
            None => Ok(self.repository.refs().read(name)?.map(|record| record.new)),
        }
    }

    /// Lets the ref `name` (`heads/main`, `tags/v1`) lead to `new` when the operation finishes;
    /// `None` deletes it.
    pub fn set_ref(&mut self, name: &str, new: Option<RefValue>) -> Result<()> {
        if let Some(change) = self.refs.get_mut(name) {
            change.new = new;
            return Ok(());
        }
        let old = self.read_ref(name)?;
        let name = name.to_owned();
        self.refs.insert(name.clone(), RefChange { name, old, new });
        Ok(())
    }

    /// Lets `HEAD` name this when the operation finishes.
    pub fn set_head(&mut self, head: Head) {
        self.head = Some(head);
    }

    /// Moves the branch that `HEAD` names to `commit`, or `HEAD` itself; returns the branch.
    pub fn move_head(&mut self, commit: CommitId) -> Result<Option<String>> {
        match self.head().clone() {
            Head::Branch(name) => {
                self.set_ref(&format!("heads/{name}"), Some(commit.into()))?;
                Ok(Some(name))
            }
            Head::Detached(_) => {
                self.set_head(Head::Detached(commit));
                Ok(None)
            }
        }
    }

    /// What was staged before the operation.
    pub fn staged_before(&self) -> &StagedTree {
        &self.before.staged
    }

    /// Whether a killed undo or redo is gone on with.
    pub(super) fn goes_on(&self) -> bool {
        self.unfinished.is_some()
    }

    /// What the operation does, for the log.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Says what the operation does, where more is known than at its begin.
    pub fn describe(&mut self, description: impl Into<String>) {
        self.description = description.into();
    }

    /// Notes bytes of the work tree that the operation overwrites or removes: a tree of the paths
    /// with what they held, as [`Keeper`] makes it. `None` is what there is to keep often. What was
    /// kept of a path before stays: it was there first.
    pub fn keep(&mut self, tree: Option<TreeId>) -> Result<()> {
        self.kept = self.repository.overlaid(tree, self.kept)?;
        Ok(())
    }

    /// Notes what the operation writes in the work tree beyond what is staged then. An undo brings
    /// each path to what was kept of it, or removes it; see [`OpRecord::written`].
    pub fn writes(&mut self, tree: Option<TreeId>) -> Result<()> {
        self.written = self.repository.overlaid(self.written, tree)?;
        Ok(())
    }

    /// The same, from a list in path order.
    pub fn writes_entries(&mut self, entries: &[(RepoPath, Option<EntryKind>)]) -> Result<()> {
        let has_any = entries.iter().any(|(_, kind)| kind.is_some());
        let tree = has_any.then(|| self.repository.write_alone(entries)).transpose()?;
        self.writes(tree.map(|written| written.tree))
    }

    /// Lets a merge wait when the operation finishes, or none.
    pub fn set_merge(&mut self, state: Option<&MergeState>) -> Result<()> {
        self.merging = state.map(|state| self.repository.store_merge_state(state)).transpose()?;
        Ok(())
    }

    /// Notes that the operation changes files of the work tree, so that an undo changes them back.
    pub fn moves_work_tree(&mut self) {
        self.moves_work_tree = true;
    }

    /// The tree of what is staged, stored.
    pub fn staged_tree(&mut self) -> Result<TreeTotals> {
        let known = [self.before.staged];
        staged::write(self.repository, &mut self.staging, &known)
    }

    /// Enters what was done so far in the log and makes it so; the number of the record, or none
    /// where nothing changed. What follows is another operation with its own record.
    ///
    /// After an error the record may be durable nevertheless; then the next operation finishes
    /// what it says.
    pub fn checkpoint(&mut self) -> Result<Option<u64>> {
        let TreeTotals { tree, files, bytes } = self.staged_tree()?;
        self.staging.publish()?;
        let head = self.head.take().unwrap_or_else(|| self.before.head.clone());
        let staged = StagedTree { tree, files, bytes };
        let after = OpState { head, staged, merging: self.merging };
        let refs = std::mem::take(&mut self.refs).into_values();
        let refs: Vec<RefChange> = refs.filter(|change| change.old != change.new).collect();
        let is_command = self.kind == OpKind::Normal;
        let leaves_trace = self.kept.is_some() || self.written.is_some();
        if is_command && after == self.before && refs.is_empty() && !leaves_trace {
            self.forget_announcement()?;
            return Ok(None);
        }
        let store = self.repository.refs();
        store.prepare(&refs)?;
        let commits = refs.iter().filter_map(|change| change.new).map(|value| value.commit);
        let head = match &after.head {
            Head::Detached(commit) if after.head != self.before.head => Some(*commit),
            _ => None,
        };
        commits.chain(head).try_for_each(|commit| self.repository.check_whole(commit))?;
        let seq = self.append(after.clone(), refs.clone())?;
        self.forget_announcement()?;
        store.apply(&refs)?;
        if after.head != self.before.head {
            store.write_head(&after.head)?;
        }
        self.before = after;
        Ok(Some(seq))
    }

    /// Enters what was done in the log and makes it so; see [`Self::checkpoint`].
    pub fn finish(mut self) -> Result<Option<u64>> {
        self.checkpoint()
    }

    /// Enters what was done, makes it so, and lets the log begin anew behind it: nothing before can be
    /// undone or looked at any more.
    pub fn forget_all(&mut self) -> Result<()> {
        self.checkpoint()?;
        let log = self.repository.operations()?;
        if let Some(last) = log.last().filter(|_| !log.is_fresh()) {
            let next = last.link.seq + 1;
            self.log = log.expire(next)?;
        }
        Ok(())
    }

    fn append(&mut self, after: OpState, refs: Vec<RefChange>) -> Result<u64> {
        let link = self.log.next_link();
        let (undo, redo) = self.next_steps(link)?;
        let now = jiff::Zoned::now();
        let user = self.repository.config().user.name.as_deref().unwrap_or_default();
        let record = OpRecord {
            link,
            seconds: now.timestamp().as_second(),
            offset_minutes: (now.offset().seconds() / 60) as i16,
            user: shortened(user, MAX_USER),
            description: shortened(&self.description, MAX_DESCRIPTION),
            kind: self.kind,
            before: self.before.clone(),
            after,
            refs,
            moved_work_tree: std::mem::take(&mut self.moves_work_tree),
            kept: self.kept.take(),
            written: self.written.take(),
            undo,
            redo,
        };
        self.log.append(record)?;
        Ok(link.seq)
    }

    /// What an `undo` and a `redo` behind the record at `link` take back. Each operation lies on
    /// those before it as on a stack: an undo takes it off, a redo puts it on again.
    fn next_steps(&self, link: OpLink) -> Result<(Option<OpLink>, Option<OpLink>)> {
        let below = match &self.takes_back {
            Some(record) => self.log.before(record)?,
            None => None,
        };
        Ok(match self.kind {
            // Before the first record nothing is known that one could go back to.
            OpKind::Noticed if self.log.last().is_none() => (None, None),
            OpKind::Normal | OpKind::Restore { .. } | OpKind::Noticed => (Some(link), None),
            OpKind::Undo { .. } => (below.and_then(|below| below.undo), Some(link)),
            OpKind::Redo { .. } => (Some(link), below.and_then(|below| below.redo)),
        })
    }
}

/// The beginning of a text, of so many bytes at most, on one line.
fn shortened(text: &str, limit: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.len() <= limit {
        return line.to_owned();
    }
    format!("{}…", &line[..line.floor_char_boundary(limit - 3)])
}

/// A description of a command and what it was given.
pub(super) fn description(
    command: &str,
    arguments: impl IntoIterator<Item = impl std::fmt::Display>,
) -> String {
    let mut text = command.to_owned();
    for argument in arguments {
        if text.len() > MAX_DESCRIPTION {
            break;
        }
        text.push_str(&format!(" {argument}"));
    }
    text
}

#[cfg(test)]
mod tests;
