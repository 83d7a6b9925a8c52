//! `export git`: all branches and tags into a git repository, through `git fast-import`.
//!
//! Refs that git would move though something is lost by it are left out and named; see [`There`].

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout};

use super::super::read::{ByteRange, ContentReader};
use super::super::trees::{TreeChange, TreeDiff};
use super::super::{RepoError, Repository, Result};
use super::ExchangeError;
use super::fast_export::quote;
use super::git::Git;
use super::text;
use super::there::There;
use crate::id::{CommitId, TreeId};
use crate::path::{RepoPath, escape};
use crate::progress::Phase;
use crate::storage::format::object::{Commit, Content, EntryKind, Signature};
use crate::storage::format::refs::Head;
use crate::storage::format::tag::Tag;
use crate::storage::refs::RefRecord;

/// Where to.
#[derive(Debug, Clone)]
pub struct GitExportOptions {
    /// A git repository, or a directory that is empty or not there, where a bare one is made.
    pub target: PathBuf,
    /// Move refs of the git repository though commits would be out of sight, tags replaced, or the
    /// files of a branch that is checked out left behind.
    pub force: bool,
}

/// What `export git` did.
#[derive(Debug, Default)]
pub struct GitExportReport {
    /// Commits written.
    pub commits: u64,
    /// Contents written.
    pub files: u64,
    /// Bytes of the contents.
    pub bytes: u64,
    /// Refs of the git repository that were written.
    pub refs: Vec<String>,
    /// Empty directories that were left out, each as often as a commit adds it.
    pub empty_dirs: u64,
    /// Paths that git cannot hold, and refs that were left alone; the monitor was told of each.
    pub skipped: u64,
    /// Whether the git repository was made.
    pub created: bool,
}

/// The ref on which commits are made; it is gone at the end.
const ON: &str = "refs/digstore/export";
/// Most people of whom something is said.
const MAX_TOLD: usize = 10_000;
/// Bytes written to git at once.
const BUFFER: usize = 256 << 10;

impl Repository {
    /// Exports everything that a branch or a tag leads to.
    pub fn export_git(&self, options: &GitExportOptions) -> Result<GitExportReport> {
        // Stashes are nobody else's business.
        let refs = [self.refs().list("heads")?, self.refs().list("tags")?].concat();
        if refs.is_empty() {
            return Err(ExchangeError::Nothing.into());
        }
        let (git, created) = open_target(&options.target)?;
        let there = if options.force {
            There::default()
        } else {
            let tags: Vec<String> = refs.iter().map(|(name, _)| format!("refs/{name}")).collect();
            There::of(&git, &tags)?
        };
        let mut args = vec!["--quiet", "--done", "--date-format=raw-permissive"];
        args.extend(options.force.then_some("--force"));
        let mut running = git.write_to("fast-import", &args)?;
        let (stdin, stdout) = (running.child.stdin.take(), running.child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else { return Err(RepoError::Worker) };
        self.monitor().phase(Phase::Processing);
        let mut export = Export {
            repository: self,
            reader: self.content_reader()?,
            out: BufWriter::with_capacity(BUFFER, stdin),
            answers: BufReader::new(stdout),
            there,
            contents: HashMap::new(),
            commits: HashMap::new(),
            last_mark: 0,
            told: BTreeSet::new(),
            report: GitExportReport { created, ..GitExportReport::default() },
        };
        let mut write = || -> Result<()> {
            for (_, record) in &refs {
                export.history(record.new.commit)?;
            }
            for (name, record) in &refs {
                export.reference(name, record)?;
            }
            let none = "0".repeat(if git.has_long_ids() { 64 } else { 40 });
            write!(export.out, "reset {ON}\nfrom {none}\n\ndone\n").map_err(broken)?;
            export.out.flush().map_err(broken)
        };
        let written = write();
        let Export { out, report, .. } = export;
        drop(out.into_parts());
        // Where git stopped reading, it says why.
        match written {
            Err(RepoError::Exchange(error @ ExchangeError::Write(_))) => {
                self.wait_for(running)?;
                return Err(error.into());
            }
            written => written?,
        }
        self.wait_for(running)?;
        if created && let Head::Branch(name) = self.refs().read_head()? {
            git.ask("symbolic-ref", &["HEAD", &format!("refs/heads/{name}")], &[])?;
        }
        Ok(report)
    }
}

/// The git repository at a directory itself, not one above it.
fn open_target(target: &Path) -> Result<(Git, bool)> {
    let is_free = match std::fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok((Git::init(target)?, true));
    }
    let occupied = || ExchangeError::Occupied(target.to_owned());
    let git = Git::open(target).map_err(|error| match error {
        ExchangeError::NotGit(_) => occupied(),
        error => error,
    })?;
    let dir = git.ask("rev-parse", &["--git-dir"], &[])?;
    if !matches!(dir.trim_ascii(), b"." | b".git") {
        return Err(occupied().into());
    }
    Ok((git, false))
}

