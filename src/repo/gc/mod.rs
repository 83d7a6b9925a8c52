//! `gc`: frees what nothing reaches.
//!
//! It holds the lock of commands that change the repository, so that no writer runs beside it. What
//! is in use is marked (`mark`) from everything that can lead to it (`roots`). Packs of which
//! nothing is in use are *condemned*, and sparse ones after what is in use was copied into new packs
//! (`repack`): they are entered in a durable list, what they hold counts as absent for whoever
//! stores something, and it can still be read. A later run marks again, and removes those that nothing
//! reaches now either and whose time of grace is over (`sweep`). That they may go is never told by a
//! clock: a wrong one makes them go sooner or later.
//!
//! Metadata packs keep only what is in use, always. So whatever tree, list or commit counts as stored
//! has all below it, and who stores need not look.
//!
//! Readers hold a shared lock while they have the packs open. While they do, nothing is removed.
//!
//! Where anything is found damaged or missing, nothing is done at all: what leads to an object may be
//! what is lost. A damaged pack above all, whose trees count again when it is repaired, must not find
//! gone what they need.

mod condemn;
mod mark;
mod repack;
mod roots;
mod sweep;

use std::ops::Range;

use thiserror::Error;

use condemn::{Fate, Judged, condemned};
use mark::Marked;
use repack::Written;
use sweep::Sweep;

use super::{RepoError, Repository, Result, run_history};
use crate::progress::Phase;
use crate::storage::oplog::{OpLog, OpLogError, OpRecord};
use crate::storage::pack_store::{StoreError, list_lost, parity_len, remove_parity};

/// Why `gc` does nothing, where reading does not fail.
#[derive(Debug, Error)]
pub enum GcError {
    /// A pack that cannot be opened.
    #[error("nothing is removed while something is damaged: {0}")]
    Damaged(String),
    /// A ref that is gone without having been deleted, or elsewhere than it was moved.
    #[error("nothing is removed while a ref is not where it was: {0}")]
    StrayRef(String),
    /// Without the log, what only it names would count as not in use.
    #[error("nothing is removed while the log of operations is missing")]
    NoLog,
}

/// How `gc` runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct GcOptions {
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Remove what nothing reaches in this run, without a time of grace.
    pub now: bool,
    /// Free every byte that nothing reaches, though much that is in use is written anew for it.
    pub thorough: bool,
}

/// What `gc` did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Objects in use.
    pub objects: u64,
    /// Commits among them.
    pub commits: u64,
    /// Packs before.
    pub packs: u64,
    /// Sparse packs whose objects in use were written anew.
    pub repacked: u64,
    /// The packs that they were written to.
    pub written: u64,
    /// Bytes of these and of their parity.
    pub written_bytes: u64,
    /// Packs that were removed.
    pub removed: u64,
    /// Bytes of these and of their parity, and of parity whose pack was missing.
    pub removed_bytes: u64,
    /// Packs that wait to be removed.
    pub condemned: u64,
    /// Bytes of these.
    pub condemned_bytes: u64,
    /// When the first of them may go, in seconds since 1970-01-01 UTC.
    pub due: Option<i64>,
    /// Whether nothing could be removed because other commands read.
    pub in_use: bool,
    /// Operations that left the log.
    pub expired: u64,
    /// Bytes that the log lost by that.
    pub expired_bytes: u64,
}

impl GcReport {
    /// Bytes of packs and of the log of operations that there are less than before; negative where
    /// copies were written whose originals wait.
    pub fn freed_bytes(&self) -> i64 {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        signed(self.removed_bytes + self.expired_bytes) - signed(self.written_bytes)
    }
}

