//! Files that were moved or copied: found by equal content, then by similar content.
//!
//! Equal content is found by its id, in one pass. How similar other files are follows from the chunks
//! that they share, and of small files from their lines, as git counts them (`diffcore-delta.c`): bytes
//! of the one that are in the other, of the size of the larger. Pairs that have nothing rare in common
//! are not looked at.

use std::collections::HashMap;

use super::super::{RepoError, Result};
use super::Differ;
use super::changes::{FileChange, FileContent, Item, ItemKind};
use crate::path::RepoPath;
use crate::storage::format::object::Content;

/// How moved files are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenameOptions {
    /// How much of the content must be the same, in percent.
    pub threshold: u8,
    /// Whether files that are still there, and changed, count as origins too.
    pub copies: bool,
    /// What may be looked at.
    pub limits: RenameLimits,
}

impl Default for RenameOptions {
    fn default() -> Self {
        Self { threshold: 50, copies: false, limits: RenameLimits::default() }
    }
}

/// Bounds of the search for similar files; equal ones are always found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenameLimits {
    /// Most files that are candidates.
    pub files: usize,
    /// Most bytes of small files that are read.
    pub bytes: u64,
    /// Most chunks of large files that are looked at.
    pub chunks: usize,
}

impl Default for RenameLimits {
    fn default() -> Self {
        Self { files: 10_000, bytes: 256 << 20, chunks: 1 << 20 }
    }
}

/// The search for similar files was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenameNote {
    /// Files that would have had to be compared.
    pub files: usize,
}

/// Files up to this size are compared by lines.
const BY_LINES: u64 = 1 << 20;
/// A span that occurs in more files than this says nothing about which belong together.
const MOST_COMMON: usize = 32;
/// Most origins that are compared with one file.
const MOST_CANDIDATES: usize = 64;
/// Longest span of a line; git's.
const SPAN: usize = 64;

/// What a file consists of: the hash of each span or chunk and its bytes, sorted.
struct Prints {
    size: u64,
    spans: Vec<(u64, u64)>,
}

/// An origin or a destination: its place in the list of changes.
type Place = usize;

/// Joins added files with those that they come from.
pub(super) fn detect(
    differ: &Differ<'_>,
    changes: &mut Vec<FileChange>,
    options: &RenameOptions,
) -> Result<Option<RenameNote>> {
    let added: Vec<Place> =
        places(changes, |change| change.old.is_none() && is_file(change.new.as_ref()));
    let mut origins: Vec<Place> =
        places(changes, |change| change.new.is_none() && is_file(change.old.as_ref()));
    if options.copies {
        origins.extend(places(changes, |change| {
            change.old.is_some() && change.new.is_some() && is_file(change.old.as_ref())
        }));
    }
    if added.is_empty() || origins.is_empty() {
        return Ok(None);
    }
    let mut joined = Joined::default();
    exact(differ, changes, &added, &origins, options.copies, &mut joined)?;
    let note = similar(differ, changes, &added, &origins, options, &mut joined)?;
    joined.apply(changes);
    Ok(note)
}

fn places(changes: &[FileChange], wanted: impl Fn(&FileChange) -> bool) -> Vec<Place> {
    changes.iter().enumerate().filter(|(_, change)| wanted(change)).map(|(at, _)| at).collect()
}

fn is_file(item: Option<&Item>) -> bool {
    item.is_some_and(|item| item.kind != ItemKind::EmptyDir)
}

/// Which file comes from which.
#[derive(Default)]
struct Joined {
    /// By destination: origin and similarity.
    pairs: HashMap<Place, (Place, u8)>,
    /// Deleted files that are the origin of one.
    moved: HashMap<Place, Place>,
}

impl Joined {
    fn join(&mut self, changes: &[FileChange], from: Place, to: Place, similarity: u8) {
        self.pairs.insert(to, (from, similarity));
        if changes[from].new.is_none() {
            self.moved.entry(from).or_insert(to);
        }
    }

    /// Puts the joined changes in the place of the added files and takes the moved ones away.
    fn apply(self, changes: &mut Vec<FileChange>) {
        // The last in path order is the move, those before it are copies: so git tells it.
        let mut last: HashMap<Place, Place> = HashMap::new();
        for (to, (from, _)) in &self.pairs {
            let last = last.entry(*from).or_insert(*to);
            *last = (*last).max(*to);
        }
        for (to, (from, similarity)) in &self.pairs {
            let old = changes[*from].old.clone();
            let is_moved = self.moved.contains_key(from) && last.get(from) == Some(to);
            let change = &mut changes[*to];
            change.old = old;
            change.similarity = Some(*similarity);
            change.is_copy = !is_moved;
        }
        let mut at = 0;
        changes.retain(|_| {
            at += 1;
            !self.moved.contains_key(&(at - 1))
        });
    }
}

