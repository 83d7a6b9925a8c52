//! The changes since the base, in memory: the bytes of the log and an index of them.
//!
//! An operation is read where it lies. The index has for each path the place of its latest
//! operation, found by hash in O(1); the order of the paths is made when it is first asked for.

use std::sync::OnceLock;

use super::Base;
use crate::id::TreeId;
use crate::path::compare;
use crate::storage::format::bytes::checksum;
use crate::storage::format::staging::{KindView, StagedView};
use crate::storage::format::staging_log::{FRAME_HEADER_LEN, LogOp, op_at, replay, replay_payload};
use crate::storage::format::{FormatError, Result};

/// One path.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Where its latest operation begins.
    at: u64,
    /// Whether more than its stat changed since the last tree.
    is_changed: bool,
}

/// What the overlay says of a path that it knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overlaid<'a> {
    /// Number of the path within the overlay; it stays as long as the overlay lives.
    pub(super) slot: usize,
    /// The path.
    pub(super) path: &'a [u8],
    /// The entry; `None` where it is removed.
    pub(super) view: Option<StagedView<'a>>,
}

/// The places of the operations, apart from the bytes they lie in.
#[derive(Debug, Clone, Default)]
struct Index {
    slots: Vec<Slot>,
    /// Open addressing with linear probing: 0 for an empty place and n + 1 for slot n; a power of
    /// two of places, at most half of them in use.
    table: Vec<u32>,
    changed: usize,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    bytes: Vec<u8>,
    index: Index,
    order: OnceLock<Vec<u32>>,
}

/// What operations did to the whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    /// Entries more than before, or fewer.
    pub(super) grown: isize,
    /// The tree that the staging area equalled last.
    pub(super) tree: Option<TreeId>,
}

impl Index {
    /// The slot of a path, or else the place of the table where it belongs.
    fn find(&self, bytes: &[u8], path: &[u8], hash: u64) -> std::result::Result<usize, usize> {
        let mask = self.table.len() - 1;
        let mut place = hash as usize & mask;
        while let Some(slot) = self.table[place].checked_sub(1) {
            if self.path(bytes, slot as usize) == path {
                return Ok(slot as usize);
            }
            place = (place + 1) & mask;
        }
        Err(place)
    }

    fn op<'a>(&self, bytes: &'a [u8], slot: usize) -> Option<LogOp<'a>> {
        op_at(bytes, self.slots[slot].at as usize)
    }

    fn path<'a>(&self, bytes: &'a [u8], slot: usize) -> &'a [u8] {
        self.op(bytes, slot).and_then(|op| op.path()).unwrap_or_default()
    }

    /// Makes room for one more path.
    fn reserve(&mut self, bytes: &[u8]) {
        if (self.slots.len() + 1) * 2 <= self.table.len() {
            return;
        }
        let places = (self.table.len() * 2).max(16);
        self.table = vec![0; places];
        for slot in 0..self.slots.len() {
            let mut place = checksum(self.path(bytes, slot)) as usize & (places - 1);
            while self.table[place] != 0 {
                place = (place + 1) & (places - 1);
            }
            self.table[place] = slot as u32 + 1;
        }
    }

    /// Takes the operation that begins at `at`.
    fn absorb(&mut self, bytes: &[u8], base: &Base, at: usize, op: LogOp<'_>, tally: &mut Tally) {
        let (path, new): (_, Option<KindView<'_>>) = match op {
            LogOp::Put(view) => (view.path, Some(view.kind)),
            LogOp::Remove(path) => (path, None),
            LogOp::MarkClean(tree) => {
                tally.tree = Some(tree);
                self.changed = 0;
                return self.slots.iter_mut().for_each(|slot| slot.is_changed = false);
            }
        };
        self.reserve(bytes);
        let hash = checksum(path);
        let found = self.find(bytes, path, hash);
        let old = match found {
            Ok(slot) => match self.op(bytes, slot) {
                Some(LogOp::Put(view)) => Some(view.kind),
                _ => None,
            },
            Err(_) => base.find_hashed(path, hash).and_then(|number| Some(base.view(number)?.kind)),
        };
        if old.is_none() && new.is_none() {
            return;
        }
        tally.grown += isize::from(old.is_none()) - isize::from(new.is_none());
        let slot = found.unwrap_or_else(|place| {
            self.slots.push(Slot { at: 0, is_changed: false });
            self.table[place] = self.slots.len() as u32;
            self.slots.len() - 1
        });
        let slot = &mut self.slots[slot];
        slot.at = at as u64;
        if old != new && !slot.is_changed {
            slot.is_changed = true;
            self.changed += 1;
        }
    }
}

