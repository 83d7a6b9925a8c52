//! Entering packs in the list of the condemned, and removing those whose time has come.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{RepoError, Repository, Result};
use super::GcReport;
use super::condemn::{Fate, Judged};
use crate::id::PackId;
use crate::storage::disk::SharedLock;
use crate::storage::format::pack::PackKind;
use crate::storage::pack_store::StoreError;

/// What is to be condemned and removed.
pub(super) struct Sweep<'a> {
    pub(super) judged: &'a [Judged],
    /// Condemned packs, and since when.
    pub(super) condemned: BTreeMap<PackId, i64>,
    pub(super) now: i64,
    /// Seconds that must have passed; none for no time at all.
    pub(super) grace: Option<i64>,
    /// Whether what is in use of sparse packs was copied.
    pub(super) is_copied: bool,
    /// Whether every byte is to go.
    pub(super) thorough: bool,
}

impl Sweep<'_> {
    /// When a pack may go; none as long as something of it is in use and was not copied.
    fn due(&self, pack: &Judged) -> Option<i64> {
        let since = *self.condemned.get(&pack.id)?;
        let is_unused = pack.fate == Fate::Drop || self.is_copied;
        is_unused.then(|| since.saturating_add(self.grace.unwrap_or(0)))
    }

    fn is_due(&self, pack: &Judged) -> bool {
        self.due(pack).is_some_and(|due| self.grace.is_none() || due <= self.now)
    }

    /// The pack that may go before the list can be written. Nothing refers to metadata that is not in
    /// use but other such metadata, which counts as stored unless it is listed: so it is safe only where
    /// there is one pack of it that is not, and that one removal settles it.
    fn may_go_unlisted(&self, doomed: &[Judged], listed: &BTreeMap<PackId, i64>) -> Option<usize> {
        let is_unlisted = |pack: &&Judged| {
            pack.kind == PackKind::Meta && pack.fate != Fate::Keep && !listed.contains_key(&pack.id)
        };
        let mut unlisted = self.judged.iter().filter(is_unlisted);
        let (first, None) = (unlisted.next()?, unlisted.next()) else { return None };
        doomed.iter().position(|pack| pack.id == first.id)
    }

    /// The packs that go, those of metadata first: what refers goes before what it refers to.
    fn doomed(&self) -> Vec<Judged> {
        let due = self.judged.iter().filter(|pack| self.is_due(pack)).copied();
        let (meta, data): (Vec<_>, Vec<_>) = due.partition(|pack| pack.kind == PackKind::Meta);
        [meta, data].concat()
    }
}

impl Repository {
    /// Publishes the list of condemned packs, removes those that are due, and takes them off the
    /// list.
    pub(super) fn sweep(
        &self,
        mut sweep: Sweep<'_>,
        dry_run: bool,
        report: &mut GcReport,
    ) -> Result<()> {
        let mut doomed = sweep.doomed();
        let lock = self.reading_lock();
        let is_alone = lock.is_some_and(SharedLock::make_exclusive);
        if !is_alone {
            report.in_use = !doomed.is_empty();
            doomed.clear();
        }
        let removed = if dry_run { Ok(()) } else { self.condemn_and_remove(&sweep, &doomed) };
        if let (true, Some(lock)) = (is_alone, lock) {
            lock.make_shared();
        }
        removed?;
        report.removed = doomed.len() as u64;
        report.removed_bytes = doomed.iter().map(|pack| pack.len).sum();
        for pack in &doomed {
            sweep.condemned.remove(&pack.id);
        }
        let waiting = || sweep.judged.iter().filter(|pack| sweep.condemned.contains_key(&pack.id));
        report.condemned = waiting().count() as u64;
        report.condemned_bytes = waiting().map(|pack| pack.len).sum();
        report.due = waiting().filter_map(|pack| sweep.due(pack)).min();
        if dry_run {
            return Ok(());
        }
        let is_left = !sweep.condemned.is_empty();
        let store = self.store()?;
        store.condemn(sweep.condemned, sweep.thorough && is_left)?;
        Ok(store.merge_if_many()?)
    }

    fn condemn_and_remove(&self, sweep: &Sweep<'_>, doomed: &[Judged]) -> Result<()> {
        let store = self.store()?;
        let publish = || store.condemn(sweep.condemned.clone(), sweep.thorough);
        let mut published = publish();
        if is_out_of_room(&published) {
            self.make_room()?;
            published = publish();
        }
        let mut doomed = doomed.to_vec();
        if is_out_of_room(&published)
            && let Some(at) = sweep.may_go_unlisted(&doomed, &store.condemned())
        {
            self.remove_packs(&[doomed.remove(at)])?;
            published = publish();
        }
        published?;
        self.remove_packs(&doomed)
    }

    fn remove_packs(&self, doomed: &[Judged]) -> Result<()> {
        if doomed.is_empty() {
            return Ok(());
        }
        let store = self.store()?;
        let gone: BTreeSet<PackId> = doomed.iter().map(|pack| pack.id).collect();
        match store.forget(&gone) {
            // An entry of the index without a pack counts as absent as well.
            Err(StoreError::Disk(error)) if error.is_full() => {}
            forgotten => forgotten?,
        }
        for pack in doomed {
            if self.cancel_token().is_cancelled() {
                return Err(RepoError::Interrupted);
            }
            store.remove(&pack.id)?;
        }
        Ok(())
    }
}

fn is_out_of_room(result: &std::result::Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Disk(error)) if error.is_full())
}
