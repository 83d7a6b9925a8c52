//! The refs that a git repository has before an export, and which of them the export leaves alone:
//! tags that are there with another object, and branches whose files lie in a work tree of git,
//! which would not follow. git itself looks after branches that would lose commits.

use std::collections::{BTreeMap, BTreeSet};

use super::ExchangeError;
use super::git::Git;

type Result<T> = std::result::Result<T, ExchangeError>;

/// Larger than any tag object that an export writes.
const MAX_TAG: u64 = 2 << 20;

/// The refs that are there; none are looked at where everything may be moved.
#[derive(Default)]
pub(super) struct There {
    /// The id of each branch and tag, by full name.
    refs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Full names of branches that are checked out.
    checked_out: BTreeSet<Vec<u8>>,
    /// The tag objects among the ids.
    tags: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl There {
    /// Looks at the refs, of which some will be written, by full name.
    pub(super) fn of(git: &Git, written: &[String]) -> Result<Self> {
        let args = ["--format=%(objectname) %(refname)", "refs/heads", "refs/tags"];
        let listed = git.ask("for-each-ref", &args, &[])?;
        let mut refs = BTreeMap::new();
        for line in lines(&listed) {
            let (id, name) = halves(line);
            refs.insert(name.to_vec(), id.to_vec());
        }
        let trees = git.ask("worktree", &["list", "--porcelain"], &[])?;
        let checked_out = checked_out(&trees);
        let tags = written.iter().filter(|name| name.starts_with("refs/tags/"));
        let ids: BTreeSet<&Vec<u8>> = tags.filter_map(|name| refs.get(name.as_bytes())).collect();
        let tags = tag_objects(git, &ids)?;
        Ok(Self { refs, checked_out, tags })
    }

    /// The id of a ref that is there and is not moved by everybody.
    pub(super) fn guarded(&self, name: &str) -> Option<&[u8]> {
        let is_guarded =
            name.starts_with("refs/tags/") || self.checked_out.contains(name.as_bytes());
        self.refs.get(name.as_bytes()).filter(|_| is_guarded).map(Vec::as_slice)
    }

    /// The bytes of a tag object.
    pub(super) fn tag(&self, id: &[u8]) -> Option<&[u8]> {
        self.tags.get(id).map(Vec::as_slice)
    }
}

/// The branches of the work trees that `git worktree list` tells of: lines of each, and an empty one
/// behind it. One that is gone is told as prunable.
fn checked_out(trees: &[u8]) -> BTreeSet<Vec<u8>> {
    let is_gone = |tree: &&[&[u8]]| tree.iter().any(|line| line.starts_with(b"prunable"));
    let told: Vec<&[u8]> = trees.split(|byte| *byte == b'\n').collect();
    let there = told.split(|line| line.is_empty()).filter(|tree| !is_gone(tree));
    let branches = there.flatten().filter_map(|line| line.strip_prefix(b"branch "));
    branches.map(<[u8]>::to_vec).collect()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// What stands before the first space, and behind it.
fn halves(line: &[u8]) -> (&[u8], &[u8]) {
    let at = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    (&line[..at], line.get(at + 1..).unwrap_or_default())
}

/// The tag objects among these objects, but for those that no export would write.
fn tag_objects(git: &Git, ids: &BTreeSet<&Vec<u8>>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let ask = |args: &str, ids: &[&[u8]]| {
        let input = [ids.join(&b'\n'), vec![b'\n']].concat();
        if ids.is_empty() { Ok(Vec::new()) } else { git.ask("cat-file", &[args], &input) }
    };
    let ids: Vec<&[u8]> = ids.iter().map(|id| id.as_slice()).collect();
    let checked = ask("--batch-check", &ids)?;
    let small: Vec<&[u8]> = lines(&checked)
        .filter_map(tag_size)
        .filter(|tag| tag.1 < MAX_TAG)
        .map(|tag| tag.0)
        .collect();
    let bytes = ask("--batch", &small)?;
    let mut rest = bytes.as_slice();
    let mut found = BTreeMap::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let Some((id, size)) = tag_size(&rest[..end]) else { break };
        let begin = end + 1;
        let Some(object) = rest.get(begin..begin + size as usize) else { break };
        found.insert(id.to_vec(), object.to_vec());
        // A line break stands behind each.
        rest = rest.get(begin + object.len() + 1..).unwrap_or_default();
    }
    Ok(found)
}

/// Id and length of what `git cat-file` says is a tag.
fn tag_size(line: &[u8]) -> Option<(&[u8], u64)> {
    let (id, rest) = halves(line);
    let size = rest.strip_prefix(b"tag ")?;
    Some((id, std::str::from_utf8(size).ok()?.parse().ok()?))
}
