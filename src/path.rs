//! Paths inside a repository: bytes, `/`-separated, relative, checked where they are minted.
//!
//! A [`RepoPath`] can name nothing outside the work tree and nothing inside `.digstore`, on any
//! operating system that may check it out. Order is by component, so that a directory and all
//! that lies below it are neighbours in the order in which trees keep them.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use thiserror::Error;

/// Longest name of one entry, in bytes.
pub const MAX_NAME: usize = 255;
/// Longest path, in bytes.
pub const MAX_PATH: usize = 4096;
/// Deepest nesting of directories.
pub const MAX_DEPTH: usize = 1024;
/// Name of the directory that holds a repository.
pub const REPOSITORY_DIR: &str = ".digstore";

/// Why a name or a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// A component is empty: a leading, trailing or doubled slash.
    #[error("it has an empty component")]
    Empty,
    /// A component is `.` or `..`.
    #[error("it has a component '.' or '..'")]
    Dots,
    /// A name holds a NUL or a slash.
    #[error("a name holds a NUL byte or a slash")]
    ForbiddenByte,
    /// A name stands for the repository's own directory on some file system.
    #[error("'{}' stands for the repository's own directory", escape(.0))]
    Reserved(Vec<u8>),
    /// A name is longer than [`MAX_NAME`].
    #[error("a name of {0} bytes is longer than {MAX_NAME}")]
    LongName(usize),
    /// The path is longer than [`MAX_PATH`].
    #[error("a path of {0} bytes is longer than {MAX_PATH}")]
    LongPath(usize),
    /// The path is deeper than [`MAX_DEPTH`].
    #[error("it is nested deeper than {MAX_DEPTH} directories")]
    TooDeep,
}

/// Shows bytes of a path on one line: control, bidirectional-override and invalid bytes escaped.
pub fn escape(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for piece in bytes.utf8_chunks() {
        for ch in piece.valid().chars() {
            let hidden = ch.is_control()
                || matches!(ch, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
            if hidden || ch == '\\' {
                shown.extend(ch.escape_default());
            } else {
                shown.push(ch);
            }
        }
        for byte in piece.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// Checks the name of one directory entry.
pub fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => return Err(PathError::Empty),
        b"." | b".." => return Err(PathError::Dots),
        _ => {}
    }
    if name.len() > MAX_NAME {
        return Err(PathError::LongName(name.len()));
    }
    if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(PathError::ForbiddenByte);
    }
    if is_reserved(name) {
        return Err(PathError::Reserved(name.to_vec()));
    }
    Ok(())
}

/// Checks a `/`-separated path; the empty one is the root.
pub fn check_path(path: &[u8]) -> Result<(), PathError> {
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > MAX_PATH {
        return Err(PathError::LongPath(path.len()));
    }
    let mut depth = 0;
    for component in path.split(|byte| *byte == b'/') {
        check_name(component)?;
        depth += 1;
    }
    if depth > MAX_DEPTH { Err(PathError::TooDeep) } else { Ok(()) }
}

/// Whether some file system takes `name` for `.digstore`: letter case, ignorable Unicode
/// characters (HFS+), the short name `DIGSTO~n` and trailing dots, spaces and streams (NTFS).
fn is_reserved(name: &[u8]) -> bool {
    // Cheap first: every disguise begins with '.', 'd', 'D' or a non-ASCII character.
    if !matches!(name[0], b'.' | b'd' | b'D' | 0x80..) {
        return false;
    }
    let text = String::from_utf8_lossy(name);
    let visible: String =
        text.chars().filter(|ch| !is_ignorable(*ch)).flat_map(char::to_lowercase).collect();
    let base = visible.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    let short = base.strip_prefix("digsto~").is_some_and(|tail| {
        !tail.is_empty() && tail.len() <= 2 && tail.bytes().all(|byte| byte.is_ascii_digit())
    });
    base == REPOSITORY_DIR || short
}

