//! Three-way merge of the text of files, with conflict markers where both sides changed the same
//! lines.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use diffy::{ConflictStyle, IncompleteHunkStyle, MergeOptions};
use imara_diff::{InternedInput, Token};

use super::super::beneath::fstat_of;
use super::super::diff::line_ends;
use super::super::read::{ByteRange, ContentReader};
use super::super::{RepoError, Repository, Result};
use super::trees::{BothChanged, as_file};
use crate::path::RepoPath;
use crate::storage::engine::{FileSource, FileTask, OpenedFile};
use crate::storage::format::object::{Content, EntryKind};
use crate::storage::format::staging::FileStat;
use crate::storage::parallel_processor::ParallelProcessor;

/// Largest file whose text is merged, in bytes: three of them and the result are in memory.
const MAX_TEXT: u64 = 16 << 20;
/// Most lines of the three together: the comparison takes some 40 bytes for each.
const MAX_LINES: u64 = 3_000_000;
/// Most lines in which a side may differ from the base.
const MAX_CHANGED: usize = 40_000;
/// Most steps of the search for them. Where lines differ from each other, they grow with the square
/// of what changed: about as many as for `MAX_CHANGED`.
const MAX_STEPS: usize = 1_000_000_000;
/// Where git looks for a NUL byte that makes a file binary.
const PROBE: usize = 8000;
/// Merged text that is stored together, in bytes.
const STORED_AT_ONCE: usize = 32 << 20;

/// What came of a file that both sides changed.
pub(super) enum Merged {
    /// Merged.
    Clean(EntryKind),
    /// Merged, with conflict markers.
    Marked(EntryKind),
    /// Not text, or too large, or too much of it changed.
    Not,
}

/// A merged text that is not stored yet.
struct Text {
    path: RepoPath,
    bytes: Vec<u8>,
    executable: bool,
    is_clean: bool,
}

/// Merges the text of files and stores the results; one answer for each, in their order.
pub(super) fn merge_texts(
    repository: &Repository,
    files: &[BothChanged],
    style: ConflictStyle,
) -> Result<Vec<Merged>> {
    let reader = repository.content_reader()?;
    let mut merged: Vec<Merged> = files.iter().map(|_| Merged::Not).collect();
    let (mut texts, mut cost) = (Vec::new(), 0);
    for (at, file) in files.iter().enumerate() {
        let stop = || repository.stop_if_cancelled();
        stop()?;
        let Some(text) = merge_text(&reader, file, style, &stop)? else { continue };
        cost += text.bytes.len();
        texts.push((at, text));
        if cost >= STORED_AT_ONCE {
            store(repository, std::mem::take(&mut texts), &mut merged)?;
            cost = 0;
        }
    }
    store(repository, texts, &mut merged)?;
    Ok(merged)
}

fn merge_text(
    reader: &ContentReader<'_>,
    file: &BothChanged,
    style: ConflictStyle,
    stop: &dyn Fn() -> Result<()>,
) -> Result<Option<Text>> {
    let base = match file.base.as_ref().map(as_file) {
        Some(Some((_, size, content))) => read(reader, size, content)?,
        // Without an ancestor, everything is new on both sides.
        Some(None) | None => Some(Vec::new()),
    };
    let side = |kind: &EntryKind| match as_file(kind) {
        Some((_, size, content)) => read(reader, size, content),
        None => Ok(None),
    };
    let (Some(base), Some(ours), Some(theirs)) = (base, side(&file.ours)?, side(&file.theirs)?)
    else {
        return Ok(None);
    };
    if !is_in_reach(&base, [&ours, &theirs], stop)? {
        return Ok(None);
    }
    let mut options = MergeOptions::new();
    options.set_conflict_style(style).set_incomplete_hunk_style(IncompleteHunkStyle::Git);
    let result = options.merge_bytes(&base, &ours, &theirs);
    let is_clean = result.is_ok();
    let bytes = result.unwrap_or_else(|marked| marked);
    let (path, executable) = (file.path.clone(), file.executable);
    Ok(Some(Text { path, bytes, executable, is_clean }))
}

