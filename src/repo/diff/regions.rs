//! Where two files differ, from the lists of their chunks alone.
//!
//! The lists are compared from their root pages down: runs of pages that both hold are passed over
//! unread, the others are opened and their items aligned, until chunks are left. So the cost, and the
//! memory, grow with what changed and not with the files.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput};

use super::super::Result;
use crate::id::{ID_LEN, ListId, ObjectId};
use crate::storage::format::FormatError;
use crate::storage::format::object::{Content, ListPage};
use crate::storage::pack_store::StoreError;

/// Most items that are aligned at once, of both files together; a stretch of more changed chunks,
/// some 8 GiB, is one region.
const MAX_ITEMS: usize = 1 << 18;

/// A stretch of the old file and what the new one has in its place, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Region {
    /// In the old file.
    pub old: Range<u64>,
    /// In the new file.
    pub new: Range<u64>,
}

impl Region {
    /// Two files of which nothing is known.
    pub(super) fn whole(old: u64, new: u64) -> Vec<Self> {
        if old == 0 && new == 0 { Vec::new() } else { vec![Self { old: 0..old, new: 0..new }] }
    }

    /// Bytes of both sides.
    pub(super) fn len(&self) -> u64 {
        (self.old.end - self.old.start).saturating_add(self.new.end - self.new.start)
    }
}

/// Where pages of chunk lists come from; `None` for one that is not to be had.
pub(super) trait Pages {
    /// Reads a page.
    fn page(&self, id: &ListId) -> Result<Option<ListPage>>;
}

/// A page or a chunk.
#[derive(Debug, Clone, Copy)]
struct Piece {
    id: [u8; ID_LEN],
    bytes: u64,
    /// 0 for a chunk, 1 for a page of chunks, 2 for a page of those; [`ROOT`] for a root page.
    height: u8,
}

/// Higher than any page.
const ROOT: u8 = u8::MAX;

/// Stretches that are not compared yet.
struct Open {
    old: Vec<Piece>,
    new: Vec<Piece>,
    at: (u64, u64),
}

/// Where the files differ, in order; neighbours are joined.
pub(super) fn regions(
    pages: &impl Pages,
    (old, old_size): (&Content, u64),
    (new, new_size): (&Content, u64),
) -> Result<Vec<Region>> {
    if (old, old_size) == (new, new_size) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let first = Open { old: root(old, old_size), new: root(new, new_size), at: (0, 0) };
    let mut stack = vec![first];
    while let Some(open) = stack.pop() {
        let height = open.old.iter().chain(&open.new).map(|piece| piece.height).max();
        let height = height.unwrap_or(0);
        let is_one_sided = open.old.is_empty() || open.new.is_empty();
        if height == 0 || is_one_sided || open.old.len() + open.new.len() > MAX_ITEMS {
            push(&mut found, &open);
            continue;
        }
        let (Some(old), Some(new)) =
            (expand(pages, &open.old, height)?, expand(pages, &open.new, height)?)
        else {
            push(&mut found, &open);
            continue;
        };
        let mut differing = align(&old, &new, open.at);
        differing.reverse();
        stack.append(&mut differing);
    }
    Ok(found)
}

fn root(content: &Content, size: u64) -> Vec<Piece> {
    match content {
        Content::Empty => Vec::new(),
        Content::Chunk(id) => vec![Piece { id: *id.as_bytes(), bytes: size, height: 0 }],
        Content::List(id) => vec![Piece { id: *id.as_bytes(), bytes: size, height: ROOT }],
    }
}

fn total(pieces: &[Piece]) -> u64 {
    pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.bytes))
}

fn push(found: &mut Vec<Region>, open: &Open) {
    let (old, new) = open.at;
    let next = Region { old: old..old + total(&open.old), new: new..new + total(&open.new) };
    match found.last_mut() {
        Some(last) if last.old.end == next.old.start && last.new.end == next.new.start => {
            last.old.end = next.old.end;
            last.new.end = next.new.end;
        }
        _ => found.push(next),
    }
}

/// Opens the pages of one height; `None` if one is not to be had.
fn expand(pages: &impl Pages, pieces: &[Piece], height: u8) -> Result<Option<Vec<Piece>>> {
    let mut expanded = Vec::with_capacity(pieces.len());
    for piece in pieces {
        if piece.height != height {
            expanded.push(*piece);
            continue;
        }
        let id = ListId::from_bytes(piece.id);
        let Some(page) = pages.page(&id)? else { return Ok(None) };
        let is_expected = piece.height == ROOT || page.level() + 1 == piece.height;
        if page.total_bytes() != Some(piece.bytes) || !is_expected {
            let source = FormatError::invalid("a chunk list", "its pages do not fit together");
            return Err(StoreError::Object { id: ObjectId::from(id), source }.into());
        }
        match page {
            ListPage::Leaf(chunks) => expanded.extend(chunks.iter().map(|chunk| Piece {
                id: *chunk.id.as_bytes(),
                bytes: chunk.len.into(),
                height: 0,
            })),
            ListPage::Node { level, children } => {
                expanded.extend(children.iter().map(|child| Piece {
                    id: *child.id.as_bytes(),
                    bytes: child.bytes,
                    height: level,
                }));
            }
        }
    }
    Ok(Some(expanded))
}

/// The stretches in which two sequences differ.
fn align(old: &[Piece], new: &[Piece], at: (u64, u64)) -> Vec<Open> {
    let mut input: InternedInput<[u8; ID_LEN]> = InternedInput::default();
    input.update_before(old.iter().map(|piece| piece.id));
    input.update_after(new.iter().map(|piece| piece.id));
    let diff = Diff::compute(Algorithm::Histogram, &input);
    let mut differing = Vec::new();
    let (mut old_at, mut new_at) = at;
    let (mut old_done, mut new_done) = (0, 0);
    for hunk in diff.hunks() {
        let before = hunk.before.start as usize..hunk.before.end as usize;
        let after = hunk.after.start as usize..hunk.after.end as usize;
        old_at += total(&old[old_done..before.start]);
        new_at += total(&new[new_done..after.start]);
        let open = Open {
            old: old[before.clone()].to_vec(),
            new: new[after.clone()].to_vec(),
            at: (old_at, new_at),
        };
        old_at += total(&open.old);
        new_at += total(&open.new);
        (old_done, new_done) = (before.end, after.end);
        differing.push(open);
    }
    differing
}
