//! What the marks of a stream stand for, and which commits were imported earlier.

use std::collections::HashSet;
use std::path::Path;

use super::super::{Repository, Result};
use super::ExchangeError;
use super::fast_export::Target;
use super::git::Git;
use crate::id::{CommitId, ObjectId};
use crate::path::escape;
use crate::storage::format::import_marks::{self, ImportMark};
use crate::storage::format::object::Content;

/// Directory of what imports note.
const DIR: &str = "import";
/// The marks that git is given.
const GIT_MARKS: &str = "import/marks.txt";
/// Largest file of imported commits that is read.
const MAX_FILE: u64 = 256 << 20;
/// Highest mark that is kept: git numbers objects from 1.
const MAX_MARK: u64 = 1 << 30;

/// What a mark stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Marked {
    /// Nothing was met under this number.
    Nothing,
    /// A content and its length.
    Blob(Content, u64),
    /// A commit, or a tag that leads to it.
    Commit(CommitId),
}

/// The marks of a stream: 48 bytes for each object.
#[derive(Default)]
pub(super) struct Marks(Vec<Marked>);

impl Marks {
    /// Numbers the commits from 1 on.
    pub(super) fn of(known: &[ImportMark]) -> Self {
        let commits = known.iter().map(|(_, commit)| Marked::Commit(*commit));
        Self(std::iter::once(Marked::Nothing).chain(commits).collect())
    }

    pub(super) fn set(&mut self, mark: Option<u64>, marked: Marked) -> Result<()> {
        let Some(mark) = mark else { return Ok(()) };
        // Marks count up, so that no number lies far above those before.
        if mark > MAX_MARK || mark as usize > self.0.len() * 2 + 1024 {
            return Err(ExchangeError::Unexpected("a mark that is far too large").into());
        }
        if mark as usize >= self.0.len() {
            self.0.resize(mark as usize + 1, Marked::Nothing);
        }
        self.0[mark as usize] = marked;
        Ok(())
    }

    fn get(&self, target: &Target) -> Marked {
        let mark = match target {
            Target::Mark(mark) => usize::try_from(*mark).ok(),
            Target::Name(_) => None,
        };
        mark.and_then(|mark| self.0.get(mark)).copied().unwrap_or(Marked::Nothing)
    }

    pub(super) fn commit(&self, target: &Target) -> Result<CommitId> {
        match self.get(target) {
            Marked::Commit(commit) => Ok(commit),
            _ => Err(unknown("commit", target)),
        }
    }

    pub(super) fn blob(&self, target: &Target) -> Result<(Content, u64)> {
        match self.get(target) {
            Marked::Blob(content, size) => Ok((content, size)),
            _ => Err(unknown("content", target)),
        }
    }
}

fn unknown(what: &str, target: &Target) -> super::super::RepoError {
    let name = match target {
        Target::Mark(mark) => format!("{what} :{mark}"),
        Target::Name(name) => format!("{what} '{}'", escape(name)),
    };
    ExchangeError::Unknown(name).into()
}

/// The bytes of an id in hexadecimal digits; none if it is no id of git.
pub(super) fn git_id(digits: &[u8]) -> Option<Box<[u8]>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
    let bytes: Option<Box<[u8]>> = pairs.collect();
    bytes.filter(|_| matches!(digits.len(), 40 | 64))
}

fn hex(id: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    id.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl Repository {
    /// Commits of a git repository that were imported earlier and are still on both sides.
    pub(super) fn imported(&self, git: &Git) -> Result<Vec<ImportMark>> {
        let mut found = Vec::new();
        let mut names = self.mark_files()?;
        names.sort_unstable();
        for name in names {
            let bytes = self.disk.read(&Path::new(DIR).join(&name), MAX_FILE)?;
            match bytes.as_deref().map(import_marks::decode) {
                Some(Ok(marks)) => found.extend(marks),
                Some(Err(error)) => {
                    let what = format!("'{DIR}/{name}' is ignored: {error}");
                    self.monitor().warn(&what);
                }
                None => {}
            }
        }
        let store = self.store()?;
        found.retain(|(_, commit)| store.contains(&ObjectId::from(*commit)));
        let mut seen = HashSet::new();
        found.retain(|(id, _)| seen.insert(id.clone()));
        if found.is_empty() {
            return Ok(found);
        }
        let asked: String = found.iter().map(|(id, _)| hex(id) + "\n").collect();
        let answer = git.ask("cat-file", &["--batch-check=%(objecttype)"], asked.as_bytes())?;
        let mut answers = answer.split(|byte| *byte == b'\n');
        found.retain(|_| answers.next() == Some(b"commit"));
        Ok(found)
    }

    fn mark_files(&self) -> Result<Vec<String>> {
        self.disk.create_dir(DIR.as_ref())?;
        let names = self.disk.list(DIR.as_ref())?.into_iter();
        Ok(names.filter(|name| name.starts_with("git-")).collect())
    }

    /// Notes commits that were imported and are durable.
    pub(super) fn note_imported(&self, marks: &[ImportMark]) -> Result<()> {
        if marks.is_empty() {
            return Ok(());
        }
        let number = |name: &String| name.strip_prefix("git-")?.parse::<u64>().ok();
        let last = self.mark_files()?.iter().filter_map(number).max().unwrap_or(0);
        let name = Path::new(DIR).join(format!("git-{:08}", last + 1));
        self.disk.publish(&name, &import_marks::encode(marks), false)?;
        Ok(())
    }

    /// Writes the commits as marks that git reads; returns where.
    pub(super) fn write_git_marks(&self, known: &[ImportMark]) -> Result<std::path::PathBuf> {
        let mut text = String::new();
        for (number, (id, _)) in (1..).zip(known) {
            text.push_str(&format!(":{number} {}\n", hex(id)));
        }
        self.disk.publish(GIT_MARKS.as_ref(), text.as_bytes(), true)?;
        Ok(self.disk.root().join(GIT_MARKS))
    }

    pub(super) fn remove_git_marks(&self) -> Result<()> {
        Ok(self.disk.remove(GIT_MARKS.as_ref())?)
    }
}
