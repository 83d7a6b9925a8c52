//! A merge, cherry-pick or revert that waits for its user: what it will become, and what is not
//! resolved yet.

use super::bytes::{Reader, push_checksum, push_string, push_varint, split_checksum};
use super::object::{EntryKind, MAX_MESSAGE, MAX_PARENTS, Signature, TreeEntry};
use super::{FormatError, Result};
use crate::id::{CommitId, ID_LEN, TreeId};
use crate::path::{MAX_PATH, RepoPath};

const MAGIC: &[u8; 8] = b"DIGMERG1";
const WHAT: &str = "the state of a merge";

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeKind {
    /// `merge`.
    Merge,
    /// `cherry-pick`.
    CherryPick,
    /// `revert`.
    Revert,
    /// `stash pop` or `stash apply`; nothing waits once its conflicts are resolved.
    Stash,
}

impl MergeKind {
    /// The command's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::CherryPick => "cherry-pick",
            Self::Revert => "revert",
            Self::Stash => "stash",
        }
    }
}

/// Why a path is in conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictKind {
    /// Both sides changed or added it, each in its own way.
    BothChanged,
    /// Ours deleted it, theirs changed it.
    DeletedByUs,
    /// Theirs deleted it, ours changed it.
    DeletedByThem,
    /// Theirs has a file where ours has a directory, or the other way round.
    InTheWay,
}

/// A path that must be resolved by hand. What is staged there is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Which.
    pub path: RepoPath,
    /// Why.
    pub kind: ConflictKind,
    /// What the common ancestor holds there.
    pub base: Option<EntryKind>,
    /// What our side holds there.
    pub ours: Option<EntryKind>,
    /// What their side holds there.
    pub theirs: Option<EntryKind>,
    /// Whether the user resolved it.
    pub resolved: bool,
}

/// How the commits of a sequence are picked or reverted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PickFlags {
    /// The parent that the change of a merge commit is taken against, counted from 1.
    pub parent: Option<usize>,
    /// Say in the message where it comes from.
    pub note_origin: bool,
    /// Stage the results only.
    pub no_commit: bool,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeState {
    /// What waits.
    pub kind: MergeKind,
    /// Where `HEAD` was when it began. Once `HEAD` is elsewhere, nothing waits any more.
    pub head: CommitId,
    /// The commit or commits that are merged, picked, reverted or brought back.
    pub others: Vec<CommitId>,
    /// The merged tree, with ours where there are conflicts.
    pub merged: TreeId,
    /// The message of the commit that it will become.
    pub message: String,
    /// The author, where it is not who commits.
    pub author: Option<Signature>,
    /// Commits that follow, the next one last.
    pub todo: Vec<CommitId>,
    /// Where `HEAD` was when the first commit of the sequence was picked.
    pub start: CommitId,
    /// The tree of what was staged before.
    pub before: TreeId,
    /// How commits are picked.
    pub how: PickFlags,
    /// In path order.
    pub conflicts: Vec<Conflict>,
}

impl MergeState {
    /// Conflicts that are not resolved yet, in path order.
    pub fn open(&self) -> impl Iterator<Item = &Conflict> {
        self.conflicts.iter().filter(|conflict| !conflict.resolved)
    }

