//! The staging area: what the next commit holds, and what `lstat` said when it was read.
//!
//! This file has the values. They are stored in two files, an immutable base (`staging_base`) and
//! the log of the changes since (`staging_log`).

use super::bytes::{Reader, push_string, u32_at, u64_at};
use super::object::{Content, MAX_TARGET};
use super::{FormatError, Result};
use crate::id::ID_LEN;
use crate::path::{MAX_PATH, RepoPath, check_path};

/// Version of base and log that this release writes and the newest that it reads.
pub const VERSION: u16 = 1;

const ENTRY: &str = "an entry of the staging area";
/// Flag of an entry that is racy.
pub(super) const RACY: u8 = 1;

/// What `lstat` says and later compares. Times in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileStat {
    /// Length in bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime_ns: i64,
    /// Last change of the inode.
    pub ctime_ns: i64,
    /// Number of the inode.
    pub ino: u64,
    /// Number of the device.
    pub dev: u32,
}

impl FileStat {
    /// Appends the fields.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.mtime_ns.to_le_bytes());
        out.extend_from_slice(&self.ctime_ns.to_le_bytes());
        out.extend_from_slice(&self.ino.to_le_bytes());
        out.extend_from_slice(&self.dev.to_le_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            size: reader.u64()?,
            mtime_ns: reader.i64()?,
            ctime_ns: reader.i64()?,
            ino: reader.u64()?,
            dev: reader.u32()?,
        })
    }

    /// Reads what [`Self::push`] wrote at `at`; the caller has checked the bounds.
    pub(super) fn at(bytes: &[u8], at: usize) -> Self {
        Self {
            size: u64_at(bytes, at),
            mtime_ns: u64_at(bytes, at + 8) as i64,
            ctime_ns: u64_at(bytes, at + 16) as i64,
            ino: u64_at(bytes, at + 24),
            dev: u32_at(bytes, at + 32),
        }
    }
}

/// What is staged under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagedKind {
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its bytes.
        content: Content,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points: 1 to [`MAX_TARGET`] bytes, no NUL.
        target: Vec<u8>,
    },
    /// A directory without entries; any other follows from the paths below it.
    EmptyDir,
}

impl StagedKind {
    /// The same, borrowed.
    pub fn view(&self) -> KindView<'_> {
        match self {
            Self::File { executable, content } => {
                KindView::File { executable: *executable, content: *content }
            }
            Self::Symlink { target } => KindView::Symlink { target },
            Self::EmptyDir => KindView::EmptyDir,
        }
    }
}

/// A [`StagedKind`] that borrows its target from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindView<'a> {
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its bytes.
        content: Content,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: &'a [u8],
    },
    /// A directory without entries.
    EmptyDir,
}

impl<'a> KindView<'a> {
    /// The same, owned.
    pub fn to_kind(self) -> StagedKind {
        match self {
            Self::File { executable, content } => StagedKind::File { executable, content },
            Self::Symlink { target } => StagedKind::Symlink { target: target.to_vec() },
            Self::EmptyDir => StagedKind::EmptyDir,
        }
    }

    /// Where a symlink points; empty for anything else.
    pub fn target(self) -> &'a [u8] {
        match self {
            Self::Symlink { target } => target,
            _ => b"",
        }
    }

    /// The bytes that say which kind it is, and the content's id.
    pub(super) fn tags(self) -> ([u8; 2], [u8; ID_LEN]) {
        match self {
            Self::File { executable, content } => {
                let (tag, id) = content.to_parts();
                ([if executable { 2 } else { 1 }, tag], id)
            }
            Self::Symlink { .. } => ([3, 0], [0; ID_LEN]),
            Self::EmptyDir => ([4, 0], [0; ID_LEN]),
        }
    }

    /// The inverse of [`Self::tags`]; `None` for what no writer stores.
    pub(super) fn from_tags(tags: [u8; 2], id: [u8; ID_LEN], target: &'a [u8]) -> Option<Self> {
        match tags {
            [kind @ (1 | 2), tag] => {
                let content = Content::from_parts(tag, id)?;
                Some(Self::File { executable: kind == 2, content })
            }
            [3, 0] => is_target(target).then_some(Self::Symlink { target }),
            [4, 0] => Some(Self::EmptyDir),
            _ => None,
        }
    }
}

fn is_target(target: &[u8]) -> bool {
    (1..=MAX_TARGET).contains(&target.len()) && !target.contains(&0)
}

/// One staged path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedEntry {
    /// Where it lies; never the root.
    pub path: RepoPath,
    /// What it is.
    pub kind: StagedKind,
    /// What `lstat` said when it was read.
    pub stat: FileStat,
    /// The file changed so shortly before it was read that an equal stat proves nothing: its
    /// content must be compared.
    pub racy: bool,
}