impl Repository {
    /// Frees what nothing reaches.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport> {
        let _lock = self.lock_alone()?;
        self.check_sound()?;
        if self.store()?.is_obliterating() {
            self.monitor().warn(
                "an 'obliterate' was cut off, and what it took out may still be had: run it again",
            );
        }
        let mut report = GcReport::default();
        let log = self.operations()?;
        let oldest = log.first_seq()?.unwrap_or(0);
        let first = self.first_kept(&log)?.max(oldest);
        self.monitor().phase(Phase::Marking);
        let mut marked = self.mark_soundly(first, options.dry_run)?;
        // Only now, when all is sound: the log is what a damaged ref comes back from.
        if !self.expire_operations(log, oldest..first, options, &mut report)? {
            marked = self.mark_soundly(oldest, options.dry_run)?;
        }
        (report.objects, report.commits) = (marked.objects, marked.commits);
        let store = self.store()?;
        let thorough = options.thorough || store.is_thorough();
        let sparse_percent = if thorough { 0 } else { self.config().gc.sparse_percent as u64 };
        let judged = self.judge(&marked, sparse_percent)?;
        report.packs = judged.len() as u64;
        let repacked = self.repack_if_room(&judged, &marked, sparse_percent, options.dry_run)?;
        if let Some(written) = repacked {
            let is_sparse = |pack: &&Judged| pack.fate == Fate::Repack;
            report.repacked = judged.iter().filter(is_sparse).count() as u64;
            (report.written, report.written_bytes) = (written.packs, written.bytes);
        }
        let now = jiff::Timestamp::now().as_second();
        let sweep = Sweep {
            judged: &judged,
            condemned: condemned(&judged, &store.condemned(), now),
            now,
            grace: if options.now {
                None
            } else {
                Some(self.config().gc.grace_hours as i64 * 3600)
            },
            is_copied: repacked.is_some(),
            thorough,
        };
        let lost = self.drop_lost_parity(options.dry_run)?;
        self.sweep(sweep, options.dry_run, &mut report)?;
        report.removed_bytes += lost;
        Ok(report)
    }

    /// Removes the parity of packs that are missing, of which nothing is in use. No repair may bring one
    /// of them back when what it needs is gone. Answers how many bytes that are.
    fn drop_lost_parity(&self, dry_run: bool) -> Result<u64> {
        let mut bytes = 0;
        for id in list_lost(&*self.disk)? {
            bytes += parity_len(&*self.disk, &id)?;
            if !dry_run {
                remove_parity(&*self.disk, &id)?;
            }
        }
        Ok(bytes)
    }

    /// Whether all packs can be opened, and all that leads to objects is there and where it was.
    pub(super) fn check_sound(&self) -> Result<()> {
        let store = self.store()?;
        if let Some(damage) = store.damaged().into_iter().next() {
            return Err(GcError::Damaged(damage).into());
        }
        // Those that an index covers as well.
        for id in store.packs() {
            match store.pack(&id) {
                Err(error) if error.is_loss() => {
                    return Err(GcError::Damaged(error.describe()).into());
                }
                other => other.map(drop)?,
            }
        }
        let log = self.operations()?;
        self.announced(&log)?;
        if log.is_missing() {
            return Err(GcError::NoLog.into());
        }
        match self.stray_refs()?.into_iter().next() {
            Some(stray) => Err(GcError::StrayRef(stray.describe()).into()),
            None => Ok(()),
        }
    }

    /// Marks what stays. The merged index may be what is damaged: without it, all is found in the
    /// footers.
    fn mark_soundly(&self, first: u64, dry_run: bool) -> Result<Marked> {
        match self.mark(first) {
            Err(RepoError::Store(error)) if error.is_corruption() => {
                if dry_run {
                    self.store()?.look_past_index()?;
                } else {
                    self.store()?.drop_index()?;
                    self.store()?.merge_if_many()?;
                }
                self.check_sound()?;
                self.mark(first)
            }
            other => other,
        }
    }

    /// Lets old operations go; whether they went.
    fn expire_operations(
        &self,
        log: OpLog,
        old: Range<u64>,
        options: GcOptions,
        report: &mut GcReport,
    ) -> Result<bool> {
        if old.is_empty() {
            return Ok(true);
        }
        let before = log.file_len();
        let after = log.len_from(old.end)?;
        if !options.dry_run {
            let mut expired = log.expire(old.end);
            if matches!(&expired, Err(OpLogError::Disk(error)) if error.is_full()) {
                self.make_room()?;
                expired = self.operations()?.expire(old.end);
            }
            match expired {
                Err(OpLogError::Disk(error)) if error.is_full() => {
                    self.monitor().warn("the disk is full: old operations stay in the log");
                    return Ok(false);
                }
                expired => expired.map(drop)?,
            }
        }
        report.expired = old.end - old.start;
        report.expired_bytes = before.saturating_sub(after);
        Ok(true)
    }

    /// Removes what is only a cache: the merged index, and the history of runs.
    fn make_room(&self) -> Result<()> {
        self.disk.remove(run_history::HISTORY.as_ref())?;
        Ok(self.store()?.drop_index()?)
    }

    /// Operations go by their number and by their age. The age counts from the last of them, not
    /// from a clock that may be wrong; where it is slow, from the clock.
    fn first_kept(&self, log: &OpLog) -> Result<u64> {
        let settings = &self.config().gc;
        let Some(last) = log.last() else { return Ok(0) };
        let now = jiff::Timestamp::now().as_second().min(last.seconds);
        let oldest = now.saturating_sub(settings.keep_days as i64 * 86_400);
        // A time that has not come yet was told by a wrong clock as well.
        let latest = jiff::Timestamp::now().as_second().max(last.seconds);
        let is_young = |seconds| oldest < seconds && seconds <= latest;
        let records =
            log.backwards().map(|read| read.map(|it| (it.link.seq, is_young(it.seconds))));
        let first = first_of(records, settings.keep_operations)?;
        let mut first = first.unwrap_or(last.link.seq + 1);
        let is_all = first > last.link.seq;
        // What a killed command was doing to the work tree counts behind the operation that it names.
        let is_done =
            || -> Result<bool> { Ok(self.is_done(last)? && self.announced(log)?.is_none()) };
        if is_all && (log.is_fresh() || !is_done()?) {
            first = last.link.seq;
        }
        Ok(first)
    }

    /// Whether refs and `HEAD` are where an operation brought them.
    fn is_done(&self, record: &OpRecord) -> Result<bool> {
        for change in &record.refs {
            if self.refs().read(&change.name)?.map(|found| found.new) != change.new {
                return Ok(false);
            }
        }
        Ok(self.refs().read_head()? == record.after.head)
    }

    /// Copies what is in use of sparse packs; none where there is no room for it.
    fn repack_if_room(
        &self,
        judged: &[Judged],
        marked: &Marked,
        sparse_percent: u64,
        dry_run: bool,
    ) -> Result<Option<Written>> {
        match self.repack(judged, marked, sparse_percent, dry_run) {
            Err(RepoError::Store(StoreError::Disk(error))) if error.is_full() => {
                self.monitor().warn("the disk is full: sparse packs stay as they are");
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}

/// The first operation that stays, of those told with whether they are young, the newest first; none where
/// none does. One whose clock was slow may lie between others: it goes no sooner than all before it.
fn first_of<E>(
    records: impl Iterator<Item = std::result::Result<(u64, bool), E>>,
    keep: usize,
) -> std::result::Result<Option<u64>, E> {
    let mut first = None;
    for (number, record) in records.enumerate() {
        let (seq, is_young) = record?;
        if number < keep || is_young {
            first = Some(seq);
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::first_of;

    #[test]
    fn an_operation_of_a_slow_clock_does_not_take_those_before_it_along() {
        let first = |young: &[u8], keep| {
            let records = young.iter().enumerate().rev();
            let records = records.map(|(at, young)| Ok((at as u64, *young == 1)));
            first_of(records, keep).unwrap_or_else(|never: std::convert::Infallible| match never {})
        };
        assert_eq!(first(&[0, 0, 1, 1], 0), Some(2));
        assert_eq!(first(&[0, 1, 0, 1, 1], 1), Some(1));
        assert_eq!(first(&[0, 1, 0, 0, 0], 2), Some(1));
        assert_eq!(first(&[0, 0, 0, 0, 0], 2), Some(3));
        assert_eq!(first(&[0, 0], 0), None);
        assert_eq!(first(&[], 9), None);
    }
}
