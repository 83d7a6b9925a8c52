//! Three-way merge of trees: two streams of changes from a common ancestor, joined in path order.
//! What neither side changed is not read. Contents are left to the caller; this decides paths.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::iter::Peekable;

use super::super::Result;
use super::super::diff_trees::as_staged;
use super::super::trees::{TreeChange, TreeDiff, find};
use crate::id::TreeId;
use crate::path::RepoPath;
use crate::storage::binary_staging::StagedKind;
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
    /// Paths that both sides changed.
    touched: HashSet<RepoPath>,
    /// What both sides deleted.
    gone: Vec<EntryKind>,
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
            (Some(ours), Some(theirs)) => {
                merge.touched.insert(ours.path.clone());
                merge.both_changed(ours, theirs);
            }
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
            self.gone.extend(ours.old.filter(|_| ours.new.is_none()));
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

/// Where contents came to, each to one place only, and what is there; none for several places.
type Moves = HashMap<Content, Option<(RepoPath, EntryKind)>>;

/// A file that one side moved elsewhere and the other changed: the change goes to the new place.
/// Moves are known by their content, which is that of the ancestor. Where both sides did something
/// at the new place, or several files would go there, the conflict stays. What one side moved and
/// the other deleted is a conflict at the new place.
fn follow_renames(
    objects: &Objects,
    (base, ours, theirs): (Option<TreeId>, TreeId, TreeId),
    merge: &mut TreeMerge,
) -> Result<()> {
    let is_deletion = |conflict: &Conflict| conflict.kind != ConflictKind::BothChanged;
    if !merge.conflicts.iter().any(is_deletion) && merge.gone.is_empty() {
        return Ok(());
    }
    let our_moves = added_contents(objects, base, ours)?;
    let their_moves = added_contents(objects, base, theirs)?;
    let mut places = Vec::with_capacity(merge.conflicts.len());
    for conflict in &merge.conflicts {
        let place = match conflict.kind {
            ConflictKind::DeletedByUs => moved(conflict, conflict.theirs.as_ref(), &our_moves),
            ConflictKind::DeletedByThem => moved(conflict, conflict.ours.as_ref(), &their_moves),
            ConflictKind::BothChanged | ConflictKind::InTheWay => None,
        };
        let is_right = |(to, _): &(RepoPath, EntryKind)| -> Result<bool> {
            let is_ours = conflict.kind == ConflictKind::DeletedByUs;
            Ok(!merge.touched.contains(to) && (is_ours || is_free(objects, &ours, to)?))
        };
        let is_right = place.as_ref().map_or(Ok(false), is_right)?;
        places.push(place.filter(|_| is_right));
    }
    let mut count: HashMap<RepoPath, usize> = HashMap::new();
    places.iter().flatten().for_each(|(to, _)| *count.entry(to.clone()).or_default() += 1);
    let conflicts = std::mem::take(&mut merge.conflicts);
    let (mut settled, mut edits) = (HashSet::new(), Vec::new());
    for (conflict, place) in conflicts.into_iter().zip(places) {
        let Some((to, merged)) = place.filter(|(to, _)| count.get(to) == Some(&1)) else {
            merge.conflicts.push(conflict);
            continue;
        };
        if conflict.kind == ConflictKind::DeletedByThem {
            edits.push((conflict.path, None));
        }
        settled.insert(to.clone());
        edits.push((to, Some(merged)));
    }
    for base in std::mem::take(&mut merge.gone) {
        if let Some(conflict) = moved_or_deleted(base, &our_moves, &their_moves)
            && !merge.touched.contains(&conflict.path)
            && settled.insert(conflict.path.clone())
        {
            merge.conflicts.push(conflict);
        }
    }
    merge.edits.retain(|(path, _)| !settled.contains(path));
    merge.edits.append(&mut edits);
    Ok(())
}

/// Where one side moved what the other changed, and what the two come to there: the content of the
/// one that changed it, and the mode as [`TreeMerge::both_there`] has it.
fn moved(
    conflict: &Conflict,
    changed: Option<&EntryKind>,
    moves: &Moves,
) -> Option<(RepoPath, EntryKind)> {
    let (was_executable, _, content) = conflict.base.as_ref().and_then(as_file)?;
    let (to, there) = moves.get(&content)?.clone()?;
    let (changed, moved) = (changed.and_then(as_file)?, as_file(&there)?.0);
    let executable = if moved == was_executable { changed.0 } else { moved };
    Some((to, EntryKind::File { executable, size: changed.1, content: changed.2 }))
}

/// What both sides deleted, and one of them has somewhere else.
fn moved_or_deleted(base: EntryKind, ours: &Moves, theirs: &Moves) -> Option<Conflict> {
    let (.., content) = as_file(&base)?;
    let base = Some(base);
    match (ours.get(&content), theirs.get(&content)) {
        (Some(Some((path, ours))), None) => {
            let (path, ours) = (path.clone(), Some(ours.clone()));
            let kind = ConflictKind::DeletedByThem;
            Some(Conflict { path, kind, base, ours, theirs: None, resolved: false })
        }
        (None, Some(Some((path, theirs)))) => {
            let (path, theirs) = (path.clone(), Some(theirs.clone()));
            let kind = ConflictKind::DeletedByUs;
            Some(Conflict { path, kind, base, ours: None, theirs, resolved: false })
        }
        _ => None,
    }
}

/// Whether ours has neither a directory at the path nor a file above it.
fn is_free(objects: &Objects, ours: &TreeId, path: &RepoPath) -> Result<bool> {
    let is_dir = matches!(find(objects, ours, path)?, Some(EntryKind::Dir { .. }));
    Ok(!is_dir && !is_below_file(objects, ours, path, &HashSet::new())?)
}

/// The files that a side has where there was nothing, by their content. Empty ones tell nothing.
fn added_contents(objects: &Objects, base: Option<TreeId>, tree: TreeId) -> Result<Moves> {
    let mut added = Moves::new();
    for change in TreeDiff::new(objects, base, Some(tree)) {
        let TreeChange { path, old, new } = change?;
        let (None, Some(kind)) = (old, new) else { continue };
        match as_file(&kind) {
            Some((.., content)) if content != Content::Empty => {
                added
                    .entry(content)
                    .and_modify(|place| *place = None)
                    .or_insert(Some((path, kind)));
            }
            _ => {}
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
    let removed: HashSet<RepoPath> =
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
        // That a directory is empty on their side does not matter where it is not on ours.
        let is_empty = new
            .clone()
            .and_then(as_staged)
            .is_some_and(|(kind, _)| matches!(kind, StagedKind::EmptyDir));
        if is_empty && holds_ours(objects, (base, ours), &path)? {
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
    removed: &HashSet<RepoPath>,
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