impl StagedEntry {
    /// The same, borrowed.
    pub fn view(&self) -> StagedView<'_> {
        StagedView {
            path: self.path.as_bytes(),
            kind: self.kind.view(),
            stat: self.stat,
            racy: self.racy,
        }
    }
}

/// A [`StagedEntry`] that borrows from the store; making one allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedView<'a> {
    /// The bytes of the path as stored, not checked.
    pub path: &'a [u8],
    /// What it is.
    pub kind: KindView<'a>,
    /// What `lstat` said when it was read.
    pub stat: FileStat,
    /// See [`StagedEntry::racy`].
    pub racy: bool,
}

impl StagedView<'_> {
    /// The same, owned; `None` where the path is none of this repository.
    pub fn to_entry(&self) -> Option<StagedEntry> {
        let path = RepoPath::new(self.path).ok().filter(|path| !path.is_root())?;
        Some(StagedEntry { path, kind: self.kind.to_kind(), stat: self.stat, racy: self.racy })
    }

    /// Appends the entry as the log has it.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        let (tags, id) = self.kind.tags();
        push_string(out, self.path);
        out.extend_from_slice(&tags);
        out.push(u8::from(self.racy));
        self.stat.push(out);
        match self.kind {
            KindView::File { .. } => out.extend_from_slice(&id),
            KindView::Symlink { target } => push_string(out, target),
            KindView::EmptyDir => {}
        }
    }
}

impl<'a> StagedView<'a> {
    /// Reads what [`Self::push`] wrote, where it lies; the path is not checked.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self> {
        let path = reader.string(MAX_PATH)?;
        let tags = reader.array()?;
        let racy = match reader.u8()? {
            flags @ 0..=1 => flags == RACY,
            flags => return Err(FormatError::invalid(ENTRY, format!("flags {flags:#x}"))),
        };
        let stat = FileStat::read(reader)?;
        let (mut id, mut target): (_, &[u8]) = ([0; ID_LEN], b"");
        match tags[0] {
            1 | 2 => id = reader.array()?,
            3 => target = reader.string(MAX_TARGET)?,
            _ => {}
        }
        let kind = KindView::from_tags(tags, id, target)
            .ok_or_else(|| FormatError::invalid(ENTRY, format!("unknown kind {tags:?}")))?;
        Ok(Self { path, kind, stat, racy })
    }
}

/// Refuses what is no path of an entry.
pub(super) fn check_entry_path(path: &[u8]) -> Result<()> {
    if path.is_empty() {
        return Err(FormatError::invalid(ENTRY, "the root of the work tree is no entry"));
    }
    check_path(path)
        .map_err(|error| FormatError::invalid(ENTRY, format!("a path is refused: {error}")))
}

/// One change of the staging area. It says nothing of other paths: who puts a file where a
/// directory was also removes what lay below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagingOp {
    /// Adds an entry, or replaces the one of its path.
    Put(StagedEntry),
    /// Removes the entry of a path, if there is one.
    Remove(RepoPath),
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::id::{ChunkId, ListId};
    use proptest::prelude::*;

    pub(in super::super) fn entry() -> impl Strategy<Value = StagedEntry> {
        let content = prop_oneof![
            Just(Content::Empty),
            any::<[u8; 32]>().prop_map(|id| Content::Chunk(ChunkId::from_bytes(id))),
            any::<[u8; 32]>().prop_map(|id| Content::List(ListId::from_bytes(id))),
        ];
        let kind = prop_oneof![
            (any::<bool>(), content)
                .prop_map(|(executable, content)| StagedKind::File { executable, content }),
            proptest::collection::vec(1u8.., 1..20)
                .prop_map(|target| StagedKind::Symlink { target }),
            Just(StagedKind::EmptyDir),
        ];
        let stat = any::<(u64, i64, i64, u64, u32)>().prop_map(|stat| FileStat {
            size: stat.0,
            mtime_ns: stat.1,
            ctime_ns: stat.2,
            ino: stat.3,
            dev: stat.4,
        });
        ("[a-c]{1,2}(/[a-c-]{1,2}){0,2}", kind, stat, any::<bool>()).prop_map(
            |(path, kind, stat, racy)| StagedEntry {
                path: RepoPath::new(path).unwrap(),
                kind,
                stat,
                racy,
            },
        )
    }

    proptest! {
        #[test]
        fn entries_round_trip(entry in entry()) {
            let mut out = Vec::new();
            entry.view().push(&mut out);
            let mut reader = Reader::new("test", &out);
            prop_assert_eq!(StagedView::read(&mut reader), Ok(entry.view()));
            prop_assert!(reader.finish().is_ok());
        }
    }
}
