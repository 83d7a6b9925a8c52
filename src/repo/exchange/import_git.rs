//! `import git`: all branches and tags of a git repository.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use super::super::operation::Operation;
use super::super::switch::{Move, MoveReport};
use super::super::trees::{TreeChange, TreeDiff, find};
use super::super::{RepoError, Repository, Result};
use super::fast_export::{Change, Command, CommitHead, FastExport, Mode, Source, TagHead, Target};
use super::git::Git;
use super::marks::{Marked, Marks, git_id};
use super::round::{Pipes, Round};
use super::text::Altered;
use super::{ExchangeError, ExportError};
use crate::id::{CommitId, ObjectId, TagId};
use crate::metrics::MetricsSnapshot;
use crate::path::{REPOSITORY_DIR, RepoPath, escape};
use crate::progress::Phase;
use crate::storage::format::import_marks::ImportMark;
use crate::storage::format::object::{Commit, Content, EntryKind, check_target};
use crate::storage::format::pack::BlockKind;
use crate::storage::format::refs::{Head, check_ref_name};
use crate::storage::format::tag::Tag;
use crate::storage::objects::{ObjectSink, TreeTotals};
use crate::storage::refs::RefValue;

/// What is imported.
#[derive(Debug, Clone)]
pub struct GitImportOptions {
    /// The git repository.
    pub source: PathBuf,
    /// Move refs that are here already though commits would be out of sight.
    pub force: bool,
}

/// A ref that was made or moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedRef {
    /// Its name: `heads/main`, `tags/v1`.
    pub name: String,
    /// Where it led before.
    pub old: Option<CommitId>,
    /// Where it leads.
    pub new: CommitId,
}

/// What `import git` did.
#[derive(Debug, Default)]
pub struct GitImportReport {
    /// Commits read.
    pub commits: u64,
    /// Commits known from an earlier import.
    pub known: u64,
    /// Refs made or moved, by name.
    pub refs: Vec<ImportedRef>,
    /// Paths and refs left out; the monitor was told of each.
    pub skipped: u64,
    /// The branch that `HEAD` names, if the import set it.
    pub head: Option<String>,
    /// Files written into the work tree; none if it was left alone.
    pub written: Option<u64>,
    /// Counters of the run.
    pub metrics: MetricsSnapshot,
}

/// Most paths of which is remembered that they were told of.
const MAX_TOLD: usize = 100_000;
/// What git says of a tag that does not say who made it.
const NO_TAGGER: &[u8] = b"Unspecified Tagger <unspecified-tagger> 0 +0000";
/// Bytes read from git at once.
const BUFFER: usize = 256 << 10;

impl Repository {
    /// Imports a git repository; see the module.
    pub fn import_git(&self, options: &GitImportOptions) -> Result<GitImportReport> {
        let git = Git::open(&options.source)?;
        if git.is_shallow()? {
            return Err(ExchangeError::Shallow(options.source.clone()).into());
        }
        let mut op = self.begin(format!("import git {}", options.source.display()))?;
        let known = self.imported(&git)?;
        self.monitor().phase(Phase::Processing);
        let mut import = Import::new(self, Marks::of(&known));
        import.report.known = known.len() as u64;
        let engine = self.engine()?;
        let started = std::time::Instant::now();
        let read = import.read(&git, &known, &Pipes::new(&engine));
        self.remove_git_marks()?;
        read?;
        import.tell_of_others();
        import.other_refs(&git)?;
        engine.metrics.add_processing_time(started.elapsed());
        let Import { refs, tags, mut report, .. } = import;
        report.metrics = engine.metrics.snapshot();
        self.monitor().phase(Phase::Writing);
        self.apply(&mut op, wanted(refs, tags, self, &mut report), options, &mut report)?;
        self.head_follows(&mut op, &git, &mut report)?;
        op.finish()?;
        Ok(report)
    }

    /// Checks and sets the refs.
    fn apply(
        &self,
        op: &mut Operation<'_>,
        wanted: BTreeMap<String, RefValue>,
        options: &GitImportOptions,
        report: &mut GitImportReport,
    ) -> Result<()> {
        let mut lost = Vec::new();
        for (name, value) in wanted {
            let old = op.read_ref(&name)?;
            if old == Some(value) {
                continue;
            }
            if let Some(old) = old.filter(|_| !options.force)
                && (name.starts_with("tags/") || !self.is_ancestor(old.commit, value.commit)?)
            {
                lost.push(format!("'{}'", escape(name.as_bytes())));
                continue;
            }
            op.set_ref(&name, Some(value))?;
            let old = old.map(|old| old.commit);
            report.refs.push(ImportedRef { name, old, new: value.commit });
        }
        if lost.is_empty() { Ok(()) } else { Err(ExchangeError::WouldLose(lost).into()) }
    }