/// What is equal in equal files; `None` where the content is not known.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    File(Content),
    Link(Vec<u8>),
}

fn identity(item: &Item) -> Option<Identity> {
    match &item.kind {
        ItemKind::File { content, .. } => content.known().map(Identity::File),
        ItemKind::Symlink { target } => Some(Identity::Link(target.clone())),
        ItemKind::EmptyDir => None,
    }
}

/// Joins files with equal content; of several origins one with the same name, else the first.
fn exact(
    differ: &Differ<'_>,
    changes: &[FileChange],
    added: &[Place],
    origins: &[Place],
    copies: bool,
    joined: &mut Joined,
) -> Result<()> {
    let mut by_identity: HashMap<Identity, Vec<Place>> = HashMap::new();
    for from in origins {
        if let Some(identity) = changes[*from].old.as_ref().and_then(identity) {
            by_identity.entry(identity).or_default().push(*from);
        }
    }
    for to in added {
        let Some(new) = &changes[*to].new else { continue };
        let identity = match (&new.kind, identity(new)) {
            (_, Some(identity)) => identity,
            (ItemKind::File { .. }, None) => {
                Identity::File(differ.content_of_work_file(&new.path)?.0)
            }
            _ => continue,
        };
        let Some(candidates) = by_identity.get(&identity) else { continue };
        let old_path = |from: Place| changes[from].old.as_ref().map(|old| &old.path);
        let has_name =
            |from: &&Place| old_path(**from).is_some_and(|path| path.name() == new.path.name());
        let is_free = |from: &&Place| !joined.moved.contains_key(*from);
        let free: Vec<&Place> = candidates.iter().filter(is_free).take(MOST_CANDIDATES).collect();
        let best = free.iter().find(|from| has_name(from)).or(free.first()).map(|from| **from);
        if let Some(from) = best.or(candidates.first().copied().filter(|_| copies)) {
            joined.join(changes, from, *to, 100);
        }
    }
    Ok(())
}

/// A pair that is similar enough.
struct Candidate {
    score: u64,
    same_name: bool,
    from: Place,
    to: Place,
}

/// Joins files that are similar, the most similar first.
fn similar(
    differ: &Differ<'_>,
    changes: &[FileChange],
    added: &[Place],
    origins: &[Place],
    options: &RenameOptions,
    joined: &mut Joined,
) -> Result<Option<RenameNote>> {
    if options.threshold >= 100 {
        return Ok(None);
    }
    let is_open = |item: Option<&Item>| match item.map(|item| &item.kind) {
        Some(ItemKind::File { size, .. }) => *size > 0,
        _ => false,
    };
    let to: Vec<Place> = added
        .iter()
        .copied()
        .filter(|at| !joined.pairs.contains_key(at) && is_open(changes[*at].new.as_ref()))
        .collect();
    let from: Vec<Place> = origins
        .iter()
        .copied()
        .filter(|at| {
            (options.copies || !joined.moved.contains_key(at)) && is_open(changes[*at].old.as_ref())
        })
        .collect();
    if to.is_empty() || from.is_empty() {
        return Ok(None);
    }
    let files = to.len() + from.len();
    let size = |item: Option<&Item>| item.map_or(0, size_of);
    let bytes: u64 = from
        .iter()
        .map(|at| size(changes[*at].old.as_ref()))
        .chain(to.iter().map(|at| size(changes[*at].new.as_ref())))
        .filter(|size| *size <= BY_LINES)
        .sum();
    if files > options.limits.files || bytes > options.limits.bytes {
        return Ok(Some(RenameNote { files }));
    }
    let mut search = Search { differ, chunks: options.limits.chunks };
    let mut prints: HashMap<Place, Prints> = HashMap::new();
    for at in &from {
        if let Some(item) = &changes[*at].old {
            prints.insert(*at, search.prints(item)?);
        }
    }
    let rare = rare_spans(&prints);
    let mut found = Vec::new();
    for at in &to {
        if let Some(item) = &changes[*at].new {
            let own = search.prints(item)?;
            for from in candidates(&own, &rare) {
                let score = score(&prints[&from], &own);
                if score * 100 >= u64::from(options.threshold) * FULL {
                    let old = changes[from].old.as_ref().map(|old| old.path.name());
                    let same_name = old == Some(item.path.name());
                    found.push(Candidate { score, same_name, from, to: *at });
                }
            }
        }
    }
    choose(changes, found, options.copies, joined);
    Ok(None)
}

fn choose(changes: &[FileChange], mut found: Vec<Candidate>, copies: bool, joined: &mut Joined) {
    found.sort_by(|a, b| {
        let order = b.score.cmp(&a.score).then(b.same_name.cmp(&a.same_name));
        order.then(a.from.cmp(&b.from)).then(a.to.cmp(&b.to))
    });
    // First each origin once, then, if copies are wanted, again.
    for again in [false, true].into_iter().filter(|again| copies || !again) {
        for Candidate { score, from, to, .. } in &found {
            let is_taken = joined.pairs.contains_key(to)
                || (!again && (joined.moved.contains_key(from) || changes[*from].new.is_some()));
            if !is_taken {
                // Those with the same lines in another order are not equal: those were joined before.
                joined.join(changes, *from, *to, (*score * 100 / FULL).min(99) as u8);
            }
        }
    }
}

