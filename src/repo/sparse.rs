//! Sparse work trees: the work tree holds the paths that pathspecs match, and everything is still
//! staged and committed.
//!
//! A staged path that is not wanted and does not lie in the work tree is not gone: `status` and
//! `add` say nothing of it, and what moves the work tree does not write it. One that lies there all
//! the same is as any other. Ignore files and the settings of the work tree are always wanted: the
//! others are read by their rules.
//!
//! Changing what is wanted is in `change`.

mod change;

use std::path::Path;

pub use change::{SparseChange, SparseOptions, SparseReport};
use thiserror::Error;

use super::beneath::stat_one;
use super::ignore::{DIGIGNORE, GITIGNORE};
use super::pathspec::{Base, Pathspec};
use super::{RepoError, Repository, Result};
use crate::path::{RepoPath, split_last};
use crate::storage::binary_staging::{KindView, StagedView};
use crate::storage::format::FormatError;
use crate::storage::format::merge_state::Conflict;
use crate::storage::format::object::EntryKind;
pub use crate::storage::format::sparse::{SparseFile, SparseSpec};

/// The file of the pathspecs.
const SPARSE_FILE: &str = "sparse";
/// Larger than the pathspecs of any command line.
const MAX_FILE: u64 = 1 << 28;
/// The settings in the root of the work tree.
const SETTINGS: &[u8] = b"digstore.toml";

/// Why the pathspecs of a sparse work tree are refused.
#[derive(Debug, Error)]
pub enum SparseError {
    /// The file is damaged.
    #[error("which paths the work tree holds cannot be read")]
    Damaged(#[source] FormatError),
    /// There is nothing to add to, or to bring about again.
    #[error("the work tree is not sparse: it holds everything")]
    NotSparse,
}

/// What the work tree is to hold.
#[derive(Debug, Default)]
pub struct Wanted {
    /// All of them must match; none for everything.
    specs: Vec<Pathspec>,
}

impl Wanted {
    fn new<'a>(specs: impl IntoIterator<Item = &'a SparseSpec>) -> Result<Self> {
        let specs: Result<Vec<_>> = specs.into_iter().map(parse).collect();
        Ok(Self { specs: specs? })
    }

    /// Whether it holds a path.
    pub fn wants(&self, path: &[u8], is_empty_dir: bool) -> bool {
        self.specs.iter().all(|spec| spec.matches(path, is_empty_dir)) || is_always_wanted(path)
    }

    /// Whether it holds what is staged.
    pub(super) fn wants_staged(&self, view: &StagedView<'_>) -> bool {
        self.wants(view.path, view.kind == KindView::EmptyDir)
    }

    /// Whether it holds everything.
    pub fn is_everything(&self) -> bool {
        self.specs.is_empty()
    }

    /// Whether it is on its way from one wish to another.
    pub fn is_in_between(&self) -> bool {
        self.specs.len() > 1
    }

    /// Whether a command is not about a path that does not lie in the work tree: it need not hold
    /// it, and the path is named neither itself nor by a directory of which nothing is wanted.
    pub(super) fn leaves_out(&self, named: &Pathspec, path: &[u8], is_empty_dir: bool) -> bool {
        let is_far = |dir: &[u8]| !self.specs.iter().all(|spec| spec.may_match_below(dir));
        !self.wants(path, is_empty_dir) && !named.names_outright(path, is_far)
    }
}

fn parse(spec: &SparseSpec) -> Result<Pathspec> {
    let dir = &RepoPath::root();
    let base = Base { dir, excludes_from_dir: false, absolute: &|_| None };
    Ok(Pathspec::parse(spec, &base)?)
}

fn is_always_wanted(path: &[u8]) -> bool {
    let name = split_last(path).1;
    name == DIGIGNORE.as_bytes() || name == GITIGNORE.as_bytes() || path == SETTINGS
}

impl Repository {
    /// What the work tree is to hold. While a change of it is not finished, only what was wanted
    /// before and after.
    pub fn wanted(&self) -> Result<Wanted> {
        Wanted::new(self.sparse_file()?.iter().flat_map(|file| &file.specs))
    }