    /// Lets `HEAD` and the work tree follow: as a clone where nothing was here, as a fast-forward
    /// where the branch that is checked out moved.
    fn head_follows(
        &self,
        op: &mut Operation<'_>,
        git: &Git,
        report: &mut GitImportReport,
    ) -> Result<()> {
        if let Some(old) = self.refs().head_commit()? {
            let new = op.head_commit()?;
            if new != Some(old) {
                // It would be forgotten where HEAD goes elsewhere, and what it staged would stay.
                self.check_none_waits()?;
                let moved = op.move_to(&Move::new(self.tree_of(Some(old))?, self.tree_of(new)?))?;
                self.note_move(report, &moved);
            }
            return Ok(());
        }
        let named = git.head().and_then(|name| Some(name.strip_prefix("refs/heads/")?.to_owned()));
        let first = report.refs.iter().find_map(|one| one.name.strip_prefix("heads/"));
        let is_here =
            |name: &String| report.refs.iter().any(|one| one.name == format!("heads/{name}"));
        let Some(branch) = named.filter(is_here).or(first.map(str::to_owned)) else {
            return Ok(());
        };
        op.set_head(Head::Branch(branch.clone()));
        report.head = Some(branch);
        let commit = op.head_commit()?;
        let moving = Move::new(None, self.tree_of(commit)?);
        // What an import that was killed staged is no work of the user.
        let may_write = !op.staged().is_empty() || self.is_work_tree_empty()?;
        if may_write && self.plan_move(op.staged(), &moving)?.1.listed.is_empty() {
            self.note_move(report, &op.move_to(&moving)?);
            return Ok(());
        }
        // Without this the next commit would remove all of it.
        commit.map_or(Ok(()), |commit| self.stage_below(op, commit))
    }

    fn note_move(&self, report: &mut GitImportReport, moved: &MoveReport) {
        self.tell_skipped(&moved.skipped);
        report.written = Some(moved.written);
        report.skipped += moved.skipped.len() as u64;
    }

    /// Stages what a commit holds, but for what is staged already.
    fn stage_below(&self, op: &mut Operation<'_>, commit: CommitId) -> Result<()> {
        let objects = self.objects()?;
        let Commit { tree, files, bytes, .. } = objects.commit(&commit)?;
        let staged = op.staged_tree()?.tree;
        let mut edits = Vec::new();
        for change in TreeDiff::new(objects, None, Some(staged)) {
            let TreeChange { path, new, .. } = change?;
            let is_dir = matches!(new, Some(EntryKind::Dir { .. }));
            if !is_dir || find(objects, &tree, &path)?.is_none() {
                edits.push((path, new));
            }
        }
        let both = self.write_edited(TreeTotals { tree, files, bytes }, &edits)?;
        op.stage_tree(both.tree)
    }