    /// All commits that it names.
    pub fn commits(&self) -> impl Iterator<Item = CommitId> + '_ {
        [self.head, self.start].into_iter().chain(self.others.iter().chain(&self.todo).copied())
    }

    /// All trees that it names, besides those in conflict.
    pub fn trees(&self) -> [TreeId; 2] {
        [self.merged, self.before]
    }

    /// All sides of all conflicts, each with the path that it is for.
    pub fn sides(&self) -> impl Iterator<Item = (&RepoPath, &EntryKind)> {
        self.conflicts.iter().flat_map(|conflict| {
            let sides = [&conflict.base, &conflict.ours, &conflict.theirs].into_iter().flatten();
            sides.map(|side| (&conflict.path, side))
        })
    }

    /// What waits when `others` are brought to `head`, before anything came of it: nobody else's,
    /// without conflicts and with nothing behind it.
    pub fn new(
        kind: MergeKind,
        head: CommitId,
        others: Vec<CommitId>,
        message: String,
        before: TreeId,
    ) -> Self {
        Self {
            kind,
            head,
            others,
            merged: before,
            message,
            author: None,
            todo: Vec::new(),
            start: head,
            before,
            how: PickFlags::default(),
            conflicts: Vec::new(),
        }
    }

    /// Whether nothing is begun: only the commits that follow wait.
    pub fn is_between(&self) -> bool {
        self.others.is_empty() && !self.todo.is_empty()
    }

    /// What waits once this is done, with `HEAD` at a commit and a tree staged; none if nothing
    /// follows.
    pub fn rest(&self, head: CommitId, staged: TreeId) -> Option<Self> {
        let rest = Self {
            todo: self.todo.clone(),
            start: self.start,
            how: self.how,
            ..Self::new(self.kind, head, Vec::new(), String::new(), staged)
        };
        (!self.todo.is_empty()).then_some(rest)
    }

    /// Bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(match self.kind {
            MergeKind::Merge => 0,
            MergeKind::CherryPick => 1,
            MergeKind::Revert => 2,
            MergeKind::Stash => 3,
        });
        out.extend_from_slice(self.head.as_bytes());
        push_ids(&mut out, &self.others);
        out.extend_from_slice(self.merged.as_bytes());
        push_string(&mut out, self.message.as_bytes());
        out.push(u8::from(self.author.is_some()));
        self.author.iter().for_each(|author| author.encode(&mut out));
        push_ids(&mut out, &self.todo);
        out.extend_from_slice(self.start.as_bytes());
        out.extend_from_slice(self.before.as_bytes());
        push_varint(&mut out, self.how.parent.unwrap_or(0) as u64);
        out.push(u8::from(self.how.note_origin));
        out.push(u8::from(self.how.no_commit));
        push_varint(&mut out, self.conflicts.len() as u64);
        self.conflicts.iter().for_each(|conflict| conflict.push(&mut out));
        push_checksum(&mut out, 0);
        out
    }

    /// The same of a state that is to be stored: an error is what [`Self::decode`] would not take.
    pub fn encode_checked(&self) -> Result<Vec<u8>> {
        let bytes = self.encode();
        Self::decode(&bytes).map(|_| bytes)
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(WHAT, split_checksum(WHAT, bytes)?);
        reader.magic(MAGIC)?;
        let kind = match reader.u8()? {
            0 => MergeKind::Merge,
            1 => MergeKind::CherryPick,
            2 => MergeKind::Revert,
            3 => MergeKind::Stash,
            other => return Err(reader.invalid(format!("unknown kind {other}"))),
        };
        let head = reader.id()?.into();
        let others = read_ids(&mut reader, MAX_PARENTS)?;
        let merged = reader.id()?.into();
        let message = String::from_utf8(reader.string(MAX_MESSAGE)?.to_vec())
            .map_err(|_| FormatError::invalid(WHAT, "the message is not UTF-8"))?;
        let author = match reader.u8()? {
            0 => None,
            1 => Some(Signature::decode(&mut reader)?),
            other => return Err(reader.invalid(format!("flag {other}"))),
        };
        let todo = read_ids(&mut reader, usize::MAX)?;
        let (start, before) = (reader.id()?.into(), reader.id()?.into());
        let parent = usize::try_from(reader.varint()?).ok().filter(|parent| *parent > 0);
        let how =
            PickFlags { parent, note_origin: flag(&mut reader)?, no_commit: flag(&mut reader)? };
        let count = reader.varint()?;
        if count > reader.remaining() as u64 {
            return Err(reader.invalid(format!("{count} conflicts do not fit")));
        }
        let conflicts = (0..count).map(|_| Conflict::read(&mut reader)).collect::<Result<_>>()?;
        reader.finish()?;
        Ok(Self {
            kind,
            head,
            others,
            merged,
            message,
            author,
            todo,
            start,
            before,
            how,
            conflicts,
        })
    }
}

fn push_ids(out: &mut Vec<u8>, ids: &[CommitId]) {
    push_varint(out, ids.len() as u64);
    ids.iter().for_each(|id| out.extend_from_slice(id.as_bytes()));
}

fn read_ids(reader: &mut Reader<'_>, limit: usize) -> Result<Vec<CommitId>> {
    let count = reader.varint()?;
    let limit = limit.min(reader.remaining() / ID_LEN);
    if count > limit as u64 {
        return Err(reader.invalid(format!("{count} commits are too many")));
    }
    (0..count).map(|_| Ok(reader.id()?.into())).collect()
}