/// Characters that HFS+ leaves out when it compares names.
fn is_ignorable(ch: char) -> bool {
    matches!(ch, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
        || matches!(ch, '\u{200b}' | '\u{2060}')
}

/// A checked path relative to the root of the work tree; the empty path is the root.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RepoPath(Vec<u8>);

impl RepoPath {
    /// The root of the work tree.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Checks and wraps a `/`-separated path.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        check_path(&bytes)?;
        Ok(Self(bytes))
    }

    /// Wraps bytes that were checked before, for instance by [`check_name`] on each component.
    pub(crate) fn new_unchecked(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The entry `name` of this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        check_name(name)?;
        let bytes = self.child_bytes(name);
        if bytes.len() > MAX_PATH {
            return Err(PathError::LongPath(bytes.len()));
        }
        Ok(Self(bytes))
    }

    fn child_bytes(&self, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        bytes
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root of the work tree.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the root down; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        split_last(&self.0).1
    }

    /// The directory that holds this entry; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        (!self.is_root()).then(|| Self(split_last(&self.0).0.to_vec()))
    }

    /// Whether `self` is `dir` or lies below it.
    pub fn is_within(&self, dir: &Self) -> bool {
        is_within(&self.0, &dir.0)
    }

    /// The path as the operating system takes it, relative to the work tree.
    pub fn to_os(&self) -> &Path {
        let bytes = if self.0.is_empty() { b"." } else { self.0.as_slice() };
        Path::new(OsStr::from_bytes(bytes))
    }
}

/// Splits into the parent directory and the name.
pub fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Whether `path` is `dir` or lies below it; the empty `dir` holds everything.
pub fn is_within(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Orders two paths by component: `/` sorts before every other byte.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
    let rank = |path: &[u8]| match path.get(common) {
        None => 0u16,
        Some(b'/') => 1,
        Some(byte) => u16::from(*byte) + 2,
    };
    rank(a).cmp(&rank(b))
}

impl Ord for RepoPath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for RepoPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if self.is_root() { ".".to_owned() } else { escape(&self.0) })
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{self}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn disguises_of_the_repository_directory_are_refused() {
        let disguises: [&[u8]; 9] = [
            b".digstore",
            b".DIGSTORE",
            b".digstore.",
            b".digstore ",
            b".digstore::$INDEX_ALLOCATION",
            b"DIGSTO~1",
            b"digsto~12",
            ".dig\u{200c}store".as_bytes(),
            "\u{feff}.Digstore".as_bytes(),
        ];
        for name in disguises {
            assert!(matches!(check_name(name), Err(PathError::Reserved(_))), "{}", escape(name));
        }
        for name in [b".digignore".as_slice(), b"digstore", b".digstore2", b"digsto~x", b"\xff"] {
            assert_eq!(check_name(name), Ok(()));
        }
    }

    #[test]
    fn paths_that_leave_the_work_tree_are_refused() {
        for path in ["../x", "a/../../x", "/abs", "a//b", "a/./b", "a/", "a\0b", "a/.digstore/x"] {
            assert!(RepoPath::new(path).is_err(), "{path:?}");
        }
        assert!(RepoPath::new([b'x'; 255]).is_ok());
        assert!(RepoPath::new([b'x'; 256]).is_err());
        assert!(RepoPath::new("a/".repeat(1024) + "b").is_err());
    }

    #[test]
    fn hidden_characters_are_shown_escaped() {
        assert_eq!(escape(b"a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(escape("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(escape(b"\xff\xfe"), "\\xff\\xfe");
    }

    proptest! {
        #[test]
        fn order_is_by_component(a in "[a-c./-]{0,8}", b in "[a-c./-]{0,8}") {
            let key = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
            if let (Ok(x), Ok(y)) = (RepoPath::new(a.as_str()), RepoPath::new(b.as_str()))
                && !x.is_root() && !y.is_root()
            {
                prop_assert_eq!(x.cmp(&y), key(&a).cmp(&key(&b)));
            }
        }

        #[test]
        fn a_checked_path_has_only_plain_components(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(path) = RepoPath::new(bytes) {
                for component in path.components() {
                    prop_assert_eq!(check_name(component), Ok(()));
                }
            }
        }
    }
}