impl Overlay {
    /// Number of paths it knows, removed ones included.
    pub(super) fn len(&self) -> usize {
        self.index.slots.len()
    }

    /// Whether it knows no path.
    pub(super) fn is_empty(&self) -> bool {
        self.index.slots.is_empty()
    }

    /// Number of paths of which more than the stat changed since the last tree.
    pub(super) fn changed(&self) -> usize {
        self.index.changed
    }

    /// Those paths in path order.
    pub(super) fn changed_paths(&self) -> Vec<&[u8]> {
        let slots = self.order().iter().map(|slot| *slot as usize);
        let changed = slots.filter(|slot| self.index.slots[*slot].is_changed);
        changed.map(|slot| self.index.path(&self.bytes, slot)).collect()
    }

    /// Takes a whole log, in the place of what was there; also returns the length of its sound
    /// part.
    pub(super) fn absorb_log(
        &mut self,
        log: Vec<u8>,
        base: &Base,
        tree: Option<TreeId>,
    ) -> Result<(u64, Tally)> {
        *self = Self { bytes: log, ..Self::default() };
        let Self { bytes, index, .. } = self;
        let mut tally = Tally { grown: 0, tree };
        let len = replay(bytes, |at, op| index.absorb(bytes, base, at, op, &mut tally))?;
        Ok((len, tally))
    }

    /// Takes a frame of `count` operations.
    pub(super) fn absorb_frame(
        &mut self,
        frame: Vec<u8>,
        count: u32,
        base: &Base,
        tree: Option<TreeId>,
    ) -> Result<Tally> {
        let start = self.bytes.len() + FRAME_HEADER_LEN;
        if self.bytes.is_empty() {
            self.bytes = frame;
        } else {
            self.bytes.extend_from_slice(&frame);
        }
        let known = self.len();
        if known as u64 + u64::from(count) >= u64::from(u32::MAX) {
            return Err(FormatError::invalid("a batch of changes", "it is too large"));
        }
        let Self { bytes, index, .. } = self;
        let mut tally = Tally { grown: 0, tree };
        replay_payload(&bytes[start..], count, |offset, op| {
            index.absorb(bytes, base, start + offset, op, &mut tally);
        })?;
        if self.len() > known {
            self.order = OnceLock::new();
        }
        Ok(tally)
    }

    /// What the overlay says of `path`, whose checksum is `hash`; `None` if nothing.
    pub(super) fn get(&self, path: &[u8], hash: u64) -> Option<Overlaid<'_>> {
        if self.is_empty() {
            return None;
        }
        self.index.find(&self.bytes, path, hash).ok().map(|slot| self.at(slot))
    }

    fn at(&self, slot: usize) -> Overlaid<'_> {
        match self.index.op(&self.bytes, slot) {
            Some(LogOp::Put(view)) => Overlaid { slot, path: view.path, view: Some(view) },
            Some(LogOp::Remove(path)) => Overlaid { slot, path, view: None },
            _ => Overlaid { slot, path: b"", view: None },
        }
    }

    /// The slots in path order. Batches come in path order mostly, and a merge sort finds such
    /// runs.
    fn order(&self) -> &[u32] {
        self.order.get_or_init(|| {
            let mut order: Vec<u32> = (0..self.len() as u32).collect();
            let path = |slot: u32| self.index.path(&self.bytes, slot as usize);
            order.sort_by(|a, b| compare(path(*a), path(*b)));
            order
        })
    }

    /// Everything in path order.
    pub(super) fn all(&self) -> Walk<'_> {
        Walk { overlay: self, slots: self.order().iter() }
    }

    /// What is not before `low` and before `high`, in path order; `low` is before `high`.
    pub(super) fn between(&self, low: &[u8], high: &[u8]) -> Walk<'_> {
        let order = self.order();
        let before = |limit: &[u8]| {
            let path = |slot: &u32| self.index.path(&self.bytes, *slot as usize);
            order.partition_point(|slot| compare(path(slot), limit).is_lt())
        };
        Walk { overlay: self, slots: order[before(low)..before(high)].iter() }
    }
}

/// Walks an [`Overlay`] in path order.
#[derive(Debug, Clone)]
pub(super) struct Walk<'a> {
    overlay: &'a Overlay,
    slots: std::slice::Iter<'a, u32>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Overlaid<'a>;

    fn next(&mut self) -> Option<Overlaid<'a>> {
        self.slots.next().map(|slot| self.overlay.at(*slot as usize))
    }
}
