//! Three-way merge of trees: two streams of changes from a common ancestor, joined in path order.
//! What neither side changed is not read. Contents are left to the caller; this decides paths.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::iter::Peekable;

use super::super::Result;
use super::super::trees::{TreeChange, TreeDiff, find};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::format::merge_state::{Conflict, ConflictKind};
use crate::storage::format::object::{Content, EntryKind};
use crate::storage::objects::Objects;

/// What one side holds where both changed a path.
type Side = Option<EntryKind>;

/// A file whose content both sides changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BothChanged {
    /// Where the result goes.
    pub(super) path: RepoPath,
    pub(super) base: Side,
    pub(super) ours: EntryKind,
    pub(super) theirs: EntryKind,
    /// Whether the result is executable.
    pub(super) executable: bool,
}

/// The way from ours to the merged tree.
#[derive(Debug, Default)]
pub(super) struct TreeMerge {
    /// In path order; `None` removes.
    pub(super) edits: Vec<(RepoPath, Side)>,
    /// Contents to be merged, in path order.
    pub(super) both: Vec<BothChanged>,
    /// What cannot be merged, in path order; ours stays.
    pub(super) conflicts: Vec<Conflict>,
}

/// Merges what `theirs` changed since `base` into `ours`.
pub(super) fn merge_trees(
    objects: &Objects,
    base: Option<TreeId>,
    ours: TreeId,
    theirs: TreeId,
) -> Result<TreeMerge> {
    let ours_side = TreeDiff::new(objects, base, Some(ours)).peekable();
    let theirs_side = TreeDiff::new(objects, base, Some(theirs)).peekable();
    let mut merge = TreeMerge::default();
    let mut pairs = Pairs { ours: ours_side, theirs: theirs_side };
    while let Some((ours, theirs)) = pairs.next()? {
        match (ours, theirs) {
            (_, None) => {}
            (None, Some(theirs)) => merge.edits.push((theirs.path, theirs.new)),
            (Some(ours), Some(theirs)) => merge.both_changed(ours, theirs),
        }
    }
    follow_renames(objects, (base, ours, theirs), &mut merge)?;
    keep_apart(objects, (base, ours), &mut merge)?;
    merge.edits.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    merge.both.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    merge.conflicts.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(merge)
}

/// The changes of both sides, path by path.
struct Pairs<'a> {
    ours: Peekable<TreeDiff<'a>>,
    theirs: Peekable<TreeDiff<'a>>,
}

impl Pairs<'_> {
    fn next(&mut self) -> Result<Option<(Option<TreeChange>, Option<TreeChange>)>> {
        let order = match (self.ours.peek(), self.theirs.peek()) {
            (None, None) => return Ok(None),
            (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
            (_, Some(Err(_))) | (None, Some(_)) => Ordering::Greater,
            (Some(Ok(ours)), Some(Ok(theirs))) => ours.path.cmp(&theirs.path),
        };
        let ours = if order.is_le() { self.ours.next().transpose()? } else { None };
        let theirs = if order.is_ge() { self.theirs.next().transpose()? } else { None };
        Ok(Some((ours, theirs)))
    }
}

impl TreeMerge {
    fn both_changed(&mut self, ours: TreeChange, theirs: TreeChange) {
        if ours.new == theirs.new {
            return;
        }
        let (path, base) = (ours.path, ours.old);
        match (ours.new, theirs.new) {
            (Some(ours), Some(theirs)) => self.both_there(path, base, ours, theirs),
            (ours, theirs) => {
                let kind = match ours {
                    None => ConflictKind::DeletedByUs,
                    Some(_) => ConflictKind::DeletedByThem,
                };
                self.conflicts.push(Conflict { path, kind, base, ours, theirs, resolved: false });
            }
        }
    }

    fn both_there(&mut self, path: RepoPath, base: Side, ours: EntryKind, theirs: EntryKind) {
        let (Some(our_file), Some(their_file)) = (as_file(&ours), as_file(&theirs)) else {
            let kind = ConflictKind::BothChanged;
            let (ours, theirs) = (Some(ours), Some(theirs));
            self.conflicts.push(Conflict { path, kind, base, ours, theirs, resolved: false });
            return;
        };
        let base_file = base.as_ref().and_then(as_file);
        // The side that changed the mode decides; without an ancestor, either that has it.
        let executable = match base_file {
            Some((was, ..)) if our_file.0 == was => their_file.0,
            Some(_) => our_file.0,
            None => our_file.0 || their_file.0,
        };
        let content = |file: (bool, u64, Content)| (file.1, file.2);
        let merged = match base_file {
            _ if content(our_file) == content(their_file) => Some(content(our_file)),
            Some(base) if content(base) == content(our_file) => Some(content(their_file)),
            Some(base) if content(base) == content(their_file) => Some(content(our_file)),
            _ => None,
        };
        match merged {
            Some((size, content)) => {
                self.edits.push((path, Some(EntryKind::File { executable, size, content })));
            }
            None => self.both.push(BothChanged { path, base, ours, theirs, executable }),
        }
    }
}