/// Whether the merge takes little enough time and memory.
fn is_in_reach(base: &[u8], sides: [&[u8]; 2], stop: &dyn Fn() -> Result<()>) -> Result<bool> {
    let lines: u64 = [base, sides[0], sides[1]].into_iter().map(line_ends).sum();
    if lines > MAX_LINES {
        return Ok(false);
    }
    for side in sides {
        let input = InternedInput::new(base, side);
        if !differ_little(&input.before, &input.after, MAX_CHANGED, stop)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two texts differ in few enough lines, and that shows in few enough steps: the search of
/// Myers (An O(ND) difference algorithm and its variations, 1986), given up where the merge, which
/// searches in the same way, would take too long.
fn differ_little(
    a: &[Token],
    b: &[Token],
    most: usize,
    stop: &dyn Fn() -> Result<()>,
) -> Result<bool> {
    let head = equal(a.iter().zip(b));
    let (a, b) = (&a[head..], &b[head..]);
    let tail = equal(a.iter().rev().zip(b.iter().rev()));
    let (a, b) = (&a[..a.len() - tail], &b[..b.len() - tail]);
    if a.len().abs_diff(b.len()) > most {
        return Ok(false);
    }
    let most = most.min(a.len() + b.len());
    // How far each diagonal was followed in `a`; diagonal 0 stands in the middle.
    let middle = most + 1;
    let mut reached = vec![0usize; 2 * middle + 1];
    let mut steps = 0;
    for changed in 0..=most {
        if changed % 64 == 0 {
            stop()?;
        }
        for diagonal in (middle - changed..=middle + changed).step_by(2) {
            let (below, above) = (reached[diagonal - 1], reached[diagonal + 1]);
            let goes_down =
                diagonal == middle - changed || (diagonal != middle + changed && below < above);
            let from = if goes_down { above } else { below + 1 };
            // Behind the end of either there is nothing to follow.
            let at = (from + middle).saturating_sub(diagonal);
            let (left, right) =
                (a.get(from..).unwrap_or_default(), b.get(at..).unwrap_or_default());
            let followed = equal(left.iter().zip(right));
            reached[diagonal] = from + followed;
            if from + followed >= a.len() && at + followed >= b.len() {
                return Ok(true);
            }
            steps += followed + 1;
        }
        if steps > MAX_STEPS {
            return Ok(false);
        }
    }
    Ok(false)
}

/// How many pairs at the beginning are equal.
fn equal<'t>(pairs: impl Iterator<Item = (&'t Token, &'t Token)>) -> usize {
    pairs.take_while(|(one, other)| one == other).count()
}

/// The text of a file; `None` for what is no text, or too large.
fn read(reader: &ContentReader<'_>, size: u64, content: Content) -> Result<Option<Vec<u8>>> {
    if size > MAX_TEXT {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(size as usize);
    reader.in_order(&content, size, ByteRange { start: 0, end: size }, |part| {
        part.for_each_slice(|slice| {
            bytes.extend_from_slice(slice);
            Ok(())
        })
    })?;
    let is_binary = bytes[..bytes.len().min(PROBE)].contains(&0);
    Ok((!is_binary).then_some(bytes))
}

/// Files in memory, for the engine to store.
struct InMemory(HashMap<RepoPath, File>);

impl FileSource for InMemory {
    fn open(&self, path: &RepoPath) -> io::Result<OpenedFile> {
        let file = self.0.get(path).ok_or(io::ErrorKind::NotFound)?.try_clone()?;
        let stat = self.stat(&file)?;
        Ok(OpenedFile { file, stat, is_regular: true, executable: false })
    }

    fn stat(&self, file: &File) -> io::Result<FileStat> {
        Ok(fstat_of(file)?.1)
    }
}

/// Stores bytes as the content of a file, not executable.
pub(super) fn store_bytes(
    repository: &Repository,
    path: &RepoPath,
    bytes: &[u8],
) -> Result<EntryKind> {
    let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
    let source = InMemory(HashMap::from([(path.clone(), in_memory(bytes).map_err(read)?)]));
    let size = bytes.len() as u64;
    let task = FileTask { path: path.clone(), size, previous: None };
    let engine = repository.engine()?;
    let run = ParallelProcessor::new(&engine, &source).run(|feeder| feeder.offer(0, vec![task]));
    let mut output = run?.0;
    if let Some((path, cause)) = output.skipped.pop() {
        return Err(RepoError::CannotKeep { path, why: cause.to_string() });
    }
    let file = output.stored.pop().ok_or(RepoError::Worker)?;
    Ok(EntryKind::File { executable: false, size, content: file.content })
}

fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let handle: OwnedFd =
        rustix::fs::memfd_create("digstore-merge", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(handle);
    file.write_all(bytes)?;
    Ok(file)
}

fn store(repository: &Repository, texts: Vec<(usize, Text)>, merged: &mut [Merged]) -> Result<()> {
    if texts.is_empty() {
        return Ok(());
    }
    let (mut files, mut tasks, mut waiting) = (HashMap::new(), Vec::new(), HashMap::new());
    for (at, Text { path, bytes, executable, is_clean }) in texts {
        let read = |source| RepoError::WorkTreeRead { path: path.to_os().to_owned(), source };
        files.insert(path.clone(), in_memory(&bytes).map_err(read)?);
        tasks.push(FileTask { path: path.clone(), size: bytes.len() as u64, previous: None });
        waiting.insert(path, (at, executable, is_clean));
    }
    let engine = repository.engine()?;
    let source = InMemory(files);
    let output = ParallelProcessor::new(&engine, &source).run(|feeder| feeder.offer(0, tasks))?.0;
    if let Some((path, cause)) = output.skipped.into_iter().next() {
        return Err(RepoError::CannotKeep { path, why: cause.to_string() });
    }
    for file in output.stored {
        let Some((at, executable, is_clean)) = waiting.remove(&file.path) else { continue };
        let size = if file.content == Content::Empty { 0 } else { file.stat.size };
        let kind = EntryKind::File { executable, size, content: file.content };
        merged[at] = if is_clean { Merged::Clean(kind) } else { Merged::Marked(kind) };
    }
    if waiting.is_empty() { Ok(()) } else { Err(RepoError::Worker) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines that differ, by the table of all beginnings.
    fn distance(a: &[u8], b: &[u8]) -> usize {
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (above, one) in a.iter().enumerate() {
            let mut last = std::mem::replace(&mut row[0], above + 1);
            for (at, other) in b.iter().enumerate() {
                let least = if one == other { last } else { row[at].min(row[at + 1]) + 1 };
                last = std::mem::replace(&mut row[at + 1], least);
            }
        }
        row[b.len()]
    }

    proptest! {
        #[test]
        fn what_differs_little_is_found(a in proptest::collection::vec(0u8..3, 0..30), b in proptest::collection::vec(0u8..3, 0..30), most in 0usize..30) {
            let text = |lines: &[u8]| lines.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
            let (before, after) = (text(&a), text(&b));
            let input = InternedInput::new(before.as_bytes(), after.as_bytes());
            let found = differ_little(&input.before, &input.after, most, &|| Ok(())).unwrap();
            prop_assert_eq!(found, distance(&a, &b) <= most);
        }
    }
}