/// The score of equal files; git's.
const FULL: u64 = 60_000;

/// Bytes of the old file that are in the new one, of the size of the larger.
fn score(old: &Prints, new: &Prints) -> u64 {
    let (mut a, mut b) = (old.spans.iter().peekable(), new.spans.iter().peekable());
    let mut common: u64 = 0;
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match x.0.cmp(&y.0) {
            std::cmp::Ordering::Less => drop(a.next()),
            std::cmp::Ordering::Greater => drop(b.next()),
            std::cmp::Ordering::Equal => {
                common += x.1.min(y.1);
                a.next();
                b.next();
            }
        }
    }
    let larger = old.size.max(new.size).max(1);
    (u128::from(common) * u128::from(FULL) / u128::from(larger)) as u64
}

/// The origins of each span that only few of them hold.
fn rare_spans(prints: &HashMap<Place, Prints>) -> HashMap<u64, Vec<Place>> {
    let mut holders: HashMap<u64, Vec<Place>> = HashMap::new();
    for (place, prints) in prints {
        for (hash, _) in &prints.spans {
            let holders = holders.entry(*hash).or_default();
            if holders.len() <= MOST_COMMON {
                holders.push(*place);
            }
        }
    }
    holders.retain(|_, holders| holders.len() <= MOST_COMMON);
    holders
}

/// The origins that share most rare spans with a file.
fn candidates(own: &Prints, rare: &HashMap<u64, Vec<Place>>) -> Vec<Place> {
    let mut shared: HashMap<Place, u64> = HashMap::new();
    for (hash, bytes) in &own.spans {
        for place in rare.get(hash).into_iter().flatten() {
            *shared.entry(*place).or_default() += bytes;
        }
    }
    let mut found: Vec<(u64, Place)> =
        shared.into_iter().map(|(place, bytes)| (bytes, place)).collect();
    found.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    found.truncate(MOST_CANDIDATES);
    found.into_iter().map(|(_, place)| place).collect()
}

struct Search<'a, 'r> {
    differ: &'a Differ<'r>,
    /// Chunks that may still be looked at.
    chunks: usize,
}

impl Search<'_, '_> {
    fn prints(&mut self, item: &Item) -> Result<Prints> {
        if self.differ.repository.cancel_token().is_cancelled() {
            return Err(RepoError::Interrupted);
        }
        let ItemKind::File { size, content, .. } = &item.kind else {
            return Ok(Prints { size: 0, spans: Vec::new() });
        };
        let mut spans = Vec::new();
        if *size <= BY_LINES {
            let blob = self.differ.open(Some(item))?;
            let bytes = blob.read(&self.differ.reader, 0..blob.size.min(BY_LINES))?;
            spans = line_spans(&bytes);
        } else if let FileContent::Stored(content) = content {
            for chunk in self.differ.reader.objects.chunks(content, *size, 0) {
                if self.chunks == 0 {
                    break;
                }
                self.chunks -= 1;
                let (_, chunk) = chunk?;
                spans.push((hash_of(chunk.id.as_bytes()), u64::from(chunk.len)));
            }
        }
        Ok(Prints { size: *size, spans: merged(spans) })
    }
}

fn size_of(item: &Item) -> u64 {
    match item.kind {
        ItemKind::File { size, .. } => size,
        _ => 0,
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// Lines, long ones in pieces; of text without the `\r` before a line end.
fn line_spans(bytes: &[u8]) -> Vec<(u64, u64)> {
    let is_text = !bytes[..bytes.len().min(8000)].contains(&0);
    let mut spans = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        for piece in line.chunks(SPAN) {
            match piece.strip_suffix(b"\r\n").filter(|_| is_text) {
                Some(head) => {
                    let plain = [head, b"\n"].concat();
                    spans.push((hash_of(&plain), plain.len() as u64));
                }
                None => spans.push((hash_of(piece), piece.len() as u64)),
            }
        }
    }
    spans
}

/// Sorted by hash, the bytes of equal ones added up.
fn merged(mut spans: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    spans.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(spans.len());
    for (hash, bytes) in spans {
        match merged.last_mut() {
            Some(last) if last.0 == hash => last.1 += bytes,
            _ => merged.push((hash, bytes)),
        }
    }
    merged
}

/// A move that `status` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Where it was.
    pub from: RepoPath,
    /// Where it is.
    pub to: RepoPath,
    /// How much of the content is the same, in percent.
    pub similarity: u8,
}
