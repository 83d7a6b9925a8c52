//! `import tar`: an archive as a commit on the branch that is checked out.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::ops::Bound;

use tar::{Archive, Entry, EntryType};

use super::super::ignore::{IN_GIT, leads_into_git};
use super::super::switch::Move;
use super::super::trees::{empty_tree, find};
use super::super::{RepoError, Repository, Result};
use super::ExchangeError;
use super::archive::{Meter, Metered};
use super::round::{Pipes, Round};
use crate::id::CommitId;
use crate::metrics::MetricsSnapshot;
use crate::path::{RepoPath, escape};
use crate::progress::{Monitor, Phase};
use crate::storage::format::object::{Commit, EntryKind, Signature, check_target};

/// What is imported.
pub struct TarImportOptions {
    /// The archive, as it is or compressed with gzip or zstd.
    pub source: Box<dyn Read + Send>,
    /// What it is called.
    pub name: String,
    /// The directory that will hold what the archive holds, and nothing else.
    pub prefix: RepoPath,
    /// Why.
    pub message: String,
    /// Author and committer.
    pub author: Signature,
}

/// What `import tar` did.
#[derive(Debug)]
pub struct TarImportReport {
    /// The commit.
    pub id: CommitId,
    /// As stored.
    pub commit: Commit,
    /// The branch that moved.
    pub branch: Option<String>,
    /// Entries left out; the monitor was told of each.
    pub skipped: u64,
    /// Files written into the work tree.
    pub written: u64,
    /// Counters of the run.
    pub metrics: MetricsSnapshot,
}

type Entries = BTreeMap<RepoPath, EntryKind>;

impl Repository {
    /// Imports an archive. The directory named by the prefix, or everything, is in the new commit what
    /// the archive says; the rest stays. The work tree follows as in `switch`.
    pub fn import_tar(&self, options: TarImportOptions) -> Result<TarImportReport> {
        let TarImportOptions { source, name, prefix, message, author } = options;
        super::super::commit::check_message(&message)?;
        let mut op = self.begin(format!("import tar {name}"))?;
        self.check_none_waits()?;
        let parent = op.head_commit()?;
        self.check_prefix(parent, &prefix)?;
        self.monitor().phase(Phase::Processing);
        let engine = self.engine()?;
        let monitor = self.monitor();
        let (id, commit, skipped) = Pipes::new(&engine).round(|round| {
            let base = parent.map(|parent| round.tree_of(parent)).transpose()?;
            let mut reading = Reading {
                name: &name,
                prefix: &prefix,
                found: Entries::new(),
                left_out: HashSet::new(),
                skipped: 0,
                monitor: &**monitor,
            };
            reading.read(round, source)?;
            let skipped = reading.skipped;
            let edits = edits(reading.found, &prefix);
            let tree = round.tree(base.filter(|_| !prefix.is_root()), &edits)?;
            if base.is_some_and(|base| base.tree == tree.tree) {
                return Err(RepoError::NothingToCommit);
            }
            let (files, bytes) = (tree.files, tree.bytes);
            let (tree, parents, committer) =
                (tree.tree, parent.into_iter().collect(), author.clone());
            let commit = Commit { tree, files, bytes, parents, author, committer, message };
            Ok((round.commit(&commit)?, commit, skipped))
        })?;
        let moved = op.move_to(&Move::new(self.tree_of(parent)?, Some(commit.tree)))?;
        self.tell_skipped(&moved.skipped);
        let skipped = skipped + moved.skipped.len() as u64;
        let branch = op.move_head(id)?;
        op.finish()?;
        let metrics = engine.metrics.snapshot();
        Ok(TarImportReport { id, commit, branch, skipped, written: moved.written, metrics })
    }

    /// What lies above the prefix must not be lost by it.
    fn check_prefix(&self, parent: Option<CommitId>, prefix: &RepoPath) -> Result<()> {
        if leads_into_git(prefix.as_bytes()) {
            return Err(ExchangeError::PrefixInGit(prefix.clone()).into());
        }
        let Some(tree) = self.tree_of(parent)? else { return Ok(()) };
        let mut above = prefix.parent();
        while let Some(dir) = above.filter(|dir| !dir.is_root()) {
            let found = find(self.objects()?, &tree, &dir)?;
            if !matches!(found, None | Some(EntryKind::Dir { .. })) {
                return Err(ExchangeError::BadPrefix { prefix: prefix.clone(), above: dir }.into());
            }
            above = dir.parent();
        }
        Ok(())
    }
}