fn broken(error: std::io::Error) -> RepoError {
    ExchangeError::Write(error).into()
}

/// An export under way.
struct Export<'r> {
    repository: &'r Repository,
    reader: ContentReader<'r>,
    out: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
    there: There,
    /// The marks of contents: some 60 bytes for each.
    contents: HashMap<Content, u64>,
    commits: HashMap<CommitId, u64>,
    last_mark: u64,
    /// What was said of people.
    told: BTreeSet<String>,
    report: GitExportReport,
}

impl Export<'_> {
    fn mark(&mut self) -> u64 {
        self.last_mark += 1;
        self.last_mark
    }

    fn load(&self, id: CommitId) -> Result<Commit> {
        Ok(self.reader.objects.commit(&id)?)
    }

    /// Writes a commit and all before it, each behind its parents.
    fn history(&mut self, head: CommitId) -> Result<()> {
        if self.commits.contains_key(&head) {
            return Ok(());
        }
        let mut stack = vec![(head, self.load(head)?.parents.into_iter())];
        while let Some((id, parents)) = stack.last_mut() {
            let id = *id;
            let parent = parents.find(|parent| !self.commits.contains_key(parent));
            if let Some(parent) = parent {
                stack.push((parent, self.load(parent)?.parents.into_iter()));
            } else {
                self.commit(id)?;
                stack.pop();
            }
        }
        Ok(())
    }

    fn commit(&mut self, id: CommitId) -> Result<()> {
        let commit = self.load(id)?;
        let parent = commit.parents.first().map(|parent| self.load(*parent)).transpose()?;
        let trees = (parent.map(|parent| parent.tree), Some(commit.tree));
        self.changes(trees, Self::new_content)?;
        let mark = self.mark();
        if commit.parents.is_empty() {
            write!(self.out, "reset {ON}\n\n").map_err(broken)?;
        }
        write!(self.out, "commit {ON}\nmark :{mark}\n").map_err(broken)?;
        self.person("author", &commit.author)?;
        self.person("committer", &commit.committer)?;
        self.data(commit.message.as_bytes())?;
        for (index, parent) in commit.parents.iter().enumerate() {
            let word = if index == 0 { "from" } else { "merge" };
            let parent = self.commits.get(parent).copied().unwrap_or_default();
            writeln!(self.out, "{word} :{parent}").map_err(broken)?;
        }
        // All that goes, then all that comes: a directory may take the place of a file.
        self.changes(trees, |export, change| match &change.old {
            Some(EntryKind::Dir { .. }) | None => Ok(()),
            Some(kind) if is_gits_own(&change.path, kind) => Ok(()),
            Some(_) => export.line(b"D ", &change.path),
        })?;
        self.changes(trees, Self::put)?;
        self.out.write_all(b"\n").map_err(broken)?;
        self.commits.insert(id, mark);
        self.report.commits += 1;
        Ok(())
    }

    /// Goes through what differs between two trees.
    fn changes(
        &mut self,
        (old, new): (Option<TreeId>, Option<TreeId>),
        mut each: impl FnMut(&mut Self, &TreeChange) -> Result<()>,
    ) -> Result<()> {
        for change in TreeDiff::new(self.reader.objects, old, new) {
            each(self, &change?)?;
        }
        Ok(())
    }

    fn new_content(&mut self, change: &TreeChange) -> Result<()> {
        if change.new.as_ref().is_some_and(|kind| is_gits_own(&change.path, kind)) {
            self.report.skipped += 1;
            let why = "git keeps this name for itself";
            self.repository.monitor().warn(&format!("left out '{}': {why}", change.path));
            return Ok(());
        }
        let Some(EntryKind::File { size, content, .. }) = &change.new else { return Ok(()) };
        if self.contents.contains_key(content) {
            return Ok(());
        }
        let mark = self.mark();
        write!(self.out, "blob\nmark :{mark}\ndata {size}\n").map_err(broken)?;
        let range = ByteRange { start: 0, end: *size };
        let (reader, out) = (self.reader, &mut self.out);
        reader.in_order(content, *size, range, |part| {
            part.for_each_slice(|bytes| out.write_all(bytes).map_err(broken))
        })?;
        self.out.write_all(b"\n").map_err(broken)?;
        self.contents.insert(*content, mark);
        self.report.files += 1;
        self.report.bytes += size;
        self.repository.monitor().advance(1, *size);
        Ok(())
    }

    fn put(&mut self, change: &TreeChange) -> Result<()> {
        match &change.new {
            None => Ok(()),
            Some(kind) if is_gits_own(&change.path, kind) => Ok(()),
            Some(EntryKind::Dir { .. }) => {
                self.report.empty_dirs += 1;
                Ok(())
            }
            Some(EntryKind::Symlink { target }) => {
                self.line(b"M 120000 inline ", &change.path)?;
                self.data(target)
            }
            Some(EntryKind::File { executable, content, .. }) => {
                let mode = if *executable { "100755" } else { "100644" };
                let mark = self.contents.get(content).copied().unwrap_or_default();
                self.line(format!("M {mode} :{mark} ").as_bytes(), &change.path)
            }
        }
    }

    fn line(&mut self, before: &[u8], path: &RepoPath) -> Result<()> {
        let line = [before, &quote(path.as_bytes()), b"\n"].concat();
        self.out.write_all(&line).map_err(broken)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        writeln!(self.out, "data {}", bytes.len()).map_err(broken)?;
        self.out.write_all(bytes).map_err(broken)?;
        self.out.write_all(b"\n").map_err(broken)
    }

    fn person(&mut self, word: &str, who: &Signature) -> Result<()> {
        if who.seconds < 0 {
            self.warn_once(&who.name, "is of a time before 1970, which git cannot say");
        }
        for field in [&who.name, &who.email] {
            if text::plain(field) != *field {
                self.warn_once(field, "has '<', '>' or a line break, which git cannot hold");
            }
        }
        writeln!(self.out, "{word} {}", text::person(who)).map_err(broken)
    }

    fn warn_once(&mut self, who: &str, why: &str) {
        let told = format!("'{}' {why}", escape(who.as_bytes()));
        if self.told.len() < MAX_TOLD && self.told.insert(told.clone()) {
            self.repository.monitor().warn(&told);
        }
    }

    fn reference(&mut self, name: &str, record: &RefRecord) -> Result<()> {
        let mark = self.commits.get(&record.new.commit).copied().unwrap_or_default();
        let annotation = record.new.annotation.filter(|_| name.starts_with("tags/"));
        let tag = annotation.map(|id| self.reader.objects.tag(&id)).transpose()?;
        let short = name.strip_prefix("tags/").unwrap_or(name);
        let full = format!("refs/{name}");
        if let Some(why) = self.stays(&full, mark, tag.as_ref())? {
            self.report.skipped += 1;
            let name = escape(full.as_bytes());
            self.repository.monitor().warn(&format!("left out the ref '{name}': {why}"));
            return Ok(());
        }
        if let Some(tag) = tag {
            write!(self.out, "tag {short}\nfrom :{mark}\n").map_err(broken)?;
            self.person("tagger", &tag.tagger)?;
            self.data(tag.message.as_bytes())?;
        } else {
            write!(self.out, "reset {full}\nfrom :{mark}\n\n").map_err(broken)?;
        }
        self.report.refs.push(full);
        Ok(())
    }

    /// Why a ref of the git repository is not moved; none if it may be.
    fn stays(&mut self, full: &str, mark: u64, tag: Option<&Tag>) -> Result<Option<&'static str>> {
        if self.there.guarded(full).is_none() {
            return Ok(None);
        }
        let commit = self.git_id(mark)?;
        let Some(old) = self.there.guarded(full) else { return Ok(None) };
        let is_same = match tag {
            None => old == commit,
            Some(tag) => self.there.tag(old) == Some(&tag_object(full, &commit, tag)),
        };
        Ok(match full.starts_with("refs/tags/") {
            _ if is_same => None,
            true => Some("it is there as another tag, which --force replaces"),
            false => Some(
                "it is checked out there, and the files would not follow; run 'git switch --detach' \
                 there before, or give --force and run 'git reset --hard' behind it",
            ),
        })
    }

    /// The id that git gave to a commit.
    fn git_id(&mut self, mark: u64) -> Result<Vec<u8>> {
        writeln!(self.out, "get-mark :{mark}").map_err(broken)?;
        self.out.flush().map_err(broken)?;
        let mut line = Vec::new();
        self.answers.read_until(b'\n', &mut line).map_err(broken)?;
        // It says itself why it stopped.
        let line = line.strip_suffix(b"\n").ok_or(std::io::ErrorKind::BrokenPipe.into());
        Ok(line.map_err(broken)?.to_vec())
    }
}