    /// The pathspecs; `None` where the work tree is not sparse.
    pub fn sparse_file(&self) -> Result<Option<SparseFile>> {
        let Some(bytes) = self.disk.read(Path::new(SPARSE_FILE), MAX_FILE)? else {
            return Ok(None);
        };
        Ok(Some(SparseFile::decode(&bytes).map_err(SparseError::Damaged)?))
    }

    /// Says of how many paths a command was not about; see [`Wanted::leaves_out`].
    pub(super) fn tell_left_out(&self, count: u64) {
        if count > 0 {
            self.monitor().warn(&format!(
                "left out {count} tracked {} that the sparse work tree does not hold; 'digstore \
                 sparse add' lets it hold more",
                if count == 1 { "path" } else { "paths" }
            ));
        }
    }

    /// Our side of conflicts that the work tree need not hold and does not hold: they are resolved
    /// by looking at them. Those in `marked` are written in any case.
    pub(super) fn unseen_conflicts(
        &self,
        conflicts: &[Conflict],
        marked: &[(RepoPath, EntryKind)],
    ) -> Result<Vec<(RepoPath, Option<EntryKind>)>> {
        let (wanted, root) = (self.wanted()?, self.work_tree_handle()?);
        if wanted.is_everything() {
            return Ok(Vec::new());
        }
        let mut unseen = Vec::new();
        for conflict in conflicts {
            let path = &conflict.path;
            let Some(ours @ (EntryKind::File { .. } | EntryKind::Symlink { .. })) = &conflict.ours
            else {
                continue;
            };
            let is_marked = marked.binary_search_by(|(marked, _)| marked.cmp(path)).is_ok();
            if is_marked || wanted.wants(path.as_bytes(), false) {
                continue;
            }
            let found = stat_one(&root, path).map_err(|source| RepoError::WorkTreeRead {
                path: path.to_os().to_owned(),
                source,
            });
            if found?.is_none() {
                unseen.push((path.clone(), Some(ours.clone())));
            }
        }
        Ok(unseen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(texts: &[&str]) -> SparseSpec {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn between_two_specifications_only_what_both_want_is_wanted() {
        let cases: [(&[&[&str]], &str, bool); 9] = [
            (&[], "a/x", true),
            (&[&["a"]], "a/x", true),
            (&[&["a"]], "b", false),
            (&[&["a"]], "b/.digignore", true),
            (&[&["a"]], "digstore.toml", true),
            (&[&["a"]], "b/digstore.toml", false),
            (&[&[], &["a"]], "a/x", true),
            (&[&["a", "b"], &["b", "c"]], "a/x", false),
            (&[&["a", "b"], &["b", "c"]], "b/x", true),
        ];
        for (specs, path, expected) in cases {
            let specs: Vec<_> = specs.iter().map(|texts| spec(texts)).collect();
            let wanted = Wanted::new(&specs).unwrap();
            assert_eq!(wanted.wants(path.as_bytes(), false), expected, "{specs:?} {path}");
        }
    }

    #[test]
    fn what_is_named_outright_is_meant() {
        let wanted = Wanted::new(&[spec(&["a/b", "*.txt", ":!c/d"])]).unwrap();
        let narrow = Wanted::new(&[spec(&["a/b"])]).unwrap();
        for (wanted, named, path, is_left_out) in [
            (&wanted, "c/x", "c/x", false),
            (&wanted, "c", "c/x", true),
            (&wanted, "c/d", "c/d/x", false),
            (&narrow, "c", "c/x", false),
            (&narrow, "a", "a/x", true),
            (&narrow, "a/x", "a/x", false),
            (&narrow, ".", "c/x", true),
            (&narrow, "c/*", "c/x", true),
            (&narrow, "a", "a/b/x", false),
        ] {
            let named_spec = parse(&spec(&[named])).unwrap();
            let found = wanted.leaves_out(&named_spec, path.as_bytes(), false);
            assert_eq!(found, is_left_out, "{named} {path}");
        }
    }
}
