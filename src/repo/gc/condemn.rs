//! What becomes of each pack.

use std::collections::BTreeMap;

use super::super::{Repository, Result};
use super::mark::{Bits, Marked};
use crate::id::PackId;
use crate::storage::format::pack::{Footer, PackKind};
use crate::storage::pack_store::parity_len;

/// What becomes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays.
    Keep,
    /// What is in use of it is written anew, then it goes.
    Repack,
    /// Nothing of it is in use: it goes.
    Drop,
}

/// A pack and what becomes of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub(super) id: PackId,
    pub(super) kind: PackKind,
    pub(super) fate: Fate,
    /// Bytes on disk, those of its parity too.
    pub(super) len: u64,
}

/// How much of a pack is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    objects: u64,
    used_objects: u64,
    bytes: u64,
    used_bytes: u64,
}

impl Usage {
    fn of(footer: &Footer<'_>, used: &Bits) -> Self {
        let objects = u64::from(footer.chunk_count());
        let mut usage = Self { objects, used_objects: 0, bytes: footer.plain_bytes, used_bytes: 0 };
        for number in (0..footer.chunk_count()).filter(|number| used.contains(*number as usize)) {
            usage.used_objects += 1;
            usage.used_bytes += u64::from(footer.chunk(number).1.len);
        }
        usage
    }

    /// A metadata pack keeps nothing that is not in use: who stores takes a tree or a commit for
    /// whole, with all below it, if it is found. Of a data pack only space is lost.
    fn fate(self, kind: PackKind, sparse_percent: u64) -> Fate {
        if self.used_objects == 0 {
            return Fate::Drop;
        }
        let is_whole = match kind {
            PackKind::Meta => self.used_objects == self.objects,
            PackKind::Data => {
                let unused = u128::from(self.bytes.saturating_sub(self.used_bytes));
                unused * 100 <= u128::from(self.bytes) * u128::from(sparse_percent)
            }
        };
        if is_whole { Fate::Keep } else { Fate::Repack }
    }
}

impl Repository {
    /// Judges every pack that was there when marking began, in order of their ids.
    pub(super) fn judge(&self, marked: &Marked, sparse_percent: u64) -> Result<Vec<Judged>> {
        let store = self.store()?;
        let mut judged = Vec::new();
        for (id, used) in &marked.packs {
            self.stop_if_cancelled()?;
            let pack = store.pack(id)?;
            let footer = pack.footer()?;
            let usage = Usage::of(&footer, used);
            pack.check_footer()?;
            let fate = usage.fate(footer.kind, sparse_percent);
            let len = pack.len() + parity_len(&*self.disk, id)?;
            judged.push(Judged { id: *id, kind: footer.kind, fate, len });
        }
        Ok(judged)
    }
}

/// The condemned packs, and since when each is. One that was condemned before and of which nothing is
/// in use goes on to wait; a date that lies ahead, because the clock was wrong, becomes that of now.
pub(super) fn condemned(
    judged: &[Judged],
    before: &BTreeMap<PackId, i64>,
    now: i64,
) -> BTreeMap<PackId, i64> {
    let since = |pack: &Judged| match pack.fate {
        Fate::Keep => None,
        Fate::Repack => Some((pack.id, now)),
        Fate::Drop => Some((pack.id, before.get(&pack.id).copied().unwrap_or(now).min(now))),
    };
    judged.iter().filter_map(since).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_is_judged_by_what_is_in_use() {
        let usage =
            |used_objects, used_bytes| Usage { objects: 10, used_objects, bytes: 100, used_bytes };
        assert_eq!(usage(0, 0).fate(PackKind::Data, 30), Fate::Drop);
        assert_eq!(usage(0, 0).fate(PackKind::Meta, 100), Fate::Drop);
        assert_eq!(usage(7, 70).fate(PackKind::Data, 30), Fate::Keep);
        assert_eq!(usage(7, 69).fate(PackKind::Data, 30), Fate::Repack);
        assert_eq!(usage(9, 99).fate(PackKind::Data, 0), Fate::Repack);
        assert_eq!(usage(10, 100).fate(PackKind::Data, 0), Fate::Keep);
        assert_eq!(usage(9, 99).fate(PackKind::Meta, 100), Fate::Repack);
        assert_eq!(usage(10, 100).fate(PackKind::Meta, 0), Fate::Keep);
    }

    #[test]
    fn the_clock_may_say_anything() {
        let id = PackId::of(b"p");
        let pack = |fate| Judged { id, kind: PackKind::Data, fate, len: 1 };
        let since = |fate, before: Option<i64>, now| {
            let before = before.map(|at| (id, at)).into_iter().collect();
            condemned(&[pack(fate)], &before, now).get(&id).copied()
        };
        assert_eq!(since(Fate::Keep, Some(5), 9), None);
        assert_eq!(since(Fate::Drop, Some(5), 9), Some(5));
        assert_eq!(since(Fate::Drop, Some(i64::MAX), 9), Some(9));
        assert_eq!(since(Fate::Drop, None, i64::MIN), Some(i64::MIN));
        // What was in use a moment ago is not as good as gone.
        assert_eq!(since(Fate::Repack, Some(5), 9), Some(9));
    }
}