/// The bytes of the object that git makes of a tag.
fn tag_object(full: &str, commit: &[u8], tag: &Tag) -> Vec<u8> {
    let (name, tagger) =
        (full.strip_prefix("refs/tags/").unwrap_or(full), text::person(&tag.tagger));
    let end = format!("\ntype commit\ntag {name}\ntagger {tagger}\n\n{}", tag.message);
    [b"object ", commit, end.as_bytes()].concat()
}

/// Whether git keeps a name of the path for itself: it would not check out a commit that holds it, and looks
/// at names as Windows does, which takes more of them for `.git`.
fn is_gits_own(path: &RepoPath, kind: &EntryKind) -> bool {
    let mut names = path.as_bytes().split(|byte| matches!(byte, b'/' | b'\\'));
    let is_link = matches!(kind, EntryKind::Symlink { .. });
    names.any(|name| {
        let is_one = |others: &[&[u8]]| others.iter().any(|other| is_name(name, other));
        is_one(&[b".git", b"git~1"]) || is_link && is_one(&MODULES)
    })
}

/// What must not be a link, and the short names that it may have.
const MODULES: [&[u8]; 6] =
    [b".gitmodules", b"gitmod~1", b"gitmod~2", b"gitmod~3", b"gitmod~4", b"gi7eba~1"];

/// Whether Windows takes a name for another: in any case of letters, with spaces, dots or a stream behind.
fn is_name(name: &[u8], other: &[u8]) -> bool {
    let Some((start, rest)) = name.split_at_checked(other.len()) else { return false };
    let end = rest.iter().find(|byte| !matches!(byte, b' ' | b'.'));
    start.eq_ignore_ascii_case(other) && matches!(end, None | Some(b':'))
}