    fn is_work_tree_empty(&self) -> Result<bool> {
        let path = &self.place().work_tree;
        let failed = |source| RepoError::WorkTreeRead { path: path.clone(), source };
        for entry in std::fs::read_dir(path).map_err(failed)? {
            if entry.map_err(failed)?.file_name() != REPOSITORY_DIR {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The refs of the stream as refs here; what has no place here is told.
fn wanted(
    refs: BTreeMap<Vec<u8>, Option<CommitId>>,
    tags: BTreeMap<Vec<u8>, RefValue>,
    repository: &Repository,
    report: &mut GitImportReport,
) -> BTreeMap<String, RefValue> {
    let plain = refs.into_iter().filter_map(|(name, commit)| Some((name, RefValue::from(commit?))));
    let tags =
        tags.into_iter().map(|(name, value)| ([b"refs/tags/", name.as_slice()].concat(), value));
    let mut wanted = BTreeMap::new();
    for (full, value) in plain.chain(tags) {
        let name = std::str::from_utf8(&full).ok().and_then(|name| name.strip_prefix("refs/"));
        let short =
            name.and_then(|name| name.strip_prefix("heads/").or(name.strip_prefix("tags/")));
        match (name, short) {
            (Some(name), Some(short)) if check_ref_name(short).is_ok() => {
                wanted.insert(name.to_owned(), value);
            }
            _ => {
                report.skipped += 1;
                let name = escape(&full);
                repository
                    .monitor()
                    .warn(&format!("left out the ref '{name}': it has no such name here"));
            }
        }
    }
    wanted
}

/// A change, and its content where that stood inline.
type Read = (Change, Option<(Content, u64)>);
/// Edits of a tree, in path order.
type Edits = Vec<(RepoPath, Option<EntryKind>)>;

/// A commit whose changes were read.
struct Pending {
    head: CommitHead,
    changes: Vec<Read>,
}

/// An import under way.
struct Import<'r> {
    repository: &'r Repository,
    marks: Marks,
    refs: BTreeMap<Vec<u8>, Option<CommitId>>,
    tags: BTreeMap<Vec<u8>, RefValue>,
    /// A commit that waits until what it needs can be read.
    pending: Option<Pending>,
    /// Commits of this round.
    noted: Vec<ImportMark>,
    /// Paths that were told as left out.
    told: BTreeSet<Vec<u8>>,
    /// Commits and tags with a person or a date that an export writes in another form.
    others: u64,
    first_other: Option<String>,
    /// Marks of tags.
    tag_marks: BTreeSet<u64>,
    report: GitImportReport,
}

impl<'r> Import<'r> {
    fn new(repository: &'r Repository, marks: Marks) -> Self {
        Self {
            repository,
            marks,
            refs: BTreeMap::new(),
            tags: BTreeMap::new(),
            pending: None,
            noted: Vec::new(),
            told: BTreeSet::new(),
            others: 0,
            first_other: None,
            tag_marks: BTreeSet::new(),
            report: GitImportReport::default(),
        }
    }

    /// Reads all that git exports, round by round.
    fn read(&mut self, git: &Git, known: &[ImportMark], pipes: &Pipes<'_>) -> Result<()> {
        let marks = self.repository.write_git_marks(known)?;
        let mut args: Vec<String> = [
            "--branches",
            "--tags",
            "--show-original-ids",
            "--signed-tags=strip",
            "--tag-of-filtered-object=rewrite",
            "--mark-tags",
            "--fake-missing-tagger",
            "--reencode=yes",
            "--use-done-feature",
        ]
        .map(str::to_owned)
        .to_vec();
        args.push(format!("--import-marks={}", marks.display()));
        let mut running = git.read_from("fast-export", &args)?;
        let Some(stdout) = running.child.stdout.take() else {
            return Err(ExchangeError::Stream(ExportError::Ended).into());
        };
        let mut stream = FastExport::new(BufReader::with_capacity(BUFFER, stdout));
        let read = loop {
            let ended = pipes.round(|round| self.round(round, &mut stream));
            let noted = std::mem::take(&mut self.noted);
            match ended {
                Ok(ended) => {
                    self.repository.note_imported(&noted)?;
                    if ended {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        drop(stream);
        let waited = self.repository.wait_for(running);
        match read {
            // Where the stream broke off, git says why.
            Err(RepoError::Exchange(ExchangeError::Stream(
                ExportError::Ended | ExportError::Read(_),
            ))) => waited.and(read),
            Err(error) => Err(error),
            Ok(()) => waited,
        }
    }

    /// Reads until the round is full; `true` at the end of the stream.
    fn round<R: BufRead>(
        &mut self,
        round: &mut Round<'_, '_>,
        stream: &mut FastExport<R>,
    ) -> Result<bool> {
        if let Some(pending) = self.pending.take() {
            self.commit(round, pending)?;
        }
        while !round.is_full() && self.pending.is_none() {
            match stream.next_command().map_err(ExchangeError::from)? {
                None => return Ok(true),
                Some(Command::Blob(blob)) => {
                    let (content, size) = round.content(&mut stream.data(), broken)?;
                    self.marks.set(blob.mark, Marked::Blob(content, size))?;
                }
                Some(Command::Commit(head)) => {
                    let changes = changes(round, stream)?;
                    self.commit(round, Pending { head: *head, changes })?;
                }
                Some(Command::Reset { name, from }) => {
                    // What names no commit is told of in the end.
                    let commit = from.and_then(|from| self.marks.commit(&from).ok());
                    self.refs.insert(name, commit);
                }
                Some(Command::Tag(tag)) => self.tag(round, *tag)?,
            }
        }
        Ok(false)
    }

    fn commit(&mut self, round: &mut Round<'_, '_>, pending: Pending) -> Result<()> {
        let head = &pending.head;
        let mut parents = Vec::new();
        match &head.from {
            Some(from) => parents.push(self.marks.commit(from)?),
            None => parents.extend(self.refs.get(&head.reference).copied().flatten()),
        }
        let base = parents.first().map(|parent| round.tree_of(*parent)).transpose()?;
        for merge in &head.merges {
            parents.push(self.marks.commit(merge)?);
        }
        let Some((clears, edits)) = self.edits(round, &pending.changes)? else {
            self.pending = Some(pending);
            return Ok(());
        };
        let tree = round.tree(base.filter(|_| !clears), &edits)?;
        let id = round.commit(&self.as_commit(&pending.head, tree, parents))?;
        self.marks.set(pending.head.mark, Marked::Commit(id))?;
        self.noted.extend(
            pending.head.original.as_deref().and_then(git_id).map(|original| (original, id)),
        );
        self.refs.insert(pending.head.reference, Some(id));
        self.report.commits += 1;
        Ok(())
    }

    fn as_commit(&mut self, head: &CommitHead, tree: TreeTotals, parents: Vec<CommitId>) -> Commit {
        let mut altered = Altered::default();
        let message = altered.message(head.message.clone());
        let committer = altered.signature(head.committer.clone());
        let author = head.author.clone().unwrap_or_else(|| head.committer.clone());
        let author = altered.signature(author);
        let original = escape(head.original.as_deref().unwrap_or(b"?"));
        self.tell(&format!("commit {original}"), altered);
        let TreeTotals { tree, files, bytes } = tree;
        Commit { tree, files, bytes, parents, author, committer, message }
    }

    /// Says what became of names and messages. Dates in odd forms are many where there is one.
    fn tell(&mut self, what: &str, altered: Altered) {
        let monitor = self.repository.monitor();
        if altered.is_recoded {
            monitor.warn(&format!("{what} is not UTF-8: it was read as Latin-1"));
        }
        if altered.is_cut {
            monitor.warn(&format!("{what} has a name of more than 4,096 bytes, or a message of more than 1 MiB: it was cut"));
        }
        if altered.is_other {
            self.others += 1;
            self.first_other.get_or_insert_with(|| what.to_owned());
        }
    }

    /// Says how often a person or a date was not in the form that an export gives it.
    fn tell_of_others(&self) {
        let Some(first) = &self.first_other else { return };
        let more = match self.others {
            1 => String::new(),
            others => format!(" and {} more", others - 1),
        };
        self.repository.monitor().warn(&format!(
            "{first}{more}: a person or a date is in a form that is not kept; \
             in git again, it gets another id"
        ));
    }

    /// The changes as edits, and whether they begin with nothing; none when the target of a link
    /// cannot be read yet. Each path is changed once in a commit, so that their order says nothing.
    fn edits(&mut self, round: &Round<'_, '_>, changes: &[Read]) -> Result<Option<(bool, Edits)>> {
        let mut clears = false;
        let mut edits = BTreeMap::new();
        for (change, inline) in changes {
            match change {
                Change::DeleteAll => {
                    clears = true;
                    edits.clear();
                }
                Change::Delete(path) => {
                    if let Ok(path) = RepoPath::new(path.clone()) {
                        edits.insert(path, None);
                    }
                }
                Change::Copy(..) | Change::Rename(..) => {
                    return Err(ExchangeError::Unexpected("a copy or a rename").into());
                }
                Change::Modify { mode, source, path } => {
                    let content = match (source, inline) {
                        (_, Some(inline)) => Some(*inline),
                        (Source::Object(_), None) if *mode == Mode::Gitlink => None,
                        (Source::Object(target), None) => Some(self.marks.blob(target)?),
                        (Source::Inline, None) => None,
                    };
                    let kind = match kind(round, *mode, content)? {
                        Entry::Is(kind) => kind,
                        Entry::Wait => return Ok(None),
                        Entry::No(why) => {
                            self.leave_out(path, &why);
                            // What was there before is not there any more.
                            if let Ok(path) = RepoPath::new(path.clone()) {
                                edits.insert(path, None);
                            }
                            continue;
                        }
                    };
                    match RepoPath::new(path.clone()) {
                        Ok(path) => drop(edits.insert(path, Some(kind))),
                        Err(error) => self.leave_out(path, &error.to_string()),
                    }
                }
            }
        }
        Ok(Some((clears, edits.into_iter().collect())))
    }

    /// Branches and tags that the stream gives no commit for are left out.
    fn other_refs(&mut self, git: &Git) -> Result<()> {
        let args = ["--format=%(refname)", "refs/heads", "refs/tags"];
        let listed = git.ask("for-each-ref", &args, &[])?;
        for full in listed.split(|byte| *byte == b'\n').filter(|name| !name.is_empty()) {
            let tag = full.strip_prefix(b"refs/tags/".as_slice());
            let is_known = matches!(self.refs.get(full), Some(Some(_)))
                || tag.is_some_and(|name| self.tags.contains_key(name));
            if !is_known {
                let name = escape(full);
                let told = format!("left out the ref '{name}': it leads to no commit");
                self.repository.monitor().warn(&told);
                self.report.skipped += 1;
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &[u8], why: &str) {
        if self.told.contains(path) {
            return;
        }
        if self.told.len() < MAX_TOLD {
            self.told.insert(path.to_vec());
        }
        self.report.skipped += 1;
        self.repository.monitor().warn(&format!("left out '{}': {why}", escape(path)));
    }

    fn tag(&mut self, round: &mut Round<'_, '_>, head: TagHead) -> Result<()> {
        // One of something else is told of in the end.
        let Ok(commit) = self.marks.commit(&head.from) else { return Ok(()) };
        self.marks.set(head.mark, Marked::Commit(commit))?;
        self.tag_marks.extend(head.mark);
        let is_nested = matches!(&head.from, Target::Mark(mark) if self.tag_marks.contains(mark));
        let mut value = RefValue::from(commit);
        let name = String::from_utf8(head.name.clone());
        if let (Some(tagger), Ok(name)) = (head.tagger, name)
            && check_ref_name(&name).is_ok()
        {
            let what = format!("tag '{}'", escape(name.as_bytes()));
            let warn = |why: &str| self.repository.monitor().warn(&format!("{what} {why}"));
            if is_nested {
                warn("names another tag: it was read as one of the commit");
            }
            if tagger.line == NO_TAGGER {
                warn("does not say who made it: it was read as git shows it, of 1970");
            }
            let mut altered = Altered::default();
            let tagger = altered.signature(tagger);
            let message = altered.message(head.message);
            self.tell(&what, altered);
            let tag = Tag { name, target: commit, tagger, message };
            let encoded = tag.encode_checked().map_err(RepoError::Unstorable)?;
            let id = TagId::of(&encoded);
            round.worker.put(BlockKind::Tag, ObjectId::from(id), encoded)?;
            value.annotation = Some(id);
        }
        self.tags.insert(head.name, value);
        Ok(())
    }
}

/// What a path becomes.
enum Entry {
    Is(EntryKind),
    /// Its content must be durable first.
    Wait,
    /// It cannot be stored.
    No(String),
}

fn kind(round: &Round<'_, '_>, mode: Mode, content: Option<(Content, u64)>) -> Result<Entry> {
    let Some((content, size)) = content else {
        return Ok(Entry::No("it is a commit of another repository (a submodule)".to_owned()));
    };
    Ok(match mode {
        Mode::File { executable } => Entry::Is(EntryKind::File { executable, size, content }),
        Mode::Symlink => match round.target(content, size)? {
            None => Entry::Wait,
            Some(target) => match check_target(&target) {
                Ok(()) => Entry::Is(EntryKind::Symlink { target }),
                Err(why) => Entry::No(why),
            },
        },
        Mode::Gitlink | Mode::Dir => Entry::No("it is neither a file nor a link".to_owned()),
    })
}

/// Reads the changes of a commit, and stores the contents that stand inline.
fn changes<R: BufRead>(round: &mut Round<'_, '_>, stream: &mut FastExport<R>) -> Result<Vec<Read>> {
    let mut changes = Vec::new();
    while let Some(change) = stream.next_change().map_err(ExchangeError::from)? {
        let inline = match &change {
            Change::Modify { source: Source::Inline, .. } => {
                Some(round.content(&mut stream.data(), broken)?)
            }
            _ => None,
        };
        changes.push((change, inline));
    }
    Ok(changes)
}

fn broken(error: std::io::Error) -> RepoError {
    let error = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ExportError::Ended,
        _ => ExportError::Read(error),
    };
    ExchangeError::Stream(error).into()
}
