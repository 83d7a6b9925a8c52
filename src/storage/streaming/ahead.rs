//! A bound on what is read ahead, over all files of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bounds the segments of all files that are read before their turn.
///
/// Within one file `in_flight` does that; but files one after the other may each have some under
/// way. The segment whose turn it is needs no permit: somebody must be able to go on, and there is
/// one at most for each worker, because what is ready is stored before another is taken.
#[derive(Debug)]
pub(super) struct Ahead {
    taken: AtomicUsize,
    limit: usize,
}

/// One of the segments that [`Ahead`] allows, as long as it lives.
#[derive(Debug)]
pub(super) struct AheadPermit(Arc<Ahead>);

impl Ahead {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), limit })
    }

    pub(super) fn try_take(self: &Arc<Self>) -> Option<AheadPermit> {
        let one_more = |taken| (taken < self.limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(AheadPermit(Arc::clone(self)))
    }
}

impl Drop for AheadPermit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}
