//! Reading the ignore files of directories through their handles, for the walk and for paths that
//! are asked about on their own, and those that hold for the whole work tree.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

use super::Repository;
use super::beneath::{DIR_HANDLE, PathKind, fstat_of, open_beneath, open_entry};
use super::ignore::{
    DIGIGNORE, EXCLUDE, GITIGNORE, IgnoreRules, IgnoreWarning, MAX_IGNORE_FILE, RuleSource,
    file_in, is_always_skipped,
};
use super::walk::{IgnoredEntries, WalkOptions};
use crate::path::{REPOSITORY_DIR, RepoPath};

impl Repository {
    /// The rules above the work tree: those of the repository's own `exclude`, and behind them those
    /// of the user's ignore file.
    pub fn general_rules(&self) -> Arc<IgnoreRules> {
        let exclude = self.place.repository.join(EXCLUDE);
        let shown = exclude.strip_prefix(&self.place.work_tree).unwrap_or(&exclude).to_owned();
        let user = self.config.user_ignore_file();
        let user = user.map(|path| (path.to_owned(), path.to_owned()));
        let (mut files, mut warnings) = (Vec::new(), Vec::new());
        for (path, shown) in std::iter::once((exclude, shown)).chain(user) {
            let source = RuleSource::Elsewhere(shown);
            match read_general_file(&path) {
                Ok(bytes) => files.extend(bytes.map(|bytes| (source, bytes))),
                Err(why) => warnings.push(IgnoreWarning::Unreadable(source, why)),
            }
        }
        IgnoreRules::general(self.config.ignore.use_gitignore, files, warnings)
    }
}

/// An ignore file that holds for the whole work tree, if there is one. It may be a link: it does not
/// come with the data.
fn read_general_file(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let read = || -> io::Result<Option<Vec<u8>>> {
        // A named pipe would block the opening for ever.
        if !std::fs::metadata(path)?.is_file() {
            // The usual way to say that there is none.
            if path == Path::new("/dev/null") {
                return Ok(None);
            }
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_IGNORE_FILE as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    match read() {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        read => read.map_err(|error| error.to_string()),
    }
}

/// The rules inside `dir`, from `general` and all ignore files between it and the root of the work
/// tree, and what was odd about them. A directory that does not exist has the rules of its parent.
pub fn rules_of_dir(
    root: &OwnedFd,
    dir: &RepoPath,
    general: &Arc<IgnoreRules>,
) -> (Arc<IgnoreRules>, Vec<IgnoreWarning>) {
    let mut warnings = general.warnings().to_vec();
    let mut rules = Arc::clone(general);
    for ancestor in ancestors(dir) {
        if !ancestor.is_root() && rules.is_ignored(&ancestor, true) {
            return (rules.pruned(&ancestor), warnings);
        }
        if let Ok(handle) = open_beneath(root.as_fd(), ancestor.as_bytes(), DIR_HANDLE) {
            rules = load_rules(handle.as_fd(), &rules, &ancestor, BOTH, &mut warnings);
        }
    }
    (rules, warnings)
}

/// Both ignore files, for [`load_rules`].
const BOTH: [Option<&str>; 2] = [Some(DIGIGNORE), Some(GITIGNORE)];

/// The root, the directories on the way, and `dir` itself.
fn ancestors(dir: &RepoPath) -> Vec<RepoPath> {
    let mut all: Vec<_> = std::iter::successors(Some(dir.clone()), RepoPath::parent).collect();
    all.reverse();
    all
}

/// The rules inside the directory of `handle`, whose parent has `rules`; reads those of the
/// ignore files that are named.
pub(super) fn load_rules(
    handle: BorrowedFd<'_>,
    rules: &Arc<IgnoreRules>,
    dir: &RepoPath,
    [digignore, gitignore]: [Option<&str>; 2],
    warnings: &mut Vec<IgnoreWarning>,
) -> Arc<IgnoreRules> {
    if rules.is_pruned() {
        return Arc::clone(rules);
    }
    let mut read = |name: Option<&str>| {
        let name = name?;
        read_ignore_file(handle, name).unwrap_or_else(|why| {
            warnings.push(IgnoreWarning::Unreadable(file_in(dir, name), why));
            None
        })
    };
    let digignore = read(digignore);
    let gitignore = read(gitignore.filter(|_| rules.use_gitignore()));
    let child = rules.child(dir, digignore.as_deref(), gitignore.as_deref());
    if !Arc::ptr_eq(&child, rules) {
        warnings.extend_from_slice(child.warnings());
    }
    child
}

/// One byte more than counts at most, so that an ignore file that is too long shows.
fn read_ignore_file(dir: BorrowedFd<'_>, name: &str) -> Result<Option<Vec<u8>>, String> {
    let file = match open_entry(dir, name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err("it is a symlink".to_owned()),
        Err(errno) => return Err(errno.to_string()),
    };
    let (kind, _) = fstat_of(&file).map_err(|error| error.to_string())?;
    if !matches!(kind, PathKind::File { .. }) {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let limit = MAX_IGNORE_FILE as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(Some(bytes))
}

/// Where a root of the walk lies.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In a directory with these rules.
    Inside(Arc<IgnoreRules>),
    /// Below this directory, which is ignored and holds nothing tracked, or is never walked.
    Ignored(RepoPath),
    /// Below a repository of its own.
    Nested(RepoPath),
    /// Its directory cannot be opened.
    Closed(Errno),
}

/// Finds the rules above the roots of a walk; roots that share directories share the work.
pub(super) struct Places<'a> {
    root: &'a OwnedFd,
    options: &'a WalkOptions<'a>,
    known: HashMap<RepoPath, Place>,
    /// What was odd about the ignore files on the way.
    pub(super) warnings: Vec<IgnoreWarning>,
}

impl<'a> Places<'a> {
    pub(super) fn new(root: &'a OwnedFd, options: &'a WalkOptions<'a>) -> Self {
        let warnings = options.rules.warnings().to_vec();
        Self { root, options, known: HashMap::new(), warnings }
    }

    /// What holds inside `dir`.
    pub(super) fn of(&mut self, dir: &RepoPath) -> Place {
        let mut place = Place::Inside(Arc::clone(&self.options.rules));
        for ancestor in ancestors(dir) {
            place = match (self.known.get(&ancestor), place) {
                (Some(known), _) => known.clone(),
                (None, Place::Inside(rules)) => {
                    let inside = self.enter(&ancestor, &rules);
                    self.known.insert(ancestor, inside.clone());
                    inside
                }
                (None, outside) => return outside,
            };
        }
        place
    }

    fn enter(&mut self, dir: &RepoPath, rules: &Arc<IgnoreRules>) -> Place {
        let handle = match open_beneath(self.root.as_fd(), dir.as_bytes(), DIR_HANDLE) {
            Ok(handle) => handle,
            Err(errno) => return Place::Closed(errno),
        };
        if is_always_skipped(dir.name()) {
            return Place::Ignored(dir.clone());
        }
        if !dir.is_root() && statat(&handle, REPOSITORY_DIR, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Place::Nested(dir.clone());
        }
        if self.options.include_ignored {
            return Place::Inside(Arc::clone(rules));
        }
        if !dir.is_root() && !rules.is_pruned() && rules.is_ignored(dir, true) {
            let enters = self.options.ignored == IgnoredEntries::Enter;
            if !enters && !(self.options.is_tracked)(dir.as_bytes(), true) {
                return Place::Ignored(dir.clone());
            }
            return Place::Inside(rules.pruned(dir));
        }
        Place::Inside(load_rules(handle.as_fd(), rules, dir, BOTH, &mut self.warnings))
    }
}
