//! The changes since the base, in memory: found by path in O(1), walked in path order.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, btree_map};
use std::ops::Bound;
use std::sync::Arc;

use crate::path::compare;
use crate::storage::format::staging::{FileStat, StagedEntry, StagedKind, StagedView};

/// A path ordered by component. Map, order and slot share its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key(Arc<[u8]>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
struct Value {
    kind: StagedKind,
    stat: FileStat,
    racy: bool,
}

#[derive(Debug)]
struct Slot {
    path: Arc<[u8]>,
    /// `None` where the path is removed.
    value: Option<Value>,
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

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    slots: Vec<Slot>,
    by_path: HashMap<Arc<[u8]>, usize>,
    in_order: BTreeMap<Key, usize>,
}

impl Overlay {
    /// Number of paths it knows, removed ones included.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Sets an entry.
    pub(super) fn put(&mut self, entry: StagedEntry) {
        let value = Value { kind: entry.kind, stat: entry.stat, racy: entry.racy };
        self.set(entry.path.as_bytes(), Some(value));
    }

    /// Marks a path as removed.
    pub(super) fn remove(&mut self, path: &[u8]) {
        self.set(path, None);
    }

    fn set(&mut self, path: &[u8], value: Option<Value>) {
        if let Some(slot) = self.by_path.get(path) {
            self.slots[*slot].value = value;
            return;
        }
        let path: Arc<[u8]> = path.into();
        self.by_path.insert(Arc::clone(&path), self.slots.len());
        self.in_order.insert(Key(Arc::clone(&path)), self.slots.len());
        self.slots.push(Slot { path, value });
    }

    /// What the overlay says of `path`; `None` if nothing.
    pub(super) fn get(&self, path: &[u8]) -> Option<Overlaid<'_>> {
        self.by_path.get(path).map(|slot| self.at(*slot))
    }

    fn at(&self, number: usize) -> Overlaid<'_> {
        let slot = &self.slots[number];
        let view = slot.value.as_ref().map(|value| StagedView {
            path: &slot.path,
            kind: value.kind.view(),
            stat: value.stat,
            racy: value.racy,
        });
        Overlaid { slot: number, path: &slot.path, view }
    }

    /// Everything in path order.
    pub(super) fn all(&self) -> Walk<'_> {
        Walk { overlay: self, range: self.in_order.range::<Key, _>(..) }
    }

    /// What is not before `low` and before `high`, in path order; `low` is before `high`.
    pub(super) fn between(&self, low: &[u8], high: &[u8]) -> Walk<'_> {
        let bounds = (Bound::Included(Key(low.into())), Bound::Excluded(Key(high.into())));
        Walk { overlay: self, range: self.in_order.range(bounds) }
    }
}

/// Walks an [`Overlay`] in path order.
#[derive(Debug, Clone)]
pub(super) struct Walk<'a> {
    overlay: &'a Overlay,
    range: btree_map::Range<'a, Key, usize>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Overlaid<'a>;

    fn next(&mut self) -> Option<Overlaid<'a>> {
        self.range.next().map(|(_, slot)| self.overlay.at(*slot))
    }
}