/// What the entries make of the directory: a directory counts by what it holds.
fn edits(found: Entries, prefix: &RepoPath) -> Vec<(RepoPath, Option<EntryKind>)> {
    let mut edits: Vec<(RepoPath, Option<EntryKind>)> = Vec::with_capacity(found.len() + 1);
    if !prefix.is_root() {
        edits.push((prefix.clone(), found.is_empty().then(empty_dir)));
    }
    for (path, kind) in found {
        if let Some((last, Some(EntryKind::Dir { .. }))) = edits.last()
            && path.is_within(last)
        {
            edits.pop();
        }
        edits.push((path, Some(kind)));
    }
    edits
}

fn is_file(entry_type: EntryType) -> bool {
    matches!(entry_type, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse)
}

fn empty_dir() -> EntryKind {
    EntryKind::Dir { tree: empty_tree(), files: 0, bytes: 0 }
}

/// An archive while it is read.
struct Reading<'a> {
    name: &'a str,
    prefix: &'a RepoPath,
    found: Entries,
    left_out: HashSet<RepoPath>,
    skipped: u64,
    monitor: &'a dyn Monitor,
}

impl Reading<'_> {
    fn read(&mut self, round: &mut Round<'_, '_>, source: Box<dyn Read + Send>) -> Result<()> {
        let meter = Meter::default();
        let source = Metered::new(source, &meter).map_err(|error| self.broken(error))?;
        let mut archive = Archive::new(source);
        let mut entries = archive.entries().map_err(|error| self.broken(error))?;
        loop {
            meter.headers();
            let Some(entry) = entries.next() else { break };
            let mut entry = entry.map_err(|error| self.broken(error))?;
            meter.content();
            self.entry(round, &mut entry)?;
            // What nobody read is not counted as headers.
            std::io::copy(&mut entry, &mut std::io::sink()).map_err(|error| self.broken(error))?;
        }
        self.end(round, archive.into_inner())
    }

    /// Behind the last entry.
    fn end(&mut self, round: &Round<'_, '_>, archive: Metered<'_>) -> Result<()> {
        let read = archive.finish(|| round.check_cancel().is_ok());
        let holds_more = read.map_err(|error| self.broken(error))?;
        round.check_cancel()?;
        if holds_more {
            self.skipped += 1;
            self.monitor.warn("left out what lies behind the end mark of the archive");
        }
        Ok(())
    }

    fn broken(&self, source: std::io::Error) -> RepoError {
        ExchangeError::Archive { name: self.name.to_owned(), source }.into()
    }

    fn entry<R: Read>(
        &mut self,
        round: &mut Round<'_, '_>,
        entry: &mut Entry<'_, R>,
    ) -> Result<()> {
        let name = entry.path_bytes().into_owned();
        let entry_type = entry.header().entry_type();
        if entry_type == EntryType::XGlobalHeader {
            return Ok(());
        }
        let bad = |why: String| -> RepoError {
            ExchangeError::BadEntry { name: name.clone(), why }.into()
        };
        let path = self.path(&name).map_err(|error| bad(error.to_string()))?;
        // Old archives have no type of its own for a directory.
        let ends_as_dir = matches!(name.as_slice(), [] | b"." | [.., b'/'] | [.., b'/', b'.']);
        let is_dir = is_file(entry_type) && ends_as_dir;
        if is_dir && entry.size() > 0 {
            return Err(bad("its name is that of a directory, and it has content".to_owned()));
        }
        let Some(path) = path else { return Ok(()) };
        if let Some(why) = self.why_left_out(entry, &path) {
            self.leave_out(&name, path, why);
            return Ok(());
        }
        self.check_extensions(entry, &bad)?;
        let kind = match if is_dir { EntryType::Directory } else { entry_type } {
            EntryType::Directory => {
                if matches!(self.found.get(&path), Some(EntryKind::Dir { .. })) {
                    return Ok(());
                }
                empty_dir()
            }
            kind if is_file(kind) => self.file(round, entry)?,
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.link(entry_type, target).map_err(bad)?
            }
            _ => {
                self.leave_out(&name, path, "it is neither a file, a directory nor a link");
                return Ok(());
            }
        };
        self.check_place(&path, &kind).map_err(bad)?;
        self.found.insert(path, kind);
        Ok(())
    }

    /// Why an entry is left out whatever it is, if it is.
    fn why_left_out<R: Read>(&self, entry: &Entry<'_, R>, path: &RepoPath) -> Option<&'static str> {
        if leads_into_git(path.as_bytes()) {
            return Some(IN_GIT);
        }
        let target = entry.link_name_bytes().filter(|_| entry.header().entry_type().is_hard_link());
        let target = self.path(&target?).ok().flatten()?;
        let is_left_out = self.left_out.contains(&target) && !self.found.contains_key(&target);
        is_left_out.then_some("it is a link to what was left out")
    }

    fn leave_out(&mut self, name: &[u8], path: RepoPath, why: &str) {
        self.skipped += 1;
        self.left_out.insert(path);
        self.monitor.warn(&format!("left out '{}': {why}", escape(name)));
    }

    /// The path of an entry; none for the top directory. As for tar, `a//b` and `a/./b` are `a/b`.
    fn path(&self, name: &[u8]) -> std::result::Result<Option<RepoPath>, crate::path::PathError> {
        let parts = name.split(|byte| *byte == b'/');
        let parts: Vec<&[u8]> = parts.filter(|part| !matches!(*part, b"" | b".")).collect();
        // Checked by itself first: it must not climb out of the prefix.
        let path = match (name, parts.as_slice()) {
            ([b'/', ..], _) => RepoPath::new(name.to_vec())?,
            (_, []) => return Ok(None),
            (_, parts) => RepoPath::new(parts.join(&b'/'))?,
        };
        let full = if self.prefix.is_root() {
            path
        } else {
            RepoPath::new([self.prefix.as_bytes(), b"/", path.as_bytes()].concat())?
        };
        Ok(Some(full))
    }

    /// Refuses what the attributes of an entry say that is not understood.
    fn check_extensions<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        bad: &dyn Fn(String) -> RepoError,
    ) -> Result<()> {
        let extensions = entry.pax_extensions().map_err(|error| self.broken(error))?;
        for extension in extensions.into_iter().flatten() {
            let extension = extension.map_err(|error| self.broken(error))?;
            if extension.key_bytes().starts_with(b"GNU.sparse.") {
                return Err(bad("sparse files in pax format are not understood".to_owned()));
            }
        }
        Ok(())
    }

    fn file<R: Read>(
        &self,
        round: &mut Round<'_, '_>,
        entry: &mut Entry<'_, R>,
    ) -> Result<EntryKind> {
        let executable = entry.header().mode().map_err(|error| self.broken(error))? & 0o100 != 0;
        let expected = entry.size();
        let (content, size) = round.content(entry, |error| self.broken(error))?;
        if size != expected && entry.header().entry_type() != EntryType::GNUSparse {
            return Err(self.broken(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(EntryKind::File { executable, size, content })
    }

    fn link(
        &self,
        entry_type: EntryType,
        target: Vec<u8>,
    ) -> std::result::Result<EntryKind, String> {
        if entry_type == EntryType::Symlink {
            check_target(&target)?;
            return Ok(EntryKind::Symlink { target });
        }
        let path = self.path(&target).map_err(|error| error.to_string())?;
        match path.and_then(|path| self.found.get(&path)) {
            Some(kind @ (EntryKind::File { .. } | EntryKind::Symlink { .. })) => Ok(kind.clone()),
            _ => Err(format!("it is a link to '{}', which did not come before", escape(&target))),
        }
    }

    /// Refuses what would be both a directory and something else.
    fn check_place(&self, path: &RepoPath, kind: &EntryKind) -> std::result::Result<(), String> {
        let mut above = path.parent();
        while let Some(dir) = above.filter(|dir| !dir.is_root()) {
            if !matches!(self.found.get(&dir), None | Some(EntryKind::Dir { .. })) {
                return Err(format!("it lies below '{dir}', which is not a directory"));
            }
            above = dir.parent();
        }
        let is_dir = matches!(kind, EntryKind::Dir { .. });
        let was_dir = matches!(self.found.get(path), Some(EntryKind::Dir { .. }));
        let mut below = self.found.range((Bound::Excluded(path), Bound::Unbounded));
        let holds = below.next().is_some_and(|(other, _)| other.is_within(path));
        if !is_dir && (holds || was_dir) || is_dir && self.found.contains_key(path) {
            return Err("it is both a directory and something else".to_owned());
        }
        Ok(())
    }
}