impl Conflict {
    fn push(&self, out: &mut Vec<u8>) {
        push_string(out, self.path.as_bytes());
        out.push(match self.kind {
            ConflictKind::BothChanged => 0,
            ConflictKind::DeletedByUs => 1,
            ConflictKind::DeletedByThem => 2,
            ConflictKind::InTheWay => 3,
        });
        out.push(u8::from(self.resolved));
        for side in [&self.base, &self.ours, &self.theirs] {
            out.push(u8::from(side.is_some()));
            if let Some(kind) = side {
                let name = self.path.name().to_vec();
                TreeEntry { name, kind: kind.clone() }.encode(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let path = RepoPath::new(reader.string(MAX_PATH)?)
            .map_err(|why| reader.invalid(format!("a path: {why}")))?;
        if path.is_root() {
            return Err(reader.invalid("the root of the work tree is in conflict"));
        }
        let kind = match reader.u8()? {
            0 => ConflictKind::BothChanged,
            1 => ConflictKind::DeletedByUs,
            2 => ConflictKind::DeletedByThem,
            3 => ConflictKind::InTheWay,
            other => return Err(reader.invalid(format!("unknown conflict {other}"))),
        };
        let resolved = flag(reader)?;
        let mut side = || -> Result<Option<EntryKind>> {
            if !flag(reader)? {
                return Ok(None);
            }
            let entry = TreeEntry::decode(reader)?;
            if entry.name != path.name() {
                return Err(reader.invalid("an entry is called other than its path"));
            }
            Ok(Some(entry.kind))
        };
        let (base, ours, theirs) = (side()?, side()?, side()?);
        Ok(Self { path, kind, base, ours, theirs, resolved })
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(reader.invalid(format!("flag {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::ChunkId;
    use crate::storage::format::object::Content;

    fn state(message: String, numbers: &[u8]) -> MergeState {
        let id = |number: u8| CommitId::of(&[number]);
        let file = |number: u8| EntryKind::File {
            executable: number.is_multiple_of(2),
            size: 1 + u64::from(number),
            content: Content::Chunk(ChunkId::of(&[number])),
        };
        let conflict = |(at, number): (usize, &u8)| Conflict {
            path: RepoPath::new(format!("d/{at:03}")).unwrap(),
            kind: match number % 4 {
                0 => ConflictKind::BothChanged,
                1 => ConflictKind::DeletedByUs,
                2 => ConflictKind::DeletedByThem,
                _ => ConflictKind::InTheWay,
            },
            base: (number % 3 == 0).then(|| file(*number)),
            ours: Some(EntryKind::Symlink { target: b"x".to_vec() }),
            theirs: (number % 5 == 0).then(|| file(*number)),
            resolved: *number > 128,
        };
        let author =
            Signature { name: "a".into(), email: "b".into(), seconds: -1, offset_minutes: 90 };
        MergeState {
            kind: MergeKind::CherryPick,
            head: id(1),
            others: numbers.iter().map(|number| id(*number)).collect(),
            merged: TreeId::of(b"t"),
            message,
            author: numbers.first().map(|_| author),
            todo: vec![id(9)],
            start: id(8),
            before: TreeId::of(b"b"),
            how: PickFlags {
                parent: numbers.first().map(|number| 1 + usize::from(*number)),
                note_origin: numbers.len().is_multiple_of(2),
                no_commit: numbers.len().is_multiple_of(3),
            },
            conflicts: numbers.iter().enumerate().map(conflict).collect(),
        }
    }

    proptest! {
        #[test]
        fn a_state_is_read_as_written(message in ".*", numbers: Vec<u8>) {
            let state = state(message, &numbers);
            prop_assert_eq!(MergeState::decode(&state.encode()).unwrap(), state);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut sealed = MAGIC.to_vec();
            sealed.extend_from_slice(&bytes);
            push_checksum(&mut sealed, 0);
            let _ = (MergeState::decode(&sealed), MergeState::decode(&bytes));
        }
    }

    #[test]
    fn every_flip_and_every_cut_is_noticed() {
        let bytes = state("why".into(), &[0, 15, 200]).encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(MergeState::decode(&flipped).is_err(), "flip at {at}");
            assert!(MergeState::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