/// Mode, size and content of a file.
pub(super) fn as_file(kind: &EntryKind) -> Option<(bool, u64, Content)> {
    match kind {
        EntryKind::File { executable, size, content } => Some((*executable, *size, *content)),
        _ => None,
    }
}

/// A file that one side moved elsewhere and the other changed: the change goes to the new place.
/// Moves are known by their content, which is that of the ancestor.
fn follow_renames(
    objects: &Objects,
    (base, ours, theirs): (Option<TreeId>, TreeId, TreeId),
    merge: &mut TreeMerge,
) -> Result<()> {
    let is_deletion = |conflict: &Conflict| conflict.kind != ConflictKind::BothChanged;
    if !merge.conflicts.iter().any(is_deletion) {
        return Ok(());
    }
    let our_moves = added_contents(objects, base, ours)?;
    let their_moves = added_contents(objects, base, theirs)?;
    for conflict in std::mem::take(&mut merge.conflicts) {
        let moves = match conflict.kind {
            ConflictKind::DeletedByUs => &our_moves,
            ConflictKind::DeletedByThem => &their_moves,
            ConflictKind::BothChanged | ConflictKind::InTheWay => {
                merge.conflicts.push(conflict);
                continue;
            }
        };
        let from = conflict.base.as_ref().and_then(as_file);
        let to = from.filter(|(.., content)| *content != Content::Empty);
        let to = to.and_then(|(.., content)| moves.get(&content)?.clone());
        let Some(to) = to else {
            merge.conflicts.push(conflict);
            continue;
        };
        let Conflict { path, ours, theirs, kind, .. } = conflict;
        if kind == ConflictKind::DeletedByThem {
            merge.edits.push((path, None));
            merge.edits.retain(|(path, _)| *path != to);
        }
        merge.edits.push((to, ours.or(theirs)));
    }
    Ok(())
}

/// Where contents were added that came to one place only.
fn added_contents(
    objects: &Objects,
    base: Option<TreeId>,
    tree: TreeId,
) -> Result<HashMap<Content, Option<RepoPath>>> {
    let mut added = HashMap::new();
    for change in TreeDiff::new(objects, base, Some(tree)) {
        let change = change?;
        if let (None, Some((.., content))) = (&change.old, change.new.as_ref().and_then(as_file)) {
            let path = Some(change.path);
            added.entry(content).and_modify(|place| *place = None).or_insert(path);
        }
    }
    Ok(added)
}

/// Takes edits back that would put a file where ours has a directory, or below one of our files.
fn keep_apart(
    objects: &Objects,
    (base, ours): (Option<TreeId>, TreeId),
    merge: &mut TreeMerge,
) -> Result<()> {
    merge.edits.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let removed: std::collections::HashSet<RepoPath> =
        merge.edits.iter().filter(|(_, new)| new.is_none()).map(|(path, _)| path.clone()).collect();
    let mut kept = Vec::with_capacity(merge.edits.len());
    for (path, new) in std::mem::take(&mut merge.edits) {
        let is_blocked = match &new {
            None => false,
            Some(_) => {
                is_below_file(objects, &ours, &path, &removed)?
                    || holds_ours(objects, (base, ours), &path)?
            }
        };
        if !is_blocked {
            kept.push((path, new));
            continue;
        }
        let at = |tree: &TreeId| find(objects, tree, &path);
        let base = base.as_ref().map_or(Ok(None), at)?;
        merge.conflicts.push(Conflict {
            kind: ConflictKind::InTheWay,
            base,
            ours: None,
            theirs: new,
            resolved: false,
            path,
        });
    }
    merge.edits = kept;
    Ok(())
}

/// Whether ours has a file or link in the place of a directory above the path, and keeps it.
fn is_below_file(
    objects: &Objects,
    ours: &TreeId,
    path: &RepoPath,
    removed: &std::collections::HashSet<RepoPath>,
) -> Result<bool> {
    let mut above = path.parent();
    while let Some(dir) = above.filter(|dir| !dir.is_root()) {
        match find(objects, ours, &dir)? {
            Some(EntryKind::Dir { .. }) => return Ok(false),
            Some(_) => return Ok(!removed.contains(&dir)),
            None => {}
        }
        above = dir.parent();
    }
    Ok(false)
}

/// Whether ours has a directory at the path and changed something in it, so that something of it
/// stays.
fn holds_ours(
    objects: &Objects,
    (base, ours): (Option<TreeId>, TreeId),
    path: &RepoPath,
) -> Result<bool> {
    let dir_of = |tree: &TreeId| -> Result<Option<TreeId>> {
        Ok(match find(objects, tree, path)? {
            Some(EntryKind::Dir { tree, .. }) => Some(tree),
            _ => None,
        })
    };
    let Some(now) = dir_of(&ours)? else { return Ok(false) };
    let before = base.as_ref().map_or(Ok(None), dir_of)?;
    for change in TreeDiff::new(objects, before, Some(now)) {
        if change?.new.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
